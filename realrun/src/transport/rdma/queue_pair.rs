//! Queue pairs of type RC, with the completion queue, the channel and the memory of each.
//!
//! A [`QueuePair`] owns the regions that its work requests name, and destroys itself before it
//! releases them, so an adapter never touches memory that is not there.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ibverbs::{ibv_access_flags as access_flags, ibv_wc, ibv_wc_opcode};
use ibverbs_sys as sys;
use sys::{ibv_qp_attr_mask as attribute, ibv_send_flags as send_flags, ibv_wr_opcode};

use super::device::{Device, PORT};
use super::failure::Failure;
use super::gid::Gid;
use super::library::{checked, made};
use super::memory::{Access, Buffer, Region, Remote, Way};
use crate::accelerator::cuda::PeerBuffer;

/// A region of a queue pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RegionId(usize);

/// Bytes of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) region: RegionId,
    pub(super) from: usize,
    pub(super) length: usize,
}

/// One piece, or two that a work request takes as if the second followed the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pieces {
    pub(super) first: Piece,
    pub(super) second: Option<Piece>,
}

impl From<Piece> for Pieces {
    fn from(first: Piece) -> Pieces {
        Pieces {
            first,
            second: None,
        }
    }
}

impl Pieces {
    fn length(&self) -> usize {
        self.first.length + self.second.map_or(0, |second| second.length)
    }
}

/// What is to be done with a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Send it, with immediate data.
    Send(u32),
    /// Write it into the peer's memory, so many bytes from its start.
    Write(Remote, u64),
    /// Write it, and tell the peer by immediate data.
    WriteWithImmediate(Remote, u64, u32),
    /// Fill it from the peer's memory.
    Read(Remote, u64),
}

/// A work request that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Completion {
    /// One that was posted to be sent.
    Sent,
    /// The peer sent so many bytes into the receive posted first, with this immediate data.
    Received(usize, u32),
    /// The peer wrote, and told by this immediate data.
    Written(u32),
}

/// For what to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// For what the peer sends.
    Arrivals,
    /// For every completion.
    Everything,
}

/// How large the queues of a queue pair are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Depths {
    pub(super) send: u32,
    pub(super) receive: u32,
    /// Most pieces of a work request.
    pub(super) pieces: u32,
    /// Longest payload that is copied into the work request, in bytes; the device may allow less.
    pub(super) inline: u32,
}

/// Reads of the other side that may be under way; what common adapters allow.
pub(super) const READS: u8 = 16;

/// How packets get to the other end of a queue pair.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) address: sys::ibv_ah_attr,
    /// `enum ibv_mtu`.
    pub(super) mtu: u32,
    /// The queue pair there.
    pub(super) queue_pair: u32,
    /// Sequence numbers of the first packets from there and to there.
    pub(super) first_packet_in: u32,
    pub(super) first_packet_out: u32,
}

/// The address `gid`, from this end's address at `gid_index`.
pub(super) fn address(gid: Gid, gid_index: u8) -> sys::ibv_ah_attr {
    sys::ibv_ah_attr {
        grh: sys::ibv_global_route {
            dgid: sys::ibv_gid { raw: gid },
            sgid_index: gid_index,
            hop_limit: 64,
            ..sys::ibv_global_route::default()
        },
        is_global: 1,
        port_num: PORT,
        ..sys::ibv_ah_attr::default()
    }
}

/// A queue pair with a completion queue, a completion channel and the memory it uses.
pub(super) struct QueuePair {
    device: Arc<Device>,
    qp: NonNull<sys::ibv_qp>,
    cq: NonNull<sys::ibv_cq>,
    channel: NonNull<sys::ibv_comp_channel>,
    regions: Vec<Region>,
    inline: usize,
    peer: String,
}

#[expect(unsafe_code, reason = "addresses of what libibverbs owns")]
// SAFETY: all that it points to may be used by any thread, and is used by one at a time.
unsafe impl Send for QueuePair {}

impl QueuePair {
    /// Makes a queue pair for talking with `peer`, which is a name for messages.
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    pub(super) fn new(
        device: &Arc<Device>,
        depths: Depths,
        peer: String,
    ) -> Result<QueuePair, Failure> {
        let functions = device.functions;
        let named = |failure: Failure| failure.on(device.name()).with(&peer);
        // SAFETY: the context is open as long as `device`.
        let channel = unsafe { (functions.create_comp_channel)(device.context.as_ptr()) };
        let channel = made("ibv_create_comp_channel", channel).map_err(named)?;
        let entries = c_int::try_from(depths.send + depths.receive).expect("queues are short");
        // SAFETY: context and channel live; the first vector exists on every device.
        let cq = unsafe {
            (functions.create_cq)(
                device.context.as_ptr(),
                entries,
                null_mut(),
                channel.as_ptr(),
                0,
            )
        };
        let cq = made("ibv_create_cq", cq).map_err(|failure| {
            // SAFETY: nothing uses the channel.
            unsafe { (functions.destroy_comp_channel)(channel.as_ptr()) };
            named(failure)
        })?;
        let mut wanted = sys::ibv_qp_init_attr {
            qp_context: null_mut(),
            send_cq: cq.as_ptr(),
            recv_cq: cq.as_ptr(),
            srq: null_mut(),
            cap: sys::ibv_qp_cap {
                max_send_wr: depths.send,
                max_recv_wr: depths.receive,
                max_send_sge: depths.pieces,
                max_recv_sge: depths.pieces,
                max_inline_data: depths.inline,
            },
            qp_type: sys::ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: protection domain and completion queue live; `wanted` is a live structure.
        let qp = unsafe { (functions.create_qp)(device.pd.as_ptr(), &raw mut wanted) };
        let qp = made("ibv_create_qp", qp).map_err(|failure| {
            // SAFETY: nothing uses either.
            unsafe {
                (functions.destroy_cq)(cq.as_ptr());
                (functions.destroy_comp_channel)(channel.as_ptr());
            }
            named(failure)
        })?;
        Ok(QueuePair {
            device: Arc::clone(device),
            qp,
            cq,
            channel,
            regions: Vec::new(),
            inline: wanted.cap.max_inline_data.min(depths.inline) as usize,
            peer,
        })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn named(&self, failure: Failure) -> Failure {
        failure.on(self.device.name()).with(&self.peer)
    }

    /// Number of the queue pair, which its peer needs.
    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    pub(super) fn number(&self) -> u32 {
        // SAFETY: the queue pair lives, and its number never changes.
        unsafe { (*self.qp.as_ptr()).qp_num }
    }

    /// Registers a buffer.
    pub(super) fn register(
        &mut self,
        buffer: &Buffer,
        access: Access,
    ) -> Result<RegionId, Failure> {
        let region = Region::register(&self.device, buffer, access);
        self.regions
            .push(region.map_err(|failure| self.named(failure))?);
        Ok(RegionId(self.regions.len() - 1))
    }

    /// Registers memory of a GPU.
    pub(super) fn register_on_gpu(
        &mut self,
        memory: &Arc<PeerBuffer>,
        access: Access,
    ) -> Result<RegionId, Failure> {
        let region = Region::register_on_gpu(&self.device, memory, access);
        self.regions
            .push(region.map_err(|failure| self.named(failure))?);
        Ok(RegionId(self.regions.len() - 1))
    }

    /// What the peer needs to use a region.
    pub(super) fn remote(&self, region: RegionId) -> Remote {
        self.regions[region.0].remote()
    }

    fn sges(&self, pieces: &Pieces) -> [sys::ibv_sge; 2] {
        let sge = |piece: Piece| self.regions[piece.region.0].sge(piece.from, piece.length);
        let first = sge(pieces.first);
        [first, pieces.second.map_or(first, sge)]
    }

    /// Whether the processor may read them, as it does what goes with the work request.
    fn are_on_host(&self, pieces: &Pieces) -> bool {
        let is = |piece: Piece| self.regions[piece.region.0].way() == Way::Host;
        is(pieces.first) && pieces.second.is_none_or(is)
    }

    #[expect(unsafe_code, reason = "a call of libibverbs")]
    fn modify(
        &mut self,
        call: &'static str,
        mut attributes: sys::ibv_qp_attr,
        mask: attribute,
    ) -> Result<(), Failure> {
        let mask = mask.0 as c_int;
        // SAFETY: the queue pair lives; the library reads the fields that the mask names.
        let errno = unsafe {
            (self.device.functions.modify_qp)(self.qp.as_ptr(), &raw mut attributes, mask)
        };
        checked(call, errno).map_err(|failure| self.named(failure))
    }

    /// Lets receives be posted, and the peer write and read regions registered for that.
    pub(super) fn initialize(&mut self) -> Result<(), Failure> {
        let attributes = sys::ibv_qp_attr {
            qp_state: sys::ibv_qp_state::IBV_QPS_INIT,
            port_num: PORT,
            qp_access_flags: (access_flags::IBV_ACCESS_REMOTE_WRITE
                | access_flags::IBV_ACCESS_REMOTE_READ)
                .0,
            ..sys::ibv_qp_attr::default()
        };
        let mask = attribute::IBV_QP_STATE
            | attribute::IBV_QP_PKEY_INDEX
            | attribute::IBV_QP_PORT
            | attribute::IBV_QP_ACCESS_FLAGS;
        self.modify("ibv_modify_qp to INIT", attributes, mask)
    }

    /// Joins it to the other end.
    pub(super) fn connect(&mut self, path: &Path) -> Result<(), Failure> {
        let receiving = sys::ibv_qp_attr {
            qp_state: sys::ibv_qp_state::IBV_QPS_RTR,
            path_mtu: path.mtu,
            dest_qp_num: path.queue_pair,
            rq_psn: path.first_packet_in,
            max_dest_rd_atomic: READS,
            min_rnr_timer: 12, // 0.64 ms; never waited for, see `rnr_retry`
            ah_attr: path.address,
            ..sys::ibv_qp_attr::default()
        };
        let mask = attribute::IBV_QP_STATE
            | attribute::IBV_QP_AV
            | attribute::IBV_QP_PATH_MTU
            | attribute::IBV_QP_DEST_QPN
            | attribute::IBV_QP_RQ_PSN
            | attribute::IBV_QP_MAX_DEST_RD_ATOMIC
            | attribute::IBV_QP_MIN_RNR_TIMER;
        self.modify("ibv_modify_qp to RTR", receiving, mask)?;
        let sending = sys::ibv_qp_attr {
            qp_state: sys::ibv_qp_state::IBV_QPS_RTS,
            sq_psn: path.first_packet_out,
            // The peer is given up after 1.9 s, or up to four times as long where an adapter takes
            // the time-out as the specification lets it. Soft-RoCE never gives up at 7 retries.
            timeout: 16, // 4.096 us << 16 = 268 ms
            retry_cnt: 6,
            // No second try: flow control sees to it that a receive is always posted.
            rnr_retry: 0,
            max_rd_atomic: READS,
            ..sys::ibv_qp_attr::default()
        };
        let mask = attribute::IBV_QP_STATE
            | attribute::IBV_QP_TIMEOUT
            | attribute::IBV_QP_RETRY_CNT
            | attribute::IBV_QP_RNR_RETRY
            | attribute::IBV_QP_SQ_PSN
            | attribute::IBV_QP_MAX_QP_RD_ATOMIC;
        self.modify("ibv_modify_qp to RTS", sending, mask)
    }

    /// Posts a receive into `pieces`; without any it takes messages without payload, and writes.
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn post_receive(&mut self, pieces: Option<Pieces>) -> Result<(), Failure> {
        let mut sges = pieces.map(|pieces| self.sges(&pieces));
        let mut request = sys::ibv_recv_wr {
            wr_id: 0,
            next: null_mut(),
            sg_list: sges.as_mut().map_or(null_mut(), |sges| sges.as_mut_ptr()),
            num_sge: pieces.map_or(0, |pieces| 1 + c_int::from(pieces.second.is_some())),
        };
        let mut bad = null_mut();
        // SAFETY: the queue pair lives; request and element live until the call returns, which
        // copies both; the memory is held by `regions` until the queue pair is destroyed.
        let errno = unsafe {
            let post = (*(*self.qp.as_ptr()).context).ops.post_recv;
            let post = post.expect("every driver posts receives");
            post(self.qp.as_ptr(), &raw mut request, &raw mut bad)
        };
        checked("ibv_post_recv", errno).map_err(|failure| self.named(failure))
    }

    /// Posts `work` on `pieces`; its completion is [`Completion::Sent`].
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn post(&mut self, work: Work, pieces: impl Into<Pieces>) -> Result<(), Failure> {
        let pieces = pieces.into();
        let mut flags = send_flags::IBV_SEND_SIGNALED;
        let (opcode, immediate, remote) = match work {
            Work::Send(immediate) => (ibv_wr_opcode::IBV_WR_SEND_WITH_IMM, Some(immediate), None),
            Work::Write(to, at) => (ibv_wr_opcode::IBV_WR_RDMA_WRITE, None, Some((to, at))),
            Work::WriteWithImmediate(to, at, immediate) => (
                ibv_wr_opcode::IBV_WR_RDMA_WRITE_WITH_IMM,
                Some(immediate),
                Some((to, at)),
            ),
            Work::Read(from, at) => (ibv_wr_opcode::IBV_WR_RDMA_READ, None, Some((from, at))),
        };
        if immediate.is_some() {
            flags |= send_flags::IBV_SEND_SOLICITED;
        }
        let is_read = opcode == ibv_wr_opcode::IBV_WR_RDMA_READ;
        if !is_read && pieces.length() <= self.inline && self.are_on_host(&pieces) {
            flags |= send_flags::IBV_SEND_INLINE;
        }
        let mut sges = self.sges(&pieces);
        let mut request = sys::ibv_send_wr {
            opcode,
            send_flags: flags.0,
            ..sys::ibv_send_wr::default()
        };
        if pieces.length() > 0 {
            let has_second = pieces.second.is_some_and(|second| second.length > 0);
            request.sg_list = sges.as_mut_ptr();
            request.num_sge = 1 + c_int::from(has_second);
        }
        request.__bindgen_anon_1.imm_data = immediate.unwrap_or(0).to_be();
        if let Some((remote, at)) = remote {
            request.wr.rdma.remote_addr = remote.address + at;
            request.wr.rdma.rkey = remote.key;
        }
        let mut bad = null_mut();
        // SAFETY: as for receives; the peer's adapter checks address and key of remote memory.
        let errno = unsafe {
            let post = (*(*self.qp.as_ptr()).context).ops.post_send;
            let post = post.expect("every driver posts sends");
            post(self.qp.as_ptr(), &raw mut request, &raw mut bad)
        };
        checked("ibv_post_send", errno).map_err(|failure| self.named(failure))
    }

    /// The next completion, if there is one.
    ///
    /// # Errors
    /// If a work request has failed.
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn poll(&mut self) -> Result<Option<Completion>, Failure> {
        let mut done = ibv_wc::default();
        // SAFETY: the completion queue lives, and there is room for one completion.
        let n = unsafe {
            let poll = (*self.cq.as_ref().context).ops.poll_cq;
            let poll = poll.expect("every driver polls completion queues");
            poll(self.cq.as_ptr(), 1, &raw mut done)
        };
        if n == 0 {
            return Ok(None);
        }
        if n < 0 {
            return Err(self.named(Failure::new("ibv_poll_cq", "the queue has failed")));
        }
        if let Some((status, vendor)) = done.error() {
            return Err(self.named(Failure::of_status(status, vendor)));
        }
        let immediate = u32::from_be(done.imm_data);
        Ok(Some(match done.opcode() {
            ibv_wc_opcode::IBV_WC_RECV => Completion::Received(done.len(), immediate),
            ibv_wc_opcode::IBV_WC_RECV_RDMA_WITH_IMM => Completion::Written(immediate),
            _ => Completion::Sent,
        }))
    }

    /// Asks for one event on the channel, for the next completion of the kind; what is in the queue
    /// already makes none.
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn arm(&mut self, wake: Wake) -> Result<(), Failure> {
        // SAFETY: the completion queue lives.
        let errno = unsafe {
            let arm = (*self.cq.as_ref().context).ops.req_notify_cq;
            let arm = arm.expect("every driver tells of completions");
            arm(self.cq.as_ptr(), c_int::from(wake == Wake::Arrivals))
        };
        checked("ibv_req_notify_cq", errno).map_err(|failure| self.named(failure))
    }

    /// The channel, readable when there is an event.
    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    pub(super) fn channel(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel, and with it the file descriptor, lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.channel.as_ref().fd) }
    }

    /// Takes an event from the channel; waits for one if there is none.
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    pub(super) fn take_event(&mut self) -> Result<(), Failure> {
        let (mut cq, mut context) = (null_mut(), null_mut());
        // SAFETY: the channel lives, and both addresses are of live variables.
        let result = unsafe {
            let get = self.device.functions.get_cq_event;
            get(self.channel.as_ptr(), &raw mut cq, &raw mut context)
        };
        checked("ibv_get_cq_event", result).map_err(|failure| self.named(failure))?;
        // SAFETY: the event was of the only completion queue of the channel; it is told once.
        unsafe { (self.device.functions.ack_cq_events)(self.cq.as_ptr(), 1) };
        Ok(())
    }
}

impl Drop for QueuePair {
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    fn drop(&mut self) {
        let functions = self.device.functions;
        // SAFETY: each is destroyed once, users before what they use. When the queue pair is gone
        // the adapter works on none of its requests, so the memory may go, as it does after this.
        unsafe {
            (functions.destroy_qp)(self.qp.as_ptr());
            (functions.destroy_cq)(self.cq.as_ptr());
            (functions.destroy_comp_channel)(self.channel.as_ptr());
        }
    }
}

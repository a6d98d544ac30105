//! Queue pairs of type RC, with the completion queue, the channel and the memory of each.
//!
//! A [`QueuePair`] owns the memory that its work requests name, and destroys itself before it
//! releases that memory, so an adapter never touches memory that is not there.

use std::ffi::{c_int, c_uint};
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use super::device::{Device, PORT};
use super::failure::Failure;
use super::library::{checked, made};
use super::memory::{Buffer, Memory};
use super::sys;

/// Memory of a peer, as it has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remote {
    /// Address of the first byte in the peer's process.
    pub(super) address: u64,
    /// Bytes.
    pub(super) length: u64,
    /// The key that its adapter wants to see.
    pub(super) key: u32,
}

/// Who may do what with registered memory, besides this process and its adapter's reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// This adapter may write what arrives or is read.
    Local,
    /// The peer may write it.
    PeerWrites,
    /// The peer may read it.
    PeerReads,
}

/// Memory registered with the adapter of a queue pair.
struct Region {
    mr: NonNull<sys::Mr>,
    memory: Arc<Memory>,
}

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
    /// Longest payload that is copied into the work request, in bytes; the device may allow less.
    pub(super) inline: u32,
}

/// Where the other end of a queue pair is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Destination {
    pub(super) gid: sys::Gid,
    pub(super) queue_pair: u32,
    /// Sequence number of its first packet.
    pub(super) first_packet: u32,
    /// `enum ibv_mtu`.
    pub(super) mtu: u8,
}

/// A queue pair with a completion queue, a completion channel and the memory it uses.
pub(super) struct QueuePair {
    device: Arc<Device>,
    qp: NonNull<sys::Qp>,
    cq: NonNull<sys::Cq>,
    channel: NonNull<sys::CompChannel>,
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
        let mut wanted = sys::QpInitAttr {
            qp_context: null_mut(),
            send_cq: cq.as_ptr(),
            recv_cq: cq.as_ptr(),
            srq: null_mut(),
            cap: sys::QpCap {
                max_send_wr: depths.send,
                max_recv_wr: depths.receive,
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: depths.inline,
            },
            qp_type: sys::QPT_RC,
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
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn register(
        &mut self,
        buffer: &Buffer,
        access: Access,
    ) -> Result<RegionId, Failure> {
        let access = match access {
            Access::Local => sys::ACCESS_LOCAL_WRITE,
            Access::PeerWrites => sys::ACCESS_LOCAL_WRITE | sys::ACCESS_REMOTE_WRITE,
            Access::PeerReads => sys::ACCESS_REMOTE_READ,
        };
        let memory = Arc::clone(&buffer.0);
        // SAFETY: the memory is mapped, and stays so until it has been deregistered, since the
        // region holds it.
        let mr = unsafe {
            let start = memory.map.as_mut_ptr().cast();
            (self.device.functions.reg_mr)(self.device.pd.as_ptr(), start, memory.length, access)
        };
        let mr = made("ibv_reg_mr", mr).map_err(|failure| self.named(failure))?;
        self.regions.push(Region { mr, memory });
        Ok(RegionId(self.regions.len() - 1))
    }

    /// What the peer needs to use a region.
    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    pub(super) fn remote(&self, region: RegionId) -> Remote {
        let region = &self.regions[region.0];
        Remote {
            address: region.memory.map.as_ptr() as u64,
            length: region.memory.length as u64,
            // SAFETY: the region is registered, and its key never changes.
            key: unsafe { region.mr.as_ref().rkey },
        }
    }

    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    fn sge(&self, piece: Piece) -> sys::Sge {
        let region = &self.regions[piece.region.0];
        let end = piece.from.checked_add(piece.length);
        assert!(
            end.is_some_and(|end| end <= region.memory.length),
            "{piece:?} is not inside its region of {} B",
            region.memory.length
        );
        sys::Sge {
            addr: region.memory.map.as_ptr() as u64 + piece.from as u64,
            length: u32::try_from(piece.length).expect("the port's longest message fits 32 bits"),
            // SAFETY: as in `remote`.
            lkey: unsafe { region.mr.as_ref().lkey },
        }
    }

    #[expect(unsafe_code, reason = "a call of libibverbs")]
    fn modify(
        &mut self,
        call: &'static str,
        mut attributes: sys::QpAttr,
        mask: c_int,
    ) -> Result<(), Failure> {
        // SAFETY: the queue pair lives; the library reads the fields that the mask names.
        let errno = unsafe {
            (self.device.functions.modify_qp)(self.qp.as_ptr(), &raw mut attributes, mask)
        };
        checked(call, errno).map_err(|failure| self.named(failure))
    }

    /// Lets receives be posted, and the peer write and read regions registered for that.
    pub(super) fn initialize(&mut self) -> Result<(), Failure> {
        let attributes = sys::QpAttr {
            qp_state: sys::QPS_INIT,
            port_num: PORT,
            qp_access_flags: (sys::ACCESS_REMOTE_WRITE | sys::ACCESS_REMOTE_READ) as c_uint,
            ..sys::QpAttr::default()
        };
        let mask = sys::QP_STATE | sys::QP_PKEY_INDEX | sys::QP_PORT | sys::QP_ACCESS_FLAGS;
        self.modify("ibv_modify_qp to INIT", attributes, mask)
    }

    /// Joins it to the other end; `gid_index` is of this end's address.
    pub(super) fn connect(
        &mut self,
        to: &Destination,
        gid_index: u8,
        first_packet: u32,
    ) -> Result<(), Failure> {
        /// Reads of the other side that may be under way; what common adapters allow.
        const READS: u8 = 16;
        let half = |at| u64::from_ne_bytes(to.gid[at..at + 8].try_into().expect("eight bytes"));
        let receiving = sys::QpAttr {
            qp_state: sys::QPS_RTR,
            path_mtu: c_uint::from(to.mtu),
            dest_qp_num: to.queue_pair,
            rq_psn: to.first_packet,
            max_dest_rd_atomic: READS,
            min_rnr_timer: 12, // 0.64 ms; never waited for, see `rnr_retry`
            ah_attr: sys::AhAttr {
                grh: sys::GlobalRoute {
                    dgid: [half(0), half(8)],
                    sgid_index: gid_index,
                    hop_limit: 64,
                    ..sys::GlobalRoute::default()
                },
                is_global: 1,
                port_num: PORT,
                ..sys::AhAttr::default()
            },
            ..sys::QpAttr::default()
        };
        let mask = sys::QP_STATE
            | sys::QP_AV
            | sys::QP_PATH_MTU
            | sys::QP_DEST_QPN
            | sys::QP_RQ_PSN
            | sys::QP_MAX_DEST_RD_ATOMIC
            | sys::QP_MIN_RNR_TIMER;
        self.modify("ibv_modify_qp to RTR", receiving, mask)?;
        let sending = sys::QpAttr {
            qp_state: sys::QPS_RTS,
            sq_psn: first_packet,
            timeout: 14, // 4.096 us << 14 = 67 ms
            retry_cnt: 7,
            // No second try: flow control sees to it that a receive is always posted.
            rnr_retry: 0,
            max_rd_atomic: READS,
            ..sys::QpAttr::default()
        };
        let mask = sys::QP_STATE
            | sys::QP_TIMEOUT
            | sys::QP_RETRY_CNT
            | sys::QP_RNR_RETRY
            | sys::QP_SQ_PSN
            | sys::QP_MAX_QP_RD_ATOMIC;
        self.modify("ibv_modify_qp to RTS", sending, mask)
    }

    /// Posts a receive into `piece`; without one it takes messages without payload, and writes.
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn post_receive(&mut self, piece: Option<Piece>) -> Result<(), Failure> {
        let mut sge = piece.map(|piece| self.sge(piece));
        let mut request = sys::RecvWr {
            wr_id: 0,
            next: null_mut(),
            sg_list: sge.as_mut().map_or(null_mut(), |sge| &raw mut *sge),
            num_sge: c_int::from(sge.is_some()),
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

    /// Posts `work` on `piece`; its completion is [`Completion::Sent`].
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn post(&mut self, work: Work, piece: Piece) -> Result<(), Failure> {
        let mut flags = sys::SEND_SIGNALED;
        let (opcode, immediate, remote) = match work {
            Work::Send(immediate) => (sys::WR_SEND_WITH_IMM, Some(immediate), None),
            Work::Write(to, at) => (sys::WR_RDMA_WRITE, None, Some((to, at))),
            Work::WriteWithImmediate(to, at, immediate) => {
                (sys::WR_RDMA_WRITE_WITH_IMM, Some(immediate), Some((to, at)))
            }
            Work::Read(from, at) => (sys::WR_RDMA_READ, None, Some((from, at))),
        };
        if immediate.is_some() {
            flags |= sys::SEND_SOLICITED;
        }
        if opcode != sys::WR_RDMA_READ && piece.length <= self.inline {
            flags |= sys::SEND_INLINE;
        }
        let mut sge = self.sge(piece);
        let mut request = sys::SendWr::new(0, opcode, flags);
        if piece.length > 0 {
            request.sg_list = &raw mut sge;
            request.num_sge = 1;
        }
        request.imm_data = immediate.unwrap_or(0).to_be();
        if let Some((remote, at)) = remote {
            request.remote_addr = remote.address + at;
            request.rkey = remote.key;
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
        let mut done = sys::Wc::default();
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
        if done.status != sys::WC_SUCCESS {
            return Err(self.named(Failure::of_status(done.status, done.vendor_err)));
        }
        let immediate = u32::from_be(done.imm_data);
        Ok(Some(match done.opcode {
            sys::WC_RECV => Completion::Received(done.byte_len as usize, immediate),
            sys::WC_RECV_RDMA_WITH_IMM => Completion::Written(immediate),
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
        // the adapter works on none of its requests, so the memory may go.
        unsafe {
            (functions.destroy_qp)(self.qp.as_ptr());
            for region in self.regions.drain(..) {
                (functions.dereg_mr)(region.mr.as_ptr());
                drop(region.memory);
            }
            (functions.destroy_cq)(self.cq.as_ptr());
            (functions.destroy_comp_channel)(self.channel.as_ptr());
        }
    }
}

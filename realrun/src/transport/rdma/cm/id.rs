//! Identifiers of the connection manager, and what it reports of them.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem};

use ibverbs_sys as sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::super::ACCEPTED;
use super::super::device::Device;
use super::super::failure::Failure;
use super::super::library::{checked, made};
use super::super::queue_pair::{Path, READS};
use super::raw::{self, Functions};

/// Why a wait ended before what it was for.
#[derive(Debug)]
pub(super) enum Cut {
    /// The peer says, or is about to say, something over TCP.
    ByPeer,
    /// The connection manager reports a failure, or nothing in time.
    Failed(Failure),
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Cut {
        Cut::Failed(failure)
    }
}

/// What the connection manager reports.
pub(super) struct News {
    event: c_uint,
    /// Zero, an error number below zero, or the reason of a rejection.
    status: c_int,
    /// The identifier made for a request.
    pub(super) request: Option<Id>,
    /// What the peer has put with it, and zeros after that.
    pub(super) private: Vec<u8>,
}

/// Where the connection manager reports.
struct Channel {
    functions: &'static Functions,
    raw: NonNull<raw::EventChannel>,
}

#[expect(unsafe_code, reason = "an address of what librdmacm owns")]
// SAFETY: the channel may be used by any thread; ids that share it are used by one at a time.
unsafe impl Send for Channel {}
#[expect(unsafe_code, reason = "an address of what librdmacm owns")]
// SAFETY: as above; the library locks what several calls need.
unsafe impl Sync for Channel {}

impl Channel {
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    fn new() -> Result<Channel, Failure> {
        let functions = raw::library()?;
        // SAFETY: it takes nothing.
        let raw = made("rdma_create_event_channel", unsafe {
            (functions.create_event_channel)()
        })?;
        let channel = Channel { functions, raw };
        let unblocked = rustix::io::ioctl_fionbio(channel.fd(), true);
        unblocked.map_err(|errno| Failure::of_call("ioctl FIONBIO", &errno.into()))?;
        Ok(channel)
    }

    #[expect(unsafe_code, reason = "a field of a structure of librdmacm")]
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel, and with it the file descriptor, lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.raw.as_ref().fd) }
    }

    /// The next report, if there is one.
    #[expect(unsafe_code, reason = "calls of librdmacm")]
    fn next(self: &Arc<Channel>) -> Result<Option<News>, Failure> {
        let mut event = null_mut();
        // SAFETY: the channel lives, and `event` has room for an address; it does not block.
        let result = unsafe { (self.functions.get_cm_event)(self.raw.as_ptr(), &raw mut event) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::WouldBlock {
                return Ok(None);
            }
            return Err(Failure::of_call("rdma_get_cm_event", &error));
        }
        let event = NonNull::new(event).expect("a call that worked gives an event");
        // SAFETY: the event is the library's until it is acknowledged below. Its `conn` is set where
        // the event is of a connection, and of zeros otherwise.
        let news = unsafe {
            let seen = event.as_ref();
            let is_request = seen.event == raw::CONNECT_REQUEST && seen.status == 0;
            let has_data = matches!(seen.event, raw::CONNECT_REQUEST | raw::CONNECT_RESPONSE)
                && !seen.conn.private_data.is_null();
            let request = NonNull::new(seen.id).filter(|_| is_request);
            News {
                event: seen.event,
                status: seen.status,
                request: request.map(|raw| Id {
                    channel: Arc::clone(self),
                    raw,
                }),
                private: if has_data {
                    let length = usize::from(seen.conn.private_data_len);
                    std::slice::from_raw_parts(seen.conn.private_data.cast(), length).to_vec()
                } else {
                    Vec::new()
                },
            }
        };
        // SAFETY: it is acknowledged once, and what was needed of it has been copied.
        unsafe { (self.functions.ack_cm_event)(event.as_ptr()) };
        Ok(Some(news))
    }
}

impl Drop for Channel {
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    fn drop(&mut self) {
        // SAFETY: the identifiers hold their channel, so none is left.
        unsafe { (self.functions.destroy_event_channel)(self.raw.as_ptr()) };
    }
}

/// An identifier of the connection manager: a listener, or an end of a connection.
///
/// Its queue pair is made and moved from state to state by this program, as in a connection that is set
/// up over TCP. Dropped, it tells the peer's connection manager that the connection is over.
pub(in super::super) struct Id {
    channel: Arc<Channel>,
    raw: NonNull<raw::CmId>,
}

#[expect(unsafe_code, reason = "an address of what librdmacm owns")]
// SAFETY: it may be used by any thread, and is used by one at a time.
unsafe impl Send for Id {}

impl Id {
    /// A new one, which reports on a channel of its own.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    pub(super) fn new() -> Result<Id, Failure> {
        let channel = Arc::new(Channel::new()?);
        let mut id = null_mut();
        // SAFETY: the channel lives, and `id` has room for an address.
        let result = unsafe {
            let create = channel.functions.create_id;
            create(channel.raw.as_ptr(), &raw mut id, null_mut(), raw::PS_TCP)
        };
        checked("rdma_create_id", result)?;
        let raw = NonNull::new(id).expect("a call that worked gives an identifier");
        Ok(Id { channel, raw })
    }

    fn functions(&self) -> &'static Functions {
        self.channel.functions
    }

    /// Binds it to the device that has the address `own`, and listens on a free port, which it returns.
    #[expect(unsafe_code, reason = "calls of librdmacm")]
    pub(super) fn listen(&mut self, own: SocketAddr) -> Result<u16, Failure> {
        let mut own = storage(own);
        // SAFETY: the identifier lives, and the address is a live structure of its family.
        let result =
            unsafe { (self.functions().bind_addr)(self.raw.as_ptr(), (&raw mut own).cast()) };
        checked("rdma_bind_addr", result)?;
        // SAFETY: the identifier lives.
        checked("rdma_listen", unsafe {
            (self.functions().listen)(self.raw.as_ptr(), 1)
        })?;
        // SAFETY: the identifier lives.
        Ok(u16::from_be(unsafe {
            (self.functions().get_src_port)(self.raw.as_ptr())
        }))
    }

    /// Looks for the device of `own` and the way from there to `peer`.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    pub(super) fn resolve(
        &mut self,
        own: SocketAddr,
        peer: SocketAddr,
        limit: Duration,
        stream: &TcpStream,
    ) -> Result<(), Cut> {
        /// How long the kernel looks, in ms; less than the limit, since it says what it lacks.
        const LOOKS_MS: c_int = 3000;
        let (mut own, mut peer) = (storage(own), storage(peer));
        // SAFETY: the identifier lives, and the addresses are live structures of their families.
        let result = unsafe {
            let resolve = self.functions().resolve_addr;
            let (own, peer) = ((&raw mut own).cast(), (&raw mut peer).cast());
            resolve(self.raw.as_ptr(), own, peer, LOOKS_MS)
        };
        checked("rdma_resolve_addr", result)?;
        self.wait("rdma_resolve_addr", raw::ADDR_RESOLVED, limit, stream)?;
        // SAFETY: the identifier lives.
        let result = unsafe { (self.functions().resolve_route)(self.raw.as_ptr(), LOOKS_MS) };
        checked("rdma_resolve_route", result)?;
        self.wait("rdma_resolve_route", raw::ROUTE_RESOLVED, limit, stream)?;
        Ok(())
    }

    /// Checks that it is bound to `device`.
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn is_on(&self, device: &Device) -> Result<(), Failure> {
        // SAFETY: the identifier lives; it has a context of the library's where it is bound to a
        // device, whose name is a C string in it.
        let name = unsafe {
            let context = self.raw.as_ref().verbs.as_ref();
            context
                .map(|context| CStr::from_ptr((device.functions.get_device_name)(context.device)))
        };
        let name = name.map_or_else(|| "none".into(), CStr::to_string_lossy);
        if name == device.name() {
            return Ok(());
        }
        let problem = format!("the address of its GID led to the device `{name}`");
        Err(Failure::new("rdma_resolve_addr", problem)
            .because("two interfaces may not have one address; choose another GID with `gid`"))
    }

    /// Asks the peer for a connection of the queue pair `queue_pair`; returns what it said.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    pub(super) fn connect(
        &mut self,
        queue_pair: u32,
        private: &[u8],
        limit: Duration,
        stream: &TcpStream,
    ) -> Result<Vec<u8>, Cut> {
        let mut parameters = parameters(queue_pair, private);
        // SAFETY: the identifier lives; the parameters, and the data that they lead to, live until the
        // call returns, which copies both.
        let result = unsafe { (self.functions().connect)(self.raw.as_ptr(), &raw mut parameters) };
        checked("rdma_connect", result)?;
        let news = self.wait("rdma_connect", raw::CONNECT_RESPONSE, limit, stream)?;
        Ok(news.private)
    }

    /// Waits for a request to the listener.
    pub(super) fn request(
        &mut self,
        limit: Duration,
        stream: &TcpStream,
    ) -> Result<(Id, Vec<u8>), Cut> {
        let news = self.wait("rdma_listen", raw::CONNECT_REQUEST, limit, stream)?;
        let request = news.request.expect("a request comes with an identifier");
        Ok((request, news.private))
    }

    /// Takes the request, for the queue pair `queue_pair`.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    pub(super) fn accept(&mut self, queue_pair: u32, private: &[u8]) -> Result<(), Failure> {
        let mut parameters = parameters(queue_pair, private);
        // SAFETY: as in `connect`.
        let result = unsafe { (self.functions().accept)(self.raw.as_ptr(), &raw mut parameters) };
        checked("rdma_accept", result)
    }

    /// Rejects the request.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    pub(super) fn reject(&mut self) {
        // SAFETY: the identifier lives, and there is no data. The peer may have given up meanwhile.
        let _gone = unsafe { (self.functions().reject)(self.raw.as_ptr(), null_mut(), 0) };
    }

    /// Tells the peer, which has taken the request, that this end is ready.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    pub(super) fn establish(&mut self) -> Result<(), Failure> {
        // SAFETY: the identifier lives.
        checked("rdma_establish", unsafe {
            (self.functions().establish)(self.raw.as_ptr())
        })
    }

    /// How packets get to the peer's queue pair, once each end knows the other.
    pub(super) fn path(&mut self) -> Result<Path, Failure> {
        let receiving = self.attributes(sys::ibv_qp_state::IBV_QPS_RTR)?;
        let sending = self.attributes(sys::ibv_qp_state::IBV_QPS_RTS)?;
        Ok(Path {
            address: receiving.ah_attr,
            mtu: receiving.path_mtu,
            queue_pair: receiving.dest_qp_num,
            first_packet_in: receiving.rq_psn,
            first_packet_out: sending.sq_psn,
        })
    }

    /// What a queue pair that goes to `state` is to be like.
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    fn attributes(&mut self, state: sys::ibv_qp_state::Type) -> Result<sys::ibv_qp_attr, Failure> {
        let mut attributes = sys::ibv_qp_attr {
            qp_state: state,
            ..sys::ibv_qp_attr::default()
        };
        let mut mask = 0;
        // SAFETY: the identifier lives, and both addresses are of live variables.
        let result = unsafe {
            let init = self.functions().init_qp_attr;
            init(self.raw.as_ptr(), &raw mut attributes, &raw mut mask)
        };
        checked("rdma_init_qp_attr", result)?;
        Ok(attributes)
    }

    /// Waits for the event `wanted` of what `call` has begun.
    fn wait(
        &self,
        call: &'static str,
        wanted: c_uint,
        limit: Duration,
        stream: &TcpStream,
    ) -> Result<News, Cut> {
        let end = Instant::now() + limit;
        // A peer that has accepted says so over TCP too, maybe before the connection manager reports it.
        let mut has_accepted = false;
        loop {
            if let Some(news) = self.channel.next()? {
                if news.event == wanted && news.status == 0 {
                    return Ok(news);
                }
                // The peer's program has, and says why over TCP.
                if (news.event, news.status) == (raw::REJECTED, BY_PROGRAM) {
                    return Err(Cut::ByPeer);
                }
                return Err(failure_of(call, news.event, news.status).into());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let problem = format!("nothing came from the peer within {} s", limit.as_secs());
                return Err(Failure::new(call, problem).because(UNANSWERED).into());
            }
            if self.sleep((!has_accepted).then_some(stream), left)? {
                has_accepted = is_accepted(stream);
                if !has_accepted {
                    return Err(Cut::ByPeer);
                }
            }
        }
    }

    /// Sleeps until there is a report; returns whether there is something from the peer instead.
    fn sleep(&self, stream: Option<&TcpStream>, limit: Duration) -> Result<bool, Failure> {
        let watched = [Some(self.channel.fd()), stream.map(TcpStream::as_fd)];
        let watched = watched.into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = watched
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let limit = Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::of_call("poll", &errno.into())),
        }
        let has_news = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(has_news(1) && !has_news(0))
    }
}

impl Drop for Id {
    #[expect(unsafe_code, reason = "a call of librdmacm")]
    fn drop(&mut self) {
        // SAFETY: it is destroyed once, and every event of it has been acknowledged.
        unsafe { (self.functions().destroy_id)(self.raw.as_ptr()) };
    }
}

/// Whether what the peer says next is that its step has worked; it is left to be heard.
fn is_accepted(stream: &TcpStream) -> bool {
    let mut word = [0];
    matches!(stream.peek(&mut word), Ok(1)) && word[0] == ACCEPTED
}

/// The reason of a rejection by a program: `IB_CM_REJ_CONSUMER_DEFINED` of the kernel.
const BY_PROGRAM: c_int = 28;
/// Why a peer usually does not answer.
const UNANSWERED: &str = "the peer has gone, or packets do not reach it: UDP port 4791 closed, or an \
                          address that only this host can reach";

/// What the connection manager's report `event` says went wrong with `call`.
pub(super) fn failure_of(call: &'static str, event: c_uint, status: c_int) -> Failure {
    let of_errno = |call| Failure::of_call(call, &io::Error::from_raw_os_error(status.abs()));
    match event {
        raw::ADDR_ERROR => of_errno("rdma_resolve_addr"),
        raw::ROUTE_ERROR => of_errno("rdma_resolve_route"),
        raw::CONNECT_ERROR => of_errno("rdma_connect"),
        raw::UNREACHABLE => {
            Failure::new(call, "the peer's connection manager does not answer").because(UNANSWERED)
        }
        raw::REJECTED => {
            let failure = Failure::new(call, format!("the peer rejected it (reason {status})"));
            match status {
                // `IB_CM_REJ_INVALID_SERVICE_ID` of the kernel.
                8 => failure.because("nobody listens there any more: did the peer's process end?"),
                _ => failure,
            }
        }
        _ => Failure::new(call, format!("event {event}, status {status}")),
    }
}

/// Parameters of a connection of a queue pair that the library does not know.
fn parameters(queue_pair: u32, private: &[u8]) -> raw::ConnParam {
    raw::ConnParam {
        private_data: private.as_ptr().cast::<c_void>(),
        private_data_len: u8::try_from(private.len()).expect("private data is short"),
        responder_resources: READS,
        initiator_depth: READS,
        flow_control: 0,
        retry_count: 6,
        rnr_retry_count: 0,
        srq: 0,
        qp_num: queue_pair,
    }
}

/// An address as calls of the system take it.
#[expect(unsafe_code, reason = "structures of the C library")]
fn storage(address: SocketAddr) -> libc::sockaddr_storage {
    // SAFETY: all of it may be zero.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let to = &raw mut storage;
    match address {
        SocketAddr::V4(address) => {
            let plain = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is as large and as aligned as every kind of address.
            unsafe { to.cast::<libc::sockaddr_in>().write(plain) };
        }
        SocketAddr::V6(address) => {
            let plain = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { to.cast::<libc::sockaddr_in6>().write(plain) };
        }
    }
    storage
}

//! What went wrong with verbs: the call, the device, the peer and the usual cause.

use std::fmt;
use std::io;

use ibverbs::ibv_wc_status;

/// A verbs call that failed, or a work request that did.
#[derive(Debug)]
pub(super) struct Failure {
    /// The call, or the work whose completion reported the failure.
    pub(super) call: &'static str,
    /// The device, once there is one.
    pub(super) device: Option<String>,
    /// Who is at the other end, once there is one.
    pub(super) peer: Option<String>,
    /// What the library, the kernel or the adapter said.
    pub(super) problem: String,
    /// What it usually comes from, and what to do.
    pub(super) cause: Option<String>,
}

impl Failure {
    /// A failure of `call` with the error `source`.
    pub(super) fn of_call(call: &'static str, source: &io::Error) -> Failure {
        Failure {
            call,
            device: None,
            peer: None,
            problem: source.to_string(),
            cause: cause_of(call, source),
        }
    }

    /// A work request that completed with `status`, which is not success.
    pub(super) fn of_status(status: ibv_wc_status::Type, vendor: u32) -> Failure {
        let (problem, cause) = of_status(status);
        Failure {
            call: "a work request",
            device: None,
            peer: None,
            problem: format!("{problem} (status {status}, vendor's code {vendor:#x})"),
            cause: cause.map(str::to_owned),
        }
    }

    /// A failure that no call reported.
    pub(super) fn new(call: &'static str, problem: impl Into<String>) -> Failure {
        Failure {
            call,
            device: None,
            peer: None,
            problem: problem.into(),
            cause: None,
        }
    }

    /// A port that carries no messages.
    pub(super) fn inactive(call: &'static str) -> Failure {
        Failure::new(call, "its port is not active")
            .because("is the cable in, and the interface up (`ip link`)?")
    }

    pub(super) fn because(mut self, cause: impl Into<String>) -> Failure {
        self.cause = Some(cause.into());
        self
    }

    pub(super) fn on(mut self, device: &str) -> Failure {
        self.device.get_or_insert_with(|| device.to_owned());
        self
    }

    pub(super) fn with(mut self, peer: &str) -> Failure {
        self.peer.get_or_insert_with(|| peer.to_owned());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if let Some(device) = &self.device {
            write!(f, " on device `{device}`")?;
        }
        if let Some(peer) = &self.peer {
            write!(f, ", peer {peer}")?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(cause) = &self.cause {
            write!(f, "; {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        io::Error::other(failure)
    }
}

fn cause_of(call: &str, source: &io::Error) -> Option<String> {
    let errno = source.raw_os_error()?;
    let cause = match (call, errno) {
        ("ibv_get_device_list", libc::ENOSYS) => {
            "this kernel has no verbs, or its module `ib_uverbs` is not loaded (`modprobe ib_uverbs`)"
        }
        ("ibv_open_device", _) => {
            "this user may not open the files in /dev/infiniband, or they are not there"
        }
        ("ibv_reg_mr", libc::ENOMEM) => return Some(locked_memory()),
        ("ibv_create_cq" | "ibv_create_qp", libc::ENOMEM) => {
            "the device has no more of them, or the limit of locked memory is too low (`ulimit -l`)"
        }
        ("ibv_modify_qp to RTR", libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ETIMEDOUT) => {
            "no route or no neighbour from the address of this GID to the peer's; \
             both must be of one network"
        }
        ("rdma_create_event_channel", _) => {
            "this kernel has no connection manager for programs, or its module `rdma_ucm` is not loaded \
             (`modprobe rdma_ucm`)"
        }
        ("rdma_bind_addr", libc::EADDRNOTAVAIL | libc::ENODEV) => {
            "the address of its GID is on no interface of an adapter (`ip address`)"
        }
        (
            "rdma_resolve_addr" | "rdma_resolve_route",
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ETIMEDOUT | libc::ENODEV,
        ) => {
            "no route or no neighbour from the address of its GID to the peer's adapter; both must be \
             of one network"
        }
        ("ibv_modify_qp to RTR", libc::EINVAL) => {
            "the device does not take the GID index, the peer's GID or the MTU"
        }
        (_, libc::EIO) => "was the device removed, or its driver?",
        _ => return None,
    };
    Some(cause.to_owned())
}

/// The limit that keeps memory from being registered.
fn locked_memory() -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    let limit = limit.current.map_or_else(
        || "there is no limit of locked memory; is there any left?".to_owned(),
        |bytes| format!("the limit of locked memory is {} KiB", bytes / 1024),
    );
    format!("{limit}; raise it with `ulimit -l unlimited`, or LimitMEMLOCK=infinity of the service")
}

fn of_status(status: ibv_wc_status::Type) -> (&'static str, Option<&'static str>) {
    match status {
        ibv_wc_status::IBV_WC_LOC_LEN_ERR => (
            "a message was longer than the buffer posted for it",
            Some("the two ends do not run the same scenario"),
        ),
        ibv_wc_status::IBV_WC_LOC_QP_OP_ERR => (
            "it was not as the queue pair wants it",
            Some("a message was longer than the buffer posted for it"),
        ),
        ibv_wc_status::IBV_WC_LOC_PROT_ERR => ("local memory was not registered for this", None),
        ibv_wc_status::IBV_WC_WR_FLUSH_ERR => (
            "it was flushed",
            Some("the queue pair failed before, or the peer has gone"),
        ),
        ibv_wc_status::IBV_WC_REM_INV_REQ_ERR => (
            "the peer's adapter refused the request",
            Some("the message was longer than the buffer posted for it"),
        ),
        ibv_wc_status::IBV_WC_REM_ACCESS_ERR => (
            "the peer's memory was not registered for this",
            Some("the two ends do not run the same scenario"),
        ),
        ibv_wc_status::IBV_WC_REM_OP_ERR => (
            "the peer's adapter could not do it",
            Some("the message was longer than the buffer posted for it"),
        ),
        ibv_wc_status::IBV_WC_RETRY_EXC_ERR => (
            "the peer's adapter did not answer",
            Some(
                "the peer has gone, or packets do not reach it: wrong GID index, an MTU larger \
                 than the network's, UDP port 4791 closed",
            ),
        ),
        ibv_wc_status::IBV_WC_RNR_RETRY_EXC_ERR => (
            "the peer had no receive posted",
            Some("the two ends do not keep the same protocol"),
        ),
        _ => ("it failed", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn of(call: &'static str, errno: i32) -> Failure {
        Failure::of_call(call, &io::Error::from_raw_os_error(errno)).on("rxe0")
    }

    #[test]
    fn a_failure_names_call_device_peer_and_cause() {
        assert_snapshot!(of("ibv_modify_qp to RTR", libc::ENETUNREACH).with("10.79.0.2:4000"), @"ibv_modify_qp to RTR on device `rxe0`, peer 10.79.0.2:4000: Network is unreachable (os error 101); no route or no neighbour from the address of this GID to the peer's; both must be of one network");
        assert_snapshot!(of("ibv_modify_qp to RTR", libc::EINVAL), @"ibv_modify_qp to RTR on device `rxe0`: Invalid argument (os error 22); the device does not take the GID index, the peer's GID or the MTU");
        assert_snapshot!(of("ibv_open_device", libc::EACCES), @"ibv_open_device on device `rxe0`: Permission denied (os error 13); this user may not open the files in /dev/infiniband, or they are not there");
        assert_snapshot!(of("ibv_create_qp", libc::ENOMEM), @"ibv_create_qp on device `rxe0`: Cannot allocate memory (os error 12); the device has no more of them, or the limit of locked memory is too low (`ulimit -l`)");
        assert_snapshot!(Failure::of_call("ibv_get_device_list", &io::Error::from_raw_os_error(libc::ENOSYS)), @"ibv_get_device_list: Function not implemented (os error 38); this kernel has no verbs, or its module `ib_uverbs` is not loaded (`modprobe ib_uverbs`)");
        assert!(
            of("ibv_reg_mr", libc::ENOMEM)
                .to_string()
                .contains("locked memory")
        );
    }

    #[test]
    fn a_failed_work_request_names_the_usual_cause() {
        let of = |status| {
            Failure::of_status(status, 0x81)
                .on("rxe0")
                .with("10.79.0.2:4000")
        };
        assert_snapshot!(of(ibv_wc_status::IBV_WC_RETRY_EXC_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: the peer's adapter did not answer (status 12, vendor's code 0x81); the peer has gone, or packets do not reach it: wrong GID index, an MTU larger than the network's, UDP port 4791 closed");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_RNR_RETRY_EXC_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: the peer had no receive posted (status 13, vendor's code 0x81); the two ends do not keep the same protocol");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_REM_ACCESS_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: the peer's memory was not registered for this (status 10, vendor's code 0x81); the two ends do not run the same scenario");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_REM_INV_REQ_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: the peer's adapter refused the request (status 9, vendor's code 0x81); the message was longer than the buffer posted for it");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_LOC_QP_OP_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: it was not as the queue pair wants it (status 2, vendor's code 0x81); a message was longer than the buffer posted for it");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_REM_OP_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: the peer's adapter could not do it (status 11, vendor's code 0x81); the message was longer than the buffer posted for it");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_LOC_LEN_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: a message was longer than the buffer posted for it (status 1, vendor's code 0x81); the two ends do not run the same scenario");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_LOC_PROT_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: local memory was not registered for this (status 4, vendor's code 0x81)");
        assert_snapshot!(of(ibv_wc_status::IBV_WC_WR_FLUSH_ERR), @"a work request on device `rxe0`, peer 10.79.0.2:4000: it was flushed (status 5, vendor's code 0x81); the queue pair failed before, or the peer has gone");
        assert_snapshot!(of(19), @"a work request on device `rxe0`, peer 10.79.0.2:4000: it failed (status 19, vendor's code 0x81)");
    }
}

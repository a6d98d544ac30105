//! What threads ask of the kernel's scheduler; nothing here needs a privilege.
//!
//! Roles that share a core have threads that compute for milliseconds and threads that move a
//! message within microseconds. Since Linux 6.6 (EEVDF) a running thread is protected from those
//! that wake until its slice of some 3 ms is used, so a message would wait that long for a core
//! that computes. Since 6.12 a thread may ask for a shorter slice, and then preempts when it wakes
//! (`sched_setattr` with `sched_runtime`; kernel documentation, `sched-eevdf.rst`). Older kernels
//! ignore the slice, and let most threads that wake preempt anyway.

use std::io;

/// Slice of threads that move messages: the least the kernel grants, in nanoseconds.
const SHORT_SLICE_NS: u64 = 100_000;

/// `struct sched_attr`, first published version (48 bytes); see sched_setattr(2).
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Asks for a short slice for the calling thread, so that it preempts threads that compute.
///
/// # Errors
/// If the kernel refuses; the thread then runs as before.
#[expect(unsafe_code, reason = "the C library has no wrapper for sched_setattr")]
pub fn prefer_short_slices() -> io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime_ns: SHORT_SLICE_NS,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the kernel reads `attr.size` bytes from a live `sched_attr`; thread 0 is the caller,
    // and no memory is written.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0u32) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_thread_may_ask() {
        std::thread::spawn(|| prefer_short_slices().unwrap())
            .join()
            .unwrap();
    }
}

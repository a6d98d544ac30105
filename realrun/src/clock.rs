//! The clocks of a measurement: one monotonic clock for the machine, one CPU clock a thread.

use rustix::thread::{ClockId as SleepClock, clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

const NS_PER_S: u64 = 1_000_000_000;

fn ns(time: Timespec) -> u64 {
    let secs = u64::try_from(time.tv_sec).expect("clocks that count from boot are not negative");
    secs * NS_PER_S + u64::try_from(time.tv_nsec).expect("nanoseconds are not negative")
}

/// `CLOCK_MONOTONIC`, in nanoseconds: the same for all processes and network namespaces of a
/// machine.
pub fn monotonic_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// Core time that the calling thread has used, in nanoseconds. A system call: about 0.2 us.
pub fn thread_cpu_ns() -> u64 {
    ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// Core time that the calling process has used, in nanoseconds.
pub fn process_cpu_ns() -> u64 {
    ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// Sleeps until the monotonic clock shows `at_ns`; returns at once if it is past that.
pub fn sleep_until(at_ns: u64) {
    let request = Timespec {
        tv_sec: i64::try_from(at_ns / NS_PER_S).expect("a date this century"),
        tv_nsec: (at_ns % NS_PER_S) as _,
    };
    while monotonic_ns() < at_ns {
        // Interrupted by a signal: look at the clock and sleep on.
        let _interrupted = clock_nanosleep_absolute(SleepClock::Monotonic, &request);
    }
}

/// Lets the calling thread's sleeps end on time instead of up to 50 us late (the kernel's default
/// slack). Where the kernel refuses, sleeps are late, and request spans show it.
pub fn sleep_precisely() {
    let _refused = set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// A point in time and in the calling thread's core time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Monotonic clock, in nanoseconds.
    pub at_ns: u64,
    /// Core time of the thread, in nanoseconds.
    pub cpu_ns: u64,
}

impl Stamp {
    /// Now.
    pub fn now() -> Stamp {
        Stamp {
            at_ns: monotonic_ns(),
            cpu_ns: thread_cpu_ns(),
        }
    }
}

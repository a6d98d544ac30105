//! All compute of a context with one thread is on the thread that calls.
//!
//! The only test of its process, as it reads the process's CPU clock and counts its threads.

use std::fs;
use std::time::Duration;

use realrun::accelerator::cpu::CpuAccelerator;
use realrun::accelerator::nets::NetName;
use realrun::accelerator::{Accelerator, ContextSpec, Input, NetSpec, Weights, Workload};
use rustix::time::{ClockId, clock_gettime};

fn cpu_time(clock: ClockId) -> Duration {
    clock_gettime(clock)
        .try_into()
        .expect("a CPU time is not negative")
}

fn n_threads() -> usize {
    fs::read_dir("/proc/self/task")
        .expect("Linux lists the threads")
        .count()
}

#[test]
fn a_context_with_one_thread_computes_on_the_thread_that_calls() {
    let spec = ContextSpec {
        workload: Workload::Net(NetSpec {
            net: NetName::Resnet18,
            side: 96,
            weights: Weights::Random { seed: 1 },
            input: Input::Raw {
                width: 120,
                height: 90,
            },
        }),
        max_batch: 2,
        threads: 1,
    };
    let threads = n_threads();
    let (process, thread) = (
        cpu_time(ClockId::ProcessCPUTime),
        cpu_time(ClockId::ThreadCPUTime),
    );

    let mut context = CpuAccelerator::new().context(&spec).unwrap();
    for _ in 0..3 {
        context.preprocess(2).unwrap();
        context.infer(2).unwrap();
    }

    let thread = cpu_time(ClockId::ThreadCPUTime) - thread;
    let process = cpu_time(ClockId::ProcessCPUTime) - process;
    assert_eq!(n_threads(), threads, "threads were started");
    let elsewhere = process.saturating_sub(thread);
    assert!(
        elsewhere < thread / 50,
        "{elsewhere:?} on other threads, {thread:?} on this one"
    );
}

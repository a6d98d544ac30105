//! How many requests a second of wall time a GPU handles by itself, on one core, with 16 streams in
//! a closed loop: each as 60 kernels like those of a ResNet-50, and each lumped as one phase; for
//! the streams of one process, for a client of the Multi-Process Service each, and for a process
//! each. Prints one JSON object.
//!
//! ```text
//! cargo run --release -p tandem-sim --example gpu_rate
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

use std::sync::Arc;
use std::time::Instant;

use schema::units::{SimDuration, SimTime};
use sim::gpu::{
    BlockShape, DeviceSpec, Gpu, Kernel, LinkSpec, MpsSpec, Op, Phase, ProcessSpec, Run, Step,
    StreamId,
};

const STREAMS: u32 = 16;
const KERNELS: u32 = 60;
const ROUNDS: usize = 2;

/// An A100: 108 multiprocessors.
fn device() -> DeviceSpec {
    DeviceSpec {
        sms: 108,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        registers_per_sm: 65_536,
        shared_memory_per_sm: 164 << 10,
        dram_bandwidth: 1.5e12,
        dram_occupancy: 0.5,
        clock: 1.0,
        waves_per_kernel: 2,
        hardware_queues: 32,
        priority_levels: 6,
        time_slice: SimDuration::from_ns(1_024_000),
        context_switch: SimDuration::from_ns(50_000),
        interference_exponent: 1.0,
        overhead_interference: 0.02,
    }
}

/// 50 to 800 blocks of 128 or 256 threads, 2 to 20 us each.
fn kernels() -> Arc<[Step]> {
    (0..KERNELS)
        .map(|index| {
            let spread =
                |from: u32, to: u32| from + (index * 37 + 11) % KERNELS * (to - from) / KERNELS;
            let blocks = spread(50, 800);
            Step::Kernel(Kernel {
                overhead: SimDuration::from_ns(1_500),
                blocks,
                shape: BlockShape {
                    threads: if index % 3 == 0 { 256 } else { 128 },
                    registers: 64,
                    shared_memory: 16 << 10,
                },
                time: SimDuration::from_ns(u64::from(spread(2_000, 20_000))),
                bytes: 20_000.0,
            })
        })
        .collect()
}

fn lumped() -> Arc<[Step]> {
    Arc::new([Step::Phase(Phase {
        overhead: SimDuration::from_ns(90_000),
        compute: 400e-6,
        parallelism: 0.6,
        bytes: 4e8,
        intensity: 0.2,
    })])
}

/// Requests per second of wall time, of so many, and events per request.
fn rate(processes: &[ProcessSpec], steps: &Arc<[Step]>, requests: u32) -> (f64, f64) {
    let link = LinkSpec {
        bandwidth: 25e9,
        duplex_penalty: 0.0,
    };
    let mut gpu: Gpu<StreamId> = Gpu::new(link, &[device()]);
    let owners: Vec<_> = processes.iter().map(|p| gpu.add_process(0, p)).collect();
    // Of different lengths, so that they do not end together.
    let run = |number: u32| {
        Op::Run(Run {
            steps: steps.clone(),
            factor: 0.75 + 0.1 * f64::from(number % 7),
            pace: SimDuration::ZERO,
        })
    };
    let start = now();
    for index in 0..STREAMS {
        let stream = gpu.add_stream(owners[index as usize % owners.len()]);
        gpu.submit(SimTime::ZERO, stream, 0, run(index), stream);
    }
    gpu.settle(SimTime::ZERO);
    let (mut done, mut events) = (0, 0u32);
    while done < requests {
        let at = gpu.next().expect("a closed loop never ends");
        gpu.settle(at);
        events += 1;
        let before = done;
        while let Some(ended) = gpu.pop_done() {
            done += 1;
            gpu.submit(at, ended.token, 0, run(STREAMS + done), ended.token);
        }
        if done > before {
            gpu.settle(at);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    (
        f64::from(done) / seconds,
        f64::from(events) / f64::from(done),
    )
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let client = ProcessSpec {
        mps: Some(MpsSpec { cap: 1.0, level: 0 }),
    };
    let alone = ProcessSpec { mps: None };
    let sharing = [
        ("streams", vec![alone], 2_000),
        ("mps", vec![client; STREAMS as usize], 500),
        ("time_slices", vec![alone; STREAMS as usize], 5_000),
    ];
    let best = |processes: &[ProcessSpec], steps: &Arc<[Step]>, requests| {
        let rounds = (0..ROUNDS).map(|_| rate(processes, steps, requests));
        let (rate, events) = rounds.fold(
            (0.0, 0.0),
            |best: (f64, f64), round| {
                if round.0 > best.0 { round } else { best }
            },
        );
        format!("{{\"requests_per_s\": {rate:.0}, \"events_per_request\": {events:.1}}}")
    };
    let results = sharing.map(|(name, processes, requests)| {
        format!(
            "\"{name}\": {{\"kernels\": {}, \"phases\": {}}}",
            best(&processes, &kernels(), requests),
            best(&processes, &lumped(), 200_000),
        )
    });
    println!("{{{}}}", results.join(", "));
}

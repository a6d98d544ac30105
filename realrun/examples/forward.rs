//! Times each net on this machine's processor: one request at a time, on one thread.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release -p tandem-realrun --example forward
//! ```
//!
//! Wall time is the time a request takes; CPU time, of the thread that calls, is the part in which
//! the thread ran. If they differ, something else had the core.

#![expect(clippy::print_stdout, reason = "the table is what the example is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use realrun::accelerator::cpu::CpuAccelerator;
use realrun::accelerator::nets::NetName;
use realrun::accelerator::{
    Accelerator, Context, ContextSpec, Input, NetSpec, SyntheticSpec, Weights, Workload,
};
use rustix::time::{ClockId, clock_gettime};

/// Image of the reference study, in pixels.
const RAW: Input = Input::Raw {
    width: 500,
    height: 546,
};

/// Measuring goes on for this long, and for this many iterations.
const ENOUGH: (Duration, usize) = (Duration::from_secs(1), 5);

fn main() -> Result<(), Box<dyn Error>> {
    let accelerator = CpuAccelerator::new();
    let description = accelerator.describe();
    println!("{}: {}", description.backend, description.device);
    for warning in description.warnings {
        eprintln!("warning: {warning}");
    }
    println!(
        "workload            side  preprocess ms  infer ms  infer CPU ms  copy in us  copy out us"
    );
    for net in NetName::ALL {
        for side in [64, 96, 128, 224] {
            let spec = NetSpec {
                net,
                side,
                weights: Weights::Random { seed: 1 },
                input: RAW,
            };
            let times = measure(&accelerator, Workload::Net(spec))?;
            println!("{:18}  {side:>4}  {times}", net.as_str());
        }
    }
    let spin = SyntheticSpec {
        preprocess: Duration::from_millis(1),
        infer_fixed: Duration::from_millis(2),
        infer_per_request: Duration::from_millis(3),
        max_payload_bytes: 819_000,
        output_bytes: 4_000,
    };
    let times = measure(&accelerator, Workload::Synthetic(spin))?;
    println!("{:18}  {:>4}  {times}", "synthetic 1+5", "-");
    Ok(())
}

/// The medians of each phase as a row of the table.
fn measure(accelerator: &CpuAccelerator, workload: Workload) -> Result<String, Box<dyn Error>> {
    let mut context = accelerator.context(&ContextSpec {
        workload,
        max_batch: 1,
        threads: 1,
    })?;
    let mut rows = Vec::new();
    let start = Instant::now();
    while start.elapsed() < ENOUGH.0 || rows.len() < ENOUGH.1 {
        rows.push(request(&mut *context)?);
    }
    let [copy_in, preprocess, infer, infer_cpu, copy_out] = std::array::from_fn(|phase| {
        let mut times: Vec<Duration> = rows.iter().map(|row| row[phase]).collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    });
    Ok(format!(
        "{preprocess:>13.3}  {infer:>8.3}  {infer_cpu:>12.3}  {:>10.1}  {:>11.1}",
        copy_in * 1e3,
        copy_out * 1e3
    ))
}

/// Times of copy in, preprocessing, inference, the same on the CPU clock, and copy out.
fn request(context: &mut dyn Context) -> Result<[Duration; 5], Box<dyn Error>> {
    let payload = vec![128; context.payload_bytes()];
    let mut reply = vec![0; context.reply_bytes()];
    let start = Instant::now();
    context.copy_in(0, &payload)?;
    let copied = Instant::now();
    context.preprocess(1)?;
    context.synchronize()?;
    let preprocessed = Instant::now();
    let cpu = thread_cpu_time()?;
    context.infer(1)?;
    context.synchronize()?;
    let cpu = thread_cpu_time()?.saturating_sub(cpu);
    let inferred = Instant::now();
    context.copy_out(0, &mut reply)?;
    Ok([
        copied - start,
        preprocessed - copied,
        inferred - preprocessed,
        cpu,
        inferred.elapsed(),
    ])
}

fn thread_cpu_time() -> Result<Duration, Box<dyn Error>> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

//! A GPU as servers of queueing theory: Poisson arrivals of runs or copies.
//!
//! As for plain stations, theory must lie in the Student t interval over independent replications,
//! which is at most 3% to either side, and not in that of a known error, of services 4% longer. There
//! are fewer than 100 intervals, each of 99.99%.

use rand::rngs::ChaCha8Rng;
use schema::random::{Seed, exponential, stream, uniform};
use schema::stats::{Estimate, mean_interval};
use schema::units::{SimDuration, SimTime};
use sim::gpu::{DeviceSpec, Direction, Gpu, Kernel, Op, Run, Step, StreamId};
use sim::theory;
use sim::theory::PriorityClass;

use crate::fixture::*;

const CONFIDENCE: f64 = 1.0 - 0.01 / 100.0;
const WIDEST: f64 = 0.03;
const REPLICATIONS: u32 = 24;
const LONGER: f64 = 1.04;
/// Arrivals of a replication, of which the first tenth does not count.
const ARRIVALS: usize = 40_000;
/// Mean service time, in seconds.
const SERVICE: f64 = 1e-6;

/// An arrival: its stream if it has one, its priority, and its operation.
struct Arrival {
    stream: Option<usize>,
    priority: i32,
    op: Op,
}

/// Mean sojourn and waiting times by `-priority`, in seconds; an arrival waits until its kernels
/// start.
#[derive(Clone, Copy, Default)]
struct Means {
    n: f64,
    sojourn: f64,
    waiting: f64,
}

/// One replication: `draw` gives what arrives, `lambda` a second; what has no stream gets one that
/// is idle.
fn replicate(
    spec: DeviceSpec,
    lambda: f64,
    index: u32,
    draw: &dyn Fn(&mut ChaCha8Rng) -> Arrival,
) -> [Means; 2] {
    let seed = Seed(0).replication(index);
    let (mut arrivals, mut ops) = (stream(seed, "arrivals"), stream(seed, "operations"));
    let mut gpu: Gpu<(SimTime, usize, bool)> = Gpu::new(wide(), &[spec]);
    let process = gpu.add_process(0, &ALONE);
    let streams: Vec<StreamId> = (0..400).map(|_| gpu.add_stream(process)).collect();
    gpu.keep_kernels();
    let mut idle: Vec<usize> = (0..streams.len()).collect();
    let mut means = [Means::default(); 2];
    let mut starts = vec![SimTime::ZERO; streams.len()];
    let (mut arrived, mut next_arrival) = (0, SimTime::ZERO);
    loop {
        let arrival = (arrived < ARRIVALS).then_some(next_arrival);
        let Some(now) = arrival.into_iter().chain(gpu.next()).min() else {
            return means;
        };
        if arrival == Some(now) {
            let Arrival {
                stream,
                priority,
                op,
            } = draw(&mut ops);
            let at = stream.unwrap_or_else(|| idle.pop().expect("a stream is idle"));
            let counts = arrived >= ARRIVALS / 10;
            let class = priority.unsigned_abs() as usize;
            // A token says whether its stream goes back.
            let token = (now, class << 16 | at, stream.is_none());
            gpu.submit(now, streams[at], priority, op, token);
            arrived += 1;
            if !counts {
                means = [Means::default(); 2];
            }
            let gap = exponential(&mut arrivals, 1.0 / lambda);
            next_arrival = now + SimDuration::from_secs_f64(gap);
        }
        gpu.settle(now);
        for span in gpu.take_kernels() {
            let at = streams.binary_search(&span.stream).expect("it is a stream");
            starts[at] = span.start;
        }
        while let Some(done) = gpu.pop_done() {
            let (since, place, goes_back) = done.token;
            let (class, at) = (place >> 16, place & 0xffff);
            let start = starts[at].max(done.start);
            let mean = &mut means[class];
            mean.n += 1.0;
            mean.sojourn += done.end.since(since).as_secs_f64();
            mean.waiting += start.since(since).as_secs_f64();
            if goes_back {
                idle.push(at);
            }
        }
    }
}

/// Intervals of mean sojourn and waiting times, by `-priority`.
fn run(
    spec: DeviceSpec,
    lambda: f64,
    draw: impl Fn(&mut ChaCha8Rng) -> Arrival,
) -> [(Estimate, Estimate); 2] {
    let all: Vec<[Means; 2]> = (0..REPLICATIONS)
        .map(|index| replicate(spec, lambda, index, &draw))
        .collect();
    [0, 1].map(|class| {
        let over = |of: fn(&Means) -> f64| {
            let sample: Vec<f64> = all.iter().map(|m| of(&m[class]) / m[class].n).collect();
            mean_interval(&sample, CONFIDENCE)
        };
        (over(|m| m.sojourn), over(|m| m.waiting))
    })
}

#[track_caller]
fn assert_theory(what: &str, theory: f64, right: Estimate, wrong: Estimate) {
    let found = format!(
        "{what}: theory {theory:.4e}, found {:.4e} to {:.4e}, with an error {:.4e} to {:.4e}",
        right.low, right.high, wrong.low, wrong.high
    );
    eprintln!("{found}");
    assert!(right.low <= theory && theory <= right.high, "{found}");
    assert!(
        (right.high - right.low) / 2.0 < WIDEST * theory,
        "the interval is too wide to be a test. {found}"
    );
    assert!(
        theory < wrong.low || wrong.high < theory,
        "a known error is not noticed. {found}"
    );
}

/// A phase that takes `factor` times [`SERVICE`] by itself.
fn lumped(factor: f64) -> Op {
    Op::Run(Run {
        steps: [Step::Phase(phase(1_000))].into(),
        factor,
        pace: ns(0),
    })
}

fn on_one(op: Op) -> Arrival {
    Arrival {
        stream: Some(0),
        priority: 0,
        op,
    }
}

fn on_any(op: Op) -> Arrival {
    Arrival {
        stream: None,
        priority: 0,
        op,
    }
}

/// Whose mean is one.
fn factor(rng: &mut ChaCha8Rng) -> f64 {
    exponential(rng, 1.0)
}

#[test]
fn a_stream_is_md1() {
    let lambda = 0.6 / SERVICE;
    let [right, wrong] =
        [1.0, LONGER].map(|longer| run(base(), lambda, |_| on_one(lumped(longer)))[0]);
    let waiting = theory::mg1_mean_waiting_time(lambda, SERVICE, 0.0).unwrap();
    assert_theory("M/D/1 sojourn time", waiting + SERVICE, right.0, wrong.0);
    assert_theory("M/D/1 waiting time", waiting, right.1, wrong.1);
}

#[test]
fn a_stream_is_mm1() {
    let lambda = 0.5 / SERVICE;
    let [right, wrong] = [1.0, LONGER]
        .map(|longer| run(base(), lambda, |rng| on_one(lumped(longer * factor(rng))))[0]);
    let sojourn = theory::mm1_mean_sojourn_time(lambda, 1.0 / SERVICE).unwrap();
    assert_theory("M/M/1 sojourn time", sojourn, right.0, wrong.0);
}

#[test]
fn a_copy_engine_is_md1() {
    let lambda = 0.6 / SERVICE;
    let [right, wrong] = [500, 540].map(|setup| {
        let op = Op::Copy(copy(Direction::H2d, setup, 500));
        run(base(), lambda, |_| on_any(op.clone()))[0]
    });
    let waiting = theory::mg1_mean_waiting_time(lambda, SERVICE, 0.0).unwrap();
    assert_theory("copies' waiting time", waiting, right.1, wrong.1);
}

#[test]
fn phases_of_many_streams_are_mg1_processor_sharing() {
    let lambda = 0.5 / SERVICE;
    let sojourn = theory::mg1_ps_mean_sojourn_time(lambda, SERVICE).unwrap();
    let [right, wrong] =
        [1.0, LONGER].map(|longer| run(base(), lambda, |_| on_any(lumped(longer)))[0]);
    assert_theory("M/D/1 PS sojourn time", sojourn, right.0, wrong.0);
    let [right, wrong] = [1.0, LONGER]
        .map(|longer| run(base(), lambda, |rng| on_any(lumped(longer * factor(rng))))[0]);
    assert_theory("M/M/1 PS sojourn time", sojourn, right.0, wrong.0);
}

/// One kernel of so many blocks of a quarter of the device.
fn quarters(blocks: u32, factor: f64) -> Op {
    Op::Run(Run {
        steps: [Step::Kernel(kernel(blocks, 1024, 1_000))].into(),
        factor,
        pace: ns(0),
    })
}

/// Hardware queues for all streams.
const fn many_queues() -> DeviceSpec {
    DeviceSpec {
        hardware_queues: 400,
        ..base()
    }
}

#[test]
fn slots_for_blocks_are_servers_of_mm4() {
    let (lambda, mu) = (4.0 * 0.7 / SERVICE, 1.0 / SERVICE);
    let [right, wrong] = [1.0, LONGER].map(|longer| {
        run(many_queues(), lambda, |rng| {
            on_any(quarters(1, longer * factor(rng)))
        })[0]
    });
    let sojourn = theory::mmc_mean_sojourn_time(lambda, mu, 4).unwrap();
    assert_theory("M/M/4 sojourn time", sojourn, right.0, wrong.0);
}

#[test]
fn priorities_of_streams_do_not_preempt() {
    let (lambda, mu) = (0.6 / SERVICE, 1.0 / SERVICE);
    let class = PriorityClass {
        lambda: lambda / 2.0,
        mean_service: 1.0 / mu,
        cv: 1.0,
    };
    let [right, wrong] = [1.0, LONGER].map(|longer| {
        run(many_queues(), lambda, |rng| Arrival {
            stream: None,
            priority: -i32::from(uniform(rng) < 0.5),
            op: quarters(4, longer * factor(rng)),
        })
    });
    let waiting = theory::nonpreemptive_mean_waiting_times(&[class; 2]).unwrap();
    // The first is served first.
    for (name, index, class) in [("high", 0, 1), ("low", 1, 0)] {
        let what = format!("{name} priority's sojourn time");
        let sojourn = waiting[index] + SERVICE;
        assert_theory(&what, sojourn, right[class].0, wrong[class].0);
    }
}

/// The kernel that [`quarters`] is made of fills the device if it has four blocks.
#[test]
fn a_quarter_is_a_slot() {
    let Kernel { shape, .. } = kernel(1, 1024, 1);
    assert_eq!(base().blocks_that_fit(&shape) * base().sms, 4);
}

//! Stations and whole scenarios against queueing theory.
//!
//! Each test runs 20 independent replications on fixed seeds and asserts that theory lies in the
//! 99.9% Student t interval of the mean, and that the interval is at most 3% to either side; beside
//! it, that a service time 3% longer falls outside. With fewer than ten intervals in all, one would
//! miss by chance with a probability below 1%.

use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;
use schema::random::{Seed, exponential, stream};
use schema::scenario::{BatchClose, BatchPolicy};
use schema::stats::{Estimate, mean, mean_interval};

use super::*;
use crate::completions;
use crate::engine::EventQueue;
use crate::stations::{BatchLine, ProcessorSharing};

const REPLICATIONS: u32 = 20;
const CONFIDENCE: f64 = 0.999;

/// What a station test draws from.
#[derive(Clone, Copy)]
struct Load {
    /// Requests per second.
    rate: f64,
    /// Mean service time, in seconds.
    service: f64,
    law: Service,
}

#[derive(Clone, Copy, PartialEq)]
enum Service {
    Exponential,
    Constant,
}

impl Load {
    fn service(self, rng: &mut ChaCha8Rng) -> SimDuration {
        SimDuration::from_secs_f64(match self.law {
            Service::Exponential => exponential(rng, self.service),
            Service::Constant => self.service,
        })
    }
}

/// Requests of a replication, and how many of them are left out at the start.
const N: usize = 20_000;
const TRANSIENT: usize = 4_000;

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrival,
    Departure(u32),
}

/// Mean sojourn time at a FIFO station with `servers` servers, in seconds.
fn fifo(seed: Seed, load: Load, servers: u32) -> f64 {
    let (mut gaps, mut services) = (stream(seed, "arrivals"), stream(seed, "service"));
    let mut queue = EventQueue::new();
    let one_by_one = BatchPolicy {
        max: 1,
        delay: SimDuration::ZERO,
        preferred: Vec::new(),
        close: BatchClose::AtStart,
    };
    let mut line: BatchLine<SimTime> = BatchLine::new(servers, &one_by_one);
    let mut in_service = vec![SimTime::ZERO; servers as usize];
    let (mut n_arrived, mut sojourn_s, mut batch) = (0, Vec::with_capacity(N), Vec::new());
    queue.schedule_at(SimTime::ZERO, Event::Arrival);
    while let Some(event) = queue.pop() {
        match event {
            Event::Arrival => {
                line.arrive(queue.now(), queue.now());
                n_arrived += 1;
                if n_arrived < N {
                    let gap = exponential(&mut gaps, 1.0 / load.rate);
                    queue.schedule_in(SimDuration::from_secs_f64(gap), Event::Arrival);
                }
            }
            Event::Departure(server) => {
                let arrival = in_service[server as usize];
                sojourn_s.push(queue.now().since(arrival).as_secs_f64());
                line.release(server);
            }
        }
        while let Some(server) = line.take(queue.now(), &mut batch) {
            in_service[server as usize] = batch[0];
            queue.schedule_in(load.service(&mut services), Event::Departure(server));
        }
    }
    assert_eq!(sojourn_s.len(), N);
    mean(&sojourn_s[TRANSIENT..])
}

/// Mean sojourn time at a processor-sharing station of one core, in seconds.
fn processor_sharing(seed: Seed, load: Load) -> f64 {
    let (mut gaps, mut services) = (stream(seed, "arrivals"), stream(seed, "service"));
    let mut station = ProcessorSharing::new(1);
    let mut arrival = SimTime::ZERO;
    let mut sojourn_s = vec![f64::NAN; N];
    let mut n_arrived = 0;
    loop {
        match station.next_completion() {
            Some(end) if n_arrived == N || end < arrival => {
                let (request, since): (usize, SimTime) = station.complete(end);
                sojourn_s[request] = end.since(since).as_secs_f64();
            }
            _ if n_arrived < N => {
                station.submit(arrival, load.service(&mut services), (n_arrived, arrival));
                n_arrived += 1;
                let gap = exponential(&mut gaps, 1.0 / load.rate);
                arrival = arrival + SimDuration::from_secs_f64(gap);
            }
            _ => return mean(&sojourn_s[TRANSIENT..]),
        }
    }
}

fn replicate(one: impl Fn(Seed) -> f64 + Sync) -> Estimate {
    let means: Vec<f64> = (0..REPLICATIONS)
        .into_par_iter()
        .map(|index| one(Seed(0).replication(index)))
        .collect();
    mean_interval(&means, CONFIDENCE)
}

fn assert_inside(interval: Estimate, theory: f64) {
    let Estimate { low, high, .. } = interval;
    assert!(
        low <= theory && theory <= high,
        "{theory} not in [{low}, {high}]"
    );
    assert!(
        (high - low) / 2.0 <= 0.03 * theory,
        "[{low}, {high}] is too wide to be a test"
    );
}

fn assert_outside(interval: Estimate, theory: f64) {
    let Estimate { low, high, .. } = interval;
    assert!(theory < low || high < theory, "{theory} in [{low}, {high}]");
}

const fn load(rate: f64, service: f64, law: Service) -> Load {
    Load { rate, service, law }
}

#[test]
fn mm1_has_its_mean_sojourn_time() {
    let theory = 1.0 / (1000.0 - 500.0);
    let with =
        |service| replicate(|seed| fifo(seed, load(500.0, service, Service::Exponential), 1));
    assert_inside(with(1e-3), theory);
    assert_outside(with(1.03e-3), theory);
}

/// Pollaczek-Khinchine: `S + λ S² / (2 (1 - ρ))`.
#[test]
fn md1_has_its_mean_sojourn_time() {
    let theory = 1e-3 + 600.0 * 1e-6 / (2.0 * 0.4);
    let with = |service| replicate(|seed| fifo(seed, load(600.0, service, Service::Constant), 1));
    assert_inside(with(1e-3), theory);
    assert_outside(with(1.03e-3), theory);
}

/// Erlang C with c = 3 and a = 1.8: C = 0.354_7…, `S + C S / (c - a)`.
#[test]
fn mm3_has_its_mean_sojourn_time() {
    let (c, a) = (3.0, 1.8f64);
    let tail = a.powi(3) / 6.0 * c / (c - a);
    let erlang_c = tail / (1.0 + a + a * a / 2.0 + tail);
    let theory = 1e-3 + erlang_c * 1e-3 / (c - a);
    let with =
        |service| replicate(|seed| fifo(seed, load(1800.0, service, Service::Exponential), 3));
    assert_inside(with(1e-3), theory);
    assert_outside(with(1.03e-3), theory);
}

/// `S / (1 - ρ)`, whatever the distribution of service.
#[test]
fn processor_sharing_has_its_mean_sojourn_time() {
    let theory = 1e-3 / (1.0 - 0.5);
    let with = |service, law| replicate(|seed| processor_sharing(seed, load(500.0, service, law)));
    assert_inside(with(1e-3, Service::Exponential), theory);
    assert_outside(with(1.03e-3, Service::Exponential), theory);
    assert_inside(with(1e-3, Service::Constant), theory);
    assert_outside(with(1.03e-3, Service::Constant), theory);
}

/// Mean sojourn time over independent replications of a scenario, in seconds.
fn scenario_mean(overrides: &[&str], profile: &Profile, transient: SimTime) -> Estimate {
    let options = Options {
        replications: REPLICATIONS,
        arrivals: Arrivals::Independent,
        threads: 2,
        ..OPTIONS
    };
    let served = completions(&scenario(overrides), profile, &options).unwrap();
    let means: Vec<f64> = served
        .iter()
        .map(|replication| {
            let counted = replication
                .completions
                .iter()
                .filter(|c| c.ready >= transient);
            mean(
                &counted
                    .map(|c| c.end.since(c.ready).as_secs_f64())
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    mean_interval(&means, CONFIDENCE)
}

/// An exponential inference and nothing else, in front of it a Poisson client whose connections
/// never limit, is M/M/1.
#[test]
fn a_scenario_can_be_mm1() {
    let overrides = [
        r#"clients.0.arrivals={ poisson = { rate = "300 /s", connections = 1000 } }"#,
        "links.0={ between = [\"edge\", \"server\"], rate = \"400 Gbit/s\" }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
        "stages.classify.serve.synthetic.output=\"0 B\"",
        "run.measure={ time = \"22 s\" }",
    ];
    let theory = 1.0 / (1000.0 - 300.0);
    let with = |slope| {
        let mut profile = only_inference(Residual::Gamma { shape: 1.0 });
        law(&mut profile, "server", "inference/synthetic").slope = slope;
        scenario_mean(&overrides, &profile, at(2_000_000_000_000))
    };
    assert_inside(with(1.0), theory);
    assert_outside(with(1.03), theory);
}

/// Exact mean value analysis (Reiser and Lavenberg, 1980) of `n` clients with exponential thinking
/// and two stations, one processor sharing and one FIFO with exponential service.
fn mva(n: u32, think: f64, demands: [f64; 2]) -> f64 {
    let mut number = [0.0; 2];
    let mut sojourn = 0.0;
    for n in 1..=n {
        let residence = [0, 1].map(|k| demands[k] * (1.0 + number[k]));
        sojourn = residence[0] + residence[1];
        let throughput = f64::from(n) / (think + sojourn);
        number = residence.map(|r| throughput * r);
    }
    sojourn
}

/// Clients that share one core to prepare their requests, and one instance.
#[test]
fn a_closed_loop_has_the_sojourn_time_of_mean_value_analysis() {
    let overrides = [
        "clients.0.count=4",
        "clients.0.arrivals={ closed-loop = { think = { exponential = \"3 ms\" } } }",
        "hosts.edge.cores=1",
        "links.0={ between = [\"edge\", \"server\"], rate = \"400 Gbit/s\" }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
        "stages.classify.serve.synthetic.output=\"0 B\"",
        "run.measure={ time = \"11 s\" }",
    ];
    let theory = mva(4, 3e-3, [0.5e-3, 1e-3]);
    let with = |slope| {
        let mut profile = only_inference(Residual::Gamma { shape: 1.0 });
        law(&mut profile, "server", "inference/synthetic").slope = slope;
        let prepare = law(&mut profile, "edge", "prepare");
        prepare.base = 0.5e-3;
        prepare.residual = Residual::Gamma { shape: 1.0 };
        scenario_mean(&overrides, &profile, at(1_000_000_000_000))
    };
    assert_inside(with(1.0), theory);
    assert_outside(with(1.03), theory);
}

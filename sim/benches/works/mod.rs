//! What the engine is timed at, and a loop written by hand for the one purpose, as its upper bound.
//!
//! An M/M/1 at utilisation 0.8, or several such stations in tandem. The engine runs them as any
//! network: compiled from a description, with all statistics. The loop has a binary heap of events,
//! lines, the same draws from the same streams, and nothing but the mean sojourn time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use schema::arrivals::ArrivalsFile;
use schema::distribution::Distribution;
use schema::ids::StageId;
use schema::random::{Seed, exponential, stream};
use schema::scenario::{Extent, Station};
use schema::units::{Frequency, SimDuration};
use sim::Arrivals;
use sim::queueing::{Clients, Keep, Network, Plan, Report};

/// Customers per second.
const RATE: f64 = 0.8e6;
/// Mean service time, in seconds.
const SERVICE: f64 = 1e-6;

/// Rates of the engine and of the loop, in events per second: medians of alternating rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) engine: f64,
    pub(crate) by_hand: f64,
}

/// Times so many stations in tandem. An arrival and a departure from each station are events.
///
/// # Panics
/// If the engine and the loop disagree on the mean sojourn time.
pub(crate) fn compare(n_stations: u32, customers: u32, rounds: usize) -> Rates {
    let n_events = f64::from(customers) * f64::from(1 + n_stations);
    let (mut engine, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (seconds, mean) = timed(|| run_engine(n_stations, customers));
        engine.push(n_events / seconds);
        let (seconds, expected) = timed(|| run_by_hand(n_stations as usize, customers));
        by_hand.push(n_events / seconds);
        assert!(
            (mean / expected - 1.0).abs() < 1e-9,
            "the engine has a mean sojourn time of {mean} s, the loop of {expected} s"
        );
    }
    Rates {
        engine: median(engine),
        by_hand: median(by_hand),
    }
}

/// How long some work takes, in seconds, and what comes of it.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The mean sojourn time of the stations in tandem, by the engine, in seconds.
fn run_engine(n_stations: u32, customers: u32) -> f64 {
    let service = Distribution::Exponential(SimDuration::from_secs_f64(SERVICE));
    let mut network = Network::new();
    let path = (0..n_stations)
        .map(|index| {
            network.station(
                &format!("station-{index}"),
                Station::fifo(1, service.clone()),
            )
        })
        .collect();
    let report = poisson(network, path, RATE, customers);
    report.whole.sojourn.mean.value
}

/// Runs `network` for so many customers of a Poisson process, which take `path`.
pub(crate) fn poisson(
    mut network: Network,
    path: Vec<StageId>,
    rate: f64,
    customers: u32,
) -> Report {
    network.clients(Clients {
        name: "customers".to_owned(),
        count: 1,
        arrivals: ArrivalsFile::Poisson {
            rate: Frequency::from_per_second(rate).expect("a rate is positive"),
            connections: 1,
        },
        replayed: None,
        classes: Vec::new(),
        path,
    });
    let plan = Plan {
        seed: Seed(1),
        warmup: Extent::Requests(0),
        measure: Extent::Requests(customers),
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    };
    network.run(&plan).expect("the network is stable")
}

/// An event of the loop written by hand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Departure(usize),
}

/// The mean sojourn time of the stations in tandem, by a loop that can do nothing else, in seconds.
fn run_by_hand(n_stations: usize, customers: u32) -> f64 {
    let ps = |seconds: f64| SimDuration::from_secs_f64(seconds).as_ps();
    let mut gaps = stream(Seed(1), "client/customers/0/arrivals");
    let mut services: Vec<_> = (0..n_stations)
        .map(|index| stream(Seed(1), &format!("stage/station-{index}/service")))
        .collect();
    let mut events: BinaryHeap<Reverse<(u64, u64, Event)>> = BinaryHeap::new();
    let mut n_scheduled = 0;
    // By station: when each customer in it arrived in the first, and its service here.
    let mut lines: Vec<VecDeque<(u64, u64)>> = vec![VecDeque::new(); n_stations];
    let (mut n_arrived, mut sojourn) = (0, 0u128);
    let mut schedule = |events: &mut BinaryHeap<_>, at, event| {
        events.push(Reverse((at, n_scheduled, event)));
        n_scheduled += 1;
    };
    schedule(
        &mut events,
        ps(exponential(&mut gaps, 1.0 / RATE)),
        Event::Arrival,
    );
    while let Some(Reverse((now, _, event))) = events.pop() {
        let (station, born) = match event {
            Event::Arrival => {
                n_arrived += 1;
                if n_arrived < customers {
                    let gap = ps(exponential(&mut gaps, 1.0 / RATE));
                    schedule(&mut events, now + gap, Event::Arrival);
                }
                (0, now)
            }
            Event::Departure(station) => {
                let (born, _) = lines[station].pop_front().expect("somebody is served");
                if let Some((_, service)) = lines[station].front() {
                    schedule(&mut events, now + service, Event::Departure(station));
                }
                (station + 1, born)
            }
        };
        if station == n_stations {
            sojourn += u128::from(now - born);
            continue;
        }
        let service = ps(exponential(&mut services[station], SERVICE));
        if lines[station].is_empty() {
            schedule(&mut events, now + service, Event::Departure(station));
        }
        lines[station].push_back((born, service));
    }
    sojourn as f64 * 1e-12 / f64::from(customers)
}

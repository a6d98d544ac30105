//! A pipeline of one's own: images come in bursts, of which at most 64 are let in at a time; a gateway
//! spreads them over two servers that detect objects in batches; then a classifier and a tracker
//! work on the result at once. An image that waits for a server for more than 100 ms gives up, and
//! tries again twice at most.
//!
//! Compares two rules of balancing with common random numbers.
//!
//! ```text
//! cargo run --release -p tandem-sim --example custom_pipeline
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

use std::error::Error;

use schema::arrivals::StateFile;
use sim::queueing::{
    ArrivalsFile, Balance, Clients, Discipline, Distribution, Extent, Lot, Network, Order,
    PlainKind, Plan, PolicyName, Report, Retry, SimDuration, Station, TokensFile,
};

const fn ms(n: u64) -> SimDuration {
    SimDuration::from_ns(n * 1_000_000)
}

const fn us(n: u64) -> SimDuration {
    SimDuration::from_ns(n * 1_000)
}

fn pipeline(policy: PolicyName) -> Result<Report, Box<dyn Error>> {
    let mut network = Network::new();

    let tokens = TokensFile { count: 64, take: 1 };
    let under_way = network.stage("under-way", PlainKind::Tokens(tokens));

    // Two servers, the second half as fast; each takes up to eight images at once.
    let detect = |mean| {
        let (order, batch) = (
            Order::Fifo,
            Some(Lot {
                max: 8,
                delay: ms(2),
                per_request: us(700),
            }),
        );
        let service = Distribution::Gamma { mean, cv: 0.2 };
        Station {
            patience: Some(Distribution::Constant(ms(100))),
            retry: Some(Retry {
                attempts: 2,
                backoff: Distribution::Exponential(ms(20)),
                factor: 2.0,
            }),
            ..Station::new(1, Discipline::Line { order, batch }, service)
        }
    };
    let fast = network.station("detect-fast", detect(ms(3)));
    let slow = network.station("detect-slow", detect(ms(6)));
    let gateway = network.stage(
        "gateway",
        PlainKind::Balance(Balance {
            policy,
            to: vec![fast, slow],
            weights: Vec::new(),
        }),
    );

    // What follows works on the same image at once, on shared cores.
    let sharing = Discipline::Sharing {
        cap: 1.0,
        limit: None,
    };
    let classify = Station::new(
        16,
        sharing,
        Distribution::Lognormal {
            mean: ms(9),
            cv: 1.0,
        },
    );
    let classify = network.station("classify", classify);
    let track = network.station("track", Station::fifo(12, Distribution::Exponential(ms(5))));
    let split = network.stage("split", PlainKind::Fork(vec![classify, track]));
    let join = network.stage("join", PlainKind::Join);
    let done = network.stage("done", PlainKind::Release(under_way));
    for server in [fast, slow] {
        network.route(server, split, 1.0);
    }
    for part in [classify, track] {
        network.route(part, join, 1.0);
    }
    network.route(join, done, 1.0);

    // Quiet for two seconds, then half a second of bursts.
    let state = |rate: &str, mean_time| StateFile {
        rate: Some(rate.parse().expect("it is a rate")),
        mean_time,
    };
    let arrivals = ArrivalsFile::MarkovModulated {
        states: vec![state("400 /s", ms(2000)), state("1200 /s", ms(500))],
        connections: 1,
    };
    let path = vec![under_way, gateway];
    network.clients(Clients::one("cameras", arrivals, path));

    let second = ms(1000);
    let length = SimDuration::from_ps(60 * second.as_ps());
    Ok(network.run(&Plan::new(Extent::Time(second), Extent::Time(length)))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let policies = [
        ("round robin", PolicyName::RoundRobin),
        ("fewest outstanding", PolicyName::LeastOutstanding),
    ];
    for (name, policy) in policies {
        let report = pipeline(policy)?;
        let whole = &report.whole;
        println!(
            "{name:<20} mean {:>6.2} ms, p99 {:>7.2} ms, lost {:>5.2}%",
            1e3 * whole.sojourn.mean.value,
            1e3 * whole.sojourn.p99.value,
            100.0 * whole.lost as f64 / whole.offered as f64
        );
        for (stage, row) in &report.stages {
            let busy = row.utilization.map_or(String::new(), |share| {
                format!(", {:.1}% busy", 100.0 * share.value)
            });
            println!(
                "  {stage:<18} waits {:>6.2} ms, stays {:>6.2} ms{busy}",
                1e3 * row.waiting.mean.value,
                1e3 * row.sojourn.mean.value
            );
        }
    }
    Ok(())
}

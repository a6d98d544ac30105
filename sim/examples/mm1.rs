//! An M/M/1 in twenty lines: utilisation 0.8, so theory has a mean sojourn time of 5 ms.
//!
//! ```text
//! cargo run --release -p tandem-sim --example mm1
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

use sim::queueing::{
    ArrivalsFile, Clients, Distribution, Extent, Network, Plan, SimDuration, Station,
};
use sim::theory::mm1_mean_sojourn_time;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut network = Network::new();
    let service = Distribution::Exponential(SimDuration::from_ns(1_000_000));
    let counter = network.station("counter", Station::fifo(1, service));
    let arrivals = ArrivalsFile::poisson("800 /s".parse()?);
    network.clients(Clients::one("customers", arrivals, vec![counter]));
    let plan = Plan::new(Extent::Requests(20_000), Extent::Requests(200_000));
    let report = network.run(&plan)?;
    let sojourn = report.stages["counter"].sojourn.mean;
    let theory = mm1_mean_sojourn_time(800.0, 1000.0).expect("the load can be served");
    println!(
        "mean sojourn time {:.3} ms, 95% interval {:.3} to {:.3} ms; theory {:.3} ms",
        1e3 * sojourn.value,
        1e3 * sojourn.low,
        1e3 * sojourn.high,
        1e3 * theory
    );
    assert!((sojourn.value / theory - 1.0).abs() < 0.05);
    Ok(())
}

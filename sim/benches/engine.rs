//! The speed of the engine, beside a loop written by hand, and how it grows.
//!
//! ```text
//! cargo bench -p tandem-sim
//! ```
//!
//! Other simulators at the same work: `tests/peers/run`.
#![expect(clippy::print_stdout, reason = "the result is what a benchmark is for")]

mod works;

use schema::distribution::Distribution;
use schema::scenario::{Discipline, Station};
use schema::units::SimDuration;
use sim::queueing::Network;

const ROUNDS: usize = 7;

fn main() {
    println!("stations in tandem, 1,000,000 customers; medians of {ROUNDS} alternating rounds");
    let row = |cells: [&str; 4]| {
        let [a, b, c, d] = cells;
        println!("{a:<10} {b:>12} {c:>12} {d:>7}");
    };
    row(["stations", "engine", "by hand", "ratio"]);
    row(["", "[events/s]", "[events/s]", ""]);
    for n_stations in [1, 3, 10] {
        let rates = works::compare(n_stations, 1_000_000, ROUNDS);
        row([
            &n_stations.to_string(),
            &format!("{:.3e}", rates.engine),
            &format!("{:.3e}", rates.by_hand),
            &format!("{:.3}", rates.engine / rates.by_hand),
        ]);
    }
    println!("\nrequests under way at a delay, each a pending event; medians of 3 rounds");
    row(["pending", "engine", "", "ratio"]);
    row(["", "[events/s]", "", ""]);
    let numbers = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
    let mut rates = vec![Vec::new(); numbers.len()];
    for _ in 0..3 {
        for (rates, pending) in rates.iter_mut().zip(numbers) {
            rates.push(delay_rate(pending));
        }
    }
    let rates: Vec<f64> = rates.into_iter().map(works::median).collect();
    for (pending, rate) in numbers.into_iter().zip(&rates) {
        row([
            &pending.to_string(),
            &format!("{rate:.3e}"),
            "",
            &format!("{:.3}", rate / rates[0]),
        ]);
    }
}

/// Events a second with so many requests under way: M/M/∞ with a service of a second, and twenty
/// million requests, so that coming to that number is a small part.
fn delay_rate(pending: u32) -> f64 {
    let customers = 20_000_000;
    let (seconds, _) = works::timed(|| {
        let second = Distribution::Exponential(SimDuration::from_secs_f64(1.0));
        let mut network = Network::new();
        let delay = network.station("delay", Station::new(1, Discipline::Delay, second));
        works::poisson(network, vec![delay], f64::from(pending), customers)
    });
    2.0 * f64::from(customers) / seconds
}

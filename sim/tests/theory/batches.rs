//! Requests that are served together.

use schema::distribution::Distribution;
use schema::scenario::{Discipline, Lot, Order, Station};
use schema::units::SimDuration;
use sim::theory;

use crate::fixture::{assert_theory, constant, exponential, poisson, run_single};

/// Batches of up to `max`, without waiting for more.
fn batching(max: u32, service: Distribution) -> Station {
    let lot = Lot {
        max,
        delay: SimDuration::ZERO,
        per_request: SimDuration::ZERO,
    };
    let discipline = Discipline::Line {
        order: Order::Fifo,
        batch: Some(lot),
    };
    Station::new(1, discipline, service)
}

#[test]
fn exponential_batches() {
    let (lambda, mu, b) = (2000.0, 1000.0, 3);
    let with = |b| {
        let station = batching(b, exponential(1.0 / mu));
        run_single(poisson(lambda), station, 60.0)
    };
    let (right, wrong) = (with(b), with(b + 1));
    assert_theory(
        "M/M[3]/1 mean waiting time",
        theory::batch_mm1_mean_waiting_time(lambda, mu, b).unwrap(),
        right.waiting.mean,
        wrong.waiting.mean,
    );
    assert_theory(
        "M/M[3]/1 number in system",
        theory::batch_mm1_mean_number(lambda, mu, b).unwrap(),
        right.number_in_system,
        wrong.number_in_system,
    );
}

#[test]
fn constant_batches() {
    let (lambda, service, b) = (3000.0, 1e-3, 4);
    let with = |b| {
        let station = batching(b, constant(service));
        run_single(poisson(lambda), station, 40.0).waiting.mean
    };
    assert_theory(
        "M/D[4]/1 mean waiting time",
        theory::batch_mg1_mean_waiting_time(lambda, service, 0.0, b).unwrap(),
        with(b),
        with(b + 1),
    );
}

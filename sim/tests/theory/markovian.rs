//! Stations of exponential interarrival and service times.

use schema::distribution::Distribution;
use schema::scenario::{Discipline, Station};
use sim::theory;

use crate::fixture::{
    LONGER, assert_quantile, assert_theory, constant, exponential, poisson, run_single, secs,
};

#[test]
fn mm1() {
    let (lambda, mu) = (500.0, 1000.0);
    let with = |service| {
        let station = Station::fifo(1, exponential(service));
        run_single(poisson(lambda), station, 200.0)
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    let sojourn = theory::mm1_mean_sojourn_time(lambda, mu).unwrap();
    assert_theory(
        "M/M/1 mean sojourn time",
        sojourn,
        right.sojourn.mean,
        wrong.sojourn.mean,
    );
    assert_theory(
        "M/M/1 mean waiting time",
        theory::mmc_mean_waiting_time(lambda, mu, 1).unwrap(),
        right.waiting.mean,
        wrong.waiting.mean,
    );
    assert_theory(
        "M/M/1 mean service time",
        1.0 / mu,
        right.service,
        wrong.service,
    );
    assert_theory(
        "M/M/1 number in system",
        theory::mm1_mean_number(lambda, mu).unwrap(),
        right.number_in_system,
        wrong.number_in_system,
    );
    assert_theory(
        "M/M/1 utilization",
        lambda / mu,
        right.utilization.unwrap(),
        wrong.utilization.unwrap(),
    );
    let quantile = |p| theory::mm1_sojourn_time_quantile(lambda, mu, p).unwrap();
    assert_quantile(
        "M/M/1 median sojourn time",
        quantile(0.5),
        right.sojourn.p50,
        wrong.sojourn.p50,
    );
    assert_quantile(
        "M/M/1 99th percentile of sojourn times",
        quantile(0.99),
        right.sojourn.p99,
        wrong.sojourn.p99,
    );
}

#[test]
fn busy_mm1() {
    let (lambda, mu) = (800.0, 1000.0);
    let with = |service| {
        let station = Station::fifo(1, exponential(service));
        run_single(poisson(lambda), station, 250.0)
    };
    assert_theory(
        "busy M/M/1 mean sojourn time",
        theory::mm1_mean_sojourn_time(lambda, mu).unwrap(),
        with(1.0 / mu).sojourn.mean,
        with(LONGER / mu).sojourn.mean,
    );
}

#[test]
fn mmc() {
    let (lambda, mu, c) = (2100.0, 1000.0, 3);
    let with = |service| {
        let station = Station::fifo(c, exponential(service));
        run_single(poisson(lambda), station, 80.0)
    };
    let (right, wrong) = (with(1.0 / mu), with(LONGER / mu));
    assert_theory(
        "M/M/3 mean waiting time",
        theory::mmc_mean_waiting_time(lambda, mu, c).unwrap(),
        right.waiting.mean,
        wrong.waiting.mean,
    );
    assert_quantile(
        "M/M/3 90th percentile of waiting times",
        theory::mmc_waiting_time_quantile(lambda, mu, c, 0.9).unwrap(),
        right.waiting.p90,
        wrong.waiting.p90,
    );
}

#[test]
fn mmck() {
    let (lambda, mu, c, k) = (1800.0, 1000.0, 2, 5);
    let with = |capacity| {
        let station = Station {
            capacity: Some(capacity),
            ..Station::fifo(c, exponential(1.0 / mu))
        };
        run_single(poisson(lambda), station, 40.0)
    };
    let (right, wrong) = (with(k), with(k + 1));
    let theory = theory::mmck(lambda, mu, c, k).unwrap();
    assert_theory(
        "M/M/2/5 blocking",
        theory.blocking,
        right.rejected_share,
        wrong.rejected_share,
    );
    assert_theory(
        "M/M/2/5 number in system",
        theory.mean_number,
        right.number_in_system,
        wrong.number_in_system,
    );
    assert_theory(
        "M/M/2/5 throughput",
        theory.throughput,
        right.throughput,
        wrong.throughput,
    );
    assert_theory(
        "M/M/2/5 mean waiting time",
        theory.mean_waiting_time,
        right.waiting.mean,
        wrong.waiting.mean,
    );
}

/// Erlang's formula holds for any service times.
#[test]
fn erlang_b() {
    let (lambda, service, c) = (4000.0, 1e-3, 5);
    let theory = theory::erlang_b(c, lambda * service);
    let with = |service: Distribution| {
        let station = Station {
            capacity: Some(c),
            ..Station::fifo(c, service)
        };
        run_single(poisson(lambda), station, 10.0).rejected_share
    };
    assert_theory(
        "M/M/5/5 blocking",
        theory,
        with(exponential(service)),
        with(exponential(LONGER * service)),
    );
    assert_theory(
        "M/D/5/5 blocking",
        theory,
        with(constant(service)),
        with(constant(LONGER * service)),
    );
}

#[test]
fn a_delay_is_mg_infinity() {
    let (lambda, service) = (3000.0, 2e-3);
    let with = |mean| {
        let service = Distribution::Lognormal {
            mean: secs(mean),
            cv: 2.0,
        };
        let station = Station::new(1, Discipline::Delay, service);
        run_single(poisson(lambda), station, 10.0).number_in_system
    };
    assert_theory(
        "M/G/infinity number in system",
        theory::mg_infinity_mean_number(lambda, service),
        with(service),
        with(LONGER * service),
    );
}

//! One server with Poisson arrivals and general service times.

use schema::distribution::Distribution;
use schema::scenario::Station;
use sim::theory;

use crate::fixture::{
    LONGER, assert_quantile, assert_theory, constant, exponential, hyperexponential, poisson,
    run_single, secs,
};

#[test]
fn md1() {
    let (lambda, service) = (600.0, 1e-3);
    let with = |service| {
        let station = Station::fifo(1, constant(service));
        run_single(poisson(lambda), station, 100.0)
    };
    let (right, wrong) = (with(service), with(LONGER * service));
    assert_theory(
        "M/D/1 mean waiting time",
        theory::mg1_mean_waiting_time(lambda, service, 0.0).unwrap(),
        right.waiting.mean,
        wrong.waiting.mean,
    );
    assert_quantile(
        "M/D/1 95th percentile of waiting times",
        theory::md1_waiting_time_quantile(lambda, service, 0.95).unwrap(),
        right.waiting.p95,
        wrong.waiting.p95,
    );
}

/// Pollaczek-Khinchine, for service times of this coefficient of variation with the mean that
/// `service` is given.
fn mg1(cv: f64, seconds: f64, service: impl Fn(f64) -> Distribution) {
    let (lambda, mean) = (500.0, 1e-3);
    let with = |mean| {
        let station = Station::fifo(1, service(mean));
        run_single(poisson(lambda), station, seconds).waiting.mean
    };
    assert_theory(
        &format!("M/G/1 mean waiting time, cv {cv}"),
        theory::mg1_mean_waiting_time(lambda, mean, cv).expect("there is a steady state"),
        with(mean),
        with(LONGER * mean),
    );
}

#[test]
fn mg1_with_regular_service() {
    mg1(0.5, 60.0, |mean| Distribution::Erlang {
        mean: secs(mean),
        stages: 4,
    });
}

#[test]
fn mg1_with_exponential_service() {
    mg1(1.0, 200.0, exponential);
}

#[test]
fn mg1_with_bursty_service() {
    mg1(3.0, 700.0, |mean| hyperexponential(mean, 3.0));
}

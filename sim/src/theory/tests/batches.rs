//! Batches of requests.

use super::chain::{expect, stationary};
use super::*;

/// Mean waiting time with `stages` exponential stages of service, from the chain of stages to go
/// (none if idle) and requests waiting.
fn chain(lambda: f64, mean_service: f64, stages: u32, b: u32) -> f64 {
    let states = stationary((0_u32, 0_u32), |&(waiting, to_go)| {
        let stage = f64::from(stages) / mean_service;
        let moves = match (waiting, to_go) {
            (_, 0) => vec![((0, stages), lambda)],
            (0, 1) => vec![((1, 1), lambda), ((0, 0), stage)],
            (n, 1) => vec![((n + 1, 1), lambda), ((n.saturating_sub(b), stages), stage)],
            (n, k) => vec![((n + 1, k), lambda), ((n, k - 1), stage)],
        };
        within(moves, |state| state.0 <= 300)
    });
    expect(&states, |state| f64::from(state.0)) / lambda
}

#[test]
fn exponential_services_of_batches_are_their_chain() {
    for (lambda, b) in [(0.4, 1), (1.5, 2), (5.0, 4), (11.0, 8), (0.1, 8)] {
        let (wait, mu) = (chain(lambda, 0.5, 1, b), 2.0);
        assert_close(
            batch_mm1_mean_waiting_time(lambda, mu, b).unwrap(),
            wait,
            1e-9,
        );
        let sojourn = batch_mm1_mean_sojourn_time(lambda, mu, b).unwrap();
        assert_close(sojourn, wait + 0.5, 1e-9);
        let number = batch_mm1_mean_number(lambda, mu, b).unwrap();
        assert_close(number, lambda * (wait + 0.5), 1e-9);
        assert_close(
            batch_mg1_mean_waiting_time(lambda, 0.5, 1.0, b).unwrap(),
            wait,
            1e-9,
        );
    }
}

#[test]
fn erlang_services_of_batches_are_their_chain() {
    for (lambda, stages, b) in [(1.5, 2, 2), (5.0, 3, 4), (11.0, 4, 8), (0.1, 5, 7)] {
        let cv = 1.0 / f64::from(stages).sqrt();
        let found = batch_mg1_mean_waiting_time(lambda, 0.5, cv, b).unwrap();
        assert_close(found, chain(lambda, 0.5, stages, b), 1e-9);
    }
}

#[test]
fn constant_services_of_batches_are_their_embedded_chain() {
    for (lambda, b) in [(0.7_f64, 1), (1.4, 2), (3.2, 4), (12.8, 16)] {
        let mut poisson = vec![(-lambda).exp()];
        for k in 1..100 {
            poisson.push(poisson[k - 1] * lambda / k as f64);
        }
        let left = stationary(0_usize, |&x| {
            let moves = poisson.iter().enumerate();
            moves
                .map(|(a, p)| ((x.saturating_sub(b) + a).min(150), *p))
                .collect()
        });
        // Over a service, who is left waits all of it and who arrives half, on average.
        let waiting = expect(&left, |&x| x.saturating_sub(b) as f64) + lambda / 2.0;
        let cycle = 1.0 + left[0].1 / lambda;
        let found = batch_mg1_mean_waiting_time(lambda, 1.0, 0.0, b as u32).unwrap();
        assert_close(found, waiting / cycle / lambda, 1e-9);
        let nearly = batch_mg1_mean_waiting_time(lambda, 1.0, 1e-5, b as u32).unwrap();
        assert_close(nearly, found, 1e-9);
    }
}

#[test]
fn batches_of_one_wait_as_single_requests() {
    for cv in [0.0, 0.3, 1.0, 3.0] {
        let found = batch_mg1_mean_waiting_time(1.8, 0.5, cv, 1).unwrap();
        assert_close(found, mg1_mean_waiting_time(1.8, 0.5, cv).unwrap(), 1e-12);
    }
    let found = batch_mm1_mean_waiting_time(1.8, 2.0, 1).unwrap();
    assert_close(found, mmc_mean_waiting_time(1.8, 2.0, 1).unwrap(), 1e-12);
}

#[test]
fn large_batches_in_heavy_traffic_agree() {
    for (rho, b) in [(0.999, 3), (0.99, 64), (0.5, 256)] {
        let lambda = rho * f64::from(b);
        let exponential = batch_mm1_mean_waiting_time(lambda, 1.0, b).unwrap();
        let general = batch_mg1_mean_waiting_time(lambda, 1.0, 1.0, b).unwrap();
        assert_close(general, exponential, 1e-8);
    }
}

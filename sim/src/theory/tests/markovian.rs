//! Stations that are birth-death processes, or follow an environment.

use super::chain::{absorption, expect, stationary};
use super::*;

/// Number in system of a birth-death process on `0..=last`.
fn numbers(last: u32, lambda: f64, death: impl Fn(u32) -> f64) -> Vec<(u32, f64)> {
    stationary(0, |&n: &u32| {
        let mut moves = vec![];
        if n < last {
            moves.push((n + 1, lambda));
        }
        if n > 0 {
            moves.push((n - 1, death(n)));
        }
        moves
    })
}

/// Probability that a Poisson number of this mean is at most `n`.
fn poisson_cdf(mean: f64, n: u32) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for k in 1..=n {
        term *= mean / f64::from(k);
        sum += term;
    }
    sum
}

#[test]
fn erlang_b_has_the_values_of_the_tables() {
    // Offered loads at which 1% are blocked, as traffic tables have them.
    for (c, load) in [
        (1, 0.0101),
        (5, 1.361),
        (10, 4.461),
        (20, 12.03),
        (50, 37.90),
        (100, 84.06),
    ] {
        assert_close(erlang_b(c, load), 0.01, 2e-3);
    }
    assert_close(erlang_b(2, 1.0), 0.2, 1e-15);
    assert_close(erlang_b(0, 3.0), 1.0, 1e-15);
}

#[test]
fn mmc_is_its_chain() {
    for c in [1, 2, 5] {
        let (lambda, mu) = (0.7 * f64::from(c) * 3.0, 3.0);
        let states = numbers(150, lambda, |n| f64::from(n.min(c)) * mu);
        let busy = expect(&states, |&n| f64::from(u8::from(n >= c)));
        let waiting = expect(&states, |&n| f64::from(n.saturating_sub(c)));
        assert_close(erlang_c(c, lambda / mu).unwrap(), busy, 1e-12);
        let wait = mmc_mean_waiting_time(lambda, mu, c).unwrap();
        assert_close(wait, waiting / lambda, 1e-12);
        let number = expect(&states, |&n| f64::from(n));
        assert_close(
            mmc_mean_sojourn_time(lambda, mu, c).unwrap(),
            number / lambda,
            1e-12,
        );
        // Who finds n >= c waits longer than t if at most n - c leave until then.
        let t = 1.3 / mu;
        let longer = expect(&states, |&n| {
            n.checked_sub(c)
                .map_or(0.0, |ahead| poisson_cdf(f64::from(c) * mu * t, ahead))
        });
        assert_close(
            mmc_waiting_time_tail(lambda, mu, c, t).unwrap(),
            longer,
            1e-12,
        );
        assert_close(
            mmc_waiting_time_quantile(lambda, mu, c, 1.0 - longer).unwrap(),
            t,
            1e-12,
        );
        assert!(mmc_waiting_time_quantile(lambda, mu, c, 1.0 - 1.01 * busy).unwrap() <= 0.0);
    }
}

#[test]
fn mm1_is_its_chain() {
    let (lambda, mu) = (1.5, 2.0);
    let states = numbers(150, lambda, |_| mu);
    let number = expect(&states, |&n| f64::from(n));
    assert_close(mm1_mean_number(lambda, mu).unwrap(), number, 1e-12);
    assert_close(
        mm1_mean_sojourn_time(lambda, mu).unwrap(),
        number / lambda,
        1e-12,
    );
    let t = 2.5;
    let longer = expect(&states, |&n| poisson_cdf(mu * t, n));
    assert_close(
        mm1_sojourn_time_quantile(lambda, mu, 1.0 - longer).unwrap(),
        t,
        1e-12,
    );
    let waits = expect(&states, |&n| {
        n.checked_sub(1).map_or(0.0, |n| poisson_cdf(mu * t, n))
    });
    assert_close(
        mm1_waiting_time_quantile(lambda, mu, 1.0 - waits).unwrap(),
        t,
        1e-12,
    );
}

#[test]
fn a_bounded_station_is_its_chain() {
    for (lambda, mu, c, k) in [
        (3.0, 2.0, 1, 4),
        (9.0, 2.0, 3, 7),
        (2.0, 1.0, 4, 4),
        (2.0, 1.0, 5, 2),
    ] {
        let states = numbers(k, lambda, |n| f64::from(n.min(c)) * mu);
        let found = mmck(lambda, mu, c, k).unwrap();
        let full = states.last().unwrap().1;
        assert_close(found.blocking, full, 1e-12);
        assert_close(found.throughput, lambda * (1.0 - full), 1e-12);
        assert_close(found.mean_number, expect(&states, |&n| f64::from(n)), 1e-12);
        let waiting = expect(&states, |&n| f64::from(n.saturating_sub(c)));
        assert_close(
            found.mean_waiting_time,
            waiting / (lambda * (1.0 - full)),
            1e-12,
        );
    }
    assert_close(
        mmck(7.0, 1.0, 10, 10).unwrap().blocking,
        erlang_b(10, 7.0),
        1e-12,
    );
    let wide = mmck(4.5, 1.0, 5, 1_000_000).unwrap();
    assert!(wide.blocking < 1e-17);
    assert_close(
        wide.mean_waiting_time,
        mmc_mean_waiting_time(4.5, 1.0, 5).unwrap(),
        1e-12,
    );
    let overloaded = mmck(1e6, 1.0, 1, 1000).unwrap();
    assert_close(overloaded.throughput, 1.0, 1e-12);
}

#[test]
fn a_station_that_never_lacks_servers_has_a_poisson_number() {
    let states = numbers(60, 6.0, |n| f64::from(n) * 2.0);
    let number = expect(&states, |&n| f64::from(n));
    assert_close(mg_infinity_mean_number(6.0, 0.5), number, 1e-12);
}

#[test]
fn erlang_a_is_its_chain() {
    for (lambda, mu, c, theta) in [(6.0, 2.0, 3, 1.0), (12.0, 2.0, 3, 0.5), (2.0, 2.0, 3, 4.0)] {
        let waiting = |n: u32| f64::from(n.saturating_sub(c));
        let states = numbers(200, lambda, |n| {
            f64::from(n.min(c)) * mu + waiting(n) * theta
        });
        let found = erlang_a(lambda, mu, c, theta).unwrap();
        let queue = expect(&states, |&n| waiting(n));
        assert_close(found.mean_number_in_queue, queue, 1e-12);
        assert_close(found.mean_waiting_time, queue / lambda, 1e-12);
        let busy = expect(&states, |&n| f64::from(u8::from(n >= c)));
        assert_close(found.waiting_probability, busy, 1e-12);
        let served = expect(&states, |&n| f64::from(n.min(c)) * mu) / lambda;
        assert_close(found.abandonment, 1.0 - served, 1e-11);
        // First steps of who has k ahead: served at all, and time until then.
        let (mut reaches, mut times) = (vec![1.0], vec![0.0]);
        for ahead in 0..200 {
            let leave = f64::from(c) * mu + f64::from(ahead) * theta;
            let last = (reaches[ahead as usize], times[ahead as usize]);
            reaches.push(leave / (leave + theta) * last.0);
            let time = leave / (leave + theta) * (last.0 / (leave + theta) + last.1);
            times.push(time);
        }
        let time = expect(&states, |&n| {
            n.checked_sub(c).map_or(0.0, |k| times[k as usize + 1])
        });
        assert_close(found.mean_waiting_time_of_served, time / served, 1e-11);
    }
}

#[test]
fn erlang_a_without_patience_is_erlang_b_and_without_end_erlang_c() {
    let impatient = erlang_a(7.0, 1.0, 10, 1e9).unwrap();
    assert_close(impatient.abandonment, erlang_b(10, 7.0), 1e-7);
    let patient = erlang_a(7.0, 1.0, 10, 0.0).unwrap();
    assert_close(
        patient.waiting_probability,
        erlang_c(10, 7.0).unwrap(),
        1e-12,
    );
    assert_close(
        patient.mean_waiting_time,
        mmc_mean_waiting_time(7.0, 1.0, 10).unwrap(),
        1e-12,
    );
    assert_close(
        patient.mean_waiting_time_of_served,
        patient.mean_waiting_time,
        1e-12,
    );
    // As patient as services are long: M/M/∞ in number.
    let same = erlang_a(14.0, 1.0, 10, 1.0).unwrap();
    assert_close(
        same.mean_number_in_queue + 14.0 * (1.0 - same.abandonment),
        14.0,
        1e-12,
    );
    let overloaded = erlang_a(2000.0, 1.0, 100, 0.01).unwrap();
    assert_close(overloaded.abandonment, 0.95, 1e-9);
}

#[test]
fn breakdowns_are_their_chain() {
    for (lambda, mu, failure, repair) in [(0.5, 2.0, 0.3, 0.9), (1.0, 4.0, 0.05, 0.4)] {
        let states = stationary((0_u32, true), |&(n, up)| {
            let ends = if up { failure } else { repair };
            let mut moves = vec![((n + 1, up), lambda), ((n, !up), ends)];
            if up && n > 0 {
                moves.push(((n - 1, up), mu));
            }
            within(moves, |state| state.0 <= 400)
        });
        let number = expect(&states, |state| f64::from(state.0));
        let found = mm1_breakdowns_mean_number(lambda, mu, failure, repair).unwrap();
        assert_close(found, number, 1e-10);
        let sojourn = mm1_breakdowns_mean_sojourn_time(lambda, mu, failure, repair).unwrap();
        assert_close(sojourn, number / lambda, 1e-10);
    }
    let whole = mm1_breakdowns_mean_number(1.0, 2.0, 0.0, 1.0).unwrap();
    assert_close(whole, mm1_mean_number(1.0, 2.0).unwrap(), 1e-12);
}

#[test]
fn breakdowns_of_any_frequency_are_levels_of_two_phases() {
    let (lambda, mu) = (1.0, 4.0);
    for (failure, repair) in [(1e-4, 1e-3), (0.5, 0.2), (1e3, 1e4), (1.0, 0.334)] {
        let levels = linear::Levels {
            up: vec![vec![lambda, 0.0], vec![0.0, lambda]],
            within: vec![vec![0.0, failure], vec![repair, 0.0]],
            down: vec![vec![mu, 0.0], vec![0.0, 0.0]],
        };
        let number = levels.stationary().unwrap().level.iter().sum();
        let found = mm1_breakdowns_mean_number(lambda, mu, failure, repair).unwrap();
        assert_close(found, number, 1e-9);
    }
}

#[test]
fn modulated_arrivals_are_their_chain() {
    for (lambdas, ends) in [([3.0, 0.5], [0.2, 0.1]), ([2.5, 0.0], [1.0, 2.0])] {
        let mu = 2.0;
        let states = stationary((0_u32, 0_usize), |&(n, phase)| {
            let mut moves = vec![
                ((n + 1, phase), lambdas[phase]),
                ((n, 1 - phase), ends[phase]),
            ];
            if n > 0 {
                moves.push(((n - 1, phase), mu));
            }
            within(moves, |state| state.0 <= 600)
        });
        let number = expect(&states, |state| f64::from(state.0));
        assert_close(
            mmpp_m1_mean_number(lambdas, ends, mu).unwrap(),
            number,
            1e-9,
        );
        let rate = expect(&states, |state| lambdas[state.1]);
        let sojourn = mmpp_m1_mean_sojourn_time(lambdas, ends, mu).unwrap();
        assert_close(sojourn, number / rate, 1e-9);
    }
    for (lambda, number) in [
        (1.9, 19.0),
        (1.9998, 9999.0),
        (1.999998, 999_999.0),
        (1e-6, 0.5e-6 / (1.0 - 0.5e-6)),
    ] {
        let poisson = mmpp_m1_mean_number([lambda; 2], [0.3, 0.7], 2.0).unwrap();
        assert_close(poisson, number, 1e-9);
    }
}

#[test]
fn sharing_spreads_sojourn_times_as_its_chain() {
    let (lambda, mu) = (1.2, 2.0);
    // A request and n others.
    let moments = absorption(0_u32, |&others| {
        let share = mu / f64::from(others + 1);
        let mut moves = vec![(None, share)];
        if others < 90 {
            moves.push((Some(others + 1), lambda));
        }
        if others > 0 {
            moves.push((Some(others - 1), f64::from(others) * share));
        }
        moves
    });
    let states = numbers(90, lambda, |_| mu);
    let mean = expect(&states, |n| moments[n].0);
    let square = expect(&states, |n| moments[n].1);
    assert_close(
        mg1_ps_mean_sojourn_time(lambda, 1.0 / mu).unwrap(),
        mean,
        1e-10,
    );
    let variance = mm1_ps_sojourn_time_variance(lambda, mu).unwrap();
    assert_close(variance, square - mean * mean, 1e-10);
}

#[test]
fn the_last_come_first_served_waits_for_a_busy_period() {
    let (lambda, mu) = (1.0, 2.0);
    let moments = absorption(1_u32, |&n| {
        let mut moves = vec![(n.checked_sub(1).filter(|&n| n > 0), mu)];
        if n < 90 {
            moves.push((Some(n + 1), lambda));
        }
        moves
    });
    let service = [0.5, 2.0 * 0.25, 6.0 * 0.125];
    let found = mg1_lifo_waiting_time_second_moment(lambda, service).unwrap();
    assert_close(found, lambda / mu * moments[&1].1, 1e-10);
    let mean = mg1_mean_waiting_time(lambda, 0.5, 1.0).unwrap();
    assert_close(mean, lambda / mu * moments[&1].0, 1e-10);
}

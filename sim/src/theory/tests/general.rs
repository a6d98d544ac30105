//! One server with general service or interarrival times.

use super::chain::{expect, stationary};
use super::*;

#[test]
fn erlang_service_is_its_chain() {
    let (lambda, stage) = (1.2, 4.0);
    let states = stationary((0_u32, 0_u8), |&(n, done)| {
        let mut moves = vec![((n + 1, done), lambda)];
        match (n, done) {
            (0, _) => {}
            (_, 0) => moves.push(((n, 1), stage)),
            _ => moves.push(((n - 1, 0), stage)),
        }
        within(moves, |state| state.0 <= 120)
    });
    let number = expect(&states, |state| f64::from(state.0));
    let wait = mg1_mean_waiting_time(lambda, 2.0 / stage, 0.5_f64.sqrt()).unwrap();
    assert_close(wait + 2.0 / stage, number / lambda, 1e-11);
}

/// Erlang's (1909) alternating sum.
fn erlang_md1(rho: f64, t: f64) -> f64 {
    let mut sum = 0.0;
    for k in 0..=(t as u32) {
        let u = rho * (f64::from(k) - t);
        sum += (1..=k).fold((-u).exp(), |term, j| term * u / f64::from(j));
    }
    (1.0 - rho) * sum
}

#[test]
fn constant_service_gives_erlangs_distribution_of_waiting_times() {
    for rho in [0.1, 0.5, 0.8] {
        for step in 0..60 {
            let t = f64::from(step) * 0.1;
            let found = md1_waiting_time_cdf(rho / 0.25, 0.25, t * 0.25).unwrap();
            assert_close(found, erlang_md1(rho, t), 1e-10);
            if found > 1.0 - rho && found < 1.0 - 1e-9 {
                let back = md1_waiting_time_quantile(rho / 0.25, 0.25, found).unwrap();
                assert_close(back, t * 0.25, 1e-6);
            }
        }
    }
}

#[test]
fn constant_service_gives_the_moments_of_waiting_times() {
    for (rho, steps) in [(0.3, 300), (0.7, 900)] {
        let (mut first, mut second) = (0.0, 0.0);
        let width = 0.05;
        for step in 0..steps {
            // Simpson's rule on pieces that no kink of the distribution divides.
            for (at, weight) in [(0.0, 1.0), (0.5, 4.0), (1.0, 1.0)] {
                let t = width * (f64::from(step) + at);
                let tail = 1.0 - md1_waiting_time_cdf(rho, 1.0, t).unwrap();
                first += weight / 6.0 * width * tail;
                second += weight / 6.0 * width * 2.0 * t * tail;
            }
        }
        assert_close(mg1_mean_waiting_time(rho, 1.0, 0.0).unwrap(), first, 1e-7);
        let moment = mg1_waiting_time_second_moment(rho, [1.0; 3]).unwrap();
        assert_close(moment, second, 1e-7);
    }
}

#[test]
fn constant_service_has_quantiles_in_heavy_traffic_and_light() {
    assert!(md1_waiting_time_quantile(0.5, 1.0, 0.5).unwrap() <= 0.0);
    let (lambda, p) = (0.99, 0.999);
    let found = md1_waiting_time_quantile(lambda, 1.0, p).unwrap();
    assert_close(md1_waiting_time_cdf(lambda, 1.0, found).unwrap(), p, 1e-12);
    // The tail is exponential with the root of exp(θ) λ = λ + θ.
    let theta = turning_point(1e-6, 1.0, |x| x.exp() * lambda < lambda + x);
    let ahead = md1_waiting_time_quantile(lambda, 1.0, 1.0 - 0.001 * (-1.0_f64).exp()).unwrap();
    assert_close(ahead - found, 1.0 / theta, 1e-6);
}

#[test]
fn renewal_arrivals_are_their_chain() {
    let mu = 2.0;
    let last = 200;
    // Erlang with two stages of rate 3.
    let erlang = stationary((0_u32, 0_u8), |&(n, done)| {
        let mut moves = vec![if done == 0 {
            ((n, 1), 3.0)
        } else {
            ((n.min(last) + 1, 0), 3.0)
        }];
        if n > 0 {
            moves.push(((n - 1, done), mu));
        }
        moves
    });
    let gamma = Interarrival::Gamma {
        mean: 2.0 / 3.0,
        cv: 0.5_f64.sqrt(),
    };
    // Phases with probabilities 0.8 and 0.2, and balanced means.
    let (p, mean) = ([0.8, 0.2], 0.7);
    let cv = (0.5 / p[0] + 0.5 / p[1] - 1.0_f64).sqrt();
    let hyper = stationary((0_u32, 0_usize), |&(n, phase)| {
        let rate = 2.0 * p[phase] / mean;
        let mut moves: Vec<_> = (0..2)
            .map(|next| ((n.min(last) + 1, next), p[next] * rate))
            .collect();
        if n > 0 {
            moves.push(((n - 1, phase), mu));
        }
        moves
    });
    let number = |found: f64, lambda: f64| lambda * (found + 1.0 / mu);
    let found = gim1_mean_waiting_time(gamma, mu).unwrap();
    assert_close(
        number(found, 1.5),
        expect(&erlang, |state| f64::from(state.0)),
        1e-10,
    );
    let found = gim1_mean_waiting_time(Interarrival::Hyperexponential { mean, cv }, mu).unwrap();
    assert_close(
        number(found, 1.0 / mean),
        expect(&hyper, |state| f64::from(state.0)),
        1e-10,
    );
}

#[test]
fn renewal_arrivals_have_known_special_cases() {
    // D/M/1 at half load: σ = exp(-2 (1 - σ)).
    let constant = gim1_waiting_probability(Interarrival::Constant { mean: 1.0 }, 2.0).unwrap();
    assert_close(constant, 0.203_187_869_979_98, 1e-12);
    let regular = Interarrival::Gamma {
        mean: 1.0,
        cv: 1e-6,
    };
    assert_close(
        gim1_waiting_probability(regular, 2.0).unwrap(),
        constant,
        1e-9,
    );
    for poisson in [
        Interarrival::Gamma { mean: 1.0, cv: 1.0 },
        Interarrival::Hyperexponential { mean: 1.0, cv: 1.0 },
    ] {
        let found = gim1_mean_waiting_time(poisson, 2.0).unwrap();
        assert_close(found, mmc_mean_waiting_time(1.0, 2.0, 1).unwrap(), 1e-12);
        let quantile = gim1_waiting_time_quantile(poisson, 2.0, 0.9).unwrap();
        assert_close(
            quantile,
            mm1_waiting_time_quantile(1.0, 2.0, 0.9).unwrap(),
            1e-12,
        );
    }
}

#[test]
fn the_mean_is_that_of_the_quantiles() {
    let arrivals = Interarrival::Hyperexponential { mean: 1.0, cv: 2.0 };
    let n = 100_000;
    let quantile = |i: u32| {
        let p = (f64::from(i) + 0.5) / f64::from(n);
        gim1_waiting_time_quantile(arrivals, 1.6, p).unwrap()
    };
    let mean = (0..n).map(quantile).sum::<f64>() / f64::from(n);
    assert_close(gim1_mean_waiting_time(arrivals, 1.6).unwrap(), mean, 1e-4);
}

#[test]
fn approximations_are_exact_for_poisson_arrivals_and_near_for_others() {
    for cs in [0.0, 0.5, 2.0] {
        let exact = mg1_mean_waiting_time(1.4, 0.5, cs).unwrap();
        assert_close(
            kingman_approximation(1.4, 0.5, 1.0, cs).unwrap(),
            exact,
            1e-12,
        );
        let other = kraemer_langenbach_belz_approximation(1.4, 0.5, 1.0, cs).unwrap();
        assert_close(other, exact, 1e-12);
    }
    for (arrivals, cv) in [
        (Interarrival::Constant { mean: 1.0 }, 0.0),
        (Interarrival::Gamma { mean: 1.0, cv: 0.5 }, 0.5),
        (Interarrival::Hyperexponential { mean: 1.0, cv: 1.5 }, 1.5),
    ] {
        for rho in [0.5, 0.8, 0.99] {
            let exact = gim1_mean_waiting_time(arrivals, 1.0 / rho).unwrap();
            let near = kraemer_langenbach_belz_approximation(1.0, rho, cv, 1.0).unwrap();
            assert_close(near, exact, if rho < 0.6 { 0.08 } else { 0.04 });
            assert!(kingman_upper_bound(1.0, rho, cv, 1.0).unwrap() > exact);
        }
        let heavy = gim1_mean_waiting_time(arrivals, 1.0 / 0.999).unwrap();
        assert_close(
            kingman_approximation(1.0, 0.999, cv, 1.0).unwrap(),
            heavy,
            2e-3,
        );
    }
    let factor = kraemer_langenbach_belz_approximation(1.0, 0.5, 1.5, 1.0).unwrap()
        / kingman_approximation(1.0, 0.5, 1.5, 1.0).unwrap();
    assert_close(factor, (-0.5 * 1.25 / 6.25_f64).exp(), 1e-12);
}

#[test]
fn constant_service_has_a_distribution_far_out() {
    for t in [1e3, 1e18, f64::INFINITY] {
        assert_close(md1_waiting_time_cdf(0.9, 1.0, t).unwrap(), 1.0, 1e-12);
    }
    assert!(md1_waiting_time_cdf(0.9, 1.0, -1.0).unwrap() <= 0.0);
    assert!(
        md1_waiting_time_quantile(0.9, 1.0, 1.0)
            .unwrap()
            .is_infinite()
    );
}

//! Servers in parallel, each with a waiting line of its own.

use super::linear::Levels;
use super::utilization;

/// Mean sojourn time of a fork-join of two M/M/1, in seconds: each arrival brings one request to
/// either server, and leaves when both are served.
///
/// `(12 - ρ) / 8 / (μ - λ)`; Flatto and Hahn (1984), SIAM Journal on Applied Mathematics 44(5);
/// Nelson and Tantawi (1988), IEEE Transactions on Computers 37(6). `None` if `lambda >= mu`.
pub fn fork_join_two_mean_sojourn_time(lambda: f64, mu: f64) -> Option<f64> {
    let rho = utilization(lambda / mu, 1.0)?;
    Some((12.0 - rho) / 8.0 / (mu - lambda))
}

/// Limit for many servers of the mean sojourn time where each request joins the shortest of `d`
/// waiting lines drawn at random, in seconds: an approximation for any finite number of servers.
///
/// `Σ_{i >= 1} ρ^((dⁱ - d) / (d - 1)) / μ`; Vvedenskaya, Dobrushin and Karpelevich (1996), Problems
/// of Information Transmission 32(1); Mitzenmacher (2001), IEEE Transactions on Parallel and
/// Distributed Systems 12(10). `lambda` is the arrival rate for each server, `d = 1` gives M/M/1.
/// `None` if `lambda >= mu` or `d` is zero.
pub fn power_of_d_mean_sojourn_time(lambda: f64, mu: f64, d: u32) -> Option<f64> {
    let rho = utilization(lambda / mu, 1.0)?;
    match d {
        0 => return None,
        1 => return Some(1.0 / (mu - lambda)),
        _ => {}
    }
    let (mut sum, mut exponent, mut term) = (0.0, 0.0, 1.0_f64);
    while term > sum * 1e-18 {
        sum += term;
        exponent = f64::from(d) * (exponent + 1.0);
        term = rho.powf(exponent);
    }
    Some(sum / mu)
}

/// Mean number in system of two M/M/1 of which each arrival joins the one with fewer requests, any
/// if both have as many; `lambda` is the arrival rate for both together.
///
/// Numerically: the level is the number at the one with fewer, the phase the difference, up to 40.
/// Larger differences are left out: their probability falls by more than 3 at each step, by
/// `ρ² / (2 + ρ)` (Adan, Wessels and Zijm, 1990, Stochastic Models 6(4)). `None` if
/// `lambda >= 2 * mu`.
pub fn jsq_two_mean_number(lambda: f64, mu: f64) -> Option<f64> {
    const MOST: usize = 40;
    utilization(lambda / mu, 2.0)?;
    let empty = vec![vec![0.0; MOST + 1]; MOST + 1];
    let mut levels = Levels {
        up: empty.clone(),
        within: empty.clone(),
        down: empty,
    };
    levels.within[0][1] = lambda;
    levels.down[0][1] = 2.0 * mu;
    for difference in 1..=MOST {
        levels.up[difference][difference - 1] = lambda;
        levels.within[difference][difference - 1] = mu;
        if difference < MOST {
            levels.down[difference][difference + 1] = mu;
        }
    }
    let stationary = levels.stationary()?;
    let fewer: f64 = stationary.level.iter().sum();
    let difference: f64 = (0_u32..)
        .zip(&stationary.probability)
        .map(|(d, p)| f64::from(d) * p)
        .sum();
    Some(2.0 * fewer + difference)
}

/// Mean sojourn time of two M/M/1 of which each arrival joins the one with fewer requests, in
/// seconds.
///
/// [`jsq_two_mean_number`] by `lambda` (Little's law), and `1 / mu` without arrivals. `None` if
/// `lambda >= 2 * mu`.
pub fn jsq_two_mean_sojourn_time(lambda: f64, mu: f64) -> Option<f64> {
    let number = jsq_two_mean_number(lambda, mu)?;
    Some(if lambda > 0.0 {
        number / lambda
    } else {
        1.0 / mu
    })
}

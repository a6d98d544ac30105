//! One server whose arrivals or whose speed follow a random environment.

use super::linear::Levels;
use super::utilization;

/// Mean number in system of MMPP/M/1: in phase `i` of two, requests arrive at `lambdas[i]` per
/// second, and the phase ends after an exponential time of rate `ends[i]` per second.
///
/// By the matrix-geometric solution; Neuts (1981), Matrix-Geometric Solutions in Stochastic Models,
/// section 6.2. `None` if the mean arrival rate `(λ_0 e_1 + λ_1 e_0) / (e_0 + e_1)` is `mu` or
/// more, or no phase ends.
pub fn mmpp_m1_mean_number(lambdas: [f64; 2], ends: [f64; 2], mu: f64) -> Option<f64> {
    utilization(mean_rate(lambdas, ends) / mu, 1.0)?;
    let levels = Levels {
        up: vec![vec![lambdas[0], 0.0], vec![0.0, lambdas[1]]],
        within: vec![vec![0.0, ends[0]], vec![ends[1], 0.0]],
        down: vec![vec![mu, 0.0], vec![0.0, mu]],
    };
    Some(levels.stationary()?.level.iter().sum())
}

/// Mean sojourn time of MMPP/M/1, in seconds.
///
/// [`mmpp_m1_mean_number`] by the mean arrival rate (Little's law). `None` if that is zero too.
pub fn mmpp_m1_mean_sojourn_time(lambdas: [f64; 2], ends: [f64; 2], mu: f64) -> Option<f64> {
    let lambda = Some(mean_rate(lambdas, ends)).filter(|&lambda| lambda > 0.0)?;
    Some(mmpp_m1_mean_number(lambdas, ends, mu)? / lambda)
}

fn mean_rate(lambdas: [f64; 2], ends: [f64; 2]) -> f64 {
    (lambdas[0] * ends[1] + lambdas[1] * ends[0]) / (ends[0] + ends[1])
}

/// Mean number in system of M/M/1 whose server breaks down, busy or idle, after an exponential time
/// of rate `failure` per second, and works again after one of rate `repair` per second; the request
/// in service then goes on where it was.
///
/// `λ ((f + r)² + μ f) / ((f + r) (r μ - λ (f + r)))`; White and Christie (1958), Operations
/// Research 6(1). `None` if `lambda >= mu * repair / (failure + repair)`.
pub fn mm1_breakdowns_mean_number(lambda: f64, mu: f64, failure: f64, repair: f64) -> Option<f64> {
    Some(lambda * mm1_breakdowns_mean_sojourn_time(lambda, mu, failure, repair)?)
}

/// Mean sojourn time of M/M/1 whose server breaks down, in seconds.
///
/// [`mm1_breakdowns_mean_number`] by `lambda` (Little's law).
pub fn mm1_breakdowns_mean_sojourn_time(
    lambda: f64,
    mu: f64,
    failure: f64,
    repair: f64,
) -> Option<f64> {
    let cycle = failure + repair;
    utilization(lambda * cycle / (mu * repair), 1.0)?;
    Some((cycle * cycle + mu * failure) / (cycle * (repair * mu - lambda * cycle)))
}

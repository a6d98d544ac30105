//! Stations with exponential interarrival and service times, whose number in system is a
//! birth-death process.

use super::utilization;

/// Blocking probability of M/M/c/c (Erlang B), of `c` servers to which `offered_load` erlangs are
/// offered.
///
/// `B(0) = 1`, `B(n) = a B(n - 1) / (n + a B(n - 1))`; Erlang (1917), the recursion in Cooper
/// (1981), Introduction to Queueing Theory, section 3.3. Holds for any distribution of service
/// times.
pub fn erlang_b(c: u32, offered_load: f64) -> f64 {
    (1..=c).fold(1.0, |blocking, n| {
        let held = offered_load * blocking;
        held / (f64::from(n) + held)
    })
}

/// Probability of waiting in M/M/c (Erlang C), of `c` servers to which `offered_load` erlangs are
/// offered.
///
/// `B / (1 - ρ (1 - B))` with Erlang B; Kleinrock (1975), vol. 1, section 3.5. `None` if
/// `offered_load >= c`.
pub fn erlang_c(c: u32, offered_load: f64) -> Option<f64> {
    let rho = utilization(offered_load, f64::from(c))?;
    let blocking = erlang_b(c, offered_load);
    Some(blocking / (1.0 - rho * (1.0 - blocking)))
}

/// Mean number in system of M/M/1.
///
/// `ρ / (1 - ρ)`; Kleinrock (1975), vol. 1, section 3.2. `None` if `lambda >= mu`.
pub fn mm1_mean_number(lambda: f64, mu: f64) -> Option<f64> {
    let rho = utilization(lambda / mu, 1.0)?;
    Some(rho / (1.0 - rho))
}

/// Mean sojourn time of M/M/1, in seconds.
///
/// `1 / (μ - λ)`; Kleinrock (1975), vol. 1, section 3.2. `None` if `lambda >= mu`.
pub fn mm1_mean_sojourn_time(lambda: f64, mu: f64) -> Option<f64> {
    utilization(lambda / mu, 1.0)?;
    Some(1.0 / (mu - lambda))
}

/// The sojourn time that a share `p` of the requests of M/M/1 do not exceed, in seconds.
///
/// It is exponential with rate `μ - λ`; Kleinrock (1975), vol. 1, section 5.7. `p` is from 0 to
/// below 1. `None` if `lambda >= mu`.
pub fn mm1_sojourn_time_quantile(lambda: f64, mu: f64, p: f64) -> Option<f64> {
    Some(-(-p).ln_1p() * mm1_mean_sojourn_time(lambda, mu)?)
}

/// The waiting time that a share `p` of the requests of M/M/1 do not exceed, in seconds.
///
/// [`mmc_waiting_time_quantile`] of one server.
pub fn mm1_waiting_time_quantile(lambda: f64, mu: f64, p: f64) -> Option<f64> {
    mmc_waiting_time_quantile(lambda, mu, 1, p)
}

/// Mean waiting time of M/M/c, in seconds.
///
/// `C(c, λ / μ) / (c μ - λ)` with Erlang C; Kleinrock (1975), vol. 1, section 3.5. `None` if
/// `lambda >= c * mu`.
pub fn mmc_mean_waiting_time(lambda: f64, mu: f64, c: u32) -> Option<f64> {
    Some(erlang_c(c, lambda / mu)? / (f64::from(c) * mu - lambda))
}

/// Mean sojourn time of M/M/c, in seconds.
///
/// The same with processor sharing over the servers, at most one a request: the number in system is
/// the same birth-death process, and Little's law does the rest. With sharing it holds for any
/// distribution of service times (Cohen, 1979, Acta Informatica 12). `None` if `lambda >= c * mu`.
pub fn mmc_mean_sojourn_time(lambda: f64, mu: f64, c: u32) -> Option<f64> {
    Some(mmc_mean_waiting_time(lambda, mu, c)? + 1.0 / mu)
}

/// Probability that a request of M/M/c waits longer than `t` seconds.
///
/// `C(c, λ / μ) exp(-(c μ - λ) t)`; Cooper (1981), Introduction to Queueing Theory, section 3.4.
/// `None` if `lambda >= c * mu`.
pub fn mmc_waiting_time_tail(lambda: f64, mu: f64, c: u32, t: f64) -> Option<f64> {
    Some(erlang_c(c, lambda / mu)? * (-(f64::from(c) * mu - lambda) * t).exp())
}

/// The waiting time that a share `p` of the requests of M/M/c do not exceed, in seconds.
///
/// The inverse of [`mmc_waiting_time_tail`]; zero if that share or more need not wait. `p` is from
/// 0 to below 1. `None` if `lambda >= c * mu`.
pub fn mmc_waiting_time_quantile(lambda: f64, mu: f64, c: u32, p: f64) -> Option<f64> {
    let waiting = erlang_c(c, lambda / mu)?;
    Some(((waiting / (1.0 - p)).ln() / (f64::from(c) * mu - lambda)).max(0.0))
}

/// Mean number in system of M/G/∞, where no request waits.
///
/// `λ S`, and the number is Poisson, whatever the distribution of service times; Kleinrock (1975),
/// vol. 1, section 3.4.
pub fn mg_infinity_mean_number(lambda: f64, mean_service: f64) -> f64 {
    lambda * mean_service
}

/// What M/M/c/K gives.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mmck {
    /// Share of the arrivals that find the system full and are rejected.
    pub blocking: f64,
    /// Accepted requests per second.
    pub throughput: f64,
    /// Mean number in system.
    pub mean_number: f64,
    /// Mean waiting time of the accepted, in seconds.
    pub mean_waiting_time: f64,
}

/// M/M/c/K: `c` servers and at most `k` requests in the system, in service or waiting.
///
/// The birth-death process on `0..=k`; Gross and Harris (1998), Fundamentals of Queueing Theory,
/// section 2.5. There is always a steady state; `None` if `c` or `k` is zero.
pub fn mmck(lambda: f64, mu: f64, c: u32, k: u32) -> Option<Mmck> {
    if c == 0 || k == 0 {
        return None;
    }
    let probabilities = birth_death(lambda, |n| f64::from(n.min(c)) * mu, k);
    // Beyond the end that was left out it is below 1e-17.
    let blocking = probabilities.get(k as usize).copied().unwrap_or(0.0);
    let throughput = mu * expectation(&probabilities, |n| f64::from(n.min(c)));
    let waiting = expectation(&probabilities, |n| f64::from(n.saturating_sub(c)));
    Some(Mmck {
        blocking,
        throughput,
        mean_number: expectation(&probabilities, f64::from),
        mean_waiting_time: if throughput > 0.0 {
            waiting / throughput
        } else {
            0.0
        },
    })
}

/// What Erlang A gives.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ErlangA {
    /// Share of the arrivals that find every server busy.
    pub waiting_probability: f64,
    /// Share of the arrivals that renege before service.
    pub abandonment: f64,
    /// Mean number in queue.
    pub mean_number_in_queue: f64,
    /// Mean time in queue of all requests, those included that renege, in seconds.
    pub mean_waiting_time: f64,
    /// Mean waiting time of the requests that are served, in seconds.
    pub mean_waiting_time_of_served: f64,
}

/// Erlang A, M/M/c+M: requests renege from the queue of M/M/c, each after an exponential time of
/// rate `theta` per second unless its service has started.
///
/// A birth-death process with the rates of death `min(n, c) μ + max(n - c, 0) θ`; Palm (1957),
/// Garnett, Mandelbaum and Reiman (2002), Manufacturing & Service Operations Management 4(3). Who
/// finds `k` waiting is served with probability `c μ / (c μ + (k + 1) θ)`, then after
/// `Σ_{j = 1..=k + 1} 1 / (c μ + j θ)` on average. Under overload, memory and time grow with
/// `(λ - c μ) / θ`, near it with `√(λ / θ)`. `None` if `c` is zero, or if `theta` is zero and
/// `lambda >= c * mu`.
pub fn erlang_a(lambda: f64, mu: f64, c: u32, theta: f64) -> Option<ErlangA> {
    let full = f64::from(c) * mu;
    let ends = theta > 0.0 || lambda < full;
    if !(ends && full > 0.0 && (0.0..f64::INFINITY).contains(&lambda)) {
        return None;
    }
    let waiting = |n: u32| f64::from(n.saturating_sub(c));
    let death = |n: u32| f64::from(n.min(c)) * mu + waiting(n) * theta;
    let probabilities = birth_death(lambda, death, u32::MAX);
    let mean_number_in_queue = expectation(&probabilities, waiting);
    let busy = probabilities.get(c as usize..).unwrap_or(&[]);
    let (mut served, mut waited, mut wait) = (1.0 - busy.iter().sum::<f64>(), 0.0, 0.0);
    for (place, probability) in (1_u32..).zip(busy) {
        let leaving = full + f64::from(place) * theta;
        wait += 1.0 / leaving;
        served += probability * full / leaving;
        waited += probability * full / leaving * wait;
    }
    let no_arrivals = lambda <= 0.0;
    Some(ErlangA {
        waiting_probability: busy.iter().sum(),
        abandonment: if no_arrivals {
            0.0
        } else {
            theta * mean_number_in_queue / lambda
        },
        mean_number_in_queue,
        mean_waiting_time: if no_arrivals {
            0.0
        } else {
            mean_number_in_queue / lambda
        },
        mean_waiting_time_of_served: waited / served,
    })
}

/// Stationary probabilities of the birth-death process on `0..=last` with births at `lambda` and
/// deaths at `death(n)`, which never falls with `n`; without the end that sums to less than 1e-17.
fn birth_death(lambda: f64, death: impl Fn(u32) -> f64, last: u32) -> Vec<f64> {
    let (mut logarithm, mut largest) = (0.0_f64, 0.0_f64);
    let mut logarithms = vec![logarithm];
    for n in 1..=last {
        let ratio = lambda / death(n);
        logarithm += ratio.ln();
        logarithms.push(logarithm);
        largest = largest.max(logarithm);
        // From here on the probabilities fall at least as fast as powers of this ratio.
        let negligible = logarithm - largest - (-ratio).ln_1p() < -40.0;
        if (ratio < 1.0 && negligible) || !logarithm.is_finite() {
            break;
        }
    }
    let weights: Vec<f64> = logarithms.iter().map(|l| (l - largest).exp()).collect();
    let total: f64 = weights.iter().rev().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// Expectation of `value(n)` under the probabilities of `n` from 0.
fn expectation(probabilities: &[f64], value: impl Fn(u32) -> f64) -> f64 {
    (0_u32..)
        .zip(probabilities)
        .map(|(n, p)| p * value(n))
        .sum()
}

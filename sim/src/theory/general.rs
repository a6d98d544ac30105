//! One server with general service or interarrival times, first come, first served.

use super::{turning_point, utilization};

/// Mean waiting time of M/G/1, in seconds.
///
/// `ρ S (1 + cv²) / (2 (1 - ρ))` (Pollaczek and Khinchine); Kleinrock (1975), vol. 1, section 5.5.
/// The same for every discipline that does not look at service times and does not preempt, last
/// come, first served among them. `None` if `lambda * mean_service >= 1`.
pub fn mg1_mean_waiting_time(lambda: f64, mean_service: f64, cv: f64) -> Option<f64> {
    let rho = utilization(lambda * mean_service, 1.0)?;
    Some(rho * mean_service * (1.0 + cv * cv) / (2.0 * (1.0 - rho)))
}

/// Second moment of the waiting time of M/G/1, in s², by the first three moments of service times
/// in s, s², s³.
///
/// `2 W² + λ E[S³] / (3 (1 - ρ))` with the mean `W = λ E[S²] / (2 (1 - ρ))`; Kleinrock (1975),
/// vol. 1, section 5.7. `None` if `ρ = λ E[S] >= 1`.
pub fn mg1_waiting_time_second_moment(lambda: f64, service_moments: [f64; 3]) -> Option<f64> {
    let [first, second, third] = service_moments;
    let idle = 1.0 - utilization(lambda * first, 1.0)?;
    let mean = lambda * second / (2.0 * idle);
    Some(2.0 * mean * mean + lambda * third / (3.0 * idle))
}

/// Second moment of the waiting time of M/G/1 with last come, first served without preemption, in
/// s², by the first three moments of service times in s, s², s³.
///
/// [`mg1_waiting_time_second_moment`] by `1 - ρ`, while the means are equal; Takács (1963), Bell
/// System Technical Journal 42(2). `None` if `ρ = λ E[S] >= 1`.
pub fn mg1_lifo_waiting_time_second_moment(lambda: f64, service_moments: [f64; 3]) -> Option<f64> {
    let rho = utilization(lambda * service_moments[0], 1.0)?;
    Some(mg1_waiting_time_second_moment(lambda, service_moments)? / (1.0 - rho))
}

/// Probability that a request of M/D/1, whose every service takes `service` seconds, waits at most
/// `t` seconds.
///
/// `Σ_{j < k} Q(k - 1 - j) exp(-u) u^j / j!`, where `k` is the least whole number with
/// `t < k S`, `u = λ (k S - t)` and `Q(m)` the probability that at most `m` requests are in queue:
/// Franx (2001), Operations Research Letters 29(5), for one server. All terms are positive, unlike
/// those of Erlang (1909). `None` if `lambda * service >= 1`.
pub fn md1_waiting_time_cdf(lambda: f64, service: f64, t: f64) -> Option<f64> {
    let rho = utilization(lambda * service, 1.0)?;
    let periods = t / service;
    if t < 0.0 {
        return Some(0.0);
    }
    if periods > 40.0 / (1.0 - rho) {
        // By the bound below, all but 1e-17 wait less.
        return Some(1.0);
    }
    Some(md1_cdf(
        rho,
        periods,
        &md1_queue_cdf(rho, periods as usize + 1),
    ))
}

/// The waiting time that a share `p` of the requests of M/D/1 do not exceed, in seconds.
///
/// The inverse of [`md1_waiting_time_cdf`]; zero if that share or more need not wait. `p` is from 0
/// to below 1. `None` if `lambda * service >= 1`.
pub fn md1_waiting_time_quantile(lambda: f64, service: f64, p: f64) -> Option<f64> {
    let rho = utilization(lambda * service, 1.0)?;
    if p <= 1.0 - rho {
        return Some(0.0);
    }
    if p >= 1.0 {
        return Some(f64::INFINITY);
    }
    // Of M/M/1, at most exp(-(1 - ρ) t / S) wait longer than t; of M/D/1, whose exponent in
    // Kingman's bound is larger, no more.
    let bound = -(-p).ln_1p() / (1.0 - rho);
    let queue = md1_queue_cdf(rho, bound as usize + 1);
    Some(service * turning_point(0.0, bound, |periods| md1_cdf(rho, periods, &queue) < p))
}

/// [`md1_waiting_time_cdf`] after `periods` service times, by that of the number in queue.
fn md1_cdf(rho: f64, periods: f64, queue: &[f64]) -> f64 {
    let k = periods as usize + 1;
    let u = (rho * (k as f64 - periods)).max(0.0);
    let mut poisson = (-u).exp();
    let mut sum = 0.0;
    for j in 0..k {
        sum += queue[k - 1 - j] * poisson;
        poisson *= u / (j + 1) as f64;
    }
    sum
}

/// Probabilities that at most `m` requests are in queue in M/D/1, for `m` in `0..n`.
///
/// The number in system has the distribution left behind by departures, from the balance of steps
/// up and down across each level:
/// `π(j + 1) P(A = 0) = π(0) P(A > j) + Σ_{i = 1..=j} π(i) P(A > j + 1 - i)` with the number `A` of
/// arrivals during a service.
fn md1_queue_cdf(rho: f64, n: usize) -> Vec<f64> {
    /// Above this a Poisson number of mean below one has no probability left (1 / 64! is 1e-89).
    const MOST: usize = 64;
    let mut tails = vec![0.0; MOST];
    let mut poisson = vec![(-rho).exp()];
    for j in 1..=MOST {
        poisson.push(poisson[j - 1] * rho / j as f64);
    }
    for j in (0..MOST).rev() {
        tails[j] = poisson[j + 1] + tails.get(j + 1).copied().unwrap_or(0.0);
    }
    let tail = |j: usize| tails.get(j).copied().unwrap_or(0.0);
    let mut system = vec![1.0 - rho];
    let mut cdf = Vec::with_capacity(n);
    let mut sum = system[0];
    for j in 0..n {
        let first = j.saturating_sub(MOST).max(1);
        let up: f64 = (first..=j).map(|i| system[i] * tail(j + 1 - i)).sum();
        system.push((system[0] * tail(j) + up) / poisson[0]);
        sum += system[j + 1];
        cdf.push(sum);
    }
    cdf
}

/// A distribution of interarrival times, all independent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Interarrival {
    /// Always the same.
    Constant {
        /// In seconds.
        mean: f64,
    },
    /// Gamma, Erlang with `k` stages where `cv` is `1 / √k`.
    Gamma {
        /// In seconds.
        mean: f64,
        /// Above zero.
        cv: f64,
    },
    /// Hyperexponential of two phases with balanced means: each gives half of the mean.
    Hyperexponential {
        /// In seconds.
        mean: f64,
        /// From one up.
        cv: f64,
    },
}

impl Interarrival {
    /// Mean, in seconds.
    pub fn mean(self) -> f64 {
        match self {
            Interarrival::Constant { mean }
            | Interarrival::Gamma { mean, .. }
            | Interarrival::Hyperexponential { mean, .. } => mean,
        }
    }

    /// `1 - E[exp(-s X)]` of the interarrival time `X`, the complement of its Laplace-Stieltjes
    /// transform, precise near zero too. `s` is from zero up, per second.
    pub fn transform_complement(self, s: f64) -> f64 {
        match self {
            Interarrival::Constant { mean } => -(-s * mean).exp_m1(),
            Interarrival::Gamma { mean, cv } => {
                let shape = 1.0 / (cv * cv);
                -(-shape * (s * mean / shape).ln_1p()).exp_m1()
            }
            Interarrival::Hyperexponential { mean, cv } => {
                let square = cv * cv;
                let first = f64::midpoint(1.0, ((square - 1.0) / (square + 1.0)).sqrt());
                let phase = |p: f64| p * s / (s + 2.0 * p / mean);
                phase(first) + phase(1.0 - first)
            }
        }
    }
}

/// Probability of waiting in GI/M/1.
///
/// The root σ below one of `σ = A*(μ (1 - σ))` with the transform `A*` of interarrival times;
/// Kleinrock (1975), vol. 1, section 6.4. `None` if the mean interarrival time is `1 / mu` or less.
pub fn gim1_waiting_probability(interarrival: Interarrival, mu: f64) -> Option<f64> {
    Some(1.0 - gim1_not_waiting(interarrival, mu)?)
}

/// Mean waiting time of GI/M/1, in seconds.
///
/// `σ / (μ (1 - σ))` with [`gim1_waiting_probability`] σ; Kleinrock (1975), vol. 1, section 6.4.
/// `None` if the mean interarrival time is `1 / mu` or less.
pub fn gim1_mean_waiting_time(interarrival: Interarrival, mu: f64) -> Option<f64> {
    let not_waiting = gim1_not_waiting(interarrival, mu)?;
    Some((1.0 - not_waiting) / (mu * not_waiting))
}

/// The waiting time that a share `p` of the requests of GI/M/1 do not exceed, in seconds.
///
/// Those who wait, with [`gim1_waiting_probability`] σ, wait for an exponential time of rate
/// `μ (1 - σ)`; Kleinrock (1975), vol. 1, section 6.4. `p` is from 0 to below 1. `None` if the mean
/// interarrival time is `1 / mu` or less.
pub fn gim1_waiting_time_quantile(interarrival: Interarrival, mu: f64, p: f64) -> Option<f64> {
    let not_waiting = gim1_not_waiting(interarrival, mu)?;
    Some((((1.0 - not_waiting) / (1.0 - p)).ln() / (mu * not_waiting)).max(0.0))
}

fn gim1_not_waiting(interarrival: Interarrival, mu: f64) -> Option<f64> {
    utilization(1.0 / (interarrival.mean() * mu), 1.0)?;
    Some(turning_point(0.0, 1.0, |x| {
        interarrival.transform_complement(mu * x) > x
    }))
}

/// Kingman's approximation of the mean waiting time of GI/G/1, in seconds: exact in the limit of
/// heavy traffic and for Poisson arrivals.
///
/// `ρ / (1 - ρ) (ca² + cs²) / 2 S` with the coefficients of variation of interarrival times `ca`
/// and service times `cs`; Kingman (1961), Mathematical Proceedings of the Cambridge Philosophical
/// Society 57(4). `None` if `lambda * mean_service >= 1`.
pub fn kingman_approximation(lambda: f64, mean_service: f64, ca: f64, cs: f64) -> Option<f64> {
    let rho = utilization(lambda * mean_service, 1.0)?;
    Some(rho / (1.0 - rho) * (ca * ca + cs * cs) / 2.0 * mean_service)
}

/// Kingman's upper bound of the mean waiting time of GI/G/1, in seconds.
///
/// `λ (σa² + σs²) / (2 (1 - ρ))` with the variances of interarrival and service times; Kingman
/// (1962), Biometrika 49(3/4). `ca` and `cs` are the coefficients of variation of the two. `None`
/// if `lambda * mean_service >= 1`, or without arrivals.
pub fn kingman_upper_bound(lambda: f64, mean_service: f64, ca: f64, cs: f64) -> Option<f64> {
    let rho = utilization(lambda * mean_service, 1.0).filter(|&rho| rho > 0.0)?;
    let variances = (ca / lambda).powi(2) + (cs * mean_service).powi(2);
    Some(lambda * variances / (2.0 * (1.0 - rho)))
}

/// The approximation by Krämer and Langenbach-Belz of the mean waiting time of GI/G/1, in seconds:
/// exact for Poisson arrivals only.
///
/// [`kingman_approximation`] times `exp(-2 (1 - ρ) (1 - ca²)² / (3 ρ (ca² + cs²)))` if `ca <= 1`,
/// else times `exp(-(1 - ρ) (ca² - 1) / (ca² + 4 cs²))`; Krämer and Langenbach-Belz (1976),
/// 8th International Teletraffic Congress. `None` if `lambda * mean_service >= 1`.
pub fn kraemer_langenbach_belz_approximation(
    lambda: f64,
    mean_service: f64,
    ca: f64,
    cs: f64,
) -> Option<f64> {
    let kingman = kingman_approximation(lambda, mean_service, ca, cs)?;
    let (rho, ca2, cs2) = (lambda * mean_service, ca * ca, cs * cs);
    let exponent = if kingman <= 0.0 {
        0.0
    } else if ca <= 1.0 {
        -2.0 * (1.0 - rho) * (1.0 - ca2).powi(2) / (3.0 * rho * (ca2 + cs2))
    } else {
        -(1.0 - rho) * (ca2 - 1.0) / (ca2 + 4.0 * cs2)
    };
    Some(kingman * exponent.exp())
}

//! One server that serves up to `b` waiting requests as one batch, whatever their number at the
//! same pace; it never waits for more, and who arrives during a service does not join it.

use std::f64::consts::TAU;

use super::{turning_point, utilization};

/// Mean waiting time of M/M/1 with batches of up to `b` requests, in seconds; `mu` is in batches
/// per second.
///
/// The number waiting while the server works is geometric with the root `r` below one of
/// `λ = μ (r + r² + … + r^b)`, and `μ / λ` times its first probability is that of an idle server;
/// Bailey (1954), Journal of the Royal Statistical Society B 16(1); Gross and Harris (1998),
/// Fundamentals of Queueing Theory, section 3.2, whose partial batches can be joined, though.
/// `None` if `lambda >= b * mu`.
pub fn batch_mm1_mean_waiting_time(lambda: f64, mu: f64, b: u32) -> Option<f64> {
    let most = f64::from(b);
    utilization(lambda / mu, most)?;
    // In terms of q = 1 - r, which is small in heavy traffic.
    let sum = |q: f64| (1.0 - q) * -(most * (-q).ln_1p()).exp_m1() / q;
    let q = turning_point(0.0, 1.0, |q| sum(q) > lambda / mu);
    Some((1.0 - q) / (q * (mu * q + lambda)))
}

/// Mean sojourn time of M/M/1 with batches of up to `b` requests, in seconds; `mu` is in batches
/// per second.
///
/// [`batch_mm1_mean_waiting_time`] and a service. `None` if `lambda >= b * mu`.
pub fn batch_mm1_mean_sojourn_time(lambda: f64, mu: f64, b: u32) -> Option<f64> {
    Some(batch_mm1_mean_waiting_time(lambda, mu, b)? + 1.0 / mu)
}

/// Mean number in system of M/M/1 with batches of up to `b` requests, those in service included;
/// `mu` is in batches per second.
///
/// [`batch_mm1_mean_sojourn_time`] times `lambda` (Little's law). `None` if `lambda >= b * mu`.
pub fn batch_mm1_mean_number(lambda: f64, mu: f64, b: u32) -> Option<f64> {
    Some(lambda * batch_mm1_mean_sojourn_time(lambda, mu, b)?)
}

/// Mean waiting time of M/G/1 with batches of up to `b` requests, in seconds; the service times of
/// batches are gamma with mean `mean_service` and `cv`, constant if `cv` is zero.
///
/// The number `X` that a batch leaves waiting has the generating function
/// `A(z) Σ_{j < b} π_j (z^b - z^j) / (z^b - A(z))` with that of the arrivals during a service,
/// `A(z)`; the roots of the denominator in the unit disc, `z_0 = 1` and others, give its mean
/// `ρ b + Σ_{k > 0} 1 / (1 - z_k) - (b (b - 1) - A''(1)) / (2 b (1 - ρ))` and
/// `π_0 = b (1 - ρ) Π_{k > 0} z_k / (z_k - 1)` (Bailey, 1954, Journal of the Royal Statistical
/// Society B 16(1)). They are found by iterating `z = ω A(z)^(1 / b)` for each of the `b`-th roots
/// ω of one (Janssen and van Leeuwaarden, 2005, Queueing Systems 50(2)). Over a cycle, one service
/// and the idle time before it, the mean number in queue is
/// `((E[X] - λ S) S + λ E[S²] / 2) / (S + π_0 / λ)`, and Little's law gives the waiting time.
/// `None` if `lambda * mean_service >= b`.
pub fn batch_mg1_mean_waiting_time(lambda: f64, mean_service: f64, cv: f64, b: u32) -> Option<f64> {
    let most = f64::from(b);
    let load = lambda * mean_service;
    utilization(load, most)?;
    let second_factorial = load * load * (1.0 + cv * cv);
    let (mut left, mut empty) = (0.0, most - load);
    for k in 1..b {
        let z = root(load, cv, most, TAU * f64::from(k) / most);
        let (re, im) = (z.0 - 1.0, z.1);
        let square = re * re + im * im;
        // 1 / (1 - z) has this real part; the imaginary parts cancel between conjugates.
        left -= re / square;
        // Likewise the product is real and positive: |z / (z - 1)|.
        empty *= (z.0.hypot(z.1)) / square.sqrt();
    }
    left -= (most * (most - 1.0) - second_factorial) / (2.0 * (most - load));
    let second_moment = mean_service * mean_service * (1.0 + cv * cv);
    Some((left * mean_service + lambda * second_moment / 2.0) / (load + empty))
}

/// The root of `z^b = A(z)` for which `z = exp(i angle) A(z)^(1 / b)`, as real and imaginary part.
fn root(load: f64, cv: f64, b: f64, angle: f64) -> (f64, f64) {
    let mut z = (0.0, 0.0);
    // The map contracts by the utilization or faster; the limit is for utilizations within rounding
    // of one.
    for _ in 0..100_000 {
        let (re, im) = (z.0 - 1.0, z.1);
        // ln A(z) / b; A is exp(load (z - 1)) or (1 + load cv² (1 - z))^(-1 / cv²).
        let spread = load * cv * cv;
        let (log_size, log_angle) = if spread > 0.0 {
            let (x, y) = (-spread * re, -spread * im);
            let log_size = f64::midpoint(0.0, (2.0 * x + x * x + y * y).ln_1p());
            let scale = -load / spread / b;
            (scale * log_size, scale * y.atan2(1.0 + x))
        } else {
            (load * re / b, load * im / b)
        };
        let (sin, cos) = (angle + log_angle).sin_cos();
        let next = (log_size.exp() * cos, log_size.exp() * sin);
        let step = (next.0 - z.0).hypot(next.1 - z.1);
        z = next;
        if step < 1e-16 {
            break;
        }
    }
    z
}

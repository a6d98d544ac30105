//! Classes of requests with priorities, of which the first goes first.

use super::{erlang_c, utilization};

/// A class of requests at a server with priorities.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PriorityClass {
    /// Arrival rate, per second.
    pub lambda: f64,
    /// Mean service time, in seconds.
    pub mean_service: f64,
    /// Coefficient of variation of service times.
    pub cv: f64,
}

impl PriorityClass {
    fn load(&self) -> f64 {
        self.lambda * self.mean_service
    }

    /// Mean remaining service time of the class that an arrival finds, zero if another is in
    /// service.
    fn residual(&self) -> f64 {
        self.load() * self.mean_service * (1.0 + self.cv * self.cv) / 2.0
    }
}

/// Mean waiting time of each class of M/G/1 with priorities and no preemption, in seconds.
///
/// `R / ((1 - σ(k - 1)) (1 - σ(k)))`, where `σ(k)` is the utilization by the first `k` classes and
/// `R = Σ λ_i E[S_i²] / 2` over all; Cobham (1954), Operations Research 2(1); Kleinrock (1976),
/// vol. 2, section 3.6. `classes` starts with the highest priority. `None` if all together are as
/// much as the server can do or more.
pub fn nonpreemptive_mean_waiting_times(classes: &[PriorityClass]) -> Option<Vec<f64>> {
    let loads: Vec<f64> = classes.iter().map(PriorityClass::load).collect();
    by_class(&loads, classes.iter().map(PriorityClass::residual).sum())
}

/// Mean waiting time of each class of M/M/c with priorities, no preemption and one service rate, in
/// seconds.
///
/// That of [`nonpreemptive_mean_waiting_times`] with `C(c, λ / μ) / (c μ)` in place of `R`; Cobham
/// (1954), Operations Research 2(1). `lambdas` starts with the highest priority. `None` if their
/// sum is `c * mu` or more.
pub fn mmc_nonpreemptive_mean_waiting_times(lambdas: &[f64], mu: f64, c: u32) -> Option<Vec<f64>> {
    let full = f64::from(c) * mu;
    let residual = erlang_c(c, lambdas.iter().sum::<f64>() / mu)? / full;
    by_class(
        &lambdas
            .iter()
            .map(|lambda| lambda / full)
            .collect::<Vec<f64>>(),
        residual,
    )
}

fn by_class(loads: &[f64], residual: f64) -> Option<Vec<f64>> {
    utilization(loads.iter().sum(), 1.0)?;
    let mut above = 0.0;
    let waiting_time = |load| {
        let own = above + load;
        let waiting_time = residual / ((1.0 - above) * (1.0 - own));
        above = own;
        waiting_time
    };
    Some(loads.iter().map(waiting_time).collect())
}

/// Mean sojourn time of each class of M/G/1 with priorities and preemptive resume, in seconds.
///
/// `S_k / (1 - σ(k - 1)) + R(k) / ((1 - σ(k - 1)) (1 - σ(k)))`, where `σ(k)` is the utilization by
/// the first `k` classes and `R(k) = Σ_{i <= k} λ_i E[S_i²] / 2`; White and Christie (1958),
/// Operations Research 6(1). `classes` starts with the highest
/// priority. `None` for the classes without a steady state, which those above have nevertheless.
pub fn preemptive_mean_sojourn_times(classes: &[PriorityClass]) -> Vec<Option<f64>> {
    let (mut above, mut residual) = (0.0, 0.0);
    let sojourn_time = |class: &PriorityClass| {
        let own = above + class.load();
        residual += class.residual();
        let waiting_time = residual / ((1.0 - above) * (1.0 - own));
        let service_time = class.mean_service / (1.0 - above);
        above = own;
        utilization(own, 1.0).map(|_| waiting_time + service_time)
    };
    classes.iter().map(sojourn_time).collect()
}

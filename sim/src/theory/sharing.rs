//! One server that all requests share, or that the last takes over.

use super::linear::solve;
use super::utilization;

/// Mean sojourn time of M/G/1 with processor sharing, in seconds.
///
/// `S / (1 - ρ)`, whatever the distribution of service times; Kleinrock (1976), vol. 2, section
/// 4.4. `None` if `lambda * mean_service >= 1`.
pub fn mg1_ps_mean_sojourn_time(lambda: f64, mean_service: f64) -> Option<f64> {
    mg1_ps_expected_sojourn_time(lambda, mean_service, mean_service)
}

/// Mean sojourn time of the requests of M/G/1 with processor sharing whose own service time, alone
/// at the server, is `service`, in seconds.
///
/// `service / (1 - ρ)`; Kleinrock (1976), vol. 2, section 4.4. `None` if
/// `lambda * mean_service >= 1`.
pub fn mg1_ps_expected_sojourn_time(lambda: f64, mean_service: f64, service: f64) -> Option<f64> {
    let rho = utilization(lambda * mean_service, 1.0)?;
    Some(service / (1.0 - rho))
}

/// Variance of the sojourn time of M/M/1 with processor sharing, in s².
///
/// `((2 + ρ) / (2 - ρ)) / (μ - λ)²`; Coffman, Muntz and Trotter (1970), Journal of the ACM 17(1).
/// `None` if `lambda >= mu`.
pub fn mm1_ps_sojourn_time_variance(lambda: f64, mu: f64) -> Option<f64> {
    let rho = utilization(lambda / mu, 1.0)?;
    Some((2.0 + rho) / (2.0 - rho) / (mu - lambda).powi(2))
}

/// Mean sojourn time of M/G/1 with last come, first served and preemptive resume, in seconds.
///
/// `S / (1 - ρ)`, whatever the distribution of service times; Kleinrock (1976), vol. 2, section
/// 4.5. `None` if `lambda * mean_service >= 1`.
pub fn mg1_lifo_preemptive_mean_sojourn_time(lambda: f64, mean_service: f64) -> Option<f64> {
    mg1_ps_mean_sojourn_time(lambda, mean_service)
}

/// A class of requests at a server with discriminatory processor sharing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SharingClass {
    /// Arrival rate, per second.
    pub lambda: f64,
    /// Service rate of a request alone at the server, per second.
    pub mu: f64,
    /// Each of its requests gets this share of the server, above zero, relative to the sum over all
    /// requests present.
    pub weight: f64,
}

/// Mean sojourn time of each class at a server with discriminatory processor sharing and
/// exponential service times, in seconds.
///
/// The solution of `T_i = 1 / μ_i + Σ_j λ_j w_j (T_i + T_j) / (μ_i w_i + μ_j w_j)`; Fayolle,
/// Mitrani and Iasnogorodski (1980), Journal of the ACM 27(3). `None` if `Σ λ_i / μ_i >= 1`.
pub fn discriminatory_mean_sojourn_times(classes: &[SharingClass]) -> Option<Vec<f64>> {
    utilization(
        classes.iter().map(|class| class.lambda / class.mu).sum(),
        1.0,
    )?;
    let mut matrix = vec![vec![0.0; classes.len()]; classes.len()];
    for (i, own) in classes.iter().enumerate() {
        matrix[i][i] += 1.0;
        for (j, other) in classes.iter().enumerate() {
            let pace = own.mu * own.weight + other.mu * other.weight;
            let coupling = other.lambda * other.weight / pace;
            matrix[i][i] -= coupling;
            matrix[i][j] -= coupling;
        }
    }
    let alone = classes.iter().map(|class| vec![1.0 / class.mu]).collect();
    Some(solve(matrix, alone)?.concat())
}

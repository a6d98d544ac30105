//! Means of distributions.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

use super::{Distribution, Sampler};

impl Distribution {
    /// Mean of the draws from it, in seconds; infinite where it is, and `None` where nothing can be
    /// drawn.
    ///
    /// Exact but for what is truncated, which is integrated: within 10⁻⁴ where the distribution
    /// function is continuous, and 2 · 10⁻³ where it steps.
    pub fn mean_s(&self) -> Option<f64> {
        self.sampler().ok()?;
        shifted_mean_s(self, 0.0)
    }
}

/// Mean of `shift_s` plus a draw, the sum cut at zero as the sampler does.
fn shifted_mean_s(distribution: &Distribution, shift_s: f64) -> Option<f64> {
    match distribution {
        Distribution::Constant(mean)
        | Distribution::Exponential(mean)
        | Distribution::Lognormal { mean, .. }
        | Distribution::Gamma { mean, .. }
        | Distribution::Erlang { mean, .. }
        | Distribution::Weibull { mean, .. }
        | Distribution::Hyperexponential { mean, .. } => Some(shift_s + mean.as_secs_f64()),
        Distribution::Uniform { from, to } => {
            Some(shift_s + f64::midpoint(from.as_secs_f64(), to.as_secs_f64()))
        }
        Distribution::Normal { mean, sd } => Some(cut_normal_mean(
            shift_s + mean.as_secs_f64(),
            sd.as_secs_f64(),
        )),
        Distribution::Pareto { scale, shape } if *shape > 1.0 => {
            Some(shift_s + scale.as_secs_f64() * shape / (shape - 1.0))
        }
        Distribution::Pareto { .. } => Some(f64::INFINITY),
        Distribution::Quantiles(points) => {
            let total: f64 = points.iter().map(|point| point.as_secs_f64()).sum();
            Some(shift_s + total / points.len() as f64)
        }
        Distribution::Shifted { by, of } => shifted_mean_s(of, shift_s + by.as_secs_f64()),
        Distribution::Truncated { from, to, .. } => {
            let sampler = distribution.sampler().ok()?;
            let mean = truncated_mean_s(&sampler, from.as_secs_f64(), to.as_secs_f64());
            Some(shift_s + mean)
        }
        Distribution::Mixture(components) => {
            let total: f64 = components.iter().map(|component| component.share).sum();
            components.iter().try_fold(0.0, |sum, component| {
                let mean = shifted_mean_s(&component.of, shift_s)?;
                Some(sum + component.share / total * mean)
            })
        }
    }
}

/// Mean of a normal distribution of which what is less than zero is zero:
/// `m Φ(m / s) + s φ(m / s)`.
fn cut_normal_mean(mean: f64, sd: f64) -> f64 {
    if sd > 0.0 {
        let unit = Normal::standard();
        mean * unit.cdf(mean / sd) + sd * unit.pdf(mean / sd)
    } else {
        mean.max(0.0)
    }
}

/// Mean of what lies between two times: `from + ∫ (1 - F)`.
///
/// The interval is cut into parts that double in length from a picosecond, so that the body is
/// seen wherever it lies, and each is integrated by Simpson's rule.
fn truncated_mean_s(sampler: &Sampler, from: f64, to: f64) -> f64 {
    const N_STEPS: u32 = 256;
    let beyond = |t: f64| 1.0 - sampler.cdf(t);
    let (mut start, mut length) = (from, 1e-12);
    let mut sum = from;
    while start < to {
        let end = (start + length).min(to);
        let step = (end - start) / f64::from(N_STEPS);
        let weighted: f64 = (0..=N_STEPS)
            .map(|index| {
                let weight = match index {
                    0 | N_STEPS => 1.0,
                    odd if odd % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * beyond(start + f64::from(index) * step)
            })
            .sum();
        sum += weighted * step / 3.0;
        start = end;
        length *= 2.0;
    }
    sum
}

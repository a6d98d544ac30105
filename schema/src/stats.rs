//! Statistics that every part shares: means with intervals, quantiles, and whether a series of
//! measurements may be treated as a sample at all.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// An estimate with its confidence interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The estimate.
    #[serde(with = "null_unless_finite")]
    pub value: f64,
    /// Lower end of the interval.
    #[serde(with = "null_unless_finite")]
    pub low: f64,
    /// Upper end of the interval.
    #[serde(with = "null_unless_finite")]
    pub high: f64,
}

/// JSON has no infinity and no NaN: both are `null` there, which is read as NaN.
mod null_unless_finite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands over a reference"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// Arithmetic mean; NaN of nothing.
pub fn mean(sample: &[f64]) -> f64 {
    sample.iter().sum::<f64>() / sample.len() as f64
}

/// Unbiased sample variance; NaN of fewer than two.
pub fn variance(sample: &[f64]) -> f64 {
    let m = mean(sample);
    sample.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (sample.len() as f64 - 1.0)
}

/// The `p` quantile of an ascending sample: the smallest value that at least a fraction `p` of the
/// sample does not exceed (type 1 of Hyndman and Fan, 1996), so always a value that occurred.
///
/// # Panics
/// If the sample is empty.
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Linear interpolation between points at `(i + ½) / n`, constant outside them.
pub(crate) fn interpolate(points: &[f64], u: f64) -> f64 {
    let at = u * points.len() as f64 - 0.5;
    let last = points.len() - 1;
    if at <= 0.0 {
        return points[0];
    }
    let below = (at.floor() as usize).min(last);
    let above = (below + 1).min(last);
    points[below] + (at - below as f64) * (points[above] - points[below])
}

/// The inverse of [`interpolate`]: the probability up to which the points are at most `x`.
pub(crate) fn interpolated_cdf(points: &[f64], x: f64) -> f64 {
    let last = points.len() - 1;
    if x < points[0] {
        return 0.0;
    }
    if x >= points[last] {
        return 1.0;
    }
    // The first and the last point hold half a cell each; between two points it is linear.
    let above = points.partition_point(|point| *point <= x);
    let below = above - 1;
    let part = (x - points[below]) / (points[above] - points[below]);
    (below as f64 + part + 0.5) / points.len() as f64
}

/// Mean of independent values with Student's t interval at `confidence`; the interval of fewer
/// than two is infinite.
pub fn mean_interval(sample: &[f64], confidence: f64) -> Estimate {
    let value = mean(sample);
    let n = sample.len() as f64;
    if n < 2.0 {
        return Estimate {
            value,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        };
    }
    let t = StudentsT::new(0.0, 1.0, n - 1.0)
        .expect("there is at least one degree of freedom")
        .inverse_cdf(0.5 + confidence / 2.0);
    let half = t * (variance(sample) / n).sqrt();
    Estimate {
        value,
        low: value - half,
        high: value + half,
    }
}

/// Mean of a correlated series with a t interval over `n_batches` batch means (Law and Kelton,
/// section 9.5.3); the values left over at the end are dropped from the interval only.
pub fn batch_means_interval(series: &[f64], n_batches: usize, confidence: f64) -> Estimate {
    let size = series.len() / n_batches;
    if size == 0 {
        return mean_interval(series, confidence);
    }
    let means: Vec<f64> = series
        .chunks_exact(size)
        .take(n_batches)
        .map(mean)
        .collect();
    let interval = mean_interval(&means, confidence);
    let shift = mean(series) - interval.value;
    Estimate {
        value: mean(series),
        low: interval.low + shift,
        high: interval.high + shift,
    }
}

/// The `p` quantile with a distribution-free interval at `confidence`, from order statistics
/// (Conover, 1999, section 3.2). `n_effective` is the number of independent values that the sample
/// is worth; it widens the interval of a correlated series.
pub fn quantile_interval(sorted: &[f64], p: f64, confidence: f64, n_effective: f64) -> Estimate {
    let value = quantile(sorted, p);
    let n_effective = n_effective.min(sorted.len() as f64);
    let (low, high) = quantile_ranks(p, confidence, n_effective);
    Estimate {
        value,
        low: quantile(sorted, low),
        high: quantile(sorted, high),
    }
}

/// The quantiles of a sample between which its `p` quantile lies with at least `confidence`, if the
/// sample is worth `n_effective` independent values: from the binomial number of values below it
/// (Conover, 1999, section 3.2).
///
/// # Panics
/// If `p` is no probability.
pub fn quantile_ranks(p: f64, confidence: f64, n_effective: f64) -> (f64, f64) {
    let n = (n_effective.round() as u64).max(1);
    let tail = (1.0 - confidence) / 2.0;
    let binomial = Binomial::new(p, n).expect("p is a probability");
    let rank = |probability: f64| binomial.inverse_cdf(probability) as f64 / n as f64;
    let high = ((rank(1.0 - tail) * n as f64 + 1.0) / n as f64).min(1.0);
    (rank(tail), high)
}

/// Autocorrelation of a series at `lag`; zero of a constant or too short series.
pub fn autocorrelation(series: &[f64], lag: usize) -> f64 {
    let m = mean(series);
    let total: f64 = series.iter().map(|x| (x - m) * (x - m)).sum();
    if series.len() <= lag || total <= 0.0 {
        return 0.0;
    }
    series
        .windows(lag + 1)
        .map(|w| (w[0] - m) * (w[lag] - m))
        .sum::<f64>()
        / total
}

/// How many independent values a series is worth: `n / (1 + 2 Σ r_k)`, the sum over lags up to the
/// first that is not positive (the initial positive sequence, Geyer 1992), at most 1000 of them.
pub fn effective_sample_size(series: &[f64]) -> f64 {
    let n = series.len();
    let sum: f64 = (1..n.min(1000))
        .map(|lag| autocorrelation(series, lag))
        .take_while(|r| *r > 0.0)
        .sum();
    (n as f64 / (1.0 + 2.0 * sum)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Seed, stream, uniform};

    #[test]
    fn quantiles_are_values_that_occurred() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        for (p, value) in [(0.5, 2.0), (0.51, 3.0), (0.0, 1.0), (1.0, 4.0)] {
            assert!((quantile(&sorted, p) - value).abs() < 1e-12, "p = {p}");
        }
    }

    #[test]
    fn a_mean_interval_matches_the_t_table() {
        // t(0.975, 4) = 2.7764 (table), sd of 1..5 is sqrt(2.5).
        let interval = mean_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95);
        assert!((interval.high - 3.0 - 2.7764 * (2.5f64 / 5.0).sqrt()).abs() < 1e-3);
    }

    #[test]
    fn intervals_cover_at_about_the_stated_rate() {
        let mut rng = stream(Seed(0), "coverage");
        let (mut means, mut medians) = (0, 0);
        let n_trials = 1000;
        for _ in 0..n_trials {
            let mut sample: Vec<f64> = (0..100).map(|_| uniform(&mut rng)).collect();
            let m = batch_means_interval(&sample, 20, 0.95);
            sample.sort_by(f64::total_cmp);
            let q = quantile_interval(&sample, 0.5, 0.95, 100.0);
            means += usize::from(m.low <= 0.5 && 0.5 <= m.high);
            medians += usize::from(q.low <= 0.5 && 0.5 <= q.high);
        }
        // 99.9% band of a binomial(1000, 0.95) is 0.927 to 0.971; the median's is conservative.
        assert!((927..=971).contains(&means), "{means}");
        assert!((927..=985).contains(&medians), "{medians}");
    }

    #[test]
    fn a_correlated_series_is_worth_fewer_values() {
        let mut rng = stream(Seed(0), "ar1");
        let mut x = 0.0;
        let series: Vec<f64> = (0..50_000)
            .map(|_| {
                x = 0.8 * x + uniform(&mut rng) - 0.5;
                x
            })
            .collect();
        // An AR(1) series with coefficient 0.8 is worth n (1 - 0.8) / (1 + 0.8) values.
        let expected = 50_000.0 * 0.2 / 1.8;
        assert!((effective_sample_size(&series) / expected - 1.0).abs() < 0.15);
    }
}

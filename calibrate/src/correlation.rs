//! How many independent samples a long series is worth, in bounded time.

use schema::stats::{effective_sample_size, mean, variance};

/// Longest series whose autocorrelation is summed lag by lag.
const MAX_EXACT: usize = 4096;
/// Number of batches of a longer one.
const N_BATCHES: usize = 1024;

/// How many independent values `series` is worth.
///
/// A short one as [`effective_sample_size`] has it. A long one by the means of 1024 batches: the
/// variance of the mean is that of the batch means, which holds the correlation inside batches,
/// times what the correlation between batches adds. At most the number of values.
pub(crate) fn effective_samples(series: &[f64]) -> f64 {
    if series.len() <= MAX_EXACT {
        return effective_sample_size(series);
    }
    let size = series.len() / N_BATCHES;
    let means: Vec<f64> = series.chunks_exact(size).map(mean).collect();
    let variance_of_mean = variance(&means) / effective_sample_size(&means);
    let n = series.len() as f64;
    if variance_of_mean <= 0.0 {
        return n;
    }
    (variance(series) / variance_of_mean).clamp(1.0, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::random::{Seed, stream, uniform};

    #[test]
    fn batches_see_correlation_within_and_between_them() {
        // An AR(1) series with coefficient a is worth n (1 - a) / (1 + a) values: within batches of
        // 97 for 0.8, over about four batches for 0.995.
        for (a, seed) in [(0.8, 0), (0.995, 1)] {
            let mut rng = stream(Seed(seed), "ar1");
            let mut x = 0.0;
            let series: Vec<f64> = (0..100_000)
                .map(|_| {
                    x = a * x + uniform(&mut rng) - 0.5;
                    x
                })
                .collect();
            let expected = 100_000.0 * (1.0 - a) / (1.0 + a);
            let found = effective_samples(&series);
            // The variance of about 1000 batch means, correlated or not, is known to 10%.
            assert!(
                (found / expected - 1.0).abs() < 0.35,
                "{a}: {found}, expected {expected}"
            );
        }
    }
}

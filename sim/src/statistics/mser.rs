//! Where the initial transient of a series ends.

/// Values in a batch.
const BATCH: usize = 5;

/// Number of values at the start of `series` that belong to its initial transient, by MSER-5: of
/// all numbers of batches of five that might be left out, that after which the standard error of
/// the mean of what remains is least (White, 1997; White, Cobb and Spratt, 2000). `None` if that
/// number is more than half of the batches, which says that the series is too short to tell.
pub fn mser5(series: &[f64]) -> Option<usize> {
    let batches: Vec<f64> = (series.chunks_exact(BATCH))
        .map(|batch| batch.iter().sum::<f64>() / BATCH as f64)
        .collect();
    let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
    let mut best: Option<(usize, f64)> = None;
    // From the end on, each more batch kept; at least five of them, or the least error is chance.
    for (left_out, mean) in batches.iter().enumerate().rev() {
        sum += mean;
        squares += mean * mean;
        n += 1.0;
        if n < BATCH as f64 {
            continue;
        }
        let statistic = (squares - sum * sum / n) / (n * n);
        if best.is_none_or(|(_, least)| statistic <= least) {
            best = Some((left_out, statistic));
        }
    }
    let (left_out, _) = best?;
    (2 * left_out <= batches.len()).then_some(left_out * BATCH)
}

#[cfg(test)]
mod tests {
    use schema::random::{Seed, stream, uniform};

    use super::*;

    fn noisy(n: usize, shape: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut rng = stream(Seed(0), "mser");
        (0..n)
            .map(|i| shape(i as f64) + uniform(&mut rng) - 0.5)
            .collect()
    }

    #[test]
    fn a_transient_is_found() {
        let series = noisy(2_000, |i| 20.0 * (-i / 30.0).exp());
        let left_out = mser5(&series).unwrap();
        // After 100 values what is left of the transient, 20 e^(-10/3) = 0.7, is as the noise;
        // after 300 nothing is.
        assert!((100..300).contains(&left_out), "{left_out}");
    }

    #[test]
    fn a_steady_series_loses_little() {
        let left_out = mser5(&noisy(2_000, |_| 0.0)).unwrap();
        assert!(left_out < 200, "{left_out}");
    }

    #[test]
    fn a_series_that_only_rises_is_too_short() {
        assert_eq!(mser5(&noisy(1_000, |i| i / 10.0)), None);
        assert_eq!(mser5(&[1.0; 7]), None);
    }
}

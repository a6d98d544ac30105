//! Means of successive batches of a series whose length is not known.

use schema::stats::{Estimate, mean_interval};

/// Most batches kept; when there are as many, each two become one.
const MOST: usize = 64;

/// Means of between 32 and 63 equal batches of successive values, once there are that many values.
///
/// The batch size doubles as the series grows, so memory is bounded (the dynamic batch means of
/// Yeh and Schmeiser, 2000).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BatchMeans {
    /// Sums of full batches.
    sums: Vec<f64>,
    /// Values in a batch, as a power of two.
    size_bits: u32,
    n_last: u64,
    sum_last: f64,
}

impl BatchMeans {
    /// Adds the next value.
    #[inline]
    pub fn record(&mut self, value: f64) {
        self.sum_last += value;
        self.n_last += 1;
        if self.n_last >> self.size_bits > 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        self.sums.push(self.sum_last);
        (self.n_last, self.sum_last) = (0, 0.0);
        if self.sums.len() == MOST {
            for index in 0..MOST / 2 {
                self.sums[index] = self.sums[2 * index] + self.sums[2 * index + 1];
            }
            self.sums.truncate(MOST / 2);
            self.size_bits += 1;
        }
    }

    /// Means of the full batches.
    pub fn means(&self) -> Vec<f64> {
        let size = (1u64 << self.size_bits) as f64;
        self.sums.iter().map(|sum| sum / size).collect()
    }

    /// Student's t interval of the mean from the full batches, which are taken to be independent;
    /// infinite if there are fewer than two.
    pub fn interval(&self, confidence: f64) -> Estimate {
        mean_interval(&self.means(), confidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_double_and_keep_every_value() {
        let mut batches = BatchMeans::default();
        for value in 0..1000 {
            batches.record(f64::from(value));
        }
        let means = batches.means();
        // 1000 values in batches of 16: 62 full ones.
        assert_eq!(means.len(), 62);
        for (index, mean) in means.iter().enumerate() {
            assert!((mean - (16.0 * index as f64 + 7.5)).abs() < 1e-9);
        }
    }

    #[test]
    fn too_short_a_series_has_an_infinite_interval() {
        let mut batches = BatchMeans::default();
        batches.record(1.0);
        assert!(batches.interval(0.95).high.is_infinite());
    }
}

//! Means of successive batches of a series whose length is not known.

use schema::stats::{Estimate, mean_interval};

/// Most batches kept; when there are as many, each two become one.
const MOST: usize = 64;

/// Means of between 32 and 63 equal batches of successive values, once there are that many values.
///
/// The batch size doubles as the series grows, so memory is bounded (the dynamic batch means of
/// Yeh and Schmeiser, 2000). It follows the sum of the values, which whoever records them keeps
/// anyway.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchMeans {
    /// Sums of full batches.
    sums: Vec<u128>,
    /// Values in a batch, a power of two.
    size: u64,
    /// Values until the present batch is full.
    left: u64,
    /// Sum of all values in full batches.
    before: u128,
}

impl Default for BatchMeans {
    fn default() -> Self {
        BatchMeans {
            sums: Vec::new(),
            size: 1,
            left: 1,
            before: 0,
        }
    }
}

impl BatchMeans {
    /// There is one more value; the sum of all is `sum` now.
    #[inline]
    pub fn record(&mut self, sum: u128) {
        self.left -= 1;
        if self.left == 0 {
            self.close(sum);
        }
    }

    #[cold]
    fn close(&mut self, sum: u128) {
        self.sums.push(sum - self.before);
        self.before = sum;
        if self.sums.len() == MOST {
            for index in 0..MOST / 2 {
                self.sums[index] = self.sums[2 * index] + self.sums[2 * index + 1];
            }
            self.sums.truncate(MOST / 2);
            self.size *= 2;
        }
        self.left = self.size;
    }

    /// Means of the full batches.
    pub fn means(&self) -> Vec<f64> {
        let mean = |sum: &u128| *sum as f64 / self.size as f64;
        self.sums.iter().map(mean).collect()
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
        let mut sum = 0;
        for value in 0..1000 {
            sum += value;
            batches.record(sum);
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
        batches.record(1);
        assert!(batches.interval(0.95).high.is_infinite());
    }
}

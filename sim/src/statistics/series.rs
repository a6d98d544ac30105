//! A series of times: mean, distribution and how far both may be trusted.

use schema::stats::{Estimate, quantile_ranks};
use schema::units::SimDuration;

use super::{BatchMeans, Histogram};

/// A series of times in the order in which they were observed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Series {
    sum_ps: u128,
    histogram: Histogram,
    batches: BatchMeans,
}

impl Series {
    /// Adds the next time.
    #[inline]
    pub fn record(&mut self, time: SimDuration) {
        self.sum_ps += u128::from(time.as_ps());
        self.histogram.record(time);
        self.batches.record(self.sum_ps);
    }

    /// Number of times.
    pub const fn n(&self) -> u64 {
        self.histogram.n()
    }

    /// Mean, in seconds; NaN of nothing.
    pub fn mean(&self) -> f64 {
        self.sum_ps as f64 * 1e-12 / self.n() as f64
    }

    /// The distribution.
    pub const fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// Mean with an interval from batch means, in seconds.
    pub fn mean_interval(&self, confidence: f64) -> Estimate {
        let batches = self.batches.interval(confidence);
        let half = 1e-12 * (batches.high - batches.low) / 2.0;
        let value = self.mean();
        Estimate {
            value,
            low: value - half,
            high: value + half,
        }
    }

    /// How many independent times the series is worth: its variance over that of its mean, the
    /// latter from batch means. At most their number, and at least 1.
    pub fn effective_samples(&self) -> f64 {
        let means = self.batches.means();
        let variance_of_mean = 1e-24 * schema::stats::variance(&means) / means.len() as f64;
        let worth = self.histogram.variance(self.mean()) / variance_of_mean;
        if worth.is_finite() {
            worth.clamp(1.0, self.n() as f64)
        } else {
            self.n() as f64
        }
    }

    /// The `p` quantile, in seconds, with a distribution-free interval from order
    /// statistics.
    ///
    /// `worth` is what it is worth, as [`effective_samples`](Series::effective_samples) tells.
    pub fn quantile_interval(&self, p: f64, confidence: f64, worth: f64) -> Estimate {
        let value = self.histogram.quantile(p);
        if self.n() == 0 {
            return Estimate {
                value,
                low: f64::NEG_INFINITY,
                high: f64::INFINITY,
            };
        }
        let (low, high) = quantile_ranks(p, confidence, worth);
        Estimate {
            value,
            low: self.histogram.quantile(low),
            high: self.histogram.quantile(high),
        }
    }
}

//! As many replications as a result needs.

use std::ops::Range;
use std::str::FromStr;

use schema::comparison::Metric;
use schema::stats::{Estimate, mean_interval};
use schema::summary::CONFIDENCE;

use crate::error::SimError;

/// Replications from which on an interval is trusted to say how many more it takes.
const FEWEST: u32 = 5;

/// How precise a metric is to be: the half-width of its 95% interval, relative to its value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Precision {
    /// Which metric.
    pub metric: Metric,
    /// Largest half-width, as a fraction of the value; above zero.
    pub relative: f64,
    /// Most replications that may be spent on it.
    pub at_most: u32,
}

/// Why a text is no precision.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{text}` is no precision: write a metric and its half-width in percent, such as 'p99 ±2%' (metrics: mean, p50, p90, p99, throughput)"
)]
pub struct PrecisionError {
    text: String,
}

impl FromStr for Precision {
    type Err = PrecisionError;

    /// Reads `p99 ±2%`; the sign may be left out. At most 1000 replications may be spent.
    fn from_str(text: &str) -> Result<Precision, PrecisionError> {
        let wrong = || PrecisionError {
            text: text.to_owned(),
        };
        let mut words = text.split_whitespace();
        let (Some(name), Some(width), None) = (words.next(), words.next(), words.next()) else {
            return Err(wrong());
        };
        // Core time is of hosts, and hardly varies.
        let mut known = Metric::ALL.into_iter().filter(|m| *m != Metric::Cpu);
        let metric = known.find(|m| m.name() == name);
        let width = width.trim_start_matches("±").trim_start_matches("+-");
        let percent: Option<f64> = width.strip_suffix('%').and_then(|w| w.parse().ok());
        match (metric, percent) {
            (Some(metric), Some(percent)) if percent > 0.0 && percent.is_finite() => {
                Ok(Precision {
                    metric,
                    relative: percent / 100.0,
                    at_most: 1000,
                })
            }
            _ => Err(wrong()),
        }
    }
}

impl Precision {
    /// Whether the replications with these values of the metric are enough.
    ///
    /// The sequential procedure of Law (2015), section 9.4.1. It stops when the interval happens to
    /// be short, so a little too early on average; that is less the more replications it takes.
    pub fn is_met(&self, values: &[f64]) -> bool {
        let Estimate { value, low, high } = mean_interval(values, CONFIDENCE);
        values.len() >= FEWEST as usize && (high - low) / 2.0 <= self.relative * value.abs()
    }

    /// How many replications there are to be, if these are not enough: as many as would do if the
    /// next varied as much, but at most twice as many as there are.
    fn wanted(&self, values: &[f64]) -> u32 {
        let Estimate { value, low, high } = mean_interval(values, CONFIDENCE);
        let n = values.len() as u32;
        let ratio = (high - low) / 2.0 / (self.relative * value.abs());
        let wanted = (f64::from(n) * ratio * ratio).ceil();
        let wanted = if wanted.is_finite() {
            wanted as u32
        } else {
            u32::MAX
        };
        wanted.clamp(n + 1, 2 * n).max(FEWEST).min(self.at_most)
    }
}

/// Replications, `first` of them and, with a precision, as many more as that takes, within the most
/// that may be spent. How many are run does not depend on anything but their results.
pub(crate) fn replications<T>(
    first: u32,
    precision: Option<&Precision>,
    mut run: impl FnMut(Range<u32>) -> Result<Vec<T>, SimError>,
    value: impl Fn(&T) -> f64,
) -> Result<Vec<T>, SimError> {
    let first = precision.map_or(first, |p| first.min(p.at_most));
    let mut all = run(0..first)?;
    let Some(precision) = precision else {
        return Ok(all);
    };
    let mut values: Vec<f64> = all.iter().map(&value).collect();
    while !precision.is_met(&values) && (values.len() as u32) < precision.at_most {
        let more = run(values.len() as u32..precision.wanted(&values))?;
        values.extend(more.iter().map(&value));
        all.extend(more);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use schema::random::{Seed, stream, uniform};

    use super::*;

    fn p99(percent: f64) -> Precision {
        format!("p99 ±{percent}%").parse().unwrap()
    }

    #[test]
    fn precisions_are_read() {
        assert_eq!(p99(2.0).metric, Metric::P99);
        assert!((p99(2.0).relative - 0.02).abs() < 1e-12);
        assert_eq!("mean 0.5%".parse(), "mean +-0.5%".parse::<Precision>());
        for wrong in [
            "p99",
            "p98 ±2%",
            "p99 ±2",
            "p99 ±0%",
            "p99 ±2% x",
            "p99 ±-1%",
        ] {
            assert!(wrong.parse::<Precision>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn replications_stop_when_they_are_precise() {
        let mut rng = stream(Seed(0), "precision");
        let run = |range: Range<u32>| Ok(range.map(|_| 9.0 + 2.0 * uniform(&mut rng)).collect());
        let values = replications(2, Some(&p99(1.0)), run, |value| *value).unwrap();
        // A standard deviation of 2/√12 = 0.58 of 10: 1.96² · 0.058² / 0.01² = 128.
        assert!((100..170).contains(&values.len()), "{}", values.len());
        assert!(p99(1.0).is_met(&values));
    }

    #[test]
    fn replications_stop_at_the_most_that_may_be_spent() {
        let run = |range: Range<u32>| Ok(range.map(|i| f64::from(i % 2)).collect());
        let precision = Precision {
            at_most: 30,
            ..p99(0.1)
        };
        let values = replications(4, Some(&precision), run, |value: &f64| *value).unwrap();
        assert_eq!(values.len(), 30);
        let values = replications(40, Some(&precision), run, |value: &f64| *value).unwrap();
        assert_eq!(values.len(), 30);
    }
}

//! How much slower cores work after they were idle.
//!
//! A core that has idled finds its caches filled by others, sleeps, or is clocked down, so the same
//! work takes more core time than on one that was busy all along. The cost of work is fitted as
//! `law · (1 + slowdown · (1 - w))`, `w` the recent busy share of its cores: the exponentially
//! weighted average of how much of them was busy, with a time constant, the memory. Light runs show
//! it, since every request of theirs comes after another pause.

use std::collections::{BTreeMap, BTreeSet};

use schema::ids::{CoreSetId, Id, StageId};
use schema::profile::IdleLaw;
use schema::run::{Run, Span, SpanName};
use schema::stats::mean;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::affine::{CLIP, centre_and_scale};
use crate::correlation::effective_samples;
use crate::samples::{Point, Series};

/// The memories that are tried, in seconds: from a few to a few hundred milliseconds, a factor of
/// two apart. Shorter ones than a pause of a probe and longer ones than a run cannot be told apart.
pub(crate) const MEMORIES_S: [f64; 7] = [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128];
/// The recent busy share by memory.
pub(crate) type Recent = [f64; MEMORIES_S.len()];
/// Fewest samples from which it is fitted.
const MIN_SAMPLES: usize = 100;
/// Least standard deviation of the recent busy share that shows it.
const MIN_SPREAD: f64 = 0.05;
/// A slow-down counts if it would come out so by chance with this probability.
const ALPHA: f64 = 0.001;

/// Replication, stage and batch.
pub(crate) type BatchKey = (u32, StageId, u32);

/// The recent busy share of the cores of each batch's stage when its inference started.
pub(crate) fn recent(run: &Run) -> BTreeMap<BatchKey, Recent> {
    let scenario = &run.scenario;
    let set_of = |span: &Span| scenario.hosts[span.host].core_set;
    // Every piece of core time once: a batch has a span a request.
    let mut pieces: BTreeMap<(u32, CoreSetId), Vec<(u64, u64)>> = BTreeMap::new();
    let mut starts: BTreeMap<(u32, CoreSetId), Vec<(u64, BatchKey)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for span in run.trace.iter().filter(|span| is_work(span.name)) {
        if span.host.index() >= scenario.hosts.len() || span.start_ns > span.end_ns {
            continue;
        }
        let batch = (span.replication, span.stage, span.batch);
        let is_batch = matches!(span.name, SpanName::Preprocess | SpanName::Inference);
        if is_batch && !seen.insert((span.name, batch)) {
            continue;
        }
        let place = (span.replication, set_of(span));
        if span.name == SpanName::Inference {
            starts
                .entry(place)
                .or_default()
                .push((span.start_ns, batch));
        }
        let length_ns = match span.cpu_ns {
            0 => span.end_ns - span.start_ns,
            cpu_ns => cpu_ns.min(span.end_ns - span.start_ns),
        };
        let piece = (span.start_ns, span.start_ns + length_ns);
        pieces.entry(place).or_default().push(piece);
    }
    let mut found = BTreeMap::new();
    for (place, mut starts) in starts {
        let n_cores = scenario.core_sets[place.1].cores.len();
        let mut pieces = pieces.remove(&place).unwrap_or_default();
        pieces.sort_unstable_by_key(|(_, end_ns)| *end_ns);
        starts.sort_unstable();
        let mut trail = Trail::default();
        let mut pieces = pieces.into_iter().peekable();
        for (start_ns, batch) in starts {
            while let Some(piece) = pieces.next_if(|(_, end_ns)| *end_ns <= start_ns) {
                trail.add(piece);
            }
            found.insert(batch, trail.at(start_ns, n_cores));
        }
    }
    found
}

const fn is_work(name: SpanName) -> bool {
    !matches!(name, SpanName::Request | SpanName::Wire | SpanName::Queue)
}

/// What is left of all busy time so far, by memory.
#[derive(Default)]
struct Trail {
    updated_ns: u64,
    busy: Recent,
}

impl Trail {
    fn advance(&mut self, to_ns: u64) {
        let passed_s = to_ns.saturating_sub(self.updated_ns) as f64 / 1e9;
        for (busy, memory_s) in self.busy.iter_mut().zip(MEMORIES_S) {
            *busy *= (-passed_s / memory_s).exp();
        }
        self.updated_ns = to_ns;
    }

    fn add(&mut self, (start_ns, end_ns): (u64, u64)) {
        self.advance(end_ns);
        let length_s = (end_ns - start_ns) as f64 / 1e9;
        for (busy, memory_s) in self.busy.iter_mut().zip(MEMORIES_S) {
            *busy -= (-length_s / memory_s).exp_m1();
        }
    }

    fn at(&mut self, at_ns: u64, n_cores: usize) -> Recent {
        self.advance(at_ns);
        self.busy.map(|busy| (busy / n_cores as f64).min(1.0))
    }
}

/// The slow-down of the cost whose samples are `series`, `expected` their law without it; `None` if
/// they do not show any. Also which of [`MEMORIES_S`] it has.
///
/// Runs differ for reasons of their own, so only what differs within a run counts: least squares of
/// the relative deviations on `1 - w`, with a level for each run.
pub(crate) fn fit(series: &[Series], expected: impl Fn(f64) -> f64) -> Option<(IdleLaw, usize)> {
    let of_run = |series: &Series| -> Option<(Vec<f64>, Vec<Recent>)> {
        let recent: Option<Vec<Recent>> = series.points.iter().map(|p| p.recent).collect();
        // Of work that takes no time nothing can be said.
        let ratio = |point: &Point| {
            let expected = expected(point.driver);
            (expected > 0.0).then(|| point.seconds / expected)
        };
        let ratios: Option<Vec<f64>> = series.points.iter().map(ratio).collect();
        Some((clipped(&ratios?), recent?))
    };
    let runs: Vec<(Vec<f64>, Vec<Recent>)> = series.iter().map(of_run).collect::<Option<_>>()?;
    let lines = (0..MEMORIES_S.len()).filter_map(|memory| {
        let samples: Vec<(Vec<f64>, &[f64])> = runs
            .iter()
            .map(|(ratios, recent)| {
                let idle = recent.iter().map(|recent| 1.0 - recent[memory]);
                (idle.collect(), ratios.as_slice())
            })
            .collect();
        Some((Line::within(&samples)?, memory))
    });
    let (line, memory) = lines.min_by(|a, b| a.0.squares.total_cmp(&b.0.squares))?;
    let needed = Normal::standard().inverse_cdf(1.0 - ALPHA) * line.slope_error;
    let law = IdleLaw {
        slowdown: line.slope / line.intercept,
        slowdown_error: line.slope_error / line.intercept,
        memory: MEMORIES_S[memory],
    };
    (line.intercept > 0.0 && line.slope > needed).then_some((law, memory))
}

/// The values, those far from their median moved to the edge of what is near it.
fn clipped(values: &[f64]) -> Vec<f64> {
    let (middle, scale) = centre_and_scale(values);
    let (low, high) = (middle - CLIP * scale, middle + CLIP * scale);
    values.iter().map(|v| v.clamp(low, high)).collect()
}

/// A line by least squares within groups.
struct Line {
    /// At zero, of the groups as one.
    intercept: f64,
    slope: f64,
    slope_error: f64,
    /// Sum of the squared residuals.
    squares: f64,
}

impl Line {
    /// The slope common to all groups of `x` and `y`, each with a level of its own; `None` if there
    /// are few samples, or the `x` hardly differ.
    fn within(groups: &[(Vec<f64>, &[f64])]) -> Option<Line> {
        let n: usize = groups.iter().map(|(x, _)| x.len()).sum();
        let centred: Vec<(Vec<f64>, Vec<f64>)> = groups
            .iter()
            .map(|(x, y)| (centred(x), centred(y)))
            .collect();
        let sum = |product: fn(&f64, &f64) -> f64| -> f64 {
            let pairs = centred.iter().flat_map(|(x, y)| x.iter().zip(y));
            pairs.map(|(x, y)| product(x, y)).sum()
        };
        let (sxx, sxy) = (sum(|x, _| x * x), sum(|x, y| x * y));
        if n < MIN_SAMPLES || sxx < n as f64 * MIN_SPREAD * MIN_SPREAD {
            return None;
        }
        let slope = sxy / sxx;
        let residuals: Vec<Vec<f64>> = centred
            .iter()
            .map(|(x, y)| x.iter().zip(y).map(|(x, y)| y - slope * x).collect())
            .collect();
        let squares: f64 = residuals.iter().flatten().map(|r| r * r).sum();
        // Neighbours resemble each other, beyond what the line explains.
        let worth: f64 = residuals.iter().map(|r| effective_samples(r)).sum();
        let freedom = n as f64 - groups.len() as f64 - 1.0;
        let inflation = (n as f64 / worth).max(1.0);
        let mean_x = groups.iter().flat_map(|(x, _)| x).sum::<f64>() / n as f64;
        let mean_y = groups.iter().flat_map(|(_, y)| *y).sum::<f64>() / n as f64;
        Some(Line {
            intercept: mean_y - slope * mean_x,
            slope,
            slope_error: (squares / freedom / sxx * inflation).sqrt(),
            squares,
        })
    }
}

/// The values less their mean.
fn centred(values: &[f64]) -> Vec<f64> {
    let mean = mean(values);
    values.iter().map(|value| value - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_the_exponentially_weighted_busy_share() {
        let ms = 1_000_000;
        let mut trail = Trail::default();
        trail.add((0, 10 * ms));
        trail.add((15 * ms, 20 * ms));
        let found = trail.at(30 * ms, 2);
        for (found, memory_s) in found.into_iter().zip(MEMORIES_S) {
            let since = |ms: f64| (-ms / 1e3 / memory_s).exp();
            // ∫ exp(-(30 - t) / memory) dt / memory over the two pieces, of two cores.
            let expected = (since(20.0) - since(30.0) + since(10.0) - since(15.0)) / 2.0;
            assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
        }
    }

    #[test]
    fn outliers_are_moved_to_the_edge_of_what_is_near() {
        let mut values: Vec<f64> = (0..100).map(|i| 1.0 + f64::from(i % 5) * 0.01).collect();
        values.push(100.0);
        let clipped = clipped(&values);
        assert_eq!(&clipped[..100], &values[..100]);
        assert!(
            clipped[100] > 1.04 && clipped[100] < 1.1,
            "{}",
            clipped[100]
        );
    }
}

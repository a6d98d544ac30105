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
use schema::run::{Run, SpanName};
use schema::stats::mean;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::affine::{CLIP, centre_and_scale};
use crate::correlation::effective_samples;
use crate::samples::{Point, Series};

/// The memories that are tried, in seconds: from a part of a millisecond, as a sleep of a core is long, to
/// a few hundred, a factor of two apart. Longer ones than a run cannot be told apart.
pub(crate) const MEMORIES_S: [f64; 10] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128,
];
/// The recent busy share by memory.
pub(crate) type Recent = [f64; MEMORIES_S.len()];
/// Fewest samples from which it is fitted.
const MIN_SAMPLES: usize = 100;
/// Least standard deviation of the recent busy share that shows it.
const MIN_SPREAD: f64 = 0.05;
/// One sample in five must be of cores with at least this recent busy share: the law is for cores that were
/// busy all along, and must not lie far from what was seen.
const MIN_BUSY: f64 = 0.6;
/// A slow-down counts if it would come out so by chance with this probability.
const ALPHA: f64 = 0.001;

/// Replication, stage and batch.
pub(crate) type BatchKey = (u32, StageId, u32);

/// The recent busy share of the cores of each span of core time when it started, in the order of the trace;
/// `None` of other spans, and of those that contradict themselves.
pub(crate) fn recent(run: &Run) -> Vec<Option<Recent>> {
    let scenario = &run.scenario;
    let mut places: BTreeMap<(u32, CoreSetId), Vec<Edge>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (index, span) in run.trace.iter().enumerate() {
        let is_work = !matches!(
            span.name,
            SpanName::Request | SpanName::Wire | SpanName::Queue
        ) && !span.name.is_detail();
        if !is_work || span.host.index() >= scenario.hosts.len() || span.start_ns > span.end_ns {
            continue;
        }
        let place = (span.replication, scenario.hosts[span.host].core_set);
        let edges = places.entry(place).or_default();
        edges.push((span.start_ns, Step::Asked(index)));
        // Every piece of core time once: a batch has a span a request.
        let is_batch = matches!(span.name, SpanName::Preprocess | SpanName::Inference);
        let batch: BatchKey = (span.replication, span.stage, span.batch);
        if is_batch && !seen.insert((span.name, batch)) {
            continue;
        }
        let length_ns = match span.cpu_ns {
            0 => span.end_ns - span.start_ns,
            cpu_ns => cpu_ns.min(span.end_ns - span.start_ns),
        };
        // What takes no time would end before it begins.
        if length_ns > 0 {
            edges.push((span.start_ns, Step::Begins));
            edges.push((span.start_ns + length_ns, Step::Ends));
        }
    }
    let mut found = vec![None; run.trace.len()];
    for (place, mut edges) in places {
        edges.sort_unstable();
        let mut trail = Trail::of(scenario.core_sets[place.1].cores.len());
        for (at_ns, step) in edges {
            trail.advance(at_ns);
            match step {
                Step::Ends => trail.n_busy -= 1,
                Step::Asked(index) => found[index] = Some(trail.recent),
                Step::Begins => trail.n_busy += 1,
            }
        }
    }
    found
}

/// Something that happens on a set of cores, and when, in nanoseconds.
type Edge = (u64, Step);

/// What comes first at one time has ended before what begins then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Ends,
    /// The span with this number starts.
    Asked(usize),
    Begins,
}

/// The recent busy share of a set of cores at a time that goes on.
struct Trail {
    n_cores: usize,
    /// Pieces of work under way.
    n_busy: usize,
    now_ns: u64,
    recent: Recent,
}

impl Trail {
    fn of(n_cores: usize) -> Trail {
        Trail {
            n_cores,
            n_busy: 0,
            now_ns: 0,
            recent: Recent::default(),
        }
    }

    fn advance(&mut self, to_ns: u64) {
        let passed_s = to_ns.saturating_sub(self.now_ns) as f64 / 1e9;
        let busy = self.n_busy.min(self.n_cores) as f64 / self.n_cores as f64;
        for (share, memory_s) in self.recent.iter_mut().zip(MEMORIES_S) {
            *share += (busy - *share) * -(-passed_s / memory_s).exp_m1();
        }
        self.now_ns = to_ns;
    }
}

/// The slow-down of the cost whose samples are `series`, `expected` their law without it; `None` if
/// they do not show any. Also which of [`MEMORIES_S`] it has.
///
/// Runs differ for reasons of their own, so only what differs within a run counts: least squares of
/// the relative deviations on `1 - w`, with a level for each run.
pub(crate) fn fit(series: &[Series], expected: impl Fn(f64) -> f64) -> Option<(IdleLaw, usize)> {
    let of_run = |series: &Series| -> Option<(Vec<f64>, Vec<Recent>)> {
        let of = |point: &Point| {
            let expected = expected(point.driver);
            // Of work that takes no time nothing can be said.
            (expected > 0.0).then(|| Some((point.seconds / expected, point.recent?)))
        };
        let pairs: Option<Vec<(f64, Recent)>> = series.points.iter().filter_map(of).collect();
        let (ratios, recent): (Vec<f64>, Vec<Recent>) = pairs?.into_iter().unzip();
        (!ratios.is_empty()).then(|| (clipped(&ratios), recent))
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
        let idle = samples.iter().flat_map(|(idle, _)| idle);
        let (n, n_busy) = idle.fold((0, 0), |(n, n_busy), idle| {
            (n + 1, n_busy + usize::from(*idle <= 1.0 - MIN_BUSY))
        });
        if 5 * n_busy < n {
            return None;
        }
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
        let mut trail = Trail::of(2);
        for (at, n_busy) in [(0, 1), (10, 0), (15, 3), (20, 0), (30, 0)] {
            trail.advance(at * ms);
            trail.n_busy = n_busy;
        }
        for (found, memory_s) in trail.recent.into_iter().zip(MEMORIES_S) {
            let since = |ms: f64| (-ms / 1e3 / memory_s).exp();
            // ∫ exp(-(30 - t) / memory) dt / memory over the two pieces: of one of two cores, and of both.
            let expected = (since(20.0) - since(30.0)) / 2.0 + since(10.0) - since(15.0);
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

//! `summary.json`: the statistics of a run, the same for hardware and engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::breakdown::{Breakdown, breakdowns};
use crate::ids::{Id, StageId};
use crate::run::{MACHINE, Run, RunKind, Span, SpanName, Status};
use crate::scenario::{Scenario, StageRole};
use crate::stages::StageSummary;
use crate::stats::{
    Estimate, autocorrelation, batch_means_interval, effective_sample_size, mean, mean_interval,
    quantile, quantile_interval,
};
use crate::units::SimTime;
use crate::workload::Schedule;

/// Confidence of every interval in a summary.
pub const CONFIDENCE: f64 = 0.95;
/// Number of batches of the intervals of a measurement (Schmeiser, 1982, recommends 10 to 30).
const N_BATCHES: usize = 20;
/// Share of the time that the instances of a stage are busy from which the stage counts as saturated.
const SATURATED: f64 = 0.95;

/// The statistics of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Version of the format, as the run's.
    pub format: u32,
    /// Number of requests that count, over all replications.
    pub requests: u64,
    /// Number of requests that failed, warm-up included.
    pub failed: u64,
    /// Length of the measured window, in seconds, by replication.
    pub window_s: Vec<f64>,
    /// End-to-end time, in seconds.
    pub end_to_end: Times,
    /// Completed requests per second.
    pub throughput: Estimate,
    /// Core time of all roles per second, in cores.
    pub cpu: Option<f64>,
    /// Core time of the whole machine per second, in cores; a measurement only.
    pub machine_cpu: Option<f64>,
    /// The time that belongs to each span name (see [`crate::breakdown`]), in seconds.
    pub parts: BTreeMap<String, Times>,
    /// Mean of what no span covers, in seconds.
    pub other_s: f64,
    /// Share of the time in which the instances of each serving stage work, of all its replicas.
    pub utilization: BTreeMap<String, f64>,
    /// Whether the series may be trusted as a sample.
    pub diagnostics: Diagnostics,
    /// From end to end, if all stages are plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<StageSummary>,
    /// The plain stages, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, StageSummary>,
}

/// Statistics of a time, in seconds, with intervals at [`CONFIDENCE`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Mean.
    pub mean: Estimate,
    /// Median.
    pub p50: Estimate,
    /// 90th percentile.
    pub p90: Estimate,
    /// 99th percentile.
    pub p99: Estimate,
}

/// Whether a series of end-to-end times may be trusted as a sample.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagnostics {
    /// Autocorrelation of successive requests.
    pub autocorrelation: f64,
    /// How many independent requests the sample is worth.
    pub effective_samples: f64,
    /// Change of the mean from the first half to the second, relative to the mean.
    pub drift: f64,
    /// What to know before trusting the figures.
    pub warnings: Vec<String>,
}

/// A run's requests that count, and the windows they were measured in.
struct Counted {
    /// By replication: the breakdowns that count, in order of sending.
    requests: Vec<Vec<Breakdown>>,
    /// By replication: start and end in nanoseconds.
    windows: Vec<(u64, u64)>,
    /// By replication: completions inside the window.
    completions: Vec<u64>,
}

/// The requests of `run` that count, in order of replication and sending.
pub fn counted(run: &Run) -> Vec<Breakdown> {
    count(run).requests.into_iter().flatten().collect()
}

/// The measured window of each replication of `run`, in nanoseconds since the clients' start.
pub fn windows(run: &Run) -> Vec<(u64, u64)> {
    count(run).windows
}

fn count(run: &Run) -> Counted {
    let schedule = Schedule::new(&run.scenario);
    let n = run.manifest.replications as usize;
    let mut all: Vec<Vec<Breakdown>> = vec![Vec::new(); n];
    for request in breakdowns(&run.trace) {
        all[request.replication as usize].push(request);
    }
    let mut counted = Counted {
        requests: Vec::new(),
        windows: Vec::new(),
        completions: Vec::new(),
    };
    let mut ended = ended(run, schedule).into_iter();
    for mut requests in all {
        requests.sort_by_key(|request| (request.ready_ns, request.request));
        let completed: Vec<u64> = requests.iter().map(|request| request.end_ns).collect();
        requests.retain(|r| schedule.counts(r.request.seq(), SimTime::from_ps(r.ready_ns * 1_000)));
        let ended = ended.next().expect("there is a list for each replication");
        let window = window(&run.scenario, schedule, &ended);
        let inside = completed
            .iter()
            .filter(|end| (window.0..window.1).contains(*end))
            .count();
        counted.completions.push(inside as u64);
        counted.windows.push(window);
        counted.requests.push(requests);
    }
    counted
}

/// By replication, the requests that count and have ended, of a simulation also those that failed.
fn ended(run: &Run, schedule: Schedule) -> Vec<Vec<&Span>> {
    let mut ended = vec![Vec::new(); run.manifest.replications as usize];
    for span in run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request)
    {
        let ready = SimTime::from_ps(span.ready_ns * 1_000);
        let has_ended = span.status == Status::Ok || run.manifest.kind == RunKind::Simulated;
        if has_ended && schedule.counts(span.request.seq(), ready) {
            ended[span.replication as usize].push(span);
        }
    }
    ended
}

/// The window of a run that is given by requests: all clients are past their warm-up and none is
/// done.
fn window(scenario: &Scenario, schedule: Schedule, requests: &[&Span]) -> (u64, u64) {
    if let Some((start, end)) = schedule.window() {
        return (start.as_ns(), end.as_ns());
    }
    let mut first = vec![u64::MAX; scenario.clients.len()];
    let mut last = vec![0; scenario.clients.len()];
    for request in requests {
        let client = request.request.client().index();
        first[client] = first[client].min(request.ready_ns);
        last[client] = last[client].max(request.end_ns);
    }
    let start = first
        .iter()
        .filter(|t| **t < u64::MAX)
        .max()
        .copied()
        .unwrap_or(0);
    let end = last.iter().filter(|t| **t > 0).min().copied().unwrap_or(0);
    (start, end.max(start))
}

/// The statistics of `run`.
pub fn summarize(run: &Run) -> Summary {
    let counted = count(run);
    let series: Vec<&Breakdown> = counted.requests.iter().flatten().collect();
    let end_to_end: Vec<f64> = series.iter().map(|r| r.end_to_end_s()).collect();
    let diagnostics = diagnose(run, &counted, &end_to_end);
    let n_effective = diagnostics.effective_samples;
    let parts = SpanName::parts().iter().filter_map(|name| {
        let values = |requests: &[Breakdown]| -> Vec<f64> {
            requests.iter().map(|r| r.part_s(*name)).collect()
        };
        let by_replication: Vec<Vec<f64>> = counted.requests.iter().map(|r| values(r)).collect();
        let present = by_replication.iter().flatten().any(|value| *value > 0.0);
        present.then(|| {
            (
                name.name().to_owned(),
                times(run.manifest.kind, &by_replication, n_effective),
            )
        })
    });
    let by_replication: Vec<Vec<f64>> = counted
        .requests
        .iter()
        .map(|requests| requests.iter().map(Breakdown::end_to_end_s).collect())
        .collect();
    Summary {
        format: run.manifest.format,
        requests: series.len() as u64,
        failed: failed(&run.trace),
        window_s: counted
            .windows
            .iter()
            .map(|(s, e)| (e - s) as f64 / 1e9)
            .collect(),
        end_to_end: times(run.manifest.kind, &by_replication, n_effective),
        throughput: throughput(run.manifest.kind, &counted),
        cpu: cpu(run, |role| role != MACHINE),
        machine_cpu: cpu(run, |role| role == MACHINE),
        parts: parts.collect(),
        other_s: mean(&series.iter().map(|r| r.other_s()).collect::<Vec<_>>()),
        utilization: utilization(run, &counted.windows),
        diagnostics,
        system: None,
        stages: BTreeMap::new(),
    }
}

fn failed(trace: &[Span]) -> u64 {
    let is_failed = |s: &&Span| s.name == SpanName::Request && s.status == Status::Failed;
    trace.iter().filter(is_failed).count() as u64
}

/// A statistic of each replication, put together.
///
/// One series: its own value, with an interval from batches or order statistics. Replications of
/// the engine: their mean, with Student's t. Rounds of a measurement: their median, so that a round
/// in which the machine was disturbed does not count unless most were; the interval is that of all
/// rounds as one series, and reaches to the median.
fn times(kind: RunKind, by_replication: &[Vec<f64>], n_effective: f64) -> Times {
    let full: Vec<Vec<f64>> = by_replication
        .iter()
        .filter(|replication| !replication.is_empty())
        .map(|replication| {
            let mut sorted = replication.clone();
            sorted.sort_by(f64::total_cmp);
            sorted
        })
        .collect();
    let mut all: Vec<f64> = full.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    if all.is_empty() {
        let nothing = Estimate {
            value: f64::NAN,
            low: f64::NAN,
            high: f64::NAN,
        };
        return Times {
            mean: nothing,
            p50: nothing,
            p90: nothing,
            p99: nothing,
        };
    }
    let over = |statistic: &dyn Fn(&[f64]) -> f64, pooled: Estimate| {
        let values: Vec<f64> = full
            .iter()
            .map(|replication| statistic(replication))
            .collect();
        match kind {
            _ if values.len() == 1 => pooled,
            RunKind::Simulated => mean_interval(&values, CONFIDENCE),
            RunKind::Measured => {
                let value = median(values);
                Estimate {
                    value,
                    low: pooled.low.min(value),
                    high: pooled.high.max(value),
                }
            }
        }
    };
    let series: Vec<f64> = by_replication.iter().flatten().copied().collect();
    let at = |p: f64| {
        over(
            &|sorted| quantile(sorted, p),
            quantile_interval(&all, p, CONFIDENCE, n_effective),
        )
    };
    Times {
        mean: over(&mean, batch_means_interval(&series, N_BATCHES, CONFIDENCE)),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
    }
}

/// The middle value, or the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

fn throughput(kind: RunKind, counted: &Counted) -> Estimate {
    let rates: Vec<f64> = counted
        .completions
        .iter()
        .zip(&counted.windows)
        .map(|(n, (start, end))| *n as f64 / ((end - start) as f64 / 1e9))
        .collect();
    if rates.len() > 1 {
        let interval = mean_interval(&rates, CONFIDENCE);
        return match kind {
            RunKind::Simulated => interval,
            RunKind::Measured => Estimate {
                value: median(rates),
                ..interval
            },
        };
    }
    // One series: the rate of each of twenty equal pieces of the window.
    let (start, end) = counted.windows[0];
    let mut pieces = [0.0; N_BATCHES];
    let length = (end - start) as f64 / N_BATCHES as f64;
    for request in &counted.requests[0] {
        let at = (request.end_ns.saturating_sub(start)) as f64 / length;
        if request.end_ns >= start && at < N_BATCHES as f64 {
            pieces[at as usize] += 1e9 / length;
        }
    }
    let interval = mean_interval(&pieces, CONFIDENCE);
    let half = (interval.high - interval.low) / 2.0;
    let value = rates.first().copied().unwrap_or(f64::NAN);
    Estimate {
        value,
        low: value - half,
        high: value + half,
    }
}

/// Core time per second of the roles that `which` takes; `None` if there is no record of them.
fn cpu(run: &Run, which: impl Fn(&str) -> bool) -> Option<f64> {
    let uses: Vec<_> = run
        .manifest
        .cpu
        .iter()
        .filter(|u| which(&u.role) && u.window_s > 0.0)
        .collect();
    let n = f64::from(run.manifest.replications);
    (!uses.is_empty()).then(|| uses.iter().map(|u| u.busy_s / u.window_s).sum::<f64>() / n)
}

/// Start and end of each batch, by replication and number.
type Batches = BTreeMap<(u32, u32), (u64, u64)>;

/// Share of the window in which a stage's instances work, each batch counted once.
fn utilization(run: &Run, windows: &[(u64, u64)]) -> BTreeMap<String, f64> {
    let mut busy: BTreeMap<StageId, Batches> = BTreeMap::new();
    let works = |s: &&Span| {
        matches!(
            s.name,
            SpanName::H2d | SpanName::Preprocess | SpanName::Inference | SpanName::D2h
        )
    };
    for span in run.trace.iter().filter(works) {
        let batches = busy.entry(span.stage).or_default();
        let batch = batches
            .entry((span.replication, span.batch))
            .or_insert((u64::MAX, 0));
        *batch = (batch.0.min(span.start_ns), batch.1.max(span.end_ns));
    }
    let length: u64 = windows.iter().map(|(start, end)| end - start).sum();
    busy.into_iter()
        .map(|(stage, batches)| {
            let row = &run.scenario.stages[stage];
            let StageRole::Serve(serve) = &row.role else {
                unreachable!("only servers have batches")
            };
            let inside: u64 = batches
                .into_iter()
                .map(|((replication, _), (start, end))| {
                    let window = windows[replication as usize];
                    end.min(window.1).saturating_sub(start.max(window.0))
                })
                .sum();
            let share = inside as f64 / (length as f64 * f64::from(serve.instances * row.replicas));
            (row.name.clone(), share)
        })
        .collect()
}

fn diagnose(run: &Run, counted: &Counted, end_to_end: &[f64]) -> Diagnostics {
    let mut warnings = Vec::new();
    let mut result = Diagnostics::default();
    if run.manifest.kind == RunKind::Measured && end_to_end.len() >= 2 * N_BATCHES {
        result.autocorrelation = autocorrelation(end_to_end, 1);
        result.effective_samples = effective_sample_size(end_to_end);
        let (first, second) = end_to_end.split_at(end_to_end.len() / 2);
        let (a, b) = (interval_of_half(first), interval_of_half(second));
        result.drift = (b.value - a.value) / mean(end_to_end);
        if result.drift.abs() > 0.05 && (a.high < b.low || b.high < a.low) {
            warnings.push(format!(
                "drifts: the mean of the second half is {:+.1}% of the first's; measure longer, or when the machine is quiet",
                100.0 * result.drift
            ));
        }
        if result.effective_samples < 0.1 * end_to_end.len() as f64 {
            warnings.push(format!(
                "autocorrelated: {} requests are worth {:.0} independent ones; the intervals are widened accordingly",
                end_to_end.len(),
                result.effective_samples
            ));
        }
    } else {
        result.effective_samples = end_to_end.len() as f64;
    }
    warnings.extend(saturated(&utilization(run, &counted.windows)));
    Diagnostics { warnings, ..result }
}

/// What to say of the stages of which such a share is busy.
pub fn saturated(utilization: &BTreeMap<String, f64>) -> Vec<String> {
    let saturated = utilization.iter().filter(|(_, share)| **share >= SATURATED);
    let warnings = saturated.map(|(stage, share)| {
        format!(
            "saturated: `{stage}` is busy {:.0}% of the time; times depend on how many requests wait, compare throughput",
            100.0 * share
        )
    });
    warnings.collect()
}

fn interval_of_half(series: &[f64]) -> Estimate {
    batch_means_interval(series, N_BATCHES / 2, CONFIDENCE)
}

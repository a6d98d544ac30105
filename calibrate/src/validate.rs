//! A measured run beside its simulation, figure by figure.

pub mod pairs;
mod table;

use std::fmt;

use schema::comparison::{END_TO_END, Metric, Row};
use schema::run::{Run, SpanName};
use schema::scenario::Scenario;
use schema::stats::Estimate;
use schema::summary::{Summary, Times};

pub use table::table;

/// Share of the time that the instances of a stage are busy from which its run is saturated.
const SATURATED: f64 = 0.95;
/// Share of the offered load that an open loop must complete not to be saturated.
const COMPLETED: f64 = 0.97;

/// How far a prediction may be from what was measured, relative to it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// Of the mean end-to-end time.
    pub mean: f64,
    /// Of its median.
    pub p50: f64,
    /// Of its 99th percentile.
    pub p99: f64,
    /// Of the throughput of a saturated run.
    pub throughput_at_saturation: f64,
}

impl Default for Tolerance {
    /// What Tandem claims for scenarios that the fit never saw.
    fn default() -> Self {
        Tolerance {
            mean: 0.10,
            p50: 0.10,
            p99: 0.25,
            throughput_at_saturation: 0.10,
        }
    }
}

/// A prediction that is further off than allowed.
#[derive(Clone, PartialEq, Debug)]
pub struct Violation {
    /// The measured run.
    pub run: String,
    /// Which figure of the end-to-end time.
    pub metric: Metric,
    /// As measured: seconds, or requests per second.
    pub measured: f64,
    /// As simulated.
    pub predicted: f64,
    /// `(predicted - measured) / measured`; `None` where the measured value is zero.
    pub error: Option<f64>,
    /// The largest error allowed.
    pub allowed: f64,
    /// Whether the run was saturated, so that throughput alone is judged.
    pub saturated: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = unit(self.metric);
        let error = match self.error {
            Some(error) => format!("error {:+.1}%", 100.0 * error),
            None => "no relative error".to_owned(),
        };
        write!(
            f,
            "{}: {} {END_TO_END} is predicted as {:.3} {unit} but measured as {:.3} {unit}: {error}, allowed {:.1}%",
            self.run,
            self.metric.name(),
            self.predicted * factor,
            self.measured * factor,
            100.0 * self.allowed
        )?;
        if self.saturated {
            write!(f, " (saturated: throughput alone is judged)")?;
        }
        Ok(())
    }
}

/// Unit in which a figure is shown, and the factor to it.
pub(crate) const fn unit(metric: Metric) -> (&'static str, f64) {
    match metric {
        Metric::Mean | Metric::P50 | Metric::P90 | Metric::P99 => ("ms", 1e3),
        Metric::Throughput => ("1/s", 1.0),
        Metric::Cpu => ("cores", 1.0),
    }
}

/// Puts `measured` (the run called `name`) beside `simulated`, and its repetition beside it.
///
/// End-to-end rows come first, then four for each part that either has, in the order of a request;
/// a part that one of them lacks takes no time there. A figure that one of them does not have at
/// all (no request counts, or no record of core time) gives no row.
pub fn compare(
    name: &str,
    measured: &Run,
    repeated: Option<&Run>,
    simulated: &Run,
    held_out: bool,
) -> Vec<Row> {
    let saturated = is_saturated(&measured.scenario, &measured.summary());
    let scenario = measured.scenario.name.clone();
    let (measured, simulated) = (measured.summary(), simulated.summary());
    let repeated = repeated.map(Run::summary);
    let mut rows = Vec::new();
    for (stage, metric) in figures(&measured, &simulated) {
        let of = |summary: &Summary| figure(summary, &stage, metric);
        let (Some(found), Some(predicted)) = (of(&measured), of(&simulated)) else {
            continue;
        };
        let relative = |value: f64| {
            let error = (value - found.value) / found.value;
            (found.value != 0.0 && error.is_finite()).then_some(error)
        };
        let has_interval = found.low.is_finite() && found.high.is_finite();
        rows.push(Row {
            run: name.to_owned(),
            scenario: scenario.clone(),
            held_out,
            measured: found.value,
            measured_interval: has_interval.then_some([found.low, found.high]),
            predicted: predicted.value,
            error: relative(predicted.value),
            noise: repeated
                .as_ref()
                .and_then(&of)
                .and_then(|again| relative(again.value)),
            saturated,
            stage,
            metric,
        });
    }
    rows
}

/// The rows that are judged: end-to-end ones of runs that the fit never saw, mean, median and 99th
/// percentile below saturation, throughput at saturation. None means that nothing was validated.
pub fn judged(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| {
        row.held_out
            && row.stage == END_TO_END
            && if row.saturated {
                row.metric == Metric::Throughput
            } else {
                matches!(row.metric, Metric::Mean | Metric::P50 | Metric::P99)
            }
    })
}

/// The [`judged`] rows whose error exceeds the tolerance, or that have none.
pub fn judge(rows: &[Row], tolerance: &Tolerance) -> Vec<Violation> {
    let violation = |row: &Row| {
        let allowed = match row.metric {
            Metric::Mean => tolerance.mean,
            Metric::P50 => tolerance.p50,
            Metric::P99 => tolerance.p99,
            Metric::Throughput => tolerance.throughput_at_saturation,
            Metric::P90 | Metric::Cpu => unreachable!("{:?} is not judged", row.metric),
        };
        let is_within = row.error.is_some_and(|error| error.abs() <= allowed);
        (!is_within).then(|| Violation {
            run: row.run.clone(),
            metric: row.metric,
            measured: row.measured,
            predicted: row.predicted,
            error: row.error,
            allowed,
            saturated: row.saturated,
        })
    };
    judged(rows).filter_map(violation).collect()
}

const TIMES: [Metric; 4] = [Metric::Mean, Metric::P50, Metric::P90, Metric::P99];

/// Stage and metric of every row.
fn figures(measured: &Summary, simulated: &Summary) -> Vec<(String, Metric)> {
    let end_to_end = TIMES.into_iter().chain([Metric::Throughput, Metric::Cpu]);
    let mut figures: Vec<(String, Metric)> = end_to_end
        .map(|metric| (END_TO_END.to_owned(), metric))
        .collect();
    for part in SpanName::parts().iter().map(|part| part.name()) {
        if measured.parts.contains_key(part) || simulated.parts.contains_key(part) {
            figures.extend(TIMES.map(|metric| (part.to_owned(), metric)));
        }
    }
    figures
}

/// A figure with its interval; `None` if the summary does not have it.
fn figure(summary: &Summary, stage: &str, metric: Metric) -> Option<Estimate> {
    let exactly = |value: f64| Estimate {
        value,
        low: f64::NAN,
        high: f64::NAN,
    };
    let times = |times: &Times| match metric {
        Metric::Mean => times.mean,
        Metric::P50 => times.p50,
        Metric::P90 => times.p90,
        _ => times.p99,
    };
    let estimate = match (stage, metric) {
        (END_TO_END, metric) => metric.end_to_end(summary)?,
        (part, _) => summary.parts.get(part).map_or(exactly(0.0), times),
    };
    (summary.requests > 0 && estimate.value.is_finite()).then_some(estimate)
}

/// Whether the instances of a stage are busy nearly always, or an open loop completes less than is
/// offered and more than chance explains.
fn is_saturated(scenario: &Scenario, summary: &Summary) -> bool {
    let is_busy = summary
        .utilization
        .values()
        .any(|share| *share >= SATURATED);
    let clients = scenario.clients.rows().iter();
    // A closed loop among the groups has no offered load to fall short of.
    let offered: Option<f64> = clients
        .map(|client| scenario.groups[client.group].arrivals.mean_rate())
        .sum();
    // Two standard deviations of a Poisson count: a short run may simply have got few arrivals.
    // Rounds of one seed have the same arrivals, so all of them are worth one.
    let window_s = summary.window_s.iter().copied().fold(0.0, f64::max);
    let chance = |offered: f64| 2.0 * (offered / window_s).sqrt();
    is_busy
        || offered.is_some_and(|offered| {
            summary.throughput.value < (COMPLETED * offered).min(offered - chance(offered))
        })
}

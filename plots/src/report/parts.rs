//! Parts of a report that are made from runs and comparisons.

use schema::comparison::{END_TO_END, Metric, Row};
use schema::run::{Manifest, Outcome};
use schema::stats::Estimate;
use schema::summary::Summary;

use super::{Section, Table};
use crate::format::{signed_percent, significant, time};

/// Nothing to say.
const NONE: &str = "–";

/// What `manifest` says of the program, the machine and the inputs.
pub fn facts(manifest: &Manifest) -> Vec<(String, String)> {
    let mut facts = vec![("program".to_owned(), manifest.program.clone())];
    if let Some(measured) = &manifest.measured {
        facts.push(("measured by".to_owned(), measured.command.join(" ")));
        let machine = measured.machine.iter();
        facts.extend(machine.map(|(name, value)| (name.clone(), value.clone())));
        let steal = format!("{} over the run", time(measured.steal_s));
        facts.push(("stolen by the hypervisor".to_owned(), steal));
        if measured.clock_error_ns > 0 {
            let error = format!("± {}", time(measured.clock_error_ns as f64 / 1e9));
            facts.push(("offset of the hosts' clocks".to_owned(), error));
        }
    }
    for (name, hash) in &manifest.inputs {
        facts.push((format!("SHA-256 of {name}"), hash.clone()));
    }
    facts
}

/// The end-to-end rows of `rows`: every figure as measured and simulated, the signed error and the
/// noise.
pub fn accuracy_table(rows: &[Row]) -> Table {
    let whole = rows.iter().filter(|row| row.stage == END_TO_END);
    let rows = whole.map(|row| {
        let mut notes = Vec::new();
        if row.held_out {
            notes.push("held out");
        }
        if row.saturated {
            notes.push("saturated");
        }
        vec![
            row.scenario.clone(),
            row.run.clone(),
            row.metric.name().to_owned(),
            quantity(row.metric, row.measured),
            row.measured_interval
                .map_or_else(|| NONE.to_owned(), |interval| between(row.metric, interval)),
            quantity(row.metric, row.predicted),
            percent(row.error),
            percent(row.noise),
            notes.join(", "),
        ]
    });
    Table {
        caption: "End to end. Error: (simulated − measured) / measured. Noise: the same for a \
                  repetition of the measurement in place of the simulation."
            .to_owned(),
        heads: texts(&[
            "scenario",
            "run",
            "metric",
            "measured",
            "95% interval",
            "simulated",
            "error",
            "noise",
            "",
        ]),
        rows: rows.collect(),
    }
}

/// The rows of `rows` that are about a part of the request: its mean time as measured and
/// simulated, and what the difference is of the measured end-to-end mean.
pub fn stage_table(rows: &[Row]) -> Table {
    let parts = rows
        .iter()
        .filter(|row| row.stage != END_TO_END && row.metric == Metric::Mean);
    let table = parts.map(|row| {
        let is_whole = |other: &&Row| {
            other.run == row.run && other.stage == END_TO_END && other.metric == Metric::Mean
        };
        let whole = rows.iter().find(is_whole).map(|row| row.measured);
        let difference = row.predicted - row.measured;
        vec![
            row.scenario.clone(),
            row.run.clone(),
            row.stage.clone(),
            time(row.measured),
            time(row.predicted),
            percent(row.error),
            percent(row.noise),
            percent(whole.map(|whole| difference / whole)),
        ]
    });
    Table {
        caption: "Mean time of each part of a request. A part that is a small share of the \
                  request may have a large error and matter little: the last column is the \
                  difference as a share of the measured end-to-end mean."
            .to_owned(),
        heads: texts(&[
            "scenario",
            "run",
            "part",
            "measured",
            "simulated",
            "error",
            "noise",
            "of end-to-end",
        ]),
        rows: table.collect(),
    }
}

/// The end-to-end statistics of runs, by label.
pub fn end_to_end_table(runs: &[(String, &Summary)]) -> Table {
    let rows = runs.iter().map(|(label, summary)| {
        let times = &summary.end_to_end;
        vec![
            label.clone(),
            summary.requests.to_string(),
            summary.failed.to_string(),
            estimate(Metric::Mean, times.mean),
            estimate(Metric::P50, times.p50),
            estimate(Metric::P90, times.p90),
            estimate(Metric::P99, times.p99),
            estimate(Metric::Throughput, summary.throughput),
        ]
    });
    Table {
        caption: "End-to-end time and throughput, with half-widths of the 95% intervals."
            .to_owned(),
        heads: texts(&[
            "run",
            "requests",
            "failed",
            "mean",
            "p50",
            "p90",
            "p99",
            "throughput",
        ]),
        rows: rows.collect(),
    }
}

/// What to know before trusting each run: how it ended, its warnings, and whether its series may
/// be treated as a sample.
pub fn warnings_section(runs: &[(String, &Manifest, &Summary)]) -> Section {
    let mut warnings = Vec::new();
    let mut samples = Vec::new();
    for (label, manifest, summary) in runs {
        let mut push = |text: String| warnings.push(vec![label.clone(), text]);
        if let Outcome::Broken { role, how } = &manifest.outcome {
            push(format!(
                "broken: {role} was {how}; it holds what was recorded until then"
            ));
        }
        if summary.failed > 0 {
            push(format!("{} requests failed", summary.failed));
        }
        let all = manifest
            .warnings
            .iter()
            .chain(&summary.diagnostics.warnings);
        all.for_each(|warning| push(warning.clone()));
        let diagnostics = &summary.diagnostics;
        samples.push(vec![
            label.clone(),
            summary.requests.to_string(),
            significant(diagnostics.effective_samples),
            significant(diagnostics.autocorrelation),
            signed_percent(diagnostics.drift),
        ]);
    }
    let text = if warnings.is_empty() {
        "There were no warnings."
    } else {
        "Check these before you trust the numbers."
    };
    let warnings = Table {
        caption: "Warnings.".to_owned(),
        heads: texts(&["run", "warning"]),
        rows: warnings,
    };
    let samples = Table {
        caption: "Whether the series of end-to-end times may be treated as a sample: how many \
                  independent requests it is worth, the autocorrelation of successive requests, \
                  and the change of the mean from its first half to its second."
            .to_owned(),
        heads: texts(&["run", "requests", "worth", "autocorrelation", "drift"]),
        rows: samples,
    };
    Section {
        heading: "Warnings and diagnostics".to_owned(),
        text: vec![text.to_owned()],
        figures: Vec::new(),
        tables: [warnings, samples]
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect(),
    }
}

/// How to read the figures and tables of a validation.
pub fn how_to_read() -> Section {
    Section {
        heading: "How to read this".to_owned(),
        text: texts(&[
            "Measured is what the hardware did; simulated is what the engine did with the same \
             scenario, the same generated requests and the fitted profile. Intervals are 95% \
             confidence intervals.",
            "Error is (simulated − measured) / measured: a positive error of a time means that \
             the simulation is slower than the machine. Noise is the error that a repetition of \
             the measurement would have had in place of the simulation. No simulation can be \
             known to be better than the noise: an error within it says that the two cannot be \
             told apart, not that the simulation is exact.",
            "Held out marks a scenario that the fit never saw. Only these tell what to expect of \
             a scenario that was not measured; errors of the others tell how well the laws of the \
             profile can describe what they were fitted to.",
            "Saturated marks a run whose instances were always busy. Its times grow with the \
             number of requests that wait, so a small error of the service time becomes a large \
             one of the end-to-end time; compare its throughput.",
            "The parts of a request are exclusive: an instant that several spans cover belongs to \
             the one that was ready first, so the parts and what no span covers (other) sum to \
             the end-to-end time.",
        ]),
        figures: Vec::new(),
        tables: Vec::new(),
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn percent(fraction: Option<f64>) -> String {
    fraction.map_or_else(|| NONE.to_owned(), signed_percent)
}

/// A value with the unit of its metric.
fn quantity(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Mean | Metric::P50 | Metric::P90 | Metric::P99 => time(value),
        Metric::Throughput => format!("{}/s", significant(value)),
        Metric::Cpu => format!("{} cores", significant(value)),
    }
}

fn between(metric: Metric, [low, high]: [f64; 2]) -> String {
    format!("{} to {}", quantity(metric, low), quantity(metric, high))
}

/// The value and the half-width of its interval.
fn estimate(metric: Metric, estimate: Estimate) -> String {
    let half = (estimate.high - estimate.low) / 2.0;
    let value = quantity(metric, estimate.value);
    if half.is_finite() && estimate.value != 0.0 {
        format!("{value} ± {:.1}%", 100.0 * half / estimate.value.abs())
    } else {
        value
    }
}

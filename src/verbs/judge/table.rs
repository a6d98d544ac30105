//! The table of what was measured and predicted, and what to know of it.

use schema::comparison::Metric;
use schema::stats::{mean, quantile};
use schema::study::{Judged, Quantity, Study};
use serde::Serialize;

use super::{Found, Measured};

/// How far the first load of a round may differ at its end, relative to its median: the same machine.
const STEADY: f64 = 0.1;

/// How restless the machine was while it was measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Conditions {
    /// Number of rounds.
    rounds: usize,
    /// Of them those whose first load took as long at their end, within 10% of its median.
    steady: usize,
    /// By how much its median differed, the most of any round.
    largest_change: f64,
    /// Core time that other programs took while loads were measured, in cores; `null` where it is not known.
    other_programs_cores: Option<f64>,
}

impl Conditions {
    pub(super) fn of(measured: &Measured) -> Conditions {
        let median = |found: &Found| found.replication.metrics.get(&Metric::P50).copied();
        let pairs = measured.loads[0].iter().zip(&measured.again);
        let changes =
            pairs.filter_map(|(first, again)| Some(median(again)? / median(first)? - 1.0));
        let changes: Vec<f64> = changes.map(f64::abs).collect();
        let others = measured.loads.iter().flatten();
        let others: Vec<f64> = others.filter_map(|found| found.others).collect();
        Conditions {
            rounds: measured.again.len(),
            steady: changes.iter().filter(|change| **change < STEADY).count(),
            largest_change: changes.iter().copied().fold(0.0, f64::max),
            other_programs_cores: (!others.is_empty()).then(|| mean(&others)),
        }
    }

    pub(super) fn text(&self) -> String {
        let others = self.other_programs_cores.map_or(String::new(), |cores| {
            format!("; other programs took {cores:.2} cores meanwhile")
        });
        format!(
            "{} of {} rounds were steady: their first load, measured again at their end, had its median within {:.0}% (of all rounds within {:.1}%){others}.",
            self.steady,
            self.rounds,
            100.0 * STEADY,
            100.0 * self.largest_change
        )
    }
}

/// What studies leave out, each after the study's name.
pub(super) fn left_out(studies: &[Study]) -> Vec<String> {
    let all = studies.iter().flat_map(|study| {
        let lines = study.leaves_out.iter();
        lines.map(move |line| format!("{}: {line}", study.name))
    });
    all.collect()
}

/// Every row, by study; how large the errors are, and what was left out.
pub(super) fn text(studies: &[Study], rows: &[Judged], conditions: &Conditions) -> String {
    let width = rows.iter().map(|row| row.row.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut lines = vec![format!(
        "{:<width$}  {:<16} {:>28} {:>28} {:>9} {:>9}",
        "", "", "measured, interval", "predicted, interval", "error", "noise"
    )];
    for study in studies {
        lines.push(study.name.clone());
        let of_it = rows.iter().filter(|row| row.dataset == study.name);
        lines.extend(of_it.map(|row| line(row, width)));
    }
    lines.push(String::new());
    lines.extend(errors(rows));
    lines.push(conditions.text());
    let left_out = left_out(studies);
    if !left_out.is_empty() {
        lines.push("Left out:".to_owned());
        lines.extend(left_out);
    }
    lines.join("\n")
}

fn line(row: &Judged, width: usize) -> String {
    let [metric, measured, predicted, error, noise] = cells(row);
    format!(
        "{:<width$}  {metric:<16} {measured:>28} {predicted:>28} {error:>9} {noise:>9}{}",
        row.row,
        if row.held_out { "" } else { "  fitted" }
    )
}

/// What is compared, as measured and as predicted, each with its interval, the error and the noise.
pub(super) fn cells(row: &Judged) -> [String; 5] {
    let (scale, unit) = scale(row.metric);
    let cell = |[value, low, high]: [f64; 3]| {
        let [value, low, high] = [value, low, high].map(|number| number * scale);
        let digits = if high.abs() >= 100.0 { 1 } else { 2 };
        format!("{value:.digits$} ({low:.digits$} to {high:.digits$})")
    };
    let change = |change: f64| match row.metric {
        Quantity::Of(_) => format!("{:+.1}%", 100.0 * change),
        Quantity::Saved(_) => format!("{:+.1} pp", 100.0 * change),
    };
    [
        format!("{} [{unit}]", row.metric.name()),
        cell([row.measured, row.measured_low, row.measured_high]),
        cell([row.predicted, row.low, row.high]),
        change(row.error),
        row.noise.map_or(String::new(), change),
    ]
}

/// The factor to the unit in which a quantity is shown, and that.
fn scale(quantity: Quantity) -> (f64, &'static str) {
    match quantity {
        Quantity::Saved(_) => (100.0, "%"),
        Quantity::Of(metric) => match metric.unit() {
            "s" => (1e3, "ms"),
            unit => (1.0, unit),
        },
    }
}

/// How large the errors of what was held out are, a line a quantity.
pub(super) fn errors(rows: &[Judged]) -> Vec<String> {
    let mut quantities: Vec<Quantity> = Vec::new();
    for row in rows.iter().filter(|row| row.held_out) {
        if !quantities.contains(&row.metric) {
            quantities.push(row.metric);
        }
    }
    let lines = quantities.into_iter().map(|quantity| {
        let of_it = rows
            .iter()
            .filter(|row| row.held_out && row.metric == quantity);
        let sorted = |values: Vec<f64>| {
            let mut all: Vec<f64> = values.into_iter().map(|v| 100.0 * v.abs()).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let errors = sorted(of_it.clone().map(|row| row.error).collect());
        let noise = sorted(of_it.filter_map(|row| row.noise).collect());
        let unit = match quantity {
            Quantity::Of(_) => "%",
            Quantity::Saved(_) => " points",
        };
        let noise = match noise.is_empty() {
            true => String::new(),
            false => format!(
                "; noise {:.1}{unit}, 90% below {:.1}{unit}",
                quantile(&noise, 0.5),
                quantile(&noise, 0.9)
            ),
        };
        format!(
            "{}, {} figures held out: median error {:.1}{unit}, 90% below {:.1}{unit}{noise}.",
            quantity.name(),
            errors.len(),
            quantile(&errors, 0.5),
            quantile(&errors, 0.9)
        )
    });
    lines.collect()
}

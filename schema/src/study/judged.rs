//! Points of a study that both executors ran, side by side: hardware in rounds, the engine in replications.

use serde::{Serialize, Serializer};

use super::{Draw, Outcome, PointResult, Study};
use crate::comparison::Metric;
use crate::stats::{Estimate, quantile, quantile_interval};
use crate::summary::CONFIDENCE;

/// What is compared of a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// A metric from end to end.
    Of(Metric),
    /// What that metric is less than at another level, as a part of that.
    Saved(Metric),
}

impl Quantity {
    /// What is compared of every point. Of the short rounds of a measurement the 90th percentile is the
    /// furthest that has several requests beyond it.
    const OF_A_POINT: [Metric; 3] = [Metric::Mean, Metric::P90, Metric::Throughput];

    /// The name in files.
    pub fn name(self) -> String {
        match self {
            Quantity::Of(metric) => metric.name().to_owned(),
            Quantity::Saved(metric) => format!("{}-saved", metric.name()),
        }
    }

    /// How far `value` is from `reference`: relative to it, but of what was saved, which may be nothing,
    /// their difference.
    pub fn error(self, value: f64, reference: f64) -> f64 {
        match self {
            Quantity::Of(_) => value / reference - 1.0,
            Quantity::Saved(_) => value - reference,
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// A figure as measured and as simulated.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Judged {
    /// The study.
    pub dataset: String,
    /// The level of each factor.
    pub row: String,
    /// Whether no profile was fitted to it.
    pub held_out: bool,
    /// What is compared.
    pub metric: Quantity,
    /// Median over rounds: seconds, requests per second, or parts saved.
    pub measured: f64,
    /// Lower end of its 95% interval, from the order of the rounds.
    pub measured_low: f64,
    /// Upper end.
    pub measured_high: f64,
    /// As simulated.
    pub predicted: f64,
    /// Lower end of the interval of that, as the study's `intervals` say.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How far the prediction is from what was measured ([`Quantity::error`]).
    pub error: f64,
    /// The same for the median of every other round, from the second on, in place of the prediction,
    /// against that of the rest; `None` of a single round.
    pub noise: Option<f64>,
}

impl Study {
    /// Every point that hardware measured beside what the engine found of it, and what the study's figures
    /// say is saved. All three lists are in the order of [`Study::points`]; the replications of what was
    /// measured are rounds, each of all points, so that what is saved is of pairs within a round.
    ///
    /// # Panics
    /// If a list has another length than there are points.
    pub fn judged(
        &self,
        measured: &[Outcome],
        simulated: &[Outcome],
        held_out: &[bool],
    ) -> Vec<Judged> {
        let points = self.points();
        assert!(
            [measured.len(), simulated.len(), held_out.len()] == [points.len(); 3],
            "every point has its outcomes"
        );
        let both = |index: usize| match (&measured[index], &simulated[index]) {
            (Outcome::Found(measured), Outcome::Found(simulated)) => Some((measured, simulated)),
            _ => None,
        };
        let mut rows = Vec::new();
        for (index, point) in points.iter().enumerate() {
            let Some((measured, simulated)) = both(index) else {
                continue;
            };
            for metric in Quantity::OF_A_POINT {
                let values = measured.values(metric, None);
                let predicted = simulated.estimate(metric, self.intervals);
                rows.extend(self.row(
                    self.named(&point.labels),
                    held_out[index],
                    Quantity::Of(metric),
                    values,
                    predicted,
                ));
            }
        }
        for (index, base, metric) in self.savings() {
            let (Some(at), Some(of)) = (both(index), both(base)) else {
                continue;
            };
            let row = format!(
                "{} against {}",
                self.named(&points[index].labels),
                other(&points[index].labels, &points[base].labels)
            );
            rows.extend(self.row(
                row,
                held_out[index] && held_out[base],
                Quantity::Saved(metric),
                saved(at.0, of.0, metric),
                at.1.saved(of.1, metric, self.intervals),
            ));
        }
        rows
    }

    /// Of each point whose savings a figure shows: it, the point that it is compared with, and the metric.
    fn savings(&self) -> Vec<(usize, usize, Metric)> {
        let mut all = Vec::new();
        for figure in &self.figures {
            let Draw::Savings {
                x,
                lines,
                metric,
                base,
            } = figure.draw
            else {
                continue;
            };
            for place in 0..self.factors[x].levels.len() {
                for line in (0..self.factors[lines].levels.len()).filter(|line| *line != base) {
                    let mut levels = figure.at.clone();
                    levels[x] = place;
                    levels[lines] = line;
                    let index = self.index(&levels);
                    levels[lines] = base;
                    all.push((index, self.index(&levels), metric));
                }
            }
        }
        all
    }

    /// The levels of a point with the names of their factors.
    fn named(&self, labels: &[String]) -> String {
        let factors = self.factors.iter().zip(labels);
        let named = factors.map(|(factor, label)| format!("{} {label}", factor.name));
        named.collect::<Vec<_>>().join(", ")
    }

    fn row(
        &self,
        row: String,
        held_out: bool,
        metric: Quantity,
        rounds: Option<Vec<f64>>,
        predicted: Option<Estimate>,
    ) -> Option<Judged> {
        let (rounds, predicted) = (rounds?, predicted?);
        let measured = over_rounds(&rounds);
        Some(Judged {
            dataset: self.name.clone(),
            row,
            held_out,
            metric,
            measured: measured.value,
            measured_low: measured.low,
            measured_high: measured.high,
            predicted: predicted.value,
            low: predicted.low,
            high: predicted.high,
            error: metric.error(predicted.value, measured.value),
            noise: noise(metric, &rounds),
        })
    }
}

/// What a metric of each round is less than at `base`, as a part of that.
fn saved(point: &PointResult, base: &PointResult, metric: Metric) -> Option<Vec<f64>> {
    let (values, base) = (point.values(metric, None)?, base.values(metric, None)?);
    let pairs = values.iter().zip(&base);
    Some(pairs.map(|(value, base)| 1.0 - value / base).collect())
}

/// The median over rounds, with its interval.
fn over_rounds(values: &[f64]) -> Estimate {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_interval(&sorted, 0.5, CONFIDENCE, sorted.len() as f64)
}

/// How far the median of every other round is from that of the rest.
fn noise(metric: Quantity, rounds: &[f64]) -> Option<f64> {
    let median = |first: usize| {
        let mut half: Vec<f64> = rounds.iter().skip(first).step_by(2).copied().collect();
        half.sort_by(f64::total_cmp);
        quantile(&half, 0.5)
    };
    (rounds.len() > 1).then(|| metric.error(median(1), median(0)))
}

/// Of the labels of `base` that which is not among those of the point.
fn other<'a>(point: &[String], base: &'a [String]) -> &'a str {
    let differs = point.iter().zip(base).find(|(a, b)| a != b);
    differs.map_or("", |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use insta::assert_snapshot;

    use super::super::{Replication, STUDY_FORMAT};
    use super::*;

    const TEXT: &str = r#"format = 1
name = "a"
scenario = "b.toml"

[[factors]]
name = "clients"
keys = ["n"]
values = [1, 4]

[[factors]]
name = "transport"
keys = ["k"]
values = ["tcp", "local"]

[[figures]]
name = "saved"
draw = { savings = { x = "clients", lines = "transport", metric = "mean", base = "tcp" } }
"#;

    fn found(means: &[f64]) -> Outcome {
        let of = |mean: &f64| Replication {
            requests: 10,
            metrics: [(Metric::Mean, *mean)].into(),
            parts: BTreeMap::new(),
            utilization: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        Outcome::Found(PointResult {
            format: STUDY_FORMAT,
            levels: BTreeMap::new(),
            replications: means.iter().map(of).collect(),
            drawn: Vec::new(),
        })
    }

    #[test]
    fn measured_points_are_laid_beside_simulated_ones() {
        let study = Study::parse(Path::new("a.toml"), TEXT.to_owned()).unwrap();
        // A machine that is half as fast in the second round saves the same part in each.
        let measured = [
            found(&[1.0, 2.0, 1.1]),
            found(&[0.5, 1.0, 0.55]),
            found(&[4.0, 8.0, 4.4]),
            Outcome::Missing,
        ];
        let simulated = [
            found(&[1.3, 1.0]),
            found(&[0.55, 0.55]),
            found(&[4.4, 4.4]),
            found(&[1.0, 1.0]),
        ];
        let rows = study.judged(&measured, &simulated, &[true, true, false, true]);
        let rows = rows.iter().map(|row| {
            format!(
                "{}, {}: {:.2} ({} to {}), {:.2} {:+.2} {:+.2} {}",
                row.row,
                row.metric.name(),
                row.measured,
                row.measured_low,
                row.measured_high,
                row.predicted,
                row.error,
                row.noise.unwrap(),
                row.held_out
            )
        });
        assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r"
        clients 1, transport tcp, mean: 1.10 (1 to 2), 1.15 +0.05 +1.00 true
        clients 1, transport local, mean: 0.55 (0.5 to 1), 0.55 +0.00 +1.00 true
        clients 4, transport tcp, mean: 4.40 (4 to 8), 4.40 +0.00 +1.00 false
        clients 1, transport local against tcp, mean-saved: 0.50 (0.5 to 0.5), 0.51 +0.01 +0.00 true
        ");
    }
}

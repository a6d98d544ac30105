//! What hardware took at the points of a study, beside what was found of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::{Factor, Intervals, Level, Outcome, Study};
use crate::comparison::Metric;
use crate::error::FileError;
use crate::scenario::{Scenario, Source};
use crate::units::{Frequency, SimDuration};

/// End-to-end figures that somebody has measured.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MeasuredFile {
    /// Mean time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<SimDuration>,
    /// Median time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<SimDuration>,
    /// 90th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<SimDuration>,
    /// 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<SimDuration>,
    /// Requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Frequency>,
}

impl MeasuredFile {
    /// In seconds and requests per second.
    pub(super) fn metrics(&self) -> BTreeMap<Metric, f64> {
        let times = [
            (Metric::Mean, self.mean),
            (Metric::P50, self.p50),
            (Metric::P90, self.p90),
            (Metric::P99, self.p99),
        ];
        let times = times.map(|(metric, time)| (metric, time.map(SimDuration::as_secs_f64)));
        let rate = (
            Metric::Throughput,
            self.throughput.map(Frequency::per_second),
        );
        let all = times.into_iter().chain([rate]);
        all.filter_map(|(metric, value)| Some((metric, value?)))
            .collect()
    }
}

/// By what part single measurements are off what was fitted to them: half of the width that holds 90%
/// of the logarithms of measured over fitted, with Student's t of few.
///
/// It is of the points that were fitted to, so of those held out it says what the law misses only as far
/// as that is alike.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScatterFile {
    /// Of the mean time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Of the median time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// Of the 90th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    /// Of the 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Of the requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<f64>,
}

impl ScatterFile {
    pub(super) fn metrics(self) -> BTreeMap<Metric, f64> {
        let all = [
            (Metric::Mean, self.mean),
            (Metric::P50, self.p50),
            (Metric::P90, self.p90),
            (Metric::P99, self.p99),
            (Metric::Throughput, self.throughput),
        ];
        let known = all.into_iter();
        known
            .filter_map(|(metric, scatter)| Some((metric, scatter?)))
            .collect()
    }
}

/// A figure as measured and as found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Compared {
    /// The study.
    pub dataset: String,
    /// The level; where the figure is of a group of clients, then the group.
    pub row: String,
    /// Whether no profile was fitted to it.
    pub held_out: bool,
    /// What is compared.
    pub metric: Metric,
    /// In seconds or requests per second.
    pub measured: f64,
    /// The same as found.
    pub predicted: f64,
    /// Lower end of the interval, as the study's `intervals` say; with [`Intervals::Prediction`] of a
    /// measurement, and not of its mean.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// `predicted / measured - 1`.
    pub error: f64,
}

impl Compared {
    /// Whether the interval holds what was measured.
    pub fn is_within(&self) -> bool {
        (self.low..=self.high).contains(&self.measured)
    }
}

impl Study {
    /// What was measured beside what was found, for all points that were; the latter in the order of
    /// [`Study::points`].
    pub fn compared(&self, outcomes: &[Outcome]) -> Vec<Compared> {
        let [factor] = &self.factors[..] else {
            return Vec::new();
        };
        let mut rows = Vec::new();
        for (level, outcome) in factor.levels.iter().zip(outcomes) {
            let Outcome::Found(found) = outcome else {
                continue;
            };
            for (group, metric, measured) in figures(level) {
                let Some(mut estimate) = found.estimate_of(metric, group, self.intervals) else {
                    continue;
                };
                let scatter = level.scatter.get(&metric).copied().unwrap_or(0.0);
                if let Intervals::Prediction { .. } = self.intervals
                    && let Some(drawn) = found.drawn(metric, group)
                    && scatter > 0.0
                {
                    [estimate.low, estimate.high] = scattered(&drawn, scatter);
                }
                let of = group.map_or(String::new(), |group| format!(", {group}"));
                rows.push(Compared {
                    dataset: self.name.clone(),
                    row: format!("{}{of}", level.label),
                    held_out: level.held_out,
                    metric,
                    measured,
                    predicted: estimate.value,
                    low: estimate.low,
                    high: estimate.high,
                    error: estimate.value / measured - 1.0,
                });
            }
        }
        rows
    }

    /// What is wrong with the groups of clients that something was measured of at the point `index` of
    /// [`Study::points`], whose scenario this is; `None` if they are there.
    pub fn unknown_group(&self, index: usize, scenario: &Scenario) -> Option<String> {
        let [factor] = &self.factors[..] else {
            return None;
        };
        let names: Vec<&str> = (scenario.groups.iter())
            .map(|(_, group)| group.name.as_str())
            .collect();
        let allowed = match names[..] {
            [_] => "none: there is one group, whose figures are those of `measured`".to_owned(),
            _ => names.join(", "),
        };
        let mut groups = factor.levels[index].measured_groups.keys();
        let unknown = groups.find(|group| names.len() < 2 || !names.contains(&group.as_str()))?;
        Some(format!(
            "{}: `factors.0.levels.{index}.measured-groups.{unknown}`: {} has no such group of clients beside others (allowed: {allowed})",
            self.path.display(),
            self.scenario.display()
        ))
    }
}

/// What holds 90% of measurements that are off one of these values, each as likely, by the normal
/// deviate of a logarithm of which 90% are within `scatter`.
///
/// # Panics
/// If there is no value.
fn scattered(values: &[f64], scatter: f64) -> [f64; 2] {
    let tail = (1.0 - Intervals::OF_DRAWS) / 2.0;
    let normal = Normal::standard();
    let deviation = scatter / normal.inverse_cdf(1.0 - tail);
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let below = |log: f64| {
        let parts = logs.iter().map(|at| normal.cdf((log - at) / deviation));
        parts.sum::<f64>() / logs.len() as f64
    };
    let least = logs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Eight deviations beyond all of them there is nothing; 60 halvings leave no digit open.
    [tail, 1.0 - tail].map(|part| {
        let (mut low, mut high) = (least - 8.0 * deviation, most + 8.0 * deviation);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if below(middle) < part {
                low = middle;
            } else {
                high = middle;
            }
        }
        (0.5 * (low + high)).exp()
    })
}

/// What was measured at a level, first of all clients, then of single groups.
fn figures(level: &Level) -> impl Iterator<Item = (Option<&str>, Metric, f64)> {
    let groups = level.measured_groups.iter();
    let groups = groups.map(|(group, figures)| (Some(group.as_str()), figures));
    let all = [(None, &level.measured)].into_iter().chain(groups);
    all.flat_map(|(group, figures)| {
        let figures = figures.iter();
        figures.map(move |(metric, value)| (group, *metric, *value))
    })
}

/// That what was measured is of whole points, and is something.
pub(super) fn check(
    source: &Source,
    factors: &[Factor],
    intervals: Intervals,
) -> Result<(), FileError> {
    for (index, factor) in factors.iter().enumerate() {
        for (place, level) in factor.levels.iter().enumerate() {
            let key = |below: &str| format!("factors.{index}.levels.{place}.{below}");
            for (group, figures) in &level.measured_groups {
                let group = format!("measured-groups.{group}");
                if figures.contains_key(&Metric::Throughput) {
                    let problem = "of a group of clients there are `mean`, `p50`, `p90` and `p99`";
                    return Err(source.invalid(&key(&format!("{group}.throughput")), problem));
                }
                if figures.is_empty() {
                    let problem = "must have a figure: `mean`, `p50`, `p90` or `p99`";
                    return Err(source.invalid(&key(&group), problem));
                }
            }
            for (metric, scatter) in &level.scatter {
                let problem = if !matches!(intervals, Intervals::Prediction { .. }) {
                    "is of predictions: `intervals` must be `prediction`".to_owned()
                } else if figures(level).all(|(_, known, _)| known != *metric) {
                    "nothing of this was measured here".to_owned()
                } else if !(*scatter > 0.0 && scatter.is_finite()) {
                    format!("must be above 0, found {scatter}")
                } else {
                    continue;
                };
                let below = format!("scatter.{}", metric.name());
                return Err(source.invalid(&key(&below), problem));
            }
            if figures(level).next().is_none() {
                if level.held_out {
                    let problem = "says of which figures it is: `measured` or `measured-groups` must have some";
                    return Err(source.invalid(&key("held-out"), problem));
                }
                continue;
            }
            if factors.len() > 1 {
                let problem = "figures are of one point, so the study must have one factor";
                return Err(source.invalid(&key(place_of(figures(level).next())), problem));
            }
            if let Some(wrong) = figures(level).find(|(_, _, value)| *value <= 0.0) {
                return Err(source.invalid(&key(place_of(Some(wrong))), "figures must be above 0"));
            }
        }
    }
    Ok(())
}

/// The key that a figure is below.
fn place_of(figure: Option<(Option<&str>, Metric, f64)>) -> &'static str {
    match figure {
        Some((Some(_), ..)) => "measured-groups",
        _ => "measured",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use insta::assert_snapshot;

    use super::super::{PointResult, Replication, STUDY_FORMAT};
    use super::*;

    const TEXT: &str = r#"format = 1
name = "a"
scenario = "b.toml"

[[factors]]
name = "load"
levels = [
    { label = "low", measured = { p90 = "4 ms", throughput = "200 /s" } },
    { label = "high", measured = { mean = "8 ms" }, held-out = true },
    { label = "both", measured-groups = { x = { mean = "2 ms" } } },
]
"#;

    fn found(mean: f64) -> Outcome {
        let metrics = [(Metric::Mean, mean), (Metric::P90, 2.0 * mean)];
        let one = Replication {
            requests: 10,
            metrics: metrics.into(),
            parts: BTreeMap::new(),
            utilization: BTreeMap::new(),
            groups: [("x".to_owned(), [(Metric::Mean, 0.5 * mean)].into())].into(),
        };
        Outcome::Found(PointResult {
            format: STUDY_FORMAT,
            levels: BTreeMap::new(),
            replications: vec![one; 2],
            drawn: Vec::new(),
        })
    }

    #[test]
    fn what_was_found_is_laid_beside_what_was_measured() {
        let study = Study::parse(Path::new("a.toml"), TEXT.to_owned()).unwrap();
        let rows = study.compared(&[found(0.001), found(0.01), found(0.002)]);
        let rows = rows.iter().map(|row| {
            format!(
                "{} {} {}: {} {} {:+.2} {}",
                row.dataset,
                row.row,
                row.metric.name(),
                row.measured,
                row.predicted,
                row.error,
                row.held_out
            )
        });
        assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r"
        a low p90: 0.004 0.002 -0.50 false
        a high mean: 0.008 0.01 +0.25 true
        a both, x mean: 0.002 0.001 -0.50 false
        ");
    }

    /// A study whose intervals are of predictions, and what was found with drawn profiles.
    fn predicted(means: [f64; 8]) -> (Study, Outcome) {
        let text = TEXT.replacen(
            "scenario",
            "intervals = { prediction = { draws = 8 } }\nscenario",
            1,
        );
        let text = text.replacen("held-out", "scatter = { mean = 0.1 }, held-out", 1);
        let study = Study::parse(Path::new("a.toml"), text).unwrap();
        let Outcome::Found(mut point) = found(0.01) else {
            unreachable!("it is found");
        };
        let drawn = means.map(|mean| Replication {
            metrics: [(Metric::Mean, mean)].into(),
            ..point.replications[0].clone()
        });
        point.drawn = drawn.into();
        (study, Outcome::Found(point))
    }

    #[test]
    fn an_interval_of_a_prediction_holds_draws_and_scatter() {
        let row = |means| {
            let (study, found) = predicted(means);
            study.compared(&[Outcome::Missing, found, Outcome::Missing])[0].clone()
        };
        // Draws that agree leave the scatter, around them and not around the estimate.
        let alike = row([0.02; 8]);
        assert!((alike.predicted - 0.01).abs() < 1e-12, "{alike:?}");
        assert!(
            (alike.low / 0.02 - (-0.1_f64).exp()).abs() < 1e-9,
            "{alike:?}"
        );
        assert!(
            (alike.high / 0.02 - 0.1_f64.exp()).abs() < 1e-9,
            "{alike:?}"
        );
        // Of two far apart each holds half of what is likely, so the ends are at 10% and 90% of theirs.
        let half = 0.1 * Normal::standard().inverse_cdf(0.9) / Normal::standard().inverse_cdf(0.95);
        let apart = row([0.001, 0.001, 0.001, 0.001, 1.0, 1.0, 1.0, 1.0]);
        assert!(
            (apart.low / 0.001 - (-half).exp()).abs() < 1e-9,
            "{apart:?}"
        );
        assert!((apart.high - half.exp()).abs() < 1e-9, "{apart:?}");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |from: &str, to: &str| {
            assert!(TEXT.contains(from), "{from}");
            let text = TEXT.replacen(from, to, 1);
            Study::parse(Path::new("a.toml"), text).unwrap_err()
        };
        let second = "},\n]\n\n[[factors]]\nname = \"n\"\nkeys = [\"k\"]\nvalues = [1]\n";
        assert_snapshot!(message("},\n]\n", second), @"a.toml:8: `factors.0.levels.0.measured`: figures are of one point, so the study must have one factor");
        assert_snapshot!(message("measured = { mean = \"8 ms\" }, ", ""), @"a.toml:9: `factors.0.levels.1.held-out`: says of which figures it is: `measured` or `measured-groups` must have some");
        assert_snapshot!(message("{ mean = \"2 ms\" }", "{ throughput = \"2 /s\" }"), @"a.toml:10: `factors.0.levels.2.measured-groups.x.throughput`: of a group of clients there are `mean`, `p50`, `p90` and `p99`");
        assert_snapshot!(message("{ mean = \"2 ms\" }", "{ mean = \"0 ms\" }"), @"a.toml:10: `factors.0.levels.2.measured-groups`: figures must be above 0");
        assert_snapshot!(message("{ mean = \"2 ms\" }", "{}"), @"a.toml:10: `factors.0.levels.2.measured-groups.x`: must have a figure: `mean`, `p50`, `p90` or `p99`");
        assert_snapshot!(message("held-out", "scatter = { mean = 0.1 }, held-out"), @"a.toml:9: `factors.0.levels.1.scatter.mean`: is of predictions: `intervals` must be `prediction`");
        let of_predictions = |to: &str| {
            let text = TEXT.replacen(
                "scenario",
                "intervals = { prediction = { draws = 8 } }\nscenario",
                1,
            );
            let text = text.replacen("held-out", to, 1);
            Study::parse(Path::new("a.toml"), text).unwrap_err()
        };
        assert_snapshot!(of_predictions("scatter = { mean = 0 }, held-out"), @"a.toml:10: `factors.0.levels.1.scatter.mean`: must be above 0, found 0");
        assert_snapshot!(of_predictions("scatter = { p50 = 0.1 }, held-out"), @"a.toml:10: `factors.0.levels.1.scatter.p50`: nothing of this was measured here");
        assert_snapshot!(message("\"8 ms\"", "\"0 ms\""), @"a.toml:9: `factors.0.levels.1.measured`: figures must be above 0");
    }
}

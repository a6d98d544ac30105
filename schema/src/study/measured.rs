//! What hardware took at the points of a study, beside what was found of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Factor, Level, Outcome, Study};
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
    /// Lower end of the interval of that.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// `predicted / measured - 1`.
    pub error: f64,
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
                let Some(values) = found.values(metric, group) else {
                    continue;
                };
                let estimate = self.intervals.estimate(&values);
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
pub(super) fn check(source: &Source, factors: &[Factor]) -> Result<(), FileError> {
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
        assert_snapshot!(message("\"8 ms\"", "\"0 ms\""), @"a.toml:9: `factors.0.levels.1.measured`: figures must be above 0");
    }
}

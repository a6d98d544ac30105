//! What hardware took at the points of a study, beside what was found of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Factor, Outcome, Study};
use crate::comparison::Metric;
use crate::error::FileError;
use crate::scenario::Source;
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
    /// The level.
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
            for (&metric, &measured) in &level.measured {
                let Some(estimate) = found.estimate(metric, self.intervals) else {
                    continue;
                };
                rows.push(Compared {
                    dataset: self.name.clone(),
                    row: level.label.clone(),
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
}

/// That what was measured is of whole points, and is something.
pub(super) fn check(source: &Source, factors: &[Factor]) -> Result<(), FileError> {
    for (index, factor) in factors.iter().enumerate() {
        for (place, level) in factor.levels.iter().enumerate() {
            let key = |below: &str| format!("factors.{index}.levels.{place}.{below}");
            if level.measured.is_empty() {
                if level.held_out {
                    let problem = "says of which figures it is: `measured` must have some";
                    return Err(source.invalid(&key("held-out"), problem));
                }
                continue;
            }
            if factors.len() > 1 {
                let problem = "figures are of one point, so the study must have one factor";
                return Err(source.invalid(&key("measured"), problem));
            }
            if level.measured.values().any(|value| *value <= 0.0) {
                return Err(source.invalid(&key("measured"), "figures must be above 0"));
            }
        }
    }
    Ok(())
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
]
"#;

    fn found(mean: f64) -> Outcome {
        let metrics = [(Metric::Mean, mean), (Metric::P90, 2.0 * mean)];
        let one = Replication {
            requests: 10,
            metrics: metrics.into(),
            parts: BTreeMap::new(),
            utilization: BTreeMap::new(),
            groups: BTreeMap::new(),
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
        let rows = study.compared(&[found(0.001), found(0.01)]);
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
        assert_snapshot!(message("measured = { mean = \"8 ms\" }, ", ""), @"a.toml:9: `factors.0.levels.1.held-out`: says of which figures it is: `measured` must have some");
        assert_snapshot!(message("\"8 ms\"", "\"0 ms\""), @"a.toml:9: `factors.0.levels.1.measured`: figures must be above 0");
    }
}

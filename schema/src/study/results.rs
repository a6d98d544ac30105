//! What was found at the points of a study: a file for each, written when it is finished.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::comparison::Metric;
use crate::csv::{Csv, bound};
use crate::error::{FileError, Place};
use crate::run::{Run, content_hash};
use crate::scenario::{Scenario, to_toml};
use crate::stats::{Estimate, mean, quantile};
use crate::summary::{Summary, counted};

use super::{Intervals, STUDY_FORMAT, Study};

/// The folder of points in that of a study.
const POINTS: &str = "points";
/// The table of a study.
const TABLE: &str = "table.csv";

/// What was found at a point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointResult {
    /// Version of the format; 1.
    pub format: u32,
    /// The level of each factor, by its name.
    pub levels: BTreeMap<String, String>,
    /// By replication; replication `i` of every point draws from the same streams.
    pub replications: Vec<Replication>,
    /// The same with a drawn profile each, where those are apart ([`Intervals::Prediction`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drawn: Vec<Replication>,
}

/// What was found in one replication of a point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// Number of requests that count.
    pub requests: u64,
    /// From end to end: seconds, requests per second, or cores.
    pub metrics: BTreeMap<Metric, f64>,
    /// Mean time of a request that belongs to each span name, in seconds.
    pub parts: BTreeMap<String, f64>,
    /// Share of the time in which the instances of each serving stage work.
    pub utilization: BTreeMap<String, f64>,
    /// End-to-end times of the requests of each group of clients, where there are several: seconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, BTreeMap<Metric, f64>>,
}

impl Replication {
    /// What a summary of one replication says; nothing of what is no number, as rates are where no moment
    /// has all clients at work.
    pub fn of(summary: &Summary) -> Replication {
        let metrics = Metric::ALL.into_iter();
        let parts = summary.parts.iter();
        Replication {
            requests: summary.requests,
            metrics: metrics
                .filter_map(|metric| Some((metric, metric.end_to_end(summary)?.value)))
                .filter(|(_, value)| value.is_finite())
                .collect(),
            parts: parts
                .map(|(name, times)| (name.clone(), times.mean.value))
                .collect(),
            utilization: (summary.utilization.iter())
                .filter(|(_, share)| share.is_finite())
                .map(|(stage, share)| (stage.clone(), *share))
                .collect(),
            groups: BTreeMap::new(),
        }
    }

    /// What the run of one replication says.
    pub fn of_run(run: &Run) -> Replication {
        Replication {
            groups: groups(run),
            ..Replication::of(&run.summary())
        }
    }
}

/// Mean and quantiles of the end-to-end times of each group of clients; nothing if there is one group.
fn groups(run: &Run) -> BTreeMap<String, BTreeMap<Metric, f64>> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    if run.scenario.groups.len() < 2 {
        return BTreeMap::new();
    }
    for request in counted(run) {
        let client = &run.scenario.clients[request.request.client()];
        let name = run.scenario.groups[client.group].name.clone();
        times.entry(name).or_default().push(request.end_to_end_s());
    }
    let metrics = times.into_iter().map(|(name, mut times)| {
        times.sort_by(f64::total_cmp);
        let metrics = [
            (Metric::Mean, mean(&times)),
            (Metric::P50, quantile(&times, 0.5)),
            (Metric::P90, quantile(&times, 0.9)),
            (Metric::P99, quantile(&times, 0.99)),
        ];
        (name, metrics.into())
    });
    metrics.collect()
}

impl PointResult {
    /// A metric over the replications; `None` where one has none.
    pub fn estimate(&self, metric: Metric, intervals: Intervals) -> Option<Estimate> {
        self.estimate_of(metric, None, intervals)
    }

    /// The same of the requests of all clients or of one group.
    pub fn estimate_of(
        &self,
        metric: Metric,
        group: Option<&str>,
        intervals: Intervals,
    ) -> Option<Estimate> {
        let values = self.values(metric, group)?;
        Some(intervals.estimate(&values, &self.drawn(metric, group)?))
    }

    /// What a metric is less than at `base`, as a part of that, from pairs of replications with the
    /// same number.
    pub fn saved(
        &self,
        base: &PointResult,
        metric: Metric,
        intervals: Intervals,
    ) -> Option<Estimate> {
        self.paired(base, metric, intervals, |value, base| 1.0 - value / base)
    }

    /// What a metric is less than at `base`, in its unit, from pairs of replications with the same
    /// number.
    pub fn less(
        &self,
        base: &PointResult,
        metric: Metric,
        intervals: Intervals,
    ) -> Option<Estimate> {
        self.paired(base, metric, intervals, |value, base| base - value)
    }

    fn paired(
        &self,
        base: &PointResult,
        metric: Metric,
        intervals: Intervals,
        of: impl Fn(f64, f64) -> f64,
    ) -> Option<Estimate> {
        let pairs = |values: Vec<f64>, base: Vec<f64>| -> Vec<f64> {
            values.iter().zip(&base).map(|(v, b)| of(*v, *b)).collect()
        };
        let values = pairs(self.values(metric, None)?, base.values(metric, None)?);
        let drawn = pairs(self.drawn(metric, None)?, base.drawn(metric, None)?);
        Some(intervals.estimate(&values, &drawn))
    }

    /// A metric of each replication, of all clients or of those of one group; `None` where one has none.
    pub fn values(&self, metric: Metric, group: Option<&str>) -> Option<Vec<f64>> {
        values(&self.replications, metric, group)
    }

    /// The same of each drawn profile, where those are apart.
    pub(super) fn drawn(&self, metric: Metric, group: Option<&str>) -> Option<Vec<f64>> {
        values(&self.drawn, metric, group)
    }
}

fn values(all: &[Replication], metric: Metric, group: Option<&str>) -> Option<Vec<f64>> {
    let of = |one: &Replication| match group {
        None => one.metrics.get(&metric).copied(),
        Some(group) => one.groups.get(group)?.get(&metric).copied(),
    };
    all.iter().map(of).collect()
}

/// How a point ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It is finished.
    Found(PointResult),
    /// It cannot be simulated.
    Failed(String),
    /// It has not been run.
    Missing,
}

/// The folder of a study's results.
#[derive(Clone, PartialEq, Debug)]
pub struct Results {
    dir: PathBuf,
}

impl Results {
    /// Those in the folder `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: &Path) -> Result<Results, FileError> {
        let points = dir.join(POINTS);
        fs::create_dir_all(&points).map_err(|source| FileError::Write {
            path: points,
            source,
        })?;
        Ok(Results {
            dir: dir.to_owned(),
        })
    }

    /// The name of a point: the hash of all that its result depends on. `inputs` are the hashes of
    /// profiles and of traces, `program` is the version of the engine.
    pub fn name(
        scenario: &Scenario,
        inputs: &[String],
        (replications, intervals): (u32, Intervals),
        program: &str,
    ) -> String {
        let text = to_toml(scenario.file());
        let of =
            format!("{STUDY_FORMAT}\n{program}\n{replications} {intervals:?}\n{inputs:?}\n{text}");
        content_hash(of.as_bytes())[..32].to_owned()
    }

    /// What was found at the point called `name`; `None` if it is not finished.
    ///
    /// # Errors
    /// If there is a file that cannot be read or is damaged.
    pub fn load(&self, name: &str) -> Result<Option<PointResult>, FileError> {
        let path = self.path(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Read { path, source }),
        };
        let result = serde_json::from_str(&text).map_err(|error| FileError::Syntax {
            path,
            place: Place::Line(error.line()),
            problem: format!("{error}; delete the file, and the point is run again"),
        })?;
        Ok(Some(result))
    }

    /// Writes what was found at a point, so that it is there whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, name: &str, result: &PointResult) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(result).expect("a result can be written as JSON");
        write_whole(&self.path(name), text.as_bytes())
    }

    /// Writes the table of a study, a row a point, and returns its path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_table(&self, study: &Study, outcomes: &[Outcome]) -> Result<PathBuf, FileError> {
        let path = self.dir.join(TABLE);
        write_whole(&path, table(study, outcomes).as_bytes())?;
        Ok(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(POINTS).join(name).with_extension("json")
    }
}

/// Writes a file aside, and then puts it in its place.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let aside = path.with_extension(format!("{}.part", std::process::id()));
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The table: the level of each factor, each metric with its 95% interval, and why a point has none.
fn table(study: &Study, outcomes: &[Outcome]) -> String {
    let mut heads: Vec<String> = study.factors.iter().map(|f| f.name.clone()).collect();
    heads.push("requests".to_owned());
    for metric in Metric::ALL {
        let unit = match metric.unit() {
            "1/s" => "per_s",
            unit => unit,
        };
        let name = metric.name();
        heads.extend([
            format!("{name}_{unit}"),
            format!("{name}_low"),
            format!("{name}_high"),
        ]);
    }
    heads.push("error".to_owned());
    let mut csv = Csv::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for (point, outcome) in study.points().into_iter().zip(outcomes) {
        let mut row = point.labels;
        let (found, error) = match outcome {
            Outcome::Found(found) => (Some(found), ""),
            Outcome::Failed(error) => (None, error.as_str()),
            Outcome::Missing => (None, "not run"),
        };
        row.push(found.map_or(String::new(), |found| {
            let requests = found.replications.iter().map(|one| one.requests);
            requests.sum::<u64>().to_string()
        }));
        for metric in Metric::ALL {
            let estimate = found.and_then(|found| found.estimate(metric, study.intervals));
            row.extend(match estimate {
                Some(e) => [bound(e.value), bound(e.low), bound(e.high)],
                None => Default::default(),
            });
        }
        row.push(error.to_owned());
        let row: Vec<&dyn Display> = row.iter().map(|field| field as &dyn Display).collect();
        csv.row(&row);
    }
    csv.finish()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn result(mean: [f64; 2]) -> PointResult {
        PointResult {
            format: STUDY_FORMAT,
            levels: BTreeMap::new(),
            replications: mean
                .map(|mean| Replication {
                    requests: 10,
                    metrics: [(Metric::Mean, mean)].into(),
                    parts: BTreeMap::new(),
                    utilization: BTreeMap::new(),
                    groups: BTreeMap::new(),
                })
                .into(),
            drawn: Vec::new(),
        }
    }

    #[test]
    fn what_is_saved_is_of_pairs() {
        let saved =
            result([0.5, 1.0]).saved(&result([1.0, 2.0]), Metric::Mean, Intervals::Replications);
        let saved = saved.unwrap();
        for value in [saved.value, saved.low, saved.high] {
            assert!((value - 0.5).abs() < 1e-12, "{saved:?}");
        }
        assert_eq!(
            result([0.5, 1.0]).saved(&result([1.0, 2.0]), Metric::P99, Intervals::Replications),
            None
        );
    }

    #[test]
    fn a_result_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let results = Results::open(dir.path()).unwrap();
        assert_eq!(results.load("a").unwrap(), None);
        let result = result([0.1, 0.2]);
        results.save("a", &result).unwrap();
        assert_eq!(results.load("a").unwrap(), Some(result));
        fs::write(results.path("a"), "{ \"format\": 1").unwrap();
        let message = results.load("a").unwrap_err().to_string();
        let message = message.replace(&dir.path().display().to_string(), "DIR");
        assert_snapshot!(message, @"DIR/points/a.json:1: EOF while parsing an object at line 1 column 13; delete the file, and the point is run again");
    }

    #[test]
    fn the_table_has_a_row_a_point() {
        let text = r#"format = 1
name = "a"
scenario = "b.toml"
[[factors]]
name = "x, y"
keys = ["k"]
values = [1, 2, "three"]
"#;
        let study = Study::parse(Path::new("a.toml"), text.to_owned()).unwrap();
        let failed = Outcome::Failed("no part `n`, \"m\"".to_owned());
        let outcomes = [Outcome::Found(result([1.0, 1.0])), failed, Outcome::Missing];
        assert_snapshot!(table(&study, &outcomes), @r#""x, y",requests,mean_s,mean_low,mean_high,p50_s,p50_low,p50_high,p90_s,p90_low,p90_high,p99_s,p99_low,p99_high,throughput_per_s,throughput_low,throughput_high,cpu_cores,cpu_low,cpu_high,error
1,20,1,1,1,,,,,,,,,,,,,,,,
2,,,,,,,,,,,,,,,,,,,,"no part `n`, ""m"""
three,,,,,,,,,,,,,,,,,,,,not run"#);
    }
}

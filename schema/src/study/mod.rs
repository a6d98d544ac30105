//! Grids of scenarios: which keys take which values, and what was found at each point.

mod digest;
mod figures;
mod judged;
mod measured;
mod results;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::comparison::Metric;
use crate::error::FileError;
use crate::scenario::Source;
use crate::stats::{Estimate, mean, mean_interval, quantile};
use crate::summary::CONFIDENCE;

pub use figures::{
    BreakdownFile, CurvesFile, Draw, DrawFile, FigureFile, HeatMapFile, SavingsFile, StudyFigure,
};
pub use judged::{Judged, Quantity};
pub use measured::{Compared, MeasuredFile, ScatterFile};
pub use results::{Outcome, PointResult, Replication, Results};

/// The version of the study format that this program reads and writes.
pub const STUDY_FORMAT: u32 = 1;

/// Most points of a study.
pub const MAX_POINTS: usize = 100_000;

/// A study as in its file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StudyFile {
    /// Version of the format; 1.
    pub format: u32,
    /// Name of the study, in tables and figures.
    pub name: String,
    /// What it asks, for the report; one paragraph a line.
    #[serde(default)]
    pub about: Vec<String>,
    /// What of that it leaves out, and why; one thing a line.
    #[serde(default)]
    pub leaves_out: Vec<String>,
    /// The scenario file, relative to the study's.
    pub scenario: String,
    /// The profile files, relative to the study's; those of the command line if there are none.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Replications of each point; 5 if not given.
    #[serde(default = "default_replications")]
    pub replications: u32,
    /// What intervals hold.
    #[serde(default)]
    pub intervals: Intervals,
    /// Keys of the scenario that have another value at every point.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// What is varied, the last fastest.
    pub factors: Vec<FactorFile>,
    /// What is drawn of what was found.
    #[serde(default)]
    pub figures: Vec<FigureFile>,
}

/// What the interval of a figure holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Intervals {
    /// The mean over replications, at 95%, by Student's t; that mean is the estimate. Random numbers of
    /// the requests and the costs are all that varies.
    #[default]
    Replications,
    /// 90% of what each replication finds with a profile of its own, drawn within what is known of
    /// every number ([`Profile::drawn`](crate::profile::Profile::drawn)); the median of these is the
    /// estimate. Replication `i` draws the same profile at every point.
    Profile,
    /// 90% of where a measurement would lie. The estimate is the mean over replications with the profile
    /// as it is; the interval is of as many more as `draws`, each with a drawn profile as above. Beside
    /// what was measured it also holds the level's `scatter` ([`Study::compared`]).
    Prediction {
        /// Profiles that are drawn, from [`Intervals::FEWEST_DRAWS`].
        draws: u32,
    },
}

impl Intervals {
    /// The part of the draws that an interval of [`Intervals::Profile`] holds.
    pub const OF_DRAWS: f64 = 0.9;
    /// Fewest profiles that are drawn for [`Intervals::Prediction`].
    pub const FEWEST_DRAWS: u32 = 8;

    /// The estimate from a value for each replication, and for each drawn profile where those are apart.
    ///
    /// # Panics
    /// If there is no value.
    fn estimate(self, values: &[f64], drawn: &[f64]) -> Estimate {
        match self {
            Intervals::Replications => mean_interval(values, CONFIDENCE),
            Intervals::Profile => central(values),
            Intervals::Prediction { .. } => Estimate {
                value: mean(values),
                ..central(drawn)
            },
        }
    }

    /// What an interval is, in a caption.
    pub const fn caption(self) -> &'static str {
        match self {
            Intervals::Replications => "95% intervals of the mean over replications",
            Intervals::Profile => {
                "medians and central 90% of profiles drawn within the uncertainty of every number"
            }
            Intervals::Prediction { .. } => {
                "means with the profile as it is, and central 90% of profiles drawn within the uncertainty of every number"
            }
        }
    }
}

/// Median and central 90% of a sample.
fn central(sample: &[f64]) -> Estimate {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let tail = (1.0 - Intervals::OF_DRAWS) / 2.0;
    Estimate {
        value: quantile(&sorted, 0.5),
        low: quantile(&sorted, tail),
        high: quantile(&sorted, 1.0 - tail),
    }
}

/// Something that is varied: one key or several at once, over some values; or named levels.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FactorFile {
    /// Its name, in tables and figures.
    pub name: String,
    /// The keys of the scenario that take its values.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The values.
    #[serde(default)]
    pub values: Vec<toml::Value>,
    /// Named levels, in place of keys and values.
    #[serde(default)]
    pub levels: Vec<LevelFile>,
}

/// A level of a factor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LevelFile {
    /// Its name, in tables and figures.
    pub label: String,
    /// Keys of the scenario, and the values that they have at this level.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// What hardware took, where somebody has measured it. Only in studies of one factor.
    #[serde(default)]
    pub measured: MeasuredFile,
    /// The same of the requests of single groups of clients, by name, where the scenario has several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measured_groups: BTreeMap<String, MeasuredFile>,
    /// Whether no profile of the study was fitted to what was measured here.
    #[serde(default)]
    pub held_out: bool,
    /// How far single measurements are from what a profile was fitted to say of them.
    #[serde(default)]
    pub scatter: ScatterFile,
}

const fn default_replications() -> u32 {
    5
}

/// A checked study.
#[derive(Clone, PartialEq, Debug)]
pub struct Study {
    /// Its file.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// What it asks, a paragraph each.
    pub about: Vec<String>,
    /// What of that it leaves out, and why.
    pub leaves_out: Vec<String>,
    /// The scenario file.
    pub scenario: PathBuf,
    /// The profile files.
    pub profiles: Vec<PathBuf>,
    /// Replications of each point, at least two.
    pub replications: u32,
    /// What intervals hold.
    pub intervals: Intervals,
    /// What is varied.
    pub factors: Vec<Factor>,
    /// What is drawn.
    pub figures: Vec<StudyFigure>,
    set: Vec<String>,
}

/// A factor.
#[derive(Clone, PartialEq, Debug)]
pub struct Factor {
    /// Its name.
    pub name: String,
    /// Its levels, at least one, in the order of the file.
    pub levels: Vec<Level>,
}

/// A level of a factor.
#[derive(Clone, PartialEq, Debug)]
pub struct Level {
    /// Its name.
    pub label: String,
    /// Overrides of the scenario, each `key=value`.
    pub overrides: Vec<String>,
    /// What hardware took, in seconds and requests per second.
    pub measured: BTreeMap<Metric, f64>,
    /// The same of single groups of clients, by name.
    pub measured_groups: BTreeMap<String, BTreeMap<Metric, f64>>,
    /// Whether no profile was fitted to that.
    pub held_out: bool,
    /// How far single measurements are from what a profile was fitted to say of them; see
    /// [`ScatterFile`].
    pub scatter: BTreeMap<Metric, f64>,
}

/// A point of the grid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// The level of each factor.
    pub labels: Vec<String>,
    /// Overrides of the scenario, those of the study before those of levels.
    pub overrides: Vec<String>,
}

impl Study {
    /// Reads and checks the study in the file `path`.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid study.
    pub fn load(path: &Path) -> Result<Study, FileError> {
        let text = fs::read_to_string(path).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Study::parse(path, text)
    }

    /// Checks the study in `text`, which is said to come from `path`.
    ///
    /// # Errors
    /// If it is not a valid study.
    pub fn parse(path: &Path, text: String) -> Result<Study, FileError> {
        let source = Source::parse(path, text, &[])?;
        let file: StudyFile = source.read()?;
        if file.format != STUDY_FORMAT {
            return Err(source.unknown_format(file.format, "1"));
        }
        if file.replications < 2 {
            let problem = format!(
                "must be at least 2, found {}; intervals are over them",
                file.replications
            );
            return Err(source.invalid("replications", problem));
        }
        if let Intervals::Prediction { draws } = file.intervals
            && draws < Intervals::FEWEST_DRAWS
        {
            let problem = format!(
                "must be at least {}, found {draws}",
                Intervals::FEWEST_DRAWS
            );
            return Err(source.invalid("intervals.prediction.draws", problem));
        }
        if file.factors.is_empty() {
            return Err(source.invalid("factors", "there must be at least one factor"));
        }
        let mut names = BTreeSet::new();
        let mut factors = Vec::new();
        for (index, factor) in file.factors.iter().enumerate() {
            let key = format!("factors.{index}");
            if !names.insert(&factor.name) {
                let problem = format!("the study has a factor `{}` already", factor.name);
                return Err(source.invalid(&format!("{key}.name"), problem));
            }
            factors.push(check_factor(&source, &key, factor)?);
        }
        measured::check(&source, &factors, file.intervals)?;
        let n_points = factors
            .iter()
            .try_fold(1usize, |n, factor| n.checked_mul(factor.levels.len()));
        if n_points.is_none_or(|n| n > MAX_POINTS) {
            let problem = format!("the grid may have at most {MAX_POINTS} points");
            return Err(source.invalid("factors", problem));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let figures = figures::check(&source, &factors, &file.figures)?;
        Ok(Study {
            path: path.to_owned(),
            name: file.name,
            about: file.about,
            leaves_out: file.leaves_out,
            scenario: folder.join(&file.scenario),
            profiles: file.profiles.iter().map(|p| folder.join(p)).collect(),
            replications: file.replications,
            intervals: file.intervals,
            factors,
            figures,
            set: overrides(&file.set),
        })
    }

    /// Where the point with these levels, one of each factor, is among [`Study::points`].
    ///
    /// # Panics
    /// If there is another number of levels than of factors.
    pub fn index(&self, levels: &[usize]) -> usize {
        assert_eq!(
            levels.len(),
            self.factors.len(),
            "a point has a level of each factor"
        );
        let pairs = self.factors.iter().zip(levels);
        pairs.fold(0, |index, (factor, level)| {
            index * factor.levels.len() + level
        })
    }

    /// All points of the grid, those of the last factor next to each other.
    pub fn points(&self) -> Vec<Point> {
        let mut points = vec![Point {
            labels: Vec::new(),
            overrides: self.set.clone(),
        }];
        for factor in &self.factors {
            let more = points.iter().flat_map(|point| {
                factor.levels.iter().map(|level| {
                    let mut point = point.clone();
                    point.labels.push(level.label.clone());
                    point.overrides.extend(level.overrides.iter().cloned());
                    point
                })
            });
            points = more.collect();
        }
        points
    }
}

fn check_factor(source: &Source, key: &str, file: &FactorFile) -> Result<Factor, FileError> {
    let levels: Vec<Level> = match (file.levels.is_empty(), file.keys.is_empty()) {
        (true, false) => {
            let values = file.values.iter().map(|value| Level {
                label: label(value),
                overrides: (file.keys.iter())
                    .map(|key| format!("{key}={value}"))
                    .collect(),
                measured: BTreeMap::new(),
                measured_groups: BTreeMap::new(),
                held_out: false,
                scatter: BTreeMap::new(),
            });
            values.collect()
        }
        (false, true) if file.values.is_empty() => {
            let levels = file.levels.iter().map(|level| Level {
                label: level.label.clone(),
                overrides: overrides(&level.set),
                measured: level.measured.metrics(),
                measured_groups: (level.measured_groups.iter())
                    .map(|(group, measured)| (group.clone(), measured.metrics()))
                    .collect(),
                held_out: level.held_out,
                scatter: level.scatter.metrics(),
            });
            levels.collect()
        }
        _ => {
            let problem = "must have either `keys` and `values`, or `levels`";
            return Err(source.invalid(key, problem));
        }
    };
    if levels.is_empty() {
        return Err(source.invalid(&format!("{key}.values"), "there must be at least one value"));
    }
    let mut labels = BTreeSet::new();
    if let Some(again) = levels.iter().find(|level| !labels.insert(&level.label)) {
        let problem = format!("has the level `{}` twice", again.label);
        return Err(source.invalid(key, problem));
    }
    Ok(Factor {
        name: file.name.clone(),
        levels,
    })
}

/// A value as the name of a level.
fn label(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn overrides(set: &BTreeMap<String, toml::Value>) -> Vec<String> {
    set.iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const TEXT: &str = r#"format = 1
name = "a"
scenario = "b.toml"
profiles = ["../c.toml"]
set = { "run.measure" = { time = "2 s" } }

[[factors]]
name = "transport"
levels = [
    { label = "TCP", set = { "clients.0.path.0.over" = "tcp" } },
    { label = "GDR", set = { "clients.0.path.0.over" = "gdr", "hosts.a.nic" = { part = "n" } } },
]

[[factors]]
name = "clients"
keys = ["clients.0.count"]
values = [1, 16]
"#;

    #[test]
    fn points_are_the_product_of_levels_with_the_last_factor_fastest() {
        let study = Study::parse(Path::new("studies/a.toml"), TEXT.to_owned()).unwrap();
        assert_eq!(study.scenario, Path::new("studies/b.toml"));
        assert_eq!(study.profiles, [Path::new("studies/../c.toml")]);
        let points = study.points();
        let labels: Vec<_> = points.iter().map(|point| point.labels.join(" ")).collect();
        assert_eq!(labels, ["TCP 1", "TCP 16", "GDR 1", "GDR 16"]);
        assert_eq!(
            points[3].overrides,
            [
                "run.measure={ time = \"2 s\" }",
                "clients.0.path.0.over=\"gdr\"",
                "hosts.a.nic={ part = \"n\" }",
                "clients.0.count=16"
            ]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let message = |from: &str, to: &str| {
            assert!(TEXT.contains(from), "{from}");
            let text = TEXT.replacen(from, to, 1);
            Study::parse(Path::new("a.toml"), text).unwrap_err()
        };
        assert_snapshot!(message("format = 1", "format = 2"), @"a.toml:1: `format`: 2 is not known (allowed: 1)");
        assert_snapshot!(message("scenario =", "intervals = { prediction = { draws = 7 } }\nscenario ="), @"a.toml:3: `intervals.prediction.draws`: must be at least 8, found 7");
        assert_snapshot!(message("scenario =", "scenarios ="), @"a.toml:3: `scenarios`: unknown key `scenarios`, did you mean `scenario`? (allowed: format, name, about, leaves-out, scenario, profiles, replications, intervals, set, factors, figures)");
        assert_snapshot!(message("set =", "replications = 1\nset ="), @"a.toml:5: `replications`: must be at least 2, found 1; intervals are over them");
        assert_snapshot!(message("\"clients\"", "\"transport\""), @"a.toml:15: `factors.1.name`: the study has a factor `transport` already");
        assert_snapshot!(message("values = [1, 16]", "values = []"), @"a.toml:17: `factors.1.values`: there must be at least one value");
        assert_snapshot!(message("values = [1, 16]", "values = [1, 1]"), @"a.toml:14: `factors.1`: has the level `1` twice");
        assert_snapshot!(message("keys =", "levels = [{ label = \"x\" }]\nkeys ="), @"a.toml:14: `factors.1`: must have either `keys` and `values`, or `levels`");
    }
}

//! Which figures a study draws of what it finds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::comparison::Metric;
use crate::error::{FileError, suggest};
use crate::scenario::Source;

use super::{Factor, label};

/// A figure as in the file of a study.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FigureFile {
    /// Name of its files, without an ending.
    pub name: String,
    /// What it shows, before how to read it.
    #[serde(default)]
    pub caption: String,
    /// Levels at which factors are held, by the factor's name: of each that is not drawn.
    #[serde(default)]
    pub at: BTreeMap<String, toml::Value>,
    /// What is drawn.
    pub draw: DrawFile,
}

/// What is drawn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DrawFile {
    /// A metric against one factor, a line a level of another.
    Curves(CurvesFile),
    /// What a metric is less than at a base level, in percent and in its unit, against one factor.
    Savings(SavingsFile),
    /// A metric by two factors.
    HeatMap(HeatMapFile),
    /// Mean time of a request by part, a bar a level.
    Breakdown(BreakdownFile),
}

/// Keys of `curves`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CurvesFile {
    /// The factor along the level axis.
    pub x: String,
    /// The factor with a line a level.
    pub lines: String,
    /// What is drawn.
    pub metric: Metric,
    /// The group of clients whose requests count; all if not given.
    #[serde(default)]
    pub clients: Option<String>,
}

/// Keys of `savings`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SavingsFile {
    /// The factor along the level axis.
    pub x: String,
    /// The factor with a line for each level but `base`.
    pub lines: String,
    /// What is drawn.
    pub metric: Metric,
    /// The level of `lines` that others are compared with.
    pub base: toml::Value,
}

/// Keys of `heat-map`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HeatMapFile {
    /// The factor with a column a level.
    pub x: String,
    /// The factor with a row a level.
    pub y: String,
    /// What is drawn.
    pub metric: Metric,
    /// A factor and the level of it that all is compared with; the metric itself is drawn if not given.
    #[serde(default)]
    pub saved_from: BTreeMap<String, toml::Value>,
}

/// Keys of `breakdown`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BreakdownFile {
    /// The factor with a bar a level.
    pub bars: String,
}

/// A checked figure; factors and levels by their place in the study.
#[derive(Clone, PartialEq, Debug)]
pub struct StudyFigure {
    /// Name of its files.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// Of each factor the level at which it is held; 0 of those that are drawn.
    pub at: Vec<usize>,
    /// What is drawn.
    pub draw: Draw,
}

/// What is drawn; factors and levels by their place in the study.
#[derive(Clone, PartialEq, Debug)]
pub enum Draw {
    /// A metric against one factor.
    Curves {
        /// The factor along the level axis.
        x: usize,
        /// The factor with a line a level.
        lines: usize,
        /// What is drawn.
        metric: Metric,
        /// The group of clients whose requests count; all if not given.
        clients: Option<String>,
    },
    /// What a metric is less than at a base level.
    Savings {
        /// The factor along the level axis.
        x: usize,
        /// The factor with a line for each level but the base.
        lines: usize,
        /// What is drawn.
        metric: Metric,
        /// The level of `lines` that others are compared with.
        base: usize,
    },
    /// A metric by two factors.
    HeatMap {
        /// The factor with a column a level.
        x: usize,
        /// The factor with a row a level.
        y: usize,
        /// What is drawn.
        metric: Metric,
        /// A factor and the level of it that all is compared with.
        saved_from: Option<(usize, usize)>,
    },
    /// Mean time of a request by part.
    Breakdown {
        /// The factor with a bar a level.
        bars: usize,
    },
}

impl Draw {
    /// The factors whose levels are all drawn.
    fn factors(&self) -> Vec<usize> {
        match self {
            Draw::Curves { x, lines, .. } | Draw::Savings { x, lines, .. } => vec![*x, *lines],
            Draw::HeatMap { x, y, .. } => vec![*x, *y],
            Draw::Breakdown { bars } => vec![*bars],
        }
    }
}

/// Checks the figures of a study with these factors.
pub(super) fn check(
    source: &Source,
    factors: &[Factor],
    files: &[FigureFile],
) -> Result<Vec<StudyFigure>, FileError> {
    let mut names = BTreeSet::new();
    let figures = files.iter().enumerate().map(|(index, file)| {
        let key = format!("figures.{index}");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if file.name.is_empty() || !file.name.chars().all(is_name) {
            let problem = format!(
                "must be of letters, digits and `-`, as the name of a file, found `{}`",
                file.name
            );
            return Err(source.invalid(&format!("{key}.name"), problem));
        }
        if !names.insert(&file.name) {
            let problem = format!("the study has a figure `{}` already", file.name);
            return Err(source.invalid(&format!("{key}.name"), problem));
        }
        Checker {
            source,
            factors,
            key,
        }
        .figure(file)
    });
    figures.collect()
}

/// Looks up what a figure names.
struct Checker<'a> {
    source: &'a Source,
    factors: &'a [Factor],
    /// Of the figure in the file.
    key: String,
}

impl Checker<'_> {
    fn figure(&self, file: &FigureFile) -> Result<StudyFigure, FileError> {
        let draw = self.draw(&file.draw)?;
        let drawn = draw.factors();
        if let [first, second] = drawn[..]
            && first == second
        {
            let name = &self.factors[first].name;
            let problem = format!("the factor `{name}` cannot be drawn twice");
            return Err(self.source.invalid(&format!("{}.draw", self.key), problem));
        }
        let mut at = vec![0; self.factors.len()];
        for (name, value) in &file.at {
            let key = format!("at.{name}");
            let factor = self.factor(&key, name)?;
            if drawn.contains(&factor) {
                let problem = "is drawn at all of its levels; leave it out here";
                return Err(self.invalid(&key, problem));
            }
            at[factor] = self.level(&key, factor, value)?;
        }
        for (index, factor) in self.factors.iter().enumerate() {
            let is_held = drawn.contains(&index) || file.at.contains_key(&factor.name);
            if !is_held && factor.levels.len() > 1 {
                let problem = format!(
                    "must say at which level of `{}`{}",
                    factor.name,
                    labels(factor)
                );
                return Err(self.invalid("at", problem));
            }
        }
        if let Draw::HeatMap {
            saved_from: Some((factor, _)),
            ..
        } = &draw
            && drawn.contains(factor)
        {
            let problem = "must be of a factor that is neither `x` nor `y`";
            return Err(self.invalid("draw.heat-map.saved-from", problem));
        }
        Ok(StudyFigure {
            name: file.name.clone(),
            caption: file.caption.clone(),
            at,
            draw,
        })
    }

    fn draw(&self, file: &DrawFile) -> Result<Draw, FileError> {
        Ok(match file {
            DrawFile::Curves(file) => Draw::Curves {
                x: self.factor("draw.curves.x", &file.x)?,
                lines: self.factor("draw.curves.lines", &file.lines)?,
                metric: file.metric,
                clients: file.clients.clone(),
            },
            DrawFile::Savings(file) => {
                let lines = self.factor("draw.savings.lines", &file.lines)?;
                Draw::Savings {
                    x: self.factor("draw.savings.x", &file.x)?,
                    lines,
                    metric: file.metric,
                    base: self.level("draw.savings.base", lines, &file.base)?,
                }
            }
            DrawFile::HeatMap(file) => {
                let key = "draw.heat-map.saved-from";
                if file.saved_from.len() > 1 {
                    return Err(self.invalid(key, "must be one factor and its level"));
                }
                let saved_from = file.saved_from.iter().next().map(|(name, value)| {
                    let factor = self.factor(key, name)?;
                    Ok((factor, self.level(key, factor, value)?))
                });
                Draw::HeatMap {
                    x: self.factor("draw.heat-map.x", &file.x)?,
                    y: self.factor("draw.heat-map.y", &file.y)?,
                    metric: file.metric,
                    saved_from: saved_from.transpose()?,
                }
            }
            DrawFile::Breakdown(file) => Draw::Breakdown {
                bars: self.factor("draw.breakdown.bars", &file.bars)?,
            },
        })
    }

    fn invalid(&self, below: &str, problem: impl Into<String>) -> FileError {
        let key = format!("{}.{below}", self.key);
        self.source.invalid(&key, problem)
    }

    fn factor(&self, below: &str, name: &str) -> Result<usize, FileError> {
        let found = self.factors.iter().position(|factor| factor.name == name);
        found.ok_or_else(|| {
            let names = self.factors.iter().map(|factor| factor.name.as_str());
            let problem = format!("there is no factor `{name}`{}", suggest(name, names));
            self.invalid(below, problem)
        })
    }

    fn level(&self, below: &str, factor: usize, value: &toml::Value) -> Result<usize, FileError> {
        let (factor, value) = (&self.factors[factor], label(value));
        let found = factor.levels.iter().position(|level| level.label == value);
        found.ok_or_else(|| {
            let problem = format!("`{}` has no level `{value}`{}", factor.name, labels(factor));
            self.invalid(below, problem)
        })
    }
}

/// The levels that are allowed.
fn labels(factor: &Factor) -> String {
    let labels = factor.levels.iter().map(|level| level.label.as_str());
    format!(" (allowed: {})", labels.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use insta::assert_snapshot;

    use crate::error::FileError;
    use crate::study::Study;

    use super::*;

    const TEXT: &str = r#"format = 1
name = "a"
scenario = "b.toml"
[[factors]]
name = "transport"
keys = ["k"]
values = ["tcp", "gdr"]
[[factors]]
name = "clients"
keys = ["n"]
values = [1, 16]
[[factors]]
name = "net"
keys = ["m"]
values = ["a", "b"]
[[figures]]
name = "saved"
at = { net = "b" }
draw = { savings = { x = "clients", lines = "transport", metric = "mean", base = "tcp" } }
[[figures]]
name = "map"
at = { transport = "gdr" }
draw = { heat-map = { x = "clients", y = "net", metric = "p99", saved-from = { transport = "tcp" } } }
"#;

    fn parse(text: &str) -> Result<Study, FileError> {
        Study::parse(Path::new("a.toml"), text.to_owned())
    }

    #[test]
    fn figures_name_factors_and_levels_by_their_place() {
        let study = parse(TEXT).unwrap();
        let [saved, map] = &study.figures[..] else {
            panic!("{:?}", study.figures);
        };
        assert_eq!(saved.at, [0, 0, 1]);
        let (x, lines, metric, base) = (1, 0, Metric::Mean, 0);
        let expected = Draw::Savings {
            x,
            lines,
            metric,
            base,
        };
        assert_eq!(saved.draw, expected);
        assert_eq!(map.at, [1, 0, 0]);
        // Points are in the order of their levels, the last factor fastest.
        let labels = &study.points()[study.index(&[1, 0, 1])].labels;
        assert_eq!(labels.join(" "), "gdr 1 b");
    }

    #[test]
    fn mistakes_of_figures_are_named() {
        let message = |from: &str, to: &str| {
            assert!(TEXT.contains(from), "{from}");
            parse(&TEXT.replacen(from, to, 1)).unwrap_err()
        };
        assert_snapshot!(message("x = \"clients\"", "x = \"client\""), @"a.toml:19: `figures.0.draw.savings.x`: there is no factor `client`, did you mean `clients`? (allowed: transport, clients, net)");
        assert_snapshot!(message("base = \"tcp\"", "base = \"rdma\""), @"a.toml:19: `figures.0.draw.savings.base`: `transport` has no level `rdma` (allowed: tcp, gdr)");
        assert_snapshot!(message("at = { net = \"b\" }\n", ""), @"a.toml:16: `figures.0.at`: must say at which level of `net` (allowed: a, b)");
        assert_snapshot!(message("at = { net = \"b\" }", "at = { net = \"b\", clients = 1 }"), @"a.toml:18: `figures.0.at.clients`: is drawn at all of its levels; leave it out here");
        assert_snapshot!(message("lines = \"transport\"", "lines = \"clients\""), @"a.toml:19: `figures.0.draw.savings.base`: `clients` has no level `tcp` (allowed: 1, 16)");
        assert_snapshot!(message("saved-from = { transport", "saved-from = { net"), @"a.toml:23: `figures.1.draw.heat-map.saved-from`: `net` has no level `tcp` (allowed: a, b)");
        assert_snapshot!(message("name = \"map\"", "name = \"saved\""), @"a.toml:21: `figures.1.name`: the study has a figure `saved` already");
        assert_snapshot!(message("name = \"map\"", "name = \"../map\""), @"a.toml:21: `figures.1.name`: must be of letters, digits and `-`, as the name of a file, found `../map`");
        assert_snapshot!(message("savings", "saving"), @"a.toml:19: `figures.0.draw`: unknown value `saving`, did you mean `savings`? (allowed: curves, savings, heat-map, breakdown)");
        assert_snapshot!(message("metric = \"mean\"", "metric = \"median\""), @"a.toml:19: `figures.0.draw.savings.metric`: unknown value `median`, did you mean `mean`? (allowed: mean, p50, p90, p99, throughput, cpu)");
    }
}

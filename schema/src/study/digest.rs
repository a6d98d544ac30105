//! The small table of a study: what its documents say, for people and tests to compare with.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::{Draw, Outcome, PointResult, Study};
use crate::comparison::Metric;
use crate::csv::Csv;
use crate::stats::Estimate;

/// Digits of its numbers.
const DIGITS: usize = 4;

/// What is in it of all requests.
const OF_ALL: [Metric; 3] = [Metric::Mean, Metric::P99, Metric::Throughput];
/// What is in it of the requests of each group of clients, where there are several.
const OF_GROUPS: [Metric; 2] = [Metric::Mean, Metric::P99];

impl Study {
    /// A row for each point that was found, in the order of [`Study::points`]: its levels; mean time, 99th
    /// percentile and throughput, and times of each group of clients where there are several; and what of
    /// the mean time is saved from each level that a figure compares others with. All with the study's
    /// intervals, to four digits.
    ///
    /// # Panics
    /// If there are not as many outcomes as points.
    pub fn digest(&self, outcomes: &[Outcome]) -> String {
        let points = self.points();
        assert_eq!(points.len(), outcomes.len(), "every point has an outcome");
        let found = |index: usize| match &outcomes[index] {
            Outcome::Found(found) => Some(found),
            Outcome::Failed(_) | Outcome::Missing => None,
        };
        let groups: BTreeSet<&String> = (0..points.len())
            .filter_map(found)
            .flat_map(|found| &found.replications)
            .flat_map(|one| one.groups.keys())
            .collect();
        let bases = self.bases();

        let mut heads: Vec<String> = self.factors.iter().map(|f| f.name.clone()).collect();
        heads.extend(OF_ALL.iter().flat_map(|metric| columns("", *metric)));
        for group in &groups {
            let of = format!("{group}_");
            heads.extend(OF_GROUPS.iter().flat_map(|metric| columns(&of, *metric)));
        }
        for (factor, base) in &bases {
            let base = &self.factors[*factor].levels[*base].label;
            for unit in ["percent", "ms"] {
                heads.extend(
                    ["", "_low", "_high"].map(|end| format!("saved_from_{base}_{unit}{end}")),
                );
            }
        }
        let mut csv = Csv::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
        for (index, point) in points.iter().enumerate() {
            let Some(at) = found(index) else {
                continue;
            };
            let mut row = point.labels.clone();
            for metric in OF_ALL {
                row.extend(cells(at.estimate(metric, self.intervals), scale(metric)));
            }
            for group in &groups {
                for metric in OF_GROUPS {
                    let estimate = at.estimate_of(metric, Some(group), self.intervals);
                    row.extend(cells(estimate, scale(metric)));
                }
            }
            for (factor, base) in &bases {
                let base = self.beside(index, *factor, *base).and_then(found);
                row.extend(self.saved(at, base));
            }
            let row: Vec<&dyn Display> = row.iter().map(|field| field as &dyn Display).collect();
            csv.row(&row);
        }
        csv.finish()
    }

    /// What of the mean time is saved from `base`, in percent and in ms.
    fn saved(&self, at: &PointResult, base: Option<&PointResult>) -> [String; 6] {
        let of = |base: &PointResult| {
            let part = at.saved(base, Metric::Mean, self.intervals);
            (part, at.less(base, Metric::Mean, self.intervals))
        };
        let (part, less) = base.map_or((None, None), of);
        let [part, less] = [cells(part, 100.0), cells(less, 1e3)];
        let mut both = part.into_iter().chain(less);
        std::array::from_fn(|_| both.next().expect("three of each"))
    }

    /// The factors and their levels that figures compare others with, each once.
    fn bases(&self) -> BTreeSet<(usize, usize)> {
        let figures = self.figures.iter();
        let bases = figures.filter_map(|figure| match figure.draw {
            Draw::Savings { lines, base, .. } => Some((lines, base)),
            Draw::HeatMap { saved_from, .. } => saved_from,
            Draw::Curves { .. } | Draw::Breakdown { .. } => None,
        });
        bases.collect()
    }

    /// The point that has the level `base` of `factor`, and all others as the point `index`; `None` if that
    /// is the same.
    pub fn beside(&self, index: usize, factor: usize, base: usize) -> Option<usize> {
        let mut levels = vec![0; self.factors.len()];
        let mut rest = index;
        for (level, factor) in levels.iter_mut().zip(&self.factors).rev() {
            *level = rest % factor.levels.len();
            rest /= factor.levels.len();
        }
        if levels[factor] == base {
            return None;
        }
        levels[factor] = base;
        Some(self.index(&levels))
    }
}

/// Heads of a metric and its interval.
fn columns(of: &str, metric: Metric) -> [String; 3] {
    let unit = match metric.unit() {
        "s" => "ms",
        "1/s" => "per_s",
        unit => unit,
    };
    let name = metric.name();
    [
        format!("{of}{name}_{unit}"),
        format!("{of}{name}_low"),
        format!("{of}{name}_high"),
    ]
}

/// Of a metric as it is in the table; times are in ms.
fn scale(metric: Metric) -> f64 {
    if metric.unit() == "s" { 1e3 } else { 1.0 }
}

fn cells(estimate: Option<Estimate>, scale: f64) -> [String; 3] {
    let number = |value: f64| {
        let digits = DIGITS - 1;
        let text = format!("{:.digits$e}", scale * value);
        let value: f64 = text.parse().expect("a number that was just written");
        // There is no need to tell a difference of nothing from one of minus nothing.
        (value + 0.0).to_string()
    };
    estimate.map_or(Default::default(), |e| {
        [e.value, e.low, e.high].map(|value| {
            if value.is_finite() {
                number(value)
            } else {
                String::new()
            }
        })
    })
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
intervals = "profile"
[[factors]]
name = "net"
keys = ["n"]
values = ["x", "y"]
[[factors]]
name = "transport"
keys = ["t"]
values = ["TCP", "GDR"]
[[figures]]
name = "saved"
at = {}
draw = { savings = { x = "net", lines = "transport", metric = "mean", base = "TCP" } }
"#;

    fn found(means: [f64; 2]) -> Outcome {
        let of = |mean: f64| Replication {
            requests: 1,
            metrics: [(Metric::Mean, mean), (Metric::Throughput, 1.0 / mean)].into(),
            parts: BTreeMap::new(),
            utilization: BTreeMap::new(),
            groups: [("first".to_owned(), [(Metric::P99, 2.0 * mean)].into())].into(),
        };
        Outcome::Found(PointResult {
            format: STUDY_FORMAT,
            levels: BTreeMap::new(),
            replications: means.map(of).into(),
            drawn: Vec::new(),
        })
    }

    #[test]
    fn a_row_has_what_was_found_and_what_was_saved_in_pairs() {
        let study = Study::parse(Path::new("a.toml"), TEXT.to_owned()).unwrap();
        let outcomes = [
            found([0.001, 0.002]),
            found([0.0005, 0.002]),
            Outcome::Missing,
            found([0.00123456, 0.00123456]),
        ];
        assert_snapshot!(study.digest(&outcomes), @r"
        net,transport,mean_ms,mean_low,mean_high,p99_ms,p99_low,p99_high,throughput_per_s,throughput_low,throughput_high,first_mean_ms,first_mean_low,first_mean_high,first_p99_ms,first_p99_low,first_p99_high,saved_from_TCP_percent,saved_from_TCP_percent_low,saved_from_TCP_percent_high,saved_from_TCP_ms,saved_from_TCP_ms_low,saved_from_TCP_ms_high
        x,TCP,1,1,2,,,,500,500,1000,,,,2,2,4,,,,,,
        x,GDR,0.5,0.5,2,,,,500,500,2000,,,,1,1,4,0,0,50,0,0,0.5
        y,GDR,1.235,1.235,1.235,,,,810,810,810,,,,2.469,2.469,2.469,,,,,,
        ");
    }
}

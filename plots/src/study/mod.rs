//! Figures of the results of a study: curves, savings, heat maps and breakdowns over its factors.
//!
//! Points that were not found are left out; a figure without any point is an error.

mod heat_map;
mod lines;

use schema::comparison::Metric;
use schema::csv::{Csv, bound};
use schema::stats::{Estimate, mean};
use schema::study::{Draw, Factor, Outcome, PointResult, Study, StudyFigure};

use crate::breakdown::{self, Parts};
use crate::error::PlotError;
use crate::figure::Figure;
use crate::format::TimeUnit;

use heat_map::{Cell, HeatMap};
use lines::{Line, Panel};

/// Draws one figure of what was found at the points of `study`, in the order of its points.
///
/// # Errors
/// If no point of it was found, a metric is not there, or there is no such group of clients.
pub fn draw(
    study: &Study,
    outcomes: &[Outcome],
    figure: &StudyFigure,
) -> Result<Figure, PlotError> {
    let grid = Grid {
        study,
        outcomes,
        figure,
    };
    match &figure.draw {
        Draw::Curves {
            x,
            lines,
            metric,
            clients,
        } => grid.curves(*x, *lines, *metric, clients.as_deref()),
        Draw::Savings {
            x,
            lines,
            metric,
            base,
        } => grid.savings(*x, *lines, *metric, *base),
        Draw::HeatMap {
            x,
            y,
            metric,
            saved_from,
        } => grid.heat_map(*x, *y, *metric, *saved_from),
        Draw::Breakdown { bars } => grid.breakdown(*bars),
    }
}

/// How a metric is drawn.
struct Look {
    title: String,
    /// Units of the axis in one of the metric's.
    scale: f64,
    /// Of a number in text.
    unit: &'static str,
    /// In the head of a column.
    column: &'static str,
}

fn look(metric: Metric, largest: f64) -> Look {
    let time = TimeUnit::of(largest);
    let name = match metric {
        Metric::Mean => "Mean end-to-end time",
        Metric::P50 => "Median end-to-end time",
        Metric::P90 => "90th percentile of the time",
        Metric::P99 => "99th percentile of the time",
        Metric::Throughput => "Requests/s",
        Metric::Cpu => "Core time of all hosts (cores)",
    };
    match metric {
        Metric::Throughput => Look {
            title: name.to_owned(),
            scale: 1.0,
            unit: "/s",
            column: "per_s",
        },
        Metric::Cpu => Look {
            title: name.to_owned(),
            scale: 1.0,
            unit: "cores",
            column: "cores",
        },
        _ => Look {
            title: format!("{name} ({})", time.symbol),
            scale: time.per_second,
            unit: time.symbol,
            column: "s",
        },
    }
}

struct Grid<'a> {
    study: &'a Study,
    outcomes: &'a [Outcome],
    figure: &'a StudyFigure,
}

impl Grid<'_> {
    fn factor(&self, index: usize) -> &Factor {
        &self.study.factors[index]
    }

    fn levels(&self, factor: usize) -> std::ops::Range<usize> {
        0..self.factor(factor).levels.len()
    }

    /// What was found where these factors have these levels and the others those of the figure.
    fn found(&self, levels: &[(usize, usize)]) -> Option<&PointResult> {
        let mut at = self.figure.at.clone();
        for (factor, level) in levels {
            at[*factor] = *level;
        }
        match &self.outcomes[self.study.index(&at)] {
            Outcome::Found(found) => Some(found),
            Outcome::Failed(_) | Outcome::Missing => None,
        }
    }

    fn empty(&self, what: String) -> PlotError {
        PlotError::Empty {
            figure: self.figure.name.clone(),
            what,
        }
    }

    fn caption(&self, how: &str) -> String {
        let held: Vec<String> = (self.study.factors.iter().zip(&self.figure.at))
            .enumerate()
            .filter(|(index, (factor, _))| factor.levels.len() > 1 && !self.is_drawn(*index))
            .map(|(_, (factor, level))| format!("{} {}", factor.name, factor.levels[*level].label))
            .collect();
        let held = match held.len() {
            0 => String::new(),
            _ => format!(" At {}.", held.join(", ")),
        };
        let first = match self.figure.caption.as_str() {
            "" => String::new(),
            caption => format!("{} ", caption.trim_end()),
        };
        format!("{first}{how}; {}.{held}", self.study.intervals.caption())
    }

    fn is_drawn(&self, factor: usize) -> bool {
        match &self.figure.draw {
            Draw::Curves { x, lines, .. } | Draw::Savings { x, lines, .. } => {
                [*x, *lines].contains(&factor)
            }
            Draw::HeatMap { x, y, .. } => [*x, *y].contains(&factor),
            Draw::Breakdown { bars } => *bars == factor,
        }
    }

    /// A line for each level of `lines`, with what `value` says of a level of each factor.
    fn lines(
        &self,
        x: usize,
        lines: usize,
        value: impl Fn(usize, usize) -> Option<Estimate>,
    ) -> Vec<Line> {
        let all = self.levels(lines).map(|line| Line {
            label: self.factor(lines).levels[line].label.clone(),
            series: line,
            points: (self.levels(x))
                .filter_map(|level| Some((level, value(level, line)?)))
                .collect(),
        });
        all.filter(|line| !line.points.is_empty()).collect()
    }

    fn table(&self, x: usize, lines: usize, heads: &[String], panels: &[&[Line]]) -> String {
        let names = [&self.factor(x).name, &self.factor(lines).name];
        let mut all: Vec<&str> = names.map(String::as_str).into();
        all.extend(heads.iter().map(String::as_str));
        let mut csv = Csv::new(&all);
        for (index, line) in panels[0].iter().enumerate() {
            for (at, (level, _)) in line.points.iter().enumerate() {
                let estimates = panels.iter().map(|lines| lines[index].points[at].1);
                let cells: Vec<String> = estimates
                    .flat_map(|e| [bound(e.value), bound(e.low), bound(e.high)])
                    .collect();
                let label = &self.factor(x).levels[*level].label;
                let mut row: Vec<&dyn std::fmt::Display> = vec![label, &line.label];
                row.extend(cells.iter().map(|cell| cell as &dyn std::fmt::Display));
                csv.row(&row);
            }
        }
        csv.finish()
    }

    fn curves(
        &self,
        x: usize,
        lines: usize,
        metric: Metric,
        clients: Option<&str>,
    ) -> Result<Figure, PlotError> {
        let value = |level, line| {
            let found = self.found(&[(x, level), (lines, line)])?;
            found.estimate_of(metric, clients, self.study.intervals)
        };
        let drawn = self.lines(x, lines, value);
        if drawn.is_empty() {
            let of = clients.map_or(String::new(), |group| format!(" of the clients `{group}`"));
            return Err(self.empty(format!("`{}`{of} at any point", metric.name())));
        }
        let look = look(metric, lines::largest(&drawn));
        let column = format!("{}_{}", metric.name(), look.column);
        let heads = [column, "low".to_owned(), "high".to_owned()];
        let panel = Panel {
            title: look.title,
            scale: look.scale,
            lines: &drawn,
            is_signed: false,
        };
        let of = clients.map_or(String::new(), |group| format!(" (clients `{group}`)"));
        Ok(Figure {
            name: self.figure.name.clone(),
            caption: self.caption(&format!("Lines{of}: {}", self.factor(lines).name)),
            csv: self.table(x, lines, &heads, &[&drawn]),
            drawing: lines::drawing(self.factor(x), &[panel]),
        })
    }

    fn savings(
        &self,
        x: usize,
        lines: usize,
        metric: Metric,
        base: usize,
    ) -> Result<Figure, PlotError> {
        let both = |level, line| {
            let base = self.found(&[(x, level), (lines, base)])?;
            Some((self.found(&[(x, level), (lines, line)])?, base))
        };
        let intervals = self.study.intervals;
        let part = self.lines(x, lines, |level, line| {
            let (found, than) = both(level, line).filter(|_| line != base)?;
            found.saved(than, metric, intervals)
        });
        let less = self.lines(x, lines, |level, line| {
            let (found, than) = both(level, line).filter(|_| line != base)?;
            found.less(than, metric, intervals)
        });
        if part.is_empty() {
            return Err(self.empty(format!("pair of points with `{}`", metric.name())));
        }
        let base = &self.factor(lines).levels[base].label;
        let look = look(metric, lines::largest(&less));
        let heads = [
            "saved_1".to_owned(),
            "saved_low".to_owned(),
            "saved_high".to_owned(),
            format!("less_{}", look.column),
            "less_low".to_owned(),
            "less_high".to_owned(),
        ];
        let panels = [
            Panel {
                title: "Saved (%)".to_owned(),
                scale: 100.0,
                lines: &part,
                is_signed: true,
            },
            Panel {
                title: format!("Saved ({})", look.unit),
                scale: look.scale,
                lines: &less,
                is_signed: true,
            },
        ];
        let how = format!("What {} saves against {base}", metric_phrase(metric));
        Ok(Figure {
            name: self.figure.name.clone(),
            caption: self.caption(&how),
            csv: self.table(x, lines, &heads, &[&part, &less]),
            drawing: lines::drawing(self.factor(x), &panels),
        })
    }

    fn heat_map(
        &self,
        x: usize,
        y: usize,
        metric: Metric,
        saved_from: Option<(usize, usize)>,
    ) -> Result<Figure, PlotError> {
        let intervals = self.study.intervals;
        let value = |column, row| {
            let found = self.found(&[(x, column), (y, row)])?;
            match saved_from {
                None => found.estimate(metric, intervals),
                Some(base) => {
                    let base = self.found(&[(x, column), (y, row), base])?;
                    found.saved(base, metric, intervals)
                }
            }
        };
        let mut cells = Vec::new();
        let (factor_x, factor_y) = (self.factor(x), self.factor(y));
        for row in self.levels(y) {
            for column in self.levels(x) {
                if let Some(estimate) = value(column, row) {
                    cells.push(Cell {
                        column,
                        row,
                        estimate,
                    });
                }
            }
        }
        if cells.is_empty() {
            return Err(self.empty(format!("`{}` at any point", metric.name())));
        }
        let largest = cells.iter().map(|cell| cell.estimate.value);
        let look = match saved_from {
            None => look(metric, largest.fold(0.0, f64::max)),
            Some(_) => Look {
                title: "saved".to_owned(),
                scale: 100.0,
                unit: "%",
                column: "1",
            },
        };
        let column = match saved_from {
            None => format!("{}_{}", metric.name(), look.column),
            Some(_) => "saved_1".to_owned(),
        };
        let mut csv = Csv::new(&[&factor_y.name, &factor_x.name, &column, "low", "high"]);
        for Cell {
            column,
            row,
            estimate,
        } in &cells
        {
            let numbers = [estimate.value, estimate.low, estimate.high].map(bound);
            let labels = (
                &factor_y.levels[*row].label,
                &factor_x.levels[*column].label,
            );
            csv.row(&[labels.0, labels.1, &numbers[0], &numbers[1], &numbers[2]]);
        }
        let how = match saved_from {
            None => format!("{} by {} and {}", look.title, factor_y.name, factor_x.name),
            Some((factor, level)) => format!(
                "Percent of {} saved against {}, by {} and {}",
                metric_phrase(metric),
                self.factor(factor).levels[level].label,
                factor_y.name,
                factor_x.name
            ),
        };
        let map = HeatMap {
            x: factor_x,
            y: factor_y,
            scale: look.scale,
            unit: look.unit,
            is_signed: saved_from.is_some(),
            cells: &cells,
        };
        Ok(Figure {
            name: self.figure.name.clone(),
            caption: self.caption(&how),
            csv: csv.finish(),
            drawing: map.drawing(),
        })
    }

    fn breakdown(&self, bars: usize) -> Result<Figure, PlotError> {
        let parts = self.levels(bars).filter_map(|level| {
            let found = self.found(&[(bars, level)])?;
            let ends = found.values(Metric::Mean, None)?;
            let interval = found.estimate(Metric::Mean, self.study.intervals)?;
            let names: std::collections::BTreeSet<&String> = (found.replications.iter())
                .flat_map(|one| one.parts.keys())
                .collect();
            let part = |name: &String| {
                let values = found.replications.iter();
                let values = values.map(|one| one.parts.get(name).copied().unwrap_or(0.0));
                mean(&values.collect::<Vec<f64>>())
            };
            Some(Parts {
                label: self.factor(bars).levels[level].label.clone(),
                parts: names
                    .into_iter()
                    .map(|name| (name.clone(), part(name)))
                    .collect(),
                end_to_end: Estimate {
                    value: mean(&ends),
                    ..interval
                },
            })
        });
        let parts: Vec<Parts> = parts.collect();
        let how = format!(
            "Mean time of a request by part, by {}; each instant counts for one part only, so the \
             segments sum to the mean (dot and number)",
            self.factor(bars).name
        );
        breakdown::draw_parts(&self.figure.name, self.caption(&how), &parts)
    }
}

/// The metric in a sentence.
const fn metric_phrase(metric: Metric) -> &'static str {
    match metric {
        Metric::Mean => "the mean end-to-end time",
        Metric::P50 => "the median end-to-end time",
        Metric::P90 => "the 90th percentile of the time",
        Metric::P99 => "the 99th percentile of the time",
        Metric::Throughput => "throughput",
        Metric::Cpu => "core time",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use schema::study::{Replication, STUDY_FORMAT};

    use super::*;

    const TEXT: &str = r#"format = 1
name = "a"
scenario = "b.toml"
[[factors]]
name = "transport, of the last hop and of all that comes before it"
keys = ["k"]
values = ["TCP", "a transport with a name that is much too long for a legend or the cell of a table"]
[[factors]]
name = "clients"
keys = ["n"]
values = [1, 2, 16]
[[factors]]
name = "net"
keys = ["m"]
values = ["a net with a rather long name and some more", "another net with a rather long name", "c", "d"]
"#;

    const FACTOR: &str = "transport, of the last hop and of all that comes before it";

    fn study(figures: &str) -> Study {
        let text = format!("{TEXT}{}", figures.replace("FACTOR", FACTOR));
        Study::parse(Path::new("a.toml"), text).expect("it is valid")
    }

    /// A result whose mean times are these.
    fn found(means: [f64; 2]) -> Outcome {
        let replications = means.map(|mean| Replication {
            requests: 1,
            metrics: [(Metric::Mean, mean)].into(),
            parts: [
                ("wire".to_owned(), mean / 4.0),
                ("inference".to_owned(), mean / 2.0),
            ]
            .into(),
            utilization: BTreeMap::new(),
            groups: BTreeMap::new(),
        });
        Outcome::Found(PointResult {
            format: STUDY_FORMAT,
            levels: BTreeMap::new(),
            replications: replications.into(),
            drawn: Vec::new(),
        })
    }

    /// Seconds that the point takes: the second transport saves 2 ms of each client's 10, and 12 of the
    /// second net's.
    fn outcomes(study: &Study) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for transport in 0..2 {
            for clients in [1.0, 2.0, 16.0] {
                for net in 0..4 {
                    let saved = if net == 1 { 12.0 } else { 2.0 };
                    let ms = clients * (10.0 - f64::from(transport) * saved);
                    let ms = ms.abs();
                    outcomes.push(found([1e-3 * ms, 1.1e-3 * ms]));
                }
            }
        }
        assert_eq!(outcomes.len(), study.points().len());
        outcomes
    }

    const SAVINGS: &str = r#"[[figures]]
name = "saved"
at = { net = "c" }
draw = { savings = { x = "clients", lines = "FACTOR", metric = "mean", base = "TCP" } }
"#;

    #[test]
    fn savings_are_of_pairs_and_in_the_table() {
        let study = study(SAVINGS);
        let figure = draw(&study, &outcomes(&study), &study.figures[0]).expect("all is found");
        let rows: Vec<Vec<&str>> = (figure.csv.lines().skip(1))
            .map(|row| row.rsplit(',').collect())
            .collect();
        assert_eq!(rows.len(), 3, "{}", figure.csv);
        for (row, clients) in rows.iter().zip([1.0, 2.0, 16.0]) {
            let number = |from_end: usize| row[from_end].parse::<f64>().expect("a number");
            // Every pair saves a fifth, so its interval has no width; milliseconds vary.
            for part in [number(5), number(4), number(3)] {
                assert!((part - 0.2).abs() < 1e-9, "{row:?}");
            }
            assert!((number(2) - 2.1e-3 * clients).abs() < 1e-9, "{row:?}");
            assert!(number(1) < number(2) && number(2) < number(0), "{row:?}");
        }
        assert!(
            figure.caption.contains("saves against TCP"),
            "{}",
            figure.caption
        );
        assert!(figure.caption.contains("At net c."), "{}", figure.caption);
    }

    #[test]
    fn no_text_of_any_kind_is_clipped_and_equal_inputs_give_equal_bytes() {
        let study = study(
            r#"[[figures]]
name = "curves"
at = { net = "c" }
draw = { curves = { x = "clients", lines = "FACTOR", metric = "mean" } }
[[figures]]
name = "saved"
at = { clients = 16 }
draw = { savings = { x = "net", lines = "FACTOR", metric = "mean", base = "TCP" } }
[[figures]]
name = "map"
at = { "FACTOR" = "a transport with a name that is much too long for a legend or the cell of a table" }
draw = { heat-map = { x = "clients", y = "net", metric = "mean", saved-from = { "FACTOR" = "TCP" } } }
[[figures]]
name = "other-map"
at = { "FACTOR" = "TCP" }
draw = { heat-map = { x = "net", y = "clients", metric = "mean" } }
[[figures]]
name = "parts"
at = { net = "c", clients = 2 }
draw = { breakdown = { bars = "FACTOR" } }
"#,
        );
        let outcomes = outcomes(&study);
        for figure in &study.figures {
            let drawn = draw(&study, &outcomes, figure).expect("all is found");
            let clipped = drawn.drawing.clipped();
            assert!(clipped.is_empty(), "{}: {clipped:?}", figure.name);
            let again = draw(&study, &outcomes, figure).expect("all is found");
            assert_eq!(drawn.svg(), again.svg());
        }
    }

    #[test]
    fn points_that_failed_are_left_out_and_a_figure_of_none_is_an_error() {
        let study = study(SAVINGS);
        let mut outcomes = outcomes(&study);
        outcomes[study.index(&[0, 1, 2])] = Outcome::Failed("it does not fit".to_owned());
        let figure = draw(&study, &outcomes, &study.figures[0]).expect("two are left");
        assert_eq!(figure.csv.lines().count(), 3, "{}", figure.csv);
        let none = vec![Outcome::Missing; outcomes.len()];
        let error = draw(&study, &none, &study.figures[0]).expect_err("there is nothing");
        insta::assert_snapshot!(error, @"draw figure `saved`: there is no pair of points with `mean`");
    }
}

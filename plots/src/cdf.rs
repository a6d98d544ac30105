//! Distributions of the end-to-end time.

use schema::csv::Csv;
use schema::run::{Run, RunKind};
use schema::stats::quantile;
use schema::summary::counted;

use crate::axis::{Axis, Origin};
use crate::drawing::{Body, Drawing, Point, WIDTH};
use crate::error::{PlotError, finite};
use crate::figure::Figure;
use crate::format::TimeUnit;
use crate::legend::{Key, Legend};
use crate::pair::{Pair, kind_name};
use crate::palette::{INK, Series, WHITE, darker, series};

/// Most points of a curve; a larger sample is drawn by its quantiles at equal steps.
const MAX_POINTS: usize = 500;
const DASHES: &[f64] = &[20.0, 9.0];
const MEASURED_WIDTH: f64 = 8.0;
const SIMULATED_WIDTH: f64 = 4.0;
const HEIGHT: f64 = 520.0;
const RIGHT: f64 = 34.0;

/// A curve: ascending times in seconds, each with the fraction of requests that took no longer.
struct Curve {
    kind: RunKind,
    points: Vec<(f64, f64)>,
}

/// End-to-end time of each request of `run` that counts, in seconds.
pub fn end_to_end_s(run: &Run) -> Vec<f64> {
    counted(run).iter().map(|r| r.end_to_end_s()).collect()
}

/// Draws the distribution of each scenario's end-to-end times, measured solid and simulated
/// dashed. A sample of more than 500 is drawn by its quantiles at 500 equal steps.
///
/// `samples` are in seconds, in any order; [`end_to_end_s`] takes them from a run.
///
/// # Errors
/// If there is no scenario, a scenario has no sample, a sample is empty or a time is not finite.
pub fn draw(name: &str, samples: &[Pair<Vec<f64>>]) -> Result<Figure, PlotError> {
    let empty = |what: String| PlotError::Empty {
        figure: name.to_owned(),
        what,
    };
    if samples.is_empty() {
        return Err(empty("scenario".to_owned()));
    }
    let mut all = Vec::new();
    for pair in samples {
        let mut curves = Vec::new();
        for (kind, sample) in pair.present() {
            if sample.is_empty() {
                return Err(empty(format!(
                    "{} request of `{}`",
                    kind_name(kind),
                    pair.label
                )));
            }
            for value in sample {
                finite(name, &pair.label, "an end-to-end time", *value)?;
            }
            curves.push(Curve {
                kind,
                points: points(sample),
            });
        }
        if curves.is_empty() {
            return Err(empty(format!("run of `{}`", pair.label)));
        }
        all.push((pair.label.as_str(), curves));
    }
    Ok(Figure {
        name: name.to_owned(),
        caption: "Distribution of the end-to-end time: the fraction of requests that took no \
                  longer, measured (solid) and simulated (dashed). Marks are at 20, 50 and 80% of \
                  the measured requests."
            .to_owned(),
        csv: table(&all),
        drawing: drawing(&all),
    })
}

fn points(sample: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len().min(MAX_POINTS);
    let fraction = |k: usize| k as f64 / n as f64;
    (1..=n)
        .map(|k| (quantile(&sorted, fraction(k)), fraction(k)))
        .collect()
}

fn table(all: &[(&str, Vec<Curve>)]) -> String {
    let mut csv = Csv::new(&["scenario", "run", "end_to_end_s", "fraction"]);
    for (label, curves) in all {
        for curve in curves {
            for (time, fraction) in &curve.points {
                csv.row(&[label, &kind_name(curve.kind), time, fraction]);
            }
        }
    }
    csv.finish()
}

fn legend(all: &[(&str, Vec<Curve>)]) -> Legend {
    let mut legend = Legend::default();
    for (index, (label, _)) in all.iter().enumerate() {
        let Series { color, mark } = series(index);
        let key = Key::Line {
            color,
            width: MEASURED_WIDTH,
            pattern: &[],
            mark: Some((mark, Body::Solid)),
        };
        legend.add(key, *label);
    }
    let mut kinds = all.iter().flat_map(|(_, curves)| curves).map(|c| c.kind);
    if kinds.any(|kind| kind == RunKind::Simulated) {
        let key = |width, pattern| Key::Line {
            color: INK,
            width,
            pattern,
            mark: None,
        };
        legend.add(key(MEASURED_WIDTH, &[]), "measured");
        legend.add(key(SIMULATED_WIDTH, DASHES), "simulated");
    }
    legend
}

fn drawing(all: &[(&str, Vec<Curve>)]) -> Drawing {
    let curves = || all.iter().flat_map(|(_, curves)| curves);
    let times = || curves().flat_map(|c| c.points.iter().map(|p| p.0));
    let unit = TimeUnit::of(times().fold(0.0, f64::max));
    let x = Axis::covering(times().map(|t| t * unit.per_second), Origin::Data, 6.0);
    let y = Axis::linear(0.0, 1.0, 5.0);
    let legend = legend(all);
    let (left, top) = (y.room_left(), legend.height() + 8.0);
    let bottom = top + HEIGHT;
    let x = x.over(left, WIDTH - RIGHT);
    let y = y.over(bottom, top);
    let mut drawing = Drawing::new(bottom + Axis::ROOM_BELOW);
    legend.draw(&mut drawing);
    x.draw_level(
        &mut drawing,
        top,
        bottom,
        &format!("End-to-end time ({})", unit.symbol),
    );
    y.draw_upright(&mut drawing, left, WIDTH - RIGHT, "Fraction of requests");

    // Simulated over measured: where they agree, the thin dashes lie on the wide line.
    for kind in [RunKind::Measured, RunKind::Simulated] {
        for (index, (_, curves)) in all.iter().enumerate() {
            let Series { color, .. } = series(index);
            for curve in curves.iter().filter(|curve| curve.kind == kind) {
                let steps = steps(curve, &x, &y, unit);
                if kind == RunKind::Measured {
                    drawing.line(&steps, color, MEASURED_WIDTH);
                } else {
                    drawing.dashed(&steps, darker(color, 0.55), SIMULATED_WIDTH, DASHES);
                }
            }
        }
    }
    for (index, (_, curves)) in all.iter().enumerate() {
        let Series { color, mark } = series(index);
        // The curve that the legend's line and mark stand for.
        for share in [0.2, 0.5, 0.8] {
            let at = curves[0]
                .points
                .iter()
                .find(|(_, fraction)| *fraction >= share);
            let (time, fraction) = at.expect("the last fraction is 1");
            let at = (x.at(time * unit.per_second), y.at(*fraction));
            drawing.mark(mark, at, 30.0, WHITE, Body::Solid);
            drawing.mark(mark, at, 23.0, color, Body::Solid);
        }
    }
    drawing
}

/// The curve as a step function from zero.
fn steps(curve: &Curve, x: &Axis, y: &Axis, unit: TimeUnit) -> Vec<Point> {
    let mut level = y.at(0.0);
    let mut steps = Vec::with_capacity(2 * curve.points.len());
    for (time, fraction) in &curve.points {
        let at = x.at(time * unit.per_second);
        steps.push((at, level));
        level = y.at(*fraction);
        steps.push((at, level));
    }
    steps
}

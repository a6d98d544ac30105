//! Errors of predictions over what was measured.

use schema::comparison::Metric;
use schema::csv::Csv;
use schema::study::{Compared, Judged, Quantity};

use crate::accuracy::{METRICS, look};
use crate::axis::{Axis, range};
use crate::drawing::{Body, Drawing, WIDTH};
use crate::error::{PlotError, finite};
use crate::figure::Figure;
use crate::format::TimeUnit;
use crate::legend::{Key, Legend};
use crate::palette::{GREY, INK, Mark};

const HEIGHT: f64 = 420.0;
const BELOW: f64 = 30.0;
const RIGHT: f64 = 40.0;
const MARK: f64 = 20.0;
/// From this factor between its ends on, what was measured is on a logarithmic axis.
const MANY_TIMES: f64 = 5.0;
/// Room at the ends of that axis, as a factor.
const AROUND: f64 = 1.05;

/// A figure as measured and as predicted, in seconds or requests per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point<'a> {
    /// Of what load.
    pub row: &'a str,
    /// What it is.
    pub metric: Metric,
    /// Whether nothing was fitted to it.
    pub held_out: bool,
    /// As measured.
    pub measured: f64,
    /// As predicted.
    pub predicted: f64,
    /// The interval of the prediction.
    pub interval: [f64; 2],
}

impl<'a> From<&'a Compared> for Point<'a> {
    fn from(row: &'a Compared) -> Point<'a> {
        Point {
            row: &row.row,
            metric: row.metric,
            held_out: row.held_out,
            measured: row.measured,
            predicted: row.predicted,
            interval: [row.low, row.high],
        }
    }
}

impl<'a> Point<'a> {
    /// Of what was measured here; `None` of what is saved, which has no relative error.
    pub fn of_judged(row: &'a Judged) -> Option<Point<'a>> {
        let Quantity::Of(metric) = row.metric else {
            return None;
        };
        Some(Point {
            row: &row.row,
            metric,
            held_out: row.held_out,
            measured: row.measured,
            predicted: row.predicted,
            interval: [row.low, row.high],
        })
    }

    /// Relative error of the value `predicted` in place of the prediction.
    fn error(&self, predicted: f64) -> f64 {
        predicted / self.measured - 1.0
    }
}

/// Draws the relative error of each prediction over what was measured, times above throughputs, with a
/// whisker over the interval of the prediction: one that crosses zero holds what was measured.
///
/// # Errors
/// If there is no point, or an error is not finite.
pub fn draw(name: &str, points: &[Point<'_>]) -> Result<Figure, PlotError> {
    if points.is_empty() {
        return Err(PlotError::Empty {
            figure: name.to_owned(),
            what: "figure that was measured and predicted".to_owned(),
        });
    }
    for point in points {
        let what = format!("the error of {}", point.metric.name());
        finite(name, point.row, &what, point.error(point.predicted))?;
    }
    Ok(Figure {
        name: name.to_owned(),
        caption: "Relative error of the prediction over what was measured. Whiskers: the interval of \
                  the prediction; it holds what was measured where it crosses the line. Hollow marks: \
                  what was fitted to."
            .to_owned(),
        csv: table(points),
        drawing: drawing(points),
    })
}

fn table(points: &[Point<'_>]) -> String {
    let mut csv = Csv::new(&[
        "row",
        "metric",
        "unit",
        "held_out",
        "measured",
        "predicted",
        "low",
        "high",
        "error",
    ]);
    for point in points {
        csv.row(&[
            &point.row,
            &point.metric.name(),
            &point.metric.unit(),
            &point.held_out,
            &point.measured,
            &point.predicted,
            &point.interval[0],
            &point.interval[1],
            &point.error(point.predicted),
        ]);
    }
    csv.finish()
}

fn legend(points: &[Point<'_>]) -> Legend {
    let mut legend = Legend::default();
    for metric in METRICS {
        if points.iter().any(|point| point.metric == metric) {
            let (color, mark) = look(metric);
            legend.add(Key::Mark(mark, color, Body::Solid), metric.name());
        }
    }
    if points.iter().any(|point| !point.held_out) {
        legend.add(Key::Mark(Mark::Circle, INK, Body::Hollow), "fitted to");
    }
    legend
}

/// The points of one unit over one axis.
struct Panel<'a> {
    points: Vec<&'a Point<'a>>,
    /// Units of the axis in one of the values'.
    scale: f64,
    title: String,
    errors: Axis,
}

impl<'a> Panel<'a> {
    /// `None` of no points.
    fn of(points: &'a [Point<'a>], is_time: bool) -> Option<Panel<'a>> {
        let points = points
            .iter()
            .filter(|point| (point.metric.unit() == "s") == is_time);
        let points: Vec<&Point<'_>> = points.collect();
        if points.is_empty() {
            return None;
        }
        let (scale, title) = if is_time {
            let unit = TimeUnit::of(range(points.iter().map(|point| point.measured)).1);
            (unit.per_second, format!("Measured time ({})", unit.symbol))
        } else {
            (1.0, "Measured throughput (requests/s)".to_owned())
        };
        let ends = points.iter().flat_map(|point| {
            let [low, high] = point.interval;
            [low, point.predicted, high].map(|value| 100.0 * point.error(value))
        });
        let (low, high) = range(ends);
        Some(Panel {
            points,
            scale,
            title,
            errors: Axis::linear(low.min(0.0), high.max(0.0), 5.0),
        })
    }

    fn draw(&self, drawing: &mut Drawing, left: f64, top: f64) {
        let (right, bottom) = (WIDTH - RIGHT, top + HEIGHT);
        let (low, high) = range(self.points.iter().map(|point| point.measured * self.scale));
        let (low, high) = (low / AROUND, high * AROUND);
        let x = match high / low >= MANY_TIMES {
            true => Axis::log(low, high),
            false => Axis::linear(low, high, 5.0),
        };
        let x = x.over(left, right);
        let errors = self.errors.clone().over(bottom, top);
        x.draw_level(drawing, top, bottom, &self.title);
        errors.draw_upright(drawing, left, right, "Error (%)");
        let zero = errors.at(0.0);
        drawing.line(&[(left, zero), (right, zero)], GREY, 3.0);
        let at = |point: &Point<'_>| x.at(point.measured * self.scale);
        for point in &self.points {
            let ends = point
                .interval
                .map(|end| errors.at(100.0 * point.error(end)));
            let (color, _) = look(point.metric);
            drawing.upright_whisker(at(point), ends[0], ends[1], color);
        }
        for point in &self.points {
            let (color, mark) = look(point.metric);
            let body = match point.held_out {
                true => Body::Solid,
                false => Body::Hollow,
            };
            let error = errors.at(100.0 * point.error(point.predicted));
            drawing.mark(mark, (at(point), error), MARK, color, body);
        }
    }
}

fn drawing(points: &[Point<'_>]) -> Drawing {
    let panels = [true, false].map(|is_time| Panel::of(points, is_time));
    let panels: Vec<Panel<'_>> = panels.into_iter().flatten().collect();
    let lefts = panels.iter().map(|panel| panel.errors.room_left());
    let left = lefts.fold(0.0, f64::max);
    let legend = legend(points);
    let mut top = legend.height() + 8.0;
    let each = HEIGHT + Axis::ROOM_BELOW + BELOW;
    let mut drawing = Drawing::new(top + panels.len() as f64 * each - BELOW);
    legend.draw(&mut drawing);
    for panel in &panels {
        panel.draw(&mut drawing, left, top);
        top += each;
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(metric: Metric, measured: f64, held_out: bool) -> Point<'static> {
        Point {
            row: "a load",
            metric,
            held_out,
            measured,
            predicted: 1.1 * measured,
            interval: [0.9 * measured, 1.2 * measured],
        }
    }

    #[test]
    fn times_and_rates_have_a_panel_each() {
        let times = [
            point(Metric::Mean, 3e-3, true),
            point(Metric::P90, 5e-3, false),
        ];
        let of_times = draw("errors", &times).unwrap().svg();
        assert!(of_times.contains("Measured time (ms)") && of_times.contains("fitted to"));
        assert!(!of_times.contains("throughput"));
        let rate = point(Metric::Throughput, 2000.0, true);
        let both = draw("errors", &[times[0], rate]).unwrap();
        let svg = both.svg();
        assert!(svg.contains("Measured time (ms)") && svg.contains("Measured throughput"));
        assert!(!svg.contains("fitted to"));
        let last = both.csv.lines().last().unwrap();
        assert!(
            last.starts_with("a load,throughput,1/s,true,2000,"),
            "{last}"
        );
    }

    #[test]
    fn nothing_to_draw_is_refused() {
        assert!(matches!(draw("errors", &[]), Err(PlotError::Empty { .. })));
        let nothing = point(Metric::Mean, 0.0, true);
        assert!(draw("errors", &[nothing]).is_err());
    }
}

//! End-to-end time and throughput against load.

use plotters::style::RGBColor;
use schema::csv::{Csv, bound};
use schema::run::RunKind;
use schema::stats::Estimate;
use schema::summary::Summary;

use crate::axis::{Axis, Origin, range};
use crate::drawing::{Body, Drawing, Point, WIDTH};
use crate::error::{PlotError, finite};
use crate::figure::Figure;
use crate::format::TimeUnit;
use crate::legend::{Key, Legend};
use crate::pair::kind_name;
use crate::palette::{BLACK, BLUE, GREEN, INK, Mark, VERMILLION};

const TIMES_HEIGHT: f64 = 420.0;
const RATES_HEIGHT: f64 = 260.0;
const BETWEEN: f64 = 36.0;
const RIGHT: f64 = 40.0;
const MARK: f64 = 20.0;
const OPEN_MARK: f64 = 28.0;
const LINE: f64 = 4.0;
/// Most loads that each get a tick of their own.
const MAX_TICKS: usize = 10;

/// What the load is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// Number of clients of a closed loop.
    Clients,
    /// Requests that arrive per second.
    OfferedRate,
}

impl Load {
    const fn title(self) -> &'static str {
        match self {
            Load::Clients => "Number of clients",
            Load::OfferedRate => "Offered rate (requests/s)",
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Load::Clients => "clients",
            Load::OfferedRate => "offered_per_s",
        }
    }
}

/// A load, and what was measured and simulated under it; either may be missing.
#[derive(Clone, Copy, Debug)]
pub struct LoadPoint<'a> {
    /// The load, in the unit of [`Load`].
    pub load: f64,
    /// As measured.
    pub measured: Option<&'a Summary>,
    /// As simulated.
    pub simulated: Option<&'a Summary>,
}

impl<'a> LoadPoint<'a> {
    fn get(&self, kind: RunKind) -> Option<&'a Summary> {
        match kind {
            RunKind::Measured => self.measured,
            RunKind::Simulated => self.simulated,
        }
    }
}

/// One figure against load.
struct Curve {
    name: &'static str,
    color: RGBColor,
    mark: Mark,
    body: Body,
    /// Of the simulated line.
    pattern: &'static [f64],
    of: fn(&Summary) -> Estimate,
}

const TIMES: [Curve; 3] = [
    Curve {
        name: "p99",
        color: VERMILLION,
        mark: Mark::Up,
        body: Body::Solid,
        pattern: &[22.0, 8.0],
        of: |summary| summary.end_to_end.p99,
    },
    Curve {
        name: "mean",
        color: BLACK,
        mark: Mark::Circle,
        body: Body::Solid,
        pattern: &[],
        of: |summary| summary.end_to_end.mean,
    },
    Curve {
        name: "p50",
        color: BLUE,
        mark: Mark::Square,
        // The median is often near the mean.
        body: Body::Open,
        pattern: &[22.0, 8.0, 5.0, 8.0],
        of: |summary| summary.end_to_end.p50,
    },
];

const THROUGHPUT: Curve = Curve {
    name: "throughput",
    color: GREEN,
    mark: Mark::Diamond,
    body: Body::Solid,
    pattern: &[],
    of: |summary| summary.throughput,
};

/// Draws mean, median and 99th percentile of the end-to-end time, and below them throughput,
/// against load: measured points with their intervals, simulated lines with theirs as a band.
///
/// Loads may be in any order. From a decade on, times are on a logarithmic axis; from a factor of
/// 8 on, loads are too.
///
/// # Errors
/// If there is no load, a load has no run, or a value is not finite.
pub fn draw(name: &str, load: Load, points: &[LoadPoint<'_>]) -> Result<Figure, PlotError> {
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.load.total_cmp(&b.load));
    if points.is_empty() {
        return Err(PlotError::Empty {
            figure: name.to_owned(),
            what: "load".to_owned(),
        });
    }
    for point in &points {
        check(name, point)?;
    }
    Ok(Figure {
        name: name.to_owned(),
        caption: "End-to-end time and throughput against load: measured (marks, with 95% \
                  intervals) and simulated (lines, with 95% bands)."
            .to_owned(),
        csv: table(load, &points),
        drawing: drawing(load, &points),
    })
}

fn check(name: &str, point: &LoadPoint<'_>) -> Result<(), PlotError> {
    let label = point.load.to_string();
    finite(name, &label, "the load", point.load)?;
    let mut n_runs = 0;
    for kind in [RunKind::Measured, RunKind::Simulated] {
        let Some(summary) = point.get(kind) else {
            continue;
        };
        n_runs += 1;
        for curve in TIMES.iter().chain([&THROUGHPUT]) {
            let what = format!("the {} {}", kind_name(kind), curve.name);
            finite(name, &label, &what, (curve.of)(summary).value)?;
        }
    }
    if n_runs == 0 {
        return Err(PlotError::Empty {
            figure: name.to_owned(),
            what: format!("run under the load {label}"),
        });
    }
    Ok(())
}

fn table(load: Load, points: &[LoadPoint<'_>]) -> String {
    let mut csv = Csv::new(&[
        load.column(),
        "run",
        "metric",
        "unit",
        "value",
        "low",
        "high",
    ]);
    for point in points {
        for kind in [RunKind::Measured, RunKind::Simulated] {
            let Some(summary) = point.get(kind) else {
                continue;
            };
            for curve in TIMES.iter().chain([&THROUGHPUT]) {
                let unit = if curve.name == THROUGHPUT.name {
                    "1/s"
                } else {
                    "s"
                };
                let estimate = (curve.of)(summary);
                let (low, high) = (bound(estimate.low), bound(estimate.high));
                csv.row(&[
                    &point.load,
                    &kind_name(kind),
                    &curve.name,
                    &unit,
                    &estimate.value,
                    &low,
                    &high,
                ]);
            }
        }
    }
    csv.finish()
}

fn legend() -> Legend {
    let mut legend = Legend::default();
    for curve in TIMES.iter().chain([&THROUGHPUT]) {
        let key = Key::Line {
            color: curve.color,
            width: LINE,
            pattern: curve.pattern,
            mark: Some((curve.mark, curve.body)),
        };
        legend.add(key, curve.name);
    }
    let line = Key::Line {
        color: INK,
        width: LINE,
        pattern: &[],
        mark: None,
    };
    legend.add(Key::Interval(Mark::Circle, INK), "measured");
    legend.add(line, "simulated");
    legend
}

fn load_axis(points: &[LoadPoint<'_>]) -> Axis {
    let mut loads: Vec<f64> = points.iter().map(|point| point.load).collect();
    loads.dedup();
    let (low, high) = range(loads.iter().copied());
    let axis = if low > 0.0 && high / low >= 8.0 {
        Axis::log(low, high)
    } else {
        let room = 0.04 * (high - low);
        let axis = Axis::linear(low, high, 6.0);
        let (low, high) = (axis.low.min(low - room), axis.high.max(high + room));
        axis.between(low, high)
    };
    if loads.len() <= MAX_TICKS {
        axis.with_ticks_at(&loads)
    } else {
        axis
    }
}

/// Every value and end of an interval of `curves`.
fn values<'a>(points: &'a [LoadPoint<'_>], curves: &'a [Curve]) -> impl Iterator<Item = f64> + 'a {
    points
        .iter()
        .flat_map(|point| [point.measured, point.simulated])
        .flatten()
        .flat_map(|summary| curves.iter().map(|curve| (curve.of)(summary)))
        .flat_map(|estimate| [estimate.value, estimate.low, estimate.high])
}

fn drawing(load: Load, points: &[LoadPoint<'_>]) -> Drawing {
    let unit = TimeUnit::of(range(values(points, &TIMES)).1);
    let scaled = values(points, &TIMES).map(|value| value * unit.per_second);
    let times = Axis::covering(scaled, Origin::Zero, 5.0);
    let rates_high = range(values(points, &[THROUGHPUT])).1;
    let rates = Axis::linear(0.0, rates_high, 4.0);
    let left = times.room_left().max(rates.room_left());
    let right = WIDTH - RIGHT;
    let legend = legend();
    let top = legend.height() + 8.0;
    let times = times.over(top + TIMES_HEIGHT, top);
    let rates_top = top + TIMES_HEIGHT + BETWEEN;
    let bottom = rates_top + RATES_HEIGHT;
    let rates = rates.over(bottom, rates_top);
    let x = load_axis(points).over(left, right);

    let mut drawing = Drawing::new(bottom + Axis::ROOM_BELOW);
    legend.draw(&mut drawing);
    x.draw_level(&mut drawing, top, top + TIMES_HEIGHT, "");
    x.draw_level(&mut drawing, rates_top, bottom, load.title());
    let title = format!("End-to-end time ({})", unit.symbol);
    times.draw_upright(&mut drawing, left, right, &title);
    rates.draw_upright(&mut drawing, left, right, "Requests/s");
    let panel = Panel {
        x: &x,
        y: &times,
        per_unit: unit.per_second,
    };
    panel.draw(&mut drawing, &TIMES, points);
    let panel = Panel {
        x: &x,
        y: &rates,
        per_unit: 1.0,
    };
    panel.draw(&mut drawing, &[THROUGHPUT], points);
    drawing
}

struct Panel<'a> {
    x: &'a Axis,
    y: &'a Axis,
    /// Units of the upright axis in one of the summary's.
    per_unit: f64,
}

impl Panel<'_> {
    fn y(&self, value: f64) -> f64 {
        self.y.at(value * self.per_unit)
    }

    fn estimates<'a>(
        &'a self,
        curve: &'a Curve,
        points: &'a [LoadPoint<'_>],
        kind: RunKind,
    ) -> impl Iterator<Item = (f64, Estimate)> + 'a {
        points.iter().filter_map(move |point| {
            let summary = point.get(kind)?;
            Some((self.x.at(point.load), (curve.of)(summary)))
        })
    }

    /// Lines below whiskers below marks.
    fn draw(&self, drawing: &mut Drawing, curves: &[Curve], points: &[LoadPoint<'_>]) {
        for curve in curves {
            self.draw_simulated(drawing, curve, points);
        }
        for curve in curves {
            self.draw_whiskers(drawing, curve, points);
        }
        for curve in curves {
            self.draw_marks(drawing, curve, points);
        }
    }

    fn draw_simulated(&self, drawing: &mut Drawing, curve: &Curve, points: &[LoadPoint<'_>]) {
        let all: Vec<_> = self.estimates(curve, points, RunKind::Simulated).collect();
        if all
            .iter()
            .all(|(_, e)| e.low.is_finite() && e.high.is_finite())
            && all.len() > 1
        {
            let upper = all.iter().map(|(x, e)| (*x, self.y(e.high)));
            let lower = all.iter().rev().map(|(x, e)| (*x, self.y(e.low)));
            drawing.polygon(upper.chain(lower).collect(), curve.color, 0.22);
        }
        let line: Vec<Point> = all.iter().map(|(x, e)| (*x, self.y(e.value))).collect();
        if let [only] = line[..] {
            // A line of one point: a dash.
            drawing.line(
                &[(only.0 - 20.0, only.1), (only.0 + 20.0, only.1)],
                curve.color,
                LINE,
            );
        }
        drawing.dashed(&line, curve.color, LINE, curve.pattern);
    }

    fn draw_whiskers(&self, drawing: &mut Drawing, curve: &Curve, points: &[LoadPoint<'_>]) {
        for (x, estimate) in self.estimates(curve, points, RunKind::Measured) {
            if estimate.low.is_finite() && estimate.high.is_finite() {
                let (low, high) = (self.y(estimate.low), self.y(estimate.high));
                drawing.upright_whisker(x, low, high, curve.color);
            }
        }
    }

    fn draw_marks(&self, drawing: &mut Drawing, curve: &Curve, points: &[LoadPoint<'_>]) {
        let size = if curve.body == Body::Open {
            OPEN_MARK
        } else {
            MARK
        };
        for (x, estimate) in self.estimates(curve, points, RunKind::Measured) {
            let at = (x, self.y(estimate.value));
            drawing.mark(curve.mark, at, size, curve.color, curve.body);
        }
    }
}

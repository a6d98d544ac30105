//! Scenarios side by side against what is varied: a line each.

use schema::csv::Csv;
use schema::run::Run;
use schema::summary::counted;

use crate::axis::{Axis, Origin, range};
use crate::drawing::{Body, Drawing, WIDTH};
use crate::error::{PlotError, finite};
use crate::figure::Figure;
use crate::format::TimeUnit;
use crate::legend::{Key, Legend};
use crate::palette::{Series, WHITE, series};

const HEIGHT: f64 = 520.0;
const RIGHT: f64 = 40.0;
const LINE: f64 = 5.0;

/// What is varied, and what is drawn against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Curves {
    /// Mean end-to-end time in seconds against the size of a request in bytes.
    TimeBySize,
    /// Payload of requests in bytes per second against the number of clients.
    GoodputByClients,
}

impl Curves {
    const fn caption(self) -> &'static str {
        match self {
            Curves::TimeBySize => "Mean end-to-end time against the size of a request.",
            Curves::GoodputByClients => {
                "Payload of requests per second against the number of clients."
            }
        }
    }

    const fn columns(self) -> [&'static str; 3] {
        match self {
            Curves::TimeBySize => ["scenario", "payload_bytes", "mean_s"],
            Curves::GoodputByClients => ["scenario", "clients", "goodput_bytes_per_s"],
        }
    }

    /// Title of the level axis, and what a unit of it is.
    const fn level(self) -> (&'static str, f64) {
        match self {
            Curves::TimeBySize => ("Size of a request (kB)", 1e3),
            Curves::GoodputByClients => ("Number of clients", 1.0),
        }
    }

    /// Title of the upright axis, and how many of its units there are in one of the values.
    fn upright(self, largest: f64) -> (String, f64) {
        match self {
            Curves::TimeBySize => {
                let unit = TimeUnit::of(largest);
                (
                    format!("Mean end-to-end time ({})", unit.symbol),
                    unit.per_second,
                )
            }
            Curves::GoodputByClients => ("Goodput (Gbit/s)".to_owned(), 8e-9),
        }
    }
}

/// A line: its name, and values against what is varied, in ascending order of that.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// Its name.
    pub label: String,
    /// What is varied, and the value.
    pub points: Vec<(f64, f64)>,
}

/// Mean end-to-end time of each class of `run`, in seconds, by the size of its requests in bytes.
pub fn time_by_size(run: &Run) -> Vec<(f64, f64)> {
    let requests = counted(run);
    let classes = run.scenario.classes.iter().filter_map(|(id, class)| {
        let of_class = requests.iter().filter(|request| request.class == id);
        let times: Vec<f64> = of_class.map(|request| request.end_to_end_s()).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        (!times.is_empty()).then_some((class.payload.0 as f64, mean))
    });
    let mut points: Vec<(f64, f64)> = classes.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Number of clients of `run`, and payload of its requests in bytes per second: of those that count,
/// from when the first was to be sent to when the last had its reply, over all replications.
pub fn goodput_by_clients(run: &Run) -> (f64, f64) {
    let requests = counted(run);
    let bytes = requests
        .iter()
        .map(|request| run.scenario.classes[request.class].payload.0 as f64);
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for request in &requests {
        let index = request.replication as usize;
        if spans.len() <= index {
            spans.resize(index + 1, (u64::MAX, 0));
        }
        let (from, until) = spans[index];
        spans[index] = (from.min(request.ready_ns), until.max(request.end_ns));
    }
    let length = |(from, until): &(u64, u64)| until.saturating_sub(*from) as f64 / 1e9;
    let seconds: f64 = spans.iter().map(length).sum();
    (
        run.scenario.clients.len() as f64,
        bytes.sum::<f64>() / seconds,
    )
}

/// Draws a line for each of `curves`. From a factor of 8 on, what is varied is on a logarithmic axis;
/// from a decade on, so are the values.
///
/// # Errors
/// If there is no curve, a curve has no point, or a number is not finite.
pub fn draw(name: &str, kind: Curves, curves: &[Curve]) -> Result<Figure, PlotError> {
    let empty = |what: &str| PlotError::Empty {
        figure: name.to_owned(),
        what: what.to_owned(),
    };
    if curves.is_empty() {
        return Err(empty("scenario"));
    }
    let mut csv = Csv::new(&kind.columns());
    for curve in curves {
        if curve.points.is_empty() {
            return Err(empty(&format!("point of `{}`", curve.label)));
        }
        for (at, value) in &curve.points {
            finite(name, &curve.label, "what is varied", *at)?;
            finite(name, &curve.label, "a value", *value)?;
            csv.row(&[&curve.label, at, value]);
        }
    }
    Ok(Figure {
        name: name.to_owned(),
        caption: kind.caption().to_owned(),
        csv: csv.finish(),
        drawing: drawing(kind, curves),
    })
}

fn level_axis(values: &[f64]) -> Axis {
    let (low, high) = range(values.iter().copied());
    if low > 0.0 && high / low >= 8.0 {
        Axis::log(low, high).with_ticks_at(values)
    } else {
        Axis::linear(low, high, 6.0)
    }
}

fn drawing(kind: Curves, curves: &[Curve]) -> Drawing {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (title, unit) = kind.level();
    let mut levels: Vec<f64> = points().map(|(at, _)| at / unit).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let largest = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let (upright, per_value) = kind.upright(largest);
    let y = Axis::covering(
        points().map(|(_, value)| value * per_value),
        Origin::Zero,
        5.0,
    );
    let mut legend = Legend::default();
    for (index, curve) in curves.iter().enumerate() {
        let Series { color, mark } = series(index);
        let key = Key::Line {
            color,
            width: LINE,
            pattern: &[],
            mark: Some((mark, Body::Solid)),
        };
        legend.add(key, curve.label.as_str());
    }
    let (left, top) = (y.room_left(), legend.height() + 8.0);
    let bottom = top + HEIGHT;
    let x = level_axis(&levels).over(left, WIDTH - RIGHT);
    let y = y.over(bottom, top);
    let mut drawing = Drawing::new(bottom + Axis::ROOM_BELOW);
    legend.draw(&mut drawing);
    x.draw_level(&mut drawing, top, bottom, title);
    y.draw_upright(&mut drawing, left, WIDTH - RIGHT, &upright);
    let place = |(at, value): &(f64, f64)| (x.at(at / unit), y.at(value * per_value));
    for (index, curve) in curves.iter().enumerate() {
        let Series { color, mark } = series(index);
        let line: Vec<_> = curve.points.iter().map(place).collect();
        drawing.line(&line, color, LINE);
        for at in line {
            drawing.mark(mark, at, 30.0, WHITE, Body::Solid);
            drawing.mark(mark, at, 23.0, color, Body::Solid);
        }
    }
    drawing
}

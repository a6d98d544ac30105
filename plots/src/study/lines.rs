//! Panels of lines with intervals over the levels of one factor.

use schema::stats::Estimate;
use schema::study::Factor;

use crate::axis::{Axis, Origin, range};
use crate::drawing::{
    Anchor, Body, Drawing, NORMAL, Point, SMALL, Text, Turn, WIDTH, Weight, fit, text_width,
};
use crate::legend::{Key, Legend};
use crate::palette::{GREY, GRID, INK, Series, WHITE, series};

const HEIGHT: f64 = 460.0;
const BETWEEN: f64 = 30.0;
const RIGHT: f64 = 40.0;
const LINE: f64 = 5.0;
/// From a factor of this on, numbers are on a logarithmic axis.
const MANY_TIMES: f64 = 8.0;
/// Most room for labels that stand upright.
const UPRIGHT: f64 = 260.0;

/// One line.
pub(super) struct Line {
    pub(super) label: String,
    /// Which look it has.
    pub(super) series: usize,
    /// The level along the axis, in order, and what was found there.
    pub(super) points: Vec<(usize, Estimate)>,
}

/// Lines over one axis.
pub(super) struct Panel<'a> {
    pub(super) title: String,
    /// Units of the axis in one of the values'.
    pub(super) scale: f64,
    pub(super) lines: &'a [Line],
    /// Whether values may be below zero, and zero is to be seen.
    pub(super) is_signed: bool,
}

/// The largest size of a value.
pub(super) fn largest(lines: &[Line]) -> f64 {
    let points = lines.iter().flat_map(|line| &line.points);
    points.map(|(_, e)| e.value.abs()).fold(0.0, f64::max)
}

/// Draws the panels below each other over the levels of `x`.
pub(super) fn drawing(x: &Factor, panels: &[Panel<'_>]) -> Drawing {
    let mut legend = Legend::default();
    for line in panels[0].lines {
        let Series { color, mark } = series(line.series);
        let key = Key::Line {
            color,
            width: LINE,
            pattern: &[],
            mark: Some((mark, Body::Solid)),
        };
        legend.add(key, line.label.as_str());
    }
    let uprights: Vec<Axis> = panels.iter().map(Panel::axis).collect();
    let left = uprights.iter().map(Axis::room_left).fold(0.0, f64::max);
    let right = WIDTH - RIGHT;
    let places = Places::of(x, left, right);
    let top = legend.height() + 8.0;
    let n = panels.len() as f64;
    let bottom = top + n * HEIGHT + (n - 1.0) * BETWEEN;
    let mut drawing = Drawing::new(bottom + places.room_below());
    legend.draw(&mut drawing);
    for (index, (panel, upright)) in panels.iter().zip(uprights).enumerate() {
        let top = top + index as f64 * (HEIGHT + BETWEEN);
        let upright = upright.over(top + HEIGHT, top);
        let is_last = index + 1 == panels.len();
        places.draw(&mut drawing, (top, top + HEIGHT), is_last);
        upright.draw_upright(&mut drawing, left, right, &panel.title);
        if panel.is_signed {
            let zero = upright.at(0.0);
            drawing.line(&[(left, zero), (right, zero)], GREY, 3.0);
        }
        panel.draw(&mut drawing, &places, &upright);
    }
    drawing
}

impl Panel<'_> {
    fn axis(&self) -> Axis {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let values = points.flat_map(|(_, e)| [e.value, e.low, e.high]);
        let values = values.map(|value| value * self.scale);
        if self.is_signed {
            let (low, high) = range(values);
            Axis::linear(low.min(0.0), high.max(0.0), 5.0)
        } else {
            Axis::covering(values, Origin::Zero, 5.0)
        }
    }

    fn draw(&self, drawing: &mut Drawing, places: &Places<'_>, upright: &Axis) {
        let n = self.lines.len() as f64;
        // Lines side by side, so that intervals do not hide each other.
        let aside = |index: usize| (index as f64 - (n - 1.0) / 2.0) * places.aside.min(26.0);
        for (index, line) in self.lines.iter().enumerate() {
            let Series { color, .. } = series(line.series);
            for (level, e) in &line.points {
                if e.low.is_finite() && e.high.is_finite() {
                    let x = places.at(*level) + aside(index);
                    let ends = [e.low, e.high].map(|end| upright.at(end * self.scale));
                    drawing.upright_whisker(x, ends[0], ends[1], color);
                }
            }
        }
        for (index, line) in self.lines.iter().enumerate() {
            let Series { color, mark } = series(line.series);
            let points = line.points.iter().map(|(level, e)| {
                let x = places.at(*level) + aside(index);
                (x, upright.at(e.value * self.scale))
            });
            let points: Vec<Point> = points.collect();
            if places.is_numeric() {
                drawing.line(&points, color, LINE);
            }
            for at in points {
                drawing.mark(mark, at, 28.0, WHITE, Body::Solid);
                drawing.mark(mark, at, 22.0, color, Body::Solid);
            }
        }
    }
}

/// Where the levels of a factor are.
struct Places<'a> {
    factor: &'a Factor,
    at: Vec<f64>,
    /// How far lines stand apart.
    aside: f64,
    /// The axis, if all levels are numbers.
    axis: Option<Axis>,
    /// Length of labels that do not fit side by side.
    upright: Option<f64>,
    span: (f64, f64),
}

impl<'a> Places<'a> {
    fn of(factor: &'a Factor, left: f64, right: f64) -> Places<'a> {
        let labels = || factor.levels.iter().map(|level| level.label.as_str());
        let numbers: Option<Vec<f64>> = labels().map(|label| label.parse().ok()).collect();
        if let Some(numbers) = numbers {
            let (low, high) = range(numbers.iter().copied());
            let axis = if low > 0.0 && high / low >= MANY_TIMES {
                Axis::log(low, high).with_ticks_at(&numbers)
            } else {
                let room = 0.06 * (high - low).max(1.0);
                let axis = Axis::linear(low, high, 6.0).with_ticks_at(&numbers);
                axis.between(low - room, high + room)
            };
            let axis = axis.over(left, right);
            return Places {
                factor,
                at: numbers.iter().map(|number| axis.at(*number)).collect(),
                aside: 9.0,
                axis: Some(axis),
                upright: None,
                span: (left, right),
            };
        }
        let slot = (right - left) / factor.levels.len() as f64;
        let widths = labels().map(|label| text_width(label, SMALL, Weight::Normal));
        let widest = widths.fold(0.0, f64::max);
        Places {
            factor,
            at: (0..factor.levels.len())
                .map(|index| left + (index as f64 + 0.5) * slot)
                .collect(),
            aside: slot / 6.0,
            axis: None,
            upright: (widest > slot - 8.0).then(|| widest.min(UPRIGHT)),
            span: (left, right),
        }
    }

    fn at(&self, level: usize) -> f64 {
        self.at[level]
    }

    fn is_numeric(&self) -> bool {
        self.axis.is_some()
    }

    fn room_below(&self) -> f64 {
        self.upright
            .map_or(Axis::ROOM_BELOW, |length| length + 80.0)
    }

    /// The axis at the bottom of a panel, with labels below the last one.
    fn draw(&self, drawing: &mut Drawing, (top, bottom): (f64, f64), is_last: bool) {
        let title = title(&self.factor.name);
        if let Some(axis) = &self.axis {
            axis.draw_level(drawing, top, bottom, if is_last { &title } else { "" });
            return;
        }
        drawing.line(&[(self.span.0, bottom), (self.span.1, bottom)], INK, 3.0);
        for (at, level) in self.at.iter().zip(&self.factor.levels) {
            drawing.line(&[(*at, top), (*at, bottom)], GRID, 2.0);
            if !is_last {
                continue;
            }
            match self.upright {
                None => {
                    let place = (*at, bottom + 15.0 + 0.76 * SMALL);
                    drawing.label(&level.label, place, SMALL, Anchor::Middle);
                }
                Some(length) => {
                    let text = fit(&level.label, SMALL, Weight::Normal, length);
                    drawing.text(Text {
                        text: &text,
                        at: (*at + 0.36 * SMALL, bottom + 12.0),
                        em: SMALL,
                        anchor: Anchor::End,
                        weight: Weight::Normal,
                        turn: Turn::Upwards,
                    });
                }
            }
        }
        if is_last {
            let below = self.room_below() - 12.0;
            let at = ((self.span.0 + self.span.1) / 2.0, bottom + below);
            drawing.label(&title, at, NORMAL, Anchor::Middle);
        }
    }
}

/// The name of a factor as the title of an axis.
pub(super) fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

//! Legends, above the data.

use plotters::style::RGBColor;

use crate::drawing::{Anchor, Area, Body, Drawing, SMALL, WIDTH, Weight, fit, text_width};
use crate::palette::{Fill, Hatch, INK, Mark};

/// Height of a row.
const ROW: f64 = 42.0;
/// Width of a key.
const KEY: f64 = 52.0;
/// From a key to its text.
const GAP: f64 = 9.0;
/// From a text to the next key.
const COLUMN_GAP: f64 = 22.0;
/// From the edges of the figure.
const MARGIN: f64 = 12.0;

/// What an entry shows of the data.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Key {
    /// An area.
    Swatch(Fill),
    /// Areas of several colours that take turns.
    Turns([RGBColor; 4]),
    /// A band behind the data.
    Band(RGBColor),
    /// A line and a mark on it.
    Line {
        color: RGBColor,
        width: f64,
        pattern: &'static [f64],
        mark: Option<(Mark, Body)>,
    },
    /// A mark, with a whisker if it is measured.
    Mark(Mark, RGBColor, Body),
    /// A mark on a level whisker, as a mean with its interval.
    Interval(Mark, RGBColor),
}

/// A legend under construction.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Legend {
    entries: Vec<(Key, String)>,
}

impl Legend {
    /// Appends an entry.
    pub(crate) fn add(&mut self, key: Key, text: impl Into<String>) {
        self.entries.push((key, text.into()));
    }

    /// Where each column begins, with as many columns as fit.
    fn columns(&self) -> Vec<f64> {
        let room = WIDTH - 2.0 * MARGIN;
        let widths: Vec<f64> = self
            .entries
            .iter()
            .map(|(_, text)| KEY + GAP + text_width(text, SMALL, Weight::Normal))
            .collect();
        let columns = |n: usize| {
            let (mut starts, mut x) = (Vec::new(), 0.0);
            for column in 0..n {
                starts.push(MARGIN + x);
                let widths = widths.iter().skip(column).step_by(n);
                x += widths.copied().fold(0.0, f64::max) + COLUMN_GAP;
            }
            (x - COLUMN_GAP <= room).then_some(starts)
        };
        let fitting = (2..=self.entries.len()).rev().find_map(columns);
        let Some(starts) = fitting else {
            return vec![MARGIN];
        };
        // No more columns than the rows need.
        let n_rows = self.entries.len().div_ceil(starts.len());
        columns(self.entries.len().div_ceil(n_rows)).unwrap_or(starts)
    }

    /// Height that [`Legend::draw`] takes.
    pub(crate) fn height(&self) -> f64 {
        self.entries.len().div_ceil(self.columns().len()) as f64 * ROW + 12.0
    }

    /// Draws the entries at the top of the figure, row by row.
    pub(crate) fn draw(&self, drawing: &mut Drawing) {
        let columns = self.columns();
        for (index, (key, text)) in self.entries.iter().enumerate() {
            let x = columns[index % columns.len()];
            let y = 8.0 + (index / columns.len()) as f64 * ROW + ROW / 2.0;
            key.draw(drawing, x, y);
            let room = WIDTH - 2.0 * MARGIN - KEY - GAP;
            let text = fit(text, SMALL, Weight::Normal, room);
            let at = (x + KEY + GAP, y + 0.36 * SMALL);
            drawing.label(&text, at, SMALL, Anchor::Start);
        }
    }
}

impl Key {
    fn draw(&self, drawing: &mut Drawing, x: f64, y: f64) {
        let middle = (x + KEY / 2.0, y);
        let area = Area {
            left: x,
            top: y - 13.0,
            right: x + KEY,
            bottom: y + 13.0,
        };
        match self {
            Key::Swatch(fill) => {
                drawing.fill(area, *fill);
                drawing.border(area, INK, 2.0);
            }
            Key::Turns(colors) => {
                let width = KEY / colors.len() as f64;
                for (color, left) in colors.iter().zip((0..).map(|i| x + f64::from(i) * width)) {
                    let right = left + width;
                    let part = Area {
                        left,
                        right,
                        ..area
                    };
                    let hatch = Hatch::Plain;
                    let color = *color;
                    drawing.fill(part, Fill { color, hatch });
                    drawing.border(part, INK, 2.0);
                }
            }
            Key::Band(color) => {
                let corners = [
                    (area.left, area.top),
                    (area.right, area.top),
                    (area.right, area.bottom),
                    (area.left, area.bottom),
                ];
                drawing.polygon(corners.to_vec(), *color, 1.0);
            }
            Key::Line {
                color,
                width,
                pattern,
                mark,
            } => {
                drawing.dashed(&[(x, y), (x + KEY, y)], *color, *width, pattern);
                if let Some((mark, body)) = mark {
                    drawing.mark(*mark, middle, 22.0, *color, *body);
                }
            }
            Key::Mark(mark, color, body) => drawing.mark(*mark, middle, 22.0, *color, *body),
            Key::Interval(mark, color) => {
                drawing.level_whisker(x + 6.0, x + KEY - 6.0, y, 8.0, 3.0);
                drawing.mark(*mark, middle, 18.0, *color, Body::Solid);
            }
        }
    }
}

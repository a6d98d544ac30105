//! Legends, above the data.

use plotters::style::RGBColor;

use crate::drawing::{Anchor, Area, Body, Drawing, SMALL, WIDTH, Weight, fit, text_width};
use crate::palette::{Fill, INK, Mark};

/// Height of a row.
const ROW: f64 = 42.0;
/// Width of a key.
const KEY: f64 = 58.0;
/// From a key to its text.
const GAP: f64 = 10.0;
/// From a text to the next key.
const COLUMN_GAP: f64 = 26.0;
/// From the edges of the figure.
const MARGIN: f64 = 14.0;

/// What an entry shows of the data.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Key {
    /// An area.
    Swatch(Fill),
    /// A band behind the data.
    Band(RGBColor),
    /// A line and a mark on it.
    Line {
        color: RGBColor,
        width: f64,
        pattern: &'static [f64],
        mark: Option<Mark>,
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

    /// Widest text, and the number of columns that leaves room for.
    fn columns(&self) -> (f64, usize) {
        let widths = self
            .entries
            .iter()
            .map(|(_, text)| text_width(text, SMALL, Weight::Normal));
        let room = WIDTH - 2.0 * MARGIN;
        let widest = widths.fold(0.0, f64::max).min(room - KEY - GAP);
        let n = (room + COLUMN_GAP) / (KEY + GAP + widest + COLUMN_GAP);
        (widest, (n as usize).clamp(1, self.entries.len().max(1)))
    }

    /// Height that [`Legend::draw`] takes.
    pub(crate) fn height(&self) -> f64 {
        let (_, n_columns) = self.columns();
        self.entries.len().div_ceil(n_columns) as f64 * ROW + 12.0
    }

    /// Draws the entries at the top of the figure, column by column in the order of reading.
    pub(crate) fn draw(&self, drawing: &mut Drawing) {
        let (widest, most) = self.columns();
        // As many rows as needed, then no more columns than they need.
        let n_rows = self.entries.len().div_ceil(most);
        let n_columns = self.entries.len().div_ceil(n_rows);
        let pitch = (WIDTH - 2.0 * MARGIN + COLUMN_GAP) / n_columns as f64;
        let pitch = pitch.min(KEY + GAP + widest + 3.0 * COLUMN_GAP);
        for (index, (key, text)) in self.entries.iter().enumerate() {
            let x = MARGIN + (index % n_columns) as f64 * pitch;
            let y = 8.0 + (index / n_columns) as f64 * ROW + ROW / 2.0;
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
                if let Some(mark) = mark {
                    drawing.mark(*mark, middle, 22.0, *color, Body::Solid);
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

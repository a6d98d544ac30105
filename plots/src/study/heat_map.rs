//! A metric by two factors, as a table of coloured cells.

use plotters::style::RGBColor;
use schema::stats::Estimate;
use schema::study::Factor;

use crate::axis::range;
use crate::drawing::{
    Anchor, Area, Drawing, NORMAL, SMALL, Text, Turn, WIDTH, Weight, fit, text_width,
};
use crate::format::significant;
use crate::palette::{Fill, Hatch, ORANGE, SKY, WHITE, lighter};

use super::lines::title;

const ROW: f64 = 108.0;
const RIGHT: f64 = 12.0;
/// Room for the name of the row's factor.
const NAME: f64 = 46.0;
/// Most room for the labels of rows.
const LABELS: f64 = 300.0;

/// One cell.
pub(super) struct Cell {
    pub(super) column: usize,
    pub(super) row: usize,
    pub(super) estimate: Estimate,
}

/// A table of cells.
pub(super) struct HeatMap<'a> {
    pub(super) x: &'a Factor,
    pub(super) y: &'a Factor,
    /// Units in one of the values'.
    pub(super) scale: f64,
    pub(super) unit: &'static str,
    /// Whether colours tell what is below zero from what is above.
    pub(super) is_signed: bool,
    pub(super) cells: &'a [Cell],
}

impl HeatMap<'_> {
    /// Each cell has its value, and its interval below.
    pub(super) fn drawing(&self) -> Drawing {
        let widths =
            (self.y.levels.iter()).map(|level| text_width(&level.label, SMALL, Weight::Normal));
        let labels = widths.fold(0.0, f64::max).min(LABELS);
        let left = NAME + labels + 14.0;
        let column = (WIDTH - RIGHT - left) / self.x.levels.len() as f64;
        let top = 12.0;
        let bottom = top + ROW * self.y.levels.len() as f64;
        let mut drawing = Drawing::new(bottom + 90.0);
        for (index, level) in self.y.levels.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW + 0.36 * SMALL;
            let text = fit(&level.label, SMALL, Weight::Normal, labels);
            drawing.label(&text, (left - 12.0, y), SMALL, Anchor::End);
        }
        for (index, level) in self.x.levels.iter().enumerate() {
            let x = left + (index as f64 + 0.5) * column;
            let text = fit(&level.label, SMALL, Weight::Normal, column - 6.0);
            let at = (x, bottom + 12.0 + 0.76 * SMALL);
            drawing.label(&text, at, SMALL, Anchor::Middle);
        }
        for cell in self.cells {
            let area = Area {
                left: left + cell.column as f64 * column,
                right: left + (cell.column as f64 + 1.0) * column,
                top: top + cell.row as f64 * ROW,
                bottom: top + (cell.row as f64 + 1.0) * ROW,
            };
            self.draw_cell(&mut drawing, area, cell.estimate);
        }
        let middle = f64::midpoint(left, WIDTH - RIGHT);
        let name = format!("{} (cells: {})", title(&self.x.name), self.unit);
        drawing.label(&name, (middle, bottom + 78.0), NORMAL, Anchor::Middle);
        drawing.text(Text {
            text: &title(&self.y.name),
            at: (4.0 + 0.8 * NORMAL, f64::midpoint(top, bottom)),
            em: NORMAL,
            anchor: Anchor::Middle,
            weight: Weight::Normal,
            turn: Turn::Upwards,
        });
        drawing
    }

    fn draw_cell(&self, drawing: &mut Drawing, area: Area, estimate: Estimate) {
        let fill = Fill {
            color: self.color(estimate.value),
            hatch: Hatch::Plain,
        };
        drawing.fill(area, fill);
        drawing.border(area, WHITE, 4.0);
        let x = f64::midpoint(area.left, area.right);
        let room = area.right - area.left - 4.0;
        let value = significant(round(estimate.value * self.scale));
        drawing.text(Text {
            text: &fit(&value, NORMAL, Weight::Bold, room),
            at: (x, area.top + 40.0),
            em: NORMAL,
            anchor: Anchor::Middle,
            weight: Weight::Bold,
            turn: Turn::Level,
        });
        if estimate.low.is_finite() && estimate.high.is_finite() {
            let [low, high] = [estimate.low, estimate.high].map(|e| round(e * self.scale));
            let (low, high) = (short(low), short(high));
            let whole = format!("{low}…{high}");
            // What does not fit has a line for each end.
            let lines = if fit(&whole, SMALL, Weight::Normal, room) == whole {
                vec![whole]
            } else {
                vec![format!("{low}…"), high]
            };
            for (line, y) in lines.iter().zip([72.0, 96.0]) {
                let text = fit(line, SMALL, Weight::Normal, room);
                drawing.label(&text, (x, area.top + y), SMALL, Anchor::Middle);
            }
        }
    }

    /// The stronger the further from zero, or from the least value.
    fn color(&self, value: f64) -> RGBColor {
        let (low, high) = range(self.cells.iter().map(|cell| cell.estimate.value));
        let (share, color) = if self.is_signed {
            let most = low.abs().max(high.abs());
            (value.abs() / most, if value < 0.0 { ORANGE } else { SKY })
        } else if high > low {
            ((value - low) / (high - low), SKY)
        } else {
            (0.0, SKY)
        };
        let share = if share.is_finite() { share } else { 0.0 };
        lighter(color, 1.0 - 0.9 * share - 0.05)
    }
}

/// To two digits after the point, so that nothing is written as minus zero.
fn round(value: f64) -> f64 {
    (100.0 * value).round() / 100.0 + 0.0
}

/// Two digits or more before the point as they are, others with one after it.
fn short(value: f64) -> String {
    let text = if value.abs() >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    };
    text.replace('-', "−")
}

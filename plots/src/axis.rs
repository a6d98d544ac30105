//! Axes: which values they cover, where their ticks are, and how they look.

use crate::drawing::{
    Anchor, Drawing, NORMAL, Point, SMALL, Text, Turn, WIDTH, Weight, text_width,
};
use crate::format;
use crate::palette::{GRID, INK};

/// From here on the range of positive values wants a logarithmic axis.
const DECADE: f64 = 10.0;

/// How values spread over an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// A place with a line on an axis.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    /// Empty for a minor tick.
    pub(crate) label: String,
}

/// An axis from `low` to `high`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<Tick>,
    /// Where `low` and `high` are.
    span: (f64, f64),
}

impl Axis {
    /// A linear axis widened to whole steps, with about `n_steps` of them.
    pub(crate) fn linear(low: f64, high: f64, n_steps: f64) -> Axis {
        let high = if high > low {
            high
        } else {
            low + low.abs().max(1.0)
        };
        let step = nice_step((high - low) / n_steps);
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil();
        let n = (last - first).round() as i32;
        let ticks = (0..=n).map(|i| {
            let value = (first + f64::from(i)) * step;
            Tick {
                value,
                label: format::tick(value, step),
            }
        });
        Axis {
            scale: Scale::Linear,
            low: first * step,
            high: last * step,
            ticks: ticks.collect(),
            span: (0.0, 1.0),
        }
    }

    /// A logarithmic axis from `low` to `high`, both positive, with a little room at the ends.
    pub(crate) fn log(low: f64, high: f64) -> Axis {
        let room = (high / low).powf(0.03);
        let (low, high) = (low / room, high * room);
        let labelled: &[i32] = if (high / low).log10() <= 2.5 {
            &[1, 2, 5]
        } else {
            &[1]
        };
        let mut ticks = Vec::new();
        for exponent in low.log10().floor() as i32..=high.log10().ceil() as i32 {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                if (low..=high).contains(&value) {
                    let label = if labelled.contains(&digit) {
                        format::tick(value, 10f64.powi(exponent).min(1.0))
                    } else {
                        String::new()
                    };
                    ticks.push(Tick { value, label });
                }
            }
        }
        Axis {
            scale: Scale::Log,
            low,
            high,
            ticks,
            span: (0.0, 1.0),
        }
    }

    /// A logarithmic axis if all values are positive and span more than a decade, else a linear
    /// one from zero if `from_zero`.
    pub(crate) fn covering(values: impl Iterator<Item = f64>, origin: Origin, n: f64) -> Axis {
        let (low, high) = range(values);
        if low > 0.0 && high / low > DECADE {
            return Axis::log(low, high);
        }
        let low = match origin {
            Origin::Zero => low.min(0.0),
            Origin::Data => low,
        };
        Axis::linear(low, high, n)
    }

    /// The same axis with a tick at each of `values`, and these only.
    pub(crate) fn with_ticks_at(self, values: &[f64]) -> Axis {
        let label = |value: f64| {
            if value.fract() == 0.0 {
                value.to_string()
            } else {
                format::significant(value)
            }
        };
        let ticks = values.iter().map(|value| Tick {
            value: *value,
            label: label(*value),
        });
        Axis {
            ticks: ticks.collect(),
            ..self
        }
    }

    /// The same axis from `low` to `high`, with the same ticks.
    pub(crate) fn between(self, low: f64, high: f64) -> Axis {
        Axis { low, high, ..self }
    }

    /// The same axis, drawn from `first` to `last`.
    pub(crate) fn over(self, first: f64, last: f64) -> Axis {
        Axis {
            span: (first, last),
            ..self
        }
    }

    /// Where `value` is; values outside are moved to the nearer end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => {
                (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
            }
        };
        self.span.0 + share.clamp(0.0, 1.0) * (self.span.1 - self.span.0)
    }

    /// Width of the widest label.
    pub(crate) fn label_width(&self) -> f64 {
        let widths = self
            .ticks
            .iter()
            .map(|tick| text_width(&tick.label, SMALL, Weight::Normal));
        widths.fold(0.0, f64::max)
    }

    /// Room that a level axis with a title takes below its line.
    pub(crate) const ROOM_BELOW: f64 = 90.0;

    /// Draws a level axis at `bottom` with grid lines up to `top`.
    pub(crate) fn draw_level(&self, drawing: &mut Drawing, top: f64, bottom: f64, title: &str) {
        let mut free_from = 0.0;
        for tick in &self.ticks {
            let x = self.at(tick.value);
            let major = !tick.label.is_empty();
            if major {
                drawing.line(&[(x, top), (x, bottom)], GRID, 2.0);
            }
            let length = if major { 9.0 } else { 5.0 };
            drawing.line(&[(x, bottom), (x, bottom + length)], INK, 2.0);
            let width = text_width(&tick.label, SMALL, Weight::Normal);
            let middle = x.clamp(4.0 + width / 2.0, WIDTH - 4.0 - width / 2.0);
            if major && !title.is_empty() && middle - width / 2.0 >= free_from {
                let at = (middle, bottom + 15.0 + 0.76 * SMALL);
                drawing.label(&tick.label, at, SMALL, Anchor::Middle);
                free_from = middle + width / 2.0 + 8.0;
            }
        }
        drawing.line(&[(self.span.0, bottom), (self.span.1, bottom)], INK, 3.0);
        let at = ((self.span.0 + self.span.1) / 2.0, bottom + 78.0);
        drawing.label(title, at, NORMAL, Anchor::Middle);
    }

    /// Room that an upright axis with a title takes left of its line.
    pub(crate) fn room_left(&self) -> f64 {
        self.label_width() + 16.0 + 10.0 + NORMAL + 6.0
    }

    /// Draws an upright axis at `left` with grid lines up to `right`.
    pub(crate) fn draw_upright(&self, drawing: &mut Drawing, left: f64, right: f64, title: &str) {
        for tick in &self.ticks {
            let y = self.at(tick.value);
            let major = !tick.label.is_empty();
            if major {
                // The other axis is where this one begins.
                if (y - self.span.0).abs() > 1.0 {
                    drawing.line(&[(left, y), (right, y)], GRID, 2.0);
                }
                let at = (left - 14.0, y + 0.36 * SMALL);
                drawing.label(&tick.label, at, SMALL, Anchor::End);
            }
            let length = if major { 9.0 } else { 5.0 };
            drawing.line(&[(left - length, y), (left, y)], INK, 2.0);
        }
        drawing.line(&[(left, self.span.0), (left, self.span.1)], INK, 3.0);
        let at: Point = (4.0 + 0.8 * NORMAL, (self.span.0 + self.span.1) / 2.0);
        drawing.text(Text {
            text: title,
            at,
            em: NORMAL,
            anchor: Anchor::Middle,
            weight: Weight::Normal,
            turn: Turn::Upwards,
        });
    }
}

/// Where a linear axis begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// At zero, so that heights compare.
    Zero,
    /// At the smallest value.
    Data,
}

/// Smallest and largest finite value; `(0, 1)` of none.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    finite
        .map(|value| (value, value))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        .unwrap_or((0.0, 1.0))
}

/// The least of 1, 2 and 5 times a power of ten that is at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|nice| *nice >= step * (1.0 - 1e-9))
        .expect("ten times the power is above the step")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        let labels = axis.ticks.iter().map(|tick| tick.label.as_str());
        labels.filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_cover_the_data() {
        let axis = Axis::linear(0.0, 43.0, 5.0);
        assert_eq!(labels(&axis), ["0", "10", "20", "30", "40", "50"]);
        let axis = Axis::linear(-0.07, 0.11, 5.0);
        assert_eq!(
            labels(&axis),
            ["−0.10", "−0.05", "0.00", "0.05", "0.10", "0.15"]
        );
    }

    #[test]
    fn log_ticks_are_labelled_at_1_2_and_5() {
        let axis = Axis::log(0.4, 12.0);
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5", "10"]);
        assert_eq!(
            labels(&Axis::log(0.01, 1000.0)),
            ["0.01", "0.1", "1", "10", "100", "1000"]
        );
    }

    #[test]
    fn the_range_decides_the_scale() {
        let scale = |values: [f64; 2]| Axis::covering(values.into_iter(), Origin::Zero, 5.0).scale;
        assert_eq!(scale([1.0, 9.0]), Scale::Linear);
        assert_eq!(scale([1.0, 11.0]), Scale::Log);
        assert_eq!(scale([0.0, 11.0]), Scale::Linear);
    }

    #[test]
    fn values_are_placed_by_scale() {
        let axis = Axis::linear(0.0, 10.0, 5.0).over(100.0, 200.0);
        assert!((axis.at(2.5) - 125.0).abs() < 1e-9);
        assert!((axis.at(99.0) - 200.0).abs() < 1e-9);
        let axis = Axis::log(1.0, 100.0).over(0.0, 1.0);
        assert!((axis.at(10.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn an_axis_of_one_value_has_a_length() {
        let axis = Axis::linear(3.0, 3.0, 5.0);
        assert!(axis.low <= 3.0 && axis.high > 3.0);
        assert!(axis.ticks.len() > 2);
    }
}

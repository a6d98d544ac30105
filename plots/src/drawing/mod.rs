//! A figure as a list of shapes, which both formats are made from.
//!
//! plotters has no grouped or stacked bars, no dashes and no hatching, so everything is laid out
//! here and given to its backends as lines, areas, discs and text. Lengths are in units of 1/300
//! inch: pixels of the PNG.

mod geometry;
mod paint;

use plotters::style::RGBColor;

use crate::font;
use crate::palette::{Fill, INK, Mark, WHITE};

use geometry::{Outline, dashes, hatching, outline};

/// Width of every figure: one column of a paper, 3.3 inches.
pub(crate) const WIDTH: f64 = 990.0;
/// Size of ticks and legends: 7.2 pt.
pub(crate) const SMALL: f64 = 30.0;
/// Size of the names of axes: 7.7 pt.
pub(crate) const NORMAL: f64 = 32.0;

/// A place, right and down from the upper left corner.
pub(crate) type Point = (f64, f64);

/// An upright rectangle.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

/// Which end of a text is at its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Weight of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weight {
    Normal,
    Bold,
}

/// Which way a text runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    Level,
    Upwards,
}

/// A text at the middle or an end of its baseline.
#[derive(Clone, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: Point,
    pub(crate) em: f64,
    pub(crate) anchor: Anchor,
    pub(crate) weight: Weight,
    pub(crate) turn: Turn,
}

/// Whether a mark is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    Solid,
    /// White.
    Hollow,
    /// What is below shows; a circle is as hollow.
    Open,
}

#[derive(Clone, Debug)]
enum Shape {
    Area {
        points: Vec<Point>,
        color: RGBColor,
        opacity: f64,
    },
    Line {
        points: Vec<Point>,
        color: RGBColor,
        width: f64,
    },
    Disc {
        center: Point,
        radius: f64,
        color: RGBColor,
    },
    Text {
        text: String,
        at: Point,
        em: f64,
        anchor: Anchor,
        weight: Weight,
        turn: Turn,
    },
}

/// A figure under construction; later shapes cover earlier ones.
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    height: f64,
    shapes: Vec<Shape>,
}

impl Drawing {
    /// An empty figure, `height` high.
    pub(crate) fn new(height: f64) -> Drawing {
        Drawing {
            height: height.ceil(),
            shapes: Vec::new(),
        }
    }

    /// A line through `points`.
    pub(crate) fn line(&mut self, points: &[Point], color: RGBColor, width: f64) {
        let mut kept: Vec<Point> = Vec::with_capacity(points.len());
        for point in points {
            let near = |last: &Point| (last.0 - point.0).hypot(last.1 - point.1) < 0.5;
            if !kept.last().is_some_and(near) {
                kept.push(*point);
            }
        }
        if kept.len() > 1 {
            self.shapes.push(Shape::Line {
                points: kept,
                color,
                width,
            });
        }
    }

    /// A line through `points` of alternating dashes and gaps with the lengths in `pattern`.
    pub(crate) fn dashed(
        &mut self,
        points: &[Point],
        color: RGBColor,
        width: f64,
        pattern: &[f64],
    ) {
        if pattern.is_empty() {
            return self.line(points, color, width);
        }
        for dash in dashes(points, pattern) {
            self.line(&dash, color, width);
        }
    }

    /// The polygon with the corners `points`.
    pub(crate) fn polygon(&mut self, points: Vec<Point>, color: RGBColor, opacity: f64) {
        self.shapes.push(Shape::Area {
            points,
            color,
            opacity,
        });
    }

    /// A filled rectangle.
    pub(crate) fn fill(&mut self, area: Area, fill: Fill) {
        self.polygon(area.corners().to_vec(), fill.color, 1.0);
        for line in hatching(area, fill.hatch) {
            self.line(&line, INK, 2.0);
        }
    }

    /// The border of a rectangle.
    pub(crate) fn border(&mut self, area: Area, color: RGBColor, width: f64) {
        let [a, b, c, d] = area.corners();
        self.line(&[a, b, c, d, a, b], color, width);
    }

    /// A mark of about `size` in diameter.
    pub(crate) fn mark(&mut self, mark: Mark, at: Point, size: f64, color: RGBColor, body: Body) {
        match (outline(mark, at, size), body) {
            (Outline::Strokes(strokes), _) => {
                for ends in strokes {
                    self.line(&ends, color, 6.0);
                }
            }
            (Outline::Closed(corners), Body::Solid) => self.polygon(corners, color, 1.0),
            (Outline::Closed(corners), Body::Hollow) => {
                let closed = [&corners[..], &corners[..2]].concat();
                self.polygon(corners, WHITE, 1.0);
                self.line(&closed, color, 4.0);
            }
            (Outline::Closed(mut corners), Body::Open) => {
                corners.extend_from_within(..2);
                self.line(&corners, color, 4.0);
            }
            (Outline::Round, Body::Solid) => self.disc(at, size / 2.0, color),
            (Outline::Round, Body::Hollow | Body::Open) => {
                self.disc(at, size / 2.0 + 2.0, color);
                self.disc(at, size / 2.0 - 2.0, WHITE);
            }
        }
    }

    fn disc(&mut self, center: Point, radius: f64, color: RGBColor) {
        self.shapes.push(Shape::Disc {
            center,
            radius,
            color,
        });
    }

    /// A level whisker from `low` to `high` with caps.
    pub(crate) fn level_whisker(&mut self, low: f64, high: f64, y: f64, cap: f64, width: f64) {
        self.line(&[(low, y), (high, y)], INK, width);
        for x in [low, high] {
            self.line(&[(x, y - cap), (x, y + cap)], INK, width);
        }
    }

    /// An upright whisker from `low` to `high` with caps.
    pub(crate) fn upright_whisker(&mut self, x: f64, low: f64, high: f64, color: RGBColor) {
        self.line(&[(x, low), (x, high)], color, 3.0);
        for y in [low, high] {
            self.line(&[(x - 7.0, y), (x + 7.0, y)], color, 3.0);
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, text: Text<'_>) {
        self.shapes.push(Shape::Text {
            text: text.text.to_owned(),
            at: text.at,
            em: text.em,
            anchor: text.anchor,
            weight: text.weight,
            turn: text.turn,
        });
    }

    /// A level text of normal weight.
    pub(crate) fn label(&mut self, text: &str, at: Point, em: f64, anchor: Anchor) {
        self.text(Text {
            text,
            at,
            em,
            anchor,
            weight: Weight::Normal,
            turn: Turn::Level,
        });
    }

    /// The texts that are not wholly inside the figure.
    #[cfg(test)]
    pub(crate) fn clipped(&self) -> Vec<&str> {
        let texts = self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text {
                text,
                at,
                em,
                anchor,
                weight,
                turn,
            } => {
                let width = text_width(text, *em, *weight);
                let before = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => width / 2.0,
                    Anchor::End => width,
                };
                let (start, end, limit, across) = match turn {
                    Turn::Level => (at.0 - before, at.0 - before + width, WIDTH, at.1),
                    Turn::Upwards => {
                        let top = at.1 - width + before;
                        (top, top + width, self.height, at.0)
                    }
                };
                let across_limit = match turn {
                    Turn::Level => self.height,
                    Turn::Upwards => WIDTH,
                };
                // Ascent and descent of what is drawn.
                let fits = start >= 0.0
                    && end <= limit
                    && across - 0.76 * em >= 0.0
                    && across + 0.24 * em <= across_limit;
                (!fits).then_some(text.as_str())
            }
            _ => None,
        });
        texts.collect()
    }
}

impl Area {
    /// Its corners, from the upper left one on.
    pub(crate) fn corners(self) -> [Point; 4] {
        [
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
        ]
    }
}

/// Width of `text` at the size `em`.
pub(crate) fn text_width(text: &str, em: f64, weight: Weight) -> f64 {
    let advances = text.chars().map(|c| font::glyph(weight, c).advance);
    em * advances.sum::<f64>()
}

/// `text`, cut with an ellipsis if it is wider than `width`.
pub(crate) fn fit(text: &str, em: f64, weight: Weight, width: f64) -> String {
    if text_width(text, em, weight) <= width {
        return text.to_owned();
    }
    let mut chars: Vec<char> = text.chars().collect();
    while chars.pop().is_some() {
        let cut: String = chars.iter().chain(&['…']).collect();
        if text_width(&cut, em, weight) <= width {
            return cut;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_too_wide_ends_with_an_ellipsis() {
        let cut = fit("a rather long name", SMALL, Weight::Normal, 100.0);
        assert!(cut.ends_with('…') && cut.len() > 5, "{cut}");
        assert!(text_width(&cut, SMALL, Weight::Normal) <= 100.0);
        assert_eq!(fit("short", SMALL, Weight::Normal, 100.0), "short");
    }
}

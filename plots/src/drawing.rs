//! A figure as a list of shapes, which both formats are made from.
//!
//! plotters has no grouped or stacked bars, no dashes and no hatching, so everything is laid out
//! here and given to its backends as lines, areas, discs and text. Lengths are in units of 1/300
//! inch: pixels of the PNG.

use std::path::Path;
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle,
    register_font,
};

use crate::font;
use crate::palette::{Fill, Hatch, INK, Mark, WHITE};

/// Width of every figure: one column of a paper, 3.3 inches.
pub(crate) const WIDTH: f64 = 990.0;
/// Size of ticks and legends: 7.2 pt.
pub(crate) const SMALL: f64 = 30.0;
/// Size of the names of axes: 7.7 pt.
pub(crate) const NORMAL: f64 = 32.0;

/// Units in a millimetre.
const UNITS_PER_MM: f64 = 300.0 / 25.4;
/// The embedded font, and for viewers of the SVG that lack it others that are no wider.
const FONT: &str = "DejaVu Sans Condensed, Liberation Sans, Helvetica, Arial, sans-serif";
/// Ascent and descent of the font over its em; plotters' bitmaps are sized by their sum.
const FONT_HEIGHT: f64 = 2384.0 / 2048.0;
/// The bitmap is drawn this many times larger and averaged down.
const OVERSAMPLING: usize = 3;
/// Distance between hatching lines.
const HATCH_PITCH: f64 = 11.0;

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
        for line in hatching(area) {
            let mirror = |(x, y): Point| (area.left + area.right - x, y);
            match fill.hatch {
                Hatch::Plain => {}
                Hatch::Rising => self.line(&line, INK, 2.0),
                Hatch::Falling => self.line(&line.map(mirror), INK, 2.0),
            }
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

    /// The figure as SVG that measures its true size and is called `title`.
    pub(crate) fn svg(&self, title: &str) -> String {
        let mut svg = String::new();
        let size = (WIDTH as u32, self.height as u32);
        {
            let mut backend = SVGBackend::with_string(&mut svg, size);
            let device = Device {
                scale: 1.0,
                // What plotters divides by for SVG, and where its `Top` puts the baseline.
                size_per_em: 1.24,
                baseline: 0.76,
                joints: Joints::Backend,
                letters: Letters::Backend,
            };
            self.paint(&mut backend, device)
                .and_then(|()| Ok(backend.present()?))
                .expect("the font is embedded and memory takes every shape");
        }
        let in_units = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
        let in_mm = format!(
            "width=\"{:.2}mm\" height=\"{:.2}mm\" role=\"img\"",
            WIDTH / UNITS_PER_MM,
            self.height / UNITS_PER_MM
        );
        let svg = svg.replacen(&in_units, &in_mm, 1);
        let title = crate::report::escape(title);
        svg.replacen('\n', &format!("\n<title>{title}</title>\n"), 1)
    }

    /// The figure as rows of RGB pixels.
    pub(crate) fn pixels(&self) -> Pixels {
        let (width, height) = (WIDTH as usize, self.height as usize);
        let (fine_width, fine_height) = (width * OVERSAMPLING, height * OVERSAMPLING);
        let mut fine = vec![255; 3 * fine_width * fine_height];
        {
            let size = (fine_width as u32, fine_height as u32);
            let mut backend = BitMapBackend::with_buffer(&mut fine, size);
            let scale = OVERSAMPLING as f64;
            let device = Device {
                scale,
                size_per_em: FONT_HEIGHT,
                baseline: FONT_HEIGHT / 2.0,
                joints: Joints::Own,
                letters: Letters::Own,
            };
            self.paint(&mut backend, device)
                .and_then(|()| Ok(backend.present()?))
                .expect("the font is embedded and memory takes every shape");
        }
        let mut sums = vec![0u32; 3 * width];
        let mut rgb = Vec::with_capacity(3 * width * height);
        for block in fine.chunks_exact(3 * fine_width * OVERSAMPLING) {
            sums.fill(0);
            for row in block.chunks_exact(3 * fine_width) {
                for (x, pixels) in row.chunks_exact(3 * OVERSAMPLING).enumerate() {
                    for pixel in pixels.chunks_exact(3) {
                        for (sum, value) in sums[3 * x..].iter_mut().zip(pixel) {
                            *sum += u32::from(*value);
                        }
                    }
                }
            }
            let n = (OVERSAMPLING * OVERSAMPLING) as u32;
            rgb.extend(sums.iter().map(|sum| ((sum + n / 2) / n) as u8));
        }
        Pixels {
            size: (width as u32, height as u32),
            rgb,
        }
    }

    fn paint<B: DrawingBackend>(
        &self,
        backend: &mut B,
        device: Device,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        B::ErrorType: 'static,
    {
        register_fonts();
        let page = Area {
            left: 0.0,
            top: 0.0,
            right: WIDTH,
            bottom: self.height,
        };
        let corners = page.corners().map(|p| device.place(p));
        backend.fill_polygon(corners, &WHITE.filled())?;
        for shape in &self.shapes {
            device.paint(backend, shape)?;
        }
        Ok(())
    }
}

impl Area {
    fn corners(self) -> [Point; 4] {
        [
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
        ]
    }
}

/// Rows of RGB pixels.
pub(crate) struct Pixels {
    size: (u32, u32),
    rgb: Vec<u8>,
}

impl Pixels {
    /// Writes them as PNG.
    pub(crate) fn save(&self, path: &Path) -> Result<(), std::io::Error> {
        let mut backend = BitMapBackend::new(path, self.size);
        backend
            .blit_bitmap((0, 0), self.size, &self.rgb)
            .and_then(|()| backend.present())
            .map_err(|error| std::io::Error::other(error.to_string()))
    }
}

/// Who joins the pieces of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joints {
    Backend,
    /// Each piece is drawn alone with discs between: the bitmap's own mitres grow spikes where
    /// points are close.
    Own,
}

/// Who places the letters of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    Backend,
    /// Each is drawn alone; see [`crate::font`].
    Own,
}

/// How lengths and text sizes of the list map to a backend's.
#[derive(Clone, Copy)]
struct Device {
    scale: f64,
    size_per_em: f64,
    /// From the place of a text to its baseline, over its em.
    baseline: f64,
    joints: Joints,
    letters: Letters,
}

impl Device {
    fn place(self, (x, y): Point) -> (i32, i32) {
        let unit = |v: f64| (v * self.scale).round() as i32;
        (unit(x), unit(y))
    }

    fn paint<B: DrawingBackend>(
        self,
        backend: &mut B,
        shape: &Shape,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        B::ErrorType: 'static,
    {
        match shape {
            Shape::Area {
                points,
                color,
                opacity,
            } => {
                let points: Vec<_> = points.iter().map(|p| self.place(*p)).collect();
                backend.fill_polygon(points, &color.mix(*opacity).filled())?;
            }
            Shape::Line {
                points,
                color,
                width,
            } => {
                let points: Vec<_> = points.iter().map(|p| self.place(*p)).collect();
                let width = width * self.scale;
                if self.joints == Joints::Backend {
                    backend.draw_path(points, &color.stroke_width(width.round() as u32))?;
                } else {
                    strokes(backend, &points, *color, width)?;
                }
            }
            Shape::Disc {
                center,
                radius,
                color,
            } => {
                let radius = (radius * self.scale).round() as u32;
                backend.draw_circle(self.place(*center), radius, &color.filled(), true)?;
            }
            Shape::Text {
                text,
                at,
                em,
                anchor,
                weight,
                turn,
            } => {
                let text = Text {
                    text,
                    at: *at,
                    em: *em,
                    anchor: *anchor,
                    weight: *weight,
                    turn: *turn,
                };
                self.paint_text(backend, &text)?;
            }
        }
        Ok(())
    }

    fn paint_text<B: DrawingBackend>(
        self,
        backend: &mut B,
        text: &Text<'_>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        B::ErrorType: 'static,
    {
        let (shift, transform) = match text.turn {
            Turn::Level => ((0.0, -self.baseline * text.em), FontTransform::None),
            Turn::Upwards => ((-self.baseline * text.em, 0.0), FontTransform::Rotate270),
        };
        let at = (text.at.0 + shift.0, text.at.1 + shift.1);
        let anchor = match (self.letters, text.anchor) {
            (Letters::Own, _) | (_, Anchor::Start) => HPos::Left,
            (_, Anchor::Middle) => HPos::Center,
            (_, Anchor::End) => HPos::Right,
        };
        let size = text.em * self.size_per_em * self.scale;
        let font = FontDesc::new(FontFamily::Name(FONT), size, text.weight.style());
        let style = TextStyle::from(font.transform(transform))
            .color(&INK)
            .pos(Pos::new(anchor, VPos::Top));
        if self.letters == Letters::Backend {
            backend.draw_text(text.text, &style, self.place(at))?;
            return Ok(());
        }
        let em = text.em * self.scale;
        let width = text_width(text.text, em, text.weight);
        let mut pen = match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let (x, y) = self.place(at);
        let mut letter = [0; 4];
        for c in text.text.chars() {
            let glyph = font::glyph(text.weight, c);
            let along = pen.round() as i32 + (em * glyph.bearing).floor() as i32;
            let place = match text.turn {
                Turn::Level => (x + along, y),
                Turn::Upwards => (x, y - along),
            };
            backend.draw_text(c.encode_utf8(&mut letter), &style, place)?;
            pen += em * glyph.advance;
        }
        Ok(())
    }
}

/// A line through `points` as one quadrilateral a piece, discs between.
fn strokes<B: DrawingBackend>(
    backend: &mut B,
    points: &[(i32, i32)],
    color: RGBColor,
    width: f64,
) -> Result<(), Box<dyn std::error::Error>>
where
    B::ErrorType: 'static,
{
    let style: ShapeStyle = color.filled();
    let half = width / 2.0;
    for pair in points.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|(x, y)| (f64::from(x), f64::from(y)));
        let length = (b.0 - a.0).hypot(b.1 - a.1);
        if length < 0.5 {
            continue;
        }
        let side = ((b.1 - a.1) / length * half, -(b.0 - a.0) / length * half);
        let corners = [
            (a.0 + side.0, a.1 + side.1),
            (b.0 + side.0, b.1 + side.1),
            (b.0 - side.0, b.1 - side.1),
            (a.0 - side.0, a.1 - side.1),
        ];
        let corners = corners.map(|(x, y)| (x.round() as i32, y.round() as i32));
        backend.fill_polygon(corners, &style)?;
    }
    for point in points.iter().skip(1).rev().skip(1) {
        backend.draw_circle(*point, (half - 0.5).max(0.0) as u32, &style, true)?;
    }
    Ok(())
}

fn register_fonts() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        for weight in [Weight::Normal, Weight::Bold] {
            let result = register_font(FONT, weight.style(), font::bytes(weight));
            assert!(result.is_ok(), "the embedded font is a font");
        }
    });
}

impl Weight {
    const fn style(self) -> FontStyle {
        match self {
            Weight::Normal => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        }
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

/// The shape of a mark.
enum Outline {
    Round,
    Closed(Vec<Point>),
    Strokes([[Point; 2]; 2]),
}

fn outline(mark: Mark, at: Point, size: f64) -> Outline {
    // Corners, direction of the first in turns, and how much larger than a circle it must be to
    // look as large.
    let (n, turn, grow) = match mark {
        Mark::Circle => return Outline::Round,
        Mark::Square => (4, 0.125, 1.2),
        Mark::Up => (3, 0.25, 1.3),
        Mark::Down => (3, 0.75, 1.3),
        Mark::Diamond => (4, 0.25, 1.25),
        Mark::Pentagon => (5, 0.25, 1.1),
        Mark::Cross => (4, 0.125, 1.2),
        Mark::Plus => (4, 0.25, 1.2),
    };
    let corner = |i: i32| {
        let angle = std::f64::consts::TAU * (turn + f64::from(i) / f64::from(n));
        let radius = grow * size / 2.0;
        (at.0 + radius * angle.cos(), at.1 - radius * angle.sin())
    };
    if matches!(mark, Mark::Cross | Mark::Plus) {
        return Outline::Strokes([[corner(0), corner(2)], [corner(1), corner(3)]]);
    }
    Outline::Closed((0..n).map(corner).collect())
}

/// The dashes of a line through `points`; `pattern` alternates the lengths of dashes and gaps.
fn dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    let mut result = Vec::new();
    let Some(first) = points.first() else {
        return result;
    };
    let (mut index, mut left) = (0, pattern[0]);
    let mut dash = vec![*first];
    for pair in points.windows(2) {
        let (mut a, b) = (pair[0], pair[1]);
        let mut rest = (b.0 - a.0).hypot(b.1 - a.1);
        while rest > left {
            let share = left / rest;
            a = (a.0 + share * (b.0 - a.0), a.1 + share * (b.1 - a.1));
            rest -= left;
            dash.push(a);
            if index % 2 == 0 {
                result.push(std::mem::take(&mut dash));
            }
            index += 1;
            left = pattern[index % pattern.len()];
            dash = vec![a];
        }
        left -= rest;
        dash.push(b);
    }
    if index % 2 == 0 {
        result.push(dash);
    }
    result
}

/// The pieces of rising lines inside `area`; their places do not depend on it, so that neighbours
/// with the same hatching match.
fn hatching(area: Area) -> Vec<[Point; 2]> {
    let mut lines = Vec::new();
    // On a rising line x + y is constant.
    let last = area.right + area.bottom;
    let mut sum = ((area.left + area.top) / HATCH_PITCH).ceil() * HATCH_PITCH;
    while sum < last {
        let low_x = (sum - area.bottom).max(area.left);
        let high_x = (sum - area.top).min(area.right);
        if high_x - low_x > 0.5 {
            lines.push([(low_x, sum - low_x), (high_x, sum - high_x)]);
        }
        sum += HATCH_PITCH;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_their_share_of_a_line_with_corners() {
        let points = [(0.0, 0.0), (30.0, 0.0), (30.0, 70.0)];
        let dashes = dashes(&points, &[6.0, 4.0]);
        assert_eq!(dashes.len(), 10);
        let length: f64 = dashes
            .iter()
            .flat_map(|dash| dash.windows(2))
            .map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1))
            .sum();
        assert!((length - 60.0).abs() < 1e-9, "{length}");
    }

    #[test]
    fn hatching_stays_inside() {
        let area = Area {
            left: 10.0,
            top: 20.0,
            right: 25.0,
            bottom: 80.0,
        };
        let lines = hatching(area);
        assert!(lines.len() > 4);
        for (x, y) in lines.into_iter().flatten() {
            assert!((10.0..=25.0).contains(&x) && (20.0..=80.0).contains(&y));
        }
    }

    #[test]
    fn a_text_too_wide_ends_with_an_ellipsis() {
        let cut = fit("a rather long name", SMALL, Weight::Normal, 100.0);
        assert!(cut.ends_with('…') && cut.len() > 5, "{cut}");
        assert!(text_width(&cut, SMALL, Weight::Normal) <= 100.0);
        assert_eq!(fit("short", SMALL, Weight::Normal, 100.0), "short");
    }
}

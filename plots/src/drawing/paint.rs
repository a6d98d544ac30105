//! The shapes of a drawing as SVG and as pixels.

use std::path::Path;
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle,
    register_font,
};

use super::{Anchor, Area, Drawing, Point, Shape, Text, Turn, WIDTH, Weight, text_width};
use crate::font;
use crate::palette::{INK, WHITE};

/// Units in a millimetre.
const UNITS_PER_MM: f64 = 300.0 / 25.4;
/// The embedded font, and for viewers of the SVG that lack it others that are no wider.
const FONT: &str = "DejaVu Sans Condensed, Liberation Sans, Helvetica, Arial, sans-serif";
/// Ascent and descent of the font over its em; plotters' bitmaps are sized by their sum.
const FONT_HEIGHT: f64 = 2384.0 / 2048.0;
/// The bitmap is drawn this many times larger and averaged down.
const OVERSAMPLING: usize = 3;

impl Drawing {
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

//! Colours, marks and hatching.
//!
//! Colours are those of Okabe and Ito, "Color Universal Design (CUD)", 2008.

use plotters::style::RGBColor;
use schema::run::SpanName;

pub(crate) const BLACK: RGBColor = RGBColor(0, 0, 0);
pub(crate) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(crate) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(crate) const SKY: RGBColor = RGBColor(86, 180, 233);
pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(crate) const YELLOW: RGBColor = RGBColor(240, 228, 66);
pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub(crate) const PURPLE: RGBColor = RGBColor(204, 121, 167);

pub(crate) const GREY: RGBColor = RGBColor(136, 136, 136);

/// Text and axes.
pub(crate) const INK: RGBColor = RGBColor(20, 20, 20);
/// Grid lines.
pub(crate) const GRID: RGBColor = RGBColor(222, 222, 222);
/// Bands behind the data.
pub(crate) const BAND: RGBColor = RGBColor(196, 196, 196);

/// Lines over an area, so that areas differ without colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hatch {
    /// None.
    Plain,
    /// Rising to the right.
    Rising,
    /// Falling to the right.
    Falling,
    /// Rising and falling.
    Crossed,
    /// Level.
    Level,
}

/// How an area is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fill {
    /// Under the hatching.
    pub(crate) color: RGBColor,
    /// The hatching.
    pub(crate) hatch: Hatch,
}

/// The fill of a part of a request; `None` is what no span covers.
///
/// The two ends of one thing share a colour and differ in hatching; parts with the same hatching
/// differ in lightness.
pub(crate) fn part_fill(part: Option<SpanName>) -> Fill {
    let fill = |color, hatch| Fill { color, hatch };
    match part {
        Some(SpanName::Prepare) => fill(SKY, Hatch::Plain),
        Some(SpanName::Postprocess) => fill(SKY, Hatch::Crossed),
        Some(SpanName::Send) => fill(ORANGE, Hatch::Falling),
        Some(SpanName::Receive) => fill(ORANGE, Hatch::Rising),
        Some(SpanName::Wire) => fill(YELLOW, Hatch::Plain),
        Some(SpanName::Translate) => fill(PURPLE, Hatch::Level),
        Some(SpanName::Queue) => fill(WHITE, Hatch::Rising),
        Some(SpanName::H2d) => fill(GREEN, Hatch::Level),
        Some(SpanName::D2h) => fill(GREEN, Hatch::Rising),
        Some(SpanName::Preprocess) => fill(VERMILLION, Hatch::Falling),
        Some(SpanName::Inference) => fill(BLUE, Hatch::Plain),
        Some(SpanName::Service | SpanName::Kernel | SpanName::P2p) => fill(BLUE, Hatch::Crossed),
        Some(SpanName::Request) | None => fill(WHITE, Hatch::Plain),
    }
}

/// A mark at a data point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Circle,
    Square,
    Up,
    Diamond,
    Down,
    Cross,
    Pentagon,
    Plus,
}

/// How a series looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Series {
    /// Of lines and marks.
    pub(crate) color: RGBColor,
    /// Its mark.
    pub(crate) mark: Mark,
}

/// The look of series number `index`: the first 56 differ.
pub(crate) fn series(index: usize) -> Series {
    // Neighbours differ in lightness; yellow is too light for a line, and on black nothing shows.
    const COLORS: [RGBColor; 7] = [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, GREY];
    const MARKS: [Mark; 8] = [
        Mark::Circle,
        Mark::Square,
        Mark::Up,
        Mark::Diamond,
        Mark::Down,
        Mark::Cross,
        Mark::Pentagon,
        Mark::Plus,
    ];
    Series {
        color: COLORS[index % COLORS.len()],
        mark: MARKS[index % MARKS.len()],
    }
}

/// The colour of bar number `index` of a timeline: six in turn, light enough for text on them.
/// Neighbours differ in lightness, and so do all six.
pub(crate) fn bar(index: usize) -> RGBColor {
    let colors = [
        ORANGE,
        lighter(SKY, 0.75),
        GREEN,
        YELLOW,
        lighter(BLUE, 0.28),
        lighter(PURPLE, 0.45),
    ];
    colors[index % colors.len()]
}

/// `color` with a share of white, from 0 (as it is) to 1.
pub(crate) fn lighter(color: RGBColor, share: f64) -> RGBColor {
    let part = |value: u8| (255.0 - (255.0 - f64::from(value)) * (1.0 - share)).round() as u8;
    RGBColor(part(color.0), part(color.1), part(color.2))
}

/// `color` with a share of black, from 0 (as it is) to 1.
pub(crate) fn darker(color: RGBColor, share: f64) -> RGBColor {
    let part = |value: u8| (f64::from(value) * (1.0 - share)).round() as u8;
    RGBColor(part(color.0), part(color.1), part(color.2))
}

/// The hatching of an operation on a device, where a lane has several kinds.
pub(crate) const fn operation_hatch(name: SpanName) -> Hatch {
    match name {
        SpanName::Preprocess => Hatch::Falling,
        SpanName::H2d => Hatch::Level,
        SpanName::D2h => Hatch::Rising,
        SpanName::P2p => Hatch::Crossed,
        _ => Hatch::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Luma of ITU-R BT.601, from 0 to 255.
    fn luma(RGBColor(r, g, b): RGBColor) -> f64 {
        0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)
    }

    #[test]
    fn no_two_parts_look_the_same_in_grey() {
        let parts = SpanName::parts().iter().copied().map(Some);
        let fills: Vec<Fill> = parts.chain([None]).map(part_fill).collect();
        for (i, one) in fills.iter().enumerate() {
            for other in fills[..i].iter().filter(|other| other.hatch == one.hatch) {
                let difference = (luma(one.color) - luma(other.color)).abs();
                assert!(difference > 40.0, "{one:?} {other:?}: {difference}");
            }
        }
    }

    #[test]
    fn bars_differ_in_grey_and_text_on_them_can_be_read() {
        for index in 0..6 {
            let all = (0..6).filter(|other| *other != index);
            let nearest = all.map(|other| (luma(bar(index)) - luma(bar(other))).abs());
            let nearest = nearest.fold(f64::MAX, f64::min);
            assert!(nearest > 15.0, "{index}: {nearest}");
            let next = (luma(bar(index)) - luma(bar(index + 1))).abs();
            assert!(next > 30.0, "{index}: {next}");
            assert!(luma(bar(index)) - luma(INK) > 80.0, "{index}");
        }
    }

    #[test]
    fn the_first_56_series_differ() {
        let all: Vec<Series> = (0..56).map(series).collect();
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{one:?}");
        }
    }
}

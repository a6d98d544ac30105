//! Advance and bearing of glyphs of the embedded font.
//!
//! plotters sets the glyphs of a bitmap without their left bearing, so that words fall apart at
//! narrow letters. The bitmap is therefore set letter by letter from these figures, without
//! kerning. Only what that needs of the OpenType format is read: the tables `cmap` (its part for
//! the basic multilingual plane, format 4), `hhea` and `hmtx`.

use crate::drawing::Weight;

/// Units of the font in an em.
const UNITS_PER_EM: f64 = 2048.0;

/// Widths of a glyph, in ems.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Glyph {
    /// From its origin to that of the next.
    pub(crate) advance: f64,
    /// From its origin to its leftmost ink.
    pub(crate) bearing: f64,
}

/// The bytes of the font.
pub(crate) fn bytes(weight: Weight) -> &'static [u8] {
    match weight {
        Weight::Normal => dejavu::sans_condensed::regular(),
        Weight::Bold => dejavu::sans_condensed::bold(),
    }
}

/// Widths of the glyph of `c`, or of the glyph that stands for what the font lacks.
pub(crate) fn glyph(weight: Weight, c: char) -> Glyph {
    let font = bytes(weight);
    let id = u16::try_from(u32::from(c)).map_or(0, |code| glyph_id(font, code));
    // Glyphs after the last full record share its advance.
    let n_full = u16_at(font, table(font, b"hhea") + 34);
    let hmtx = table(font, b"hmtx");
    let advance = u16_at(font, hmtx + 4 * usize::from(id.min(n_full - 1)));
    let bearing = if id < n_full {
        hmtx + 4 * usize::from(id) + 2
    } else {
        hmtx + 4 * usize::from(n_full) + 2 * usize::from(id - n_full)
    };
    Glyph {
        advance: f64::from(advance) / UNITS_PER_EM,
        bearing: f64::from(u16_at(font, bearing).cast_signed()) / UNITS_PER_EM,
    }
}

/// Index of the glyph of a character; 0 if there is none.
fn glyph_id(font: &[u8], code: u16) -> u16 {
    let cmap = table(font, b"cmap");
    let n_subtables = usize::from(u16_at(font, cmap + 2));
    let subtable = (0..n_subtables)
        .map(|i| cmap + u32_at(font, cmap + 4 + 8 * i + 4) as usize)
        .find(|at| u16_at(font, *at) == 4)
        .expect("the embedded font has a map for the basic multilingual plane");
    let doubled = usize::from(u16_at(font, subtable + 6));
    let field = |which: usize, segment: usize| {
        // Ends, a padding, starts, deltas and offsets, an array each.
        let padding = if which == 0 { 0 } else { 2 };
        subtable + 14 + padding + which * doubled + 2 * segment
    };
    let segment = (0..doubled / 2)
        .find(|segment| u16_at(font, field(0, *segment)) >= code)
        .expect("the last segment ends with the plane");
    let start = u16_at(font, field(1, segment));
    if code < start {
        return 0;
    }
    let delta = u16_at(font, field(2, segment));
    let offset = usize::from(u16_at(font, field(3, segment)));
    if offset == 0 {
        return code.wrapping_add(delta);
    }
    let at = field(3, segment) + offset + 2 * usize::from(code - start);
    match u16_at(font, at) {
        0 => 0,
        id => id.wrapping_add(delta),
    }
}

fn table(font: &[u8], tag: &[u8; 4]) -> usize {
    let n_tables = usize::from(u16_at(font, 4));
    let record = (0..n_tables)
        .map(|i| 12 + 16 * i)
        .find(|at| font[*at..*at + 4] == *tag)
        .expect("the embedded font has every table that OpenType demands");
    u32_at(font, record + 8) as usize
}

fn u16_at(font: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([font[at], font[at + 1]])
}

fn u32_at(font: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([font[at], font[at + 1], font[at + 2], font[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advances_are_those_of_the_font() {
        // 1298 units for an n in DejaVu Sans; the condensed font is its 90%.
        let advance = |c| glyph(Weight::Normal, c).advance;
        assert!((advance('n') - 0.9 * 1298.0 / UNITS_PER_EM).abs() < 1e-3);
        for c in '1'..='9' {
            assert!((advance(c) - advance('0')).abs() < 1e-9, "{c}");
        }
    }

    #[test]
    fn letters_of_every_label_are_in_the_font() {
        let missing = glyph_id(bytes(Weight::Normal), 0xE000);
        assert_eq!(missing, 0);
        for c in "aZ09−µ±…–—%()/".chars() {
            for weight in [Weight::Normal, Weight::Bold] {
                let code = u16::try_from(u32::from(c)).unwrap();
                assert!(glyph_id(bytes(weight), code) > 0, "{c}");
            }
        }
    }

    #[test]
    fn an_l_has_a_wide_bearing_and_a_w_a_narrow_one() {
        let bearing = |c| glyph(Weight::Normal, c).bearing;
        assert!(bearing('l') > 0.07 && bearing('w') < 0.05);
    }
}

//! Where dashes, hatching and marks are.

use super::{Area, Point};
use crate::palette::{Hatch, Mark};

/// Distance between hatching lines.
const HATCH_PITCH: f64 = 11.0;

/// The shape of a mark.
pub(super) enum Outline {
    Round,
    Closed(Vec<Point>),
    Strokes([[Point; 2]; 2]),
}

/// The shape of `mark` at `at`.
pub(super) fn outline(mark: Mark, at: Point, size: f64) -> Outline {
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
pub(super) fn dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
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

/// The lines of `hatch` inside `area`; their places do not depend on it, so that neighbours with the
/// same hatching match.
pub(super) fn hatching(area: Area, hatch: Hatch) -> Vec<[Point; 2]> {
    let falling = || {
        let mirrored = Area {
            left: -area.right,
            right: -area.left,
            ..area
        };
        let lines = rising(mirrored).into_iter();
        lines.map(|line| line.map(|(x, y)| (-x, y))).collect()
    };
    match hatch {
        Hatch::Plain => Vec::new(),
        Hatch::Rising => rising(area),
        Hatch::Falling => falling(),
        Hatch::Crossed => [rising(area), falling()].concat(),
        Hatch::Level => {
            let first = (area.top / HATCH_PITCH).floor() as i32 + 1;
            let last = (area.bottom / HATCH_PITCH).ceil() as i32;
            (first..last)
                .map(|i| HATCH_PITCH * f64::from(i))
                .map(|y| [(area.left, y), (area.right, y)])
                .collect()
        }
    }
}

fn rising(area: Area) -> Vec<[Point; 2]> {
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
        for hatch in [Hatch::Rising, Hatch::Falling, Hatch::Crossed, Hatch::Level] {
            let lines = hatching(area, hatch);
            assert!(lines.len() > 4, "{hatch:?}");
            for (x, y) in lines.into_iter().flatten() {
                assert!((10.0..=25.0).contains(&x) && (20.0..=80.0).contains(&y));
            }
        }
    }
}

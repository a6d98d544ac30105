//! Medians with standard errors, and laws through them.
//!
//! A device's clock times an operation to the half microsecond and nothing on the device interrupts
//! it, but a host that is interrupted between an event and its operation makes the time longer,
//! sometimes a hundredfold. So here the *median* of what was repeated counts, not the mean: up to
//! half of the samples may be spoilt.

/// What a CUDA event resolves, in seconds (CUDA driver API, `cuEventElapsedTime`).
const RESOLUTION_S: f64 = 0.5e-6;
/// Standard deviation of a value that was rounded to a step, in steps.
const ROUNDED: f64 = 0.288_675;
/// Standard error of the median of a normal sample, in those of its mean: `sqrt(pi / 2)`.
const OF_MEDIAN: f64 = 1.253_314;
/// Standard deviation of a normal sample in median absolute deviations.
const OF_MAD: f64 = 1.482_602;

/// The middle of a sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Centre {
    /// Its median.
    pub(super) value: f64,
    /// Standard error of that, the clock's resolution included.
    pub(super) error: f64,
    /// Standard deviation of the sample without its tails.
    pub(super) spread: f64,
    /// Number of values.
    pub(super) n: usize,
}

impl Centre {
    /// Of times in seconds, each the sum of `parts` equal times of which one is asked for; `None` of
    /// no times.
    pub(super) fn of(times: &[f64], parts: f64) -> Option<Centre> {
        let value = median(times)?;
        let deviations: Vec<f64> = times.iter().map(|time| (time - value).abs()).collect();
        let spread = OF_MAD * median(&deviations)?;
        let by_chance = OF_MEDIAN * spread / (times.len() as f64).sqrt();
        Some(Centre {
            value: value / parts,
            // What is rounded alike each time is off by as much however often it is repeated.
            error: by_chance.hypot(ROUNDED * RESOLUTION_S) / parts,
            spread: spread / parts,
            n: times.len(),
        })
    }
}

/// The median, of an even number the mean of the middle two; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A straight line through points with errors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Line {
    pub(super) base: f64,
    pub(super) base_error: f64,
    pub(super) slope: f64,
    pub(super) slope_error: f64,
    /// Correlation of the errors of base and slope.
    pub(super) correlation: f64,
}

impl Line {
    /// By least squares, weighted by the inverse squares of the errors; these count for more if the
    /// points miss the line by more than they say (Birge, 1932). `None` if all have one driver.
    pub(super) fn through(points: &[(f64, Centre)]) -> Option<Line> {
        let weight = |centre: &Centre| centre.error.powi(-2);
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            let terms = points
                .iter()
                .map(|(x, centre)| weight(centre) * of(*x, centre.value));
            terms.sum()
        };
        let total = sum(&|_, _| 1.0);
        let (mean_x, mean_y) = (sum(&|x, _| x) / total, sum(&|_, y| y) / total);
        let squares = sum(&|x, _| (x - mean_x) * (x - mean_x));
        if points.len() < 2 || squares <= 0.0 {
            return None;
        }
        let slope = sum(&|x, y| (x - mean_x) * (y - mean_y)) / squares;
        let base = mean_y - slope * mean_x;
        let misses = sum(&|x, y| (y - base - slope * x).powi(2));
        let free = points.len() as f64 - 2.0;
        let birge = if free > 0.0 {
            (misses / free).sqrt().max(1.0)
        } else {
            1.0
        };
        let slope_error = birge / squares.sqrt();
        let base_error = birge * (1.0 / total + mean_x * mean_x / squares).sqrt();
        Some(Line {
            base,
            base_error,
            slope,
            slope_error,
            correlation: -mean_x * slope_error / base_error,
        })
    }

    pub(super) fn at(&self, x: f64) -> f64 {
        self.base + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_half_of_the_samples_may_be_spoilt() {
        let times = [1e-3, 1e-3, 1e-3, 5e-3, 100e-3];
        let centre = Centre::of(&times, 1.0).expect("there are times");
        assert!((centre.value - 1e-3).abs() < 1e-12);
        assert!(centre.error < 0.2e-6, "{}", centre.error);
        assert_eq!(Centre::of(&[], 1.0), None);
    }

    #[test]
    fn a_line_comes_back_within_its_errors() {
        let point = |x: f64, off: f64| {
            let centre = Centre {
                value: 2.0 + 3.0 * x + off,
                error: 0.1,
                spread: 0.1,
                n: 1,
            };
            (x, centre)
        };
        let line = Line::through(&[point(0.0, 0.1), point(1.0, -0.1), point(2.0, 0.1)]);
        let line = line.expect("two drivers");
        assert!((line.base - 2.0).abs() < 2.0 * line.base_error);
        assert!((line.slope - 3.0).abs() < 2.0 * line.slope_error);
        assert!((line.at(2.0) - 8.0).abs() < 0.2);
        assert_eq!(Line::through(&[point(1.0, 0.0), point(1.0, 0.1)]), None);
    }
}

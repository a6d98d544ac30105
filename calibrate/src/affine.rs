//! The law `base + slope · driver` of a cost, with errors.
//!
//! The noise of a cost is multiplicative and drivers span decades, so the fit is by *relative*
//! deviations: weighted least squares with weights `1/expected²`, reweighted until they settle.
//! The time that a hypervisor steals now and then, a hundred times the cost itself, must not tilt
//! the law, and must not be lost either, since the law is for the mean. So it takes two steps:
//!
//! 1. the *ratio* of base and slope from a Huber M-estimate of the relative deviations, which
//!    limits what one sample can do;
//! 2. the *scale* from sums: the law predicts the total time of all samples exactly.
//!
//! Under `(base + slope · driver) · residual` with any residual of mean one that does not depend
//! on the driver, both steps together are consistent. The residual keeps its tail.
//!
//! Standard errors come from the influence of each sample on the two steps (the sandwich, with the
//! factor `n / (n - p)` of HC1), so they hold whatever the residual's distribution, and are
//! inflated for the autocorrelation of the samples within a run.

use nalgebra::{Matrix2, Vector2};
use schema::stats::mean;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::correlation::effective_samples;
use crate::samples::{Point, Series, Shape};

/// Relative deviations beyond this many scales are clipped in step 1. Larger than Huber's 1.345:
/// skewed noise is the rule here, only outliers are to be clipped.
pub(crate) const CLIP: f64 = 3.0;
/// Smallest scale of relative deviations: what is finer is the resolution of a timer.
const MIN_SCALE: f64 = 1e-3;
/// Where the median at a driver is zero, this share of the mean stands for it.
const MIN_SHARE: f64 = 1e-9;
/// Resolution of a span, in seconds.
const RESOLUTION_S: f64 = 1e-9;
/// Most rounds of reweighting; ten or so are needed.
const MAX_ROUNDS: usize = 30;
/// Relative change of the law that ends the reweighting; far below any standard error.
const SETTLED: f64 = 1e-7;
/// A slope counts as positive if it would come out so by chance with this probability.
const SLOPE_ALPHA: f64 = 0.05;
/// A base counts as negative if it would come out so by chance with this probability: costs that
/// rise faster than in proportion are rare.
const BASE_ALPHA: f64 = 0.001;

/// A fitted law.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct LawFit {
    /// Cost at driver zero, in seconds.
    pub(crate) base: f64,
    /// Its standard error.
    pub(crate) base_error: f64,
    /// Cost per unit of the driver, in seconds.
    pub(crate) slope: f64,
    /// Its standard error.
    pub(crate) slope_error: f64,
    /// How many independent samples it was fitted to.
    pub(crate) effective_samples: f64,
    /// By what factor correlation raises the variance of base and slope.
    pub(crate) inflation: f64,
    /// What to check before trusting it.
    pub(crate) warnings: Vec<String>,
}

/// Which of the two columns, one and driver, are in the law.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Columns {
    Both,
    Base,
    Slope,
}

/// A fit of given columns. The driver is in units of its largest value.
#[derive(Clone, Debug)]
struct Fit {
    law: Vector2<f64>,
    covariance: Matrix2<f64>,
    effective_samples: f64,
    inflation: f64,
}

impl LawFit {
    /// The law of `series`, which hold at least one sample.
    ///
    /// A slope that is not significantly positive is set to zero, as is a base that is negative by
    /// chance or gives the smallest driver less than half of what it cost; the error of what was
    /// set to zero is that of the full law.
    pub(crate) fn new(series: &[Series], shape: Shape) -> LawFit {
        let unit = unit(series);
        let mut warnings = Vec::new();
        let (fit, errors) = match (shape, n_drivers(series)) {
            (Shape::Constant, _) => constant(series, unit),
            (Shape::OfTime, ..=1) if has_positive_driver(series) => {
                warnings.push(
                    "one driver only: base and slope cannot be told apart, the law is in proportion; add runs with other times".to_owned(),
                );
                proportional(series, unit)
            }
            (Shape::Affine | Shape::OfTime, ..=1) => {
                warnings.push(
                    "one driver only: the slope cannot be identified, the law is a constant; add runs with other sizes".to_owned(),
                );
                constant(series, unit)
            }
            (Shape::Affine | Shape::OfTime, _) => affine(series, unit, &mut warnings),
        };
        LawFit {
            base: fit.law[0],
            base_error: errors[0],
            slope: fit.law[1] / unit,
            slope_error: errors[1] / unit,
            effective_samples: fit.effective_samples,
            inflation: fit.inflation,
            warnings,
        }
    }

    /// What the law expects at `driver`, in seconds.
    pub(crate) fn expected(&self, driver: f64) -> f64 {
        (self.base + self.slope * driver).max(0.0)
    }

    /// Each sample as a multiple of its expectation, weighted by its expectation and its
    /// run: `(factor,
    /// weight)`. The weighted mean is one, since the law predicts the total. A law of zero gives
    /// factors of one.
    pub(crate) fn factors(&self, series: &[Series]) -> Vec<(f64, f64)> {
        let points = series.iter().flat_map(|s| &s.points);
        points
            .map(|point| {
                let expected = self.expected(point.driver);
                if expected <= 0.0 || (point.seconds - expected).abs() <= RESOLUTION_S {
                    return (1.0, point.weight * expected.max(f64::MIN_POSITIVE));
                }
                (point.seconds / expected, point.weight * expected)
            })
            .collect()
    }
}

/// The largest driver, or one if all are zero.
fn unit(series: &[Series]) -> f64 {
    let drivers = series.iter().flat_map(|s| &s.points).map(|p| p.driver);
    let largest = drivers.fold(0.0, f64::max);
    if largest > 0.0 { largest } else { 1.0 }
}

fn has_positive_driver(series: &[Series]) -> bool {
    let mut points = series.iter().flat_map(|s| &s.points);
    points.any(|p| p.driver > 0.0)
}

fn n_drivers(series: &[Series]) -> usize {
    let points = series.iter().flat_map(|s| &s.points);
    let drivers: std::collections::BTreeSet<u64> = points.map(|p| p.driver.to_bits()).collect();
    drivers.len()
}

fn constant(series: &[Series], unit: f64) -> (Fit, [f64; 2]) {
    let fit = Fit::new(series, unit, Columns::Base);
    let error = fit.covariance[(0, 0)].sqrt();
    (fit, [error, 0.0])
}

fn proportional(series: &[Series], unit: f64) -> (Fit, [f64; 2]) {
    let fit = Fit::new(series, unit, Columns::Slope);
    let error = fit.covariance[(1, 1)].sqrt();
    (fit, [0.0, error])
}

fn affine(series: &[Series], unit: f64, warnings: &mut Vec<String>) -> (Fit, [f64; 2]) {
    let full = Fit::new(series, unit, Columns::Both);
    let errors = [
        full.covariance[(0, 0)].max(0.0).sqrt(),
        full.covariance[(1, 1)].max(0.0).sqrt(),
    ];
    let quantile = |alpha: f64| Normal::standard().inverse_cdf(1.0 - alpha);
    let least = quantile(SLOPE_ALPHA) * errors[1];
    if full.law[1] <= least {
        if full.law[1] < -least {
            warnings.push(
                "the cost falls with its driver: the law is a constant; look for what else differs between the sizes".to_owned(),
            );
        }
        let (fit, [base_error, _]) = constant(series, unit);
        return (fit, [base_error, errors[1]]);
    }
    if full.law[0] >= 0.0 {
        return (full, errors);
    }
    let (smallest, mean_s) = smallest_driver(series, unit);
    let is_chance = full.law[0] > -quantile(BASE_ALPHA) * errors[0];
    if is_chance || full.law[0] + full.law[1] * smallest < 0.5 * mean_s {
        let (fit, [_, slope_error]) = proportional(series, unit);
        return (fit, [errors[0], slope_error]);
    }
    warnings.push(
        "the base is negative: the cost rises faster than in proportion; do not use the law below its range".to_owned(),
    );
    (full, errors)
}

/// The smallest driver, in units, and the mean time at it.
fn smallest_driver(series: &[Series], unit: f64) -> (f64, f64) {
    let points = || series.iter().flat_map(|s| &s.points);
    let smallest = points().map(|p| p.driver).fold(f64::INFINITY, f64::min);
    let at: Vec<f64> = points()
        .filter(|p| p.driver <= smallest)
        .map(|p| p.seconds)
        .collect();
    (smallest / unit, mean(&at))
}

impl Columns {
    fn row(self, driver: f64) -> Vector2<f64> {
        match self {
            Columns::Both => Vector2::new(1.0, driver),
            Columns::Base => Vector2::new(1.0, 0.0),
            Columns::Slope => Vector2::new(0.0, driver),
        }
    }

    const fn count(self) -> usize {
        match self {
            Columns::Both => 2,
            Columns::Base | Columns::Slope => 1,
        }
    }
}

impl Fit {
    fn new(series: &[Series], unit: f64, columns: Columns) -> Fit {
        let points: Vec<Point> = series.iter().flat_map(|s| s.points.clone()).collect();
        let rows: Vec<Vector2<f64>> = points
            .iter()
            .map(|p| columns.row(p.driver / unit))
            .collect();
        let weight: f64 = points.iter().map(|p| p.weight).sum();
        let squares: f64 = points.iter().map(|p| p.weight * p.weight).sum();
        // The number of samples of equal weight that are worth as much (Kish, 1965).
        let n = weight * weight / squares;
        let total: f64 = points.iter().map(|p| p.weight * p.seconds).sum();
        if total <= 0.0 {
            return Fit {
                law: Vector2::zeros(),
                covariance: Matrix2::zeros(),
                effective_samples: n,
                inflation: 1.0,
            };
        }
        let middles = medians(&points, MIN_SHARE * total / weight);
        let ratio = Ratio::new(&points, &rows, columns, &middles);
        let expected = ratio.expected(&rows, &middles);
        let all = points.iter().zip(&expected);
        let scale = total / all.map(|(p, e)| p.weight * e).sum::<f64>();
        let inflation = inflation(series, &expected, &ratio);
        let mut covariance = Matrix2::zeros();
        for (point, influence) in points
            .iter()
            .zip(influences(&rows, &points, &expected, &ratio, scale))
        {
            covariance += influence * influence.transpose() * point.weight.powi(2);
        }
        let hc1 = n / (n - columns.count() as f64).max(1.0);
        Fit {
            law: ratio.law * scale,
            covariance: covariance * (hc1 * inflation / (weight * weight)),
            effective_samples: n / inflation,
            inflation,
        }
    }
}

/// The M-estimate of step 1, up to a scale.
#[derive(Clone, Debug)]
struct Ratio {
    law: Vector2<f64>,
    /// Relative deviations are clipped here.
    clip: f64,
}

impl Ratio {
    fn new(points: &[Point], rows: &[Vector2<f64>], columns: Columns, middles: &[f64]) -> Ratio {
        let mut expected = middles.to_vec();
        let mut ratio = Ratio {
            law: Vector2::zeros(),
            clip: f64::INFINITY,
        };
        for round in 0..MAX_ROUNDS {
            let weights: Vec<f64> = points
                .iter()
                .zip(&expected)
                .map(|(p, e)| {
                    let inside = (ratio.clip / (p.seconds / e - 1.0).abs()).min(1.0);
                    p.weight * inside / (e * e)
                })
                .collect();
            let before = ratio.law;
            let law = weighted_least_squares(points, rows, &weights, columns);
            if !law.iter().all(|x| x.is_finite()) {
                break;
            }
            ratio.law = law;
            expected = ratio.expected(rows, middles);
            // The clip follows the deviations for a few rounds and then stays, so that it settles.
            if round < 5 {
                ratio.clip = clip(points, &expected);
            }
            // A single column has no ratio to settle: its scale is all there is.
            let is_settled = (ratio.law - before).norm() <= SETTLED * ratio.law.norm();
            if columns.count() == 1 || (round >= 5 && is_settled) {
                break;
            }
        }
        ratio
    }

    /// The law at each row; where it crosses zero, a share of the median there, so that relative
    /// deviations stay finite.
    fn expected(&self, rows: &[Vector2<f64>], middles: &[f64]) -> Vec<f64> {
        let at = |(row, middle): (&Vector2<f64>, &f64)| row.dot(&self.law).max(0.05 * middle);
        rows.iter().zip(middles).map(at).collect()
    }

    fn clipped(&self, deviation: f64) -> f64 {
        deviation.clamp(-self.clip, self.clip)
    }
}

/// [`CLIP`] times the scale of the relative deviations.
fn clip(points: &[Point], expected: &[f64]) -> f64 {
    let factors: Vec<f64> = points
        .iter()
        .zip(expected)
        .map(|(p, e)| p.seconds / e)
        .collect();
    let (_, scale) = centre_and_scale(&factors);
    let resolution = RESOLUTION_S / median(expected.to_vec());
    CLIP * scale.max(MIN_SCALE).max(resolution)
}

/// The median, and 1.4826 times the median absolute deviation, which is the standard deviation of a
/// normal sample.
pub(crate) fn centre_and_scale(values: &[f64]) -> (f64, f64) {
    let centre = median(values.to_vec());
    let spread = median(values.iter().map(|v| (v - centre).abs()).collect());
    (centre, 1.4826 * spread)
}

/// The median time of the samples with each sample's driver.
fn medians(points: &[Point], floor: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| points[*a].driver.total_cmp(&points[*b].driver));
    let mut result = vec![0.0; points.len()];
    for group in order.chunk_by(|a, b| points[*a].driver.total_cmp(&points[*b].driver).is_eq()) {
        let middle = median(group.iter().map(|i| points[*i].seconds).collect());
        for index in group {
            result[*index] = middle.max(floor);
        }
    }
    result
}

fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Least squares with `weights`. With two columns the driver is taken from its weighted mean, which
/// makes the columns orthogonal (Gram-Schmidt): as accurate as a QR decomposition.
fn weighted_least_squares(
    points: &[Point],
    rows: &[Vector2<f64>],
    weights: &[f64],
    columns: Columns,
) -> Vector2<f64> {
    // Weights are relative: the largest is one, so that squares of small times do not underflow.
    let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let samples = || {
        let rows = rows.iter().zip(weights).zip(points);
        rows.map(|((row, weight), point)| (row[1], weight / largest, point.seconds))
    };
    let mean_of = |value: &dyn Fn(f64, f64) -> f64| {
        let (sum, total) = samples().fold((0.0, 0.0), |(sum, total), (x, w, y)| {
            (sum + w * value(x, y), total + w)
        });
        sum / total
    };
    let mean_y = mean_of(&|_, y| y);
    match columns {
        Columns::Base => Vector2::new(mean_y, 0.0),
        Columns::Slope => Vector2::new(0.0, mean_of(&|x, y| x * y) / mean_of(&|x, _| x * x)),
        Columns::Both => {
            let mean_x = mean_of(&|x, _| x);
            let covariance = mean_of(&|x, y| (x - mean_x) * (y - mean_y));
            let slope = covariance / mean_of(&|x, _| (x - mean_x) * (x - mean_x));
            Vector2::new(mean_y - slope * mean_x, slope)
        }
    }
}

/// By what factor the variance of the law exceeds that of independent samples: the mean of
/// `n / n_effective` of the clipped relative deviations, over the runs by their share in that
/// variance.
fn inflation(series: &[Series], expected: &[f64], ratio: &Ratio) -> f64 {
    let (mut rest, mut sum, mut total) = (expected, 0.0, 0.0);
    for one in series {
        let (of_run, later) = rest.split_at(one.points.len());
        rest = later;
        let deviations: Vec<f64> = one
            .points
            .iter()
            .zip(of_run)
            .map(|(p, e)| ratio.clipped(p.seconds / e - 1.0))
            .collect();
        let squares: f64 = one.points.iter().map(|p| p.weight * p.weight).sum();
        sum += squares * deviations.len() as f64 / effective_samples(&deviations);
        total += squares;
    }
    (sum / total).max(1.0)
}

/// The influence of each sample on base and slope: how much they change by a little more of its
/// weight, times the sum of all weights.
fn influences(
    rows: &[Vector2<f64>],
    points: &[Point],
    expected: &[f64],
    ratio: &Ratio,
    scale: f64,
) -> Vec<Vector2<f64>> {
    let all = || rows.iter().zip(points).zip(expected);
    let (mut jacobian, mut mean_row) = (Matrix2::zeros(), Vector2::zeros());
    let (mut mean_expected, mut total) = (0.0, 0.0);
    for ((row, point), e) in all() {
        let (factor, z) = (point.seconds / e, row / *e);
        let inside = (factor - 1.0).abs() < ratio.clip;
        let weight = ratio.clipped(factor - 1.0) + if inside { factor } else { 0.0 };
        jacobian += z * z.transpose() * (weight * point.weight);
        mean_row += row * point.weight;
        mean_expected += e * point.weight;
        total += point.weight;
    }
    jacobian /= total;
    mean_row /= total;
    mean_expected /= total;
    // A pseudo-inverse, for a law without base or slope has a row and a column of zeros.
    let largest = jacobian.abs().max();
    let inverse = jacobian
        .pseudo_inverse(1e-12 * largest.max(f64::MIN_POSITIVE))
        .unwrap_or_else(|_| Matrix2::zeros());
    let of = |((row, point), e): ((&Vector2<f64>, &Point), &f64)| {
        let on_ratio = inverse * (row / *e) * ratio.clipped(point.seconds / e - 1.0);
        let on_total = point.seconds - scale * e - scale * mean_row.dot(&on_ratio);
        on_ratio * scale + ratio.law * (on_total / mean_expected)
    };
    all().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::profile::Residual;
    use schema::random::{Seed, stream, uniform};

    fn series(points: impl IntoIterator<Item = (f64, f64)>) -> Vec<Series> {
        let point = |(driver, seconds)| Point {
            driver,
            seconds,
            weight: 1.0,
            recent: None,
        };
        vec![Series {
            source: 0,
            points: points.into_iter().map(point).collect(),
        }]
    }

    /// `n` samples of `base + slope · driver` with drivers 1, 10 and 100 and a CV of about 0.3.
    fn noisy(seed: u64, n: usize, base: f64, slope: f64) -> Vec<Series> {
        let mut rng = stream(Seed(seed), "noise");
        let noise = Residual::Lognormal { sigma: 0.3 };
        series((0..n).map(|i| {
            let driver = [1.0, 10.0, 100.0][i % 3];
            let factor = noise.quantile(uniform(&mut rng));
            (driver, (base + slope * driver) * factor)
        }))
    }

    #[test]
    fn a_slope_is_taken_for_one_as_often_as_stated() {
        let slopes = (0..200).map(|seed| LawFit::new(&noisy(seed, 90, 1e-3, 0.0), Shape::Affine));
        let n_positive = slopes.filter(|fit| fit.slope > 0.0).count();
        // Binomial(200, 0.05): 2 to 21 with probability 99.9%.
        assert!((2..=21).contains(&n_positive), "{n_positive}");
    }

    #[test]
    fn a_base_is_negative_by_chance_as_rarely_as_stated() {
        let mut n_negative = 0;
        for seed in 0..200 {
            let fit = LawFit::new(&noisy(seed, 90, 0.0, 1e-3), Shape::Affine);
            n_negative += u32::from(fit.base < 0.0);
            assert!(fit.base_error > 0.0, "{seed}: {fit:?}");
            assert!((fit.slope / 1e-3 - 1.0).abs() < 0.3, "{seed}: {fit:?}");
        }
        // Binomial(200, 0.001): at most 3 with probability 99.99%.
        assert!(n_negative <= 3, "{n_negative}");
    }

    #[test]
    fn a_cost_that_rises_faster_than_in_proportion_stays_positive_in_its_range() {
        let square = series((0..90).map(|i| {
            let driver = [1.0, 10.0, 100.0][i % 3];
            (driver, driver * driver)
        }));
        let fit = LawFit::new(&square, Shape::Affine);
        assert!(fit.expected(1.0) > 0.0, "{fit:?}");
        let warnings = crate::checks::warnings(&fit, &square);
        assert!(
            warnings
                .iter()
                .any(|w| w.starts_with("not a straight line")),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_cost_that_falls_gives_a_constant_with_a_warning() {
        let falling = LawFit::new(&noisy(0, 300, 1e-3, -9e-6), Shape::Affine);
        assert!(falling.slope.abs() < f64::MIN_POSITIVE);
        assert!(falling.warnings[0].starts_with("the cost falls with its driver"));
    }

    #[test]
    fn a_law_of_time_with_one_driver_is_in_proportion() {
        let fit = LawFit::new(&series([(2.0, 2.2), (2.0, 2.0)]), Shape::OfTime);
        assert!(fit.base.abs() < f64::MIN_POSITIVE);
        assert!((fit.slope - 1.05).abs() < 1e-12);
    }

    #[test]
    fn intervals_cover_where_runs_count_differently() {
        let mut covered = [0; 2];
        for seed in 0..200 {
            let mut runs = noisy(seed, 150, 1e-3, 1e-4);
            runs.extend(noisy(seed + 200, 300, 1e-3, 1e-4));
            for point in &mut runs[1].points {
                point.weight = 0.2;
            }
            let fit = LawFit::new(&runs, Shape::Affine);
            covered[0] += u32::from((fit.base - 1e-3).abs() <= 1.96 * fit.base_error);
            covered[1] += u32::from((fit.slope - 1e-4).abs() <= 1.96 * fit.slope_error);
        }
        // Binomial(200, 0.95): 178 to 199 with probability 99.98%.
        assert!(
            covered.iter().all(|n| (178..=199).contains(n)),
            "{covered:?}"
        );
    }

    #[test]
    fn correlated_samples_widen_the_errors() {
        // An AR(1) series with coefficient 0.7 has 5.7 times the variance of the mean of an
        // independent one; without the inflation half of the intervals would miss.
        let mut covered = 0;
        for seed in 0..200 {
            let mut rng = stream(Seed(seed), "ar1");
            let mut x = 0.0;
            let correlated = series((0..1000).map(|_| {
                x = 0.7 * x + uniform(&mut rng) - 0.5;
                (1.0, 1.0 + 0.2 * x)
            }));
            let fit = LawFit::new(&correlated, Shape::Constant);
            covered += u32::from((fit.base - 1.0).abs() <= 1.96 * fit.base_error);
        }
        // Binomial(200, 0.95): 178 to 199 with probability 99.98%.
        assert!((178..=199).contains(&covered), "{covered}");
    }
}

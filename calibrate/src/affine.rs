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

use nalgebra::{DMatrix, DVector, Matrix2, Vector2};
use schema::stats::{effective_sample_size, mean};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::samples::{Point, Series, Shape};

/// Relative deviations beyond this many scales are clipped in step 1. Larger than Huber's 1.345:
/// skewed noise is the rule here, only outliers are to be clipped.
const CLIP: f64 = 3.0;
/// Smallest scale of relative deviations: what is finer is the resolution of a timer.
const MIN_SCALE: f64 = 1e-3;
/// Where the median at a driver is zero, this share of the mean stands for it.
const MIN_SHARE: f64 = 1e-9;
/// Resolution of a span, in seconds.
const RESOLUTION_S: f64 = 1e-9;
/// Most rounds of reweighting; five or so are needed.
const MAX_ROUNDS: usize = 50;
/// A slope counts as positive if it would come out so by chance with this probability.
const SLOPE_ALPHA: f64 = 0.05;
/// Number of blocks in time that each run is cut into, of which every third is held out.
const N_BLOCKS: usize = 9;
/// Number of folds of the held-out error.
const N_FOLDS: usize = 3;
/// A sample that many times its expectation is an outlier.
const OUTLIER: f64 = 10.0;
/// Share of the total time from which outliers are worth a warning.
const OUTLIER_SHARE: f64 = 0.05;

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
}

impl LawFit {
    /// The law of `series`, which hold at least one sample.
    ///
    /// A slope that is not significantly positive is set to zero, as is a base that is negative by
    /// chance or gives the smallest driver less than half of what it cost; the error of what was
    /// set to zero is that of the full law.
    pub(crate) fn new(series: &[Series], shape: Shape) -> LawFit {
        let mut result = LawFit::without_checks(series, shape);
        result.inspect(series);
        result
    }

    fn without_checks(series: &[Series], shape: Shape) -> LawFit {
        let unit = unit(series);
        let mut warnings = Vec::new();
        let (fit, errors) = match (shape, n_drivers(series)) {
            (Shape::Constant, _) => constant(series, unit),
            (Shape::Affine, ..=1) => {
                warnings.push(
                    "one driver only: the slope cannot be identified, the law is a constant; add runs with other sizes".to_owned(),
                );
                constant(series, unit)
            }
            (Shape::Affine, _) => affine(series, unit, &mut warnings),
        };
        LawFit {
            base: fit.law[0],
            base_error: errors[0],
            slope: fit.law[1] / unit,
            slope_error: errors[1] / unit,
            effective_samples: fit.effective_samples,
            warnings,
        }
    }

    fn expected(&self, driver: f64) -> f64 {
        (self.base + self.slope * driver).max(0.0)
    }

    /// Each sample as a multiple of its expectation, weighted by its expectation: `(factor,
    /// weight)`. The weighted mean is one, since the law predicts the total. A law of zero gives
    /// factors of one.
    pub(crate) fn factors(&self, series: &[Series]) -> Vec<(f64, f64)> {
        let points = series.iter().flat_map(|s| &s.points);
        points
            .map(|point| {
                let expected = self.expected(point.driver);
                if expected <= 0.0 || (point.seconds - expected).abs() <= RESOLUTION_S {
                    return (1.0, expected.max(f64::MIN_POSITIVE));
                }
                (point.seconds / expected, expected)
            })
            .collect()
    }

    /// Warns of outliers that carry much of the time, of runs that disagree, and of correlation.
    fn inspect(&mut self, series: &[Series]) {
        let n: usize = series.iter().map(|s| s.points.len()).sum();
        let total: f64 = series.iter().flat_map(|s| &s.points).map(|p| p.seconds).sum();
        let outliers = series.iter().flat_map(|s| &s.points);
        let outliers: Vec<f64> = outliers
            .filter(|p| p.seconds > OUTLIER * self.expected(p.driver))
            .map(|p| p.seconds)
            .collect();
        let share = outliers.iter().sum::<f64>() / total;
        if share > OUTLIER_SHARE {
            self.warnings.push(format!(
                "{} of {n} samples took more than {OUTLIER} times what is expected, {:.0}% of all time: the mean hangs on them; measure longer, or when the machine is quiet",
                outliers.len(),
                100.0 * share
            ));
        }
        if self.effective_samples < 0.2 * n as f64 {
            self.warnings.push(format!(
                "autocorrelated: {n} samples are worth {:.0} independent ones; the errors are widened, but a simulation draws each on its own",
                self.effective_samples
            ));
        }
        self.compare_runs(series);
    }

    fn compare_runs(&mut self, series: &[Series]) {
        let means: Vec<(f64, f64)> = series
            .iter()
            .filter(|s| s.points.len() >= 20)
            .map(|s| {
                let factors = self.factors(std::slice::from_ref(s));
                let factors: Vec<f64> = factors.iter().map(|(factor, _)| *factor).collect();
                let error = schema::stats::variance(&factors) / effective_sample_size(&factors);
                (mean(&factors), error.sqrt())
            })
            .collect();
        let by_mean = |a: &&(f64, f64), b: &&(f64, f64)| a.0.total_cmp(&b.0);
        let (Some(low), Some(high)) = (means.iter().min_by(by_mean), means.iter().max_by(by_mean))
        else {
            return;
        };
        if high.0 - low.0 > 0.1 && high.0 - low.0 > 4.0 * high.1.hypot(low.1) {
            self.warnings.push(format!(
                "the runs disagree: mean of measured by expected is {:.2} in one and {:.2} in another, and the errors do not say so; look for what differs between them",
                low.0, high.0
            ));
        }
    }
}

/// Mean absolute relative error of laws fitted to two of every three samples on the third.
///
/// Each run is cut into nine blocks in time and every third block is held out in turn: neighbours
/// in time resemble each other, so a sample held out from between two others would not be new to
/// the law, while a block shows drift. Samples of zero have no relative error and are left out.
pub(crate) fn held_out_error(series: &[Series], shape: Shape) -> f64 {
    let mut errors = Vec::new();
    for fold in 0..N_FOLDS {
        let is_held_out = |index: usize, n: usize| index * N_BLOCKS.min(n) / n % N_FOLDS == fold;
        let part = |held_out: bool| -> Vec<Series> {
            let pick = |s: &Series| Series {
                source: s.source,
                points: (0..s.points.len())
                    .filter(|i| is_held_out(*i, s.points.len()) == held_out)
                    .map(|i| s.points[i])
                    .collect(),
            };
            series
                .iter()
                .map(pick)
                .filter(|s| !s.points.is_empty())
                .collect()
        };
        let (fitted, held_out) = (part(false), part(true));
        if fitted.is_empty() {
            continue;
        }
        let law = LawFit::without_checks(&fitted, shape);
        let points = held_out.iter().flat_map(|s| &s.points);
        let relative = points
            .filter(|p| p.seconds > 0.0)
            .map(|p| (p.seconds - law.expected(p.driver)).abs() / p.seconds);
        errors.extend(relative);
    }
    if errors.is_empty() { 0.0 } else { mean(&errors) }
}

/// The largest driver, or one if all are zero.
fn unit(series: &[Series]) -> f64 {
    let drivers = series.iter().flat_map(|s| &s.points).map(|p| p.driver);
    let largest = drivers.fold(0.0, f64::max);
    if largest > 0.0 { largest } else { 1.0 }
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

fn affine(series: &[Series], unit: f64, warnings: &mut Vec<String>) -> (Fit, [f64; 2]) {
    let full = Fit::new(series, unit, Columns::Both);
    let mut errors = [
        full.covariance[(0, 0)].max(0.0).sqrt(),
        full.covariance[(1, 1)].max(0.0).sqrt(),
    ];
    let least = Normal::standard().inverse_cdf(1.0 - SLOPE_ALPHA) * errors[1];
    if full.law[1] <= least {
        if full.law[1] < -least {
            warnings.push(
                "the cost falls with its driver: the law is a constant; look for what else differs between the sizes".to_owned(),
            );
        }
        let fit = Fit::new(series, unit, Columns::Base);
        errors[0] = fit.covariance[(0, 0)].sqrt();
        return (fit, errors);
    }
    if full.law[0] >= 0.0 {
        return (full, errors);
    }
    let (smallest, mean_s) = smallest_driver(series, unit);
    let is_chance = full.law[0] > -2.0 * errors[0];
    if is_chance || full.law[0] + full.law[1] * smallest < 0.5 * mean_s {
        let fit = Fit::new(series, unit, Columns::Slope);
        errors[1] = fit.covariance[(1, 1)].sqrt();
        return (fit, errors);
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
        let times: Vec<f64> = points.iter().map(|p| p.seconds).collect();
        let total: f64 = times.iter().sum();
        let (n, p) = (times.len() as f64, columns.count() as f64);
        if total <= 0.0 {
            return Fit {
                law: Vector2::zeros(),
                covariance: Matrix2::zeros(),
                effective_samples: n,
            };
        }
        let middles = medians(&points, MIN_SHARE * total / n);
        let ratio = Ratio::new(&points, &rows, columns, &middles);
        let expected = ratio.expected(&rows, &middles);
        let scale = total / expected.iter().sum::<f64>();
        let inflation = inflation(series, &times, &expected, &ratio);
        let influences = influences(&rows, &times, &expected, &ratio, scale);
        let mut covariance = Matrix2::zeros();
        for influence in influences {
            covariance += influence * influence.transpose();
        }
        let hc1 = n / (n - p).max(1.0);
        Fit {
            law: ratio.law * scale,
            covariance: covariance * (hc1 * inflation / (n * n)),
            effective_samples: n / inflation,
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
    fn new(
        points: &[Point],
        rows: &[Vector2<f64>],
        columns: Columns,
        middles: &[f64],
    ) -> Ratio {
        let mut expected = middles.to_vec();
        let mut ratio = Ratio {
            law: Vector2::zeros(),
            clip: f64::INFINITY,
        };
        for round in 0..MAX_ROUNDS {
            let weights: Vec<f64> = points
                .iter()
                .zip(&expected)
                .map(|(p, e)| (ratio.clip / (p.seconds / e - 1.0).abs()).min(1.0) / (e * e))
                .collect();
            let before = ratio.law;
            ratio.law = weighted_least_squares(points, rows, &weights, columns);
            expected = ratio.expected(rows, middles);
            // The clip follows the deviations for a few rounds and then stays, so that it settles.
            if round < 5 {
                ratio.clip = clip(points, &expected);
            } else if (ratio.law - before).norm() <= 1e-12 * ratio.law.norm() {
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

/// [`CLIP`] times the scale of the relative deviations: their median absolute deviation, which is
/// 1/1.4826 of the standard deviation of a normal sample.
fn clip(points: &[Point], expected: &[f64]) -> f64 {
    let factors: Vec<f64> = points
        .iter()
        .zip(expected)
        .map(|(p, e)| p.seconds / e)
        .collect();
    let centre = median(factors.clone());
    let spread = median(factors.iter().map(|f| (f - centre).abs()).collect());
    let resolution = RESOLUTION_S / median(expected.to_vec());
    CLIP * (1.4826 * spread).max(MIN_SCALE).max(resolution)
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

/// Least squares with `weights`, by QR of the weighted columns.
fn weighted_least_squares(
    points: &[Point],
    rows: &[Vector2<f64>],
    weights: &[f64],
    columns: Columns,
) -> Vector2<f64> {
    let used: &[usize] = match columns {
        Columns::Both => &[0, 1],
        Columns::Base => &[0],
        Columns::Slope => &[1],
    };
    // Weights are relative: the largest is one, so that squares of small times do not underflow.
    let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let root: Vec<f64> = weights.iter().map(|w| (w / largest).sqrt()).collect();
    let design = DMatrix::from_fn(rows.len(), used.len(), |i, j| rows[i][used[j]] * root[i]);
    let mut times = DVector::from_fn(rows.len(), |i, _| points[i].seconds * root[i]);
    let qr = design.qr();
    qr.q_tr_mul(&mut times);
    let solution = qr
        .r()
        .solve_upper_triangular(&times.rows(0, used.len()).into_owned());
    let mut law = Vector2::zeros();
    for (column, value) in used.iter().zip(solution.iter().flat_map(|s| s.iter().copied())) {
        law[*column] = value;
    }
    law
}

/// By what factor the variance of the law exceeds that of independent samples: the mean over the
/// runs, by number of samples, of `n / n_effective` of the clipped relative deviations.
fn inflation(series: &[Series], times: &[f64], expected: &[f64], ratio: &Ratio) -> f64 {
    let deviations: Vec<f64> = times
        .iter()
        .zip(expected)
        .map(|(time, e)| ratio.clipped(time / e - 1.0))
        .collect();
    let (mut rest, mut sum) = (&deviations[..], 0.0);
    for one in series {
        let (run, later) = rest.split_at(one.points.len());
        rest = later;
        let n = run.len() as f64;
        sum += n * (n / effective_sample_size(run));
    }
    (sum / deviations.len() as f64).max(1.0)
}

/// The influence of each sample on base and slope: how much they change by one more like it, times
/// the number of samples.
fn influences(
    rows: &[Vector2<f64>],
    times: &[f64],
    expected: &[f64],
    ratio: &Ratio,
    scale: f64,
) -> Vec<Vector2<f64>> {
    let n = rows.len() as f64;
    let (mut jacobian, mut mean_row) = (Matrix2::zeros(), Vector2::zeros());
    for ((row, time), e) in rows.iter().zip(times).zip(expected) {
        let (factor, z) = (time / e, row / *e);
        let inside = (factor - 1.0).abs() < ratio.clip;
        let weight = ratio.clipped(factor - 1.0) + if inside { factor } else { 0.0 };
        jacobian += z * z.transpose() * (weight / n);
        mean_row += row / n;
    }
    // A pseudo-inverse, for a law without base or slope has a row and a column of zeros.
    let largest = jacobian.abs().max();
    let inverse = jacobian
        .pseudo_inverse(1e-12 * largest.max(f64::MIN_POSITIVE))
        .unwrap_or_else(|_| Matrix2::zeros());
    let mean_expected = expected.iter().sum::<f64>() / n;
    let of = |((row, time), e): ((&Vector2<f64>, &f64), &f64)| {
        let on_ratio = inverse * (row / *e) * ratio.clipped(time / e - 1.0);
        let on_total = time - scale * e - scale * mean_row.dot(&on_ratio);
        on_ratio * scale + ratio.law * (on_total / mean_expected)
    };
    rows.iter().zip(times).zip(expected).map(of).collect()
}

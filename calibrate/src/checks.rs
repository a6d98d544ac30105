//! What to check before trusting a law: its error on samples it never saw, and what in the samples
//! contradicts it.

use std::collections::BTreeMap;

use schema::stats::{mean, quantile, variance};

use crate::affine::LawFit;
use crate::correlation::effective_samples;
use crate::samples::{Point, Series, Shape};

/// Number of blocks in time that each run is cut into, of which every third is held out.
const N_BLOCKS: usize = 9;
/// Number of folds of the held-out error.
const N_FOLDS: usize = 3;
/// A sample that many times its expectation is an outlier.
const OUTLIER: f64 = 10.0;
/// Share of the total time from which outliers are worth a warning.
const OUTLIER_SHARE: f64 = 0.05;
/// Inflation of the variance from which a warning tells of autocorrelation.
const CORRELATED: f64 = 5.0;
/// Relative difference of means from which it is worth a warning, if chance does not explain it.
const DIFFERENCE: f64 = 0.1;
/// Chance does not explain a difference of that many standard errors.
const N_ERRORS: f64 = 4.0;
/// Ratio of the spread of small and large costs from which it is worth a warning.
const SPREAD: f64 = 3.0;
/// Fewest samples whose mean is compared.
const MIN_GROUP: usize = 20;

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
        let law = LawFit::new(&fitted, shape);
        let points = held_out.iter().flat_map(|s| &s.points);
        let relative = points
            .filter(|p| p.seconds > 0.0)
            .map(|p| (p.seconds - law.expected(p.driver)).abs() / p.seconds);
        errors.extend(relative);
    }
    if errors.is_empty() {
        0.0
    } else {
        mean(&errors)
    }
}

/// What in `series` contradicts `law`, or makes it hang on little.
pub(crate) fn warnings(law: &LawFit, series: &[Series]) -> Vec<String> {
    [outliers, correlation, runs, linearity, spread]
        .iter()
        .filter_map(|check| check(law, series))
        .collect()
}

fn outliers(law: &LawFit, series: &[Series]) -> Option<String> {
    let points = || series.iter().flat_map(|s| &s.points);
    let total_s: f64 = points().map(|p| p.seconds).sum();
    let far = points().filter(|p| p.seconds > OUTLIER * law.expected(p.driver));
    let far: Vec<f64> = far.map(|p| p.seconds).collect();
    let share = far.iter().sum::<f64>() / total_s;
    (share > OUTLIER_SHARE).then(|| {
        format!(
            "{} of {} samples took more than {OUTLIER} times what is expected, {:.0}% of all time: the mean hangs on them; measure longer, or when the machine is quiet",
            far.len(),
            points().count(),
            100.0 * share
        )
    })
}

fn correlation(law: &LawFit, _: &[Series]) -> Option<String> {
    (law.inflation > CORRELATED).then(|| {
        "autocorrelated: the errors are widened, but a simulation draws each time on its own; measure longer, or when the machine is quiet".to_owned()
    })
}

/// Mean of what was measured by what is expected, and its standard error; `None` of few samples.
fn mean_factor(factors: &[f64]) -> Option<(f64, f64)> {
    let error = (variance(factors) / effective_samples(factors)).sqrt();
    (factors.len() >= MIN_GROUP).then(|| (mean(factors), error))
}

fn runs(law: &LawFit, series: &[Series]) -> Option<String> {
    let means = series.iter().filter_map(|s| {
        let factors = law.factors(std::slice::from_ref(s));
        mean_factor(
            &factors
                .iter()
                .map(|(factor, _)| *factor)
                .collect::<Vec<_>>(),
        )
    });
    let means: Vec<(f64, f64)> = means.collect();
    let low = means.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let high = means.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let difference = high.0 - low.0;
    (difference > DIFFERENCE && difference > N_ERRORS * high.1.hypot(low.1)).then(|| {
        format!(
            "the runs disagree: what was measured is {:.2} times what is expected in one and {:.2} times in another, and the errors do not say so; look for what differs between them",
            low.0, high.0
        )
    })
}

fn linearity(law: &LawFit, series: &[Series]) -> Option<String> {
    let mut by_driver: BTreeMap<u64, Vec<&Point>> = BTreeMap::new();
    for point in series.iter().flat_map(|s| &s.points) {
        by_driver
            .entry(point.driver.to_bits())
            .or_default()
            .push(point);
    }
    if by_driver.len() < 2 {
        return None;
    }
    let means = by_driver.into_values().filter_map(|points| {
        let driver = points[0].driver;
        let expected = law.expected(driver);
        let factors: Vec<f64> = points.iter().map(|p| p.seconds / expected).collect();
        let (_, error) = mean_factor(&factors)?;
        let weight: f64 = points.iter().map(|p| p.weight).sum();
        let sum: f64 = points.iter().zip(&factors).map(|(p, f)| p.weight * f).sum();
        Some((driver, sum / weight, error))
    });
    let (driver, factor, error) =
        means.max_by(|a, b| (a.1 - 1.0).abs().total_cmp(&(b.1 - 1.0).abs()))?;
    let difference = (factor - 1.0).abs();
    (difference > DIFFERENCE && difference > N_ERRORS * error).then(|| {
        format!(
            "not a straight line: at driver {driver} the mean is {factor:.2} times the law's; calibrate on the sizes that matter"
        )
    })
}

/// The spread of the factors of small costs beside that of large ones.
fn spread(law: &LawFit, series: &[Series]) -> Option<String> {
    let points = || series.iter().flat_map(|s| &s.points);
    let drivers = points().map(|p| p.driver);
    let middle = 0.5 * drivers.fold(0.0, f64::max);
    let of = |is_large: bool| {
        let half = points().filter(|p| (p.driver > middle) == is_large);
        let mut factors: Vec<f64> = half.map(|p| p.seconds / law.expected(p.driver)).collect();
        factors.sort_by(f64::total_cmp);
        let is_enough = factors.len() >= MIN_GROUP;
        is_enough.then(|| quantile(&factors, 0.9) - quantile(&factors, 0.1))
    };
    let (small, large) = (of(false)?, of(true)?);
    (small.max(large) > SPREAD * small.min(large)).then(|| {
        format!(
            "the spread depends on the driver: the middle 80% span {:.0}% of the mean for small ones and {:.0}% for large ones, and the residual is mostly that of the large; calibrate small ones alone if they matter",
            100.0 * small,
            100.0 * large
        )
    })
}

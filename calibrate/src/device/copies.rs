//! Laws of copies, by direction and host memory.

use std::collections::BTreeMap;

use schema::profile::{CostLaw, Driver, Residual, cost};

use super::robust::{Centre, Line};
use super::seen::{Seen, What, names};
use crate::{FEW_SAMPLES, FitReport, MIN_SAMPLES};

/// Number of folds of the held-out error.
const N_FOLDS: usize = 3;
/// Spread below which copies of a size all take the same: that of a clock which shows half
/// microseconds, relative to a copy of a millisecond.
const LEAST_SPREAD: f64 = 1e-3;

/// Operations of one kind: by size, what each took, in seconds.
pub(super) type Sizes = BTreeMap<u64, Vec<f64>>;

/// The law of each kind of copy that is seen while nothing else moves.
pub(super) fn fit(part: &str, runs: &[Seen<'_>]) -> Vec<FitReport> {
    let mut kinds: BTreeMap<String, (Sizes, Vec<&str>)> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.is_alone) {
        for ((stage, _), done) in &run.contexts {
            for done in done {
                let (direction, bytes) = match done.what {
                    What::H2d(bytes) => (cost::H2D, bytes),
                    What::D2h(bytes) => (cost::D2H, bytes),
                    What::Preprocess(_) | What::Kernel(..) | What::Graph(_) => continue,
                };
                let key = format!("{direction}/{}", run.memory(*stage));
                let (sizes, sources) = kinds.entry(key).or_default();
                sizes.entry(bytes).or_default().push(done.length_s());
                sources.push(run.source);
            }
        }
    }
    let reports = kinds.into_iter().filter_map(|(cost, (sizes, sources))| {
        let n: usize = sizes.values().map(Vec::len).sum();
        (n >= MIN_SAMPLES).then(|| report(part, cost, &sizes, names(sources)))
    });
    reports.collect()
}

fn report(part: &str, cost: String, sizes: &Sizes, source: String) -> FitReport {
    let mut warnings = Vec::new();
    let line = law(sizes, &mut warnings);
    let n: usize = sizes.values().map(Vec::len).sum();
    if n < FEW_SAMPLES {
        warnings.push(format!(
            "{n} samples: the errors themselves are uncertain; measure more requests"
        ));
    }
    let spreads: Vec<f64> = centres(sizes)
        .iter()
        .map(|(_, centre)| centre.spread / centre.value)
        .collect();
    let spread = super::robust::median(&spreads).unwrap_or(0.0);
    let bytes = || sizes.keys().map(|bytes| *bytes as f64);
    FitReport {
        part: part.to_owned(),
        cost,
        law: CostLaw {
            per: Driver::Bytes,
            base: line.base,
            base_error: line.base_error,
            slope: line.slope,
            slope_error: line.slope_error,
            range: [
                bytes().fold(f64::INFINITY, f64::min),
                bytes().fold(0.0, f64::max),
            ],
            samples: n as u64,
            held_out_error: held_out_error(sizes),
            source,
            residual: match spread {
                spread if spread > LEAST_SPREAD => Residual::Lognormal { sigma: spread },
                _ => Residual::None,
            },
            idle: None,
            working_set: None,
        },
        effective_samples: n as f64,
        residual_cv: spread,
        warnings,
    }
}

fn centres(sizes: &Sizes) -> Vec<(f64, Centre)> {
    let centre = |(bytes, times): (&u64, &Vec<f64>)| {
        let centre = Centre::of(times, 1.0)?;
        Some((*bytes as f64, centre))
    };
    sizes.iter().filter_map(centre).collect()
}

/// The line through the medians of the sizes, with neither base nor slope below zero.
pub(super) fn law(sizes: &Sizes, warnings: &mut Vec<String>) -> Line {
    let points = centres(sizes);
    let constant = |(_, centre): &(f64, Centre)| Line {
        base: centre.value,
        base_error: centre.error,
        slope: 0.0,
        slope_error: 0.0,
        correlation: 0.0,
    };
    let Some(line) = Line::through(&points) else {
        warnings.push(
            "one size only: the slope cannot be identified, the law is a constant; add runs with other sizes".to_owned(),
        );
        return constant(&points[0]);
    };
    if line.slope <= 0.0 {
        warnings.push(
            "the cost falls with its size: the law is a constant; look for what else differs between the sizes".to_owned(),
        );
        return constant(&points[0]);
    }
    if line.base >= 0.0 {
        return line;
    }
    let weight = |(x, centre): &(f64, Centre)| (x / centre.error).powi(2);
    let total: f64 = points.iter().map(weight).sum();
    let slopes = points
        .iter()
        .map(|point| weight(point) * point.1.value / point.0.max(1.0));
    Line {
        base: 0.0,
        slope: slopes.sum::<f64>() / total,
        ..line
    }
}

/// Mean absolute relative error of laws fitted to two of every three samples on the third.
pub(super) fn held_out_error(sizes: &Sizes) -> f64 {
    let mut errors = Vec::new();
    for fold in 0..N_FOLDS {
        let part = |is_held_out: bool| -> Sizes {
            let of_size = |(bytes, times): (&u64, &Vec<f64>)| {
                let times = times.iter().enumerate();
                let times = times.filter(|(at, _)| (at % N_FOLDS == fold) == is_held_out);
                let times: Vec<f64> = times.map(|(_, time)| *time).collect();
                (!times.is_empty()).then_some((*bytes, times))
            };
            sizes.iter().filter_map(of_size).collect()
        };
        let (fitted, held_out) = (part(false), part(true));
        if fitted.is_empty() {
            continue;
        }
        let line = law(&fitted, &mut Vec::new());
        for (bytes, times) in &held_out {
            let expected = line.at(*bytes as f64);
            let positive = times.iter().filter(|time| **time > 0.0);
            errors.extend(positive.map(|time| (time - expected).abs() / time));
        }
    }
    if errors.is_empty() {
        return 0.0;
    }
    schema::stats::mean(&errors)
}

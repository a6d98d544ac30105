//! Fits profiles to runs, and compares runs.
//!
//! [`calibrate`] takes the spans of measured runs and gives each part's costs as laws
//! `(base + slope · driver) · residual`, with standard errors, an error on held-out samples and the
//! distribution of the residual. Of GPUs, whose own clock times them, `device` fits copies and what a
//! device adds to kernels. [`gpu`] fits laws of nets on GPUs to tables of times, and [`nic`]
//! network adapters. [`validate`]
//! puts a measured run beside its simulation. `METHODOLOGY.md`, next to this crate's manifest, says which span is a sample of which cost, how
//! the errors are computed, and which biases are known.
//!
//! What is left out: nothing here looks at the machine or reads a file, and a cost that no span
//! shows is not in the profile.
#![forbid(unsafe_code)]

mod affine;
mod bookkeeping;
mod checks;
mod collect;
mod contention;
mod correlation;
mod device;
pub mod gpu;
mod idle;
pub mod nic;
pub mod published;
mod report;
mod residual;
mod samples;
pub mod spread;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};

use schema::profile::{CostLaw, PROFILE_FORMAT, Part, PartKind, Profile, parameter};
use schema::run::{Outcome, Run};

pub use contention::{ContentionPoint, ContentionReport};
pub use device::ParameterReport;

use crate::affine::LawFit;
use crate::collect::collect;
use crate::samples::{Collected, Selected};

/// Fewest samples from which a cost is fitted at all.
pub const MIN_SAMPLES: usize = 3;
/// Fewest samples from which a cost is fitted without a warning.
pub const FEW_SAMPLES: usize = 10;

/// A run to fit to.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Its run directory. The `source` of each figure of the profile is the names of the runs it
    /// came from, joined by `, `.
    pub name: String,
    /// The run.
    pub run: &'a Run,
}

/// A fitted profile, and how good each of its figures is.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The profile.
    pub profile: Profile,
    /// One report a cost, ordered by part and cost.
    pub fits: Vec<FitReport>,
    /// One report a host part whose runs could show contention, ordered by part.
    pub contention: Vec<ContentionReport>,
    /// One report a parameter of a GPU's part, ordered by part and name.
    pub parameters: Vec<ParameterReport>,
    /// What to know about the runs as a whole before trusting the figures.
    pub warnings: Vec<String>,
}

/// One cost as fitted.
#[derive(Clone, PartialEq, Debug)]
pub struct FitReport {
    /// The part.
    pub part: String,
    /// The key of the cost; see [`schema::profile::cost`].
    pub cost: String,
    /// The law: its estimates with standard errors, range, number of samples, held-out error and
    /// residual.
    pub law: CostLaw,
    /// How many independent samples of equal weight they are worth; a run counts for no more than
    /// 1000.
    pub effective_samples: f64,
    /// Coefficient of variation of the residual, each sample weighted by its expected time.
    pub residual_cv: f64,
    /// What to check before trusting the law.
    pub warnings: Vec<String>,
}

/// Why no profile can be fitted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CalibrateError {
    /// There is no run at all.
    #[error("fit a profile: there is no run to fit it to")]
    NoRun,
    /// A run is of plain stages.
    #[error(
        "fit a profile: {run} is of plain stages, whose times are given by the scenario, so there is nothing to fit; leave it out"
    )]
    Plain {
        /// The run.
        run: String,
    },
    /// No run holds a span of a request that counts.
    #[error(
        "fit a profile: no span of a request that was completed after the warm-up in {runs}; measure more requests than `run.warmup` leaves out"
    )]
    NothingToFit {
        /// The runs, joined by commas.
        runs: String,
    },
    /// A cost has too few samples.
    #[error(
        "fit `{cost}` of part `{part}`: {found} samples in {runs}, at least {MIN_SAMPLES} are needed; measure more requests, or leave the run out"
    )]
    TooFewSamples {
        /// The runs that have any, joined by commas.
        runs: String,
        /// The part.
        part: String,
        /// The key of the cost.
        cost: String,
        /// Number of samples.
        found: usize,
    },
    /// A part is of one kind in one place and of another elsewhere.
    #[error(
        "fit part `{part}`: it is the part of a {} and of a {} in {runs}; give one of them another `part`",
        kinds[0].name(), kinds[1].name()
    )]
    TwoKinds {
        /// The runs, joined by commas.
        runs: String,
        /// The part.
        part: String,
        /// What it is in one place, and in another.
        kinds: [PartKind; 2],
    },
}

/// Fits a profile called `name` to `sources`.
///
/// # Errors
/// If there is no run, if one is of plain stages, if no request counts in any run, if a cost has
/// samples but fewer than [`MIN_SAMPLES`], or if a part is of two kinds.
pub fn calibrate(name: &str, sources: &[Source]) -> Result<Calibration, CalibrateError> {
    if sources.is_empty() {
        return Err(CalibrateError::NoRun);
    }
    if let Some(plain) = sources.iter().find(|source| source.run.scenario.is_plain()) {
        return Err(CalibrateError::Plain {
            run: plain.name.clone(),
        });
    }
    let mut warnings = broken(sources);
    let collected = collect(sources, &mut warnings);
    let device = device::fit(sources);
    if collected.is_empty() && device.parts.is_empty() {
        return Err(CalibrateError::NothingToFit {
            runs: names(sources, 0..sources.len()),
        });
    }
    let mut profile = Profile {
        format: PROFILE_FORMAT,
        name: name.to_owned(),
        fitted_to: sources
            .iter()
            .map(|source| (source.name.clone(), source.run.manifest.id()))
            .collect(),
        spread: BTreeMap::new(),
        parts: BTreeMap::new(),
    };
    let mut fits = Vec::new();
    for ((part, cost), samples) in &collected {
        let Some(report) = fit(part, cost, samples, sources, &mut warnings)? else {
            continue;
        };
        let row = part_of(&mut profile, part, samples.kind, sources)?;
        row.costs.insert(cost.clone(), report.law.clone());
        fits.push(report);
    }
    for report in bookkeeping::fit(sources, &profile) {
        let row = part_of(&mut profile, &report.part, PartKind::Host, sources)?;
        row.costs.insert(report.cost.clone(), report.law.clone());
        fits.push(report);
    }
    for part in &device.parts {
        part_of(&mut profile, part, PartKind::Gpu, sources)?;
    }
    for report in device.costs {
        let row = part_of(&mut profile, &report.part, PartKind::Gpu, sources)?;
        row.costs.insert(report.cost.clone(), report.law.clone());
        fits.push(report);
    }
    for report in &device.parameters {
        part_of(&mut profile, &report.part, PartKind::Gpu, sources)?
            .parameters
            .insert(report.name.clone(), report.estimate.clone());
    }
    for ((part, name), net) in device.nets {
        let row = part_of(&mut profile, &part, PartKind::Gpu, sources)?;
        row.nets.insert(name, net);
    }
    warnings.extend(device.warnings);
    fits.sort_by(|a, b| (&a.part, &a.cost).cmp(&(&b.part, &b.cost)));
    for adapter in adapters(sources) {
        // What it takes is in the delay: a trace does not tell an adapter's part from a link's.
        part_of(&mut profile, adapter, PartKind::Nic, sources)?;
    }
    let contention = contention::estimate(sources, &profile);
    for report in &contention {
        if let Some(estimate) = &report.estimate {
            part_of(&mut profile, &report.part, PartKind::Host, sources)?
                .parameters
                .insert(parameter::CONTENTION.to_owned(), estimate.clone());
        }
    }
    Ok(Calibration {
        profile,
        fits,
        contention,
        parameters: device.parameters,
        warnings,
    })
}

/// The parts of the network adapters that messages went over.
fn adapters<'a>(sources: &[Source<'a>]) -> BTreeSet<&'a str> {
    let scenarios = sources.iter().map(|source| &source.run.scenario);
    let ends = scenarios.flat_map(|scenario| {
        let hops = scenario.groups.rows().iter().flat_map(|group| &group.path);
        let hops = hops.filter(|hop| hop.over.is_verbs());
        hops.flat_map(|hop| [hop.from, scenario.stages[hop.to].host])
            .map(|host| &scenario.hosts[host])
    });
    ends.filter_map(|host| Some(host.nic.as_ref()?.part.as_str()))
        .collect()
}

fn broken(sources: &[Source]) -> Vec<String> {
    let broken = sources.iter().filter_map(|s| match &s.run.manifest.outcome {
        Outcome::Complete => None,
        Outcome::Broken { role, how } => Some(format!(
            "{} is broken (`{role}` {how}): only the requests completed before are used; measure it again",
            s.name
        )),
    });
    broken.collect()
}

/// The names of the sources `which`, each once, in order.
fn names(sources: &[Source], which: impl IntoIterator<Item = usize>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for index in which {
        let name = sources[index].name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn part_of<'a>(
    profile: &'a mut Profile,
    name: &str,
    kind: PartKind,
    sources: &[Source],
) -> Result<&'a mut Part, CalibrateError> {
    let part = profile
        .parts
        .entry(name.to_owned())
        .or_insert_with(|| Part {
            nets: BTreeMap::new(),
            kind,
            parameters: BTreeMap::new(),
            costs: BTreeMap::new(),
        });
    if part.kind == kind {
        return Ok(part);
    }
    Err(CalibrateError::TwoKinds {
        runs: names(sources, 0..sources.len()),
        part: name.to_owned(),
        kinds: [part.kind, kind],
    })
}

/// The law of one cost; `None` if its spans carry no core time and it needs it.
fn fit(
    part: &str,
    cost: &str,
    collected: &Collected,
    sources: &[Source],
    run_warnings: &mut Vec<String>,
) -> Result<Option<FitReport>, CalibrateError> {
    let Selected {
        mut series,
        mut warnings,
    } = collected.select();
    let runs = names(sources, series.iter().map(|s| s.source));
    let n: usize = series.iter().map(|s| s.points.len()).sum();
    if n == 0 {
        run_warnings.push(format!(
            "`{cost}` of part `{part}` is left out: {}",
            warnings.join("; ")
        ));
        return Ok(None);
    }
    if n < MIN_SAMPLES {
        return Err(CalibrateError::TooFewSamples {
            runs,
            part: part.to_owned(),
            cost: cost.to_owned(),
            found: n,
        });
    }
    if n < FEW_SAMPLES {
        warnings.push(format!(
            "{n} samples: the errors themselves are uncertain; measure more requests"
        ));
    }
    let mut fit = LawFit::new(&series, collected.shape);
    let idle = idle::fit(&series, |driver| fit.expected(driver));
    if let Some((idle, memory)) = idle {
        // The law is for cores that were busy all along.
        for point in series.iter_mut().flat_map(|s| &mut s.points) {
            let recent = point.recent.map_or(1.0, |recent| recent[memory]);
            point.seconds /= idle.factor(recent);
        }
        fit = LawFit::new(&series, collected.shape);
    }
    warnings.extend(fit.warnings.iter().cloned());
    warnings.extend(checks::warnings(&fit, &series));
    let factors = fit.factors(&series);
    let residual = residual::choose(&factors);
    let drivers = series.iter().flat_map(|s| &s.points).map(|p| p.driver);
    let range = drivers.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| {
        [low.min(x), high.max(x)]
    });
    let law = CostLaw {
        per: collected.per,
        base: fit.base,
        base_error: fit.base_error,
        slope: fit.slope,
        slope_error: fit.slope_error,
        range,
        samples: n as u64,
        held_out_error: checks::held_out_error(&series, collected.shape),
        source: runs,
        residual: residual.kind,
        idle: idle.map(|(idle, _)| idle),
        working_set: None,
    };
    Ok(Some(FitReport {
        part: part.to_owned(),
        cost: cost.to_owned(),
        law,
        effective_samples: fit.effective_samples,
        residual_cv: residual.cv,
        warnings,
    }))
}

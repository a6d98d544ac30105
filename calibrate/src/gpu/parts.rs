//! GPUs fitted to published measurements, as profiles.
//!
//! Each profile has one part, and is a function of the tables of this crate alone. The example
//! `public_parts` writes them all to a folder. To add one, write the function that makes it and list
//! it in [`PUBLIC`].

use std::collections::BTreeMap;

use schema::gpu::GpuNet;
use schema::profile::{PROFILE_FORMAT, Parameter, Part, PartKind, Profile, parameter};

use super::fit::{Fit, FitError};
use super::held_out::{Errors, fold_of, held_out};
use super::interference::Interference;
use super::share::{FittedShareLaw, ShareLaw, SharePoint};
use super::tables;

/// A profile by name, and what makes it.
pub type Maker = (&'static str, fn() -> Result<Profile, FitError>);

/// Every public part.
pub const PUBLIC: [Maker; 1] = [("v100-mps", v100)];

/// Digits of fitted figures in a profile; no standard error is below the last.
const DIGITS: usize = 4;

/// A V100 with four convolutional nets, which have been measured alone and in pairs under MPS.
///
/// # Errors
/// If the tables cannot be fitted; they can.
pub fn v100() -> Result<Profile, FitError> {
    let solo = tables::v100_solo();
    let fitted: Vec<FittedShareLaw> = solo
        .iter()
        .map(|points| ShareLaw::fit(points))
        .collect::<Result<_, _>>()?;
    let laws: Vec<ShareLaw> = fitted.iter().map(|fitted| fitted.law).collect();
    let (interference, fit) = Interference::fit(&laws, &tables::v100_pairs())?;

    let mut nets = BTreeMap::new();
    for (index, name) in tables::V100_NETS.iter().enumerate() {
        let errors = share_errors(name, &solo[index], 2)?;
        let source = "fitted to the times of iGniter (IEEE TPDS 2023), TensorRT under MPS: alone, \
                      table v100-mps-solo; intensity from pairs, table v100-mps-pairs";
        let net = fitted[index].net(Some(&interference.nets[index]), &errors, source);
        nets.insert(net_key(name), rounded(net));
    }

    let paper = "NVIDIA, Tesla V100 GPU Architecture, white paper WP-08608-001, 2017";
    let parameters = [
        (parameter::SMS, exact(80.0, "1", paper)),
        (parameter::THREADS_PER_SM, exact(2048.0, "1", paper)),
        (parameter::BLOCKS_PER_SM, exact(32.0, "1", paper)),
        (parameter::REGISTERS_PER_SM, exact(65536.0, "1", paper)),
        (parameter::SHARED_MEMORY_PER_SM, exact(98304.0, "B", paper)),
        (parameter::DRAM_BANDWIDTH, exact(900e9, "B/s", paper)),
        (parameter::MEMORY, exact(16.0 * 1_073_741_824.0, "B", paper)),
        (parameter::INTERFERENCE_EXPONENT, estimated(&fit, "gamma")),
        (parameter::OVERHEAD_INTERFERENCE, estimated(&fit, "lambda")),
    ];
    let part = Part {
        kind: PartKind::Gpu,
        parameters: parameters
            .map(|(name, figure)| (name.to_owned(), figure))
            .into(),
        costs: BTreeMap::new(),
        nets,
    };
    Ok(profile("v100-mps", part))
}

/// Errors of the law of a net alone on points held out from its fit, in `k` folds.
///
/// # Errors
/// If one of the fits fails.
pub fn share_errors(net: &str, points: &[SharePoint], k: usize) -> Result<Errors, FitError> {
    let fold = |p: &SharePoint| fold_of(&format!("{net} {} {}", p.batch, p.share), k);
    let pairs = held_out(points, k, fold, |train, test| {
        let law = ShareLaw::fit(train)?.law;
        let pairs = test
            .iter()
            .map(|p| (law.expected(p.batch, p.share), p.time));
        Ok::<_, FitError>(pairs.collect())
    })?;
    Ok(Errors::of(&pairs))
}

/// What scenarios call the net; those that name its input have the key of the published one.
fn net_key(name: &str) -> String {
    let known = schema::nets::NetInfo::find(name);
    known.map_or_else(
        || name.to_owned(),
        |net| format!("{name}@{}", net.default_side),
    )
}

/// A profile called `name` with one part of that name.
pub(crate) fn profile(name: &str, part: Part) -> Profile {
    Profile {
        format: PROFILE_FORMAT,
        name: name.to_owned(),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts: BTreeMap::from([(name.to_owned(), part)]),
    }
}

/// A figure that is known without error.
pub(crate) fn exact(value: f64, unit: &str, source: &str) -> Parameter {
    Parameter {
        value,
        standard_error: 0.0,
        unit: unit.to_owned(),
        range: None,
        source: source.to_owned(),
    }
}

/// A fitted figure without unit.
pub(crate) fn estimated(fit: &Fit, term: &str) -> Parameter {
    let estimate = fit.estimate(term);
    Parameter {
        value: significant(estimate.value),
        standard_error: significant(estimate.standard_error()),
        unit: "1".to_owned(),
        range: Some(estimate.interval().map(significant)),
        source: "fitted to the pairs of iGniter (IEEE TPDS 2023), table v100-mps-pairs".to_owned(),
    }
}

/// `value` to [`DIGITS`] digits, so that a profile does not depend on the last bits of a machine's
/// logarithm.
pub(crate) fn significant(value: f64) -> f64 {
    let digits = DIGITS - 1;
    let text = format!("{value:.digits$e}");
    text.parse().expect("a number that was just written")
}

/// The net with all its figures to [`DIGITS`] digits.
pub(crate) fn rounded(mut net: GpuNet) -> GpuNet {
    net.held_out_error = significant(net.held_out_error);
    let phases = net.phases.iter_mut().flat_map(|phase| {
        [
            &mut phase.overhead,
            &mut phase.compute,
            &mut phase.parallelism,
            &mut phase.bytes,
            &mut phase.intensity,
        ]
    });
    for law in phases.chain([&mut net.floor]) {
        law.map(significant);
    }
    net
}

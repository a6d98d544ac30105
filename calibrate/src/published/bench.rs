//! GPUs on which nothing but nets takes time, and loads for them.

use std::collections::BTreeMap;

use schema::gpu::GpuNet;
use schema::profile::{CostLaw, Driver, Parameter, Part, PartKind, Profile, cost};

use crate::gpu::held_out::fold_of;
use crate::gpu::parts::{exact, profile, rounded};

/// Range of a law that holds for any driver.
pub(super) const EVERY: [f64; 2] = [0.0, 1e18];

/// A figure that is known without error, with its range.
pub(super) fn known(value: f64, unit: &str, source: &str) -> Parameter {
    Parameter {
        range: Some([value; 2]),
        ..exact(value, unit, source)
    }
}

/// A net that keeps `parameters` of so many bytes each, and nothing else that is known.
pub(super) fn with_weights(net: GpuNet, parameters: f64, bytes: f64) -> GpuNet {
    GpuNet {
        memory: parameters * bytes,
        source: format!(
            "{}; memory: weights alone, {parameters:e} of {bytes} B",
            net.source
        ),
        ..rounded(net)
    }
}

/// A GPU on which nothing but nets takes time, as a profile with one part called `name`.
pub(super) fn bare_gpu(
    name: &str,
    parameters: &[(&str, Parameter)],
    nets: BTreeMap<String, GpuNet>,
) -> Profile {
    let free = |key: &str| {
        let source = "by definition: forward passes alone were measured";
        let law = CostLaw {
            range: EVERY,
            ..CostLaw::exact(Driver::Bytes, 0.0, 0.0, source)
        };
        (format!("{key}/pinned"), law)
    };
    let parameters = parameters.iter();
    let part = Part {
        kind: PartKind::Gpu,
        parameters: parameters
            .map(|(name, figure)| ((*name).to_owned(), figure.clone()))
            .collect(),
        costs: [cost::H2D, cost::D2H].map(free).into(),
        nets,
    };
    profile(name, part)
}

/// Keys of a stage, and of the clients that fill its batches, for a net that is served without a pause.
pub(super) fn served(net: &str, (batch, share): (f64, f64), stage: &str, clients: usize) -> String {
    let percent = (100.0 * share).round();
    format!(
        "\"stages.{stage}.serve.profiled.name\" = \"{net}\", \"stages.{stage}.batch.max\" = {batch}, \"stages.{stage}.gpu.mps.percentage\" = {percent}, \"clients.{clients}.count\" = {batch}"
    )
}

/// A share in a label.
pub(super) fn percent(share: f64) -> String {
    format!("{}%", (100.0 * share).round())
}

/// Points to fit to and points held out, the first of `k` folds.
pub(super) fn split<P: Copy>(
    points: &[P],
    k: usize,
    name: impl Fn(&P) -> String,
) -> (Vec<P>, Vec<P>) {
    points
        .iter()
        .partition(|point| fold_of(&name(point), k) > 0)
}

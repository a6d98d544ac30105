//! Fits the parts of GPUs to what a device's own clock said of copies and kernels.
//!
//! The spans of an inference context on a GPU are times between CUDA events, so they belong to the
//! GPU's part and not to its host's. Of copies there are laws by direction and host memory
//! ([`copies`]) and what they get of the link together ([`link`]); of kernels of known work what the
//! device adds to them ([`kernels`]), how many blocks run at once ([`blocks`]), what they draw from
//! memory ([`memory`]), how processes take turns ([`turns`]), which streams wait for others
//! ([`queues`]), and what passes cost by the size of their batch ([`batches`]). Of raw images there is
//! what it takes to turn them into tensors ([`preprocess`]).
//!
//! Which runs show what is decided by what is in them, not by their names: a probe of
//! `tandem probe --gpu` is a scenario as any other.
//!
//! Runs with placement `device` show the device alone; others of a part count only if there is none
//! of these.
//!
//! What is left out: nothing here says what a kernel computes, and what no run shows is not in the
//! part.

mod batches;
mod blocks;
mod copies;
mod kernels;
mod link;
mod memory;
mod preprocess;
mod queues;
mod robust;
mod seen;
mod turns;

use std::collections::BTreeMap;

use schema::gpu::GpuNet;
use schema::profile::{CostLaw, Parameter, cost};

use crate::{FitReport, Source};
use seen::seen;

/// A number of a part as fitted.
#[derive(Clone, PartialEq, Debug)]
pub struct ParameterReport {
    /// The part.
    pub part: String,
    /// The name of the parameter; see [`schema::profile::parameter`].
    pub name: String,
    /// Its estimate with standard error.
    pub estimate: Parameter,
    /// What to check before trusting it.
    pub warnings: Vec<String>,
}

/// What the runs say of the GPUs in them.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Fitted {
    /// Names of all parts of GPUs.
    pub(crate) parts: Vec<String>,
    pub(crate) costs: Vec<FitReport>,
    pub(crate) parameters: Vec<ParameterReport>,
    /// What to know about the runs.
    pub(crate) warnings: Vec<String>,
    /// By part and name.
    pub(crate) nets: BTreeMap<(String, String), GpuNet>,
}

/// Fits every part of a GPU that did something in `sources`.
pub(crate) fn fit(sources: &[Source<'_>]) -> Fitted {
    let mut fitted = Fitted::default();
    for (part, mut runs) in seen(sources) {
        // In others the host's way from an event to what is timed is part of it.
        if runs.iter().any(|run| run.is_handed_over) {
            runs.retain(|run| run.is_handed_over);
        }
        let costs = copies::fit(&part, &runs);
        let laws: BTreeMap<String, CostLaw> = costs
            .iter()
            .map(|report| (report.cost.clone(), report.law.clone()))
            .collect();
        let parameters = &mut fitted.parameters;
        parameters.extend(link::bandwidth(&part, &laws));
        parameters.extend(link::duplex_penalty(&part, &runs, &laws));
        fitted.warnings.extend(link::engines(&part, &runs, &laws));
        let interval = kernels::launch_interval(&part, &runs);
        let interval_s = interval.as_ref().map_or(0.0, |r| r.estimate.value);
        parameters.extend(interval);
        parameters.extend(kernels::graph_launch_interval(&part, &runs));
        let room = blocks::fit(&part, &runs, interval_s);
        let room = room.map(|(room, reports)| {
            parameters.extend(reports);
            room
        });
        if let Some(room) = &room {
            parameters.extend(memory::fit(&part, &runs, room, interval_s));
        }
        parameters.extend(turns::fit(&part, &runs, interval_s));
        parameters.extend(queues::hardware_queues(&part, &runs));
        parameters.extend(queues::priority_levels(&part, &runs));
        let nets = room.map_or_else(BTreeMap::new, |room| batches::fit(&runs, &room, interval_s));
        for (name, net) in nets {
            fitted.nets.insert((part.clone(), name), net);
        }
        if let Some((net, warnings)) = preprocess::fit(&runs) {
            let said = warnings.into_iter();
            fitted.warnings.extend(
                said.map(|warning| format!("net `preprocess` of part `{part}`: {warning}")),
            );
            fitted
                .nets
                .insert((part.clone(), cost::PREPROCESS.to_owned()), net);
        }
        fitted.costs.extend(costs);
        fitted.parts.push(part);
    }
    fitted
}

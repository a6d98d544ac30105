//! What a device adds to kernels of known work: the time between two that the host has launched long
//! before, and between two of a graph.

use std::collections::BTreeMap;

use schema::profile::{Parameter, parameter};
use schema::scenario::KernelFile;

use super::ParameterReport;
use super::robust::Centre;
use super::seen::{Done, Seen, What, names};

/// How long the kernels before it must keep a stream for a kernel to be there when they end, in
/// seconds: a launch takes a core some microseconds, and a core may be late.
const HELD_S: f64 = 200e-6;

/// The time from when a kernel could start until its blocks may: that of kernels without work in a
/// stream that was held.
pub(super) fn launch_interval(part: &str, runs: &[Seen<'_>]) -> Option<ParameterReport> {
    let mut sums: Vec<f64> = Vec::new();
    let mut sources: Vec<&str> = Vec::new();
    let mut parts = 0;
    for run in runs.iter().filter(|run| run.is_alone) {
        for ((stage, _), done) in &run.contexts {
            let Some(kernels) = run.kernels(*stage) else {
                continue;
            };
            let Some(idle) = longest_idle(&kernels) else {
                continue;
            };
            // Chains of one length alone, so that their sums are alike.
            if parts != 0 && parts != idle.len() {
                continue;
            }
            parts = idle.len();
            let found = passes(done, kernels.len()).map(|pass| {
                let of_chain = pass[idle.clone()].iter().map(Done::length_s);
                of_chain.sum::<f64>()
            });
            sums.extend(found);
            sources.push(run.source);
        }
    }
    let centre = Centre::of(&sums, parts as f64)?;
    Some(ParameterReport {
        part: part.to_owned(),
        name: parameter::LAUNCH_INTERVAL.to_owned(),
        estimate: Parameter {
            value: centre.value,
            standard_error: centre.error,
            unit: "s".to_owned(),
            range: None,
            source: names(sources),
        },
        warnings: Vec::new(),
    })
}

/// The same for kernels of a graph: what graphs of kernels without work take longer, the more they
/// have. What a graph takes whatever is in it is the same for both, and left out.
pub(super) fn graph_launch_interval(part: &str, runs: &[Seen<'_>]) -> Option<ParameterReport> {
    let mut lengths: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut sources: Vec<&str> = Vec::new();
    for run in runs.iter().filter(|run| run.is_alone) {
        for ((stage, _), done) in &run.contexts {
            let Some(kernels) = run.kernels(*stage) else {
                continue;
            };
            let graphs = done.iter().filter(|done| done.what == What::Graph(1));
            let found: Vec<f64> = graphs.map(Done::length_s).collect();
            if found.is_empty() || !kernels.iter().all(|kernel| is_idle(kernel)) {
                continue;
            }
            lengths.entry(kernels.len()).or_default().extend(found);
            sources.push(run.source);
        }
    }
    let ((few, short), (many, long)) = (lengths.first_key_value()?, lengths.last_key_value()?);
    let more = (many - few) as f64;
    if many == few {
        return None;
    }
    let (short, long) = (Centre::of(short, 1.0)?, Centre::of(long, 1.0)?);
    Some(ParameterReport {
        part: part.to_owned(),
        name: parameter::GRAPH_LAUNCH_INTERVAL.to_owned(),
        estimate: Parameter {
            value: (long.value - short.value) / more,
            standard_error: long.error.hypot(short.error) / more,
            unit: "s".to_owned(),
            range: None,
            source: names(sources),
        },
        warnings: Vec::new(),
    })
}

fn is_idle(kernel: &KernelFile) -> bool {
    kernel.time.as_ps() == 0 && kernel.dram.0 == 0
}

/// The longest run of kernels without work, behind some that hold the stream.
fn longest_idle(kernels: &[&KernelFile]) -> Option<std::ops::Range<usize>> {
    let mut longest: Option<std::ops::Range<usize>> = None;
    let (mut held_s, mut start) = (0.0, 0);
    for (index, kernel) in kernels.iter().enumerate() {
        if !is_idle(kernel) {
            held_s += kernel.time.as_secs_f64();
            start = index + 1;
            continue;
        }
        let length = index + 1 - start;
        if held_s >= HELD_S && longest.as_ref().is_none_or(|known| length > known.len()) {
            longest = Some(start..index + 1);
        }
    }
    longest
}

/// The kernels of each pass that is there whole, in the order of the stage's work.
pub(super) fn passes(done: &[Done], n: usize) -> impl Iterator<Item = Vec<Done>> {
    let kernels: Vec<Done> = done
        .iter()
        .filter(|done| matches!(done.what, What::Kernel(..)))
        .copied()
        .collect();
    let mut passes: Vec<Vec<Done>> = Vec::new();
    for done in kernels {
        let What::Kernel(number, _) = done.what else {
            unreachable!("others were left out")
        };
        match passes.last_mut() {
            Some(pass) if number as usize == pass.len() => pass.push(done),
            _ if number == 0 => passes.push(vec![done]),
            _ => {}
        }
    }
    passes.into_iter().filter(move |pass| pass.len() == n)
}

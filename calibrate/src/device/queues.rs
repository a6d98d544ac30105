//! Hardware queues and levels of priority, from what one round of kernels in many streams does.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schema::ids::StageId;
use schema::profile::{Parameter, parameter};

use super::ParameterReport;
use super::kernels::passes;
use super::seen::{Done, Seen};

/// Fewest streams or priorities from which anything is fitted.
const MIN_STREAMS: usize = 4;

fn counted(
    part: &str,
    name: &str,
    value: usize,
    source: &str,
    warnings: Vec<String>,
) -> ParameterReport {
    ParameterReport {
        part: part.to_owned(),
        name: name.to_owned(),
        estimate: Parameter {
            value: value as f64,
            standard_error: 0.0,
            unit: "1".to_owned(),
            range: None,
            source: source.to_owned(),
        },
        warnings,
    }
}

/// The number of hardware queues of a process: of streams with two kernels each that all have room,
/// those whose first is not held back by another stream's second.
pub(super) fn hardware_queues(part: &str, runs: &[Seen<'_>]) -> Option<ParameterReport> {
    let run = runs.iter().find(|run| {
        let stages: Vec<StageId> = run.contexts.keys().map(|(stage, _)| *stage).collect();
        let is_one = stages.windows(2).all(|pair| pair[0] == pair[1]);
        let Some(stage) = stages.first() else {
            return false;
        };
        let n_kernels = run.kernels(*stage).map_or(0, |kernels| kernels.len());
        run.is_handed_over
            && is_one
            && stages.len() >= MIN_STREAMS
            && run.gpu(*stage).processes == 1
            && n_kernels == 2
    })?;
    let firsts: Vec<f64> = run
        .contexts
        .iter()
        .filter_map(|((stage, _), done)| {
            let n = run.kernels(*stage)?.len();
            let first: Vec<Done> = passes(done, n).next()?;
            Some(first[0].length_s())
        })
        .collect();
    let least = firsts.iter().copied().fold(f64::INFINITY, f64::min);
    let free = firsts.iter().filter(|first| **first < 1.5 * least).count();
    let warnings = if free == firsts.len() {
        vec![format!(
            "none of {free} streams was held back: there are at least so many; the engine cares for no more than there are streams"
        )]
    } else {
        Vec::new()
    };
    let name = parameter::HARDWARE_QUEUES;
    Some(counted(part, name, free, run.source, warnings))
}

/// The levels of stream priority: of kernels of ever higher priority that were launched one after the
/// other, each of a level of its own ends before the one launched before it.
pub(super) fn priority_levels(part: &str, runs: &[Seen<'_>]) -> Option<ParameterReport> {
    let by_priority = |run: &Seen<'_>| -> Vec<f64> {
        // Of several of one priority that launched last: others may stand before it to keep all waiting.
        let mut ends: BTreeMap<Reverse<i32>, f64> = BTreeMap::new();
        for ((stage, _), done) in &run.contexts {
            let n = run.kernels(*stage).map_or(0, |kernels| kernels.len());
            if let Some(first) = passes(done, n).next().filter(|_| n > 0) {
                ends.insert(Reverse(run.gpu(*stage).priority), first[n - 1].end_s);
            }
        }
        ends.into_values().collect()
    };
    let run = runs
        .iter()
        .find(|run| run.is_handed_over && by_priority(run).len() >= MIN_STREAMS)?;
    let ends = by_priority(run);
    let levels = 1 + ends.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let warnings = if levels == ends.len() {
        vec![format!(
            "all of {levels} priorities are levels of their own: there are at least so many"
        )]
    } else {
        Vec::new()
    };
    let name = parameter::PRIORITY_LEVELS;
    Some(counted(part, name, levels, run.source, warnings))
}

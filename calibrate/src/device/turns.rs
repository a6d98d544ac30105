//! How long processes compute in turn, and what a change of turns takes.
//!
//! Where `n` processes always have something to compute, each computes for a slice `q` and then
//! waits for the slices of the others and `n` switches of `c` each, `(n - 1) q + n c`. A wait shows as
//! a kernel that takes that much longer. Between two of them lies a slice of computing, so over many
//! of them `q` is the mean of what was computed from one to the next.

use schema::profile::{Parameter, parameter};
use schema::scenario::KernelFile;

use super::ParameterReport;
use super::kernels::passes;
use super::robust::{Centre, median};
use super::seen::{Done, Seen, names};

/// Fewest waits of a context from which anything is fitted.
const MIN_WAITS: usize = 5;

/// What a context shows.
struct Turns {
    /// Processes that take turns.
    n: f64,
    slice: f64,
    slice_error: f64,
    wait: Centre,
}

/// Slice and switch.
pub(super) fn fit(part: &str, runs: &[Seen<'_>], launch_interval: f64) -> Vec<ParameterReport> {
    let mut found = Vec::new();
    let mut sources = Vec::new();
    for run in runs.iter().filter(|run| run.is_handed_over) {
        let mut stages = run.contexts.keys().map(|(stage, _)| *stage);
        let n_processes = stages.clone().next().map(|stage| run.gpu(stage).processes);
        let is_turns = run.contexts.len() > 1
            && n_processes == u32::try_from(run.contexts.len()).ok()
            && stages.all(|stage| run.gpu(stage).mps.is_none());
        if !is_turns {
            continue;
        }
        for ((stage, _), done) in &run.contexts {
            let kernels = run.kernels(*stage);
            let turns =
                kernels.and_then(|k| of_context(&k, done, launch_interval, run.contexts.len()));
            if let Some(turns) = turns {
                found.push(turns);
                sources.push(run.source);
            }
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let count = found.len() as f64;
    let slice = found.iter().map(|turns| turns.slice).sum::<f64>() / count;
    let squares: f64 = found.iter().map(|turns| turns.slice_error.powi(2)).sum();
    let slice_error = squares.sqrt() / count;
    let switches = found
        .iter()
        .map(|turns| (turns.wait.value - (turns.n - 1.0) * slice) / turns.n);
    let switch = (switches.sum::<f64>() / count).max(0.0);
    let of_wait = found.iter().map(|turns| turns.wait.error / turns.n);
    let of_wait = of_wait.fold(0.0, f64::max);
    let of_slice = found.iter().map(|turns| (turns.n - 1.0) / turns.n);
    let of_slice = of_slice.fold(0.0, f64::max) * slice_error;
    let source = names(sources);
    let report = |name: &str, value: f64, standard_error: f64| ParameterReport {
        part: part.to_owned(),
        name: name.to_owned(),
        estimate: Parameter {
            value,
            standard_error,
            unit: "s".to_owned(),
            range: None,
            source: source.clone(),
        },
        warnings: Vec::new(),
    };
    vec![
        report(parameter::TIME_SLICE, slice, slice_error),
        report(parameter::CONTEXT_SWITCH, switch, of_wait.hypot(of_slice)),
    ]
}

/// What a context shows whose kernels are all alike; `None` if it hardly waited.
fn of_context(
    kernels: &[&KernelFile],
    done: &[Done],
    launch_interval: f64,
    n: usize,
) -> Option<Turns> {
    let time = kernels.first()?.time;
    if kernels.iter().any(|kernel| kernel.time != time) || time.as_ps() == 0 {
        return None;
    }
    let lengths: Vec<f64> = passes(done, kernels.len())
        .flatten()
        .map(|done| done.length_s())
        .collect();
    // Of one that was not made to wait; all blocks of a kernel run at once or in as many waves.
    let alone = median(&lengths)?;
    let alone = if alone < 2.0 * (time.as_secs_f64() + launch_interval) {
        alone
    } else {
        // Most of them waited.
        time.as_secs_f64() + launch_interval
    };
    let waits: Vec<(usize, f64)> = lengths
        .iter()
        .enumerate()
        .filter(|(_, length)| **length > 2.0 * alone)
        .map(|(at, length)| (at, length - alone))
        .collect();
    if waits.len() < MIN_WAITS + 1 {
        return None;
    }
    let times: Vec<f64> = waits.iter().map(|(_, wait)| *wait).collect();
    let wait = Centre::of(&times, 1.0)?;
    // From one wait to the next, computed; a wait of more than one round of the others' turns, as when
    // a host was late, does not count as one.
    let slices: Vec<f64> = waits
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) as f64 * alone)
        .collect();
    let middle = median(&slices)?;
    let near: Vec<f64> = slices
        .iter()
        .copied()
        .filter(|slice| (slice - middle).abs() <= 1.5 * alone)
        .collect();
    let count = near.len() as f64;
    let slice = near.iter().sum::<f64>() / count;
    Some(Turns {
        n: n as f64,
        slice,
        // A wait falls anywhere into a kernel, at both ends of the row.
        slice_error: alone / 6.0_f64.sqrt() / count,
        wait,
    })
}

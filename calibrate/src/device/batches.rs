//! What a sequence of kernels takes by the size of its batch: a net given by its kernels.
//!
//! Grids are known, and grow with the batch; how long a block of each kernel takes is fitted to all
//! sizes together, by the waves in which its blocks run.

use std::collections::BTreeMap;

use schema::gpu::{DriverLaw, GpuNet};
use schema::profile::{Driver, Residual};
use schema::scenario::KernelFile;
use schema::units::SimDuration;

use super::blocks::Room;
use super::kernels::passes;
use super::robust::median;
use super::seen::{Seen, What, names};

/// What is known of a stage's passes.
struct Passes<'a> {
    kernels: Vec<&'a KernelFile>,
    /// By size of the batch, the times of each kernel, in seconds, pass by pass.
    times: BTreeMap<u32, Vec<Vec<f64>>>,
    sources: Vec<&'a str>,
}

/// The net of each stage whose work is several kernels and whose passes were seen with at least two
/// sizes of a batch, by the stage's name.
pub(super) fn fit(
    runs: &[Seen<'_>],
    room: &Room,
    launch_interval: f64,
) -> BTreeMap<String, GpuNet> {
    let mut stages: BTreeMap<&str, Passes<'_>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.is_alone) {
        for ((stage, _), done) in &run.contexts {
            let Some(kernels) = run.kernels(*stage).filter(|kernels| kernels.len() > 1) else {
                continue;
            };
            let name = run.scenario.stages[*stage].name.as_str();
            let known = stages.entry(name).or_insert_with(|| Passes {
                kernels: kernels.clone(),
                times: BTreeMap::new(),
                sources: Vec::new(),
            });
            if known.kernels != kernels {
                continue;
            }
            known.sources.push(run.source);
            for pass in passes(done, kernels.len()) {
                let What::Kernel(_, batch) = pass[0].what else {
                    unreachable!("a pass is of kernels")
                };
                let took = pass.iter().map(super::seen::Done::length_s).collect();
                known.times.entry(batch).or_default().push(took);
            }
        }
    }
    let several = stages
        .into_iter()
        .filter(|(_, known)| known.times.len() > 1);
    several
        .map(|(name, known)| (name.to_owned(), net(&known, room, launch_interval)))
        .collect()
}

fn net(known: &Passes<'_>, room: &Room, launch_interval: f64) -> GpuNet {
    let kernels: Vec<KernelFile> = known
        .kernels
        .iter()
        .enumerate()
        .map(|(number, kernel)| {
            let of_kernel = |passes: &Vec<Vec<f64>>| -> Vec<f64> {
                passes.iter().map(|pass| pass[number]).collect()
            };
            let times = known.times.iter();
            let times = times.map(|(batch, passes)| (*batch, of_kernel(passes)));
            fitted(kernel, &times.collect(), room, launch_interval)
        })
        .collect();
    let sizes = || known.times.keys().map(|batch| f64::from(*batch));
    let errors: Vec<f64> = known
        .times
        .iter()
        .flat_map(|(batch, passes)| {
            let expected: f64 = kernels
                .iter()
                .map(|kernel| {
                    launch_interval + waves(kernel, *batch, room) * kernel.time.as_secs_f64()
                })
                .sum();
            passes.iter().map(move |pass| {
                let took: f64 = pass.iter().sum();
                (expected / took - 1.0).abs()
            })
        })
        .collect();
    GpuNet {
        per: Driver::Requests,
        range: [
            sizes().fold(f64::INFINITY, f64::min),
            sizes().fold(0.0, f64::max),
        ],
        samples: known.times.values().map(|times| times.len() as u64).sum(),
        held_out_error: schema::stats::mean(&errors),
        source: names(known.sources.iter().copied()),
        residual: Residual::None,
        memory: 0.0,
        launches: 0,
        floor: DriverLaw::default(),
        phases: Vec::new(),
        kernels,
    }
}

/// Waves in which the blocks of a batch run.
fn waves(kernel: &KernelFile, batch: u32, room: &Room) -> f64 {
    let blocks = f64::from(kernel.blocks) * f64::from(batch);
    (blocks / f64::from(room.at_once(kernel.threads).max(1))).ceil()
}

/// The kernel with the time of a block that its times by the size of the batch say; of one that reads
/// memory, with the one that it was given, for others' reading is in what it took.
fn fitted(
    kernel: &KernelFile,
    times: &BTreeMap<u32, Vec<f64>>,
    room: &Room,
    launch_interval: f64,
) -> KernelFile {
    let blocks: Vec<f64> = times
        .iter()
        .filter_map(|(batch, times)| {
            let took = median(times)? - launch_interval;
            Some(took.max(0.0) / waves(kernel, *batch, room))
        })
        .collect();
    let time = match median(&blocks) {
        Some(time) if kernel.dram.0 == 0 => SimDuration::from_secs_f64(time),
        _ => kernel.time,
    };
    KernelFile {
        time,
        ..kernel.clone()
    }
}

//! What a sequence of kernels takes by the size of its batch: a net of one phase.
//!
//! The phase's overhead is that of the launches; its compute and its parallelism come from the pass
//! times and from how many of its blocks run at once.

use std::collections::BTreeMap;

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{Driver, Residual};
use schema::scenario::KernelFile;

use super::blocks::Room;
use super::kernels::passes;
use super::robust::{Centre, median};
use super::seen::{Seen, What, names};

/// What is known of a stage's passes.
struct Passes<'a> {
    kernels: Vec<&'a KernelFile>,
    /// By size of the batch, times of passes in seconds.
    times: BTreeMap<u32, Vec<f64>>,
    sources: Vec<&'a str>,
}

/// The net of each stage whose work is several kernels and whose passes were seen with at least two
/// sizes of a batch, by the stage's name.
pub(super) fn fit(
    runs: &[Seen<'_>],
    room: Option<&Room>,
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
                let took = pass.iter().map(super::seen::Done::length_s).sum();
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

fn net(known: &Passes<'_>, room: Option<&Room>, launch_interval: f64) -> GpuNet {
    let overhead = launch_interval * known.kernels.len() as f64;
    let mut compute = Vec::new();
    let mut parallelism = Vec::new();
    let mut passes_s = Vec::new();
    for (batch, times) in &known.times {
        let Some(pass) = Centre::of(times, 1.0) else {
            continue;
        };
        let batch = *batch;
        let used = room.map_or(1.0, |room| parallel(&known.kernels, batch, room));
        compute.push([f64::from(batch), (pass.value - overhead).max(0.0) * used]);
        parallelism.push([f64::from(batch), used]);
        passes_s.push((f64::from(batch), pass.value));
    }
    let ends = [passes_s[0].0, passes_s[passes_s.len() - 1].0];
    GpuNet {
        per: Driver::Requests,
        range: ends,
        samples: known.times.values().map(|times| times.len() as u64).sum(),
        held_out_error: left_out_error(&passes_s),
        source: names(known.sources.iter().copied()),
        residual: Residual::None,
        memory: 0.0,
        launches: u32::try_from(known.kernels.len()).unwrap_or(u32::MAX),
        floor: DriverLaw::default(),
        phases: vec![Phase {
            overhead: DriverLaw::constant(overhead),
            compute: DriverLaw::Table(compute),
            parallelism: DriverLaw::Table(parallelism),
            bytes: DriverLaw::default(),
            intensity: DriverLaw::default(),
        }],
        kernels: Vec::new(),
    }
}

/// The part of the multiprocessors that a pass can use: that of each kernel, weighted by its time.
fn parallel(kernels: &[&KernelFile], batch: u32, room: &Room) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for kernel in kernels {
        let at_once = f64::from(room.at_once(kernel.threads).max(1));
        let blocks = f64::from(kernel.blocks) * f64::from(batch);
        let waves = (blocks / at_once).ceil();
        let time = waves * kernel.time.as_secs_f64();
        sum += time * (blocks / (waves * at_once));
        total += time;
    }
    if total > 0.0 {
        (sum / total).clamp(1e-6, 1.0)
    } else {
        1.0
    }
}

/// Mean absolute relative error of each pass time on the line between its neighbours.
fn left_out_error(points: &[(f64, f64)]) -> f64 {
    let errors = points.windows(3).map(|three| {
        let [(x0, y0), (x, y), (x1, y1)] = [three[0], three[1], three[2]];
        let expected = y0 + (y1 - y0) * (x - x0) / (x1 - x0);
        ((expected - y) / y).abs()
    });
    median(&errors.collect::<Vec<_>>()).unwrap_or(0.0)
}

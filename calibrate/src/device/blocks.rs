//! How many blocks run at once: multiprocessors, and what each of them holds.
//!
//! `n` blocks that each take `t` take `w · t` if they run in `w` waves, so from `w` a device runs
//! between `n / w` and less than `n / (w - 1)` at once. Grids of several sizes narrow that down for
//! each size of a block, and sizes of blocks tell multiprocessors from threads: a multiprocessor of
//! 2048 threads has room for three blocks of 640, and two of 1024 threads for one each.

use std::collections::BTreeMap;

use schema::profile::{Parameter, parameter};

use super::ParameterReport;
use super::robust::Centre;
use super::seen::{KernelTimes, Seen, names};

/// Shortest time of a block from which waves are counted, in seconds: what passes between two waves
/// is small beside it.
const LEAST_BLOCK_S: f64 = 50e-6;
/// How far from a whole number of waves a time may be.
const OFF: f64 = 0.25;
/// Most multiprocessors that are looked for; an H100 has 132.
const MOST_SMS: u32 = 512;
/// What numbers of threads of a multiprocessor are multiples of, and the most that are looked for:
/// all of compute capability 7.0 to 9.0 have 1024, 1536 or 2048 (CUDA C++ Programming Guide,
/// technical specifications).
const THREADS_STEP: u32 = 512;
const MOST_THREADS: u32 = 2048;
/// Numbers of blocks of a multiprocessor that are looked for: those of the same table.
const BLOCKS_PER_SM: [u32; 3] = [16, 24, 32];
/// Sizes of blocks that are needed to tell multiprocessors from threads.
const MIN_SIZES: usize = 3;

/// Blocks that run at once, at least and at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct AtOnce {
    least: u32,
    most: u32,
}

/// What a device holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    pub(super) sms: u32,
    pub(super) threads_per_sm: u32,
    blocks_per_sm: u32,
}

impl Room {
    /// Blocks of so many threads that run at once.
    pub(super) fn at_once(&self, threads: u32) -> u32 {
        self.sms * (self.threads_per_sm / threads).min(self.blocks_per_sm)
    }

    pub(super) fn threads(&self) -> u32 {
        self.sms * self.threads_per_sm
    }
}

/// What a device of the part holds, with reports of its numbers; `None` if no run shows it.
pub(super) fn fit(
    part: &str,
    runs: &[Seen<'_>],
    launch_interval: f64,
) -> Option<(Room, Vec<ParameterReport>)> {
    let (sizes, sources, mut warnings) = observed(runs, launch_interval);
    if sizes.len() < MIN_SIZES {
        return None;
    }
    let fits: Vec<Room> = rooms().filter(|room| fits(room, &sizes)).collect();
    let middle = *fits.get(fits.len() / 2)?;
    let source = names(sources);
    if fits.len() > 1 {
        warnings.push(format!(
            "{} combinations of multiprocessors, threads and blocks explain the waves; add grids of other sizes",
            fits.len()
        ));
    }
    let report = |name: &str, of: fn(&Room) -> u32| {
        let values = || fits.iter().map(|room| f64::from(of(room)));
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(0.0, f64::max);
        ParameterReport {
            part: part.to_owned(),
            name: name.to_owned(),
            estimate: Parameter {
                value: f64::from(of(&middle)),
                // Any number between is as likely.
                standard_error: (high - low) / 12.0_f64.sqrt(),
                unit: "1".to_owned(),
                range: (high > low).then_some([low, high]),
                source: source.clone(),
            },
            warnings: warnings.clone(),
        }
    };
    let reports = vec![
        report(parameter::SMS, |room| room.sms),
        report(parameter::THREADS_PER_SM, |room| room.threads_per_sm),
        report(parameter::BLOCKS_PER_SM, |room| room.blocks_per_sm),
    ];
    Some((middle, reports))
}

fn rooms() -> impl Iterator<Item = Room> {
    let threads = (1..=MOST_THREADS / THREADS_STEP).map(|n| n * THREADS_STEP);
    (1..=MOST_SMS).flat_map(move |sms| {
        threads.clone().flat_map(move |threads_per_sm| {
            BLOCKS_PER_SM.map(|blocks_per_sm| Room {
                sms,
                threads_per_sm,
                blocks_per_sm,
            })
        })
    })
}

fn fits(room: &Room, sizes: &BTreeMap<u32, AtOnce>) -> bool {
    sizes.iter().all(|(threads, seen)| {
        let at_once = room.at_once(*threads);
        (seen.least..=seen.most).contains(&at_once)
    })
}

/// By threads of a block, how many run at once, from kernels that take whole waves; the runs; and
/// what was left out.
fn observed<'a>(
    runs: &[Seen<'a>],
    launch_interval: f64,
) -> (BTreeMap<u32, AtOnce>, Vec<&'a str>, Vec<String>) {
    let mut sizes: BTreeMap<u32, AtOnce> = BTreeMap::new();
    let mut sources = Vec::new();
    let mut n_odd = 0;
    for run in runs.iter().filter(|run| run.is_alone) {
        for ((stage, _), done) in &run.contexts {
            let Some(kernels) = run.kernels(*stage) else {
                continue;
            };
            for ((number, batch), times) in KernelTimes::of(done).0 {
                let kernel = kernels[number as usize];
                let block_s = kernel.time.as_secs_f64();
                let is_plain = kernel.dram.0 == 0 && kernel.shared_memory.0 == 0;
                let Some(centre) = Centre::of(&times, 1.0) else {
                    continue;
                };
                if block_s < LEAST_BLOCK_S || !is_plain {
                    continue;
                }
                let waves = (centre.value - launch_interval) / block_s;
                let whole = waves.round().max(1.0);
                if (waves - whole).abs() > OFF {
                    n_odd += 1;
                    continue;
                }
                let blocks = f64::from(kernel.blocks.saturating_mul(batch));
                let least = (blocks / whole).ceil() as u32;
                // The largest that is below blocks / (whole - 1); of one wave there is none.
                let most = match whole > 1.5 {
                    true => (blocks / (whole - 1.0)).ceil() as u32 - 1,
                    false => u32::MAX,
                };
                let known = sizes.entry(kernel.threads).or_insert(AtOnce {
                    least: 1,
                    most: u32::MAX,
                });
                known.least = known.least.max(least);
                known.most = known.most.min(most);
                sources.push(run.source);
            }
        }
    }
    let warnings = if n_odd > 0 {
        vec![format!(
            "{n_odd} kernels are left out, for their times are no whole number of waves"
        )]
    } else {
        Vec::new()
    };
    (sizes, sources, warnings)
}

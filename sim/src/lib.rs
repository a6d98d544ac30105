//! Discrete-event engine: scenario and profile to run.
//!
//! [`simulate`] serves the requests of a scenario with the costs of a profile, and returns a run of
//! the same kind as a measurement: the same spans, for the same requests.
//!
//! # What is modelled
//! - Every role's core time runs as jobs, one a thread, on the core set of its host: processor
//!   sharing over `c` cores, slower by the part's contention while other core sets of the same
//!   machine are busy ([`stations::ProcessorSharing`]).
//! - A message goes in chunks of [`network::CHUNK`]: core time of the sender, the link's first-come
//!   first-served direction ([`stations::FifoLink`]), its delay, core time of the receiver, all
//!   overlapping.
//! - A proxy stores, translates and forwards. A serving stage is a line with a batcher in front of
//!   several instances ([`stations::BatchLine`]), each a thread on the host's cores.
//! - Clients are closed loops, or open-loop sources with a pool of connections each.
//!
//! Left out: accelerators with engines of their own (the copies and the net of a stage run on its
//! host's cores), routes over several links, loss, windows and congestion control, memory and its
//! limits.
//!
//! # Order and randomness
//! Time is in integer picoseconds. Events are handled in the order of (time, sequence): of those at
//! one instant, the first scheduled is the first handled ([`engine::EventQueue`]). Each source of
//! randomness has a stream named after it, so equal inputs give equal bytes on any number of
//! threads, and scenarios that share parts share the draws of those parts.
//!
//! Invariant: nothing here looks at a wall clock, the environment or the machine; the tables of
//! [`simulate`] are made before the first event, and the loop sees ids only, no names.
#![forbid(unsafe_code)]

mod compile;
mod costs;
pub mod engine;
mod error;
mod event;
mod ids;
pub mod network;
mod pipeline;
pub mod queueing;
mod record;
mod replication;
mod server;
pub mod stations;
pub mod statistics;
mod tables;
pub mod theory;
mod workload;

use std::ops::Range;

use rayon::prelude::*;
use schema::profile::Profile;
use schema::run::{Manifest, Outcome, RUN_FORMAT, Run, RunKind};
use schema::scenario::Scenario;

pub use error::SimError;
pub use replication::Completion;

use replication::{Keep, Replication};
use tables::Tables;

/// How a scenario is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Number of replications, at least one.
    pub replications: u32,
    /// Which requests each replication serves.
    pub arrivals: Arrivals,
    /// Number of threads that the replications share; zero for one a core. It never changes the
    /// result.
    pub threads: usize,
}

/// Which requests a replication serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrivals {
    /// Every replication serves exactly the scenario's own requests, as the hardware did; only
    /// costs vary.
    Shared,
    /// Replication `i` draws its requests from [`Seed::replication`](schema::random::Seed)`(i)`,
    /// as it does its costs.
    Independent,
}

/// Serves `scenario` with the costs of `profile`.
///
/// The manifest's `inputs` are left empty: only the caller knows the files.
///
/// # Errors
/// If the profile lacks a part or a cost, if the scenario asks for what the engine does not model,
/// or if a check of the engine's own failed; see [`SimError`].
pub fn simulate(
    scenario: &Scenario,
    profile: &Profile,
    options: &Options,
) -> Result<Run, SimError> {
    let tables = Tables::compile(scenario, profile)?;
    let replications = replicate(&tables, options, Keep::Trace)?;
    let warnings = tables.warnings(&replications);
    let mut cpu = Vec::new();
    let mut trace = Vec::with_capacity(replications.iter().map(|r| r.trace.len()).sum());
    for mut replication in replications {
        cpu.append(&mut replication.cpu);
        trace.append(&mut replication.trace);
    }
    let manifest = Manifest {
        format: RUN_FORMAT,
        kind: RunKind::Simulated,
        program: concat!("tandem ", env!("CARGO_PKG_VERSION")).to_owned(),
        scenario: scenario.file().clone(),
        inputs: std::collections::BTreeMap::new(),
        replications: options.replications,
        outcome: Outcome::Complete,
        cpu,
        warnings,
        measured: None,
    };
    Ok(Run {
        manifest,
        scenario: scenario.clone(),
        trace,
    })
}

/// What a replication served, without its spans.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// When each request was sent and completed, in order of completion.
    pub completions: Vec<Completion>,
    /// Number of events that it took.
    pub events: u64,
}

/// Serves `scenario` with the costs of `profile` and returns, by replication, only when each
/// request was sent and completed, to the picosecond.
///
/// # Errors
/// As [`simulate`].
pub fn completions(
    scenario: &Scenario,
    profile: &Profile,
    options: &Options,
) -> Result<Vec<Served>, SimError> {
    let tables = Tables::compile(scenario, profile)?;
    let replications = replicate(&tables, options, Keep::Completions)?;
    let served = replications.into_iter().map(|replication| Served {
        completions: replication.completions,
        events: replication.events,
    });
    Ok(served.collect())
}

/// Runs every replication.
fn replicate(
    tables: &Tables<'_>,
    options: &Options,
    keep: Keep,
) -> Result<Vec<Replication>, SimError> {
    let run = |index| replication::run(tables, index, options.arrivals, keep);
    in_parallel(0..options.replications, options.threads, run)
}

/// Runs each of these replications, in the order of their indices whichever thread ran which.
fn in_parallel<T: Send>(
    indices: Range<u32>,
    threads: usize,
    run: impl Fn(u32) -> Result<T, SimError> + Sync + Send,
) -> Result<Vec<T>, SimError> {
    match indices.len() {
        0 => Err(SimError::NoReplications),
        1 => Ok(vec![run(indices.start)?]),
        _ => {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .map_err(SimError::Threads)?;
            pool.install(|| indices.into_par_iter().map(run).collect())
        }
    }
}

#[cfg(test)]
mod tests;

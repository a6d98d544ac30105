//! Discrete-event engine: scenario and profile to run.
//!
//! # Where to start
//! - [`queueing`] runs networks of stations, without any file; its page has an M/M/1 in twenty lines.
//! - [`theory`] has the closed forms of queueing theory that such networks can be checked against.
//! - [`simulate`] runs a scenario: one of plain stages as such a network, one of stages on hosts with
//!   the costs of a profile. It returns a run of the same kind as a measurement.
//! - [`explain()`] makes each part of a scenario faster in turn, and says what that brings.
//! - [`compare()`] runs two scenarios with common random numbers.
//! - [`fabric`] is a network of links that flows share, with routes over it.
//! - [`engine`] and [`stations`] are the parts, for engines of one's own; [`statistics`] keeps what a
//!   run is asked for in bounded memory.
//!
//! # How long, and how precise
//! A run is a number of independent replications. Intervals are Student's t over them, at 95%; of a
//! single replication from batch means, and of quantiles from order statistics, as many as it is
//! worth. [`Precision`] adds replications until an interval is short enough. A warm-up is given, or
//! found by MSER-5 over pilot runs ([`Extent::Auto`](schema::scenario::Extent::Auto)).
//!
//! # What is modelled of stages on hosts
//! - Every role's core time runs as jobs, one a thread, on the core set of its host: processor
//!   sharing over `c` cores, slower by the part's contention while other core sets of the same
//!   machine are busy ([`stations::ProcessorSharing`]).
//! - A message goes in chunks of [`network::CHUNK`]: core time of the sender, the links that it shares
//!   with others on the way ([`fabric`]), their delay, core time of the receiver, all overlapping.
//!   Links may be degraded or down for a time, and access networks have jitter.
//!   Over RDMA cores only post and learn of it, and network adapters move its bursts by DMA; over
//!   GPUDirect RDMA to and from the memory of a GPU, on its PCIe link.
//! - A proxy stores, translates and forwards, or cuts through. A serving stage is a line with a batcher in front of
//!   several instances ([`stations::BatchLine`]: largest and preferred sizes, a delay, batches that
//!   grow until they start or close at their timeout), each a thread on the host's cores, or an
//!   inference context on a GPU ([`gpu`]).
//! - Clients are closed loops, or open-loop sources with a pool of connections each.
//! - Of a stage on several hosts there is a replica on each. Senders choose one for each request, and
//!   proxies may keep few connections to each ([`scenario::Balancing`](schema::scenario::Balancing)).
//!
//! - A stage that serves may send its output on, and any stage may call others when it has its result:
//!   a request branches, and its branches join ([`schema::scenario::Step`]).
//!
//! - Links may be of packets, which wait in buffers and are lost where those are full
//!   ([`fabric::packets`]); connections of TCP may have socket buffers and a congestion window.
//! - Hosts and stages may be lost for a time, with all that is at them. Clients may give up after a
//!   time, and try again ([`schema::scenario::Outage`], [`schema::scenario::ClientRetry`]).
//!
//! Left out there: switches that do anything but forward in order, how much the
//! memory of hosts holds, and what cores take of its bandwidth.
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

mod calls;
mod compare;
mod compile;
mod costs;
pub mod engine;
mod error;
mod event;
mod explain;
pub mod fabric;
pub mod gpu;
mod ids;
mod losses;
pub mod network;
mod pipeline;
mod precision;
pub mod queueing;
mod record;
mod replicas;
mod replication;
mod server;
pub mod stations;
pub mod statistics;
mod tables;
pub mod theory;
mod warmup;
mod workload;

use std::ops::Range;

use rayon::prelude::*;
use schema::profile::Profile;
use schema::run::{CpuUse, Manifest, Outcome, RUN_FORMAT, Run, RunKind, Span};
use schema::scenario::Scenario;
use schema::summary::Summary;

pub use compare::{Difference, compare};
pub use compile::gpu_of_part;
pub use error::SimError;
pub use explain::{Explanation, Gain, Lever, SPEEDUPS, explain};
pub use precision::{Precision, PrecisionError};
pub use replication::Completion;
pub use schema::comparison::Metric;

use queueing::{Network, Plan};
use replication::{Detail, Replication};
use tables::Tables;

/// How a scenario is simulated.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Options {
    /// Number of replications, at least one.
    pub replications: u32,
    /// Which requests each replication serves.
    pub arrivals: Arrivals,
    /// Number of threads that the replications share; zero for one a core. It never changes the
    /// result.
    pub threads: usize,
    /// How precise some metric is to be: as many more replications are run as that takes.
    pub precision: Option<Precision>,
    /// What is kept of a scenario of plain stages; of others always the trace.
    pub keep: Keep,
}

impl Options {
    /// How the network of a scenario of plain stages is run.
    fn plan(&self, scenario: &Scenario) -> Plan {
        Plan {
            seed: scenario.seed,
            warmup: scenario.warmup,
            measure: scenario.measure,
            replications: self.replications,
            arrivals: self.arrivals,
            threads: self.threads,
            precision: self.precision,
            keep: self.keep,
        }
    }
}

/// What is kept of a run, besides its statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing: memory does not grow with the length of the run.
    Statistics,
    /// Every visit and every request, as spans.
    Trace,
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

/// Serves `scenario` with the costs of `profile`, which a scenario of plain stages does without.
///
/// The manifest's `inputs` are left empty: only the caller knows the files.
///
/// # Errors
/// If the profile lacks a part or a cost, if the scenario asks for what the engine does not model,
/// or if a check of the engine's own failed; see [`SimError`].
pub fn simulate(
    scenario: &Scenario,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<Run, SimError> {
    let scenario = &warmup::resolve(scenario, profile, options)?;
    match Network::of(scenario) {
        Some(network) => simulate_network(scenario, &network, options),
        None => simulate_pipeline(scenario, profile.ok_or(SimError::NoProfile)?, options),
    }
}

/// Whether stages on hosts can be served with the costs of `profile`; nothing is served.
///
/// # Errors
/// If the profile lacks a part or a cost, or if the scenario asks for what the engine does not model
/// or a part does not have.
pub fn check(scenario: &Scenario, profile: &Profile) -> Result<(), SimError> {
    Tables::compile(scenario, profile).map(|_| ())
}

fn simulate_network(
    scenario: &Scenario,
    network: &Network,
    options: &Options,
) -> Result<Run, SimError> {
    let report = network.run(&options.plan(scenario))?;
    let summary = report.summary();
    let manifest = manifest(scenario, report.window_s.len(), Vec::new());
    let mut trace = report.trace;
    for span in &mut trace {
        span.host = scenario.stages[span.stage].host;
    }
    Ok(Run {
        manifest,
        scenario: scenario.clone(),
        trace,
        kept: Some(Box::new(summary)),
    })
}

fn simulate_pipeline(
    scenario: &Scenario,
    profile: &Profile,
    options: &Options,
) -> Result<Run, SimError> {
    let tables = Tables::compile(scenario, profile)?;
    let run = |indices| replicate(&tables, indices, options, Detail::Trace);
    let metric = options.precision.map_or(Metric::Mean, |p| p.metric);
    let value = |replication: &Replication| {
        let summary = alone(scenario, replication).summary();
        metric.end_to_end(&summary).map_or(f64::NAN, |m| m.value)
    };
    let precision = options.precision.as_ref();
    let replications = precision::replications(options.replications, precision, run, value)?;
    let mut manifest = manifest(scenario, replications.len(), tables.warnings(&replications));
    let mut trace = Vec::with_capacity(replications.iter().map(|r| r.trace.len()).sum());
    for mut replication in replications {
        manifest.cpu.append(&mut replication.cpu);
        trace.append(&mut replication.trace);
    }
    Ok(Run {
        manifest,
        scenario: scenario.clone(),
        trace,
        kept: None,
    })
}

/// What a run says about itself.
fn manifest(scenario: &Scenario, replications: usize, warnings: Vec<String>) -> Manifest {
    Manifest {
        format: RUN_FORMAT,
        kind: RunKind::Simulated,
        program: concat!("tandem ", env!("CARGO_PKG_VERSION")).to_owned(),
        scenario: scenario.file().clone(),
        inputs: std::collections::BTreeMap::new(),
        replications: replications as u32,
        outcome: Outcome::Complete,
        cpu: Vec::new(),
        warnings,
        measured: None,
    }
}

/// A replication as a run of its own.
fn alone(scenario: &Scenario, replication: &Replication) -> Run {
    let as_first = |span: &Span| Span {
        replication: 0,
        ..*span
    };
    let mut manifest = manifest(scenario, 1, Vec::new());
    let cpu = replication.cpu.iter().cloned();
    manifest.cpu = cpu
        .map(|cpu| CpuUse {
            replication: 0,
            ..cpu
        })
        .collect();
    Run {
        manifest,
        scenario: scenario.clone(),
        trace: replication.trace.iter().map(as_first).collect(),
        kept: None,
    }
}

/// The summary of each replication alone; replication `i` of any scenario with the same seed draws
/// from the same streams.
///
/// # Errors
/// As [`simulate`].
pub fn summaries(
    scenario: &Scenario,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<Vec<Summary>, SimError> {
    let scenario = &warmup::resolve(scenario, profile, options)?;
    if let Some(network) = Network::of(scenario) {
        return network.summaries(&options.plan(scenario));
    }
    let runs = runs(scenario, profile, options)?;
    Ok(runs.iter().map(Run::summary).collect())
}

/// Each replication of stages on hosts alone, as a run with its trace; replication `i` of any scenario
/// with the same seed draws from the same streams.
///
/// # Errors
/// As [`simulate`].
///
/// # Panics
/// If all stages are plain: what those keep is not a trace.
pub fn runs(
    scenario: &Scenario,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<Vec<Run>, SimError> {
    assert!(!scenario.is_plain(), "the stages are plain");
    let scenario = &warmup::resolve(scenario, profile, options)?;
    let tables = Tables::compile(scenario, profile.ok_or(SimError::NoProfile)?)?;
    let replications = replicate(&tables, 0..options.replications, options, Detail::Trace)?;
    let runs = replications.iter().map(|r| alone(scenario, r));
    Ok(runs.collect())
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
    let indices = 0..options.replications;
    let replications = replicate(&tables, indices, options, Detail::Completions)?;
    let served = replications.into_iter().map(|replication| Served {
        completions: replication.completions,
        events: replication.events,
    });
    Ok(served.collect())
}

/// Runs these replications.
fn replicate(
    tables: &Tables<'_>,
    indices: Range<u32>,
    options: &Options,
    detail: Detail,
) -> Result<Vec<Replication>, SimError> {
    let run = |index| replication::run(tables, index, options.arrivals, detail);
    in_parallel(indices, options.threads, run)
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

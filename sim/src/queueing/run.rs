//! Replications of a network.

use std::collections::BTreeMap;

use schema::random::Seed;
use schema::run::Span;
use schema::scenario::Extent;
use schema::stages::StageSummary;
use schema::workload::Schedule;

use super::engine::Engine;
use super::network::Network;
use super::report::{Observed, summarize};
use crate::Arrivals;
use crate::error::SimError;

/// How long a network is run, and how often.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// Seed of every random stream.
    pub seed: Seed,
    /// What is left out at the start of each replication.
    pub warmup: Extent,
    /// How much of each replication counts: so many requests of each client, or so long.
    pub measure: Extent,
    /// Number of replications, at least one.
    pub replications: u32,
    /// Which requests each replication serves.
    pub arrivals: Arrivals,
    /// Number of threads that the replications share; zero for one a core. It never changes the
    /// result.
    pub threads: usize,
    /// Whether every visit is kept.
    pub keep: Keep,
}

/// What is kept of a run, besides its statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing: memory does not grow with the length of the run.
    Statistics,
    /// Every visit and every request, as spans.
    Trace,
}

/// The result of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// From end to end.
    pub whole: StageSummary,
    /// Each stage, by name.
    pub stages: BTreeMap<String, StageSummary>,
    /// Length of the measured window of each replication, in seconds.
    pub window_s: Vec<f64>,
    /// Number of events that each replication took.
    pub events: Vec<u64>,
    /// Every span, if kept; ordered by replication.
    pub trace: Vec<Span>,
}

impl Network {
    /// Runs the network.
    ///
    /// # Errors
    /// If the network makes no sense, if nothing can happen any more while requests are under way,
    /// or if a check of the engine's own failed; see [`SimError`].
    pub fn run(&self, plan: &Plan) -> Result<Report, SimError> {
        self.check()?;
        let schedule = Schedule::of(plan.warmup, plan.measure);
        let one = |index: u32| -> Result<(Observed, Vec<Span>), SimError> {
            let seed = plan.seed.replication(index);
            let requests = match plan.arrivals {
                Arrivals::Shared => plan.seed,
                Arrivals::Independent => seed,
            };
            let mut engine = Engine::start(self, schedule, requests, seed, index);
            engine.trace = (plan.keep == Keep::Trace).then(Vec::new);
            engine.run()?;
            let trace = engine.trace.take().unwrap_or_default();
            Ok((Observed::of(&engine), trace))
        };
        let replications = crate::in_parallel(0..plan.replications, plan.threads, one)?;
        let (observed, traces): (Vec<Observed>, Vec<Vec<Span>>) = replications.into_iter().unzip();
        let (whole, stages) = summarize(self, &observed);
        Ok(Report {
            whole,
            stages,
            window_s: observed.iter().map(|o| o.window_s).collect(),
            events: observed.iter().map(|o| o.events).collect(),
            trace: traces.into_iter().flatten().collect(),
        })
    }
}

//! Replications of a network.

use std::collections::BTreeMap;

use schema::comparison::Metric;
use schema::random::Seed;
use schema::run::{RUN_FORMAT, Span, SpanName};
use schema::scenario::Extent;
use schema::stages::{Distributed, StageSummary};
use schema::stats::Estimate;
use schema::summary::{Diagnostics, Summary, Times};
use schema::workload::Schedule;

use super::engine::Engine;
use super::network::Network;
use super::report::{Observed, summarize};
use crate::error::SimError;
use crate::precision::Precision;
use crate::{Arrivals, Keep};

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
    /// How precise some metric is to be: as many more replications are run as that takes.
    pub precision: Option<Precision>,
    /// Whether every visit is kept.
    pub keep: Keep,
}

impl Plan {
    /// Ten replications with requests of their own, from seed 1, on all cores, of which only the
    /// statistics are kept.
    pub const fn new(warmup: Extent, measure: Extent) -> Plan {
        Plan {
            seed: Seed(1),
            warmup,
            measure,
            replications: 10,
            arrivals: Arrivals::Independent,
            threads: 0,
            precision: None,
            keep: Keep::Statistics,
        }
    }
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
        let (observed, traces): (Vec<Observed>, Vec<Vec<Span>>) =
            self.replicate(plan)?.into_iter().unzip();
        Ok(Report {
            trace: traces.into_iter().flatten().collect(),
            ..self.report(&observed)
        })
    }

    /// The summary of each replication alone.
    pub(crate) fn summaries(&self, plan: &Plan) -> Result<Vec<Summary>, SimError> {
        let replications = self.replicate(plan)?;
        let observed = replications.into_iter().map(|(observed, _)| observed);
        Ok(observed.map(|one| self.report(&[one]).summary()).collect())
    }

    fn replicate(&self, plan: &Plan) -> Result<Vec<(Observed, Vec<Span>)>, SimError> {
        plan.check()?;
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
        let precision = plan.precision.as_ref();
        let metric = precision.map_or(Metric::Mean, |p| p.metric);
        let run = |indices| crate::in_parallel(indices, plan.threads, one);
        let value = |(observed, _): &(Observed, Vec<Span>)| observed.value(metric);
        crate::precision::replications(plan.replications, precision, run, value)
    }

    fn report(&self, observed: &[Observed]) -> Report {
        let (whole, stages) = summarize(self, observed);
        Report {
            whole,
            stages,
            window_s: observed.iter().map(|o| o.window_s).collect(),
            events: observed.iter().map(|o| o.events).collect(),
            trace: Vec::new(),
        }
    }
}

impl Report {
    /// The statistics in the form of any run's.
    pub fn summary(&self) -> Summary {
        let whole = &self.whole;
        let times = |times: &Distributed| Times {
            mean: times.mean,
            p50: times.p50,
            p90: times.p90,
            p99: times.p99,
        };
        let unknown = Estimate {
            value: f64::NAN,
            low: f64::NAN,
            high: f64::NAN,
        };
        let service = Times {
            mean: whole.service,
            p50: unknown,
            p90: unknown,
            p99: unknown,
        };
        let utilization = self.stages.iter().filter_map(|(name, stage)| {
            let share = stage.utilization?.value;
            Some((name.clone(), share))
        });
        let utilization: BTreeMap<String, f64> = utilization.collect();
        let mut warnings = schema::summary::saturated(&utilization);
        if whole.n == 0 {
            warnings.push("no request counts: measure longer".to_owned());
        }
        Summary {
            format: RUN_FORMAT,
            requests: whole.n,
            failed: whole.lost,
            window_s: self.window_s.clone(),
            end_to_end: times(&whole.sojourn),
            throughput: whole.throughput,
            cpu: None,
            machine_cpu: None,
            parts: [
                (SpanName::Queue.name().to_owned(), times(&whole.waiting)),
                (SpanName::Service.name().to_owned(), service),
            ]
            .into(),
            other_s: 0.0,
            diagnostics: Diagnostics {
                effective_samples: whole.n as f64,
                warnings,
                ..Diagnostics::default()
            },
            utilization,
            system: Some(whole.clone()),
            stages: self.stages.clone(),
        }
    }
}

//! The samples of a cost, and which of them it is fitted to.

use std::collections::{BTreeMap, BTreeSet};

use schema::ids::{Id, RequestId, StageId};
use schema::profile::{Driver, PartKind};
use schema::run::{Run, Span, SpanName, Status};
use schema::scenario::{Group, Scenario, Serve, StageRole, Work};
use schema::units::SimTime;
use schema::workload::Schedule;

use crate::idle::Recent;

/// A run with more samples counts for no more than one with that many: what it does not tell is how
/// it differs from other runs, and that is more than its own noise.
const MAX_COUNT: f64 = 1000.0;

/// One time that a cost took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    /// What the law is in.
    pub(crate) driver: f64,
    /// The time, in seconds.
    pub(crate) seconds: f64,
    /// How much it counts, from 0 to 1; the same for all samples of a run.
    pub(crate) weight: f64,
    /// Recent busy share of its cores when it started; `None` where that is not asked.
    pub(crate) recent: Option<Recent>,
}

/// The samples of one replication of one run, in order of time.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Series {
    /// The run, by its number among the sources.
    pub(crate) source: usize,
    /// The samples.
    pub(crate) points: Vec<Point>,
}

/// Whether a law has a slope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// `base + slope · driver`.
    Affine,
    /// The same, and `slope · driver` where there is one driver only: the driver is itself a time.
    OfTime,
    /// `base`, whatever the driver.
    Constant,
}

/// Which of a span's times is the sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    /// Core time: the span also waits for its peer.
    Core,
    /// Service time where nothing of ours can preempt it, else core time.
    Service,
    /// A length.
    Length,
}

/// A sample before it is decided which of its times counts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Raw {
    /// When it started, in nanoseconds since the clients' common start.
    pub(crate) start_ns: u64,
    /// What the law is in.
    pub(crate) driver: f64,
    /// How long it took, in seconds.
    pub(crate) wall_s: f64,
    /// Core time it used, in seconds; zero where it was not taken.
    pub(crate) cpu_s: f64,
    /// Recent busy share of its cores when it started; `None` where that is not asked.
    pub(crate) recent: Option<Recent>,
}

/// The samples of one replication of one run before that.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RawSeries {
    /// The run, by its number among the sources.
    pub(crate) source: usize,
    /// The replication.
    pub(crate) replication: u32,
    /// Whether at most one request was under way at a time.
    pub(crate) light: bool,
    /// The samples.
    pub(crate) samples: Vec<Raw>,
}

/// Every sample of one cost of one part.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Collected {
    /// What the part is.
    pub(crate) kind: PartKind,
    /// What the driver counts.
    pub(crate) per: Driver,
    /// Whether the law has a slope.
    pub(crate) shape: Shape,
    /// Which time is the sample.
    pub(crate) clock: Clock,
    /// The samples, by run and replication.
    pub(crate) series: Vec<RawSeries>,
}

/// The samples that a cost is fitted to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Selected {
    /// The samples; none if the spans lack the time that is needed.
    pub(crate) series: Vec<Series>,
    /// Why these are not all, or not the best kind.
    pub(crate) warnings: Vec<String>,
}

/// Samples by part and cost.
pub(crate) type Costs = BTreeMap<(String, String), Collected>;

/// Whether at most one request of the run can be under way at a time.
pub(crate) fn is_light(scenario: &Scenario) -> bool {
    let closed = |group: &Group| group.arrivals.is_closed_loop();
    let one_by_one = |group: &Group| closed(group) && group.branches.is_empty();
    scenario.clients.len() == 1 && scenario.groups.rows().iter().all(one_by_one)
}

/// The driver of a batch's inference, the requests in it or the seconds asked for, and the shape of
/// its law.
pub(crate) fn inference_driver(work: &Work, batch_size: u32) -> (Driver, f64, Shape) {
    match work {
        Work::Net { .. } | Work::Profiled(_) | Work::Kernels(_) => {
            (Driver::Requests, f64::from(batch_size), Shape::Affine)
        }
        Work::Synthetic(synthetic) => (
            Driver::Seconds,
            synthetic.time.as_secs_f64() * f64::from(batch_size),
            Shape::OfTime,
        ),
    }
}

/// The serving stage `stage`; `None` for a proxy.
pub(crate) fn serve(scenario: &Scenario, stage: StageId) -> Option<&Serve> {
    match &scenario.stages.rows().get(stage.index())?.role {
        StageRole::Serve(serve) => Some(serve),
        StageRole::Proxy(_) | StageRole::Plain(_) => None,
    }
}

/// Number of requests in each batch, by replication, stage and batch; warm-up requests included.
pub(crate) fn batch_sizes(run: &Run) -> BTreeMap<(u32, StageId, u32), u32> {
    let mut sizes = BTreeMap::new();
    for span in run.trace.iter().filter(|s| s.name == SpanName::Inference) {
        *sizes
            .entry((span.replication, span.stage, span.batch))
            .or_insert(0) += 1;
    }
    sizes
}

/// The requests that were completed and count.
pub(crate) fn counted(run: &Run) -> BTreeSet<(u32, RequestId)> {
    let schedule = Schedule::new(&run.scenario);
    let done = |s: &&Span| s.name == SpanName::Request && s.status == Status::Ok;
    let counts = |s: &&Span| {
        let ready_ps = s.ready_ns.checked_mul(1_000);
        ready_ps.is_some_and(|ps| schedule.counts(s.request.seq(), SimTime::from_ps(ps)))
    };
    let spans = run.trace.iter().filter(done).filter(counts);
    spans.map(|s| (s.replication, s.request)).collect()
}

fn drivers<'a>(series: impl IntoIterator<Item = &'a RawSeries>) -> BTreeSet<u64> {
    let samples = series.into_iter().flat_map(|s| &s.samples);
    samples.map(|sample| sample.driver.to_bits()).collect()
}

impl Collected {
    /// The samples to fit to: those of light runs where they can show the law, else light ones and
    /// the others at drivers that no light run has.
    pub(crate) fn select(&self) -> Selected {
        let mut warnings = Vec::new();
        let usable: Vec<&RawSeries> = self.series.iter().filter(|s| self.has_time(s)).collect();
        if usable.len() < self.series.len() {
            warnings.push(format!(
                "no core time is recorded in {} of {} runs; measure where threads' core time can be read",
                self.series.len() - usable.len(),
                self.series.len()
            ));
        }
        let light = drivers(usable.iter().copied().filter(|s| s.light));
        let all = drivers(usable.iter().copied());
        let light_only = !light.is_empty()
            && (self.shape == Shape::Constant || light.len() >= 2 || all.len() == 1);
        if !light_only && !usable.is_empty() {
            warnings.push(if light.is_empty() {
                "no run had one request at a time: waiting for cores and contention may be in the samples; add a run with one closed-loop client".to_owned()
            } else {
                "the runs with one request at a time have one driver only: the others come from loaded runs, contention included".to_owned()
            });
        }
        let taken = |s: &RawSeries, sample: &Raw| {
            s.light || (!light_only && !light.contains(&sample.driver.to_bits()))
        };
        let series = usable.iter().map(|s| {
            let samples: Vec<&Raw> = s.samples.iter().filter(|raw| taken(s, raw)).collect();
            let weight = (MAX_COUNT / samples.len() as f64).min(1.0);
            Series {
                source: s.source,
                points: samples
                    .into_iter()
                    .map(|sample| self.point(s, sample, weight))
                    .collect(),
            }
        });
        Selected {
            series: series.filter(|s| !s.points.is_empty()).collect(),
            warnings,
        }
    }

    fn has_time(&self, series: &RawSeries) -> bool {
        self.clock != Clock::Core || series.samples.iter().any(|sample| sample.cpu_s > 0.0)
    }

    fn point(&self, series: &RawSeries, sample: &Raw, weight: f64) -> Point {
        let seconds = match self.clock {
            Clock::Core => sample.cpu_s,
            Clock::Service if !series.light && sample.cpu_s > 0.0 => sample.cpu_s,
            Clock::Service | Clock::Length => sample.wall_s,
        };
        Point {
            driver: sample.driver,
            seconds,
            weight,
            recent: sample.recent,
        }
    }
}

//! From spans to samples: which span is a sample of which cost, with which driver.

use std::collections::{BTreeMap, BTreeSet};

use schema::ids::{Id, RequestId, StageId};
use schema::profile::{Driver, PartKind, cost};
use schema::run::{Leg, Run, Span, SpanName, Status};
use schema::scenario::{ArrivalsFile, Hop, Scenario, Serve, StageRole, Work};
use schema::units::{Bytes, SimDuration, SimTime};
use schema::workload::Schedule;

use crate::Source;

/// Largest message whose time on the way is a sample of the delay: larger ones are received while
/// they are still being sent.
const MAX_DELAY_BYTES: u64 = 64 << 10;

/// One time that a cost took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    /// What the law is in.
    pub(crate) driver: f64,
    /// The time, in seconds.
    pub(crate) seconds: f64,
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
    /// `base`, whatever the driver.
    Constant,
}

/// Which of a span's times is the sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    /// Core time: the span also waits for its peer.
    Core,
    /// Service time where nothing of ours can preempt it, else core time.
    Service,
    /// A length.
    Length,
}

/// A sample before it is decided which of its times counts.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Raw {
    start_ns: u64,
    driver: f64,
    wall_s: f64,
    cpu_s: f64,
}

#[derive(Clone, PartialEq, Debug)]
struct RawSeries {
    source: usize,
    replication: u32,
    /// At most one request was under way at a time.
    light: bool,
    samples: Vec<Raw>,
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
    clock: Clock,
    series: Vec<RawSeries>,
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
    let closed = |group: &schema::scenario::Group| {
        matches!(group.arrivals, ArrivalsFile::ClosedLoop { .. })
    };
    scenario.clients.len() == 1 && scenario.groups.rows().iter().all(closed)
}

/// The driver of a batch's inference: the requests in it, or the seconds asked for.
pub(crate) fn inference_driver(work: &Work, batch_size: u32) -> (Driver, f64) {
    match work {
        Work::Net { .. } => (Driver::Requests, f64::from(batch_size)),
        Work::Synthetic(synthetic) => (
            Driver::Seconds,
            synthetic.time.as_secs_f64() * f64::from(batch_size),
        ),
    }
}

/// The serving stage `stage`; `None` for a proxy.
pub(crate) fn serve(scenario: &Scenario, stage: StageId) -> Option<&Serve> {
    match &scenario.stages.rows().get(stage.index())?.role {
        StageRole::Serve(serve) => Some(serve),
        StageRole::Proxy => None,
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

/// The samples of every cost in `sources`. What cannot be used is counted in `warnings`.
pub(crate) fn collect(sources: &[Source], warnings: &mut Vec<String>) -> Costs {
    let mut costs = Costs::new();
    for (index, source) in sources.iter().enumerate() {
        let mut collector = Collector {
            source: index,
            scenario: &source.run.scenario,
            light: is_light(&source.run.scenario),
            batch_sizes: batch_sizes(source.run),
            costs: &mut costs,
            n_malformed: 0,
        };
        collector.run(source.run);
        let n = collector.n_malformed;
        if n > 0 {
            warnings.push(format!(
                "{}: {n} spans are left out, for they end before they start or name a hop, host or stage that is not there; measure it again",
                source.name
            ));
        }
    }
    for collected in costs.values_mut() {
        for series in &mut collected.series {
            series.samples.sort_by_key(|sample| sample.start_ns);
        }
    }
    costs
}

/// Name, replication, stage, batch, start and end: what the spans of one operation on a whole
/// batch have in common.
type Operation = (SpanName, u32, StageId, u32, u64, u64);
/// Replication, request, hop and direction.
type Message = (u32, RequestId, u8, Leg);

struct Collector<'a> {
    source: usize,
    scenario: &'a Scenario,
    light: bool,
    batch_sizes: BTreeMap<(u32, StageId, u32), u32>,
    costs: &'a mut Costs,
    n_malformed: u64,
}

impl Collector<'_> {
    fn run(&mut self, run: &Run) {
        let counted = counted(run);
        let mut operations: BTreeMap<Operation, (Span, u64)> = BTreeMap::new();
        let mut messages: BTreeMap<Message, [Option<Span>; 2]> = BTreeMap::new();
        for span in &run.trace {
            let counts = counted.contains(&(span.replication, span.request));
            if !counts || span.status == Status::Failed {
                continue;
            }
            if !self.is_well_formed(span) {
                self.n_malformed += 1;
                continue;
            }
            if let (SpanName::Send | SpanName::Receive, Some(hop)) = (span.name, span.hop) {
                let key = (span.replication, span.request, hop, span.leg);
                let side = usize::from(span.name == SpanName::Receive);
                messages.entry(key).or_default()[side] = Some(*span);
            }
            if is_batched(span) {
                let bytes = &mut operations.entry(operation(span)).or_insert((*span, 0)).1;
                *bytes = bytes.saturating_add(span.bytes);
            } else {
                self.span(span, span.bytes);
            }
        }
        for (span, bytes) in operations.values() {
            self.span(span, *bytes);
        }
        for (message, sides) in &messages {
            if let [Some(send), Some(receive)] = sides {
                self.delay(message.2, send, receive);
            }
        }
    }

    fn is_well_formed(&self, span: &Span) -> bool {
        let ordered = span.ready_ns <= span.start_ns && span.start_ns <= span.end_ns;
        let is_message = matches!(span.name, SpanName::Send | SpanName::Receive);
        let hop_exists = !is_message || self.hop(span).is_some();
        let serves = !is_on_device(span) || serve(self.scenario, span.stage).is_some();
        let host_exists = span.host.index() < self.scenario.hosts.len();
        ordered && hop_exists && serves && host_exists && self.group(span).is_some()
    }

    fn group(&self, span: &Span) -> Option<&schema::scenario::Group> {
        let client = self
            .scenario
            .clients
            .rows()
            .get(span.request.client().index())?;
        Some(&self.scenario.groups[client.group])
    }

    fn hop(&self, span: &Span) -> Option<Hop> {
        self.group(span)?
            .path
            .get(usize::from(span.hop?))
            .copied()
    }

    /// Adds the sample that a span (or the spans of one operation, of `bytes` in all) gives.
    fn span(&mut self, span: &Span, bytes: u64) {
        let by_bytes = (Driver::Bytes, bytes as f64, Shape::Affine);
        let work = serve(self.scenario, span.stage).map(|serve| &serve.work);
        let over = self.hop(span).map(|hop| hop.over);
        match (span.name, work, over) {
            (SpanName::Prepare, ..) => self.on_host(span, cost::PREPARE, Clock::Service, by_bytes),
            (SpanName::Postprocess, ..) => {
                self.on_host(span, cost::POSTPROCESS, Clock::Service, by_bytes);
            }
            (SpanName::Translate, ..) => {
                self.on_host(span, cost::TRANSLATE, Clock::Service, by_bytes);
            }
            (SpanName::H2d, ..) => self.on_host(span, cost::H2D, Clock::Service, by_bytes),
            (SpanName::D2h, ..) => self.on_host(span, cost::D2H, Clock::Service, by_bytes),
            (SpanName::Preprocess, Some(work), _) => {
                let cost = cost::preprocess(&work.key());
                self.on_host(span, &cost, Clock::Service, by_bytes);
            }
            (SpanName::Inference, Some(work), _) => {
                let size = self.batch_sizes[&(span.replication, span.stage, span.batch)];
                let (per, driver) = inference_driver(work, size);
                let cost = cost::inference(&work.key());
                self.on_host(span, &cost, Clock::Service, (per, driver, Shape::Affine));
            }
            (SpanName::Send, _, Some(over)) => {
                self.on_host(span, &cost::send(over), Clock::Core, by_bytes);
                self.notify(span);
            }
            (SpanName::Receive, _, Some(over)) => {
                self.on_host(span, &cost::receive(over), Clock::Core, by_bytes);
            }
            (SpanName::Queue, ..) => self.dispatch(span),
            _ => {}
        }
    }

    /// The queue of an idle context: what is left is the hand-over.
    fn dispatch(&mut self, span: &Span) {
        let waits_for_batch = serve(self.scenario, span.stage)
            .is_none_or(|s| s.batch_max > 1 && s.batch_delay > SimDuration::ZERO);
        if self.light && !waits_for_batch {
            let part = self.scenario.hosts[span.host].part.clone();
            self.constant(part, cost::DISPATCH, span, span.length_s());
        }
    }

    /// The server's reply waits for the thread that sends it.
    fn notify(&mut self, span: &Span) {
        let group = self.group(span).expect("the span is well formed");
        let last = group.path.last().expect("a path has a hop");
        let is_last = span.hop.map(|hop| usize::from(hop) + 1) == Some(group.path.len());
        let at_server = span.host == self.scenario.stages[last.to].host;
        if self.light && span.leg == Leg::Reply && is_last && at_server {
            let part = self.scenario.hosts[span.host].part.clone();
            let waiting_s = (span.start_ns - span.ready_ns) as f64 / 1e9;
            self.constant(part, cost::NOTIFY, span, waiting_s);
        }
    }

    /// The time between a message's last byte being sent and its first being taken, without what
    /// the scenario's own rate and delay of the link account for.
    fn delay(&mut self, hop: u8, send: &Span, receive: &Span) {
        if send.bytes > MAX_DELAY_BYTES {
            return;
        }
        let hop = self.group(send).map(|group| group.path[usize::from(hop)]);
        let hop = hop.expect("the span is well formed");
        let (part, kind, known) = match hop.link.map(|id| &self.scenario.links[id]) {
            None => {
                let part = self.scenario.hosts[receive.host].part.clone();
                (part, PartKind::Host, SimDuration::ZERO)
            }
            Some(link) => {
                let Some(part) = link.part.clone() else {
                    return;
                };
                let on_line = link.rate.map_or(SimDuration::ZERO, |rate| {
                    rate.serialization_delay(Bytes(send.bytes))
                });
                (part, PartKind::Link, link.delay + on_line)
            }
        };
        let gap_s = receive.start_ns.saturating_sub(send.end_ns) as f64 / 1e9;
        let wall_s = (gap_s - known.as_secs_f64()).max(0.0);
        let raw = Raw {
            start_ns: send.end_ns,
            driver: 1.0,
            wall_s,
            cpu_s: 0.0,
        };
        let row = (kind, Driver::Requests, Shape::Constant, Clock::Length);
        self.push(part, &cost::delay(hop.over), row, send.replication, raw);
    }

    fn on_host(
        &mut self,
        span: &Span,
        cost: &str,
        clock: Clock,
        (per, driver, shape): (Driver, f64, Shape),
    ) {
        let raw = Raw {
            start_ns: span.start_ns,
            driver,
            wall_s: span.service_s(),
            cpu_s: span.cpu_s(),
        };
        let part = self.scenario.hosts[span.host].part.clone();
        let row = (PartKind::Host, per, shape, clock);
        self.push(part, cost, row, span.replication, raw);
    }

    fn constant(&mut self, part: String, cost: &str, span: &Span, seconds: f64) {
        let raw = Raw {
            start_ns: span.start_ns,
            driver: 1.0,
            wall_s: seconds,
            cpu_s: 0.0,
        };
        let row = (PartKind::Host, Driver::Requests, Shape::Constant, Clock::Length);
        self.push(part, cost, row, span.replication, raw);
    }

    fn push(
        &mut self,
        part: String,
        cost: &str,
        (kind, per, shape, clock): (PartKind, Driver, Shape, Clock),
        replication: u32,
        sample: Raw,
    ) {
        let (source, light) = (self.source, self.light);
        let collected = self
            .costs
            .entry((part, cost.to_owned()))
            .or_insert_with(|| Collected {
                kind,
                per,
                shape,
                clock,
                series: Vec::new(),
            });
        let known = collected
            .series
            .iter_mut()
            .rev()
            .find(|s| (s.source, s.replication) == (source, replication));
        match known {
            Some(series) => series.samples.push(sample),
            None => collected.series.push(RawSeries {
                source,
                replication,
                light,
                samples: vec![sample],
            }),
        }
    }
}

const fn is_on_device(span: &Span) -> bool {
    matches!(
        span.name,
        SpanName::Queue | SpanName::H2d | SpanName::Preprocess | SpanName::Inference | SpanName::D2h
    )
}

/// The operation that a span on the device is part of: inference is one a batch, copies and
/// preprocessing are one where they share their start and their end.
const fn operation(span: &Span) -> Operation {
    let (start_ns, end_ns) = match span.name {
        SpanName::Inference => (0, 0),
        _ => (span.start_ns, span.end_ns),
    };
    let (name, replication) = (span.name, span.replication);
    (name, replication, span.stage, span.batch, start_ns, end_ns)
}

/// Whether the spans of several requests may be one operation on their batch.
const fn is_batched(span: &Span) -> bool {
    matches!(
        span.name,
        SpanName::H2d | SpanName::Preprocess | SpanName::Inference | SpanName::D2h
    )
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
                "{} of {} series have no core time; measure on a system that records it",
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
        let series = usable.iter().map(|s| Series {
            source: s.source,
            points: s
                .samples
                .iter()
                .filter(|sample| taken(s, sample))
                .map(|sample| self.point(s, sample))
                .collect(),
        });
        Selected {
            series: series.filter(|s| !s.points.is_empty()).collect(),
            warnings,
        }
    }

    fn has_time(&self, series: &RawSeries) -> bool {
        self.clock != Clock::Core || series.samples.iter().any(|sample| sample.cpu_s > 0.0)
    }

    fn point(&self, series: &RawSeries, sample: &Raw) -> Point {
        let seconds = match self.clock {
            Clock::Core => sample.cpu_s,
            Clock::Service if !series.light && sample.cpu_s > 0.0 => sample.cpu_s,
            Clock::Service | Clock::Length => sample.wall_s,
        };
        Point {
            driver: sample.driver,
            seconds,
        }
    }
}

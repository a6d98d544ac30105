//! From spans to samples: which span is a sample of which cost, with which driver.

use std::collections::{BTreeMap, BTreeSet};

use schema::ids::{Id, RequestId, StageId};
use schema::profile::{Driver, PartKind, cost};
use schema::run::{Leg, Run, Span, SpanName, Status};
use schema::scenario::{Group, Hop, HostWait, Scenario, Verb, Way, Work};
use schema::units::{Bytes, SimDuration};
use schema::workload::ClientPlan;

use crate::Source;
use crate::idle::{BatchKey, Recent, recent};
use crate::samples::{
    Clock, Collected, Costs, Raw, RawSeries, Shape, batch_sizes, counted, inference_driver,
    is_light, serve,
};

/// Largest message over sockets whose time on the way is a sample of the delay: larger ones are
/// received while they are still being sent.
const MAX_DELAY_BYTES: u64 = 64 << 10;

/// The samples of every cost in `sources`. What cannot be used is counted in `warnings`.
pub(crate) fn collect(sources: &[Source], warnings: &mut Vec<String>) -> Costs {
    let mut costs = Costs::new();
    let mut large = BTreeSet::new();
    for (index, source) in sources.iter().enumerate() {
        let mut collector = Collector {
            source: index,
            scenario: &source.run.scenario,
            light: is_light(&source.run.scenario),
            batch_sizes: batch_sizes(source.run),
            recent: recent_of_batches(source.run),
            costs: &mut costs,
            slept: slept(source.run),
            n_malformed: 0,
            n_read: 0,
            large: &mut large,
        };
        collector.run(source.run);
        let (n, n_read) = (collector.n_malformed, collector.n_read);
        if n_read > 0 {
            warnings.push(format!(
                "{}: {n_read} messages are left out, for with `verb = \"read\"` a receiver's span holds a notice, a post and two completions; the engine makes a read of the costs of a run with another verb",
                source.name
            ));
        }
        if n > 0 {
            warnings.push(format!(
                "{}: {n} spans are left out, for they end before they start or name a hop, host or stage that is not there; measure it again",
                source.name
            ));
        }
    }
    for (part, cost) in large.iter().filter(|key| !costs.contains_key(key)) {
        warnings.push(format!(
            "`{cost}` of part `{part}` is left out: every message is larger than {MAX_DELAY_BYTES} B; add a run with small ones"
        ));
    }
    for collected in costs.values_mut() {
        for series in &mut collected.series {
            series.samples.sort_by_key(|sample| sample.start_ns);
        }
    }
    costs
}

/// Name, replication, stage and batch: what the spans of one operation on a batch have in common.
type Operation = (SpanName, u32, StageId, u32);
/// Replication, request, branch of it, hop and direction.
type Message = (u32, RequestId, u32, u8, Leg);

struct Collector<'a> {
    source: usize,
    scenario: &'a Scenario,
    light: bool,
    batch_sizes: BTreeMap<BatchKey, u32>,
    /// The recent busy share of its cores when the inference of a batch started.
    recent: BTreeMap<BatchKey, Recent>,
    costs: &'a mut Costs,
    /// Replications and numbers of the requests before which the only client thought.
    slept: BTreeSet<(u32, u32)>,
    n_malformed: u64,
    /// Messages that were read by their receiver.
    n_read: u64,
    /// Part and cost of the delay of messages that were too large to show it.
    large: &'a mut BTreeSet<(String, String)>,
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
                let key = (span.replication, span.request, span.branch, hop, span.leg);
                let side = usize::from(span.name == SpanName::Receive);
                messages.entry(key).or_default()[side] = Some(*span);
            }
            if is_batched(span) {
                let operation = (span.name, span.replication, span.stage, span.batch);
                let bytes = &mut operations.entry(operation).or_insert((*span, 0)).1;
                *bytes = bytes.saturating_add(span.bytes);
            } else {
                self.span(span, span.bytes);
            }
        }
        for (span, bytes) in operations.values() {
            self.span(span, *bytes);
        }
        for sides in messages.values() {
            if let [Some(send), Some(receive)] = sides {
                if self.is_read(send) {
                    self.n_read += 1;
                } else {
                    self.delay(send, receive);
                }
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

    fn group(&self, span: &Span) -> Option<&Group> {
        let client = self
            .scenario
            .clients
            .rows()
            .get(span.request.client().index())?;
        Some(&self.scenario.groups[client.group])
    }

    fn hop(&self, span: &Span) -> Option<&Hop> {
        (self.scenario).hop(span.request.client(), span.branch, span.hop?)
    }

    /// Whether the receiver of the message reads it from the sender's memory.
    fn is_read(&self, span: &Span) -> bool {
        let verbs = self.hop(span).and_then(|hop| hop.verbs);
        verbs.is_some_and(|verbs| verbs.verb == Verb::Read)
    }

    /// Whether a proxy has one memory for both of its sides, and so copies nothing.
    fn shares_memory(&self, span: &Span) -> bool {
        let path = self.group(span).map(|group| group.path.as_slice());
        let mut pairs = path.unwrap_or_default().windows(2);
        pairs.any(|hops| hops[0].to == span.stage && hops.iter().all(|hop| hop.over.is_verbs()))
    }

    /// Adds the sample that a span (or the spans of one operation, of `bytes` in all) gives.
    fn span(&mut self, span: &Span, bytes: u64) {
        let by_bytes = (Driver::Bytes, bytes as f64, Shape::Affine);
        let work = serve(self.scenario, span.stage).map(|serve| &serve.work);
        let of_message = self.hop(span).map(cost::of_message);
        match (span.name, work, of_message) {
            (SpanName::Prepare, ..) => {
                self.on_host(span, cost::PREPARE, Clock::Service, by_bytes);
                self.wakeup(span);
            }
            (SpanName::Postprocess, ..) => {
                self.on_host(span, cost::POSTPROCESS, Clock::Service, by_bytes);
            }
            (SpanName::Translate, ..) if self.shares_memory(span) => {
                let once = (Driver::Requests, 1.0, Shape::Constant);
                self.on_host(span, cost::FORWARD, Clock::Service, once);
            }
            (SpanName::Translate, ..) => {
                self.on_host(span, cost::TRANSLATE, Clock::Service, by_bytes);
            }
            // Of its GPU's part, by the device's clock.
            (SpanName::H2d | SpanName::D2h | SpanName::Preprocess, ..) if self.is_on_gpu(span) => {}
            (SpanName::Inference, ..) if self.is_on_gpu(span) => self.launch(span),
            (SpanName::H2d, ..) => self.on_host(span, cost::H2D, Clock::Service, by_bytes),
            (SpanName::D2h, ..) => self.on_host(span, cost::D2H, Clock::Service, by_bytes),
            (SpanName::Preprocess, Some(work), _) => {
                let cost = cost::preprocess(&work.key());
                self.on_host(span, &cost, Clock::Service, by_bytes);
            }
            (SpanName::Inference, Some(work), _) => {
                let size = self.batch_sizes[&(span.replication, span.stage, span.batch)];
                let law = inference_driver(work, size);
                self.on_host(span, &cost::inference(&work.key()), Clock::Service, law);
            }
            (SpanName::Send, _, Some([send, _])) => {
                if !self.is_read(span) {
                    self.on_host(span, &send, Clock::Core, by_bytes);
                }
                self.notify(span);
            }
            (SpanName::Receive, _, Some([_, receive])) if !self.is_read(span) => {
                self.on_host(span, &receive, Clock::Core, by_bytes);
            }
            (SpanName::Queue, Some(_), _) => self.dispatch(span),
            _ => {}
        }
    }

    fn is_on_gpu(&self, span: &Span) -> bool {
        serve(self.scenario, span.stage).is_some_and(|serve| serve.gpu.is_some())
    }

    /// What a core takes to launch the kernels of a pass. A thread that polls for their end has that
    /// in it, so only of one that sleeps.
    fn launch(&mut self, span: &Span) {
        let Some(serve) = serve(self.scenario, span.stage) else {
            return;
        };
        let sleeps = (serve.gpu.as_ref()).is_some_and(|gpu| gpu.wait == HostWait::Block);
        if let (Work::Kernels(kernels), true) = (&serve.work, sleeps && span.cpu_ns > 0) {
            let by_kernels = (Driver::Kernels, kernels.work.len() as f64, Shape::Affine);
            self.on_host(span, cost::LAUNCH, Clock::Core, by_kernels);
        }
    }

    /// A client that thinks sleeps until its request is due, and then waits to run.
    fn wakeup(&mut self, span: &Span) {
        if self.light && self.slept.contains(&(span.replication, span.request.seq())) {
            let part = self.scenario.hosts[span.host].part.clone();
            let waited = (span.start_ns - span.ready_ns) as f64 / 1e9;
            self.constant(part, cost::WAKEUP, span, waited);
        }
    }

    /// The queue of an idle context: what is left is the hand-over.
    fn dispatch(&mut self, span: &Span) {
        let waits_for_batch = serve(self.scenario, span.stage)
            .is_none_or(|s| s.batch.max > 1 && s.batch.delay > SimDuration::ZERO);
        if self.light && !waits_for_batch {
            let part = self.scenario.hosts[span.host].part.clone();
            self.constant(part, cost::DISPATCH, span, span.length_s());
        }
    }

    /// The server's reply waits for the thread that sends it.
    fn notify(&mut self, span: &Span) {
        let (Some(number), Some(hop)) = (span.hop, self.hop(span)) else {
            return;
        };
        let client = span.request.client();
        let is_last = (self.scenario.hop(client, span.branch, number + 1)).is_none();
        let stage = &self.scenario.stages[hop.to];
        let serves = serve(self.scenario, hop.to).is_some() && stage.steps.is_empty();
        let at_server = self.scenario.hosts[span.host].key == self.scenario.hosts[stage.host].key;
        if self.light && span.leg == Leg::Reply && is_last && serves && at_server {
            let part = self.scenario.hosts[span.host].part.clone();
            let waiting_s = (span.start_ns - span.ready_ns) as f64 / 1e9;
            self.constant(part, cost::NOTIFY, span, waiting_s);
        }
    }

    /// The time between a message's last byte being sent and its first being taken, without what
    /// the scenario's own rate and delay of the link account for.
    fn delay(&mut self, send: &Span, receive: &Span) {
        let hop = self.hop(send).expect("the span is well formed");
        let (part, kind, known) = match hop.way {
            // Of no link in particular.
            Way::Switched => return,
            Way::Inside => {
                let part = self.scenario.hosts[receive.host].part.clone();
                (part, PartKind::Host, SimDuration::ZERO)
            }
            Way::Link(link) => {
                let link = &self.scenario.links[link];
                let Some(part) = link.part.clone() else {
                    return;
                };
                let on_line = link.rate.map_or(SimDuration::ZERO, |rate| {
                    rate.serialization_delay(Bytes(send.bytes))
                });
                (part, PartKind::Link, link.delay + on_line)
            }
        };
        let (meant, instead) = cost::between(hop);
        let cost = meant.map_or(instead, str::to_owned);
        // Adapters hand a message over when all of it is there, and what they take grows with it.
        let is_whole = hop.over.is_verbs();
        if send.bytes > MAX_DELAY_BYTES && !is_whole {
            self.large.insert((part, cost));
            return;
        }
        let gap_s = receive.start_ns.saturating_sub(send.end_ns) as f64 / 1e9;
        let wall_s = (gap_s - known.as_secs_f64()).max(0.0);
        let (per, driver, shape) = if is_whole {
            (Driver::Bytes, send.bytes as f64, Shape::Affine)
        } else {
            (Driver::Requests, 1.0, Shape::Constant)
        };
        let raw = Raw {
            start_ns: send.end_ns,
            driver,
            wall_s,
            cpu_s: 0.0,
            recent: None,
        };
        let row = (kind, per, shape, Clock::Length);
        self.push(part, &cost, row, send.replication, raw);
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
            // After a pause a message takes a time more, not a factor.
            recent: match span.name {
                SpanName::Inference => self.recent.get(&batch(span)).copied(),
                _ => None,
            },
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
            recent: None,
        };
        let row = (
            PartKind::Host,
            Driver::Requests,
            Shape::Constant,
            Clock::Length,
        );
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

fn recent_of_batches(run: &Run) -> BTreeMap<BatchKey, Recent> {
    let spans = run.trace.iter().zip(recent(run));
    let inferences = spans.filter(|(span, _)| span.name == SpanName::Inference);
    inferences
        .filter_map(|(span, recent)| Some((batch(span), recent?)))
        .collect()
}

const fn batch(span: &Span) -> BatchKey {
    (span.replication, span.stage, span.batch)
}

/// Replications and numbers of the requests before which the client of a run with one client thought.
fn slept(run: &Run) -> BTreeSet<(u32, u32)> {
    if !is_light(&run.scenario) {
        return BTreeSet::new();
    }
    let mut sent: BTreeMap<u32, usize> = BTreeMap::new();
    for span in run.trace.iter().filter(|s| s.name == SpanName::Request) {
        *sent.entry(span.replication).or_default() += 1;
    }
    let of_replication = |(replication, n): (u32, usize)| {
        let seed = run.scenario.seed.replication(replication);
        let client = run.scenario.clients.ids().next()?;
        let plan = ClientPlan::new(&run.scenario, client, seed).ok()?;
        let thought = plan
            .take(n)
            .filter(|planned| planned.gap > SimDuration::ZERO);
        Some(thought.map(move |planned| (replication, planned.id.seq())))
    };
    sent.into_iter()
        .filter_map(of_replication)
        .flatten()
        .collect()
}

const fn is_on_device(span: &Span) -> bool {
    matches!(
        span.name,
        SpanName::H2d | SpanName::Preprocess | SpanName::Inference | SpanName::D2h
    )
}

/// Whether the spans of a batch's requests are one operation; copies are one a request.
const fn is_batched(span: &Span) -> bool {
    matches!(span.name, SpanName::Preprocess | SpanName::Inference)
}

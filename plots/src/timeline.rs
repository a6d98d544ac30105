//! What each resource did when: the spans of a replication as bars on lanes.
//!
//! A lane is a copy engine of a GPU, an inference context (on a GPU that is a stream), a station, or
//! one kind of work of a host. What was done once for a batch, which has a span for each of its
//! requests, is one bar. Work that moves to another GPU by a copy between GPUs goes on in a lane
//! there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;

use schema::ids::{HostId, Id, RequestId, StageId};
use schema::run::{Run, Span, SpanName};
use schema::scenario::{Device, GpuWork, Scenario, Serve, StageRole, Work};

use crate::error::PlotError;

/// Which part of a run a timeline shows. Times are in nanoseconds since the clients' common start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// The replication, from zero.
    pub replication: u32,
    /// Its start; the first span's if `None`.
    pub from_ns: Option<u64>,
    /// Its end; the last span's if `None`.
    pub to_ns: Option<u64>,
}

impl View {
    /// The same view up to the end of the first `n` requests that are meant to be sent in it.
    #[must_use]
    pub fn of_requests(self, run: &Run, n: usize) -> View {
        let from_ns = self.from_ns.unwrap_or(0);
        let spans = run.trace.iter();
        let mut requests: Vec<(u64, u64)> = spans
            .filter(|span| span.name == SpanName::Request && span.replication == self.replication)
            .filter(|span| span.ready_ns >= from_ns)
            .map(|span| (span.ready_ns, span.end_ns))
            .collect();
        requests.sort_unstable();
        let ends = requests.iter().take(n).map(|(_, end_ns)| *end_ns);
        let last_ns = ends.max().or(self.to_ns);
        View {
            to_ns: [last_ns, self.to_ns].into_iter().flatten().min(),
            ..self
        }
    }
}

/// Which lanes there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lanes {
    /// Those of GPUs, inference contexts and stations.
    Devices,
    /// Those of hosts too: messages, waiting lines, clients.
    All,
}

/// What a bar's length is, and how bars share rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Waiting and service; no two bars of a row overlap, and an inference whose kernels were kept
    /// is left out.
    Flat,
    /// Service, and of a waiting line waiting; of two bars of a row that overlap, one contains the
    /// other.
    Nested,
}

/// What a lane is of, in the order of lanes on one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum LaneKind {
    /// One kind of work of a host.
    Host(SpanName),
    /// The waiting line of a stage.
    Line(StageId),
    /// A copy engine.
    Engine(SpanName),
    /// An inference context, by its number.
    Context(StageId, u32),
    /// A plain station.
    Station(StageId),
}

/// Where a lane is, and what it is of; lanes stand in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) host: HostId,
    /// The GPU, if it is on one.
    pub(crate) device: Option<Device>,
    pub(crate) kind: LaneKind,
}

/// One operation: a span, or those of a batch that stand for one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bar {
    spans: Range<usize>,
    /// The earliest of its spans.
    pub(crate) ready_ns: u64,
    /// End of its waiting.
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Its row in its lane, from zero.
    pub(crate) row: usize,
}

/// Bars of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) place: Place,
    /// By when they begin.
    pub(crate) bars: Vec<Bar>,
    pub(crate) n_rows: usize,
}

/// The lanes of a view of a run.
pub(crate) struct Timeline<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) lanes: Vec<Lane>,
    spans: Vec<&'a Span>,
}

impl<'a> Timeline<'a> {
    /// The lanes of the spans of `run` that are in `view`, if only for an instant.
    ///
    /// # Errors
    /// If the run has not that replication, the view ends before it starts, or no span is in it.
    pub(crate) fn new(
        figure: &str,
        run: &'a Run,
        view: &View,
        lanes: Lanes,
        layout: Layout,
    ) -> Result<Timeline<'a>, PlotError> {
        check(figure, run, view)?;
        let from_ns = view.from_ns.unwrap_or(0);
        let to_ns = view.to_ns.unwrap_or(u64::MAX);
        let of_view = || {
            let spans = run.trace.iter();
            spans.filter(|span| span.replication == view.replication)
        };
        // Batches whose kernels were kept, whether in the view or not.
        let mut in_detail = BTreeSet::new();
        if layout == Layout::Flat {
            let kernels = of_view().filter(|span| span.name == SpanName::Kernel);
            in_detail.extend(kernels.map(|span| (span.stage, span.batch)));
        }
        let is_shown = |span: &&Span| {
            let is_inside = span.end_ns >= from_ns && span.ready_ns <= to_ns;
            let is_whole =
                span.name == SpanName::Inference && in_detail.contains(&(span.stage, span.batch));
            let is_nothing =
                layout == Layout::Flat && span.ready_ns == span.end_ns && span.bytes == 0;
            is_inside && !is_whole && !is_nothing
        };
        let scenario = &run.scenario;
        let mut placed: Vec<(Place, &Span)> = of_view()
            .filter(is_shown)
            .map(|span| (place(scenario, span), span))
            .filter(|(place, _)| lanes == Lanes::All || place.is_of_device())
            .collect();
        if placed.is_empty() {
            return Err(PlotError::Empty {
                figure: figure.to_owned(),
                what: "span in the window".to_owned(),
            });
        }
        placed.sort_unstable_by_key(|(place, span)| (*place, operation(span), span.request));
        let mut lanes: Vec<Lane> = Vec::new();
        let mut at = 0;
        for spans in placed.chunk_by(|a, b| a.0 == b.0 && is_one(a.1, b.1)) {
            let place = spans[0].0;
            if lanes.last().is_none_or(|lane| lane.place != place) {
                lanes.push(Lane {
                    place,
                    bars: Vec::new(),
                    n_rows: 0,
                });
            }
            let lane = lanes.last_mut().expect("a lane was added");
            lane.bars.push(bar(spans, at));
            at += spans.len();
        }
        for lane in &mut lanes {
            lane.arrange(layout);
        }
        let spans: Vec<&Span> = placed.into_iter().map(|(_, span)| span).collect();
        let first_ns = spans.iter().map(|span| span.ready_ns).min();
        let last_ns = spans.iter().map(|span| span.end_ns).max();
        Ok(Timeline {
            scenario,
            from_ns: view.from_ns.or(first_ns).expect("there is a span"),
            to_ns: view.to_ns.or(last_ns).expect("there is a span"),
            lanes,
            spans,
        })
    }

    /// The spans of a bar, by request; the first stands for all but their requests.
    pub(crate) fn spans(&self, bar: &Bar) -> &[&'a Span] {
        &self.spans[bar.spans.clone()]
    }

    /// What a bar is called: the kernel, or the span.
    pub(crate) fn name(&self, bar: &Bar) -> String {
        let span = self.spans(bar)[0];
        let (SpanName::Kernel, Some(kernel)) = (span.name, span.kernel) else {
            return span.name.name().to_owned();
        };
        if let Some(Work::Kernels(kernels)) = serve(self.scenario, span.stage).map(|s| &s.work)
            && let Some(GpuWork::Kernel(kernel)) = kernels.work.get(kernel as usize)
            && let Some(name) = &kernel.name
        {
            return name.clone();
        }
        format!("kernel-{kernel}")
    }

    /// What the host of a lane is called; plain stations have none.
    pub(crate) fn host_name(&self, place: Place) -> &'a str {
        if self.scenario.is_plain() {
            "stations"
        } else {
            &self.scenario.hosts[place.host].name
        }
    }

    /// What a lane is called on its host and device.
    pub(crate) fn lane_name(&self, place: Place) -> String {
        let stage = |id: StageId| self.scenario.stages[id].name.clone();
        match place.kind {
            LaneKind::Host(name) | LaneKind::Engine(name) => name.name().to_owned(),
            LaneKind::Line(id) => format!("{} queue", stage(id)),
            LaneKind::Station(id) => stage(id),
            LaneKind::Context(id, context) => {
                let replicas = self.scenario.stages[id].replicas;
                match serve(self.scenario, id).is_some_and(|s| s.instances * replicas > 1) {
                    true => format!("{} {context}", stage(id)),
                    false => stage(id),
                }
            }
        }
    }
}

/// What a GPU, or an instance of one, is called.
pub(crate) fn device_name(device: Device) -> String {
    format!("GPU {device}")
}

/// The request with its client, as the columns `client` and `request` of a trace have them.
pub(crate) fn request_name(scenario: &Scenario, request: RequestId) -> String {
    format!("{}#{}", client_name(scenario, request), request.seq())
}

/// The client of a request: its group, and its number there.
pub(crate) fn client_name(scenario: &Scenario, request: RequestId) -> String {
    let client = &scenario.clients[request.client()];
    format!("{}/{}", scenario.groups[client.group].name, client.index)
}

fn check(figure: &str, run: &Run, view: &View) -> Result<(), PlotError> {
    if view.replication >= run.manifest.replications {
        return Err(PlotError::NoReplication {
            figure: figure.to_owned(),
            found: view.replication,
            n: run.manifest.replications,
        });
    }
    let (from_ns, to_ns) = (view.from_ns.unwrap_or(0), view.to_ns.unwrap_or(u64::MAX));
    if from_ns >= to_ns {
        return Err(PlotError::NoWindow {
            figure: figure.to_owned(),
            from_ns,
            to_ns,
        });
    }
    Ok(())
}

fn serve(scenario: &Scenario, stage: StageId) -> Option<&Serve> {
    match &scenario.stages[stage].role {
        StageRole::Serve(serve) => Some(serve),
        StageRole::Proxy(_) | StageRole::Plain(_) => None,
    }
}

/// Whether it is work of an inference context, which may be one thing for several requests.
pub(crate) const fn is_of_context(name: SpanName) -> bool {
    matches!(
        name,
        SpanName::H2d | SpanName::Preprocess | SpanName::Inference | SpanName::D2h
    ) || name.is_detail()
}

fn place(scenario: &Scenario, span: &Span) -> Place {
    let device = if is_of_context(span.name) {
        device(scenario, span)
    } else {
        None
    };
    let kind = match span.name {
        SpanName::H2d | SpanName::D2h | SpanName::P2p if device.is_some() => {
            LaneKind::Engine(span.name)
        }
        SpanName::Queue => LaneKind::Line(span.stage),
        SpanName::Service => LaneKind::Station(span.stage),
        name if is_of_context(name) => LaneKind::Context(span.stage, span.context),
        name => LaneKind::Host(name),
    };
    Place {
        host: span.host,
        device,
        kind,
    }
}

/// The GPU on which a span of an inference context happens; for a copy between two, the first.
fn device(scenario: &Scenario, span: &Span) -> Option<Device> {
    let serve = serve(scenario, span.stage)?;
    let gpu = serve.gpu.as_ref()?;
    let on_its_host = span.context % serve.instances;
    let index = on_its_host / (gpu.processes * gpu.streams);
    let home = gpu.devices.get(index as usize);
    let home = *home.expect("a context is on one of its stage's devices");
    let Work::Kernels(kernels) = &serve.work else {
        return Some(home);
    };
    let n_done = match span.name {
        SpanName::Kernel | SpanName::P2p => span.kernel.map_or(0, |kernel| kernel as usize),
        SpanName::D2h => kernels.work.len(),
        _ => 0,
    };
    let done = kernels.work.iter().take(n_done);
    let moved = done.rev().find_map(|work| match work {
        GpuWork::PeerCopy { to, .. } => Some(*to),
        GpuWork::Kernel(_) => None,
    });
    Some(moved.unwrap_or(home))
}

type Operation = (u64, Reverse<u64>, SpanName, [u32; 4], Option<u8>, bool);

/// What tells the operations of a lane apart, in the order of their starts.
fn operation(span: &Span) -> Operation {
    let kernel = span.kernel.map_or(0, |kernel| kernel + 1);
    let stage = span.stage.index() as u32;
    (
        span.start_ns,
        Reverse(span.end_ns),
        span.name,
        [stage, span.context, span.batch, kernel],
        span.hop,
        span.leg == schema::run::Leg::Reply,
    )
}

/// Whether two spans stand for one thing that was done for a batch.
fn is_one(a: &Span, b: &Span) -> bool {
    is_of_context(a.name) && operation(a) == operation(b) && a.status == b.status
}

fn bar(spans: &[(Place, &Span)], at: usize) -> Bar {
    let first = spans[0].1;
    let ready = spans.iter().map(|(_, span)| span.ready_ns);
    Bar {
        spans: at..at + spans.len(),
        ready_ns: ready.min().expect("a bar has a span"),
        start_ns: if first.name == SpanName::Queue {
            // All of it is waiting.
            first.end_ns
        } else {
            first.start_ns
        },
        end_ns: first.end_ns,
        row: 0,
    }
}

impl Place {
    /// Whether it is of a GPU, an inference context or a station.
    const fn is_of_device(self) -> bool {
        matches!(
            self.kind,
            LaneKind::Engine(_) | LaneKind::Context(..) | LaneKind::Station(_)
        )
    }
}

impl Lane {
    /// Orders the bars, and gives each the first row that has room for it.
    fn arrange(&mut self, layout: Layout) {
        let is_line = matches!(self.place.kind, LaneKind::Line(_));
        let begin = |bar: &Bar| {
            if layout == Layout::Flat || is_line {
                bar.ready_ns
            } else {
                bar.start_ns
            }
        };
        self.bars.sort_by_key(|bar| {
            (
                begin(bar),
                bar.start_ns,
                Reverse(bar.end_ns),
                bar.spans.start,
            )
        });
        // Only kernels are inside another; elsewhere there may be very many rows.
        let nests = layout == Layout::Nested && matches!(self.place.kind, LaneKind::Context(..));
        self.n_rows = if nests {
            nested(&mut self.bars)
        } else {
            apart(&mut self.bars, begin)
        };
    }
}

/// Gives each bar the first row that is free; returns the number of rows.
fn apart(bars: &mut [Bar], begin: impl Fn(&Bar) -> u64) -> usize {
    let mut busy: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut free: BTreeSet<usize> = BTreeSet::new();
    let mut n_rows = 0;
    for bar in bars {
        let begin_ns = begin(bar);
        while let Some(Reverse((end_ns, row))) = busy.peek().copied()
            && end_ns <= begin_ns
        {
            busy.pop();
            free.insert(row);
        }
        bar.row = free.pop_first().unwrap_or(n_rows);
        n_rows = n_rows.max(bar.row + 1);
        // An instant takes a row too.
        busy.push(Reverse((bar.end_ns.max(begin_ns + 1), bar.row)));
    }
    n_rows
}

/// Gives each bar the first row in which all that it overlaps contains it.
fn nested(bars: &mut [Bar]) -> usize {
    // The ends of what is open in each row, innermost last.
    let mut rows: Vec<Vec<u64>> = Vec::new();
    for bar in bars {
        let has_room = |open: &mut Vec<u64>| {
            while open.last().is_some_and(|end_ns| *end_ns <= bar.start_ns) {
                open.pop();
            }
            open.last().is_none_or(|end_ns| *end_ns >= bar.end_ns)
        };
        let found = rows.iter_mut().position(has_room);
        bar.row = found.unwrap_or_else(|| {
            rows.push(Vec::new());
            rows.len() - 1
        });
        rows[bar.row].push(bar.end_ns);
    }
    rows.len()
}

/// A number for each request: that of its batch, or its rank among those of its replication.
pub(crate) fn numbers(run: &Run, replication: u32) -> BTreeMap<RequestId, u32> {
    let spans = || {
        let spans = run.trace.iter();
        spans.filter(move |span| span.replication == replication)
    };
    let mut sent: Vec<(u64, RequestId)> = spans()
        .filter(|span| span.name == SpanName::Request)
        .map(|span| (span.ready_ns, span.request))
        .collect();
    sent.sort_unstable();
    let ranks = (0..)
        .zip(&sent)
        .map(|(rank, (_, request))| (*request, rank));
    let mut numbers: BTreeMap<RequestId, u32> = ranks.collect();
    let served = spans().filter(|span| is_of_context(span.name));
    numbers.extend(served.map(|span| (span.request, span.batch)));
    numbers
}

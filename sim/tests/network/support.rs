//! Networks in a few words, and their traces as visits.

use std::collections::BTreeMap;
use std::fmt::Debug;

use schema::arrivals::{ArrivalsFile, ReplayFile, ReplayUnit};
use schema::distribution::Distribution;
use schema::ids::{RequestId, StageId};
use schema::random::Seed;
use schema::run::{Span, SpanName, Status};
use schema::scenario::{Discipline, Extent, Order, Station};
use schema::units::SimDuration;
use sim::Arrivals;
use sim::queueing::{Clients, Keep, Kind, Network, Plan, Report};

/// Length of the measured window of [`run`], in nanoseconds: longer than any timeline here.
pub(crate) const WINDOW_NS: u64 = 1_000_000;

pub(crate) const fn ns(n: u64) -> SimDuration {
    SimDuration::from_ns(n)
}

/// Always so many nanoseconds.
pub(crate) const fn constant(n: u64) -> Distribution {
    Distribution::Constant(ns(n))
}

/// Exponential, with a mean of so many nanoseconds.
pub(crate) const fn exponential(n: u64) -> Distribution {
    Distribution::Exponential(ns(n))
}

pub(crate) const fn line(order: Order) -> Discipline {
    Discipline::Line { order, batch: None }
}

/// Servers that take requests first come first served, for a constant time.
pub(crate) const fn fifo(servers: u32, service_ns: u64) -> Station {
    Station::fifo(servers, constant(service_ns))
}

/// Arrivals at these instants, in nanoseconds, ascending.
pub(crate) fn replayed(at_ns: &[u64]) -> (ArrivalsFile, Vec<SimDuration>) {
    let before = [0].iter().chain(at_ns);
    let gaps = at_ns.iter().zip(before).map(|(at, before)| ns(at - before));
    let file = ReplayFile {
        file: "timeline".to_owned(),
        column: None,
        unit: ReplayUnit::S,
        rate_factor: None,
        rate: None,
        repeat: false,
        connections: 1,
    };
    (ArrivalsFile::Replay(file), gaps.collect())
}

/// A client whose requests arrive at these instants, in nanoseconds, ascending.
pub(crate) fn arriving(name: &str, at_ns: &[u64], path: &[StageId]) -> Clients {
    let (arrivals, gaps) = replayed(at_ns);
    Clients {
        replayed: Some(gaps.into()),
        ..sending(name, arrivals, path)
    }
}

/// A client that sends so.
pub(crate) fn sending(name: &str, arrivals: ArrivalsFile, path: &[StageId]) -> Clients {
    Clients {
        name: name.to_owned(),
        count: 1,
        arrivals,
        replayed: None,
        classes: Vec::new(),
        path: path.to_vec(),
    }
}

/// A kind that is all that its group sends.
pub(crate) fn kind(name: &str, priority: u32, weight: f64) -> Kind {
    Kind {
        name: name.to_owned(),
        share: 1.0,
        priority,
        weight,
    }
}

/// One replication without warm-up, traced.
pub(crate) const fn plan(measure: Extent) -> Plan {
    Plan {
        seed: Seed(1),
        warmup: match measure {
            Extent::Requests(_) | Extent::Auto => Extent::Requests(0),
            Extent::Time(_) => Extent::Time(SimDuration::ZERO),
        },
        measure,
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Trace,
    }
}

/// Runs all of a timeline, checks what holds of every trace, and that the sums of the statistics
/// are those of the trace, to the picosecond.
#[track_caller]
pub(crate) fn run(network: &Network) -> Report {
    let report = network.run(&by_time()).expect("the network can be run");
    let all = visits(&report.trace);
    for visit in &all {
        assert!(visit.ready <= visit.start && visit.start <= visit.end);
    }
    for stage in report.stages.values() {
        assert!(stage.n == 0 || stage.sojourn.mean.value >= stage.waiting.mean.value);
    }
    let n: u64 = report.stages.values().map(|stage| stage.n).sum();
    assert_eq!(n, all.len() as u64, "every visit is counted");
    let mut sum_ps = 0;
    for stage in report.stages.values().filter(|stage| stage.n > 0) {
        sum_ps += picoseconds(stage.sojourn.mean.value * stage.n as f64);
    }
    let spent_ns: u64 = all.iter().map(|visit| visit.end - visit.ready).sum();
    assert_eq!(sum_ps, 1_000 * spent_ns, "no part of a nanosecond is lost");
    report
}

/// The plan of [`run`].
pub(crate) const fn by_time() -> Plan {
    plan(Extent::Time(ns(WINDOW_NS)))
}

/// Seconds as whole picoseconds.
pub(crate) fn picoseconds(seconds: f64) -> u64 {
    (seconds * 1e12).round() as u64
}

/// A visit that ended with its service, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Visit {
    pub(crate) replication: u32,
    pub(crate) request: RequestId,
    pub(crate) class: schema::ids::ClassId,
    pub(crate) stage: StageId,
    pub(crate) ready: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The visits of a trace, in the order in which they ended.
pub(crate) fn visits(trace: &[Span]) -> Vec<Visit> {
    let mut waited: Option<&Span> = None;
    let mut visits = Vec::new();
    for span in trace {
        match span.name {
            SpanName::Queue => waited = Some(span),
            SpanName::Service => {
                let ready = waited.take().map_or(span.start_ns, |queue| {
                    assert_eq!((queue.request, queue.stage), (span.request, span.stage));
                    assert_eq!(queue.end_ns, span.start_ns);
                    queue.start_ns
                });
                visits.push(Visit {
                    replication: span.replication,
                    request: span.request,
                    class: span.class,
                    stage: span.stage,
                    ready,
                    start: span.start_ns,
                    end: span.end_ns,
                });
            }
            _ => assert_eq!(span.name, SpanName::Request),
        }
    }
    visits
}

/// `a` is the first client's first request, `a1` its second, `b` the second client's first.
pub(crate) fn label(request: RequestId) -> String {
    use schema::ids::Id;
    let client = char::from(b'a' + request.client().index() as u8);
    match request.seq() {
        0 => client.to_string(),
        seq => format!("{client}{seq}"),
    }
}

/// When a visit begins, its service starts and it ends, in nanoseconds.
pub(crate) type Times = (u64, u64, u64);

/// That the visits to `stage`, in the order in which they ended, are these.
#[track_caller]
pub(crate) fn assert_visits(report: &Report, stage: StageId, expected: &[(&str, Times)]) {
    let all = visits(&report.trace);
    let here = all.iter().filter(|visit| visit.stage == stage);
    let found = here.map(|v| (label(v.request), (v.ready, v.start, v.end)));
    assert_same(found.collect(), expected);
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Served,
    Lost,
}
use End::{Lost, Served};

/// That the requests, in the order in which they ended, were sent and ended then, and how.
#[track_caller]
pub(crate) fn assert_requests(report: &Report, expected: &[(&str, (u64, u64, End))]) {
    let spans = report.trace.iter();
    let wholes = spans.filter(|span| span.name == SpanName::Request);
    let found = wholes.map(|span| {
        let end = if span.status == Status::Ok {
            Served
        } else {
            Lost
        };
        (label(span.request), (span.start_ns, span.end_ns, end))
    });
    assert_same(found.collect(), expected);
}

#[track_caller]
fn assert_same<T: PartialEq + Debug + Copy>(found: Vec<(String, T)>, expected: &[(&str, T)]) {
    let found: Vec<(&str, T)> = found
        .iter()
        .map(|(label, value)| (label.as_str(), *value))
        .collect();
    assert_eq!(found, expected);
}

/// A request of its own kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) at: u64,
    pub(crate) work: u64,
    pub(crate) priority: u32,
    pub(crate) weight: f64,
}

impl Job {
    pub(crate) const fn new(at: u64, work: u64) -> Job {
        Job {
            at,
            work,
            priority: 0,
            weight: 1.0,
        }
    }

    pub(crate) const fn priority(self, priority: u32) -> Job {
        Job { priority, ..self }
    }

    pub(crate) const fn weight(self, weight: f64) -> Job {
        Job { weight, ..self }
    }
}

/// Sends these jobs, `a`, `b` and so on, to one station of such servers; the visits to it.
#[track_caller]
pub(crate) fn assert_jobs(
    servers: u32,
    discipline: Discipline,
    jobs: &[Job],
    expected: &[(&str, Times)],
) {
    let station = Station::new(servers, discipline, constant(0));
    let (network, stage) = with_jobs(station, jobs);
    assert_visits(&run(&network), stage, expected);
}

/// The station, with a service time for each job, and clients that send one each.
pub(crate) fn with_jobs(station: Station, jobs: &[Job]) -> (Network, StageId) {
    let mut network = Network::new();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let services: BTreeMap<String, Distribution> = names
        .iter()
        .zip(jobs)
        .map(|(name, job)| ((*name).to_owned(), constant(job.work)))
        .collect();
    let station = Station {
        services,
        ..station
    };
    let stage = network.station("station", station);
    for (name, job) in names.iter().zip(jobs) {
        network.clients(Clients {
            classes: vec![kind(name, job.priority, job.weight)],
            ..arriving(name, &[job.at], &[stage])
        });
    }
    (network, stage)
}

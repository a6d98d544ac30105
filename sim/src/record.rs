//! What is kept of a replication: spans or completions, the measured window, the population.

use schema::ids::{ClientId, HostId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::Extent;
use schema::units::{Bytes, SimDuration, SimTime};
use schema::workload::Schedule;

use crate::losses::Fate;
use crate::pipeline::Connection;
use crate::replication::{Completion, Detail};

/// What a span is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) name: SpanName,
    pub(crate) host: HostId,
    pub(crate) hop: Option<u8>,
    pub(crate) leg: Leg,
    pub(crate) batch: u32,
    pub(crate) context: u32,
    pub(crate) kernel: Option<u32>,
    pub(crate) bytes: Bytes,
    pub(crate) cpu: SimDuration,
}

impl Part {
    /// A part of no message, of no bytes and without core time.
    pub(crate) const fn of(name: SpanName, host: HostId) -> Part {
        Part {
            name,
            host,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            context: 0,
            kernel: None,
            bytes: Bytes(0),
            cpu: SimDuration::ZERO,
        }
    }

    /// A part of the connection's message, without core time.
    pub(crate) const fn of_message(name: SpanName, connection: &Connection, host: HostId) -> Part {
        Part {
            hop: Some(connection.hop),
            leg: connection.leg,
            bytes: connection.message.payload,
            ..Part::of(name, host)
        }
    }
}

/// When a span was ready, started and ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) ready: SimTime,
    pub(crate) start: SimTime,
    pub(crate) end: SimTime,
}

/// Collects what is to be kept.
#[derive(Debug)]
pub(crate) struct Recorder {
    replication: u32,
    keep: Detail,
    trace: Vec<Span>,
    completions: Vec<Completion>,
}

impl Recorder {
    pub(crate) const fn new(replication: u32, keep: Detail) -> Recorder {
        Recorder {
            replication,
            keep,
            trace: Vec::new(),
            completions: Vec::new(),
        }
    }

    /// Every span, in the order of a measured trace.
    pub(crate) fn into_sorted(mut self) -> (Vec<Span>, Vec<Completion>) {
        self.trace.sort_by_key(Span::order);
        (self.trace, self.completions)
    }

    /// A part of the connection's request, at `stage`, has ended.
    pub(crate) fn part(&mut self, connection: &Connection, stage: StageId, part: Part, at: At) {
        if self.keep == Detail::Completions {
            return;
        }
        self.trace.push(Span {
            kernel: part.kernel,
            context: part.context,
            replication: self.replication,
            request: connection.request,
            class: connection.class,
            stage,
            host: part.host,
            name: part.name,
            branch: connection.branch,
            hop: part.hop,
            leg: part.leg,
            batch: part.batch,
            bytes: part.bytes.0,
            ready_ns: at.ready.as_ns(),
            start_ns: at.start.as_ns(),
            end_ns: at.end.as_ns(),
            cpu_ns: part.cpu.as_ns(),
            status: match connection.fate {
                Fate::Awaited => Status::Ok,
                Fate::GivenUp | Fate::Lost => Status::Failed,
            },
        });
    }

    /// The connection's request, which ends at `stage`, is complete, or has failed.
    pub(crate) fn whole(
        &mut self,
        connection: &Connection,
        stage: StageId,
        bytes: Bytes,
        end: SimTime,
        status: Status,
    ) {
        let (ready, start) = (connection.ready, connection.start);
        if self.keep == Detail::Completions {
            self.completions.push(Completion {
                request: connection.request,
                ready,
                start,
                end,
                status,
            });
            return;
        }
        let part = Part {
            bytes,
            cpu: connection.client_core_time,
            ..Part::of(SpanName::Request, connection.host)
        };
        self.part(connection, stage, part, At { ready, start, end });
        if let Some(span) = self.trace.last_mut() {
            span.status = status;
        }
    }
}

/// The number of requests in the system, for Little's law as an identity of the sample path: the
/// area under the number is the sum of the sojourn times.
#[derive(Debug, Default)]
pub(crate) struct Population {
    n: i64,
    area_ps: i128,
    sojourn_ps: i128,
    updated: SimTime,
}

impl Population {
    /// `by` requests come or go at the instant `now`.
    pub(crate) fn change(&mut self, now: SimTime, by: i64) {
        self.area_ps += i128::from(self.n) * i128::from(now.since(self.updated).as_ps());
        self.updated = now;
        self.n += by;
    }

    /// A request that left was in the system for `sojourn`.
    pub(crate) fn add_sojourn(&mut self, sojourn: SimDuration) {
        self.sojourn_ps += i128::from(sojourn.as_ps());
    }

    /// Area less sum, in picoseconds; zero after a run without faults.
    pub(crate) const fn difference_ps(&self) -> i128 {
        self.area_ps - self.sojourn_ps
    }
}

/// The measured window, as [`schema::summary::windows`] finds it from the trace: given by the
/// schedule, or from when all clients are past their warm-up until the first has nothing more that
/// counts.
#[derive(Debug)]
pub(crate) struct Window {
    schedule: Schedule,
    /// By client; empty where the window is given by times.
    left: Vec<Left>,
    n_not_started: usize,
    pub(crate) opened: Option<SimTime>,
    pub(crate) closed: Option<SimTime>,
}

/// What is left of a client's requests that count.
#[derive(Clone, Copy, Debug)]
struct Left {
    has_started: bool,
    to_end: u32,
}

impl Window {
    pub(crate) fn new(schedule: Schedule, n_clients: usize) -> Window {
        let left = match schedule.measure() {
            Extent::Requests(n) => {
                let left = Left {
                    has_started: false,
                    to_end: n,
                };
                vec![left; n_clients]
            }
            Extent::Time(_) | Extent::Auto => Vec::new(),
        };
        Window {
            schedule,
            n_not_started: left.len(),
            left,
            opened: None,
            closed: None,
        }
    }

    /// The instants, where they are known beforehand.
    pub(crate) fn known(&self) -> Option<(SimTime, SimTime)> {
        self.schedule.window()
    }

    /// A request of `client` that counts is due; whether that opens the window.
    pub(crate) fn on_ready(&mut self, client: ClientId) -> bool {
        match self.left.get_mut(client.index()) {
            Some(left) if !left.has_started => {
                left.has_started = true;
                self.n_not_started -= 1;
                self.n_not_started == 0
            }
            _ => false,
        }
    }

    /// A request of `client` that counts ends; whether that closes the window.
    pub(crate) fn on_end(&mut self, client: ClientId) -> bool {
        match self.left.get_mut(client.index()) {
            Some(left) => {
                left.to_end -= 1;
                left.to_end == 0 && self.closed.is_none()
            }
            None => false,
        }
    }
}

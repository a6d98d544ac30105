//! The client: sends the scenario's requests and times them from when they were meant to be sent.
//!
//! Every connection is a thread. The threads of an open-loop client draw from one plan: each takes
//! the next request, waits for its time and sends it, so a request that finds all connections taken
//! waits for the first that is free, and its end-to-end time includes that waiting.

use std::sync::{Arc, Barrier, Mutex};

use schema::ids::{ClientId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::{ArrivalsFile, StageRole, Work};
use schema::units::SimTime;
use schema::workload::{ClientPlan, Planned, Schedule};

use super::{Report, Shared, line::poll, move_messages_promptly, payload};
use crate::accelerator::folded;
use crate::clock::{self, Stamp};
use crate::error::RealrunError;
use crate::journal::Journal;
use crate::transport::{Arrival, Connection, Header, Hello, connect};

/// Spans that a client records of a request.
const SPANS: usize = 5;
/// How long the launcher may take to say when to start.
const START_LIMIT: std::time::Duration = std::time::Duration::from_secs(600);

/// The requests of a client, shared by its connections.
struct Plan {
    requests: ClientPlan,
    /// Open loop: when the last request taken was to be sent.
    intended: SimTime,
}

/// One connection of a client.
struct Sender {
    shared: Arc<Shared>,
    client: ClientId,
    plan: Arc<Mutex<Plan>>,
    connection: Box<dyn Connection>,
    journal: Journal,
    /// What payloads of all classes are the beginning of: who sends several sizes in turn finds as much of
    /// it in the caches as who always sends the same.
    payload: Arc<Vec<u8>>,
    first_stage: StageId,
    /// Whether a reply is still to be compared with what it should be.
    checks: bool,
}

/// Times of one request, readings of the monotonic clock in nanoseconds.
struct Timed {
    planned: Planned,
    intended_ns: u64,
    begin: Stamp,
    prepared: Stamp,
    sent: Stamp,
    arrival: Arrival,
    taken: Stamp,
}

pub(super) fn play(shared: &Arc<Shared>, host: &str) -> Result<(), RealrunError> {
    let scenario = &shared.scenario;
    let mut senders = Vec::new();
    for (client, row) in scenario.clients.iter() {
        let group = &scenario.groups[row.group];
        if scenario.hosts[group.host].name != host {
            continue;
        }
        let payload = Arc::new(payload_of(shared, client));
        let requests = ClientPlan::new(scenario, client, scenario.seed)
            .expect("the traces were read with the assignment");
        let plan = Arc::new(Mutex::new(Plan {
            requests,
            intended: SimTime::ZERO,
        }));
        for index in 0..scenario.connections(client) {
            let hello = Hello {
                client,
                connection: index,
                hop: 0,
            };
            let hop = &group.path[0];
            let connection = connect(
                shared.carrier(hop, None, None),
                shared.address(hop.to)?,
                &hello,
                shared.buffers(row.group),
            )
            .map_err(RealrunError::io(format!(
                "connect to stage `{}`",
                scenario.stages[hop.to].name
            )))?;
            senders.push(Sender {
                shared: Arc::clone(shared),
                client,
                plan: Arc::clone(&plan),
                connection,
                journal: shared.journal(&format!("{}-{index}", client.index()))?,
                payload: Arc::clone(&payload),
                first_stage: hop.to,
                checks: true,
            });
        }
    }
    shared.report(&Report::Ready {
        port: None,
        socket: std::path::PathBuf::new(),
        warnings: Vec::new(),
    });
    let ready = Arc::new(Barrier::new(senders.len()));
    let threads: Vec<_> = senders
        .into_iter()
        .map(|sender| {
            let ready = Arc::clone(&ready);
            std::thread::spawn(move || sender.run(&ready))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a client's thread does not panic")?;
    }
    shared.report(&Report::Done);
    Ok(())
}

/// The longest payload of a client.
fn payload_of(shared: &Shared, client: ClientId) -> Vec<u8> {
    let scenario = &shared.scenario;
    let group = &scenario.groups[scenario.clients[client].group];
    let last = group.path.last().expect("a path has a hop").to;
    let StageRole::Serve(serve) = &scenario.stages[last].role else {
        unreachable!("a path ends at a stage that serves");
    };
    let lengths = group
        .classes
        .iter()
        .map(|class| scenario.classes[*class].payload);
    let longest = lengths.max().expect("a group has a class");
    payload::make(&serve.work, longest.as_usize(), scenario.seed)
}

impl Sender {
    fn run(mut self, ready: &Barrier) -> Result<(), RealrunError> {
        clock::sleep_precisely();
        move_messages_promptly();
        ready.wait();
        let started = poll(START_LIMIT, || self.shared.start_ns.get().copied());
        let origin = started.ok_or_else(|| RealrunError::Protocol {
            peer: "launcher".to_owned(),
            problem: "it did not say when to start".to_owned(),
        })?;
        self.journal.set_origin(origin);
        let schedule = Schedule::new(&self.shared.scenario);
        loop {
            self.journal.reserve(SPANS)?;
            let Some((planned, intended_ns)) = self.next(origin, schedule) else {
                return Ok(());
            };
            clock::sleep_until(intended_ns);
            let timed = self.request(planned, intended_ns)?;
            self.record(&timed);
            if std::mem::take(&mut self.checks) {
                self.check(&timed)?;
            }
        }
    }

    /// The next request and when it is meant to be sent; `None` when all have been sent.
    fn next(&self, origin: u64, schedule: Schedule) -> Option<(Planned, u64)> {
        let mut plan = self
            .plan
            .lock()
            .expect("no thread panics while it holds the plan");
        let planned = plan.requests.next()?;
        let scenario = &self.shared.scenario;
        let group = &scenario.groups[scenario.clients[self.client].group];
        let intended = match group.arrivals {
            ArrivalsFile::ClosedLoop { .. } => {
                let now = clock::monotonic_ns().saturating_sub(origin);
                SimTime::from_ps(now * 1_000) + planned.gap
            }
            _ => {
                plan.intended = plan.intended + planned.gap;
                plan.intended
            }
        };
        schedule
            .sends(planned.id.seq(), intended)
            .then(|| (planned, origin + intended.as_ns()))
    }

    fn request(&mut self, planned: Planned, intended_ns: u64) -> Result<Timed, RealrunError> {
        let begin = Stamp::now();
        let n = planned.payload.as_usize();
        self.connection.payload_mut()[..n].copy_from_slice(&self.payload[..n]);
        let prepared = Stamp::now();
        let header = Header {
            request: planned.id,
            class: planned.class.index() as u32,
            length: planned.payload.0,
            failed: false,
        };
        let lost = |source| RealrunError::Io {
            what: format!(
                "reach stage `{}`",
                self.shared.scenario.stages[self.first_stage].name
            ),
            source,
        };
        self.connection.send(&header).map_err(lost)?;
        let sent = Stamp::now();
        let arrival = self.connection.receive().map_err(lost)?;
        let arrival = arrival.ok_or_else(|| lost(std::io::ErrorKind::UnexpectedEof.into()))?;
        if arrival.header.request != planned.id {
            return Err(RealrunError::Protocol {
                peer: self.shared.scenario.stages[self.first_stage].name.clone(),
                problem: format!(
                    "it answered {:?} instead of {:?}",
                    arrival.header.request, planned.id
                ),
            });
        }
        std::hint::black_box(top(self.connection.received()));
        Ok(Timed {
            planned,
            intended_ns,
            begin,
            prepared,
            sent,
            arrival,
            taken: Stamp::now(),
        })
    }

    /// Compares a reply of kernels on a GPU with what they make of the request: of the first request
    /// of a connection, since it takes core time. Not where the GPU makes a tensor first, whose floats
    /// it may round otherwise than a processor.
    fn check(&self, timed: &Timed) -> Result<(), RealrunError> {
        let scenario = &self.shared.scenario;
        let group = &scenario.groups[scenario.clients[self.client].group];
        let last = group.path.last().expect("a path has a hop").to;
        let stage = &scenario.stages[last];
        let StageRole::Serve(serve) = &stage.role else {
            unreachable!("a path ends at a stage that serves");
        };
        let Work::Kernels(kernels) = &serve.work else {
            return Ok(());
        };
        if timed.arrival.header.failed || kernels.raw.is_some() {
            return Ok(());
        }
        let sent = &self.payload[..timed.planned.payload.as_usize()];
        let expected = folded(sent, kernels.output.as_usize());
        let received = self.connection.received();
        if received == expected {
            return Ok(());
        }
        let differs = received.iter().zip(&expected).position(|(a, b)| a != b);
        let at = differs.unwrap_or(received.len().min(expected.len()));
        Err(RealrunError::Protocol {
            peer: stage.name.clone(),
            problem: format!(
                "its reply to {:?} is not what its kernels make of the request, from byte {at} of {} \
                 on: they did not read what was sent, or what they wrote did not arrive",
                timed.planned.id,
                expected.len()
            ),
        })
    }

    fn record(&mut self, timed: &Timed) {
        let scenario = &self.shared.scenario;
        let group = &scenario.groups[scenario.clients[self.client].group];
        let last = group.path.last().expect("a path has a hop").to;
        let failed = timed.arrival.header.failed;
        let base = Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: 0,
            request: timed.planned.id,
            class: timed.planned.class,
            stage: last,
            host: group.host,
            name: SpanName::Request,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            bytes: timed.planned.payload.0,
            ready_ns: timed.intended_ns,
            start_ns: timed.begin.at_ns,
            end_ns: timed.taken.at_ns,
            cpu_ns: timed.taken.cpu_ns - timed.begin.cpu_ns,
            status: if failed { Status::Failed } else { Status::Ok },
        };
        let part = |name, from: Stamp, to: Stamp| Span {
            name,
            ready_ns: from.at_ns,
            start_ns: from.at_ns,
            end_ns: to.at_ns,
            cpu_ns: to.cpu_ns - from.cpu_ns,
            ..base
        };
        let message = |span: Span, leg| Span {
            stage: self.first_stage,
            hop: Some(0),
            leg,
            ..span
        };
        let reply = timed.arrival.header.length;
        let received = Span {
            name: SpanName::Receive,
            bytes: reply,
            ready_ns: timed.arrival.start_ns,
            start_ns: timed.arrival.start_ns,
            end_ns: timed.arrival.end.at_ns,
            cpu_ns: timed.arrival.cpu_ns,
            ..base
        };
        let spans: [Span; SPANS] = [
            base,
            Span {
                ready_ns: timed.intended_ns,
                ..part(SpanName::Prepare, timed.begin, timed.prepared)
            },
            message(
                part(SpanName::Send, timed.prepared, timed.sent),
                Leg::Request,
            ),
            message(received, Leg::Reply),
            Span {
                leg: Leg::Reply,
                bytes: reply,
                ..part(SpanName::Postprocess, timed.arrival.end, timed.taken)
            },
        ];
        for span in &spans {
            self.journal.record(span);
        }
    }
}

/// Index of the largest 32-bit float of a reply: what a classifier's client looks at.
fn top(reply: &[u8]) -> usize {
    let float =
        |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes are a float"));
    let mut best = (0, f32::NEG_INFINITY);
    for (index, bytes) in reply.chunks_exact(4).enumerate() {
        let value = float(bytes);
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

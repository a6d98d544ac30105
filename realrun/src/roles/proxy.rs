//! The proxy: takes a request whole, forwards it over the next hop's transport, and the reply back.
//! It copies the payload from one connection's buffer to the other's, unless both are over verbs.
//!
//! One thread and one connection to the next stage for each connection that a client opens.

use std::sync::Arc;

use schema::ids::{ClassId, ClientId, HostId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::Hop;

use super::server::report_ready;
use super::{Open, Shared, move_messages_promptly};
use crate::clock::Stamp;
use crate::error::RealrunError;
use crate::journal::Journal;
use crate::transport::rdma::Relay;
use crate::transport::{Arrival, Connection, Hello, Listener, Pending, connect};

/// Spans that a proxy records of a request.
const SPANS: usize = 6;

/// One client connection and the one it is forwarded over.
struct Forwarder {
    shared: Arc<Shared>,
    journal: Journal,
    host: HostId,
    inner_hop: u8,
    front: Box<dyn Connection>,
    front_stage: StageId,
    back: Box<dyn Connection>,
    back_stage: StageId,
}

pub(super) fn play(shared: &Arc<Shared>, stage: StageId) -> Result<(), RealrunError> {
    let socket = shared
        .assignment
        .dir
        .join(format!("{}.sock", shared.assignment.role.file_stem()));
    let listener = Listener::bind(&socket, shared.assignment.bind)
        .map_err(RealrunError::io(format!("listen on {}", socket.display())))?;
    report_ready(shared, &listener, socket, Vec::new())?;
    let shared = Arc::clone(shared);
    listener.accept_all(move |pending| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            let _open = Open::new(&shared);
            if let Err(error) = open(&shared, stage, pending).and_then(Forwarder::run) {
                shared.fail(&error.in_full());
            }
        });
    });
    Ok(())
}

/// Accepts a client's connection once the one behind it is open.
fn open(
    shared: &Arc<Shared>,
    stage: StageId,
    pending: std::io::Result<Pending>,
) -> Result<Forwarder, RealrunError> {
    let mut pending = pending.map_err(RealrunError::io("accept a connection"))?;
    let hello = pending
        .hello()
        .map_err(RealrunError::io("accept a connection"))?;
    let (hop, next) = hops(shared, stage, &hello)?;
    let group = shared
        .group_of(hello.client)
        .expect("the hops were found by the client");
    let buffers = shared.buffers(group);
    // Between two hops over verbs nothing is copied: both use the same memory.
    let is_relay = [&hop, &next].iter().all(|hop| hop.over.is_verbs());
    let relay = is_relay.then(|| Relay::new(buffers)).transpose();
    let relay = relay.map_err(RealrunError::io("make memory for messages"))?;
    let inner = Hello {
        hop: hello.hop + 1,
        ..hello
    };
    let back = connect(
        shared.carrier(&next, relay.as_ref(), None),
        shared.address(next.to)?,
        &inner,
        buffers,
    )
    .map_err(RealrunError::io(format!(
        "connect to stage `{}`",
        shared.scenario.stages[next.to].name
    )))?;
    let front = pending
        .accept(shared.carrier(&hop, relay.as_ref(), None), buffers)
        .map_err(RealrunError::io("accept a connection"))?;
    let thread = format!("{}-{}", hello.client.index(), hello.connection);
    Ok(Forwarder {
        journal: shared.journal(&thread)?,
        shared: Arc::clone(shared),
        host: shared.scenario.stages[stage].host,
        inner_hop: inner.hop,
        front,
        front_stage: hop.to,
        back,
        back_stage: next.to,
    })
}

/// The hop that leads here and the one that leads on.
fn hops(shared: &Shared, stage: StageId, hello: &Hello) -> Result<(Hop, Hop), RealrunError> {
    let path = shared
        .group_of(hello.client)
        .map(|group| &shared.scenario.groups[group].path);
    let at = usize::from(hello.hop);
    match path.map(|path| (path.get(at), path.get(at + 1))) {
        Some((Some(hop), Some(next))) if hop.to == stage => Ok((hop.clone(), next.clone())),
        _ => Err(unknown(hello.client)),
    }
}

pub(super) fn unknown(client: ClientId) -> RealrunError {
    RealrunError::Protocol {
        peer: format!("client {}", client.index()),
        problem: "it opened a connection that no path of the scenario has".to_owned(),
    }
}

/// What happened on one leg.
struct Leap {
    arrival: Arrival,
    translated: Stamp,
    sent: Stamp,
}

impl Forwarder {
    fn run(mut self) -> Result<(), RealrunError> {
        move_messages_promptly();
        loop {
            self.journal.reserve(SPANS)?;
            let Some(there) = leap(&mut self.front, &mut self.back)? else {
                return Ok(());
            };
            let Some(back) = leap(&mut self.back, &mut self.front)? else {
                return Err(RealrunError::Io {
                    what: format!(
                        "reach stage `{}`",
                        self.shared.scenario.stages[self.back_stage].name
                    ),
                    source: std::io::ErrorKind::UnexpectedEof.into(),
                });
            };
            self.journal.set_origin(self.shared.origin());
            self.record(&there, Leg::Request);
            self.record(&back, Leg::Reply);
        }
    }

    fn record(&mut self, leap: &Leap, leg: Leg) {
        let header = leap.arrival.header;
        let (outer, inner) = (self.inner_hop - 1, self.inner_hop);
        let front = (outer, self.front_stage);
        let back = (inner, self.back_stage);
        let (from, to) = if leg == Leg::Request {
            (front, back)
        } else {
            (back, front)
        };
        let received = Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: 0,
            request: header.request,
            class: ClassId::from_index(header.class as usize),
            stage: from.1,
            host: self.host,
            name: SpanName::Receive,
            hop: Some(from.0),
            leg,
            batch: 0,
            bytes: header.length,
            ready_ns: leap.arrival.start_ns,
            start_ns: leap.arrival.start_ns,
            end_ns: leap.arrival.end.at_ns,
            cpu_ns: leap.arrival.cpu_ns,
            status: Status::Ok,
        };
        let part = |name, from: Stamp, to: Stamp| Span {
            name,
            ready_ns: from.at_ns,
            start_ns: from.at_ns,
            end_ns: to.at_ns,
            cpu_ns: to.cpu_ns - from.cpu_ns,
            ..received
        };
        let translated = Span {
            stage: self.front_stage,
            hop: None,
            ..part(SpanName::Translate, leap.arrival.end, leap.translated)
        };
        let sent = part(SpanName::Send, leap.translated, leap.sent);
        self.journal.record(&received);
        self.journal.record(&translated);
        self.journal.record(&Span {
            stage: to.1,
            hop: Some(to.0),
            ..sent
        });
    }
}

/// Takes one message from `from` and sends it on to `to`; `None` at an orderly end.
fn leap(
    from: &mut Box<dyn Connection>,
    to: &mut Box<dyn Connection>,
) -> Result<Option<Leap>, RealrunError> {
    let lost = |source| RealrunError::Io {
        what: "forward a message".to_owned(),
        source,
    };
    let Some(arrival) = from.receive().map_err(lost)? else {
        return Ok(None);
    };
    let received = from.received();
    to.payload_mut()[..received.len()].copy_from_slice(received);
    let translated = Stamp::now();
    to.send(&arrival.header).map_err(lost)?;
    Ok(Some(Leap {
        arrival,
        translated,
        sent: Stamp::now(),
    }))
}

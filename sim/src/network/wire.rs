//! What carries bytes from host to host.
//!
//! The links of the scenario are a [`Graph`]; a message goes over a shortest path, of several of equal
//! cost that which its connection hashes to ([`Routes`]). Of each connection and direction one chunk
//! is under way at a time and shares the links max-min fairly with all others ([`Fabric`]); the next
//! follows when it has left. On links that nobody else uses it takes its serialization delay at the
//! slowest. A chunk arrives when it has left, its links' propagation delays and its message's delay
//! have passed, and not before those that left before it.
//!
//! # Faults
//! Chunks under way on a link that goes down take another path at once, with the bytes that are left;
//! if there is none they wait until a link comes up over which there is one. What has left a sender
//! arrives. A path that is taken is kept until the chunks that follow one another have left, also
//! when a shorter one comes up.
//!
//! Left out: queues in switches and their packets, loss, and the time that a sender takes to find its
//! rate or that routes take to be found anew.
//!
//! # Order
//! At one instant faults that are over end before others begin.

use std::collections::VecDeque;

use rand::rngs::ChaCha8Rng;
use schema::distribution::Sampler;
use schema::ids::{ClientId, HostId, Id, Table};
use schema::random::{Seed, stream};
use schema::run::Leg;
use schema::units::{ByteRate, Bytes, SimDuration, SimTime};

use crate::engine::{EventQueue, Forecast};
use crate::event::{Event, Ticket};
use crate::fabric::{Fabric, FlowId, Graph, LinkId, LinkState, Routes, VertexId};
use crate::ids::ConnectionId;
use crate::pipeline::{Connection, Pipeline};
use crate::tables::{HopSources, Tables};

/// What is between hosts.
#[derive(Debug)]
pub(crate) struct WireTables {
    pub(crate) graph: Graph,
    /// By host.
    pub(crate) hosts: Vec<VertexId>,
    /// By link of the graph: whether it has a rate; the others never limit.
    pub(crate) is_limited: Vec<bool>,
    pub(crate) faults: Vec<FaultRow>,
    pub(crate) access: Option<AccessRow>,
}

/// A fault of a link.
#[derive(Debug)]
pub(crate) struct FaultRow {
    /// Its directions.
    pub(crate) links: [LinkId; 2],
    pub(crate) from: SimTime,
    pub(crate) until: SimTime,
    /// `None` if it is down.
    pub(crate) rate: Option<ByteRate>,
}

/// The access network of clients.
#[derive(Debug)]
pub(crate) struct AccessRow {
    pub(crate) hosts: Vec<HostId>,
    /// Of a client, there and back.
    pub(crate) delay: Sampler,
    /// Of a message.
    pub(crate) jitter: Sampler,
}

/// All that is under way between hosts.
#[derive(Debug)]
pub(crate) struct Wires<'a> {
    tables: &'a WireTables,
    fabric: Fabric<WireId>,
    routes: Routes,
    /// By connection, and then there and back.
    wires: Table<WireId, Wire>,
    /// By client, the delay of its access network; empty without one.
    access: Table<ClientId, SimDuration>,
    /// By hop of each client: how often it crosses the access network, and the streams of jitter there
    /// and back.
    crossings: Vec<Option<(u32, [ChaCha8Rng; 2])>>,
    /// Those that wait for a link, the first to wait first.
    stalled: Vec<WireId>,
    /// How often links have gone down or up.
    n_changes: u32,
    forecast: Forecast,
    has_changed: bool,
}

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct WireId(u32);

impl Id for WireId {
    fn from_index(index: usize) -> Self {
        WireId(u32::try_from(index).expect("a table holds fewer than 2^32 rows"))
    }
    fn index(self) -> usize {
        self.0 as usize
    }
}

impl WireId {
    fn new(connection: ConnectionId, leg: Leg) -> WireId {
        WireId::from_index(2 * connection.index() + leg as usize)
    }

    fn connection(self) -> ConnectionId {
        ConnectionId::from_index(self.index() / 2)
    }
}

#[derive(Clone, Debug)]
struct Wire {
    /// By hop of its path and pair of replicas; those that it has used.
    paths: Vec<Option<Path>>,
    /// Which of them its chunks take.
    way: usize,
    /// Whose they are.
    ticket: Ticket,
    /// The flow of the first chunk; none if there is none, or it waits for a link.
    flow: Option<FlowId>,
    /// What has set out and has not left, in order.
    chunks: VecDeque<Chunk>,
    /// When the last one that has left arrives.
    arrives: SimTime,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// What is left of it.
    bytes: Bytes,
    /// Its message's.
    delay: SimDuration,
}

#[derive(Clone, Debug)]
struct Path {
    ends: [HostId; 2],
    /// As of which change of the links it was found.
    found_at: u32,
    links: Box<[LinkId]>,
    /// Those of the links that have a rate.
    limited: Box<[LinkId]>,
    /// Propagation delay.
    delay: SimDuration,
}

impl<'a> Wires<'a> {
    /// The links of `tables` with nothing on them; what is drawn has streams of `seed`.
    pub(crate) fn new(tables: &'a Tables<'a>, seed: Seed) -> Wires<'a> {
        let n_wires = 2 * tables.connections.len();
        let access = tables.wires.access.as_ref();
        let delays = access.map(|access| {
            let clients = tables.scenario.clients.rows().iter();
            clients.map(|client| {
                let group = &tables.scenario.groups[client.group].name;
                let name = format!("client/{group}/{}/access", client.index);
                access.delay.sample(&mut stream(seed, &name))
            })
        });
        let hops = tables.hop_sources.iter();
        let crossings = access.map(|access| hops.map(|hop| access.crossings(hop, seed)));
        Wires {
            tables: &tables.wires,
            fabric: Fabric::new(&tables.wires.graph),
            routes: Routes::new(&tables.wires.graph),
            wires: (0..n_wires).map(|_| Wire::new()).collect(),
            access: delays.map_or_else(Table::default, Iterator::collect),
            crossings: crossings.map_or_else(Vec::new, Iterator::collect),
            stalled: Vec::new(),
            n_changes: 0,
            forecast: Forecast::default(),
            has_changed: false,
        }
    }

    /// Schedules the faults; at one instant those that are over end before others begin.
    pub(crate) fn schedule_faults(&self, queue: &mut EventQueue<Event>) {
        let faults = self.tables.faults.iter().zip(0..);
        for (fault, index) in faults.clone() {
            queue.schedule_at(fault.until, Event::FaultEnds(index));
        }
        for (fault, index) in faults {
            queue.schedule_at(fault.from, Event::FaultBegins(index));
        }
    }

    /// What the access network adds to the delay of the connection's message, drawn anew for each.
    pub(super) fn draw_access(&mut self, connection: &Connection) -> SimDuration {
        let Some(access) = &self.tables.access else {
            return SimDuration::ZERO;
        };
        let delay = self.access[connection.client];
        let hop = connection.sources + usize::from(connection.hop);
        let Some((n, streams)) = &mut self.crossings[hop] else {
            return SimDuration::ZERO;
        };
        let rng = &mut streams[connection.leg as usize];
        (0..*n).map(|_| delay + access.jitter.sample(rng)).sum()
    }

    /// `size` bytes of the connection's message set out from one host to another.
    fn set_out(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        connection: &Connection,
        leg: Leg,
        (way, ends): (usize, [HostId; 2]),
        size: Bytes,
    ) {
        let wire_id = WireId::new(id, leg);
        let wire = &mut self.wires[wire_id];
        wire.ticket = Ticket {
            connection: id,
            number: connection.n_lost,
        };
        wire.chunks.push_back(Chunk {
            bytes: size,
            delay: connection.message.delay,
        });
        if wire.chunks.len() > 1 {
            if let (2, Some(flow)) = (wire.chunks.len(), wire.flow) {
                let follows = self.fabric.follow(queue.now(), flow, size);
                follows.expect("the flow is under way");
            }
            return;
        }
        wire.way = way;
        if wire.paths.len() <= wire.way {
            wire.paths.resize(wire.way + 1, None);
        }
        let path = &mut wire.paths[wire.way];
        if path.is_none() {
            *path = Some(Path::unknown(ends));
        }
        self.start(queue, wire_id);
    }

    /// The first chunk of the wire, which has no flow, sets out on a path over links that are up.
    fn start(&mut self, queue: &mut EventQueue<Event>, id: WireId) {
        let wire = &mut self.wires[id];
        let path = wire.paths[wire.way].as_mut().expect("it is set out on");
        if path.found_at != self.n_changes {
            let label = id.connection().index() as u64;
            if !path.find(self.tables, &mut self.routes, label) {
                self.stalled.push(id);
                return;
            }
            path.found_at = self.n_changes;
        }
        if path.limited.is_empty() {
            while !wire.chunks.is_empty() {
                wire.leave(queue);
            }
            return;
        }
        let now = queue.now();
        let first = wire.chunks.front().expect("something sets out");
        let flow = (self.fabric).start(now, &path.limited, first.bytes, None, id);
        wire.flow = Some(flow);
        if let Some(second) = wire.chunks.get(1) {
            let follows = self.fabric.follow(now, flow, second.bytes);
            follows.expect("the flow is under way");
        }
        self.has_changed = true;
    }

    /// The first chunk of the wire has left, and the next is under way.
    fn on_left(&mut self, queue: &mut EventQueue<Event>, id: WireId) {
        let wire = &mut self.wires[id];
        wire.leave(queue);
        if wire.chunks.is_empty() {
            wire.flow = None;
        } else if let (Some(second), Some(flow)) = (wire.chunks.get(1), wire.flow) {
            let follows = self.fabric.follow(queue.now(), flow, second.bytes);
            follows.expect("the flow is under way");
        }
    }

    /// Another connection is opened.
    pub(crate) fn add_connection(&mut self) {
        for _ in 0..2 {
            self.wires.push(Wire::new());
        }
    }

    /// Whether nothing of the connection's message is still to leave its sender.
    pub(crate) fn have_left(&self, id: ConnectionId, leg: Leg) -> bool {
        self.wires[WireId::new(id, leg)].chunks.is_empty()
    }

    /// What the connection has under way is lost.
    pub(crate) fn lose(&mut self, now: SimTime, id: ConnectionId) {
        for leg in [Leg::Request, Leg::Reply] {
            let id = WireId::new(id, leg);
            let wire = &mut self.wires[id];
            wire.chunks.clear();
            if let Some(flow) = wire.flow.take() {
                self.fabric.cancel(now, flow);
                self.has_changed = true;
            }
            self.stalled.retain(|stalled| *stalled != id);
        }
    }

    /// What was forecast happens.
    pub(crate) fn on_forecast(&mut self, generation: u32) {
        self.has_changed |= self.forecast.happens(generation);
    }

    /// Lets what has changed on the links take effect, and forecasts what changes next.
    pub(crate) fn settle(&mut self, queue: &mut EventQueue<Event>) {
        if !std::mem::take(&mut self.has_changed) {
            return;
        }
        let now = queue.now();
        loop {
            while let Some(done) = self.fabric.pop_due(now) {
                self.on_left(queue, done.token);
            }
            self.fabric.settle(now);
            let Some(done) = self.fabric.pop_done() else {
                break;
            };
            self.on_left(queue, done.token);
        }
        if let Some((at, generation)) = self.forecast.expect(self.fabric.next()) {
            queue.schedule_at(at, Event::Wires { generation });
        }
    }

    pub(crate) fn on_fault_begins(&mut self, queue: &mut EventQueue<Event>, fault: u32) {
        let fault = &self.tables.faults[fault as usize];
        match fault.rate {
            Some(rate) => self.set_rate(queue.now(), fault.links, |_| rate),
            None => self.take_down(queue, fault.links),
        }
    }

    pub(crate) fn on_fault_ends(&mut self, queue: &mut EventQueue<Event>, fault: u32) {
        let tables = self.tables;
        let fault = &tables.faults[fault as usize];
        if fault.rate.is_some() {
            let whole = |link| tables.graph.link(link).rate;
            return self.set_rate(queue.now(), fault.links, whole);
        }
        for link in fault.links {
            self.routes.set_state(link, LinkState::Up);
        }
        self.n_changes += 1;
        for id in std::mem::take(&mut self.stalled) {
            self.start(queue, id);
        }
    }

    fn set_rate(&mut self, now: SimTime, links: [LinkId; 2], rate: impl Fn(LinkId) -> ByteRate) {
        for link in links {
            self.fabric.set_rate(now, link, rate(link));
        }
        self.has_changed = true;
    }

    fn take_down(&mut self, queue: &mut EventQueue<Event>, links: [LinkId; 2]) {
        let now = queue.now();
        // What ends at this instant has left.
        while let Some(done) = self.fabric.pop_due(now) {
            self.on_left(queue, done.token);
        }
        for link in links {
            self.routes.set_state(link, LinkState::Down);
        }
        self.n_changes += 1;
        for id in self.wires.ids() {
            let wire = &mut self.wires[id];
            let Some(flow) = wire.flow else { continue };
            let path = wire.paths[wire.way].as_ref().expect("a flow has a path");
            if !path.links.iter().any(|link| links.contains(link)) {
                continue;
            }
            let left = self.fabric.cancel(now, flow);
            wire.flow = None;
            let first = wire.chunks.front_mut().expect("a flow has a chunk");
            first.bytes = left.expect("the flow is under way");
            self.start(queue, id);
        }
        self.has_changed = true;
    }
}

impl Wire {
    fn new() -> Wire {
        Wire {
            paths: Vec::new(),
            way: 0,
            ticket: Ticket {
                connection: ConnectionId::from_index(0),
                number: 0,
            },
            flow: None,
            chunks: VecDeque::new(),
            arrives: SimTime::ZERO,
        }
    }

    /// The first chunk has left.
    fn leave(&mut self, queue: &mut EventQueue<Event>) {
        let chunk = self.chunks.pop_front().expect("something has left");
        let path = self.paths[self.way].as_ref().expect("it has a path");
        self.arrives = (queue.now() + path.delay + chunk.delay).max(self.arrives);
        queue.schedule_at(self.arrives, Event::ChunkArrived(self.ticket));
    }
}

impl Path {
    /// A path that is still to be found.
    fn unknown(ends: [HostId; 2]) -> Path {
        Path {
            ends,
            found_at: u32::MAX,
            links: Box::default(),
            limited: Box::default(),
            delay: SimDuration::ZERO,
        }
    }

    /// Finds it anew for the connection that is `label`; whether there is one.
    fn find(&mut self, tables: &WireTables, routes: &mut Routes, label: u64) -> bool {
        let [from, to] = self.ends.map(|host| tables.hosts[host.index()]);
        let Ok(links) = routes.path(&tables.graph, from, to, label) else {
            return false;
        };
        let limited = links.iter().copied();
        self.limited = limited
            .filter(|link| tables.is_limited[link.index()])
            .collect();
        self.delay = tables.graph.propagation_delay(&links);
        self.links = links.into();
        true
    }
}

impl AccessRow {
    /// How often a hop crosses the access network, and the streams of its jitter there and back; `None`
    /// if it does not.
    fn crossings(&self, hop: &HopSources, seed: Seed) -> Option<(u32, [ChaCha8Rng; 2])> {
        let [from, to] = hop.ends;
        let is_crossed = |host: &&HostId| from != to && self.hosts.contains(host);
        let n = hop.ends.iter().filter(is_crossed).count();
        let jitter = |leg: &str| stream(seed, &format!("{}/{leg}/jitter", hop.name));
        (n > 0).then(|| (n as u32, ["request", "reply"].map(jitter)))
    }
}

impl Pipeline<'_> {
    /// `size` bytes of the connection's message set out on its hop; an [`Event::ChunkArrived`] follows
    /// when they are at the receiver's host. Bytes of one message arrive in the order in which they
    /// were handed over.
    pub(super) fn cross(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId, size: Bytes) {
        self.cross_between(queue, id, self.connections[id].leg, self.ends(id), size);
    }

    /// `size` bytes set out the other way, from the receiver to the sender.
    pub(super) fn cross_back(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        size: Bytes,
    ) {
        let back = match self.connections[id].leg {
            Leg::Request => Leg::Reply,
            Leg::Reply => Leg::Request,
        };
        let [sender, receiver] = self.ends(id);
        self.cross_between(queue, id, back, [receiver, sender], size);
    }

    fn cross_between(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        leg: Leg,
        ends: [HostId; 2],
        size: Bytes,
    ) {
        let connection = &self.connections[id];
        if ends[0] == ends[1] {
            let at = queue.now() + connection.message.delay;
            queue.schedule_at(at, Event::ChunkArrived(self.ticket(id)));
        } else {
            let pair = self.pair(id, usize::from(connection.hop));
            let way = self.tables.hop(connection).first_way + pair;
            (self.wires).set_out(queue, id, connection, leg, (way, ends), size);
        }
    }
}

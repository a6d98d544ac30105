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
//! # Packets
//! What goes over a link with `mode = "packets"` goes packet by packet over all of its way
//! ([`PacketNet`]): it waits in the lines of such links, in buffers that may be full, and meets nothing
//! on the others. What is a fluid does not meet packets.
//!
//! Left out: the time that routes take to be found anew.
//!
//! # Order
//! At one instant faults that are over end before others begin.

mod access;
mod faults;
mod paced;
mod path;

use std::collections::VecDeque;

use schema::ids::{HostId, Id, Table};
use schema::random::Seed;
use schema::run::Leg;
use schema::scenario::Tcp;
use schema::units::{Bytes, SimDuration, SimTime};

use super::channel::{Carrier, Channel, Piece};
use access::Access;
pub(crate) use access::AccessRow;
pub(crate) use faults::FaultRow;
use path::Path;

use crate::engine::{EventQueue, Forecast};
use crate::event::{Event, Ticket};
use crate::fabric::packets::{Format, Lanes, Lines, PacketNet};
use crate::fabric::{Fabric, FlowId, Graph, LinkId, Routes, VertexId};
use crate::ids::{ChannelId, ConnectionId};
use crate::pipeline::Pipeline;
use crate::tables::Tables;

/// What is between hosts.
#[derive(Debug)]
pub(crate) struct WireTables {
    pub(crate) graph: Graph,
    /// See [`Fabric::with_tolerance`].
    pub(crate) rate_tolerance: f64,
    /// By host.
    pub(crate) hosts: Vec<VertexId>,
    /// By link of the graph: whether it has a rate; the others never limit.
    pub(crate) is_limited: Vec<bool>,
    /// By link of the graph: how packets wait for it.
    pub(crate) lanes: Vec<Lanes>,
    pub(crate) faults: Vec<FaultRow>,
    pub(crate) access: Option<AccessRow>,
}

/// All that is under way between hosts.
#[derive(Debug)]
pub(crate) struct Wires<'a> {
    tables: &'a WireTables,
    fabric: Fabric<WireId>,
    /// `None` if no link has packets.
    packets: Option<PacketNet>,
    /// By stream of packets.
    streams: Vec<ChannelId>,
    routes: Routes,
    /// By connection, and then there and back.
    wires: Table<WireId, Wire>,
    channels: Table<ChannelId, Channel>,
    /// Whose senders have had word, in order.
    heard: VecDeque<ChannelId>,
    access: Access,
    /// Those that wait for a link, the first to wait first.
    stalled: Vec<WireId>,
    /// How often links have gone down or up.
    n_changes: u32,
    forecast: Forecast,
    has_changed: bool,
}

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct WireId(u32);

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

    const fn leg(self) -> Leg {
        if self.0.is_multiple_of(2) {
            Leg::Request
        } else {
            Leg::Reply
        }
    }
}

/// What sets out on a hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connection: ConnectionId,
    pub(super) ticket: Ticket,
    pub(super) leg: Leg,
    /// The number of its way among those of its path: of a hop, and between two replicas.
    pub(super) way: usize,
    pub(super) ends: [HostId; 2],
    pub(super) parcel: Parcel,
    /// Its message's.
    pub(super) delay: SimDuration,
    /// What limits it.
    pub(super) limits: Option<Tcp>,
    /// Whether it is sent again where it is lost; otherwise nothing of it is.
    pub(super) is_lossy: bool,
}

#[derive(Clone, Debug)]
struct Wire {
    /// By way; those that it has used.
    paths: Vec<Option<Path>>,
    /// By way; those that have been limited.
    channels: Vec<Option<ChannelId>>,
    /// The way of its chunks.
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
    /// Of which channel it is a piece, if of any.
    piece: Option<Piece>,
}

impl<'a> Wires<'a> {
    /// The links of `tables` with nothing on them; what is drawn has streams of `seed`.
    pub(crate) fn new(tables: &'a Tables<'a>, seed: Seed) -> Wires<'a> {
        let n_wires = 2 * tables.connections.len();
        let lane = |link: LinkId| tables.wires.lanes[link.index()];
        let has_packets = tables.wires.lanes.iter().any(|lanes| *lanes != Lanes::Open);
        Wires {
            tables: &tables.wires,
            fabric: Fabric::with_tolerance(&tables.wires.graph, tables.wires.rate_tolerance),
            packets: has_packets.then(|| PacketNet::new(&tables.wires.graph, Lines::Shared, lane)),
            streams: Vec::new(),
            routes: Routes::new(&tables.wires.graph),
            wires: (0..n_wires).map(|_| Wire::new()).collect(),
            channels: Table::default(),
            heard: VecDeque::new(),
            access: Access::new(tables, seed),
            stalled: Vec::new(),
            n_changes: 0,
            forecast: Forecast::default(),
            has_changed: false,
        }
    }

    /// A chunk sets out from one host to another.
    pub(super) fn set_out(&mut self, queue: &mut EventQueue<Event>, load: &Load) {
        let wire = WireId::new(load.connection, load.leg);
        let row = &mut self.wires[wire];
        row.ticket = load.ticket;
        let way = load.way;
        if row.paths.len() <= way {
            row.paths.resize(way + 1, None);
            row.channels.resize(way + 1, None);
        }
        if row.paths[way].is_none() {
            row.paths[way] = Some(Path::unknown(load.ends));
            let channel = self.make_channel(wire, load);
            self.wires[wire].channels[way] = channel;
        }
        let Some(id) = self.wires[wire].channels[way] else {
            let chunk = Chunk {
                bytes: load.parcel.wire_bytes(),
                delay: load.delay,
                piece: None,
            };
            return self.put(queue, wire, way, chunk);
        };
        let now = queue.now();
        let channel = &mut self.channels[id];
        channel.handed_over += load.parcel.bytes.0;
        match &mut channel.carrier {
            Carrier::Fluid(flight) => {
                flight.hand_over(now, load.parcel.bytes, load.delay);
                self.release(queue, id);
            }
            Carrier::Packets { stream, delays, .. } => {
                delays.push_back(load.delay);
                let path = self.wires[wire].paths[way].as_ref().expect("it was made");
                let back = path.delay + load.delay;
                let packets = self.packets.as_mut().expect("some links have packets");
                let parcel = load.parcel;
                packets.send(now, *stream, parcel.bytes, parcel.extra, back);
                self.take_news(queue);
            }
        }
    }

    /// A chunk, or a piece of one, sets out on a way of a wire.
    fn put(&mut self, queue: &mut EventQueue<Event>, wire_id: WireId, way: usize, chunk: Chunk) {
        let wire = &mut self.wires[wire_id];
        wire.chunks.push_back(chunk);
        if wire.chunks.len() > 1 {
            if let (2, Some(flow)) = (wire.chunks.len(), wire.flow) {
                let follows = self.fabric.follow(queue.now(), flow, chunk.bytes);
                follows.expect("the flow is under way");
            }
            return;
        }
        wire.way = way;
        self.start(queue, wire_id);
    }

    /// Propagation delay of a way that a wire has used; none inside a host.
    pub(super) fn delay(&self, id: ConnectionId, leg: Leg, way: usize) -> SimDuration {
        let wire = &self.wires[WireId::new(id, leg)];
        let path = wire.paths.get(way).and_then(Option::as_ref);
        path.map_or(SimDuration::ZERO, |path| path.delay)
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
                wire.leave(queue, &mut self.channels);
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
        wire.leave(queue, &mut self.channels);
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
}

impl Wire {
    fn new() -> Wire {
        Wire {
            paths: Vec::new(),
            channels: Vec::new(),
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
    fn leave(&mut self, queue: &mut EventQueue<Event>, channels: &mut Table<ChannelId, Channel>) {
        let chunk = self.chunks.pop_front().expect("something has left");
        let path = self.paths[self.way].as_ref().expect("it has a path");
        let delay = path.delay + chunk.delay;
        self.arrives = (queue.now() + delay).max(self.arrives);
        let arrived = Event::ChunkArrived(self.ticket);
        let Some(piece) = chunk.piece else {
            return queue.schedule_at(self.arrives, arrived);
        };
        if piece.is_last {
            queue.schedule_at(self.arrives, arrived);
        }
        if let Carrier::Fluid(flight) = &mut channels[piece.channel].carrier {
            flight.left(piece.bytes);
            let word = (piece.set_out + delay + path.delay).max(queue.now());
            queue.schedule_at(word, Event::Acknowledged(piece.channel));
        }
    }
}

impl Parcel {
    /// What it takes on the wire.
    fn wire_bytes(self) -> Bytes {
        Bytes(self.format.wire_bytes(self.bytes).0 + self.extra.0)
    }
}

/// Bytes that set out, and how they are put on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel {
    pub(super) bytes: Bytes,
    pub(super) format: Format,
    /// What they take on the wire beside their packets.
    pub(super) extra: Bytes,
}

impl Pipeline<'_> {
    /// The number of the way that the connection's message takes among those of its path.
    pub(super) fn way(&self, id: ConnectionId) -> usize {
        let connection = &self.connections[id];
        let pair = self.pair(id, usize::from(connection.hop));
        self.tables.hop(connection).first_way + pair
    }

    /// Some of the connection's message sets out on its hop; an [`Event::ChunkArrived`] follows when
    /// it is at the receiver's host. Bytes of one message arrive in the order in which they were
    /// handed over.
    pub(super) fn cross(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        parcel: Parcel,
    ) {
        let leg = self.connections[id].leg;
        self.cross_between(queue, id, leg, self.ends(id), parcel);
    }

    /// Something sets out the other way, from the receiver to the sender.
    pub(super) fn cross_back(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        parcel: Parcel,
    ) {
        let back = match self.connections[id].leg {
            Leg::Request => Leg::Reply,
            Leg::Reply => Leg::Request,
        };
        let [sender, receiver] = self.ends(id);
        self.cross_between(queue, id, back, [receiver, sender], parcel);
    }

    fn cross_between(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        leg: Leg,
        ends: [HostId; 2],
        parcel: Parcel,
    ) {
        let connection = &self.connections[id];
        let delay = connection.message.delay;
        if ends[0] == ends[1] {
            queue.schedule_in(delay, Event::ChunkArrived(self.ticket(id)));
            return;
        }
        let hop = self.tables.hop(connection);
        let load = Load {
            connection: id,
            ticket: self.ticket(id),
            leg,
            way: self.way(id),
            ends,
            parcel,
            delay,
            limits: hop.tcp.limits,
            is_lossy: hop.verbs.is_none(),
        };
        self.wires.set_out(queue, &load);
    }
}

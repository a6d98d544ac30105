//! The same flows, packet by packet.
//!
//! What a fluid leaves out can be measured here: a flow is cut into packets, each is stored and
//! forwarded by every vertex on its path, and waits there in a line for the link that it takes next.
//! Lines have no limit, so that nothing is lost; a flow has no more than a window of packets under
//! way, and the next is sent when word of one that has arrived is back, after the propagation delay of
//! its path and without load on any link.
//!
//! With lines for each flow, served in turn, and a window that covers the path, the shares of long
//! flows are max-min fair (Hahne 1991, "Round-robin scheduling for max-min fairness in data networks",
//! IEEE Journal on Selected Areas in Communications 9(7)). With one line for all, a link is shared as
//! its packets come.
//!
//! # Order
//! Of what happens at one instant the first scheduled is the first, as of all events; flows that start
//! at one instant start in the order in which they are given.

use std::collections::VecDeque;

use schema::ids::Id;
use schema::units::{Bytes, SimDuration, SimTime};

use super::graph::{Graph, LinkId};
use crate::engine::EventQueue;

/// What packets look like, and how they wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketSpec {
    /// Most bytes of a flow in a packet, at least one.
    pub payload: Bytes,
    /// What each packet has on top, on every link.
    pub header: Bytes,
    /// Most packets of a flow that have been sent and of which no word is back, at least one.
    pub window: u32,
    /// How packets wait for a link.
    pub lines: Lines,
}

/// How the packets wait that are to take one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lines {
    /// All in one line, first come first served.
    Shared,
    /// In a line for each flow; the lines have turns, a packet each.
    PerFlow,
}

/// A flow to be moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketFlow {
    /// When it starts.
    pub start: SimTime,
    /// Over which links.
    pub path: Vec<LinkId>,
    /// How much; a flow of none has one packet without payload.
    pub bytes: Bytes,
}

impl PacketSpec {
    /// Number of packets of a flow.
    pub fn n_packets(&self, bytes: Bytes) -> u64 {
        bytes.0.div_ceil(self.payload.0).max(1)
    }

    /// What a flow puts on every link, headers included: the bytes of the fluid that stands for it.
    pub fn wire_bytes(&self, bytes: Bytes) -> Bytes {
        Bytes(bytes.0 + self.n_packets(bytes) * self.header.0)
    }

    /// Number `index` of the packets of a flow, on the wire.
    fn packet(&self, bytes: Bytes, index: u64) -> Bytes {
        let left = bytes.0 - index * self.payload.0;
        Bytes(left.min(self.payload.0) + self.header.0)
    }
}

/// When the last packet of each flow arrives, in the order of `flows`.
///
/// Packets wait for the links of which `is_queued` says so; over the others they take their
/// serialization and propagation delays only, whatever else is on them.
///
/// # Panics
/// If `spec` has no payload or no window, or a path has no links.
pub fn simulate(
    graph: &Graph,
    flows: &[PacketFlow],
    spec: &PacketSpec,
    is_queued: impl Fn(LinkId) -> bool,
) -> Vec<SimTime> {
    assert!(
        spec.payload.0 > 0 && spec.window > 0,
        "packets have a payload and a window"
    );
    let lines = graph.links().map(|(id, _)| Line {
        is_queued: is_queued(id),
        ..Line::default()
    });
    let mut run = Run {
        graph,
        spec,
        flows: flows.iter().map(|flow| Sender::new(graph, flow)).collect(),
        lines: lines.collect(),
        queue: EventQueue::new(),
    };
    for (index, flow) in flows.iter().enumerate() {
        assert!(!flow.path.is_empty(), "a packet takes a link");
        run.queue.schedule_at(flow.start, Event::Start(index));
    }
    while let Some(event) = run.queue.pop() {
        run.handle(event);
    }
    run.flows.into_iter().map(|flow| flow.end).collect()
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A flow starts.
    Start(usize),
    /// A packet has been put on its link.
    Sent(Packet),
    /// A packet is at the end of its link.
    Arrived(Packet),
    /// Word of a packet is back at the sender of its flow.
    Acknowledged(usize),
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    flow: usize,
    /// Its number in its flow.
    index: u64,
    /// Which link of its path it takes.
    hop: usize,
}

/// A flow at its sender.
struct Sender<'a> {
    flow: &'a PacketFlow,
    /// Time for word to come back.
    back: SimDuration,
    n_sent: u64,
    end: SimTime,
}

impl<'a> Sender<'a> {
    fn new(graph: &Graph, flow: &'a PacketFlow) -> Sender<'a> {
        Sender {
            flow,
            back: graph.propagation_delay(&flow.path),
            n_sent: 0,
            end: flow.start,
        }
    }
}

/// What waits for a link.
#[derive(Clone, Debug, Default)]
struct Line {
    is_queued: bool,
    is_busy: bool,
    /// By turn: in a shared line a packet each; otherwise the packets of a flow.
    turns: VecDeque<VecDeque<Packet>>,
}

impl Line {
    fn join(&mut self, packet: Packet, lines: Lines) {
        let same = |turn: &&mut VecDeque<Packet>| turn[0].flow == packet.flow;
        match (lines, self.turns.iter_mut().find(same)) {
            (Lines::PerFlow, Some(turn)) => turn.push_back(packet),
            _ => self.turns.push_back(VecDeque::from([packet])),
        }
    }

    fn next(&mut self) -> Option<Packet> {
        let mut turn = self.turns.pop_front()?;
        let packet = turn.pop_front();
        if !turn.is_empty() {
            self.turns.push_back(turn);
        }
        packet
    }
}

struct Run<'a> {
    graph: &'a Graph,
    spec: &'a PacketSpec,
    flows: Vec<Sender<'a>>,
    lines: Vec<Line>,
    queue: EventQueue<Event>,
}

impl Run<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(flow) => {
                for _ in 0..self.spec.window {
                    self.send_next(flow);
                }
            }
            Event::Sent(packet) => {
                let link = self.link(packet);
                self.queue
                    .schedule_in(self.graph.link(link).delay, Event::Arrived(packet));
                self.lines[link.index()].is_busy = false;
                self.serve(link);
            }
            Event::Arrived(packet) => self.on_arrived(packet),
            Event::Acknowledged(flow) => self.send_next(flow),
        }
    }

    fn link(&self, packet: Packet) -> LinkId {
        self.flows[packet.flow].flow.path[packet.hop]
    }

    /// The next packet of a flow, if there is one, joins the line for its first link.
    fn send_next(&mut self, flow: usize) {
        let sender = &mut self.flows[flow];
        if sender.n_sent < self.spec.n_packets(sender.flow.bytes) {
            let packet = Packet {
                flow,
                index: sender.n_sent,
                hop: 0,
            };
            sender.n_sent += 1;
            self.join(packet);
        }
    }

    fn on_arrived(&mut self, packet: Packet) {
        let now = self.queue.now();
        let sender = &mut self.flows[packet.flow];
        if packet.hop + 1 < sender.flow.path.len() {
            let hop = packet.hop + 1;
            self.join(Packet { hop, ..packet });
            return;
        }
        sender.end = now;
        self.queue
            .schedule_in(sender.back, Event::Acknowledged(packet.flow));
    }

    fn join(&mut self, packet: Packet) {
        let link = self.link(packet);
        let line = &mut self.lines[link.index()];
        if line.is_queued {
            line.join(packet, self.spec.lines);
            self.serve(link);
        } else {
            let delay = self.time_on(link, packet) + self.graph.link(link).delay;
            self.queue.schedule_in(delay, Event::Arrived(packet));
        }
    }

    /// An idle link takes the next packet.
    fn serve(&mut self, link: LinkId) {
        let line = &mut self.lines[link.index()];
        if line.is_busy {
            return;
        }
        if let Some(packet) = line.next() {
            line.is_busy = true;
            let time = self.time_on(link, packet);
            self.queue.schedule_in(time, Event::Sent(packet));
        }
    }

    fn time_on(&self, link: LinkId, packet: Packet) -> SimDuration {
        let bytes = self.flows[packet.flow].flow.bytes;
        let size = self.spec.packet(bytes, packet.index);
        self.graph.link(link).rate.serialization_delay(size)
    }
}

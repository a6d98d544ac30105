//! The same flows, packet by packet.
//!
//! What a fluid leaves out happens here: bytes are cut into packets, each is stored and forwarded by
//! every vertex on its path, and waits there in a line for the link that it takes next. A line may have
//! a limit: a packet that finds it full is lost (tail drop). A [`Pace`] says how many packets a stream
//! has under way; word of what has arrived in order is back after the propagation delay of the path,
//! without load on any link.
//!
//! With lines for each stream, served in turn, and a window that covers the path, the shares of long
//! flows are max-min fair (Hahne 1991, "Round-robin scheduling for max-min fairness in data networks",
//! IEEE Journal on Selected Areas in Communications 9(7)). With one line for all, a link is shared as
//! its packets come.
//!
//! [`PacketNet`] is told the time and schedules nothing itself; [`simulate`] lets given flows run to
//! their ends.
//!
//! # Order
//! Of what happens at one instant the first scheduled is the first, as of all events; flows that start
//! at one instant start in the order in which they are given.

mod line;
mod net;
mod sender;

use schema::units::{Bytes, SimTime};

use super::graph::{Graph, LinkId};
use crate::engine::EventQueue;
pub use net::{Lanes, News, PacketEvent, PacketNet, Stream, StreamId};
pub use sender::{Congestion, Pace};

/// How bytes are put into packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// Most bytes in a packet, at least one.
    pub payload: Bytes,
    /// What each packet has on top, on every link.
    pub header: Bytes,
}

impl Format {
    /// One packet for all, without a header.
    pub const NONE: Format = Format {
        payload: Bytes(u64::MAX),
        header: Bytes(0),
    };

    /// Number of packets of so many bytes; of none one without payload.
    pub fn n_packets(self, bytes: Bytes) -> u64 {
        bytes.0.div_ceil(self.payload.0).max(1)
    }

    /// What the bytes put on every link, headers included.
    pub fn wire_bytes(self, bytes: Bytes) -> Bytes {
        Bytes(bytes.0 + self.n_packets(bytes) * self.header.0)
    }
}

/// What packets look like, and how they wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketSpec {
    /// How flows are put into packets.
    pub format: Format,
    /// How many packets of a flow are under way.
    pub pace: Pace,
    /// How packets wait for a link.
    pub lines: Lines,
}

/// How the packets wait that are to take one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lines {
    /// All in one line, first come first served.
    Shared,
    /// In a line for each stream; the lines have turns, a packet each.
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

/// When the last packet of each flow arrives, in the order of `flows`, and how many packets were lost.
///
/// `lane` says of each link how packets wait for it.
///
/// # Panics
/// If packets have no payload, a pace lets none go, or a path has no links.
pub fn simulate(
    graph: &Graph,
    flows: &[PacketFlow],
    spec: &PacketSpec,
    lane: impl Fn(LinkId) -> Lanes,
) -> (Vec<SimTime>, u64) {
    let mut net = PacketNet::new(graph, spec.lines, lane);
    let mut queue = EventQueue::new();
    let streams =
        (flows.iter()).map(|flow| net.add(Stream::new(&flow.path, spec.format, spec.pace)));
    let streams: Vec<StreamId> = streams.collect();
    for (index, flow) in flows.iter().enumerate() {
        queue.schedule_at(flow.start, Happening::Start(index));
    }
    let mut ends: Vec<SimTime> = flows.iter().map(|flow| flow.start).collect();
    while let Some(happening) = queue.pop() {
        let now = queue.now();
        match happening {
            Happening::Start(index) => {
                let flow = &flows[index];
                let back = graph.propagation_delay(&flow.path);
                net.send(now, streams[index], flow.bytes, Bytes(0), back);
            }
            Happening::Packet(event) => net.handle(now, event),
        }
        while let Some((at, event)) = net.pop_scheduled() {
            queue.schedule_at(at, Happening::Packet(event));
        }
        while let Some(news) = net.pop_news() {
            if let News::Arrived(stream) = news {
                ends[stream.index()] = now;
            }
        }
    }
    (ends, net.n_lost())
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Start(usize),
    Packet(PacketEvent),
}

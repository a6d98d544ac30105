//! Wires that something paces: windows and buffers of TCP, or packets.

use std::collections::VecDeque;

use schema::ids::Id;
use schema::run::Leg;
use schema::scenario::Tcp;
use schema::units::{Bytes, SimTime};

use super::{Chunk, Load, WireId, Wires};
use crate::engine::EventQueue;
use crate::event::Event;
use crate::fabric::LinkId;
use crate::fabric::packets::{Lanes, News, Pace, PacketEvent, PacketNet, Stream, StreamId};
use crate::ids::{ChannelId, ConnectionId};
use crate::network::channel::{Carrier, Channel, Flight};

/// Packets that a connection sends before it hears of any, if nothing is said (RFC 6928).
const INITIAL_WINDOW: u32 = 10;

impl Wires<'_> {
    /// The channel of a wire, if something limits it or it goes by packets.
    pub(super) fn make_channel(&mut self, wire: WireId, load: &Load) -> Option<ChannelId> {
        let mut carrier = None;
        if let Some(packets) = &mut self.packets {
            let path = self.wires[wire].paths[load.way]
                .as_mut()
                .expect("it was made");
            let label = wire.connection().index() as u64;
            let is_found = path.find(self.tables, &mut self.routes, label);
            assert!(is_found, "links with packets have no faults");
            path.found_at = self.n_changes;
            let lanes = |link: &LinkId| self.tables.lanes[link.index()];
            if path.links.iter().any(|link| lanes(link) != Lanes::Open) {
                let may_lose = |link: &LinkId| matches!(lanes(link), Lanes::Buffer(_));
                let is_lossy = load.is_lossy && path.links.iter().any(may_lose);
                let pace = pace(load.limits.as_ref(), is_lossy);
                let stream = packets.add(Stream::new(&path.links, load.parcel.format, pace));
                self.streams
                    .push(ChannelId::from_index(self.channels.len()));
                carrier = Some(Carrier::Packets {
                    stream,
                    delays: VecDeque::new(),
                    arrives: SimTime::ZERO,
                });
            }
        }
        let limits = load.limits.unwrap_or(Tcp::UNLIMITED);
        if carrier.is_none() && load.limits.is_some() {
            carrier = Some(Carrier::Fluid(Flight::new(&limits, load.parcel.format)));
        }
        let channel = Channel::new(wire, load.way, limits, load.parcel.format, carrier?);
        let id = self.channels.push(channel);
        if let (Carrier::Packets { stream, .. }, Some(packets)) =
            (&self.channels[id].carrier, &mut self.packets)
        {
            packets.set_room(SimTime::ZERO, *stream, Bytes(self.channels[id].buffer()));
        }
        Some(id)
    }

    /// What a channel may send sets out.
    pub(super) fn release(&mut self, queue: &mut EventQueue<Event>, id: ChannelId) {
        while let Some(piece) = self.channels[id].next(queue.now(), id) {
            let channel = &self.channels[id];
            let (wire, way) = (channel.wire, channel.way);
            let chunk = Chunk {
                bytes: channel.format.wire_bytes(Bytes(piece.bytes)),
                delay: piece.delay,
                piece: Some(piece),
            };
            self.put(queue, wire, way, chunk);
        }
    }

    /// Whether the thread that sends on a wire may hand over so many bytes more.
    pub(in crate::network) fn takes(
        &self,
        id: ConnectionId,
        leg: Leg,
        way: usize,
        bytes: Bytes,
    ) -> bool {
        let wire = &self.wires[WireId::new(id, leg)];
        let channel = wire.channels.get(way).copied().flatten();
        channel.is_none_or(|channel| self.channels[channel].takes(bytes))
    }

    /// The thread that receives from a wire has so many bytes that it has not begun to take.
    pub(in crate::network) fn tell_backlog(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        leg: Leg,
        way: usize,
        backlog: u64,
    ) {
        let wire = &self.wires[WireId::new(id, leg)];
        let Some(channel) = wire.channels[way] else {
            return;
        };
        let path = wire.paths[way].as_ref().expect("a channel has a path");
        queue.schedule_in(path.delay, Event::BacklogTold(channel));
        self.channels[channel].tell(backlog);
    }

    /// The sender of a channel hears that a piece has arrived.
    pub(crate) fn on_acknowledged(&mut self, queue: &mut EventQueue<Event>, id: ChannelId) {
        let channel = &mut self.channels[id];
        if let Carrier::Fluid(flight) = &mut channel.carrier {
            channel.handed_over -= flight.on_acknowledged();
        }
        self.release(queue, id);
        self.heard.push_back(id);
    }

    /// The sender of a channel hears what its receiver has not begun to take.
    pub(crate) fn on_backlog_told(&mut self, queue: &mut EventQueue<Event>, id: ChannelId) {
        let channel = &mut self.channels[id];
        channel.on_told();
        match (&channel.carrier, &mut self.packets) {
            (Carrier::Packets { stream, .. }, Some(packets)) => {
                packets.set_room(queue.now(), *stream, Bytes(channel.buffer()));
                self.take_news(queue);
            }
            _ => self.release(queue, id),
        }
    }

    /// Whose sender has had word: the connection, the direction and the way; the first first.
    pub(in crate::network) fn pop_heard(&mut self) -> Option<(ConnectionId, Leg, usize)> {
        let channel = &self.channels[self.heard.pop_front()?];
        Some((channel.wire.connection(), channel.wire.leg(), channel.way))
    }

    /// Something happens to a packet.
    pub(crate) fn on_packet(&mut self, queue: &mut EventQueue<Event>, event: PacketEvent) {
        let packets = self.packets.as_mut().expect("there are packets");
        packets.handle(queue.now(), event);
        self.take_news(queue);
    }

    /// Packets that were lost.
    pub(crate) fn n_lost(&self) -> u64 {
        self.packets.as_ref().map_or(0, PacketNet::n_lost)
    }

    /// Schedules what packets do next, and passes on what they tell of.
    pub(super) fn take_news(&mut self, queue: &mut EventQueue<Event>) {
        let packets = self.packets.as_mut().expect("there are packets");
        while let Some((at, event)) = packets.pop_scheduled() {
            queue.schedule_at(at, Event::Packet(event));
        }
        let channel_of = |stream: StreamId| self.streams[stream.index()];
        while let Some(news) = packets.pop_news() {
            match news {
                News::Arrived(stream) => {
                    let channel = &mut self.channels[channel_of(stream)];
                    let Carrier::Packets {
                        delays, arrives, ..
                    } = &mut channel.carrier
                    else {
                        unreachable!("it has a stream");
                    };
                    let delay = delays.pop_front().expect("a chunk has arrived");
                    *arrives = (queue.now() + delay).max(*arrives);
                    queue.schedule_at(
                        *arrives,
                        Event::ChunkArrived(self.wires[channel.wire].ticket),
                    );
                }
                News::Acknowledged(stream, bytes) => {
                    let id = channel_of(stream);
                    self.channels[id].handed_over -= bytes.0;
                    self.heard.push_back(id);
                }
            }
        }
    }
}

/// How many packets of a stream are under way.
fn pace(limits: Option<&Tcp>, is_lossy: bool) -> Pace {
    let limits = limits.unwrap_or(&Tcp::UNLIMITED);
    let initial = match (limits.initial_window, is_lossy) {
        (Some(initial), _) => initial,
        (None, true) => INITIAL_WINDOW,
        (None, false) => return Pace::Unlimited,
    };
    Pace::Congestion {
        initial,
        min_rto: limits.min_rto,
    }
}

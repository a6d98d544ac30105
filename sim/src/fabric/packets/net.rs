//! Streams of packets over the links of a graph.

use std::collections::{BTreeSet, VecDeque};

use schema::ids::Id;
use schema::units::{ByteRate, Bytes, SimDuration, SimTime};

use super::line::Line;
use super::sender::{Answer, Congestion, Pace};
use super::{Format, Lines};
use crate::fabric::graph::{Graph, LinkId};

/// A stream of a [`PacketNet`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(u32);

impl StreamId {
    /// Its number, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How packets wait for a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lanes {
    /// They do not: each takes its serialization and propagation delays, whatever else is on the link.
    Open,
    /// In a line without a limit.
    Line,
    /// In a line of so many bytes at most, headers included; a packet that finds it full is lost.
    Buffer(Bytes),
}

/// What happens in a [`PacketNet`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketEvent {
    /// A link has carried its packet.
    Carried(LinkId),
    /// The packet in a slot is at the end of a link.
    Arrived(u32),
    /// Word is back that all packets before this one have arrived.
    Acknowledged(StreamId, u32),
    /// A stream's timeout may have passed.
    Timeout(StreamId),
}

/// What a [`PacketNet`] tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// All of what a stream was given with one [`PacketNet::send`] has arrived, in order.
    Arrived(StreamId),
    /// The sender of a stream has word of so many bytes more.
    Acknowledged(StreamId, Bytes),
}

/// A packet on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    stream: StreamId,
    /// Its number in its stream.
    index: u32,
    /// On the wire.
    size: u32,
    /// Which link of its path it takes.
    hop: u8,
}

impl Packet {
    pub(super) const fn stream(&self) -> StreamId {
        self.stream
    }

    pub(super) fn wire_bytes(&self) -> u64 {
        u64::from(self.size)
    }
}

/// Bytes from one end of a path to the other, in order.
#[derive(Clone, Debug)]
pub struct Stream {
    path: Box<[LinkId]>,
    /// Time for word to come back.
    back: SimDuration,
    format: Format,
    /// Whether its packets are lost where a line is full.
    is_lossy: bool,
    /// Fixed window in packets.
    window: u64,
    congestion: Option<Congestion>,
    /// Most payload that may be under way.
    room: u64,
    /// Those that are not acknowledged, sent or not; the first is number `acknowledged`.
    packets: VecDeque<Sent>,
    acknowledged: u32,
    /// The next to be sent.
    next: u32,
    /// Payload of those that have been sent and are not acknowledged.
    under_way: u64,
    last_sent: SimTime,
    /// When what is under way is taken for lost, and whether an event is scheduled for it.
    deadline: SimTime,
    is_timed: bool,
    /// The receiver has all before this one, and these beyond.
    expected: u32,
    beyond: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    payload: u32,
    header: u32,
    /// Whether it is the last of what was given at once.
    is_last: bool,
    /// Whether it was sent, and when, unless it was more than once.
    was_sent: bool,
    at: Option<SimTime>,
}

impl Stream {
    /// A stream over `path`.
    ///
    /// # Panics
    /// If packets have no payload, the pace lets none go, or the path has no links or more than 255.
    pub fn new(path: &[LinkId], format: Format, pace: Pace) -> Stream {
        let (window, congestion) = match pace {
            Pace::Unlimited => (u64::MAX, None),
            Pace::Window(window) => (u64::from(window), None),
            Pace::Congestion { initial, min_rto } => {
                (u64::MAX, Some(Congestion::new(u64::from(initial), min_rto)))
            }
        };
        let first = congestion.as_ref().map_or(window, Congestion::window);
        assert!(
            format.payload.0 > 0 && first > 0,
            "packets have a payload and a window"
        );
        assert!(
            (1..=255).contains(&path.len()),
            "a packet takes from 1 to 255 links"
        );
        Stream {
            path: path.into(),
            back: SimDuration::ZERO,
            format,
            is_lossy: congestion.is_some(),
            window,
            congestion,
            room: u64::MAX,
            packets: VecDeque::new(),
            acknowledged: 0,
            next: 0,
            under_way: 0,
            last_sent: SimTime::ZERO,
            deadline: SimTime::ZERO,
            is_timed: false,
            expected: 0,
            beyond: BTreeSet::new(),
        }
    }

    /// Whether the next packet may be sent.
    fn may_send(&self) -> bool {
        let Some(next) = self.packets.get((self.next - self.acknowledged) as usize) else {
            return false;
        };
        let n = u64::from(self.next - self.acknowledged);
        let window = (self.congestion.as_ref()).map_or(self.window, Congestion::window);
        let fits = self.under_way + u64::from(next.payload) <= self.room;
        n < window && fits
    }
}

/// Streams of packets over the links of a [`Graph`].
///
/// It is told the time, and says by [`PacketNet::pop_scheduled`] what to tell it when.
#[derive(Clone, Debug)]
pub struct PacketNet {
    lines: Lines,
    links: Vec<Row>,
    streams: Vec<Stream>,
    scheduled: VecDeque<(SimTime, PacketEvent)>,
    /// Packets between one link and the next by slot, and slots that are free.
    between: Vec<Packet>,
    free: Vec<u32>,
    news: VecDeque<News>,
    n_lost: u64,
}

#[derive(Clone, Debug)]
struct Row {
    rate: ByteRate,
    delay: SimDuration,
    lanes: Lanes,
    line: Line,
}

impl PacketNet {
    /// The links of `graph`, for which packets wait as `lane` says.
    pub fn new(graph: &Graph, lines: Lines, lane: impl Fn(LinkId) -> Lanes) -> PacketNet {
        let links = graph.links().map(|(id, link)| Row {
            rate: link.rate,
            delay: link.delay,
            lanes: lane(id),
            line: Line::default(),
        });
        PacketNet {
            lines,
            links: links.collect(),
            streams: Vec::new(),
            scheduled: VecDeque::new(),
            between: Vec::new(),
            free: Vec::new(),
            news: VecDeque::new(),
            n_lost: 0,
        }
    }

    /// Adds a stream, of which nothing has been sent.
    pub fn add(&mut self, stream: Stream) -> StreamId {
        let id = StreamId(u32::try_from(self.streams.len()).expect("streams fit 32 bits"));
        self.streams.push(stream);
        id
    }

    /// Number of packets that were lost.
    pub const fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// What to tell it when; the first to be scheduled first.
    pub fn pop_scheduled(&mut self) -> Option<(SimTime, PacketEvent)> {
        self.scheduled.pop_front()
    }

    /// What it tells of; the first to happen first.
    pub fn pop_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// So many bytes more are to be sent, of none a packet without payload, with `extra` on top of the
    /// first packet; word comes back `back` after they have arrived.
    ///
    /// # Panics
    /// If the stream has more than 2³² packets.
    pub fn send(
        &mut self,
        now: SimTime,
        id: StreamId,
        bytes: Bytes,
        extra: Bytes,
        back: SimDuration,
    ) {
        let stream = &mut self.streams[id.index()];
        stream.back = back;
        let n = stream.format.n_packets(bytes);
        let end = u64::from(stream.acknowledged) + stream.packets.len() as u64 + n;
        assert!(end < 1 << 32, "a stream has at most 2^32 packets");
        let most = stream.format.payload.0;
        for index in 0..n {
            let payload = (bytes.0 - index * most).min(most);
            let extra = if index == 0 { extra.0 } else { 0 };
            let size = |bytes: u64| u32::try_from(bytes).expect("a packet is smaller than 4 GB");
            stream.packets.push_back(Sent {
                payload: size(payload),
                header: size(stream.format.header.0 + extra),
                is_last: index + 1 == n,
                was_sent: false,
                at: None,
            });
        }
        if stream.next == stream.acknowledged
            && let Some(congestion) = &mut stream.congestion
        {
            congestion.resume(now, stream.last_sent);
        }
        self.go_on(now, id);
    }

    /// How much payload of the stream may be under way from now on; word of it is at the sender.
    pub fn set_room(&mut self, now: SimTime, id: StreamId, room: Bytes) {
        self.streams[id.index()].room = room.0;
        self.go_on(now, id);
    }

    /// What was scheduled happens.
    pub fn handle(&mut self, now: SimTime, event: PacketEvent) {
        match event {
            PacketEvent::Carried(link) => {
                let row = &mut self.links[link.index()];
                let packet = row.line.done();
                let at = now + row.delay;
                self.arrive_at(at, packet);
                self.serve(now, link);
            }
            PacketEvent::Arrived(slot) => {
                self.free.push(slot);
                self.on_arrived(now, self.between[slot as usize]);
            }
            PacketEvent::Acknowledged(stream, all_before) => {
                self.on_acknowledged(now, stream, all_before);
            }
            PacketEvent::Timeout(stream) => self.on_timeout(now, stream),
        }
    }

    /// The stream sends what it may.
    fn go_on(&mut self, now: SimTime, id: StreamId) {
        while self.streams[id.index()].may_send() {
            let stream = &mut self.streams[id.index()];
            let index = stream.next;
            stream.next += 1;
            let place = (index - stream.acknowledged) as usize;
            stream.under_way += u64::from(stream.packets[place].payload);
            let n = u64::from(stream.next - stream.acknowledged);
            if let Some(congestion) = &mut stream.congestion {
                congestion.sent(n);
            }
            self.transmit(now, id, index);
        }
    }

    /// Packet `index` of the stream sets out.
    fn transmit(&mut self, now: SimTime, id: StreamId, index: u32) {
        let stream = &mut self.streams[id.index()];
        let place = (index - stream.acknowledged) as usize;
        let sent = &mut stream.packets[place];
        let was_sent = std::mem::replace(&mut sent.was_sent, true);
        sent.at = (!was_sent).then_some(now);
        let size = sent.payload + sent.header;
        stream.last_sent = now;
        if let Some(congestion) = &stream.congestion {
            stream.deadline = now + congestion.timeout();
            if !std::mem::replace(&mut stream.is_timed, true) {
                let at = stream.deadline;
                self.scheduled.push_back((at, PacketEvent::Timeout(id)));
            }
        }
        let packet = Packet {
            stream: id,
            index,
            size,
            hop: 0,
        };
        self.join(now, packet);
    }

    fn join(&mut self, now: SimTime, packet: Packet) {
        let stream = &self.streams[packet.stream.index()];
        let link = stream.path[usize::from(packet.hop)];
        let row = &mut self.links[link.index()];
        let limit = match row.lanes {
            Lanes::Open => {
                let time = row.rate.serialization_delay(Bytes(packet.wire_bytes()));
                let at = now + time + row.delay;
                return self.arrive_at(at, packet);
            }
            Lanes::Buffer(Bytes(limit)) if stream.is_lossy => Some(limit),
            Lanes::Line | Lanes::Buffer(_) => None,
        };
        if row.line.has_room(packet.wire_bytes(), limit) {
            row.line.join(packet, self.lines);
            self.serve(now, link);
        } else {
            self.n_lost += 1;
        }
    }

    /// A packet will be at the end of its link.
    fn arrive_at(&mut self, at: SimTime, packet: Packet) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.between.push(packet);
            u32::try_from(self.between.len() - 1).expect("slots fit 32 bits")
        });
        self.between[slot as usize] = packet;
        self.scheduled.push_back((at, PacketEvent::Arrived(slot)));
    }

    /// An idle link takes the next packet.
    fn serve(&mut self, now: SimTime, link: LinkId) {
        let row = &mut self.links[link.index()];
        if let Some(packet) = row.line.serve() {
            let time = row.rate.serialization_delay(Bytes(packet.wire_bytes()));
            let at = now + time;
            self.scheduled.push_back((at, PacketEvent::Carried(link)));
        }
    }

    fn on_arrived(&mut self, now: SimTime, packet: Packet) {
        let stream = &mut self.streams[packet.stream.index()];
        if usize::from(packet.hop) + 1 < stream.path.len() {
            let hop = packet.hop + 1;
            return self.join(now, Packet { hop, ..packet });
        }
        if packet.index == stream.expected {
            stream.beyond.insert(packet.index);
            while stream.beyond.remove(&stream.expected) {
                let place = (stream.expected - stream.acknowledged) as usize;
                stream.expected += 1;
                if stream.packets[place].is_last {
                    self.news.push_back(News::Arrived(packet.stream));
                }
            }
        } else if packet.index > stream.expected {
            stream.beyond.insert(packet.index);
        }
        let word = PacketEvent::Acknowledged(packet.stream, stream.expected);
        self.scheduled.push_back((now + stream.back, word));
    }

    fn on_acknowledged(&mut self, now: SimTime, id: StreamId, all_before: u32) {
        let stream = &mut self.streams[id.index()];
        let answer = if all_before > stream.acknowledged {
            stream.progress(now, all_before, id, &mut self.news)
        } else if stream.next > stream.acknowledged
            && let Some(congestion) = &mut stream.congestion
        {
            congestion.on_duplicate(u64::from(all_before), u64::from(stream.next))
        } else {
            Answer::GoOn
        };
        if answer == Answer::Retransmit {
            let index = self.streams[id.index()].acknowledged;
            self.transmit(now, id, index);
        }
        self.go_on(now, id);
    }

    fn on_timeout(&mut self, now: SimTime, id: StreamId) {
        let stream = &mut self.streams[id.index()];
        stream.is_timed = false;
        if stream.next == stream.acknowledged {
            return;
        }
        if now < stream.deadline {
            stream.is_timed = true;
            let at = stream.deadline;
            return self.scheduled.push_back((at, PacketEvent::Timeout(id)));
        }
        let sent = [stream.acknowledged, stream.next].map(u64::from);
        let congestion = stream.congestion.as_mut().expect("others have no timeout");
        congestion.on_timeout(sent);
        stream.next = stream.acknowledged;
        stream.under_way = 0;
        self.go_on(now, id);
    }
}

impl Stream {
    /// Word comes that all before `all_before` have arrived, some of them new.
    fn progress(
        &mut self,
        now: SimTime,
        all_before: u32,
        id: StreamId,
        news: &mut VecDeque<News>,
    ) -> Answer {
        let n = all_before - self.acknowledged;
        let mut bytes = 0;
        let mut sent_at = None;
        for index in self.acknowledged..all_before {
            let sent = self.packets.pop_front().expect("it was sent");
            bytes += u64::from(sent.payload);
            if index < self.next {
                self.under_way -= u64::from(sent.payload);
            }
            sent_at = sent.at;
        }
        self.acknowledged = all_before;
        self.next = self.next.max(all_before);
        news.push_back(News::Acknowledged(id, Bytes(bytes)));
        let Some(congestion) = &mut self.congestion else {
            return Answer::GoOn;
        };
        if let Some(at) = sent_at {
            congestion.measured(now.since(at));
        }
        let answer = congestion.on_progress(u64::from(n), u64::from(all_before));
        self.deadline = now + congestion.timeout();
        answer
    }
}

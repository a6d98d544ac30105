//! How a message gets from one thread to the next.
//!
//! The sender's thread hands a message over in chunks, each when its core time is done; they go over
//! the links one after the other, as described in `wire.rs`; the receiver's thread takes them one at
//! a time, in order. So sending, the wire and receiving overlap, as they do in a kernel's sockets.
//! A sender never waits for its receiver, unless its hop has buffers or a congestion window: see
//! `channel.rs`. A stage whose `receive-threads` are given has so many threads for all of its
//! connections instead: each takes a message when all of it is there, first come first served.
//!
//! Over `rdma` and `gdr` the threads only post and learn of messages, and network adapters move them
//! burst by burst: DMA from memory, the wire, DMA to memory, all overlapping; see `verbs.rs`.

mod channel;
mod forward;
mod message;
mod nic;
mod poll;
mod queue_pair;
mod verbs;
mod wire;

use schema::ids::HostId;
use schema::run::{Leg, SpanName};
use schema::scenario::{Transport, Verb};
use schema::units::{Bytes, SimDuration, SimTime};

pub(crate) use message::Message;
pub(crate) use nic::{Nic, engine_of};
pub(crate) use queue_pair::QueuePair;
pub(crate) use wire::{AccessRow, FaultRow, WireTables, Wires};

use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::{ConnectionId, RoleId};
use crate::losses::Place;
use crate::pipeline::Pipeline;
use crate::record::{At, Part};
use crate::stations::{Job, Task};
use verbs::Transfer;
use wire::Parcel;

/// Most bytes of a message that go from one end to the other as one. 64 KiB is the most that Linux
/// puts into one segment-offload buffer (`GSO_LEGACY_MAX_SIZE`, include/linux/netdevice.h), so the
/// most that a sender's core works on before the wire or the receiver sees any of it.
pub const CHUNK: Bytes = Bytes(64 * 1024);

/// What goes from one end to the other as one where nothing divides messages.
pub(crate) const WHOLE: Bytes = Bytes(u64::MAX);

impl Pipeline<'_> {
    /// The connection's thread starts to send the message of its hop and leg, which was ready when
    /// its part before ended.
    pub(crate) fn send(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        self.send_after(queue, id, SimDuration::ZERO);
    }

    /// The same, of which the thread's core time is longer by `more`.
    fn send_after(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId, more: SimDuration) {
        let now = queue.now();
        let connection = &self.connections[id];
        let hop = self.tables.hop(connection);
        let leg = connection.leg as usize;
        let payload = match connection.leg {
            Leg::Request => self.tables.payload(connection, usize::from(connection.hop)),
            Leg::Reply => self.tables.reply(connection, usize::from(connection.hop)),
        };
        let bytes = match hop.over {
            Transport::Tcp => Bytes(payload.0 + hop.tcp.message_header[leg].0),
            Transport::Local | Transport::Rdma | Transport::Gdr => payload,
        };
        let (chunk, verbs) = (hop.tcp.chunk, hop.verbs);
        let sources = self.tables.sources(connection);
        let drawn =
            sources.delay[leg].map(|delay| (self.costs).draw_delay(delay, Amount::one(payload)));
        let access = self.wires.draw_access(connection);
        let [send_cost, receive_cost] = self.draw_core_time(now, id, payload, bytes);
        let connection = &mut self.connections[id];
        connection.message = Message {
            bytes,
            payload,
            chunk,
            send_cost: more + send_cost,
            receive_cost,
            delay: drawn.unwrap_or_default() + access,
            ready: connection.done,
            start: now,
            transfer: verbs
                .map_or_else(Transfer::default, |verbs| Transfer::new(verbs.options.verb)),
            ..Message::default()
        };
        connection.place = Place::Moving;
        self.note_sender(id);
        self.send_chunk_if_taken(queue, id);
    }

    /// Draws the core time of the sender and of the receiver of a message, of which `bytes` go over
    /// the connection's hop.
    fn draw_core_time(
        &mut self,
        now: SimTime,
        id: ConnectionId,
        payload: Bytes,
        bytes: Bytes,
    ) -> [SimDuration; 2] {
        let connection = &self.connections[id];
        let leg = connection.leg as usize;
        let hop = self.tables.hop(connection);
        let sources = self.tables.sources(connection);
        let [sender, receiver] = self.roles(id).map(|role| self.cores.past(now, role));
        let amount = Amount::one(payload);
        let mut send = self.costs.draw(sources.send[leg], amount, sender);
        let mut receive = self.costs.draw(sources.receive[leg], amount, receiver);
        if hop.over == Transport::Tcp {
            let packets = Amount {
                packets: hop.tcp.format.n_packets(bytes),
                ..amount
            };
            let [framed, taken] = sources.frame[leg];
            for source in [sources.segment[leg], framed].into_iter().flatten() {
                send += self.costs.draw(source, packets, sender);
            }
            for source in [sources.reassemble[leg], taken].into_iter().flatten() {
                receive += self.costs.draw(source, packets, receiver);
            }
        }
        if let (Some(register), Some(verbs)) = (sources.register[leg], &hop.verbs) {
            let [nic, _] = self.nics(id);
            let nic = &self.tables.nics[nic];
            if verbs.options.verb == Verb::Read || payload.0 > nic.inline_limit {
                let page = verbs.page_sizes[leg];
                let pages = Amount::one(Bytes(payload.0.div_ceil(page) * page));
                send += self.costs.draw(register, pages, sender);
            }
        }
        [send, receive]
    }

    /// The sender's thread works on the next chunk, or waits until its buffer has room for it.
    fn send_chunk_if_taken(&mut self, queue: &EventQueue<Event>, id: ConnectionId) {
        let connection = &self.connections[id];
        let leg = connection.leg;
        let size = connection.message.next_size();
        let until = connection.message.sent() + size.0;
        let is_tcp = self.tables.hop(connection).over == Transport::Tcp;
        let goes =
            self.wires.takes(id, leg, self.way(id), size) && (!is_tcp || self.is_there(id, until));
        self.connections[id].message.is_blocked = !goes;
        if goes {
            self.send_chunk(queue, id);
        }
    }

    /// Senders whose buffers have got room go on.
    pub(crate) fn unblock_senders(&mut self, queue: &EventQueue<Event>) {
        while let Some((id, leg, way)) = self.wires.pop_heard() {
            let connection = &self.connections[id];
            let is_it = connection.leg == leg && self.way(id) == way;
            if is_it && connection.message.is_blocked {
                self.send_chunk_if_taken(queue, id);
            }
        }
    }

    fn send_chunk(&mut self, queue: &EventQueue<Event>, id: ConnectionId) {
        let [sender, _] = self.roles(id);
        let connection = &self.connections[id];
        let job = Job {
            task: Task::Send(id),
            role: sender,
            demand: connection.message.next_send_cost(),
        };
        self.cores.submit(queue.now(), job);
    }

    /// The sender's thread has handed a chunk over.
    pub(crate) fn on_sent(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        used: SimDuration,
    ) {
        let now = queue.now();
        let message = &mut self.connections[id].message;
        message.send_used += used;
        let size = message.hand_over(now);
        if self.tables.hop(&self.connections[id]).verbs.is_some() {
            self.posted(queue, id);
        } else {
            let parcel = Parcel {
                bytes: size,
                format: self.tables.hop(&self.connections[id]).tcp.format,
                extra: Bytes(0),
            };
            self.cross(queue, id, parcel);
        }
        if self.connections[id].message.is_sent() {
            self.add_client_core_time(id, Leg::Request);
            self.record_sent(id);
            if self.connections[id].leg == Leg::Reply {
                self.keep_books_of_stage(now, id);
            }
            self.let_go(id);
            self.poll_for_next(now, id);
        } else {
            self.send_chunk_if_taken(queue, id);
        }
    }

    /// A chunk has reached the receiver's host.
    pub(crate) fn on_arrived(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        if self.tables.hop(&self.connections[id]).verbs.is_some() {
            return self.on_burst(queue, id);
        }
        let [sender, receiver] = self.roles(id);
        if self.connections[id].message.is_first() {
            self.hold(id, sender, receiver);
        }
        let message = &mut self.connections[id].message;
        if self.receivers[receiver].is_none() {
            if message.arrive(queue.now()) {
                self.receive_chunk(queue, id);
            } else {
                self.tell_backlog(queue, id);
            }
        } else if message.arrive_whole(queue.now())
            && let Some(id) = self.want_thread(queue.now(), receiver, id)
        {
            self.receive_whole(queue, id);
        }
    }

    /// A thread takes the connection's message, of which all is there.
    fn receive_whole(&mut self, queue: &EventQueue<Event>, id: ConnectionId) {
        self.connections[id].message.begin_whole(queue.now());
        self.receive_chunk(queue, id);
    }

    /// A request arrives in the memory of a machine, which holds it from now on.
    fn hold(&mut self, id: ConnectionId, sender: RoleId, receiver: RoleId) {
        let [from, to] = [sender, receiver].map(|role| self.tables.roles[role].machine);
        let connection = &self.connections[id];
        if from != to && connection.leg == Leg::Request && !self.is_by_gdr(id) {
            self.costs.hold(to, connection.message.payload);
            self.held[connection.ends + usize::from(connection.hop)].is_in_memory = true;
        }
    }

    /// A message has left a machine. If that is the last it has to do with the request, it no longer
    /// holds it.
    fn let_go(&mut self, id: ConnectionId) {
        let connection = &self.connections[id];
        let path = &self.tables.paths[connection.path];
        let hop = usize::from(connection.hop);
        let came_over = match connection.leg {
            Leg::Reply => hop.min(path.n_hops - 1),
            Leg::Request if path.is_straight() && hop > 0 => hop - 1,
            Leg::Request => return,
        };
        let ends = self.ends[connection.ends + came_over];
        let [near, far] = ends.map(|role| self.tables.roles[role].machine);
        if near != far && path.hops[came_over].over != Transport::Gdr {
            let held = self.tables.payload(connection, came_over);
            self.costs.let_go(far, held);
            self.held[connection.ends + came_over].is_in_memory = false;
        }
    }

    /// The sender gets to know what of the message has arrived and waits for the receiver's thread.
    fn tell_backlog(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &self.connections[id];
        let limits = self.tables.hop(connection).tcp.limits;
        if limits.is_some_and(|tcp| tcp.receive_buffer.is_some()) {
            let leg = connection.leg;
            let backlog = connection.message.backlog();
            self.wires
                .tell_backlog(queue, id, leg, self.way(id), backlog);
        }
    }

    fn receive_chunk(&mut self, queue: &EventQueue<Event>, id: ConnectionId) {
        let [_, receiver] = self.roles(id);
        let connection = &self.connections[id];
        let job = Job {
            task: Task::Receive(id),
            role: receiver,
            demand: connection.message.next_receive_cost(),
        };
        self.cores.submit(queue.now(), job);
    }

    /// The receiver's thread has taken a chunk.
    pub(crate) fn on_received(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        used: SimDuration,
    ) {
        let message = &mut self.connections[id].message;
        if message.transfer.is_notice() {
            return self.on_notice(queue, id, used);
        }
        message.receive_used += used;
        let goes_on = message.take();
        if goes_on {
            self.tell_backlog(queue, id);
            self.receive_chunk(queue, id);
        }
        self.cut_through(queue, id);
        if !goes_on && self.connections[id].message.is_received() {
            self.thread_done(queue, id);
            self.add_client_core_time(id, Leg::Reply);
            self.record_received(id, queue);
            self.connections[id].done = queue.now();
            self.received_whole(queue, id);
        }
    }

    /// Counts the core time of a message that the client itself has sent or received.
    fn add_client_core_time(&mut self, id: ConnectionId, leg: Leg) {
        let connection = &mut self.connections[id];
        let is_clients = match leg {
            Leg::Request => connection.hop == 0,
            Leg::Reply => {
                let path = &self.tables.paths[connection.path];
                connection.hop == 0 || usize::from(connection.hop) == path.n_hops
            }
        };
        if is_clients && connection.leg == leg && connection.branch == 0 {
            connection.client_core_time += match leg {
                Leg::Request => connection.message.send_used,
                Leg::Reply => connection.message.receive_used,
            };
        }
    }

    fn record_sent(&mut self, id: ConnectionId) {
        let connection = &self.connections[id];
        let message = &connection.message;
        let [sender, _] = self.ends(id);
        let part = Part {
            cpu: message.send_used,
            ..Part::of_message(SpanName::Send, connection, sender)
        };
        let at = At {
            ready: message.ready,
            start: message.start,
            end: message.handed_over,
        };
        let stage = self.tables.hop(connection).to;
        self.record.part(connection, stage, part, at);
    }

    fn record_received(&mut self, id: ConnectionId, queue: &EventQueue<Event>) {
        let connection = &self.connections[id];
        let message = &connection.message;
        let [_, receiver] = self.ends(id);
        let stage = self.tables.hop(connection).to;
        let wire = At {
            ready: message.handed_over,
            start: message.handed_over,
            end: message.handed_over.max(message.arrived),
        };
        let part = Part::of_message(SpanName::Wire, connection, receiver);
        self.record.part(connection, stage, part, wire);
        let taken = At {
            ready: message.arrived,
            start: message.first_taken,
            end: queue.now(),
        };
        let part = Part {
            cpu: message.receive_used,
            ..Part::of_message(SpanName::Receive, connection, receiver)
        };
        self.record.part(connection, stage, part, taken);
    }

    /// The hosts of the sender and the receiver of the connection's message.
    fn ends(&self, id: ConnectionId) -> [HostId; 2] {
        self.roles(id).map(|role| self.tables.roles[role].host)
    }

    /// The sender and the receiver of the connection's message.
    pub(crate) fn roles(&self, id: ConnectionId) -> [RoleId; 2] {
        let connection = &self.connections[id];
        let [near, far] = self.ends[connection.ends + usize::from(connection.hop)];
        match connection.leg {
            Leg::Request => [near, far],
            Leg::Reply => [far, near],
        }
    }
}

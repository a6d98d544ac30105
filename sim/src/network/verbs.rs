//! A message between network adapters.
//!
//! The sender's thread posts it. The adapter takes it when it is done with those before (its message
//! rate), and `nic-latency` later has it; where the payload did not come with the post, inline, the
//! first byte is there `dma-read-latency` after that. Then the adapter reads burst by burst, puts each
//! on the wire with the headers of its packets, and the receiver's adapter writes it: the three
//! overlap, so that a long message takes the latencies, a burst at each end, and its bytes at the rate
//! of the slowest of the three. `nic-latency` after the last burst is written the receiver's thread
//! learns of it. No core has a part in any byte.
//!
//! With `read` the sender posts a notice of [`NOTICE`] bytes, inline, and the receiver's thread, when
//! it has that, posts a read: a packet without payload that goes back, on which the sender's adapter
//! reads and sends as above, without its core. A `send` takes as long as a write: adapters have fetched
//! the receiver's buffers ahead.
//!
//! Over GPUDirect RDMA the engine at the far end moves bursts over the link of the GPU, where they
//! share it with copies, at no more than its own PCIe bandwidth times a factor of the way between the
//! two. What is in the memory of a GPU is never inline.
//!
//! What is left out: registration, which is done before the first request; the sender's own
//! completions, which nobody waits for; flow control, loss and retransmission; the adapter's caches of
//! queue pairs and of address translations.

use schema::run::Leg;
use schema::scenario::{Transport, Verb};
use schema::units::{Bytes, SimDuration};

use super::nic::token;
use super::{Message, Side};
use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::gpu::Direction;
use crate::ids::{ConnectionId, NicId};
use crate::pipeline::Pipeline;
use crate::stations::{Job, Task};
use crate::tables::{GpuMemory, NicRow};

/// Bytes of the notice before a read: address, key and length of what is to be read.
const NOTICE: Bytes = Bytes(16);

/// How far a message between network adapters is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transfer {
    what: What,
    /// Bursts that the sender's adapter has read, that have arrived, and that are written.
    n_read: u64,
    n_arrived: u64,
    n_written: u64,
}

/// What is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum What {
    /// The message.
    #[default]
    Payload,
    /// The notice that it can be read.
    Notice,
    /// The receiver's wish to read it.
    Wish,
}

impl Transfer {
    /// Nothing of the message has been moved; with `read`, the first to go is a notice.
    pub(super) fn new(verb: Verb) -> Transfer {
        Transfer {
            what: match verb {
                Verb::WriteWithImmediate | Verb::Send => What::Payload,
                Verb::Read => What::Notice,
            },
            ..Transfer::default()
        }
    }

    /// Whether what the receiver has is a notice.
    pub(super) fn is_notice(&self) -> bool {
        self.what == What::Notice
    }
}

impl Pipeline<'_> {
    fn verb(&self, id: ConnectionId) -> Verb {
        let verbs = self.tables.hop(&self.connections[id]).verbs;
        verbs.expect("the hop is over network adapters").verb
    }

    /// The adapters of the sender and the receiver of the connection's message.
    fn nics(&self, id: ConnectionId) -> [NicId; 2] {
        self.roles(id).map(|role| {
            let nic = self.tables.roles[role].nic;
            nic.expect("the hop is over network adapters")
        })
    }

    fn nic_row(&self, nic: NicId) -> NicRow {
        self.tables.nics[nic]
    }

    /// The memory of the GPU at one end of the connection's message, if it is there. Nothing is there
    /// of an empty message.
    fn gpu_memory(&self, id: ConnectionId, side: Side) -> Option<GpuMemory> {
        let connection = &self.connections[id];
        if self.tables.hop(connection).over != Transport::Gdr {
            return None;
        }
        let [_, far] = self.ends[connection.ends + usize::from(connection.hop)];
        let [requests, replies] = self.tables.roles[far].memory?;
        match (connection.leg, side) {
            _ if connection.message.bytes.0 == 0 => None,
            (Leg::Request, Side::Write) => Some(requests),
            (Leg::Reply, Side::Read) => Some(replies),
            _ => None,
        }
    }

    /// The sender's thread has posted the message, or the notice of it.
    pub(super) fn posted(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let [nic, _] = self.nics(id);
        let row = self.nic_row(nic);
        let fetch = match self.connections[id].message.transfer.what {
            What::Payload if !self.is_inline(id) => row.dma_read_latency,
            _ => SimDuration::ZERO,
        };
        let taken = self.nics[nic].take(queue.now(), row.gap);
        queue.schedule_at(taken + row.latency + fetch, Event::Posted(self.ticket(id)));
    }

    /// Whether the payload of the connection's message goes to the adapter with the post.
    fn is_inline(&self, id: ConnectionId) -> bool {
        let message = &self.connections[id].message;
        let [nic, _] = self.nics(id);
        let hop_reads = self.verb(id) == Verb::Read;
        !hop_reads
            && message.bytes.0 <= self.nic_row(nic).inline_limit
            && self.gpu_memory(id, Side::Read).is_none()
    }

    /// An adapter begins to move what has been posted.
    pub(crate) fn on_posted(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let [nic, receiver] = self.nics(id);
        match self.connections[id].message.transfer.what {
            What::Notice => {
                let size = self.nic_row(nic).on_wire(NOTICE);
                self.cross(queue, id, size);
            }
            What::Wish => {
                let size = self.nic_row(receiver).on_wire(Bytes(0));
                self.cross_back(queue, id, size);
            }
            What::Payload if self.is_inline(id) => {
                let row = self.nic_row(nic);
                let bytes = self.connections[id].message.bytes;
                for index in 0..row.n_bursts(bytes) {
                    self.connections[id].message.transfer.n_read += 1;
                    self.cross(queue, id, row.on_wire(row.burst_of(bytes, index)));
                }
            }
            What::Payload => self.join_engine(queue, nic, Side::Read, id),
        }
    }

    /// The next burst of the connection's message joins the line of an adapter's engine.
    fn join_engine(
        &mut self,
        queue: &mut EventQueue<Event>,
        nic: NicId,
        side: Side,
        id: ConnectionId,
    ) {
        if self.nics[nic].engine(side).join(id) {
            self.start_burst(queue, nic, side);
        }
    }

    /// An adapter's engine begins with the burst that it is to move.
    fn start_burst(&mut self, queue: &mut EventQueue<Event>, nic: NicId, side: Side) {
        let id = self.nics[nic].engine(side).current();
        let [sender, _] = self.nics(id);
        let message = &self.connections[id].message;
        let index = match side {
            Side::Read => message.transfer.n_read,
            Side::Write => message.transfer.n_written,
        };
        let size = self.nic_row(sender).burst_of(message.bytes, index);
        let Some(memory) = self.gpu_memory(id, side) else {
            let at = queue.now() + self.nic_row(nic).dma_time(size);
            return queue.schedule_at(at, Event::Moved { nic, side });
        };
        let direction = match side {
            Side::Read => Direction::D2h,
            Side::Write => Direction::H2d,
        };
        let token = token(nic, side);
        (self.gpus).move_by_bus(queue.now(), &memory, direction, size.0, token);
    }

    /// An adapter's engine has moved a burst.
    pub(crate) fn on_moved(&mut self, queue: &mut EventQueue<Event>, nic: NicId, side: Side) {
        let engine = self.nics[nic].engine(side);
        let id = engine.current();
        match side {
            _ if engine.take_void() => {}
            Side::Read => self.on_read(queue, nic, id),
            Side::Write => self.on_written(queue, nic, id),
        }
        if self.nics[nic].engine(side).done().is_some() {
            self.start_burst(queue, nic, side);
        }
    }

    fn on_read(&mut self, queue: &mut EventQueue<Event>, nic: NicId, id: ConnectionId) {
        let row = self.nic_row(nic);
        let message = &mut self.connections[id].message;
        let (bytes, index) = (message.bytes, message.transfer.n_read);
        message.transfer.n_read += 1;
        if message.transfer.n_read < row.n_bursts(bytes) {
            self.nics[nic].engine(Side::Read).join(id);
        }
        self.cross(queue, id, row.on_wire(row.burst_of(bytes, index)));
    }

    fn on_written(&mut self, queue: &mut EventQueue<Event>, nic: NicId, id: ConnectionId) {
        let [sender, _] = self.nics(id);
        let n_bursts = self
            .nic_row(sender)
            .n_bursts(self.connections[id].message.bytes);
        let transfer = &mut self.connections[id].message.transfer;
        transfer.n_written += 1;
        if transfer.n_written == n_bursts {
            let at = queue.now() + self.nic_row(nic).latency;
            queue.schedule_at(at, Event::Completed(self.ticket(id)));
        }
    }

    /// A burst of the connection's message has reached the receiver's adapter, or what precedes a read
    /// the adapter that it is for.
    pub(super) fn on_burst(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let now = queue.now();
        let [sender, receiver] = self.nics(id);
        match self.connections[id].message.transfer.what {
            What::Notice => {
                let at = now + self.nic_row(receiver).latency;
                queue.schedule_at(at, Event::Completed(self.ticket(id)));
            }
            What::Wish => {
                self.connections[id].message.transfer.what = What::Payload;
                let row = self.nic_row(sender);
                let at = now + row.latency + row.dma_read_latency;
                queue.schedule_at(at, Event::Posted(self.ticket(id)));
            }
            What::Payload => {
                let is_first = self.connections[id].message.transfer.n_arrived == 0;
                self.connections[id].message.transfer.n_arrived += 1;
                if is_first {
                    let [sender, receiver] = self.roles(id);
                    self.hold(id, sender, receiver);
                }
                self.join_engine(queue, receiver, Side::Write, id);
            }
        }
    }

    /// The receiver's adapter has the connection's message in memory, or a notice of it: a thread takes
    /// it.
    pub(crate) fn on_completed(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let now = queue.now();
        self.end_poll(now, id);
        let message = &mut self.connections[id].message;
        if !message.transfer.is_notice() {
            message.arrive_whole(now);
        }
        let [_, receiver] = self.roles(id);
        if self.want_thread(now, receiver, id).is_some() {
            self.take_completion(queue, id);
        }
    }

    /// A thread takes what the adapter has for the connection.
    pub(super) fn take_completion(&mut self, queue: &EventQueue<Event>, id: ConnectionId) {
        if !self.connections[id].message.transfer.is_notice() {
            return self.receive_whole(queue, id);
        }
        let now = queue.now();
        let connection = &self.connections[id];
        let hop = self.tables.sources(connection);
        let leg = connection.leg as usize;
        let ask = hop.ask.expect("only what is read has a notice")[leg];
        let completion = hop.receive[leg];
        let [_, role] = self.roles(id);
        let mut demand = SimDuration::ZERO;
        for source in [completion, ask] {
            let past = self.cores.past(now, role);
            demand += self.costs.draw(source, Amount::one(NOTICE), past);
        }
        let task = Task::Receive(id);
        self.cores.submit(now, Job { task, role, demand });
    }

    /// The receiver's thread has the notice and has posted a read.
    pub(super) fn on_notice(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        used: SimDuration,
    ) {
        let now = queue.now();
        let message = &mut self.connections[id].message;
        message.receive_used += used;
        message.transfer.what = What::Wish;
        let [_, nic] = self.nics(id);
        let row = self.nic_row(nic);
        let taken = self.nics[nic].take(now, row.gap);
        queue.schedule_at(taken + row.latency, Event::Posted(self.ticket(id)));
        self.thread_done(queue, id);
        let connection = &self.connections[id];
        self.poll(now, id, connection.hop, connection.leg);
    }

    /// Whether the sender's adapter has read all of the connection's message.
    pub(crate) fn is_read(&self, id: ConnectionId) -> bool {
        let [nic, _] = self.nics(id);
        let message = &self.connections[id].message;
        let n_bursts = self.nic_row(nic).n_bursts(message.bytes);
        message.transfer.what == What::Payload && message.transfer.n_read == n_bursts
    }

    /// Whether the payload of the connection's message goes to or from the memory of a GPU.
    pub(super) fn is_by_gdr(&self, id: ConnectionId) -> bool {
        self.tables.hop(&self.connections[id]).over == Transport::Gdr
    }
}

impl Message {
    /// Most bytes that a message between network adapters hands to its thread at once: all.
    pub(super) const WHOLE: Bytes = Bytes(u64::MAX);
}

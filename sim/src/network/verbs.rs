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
//! Memory is registered before the first request, or that of each message before it is posted. An
//! adapter that keeps the contexts of so many queue pairs fetches others when a message of theirs sets
//! out or arrives, in place of that which was used least recently.
//!
//! What is left out: the sender's own completions, which nobody waits for; flow control, loss and
//! retransmission; the adapter's cache of address translations.

use schema::ids::Id;
use schema::run::Leg;
use schema::scenario::{Transport, Verb};
use schema::units::{Bytes, SimDuration};

use super::nic::{Pair, token};
use super::wire::Parcel;
use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::gpu::Access;
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
    reads: Reads,
    /// Whether what has arrived waits until the adapter has the queue pair's context.
    waits_for_context: bool,
}

/// What the sender's adapter does about the next burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Reads {
    /// It reads it in its turn, or has not been told to.
    #[default]
    GoesOn,
    /// It waits until that is there.
    Waits,
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
        verbs
            .expect("the hop is over network adapters")
            .options
            .verb
    }

    /// The adapters of the sender and the receiver of the connection's message.
    pub(super) fn nics(&self, id: ConnectionId) -> [NicId; 2] {
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
    fn gpu_memory(&self, id: ConnectionId, access: Access) -> Option<GpuMemory> {
        let connection = &self.connections[id];
        if self.tables.hop(connection).over != Transport::Gdr {
            return None;
        }
        let [_, far] = self.ends[connection.ends + usize::from(connection.hop)];
        let [requests, replies] = self.tables.roles[far].memory?;
        match (connection.leg, access) {
            _ if connection.message.bytes.0 == 0 => None,
            (Leg::Request, Access::Write) => Some(requests),
            (Leg::Reply, Access::Read) => Some(replies),
            _ => None,
        }
    }

    /// The sender's adapter gets to know of the message, or of the notice of it.
    pub(super) fn ring(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let [nic, _] = self.nics(id);
        let row = self.nic_row(nic);
        let fetch = match self.connections[id].message.transfer.what {
            What::Payload if !self.is_inline(id) => row.dma_read_latency,
            _ => SimDuration::ZERO,
        };
        let taken = self.nics[nic].take(queue.now(), row.gap);
        let context = self.fetch_context(nic, id);
        queue.schedule_at(
            taken + context + row.latency + fetch,
            Event::Posted(self.ticket(id)),
        );
    }

    /// How long an adapter takes to have the context of the connection's queue pair.
    fn fetch_context(&mut self, nic: NicId, id: ConnectionId) -> SimDuration {
        let row = &self.tables.nics[nic];
        // A queue pair has two directions.
        let pair = match self.queue_pair(id) {
            Some((shared, _)) => Pair::Shared(shared.index() / 2),
            None => Pair::Of(id, self.connections[id].hop),
        };
        match row.qp_cache {
            Some(contexts) if !self.nics[nic].contexts.touch(pair, contexts) => {
                row.dma_read_latency
            }
            _ => SimDuration::ZERO,
        }
    }

    /// Whether the payload of the connection's message goes to the adapter with the post.
    fn is_inline(&self, id: ConnectionId) -> bool {
        let message = &self.connections[id].message;
        let [nic, _] = self.nics(id);
        let hop_reads = self.verb(id) == Verb::Read;
        // What is passed on goes with the post only where it was one burst.
        let is_whole =
            (self.connections[id].primary).is_none_or(|primary| self.n_bursts(primary) == 1);
        !hop_reads
            && is_whole
            && message.bytes.0 <= self.nic_row(nic).inline_limit
            && self.gpu_memory(id, Access::Read).is_none()
    }

    /// An adapter begins to move what has been posted.
    pub(crate) fn on_posted(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let [nic, receiver] = self.nics(id);
        match self.connections[id].message.transfer.what {
            What::Notice => {
                let parcel = self.nic_row(nic).parcel(NOTICE, Bytes(0));
                self.cross(queue, id, parcel);
            }
            What::Wish => {
                let row = self.nic_row(receiver);
                self.cross_back(queue, id, row.parcel(Bytes(0), row.read_request_header));
            }
            What::Payload if self.is_inline(id) => {
                let row = self.nic_row(nic);
                let bytes = self.connections[id].message.bytes;
                for index in 0..row.n_bursts(bytes) {
                    self.connections[id].message.transfer.n_read += 1;
                    self.cross(queue, id, self.burst_parcel(id, &row, index));
                }
            }
            What::Payload => {
                self.connections[id].message.transfer.reads = Reads::Waits;
                self.read_on(queue, id);
            }
        }
    }

    /// The next burst of the connection's message joins the line of an adapter's engine.
    fn join_engine(
        &mut self,
        queue: &mut EventQueue<Event>,
        nic: NicId,
        access: Access,
        id: ConnectionId,
    ) {
        if self.nics[nic].engine(access).join(id) {
            self.start_burst(queue, nic, access);
        }
    }

    /// An adapter's engine begins with the burst that it is to move.
    fn start_burst(&mut self, queue: &mut EventQueue<Event>, nic: NicId, access: Access) {
        let id = self.nics[nic].engine(access).current();
        let [sender, _] = self.nics(id);
        let message = &self.connections[id].message;
        let index = match access {
            Access::Read => message.transfer.n_read,
            Access::Write => message.transfer.n_written,
        };
        let size = self.nic_row(sender).burst_of(message.bytes, index);
        let (now, token) = (queue.now(), token(nic, access));
        if let Some(memory) = self.gpu_memory(id, access) {
            return (self.gpus).move_to_gpu(now, &memory, access, size.0, token);
        }
        let row = self.nic_row(nic);
        let speed = row
            .pcie
            .map_or(f64::INFINITY, |rate| rate.as_bytes_per_s() as f64);
        let is_shared = (self.gpus).move_to_host(now, &row, access, size.0, speed, token);
        if !is_shared {
            let at = now + row.dma_time(size);
            queue.schedule_at(at, Event::Moved { nic, access });
        }
    }

    /// An adapter's engine has moved a burst.
    pub(crate) fn on_moved(&mut self, queue: &mut EventQueue<Event>, nic: NicId, access: Access) {
        let engine = self.nics[nic].engine(access);
        let id = engine.current();
        match access {
            _ if engine.take_void() => {}
            Access::Read => self.on_read(queue, nic, id),
            Access::Write => self.on_written(queue, nic, id),
        }
        if self.nics[nic].engine(access).done().is_some() {
            self.start_burst(queue, nic, access);
        }
    }

    fn on_read(&mut self, queue: &mut EventQueue<Event>, nic: NicId, id: ConnectionId) {
        let row = self.nic_row(nic);
        let message = &mut self.connections[id].message;
        let (bytes, index) = (message.bytes, message.transfer.n_read);
        message.transfer.n_read += 1;
        if message.transfer.n_read < row.n_bursts(bytes) {
            if self.is_burst_there(id) {
                self.nics[nic].engine(Access::Read).join(id);
            } else {
                self.connections[id].message.transfer.reads = Reads::Waits;
            }
        }
        self.cross(queue, id, self.burst_parcel(id, &row, index));
    }

    /// Burst `index` of the connection's message on the wire; the first has the headers of its verb.
    fn burst_parcel(&self, id: ConnectionId, row: &NicRow, index: u64) -> Parcel {
        let bytes = self.connections[id].message.bytes;
        let extra = match index {
            0 => row.verb_headers[self.verb(id) as usize],
            _ => Bytes(0),
        };
        row.parcel(row.burst_of(bytes, index), extra)
    }

    fn on_written(&mut self, queue: &mut EventQueue<Event>, nic: NicId, id: ConnectionId) {
        // A thread that passes the message on learns of its first burst, others of the last.
        let told = match self.cut_to(id) {
            Some(_) => 1,
            None => self.n_bursts(id),
        };
        let transfer = &mut self.connections[id].message.transfer;
        transfer.n_written += 1;
        if transfer.n_written == told {
            let at = queue.now() + self.nic_row(nic).latency;
            queue.schedule_at(at, Event::Completed(self.ticket(id)));
        }
        if self.connections[id].message.is_passed_on {
            self.cut_through(queue, id);
        }
    }

    /// Number of bursts of the connection's message.
    fn n_bursts(&self, id: ConnectionId) -> u64 {
        let [sender, _] = self.nics(id);
        let row = &self.tables.nics[sender];
        row.n_bursts(self.connections[id].message.bytes)
    }

    /// Bytes of the connection's message that are in the memory of its receiver.
    pub(super) fn written(&self, id: ConnectionId) -> u64 {
        let [sender, _] = self.nics(id);
        let message = &self.connections[id].message;
        let burst = self.tables.nics[sender].burst;
        (message.transfer.n_written * burst).min(message.bytes.0)
    }

    /// Whether the next burst to be read of the connection's message is in memory.
    fn is_burst_there(&self, id: ConnectionId) -> bool {
        let [nic, _] = self.nics(id);
        let burst = self.tables.nics[nic].burst;
        let n_read = self.connections[id].message.transfer.n_read;
        self.is_there(id, (n_read + 1) * burst)
    }

    /// The sender's adapter, if it waits for the next burst of the connection's message and that is
    /// there, reads it.
    pub(super) fn read_on(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let waits = self.connections[id].message.transfer.reads == Reads::Waits;
        if waits && self.is_burst_there(id) {
            self.connections[id].message.transfer.reads = Reads::GoesOn;
            let [nic, _] = self.nics(id);
            self.join_engine(queue, nic, Access::Read, id);
        }
    }

    /// A burst of the connection's message has reached the receiver's adapter, or what precedes a read
    /// the adapter that it is for.
    pub(super) fn on_burst(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let now = queue.now();
        let [sender, receiver_nic] = self.nics(id);
        match self.connections[id].message.transfer.what {
            What::Notice => {
                let at = now + self.nic_row(receiver_nic).latency;
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
                    let context = self.fetch_context(receiver_nic, id);
                    if context > SimDuration::ZERO {
                        self.connections[id].message.transfer.waits_for_context = true;
                        queue.schedule_in(context, Event::ContextFetched(self.ticket(id)));
                    }
                }
                if self.connections[id].message.transfer.n_arrived == self.n_bursts(id) {
                    self.acknowledge_work(queue, id);
                }
                if !self.connections[id].message.transfer.waits_for_context {
                    self.join_engine(queue, receiver_nic, Access::Write, id);
                }
            }
        }
    }

    /// The receiver's adapter has the context of the connection's queue pair, and goes on with what
    /// has arrived.
    pub(crate) fn on_context_fetched(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let [_, nic] = self.nics(id);
        let transfer = &mut self.connections[id].message.transfer;
        transfer.waits_for_context = false;
        for _ in 0..transfer.n_arrived {
            self.join_engine(queue, nic, Access::Write, id);
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

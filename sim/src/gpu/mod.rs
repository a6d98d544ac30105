//! A GPU that several streams and processes share.
//!
//! # What is modelled
//! - **Streams** ([`Gpu::add_stream`]): operations of a stream run one after the other. A copy or a
//!   kernel joins the line of its engine when it heads its stream (Amert et al., RTSS 2017).
//! - **Copies**: one engine a direction, first come first served over all streams and processes of a
//!   device, whatever their priorities. A copy is set up, then its bytes move over the PCIe link,
//!   which all engines share with other devices on the bus, max-min fairly, each direction by itself
//!   but for a penalty while both are busy ([`LinkSpec`]).
//! - **The host** ([`HostSpec`]): copies from and to its memory, and what other devices move there,
//!   share its root complex, each direction by itself, and the bandwidth of the memory.
//! - **Peer copies** occupy an engine of the GPU that they leave. Over NVLink they share nothing;
//!   over PCIe ([`Gpu::joined`]) they move out over its link and in over the other's at one rate,
//!   and share both, max-min fairly over all links together.
//! - **Blocks**: an execution queue a priority in each process. Only the head of the highest that is
//!   not empty dispatches blocks; a kernel leaves its queue when its last block is dispatched, so the
//!   next one gets what it left over; a block runs to its end. A block goes to the multiprocessor
//!   with the most threads free that has room for it, in threads, blocks, registers and shared memory.
//! - **Hardware queues**: the streams of a process beyond their number share them in turn, and what
//!   is behind the head of such a queue waits until the head waits for nothing but room.
//! - **Phases** ([`Phase`]): what stands for many short kernels divides the threads that no block
//!   holds. A net of phases costs a few events, one of kernels some for each.
//! - **Memory bandwidth** is divided max-min fairly; what gets less than it asks for slows down. See
//!   [`DeviceSpec`] for what threads can draw, and for what else slows those that run together.
//! - **Processes** take turns of a time slice, with nothing computed during a switch and nobody
//!   waiting for a process that has nothing to compute; what is interrupted is resumed (compute
//!   preemption of Pascal and later). Clients of the **Multi-Process Service** compute at the same
//!   time, each with queues of its own, within their caps. The rule of priorities holds between them,
//!   by level and then by the priority of the stream, since the driver maps the priorities of a
//!   client's streams to a range of the GPU's (NVIDIA's documentation of MPS, 'client priority
//!   level'): a block waits while one of higher priority of any client lacks room, though not while a
//!   cap holds that back. Heads of equal priority in different clients hold each other back in
//!   nothing. Instances of a partitioned GPU are devices
//!   of their own that share the link.
//!
//! # What is left out
//! All of PCIe but the links of the GPUs and the root complex towards memory: switches, and the root
//! complex between devices, as if each had room for all that its links carry, and reached every
//! other; the links of NICs, but for the speed that [`Gpu::move_by_bus`] is told; what cores read and
//! write in the memory of the host. NVLink beyond the engine's own pace.
//!
//! Caches but for their part in [`Phase::intensity`]; clusters of multiprocessors; the order in which
//! threads of a block end; what the default stream's own kernels wait for; the time a preemption
//! takes, other than as the switch; demand paging.
//!
//! # Order
//! At one instant: heads of streams, the first submitted first; copies that end; then on each device
//! switches that end, steps that end in the order in which they began, and steps that the host
//! has launched; all this again, until nothing more is due; then turns that begin, and blocks, of the
//! kernels queued first. So what follows in a stream at once keeps the turn of its process, and its
//! blocks get the room of their predecessors before those of lower priority.
//!
//! Rules and figures are collected, with their sources, in the profiles in `scenarios/profiles`.

mod copies;
mod device;
mod paths;
mod progress;
mod rates;
mod sms;
mod spec;
mod work;

use std::collections::{BTreeMap, VecDeque};

use schema::scenario::Socket;
use schema::units::SimTime;

pub use copies::{CopySpec, LinkSpec};
pub use spec::{DeviceSpec, GpuSpec, HostSpec, MpsSpec, ProcessSpec};
pub use work::{Access, BlockShape, Direction, Kernel, Memory, Op, Phase, Run, Step};

use copies::{Copies, Moved};
use device::{Device, Note};

/// A process of a [`Gpu`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProcessId(usize);

/// A stream of a [`Gpu`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(usize);

impl StreamId {
    /// Its number among the streams of its GPU, in the order in which they were added.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// An operation that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done<T> {
    /// Its name.
    pub token: T,
    /// When it headed its stream.
    pub ready: SimTime,
    /// When its engine took it.
    pub start: SimTime,
    /// When it ended.
    pub end: SimTime,
}

/// A step of a run that has ended, for timelines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelSpan {
    /// Where it ran.
    pub stream: StreamId,
    /// Its number in its run.
    pub step: u32,
    /// When the step before it had ended.
    pub ready: SimTime,
    /// When its first block started, or its phase.
    pub start: SimTime,
    /// When its last block ended, or its phase.
    pub end: SimTime,
}

/// A GPU: its link and copy engines, and its multiprocessors, as one device or partitioned. Or several
/// of a host, if copies between them share their links ([`Gpu::joined`]); the devices of all are
/// numbered through.
///
/// It is told the time and schedules nothing. `T` names operations.
#[derive(Clone, Debug)]
pub struct Gpu<T> {
    copies: Copies,
    devices: Vec<Device>,
    processes: Vec<ProcessRow>,
    streams: Vec<StreamRow<T>>,
    next_seq: u64,
    done: VecDeque<Done<T>>,
    moved_by_bus: VecDeque<u64>,
    /// Streams whose head may be able to start.
    woken: Vec<StreamId>,
    /// Scratch.
    moved: Vec<Moved>,
}

#[derive(Clone, Debug)]
struct ProcessRow {
    device: usize,
    /// Its number on the device.
    number: usize,
    streams: Vec<StreamId>,
    n_queues: usize,
    /// What has been submitted and has not ended, and whether it is on the default stream; empty
    /// while nothing ever was on that.
    pending: BTreeMap<u64, bool>,
    has_default_stream: bool,
    /// The hardware queues, of runs that still hold back what is behind them; empty while every
    /// stream has one to itself.
    queues: Vec<VecDeque<(StreamId, u64)>>,
}

#[derive(Clone, Debug)]
struct StreamRow<T> {
    process: usize,
    lane: usize,
    ops: VecDeque<Queued<T>>,
    is_running: bool,
}

#[derive(Clone, Debug)]
struct Queued<T> {
    op: Op,
    token: T,
    priority: usize,
    submitted: SimTime,
    ready: Option<SimTime>,
    seq: u64,
}

impl<T: Copy> Gpu<T> {
    /// A GPU with nothing on it, of one device, or of an instance each of a partitioned one.
    ///
    /// # Panics
    /// If there is no device, or one has no threads, no waves, no hardware queue, no level of priority
    /// or a time slice of zero.
    pub fn new(link: LinkSpec, devices: &[DeviceSpec]) -> Gpu<T> {
        let gpu = GpuSpec {
            link,
            socket: Socket::Near,
            devices: devices.to_vec(),
        };
        Gpu::joined(HostSpec::UNLIMITED, &[gpu])
    }

    /// GPUs of a host with nothing on them, which share its memory and its root complex, and between
    /// which copies may go over PCIe ([`CopySpec::over_pcie_to`]). Of a host without any, there is
    /// only what other devices move ([`Gpu::move_by_bus`]).
    ///
    /// # Panics
    /// As [`Gpu::new`].
    pub fn joined(host: HostSpec, gpus: &[GpuSpec]) -> Gpu<T> {
        let mut copies = Copies::new(host);
        let mut devices = Vec::new();
        for gpu in gpus {
            assert!(!gpu.devices.is_empty(), "a GPU has a device");
            copies.add_gpu(gpu.link, gpu.socket, gpu.devices.len());
            for spec in &gpu.devices {
                assert!(
                    spec.threads() > 0
                        && spec.waves_per_kernel > 0
                        && spec.hardware_queues > 0
                        && spec.priority_levels > 0
                        && spec.time_slice.as_ps() > 0,
                    "a device has threads, waves, a hardware queue, a level of priority and a time slice"
                );
                devices.push(Device::new(*spec));
            }
        }
        Gpu {
            copies,
            devices,
            processes: Vec::new(),
            streams: Vec::new(),
            next_seq: 0,
            done: VecDeque::new(),
            moved_by_bus: VecDeque::new(),
            woken: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Adds a process on a device.
    pub fn add_process(&mut self, device: usize, process: &ProcessSpec) -> ProcessId {
        let number = self.devices[device].add_process(process);
        self.processes.push(ProcessRow {
            device,
            number,
            streams: Vec::new(),
            n_queues: self.devices[device].spec.hardware_queues as usize,
            pending: BTreeMap::new(),
            has_default_stream: false,
            queues: Vec::new(),
        });
        ProcessId(self.processes.len() - 1)
    }

    /// Adds a stream to a process; to be done before anything is submitted.
    pub fn add_stream(&mut self, process: ProcessId) -> StreamId {
        let id = StreamId(self.streams.len());
        let row = &mut self.processes[process.0];
        row.streams.push(id);
        if row.streams.len() > row.n_queues {
            row.queues.resize(row.n_queues, VecDeque::new());
        }
        let lane = self.devices[row.device].add_lane(id, row.number);
        self.streams.push(StreamRow {
            process: process.0,
            lane,
            ops: VecDeque::new(),
            is_running: false,
        });
        id
    }

    /// Keeps the span of every step of every run from now on; see [`Gpu::take_kernels`].
    pub fn keep_kernels(&mut self) {
        for device in &mut self.devices {
            device.keeps_kernels = true;
        }
    }

    /// The spans of steps that have ended since the last call.
    pub fn take_kernels(&mut self) -> Vec<KernelSpan> {
        let devices = self.devices.iter_mut();
        devices
            .flat_map(|device| std::mem::take(&mut device.kernels))
            .collect()
    }

    /// The operation joins the end of its stream at the instant `now`. `priority` is CUDA's: 0, or
    /// less for what goes first; levels that the device lacks are cut to those it has.
    ///
    /// Takes effect with the next [`Gpu::settle`].
    pub fn submit(&mut self, now: SimTime, stream: StreamId, priority: i32, op: Op, token: T) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let process = self.streams[stream.0].process;
        let row = &mut self.processes[process];
        let levels = self.devices[row.device].spec.priority_levels as i64;
        let priority = (levels - 1 + i64::from(priority)).clamp(0, levels - 1);
        if matches!(op, Op::DefaultStreamCopy(_)) && !row.has_default_stream {
            row.has_default_stream = true;
            for stream in &row.streams {
                let ops = self.streams[stream.0].ops.iter();
                row.pending.extend(ops.map(|queued| (queued.seq, false)));
            }
        }
        if row.has_default_stream {
            let is_default = matches!(op, Op::DefaultStreamCopy(_));
            row.pending.insert(seq, is_default);
        }
        if let (Op::Run(_), false) = (&op, row.queues.is_empty()) {
            let place = row.streams.iter().position(|s| *s == stream);
            let queue = place.expect("a stream is its process's") % row.n_queues;
            row.queues[queue].push_back((stream, seq));
        }
        self.streams[stream.0].ops.push_back(Queued {
            op,
            token,
            priority: priority as usize,
            submitted: now,
            ready: None,
            seq,
        });
        self.woken.push(stream);
    }

    /// Another device on the bus, such as a NIC, starts to move `bytes` to a memory or from it, at no
    /// more than `speed` bytes per second, nor than what it shares; see [`Gpu::pop_moved`].
    ///
    /// To or from a device it shares the device's link with its copies, peer copies over PCIe among
    /// them, and with other such moves; what else is between the two is in `speed`: a NIC's own link,
    /// a switch, a root complex that slows reads from a GPU (NVIDIA's documentation of GPUDirect
    /// RDMA), what joins sockets. To or from the host's memory it shares the root complex, the memory's
    /// bandwidth and what joins sockets with the copies of all GPUs and other such moves, and takes no
    /// GPU's link.
    pub fn move_by_bus(
        &mut self,
        now: SimTime,
        memory: Memory,
        access: Access,
        bytes: u64,
        speed: f64,
        token: u64,
    ) {
        self.copies
            .move_by_bus(now, memory, access, bytes, speed, token);
    }

    /// When something changes by itself; `None` if nothing will.
    pub fn next(&self) -> Option<SimTime> {
        let devices = self.devices.iter().filter_map(Device::next);
        devices.chain(self.copies.next()).min()
    }

    /// Lets everything happen that is due at the instant `now`, which may not be later than
    /// [`Gpu::next`] nor earlier than before.
    ///
    /// # Panics
    /// If a kernel that starts has no blocks, or a block for which no multiprocessor has room; if a
    /// copy from or to the host leads to a device.
    pub fn settle(&mut self, now: SimTime) {
        loop {
            self.settle_ends(now);
            let mut has_started = false;
            for device in &mut self.devices {
                has_started |= device.start(now);
            }
            if !has_started {
                break;
            }
        }
        for device in &mut self.devices {
            device.set_rates();
        }
    }

    /// The first half of [`Gpu::settle`]: what ends at the instant, without turns and blocks that begin. What
    /// is submitted between the two follows at once, as if it had been queued before.
    ///
    /// # Panics
    /// As that.
    pub fn settle_ends(&mut self, now: SimTime) {
        loop {
            self.start_heads(now);
            self.copies.settle(now, &mut self.moved);
            for device in &mut self.devices {
                device.end_due(now);
            }
            self.take_moved(now);
            self.take_notes(now);
            if self.woken.is_empty() {
                return;
            }
        }
    }

    /// An operation that has ended, the first of those not taken yet.
    pub fn pop_done(&mut self) -> Option<Done<T>> {
        self.done.pop_front()
    }

    /// A move over the bus that has ended.
    pub fn pop_moved(&mut self) -> Option<u64> {
        self.moved_by_bus.pop_front()
    }

    /// Starts the heads of all woken streams that nothing holds back, the first submitted first.
    fn start_heads(&mut self, now: SimTime) {
        let mut woken = std::mem::take(&mut self.woken);
        if woken.len() > 1 {
            let head = |id: &StreamId| self.streams[id.0].ops.front().map(|head| head.seq);
            woken.sort_unstable_by_key(head);
        }
        for id in woken.drain(..) {
            self.start_head(now, id);
        }
        self.woken = woken;
    }

    /// Starts the head of the stream, if nothing holds it back.
    fn start_head(&mut self, now: SimTime, id: StreamId) {
        let row = &mut self.streams[id.0];
        let process = &self.processes[row.process];
        let Some(head) = row.ops.front_mut() else {
            return;
        };
        if row.is_running {
            return;
        }
        head.ready.get_or_insert(now);
        if process.holds_back(head.seq, matches!(head.op, Op::DefaultStreamCopy(_))) {
            return;
        }
        let device = process.device;
        match &head.op {
            Op::Copy(copy) | Op::DefaultStreamCopy(copy) => {
                self.copies.join(now, device, id, *copy);
            }
            Op::Run(run) => {
                let is_behind = |queue: &VecDeque<(StreamId, u64)>| {
                    queue
                        .iter()
                        .position(|entry| *entry == (id, head.seq))
                        .is_some_and(|at| at > 0)
                };
                if process.queues.iter().any(is_behind) {
                    return;
                }
                let device = &mut self.devices[device];
                device.begin(now, row.lane, head.priority, run.clone(), head.submitted);
            }
        }
        row.is_running = true;
    }

    fn take_moved(&mut self, now: SimTime) {
        let mut moved = std::mem::take(&mut self.moved);
        for moved in moved.drain(..) {
            match moved {
                Moved::Bus(token) => self.moved_by_bus.push_back(token),
                Moved::Copy { stream, start } => self.end_head(now, stream, start),
            }
        }
        self.moved = moved;
    }

    fn take_notes(&mut self, now: SimTime) {
        for device in 0..self.devices.len() {
            let mut notes = std::mem::take(&mut self.devices[device].notes);
            for note in notes.drain(..) {
                match note {
                    Note::LastQueued(stream) => self.leave_queue(stream),
                    Note::Done { stream, start } => self.end_head(now, stream, start),
                }
            }
            self.devices[device].notes = notes;
        }
    }

    /// What the stream runs holds nothing back in its hardware queue any longer.
    fn leave_queue(&mut self, stream: StreamId) {
        let process = &mut self.processes[self.streams[stream.0].process];
        for queue in &mut process.queues {
            if queue.front().is_some_and(|(head, _)| *head == stream) {
                queue.pop_front();
                self.woken.extend(queue.front().map(|(next, _)| *next));
                return;
            }
        }
    }

    fn end_head(&mut self, now: SimTime, id: StreamId, start: SimTime) {
        let row = &mut self.streams[id.0];
        let head = row
            .ops
            .pop_front()
            .expect("what ended was at the head of its stream");
        row.is_running = false;
        self.done.push_back(Done {
            token: head.token,
            ready: head.ready.expect("it headed its stream"),
            start,
            end: now,
        });
        self.woken.push(id);
        let process = &mut self.processes[row.process];
        if process.has_default_stream {
            process.pending.remove(&head.seq);
            self.woken.extend(&process.streams);
        }
    }
}

impl ProcessRow {
    /// Whether the default stream holds this operation back.
    fn holds_back(&self, seq: u64, is_default: bool) -> bool {
        let mut before = self.pending.range(..seq);
        if is_default {
            before.next().is_some()
        } else {
            before.any(|(_, is_default)| *is_default)
        }
    }
}

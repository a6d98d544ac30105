//! What an instance does with a batch on a GPU.
//!
//! Its thread hands the GPU one operation after the other, each when the one before has ended, as
//! the reference framework does; it takes no time to learn of that. While a forward pass runs, the
//! thread launches its kernels, and the pass ends when both have; copies to and from pageable memory
//! likewise end when engine and core are done.

use std::sync::Arc;

use schema::ids::Id;
use schema::profile::Residual;
use schema::random::uniform;
use schema::run::SpanName;
use schema::scenario::{CopiesOf, CopyBack, HostWait, Peers, Transport};
use schema::units::{Bytes, SimDuration, SimTime};

use super::gpus::context;
use super::{Instance, Phase};
use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::gpu::{CopySpec, Direction, Done, Op, Run};
use crate::ids::{BusId, InstanceId, NetId, SourceId};
use crate::network::engine_of;
use crate::pipeline::Pipeline;
use crate::record::{At, Part};
use crate::stations::{Job, Task};
use crate::tables::{ContextRow, GpuServer};

/// Core time of a job that stands for polling; another follows if that is not enough.
const POLLING: SimDuration = SimDuration::from_ps(1_000_000_000_000);

impl Instance {
    /// An operation has ended, or a floor has passed; whether it is of a batch that is lost, which all
    /// before others are.
    fn is_of_lost(&mut self, what: usize) -> bool {
        let is_lost = self.lost_ops[what] > 0;
        let of = if is_lost {
            &mut self.lost_ops
        } else {
            &mut self.ops
        };
        of[what] -= 1;
        is_lost
    }
}

impl<'a> Pipeline<'a> {
    fn gpu_of(&self, id: InstanceId) -> (&'a GpuServer<'a>, &'a ContextRow) {
        let server = self.tables.instances[id];
        let gpu = self.tables.servers[server].gpu.as_ref();
        let context = context(self.tables, server, id).expect("the instance is on a GPU");
        (gpu.expect("the instance is on a GPU"), context)
    }

    /// The instance starts a phase of its batch on its GPU.
    pub(super) fn start_on_gpu(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: InstanceId,
        phase: Phase,
    ) {
        let (server, context) = self.gpu_of(id);
        let instance = &mut self.instances[id];
        instance.phase = phase;
        instance.start = queue.now();
        instance.used = SimDuration::ZERO;
        instance.segment = 0;
        instance.is_between = false;
        match phase {
            Phase::Dispatch | Phase::HandBack(_) => {
                unreachable!("a batch is taken and handed back by a core")
            }
            Phase::H2d(i) => self.copy(queue, id, Direction::H2d, i, context.h2d),
            Phase::D2h(i) => self.copy(queue, id, Direction::D2h, i, context.d2h),
            Phase::Preprocess => {
                let net = context
                    .preprocess
                    .expect("only raw inputs are preprocessed");
                self.run_net(queue, id, net, SimDuration::ZERO);
            }
            Phase::Inference => {
                let net = context.segments[0].net;
                let pace = self.launch(queue, id, server, context);
                self.hold_for_floor(queue, id, net);
                self.run_net(queue, id, net, pace);
            }
        }
    }

    /// Number of bytes that a copy of the phase moves.
    fn bytes_of(&self, id: InstanceId, direction: Direction, index: usize) -> Bytes {
        let (server, _) = self.gpu_of(id);
        let batch = &self.instances[id].batch;
        let requests = match server.gpu.copies {
            CopiesOf::Request => &batch[index..=index],
            CopiesOf::Batch => &batch[..],
        };
        // What comes from the memory of the GPU or goes there is not copied.
        let copied = requests.iter().filter(|connection| {
            self.tables.hop(&self.connections[**connection]).over != Transport::Gdr
        });
        let bytes = copied.map(|connection| {
            let connection = &self.connections[*connection];
            match direction {
                Direction::H2d => self.tables.input(connection).0,
                _ => self.tables.output(connection).0,
            }
        });
        Bytes(bytes.sum())
    }

    fn copy(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: InstanceId,
        direction: Direction,
        index: usize,
        source: SourceId,
    ) {
        let (server, context) = self.gpu_of(id);
        // Nothing is copied for a request of no bytes.
        let mut copies = index..self.n_copies(id);
        let last = copies.end - 1;
        let index = copies.find(|index| self.bytes_of(id, direction, *index).0 > 0);
        self.instances[id].phase = match direction {
            Direction::D2h => Phase::D2h(index.unwrap_or(last)),
            _ => Phase::H2d(index.unwrap_or(last)),
        };
        let Some(index) = index else {
            return self.next_phase(queue, id);
        };
        let bytes = self.bytes_of(id, direction, index);
        let amount = Amount::one(bytes);
        if let Some(staging) = server.staging {
            let role = self.tables.servers[self.tables.instances[id]].role;
            let demand = self
                .costs
                .draw(staging, amount, self.cores.past(queue.now(), role));
            self.help(queue, id, demand);
        }
        let copy = self.copy_spec(source, direction, bytes, None);
        let op = match (direction, server.gpu.d2h) {
            (Direction::D2h, CopyBack::DefaultStream) => Op::DefaultStreamCopy(copy),
            _ => Op::Copy(copy),
        };
        // Results leave from the GPU of the last segment.
        let segment = match direction {
            Direction::D2h => context.segments.len() - 1,
            _ => 0,
        };
        self.submit(queue.now(), id, segment, op);
    }

    fn copy_spec(
        &mut self,
        source: SourceId,
        direction: Direction,
        bytes: Bytes,
        over_pcie_to: Option<usize>,
    ) -> CopySpec {
        let law = self.tables.laws[self.tables.sources[source].law].law;
        let total = self.costs.draw_delay(source, Amount::one(bytes));
        CopySpec {
            over_pcie_to,
            ..CopySpec::by_law(law, direction, bytes.0, total)
        }
    }

    /// A core of the instance's host works beside the GPU; the phase ends when both are done.
    fn help(&mut self, queue: &EventQueue<Event>, id: InstanceId, demand: SimDuration) {
        let role = self.tables.servers[self.tables.instances[id]].role;
        let task = Task::Helper(id);
        self.cores.submit(queue.now(), Job { task, role, demand });
        self.instances[id].outstanding += 1;
        self.instances[id].helpers += 1;
    }

    /// The thread launches the kernels of all segments; the time from one step to the next.
    fn launch(
        &mut self,
        queue: &EventQueue<Event>,
        id: InstanceId,
        server: &GpuServer<'_>,
        context: &ContextRow,
    ) -> SimDuration {
        let nets = context
            .segments
            .iter()
            .map(|segment| &self.tables.nets[segment.net]);
        let n: u32 = nets.clone().map(|net| net.n_launches()).sum();
        let is_paced = nets.clone().all(|net| net.is_paced());
        let (Some(launch), true) = (server.launch, n > 0) else {
            return SimDuration::ZERO;
        };
        let role = self.tables.servers[self.tables.instances[id]].role;
        let amount = Amount {
            kernels: n,
            ..Amount::one(Bytes(0))
        };
        let demand = self
            .costs
            .draw(launch, amount, self.cores.past(queue.now(), role));
        self.help(queue, id, demand);
        if is_paced {
            SimDuration::from_ps(demand.as_ps() / u64::from(n))
        } else {
            SimDuration::ZERO
        }
    }

    /// The pass ends no earlier than the net's floor allows.
    fn hold_for_floor(&mut self, queue: &mut EventQueue<Event>, id: InstanceId, net: NetId) {
        let (requests, bytes) = self.batch_of(id);
        let row = &self.tables.nets[net];
        let floor = row
            .net
            .map_or(0.0, |net| net.floor.at(row.driver(requests, bytes)));
        if floor > 0.0 {
            let at = queue.now() + SimDuration::from_secs_f64(floor);
            queue.schedule_at(at, Event::FloorPassed(id));
            self.instances[id].outstanding += 1;
            self.instances[id].ops[1] += 1;
        }
    }

    /// Requests in the instance's batch, and bytes of their inputs.
    fn batch_of(&self, id: InstanceId) -> (u32, u64) {
        let batch = &self.instances[id].batch;
        let bytes =
            (batch.iter()).map(|connection| self.tables.input(&self.connections[*connection]).0);
        (batch.len() as u32, bytes.sum())
    }

    fn run_net(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: InstanceId,
        net: NetId,
        pace: SimDuration,
    ) {
        let (_, context) = self.gpu_of(id);
        let segment = &context.segments[self.instances[id].segment];
        let share = self.tables.gpus[segment.gpu].share(segment.device);
        let (requests, bytes) = self.batch_of(id);
        let row = &self.tables.nets[net];
        let driver = row.driver(requests, bytes);
        let used = &mut self.gpus.used[net.index()];
        used.low = used.low.min(driver);
        used.high = used.high.max(driver);
        let key = (net, requests, driver.to_bits(), share.to_bits());
        let programs = &mut self.gpus.programs;
        let steps = programs
            .entry(key)
            .or_insert_with(|| row.steps(requests, driver, share));
        let steps = Arc::clone(steps);
        if steps.is_empty() {
            // Nothing but a peer copy comes first.
            self.instances[id].outstanding += 1;
            return self.on_part_done(queue, id);
        }
        let factor = match row.net.map(|net| &net.residual) {
            None | Some(Residual::None) => 1.0,
            Some(residual) => {
                let server = self.tables.instances[id].index();
                let rng = self.gpus.noise[server].as_mut();
                residual.quantile(uniform(rng.expect("the server is on a GPU")))
            }
        };
        let run = Run {
            steps,
            factor,
            pace,
        };
        let segment = self.instances[id].segment;
        self.submit(queue.now(), id, segment, Op::Run(run));
    }

    fn submit(&mut self, now: SimTime, id: InstanceId, segment: usize, op: Op) {
        let (server, context) = self.gpu_of(id);
        let classes = self.instances[id].batch.iter().filter_map(|connection| {
            self.tables.scenario.classes[self.connections[*connection].class].stream_priority
        });
        let priority = classes.min().unwrap_or(server.gpu.priority);
        let stream = self.gpus.streams[id.index()][segment];
        let bus = self.gpus.bus_of(&context.segments[segment]);
        let row = &mut self.gpus.rows[bus];
        row.gpu.submit(now, stream, priority, op, id);
        row.has_changed = true;
        self.instances[id].outstanding += 1;
        self.instances[id].ops[0] += 1;
        self.wait_for_gpu(now, id);
    }

    /// What the GPUs of a bus were to do by now.
    pub(crate) fn on_gpus(&mut self, id: BusId, generation: u32) {
        let row = &mut self.gpus.rows[id];
        row.has_changed |= row.forecast.happens(generation);
    }

    /// A core has done its part beside the GPU.
    pub(crate) fn on_helper_done(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: InstanceId,
        used: SimDuration,
    ) {
        self.instances[id].used += used;
        self.instances[id].helpers -= 1;
        self.on_part_done(queue, id);
    }

    /// A forward pass of the instance may end.
    pub(crate) fn on_floor_passed(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        if !self.instances[id].is_of_lost(1) {
            self.on_part_done(queue, id);
        }
    }

    /// One of the things has ended that the instance's phase waits for.
    pub(crate) fn on_part_done(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        let instance = &mut self.instances[id];
        instance.outstanding -= 1;
        if instance.outstanding > 0 {
            return self.wait_for_gpu(queue.now(), id);
        }
        if std::mem::take(&mut instance.spins) {
            let role = self.tables.servers[self.tables.instances[id]].role;
            let used = self.cores.cancel(queue.now(), role, Task::Spin(id));
            self.instances[id].used += used;
        }
        let used = self.instances[id].used;
        self.on_phase_done(queue, id, used);
    }

    /// The thread has nothing to do but to wait: it polls, if that is its way.
    fn wait_for_gpu(&mut self, now: SimTime, id: InstanceId) {
        let (server, _) = self.gpu_of(id);
        let instance = &mut self.instances[id];
        let is_free = instance.helpers == 0 && instance.outstanding > 0 && !instance.spins;
        if server.gpu.wait == HostWait::Spin && is_free {
            instance.spins = true;
            self.spin(now, id);
        }
    }

    fn spin(&mut self, now: SimTime, id: InstanceId) {
        let role = self.tables.servers[self.tables.instances[id]].role;
        let job = Job {
            task: Task::Spin(id),
            role,
            demand: POLLING,
        };
        self.cores.submit(now, job);
    }

    /// The thread has polled for as long as a job of its lasts, and goes on.
    pub(crate) fn on_spun(&mut self, queue: &EventQueue<Event>, id: InstanceId, used: SimDuration) {
        self.instances[id].used += used;
        self.spin(queue.now(), id);
    }

    /// Lets what has changed on the GPUs take effect, and forecasts what changes next.
    pub(crate) fn settle_gpus(&mut self, queue: &mut EventQueue<Event>) {
        while let Some(id) = self.changed_bus() {
            let row = &mut self.gpus.rows[id];
            row.has_changed = false;
            row.gpu.settle(queue.now());
            self.take_done(queue, id);
            let row = &mut self.gpus.rows[id];
            if row.has_changed {
                continue;
            }
            let next = row.gpu.next();
            if let Some((at, generation)) = row.forecast.expect(next) {
                queue.schedule_at(
                    at,
                    Event::Gpus {
                        bus: id,
                        generation,
                    },
                );
            }
        }
    }

    /// Lets end what ends on the GPUs at this instant; nothing begins on them before
    /// [`Self::settle_gpus`].
    pub(crate) fn settle_ends_on_gpus(&mut self, queue: &mut EventQueue<Event>) {
        for id in self.gpus.rows.ids() {
            if self.gpus.rows[id].has_changed {
                self.gpus.rows[id].gpu.settle_ends(queue.now());
                self.take_done(queue, id);
            }
        }
    }

    /// Tells those who wait for what has ended.
    fn take_done(&mut self, queue: &mut EventQueue<Event>, id: BusId) {
        if self.gpus.rows[id].keeps_kernels {
            self.record_kernels(id);
        }
        while let Some(done) = self.gpus.rows[id].gpu.pop_done() {
            self.on_op_done(queue, done);
        }
        while let Some(token) = self.gpus.rows[id].gpu.pop_moved() {
            let (nic, access) = engine_of(token);
            self.on_moved(queue, nic, access);
        }
    }

    fn changed_bus(&self) -> Option<BusId> {
        let mut rows = self.gpus.rows.iter();
        rows.find(|(_, row)| row.has_changed).map(|(id, _)| id)
    }

    fn on_op_done(&mut self, queue: &mut EventQueue<Event>, done: Done<InstanceId>) {
        let id = done.token;
        let (_, context) = self.gpu_of(id);
        let instance = &mut self.instances[id];
        if instance.is_of_lost(0) {
            return;
        }
        if instance.phase != Phase::Inference {
            instance.start = done.start;
            return self.on_part_done(queue, id);
        }
        let segment_idx = instance.segment;
        let segment = &context.segments[segment_idx];
        if segment_idx == 0 && !instance.is_between {
            instance.start = done.start;
        }
        match segment.then {
            Some(peer) if !instance.is_between => {
                instance.is_between = true;
                let to = match peer.over {
                    Peers::Nvlink => None,
                    Peers::Pcie => {
                        let next = &context.segments[segment_idx + 1];
                        Some(self.gpus.device_of(next))
                    }
                };
                let copy = self.copy_spec(peer.cost, Direction::Peer, peer.size, to);
                self.submit(queue.now(), id, self.instances[id].segment, Op::Copy(copy));
            }
            Some(peer) => {
                instance.is_between = false;
                instance.segment += 1;
                let net = context.segments[instance.segment].net;
                let at = At {
                    ready: done.ready,
                    start: done.start,
                    end: done.end,
                };
                self.record_detail(id, SpanName::P2p, peer.index, peer.size, at);
                self.run_net(queue, id, net, SimDuration::ZERO);
            }
            None => {}
        }
        self.on_part_done(queue, id);
    }

    fn record_kernels(&mut self, id: BusId) {
        let row = &mut self.gpus.rows[id];
        let spans = row.gpu.take_kernels();
        for span in spans {
            let (instance, segment) = self.gpus.rows[id].owners[span.stream.index()];
            if self.instances[instance].phase != Phase::Inference {
                continue;
            }
            let (_, context) = self.gpu_of(instance);
            let kernel = context.segments[segment].first + span.step;
            let at = At {
                ready: span.ready,
                start: span.start,
                end: span.end,
            };
            self.record_detail(instance, SpanName::Kernel, kernel, Bytes(0), at);
        }
    }

    /// Records a detail of a forward pass, for the first request of the batch.
    fn record_detail(&mut self, id: InstanceId, name: SpanName, kernel: u32, bytes: Bytes, at: At) {
        let instance = &self.instances[id];
        let server = &self.tables.servers[self.tables.instances[id]];
        let part = Part {
            batch: instance.number,
            context: self.context_idx(id),
            kernel: Some(kernel),
            bytes,
            ..Part::of(name, self.tables.roles[server.role].host)
        };
        let connection = &self.connections[instance.batch[0]];
        self.record.part(connection, server.stage, part, at);
    }
}

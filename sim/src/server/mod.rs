//! Serving stages: the line, and what an instance does with a batch.

mod gpus;
mod on_gpu;

use schema::ids::Id;
use schema::run::SpanName;
use schema::scenario::{CopiesOf, HandBack};
use schema::units::{Bytes, SimDuration, SimTime};

use crate::costs::Amount;
use crate::engine::{EventQueue, Forecast};
use crate::event::Event;
use crate::ids::{ConnectionId, InstanceId, ServerId};
use crate::pipeline::{Pipeline, Step};
use crate::record::{At, Part};
use crate::stations::{BatchLine, Job, Task};
use crate::tables::{ServerRow, Tables};

pub(crate) use gpus::Gpus;

/// A serving stage.
#[derive(Debug)]
pub(crate) struct Server {
    line: BatchLine<ConnectionId>,
    /// When the next batch is due.
    timer: Forecast,
    /// The number of its next batch: of one replica each is the next, of several one of each in turn.
    n_batches: u32,
}

/// An inference context, with a thread of its own.
#[derive(Debug)]
pub(crate) struct Instance {
    batch: Vec<ConnectionId>,
    number: u32,
    phase: Phase,
    /// When the phase began.
    start: SimTime,
    /// On a GPU: what the phase still waits for, and the core time it has used.
    outstanding: u32,
    used: SimDuration,
    /// On a GPU: jobs of the thread itself that the phase still waits for, and whether it polls.
    helpers: u32,
    spins: bool,
    /// On a GPU: which segment of its work runs, or whether that is copied to the next GPU.
    segment: usize,
    is_between: bool,
    /// On a GPU: its operations and waits for a floor that are under way, and how many of either are of
    /// a batch that is lost.
    ops: [u32; 2],
    lost_ops: [u32; 2],
}

/// What an instance is doing; the number is that of the request in its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Dispatch,
    H2d(usize),
    Preprocess,
    Inference,
    D2h(usize),
    /// Hands the output of a request back.
    HandBack(usize),
}

impl Server {
    pub(crate) fn new(row: &ServerRow) -> Server {
        let n = u32::try_from(row.instances.len()).expect("instances are counted in 32 bits");
        Server {
            line: BatchLine::new(n, &row.batch),
            timer: Forecast::default(),
            n_batches: row.replica,
        }
    }
}

impl Instance {
    pub(crate) fn new(tables: &Tables<'_>, server: ServerId) -> Instance {
        let most = tables.servers[server].batch.max.min(1 << 10) as usize;
        Instance {
            batch: Vec::with_capacity(most),
            ..Instance::idle()
        }
    }

    const fn idle() -> Instance {
        Instance {
            batch: Vec::new(),
            number: 0,
            phase: Phase::Dispatch,
            start: SimTime::ZERO,
            outstanding: 0,
            used: SimDuration::ZERO,
            helpers: 0,
            spins: false,
            segment: 0,
            is_between: false,
            ops: [0; 2],
            lost_ops: [0; 2],
        }
    }
}

impl Pipeline<'_> {
    /// The connection's request joins the line of its serving stage.
    pub(crate) fn join_line(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &self.connections[id];
        let [_, role] = self.ends[connection.ends + usize::from(connection.hop)];
        let server = self.tables.roles[role].server;
        let server = server.expect("the path leads to a stage that serves");
        self.servers[server].line.arrive(queue.now(), id);
        self.form_batches(queue, server, None);
    }

    /// The server is lost: its line is empty, and its instances are idle. What runs on a GPU runs on to
    /// its end, for nobody.
    pub(crate) fn lose_server(&mut self, now: SimTime, id: ServerId) {
        let row = &self.tables.servers[id];
        for instance in &row.instances {
            for task in [
                Task::Phase(*instance),
                Task::Helper(*instance),
                Task::Spin(*instance),
            ] {
                while self.cores.cancel_any(now, row.role, task).is_some() {}
            }
            let instance = &mut self.instances[*instance];
            let [ops, floors] = std::mem::take(&mut instance.ops);
            let [lost_ops, lost_floors] = instance.lost_ops;
            *instance = Instance {
                batch: std::mem::take(&mut instance.batch),
                lost_ops: [lost_ops + ops, lost_floors + floors],
                ..Instance::idle()
            };
            instance.batch.clear();
        }
        let server = &mut self.servers[id];
        let n = u32::try_from(row.instances.len()).expect("instances are counted in 32 bits");
        server.line = BatchLine::new(n, &row.batch);
        // Whatever it waited for is void.
        let _nothing = server.timer.expect(None);
    }

    /// The first request in the line has waited long enough, unless the timer is void.
    pub(crate) fn on_batch_due(
        &mut self,
        queue: &mut EventQueue<Event>,
        server: ServerId,
        generation: u32,
    ) {
        if self.servers[server].timer.happens(generation) {
            self.form_batches(queue, server, None);
        }
    }

    /// Idle instances take the batches that are due; a timer is set for the next. `awake` has just
    /// ended a batch: nobody has to wake it for another.
    fn form_batches(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ServerId,
        awake: Option<InstanceId>,
    ) {
        let now = queue.now();
        while let Some(at) = self.servers[id].line.due() {
            let server = &mut self.servers[id];
            if at > now {
                if let Some((at, generation)) = server.timer.expect(Some(at)) {
                    queue.schedule_at(
                        at,
                        Event::BatchDue {
                            server: id,
                            generation,
                        },
                    );
                }
                return;
            }
            let index = server
                .line
                .next_idle()
                .expect("a batch is due to an idle server");
            let instance = self.tables.servers[id].instances[index as usize];
            let row = &mut self.instances[instance];
            server.line.take(now, &mut row.batch);
            row.number = server.n_batches;
            server.n_batches += self.tables.servers[id].replicas;
            self.dispatch(queue, instance, awake);
        }
    }

    /// The instance is given its batch. The cost is drawn for every batch, so that each has the same
    /// draw whatever came before.
    fn dispatch(&mut self, queue: &EventQueue<Event>, id: InstanceId, awake: Option<InstanceId>) {
        let server = &self.tables.servers[self.tables.instances[id]];
        let past = self.cores.past(queue.now(), server.role);
        let cost = (self.costs).draw(server.dispatch, Amount::one(Bytes(0)), past);
        let demand = if awake == Some(id) {
            SimDuration::ZERO
        } else {
            cost
        };
        let batch = &self.instances[id].batch;
        let share = SimDuration::from_ps(demand.as_ps() / batch.len() as u64);
        for connection in batch {
            self.connections[*connection].dispatched = share;
        }
        self.submit_phase(queue, id, Phase::Dispatch, demand);
    }

    fn start_phase(&mut self, queue: &mut EventQueue<Event>, id: InstanceId, phase: Phase) {
        let server = &self.tables.servers[self.tables.instances[id]];
        let Some(on_cores) = &server.on_cores else {
            return self.start_on_gpu(queue, id, phase);
        };
        let amount = self.amount(server, id, phase);
        let source = match phase {
            Phase::Dispatch => server.dispatch,
            Phase::H2d(_) => on_cores.h2d,
            Phase::Preprocess => (on_cores.preprocess).expect("only raw inputs are preprocessed"),
            Phase::Inference => on_cores.inference,
            Phase::D2h(_) => on_cores.d2h,
            Phase::HandBack(_) => unreachable!("has a source of its request's"),
        };
        let past = self.cores.past(queue.now(), server.role);
        let demand = self.costs.draw(source, amount, past);
        self.submit_phase(queue, id, phase, demand);
    }

    /// How much work a phase is: a copy's is of one request, the rest of the whole batch.
    fn amount(&self, server: &ServerRow, id: InstanceId, phase: Phase) -> Amount {
        let batch = &self.instances[id].batch;
        let input = |id: ConnectionId| self.tables.input(&self.connections[id]);
        match phase {
            Phase::H2d(i) => Amount::one(input(batch[i])),
            Phase::D2h(i) | Phase::HandBack(i) => {
                Amount::one(self.tables.output(&self.connections[batch[i]]))
            }
            Phase::Dispatch | Phase::Preprocess | Phase::Inference => {
                let n = u32::try_from(batch.len()).expect("a batch is counted in 32 bits");
                let bytes = batch.iter().map(|connection| input(*connection).0);
                Amount {
                    bytes: Bytes(bytes.sum()),
                    requests: n,
                    seconds: server.seconds * f64::from(n),
                    kernels: 0,
                    packets: 0,
                }
            }
        }
    }

    fn submit_phase(
        &mut self,
        queue: &EventQueue<Event>,
        id: InstanceId,
        phase: Phase,
        demand: SimDuration,
    ) {
        let instance = &mut self.instances[id];
        instance.phase = phase;
        instance.start = queue.now();
        let job = Job {
            task: Task::Phase(id),
            role: self.tables.servers[self.tables.instances[id]].role,
            demand,
        };
        self.cores.submit(queue.now(), job);
    }

    /// The instance has done a phase of its batch.
    pub(crate) fn on_phase_done(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: InstanceId,
        used: SimDuration,
    ) {
        self.record_phase(queue.now(), id, used);
        self.next_phase(queue, id);
    }

    /// Number of copies of the instance's batch in each direction.
    fn n_copies(&self, id: InstanceId) -> usize {
        if self.is_gathered(id) {
            1
        } else {
            self.instances[id].batch.len()
        }
    }

    /// Whether the inputs of the instance's batch are copied at once, and its outputs.
    fn is_gathered(&self, id: InstanceId) -> bool {
        let gpu = self.tables.servers[self.tables.instances[id]].gpu.as_ref();
        gpu.is_some_and(|gpu| gpu.gpu.copies == CopiesOf::Batch)
    }

    /// The instance goes on to what comes after its phase.
    fn next_phase(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        let server = &self.tables.servers[self.tables.instances[id]];
        let is_raw = match (&server.on_cores, &server.gpu) {
            (Some(on_cores), _) => on_cores.preprocess.is_some(),
            (None, gpu) => gpu
                .as_ref()
                .is_some_and(|gpu| gpu.contexts[0].preprocess.is_some()),
        };
        let last = self.n_copies(id) - 1;
        let next = match self.instances[id].phase {
            Phase::Dispatch => Phase::H2d(0),
            Phase::H2d(i) if i < last => Phase::H2d(i + 1),
            Phase::H2d(_) if is_raw => Phase::Preprocess,
            Phase::H2d(_) | Phase::Preprocess => Phase::Inference,
            Phase::Inference => Phase::D2h(0),
            Phase::D2h(i) if i < last => Phase::D2h(i + 1),
            Phase::D2h(_) => match server.hand_back {
                HandBack::AtOnce => return self.finish_batch(queue, id),
                HandBack::InTurn => return self.hand_back(queue, id, 0),
            },
            Phase::HandBack(i) => {
                self.on_result(queue, self.instances[id].batch[i]);
                if i + 1 < self.instances[id].batch.len() {
                    return self.hand_back(queue, id, i + 1);
                }
                return self.release(queue, id);
            }
        };
        self.start_phase(queue, id, next);
    }

    /// Every request's thread is told, and the instance takes the next batch.
    fn finish_batch(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        for index in 0..self.instances[id].batch.len() {
            let connection = self.instances[id].batch[index];
            self.start_step(queue, connection, Step::Notify);
        }
        self.release(queue, id);
    }

    /// The instance's thread hands the output of a request of its batch back.
    fn hand_back(&mut self, queue: &EventQueue<Event>, id: InstanceId, index: usize) {
        let connection = &self.connections[self.instances[id].batch[index]];
        let notify = self.tables.sources(connection).notify;
        let source = notify.expect("its stage serves");
        let output = self.tables.output(connection);
        let role = self.tables.servers[self.tables.instances[id]].role;
        let past = self.cores.past(queue.now(), role);
        let demand = self.costs.draw(source, Amount::one(output), past);
        self.submit_phase(queue, id, Phase::HandBack(index), demand);
    }

    /// The instance is done with its batch and takes the next.
    fn release(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        let server = self.tables.instances[id];
        let index = self.instance_idx(id);
        self.servers[server].line.release(index);
        self.form_batches(queue, server, Some(id));
    }

    /// Number of the instance among its server's.
    fn instance_idx(&self, id: InstanceId) -> u32 {
        let first = self.tables.servers[self.tables.instances[id]].instances[0];
        let index = id.index() - first.index();
        u32::try_from(index).expect("instances are counted in 32 bits")
    }

    /// Number of the instance among its stage's, those of one replica after those of another.
    fn context_idx(&self, id: InstanceId) -> u32 {
        let server = &self.tables.servers[self.tables.instances[id]];
        server.replica * server.instances.len() as u32 + self.instance_idx(id)
    }

    /// Records the phase that ended, in a row for each request that it was for.
    fn record_phase(&mut self, now: SimTime, id: InstanceId, used: SimDuration) {
        let instance = &self.instances[id];
        let server = &self.tables.servers[self.tables.instances[id]];
        let host = self.tables.roles[server.role].host;
        let n = instance.batch.len();
        let gathered = self.is_gathered(id);
        // The wait ends when the instance has the batch; its thread's time before is nobody's.
        let (name, requests, start, cpu) = match instance.phase {
            Phase::Dispatch => (SpanName::Queue, 0..n, now, SimDuration::ZERO),
            Phase::H2d(_) if gathered => (SpanName::H2d, 0..n, instance.start, used),
            Phase::D2h(_) if gathered => (SpanName::D2h, 0..n, instance.start, used),
            Phase::H2d(i) => (SpanName::H2d, i..i + 1, instance.start, used),
            Phase::Preprocess => (SpanName::Preprocess, 0..n, instance.start, used),
            Phase::Inference => (SpanName::Inference, 0..n, instance.start, used),
            Phase::D2h(i) => (SpanName::D2h, i..i + 1, instance.start, used),
            // No span of its own: it delays the reply's `send`, which was ready before it.
            Phase::HandBack(_) => return,
        };
        let context = self.context_idx(id);
        for connection in &instance.batch[requests] {
            let connection = &mut self.connections[*connection];
            let part = Part {
                batch: instance.number,
                context,
                bytes: match instance.phase {
                    Phase::D2h(_) => self.tables.output(connection),
                    _ => self.tables.input(connection),
                },
                cpu,
                ..Part::of(name, host)
            };
            let at = At {
                ready: connection.done,
                start,
                end: now,
            };
            connection.done = now;
            self.record.part(connection, server.stage, part, at);
        }
    }
}

//! Serving stages: the line, and what an instance does with a batch.

use schema::ids::Id;
use schema::run::SpanName;
use schema::units::{Bytes, SimDuration, SimTime};

use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::{ConnectionId, InstanceId, ServerId};
use crate::pipeline::{Pipeline, Step};
use crate::record::{At, Part};
use crate::stations::{BatchLine, Job, Task};
use crate::tables::{ServerRow, Tables};

/// A serving stage.
#[derive(Debug)]
pub(crate) struct Server {
    line: BatchLine<ConnectionId>,
    /// For when the timer of the latest generation is set.
    timer: Option<SimTime>,
    generation: u32,
    n_batches: u32,
}

/// An inference context, with a thread of its own.
#[derive(Debug)]
pub(crate) struct Instance {
    batch: Vec<ConnectionId>,
    number: u32,
    phase: Phase,
    /// When the phase began, and its core time.
    start: SimTime,
    cost: SimDuration,
}

/// What an instance is doing; the number is that of the request in its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Dispatch,
    H2d(usize),
    Preprocess(usize),
    Inference,
    D2h(usize),
}

impl Server {
    pub(crate) fn new(row: &ServerRow) -> Server {
        let n = u32::try_from(row.instances.len()).expect("instances are counted in 32 bits");
        Server {
            line: BatchLine::new(n, row.batch_max, row.batch_delay),
            timer: None,
            generation: 0,
            n_batches: 0,
        }
    }
}

impl Instance {
    pub(crate) fn new(tables: &Tables<'_>, server: ServerId) -> Instance {
        Instance {
            batch: Vec::with_capacity(tables.servers[server].batch_max.min(1 << 10) as usize),
            number: 0,
            phase: Phase::Dispatch,
            start: SimTime::ZERO,
            cost: SimDuration::ZERO,
        }
    }
}

impl Pipeline<'_> {
    /// The connection's request joins the line of its serving stage.
    pub(crate) fn join_line(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let server = self.tables.groups[self.connections[id].group].server;
        self.servers[server].line.arrive(queue.now(), id);
        self.form_batches(queue, server);
    }

    /// The first request in the line has waited long enough, unless the timer is void.
    pub(crate) fn on_batch_due(
        &mut self,
        queue: &mut EventQueue<Event>,
        server: ServerId,
        generation: u32,
    ) {
        if self.servers[server].generation == generation {
            self.servers[server].timer = None;
            self.form_batches(queue, server);
        }
    }

    /// Idle instances take the batches that are due; a timer is set for the next.
    fn form_batches(&mut self, queue: &mut EventQueue<Event>, id: ServerId) {
        let now = queue.now();
        while let Some(at) = self.servers[id].line.due() {
            let server = &mut self.servers[id];
            if at > now {
                if server.timer != Some(at) {
                    server.timer = Some(at);
                    server.generation = server.generation.wrapping_add(1);
                    let generation = server.generation;
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
            server.n_batches += 1;
            self.start_phase(queue, instance, Phase::Dispatch);
        }
    }

    fn start_phase(&mut self, queue: &EventQueue<Event>, id: InstanceId, phase: Phase) {
        let server = &self.tables.servers[self.tables.instances[id]];
        let classes = &self.tables.scenario.classes;
        let class_of =
            |index: usize, batch: &[ConnectionId]| &classes[self.connections[batch[index]].class];
        let batch = &self.instances[id].batch;
        let (source, amount) = match phase {
            Phase::Dispatch => (server.dispatch, Amount::one(Bytes(0))),
            Phase::H2d(i) => (server.h2d, Amount::one(class_of(i, batch).payload)),
            Phase::Preprocess(i) => (
                server.preprocess.expect("only raw inputs are preprocessed"),
                Amount::one(class_of(i, batch).payload),
            ),
            Phase::Inference => {
                let n = u32::try_from(batch.len()).expect("a batch is counted in 32 bits");
                let bytes = (0..batch.len()).map(|i| class_of(i, batch).payload.0).sum();
                let amount = Amount {
                    bytes: Bytes(bytes),
                    requests: n,
                    seconds: server.seconds * f64::from(n),
                };
                (server.inference, amount)
            }
            Phase::D2h(i) => (server.d2h, Amount::one(class_of(i, batch).reply)),
        };
        let cost = self.costs.draw(source, amount);
        let instance = &mut self.instances[id];
        instance.phase = phase;
        instance.start = queue.now();
        instance.cost = cost;
        let job = Job {
            task: Task::Phase(id),
            role: server.role,
            demand: cost,
        };
        self.cores.submit(queue.now(), job);
    }

    /// The instance has done a phase of its batch.
    pub(crate) fn on_phase_done(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        self.record_phase(queue.now(), id);
        let server = &self.tables.servers[self.tables.instances[id]];
        let last = self.instances[id].batch.len() - 1;
        let next = match self.instances[id].phase {
            Phase::Dispatch => Phase::H2d(0),
            Phase::H2d(i) if i < last => Phase::H2d(i + 1),
            Phase::H2d(_) if server.preprocess.is_some() => Phase::Preprocess(0),
            Phase::Preprocess(i) if i < last => Phase::Preprocess(i + 1),
            Phase::H2d(_) | Phase::Preprocess(_) => Phase::Inference,
            Phase::Inference => Phase::D2h(0),
            Phase::D2h(i) if i < last => Phase::D2h(i + 1),
            Phase::D2h(_) => return self.finish_batch(queue, id),
        };
        self.start_phase(queue, id, next);
    }

    /// Every request's thread is told, and the instance takes the next batch.
    fn finish_batch(&mut self, queue: &mut EventQueue<Event>, id: InstanceId) {
        for index in 0..self.instances[id].batch.len() {
            let connection = self.instances[id].batch[index];
            self.connections[connection].done = queue.now();
            self.start_step(queue, connection, Step::Notify);
        }
        let server = self.tables.instances[id];
        let first = self.tables.servers[server].instances[0];
        let index = id.index() - first.index();
        let index = u32::try_from(index).expect("instances are counted in 32 bits");
        self.servers[server].line.release(index);
        self.form_batches(queue, server);
    }

    /// Records the phase that ended, in a row for each request that it was for.
    fn record_phase(&mut self, now: SimTime, id: InstanceId) {
        let instance = &self.instances[id];
        let server = &self.tables.servers[self.tables.instances[id]];
        let host = self.tables.roles[server.role].host;
        let n = instance.batch.len();
        let (name, requests) = match instance.phase {
            Phase::Dispatch => (SpanName::Queue, 0..n),
            Phase::H2d(i) => (SpanName::H2d, i..i + 1),
            Phase::Preprocess(i) => (SpanName::Preprocess, i..i + 1),
            Phase::Inference => (SpanName::Inference, 0..n),
            Phase::D2h(i) => (SpanName::D2h, i..i + 1),
        };
        for connection in &instance.batch[requests] {
            let connection = &mut self.connections[*connection];
            let class = &self.tables.scenario.classes[connection.class];
            let (bytes, start, cpu) = match instance.phase {
                Phase::Dispatch => (Bytes(0), now, SimDuration::ZERO),
                Phase::H2d(_) | Phase::Preprocess(_) => {
                    (class.payload, instance.start, instance.cost)
                }
                Phase::Inference => (Bytes(0), instance.start, instance.cost),
                Phase::D2h(_) => (class.reply, instance.start, instance.cost),
            };
            let part = Part {
                batch: instance.number,
                bytes,
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

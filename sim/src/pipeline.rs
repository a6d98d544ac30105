//! All components of a replication, and the one place where events are handed to them.

use rand::rngs::ChaCha8Rng;
use schema::ids::{ClassId, ClientId, GroupId, HostId, RequestId, Table};
use schema::random::{Seed, stream};
use schema::run::{Leg, SpanName, Status};
use schema::scenario::Placement;
use schema::units::{Bytes, SimDuration, SimTime};
use schema::workload::Schedule;

use crate::costs::{Amount, Costs};
use crate::engine::EventQueue;
use crate::error::SimError;
use crate::event::Event;
use crate::ids::{
    BalancerId, ConnectionId, InstanceId, NicId, PathId, PoolId, QpId, RoleId, ServerId, SourceId,
};
use crate::losses::{Fate, Held, Losses, Place};
use crate::network::{Message, Nic, QueuePair, Wires};
use crate::record::{At, Part, Population, Recorder, Window};
use crate::server::{Gpus, Instance, Server};
use crate::stations::{Balancer, Cores, Job, Task, Threads};
use crate::tables::{ConnectionRow, PathRow, Tables};
use crate::workload::ClientState;

/// All components of a replication.
#[derive(Debug)]
pub(crate) struct Pipeline<'a> {
    pub(crate) tables: &'a Tables<'a>,
    pub(crate) schedule: Schedule,
    pub(crate) costs: Costs<'a>,
    pub(crate) cores: Cores,
    pub(crate) wires: Wires<'a>,
    pub(crate) nics: Table<NicId, Nic>,
    pub(crate) queue_pairs: Table<QpId, QueuePair>,
    /// The threads that receive, of roles where not each connection has its own.
    pub(crate) receivers: Table<RoleId, Option<Threads<ConnectionId>>>,
    pub(crate) clients: Table<ClientId, ClientState>,
    pub(crate) connections: Table<ConnectionId, Connection>,
    /// The near and the far end of each hop of each connection, as far as they are known.
    pub(crate) ends: Vec<[RoleId; 2]>,
    pub(crate) balancers: Table<BalancerId, Balancer<RoleId>>,
    pub(crate) pools: Table<PoolId, Threads<ConnectionId>>,
    /// Requests under way to, at and from each role that a balancer chose.
    pub(crate) present: Table<RoleId, u32>,
    /// By client and call; none where nothing is drawn.
    pub(crate) call_draws: Vec<Option<ChaCha8Rng>>,
    /// By hop of each connection, in the order of `ends`.
    pub(crate) held: Vec<Held>,
    pub(crate) losses: Losses,
    pub(crate) servers: Table<ServerId, Server>,
    pub(crate) instances: Table<InstanceId, Instance>,
    pub(crate) gpus: Gpus,
    pub(crate) record: Recorder,
    pub(crate) window: Window,
    pub(crate) population: Population,
    /// Core time of each role when the window opened, and in it once it has closed.
    pub(crate) core_time: CoreTime,
    /// Why the run cannot go on.
    pub(crate) failure: Option<SimError>,
}

/// Core time by role.
#[derive(Debug, Default)]
pub(crate) struct CoreTime {
    at_opening: Vec<SimDuration>,
    pub(crate) in_window: Vec<SimDuration>,
}

/// A connection of a client through the whole pipeline, with the request that it carries: at any
/// time one of the threads along it works on the request, or it waits.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: ClientId,
    pub(crate) group: GroupId,
    pub(crate) path: PathId,
    /// Its number in its group.
    pub(crate) ordinal: u32,
    /// Which branch of the request it carries; 0 for the request itself.
    pub(crate) branch: u32,
    /// Where those of the request's branches begin in the table, and the one that waits for this branch.
    pub(crate) first_branch: usize,
    pub(crate) parent: Option<ConnectionId>,
    /// The step that its stage comes to next, and the branches that it waits for.
    pub(crate) next_step: u16,
    /// The number of the attempt that it carries, and how often what it carried was lost.
    pub(crate) attempt: u32,
    pub(crate) n_lost: u32,
    pub(crate) place: Place,
    pub(crate) fate: Fate,
    /// Whether some branch that it waited for is lost.
    pub(crate) has_lost: bool,
    /// How often the client has tried again, and whom it is to avoid.
    pub(crate) n_retries: u32,
    pub(crate) avoid: Option<RoleId>,
    pub(crate) n_branches: u32,
    /// Where the sources of its hops are in the tables, and the ends of its hops among all.
    pub(crate) sources: usize,
    pub(crate) ends: usize,
    /// Where the client is.
    pub(crate) host: HostId,
    pub(crate) request: RequestId,
    pub(crate) class: ClassId,
    /// When the request was to be sent.
    pub(crate) ready: SimTime,
    /// When the connection took it.
    pub(crate) start: SimTime,
    /// When the part before the one under way ended.
    pub(crate) done: SimTime,
    /// Where the request is: the hop it is on or has passed last, and its direction.
    pub(crate) hop: u8,
    pub(crate) leg: Leg,
    pub(crate) message: Message,
    /// What carries its message on over the next hop while it still comes over the one before; and of
    /// that, whose message it carries.
    pub(crate) companion: Option<ConnectionId>,
    pub(crate) primary: Option<ConnectionId>,
    /// Its part of the core time to hand its batch to an idle instance.
    pub(crate) dispatched: SimDuration,
    /// Core time that the client has used for the request.
    pub(crate) client_core_time: SimDuration,
    step: Step,
    step_start: SimTime,
}

/// What a connection's thread does, other than to send and to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The client makes the request.
    Prepare,
    /// A proxy moves the message between its two sides.
    Translate,
    /// The thread that replies learns that its request's output is there.
    Notify,
    /// The client takes the reply.
    Postprocess,
}

impl<'a> Pipeline<'a> {
    /// The components before the first event: requests drawn from `arrivals`, costs from `costs`.
    pub(crate) fn new(
        tables: &'a Tables<'a>,
        arrivals: Seed,
        costs: Seed,
        record: Recorder,
    ) -> Pipeline<'a> {
        let clients = tables.clients.ids();
        let servers = tables.servers.rows();
        let mut ends = Vec::new();
        let connections = tables.connections.rows().iter();
        let mut connections: Table<ConnectionId, Connection> = connections
            .map(|row| Connection::new(tables, row, &mut ends))
            .collect();
        for [connection, companion] in &tables.companions {
            connections[*connection].companion = Some(*companion);
            connections[*companion].primary = Some(*connection);
        }
        Pipeline {
            connections,
            held: vec![Held::default(); ends.len()],
            losses: Losses::new(tables),
            ends,
            balancers: (tables.balancers.rows().iter())
                .map(|row| row.balancer(costs))
                .collect(),
            pools: (tables.pools.rows().iter())
                .map(|n| Threads::new(*n))
                .collect(),
            present: tables.roles.ids().map(|_| 0).collect(),
            call_draws: (tables.call_draws.iter())
                .map(|name| name.as_ref().map(|name| stream(arrivals, name)))
                .collect(),
            tables,
            schedule: Schedule::new(tables.scenario),
            costs: Costs::new(tables, costs),
            cores: Cores::new(
                &tables.core_sets,
                tables.roles.rows().iter().map(|r| r.set),
                &tables.memories_s(),
            ),
            wires: Wires::new(tables, costs),
            nics: tables.nics.rows().iter().map(|_| Nic::default()).collect(),
            queue_pairs: (0..tables.n_queue_pairs)
                .map(|_| QueuePair::default())
                .collect(),
            receivers: (tables.roles.rows().iter())
                .map(|role| role.receive_threads.map(Threads::new))
                .collect(),
            clients: clients
                .map(|id| ClientState::new(tables, id, arrivals, costs))
                .collect(),
            servers: servers.iter().map(Server::new).collect(),
            instances: (tables.instances.rows().iter())
                .map(|server| Instance::new(tables, *server))
                .collect(),
            gpus: Gpus::new(tables, costs),
            record,
            window: Window::new(
                Schedule::new(tables.scenario),
                tables.scenario.clients.len(),
            ),
            population: Population::default(),
            core_time: CoreTime::default(),
            failure: None,
        }
    }

    /// Schedules what happens by itself.
    pub(crate) fn start(&mut self, queue: &mut EventQueue<Event>) {
        if let Some((opens, closes)) = self.window.known() {
            queue.schedule_at(opens, Event::WindowOpens);
            queue.schedule_at(closes, Event::WindowCloses);
        }
        self.wires.schedule_faults(queue);
        self.schedule_outages(queue);
        self.start_polling(queue.now());
        self.start_clients(queue);
    }

    /// Hands an event to the component it is for.
    pub(crate) fn handle(&mut self, queue: &mut EventQueue<Event>, event: Event) {
        match event {
            Event::Arrival(client) => self.on_arrival(queue, client),
            Event::Woken(connection) => self.on_woken(queue, connection),
            Event::JobDone { set, generation } => {
                match self.cores.complete(queue.now(), set, generation) {
                    None => {}
                    Some((Task::Step(connection), used)) => {
                        self.on_step_done(queue, connection, used);
                    }
                    Some((Task::Send(connection), used)) => self.on_sent(queue, connection, used),
                    Some((Task::Receive(connection), used)) => {
                        self.on_received(queue, connection, used);
                    }
                    Some((Task::Bookkeeping(_), _)) => {}
                    Some((Task::Poll(poll), _)) => self.on_polled(queue.now(), poll),
                    Some((Task::Phase(instance), used)) => {
                        self.on_phase_done(queue, instance, used);
                    }
                    Some((Task::Spin(instance), used)) => {
                        self.on_spun(queue, instance, used);
                    }
                    Some((Task::Helper(instance), used)) => {
                        self.on_helper_done(queue, instance, used);
                    }
                }
            }
            Event::ChunkArrived(ticket) => {
                if self.is_received(queue, ticket) {
                    self.on_arrived(queue, ticket.connection);
                }
            }
            Event::Posted(ticket) => {
                if self.is_valid(ticket) {
                    self.on_posted(queue, ticket.connection);
                }
            }
            Event::Moved { nic, access } => self.on_moved(queue, nic, access),
            Event::WorkCompleted(pair) => self.on_work_completed(queue, pair),
            Event::ContextFetched(ticket) => {
                if self.is_valid(ticket) {
                    self.on_context_fetched(queue, ticket.connection);
                }
            }
            Event::Completed(ticket) => {
                if self.is_received(queue, ticket) {
                    self.on_completed(queue, ticket.connection);
                }
            }
            Event::TimedOut(ticket) => {
                if self.connections[ticket.connection].attempt == ticket.number {
                    self.give_up(queue, ticket.connection);
                }
            }
            Event::Retried(connection) => self.try_again(queue, connection),
            Event::Outage(change) => self.on_outage(queue, change),
            Event::BatchDue { server, generation } => {
                self.on_batch_due(queue, server, generation);
            }
            Event::Gpus { bus, generation } => self.on_gpus(bus, generation),
            Event::Wires { generation } => self.wires.on_forecast(generation),
            Event::Acknowledged(channel) => {
                self.wires.on_acknowledged(queue, channel);
                self.unblock_senders(queue);
            }
            Event::BacklogTold(channel) => self.wires.on_backlog_told(queue, channel),
            Event::Packet(packet) => {
                self.wires.on_packet(queue, packet);
                self.unblock_senders(queue);
            }
            Event::FaultBegins(fault) => self.wires.on_fault_begins(queue, fault),
            Event::FaultEnds(fault) => self.wires.on_fault_ends(queue, fault),
            Event::FloorPassed(instance) => self.on_floor_passed(queue, instance),
            Event::WindowOpens => self.open_window(queue.now()),
            Event::WindowCloses => self.close_window(queue.now()),
        }
        if self.tables.scenario.placement == Placement::Device {
            // Passes are handed over ahead, so that nothing takes the turn or the room of one that follows
            // at this instant.
            self.settle_ends_on_gpus(queue);
            self.wires.settle(queue);
            self.cores.settle(queue);
            if queue.has_more_now() {
                return;
            }
        }
        self.settle_gpus(queue);
        self.wires.settle(queue);
        self.cores.settle(queue);
    }

    /// The connection's thread begins a step; its part was ready when the one before had ended.
    pub(crate) fn start_step(&mut self, queue: &EventQueue<Event>, id: ConnectionId, step: Step) {
        let connection = &self.connections[id];
        let client = &self.tables.clients[connection.client];
        let hop = usize::from(connection.hop);
        let [origin, here] = [0, hop].map(|hop| connection.ends + hop);
        let (origin, here) = (self.ends[origin][0], self.ends[here][1]);
        let bytes = self.bytes_of_step(connection, step);
        let (source, role, amount) = match step {
            Step::Prepare => (client.prepare, origin, Amount::one(bytes)),
            Step::Translate => {
                let row = self.tables.sources(connection);
                let amount = match connection.leg {
                    _ if row.is_shared => Amount::one(Bytes(0)),
                    Leg::Request | Leg::Reply => Amount::one(bytes),
                };
                let Some(translate) = row.translate else {
                    return self.submit_step(queue, id, step, here, SimDuration::ZERO);
                };
                (translate[connection.leg as usize], here, amount)
            }
            Step::Notify => {
                let notify = self.tables.sources(connection).notify;
                let notify = notify.expect("its stage serves");
                (notify, here, Amount::one(bytes))
            }
            Step::Postprocess => (client.postprocess, origin, Amount::one(bytes)),
        };
        let past = self.cores.past(queue.now(), role);
        let demand = self.costs.draw(source, amount, past);
        self.submit_step(queue, id, step, role, demand);
    }

    /// Number of bytes that a step of the connection's request is for.
    fn bytes_of_step(&self, connection: &Connection, step: Step) -> Bytes {
        let hop = usize::from(connection.hop);
        match (step, connection.leg) {
            (Step::Prepare, _) | (Step::Translate, Leg::Request) => {
                self.tables.payload(connection, hop)
            }
            (Step::Translate, Leg::Reply) => self.tables.reply(connection, hop + 1),
            (Step::Notify, _) => self.tables.output(connection),
            (Step::Postprocess, _) => self.tables.reply(connection, hop),
        }
    }

    fn submit_step(
        &mut self,
        queue: &EventQueue<Event>,
        id: ConnectionId,
        step: Step,
        role: RoleId,
        demand: SimDuration,
    ) {
        let connection = &mut self.connections[id];
        connection.step = step;
        connection.step_start = queue.now();
        let task = Task::Step(id);
        self.cores.submit(queue.now(), Job { task, role, demand });
    }

    /// The connection's thread has done its step and goes on.
    fn on_step_done(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId, used: SimDuration) {
        let step = self.connections[id].step;
        if step == Step::Notify {
            return self.on_result(queue, id);
        }
        self.record_step(queue.now(), id, used);
        let connection = &mut self.connections[id];
        connection.done = queue.now();
        match (step, connection.leg) {
            (Step::Prepare, _) => self.go_on(queue, id),
            (Step::Translate, Leg::Request) => self.on_result(queue, id),
            (Step::Translate, Leg::Reply) => self.send(queue, id),
            (Step::Postprocess, _) => {
                let connection = &self.connections[id];
                let origin = self.ends[connection.ends][0];
                if let Some(source) = self.tables.clients[connection.client].bookkeeping {
                    self.keep_books(queue.now(), origin, source, SimDuration::ZERO);
                }
                self.complete(queue, id, Status::Ok);
            }
            (Step::Notify, _) => unreachable!("handled above"),
        }
    }

    /// The stage that has sent the connection's reply does what else it has to do for the request.
    pub(crate) fn keep_books_of_stage(&mut self, now: SimTime, id: ConnectionId) {
        let [role, _] = self.roles(id);
        let connection = &mut self.connections[id];
        let done = std::mem::take(&mut connection.dispatched);
        let source = self.tables.sources(&self.connections[id]).bookkeeping;
        if let Some(source) = source {
            self.keep_books(now, role, source, done);
        }
    }

    /// A role spends core time of a cost that nobody waits for, of which so much has been spent.
    fn keep_books(&mut self, now: SimTime, role: RoleId, source: SourceId, done: SimDuration) {
        let past = self.cores.past(now, role);
        let whole = self.costs.draw(source, Amount::one(Bytes(0)), past);
        let demand = SimDuration::from_ps(whole.as_ps().saturating_sub(done.as_ps()));
        if demand > SimDuration::ZERO {
            let task = Task::Bookkeeping(role);
            self.cores.submit(now, Job { task, role, demand });
        }
    }

    /// The thread at the far end of the connection's message has all of it.
    pub(crate) fn on_message(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        if self.is_for_nobody(id) {
            return self.lose(queue, id);
        }
        let connection = &mut self.connections[id];
        connection.place = Place::Far;
        let hop = usize::from(connection.hop);
        let connection = &self.connections[id];
        match connection.leg {
            Leg::Request if self.tables.hop(connection).serves => self.join_line(queue, id),
            Leg::Request => self.start_step(queue, id, Step::Translate),
            Leg::Reply if hop < self.tables.paths[connection.path].n_hops => {
                self.returned(queue, id, hop);
                if hop == 0 {
                    return self.on_reply(queue, id);
                }
                self.connections[id].hop -= 1;
                self.start_step(queue, id, Step::Translate);
            }
            Leg::Reply => {
                for hop in (0..hop).rev() {
                    self.returned(queue, id, hop);
                }
                self.on_reply(queue, id);
            }
        }
    }

    /// The reply to the connection's request is back where that came from.
    fn on_reply(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &mut self.connections[id];
        match (connection.parent, connection.fate) {
            (None, Fate::Awaited) => {
                connection.place = Place::Near;
                // What may still time out is void.
                connection.attempt = connection.attempt.wrapping_add(1);
                self.start_step(queue, id, Step::Postprocess);
            }
            (None, _) => self.spare(id),
            (Some(parent), _) => {
                connection.place = Place::Nowhere;
                self.on_branch_done(queue, parent);
            }
        }
    }

    fn record_step(&mut self, now: SimTime, id: ConnectionId, used: SimDuration) {
        let connection = &mut self.connections[id];
        if connection.step != Step::Translate {
            connection.client_core_time += used;
        }
        let connection = &self.connections[id];
        let group = &self.tables.groups[connection.group];
        let hop = self.tables.hop(connection);
        let bytes = self.bytes_of_step(connection, connection.step);
        let [_, far] = self.ends[connection.ends + usize::from(connection.hop)];
        let at_proxy = self.tables.roles[far].host;
        let (name, host, stage) = match connection.step {
            Step::Prepare => (SpanName::Prepare, connection.host, group.stage),
            Step::Postprocess => (SpanName::Postprocess, connection.host, group.stage),
            Step::Translate | Step::Notify => (SpanName::Translate, at_proxy, hop.to),
        };
        let part = Part {
            leg: connection.leg,
            bytes,
            cpu: used,
            ..Part::of(name, host)
        };
        let at = At {
            ready: connection.done,
            start: connection.step_start,
            end: now,
        };
        self.record.part(connection, stage, part, at);
    }

    /// The measured window starts at the instant `now`.
    pub(crate) fn open_window(&mut self, now: SimTime) {
        self.window.opened = Some(now);
        self.core_time.at_opening = self.core_time_until(now);
    }

    /// The measured window ends at the instant `now`; a window that ends before it starts is empty.
    pub(crate) fn close_window(&mut self, now: SimTime) {
        self.window.closed = Some(now);
        if self.window.opened.is_some() {
            let opening = &self.core_time.at_opening;
            let until = self.core_time_until(now);
            let used = until
                .iter()
                .zip(opening)
                .map(|(until, from)| SimDuration::from_ps(until.as_ps() - from.as_ps()));
            self.core_time.in_window = used.collect();
        }
    }

    fn core_time_until(&self, now: SimTime) -> Vec<SimDuration> {
        let roles = self.tables.roles.ids();
        roles.map(|role| self.cores.used(now, role)).collect()
    }
}

impl Connection {
    /// A connection that carries nothing; `ends` gets those of its hops.
    pub(crate) fn new(
        tables: &Tables<'_>,
        &ConnectionRow {
            client,
            branch,
            first_branch,
            parent,
            path,
            sources,
            ordinal,
        }: &ConnectionRow,
        ends: &mut Vec<[RoleId; 2]>,
    ) -> Connection {
        let group = tables.scenario.clients[client].group;
        let row = &tables.scenario.groups[group];
        let first = ends.len();
        // Of a branch, whoever calls says where it comes from.
        let origin = tables.clients[client].role;
        let mut near = origin;
        let PathRow { hops, n_hops } = &tables.paths[path];
        for hop in &hops[..*n_hops] {
            ends.push([near, hop.first_role]);
            near = hop.first_role;
        }
        if tables.paths[path].is_straight() {
            ends.push([origin, near]);
        }
        Connection {
            client,
            group,
            path,
            ordinal,
            branch,
            first_branch,
            parent,
            next_step: 0,
            attempt: 0,
            n_lost: 0,
            place: Place::Nowhere,
            fate: Fate::Awaited,
            has_lost: false,
            n_retries: 0,
            avoid: None,
            n_branches: 0,
            sources,
            ends: first,
            host: tables.scenario.clients[client].host,
            request: RequestId::new(client, 0),
            class: row.classes[0],
            ready: SimTime::ZERO,
            start: SimTime::ZERO,
            done: SimTime::ZERO,
            hop: 0,
            leg: Leg::Request,
            message: Message::default(),
            companion: None,
            primary: None,
            step: Step::Prepare,
            step_start: SimTime::ZERO,
            dispatched: SimDuration::ZERO,
            client_core_time: SimDuration::ZERO,
        }
    }
}

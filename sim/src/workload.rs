//! The clients: closed loops, and open-loop sources with a pool of connections.

use std::collections::VecDeque;

use schema::ids::{ClassId, ClientId, RequestId};
use schema::random::{Seed, stream};
use schema::run::{Leg, Status};
use schema::units::{Bytes, SimDuration, SimTime};
use schema::workload::{ClientPlan, Planned, Schedule};

use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::error::SimError;
use crate::event::{Event, Ticket};
use crate::ids::ConnectionId;
use crate::losses::{Fate, Place};
use crate::pipeline::{Pipeline, Step};
use crate::stations::Orbit;
use crate::tables::Tables;

/// A client.
#[derive(Debug)]
pub(crate) struct ClientState {
    plan: ClientPlan,
    /// The request whose arrival is scheduled.
    next: Option<Planned>,
    free: Vec<ConnectionId>,
    /// Connections that had attempts which were given up, and carry nothing now.
    pub(crate) spare: Vec<ConnectionId>,
    /// Draws how long it waits before it tries again.
    pub(crate) orbit: Option<Orbit>,
    /// Requests that found no connection free, first come first served.
    waiting: VecDeque<Due>,
    pub(crate) n_sent: u64,
    pub(crate) n_completed: u64,
}

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) request: RequestId,
    pub(crate) class: ClassId,
    pub(crate) ready: SimTime,
}

impl ClientState {
    /// A client that has not sent anything.
    pub(crate) fn new(
        tables: &Tables<'_>,
        client: ClientId,
        seed: Seed,
        costs: Seed,
    ) -> ClientState {
        let mut free = tables.clients[client].connections.clone();
        free.reverse();
        ClientState {
            plan: ClientPlan::new(tables.scenario, client, seed)
                .expect("the tables were made from requests that can be drawn"),
            next: None,
            free,
            spare: Vec::new(),
            orbit: tables.clients[client].retry.as_ref().map(|retry| Orbit {
                attempts: retry.attempts,
                backoff: retry.backoff.clone(),
                factor: retry.factor,
                rng: stream(costs, &retry.name),
            }),
            waiting: VecDeque::new(),
            n_sent: 0,
            n_completed: 0,
        }
    }

    /// Schedules the next arrival, if the client still sends then; the gap before it.
    fn plan_next(
        &mut self,
        queue: &mut EventQueue<Event>,
        client: ClientId,
        schedule: Schedule,
    ) -> Option<SimDuration> {
        let planned = self.plan.next()?;
        let at = queue.now() + planned.gap;
        if !schedule.sends(planned.id.seq(), at) {
            return None;
        }
        self.next = Some(planned);
        queue.schedule_at(at, Event::Arrival(client));
        Some(planned.gap)
    }
}

impl Pipeline<'_> {
    /// Schedules the first request of every client.
    pub(crate) fn start_clients(&mut self, queue: &mut EventQueue<Event>) {
        for id in self.clients.ids() {
            self.clients[id].plan_next(queue, id, self.schedule);
        }
    }

    /// Whether no client has or will have a request under way.
    pub(crate) fn is_over(&self) -> bool {
        let mut clients = self.clients.rows().iter();
        clients.all(|client| client.next.is_none() && client.n_sent == client.n_completed)
    }

    /// A request of the client is due: it takes a connection, or waits for one.
    pub(crate) fn on_arrival(&mut self, queue: &mut EventQueue<Event>, id: ClientId) {
        let now = queue.now();
        let client = &mut self.clients[id];
        let planned = client.next.take().expect("an arrival was planned");
        client.n_sent += 1;
        let due = Due {
            request: planned.id,
            class: planned.class,
            ready: now,
        };
        self.population.change(now, 1);
        if self.schedule.counts(planned.id.seq(), now) && self.window.on_ready(id) {
            self.open_window(now);
        }
        let group = self.tables.scenario.clients[id].group;
        let client = &mut self.clients[id];
        if !self.tables.groups[group].is_closed_loop {
            client.plan_next(queue, id, self.schedule);
        }
        match client.free.pop() {
            Some(connection) => {
                self.take(connection, due);
                self.wake(queue, connection, planned.gap);
            }
            None => client.waiting.push_back(due),
        }
    }

    /// The thread of a connection that has taken a request runs: at once if there was no gap before
    /// the request, else it slept.
    fn wake(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId, gap: SimDuration) {
        let client = self.connections[id].client;
        match self.tables.clients[client].wakeup {
            Some(wakeup) if gap > SimDuration::ZERO => {
                let delay = self.costs.draw_delay(wakeup, Amount::one(Bytes(0)));
                queue.schedule_at(queue.now() + delay, Event::Woken(id));
            }
            _ => self.on_woken(queue, id),
        }
    }

    /// The connection's thread runs and begins its request.
    pub(crate) fn on_woken(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &mut self.connections[id];
        connection.start = queue.now();
        let machine = self.tables.scenario.machine(connection.host);
        let bytes = self.tables.payload(connection, 0);
        self.costs.hold(machine, bytes);
        self.begin_attempt(queue, id);
        self.start_step(queue, id, Step::Prepare);
    }

    /// The client begins an attempt of the connection's request.
    pub(crate) fn begin_attempt(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &mut self.connections[id];
        connection.place = Place::Near;
        connection.fate = Fate::Awaited;
        connection.has_lost = false;
        connection.attempt = connection.attempt.wrapping_add(1);
        if let Some(timeout) = self.tables.groups[connection.group].timeout {
            let ticket = Ticket {
                connection: id,
                number: connection.attempt,
            };
            queue.schedule_at(queue.now() + timeout, Event::TimedOut(ticket));
        }
    }

    /// The connection takes a request.
    fn take(&mut self, id: ConnectionId, due: Due) {
        let connection = &mut self.connections[id];
        connection.request = due.request;
        connection.class = due.class;
        connection.ready = due.ready;
        connection.done = due.ready;
        connection.client_core_time = SimDuration::ZERO;
        connection.hop = 0;
        connection.leg = Leg::Request;
        connection.n_retries = 0;
        connection.avoid = None;
    }

    /// The connection's request has its reply, or has failed: the next that waits takes the connection,
    /// or a closed loop thinks.
    pub(crate) fn complete(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        status: Status,
    ) {
        let now = queue.now();
        let connection = &mut self.connections[id];
        connection.place = Place::Nowhere;
        connection.fate = Fate::Awaited;
        let connection = &self.connections[id];
        let (client, request, ready) = (connection.client, connection.request, connection.ready);
        let is_closed_loop = self.tables.groups[connection.group].is_closed_loop;
        let stage = self.tables.groups[connection.group].stage;
        let bytes = self.tables.payload(connection, 0);
        self.record.whole(connection, stage, bytes, now, status);
        let machine = self.tables.scenario.machine(connection.host);
        self.costs.let_go(machine, bytes);
        self.population.change(now, -1);
        self.population.add_sojourn(now.since(ready));
        if self.schedule.counts(request.seq(), ready) && self.window.on_end(client) {
            self.close_window(now);
        }
        let state = &mut self.clients[client];
        state.n_completed += 1;
        if let Some(due) = state.waiting.pop_front() {
            self.take(id, due);
            self.on_woken(queue, id);
            return;
        }
        state.free.push(id);
        if is_closed_loop {
            let gap = state.plan_next(queue, client, self.schedule);
            let stands = gap == Some(SimDuration::ZERO) && ready == now;
            if stands && self.schedule.end().is_some() {
                let row = &self.tables.scenario.clients[client];
                let group = &self.tables.scenario.groups[row.group].name;
                self.failure = Some(SimError::NoProgress {
                    client: format!("client {group}/{}", row.index),
                });
            }
        }
    }
}

//! One replication: the event loop, and how requests enter, leave and end.

use std::collections::{BTreeMap, VecDeque};

use schema::ids::{ClassId, ClientId, HostId, Id, StageId, Table};
use schema::run::Span;
use schema::units::SimTime;
use schema::workload::Schedule;

use super::client::Client;
use super::customer::{Customer, CustomerId, Customers};
use super::event::{Context, Event};
use super::node::{Blocked, Counts, Node, Role, Routing, Servers, Visits};
use crate::engine::EventQueue;
use crate::error::SimError;
use crate::record::Window;
use crate::statistics::Gauge;

/// Moves within an instant from which on it is taken to have no end.
const ENDLESS: u32 = 10_000_000;

/// The state of a replication.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) queue: EventQueue<Event>,
    pub(super) customers: Customers,
    pub(super) nodes: Table<StageId, Node>,
    pub(super) clients: Table<ClientId, Client>,
    pub(super) classes: Table<ClassId, ClassRow>,
    /// By group: the stages of its path.
    pub(super) paths: Vec<Vec<StageId>>,
    /// What is still to be done at this instant.
    tasks: VecDeque<Task>,
    /// The tokens that requests hold.
    held: BTreeMap<CustomerId, Vec<StageId>>,
    pub(super) whole: Whole,
    pub(super) schedule: Schedule,
    pub(super) window: Window,
    /// Every stage when the window opened and when it closed, and the whole.
    pub(super) opened: Vec<Reading>,
    pub(super) closed: Vec<Reading>,
    /// Arrivals that are scheduled.
    pub(super) n_arrivals: usize,
    /// Failures and repairs that are scheduled.
    n_breakdowns: usize,
    /// Servers that failed while they served.
    n_interrupted: usize,
    pub(super) trace: Option<Vec<Span>>,
    /// The host of every span.
    pub(super) host: HostId,
    pub(super) replication: u32,
    pub(super) failure: Option<SimError>,
}

/// What the loop knows of a class.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassRow {
    /// Which path.
    pub(super) group: u32,
    /// Which statistics.
    pub(super) label: u32,
    pub(super) priority: u32,
    /// Which of the weights that there are.
    pub(super) weight: u32,
}

/// A reading of what is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) gauge: Gauge,
    pub(super) counts: Counts,
}

/// What is kept of requests as wholes.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) gauge: Gauge,
    pub(super) counts: Counts,
    /// As of a stage; waiting is that at all stations.
    pub(super) visits: Vec<Visits>,
    pub(super) sojourn_ps: u128,
}

/// Something to be done at this instant.
#[derive(Clone, Copy, Debug)]
enum Task {
    Enter(CustomerId, StageId),
    /// There may be room in the stage for those who wait outside.
    Admit(StageId),
}

impl Engine {
    pub(super) fn new(
        nodes: Table<StageId, Node>,
        clients: Table<ClientId, Client>,
        classes: Table<ClassId, ClassRow>,
        paths: Vec<Vec<StageId>>,
        schedule: Schedule,
        replication: u32,
    ) -> Engine {
        let n_visits = nodes.rows().first().map_or(1, |node| node.visits.len());
        Engine {
            window: Window::new(schedule, clients.len()),
            queue: EventQueue::new(),
            customers: Customers::default(),
            nodes,
            clients,
            classes,
            paths,
            tasks: VecDeque::new(),
            held: BTreeMap::new(),
            whole: Whole {
                visits: vec![Visits::default(); n_visits],
                ..Whole::default()
            },
            schedule,
            opened: Vec::new(),
            closed: Vec::new(),
            n_arrivals: 0,
            n_breakdowns: 0,
            n_interrupted: 0,
            trace: None,
            host: HostId::from_index(0),
            replication,
            failure: None,
        }
    }

    /// Runs until every request that was sent has ended.
    pub(super) fn run(&mut self) -> Result<(), SimError> {
        if let Some((opens, closes)) = self.window.known() {
            self.queue.schedule_at(opens, Event::WindowOpens);
            self.queue.schedule_at(closes, Event::WindowCloses);
        }
        self.start_breakdowns();
        for client in self.clients.ids() {
            self.plan_next(client);
        }
        while let Some(event) = self.queue.pop() {
            self.handle(event);
            if self.failure.is_some() {
                break;
            }
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.check(),
        }
    }

    #[inline]
    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(client) => self.on_arrival(client),
            Event::Served {
                station,
                server,
                generation,
            } => self.on_served(station, server, generation),
            Event::Shared {
                station,
                generation,
            } => self.on_shared(station, generation),
            Event::Delayed { station, customer } => self.finish(station, customer, None),
            Event::BatchDue {
                station,
                generation,
            } => {
                self.with_line(station, |line, ctx| line.on_batch_due(ctx, generation));
            }
            Event::Impatient { station, ticket } => {
                if self.customers.is_valid(ticket) {
                    self.on_impatient(station, ticket.customer);
                }
            }
            Event::Retried { station, customer } => {
                self.enter(customer, station);
            }
            Event::Fails { station, server } => self.on_failure(station, server),
            Event::Repaired { station, server } => self.on_repair(station, server),
            Event::WindowOpens => self.open_window(),
            Event::WindowCloses => self.close_window(),
        }
        if !self.tasks.is_empty() {
            self.do_tasks();
        }
    }

    fn do_tasks(&mut self) {
        let mut n = 0;
        while let Some(task) = self.tasks.pop_front() {
            match task {
                Task::Enter(customer, stage) => self.enter(customer, stage),
                Task::Admit(stage) => self.admit_blocked(stage),
            }
            n += 1;
            if n == ENDLESS {
                self.failure = Some(SimError::Endless {
                    replication: self.replication,
                    at: self.queue.now(),
                });
                self.tasks.clear();
            }
        }
    }

    /// What is needed to hand something to the servers of `station`: they, and what they may touch.
    #[inline]
    fn servers(&mut self, station: StageId) -> (&mut Servers, Context<'_>) {
        let node = &mut self.nodes[station];
        let Role::Station(state) = &mut node.role else {
            unreachable!("only a station has servers")
        };
        node.gauge.advance(self.queue.now());
        let ctx = Context {
            queue: &mut self.queue,
            customers: &mut self.customers,
            gauge: &mut node.gauge,
            station,
        };
        (&mut state.discipline, ctx)
    }

    fn with_line<T>(
        &mut self,
        station: StageId,
        what: impl FnOnce(&mut super::line::Line, &mut Context<'_>) -> T,
    ) -> T {
        let (Servers::Line(line), mut ctx) = self.servers(station) else {
            unreachable!("only servers of a line are released, batch or fail")
        };
        what(line, &mut ctx)
    }

    fn on_arrival(&mut self, id: ClientId) {
        let now = self.queue.now();
        self.n_arrivals -= 1;
        let client = &mut self.clients[id];
        let planned = client.next.take().expect("an arrival was planned");
        let counts = self.schedule.counts(planned.id.seq(), now);
        if counts && self.window.on_ready(id) {
            self.open_window();
        }
        self.whole.gauge.advance(now);
        self.whole.gauge.level.present += 1;
        self.whole.counts.entered += 1;
        if !self.clients[id].is_closed_loop {
            self.plan_next(id);
        }
        let customer = Customer::new(planned.id, planned.class, now, counts);
        let customer = self.customers.add(customer);
        let first = self.paths[self.classes[planned.class].group as usize][0];
        self.enter(customer, first);
    }

    #[inline]
    fn on_served(&mut self, station: StageId, server: u32, generation: u32) {
        let (servers, mut ctx) = self.servers(station);
        match servers {
            Servers::Line(line) => {
                let Some(customer) = line.on_served(&mut ctx, server, generation) else {
                    return;
                };
                if line.has_batch(server) {
                    self.finish_batch(station, server, customer);
                } else {
                    self.finish(station, customer, Some(server));
                }
            }
            Servers::Preemptive(servers) => {
                if let Some(customer) = servers.on_served(&mut ctx, server, generation) {
                    self.finish(station, customer, None);
                }
            }
            Servers::TimeSliced(servers) => {
                if let Some(customer) = servers.on_served(&mut ctx, server, generation) {
                    self.finish(station, customer, None);
                }
            }
            Servers::Sharing(_) | Servers::Delay => unreachable!("no server of its own is done"),
        }
    }

    fn on_shared(&mut self, station: StageId, generation: u32) {
        let node = &mut self.nodes[station];
        let Role::Station(state) = &mut node.role else {
            unreachable!("only a station has servers")
        };
        let Servers::Sharing(sharing) = &mut state.discipline else {
            unreachable!("only shared servers have such an event")
        };
        node.gauge.advance(self.queue.now());
        let mut ctx = Context {
            queue: &mut self.queue,
            customers: &mut self.customers,
            gauge: &mut node.gauge,
            station,
        };
        let classes = &self.classes;
        let weight =
            |customer, ctx: &Context<'_>| classes[ctx.customers[customer].class].weight as usize;
        if let Some(customer) = sharing.on_shared(&mut ctx, generation, weight) {
            self.finish(station, customer, None);
        }
    }

    /// The service of `customer` has ended: it leaves `station` for where it goes next, or is
    /// blocked. The server that it had, if it is one that is kept, takes the next in line before.
    #[inline]
    fn finish(&mut self, station: StageId, customer: CustomerId, server: Option<u32>) {
        let next = self.route(station, customer);
        if let Some(next) = next
            && self.is_blocked(next)
        {
            self.block(station, customer, next, server);
            if let Some(server) = server {
                self.with_line(station, |line, ctx| line.block(ctx, server, 1));
            }
            return;
        }
        self.leave(station, customer);
        if let Some(server) = server {
            self.with_line(station, |line, ctx| line.release(ctx, server));
        }
        self.go(customer, next);
    }

    /// The service of a batch has ended, of which `customer` is the first: as one of each.
    fn finish_batch(&mut self, station: StageId, server: u32, customer: CustomerId) {
        let mut done = self.with_line(station, |line, _| line.take_batch(server));
        done.insert(0, customer);
        let mut n_blocked = 0;
        for customer in done {
            let next = self.route(station, customer);
            match next {
                Some(next) if self.is_blocked(next) => {
                    self.block(station, customer, next, Some(server));
                    n_blocked += 1;
                }
                Some(next) => {
                    self.leave(station, customer);
                    self.tasks.push_back(Task::Enter(customer, next));
                }
                None => {
                    self.leave(station, customer);
                    self.end(customer, false);
                }
            }
        }
        self.with_line(station, |line, ctx| match n_blocked {
            0 => line.release(ctx, server),
            n => line.block(ctx, server, n),
        });
    }

    /// `customer` stays at `station` until there is room at `next`.
    fn block(
        &mut self,
        station: StageId,
        customer: CustomerId,
        next: StageId,
        server: Option<u32>,
    ) {
        let Role::Station(state) = &mut self.nodes[next].role else {
            unreachable!("only a station blocks")
        };
        state.blocked.push_back(Blocked {
            customer,
            at: Some((station, server)),
        });
    }

    /// `customer` enters `next`, or leaves the network.
    #[inline]
    fn go(&mut self, customer: CustomerId, next: Option<StageId>) {
        match next {
            Some(next) => self.enter(customer, next),
            None => self.end(customer, false),
        }
    }

    /// Whether those who would enter stay where they are.
    fn is_blocked(&self, stage: StageId) -> bool {
        let node = &self.nodes[stage];
        match &node.role {
            Role::Station(state) if state.blocks => {
                node.gauge.level.present >= state.capacity || !state.blocked.is_empty()
            }
            _ => false,
        }
    }

    /// Where `customer`, which is to leave `stage`, goes next; `None` if it leaves the network.
    #[inline]
    pub(super) fn route(&mut self, stage: StageId, customer: CustomerId) -> Option<StageId> {
        match &mut self.nodes[stage].next {
            Routing::Path => {}
            Routing::To(next) => return Some(*next),
            Routing::Draw(choices, rng) => {
                let u = schema::random::uniform(rng);
                let chosen = choices.iter().find(|(until, _)| u < *until);
                if let Some((_, next)) = chosen {
                    return Some(*next);
                }
            }
        }
        let customer = &mut self.customers[customer];
        let path = &self.paths[self.classes[customer.class].group as usize];
        let next = path.get(usize::from(customer.hop) + 1).copied();
        if next.is_some() {
            customer.hop += 1;
        }
        next
    }

    /// The visit of `customer` to `stage` ends with its service.
    pub(super) fn leave(&mut self, stage: StageId, id: CustomerId) {
        let now = self.queue.now();
        let customer = &mut self.customers[id];
        let node = &mut self.nodes[stage];
        node.gauge.advance(now);
        node.gauge.level.present -= 1;
        node.gauge.level.in_service -= 1;
        node.counts.served += 1;
        node.sojourn_ps += u128::from(now.since(customer.arrived).as_ps());
        if customer.counts {
            node.visits[0].record(customer, now);
            if node.visits.len() > 1 {
                let label = self.classes[customer.class].label as usize;
                node.visits[1 + label].record(customer, now);
            }
        }
        customer.attempts = 0;
        customer.waited += customer.started.since(customer.arrived);
        if self.trace.is_some() {
            self.trace_visit(stage, id);
        }
        self.on_left(stage, id);
    }

    /// What a visit's end causes elsewhere, however it ended.
    fn on_left(&mut self, stage: StageId, id: CustomerId) {
        if let Some((balancer, index)) = self.customers[id].sent_by.take() {
            let Role::Balance(balancer) = &mut self.nodes[balancer].role else {
                unreachable!("a balancer sent it")
            };
            balancer.outstanding[index as usize] -= 1;
        }
        if let Role::Station(state) = &self.nodes[stage].role
            && !state.blocked.is_empty()
        {
            self.tasks.push_back(Task::Admit(stage));
        }
    }

    /// `customer` comes to `stage`.
    fn enter(&mut self, customer: CustomerId, stage: StageId) {
        match &mut self.nodes[stage].role {
            Role::Station(_) => self.enter_station(customer, stage),
            Role::Fork(_) => self.enter_fork(customer, stage),
            Role::Join => self.enter_join(customer, stage),
            Role::Balance(_) => {
                let station = self.balance(customer, stage);
                self.enter_station(customer, station);
            }
            Role::Tokens(_) => self.enter_pool(customer, stage),
            Role::Release(_) => self.enter_release(customer, stage),
        }
    }

    fn enter_station(&mut self, id: CustomerId, stage: StageId) {
        let is_blocked = self.is_blocked(stage);
        let class = self.classes[self.customers[id].class];
        let node = &mut self.nodes[stage];
        let Role::Station(state) = &mut node.role else {
            unreachable!("the stage is a station")
        };
        if is_blocked {
            state.blocked.push_back(Blocked {
                customer: id,
                at: None,
            });
            return;
        }
        // Drawn whether it finds room or not, so that one more or less changes nobody else's.
        self.customers[id].work = state.service.draw(class.label as usize);
        if node.gauge.level.present >= state.capacity {
            node.counts.rejected += 1;
            self.turn_away(id, stage);
        } else {
            self.admit(id, stage);
        }
    }

    /// `customer`, whose service is drawn, enters a station that has room.
    #[inline]
    fn admit(&mut self, id: CustomerId, stage: StageId) {
        let now = self.queue.now();
        let node = &mut self.nodes[stage];
        let Role::Station(state) = &mut node.role else {
            unreachable!("the stage is a station")
        };
        let customer = &mut self.customers[id];
        let class = self.classes[customer.class];
        customer.arrived = now;
        customer.has_started = false;
        customer.rank = super::waiting::rank(state.order, class.priority, node.counts.entered);
        node.counts.entered += 1;
        node.gauge.advance(now);
        node.gauge.level.present += 1;
        let mut ctx = Context {
            queue: &mut self.queue,
            customers: &mut self.customers,
            gauge: &mut node.gauge,
            station: stage,
        };
        match &mut state.discipline {
            Servers::Line(servers) => servers.enter(&mut ctx, id),
            Servers::Preemptive(servers) => servers.enter(&mut ctx, id),
            Servers::Sharing(servers) => {
                let classes = &self.classes;
                servers.enter(&mut ctx, id, |customer, ctx| {
                    classes[ctx.customers[customer].class].weight as usize
                });
            }
            Servers::TimeSliced(servers) => servers.enter(&mut ctx, id),
            Servers::Delay => {
                ctx.start(id);
                let work = ctx.customers[id].work;
                let event = Event::Delayed {
                    station: stage,
                    customer: id,
                };
                ctx.queue.schedule_in(work, event);
            }
        }
        if let Some(patience) = &mut state.patience {
            let (sampler, rng) = &mut **patience;
            let patience = sampler.sample(rng);
            if let Some(ticket) = self.customers.ticket(id) {
                let event = Event::Impatient {
                    station: stage,
                    ticket,
                };
                self.queue.schedule_in(patience, event);
            }
        }
    }

    /// Lets in those who stay where they are, as far as there is room.
    fn admit_blocked(&mut self, stage: StageId) {
        if let Role::Tokens(_) = self.nodes[stage].role {
            self.grant(stage);
            return;
        }
        loop {
            let node = &mut self.nodes[stage];
            let Role::Station(state) = &mut node.role else {
                unreachable!("only a station blocks")
            };
            if node.gauge.level.present >= state.capacity {
                return;
            }
            let Some(Blocked { customer, at }) = state.blocked.pop_front() else {
                return;
            };
            if let Some((station, server)) = at {
                self.leave(station, customer);
                if let Some(server) = server {
                    self.with_line(station, |line, ctx| {
                        if line.unblock(server) {
                            ctx.gauge.level.remove_busy(1);
                            line.release(ctx, server);
                        }
                    });
                }
            }
            let label = self.classes[self.customers[customer].class].label as usize;
            let Role::Station(state) = &mut self.nodes[stage].role else {
                unreachable!("the stage is a station")
            };
            self.customers[customer].work = state.service.draw(label);
            self.admit(customer, stage);
        }
    }

    /// `customer`, which waits at `stage`, gives up.
    fn on_impatient(&mut self, stage: StageId, id: CustomerId) {
        self.customers.end_wait(id);
        let now = self.queue.now();
        let (servers, ctx) = self.servers(stage);
        match servers {
            Servers::Line(line) => line.on_left(),
            Servers::TimeSliced(line) => line.on_left(),
            Servers::Preemptive(_) | Servers::Sharing(_) | Servers::Delay => {}
        }
        ctx.gauge.level.present -= 1;
        let node = &mut self.nodes[stage];
        node.counts.reneged += 1;
        let visit = now.since(self.customers[id].arrived);
        node.sojourn_ps += u128::from(visit.as_ps());
        self.on_left(stage, id);
        self.turn_away(id, stage);
    }

    /// `customer`, which is at `stage` no longer, comes back later or is lost.
    fn turn_away(&mut self, id: CustomerId, stage: StageId) {
        let node = &mut self.nodes[stage];
        let Role::Station(state) = &mut node.role else {
            unreachable!("only a station turns away")
        };
        let customer = &mut self.customers[id];
        match &mut state.retry {
            Some(orbit) if customer.attempts < orbit.attempts => {
                customer.attempts += 1;
                node.counts.retried += 1;
                let backoff = orbit.draw(customer.attempts);
                let event = Event::Retried {
                    station: stage,
                    customer: id,
                };
                self.queue.schedule_in(backoff, event);
            }
            _ => {
                node.counts.lost += 1;
                self.end(id, true);
            }
        }
    }

    /// `customer` leaves the network, served or lost.
    pub(super) fn end(&mut self, id: CustomerId, is_lost: bool) {
        let now = self.queue.now();
        if !self.held.is_empty() {
            for pool in self.held.remove(&id).into_iter().flatten() {
                self.give_back(pool);
            }
        }
        let customer = self.customers[id];
        if let Some(parent) = customer.parent {
            self.customers.remove(id);
            self.on_copy_ended(parent, is_lost);
            return;
        }
        let whole = &mut self.whole;
        whole.gauge.advance(now);
        whole.gauge.level.present -= 1;
        let sojourn = now.since(customer.born);
        whole.sojourn_ps += u128::from(sojourn.as_ps());
        if is_lost {
            whole.counts.lost += 1;
        } else {
            whole.counts.served += 1;
            if customer.counts {
                whole.visits[0].record_whole(sojourn, customer.waited);
                if whole.visits.len() > 1 {
                    let label = self.classes[customer.class].label as usize;
                    whole.visits[1 + label].record_whole(sojourn, customer.waited);
                }
            }
        }
        if self.trace.is_some() {
            self.trace_request(id, is_lost);
        }
        self.customers.remove(id);
        let client = customer.client();
        if customer.counts && self.window.on_end(client) {
            self.close_window();
        }
        if self.clients[client].is_closed_loop {
            self.plan_next(client);
        }
    }

    /// Hands back tokens of `pool`.
    fn give_back(&mut self, pool: StageId) {
        let node = &mut self.nodes[pool];
        node.gauge.advance(self.queue.now());
        let Role::Tokens(tokens) = &mut node.role else {
            unreachable!("tokens come from a pool")
        };
        tokens.free += tokens.take;
        node.gauge.level.remove_busy(tokens.take);
        self.tasks.push_back(Task::Admit(pool));
    }

    /// `customer` comes to a pool of tokens.
    fn enter_pool(&mut self, id: CustomerId, stage: StageId) {
        let now = self.queue.now();
        let node = &mut self.nodes[stage];
        node.gauge.advance(now);
        node.gauge.level.present += 1;
        node.counts.entered += 1;
        let customer = &mut self.customers[id];
        customer.arrived = now;
        customer.has_started = false;
        let Role::Tokens(pool) = &mut node.role else {
            unreachable!("the stage is a pool")
        };
        pool.waiting.push(&mut self.customers, id);
        self.grant(stage);
    }

    /// Gives the free tokens of `stage` to those who wait for them.
    fn grant(&mut self, stage: StageId) {
        loop {
            let node = &mut self.nodes[stage];
            let Role::Tokens(pool) = &mut node.role else {
                unreachable!("the stage is a pool")
            };
            if pool.free < pool.take {
                return;
            }
            let Some(id) = pool.waiting.pop(&mut self.customers) else {
                return;
            };
            pool.free -= pool.take;
            node.gauge.advance(self.queue.now());
            node.gauge.level.add_busy(pool.take);
            let mut ctx = Context {
                queue: &mut self.queue,
                customers: &mut self.customers,
                gauge: &mut node.gauge,
                station: stage,
            };
            ctx.start(id);
            self.held.entry(id).or_default().push(stage);
            let next = self.route(stage, id);
            self.leave(stage, id);
            match next {
                Some(next) => self.tasks.push_back(Task::Enter(id, next)),
                None => self.end(id, false),
            }
        }
    }

    /// `customer` gives back its tokens, and goes on.
    fn enter_release(&mut self, id: CustomerId, stage: StageId) {
        let Role::Release(pool) = self.nodes[stage].role else {
            unreachable!("the stage takes tokens back")
        };
        let held = self.held.entry(id).or_default();
        let Some(at) = held.iter().position(|held| *held == pool) else {
            self.failure = Some(SimError::NoTokens {
                replication: self.replication,
                stage: self.nodes[stage].name.clone(),
                pool: self.nodes[pool].name.clone(),
            });
            return;
        };
        held.remove(at);
        if held.is_empty() {
            self.held.remove(&id);
        }
        self.give_back(pool);
        match self.route(stage, id) {
            Some(next) => self.tasks.push_back(Task::Enter(id, next)),
            None => self.end(id, false),
        }
    }

    /// The station to which the balancer `stage` sends `customer`.
    fn balance(&mut self, id: CustomerId, stage: StageId) -> StageId {
        let mut node = std::mem::replace(&mut self.nodes[stage].role, Role::Join);
        let Role::Balance(balancer) = &mut node else {
            unreachable!("the stage is a balancer")
        };
        let index = balancer.choose(|station| self.nodes[station].gauge.level.present);
        balancer.outstanding[index] += 1;
        let station = balancer.to[index];
        self.nodes[stage].role = node;
        self.customers[id].sent_by = Some((stage, index as u32));
        station
    }

    /// A copy of `customer` goes to each of the fork's stages.
    fn enter_fork(&mut self, id: CustomerId, stage: StageId) {
        let Role::Fork(to) = &self.nodes[stage].role else {
            unreachable!("the stage is a fork")
        };
        let original = &mut self.customers[id];
        original.n_copies = to.len() as u32;
        original.link = None;
        let copy = original.copy(id);
        for to in to {
            let copy = self.customers.add(copy);
            self.tasks.push_back(Task::Enter(copy, *to));
        }
    }

    /// A copy waits for the others; what is no copy passes.
    fn enter_join(&mut self, id: CustomerId, stage: StageId) {
        let now = self.queue.now();
        let Some(parent) = self.customers[id].parent else {
            match self.route(stage, id) {
                Some(next) => self.tasks.push_back(Task::Enter(id, next)),
                None => self.end(id, false),
            }
            return;
        };
        let node = &mut self.nodes[stage];
        node.gauge.advance(now);
        node.gauge.level.present += 1;
        node.gauge.level.in_service += 1;
        node.counts.entered += 1;
        let before = self.customers[parent].link.replace(id);
        self.customers[parent].join = Some(stage);
        let copy = &mut self.customers[id];
        copy.arrived = now;
        copy.link = before;
        self.on_copy_ended(parent, false);
    }

    /// A copy of `parent` is at its join, or has left the network.
    fn on_copy_ended(&mut self, parent: CustomerId, is_lost: bool) {
        let original = &mut self.customers[parent];
        original.is_lost |= is_lost;
        original.n_copies -= 1;
        if original.n_copies > 0 {
            return;
        }
        let is_lost = original.is_lost;
        let Some(join) = original.join.take() else {
            self.end(parent, is_lost);
            return;
        };
        let mut next = original.link.take();
        while let Some(copy) = next {
            let now = self.queue.now();
            let row = &mut self.customers[copy];
            row.started = now;
            next = row.link;
            let hop = row.hop;
            self.leave(join, copy);
            self.customers.remove(copy);
            self.customers[parent].hop = hop;
        }
        if is_lost {
            self.end(parent, true);
            return;
        }
        match self.route(join, parent) {
            Some(next) => self.tasks.push_back(Task::Enter(parent, next)),
            None => self.end(parent, false),
        }
    }

    fn start_breakdowns(&mut self) {
        for station in self.nodes.ids() {
            let Role::Station(state) = &mut self.nodes[station].role else {
                continue;
            };
            let Some(breakdown) = &mut state.breakdown else {
                continue;
            };
            for (server, rng) in breakdown.rngs.iter_mut().enumerate() {
                let up = breakdown.up.sample(rng);
                let server = server as u32;
                self.queue.schedule_in(up, Event::Fails { station, server });
                self.n_breakdowns += 1;
            }
        }
    }

    fn on_failure(&mut self, station: StageId, server: u32) {
        let interrupted = self.with_line(station, |line, ctx| line.on_failure(ctx, server));
        self.n_interrupted += usize::from(interrupted);
        let event = Event::Repaired { station, server };
        self.plan_breakdown(station, server, event);
    }

    fn on_repair(&mut self, station: StageId, server: u32) {
        let resumed = self.with_line(station, |line, ctx| line.on_repair(ctx, server));
        self.n_interrupted -= usize::from(resumed);
        let event = Event::Fails { station, server };
        self.plan_breakdown(station, server, event);
    }

    /// Schedules the next failure or repair, unless nothing can happen any more.
    fn plan_breakdown(&mut self, station: StageId, server: u32, event: Event) {
        self.n_breakdowns -= 1;
        let nothing_else = self.queue.n_pending() == self.n_breakdowns;
        let may_be_resumed = matches!(event, Event::Repaired { .. }) && self.n_interrupted > 0;
        if nothing_else && self.tasks.is_empty() && self.n_interrupted == 0 && !may_be_resumed {
            return;
        }
        let Role::Station(state) = &mut self.nodes[station].role else {
            unreachable!("only a station has servers")
        };
        let breakdown = state.breakdown.as_mut().expect("the server failed");
        let rng = &mut breakdown.rngs[server as usize];
        let sampler = match event {
            Event::Fails { .. } => &breakdown.up,
            _ => &breakdown.down,
        };
        let length = sampler.sample(rng);
        self.queue.schedule_in(length, event);
        self.n_breakdowns += 1;
    }

    fn readings(&mut self) -> Vec<Reading> {
        let now = self.queue.now();
        let mut readings = Vec::with_capacity(self.nodes.len() + 1);
        for id in self.nodes.ids() {
            let node = &mut self.nodes[id];
            node.gauge.advance(now);
            readings.push(Reading {
                gauge: node.gauge,
                counts: node.counts,
            });
        }
        self.whole.gauge.advance(now);
        readings.push(Reading {
            gauge: self.whole.gauge,
            counts: self.whole.counts,
        });
        readings
    }

    fn open_window(&mut self) {
        self.window.opened = Some(self.queue.now());
        self.opened = self.readings();
    }

    fn close_window(&mut self) {
        self.window.closed = Some(self.queue.now());
        self.closed = self.readings();
    }

    /// That nobody is left, that all who came went, and Little's law: the area under the number of
    /// requests is the sum of their sojourn times, at each stage and over all.
    fn check(&mut self) -> Result<(), SimError> {
        let replication = self.replication;
        let end: SimTime = self.queue.now();
        if self.whole.gauge.level.present > 0 {
            let left = |node: &Node| (node.name.clone(), node.gauge.level.present);
            return Err(SimError::Stuck {
                replication,
                at: end,
                n: self.whole.gauge.level.present,
                stages: self.nodes.rows().iter().map(left).filter(|(_, n)| *n > 0).collect(),
            });
        }
        let counts = self.whole.counts;
        if counts.entered != counts.served + counts.lost {
            return Err(SimError::NotConserved {
                replication,
                sent: counts.entered,
                completed: counts.served + counts.lost,
            });
        }
        let mut ledgers = vec![(counts.entered, counts.entered, self.whole.gauge, self.whole.sojourn_ps)];
        ledgers.extend(self.nodes.rows().iter().map(|node| {
            let left = node.counts.served + node.counts.reneged;
            (node.counts.entered, left, node.gauge, node.sojourn_ps)
        }));
        for (entered, left, gauge, sojourn_ps) in ledgers {
            if entered != left {
                return Err(SimError::NotConserved {
                    replication,
                    sent: entered,
                    completed: left,
                });
            }
            if gauge.area_ps() != sojourn_ps {
                return Err(SimError::LittlesLaw {
                    replication,
                    difference_ps: gauge.area_ps() as i128 - sojourn_ps as i128,
                });
            }
        }
        Ok(())
    }
}

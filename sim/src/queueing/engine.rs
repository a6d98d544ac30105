//! One replication: the event loop, and how requests enter, leave and end.

use std::collections::{BTreeMap, VecDeque};

use schema::ids::{ClassId, ClientId, StageId, Table};
use schema::run::Span;
use schema::units::SimTime;
use schema::workload::Schedule;

use super::client::Client;
use super::customer::{CustomerId, Customers};
use super::event::{Event, Packed};
use super::node::{Counts, Node, Role, Visits};
use crate::engine::EventQueue;
use crate::error::SimError;
use crate::record::Window;
use crate::statistics::Gauge;

/// Moves or events within an instant, none of them an arrival from outside, from which on it is
/// taken to have no end.
const ENDLESS: u32 = 10_000_000;

/// The state of a replication.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) queue: EventQueue<Packed>,
    pub(super) customers: Customers,
    pub(super) nodes: Table<StageId, Node>,
    pub(super) clients: Table<ClientId, Client>,
    pub(super) classes: Table<ClassId, ClassRow>,
    /// By group: the stages of its path.
    pub(super) paths: Vec<Vec<StageId>>,
    /// What is still to be done at this instant.
    pub(super) tasks: VecDeque<Task>,
    /// Whether some station keeps others from entering.
    pub(super) may_block: bool,
    /// The tokens that requests hold.
    pub(super) held: BTreeMap<CustomerId, Vec<StageId>>,
    pub(super) whole: Whole,
    pub(super) schedule: Schedule,
    pub(super) window: Window,
    /// Every stage when the window opened and when it closed, and the whole.
    pub(super) opened: Vec<Reading>,
    pub(super) closed: Vec<Reading>,
    /// Failures and repairs that are scheduled.
    pub(super) n_breakdowns: usize,
    /// Servers that failed while they served.
    pub(super) n_interrupted: usize,
    pub(super) trace: Option<Vec<Span>>,
    pub(super) replication: u32,
    failure: Option<SimError>,
    /// Events until it is looked at whether the replication goes on.
    n_until_look: u32,
    /// The time, and the number of requests that had come, when that was done last.
    looked_at: Option<(SimTime, u64)>,
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
pub(super) enum Task {
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
        let blocks = |node: &Node| matches!(&node.role, Role::Station(state) if state.blocks);
        let may_block = nodes.rows().iter().any(blocks);
        let n_visits = nodes.rows().first().map_or(1, |node| node.visits.len());
        Engine {
            window: Window::new(schedule, clients.len()),
            queue: EventQueue::new(),
            customers: Customers::new(nodes.rows().iter().any(Node::makes_ties)),
            nodes,
            clients,
            classes,
            paths,
            tasks: VecDeque::new(),
            may_block,
            held: BTreeMap::new(),
            whole: Whole {
                visits: vec![Visits::default(); n_visits],
                ..Whole::default()
            },
            schedule,
            opened: Vec::new(),
            closed: Vec::new(),
            n_breakdowns: 0,
            n_interrupted: 0,
            trace: None,
            replication,
            failure: None,
            n_until_look: ENDLESS,
            looked_at: None,
        }
    }

    /// Runs until every request that was sent has ended.
    pub(super) fn run(&mut self) -> Result<(), SimError> {
        if let Some((opens, closes)) = self.window.known() {
            self.queue.schedule_at(opens, Event::WindowOpens.pack());
            self.queue.schedule_at(closes, Event::WindowCloses.pack());
        }
        self.start_breakdowns();
        for client in self.clients.ids() {
            self.plan_next(client);
        }
        while let Some(event) = self.queue.pop() {
            self.look_ahead();
            self.handle(event.unpack());
            self.n_until_look -= 1;
            if self.n_until_look == 0 && !self.goes_on() {
                break;
            }
        }
        // Clients whose requests come to an end of their own may not have sent all that would count.
        if self.window.opened.is_some() && self.window.closed.is_none() {
            self.close_window();
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

    /// With many requests under way each is out of the cache when its delay ends. Those of the
    /// next few events are fetched together, which takes hardly longer than one.
    #[inline]
    fn look_ahead(&mut self) {
        for entry in self.queue.newly_in_front() {
            if let Event::Delayed { customer, .. } = entry.event().unpack() {
                self.customers.touch(customer);
            }
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
                self.stop_going_round();
                self.tasks.clear();
            }
        }
    }

    /// Whether the replication goes on: nothing has failed, and since it was last looked at the
    /// clock has moved or a request has come.
    #[cold]
    fn goes_on(&mut self) -> bool {
        self.n_until_look = ENDLESS;
        let here = (self.queue.now(), self.whole.counts.entered);
        if self.looked_at == Some(here) {
            self.stop_going_round();
        }
        self.looked_at = Some(here);
        self.failure.is_none()
    }

    /// Ends the replication after the present event.
    #[cold]
    pub(super) fn fail(&mut self, failure: SimError) {
        self.failure = Some(failure);
        self.n_until_look = 1;
    }

    /// Gives up, since requests go round without end.
    #[cold]
    fn stop_going_round(&mut self) {
        self.fail(SimError::Endless {
            replication: self.replication,
            at: self.queue.now(),
        });
    }

    fn on_arrival(&mut self, id: ClientId) {
        let now = self.queue.now();
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
        let customer = (self.customers).add(planned.id, planned.class, now, counts);
        let first = self.paths[self.classes[planned.class].group as usize][0];
        self.enter(customer, first);
    }

    /// `customer` comes to `stage`.
    #[inline]
    pub(super) fn enter(&mut self, customer: CustomerId, stage: StageId) {
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

    /// Where `customer`, which is to leave `stage`, goes next; `None` if it leaves the network.
    #[inline]
    pub(super) fn route(&mut self, stage: StageId, id: CustomerId) -> Option<StageId> {
        let customer = &mut self.customers[id];
        let path = &self.paths[self.classes[customer.class].group as usize];
        self.nodes[stage].next.choose(customer, path)
    }

    /// The visit of `customer` to `stage` ends with its service.
    #[inline]
    pub(super) fn leave(&mut self, stage: StageId, id: CustomerId) {
        let customer = &mut self.customers[id];
        let label = self.classes[customer.class].label;
        self.nodes[stage].leave(customer, label, self.queue.now());
        if self.trace.is_some() {
            self.trace_visit(stage, id);
        }
        if self.customers.have_ties {
            self.customers.ties(id).attempts = 0;
        }
        self.on_left(stage, id);
    }

    /// What a visit's end causes elsewhere, however it ended.
    #[inline]
    pub(super) fn on_left(&mut self, stage: StageId, id: CustomerId) {
        if self.customers.have_ties
            && let Some((balancer, index)) = self.customers.ties(id).sent_by.take()
        {
            let Role::Balance(balancer) = &mut self.nodes[balancer].role else {
                unreachable!("a balancer sent it")
            };
            balancer.left(index as usize);
        }
        if self.may_block {
            self.tasks.push_back(Task::Admit(stage));
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
        if self.customers.have_ties
            && let Some(parent) = self.customers.ties(id).parent
        {
            let waited = self.customers[id].waited;
            self.customers[parent].waited += waited;
            self.customers.remove(id);
            self.on_copy_ended(parent, is_lost);
            return;
        }
        let customer = &self.customers[id];
        let (client, counts) = (customer.client(), customer.counts);
        let whole = &mut self.whole;
        whole.gauge.advance(now);
        whole.gauge.level.present -= 1;
        let sojourn = now.since(customer.born);
        whole.sojourn_ps += u128::from(sojourn.as_ps());
        if is_lost {
            whole.counts.lost += 1;
        } else {
            whole.counts.served += 1;
            if counts {
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
        if counts && self.window.on_end(client) {
            self.close_window();
        }
        if self.clients[client].is_closed_loop {
            self.plan_next(client);
        }
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
                stages: self
                    .nodes
                    .rows()
                    .iter()
                    .map(left)
                    .filter(|(_, n)| *n > 0)
                    .collect(),
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
        let mut ledgers = vec![(
            counts.entered,
            counts.entered,
            self.whole.gauge,
            self.whole.sojourn_ps,
        )];
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

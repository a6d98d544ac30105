//! Losses of hosts and stages, and clients that give up and try again.
//!
//! While a replica is lost, all that was at it is gone: what its threads did, its line, its batches, and
//! messages to it, or from it that have not left it. What comes to it later is lost when it arrives.
//! A replica that is back knows of no request that was there before: replies to those are lost too. A
//! sender learns nothing of all this, but that after a time those who choose leave the replica out.
//!
//! An attempt that is lost, here or in one of its branches, is never answered. Its client waits until
//! its timeout, gives it up, and tries again or lets the request fail. An attempt that is given up and
//! is not lost goes on, and is dropped when its reply is back: servers know nothing of their clients'
//! patience. The client goes on with another connection then. Connections that proxies keep, and what
//! balancers count, are held by an attempt that is lost until it is given up.
//!
//! # Order
//! At one instant, what ends comes before what begins, and what is known of either after it.

use schema::ids::{ClientId, Id, Table};
use schema::run::{Leg, Status};
use schema::units::SimTime;

use crate::engine::EventQueue;
use crate::event::{Event, Ticket};
use crate::ids::{ConnectionId, RoleId};
use crate::pipeline::{Connection, Pipeline};
use crate::stations::{Task, Threads};
use crate::tables::{Choice, ConnectionRow, OutageChange, Tables};

/// What is lost, and who knows.
#[derive(Debug)]
pub(crate) struct Losses {
    /// By role; empty if nothing is ever lost.
    roles: Table<RoleId, Loss>,
    /// By hop of each connection: how often the sender had been lost when it sent.
    n_lost_before: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    /// How many outages it is in, and of how many senders know.
    n_now: u32,
    n_known: u32,
    /// How often it has been lost.
    n_lost: u32,
}

/// What a connection holds of a hop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Whether a balancer counts its request.
    pub(crate) is_outstanding: bool,
    /// Whether it has one of a pool of connections.
    pub(crate) has_pooled: bool,
    /// Whether its request is in the memory of the far end.
    pub(crate) is_in_memory: bool,
}

/// Where the request of a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It carries none.
    Nowhere,
    /// At the near end of its hop.
    Near,
    /// Between the two.
    Moving,
    /// At the far end of its hop.
    Far,
}

/// What becomes of the request of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Its client waits for it.
    Awaited,
    /// Its client has given it up.
    GivenUp,
    /// It is lost, and its client does not know.
    Lost,
}

impl Losses {
    pub(crate) fn new(tables: &Tables<'_>) -> Losses {
        let n = if tables.outages.is_empty() {
            0
        } else {
            tables.roles.len()
        };
        Losses {
            roles: (0..n).map(|_| Loss::default()).collect(),
            n_lost_before: Vec::new(),
        }
    }

    /// Whether senders know that the role is lost.
    pub(crate) fn is_known(&self, role: RoleId) -> bool {
        !self.roles.is_empty() && self.roles[role].n_known > 0
    }

    fn is_lost(&self, role: RoleId) -> bool {
        self.roles[role].n_now > 0
    }
}

impl Pipeline<'_> {
    pub(crate) fn schedule_outages(&self, queue: &mut EventQueue<Event>) {
        for (row, index) in self.tables.outages.iter().zip(0..) {
            queue.schedule_at(row.at, Event::Outage(index));
        }
    }

    /// What the connection carries now.
    pub(crate) fn ticket(&self, id: ConnectionId) -> Ticket {
        Ticket {
            connection: id,
            number: self.connections[id].n_lost,
        }
    }

    pub(crate) fn is_valid(&self, ticket: Ticket) -> bool {
        self.connections[ticket.connection].n_lost == ticket.number
    }

    /// Whether something that has come to a host is still of use, and there is somebody who takes it.
    pub(crate) fn is_received(&mut self, queue: &mut EventQueue<Event>, ticket: Ticket) -> bool {
        if !self.is_valid(ticket) {
            return false;
        }
        if self.losses.roles.is_empty() {
            return true;
        }
        let [_, receiver] = self.roles(ticket.connection);
        let is_lost = self.losses.is_lost(receiver);
        if is_lost {
            self.lose(queue, ticket.connection);
        }
        !is_lost
    }

    /// Notes who sends the connection's request on its hop.
    pub(crate) fn note_sender(&mut self, id: ConnectionId) {
        let connection = &self.connections[id];
        if self.losses.roles.is_empty() || connection.leg == Leg::Reply {
            return;
        }
        let hop = connection.ends + usize::from(connection.hop);
        let before = &mut self.losses.n_lost_before;
        if before.len() <= hop {
            before.resize(self.ends.len(), 0);
        }
        before[hop] = self.losses.roles[self.ends[hop][0]].n_lost;
    }

    /// Whether the connection's message is a reply to somebody who was lost since, and is back.
    pub(crate) fn is_for_nobody(&self, id: ConnectionId) -> bool {
        let connection = &self.connections[id];
        if self.losses.roles.is_empty() || connection.leg == Leg::Request {
            return false;
        }
        let n_hops = self.tables.paths[connection.path].n_hops;
        // What goes straight goes to who sent on the first hop.
        let hop = usize::from(connection.hop);
        let hop = connection.ends + if hop == n_hops { 0 } else { hop };
        self.losses.n_lost_before[hop] != self.losses.roles[self.ends[hop][0]].n_lost
    }

    pub(crate) fn on_outage(&mut self, queue: &mut EventQueue<Event>, index: u32) {
        let tables = self.tables;
        let row = &tables.outages[index as usize];
        for role in &row.roles {
            let loss = &mut self.losses.roles[*role];
            match row.change {
                OutageChange::Ends => loss.n_now -= 1,
                OutageChange::EndIsKnown => loss.n_known -= 1,
                OutageChange::IsKnown => loss.n_known += 1,
                OutageChange::Begins => {
                    loss.n_now += 1;
                    loss.n_lost += 1;
                    self.lose_role(queue.now(), *role);
                }
            }
        }
        if row.change == OutageChange::Begins {
            for id in self.connections.ids() {
                if self.is_lost_with(id, &row.roles) {
                    self.lose(queue, id);
                }
            }
        }
    }

    /// Forgets all that the role has, but for the work of connections.
    fn lose_role(&mut self, now: SimTime, role: RoleId) {
        let row = &self.tables.roles[role];
        self.receivers[role] = row.receive_threads.map(Threads::new);
        if let Some(server) = row.server {
            self.lose_server(now, server);
        }
        for id in self.connections.ids() {
            let connection = &self.connections[id];
            for hop in 0..self.tables.paths[connection.path].n_hops {
                let at = self.connections[id].ends + hop;
                let [near, far] = self.ends[at];
                if near != role {
                    continue;
                }
                if std::mem::take(&mut self.held[at].is_outstanding) {
                    self.present[far] -= 1;
                }
                self.held[at].has_pooled = false;
                if let Some(pool) = self.pool(id, hop) {
                    self.pools[pool] = Threads::new(self.tables.pools[pool]);
                }
            }
        }
        for (id, balancer) in self.tables.balancers.iter() {
            if balancer.sender == role {
                self.balancers[id].forget();
            }
        }
    }

    fn is_lost_now(&self, role: RoleId) -> bool {
        !self.losses.roles.is_empty() && self.losses.is_lost(role)
    }

    /// Whether what the connection carries is lost with these roles.
    fn is_lost_with(&self, id: ConnectionId, roles: &[RoleId]) -> bool {
        let connection = &self.connections[id];
        let [near, far] = self.ends[connection.ends + usize::from(connection.hop)];
        match connection.place {
            Place::Nowhere => false,
            Place::Near => roles.contains(&near),
            Place::Far => roles.contains(&far),
            Place::Moving => {
                let [sender, receiver] = self.roles(id);
                let has_left = self.has_left(id);
                roles.contains(&receiver) || (!has_left && roles.contains(&sender))
            }
        }
    }

    /// Whether all of the connection's message has left its sender.
    fn has_left(&self, id: ConnectionId) -> bool {
        let connection = &self.connections[id];
        let is_moved = match self.tables.hop(connection).verbs {
            Some(_) => self.is_read(id),
            None => connection.message.is_sent(),
        };
        is_moved && self.wires.have_left(id, connection.leg)
    }

    /// What the connection carries is lost.
    pub(crate) fn lose(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        self.stop(queue, id);
        let connection = &mut self.connections[id];
        let given_up = connection.fate == Fate::GivenUp;
        connection.fate = Fate::Lost;
        if given_up {
            self.let_all_go(queue, id);
        }
        match self.connections[id].parent {
            Some(parent) => {
                self.connections[parent].has_lost = true;
                // If that is lost itself nobody waits.
                if self.connections[parent].n_branches > 0 {
                    self.on_branch_done(queue, parent);
                }
            }
            None if given_up => self.spare(id),
            None => {}
        }
    }

    /// Stops all that is done for the connection.
    fn stop(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let now = queue.now();
        let connection = &self.connections[id];
        let hop = usize::from(connection.hop);
        let origin = self.ends[connection.ends][0];
        let [near, far] = self.ends[connection.ends + hop];
        let (place, [_, receiver]) = (connection.place, self.roles(id));
        for role in [origin, near, far] {
            for task in [Task::Step(id), Task::Send(id), Task::Receive(id)] {
                self.cores.cancel_any(now, role, task);
            }
        }
        if place == Place::Near
            && let Some(pool) = self.pool(id, hop)
        {
            self.pools[pool].give_up(&id);
        }
        if place == Place::Moving
            && let Some(threads) = &mut self.receivers[receiver]
            && !threads.give_up(&id)
            && self.connections[id].message.has_thread()
            && !self.is_lost_now(receiver)
        {
            self.thread_done(queue, id);
        }
        self.wires.lose(now, id);
        for nic in self.nics.ids() {
            self.nics[nic].forget(id);
        }
        let connection = &mut self.connections[id];
        connection.place = Place::Nowhere;
        connection.n_branches = 0;
        connection.n_lost = connection.n_lost.wrapping_add(1);
        for hop in 0..self.tables.paths[self.connections[id].path].n_hops {
            let at = self.connections[id].ends + hop;
            if std::mem::take(&mut self.held[at].is_in_memory) {
                let machine = self.tables.roles[self.ends[at][1]].machine;
                let bytes = self.tables.payload(&self.connections[id], hop);
                self.costs.let_go(machine, bytes);
            }
        }
    }

    /// The client gives up the attempt that the connection carries, and tries again or lets the request
    /// fail.
    pub(crate) fn give_up(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &self.connections[id];
        let is_at_client = connection.leg == Leg::Request && connection.hop == 0;
        let is_sending = match connection.place {
            Place::Near => true,
            Place::Moving => !connection.message.is_sent(),
            Place::Nowhere | Place::Far => false,
        };
        let avoid = self.sent_to(id);
        if is_at_client && is_sending {
            self.stop(queue, id);
            self.connections[id].fate = Fate::Lost;
        }
        for member in self.tree(id) {
            let connection = &mut self.connections[member];
            match connection.fate {
                Fate::Lost => self.let_all_go(queue, member),
                Fate::Awaited | Fate::GivenUp => connection.fate = Fate::GivenUp,
            }
        }
        let next = if self.is_quiet(id) {
            id
        } else {
            self.hand_over(id)
        };
        let connection = &mut self.connections[next];
        let client = connection.client;
        let retry = self.tables.clients[client].retry.as_ref();
        let Some(retry) = retry.filter(|retry| connection.n_retries < retry.attempts) else {
            return self.complete(queue, next, Status::Failed);
        };
        connection.n_retries += 1;
        connection.avoid = avoid.filter(|_| retry.elsewhere);
        let orbit = self.clients[client].orbit.as_mut();
        let orbit = orbit.expect("its clients try again");
        let at = queue.now() + orbit.draw(connection.n_retries);
        queue.schedule_at(at, Event::Retried(next));
    }

    /// The client tries again: what it had prepared sets out anew.
    pub(crate) fn try_again(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &mut self.connections[id];
        connection.hop = 0;
        connection.leg = Leg::Request;
        connection.done = queue.now();
        self.begin_attempt(queue, id);
        self.go_on(queue, id);
    }

    /// The replica that the connection's request was sent to where first somebody chose.
    fn sent_to(&self, id: ConnectionId) -> Option<RoleId> {
        let connection = &self.connections[id];
        let hops = &self.tables.paths[connection.path].hops;
        let hop = hops
            .iter()
            .position(|hop| matches!(hop.choice, Choice::Balanced(_)))?;
        let has_come = connection.leg == Leg::Reply || usize::from(connection.hop) >= hop;
        has_come.then(|| self.ends[connection.ends + hop][1])
    }

    /// The connection of a request and those of its branches.
    fn tree(&self, root: ConnectionId) -> impl Iterator<Item = ConnectionId> + use<> {
        let connection = &self.connections[root];
        let n = self.tables.scenario.groups[connection.group].branches.len();
        let branches = (connection.first_branch..).take(n);
        std::iter::once(root).chain(branches.map(ConnectionId::from_index))
    }

    /// Whether nothing is under way on the connection, or on those of its branches.
    fn is_quiet(&self, root: ConnectionId) -> bool {
        let mut tree = self.tree(root);
        tree.all(|id| self.connections[id].place == Place::Nowhere)
    }

    /// The request goes on on another connection of its client, while the attempt goes on on this.
    fn hand_over(&mut self, id: ConnectionId) -> ConnectionId {
        let client = self.connections[id].client;
        let spare = self.clients[client].spare.pop();
        let next = spare.unwrap_or_else(|| self.open(client));
        let from = self.connections[id].clone();
        let to = &mut self.connections[next];
        to.request = from.request;
        to.class = from.class;
        to.ready = from.ready;
        to.start = from.start;
        to.client_core_time = from.client_core_time;
        to.n_retries = from.n_retries;
        next
    }

    /// An attempt that was given up is over; its connection can carry another.
    pub(crate) fn spare(&mut self, id: ConnectionId) {
        self.connections[id].place = Place::Nowhere;
        // One of which something is still under way, for nobody, is not used again.
        if self.is_quiet(id) {
            let client = self.connections[id].client;
            self.clients[client].spare.push(id);
        }
    }

    /// The client opens another connection, as those that it has.
    fn open(&mut self, client: ClientId) -> ConnectionId {
        let tables = self.tables;
        let like = tables.clients[client].connections[0];
        let root = ConnectionId::from_index(self.connections.len());
        let old_first = tables.connections[like].first_branch;
        let first = root.index() + 1;
        let members: Vec<ConnectionId> = self.tree(like).collect();
        for member in members {
            let row = tables.connections[member];
            let parent = row.parent.map(|parent| {
                let is_branch = parent
                    .index()
                    .checked_sub(old_first)
                    .filter(|_| parent != like);
                is_branch.map_or(root, |index| ConnectionId::from_index(first + index))
            });
            let row = ConnectionRow {
                first_branch: first,
                parent,
                ..row
            };
            let connection = Connection::new(tables, &row, &mut self.ends);
            self.connections.push(connection);
            self.wires.add_connection();
        }
        self.held.resize(self.ends.len(), Held::default());
        root
    }

    /// Hands back what the connection holds of balancers and pools.
    fn let_all_go(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        for hop in (0..self.tables.paths[self.connections[id].path].n_hops).rev() {
            self.returned(queue, id, hop);
        }
    }
}

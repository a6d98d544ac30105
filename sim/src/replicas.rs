//! Which replica of a stage a request goes to, and whether a connection is free.
//!
//! A sender chooses when it is about to send: a proxy when it has translated the request. If it keeps a
//! number of connections to each replica, the request then waits for a free one to the one that was
//! chosen, first come, first served, and keeps it until the reply has come back.

use schema::ids::Id;
use schema::random::{Seed, stream};
use schema::run::SpanName;

use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::{ConnectionId, PoolId, RoleId};
use crate::losses::Place;
use crate::pipeline::Pipeline;
use crate::record::{At, Part};
use crate::stations::Balancer;
use crate::tables::{BalancerRow, Choice};

impl BalancerRow {
    /// The balancer before its first request; what is random is drawn from a stream of `seed`.
    pub(crate) fn balancer(&self, seed: Seed) -> Balancer<RoleId> {
        let (first, n) = self.to;
        let to = (first.index()..first.index() + n).map(RoleId::from_index);
        let rng = stream(seed, &self.name);
        Balancer::new(self.policy, to.collect(), &self.weights, rng)
    }
}

impl Pipeline<'_> {
    /// The connection's request goes on to the next hop: its sender chooses a replica and, if it keeps
    /// few connections to that, waits for one.
    pub(crate) fn go_on(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        self.choose(id);
        self.connections[id].place = Place::Near;
        let hop = usize::from(self.connections[id].hop);
        let Some(pool) = self.pool(id, hop) else {
            return self.send(queue, id);
        };
        if self.pools[pool].want(id).is_some() {
            self.send_pooled(queue, id);
        }
    }

    fn choose(&mut self, id: ConnectionId) {
        let connection = &self.connections[id];
        let row = self.tables.hop(connection);
        let hop = connection.ends + usize::from(connection.hop);
        let replica = self.tables.roles[self.ends[hop][0]].replica;
        let chosen = match &row.choice {
            Choice::Only => return,
            Choice::Same => RoleId::from_index(row.first_role.index() + replica),
            Choice::Balanced(balancers) => {
                let balancer = &mut self.balancers[balancers[replica]];
                let losses = &self.losses;
                let avoid = connection.avoid;
                let (_, chosen) = balancer.choose(
                    |role| self.present[role],
                    |role| losses.is_known(role) || avoid == Some(role),
                );
                self.present[chosen] += 1;
                self.held[hop].is_outstanding = true;
                chosen
            }
        };
        self.ends[hop][1] = chosen;
        let path = &self.tables.paths[connection.path];
        if usize::from(connection.hop) + 1 < path.n_hops {
            self.ends[hop + 1][0] = chosen;
        } else if path.is_straight() {
            self.ends[hop + 1][1] = chosen;
        }
    }

    /// The pool of connections over which the connection's request goes on a hop, if there is one.
    pub(crate) fn pool(&self, id: ConnectionId, hop: usize) -> Option<PoolId> {
        let row = &self.tables.paths[self.connections[id].path].hops[hop];
        if row.pools.is_empty() {
            return None;
        }
        Some(row.pools[self.pair(id, hop)])
    }

    /// The number of the pair of replicas between which the connection's request is on a hop.
    pub(crate) fn pair(&self, id: ConnectionId, hop: usize) -> usize {
        let connection = &self.connections[id];
        let ends = self.ends[connection.ends + hop];
        let [near, far] = ends.map(|role| self.tables.roles[role].replica);
        near * self.tables.paths[connection.path].hops[hop].n_roles + far
    }

    /// The connection's request has one of the pooled connections.
    fn send_pooled(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let now = queue.now();
        let connection = &self.connections[id];
        let [near, _] = self.ends[connection.ends + usize::from(connection.hop)];
        let role = &self.tables.roles[near];
        let part = Part {
            bytes: self.tables.input(connection),
            ..Part::of(SpanName::Queue, role.host)
        };
        let at = At {
            ready: connection.done,
            start: now,
            end: now,
        };
        let stage = role.stage.expect("a proxy keeps the connections");
        self.record.part(connection, stage, part, at);
        self.held[connection.ends + usize::from(connection.hop)].has_pooled = true;
        self.connections[id].done = now;
        self.send(queue, id);
    }

    /// The reply to the connection's request has come back over a hop.
    pub(crate) fn returned(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId, hop: usize) {
        let connection = &self.connections[id];
        let row = &self.tables.paths[connection.path].hops[hop];
        let held = std::mem::take(&mut self.held[connection.ends + hop]);
        if let (true, Choice::Balanced(balancers)) = (held.is_outstanding, &row.choice) {
            let [near, far] = self.ends[connection.ends + hop];
            let [near, index] = [near, far].map(|role| self.tables.roles[role].replica);
            self.balancers[balancers[near]].left(index);
            self.present[far] -= 1;
        }
        if held.has_pooled
            && let Some(pool) = self.pool(id, hop)
            && let Some(next) = self.pools[pool].done()
        {
            self.send_pooled(queue, next);
        }
    }
}

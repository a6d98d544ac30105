//! Stages that serve nobody: forks and joins, balancers, tokens.

use schema::ids::StageId;

use super::customer::CustomerId;
use super::engine::{Engine, Task};
use super::event::Context;
use super::node::Role;
use crate::error::SimError;

impl Engine {
    /// Hands back tokens of `pool`.
    pub(super) fn give_back(&mut self, pool: StageId) {
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
    pub(super) fn enter_pool(&mut self, id: CustomerId, stage: StageId) {
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
        pool.waiting.push(&mut self.customers, id, 0);
        self.grant(stage);
    }

    /// Gives the free tokens of `stage` to those who wait for them.
    pub(super) fn grant(&mut self, stage: StageId) {
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
    pub(super) fn enter_release(&mut self, id: CustomerId, stage: StageId) {
        let Role::Release(pool) = self.nodes[stage].role else {
            unreachable!("the stage takes tokens back")
        };
        let held = self.held.entry(id).or_default();
        let Some(at) = held.iter().position(|held| *held == pool) else {
            self.fail(SimError::NoTokens {
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
    pub(super) fn balance(&mut self, id: CustomerId, stage: StageId) -> StageId {
        let mut node = std::mem::replace(&mut self.nodes[stage].role, Role::Join);
        let Role::Balance(balancer) = &mut node else {
            unreachable!("the stage is a balancer")
        };
        let (index, station) =
            balancer.choose(|station| self.nodes[station].gauge.level.present, |_| false);
        self.nodes[stage].role = node;
        self.customers.ties(id).sent_by = Some((stage, index as u32));
        station
    }

    /// A copy of `customer` goes to each of the fork's stages.
    pub(super) fn enter_fork(&mut self, id: CustomerId, stage: StageId) {
        let Role::Fork(to) = &self.nodes[stage].role else {
            unreachable!("the stage is a fork")
        };
        let original = self.customers.ties(id);
        original.n_copies = to.len() as u32;
        original.link = None;
        for to in to {
            let copy = self.customers.add_copy(id);
            self.tasks.push_back(Task::Enter(copy, *to));
        }
    }

    /// A copy waits for the others; what is no copy passes.
    pub(super) fn enter_join(&mut self, id: CustomerId, stage: StageId) {
        let now = self.queue.now();
        let parent = if self.customers.have_ties {
            self.customers.ties(id).parent
        } else {
            None
        };
        let Some(parent) = parent else {
            match self.route(stage, id) {
                Some(next) => self.tasks.push_back(Task::Enter(id, next)),
                None => self.end(id, false),
            }
            return;
        };
        let node = &mut self.nodes[stage];
        node.gauge.advance(now);
        node.gauge.level.present += 1;
        node.counts.entered += 1;
        let original = self.customers.ties(parent);
        let before = original.link.replace(id);
        original.join = Some(stage);
        let copy = &mut self.customers[id];
        copy.arrived = now;
        let ties = self.customers.ties(id);
        ties.link = before;
        ties.join = Some(stage);
        self.on_copy_ended(parent, false);
    }

    /// A copy of `parent` is at its join, or has left the network. Of several joins the request goes
    /// on from that to which the last came. The tokens of the copies are its own then.
    pub(super) fn on_copy_ended(&mut self, parent: CustomerId, is_lost: bool) {
        let original = self.customers.ties(parent);
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
            let hop = row.hop;
            let ties = self.customers.ties(copy);
            next = ties.link;
            let at = ties.join.take().expect("what has joined waits somewhere");
            let gauge = &mut self.nodes[at].gauge;
            gauge.advance(now);
            gauge.level.in_service += 1;
            self.leave(at, copy);
            let waited = self.customers[copy].waited;
            self.customers.remove(copy);
            self.customers[parent].hop = hop;
            self.customers[parent].waited += waited;
            if let Some(mut pools) = self.held.remove(&copy) {
                self.held.entry(parent).or_default().append(&mut pools);
            }
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
}

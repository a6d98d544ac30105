//! Visits to stations: how requests enter, are served, and leave.

use schema::ids::StageId;

use super::customer::CustomerId;
use super::engine::Engine;
use super::event::{Context, Event};
use super::line::Line;
use super::node::{Blocked, Role, Servers, StationState};
use super::waiting::rank;

impl Engine {
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

    pub(super) fn with_line<T>(
        &mut self,
        station: StageId,
        what: impl FnOnce(&mut Line, &mut Context<'_>) -> T,
    ) -> T {
        let (Servers::Line(line), mut ctx) = self.servers(station) else {
            unreachable!("only servers of a line are released, batch or fail")
        };
        what(line, &mut ctx)
    }

    #[inline]
    pub(super) fn on_served(&mut self, station: StageId, server: u32, generation: u32) {
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

    pub(super) fn on_shared(&mut self, station: StageId, generation: u32) {
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
    pub(super) fn finish(&mut self, station: StageId, id: CustomerId, server: Option<u32>) {
        let customer = &mut self.customers[id];
        let class = &self.classes[customer.class];
        let node = &mut self.nodes[station];
        let next = node
            .next
            .choose(customer, &self.paths[class.group as usize]);
        if self.may_block
            && let Some(next) = next
            && self.is_blocked(next)
        {
            self.block(station, id, next, server);
            if let Some(server) = server {
                self.with_line(station, |line, ctx| line.block(ctx, server, 1));
            }
            return;
        }
        let customer = &mut self.customers[id];
        let node = &mut self.nodes[station];
        node.leave(customer, class.label, self.queue.now());
        if let Some(server) = server
            && let Role::Station(state) = &mut node.role
            && let Servers::Line(line) = &mut state.discipline
        {
            let mut ctx = Context {
                queue: &mut self.queue,
                customers: &mut self.customers,
                gauge: &mut node.gauge,
                station,
            };
            line.release(&mut ctx, server);
        }
        if self.trace.is_some() {
            self.trace_visit(station, id);
        }
        if self.customers.have_ties {
            self.customers.ties(id).attempts = 0;
        }
        if self.customers.have_ties || self.may_block {
            self.on_left(station, id);
        }
        match next {
            Some(next) => self.enter(id, next),
            None => self.end(id, false),
        }
    }

    /// The service of a batch has ended, of which `customer` is the first: as one of each. Those who
    /// go on enter where they go before anybody is blocked there.
    fn finish_batch(&mut self, station: StageId, server: u32, customer: CustomerId) {
        let mut done = self.with_line(station, |line, _| line.take_batch(server));
        done.insert(0, customer);
        let (mut entering, mut blocked) = (Vec::new(), Vec::new());
        for customer in done {
            match self.route(station, customer) {
                Some(next) if self.is_blocked_after(next, &entering) => {
                    blocked.push((customer, next));
                }
                Some(next) => {
                    self.leave(station, customer);
                    entering.push((customer, next));
                }
                None => {
                    self.leave(station, customer);
                    self.end(customer, false);
                }
            }
        }
        self.with_line(station, |line, ctx| match blocked.len() {
            0 => line.release(ctx, server),
            n => line.block(ctx, server, n as u32),
        });
        for (customer, next) in entering {
            self.enter(customer, next);
        }
        for (customer, next) in blocked {
            self.block(station, customer, next, Some(server));
        }
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

    /// Whether those who would enter stay where they are.
    #[inline]
    fn is_blocked(&self, stage: StageId) -> bool {
        self.is_blocked_after(stage, &[])
    }

    /// Whether those who would enter after these, who are about to enter these stages, stay where
    /// they are.
    #[inline]
    fn is_blocked_after(&self, stage: StageId, entering: &[(CustomerId, StageId)]) -> bool {
        if !self.may_block {
            return false;
        }
        let node = &self.nodes[stage];
        match &node.role {
            Role::Station(state) if state.blocks => {
                let before = entering.iter().filter(|(_, to)| *to == stage).count();
                let present = node.gauge.level.present as usize + before;
                present >= state.capacity as usize || !state.blocked.is_empty()
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn enter_station(&mut self, id: CustomerId, stage: StageId) {
        if self.may_block && self.is_blocked(stage) {
            let state = self.station(stage);
            state.blocked.push_back(Blocked {
                customer: id,
                at: None,
            });
            return;
        }
        let customer = &mut self.customers[id];
        let class = self.classes[customer.class];
        let node = &mut self.nodes[stage];
        let Role::Station(state) = &mut node.role else {
            unreachable!("the stage is a station")
        };
        // Drawn whether it finds room or not, so that one more or less changes nobody else's.
        customer.work = state.service.draw(class.label as usize);
        if node.gauge.level.present >= state.capacity {
            node.counts.rejected += 1;
            self.on_left(stage, id);
            self.turn_away(id, stage);
            return;
        }
        let now = self.queue.now();
        customer.arrived = now;
        customer.has_started = false;
        let rank = rank(state.order, class.priority, node.counts.entered);
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
            Servers::Line(servers) => servers.enter(&mut ctx, id, rank),
            Servers::Preemptive(servers) => servers.enter(&mut ctx, id, rank),
            Servers::Sharing(servers) => {
                let classes = &self.classes;
                servers.enter(&mut ctx, id, |customer, ctx| {
                    classes[ctx.customers[customer].class].weight as usize
                });
            }
            Servers::TimeSliced(servers) => servers.enter(&mut ctx, id),
            Servers::Delay => ctx.delay(id),
        }
        if state.patience.is_some() {
            self.wait_patiently(id, stage);
        }
    }

    /// `customer`, which has just entered, may lose its patience.
    fn wait_patiently(&mut self, id: CustomerId, stage: StageId) {
        let state = self.station(stage);
        let (sampler, rng) = &mut **state.patience.as_mut().expect("it may lose its patience");
        let patience = sampler.sample(rng);
        if let Some(ticket) = self.customers.ticket(id) {
            let event = Event::Impatient {
                station: stage,
                ticket,
            };
            self.queue.schedule_in(patience, event.pack());
        }
    }

    fn station(&mut self, stage: StageId) -> &mut StationState {
        let Role::Station(state) = &mut self.nodes[stage].role else {
            unreachable!("the stage is a station")
        };
        state
    }

    /// Lets in those who stay where they are, as far as there is room.
    pub(super) fn admit_blocked(&mut self, stage: StageId) {
        loop {
            let node = &mut self.nodes[stage];
            let state = match &mut node.role {
                Role::Station(state) => state,
                Role::Tokens(_) => return self.grant(stage),
                _ => return,
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
            // The others outside come after it.
            let blocked = std::mem::take(&mut self.station(stage).blocked);
            self.enter_station(customer, stage);
            self.station(stage).blocked = blocked;
        }
    }

    /// `customer`, which waits at `stage`, gives up.
    pub(super) fn on_impatient(&mut self, stage: StageId, id: CustomerId) {
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
        match &mut state.retry {
            Some(orbit) if self.customers.ties(id).attempts < orbit.attempts => {
                let ties = self.customers.ties(id);
                ties.attempts += 1;
                node.counts.retried += 1;
                let backoff = orbit.draw(ties.attempts);
                let event = Event::Retried {
                    station: stage,
                    customer: id,
                };
                self.queue.schedule_in(backoff, event.pack());
            }
            _ => {
                node.counts.lost += 1;
                self.end(id, true);
            }
        }
    }
}

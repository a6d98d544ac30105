//! Servers that serve one request after the other, or one batch, without interruption.

use schema::scenario::{Lot, Order};
use schema::units::{SimDuration, SimTime};

use super::customer::CustomerId;
use super::event::{Context, Event};
use super::waiting::WaitingLine;

/// Servers with a line before them.
#[derive(Debug)]
pub(super) struct Line {
    waiting: WaitingLine,
    n_waiting: usize,
    servers: Vec<Server>,
    /// Servers that work and have nothing to do; the last is the next to start.
    idle: Vec<u32>,
    batching: Option<Batching>,
}

#[derive(Clone, Debug)]
struct Server {
    load: Load,
    is_up: bool,
    /// Whom it serves, and the others of a batch.
    customer: Option<CustomerId>,
    others: Vec<CustomerId>,
    /// When it is done.
    due: SimTime,
    generation: u32,
}

/// What a server has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Load {
    Nothing,
    Service,
    /// It failed when so much was left.
    Interrupted(SimDuration),
    /// So many of its requests cannot go on.
    Blocked(u32),
}

#[derive(Clone, Debug)]
struct Batching {
    lot: Lot,
    generation: u32,
}

impl Line {
    pub(super) fn new(servers: u32, order: Order, batch: Option<Lot>) -> Line {
        let server = Server {
            load: Load::Nothing,
            is_up: true,
            customer: None,
            others: Vec::new(),
            due: SimTime::ZERO,
            generation: 0,
        };
        Line {
            waiting: WaitingLine::new(order),
            n_waiting: 0,
            servers: vec![server; servers as usize],
            idle: (0..servers).rev().collect(),
            batching: batch.map(|lot| Batching { lot, generation: 0 }),
        }
    }

    /// A request enters.
    #[inline]
    pub(super) fn enter(&mut self, ctx: &mut Context<'_>, customer: CustomerId, rank: u64) {
        if self.batching.is_none()
            && let Some(server) = self.idle.pop()
        {
            self.serve(ctx, server, customer);
            return;
        }
        self.waiting.push(ctx.customers, customer, rank);
        self.n_waiting += 1;
        if self.batching.is_some() {
            self.serve_batches(ctx);
        }
    }

    /// A request that waited has left.
    pub(super) const fn on_left(&mut self) {
        self.n_waiting -= 1;
    }

    /// Whether somebody waits while a server is out of order.
    pub(super) fn waits_for_repair(&self) -> bool {
        self.n_waiting > 0 && self.servers.iter().any(|server| !server.is_up)
    }

    /// A server is done: whom it served, of a batch the first. The server stays with them until it
    /// is [released](Line::release).
    #[inline]
    pub(super) fn on_served(
        &mut self,
        ctx: &mut Context<'_>,
        server: u32,
        generation: u32,
    ) -> Option<CustomerId> {
        let row = &mut self.servers[server as usize];
        if row.generation != generation {
            return None;
        }
        row.load = Load::Nothing;
        ctx.gauge.level.remove_busy(1);
        row.customer.take()
    }

    /// Whether `server` served others with the one that it gave.
    #[inline]
    pub(super) fn has_batch(&self, server: u32) -> bool {
        self.batching.is_some() && !self.servers[server as usize].others.is_empty()
    }

    /// Those others.
    pub(super) fn take_batch(&mut self, server: u32) -> Vec<CustomerId> {
        std::mem::take(&mut self.servers[server as usize].others)
    }

    /// `n` of those that `server` has served cannot go on, and keep it.
    pub(super) fn block(&mut self, ctx: &mut Context<'_>, server: u32, n: u32) {
        self.servers[server as usize].load = Load::Blocked(n);
        ctx.gauge.level.add_busy(1);
    }

    /// One of those that kept `server` goes on; whether it was the last.
    pub(super) fn unblock(&mut self, server: u32) -> bool {
        let row = &mut self.servers[server as usize];
        let Load::Blocked(n) = row.load else {
            unreachable!("a server that keeps a request is blocked")
        };
        row.load = if n == 1 {
            Load::Nothing
        } else {
            Load::Blocked(n - 1)
        };
        n == 1
    }

    /// `server` has nothing to do any more, and takes what waits.
    #[inline]
    pub(super) fn release(&mut self, ctx: &mut Context<'_>, server: u32) {
        if !self.servers[server as usize].is_up {
            return;
        }
        if self.batching.is_some() {
            self.idle.push(server);
            self.serve_batches(ctx);
            return;
        }
        match self.waiting.pop(ctx.customers) {
            Some(customer) => {
                self.n_waiting -= 1;
                self.serve(ctx, server, customer);
            }
            None => self.idle.push(server),
        }
    }

    /// The first in the line has waited long enough.
    pub(super) fn on_batch_due(&mut self, ctx: &mut Context<'_>, generation: u32) {
        if self
            .batching
            .as_ref()
            .is_some_and(|b| b.generation == generation)
        {
            self.serve_batches(ctx);
        }
    }

    /// `server` fails: what it serves is interrupted. Whether it serves anything.
    pub(super) fn on_failure(&mut self, ctx: &mut Context<'_>, server: u32) -> bool {
        let row = &mut self.servers[server as usize];
        row.is_up = false;
        match row.load {
            Load::Service => {
                row.load = Load::Interrupted(row.due.since(ctx.now()));
                row.generation = row.generation.wrapping_add(1);
                ctx.gauge.level.remove_busy(1);
                true
            }
            Load::Nothing => {
                self.idle.retain(|idle| *idle != server);
                false
            }
            Load::Blocked(_) | Load::Interrupted(_) => false,
        }
    }

    /// `server` works again: what was interrupted is resumed. Whether there was anything.
    pub(super) fn on_repair(&mut self, ctx: &mut Context<'_>, server: u32) -> bool {
        let row = &mut self.servers[server as usize];
        row.is_up = true;
        match row.load {
            Load::Interrupted(left) => {
                self.run(ctx, server, left);
                true
            }
            Load::Nothing => {
                self.release(ctx, server);
                false
            }
            Load::Blocked(_) | Load::Service => false,
        }
    }

    #[inline]
    fn serve(&mut self, ctx: &mut Context<'_>, server: u32, customer: CustomerId) {
        ctx.start(customer);
        self.servers[server as usize].customer = Some(customer);
        let work = ctx.customers[customer].work;
        self.run(ctx, server, work);
    }

    #[inline]
    fn run(&mut self, ctx: &mut Context<'_>, server: u32, work: SimDuration) {
        let row = &mut self.servers[server as usize];
        row.load = Load::Service;
        row.due = ctx.now() + work;
        ctx.gauge.level.add_busy(1);
        let event = Event::Served {
            station: ctx.station,
            server,
            generation: row.generation,
        };
        ctx.queue.schedule_at(row.due, event.pack());
    }

    /// Starts every batch that is due, and sees to it that the next is started when it is.
    ///
    /// A batch is due when it is full, or when the first in the line has waited long enough.
    fn serve_batches(&mut self, ctx: &mut Context<'_>) {
        let batching = self.batching.as_mut().expect("the station batches");
        batching.generation = batching.generation.wrapping_add(1);
        let (lot, generation) = (batching.lot.clone(), batching.generation);
        while !self.idle.is_empty() {
            let Some(first) = self.waiting.peek(ctx.customers) else {
                return;
            };
            let due = ctx.customers[first].arrived + lot.delay;
            if self.n_waiting < lot.max as usize && ctx.now() < due {
                let station = ctx.station;
                let event = Event::BatchDue {
                    station,
                    generation,
                };
                ctx.queue.schedule_at(due, event.pack());
                return;
            }
            self.serve_batch(ctx, &lot);
        }
    }

    /// Starts a batch. Its service is that of its first request, and something for each.
    fn serve_batch(&mut self, ctx: &mut Context<'_>, lot: &Lot) {
        let server = self.idle.pop().expect("a server is idle");
        let mut work = SimDuration::ZERO;
        let n = self.n_waiting.min(lot.max as usize);
        for index in 0..n {
            let customer = self.waiting.pop(ctx.customers).expect("so many wait");
            ctx.start(customer);
            work += lot.per_request;
            let row = &mut self.servers[server as usize];
            if index == 0 {
                work += ctx.customers[customer].work;
                row.customer = Some(customer);
            } else {
                row.others.push(customer);
            }
        }
        self.n_waiting -= n;
        self.run(ctx, server, work);
    }
}

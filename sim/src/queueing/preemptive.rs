//! Servers whose service is interrupted by requests that come earlier in the order.

use schema::scenario::Order;
use schema::units::SimTime;

use super::customer::CustomerId;
use super::event::{Context, Event};
use super::waiting::WaitingLine;

/// Servers that always serve those who are first in the order (preemptive resume).
#[derive(Debug)]
pub(super) struct Preemptive {
    /// Those not in service, also those who were.
    waiting: WaitingLine,
    servers: Vec<Server>,
    idle: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    customer: Option<CustomerId>,
    /// The customer's place in the order.
    rank: u64,
    due: SimTime,
    generation: u32,
}

impl Preemptive {
    pub(super) fn new(servers: u32, order: Order) -> Preemptive {
        let server = Server {
            customer: None,
            rank: 0,
            due: SimTime::ZERO,
            generation: 0,
        };
        Preemptive {
            waiting: WaitingLine::new(order),
            servers: vec![server; servers as usize],
            idle: (0..servers).rev().collect(),
        }
    }

    /// A request enters: an idle server takes it, or one that serves the last in the order, if that
    /// is after it. The search for that one takes a step for each server.
    pub(super) fn enter(&mut self, ctx: &mut Context<'_>, customer: CustomerId, rank: u64) {
        if let Some(server) = self.idle.pop() {
            ctx.gauge.level.add_busy(1);
            ctx.start(customer);
            self.run(ctx, server, customer, rank);
            return;
        }
        let last = (0..self.servers.len()).max_by_key(|server| self.servers[*server].rank);
        let last = last.expect("a station has a server");
        let row = &mut self.servers[last];
        if row.rank <= rank {
            self.waiting.push(ctx.customers, customer, rank);
            return;
        }
        let interrupted = row.customer.expect("no server is idle");
        row.generation = row.generation.wrapping_add(1);
        ctx.customers[interrupted].work = row.due.since(ctx.now());
        self.waiting.push(ctx.customers, interrupted, row.rank);
        ctx.start(customer);
        self.run(ctx, last as u32, customer, rank);
    }

    /// A server is done: whom it served. It takes the next in the order.
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
        let done = row.customer.take();
        if let Some((next, rank)) = self.waiting.pop_ranked(ctx.customers) {
            if !ctx.customers[next].has_started {
                ctx.start(next);
            }
            self.run(ctx, server, next, rank);
        } else {
            ctx.gauge.level.remove_busy(1);
            self.idle.push(server);
        }
        done
    }

    fn run(&mut self, ctx: &mut Context<'_>, server: u32, customer: CustomerId, rank: u64) {
        let row = &mut self.servers[server as usize];
        row.customer = Some(customer);
        row.rank = rank;
        row.due = ctx.now() + ctx.customers[customer].work;
        let event = Event::Served {
            station: ctx.station,
            server,
            generation: row.generation,
        };
        ctx.queue.schedule_at(row.due, event.pack());
    }
}

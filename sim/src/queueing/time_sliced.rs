//! Servers that turn from request to request.

use std::collections::VecDeque;

use schema::units::{SimDuration, SimTime};

use super::customer::CustomerId;
use super::event::{Context, Event};
use super::waiting::WaitingLine;

/// Round robin: a server stays with a request until it is done, or for a slice if another waits
/// then. Turning to another costs the switch time; a server that was idle starts at once.
#[derive(Debug)]
pub(super) struct TimeSliced {
    slice: SimDuration,
    switch: SimDuration,
    waiting: WaitingLine,
    n_waiting: usize,
    servers: Vec<Server>,
    idle: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    customer: Option<CustomerId>,
    /// When the present turn starts, or started.
    since: SimTime,
    /// When it ends.
    until: SimTime,
    generation: u32,
}

impl TimeSliced {
    pub(super) fn new(servers: u32, slice: SimDuration, switch: SimDuration) -> TimeSliced {
        let server = Server {
            customer: None,
            since: SimTime::ZERO,
            until: SimTime::ZERO,
            generation: 0,
        };
        TimeSliced {
            slice,
            switch,
            waiting: WaitingLine::Fifo(VecDeque::new()),
            n_waiting: 0,
            servers: vec![server; servers as usize],
            idle: (0..servers).rev().collect(),
        }
    }

    /// A request enters.
    pub(super) fn enter(&mut self, ctx: &mut Context<'_>, customer: CustomerId) {
        if let Some(server) = self.idle.pop() {
            ctx.gauge.level.add_busy(1);
            self.turn(ctx, server, customer, ctx.now());
            return;
        }
        self.waiting.push(ctx.customers, customer, 0);
        self.n_waiting += 1;
        if self.n_waiting == 1 {
            self.end_turns(ctx);
        }
    }

    /// A request that waited has left.
    pub(super) const fn on_left(&mut self) {
        self.n_waiting -= 1;
    }

    /// A turn of a server has ended: whom it served, if that is done.
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
        let customer = row.customer.expect("a turn is somebody's");
        let left = &mut ctx.customers[customer].work;
        let worked = ctx.queue.now().since(row.since).as_ps();
        *left = SimDuration::from_ps(left.as_ps() - worked);
        let is_done = *left == SimDuration::ZERO;
        match self.waiting.pop(ctx.customers) {
            Some(next) => {
                self.n_waiting -= 1;
                if !is_done {
                    self.waiting.push(ctx.customers, customer, 0);
                    self.n_waiting += 1;
                }
                self.turn(ctx, server, next, ctx.now() + self.switch);
            }
            None if is_done => {
                row.customer = None;
                ctx.gauge.level.remove_busy(1);
                self.idle.push(server);
            }
            None => self.turn(ctx, server, customer, ctx.now()),
        }
        is_done.then_some(customer)
    }

    /// `server` works on `customer` from `since` on.
    fn turn(&mut self, ctx: &mut Context<'_>, server: u32, customer: CustomerId, since: SimTime) {
        if !ctx.customers[customer].has_started {
            ctx.start(customer);
        }
        let work = ctx.customers[customer].work;
        let length = if self.n_waiting == 0 {
            work
        } else {
            work.min(self.slice)
        };
        let row = &mut self.servers[server as usize];
        row.customer = Some(customer);
        row.since = since;
        row.until = since + length;
        Self::plan(ctx, server, row);
    }

    /// Somebody waits now: turns that would last until their request is done end with the slice
    /// that they are in.
    fn end_turns(&mut self, ctx: &mut Context<'_>) {
        for (server, row) in self.servers.iter_mut().enumerate() {
            let now = ctx.queue.now();
            let worked = if now > row.since {
                now.since(row.since).as_ps()
            } else {
                0
            };
            let n_slices = worked.div_ceil(self.slice.as_ps()).max(1);
            let end = row.since + SimDuration::from_ps(n_slices * self.slice.as_ps());
            if end < row.until {
                row.until = end;
                row.generation = row.generation.wrapping_add(1);
                Self::plan(ctx, server as u32, row);
            }
        }
    }

    fn plan(ctx: &mut Context<'_>, server: u32, row: &Server) {
        let event = Event::Served {
            station: ctx.station,
            server,
            generation: row.generation,
        };
        ctx.queue.schedule_at(row.until, event.pack());
    }
}

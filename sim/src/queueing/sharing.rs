//! Servers that are shared by all requests in service.

use std::collections::VecDeque;

use schema::units::SimTime;

use super::customer::CustomerId;
use super::event::{Context, Event};
use super::waiting::WaitingLine;
use crate::stations::ProcessorSharing;

/// Processor sharing, perhaps with a line before it.
#[derive(Debug)]
pub(super) struct Sharing {
    station: ProcessorSharing<CustomerId>,
    waiting: WaitingLine,
    limit: usize,
    /// For which instant the next completion is scheduled. It may since have become later, never
    /// earlier.
    due: Option<SimTime>,
    generation: u32,
}

impl Sharing {
    /// `weights` are those of the classes of jobs.
    pub(super) fn new(servers: u32, cap: f64, limit: Option<u32>, weights: &[f64]) -> Sharing {
        Sharing {
            station: ProcessorSharing::weighted(servers, cap, weights),
            waiting: WaitingLine::Fifo(VecDeque::new()),
            limit: limit.map_or(usize::MAX, |limit| limit as usize),
            due: None,
            generation: 0,
        }
    }

    /// A request enters; `class` gives the number of the weight of any.
    pub(super) fn enter(
        &mut self,
        ctx: &mut Context<'_>,
        customer: CustomerId,
        class: impl Fn(CustomerId, &Context<'_>) -> usize,
    ) {
        if self.station.n_jobs() < self.limit {
            self.serve(ctx, customer, class(customer, ctx));
            self.plan(ctx);
        } else {
            self.waiting.push(ctx.customers, customer, 0);
        }
    }

    /// Some request may be done, which it is. The first in the line takes its place.
    pub(super) fn on_shared(
        &mut self,
        ctx: &mut Context<'_>,
        generation: u32,
        class: impl Fn(CustomerId, &Context<'_>) -> usize,
    ) -> Option<CustomerId> {
        if generation != self.generation {
            return None;
        }
        self.due = None;
        let is_done = self.station.next_completion() == Some(ctx.now());
        let done = is_done.then(|| self.station.complete(ctx.now()));
        if done.is_some()
            && let Some(next) = self.waiting.pop(ctx.customers)
        {
            let class = class(next, ctx);
            self.serve(ctx, next, class);
        }
        ctx.gauge.level.set_busy(self.station.busy_share());
        self.plan(ctx);
        done
    }

    fn serve(&mut self, ctx: &mut Context<'_>, customer: CustomerId, class: usize) {
        ctx.start(customer);
        let demand = ctx.customers[customer].work;
        self.station.submit_of(class, ctx.now(), demand, customer);
        ctx.gauge.level.set_busy(self.station.busy_share());
    }

    /// Schedules the next completion, unless an event is scheduled that comes before it.
    fn plan(&mut self, ctx: &mut Context<'_>) {
        let Some(next) = self.station.next_completion() else {
            return;
        };
        if self.due.is_some_and(|due| due <= next) {
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        self.due = Some(next);
        let event = Event::Shared {
            station: ctx.station,
            generation: self.generation,
        };
        ctx.queue.schedule_at(next, event.pack());
    }
}

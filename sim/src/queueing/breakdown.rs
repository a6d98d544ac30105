//! Servers that fail and come back.

use schema::ids::StageId;

use super::engine::Engine;
use super::event::Event;
use super::node::{Role, Servers};

impl Engine {
    /// Schedules the first failure of every server that fails.
    pub(super) fn start_breakdowns(&mut self) {
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
                self.queue
                    .schedule_in(up, Event::Fails { station, server }.pack());
                self.n_breakdowns += 1;
            }
        }
    }

    pub(super) fn on_failure(&mut self, station: StageId, server: u32) {
        let interrupted = self.with_line(station, |line, ctx| line.on_failure(ctx, server));
        self.n_interrupted += usize::from(interrupted);
        let event = Event::Repaired { station, server };
        self.plan_breakdown(station, server, event);
    }

    pub(super) fn on_repair(&mut self, station: StageId, server: u32) {
        let resumed = self.with_line(station, |line, ctx| line.on_repair(ctx, server));
        self.n_interrupted -= usize::from(resumed);
        let event = Event::Fails { station, server };
        self.plan_breakdown(station, server, event);
    }

    /// Whether anyone waits where a server will come back.
    fn anyone_waits_for_repair(&self) -> bool {
        self.nodes.rows().iter().any(|node| match &node.role {
            Role::Station(state) => match &state.discipline {
                Servers::Line(line) => line.waits_for_repair(),
                _ => false,
            },
            _ => false,
        })
    }

    /// Schedules the next failure or repair, unless nothing can happen any more.
    fn plan_breakdown(&mut self, station: StageId, server: u32, event: Event) {
        self.n_breakdowns -= 1;
        let nothing_else = self.queue.n_pending() == self.n_breakdowns;
        if nothing_else && self.n_interrupted == 0 && !self.anyone_waits_for_repair() {
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
        self.queue.schedule_in(length, event.pack());
        self.n_breakdowns += 1;
    }
}

//! The clients of a network.

use schema::ids::ClientId;
use schema::units::SimTime;
use schema::workload::{ClientPlan, Planned};

use super::engine::Engine;
use super::event::Event;
use crate::error::SimError;

/// Requests that a closed loop may send at one instant before it is taken to stand still.
const STANDS: u32 = 100_000;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) plan: ClientPlan,
    /// The request whose arrival is scheduled.
    pub(super) next: Option<Planned>,
    pub(super) is_closed_loop: bool,
    /// When it last planned to send.
    pub(super) last: SimTime,
    /// Requests in a row that were for that instant.
    pub(super) n_at_once: u32,
    pub(super) name: String,
}

impl Engine {
    /// Schedules the next arrival of the client, if it still sends then.
    #[inline]
    pub(super) fn plan_next(&mut self, id: ClientId) {
        let client = &mut self.clients[id];
        let Some(planned) = client.plan.next() else {
            return;
        };
        let now = self.queue.now();
        let at = now + planned.gap;
        if !self.schedule.sends(planned.id.seq(), at) {
            return;
        }
        if at > client.last {
            (client.last, client.n_at_once) = (at, 0);
        } else if client.is_closed_loop && self.schedule.end().is_some() {
            client.n_at_once += 1;
            if client.n_at_once == STANDS {
                let client = client.name.clone();
                self.fail(SimError::NoProgress { client });
                return;
            }
        }
        client.next = Some(planned);
        self.queue.schedule_at(at, Event::Arrival(id).pack());
    }
}

//! Everything that happens at an instant, and what those to whom it happens may touch.

use schema::ids::{ClientId, StageId};
use schema::units::SimTime;

use super::customer::{CustomerId, Customers, Ticket};
use crate::engine::EventQueue;
use crate::statistics::Gauge;

/// Everything that happens at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A request of the client is due.
    Arrival(ClientId),
    /// A server of the station has done what it does for now, unless the generation has passed.
    Served {
        station: StageId,
        server: u32,
        generation: u32,
    },
    /// A request has got all its service at a station that shares its servers, unless the
    /// generation has passed.
    Shared { station: StageId, generation: u32 },
    /// A request has been delayed.
    Delayed {
        station: StageId,
        customer: CustomerId,
    },
    /// The first in the station's line has waited long enough for a batch, unless the generation
    /// has passed.
    BatchDue { station: StageId, generation: u32 },
    /// A request that still waits gives up.
    Impatient { station: StageId, ticket: Ticket },
    /// A request that was lost comes back to the station.
    Retried {
        station: StageId,
        customer: CustomerId,
    },
    /// A server fails.
    Fails { station: StageId, server: u32 },
    /// A server works again.
    Repaired { station: StageId, server: u32 },
    /// The measured window starts.
    WindowOpens,
    /// The measured window ends.
    WindowCloses,
}

/// What a station may touch while it handles something.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) queue: &'a mut EventQueue<Event>,
    pub(super) customers: &'a mut Customers,
    /// The station's, brought up to date.
    pub(super) gauge: &'a mut Gauge,
    /// The station's own id.
    pub(super) station: StageId,
}

impl Context<'_> {
    pub(super) const fn now(&self) -> SimTime {
        self.queue.now()
    }

    /// The service of `customer` starts for the first time in this visit.
    pub(super) fn start(&mut self, customer: CustomerId) {
        self.gauge.level.in_service += 1;
        let customer = &mut self.customers[customer];
        customer.has_started = true;
        customer.started = self.queue.now();
    }
}

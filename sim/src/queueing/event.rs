//! Everything that happens at an instant, and what those to whom it happens may touch.

use schema::ids::{ClientId, Id, StageId};
use schema::units::SimTime;

use super::customer::{CustomerId, Customers, Ticket};
use crate::engine::EventQueue;
use crate::statistics::Gauge;

/// Everything that happens at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// An event as it is queued, in two words.
///
/// An enum that is built in memory by parts and then copied as a whole makes the processor wait for
/// its own stores; two words are built in registers. That took a tenth of a run.
#[derive(Clone, Copy)]
pub(super) struct Packed(u64, u64);

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.unpack().fmt(f)
    }
}

impl Event {
    /// The event in two words.
    #[inline]
    pub(super) fn pack(self) -> Packed {
        let words = |kind: u32, id: usize, a: u32, b: u32| {
            let id = u32::try_from(id).expect("an id has 32 bits");
            let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            Packed(word(kind, id), word(a, b))
        };
        match self {
            Event::Arrival(client) => words(0, client.index(), 0, 0),
            Event::Served {
                station,
                server,
                generation,
            } => words(1, station.index(), server, generation),
            Event::Shared {
                station,
                generation,
            } => words(2, station.index(), 0, generation),
            Event::Delayed { station, customer } => words(3, station.index(), customer.raw(), 0),
            Event::BatchDue {
                station,
                generation,
            } => words(4, station.index(), 0, generation),
            Event::Impatient { station, ticket } => {
                words(5, station.index(), ticket.customer.raw(), ticket.visit)
            }
            Event::Retried { station, customer } => words(6, station.index(), customer.raw(), 0),
            Event::Fails { station, server } => words(7, station.index(), server, 0),
            Event::Repaired { station, server } => words(8, station.index(), server, 0),
            Event::WindowOpens => words(9, 0, 0, 0),
            Event::WindowCloses => words(10, 0, 0, 0),
        }
    }
}

impl Packed {
    /// The event again.
    #[inline]
    pub(super) fn unpack(self) -> Event {
        let Packed(first, second) = self;
        let high = |word: u64| (word >> 32) as u32;
        let (kind, id) = (first as u32, high(first) as usize);
        let (a, b) = (second as u32, high(second));
        let station = StageId::from_index(id);
        let customer = CustomerId::from_raw(a);
        match kind {
            0 => Event::Arrival(ClientId::from_index(id)),
            1 => Event::Served {
                station,
                server: a,
                generation: b,
            },
            2 => Event::Shared {
                station,
                generation: b,
            },
            3 => Event::Delayed { station, customer },
            4 => Event::BatchDue {
                station,
                generation: b,
            },
            5 => Event::Impatient {
                station,
                ticket: Ticket { customer, visit: b },
            },
            6 => Event::Retried { station, customer },
            7 => Event::Fails { station, server: a },
            8 => Event::Repaired { station, server: a },
            9 => Event::WindowOpens,
            10 => Event::WindowCloses,
            _ => unreachable!("only packed events are unpacked"),
        }
    }
}

/// What a station may touch while it handles something.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) queue: &'a mut EventQueue<Packed>,
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

    /// `customer` is served at once, by a server of its own.
    pub(super) fn delay(&mut self, customer: CustomerId) {
        self.start(customer);
        let event = Event::Delayed {
            station: self.station,
            customer,
        };
        let work = self.customers[customer].work;
        self.queue.schedule_in(work, event.pack());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_event() {
        let station = StageId::from_index(u32::MAX as usize);
        let customer = CustomerId::from_raw(u32::MAX - 1);
        let (server, generation) = (u32::MAX - 2, u32::MAX - 3);
        let visit = u32::MAX - 4;
        let events = [
            Event::Arrival(ClientId::from_index(5)),
            Event::Served {
                station,
                server,
                generation,
            },
            Event::Shared {
                station,
                generation,
            },
            Event::Delayed { station, customer },
            Event::BatchDue {
                station,
                generation,
            },
            Event::Impatient {
                station,
                ticket: Ticket { customer, visit },
            },
            Event::Retried { station, customer },
            Event::Fails { station, server },
            Event::Repaired { station, server },
            Event::WindowOpens,
            Event::WindowCloses,
        ];
        for event in events {
            assert_eq!(event.pack().unpack(), event);
        }
    }
}

//! Requests on their way through the stations.

use std::num::NonZeroU32;

use schema::ids::{ClassId, ClientId, Id, RequestId, StageId};
use schema::units::{SimDuration, SimTime};

/// A request in the network, or a copy of one; its index and 1, so that nobody takes no room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct CustomerId(NonZeroU32);

impl CustomerId {
    /// Its index, for packing.
    #[inline]
    pub(super) const fn raw(self) -> u32 {
        self.0.get() - 1
    }

    /// The id with this index.
    #[inline]
    pub(super) const fn from_raw(raw: u32) -> CustomerId {
        CustomerId(NonZeroU32::MIN.saturating_add(raw))
    }
}

impl Id for CustomerId {
    fn from_index(index: usize) -> Self {
        let raw = u32::try_from(index).expect("fewer than 2^32 requests are under way");
        CustomerId::from_raw(raw)
    }
    fn index(self) -> usize {
        self.raw() as usize
    }
}

/// Where a customer waits in a line: void once its visit has ended or its service has started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket {
    pub(super) customer: CustomerId,
    pub(super) visit: u32,
}

/// A request in the network, or a copy of one.
// A line of the cache: with many under way, what an event costs is to fetch them.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Customer {
    /// When the request was sent.
    pub(super) born: SimTime,
    /// When the present visit began.
    pub(super) arrived: SimTime,
    /// When the service of the present visit first started.
    pub(super) started: SimTime,
    /// How long it has waited in earlier visits.
    pub(super) waited: SimDuration,
    /// Service that the present visit still needs.
    pub(super) work: SimDuration,
    pub(super) request: RequestId,
    pub(super) class: ClassId,
    /// Counts visits and starts of service, so that tickets of earlier ones are void.
    visit: u32,
    /// Number of the present hop of its path.
    pub(super) hop: u8,
    pub(super) is_waiting: bool,
    /// Whether the service of the present visit has started.
    pub(super) has_started: bool,
    /// Whether it is in the statistics.
    pub(super) counts: bool,
}

/// What ties a customer to others, to a balancer, or to a station that it will come back to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ties {
    /// The request that this is a copy of.
    pub(super) parent: Option<CustomerId>,
    /// Of a copy at a join, the one that came before it; of a request, its copy that came last.
    pub(super) link: Option<CustomerId>,
    /// Copies that have not ended yet.
    pub(super) n_copies: u32,
    /// Of a copy, the join at which it waits; of a request, that to which a copy came last.
    pub(super) join: Option<StageId>,
    /// Whether a copy of it was lost.
    pub(super) is_lost: bool,
    /// The balancer that sent it to the present station, and to which of its stations.
    pub(super) sent_by: Option<(StageId, u32)>,
    /// How often it has come back to the present station.
    pub(super) attempts: u32,
}

impl Customer {
    #[inline]
    const fn new(request: RequestId, class: ClassId, now: SimTime, counts: bool) -> Customer {
        Customer {
            born: now,
            arrived: now,
            started: now,
            waited: SimDuration::ZERO,
            work: SimDuration::ZERO,
            request,
            class,
            visit: 0,
            hop: 0,
            is_waiting: false,
            has_started: false,
            counts,
        }
    }

    /// Who sent it.
    pub(super) fn client(&self) -> ClientId {
        self.request.client()
    }
}

/// All requests in the network.
#[derive(Debug)]
pub(super) struct Customers {
    rows: Vec<Customer>,
    free: Vec<CustomerId>,
    /// By customer, in a network that has ties.
    ties: Vec<Ties>,
    pub(super) have_ties: bool,
}

impl Customers {
    /// Nobody yet.
    pub(super) const fn new(have_ties: bool) -> Customers {
        Customers {
            rows: Vec::new(),
            free: Vec::new(),
            ties: Vec::new(),
            have_ties,
        }
    }

    /// The ties of `id`, in a network that has any.
    pub(super) fn ties(&mut self, id: CustomerId) -> &mut Ties {
        &mut self.ties[id.index()]
    }

    /// A request that is sent now.
    #[inline]
    pub(super) fn add(
        &mut self,
        request: RequestId,
        class: ClassId,
        now: SimTime,
        counts: bool,
    ) -> CustomerId {
        let Some(id) = self.free.pop() else {
            let id = CustomerId::from_index(self.rows.len());
            self.rows.push(Customer::new(request, class, now, counts));
            if self.have_ties {
                self.ties.push(Ties::default());
            }
            return id;
        };
        if self.have_ties {
            *self.ties(id) = Ties::default();
        }
        let row = &mut self.rows[id.index()];
        *row = Customer {
            visit: row.visit,
            ..Customer::new(request, class, now, counts)
        };
        id
    }

    /// A copy of `original`, which starts anew.
    pub(super) fn add_copy(&mut self, original: CustomerId) -> CustomerId {
        let row = self[original];
        let id = self.add(row.request, row.class, row.born, row.counts);
        self.ties(id).parent = Some(original);
        self[id].hop = row.hop;
        id
    }

    /// Sees to it that `id` is in the cache when it is needed soon.
    #[inline]
    pub(super) fn touch(&self, id: CustomerId) {
        if let Some(row) = self.rows.get(id.index()) {
            std::hint::black_box(row.visit);
        }
    }

    pub(super) fn remove(&mut self, id: CustomerId) {
        self[id].visit = self[id].visit.wrapping_add(1);
        self.free.push(id);
    }

    /// A ticket of `id` for a line.
    pub(super) fn wait(&mut self, id: CustomerId) -> Ticket {
        let customer = &mut self[id];
        customer.is_waiting = true;
        Ticket {
            customer: id,
            visit: customer.visit,
        }
    }

    /// The ticket of `id`, if it waits.
    pub(super) fn ticket(&self, id: CustomerId) -> Option<Ticket> {
        let customer = &self[id];
        customer.is_waiting.then_some(Ticket {
            customer: id,
            visit: customer.visit,
        })
    }

    /// `id` no longer waits; its ticket is void.
    pub(super) fn end_wait(&mut self, id: CustomerId) {
        let customer = &mut self[id];
        customer.is_waiting = false;
        customer.visit = customer.visit.wrapping_add(1);
    }

    pub(super) fn is_valid(&self, ticket: Ticket) -> bool {
        let customer = &self[ticket.customer];
        customer.is_waiting && customer.visit == ticket.visit
    }
}

impl std::ops::Index<CustomerId> for Customers {
    type Output = Customer;
    fn index(&self, id: CustomerId) -> &Customer {
        &self.rows[id.index()]
    }
}

impl std::ops::IndexMut<CustomerId> for Customers {
    fn index_mut(&mut self, id: CustomerId) -> &mut Customer {
        &mut self.rows[id.index()]
    }
}

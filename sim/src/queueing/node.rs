//! The state of the stages of a network.

use std::collections::VecDeque;

use rand::rngs::ChaCha8Rng;
use schema::distribution::Sampler;
use schema::ids::StageId;
use schema::random::uniform;
use schema::scenario::Order;
use schema::units::{SimDuration, SimTime};

use super::customer::{Customer, CustomerId};
use super::line::Line;
use super::preemptive::Preemptive;
use super::sharing::Sharing;
use super::time_sliced::TimeSliced;
use super::waiting::WaitingLine;
use crate::stations::{Balancer, Orbit};
use crate::statistics::{Gauge, Series};

/// A stage, with what it keeps for the statistics.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) next: Routing,
    pub(super) gauge: Gauge,
    pub(super) counts: Counts,
    /// Of all visits that count; then of each label, if there are several.
    pub(super) visits: Vec<Visits>,
    /// Sum of the lengths of all visits.
    pub(super) sojourn_ps: u128,
}

/// Where requests go next.
#[derive(Debug)]
pub(super) enum Routing {
    /// Along their path.
    Path,
    /// To this stage.
    To(StageId),
    /// With these cumulative probabilities; with what remains, along their path.
    Draw(Vec<(f64, StageId)>, Box<ChaCha8Rng>),
}

impl Routing {
    /// Where `customer` goes next; `None` if it leaves the network.
    #[inline]
    pub(super) fn choose(&mut self, customer: &mut Customer, path: &[StageId]) -> Option<StageId> {
        match self {
            Routing::Path => {}
            Routing::To(next) => return Some(*next),
            Routing::Draw(choices, rng) => {
                let u = uniform(rng);
                let chosen = choices.iter().find(|(until, _)| u < *until);
                if let Some((_, next)) = chosen {
                    return Some(*next);
                }
            }
        }
        let next = path.get(usize::from(customer.hop) + 1).copied();
        customer.hop += u8::from(next.is_some());
        next
    }
}

impl Node {
    /// Whether it ties requests to anything that outlasts a visit.
    pub(super) fn makes_ties(&self) -> bool {
        match &self.role {
            Role::Fork(_) | Role::Balance(_) => true,
            Role::Station(state) => state.retry.is_some(),
            Role::Join | Role::Tokens(_) | Role::Release(_) => false,
        }
    }

    /// The visit of `customer`, of the class called `label`, ends with its service.
    #[inline]
    pub(super) fn leave(&mut self, customer: &mut Customer, label: u32, now: SimTime) {
        self.gauge.advance(now);
        self.gauge.level.present -= 1;
        self.gauge.level.in_service -= 1;
        self.counts.served += 1;
        self.sojourn_ps += u128::from(now.since(customer.arrived).as_ps());
        if customer.counts {
            self.visits[0].record(customer, now);
            if self.visits.len() > 1 {
                self.visits[1 + label as usize].record(customer, now);
            }
        }
        customer.waited += customer.started.since(customer.arrived);
    }
}

/// What a stage does with a request.
#[derive(Debug)]
pub(super) enum Role {
    Station(Box<StationState>),
    Fork(Vec<StageId>),
    Join,
    Balance(Box<Balancer<StageId>>),
    Tokens(Box<Pool>),
    /// Where the tokens came from.
    Release(StageId),
}

/// How often things have happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Requests that entered.
    pub(super) entered: u64,
    /// Requests that left with their service.
    pub(super) served: u64,
    /// Requests that were turned away since the station was full.
    pub(super) rejected: u64,
    /// Requests that left since they waited too long.
    pub(super) reneged: u64,
    /// Times that a request of the two kinds before was to come back.
    pub(super) retried: u64,
    /// Requests of those two kinds that did not.
    pub(super) lost: u64,
}

impl Counts {
    /// What has happened since `earlier`.
    pub(super) const fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            entered: self.entered - earlier.entered,
            served: self.served - earlier.served,
            rejected: self.rejected - earlier.rejected,
            reneged: self.reneged - earlier.reneged,
            retried: self.retried - earlier.retried,
            lost: self.lost - earlier.lost,
        }
    }
}

/// Statistics of visits.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits {
    pub(super) sojourn: Series,
    pub(super) waiting: Series,
}

impl Visits {
    /// A visit that ends at `now`.
    #[inline]
    pub(super) fn record(&mut self, customer: &Customer, now: SimTime) {
        self.sojourn.record(now.since(customer.arrived));
        self.waiting
            .record(customer.started.since(customer.arrived));
    }
}

impl Visits {
    /// A request that ends.
    #[inline]
    pub(super) fn record_whole(&mut self, sojourn: SimDuration, waited: SimDuration) {
        self.sojourn.record(sojourn);
        self.waiting.record(waited);
    }
}

/// A station.
#[derive(Debug)]
pub(super) struct StationState {
    pub(super) discipline: Servers,
    pub(super) service: Service,
    pub(super) order: Order,
    pub(super) capacity: u32,
    /// Whether those who find it full stay where they are.
    pub(super) blocks: bool,
    /// Those who stay where they are until there is room.
    pub(super) blocked: VecDeque<Blocked>,
    pub(super) patience: Option<Box<(Sampler, ChaCha8Rng)>>,
    pub(super) retry: Option<Box<Orbit>>,
    pub(super) breakdown: Option<Box<Breakdowns>>,
}

/// How a station serves.
#[derive(Debug)]
pub(super) enum Servers {
    Line(Line),
    Preemptive(Preemptive),
    Sharing(Sharing),
    TimeSliced(TimeSliced),
    Delay,
}

/// What service times are drawn from.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) rng: ChaCha8Rng,
    pub(super) samplers: Vec<Sampler>,
    /// Which of them, by label; empty if there is one.
    pub(super) by_label: Vec<usize>,
}

impl Service {
    #[inline]
    pub(super) fn draw(&mut self, label: usize) -> SimDuration {
        let sampler = self.by_label.get(label).copied().unwrap_or(0);
        self.samplers[sampler].sample(&mut self.rng)
    }
}

/// A request that stays where it is until there is room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    pub(super) customer: CustomerId,
    /// The station that it stays in, and the server that it keeps there.
    pub(super) at: Option<(StageId, Option<u32>)>,
}

/// When servers fail and come back.
#[derive(Debug)]
pub(super) struct Breakdowns {
    pub(super) up: Sampler,
    pub(super) down: Sampler,
    /// By server.
    pub(super) rngs: Vec<ChaCha8Rng>,
}

/// Tokens, and those who wait for them.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) free: u32,
    pub(super) take: u32,
    pub(super) waiting: WaitingLine,
}

//! The requests of a scenario: when each client sends, of which class and size.
//!
//! Hardware and engine draw from here, so that from one seed both serve the same requests. Every
//! client has streams of its own, named after its group and index: adding clients or groups leaves
//! the requests of the others as they were.

use rand::rngs::ChaCha8Rng;

use crate::distribution::Sampler;
use crate::ids::{ClassId, ClientId, RequestId};
use crate::random::{Seed, exponential, stream, uniform};
use crate::scenario::{ArrivalsFile, Extent, Scenario};
use crate::units::{Bytes, SimDuration, SimTime};

/// One request as planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Which request.
    pub id: RequestId,
    /// Its class.
    pub class: ClassId,
    /// Size of its payload.
    pub payload: Bytes,
    /// Closed loop: time to think before it. Open loop: time since the one before was to be sent,
    /// or since the start.
    pub gap: SimDuration,
}

/// What the gaps between a client's requests are drawn from.
#[derive(Debug)]
enum Gaps {
    Random(Sampler),
    /// Mean, in seconds.
    Poisson(f64),
    /// In seconds.
    Equal(f64),
}

impl Gaps {
    fn new(arrivals: &ArrivalsFile) -> Gaps {
        match arrivals {
            ArrivalsFile::ClosedLoop { think } => {
                Gaps::Random(think.sampler().expect("validation has checked it"))
            }
            ArrivalsFile::Poisson { rate, .. } => Gaps::Poisson(1.0 / rate.per_second()),
            ArrivalsFile::Deterministic { rate, .. } => Gaps::Equal(1.0 / rate.per_second()),
        }
    }
}

/// The requests of one client, in order, without end.
#[derive(Debug)]
pub struct ClientPlan {
    client: ClientId,
    arrivals: Gaps,
    /// Class, size and cumulative share.
    classes: Vec<(ClassId, Bytes, f64)>,
    gaps: ChaCha8Rng,
    kinds: ChaCha8Rng,
    next_seq: u32,
}

impl ClientPlan {
    /// The requests of `client` from `seed` (the scenario's own, or that of a replication).
    pub fn new(scenario: &Scenario, client: ClientId, seed: Seed) -> ClientPlan {
        let row = &scenario.clients[client];
        let group = &scenario.groups[row.group];
        let source = format!("client/{}/{}", group.name, row.index);
        let mut total = 0.0;
        let classes = group.classes.iter().map(|id| {
            total += scenario.classes[*id].share;
            (*id, scenario.classes[*id].payload, total)
        });
        ClientPlan {
            client,
            arrivals: Gaps::new(&group.arrivals),
            classes: classes.collect(),
            gaps: stream(seed, &format!("{source}/arrivals")),
            kinds: stream(seed, &format!("{source}/class")),
            next_seq: 0,
        }
    }

    fn gap(&mut self) -> SimDuration {
        match &self.arrivals {
            Gaps::Random(sampler) => sampler.sample(&mut self.gaps),
            Gaps::Poisson(mean_s) => {
                SimDuration::from_secs_f64(exponential(&mut self.gaps, *mean_s))
            }
            Gaps::Equal(gap_s) => SimDuration::from_secs_f64(*gap_s),
        }
    }
}

impl Iterator for ClientPlan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let gap = self.gap();
        let u = uniform(&mut self.kinds);
        let last = self.classes.len() - 1;
        let at = self
            .classes
            .iter()
            .position(|(_, _, share)| u < *share)
            .unwrap_or(last);
        let (class, payload, _) = self.classes[at];
        let id = RequestId::new(self.client, self.next_seq);
        self.next_seq = self
            .next_seq
            .checked_add(1)
            .expect("a client sends fewer than 2^32 requests");
        Some(Planned {
            id,
            class,
            payload,
            gap,
        })
    }
}

/// Which requests are sent, and which of them count.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    warmup: Extent,
    measure: Extent,
}

impl Schedule {
    /// The schedule of `scenario`.
    pub const fn new(scenario: &Scenario) -> Schedule {
        Schedule {
            warmup: scenario.warmup,
            measure: scenario.measure,
        }
    }

    /// Whether a client still sends request number `seq`, which would be sent at `at`.
    pub fn sends(&self, seq: u32, at: SimTime) -> bool {
        match (self.warmup, self.measure) {
            (Extent::Requests(skip), Extent::Requests(n)) => seq < skip.saturating_add(n),
            (_, Extent::Time(_)) => at < self.end().expect("the length is a time"),
            (Extent::Time(_), Extent::Requests(n)) => seq < n,
        }
    }

    /// Whether request number `seq`, meant to be sent at `at`, counts in the statistics.
    pub fn counts(&self, seq: u32, at: SimTime) -> bool {
        let warm = match self.warmup {
            Extent::Requests(skip) => seq >= skip,
            Extent::Time(skip) => at >= SimTime::ZERO + skip,
        };
        warm && self.sends(seq, at)
    }

    /// The end of sending, where it is a time.
    pub fn end(&self) -> Option<SimTime> {
        let warmup = match self.warmup {
            Extent::Time(time) => time,
            Extent::Requests(_) => SimDuration::ZERO,
        };
        match self.measure {
            Extent::Time(time) => Some(SimTime::ZERO + warmup + time),
            Extent::Requests(_) => None,
        }
    }

    /// The measured window, where it is known beforehand: the length is a time and so is the
    /// warm-up, or there is none.
    pub fn window(&self) -> Option<(SimTime, SimTime)> {
        let start = match self.warmup {
            Extent::Time(time) => SimTime::ZERO + time,
            Extent::Requests(0) => SimTime::ZERO,
            Extent::Requests(_) => return None,
        };
        self.end().map(|end| (start, end))
    }
}

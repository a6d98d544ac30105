//! The requests of a scenario: when each client sends, of which class and size.
//!
//! Hardware and engine draw from here, so that from one seed both serve the same requests. Every
//! client has streams of its own, named after its group and index: adding clients or groups leaves
//! the requests of the others as they were.

use rand::rngs::ChaCha8Rng;

use crate::arrivals::{Gaps, GapsError};
use crate::ids::{ClassId, ClientId, RequestId, Table};
use crate::random::{Seed, stream, uniform};
use crate::scenario::{Class, Extent, Scenario};
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

/// The requests of one client, in order; they end if the arrivals do.
#[derive(Debug)]
pub struct ClientPlan {
    client: ClientId,
    /// Class, size and cumulative share.
    classes: Vec<(ClassId, Bytes, f64)>,
    gaps: Gaps,
    kinds: ChaCha8Rng,
    next_seq: u32,
}

impl ClientPlan {
    /// The requests of `client` from `seed` (the scenario's own, or that of a replication).
    ///
    /// # Errors
    /// If the client replays a trace that was not read.
    pub fn new(scenario: &Scenario, client: ClientId, seed: Seed) -> Result<ClientPlan, GapsError> {
        let row = &scenario.clients[client];
        let group = &scenario.groups[row.group];
        let source = format!("client/{}/{}", group.name, row.index);
        let replayed = group.replayed.clone();
        let gaps = Gaps::new(&group.arrivals, replayed, seed, &source)?;
        let kinds = stream(seed, &format!("{source}/class"));
        Ok(ClientPlan::of(
            client,
            gaps,
            kinds,
            &group.classes,
            &scenario.classes,
        ))
    }

    /// The requests of `client` with these gaps, each of one of these classes of `table`, which
    /// `kinds` draws.
    pub fn of(
        client: ClientId,
        gaps: Gaps,
        kinds: ChaCha8Rng,
        classes: &[ClassId],
        table: &Table<ClassId, Class>,
    ) -> ClientPlan {
        let mut total = 0.0;
        let classes = classes.iter().map(|id| {
            total += table[*id].share;
            (*id, table[*id].payload, total)
        });
        ClientPlan {
            client,
            classes: classes.collect(),
            gaps,
            kinds,
            next_seq: 0,
        }
    }

    /// The class of the next request, and its size; one class takes no draw.
    #[inline]
    fn kind(&mut self) -> (ClassId, Bytes) {
        if let [(class, payload, _)] = self.classes[..] {
            return (class, payload);
        }
        let u = uniform(&mut self.kinds);
        let last = self.classes.len() - 1;
        let chosen = self.classes.iter().position(|(_, _, share)| u < *share);
        let (class, payload, _) = self.classes[chosen.unwrap_or(last)];
        (class, payload)
    }
}

impl Iterator for ClientPlan {
    type Item = Planned;

    // Always inlined, as the queue of the engine: what is built here is not copied but taken apart.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "measured, see above")]
    fn next(&mut self) -> Option<Planned> {
        let gap = self.gaps.next()?;
        let (class, payload) = self.kind();
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
        Schedule::of(scenario.warmup, scenario.measure)
    }

    /// The schedule that leaves out `warmup` and measures `measure`.
    pub const fn of(warmup: Extent, measure: Extent) -> Schedule {
        Schedule { warmup, measure }
    }

    /// How much is measured.
    pub const fn measure(&self) -> Extent {
        self.measure
    }

    /// Whether a client still sends request number `seq`, which would be sent at `at`.
    pub fn sends(&self, seq: u32, at: SimTime) -> bool {
        match (self.warmup, self.measure) {
            (Extent::Requests(skip), Extent::Requests(n)) => seq < skip.saturating_add(n),
            (_, Extent::Time(_)) => at < self.end().expect("the length is a time"),
            (Extent::Time(_) | Extent::Auto, Extent::Requests(n)) => seq < n,
            (_, Extent::Auto) => unreachable!("a length is never found by the engine"),
        }
    }

    /// Whether request number `seq`, meant to be sent at `at`, counts in the statistics.
    pub fn counts(&self, seq: u32, at: SimTime) -> bool {
        let warm = match self.warmup {
            Extent::Requests(skip) => seq >= skip,
            Extent::Time(skip) => at >= SimTime::ZERO + skip,
            // Not found yet.
            Extent::Auto => true,
        };
        warm && self.sends(seq, at)
    }

    /// The end of sending, where it is a time.
    pub fn end(&self) -> Option<SimTime> {
        let warmup = match self.warmup {
            Extent::Time(time) => time,
            Extent::Requests(_) | Extent::Auto => SimDuration::ZERO,
        };
        match self.measure {
            Extent::Time(time) => Some(SimTime::ZERO + warmup + time),
            Extent::Requests(_) | Extent::Auto => None,
        }
    }

    /// The measured window, where it is known beforehand: the length is a time and so is the
    /// warm-up, or there is none.
    pub fn window(&self) -> Option<(SimTime, SimTime)> {
        let start = match self.warmup {
            Extent::Time(time) => SimTime::ZERO + time,
            Extent::Requests(0) | Extent::Auto => SimTime::ZERO,
            Extent::Requests(_) => return None,
        };
        self.end().map(|end| (start, end))
    }
}

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
    /// Probability that a request is of the class of the one before without a draw of classes.
    stays: f64,
    /// Place of the class of the last request.
    last: Option<usize>,
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
        Ok(
            ClientPlan::of(client, gaps, kinds, &group.classes, &scenario.classes)
                .in_a_row(group.in_a_row),
        )
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
            stays: 0.0,
            last: None,
            next_seq: 0,
        }
    }

    /// The same, but with so many requests in a row, on average, that are drawn as one of a class; from 1.
    /// Their number is geometric, and the next draw may give the same class.
    #[must_use]
    pub fn in_a_row(self, mean: f64) -> ClientPlan {
        ClientPlan {
            stays: 1.0 - 1.0 / mean,
            ..self
        }
    }

    /// The class of the next request, and its size; one class takes no draw.
    #[inline]
    fn kind(&mut self) -> (ClassId, Bytes) {
        if let [(class, payload, _)] = self.classes[..] {
            return (class, payload);
        }
        let u = uniform(&mut self.kinds);
        let place = match self.last {
            Some(last) if u < self.stays => last,
            _ => {
                // What is left of the draw is uniform again.
                let u = match self.last {
                    Some(_) => (u - self.stays) / (1.0 - self.stays),
                    None => u,
                };
                let chosen = self.classes.iter().position(|(_, _, share)| u < *share);
                chosen.unwrap_or(self.classes.len() - 1)
            }
        };
        self.last = Some(place);
        let (class, payload, _) = self.classes[place];
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ids::Id;

    const N: usize = 20_000;

    /// The classes of the first requests of a client whose classes have shares of 3 to 1.
    fn classes(in_a_row: &str) -> Vec<ClassId> {
        let text = r#"
            format = 1
            name = "classes"
            run = { warmup = { requests = 0 }, measure = { requests = 1 } }
            [stages.line]
            station = { service = { constant = "1 ms" } }
            [[clients]]
            arrivals = { poisson = { rate = "1 /s" } }
            path = [{ to = "line" }]
            classes = [{ name = "a", share = 3 }, { name = "b", share = 1 }]
        "#;
        let overrides = [format!("clients.0.in-a-row={in_a_row}")];
        let text = text.to_owned();
        let scenario = Scenario::parse(Path::new("a.toml"), text, &overrides);
        let scenario = scenario.expect("the scenario is valid");
        let client = scenario.clients.ids().next().expect("there is a client");
        let plan = ClientPlan::new(&scenario, client, Seed(1)).expect("no trace is replayed");
        plan.take(N).map(|planned| planned.class).collect()
    }

    fn share(classes: &[ClassId]) -> f64 {
        let first = classes.iter().filter(|class| class.index() == 0);
        first.count() as f64 / classes.len() as f64
    }

    fn changes(classes: &[ClassId]) -> f64 {
        let changes = classes.windows(2).filter(|pair| pair[0] != pair[1]);
        changes.count() as f64 / (classes.len() - 1) as f64
    }

    #[test]
    fn classes_in_a_row_keep_their_shares_and_change_less_often() {
        let (alone, rows) = (classes("1"), classes("10"));
        // Standard deviations, of draws that are independent: 0.003 each. In rows of ten there are a tenth
        // of the draws, and the share of rows weighs them by lengths whose mean square is 1.9 of their mean's.
        let sd = (0.75 * 0.25 / N as f64).sqrt();
        assert!((share(&alone) - 0.75).abs() < 4.0 * sd);
        assert!((share(&rows) - 0.75).abs() < 4.0 * sd * (10.0f64 * 1.9).sqrt());
        // A request is of another class than the one before with 2 · 3/4 · 1/4, if a class is drawn.
        let changed = (0.375 * 0.625 / N as f64).sqrt();
        assert!((changes(&alone) - 0.375).abs() < 4.0 * changed);
        assert!((changes(&rows) - 0.0375).abs() < 4.0 * (0.0375 / N as f64).sqrt());
    }
}

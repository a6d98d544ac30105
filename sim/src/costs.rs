//! Draws of costs.

use rand::rngs::ChaCha8Rng;
use schema::ids::Id;
use schema::profile::{Conditions, CostLaw, Driver, Residual};
use schema::random::{Seed, stream, uniform};
use schema::units::{Bytes, SimDuration};

use crate::ids::SourceId;
use crate::stations::Past;
use crate::tables::Tables;

/// How much work a cost is for; its law counts one of these.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Amount {
    /// Size of the message, copy or input.
    pub(crate) bytes: Bytes,
    /// Number of requests.
    pub(crate) requests: u32,
    /// Work asked for; zero if not synthetic.
    pub(crate) seconds: f64,
    /// Number of kernels launched.
    pub(crate) kernels: u32,
    /// Number of packets.
    pub(crate) packets: u64,
}

impl Amount {
    /// One request of `bytes`.
    pub(crate) const fn one(bytes: Bytes) -> Amount {
        Amount {
            bytes,
            requests: 1,
            seconds: 0.0,
            kernels: 0,
            packets: 0,
        }
    }

    fn driver(self, per: Driver) -> f64 {
        match per {
            Driver::Bytes => self.bytes.0 as f64,
            Driver::Requests => f64::from(self.requests),
            Driver::Seconds => self.seconds,
            Driver::Kernels => f64::from(self.kernels),
            Driver::Packets => self.packets as f64,
        }
    }
}

/// The smallest and the largest driver that a law was used for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Used {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Used {
    /// Not used at all.
    pub(crate) const NEVER: Used = Used {
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
    };

    /// Used for all that either was.
    pub(crate) fn and(self, other: Used) -> Used {
        Used {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}

/// Every source of randomness of a replication, and the law it draws from.
#[derive(Debug)]
pub(crate) struct Costs<'a> {
    sources: Vec<Source<'a>>,
    used: Vec<Used>,
    /// Bytes of the requests that each machine holds.
    held: Vec<Bytes>,
}

#[derive(Debug)]
struct Source<'a> {
    law: &'a CostLaw,
    law_idx: usize,
    machine: Option<usize>,
    /// None where the law has no residual: nothing is drawn.
    rng: Option<ChaCha8Rng>,
}

impl<'a> Costs<'a> {
    /// The sources of `tables`, each with its stream of `seed`.
    pub(crate) fn new(tables: &Tables<'a>, seed: Seed) -> Costs<'a> {
        let sources = tables.sources.rows().iter().map(|source| {
            let law = tables.laws[source.law].law;
            let is_exact = law.residual == Residual::None;
            Source {
                law,
                law_idx: source.law.index(),
                machine: source.machine,
                rng: (!is_exact).then(|| stream(seed, &source.name)),
            }
        });
        Costs {
            sources: sources.collect(),
            used: vec![Used::NEVER; tables.laws.len()],
            held: vec![Bytes(0); tables.n_machines()],
        }
    }

    /// The machine holds `bytes` more of a request.
    pub(crate) fn hold(&mut self, machine: usize, bytes: Bytes) {
        self.held[machine].0 += bytes.0;
    }

    /// The machine no longer holds `bytes` of a request.
    pub(crate) fn let_go(&mut self, machine: usize, bytes: Bytes) {
        let held = &mut self.held[machine].0;
        *held = held
            .checked_sub(bytes.0)
            .expect("only what is held is let go");
    }

    /// Draws the core time that `amount` takes from `source`, on cores with the `past`.
    pub(crate) fn draw(&mut self, source: SourceId, amount: Amount, past: Past<'_>) -> SimDuration {
        let idle = self.sources[source.index()].law.idle;
        let recent = idle.map_or(1.0, |idle| past.busy_share(idle.memory));
        self.draw_at(source, amount, recent)
    }

    /// Draws the length of a delay, which no core has a part in, from `source`.
    pub(crate) fn draw_delay(&mut self, source: SourceId, amount: Amount) -> SimDuration {
        self.draw_at(source, amount, 1.0)
    }

    fn draw_at(&mut self, source: SourceId, amount: Amount, recent: f64) -> SimDuration {
        let source = &mut self.sources[source.index()];
        let driver = amount.driver(source.law.per);
        let used = &mut self.used[source.law_idx];
        used.low = used.low.min(driver);
        used.high = used.high.max(driver);
        let u = source.rng.as_mut().map_or(0.5, uniform);
        let held = source
            .machine
            .map_or(Bytes(0), |machine| self.held[machine]);
        source.law.draw(driver, u, Conditions { recent, held })
    }

    /// What each law was used for.
    pub(crate) fn into_used(self) -> Vec<Used> {
        self.used
    }
}

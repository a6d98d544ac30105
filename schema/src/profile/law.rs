//! Laws of costs, and what is left of a cost beside its law.

use serde::{Deserialize, Serialize};

use crate::stats::interpolate;
use crate::units::{Bytes, SimDuration};

/// A law: `(base + slope · driver) · residual`, in seconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CostLaw {
    /// What the driver counts.
    pub per: Driver,
    /// Cost at driver zero, in seconds; may be negative where the law was extrapolated to zero.
    pub base: f64,
    /// Standard error of `base`, in seconds.
    pub base_error: f64,
    /// Cost per unit of the driver, in seconds.
    pub slope: f64,
    /// Standard error of `slope`.
    pub slope_error: f64,
    /// Smallest and largest driver it was fitted on; outside, the law extrapolates.
    pub range: [f64; 2],
    /// Number of samples it was fitted on.
    pub samples: u64,
    /// Mean absolute relative error of the law on samples held out from the fit.
    pub held_out_error: f64,
    /// Where it came from.
    pub source: String,
    /// What varies from one time to the next.
    pub residual: Residual,
    /// How much slower it is on cores that have idled; not at all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleLaw>,
    /// How much slower it is while requests keep more bytes than caches hold; not at all if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set: Option<WorkingSetLaw>,
}

/// How much slower cores work after they were idle: caches were filled by others, the core slept or
/// was clocked down.
///
/// A cost takes `1 + slowdown · (1 - w)` times its law, with `w` from 0 to 1 the recent busy share
/// of its cores when it starts: the exponentially weighted average, with time constant `memory`, of
/// how much of them was busy. So the law itself is for cores that were busy all along.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IdleLaw {
    /// Of cores that have idled for long; from 0.
    pub slowdown: f64,
    /// Standard error of `slowdown`.
    pub slowdown_error: f64,
    /// Time constant, in seconds; more than 0.
    pub memory: f64,
}

impl IdleLaw {
    /// The factor at the recent busy share `recent`.
    pub fn factor(self, recent: f64) -> f64 {
        1.0 + self.slowdown * (1.0 - recent)
    }
}

/// How much slower cores move bytes that no longer fit the caches.
///
/// A cost takes `1 + slowdown · min(1, max(0, used / cache - 1))` times its law, with `used` the bytes
/// of [`WorkingSet`]. So up to `cache` every access hits, and from twice that on none does: bytes are
/// used in the order in which they came, so what is replaced least recently used is what is needed
/// next.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkingSetLaw {
    /// What has to fit.
    pub of: WorkingSet,
    /// When nothing is in the caches; from 0.
    pub slowdown: f64,
    /// Standard error of `slowdown`.
    pub slowdown_error: f64,
    /// Bytes that fit; more than 0.
    pub cache: f64,
}

/// What has to fit the caches for a cost to be as cheap as its law says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkingSet {
    /// The message or copy itself: what touches it has just been touched by who hands it over.
    Message,
    /// The payloads of all requests that the machine holds: what is touched came before all the others
    /// that wait.
    Machine,
}

impl WorkingSetLaw {
    /// The factor of a cost for `bytes` while the machine holds `held`.
    pub fn factor(self, bytes: f64, held: Bytes) -> f64 {
        let used = match self.of {
            WorkingSet::Message => bytes,
            WorkingSet::Machine => held.0 as f64,
        };
        1.0 + self.slowdown * (used / self.cache - 1.0).clamp(0.0, 1.0)
    }
}

/// What there is to know of a machine when something is to be done on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conditions {
    /// Recent busy share of the cores, from 0 to 1; see [`IdleLaw`].
    pub recent: f64,
    /// Bytes of the requests that it holds; see [`WorkingSetLaw`].
    pub held: Bytes,
}

impl Conditions {
    /// Cores that were busy all along, and a machine that holds nothing.
    pub const BEST: Conditions = Conditions {
        recent: 1.0,
        held: Bytes(0),
    };
}

/// What the driver of a law counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Bytes of the message.
    Bytes,
    /// Requests of the batch.
    Requests,
    /// Seconds of work asked for.
    Seconds,
    /// Kernels launched.
    Kernels,
    /// Packets of a message.
    Packets,
}

impl Driver {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Driver::Bytes => "bytes",
            Driver::Requests => "requests",
            Driver::Seconds => "seconds",
            Driver::Kernels => "kernels",
            Driver::Packets => "packets",
        }
    }
}

/// A random factor of mean one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Residual {
    /// Always exactly one.
    None,
    /// Normal with mean one, cut at zero.
    Normal {
        /// Standard deviation.
        sd: f64,
    },
    /// Lognormal with mean one: `exp(sigma · z - sigma² / 2)`.
    Lognormal {
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Gamma with mean one.
    Gamma {
        /// Shape; the squared coefficient of variation is its inverse.
        shape: f64,
    },
    /// The empirical quantiles at `(i + ½) / n`, joined linearly, ascending, of mean one.
    Quantiles(Vec<f64>),
}

impl Residual {
    /// The factor at probability `u` in (0, 1): the inverse distribution function.
    ///
    /// # Panics
    /// If a parameter is not positive and finite; [`Profile::parse`](super::Profile::parse) refuses such a profile.
    pub fn quantile(&self, u: f64) -> f64 {
        use statrs::distribution::{ContinuousCDF, Gamma, Normal};
        let z = |u| Normal::standard().inverse_cdf(u);
        match self {
            Residual::None => 1.0,
            Residual::Normal { sd } => (1.0 + sd * z(u)).max(0.0),
            Residual::Lognormal { sigma } => (sigma * z(u) - sigma * sigma / 2.0).exp(),
            Residual::Gamma { shape } => Gamma::new(*shape, *shape)
                .expect("the shape was checked")
                .inverse_cdf(u),
            Residual::Quantiles(points) => interpolate(points, u),
        }
    }
}

impl CostLaw {
    /// Expected cost at `driver`, in seconds; never negative.
    pub fn expected(&self, driver: f64) -> f64 {
        (self.base + self.slope * driver).max(0.0)
    }

    /// The cost at `driver` whose probability of not being exceeded is `u` in (0, 1).
    pub fn draw(&self, driver: f64, u: f64, on: Conditions) -> SimDuration {
        let idle = self.idle.map_or(1.0, |idle| idle.factor(on.recent));
        let crowded = (self.working_set).map_or(1.0, |law| law.factor(driver, on.held));
        let slower = idle * crowded;
        SimDuration::from_secs_f64(self.expected(driver) * slower * self.residual.quantile(u))
    }

    /// A law without randomness, for tests and for parts known by a formula.
    pub fn exact(per: Driver, base: f64, slope: f64, source: &str) -> CostLaw {
        CostLaw {
            per,
            base,
            base_error: 0.0,
            slope,
            slope_error: 0.0,
            range: [0.0, f64::MAX],
            samples: 0,
            held_out_error: 0.0,
            source: source.to_owned(),
            residual: Residual::None,
            idle: None,
            working_set: None,
        }
    }
}

impl CostLaw {
    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let numbers = [self.base, self.slope, self.base_error, self.slope_error];
        if numbers.iter().any(|n| !n.is_finite()) {
            return Err("base, slope and their errors must be finite".to_owned());
        }
        if let Some(idle) = self.idle
            && !(idle.slowdown >= 0.0 && idle.slowdown.is_finite() && idle.memory > 0.0)
        {
            return Err(
                "the slow-down after idling must be from 0 up, its memory more than 0".to_owned(),
            );
        }
        if let Some(law) = self.working_set
            && !(law.slowdown >= 0.0 && law.slowdown.is_finite() && law.cache > 0.0)
        {
            return Err(
                "the slow-down by the working set must be from 0 up, the cache more than 0"
                    .to_owned(),
            );
        }
        if self.working_set.is_some() && self.per != Driver::Bytes {
            return Err("only what counts bytes has a working set".to_owned());
        }
        self.residual.check()
    }
}

impl Residual {
    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (ok, what) = match self {
            Residual::None => (true, ""),
            Residual::Normal { sd: x } | Residual::Lognormal { sigma: x } => (
                x.is_finite() && *x >= 0.0,
                "a residual's sd or sigma must be from 0 up",
            ),
            Residual::Gamma { shape } => (
                shape.is_finite() && *shape > 0.0,
                "a residual's shape must be more than 0",
            ),
            Residual::Quantiles(q) => (
                !q.is_empty() && q.is_sorted() && q.iter().all(|x| x.is_finite() && *x >= 0.0),
                "a residual's quantiles must be ascending numbers from 0 up, at least one",
            ),
        };
        if ok { Ok(()) } else { Err(what.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(residual: Residual) -> CostLaw {
        CostLaw {
            residual,
            ..CostLaw::exact(Driver::Bytes, 2.65e-6, 1.0 / 12.2e9, "V100 copy")
        }
    }

    #[test]
    fn an_exact_law_gives_its_closed_form() {
        let expected = 2.65e-6 + 602_112.0 / 12.2e9;
        assert_eq!(
            law(Residual::None).draw(602_112.0, 0.9, Conditions::BEST),
            SimDuration::from_secs_f64(expected)
        );
    }

    #[test]
    fn every_residual_has_mean_one() {
        let residuals = [
            Residual::Normal { sd: 0.1 },
            Residual::Lognormal { sigma: 0.3 },
            Residual::Gamma { shape: 4.0 },
            Residual::Quantiles(vec![0.5, 1.0, 1.5]),
        ];
        for residual in residuals {
            let n = 20_000;
            let mean: f64 = (0..n)
                .map(|i| residual.quantile((f64::from(i) + 0.5) / f64::from(n)))
                .sum::<f64>()
                / f64::from(n);
            assert!((mean - 1.0).abs() < 1e-3, "{residual:?} has mean {mean}");
        }
    }
}

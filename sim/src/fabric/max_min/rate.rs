//! Rates and work in fixed point.

use schema::units::{ByteRate, Bytes, PS_PER_S, SimDuration};

/// Fractional bits of a rate: a quantum is 2⁻²⁰ B/s.
const FRACTION_BITS: u32 = 20;

/// The rate of a flow that nothing limits, and the level of a link that limits nothing.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// A rate in quanta.
pub(super) fn quanta(rate: ByteRate) -> u64 {
    rate.as_bytes_per_s() << FRACTION_BITS
}

/// A rate in bytes per second.
pub(super) fn bytes_per_s(quanta: u64) -> f64 {
    quanta as f64 / (1u64 << FRACTION_BITS) as f64
}

/// Bytes that are to be moved, in quanta times picoseconds: what a rate does in a time is exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Work(u128);

impl Work {
    pub(super) fn of(size: Bytes) -> Work {
        Work((u128::from(size.0) << FRACTION_BITS) * u128::from(PS_PER_S))
    }

    /// What is left after a time at a rate.
    pub(super) fn after(self, passed: SimDuration, rate: u64) -> Work {
        let done = u128::from(passed.as_ps()) * u128::from(rate);
        Work(self.0.saturating_sub(done))
    }

    /// The bytes, rounded up.
    pub(super) fn bytes(self) -> Bytes {
        let bytes = self.0.div_ceil(u128::from(PS_PER_S) << FRACTION_BITS);
        Bytes(u64::try_from(bytes).expect("no more than it was made of"))
    }

    /// Time that it takes at a rate, rounded once, half up, to a picosecond: at the whole rate of a
    /// link its serialization delay. `None` at no rate.
    ///
    /// # Panics
    /// If that is more than 213 days.
    pub(super) fn time_at(self, rate: u64) -> Option<SimDuration> {
        if self.0 == 0 || rate == UNLIMITED {
            return Some(SimDuration::ZERO);
        }
        if rate == 0 {
            return None;
        }
        let rate = u128::from(rate);
        let ps = (self.0 + rate / 2) / rate;
        let ps = u64::try_from(ps).expect("a flow ends within 213 days");
        Some(SimDuration::from_ps(ps))
    }
}

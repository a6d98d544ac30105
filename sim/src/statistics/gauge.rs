//! Numbers that change in time, and their time averages.

use schema::units::{SimDuration, SimTime};

/// Fractional bits of a number of busy servers, some of which may be shared.
const FRACTION_BITS: u32 = 16;

/// What a [`Gauge`] follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Level {
    /// Requests in the system.
    pub present: u32,
    /// Of those, requests whose service has started.
    pub in_service: u32,
    /// Busy servers, in 2⁻¹⁶.
    busy: u64,
}

impl Level {
    /// `by` more servers are busy.
    pub const fn add_busy(&mut self, by: u32) {
        self.busy += (by as u64) << FRACTION_BITS;
    }

    /// `by` servers fewer are busy.
    ///
    /// # Panics
    /// If fewer were.
    pub const fn remove_busy(&mut self, by: u32) {
        self.busy = self
            .busy
            .checked_sub((by as u64) << FRACTION_BITS)
            .expect("only a busy server becomes idle");
    }

    /// So many servers are busy; a part of one counts as that part.
    pub fn set_busy(&mut self, servers: f64) {
        self.busy = (servers * f64::from(1u32 << FRACTION_BITS)).round() as u64;
    }
}

/// Numbers that change in time, with the areas under them since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauge {
    /// The numbers at present.
    pub level: Level,
    updated: SimTime,
    present: u128,
    in_service: u128,
    busy: u128,
}

impl Gauge {
    /// Counts what has been the level until `now`; must come before each change of it.
    #[inline]
    pub fn advance(&mut self, now: SimTime) {
        if now == self.updated {
            return;
        }
        let passed = u128::from(now.since(self.updated).as_ps());
        self.updated = now;
        self.present += passed * u128::from(self.level.present);
        self.in_service += passed * u128::from(self.level.in_service);
        self.busy += passed * u128::from(self.level.busy);
    }

    /// Requests in the system times picoseconds, since the start.
    pub const fn area_ps(&self) -> u128 {
        self.present
    }

    /// Time averages since `earlier`, an older reading of the same gauge, over `length`: requests in
    /// the system, of those in service, busy servers. NaN if `length` is zero.
    pub fn averages(&self, earlier: &Gauge, length: SimDuration) -> [f64; 3] {
        let ps = length.as_ps() as f64;
        let over = |late: u128, early: u128| (late - early) as f64 / ps;
        [
            over(self.present, earlier.present),
            over(self.in_service, earlier.in_service),
            over(self.busy, earlier.busy) / f64::from(1u32 << FRACTION_BITS),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_areas_over_time() {
        let at = SimTime::from_ps;
        let mut gauge = Gauge::default();
        gauge.advance(at(10));
        gauge.level.present = 3;
        gauge.level.in_service = 1;
        gauge.level.set_busy(0.5);
        gauge.advance(at(20));
        let opened = gauge;
        gauge.level.present = 1;
        gauge.level.add_busy(1);
        gauge.advance(at(40));
        assert_eq!(gauge.area_ps(), 50);
        let averages = gauge.averages(&opened, SimDuration::from_ps(20));
        assert!(
            averages
                .iter()
                .zip([1.0, 1.0, 1.5])
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
    }
}

//! Work that is done at a rate that changes.

use std::collections::VecDeque;

use schema::units::SimDuration;

/// Fractional bits of work and rates.
const FRACTION_BITS: u32 = 32;

/// The rate at which work takes as long as it was said to.
pub(super) const FULL: u64 = 1 << FRACTION_BITS;

/// Work that is left, and the rate at which it is done. Work is in 2⁻³² ps, so that at the full rate
/// it takes its length to the picosecond; at another it ends on the first picosecond at which all of
/// it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    left: u128,
    rate: u64,
}

impl Progress {
    /// Work of this length at the full rate, which stands still until it is given a rate.
    pub(super) fn new(length: SimDuration) -> Progress {
        Progress {
            left: u128::from(length.as_ps()) << FRACTION_BITS,
            rate: 0,
        }
    }

    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    pub(super) const fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    pub(super) const fn advance(&mut self, passed: SimDuration) {
        let done = self.rate as u128 * passed.as_ps() as u128;
        self.left = self.left.saturating_sub(done);
    }

    pub(super) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Time until it is done at this rate; `None` if it stands still.
    pub(super) fn time_left(&self) -> Option<SimDuration> {
        time_for(self.left, self.rate)
    }
}

/// Time that work takes at a rate; `None` if it stands still.
fn time_for(left: u128, rate: u64) -> Option<SimDuration> {
    if left == 0 {
        return Some(SimDuration::ZERO);
    }
    if rate == 0 {
        return None;
    }
    let ps = match u64::try_from(left) {
        _ if rate == FULL => (left + u128::from(FULL - 1)) >> FRACTION_BITS,
        // A quarter of the time, and long enough for four milliseconds.
        Ok(left) => u128::from(left.div_ceil(rate)),
        Err(_) => left.div_ceil(u128::from(rate)),
    };
    u64::try_from(ps).ok().map(SimDuration::from_ps)
}

/// Pieces of work of equal lengths that are done at one rate, whichever it is, so that the first to
/// begin is the first to end. `T` names them.
#[derive(Clone, Debug, Default)]
pub(super) struct Alike<T> {
    /// What each would have done if it had begun at the start.
    served: u128,
    rate: u64,
    /// With what `served` is when they are done.
    pieces: VecDeque<(u128, T)>,
}

impl<T> Alike<T> {
    pub(super) const fn new() -> Alike<T> {
        Alike {
            served: 0,
            rate: 0,
            pieces: VecDeque::new(),
        }
    }

    pub(super) fn begin(&mut self, length: SimDuration, piece: T) {
        let until = self.served + (u128::from(length.as_ps()) << FRACTION_BITS);
        self.pieces.push_back((until, piece));
    }

    /// Number of pieces that are not done.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The last piece to begin is joined by another: they are done together, at the mean of when each
    /// would be, weighted by `own` and `other`. All work there is to do stays the same.
    pub(super) fn join_last(&mut self, length: SimDuration, own: u32, other: u32) -> &mut T {
        let other_until = self.served + (u128::from(length.as_ps()) << FRACTION_BITS);
        let (until, piece) = self.pieces.back_mut().expect("there is a piece to join");
        let later = other_until.saturating_sub(*until);
        *until += later * u128::from(other) / u128::from(own + other);
        piece
    }

    /// The last piece to begin.
    pub(super) fn last(&self) -> Option<&T> {
        self.pieces.back().map(|(_, piece)| piece)
    }

    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    pub(super) const fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    pub(super) const fn advance(&mut self, passed: SimDuration) {
        self.served += self.rate as u128 * passed.as_ps() as u128;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Time until the next is done at this rate; `None` if there is none, or it stands still.
    pub(super) fn time_left(&self) -> Option<SimDuration> {
        let (until, _) = self.pieces.front()?;
        time_for(until.saturating_sub(self.served), self.rate)
    }

    /// Takes one that is done.
    pub(super) fn pop_done(&mut self) -> Option<T> {
        let (until, _) = self.pieces.front()?;
        if *until > self.served {
            return None;
        }
        let (_, piece) = self.pieces.pop_front()?;
        Some(piece)
    }
}

/// A rate relative to the full one, as a fixed-point number; what differs from the full rate by no
/// more than rounding is the full rate.
pub(super) fn fixed(rate: f64) -> u64 {
    if (rate - 1.0).abs() <= 1e-12 {
        return FULL;
    }
    // Rounded half up, without a call.
    let exact = rate * FULL as f64;
    let whole = exact as u64;
    whole.saturating_add(u64::from(exact - whole as f64 >= 0.5))
}

/// Max-min fair shares of `capacity` among `demands`, in place: nobody gets more than it asks for,
/// and what some leave is divided equally among the others (Bertsekas and Gallager 1992, Data
/// Networks, section 6.5.2). A demand may be infinite.
pub(super) fn max_min(demands: &mut [f64], capacity: f64) {
    let total: f64 = demands.iter().sum();
    if total <= capacity {
        return;
    }
    let capacity = capacity.max(0.0);
    // What those get that do not get all they ask for: it rises with what the others leave.
    let mut level = capacity / demands.len() as f64;
    let mut n_content = 0;
    loop {
        let (mut n, mut taken) = (0, 0.0);
        for demand in demands.iter() {
            let is_content = *demand <= level;
            n += usize::from(is_content);
            taken += if is_content { *demand } else { 0.0 };
        }
        if n <= n_content || n == demands.len() {
            break;
        }
        n_content = n;
        level = (capacity - taken) / (demands.len() - n) as f64;
    }
    for demand in demands {
        *demand = demand.min(level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_rate_takes_the_length_exactly() {
        let mut work = Progress::new(SimDuration::from_ps(1_234_567));
        work.set_rate(FULL);
        assert_eq!(work.time_left(), Some(SimDuration::from_ps(1_234_567)));
        work.advance(SimDuration::from_ps(234_567));
        work.set_rate(fixed(0.25));
        assert_eq!(work.time_left(), Some(SimDuration::from_ps(4_000_000)));
    }

    proptest! {
        #[test]
        fn shares_are_max_min_fair(
            demands in proptest::collection::vec(0.0f64..10.0, 1..8),
            capacity in 0.0f64..30.0,
        ) {
            let mut shares = demands.clone();
            max_min(&mut shares, capacity);
            let sum: f64 = shares.iter().sum();
            let asked: f64 = demands.iter().sum();
            prop_assert!((sum - capacity.min(asked)).abs() < 1e-9);
            let most = shares.iter().copied().fold(0.0, f64::max);
            for (share, demand) in shares.iter().zip(&demands) {
                // Whoever gets less than it asks for gets as much as anybody.
                prop_assert!(share <= demand && (share >= &(demand - 1e-12) || *share >= most - 1e-9));
            }
        }
    }
}

//! The event queue: a sorted front, and a radix heap behind it.

use std::fmt::Debug;

use schema::units::{SimDuration, SimTime};

/// Events in the front from which on some of them are moved behind it. Sorting so few by insertion
/// costs less than another round of distribution; any value gives the same order.
const FRONT: usize = 64;
/// Bits of a digit of a time. With more, an event moves less often and buckets are more.
const DIGIT_BITS: u32 = 4;
/// Values of a digit.
const RADIX: usize = 1 << DIGIT_BITS;
/// Number of buckets: one for each digit of a time and each of its values.
const BUCKETS: usize = u64::BITS as usize / DIGIT_BITS as usize * RADIX;

/// The future event list, with the clock that it drives.
///
/// Events come out in the order of their times, and of those at one instant in the order in which
/// they were scheduled; no number is kept for that, since neither of the two parts ever changes the
/// order of equal times. The soonest events are in a sorted front. Those behind are in a radix heap
/// (Ahuja, Mehlhorn, Orlin and Tarjan, 1990, Journal of the ACM 37(2)): since the clock never goes
/// back, it is enough to know the highest digit in which a time differs from `base`, a time that is
/// not later than any of them, and its value there. A bucket holds the events with one such digit.
/// When the front is empty the first bucket that is not is distributed over those before it, until
/// it is short enough to be sorted. Each event so moves at most once for each digit, always from one
/// array to the end of another.
#[derive(Debug)]
pub struct EventQueue<E> {
    now: SimTime,
    n_scheduled: u64,
    /// Latest first, so that the next is taken from the end; what is past `n_front` was taken.
    front: Vec<Entry<E>>,
    n_front: usize,
    is_refilled: bool,
    /// What is scheduled for this instant or later goes behind the front. What is in the front is
    /// earlier, or all of it is for this instant, which has then come, and was scheduled before what
    /// is behind.
    limit: SimTime,
    /// Not later than anything in the buckets.
    base: SimTime,
    /// By the highest digit in which the time differs from `base`, and its value.
    buckets: Vec<Vec<Entry<E>>>,
    /// Whether each bucket holds anything, by bit.
    occupied: [u64; BUCKETS / 64],
    n_behind: usize,
    /// Memory of the bucket that is being distributed.
    spare: Vec<Entry<E>>,
}

/// An event with its time.
#[derive(Clone, Copy, Debug)]
pub struct Entry<E> {
    at: SimTime,
    event: E,
}

impl<E> Entry<E> {
    /// The event.
    pub const fn event(&self) -> &E {
        &self.event
    }
}

impl<E: Copy + Debug> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue::new()
    }
}

impl<E: Copy + Debug> EventQueue<E> {
    /// An empty queue at the start of simulated time.
    pub fn new() -> EventQueue<E> {
        EventQueue {
            now: SimTime::ZERO,
            n_scheduled: 0,
            front: Vec::with_capacity(2 * FRONT),
            n_front: 0,
            is_refilled: false,
            limit: SimTime::MAX,
            base: SimTime::ZERO,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: [0; BUCKETS / 64],
            n_behind: 0,
            spare: Vec::new(),
        }
    }

    /// The time of the event that was taken last.
    pub const fn now(&self) -> SimTime {
        self.now
    }

    /// Number of events scheduled so far, void ones included.
    pub const fn n_scheduled(&self) -> u64 {
        self.n_scheduled
    }

    /// Number of events that are still to come, void ones included.
    pub const fn n_pending(&self) -> usize {
        self.n_front + self.n_behind
    }

    /// Schedules `event` at the instant `at`, after all that were scheduled for it before.
    ///
    /// # Panics
    /// If `at` is in the past.
    // Always inlined, and written straight to its place: an entry that is built in memory and copied
    // from there at once makes the processor wait for its own stores, a tenth of a run.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "measured, see above")]
    pub fn schedule_at(&mut self, at: SimTime, event: E) {
        if at < self.now {
            self.refuse(at, event);
        }
        self.n_scheduled += 1;
        if at >= self.limit {
            self.push_behind(at, event);
            return;
        }
        if self.n_front == self.front.len() {
            self.lengthen_front(at, event);
        }
        let mut index = self.n_front;
        while index > 0 && self.front[index - 1].at <= at {
            self.front[index] = self.front[index - 1];
            index -= 1;
        }
        self.front[index].at = at;
        self.front[index].event = event;
        self.n_front += 1;
        if self.n_front > FRONT {
            self.shorten_front();
        }
    }

    /// Makes room for one more in the front, with any entry in it.
    #[cold]
    #[inline(never)]
    fn lengthen_front(&mut self, at: SimTime, event: E) {
        self.front.push(Entry { at, event });
    }

    #[cold]
    fn refuse(&self, at: SimTime, event: E) -> ! {
        panic!(
            "{event:?} was scheduled at {} ps, and it is {} ps",
            at.as_ps(),
            self.now.as_ps()
        )
    }

    /// Schedules `event` after `delay`.
    #[inline]
    pub fn schedule_in(&mut self, delay: SimDuration, event: E) {
        self.schedule_at(self.now + delay, event);
    }

    /// Takes the next event and sets the clock to its time; `None` if nothing is left.
    #[inline]
    pub fn pop(&mut self) -> Option<E> {
        if self.n_front == 0 {
            self.refill_front();
        }
        self.n_front = self.n_front.checked_sub(1)?;
        let entry = &self.front[self.n_front];
        self.now = entry.at;
        Some(entry.event)
    }

    /// Whether the next event is for the instant of the one that was taken last.
    pub fn has_more_now(&mut self) -> bool {
        if self.n_front == 0 {
            self.refill_front();
        }
        let next = self.n_front.checked_sub(1);
        next.is_some_and(|next| self.front[next].at == self.now)
    }

    /// The next few events, if they have come to the front together since this was last asked;
    /// otherwise none.
    #[inline]
    pub fn newly_in_front(&mut self) -> &[Entry<E>] {
        if !std::mem::take(&mut self.is_refilled) {
            return &[];
        }
        &self.front[..self.n_front]
    }

    #[inline]
    fn push_behind(&mut self, at: SimTime, event: E) {
        let bucket = bucket(at, self.base);
        self.buckets[bucket].push(Entry { at, event });
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.n_behind += 1;
    }

    /// Moves the later half of the front behind it, all of it if it is for one instant.
    #[cold]
    fn shorten_front(&mut self) {
        self.limit = self.front[self.n_front / 2].at;
        let front = &self.front[..self.n_front];
        let n_later = front.partition_point(|entry| entry.at >= self.limit);
        // From the soonest on, which is how they were scheduled where times are equal.
        for index in (0..n_later).rev() {
            let Entry { at, event } = self.front[index];
            self.push_behind(at, event);
        }
        self.front.copy_within(n_later..self.n_front, 0);
        self.n_front -= n_later;
    }

    /// Takes the first bucket that is not empty off the list of those: its number.
    fn first_occupied(&mut self) -> Option<usize> {
        let word = self.occupied.iter().position(|word| *word != 0)?;
        let bit = self.occupied[word].trailing_zeros();
        self.occupied[word] &= !(1 << bit);
        Some(64 * word + bit as usize)
    }

    /// Fills the empty front from the buckets.
    #[inline(never)]
    fn refill_front(&mut self) {
        self.front.clear();
        if self.n_behind <= FRONT {
            self.gather();
            return;
        }
        while let Some(first) = self.first_occupied() {
            std::mem::swap(&mut self.spare, &mut self.buckets[first]);
            self.n_behind -= self.spare.len();
            let shift = (first / RADIX) as u32 * DIGIT_BITS;
            if self.spare.len() <= FRONT || shift == 0 {
                // Its times have the digits of the base above this one, and any below.
                let digits = (self.base.as_ps() >> shift) as usize / RADIX * RADIX + first % RADIX;
                self.base = SimTime::from_ps((digits as u64) << shift);
                // With one value of the lowest digit all are for one instant, and what is still to
                // be scheduled for it comes after them.
                let width = if shift == 0 { 0 } else { 1 << shift };
                self.limit = SimTime::from_ps(self.base.as_ps().saturating_add(width));
                self.front.append(&mut self.spare);
                self.sort_front();
                return;
            }
            let times = self.spare.iter().map(|entry| entry.at);
            self.base = times.min().expect("an occupied bucket holds an event");
            let mut spare = std::mem::take(&mut self.spare);
            for Entry { at, event } in spare.drain(..) {
                self.push_behind(at, event);
            }
            self.spare = spare;
        }
    }

    /// Takes all that is behind to the front, and lets everything go there.
    fn gather(&mut self) {
        while let Some(first) = self.first_occupied() {
            self.front.append(&mut self.buckets[first]);
        }
        self.n_behind = 0;
        self.base = self.now;
        self.limit = SimTime::MAX;
        self.sort_front();
    }

    /// Sorts the front, in which equal times are in the order in which they were scheduled.
    fn sort_front(&mut self) {
        self.front.sort_by_key(|entry| entry.at);
        self.front.reverse();
        self.n_front = self.front.len();
        self.is_refilled = true;
    }
}

/// The bucket of a time that is not before `base`; of several buckets the later times are in that
/// with the higher number.
#[inline]
const fn bucket(at: SimTime, base: SimTime) -> usize {
    let highest = (u64::BITS - 1) - (at.as_ps() ^ base.as_ps() | 1).leading_zeros();
    let digit = highest / DIGIT_BITS;
    let value = (at.as_ps() >> (digit * DIGIT_BITS)) as usize % RADIX;
    digit as usize * RADIX + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[should_panic(expected = "\"late\" was scheduled at 4 ps, and it is 5 ps")]
    fn scheduling_in_the_past_panics() {
        let mut queue = EventQueue::new();
        queue.schedule_at(SimTime::from_ps(5), "first");
        queue.pop();
        queue.schedule_at(SimTime::from_ps(4), "late");
    }

    #[test]
    fn the_last_instant_is_like_any_other() {
        let mut queue = EventQueue::new();
        for index in 0..100 {
            queue.schedule_at(SimTime::MAX, index);
        }
        queue.schedule_at(SimTime::ZERO, 100);
        assert_eq!(queue.n_pending(), 101);
        assert_eq!(queue.pop(), Some(100));
        assert!((0..100).all(|index| queue.pop() == Some(index)));
        assert_eq!(queue.pop(), None);
    }

    /// Some times: few, many, or far apart; equal ones among them.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        prop_oneof![
            prop::collection::vec(0u64..20, 0..300),
            prop::collection::vec(0u64..5_000, 0..300),
            prop::collection::vec(prop::num::u64::ANY, 0..300),
            prop::collection::vec((0u32..64).prop_map(|bit| 1u64 << bit), 0..300),
        ]
    }

    proptest! {
        #[test]
        fn the_queue_is_a_stable_sort(times in times()) {
            let mut queue = EventQueue::new();
            for (index, at) in times.iter().enumerate() {
                queue.schedule_at(SimTime::from_ps(*at), index);
            }
            let mut expected: Vec<(u64, usize)> = times.into_iter().zip(0..).collect();
            expected.sort_by_key(|(at, _)| *at);
            let taken: Vec<(u64, usize)> =
                std::iter::from_fn(|| queue.pop().map(|i| (queue.now().as_ps(), i))).collect();
            prop_assert_eq!(taken, expected);
        }

        /// Taking and scheduling in turns, against a list that is searched for the first of the
        /// soonest.
        #[test]
        fn the_queue_is_a_searched_list(
            steps in prop::collection::vec((0usize..4, times()), 1..30),
        ) {
            let mut queue = EventQueue::new();
            let mut list: Vec<(u64, usize)> = Vec::new();
            let mut n = 0;
            for (n_taken, delays) in steps {
                for delay in delays {
                    let at = queue.now().as_ps().saturating_add(delay % (1 << 40));
                    queue.schedule_at(SimTime::from_ps(at), n);
                    list.push((at, n));
                    n += 1;
                }
                for _ in 0..n_taken * 40 {
                    let soonest = (0..list.len()).min_by_key(|index| list[*index]);
                    let expected = soonest.map(|index| list.remove(index));
                    let taken = queue.pop().map(|index| (queue.now().as_ps(), index));
                    prop_assert_eq!(taken, expected);
                }
                prop_assert_eq!(queue.n_pending(), list.len());
            }
        }
    }
}

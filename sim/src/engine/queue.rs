//! The event queue.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt::Debug;

use schema::units::{SimDuration, SimTime};

/// The future event list, with the clock that it drives.
#[derive(Debug)]
pub struct EventQueue<E> {
    heap: BinaryHeap<Entry<E>>,
    now: SimTime,
    next_seq: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: SimTime,
    seq: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    /// Reversed, since the heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E: Debug> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue::new()
    }
}

impl<E: Debug> EventQueue<E> {
    /// An empty queue at the start of simulated time.
    pub fn new() -> EventQueue<E> {
        EventQueue {
            heap: BinaryHeap::new(),
            now: SimTime::ZERO,
            next_seq: 0,
        }
    }

    /// The time of the event that was taken last.
    pub const fn now(&self) -> SimTime {
        self.now
    }

    /// Number of events scheduled so far, void ones included.
    pub const fn n_scheduled(&self) -> u64 {
        self.next_seq
    }

    /// Schedules `event` at the instant `at`, after all that were scheduled for it before.
    ///
    /// # Panics
    /// If `at` is in the past.
    pub fn schedule_at(&mut self, at: SimTime, event: E) {
        assert!(
            at >= self.now,
            "{event:?} was scheduled at {} ps, and it is {} ps",
            at.as_ps(),
            self.now.as_ps()
        );
        let seq = self.next_seq;
        self.next_seq += 1;
        self.heap.push(Entry { at, seq, event });
    }

    /// Schedules `event` after `delay`.
    pub fn schedule_in(&mut self, delay: SimDuration, event: E) {
        self.schedule_at(self.now + delay, event);
    }

    /// Takes the next event and sets the clock to its time; `None` if nothing is left.
    pub fn pop(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
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

    proptest! {
        #[test]
        fn the_queue_is_a_stable_sort(times in prop::collection::vec(0u64..20, 0..200)) {
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

        #[test]
        fn the_clock_never_goes_back(delays in prop::collection::vec(0u64..20, 1..100)) {
            let mut queue = EventQueue::new();
            queue.schedule_in(SimDuration::ZERO, ());
            let mut last = SimTime::ZERO;
            let mut delays = delays.into_iter();
            while queue.pop().is_some() {
                prop_assert!(queue.now() >= last);
                last = queue.now();
                for delay in delays.by_ref().take(2) {
                    queue.schedule_in(SimDuration::from_ps(delay), ());
                }
            }
        }
    }
}

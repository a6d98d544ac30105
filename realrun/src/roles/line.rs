//! The waiting line before a stage's instances, and the way back: nothing is allocated for a
//! request.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A first-in-first-out line that several threads fill and several empty, in batches.
pub(super) struct Line<T> {
    waiting: Mutex<VecDeque<(u64, T)>>,
    /// Whether nobody joins any more; set by who holds the line.
    is_closed: AtomicBool,
    arrived: Condvar,
    batch_max: usize,
    batch_delay: Duration,
}

impl<T> Line<T> {
    /// A line with room for `capacity` before it must grow.
    pub(super) fn new(capacity: usize, batch_max: usize, batch_delay: Duration) -> Line<T> {
        Line {
            waiting: Mutex::new(VecDeque::with_capacity(capacity)),
            is_closed: AtomicBool::new(false),
            arrived: Condvar::new(),
            batch_max,
            batch_delay,
        }
    }

    /// Joins the end of the line; `at_ns` is when, on the monotonic clock.
    pub(super) fn join(&self, at_ns: u64, item: T) {
        let mut waiting = self.lock();
        waiting.push_back((at_ns, item));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Closes the line: who takes from it goes on until it is empty.
    pub(super) fn close(&self) {
        let waiting = self.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        drop(waiting);
        self.arrived.notify_all();
    }

    /// Waits for a batch and moves it into `batch`, which must be empty; `false` if there will be none,
    /// since the line is empty and closed.
    ///
    /// It closes when it is full, or when its first item has waited for the batch delay.
    pub(super) fn take(&self, batch: &mut Vec<T>) -> bool {
        let mut waiting = self.lock();
        loop {
            let Some((since_ns, _)) = waiting.front() else {
                if self.is_closed.load(Ordering::Relaxed) {
                    return false;
                }
                waiting = self
                    .arrived
                    .wait(waiting)
                    .expect("no thread panics inside the line");
                continue;
            };
            let waited =
                Duration::from_nanos(crate::clock::monotonic_ns().saturating_sub(*since_ns));
            if waiting.len() >= self.batch_max || waited >= self.batch_delay {
                let n = waiting.len().min(self.batch_max);
                batch.extend(waiting.drain(..n).map(|(_, item)| item));
                let more = !waiting.is_empty();
                drop(waiting);
                if more {
                    // Whoever was woken for these may have found this thread in its way.
                    self.arrived.notify_one();
                }
                return true;
            }
            let rest = self.batch_delay - waited;
            let (guard, _) = self
                .arrived
                .wait_timeout(waiting, rest)
                .expect("no thread panics inside the line");
            waiting = guard;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, T)>> {
        self.waiting
            .lock()
            .expect("no thread panics inside the line")
    }
}

/// A place in which one thread leaves an item for one other.
pub(super) struct Handover<T> {
    item: Mutex<Option<T>>,
    left: Condvar,
}

impl<T> Handover<T> {
    pub(super) const fn new() -> Handover<T> {
        Handover {
            item: Mutex::new(None),
            left: Condvar::new(),
        }
    }

    /// Leaves an item.
    pub(super) fn leave(&self, item: T) {
        *self.item.lock().expect("no thread panics at the handover") = Some(item);
        self.left.notify_one();
    }

    /// Waits for the item.
    pub(super) fn take(&self) -> T {
        let mut item = self.item.lock().expect("no thread panics at the handover");
        loop {
            match item.take() {
                Some(item) => return item,
                None => {
                    item = self
                        .left
                        .wait(item)
                        .expect("no thread panics at the handover")
                }
            }
        }
    }
}

/// Waits until `ready` gives something, at most `limit`; for start-up only.
pub(super) fn poll<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic_ns;

    fn take(line: &Line<u32>) -> Vec<u32> {
        let mut batch = Vec::new();
        assert!(line.take(&mut batch));
        batch
    }

    #[test]
    fn a_line_that_is_closed_is_emptied_first() {
        let line = std::sync::Arc::new(Line::new(8, 1, Duration::ZERO));
        line.join(monotonic_ns(), 1);
        let other = std::sync::Arc::clone(&line);
        let taker = std::thread::spawn(move || {
            let mut n = 0;
            while other.take(&mut Vec::new()) {
                n += 1;
            }
            n
        });
        line.close();
        assert_eq!(taker.join().unwrap(), 1);
    }

    #[test]
    fn a_full_batch_leaves_at_once_and_in_order() {
        let line = Line::new(8, 3, Duration::from_secs(3600));
        for item in 0..7 {
            line.join(monotonic_ns(), item);
        }
        assert_eq!(take(&line), [0, 1, 2]);
        assert_eq!(take(&line), [3, 4, 5]);
    }

    #[test]
    fn a_batch_closes_when_its_first_item_has_waited_long_enough() {
        let line = Line::new(8, 3, Duration::from_millis(1));
        line.join(monotonic_ns(), 7);
        assert_eq!(take(&line), [7]);
    }

    #[test]
    fn an_item_is_handed_over_once() {
        let place = std::sync::Arc::new(Handover::new());
        let other = std::sync::Arc::clone(&place);
        let taker = std::thread::spawn(move || (other.take(), other.take()));
        place.leave(1);
        while place.item.lock().unwrap().is_some() {
            std::thread::yield_now();
        }
        place.leave(2);
        assert_eq!(taker.join().unwrap(), (1, 2));
    }
}

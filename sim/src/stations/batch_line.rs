//! A line with a batcher in front of several servers.

use std::collections::VecDeque;

use schema::scenario::{BatchClose, BatchPolicy};
use schema::units::{SimDuration, SimTime};

/// A line, first come first served, with a batcher in front of several servers.
///
/// An idle server takes up to `max` waiting requests at once. While fewer wait, it holds back until
/// the first of them has waited `delay`. With `max` 1 this is the multi-server FIFO station.
///
/// With `preferred` sizes it does not hold back once the line has one of them: it takes as many as
/// the largest of them, and the rest are the next batch. A first request that has waited `delay`
/// takes all others along, up to `max`, whatever the sizes. With no delay there is nothing to hold
/// back for: it takes the largest preferred size that the line has, and if it has none, all. This
/// is the dynamic batcher of the Triton Inference Server (`GetDynamicBatch` of its core's
/// `dynamic_batch_scheduler.cc`), without its payloads that still grow when they are taken.
///
/// Where batches close at the timeout, one is closed when its first request has waited `delay` or
/// it has `max`, even if no server is idle: what comes at that instant or later is of the next.
/// Servers take closed batches in order, as they are.
///
/// Where one is closed ahead, that happens while all servers are busy and none is closed yet: it takes
/// the whole line, up to `max`, as soon as the first has waited `delay`.
#[derive(Debug)]
pub struct BatchLine<T> {
    max: usize,
    delay: SimDuration,
    /// Ascending.
    preferred: Vec<usize>,
    close: BatchClose,
    /// The idle servers; the last is the next to work.
    idle: Vec<u32>,
    waiting: VecDeque<(SimTime, T)>,
    /// Sizes of the closed batches, which are the head of the line.
    closed: VecDeque<usize>,
    /// Number of requests in closed batches.
    n_closed: usize,
}

impl<T> BatchLine<T> {
    /// An empty line before `n_servers` idle servers, numbered from zero.
    ///
    /// # Panics
    /// If `max` is zero, or a preferred size is zero, more than `max`, or not more than the one
    /// before it.
    pub fn new(n_servers: u32, policy: &BatchPolicy) -> BatchLine<T> {
        assert!(policy.max > 0, "a batch holds at least one request");
        let sizes = &policy.preferred;
        assert!(
            sizes.is_sorted_by(|a, b| a < b) && sizes.iter().all(|n| (1..=policy.max).contains(n)),
            "preferred sizes ascend from 1 to {}, not {sizes:?}",
            policy.max
        );
        BatchLine {
            max: policy.max as usize,
            delay: policy.delay,
            preferred: sizes.iter().map(|n| *n as usize).collect(),
            close: policy.close,
            idle: (0..n_servers).rev().collect(),
            waiting: VecDeque::new(),
            closed: VecDeque::new(),
            n_closed: 0,
        }
    }

    /// `request` joins the line at the instant `now`.
    pub fn arrive(&mut self, now: SimTime, request: T) {
        self.close_overdue(now);
        self.close_ahead(now);
        self.waiting.push_back((now, request));
        self.close_ahead(now);
        if self.close == BatchClose::AtTimeout && self.n_open() == self.max {
            self.close_open();
        }
    }

    /// Number of requests in the line, without those in service.
    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the next batch starts if nothing else arrives and no server becomes idle: `None` if no
    /// server is idle or nothing waits. An instant that has passed means at once.
    pub fn due(&self) -> Option<SimTime> {
        let (since, _) = self.waiting.front()?;
        if self.idle.is_empty() {
            return None;
        }
        let least = self.preferred.first().unwrap_or(&self.max);
        let is_ready = !self.closed.is_empty() || self.waiting.len() >= *least;
        Some(if is_ready {
            *since
        } else {
            *since + self.delay
        })
    }

    /// Moves a batch from the line into `batch`, which is cleared first, if one is due at the
    /// instant `now`; the server that took it.
    pub fn take(&mut self, now: SimTime, batch: &mut Vec<T>) -> Option<u32> {
        if self.due()? > now {
            return None;
        }
        self.close_overdue(now);
        let n = match self.closed.pop_front() {
            Some(n) => {
                self.n_closed -= n;
                n
            }
            None => self.open_size(now),
        };
        batch.clear();
        batch.extend(self.waiting.drain(..n).map(|(_, request)| request));
        let server = self.idle.pop();
        self.close_ahead(now);
        server
    }

    /// Closes a batch ahead of the servers, if that is the way and none is.
    fn close_ahead(&mut self, now: SimTime) {
        let is_due = self.n_open() >= self.max || self.is_overdue(self.n_closed, now);
        let is_ahead = self.idle.is_empty() && self.closed.is_empty();
        if self.close == BatchClose::OneAhead && is_ahead && is_due {
            let n = self.n_open().min(self.max);
            self.closed.push_back(n);
            self.n_closed = n;
        }
    }

    /// How many of the line, which is due and has no closed batch, a server takes at `now`.
    fn open_size(&self, now: SimTime) -> usize {
        let n = self.waiting.len().min(self.max);
        if n == self.max || (self.delay > SimDuration::ZERO && self.is_overdue(0, now)) {
            return n;
        }
        let mut sizes = self.preferred.iter().rev();
        sizes.find(|size| **size <= n).copied().unwrap_or(n)
    }

    /// Whether the request at `index` in the line has waited for the delay.
    fn is_overdue(&self, index: usize, now: SimTime) -> bool {
        let first = self.waiting.get(index);
        first.is_some_and(|(since, _)| now.since(*since) >= self.delay)
    }

    fn n_open(&self) -> usize {
        self.waiting.len() - self.n_closed
    }

    fn close_open(&mut self) {
        self.closed.push_back(self.n_open());
        self.n_closed = self.waiting.len();
    }

    /// Closes the open batch if it had to be by the instant `now`. Nothing that came later is in
    /// it, since every arrival looks first.
    fn close_overdue(&mut self, now: SimTime) {
        if self.close == BatchClose::AtTimeout && self.is_overdue(self.n_closed, now) {
            self.close_open();
        }
    }

    /// The server that takes the next batch; `None` if all are busy.
    pub fn next_idle(&self) -> Option<u32> {
        self.idle.last().copied()
    }

    /// `server` is done with its batch.
    ///
    /// # Panics
    /// If it was idle.
    pub fn release(&mut self, server: u32) {
        assert!(
            !self.idle.contains(&server),
            "server {server} was idle already"
        );
        self.idle.push(server);
    }
}

#[cfg(test)]
mod tests;

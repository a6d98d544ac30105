//! A line with a batcher in front of several servers.

use std::collections::VecDeque;

use schema::units::{SimDuration, SimTime};

/// A line, first come first served, with a batcher in front of several servers.
///
/// An idle server takes up to `max` waiting requests at once. While fewer wait, it holds back until
/// the first of them has waited `delay`. With `max` 1 this is the multi-server FIFO station.
#[derive(Debug)]
pub struct BatchLine<T> {
    max: usize,
    delay: SimDuration,
    /// The idle servers; the last is the next to work.
    idle: Vec<u32>,
    waiting: VecDeque<(SimTime, T)>,
}

impl<T> BatchLine<T> {
    /// An empty line before `n_servers` idle servers, numbered from zero.
    ///
    /// # Panics
    /// If `max` is zero.
    pub fn new(n_servers: u32, max: u32, delay: SimDuration) -> BatchLine<T> {
        assert!(max > 0, "a batch holds at least one request");
        BatchLine {
            max: max as usize,
            delay,
            idle: (0..n_servers).rev().collect(),
            waiting: VecDeque::new(),
        }
    }

    /// `request` joins the line at the instant `now`.
    pub fn arrive(&mut self, now: SimTime, request: T) {
        self.waiting.push_back((now, request));
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
        let full = self.waiting.len() >= self.max;
        Some(if full { *since } else { *since + self.delay })
    }

    /// Moves a batch from the line into `batch`, which is cleared first, if one is due at the
    /// instant `now`; the server that took it.
    pub fn take(&mut self, now: SimTime, batch: &mut Vec<T>) -> Option<u32> {
        if self.due()? > now {
            return None;
        }
        let n = self.waiting.len().min(self.max);
        batch.clear();
        batch.extend(self.waiting.drain(..n).map(|(_, request)| request));
        self.idle.pop()
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
mod tests {
    use super::*;

    fn ps(n: u64) -> SimTime {
        SimTime::from_ps(n)
    }

    fn taken(line: &mut BatchLine<char>, now: u64) -> Option<(u32, Vec<char>)> {
        let mut batch = Vec::new();
        let server = line.take(ps(now), &mut batch)?;
        Some((server, batch))
    }

    #[test]
    fn a_full_batch_starts_at_once() {
        let mut line = BatchLine::new(1, 2, SimDuration::from_ps(10));
        line.arrive(ps(0), 'a');
        assert_eq!(taken(&mut line, 0), None);
        line.arrive(ps(3), 'b');
        line.arrive(ps(3), 'c');
        assert_eq!(taken(&mut line, 3), Some((0, vec!['a', 'b'])));
        assert_eq!(line.n_waiting(), 1);
    }

    #[test]
    fn the_first_of_a_batch_waits_no_longer_than_the_delay() {
        let mut line = BatchLine::new(1, 8, SimDuration::from_ps(10));
        line.arrive(ps(5), 'a');
        line.arrive(ps(6), 'b');
        assert_eq!(line.due(), Some(ps(15)));
        assert_eq!(taken(&mut line, 14), None);
        assert_eq!(taken(&mut line, 15), Some((0, vec!['a', 'b'])));
    }

    #[test]
    fn a_server_that_becomes_idle_takes_what_waited_long_enough() {
        let mut line = BatchLine::new(1, 8, SimDuration::from_ps(10));
        line.arrive(ps(0), 'a');
        assert_eq!(taken(&mut line, 10), Some((0, vec!['a'])));
        line.arrive(ps(11), 'b');
        assert_eq!(line.due(), None);
        line.release(0);
        assert_eq!(taken(&mut line, 40), Some((0, vec!['b'])));
    }

    #[test]
    fn every_server_works_while_requests_wait() {
        let mut line = BatchLine::new(2, 1, SimDuration::ZERO);
        for request in ['a', 'b', 'c'] {
            line.arrive(ps(0), request);
        }
        assert_eq!(taken(&mut line, 0), Some((0, vec!['a'])));
        assert_eq!(taken(&mut line, 0), Some((1, vec!['b'])));
        assert_eq!(taken(&mut line, 0), None);
        line.release(1);
        assert_eq!(taken(&mut line, 4), Some((1, vec!['c'])));
    }
}

//! How many packets a stream has under way, and what it does about those that are lost.
//!
//! With [`Pace::Congestion`] a stream keeps the window of TCP: slow start from the initial window
//! (RFC 6928) and congestion avoidance (RFC 5681); three duplicate acknowledgements retransmit the
//! first that is missing, and partial ones the next (NewReno, RFC 6582); without word for the
//! retransmission timeout (RFC 6298) all is sent again from there, from a window of one packet, and the
//! timeout doubles. After a pause of as long the window is the initial one again. A window grows only
//! while it is used (RFC 7661, as in Linux: up to twice what was under way).

use schema::units::{SimDuration, SimTime};

/// How many packets a stream has under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Any number.
    Unlimited,
    /// So many, at least one.
    Window(u32),
    /// The congestion window of TCP.
    Congestion {
        /// Packets that are sent at first, at least one.
        initial: u32,
        /// Shortest retransmission timeout.
        min_rto: SimDuration,
    },
}

/// The congestion window of a stream, in packets or, where nothing is lost, in bytes.
#[derive(Clone, Debug)]
pub struct Congestion {
    initial: u64,
    min_rto: SimDuration,
    window: u64,
    threshold: u64,
    /// Acknowledged since the window grew last, in congestion avoidance.
    credit: u64,
    most_under_way: u64,
    duplicates: u32,
    /// Up to which packet all must be acknowledged until recovery is over.
    recovers: Option<u64>,
    /// Up to which packet duplicates may come of what was sent again after a timeout (RFC 6582).
    sent_again: u64,
    /// Mean and mean deviation of round-trip times.
    round_trip: Option<(SimDuration, SimDuration)>,
    backoff: u32,
}

/// What a sender does about an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It goes on.
    GoOn,
    /// It sends the first packet that is not acknowledged once more, and goes on.
    Retransmit,
}

/// The timeout doubles at most so often: to 64 times, as in `tcp_backoff` of BSD's tcp_timer.c, from
/// memory; RFC 6298 (5.5) leaves the limit open.
const MAX_BACKOFF: u32 = 6;

impl Congestion {
    /// Nothing has been sent.
    pub(crate) const fn new(initial: u64, min_rto: SimDuration) -> Congestion {
        Congestion {
            initial,
            min_rto,
            window: initial,
            threshold: u64::MAX,
            credit: 0,
            most_under_way: 0,
            duplicates: 0,
            recovers: None,
            sent_again: 0,
            round_trip: None,
            backoff: 0,
        }
    }

    /// What may be under way.
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// So much is under way.
    pub(crate) fn sent(&mut self, n: u64) {
        self.most_under_way = self.most_under_way.max(n);
    }

    /// Nothing was under way since `last`, and something is to be sent.
    pub(crate) fn resume(&mut self, now: SimTime, last: SimTime) {
        if now.since(last) > self.timeout() {
            self.window = self.window.min(self.initial);
            self.most_under_way = 0;
        }
    }

    /// Time without word after which packets are taken for lost (RFC 6298).
    pub(super) fn timeout(&self) -> SimDuration {
        let estimate = self.round_trip.map_or(SimDuration::ZERO, |(mean, spread)| {
            SimDuration::from_ps(mean.as_ps().saturating_add(4 * spread.as_ps()))
        });
        let timeout = self.min_rto.max(estimate).as_ps();
        SimDuration::from_ps(timeout.saturating_mul(1 << self.backoff))
    }

    /// A packet that was sent once took so long to be acknowledged.
    pub(super) fn measured(&mut self, time: SimDuration) {
        let time = time.as_ps();
        let (mean, spread) = match self.round_trip {
            None => (time, time / 2),
            Some((mean, spread)) => {
                let (mean, spread) = (mean.as_ps(), spread.as_ps());
                let off = mean.abs_diff(time);
                ((7 * mean + time) / 8, (3 * spread + off) / 4)
            }
        };
        self.round_trip = Some((SimDuration::from_ps(mean), SimDuration::from_ps(spread)));
    }

    /// `n` more are acknowledged, all before `acknowledged`; what to do.
    pub(crate) fn on_progress(&mut self, n: u64, acknowledged: u64) -> Answer {
        self.duplicates = 0;
        self.backoff = 0;
        match self.recovers {
            Some(until) if acknowledged < until => {
                self.window = self.window.saturating_sub(n).max(1) + 1;
                Answer::Retransmit
            }
            Some(_) => {
                self.recovers = None;
                self.window = self.threshold;
                Answer::GoOn
            }
            None => {
                self.grow(n);
                Answer::GoOn
            }
        }
    }

    fn grow(&mut self, n: u64) {
        if self.window >= 2 * self.most_under_way {
            return;
        }
        if self.window < self.threshold {
            self.window = (self.window + n).min(self.threshold);
            return;
        }
        self.credit += n;
        if self.credit >= self.window {
            self.credit -= self.window;
            self.window += 1;
        }
    }

    /// Word comes of a packet behind the missing `first`, and all before `end` were sent; what to do.
    pub(super) fn on_duplicate(&mut self, first: u64, end: u64) -> Answer {
        self.duplicates += 1;
        if self.recovers.is_some() {
            self.window += 1;
        } else if self.duplicates == 3 && first >= self.sent_again {
            self.threshold = ((end - first) / 2).max(2);
            self.window = self.threshold + 3;
            self.recovers = Some(end);
            return Answer::Retransmit;
        }
        Answer::GoOn
    }

    /// No word came for as long as the timeout of those from `first` to before `end`.
    pub(super) fn on_timeout(&mut self, [first, end]: [u64; 2]) {
        self.threshold = ((end - first) / 2).max(2);
        self.sent_again = self.sent_again.max(end);
        self.window = 1;
        self.credit = 0;
        self.duplicates = 0;
        self.recovers = None;
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
    }
}

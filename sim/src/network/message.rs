//! A message on its way.

use schema::units::{Bytes, SimDuration, SimTime};

use super::verbs::Transfer;

/// A message on its way: how far its chunks are, and its costs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// What goes over the hop: the payload, and what a messaging library puts before it.
    pub(crate) bytes: Bytes,
    pub(crate) payload: Bytes,
    /// Most bytes in a chunk.
    pub(crate) chunk: Bytes,
    /// Core time of the sender for all chunks.
    pub(crate) send_cost: SimDuration,
    /// Core time of the receiver for all chunks.
    pub(crate) receive_cost: SimDuration,
    /// From when a chunk has left until it arrives, beyond the propagation delay of its links; the same
    /// for every chunk.
    pub(crate) delay: SimDuration,
    pub(crate) ready: SimTime,
    pub(crate) start: SimTime,
    /// When the last chunk so far was handed over.
    pub(crate) handed_over: SimTime,
    /// When the receiver could begin: the first chunk was there, or all of it if it is taken whole.
    pub(crate) arrived: SimTime,
    /// When the receiver began with the first chunk.
    pub(crate) first_taken: SimTime,
    /// Whether the receiver takes all of it at once.
    pub(super) is_whole: bool,
    /// Core time that the sender and the receiver have used so far.
    pub(super) send_used: SimDuration,
    pub(super) receive_used: SimDuration,
    pub(super) n_sent: u64,
    pub(super) n_arrived: u64,
    pub(super) n_received: u64,
    pub(super) is_receiving: bool,
    /// Whether the sender waits for room in its buffer.
    pub(super) is_blocked: bool,
    /// Whether a proxy has begun to pass it on.
    pub(super) is_passed_on: bool,
    /// Between network adapters.
    pub(super) transfer: Transfer,
}

impl Message {
    /// Number of chunks; an empty message has one, of no bytes.
    fn n_chunks(&self) -> u64 {
        self.bytes.0.div_ceil(self.chunk.0).max(1)
    }

    /// Bytes before chunk `index`.
    fn offset(&self, index: u64) -> u64 {
        index.saturating_mul(self.chunk.0).min(self.bytes.0)
    }

    /// The share of chunk `index` in `total`, in proportion to its bytes. The shares are
    /// differences of rounded-down sums, so together they are exactly `total`.
    fn share(&self, total: SimDuration, index: u64) -> SimDuration {
        let until = |index: u64| {
            if index == self.n_chunks() {
                return total.as_ps();
            }
            let part = u128::from(total.as_ps()) * u128::from(self.offset(index));
            u64::try_from(part / u128::from(self.bytes.0)).expect("a part is at most the whole")
        };
        let before = if index == 0 { 0 } else { until(index) };
        SimDuration::from_ps(until(index + 1) - before)
    }

    /// Core time of the sender for the next chunk.
    pub(crate) fn next_send_cost(&self) -> SimDuration {
        self.share(self.send_cost, self.n_sent)
    }

    /// Core time of the receiver for the next chunk.
    pub(crate) fn next_receive_cost(&self) -> SimDuration {
        if self.is_whole {
            return self.receive_cost;
        }
        self.share(self.receive_cost, self.n_received)
    }

    /// Size of the next chunk to be handed over.
    pub(crate) fn next_size(&self) -> Bytes {
        Bytes(self.offset(self.n_sent + 1) - self.offset(self.n_sent))
    }

    /// The next chunk is handed over at the instant `now`; its size.
    pub(crate) fn hand_over(&mut self, now: SimTime) -> Bytes {
        let size = self.next_size();
        self.n_sent += 1;
        self.handed_over = now;
        size
    }

    /// What has been handed over.
    pub(crate) fn sent(&self) -> u64 {
        self.offset(self.n_sent)
    }

    /// What the receiver has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.offset(self.n_received)
    }

    /// What has arrived and the receiver has not begun to take.
    pub(crate) fn backlog(&self) -> u64 {
        let begun = self.n_received + u64::from(self.is_receiving);
        self.offset(self.n_arrived) - self.offset(begun.min(self.n_arrived))
    }

    /// The next chunk arrives at the instant `now`; whether the receiver, idle so far, takes it.
    pub(crate) fn arrive(&mut self, now: SimTime) -> bool {
        if self.n_arrived == 0 {
            self.arrived = now;
            self.first_taken = now;
        }
        self.n_arrived += 1;
        !std::mem::replace(&mut self.is_receiving, true)
    }

    /// The next chunk arrives at the instant `now`, of a message that is taken whole; whether that
    /// was all.
    pub(crate) fn arrive_whole(&mut self, now: SimTime) -> bool {
        self.n_arrived += 1;
        self.arrived = now;
        self.n_arrived == self.n_chunks()
    }

    /// The receiver begins with the whole message at the instant `now`.
    pub(crate) fn begin_whole(&mut self, now: SimTime) {
        self.first_taken = now;
        self.is_whole = true;
        self.is_receiving = true;
    }

    /// Whether a thread of several is taking all of it.
    pub(crate) const fn has_thread(&self) -> bool {
        self.is_whole && self.is_receiving
    }

    /// Whether no chunk has arrived yet.
    pub(crate) fn is_first(&self) -> bool {
        self.n_arrived == 0
    }

    /// The receiver is done with a chunk; whether it goes on with the next.
    pub(crate) fn take(&mut self) -> bool {
        self.n_received = if self.is_whole {
            self.n_chunks()
        } else {
            self.n_received + 1
        };
        self.is_receiving = self.n_received < self.n_arrived;
        self.is_receiving
    }

    /// Whether the sender has handed everything over.
    pub(crate) fn is_sent(&self) -> bool {
        self.n_sent == self.n_chunks()
    }

    /// Whether the receiver has everything.
    pub(crate) fn is_received(&self) -> bool {
        self.n_received == self.n_chunks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_sum_to_the_message(bytes in 0u64..2_000_000, cost in 0u64..u64::MAX) {
            let mut message = Message {
                bytes: Bytes(bytes),
                chunk: Bytes(65_536),
                send_cost: SimDuration::from_ps(cost),
                ..Message::default()
            };
            let (mut sum, mut size) = (SimDuration::ZERO, 0);
            while !message.is_sent() {
                sum += message.next_send_cost();
                size += message.hand_over(SimTime::ZERO).0;
            }
            prop_assert_eq!((sum.as_ps(), size), (cost, bytes));
        }
    }
}

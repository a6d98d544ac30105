//! One direction of a link.

use schema::units::{ByteRate, Bytes, SimTime};

/// One direction of a link: one server, first come first served, whose service is serialization.
///
/// The order of service is that of arrival and nothing preempts it, so the end of service is known
/// on arrival and needs no event of its own.
#[derive(Clone, Debug)]
pub struct FifoLink {
    rate: Option<ByteRate>,
    busy_until: SimTime,
}

impl FifoLink {
    /// An idle link of `rate`; `None` if it never limits.
    pub const fn new(rate: Option<ByteRate>) -> FifoLink {
        FifoLink {
            rate,
            busy_until: SimTime::ZERO,
        }
    }

    /// Takes `size` at the instant `now`, no earlier than what it took before, and says when its
    /// last byte has left.
    pub fn take(&mut self, now: SimTime, size: Bytes) -> SimTime {
        let Some(rate) = self.rate else { return now };
        self.busy_until = self.busy_until.max(now) + rate.serialization_delay(size);
        self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ps(n: u64) -> SimTime {
        SimTime::from_ps(n)
    }

    #[test]
    fn an_unloaded_link_takes_the_serialization_delay() {
        let mut link = FifoLink::new(Some("400 Gbit/s".parse().unwrap()));
        assert_eq!(link.take(ps(7), Bytes(4096)), ps(7 + 81_920));
    }

    #[test]
    fn what_comes_while_it_is_busy_waits() {
        let mut link = FifoLink::new(Some("400 Gbit/s".parse().unwrap()));
        link.take(ps(0), Bytes(10));
        assert_eq!(link.take(ps(50), Bytes(10)), ps(400));
        assert_eq!(link.take(ps(1000), Bytes(10)), ps(1200));
    }

    #[test]
    fn a_link_without_a_rate_takes_no_time() {
        assert_eq!(FifoLink::new(None).take(ps(5), Bytes(1 << 40)), ps(5));
    }
}

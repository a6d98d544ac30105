//! Packets that find a buffer full, and what a sender does about it, worked out by hand.

use schema::units::{Bytes, SimDuration};
use sim::fabric::packets::{Format, Lanes, Lines, Pace, PacketFlow, PacketSpec, simulate};

use crate::fixture::{chain, links, ps, rate};

const PACKET: u64 = 1_000;
const MIN_RTO: SimDuration = SimDuration::from_ns(1_000_000);

/// When a flow of so many packets is over in nanoseconds, and how many were lost. A packet takes
/// `first` ns on the first link and 1000 on the second, for which one may wait.
fn end(packets: u64, first: u64, initial: u32) -> (u64, u64) {
    let graph = chain(&[rate(PACKET * 1_000_000_000 / first), rate(1_000_000_000)]);
    let spec = PacketSpec {
        format: Format {
            payload: Bytes(PACKET),
            header: Bytes(0),
        },
        pace: Pace::Congestion {
            initial,
            min_rto: MIN_RTO,
        },
        lines: Lines::Shared,
    };
    let flow = PacketFlow {
        start: ps(0),
        path: links(&[0, 1]),
        bytes: Bytes(packets * PACKET),
    };
    let lane = |link| match link == links(&[1])[0] {
        true => Lanes::Buffer(Bytes(PACKET)),
        false => Lanes::Line,
    };
    let (ends, n_lost) = simulate(&graph, &[flow], &spec, lane);
    (ends[0].as_ps() / 1000, n_lost)
}

#[test]
fn what_fits_is_not_lost() {
    assert_eq!(end(2, 100, 10), (100 + 2 * 1_000, 0));
    // One at a time never waits.
    assert_eq!(end(1, 100, 1), (1_100, 0));
}

/// The first is on the link until 1100 ns and the second waits; the other two are lost, and nothing
/// comes behind them. Word of the second comes at 2100 ns, and so the timeout 1 ms later; then they go
/// one after the other.
#[test]
fn a_lost_tail_waits_for_the_timeout() {
    assert_eq!(end(4, 100, 4), (2_100 + 1_000_000 + 2 * 1_100, 2));
}

/// Packets come to the second link every 625 ns. Those numbered 3 and 6 are lost; 4, 5 and 7 arrive
/// behind a gap, the last at 6625 ns, and number 3 is sent again at once. When it arrives, word of all
/// before 6 makes the sender send that too.
#[test]
fn three_duplicates_send_what_is_missing_again() {
    assert_eq!(end(8, 625, 10), (6_625 + 2 * (625 + 1_000), 2));
}

//! Copy engines and the link.

use sim::gpu::{Access, CopySpec, Direction, LinkSpec, StreamId};

use crate::fixture::*;

/// Of one process with `N` streams, whose link moves one byte a nanosecond.
fn narrow<const N: usize>(duplex_penalty: f64) -> (Bench, [StreamId; N]) {
    let link = LinkSpec {
        bandwidth: 1e9,
        duplex_penalty,
    };
    let mut bench = Bench::new(link, &[base()]);
    let process = bench.process(ALONE);
    let streams = std::array::from_fn(|_| bench.stream(process));
    (bench, streams)
}

#[test]
fn an_engine_serves_one_copy_at_a_time() {
    // a =====
    // b .....=====
    // c ..........=====
    let (mut bench, [a, b, c]) = Bench::streams(base());
    for (stream, name) in [(c, "c"), (a, "a"), (b, "b")] {
        bench.copy(0, stream, name, copy(Direction::H2d, 1, 4));
    }
    assert_spans(
        &bench.run().ops,
        &[("c", 0, 0, 5), ("a", 0, 5, 10), ("b", 0, 10, 15)],
    );
}

#[test]
fn directions_have_engines_of_their_own() {
    let (mut bench, [a, b, c]) = narrow(0.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 1, 4));
    bench.copy(0, b, "out", copy(Direction::D2h, 1, 4));
    bench.copy(0, c, "peer", copy(Direction::Peer, 1, 4));
    assert_spans(
        &bench.run().ops,
        &[("in", 0, 0, 5), ("out", 0, 0, 5), ("peer", 0, 0, 5)],
    );
}

#[test]
fn both_directions_slow_each_other_by_the_penalty() {
    // With a penalty of a half, `out` begins to move at 2, when two bytes of `in` are left.
    // in  ==----      2 + 2 / 0.5
    // out   ----==    2 at a half until 6, then 2
    let (mut bench, [a, b]) = narrow(0.5);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 4));
    bench.copy(1, b, "out", copy(Direction::D2h, 1, 4));
    assert_spans(&bench.run().ops, &[("in", 0, 0, 6), ("out", 1, 1, 8)]);
}

#[test]
fn copies_within_the_device_slow_nothing() {
    let (mut bench, [a, b]) = narrow(0.5);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 4));
    bench.copy(0, b, "peer", copy(Direction::Peer, 0, 4));
    bench.move_by_bus(0, "nic", Access::Write, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("in", 0, 0, 8), ("peer", 0, 0, 4)]);
    assert_spans(&timeline.moves, &[("nic", 0, 0, 8)]);
}

#[test]
fn a_nic_shares_a_direction_of_the_link() {
    // Each gets half of it until the NIC has moved its four bytes.
    // nic ----====----   8
    // in  --------====   12: of its 8 bytes, 4 by then
    let (mut bench, [a]) = narrow(0.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 8));
    bench.move_by_bus(0, "nic", Access::Write, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.moves, &[("nic", 0, 0, 8)]);
    assert_spans(&timeline.ops, &[("in", 0, 0, 12)]);
}

#[test]
fn a_nic_does_not_share_the_other_direction() {
    let (mut bench, [a]) = narrow(0.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 8));
    bench.move_by_bus(0, "nic", Access::Read, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.moves, &[("nic", 0, 0, 4)]);
    assert_spans(&timeline.ops, &[("in", 0, 0, 8)]);
}

#[test]
fn a_slow_nic_leaves_the_rest() {
    // It takes a quarter of the link for 4; the copy has moved 3 of its 8 bytes by then.
    let (mut bench, [a]) = narrow(0.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 8));
    bench.move_by_bus(0, "nic", Access::Write, 1, 0.25);
    let timeline = bench.run();
    assert_spans(&timeline.moves, &[("nic", 0, 0, 4)]);
    assert_spans(&timeline.ops, &[("in", 0, 0, 9)]);
}

#[test]
fn a_nic_is_no_faster_than_the_link() {
    for per_ns in [4.0, f64::INFINITY] {
        let (mut bench, [a]) = narrow(0.5);
        bench.move_by_bus(0, "nic", Access::Write, 4, per_ns);
        bench.copy(4, a, "out", copy(Direction::D2h, 0, 4));
        bench.move_by_bus(4, "nic2", Access::Write, 4, per_ns);
        let timeline = bench.run();
        assert_spans(&timeline.moves, &[("nic", 0, 0, 4), ("nic2", 4, 4, 12)]);
        assert_spans(&timeline.ops, &[("out", 4, 4, 12)]);
    }
}

#[test]
fn setting_a_copy_up_takes_nothing_from_the_link() {
    // out sets up for 4 while `in` moves.
    let (mut bench, [a, b]) = narrow(0.5);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 4));
    bench.copy(0, b, "out", copy(Direction::D2h, 4, 4));
    assert_spans(&bench.run().ops, &[("in", 0, 0, 4), ("out", 0, 0, 8)]);
}

#[test]
fn copies_of_no_bytes_or_no_time_end() {
    let (mut bench, [a]) = narrow(0.5);
    let nothing = CopySpec {
        bytes: 0,
        ..copy(Direction::H2d, 1, 4)
    };
    bench.copy(0, a, "nothing", nothing);
    bench.copy(0, a, "at once", copy(Direction::H2d, 0, 0));
    let instant = CopySpec {
        bytes: 100,
        ..copy(Direction::H2d, 1, 0)
    };
    bench.copy(0, a, "instant", instant);
    bench.move_by_bus(0, "nic", Access::Read, 0, 1.0);
    let timeline = bench.run();
    assert_spans(
        &timeline.ops,
        &[
            ("nothing", 0, 0, 5),
            ("at once", 5, 5, 5),
            ("instant", 5, 5, 6),
        ],
    );
    assert_spans(&timeline.moves, &[("nic", 0, 0, 0)]);
}

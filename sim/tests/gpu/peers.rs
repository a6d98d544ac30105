//! Copies between GPUs.

use schema::scenario::Socket;
use sim::gpu::{Access, Direction, GpuSpec, HostSpec, LinkSpec, Memory, StreamId};

use crate::fixture::*;

/// GPUs with links of one byte a nanosecond, each with two streams.
fn gpus<const N: usize>(duplex_penalty: f64) -> (Bench, [[StreamId; 2]; N]) {
    let gpu = GpuSpec {
        socket: Socket::Near,
        link: LinkSpec {
            bandwidth: 1e9,
            duplex_penalty,
        },
        devices: vec![base()],
    };
    let mut bench = Bench::joined(HostSpec::UNLIMITED, &vec![gpu; N]);
    let streams = std::array::from_fn(|device| {
        let process = bench.gpu.add_process(device, &ALONE);
        [(); 2].map(|()| bench.stream(process))
    });
    (bench, streams)
}

#[test]
fn alone_a_copy_takes_its_time_over_either() {
    let (mut bench, [[a, _], [b, _]]) = gpus(0.5);
    bench.copy(0, a, "pcie", peer_copy(1, 1, 4));
    bench.copy(10, b, "nvlink", copy(Direction::Peer, 1, 4));
    assert_spans(
        &bench.run().ops,
        &[("pcie", 0, 0, 5), ("nvlink", 10, 10, 15)],
    );
}

#[test]
fn over_nvlink_a_copy_shares_no_link() {
    let (mut bench, [[a, b], [c, _]]) = gpus(0.5);
    bench.copy(0, a, "peer", copy(Direction::Peer, 0, 4));
    bench.copy(0, b, "out", copy(Direction::D2h, 0, 4));
    bench.copy(0, c, "in", copy(Direction::H2d, 0, 4));
    assert_spans(
        &bench.run().ops,
        &[("peer", 0, 0, 4), ("out", 0, 0, 4), ("in", 0, 0, 4)],
    );
}

#[test]
fn over_pcie_it_shares_the_way_out_of_its_source() {
    // Half each until the four bytes of `out` have moved, at 8; then `peer` has four left.
    let (mut bench, [[a, b], [c, _]]) = gpus(0.0);
    bench.copy(0, a, "peer", peer_copy(1, 0, 8));
    bench.copy(0, b, "out", copy(Direction::D2h, 0, 4));
    bench.copy(0, c, "out of the other", copy(Direction::D2h, 0, 4));
    assert_spans(
        &bench.run().ops,
        &[
            ("peer", 0, 0, 12),
            ("out", 0, 0, 8),
            ("out of the other", 0, 0, 4),
        ],
    );
}

#[test]
fn over_pcie_it_shares_the_way_into_its_destination() {
    let (mut bench, [[a, b], [c, _]]) = gpus(0.0);
    bench.copy(0, a, "peer", peer_copy(1, 0, 8));
    bench.copy(0, b, "into its own", copy(Direction::H2d, 0, 4));
    bench.copy(0, c, "in", copy(Direction::H2d, 0, 4));
    assert_spans(
        &bench.run().ops,
        &[
            ("peer", 0, 0, 12),
            ("into its own", 0, 0, 4),
            ("in", 0, 0, 8),
        ],
    );
}

#[test]
fn nics_share_both_links_with_it() {
    // A NIC reads from the source until 8, when `peer` has moved four of its bytes. It moves four
    // more by 12, when another NIC begins to write to the destination, and the last four by 20.
    let (mut bench, [[a, _], _]) = gpus(0.0);
    bench.copy(0, a, "peer", peer_copy(1, 0, 12));
    bench.move_of(Memory::Device(0), 0, "read", Access::Read, 4, 1.0);
    bench.move_of(Memory::Device(1), 12, "write", Access::Write, 4, 1.0);
    // These meet nothing.
    bench.move_of(
        Memory::Device(1),
        0,
        "read from the other",
        Access::Read,
        4,
        1.0,
    );
    bench.move_of(
        Memory::Device(0),
        12,
        "write to its own",
        Access::Write,
        4,
        1.0,
    );
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("peer", 0, 0, 20)]);
    assert_spans(
        &timeline.moves,
        &[
            ("read", 0, 0, 8),
            ("write", 12, 12, 20),
            ("read from the other", 0, 0, 4),
            ("write to its own", 12, 12, 16),
        ],
    );
}

#[test]
fn a_slow_nic_leaves_the_rest_to_it() {
    // A quarter of the way in for 4; `peer` has moved three of its four bytes by then.
    let (mut bench, [[a, _], _]) = gpus(0.0);
    bench.copy(0, a, "peer", peer_copy(1, 0, 4));
    bench.move_of(Memory::Device(1), 0, "nic", Access::Write, 1, 0.25);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("peer", 0, 0, 5)]);
    assert_spans(&timeline.moves, &[("nic", 0, 0, 4)]);
}

#[test]
fn what_holds_it_up_at_one_end_leaves_more_at_the_other() {
    // Three come in at the destination, a third each; so `out` has two thirds of the source.
    let (mut bench, [[a, b], [c, _]]) = gpus(0.0);
    bench.copy(0, a, "peer", peer_copy(1, 0, 4));
    bench.copy(0, b, "out", copy(Direction::D2h, 0, 8));
    bench.copy(0, c, "in", copy(Direction::H2d, 0, 4));
    bench.move_of(Memory::Device(1), 0, "nic", Access::Write, 4, 1.0);
    let timeline = bench.run();
    assert_ends(
        &timeline.ops,
        &[("peer", 12.0), ("out", 12.0), ("in", 12.0)],
    );
    assert_ends(&timeline.moves, &[("nic", 12.0)]);
}

#[test]
fn two_into_one_gpu_get_half_each() {
    let (mut bench, [[a, _], [b, _], _]) = gpus(0.0);
    bench.copy(0, a, "a", peer_copy(2, 0, 4));
    bench.copy(0, b, "b", peer_copy(2, 0, 4));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 8), ("b", 0, 0, 8)]);
}

#[test]
fn two_out_of_one_gpu_follow_each_other() {
    // One engine, wherever they lead.
    let (mut bench, [[a, b], _, _]) = gpus(0.0);
    bench.copy(0, a, "a", peer_copy(1, 1, 4));
    bench.copy(0, b, "b", peer_copy(2, 1, 4));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 5), ("b", 0, 5, 10)]);
}

#[test]
fn two_in_opposite_directions_slow_each_other_by_the_penalty() {
    for (duplex_penalty, end) in [(0.0, 4), (0.5, 8)] {
        let (mut bench, [[a, _], [b, _]]) = gpus(duplex_penalty);
        bench.copy(0, a, "there", peer_copy(1, 0, 4));
        bench.copy(0, b, "back", peer_copy(0, 0, 4));
        assert_spans(
            &bench.run().ops,
            &[("there", 0, 0, end), ("back", 0, 0, end)],
        );
    }
}

#[test]
fn the_busier_end_slows_it() {
    // While `out` moves, the way into the second GPU is half as fast; the rest of the way out of the
    // first is left to `own`.
    // peer ----==    4 at a half until 4, then 2
    // own  ----      2 at a half
    // out  ----      2 at a half
    let (mut bench, [[a, b], [c, _]]) = gpus(0.5);
    bench.copy(0, a, "peer", peer_copy(1, 0, 4));
    bench.copy(0, b, "own", copy(Direction::D2h, 0, 2));
    bench.copy(0, c, "out", copy(Direction::D2h, 0, 2));
    assert_spans(
        &bench.run().ops,
        &[("peer", 0, 0, 6), ("own", 0, 0, 4), ("out", 0, 0, 4)],
    );
}

#[test]
fn instances_of_one_gpu_use_both_directions_of_its_link() {
    let gpu = GpuSpec {
        socket: Socket::Near,
        link: LinkSpec {
            bandwidth: 1e9,
            duplex_penalty: 0.5,
        },
        devices: vec![base().partition(1, 0.5); 2],
    };
    let mut bench = Bench::joined(HostSpec::UNLIMITED, &[gpu]);
    let process = bench.process(ALONE);
    let a = bench.stream(process);
    bench.copy(0, a, "a", peer_copy(1, 0, 4));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 8)]);
}

#[test]
fn a_process_of_one_gpu_leaves_the_others_alone() {
    let (mut bench, [[a, _], [b, _]]) = gpus(0.0);
    bench.submit(0, a, "a", kernels(&[kernel(4, 1024, 10)]));
    bench.submit(0, b, "b", kernels(&[kernel(4, 1024, 10)]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 10), ("b", 0, 0, 10)]);
}

#[test]
#[should_panic(expected = "only a peer copy leads to a device")]
fn a_copy_to_the_host_leads_to_no_device() {
    let (mut bench, [[a, _], _]) = gpus(0.0);
    let copy = sim::gpu::CopySpec {
        direction: Direction::D2h,
        ..peer_copy(1, 0, 4)
    };
    bench.copy(0, a, "a", copy);
    bench.run();
}

//! The memory of the host and its root complex.

use schema::scenario::Socket;
use sim::gpu::{Access, Direction, GpuSpec, HostSpec, LinkSpec, Memory, StreamId};

use crate::fixture::*;

/// Two GPUs with links of one byte a nanosecond, each with a stream, on a host whose root complex and
/// memory move so many bytes a nanosecond.
fn bench(root_complex: f64, memory: f64) -> (Bench, [StreamId; 2]) {
    let host = HostSpec {
        root_complex: root_complex * 1e9,
        memory: memory * 1e9,
        ..HostSpec::UNLIMITED
    };
    bench_of(host, [Socket::Near; 2])
}

/// The same at these sockets of a host.
fn bench_of(host: HostSpec, sockets: [Socket; 2]) -> (Bench, [StreamId; 2]) {
    let gpus = sockets.map(|socket| GpuSpec {
        link: LinkSpec {
            bandwidth: 1e9,
            duplex_penalty: 0.0,
        },
        socket,
        devices: vec![base()],
    });
    let mut bench = Bench::joined(host, &gpus);
    let streams = std::array::from_fn(|device| {
        let process = bench.gpu.add_process(device, &ALONE);
        bench.stream(process)
    });
    (bench, streams)
}

#[test]
fn memory_is_shared_by_what_is_read_and_what_is_written() {
    // Each gets half of a byte a nanosecond.
    // in  ====----====   8
    // out ====----====   8
    let (mut bench, [a, b]) = bench(f64::INFINITY, 1.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 4));
    bench.copy(0, b, "out", copy(Direction::D2h, 0, 4));
    assert_spans(&bench.run().ops, &[("in", 0, 0, 8), ("out", 0, 0, 8)]);
}

#[test]
fn each_direction_of_a_root_complex_is_shared_by_itself() {
    let (mut bench, [a, b]) = bench(1.0, f64::INFINITY);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 4));
    bench.copy(0, b, "in too", copy(Direction::H2d, 0, 4));
    bench.copy(0, a, "out", copy(Direction::D2h, 0, 4));
    bench.move_of(Memory::Host(Socket::Near), 8, "nic", Access::Write, 4, 0.5);
    let timeline = bench.run();
    // `out` waits for the stream, and moves with the adapter: a half each, as both ask for no less.
    assert_spans(
        &timeline.ops,
        &[("in", 0, 0, 8), ("in too", 0, 0, 8), ("out", 8, 8, 16)],
    );
    assert_spans(&timeline.moves, &[("nic", 8, 8, 16)]);
}

#[test]
fn an_adapter_gets_what_a_slow_link_leaves_of_memory() {
    // The copy is held up by its link, at 1 of 3; the adapter asks for all and has 2 of it.
    let (mut bench, [a, _]) = bench(f64::INFINITY, 3.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 6));
    bench.move_of(Memory::Host(Socket::Near), 0, "nic", Access::Write, 12, 9.0);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("in", 0, 0, 6)]);
    assert_spans(&timeline.moves, &[("nic", 0, 0, 6)]);
}

#[test]
fn what_moves_between_devices_takes_nothing_of_memory() {
    let (mut bench, [a, _]) = bench(1.0, 1.0);
    bench.copy(0, a, "in", copy(Direction::H2d, 0, 4));
    bench.move_of(Memory::Device(1), 0, "gdr", Access::Write, 4, 1.0);
    bench.copy(4, a, "peer", peer_copy(1, 0, 4));
    bench.move_of(Memory::Host(Socket::Near), 4, "nic", Access::Read, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("in", 0, 0, 4), ("peer", 4, 4, 8)]);
    assert_spans(&timeline.moves, &[("gdr", 0, 0, 4), ("nic", 4, 4, 8)]);
}

#[test]
fn a_host_needs_no_gpu() {
    let host = HostSpec {
        memory: 1e9,
        ..HostSpec::UNLIMITED
    };
    let mut bench = Bench::joined(host, &[]);
    bench.move_of(Memory::Host(Socket::Near), 0, "in", Access::Write, 4, 1.0);
    bench.move_of(
        Memory::Host(Socket::Near),
        0,
        "out",
        Access::Read,
        4,
        f64::INFINITY,
    );
    bench.move_of(
        Memory::Host(Socket::Near),
        0,
        "nothing",
        Access::Read,
        0,
        1.0,
    );
    assert_spans(
        &bench.run().moves,
        &[("nothing", 0, 0, 0), ("in", 0, 0, 8), ("out", 0, 0, 8)],
    );
}

/// Sockets joined by half a byte a nanosecond in each direction.
fn two_sockets() -> HostSpec {
    HostSpec {
        socket_bandwidth: 0.5e9,
        ..HostSpec::UNLIMITED
    }
}

#[test]
fn what_joins_sockets_is_shared_by_what_crosses_it() {
    let (mut bench, [near, far]) = bench_of(two_sockets(), [Socket::Near, Socket::Far]);
    bench.copy(0, near, "near", copy(Direction::H2d, 0, 4));
    bench.copy(0, far, "far", copy(Direction::H2d, 0, 4));
    let from = |socket| Memory::Host(socket);
    bench.move_of(from(Socket::Near), 0, "near nic", Access::Read, 4, 1.0);
    // A quarter of a byte a nanosecond each while both read; what is written goes the other way.
    bench.move_of(from(Socket::Far), 0, "read", Access::Read, 1, 1.0);
    bench.move_of(from(Socket::Far), 0, "write", Access::Write, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("near", 0, 0, 4), ("far", 0, 0, 10)]);
    assert_spans(
        &timeline.moves,
        &[("near nic", 0, 0, 4), ("read", 0, 0, 4), ("write", 0, 0, 8)],
    );
}

#[test]
fn each_socket_has_a_root_complex() {
    let host = HostSpec {
        root_complex: 1e9,
        ..HostSpec::UNLIMITED
    };
    let (mut bench, [near, far]) = bench_of(host, [Socket::Near, Socket::Far]);
    bench.copy(0, near, "near", copy(Direction::H2d, 0, 4));
    bench.copy(0, far, "far", copy(Direction::H2d, 0, 4));
    bench.move_of(Memory::Host(Socket::Far), 4, "a", Access::Read, 4, 1.0);
    bench.move_of(Memory::Host(Socket::Far), 4, "b", Access::Read, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("near", 0, 0, 4), ("far", 0, 0, 4)]);
    assert_spans(&timeline.moves, &[("a", 4, 4, 12), ("b", 4, 4, 12)]);
}

#[test]
fn copies_between_sockets_cross_what_joins_them() {
    let (mut bench, [near, far]) = bench_of(two_sockets(), [Socket::Near, Socket::Far]);
    bench.copy(0, near, "there", peer_copy(1, 0, 4));
    bench.copy(0, far, "back", peer_copy(0, 0, 4));
    bench.copy(8, far, "out", copy(Direction::D2h, 0, 2));
    assert_spans(
        &bench.run().ops,
        &[("there", 0, 0, 8), ("back", 0, 0, 8), ("out", 8, 8, 12)],
    );
}

#[test]
fn words_to_a_far_device_take_a_latency() {
    // The doorbell of each; then what is written, or a read and what it brings.
    let host = HostSpec {
        socket_latency: ns(1),
        ..two_sockets()
    };
    let (mut bench, [near, far]) = bench_of(host, [Socket::Near, Socket::Far]);
    bench.copy(0, near, "near", copy(Direction::H2d, 5, 1));
    bench.copy(0, far, "in", copy(Direction::H2d, 5, 1));
    bench.copy(20, far, "out", copy(Direction::D2h, 5, 1));
    bench.copy(40, far, "peer", peer_copy(0, 5, 1));
    assert_spans(
        &bench.run().ops,
        &[
            ("near", 0, 0, 6),
            ("in", 0, 0, 10),
            ("out", 20, 20, 29),
            ("peer", 40, 40, 48),
        ],
    );
}

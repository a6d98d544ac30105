//! The memory of the host and its root complex.

use sim::gpu::{Access, Direction, GpuSpec, HostSpec, LinkSpec, Memory, StreamId};

use crate::fixture::*;

/// Two GPUs with links of one byte a nanosecond, each with a stream, on a host whose root complex and
/// memory move so many bytes a nanosecond.
fn bench(root_complex: f64, memory: f64) -> (Bench, [StreamId; 2]) {
    let host = HostSpec {
        root_complex: root_complex * 1e9,
        memory: memory * 1e9,
    };
    let gpu = GpuSpec {
        link: LinkSpec {
            bandwidth: 1e9,
            duplex_penalty: 0.0,
        },
        devices: vec![base()],
    };
    let mut bench = Bench::joined(host, &vec![gpu; 2]);
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
    bench.move_of(Memory::Host, 8, "nic", Access::Write, 4, 0.5);
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
    bench.move_of(Memory::Host, 0, "nic", Access::Write, 12, 9.0);
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
    bench.move_of(Memory::Host, 4, "nic", Access::Read, 4, 1.0);
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("in", 0, 0, 4), ("peer", 4, 4, 8)]);
    assert_spans(&timeline.moves, &[("gdr", 0, 0, 4), ("nic", 4, 4, 8)]);
}

#[test]
fn a_host_needs_no_gpu() {
    let host = HostSpec {
        root_complex: f64::INFINITY,
        memory: 1e9,
    };
    let mut bench = Bench::joined(host, &[]);
    bench.move_of(Memory::Host, 0, "in", Access::Write, 4, 1.0);
    bench.move_of(Memory::Host, 0, "out", Access::Read, 4, f64::INFINITY);
    bench.move_of(Memory::Host, 0, "nothing", Access::Read, 0, 1.0);
    assert_spans(
        &bench.run().moves,
        &[("nothing", 0, 0, 0), ("in", 0, 0, 8), ("out", 0, 0, 8)],
    );
}

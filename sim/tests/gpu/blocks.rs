//! How blocks get onto the multiprocessors.

use sim::gpu::{BlockShape, DeviceSpec, Kernel};

use crate::fixture::*;

const KIB: u64 = 1 << 10;

#[test]
fn a_kernel_gets_what_the_one_before_leaves() {
    // slots 0-2 aaaaaaaaaaaaaaaaaaaa|bb
    // slot 3    bbbbbbbbbb|bbbbbbbbbb
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(3, 1024, 20)]));
    bench.submit(0, b, "b", kernels(&[kernel(4, 1024, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 20), ("b.0", 0, 0, 30)],
    );
}

#[test]
fn only_the_head_of_the_queue_dispatches() {
    // Each multiprocessor has a block of `a`; `b` needs all the shared memory of one; `c` would fit.
    // a ####################
    // b ....................##########
    // c ....................#####
    let (mut bench, [a, b, c]) = Bench::streams(DeviceSpec {
        shared_memory_per_sm: 64 * KIB,
        ..base()
    });
    let using = |kernel: Kernel, shared_memory| Kernel {
        shape: BlockShape {
            shared_memory,
            ..kernel.shape
        },
        ..kernel
    };
    bench.submit(0, a, "a", kernels(&[using(kernel(2, 256, 20), 16 * KIB)]));
    bench.submit(1, b, "b", kernels(&[using(kernel(1, 256, 10), 64 * KIB)]));
    bench.submit(2, c, "c", kernels(&[kernel(1, 256, 5)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 20), ("b.0", 1, 20, 30), ("c.0", 2, 20, 25)],
    );
}

#[test]
fn a_kernel_leaves_the_queue_when_fully_dispatched() {
    // a ####################   its blocks run
    // b  ##########            its successor in the queue need not wait for their end
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(3, 1024, 20)]));
    bench.submit(1, b, "b", kernels(&[kernel(1, 1024, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 20), ("b.0", 1, 1, 11)],
    );
}

#[test]
fn what_is_partly_dispatched_holds_back_what_is_behind() {
    // slots  a a a a   a a         eight slots' worth of `a` in two waves, of which the second
    // c                b b         leaves two
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(6, 1024, 10)]));
    bench.submit(1, b, "b", kernels(&[kernel(2, 1024, 5)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 20), ("b.0", 1, 10, 15)],
    );
}

#[test]
fn more_blocks_than_slots_run_in_waves() {
    // aaaaaaaaaa|aaaaaaaaaa|aaaaaaaaaa: 4 + 4 + 2
    let (mut bench, [a]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(10, 1024, 10)]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 30)]);
}

#[test]
fn threads_left_on_several_multiprocessors_are_no_room_for_a_block() {
    // Two blocks of 768 threads on each leave 512 on each: none for 1,024, but for 512.
    // a ##########
    // b ..........##########
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(4, 768, 10)]));
    bench.submit(0, b, "b", kernels(&[kernel(1, 1024, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 10, 20)],
    );

    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(4, 768, 10)]));
    bench.submit(0, b, "b", kernels(&[kernel(2, 512, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 0, 10)],
    );
}

#[test]
fn registers_limit_blocks() {
    // 256 threads of 128 registers: two blocks a multiprocessor, so 4 + 1.
    let (mut bench, [a]) = Bench::streams(DeviceSpec {
        registers_per_sm: 65_536,
        ..base()
    });
    let mut a_kernel = kernel(5, 256, 10);
    a_kernel.shape.registers = 128;
    bench.submit(0, a, "a", kernels(&[a_kernel]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 20)]);
}

#[test]
fn shared_memory_limits_blocks() {
    // 40 of 64 KiB: one block a multiprocessor, so 2 + 1.
    let (mut bench, [a]) = Bench::streams(DeviceSpec {
        shared_memory_per_sm: 64 * KIB,
        ..base()
    });
    let mut a_kernel = kernel(3, 256, 10);
    a_kernel.shape.shared_memory = 40 * KIB;
    bench.submit(0, a, "a", kernels(&[a_kernel]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 20)]);
}

#[test]
fn the_number_of_blocks_is_limited() {
    // 32 a multiprocessor, whatever their size, so 64 + 1.
    let (mut bench, [a]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(65, 32, 10)]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 20)]);
}

#[test]
fn a_block_goes_where_there_is_most_room() {
    // `a` and `b` take half of a multiprocessor each, not of the same, so none is empty for `c`.
    // a ##########
    // b ###############
    // c ..........##########
    let (mut bench, [a, b, c]) = Bench::streams(DeviceSpec {
        registers_per_sm: 65_536,
        ..base()
    });
    let using = |time, registers| {
        let mut kernel = kernel(1, 1024, time);
        kernel.shape.registers = registers;
        kernels(&[kernel])
    };
    bench.submit(0, a, "a", using(10, 32));
    bench.submit(0, b, "b", using(15, 32));
    bench.submit(0, c, "c", using(10, 64));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 0, 15), ("c.0", 0, 10, 20)],
    );
}

/// 0.1 byte a picosecond.
const fn with_bandwidth() -> DeviceSpec {
    DeviceSpec {
        dram_bandwidth: 1e11,
        ..base()
    }
}

/// One block of ten microseconds that asks for this part of the bandwidth of [`with_bandwidth`].
fn asking(part: f64) -> Kernel {
    Kernel {
        bytes: part * 1e6,
        ..kernel(1, 1024, 10_000)
    }
}

#[test]
fn blocks_share_the_bandwidth_of_the_memory() {
    // Each asks for all of it and gets half.
    let (mut bench, [a, b]) = Bench::streams(with_bandwidth());
    bench.submit(0, a, "a", kernels(&[asking(1.0)]));
    bench.submit(0, b, "b", kernels(&[asking(1.0)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 20_000), ("b.0", 0, 0, 20_000)],
    );
}

#[test]
fn bandwidth_is_divided_max_min_fairly() {
    // b asks for a quarter and gets it: 10 us. a gets three quarters of what it asks for until then,
    // has 2.5 us left, and gets all.
    let (mut bench, [a, b]) = Bench::streams(with_bandwidth());
    bench.submit(0, a, "a", kernels(&[asking(1.0)]));
    bench.submit(0, b, "b", kernels(&[asking(0.25)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 12_500), ("b.0", 0, 0, 10_000)],
    );
}

#[test]
fn a_block_whose_kernel_asks_for_more_than_there_is_slows_down() {
    let (mut bench, [a]) = Bench::streams(with_bandwidth());
    bench.submit(0, a, "a", kernels(&[asking(2.0)]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 20_000)]);
}

#[test]
fn the_clock_slows_blocks_that_memory_does_not() {
    let slow = DeviceSpec {
        clock: 0.5,
        ..with_bandwidth()
    };
    let (mut bench, [a]) = Bench::streams(slow);
    // At half the clock, it asks for half as much, which is what there is.
    bench.submit(0, a, "compute", kernels(&[asking(0.0)]));
    bench.submit(0, a, "memory", kernels(&[asking(2.0)]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("compute.0", 0, 0, 20_000),
            ("memory.0", 20_000, 20_000, 40_000),
        ],
    );
}

#[test]
fn few_threads_draw_little_bandwidth() {
    // 0.9 of it at 0.45 of the threads: a quarter draws 1.1 / 1.4 of it.
    let spec = DeviceSpec {
        dram_occupancy: 0.45,
        ..with_bandwidth()
    };
    let (mut bench, [a]) = Bench::streams(spec);
    bench.submit(0, a, "a", kernels(&[asking(1.0)]));
    let drawn = 1.1 * 0.25 / (0.25 + 0.1);
    assert_ends(&bench.run().ops, &[("a", 10_000.0 / drawn)]);
}

#[test]
fn streams_get_room_in_turn() {
    // Two fit. Steps that end at one instant go on in the order in which they began, so nobody gets
    // more turns than others.
    // a ##########|##########
    // b ##########..........##########
    // c ..........##########|##########
    let (mut bench, streams) = Bench::streams::<3>(base());
    for (stream, name) in streams.into_iter().zip(["a", "b", "c"]) {
        bench.submit(0, stream, name, kernels(&[kernel(2, 1024, 10); 2]));
    }
    assert_spans(
        &bench.run().kernels,
        &[
            ("a.0", 0, 0, 10),
            ("b.0", 0, 0, 10),
            ("c.0", 0, 10, 20),
            ("a.1", 10, 10, 20),
            ("b.1", 10, 20, 30),
            ("c.1", 20, 20, 30),
        ],
    );
}

#[test]
fn waves_beyond_those_kept_apart_end_at_the_mean() {
    // One block of `b` at 0, and three at 20, when `a` ends: kept apart they end at 100 and 120; as one
    // wave all at (100 + 3 * 120) / 4.
    for (waves, end) in [(1, 115), (2, 120)] {
        let (mut bench, [a, b]) = Bench::streams(DeviceSpec {
            waves_per_kernel: waves,
            ..base()
        });
        bench.submit(0, a, "a", kernels(&[kernel(3, 1024, 20)]));
        bench.submit(0, b, "b", kernels(&[kernel(4, 1024, 100)]));
        assert_spans(
            &bench.run().kernels,
            &[("a.0", 0, 0, 20), ("b.0", 0, 0, end)],
        );
    }
}

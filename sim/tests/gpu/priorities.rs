//! Priorities of streams.

use sim::gpu::{BlockShape, DeviceSpec, Direction, Kernel};

use crate::fixture::*;

/// Fills the device for 10 ns.
const FULL: Kernel = kernel(4, 1024, 10);

#[test]
fn the_higher_goes_first_when_there_is_room() {
    // x    ##########
    // low   .........··········##########
    // high   ........##########
    let (mut bench, [x, low, high]) = Bench::streams(base());
    bench.submit(0, x, "x", kernels(&[FULL]));
    bench.submit(1, low, "low", kernels(&[FULL]));
    bench.submit_at(2, high, -1, "high", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("x.0", 0, 0, 10),
            ("low.0", 1, 20, 30),
            ("high.0", 2, 10, 20),
        ],
    );
}

#[test]
fn running_blocks_are_not_preempted() {
    // low  ##########..........##########   two waves
    // high      .....##########
    let (mut bench, [low, high]) = Bench::streams(base());
    bench.submit(0, low, "low", kernels(&[kernel(8, 1024, 10)]));
    bench.submit_at(5, high, -1, "high", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[("low.0", 0, 0, 30), ("high.0", 5, 10, 20)],
    );
}

#[test]
fn a_lower_one_waits_while_a_higher_one_lacks_room() {
    // `high` needs a whole multiprocessor, so waits for `x`; `low` would fit and still waits.
    // x    ####################
    // high  ...................##########
    // low   ...................#####
    let (mut bench, [x, low, high]) = Bench::streams(DeviceSpec {
        shared_memory_per_sm: 1024,
        ..base()
    });
    let using = |kernel: Kernel, shared_memory| Kernel {
        shape: BlockShape {
            shared_memory,
            ..kernel.shape
        },
        ..kernel
    };
    bench.submit(0, x, "x", kernels(&[using(kernel(2, 256, 20), 1)]));
    bench.submit_at(
        1,
        high,
        -1,
        "high",
        kernels(&[using(kernel(1, 256, 10), 1024)]),
    );
    bench.submit(1, low, "low", kernels(&[kernel(1, 256, 5)]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("x.0", 0, 0, 20),
            ("high.0", 1, 20, 30),
            ("low.0", 1, 20, 25),
        ],
    );
}

#[test]
fn high_priority_starves_low_priority() {
    // The experiment `stream_priority_starve` of yalue/cuda_scheduling_examiner, with 1 ns for 10 ms:
    // blocks of 500 ms, of which four fit.
    // low    1111 (0-50) ............................................ 1111 (450-500)
    // high             2222 2222 2222 2222 (50-250)
    // high                                 3333 3333 3333 3333 (250-450)
    let (mut bench, [low, second, third]) = Bench::streams(base());
    bench.submit(0, low, "low", kernels(&[kernel(8, 1024, 50)]));
    bench.submit_at(20, second, -1, "second", kernels(&[kernel(16, 1024, 50)]));
    bench.submit_at(50, third, -1, "third", kernels(&[kernel(16, 1024, 50)]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("low.0", 0, 0, 500),
            ("second.0", 20, 50, 250),
            ("third.0", 50, 250, 450),
        ],
    );
}

#[test]
fn the_next_step_of_a_high_one_is_there_before_low_ones_get_its_room() {
    // high ##########|##########|##########
    // low  ..............................##########
    let (mut bench, [low, high]) = Bench::streams(base());
    bench.submit_at(0, high, -1, "high", kernels(&[FULL; 3]));
    bench.submit(0, low, "low", kernels(&[FULL]));
    assert_spans(&bench.run().ops, &[("high", 0, 0, 30), ("low", 0, 0, 40)]);
}

#[test]
fn the_next_operation_of_a_high_one_is_there_before_low_ones_get_its_room() {
    let (mut bench, [low, high]) = Bench::streams(base());
    bench.submit_at(0, high, -1, "high", kernels(&[FULL]));
    bench.submit_at(0, high, -1, "high2", kernels(&[FULL]));
    bench.submit(0, low, "low", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("high.0", 0, 0, 10),
            ("high2.0", 10, 10, 20),
            ("low.0", 0, 20, 30),
        ],
    );
}

#[test]
fn priorities_that_the_device_lacks_are_cut_to_those_it_has() {
    // With two levels, -1, -5 and the lowest number are one, and so are 0 and what is above.
    let (mut bench, [x, a, b, c, d, e]) = Bench::streams(DeviceSpec {
        priority_levels: 2,
        ..base()
    });
    bench.submit(0, x, "x", kernels(&[FULL]));
    for (stream, priority, name) in [(d, 3, "d"), (e, 0, "e"), (a, -1, "a"), (b, -5, "b")] {
        bench.submit_at(1, stream, priority, name, kernels(&[FULL]));
    }
    bench.submit_at(1, c, i32::MIN, "c", kernels(&[FULL]));
    let kernels = bench.run().kernels;
    let order: Vec<&str> = kernels.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(order, ["x.0", "a.0", "b.0", "c.0", "d.0", "e.0"]);
}

#[test]
fn with_one_level_priorities_mean_nothing() {
    let (mut bench, [x, a, b]) = Bench::streams(DeviceSpec {
        priority_levels: 1,
        ..base()
    });
    bench.submit(0, x, "x", kernels(&[FULL]));
    bench.submit(1, a, "a", kernels(&[FULL]));
    bench.submit_at(2, b, -1, "b", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[("x.0", 0, 0, 10), ("a.0", 1, 10, 20), ("b.0", 2, 20, 30)],
    );
}

#[test]
fn copies_ignore_priorities() {
    // x    ==========
    // low   .........==========
    // high   ........··········==========
    let (mut bench, [x, low, high]) = Bench::streams(base());
    let copy = copy(Direction::H2d, 2, 8);
    bench.copy(0, x, "x", copy);
    bench.copy(1, low, "low", copy);
    bench.submit_at(2, high, -2, "high", sim::gpu::Op::Copy(copy));
    assert_spans(
        &bench.run().ops,
        &[("x", 0, 0, 10), ("low", 1, 10, 20), ("high", 2, 20, 30)],
    );
}

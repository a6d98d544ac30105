//! Streams, launches, hardware queues and the default stream.

use sim::gpu::{Direction, Kernel, Op, Run, Step};

use crate::fixture::*;

const SMALL: Kernel = kernel(1, 256, 10);

#[test]
fn operations_of_a_stream_run_one_after_the_other() {
    // a  ==h2d==           5 = 1 setup + 4
    //           ###run###  10
    //                    ==d2h==
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.copy(0, a, "h2d", copy(Direction::H2d, 1, 4));
    bench.submit(0, a, "run", kernels(&[SMALL]));
    bench.copy(0, a, "d2h", copy(Direction::D2h, 1, 4));
    bench.submit(2, b, "other", kernels(&[SMALL]));
    let timeline = bench.run();
    assert_spans(
        &timeline.ops,
        &[
            ("h2d", 0, 0, 5),
            ("run", 5, 5, 15),
            ("d2h", 15, 15, 20),
            ("other", 2, 2, 12),
        ],
    );
}

#[test]
fn each_step_has_its_overhead() {
    // ..##########..##########
    let (mut bench, [a]) = Bench::streams(base());
    let kernel = Kernel {
        overhead: ns(2),
        ..SMALL
    };
    bench.submit(0, a, "a", kernels(&[kernel, kernel]));
    let timeline = bench.run();
    assert_spans(&timeline.ops, &[("a", 0, 0, 24)]);
    assert_spans(&timeline.kernels, &[("a.0", 0, 2, 12), ("a.1", 12, 14, 24)]);
}

#[test]
fn the_factor_of_a_run_scales_times() {
    let (mut bench, [a]) = Bench::streams(base());
    let kernel = Kernel {
        overhead: ns(2),
        ..SMALL
    };
    let steps = vec![Step::Kernel(kernel), Step::Phase(phase(4))];
    let run = Run {
        steps: steps.into(),
        factor: 1.5,
        pace: ns(0),
    };
    bench.submit(0, a, "a", Op::Run(run));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 3, 18), ("a.1", 18, 18, 24)],
    );
}

#[test]
fn a_step_waits_for_its_launch() {
    // ###.......###.......###
    let (mut bench, [a]) = Bench::streams(base());
    let short = kernels(&[kernel(1, 256, 3); 3]);
    bench.submit(0, a, "a", paced(short, 10));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 3), ("a.1", 10, 10, 13), ("a.2", 20, 20, 23)],
    );
}

#[test]
fn launches_run_ahead_of_long_kernels() {
    // ###############|###############: the second was launched at 10
    let (mut bench, [a]) = Bench::streams(base());
    let long = kernels(&[kernel(1, 256, 15); 2]);
    bench.submit(0, a, "a", paced(long, 10));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 15), ("a.1", 15, 15, 30)],
    );
}

#[test]
fn launches_are_paced_from_when_a_run_is_submitted() {
    // a ####################
    // b                     ###|###: launched at 0 and 10
    let (mut bench, [a]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[kernel(1, 256, 20)]));
    bench.submit(0, a, "b", paced(kernels(&[kernel(1, 256, 3); 2]), 10));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 20), ("b.0", 20, 20, 23), ("b.1", 23, 23, 26)],
    );
}

#[test]
fn streams_on_one_hardware_queue_falsely_depend() {
    // a ##########|##########
    // b ..........##########    until the last step of `a` waits for nothing but room
    let (mut bench, [a, b]) = Bench::streams(sim::gpu::DeviceSpec {
        hardware_queues: 1,
        ..base()
    });
    bench.submit(0, a, "a", kernels(&[SMALL; 2]));
    bench.submit(0, b, "b", kernels(&[SMALL]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 20), ("b", 0, 10, 20)]);
}

#[test]
fn streams_with_hardware_queues_of_their_own_do_not_depend() {
    let (mut bench, [a, b]) = Bench::streams(sim::gpu::DeviceSpec {
        hardware_queues: 2,
        ..base()
    });
    bench.submit(0, a, "a", kernels(&[SMALL; 2]));
    bench.submit(0, b, "b", kernels(&[SMALL]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 20), ("b", 0, 0, 10)]);
}

#[test]
fn streams_share_hardware_queues_in_turn() {
    // Of three streams on two queues, the first and the third share one.
    let (mut bench, [a, b, c]) = Bench::streams(sim::gpu::DeviceSpec {
        hardware_queues: 2,
        ..base()
    });
    bench.submit(0, a, "a", kernels(&[SMALL; 2]));
    bench.submit(0, b, "b", kernels(&[SMALL]));
    bench.submit(0, c, "c", kernels(&[SMALL]));
    assert_spans(
        &bench.run().ops,
        &[("a", 0, 0, 20), ("b", 0, 0, 10), ("c", 0, 10, 20)],
    );
}

#[test]
fn a_head_that_waits_for_its_predecessor_blocks_its_queue() {
    // a  ##########
    // a2 ..........##########   waits for `a`, which runs
    // b  ..........##########   waits behind `a2`
    let (mut bench, [a, b]) = Bench::streams(sim::gpu::DeviceSpec {
        hardware_queues: 1,
        ..base()
    });
    bench.submit(0, a, "a", kernels(&[SMALL]));
    bench.submit(0, a, "a2", kernels(&[SMALL]));
    bench.submit(0, b, "b", kernels(&[SMALL]));
    assert_spans(
        &bench.run().ops,
        &[("a", 0, 0, 10), ("a2", 10, 10, 20), ("b", 0, 10, 20)],
    );
}

#[test]
fn a_head_that_waits_for_its_launch_blocks_its_queue() {
    // a ###.......###
    // b ..........##########
    let (mut bench, [a, b]) = Bench::streams(sim::gpu::DeviceSpec {
        hardware_queues: 1,
        ..base()
    });
    bench.submit(0, a, "a", paced(kernels(&[kernel(1, 256, 3); 2]), 10));
    bench.submit(0, b, "b", kernels(&[SMALL]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 13), ("b", 0, 10, 20)]);
}

#[test]
fn what_was_submitted_first_goes_first() {
    // At one instant, on a full device, whatever the streams were made in.
    // b ##########
    // a ..........##########
    let (mut bench, [a, b]) = Bench::streams(base());
    let full = kernels(&[kernel(4, 1024, 10)]);
    bench.submit(0, b, "b", full.clone());
    bench.submit(0, a, "a", full);
    assert_spans(
        &bench.run().kernels,
        &[("b.0", 0, 0, 10), ("a.0", 0, 10, 20)],
    );
}

#[test]
fn a_copy_on_the_default_stream_waits_for_all_and_holds_all_back() {
    // a ##########|##########          both were submitted before
    // d ....................=====      submitted at 2
    // b .......................##########, submitted at 3
    let (mut bench, [a, b, d]) = Bench::streams(base());
    bench.submit(0, a, "a", kernels(&[SMALL]));
    bench.submit(1, a, "a2", kernels(&[SMALL]));
    let blocking = Op::DefaultStreamCopy(copy(Direction::H2d, 1, 4));
    bench.submit(2, d, "d", blocking);
    bench.submit(3, b, "b", kernels(&[SMALL]));
    bench.copy(3, b, "b2", copy(Direction::H2d, 1, 4));
    assert_spans(
        &bench.run().ops,
        &[
            ("a", 0, 0, 10),
            ("a2", 10, 10, 20),
            ("d", 2, 20, 25),
            ("b", 3, 25, 35),
            ("b2", 35, 35, 40),
        ],
    );
}

#[test]
fn the_default_stream_of_a_process_is_its_own() {
    let (mut bench, [a, b]) = Bench::processes(base(), [client(1.0, 0), client(1.0, 0)]);
    bench.submit(0, a, "a", kernels(&[SMALL]));
    bench.submit(1, b, "b", Op::DefaultStreamCopy(copy(Direction::H2d, 1, 4)));
    bench.submit(2, b, "b2", kernels(&[SMALL]));
    assert_spans(
        &bench.run().ops,
        &[("a", 0, 0, 10), ("b", 1, 1, 6), ("b2", 6, 6, 16)],
    );
}

#[test]
fn copies_on_the_default_stream_run_one_after_the_other() {
    // With nothing else between them, in different streams and directions.
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(
        0,
        b,
        "in",
        Op::DefaultStreamCopy(copy(Direction::H2d, 1, 4)),
    );
    bench.submit(
        0,
        a,
        "out",
        Op::DefaultStreamCopy(copy(Direction::D2h, 1, 4)),
    );
    assert_spans(&bench.run().ops, &[("in", 0, 0, 5), ("out", 0, 5, 10)]);
}

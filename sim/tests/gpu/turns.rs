//! Processes that take turns.

use sim::gpu::{DeviceSpec, Direction, Kernel};

use crate::fixture::*;

/// Slices of 10 ns, and this long for a switch.
const fn sliced(switch: u64) -> DeviceSpec {
    DeviceSpec {
        time_slice: ns(10),
        context_switch: ns(switch),
        ..base()
    }
}

fn small(time: u64) -> sim::gpu::Op {
    kernels(&[kernel(1, 256, time)])
}

#[test]
fn processes_take_turns() {
    // a ##########..........##########..........#####
    // b ..........##########..........##########.....#####
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.submit(0, a, "a", small(25));
    bench.submit(0, b, "b", small(25));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 45), ("b.0", 0, 10, 50)],
    );
}

#[test]
fn nothing_computes_during_a_switch() {
    // a ##########............##########............#####
    // b ...........##########............##########.......#####
    let (mut bench, [a, b]) = Bench::processes(sliced(1), [ALONE; 2]);
    bench.submit(0, a, "a", small(25));
    bench.submit(0, b, "b", small(25));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 49), ("b.0", 0, 11, 55)],
    );
}

#[test]
fn turns_go_round() {
    // a ##########....................#####
    // b ..........##########...............#####
    // c ....................##########..........#####
    let (mut bench, [a, b, c]) = Bench::processes(sliced(0), [ALONE; 3]);
    for (stream, name) in [(a, "a"), (b, "b"), (c, "c")] {
        bench.submit(0, stream, name, small(15));
    }
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 35), ("b.0", 0, 10, 40), ("c.0", 0, 20, 45)],
    );
}

#[test]
fn nobody_waits_for_a_process_with_nothing_to_compute() {
    // a ###
    // b ...#########################   no turn of `c`, nor an end of its own
    let (mut bench, [a, b, _]) = Bench::processes(sliced(0), [ALONE; 3]);
    bench.submit(0, a, "a", small(3));
    bench.submit(0, b, "b", small(25));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 3), ("b.0", 0, 3, 28)]);
}

#[test]
fn slices_are_counted_from_when_a_turn_began() {
    // a ####################.....#####   its second slice ends at 20
    // b              .......#####
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.submit(0, a, "a", small(25));
    bench.submit(13, b, "b", small(5));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 30), ("b.0", 13, 20, 25)],
    );
}

#[test]
fn a_process_that_was_idle_begins_a_turn() {
    // a #####.......##########.....#####
    // b              .........#####
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.submit(0, a, "a", small(5));
    bench.submit(12, a, "a2", small(15));
    bench.submit(13, b, "b", small(5));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 5), ("a2.0", 12, 12, 32), ("b.0", 13, 22, 27)],
    );
}

#[test]
fn copies_go_on_while_another_computes() {
    // a ##########..........#####
    // a   ===============
    // b ..........##########.....#####
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    let process = bench.process(ALONE);
    let other = bench.stream(process);
    bench.submit(0, a, "a", small(15));
    bench.submit(0, b, "b", small(15));
    bench.copy(2, other, "in", copy(Direction::H2d, 5, 10));
    assert_spans(
        &bench.run().ops,
        &[("a", 0, 0, 25), ("b", 0, 0, 30), ("in", 2, 2, 17)],
    );
}

#[test]
fn the_engine_of_a_direction_serves_all_processes() {
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.copy(0, a, "a", copy(Direction::H2d, 1, 4));
    bench.copy(0, b, "b", copy(Direction::H2d, 1, 4));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 5), ("b", 0, 5, 10)]);
}

#[test]
fn blocks_keep_their_place_while_others_compute() {
    // a's three blocks are interrupted at 10; in b's turn the device is b's alone; when a's turn
    // comes, what was submitted meanwhile finds one slot until they end.
    // a  ##########..........##########
    // a2           (15) .....##########|#####  two blocks of 10, one after the other
    // b  ..........##########
    let mut bench = Bench::new(wide(), &[sliced(0)]);
    let (first, second) = (bench.process(ALONE), bench.process(ALONE));
    let (a, a2, b) = (
        bench.stream(first),
        bench.stream(first),
        bench.stream(second),
    );
    bench.submit(0, a, "a", kernels(&[kernel(3, 1024, 20)]));
    bench.submit(0, b, "b", kernels(&[kernel(4, 1024, 10)]));
    bench.submit(15, a2, "a2", kernels(&[kernel(2, 1024, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 30), ("a2.0", 15, 20, 40), ("b.0", 0, 10, 20)],
    );
}

#[test]
fn kernels_of_two_processes_never_overlap() {
    // However small.
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.submit(0, a, "a", small(5));
    bench.submit(0, b, "b", small(5));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 5), ("b.0", 0, 5, 10)]);
}

#[test]
fn overheads_pass_in_turns_too() {
    // a ##########
    // b ..........oo##
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    let late = Kernel {
        overhead: ns(2),
        ..kernel(1, 256, 2)
    };
    bench.submit(0, a, "a", small(10));
    bench.submit(0, b, "b", kernels(&[late]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 12, 14)],
    );
}

#[test]
fn the_next_operation_of_a_stream_keeps_the_turn() {
    // a ###|###
    // b ......#####
    let (mut bench, [a, b]) = Bench::processes(sliced(1), [ALONE; 2]);
    bench.submit(0, a, "a", small(3));
    bench.submit(0, a, "a2", small(3));
    bench.submit(0, b, "b", small(5));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 3), ("a2.0", 3, 3, 6), ("b.0", 0, 7, 12)],
    );
}

#[test]
fn a_copy_between_kernels_gives_the_turn_away() {
    // a ###==...###
    // b ...#####
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.submit(0, a, "a", small(3));
    bench.copy(0, a, "out", copy(Direction::D2h, 0, 2));
    bench.submit(0, a, "a2", small(3));
    bench.submit(0, b, "b", small(5));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 3), ("b.0", 0, 3, 8), ("a2.0", 5, 8, 11)],
    );
}

#[test]
fn a_kernel_that_is_not_launched_yet_gives_the_turn_away() {
    // a ###...........###    launched at 6
    // b ...########### 11, of which the slice of 10 ends at 13 with `a` waiting
    let (mut bench, [a, b]) = Bench::processes(sliced(0), [ALONE; 2]);
    bench.submit(0, a, "a", paced(kernels(&[kernel(1, 256, 3); 2]), 6));
    bench.submit(0, b, "b", small(11));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 3), ("a.1", 6, 13, 16), ("b.0", 0, 3, 17)],
    );
}

#[test]
fn a_turn_that_ends_as_its_work_does_is_one_switch() {
    // a ##########
    // b ...........#####   one switch of 1, not two
    let (mut bench, [a, b]) = Bench::processes(sliced(1), [ALONE; 2]);
    bench.submit(0, a, "a", small(10));
    bench.submit(0, b, "b", small(5));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 11, 16)],
    );
}

#[test]
fn what_arrives_during_a_switch_waits_for_its_end() {
    // b ...........#####   and its second stream, submitted at 10, as well
    let mut bench = Bench::new(wide(), &[sliced(2)]);
    let (first, second) = (bench.process(ALONE), bench.process(ALONE));
    let (a, b, b2) = (
        bench.stream(first),
        bench.stream(second),
        bench.stream(second),
    );
    bench.submit(0, a, "a", small(9));
    bench.submit(0, b, "b", small(5));
    bench.submit(10, b2, "b2", small(5));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 9), ("b.0", 0, 11, 16), ("b2.0", 10, 11, 16)],
    );
}

#[test]
fn phases_are_interrupted_and_resumed() {
    let (mut bench, [a, b]) = Bench::processes(sliced(1), [ALONE; 2]);
    bench.submit(0, a, "a", phases(&[phase(15)]));
    bench.submit(0, b, "b", phases(&[phase(15)]));
    // a ##########............#####
    // b ...........##########......#####: 1 for each of three switches
    assert_spans(&bench.run().ops, &[("a", 0, 0, 27), ("b", 0, 0, 33)]);
}

//! Clients of the Multi-Process Service, and instances of a partitioned GPU.

use sim::gpu::{BlockShape, DeviceSpec, Direction, Kernel, LinkSpec, Phase};

use crate::fixture::*;

const FULL: Kernel = kernel(4, 1024, 10);

#[test]
fn clients_compute_at_the_same_time() {
    let (mut bench, [a, b]) = Bench::processes(base(), [client(1.0, 0); 2]);
    bench.submit(0, a, "a", kernels(&[kernel(2, 1024, 10)]));
    bench.submit(0, b, "b", kernels(&[kernel(2, 1024, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 0, 10)],
    );
}

#[test]
fn a_cap_limits_the_threads_of_a_client() {
    // Two slots of four, though all are free.
    let (mut bench, [a]) = Bench::processes(base(), [client(0.5, 0)]);
    bench.submit(0, a, "a", kernels(&[FULL]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 20)]);
}

#[test]
fn caps_reserve_nothing() {
    // Three slots each: the first has them, the second the one that is left.
    // a ##########
    // b ##########|##########   1, then 3 of 4
    let (mut bench, [a, b]) = Bench::processes(base(), [client(0.75, 0); 2]);
    bench.submit(0, a, "a", kernels(&[kernel(3, 1024, 10)]));
    bench.submit(0, b, "b", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 10), ("b.0", 0, 0, 20)],
    );
}

#[test]
fn a_cap_below_a_block_lets_one_run_at_a_time() {
    let (mut bench, [a]) = Bench::processes(base(), [client(0.01, 0)]);
    bench.submit(0, a, "a", kernels(&[kernel(3, 1024, 10)]));
    assert_spans(&bench.run().kernels, &[("a.0", 0, 0, 30)]);
}

#[test]
fn a_blocked_head_of_a_client_blocks_no_other_client() {
    // x's blocks hold shared memory of both multiprocessors; `a` wants all of one; `b` fits.
    let (mut bench, [x, a, b]) = Bench::processes(
        DeviceSpec {
            shared_memory_per_sm: 1024,
            ..base()
        },
        [client(1.0, 0); 3],
    );
    let using = |kernel: Kernel, shared_memory| Kernel {
        shape: BlockShape {
            shared_memory,
            ..kernel.shape
        },
        ..kernel
    };
    bench.submit(0, x, "x", kernels(&[using(kernel(2, 256, 20), 1)]));
    bench.submit(1, a, "a", kernels(&[using(kernel(1, 256, 10), 1024)]));
    bench.submit(2, b, "b", kernels(&[kernel(1, 256, 5)]));
    assert_spans(
        &bench.run().kernels,
        &[("x.0", 0, 0, 20), ("a.0", 1, 20, 30), ("b.0", 2, 2, 7)],
    );
}

#[test]
fn heads_of_clients_go_in_the_order_in_which_they_were_queued() {
    // x ##########
    // b  .........##########
    // a   ........··········##########
    let (mut bench, [x, a, b]) = Bench::processes(base(), [client(1.0, 0); 3]);
    bench.submit(0, x, "x", kernels(&[FULL]));
    bench.submit(1, b, "b", kernels(&[FULL]));
    bench.submit(2, a, "a", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[("x.0", 0, 0, 10), ("b.0", 1, 10, 20), ("a.0", 2, 20, 30)],
    );
}

#[test]
fn clients_of_a_lower_level_go_first() {
    // x      ##########
    // normal  .........··········##########
    // first    ........##########
    let clients = [client(1.0, 1), client(1.0, 1), client(1.0, 0)];
    let (mut bench, [x, normal, first]) = Bench::processes(base(), clients);
    bench.submit(0, x, "x", kernels(&[FULL]));
    bench.submit_at(1, normal, -1, "normal", kernels(&[FULL]));
    bench.submit(2, first, "first", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("x.0", 0, 0, 10),
            ("normal.0", 1, 20, 30),
            ("first.0", 2, 10, 20),
        ],
    );
}

#[test]
fn what_lacks_room_holds_back_clients_of_a_higher_level() {
    // `first` needs a whole multiprocessor, so waits for `x`; `normal` would fit and still waits.
    // x      ####################
    // first   ...................##########
    // normal   ..................#####
    let clients = [client(1.0, 1), client(1.0, 0), client(1.0, 1)];
    let (mut bench, [x, first, normal]) = Bench::processes(
        DeviceSpec {
            shared_memory_per_sm: 1024,
            ..base()
        },
        clients,
    );
    let using = |kernel: Kernel, shared_memory| Kernel {
        shape: BlockShape {
            shared_memory,
            ..kernel.shape
        },
        ..kernel
    };
    bench.submit(0, x, "x", kernels(&[using(kernel(2, 256, 20), 1)]));
    bench.submit(
        1,
        first,
        "first",
        kernels(&[using(kernel(1, 256, 10), 1024)]),
    );
    bench.submit_at(2, normal, -1, "normal", kernels(&[kernel(1, 256, 5)]));
    assert_spans(
        &bench.run().kernels,
        &[
            ("x.0", 0, 0, 20),
            ("first.0", 1, 20, 30),
            ("normal.0", 2, 20, 25),
        ],
    );
}

#[test]
fn what_a_cap_holds_back_holds_back_none_of_a_higher_level() {
    // One slot of four, so `first` runs its two blocks after each other.
    let clients = [client(0.25, 0), client(1.0, 1)];
    let (mut bench, [first, normal]) = Bench::processes(base(), clients);
    bench.submit(0, first, "first", kernels(&[kernel(2, 1024, 10)]));
    bench.submit(0, normal, "normal", kernels(&[kernel(3, 1024, 10)]));
    assert_spans(
        &bench.run().kernels,
        &[("first.0", 0, 0, 20), ("normal.0", 0, 0, 10)],
    );
}

#[test]
fn in_a_level_priorities_of_streams_order_kernels_of_all_clients() {
    // x    ##########
    // low   .........··········##########
    // high   ........##########
    let (mut bench, [x, low, high]) = Bench::processes(base(), [client(1.0, 0); 3]);
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
fn clients_together_take_turns_with_a_process_outside() {
    // a     ##########..........##########
    // b     ##########..........##########
    // other ..........##########
    let spec = DeviceSpec {
        time_slice: ns(10),
        ..base()
    };
    let (mut bench, [a, b, other]) =
        Bench::processes(spec, [client(1.0, 0), client(1.0, 0), ALONE]);
    bench.submit(0, a, "a", kernels(&[kernel(1, 1024, 20)]));
    bench.submit(0, b, "b", kernels(&[kernel(1, 1024, 20)]));
    bench.submit(0, other, "other", kernels(&[FULL]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 0, 30), ("b.0", 0, 0, 30), ("other.0", 0, 10, 20)],
    );
}

#[test]
fn clients_have_hardware_queues_of_their_own() {
    let spec = DeviceSpec {
        hardware_queues: 1,
        ..base()
    };
    let (mut bench, [a, b]) = Bench::processes(spec, [client(1.0, 0); 2]);
    bench.submit(0, a, "a", kernels(&[kernel(1, 256, 10); 2]));
    bench.submit(0, b, "b", kernels(&[kernel(1, 256, 10)]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 20), ("b", 0, 0, 10)]);
}

#[test]
fn a_cap_limits_the_share_of_phases() {
    // A quarter of the device: four times as long. The two streams of the second divide its half.
    let mut bench = Bench::new(wide(), &[base()]);
    let (first, second) = (
        bench.process(client(0.25, 0)),
        bench.process(client(0.5, 0)),
    );
    let (a, b, c) = (
        bench.stream(first),
        bench.stream(second),
        bench.stream(second),
    );
    bench.submit(0, a, "a", phases(&[phase(10)]));
    bench.submit(0, b, "b", phases(&[phase(10)]));
    bench.submit(0, c, "c", phases(&[phase(10)]));
    assert_spans(
        &bench.run().ops,
        &[("a", 0, 0, 40), ("b", 0, 0, 40), ("c", 0, 0, 40)],
    );
}

#[test]
fn a_cap_limits_blocks_and_phases_together() {
    // Half of the device: a quarter is held by a block for 10, in which the phase does 2.5; the other
    // 7.5 at a half.
    let mut bench = Bench::new(wide(), &[base()]);
    let process = bench.process(client(0.5, 0));
    let (a, b) = (bench.stream(process), bench.stream(process));
    bench.submit(0, a, "a", kernels(&[kernel(1, 1024, 10)]));
    bench.submit(0, b, "b", phases(&[phase(10)]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 10), ("b", 0, 0, 25)]);
}

#[test]
fn instances_compute_by_themselves() {
    // Each has one multiprocessor, so two slots, and half of the bandwidth.
    let whole = DeviceSpec {
        dram_bandwidth: 1e11,
        ..base()
    };
    let half = whole.partition(1, 0.5);
    let mut bench = Bench::new(wide(), &[half, half]);
    let (first, second) = (
        bench.gpu.add_process(0, &ALONE),
        bench.gpu.add_process(1, &ALONE),
    );
    let (a, b) = (bench.stream(first), bench.stream(second));
    bench.submit(0, a, "a", kernels(&[FULL]));
    bench.submit(0, b, "b", kernels(&[kernel(1, 1024, 10)]));
    let memory = Phase {
        bytes: 1e6,
        ..phase(0)
    };
    bench.submit(0, b, "b2", phases(&[memory]));
    assert_spans(
        &bench.run().ops,
        &[("a", 0, 0, 20), ("b", 0, 0, 10), ("b2", 10, 10, 20_010)],
    );
}

#[test]
fn instances_share_the_link() {
    // Their engines are their own; both copies want all of the link's byte a nanosecond.
    let link = LinkSpec {
        bandwidth: 1e9,
        duplex_penalty: 0.0,
    };
    let half = base().partition(1, 0.5);
    let mut bench = Bench::new(link, &[half, half]);
    let (first, second) = (
        bench.gpu.add_process(0, &ALONE),
        bench.gpu.add_process(1, &ALONE),
    );
    let (a, b) = (bench.stream(first), bench.stream(second));
    bench.copy(0, a, "a", copy(Direction::H2d, 0, 10));
    bench.copy(0, b, "b", copy(Direction::H2d, 0, 10));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 20), ("b", 0, 0, 20)]);
}

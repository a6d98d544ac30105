//! Lumped phases: shares, bandwidth, interference.

use sim::gpu::{DeviceSpec, Phase};

use crate::fixture::*;

/// 0.1 byte a picosecond.
const fn with_bandwidth() -> DeviceSpec {
    DeviceSpec {
        dram_bandwidth: 1e11,
        ..base()
    }
}

/// A phase that can use this part of the multiprocessors and takes so long with it.
fn limited(parallelism: f64, time: u64) -> Phase {
    let all = phase(time);
    Phase {
        compute: all.compute * parallelism,
        parallelism,
        ..all
    }
}

#[test]
fn a_phase_takes_its_overhead_and_its_time() {
    let (mut bench, [a]) = Bench::streams(base());
    let late = Phase {
        overhead: ns(3),
        ..phase(10)
    };
    let half = Phase {
        parallelism: 0.5,
        ..phase(10)
    };
    bench.submit(0, a, "a", phases(&[late, half]));
    assert_spans(
        &bench.run().kernels,
        &[("a.0", 0, 3, 13), ("a.1", 13, 13, 33)],
    );
}

#[test]
fn phases_divide_the_multiprocessors() {
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", phases(&[phase(10)]));
    bench.submit(0, b, "b", phases(&[phase(10)]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 20), ("b", 0, 0, 20)]);
}

#[test]
fn what_one_cannot_use_is_anothers() {
    // a uses a quarter all the time; b gets three quarters until it ends.
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", phases(&[limited(0.25, 40)]));
    bench.submit(0, b, "b", phases(&[phase(9)]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 40), ("b", 0, 0, 12)]);
}

#[test]
fn phases_have_the_threads_that_no_block_holds() {
    // Half of them until 10, all of them then.
    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "blocks", kernels(&[kernel(2, 1024, 10)]));
    bench.submit(0, b, "phase", phases(&[phase(10)]));
    assert_spans(
        &bench.run().ops,
        &[("blocks", 0, 0, 10), ("phase", 0, 0, 15)],
    );
}

#[test]
fn a_phase_stands_still_while_blocks_hold_all_threads() {
    for threads in [1024, 768] {
        // Of 768 threads, the two blocks on each multiprocessor leave a quarter.
        let (mut bench, [a, b]) = Bench::streams(base());
        bench.submit(0, a, "blocks", kernels(&[kernel(8, threads, 10)]));
        bench.submit(0, b, "phase", phases(&[phase(10)]));
        let done = if threads == 1024 { 0 } else { 5 };
        assert_spans(
            &bench.run().ops,
            &[("blocks", 0, 0, 20), ("phase", 0, 0, 30 - done)],
        );
    }
}

#[test]
fn blocks_of_any_size_leave_no_less_than_nothing() {
    // Thirds of the threads do not sum to one exactly.
    let (mut bench, [a, b]) = Bench::streams(DeviceSpec {
        sms: 3,
        threads_per_sm: 768,
        ..base()
    });
    bench.submit(0, a, "blocks", kernels(&[kernel(9, 256, 10)]));
    bench.submit(0, b, "phase", phases(&[phase(10)]));
    assert_spans(
        &bench.run().ops,
        &[("blocks", 0, 0, 10), ("phase", 0, 0, 20)],
    );
}

#[test]
fn phases_of_higher_priority_go_first() {
    // low  ##....########   stands still, and goes on
    // high   ####
    let (mut bench, [low, high]) = Bench::streams(base());
    bench.submit(0, low, "low", phases(&[phase(10)]));
    bench.submit_at(2, high, -1, "high", phases(&[phase(4)]));
    assert_spans(&bench.run().ops, &[("low", 0, 0, 14), ("high", 2, 2, 6)]);
}

#[test]
fn phases_of_lower_priority_have_what_is_left() {
    let (mut bench, [low, high]) = Bench::streams(base());
    bench.submit(0, low, "low", phases(&[phase(10)]));
    bench.submit_at(0, high, -1, "high", phases(&[limited(0.75, 20)]));
    assert_spans(&bench.run().ops, &[("low", 0, 0, 25), ("high", 0, 0, 20)]);
}

#[test]
fn a_phase_takes_as_long_as_its_memory_or_its_computing() {
    let (mut bench, [a]) = Bench::streams(with_bandwidth());
    for (name, compute) in [("memory", 5), ("both", 10), ("computing", 15), ("only", 0)] {
        let phase = Phase {
            bytes: 1000.0,
            ..phase(compute)
        };
        bench.submit(0, a, name, phases(&[phase]));
    }
    assert_spans(
        &bench.run().ops,
        &[
            ("memory", 0, 0, 10),
            ("both", 10, 10, 20),
            ("computing", 20, 20, 35),
            ("only", 35, 35, 45),
        ],
    );
}

#[test]
fn phases_share_bandwidth_max_min_fairly() {
    // Each computes on its half. a asks for all the bandwidth, b for a quarter: a gets three
    // quarters until b ends at 10, and all for the quarter that is left.
    let (mut bench, [a, b]) = Bench::streams(with_bandwidth());
    let asking = |part: f64| Phase {
        bytes: part * 1000.0,
        ..limited(0.5, 10)
    };
    bench.submit(0, a, "a", phases(&[asking(1.0)]));
    bench.submit(0, b, "b", phases(&[asking(0.25)]));
    assert_ends(&bench.run().ops, &[("a", 12.5), ("b", 10.0)]);
}

#[test]
fn what_computes_slower_asks_for_less_bandwidth() {
    // Alone each asks for half of the bandwidth; together each computes on half of the device and
    // asks for a quarter, so that there is enough.
    let (mut bench, [a, b]) = Bench::streams(with_bandwidth());
    let half = Phase {
        bytes: 500.0,
        ..phase(10)
    };
    bench.submit(0, a, "a", phases(&[half]));
    bench.submit(0, b, "b", phases(&[half]));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 20), ("b", 0, 0, 20)]);
}

#[test]
fn few_threads_draw_little_bandwidth() {
    // `(1 + a) s / (s + a)` of it with a share s, where a = 0.1 gives 0.9 at 0.45. Two shares of 0.1
    // draw what 0.2 does, which is less than twice.
    let spec = DeviceSpec {
        dram_occupancy: 0.45,
        ..with_bandwidth()
    };
    let drawn = |share: f64| 1.1 * share / (share + 0.1);
    let memory = Phase {
        bytes: 1e5,
        parallelism: 0.1,
        ..phase(0)
    };
    let (mut bench, [a]) = Bench::streams(spec);
    bench.submit(0, a, "a", phases(&[memory]));
    assert_ends(&bench.run().ops, &[("a", 1000.0 / drawn(0.1))]);

    let (mut bench, [a, b]) = Bench::streams(spec);
    bench.submit(0, a, "a", phases(&[memory]));
    bench.submit(0, b, "b", phases(&[memory]));
    let end = 1000.0 / (drawn(0.2) / 2.0);
    assert_ends(&bench.run().ops, &[("a", end), ("b", end)]);
}

#[test]
fn phases_slow_each_other_by_their_intensity() {
    // By `1 + sum over others of intensity * share ^ exponent`, shares of a half here.
    for (exponent, slowed) in [(0.0, 1.5), (1.0, 1.25), (2.0, 1.125)] {
        let spec = DeviceSpec {
            interference_exponent: exponent,
            ..base()
        };
        let (mut bench, [a, b, c]) = Bench::streams(spec);
        let intense = Phase {
            intensity: 0.5,
            ..limited(0.5, 1000)
        };
        bench.submit(0, a, "alone", phases(&[intense]));
        bench.submit(1000, b, "intense", phases(&[intense]));
        let calm = limited(0.5, 1000);
        bench.submit(1000, c, "calm", phases(&[calm]));
        // The intense one is slowed by nobody.
        assert_ends(
            &bench.run().ops,
            &[
                ("alone", 1000.0),
                ("intense", 2000.0),
                // What is left when the other has ended runs at the full rate.
                ("calm", 2000.0 + 1000.0 * (1.0 - 1.0 / slowed)),
            ],
        );
    }
}

#[test]
fn overheads_take_longer_for_each_other_net() {
    // By `1 + 0.25 n`: with two others for all the time, 1.5.
    let spec = DeviceSpec {
        overhead_interference: 0.25,
        ..base()
    };
    let (mut bench, [a, b, c]) = Bench::streams(spec);
    let late = Phase {
        overhead: ns(1000),
        ..phase(0)
    };
    bench.submit(0, a, "a", phases(&[late]));
    bench.submit(0, b, "b", phases(&[limited(0.25, 5000)]));
    bench.submit(0, c, "c", kernels(&[kernel(1, 1024, 5000)]));
    assert_ends(
        &bench.run().ops,
        &[("a", 1500.0), ("b", 5000.0), ("c", 5000.0)],
    );
}

#[test]
fn the_clock_slows_computing_and_not_memory() {
    let slow = DeviceSpec {
        clock: 0.5,
        ..with_bandwidth()
    };
    let (mut bench, [a]) = Bench::streams(slow);
    let both = Phase {
        bytes: 1000.0,
        ..phase(5)
    };
    bench.submit(0, a, "computing", phases(&[phase(10)]));
    bench.submit(0, a, "memory", phases(&[both]));
    assert_spans(
        &bench.run().ops,
        &[("computing", 0, 0, 20), ("memory", 20, 20, 30)],
    );
}

#[test]
fn phases_and_blocks_share_bandwidth() {
    // Each asks for all of it: half each until the block has its 10 us of work, at 20 us. The phase
    // has as much by then.
    let (mut bench, [a, b]) = Bench::streams(with_bandwidth());
    let block = sim::gpu::Kernel {
        bytes: 1e6,
        ..kernel(2, 1024, 10_000)
    };
    bench.submit(
        0,
        a,
        "blocks",
        kernels(&[sim::gpu::Kernel {
            bytes: 0.5e6,
            ..block
        }]),
    );
    let memory = Phase {
        bytes: 1e6,
        ..limited(0.5, 1000)
    };
    bench.submit(0, b, "phase", phases(&[memory]));
    assert_ends(
        &bench.run().ops,
        &[("blocks", 20_000.0), ("phase", 20_000.0)],
    );
}

#[test]
fn phases_of_no_length_end_at_once() {
    let (mut bench, [a, b]) = Bench::streams(with_bandwidth());
    bench.submit(0, a, "a", phases(&[phase(0), phase(0), phase(5)]));
    bench.submit(
        0,
        b,
        "b",
        kernels(&[kernel(4, 1024, 0), kernel(9, 1024, 0)]),
    );
    assert_spans(&bench.run().ops, &[("a", 0, 0, 5), ("b", 0, 0, 0)]);
}

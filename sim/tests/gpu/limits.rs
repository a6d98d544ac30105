//! Limits in which a GPU must equal something simpler.

use proptest::prelude::*;
use sim::gpu::{DeviceSpec, Direction, Kernel, Op, Phase, Step};

use crate::fixture::*;

/// Fills the device for so long.
const fn full(time: u64) -> Step {
    Step::Kernel(kernel(4, 1024, time))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One stream, whatever the operations: overheads, waves and phases one after the other.
    #[test]
    fn one_stream_takes_the_sum(
        ops in prop::collection::vec((1u32..20, 0u64..50, 1u64..50, 0u8..4), 1..12),
    ) {
        let (mut bench, [stream]) = Bench::streams(base());
        let mut sum = 0;
        for (index, (blocks, overhead, time, what)) in ops.into_iter().enumerate() {
            let op = match what {
                0 => Op::Copy(copy(Direction::H2d, overhead, time)),
                1 => phases(&[Phase { overhead: ns(overhead), ..phase(time) }]),
                2 => Op::DefaultStreamCopy(copy(Direction::D2h, overhead, time)),
                _ => kernels(&[Kernel { overhead: ns(overhead), ..kernel(blocks, 1024, time) }]),
            };
            let waves = if what == 3 { u64::from(blocks.div_ceil(4)) } else { 1 };
            sum += overhead + waves * time;
            bench.submit(0, stream, &format!("op {index}"), op);
        }
        let timeline = bench.run();
        prop_assert_eq!(timeline.ops.last().unwrap().end, at(sum));
    }

    /// Clients whose caps sum to the device, of blocks of one size and without a limit of bandwidth,
    /// are devices of their own: as many multiprocessors as the cap has.
    #[test]
    fn clients_with_caps_are_smaller_devices(
        ops in prop::collection::vec((0u64..100, 0usize..2, 0usize..2, 1u32..20, 0u64..3, 1u64..40), 1..20),
    ) {
        let whole = DeviceSpec { sms: 4, ..base() };
        let (mut shared, mut apart) = (
            Bench::new(wide(), &[whole]),
            Bench::new(wide(), &[whole.partition(1, 1.0), whole.partition(3, 1.0)]),
        );
        let mut streams = Vec::new();
        for (index, cap) in [0.25, 0.75].into_iter().enumerate() {
            let (client, alone) = (
                shared.process(client(cap, 0)),
                apart.gpu.add_process(index, &ALONE),
            );
            streams.push([(); 2].map(|()| (shared.stream(client), apart.stream(alone))));
        }
        for (index, (at, process, stream, blocks, overhead, time)) in ops.into_iter().enumerate() {
            let name = format!("op {index}");
            let (in_shared, in_apart) = streams[process][stream];
            let op = kernels(&[Kernel { overhead: ns(overhead), ..kernel(blocks, 512, time) }; 2]);
            shared.submit(at, in_shared, &name, op.clone());
            apart.submit(at, in_apart, &name, op);
        }
        let by_name = |timeline: Timeline| {
            let mut all = timeline.kernels;
            all.extend(timeline.ops);
            all.sort();
            all
        };
        prop_assert_eq!(by_name(shared.run()), by_name(apart.run()));
    }

    /// The same of phases, which compute as much longer as the device is smaller.
    #[test]
    fn clients_with_caps_are_smaller_devices_for_phases(
        ops in prop::collection::vec((0u64..100, 0usize..2, 0usize..2, 1u32..5, 0u64..3, 1u64..40), 1..20),
    ) {
        let whole = DeviceSpec { sms: 4, ..base() };
        let (mut shared, mut apart) = (
            Bench::new(wide(), &[whole]),
            Bench::new(wide(), &[whole.partition(2, 1.0); 2]),
        );
        let mut streams = Vec::new();
        for index in 0..2 {
            let (client, alone) = (
                shared.process(client(0.5, 0)),
                apart.gpu.add_process(index, &ALONE),
            );
            streams.push([(); 2].map(|()| (shared.stream(client), apart.stream(alone))));
        }
        for (index, (at, process, stream, quarters, overhead, time)) in ops.into_iter().enumerate() {
            let name = format!("op {index}");
            let (in_shared, in_apart) = streams[process][stream];
            let parallelism = f64::from(quarters) / 4.0;
            let one = Phase { overhead: ns(overhead), parallelism, ..phase(time) };
            let smaller = Phase { parallelism: (parallelism * 2.0).min(1.0), ..one };
            let smaller = Phase { compute: 2.0 * smaller.compute, ..smaller };
            shared.submit(at, in_shared, &name, phases(&[one, one]));
            apart.submit(at, in_apart, &name, phases(&[smaller, smaller]));
        }
        let by_name = |timeline: Timeline| {
            let mut all = timeline.kernels;
            all.extend(timeline.ops);
            all.sort();
            all
        };
        prop_assert_eq!(by_name(shared.run()), by_name(apart.run()));
    }
}

/// Times of four jobs that begin together, each alone, in nanoseconds.
const JOBS: [u64; 4] = [9_600, 4_800, 14_400, 24_000];

/// When they end under processor sharing.
fn shared_ends() -> [f64; 4] {
    JOBS.map(|job| JOBS.iter().map(|other| *other.min(&job) as f64).sum())
}

/// How far the ends of jobs are from those of processor sharing, at most, relative to the last.
fn error(timeline: &Timeline) -> f64 {
    let ends = (0..JOBS.len()).map(|job| end_of(timeline, &format!("job {job}")));
    let off = ends
        .zip(shared_ends())
        .map(|(end, shared)| (end - shared).abs());
    off.fold(0.0, f64::max) / shared_ends().into_iter().fold(0.0, f64::max)
}

/// That each error is that of grains four times as large over four, up to a fifth, and that the last
/// is small.
#[track_caller]
fn assert_linear(what: &str, errors: &[f64]) {
    eprintln!("{what}: errors {errors:?}");
    for pair in errors.windows(2) {
        let ratio = pair[0] / pair[1];
        assert!((3.2..4.8).contains(&ratio), "{what}: {ratio} of {errors:?}");
    }
    assert!(
        errors.last().expect("there are some") < &0.002,
        "{what}: {errors:?}"
    );
}

#[test]
fn short_kernels_of_streams_share_the_processor() {
    let errors = [1_600, 400, 100, 25].map(|grain| {
        let (mut bench, streams) = Bench::streams::<4>(base());
        for (job, (stream, time)) in streams.into_iter().zip(JOBS).enumerate() {
            let op = repeated(full(grain), (time / grain) as usize);
            bench.submit(0, stream, &format!("job {job}"), op);
        }
        error(&bench.run())
    });
    assert_linear("kernels", &errors);
}

#[test]
fn short_slices_of_processes_share_the_processor() {
    let errors = [1_600, 400, 100, 25].map(|slice| {
        let spec = DeviceSpec {
            time_slice: ns(slice),
            ..base()
        };
        let (mut bench, streams) = Bench::processes(spec, [ALONE; 4]);
        for (job, (stream, time)) in streams.into_iter().zip(JOBS).enumerate() {
            bench.submit(0, stream, &format!("job {job}"), phases(&[phase(time)]));
        }
        error(&bench.run())
    });
    assert_linear("slices", &errors);
}

#[test]
fn phases_share_the_processor() {
    let (mut bench, streams) = Bench::streams::<4>(base());
    for (job, (stream, time)) in streams.into_iter().zip(JOBS).enumerate() {
        bench.submit(0, stream, &format!("job {job}"), phases(&[phase(time)]));
    }
    let timeline = bench.run();
    // A picosecond for each change of rates.
    assert!(error(&timeline) < 1e-6, "{}", error(&timeline));
}

/// Jobs that can use half of the device, three at a time: as phases, each gets a third; as kernels of
/// half of the device, two run while one waits. The ends differ by less than a kernel for each job.
#[test]
fn a_phase_stands_for_many_short_kernels() {
    let times = [12_000, 6_000, 9_000];
    for grain in [1_000, 100, 10] {
        let (mut lumped, streams) = Bench::streams::<3>(base());
        let (mut blocks, _) = Bench::streams::<3>(base());
        for (job, (stream, time)) in streams.into_iter().zip(times).enumerate() {
            let name = format!("job {job}");
            let half = Phase {
                parallelism: 0.5,
                ..phase(time / 2)
            };
            lumped.submit(0, stream, &name, phases(&[half]));
            let step = Step::Kernel(kernel(2, 1024, grain));
            blocks.submit(0, stream, &name, repeated(step, (time / grain) as usize));
        }
        let (lumped, blocks) = (lumped.run(), blocks.run());
        for job in 0..times.len() {
            let name = format!("job {job}");
            let off = (end_of(&lumped, &name) - end_of(&blocks, &name)).abs();
            assert!(off <= 3.0 * grain as f64, "{name} of {grain} ns: {off} ns");
        }
    }
}

/// As a phase, a net whose kernels leave the last wave half empty uses what is left; as kernels it
/// does not, unless there are others to use it.
#[test]
fn empty_places_of_last_waves_are_filled_by_others() {
    // Six blocks in two waves, the second of which leaves two of four slots: alone 75% of the device
    // is used, and two such streams use all of it.
    let (mut bench, [a]) = Bench::streams(base());
    let step = Step::Kernel(kernel(6, 1024, 10));
    bench.submit(0, a, "a", repeated(step, 100));
    assert_spans(&bench.run().ops, &[("a", 0, 0, 2_000)]);

    let (mut bench, [a, b]) = Bench::streams(base());
    bench.submit(0, a, "a", repeated(step, 100));
    bench.submit(0, b, "b", repeated(step, 100));
    let timeline = bench.run();
    let last = end_of(&timeline, "a").max(end_of(&timeline, "b"));
    let used = 2.0 * 100.0 * 6.0 * 10.0 / (4.0 * last);
    assert!(used > 0.98, "used {used}");
}

/// Kernels of eight streams, whose waves break up into ever smaller ones as they run beside each
/// other. What joins them changes who is next, and so moves the end of each stream, by less than 3%,
/// and their mean by less than 1%.
#[test]
fn few_waves_of_a_kernel_stand_for_many() {
    let ends = |waves| {
        let spec = DeviceSpec {
            sms: 16,
            waves_per_kernel: waves,
            ..base()
        };
        let (mut bench, streams) = Bench::streams::<8>(spec);
        for (job, stream) in (0u32..).zip(streams) {
            let steps = (0..60u32).map(|step| {
                let spread = |n| (step * 37 + job * 11) % n;
                Step::Kernel(kernel(
                    20 + 7 * spread(23),
                    256,
                    u64::from(2_000 + 900 * spread(19)),
                ))
            });
            bench.submit(0, stream, &format!("job {job}"), run(steps.collect()));
        }
        let timeline = bench.run();
        [0, 1, 2, 3, 4, 5, 6, 7].map(|job| end_of(&timeline, &format!("job {job}")))
    };
    let exact = ends(u32::MAX);
    for waves in [1, 2, 4] {
        let off = ends(waves)
            .into_iter()
            .zip(exact)
            .map(|(few, exact)| few / exact - 1.0);
        let off: Vec<f64> = off.collect();
        eprintln!("{waves} waves: {off:.4?}");
        let mean = off.iter().sum::<f64>() / off.len() as f64;
        assert!(off.iter().all(|off| off.abs() < 0.03), "{off:?}");
        assert!(mean.abs() < 0.01, "{off:?}");
    }
}

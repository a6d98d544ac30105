//! What holds of random programs. That one runs at all says that every operation ends exactly once
//! and that time goes forward: the driver checks it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schema::scenario::Socket;
use schema::units::{SimDuration, SimTime};
use sim::gpu::{
    Access, CopySpec, DeviceSpec, Direction, GpuSpec, HostSpec, Kernel, LinkSpec, Op, Phase,
    ProcessSpec, Run, Step,
};

use crate::fixture::*;

/// An operation of a [`Program`].
#[derive(Clone, Debug)]
struct Submission {
    at: u64,
    /// Of all streams, in the order of processes.
    stream: usize,
    priority: i32,
    op: Op,
}

/// What is asked of a GPU.
#[derive(Clone, Debug)]
struct Program {
    spec: DeviceSpec,
    link: LinkSpec,
    processes: Vec<(ProcessSpec, usize)>,
    ops: Vec<Submission>,
    /// Moves over the bus: when, where to, and how many bytes.
    moves: Vec<(u64, Access, u64)>,
}

/// What programs may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Uses {
    /// Kernels and copies that share no bandwidth.
    BlocksAndCopies,
    Phases,
    Everything,
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(Direction::ALL.to_vec())
}

fn a_kernel(uses: Uses) -> impl Strategy<Value = Step> {
    let threads = prop::sample::select(vec![128u32, 256, 768, 1024]);
    let bytes = prop::sample::select(match uses {
        Uses::Everything => vec![0.0, 300.0, 5_000.0],
        _ => vec![0.0],
    });
    (1u32..14, threads, 0u64..40, 0u64..5, bytes).prop_map(
        |(blocks, threads, time, overhead, bytes)| {
            Step::Kernel(Kernel {
                overhead: ns(overhead),
                bytes,
                ..kernel(blocks, threads, time)
            })
        },
    )
}

fn a_phase() -> impl Strategy<Value = Step> {
    let bytes = prop::sample::select(vec![0.0, 100.0, 2_500.0]);
    let intensity = prop::sample::select(vec![0.0, 0.3]);
    (0u64..40, 1u32..8, 0u64..5, bytes, intensity).prop_map(
        |(compute, eighths, overhead, bytes, intensity)| {
            Step::Phase(Phase {
                overhead: ns(overhead),
                parallelism: f64::from(eighths) / 8.0,
                bytes,
                intensity,
                ..phase(compute)
            })
        },
    )
}

fn a_run(uses: Uses) -> BoxedStrategy<Op> {
    let step = match uses {
        Uses::BlocksAndCopies => a_kernel(uses).boxed(),
        Uses::Phases => a_phase().boxed(),
        Uses::Everything => prop_oneof![a_kernel(uses), a_phase()].boxed(),
    };
    let pace = prop_oneof![2 => Just(0u64), 1 => 0u64..60];
    (prop::collection::vec(step, 1..5), pace)
        .prop_map(|(steps, pace)| {
            Op::Run(Run {
                steps: steps.into(),
                factor: 1.0,
                pace: ns(pace),
            })
        })
        .boxed()
}

fn a_copy() -> impl Strategy<Value = CopySpec> {
    (direction(), 0u64..5, 0u64..30, any::<bool>()).prop_map(
        |(direction, setup, transfer, is_empty)| CopySpec {
            bytes: if is_empty { 0 } else { transfer },
            ..copy(direction, setup, transfer)
        },
    )
}

fn op(uses: Uses) -> BoxedStrategy<Op> {
    match uses {
        Uses::Phases => a_run(uses),
        _ => prop_oneof![
            4 => a_run(uses),
            2 => a_copy().prop_map(Op::Copy),
            1 => a_copy().prop_map(Op::DefaultStreamCopy),
        ]
        .boxed(),
    }
}

fn device(uses: Uses) -> impl Strategy<Value = DeviceSpec> {
    let bandwidth = match uses {
        Uses::BlocksAndCopies => vec![f64::INFINITY],
        _ => vec![f64::INFINITY, 1e11],
    };
    let waves = match uses {
        Uses::Everything => vec![1, 2, u32::MAX],
        _ => vec![u32::MAX],
    };
    (
        (1u32..4, prop::sample::select(waves)),
        1u32..4,
        1u32..4,
        1u64..50,
        0u64..3,
        prop::sample::select(bandwidth),
        prop::sample::select(vec![0.0, 0.4]),
        prop::sample::select(vec![0.0, 0.2]),
    )
        .prop_map(
            |(
                (sms, waves),
                queues,
                levels,
                slice,
                switch,
                dram_bandwidth,
                occupancy,
                interference,
            )| {
                DeviceSpec {
                    sms,
                    waves_per_kernel: waves,
                    hardware_queues: queues,
                    priority_levels: levels,
                    time_slice: ns(slice),
                    context_switch: ns(switch),
                    dram_bandwidth,
                    dram_occupancy: occupancy,
                    overhead_interference: interference,
                    ..base()
                }
            },
        )
}

fn process() -> impl Strategy<Value = ProcessSpec> {
    let cap = prop::sample::select(vec![0.05, 0.25, 0.5, 1.0]);
    prop_oneof![
        Just(ALONE),
        (cap, 0u8..2).prop_map(|(cap, level)| client(cap, level)),
    ]
}

fn program(uses: Uses) -> impl Strategy<Value = Program> {
    let processes = prop::collection::vec((process(), 1usize..4), 1..4);
    let link = match uses {
        Uses::Everything => prop::sample::select(vec![0.0, 0.4])
            .prop_map(|duplex_penalty| LinkSpec {
                bandwidth: 1e9,
                duplex_penalty,
            })
            .boxed(),
        _ => Just(wide()).boxed(),
    };
    let moves = match uses {
        Uses::Everything => {
            let access = prop::sample::select(vec![Access::Read, Access::Write]);
            prop::collection::vec((0u64..200, access, 0u64..30), 0..4).boxed()
        }
        _ => Just(Vec::new()).boxed(),
    };
    (device(uses), link, processes, moves).prop_flat_map(move |(spec, link, processes, moves)| {
        let n_streams: usize = processes.iter().map(|(_, n)| n).sum();
        let ops = prop::collection::vec((0u64..200, 0..n_streams, -3i32..1, op(uses)), 1..14);
        ops.prop_map(move |mut ops| {
            ops.sort_by_key(|(at, ..)| *at);
            Program {
                spec,
                link,
                processes: processes.clone(),
                moves: moves.clone(),
                ops: (ops.into_iter())
                    .map(|(at, stream, priority, op)| Submission {
                        at,
                        stream,
                        priority,
                        op,
                    })
                    .collect(),
            }
        })
    })
}

impl Program {
    /// The process of each stream.
    fn owners(&self) -> Vec<usize> {
        let processes = self.processes.iter().enumerate();
        processes
            .flat_map(|(process, (_, n))| vec![process; *n])
            .collect()
    }

    fn run(&self) -> Timeline {
        self.run_on(Bench::new(self.link, &[self.spec]))
    }

    /// With another GPU, to which peer copies lead over PCIe if they `are_far`.
    fn run_beside(&self, other: LinkSpec, are_far: bool) -> Timeline {
        let mut program = self.clone();
        for submission in &mut program.ops {
            if let Op::Copy(copy) | Op::DefaultStreamCopy(copy) = &mut submission.op
                && copy.direction == Direction::Peer
                && are_far
            {
                copy.over_pcie_to = Some(1);
            }
        }
        let gpu = |link| GpuSpec {
            link,
            socket: Socket::Near,
            devices: vec![self.spec],
        };
        program.run_on(Bench::joined(
            HostSpec::UNLIMITED,
            &[gpu(self.link), gpu(other)],
        ))
    }

    fn run_on(&self, mut bench: Bench) -> Timeline {
        let mut streams = Vec::new();
        for (process, n) in &self.processes {
            let process = bench.process(*process);
            streams.extend((0..*n).map(|_| bench.stream(process)));
        }
        for (index, op) in self.ops.iter().enumerate() {
            let name = index.to_string();
            bench.submit_at(op.at, streams[op.stream], op.priority, &name, op.op.clone());
        }
        for (index, (at, access, bytes)) in self.moves.iter().enumerate() {
            bench.move_by_bus(*at, &format!("move {index}"), *access, *bytes, 0.5);
        }
        bench.run()
    }

    /// By number of the operation, its span.
    fn spans(&self, timeline: &Timeline) -> BTreeMap<usize, Span> {
        let ops = timeline.ops.iter();
        ops.map(|span| (number(&span.name), span.clone())).collect()
    }

    fn submissions_of(&self, stream: usize) -> Vec<usize> {
        let ops = (0..self.ops.len()).filter(|op| self.ops[*op].stream == stream);
        ops.collect()
    }

    /// All times and intervals twice as long, and all bandwidths half.
    fn slower(&self) -> Program {
        let twice = |time: SimDuration| time + time;
        let mut slower = self.clone();
        slower.spec.time_slice = twice(self.spec.time_slice);
        slower.spec.context_switch = twice(self.spec.context_switch);
        slower.spec.dram_bandwidth /= 2.0;
        for submission in &mut slower.ops {
            submission.at *= 2;
            match &mut submission.op {
                Op::Copy(copy) | Op::DefaultStreamCopy(copy) => {
                    copy.setup = twice(copy.setup);
                    copy.transfer = twice(copy.transfer);
                }
                Op::Run(run) => {
                    run.pace = twice(run.pace);
                    let steps = run.steps.iter().map(|step| match *step {
                        Step::Kernel(kernel) => Step::Kernel(Kernel {
                            overhead: twice(kernel.overhead),
                            time: twice(kernel.time),
                            ..kernel
                        }),
                        Step::Phase(phase) => Step::Phase(Phase {
                            overhead: twice(phase.overhead),
                            compute: 2.0 * phase.compute,
                            ..phase
                        }),
                    });
                    run.steps = steps.collect();
                }
            }
        }
        slower
    }
}

fn number(name: &str) -> usize {
    name.parse().expect("names are numbers")
}

/// Steps by name, with what they are.
fn steps<'a>(program: &'a Program, timeline: &'a Timeline) -> Vec<(&'a Span, usize, Step)> {
    let named = |span: &'a Span| {
        let (op, step) = span.name.split_once('.').expect("a step has a number");
        let (op, step): (usize, usize) = (number(op), number(step));
        let Op::Run(run) = &program.ops[op].op else {
            unreachable!("only runs have steps")
        };
        (span, op, run.steps[step])
    };
    timeline.kernels.iter().map(named).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn operations_of_a_stream_end_in_order(program in program(Uses::Everything)) {
        let timeline = program.run();
        let spans = program.spans(&timeline);
        prop_assert_eq!(spans.len(), program.ops.len());
        for stream in 0..program.owners().len() {
            let mut before = SimTime::ZERO;
            for op in program.submissions_of(stream) {
                let span = &spans[&op];
                let submitted = at(program.ops[op].at);
                prop_assert_eq!(span.ready, before.max(submitted));
                prop_assert!(span.ready <= span.start && span.start <= span.end);
                before = span.end;
            }
        }
    }

    #[test]
    fn another_gpu_changes_nothing_without_copies_to_it(program in program(Uses::Everything)) {
        prop_assert_eq!(program.run_beside(program.link, false), program.run());
    }

    #[test]
    fn peer_copies_over_links_that_never_limit_are_as_others(
        program in program(Uses::BlocksAndCopies),
    ) {
        prop_assert_eq!(program.run_beside(wide(), true), program.run());
    }

    #[test]
    fn a_host_that_never_limits_changes_nothing(program in program(Uses::Everything)) {
        let host = HostSpec {
            root_complex: 1e18,
            memory: 1e18,
            socket_bandwidth: 1e18,
            socket_latency: SimDuration::ZERO,
        };
        let gpu = GpuSpec {
            link: program.link,
            socket: Socket::Far,
            devices: vec![program.spec],
        };
        prop_assert_eq!(program.run_on(Bench::joined(host, &[gpu])), program.run());
    }

    #[test]
    fn peer_copies_over_pcie_all_end(program in program(Uses::Everything)) {
        let timeline = program.run_beside(program.link, true);
        prop_assert_eq!(program.spans(&timeline).len(), program.ops.len());
    }

    #[test]
    fn all_steps_of_a_run_end_in_order(program in program(Uses::Everything)) {
        let timeline = program.run();
        let spans = program.spans(&timeline);
        for (op, submission) in program.ops.iter().enumerate() {
            let Op::Run(run) = &submission.op else { continue };
            let mine: Vec<&Span> = (steps(&program, &timeline).into_iter())
                .filter(|(_, of, _)| *of == op)
                .map(|(span, ..)| span)
                .collect();
            prop_assert_eq!(mine.len(), run.steps.len());
            let mut before = spans[&op].start;
            for (index, (span, step)) in mine.iter().zip(run.steps.iter()).enumerate() {
                let launched = at(submission.at) + SimDuration::from_ps(run.pace.as_ps() * index as u64);
                prop_assert_eq!(span.ready, before.max(launched));
                let overhead = match step {
                    Step::Kernel(kernel) => kernel.overhead,
                    Step::Phase(phase) => phase.overhead,
                };
                prop_assert!(span.ready + overhead <= span.start && span.start <= span.end);
                if let Step::Kernel(kernel) = step {
                    prop_assert!(span.start + kernel.time <= span.end);
                }
                before = span.end;
            }
            prop_assert_eq!(spans[&op].end, before);
        }
    }

    /// Copies of a direction never overlap, and are served in the order in which they were ready and
    /// let go by the default stream.
    #[test]
    fn an_engine_serves_one_copy_at_a_time(program in program(Uses::Everything)) {
        let timeline = program.run();
        for direction in Direction::ALL {
            let mut copies: Vec<&Span> = (timeline.ops.iter())
                .filter(|span| match &program.ops[number(&span.name)].op {
                    Op::Copy(copy) | Op::DefaultStreamCopy(copy) => copy.direction == direction,
                    Op::Run(_) => false,
                })
                .collect();
            copies.sort_by_key(|span| (span.start, span.end));
            for pair in copies.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start, "{pair:?}");
            }
            let has_default = program.ops.iter().any(|op| matches!(op.op, Op::DefaultStreamCopy(_)));
            if !has_default {
                for pair in copies.windows(2) {
                    prop_assert!(pair[0].ready <= pair[1].ready, "{pair:?}");
                }
            }
        }
    }

    /// The area of blocks, threads times time, is no more than a device holds, and than the cap of
    /// their process allows, in the time from the first block's start to the last one's end.
    #[test]
    fn blocks_have_no_more_threads_than_there_are(
        mut program in program(Uses::BlocksAndCopies),
        waves in prop::sample::select(vec![1, 2, u32::MAX]),
    ) {
        program.spec.waves_per_kernel = waves;
        let timeline = program.run();
        let all = steps(&program, &timeline);
        let area_of = |within: &dyn Fn(usize) -> bool| {
            let mine = all.iter().filter(|(_, op, _)| within(program.owners()[program.ops[*op].stream]));
            let mut area = 0;
            let (mut first, mut last) = (SimTime::from_ps(u64::MAX), SimTime::ZERO);
            for (span, _, step) in mine {
                let Step::Kernel(kernel) = step else { unreachable!("there are no phases") };
                let threads = u64::from(kernel.blocks * kernel.shape.threads);
                area += threads * kernel.time.as_ps();
                first = first.min(span.start);
                last = last.max(span.end);
            }
            (area, if last > first { last.since(first).as_ps() } else { 0 })
        };
        let threads = u64::from(program.spec.sms * program.spec.threads_per_sm);
        let (area, time) = area_of(&|_| true);
        prop_assert!(area <= threads * time);
        for (index, (process, _)) in program.processes.iter().enumerate() {
            let Some(mps) = process.mps else { continue };
            // One block at least.
            let allowed = ((mps.cap * threads as f64) as u64).max(1024);
            let (area, time) = area_of(&|owner| owner == index);
            prop_assert!(area <= allowed * time);
        }
    }

    /// Kernels of processes that take turns do not overlap, so what the longest stream of each needs
    /// is no more than all of the time together.
    #[test]
    fn processes_compute_one_at_a_time(mut program in program(Uses::BlocksAndCopies)) {
        for (process, _) in &mut program.processes {
            *process = ALONE;
        }
        let timeline = program.run();
        let owners = program.owners();
        let mut needed = vec![0; owners.len()];
        for (_, op, step) in steps(&program, &timeline) {
            let Step::Kernel(kernel) = step else { unreachable!("there are no phases") };
            needed[program.ops[op].stream] += (kernel.overhead + kernel.time).as_ps();
        }
        let longest = |process| {
            let mine = needed.iter().zip(&owners).filter(|(_, owner)| **owner == process);
            mine.map(|(needed, _)| *needed).max().unwrap_or(0)
        };
        let all: u64 = (0..program.processes.len()).map(longest).sum();
        let last = timeline.ops.iter().map(|span| span.end).max().unwrap();
        prop_assert!(last.as_ps() >= all);
    }

    /// With all submitted at the start, no pace and no switch, something always progresses as if it
    /// were alone, so all is done by when one after the other would be.
    #[test]
    fn phases_waste_no_time(mut program in program(Uses::Phases)) {
        program.spec.context_switch = ns(0);
        program.spec.overhead_interference = 0.0;
        let mut sum = 0.0;
        for submission in &mut program.ops {
            submission.at = 0;
            let Op::Run(run) = &mut submission.op else { unreachable!("there are only runs") };
            run.pace = ns(0);
            run.steps = (run.steps.iter())
                .map(|step| match *step {
                    Step::Phase(phase) => Step::Phase(Phase { intensity: 0.0, ..phase }),
                    step => step,
                })
                .collect();
        }
        let owners = program.owners();
        for submission in &program.ops {
            let (process, _) = program.processes[owners[submission.stream]];
            let cap = process.mps.map_or(1.0, |mps| mps.cap);
            let Op::Run(run) = &submission.op else { unreachable!("there are only runs") };
            for step in run.steps.iter() {
                let Step::Phase(phase) = step else { unreachable!("there are only phases") };
                sum += phase.overhead.as_secs_f64() + program.spec.alone(phase, cap);
            }
        }
        let last = program.run().ops.iter().map(|span| span.end).max().unwrap();
        // A picosecond for each change of rates.
        prop_assert!(last.as_secs_f64() <= sum + 1e-12 * 400.0, "{last:?} of {sum}");
    }

    #[test]
    fn equal_programs_have_equal_timelines(program in program(Uses::Everything)) {
        prop_assert_eq!(program.run(), program.run());
    }

    /// Kernels and copies that share no bandwidth run at the full rate or not at all, so nothing is
    /// rounded.
    #[test]
    fn twice_the_times_double_every_instant(program in program(Uses::BlocksAndCopies)) {
        let twice = |time: SimTime| SimTime::from_ps(2 * time.as_ps());
        let double = |spans: Vec<Span>| -> Vec<Span> {
            let double = |span: Span| Span {
                ready: twice(span.ready),
                start: twice(span.start),
                end: twice(span.end),
                ..span
            };
            spans.into_iter().map(double).collect()
        };
        let (once, slower) = (program.run(), program.slower().run());
        prop_assert_eq!(double(once.ops), slower.ops);
        prop_assert_eq!(double(once.kernels), slower.kernels);
    }

    /// Each change of a rate rounds what is under way up to a picosecond, and all rates by 2⁻³³. One
    /// process with a queue for each stream and one priority, so that nothing jumps by that: what would
    /// have ended as one of higher priority begins else waits for all of it.
    #[test]
    fn twice_the_times_double_every_instant_of_phases(mut program in program(Uses::Phases)) {
        program.processes = vec![(ALONE, program.owners().len())];
        program.spec.hardware_queues = 32;
        program.spec.priority_levels = 1;
        let once = program.run();
        let slower = program.slower();
        let spans = slower.spans(&slower.run());
        for (op, span) in program.spans(&once) {
            let off = spans[&op].end.as_ps().abs_diff(2 * span.end.as_ps());
            prop_assert!(off < 500, "{off} ps of {span:?}");
        }
    }
}

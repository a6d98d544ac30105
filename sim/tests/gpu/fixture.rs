//! A small GPU, and a driver that submits operations at given instants and collects timelines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schema::units::{SimDuration, SimTime};
use sim::gpu::{
    Access, BlockShape, CopySpec, DeviceSpec, Direction, Gpu, GpuSpec, HostSpec, Kernel, LinkSpec,
    Memory, MpsSpec, Op, Phase, ProcessId, ProcessSpec, Run, Step, StreamId,
};

/// Events after which a timeline is said not to end.
const MOST_EVENTS: usize = 1_000_000;

pub(crate) const fn ns(n: u64) -> SimDuration {
    SimDuration::from_ns(n)
}

/// So many nanoseconds after the start.
pub(crate) fn at(n: u64) -> SimTime {
    SimTime::ZERO + ns(n)
}

/// Two multiprocessors of 2,048 threads each, so four slots for blocks of 1,024; nothing but threads
/// and the number of blocks limits.
pub(crate) const fn base() -> DeviceSpec {
    DeviceSpec {
        sms: 2,
        threads_per_sm: 2048,
        blocks_per_sm: 32,
        registers_per_sm: 0,
        shared_memory_per_sm: 0,
        dram_bandwidth: f64::INFINITY,
        dram_occupancy: 0.0,
        clock: 1.0,
        waves_per_kernel: u32::MAX,
        hardware_queues: 32,
        priority_levels: 3,
        time_slice: ns(1_000_000),
        context_switch: SimDuration::ZERO,
        interference_exponent: 1.0,
        overhead_interference: 0.0,
    }
}

/// A link that never limits.
pub(crate) const fn wide() -> LinkSpec {
    LinkSpec {
        bandwidth: f64::INFINITY,
        duplex_penalty: 0.0,
    }
}

/// A process that takes turns.
pub(crate) const ALONE: ProcessSpec = ProcessSpec { mps: None };

/// A client of the Multi-Process Service.
pub(crate) const fn client(cap: f64, level: u8) -> ProcessSpec {
    ProcessSpec {
        mps: Some(MpsSpec { cap, level }),
    }
}

/// Blocks of so many threads that run so long.
pub(crate) const fn kernel(blocks: u32, threads: u32, time: u64) -> Kernel {
    Kernel {
        overhead: SimDuration::ZERO,
        blocks,
        shape: BlockShape {
            threads,
            registers: 0,
            shared_memory: 0,
        },
        time: ns(time),
        bytes: 0.0,
    }
}

/// What takes so long with all multiprocessors, all of which it can use.
pub(crate) fn phase(compute: u64) -> Phase {
    Phase {
        overhead: SimDuration::ZERO,
        compute: compute as f64 * 1e-9,
        parallelism: 1.0,
        bytes: 0.0,
        intensity: 0.0,
    }
}

/// A copy with this setup and transfer, of one byte a nanosecond of the latter.
pub(crate) const fn copy(direction: Direction, setup: u64, transfer: u64) -> CopySpec {
    CopySpec {
        direction,
        setup: ns(setup),
        transfer: ns(transfer),
        bytes: transfer,
        over_pcie_to: None,
    }
}

/// The same, to another device over PCIe.
pub(crate) const fn peer_copy(to: usize, setup: u64, transfer: u64) -> CopySpec {
    CopySpec {
        over_pcie_to: Some(to),
        ..copy(Direction::Peer, setup, transfer)
    }
}

pub(crate) fn run(steps: Vec<Step>) -> Op {
    Op::Run(Run {
        steps: steps.into(),
        factor: 1.0,
        pace: SimDuration::ZERO,
    })
}

pub(crate) fn kernels(kernels: &[Kernel]) -> Op {
    run(kernels.iter().copied().map(Step::Kernel).collect())
}

pub(crate) fn phases(phases: &[Phase]) -> Op {
    run(phases.iter().copied().map(Step::Phase).collect())
}

/// Its steps are launched no faster than one every `pace`.
pub(crate) fn paced(op: Op, pace: u64) -> Op {
    let Op::Run(run) = op else {
        panic!("only runs are paced")
    };
    Op::Run(Run {
        pace: ns(pace),
        ..run
    })
}

/// An operation, a kernel or a move over the bus, and when.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Span {
    /// That of its operation; of a step, with its number.
    pub(crate) name: String,
    pub(crate) ready: SimTime,
    pub(crate) start: SimTime,
    pub(crate) end: SimTime,
}

/// What happened, in the order of ends.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Timeline {
    pub(crate) ops: Vec<Span>,
    pub(crate) kernels: Vec<Span>,
    pub(crate) moves: Vec<Span>,
}

#[derive(Clone, Debug)]
enum Act {
    Submit(StreamId, i32, Op),
    Move(Memory, Access, u64, f64),
}

/// A GPU and what will be asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    pub(crate) gpu: Gpu<usize>,
    plan: Vec<(SimTime, String, Act)>,
}

impl Bench {
    pub(crate) fn new(link: LinkSpec, devices: &[DeviceSpec]) -> Bench {
        Bench {
            gpu: Gpu::new(link, devices),
            plan: Vec::new(),
        }
    }

    /// GPUs of a host, whose links peer copies join.
    pub(crate) fn joined(host: HostSpec, gpus: &[GpuSpec]) -> Bench {
        Bench {
            gpu: Gpu::joined(host, gpus),
            plan: Vec::new(),
        }
    }

    /// One device with one process of `n` streams.
    pub(crate) fn streams<const N: usize>(spec: DeviceSpec) -> (Bench, [StreamId; N]) {
        let mut bench = Bench::new(wide(), &[spec]);
        let process = bench.process(ALONE);
        let streams = std::array::from_fn(|_| bench.stream(process));
        (bench, streams)
    }

    /// One device with processes of one stream each.
    pub(crate) fn processes<const N: usize>(
        spec: DeviceSpec,
        processes: [ProcessSpec; N],
    ) -> (Bench, [StreamId; N]) {
        let mut bench = Bench::new(wide(), &[spec]);
        let streams = processes.map(|process| {
            let process = bench.process(process);
            bench.stream(process)
        });
        (bench, streams)
    }

    pub(crate) fn process(&mut self, process: ProcessSpec) -> ProcessId {
        self.gpu.add_process(0, &process)
    }

    pub(crate) fn stream(&mut self, process: ProcessId) -> StreamId {
        self.gpu.add_stream(process)
    }

    /// Submits an operation of the lowest priority.
    pub(crate) fn submit(&mut self, at: u64, stream: StreamId, name: &str, op: Op) {
        self.submit_at(at, stream, 0, name, op);
    }

    pub(crate) fn submit_at(
        &mut self,
        at_ns: u64,
        stream: StreamId,
        priority: i32,
        name: &str,
        op: Op,
    ) {
        let act = Act::Submit(stream, priority, op);
        self.plan.push((at(at_ns), name.to_owned(), act));
    }

    pub(crate) fn copy(&mut self, at: u64, stream: StreamId, name: &str, copy: CopySpec) {
        self.submit(at, stream, name, Op::Copy(copy));
    }

    /// A NIC moves so many bytes to or from the first device, at most so many a nanosecond.
    pub(crate) fn move_by_bus(
        &mut self,
        at: u64,
        name: &str,
        access: Access,
        bytes: u64,
        per_ns: f64,
    ) {
        self.move_of(Memory::Device(0), at, name, access, bytes, per_ns);
    }

    /// The same of another memory.
    pub(crate) fn move_of(
        &mut self,
        memory: Memory,
        at_ns: u64,
        name: &str,
        access: Access,
        bytes: u64,
        per_ns: f64,
    ) {
        let act = Act::Move(memory, access, bytes, per_ns * 1e9);
        self.plan.push((at(at_ns), name.to_owned(), act));
    }

    /// Runs until nothing happens any more; all that was submitted must have ended by then.
    #[track_caller]
    pub(crate) fn run(mut self) -> Timeline {
        self.plan.sort_by_key(|(at, ..)| *at);
        self.gpu.keep_kernels();
        let mut timeline = Timeline::default();
        let mut runs: BTreeMap<StreamId, VecDeque<usize>> = BTreeMap::new();
        let mut plan: VecDeque<(usize, SimTime, Act)> = (self.plan.iter().enumerate())
            .map(|(index, (at, _, act))| (index, *at, act.clone()))
            .collect();
        let mut now = SimTime::ZERO;
        for _ in 0..MOST_EVENTS {
            let planned = plan.front().map(|(_, at, _)| *at);
            let Some(next) = planned.into_iter().chain(self.gpu.next()).min() else {
                assert_eq!(
                    timeline.ops.len() + timeline.moves.len(),
                    self.plan.len(),
                    "all ends: {timeline:#?}"
                );
                return timeline;
            };
            assert!(next >= now, "time goes forward");
            now = next;
            while let Some((index, at, act)) = plan.pop_front() {
                if at > now {
                    plan.push_front((index, at, act));
                    break;
                }
                match act {
                    Act::Submit(stream, priority, op) => {
                        if matches!(op, Op::Run(_)) {
                            runs.entry(stream).or_default().push_back(index);
                        }
                        self.gpu.submit(now, stream, priority, op, index);
                    }
                    Act::Move(memory, access, bytes, speed) => {
                        let token = index as u64;
                        self.gpu
                            .move_by_bus(now, memory, access, bytes, speed, token);
                    }
                }
            }
            self.gpu.settle(now);
            assert!(
                self.gpu.next().is_none_or(|next| next > now),
                "all that is due has happened"
            );
            // The steps of a run have ended by the time that it has.
            for span in self.gpu.take_kernels() {
                let index = runs[&span.stream].front().expect("a run of the stream ran");
                timeline.kernels.push(Span {
                    name: format!("{}.{}", self.plan[*index].1, span.step),
                    ready: span.ready,
                    start: span.start,
                    end: span.end,
                });
                let (.., act) = &self.plan[*index];
                let Act::Submit(_, _, Op::Run(run)) = act else {
                    unreachable!("only runs have steps")
                };
                if span.step as usize + 1 == run.steps.len() {
                    runs.entry(span.stream).or_default().pop_front();
                }
            }
            while let Some(done) = self.gpu.pop_done() {
                timeline.ops.push(Span {
                    name: self.plan[done.token].1.clone(),
                    ready: done.ready,
                    start: done.start,
                    end: done.end,
                });
            }
            while let Some(token) = self.gpu.pop_moved() {
                let (at, name, _) = &self.plan[token as usize];
                timeline.moves.push(Span {
                    name: name.clone(),
                    ready: *at,
                    start: *at,
                    end: now,
                });
            }
        }
        panic!("no end after {MOST_EVENTS} events: {timeline:#?}");
    }
}

/// That the spans are these, each as name, ready, start and end in nanoseconds, whatever the order.
#[track_caller]
pub(crate) fn assert_spans(found: &[Span], expected: &[(&str, u64, u64, u64)]) {
    let mut found = found.to_vec();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let mut expected: Vec<Span> = (expected.iter())
        .map(|(name, ready, start, end)| Span {
            name: (*name).to_owned(),
            ready: at(*ready),
            start: at(*start),
            end: at(*end),
        })
        .collect();
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, expected);
}

/// That the ends are these, by name in nanoseconds, up to a picosecond for each change of a rate.
#[track_caller]
pub(crate) fn assert_ends(found: &[Span], expected: &[(&str, f64)]) {
    assert_eq!(found.len(), expected.len());
    for (name, end) in expected {
        let span = found.iter().find(|span| span.name == *name);
        let span = span.expect("the operation has ended");
        let off = span.end.as_ps() as f64 - end * 1e3;
        assert!(off.abs() < 5.0, "{name} ends {off} ps off {end} ns");
    }
}

/// When the operation of this name ended, in nanoseconds.
#[track_caller]
pub(crate) fn end_of(timeline: &Timeline, name: &str) -> f64 {
    let span = timeline.ops.iter().find(|span| span.name == name);
    span.expect("the operation has ended").end.as_ps() as f64 / 1e3
}

/// One step, often.
pub(crate) fn repeated(step: Step, n: usize) -> Op {
    Op::Run(Run {
        steps: Arc::from(vec![step; n]),
        factor: 1.0,
        pace: SimDuration::ZERO,
    })
}

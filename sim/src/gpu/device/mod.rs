//! The multiprocessors of a GPU, and what runs on them.

mod dispatch;
mod exec;
mod steps;
mod turns;

use std::collections::VecDeque;

use schema::units::{SimDuration, SimTime};

use super::progress::fixed;
use super::rates::{Rates, Running};
use super::sms::Sms;
use super::work::{BlockShape, Phase, Run, Step};
use super::{DeviceSpec, KernelSpan, ProcessSpec, StreamId};
use exec::{Exec, NEVER, Stage, UNKNOWN};
use turns::Turn;

/// What happened to what a stream runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Note {
    /// Its last step waits for nothing but room: what is behind it in its hardware queue may go.
    LastQueued(StreamId),
    /// It has ended.
    Done { stream: StreamId, start: SimTime },
}

/// The multiprocessors of a GPU, or of an instance of a partitioned one.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) spec: DeviceSpec,
    groups: Vec<Group>,
    processes: Vec<Process>,
    lanes: Vec<Lane>,
    /// By lane, when what it does ends, by the clock of its group; [`NEVER`] if it does nothing or
    /// stands still, [`UNKNOWN`] if it is to be given a rate before the clock moves on.
    due: Vec<SimDuration>,
    /// By lane, until when the host launches its step; the end of time if it has.
    launched: Vec<SimTime>,
    turn: Turn,
    /// Until when the clocks of all groups are known.
    updated: SimTime,
    next_queued: u64,
    rates: Rates,
    /// Scratch: heads of the queues of processes.
    heads: Vec<Head>,
    /// Scratch: blocks for which no multiprocessor has room.
    no_room_for: Vec<BlockShape>,
    /// Whether anything that decides the rates has changed.
    is_stale: bool,
    pub(super) keeps_kernels: bool,
    pub(super) kernels: Vec<KernelSpan>,
    pub(super) notes: Vec<Note>,
}

/// Processes that compute at the same time: one, or all clients of the Multi-Process Service.
#[derive(Clone, Debug)]
struct Group {
    is_mps: bool,
    sms: Sms,
    /// Lanes with something to run, in the order in which their steps began.
    active: Vec<usize>,
    /// Number of these whose step the host has not launched yet.
    n_paced: usize,
    /// For how long the group has computed.
    clock: SimDuration,
    /// Whether there may be room for blocks for which there was none.
    has_room: bool,
}

#[derive(Clone, Debug)]
struct Process {
    group: usize,
    /// Most of the device's threads that it may use, from above 0 to 1.
    cap: f64,
    /// Lower goes first.
    level: u8,
    /// The execution queues, by priority, of lanes whose kernel has blocks to dispatch.
    queues: Vec<VecDeque<usize>>,
    /// Threads of its blocks on the multiprocessors.
    resident: u64,
}

impl Process {
    /// The lane at the head of its highest queue that is not empty.
    fn head(&self) -> Option<usize> {
        self.queues.iter().find_map(VecDeque::front).copied()
    }
}

/// Level of a process and priority of what one of its streams runs; the lower goes first.
type Order = (u8, usize);

/// The head of a queue: its order, its number in the queues, its process and its lane.
type Head = (Order, u64, usize, usize);

/// A stream as the multiprocessors see it.
#[derive(Clone, Debug)]
struct Lane {
    stream: StreamId,
    process: usize,
    /// Of what it runs.
    priority: usize,
    exec: Option<Exec>,
}

impl Device {
    pub(super) fn new(spec: DeviceSpec) -> Device {
        Device {
            rates: Rates::default(),
            heads: Vec::new(),
            no_room_for: Vec::new(),
            spec,
            groups: Vec::new(),
            processes: Vec::new(),
            lanes: Vec::new(),
            due: Vec::new(),
            launched: Vec::new(),
            turn: Turn::default(),
            updated: SimTime::ZERO,
            next_queued: 0,
            is_stale: false,
            keeps_kernels: false,
            kernels: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a process; its number.
    pub(super) fn add_process(&mut self, process: &ProcessSpec) -> usize {
        let mps = |group: &Group| process.mps.is_some() && group.is_mps;
        let group = self.groups.iter().position(mps).unwrap_or_else(|| {
            self.groups.push(Group {
                is_mps: process.mps.is_some(),
                sms: Sms::new(self.spec.sms, self.spec.room()),
                active: Vec::new(),
                n_paced: 0,
                clock: SimDuration::ZERO,
                has_room: false,
            });
            self.groups.len() - 1
        });
        self.processes.push(Process {
            group,
            cap: process.mps.map_or(1.0, |mps| mps.cap),
            level: process.mps.map_or(0, |mps| mps.level),
            queues: vec![VecDeque::new(); self.spec.priority_levels as usize],
            resident: 0,
        });
        self.processes.len() - 1
    }

    /// Adds a stream of a process; its number here.
    pub(super) fn add_lane(&mut self, stream: StreamId, process: usize) -> usize {
        self.lanes.push(Lane {
            stream,
            process,
            priority: 0,
            exec: None,
        });
        self.due.push(NEVER);
        self.launched.push(SimTime::MAX);
        self.rates.add_lane();
        self.lanes.len() - 1
    }

    /// A lane with nothing to run begins with `run`, which was submitted at an instant before; of two
    /// priorities the lower number goes first.
    pub(super) fn begin(
        &mut self,
        now: SimTime,
        lane: usize,
        priority: usize,
        run: Run,
        submitted: SimTime,
    ) {
        self.advance(now);
        assert!(!run.steps.is_empty(), "a run has at least one step");
        let row = &mut self.lanes[lane];
        assert!(row.exec.is_none(), "a stream runs one operation at a time");
        row.priority = priority;
        row.exec = Some(Exec {
            run,
            at: 0,
            submitted,
            start: now,
            stage: Stage::Paced,
            updated: SimDuration::ZERO,
            ready: now,
            first_block: None,
            queued: 0,
        });
        let group = self.processes[row.process].group;
        self.groups[group].active.push(lane);
        self.start_step(now, lane);
        self.is_stale = true;
    }

    /// Moves the clock of the group that computes on.
    fn advance(&mut self, now: SimTime) {
        let passed = now.since(self.updated);
        self.updated = now;
        if let Some(group) = self.computing() {
            self.groups[group].clock += passed;
        }
    }

    /// When something changes by itself.
    pub(super) fn next(&self) -> Option<SimTime> {
        let pacing = self.groups.iter().filter(|group| group.n_paced > 0);
        let launches =
            pacing.flat_map(|group| group.active.iter().map(|lane| self.launched[*lane]));
        let mut soonest = launches.min().unwrap_or(SimTime::MAX);
        if let Some(until) = self.turn.switching_until {
            return Some(soonest.min(until));
        }
        soonest = soonest.min(self.turn.ends.unwrap_or(SimTime::MAX));
        if let Some(group) = self.turn.group {
            let group = &self.groups[group];
            let due = group.active.iter().map(|lane| self.due[*lane]).min();
            if let Some(due) = due.filter(|due| *due < UNKNOWN) {
                let left = SimDuration::from_ps(due.as_ps() - group.clock.as_ps());
                soonest = soonest.min(self.updated + left);
            }
        }
        (soonest < SimTime::MAX).then_some(soonest)
    }

    /// Lets end what is due at the instant `now`, and begin what follows it, until nothing more does:
    /// switches that end, what has got all its work, steps that the host has launched.
    pub(super) fn end_due(&mut self, now: SimTime) {
        self.advance(now);
        loop {
            let mut has_changed = false;
            if self.turn.switching_until.is_some_and(|at| at <= now) {
                self.turn.switching_until = None;
                self.turn.since = now;
                has_changed = true;
            }
            has_changed |= self.complete(now);
            has_changed |= self.launch(now);
            if !has_changed {
                return;
            }
            self.is_stale = true;
        }
    }

    /// Lets a turn begin if it is time, and blocks for which there is room; whether any did.
    ///
    /// To be called when all that is due has ended: what follows at the same instant keeps the turn,
    /// and gets room before what has a lower priority.
    pub(super) fn start(&mut self, now: SimTime) -> bool {
        let mut has_changed = self.take_turns(now);
        has_changed |= self.dispatch(now);
        self.is_stale |= has_changed;
        has_changed
    }

    /// The group that computes now.
    fn computing(&self) -> Option<usize> {
        self.turn
            .group
            .filter(|_| self.turn.switching_until.is_none())
    }

    /// Gives everything of the group that computes its rate, if anything that decides it has changed.
    pub(super) fn set_rates(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        let Some(group) = self.computing() else {
            return;
        };
        for index in 0..self.groups[group].active.len() {
            let lane = self.groups[group].active[index];
            if self.due[lane] == UNKNOWN {
                self.rates.set(&self.spec, lane, self.running(lane));
            }
        }
        let group = &self.groups[group];
        let rates = self.rates.divide(&self.spec, &group.active);
        for (lane, rate) in group.active.iter().zip(rates) {
            let exec = self.lanes[*lane]
                .exec
                .as_mut()
                .expect("an active lane runs");
            let rate = fixed(*rate);
            let due = &mut self.due[*lane];
            if exec.rate() == rate && *due != UNKNOWN {
                continue;
            }
            exec.advance(group.clock);
            *due = match exec.set_rate(rate) {
                Some(left) => group.clock + left,
                None => NEVER,
            };
        }
    }

    /// What the lane does now.
    fn running(&self, lane: usize) -> Running {
        let row = &self.lanes[lane];
        let process = &self.processes[row.process];
        let exec = row.exec.as_ref().expect("an active lane runs");
        match (&exec.stage, exec.step()) {
            (Stage::Paced, _) => Running::Nothing,
            (Stage::Overhead(_), Step::Kernel(_)) => Running::Launch,
            (Stage::Overhead(_), Step::Phase(_)) => Running::Overhead,
            (Stage::Blocks { running, .. }, Step::Kernel(kernel)) => {
                let blocks = f64::from(*running);
                let threads = self.spec.threads() as f64;
                Running::Blocks {
                    process: row.process,
                    share: blocks * f64::from(kernel.shape.threads) / threads,
                    demand: blocks * kernel.bytes / kernel.time.as_secs_f64(),
                }
            }
            (Stage::Phase { alone, .. }, Step::Phase(phase)) => Running::Phase {
                order: (process.level, row.priority),
                process: row.process,
                cap: process.cap,
                phase: Phase {
                    compute: phase.compute * exec.run.factor,
                    bytes: phase.bytes * exec.run.factor,
                    ..*phase
                },
                alone: *alone,
            },
            _ => unreachable!("kernels have blocks, phases have none"),
        }
    }
}

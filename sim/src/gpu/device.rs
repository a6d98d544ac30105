//! The multiprocessors of a GPU, and what runs on them.

use std::collections::VecDeque;

use schema::units::{SimDuration, SimTime};

use super::progress::{Alike, Progress, fixed};
use super::rates::{Rates, Running};
use super::sms::{Sms, Wave};
use super::work::{BlockShape, Phase, Run, Step};
use super::{DeviceSpec, KernelSpan, ProcessSpec, StreamId};

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
    /// Scratch: heads of the queues of processes, by level and number in the queues, with their process
    /// and lane.
    heads: Vec<(u8, u64, usize, usize)>,
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

impl Group {
    fn wants_turn(&self) -> bool {
        self.active.len() > self.n_paced
    }
}

/// Of a lane for which nothing is due.
const NEVER: SimDuration = SimDuration::from_ps(u64::MAX);

/// Of a lane that does something else than when it was given its rate, and to which nothing happens
/// before it is given another.
const UNKNOWN: SimDuration = SimDuration::from_ps(u64::MAX - 1);

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

/// A stream as the multiprocessors see it.
#[derive(Clone, Debug)]
struct Lane {
    stream: StreamId,
    process: usize,
    /// Of what it runs.
    priority: usize,
    exec: Option<Exec>,
}

/// What a stream is running.
#[derive(Clone, Debug)]
struct Exec {
    run: Run,
    at: usize,
    submitted: SimTime,
    start: SimTime,
    stage: Stage,
    /// Until when the work done is counted, by the clock of its group.
    updated: SimDuration,
    /// Of the present step.
    ready: SimTime,
    first_block: Option<SimTime>,
    queued: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The host has not launched the step yet.
    Paced,
    Overhead(Progress),
    Blocks {
        pending: u32,
        running: u32,
        waves: Alike<(Wave, u32)>,
    },
    Phase {
        progress: Progress,
        /// Its time alone, in seconds.
        alone: f64,
    },
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    group: Option<usize>,
    /// When it began, or its group did after it had nothing to compute.
    since: SimTime,
    is_idle: bool,
    /// When it ends; `None` while no other group waits.
    ends: Option<SimTime>,
    /// Until when nothing computes.
    switching_until: Option<SimTime>,
}

impl Exec {
    fn step(&self) -> &Step {
        &self.run.steps[self.at]
    }

    /// `time` of this run.
    fn scaled(&self, time: SimDuration) -> SimDuration {
        if self.run.factor.total_cmp(&1.0).is_eq() {
            return time;
        }
        SimDuration::from_secs_f64(time.as_secs_f64() * self.run.factor)
    }

    /// Counts the work done until its group's clock showed `clock`.
    fn advance(&mut self, clock: SimDuration) {
        let passed = SimDuration::from_ps(clock.as_ps() - self.updated.as_ps());
        self.updated = clock;
        match &mut self.stage {
            Stage::Paced => {}
            Stage::Overhead(progress) | Stage::Phase { progress, .. } => progress.advance(passed),
            Stage::Blocks { waves, .. } => waves.advance(passed),
        }
    }

    /// The rate at which it works; zero if it does nothing.
    const fn rate(&self) -> u64 {
        match &self.stage {
            Stage::Paced => 0,
            Stage::Overhead(progress) | Stage::Phase { progress, .. } => progress.rate(),
            Stage::Blocks { waves, .. } => waves.rate(),
        }
    }

    /// Gives it a rate; the time until something of it ends, `None` if nothing does by itself.
    fn set_rate(&mut self, rate: u64) -> Option<SimDuration> {
        match &mut self.stage {
            Stage::Paced => None,
            Stage::Overhead(progress) | Stage::Phase { progress, .. } => {
                progress.set_rate(rate);
                progress.time_left()
            }
            Stage::Blocks { waves, .. } => {
                waves.set_rate(rate);
                waves.time_left()
            }
        }
    }
}

/// When work that is about to begin is due, as far as is known before it is given a rate.
const fn due_at_once(length: SimDuration, clock: SimDuration) -> SimDuration {
    match length.as_ps() {
        0 => clock,
        _ => UNKNOWN,
    }
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

    fn start_step(&mut self, now: SimTime, lane: usize) {
        let row = &mut self.lanes[lane];
        let group = &mut self.groups[self.processes[row.process].group];
        let exec = row.exec.as_mut().expect("the lane runs");
        let pace = SimDuration::from_ps(exec.run.pace.as_ps() * exec.at as u64);
        let available = exec.submitted + pace;
        let step = *exec.step();
        if available > now {
            exec.stage = Stage::Paced;
            self.due[lane] = UNKNOWN;
            self.launched[lane] = available;
            group.n_paced += 1;
        } else {
            let overhead = exec.scaled(match step {
                Step::Kernel(kernel) => kernel.overhead,
                Step::Phase(phase) => phase.overhead,
            });
            exec.stage = Stage::Overhead(Progress::new(overhead));
            exec.updated = group.clock;
            self.due[lane] = due_at_once(overhead, group.clock);
        }
        if let Step::Kernel(kernel) = step {
            assert!(
                kernel.blocks > 0 && self.spec.blocks_that_fit(&kernel.shape) > 0,
                "a kernel has blocks, and an empty multiprocessor has room for one: {kernel:?}"
            );
        }
        exec.ready = now;
        exec.first_block = None;
    }

    /// Moves the clock of the group that computes on.
    fn advance(&mut self, now: SimTime) {
        let passed = now.since(self.updated);
        self.updated = now;
        if let Some(group) = self.computing() {
            self.groups[group].clock = self.groups[group].clock + passed;
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

    fn complete(&mut self, now: SimTime) -> bool {
        let Some(group) = self.computing() else {
            return false;
        };
        let mut has_changed = false;
        let mut index = 0;
        while index < self.groups[group].active.len() {
            let lane = self.groups[group].active[index];
            if self.due[lane] <= self.groups[group].clock {
                self.complete_of(now, group, lane);
                has_changed = true;
                // A lane that goes on with its next step is now behind the others; one that has ended
                // is no longer active.
                if self.groups[group].active.get(index) != Some(&lane) {
                    continue;
                }
            }
            index += 1;
        }
        has_changed
    }

    /// Lets end what is due of the lane.
    fn complete_of(&mut self, now: SimTime, group: usize, lane: usize) {
        let row = &mut self.lanes[lane];
        let group_row = &mut self.groups[group];
        let exec = row.exec.as_mut().expect("an active lane runs");
        exec.advance(group_row.clock);
        self.due[lane] = UNKNOWN;
        let step = *exec.step();
        match (&mut exec.stage, step) {
            (Stage::Paced, _) => unreachable!("what is not launched is not due"),
            (Stage::Overhead(_), Step::Kernel(kernel)) => {
                exec.stage = Stage::Blocks {
                    pending: kernel.blocks,
                    running: 0,
                    waves: Alike::new(),
                };
                exec.queued = self.next_queued;
                self.next_queued += 1;
                let process = &mut self.processes[row.process];
                process.queues[row.priority].push_back(lane);
                group_row.has_room |= process.head() == Some(lane);
            }
            (Stage::Overhead(_), Step::Phase(phase)) => {
                let cap = self.processes[row.process].cap;
                let alone = self.spec.alone(&phase, cap) * exec.run.factor;
                let length = SimDuration::from_secs_f64(alone);
                exec.first_block = Some(now);
                exec.stage = Stage::Phase {
                    progress: Progress::new(length),
                    alone,
                };
                self.due[lane] = due_at_once(length, group_row.clock);
            }
            (Stage::Phase { .. }, _) => return self.end_step(now, group, lane),
            (
                Stage::Blocks {
                    pending,
                    running,
                    waves,
                },
                Step::Kernel(kernel),
            ) => {
                let mut ended = 0;
                while let Some((wave, blocks)) = waves.pop_done() {
                    group_row.sms.free(&kernel.shape, wave);
                    ended += blocks;
                }
                *running -= ended;
                self.processes[row.process].resident -= u64::from(ended * kernel.shape.threads);
                group_row.has_room = true;
                if *pending == 0 && waves.is_empty() {
                    self.end_step(now, group, lane);
                }
                return;
            }
            (Stage::Blocks { .. }, Step::Phase(_)) => unreachable!("only kernels have blocks"),
        }
        if exec.at + 1 == exec.run.steps.len() {
            self.notes.push(Note::LastQueued(row.stream));
        }
    }

    fn end_step(&mut self, now: SimTime, group: usize, lane: usize) {
        let row = &mut self.lanes[lane];
        let exec = row.exec.as_mut().expect("the lane runs");
        if self.keeps_kernels {
            self.kernels.push(KernelSpan {
                stream: row.stream,
                step: exec.at as u32,
                ready: exec.ready,
                start: exec.first_block.expect("it has run"),
                end: now,
            });
        }
        exec.at += 1;
        if exec.at < exec.run.steps.len() {
            // Behind those whose step began before: of steps that end at one instant, the first to
            // begin goes first.
            let active = &mut self.groups[group].active;
            let place = active.iter().position(|active| *active == lane);
            active[place.expect("the lane runs")..].rotate_left(1);
            return self.start_step(now, lane);
        }
        let start = exec.start;
        row.exec = None;
        let stream = row.stream;
        self.groups[group].active.retain(|active| *active != lane);
        self.notes.push(Note::Done { stream, start });
    }

    /// Steps that the host has launched by now.
    fn launch(&mut self, now: SimTime) -> bool {
        let mut has_changed = false;
        for group in 0..self.groups.len() {
            if self.groups[group].n_paced == 0 {
                continue;
            }
            for index in 0..self.groups[group].active.len() {
                let lane = self.groups[group].active[index];
                if self.launched[lane] <= now {
                    self.launched[lane] = SimTime::MAX;
                    self.groups[group].n_paced -= 1;
                    self.start_step(now, lane);
                    has_changed = true;
                }
            }
        }
        has_changed
    }

    /// Round robin over the groups that have something to compute (work conserving).
    fn take_turns(&mut self, now: SimTime) -> bool {
        if self.turn.switching_until.is_some() {
            return false;
        }
        let n = self.groups.len();
        let Some(current) = self.turn.group else {
            self.turn.group = self.groups.iter().position(Group::wants_turn);
            self.turn.since = now;
            return self.turn.group.is_some();
        };
        if n == 1 {
            return false;
        }
        let is_wanted = self.groups[current].wants_turn();
        if is_wanted && self.turn.is_idle {
            self.turn.since = now;
        }
        self.turn.is_idle = !is_wanted;
        let mut others = (1..n).map(|step| (current + step) % n);
        let Some(next) = others.find(|group| self.groups[*group].wants_turn()) else {
            self.turn.ends = None;
            return false;
        };
        if is_wanted {
            let slice = self.spec.time_slice.as_ps();
            let ends = *self.turn.ends.get_or_insert_with(|| {
                let whole = now.since(self.turn.since).as_ps() / slice + 1;
                self.turn.since + SimDuration::from_ps(whole * slice)
            });
            if ends > now {
                return false;
            }
        }
        self.turn = Turn {
            group: Some(next),
            since: now,
            is_idle: false,
            ends: None,
            switching_until: None,
        };
        if self.spec.context_switch > SimDuration::ZERO {
            self.turn.switching_until = Some(now + self.spec.context_switch);
        }
        true
    }

    /// Places blocks of the kernels at the heads of the execution queues, as far as there is room.
    fn dispatch(&mut self, now: SimTime) -> bool {
        let Some(group) = self.computing() else {
            return false;
        };
        let row = &mut self.groups[group];
        // Without more room than there was, all would stay as it is.
        if !std::mem::take(&mut row.has_room) && row.sms.is_merged() {
            return false;
        }
        let mut has_changed = false;
        let mut heads = std::mem::take(&mut self.heads);
        heads.extend((0..self.processes.len()).filter_map(|process| self.head(group, process)));
        self.no_room_for.clear();
        while let Some(at) = (0..heads.len()).min_by_key(|at| heads[*at]) {
            let (_, _, process, lane) = heads.swap_remove(at);
            let (placed, left) = self.place(now, group, process, lane);
            has_changed |= placed > 0;
            if left == 0 {
                let queue = self.processes[process].queues.iter_mut();
                let head = queue.into_iter().find(|queue| !queue.is_empty());
                head.expect("the lane was at its head").pop_front();
                heads.extend(self.head(group, process));
            }
        }
        self.heads = heads;
        has_changed
    }

    /// What is at the head of the highest queue of a process that is not empty, if the process is in the
    /// group: its level, its number in the queues, the process and the lane.
    fn head(&self, group: usize, process: usize) -> Option<(u8, u64, usize, usize)> {
        let row = &self.processes[process];
        if row.group != group {
            return None;
        }
        let lane = row.head()?;
        let exec = self.lanes[lane].exec.as_ref().expect("a queued lane runs");
        Some((row.level, exec.queued, process, lane))
    }

    /// Places blocks of the lane's kernel; how many, and how many are left.
    fn place(&mut self, now: SimTime, group: usize, process: usize, lane: usize) -> (u32, u32) {
        let row = &mut self.lanes[lane];
        let exec = row.exec.as_mut().expect("a queued lane runs");
        let Step::Kernel(kernel) = *exec.step() else {
            unreachable!("only kernels are queued")
        };
        let group = &mut self.groups[group];
        exec.advance(group.clock);
        let length = exec.scaled(kernel.time);
        let Stage::Blocks {
            pending,
            running,
            waves,
        } = &mut exec.stage
        else {
            unreachable!("a queued kernel has blocks")
        };
        let process = &mut self.processes[process];
        let most = (process.cap * self.spec.threads() as f64 + 1e-6) as u64;
        let allowed = match most.saturating_sub(process.resident) / u64::from(kernel.shape.threads)
        {
            // A cap below the size of a block would keep it off for ever.
            0 if process.resident == 0 => 1,
            allowed => allowed,
        };
        let want = (*pending).min(u32::try_from(allowed).unwrap_or(u32::MAX));
        let sms = &mut group.sms;
        let most_waves = self.spec.waves_per_kernel as usize;
        let joined = waves.last().filter(|_| waves.len() >= most_waves).copied();
        let (wave, own) = joined.unwrap_or((sms.unused_wave(), 0));
        let fits = |lacked: &BlockShape| !lacked.fits_with(&kernel.shape);
        let placed = match want {
            0 => 0,
            _ if !self.no_room_for.iter().all(fits) => 0,
            _ => sms.place(&kernel.shape, want, wave),
        };
        if placed < want {
            self.no_room_for.push(kernel.shape);
        }
        if placed > 0 {
            self.due[lane] = UNKNOWN;
            if own > 0 {
                waves.join_last(length, own, placed).1 += placed;
            } else {
                if waves.is_empty() {
                    self.due[lane] = due_at_once(length, group.clock);
                }
                waves.begin(length, (wave, placed));
            }
            *running += placed;
            process.resident += u64::from(placed * kernel.shape.threads);
            *pending -= placed;
            exec.first_block.get_or_insert(now);
        }
        (placed, *pending)
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

//! Steps of what streams run: what begins and ends.

use schema::units::{SimDuration, SimTime};

use super::super::KernelSpan;
use super::super::progress::{Alike, Progress};
use super::super::work::Step;
use super::exec::{Stage, UNKNOWN, due_at_once};
use super::{Device, Note};

impl Device {
    pub(super) fn start_step(&mut self, now: SimTime, lane: usize) {
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

    pub(super) fn complete(&mut self, now: SimTime) -> bool {
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
    pub(super) fn launch(&mut self, now: SimTime) -> bool {
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
}

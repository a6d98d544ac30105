//! What a stream of a device runs, and when it is due.

use schema::units::{SimDuration, SimTime};

use super::super::progress::{Alike, Progress};
use super::super::sms::Wave;
use super::super::work::{Run, Step};

/// Of a lane for which nothing is due.
pub(super) const NEVER: SimDuration = SimDuration::from_ps(u64::MAX);

/// Of a lane that does something else than when it was given its rate, and to which nothing happens
/// before it is given another.
pub(super) const UNKNOWN: SimDuration = SimDuration::from_ps(u64::MAX - 1);

/// What a stream is running.
#[derive(Clone, Debug)]
pub(super) struct Exec {
    pub(super) run: Run,
    pub(super) at: usize,
    pub(super) submitted: SimTime,
    pub(super) start: SimTime,
    pub(super) stage: Stage,
    /// Until when the work done is counted, by the clock of its group.
    pub(super) updated: SimDuration,
    /// Of the present step.
    pub(super) ready: SimTime,
    pub(super) first_block: Option<SimTime>,
    pub(super) queued: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
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

impl Exec {
    pub(super) fn step(&self) -> &Step {
        &self.run.steps[self.at]
    }

    /// `time` of this run.
    pub(super) fn scaled(&self, time: SimDuration) -> SimDuration {
        if self.run.factor.total_cmp(&1.0).is_eq() {
            return time;
        }
        SimDuration::from_secs_f64(time.as_secs_f64() * self.run.factor)
    }

    /// Counts the work done until its group's clock showed `clock`.
    pub(super) fn advance(&mut self, clock: SimDuration) {
        let passed = SimDuration::from_ps(clock.as_ps() - self.updated.as_ps());
        self.updated = clock;
        match &mut self.stage {
            Stage::Paced => {}
            Stage::Overhead(progress) | Stage::Phase { progress, .. } => progress.advance(passed),
            Stage::Blocks { waves, .. } => waves.advance(passed),
        }
    }

    /// The rate at which it works; zero if it does nothing.
    pub(super) const fn rate(&self) -> u64 {
        match &self.stage {
            Stage::Paced => 0,
            Stage::Overhead(progress) | Stage::Phase { progress, .. } => progress.rate(),
            Stage::Blocks { waves, .. } => waves.rate(),
        }
    }

    /// Gives it a rate; the time until something of it ends, `None` if nothing does by itself.
    pub(super) fn set_rate(&mut self, rate: u64) -> Option<SimDuration> {
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
pub(super) const fn due_at_once(length: SimDuration, clock: SimDuration) -> SimDuration {
    match length.as_ps() {
        0 => clock,
        _ => UNKNOWN,
    }
}

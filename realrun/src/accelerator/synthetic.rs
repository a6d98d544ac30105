//! Work of a given length: a loop of integer arithmetic with a calibrated number of iterations.
//!
//! The length is work, not time: the loop looks at no clock, so a thread that is preempted, or
//! that shares its core with another, takes longer in wall time by as much as real compute would.
//! The number of iterations a nanosecond is measured once for an accelerator on the thread's CPU
//! clock, as in the fastest of several rounds: what disturbs a core only makes it slower. A core
//! whose clock rate changes later makes the same work longer or shorter.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::error::room_for;
use super::{AcceleratorError, Context, SyntheticSpec};

/// Rounds of a calibration; the fastest gives the rate.
const CALIBRATION_ROUNDS: usize = 9;

/// Shortest round of a calibration: a thousand times what reading the CPU clock costs.
const CALIBRATION_ROUND: Duration = Duration::from_millis(1);

/// Steps of the CPU clock in a round at least: some kernels advance it with the timer's tick only
/// (User-mode Linux by 1 ms).
const CALIBRATION_STEPS: u32 = 100;

/// How fast a core of this machine runs the loop.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct SpinRate {
    per_nanosecond: f64,
}

impl SpinRate {
    /// Measures the rate on the calling thread, in about 20 ms of its CPU time; in more where the
    /// CPU clock advances in long steps.
    #[must_use]
    pub fn calibrate() -> Self {
        let mut iterations = 1 << 10;
        let round = CALIBRATION_ROUND.max(CALIBRATION_STEPS * step_of_cpu_clock());
        while cpu_time_of(iterations) < round {
            iterations *= 2;
        }
        let rounds = [(); CALIBRATION_ROUNDS].map(|()| cpu_time_of(iterations));
        let fastest = rounds.into_iter().min().expect("there are rounds");
        Self::from_round(iterations, fastest)
    }

    /// The rate at which `iterations` take `time`.
    ///
    /// # Panics
    ///
    /// If either is zero.
    #[must_use]
    pub fn from_round(iterations: u64, time: Duration) -> Self {
        assert!(
            iterations > 0 && !time.is_zero(),
            "{iterations} iterations in {time:?}"
        );
        #[expect(
            clippy::cast_precision_loss,
            reason = "a count of iterations is below 2^53"
        )]
        let iterations = iterations as f64;
        Self {
            per_nanosecond: iterations / (time.as_secs_f64() * 1e9),
        }
    }

    /// Number of iterations that take `time`, to the nearest.
    #[must_use]
    pub fn iterations(self, time: Duration) -> u64 {
        let iterations = time.as_secs_f64() * 1e9 * self.per_nanosecond;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a float above the range becomes its end"
        )]
        let iterations = iterations.round() as u64;
        iterations
    }
}

/// Runs `iterations` of the loop from `state` and returns the state after them.
///
/// Every iteration passes the state through an opaque barrier, so that no compiler shortens the
/// loop.
#[must_use]
pub fn spin(state: u64, iterations: u64) -> u64 {
    let mut state = state;
    for _ in 0..iterations {
        // Knuth's MMIX generator: one multiplication that must wait for the last.
        state = black_box(
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407),
        );
    }
    state
}

fn cpu_time_of(iterations: u64) -> Duration {
    let start = thread_cpu_time();
    black_box(spin(black_box(1), iterations));
    thread_cpu_time().saturating_sub(start)
}

/// How far the CPU clock advances at once.
fn step_of_cpu_clock() -> Duration {
    let next = |from: Duration| {
        loop {
            let now = thread_cpu_time();
            if now > from {
                return now;
            }
        }
    };
    let first = next(thread_cpu_time());
    next(first) - first
}

/// CPU time the calling thread has used.
fn thread_cpu_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(tv_sec).expect("a CPU time is not negative");
    let nanoseconds = u32::try_from(tv_nsec).expect("a nanosecond part is below 1e9");
    Duration::new(seconds, nanoseconds)
}

/// A context that copies and spins.
#[derive(Debug)]
pub(super) struct SyntheticContext {
    spec: SyntheticSpec,
    rate: SpinRate,
    max_batch: usize,
    /// The payloads, one slot after the other.
    input: Vec<u8>,
    /// The replies, one slot after the other, filled once.
    output: Vec<u8>,
    /// Slots of the last inference.
    n_inferred: usize,
}

impl SyntheticContext {
    /// A context of `max_batch` slots for `spec`.
    pub(super) fn new(spec: SyntheticSpec, max_batch: usize, rate: SpinRate) -> Self {
        let output = (0..max_batch * spec.output_bytes)
            .map(|i| (i % 251) as u8)
            .collect();
        Self {
            spec,
            rate,
            max_batch,
            input: vec![0; max_batch * spec.max_payload_bytes],
            output,
            n_inferred: 0,
        }
    }

    fn spin(&self, time: Duration) {
        black_box(spin(black_box(1), self.rate.iterations(time)));
    }

    fn times(&self, batch: usize) -> u32 {
        assert!(
            (1..=self.max_batch).contains(&batch),
            "batch of {batch}, up to {}",
            self.max_batch
        );
        u32::try_from(batch).expect("a batch is below 2^32")
    }
}

impl Context for SyntheticContext {
    fn copy_in(&mut self, slot: usize, payload: &[u8]) -> Result<(), AcceleratorError> {
        assert!(slot < self.max_batch, "slot {slot} of {}", self.max_batch);
        let max = self.spec.max_payload_bytes;
        if payload.len() > max {
            return Err(AcceleratorError::PayloadTooLong {
                max,
                found: payload.len(),
            });
        }
        self.input[slot * max..][..payload.len()].copy_from_slice(payload);
        black_box(&self.input);
        Ok(())
    }

    fn preprocess(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.spin(self.spec.preprocess * self.times(batch));
        Ok(())
    }

    fn infer(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.spin(self.spec.infer_fixed + self.spec.infer_per_request * self.times(batch));
        self.n_inferred = batch;
        Ok(())
    }

    fn copy_out(&mut self, slot: usize, reply: &mut [u8]) -> Result<usize, AcceleratorError> {
        assert!(
            slot < self.n_inferred,
            "slot {slot} of {} inferred",
            self.n_inferred
        );
        let needed = self.spec.output_bytes;
        let reply = room_for(needed, reply)?;
        reply.copy_from_slice(&self.output[slot * needed..][..needed]);
        Ok(needed)
    }

    fn synchronize(&mut self) -> Result<(), AcceleratorError> {
        Ok(())
    }

    fn payload_bytes(&self) -> usize {
        self.spec.max_payload_bytes
    }

    fn reply_bytes(&self) -> usize {
        self.spec.output_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A context whose iterations take a nanosecond each.
    fn context() -> SyntheticContext {
        let spec = SyntheticSpec {
            preprocess: Duration::from_nanos(5),
            infer_fixed: Duration::from_nanos(7),
            infer_per_request: Duration::from_nanos(11),
            max_payload_bytes: 8,
            output_bytes: 4,
        };
        SyntheticContext::new(spec, 2, SpinRate::from_round(1, Duration::from_nanos(1)))
    }

    #[test]
    fn iterations_are_rate_times_time() {
        let rate = SpinRate::from_round(500, Duration::from_micros(1));
        assert_eq!(rate.iterations(Duration::ZERO), 0);
        assert_eq!(rate.iterations(Duration::from_nanos(3)), 2);
        assert_eq!(rate.iterations(Duration::from_millis(10)), 5_000_000);
        assert_eq!(rate.iterations(Duration::from_secs(60)), 30_000_000_000);
    }

    #[test]
    fn no_iteration_is_skipped() {
        // The first states of the generator, from its definition.
        assert_eq!(spin(9, 0), 9);
        assert_eq!(spin(0, 1), 1_442_695_040_888_963_407);
        assert_eq!(spin(spin(1, 1000), 234), spin(1, 1234));
    }

    #[test]
    fn calibration_finds_a_positive_rate() {
        let iterations = SpinRate::calibrate().iterations(Duration::from_secs(1));
        // A core runs between a million and a hundred thousand million dependent steps a second.
        assert!(
            (1_000_000..100_000_000_000).contains(&iterations),
            "{iterations}"
        );
    }

    #[test]
    fn a_reply_is_the_content_of_its_slot() {
        let mut context = context();
        context.copy_in(0, &[1; 8]).unwrap();
        context.copy_in(1, &[]).unwrap();
        context.preprocess(2).unwrap();
        context.infer(2).unwrap();
        let mut reply = [0; 6];
        assert_eq!(context.copy_out(1, &mut reply).unwrap(), 4);
        assert_eq!(reply, [4, 5, 6, 7, 0, 0]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_named() {
        let mut context = context();
        context.infer(1).unwrap();
        insta::assert_snapshot!(
            context.copy_in(0, &[0; 9]).unwrap_err(),
            @"payload has 9 bytes, the context takes at most 8"
        );
        insta::assert_snapshot!(
            context.copy_out(0, &mut [0; 3]).unwrap_err(),
            @"reply buffer has 3 bytes, the reply has 4"
        );
    }

    #[test]
    #[should_panic(expected = "slot 1 of 1 inferred")]
    fn a_slot_that_was_not_inferred_has_no_reply() {
        let mut context = context();
        context.infer(1).unwrap();
        let _ = context.copy_out(1, &mut [0; 4]);
    }

    proptest! {
        #[test]
        fn more_time_never_means_fewer_iterations(
            per_round in 1_u64..1_000_000,
            a in 0_u64..1_000_000_000,
            b in 0_u64..1_000_000_000,
        ) {
            let rate = SpinRate::from_round(per_round, Duration::from_millis(1));
            let iterations = |ns| rate.iterations(Duration::from_nanos(ns));
            prop_assert!(iterations(a.min(b)) <= iterations(a.max(b)));
            // Each of the three is rounded by at most half an iteration.
            prop_assert!(iterations(a + b).abs_diff(iterations(a) + iterations(b)) <= 1);
        }
    }
}

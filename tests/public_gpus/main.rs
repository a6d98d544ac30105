//! The engine predicts published times of nets on GPUs that were held out from the fit.
//!
//! Each fold is fitted, a profile is made of the fit, and every point of the fold is simulated, with
//! nets that are served without a pause. Folds are by a hash of what names a point, so none was
//! chosen. What misses a goal is asserted to be as large as it is; DEVIATIONS.md says why. The tables
//! of errors by net are printed by
//!
//! ```text
//! cargo test --test public_gpus -- --nocapture --test-threads=1
//! ```

mod a100;
mod engine;
mod network;
mod table;
mod triton;
mod v100;

use calibrate::gpu::held_out::Errors;

/// Largest relative difference of a time of half a millisecond or more from the same one in a trace,
/// which has whole nanoseconds.
const ROUNDING: f64 = 4e-6;

/// Points to fit to and points held out, for each of `k` folds that has any.
fn folds<P: Copy>(points: &[P], k: usize, fold: impl Fn(&P) -> usize) -> Vec<(Vec<P>, Vec<P>)> {
    let folds = (0..k).map(|held| {
        let (test, train): (Vec<P>, Vec<P>) = points.iter().partition(|p| fold(p) == held);
        (train, test)
    });
    folds.filter(|(_, test)| !test.is_empty()).collect()
}

/// What a net says of its errors, which the engine does not look at.
fn unknown() -> Errors {
    Errors::of(&[(1.0, 1.0)])
}

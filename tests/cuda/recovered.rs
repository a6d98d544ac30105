//! What probes on the stand-in give back of the parameters that it was given, and what the recovered
//! profile predicts of loads that the fit never saw.
//!
//! They need the stand-in in place of the driver, as `tests/cuda/run` puts it. It decides times with the
//! engine's own model, so this holds fits and probes to known numbers, and says nothing about a GPU.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "recovered/known.rs"]
mod known;
#[path = "recovered/loads.rs"]
mod loads;
#[path = "recovered/pairs.rs"]
mod pairs;
#[path = "recovered/rig.rs"]
mod rig;
#[path = "../rounds/mod.rs"]
mod rounds;

use schema::profile::{Profile, parameter};

use known::known;
use rig::{PART, Rig};

/// How many GPUs of known parameters are drawn.
const SEEDS: u64 = 4;
/// Standard errors within which the truth must be: of a normal error, 3 in 1000 are outside. Here
/// errors are those of the clock, whose size is bounded.
const N_ERRORS: f64 = 3.0;
/// Largest standard error of an estimate, relative to it: wider, it would say nothing.
const WIDEST: f64 = 0.02;

/// The value by which an error is judged: that of a penalty, which may be next to nothing, by one of a
/// twentieth.
fn at_least(name: &str, value: f64) -> f64 {
    if name == parameter::DUPLEX_PENALTY {
        value.max(0.05)
    } else {
        value
    }
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn probes_give_back_the_parameters_of_a_gpu() {
    for seed in 0..SEEDS {
        let truth = known(seed);
        let rig = Rig::new(&truth, "virtual");
        let found = rig.calibrated();
        let (truth, part) = (&truth.parts[PART], &found.parts["this-gpu"]);
        for (name, known) in &truth.parameters {
            // What a data sheet says, and no time shows.
            if name == parameter::MEMORY {
                continue;
            }
            let estimate = &part.parameters[name];
            let what = format!("GPU {seed}: {name} is {known:?}, found {estimate:?}");
            let off = (estimate.value - known.value).abs();
            assert!(off <= N_ERRORS * estimate.standard_error, "{what}");
            assert!(
                estimate.standard_error < WIDEST * at_least(name, known.value),
                "{what}"
            );
        }
        // Less what each launches between its copies.
        let in_line = rig.copies_of_streams();
        let alone = truth.costs["h2d/pinned"].expected(4e6);
        let factor = in_line / alone;
        assert!(
            (factor - 3.0).abs() < 0.05,
            "three streams, {factor} times one"
        );
        assert_eq!(truth.costs.len(), 4);
        for (name, known) in &truth.costs {
            let law = &part.costs[name];
            let what = format!("GPU {seed}: {name} is {known:?}, found {law:?}");
            let [base, slope] = [law.base - known.base, law.slope - known.slope];
            assert!(base.abs() <= N_ERRORS * law.base_error, "{what}");
            assert!(slope.abs() <= N_ERRORS * law.slope_error, "{what}");
            assert!(law.base_error < WIDEST * known.base, "{what}");
            assert!(law.slope_error < WIDEST * known.slope, "{what}");
        }
    }
}

/// A profile with a number that is off by 5% is not inside the intervals: the test above is one.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_gpu_that_is_off_by_five_percent_is_outside_the_intervals() {
    let rig = Rig::new(&known(0), "virtual");
    let part = &rig.calibrated().parts["this-gpu"];
    for (name, estimate) in &part.parameters {
        let off = 0.05 * at_least(name, estimate.value);
        assert!(
            off > N_ERRORS * estimate.standard_error,
            "{name}: {estimate:?}"
        );
    }
    for (name, law) in &part.costs {
        assert!(
            0.05 * law.slope > N_ERRORS * law.slope_error,
            "{name}: {law:?}"
        );
        assert!(
            0.05 * law.base > N_ERRORS * law.base_error,
            "{name}: {law:?}"
        );
    }
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn pass_times_by_the_size_of_the_batch_hold_at_other_sizes() {
    for seed in 0..SEEDS {
        let rig = Rig::new(&known(seed), "virtual");
        let found = rig.calibrated();
        let net = &found.parts["this-gpu"].nets["batches"];
        assert_eq!(net.range.map(|n| n as u32), [1, 16]);
        assert!(net.held_out_error < 0.002, "{net:?}");
        for batch in [5, 7, 10, 14, 20] {
            let measured_s = rig.pass_of_batch(batch);
            let simulated_s = rig.simulated_pass_of_batch(&found, batch);
            let error = simulated_s / measured_s - 1.0;
            let what = format!("GPU {seed}, {batch}: {simulated_s} s, measured {measured_s} s");
            assert!(error.abs() < 0.005, "{what}");
        }
    }
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn images_of_other_sizes_become_tensors_as_fast_as_the_law_says() {
    for seed in 0..SEEDS {
        let rig = Rig::new(&known(seed), "virtual");
        let found = rig.calibrated();
        let net = &found.parts["this-gpu"].nets["preprocess"];
        assert_eq!(net.range.map(|n| n as u32), [204_750, 3_276_000]);
        for size in [[320, 240], [640, 480], [1024, 768]] {
            let [measured_s, simulated_s] = rig.tensor_of(&found, size);
            let error = simulated_s / measured_s - 1.0;
            let what = format!("GPU {seed}, {size:?}: {simulated_s} s, measured {measured_s} s");
            assert!(error.abs() < 0.005, "{what}");
        }
    }
}

/// The profile without what only names it.
fn with_name(profile: &Profile, name: &str) -> Profile {
    let mut profile = profile.clone();
    name.clone_into(&mut profile.name);
    profile
}

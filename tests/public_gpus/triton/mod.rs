//! An inference server at loads that its law was not fitted to.
#![expect(clippy::print_stdout, reason = "tables of errors are looked at")]

mod load;

use std::path::PathBuf;

use schema::profile::Profile;

use load::{FIGURES, errors, loads, serve, table};

/// Nothing is asked.
const NONE: f64 = f64::INFINITY;
/// Largest mean error that is asked for, by figure.
const GOALS: [f64; 7] = [0.07, 0.10, NONE, NONE, 0.20, 0.20, 0.20];

fn profile(gpu: &str) -> Profile {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios/profiles");
    let profile = Profile::load(&folder.join(format!("triton-{gpu}.toml")));
    profile.unwrap_or_else(|error| panic!("{error}"))
}

/// Asserts the goals for `gpu` at more than 48 requests outstanding, and that its mean errors are
/// `expected`, in tenths of a percent.
fn assert_predicts(gpu: &str, expected: [i32; 7]) {
    let profile = profile(gpu);
    let (_, held_out) = loads(gpu);
    println!("{gpu}\n{}", table(&profile, &held_out));
    let mut sums = [0.0; 7];
    for load in &held_out {
        for (sum, error) in sums.iter_mut().zip(errors(&serve(&profile, load), load)) {
            *sum += error.abs();
        }
    }
    let means = sums.map(|sum| sum / held_out.len() as f64);
    for ((figure, goal), mean) in FIGURES.iter().zip(GOALS).zip(means) {
        assert!(
            mean <= goal,
            "{gpu}: {figure}: {mean:.3} is more than {goal}"
        );
    }
    let rounded = means.map(|mean| (1000.0 * mean).round() as i32);
    assert_eq!(rounded, expected, "{gpu}: DEVIATIONS.md says otherwise");
}

#[test]
fn triton_on_an_a40_at_higher_loads() {
    assert_predicts("a40", [17, 30, 307, 133, 44, 76, 159]);
}

#[test]
fn triton_on_an_a100_at_higher_loads() {
    assert_predicts("a100", [44, 46, 248, 202, 150, 129, 116]);
}

//! What the engine adds to a cost on cores that have idled, calibration finds again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use crate::common::{PROXIED, base, profile};
use calibrate::{Calibration, Source, calibrate};
use schema::profile::{IdleLaw, Profile, Residual, cost};
use schema::run::Run;
use schema::scenario::Scenario;
use sim::simulate;

const IDLE: IdleLaw = IdleLaw {
    slowdown: 0.2,
    slowdown_error: 0.0,
    memory: 0.016,
};

/// A net in all but name: 4 ms, with noise, on cores that are slower after idling, or are not.
fn slower_after_idling(idle: Option<IdleLaw>) -> Profile {
    let mut profile = profile();
    let host = profile.parts.get_mut("this-machine").unwrap();
    let inference = host.costs.get_mut(&cost::inference("synthetic")).unwrap();
    inference.residual = Residual::Lognormal { sigma: 0.03 };
    inference.idle = idle;
    profile
}

/// One client, straight to the server, with short pauses and long ones.
fn run(profile: &Profile, seed: u64) -> Run {
    let overrides = [
        format!("run.seed={seed}"),
        "run.measure.requests=500".to_owned(),
        "placement.local.pin={ edge = [0], gateway = [0], server = [1] }".to_owned(),
        "stages.work.serve.synthetic.time=4 ms".to_owned(),
        "clients.0.count=1".to_owned(),
        "clients.0.path=[{ to = \"work\", over = \"tcp\" }]".to_owned(),
        "clients.0.arrivals.closed-loop.think={ mixture = [
            { share = 7, of = { exponential = \"500 us\" } },
            { share = 3, of = { exponential = \"13 ms\" } },
        ] }"
        .to_owned(),
    ];
    let text = PROXIED.to_owned();
    let scenario = Scenario::parse(Path::new("idle.toml"), text, &overrides).unwrap();
    simulate(&scenario, Some(profile), &base()).unwrap()
}

fn fit(run: &Run) -> Calibration {
    let source = Source {
        name: "run".to_owned(),
        run,
    };
    calibrate("again", &[source]).unwrap()
}

#[test]
fn the_slow_down_is_found_again() {
    let profile = slower_after_idling(Some(IDLE));
    let n = 100;
    let mut covered = 0;
    for seed in 0..n {
        let calibration = fit(&run(&profile, seed));
        let law = &calibration.profile.parts["this-machine"].costs[&cost::inference("synthetic")];
        let idle = law
            .idle
            .expect("a slow-down of a fifth shows in 500 requests");
        // Neighbouring memories are tried a factor of two apart, and can hardly be told apart.
        assert!((0.008..=0.032).contains(&idle.memory), "{idle:?}");
        assert!((law.slope - 1.0).abs() < 0.03, "{law:?}");
        let off = (idle.slowdown - IDLE.slowdown).abs();
        covered += u32::from(off <= 1.96 * idle.slowdown_error);
    }
    // Of 100 intervals of 95%, at least 88 cover with probability 99.9% (binomial); the choice of
    // the memory is not in the error, so this is a little less than is claimed.
    assert!(covered >= 85, "{covered} of {n}");
}

#[test]
fn without_a_slow_down_none_is_found() {
    let profile = slower_after_idling(None);
    let found = (0..100).filter(|seed| {
        let calibration = fit(&run(&profile, *seed));
        let law = &calibration.profile.parts["this-machine"].costs[&cost::inference("synthetic")];
        law.idle.is_some()
    });
    // One in 1000 by chance for each memory.
    assert!(found.count() <= 3);
}

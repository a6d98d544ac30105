//! Known laws come back, inside their errors at the stated rate.

use std::collections::BTreeMap;

use calibrate::{Calibration, Source, calibrate};
use schema::profile::{CostLaw, Driver, PartKind, parameter};
use schema::random::Seed;
use schema::run::{Run, SpanName};

use crate::synthetic::{LIGHT, draw, laws, run_of, scenario};

const N_SEEDS: u64 = 200;
/// Quantile of the normal for 95% intervals.
const Z: f64 = 1.96;
/// Of 200 intervals at 95%, binomial(200, 0.95), fewer than 178 cover the truth with probability
/// 0.02%, and all 200 with 0.004%. This file counts 24 times, so the chance that a right method
/// fails is 0.6%.
const COVERED: std::ops::RangeInclusive<u32> = 178..=199;

fn fitted(runs: &[(&str, &Run)]) -> Calibration {
    let sources: Vec<Source> = runs
        .iter()
        .map(|(name, run)| Source {
            name: (*name).to_owned(),
            run,
        })
        .collect();
    calibrate("test", &sources).expect("the runs can be fitted")
}

fn law<'a>(calibration: &'a Calibration, part: &str, cost: &str) -> &'a CostLaw {
    &calibration.profile.parts[part].costs[cost]
}

fn covers(estimate: f64, error: f64, truth: f64) -> u32 {
    u32::from((estimate - truth).abs() <= Z * error)
}

#[test]
fn intervals_of_every_law_cover_it_at_the_stated_rate() {
    let scenario = scenario(LIGHT, &["run.measure.requests=100"]);
    let truth = laws();
    let expected = [
        ("this", "prepare", &truth.prepare, true),
        ("this", "send/tcp", &truth.send, true),
        ("this", "receive/tcp", &truth.receive, true),
        ("loopback", "delay/tcp", &truth.delay, false),
        ("this", "dispatch", &truth.dispatch, false),
        ("this", "notify", &truth.notify, false),
    ];
    let mut covered: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for seed in 0..N_SEEDS {
        let run = run_of(&scenario, draw(&scenario, &truth, Seed(seed)), &[]);
        let calibration = fitted(&[("light", &run)]);
        for (part, cost, truth, _) in &expected {
            let law = law(&calibration, part, cost);
            let counts = covered.entry(cost).or_default();
            counts[0] += covers(law.base, law.base_error, truth.base);
            counts[1] += covers(law.slope, law.slope_error, truth.slope);
            // Not vacuous: 100 samples with a CV of 0.3 give the base of sizes so far apart
            // within some percent.
            assert!(law.base_error < 0.2 * law.base, "{cost}: {law:?}");
        }
    }

    for (_, cost, _, is_affine) in &expected {
        let [base, slope] = covered[cost];
        assert!(COVERED.contains(&base), "base of {cost}: {base}");
        assert!(
            !is_affine || COVERED.contains(&slope),
            "slope of {cost}: {slope}"
        );
    }
}

#[test]
fn costs_over_rdma_are_told_apart_as_post_completion_and_the_rest() {
    let truth = crate::synthetic::Laws {
        // All that adapters, wire and wake-up take, by bytes.
        delay: crate::synthetic::law(Driver::Bytes, 9e-6, 0.4e-9),
        ..laws()
    };
    for (completion, delay) in [("event", "delay/rdma"), ("poll", "delay/rdma/poll")] {
        let scenario = scenario(
            LIGHT,
            &[
                "run.measure.requests=100",
                "clients.0.path.0.over=rdma",
                &format!("clients.0.path.0.completion={completion}"),
                "hosts.edge.nic.part=adapter",
                "hosts.server.nic.part=adapter",
            ],
        );
        let completion = format!("completion/{completion}");
        let expected = [
            ("this", "post/rdma", &truth.send),
            ("this", &completion, &truth.receive),
            ("loopback", delay, &truth.delay),
        ];
        let mut covered: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
        for seed in 0..N_SEEDS {
            let run = run_of(&scenario, draw(&scenario, &truth, Seed(seed)), &[]);
            let calibration = fitted(&[("light", &run)]);
            let adapter = &calibration.profile.parts["adapter"];
            assert_eq!(adapter.kind, PartKind::Nic);
            for (part, cost, truth) in &expected {
                let law = law(&calibration, part, cost);
                let counts = covered.entry(cost).or_default();
                counts[0] += covers(law.base, law.base_error, truth.base);
                counts[1] += covers(law.slope, law.slope_error, truth.slope);
                assert_eq!(law.per, Driver::Bytes);
                assert!(law.range[1] >= 1_048_576.0, "long messages are samples too");
                assert!(law.base_error < 0.2 * law.base, "{cost}: {law:?}");
            }
        }
        for (cost, [base, slope]) in covered {
            assert!(COVERED.contains(&base), "base of {cost}: {base}");
            assert!(COVERED.contains(&slope), "slope of {cost}: {slope}");
        }
    }
}

#[test]
fn a_known_error_falls_outside() {
    let scenario = scenario(LIGHT, &[]);
    let truth = laws();
    let run = run_of(&scenario, draw(&scenario, &truth, Seed(0)), &[]);
    let calibration = fitted(&[("light", &run)]);
    let law = law(&calibration, "this", "prepare");
    assert_eq!(
        covers(law.base, law.base_error, 1.25 * truth.prepare.base),
        0
    );
    assert_eq!(
        covers(law.slope, law.slope_error, 1.25 * truth.prepare.slope),
        0
    );
}

#[test]
fn two_synthetic_times_identify_the_inference_law() {
    let (short, long) = (
        scenario(LIGHT, &["run.measure.requests=100"]),
        scenario(
            LIGHT,
            &[
                "run.measure.requests=100",
                "stages.work.serve.synthetic.time=\"20 ms\"",
            ],
        ),
    );
    let truth = laws();
    let mut covered = [0; 2];
    let inference = |scenario: &_, seed| {
        let mut trace = draw(scenario, &truth, Seed(seed));
        trace.retain(|s| matches!(s.name, SpanName::Request | SpanName::Inference));
        run_of(scenario, trace, &[])
    };
    for seed in 0..N_SEEDS {
        let a = inference(&short, seed);
        let b = inference(&long, seed + N_SEEDS);
        let calibration = fitted(&[("short", &a), ("long", &b)]);
        let law = law(&calibration, "this", "inference/synthetic");
        assert!(law.range[0] < law.range[1]);
        // The base is 2% of the short time, so it is often not told from zero; the interval is
        // that of the full law.
        covered[0] += covers(law.base, law.base_error, truth.inference.base);
        covered[1] += covers(law.slope, law.slope_error, truth.inference.slope);
    }

    assert!(COVERED.contains(&covered[1]), "{covered:?}");
    assert!(covered[0] >= *COVERED.start(), "{covered:?}");
}

#[test]
fn stolen_time_raises_the_mean_but_does_not_tilt_the_law() {
    let scenario = scenario(LIGHT, &["run.measure.requests=3000"]);
    let truth = laws();
    let mut trace = draw(&scenario, &truth, Seed(0));
    let prepare = trace
        .iter_mut()
        .filter(|s| s.name == SpanName::Prepare && s.request.seq() >= 20);
    // Four milliseconds are stolen from every 500th request, whatever its size: from some of the
    // smallest, that otherwise take 20 us.
    let (mut total_s, mut n_stolen) = (0.0, 0);
    for (index, span) in prepare.enumerate() {
        if index % 500 == 0 {
            span.end_ns += 4_000_000;
            n_stolen += 1;
        }
        total_s += span.service_s();
    }
    assert_eq!(n_stolen, 6);
    let run = run_of(&scenario, trace, &[]);
    let calibration = fitted(&[("light", &run)]);
    let law = law(&calibration, "this", "prepare");
    let predicted_s: f64 = run
        .trace
        .iter()
        .filter(|s| s.name == SpanName::Prepare && s.request.seq() >= 20)
        .map(|s| law.expected(s.bytes as f64))
        .sum();
    assert!((predicted_s / total_s - 1.0).abs() < 1e-6);
    let ratio = law.base / law.slope / (truth.prepare.base / truth.prepare.slope);
    assert!((ratio - 1.0).abs() < 0.05, "{ratio}: {law:?}");
}

#[test]
fn contention_is_recovered_from_runs_beside_different_loads() {
    let one = scenario(LIGHT, &["run.measure.requests=100"]);
    let truth = 0.4;
    let (mut covered, mut errors) = (0, 0.0);
    for seed in 0..N_SEEDS {
        let runs: Vec<Run> = [0.0, 0.2, 0.5, 0.9]
            .iter()
            .zip(0..)
            .map(|(busy, index)| {
                let laws = crate::synthetic::Laws {
                    slowdown: 1.0 + truth * busy,
                    ..laws()
                };
                let mut trace = draw(&one, &laws, Seed(seed * 4 + index));
                trace.retain(|s| matches!(s.name, SpanName::Request | SpanName::Inference));
                run_of(&one, trace, &[("client edge", *busy), ("server work", 0.7)])
            })
            .collect();
        let named: Vec<(&str, &Run)> = runs.iter().map(|run| ("run", run)).collect();
        let calibration = fitted(&named);
        let found = &calibration.profile.parts["this"].parameters[parameter::CONTENTION];
        covered += covers(found.value, found.standard_error, truth);
        errors += found.standard_error;
    }
    assert!(errors / (N_SEEDS as f64) < 0.1, "{errors}");

    assert!(COVERED.contains(&covered), "{covered}");
}

#[test]
fn exact_costs_give_exact_laws() {
    let scenario = scenario(LIGHT, &["run.measure.requests=30"]);
    let mut laws = laws();
    for law in [
        &mut laws.prepare,
        &mut laws.send,
        &mut laws.receive,
        &mut laws.delay,
    ] {
        law.residual = schema::profile::Residual::None;
    }
    let run = run_of(&scenario, draw(&scenario, &laws, Seed(0)), &[]);
    let calibration = fitted(&[("light", &run)]);
    for (cost, truth) in [("prepare", &laws.prepare), ("send/tcp", &laws.send)] {
        let law = law(&calibration, "this", cost);
        // Spans are cut to nanoseconds.
        assert!((law.base - truth.base).abs() < 1e-9, "{cost}: {law:?}");
        assert!(
            (law.slope / truth.slope - 1.0).abs() < 1e-4,
            "{cost}: {law:?}"
        );
        assert_eq!(law.residual, schema::profile::Residual::None);
        assert!(law.held_out_error < 1e-3);
    }
}

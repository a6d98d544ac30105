//! Loads that the fit never saw, measured and predicted.

use std::path::Path;

use schema::profile::Profile;
use schema::run::{Run, SpanName, Status};

use crate::known::known;
use crate::rig::{ROOT, Rig};
use crate::rounds::{Figure, Round, is_steady, judge};
use crate::{SEEDS, with_name};

/// Largest error of a mean, relative to what was measured.
const TOLERANCE: f64 = 0.03;
/// The same of what is on the GPU behind TCP: when its work comes depends on the host.
const ON_GPU: f64 = 0.2;
/// The same end to end, on cores that others use too.
const END_TO_END: f64 = 0.35;
const MOST_ROUNDS: usize = 10;
/// How the clients of a load share the GPU.
const SHARED: [(&str, &str); 2] = [("streams", "processes"), ("processes", "streams")];

/// Mean time from when it was ready of what has this name, without the warm-up, in seconds.
fn mean_s(run: &Run, name: SpanName, warmup: u32) -> f64 {
    let counts = |span: &&schema::run::Span| {
        span.name == name && span.status == Status::Ok && span.request.seq() >= warmup
    };
    let times: Vec<f64> = run
        .trace
        .iter()
        .filter(counts)
        .map(|span| span.length_s())
        .collect();
    schema::stats::mean(&times)
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn loads_of_one_to_eight_clients_are_predicted_within_three_percent() {
    let scenario = Path::new(ROOT).join("tests/cuda/recovered/load.toml");
    let mut worst: f64 = 0.0;
    for seed in 0..SEEDS {
        let rig = Rig::new(&known(seed), "virtual");
        let profile = with_name(&rig.calibrated(), "recovered");
        for (many, one) in SHARED {
            for n in 1..=8 {
                let settings = vec![
                    format!("clients.0.count={n}"),
                    format!("stages.net.gpu.{many}=8"),
                    format!("stages.net.gpu.{one}=1"),
                ];
                let name = format!("load-{many}-{n}");
                let measured = rig.measured(&scenario, &settings, &name);
                let name = format!("{name}-simulated");
                let predicted = rig.simulated(&profile, &scenario, &settings, &name);
                let names = [
                    SpanName::Request,
                    SpanName::H2d,
                    SpanName::Inference,
                    SpanName::D2h,
                ];
                for name in names {
                    let [m, p] = [&measured, &predicted].map(|run| mean_s(run, name, 20));
                    let error = p / m - 1.0;
                    eprintln!(
                        "GPU {seed}, {n} {many}, {name:?}: {m:.6} s, {:+.2}%",
                        1e2 * error
                    );
                    assert!(error.abs() < TOLERANCE, "GPU {seed}, {n} {many}, {name:?}");
                    worst = worst.max(error.abs());
                }
            }
        }
    }
    eprintln!("largest error: {:.3}%", 1e2 * worst);
}

/// The same net behind TCP: the host's cores are in it, and what else runs on the machine. The GPU is
/// fitted to probes on the machine's clock once, the host in each round.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn loads_over_tcp_are_predicted_as_far_as_the_host_is_quiet() {
    let scenario = Path::new(ROOT).join("tests/cuda/recovered/tcp.toml");
    let rig = Rig::new(&known(0), "wall");
    judge(MOST_ROUNDS, |first, last| {
        let round = |round| {
            let (profile, before) = rig.calibrated_with_host(round);
            let figures = SHARED.iter().flat_map(|&(many, one)| {
                let of = |n| over_tcp(&rig, &profile, &scenario, (many, one), n, round);
                [1, 2, 4, 8].into_iter().flat_map(of).collect::<Vec<_>>()
            });
            let figures = figures.collect();
            let after = rig.wire(&format!("after-{round}"));
            Round {
                steady: is_steady(&before, &after),
                figures,
            }
        };
        (first..=last).map(round).collect()
    });
}

/// Mean times of `n` clients that share the GPU by `many` and not by `one`, of its part and end to end.
fn over_tcp(
    rig: &Rig,
    profile: &Profile,
    scenario: &Path,
    (many, one): (&str, &str),
    n: u32,
    round: usize,
) -> [Figure; 2] {
    let settings = vec![
        format!("clients.0.count={n}"),
        format!("stages.net.gpu.{many}=8"),
        format!("stages.net.gpu.{one}=1"),
    ];
    let name = format!("tcp-{many}-{n}-{round}");
    let measured = rig.measured(scenario, &settings, &name);
    let name = format!("{name}-simulated");
    let predicted = rig.simulated(profile, scenario, &settings, &name);
    let figures = [
        (SpanName::Inference, ON_GPU),
        (SpanName::Request, END_TO_END),
    ];
    figures.map(|(name, tolerance)| Figure {
        name: format!("{n} {many}, {name:?}"),
        measured: mean_s(&measured, name, 10),
        predicted: mean_s(&predicted, name, 10),
        tolerance,
    })
}

//! Loads that the fit never saw, measured and predicted.

use std::path::Path;

use schema::run::{Run, SpanName, Status};

use crate::known::known;
use crate::rig::{ROOT, Rig};
use crate::{SEEDS, with_name};

/// Largest error of a mean, relative to what was measured.
const TOLERANCE: f64 = 0.03;
/// The same of what is on the GPU behind TCP: when its work comes depends on the host.
const ON_GPU: f64 = 0.2;
/// The same end to end, on cores that others use too.
const END_TO_END: f64 = 0.35;
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

/// The same net behind TCP: the host's cores are in it, and what else runs on the machine. Host and GPU
/// are fitted to probes on the machine's clock.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn loads_over_tcp_are_predicted_as_far_as_the_host_is_quiet() {
    let scenario = Path::new(ROOT).join("tests/cuda/recovered/tcp.toml");
    let rig = Rig::new(&known(0), "wall");
    let profile = rig.calibrated_with_host();
    for (many, one) in SHARED {
        for n in [1, 2, 4, 8] {
            let settings = vec![
                format!("clients.0.count={n}"),
                format!("stages.net.gpu.{many}=8"),
                format!("stages.net.gpu.{one}=1"),
            ];
            let name = format!("tcp-{many}-{n}");
            let measured = rig.measured(&scenario, &settings, &name);
            let name = format!("{name}-simulated");
            let predicted = rig.simulated(&profile, &scenario, &settings, &name);
            for (name, tolerance) in [
                (SpanName::Inference, ON_GPU),
                (SpanName::Request, END_TO_END),
            ] {
                let [m, p] = [&measured, &predicted].map(|run| mean_s(run, name, 10));
                let error = p / m - 1.0;
                let what = format!("{n} {many}, {name:?}: {m:.6} s, {:+.2}%", 1e2 * error);
                eprintln!("{what}");
                assert!(error.abs() < tolerance, "{what}");
            }
        }
    }
}

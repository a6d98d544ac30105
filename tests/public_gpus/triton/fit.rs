//! Fits the law of an inference server to the lower loads of one, through the engine, and writes its
//! profile:
//!
//! ```text
//! cargo run --release --example triton_parts -- scenarios/profiles
//! ```
//!
//! Minimised is the sum of absolute logarithms of predicted over measured: throughput (twice), the 90th
//! percentile and the parts of the time of a request, at 16, 32 and 48 requests outstanding; and the time of single
//! requests of 1 to 128 images. It is rugged, as batches form differently when anything changes; so
//! simplices (Nelder and Mead, 1965) start from several points, are restarted once where they end, and
//! the lowest sum of all is the fit, whatever it predicts of other loads.
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

mod load;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use argmin::core::{CostFunction, Executor, State};
use argmin::solver::neldermead::NelderMead;
use calibrate::gpu::server::ServerLaw;
use calibrate::gpu::tables::ServedLoad;
use rayon::prelude::*;
use schema::gpu::GpuNet;
use schema::profile::{PROFILE_FORMAT, Part, Profile, cost};
use schema::random::{Seed, stream, uniform};

/// Where the simplices start, before they are moved: GPU, and the parameters of its server, which a
/// coarser model of the same mechanism gave for the same loads; in seconds.
const START: [(&str, [f64; 11]); 4] = [
    (
        "a40",
        [
            90e-6, 180e-6, 1.2, 460e-6, 480e-6, 196e-6, 22e-6, 65e-6, 0.8, 39.0, 33e-6,
        ],
    ),
    (
        "a100",
        [
            65e-6, 103e-6, 1.3, 320e-6, 830e-6, 108e-6, 27e-6, 67e-6, 0.66, 70.0, 32e-6,
        ],
    ),
    (
        "v100",
        [
            200e-6, 75e-6, 0.6, 640e-6, 1040e-6, 149e-6, 23e-6, 76e-6, 0.63, 36.0, 35e-6,
        ],
    ),
    (
        "t4",
        [
            210e-6, 139e-6, 0.55, 810e-6, 1130e-6, 293e-6, 19e-6, 75e-6, 0.53, 33.0, 18e-6,
        ],
    ),
];
/// Number of starts.
const STARTS: u32 = 3;
/// Standard deviation of the logarithms of a start.
const SPREAD: f64 = 0.1;
/// Edge of a simplex, in logarithms.
const EDGE: f64 = 0.15;
/// Most steps of a simplex.
const STEPS: u64 = 150;
/// No parameter becomes larger or smaller than its start by more than this factor.
const FARTHEST: f64 = 10.0;

/// The loads of a server, to which its law is fitted.
#[derive(Clone)]
struct Fit<'a> {
    gpu: &'a str,
    part: &'a Part,
    loads: &'a [ServedLoad],
    start: &'a [f64; 11],
}

impl Fit<'_> {
    fn law(&self, logs: &[f64]) -> ServerLaw {
        let logs: [f64; 11] = logs.try_into().expect("a law has eleven parameters");
        ServerLaw::from_array(logs.map(f64::exp))
    }

    fn profile(&self, law: &ServerLaw, source: &str) -> Profile {
        profile(self.gpu, self.part, law, self.loads.len() as u64, source)
    }

    fn loss(&self, logs: &[f64]) -> f64 {
        let far = |(log, start): (&f64, &f64)| (log - start.ln()).abs() > FARTHEST.ln();
        if logs.iter().zip(self.start).any(far) {
            return f64::INFINITY;
        }
        let profile = self.profile(&self.law(logs), "a trial");
        let losses = self.loads.iter().map(|load| {
            let served = load::serve(&profile, load);
            let error = |predicted: f64, measured: f64| (predicted / measured).ln().abs();
            match (served.parts, load.parts) {
                (Some(p), Some(m)) => {
                    2.0 * error(served.throughput, load.throughput)
                        + error(served.p90, load.p90)
                        + error(p.network, m.network)
                        + error(p.queue, m.queue)
                        + error(p.input, m.input)
                        + error(p.inference, m.inference)
                }
                _ => 0.7 * error(served.latency, load.latency),
            }
        });
        losses.sum()
    }

    /// The least loss from the start number `index`, and its parameters.
    fn descend(&self, index: u32) -> (f64, Vec<f64>) {
        let mut rng = stream(Seed(u64::from(index)), "start");
        let mut at: Vec<f64> = (self.start.iter())
            .map(|start| start.ln() + SPREAD * normal(uniform(&mut rng)))
            .collect();
        let mut least = f64::INFINITY;
        for _ in 0..2 {
            let mut simplex = vec![at.clone()];
            for axis in 0..at.len() {
                let mut corner = at.clone();
                corner[axis] += EDGE;
                simplex.push(corner);
            }
            let done = Executor::new(self.clone(), NelderMead::new(simplex))
                .configure(|state| state.max_iters(STEPS))
                .run()
                .expect("a simplex moves on");
            least = done.state().get_best_cost();
            at.clone_from(
                done.state()
                    .get_best_param()
                    .expect("a simplex has corners"),
            );
        }
        (least, at)
    }
}

impl CostFunction for Fit<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, logs: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        Ok(self.loss(logs))
    }
}

/// The profile of a server with the fitted `law` and the GPU of `part`, which is called `gpu`.
fn profile(gpu: &str, part: &Part, law: &ServerLaw, samples: u64, source: &str) -> Profile {
    let [host, way] = law.parts(samples, source);
    let mut gpu_part = part.clone();
    // What it keeps in memory is not published; the part's own ResNet-50 is as large.
    let net = GpuNet {
        memory: part.nets["resnet50@224"].memory,
        ..law.net(samples, 0.07, source)
    };
    gpu_part.nets = [("resnet50-tensorrt@224".to_owned(), net)].into();
    // The server gathers into locked memory of its own: `staging` is that, and the engine's copy
    // is one of locked memory.
    for direction in [cost::H2D, cost::D2H] {
        let pinned = gpu_part.costs[&format!("{direction}/pinned")].clone();
        gpu_part
            .costs
            .insert(format!("{direction}/pageable"), pinned);
    }
    let parts = [("server", host), ("way", way), (gpu, gpu_part)];
    Profile {
        format: PROFILE_FORMAT,
        name: format!("triton-{gpu}"),
        fitted_to: BTreeMap::new(),
        parts: parts.map(|(name, part)| (name.to_owned(), part)).into(),
    }
}

/// The standard normal variate at probability `u`.
fn normal(u: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().inverse_cdf(u)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, only @ ..] = arguments.as_slice() else {
        return Err("usage: triton_parts FOLDER [GPU…]".into());
    };
    let folder = PathBuf::from(folder);
    for (gpu, start) in &START {
        if !only.is_empty() && !only.contains(&(*gpu).to_owned()) {
            continue;
        }
        let path = PathBuf::from(format!("scenarios/profiles/{gpu}.toml"));
        let part = Profile::load(&path)?.parts[*gpu].clone();
        let (loads, others) = load::loads(gpu);
        let fit = Fit {
            gpu,
            part: &part,
            loads: &loads,
            start,
        };
        let starts: Vec<(f64, Vec<f64>)> = (0..STARTS)
            .into_par_iter()
            .map(|index| {
                let (loss, logs) = fit.descend(index);
                let profile = fit.profile(&fit.law(&logs), "a trial");
                let table = load::table(&profile, &others);
                println!("{gpu}: start {index}: loss {loss:.4}\n{table}");
                (loss, logs)
            })
            .collect();
        let best = starts.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let (loss, logs) = best.expect("there is a start");
        let source = format!(
            "fitted through the engine to {} loads of NVIDIA/DeepLearningExamples, Triton resnet50 \
             (table triton-resnet50): single requests of 1 to 128 images, and 16, 32 and 48 \
             outstanding; sum of absolute logarithms {loss:.3}",
            loads.len()
        );
        let profile = fit.profile(&fit.law(logs), &source);
        let text = format!(
            "# Written by `cargo run --release --example triton_parts -- scenarios/profiles`.\n\
             # How it was fitted: calibrate/METHODOLOGY.md. The GPU is that of {gpu}.toml, with one net.\n{}",
            profile.to_toml()
        );
        let path = folder.join(format!("triton-{gpu}.toml"));
        std::fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

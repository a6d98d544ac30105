//! Fits the law of an inference server to the lower loads of one, through the engine, and writes its
//! profile:
//!
//! ```text
//! cargo run --release --example triton_parts -- scenarios/profiles
//! cargo run --release --example triton_parts -- scenarios/profiles --kept   # the errors alone
//! ```
//!
//! Minimised is the sum of absolute logarithms of predicted over measured: throughput (twice), the 90th
//! percentile and the parts of the time of a request, at 16, 32 and 48 requests outstanding; and the time of single
//! requests of 1 to 128 images. It is rugged, as batches form differently when anything changes; so
//! simplices (Nelder and Mead, 1965) start from several points, are restarted once where they end, and
//! the lowest sum of all is the fit, whatever it predicts of other loads.
//!
//! The profile's `spread` is that of least squares at this point ([`calibrate::spread`]), by central
//! differences through the engine over [`STEP`] of each parameter, long enough to look past the ruggedness.
//! Figures of one kind have the deviation of their residuals, widened by `√(n / (n - 11))`. As weak
//! observations no parameter is off by more than [`FARTHEST`] (two deviations). With `--kept` the parameters
//! are those of the profile that is there. The `scatter` of the studies is printed.
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

mod load;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use argmin::core::{CostFunction, Executor, State};
use argmin::solver::neldermead::NelderMead;
use calibrate::gpu::server::ServerLaw;
use calibrate::gpu::tables::ServedLoad;
use calibrate::spread::{Observation, directions, scatter};
use rayon::prelude::*;
use schema::gpu::GpuNet;
use schema::profile::{Direction, PROFILE_FORMAT, Part, Profile, cost};
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

/// Half of what a parameter is moved by for a derivative, in logarithms.
const STEP: f64 = 0.1;
/// The net in the profile.
const NET: &str = "resnet50-tensorrt@224";

/// What a figure is of; those of one kind are taken to be off alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Throughput,
    P90,
    /// A part of the time of a request.
    Part,
    /// The time of a request that is alone.
    Alone,
}

/// The figures of a load that the law is fitted to.
fn figures(load: &ServedLoad) -> Vec<(Kind, f64)> {
    match load.parts {
        Some(parts) => vec![
            (Kind::Throughput, load.throughput),
            (Kind::P90, load.p90),
            (Kind::Part, parts.network),
            (Kind::Part, parts.queue),
            (Kind::Part, parts.input),
            (Kind::Part, parts.inference),
        ],
        None => vec![(Kind::Alone, load.latency)],
    }
}

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

    /// Logarithms of all figures as the engine finds them with these parameters.
    fn predicted(&self, logs: &[f64]) -> Vec<f64> {
        let profile = self.profile(&self.law(logs), "a trial");
        let figures = self
            .loads
            .iter()
            .zip(self.measured())
            .flat_map(|(load, kinds)| {
                let mut served = load::serve(&profile, load);
                // A request that is alone has parts too, but none were measured.
                served.parts = load.parts.and(served.parts);
                assert_eq!(figures(&served).len(), kinds.len(), "the same figures");
                figures(&served)
            });
        figures.map(|(_, value)| value.ln()).collect()
    }

    /// The figures that were measured, by load.
    fn measured(&self) -> Vec<Vec<(Kind, f64)>> {
        self.loads.iter().map(figures).collect()
    }

    /// The directions in which the parameters may be off, and the scatter of throughput (and so of the mean
    /// time, by Little's law) and of the 90th percentile.
    fn spread(&self, logs: &[f64]) -> (BTreeMap<String, Direction>, [f64; 2]) {
        let measured: Vec<(Kind, f64)> = self.measured().concat();
        let at = self.predicted(logs);
        let residuals = at.iter().zip(&measured);
        let residuals: Vec<f64> = residuals.map(|(p, (_, m))| p - m.ln()).collect();
        let n = residuals.len() as f64;
        let terms = logs.len() as f64 / n;
        let of = |kind: Kind| -> Vec<f64> {
            let all = residuals.iter().zip(&measured);
            all.filter(|(_, (other, _))| *other == kind)
                .map(|(residual, _)| *residual)
                .collect()
        };
        let deviation = |kind: Kind| {
            let all = of(kind);
            let squares: f64 = all.iter().map(|r| r * r).sum();
            (squares / (all.len() as f64 * (1.0 - terms))).sqrt()
        };
        let moved: Vec<Vec<f64>> = (0..logs.len())
            .into_par_iter()
            .map(|axis| {
                let side = |step: f64| {
                    let mut logs = logs.to_vec();
                    logs[axis] += step;
                    self.predicted(&logs)
                };
                let pairs = side(STEP).into_iter().zip(side(-STEP));
                pairs.map(|(up, down)| (up - down) / (2.0 * STEP)).collect()
            })
            .collect();
        let figures = measured.iter().enumerate();
        let mut observations: Vec<Observation> = figures
            .map(|(index, (kind, _))| Observation {
                derivatives: moved.iter().map(|slopes| slopes[index]).collect(),
                deviation: deviation(*kind),
            })
            .collect();
        observations.extend((0..logs.len()).map(|axis| {
            let mut derivatives = vec![0.0; logs.len()];
            derivatives[axis] = 1.0;
            Observation {
                derivatives,
                deviation: FARTHEST.ln() / 2.0,
            }
        }));
        let followers = self.law(logs).followers(self.gpu, NET);
        let name = format!("triton-{}", self.gpu);
        let directions = directions(&name, &observations, &followers);
        let scatters = [Kind::Throughput, Kind::P90].map(|kind| {
            let residuals = of(kind);
            scatter(&residuals, terms * residuals.len() as f64)
        });
        (
            directions.expect("no parameter is without an observation"),
            scatters,
        )
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
    gpu_part.nets = [(NET.to_owned(), net)].into();
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
        spread: BTreeMap::new(),
        parts: parts.map(|(name, part)| (name.to_owned(), part)).into(),
    }
}

/// The fit to the loads of `fit`, and its parameters as logarithms; prints what each start predicts of
/// `others`.
fn fitted(fit: &Fit, others: &[ServedLoad]) -> (Profile, Vec<f64>) {
    let gpu = fit.gpu;
    let starts: Vec<(f64, Vec<f64>)> = (0..STARTS)
        .into_par_iter()
        .map(|index| {
            let (loss, logs) = fit.descend(index);
            let profile = fit.profile(&fit.law(&logs), "a trial");
            let table = load::table(&profile, others);
            println!("{gpu}: start {index}: loss {loss:.4}\n{table}");
            (loss, logs)
        })
        .collect();
    let best = starts.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let (loss, logs) = best.expect("there is a start");
    let source = format!(
        "fitted through the engine to {} loads of NVIDIA/DeepLearningExamples, Triton resnet50 \
         (table triton-resnet50): single requests of 1 to 128 images, and 16, 32 and 48 \
         outstanding; sum of absolute logarithms {loss:.3}",
        fit.loads.len()
    );
    (fit.profile(&fit.law(&logs), &source), logs)
}

/// The profile that is there, and the parameters in it as logarithms.
fn kept(path: &Path, gpu: &str) -> Result<(Profile, Vec<f64>), Box<dyn Error>> {
    let profile = Profile::load(path)?;
    let [host, way, gpu] = ["server", "way", gpu].map(|part| &profile.parts[part]);
    let law = ServerLaw::from_parts(host, way, &gpu.nets[NET]);
    let law = law.ok_or("the profile is not of a server")?;
    let logs = law.to_array().map(f64::ln).to_vec();
    Ok((profile, logs))
}

/// The standard normal variate at probability `u`.
fn normal(u: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().inverse_cdf(u)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, only @ ..] = arguments.as_slice() else {
        return Err("usage: triton_parts FOLDER [--kept] [GPU…]".into());
    };
    let folder = PathBuf::from(folder);
    let (is_kept, only) = match only {
        [first, only @ ..] if first == "--kept" => (true, only),
        only => (false, only),
    };
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
        let path = folder.join(format!("triton-{gpu}.toml"));
        let (mut profile, logs) = if is_kept {
            kept(&path, gpu)?
        } else {
            fitted(&fit, &others)
        };
        let (spread, [throughput, p90]) = fit.spread(&logs);
        profile.spread = spread;
        println!(
            "{gpu}: scatter = {{ throughput = {throughput:.3}, mean = {throughput:.3}, p90 = {p90:.3} }}"
        );
        let text = format!(
            "# Written by `cargo run --release --example triton_parts -- scenarios/profiles`.\n\
             # How it was fitted: calibrate/METHODOLOGY.md. The GPU is that of {gpu}.toml, with one net.\n{}",
            profile.to_toml()
        );
        std::fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

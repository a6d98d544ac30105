//! Fits a net on one of eight GPUs behind a network, and the way to it, and writes the profile:
//!
//! ```text
//! cargo run --release --example network_parts -- scenarios/profiles
//! cargo run --release --example network_parts -- scenarios/profiles --kept   # the errors alone
//! ```
//!
//! The time of an image follows from the offline rate. What a batch takes beside is the one of
//! [`CANDIDATES`] with the least sum of absolute logarithms of predicted over measured median, 90th, 99th
//! and 99.9th percentile, when what passes on the way makes up the mean.
//!
//! The profile's `spread` is that of least squares at this point ([`calibrate::spread`]) over mean, median,
//! 90th and 99th percentile and the offline rate, five figures for three parameters, by central differences
//! through the engine. With `--kept` the parameters are those of the profile that is there. The `scatter` of
//! the studies is printed.
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

mod load;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use calibrate::gpu::tables::{NetworkLoad, mlperf_network_a100};
use calibrate::spread::{Observation, directions, scatter};
use rayon::prelude::*;
use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{
    CostLaw, Direction, Driver, PROFILE_FORMAT, Part, PartKind, Profile, Residual, cost,
};
use schema::scenario::Transport;

/// Number of times of a batch beside its images that are tried, up to [`LARGEST`] of its whole.
const CANDIDATES: u32 = 24;
/// Largest part of the time of the largest batch that does not depend on its size.
const LARGEST: f64 = 0.24;

/// Half of what a parameter is moved by for a derivative, in logarithms.
const STEP: f64 = 0.03;
/// How long the engine serves a load for a fit.
const LENGTH: &str = "8 s";
/// Times of a load that the spread is of; not the largest thousandth, of which nobody knows what makes it
/// (`DEVIATIONS.md`).
const N_TIMES: usize = 4;

/// What a net on one of the GPUs takes, and the way to it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct NetworkLaw {
    /// Time of a batch, whatever its size, in seconds.
    pass: f64,
    /// Time of an image more, in seconds.
    image: f64,
    /// What passes besides on the way, there and back, in seconds.
    way: f64,
}

impl NetworkLaw {
    /// With batches as large as may be, all GPUs together serve what they did offline.
    fn of(load: &NetworkLoad, pass: f64, way: f64) -> NetworkLaw {
        let largest = load.batch * load.gpus / load.offline;
        NetworkLaw {
            pass,
            image: (largest - pass) / load.batch,
            way,
        }
    }

    /// Requests per second that all GPUs serve offline.
    fn offline(&self, load: &NetworkLoad) -> f64 {
        load.batch * load.gpus / (self.pass + self.image * load.batch)
    }

    /// The law of the load's net in `profile`; `None` if there is none.
    fn from_profile(profile: &Profile, load: &NetworkLoad) -> Option<NetworkLaw> {
        let net = profile.parts.get("a100")?.nets.get(&net_of(load))?;
        let way = profile.parts.get(&way_of(load))?;
        match net.phases.first()?.compute {
            DriverLaw::Affine { base, slope, .. } => Some(NetworkLaw {
                pass: base,
                image: slope,
                way: 2.0 * way.costs.get(&cost::delay(Transport::Tcp))?.base,
            }),
            DriverLaw::Table(_) => None,
        }
    }
}

/// What the profile calls the load's net.
fn net_of(load: &NetworkLoad) -> String {
    format!("network-{}", load.net)
}

/// What the profile calls the way to it.
fn way_of(load: &NetworkLoad) -> String {
    format!("way-{}", load.net)
}

/// The directions in which a law may be off, by name, and the scatter of what it is fitted to.
fn spread(
    public: &Profile,
    load: &NetworkLoad,
    law: NetworkLaw,
) -> (BTreeMap<String, Direction>, f64) {
    // Logarithms of the times and of the offline rate.
    let predicted = |logs: [f64; 2]| -> Vec<f64> {
        let law = NetworkLaw {
            pass: law.pass * logs[0].exp(),
            image: law.image * logs[1].exp(),
            ..law
        };
        let mut trial = base(public);
        add(&mut trial, load, NetworkLaw { way: 0.0, ..law }, "a trial");
        let served = load::serve(&trial, load, LENGTH);
        let times = served[..N_TIMES].iter().map(|time| time + law.way);
        let all = times.chain([law.offline(load)]);
        all.map(f64::ln).collect()
    };
    let sides = [
        [0.0; 2],
        [STEP, 0.0],
        [-STEP, 0.0],
        [0.0, STEP],
        [0.0, -STEP],
    ];
    let found: Vec<Vec<f64>> = sides.into_par_iter().map(predicted).collect();
    let [at, sides @ ..] = &found[..] else {
        unreachable!("as many as were asked for");
    };
    let measured = load.times[..N_TIMES].iter().chain([&load.offline]);
    let residuals: Vec<f64> = at.iter().zip(measured).map(|(p, m)| p - m.ln()).collect();
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    let deviation = (squares / (residuals.len() as f64 - 3.0)).sqrt();
    let observations: Vec<Observation> = (0..at.len())
        .map(|index| {
            let slope = |up: usize| (sides[up][index] - sides[up + 1][index]) / (2.0 * STEP);
            let of_way = if index < N_TIMES {
                law.way / at[index].exp()
            } else {
                0.0
            };
            Observation {
                derivatives: vec![slope(0), slope(2), of_way],
                deviation,
            }
        })
        .collect();
    let net = net_of(load);
    let followers = [
        format!("a100/{net}/0/base"),
        format!("a100/{net}/0/slope"),
        format!("{}/{}/base", way_of(load), cost::delay(Transport::Tcp)),
    ];
    let followers = followers.map(|number| vec![(number, 1.0)]);
    let directions = directions(&net, &observations, &followers);
    (
        directions.expect("times and rate tell the three apart"),
        scatter(&residuals, 3.0),
    )
}

/// Adds `law` of the load's net to `profile`, which has the GPU and a host that takes no time.
fn add(profile: &mut Profile, load: &NetworkLoad, law: NetworkLaw, source: &str) {
    let net = GpuNet {
        per: Driver::Requests,
        range: [1.0, load.batch],
        samples: 6,
        held_out_error: 0.1,
        source: source.to_owned(),
        residual: Residual::None,
        // Estimates: that of the part's own ResNet-50; weights and workspace of BERT-Large in INT8.
        memory: if load.net == "resnet50" {
            2.9566e9
        } else {
            1.5e9
        },
        launches: 0,
        floor: DriverLaw::default(),
        phases: vec![Phase {
            overhead: DriverLaw::default(),
            compute: DriverLaw::affine(law.pass, law.image),
            parallelism: DriverLaw::constant(1.0),
            bytes: DriverLaw::default(),
            intensity: DriverLaw::default(),
        }],
        kernels: Vec::new(),
    };
    let gpu = profile
        .parts
        .get_mut("a100")
        .expect("the profile has the GPU");
    gpu.nets.insert(net_of(load), net);
    let delay = CostLaw {
        samples: 6,
        range: [1.0, 1.0],
        ..CostLaw::exact(Driver::Requests, law.way / 2.0, 0.0, source)
    };
    let way = Part {
        kind: PartKind::Link,
        parameters: BTreeMap::new(),
        costs: [(cost::delay(Transport::Tcp), delay)].into(),
        nets: BTreeMap::new(),
    };
    profile.parts.insert(way_of(load), way);
}

/// The A100 of `public`, its profile, without nets, and a host whose cores take no time.
fn base(public: &Profile) -> Profile {
    let mut gpu = public.parts["a100"].clone();
    gpu.nets.clear();
    let mut host = public.parts["no-time"].clone();
    for (tcp, local) in [
        (cost::send(Transport::Tcp), cost::send(Transport::Local)),
        (
            cost::receive(Transport::Tcp),
            cost::receive(Transport::Local),
        ),
    ] {
        let law = host.costs[&local].clone();
        host.costs.insert(tcp, law);
    }
    let parts = [("a100", gpu), ("no-time", host)];
    Profile {
        format: PROFILE_FORMAT,
        name: "mlperf-network-a100".to_owned(),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts: parts.map(|(name, part)| (name.to_owned(), part)).into(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, is_kept) = match &arguments[..] {
        [folder] => (folder, false),
        [folder, kept] if kept == "--kept" => (folder, true),
        _ => return Err("usage: network_parts FOLDER [--kept]".into()),
    };
    let path = PathBuf::from(folder).join("mlperf-network-a100.toml");
    let public = Profile::load(Path::new("scenarios/profiles/a100.toml"))?;
    let mut profile = if is_kept {
        Profile::load(&path)?
    } else {
        fitted(&public)
    };
    profile.spread.clear();
    for load in mlperf_network_a100() {
        let law = NetworkLaw::from_profile(&profile, &load);
        let law = law.ok_or("the profile lacks a net or the way to it")?;
        let (directions, scatter) = spread(&public, &load, law);
        profile.spread.extend(directions);
        println!("{}: scatter = {scatter:.3}", load.net);
    }
    let text = format!(
        "# Written by `cargo run --release --example network_parts -- scenarios/profiles`.\n\
         # How it was fitted: scenarios/mlperf/README.md. The GPU is that of a100.toml, with other nets.\n{}",
        profile.to_toml()
    );
    std::fs::write(&path, text)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The fit to all loads.
fn fitted(public: &Profile) -> Profile {
    let mut profile = base(public);
    for load in mlperf_network_a100() {
        let whole = load.batch * load.gpus / load.offline;
        let trials: Vec<(f64, NetworkLaw, [f64; 5])> = (0..=CANDIDATES)
            .into_par_iter()
            .map(|index| {
                let pass = whole * LARGEST * f64::from(index) / f64::from(CANDIDATES);
                let mut trial = base(public);
                add(
                    &mut trial,
                    &load,
                    NetworkLaw::of(&load, pass, 0.0),
                    "a trial",
                );
                let served = load::serve(&trial, &load, LENGTH);
                let way = (load.times[0] - served[0]).max(0.0);
                let times = served.map(|time| time + way);
                let errors = times.iter().zip(&load.times);
                let loss = errors.map(|(p, m)| (p / m).ln().abs()).sum();
                (loss, NetworkLaw::of(&load, pass, way), times)
            })
            .collect();
        let best = trials.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let (loss, law, times) = best.expect("there are candidates");
        for (loss, law, _) in &trials {
            println!(
                "{}: {:.4} s beside the images, {:.4} s on the way: {loss:.4}",
                load.net, law.pass, law.way
            );
        }
        println!(
            "{}: predicted {times:.4?}, measured {:.4?}",
            load.net, load.times
        );
        let source = format!(
            "fitted through the engine to MLPerf Inference v3.0, network division, NVIDIA, 8 A100: offline \
             and {} requests per second (table mlperf-network-a100); sum of absolute logarithms {loss:.3}",
            load.rate
        );
        add(&mut profile, &load, *law, &source);
    }
    profile
}

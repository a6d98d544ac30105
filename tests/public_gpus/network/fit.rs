//! Fits a net on one of eight GPUs behind a network, and the way to it, and writes the profile:
//!
//! ```text
//! cargo run --release --example network_parts -- scenarios/profiles
//! ```
//!
//! The time of an image follows from the offline rate. What a batch takes beside is the one of
//! [`CANDIDATES`] with the least sum of absolute logarithms of predicted over measured median, 90th, 99th
//! and 99.9th percentile, when what passes on the way makes up the mean.
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

mod load;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use calibrate::gpu::tables::{NetworkLoad, mlperf_network_a100};
use rayon::prelude::*;
use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Part, PartKind, Profile, Residual, cost};
use schema::scenario::Transport;

/// Number of times of a batch beside its images that are tried, up to [`LARGEST`] of its whole.
const CANDIDATES: u32 = 24;
/// Largest part of the time of the largest batch that does not depend on its size.
const LARGEST: f64 = 0.24;

/// What a net on one of the GPUs takes, and the way to it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct NetworkLaw {
    /// Time of a batch, whatever its size, in seconds.
    pass: f64,
    /// What passes besides on the way, there and back, in seconds.
    way: f64,
}

/// Adds `law` of the load's net to `profile`, which has the GPU and a host that takes no time.
fn add(profile: &mut Profile, load: &NetworkLoad, law: NetworkLaw, source: &str) {
    // With batches as large as may be, all GPUs together serve what they did offline.
    let largest = load.batch * load.gpus / load.offline;
    let image = (largest - law.pass) / load.batch;
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
            compute: DriverLaw::affine(law.pass, image),
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
    gpu.nets.insert(format!("network-{}", load.net), net);
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
    profile.parts.insert(format!("way-{}", load.net), way);
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
        parts: parts.map(|(name, part)| (name.to_owned(), part)).into(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: network_parts FOLDER".into());
    };
    let public = Profile::load(Path::new("scenarios/profiles/a100.toml"))?;
    let mut profile = base(&public);
    for load in mlperf_network_a100() {
        let whole = load.batch * load.gpus / load.offline;
        let trials: Vec<(f64, NetworkLaw, [f64; 5])> = (0..=CANDIDATES)
            .into_par_iter()
            .map(|index| {
                let pass = whole * LARGEST * f64::from(index) / f64::from(CANDIDATES);
                let mut trial = base(&public);
                add(&mut trial, &load, NetworkLaw { pass, way: 0.0 }, "a trial");
                let served = load::serve(&trial, &load, "8 s");
                let way = (load.times[0] - served[0]).max(0.0);
                let times = served.map(|time| time + way);
                let errors = times.iter().zip(&load.times);
                let loss = errors.map(|(p, m)| (p / m).ln().abs()).sum();
                (loss, NetworkLaw { pass, way }, times)
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
    let text = format!(
        "# Written by `cargo run --release --example network_parts -- scenarios/profiles`.\n\
         # How it was fitted: scenarios/mlperf/README.md. The GPU is that of a100.toml, with other nets.\n{}",
        profile.to_toml()
    );
    let path = PathBuf::from(folder).join("mlperf-network-a100.toml");
    std::fs::write(&path, text)?;
    println!("wrote {}", path.display());
    Ok(())
}

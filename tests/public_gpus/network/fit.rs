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

use std::error::Error;
use std::path::{Path, PathBuf};

use calibrate::gpu::tables::mlperf_network_a100;
use rayon::prelude::*;
use schema::profile::Profile;

use load::NetworkLaw;

/// Number of times of a batch beside its images that are tried, up to [`LARGEST`] of its whole.
const CANDIDATES: u32 = 24;
/// Largest part of the time of the largest batch that does not depend on its size.
const LARGEST: f64 = 0.24;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: network_parts FOLDER".into());
    };
    let public = Profile::load(Path::new("scenarios/profiles/a100.toml"))?;
    let mut profile = load::base(&public);
    for load in mlperf_network_a100() {
        let whole = load.batch * load.gpus / load.offline;
        let trials: Vec<(f64, NetworkLaw, [f64; 5])> = (0..=CANDIDATES)
            .into_par_iter()
            .map(|index| {
                let pass = whole * LARGEST * f64::from(index) / f64::from(CANDIDATES);
                let mut trial = load::base(&public);
                load::add(&mut trial, &load, NetworkLaw { pass, way: 0.0 }, "a trial");
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
        load::add(&mut profile, &load, *law, &source);
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

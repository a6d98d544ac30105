//! What the Rust peers share: the work, the command line, the record and a generator.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Customers a unit of time.
pub const ARRIVAL_RATE: f64 = 0.8;
/// At every station, in units of time.
pub const MEAN_SERVICE_TIME: f64 = 1.0;
const BATCHES: usize = 20;

/// What one run is asked to do.
pub struct Work {
    name: String,
    /// Single-server stations in series.
    pub n_stations: usize,
    pub customers: u32,
    pub seed: u64,
}

impl Work {
    /// Reads `<peer> <work> <customers> <seed>`.
    ///
    /// # Panics
    ///
    /// If the command line is another one.
    pub fn from_args() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let [_, name, customers, seed] = args.as_slice() else {
            panic!("usage: <peer> <work> <customers> <seed>");
        };
        Self {
            name: name.clone(),
            n_stations: match name.as_str() {
                "mm1" => 1,
                "tandem" => 3,
                other => panic!("`{other}` is neither mm1 nor tandem"),
            },
            customers: customers.parse().expect("a number of customers"),
            seed: seed.parse().expect("a seed"),
        }
    }

    /// Times `run` on the model and prints the record of the crate called `peer`. `sojourns` takes
    /// the sojourn times out of the model, in the order of departure.
    ///
    /// # Panics
    ///
    /// If not every customer departed.
    pub fn measure<M>(
        &self,
        peer: &str,
        mut model: M,
        run: impl FnOnce(&mut M),
        sojourns: impl FnOnce(M) -> Vec<f64>,
    ) {
        let start = Instant::now();
        run(&mut model);
        let seconds = start.elapsed().as_secs_f64();

        let sojourns = sojourns(model);
        let customers = self.customers as usize;
        assert_eq!(sojourns.len(), customers, "customers that departed");
        assert_eq!(customers % BATCHES, 0, "customers beyond whole batches");
        let batch_means: Vec<f64> = sojourns
            .chunks_exact(customers / BATCHES)
            .map(|batch| batch.iter().sum::<f64>() / batch.len() as f64)
            .collect();
        println!(
            r#"{{"peer": "{peer}", "version": "{}", "work": "{}", "customers": {customers}, "events": {}, "seconds": {seconds}, "mean_sojourn": {}, "batch_means": {batch_means:?}}}"#,
            locked_version(peer),
            self.name,
            customers * (1 + self.n_stations),
            batch_means.iter().sum::<f64>() / BATCHES as f64,
        );
    }
}

/// The version of a dependency that this build is locked to.
fn locked_version(package: &str) -> &'static str {
    include_str!("../Cargo.lock")
        .split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("every peer is a dependency")
}

/// The inverse of the exponential distribution function of the given mean, at `u` from `[0, 1)`.
pub fn exponential(mean: f64, u: f64) -> f64 {
    -mean * (1.0 - u).ln()
}

/// SplitMix64, for the framework that brings no generator.
#[derive(Serialize, Deserialize)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A stream of its own for every pair.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mixer = Self(seed);
        let base = mixer.next();
        let mut mixer = Self(base ^ stream);
        Self(mixer.next())
    }

    /// Uniform on `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

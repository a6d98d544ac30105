//! Requests per second of wall time, on one thread: 16 closed loops that share a GPU by 16 streams,
//! with a ResNet-50 of 60 kernels and with one of a single phase.
//!
//! ```text
//! cargo run --release -p tandem-sim --example gpu_serving
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "it measures the simulator, in wall time"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{
    CostLaw, Driver, PROFILE_FORMAT, Parameter, Part, PartKind, Profile, Residual, cost, parameter,
};
use schema::scenario::{KernelFile, Scenario, Transport};
use schema::units::{Bytes, SimDuration};
use sim::{Arrivals, Keep, Options, completions};

const SCENARIO: &str = r#"
format = 1
name = "gpu-serving"
run = { measure = { requests = 20000 } }

[hosts]
server = { part = "host", cores = 16, gpus = [{ part = "gpu" }] }

[stages.classify]
on = "server"
serve = { net = { name = "resnet50" } }
gpu = { streams = 16 }

[[clients]]
on = "server"
count = 16
arrivals = { closed-loop = {} }
path = [{ to = "classify", over = "local" }]
"#;

/// Number of kernels of a pass, as TensorRT makes of the 53 convolutions and what remains.
const N_KERNELS: u32 = 60;

fn part(kind: PartKind) -> Part {
    Part {
        kind,
        parameters: BTreeMap::new(),
        costs: BTreeMap::new(),
        nets: BTreeMap::new(),
    }
}

fn profile(phases: Vec<Phase>, kernels: Vec<KernelFile>) -> Profile {
    let mut host = part(PartKind::Host);
    let fixed = |per| CostLaw::exact(per, 2e-6, 0.0, "made up");
    for key in [
        cost::PREPARE,
        cost::POSTPROCESS,
        cost::DISPATCH,
        cost::NOTIFY,
    ] {
        host.costs.insert(key.to_owned(), fixed(Driver::Requests));
    }
    for key in [
        cost::send(Transport::Local),
        cost::receive(Transport::Local),
    ] {
        host.costs.insert(key, fixed(Driver::Bytes));
    }
    let mut gpu = part(PartKind::Gpu);
    let parameters = [
        (parameter::SMS, 80.0),
        (parameter::THREADS_PER_SM, 2048.0),
        (parameter::DRAM_BANDWIDTH, 0.8e12),
        (parameter::DRAM_OCCUPANCY, 0.31),
        (parameter::HARDWARE_QUEUES, 32.0),
    ];
    for (name, value) in parameters {
        let parameter = Parameter {
            value,
            standard_error: 0.0,
            unit: "1".to_owned(),
            range: None,
            source: "made up".to_owned(),
        };
        gpu.parameters.insert(name.to_owned(), parameter);
    }
    for key in ["h2d/pinned", "d2h/pinned"] {
        let law = CostLaw::exact(Driver::Bytes, 3e-6, 1.0 / 12.2e9, "made up");
        gpu.costs.insert(key.to_owned(), law);
    }
    let net = GpuNet {
        per: Driver::Requests,
        range: [1.0, 1.0],
        samples: 0,
        held_out_error: 0.0,
        source: "made up".to_owned(),
        residual: Residual::Lognormal { sigma: 0.05 },
        memory: 0.0,
        launches: N_KERNELS,
        floor: DriverLaw::default(),
        phases,
        kernels,
    };
    gpu.nets.insert("resnet50@224".to_owned(), net);
    Profile {
        format: PROFILE_FORMAT,
        name: "gpu-serving".to_owned(),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts: [("host".to_owned(), host), ("gpu".to_owned(), gpu)].into(),
    }
}

/// Grids of the sizes that the layers of ResNet-50 have, of 256 threads.
fn kernels() -> Vec<KernelFile> {
    let kernel = |index: u32| {
        let size = (index * 5 / N_KERNELS) as usize;
        KernelFile {
            name: None,
            blocks: [392, 392, 196, 98, 49][size],
            threads: 256,
            registers: 64,
            shared_memory: Bytes(16 << 10),
            time: SimDuration::from_ps(
                [9_000_000, 6_000_000, 8_000_000, 9_000_000, 12_000_000][size],
            ),
            dram: Bytes([40_000, 30_000, 30_000, 40_000, 90_000][size]),
            overhead: Some(SimDuration::from_ps(2_000_000)),
        }
    };
    (0..N_KERNELS).map(kernel).collect()
}

fn report(name: &str, profile: &Profile, overrides: &[String]) {
    let path = Path::new("gpu-serving.toml");
    let scenario = Scenario::parse(path, SCENARIO.to_owned(), overrides);
    let scenario = scenario.expect("the scenario is valid");
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    };
    let start = Instant::now();
    let served = completions(&scenario, profile, &options).expect("the profile has every cost");
    let wall_s = start.elapsed().as_secs_f64();
    let (events, requests) = (served[0].events, served[0].completions.len());
    println!(
        "{name}: {requests} requests in {wall_s:.2} s: {:.0} a minute, {:.1} events a request",
        60.0 * requests as f64 / wall_s,
        events as f64 / requests as f64
    );
}

fn main() {
    let requests = |n: u32| vec![format!("run.measure.requests={n}")];
    report(
        "60 kernels",
        &profile(Vec::new(), kernels()),
        &requests(1_250),
    );
    let phase = Phase {
        overhead: DriverLaw::constant(0.2e-3),
        compute: DriverLaw::constant(0.5e-3),
        parallelism: DriverLaw::constant(0.6),
        bytes: DriverLaw::constant(0.1e9),
        intensity: DriverLaw::constant(0.1),
    };
    report(
        "one phase",
        &profile(vec![phase], Vec::new()),
        &requests(62_500),
    );
}

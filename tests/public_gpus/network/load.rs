//! The measured loads of eight GPUs behind a network, one GPU of them served by the engine.

use std::collections::BTreeMap;
use std::path::Path;

use calibrate::gpu::tables::NetworkLoad;
use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Part, PartKind, Profile, Residual, cost};
use schema::scenario::{Scenario, Transport};
use schema::stats::quantile;
use sim::{Arrivals, Keep, Options, completions};

/// What a net on one of the GPUs takes, and the way to it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct NetworkLaw {
    /// Time of a batch, whatever its size, in seconds.
    pub(crate) pass: f64,
    /// What passes besides on the way, there and back, in seconds.
    pub(crate) way: f64,
}

/// The text of the scenario for `net`.
fn scenario(net: &str) -> &'static str {
    match net {
        "resnet50" => include_str!("../../../scenarios/mlperf/network-a100-resnet50.toml"),
        _ => include_str!("../../../scenarios/mlperf/network-a100-bert-99.toml"),
    }
}

/// Times that the engine gives for a GPU's part of `load`: as [`NetworkLoad::times`].
pub(crate) fn serve(profile: &Profile, load: &NetworkLoad, measure: &str) -> [f64; 5] {
    let rate = load.rate / load.gpus;
    let overrides = [
        format!(
            "clients.0.arrivals={{ poisson = {{ rate = \"{rate:.3} /s\", connections = 8192 }} }}"
        ),
        format!("run.measure={{ time = \"{measure}\" }}"),
    ];
    let path = Path::new("scenarios/mlperf/network.toml");
    let scenario = Scenario::parse(path, scenario(&load.net).to_owned(), &overrides);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    };
    let served = completions(&scenario, profile, &options);
    let served = served.unwrap_or_else(|error| panic!("{error}"));
    let mut times: Vec<f64> = (served[0].completions.iter())
        .filter(|one| one.ready.as_secs_f64() >= 1.0)
        .map(|one| one.end.since(one.ready).as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |p| quantile(&times, p);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    [mean, at(0.5), at(0.9), at(0.99), at(0.999)]
}

/// Adds `law` of the load's net to `profile`, which has the GPU and a host that takes no time.
pub(crate) fn add(profile: &mut Profile, load: &NetworkLoad, law: NetworkLaw, source: &str) {
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
pub(crate) fn base(public: &Profile) -> Profile {
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

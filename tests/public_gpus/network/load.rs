//! The measured loads of eight GPUs behind a network, one GPU of them served by the engine.

use std::path::Path;

use calibrate::gpu::tables::NetworkLoad;
use schema::profile::Profile;
use schema::scenario::Scenario;
use schema::stats::quantile;
use sim::{Arrivals, Keep, Options, completions};

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

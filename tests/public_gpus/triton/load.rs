//! The measured loads of an inference server, served by the engine.

use std::path::Path;

use calibrate::gpu::server::IMAGE;
use calibrate::gpu::tables::{ServedLoad, ServedParts, triton_resnet50};
use schema::breakdown::Breakdown;
use schema::profile::Profile;
use schema::run::SpanName;
use schema::scenario::Scenario;
use schema::stats::quantile;
use schema::summary::{counted, windows};
use sim::{Arrivals, Keep, Options};

const SCENARIO: &str = include_str!("../../../scenarios/triton/resnet50.toml");

/// What the engine gives for `load` with `profile`.
pub(crate) fn serve(profile: &Profile, load: &ServedLoad) -> ServedLoad {
    let bytes = u64::from(load.images) * IMAGE as u64;
    let mut overrides = vec![
        format!("clients.0.count={}", load.outstanding),
        format!("hosts.server.gpus.0.part={}", load.gpu),
    ];
    if load.images > 1 {
        // One such request is a batch of its own.
        overrides.push(format!(
            "clients.0.classes=[{{ name = \"images\", share = 1, payload = \"{bytes} B\" }}]"
        ));
        overrides.push("stages.resnet50.batch.max=1".to_owned());
    }
    if load.outstanding == 1 {
        // They do not wait for each other.
        overrides.push("run.warmup={ requests = 1 }".to_owned());
        overrides.push("run.measure={ requests = 20 }".to_owned());
    }
    let path = Path::new("scenarios/triton/resnet50.toml");
    let scenario = Scenario::parse(path, SCENARIO.to_owned(), &overrides);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Trace,
    };
    let run = sim::simulate(&scenario, Some(profile), &options);
    let run = run.unwrap_or_else(|error| panic!("{error}"));
    let requests = counted(&run);
    let mean = |time: &dyn Fn(&Breakdown) -> f64| {
        requests.iter().map(time).sum::<f64>() / requests.len() as f64
    };
    let part = |name| mean(&|request| request.part_s(name));
    let latency = mean(&Breakdown::end_to_end_s);
    let mut times: Vec<f64> = requests.iter().map(Breakdown::end_to_end_s).collect();
    times.sort_by(f64::total_cmp);
    let parts = ServedParts {
        queue: part(SpanName::Queue),
        input: part(SpanName::H2d),
        inference: part(SpanName::Inference),
        network: 0.0,
    };
    let (from, to) = windows(&run)[0];
    let window = from..to;
    let n = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request && window.contains(&span.end_ns));
    ServedLoad {
        throughput: n.count() as f64 * f64::from(load.images) / ((to - from) as f64 / 1e9),
        latency,
        p90: quantile(&times, 0.9),
        parts: Some(ServedParts {
            network: latency - parts.queue - parts.input - parts.inference - part(SpanName::D2h),
            ..parts
        }),
        ..load.clone()
    }
}

/// The measured loads of the server with `gpu` that its law is fitted to, and the others: those of up
/// to 48 requests outstanding, and those of more.
pub(crate) fn loads(gpu: &str) -> (Vec<ServedLoad>, Vec<ServedLoad>) {
    let loads = triton_resnet50().into_iter();
    loads
        .filter(|load| load.gpu == gpu)
        .partition(|load| load.outstanding <= 48)
}

/// Relative errors of a prediction, for each figure that was measured.
pub(crate) const FIGURES: [&str; 7] = [
    "throughput",
    "latency",
    "p90",
    "network",
    "queue",
    "input",
    "inference",
];

/// What was predicted of `load` over what was measured, less one, by figure; figures that were not
/// measured are zero.
pub(crate) fn errors(predicted: &ServedLoad, load: &ServedLoad) -> [f64; 7] {
    let parts = |load: &ServedLoad| {
        load.parts
            .map_or([1.0; 4], |p| [p.network, p.queue, p.input, p.inference])
    };
    let (p, m) = (parts(predicted), parts(load));
    let pairs = [
        (predicted.throughput, load.throughput),
        (predicted.latency, load.latency),
        (predicted.p90, load.p90),
        (p[0], m[0]),
        (p[1], m[1]),
        (p[2], m[2]),
        (p[3], m[3]),
    ];
    pairs.map(|(predicted, measured)| predicted / measured - 1.0)
}

/// The errors of the engine at `loads`, in percent, and the mean of their absolute values.
pub(crate) fn table(profile: &Profile, loads: &[ServedLoad]) -> String {
    let mut text = format!("{:>11}", "outstanding");
    for figure in FIGURES {
        text += &format!(" {figure:>10}");
    }
    let mut sums = [0.0; 7];
    for load in loads {
        text += &format!("\n{:>11}", load.outstanding);
        for (sum, error) in sums.iter_mut().zip(errors(&serve(profile, load), load)) {
            *sum += error.abs();
            text += &format!(" {:>10.1}", 100.0 * error);
        }
    }
    text += &format!("\n{:>11}", "mean size");
    for sum in sums {
        text += &format!(" {:>10.1}", 100.0 * sum / loads.len() as f64);
    }
    text
}

//! M/M/1 through the whole pipeline: a Poisson client, one instance, exponential inference, and no
//! other cost. Checks the mean sojourn time against `1 / (μ - λ)`.
//!
//! ```text
//! cargo run --release -p tandem-sim --example mm1
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

use std::path::Path;

use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Part, PartKind, Profile, Residual, cost};
use schema::scenario::{Scenario, Transport};
use schema::stats::{mean, mean_interval};
use sim::{Arrivals, Keep, Options, Served, completions};

const SCENARIO: &str = r#"
format = 1
name = "mm1"
run = { warmup = { requests = 2000 }, measure = { requests = 20000 } }

[hosts]
host = { part = "host", cores = 64 }

[stages.station]
on = "host"
serve = { synthetic = { time = "1 ms", input = "0 B", output = "0 B" } }

[[clients]]
on = "host"
arrivals = { poisson = { rate = "500 /s", connections = 1000 } }
path = [{ to = "station", over = "local" }]
"#;

/// A host on which only inference takes time.
fn profile() -> Profile {
    let free = |cost: String| {
        let law = CostLaw::exact(Driver::Requests, 0.0, 0.0, "free");
        (cost, law)
    };
    let names = [
        cost::PREPARE.to_owned(),
        cost::POSTPROCESS.to_owned(),
        cost::DISPATCH.to_owned(),
        cost::NOTIFY.to_owned(),
        cost::H2D.to_owned(),
        cost::D2H.to_owned(),
        cost::send(Transport::Local),
        cost::receive(Transport::Local),
    ];
    let exponential = CostLaw {
        residual: Residual::Gamma { shape: 1.0 },
        ..CostLaw::exact(Driver::Seconds, 0.0, 1.0, "exponential")
    };
    let inference = (cost::inference("synthetic"), exponential);
    let part = Part {
        kind: PartKind::Host,
        parameters: [].into(),
        costs: names.into_iter().map(free).chain([inference]).collect(),
    };
    Profile {
        format: PROFILE_FORMAT,
        name: "mm1".to_owned(),
        fitted_to: [].into(),
        parts: [("host".to_owned(), part)].into(),
    }
}

/// Mean sojourn time of the requests past the warm-up, in seconds.
fn mean_sojourn_s(served: &Served) -> f64 {
    let counted = served
        .completions
        .iter()
        .filter(|c| c.request.seq() >= 2000);
    let times: Vec<f64> = counted
        .map(|c| c.end.since(c.ready).as_secs_f64())
        .collect();
    mean(&times)
}

fn main() {
    let scenario = Scenario::parse(Path::new("mm1.toml"), SCENARIO.to_owned(), &[])
        .expect("the scenario is valid");
    let options = Options {
        replications: 20,
        arrivals: Arrivals::Independent,
        threads: 0,
        precision: None,
        keep: Keep::Trace,
    };
    let served = completions(&scenario, &profile(), &options).expect("the profile has every cost");
    let means: Vec<f64> = served.iter().map(mean_sojourn_s).collect();
    let interval = mean_interval(&means, 0.999);
    let theory = 1.0 / (1000.0 - 500.0);
    println!(
        "mean sojourn time {:.4} ms, 99.9% interval {:.4} to {:.4} ms, n = {}; theory {:.4} ms",
        1e3 * interval.value,
        1e3 * interval.low,
        1e3 * interval.high,
        means.len(),
        1e3 * theory
    );
    assert!(
        interval.low <= theory && theory <= interval.high,
        "theory is outside"
    );
    assert!(
        interval.high - interval.low < 0.06 * theory,
        "the interval is too wide to be a test"
    );
}

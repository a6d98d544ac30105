//! Events per second of one thread: 64 closed loops that send 602,112 B through a gateway.
//!
//! ```text
//! cargo run --release -p tandem-sim --example throughput
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "it measures the simulator, in wall time"
)]

use std::path::Path;
use std::time::Instant;

use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Part, PartKind, Profile, Residual, cost};
use schema::scenario::{Scenario, Transport};
use sim::{Arrivals, Keep, Options, completions, simulate};

const SCENARIO: &str = r#"
format = 1
name = "throughput"
run = { measure = { requests = 500 } }

[hosts]
edge = { part = "host", cores = 8 }
gateway = { part = "host", cores = 4 }
server = { part = "host", cores = 8 }

[[links]]
between = ["edge", "gateway"]
rate = "25 Gbit/s"
delay = "1 us"

[[links]]
between = ["gateway", "server"]
rate = "25 Gbit/s"
delay = "1 us"

[stages.ingress]
on = "gateway"
proxy = {}

[stages.classify]
on = "server"
serve = { net = { name = "resnet50" } }
instances = 4
batch = { max = 4, delay = "1 ms" }

[[clients]]
on = "edge"
count = 64
arrivals = { closed-loop = {} }
path = [{ to = "ingress", over = "tcp" }, { to = "classify", over = "tcp" }]
"#;

fn profile() -> Profile {
    let law = |per, base, slope| CostLaw {
        residual: Residual::Lognormal { sigma: 0.1 },
        ..CostLaw::exact(per, base, slope, "made up")
    };
    let costs = [
        (cost::PREPARE.to_owned(), law(Driver::Bytes, 5e-6, 1e-10)),
        (cost::POSTPROCESS.to_owned(), law(Driver::Bytes, 2e-6, 0.0)),
        (cost::TRANSLATE.to_owned(), law(Driver::Bytes, 2e-6, 1e-10)),
        (cost::DISPATCH.to_owned(), law(Driver::Requests, 5e-6, 0.0)),
        (cost::NOTIFY.to_owned(), law(Driver::Requests, 5e-6, 0.0)),
        (cost::H2D.to_owned(), law(Driver::Bytes, 1e-6, 1e-10)),
        (cost::D2H.to_owned(), law(Driver::Bytes, 1e-6, 1e-10)),
        (cost::send(Transport::Tcp), law(Driver::Bytes, 5e-6, 3e-10)),
        (
            cost::receive(Transport::Tcp),
            law(Driver::Bytes, 5e-6, 4e-10),
        ),
        (
            cost::inference("resnet50@224"),
            law(Driver::Requests, 1e-3, 1e-3),
        ),
    ];
    let part = Part {
        nets: std::collections::BTreeMap::new(),
        kind: PartKind::Host,
        parameters: [].into(),
        costs: costs.into(),
    };
    Profile {
        format: PROFILE_FORMAT,
        name: "throughput".to_owned(),
        fitted_to: [].into(),
        spread: [].into(),
        parts: [("host".to_owned(), part)].into(),
    }
}

fn main() {
    let scenario = Scenario::parse(Path::new("throughput.toml"), SCENARIO.to_owned(), &[])
        .expect("the scenario is valid");
    let options = Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Trace,
    };
    let profile = profile();
    let start = Instant::now();
    let served = completions(&scenario, &profile, &options).expect("the profile has every cost");
    let wall_s = start.elapsed().as_secs_f64();
    let (events, requests) = (served[0].events, served[0].completions.len());
    println!(
        "without trace: {events} events, {requests} requests in {wall_s:.2} s: {:.2} million events/s, {:.1} events a request",
        events as f64 / wall_s / 1e6,
        events as f64 / requests as f64
    );
    let start = Instant::now();
    let run = simulate(&scenario, Some(&profile), &options).expect("the profile has every cost");
    let wall_s = start.elapsed().as_secs_f64();
    println!(
        "with trace: {} spans in {wall_s:.2} s: {:.2} million events/s",
        run.trace.len(),
        events as f64 / wall_s / 1e6
    );
}

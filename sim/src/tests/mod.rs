//! Tests of whole scenarios, by kind: closed form, links, replicas, calls, losses, theory, properties, metamorphic,
//! frozen.

mod calls;
mod closed_form;
mod frozen;
mod links;
mod losses;
mod metamorphic;
mod properties;
mod replicas;
mod theory;

use std::collections::BTreeMap;
use std::path::Path;

use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Parameter, Part, PartKind, Profile};
use schema::profile::{Residual, cost};
use schema::scenario::{Scenario, Transport};
use schema::units::{SimDuration, SimTime};

use crate::{Arrivals, Keep, Options};

const BASE: &str = r#"
format = 1
name = "base"
run = { seed = 1, measure = { requests = 20 } }

[hosts]
edge = { part = "edge", cores = 2 }
gateway = { part = "gateway", cores = 2 }
server = { part = "server", cores = 2 }

[[links]]
between = ["edge", "server"]
part = "wire"
rate = "25 Gbit/s"
delay = "3 us"

[[links]]
between = ["gateway", "edge"]
part = "wire"
rate = "10 Gbit/s"
delay = "5 us"

[[links]]
between = ["gateway", "server"]
rate = "40 Gbit/s"
delay = "7 us"

[stages.ingress]
on = "gateway"
proxy = {}

[stages.classify]
on = "server"
serve = { synthetic = { time = "1 ms", input = "10000 B", output = "4000 B" } }

[[clients]]
name = "cameras"
on = "edge"
arrivals = { closed-loop = { think = { constant = "2 ms" } } }
path = [{ to = "classify", over = "tcp" }]
"#;

/// The path through the gateway.
const PROXIED: &str =
    r#"clients.0.path=[{ to = "ingress", over = "tcp" }, { to = "classify", over = "tcp" }]"#;

const OPTIONS: Options = Options {
    replications: 1,
    arrivals: Arrivals::Shared,
    threads: 1,
    precision: None,
    keep: Keep::Trace,
};

/// The base scenario with some keys set otherwise.
fn scenario(overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    Scenario::parse(Path::new("base.toml"), BASE.to_owned(), &overrides).unwrap()
}

/// A profile with every cost: none is random, and no two are the same.
fn profile() -> Profile {
    let mut parts = BTreeMap::new();
    for (index, name) in ["edge", "gateway", "server"].into_iter().enumerate() {
        let scale = 1.0 + index as f64 / 8.0;
        let law = |per, base_us: f64, slope_ns: f64| {
            CostLaw::exact(per, scale * base_us * 1e-6, scale * slope_ns * 1e-9, "test")
        };
        let bytes = |base, slope| law(Driver::Bytes, base, slope);
        let tcp = Transport::Tcp;
        let costs = [
            (cost::PREPARE.to_owned(), bytes(11.0, 0.1)),
            (cost::POSTPROCESS.to_owned(), bytes(7.0, 0.2)),
            (cost::TRANSLATE.to_owned(), bytes(5.0, 0.3)),
            (cost::DISPATCH.to_owned(), law(Driver::Requests, 13.0, 2.0)),
            (cost::NOTIFY.to_owned(), law(Driver::Requests, 17.0, 3.0)),
            (cost::H2D.to_owned(), bytes(3.0, 0.05)),
            (cost::D2H.to_owned(), bytes(2.0, 0.07)),
            (cost::send(tcp), bytes(19.0, 0.4)),
            (cost::receive(tcp), bytes(23.0, 0.6)),
            (
                cost::inference("synthetic"),
                law(Driver::Seconds, 29.0, 1e9),
            ),
            (
                cost::inference("squeezenet1.1@224+raw"),
                law(Driver::Requests, 700.0, 9e6),
            ),
            (cost::preprocess("squeezenet1.1@224+raw"), bytes(31.0, 1.1)),
        ];
        parts.insert(name.to_owned(), part(PartKind::Host, costs));
    }
    let delay = CostLaw::exact(Driver::Requests, 9.5e-6, 0.0, "test");
    let wire = part(PartKind::Link, [(cost::delay(Transport::Tcp), delay)]);
    parts.insert("wire".to_owned(), wire);
    Profile {
        format: PROFILE_FORMAT,
        name: "base".to_owned(),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts,
    }
}

/// The profile with every cost random.
fn random_profile() -> Profile {
    let mut profile = profile();
    for part in profile.parts.values_mut() {
        for law in part.costs.values_mut() {
            law.residual = Residual::Lognormal { sigma: 0.5 };
        }
    }
    profile
}

/// A profile in which only inference costs anything: the time asked for, times `residual`.
fn only_inference(residual: Residual) -> Profile {
    let mut profile = profile();
    for part in profile.parts.values_mut() {
        for law in part.costs.values_mut() {
            (law.base, law.slope) = (0.0, 0.0);
        }
    }
    let law = law(&mut profile, "server", &cost::inference("synthetic"));
    law.slope = 1.0;
    law.residual = residual;
    profile
}

fn part(kind: PartKind, costs: impl IntoIterator<Item = (String, CostLaw)>) -> Part {
    Part {
        nets: std::collections::BTreeMap::new(),
        kind,
        parameters: BTreeMap::new(),
        costs: costs.into_iter().collect(),
    }
}

fn law<'a>(profile: &'a mut Profile, part: &str, cost: &str) -> &'a mut CostLaw {
    let part = profile.parts.get_mut(part).unwrap();
    part.costs.get_mut(cost).unwrap()
}

fn set_contention(profile: &mut Profile, part: &str, value: f64) {
    let parameter = Parameter {
        range: None,
        value,
        standard_error: 0.0,
        unit: "1".to_owned(),
        source: "test".to_owned(),
    };
    let part = profile.parts.get_mut(part).unwrap();
    part.parameters.insert("contention".to_owned(), parameter);
}

fn ps(n: u64) -> SimDuration {
    SimDuration::from_ps(n)
}

fn at(n: u64) -> SimTime {
    SimTime::from_ps(n)
}

//! GPUs of known parameters.

use std::collections::BTreeMap;

use schema::profile::{
    CostLaw, Driver, PROFILE_FORMAT, Parameter, Part, PartKind, Profile, cost, parameter,
};
use schema::random::{Seed, stream, uniform};

use crate::rig::PART;

/// A profile whose part [`PART`] is a GPU drawn by `seed`, between an embedded one and the largest of
/// today.
pub(crate) fn known(seed: u64) -> Profile {
    let mut rng = stream(Seed(seed), "gpu");
    let mut between = |low: f64, high: f64| low + (high - low) * uniform(&mut rng);
    let mut part = Part {
        kind: PartKind::Gpu,
        parameters: BTreeMap::new(),
        costs: BTreeMap::new(),
        nets: BTreeMap::new(),
    };
    let pcie = between(6e9, 50e9);
    // A direction reaches all of the link, the other a part of it.
    let slower = between(0.8, 1.0);
    for (direction, rate) in [(cost::H2D, pcie), (cost::D2H, pcie * slower)] {
        for (memory, share) in [("pinned", 1.0), ("pageable", between(0.2, 0.6))] {
            let base = between(5e-6, 30e-6);
            let law = CostLaw::exact(Driver::Bytes, base, 1.0 / (rate * share), "made up");
            part.costs.insert(format!("{direction}/{memory}"), law);
        }
    }
    let of = |choices: &[f64], at: f64| choices[(at * choices.len() as f64) as usize];
    let numbers = [
        (parameter::SMS, between(4.0, 150.0).floor(), "1"),
        (
            parameter::THREADS_PER_SM,
            of(&[1024.0, 1536.0, 2048.0], between(0.0, 1.0)),
            "1",
        ),
        (
            parameter::BLOCKS_PER_SM,
            of(&[16.0, 24.0, 32.0], between(0.0, 1.0)),
            "1",
        ),
        (parameter::HARDWARE_QUEUES, between(1.0, 33.0).floor(), "1"),
        (parameter::PRIORITY_LEVELS, between(1.0, 7.0).floor(), "1"),
        (parameter::TIME_SLICE, between(0.5e-3, 3e-3), "s"),
        (parameter::CONTEXT_SWITCH, between(30e-6, 350e-6), "s"),
        (parameter::PCIE_BANDWIDTH, pcie, "B/s"),
        (parameter::DUPLEX_PENALTY, between(0.0, 0.3), "1"),
        (parameter::LAUNCH_INTERVAL, between(1e-6, 6e-6), "s"),
        (parameter::DRAM_BANDWIDTH, between(100e9, 4e12), "B/s"),
        (parameter::DRAM_OCCUPANCY, between(0.1, 0.6), "1"),
        (parameter::GRAPH_LAUNCH_INTERVAL, between(0.5e-6, 3e-6), "s"),
        (parameter::MEMORY, 40e9, "B"),
    ];
    for (name, value, unit) in numbers {
        let number = Parameter {
            value,
            standard_error: 0.0,
            unit: unit.to_owned(),
            range: None,
            source: "made up".to_owned(),
        };
        part.parameters.insert(name.to_owned(), number);
    }
    Profile {
        format: PROFILE_FORMAT,
        name: format!("known-{seed}"),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts: BTreeMap::from([(PART.to_owned(), part)]),
    }
}

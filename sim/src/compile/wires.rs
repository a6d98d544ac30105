//! From the links of a scenario to the graph that flows go over.

use schema::ids::{Id, LinkId};
use schema::profile::{Profile, parameter};
use schema::scenario::{Link, Scenario, Vertex};
use schema::units::{ByteRate, SimTime};

use crate::error::SimError;
use crate::fabric::{self, Graph, VertexId};
use crate::network::{AccessRow, FaultRow, WireTables};

use super::parts::PartOf;
use super::{packets, place};

/// The links of `scenario`, each as one of the graph in each direction.
pub(super) fn wires(scenario: &Scenario, profile: &Profile) -> Result<WireTables, SimError> {
    let mut graph = Graph::new();
    let hosts: Vec<VertexId> = scenario.hosts.ids().map(|_| graph.add_host()).collect();
    let switches: Vec<VertexId> = (scenario.switches.ids())
        .map(|_| graph.add_switch())
        .collect();
    let mut is_limited = Vec::new();
    for link in scenario.links.rows() {
        let [a, b] = link.between.map(|end| match end {
            Vertex::Host(host) => hosts[host.index()],
            Vertex::Switch(switch) => switches[switch.index()],
        });
        let rate = rate(scenario, profile, link)?;
        graph
            .connect(a, b, rate.unwrap_or(Graph::MAX_RATE), link.delay)
            .map_err(|error| SimError::Unsupported {
                wanted_by: place(scenario, &format!("{}.rate", link.key)),
                what: format!("a link as fast as this ({error})"),
            })?;
        is_limited.extend([rate.is_some(); 2]);
    }
    let faults = scenario.faults.iter().map(|fault| {
        let from = SimTime::ZERO + fault.from;
        FaultRow {
            links: directions(fault.link),
            from,
            until: from + fault.length,
            rate: fault.rate,
        }
    });
    let access = scenario.access.as_ref().map(|access| {
        let sampler = |distribution: &schema::distribution::Distribution| {
            let sampler = distribution.sampler();
            sampler.expect("the scenario was checked")
        };
        AccessRow {
            hosts: access.hosts.clone(),
            delay: sampler(&access.delay),
            jitter: sampler(&access.jitter),
        }
    });
    Ok(WireTables {
        faults: faults.collect(),
        graph,
        rate_tolerance: scenario.rate_tolerance,
        hosts,
        is_limited,
        lanes: packets::lanes(scenario)?,
        access,
    })
}

/// The rate of a link: the scenario's, or else that of its part, if it has one.
fn rate(scenario: &Scenario, profile: &Profile, link: &Link) -> Result<Option<ByteRate>, SimError> {
    let part = link.part.as_ref().and_then(|name| {
        let part = profile.parts.get(name)?;
        part.parameters
            .contains_key(parameter::RATE)
            .then_some((name, part))
    });
    match (link.rate, part) {
        (Some(rate), _) => Ok(Some(rate)),
        (None, None) => Ok(None),
        (None, Some((name, part))) => {
            let wanted_by = place(scenario, &format!("{}.part", link.key));
            let part = PartOf {
                name,
                part,
                wanted_by,
            };
            let rate = part.or(parameter::RATE, f64::INFINITY)?;
            Ok(ByteRate::from_bytes_per_s(rate as u64))
        }
    }
}

/// The two directions of a link.
fn directions(link: LinkId) -> [fabric::LinkId; 2] {
    [2 * link.index(), 2 * link.index() + 1].map(fabric::LinkId::from_index)
}

/// The link of which this is a direction.
pub(super) fn link_of(direction: fabric::LinkId) -> LinkId {
    LinkId::from_index(direction.index() / 2)
}

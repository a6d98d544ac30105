//! Generated topologies: how many of what, and what they carry from one half to the other.

use std::collections::BTreeSet;

use schema::units::{ByteRate, Bytes, SimDuration};
use sim::fabric::topology::{
    Access, Cable, LeafSpine, Oversubscription, Topology, TopologyError, fat_tree, leaf_spine,
    multi_rack, star,
};
use sim::fabric::{Fabric, Graph, GraphError, Link, Routes, VertexId};

use crate::fixture::{gb, ps};

fn cable(rate: ByteRate) -> Cable {
    Cable {
        rate,
        delay: SimDuration::from_ns(100),
    }
}

fn racks() -> LeafSpine {
    LeafSpine {
        leaves: 4,
        hosts_per_leaf: 6,
        spines: 3,
        host: cable(gb(1)),
        oversubscription: Oversubscription {
            hosts: 1,
            uplinks: 1,
        },
        uplink_delay: SimDuration::from_ns(200),
    }
}

pub(crate) fn small_leaf_spine() -> Topology {
    leaf_spine(&racks()).expect("it can be built")
}

/// The vertices of one half: these hosts, and the switches of the tiers below `tier` that are
/// connected to them.
fn near(topology: &Topology, hosts: &[VertexId], tiers: usize) -> BTreeSet<VertexId> {
    let mut near: BTreeSet<VertexId> = hosts.iter().copied().collect();
    for tier in &topology.tiers[..tiers] {
        for switch in tier {
            let mut links = topology.graph.leaving(*switch).iter();
            if links.any(|link| near.contains(&topology.graph.link(*link).to)) {
                near.insert(*switch);
            }
        }
    }
    near
}

/// What the first half of the hosts can send to the other at most, over the cut above `tiers`.
fn bisection(topology: &Topology, tiers: usize) -> u64 {
    let half = &topology.hosts[..topology.hosts.len() / 2];
    let near = near(topology, half, tiers);
    topology.graph.cut(|vertex| near.contains(&vertex))
}

#[test]
fn a_star_has_a_cable_a_host() {
    let star = star(5, cable(gb(1))).unwrap();
    assert_eq!((star.graph.n_vertices(), star.graph.n_links()), (6, 10));
    assert_eq!(star.hosts.len(), 5);
}

#[test]
fn a_leaf_spine_carries_its_hosts_divided_by_its_oversubscription() {
    let topology = small_leaf_spine();
    assert_eq!(topology.graph.n_vertices(), 24 + 4 + 3);
    assert_eq!(topology.graph.n_links(), 2 * (24 + 4 * 3));
    assert_eq!(bisection(&topology, 1), 12_000_000_000);
    let narrow = LeafSpine {
        oversubscription: Oversubscription {
            hosts: 3,
            uplinks: 1,
        },
        ..racks()
    };
    assert_eq!(
        bisection(&leaf_spine(&narrow).unwrap(), 1),
        4_000_000_000 - 4
    );
}

#[test]
fn a_fat_tree_carries_all_that_its_hosts_send() {
    for k in [2, 4, 8] {
        let tree = fat_tree(k, cable(gb(1))).unwrap();
        let n = |tier: usize| tree.tiers[tier].len() as u32;
        assert_eq!(tree.hosts.len() as u32, k * k * k / 4);
        assert_eq!((n(0), n(1), n(2)), (k * k / 2, k * k / 2, k * k / 4));
        // k³/4 cables in each of three layers.
        assert_eq!(tree.graph.n_links() as u32, 2 * 3 * k * k * k / 4);
        assert_eq!(
            bisection(&tree, 2),
            u64::from(k * k * k / 8) * 1_000_000_000
        );
        for tier in &tree.tiers {
            let ports = |switch: &VertexId| tree.graph.leaving(*switch).len() as u32;
            assert!(tier.iter().all(|switch| ports(switch) == k));
        }
    }
}

#[test]
fn clients_have_access_links_of_their_own_in_front_of_the_racks() {
    let access = Access {
        clients: 10,
        cable: Cable {
            rate: gb(1),
            delay: SimDuration::from_ns(5_000),
        },
        border: cable(gb(2)),
    };
    let topology = multi_rack(&racks(), &access).unwrap();
    assert_eq!(topology.clients.len(), 10);
    assert_eq!(topology.graph.n_links(), 2 * (24 + 12 + 10 + 3));
    let mut routes = Routes::new(&topology.graph);
    let path = routes
        .path(&topology.graph, topology.clients[0], topology.hosts[0], 0)
        .unwrap();
    assert_eq!(path.len(), 4);
    let delay = topology.graph.propagation_delay(&path);
    assert_eq!(delay, SimDuration::from_ns(5_000 + 100 + 200 + 100));
    // Two clients to one host each have half of its link.
    let mut fabric = Fabric::new(&topology.graph);
    let flows = [0, 1].map(|client| {
        let from = topology.clients[client];
        let path = routes.path(&topology.graph, from, topology.hosts[0], 0);
        fabric.start(ps(0), &path.unwrap(), Bytes(1 << 30), None, ())
    });
    fabric.settle(ps(0));
    assert_eq!(flows.map(|flow| fabric.rate(flow)), [Some(5e8); 2]);
}

#[test]
fn what_cannot_be_built_is_refused() {
    let error = |topology: Result<Topology, TopologyError>| topology.unwrap_err().to_string();
    insta::assert_snapshot!(error(star(0, cable(gb(1)))), @"`hosts` must be at least 1, found 0");
    insta::assert_snapshot!(error(fat_tree(3, cable(gb(1)))), @"`k` of a fat-tree must be even and at least 2, found 3");
    let none = LeafSpine {
        spines: 0,
        ..racks()
    };
    insta::assert_snapshot!(error(leaf_spine(&none)), @"`spines` must be at least 1, found 0");
    let fast = LeafSpine {
        host: cable(gb(5_000)),
        ..racks()
    };
    insta::assert_snapshot!(error(leaf_spine(&fast)), @"an uplink would carry 10000000000000 B/s (allowed: 1 to 1099511627776)");
    insta::assert_snapshot!(error(star(2, cable(gb(2_000)))), @"a link carries at most 8796.093022208 Gbit/s, found 16000 Gbit/s");
    let mut graph = Graph::new();
    let vertex = graph.add_host();
    let link = Link {
        from: vertex,
        to: vertex,
        rate: gb(1),
        delay: SimDuration::ZERO,
    };
    insta::assert_snapshot!(graph.add_link(link).unwrap_err(), @"a link of VertexId(0) leads back to it");
    let other = small_leaf_spine().hosts[0];
    let error: GraphError = graph.add_link(Link { to: other, ..link }).unwrap_err();
    insta::assert_snapshot!(error, @"the graph has 1 vertices and no VertexId(7)");
}

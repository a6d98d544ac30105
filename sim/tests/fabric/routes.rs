//! Paths: shortest, stable, spread, and around what is down.

use std::collections::BTreeMap;

use schema::units::SimDuration;
use sim::fabric::topology::{Cable, fat_tree};
use sim::fabric::{Graph, LinkId, LinkState, Routes, RoutesError, VertexKind};

use crate::fixture::gb;
use crate::topologies::small_leaf_spine;

#[test]
fn paths_are_the_shortest_and_hang_together() {
    let cable = Cable {
        rate: gb(1),
        delay: SimDuration::ZERO,
    };
    let tree = fat_tree(4, cable).unwrap();
    let mut routes = Routes::new(&tree.graph);
    for (i, from) in tree.hosts.iter().enumerate() {
        for (j, to) in tree.hosts.iter().enumerate() {
            let path = routes.path(&tree.graph, *from, *to, 0).unwrap();
            let expected = match (i, j) {
                _ if i == j => 0,
                _ if i / 2 == j / 2 => 2,
                _ if i / 4 == j / 4 => 4,
                _ => 6,
            };
            assert_eq!(path.len(), expected, "{i} to {j}");
            let mut at = *from;
            for link in path {
                assert_eq!(tree.graph.link(link).from, at);
                at = tree.graph.link(link).to;
            }
            assert_eq!(at, *to);
        }
    }
}

#[test]
fn a_flow_keeps_to_its_path_and_flows_spread_over_all() {
    let topology = small_leaf_spine();
    let [from, to] = [topology.hosts[0], topology.hosts[23]];
    let mut routes = Routes::new(&topology.graph);
    let mut over: BTreeMap<LinkId, u32> = BTreeMap::new();
    let n = 30_000;
    for label in 0..n {
        let path = routes.path(&topology.graph, from, to, label).unwrap();
        *over.entry(path[1]).or_default() += 1;
        let again = Routes::new(&topology.graph).path(&topology.graph, from, to, label);
        if label % 100 == 0 {
            assert_eq!(again, Ok(path));
        }
    }
    // A third each; the standard deviation is 82.
    assert_eq!(over.len(), 3);
    assert!(over.values().all(|n| n.abs_diff(10_000) < 400), "{over:?}");
}

/// The first choices of a stable hash, for ever.
#[test]
fn paths_are_the_same_in_every_release() {
    let topology = small_leaf_spine();
    let mut routes = Routes::new(&topology.graph);
    let mut spine = |label| {
        let [from, to] = [topology.hosts[0], topology.hosts[23]];
        let path = routes.path(&topology.graph, from, to, label).unwrap();
        let spine = topology.graph.link(path[1]).to;
        topology.tiers[1].iter().position(|s| *s == spine).unwrap()
    };
    let chosen: Vec<usize> = (0..16).map(&mut spine).collect();
    insta::assert_compact_debug_snapshot!(chosen, @"[1, 2, 1, 1, 0, 2, 1, 1, 1, 2, 1, 2, 1, 1, 0, 1]");
}

#[test]
fn a_link_that_fails_moves_only_its_own_flows() {
    let topology = small_leaf_spine();
    let [from, to] = [topology.hosts[0], topology.hosts[23]];
    let mut routes = Routes::new(&topology.graph);
    let paths = |routes: &mut Routes| -> Vec<Vec<LinkId>> {
        (0..300)
            .map(|label| routes.path(&topology.graph, from, to, label).unwrap())
            .collect()
    };
    let before = paths(&mut routes);
    let down = before[0][1];
    routes.set_state(down, LinkState::Down);
    assert_eq!(routes.state(down), LinkState::Down);
    let meanwhile = paths(&mut routes);
    for (before, meanwhile) in before.iter().zip(&meanwhile) {
        assert!(!meanwhile.contains(&down));
        assert_eq!(before.contains(&down), before != meanwhile);
    }
    routes.set_state(down, LinkState::Up);
    assert_eq!(paths(&mut routes), before);
}

#[test]
fn what_cannot_be_reached_is_an_error() {
    let topology = small_leaf_spine();
    let [from, to] = [topology.hosts[0], topology.hosts[1]];
    let mut routes = Routes::new(&topology.graph);
    routes.set_state(topology.graph.leaving(from)[0], LinkState::Down);
    let error = routes.path(&topology.graph, from, to, 0).unwrap_err();
    assert_eq!(error, RoutesError::Unreachable { from, to });
    insta::assert_snapshot!(error, @"no path leads from VertexId(7) to VertexId(8) over the links that are up");
    assert!(routes.path(&topology.graph, to, from, 0).is_ok());
}

#[test]
fn hosts_forward_nothing() {
    let mut graph = Graph::new();
    let [a, b, c] = [(); 3].map(|()| graph.add_host());
    for (from, to) in [(a, b), (b, c)] {
        graph.connect(from, to, gb(1), SimDuration::ZERO).unwrap();
    }
    assert_eq!(graph.kind(b), VertexKind::Host);
    let mut routes = Routes::new(&graph);
    assert!(routes.path(&graph, a, b, 0).is_ok());
    assert!(routes.path(&graph, a, c, 0).is_err());
}

//! Rates against water-filling over everything, after every change.

use proptest::prelude::*;
use schema::ids::Id;
use schema::units::Bytes;
use sim::fabric::{Fabric, Graph, LinkId};

use crate::fixture::{UnderWay, assert_fair, chain, links, ps, rate};

/// What happens next.
#[derive(Clone, Debug)]
enum Change {
    /// A flow over these links comes, with a cap or none.
    Start(Vec<usize>, Option<u64>),
    /// One of those under way goes.
    Cancel(usize),
    /// A link has another rate.
    SetRate(usize, u64),
}

/// Links of few different rates, so that some are full at the same level, and of many.
fn rates() -> impl Strategy<Value = Vec<u64>> {
    let n = 1usize..25;
    prop_oneof![
        prop::collection::vec(1u64..4, n.clone())
            .prop_map(|rates| rates.into_iter().map(|rate| rate * 1_000_000).collect()),
        prop::collection::vec(1_000_000u64..1_000_000_000, n),
    ]
}

fn changes(n_links: usize) -> impl Strategy<Value = Vec<Change>> {
    let path = prop::collection::btree_set(0..n_links, 1..=n_links.min(4));
    let cap = prop_oneof![3 => Just(None), 1 => (100_000u64..2_000_000).prop_map(Some)];
    let change = prop_oneof![
        6 => (path, cap).prop_map(|(path, cap)| Change::Start(path.into_iter().collect(), cap)),
        3 => any::<usize>().prop_map(Change::Cancel),
        1 => (0..n_links, 500_000u64..5_000_000).prop_map(|(link, r)| Change::SetRate(link, r)),
    ];
    prop::collection::vec(change, 1..150)
}

fn graph(rates: &[u64]) -> Graph {
    chain(&rates.iter().map(|r| rate(*r)).collect::<Vec<_>>())
}

/// Applies the change at the instant 0.
fn apply(
    fabric: &mut Fabric<usize>,
    capacities: &mut [f64],
    flows: &mut UnderWay,
    change: &Change,
) {
    match change {
        Change::Start(path, cap) => {
            let links = links(path);
            let size = Bytes(1 << 30);
            let id = fabric.start(ps(0), &links, size, cap.map(rate), flows.len());
            let cap = cap.map_or(f64::INFINITY, |cap| cap as f64);
            flows.push((id, path.clone(), cap));
        }
        Change::Cancel(which) => {
            if !flows.is_empty() {
                let (id, ..) = flows.remove(which % flows.len());
                assert_eq!(fabric.cancel(ps(0), id), Some(Bytes(1 << 30)));
            }
        }
        Change::SetRate(link, to) => {
            capacities[*link] = *to as f64;
            fabric.set_rate(ps(0), LinkId::from_index(*link), rate(*to));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A path over any links at all makes more kinds of conflict than one through a network.
    #[test]
    fn rates_are_those_of_water_filling(
        (rates, changes) in rates().prop_flat_map(|rates| {
            let n = rates.len();
            (Just(rates), changes(n))
        }),
        at_once in 1usize..4,
    ) {
        let mut fabric = Fabric::new(&graph(&rates));
        let mut capacities: Vec<f64> = rates.iter().map(|rate| *rate as f64).collect();
        let mut flows = UnderWay::new();
        for changes in changes.chunks(at_once) {
            for change in changes {
                apply(&mut fabric, &mut capacities, &mut flows, change);
            }
            fabric.settle(ps(0));
            assert_fair(&fabric, &capacities, &flows);
        }
    }
}

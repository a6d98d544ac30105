//! Rates against water-filling over everything, after every change.

use std::collections::BTreeSet;

use proptest::prelude::*;
use schema::ids::Id;
use schema::units::Bytes;
use sim::fabric::{Fabric, FlowId, Graph, LinkId};

use crate::fixture::{Start, UnderWay, assert_fair, chain, links, ps, rate, run, water_fill};

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

/// When each flow ends, in seconds, if all rates are found anew by water-filling, in floating point,
/// whenever one starts or ends.
fn fluid(capacities: &[f64], starts: &[Start]) -> Vec<f64> {
    let mut left: Vec<f64> = starts.iter().map(|start| start.bytes.0 as f64).collect();
    let mut ends = vec![f64::INFINITY; starts.len()];
    let mut now = 0.0;
    loop {
        let active: Vec<usize> = (0..starts.len())
            .filter(|i| starts[*i].at.as_secs_f64() <= now && ends[*i].is_infinite())
            .collect();
        let path = |i: &usize| {
            let links = starts[*i].path.iter().map(|link| link.index()).collect();
            let cap = starts[*i].cap.map(|cap| cap.as_bytes_per_s() as f64);
            (links, cap.unwrap_or(f64::INFINITY))
        };
        let rates = water_fill(capacities, &active.iter().map(path).collect::<Vec<_>>());
        let arrivals = starts.iter().map(|start| start.at.as_secs_f64());
        let next_end = active
            .iter()
            .zip(&rates)
            .map(|(i, rate)| now + left[*i] / rate);
        let next = arrivals
            .filter(|at| *at > now)
            .chain(next_end)
            .fold(f64::INFINITY, f64::min);
        if next.is_infinite() {
            return ends;
        }
        for (i, rate) in active.iter().zip(&rates) {
            left[*i] -= (next - now) * rate;
            // A tenth of a picosecond's worth.
            if left[*i] <= 1e-13 * rate {
                ends[*i] = next;
            }
        }
        now = next;
    }
}

/// Flows over up to three of `n_links`, some with a cap, that start within a millisecond.
fn starts(n_links: usize) -> impl Strategy<Value = Vec<Start>> {
    let path = prop::collection::btree_set(0..n_links, 1..=n_links.min(3));
    let cap = prop_oneof![3 => Just(None), 1 => (100_000u64..200_000_000).prop_map(Some)];
    let flow = (0u64..1_000_000, path, 1u64..200_000, cap);
    prop::collection::vec(flow, 1..40).prop_map(|mut flows| {
        flows.sort_by_key(|flow| flow.0);
        let start = |(at, path, bytes, cap): (u64, BTreeSet<usize>, u64, Option<u64>)| Start {
            at: ps(1_000 * at),
            path: links(&path.into_iter().collect::<Vec<_>>()),
            bytes: Bytes(bytes),
            cap: cap.map(rate),
        };
        flows.into_iter().map(start).collect()
    })
}

/// Whether each flow has its cap, or a link that is full but for the tolerance and on which nobody has
/// more but for the tolerance; and no link has more than it carries.
fn assert_nearly_fair(
    fabric: &Fabric<usize>,
    capacities: &[f64],
    flows: &UnderWay,
    tolerance: f64,
) {
    let rate = |flow: &(FlowId, Vec<usize>, f64)| fabric.rate(flow.0).expect("it is under way");
    let room = (1.0 + tolerance) * (1.0 + 1e-8);
    for flow in flows {
        let is_bottleneck = |link: &usize| {
            let crossing = flows.iter().filter(|other| other.1.contains(link));
            let most = crossing.map(rate).fold(0.0, f64::max);
            let load = fabric.load(LinkId::from_index(*link));
            load * room >= capacities[*link] && rate(flow) * room >= most
        };
        let is_limited = rate(flow) * room >= flow.2 || flow.1.iter().any(is_bottleneck);
        assert!(is_limited, "{flow:?} has {} and no bottleneck", rate(flow));
    }
    for (link, capacity) in capacities.iter().enumerate() {
        assert!(fabric.load(LinkId::from_index(link)) <= *capacity);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Against the fluid, through time: no flow ends more than a few picoseconds from there.
    #[test]
    fn flows_end_as_the_fluid_does(
        (rates, starts) in prop::collection::vec(1_000_000u64..1_000_000_000, 1..8)
            .prop_flat_map(|rates| {
                let n = rates.len();
                (Just(rates), starts(n))
            }),
    ) {
        let (ends, _) = run(Fabric::new(&graph(&rates)), &starts);
        let capacities: Vec<f64> = rates.iter().map(|rate| *rate as f64).collect();
        for (end, fluid) in ends.iter().zip(fluid(&capacities, &starts)) {
            let off = (end.as_secs_f64() - fluid).abs();
            let slack = 1e-12 * (2 * starts.len()) as f64 + 1e-9 * fluid;
            prop_assert!(off <= slack, "{end:?} is {off} s from {fluid} s");
        }
    }

    #[test]
    fn with_a_tolerance_rates_are_nearly_fair(
        (rates, changes) in rates().prop_flat_map(|rates| {
            let n = rates.len();
            (Just(rates), changes(n))
        }),
        tolerance in prop_oneof![Just(0.0), Just(0.001), Just(0.05), Just(0.5)],
    ) {
        let mut fabric = Fabric::with_tolerance(&graph(&rates), tolerance);
        let mut capacities: Vec<f64> = rates.iter().map(|rate| *rate as f64).collect();
        let mut flows = UnderWay::new();
        for change in changes {
            apply(&mut fabric, &mut capacities, &mut flows, &change);
            fabric.settle(ps(0));
            assert_nearly_fair(&fabric, &capacities, &flows, tolerance);
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

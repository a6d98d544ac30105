//! What must change in a known way, or not at all.

use proptest::prelude::*;
use schema::ids::Id;
use schema::random::{Seed, exponential, stream, uniform};
use schema::units::{Bytes, SimTime};
use sim::fabric::topology::Topology;
use sim::fabric::{Fabric, LinkId, Routes};

use crate::fixture::{Start, chain, links, ps, rate, run};
use crate::topologies::small_leaf_spine;

/// Flows over up to four of six links.
fn starts() -> impl Strategy<Value = Vec<Start>> {
    let path = prop::collection::btree_set(0usize..6, 1..=4);
    let flow = (0u64..1_000_000, path, 1u64..100_000);
    prop::collection::vec(flow, 1..40).prop_map(|mut flows| {
        flows.sort_by_key(|flow| flow.0);
        let flows = flows.into_iter();
        let start = |(at, path, bytes): (u64, std::collections::BTreeSet<usize>, u64)| Start {
            at: ps(1_000 * at),
            path: links(&path.into_iter().collect::<Vec<_>>()),
            bytes: Bytes(bytes),
            cap: None,
        };
        flows.map(start).collect()
    })
}

fn rates() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1_000_000u64..10_000_000_000, 6)
}

fn fabric(rates: &[u64], factor: u64) -> Fabric<usize> {
    Fabric::new(&chain(
        &rates.iter().map(|r| rate(r * factor)).collect::<Vec<_>>(),
    ))
}

/// Random flows between the hosts of a small leaf-spine, some hundred at a time.
fn random_flows(topology: &Topology, n: usize) -> Vec<Start> {
    let mut rng = stream(Seed(3), "flows");
    let mut routes = Routes::new(&topology.graph);
    let mut at = 0.0;
    let hosts = &topology.hosts;
    let mut starts = Vec::new();
    while starts.len() < n {
        at += exponential(&mut rng, 3e5);
        let mut pick = || hosts[(uniform(&mut rng) * hosts.len() as f64) as usize];
        let (from, to) = (pick(), pick());
        let bytes = exponential(&mut rng, 1e6) as u64 + 1;
        if from != to {
            starts.push(Start {
                at: ps(at as u64),
                path: routes
                    .path(&topology.graph, from, to, starts.len() as u64)
                    .expect("all are connected"),
                bytes: Bytes(bytes),
                cap: None,
            });
        }
    }
    starts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn doubling_all_rates_halves_all_times(rates in rates(), mut starts in starts()) {
        let (once, _) = run(fabric(&rates, 1), &starts);
        for start in &mut starts {
            start.at = ps(start.at.as_ps() / 2);
        }
        let (twice, _) = run(fabric(&rates, 2), &starts);
        for (once, twice) in once.iter().zip(twice) {
            // A rounding for each event before, and what those make others late.
            let off = once.as_ps().abs_diff(2 * twice.as_ps());
            prop_assert!(off <= 4 * starts.len() as u64 + once.as_ps() / 1_000_000_000, "{once:?} {twice:?}");
        }
    }

    #[test]
    fn rates_do_not_depend_on_the_order_of_arrival(rates in rates(), starts in starts()) {
        let all = |starts: &mut dyn Iterator<Item = (usize, &Start)>| {
            let mut fabric = fabric(&rates, 1);
            let mut flows = vec![None; 40];
            for (index, start) in starts {
                let id = fabric.start(ps(0), &start.path, Bytes(1 << 30), None, index);
                flows[index] = Some(id);
                fabric.settle(ps(0));
            }
            let rate = |flow: Option<_>| flow.and_then(|flow| fabric.rate(flow)).unwrap_or(0.0);
            flows.into_iter().map(rate).collect::<Vec<f64>>()
        };
        let forth = all(&mut starts.iter().enumerate());
        let back = all(&mut starts.iter().enumerate().rev());
        for (a, b) in forth.iter().zip(back) {
            prop_assert!((a - b).abs() <= 1e-9 * a, "{a} {b}");
        }
    }

    /// Every byte is moved: what a link has carried when all flows have ended is what crossed it, in
    /// no less time than that takes; and alone no flow would have been later.
    #[test]
    fn links_carry_what_crosses_them_and_no_faster_than_they_can(rates in rates(), starts in starts()) {
        let mut fabric = fabric(&rates, 1);
        let mut carried = vec![0.0; rates.len()];
        let mut coming = starts.iter().enumerate().peekable();
        let (mut now, mut n_done) = (SimTime::ZERO, 0);
        loop {
            let at = coming.peek().map(|(_, start)| start.at);
            let Some(next) = at.into_iter().chain(fabric.next()).min() else { break };
            for (link, carried) in carried.iter_mut().enumerate() {
                let load = fabric.load(LinkId::from_index(link));
                prop_assert!(load <= rates[link] as f64);
                *carried += load * next.since(now).as_secs_f64();
            }
            now = next;
            while let Some((index, start)) = coming.next_if(|(_, start)| start.at == now) {
                fabric.start(now, &start.path, start.bytes, None, index);
            }
            fabric.settle(now);
            while let Some(done) = fabric.pop_done() {
                let start = &starts[done.token];
                let slowest = start.path.iter().map(|link| rates[link.index()]).min().unwrap();
                let alone = rate(slowest).serialization_delay(start.bytes);
                prop_assert!(done.end.since(done.start) >= alone);
                n_done += 1;
            }
        }
        prop_assert_eq!((n_done, fabric.n_flows()), (starts.len(), 0));
        for (link, carried) in carried.iter().enumerate() {
            let crossing = starts.iter().filter(|s| s.path.contains(&LinkId::from_index(link)));
            let bytes: u64 = crossing.map(|start| start.bytes.0).sum();
            // A picosecond an event at the whole rate, and the sums in floating point.
            let slack = rates[link] as f64 * 2e-12 * starts.len() as f64 + 1e-6 * bytes as f64;
            prop_assert!((carried - bytes as f64).abs() <= slack + 1e-3, "{carried} {bytes}");
        }
    }
}

#[test]
fn what_runs_elsewhere_changes_nothing() {
    let starts: Vec<Start> = (0..50u64)
        .map(|n| Start {
            at: ps(n * 700_000),
            path: links(&[n as usize % 2]),
            bytes: Bytes(1_000 + n * 37),
            cap: None,
        })
        .collect();
    let alone = run(fabric(&[1_000_000_007; 6], 1), &starts).0;
    let mut both = starts.clone();
    for start in &starts {
        both.push(Start {
            path: links(&[3, 4]),
            ..start.clone()
        });
    }
    both.sort_by_key(|start| (start.at, start.path.len()));
    let ends = run(fabric(&[1_000_000_007; 6], 1), &both).0;
    let first = both
        .iter()
        .zip(ends)
        .filter(|(start, _)| start.path.len() == 1);
    assert_eq!(first.map(|(_, end)| end).collect::<Vec<_>>(), alone);
}

#[test]
fn the_same_flows_end_at_the_same_instants_again() {
    let topology = small_leaf_spine();
    let starts = random_flows(&topology, 2_000);
    let once = run(Fabric::new(&topology.graph), &starts);
    assert_eq!(once, run(Fabric::new(&topology.graph), &starts));
}

/// What a tolerance does to the sojourn times of flows, on a fabric that is busy.
#[test]
fn a_tolerance_makes_flows_later_by_no_more_on_average() {
    let topology = small_leaf_spine();
    let starts = random_flows(&topology, 5_000);
    let mean = |tolerance: f64| {
        let (ends, _) = run(Fabric::with_tolerance(&topology.graph, tolerance), &starts);
        let times = ends.iter().zip(&starts);
        let sum: f64 = times
            .map(|(end, start)| end.since(start.at).as_secs_f64())
            .sum();
        sum / starts.len() as f64
    };
    let exact = mean(0.0);
    for tolerance in [0.001, 0.01, 0.05] {
        let longer = mean(tolerance) / exact - 1.0;
        println!("tolerance {tolerance}: mean sojourn time longer by {longer:.5}");
        assert!(
            (-0.1 * tolerance..=tolerance).contains(&longer),
            "{tolerance}: {longer}"
        );
    }
}

/// Chunks of connections, each of which starts when the one before it has ended, by the instants at
/// which they end; `follow` says the fabric of the next before that.
fn chunks(
    mut fabric: Fabric<usize>,
    sizes: &[(Vec<usize>, Vec<u64>)],
    follow: bool,
) -> (Vec<Vec<SimTime>>, u64) {
    let mut left: Vec<_> = sizes
        .iter()
        .map(|(_, bytes)| bytes.iter().peekable())
        .collect();
    let mut ends = vec![Vec::new(); sizes.len()];
    for (n, (path, _)) in sizes.iter().enumerate() {
        let first = left[n].next().expect("a connection has a chunk");
        let flow = fabric.start(ps(0), &links(path), Bytes(*first), None, n);
        if let Some(next) = left[n].next_if(|_| follow) {
            fabric
                .follow(ps(0), flow, Bytes(*next))
                .expect("it is under way");
        }
    }
    let mut now = ps(0);
    loop {
        while let Some(done) = fabric.pop_due(now) {
            ends[done.token].push(now);
            let has_followed = follow && ends[done.token].len() < sizes[done.token].1.len();
            let Some(next) = left[done.token].next() else {
                continue;
            };
            if has_followed {
                fabric
                    .follow(now, done.flow, Bytes(*next))
                    .expect("it is under way");
            } else {
                let path = links(&sizes[done.token].0);
                fabric.start(now, &path, Bytes(*next), None, done.token);
            }
        }
        fabric.settle(now);
        now = match fabric.next() {
            Some(next) => next,
            None => return (ends, fabric.n_rate_changes()),
        };
    }
}

proptest! {
    #[test]
    fn what_follows_a_flow_is_as_if_started_when_that_ends(
        rates in rates(),
        sizes in prop::collection::vec(
            (prop::collection::btree_set(0usize..6, 1..=4), prop::collection::vec(1u64..100_000, 1..6)),
            1..12,
        ),
    ) {
        let sizes: Vec<(Vec<usize>, Vec<u64>)> = sizes
            .into_iter()
            .map(|(path, bytes)| (path.into_iter().collect(), bytes))
            .collect();
        let (started, n_started) = chunks(fabric(&rates, 1), &sizes, false);
        let (followed, n_followed) = chunks(fabric(&rates, 1), &sizes, true);
        prop_assert_eq!(started, followed);
        prop_assert!(n_followed <= n_started);
    }
}

/// What follows is forgotten with the flow that is cancelled, and its rate is given back.
#[test]
fn a_flow_that_is_cancelled_is_not_followed() {
    let mut fabric = fabric(&[1_000_000_000; 6], 1);
    let flow = fabric.start(ps(0), &links(&[0]), Bytes(100), None, 0);
    fabric
        .follow(ps(0), flow, Bytes(100))
        .expect("it is under way");
    assert_eq!(fabric.cancel(ps(40_000), flow), Some(Bytes(60)));
    assert_eq!(fabric.follow(ps(40_000), flow, Bytes(1)), None);
    fabric.settle(ps(40_000));
    assert_eq!((fabric.next(), fabric.n_flows()), (None, 0));
}

//! How many flows a second of wall time start and end in a fabric, on one core: 10,000 at a time
//! between 1,000 hosts of a leaf-spine, for several patterns of traffic; and what an event costs
//! against the number of disjoint racks, and against the size of one. Each flow that ends is followed
//! by another at once, and both are settled together. Prints tables.
//!
//! One run on a machine of two virtual cores with other work on both (load 3): flow events a second
//! with exact rates, and with a tolerance of 1%.
//!
//! | traffic | exact | 1% | changes of rate an event, exact |
//! |---|---|---|---|
//! | servers | 116,000 | 190,000 | 196 |
//! | in racks | 101,000 | 221,000 | 90 |
//! | uniform | 11,500 | 83,100 | 666 |
//!
//! Rates exact, racks of 40 hosts apart from each other: 162,000 with one, 125,000 with 4, 97,300
//! with 16, 85,300 with 64; changes an event go from 69 to 93, and a change takes longer the more flows
//! there are, as if for the caches, which nobody has measured.
//!
//! ```text
//! cargo run --release -p tandem-sim --example fabric_rate
//! ```
#![expect(clippy::print_stdout, reason = "the result is what an example is for")]

use std::time::Instant;

use schema::random::{Seed, exponential, stream, uniform};
use schema::units::{ByteRate, Bytes, SimDuration, SimTime};
use sim::fabric::topology::{Cable, LeafSpine, Oversubscription, Topology, leaf_spine};
use sim::fabric::{Fabric, LinkId, Routes, VertexId};

/// Mean size of a flow, exponential, in bytes.
const MEAN_BYTES: f64 = 1e6;
/// Paths that flows are drawn from, so that no time goes into routes.
const N_PATHS: usize = 200_000;
/// Flows that end in a round.
const ROUND: usize = 20;
const N_ROUNDS: usize = 500;

fn main() {
    let tolerances = [0.0, 0.001, 0.01, 0.05];
    println!("1,000 hosts in 25 racks, 10 spines, 2:1 oversubscribed, 10,000 flows at a time");
    row([
        "traffic",
        "tolerance",
        "flow events",
        "changes of",
        "wall time",
    ]);
    row(["", "[%]", "[/s]", "rate [/event]", "[us/event]"]);
    for pattern in [Pattern::Servers, Pattern::InRack, Pattern::Uniform] {
        for tolerance in tolerances {
            let topology = racks(25, 40, 10);
            let paths = pattern.paths(&topology, 25);
            let cost = measure(&topology, &paths, 10_000, tolerance);
            print_cost(pattern.name(), &format!("{:.1}", 100.0 * tolerance), cost);
        }
    }
    println!("\ndisjoint racks of 40 hosts, 400 flows in each");
    row(["racks", "flows", "flow events", "changes of", "wall time"]);
    row(["", "", "[/s]", "rate [/event]", "[us/event]"]);
    for n_racks in [1, 4, 16, 64, 256] {
        let topology = racks(n_racks, 40, 1);
        let paths = Pattern::InRack.paths(&topology, n_racks as usize);
        let n_flows = 400 * n_racks as usize;
        let cost = measure(&topology, &paths, n_flows, 0.0);
        print_cost(&n_racks.to_string(), &n_flows.to_string(), cost);
    }
    println!("\none rack, 10 flows a host, between any two");
    row(["hosts", "flows", "flow events", "changes of", "wall time"]);
    row(["", "", "[/s]", "rate [/event]", "[us/event]"]);
    for n_hosts in [10, 40, 160, 640] {
        let topology = racks(1, n_hosts, 1);
        let paths = Pattern::InRack.paths(&topology, 1);
        let n_flows = 10 * n_hosts as usize;
        let cost = measure(&topology, &paths, n_flows, 0.0);
        print_cost(&n_hosts.to_string(), &n_flows.to_string(), cost);
    }
}

/// Who sends to whom.
#[derive(Clone, Copy)]
enum Pattern {
    /// The last host of each rack is a server, and all others send to one of these or receive from
    /// it: two hundred flows share each direction of a server's cable.
    Servers,
    /// Any two hosts of one rack.
    InRack,
    /// Any two hosts.
    Uniform,
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Pattern::Servers => "servers",
            Pattern::InRack => "in racks",
            Pattern::Uniform => "uniform",
        }
    }

    fn paths(self, topology: &Topology, n_racks: usize) -> Vec<Vec<LinkId>> {
        let mut routes = Routes::new(&topology.graph);
        let mut rng = stream(Seed(1), "paths");
        let mut pick = |from: &[VertexId]| from[(uniform(&mut rng) * from.len() as f64) as usize];
        let hosts = &topology.hosts;
        let racks: Vec<&[VertexId]> = hosts.chunks(hosts.len() / n_racks).collect();
        let servers: Vec<VertexId> = racks.iter().map(|rack| rack[rack.len() - 1]).collect();
        let is_client = |host: &VertexId| !servers.contains(host);
        let clients: Vec<VertexId> = hosts.iter().copied().filter(is_client).collect();
        let mut paths = Vec::new();
        for label in 0..u64::MAX {
            let (from, to) = match self {
                Pattern::Servers if label % 2 == 0 => (pick(&servers), pick(&clients)),
                Pattern::Servers => (pick(&clients), pick(&servers)),
                Pattern::InRack => {
                    let rack = racks[label as usize % n_racks];
                    (pick(rack), pick(rack))
                }
                Pattern::Uniform => (pick(hosts), pick(hosts)),
            };
            if paths.len() == N_PATHS {
                break;
            }
            if from != to {
                let path = routes.path(&topology.graph, from, to, label);
                paths.push(path.expect("all are connected"));
            }
        }
        paths
    }
}

fn racks(leaves: u32, hosts_per_leaf: u32, spines: u32) -> Topology {
    let gbit = |n: u64| ByteRate::from_bytes_per_s(n * 125_000_000).expect("not zero");
    leaf_spine(&LeafSpine {
        leaves,
        hosts_per_leaf,
        spines,
        host: Cable {
            rate: gbit(25),
            delay: SimDuration::from_ns(500),
        },
        oversubscription: Oversubscription {
            hosts: 2,
            uplinks: 1,
        },
        uplink_delay: SimDuration::from_ns(500),
    })
    .expect("the racks are possible")
}

/// What was measured.
#[derive(Clone, Copy)]
struct Cost {
    /// Of wall time an event: the median of the rounds, which are shorter than the time for which a
    /// processor is lent to others.
    seconds: f64,
    /// Of rates, an event.
    changes: f64,
}

/// Keeps `n_flows` under way, until as many have ended, and then for the rounds that count.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(topology: &Topology, paths: &[Vec<LinkId>], n_flows: usize, tolerance: f64) -> Cost {
    let mut fabric = Fabric::with_tolerance(&topology.graph, tolerance);
    let mut sizes = stream(Seed(1), "sizes");
    let mut paths = paths.iter().cycle();
    let mut start = |fabric: &mut Fabric<()>, now: SimTime| {
        let bytes = Bytes(exponential(&mut sizes, MEAN_BYTES) as u64 + 1);
        let path = paths.next().expect("a cycle has no end");
        fabric.start(now, path, bytes, None, ());
    };
    for _ in 0..n_flows {
        start(&mut fabric, SimTime::ZERO);
    }
    fabric.settle(SimTime::ZERO);
    let mut run = |n_rounds: usize| {
        let mut rounds = Vec::new();
        let (mut n_events, before) = (0u64, fabric.n_rate_changes());
        for _ in 0..n_rounds {
            let begin = Instant::now();
            for _ in 0..ROUND {
                let now = fabric.next().expect("flows are under way");
                while fabric.pop_due(now).is_some() {
                    start(&mut fabric, now);
                    n_events += 2;
                }
                fabric.settle(now);
            }
            rounds.push(begin.elapsed().as_secs_f64() / (2 * ROUND) as f64);
        }
        rounds.sort_by(f64::total_cmp);
        Cost {
            seconds: rounds[rounds.len() / 2],
            changes: (fabric.n_rate_changes() - before) as f64 / n_events as f64,
        }
    };
    run(n_flows / ROUND);
    run(N_ROUNDS)
}

fn print_cost(what: &str, of: &str, cost: Cost) {
    row([
        what,
        of,
        &format!("{:.0}", 1.0 / cost.seconds),
        &format!("{:.1}", cost.changes),
        &format!("{:.2}", 1e6 * cost.seconds),
    ]);
}

fn row(cells: [&str; 5]) {
    let [a, b, c, d, e] = cells;
    println!("{a:<10} {b:>10} {c:>12} {d:>14} {e:>12}");
}

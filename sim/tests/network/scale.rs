//! Large networks.

use schema::distribution::Distribution;
use schema::scenario::{Balance, Extent, PlainKind, PolicyName, Station};
use schema::units::SimDuration;
use sim::queueing::{ArrivalsFile, Clients, Network, Plan};

/// A thousand hosts behind a balancer, and a hundred thousand clients that are all under way at
/// once: their requests and their thinking are a closed network, in which all clients are somewhere.
#[test]
fn a_thousand_hosts_serve_a_hundred_thousand_clients() {
    let exponential = |ms: u64| Distribution::Exponential(SimDuration::from_ns(1_000_000 * ms));
    let mut network = Network::new();
    let hosts: Vec<_> = (0..1_000)
        .map(|host| network.station(&format!("host-{host}"), Station::fifo(4, exponential(30))))
        .collect();
    let spread = PlainKind::Balance(Balance {
        policy: PolicyName::PowerOfTwo,
        to: hosts,
        weights: Vec::new(),
    });
    let spread = network.stage("spread", spread);
    network.clients(Clients {
        count: 100_000,
        ..Clients::one(
            "clients",
            ArrivalsFile::ClosedLoop {
                think: exponential(1_000),
            },
            vec![spread],
        )
    });
    let second = |n: u64| Extent::Time(SimDuration::from_ns(n * 1_000_000_000));
    let plan = Plan {
        replications: 1,
        threads: 1,
        ..Plan::new(second(2), second(3))
    };
    let report = network.run(&plan).expect("the network can be run");
    // Each client is thinking or waiting for a reply: N = X (Z + R).
    let whole = &report.whole;
    let clients = whole.throughput.value * (1.0 + whole.sojourn.mean.value);
    assert!((clients / 1e5 - 1.0).abs() < 0.01, "{clients}");
    assert_eq!(report.stages.len(), 1_000);
}

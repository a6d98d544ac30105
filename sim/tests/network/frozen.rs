//! Results of a small network, to the picosecond: a change of any of them is a change of what the
//! engine does, or of what it draws. Whether they are right the other tests say.

use insta::assert_snapshot;
use schema::distribution::Distribution;
use schema::scenario::{Discipline, Extent, Order, PlainKind, Retry, Station};
use sim::queueing::{Clients, Network, Plan};

use crate::support::*;

#[test]
fn a_small_network_keeps_its_results() {
    let mut network = Network::new();
    let desk = network.station(
        "desk",
        Station {
            capacity: Some(6),
            patience: Some(exponential(4_000)),
            retry: Some(Retry {
                attempts: 2,
                backoff: exponential(500),
                factor: 2.0,
            }),
            ..Station::new(2, Discipline::Preemptive(Order::Priority), exponential(900))
        },
    );
    let sharing = Discipline::Sharing {
        cap: 1.0,
        limit: Some(4),
    };
    let gamma = Distribution::Gamma {
        mean: ns(700),
        cv: 0.5,
    };
    let left = network.station("left", Station::new(2, sharing, gamma));
    let right = network.station("right", Station::fifo(1, exponential(300)));
    let split = network.stage("split", PlainKind::Fork(vec![left, right]));
    let join = network.stage("join", PlainKind::Join);
    network.route(desk, split, 1.0);
    for part in [left, right] {
        network.route(part, join, 1.0);
    }
    network.route(join, desk, 0.1);
    let rate = "1000000 /s".parse().expect("it is a rate");
    let arrivals = schema::arrivals::ArrivalsFile::poisson(rate);
    network.clients(Clients {
        classes: vec![kind("urgent", 0, 2.0), kind("usual", 1, 1.0)],
        ..sending("clients", arrivals, &[desk])
    });
    let plan = Plan {
        replications: 2,
        ..Plan::new(Extent::Requests(100), Extent::Requests(2_000))
    };
    let report = network.run(&plan).expect("the network can be run");
    let mut lines = vec![format!("events {:?}", report.events)];
    let stages = report
        .stages
        .iter()
        .map(|(name, stage)| (name.as_str(), stage));
    for (name, stage) in stages.chain([("whole", &report.whole)]) {
        lines.push(format!(
            "{name}: n {}, sojourn {} ps, waiting {} ps, p99 {} ps, rejected {}, reneged {}, lost {}",
            stage.n,
            picoseconds(stage.sojourn.mean.value),
            picoseconds(stage.waiting.mean.value),
            picoseconds(stage.sojourn.p99.value),
            stage.rejected,
            stage.reneged,
            stage.lost
        ));
    }
    assert_snapshot!(lines.join("\n"), @"events [10561, 10521]
desk: n 4420, sojourn 1091621 ps, waiting 132442 ps, p99 5357568 ps, rejected 62, reneged 191, lost 16
join: n 8840, sojourn 269078 ps, waiting 269078 ps, p99 1716223 ps, rejected 0, reneged 0, lost 0
left: n 4420, sojourn 795079 ps, waiting 8858 ps, p99 2269184 ps, rejected 0, reneged 0, lost 0
right: n 4420, sojourn 449844 ps, waiting 151351 ps, p99 2033663 ps, rejected 0, reneged 0, lost 0
whole: n 3984, sojourn 2258594 ps, waiting 920030 ps, p99 7847936 ps, rejected 62, reneged 191, lost 16");
}

//! When clients send, and of which kind.

use std::collections::BTreeMap;

use schema::arrivals::ArrivalsFile;
use schema::distribution::Distribution;
use schema::scenario::{Discipline, Extent, Station};
use schema::units::Frequency;
use sim::queueing::{Clients, Network};

use crate::support::End::Served;
use crate::support::*;

const fn thinking(ns: u64) -> ArrivalsFile {
    ArrivalsFile::ClosedLoop {
        think: constant(ns),
    }
}

#[test]
fn a_closed_loop_thinks_before_each_request() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    network.clients(sending("one", thinking(5), &[stage]));
    let report = network.run(&plan(Extent::Requests(3))).expect("it runs");
    assert_requests(
        &report,
        &[
            ("a", (5, 15, Served)),
            ("a1", (20, 30, Served)),
            ("a2", (35, 45, Served)),
        ],
    );
    // From when the first request that counts is sent until the last has ended.
    assert_eq!(picoseconds(report.window_s[0]), 40_000);
    assert!((report.whole.throughput.value / (3.0 / 40e-9) - 1.0).abs() < 1e-12);
}

#[test]
fn closed_loops_without_think_time_come_in_turns() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    network.clients(Clients {
        count: 3,
        ..sending("all", thinking(0), &[stage])
    });
    let report = network.run(&plan(Extent::Requests(2))).expect("it runs");
    assert_visits(
        &report,
        stage,
        &[
            ("a", (0, 0, 10)),
            ("b", (0, 10, 20)),
            ("c", (0, 20, 30)),
            ("a1", (10, 30, 40)),
            ("b1", (20, 40, 50)),
            ("c1", (30, 50, 60)),
        ],
    );
}

#[test]
fn a_closed_loop_is_limited_by_its_clients_or_by_the_server() {
    for (n, think, n_expected) in [
        (1u32, 30u64, 100u64),
        (3, 30, 300),
        (4, 30, 400),
        (9, 30, 400),
    ] {
        let mut network = Network::new();
        let stage = network.station("server", fifo(1, 10));
        network.clients(Clients {
            count: n,
            ..sending("all", thinking(think), &[stage])
        });
        // The cycle is 40 ns, or 10 ns a client if the server is always busy; the first request is
        // served from 30 on.
        let plan = sim::queueing::Plan {
            warmup: Extent::Time(ns(1_000)),
            ..plan(Extent::Time(ns(4_000)))
        };
        let report = network.run(&plan).expect("it runs");
        let served = report.whole.throughput.value * 4e-6;
        assert!((served - n_expected as f64).abs() < 1e-6, "{n}: {served}");
        // Interactive response time law: cycle less think time.
        let cycle = f64::from(n) * 4_000.0 / served;
        let sojourn = report.whole.sojourn.mean.value * 1e9;
        assert!(
            (sojourn - (cycle - think as f64)).abs() < 1e-6,
            "{n}: {sojourn}"
        );
    }
}

#[test]
fn an_open_loop_does_not_wait_for_replies() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    let rate = Frequency::from_per_second(1e9 / 4.0).expect("a rate is positive");
    let connections = 1;
    let arrivals = ArrivalsFile::Deterministic { rate, connections };
    network.clients(sending("one", arrivals, &[stage]));
    let report = network.run(&plan(Extent::Requests(3))).expect("it runs");
    assert_visits(
        &report,
        stage,
        &[("a", (4, 4, 14)), ("a1", (8, 14, 24)), ("a2", (12, 24, 34))],
    );
}

#[test]
fn every_client_sends_at_the_times_given() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    let arrivals = ArrivalsFile::Times {
        at: [0, 0, 50].map(ns).to_vec(),
        connections: 1,
    };
    network.clients(Clients {
        count: 2,
        ..sending("all", arrivals, &[stage])
    });
    let report = network.run(&plan(Extent::Requests(3))).expect("it runs");
    assert_visits(
        &report,
        stage,
        &[
            ("a", (0, 0, 10)),
            ("b", (0, 10, 20)),
            ("a1", (0, 20, 30)),
            ("b1", (0, 30, 40)),
            ("a2", (50, 50, 60)),
            ("b2", (50, 60, 70)),
        ],
    );
}

#[test]
fn a_time_is_sent_in_until_it_is_over() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    network.clients(arriving("one", &[0, 2, 19, 20, 30], &[stage]));
    let plan = sim::queueing::Plan {
        warmup: Extent::Time(ns(2)),
        ..plan(Extent::Time(ns(18)))
    };
    let report = network.run(&plan).expect("it runs");
    // What is sent at 20 would be after the end; what was sent before ends.
    assert_visits(
        &report,
        stage,
        &[("a", (0, 0, 10)), ("a1", (2, 10, 20)), ("a2", (19, 20, 30))],
    );
    // The first came before the start of what counts.
    let stage = &report.stages["server"];
    assert_eq!(stage.n, 2);
    assert_eq!(picoseconds(2.0 * stage.sojourn.mean.value), 18_000 + 11_000);
    // In the window, 2-20: a for 8, a1 for 18, a2 for 1; one departure, of a; the one at 20 is
    // after what happens then first, the end of the window.
    assert!((stage.number_in_system.value - 27.0 / 18.0).abs() < 1e-12);
    assert!((stage.throughput.value - 1.0 / 18e-9).abs() < 1.0);
}

#[test]
fn a_class_has_its_own_service_and_statistics() {
    let mut network = Network::new();
    let station = Station {
        services: BTreeMap::from([("long".to_owned(), constant(30))]),
        ..fifo(1, 5)
    };
    let first = network.station("first", station);
    let second = network.station("second", fifo(1, 1));
    let of = |name: &str, class: &str, at: &[u64]| Clients {
        classes: vec![kind(class, 0, 1.0)],
        ..arriving(name, at, &[first, second])
    };
    network.clients(of("x", "short", &[0, 1]));
    network.clients(of("y", "long", &[2]));
    network.clients(of("z", "short", &[3]));
    let report = run(&network);
    assert_visits(
        &report,
        first,
        &[
            ("a", (0, 0, 5)),
            ("a1", (1, 5, 10)),
            ("b", (2, 10, 40)),
            ("c", (3, 40, 45)),
        ],
    );
    // Classes of one name are one.
    let classes = &report.stages["first"].classes;
    assert_eq!(classes.keys().collect::<Vec<_>>(), ["long", "short"]);
    let (long, short) = (&classes["long"], &classes["short"]);
    assert_eq!((long.n, short.n), (1, 3));
    assert_eq!(picoseconds(long.sojourn.mean.value), 38_000);
    assert_eq!(picoseconds(long.waiting.mean.value), 8_000);
    assert_eq!(
        picoseconds(3.0 * short.sojourn.mean.value),
        (5 + 9 + 42) * 1_000
    );
    let whole = &report.whole.classes["short"];
    assert_eq!(
        picoseconds(3.0 * whole.sojourn.mean.value),
        (6 + 10 + 43) * 1_000
    );
}

#[test]
fn the_waiting_of_a_request_is_that_at_all_stations() {
    let mut network = Network::new();
    let path = [
        network.station("first", fifo(1, 10)),
        network.station("second", fifo(1, 15)),
        network.station(
            "third",
            Station::new(1, Discipline::Delay, Distribution::Constant(ns(7))),
        ),
    ];
    network.clients(arriving("one", &[0, 0], &path));
    let report = run(&network);
    // The second waits for 10, and for 5.
    assert_eq!(picoseconds(2.0 * report.whole.waiting.mean.value), 15_000);
    assert_eq!(
        picoseconds(2.0 * report.whole.sojourn.mean.value),
        32_000 + 47_000
    );
    let waiting = report.whole.number_waiting.value * WINDOW_NS as f64;
    assert!((waiting - 15.0).abs() < 1e-6);
}

#[test]
fn clients_that_are_not_under_way_together_have_no_window() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    for (name, think) in [("fast", 1), ("usual", 90), ("slow", 500)] {
        network.clients(sending(name, thinking(think), &[stage]));
    }
    let report = network.run(&plan(Extent::Requests(3))).expect("it runs");
    // The fast one has ended at 33, the slow one begins at 500; requests count all the same.
    assert_eq!(report.window_s, [0.0]);
    let stage = &report.stages["server"];
    assert_eq!((stage.n, stage.offered), (9, 0));
    assert_eq!(picoseconds(9.0 * stage.sojourn.mean.value), 90_000);
    assert!(stage.throughput.value.is_nan() && stage.number_in_system.value.is_nan());
}

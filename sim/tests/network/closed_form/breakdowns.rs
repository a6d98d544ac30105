//! Servers that fail and come back.

use schema::distribution::Distribution;
use schema::scenario::{Breakdown, Discipline, Extent, Lot, Order, Station, WhenFull};
use sim::queueing::Network;

use crate::support::*;

/// Each server works for `up`, then not for `down`, and so on.
fn failing(station: Station, up: u64, down: u64) -> Station {
    let (up, down) = (constant(up), constant(down));
    Station {
        breakdown: Some(Breakdown { up, down }),
        ..station
    }
}

#[test]
fn a_service_is_interrupted_and_resumed() {
    // The server works 0-7, 12-19, 24-31.
    let jobs = [
        Job::new(0, 10),
        Job::new(8, 2),
        Job::new(20, 2),
        Job::new(25, 7),
    ];
    let (network, stage) = with_jobs(failing(fifo(1, 0), 7, 5), &jobs);
    let report = run(&network);
    // b waits for a, c for the server; d is interrupted, at 31 until 36, with one left.
    assert_visits(
        &report,
        stage,
        &[
            ("a", (0, 0, 15)),
            ("b", (8, 15, 17)),
            ("c", (20, 24, 26)),
            ("d", (25, 26, 38)),
        ],
    );
    // A failed server is not busy: 7 and 3 of a, then 2, 2, and 5 and 2 of d.
    let utilization = report.stages["station"]
        .utilization
        .expect("it has a server");
    assert!((utilization.value * WINDOW_NS as f64 - 21.0).abs() < 1e-6);
}

#[test]
fn a_service_is_interrupted_as_often_as_it_takes() {
    let (network, stage) = with_jobs(failing(fifo(1, 0), 7, 5), &[Job::new(3, 22)]);
    // 3-7, 12-19, 24-31, 36-40.
    assert_visits(&run(&network), stage, &[("a", (3, 3, 40))]);
}

#[test]
fn each_server_fails_on_its_own() {
    let up = Distribution::Uniform {
        from: ns(1_000),
        to: ns(9_000),
    };
    let down = constant(10_000);
    let station = Station {
        breakdown: Some(Breakdown { up, down }),
        ..fifo(2, 0)
    };
    let (network, _) = with_jobs(station, &[Job::new(0, 9_500), Job::new(0, 9_500)]);
    // Servers fail at different instants, and each resumes its own request: what a visit takes is
    // its service and some times of repair.
    for visit in visits(&run(&network).trace) {
        assert_eq!((visit.ready, visit.start), (0, 0));
        assert!(visit.end >= 19_500);
        assert_eq!((visit.end - 9_500) % 10_000, 0);
    }
}

/// Of what happens at one instant the first scheduled comes first: an end of service is scheduled
/// when it starts, a failure when the server last came back.
#[test]
fn of_an_end_of_service_and_a_failure_the_first_scheduled_comes_first() {
    // The failure at 7 is older than the service that ends then.
    let (network, stage) = with_jobs(failing(fifo(1, 0), 7, 5), &[Job::new(3, 4)]);
    assert_visits(&run(&network), stage, &[("a", (3, 3, 12))]);
    // Resumed at 12, it ends at 19 with the server's next failure: service is resumed first.
    let (network, stage) = with_jobs(failing(fifo(1, 0), 7, 5), &[Job::new(3, 11)]);
    assert_visits(&run(&network), stage, &[("a", (3, 3, 19))]);
}

#[test]
fn a_batch_is_interrupted_as_a_whole() {
    let batch = Some(Lot {
        max: 2,
        delay: ns(4),
        per_request: ns(0),
    });
    let order = Order::Fifo;
    let station = Station::new(1, Discipline::Line { order, batch }, constant(10));
    let mut network = Network::new();
    let stage = network.station("batches", failing(station, 7, 5));
    // The third is due at 12 or before, and starts when the server is free, at 17.
    network.clients(arriving("one", &[0, 2, 6], &[stage]));
    assert_visits(
        &run(&network),
        stage,
        // 2-7, 12-17; 17-19, 24-31, 36-37.
        &[("a", (0, 2, 17)), ("a1", (2, 2, 17)), ("a2", (6, 17, 37))],
    );
}

#[test]
fn a_batch_that_is_due_waits_for_the_server() {
    let batch = Some(Lot {
        max: 2,
        delay: ns(2),
        per_request: ns(0),
    });
    let order = Order::Fifo;
    let station = Station::new(1, Discipline::Line { order, batch }, constant(3));
    let mut network = Network::new();
    let stage = network.station("batches", failing(station, 7, 5));
    network.clients(arriving("one", &[8, 11], &[stage]));
    // Both wait when the server is back.
    assert_visits(
        &run(&network),
        stage,
        &[("a", (8, 12, 15)), ("a1", (11, 12, 15))],
    );
}

#[test]
fn a_server_that_fails_while_it_is_blocked_comes_back_for_the_next() {
    let mut network = Network::new();
    let first = network.station("first", failing(fifo(1, 5), 12, 50));
    let second = Station {
        capacity: Some(1),
        when_full: WhenFull::Block,
        ..fifo(1, 20)
    };
    let second = network.station("second", second);
    network.clients(arriving("one", &[0, 0, 0], &[first, second]));
    let report = run(&network);
    // The server fails at 12, blocked by a1 until 25, and is back at 62.
    assert_visits(
        &report,
        first,
        &[("a", (0, 0, 5)), ("a1", (0, 5, 25)), ("a2", (0, 62, 67))],
    );
}

#[test]
fn a_server_comes_back_for_those_who_wait_for_it() {
    // Nothing else is to happen when the first station fails while it is idle: not until the second
    // is back does the last request go on, and then it needs the first.
    let mut network = Network::new();
    let late = network.station("late", failing(fifo(1, 2), 1, 100));
    let early = network.station("early", failing(fifo(1, 2), 10, 20));
    network.clients(arriving("one", &[5], &[late, early]));
    // Not by time, or the end of the window would still be to come.
    let report = network.run(&plan(Extent::Requests(1))).expect("it runs");
    // The late one works from 101 to 102 and from 202 to 203; the early one from 180 to 190 and
    // from 210 to 220.
    assert_visits(&report, late, &[("a", (5, 101, 203))]);
    assert_visits(&report, early, &[("a", (203, 210, 212))]);
}

#[test]
fn failures_end_with_the_last_request() {
    let (network, _) = with_jobs(failing(fifo(1, 0), 7, 5), &[Job::new(0, 3)]);
    let report = network
        .run(&plan(Extent::Requests(1)))
        .expect("the network can be run");
    assert!(report.events[0] < 10, "{:?}", report.events);
}

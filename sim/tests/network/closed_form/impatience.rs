//! Requests that lose their patience, or come back.

use schema::scenario::{Discipline, Order, Retry, Station};
use sim::queueing::Network;

use crate::support::End::{Lost, Served};
use crate::support::*;

/// A server of this discipline whose requests wait so long.
fn impatient(discipline: Discipline, patience_ns: u64) -> Station {
    Station {
        patience: Some(constant(patience_ns)),
        ..Station::new(1, discipline, constant(0))
    }
}

#[test]
fn who_waits_too_long_leaves_when_the_patience_ends() {
    let mut network = Network::new();
    let station = Station {
        patience: Some(constant(7)),
        ..fifo(1, 10)
    };
    let stage = network.station("busy", station);
    network.clients(arriving("one", &[0, 1, 5], &[stage]));
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 10)), ("a2", (5, 10, 20))]);
    assert_requests(
        &report,
        &[
            ("a1", (1, 8, Lost)),
            ("a", (0, 10, Served)),
            ("a2", (5, 20, Served)),
        ],
    );
    let busy = &report.stages["busy"];
    assert_eq!(
        (busy.offered, busy.rejected, busy.reneged, busy.lost),
        (3, 0, 1, 1)
    );
    assert!((busy.reneged_share.value - 1.0 / 3.0).abs() < 1e-12);
    // Its 7 ns are in the number in the system, and in no visit.
    let area = busy.number_in_system.value * WINDOW_NS as f64;
    assert!((area - (10.0 + 7.0 + 15.0)).abs() < 1e-6);
    assert_eq!(busy.n, 2);
}

#[test]
fn a_service_that_has_started_is_not_left() {
    let jobs = [
        Job::new(0, 20).priority(1),
        Job::new(5, 20).priority(0),
        Job::new(6, 1).priority(2),
    ];
    // a is interrupted for longer than its patience, and stays.
    let (network, stage) = with_jobs(
        impatient(Discipline::Preemptive(Order::Priority), 10),
        &jobs,
    );
    let report = run(&network);
    assert_visits(&report, stage, &[("b", (5, 5, 25)), ("a", (0, 0, 40))]);
    assert_requests(
        &report,
        &[
            ("c", (6, 16, Lost)),
            ("b", (5, 25, Served)),
            ("a", (0, 40, Served)),
        ],
    );
    // Of those who take turns all have started soon.
    let turns = Discipline::TimeSliced {
        slice: ns(8),
        switch: ns(0),
    };
    let (network, stage) = with_jobs(impatient(turns, 10), &jobs[..2]);
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 36)), ("b", (5, 8, 40))]);
}

#[test]
fn who_leaves_a_line_lets_the_others_forward() {
    // b leaves at 10, and c is the next.
    let jobs = [Job::new(0, 20), Job::new(3, 20), Job::new(15, 1)];
    for discipline in [
        line(Order::Fifo),
        line(Order::Lifo),
        Discipline::Preemptive(Order::Fifo),
        Discipline::Sharing {
            cap: 1.0,
            limit: Some(1),
        },
    ] {
        let (network, stage) = with_jobs(impatient(discipline, 7), &jobs);
        let report = run(&network);
        assert_visits(&report, stage, &[("a", (0, 0, 20)), ("c", (15, 20, 21))]);
        assert_eq!(report.stages["station"].reneged, 1);
    }
    // Both who wait have left when the turn of a ends: it goes on without a switch.
    let jobs = [Job::new(0, 20), Job::new(3, 20), Job::new(4, 1)];
    let turns = Discipline::TimeSliced {
        slice: ns(12),
        switch: ns(5),
    };
    let (network, stage) = with_jobs(impatient(turns, 7), &jobs);
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 20))]);
    assert_eq!(report.stages["station"].reneged, 2);
}

/// Of a service that starts and a patience that ends at one instant, what was scheduled first comes
/// first: the patience when the request came, the start when the service before it started.
#[test]
fn of_a_start_and_the_end_of_patience_the_first_scheduled_comes_first() {
    // The service of a ends at 10, which was known before b came.
    let jobs = [Job::new(0, 10), Job::new(3, 5)];
    let (network, stage) = with_jobs(impatient(line(Order::Fifo), 7), &jobs);
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 10)), ("b", (3, 10, 15))]);
    // c came when that of b, which ends at 20, had not started.
    let jobs = [Job::new(0, 10), Job::new(1, 10), Job::new(5, 5)];
    let (network, stage) = with_jobs(impatient(line(Order::Fifo), 15), &jobs);
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 10)), ("b", (1, 10, 20))]);
    assert_requests(
        &report,
        &[
            ("a", (0, 10, Served)),
            ("c", (5, 20, Lost)),
            ("b", (1, 20, Served)),
        ],
    );
}

#[test]
fn patience_without_length_is_for_an_idle_server_only() {
    let jobs = [Job::new(0, 10), Job::new(3, 5), Job::new(10, 5)];
    let (network, stage) = with_jobs(impatient(line(Order::Fifo), 0), &jobs);
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 10)), ("c", (10, 10, 15))]);
}

/// Room for one, and who is turned away comes back after 10, 20 and 40 ns.
fn persistent(attempts: u32) -> Station {
    Station {
        capacity: Some(1),
        retry: Some(Retry {
            attempts,
            backoff: constant(10),
            factor: 2.0,
        }),
        ..Station::fifo(1, constant(0))
    }
}

#[test]
fn who_was_turned_away_comes_back_ever_later() {
    // b comes at 1, 11, 31 and 71.
    for (busy_until, comes) in [(5, 11), (11, 11), (12, 31), (31, 31), (40, 71), (71, 71)] {
        let jobs = [Job::new(0, busy_until), Job::new(1, 4)];
        let (network, stage) = with_jobs(persistent(3), &jobs);
        let report = run(&network);
        let served = [("a", (0, 0, busy_until)), ("b", (comes, comes, comes + 4))];
        assert_visits(&report, stage, &served);
        // Its waiting is that of the visit; the time away is in the sojourn of the request.
        assert_eq!(picoseconds(report.whole.waiting.mean.value), 0);
        let expected = [
            ("a", (0, busy_until, Served)),
            ("b", (1, comes + 4, Served)),
        ];
        assert_requests(&report, &expected);
        let station = &report.stages["station"];
        let n_retried = match comes {
            11 => 1,
            31 => 2,
            _ => 3,
        };
        assert_eq!(station.retried, n_retried);
        assert_eq!(station.rejected, n_retried);
        assert_eq!((station.offered, station.lost), (2 + n_retried, 0));
    }
}

#[test]
fn after_its_last_attempt_a_request_is_lost() {
    for (attempts, last) in [(1, 11), (2, 31), (3, 71)] {
        let jobs = [Job::new(0, 100), Job::new(1, 4)];
        let (network, _) = with_jobs(persistent(attempts), &jobs);
        let report = run(&network);
        assert_requests(&report, &[("b", (1, last, Lost)), ("a", (0, 100, Served))]);
        let station = &report.stages["station"];
        let attempts = u64::from(attempts);
        assert_eq!(station.rejected, attempts + 1);
        assert_eq!((station.retried, station.lost), (attempts, 1));
    }
}

#[test]
fn who_lost_its_patience_comes_back_too() {
    let station = Station {
        patience: Some(constant(7)),
        retry: Some(Retry {
            attempts: 2,
            backoff: constant(10),
            factor: 1.0,
        }),
        ..Station::fifo(1, constant(0))
    };
    // b waits from 1 to 8 and from 18 to 25, and starts when it comes at 35.
    let (network, stage) = with_jobs(station, &[Job::new(0, 30), Job::new(1, 4)]);
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 30)), ("b", (35, 35, 39))]);
    let station = &report.stages["station"];
    assert_eq!((station.reneged, station.retried, station.lost), (2, 2, 0));
    assert_eq!(station.offered, 4);
}

#[test]
fn attempts_are_counted_anew_at_each_visit() {
    let mut network = Network::new();
    let small = Station {
        service: constant(5),
        ..persistent(1)
    };
    let small = network.station("small", small);
    let pause = network.station("pause", fifo(1, 3));
    // b is turned away at 2 and comes at 12; it is turned away again at 20, and comes at 30.
    network.clients(arriving("a", &[0], &[small]));
    network.clients(arriving("b", &[2], &[small, pause, small]));
    network.clients(arriving("c", &[18], &[small]));
    let report = run(&network);
    assert_visits(
        &report,
        small,
        &[
            ("a", (0, 0, 5)),
            ("b", (12, 12, 17)),
            ("c", (18, 18, 23)),
            ("b", (30, 30, 35)),
        ],
    );
    assert_eq!(report.stages["small"].lost, 0);
}

//! Stations with little room: rejection, and blocking after service.

use schema::ids::StageId;
use schema::scenario::{Discipline, Lot, Order, Station, WhenFull};
use sim::queueing::{Network, Report};

use crate::support::End::{Lost, Served};
use crate::support::*;

/// One server with room for so many, who find it full being turned away.
fn rejecting(capacity: u32, service_ns: u64) -> Station {
    Station {
        capacity: Some(capacity),
        ..fifo(1, service_ns)
    }
}

/// One server with room for so many, who find it full staying where they are.
fn blocking(capacity: u32, service_ns: u64) -> Station {
    Station {
        when_full: WhenFull::Block,
        ..rejecting(capacity, service_ns)
    }
}

#[test]
fn who_finds_a_station_full_is_turned_away() {
    let mut network = Network::new();
    let stage = network.station("small", rejecting(2, 10));
    network.clients(arriving("one", &[0, 1, 2, 3, 11, 12], &[stage]));
    let report = run(&network);
    assert_visits(
        &report,
        stage,
        &[("a", (0, 0, 10)), ("a1", (1, 10, 20)), ("a4", (11, 20, 30))],
    );
    assert_requests(
        &report,
        &[
            ("a2", (2, 2, Lost)),
            ("a3", (3, 3, Lost)),
            ("a", (0, 10, Served)),
            ("a5", (12, 12, Lost)),
            ("a1", (1, 20, Served)),
            ("a4", (11, 30, Served)),
        ],
    );
    let small = &report.stages["small"];
    assert_eq!((small.offered, small.rejected, small.lost), (6, 3, 3));
    assert_eq!((small.reneged, small.retried), (0, 0));
    assert!((small.rejected_share.value - 0.5).abs() < 1e-12);
    assert_eq!((report.whole.offered, report.whole.lost), (6, 3));
}

#[test]
fn sharing_and_delays_have_room_for_so_many_too() {
    for discipline in [
        Discipline::Delay,
        Discipline::Sharing {
            cap: 1.0,
            limit: None,
        },
        Discipline::Preemptive(Order::Fifo),
        Discipline::TimeSliced {
            slice: ns(4),
            switch: ns(0),
        },
    ] {
        let mut network = Network::new();
        let station = Station {
            capacity: Some(1),
            ..Station::new(1, discipline, constant(10))
        };
        let stage = network.station("small", station);
        network.clients(arriving("one", &[0, 9, 10, 11], &[stage]));
        let report = run(&network);
        // At 10 the arrival was scheduled at 9, and the departure before: at 0.
        assert_visits(&report, stage, &[("a", (0, 0, 10)), ("a2", (10, 10, 20))]);
    }
}

/// A station of one server, then one with this station's room.
fn tandem(first: Station, second: Station, at_ns: &[u64]) -> (Report, StageId, StageId) {
    let mut network = Network::new();
    let first = network.station("first", first);
    let second = network.station("second", second);
    network.clients(arriving("one", at_ns, &[first, second]));
    (run(&network), first, second)
}

#[test]
fn a_blocked_request_keeps_its_server() {
    let (report, first, second) = tandem(fifo(1, 5), blocking(1, 20), &[0, 0, 0]);
    assert_visits(
        &report,
        first,
        &[("a", (0, 0, 5)), ("a1", (0, 5, 25)), ("a2", (0, 25, 45))],
    );
    assert_visits(
        &report,
        second,
        &[
            ("a", (5, 5, 25)),
            ("a1", (25, 25, 45)),
            ("a2", (45, 45, 65)),
        ],
    );
    // The first server is taken from 0 to 45, the second from 5 to 65.
    let busy = |stage: &str| {
        let utilization = report.stages[stage].utilization.expect("it has a server");
        utilization.value * WINDOW_NS as f64
    };
    assert!((busy("first") - 45.0).abs() < 1e-6);
    assert!((busy("second") - 60.0).abs() < 1e-6);
}

#[test]
fn room_in_the_second_station_is_used_before_anyone_is_blocked() {
    let (report, first, second) = tandem(fifo(1, 5), blocking(2, 20), &[0, 0, 0, 0]);
    assert_visits(
        &report,
        first,
        &[
            ("a", (0, 0, 5)),
            ("a1", (0, 5, 10)),
            ("a2", (0, 10, 25)),
            ("a3", (0, 25, 45)),
        ],
    );
    assert_visits(
        &report,
        second,
        &[
            ("a", (5, 5, 25)),
            ("a1", (10, 25, 45)),
            ("a2", (25, 45, 65)),
            ("a3", (45, 65, 85)),
        ],
    );
}

#[test]
fn a_chain_of_blocked_servers_moves_at_one_instant() {
    let mut network = Network::new();
    let path = [
        network.station("first", fifo(1, 2)),
        network.station("second", blocking(1, 2)),
        network.station("third", blocking(1, 20)),
    ];
    network.clients(arriving("one", &[0, 0, 0], &path));
    let report = run(&network);
    assert_visits(
        &report,
        path[0],
        &[("a", (0, 0, 2)), ("a1", (0, 2, 4)), ("a2", (0, 4, 24))],
    );
    assert_visits(
        &report,
        path[1],
        &[("a", (2, 2, 4)), ("a1", (4, 4, 24)), ("a2", (24, 24, 44))],
    );
    assert_visits(
        &report,
        path[2],
        &[
            ("a", (4, 4, 24)),
            ("a1", (24, 24, 44)),
            ("a2", (44, 44, 64)),
        ],
    );
}

#[test]
fn the_blocked_enter_in_the_order_in_which_they_were_ready_to() {
    let mut network = Network::new();
    let slow = network.station("slow", fifo(1, 5));
    let fast = network.station("fast", fifo(1, 3));
    let last = network.station("last", blocking(1, 20));
    network.clients(arriving("a", &[0, 0], &[slow, last]));
    network.clients(arriving("b", &[0, 0], &[fast, last]));
    let report = run(&network);
    // b enters at 3; a is ready at 5, b1 at 6, and a1, whose server a has kept, only at 28.
    assert_visits(
        &report,
        last,
        &[
            ("b", (3, 3, 23)),
            ("a", (23, 23, 43)),
            ("b1", (43, 43, 63)),
            ("a1", (63, 63, 83)),
        ],
    );
    assert_visits(&report, slow, &[("a", (0, 0, 23)), ("a1", (0, 23, 63))]);
    assert_visits(&report, fast, &[("b", (0, 0, 3)), ("b1", (0, 3, 43))]);
}

#[test]
fn of_several_servers_each_is_blocked_alone() {
    let (report, first, _) = tandem(fifo(2, 5), blocking(1, 20), &[0, 0, 0, 0]);
    // a enters at 5; a1 is blocked from 5, a2 from 10; they move at 25 and 45.
    assert_visits(
        &report,
        first,
        &[
            ("a", (0, 0, 5)),
            ("a1", (0, 0, 25)),
            ("a2", (0, 5, 45)),
            ("a3", (0, 25, 65)),
        ],
    );
}

fn batches(max: u32, service_ns: u64) -> Station {
    let batch = Some(Lot {
        max,
        delay: ns(1),
        per_request: ns(0),
    });
    let order = Order::Fifo;
    Station::new(1, Discipline::Line { order, batch }, constant(service_ns))
}

#[test]
fn a_batch_keeps_its_server_until_the_last_of_it_has_gone_on() {
    let (report, first, second) = tandem(batches(2, 10), blocking(1, 10), &[0, 0, 1, 1]);
    assert_visits(
        &report,
        first,
        &[
            ("a", (0, 0, 10)),
            ("a1", (0, 0, 20)),
            ("a2", (1, 20, 30)),
            ("a3", (1, 20, 40)),
        ],
    );
    assert_visits(
        &report,
        second,
        &[
            ("a", (10, 10, 20)),
            ("a1", (20, 20, 30)),
            ("a2", (30, 30, 40)),
            ("a3", (40, 40, 50)),
        ],
    );
}

#[test]
fn a_batch_of_which_all_are_blocked_goes_on_one_by_one() {
    let mut network = Network::new();
    let first = network.station("first", batches(3, 10));
    let second = network.station("second", blocking(2, 30));
    network.clients(arriving("a", &[0, 0, 0, 5], &[first, second]));
    network.clients(arriving("b", &[0, 0], &[second]));
    let report = run(&network);
    // The second station is full until 30, then there is room every 30.
    assert_visits(
        &report,
        first,
        &[
            ("a", (0, 0, 30)),
            ("a1", (0, 0, 60)),
            ("a2", (0, 0, 90)),
            ("a3", (5, 90, 120)),
        ],
    );
}

#[test]
fn elsewhere_the_blocked_keep_only_their_place() {
    for discipline in [
        Discipline::Sharing {
            cap: 1.0,
            limit: None,
        },
        Discipline::Preemptive(Order::Fifo),
        Discipline::TimeSliced {
            slice: ns(100),
            switch: ns(0),
        },
        Discipline::Delay,
    ] {
        let first = Station {
            capacity: Some(2),
            ..Station::new(1, discipline, constant(10))
        };
        let (report, first, second) = tandem(first, blocking(1, 50), &[0, 20, 40, 45]);
        // a1 is done at 30 and blocked until 60; a2 has the server for itself from 40 to 50; a3
        // finds the station full of the blocked, and a2.
        assert_visits(
            &report,
            first,
            &[
                ("a", (0, 0, 10)),
                ("a1", (20, 20, 60)),
                ("a2", (40, 40, 110)),
            ],
        );
        assert_visits(
            &report,
            second,
            &[
                ("a", (10, 10, 60)),
                ("a1", (60, 60, 110)),
                ("a2", (110, 110, 160)),
            ],
        );
    }
}

#[test]
fn new_requests_wait_outside_a_station_that_blocks() {
    let mut network = Network::new();
    let stage = network.station("small", blocking(1, 10));
    network.clients(arriving("one", &[0, 2, 3], &[stage]));
    let report = run(&network);
    // What is outside is in the network, but not at the station.
    assert_visits(
        &report,
        stage,
        &[
            ("a", (0, 0, 10)),
            ("a1", (10, 10, 20)),
            ("a2", (20, 20, 30)),
        ],
    );
    assert_requests(
        &report,
        &[
            ("a", (0, 10, Served)),
            ("a1", (2, 20, Served)),
            ("a2", (3, 30, Served)),
        ],
    );
}

#[test]
fn the_place_of_a_request_is_free_when_it_has_left() {
    // b, from another station, is ready at the instant at which a leaves; the departure was
    // scheduled first.
    let mut network = Network::new();
    let before = network.station("before", fifo(1, 10));
    let small = network.station("small", blocking(1, 10));
    network.clients(arriving("a", &[0], &[small]));
    network.clients(arriving("b", &[0], &[before, small]));
    let report = run(&network);
    assert_visits(&report, before, &[("b", (0, 0, 10))]);
    assert_visits(&report, small, &[("a", (0, 0, 10)), ("b", (10, 10, 20))]);
}

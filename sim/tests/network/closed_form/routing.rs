//! What leads requests between stations.

use schema::ids::StageId;
use schema::scenario::{Balance, PlainKind, PolicyName, Station, TokensFile};
use sim::queueing::{Network, Report};

use crate::support::End::{Lost, Served};
use crate::support::*;

#[test]
fn a_route_of_probability_one_comes_before_the_path() {
    let mut network = Network::new();
    let first = network.station("first", fifo(1, 10));
    let second = network.station("second", fifo(1, 1));
    let detour = network.station("detour", fifo(1, 5));
    network.route(first, detour, 1.0);
    network.clients(arriving("one", &[0], &[first, second]));
    let report = run(&network);
    assert_visits(&report, first, &[("a", (0, 0, 10))]);
    assert_visits(&report, detour, &[("a", (10, 10, 15))]);
    assert_visits(&report, second, &[("a", (15, 15, 16))]);
}

#[test]
fn a_path_may_come_back_to_a_station() {
    let mut network = Network::new();
    let stage = network.station("server", fifo(1, 10));
    network.clients(arriving("one", &[0, 5], &[stage, stage]));
    // What comes back joins the end of the line.
    assert_visits(
        &run(&network),
        stage,
        &[
            ("a", (0, 0, 10)),
            ("a1", (5, 10, 20)),
            ("a", (10, 20, 30)),
            ("a1", (20, 30, 40)),
        ],
    );
}

#[test]
fn the_next_in_line_starts_before_what_left_comes_back() {
    // With one place, what comes back does not find it taken, nor does it take it from who waits.
    let mut network = Network::new();
    let station = Station {
        discipline: line(schema::scenario::Order::Lifo),
        ..fifo(1, 10)
    };
    let stage = network.station("server", station);
    network.clients(arriving("one", &[0, 5], &[stage, stage]));
    assert_visits(
        &run(&network),
        stage,
        &[
            ("a", (0, 0, 10)),
            ("a1", (5, 10, 20)),
            ("a", (10, 20, 30)),
            ("a1", (20, 30, 40)),
        ],
    );
}

#[test]
fn feedback_keeps_the_place_on_the_path() {
    let mut network = Network::new();
    let first = network.station("first", fifo(1, 10));
    let second = network.station("second", fifo(1, 1));
    network.route(first, first, 0.5);
    network.clients(arriving("one", &[0], &[first, second]));
    let report = run(&network);
    let visits = visits(&report.trace);
    let n_first = visits.iter().filter(|v| v.stage == first).count() as u64;
    assert_visits(
        &report,
        second,
        &[("a", (10 * n_first, 10 * n_first, 10 * n_first + 1))],
    );
}

#[test]
fn copies_are_served_apart_and_wait_for_each_other() {
    let mut network = Network::new();
    let x = network.station("x", fifo(1, 10));
    let y = network.station("y", fifo(1, 25));
    let fork = network.stage("fork", PlainKind::Fork(vec![x, y]));
    let join = network.stage("join", PlainKind::Join);
    let last = network.station("last", fifo(1, 3));
    network.clients(arriving("one", &[0, 1], &[fork, join, last]));
    let report = run(&network);
    assert_visits(&report, x, &[("a", (0, 0, 10)), ("a1", (1, 10, 20))]);
    assert_visits(&report, y, &[("a", (0, 0, 25)), ("a1", (1, 25, 50))]);
    assert_visits(
        &report,
        join,
        &[
            ("a", (25, 25, 25)),
            ("a", (10, 25, 25)),
            ("a1", (50, 50, 50)),
            ("a1", (20, 50, 50)),
        ],
    );
    assert_visits(&report, last, &[("a", (25, 25, 28)), ("a1", (50, 50, 53))]);
    assert_requests(&report, &[("a", (0, 28, Served)), ("a1", (1, 53, Served))]);
    // A copy waits at the join until the last has come.
    let join = &report.stages["join"];
    let area = 15.0 + 30.0;
    assert_eq!(picoseconds(4.0 * join.waiting.mean.value), 45_000);
    assert!((join.number_in_system.value * WINDOW_NS as f64 - area).abs() < 1e-6);
    assert!((join.number_waiting.value * WINDOW_NS as f64 - area).abs() < 1e-6);
    // The waiting of a request is that of all its copies.
    let waited = (9 + 24) + (15 + 30);
    assert_eq!(
        picoseconds(2.0 * report.whole.waiting.mean.value),
        waited * 1_000
    );
    let waiting = report.whole.number_waiting.value * WINDOW_NS as f64;
    assert!((waiting - waited as f64).abs() < 1e-6);
}

#[test]
fn forks_may_be_nested() {
    let mut network = Network::new();
    let x = network.station("x", fifo(1, 10));
    let y = network.station("y", fifo(1, 20));
    let z = network.station("z", fifo(1, 30));
    let after = network.station("after", fifo(1, 5));
    let inner = network.stage("inner", PlainKind::Fork(vec![x, y]));
    let inner_join = network.stage("inner-join", PlainKind::Join);
    let outer = network.stage("outer", PlainKind::Fork(vec![inner, z]));
    let outer_join = network.stage("outer-join", PlainKind::Join);
    let last = network.station("last", fifo(1, 1));
    for (from, to) in [
        (x, inner_join),
        (y, inner_join),
        (inner_join, after),
        (after, outer_join),
        (z, outer_join),
    ] {
        network.route(from, to, 1.0);
    }
    network.clients(arriving("one", &[0], &[outer, last]));
    let report = run(&network);
    assert_visits(&report, x, &[("a", (0, 0, 10))]);
    assert_visits(&report, y, &[("a", (0, 0, 20))]);
    assert_visits(
        &report,
        inner_join,
        &[("a", (20, 20, 20)), ("a", (10, 20, 20))],
    );
    assert_visits(&report, after, &[("a", (20, 20, 25))]);
    assert_visits(&report, z, &[("a", (0, 0, 30))]);
    assert_visits(
        &report,
        outer_join,
        &[("a", (30, 30, 30)), ("a", (25, 30, 30))],
    );
    assert_visits(&report, last, &[("a", (30, 30, 31))]);
}

#[test]
fn without_a_join_a_request_ends_with_its_last_copy() {
    let mut network = Network::new();
    let x = network.station("x", fifo(1, 10));
    let y = network.station("y", fifo(1, 25));
    let fork = network.stage("fork", PlainKind::Fork(vec![x, y]));
    network.clients(arriving("one", &[0], &[fork]));
    assert_requests(&run(&network), &[("a", (0, 25, Served))]);
}

#[test]
fn a_request_is_lost_if_one_of_its_copies_is() {
    let mut network = Network::new();
    let x = network.station("x", fifo(1, 30));
    let small = Station {
        capacity: Some(1),
        ..fifo(1, 10)
    };
    let small = network.station("small", small);
    let fork = network.stage("fork", PlainKind::Fork(vec![x, small]));
    let join = network.stage("join", PlainKind::Join);
    let last = network.station("last", fifo(1, 1));
    network.clients(arriving("one", &[0, 1], &[fork, join, last]));
    let report = run(&network);
    // The copy of the second that was not turned away is served all the same.
    assert_visits(&report, x, &[("a", (0, 0, 30)), ("a1", (1, 30, 60))]);
    assert_requests(&report, &[("a", (0, 31, Served)), ("a1", (1, 60, Lost))]);
    assert_eq!((report.whole.n, report.whole.lost), (1, 1));
}

#[test]
fn copies_may_wait_at_different_joins() {
    let mut network = Network::new();
    let x = network.station("x", fifo(1, 10));
    let y = network.station("y", fifo(1, 25));
    let fork = network.stage("fork", PlainKind::Fork(vec![x, y]));
    let early = network.stage("early", PlainKind::Join);
    let late = network.stage("late", PlainKind::Join);
    let after = network.station("after", fifo(1, 3));
    network.route(x, early, 1.0);
    network.route(y, late, 1.0);
    network.route(late, after, 1.0);
    network.clients(arriving("one", &[0], &[fork]));
    let report = run(&network);
    // The request goes on from where the last came.
    assert_visits(&report, early, &[("a", (10, 25, 25))]);
    assert_visits(&report, late, &[("a", (25, 25, 25))]);
    assert_visits(&report, after, &[("a", (25, 25, 28))]);
}

#[test]
fn what_is_no_copy_passes_a_join() {
    let mut network = Network::new();
    let join = network.stage("join", PlainKind::Join);
    let stage = network.station("server", fifo(1, 10));
    network.clients(arriving("one", &[0], &[join, stage, join]));
    let report = run(&network);
    assert_visits(&report, stage, &[("a", (0, 0, 10))]);
    assert_eq!(report.stages["join"].n, 0);
}

/// A balancer of this name before these stations; where each request went, by label of its station, in
/// order of arrival.
fn balanced(
    (name, policy): (&str, PolicyName),
    weights: &[f64],
    stations: &[Station],
    at_ns: &[u64],
    direct: &[(usize, u64)],
) -> (String, Report) {
    let mut network = Network::new();
    let to: Vec<StageId> = stations
        .iter()
        .zip(["A", "B", "C"])
        .map(|(station, name)| network.station(name, station.clone()))
        .collect();
    let balance = Balance {
        policy,
        to: to.clone(),
        weights: weights.to_vec(),
    };
    let balancer = network.stage(name, PlainKind::Balance(balance));
    for (index, at) in direct {
        network.clients(arriving(&format!("direct-{at}"), &[*at], &[to[*index]]));
    }
    network.clients(arriving("balanced", at_ns, &[balancer]));
    let report = run(&network);
    let mut visits = visits(&report.trace);
    visits.sort_by_key(|visit| visit.request);
    let client = visits.last().expect("there are visits").request.client();
    let went = visits.iter().filter(|v| v.request.client() == client);
    let names = went.map(|visit| {
        let index = to.iter().position(|stage| *stage == visit.stage);
        ["A", "B", "C"][index.expect("it went to one of them")]
    });
    (names.collect(), report)
}

/// Where requests went by a balancer that starts with this station: with which it does is drawn from the
/// stream of its name.
fn balanced_from(
    first: char,
    policy: PolicyName,
    stations: &[Station],
    at_ns: &[u64],
    direct: &[(usize, u64)],
) -> (String, Report) {
    (0..64)
        .map(|number| {
            let name = format!("balancer-{number}");
            balanced((&name, policy), &[], stations, at_ns, direct)
        })
        .find(|(went, _)| went.starts_with(first))
        .expect("some balancer starts with each station")
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let stations = [fifo(1, 10), fifo(1, 10), fifo(1, 10)];
    let at = [0, 1, 2, 3, 50, 60, 61];
    for (first, turns) in [('A', "ABCABCA"), ('B', "BCABCAB"), ('C', "CABCABC")] {
        let (went, report) = balanced_from(first, PolicyName::RoundRobin, &stations, &at, &[]);
        assert_eq!(went, turns);
        assert_eq!(report.stages.len(), 3, "nobody stays at the balancer");
        let n = |name: &str| report.stages[name].n;
        assert_eq!(n("A") + n("B") + n("C"), 7);
        assert_eq!(n(&first.to_string()), 3);
    }
}

#[test]
fn weights_are_spread_evenly() {
    let at: Vec<u64> = (0..9).collect();
    let of = |weights: &[f64]| {
        let stations = vec![fifo(1, 10); weights.len()];
        balanced(
            ("balancer", PolicyName::Weighted),
            weights,
            &stations,
            &at,
            &[],
        )
        .0
    };
    assert_eq!(of(&[2.0, 1.0]), "ABAABAABA");
    assert_eq!(of(&[1.0, 1.0]), "ABABABABA");
    // The sequence of nginx for weights 5, 1, 1.
    assert_eq!(of(&[5.0, 1.0, 1.0]), "AABACAAAA");
}

#[test]
fn least_outstanding_counts_what_the_balancer_sent() {
    let from = |first, at: &[u64]| {
        let stations = [fifo(1, 100), fifo(1, 10)];
        balanced_from(first, PolicyName::LeastOutstanding, &stations, at, &[]).0
    };
    // At 2 both have one and it is the turn of the first; at 3 the second has fewer; at 15 it has one
    // left, the first has two; at 41 it has none.
    let at = [0, 1, 2, 3, 15, 41];
    assert_eq!(from('A', &at), "ABABBB");
    // At 2 it is the turn of the second, so at 3 the first has fewer.
    assert_eq!(from('B', &at), "BABABB");
    // Who finds both idle takes them in turn.
    let at = [0, 200, 400, 600];
    assert_eq!(from('A', &at), "ABAB");
    assert_eq!(from('B', &at), "BABA");
}

#[test]
fn what_others_sent_counts_for_the_shortest_line_alone() {
    let stations = [fifo(1, 100), fifo(1, 10)];
    let direct = [(0, 0), (0, 1)];
    let least = PolicyName::LeastOutstanding;
    let (went, _) = balanced_from('A', least, &stations, &[2], &direct);
    assert_eq!(went, "A");
    for number in 0..16 {
        let name = format!("balancer-{number}");
        let shortest = (name.as_str(), PolicyName::JoinShortestQueue);
        assert_eq!(balanced(shortest, &[], &stations, &[2], &direct).0, "B");
    }
}

#[test]
fn what_was_turned_away_is_not_outstanding() {
    let small = Station {
        capacity: Some(1),
        ..fifo(1, 10)
    };
    let stations = [small, fifo(1, 30)];
    let at = [0, 1, 2, 3, 20, 21];
    // From A on: A turns away what comes at 2, when it is its turn, and at 21, when it has one and B has
    // two. From B on: A turns away what comes at 3 and at 21, when it has one and B has two. Were what it
    // turned away outstanding, both would have two at 21, and it would be the turn of B.
    for (first, served) in [('A', "ABBA"), ('B', "BABA")] {
        let least = PolicyName::LeastOutstanding;
        let (went, report) = balanced_from(first, least, &stations, &at, &[]);
        assert_eq!(report.stages["A"].lost, 2);
        assert_eq!(went, served);
    }
}

#[test]
fn the_shortest_line_is_joined() {
    let stations = [fifo(1, 100), fifo(1, 10), fifo(1, 30)];
    let at = [0, 1, 2, 3, 14, 15, 16];
    // At 3 each has one, and whoever was first has its turn again. By 14 B has served one.
    for (first, turns) in [
        // At 14 B has none; at 15 both B and C have one, and C comes after B; at 16 B has one.
        ('A', "ABCABCB"),
        // At 14 each has one, and the turns are of C, A and B.
        ('B', "BCABCAB"),
        // At 14 B has none; at 15 both A and B have one, and A comes after B and C; at 16 B has one.
        ('C', "CABCBAB"),
    ] {
        let shortest = PolicyName::JoinShortestQueue;
        assert_eq!(balanced_from(first, shortest, &stations, &at, &[]).0, turns);
    }
}

#[test]
fn of_two_choices_the_shorter_line_is_joined() {
    // The two choices of two stations are both.
    let stations = [fifo(1, 100), fifo(1, 10)];
    let direct = [(0, 0)];
    let at = [1, 20, 40, 60];
    let (went, _) = balanced(
        ("balancer", PolicyName::PowerOfTwo),
        &[],
        &stations,
        &at,
        &direct,
    );
    assert_eq!(went, "BBBB");
}

/// Tokens before a delay of 10 ns, and after it a place where they are given back.
fn limited(count: u32, take: u32, at_ns: &[u64]) -> (Report, StageId) {
    let mut network = Network::new();
    let delay = Station::new(1, schema::scenario::Discipline::Delay, constant(10));
    let delay = network.station("delay", delay);
    let pool = network.stage("pool", PlainKind::Tokens(TokensFile { count, take }));
    let release = network.stage("release", PlainKind::Release(pool));
    let last = network.station("last", fifo(1, 1));
    network.clients(arriving("one", at_ns, &[pool, delay, release, last]));
    (run(&network), pool)
}

#[test]
fn who_finds_too_few_tokens_waits_for_them() {
    let (report, pool) = limited(2, 1, &[0, 1, 2, 3]);
    assert_visits(
        &report,
        pool,
        &[
            ("a", (0, 0, 0)),
            ("a1", (1, 1, 1)),
            ("a2", (2, 10, 10)),
            ("a3", (3, 11, 11)),
        ],
    );
    // Given back before the last station.
    assert_requests(
        &report,
        &[
            ("a", (0, 11, Served)),
            ("a1", (1, 12, Served)),
            ("a2", (2, 21, Served)),
            ("a3", (3, 22, Served)),
        ],
    );
    // Two tokens, each taken for 10 by two.
    let taken = report.stages["pool"].utilization.expect("it has tokens");
    assert!((taken.value * 2.0 * WINDOW_NS as f64 - 40.0).abs() < 1e-6);
}

#[test]
fn tokens_are_taken_together() {
    // One token is left, which nobody takes.
    let (report, pool) = limited(3, 2, &[0, 1, 2]);
    assert_visits(
        &report,
        pool,
        &[("a", (0, 0, 0)), ("a1", (1, 10, 10)), ("a2", (2, 20, 20))],
    );
}

#[test]
fn a_request_that_ends_gives_its_tokens_back() {
    let mut network = Network::new();
    let small = Station {
        capacity: Some(1),
        ..fifo(1, 10)
    };
    let small = network.station("small", small);
    let tokens = TokensFile { count: 1, take: 1 };
    let pool = network.stage("pool", PlainKind::Tokens(tokens));
    network.clients(arriving("direct", &[0], &[small]));
    network.clients(arriving("limited", &[1, 2, 3, 12], &[pool, small]));
    let report = run(&network);
    // Those of 1, 2 and 3 are turned away, each with its token.
    assert_visits(&report, small, &[("a", (0, 0, 10)), ("b3", (12, 12, 22))]);
    assert_visits(
        &report,
        pool,
        &[
            ("b", (1, 1, 1)),
            ("b1", (2, 2, 2)),
            ("b2", (3, 3, 3)),
            ("b3", (12, 12, 12)),
        ],
    );
}

#[test]
fn tokens_of_a_copy_go_to_its_request() {
    let mut network = Network::new();
    let tokens = TokensFile { count: 1, take: 1 };
    let pool = network.stage("pool", PlainKind::Tokens(tokens));
    let x = network.station("x", fifo(1, 10));
    let fork = network.stage("fork", PlainKind::Fork(vec![x, pool]));
    let join = network.stage("join", PlainKind::Join);
    let release = network.stage("release", PlainKind::Release(pool));
    let last = network.station("last", fifo(1, 5));
    network.clients(arriving("one", &[0, 1], &[fork, join, last, release]));
    let report = run(&network);
    // A copy takes the token and waits at the join; the request gives it back at 15.
    assert_visits(&report, pool, &[("a", (0, 0, 0)), ("a1", (1, 15, 15))]);
    assert_requests(&report, &[("a", (0, 15, Served)), ("a1", (1, 25, Served))]);
}

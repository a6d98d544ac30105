//! Networks that cannot be run, and why.

use std::collections::BTreeMap;

use schema::arrivals::{ArrivalsFile, GapsError};
use schema::distribution::Distribution;
use schema::ids::{Id, StageId};
use schema::scenario::{
    Balance, Breakdown, Discipline, Extent, Lot, Order, PlainKind, PolicyName, Retry, Station,
    TokensFile, WhenFull,
};
use schema::units::{Frequency, SimTime};
use sim::SimError;
use sim::queueing::{Clients, Kind, Network, Plan};

use crate::support::*;

/// Why the network cannot be run.
#[track_caller]
fn error_of(network: &Network) -> SimError {
    let report = network.run(&by_time());
    report.expect_err("the network cannot be run")
}

fn blocking(capacity: u32, service_ns: u64) -> Station {
    Station {
        capacity: Some(capacity),
        when_full: WhenFull::Block,
        ..fifo(1, service_ns)
    }
}

#[test]
fn stations_that_block_each_other_are_stuck() {
    let mut network = Network::new();
    let x = network.station("x", blocking(1, 10));
    let y = network.station("y", blocking(1, 20));
    network.station("empty", fifo(1, 1));
    network.clients(arriving("a", &[0], &[x, y]));
    network.clients(arriving("b", &[0, 5], &[y, x]));
    let stuck = error_of(&network);
    // The clock stands where the last thing happened: the end of the window.
    let text = format!(
        "replication 0 stands still at {} s with 3 requests under way: each waits for another, for room or for tokens; in `x`: 1, in `y`: 1",
        WINDOW_NS as f64 * 1e-9
    );
    assert_eq!(stuck.to_string(), text);
    let stuck = network.run(&plan(Extent::Requests(9)));
    let Err(SimError::Stuck { at, n, stages, .. }) = stuck else {
        panic!("each waits for room in the other: {stuck:?}")
    };
    // The third is outside, at no stage.
    assert_eq!((at, n), (SimTime::from_ps(20_000), 3));
    assert_eq!(stages, [("x".to_owned(), 1), ("y".to_owned(), 1)]);
}

#[test]
fn what_waits_for_its_own_place_is_stuck() {
    let mut network = Network::new();
    let stage = network.station("x", blocking(1, 10));
    network.clients(arriving("a", &[0], &[stage, stage]));
    assert!(matches!(error_of(&network), SimError::Stuck { n: 1, .. }));
}

#[test]
fn tokens_that_nobody_gives_back_leave_others_stuck() {
    let mut network = Network::new();
    let tokens = TokensFile { count: 1, take: 1 };
    let pool = network.stage("pool", PlainKind::Tokens(tokens));
    let stage = network.station("server", fifo(1, 10));
    // The second time it asks for the token that it has.
    network.clients(arriving("a", &[0], &[pool, stage, pool]));
    let stuck = error_of(&network);
    assert!(
        matches!(&stuck, SimError::Stuck { stages, .. } if stages == &[("pool".to_owned(), 1)])
    );
}

#[test]
fn tokens_are_given_back_only_by_who_has_them() {
    let mut network = Network::new();
    let tokens = TokensFile { count: 2, take: 1 };
    let pool = network.stage("pool", PlainKind::Tokens(tokens));
    let release = network.stage("release", PlainKind::Release(pool));
    network.clients(arriving("a", &[7], &[release]));
    let error = error_of(&network);
    assert!(matches!(&error, SimError::NoTokens { .. }));
    assert_eq!(
        error.to_string(),
        "replication 0: a request came to `release` and had no tokens of `pool`; lead it through `pool` before"
    );
    // Nor twice.
    let mut network = Network::new();
    let pool = network.stage("pool", PlainKind::Tokens(tokens));
    let release = network.stage("release", PlainKind::Release(pool));
    network.clients(arriving("a", &[7], &[pool, release, release]));
    assert!(matches!(error_of(&network), SimError::NoTokens { .. }));
}

#[track_caller]
fn assert_endless(network: &Network, at_ns: u64) {
    let error = error_of(network);
    let expected = SimTime::from_ps(at_ns * 1_000);
    assert!(
        matches!(&error, SimError::Endless { at, .. } if *at == expected),
        "{error}"
    );
}

#[test]
fn stages_that_take_no_time_go_round_without_end() {
    let mut network = Network::new();
    let x = network.stage("x", PlainKind::Join);
    let y = network.stage("y", PlainKind::Join);
    network.route(x, y, 1.0);
    network.route(y, x, 1.0);
    network.clients(arriving("a", &[3], &[x]));
    assert_endless(&network, 3);
}

#[test]
fn services_that_take_no_time_go_round_without_end() {
    let mut network = Network::new();
    let x = network.station("x", fifo(1, 0));
    let y = network.station("y", Station::new(1, Discipline::Delay, constant(0)));
    network.route(x, y, 1.0);
    network.route(y, x, 1.0);
    network.clients(arriving("a", &[3], &[x]));
    network.clients(arriving("b", &[3, 3, 3], &[y]));
    assert_endless(&network, 3);
}

#[test]
fn attempts_without_backoff_go_round_without_end() {
    let station = Station {
        capacity: Some(1),
        retry: Some(Retry {
            attempts: u32::MAX,
            backoff: constant(0),
            factor: 1.0,
        }),
        ..fifo(1, 10)
    };
    let mut network = Network::new();
    let stage = network.station("x", station);
    network.clients(arriving("a", &[0, 4], &[stage]));
    assert_endless(&network, 4);
}

#[test]
fn a_closed_loop_that_takes_no_time_makes_no_progress() {
    let think = constant(0);
    let mut network = Network::new();
    let stage = network.station("x", fifo(1, 0));
    let arrivals = ArrivalsFile::ClosedLoop { think };
    network.clients(sending("loops", arrivals, &[stage]));
    let error = error_of(&network);
    assert!(matches!(&error, SimError::NoProgress { client } if client == "client/loops/0"));
    // So many requests end all the same.
    let report = network.run(&Plan {
        keep: sim::queueing::Keep::Statistics,
        ..plan(Extent::Requests(200_000))
    });
    assert_eq!(report.expect("it ends").whole.n, 200_000);
}

/// A network that can be run, to be changed.
fn base() -> (Network, StageId) {
    let mut network = Network::new();
    let stage = network.station("x", fifo(1, 10));
    network.clients(arriving("a", &[0], &[stage]));
    (network, stage)
}

#[track_caller]
fn assert_refused(network: &Network, expected: &str) {
    match network.run(&plan(Extent::Requests(1))) {
        Err(SimError::Network { what }) => assert_eq!(what, expected),
        other => panic!("must be refused: {other:?}"),
    }
}

#[test]
fn a_network_needs_clients_with_a_path() {
    let mut empty = Network::new();
    assert_refused(&empty, "there are no clients");
    let stage = empty.station("x", fifo(1, 10));
    let with = |clients| {
        let mut network = empty.clone();
        network.clients(clients);
        network
    };
    let none = "group `a` must have a client and a path";
    assert_refused(&with(arriving("a", &[0], &[])), none);
    let nobody = Clients {
        count: 0,
        ..arriving("a", &[0], &[stage])
    };
    assert_refused(&with(nobody), none);
    assert_refused(
        &with(arriving("a", &[0], &[StageId::from_index(1)])),
        "group `a` has a path that leads to no stage",
    );
    assert_refused(
        &with(arriving("a", &[0], &[stage; 256])),
        "group `a` has a path of more than 255 hops",
    );
    run(&with(arriving("a", &[0], &[stage; 255])));
    let mut twice = with(arriving("a", &[0], &[stage]));
    twice.clients(arriving("a", &[0], &[stage]));
    assert_refused(&twice, "group `a` has the name of another");
    let wrong = [
        (0.0, 1.0),
        (f64::NAN, 1.0),
        (1.0, 0.0),
        (1.0, f64::INFINITY),
    ];
    for (share, weight) in wrong {
        let kind = Kind {
            share,
            ..kind("k", 0, weight)
        };
        let clients = Clients {
            classes: vec![kind],
            ..arriving("a", &[0], &[stage])
        };
        assert_refused(
            &with(clients),
            "group `a` must have a share and a weight above zero of class `k`",
        );
    }
}

#[test]
fn arrivals_that_cannot_be_drawn_are_refused() {
    let refused = |clients: Clients| {
        let mut network = Network::new();
        let stage = network.station("x", fifo(1, 10));
        network.clients(Clients {
            path: vec![stage],
            ..clients
        });
        match error_of(&network) {
            SimError::Requests(error) => error,
            other => panic!("its arrivals must be refused: {other}"),
        }
    };
    let not_read = Clients {
        replayed: None,
        ..arriving("a", &[0], &[])
    };
    let file = "timeline".to_owned();
    assert_eq!(refused(not_read), GapsError::NoTimes { file });
    let rate = Frequency::from_per_second(2e9).expect("a rate is positive");
    let connections = 1;
    let too_fast = ArrivalsFile::Poisson { rate, connections };
    assert_eq!(
        refused(sending("a", too_fast, &[])).to_string(),
        "`poisson.rate`: must be at most 1000000000 /s, found 2000000000 /s"
    );
    let mean = ns(5);
    let think = Distribution::Gamma { mean, cv: -1.0 };
    let arrivals = ArrivalsFile::ClosedLoop { think };
    assert_eq!(
        refused(sending("a", arrivals, &[])).to_string(),
        "`closed-loop.think.gamma.cv`: must be more than zero, found -1"
    );
}

#[test]
fn routes_have_probabilities_and_lead_to_stages() {
    let with = |routes: &[f64]| {
        let (mut network, stage) = base();
        for probability in routes {
            network.route(stage, stage, *probability);
        }
        network
    };
    let wrong = "stage `x` must lead on with probabilities from 0, of 1 at most in all";
    for routes in [
        &[1.1][..],
        &[-0.1],
        &[f64::NAN],
        &[0.6, 0.6],
        &[-0.5, 1.2],
        &[f64::INFINITY],
    ] {
        assert_refused(&with(routes), wrong);
    }
    run(&with(&[0.0, 0.2]));
    let (mut network, stage) = base();
    network.route(stage, StageId::from_index(7), 1.0);
    assert_refused(&network, "stage `x` must lead to stages");
    let (mut network, stage) = base();
    let fork = network.stage("fork", PlainKind::Fork(vec![stage]));
    network.route(fork, stage, 1.0);
    assert_refused(
        &network,
        "stage `fork` leads on by itself: it takes no routes",
    );
}

#[test]
fn stages_lead_where_they_can() {
    let refused = |kind: PlainKind, expected: &str| {
        let (mut network, _) = base();
        network.stage("y", kind);
        assert_refused(&network, expected);
    };
    let stage = StageId::from_index;
    let (x, y, nowhere) = (stage(0), stage(1), stage(2));
    for to in [vec![], vec![x, nowhere]] {
        refused(PlainKind::Fork(to), "stage `y` must lead to stages");
    }
    let balance = |policy, to: &[StageId], weights: &[f64]| {
        PlainKind::Balance(Balance {
            policy,
            to: to.to_vec(),
            weights: weights.to_vec(),
        })
    };
    for to in [&[][..], &[x, nowhere], &[x, y]] {
        let kind = balance(PolicyName::Random, to, &[]);
        refused(kind, "stage `y` must lead to stations");
    }
    for (policy, weights) in [
        (PolicyName::Weighted, &[][..]),
        (PolicyName::Weighted, &[1.0, 2.0]),
        (PolicyName::Weighted, &[0.0]),
        (PolicyName::Weighted, &[f64::NAN]),
        (PolicyName::RoundRobin, &[1.0]),
    ] {
        refused(
            balance(policy, &[x], weights),
            "stage `y` must have a weight above zero for each station if it is weighted, and none otherwise",
        );
    }
    refused(
        balance(PolicyName::PowerOfTwo, &[x], &[]),
        "stage `y` must lead to two stations at least",
    );
    for (count, take) in [(0, 0), (1, 0), (1, 2)] {
        refused(
            PlainKind::Tokens(TokensFile { count, take }),
            "stage `y` must have as many tokens as each request takes, one at least",
        );
    }
    for pool in [x, nowhere] {
        refused(
            PlainKind::Release(pool),
            "stage `y` must take back the tokens of a stage that gives them out",
        );
    }
    let (mut network, _) = base();
    network.station("x", fifo(1, 10));
    assert_refused(&network, "stage `x` has the name of another");
}

#[test]
fn stations_can_serve() {
    let refused = |station: Station, expected: &str| {
        let (mut network, _) = base();
        network.station("y", station);
        assert_refused(&network, expected);
    };
    let of = |discipline| Station::new(1, discipline, constant(5));
    let no_room = "stage `y` must have a server and room";
    refused(fifo(0, 10), no_room);
    refused(
        Station {
            capacity: Some(0),
            ..fifo(1, 10)
        },
        no_room,
    );
    let wrong = Distribution::Lognormal {
        mean: ns(5),
        cv: 0.0,
    };
    let problem =
        "stage `y` has a distribution whose `lognormal.cv` must be more than zero, found 0";
    refused(Station::fifo(1, wrong.clone()), problem);
    refused(
        Station {
            patience: Some(wrong.clone()),
            ..fifo(1, 10)
        },
        problem,
    );
    let breakdown = |up, down| Some(Breakdown { up, down });
    refused(
        Station {
            breakdown: breakdown(constant(5), wrong),
            ..fifo(1, 10)
        },
        problem,
    );
    refused(
        Station {
            breakdown: breakdown(constant(0), constant(5)),
            ..fifo(1, 10)
        },
        "stage `y` has servers that never work: `up` is always zero",
    );
    refused(
        Station {
            services: BTreeMap::from([("b".to_owned(), constant(1))]),
            ..fifo(1, 10)
        },
        "stage `y` has a service of class `b`, which nobody sends",
    );
    let sharing = |cap, limit| Discipline::Sharing { cap, limit };
    let sliced = |slice| Discipline::TimeSliced {
        slice: ns(slice),
        switch: ns(1),
    };
    for discipline in [
        Discipline::Delay,
        Discipline::Preemptive(Order::Lifo),
        sharing(1.0, None),
        sliced(5),
    ] {
        refused(
            Station {
                breakdown: breakdown(constant(5), constant(5)),
                ..of(discipline)
            },
            "stage `y` has servers of a kind that does not fail",
        );
    }
    refused(
        Station {
            patience: Some(constant(5)),
            ..of(Discipline::Delay)
        },
        "stage `y` lets nobody wait: it takes no patience",
    );
    for factor in [0.0, -1.0, f64::NAN] {
        let retry = Some(Retry {
            attempts: 1,
            backoff: constant(5),
            factor,
        });
        refused(
            Station {
                retry,
                capacity: Some(1),
                ..fifo(1, 10)
            },
            "stage `y` must have a `factor` above zero",
        );
    }
    refused(
        of(Discipline::Line {
            order: Order::Fifo,
            batch: Some(Lot {
                max: 0,
                delay: ns(0),
                per_request: ns(0),
            }),
        }),
        "stage `y` must have a request in a batch",
    );
    for discipline in [
        sharing(0.0, None),
        sharing(f64::NAN, None),
        sharing(1.0, Some(0)),
    ] {
        refused(
            of(discipline),
            "stage `y` must have a cap above zero, and serve a request",
        );
    }
    refused(
        of(sliced(0)),
        "stage `y` must have a slice that takes some time",
    );
}

#[test]
fn a_plan_says_what_counts() {
    let (network, _) = base();
    let with = |warmup, measure| Plan {
        warmup,
        ..plan(measure)
    };
    let refused = |plan: Plan| match network.run(&plan) {
        Err(SimError::Network { what }) => what,
        other => panic!("must be refused: {other:?}"),
    };
    let requests = Extent::Requests;
    let time = |n| Extent::Time(ns(n));
    for (warmup, measure) in [(requests(5), time(9)), (time(5), requests(9))] {
        assert_eq!(
            refused(with(warmup, measure)),
            "the warm-up and what is measured must both be requests, or both times"
        );
    }
    for measure in [requests(0), time(0)] {
        assert_eq!(
            refused(with(requests(0), measure)),
            "nothing of it is measured"
        );
    }
    assert!(network.run(&with(requests(0), time(9))).is_ok());
    let none = network.run(&Plan {
        replications: 0,
        ..plan(requests(1))
    });
    assert!(matches!(none, Err(SimError::NoReplications)));
}

//! What must stay the same, or change in a known way, when a network is changed.

use std::collections::BTreeMap;

use schema::arrivals::ArrivalsFile;
use schema::distribution::{Component, Distribution};
use schema::ids::{RequestId, StageId};
use schema::random::Seed;
use schema::scenario::{
    Balance, Breakdown, Discipline, Extent, Lot, Order, PlainKind, PolicyName, Retry, Station,
    TokensFile, WhenFull,
};
use schema::stages::{Distributed, StageSummary};
use schema::stats::Estimate;
use schema::units::{Frequency, SimDuration};
use sim::Arrivals;
use sim::queueing::{Clients, Keep, Network, Plan, Report};

use crate::support::*;

fn poisson(hz: f64) -> ArrivalsFile {
    let rate = Frequency::from_per_second(hz).expect("a rate is positive");
    let connections = 1;
    ArrivalsFile::Poisson { rate, connections }
}

/// The parts of [`busy`], in the order in which they are added.
const STATIONS: [&str; 7] = ["fifo", "batch", "ps", "turns", "urgent", "x", "y"];

fn station(name: &str, scale: u64) -> Station {
    let service = |mean: u64| exponential(scale * mean);
    match name {
        "fifo" => Station {
            patience: Some(exponential(scale * 2_000)),
            breakdown: Some(Breakdown {
                up: exponential(scale * 20_000),
                down: exponential(scale * 1_000),
            }),
            ..Station::fifo(2, service(500))
        },
        "batch" => {
            let lot = Lot {
                max: 3,
                delay: ns(scale * 400),
                per_request: ns(scale * 20),
            };
            let batch = Some(lot);
            let order = Order::Priority;
            Station::new(1, Discipline::Line { order, batch }, service(300))
        }
        "ps" => {
            let (cap, limit) = (1.5, Some(6));
            let discipline = Discipline::Sharing { cap, limit };
            Station {
                capacity: Some(9),
                ..Station::new(2, discipline, service(600))
            }
        }
        "turns" => {
            let (slice, switch) = (ns(scale * 100), ns(scale * 10));
            Station::new(1, Discipline::TimeSliced { slice, switch }, service(150))
        }
        "urgent" => Station::new(1, Discipline::Preemptive(Order::Priority), service(150)),
        "x" => Station {
            capacity: Some(2),
            retry: Some(Retry {
                attempts: 2,
                backoff: exponential(scale * 100),
                factor: 2.0,
            }),
            ..Station::fifo(1, service(700))
        },
        "y" => Station {
            capacity: Some(2),
            when_full: WhenFull::Block,
            ..Station::fifo(1, service(700))
        },
        _ => Station::new(1, Discipline::Delay, service(100)),
    }
}

/// A network with some of everything, its times as many times as long as `scale` says, with the
/// stations in this order and the groups of clients in this.
fn busy_in_order(scale: u64, stations: &[&str], groups: &[usize]) -> Network {
    let mut network = Network::new();
    let ids: BTreeMap<&str, StageId> = stations
        .iter()
        .map(|name| (*name, network.station(name, station(name, scale))))
        .collect();
    network.route(ids["turns"], ids["fifo"], 0.2);
    let tokens = TokensFile { count: 8, take: 1 };
    let pool = network.stage("pool", PlainKind::Tokens(tokens));
    let release = network.stage("release", PlainKind::Release(pool));
    let fork = PlainKind::Fork(vec![ids["ps"], ids["turns"]]);
    let fork = network.stage("fork", fork);
    let join = network.stage("join", PlainKind::Join);
    let balance = Balance {
        policy: PolicyName::PowerOfTwo,
        to: vec![ids["x"], ids["y"]],
        weights: Vec::new(),
    };
    let balancer = network.stage("balancer", PlainKind::Balance(balance));
    let path = [
        pool,
        ids["fifo"],
        ids["batch"],
        release,
        fork,
        join,
        ids["urgent"],
        balancer,
    ];
    let classes = vec![kind("usual", 1, 1.0), kind("urgent", 0, 2.5)];
    let open = Clients {
        classes: classes.clone(),
        ..sending("open", poisson(2e6 / scale as f64), &path)
    };
    let think = exponential(scale * 1_000);
    let loops = Clients {
        count: 3,
        classes,
        ..sending("loops", ArrivalsFile::ClosedLoop { think }, &path[1..3])
    };
    let all = [open, loops];
    for group in groups {
        network.clients(all[*group].clone());
    }
    network
}

fn busy() -> Network {
    busy_in_order(1, &STATIONS, &[0, 1])
}

/// So many nanoseconds after a tenth of that.
fn long(ns_measured: u64) -> Plan {
    Plan {
        warmup: Extent::Time(ns(ns_measured / 10)),
        precision: None,
        keep: Keep::Statistics,
        ..plan(Extent::Time(ns(ns_measured)))
    }
}

fn run_with(network: &Network, plan: &Plan) -> Report {
    network.run(plan).expect("the network can be run")
}

/// Equal, also where nothing was observed and a number is none.
#[track_caller]
fn assert_equal<T: std::fmt::Debug>(a: &T, b: &T) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn the_network_has_some_of_everything() {
    let report = run_with(&busy(), &long(1_000_000));
    let stage = |name: &str| &report.stages[name];
    for name in STATIONS.iter().chain(&["pool", "join"]) {
        assert!(stage(name).n > 100, "{name}");
        assert!(stage(name).waiting.mean.value > 0.0, "{name}");
    }
    assert!(stage("fifo").reneged > 10);
    assert!(stage("x").rejected > 10 && stage("x").retried > 10);
    assert!(report.whole.lost > 10);
}

#[test]
fn equal_plans_give_equal_reports_on_any_number_of_threads() {
    let with = |threads| {
        let plan = Plan {
            replications: 5,
            threads,
            precision: None,
            keep: Keep::Trace,
            arrivals: Arrivals::Independent,
            ..long(50_000)
        };
        run_with(&busy(), &plan)
    };
    let first = with(1);
    assert_equal(&first, &with(1));
    assert_equal(&first, &with(4));
}

#[test]
fn keeping_the_trace_changes_no_statistics() {
    let kept = run_with(
        &busy(),
        &Plan {
            precision: None,
            keep: Keep::Trace,
            ..long(100_000)
        },
    );
    assert!(!kept.trace.is_empty());
    let without = Report {
        trace: Vec::new(),
        ..kept
    };
    assert_equal(&run_with(&busy(), &long(100_000)), &without);
}

#[test]
fn another_seed_gives_another_report() {
    let reseeded = Plan {
        seed: Seed(2),
        ..long(100_000)
    };
    let (a, b) = (
        run_with(&busy(), &long(100_000)),
        run_with(&busy(), &reseeded),
    );
    assert_ne!(a.whole.sojourn, b.whole.sojourn);
}

#[test]
fn a_name_changes_the_draws_of_what_has_it_and_no_others() {
    let with = |second: &str| {
        let mut network = Network::new();
        let path = [
            network.station("first", Station::fifo(1, exponential(500))),
            network.station(second, Station::fifo(1, exponential(500))),
        ];
        network.clients(sending("all", poisson(1e6), &path));
        run_with(&network, &long(200_000))
    };
    let (a, b) = (with("second"), with("other"));
    assert_equal(&a.stages["first"], &b.stages["first"]);
    assert_ne!(a.stages["second"].service, b.stages["other"].service);
}

#[test]
fn what_is_unused_changes_nothing_else() {
    let expected = run_with(&busy(), &long(200_000));
    let mut network = busy();
    let unused = network.station("unused", station("delay", 1));
    let report = run_with(&network, &long(200_000));
    assert_eq!(report.stages["unused"].offered, 0);
    let stages = |report: &Report| -> BTreeMap<String, StageSummary> {
        let mut stages = report.stages.clone();
        stages.remove("unused");
        stages
    };
    assert_equal(&report.whole, &expected.whole);
    assert_equal(&stages(&report), &expected.stages);
    // Clients that use only what nobody else does.
    network.clients(sending("others", poisson(1e6), &[unused]));
    let report = run_with(&network, &long(200_000));
    assert!(report.stages["unused"].n > 0);
    let mut others = stages(&report);
    for stage in others.values_mut() {
        // There is one more class, of which nobody came here.
        let class = stage.classes.remove("default");
        assert!(class.is_none_or(|class| class.n == 0));
    }
    assert_equal(&others, &expected.stages);
}

#[test]
fn the_order_of_stations_and_clients_is_only_an_order() {
    let expected = run_with(&busy(), &long(200_000));
    let mut reversed = STATIONS;
    reversed.reverse();
    let report = run_with(&busy_in_order(1, &reversed, &[0, 1]), &long(200_000));
    assert_equal(&report.stages, &expected.stages);
    assert_equal(&report.whole.sojourn, &expected.whole.sojourn);
    let report = run_with(&busy_in_order(1, &STATIONS, &[1, 0]), &long(200_000));
    assert_equal(&report.stages, &expected.stages);
    assert_equal(&report.whole, &expected.whole);
}

fn estimates(all: &Distributed) -> [Estimate; 6] {
    [all.mean, all.p50, all.p90, all.p95, all.p99, all.p999]
}

/// That `longer` is `shorter` with times as many times as long as `factor` says.
#[track_caller]
fn assert_scaled(longer: &StageSummary, shorter: &StageSummary, factor: f64, name: &str) {
    // Every time is rounded to a picosecond.
    let near = |a: f64, b: f64, error: f64| {
        let is_near = (a - b).abs() <= error * b.abs() + 1e-11 || a.is_nan() && b.is_nan();
        assert!(is_near, "{name}: {a} {b}");
    };
    let counts = |s: &StageSummary| (s.n, s.offered, s.rejected, s.reneged, s.retried, s.lost);
    assert_eq!(counts(longer), counts(shorter), "{name}");
    for (a, b) in [
        (&longer.sojourn, &shorter.sojourn),
        (&longer.waiting, &shorter.waiting),
    ] {
        near(a.mean.value, factor * b.mean.value, 1e-5);
        // Of a factor that is a power of two the bins of the histogram are the same.
        for (a, b) in estimates(a).iter().zip(estimates(b)).skip(1) {
            near(a.value, factor * b.value, 0.01);
        }
    }
    near(
        longer.number_in_system.value,
        shorter.number_in_system.value,
        1e-5,
    );
    near(
        longer.throughput.value * factor,
        shorter.throughput.value,
        1e-12,
    );
    if let (Some(a), Some(b)) = (longer.utilization, shorter.utilization) {
        near(a.value, b.value, 1e-5);
    }
}

#[test]
fn times_twice_as_long_and_rates_half_as_high_double_every_time() {
    for factor in [2, 64] {
        let shorter = run_with(&busy(), &long(200_000));
        let network = busy_in_order(factor, &STATIONS, &[0, 1]);
        let longer = run_with(&network, &long(factor * 200_000));
        let factor = factor as f64;
        for (name, stage) in &longer.stages {
            assert_scaled(stage, &shorter.stages[name], factor, name);
        }
        assert_scaled(&longer.whole, &shorter.whole, factor, "whole");
        assert_eq!(longer.events, shorter.events);
    }
}

/// Waiting of each request at a station, in nanoseconds.
fn waiting(station: Station, hz: f64) -> BTreeMap<RequestId, u64> {
    let mut network = Network::new();
    let stage = network.station("server", station);
    network.clients(sending("all", poisson(hz), &[stage]));
    let report = run_with(&network, &plan(Extent::Requests(2_000)));
    let visits = visits(&report.trace);
    visits
        .iter()
        .map(|visit| (visit.request, visit.start - visit.ready))
        .collect()
}

/// At a first come, first served station the sorted work of the servers, as each request finds it,
/// is less with more servers, of each service (Kiefer and Wolfowitz, 1955).
#[test]
fn more_servers_never_let_a_request_wait_longer() {
    for service in [
        exponential(1_000),
        constant(1_000),
        Distribution::Lognormal {
            mean: ns(1_000),
            cv: 3.0,
        },
    ] {
        let with = |servers| waiting(Station::fifo(servers, service.clone()), 1.2e6);
        let mut fewer = with(1);
        for servers in 2..6 {
            let more = with(servers);
            assert_eq!(more.len(), 2_000);
            for (request, waited) in &more {
                // A nanosecond may be lost in the trace.
                assert!(*waited <= fewer[request] + 1, "{request:?} of {servers}");
            }
            assert!(more.values().sum::<u64>() < fewer.values().sum());
            fewer = more;
        }
    }
}

#[test]
fn room_for_more_than_ever_come_is_room_without_limit() {
    for discipline in [
        line(Order::Fifo),
        Discipline::Preemptive(Order::Lifo),
        Discipline::Sharing {
            cap: 1.0,
            limit: None,
        },
        Discipline::Delay,
    ] {
        let with = |capacity, when_full| {
            let station = Station {
                capacity,
                when_full,
                ..Station::new(1, discipline.clone(), exponential(500))
            };
            waiting(station, 1.5e6)
        };
        let expected = with(None, WhenFull::Reject);
        assert_eq!(with(Some(2_000), WhenFull::Reject), expected);
        assert_eq!(with(Some(2_000), WhenFull::Block), expected);
        assert!(with(Some(2), WhenFull::Reject).len() < expected.len());
    }
}

/// Blocking in front of the first station only moves the waiting out of it.
#[test]
fn a_station_that_blocks_before_it_serves_the_same() {
    let with = |capacity| {
        let mut network = Network::new();
        let station = Station {
            capacity,
            when_full: WhenFull::Block,
            ..Station::fifo(2, exponential(500))
        };
        let stage = network.station("server", station);
        network.clients(sending("all", poisson(3.5e6), &[stage]));
        let report = run_with(&network, &plan(Extent::Requests(1_000)));
        let visits = visits(&report.trace);
        let times = visits.iter().map(|v| (v.request, v.start, v.end));
        times.collect::<Vec<_>>()
    };
    assert_eq!(with(Some(2)), with(None));
    assert_eq!(with(Some(5)), with(None));
}

/// Each discipline is another where they are meant to be one.
#[test]
fn disciplines_that_are_one_give_one_result() {
    let of = |discipline| waiting(Station::new(1, discipline, exponential(500)), 1.5e6);
    let fifo = of(line(Order::Fifo));
    let batch = Some(Lot {
        max: 1,
        delay: ns(900),
        per_request: ns(0),
    });
    let order = Order::Fifo;
    // All requests have one priority, and one or all are the batch, the slice, the limit.
    for discipline in [
        line(Order::Priority),
        Discipline::Line { order, batch },
        Discipline::Preemptive(Order::Fifo),
        Discipline::Preemptive(Order::Priority),
        Discipline::Sharing {
            cap: 1.0,
            limit: Some(1),
        },
        Discipline::TimeSliced {
            slice: ns(1_000_000),
            switch: ns(0),
        },
    ] {
        assert_eq!(of(discipline.clone()), fifo, "{discipline:?}");
    }
    let many = Station::fifo(2_000, exponential(500));
    let delay = Station::new(1, Discipline::Delay, exponential(500));
    assert_eq!(waiting(many, 1.5e6), waiting(delay, 1.5e6));
}

#[test]
fn longer_thinking_sends_less() {
    let with = |think: u64| {
        let mut network = Network::new();
        let stage = network.station("server", Station::fifo(1, exponential(100)));
        let think = exponential(think);
        network.clients(Clients {
            count: 5,
            ..sending("all", ArrivalsFile::ClosedLoop { think }, &[stage])
        });
        let report = run_with(&network, &long(1_000_000));
        (
            report.whole.throughput.value,
            report.whole.sojourn.mean.value,
        )
    };
    let steps = [0, 200, 500, 1_000].map(with);
    for pair in steps.windows(2) {
        assert!(pair[0].0 > pair[1].0 && pair[0].1 > pair[1].1, "{steps:?}");
    }
}

/// Which requests each replication sends, and when: of all, in their order.
fn sent(report: &Report) -> Vec<Vec<(RequestId, u64)>> {
    let n = report.window_s.len();
    let mut sent = vec![Vec::new(); n];
    for visit in visits(&report.trace) {
        sent[visit.replication as usize].push((visit.request, visit.ready));
    }
    for replication in &mut sent {
        replication.sort_unstable();
    }
    sent
}

#[test]
fn replications_share_their_requests_if_asked_to() {
    let with = |arrivals, service: Distribution| {
        let mut network = Network::new();
        let stage = network.station("server", Station::fifo(1, service));
        network.clients(sending("all", poisson(1e6), &[stage]));
        let plan = Plan {
            replications: 3,
            arrivals,
            ..plan(Extent::Requests(50))
        };
        run_with(&network, &plan)
    };
    let shared = with(Arrivals::Shared, exponential(500));
    let independent = with(Arrivals::Independent, exponential(500));
    let (same, other) = (sent(&shared), sent(&independent));
    assert!(same[0] == same[1] && same[0] == same[2]);
    assert!(other[0] != other[1] && other[1] != other[2]);
    assert_eq!(same[0], other[0]);
    // Services differ, unless nothing but the requests is drawn.
    let spread = |report: &Report| {
        let mean = report.whole.sojourn.mean;
        mean.high - mean.low
    };
    assert!(spread(&shared) > 0.0);
    assert!(spread(&with(Arrivals::Shared, constant(500))).abs() < 1e-15);
    assert!(spread(&with(Arrivals::Independent, constant(500))) > 0.0);
}

#[test]
fn the_first_replication_does_not_depend_on_how_many_there_are() {
    let with = |replications| {
        let plan = Plan {
            replications,
            precision: None,
            keep: Keep::Trace,
            ..long(50_000)
        };
        run_with(&busy(), &plan).trace
    };
    let one = with(1);
    assert_eq!(with(3)[..one.len()], one);
}

/// A network on a lattice of times, where almost every event has another at its instant. `late` adds
/// a picosecond to every service, so that of an arrival and a departure at one instant the departure
/// comes second.
fn lattice(capacity: Option<u32>, late: bool, seed: u64) -> Report {
    let step = |steps: &[u64]| {
        let parts = steps.iter().map(|n| Component {
            share: 1.0,
            of: constant(1_000 * n),
        });
        Distribution::Mixture(parts.collect())
    };
    let service = Distribution::Shifted {
        by: SimDuration::from_ps(u64::from(late)),
        of: Box::new(step(&[1, 2, 3])),
    };
    let mut network = Network::new();
    let station = Station {
        capacity,
        ..Station::fifo(1, service)
    };
    let station = network.station("station", station);
    let gap = step(&[1, 2, 3, 5]);
    let connections = 1;
    let arrivals = ArrivalsFile::Renewal { gap, connections };
    network.clients(Clients::one("clients", arrivals, vec![station]));
    let plan = Plan {
        seed: Seed(seed),
        replications: 10,
        ..Plan::new(Extent::Requests(500), Extent::Requests(5_000))
    };
    network.run(&plan).expect("the load can be served")
}

/// In a line without limits it does not matter who comes first of an arrival and a departure at one
/// instant; where a buffer may be full it does, since the arrival finds room only if the departure
/// was first.
#[test]
fn ties_matter_only_where_a_buffer_may_be_full() {
    let times = |report: &Report| report.whole.sojourn.mean;
    let (first, second) = (lattice(None, false, 0), lattice(None, true, 0));
    let (a, b) = (times(&first), times(&second));
    assert!(
        (b.value - a.value).abs() < 1e-3 * (a.high - a.low),
        "{a:?} {b:?}"
    );
    let lost = |report: &Report| report.whole.lost as f64 / report.whole.offered as f64;
    let (first, second) = (lattice(Some(2), false, 0), lattice(Some(2), true, 0));
    assert!(
        lost(&second) > 1.2 * lost(&first),
        "{} {}",
        lost(&first),
        lost(&second)
    );
}

//! What holds on random networks. That a run succeeds says that Little's law and conservation hold,
//! exactly, at every stage: the engine checks them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use schema::arrivals::ArrivalsFile;
use schema::distribution::Distribution;
use schema::ids::{Id, RequestId, StageId};
use schema::random::Seed;
use schema::run::{Span, SpanName, Status};
use schema::scenario::{
    Balance, Breakdown, Discipline, Extent, Lot, Order, PlainKind, PolicyName, Retry, Station,
    TokensFile, WhenFull,
};
use schema::units::Frequency;
use sim::queueing::{Clients, Kind, Network, Plan, Report};

use crate::support::*;

/// A network, with what the checks need to know of it.
#[derive(Clone, Debug)]
struct Case {
    network: Network,
    /// By stage.
    stations: Vec<Station>,
    has_fork: bool,
    priorities: Vec<u32>,
    plan: Plan,
}

fn time() -> impl Strategy<Value = Distribution> {
    prop_oneof![
        3 => (1u64..2_000).prop_map(exponential),
        1 => (0u64..2_000).prop_map(constant),
        1 => (0u64..500, 0u64..2_000).prop_map(|(from, more)| Distribution::Uniform {
            from: ns(from),
            to: ns(from + more),
        }),
    ]
}

fn discipline() -> impl Strategy<Value = Discipline> {
    let order = prop::sample::select(vec![Order::Fifo, Order::Lifo, Order::Priority]);
    let lot = (1u32..4, 0u64..1_000, 0u64..100).prop_map(|(max, delay, per_request)| Lot {
        max,
        delay: ns(delay),
        per_request: ns(per_request),
    });
    prop_oneof![
        3 => order.clone().prop_map(line),
        1 => (order.clone(), lot).prop_map(|(order, lot)| Discipline::Line {
            order,
            batch: Some(lot),
        }),
        1 => order.prop_map(Discipline::Preemptive),
        1 => (0.3f64..2.5, prop::option::of(1u32..4))
            .prop_map(|(cap, limit)| Discipline::Sharing { cap, limit }),
        1 => (1u64..500, 0u64..50).prop_map(|(slice, switch)| Discipline::TimeSliced {
            slice: ns(slice),
            switch: ns(switch),
        }),
        1 => Just(Discipline::Delay),
    ]
}

fn station() -> impl Strategy<Value = Station> {
    let retry = (1u32..4, time(), 0.5f64..3.0).prop_map(|(attempts, backoff, factor)| Retry {
        attempts,
        backoff,
        factor,
    });
    let breakdown = (100u64..3_000, time()).prop_map(|(up, down)| Breakdown {
        up: exponential(up),
        down,
    });
    (
        (1u32..4, discipline(), time()),
        prop::option::of(1u32..6),
        prop::option::weighted(0.3, time()),
        prop::option::weighted(0.4, retry),
        prop::option::weighted(0.3, breakdown),
    )
        .prop_map(
            |((servers, discipline, service), capacity, patience, retry, breakdown)| {
                let is_line = matches!(discipline, Discipline::Line { .. });
                let is_delay = matches!(discipline, Discipline::Delay);
                Station {
                    capacity,
                    patience: patience.filter(|_| !is_delay),
                    retry,
                    breakdown: breakdown.filter(|_| is_line),
                    ..Station::new(servers, discipline, service)
                }
            },
        )
}

fn arrivals() -> impl Strategy<Value = ArrivalsFile> {
    let rate = |hz| Frequency::from_per_second(hz).expect("a rate is positive");
    let connections = 1;
    prop_oneof![
        time().prop_map(|think| ArrivalsFile::ClosedLoop { think }),
        (1e5f64..3e6).prop_map(move |hz| ArrivalsFile::Poisson {
            rate: rate(hz),
            connections
        }),
        (1e5f64..3e6).prop_map(move |hz| ArrivalsFile::Deterministic {
            rate: rate(hz),
            connections
        }),
    ]
}

/// Where requests go, in numbers that are taken modulo what there is.
#[derive(Clone, Debug)]
struct Ways {
    /// Of each station: to which one back, and with which probability.
    feedback: Vec<Option<(usize, f64)>>,
    path: Vec<usize>,
    fork: Option<Vec<usize>>,
    balancer: Option<(PolicyName, Vec<usize>)>,
    tokens: Option<u32>,
    blocks: bool,
}

fn ways() -> impl Strategy<Value = Ways> {
    let policies = [
        PolicyName::RoundRobin,
        PolicyName::Random,
        PolicyName::LeastOutstanding,
        PolicyName::JoinShortestQueue,
        PolicyName::PowerOfTwo,
        PolicyName::Weighted,
    ];
    let some = || prop::collection::vec(0usize..5, 2..4);
    (
        prop::collection::vec(prop::option::of((0usize..5, 0.1f64..0.8)), 5),
        prop::collection::vec(0usize..5, 1..4),
        prop::option::weighted(0.4, some()),
        prop::option::weighted(0.4, (prop::sample::select(policies.to_vec()), some())),
        prop::option::weighted(0.4, 1u32..4),
        any::<bool>(),
    )
        .prop_map(|(feedback, path, fork, balancer, tokens, blocks)| Ways {
            feedback,
            path,
            fork,
            balancer,
            tokens,
            blocks,
        })
}

/// The network of these stations. Where some of them block, requests go from each only to later
/// ones, or they might wait for each other.
fn network(mut stations: Vec<Station>, ways: &Ways) -> (Network, Vec<Station>, Vec<StageId>) {
    let n = stations.len();
    let mut network = Network::new();
    let index = |at: &usize| at % n;
    if ways.blocks {
        for station in &mut stations {
            station.when_full = WhenFull::Block;
        }
    }
    let ids: Vec<StageId> = stations
        .iter()
        .enumerate()
        .map(|(at, station)| network.station(&format!("s{at}"), station.clone()))
        .collect();
    let feedback = ways.feedback.iter().zip(&ids);
    for (back, from) in feedback.filter(|_| !ways.blocks) {
        if let Some((to, probability)) = back {
            network.route(*from, ids[index(to)], *probability);
        }
    }
    let mut hops: BTreeSet<usize> = BTreeSet::new();
    let mut path: Vec<StageId> = Vec::new();
    let mut forked: Vec<usize> = Vec::new();
    if let Some(fork) = &ways.fork {
        forked = fork.iter().map(index).collect();
        let to = forked.iter().map(|at| ids[*at]).collect();
        path.push(network.stage("fork", PlainKind::Fork(to)));
        path.push(network.stage("join", PlainKind::Join));
    }
    // Every hop after those of the fork, if stations block.
    let least = forked.iter().max().map_or(0, |last| last + 1);
    let may_go = |at: usize| !ways.blocks || at >= least;
    if ways.blocks {
        hops.extend(ways.path.iter().map(index).filter(|at| may_go(*at)));
        path.extend(hops.iter().map(|at| ids[*at]));
    } else {
        path.extend(ways.path.iter().map(|at| ids[index(at)]));
    }
    if let Some((policy, to)) = &ways.balancer {
        let last = hops.last().map_or(least, |last| last + 1);
        let to: BTreeSet<usize> = to.iter().map(index).collect();
        let to: Vec<StageId> = to
            .into_iter()
            .filter(|at| !ways.blocks || *at >= last)
            .map(|at| ids[at])
            .collect();
        let weights = match policy {
            PolicyName::Weighted => (1..=to.len()).map(|w| w as f64).collect(),
            _ => Vec::new(),
        };
        if to.len() >= 2 {
            let balance = Balance {
                policy: *policy,
                to,
                weights,
            };
            path.push(network.stage("balancer", PlainKind::Balance(balance)));
        }
    }
    if path.is_empty() {
        path.push(ids[0]);
    }
    if let Some(count) = ways.tokens {
        let tokens = TokensFile { count, take: 1 };
        let pool = network.stage("pool", PlainKind::Tokens(tokens));
        path.insert(0, pool);
        path.push(network.stage("release", PlainKind::Release(pool)));
    }
    (network, stations, path)
}

fn case() -> impl Strategy<Value = Case> {
    let groups = prop::collection::vec((arrivals(), 1u32..4), 1..3);
    let kinds = prop::collection::vec((0u32..3, 0.5f64..4.0), 1..3);
    let extents = prop_oneof![
        (0u32..3, 1u32..12).prop_map(|(warmup, n)| (Extent::Requests(warmup), Extent::Requests(n))),
        (0u64..2_000, 1u64..10_000)
            .prop_map(|(warmup, n)| (Extent::Time(ns(warmup)), Extent::Time(ns(n)))),
    ];
    (
        prop::collection::vec(station(), 1..6),
        ways(),
        (groups, kinds),
        extents,
        any::<u64>(),
    )
        .prop_map(
            |(stations, ways, (groups, kinds), (warmup, measure), seed)| {
                let (mut network, stations, path) = network(stations, &ways);
                let mut priorities = Vec::new();
                for (index, (arrivals, count)) in groups.into_iter().enumerate() {
                    let classes = kinds.iter().zip(["x", "y"]);
                    let classes: Vec<Kind> = classes
                        .map(|((priority, weight), name)| kind(name, *priority, *weight))
                        .collect();
                    priorities.extend(classes.iter().map(|kind| kind.priority));
                    // A closed loop of requests that take no time would never get on.
                    let arrivals = match arrivals {
                        ArrivalsFile::ClosedLoop { .. } if matches!(measure, Extent::Time(_)) => {
                            let think = exponential(500);
                            ArrivalsFile::ClosedLoop { think }
                        }
                        arrivals => arrivals,
                    };
                    network.clients(Clients {
                        count,
                        classes,
                        ..sending(&format!("g{index}"), arrivals, &path)
                    });
                }
                Case {
                    network,
                    stations,
                    has_fork: ways.fork.is_some(),
                    priorities,
                    plan: Plan {
                        seed: Seed(seed),
                        warmup,
                        ..plan(measure)
                    },
                }
            },
        )
}

fn wholes(trace: &[Span]) -> impl Iterator<Item = &Span> {
    trace.iter().filter(|span| span.name == SpanName::Request)
}

/// Most of these intervals, from start to end in nanoseconds, at one instant. What ends when another
/// starts is not together with it, nor is what is shorter than a nanosecond.
fn most_at_once(intervals: impl Iterator<Item = (u64, u64)>) -> i64 {
    let mut changes: Vec<(u64, i64)> = intervals
        .filter(|(start, end)| start < end)
        .flat_map(|(start, end)| [(start, 1), (end, -1)])
        .collect();
    changes.sort_unstable();
    let mut level = 0;
    changes
        .into_iter()
        .map(|(_, by)| {
            level += by;
            level
        })
        .max()
        .unwrap_or(0)
}

fn check_causality(case: &Case, report: &Report) -> Result<(), TestCaseError> {
    let requests: BTreeMap<RequestId, &Span> =
        wholes(&report.trace).map(|s| (s.request, s)).collect();
    prop_assert_eq!(requests.len(), wholes(&report.trace).count());
    let mut last: BTreeMap<RequestId, u64> = BTreeMap::new();
    for visit in visits(&report.trace) {
        let request = requests[&visit.request];
        prop_assert!(visit.ready <= visit.start && visit.start <= visit.end);
        prop_assert!(request.start_ns <= visit.ready && visit.end <= request.end_ns);
        let before = last.insert(visit.request, visit.end);
        prop_assert!(case.has_fork || before.unwrap_or(0) <= visit.ready);
    }
    Ok(())
}

fn check_counts(case: &Case, report: &Report) -> Result<(), TestCaseError> {
    let all: Vec<&Span> = wholes(&report.trace).collect();
    let schedule = schema::workload::Schedule::of(case.plan.warmup, case.plan.measure);
    let counts = |span: &&&Span| {
        let at = schema::units::SimTime::from_ps(1_000 * span.start_ns);
        span.status == Status::Ok && schedule.counts(span.request.seq(), at)
    };
    // By time a request may have come within the nanosecond of a border.
    if let Extent::Requests(_) = case.plan.measure {
        prop_assert_eq!(report.whole.n, all.iter().filter(counts).count() as u64);
        let mut by_client: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for span in all {
            by_client
                .entry(span.request.client())
                .or_default()
                .push(span.request.seq());
        }
        let (Extent::Requests(warmup), Extent::Requests(n)) = (case.plan.warmup, case.plan.measure)
        else {
            unreachable!("both are requests")
        };
        for mut seqs in by_client.into_values() {
            seqs.sort_unstable();
            prop_assert_eq!(seqs, (0..warmup + n).collect::<Vec<_>>());
        }
    }
    for stage in report.stages.values() {
        prop_assert!(stage.rejected + stage.reneged == stage.retried + stage.lost);
        prop_assert!(stage.offered >= stage.rejected);
        let classes: u64 = stage.classes.values().map(|class| class.n).sum();
        prop_assert!(stage.classes.is_empty() || classes == stage.n);
    }
    Ok(())
}

/// That averages over a window that is known beforehand are those of the trace, as far as it has
/// whole nanoseconds.
fn check_averages(case: &Case, report: &Report) -> Result<(), TestCaseError> {
    let (Extent::Time(warmup), Extent::Time(measure)) = (case.plan.warmup, case.plan.measure)
    else {
        return Ok(());
    };
    let (opens, closes) = (warmup.as_ns(), (warmup + measure).as_ns());
    let inside = |from: u64, to: u64| to.min(closes).saturating_sub(from.max(opens));
    let all = visits(&report.trace);
    for (index, station) in case.stations.iter().enumerate() {
        if station.patience.is_some() {
            continue;
        }
        let stage = StageId::from_index(index);
        let here: Vec<&Visit> = all.iter().filter(|v| v.stage == stage).collect();
        let found = &report.stages[&format!("s{index}")];
        let near = |value: f64, area_ns: u64| {
            (value * measure.as_ns() as f64 - area_ns as f64).abs() <= 2.0 + 2.0 * here.len() as f64
        };
        let present = here.iter().map(|v| inside(v.ready, v.end)).sum();
        prop_assert!(near(found.number_in_system.value, present));
        let waiting = here.iter().map(|v| inside(v.ready, v.start)).sum();
        prop_assert!(near(found.number_waiting.value, waiting));
        let is_line = matches!(station.discipline, Discipline::Line { batch: None, .. });
        if is_line && station.breakdown.is_none() {
            let served = here.iter().map(|v| inside(v.start, v.end)).sum();
            let utilization = found.utilization.expect("it has servers").value;
            prop_assert!(near(utilization * f64::from(station.servers), served));
        }
    }
    Ok(())
}

/// That the waiting of requests is that of their visits.
fn check_waiting(case: &Case, report: &Report) -> Result<(), TestCaseError> {
    let Extent::Requests(warmup) = case.plan.warmup else {
        return Ok(());
    };
    let counted: BTreeSet<RequestId> = wholes(&report.trace)
        .filter(|span| span.status == Status::Ok && span.request.seq() >= warmup)
        .map(|span| span.request)
        .collect();
    let all = visits(&report.trace);
    let theirs: Vec<&Visit> = all
        .iter()
        .filter(|v| counted.contains(&v.request))
        .collect();
    let waited: u64 = theirs.iter().map(|v| v.start - v.ready).sum();
    let found = report.whole.waiting.mean.value * report.whole.n as f64 * 1e9;
    let is_near = (found - waited as f64).abs() <= 1.0 + theirs.len() as f64;
    prop_assert!(counted.is_empty() || is_near, "{} {}", found, waited);
    Ok(())
}

fn check_servers(case: &Case, report: &Report) -> Result<(), TestCaseError> {
    let all = visits(&report.trace);
    for (index, station) in case.stations.iter().enumerate() {
        let stage = StageId::from_index(index);
        let here: Vec<&Visit> = all.iter().filter(|v| v.stage == stage).collect();
        if let Some(capacity) = station.capacity {
            let present = most_at_once(here.iter().map(|v| (v.ready, v.end)));
            prop_assert!(
                present <= i64::from(capacity),
                "{} in {}",
                present,
                capacity
            );
        }
        let Discipline::Line { order, batch } = &station.discipline else {
            continue;
        };
        let served = most_at_once(here.iter().map(|v| (v.start, v.end)));
        let most = i64::from(station.servers * batch.as_ref().map_or(1, |lot| lot.max));
        prop_assert!(served <= most, "{} served by {}", served, most);
        for first in here.iter().filter(|v| v.ready < v.start) {
            let passed = here
                .iter()
                .filter(|other| other.ready < first.start && first.start < other.start);
            for other in passed {
                let class = |visit: &Visit| case.priorities[visit.class.index()];
                let is_right = match order {
                    Order::Fifo => first.ready <= other.ready,
                    Order::Lifo => first.ready >= other.ready,
                    Order::Priority => (class(first), first.ready) <= (class(other), other.ready),
                };
                prop_assert!(is_right, "{:?} before {:?}", first, other);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_network_runs_in_good_order(case in case()) {
        let report = case.network.run(&case.plan);
        let report = report.map_err(|error| TestCaseError::fail(error.to_string()))?;
        check_causality(&case, &report)?;
        check_counts(&case, &report)?;
        check_servers(&case, &report)?;
        check_averages(&case, &report)?;
        check_waiting(&case, &report)?;
    }
}

/// A single server, and requests of two priorities that come to it.
fn single(discipline: Discipline, service: &Distribution, hz: f64) -> Network {
    let mut network = Network::new();
    let stage = network.station("server", Station::new(1, discipline, service.clone()));
    let arrivals = ArrivalsFile::Poisson {
        rate: Frequency::from_per_second(hz).expect("a rate is positive"),
        connections: 1,
    };
    network.clients(Clients {
        classes: vec![kind("x", 0, 1.0), kind("y", 1, 2.5)],
        ..sending("all", arrivals, &[stage])
    });
    network
}

/// From when to when somebody was there, in nanoseconds.
fn busy_periods(report: &Report) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = visits(&report.trace)
        .iter()
        .map(|visit| (visit.ready, visit.end))
        .collect();
    all.sort_unstable();
    let mut periods: Vec<(u64, u64)> = Vec::new();
    for (start, end) in all {
        match periods.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => periods.push((start, end)),
        }
    }
    periods
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// A server that is never idle while there is work is busy at the same times in any order of
    /// service: requests have the same services, drawn as they come.
    #[test]
    fn work_is_conserved(
        service in time(),
        hz in 2e5f64..1.5e6,
        slice in 1u64..3_000,
        seed in any::<u64>(),
    ) {
        let plan = Plan { seed: Seed(seed), ..plan(Extent::Requests(100)) };
        let run = |discipline| single(discipline, &service, hz).run(&plan).expect("it runs");
        let expected = busy_periods(&run(line(Order::Fifo)));
        let sliced = Discipline::TimeSliced { slice: ns(slice), switch: ns(0) };
        for discipline in [
            line(Order::Lifo),
            line(Order::Priority),
            Discipline::Preemptive(Order::Fifo),
            Discipline::Preemptive(Order::Lifo),
            Discipline::Preemptive(Order::Priority),
            Discipline::Sharing { cap: 1.0, limit: Some(1) },
            sliced,
        ] {
            prop_assert_eq!(&busy_periods(&run(discipline)), &expected);
        }
        // A share is rounded down by less than 2^-32, and each end up to a picosecond.
        let shared = busy_periods(&run(Discipline::Sharing { cap: 1.0, limit: None }));
        let ends = |periods: &[(u64, u64)]| {
            (periods[0].0, periods.iter().map(|(start, end)| end - start).sum::<u64>())
        };
        let ((start, length), (first, sum)) = (ends(&shared), ends(&expected));
        prop_assert_eq!(start, first);
        prop_assert!(length.abs_diff(sum) <= shared.len().max(expected.len()) as u64);
    }

    #[test]
    fn throughput_is_departures_over_the_window(
        service in time(),
        hz in 2e5f64..1.5e6,
        seed in any::<u64>(),
    ) {
        let plan = Plan { seed: Seed(seed), ..plan(Extent::Requests(50)) };
        let report = single(line(Order::Fifo), &service, hz).run(&plan).expect("it runs");
        let window = report.window_s[0];
        let stage = &report.stages["server"];
        let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-9 * expected.abs();
        prop_assert!(near(stage.throughput.value * window, 50.0));
        prop_assert!(near(report.whole.throughput.value * window, 50.0));
        // All that came in the window left in it: Little's law holds of it, and busy time is
        // service time.
        let area = |number: f64| number * window;
        let sum = |mean: f64| 50.0 * mean;
        prop_assert!(near(area(stage.number_in_system.value), sum(stage.sojourn.mean.value)));
        let utilization = stage.utilization.expect("it has a server").value;
        prop_assert!((area(utilization) - sum(stage.service.value)).abs() < 1e-9 * window);
        let waiting = area(stage.number_waiting.value) - sum(stage.waiting.mean.value);
        prop_assert!(waiting.abs() < 1e-9 * window);
    }
}

//! Scenario files with plain stages read back as they were written.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use schema::arrivals::{ArrivalsFile, PieceFile, ReplayFile, ReplayUnit, StateFile};
use schema::distribution::{Component, Distribution};
use schema::scenario::{
    BalanceFile, Breakdown, ClassFile, ClientsFile, DisciplineName, Extent, ForkFile, HopFile,
    JoinFile, Lot, NextFile, PlacementFile, PolicyName, ReleaseFile, Retry, RunFile, Scenario,
    ScenarioFile, StageFile, StationFile, TokensFile, WhenFull,
};
use schema::units::{Frequency, SimDuration};

/// Names of stages: two stations that every scenario has, and some with a role of any kind.
const STATIONS: [&str; 2] = ["counter", "the office"];
const OTHERS: [&str; 3] = ["a", "b-2", "ü"];
const POOL: &str = "pool";

fn time() -> impl Strategy<Value = SimDuration> {
    (1u64..10_000_000_000_000).prop_map(SimDuration::from_ps)
}

fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![1e-3..1e3, select(vec![1.0, 0.1, 2.0 / 3.0, 1e-9])]
}

fn rate() -> impl Strategy<Value = Frequency> {
    (1e-3f64..1e6).prop_map(|rate| Frequency::from_per_second(rate).unwrap())
}

fn distribution() -> impl Strategy<Value = Distribution> {
    let cv = 0.05f64..5.0;
    let leaf = prop_oneof![
        time().prop_map(Distribution::Constant),
        time().prop_map(Distribution::Exponential),
        (time(), time()).prop_map(|(a, b)| Distribution::Uniform {
            from: a.min(b),
            to: a.max(b)
        }),
        (time(), time()).prop_map(|(mean, sd)| Distribution::Normal { mean, sd }),
        (time(), cv.clone()).prop_map(|(mean, cv)| Distribution::Lognormal { mean, cv }),
        (time(), cv.clone()).prop_map(|(mean, cv)| Distribution::Gamma { mean, cv }),
        (time(), 1u32..9).prop_map(|(mean, stages)| Distribution::Erlang { mean, stages }),
        (time(), cv.clone()).prop_map(|(mean, shape)| Distribution::Weibull { mean, shape }),
        (time(), cv).prop_map(|(scale, shape)| Distribution::Pareto { scale, shape }),
        (time(), 1.0f64..9.0).prop_map(|(mean, cv)| Distribution::Hyperexponential { mean, cv }),
        vec(time(), 1..5).prop_map(|mut times| {
            times.sort_unstable();
            Distribution::Quantiles(times)
        }),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        let component = (positive(), inner.clone()).prop_map(|(share, of)| Component { share, of });
        prop_oneof![
            (time(), inner).prop_map(|(by, of)| Distribution::Shifted {
                by,
                of: Box::new(of)
            }),
            // Cut around the mean, where there is something of any shape.
            time().prop_map(|mean| Distribution::Truncated {
                from: SimDuration::ZERO,
                to: mean,
                of: Box::new(Distribution::Exponential(mean)),
            }),
            vec(component, 1..4).prop_map(Distribution::Mixture),
        ]
    })
}

/// A station of any discipline, with the options that go with it.
fn station() -> impl Strategy<Value = StationFile> {
    let lot = (1u32..9, time(), time()).prop_map(|(max, delay, per_request)| Lot {
        max,
        delay,
        per_request,
    });
    let retry =
        (1u32..9, distribution(), positive()).prop_map(|(attempts, backoff, factor)| Retry {
            attempts,
            backoff,
            factor,
        });
    let breakdown = (distribution(), distribution()).prop_map(|(up, down)| Breakdown { up, down });
    let when_full = select(vec![WhenFull::Reject, WhenFull::Block]);
    let general = (
        select(vec![
            DisciplineName::Fifo,
            DisciplineName::Lifo,
            DisciplineName::PreemptiveLifo,
            DisciplineName::Priority,
            DisciplineName::PreemptivePriority,
            DisciplineName::Ps,
            DisciplineName::TimeSliced,
            DisciplineName::Delay,
        ]),
        of(1u32..99),
        distribution(),
        of(distribution()),
        of((1u32..99, of(when_full), of(retry))),
        of(distribution()),
    );
    let special = (
        of(positive()),
        of(1u32..99),
        time(),
        of(time()),
        of(lot),
        of(breakdown),
    );
    (general, special).prop_map(|(general, special)| {
        let (discipline, servers, service, of_usual, room, patience) = general;
        let (cap, limit, slice, switch, batch, breakdown) = special;
        let (capacity, when_full, retry) = match room {
            Some((capacity, when_full, retry)) => (Some(capacity), when_full, retry),
            None => (None, None, None),
        };
        let is_line = matches!(
            discipline,
            DisciplineName::Fifo | DisciplineName::Lifo | DisciplineName::Priority
        );
        let is_delay = discipline == DisciplineName::Delay;
        let is_shared = discipline == DisciplineName::Ps;
        let is_sliced = discipline == DisciplineName::TimeSliced;
        StationFile {
            servers: servers.filter(|_| !is_delay),
            discipline,
            service,
            services: of_usual
                .map(|s| ("usual".to_owned(), s))
                .into_iter()
                .collect(),
            capacity,
            when_full,
            cap: cap.filter(|_| is_shared),
            limit: limit.filter(|_| is_shared),
            slice: is_sliced.then_some(slice),
            switch: switch.filter(|_| is_sliced),
            batch: batch.filter(|_| is_line),
            patience: patience.filter(|_| !is_delay),
            retry,
            breakdown: breakdown.filter(|_| is_line),
        }
    })
}

/// Where requests go next, in all with a probability of at most 1.
fn next() -> impl Strategy<Value = Vec<NextFile>> {
    let to = select([&STATIONS[..], &OTHERS, &[POOL]].concat());
    vec((to, 0.001f64..0.3), 0..4).prop_map(|entries| {
        let entries = entries.into_iter();
        entries
            .map(|(to, probability)| NextFile {
                to: to.to_owned(),
                probability,
            })
            .collect()
    })
}

fn stage() -> impl Strategy<Value = StageFile> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let fork = StageFile {
        fork: Some(ForkFile {
            to: names(&STATIONS),
        }),
        ..StageFile::default()
    };
    let policies = vec![
        PolicyName::RoundRobin,
        PolicyName::Random,
        PolicyName::LeastOutstanding,
        PolicyName::JoinShortestQueue,
        PolicyName::PowerOfTwo,
        PolicyName::Weighted,
    ];
    let balance = (select(policies), positive(), positive()).prop_map(move |(policy, a, b)| {
        let is_weighted = policy == PolicyName::Weighted;
        StageFile {
            balance: Some(BalanceFile {
                policy,
                to: names(&STATIONS),
                weights: if is_weighted { vec![a, b] } else { Vec::new() },
            }),
            ..StageFile::default()
        }
    });
    let join = next().prop_map(|next| StageFile {
        join: Some(JoinFile {}),
        next,
        ..StageFile::default()
    });
    let release = next().prop_map(|next| StageFile {
        release: Some(ReleaseFile {
            to: POOL.to_owned(),
        }),
        next,
        ..StageFile::default()
    });
    prop_oneof![Just(fork), balance, join, release, pool(), station_stage()]
}

fn station_stage() -> impl Strategy<Value = StageFile> {
    (station(), next()).prop_map(|(station, next)| StageFile {
        station: Some(station),
        next,
        ..StageFile::default()
    })
}

fn pool() -> impl Strategy<Value = StageFile> {
    (1u32..9, 0u32..99, next()).prop_map(|(take, more, next)| StageFile {
        tokens: Some(TokensFile {
            count: take + more,
            take,
        }),
        next,
        ..StageFile::default()
    })
}

fn arrivals() -> impl Strategy<Value = ArrivalsFile> {
    let states = vec((rate(), time()), 1..4).prop_map(|states| {
        let states = states.into_iter();
        let state = |(rate, mean_time)| StateFile {
            rate: Some(rate),
            mean_time,
        };
        ArrivalsFile::MarkovModulated {
            states: states.map(state).collect(),
            connections: 7,
        }
    });
    let pieces = (vec((of(rate()), time()), 0..3), rate(), any::<bool>());
    let pieces = pieces.prop_map(|(pieces, rate, repeat)| {
        let last = (Some(rate), SimDuration::from_ps(1));
        let pieces = pieces.into_iter().chain([last]);
        ArrivalsFile::Piecewise {
            pieces: pieces
                .map(|(rate, length)| PieceFile { rate, length })
                .collect(),
            repeat,
            connections: u32::MAX,
        }
    });
    let units = vec![
        ReplayUnit::S,
        ReplayUnit::Ms,
        ReplayUnit::Us,
        ReplayUnit::Ns,
    ];
    let replay = (
        ".{1,20}",
        of(".{1,9}"),
        select(units),
        of(positive()),
        any::<bool>(),
    );
    let replay = replay.prop_map(|(file, column, unit, rate_factor, repeat)| {
        ArrivalsFile::Replay(ReplayFile {
            file,
            column,
            unit,
            rate_factor,
            rate: None,
            repeat,
            connections: 1,
        })
    });
    prop_oneof![
        distribution().prop_map(|think| ArrivalsFile::ClosedLoop { think }),
        rate().prop_map(|rate| ArrivalsFile::Poisson {
            rate,
            connections: 3
        }),
        (rate(), 0.1f64..3.0).prop_map(|(rate, cv)| ArrivalsFile::Gamma {
            rate,
            cv,
            connections: 3
        }),
        time().prop_map(|mean| ArrivalsFile::Renewal {
            gap: Distribution::Erlang { mean, stages: 2 },
            connections: 3
        }),
        states,
        pieces,
        replay,
        vec(prop_oneof![Just(SimDuration::ZERO), time()], 1..5).prop_map(|mut at| {
            at.sort_unstable();
            ArrivalsFile::Times { at, connections: 2 }
        }),
    ]
}

fn classes() -> impl Strategy<Value = Vec<ClassFile>> {
    let class = |name: &'static str| {
        (positive(), of(0u32..=1_000_000), of(positive())).prop_map(
            move |(share, priority, weight)| ClassFile {
                stream_priority: None,
                name: name.to_owned(),
                share,
                payload: None,
                priority,
                weight,
            },
        )
    };
    (class("usual"), of(class("\"rare\""))).prop_map(|(one, other)| {
        let mut classes = vec![one];
        classes.extend(other);
        classes
    })
}

fn clients() -> impl Strategy<Value = ClientsFile> {
    let to = select([&STATIONS[..], &OTHERS, &[POOL]].concat());
    (arrivals(), classes(), 1u32..9, vec(to, 1..5)).prop_map(|(arrivals, classes, count, path)| {
        let hop = |to: &str| HopFile {
            to: to.to_owned(),
            over: None,
            completion: None,
            verb: None,
            registration: None,
            queue_pairs: None,
            setup: None,
            tcp: None,
            payload: None,
            reply: None,
            balance: None,
            weights: Vec::new(),
        };
        ClientsFile {
            name: Some("people".to_owned()),
            on: None,
            count,
            arrivals,
            classes,
            in_a_row: 1.0,
            timeout: None,
            retry: None,
            path: path.into_iter().map(hop).collect(),
            reply_over: None,
        }
    })
}

fn run() -> impl Strategy<Value = RunFile> {
    let extents = prop_oneof![
        (0u32..9, 1u32..).prop_map(|(a, b)| (Extent::Requests(a), Extent::Requests(b))),
        (time(), time()).prop_map(|(a, b)| (Extent::Time(a), Extent::Time(b))),
        time().prop_map(|time| (Extent::Auto, Extent::Time(time))),
        (1u32..).prop_map(|n| (Extent::Auto, Extent::Requests(n))),
    ];
    (0..=i64::MAX as u64, extents, 0.0..=1.0).prop_map(
        |(seed, (warmup, measure), rate_tolerance)| RunFile {
            seed,
            warmup,
            measure,
            rate_tolerance,
        },
    )
}

/// A scenario with both [`STATIONS`], the [`POOL`] and a stage of any kind for each of [`OTHERS`].
fn scenario() -> impl Strategy<Value = ScenarioFile> {
    let stations = (station_stage(), station_stage());
    let others = (stage(), stage(), stage());
    (run(), stations, pool(), others, clients()).prop_map(
        |(run, stations, pool, others, clients)| {
            let names = STATIONS.iter().chain([&POOL]).chain(&OTHERS);
            let (a, b, c) = others;
            let stages = [stations.0, stations.1, pool, a, b, c];
            let stages = names.map(|name| (*name).to_owned()).zip(stages);
            ScenarioFile {
                format: 1,
                name: "plain".to_owned(),
                run,
                placement: PlacementFile::Separate,
                hosts: BTreeMap::new(),
                switches: Vec::new(),
                links: Vec::new(),
                fabric: None,
                faults: Vec::new(),
                stages: stages.collect(),
                clients: vec![clients],
            }
        },
    )
}

proptest! {
    #[test]
    fn a_scenario_of_plain_stages_reads_back_what_it_wrote(file in scenario()) {
        let read = Scenario::from_file(&file).unwrap();
        prop_assert_eq!(read.file(), &file);
        prop_assert!(read.is_plain());
        // So it stands in the manifest of a run.
        let text = serde_json::to_string(&file).unwrap();
        prop_assert_eq!(serde_json::from_str::<ScenarioFile>(&text).unwrap(), file);
    }
}

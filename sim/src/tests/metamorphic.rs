//! What must stay the same, or change in a known way, when a scenario is changed.

use std::fs;

use schema::ids::RequestId;
use schema::run::{MANIFEST_FILE, Run, SUMMARY_FILE, Span, TRACE_FILE};

use super::*;
use crate::{Completion, completions, simulate};

/// A busy scenario through the gateway: batches, two instances, contention.
const BUSY: [&str; 6] = [
    PROXIED,
    "clients.0.count=5",
    "clients.0.arrivals={ closed-loop = { think = { exponential = \"1 ms\" } } }",
    "stages.classify.instances=2",
    "stages.classify.batch={ max = 3, delay = \"200 us\" }",
    "stages.classify.serve.synthetic.input=\"150 kB\"",
];

fn served(overrides: &[&str], profile: &Profile) -> Vec<Completion> {
    let scenario = scenario(overrides);
    completions(&scenario, profile, &OPTIONS)
        .unwrap()
        .remove(0)
        .completions
}

/// The bytes of every file of the run's directory.
fn bytes(run: &Run) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    run.save(dir.path()).unwrap();
    [MANIFEST_FILE, TRACE_FILE, SUMMARY_FILE]
        .map(|file| fs::read(dir.path().join(file)).unwrap())
        .to_vec()
}

#[test]
fn equal_inputs_give_equal_bytes_on_any_number_of_threads() {
    let with = |threads| {
        let options = Options {
            replications: 3,
            threads,
            ..OPTIONS
        };
        bytes(&simulate(&scenario(&BUSY), Some(&random_profile()), &options).unwrap())
    };
    let first = with(1);
    assert!(first == with(1), "a second run differs");
    assert!(first == with(2), "two threads give another run than one");
}

#[test]
fn one_host_of_a_kind_is_a_host() {
    let counted = ["edge", "gateway", "server"].map(|host| format!("hosts.{host}.count=1"));
    let counted: Vec<&str> = BUSY
        .into_iter()
        .chain(counted.iter().map(String::as_str))
        .collect();
    let run = |overrides: &[&str]| {
        bytes(&simulate(&scenario(overrides), Some(&random_profile()), &OPTIONS).unwrap())
    };
    assert!(run(&BUSY) == run(&counted));
}

#[test]
fn another_seed_gives_another_run() {
    let profile = random_profile();
    let reseeded = [&BUSY[..], &["run.seed=2"]].concat();
    assert_ne!(served(&BUSY, &profile), served(&reseeded, &profile));
}

#[test]
fn replications_share_the_requests_or_do_not() {
    let overrides = [r#"clients.0.arrivals={ poisson = { rate = "100 /s" } }"#];
    let all = |arrivals| {
        let options = Options {
            replications: 2,
            arrivals,
            ..OPTIONS
        };
        completions(&scenario(&overrides), &random_profile(), &options).unwrap()
    };
    let ready = |arrivals| -> Vec<Vec<(RequestId, SimTime)>> {
        let all = all(arrivals);
        let ready = all.into_iter().map(|served| {
            let mut ready: Vec<_> = served
                .completions
                .iter()
                .map(|c| (c.request, c.ready))
                .collect();
            ready.sort_unstable();
            ready
        });
        ready.collect()
    };
    let shared = ready(Arrivals::Shared);
    let independent = ready(Arrivals::Independent);
    assert_eq!(shared[0], shared[1]);
    assert_eq!(shared[0], independent[0]);
    let costs = all(Arrivals::Shared);
    assert_ne!(costs[0].completions, costs[1].completions);
    assert_ne!(independent[0], independent[1]);
}

/// Spans without the ids of what was renamed.
fn nameless(trace: &[Span]) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let span = |s: &Span| {
        let times = [s.ready_ns, s.start_ns, s.end_ns, s.cpu_ns];
        (s.request, s.name, s.hop, s.leg, s.batch, s.bytes, times)
    };
    trace.iter().map(span).collect()
}

#[test]
fn renaming_stages_changes_nothing_but_names() {
    let text = |ingress: &str, classify: &str| {
        let text = BASE.replace("stages.ingress", &format!("stages.{ingress}"));
        text.replace("classify", classify)
    };
    let run = |ingress: &str, classify: &str| {
        let overrides: Vec<String> = BUSY
            .iter()
            .map(|s| s.replace("ingress", ingress).replace("classify", classify))
            .collect();
        let text = text(ingress, classify);
        let scenario = Scenario::parse(Path::new("base.toml"), text, &overrides).unwrap();
        simulate(&scenario, Some(&profile()), &OPTIONS).unwrap()
    };
    let (before, after) = (run("ingress", "classify"), run("alpha", "zulu"));
    assert_eq!(nameless(&before.trace), nameless(&after.trace));
    let stages = |run: &Run| -> Vec<String> {
        let name = |span: &Span| run.scenario.stages[span.stage].name.clone();
        run.trace.iter().map(name).collect()
    };
    let renamed: Vec<String> = stages(&before)
        .iter()
        .map(|name| name.replace("ingress", "alpha").replace("classify", "zulu"))
        .collect();
    assert_eq!(stages(&after), renamed);
}

#[test]
fn doubling_every_time_doubles_every_time() {
    let before = served(&BUSY, &profile());
    let mut slow = profile();
    for law in slow
        .parts
        .values_mut()
        .flat_map(|part| part.costs.values_mut())
    {
        law.base *= 2.0;
        // The seconds asked for double by themselves.
        if law.per != Driver::Seconds {
            law.slope *= 2.0;
        }
    }
    let doubled = [
        &BUSY[..],
        &[
            "clients.0.arrivals={ closed-loop = { think = { exponential = \"2 ms\" } } }",
            "stages.classify.serve.synthetic.time=\"2 ms\"",
            "stages.classify.batch.delay=\"400 us\"",
            "links.1.rate=\"5 Gbit/s\"",
            "links.2.rate=\"20 Gbit/s\"",
            "links.1.delay=\"10 us\"",
            "links.2.delay=\"14 us\"",
        ],
    ]
    .concat();
    let after = served(&doubled, &slow);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.request, after.request);
        // Each of the parts so far, a few hundred, was rounded to a picosecond.
        for (before, after) in [(before.ready, after.ready), (before.end, after.end)] {
            let difference = (2 * before.as_ps()).abs_diff(after.as_ps());
            assert!(difference < 10_000, "{difference} ps");
        }
    }
}

#[test]
fn adding_an_unused_stage_or_another_group_leaves_the_draws_of_the_rest() {
    let profile = random_profile();
    let before = served(&BUSY, &profile);
    let added = [
        &BUSY[..],
        &[
            r#"hosts.another={ part = "server", cores = 3 }"#,
            r#"hosts.backup={ part = "server", cores = 3 }"#,
            r#"stages.a={ on = "another", serve = { synthetic = { time = "1 ms", input = "1 B", output = "1 B" } } }"#,
        ],
    ]
    .concat();
    assert_eq!(served(&added, &profile), before);
    let text = format!(
        "{BASE}\n[[clients]]\non = \"another\"\narrivals = {{ closed-loop = {{}} }}\npath = [{{ to = \"a\", over = \"local\" }}]\n"
    );
    let mut profile = profile;
    for cost in ["send/local", "receive/local"] {
        let law = CostLaw::exact(Driver::Bytes, 1e-6, 0.0, "test");
        let part = profile.parts.get_mut("server").unwrap();
        part.costs.insert(cost.to_owned(), law);
    }
    let overrides: Vec<String> = added.iter().map(|&s| s.to_owned()).collect();
    let scenario = Scenario::parse(Path::new("base.toml"), text, &overrides).unwrap();
    let mut with_group = completions(&scenario, &profile, &OPTIONS)
        .unwrap()
        .remove(0);
    let n_cameras = 5;
    with_group
        .completions
        .retain(|c| c.request.as_u64() >> 32 < n_cameras);
    assert_eq!(with_group.completions, before);
}

/// At a FIFO station with the same arrivals and service times, more servers never make anyone wait
/// longer (Kiefer and Wolfowitz, 1955): each cost but inference is exact, and cores abound.
#[test]
fn more_instances_never_make_a_request_wait_longer() {
    let profile = only_inference(Residual::Gamma { shape: 0.5 });
    let with = |instances: u32| -> Vec<SimDuration> {
        let instances = format!("stages.classify.instances={instances}");
        let overrides = [
            "hosts.server.cores=64",
            "run.measure.requests=300",
            r#"clients.0.arrivals={ poisson = { rate = "900 /s", connections = 300 } }"#,
            &instances,
        ];
        let run = simulate(&scenario(&overrides), Some(&profile), &OPTIONS).unwrap();
        let mut waits: Vec<_> = (run.trace.iter().filter(|span| span.name.name() == "queue"))
            .map(|span| (span.request, span.end_ns - span.ready_ns))
            .collect();
        waits.sort_unstable();
        waits
            .into_iter()
            .map(|(_, ns)| SimDuration::from_ns(ns))
            .collect()
    };
    let mut fewer = with(1);
    assert!(
        fewer
            .iter()
            .filter(|wait| **wait > SimDuration::ZERO)
            .count()
            > 100
    );
    for instances in 2..5 {
        let more = with(instances);
        assert!(more.iter().zip(&fewer).all(|(more, fewer)| more <= fewer));
        fewer = more;
    }
}

#[test]
fn contention_slows_a_shared_machine_only() {
    let mut contended = profile();
    for part in ["edge", "gateway", "server"] {
        set_contention(&mut contended, part, 0.5);
    }
    assert_eq!(served(&BUSY, &contended), served(&BUSY, &profile()));

    let one_machine = |profile: &mut Profile| {
        let part = profile.parts["edge"].clone();
        profile
            .parts
            .extend(["gateway", "server"].map(|name| (name.to_owned(), part.clone())));
    };
    let (mut free, mut contended) = (profile(), contended);
    one_machine(&mut free);
    one_machine(&mut contended);
    let local = [
        &BUSY[..],
        &[
            r#"hosts={ edge = { part = "edge", cores = 6 }, gateway = { part = "edge", cores = 6 }, server = { part = "edge", cores = 6 } }"#,
            "placement={ local = { pin = { edge = [0, 1], gateway = [2, 3], server = [4, 5] } } }",
        ],
    ]
    .concat();
    let total = |profile| -> SimDuration {
        let all = served(&local, profile);
        all.iter().map(|c| c.end.since(c.ready)).sum()
    };
    let (free, contended) = (total(&free).as_secs_f64(), total(&contended).as_secs_f64());
    assert!(
        1.02 * free < contended && contended < 1.5 * free,
        "{free} {contended}"
    );
}

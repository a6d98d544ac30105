//! Stages that send their result on, and stages that call others: worked out by hand, against theory,
//! and what holds in every run. Nothing but serving and links takes time; a byte takes 1 ns.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schema::breakdown::breakdowns;
use schema::run::{Run, Span, SpanName};
use schema::stats::{mean, mean_interval};

use super::*;
use crate::{Completion, completions, simulate};

/// Stages that serve in 1, 3 and 2 ms, and a proxy, each on a host of its own.
const TEXT: &str = r#"
format = 1
name = "calls"
run = { measure = { time = "1 s" } }
fabric = { star = { rate = "1 GB/s" } }

[hosts]
edge = { part = "edge", cores = 64 }
gateway = { part = "gateway", cores = 64 }
one = { part = "server", cores = 64 }
three = { part = "server", cores = 64 }
two = { part = "server", cores = 64 }

[stages.ingress]
on = "gateway"
proxy = {}

[stages.detect]
on = "one"
instances = 64
serve = { synthetic = { time = "1 ms", input = "0 B", output = "0 B" } }

[stages.classify]
on = "three"
instances = 64
serve = { synthetic = { time = "3 ms", input = "0 B", output = "0 B" } }

[stages.embed]
on = "two"
instances = 64
serve = { synthetic = { time = "2 ms", input = "0 B", output = "0 B" } }

[[clients]]
on = "edge"
arrivals = { times = { at = ["0 ms"], connections = 1 } }
path = [{ to = "detect", over = "tcp" }]
"#;

const TO_CLASSIFY: &str = "path = [{ to = \"classify\", over = \"tcp\" }]";
const TO_EMBED: &str = "path = [{ to = \"embed\", over = \"tcp\" }]";

fn scenario(overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    Scenario::parse(Path::new("calls.toml"), TEXT.to_owned(), &overrides).unwrap()
}

fn served(overrides: &[&str]) -> Vec<Completion> {
    let profile = only_inference(Residual::None);
    let mut served = completions(&scenario(overrides), &profile, &OPTIONS).unwrap();
    let mut all = served.remove(0).completions;
    all.sort_by_key(|completion| completion.request);
    all
}

/// How long the only request takes, in ns.
fn sojourn(overrides: &[&str]) -> u64 {
    let all = served(overrides);
    assert_eq!(all.len(), 1);
    let ps = all[0].end.since(all[0].ready).as_ps();
    assert_eq!(ps % 1000, 0);
    ps / 1000
}

const MS: u64 = 1_000_000;

/// Steps of `detect`, each with these calls.
fn steps(steps: &[&[&str]]) -> String {
    let step = |calls: &&[&str]| {
        let calls: Vec<String> = calls.iter().map(|call| format!("{{ {call} }}")).collect();
        format!("{{ calls = [{}] }}", calls.join(", "))
    };
    let steps: Vec<String> = steps.iter().map(step).collect();
    format!("stages.detect.steps=[{}]", steps.join(", "))
}

/// A request of 1000 B to a stage that sends 2000 B on to another, whose reply of 100 B comes back.
const CHAIN: [&str; 4] = [
    "stages.detect.serve.synthetic.input=\"1000 B\"",
    "stages.detect.serve.synthetic.output=\"2000 B\"",
    "stages.classify.serve.synthetic.output=\"100 B\"",
    "clients.0.path=[{ to = \"detect\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]",
];

#[test]
fn a_stage_sends_its_output_on_and_the_reply_comes_back() {
    let services = 4 * MS;
    assert_eq!(sojourn(&CHAIN), 1000 + 2000 + services + 2 * 100);
    // A hop's sizes go before those of stages, until the next stage that serves, and back.
    let with = |hops: &str| {
        let path = format!("clients.0.path=[{hops}]");
        sojourn(&[&CHAIN[..3], &[&path]].concat())
    };
    let hop = |to: &str, more: &str| format!("{{ to = \"{to}\", over = \"tcp\"{more} }}");
    let last = hop("classify", ", payload = \"500 B\", reply = \"70 B\"");
    let path = format!("{}, {last}", hop("detect", ""));
    assert_eq!(with(&path), 1000 + 500 + services + 2 * 70);
    let first = hop("detect", ", payload = \"10 B\", reply = \"30 B\"");
    let path = format!("{first}, {}", hop("classify", ""));
    assert_eq!(with(&path), 10 + 2000 + services + 100 + 30);
    // A proxy between the two sends on what it gets.
    let path = [hop("detect", ""), hop("ingress", ""), hop("classify", "")].join(", ");
    assert_eq!(with(&path), 1000 + 2 * 2000 + services + 3 * 100);
}

#[test]
fn a_reply_may_go_straight_to_the_caller() {
    let straight = "clients.0.reply-over=tcp";
    let overrides = [&CHAIN[..], &[straight]].concat();
    assert_eq!(sojourn(&overrides), 1000 + 2000 + 4 * MS + 100);
    let run = simulate(
        &scenario(&overrides),
        Some(&only_inference(Residual::None)),
        &OPTIONS,
    )
    .unwrap();
    let hops = run.trace.iter().filter(|span| span.name == SpanName::Wire);
    let hops: Vec<_> = hops.map(|span| (span.hop.unwrap(), span.bytes)).collect();
    assert_eq!(hops, [(0, 1000), (1, 2000), (2, 100)]);
}

/// Costs of all that a stage in the middle does, added up.
#[test]
fn a_stage_in_the_middle_hands_replies_through_as_a_proxy_does() {
    let profile = profile();
    let all = completions(&scenario(&CHAIN), &profile, &OPTIONS)
        .unwrap()
        .remove(0)
        .completions;
    let draw = |part: &str, cost: &str, driver: f64| {
        let law = profile.cost(part, cost, "test").unwrap();
        law.draw(driver, 0.5, schema::profile::Conditions::BEST)
    };
    let mut total = SimDuration::ZERO;
    let mut message = |from: &str, to: &str, bytes: f64| {
        total += draw(from, "send/tcp", bytes) + draw(to, "receive/tcp", bytes);
        total += SimDuration::from_ns(bytes as u64);
    };
    message("edge", "server", 1000.0);
    message("server", "server", 2000.0);
    message("server", "server", 100.0);
    message("server", "edge", 100.0);
    for (input, output, time) in [(1000.0, 2000.0, 1e-3), (2000.0, 100.0, 3e-3)] {
        total += draw("server", "dispatch", 1.0) + draw("server", "h2d", input);
        total += draw("server", "inference/synthetic", time);
        total += draw("server", "d2h", output) + draw("server", "notify", 1.0);
    }
    total += draw("server", "translate", 100.0);
    total += draw("edge", "prepare", 1000.0) + draw("edge", "postprocess", 100.0);
    assert_eq!(all[0].end.since(all[0].ready), total);
}

#[test]
fn calls_of_a_step_are_made_at_once_and_steps_one_after_the_other() {
    assert_eq!(sojourn(&[&steps(&[&[TO_CLASSIFY]])]), 4 * MS);
    assert_eq!(sojourn(&[&steps(&[&[TO_CLASSIFY, TO_EMBED]])]), 4 * MS);
    assert_eq!(sojourn(&[&steps(&[&[TO_CLASSIFY], &[TO_EMBED]])]), 6 * MS);
    let sized = format!("{TO_EMBED}, payload = \"700 B\", reply = \"40 B\"");
    let both = steps(&[&[TO_CLASSIFY, &sized], &[&sized]]);
    assert_eq!(sojourn(&[&both]), 6 * MS + 740);
    // The output of the caller, and of the callee.
    let sizes = [
        "stages.detect.serve.synthetic.output=\"300 B\"",
        "stages.embed.serve.synthetic.output=\"5 B\"",
    ];
    let one = steps(&[&[TO_EMBED]]);
    assert_eq!(
        sojourn(&[&sizes[..], &[&one]].concat()),
        3 * MS + 300 + 5 + 300
    );
}

#[test]
fn a_call_may_send_several_requests() {
    let four = format!("{TO_CLASSIFY}, count = {{ constant = 4 }}");
    let four = steps(&[&[&four]]);
    assert_eq!(sojourn(&[&four]), 4 * MS);
    assert_eq!(sojourn(&[&four, "stages.classify.instances=2"]), 7 * MS);
    // All four are one batch.
    let batch = "stages.classify.batch={ max = 4 }";
    let one = "stages.classify.instances=1";
    assert_eq!(sojourn(&[&four, batch, one]), (1 + 3 * 4) * MS);
    // Two each to two replicas, one after the other.
    assert_eq!(sojourn(&[&four, one, "hosts.three.count=2"]), 7 * MS);
    let none = format!("{TO_CLASSIFY}, count = {{ constant = 0 }}");
    assert_eq!(sojourn(&[&steps(&[&[&none]])]), MS);
}

#[test]
fn what_is_called_may_call_others() {
    let two = format!("{TO_CLASSIFY}, count = {{ constant = 2 }}");
    let nested = format!(
        "stages.classify.steps=[{{ calls = [{{ {TO_EMBED}, count = {{ constant = 3 }} }}] }}]"
    );
    assert_eq!(sojourn(&[&steps(&[&[&two]]), &nested]), 6 * MS);
    // Six requests at one instance.
    let one = "stages.embed.instances=1";
    assert_eq!(
        sojourn(&[&steps(&[&[&two]]), &nested, one]),
        (1 + 3 + 6 * 2) * MS
    );
}

#[test]
fn a_proxy_may_call_and_put_the_replies_together() {
    let calls = format!(
        "{{ {TO_CLASSIFY}, payload = \"600 B\" }}, {{ {TO_EMBED}, payload = \"20 B\", reply = \"7 B\" }}"
    );
    let overrides = [
        &format!("stages.ingress.steps=[{{ calls = [{calls}] }}]")[..],
        "clients.0.path=[{ to = \"ingress\", over = \"tcp\", payload = \"100 B\", reply = \"9 B\" }]",
    ];
    // Both requests share the link of the gateway: the larger leaves when both have.
    assert_eq!(sojourn(&overrides), 100 + 620 + 3 * MS + 9);
    // With something behind it, it calls first.
    let path = "clients.0.path=[{ to = \"ingress\", over = \"tcp\" }, { to = \"detect\", over = \"tcp\" }]";
    assert_eq!(sojourn(&[overrides[0], path]), 620 + 4 * MS);
}

#[test]
fn replies_of_a_call_may_go_straight() {
    let path =
        "path = [{ to = \"ingress\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]";
    let sized = format!("{path}, payload = \"100 B\", reply = \"50 B\"");
    assert_eq!(sojourn(&[&steps(&[&[&sized]])]), 4 * MS + 2 * 150);
    let straight = format!("{sized}, reply-over = \"tcp\"");
    assert_eq!(sojourn(&[&steps(&[&[&straight]])]), 4 * MS + 2 * 100 + 50);
}

/// The number of branches of each request, in their order; 2000 requests, one by one.
fn branches(call: &str) -> Vec<usize> {
    let overrides = [
        &steps(&[&[call]])[..],
        "clients.0.arrivals={ closed-loop = {} }",
        "run.measure={ requests = 2000 }",
    ];
    let profile = only_inference(Residual::None);
    let run = simulate(&scenario(&overrides), Some(&profile), &OPTIONS).unwrap();
    let mut n: BTreeMap<_, usize> = BTreeMap::new();
    for span in &run.trace {
        let is_branch = span.name == SpanName::Inference && span.branch > 0;
        *n.entry(span.request).or_default() += usize::from(is_branch);
    }
    n.into_values().collect()
}

#[test]
fn a_call_is_made_with_its_probability() {
    let with = |p: f64| branches(&format!("{TO_EMBED}, probability = {p:?}"));
    assert_eq!(with(1.0), [1; 2000]);
    assert_eq!(with(0.0), [0; 2000]);
    let made: usize = with(0.3).iter().sum();
    // 99.9% of a binomial distribution: 3.29 standard deviations of 20.5.
    assert!((made as f64 - 600.0).abs() < 3.29 * 20.5, "{made}");
}

#[test]
fn the_number_of_requests_of_a_call_has_its_distribution() {
    let cases: [(&str, Vec<f64>); 3] = [
        (
            "{ uniform = { from = 1, to = 3 } }",
            vec![0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
        ),
        ("{ shares = [2, 0, 1, 1] }", vec![0.5, 0.0, 0.25, 0.25]),
        // e⁻² 2ⁿ / n!, and what remains.
        (
            "{ poisson = { mean = 2.0, max = 3 } }",
            vec![0.135_335, 0.270_671, 0.270_671, 0.323_324],
        ),
    ];
    for (count, expected) in cases {
        let numbers = branches(&format!("{TO_EMBED}, count = {count}"));
        for (n, p) in expected.iter().enumerate() {
            let found = numbers.iter().filter(|number| **number == n).count() as f64;
            let sd = (2000.0 * p * (1.0 - p)).sqrt();
            // Twelve intervals at 99.99%.
            assert!(
                (found - 2000.0 * p).abs() <= 3.89 * sd,
                "{count}: {n} {found}"
            );
        }
        assert!(numbers.iter().all(|n| *n < expected.len()));
    }
}

/// Two exponential stations that serve a request at once, with Poisson arrivals: a request takes
/// `(12 - ρ) / 8` of the sojourn time at one of them (Flatto and Hahn, 1984; Nelson and Tantawi, 1988).
#[test]
fn a_fork_and_join_of_two_has_its_mean_sojourn_time() {
    let (rate, mu) = (500.0, 1000.0);
    let theory = |mu: f64| (12.0 - rate / mu) / 8.0 / (mu - rate);
    let calls =
        format!("{{ {TO_CLASSIFY}, payload = \"0 B\" }}, {{ {TO_EMBED}, payload = \"0 B\" }}");
    let overrides = [
        &format!("stages.ingress.steps=[{{ calls = [{calls}] }}]")[..],
        "clients.0.path=[{ to = \"ingress\", over = \"tcp\", payload = \"0 B\", reply = \"0 B\" }]",
        "clients.0.arrivals={ poisson = { rate = \"500 /s\", connections = 400 } }",
        "stages.classify.instances=1",
        "stages.embed.instances=1",
        "stages.classify.serve.synthetic.time=\"1 ms\"",
        "stages.embed.serve.synthetic.time=\"1 ms\"",
        "run.measure.time=\"17 s\"",
    ];
    let options = Options {
        replications: 20,
        arrivals: Arrivals::Independent,
        threads: 2,
        ..OPTIONS
    };
    let profile = only_inference(Residual::Gamma { shape: 1.0 });
    let all = completions(&scenario(&overrides), &profile, &options).unwrap();
    let means: Vec<f64> = (all.iter())
        .map(|served| {
            let late = (served.completions.iter()).filter(|c| c.ready.as_ps() > 1_000_000_000_000);
            mean(
                &late
                    .map(|c| c.end.since(c.ready).as_secs_f64())
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let interval = mean_interval(&means, 0.999);
    let (expected, slower) = (theory(mu), theory(mu / 1.03));
    assert!(
        interval.low <= expected && expected <= interval.high,
        "{interval:?} {expected}"
    );
    assert!(
        interval.high - interval.low < 0.06 * expected,
        "{interval:?}"
    );
    assert!(slower > interval.high, "{interval:?} {slower}");
}

/// A call that is never made changes nothing but its own connections.
#[test]
fn a_call_that_is_never_made_changes_nothing() {
    let busy = [
        "clients.0.count=3",
        "clients.0.arrivals={ closed-loop = { think = { exponential = \"1 ms\" } } }",
        "run.measure={ requests = 50 }",
        "stages.detect.instances=1",
    ];
    let never = format!("{TO_CLASSIFY}, probability = 0.0, count = {{ constant = 3 }}");
    let never = steps(&[&[&never]]);
    let profile = random_profile();
    let served = |overrides: &[&str]| {
        let all = completions(&scenario(overrides), &profile, &OPTIONS).unwrap();
        all[0].completions.clone()
    };
    assert_eq!(served(&busy), served(&[&busy[..], &[&never]].concat()));
}

fn overrides() -> impl Strategy<Value = Vec<String>> {
    let counts = prop_oneof![
        Just("{ constant = 3 }"),
        Just("{ uniform = { from = 0, to = 3 } }"),
        Just("{ shares = [1, 2] }"),
    ];
    let load = (1u32..4, 1u32..4, 0u64..1000);
    let shape = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        1u32..3,
        1u32..4,
    );
    (counts, 0.0..1.0f64, load, shape).prop_map(|(count, p, (clients, instances, seed), shape)| {
        let (is_nested, is_chain, is_straight, replicas, batch) = shape;
        let call = format!("{TO_CLASSIFY}, count = {count}, payload = \"90 kB\"");
        let maybe = format!("{TO_EMBED}, probability = {p:?}");
        let mut all = vec![
            steps(&[&[&call, &maybe], &[&maybe]]),
            format!("run={{ seed = {seed}, measure = {{ requests = 6 }} }}"),
            format!("clients.0.count={clients}"),
            "clients.0.arrivals={ closed-loop = { think = { exponential = \"1 ms\" } } }".to_owned(),
            format!("stages.classify.instances={instances}"),
            format!("stages.classify.batch={{ max = {batch}, delay = \"100 us\" }}"),
            format!("hosts.three.count={replicas}"),
        ];
        if is_nested {
            all.push(format!("stages.classify.steps=[{{ calls = [{{ {TO_EMBED}, count = {{ constant = 2 }} }}] }}]"));
        }
        if is_chain {
            all.push("clients.0.path=[{ to = \"ingress\", over = \"tcp\" }, { to = \"detect\", over = \"tcp\" }, { to = \"embed\", over = \"tcp\" }]".to_owned());
        }
        if is_straight {
            all.push("clients.0.reply-over=tcp".to_owned());
        }
        all
    })
}

fn run(overrides: &[String]) -> Run {
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    simulate(&scenario(&overrides), Some(&random_profile()), &OPTIONS).unwrap()
}

/// By request and branch, its spans, in the order of a trace.
fn by_branch(run: &Run) -> BTreeMap<(u64, u32), Vec<&Span>> {
    let mut all: BTreeMap<_, Vec<&Span>> = BTreeMap::new();
    for span in run
        .trace
        .iter()
        .filter(|span| span.name != SpanName::Request)
    {
        all.entry((span.request.as_u64(), span.branch))
            .or_default()
            .push(span);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A branch lies between two spans of its parent that follow one another, and its own spans
    /// follow one another.
    #[test]
    fn branches_nest_within_their_parents(overrides in overrides()) {
        let run = run(&overrides);
        let all = by_branch(&run);
        let branches = &run.scenario.groups.rows()[0].branches;
        for ((request, branch), spans) in &all {
            for pair in spans.windows(2) {
                let is_message = matches!(pair[1].name, SpanName::Wire | SpanName::Receive);
                prop_assert!(is_message || pair[0].end_ns <= pair[1].ready_ns, "{:?}", pair);
            }
            let Some(index) = branch.checked_sub(1) else { continue };
            let parent = &all[&(*request, branches[index as usize].parent)];
            let first = spans[0].ready_ns;
            let last = spans.iter().map(|span| span.end_ns).max().unwrap();
            let nests = parent.windows(2).any(|pair| {
                pair[0].end_ns <= first && last <= pair[1].ready_ns
            });
            prop_assert!(nests, "{} {}: {} to {}", request, branch, first, last);
        }
    }

    /// Every instant of a request belongs to one span, however many branches are under way.
    #[test]
    fn the_spans_of_a_request_and_its_branches_cover_it(overrides in overrides()) {
        for breakdown in breakdowns(&run(&overrides).trace) {
            let sum: f64 = SpanName::parts().iter().map(|name| breakdown.part_s(*name)).sum();
            prop_assert!((sum - breakdown.end_to_end_s()).abs() < 1e-12);
        }
    }

    /// A branch that has set out passes its whole path once; equal inputs give an equal trace that is
    /// read back as it was.
    #[test]
    fn branches_are_complete_and_read_back(overrides in overrides()) {
        let run = run(&overrides);
        let group = &run.scenario.groups.rows()[0];
        for ((_, branch), spans) in by_branch(&run) {
            let path = match (branch as usize).checked_sub(1) {
                None => &group.path,
                Some(index) => &run.scenario.call(&group.branches[index]).path,
            };
            let sends = spans.iter().filter(|span| span.name == SpanName::Send).count();
            let is_straight = branch == 0 && group.reply.is_some();
            let expected = if is_straight { path.len() + 1 } else { 2 * path.len() };
            prop_assert_eq!(sends, expected);
        }
        let dir = tempfile::tempdir().unwrap();
        run.save(dir.path()).unwrap();
        let again = Run::load(dir.path()).unwrap();
        prop_assert!(again.trace == run.trace);
        prop_assert!(super::calls::run(&overrides).trace == run.trace);
    }
}

//! Losses of hosts and stages, and clients that give up and try again: worked out by hand, and what
//! holds in every run. Nothing but serving and links takes time; serving takes 10 ms, a byte 1 ns.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::prelude::*;
use schema::run::{Run, Span, SpanName, Status};

use super::*;
use crate::{completions, simulate};

/// A request of no bytes at 0 ms to the first of two servers, for which its client waits for 25 ms.
const TEXT: &str = r#"
format = 1
name = "losses"
run = { measure = { time = "1 s" } }
fabric = { star = { rate = "1 GB/s" } }
faults = [{ host = "server-0", from = "4 ms", for = "900 ms" }]

[hosts]
edge = { part = "edge", cores = 64 }
gateway = { part = "gateway", cores = 64 }
server = { part = "server", cores = 64, count = 2 }

[stages.ingress]
on = "gateway"
proxy = {}

[stages.classify]
on = "server"
serve = { synthetic = { time = "10 ms", input = "0 B", output = "0 B" } }

[[clients]]
on = "edge"
timeout = "25 ms"
retry = { attempts = 1, backoff = { constant = "5 ms" } }
arrivals = { times = { at = ["0 ms"], connections = 2 } }
path = [{ to = "classify", over = "tcp" }]
"#;

/// `text` with a seed from which the clients start with the first server: with which they do is drawn, and
/// nothing else of what is worked out here.
fn first_first(text: &str, overrides: &[&str]) -> Scenario {
    static SEED: OnceLock<String> = OnceLock::new();
    let parsed = |text: &str, seed: &str, overrides: &[&str]| {
        let all = std::iter::once(seed).chain(overrides.iter().copied());
        let all: Vec<String> = all.map(str::to_owned).collect();
        Scenario::parse(Path::new("losses.toml"), text.to_owned(), &all).unwrap()
    };
    let seed = SEED.get_or_init(|| {
        let mut seeds = (0..64).map(|seed| format!("run.seed={seed}"));
        let starts = |seed: &String| {
            let scenario = parsed(TEXT, seed, &["faults=[]"]);
            let profile = only_inference(Residual::None);
            let run = simulate(&scenario, Some(&profile), &OPTIONS).unwrap();
            let mut serves = run.trace.iter().filter(|s| s.name == SpanName::Inference);
            run.scenario.hosts[serves.next().unwrap().host].name == "server-0"
        };
        seeds.find(starts).expect("some seed does")
    });
    parsed(text, seed, overrides)
}

fn scenario(overrides: &[&str]) -> Scenario {
    first_first(TEXT, overrides)
}

fn run(overrides: &[&str]) -> Run {
    let profile = only_inference(Residual::None);
    simulate(&scenario(overrides), Some(&profile), &OPTIONS).unwrap()
}

/// When each request ended, in us, and how, in their order.
fn ends(overrides: &[&str]) -> Vec<(u64, Status)> {
    let profile = only_inference(Residual::None);
    let mut served = completions(&scenario(overrides), &profile, &OPTIONS).unwrap();
    let mut all = served.remove(0).completions;
    all.sort_by_key(|completion| completion.request);
    let end = |c: &crate::Completion| {
        assert_eq!(c.end.as_ps() % 1_000_000, 0);
        (c.end.as_ps() / 1_000_000, c.status)
    };
    all.iter().map(end).collect()
}

const MS: u64 = 1000;
const OK: Status = Status::Ok;
const FAILED: Status = Status::Failed;

#[test]
fn a_request_that_is_lost_times_out_and_is_tried_elsewhere() {
    // Lost at 4 ms, given up at 25, tried at 30 on the other, served until 40.
    assert_eq!(ends(&[]), [(40 * MS, OK)]);
    let once = "clients.0.retry.attempts=1";
    // Without another attempt it has failed when its time is up.
    let text = TEXT.replace(
        "retry = { attempts = 1, backoff = { constant = \"5 ms\" } }\n",
        "",
    );
    let alone = first_first(&text, &[]);
    let served = completions(&alone, &only_inference(Residual::None), &OPTIONS).unwrap();
    let [end] = served[0].completions[..] else {
        panic!("{served:?}")
    };
    assert_eq!((end.end, end.status), (at(25_000_000_000), FAILED));
    // One server: it comes back before the second attempt, or after it.
    let one = ["hosts.server.count=1", "faults.0.host=server", once];
    assert_eq!(
        ends(&[&one[..], &["faults.0.for=\"20 ms\""]].concat()),
        [(40 * MS, OK)]
    );
    assert_eq!(
        ends(&[&one[..], &["faults.0.for=\"27 ms\""]].concat()),
        [(55 * MS, FAILED)]
    );
    // Before it had come, at the very end, and after it was done.
    let first = ["faults.0.from=\"0 ms\"", "faults.0.detection=\"1 ms\""];
    assert_eq!(ends(&first), [(40 * MS, OK)]);
    assert_eq!(ends(&["faults.0.from=\"11 ms\""]), [(10 * MS, OK)]);
}

#[test]
fn balancers_leave_out_what_they_know_to_be_lost() {
    // Weights by which the first two requests go to the first server.
    let path = |rest: &str| {
        format!("clients.0.path=[{{ to = \"classify\", over = \"tcp\", balance = {rest} }}]")
    };
    let twice = path("\"weighted\", weights = [3, 1]");
    let unknown = "faults.0.detection=\"31 ms\"";
    assert_eq!(ends(&[&twice, unknown]), [(55 * MS, FAILED)]);
    let known = "faults.0.detection=\"20 ms\"";
    assert_eq!(ends(&[&twice, known]), [(40 * MS, OK)]);
    // Who tries elsewhere needs not know, nor who takes the two in turn.
    let elsewhere = "clients.0.retry.elsewhere=true";
    assert_eq!(ends(&[&twice, unknown, elsewhere]), [(40 * MS, OK)]);
    for policy in ["round-robin", "least-outstanding", "join-shortest-queue"] {
        let policy = path(&format!("\"{policy}\""));
        assert_eq!(ends(&[&policy, unknown]), [(40 * MS, OK)]);
    }
    // Every policy leaves it out, but if all are out.
    let policies = [
        "round-robin",
        "random",
        "least-outstanding",
        "join-shortest-queue",
        "power-of-two",
    ];
    let later =
        "clients.0.arrivals={ times = { at = [\"5 ms\", \"20 ms\", \"35 ms\"], connections = 2 } }";
    for policy in policies {
        let policy = format!("clients.0.path.0.balance={policy}");
        assert_eq!(
            ends(&[&policy, later]),
            [(15 * MS, OK), (30 * MS, OK), (45 * MS, OK)]
        );
        let both = "faults.0.host=server";
        let n = ends(&[&policy, later, both]).len();
        assert_eq!(n, 3);
    }
    let weighted = [
        "clients.0.path.0.balance=weighted",
        "clients.0.path.0.weights=[5, 1]",
    ];
    assert_eq!(ends(&[&weighted[..], &[later]].concat())[2], (45 * MS, OK));
}

#[test]
fn what_is_given_up_is_served_all_the_same() {
    let overrides = [
        "faults=[]",
        "hosts.server.count=1",
        "clients.0.arrivals={ times = { at = [\"0 ms\", \"0 ms\"], connections = 2 } }",
        "clients.0.timeout=\"12 ms\"",
        "clients.0.retry.backoff.constant=\"0 ms\"",
    ];
    // The second is given up at 12 ms while it is served, from 10 to 20; its second attempt would be
    // served until 30 and is given up at 24.
    assert_eq!(ends(&overrides), [(10 * MS, OK), (24 * MS, FAILED)]);
    let run = run(&overrides);
    let served = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Inference);
    let mut served: Vec<_> = served.map(|s| (s.end_ns / 1_000_000, s.status)).collect();
    served.sort_by_key(|(end, _)| *end);
    assert_eq!(served, [(10, OK), (20, FAILED), (30, FAILED)]);
    let summary = run.summary();
    assert_eq!((summary.requests, summary.failed), (1, 1));
}

#[test]
fn a_timeout_that_is_long_enough_changes_nothing() {
    let busy = [
        "faults=[]",
        "clients.0.count=3",
        "clients.0.arrivals={ poisson = { rate = \"40 /s\", connections = 4 } }",
    ];
    let text = TEXT.replace("timeout = \"25 ms\"\n", "");
    let text = text.replace(
        "retry = { attempts = 1, backoff = { constant = \"5 ms\" } }\n",
        "",
    );
    let served = |text: &str, more: &[&str]| {
        let overrides: Vec<String> = busy.iter().chain(more).map(|&s| s.to_owned()).collect();
        let scenario = Scenario::parse(Path::new("losses.toml"), text.to_owned(), &overrides);
        let served = completions(&scenario.unwrap(), &random_profile(), &OPTIONS).unwrap();
        served[0].completions.clone()
    };
    assert_eq!(
        served(&text, &[]),
        served(TEXT, &["clients.0.timeout=\"1 h\""])
    );
}

#[test]
fn a_restarted_proxy_knows_nothing_of_what_it_had_sent_on() {
    let path = "clients.0.path=[{ to = \"ingress\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]";
    let restart = |from: &str, length: &str| {
        let fault =
            format!("faults=[{{ stage = \"ingress\", from = \"{from}\", for = \"{length}\" }}]");
        ends(&[path, &fault])
    };
    // The reply comes at 10 ms to a proxy that is there, and does not know it.
    assert_eq!(restart("4 ms", "2 ms"), [(40 * MS, OK)]);
    // … or is not there. After it has passed nothing is lost.
    assert_eq!(restart("4 ms", "7 ms"), [(40 * MS, OK)]);
    assert_eq!(restart("11 ms", "7 ms"), [(10 * MS, OK)]);
}

#[test]
fn messages_to_what_is_lost_leave_their_links_to_others() {
    let overrides = [
        "clients.0.arrivals={ times = { at = [\"0 ms\", \"0 ms\"], connections = 2 } }",
        "stages.classify.serve.synthetic.input=\"10 MB\"",
    ];
    // They share the cable of their client; the second has 8 MB left at 4 ms. The first is sent again at
    // 30 ms, and to the second server by then.
    let elsewhere = "clients.0.retry.elsewhere=true";
    let ends = ends(&[&overrides[..], &[elsewhere]].concat());
    assert_eq!(ends, [(50 * MS, OK), (22 * MS, OK)]);
}

#[test]
fn a_connection_that_a_proxy_keeps_is_held_until_the_attempt_is_given_up() {
    let overrides = [
        "clients.0.path=[{ to = \"ingress\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]",
        "hosts.server.count=1",
        "stages.ingress.proxy.pool=1",
        "stages.classify.serve.synthetic.time=\"2 ms\"",
        "faults=[{ host = \"server\", from = \"1 ms\", for = \"1 ms\" }]",
        "clients.0.arrivals={ times = { at = [\"0 ms\", \"6 ms\"], connections = 2 } }",
    ];
    // The second waits from 6 to 25 ms; the first comes again at 30.
    assert_eq!(ends(&overrides), [(32 * MS, OK), (27 * MS, OK)]);
}

#[test]
fn a_request_is_lost_with_a_branch_of_it() {
    let overrides = [
        "stages.ingress.steps=[{ calls = [{ path = [{ to = \"classify\", over = \"tcp\" }], count = { constant = 2 }, payload = \"0 B\" }] }]",
        "clients.0.path=[{ to = \"ingress\", over = \"tcp\", reply = \"0 B\" }]",
    ];
    // One of the two goes to the first server, and both again at 30 ms: the balancer knows by then.
    assert_eq!(ends(&overrides), [(50 * MS, OK)]);
    let unknown = "faults.0.detection=\"500 ms\"";
    assert_eq!(
        ends(&[&overrides[..], &[unknown]].concat()),
        [(55 * MS, FAILED)]
    );
}

#[test]
fn retries_wait_longer_each_time() {
    let overrides = [
        "hosts.server.count=1",
        "faults.0.host=server",
        "clients.0.retry={ attempts = 3, backoff = { constant = \"5 ms\" }, factor = 2.0 }",
    ];
    // Attempts of 25 ms each, and pauses of 5, 10 and 20 ms.
    assert_eq!(ends(&overrides), [((4 * 25 + 35) * MS, FAILED)]);
}

fn overrides() -> impl Strategy<Value = Vec<String>> {
    let what = prop_oneof![
        Just("host = \"server-0\""),
        Just("host = \"server\""),
        Just("host = \"gateway\""),
        Just("stage = \"ingress\""),
        Just("stage = \"classify\""),
        Just("stage = \"embed\""),
    ];
    let fault = (what, 0u32..60_000, 1u32..40_000, 0u32..20_000).prop_map(|(what, from, length, known)| {
        format!("{{ {what}, from = \"{from} us\", for = \"{length} us\", detection = \"{known} us\" }}")
    });
    let faults = proptest::collection::vec(fault, 0..4);
    let client = (1u32..4, 1u32..30_000, 0u32..3, any::<bool>(), any::<bool>());
    let shape = (
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(1u32..3),
        1u32..3,
        any::<bool>(),
    );
    (faults, client, shape, 0u64..1000).prop_map(|(faults, client, shape, seed)| {
        let (count, timeout, attempts, elsewhere, is_open) = client;
        let (calls, is_straight, pool, threads, is_batched) = shape;
        let arrivals = match is_open {
            true => "{ poisson = { rate = \"200 /s\", connections = 2 } }",
            false => "{ closed-loop = {} }",
        };
        let mut all = vec![
            format!("run={{ seed = {seed}, measure = {{ requests = 12 }} }}"),
            format!("faults=[{}]", faults.join(", ")),
            "hosts.embedder={ part = \"server\", cores = 2 }".to_owned(),
            "stages.embed={ on = \"embedder\", serve = { synthetic = { time = \"2 ms\", input = \"1 kB\", output = \"1 kB\" } } }".to_owned(),
            "clients.0.path=[{ to = \"ingress\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]".to_owned(),
            "stages.classify.serve.synthetic={ time = \"3 ms\", input = \"200 kB\", output = \"3 kB\" }".to_owned(),
            format!("clients.0.count={count}"),
            format!("clients.0.arrivals={arrivals}"),
            format!("clients.0.timeout=\"{timeout} us\""),
            format!("stages.ingress.receive-threads={threads}"),
        ];
        let retry = format!("clients.0.retry={{ attempts = {attempts}, backoff = {{ exponential = \"3 ms\" }}, elsewhere = {elsewhere} }}");
        all.push(match attempts {
            0 => "clients.0.retry={ attempts = 1, backoff = { constant = \"0 s\" } }".to_owned(),
            _ => retry,
        });
        if calls {
            all.push("stages.classify.steps=[{ calls = [{ path = [{ to = \"ingress\", over = \"tcp\" }, { to = \"embed\", over = \"tcp\" }], count = { uniform = { from = 0, to = 3 } } }] }]".to_owned());
        }
        if is_straight {
            all.push("clients.0.reply-over=tcp".to_owned());
        }
        if is_batched {
            all.push("stages.classify.batch={ max = 3, delay = \"1 ms\" }".to_owned());
        }
        all.extend(pool.map(|n| format!("stages.ingress.proxy.pool={n}")));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every request ends once, well or not, and what is recorded of it while its client waits lies
    /// within it.
    #[test]
    fn every_request_ends_once(overrides in overrides()) {
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        let scenario = scenario(&overrides);
        let run = simulate(&scenario, Some(&random_profile()), &OPTIONS).unwrap();
        let whole: Vec<&Span> = run.trace.iter().filter(|s| s.name == SpanName::Request).collect();
        let by_id: BTreeMap<_, _> = whole.iter().map(|span| (span.request, *span)).collect();
        prop_assert_eq!(by_id.len(), whole.len());
        prop_assert_eq!(whole.len(), 12 * scenario.clients.len());
        for span in &run.trace {
            let whole = by_id[&span.request];
            prop_assert!(span.ready_ns <= span.start_ns && span.start_ns <= span.end_ns);
            prop_assert!(whole.ready_ns <= span.ready_ns);
            if span.status == Status::Ok {
                prop_assert!(span.end_ns <= whole.end_ns, "{:?} {:?}", span, whole);
            }
        }
        let (start, end) = schema::summary::windows(&run)[0];
        for cpu in &run.manifest.cpu {
            prop_assert!((cpu.window_s - (end - start) as f64 / 1e9).abs() < 1e-12, "{:?}", cpu);
        }
        let again = simulate(&scenario, Some(&random_profile()), &OPTIONS).unwrap();
        prop_assert!(again.trace == run.trace);
    }
}

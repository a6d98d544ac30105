//! Stages on several hosts, balancers and pools of connections, worked out by hand. Nothing but
//! serving and the delays of links takes time, and serving takes 1 ms.

use std::collections::BTreeSet;

use schema::ids::RequestId;
use schema::profile::Parameter;
use schema::run::{Span, SpanName};
use schema::stats::{mean, mean_interval};

use super::*;
use crate::{Completion, completions, simulate};

/// Requests of no bytes at 0, 0, 0 and 2 ms, to two servers; `server-0` is 5 ms away.
const TEXT: &str = r#"
format = 1
name = "replicas"
run = { measure = { time = "1 s" } }

[hosts]
edge = { part = "edge", cores = 64 }
other = { part = "edge", cores = 64 }
gateway = { part = "gateway", cores = 64 }
server = { part = "server", cores = 64, count = 2 }

[[links]]
between = ["edge", "server-0"]
rate = "1 GB/s"
delay = "5 ms"

[[links]]
between = ["edge", "server-1"]
rate = "1 GB/s"

[[links]]
between = ["other", "server"]
rate = "1 GB/s"

[[links]]
between = ["edge", "gateway"]
rate = "1 GB/s"

[[links]]
between = ["gateway", "server"]
rate = "1 GB/s"

[stages.ingress]
on = "gateway"
proxy = {}

[stages.classify]
on = "server"
serve = { synthetic = { time = "1 ms", input = "0 B", output = "0 B" } }

[[clients]]
on = "edge"
arrivals = { times = { at = ["0 ms", "0 ms", "2 ms", "2 ms"], connections = 4 } }
path = [{ to = "classify", over = "tcp" }]
"#;

/// Through the gateway, with these keys of the proxy; all requests come at once.
fn proxied(keys: &str) -> [String; 3] {
    [
        r#"clients.0.path=[{ to = "ingress", over = "tcp" }, { to = "classify", over = "tcp" }]"#
            .to_owned(),
        format!("stages.ingress.proxy={{ {keys} }}"),
        r#"clients.0.arrivals={ times = { at = ["0 ms", "0 ms", "0 ms", "0 ms"], connections = 4 } }"#
            .to_owned(),
    ]
}

fn scenario_of(text: &str, overrides: &[String]) -> Scenario {
    Scenario::parse(Path::new("replicas.toml"), text.to_owned(), overrides).unwrap()
}

fn served(text: &str, overrides: &[String]) -> Vec<Completion> {
    let profile = only_inference(Residual::None);
    let mut served = completions(&scenario_of(text, overrides), &profile, &OPTIONS).unwrap();
    let mut all = served.remove(0).completions;
    all.sort_by_key(|completion| completion.request);
    all
}

/// When each request ends, in ms.
fn ends(text: &str, overrides: &[&str]) -> Vec<u64> {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    let all = served(text, &overrides);
    let in_ms = |completion: &Completion| {
        assert_eq!(completion.end.as_ps() % 1_000_000_000, 0);
        completion.end.as_ps() / 1_000_000_000
    };
    all.iter().map(in_ms).collect()
}

/// The host that served each request, in the order of requests.
fn hosts(overrides: &[&str], text: &str) -> Vec<String> {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    let scenario = scenario_of(text, &overrides);
    let run = simulate(&scenario, Some(&only_inference(Residual::None)), &OPTIONS).unwrap();
    let serves = |span: &&Span| span.name == SpanName::Inference;
    let mut of: Vec<(RequestId, String)> = (run.trace.iter().filter(serves))
        .map(|span| (span.request, run.scenario.hosts[span.host].name.clone()))
        .collect();
    of.sort();
    of.into_iter().map(|(_, host)| host).collect()
}

/// When each request ends, in ms, if the first goes to this server: which it goes to is drawn by the
/// seed, and nothing else is random here.
fn ends_from(first: &str, overrides: &[&str]) -> Vec<u64> {
    let seeds = (0..64).map(|seed| format!("run.seed={seed}"));
    let mut all = seeds.map(|seed| [overrides, &[&seed]].concat().join("\n"));
    let found = all.find(|all| {
        let all: Vec<&str> = all.lines().collect();
        hosts(&all, TEXT)[0] == first
    });
    let found = found.expect("some seed starts with each server");
    ends(TEXT, &found.lines().collect::<Vec<&str>>())
}

#[test]
fn round_robin_takes_one_after_the_other() {
    assert_eq!(ends_from("server-0", &[]), [11, 1, 13, 3]);
    assert_eq!(ends_from("server-1", &[]), [1, 11, 3, 13]);
    // One of them serves two at a time no faster than one after the other.
    let at_once = "clients.0.arrivals={ times = { at = [\"0 ms\", \"0 ms\", \"0 ms\", \"0 ms\"], connections = 4 } }";
    assert_eq!(ends_from("server-0", &[at_once]), [11, 1, 12, 2]);
    assert_eq!(ends_from("server-1", &[at_once]), [1, 11, 2, 12]);
}

#[test]
fn the_fewest_outstanding_are_not_where_the_way_is_long() {
    let least = "clients.0.path.0.balance=least-outstanding";
    // At 2 ms the first is still away and the second is back; then each has one, and the second was
    // chosen last.
    assert_eq!(ends_from("server-0", &[least]), [11, 1, 3, 13]);
    assert_eq!(ends_from("server-1", &[least]), [1, 11, 3, 13]);
}

#[test]
fn equals_are_taken_in_turn() {
    let apart = "clients.0.arrivals={ times = { at = [\"0 ms\", \"20 ms\", \"40 ms\", \"60 ms\"], connections = 4 } }";
    for policy in ["least-outstanding", "join-shortest-queue"] {
        let policy = format!("clients.0.path.0.balance={policy}");
        let overrides = [apart, policy.as_str()];
        assert_eq!(ends_from("server-0", &overrides), [11, 21, 51, 61]);
        assert_eq!(ends_from("server-1", &overrides), [1, 31, 41, 71]);
    }
}

#[test]
fn weights_are_kept_to() {
    let weighted = [
        "clients.0.path.0.balance=weighted",
        "clients.0.path.0.weights=[1, 3]",
    ];
    // Credits of 1 and 3, then of 2 and 2, of which the first is taken, then of -1 and 5, of 0 and 4.
    let names = ["server-1", "server-0", "server-1", "server-1"];
    assert_eq!(hosts(&weighted, TEXT), names);
    assert_eq!(ends(TEXT, &weighted), [1, 11, 3, 4]);
}

#[test]
fn only_policies_that_look_at_the_replicas_see_what_others_sent() {
    let other = r#"
[[clients]]
on = "other"
arrivals = { times = { at = ["0 ms"], connections = 1 } }
path = [{ to = "classify", over = "tcp" }]
"#;
    let text = format!("{TEXT}{other}");
    let one = "clients.0.arrivals={ times = { at = [\"0 ms\"], connections = 1 } }";
    // Where the requests of both go, by 32 seeds.
    let pairs = |policy: &str| {
        let policy = format!("clients.1.path.0.balance={policy}");
        let pair = |seed: u32| hosts(&[one, &policy, &format!("run.seed={seed}")], &text);
        (0..32).map(pair).collect::<BTreeSet<Vec<String>>>()
    };
    // Each sender starts with one that is drawn for it alone.
    for policy in ["round-robin", "least-outstanding"] {
        assert_eq!(pairs(policy).len(), 4, "{policy}");
    }
    for policy in ["join-shortest-queue", "power-of-two"] {
        let pairs = pairs(policy);
        assert!(pairs.iter().all(|pair| pair[0] != pair[1]), "{policy}");
    }
}

#[test]
fn a_pool_of_one_connection_lets_one_request_through_at_a_time() {
    let run = |pool: &str, instances: u32| {
        let mut overrides = proxied(pool).to_vec();
        overrides.push("hosts.server.count=1".to_owned());
        overrides.push("links.0.between=[\"edge\", \"server\"]".to_owned());
        overrides.push("links.1.between=[\"other\", \"edge\"]".to_owned());
        overrides.push(format!("stages.classify.instances={instances}"));
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        ends(TEXT, &overrides)
    };
    assert_eq!(run("", 4), [1, 1, 1, 1]);
    assert_eq!(run("pool = 4", 4), [1, 1, 1, 1]);
    assert_eq!(run("pool = 3", 4), [1, 1, 1, 2]);
    assert_eq!(run("pool = 1", 4), [1, 2, 3, 4]);
    // One instance is the bottleneck whatever the pool.
    assert_eq!(run("", 1), run("pool = 2", 1));
}

/// Waiting for a connection is a span at the proxy, and the spans of a request cover it.
#[test]
fn a_pool_is_of_each_replica_and_waiting_for_it_is_in_the_trace() {
    let overrides = proxied("pool = 1");
    let names: Vec<&str> = overrides.iter().map(String::as_str).collect();
    assert_eq!(ends(TEXT, &names), [1, 1, 2, 2]);
    let scenario = scenario_of(TEXT, &overrides);
    let run = simulate(&scenario, Some(&only_inference(Residual::None)), &OPTIONS).unwrap();
    let at_proxy = |span: &&Span| {
        span.name == SpanName::Queue && run.scenario.stages[span.stage].name == "ingress"
    };
    let waited = run.trace.iter().filter(at_proxy);
    let waited: Vec<u64> = waited.map(|span| span.end_ns - span.ready_ns).collect();
    assert_eq!(waited, [0, 0, 1_000_000, 1_000_000]);
    for breakdown in schema::breakdown::breakdowns(&run.trace) {
        assert_eq!(breakdown.other_s().to_bits(), 0f64.to_bits());
    }
}

/// A proxy beside each server, and clients beside each proxy: as many worlds of one machine.
#[test]
fn what_stays_on_a_host_stays_on_the_same_one_of_several() {
    let text = |hosts: &str, rest: &str| {
        format!(
            r#"format = 1
name = "worlds"
run = {{ measure = {{ requests = 50 }} }}
[hosts]
{hosts}
{rest}"#
        )
    };
    let world = |host: &str, count: u32| {
        format!(
            r#"
[stages.ingress-{host}]
on = "{host}"
proxy = {{ pool = 2 }}
[stages.classify-{host}]
on = "{host}"
batch = {{ max = 2 }}
serve = {{ synthetic = {{ time = "1 ms", input = "10 kB", output = "1 kB" }} }}
[[clients]]
on = "{host}"
count = {count}
arrivals = {{ closed-loop = {{ think = {{ constant = "1 ms" }} }} }}
path = [{{ to = "ingress-{host}", over = "local" }}, {{ to = "classify-{host}", over = "tcp" }}]
"#
        )
    };
    let mut profile = profile();
    for cost in ["send/local", "receive/local"] {
        let law = CostLaw::exact(Driver::Bytes, 1e-6, 1e-10, "test");
        let part = profile.parts.get_mut("server").unwrap();
        part.costs.insert(cost.to_owned(), law);
    }
    let served = |text: &str| {
        let scenario = scenario_of(text, &[]);
        let served = completions(&scenario, &profile, &OPTIONS)
            .unwrap()
            .remove(0);
        let mut times: Vec<_> = (served.completions.iter())
            .map(|c| (c.ready, c.start, c.end))
            .collect();
        times.sort_unstable();
        (served.events, times)
    };
    let host = |name: &str, count: u32| {
        format!("{name} = {{ part = \"server\", cores = 2, count = {count} }}\n")
    };
    let three = text(&host("node", 3), &world("node", 9));
    let names = ["a", "b", "c"];
    let apart = text(
        &names.map(|name| host(name, 1)).concat(),
        &names.map(|name| world(name, 3)).concat(),
    );
    assert_eq!(served(&three), served(&apart));
}

/// Clients of several hosts are those of several groups.
#[test]
fn clients_on_several_hosts_are_spread_over_them() {
    let clients = |on: &str, count: u32| {
        format!(
            r#"[[clients]]
on = "{on}"
count = {count}
arrivals = {{ closed-loop = {{ think = {{ constant = "1 ms" }} }} }}
path = [{{ to = "classify", over = "tcp" }}]
"#
        )
    };
    let text = |hosts: &str, clients: &str| {
        format!(
            r#"format = 1
name = "spread"
run = {{ measure = {{ requests = 40 }} }}
fabric = {{ star = {{ rate = "1 GB/s", delay = "2 us" }} }}
[hosts]
{hosts}
server = {{ part = "server", cores = 2, count = 2 }}
[stages.classify]
on = "server"
serve = {{ synthetic = {{ time = "1 ms", input = "10 kB", output = "1 kB" }} }}
{clients}"#
        )
    };
    let host = |name: &str, count: u32| {
        format!("{name} = {{ part = \"edge\", cores = 1, count = {count} }}\n")
    };
    let served = |text: &str| {
        let scenario = scenario_of(text, &[]);
        completions(&scenario, &profile(), &OPTIONS).unwrap()
    };
    let together = text(&host("edge", 3), &clients("edge", 3));
    // Of the same names, so that what is drawn for each is the same.
    let names = ["edge-0", "edge-1", "edge-2"];
    let apart = text(
        &names.map(|name| host(name, 1)).concat(),
        &names.map(|name| clients(name, 1)).concat(),
    );
    let together = served(&together);
    assert_eq!(together, served(&apart));
    assert_eq!(together[0].completions.len(), 120);
}

/// Random balancing splits a Poisson stream into two of half the rate: each replica is an M/M/1.
#[test]
fn random_balancing_makes_a_queue_of_each_replica() {
    // Of a mean service time in seconds, at 600 requests a second.
    let expected = |service: f64| 1.0 / (1.0 / service - 300.0);
    let profile = only_inference(Residual::Gamma { shape: 1.0 });
    let options = Options {
        replications: 20,
        arrivals: Arrivals::Independent,
        threads: 2,
        ..OPTIONS
    };
    let overrides = [
        r#"clients.0.arrivals={ poisson = { rate = "600 /s", connections = 500 } }"#,
        "clients.0.path.0.balance=random",
        "links.0.delay=\"0 ms\"",
        "run.measure.time=\"11 s\"",
    ];
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    let scenario = scenario_of(TEXT, &overrides);
    let all = completions(&scenario, &profile, &options).unwrap();
    let means: Vec<f64> = (all.iter())
        .map(|served| {
            let late = served
                .completions
                .iter()
                .filter(|c| c.ready.as_ps() > 1_000_000_000_000);
            let times: Vec<f64> = late.map(|c| c.end.since(c.ready).as_secs_f64()).collect();
            mean(&times)
        })
        .collect();
    let interval = mean_interval(&means, 0.999);
    let (theory, slower) = (expected(1e-3), expected(1.03e-3));
    assert!(
        interval.low <= theory && theory <= interval.high,
        "{interval:?} {theory}"
    );
    assert!(interval.high - interval.low < 0.06 * theory, "{interval:?}");
    assert!(slower > interval.high, "{interval:?} {slower}");
}

/// A host that stands for several is named as it is in the file.
#[test]
fn messages_name_the_key_of_hosts_with_a_count() {
    let mut profile = only_inference(Residual::None);
    let part = profile.parts.get_mut("server").unwrap();
    let parameter = Parameter {
        value: -1.0,
        standard_error: 0.0,
        unit: "B".to_owned(),
        range: None,
        source: "made up".to_owned(),
    };
    part.parameters
        .insert("message-header".to_owned(), parameter);
    let error = simulate(&scenario_of(TEXT, &[]), Some(&profile), &OPTIONS)
        .err()
        .unwrap();
    insta::assert_snapshot!(error, @"replicas.toml:10: `hosts.server.part`: parameter `message-header` of part `server` must be from 0 up, found -1");
}

//! Hosts of which there are several, and how senders choose among the replicas of a stage: what is
//! made of them, and the message of each mistake.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insta::assert_snapshot;
use schema::scenario::{PolicyName, Scenario, Vertex, to_toml};

const TEXT: &str = r#"format = 1
name = "replicas"
switches = ["core"]

[run]
measure = { requests = 10 }

[hosts]
edge = { part = "cpu", cores = 1, count = 2 }
gateway = { part = "cpu", cores = 1 }
server = { part = "cpu", cores = 2, count = 3 }

[[links]]
between = ["edge", "gateway"]
rate = "1 GB/s"

[[links]]
between = ["gateway", "core"]
rate = "1 GB/s"

[[links]]
between = ["server", "core"]
rate = "2 GB/s"

[[faults]]
link = ["server-1", "core"]
from = "1 s"
for = "1 s"

[stages.ingress]
on = "gateway"
proxy = { balance = "least-outstanding", pool = 4 }

[stages.classify]
on = "server"
serve = { synthetic = { time = "1 ms", input = "1 kB", output = "1 kB" } }

[[clients]]
on = "edge"
count = 5
arrivals = { closed-loop = {} }
path = [{ to = "ingress", over = "tcp" }, { to = "classify", over = "tcp" }]
"#;

fn parse(overrides: &[&str]) -> Result<Scenario, String> {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    let path = Path::new("replicas.toml");
    Scenario::parse(path, TEXT.to_owned(), &overrides).map_err(|error| error.to_string())
}

fn problem(overrides: &[&str]) -> String {
    parse(overrides).unwrap_err()
}

#[test]
fn hosts_links_clients_and_stages_are_made_of_a_count() {
    let scenario = parse(&[]).unwrap();
    let names: Vec<&str> = scenario
        .hosts
        .rows()
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    let expected = [
        "edge-0", "edge-1", "gateway", "server-0", "server-1", "server-2",
    ];
    assert_eq!(names, expected);
    let machines: Vec<usize> = scenario
        .hosts
        .ids()
        .map(|id| scenario.machine(id))
        .collect();
    assert_eq!(machines, [0, 1, 2, 3, 4, 5]);
    let ends: Vec<String> = (scenario.links.rows().iter())
        .map(|link| {
            let ends = link.between.map(|end| match end {
                Vertex::Host(host) => scenario.hosts[host].name.clone(),
                Vertex::Switch(switch) => scenario.switches[switch].name.clone(),
            });
            ends.join(" ")
        })
        .collect();
    let expected = [
        "edge-0 gateway",
        "edge-1 gateway",
        "gateway core",
        "server-0 core",
        "server-1 core",
        "server-2 core",
    ];
    assert_eq!(ends, expected);
    assert_eq!(scenario.faults.len(), 1);
    assert_eq!(ends[4], "server-1 core");
    let on: Vec<&str> = (scenario.clients.rows().iter())
        .map(|client| scenario.hosts[client.host].name.as_str())
        .collect();
    assert_eq!(on, ["edge-0", "edge-1", "edge-0", "edge-1", "edge-0"]);
    let replicas: Vec<u32> = scenario.stages.rows().iter().map(|s| s.replicas).collect();
    assert_eq!(replicas, [3, 1]);
    let path = &scenario.groups.rows()[0].path;
    assert_eq!(path[0].balance, None);
    let policy = path[1].balance.as_ref().unwrap().policy;
    assert_eq!(policy, PolicyName::LeastOutstanding);
}

#[test]
fn a_scenario_with_several_hosts_is_read_back() {
    let star = "fabric={ star = { rate = \"1 GB/s\" } }";
    for overrides in [&["links=[]", "faults=[]", star][..], &[]] {
        let scenario = parse(overrides).unwrap();
        let again = Scenario::from_file(scenario.file()).unwrap();
        assert_eq!(to_toml(again.file()), to_toml(scenario.file()));
        assert_eq!(again.hosts, scenario.hosts);
        assert_eq!(again.links, scenario.links);
    }
}

#[test]
fn mistakes_are_named() {
    assert_snapshot!(problem(&["hosts.server.count=0"]), @"replicas.toml with --set hosts.server.count=0: `hosts.server.count`: must be at least 1, found 0");
    assert_snapshot!(problem(&["hosts.server.count=70000"]), @"replicas.toml with --set hosts.server.count=70000: `hosts.server.count`: must be at most 65536, found 70000");
    assert_snapshot!(problem(&["placement.local={}"]), @"replicas.toml:9: `hosts.edge.count`: must be 1 with placement `local`, where hosts are parts of one machine, found 2");
    assert_snapshot!(problem(&["hosts.server-1={ part = \"cpu\", cores = 1 }"]), @"replicas.toml:11: `hosts.server.count`: has a host `server-1`, and there is a host `server-1` already");
    assert_snapshot!(problem(&["links.2.between=[\"server\", \"server\"]"]), @"replicas.toml with --set links.2.between=[\"server\", \"server\"]: `links.2.between`: a link joins two different hosts");
    assert_snapshot!(problem(&["links.2.between=[\"server-7\", \"core\"]"]), @"replicas.toml with --set links.2.between=[\"server-7\", \"core\"]: `links.2.between`: there is no host or switch `server-7`, did you mean `server`? (allowed: edge, gateway, server, core)");
    assert_snapshot!(problem(&["faults.0.link=[\"server-1\", \"gateway\"]"]), @"replicas.toml with --set faults.0.link=[\"server-1\", \"gateway\"]: `faults.0.link`: there is no link between `server-1` and `gateway` (from `server-1` to: core)");
    assert_snapshot!(problem(&["switches=[\"core\", \"server-1\"]"]), @"replicas.toml with --set switches=[\"core\", \"server-1\"]: `switches.1`: has a switch `server-1`, and there is a host `server-1` already");
    assert_snapshot!(problem(&["stages.classify.on=server-1"]), @"replicas.toml with --set stages.classify.on=server-1: `stages.classify.on`: there is no host `server-1`, did you mean `server`? (allowed: edge, gateway, server)");
}

#[test]
fn mistakes_of_balancing_are_named() {
    assert_snapshot!(problem(&["stages.ingress.proxy.balance=fastest"]), @"replicas.toml with --set stages.ingress.proxy.balance=fastest: `stages.ingress.proxy.balance`: unknown value `fastest` (allowed: round-robin, random, least-outstanding, join-shortest-queue, power-of-two, weighted)");
    assert_snapshot!(problem(&["stages.ingress.proxy.pool=0"]), @"replicas.toml with --set stages.ingress.proxy.pool=0: `stages.ingress.proxy.pool`: must be at least 1, found 0");
    assert_snapshot!(problem(&["stages.ingress.proxy.weights=[1, 2, 3]"]), @"replicas.toml with --set stages.ingress.proxy.weights=[1, 2, 3]: `stages.ingress.proxy.weights`: go only with `balance = \"weighted\"`, found `least-outstanding`");
    let weighted = "stages.ingress.proxy.balance=weighted";
    assert_snapshot!(problem(&[weighted, "stages.ingress.proxy.weights=[1, 2]"]), @"replicas.toml with --set stages.ingress.proxy.weights=[1, 2]: `stages.ingress.proxy.weights`: must be one for each of the 3 replicas of `classify`, found 2");
    assert_snapshot!(problem(&[weighted, "stages.ingress.proxy.weights=[1, 2, 0]"]), @"replicas.toml with --set stages.ingress.proxy.weights=[1, 2, 0]: `stages.ingress.proxy.weights.2`: must be more than zero, found 0");
    assert_snapshot!(problem(&["clients.0.path.1.balance=random"]), @"replicas.toml with --set clients.0.path.1.balance=random: `clients.0.path.1.balance`: is of the proxy that the hop comes from, found `random`; write `stages.ingress.proxy.balance`");
    assert_snapshot!(problem(&["clients.0.path.0.weights=[1]"]), @"replicas.toml with --set clients.0.path.0.weights=[1]: `clients.0.path.0.weights`: go only with `balance = \"weighted\"`, found `round-robin`");
}

const LOSS: &str = "faults=[{ host = \"server-1\", from = \"1 s\", for = \"1 s\" }]";
const TIMEOUT: &str = "clients.0.timeout=\"1 s\"";

#[test]
fn a_loss_is_of_replicas() {
    let lost = |fault: &str| {
        let fault =
            format!("faults=[{{ {fault}, from = \"1 s\", for = \"2 s\", detection = \"3 ms\" }}]");
        let scenario = parse(&[TIMEOUT, &fault]).unwrap();
        assert!(scenario.faults.is_empty());
        let [outage] = &scenario.outages[..] else {
            panic!("{:?}", scenario.outages)
        };
        let names = outage
            .replicas
            .iter()
            .map(|(stage, replica)| format!("{} {replica}", scenario.stages[*stage].name));
        names.collect::<Vec<_>>()
    };
    assert_eq!(lost("host = \"server-1\""), ["classify 1"]);
    assert_eq!(
        lost("host = \"server\""),
        ["classify 0", "classify 1", "classify 2"]
    );
    assert_eq!(lost("host = \"gateway\""), ["ingress 0"]);
    assert_eq!(lost("stage = \"classify\"").len(), 3);
}

#[test]
fn mistakes_of_losses_are_named() {
    assert_snapshot!(problem(&[LOSS]), @"replicas.toml:38: `clients.0.timeout`: must be given, since `faults.0` may lose its requests at `classify`");
    let fault = |keys: &str| {
        problem(&[
            TIMEOUT,
            &format!("faults=[{{ {keys}, from = \"1 s\", for = \"1 s\" }}]"),
        ])
    };
    assert_snapshot!(fault("host = \"gateway\", stage = \"ingress\""), @"replicas.toml with --set faults=[{ host = \"gateway\", stage = \"ingress\", from = \"1 s\", for = \"1 s\" }]: `faults.0`: must be of one thing, found `host` and `stage` (allowed: link, host, stage)");
    assert_snapshot!(fault("detection = \"1 s\""), @"replicas.toml with --set faults=[{ detection = \"1 s\", from = \"1 s\", for = \"1 s\" }]: `faults.0`: must be of one thing, found none (allowed: link, host, stage)");
    assert_snapshot!(fault("host = \"servers\""), @"replicas.toml with --set faults=[{ host = \"servers\", from = \"1 s\", for = \"1 s\" }]: `faults.0.host`: there is no host `servers`, did you mean `server-2`? (allowed: edge-0, edge-1, gateway, server-0, server-1, server-2)");
    assert_snapshot!(fault("host = \"edge-0\""), @"replicas.toml with --set faults=[{ host = \"edge-0\", from = \"1 s\", for = \"1 s\" }]: `faults.0.host`: `edge-0` has clients, those of `clients-0`, who would have to end their requests (allowed: gateway, server-0, server-1, server-2)");
    assert_snapshot!(fault("stage = \"ingres\""), @"replicas.toml with --set faults=[{ stage = \"ingres\", from = \"1 s\", for = \"1 s\" }]: `faults.0.stage`: there is no stage `ingres`, did you mean `ingress`? (allowed: classify, ingress)");
    assert_snapshot!(fault("host = \"server\", rate = \"1 MB/s\""), @"replicas.toml with --set faults=[{ host = \"server\", rate = \"1 MB/s\", from = \"1 s\", for = \"1 s\" }]: `faults.0.rate`: is only of faults of links, found 8 Mbit/s");
    assert_snapshot!(fault("link = [\"server-1\", \"core\"], detection = \"1 s\""), @"replicas.toml with --set faults=[{ link = [\"server-1\", \"core\"], detection = \"1 s\", from = \"1 s\", for = \"1 s\" }]: `faults.0.detection`: is only of faults of hosts and stages, found 1 s");
    assert_snapshot!(problem(&[TIMEOUT, LOSS, "faults.0.for=\"0 s\""]), @"replicas.toml with --set faults.0.for=\"0 s\": `faults.0.for`: must be more than zero, found zero");
    let polled = [
        "hosts.gateway.nic={ part = \"cx6\" }",
        "hosts.edge.nic={ part = \"cx6\" }",
        "clients.0.path.0.over=rdma",
        "clients.0.path.0.completion=poll",
    ];
    assert_snapshot!(problem(&[&[TIMEOUT, LOSS], &polled[..]].concat()), @"replicas.toml with --set faults=[{ host = \"server-1\", from = \"1 s\", for = \"1 s\" }]: `faults.0`: may lose requests that go to `ingress` with `completion = \"poll\"`; only threads that sleep stop waiting");
}

#[test]
fn mistakes_of_patience_are_named() {
    assert_snapshot!(problem(&["clients.0.timeout=\"0 s\""]), @"replicas.toml with --set clients.0.timeout=\"0 s\": `clients.0.timeout`: must be more than zero, found zero");
    let retry =
        |keys: &str| format!("clients.0.retry={{ backoff = {{ constant = \"1 ms\" }}, {keys} }}");
    assert_snapshot!(problem(&[&retry("attempts = 1")]), @"replicas.toml with --set clients.0.retry={ backoff = { constant = \"1 ms\" }, attempts = 1 }: `clients.0.retry`: needs a `timeout`, without which nothing is given up");
    assert_snapshot!(problem(&[TIMEOUT, &retry("attempts = 0")]), @"replicas.toml with --set clients.0.retry={ backoff = { constant = \"1 ms\" }, attempts = 0 }: `clients.0.retry.attempts`: must be at least 1, found 0");
    assert_snapshot!(problem(&[TIMEOUT, &retry("attempts = 1, factor = 0.0")]), @"replicas.toml with --set clients.0.retry={ backoff = { constant = \"1 ms\" }, attempts = 1, factor = 0.0 }: `clients.0.retry.factor`: must be more than zero, found 0");
    assert_snapshot!(problem(&[TIMEOUT, &retry("attempts = 1, elsewere = true")]), @"replicas.toml with --set clients.0.retry={ backoff = { constant = \"1 ms\" }, attempts = 1, elsewere = true }: `clients.0.retry.elsewere`: unknown key `elsewere`, did you mean `elsewhere`? (allowed: attempts, backoff, factor, elsewhere)");
    let plain = "format = 1\nname = \"a\"\nrun = { measure = { requests = 1 } }\n[stages.a]\nstation = { service = { constant = \"1 ms\" } }\n[[clients]]\ntimeout = \"1 s\"\narrivals = { closed-loop = {} }\npath = [{ to = \"a\" }]\n";
    let error = Scenario::parse(Path::new("a.toml"), plain.to_owned(), &[]).unwrap_err();
    assert_snapshot!(error.to_string(), @"a.toml:7: `clients.0.timeout`: is for stages on hosts, found 1 s; stations have `patience`");
}

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

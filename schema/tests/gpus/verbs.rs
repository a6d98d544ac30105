//! What a user reads when a key of network adapters or of hops over them is wrong.

use insta::assert_snapshot;
use schema::scenario::{CompletionBy, GdrPath, Scenario, SetUp, Verb, to_toml};

use crate::parse;

const BASE: &str = r#"format = 1
name = "verbs"
run = { measure = { requests = 10 } }

[hosts]
edge = { part = "cpu", cores = 2 }
gateway = { part = "cpu", cores = 2, nic = { part = "cx6" } }
server = { part = "cpu", cores = 8, nic = { part = "cx6" }, gpus = [{ part = "a2", gdr-path = "switch" }] }

[[links]]
between = ["edge", "gateway"]
rate = "25 Gbit/s"

[[links]]
between = ["gateway", "server"]
rate = "25 Gbit/s"

[stages.ingress]
on = "gateway"
proxy = {}

[stages.classify]
on = "server"
serve = { profiled = { name = "yolo", input = "1 MB", output = "4 kB" } }
gpu = {}

[[clients]]
on = "edge"
arrivals = { closed-loop = {} }
path = [
    { to = "ingress", over = "tcp" },
    { to = "classify", over = "gdr", completion = "poll", verb = "read" },
]
"#;

/// The message for the base scenario with `from` replaced by `to`.
fn message(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    let text = BASE.replacen(from, to, 1);
    parse(&text).unwrap_err().to_string()
}

fn last_hop(scenario: &Scenario) -> schema::scenario::Hop {
    scenario.groups.rows()[0].path.last().unwrap().clone()
}

#[test]
fn the_base_is_valid_and_reads_back() {
    let scenario = parse(BASE).unwrap();
    let again = parse(&to_toml(scenario.file())).unwrap();
    assert_eq!(scenario.file(), again.file());
    let hosts = scenario.hosts.rows();
    let nics: Vec<_> = hosts
        .iter()
        .map(|host| host.nic.as_ref().map(|nic| nic.part.as_str()))
        .collect();
    assert_eq!(nics, [None, Some("cx6"), Some("cx6")]);
    assert_eq!(hosts[2].gpus[0].gdr_path, GdrPath::Switch);
    let verbs = last_hop(&scenario).verbs.unwrap();
    assert_eq!(
        (verbs.completion, verbs.verb),
        (CompletionBy::Poll, Verb::Read)
    );
}

#[test]
fn a_hop_sleeps_and_writes_if_it_does_not_say() {
    let text = BASE.replace(", completion = \"poll\", verb = \"read\"", "");
    let verbs = last_hop(&parse(&text).unwrap()).verbs.unwrap();
    assert_eq!(
        (verbs.completion, verbs.verb, verbs.setup),
        (CompletionBy::Event, Verb::WriteWithImmediate, SetUp::Tcp)
    );
    let text = BASE.replace("verb = \"read\"", "setup = \"rdma-cm\"");
    let verbs = last_hop(&parse(&text).unwrap()).verbs.unwrap();
    assert_eq!(verbs.setup, SetUp::RdmaCm);
}

#[test]
fn both_ends_of_a_hop_over_verbs_have_an_adapter() {
    assert_snapshot!(message("over = \"tcp\"", "over = \"rdma\""), @"a.toml:6: `hosts.edge.nic`: must be given, since `clients.0.path.0` goes over `rdma` and `edge` is one of its ends; write `nic = { part = \"PART\" }`");
    assert_snapshot!(message("nic = { part = \"cx6\" }, gpus", "gpus"), @"a.toml:8: `hosts.server.nic`: must be given, since `clients.0.path.1` goes over `gdr` and `server` is one of its ends; write `nic = { part = \"PART\" }`");
    assert_snapshot!(message("{ part = \"cx6\" }", "{ parts = \"cx6\" }"), @"a.toml:7: `hosts.gateway.nic.parts`: unknown key `parts`, did you mean `part`? (allowed: part, socket, device, gid)");
    assert_snapshot!(message("nic = { part = \"cx6\" } }", "nics = { part = \"cx6\" } }"), @"a.toml:7: `hosts.gateway.nics`: unknown key `nics`, did you mean `nic`? (allowed: part, cores, count, attach, gpus, nic)");
}

#[test]
fn gdr_leads_to_the_memory_of_one_device() {
    assert_snapshot!(message("over = \"tcp\"", "over = \"gdr\""), @"a.toml:6: `hosts.edge.nic`: must be given, since `clients.0.path.0` goes over `gdr` and `edge` is one of its ends; write `nic = { part = \"PART\" }`");
    assert_snapshot!(message("gpu = {}\n", ""), @"a.toml:31: `clients.0.path.1.over`: `gdr` leads to the memory of a GPU, and `classify` has no `gpu` (allowed: tcp, local, rdma)");
    let nic = "cores = 2 }\ngateway";
    let both = BASE
        .replace(nic, "cores = 2, nic = { part = \"cx6\" } }\ngateway")
        .replace("over = \"tcp\"", "over = \"gdr\"");
    assert_snapshot!(parse(&both).unwrap_err(), @"a.toml:31: `clients.0.path.0.over`: `gdr` leads to the memory of a GPU, and `ingress` has no `gpu` (allowed: tcp, local, rdma)");
    let two = BASE
        .replace(
            "gdr-path = \"switch\" }]",
            "gdr-path = \"switch\" }, { part = \"a2\" }]",
        )
        .replace("gpu = {}", "gpu = { devices = [\"0\", \"1\"] }");
    assert_snapshot!(parse(&two).unwrap_err(), @"a.toml:32: `clients.0.path.1.over`: `gdr` leads to the memory of one device, and `classify` has 2; make a stage for each");
    assert_snapshot!(message("gdr-path", "socket = \"far\", gdr-path"), @"a.toml:8: `hosts.server.gpus.0.gdr-path`: must be `cross-socket`, found `switch`; the network adapter is at another `socket`");
    assert_snapshot!(message("gdr-path", "socket = 1, gdr-path"), @"a.toml:8: `hosts.server.gpus.0.socket`: must be a word in quotes, or a table with one as its key");
    assert_snapshot!(message("gdr-path = \"switch\"", "gdr-path = \"bridge\""), @"a.toml:8: `hosts.server.gpus.0.gdr-path`: unknown value `bridge` (allowed: switch, root-complex, cross-socket)");
}

#[test]
fn the_path_between_adapter_and_gpu_is_as_their_sockets() {
    let path = |gpu: &str, nic: &str| {
        let text = BASE
            .replace("gdr-path = \"switch\"", &format!("socket = \"{gpu}\""))
            .replace(
                "cores = 8, nic = { part = \"cx6\" }",
                &format!("cores = 8, nic = {{ part = \"cx6\", socket = \"{nic}\" }}"),
            );
        parse(&text).unwrap().hosts.rows()[2].gpus[0].gdr_path
    };
    assert_eq!(path("near", "near"), GdrPath::RootComplex);
    assert_eq!(path("far", "far"), GdrPath::RootComplex);
    assert_eq!(path("far", "near"), GdrPath::CrossSocket);
    assert_eq!(path("near", "far"), GdrPath::CrossSocket);
}

#[test]
fn a_buffer_holds_a_request_and_its_reply() {
    assert_snapshot!(message("gpu = {}", "gpu = { connection-buffer = \"1 MB\" }"), @"a.toml:25: `stages.classify.gpu.connection-buffer`: must hold a request and its reply of those that come over `gdr`, 1.004 MB; found 1 MB");
    let text = BASE.replace("gpu = {}", "gpu = { connection-buffer = \"1004 kB\" }");
    assert!(parse(&text).is_ok());
}

#[test]
fn options_of_verbs_are_for_verbs_alone() {
    assert_snapshot!(message("over = \"tcp\"", "over = \"tcp\", completion = \"poll\""), @"a.toml:31: `clients.0.path.0.completion`: is for hops over `rdma` or `gdr`, found `poll` on one over `tcp`");
    assert_snapshot!(message("over = \"tcp\"", "over = \"tcp\", verb = \"send\""), @"a.toml:31: `clients.0.path.0.verb`: is for hops over `rdma` or `gdr`, found `send` on one over `tcp`");
    assert_snapshot!(message("over = \"tcp\"", "over = \"tcp\", setup = \"rdma-cm\""), @"a.toml:31: `clients.0.path.0.setup`: is for hops over `rdma` or `gdr`, found `rdma-cm` on one over `tcp`");
    assert_snapshot!(message("completion = \"poll\"", "setup = \"cm\""), @"a.toml:32: `clients.0.path.1.setup`: unknown value `cm` (allowed: tcp, rdma-cm)");
    assert_snapshot!(message("completion = \"poll\"", "completion = \"polling\""), @"a.toml:32: `clients.0.path.1.completion`: unknown value `polling`, did you mean `poll`? (allowed: event, poll)");
    assert_snapshot!(message("verb = \"read\"", "verb = \"write\""), @"a.toml:32: `clients.0.path.1.verb`: unknown value `write` (allowed: write-with-immediate, send, read)");
    let text = r#"format = 1
name = "plain"
run = { measure = { requests = 1 } }
[stages.office]
station = { service = { constant = "1 ms" } }
[[clients]]
arrivals = { closed-loop = {} }
path = [{ to = "office", verb = "send" }]
"#;
    assert_snapshot!(parse(text).unwrap_err(), @"a.toml:8: `clients.0.path.0.verb`: is for hops over `rdma` or `gdr`, found `send` on one to a plain stage");
}

//! Switches, generated networks, ways and faults of links: what they are, and what a user reads when
//! they are wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;
use schema::ids::{HostId, Id};
use schema::scenario::{Scenario, Vertex, Way, to_toml};
use schema::units::{ByteRate, SimDuration};

const BASE: &str = r#"format = 1
name = "base"
run = { measure = { time = "1 s" } }
switches = ["left", "right"]

[hosts]
edge = { part = "this", cores = 2 }
gateway = { part = "this", cores = 2 }
server = { part = "this", cores = 2 }

[[links]]
between = ["edge", "left"]
rate = "25 Gbit/s"
delay = "1 us"

[[links]]
between = ["left", "right"]
rate = "100 Gbit/s"

[[links]]
between = ["right", "server"]
part = "wire"

[[faults]]
link = ["right", "left"]
from = "1 s"
for = "200 ms"
rate = "1 Gbit/s"

[stages.classify]
on = "server"
serve = { net = { name = "resnet50" } }

[[clients]]
on = "edge"
arrivals = { closed-loop = {} }
path = [{ to = "classify", over = "tcp" }]
"#;

fn parse(text: &str, overrides: &[&str]) -> Result<Scenario, schema::error::FileError> {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    Scenario::parse(Path::new("a.toml"), text.to_owned(), &overrides)
}

/// The message for the base scenario with `from` replaced by `to`.
fn message(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    parse(&BASE.replacen(from, to, 1), &[])
        .unwrap_err()
        .to_string()
}

/// The base scenario with `fabric` instead of switches and links, and a fault of none.
fn generated(fabric: &str) -> String {
    let listed = BASE.find("[[links]]").unwrap()..BASE.find("[stages").unwrap();
    let mut text = BASE.replacen("switches = [\"left\", \"right\"]", fabric, 1);
    let shift = text.len() as isize - BASE.len() as isize;
    let at = |end: usize| (end as isize + shift) as usize;
    text.replace_range(at(listed.start)..at(listed.end), "");
    text
}

const LEAF_SPINE: &str = r#"fabric = { leaf-spine = { leaves = 2, hosts-per-leaf = 2, spines = 3, rate = "25 Gbit/s", oversubscription = 4, delay = "500 ns" } }"#;
const FAT_TREE: &str = r#"fabric = { fat-tree = { k = 4, rate = "10 Gbit/s" } }"#;
const STAR: &str = r#"fabric = { star = { rate = "10 Gbit/s", part = "wire" } }"#;
const MULTI_RACK: &str = r#"fabric = { multi-rack = { racks = { leaves = 2, hosts-per-leaf = 1, spines = 2, rate = "25 Gbit/s" }, access = { rate = "200 Mbit/s", delay = { constant = "4 ms" }, jitter = { exponential = "1 ms" } } } }"#;

#[test]
fn what_is_valid_reads_back() {
    let generated = [LEAF_SPINE, FAT_TREE, STAR, MULTI_RACK].map(generated);
    let border = generated[3].replacen("edge = {", "edge = { attach = \"border\",", 1);
    let texts = [BASE.to_owned(), border];
    for text in texts.iter().chain(&generated[..3]) {
        let scenario = parse(text, &[]).unwrap();
        let again = parse(&to_toml(scenario.file()), &[]).unwrap();
        assert_eq!(scenario.file(), again.file());
        assert_eq!(scenario.links, again.links);
    }
}

#[test]
fn a_way_is_a_link_or_leads_over_switches() {
    let scenario = parse(BASE, &[]).unwrap();
    let way = |scenario: &Scenario| scenario.groups.rows()[0].path[0].way;
    assert_eq!(way(&scenario), Way::Switched);
    let direct = BASE.replacen("[\"edge\", \"left\"]", "[\"edge\", \"server\"]", 1);
    let scenario = parse(&direct, &[]).unwrap();
    assert_eq!(way(&scenario).link().map(Id::index), Some(0));
    let inside = parse(BASE, &["clients.0.on=server"]).unwrap();
    assert_eq!(way(&inside), Way::Inside);
}

/// How many links of each rate join what, by the kinds of their ends.
fn census(scenario: &Scenario) -> Vec<String> {
    let name = |vertex: Vertex| match vertex {
        Vertex::Host(host) => scenario.hosts[host].name.clone(),
        Vertex::Switch(switch) => {
            let name = &scenario.switches[switch].name;
            name.trim_end_matches(char::is_numeric).to_owned()
        }
    };
    let mut census: BTreeMap<String, u32> = BTreeMap::new();
    for link in scenario.links.rows() {
        let [a, b] = link.between.map(name);
        let rate = link.rate.map_or("any rate".to_owned(), |r| r.to_string());
        *census
            .entry(format!("{a} {b}: {rate}, {}", link.delay))
            .or_default() += 1;
    }
    census
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect()
}

#[test]
fn networks_are_generated() {
    let lines = |fabric: &str| census(&parse(&generated(fabric), &[]).unwrap()).join("\n");
    assert_snapshot!(lines(STAR), @r"
    1 edge switch: 10 Gbit/s, 0 ps
    1 gateway switch: 10 Gbit/s, 0 ps
    1 server switch: 10 Gbit/s, 0 ps
    ");
    assert_snapshot!(lines(LEAF_SPINE), @r"
    1 edge leaf-: 25 Gbit/s, 500 ns
    1 gateway leaf-: 25 Gbit/s, 500 ns
    6 leaf- spine-: 4.166666664 Gbit/s, 500 ns
    1 server leaf-: 25 Gbit/s, 500 ns
    ");
    assert_snapshot!(lines(FAT_TREE), @r"
    16 aggregation- core-: 10 Gbit/s, 0 ps
    1 edge edge-: 10 Gbit/s, 0 ps
    16 edge- aggregation-: 10 Gbit/s, 0 ps
    1 gateway edge-: 10 Gbit/s, 0 ps
    1 server edge-: 10 Gbit/s, 0 ps
    ");
    let border = generated(MULTI_RACK).replacen("edge = {", "edge = { attach = \"border\",", 1);
    let scenario = parse(&border, &[]).unwrap();
    assert_snapshot!(census(&scenario).join("\n"), @r"
    2 border spine-: any rate, 0 ps
    1 edge border: 200 Mbit/s, 0 ps
    1 gateway leaf-: 25 Gbit/s, 0 ps
    4 leaf- spine-: 12.5 Gbit/s, 0 ps
    1 server leaf-: 25 Gbit/s, 0 ps
    ");
    let access = scenario.access.unwrap();
    assert_eq!(access.hosts, [HostId::from_index(0)]);
}

#[test]
fn hosts_are_attached_where_they_say_and_then_in_order() {
    let text = generated(LEAF_SPINE).replacen("server = {", "server = { attach = \"leaf-0\",", 1);
    let scenario = parse(&text, &[]).unwrap();
    let attached: Vec<String> = (scenario.file().hosts.iter())
        .map(|(name, host)| format!("{name} {}", host.attach.as_deref().unwrap()))
        .collect();
    assert_eq!(attached, ["edge leaf-0", "gateway leaf-1", "server leaf-0"]);
}

#[test]
fn defaults_are_written_out() {
    let scenario = parse(&generated(LEAF_SPINE), &[]).unwrap();
    assert_snapshot!(to_toml(scenario.file()).split("[hosts.edge]").next().unwrap(), @r#"
    format = 1
    name = "base"
    placement = "separate"
    links = []

    [run]
    seed = 1

    [run.warmup]
    requests = 0

    [run.measure]
    time = "1 s"
    "#);
    let text = to_toml(scenario.file());
    assert_snapshot!(text.split("[fabric").nth(1).unwrap().split("[stages").next().unwrap(), @r#"
    .leaf-spine]
    leaves = 2
    hosts-per-leaf = 2
    spines = 3
    rate = "25 Gbit/s"
    oversubscription = 4.0
    delay = "500 ns"
    uplink-delay = "500 ns"
    "#);
}

#[test]
fn links_may_lead_to_generated_switches() {
    let mut text = generated(LEAF_SPINE);
    text += "[[links]]\nbetween = [\"gateway\", \"spine-2\"]\nrate = \"1 Gbit/s\"\n";
    let scenario = parse(&text, &[]).unwrap();
    assert_eq!(scenario.links.rows()[0].rate, "1 Gbit/s".parse().ok());
    assert_eq!(scenario.links.rows()[0].key, "links.0");
    assert_eq!(scenario.links.rows()[1].key, "fabric.leaf-spine");
}

#[test]
fn faults_are_of_links() {
    let scenario = parse(BASE, &[]).unwrap();
    let fault = scenario.faults[0];
    assert_eq!(fault.link.index(), 1);
    assert_eq!(fault.length, "200 ms".parse::<SimDuration>().unwrap());
    assert_eq!(fault.rate, "1 Gbit/s".parse::<ByteRate>().ok());
}

#[test]
fn wrong_switches_and_ends() {
    assert_snapshot!(message("[\"left\", \"right\"]\n\n", "[\"left\", \"edge\"]\n\n"), @"a.toml:4: `switches.1`: has a switch `edge`, and there is a host `edge` already");
    assert_snapshot!(message("[\"left\", \"right\"]\n\n", "[\"left\", \"left\"]\n\n"), @"a.toml:4: `switches.1`: has a switch `left`, and there is a switch `left` already");
    assert_snapshot!(message("[\"edge\", \"left\"]", "[\"edge\", \"lfet\"]"), @"a.toml:12: `links.0.between`: there is no host or switch `lfet`, did you mean `left`? (allowed: edge, gateway, server, left, right)");
    assert_snapshot!(message("between = [\"left\", \"right\"]", "between = [\"left\", \"left\"]"), @"a.toml:17: `links.1.between`: a link joins two different switches");
    assert_snapshot!(message("between = [\"left\", \"right\"]", "between = [\"left\", \"edge\"]"), @"a.toml:17: `links.1.between`: there is a link between `left` and `edge` already");
    assert_snapshot!(message("between = [\"left\", \"right\"]", "between = [\"left\", \"gateway\"]"), @"a.toml:25: `faults.0.link`: there is no link between `right` and `left` (from `right` to: server)");
    let clash = generated(STAR).replace("gateway", "switch");
    assert_snapshot!(parse(&clash, &[]).unwrap_err(), @"a.toml:4: `fabric.star`: has a switch `switch`, and there is a host `switch` already");
}

#[test]
fn wrong_generated_networks() {
    let wrong = |fabric: &str, from: &str, to: &str| {
        assert!(fabric.contains(from), "{from}");
        let text = generated(&fabric.replacen(from, to, 1));
        parse(&text, &[]).unwrap_err().to_string()
    };
    assert_snapshot!(wrong(STAR, "star", "ring"), @"a.toml:4: `fabric`: unknown value `ring` (allowed: star, leaf-spine, fat-tree, multi-rack)");
    assert_snapshot!(wrong(STAR, ", part = \"wire\"", ", prat = \"wire\""), @"a.toml:4: `fabric.star.prat`: unknown key `prat`, did you mean `part`? (allowed: rate, delay, part, ethernet)");
    assert_snapshot!(wrong(STAR, "rate = \"10 Gbit/s\", ", ""), @"a.toml:4: `fabric.star`: missing field `rate`");
    assert_snapshot!(wrong(LEAF_SPINE, "leaves = 2", "leaves = 0"), @"a.toml:4: `fabric.leaf-spine.leaves`: must be at least 1, found 0");
    assert_snapshot!(wrong(LEAF_SPINE, "hosts-per-leaf = 2", "hosts-per-leaf = 0"), @"a.toml:4: `fabric.leaf-spine.hosts-per-leaf`: must be at least 1, found 0");
    assert_snapshot!(wrong(LEAF_SPINE, "spines = 3", "spines = 0"), @"a.toml:4: `fabric.leaf-spine.spines`: must be at least 1, found 0");
    assert_snapshot!(wrong(LEAF_SPINE, "spines = 3", "spines = 1000000"), @"a.toml:4: `fabric.leaf-spine`: would have 2000000 links between leaves and spines (at most 1000000)");
    assert_snapshot!(wrong(LEAF_SPINE, "oversubscription = 4", "oversubscription = 0"), @"a.toml:4: `fabric.leaf-spine.oversubscription`: must be more than zero, found 0");
    assert_snapshot!(wrong(LEAF_SPINE, "oversubscription = 4", "oversubscription = 1e12"), @"a.toml:4: `fabric.leaf-spine.oversubscription`: leaves an uplink 0.0020833333333333333 B/s (allowed: at least 1), found 1000000000000");
    assert_snapshot!(wrong(LEAF_SPINE, "hosts-per-leaf = 2", "hosts-per-leaf = 1"), @"a.toml:9: `hosts.server`: finds no place: fabric.leaf-spine has 2 for hosts");
    assert_snapshot!(wrong(FAT_TREE, "k = 4", "k = 5"), @"a.toml:4: `fabric.fat-tree.k`: must be even and from 2 to 64, found 5");
    assert_snapshot!(wrong(FAT_TREE, "k = 4", "k = 66"), @"a.toml:4: `fabric.fat-tree.k`: must be even and from 2 to 64, found 66");
    assert_snapshot!(wrong(FAT_TREE, "10 Gbit/s", "10 ms"), @"a.toml:4: `fabric.fat-tree.rate`: `ms` is not a unit of data rate; units: bit/s, B/s, kbit/s, kB/s, Mbit/s, MB/s, Gbit/s, GB/s");
    assert_snapshot!(wrong(MULTI_RACK, "{ exponential = \"1 ms\" }", "{ gamma = { mean = \"1 ms\", cv = 0 } }"), @"a.toml:4: `fabric.multi-rack.access.jitter.gamma.cv`: must be more than zero, found 0");
    assert_snapshot!(wrong(MULTI_RACK, "spines = 2", "spines = 0"), @"a.toml:4: `fabric.multi-rack.racks.spines`: must be at least 1, found 0");
}

#[test]
fn wrong_places() {
    let attach = |fabric: &str, host: &str, to: &str| {
        let (from, to) = (
            format!("{host} = {{"),
            format!("{host} = {{ attach = \"{to}\","),
        );
        let text = generated(fabric).replacen(&from, &to, 1);
        parse(&text, &[]).unwrap_err().to_string()
    };
    assert_snapshot!(attach(LEAF_SPINE, "edge", "spine-0"), @"a.toml:7: `hosts.edge.attach`: no host can be attached to `spine-0` (allowed: leaf-0 to leaf-1)");
    assert_snapshot!(attach(STAR, "edge", "leaf-0"), @"a.toml:7: `hosts.edge.attach`: no host can be attached to `leaf-0` (allowed: switch)");
    assert_snapshot!(attach(MULTI_RACK, "edge", "leaf-7"), @"a.toml:7: `hosts.edge.attach`: no host can be attached to `leaf-7` (allowed: leaf-0 to leaf-1, border)");
    let both =
        generated(LEAF_SPINE).replace("part = \"this\",", "part = \"this\", attach = \"leaf-1\",");
    assert_snapshot!(parse(&both, &[]).unwrap_err(), @"a.toml:9: `hosts.server.attach`: `leaf-1` has places for 2 hosts");
    assert_snapshot!(message("edge = {", "edge = { attach = \"left\","), @"a.toml:7: `hosts.edge.attach`: is only with `fabric`, found `left`");
}

#[test]
fn wrong_ways() {
    assert_snapshot!(message("[\"edge\", \"left\"]", "[\"gateway\", \"left\"]"), @"a.toml:37: `clients.0.path.0`: no links lead from `edge` over switches to `server` (links: gateway - left, left - right, right - server)");
    // A host forwards nothing.
    let text = BASE
        .replacen(
            "between = [\"left\", \"right\"]",
            "between = [\"left\", \"gateway\"]",
            1,
        )
        .replacen("[\"right\", \"left\"]", "[\"gateway\", \"left\"]", 1);
    assert_snapshot!(parse(&text, &[]).unwrap_err(), @"a.toml:37: `clients.0.path.0`: no links lead from `edge` over switches to `server` (links: edge - left, left - gateway, right - server)");
    let apart = text.replacen("between = [\"right\",", "between = [\"gateway\",", 1);
    assert_snapshot!(parse(&apart, &[]).unwrap_err(), @"a.toml:37: `clients.0.path.0`: no links lead from `edge` over switches to `server` (links: edge - left, gateway - server, left - gateway)");
}

#[test]
fn wrong_faults() {
    assert_snapshot!(message("link = [\"right\", \"left\"]", "link = [\"right\", \"edge\"]"), @"a.toml:25: `faults.0.link`: there is no link between `right` and `edge` (from `right` to: left, server)");
    assert_snapshot!(message("link = [\"right\", \"left\"]", "link = [\"right\", \"lfet\"]"), @"a.toml:25: `faults.0.link`: there is no host or switch `lfet`, did you mean `left`? (allowed: edge, gateway, server, left, right)");
    assert_snapshot!(message("for = \"200 ms\"", "for = \"0 ms\""), @"a.toml:27: `faults.0.for`: must be more than zero, found zero");
    assert_snapshot!(message("for = \"200 ms\"\n", ""), @"a.toml:24: `faults.0`: missing field `for`");
    assert_snapshot!(message("rate = \"1 Gbit/s\"", "rate = \"100 Gbit/s\""), @"a.toml:28: `faults.0.rate`: must be less than the link's, 100 Gbit/s, found 100 Gbit/s");
    assert_snapshot!(message("link = [\"right\", \"left\"]", "link = [\"right\", \"server\"]"), @"a.toml:28: `faults.0.rate`: the link has no `rate` that could be lower");
    assert_snapshot!(message("rate = \"1 Gbit/s\"", "rate = \"1 Gbit\""), @"a.toml:28: `faults.0.rate`: `Gbit` is not a unit of data rate; units: bit/s, B/s, kbit/s, kB/s, Mbit/s, MB/s, Gbit/s, GB/s");
    let twice =
        "[[faults]]\nlink = [\"left\", \"right\"]\nfrom = \"1100 ms\"\nfor = \"1 s\"\n\n[stages.";
    assert_snapshot!(message("[stages.", twice), @"a.toml:30: `faults.1`: overlaps `faults.0`, which is of the same link");
}

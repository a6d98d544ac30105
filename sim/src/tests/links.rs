//! Ways over switches, generated networks, faults of links and access networks, worked out by hand.
//! Nothing but links takes time; they carry 1 GB/s where nothing is said, so that a byte takes 1 ns.

use std::collections::BTreeMap;
use std::path::Path;

use schema::ids::Id;
use schema::profile::{Profile, Residual};
use schema::random::Seed;
use schema::scenario::Scenario;
use schema::units::{ByteRate, SimDuration};

use super::{OPTIONS, only_inference};
use crate::fabric::topology::{self, Cable, LeafSpine, Oversubscription};
use crate::fabric::{Graph, VertexKind};
use crate::network::CHUNK;
use crate::replication::Completion;
use crate::tables::Tables;
use crate::{Arrivals, completions};

/// A request of 1000 B at the start, its reply empty; `network` is between edge, gateway and server.
fn text(network: &str) -> String {
    format!(
        r#"format = 1
name = "links"
run = {{ seed = 1, measure = {{ time = "1 s" }} }}
{network}

[hosts]
edge = {{ part = "edge", cores = 64 }}
gateway = {{ part = "gateway", cores = 64 }}
server = {{ part = "server", cores = 64 }}

[stages.classify]
on = "server"
instances = 64
serve = {{ synthetic = {{ time = "0 ms", input = "1000 B", output = "0 B" }} }}

[[clients]]
on = "edge"
arrivals = {{ times = {{ at = ["0 us"], connections = 1 }} }}
path = [{{ to = "classify", over = "tcp" }}]
"#
    )
}

/// Two switches in a line between edge and server, and gateway at the second.
const LINE: &str = r#"
switches = ["left", "right", "detour"]
links = [
    { between = ["edge", "left"], rate = "2 GB/s", delay = "100 ns" },
    { between = ["left", "right"], rate = "1 GB/s", delay = "10 ns" },
    { between = ["right", "server"], rate = "4 GB/s", delay = "1 ns" },
    { between = ["gateway", "right"], rate = "1 GB/s" },
    { between = ["left", "detour"], rate = "500 MB/s", delay = "20 ns" },
    { between = ["detour", "right"], rate = "500 MB/s", delay = "20 ns" },
]"#;

fn scenario(text: &str, overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    Scenario::parse(Path::new("links.toml"), text.to_owned(), &overrides).unwrap()
}

fn profile() -> Profile {
    only_inference(Residual::None)
}

fn served(text: &str, overrides: &[&str]) -> Vec<Completion> {
    let mut served = completions(&scenario(text, overrides), &profile(), &OPTIONS).unwrap();
    served.remove(0).completions
}

/// Sojourn times in nanoseconds, in the order of requests.
fn sojourns(text: &str, overrides: &[&str]) -> Vec<u64> {
    let mut all = served(text, overrides);
    all.sort_by_key(|c| c.request);
    let times = all.iter().map(|c| c.end.since(c.ready).as_ps());
    times
        .map(|ps| {
            assert_eq!(ps % 1000, 0, "{ps} ps");
            ps / 1000
        })
        .collect()
}

/// The propagation delay there and back.
const DELAYS: u64 = 2 * 111;

#[test]
fn a_message_over_switches_takes_its_slowest_link_and_all_delays() {
    let text = text(LINE);
    assert_eq!(sojourns(&text, &[]), [1000 + DELAYS]);
    // Chunks follow each other without a gap.
    let bytes = 3 * CHUNK.0 + 7;
    let size = format!("stages.classify.serve.synthetic.input=\"{bytes} B\"");
    assert_eq!(sojourns(&text, &[&size]), [bytes + DELAYS]);
    let reply = "stages.classify.serve.synthetic.output=\"500 B\"";
    assert_eq!(sojourns(&text, &[reply]), [1500 + DELAYS]);
}

#[test]
fn messages_share_links() {
    let text = text(LINE);
    // Both from edge: half of the link between the switches each.
    assert_eq!(sojourns(&text, &["clients.0.count=2"]), [2000 + DELAYS; 2]);
    // The fabric's own tests have the laws of sharing; a request that comes when half of the first
    // has left ends when both have.
    let later = "clients.0.arrivals={ times = { at = [\"0 ns\", \"500 ns\"], connections = 2 } }";
    assert_eq!(sojourns(&text, &[later]), [1500 + DELAYS; 2]);
    // With a tolerance both are left at half of that while they share the link.
    let tolerance = "run.rate-tolerance=1.0";
    assert_eq!(sojourns(&text, &[later, tolerance]), [2500 + DELAYS; 2]);
    // Requests and replies are in different directions.
    let both = [
        "clients.0.arrivals={ times = { at = [\"0 ns\", \"1111 ns\"], connections = 2 } }",
        "stages.classify.serve.synthetic.output=\"1000 B\"",
    ];
    assert_eq!(sojourns(&text, &both), [2000 + DELAYS; 2]);
}

#[test]
fn many_to_one_share_the_link_of_the_one() {
    let network = "fabric = { star = { rate = \"1 GB/s\", delay = \"5 ns\" } }";
    let text = text(network);
    let two = text.replace(
        "[[clients]]",
        r#"[[clients]]
on = "gateway"
count = 2
arrivals = { times = { at = ["0 us"], connections = 1 } }
path = [{ to = "classify", over = "tcp" }]

[[clients]]"#,
    );
    assert_eq!(sojourns(&text, &[]), [1000 + 20]);
    assert_eq!(sojourns(&two, &[]), [3000 + 20; 3]);
}

#[test]
fn links_without_a_rate_take_no_time_and_no_events() {
    let unlimited = LINE.replace(", delay", ", part = \"wire\", delay");
    let mut unlimited = unlimited.replace("rate = \"1 GB/s\" }", "part = \"wire\" }");
    for rate in ["1 GB/s", "2 GB/s", "4 GB/s", "500 MB/s"] {
        unlimited = unlimited.replace(&format!("rate = \"{rate}\", "), "");
    }
    let text = text(&unlimited);
    assert_eq!(sojourns(&text, &[]), [DELAYS]);
    let events = |overrides: &[&str]| {
        let served = completions(&scenario(&text, overrides), &profile(), &OPTIONS).unwrap();
        served[0].events
    };
    assert_eq!(events(&[]), events(&["clients.0.on=server"]));
}

#[test]
fn a_degraded_link_is_slower_for_a_time() {
    let text = text(LINE);
    // 500 B are left at 500 ns; 300 of them go at half the rate, and 200 at all of it.
    let fault = "faults=[{ link = [\"left\", \"right\"], from = \"500 ns\", for = \"600 ns\", rate = \"500 MB/s\" }]";
    assert_eq!(sojourns(&text, &[fault]), [1300 + DELAYS]);
    let over = fault.replace("500 ns", "1200 ns");
    assert_eq!(sojourns(&text, &[&over]), [1000 + DELAYS]);
}

#[test]
fn what_is_under_way_on_a_link_that_goes_down_takes_another_path() {
    let text = text(LINE);
    // 500 B are left at 500 ns, and take 1000 ns over the detour, of 30 ns more.
    let down = "faults=[{ link = [\"right\", \"left\"], from = \"500 ns\", for = \"1 s\" }]";
    assert_eq!(sojourns(&text, &[down]), [1500 + DELAYS + 60]);
    // It is up again when the reply sets out.
    let short = down.replace("1 s", "600 ns");
    assert_eq!(sojourns(&text, &[&short]), [1500 + DELAYS + 30]);
    // What sets out later takes it too: two chunks of which one has left.
    let bytes = 2 * CHUNK.0;
    let size = format!("stages.classify.serve.synthetic.input=\"{bytes} B\"");
    let after = format!(
        "faults=[{{ link = [\"right\", \"left\"], from = \"{} ns\", for = \"1 s\" }}]",
        CHUNK.0
    );
    let expected = CHUNK.0 + 2 * CHUNK.0 + DELAYS + 60;
    assert_eq!(sojourns(&text, &[&size, &after]), [expected]);
}

#[test]
fn without_another_path_it_waits_until_the_link_is_up() {
    let text = text(LINE);
    let down = "faults=[{ link = [\"right\", \"server\"], from = \"500 ns\", for = \"2 us\" }]";
    assert_eq!(sojourns(&text, &[down]), [1000 + 2000 + DELAYS]);
    // Also what only then sets out, and all of its chunks.
    let bytes = 2 * CHUNK.0;
    let size = format!("stages.classify.serve.synthetic.input=\"{bytes} B\"");
    let before = down.replace("500 ns", "0 ns");
    let expected = 2000 + bytes + DELAYS;
    assert_eq!(sojourns(&text, &[&size, &before]), [expected]);
    // What has left its sender arrives.
    let left = down.replace("500 ns", "1000 ns");
    let reply = "stages.classify.serve.synthetic.output=\"100 B\"";
    assert_eq!(sojourns(&text, &[&left, reply]), [3000 + 100 + 111]);
}

#[test]
fn a_direct_link_that_is_down_is_gone_around() {
    let network = LINE.replace(
        "links = [",
        "links = [\n    { between = [\"edge\", \"server\"], rate = \"1 GB/s\" },",
    );
    let text = text(&network);
    assert_eq!(sojourns(&text, &[]), [1000]);
    let down = "faults=[{ link = [\"edge\", \"server\"], from = \"500 ns\", for = \"1 s\" }]";
    assert_eq!(sojourns(&text, &[down]), [1000 + DELAYS]);
}

#[test]
fn faults_come_one_after_the_other_and_at_once() {
    let text = text(LINE);
    let fault = |from: u64, length: u64| {
        format!("{{ link = [\"right\", \"server\"], from = \"{from} ns\", for = \"{length} ns\" }}")
    };
    let set = |faults: &[String]| format!("faults=[{}]", faults.join(", "));
    let twice = set(&[fault(600, 100), fault(500, 100)]);
    assert_eq!(sojourns(&text, &[&twice]), [1200 + DELAYS]);
    let other = "{ link = [\"left\", \"right\"], from = \"500 ns\", for = \"300 ns\" }";
    let slow = "{ link = [\"left\", \"detour\"], from = \"500 ns\", for = \"300 ns\" }";
    let all = set(&[fault(500, 200), other.to_owned(), slow.to_owned()]);
    assert_eq!(sojourns(&text, &[&all]), [1300 + DELAYS]);
}

const ACCESS: &str = r#"
fabric.multi-rack.racks = { leaves = 1, hosts-per-leaf = 2, spines = 2, rate = "4 GB/s", delay = "2 ns" }
fabric.multi-rack.access = { rate = "1 GB/s", delay = DELAY, jitter = JITTER, border-delay = "3 ns" }"#;

/// Of which edge is a client.
fn access(delay: &str, jitter: &str) -> String {
    let network = ACCESS.replace("DELAY", delay).replace("JITTER", jitter);
    text(&network).replace("edge = {", "edge = { attach = \"border\",")
}

#[test]
fn an_access_network_adds_its_delay_and_jitter_to_each_message() {
    let constant = access("{ constant = \"400 ns\" }", "{ constant = \"50 ns\" }");
    assert_eq!(sojourns(&constant, &[]), [1000 + 2 * (3 + 2 + 2 + 450)]);
    // Between hosts of the racks there is none.
    assert_eq!(sojourns(&constant, &["clients.0.on=gateway"]), [250 + 8]);
}

#[test]
fn jitter_is_drawn_for_each_message_and_delay_for_each_client() {
    let many = [
        "clients.0.count=3",
        "clients.0.arrivals={ deterministic = { rate = \"1000 /s\", connections = 8 } }",
        "run.measure={ requests = 400 }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
    ];
    let extra = |text: &str, overrides: &[&str]| {
        let all = [&many[..], overrides].concat();
        let mut of: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let mut served = served(text, &all);
        served.sort_by_key(|c| c.request);
        for c in served {
            let sojourn = c.end.since(c.ready).as_ps();
            let client = c.request.client().index();
            of.entry(client).or_default().push(sojourn - 14_000);
        }
        of
    };
    let uniform = "{ uniform = { from = \"1 us\", to = \"3 us\" } }";
    let none = "{ constant = \"0 ns\" }";
    let by_client = extra(&access(uniform, none), &[]);
    let delays: Vec<u64> = by_client.values().map(|times| times[0]).collect();
    assert!(
        by_client
            .values()
            .all(|times| times.iter().all(|t| *t == times[0]))
    );
    assert!(delays.iter().all(|ps| (2_000_000..6_000_000).contains(ps)));
    assert!(delays[0] != delays[1] && delays[1] != delays[2]);

    let by_message = extra(&access(none, uniform), &[]);
    let all: Vec<u64> = by_message.values().flatten().copied().collect();
    assert!(all.iter().all(|ps| (2_000_000..6_000_000).contains(ps)));
    // The sum of two has a standard deviation of 2/sqrt(6) us, and the mean of 1200 a 35th of that.
    let mean = all.iter().sum::<u64>() as f64 / all.len() as f64;
    assert!(
        (mean - 4e6).abs() < 4.0 * 0.816e6 / 1200f64.sqrt(),
        "{mean}"
    );
    // Streams of their own: what else is in the scenario changes no draw.
    let other = [
        "fabric.multi-rack.access.rate=\"2 GB/s\"",
        "clients.0.name=\"clients-0\"",
    ];
    assert_eq!(by_message, extra(&access(none, uniform), &other));
    assert_ne!(by_message, extra(&access(none, uniform), &["run.seed=2"]));
}

/// Pairs of ends by kind and number of links, with rates and delays, in order.
fn census(graph: &Graph) -> Vec<(ByteRate, SimDuration, [usize; 2])> {
    let mut census: Vec<_> = graph
        .links()
        .map(|(_, link)| {
            let degrees = [link.from, link.to].map(|end| match graph.kind(end) {
                VertexKind::Host => 0,
                VertexKind::Switch => graph.leaving(end).len(),
            });
            (link.rate, link.delay, degrees)
        })
        .collect();
    census.sort_unstable();
    census
}

#[test]
fn generated_networks_are_those_of_the_fabric() {
    let hosts: String = (0..16)
        .map(|n| format!("h{n} = {{ part = \"edge\", cores = 1 }}\n"))
        .collect();
    let with = |network: &str| {
        let text = text(network).replace("[hosts]\n", &format!("[hosts]\n{hosts}"));
        let kept = ["edge = ", "gateway = ", "server = "];
        let lines = text
            .lines()
            .filter(|l| !kept.iter().any(|k| l.starts_with(k)));
        let text: Vec<&str> = lines.collect();
        let text = text.join("\n").replace("on = \"edge\"", "on = \"h0\"");
        let scenario = scenario(&text.replace("on = \"server\"", "on = \"h9\""), &[]);
        let mut profile = profile();
        let edge = profile.parts["server"].clone();
        profile.parts.insert("edge".to_owned(), edge);
        let graph = Tables::compile(&scenario, &profile).unwrap().wires.graph;
        census(&graph)
    };
    let cable = Cable {
        rate: "25 Gbit/s".parse().unwrap(),
        delay: SimDuration::from_ns(500),
    };
    let alike = "rate = \"25 Gbit/s\", delay = \"500 ns\"";
    let star = topology::star(16, cable).unwrap();
    assert_eq!(
        with(&format!("fabric.star = {{ {alike} }}")),
        census(&star.graph)
    );
    let tree = topology::fat_tree(4, cable).unwrap();
    assert_eq!(
        with(&format!("fabric.fat-tree = {{ k = 4, {alike} }}")),
        census(&tree.graph)
    );
    let racks = topology::leaf_spine(&LeafSpine {
        leaves: 4,
        hosts_per_leaf: 4,
        spines: 3,
        host: cable,
        oversubscription: Oversubscription {
            hosts: 5,
            uplinks: 2,
        },
        uplink_delay: SimDuration::from_ns(700),
    })
    .unwrap();
    let spec = format!(
        "fabric.leaf-spine = {{ leaves = 4, hosts-per-leaf = 4, spines = 3, oversubscription = 2.5, uplink-delay = \"700 ns\", {alike} }}"
    );
    assert_eq!(with(&spec), census(&racks.graph));
}

/// Connections between two leaves take different spines, and each keeps to its own.
#[test]
fn connections_are_spread_over_paths_of_equal_cost() {
    let network = r#"
fabric.leaf-spine = { leaves = 2, hosts-per-leaf = 2, spines = 4, rate = "1 GB/s", oversubscription = 2 }"#;
    let text = text(network).replace("server = {", "server = { attach = \"leaf-1\",");
    // Alone, an uplink carries half of what a host sends.
    assert_eq!(sojourns(&text, &[]), [4000]);
    let many = ["clients.0.count=64"];
    let times = sojourns(&text, &many);
    // All at once they are limited by the four uplinks together, not by one.
    let longest = *times.iter().max().unwrap();
    assert!((64_000..2 * 64_000).contains(&longest), "{longest}");
    assert_eq!(times, sojourns(&text, &many));
    let options = crate::Options {
        arrivals: Arrivals::Independent,
        ..OPTIONS
    };
    let served = completions(&scenario(&text, &many), &profile(), &options).unwrap();
    assert_eq!(served[0].completions.len(), 64);
    assert_eq!(scenario(&text, &many).seed, Seed(1));
}

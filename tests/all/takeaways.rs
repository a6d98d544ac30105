//! What the reference study is said to have found, put to the engine: takeaways of a third party's
//! summary, as directions with intervals over profiles drawn within what is known of the testbed.
//!
//! Where the engine finds a takeaway for another reason than the summary gives, the test says so, and
//! `docs/headline.md` does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use schema::comparison::Metric;
use schema::profile::Profile;
use schema::scenario::Scenario;
use schema::stats::{Estimate, mean_interval};
use schema::study::Replication;

use crate::common::base;

/// Profiles that are drawn.
const DRAWS: u32 = 24;
/// Of each interval: with some 20 of them, all hold at better than 97%.
const CONFIDENCE: f64 = 0.999;

/// GPUDirect RDMA through a PCIe switch, from clients straight to the server.
const GDR: [&str; 2] = [
    "clients.0.path.0.over=gdr",
    "hosts.server.gpus.0.gdr-path=switch",
];
const RDMA: [&str; 1] = ["clients.0.path.0.over=rdma"];
const TCP: [&str; 1] = ["clients.0.path.0.over=tcp"];
const SIXTEEN: &str = "clients.0.count=16";

/// What each drawn profile gives of the testbed with these changes.
fn found(changes: &[&str]) -> Vec<Replication> {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    let scenario = Scenario::load(&scenarios.join("network/testbed.toml"), &changes).unwrap();
    let profiles = ["testbed.toml", "ethernet.toml"];
    let profiles = profiles.map(|name| scenarios.join("profiles").join(name));
    let profile = Profile::load_all(&profiles).unwrap().unwrap();
    let draws = (0..DRAWS).map(|index| {
        let seed = scenario.seed.replication(index);
        let one = scenario.clone().with_seed(seed);
        let runs = sim::runs(&one, Some(&profile.drawn(seed)), &base()).unwrap();
        Replication::of_run(&runs[0])
    });
    draws.collect()
}

fn values(changes: &[&[&str]], metric: Metric) -> Vec<f64> {
    let all = found(&changes.concat());
    all.iter().map(|one| one.metrics[&metric]).collect()
}

/// Mean end-to-end times with these changes, in seconds.
fn means(changes: &[&[&str]]) -> Vec<f64> {
    values(changes, Metric::Mean)
}

/// What part of `base` each `value` is less.
fn saved(base: &[f64], value: &[f64]) -> Vec<f64> {
    let pairs = base.iter().zip(value);
    pairs.map(|(base, value)| 1.0 - value / base).collect()
}

/// The mean over draws of how much more the first of each pair is.
fn more(first: &[f64], second: &[f64]) -> Estimate {
    let pairs: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    mean_interval(&pairs, CONFIDENCE)
}

fn over(values: &[f64]) -> Estimate {
    mean_interval(values, CONFIDENCE)
}

/// Says what was found, and that it is above `least`.
#[track_caller]
#[expect(
    clippy::print_stdout,
    reason = "shows what was found, with --nocapture"
)]
fn above(what: &str, found: Estimate, least: f64) {
    println!(
        "{what}: {:.4} ({:.4} to {:.4})",
        found.value, found.low, found.high
    );
    assert!(found.low > least, "{what}: {found:?} is not above {least}");
}

fn net(name: &str) -> String {
    format!("stages.serve.serve.profiled.name={name}")
}

/// YOLOv4 and its payloads.
const YOLO: &str = r#"stages.serve.serve.profiled={ name = "yolov4@416", input = "2076672 B", output = "3619980 B" }"#;

#[test]
fn the_gain_grows_with_the_share_of_communication() {
    // Nets of the same payloads, the least work first; a slow GPU and a fast one.
    let gain = |changes: &[&str]| saved(&means(&[&TCP, changes]), &means(&[&GDR, changes]));
    let nets = ["mobilenet-v3@224", "resnet50@224", "wide-resnet101@224"].map(net);
    let by_net = nets.each_ref().map(|net| gain(&[net]));
    above("less work, MobileNetV3", more(&by_net[0], &by_net[1]), 0.0);
    above("less work, ResNet-50", more(&by_net[1], &by_net[2]), 0.0);
    let clock = |clock: &str| gain(&[&format!("hosts.server.gpus.0.clock={clock}")]);
    above("faster GPU", more(&clock("2"), &clock("0.5")), 0.0);
}

#[test]
fn to_accelerate_the_inner_hop_alone_helps_already() {
    let proxied = |first: &str, second: &str| {
        let path = format!(
            r#"clients.0.path=[{{ to = "proxy", over = "{first}" }}, {{ to = "serve", over = "{second}" }}]"#
        );
        means(&[&[&path, GDR[1]]])
    };
    let slow = proxied("tcp", "tcp");
    let [inner_rdma, inner_gdr] =
        ["rdma", "gdr"].map(|second| saved(&slow, &proxied("tcp", second)));
    let both = saved(&slow, &proxied("rdma", "gdr"));
    above("TCP/RDMA", over(&inner_rdma), 0.0);
    above("TCP/GDR over TCP/RDMA", more(&inner_gdr, &inner_rdma), 0.0);
    above("RDMA/GDR over TCP/GDR", more(&both, &inner_gdr), 0.0);
    let third: Vec<f64> = both.iter().map(|both| both / 3.0).collect();
    above(
        "TCP/GDR over a third of RDMA/GDR",
        more(&inner_gdr, &third),
        0.0,
    );
}

#[test]
fn copies_bind_under_many_clients_and_gpudirect_lifts_that() {
    let gain = |clients: &[&str]| saved(&means(&[&RDMA, clients]), &means(&[&GDR, clients]));
    let (one, sixteen) = (gain(&[]), gain(&[SIXTEEN]));
    above("GDR saves of RDMA, one client", over(&one), 0.0);
    above("GDR saves of RDMA, sixteen", over(&sixteen), 0.1);
    above("sixteen more than one", more(&sixteen, &one), 0.0);
    // The engine says why: not the copy engine, but results copied on the default stream, for which all
    // other streams wait. Copied in their own stream, they cost next to nothing.
    let slow = means(&[&RDMA, &[SIXTEEN]]);
    let own = means(&[&RDMA, &[SIXTEEN, "stages.serve.gpu.d2h=stream"]]);
    let pinned = means(&[&RDMA, &[SIXTEEN, "stages.serve.gpu.host-memory=pinned"]]);
    above("an own stream saves", over(&saved(&slow, &own)), 0.1);
    above("… more than pinned memory", more(&pinned, &own), 0.0);
    let left = saved(&own, &means(&[&GDR, &[SIXTEEN]]));
    above(
        "what GDR saves beyond it is less",
        more(&sixteen, &left),
        0.1,
    );
}

/// By what part the first of sixteen clients is sooner with the highest priority.
fn by_priority(over: &[&str], net: &str) -> Vec<f64> {
    let transport = over[0].split('=').next_back().unwrap();
    let first = |priority: i32| {
        let path = format!(r#"path = [{{ to = "serve", over = "{transport}" }}]"#);
        let clients = format!(
            r#"clients=[{{ name = "first", on = "edge", arrivals = {{ closed-loop = {{}} }}, classes = [{{ name = "urgent", share = 1, stream-priority = {priority} }}], {path} }}, {{ name = "others", on = "edge", count = 15, arrivals = {{ closed-loop = {{}} }}, {path} }}]"#
        );
        let all = found(&[&clients, GDR[1], net]);
        let mean = all.iter().map(|one| one.groups["first"][&Metric::Mean]);
        mean.collect::<Vec<f64>>()
    };
    saved(&first(0), &first(-5))
}

#[test]
fn priority_helps_little_where_copies_bind() {
    for net in [net("resnet50@224"), YOLO.to_owned()] {
        let (rdma, gdr) = (by_priority(&RDMA, &net), by_priority(&GDR, &net));
        above("priority over GDR", over(&gdr), 0.6);
        above("… more than over RDMA", more(&gdr, &rdma), 0.2);
        // It is not that priority does nothing: kernels of the first go before all others still.
        above("priority over RDMA", over(&rdma), 0.0);
    }
}

#[test]
fn fewer_streams_trade_waiting_for_throughput() {
    // Small nets leave most of the GPU to others: one stream at a time wastes it.
    let streams = |n: &str, metric| {
        let streams = format!("stages.serve.gpu.streams={n}");
        values(
            &[&GDR, &[SIXTEEN, &net("mobilenet-v3@224"), &streams]],
            metric,
        )
    };
    let relative = |many: &[f64], few: &[f64]| saved(many, few);
    let rate = |n| streams(n, Metric::Throughput);
    let loss = relative(&rate("16"), &rate("1"));
    above("throughput that one stream loses", over(&loss), 0.2);
    // What a request takes in its stream is shortest with one: the others wait outside.
    let inside = |n: &str| {
        let streams = format!("stages.serve.gpu.streams={n}");
        let all = found(&[&GDR[..], &[SIXTEEN, &net("mobilenet-v3@224"), &streams]].concat());
        let inference = all.iter().map(|one| one.parts["inference"]);
        inference.collect::<Vec<f64>>()
    };
    let (one, many) = (inside("1"), inside("16"));
    above(
        "inference that one stream saves",
        over(&saved(&many, &one)),
        0.0,
    );
}

#[test]
fn modes_of_sharing_have_a_rank_under_load() {
    let mode = |mode: &str| {
        let gpu = format!("stages.serve.gpu={{ {mode} }}");
        means(&[&GDR, &[SIXTEEN, &net("mobilenet-v3@224"), &gpu]])
    };
    let [streams, turns, mps] =
        ["streams = 8", "processes = 8", "processes = 8, mps = {}"].map(mode);
    above("streams save of turns", over(&saved(&turns, &streams)), 0.1);
    above(
        "clients of MPS save of turns",
        over(&saved(&turns, &mps)),
        0.1,
    );
    // Without a copy on the default stream, MPS is as good as streams of one process.
    let apart = over(&saved(&streams, &mps));
    println!("MPS against streams: {apart:?}");
    assert!(apart.low > -0.05 && apart.high < 0.05, "{apart:?}");
}

/// The testbed as a server of today would be: sockets without a library, pinned memory, copies in their own
/// stream, polled completions.
const MODERN: [&str; 5] = [
    "hosts.edge.part=modern-host",
    "hosts.server.part=modern-host",
    "stages.serve.gpu.host-memory=pinned",
    "stages.serve.gpu.d2h=stream",
    "hosts.server.gpus.0.gdr-path=switch",
];

#[test]
fn batches_give_gpudirect_back_what_streams_of_their_own_take_from_it() {
    let net = net("mobilenet-v3@224");
    let gain = |serving: &[&str]| {
        let means = |path: &str| means(&[&MODERN, &[SIXTEEN, &net, path], serving]);
        let tcp = means("clients.0.path.0.over=tcp");
        let gdr = r#"clients.0.path.0={ to = "serve", over = "gdr", completion = "poll" }"#;
        saved(&tcp, &means(gdr))
    };
    let batched = [
        "stages.serve.gpu.streams=2",
        r#"stages.serve.batch={ max = 16, delay = "1 ms" }"#,
    ];
    let (streams, batches) = (gain(&[]), gain(&batched));
    above("GDR saves of batches", over(&batches), 0.05);
    above("more than of streams", more(&batches, &streams), 0.05);
    let in_streams = over(&streams);
    assert!(in_streams.high < 0.05, "{in_streams:?}");
    // The inputs of a batch are copied one after the other before any of them is computed on: a request
    // is in copies for much longer than the one of its own takes.
    let copies = |serving: &[&str]| -> Vec<f64> {
        let all = found(&[&MODERN[..], &[SIXTEEN, &net], &TCP, serving].concat());
        all.iter().map(|one| one.parts["h2d"]).collect()
    };
    let longer = saved(&copies(&batched), &copies(&[]));
    above("of copies in batches", over(&longer), 0.5);
}

#[test]
fn the_testbed_has_the_a2_of_its_own_profile() {
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/profiles");
    let load = |name: &str| Profile::load(&profiles.join(name)).unwrap();
    let (testbed, a2, nics) = (load("testbed.toml"), load("a2.toml"), load("nics.toml"));
    let (ours, theirs) = (&testbed.parts["testbed-a2"], &a2.parts["a2"]);
    assert_eq!(ours.parameters, theirs.parameters);
    for (name, law) in &ours.costs {
        assert_eq!(Some(law), theirs.costs.get(name), "{name}");
    }
    for (name, net) in &ours.nets {
        let same = &theirs.nets[name];
        assert_eq!(net.phases, same.phases, "{name}");
        assert!(
            net.held_out_error.total_cmp(&same.held_out_error).is_eq(),
            "{name}"
        );
        assert!(net.memory <= same.memory, "{name}");
    }
    let (ours, theirs) = (&testbed.parts["testbed-nic"], &nics.parts["cx5-25g"]);
    for (name, parameter) in &ours.parameters {
        let same = theirs.parameters[name].value;
        assert!(parameter.value.total_cmp(&same).is_eq(), "{name}");
    }
}

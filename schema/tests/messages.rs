//! What a user reads when a file is wrong: file, line, key, what was found, what is allowed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use schema::distribution::Distribution;
use schema::profile::Profile;
use schema::scenario::{ArrivalsFile, BatchFile, Extent, Scenario, ServeFile, to_toml};
use schema::units::{ByteRate, SimDuration};

const BASE: &str = r#"format = 1
name = "base"
run = { measure = { time = "1 s" } }
placement = { local = { pin = { edge = [0], gateway = [0], server = [1] } } }

[hosts]
edge = { part = "this", cores = 2 }
gateway = { part = "this", cores = 2 }
server = { part = "this", cores = 2 }

[[links]]
between = ["edge", "server"]
rate = "25 Gbit/s"
delay = "1 us"

[stages.ingress]
on = "edge"
proxy = {}

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

#[test]
fn the_base_is_valid_and_reads_back() {
    let scenario = parse(BASE, &[]).unwrap();
    let again = parse(&to_toml(scenario.file()), &[]).unwrap();
    assert_eq!(scenario.file(), again.file());
}

#[test]
fn unknown_names() {
    assert_snapshot!(message("arrivals =", "arivals ="), @"a.toml:26: `clients.0.arivals`: unknown key `arivals`, did you mean `arrivals`? (allowed: name, on, count, arrivals, classes, in-a-row, timeout, retry, path, reply-over)");
    assert_snapshot!(message("proxy = {}", "proxi = {}"), @"a.toml:18: `stages.ingress.proxi`: unknown key `proxi`, did you mean `proxy`? (allowed: on, serve, proxy, instances, batch, receive-threads, hand-back, steps, gpu, station, fork, join, balance, tokens, release, next)");
    assert_snapshot!(message("on = \"server\"", "on = \"sever\""), @"a.toml:21: `stages.classify.on`: there is no host `sever`, did you mean `server`? (allowed: edge, gateway, server)");
    assert_snapshot!(message("to = \"classify\"", "to = \"clasify\""), @"a.toml:27: `clients.0.path.0.to`: there is no stage `clasify`, did you mean `classify`? (allowed: classify, ingress)");
    assert_snapshot!(message("resnet50", "resnet5"), @"a.toml:22: `stages.classify.serve.net.name`: there is no net `resnet5`, did you mean `resnet50`? (allowed: deeplabv3-resnet50, efficientnet-b0, mobilenet-v3, mobilenet-v3-large, resnet18, resnet50, squeezenet1.1, wide-resnet101, yolov4)");
    assert_snapshot!(message("over = \"tcp\"", "over = \"tpc\""), @"a.toml:27: `clients.0.path.0.over`: unknown value `tpc`, did you mean `tcp`? (allowed: tcp, local, rdma, gdr)");
}

#[test]
fn sides_that_a_net_does_not_take() {
    let side = |net: &str, side: u32| {
        let text = format!("name = \"{net}\", side = {side}");
        message("name = \"resnet50\"", &text)
    };
    assert_snapshot!(side("resnet50", 31), @"a.toml:22: `stages.classify.serve.net.side`: must be from 32 to 4096 pixels, found 31");
    assert_snapshot!(side("deeplabv3-resnet50", 4097), @"a.toml:22: `stages.classify.serve.net.side`: must be from 32 to 4096 pixels, found 4097");
    assert_snapshot!(side("yolov4", 400), @"a.toml:22: `stages.classify.serve.net.side`: must be a multiple of 32 from 32 to 4096 pixels, found 400");
}

#[test]
fn wrong_quantities() {
    assert_snapshot!(message("25 Gbit/s", "25 ms"), @"a.toml:13: `links.0.rate`: `ms` is not a unit of data rate; units: bit/s, B/s, kbit/s, kB/s, Mbit/s, MB/s, Gbit/s, GB/s");
    assert_snapshot!(message("\"25 Gbit/s\"", "25"), @r#"a.toml:13: `links.0.rate`: invalid type: integer `25`, expected a data rate with a unit, such as "25 Gbit/s""#);
    assert_snapshot!(message("1 us", "1"), @r#"a.toml:14: `links.0.delay`: `1` lacks a unit, write for example "1 ms"; units: ps, ns, us, ms, s, min, h"#);
}

#[test]
fn wrong_graphs() {
    let path = "path = [{ to = \"classify\", over = \"tcp\" }]";
    let cycle =
        "path = [{ to = \"ingress\", over = \"tcp\" }, { to = \"ingress\", over = \"tcp\" }]";
    assert_snapshot!(message(path, cycle), @"a.toml:27: `clients.0.path.1.to`: the pipeline has a cycle: ingress -> ingress");
    let through =
        "path = [{ to = \"ingress\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]";
    let text = BASE
        .replacen("on = \"edge\"\nproxy", "on = \"gateway\"\nproxy", 1)
        .replacen(path, through, 1);
    assert_snapshot!(parse(&text, &[]).unwrap_err(), @"a.toml:27: `clients.0.path.0`: there is no link between `edge` and `gateway` (links: edge - server)");
    assert_snapshot!(message(path, "path = [{ to = \"ingress\", over = \"tcp\" }]"), @"a.toml:27: `clients.0.path.0.to`: a path must end at a stage that serves, or calls others in `steps`; `ingress` is a proxy");
}

#[test]
fn a_class_named_twice() {
    let class = "{ name = \"big\", share = 1.0 }";
    let classes = format!("path =\nclasses = [{class}, {class}]\npath =");
    assert_snapshot!(message("path =", &classes["path =\n".len()..]), @"a.toml:27: `clients.0.classes.1.name`: the group has a class `big` already");
}

#[test]
fn wrong_sizes_and_places() {
    assert_snapshot!(message("measure =", "rate-tolerance = 1.5, measure ="), @"a.toml:3: `run.rate-tolerance`: must be from 0 to 1, found 1.5");
    assert_snapshot!(message("time = \"1 s\"", "time = \"0 s\""), @"a.toml:3: `run.measure`: must be more than zero, found zero");
    let run = "run = { measure = { time = \"1 s\" } }";
    let mixed = "run = { warmup = { time = \"1 s\" }, measure = { requests = 5 } }";
    assert_snapshot!(message(run, mixed), @"a.toml:3: `run.warmup`: is given as `time` and `measure` as `requests`; both must be `requests`, or both `time`");
    assert_snapshot!(message("server = [1]", "server = [0, 1]"), @"a.toml:4: `placement.local.pin`: cores [0] (edge, gateway) and [0, 1] (server) overlap: two hosts must share all of their cores or none; a host that is not pinned has all");
    assert_snapshot!(message("server = [1]", "server = [7]"), @"a.toml:4: `placement.local.pin.server`: there is no core 7, host `server` has 2 (allowed: 0 to 1)");
    assert_snapshot!(message("format = 1", "format = 9"), @"a.toml:1: `format`: 9 is not known (allowed: 1)");
}

#[test]
fn wrong_overrides() {
    assert_snapshot!(parse(BASE, &["clients.0.count"]).unwrap_err(), @"--set clients.0.count: write it as key.path=value");
    assert_snapshot!(parse(BASE, &["clients.3.count=1"]).unwrap_err(), @"--set clients.3.count=1: `clients` is a list of 1, `3` is no index into it");
    assert_snapshot!(parse(BASE, &["clients.0.in-a-row=0.5"]).unwrap_err(), @"a.toml with --set clients.0.in-a-row=0.5: `clients.0.in-a-row`: is 0.5, and must be a number from 1");
    assert_snapshot!(parse(BASE, &["clients.0.cuont=1"]).unwrap_err(), @"a.toml with --set clients.0.cuont=1: `clients.0.cuont`: unknown key `cuont`, did you mean `count`? (allowed: name, on, count, arrivals, classes, in-a-row, timeout, retry, path, reply-over)");
    assert_snapshot!(parse(BASE, &["links.0.rate=fast"]).unwrap_err(), @r#"a.toml with --set links.0.rate=fast: `links.0.rate`: `fast` is not a number followed by a unit, such as "25 Gbit/s""#);
}

#[test]
fn overrides_change_one_thing() {
    let scenario = parse(BASE, &["links.0.rate=100 Gbit/s", "clients.0.count=8"]).unwrap();
    assert_eq!(scenario.clients.len(), 8);
    assert_eq!(scenario.links.rows()[0].rate, "100 Gbit/s".parse().ok());
}

#[test]
fn a_broken_profile() {
    let text = "format = 1\nname = \"p\"\n[parts.this]\nkind = \"hots\"\n";
    let error = Profile::parse(Path::new("p.toml"), text.to_owned()).unwrap_err();
    assert_snapshot!(error, @"p.toml:4: `parts.this.kind`: unknown value `hots`, did you mean `host`? (allowed: host, link, gpu, nic)");
}

#[test]
fn a_profile_of_another_format() {
    let text = "format = 3\nname = \"p\"\nparts = {}\n";
    let error = Profile::parse(Path::new("p.toml"), text.to_owned()).unwrap_err();
    assert_snapshot!(error, @"p.toml:1: `format`: 3 is not known (allowed: 1)");
}

const PLAIN: &str = r#"format = 1
name = "plain"
run = { measure = { time = "1 s" } }

[stages.gate]
tokens = { count = 8 }

[stages.spread]
balance = { policy = "random", to = ["counter", "office"] }

[stages.counter]
next = [{ to = "done", probability = 0.5 }]
[stages.counter.station]
service = { exponential = "1 ms" }

[stages.office]
station = { service = { constant = "1 ms" } }

[stages.split]
fork = { to = ["counter", "office"] }

[stages.done]
release = { to = "gate" }

[[clients]]
arrivals = { poisson = { rate = "800 /s" } }
classes = [{ name = "urgent", share = 1 }, { name = "usual", share = 4 }]
path = [{ to = "gate" }, { to = "counter" }]
"#;

/// The message for the scenario of plain stages with `from` replaced by `to`.
fn plain(from: &str, to: &str) -> String {
    assert!(PLAIN.contains(from), "{from}");
    parse(&PLAIN.replacen(from, to, 1), &[])
        .unwrap_err()
        .to_string()
}

/// The message where the station `counter` has these keys too.
fn station(keys: &str) -> String {
    let last = "service = { exponential = \"1 ms\" }\n";
    plain(last, &format!("{last}{keys}\n"))
}

/// The message where the clients arrive like this.
fn arrivals(process: &str) -> String {
    plain("{ poisson = { rate = \"800 /s\" } }", process)
}

#[test]
fn the_plain_base_is_valid_and_reads_back() {
    let scenario = parse(PLAIN, &[]).unwrap();
    let again = parse(&to_toml(scenario.file()), &[]).unwrap();
    assert_eq!(scenario.file(), again.file());
}

#[test]
fn a_stage_has_one_role() {
    let station = "station = { service = { constant = \"1 ms\" } }";
    assert_snapshot!(plain(station, "next = []"), @"a.toml:16: `stages.office`: must have one role, found none (allowed: serve, proxy, station, fork, join, balance, tokens, release)");
    assert_snapshot!(plain(station, &format!("{station}\njoin = {{}}")), @"a.toml:16: `stages.office`: must have one role, found `station` and `join` (allowed: serve, proxy, station, fork, join, balance, tokens, release)");
    assert_snapshot!(message("proxy = {}", &format!("proxy = {{}}\n{station}")), @"a.toml:16: `stages.ingress`: must have one role, found `proxy` and `station` (allowed: serve, proxy, station, fork, join, balance, tokens, release)");
    assert_snapshot!(message("proxy = {}", ""), @"a.toml:16: `stages.ingress`: must have one role, found none (allowed: serve, proxy, station, fork, join, balance, tokens, release)");
}

#[test]
fn plain_stages_and_others_do_not_mix() {
    let station = "station = { service = { constant = \"1 ms\" } }";
    assert_snapshot!(plain(station, "proxy = {}"), @"a.toml:16: `stages.office`: is not a plain stage as `counter` is; all stages of a scenario are plain, or none");
    assert_snapshot!(message("on = \"edge\"\nproxy = {}", station), @"a.toml:19: `stages.classify`: is not a plain stage as `ingress` is; all stages of a scenario are plain, or none");
    assert_snapshot!(plain(station, &format!("{station}\ninstances = 2")), @"a.toml:18: `stages.office.instances`: belongs to `serve`; a station has `servers` and a `batch` of its own, and no GPU");
    assert_snapshot!(plain(station, &format!("{station}\nbatch = {{ max = 2 }}")), @"a.toml:18: `stages.office.batch`: belongs to `serve`; a station has `servers` and a `batch` of its own, and no GPU");
    assert_snapshot!(message("proxy = {}", "proxy = {}\nnext = [{ to = \"classify\" }]"), @"a.toml:19: `stages.ingress.next`: only a plain stage has `next`; a path leads on from others");
    assert_snapshot!(plain("to = \"counter\" }]", "to = \"counter\", over = \"tcp\" }]"), @"a.toml:28: `clients.0.path.1.over`: no transport leads to a plain stage, found `tcp`; leave it out");
    assert_snapshot!(message(", over = \"tcp\"", ""), @"a.toml:27: `clients.0.path.0.over`: must be given, since the stage is not a plain one (allowed: tcp, local, rdma, gdr)");
    assert_snapshot!(message("on = \"edge\"\nproxy", "proxy"), @"a.toml:16: `stages.ingress.on`: must be given, since the stage is not a plain one (allowed: edge, gateway, server)");
    assert_snapshot!(message("on = \"edge\"\narrivals", "arrivals"), @"a.toml:24: `clients.0.on`: must be given, since the path is not of plain stages (allowed: edge, gateway, server)");
    assert_snapshot!(plain("share = 4 }", "share = 4, payload = \"1 kB\" }"), @"a.toml:27: `clients.0.classes.1.payload`: only a synthetic stage or a profiled net takes payloads of any size; those of others follow from their input, and a plain stage has none");
}

#[test]
fn unknown_names_of_plain_stages() {
    assert_snapshot!(plain("to = \"done\"", "to = \"doen\""), @"a.toml:12: `stages.counter.next.0.to`: there is no stage `doen`, did you mean `done`? (allowed: counter, done, gate, office, split, spread)");
    assert_snapshot!(plain("fork = { to = [\"counter\"", "fork = { to = [\"conter\""), @"a.toml:20: `stages.split.fork.to.0`: there is no stage `conter`, did you mean `counter`? (allowed: counter, done, gate, office, split, spread)");
    assert_snapshot!(plain("random\", to = [\"counter\"", "random\", to = [\"conter\""), @"a.toml:9: `stages.spread.balance.to.0`: there is no stage `conter`, did you mean `counter`? (allowed: counter, done, gate, office, split, spread)");
    assert_snapshot!(plain("release = { to = \"gate\"", "release = { to = \"gaet\""), @"a.toml:23: `stages.done.release.to`: there is no stage `gaet`, did you mean `gate`? (allowed: counter, done, gate, office, split, spread)");
    assert_snapshot!(plain("path = [{ to = \"gate\"", "path = [{ to = \"gaet\""), @"a.toml:28: `clients.0.path.0.to`: there is no stage `gaet`, did you mean `gate`? (allowed: counter, done, gate, office, split, spread)");
    assert_snapshot!(plain("policy = \"random\"", "policy = \"rndom\""), @"a.toml:9: `stages.spread.balance.policy`: unknown value `rndom`, did you mean `random`? (allowed: round-robin, random, least-outstanding, join-shortest-queue, power-of-two, weighted)");
    assert_snapshot!(plain("service = { exponential", "service = { exponental"), @"a.toml:14: `stages.counter.station.service`: unknown value `exponental`, did you mean `exponential`? (allowed: constant, exponential, uniform, normal, lognormal, gamma, erlang, weibull, pareto, hyperexponential, quantiles, shifted, truncated, mixture)");
    assert_snapshot!(station("discipline = \"fiffo\""), @"a.toml:15: `stages.counter.station.discipline`: unknown value `fiffo`, did you mean `fifo`? (allowed: fifo, lifo, preemptive-lifo, priority, preemptive-priority, ps, time-sliced, delay)");
    assert_snapshot!(station("services = { urgnt = { constant = \"1 ms\" } }"), @"a.toml:15: `stages.counter.station.services.urgnt`: no group of clients has a class `urgnt`, did you mean `urgent`? (allowed: urgent, usual)");
    assert_snapshot!(station("when-ful = \"block\""), @"a.toml:15: `stages.counter.station.when-ful`: unknown key `when-ful`, did you mean `when-full`? (allowed: servers, discipline, service, services, capacity, when-full, cap, limit, slice, switch, batch, patience, retry, breakdown)");
    assert_snapshot!(station("capacity = 4\nwhen-full = \"wait\""), @"a.toml:16: `stages.counter.station.when-full`: unknown value `wait` (allowed: reject, block)");
    assert_snapshot!(plain("service = { exponential = \"1 ms\" }", "servers = 2"), @"a.toml:13: `stages.counter.station`: missing field `service`");
}

#[test]
fn wrong_ways_between_plain_stages() {
    let next = "next = [{ to = \"done\", probability = 0.5 }]";
    let twice =
        "next = [{ to = \"done\", probability = 0.7 }, { to = \"office\", probability = 0.7 }]";
    assert_snapshot!(plain(next, twice), @"a.toml:12: `stages.counter.next.1.probability`: the probabilities up to here sum to 1.4, more than 1");
    assert_snapshot!(plain("probability = 0.5", "probability = 1.5"), @"a.toml:12: `stages.counter.next.0.probability`: the probabilities up to here sum to 1.5, more than 1");
    assert_snapshot!(plain("probability = 0.5", "probability = 0"), @"a.toml:12: `stages.counter.next.0.probability`: must be more than zero, found 0");
    assert_snapshot!(plain("fork = {", "next = [{ to = \"done\" }]\nfork = {"), @"a.toml:20: `stages.split.next`: a fork or a balancer has `to`, and no `next`; leave it out");
    assert_snapshot!(plain("balance = {", "next = [{ to = \"done\" }]\nbalance = {"), @"a.toml:9: `stages.spread.next`: a fork or a balancer has `to`, and no `next`; leave it out");
    assert_snapshot!(plain("fork = { to = [\"counter\", \"office\"] }", "fork = { to = [] }"), @"a.toml:20: `stages.split.fork.to`: must name at least one stage, found none");
    let long = format!("path = [{}", "{ to = \"office\" }, ".repeat(254));
    assert_snapshot!(plain("path = [", &long), @"a.toml:28: `clients.0.path`: must have at most 255 hops, found 256");
    assert_snapshot!(plain("path = [{ to = \"gate\" }, { to = \"counter\" }]", "path = []"), @"a.toml:28: `clients.0.path`: must have at least one hop, found none");
}

#[test]
fn wrong_balancers() {
    let balance = "balance = { policy = \"random\", to = [\"counter\", \"office\"] }";
    let with = |policy: &str| plain(balance, &format!("balance = {{ policy = {policy} }}"));
    assert_snapshot!(with("\"random\", to = []"), @"a.toml:9: `stages.spread.balance.to`: must name at least one stage, found none");
    assert_snapshot!(with("\"random\", to = [\"counter\", \"counter\"]"), @"a.toml:9: `stages.spread.balance.to.1`: `counter` is named twice");
    assert_snapshot!(with("\"random\", to = [\"counter\", \"split\"]"), @"a.toml:9: `stages.spread.balance.to.1`: `split` is no station; a balancer chooses among stations (allowed: counter, office)");
    assert_snapshot!(with("\"power-of-two\", to = [\"counter\"]"), @"a.toml:9: `stages.spread.balance.to`: must be at least two stations with the policy `power-of-two`, found one");
    assert_snapshot!(with("\"weighted\", to = [\"counter\", \"office\"]"), @"a.toml:9: `stages.spread.balance.weights`: must be one for each of the 2 stations, found 0");
    assert_snapshot!(with("\"weighted\", to = [\"counter\", \"office\"], weights = [1]"), @"a.toml:9: `stages.spread.balance.weights`: must be one for each of the 2 stations, found 1");
    assert_snapshot!(with("\"weighted\", to = [\"counter\", \"office\"], weights = [1, -2]"), @"a.toml:9: `stages.spread.balance.weights.1`: must be more than zero, found -2");
    assert_snapshot!(with("\"random\", to = [\"counter\", \"office\"], weights = [1, 2]"), @"a.toml:9: `stages.spread.balance.weights`: go only with the policy `weighted`, found `random`");
}

#[test]
fn wrong_tokens() {
    assert_snapshot!(plain("count = 8", "count = 0"), @"a.toml:6: `stages.gate.tokens.count`: must be at least what each request takes, 1; found 0");
    assert_snapshot!(plain("count = 8", "count = 8, take = 0"), @"a.toml:6: `stages.gate.tokens.take`: must be at least 1, found 0");
    assert_snapshot!(plain("count = 8", "count = 8, take = 9"), @"a.toml:6: `stages.gate.tokens.count`: must be at least what each request takes, 9; found 8");
    assert_snapshot!(plain("release = { to = \"gate\" }", "release = { to = \"office\" }"), @"a.toml:23: `stages.done.release.to`: `office` is no stage with `tokens` (allowed: gate)");
}

#[test]
fn options_of_other_disciplines() {
    assert_snapshot!(station("cap = 0.5"), @"a.toml:15: `stages.counter.station.cap`: does not go with the discipline `fifo` (allowed disciplines: ps)");
    assert_snapshot!(station("discipline = \"delay\"\nlimit = 4"), @"a.toml:16: `stages.counter.station.limit`: does not go with the discipline `delay` (allowed disciplines: ps)");
    assert_snapshot!(station("discipline = \"ps\"\nslice = \"1 ms\""), @"a.toml:16: `stages.counter.station.slice`: does not go with the discipline `ps` (allowed disciplines: time-sliced)");
    assert_snapshot!(station("discipline = \"ps\"\nswitch = \"1 us\""), @"a.toml:16: `stages.counter.station.switch`: does not go with the discipline `ps` (allowed disciplines: time-sliced)");
    assert_snapshot!(station("discipline = \"preemptive-priority\"\nbatch = { max = 2 }"), @"a.toml:16: `stages.counter.station.batch`: does not go with the discipline `preemptive-priority` (allowed disciplines: fifo, lifo, priority)");
    assert_snapshot!(station("discipline = \"delay\"\nservers = 3"), @"a.toml:16: `stages.counter.station.servers`: must not be given, since a `delay` has a server for each request, found 3");
    assert_snapshot!(station("discipline = \"delay\"\npatience = { constant = \"1 s\" }"), @"a.toml:16: `stages.counter.station.patience`: does not go with the discipline `delay` (allowed disciplines: any but delay)");
    assert_snapshot!(station("discipline = \"time-sliced\""), @"a.toml:13: `stages.counter.station.slice`: must be given, and more than zero, with `time-sliced`, found none");
    assert_snapshot!(station("discipline = \"time-sliced\"\nslice = \"0 ms\""), @"a.toml:16: `stages.counter.station.slice`: must be given, and more than zero, with `time-sliced`, found zero");
    assert_snapshot!(station("discipline = \"time-sliced\"\nslice = \"1 ms\"\nbreakdown = { up = { constant = \"1 s\" }, down = { constant = \"1 s\" } }"), @"a.toml:17: `stages.counter.station.breakdown`: does not go with the discipline `time-sliced` (allowed disciplines: fifo, lifo, priority)");
}

#[test]
fn wrong_values_of_stations() {
    assert_snapshot!(station("servers = 0"), @"a.toml:15: `stages.counter.station.servers`: must be at least 1, found 0");
    assert_snapshot!(station("capacity = 0"), @"a.toml:15: `stages.counter.station.capacity`: must be at least 1, found 0");
    assert_snapshot!(station("discipline = \"ps\"\ncap = 0"), @"a.toml:16: `stages.counter.station.cap`: must be more than zero, found 0");
    assert_snapshot!(station("discipline = \"ps\"\nlimit = 0"), @"a.toml:16: `stages.counter.station.limit`: must be at least 1, found 0");
    assert_snapshot!(station("batch = { max = 0 }"), @"a.toml:15: `stages.counter.station.batch.max`: must be at least 1, found 0");
    assert_snapshot!(station("when-full = \"block\""), @"a.toml:15: `stages.counter.station.when-full`: needs a `capacity`, without which the station is never full");
    assert_snapshot!(station("retry = { attempts = 2, backoff = { constant = \"1 s\" } }"), @"a.toml:15: `stages.counter.station.retry`: needs a `capacity` or a `patience`, without which nothing is retried");
    assert_snapshot!(station("capacity = 4\nretry = { attempts = 0, backoff = { constant = \"1 s\" } }"), @"a.toml:16: `stages.counter.station.retry.attempts`: must be at least 1, found 0");
    assert_snapshot!(station("capacity = 4\nretry = { attempts = 1, backoff = { constant = \"1 s\" }, factor = 0 }"), @"a.toml:16: `stages.counter.station.retry.factor`: must be more than zero, found 0");
    assert_snapshot!(station("breakdown = { up = { constant = \"0 s\" }, down = { constant = \"1 s\" } }"), @"a.toml:15: `stages.counter.station.breakdown.up`: must not always be zero: the server would never work");
    assert_snapshot!(station("services = { urgent = { gamma = { mean = \"1 ms\", cv = 0 } } }"), @"a.toml:15: `stages.counter.station.services.urgent.gamma.cv`: must be more than zero, found 0");
    assert_snapshot!(station("patience = { uniform = { from = \"2 s\", to = \"1 s\" } }"), @"a.toml:15: `stages.counter.station.patience.uniform.to`: `to` is 1 s and `from` is 2 s; `to` must not be less");
    assert_snapshot!(plain("{ exponential = \"1 ms\" }", "{ hyperexponential = { mean = \"1 ms\", cv = 0.5 } }"), @"a.toml:14: `stages.counter.station.service.hyperexponential.cv`: must be at least 1, found 0.5");
    assert_snapshot!(plain("{ exponential = \"1 ms\" }", "{ exponential = 1 }"), @r#"a.toml:14: `stages.counter.station.service.exponential`: invalid type: integer `1`, expected a time with a unit, such as "5 ms""#);
}

#[test]
fn priority_and_weight_of_classes() {
    let class = |keys: &str| {
        let classes = format!("classes = [{{ name = \"big\", share = 1, {keys} }}]\npath =");
        message("path =", &classes)
    };
    assert_snapshot!(class("priority = 1"), @"a.toml:27: `clients.0.classes.0.priority`: is only for paths over plain stages, found 1");
    assert_snapshot!(class("weight = 2.5"), @"a.toml:27: `clients.0.classes.0.weight`: is only for paths over plain stages, found 2.5");
    assert_snapshot!(plain("share = 4 }", "share = 4, weight = 0 }"), @"a.toml:27: `clients.0.classes.1.weight`: must be more than zero, found 0");
    assert_snapshot!(plain("share = 4 }", "share = 4, priority = 1000001 }"), @"a.toml:27: `clients.0.classes.1.priority`: must be at most 1000000, found 1000001");
    assert_snapshot!(plain("share = 4 }", "share = 4, priority = -1 }"), @"a.toml:27: `clients.0.classes.1.priority`: invalid value: integer `-1`, expected u32");
}

#[test]
fn wrong_arrivals() {
    assert_snapshot!(arrivals("{ poison = { rate = \"800 /s\" } }"), @"a.toml:26: `clients.0.arrivals`: unknown value `poison`, did you mean `poisson`? (allowed: closed-loop, poisson, deterministic, gamma, hyperexponential, renewal, markov-modulated, piecewise, replay, times)");
    assert_snapshot!(arrivals("{ poisson = { rate = \"2000000 k/s\" } }"), @"a.toml:26: `clients.0.arrivals.poisson.rate`: must be at most 1000000000 /s, found 2000000000 /s");
    assert_snapshot!(arrivals("{ poisson = { rate = \"8 /s\", connections = 0 } }"), @"a.toml:26: `clients.0.arrivals.poisson.connections`: must be at least 1, found 0");
    assert_snapshot!(arrivals("{ gamma = { rate = \"8 /s\", cv = 0.001 } }"), @"a.toml:26: `clients.0.arrivals.gamma.cv`: must be from 0.01 to 50, found 0.001");
    assert_snapshot!(arrivals("{ hyperexponential = { rate = \"8 /s\", cv = 0.5 } }"), @"a.toml:26: `clients.0.arrivals.hyperexponential.cv`: must be at least 1, found 0.5");
    assert_snapshot!(arrivals("{ renewal = { gap = { constant = \"0 s\" } } }"), @"a.toml:26: `clients.0.arrivals.renewal.gap`: must be more than zero at times, found always zero");
    assert_snapshot!(arrivals("{ renewal = { gap = { pareto = { scale = \"1 ms\", shape = 1 } } } }"), @"a.toml:26: `clients.0.arrivals.renewal.gap`: a gap could be more than 207 days, which does not fit the clock; put it into `renewal` with a gap that is `truncated`");
    assert_snapshot!(arrivals("{ markov-modulated = { states = [] } }"), @"a.toml:26: `clients.0.arrivals.markov-modulated.states`: must have at least one, found none");
    assert_snapshot!(arrivals("{ markov-modulated = { states = [{ mean-time = \"1 s\" }] } }"), @"a.toml:26: `clients.0.arrivals.markov-modulated.states`: at least one must have a `rate`, found none");
    assert_snapshot!(arrivals("{ piecewise = { pieces = [{ rate = \"8 /s\", for = \"0 s\" }] } }"), @"a.toml:26: `clients.0.arrivals.piecewise.pieces.0.for`: must be more than zero, found 0 ps");
    assert_snapshot!(arrivals("{ replay = { file = \"a.csv\", rate-factor = -1 } }"), @"a.toml:26: `clients.0.arrivals.replay.rate-factor`: must be more than zero, found -1");
    assert_snapshot!(arrivals("{ replay = { file = \"a.csv\", rate-factor = 2, rate = \"8 /s\" } }"), @"a.toml:26: `clients.0.arrivals.replay.rate-factor`: only one of `rate` and `rate-factor` may be given, found both");
    assert_snapshot!(arrivals("{ times = { at = [] } }"), @"a.toml:26: `clients.0.arrivals.times.at`: must have at least one, found none");
    assert_snapshot!(arrivals("{ times = { at = [\"0 us\", \"3 us\", \"2 us\"] } }"), @"a.toml:26: `clients.0.arrivals.times.at.2`: must not be less than the one before it, 3 us; found 2 us");
    assert_snapshot!(arrivals("{ times = { at = [\"0 us\"], connections = 0 } }"), @"a.toml:26: `clients.0.arrivals.times.connections`: must be at least 1, found 0");
    assert_snapshot!(arrivals("{ times = { at = [3] } }"), @r#"a.toml:26: `clients.0.arrivals.times.at.0`: invalid type: integer `3`, expected a time with a unit, such as "5 ms""#);
    assert_snapshot!(arrivals("{ times = [\"3 us\"] }"), @r#"a.toml:26: `clients.0.arrivals.times.0`: invalid type: string "3 us", expected a sequence"#);
    assert_snapshot!(arrivals("{ replay = { file = \"a.csv\", unit = \"min\" } }"), @"a.toml:26: `clients.0.arrivals.replay.unit`: unknown value `min` (allowed: s, ms, us, ns)");
}

#[test]
fn a_length_is_not_found() {
    assert_snapshot!(plain("measure = { time = \"1 s\" }", "measure = \"auto\""), @"a.toml:3: `run.measure`: only a warm-up can be `auto` (allowed: requests, time)");
    assert_snapshot!(plain("measure = { time = \"1 s\" }", "measure = \"aout\""), @"a.toml:3: `run.measure`: unknown value `aout`, did you mean `auto`? (allowed: requests, time, auto)");
}

proptest! {
    #[test]
    fn a_scenario_reads_back_what_it_wrote(
        seed in 0..=i64::MAX as u64,
        requests in 1u32..,
        count in 1u32..100,
        rate in 1u64..1_000_000_000_000,
        think in 1u64..1_000_000_000,
        max in 1u32..,
        weights in proptest::option::of(".{0,20}"),
        name in ".{0,20}",
    ) {
        let mut file = parse(BASE, &[]).unwrap().file().clone();
        file.name = name;
        file.run.seed = seed;
        file.run.measure = Extent::Requests(requests);
        file.clients[0].count = count;
        file.clients[0].arrivals = ArrivalsFile::ClosedLoop {
            think: Distribution::Exponential(SimDuration::from_ns(think)),
        };
        file.links[0].rate = ByteRate::from_bytes_per_s(rate);
        let stage = file.stages.get_mut("classify").unwrap();
        stage.batch = Some(BatchFile { max, delay: SimDuration::from_ps(think), preferred: Vec::new(), close: schema::scenario::BatchClose::AtStart });
        let Some(ServeFile::Net(net)) = &mut stage.serve else { unreachable!() };
        net.weights = weights;
        let read = Scenario::from_file(&file).unwrap();
        prop_assert_eq!(read.file(), &file);
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(text in ".{0,200}", at in 0usize..700, junk in ".{0,8}") {
        let _ = parse(&text, &[]);
        let _ = Profile::parse(Path::new("p.toml"), text);
        for base in [BASE, PLAIN] {
            let mut base = base.to_owned();
            let at = at.min(base.len());
            base.insert_str(at, &junk);
            let _ = parse(&base, &[]);
        }
    }
}

#[test]
fn profiles_read_together_have_each_part_once() {
    let dir = tempfile::tempdir().unwrap();
    let part = |name: &str, kind: &str| format!("[parts.{name}]\nkind = \"{kind}\"\n");
    let file = |name: &str, parts: &str| {
        let path = dir.path().join(format!("{name}.toml"));
        let text = format!("format = 1\nname = \"{name}\"\n{parts}");
        std::fs::write(&path, text).unwrap();
        path
    };
    let both = part("host", "host");
    let a = file("a", &format!("{both}{}", part("gpu", "gpu")));
    let b = file("b", &format!("{both}{}", part("nic", "nic")));
    let c = file(
        "c",
        &format!("{}{}", part("nic", "nic"), part("gpu", "link")),
    );
    assert_eq!(Profile::load_all(&[]).unwrap(), None);
    let all = Profile::load_all(&[a.clone(), b.clone()]).unwrap().unwrap();
    assert_eq!(all.name, "a+b");
    assert_eq!(all.parts.keys().collect::<Vec<_>>(), ["gpu", "host", "nic"]);
    let message = Profile::load_all(&[a, b, c]).unwrap_err().to_string();
    let message = message.replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(message, @"DIR/c.toml:5: `parts.gpu`: is another part than that of DIR/a.toml; give one of the two another name");
}

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
    assert_snapshot!(message("arrivals =", "arivals ="), @"a.toml:26: `clients.0.arivals`: unknown key `arivals`, did you mean `arrivals`? (allowed: name, on, count, arrivals, classes, path)");
    assert_snapshot!(message("proxy = {}", "proxi = {}"), @"a.toml:18: `stages.ingress.proxi`: unknown key `proxi`, did you mean `proxy`? (allowed: on, serve, proxy, instances, batch)");
    assert_snapshot!(message("on = \"server\"", "on = \"sever\""), @"a.toml:21: `stages.classify.on`: there is no host `sever`, did you mean `server`? (allowed: edge, gateway, server)");
    assert_snapshot!(message("to = \"classify\"", "to = \"clasify\""), @"a.toml:27: `clients.0.path.0.to`: there is no stage `clasify`, did you mean `classify`? (allowed: classify, ingress)");
    assert_snapshot!(message("resnet50", "resnet5"), @"a.toml:22: `stages.classify.serve.net.name`: there is no net `resnet5`, did you mean `resnet50`? (allowed: resnet18, resnet50, squeezenet1.1)");
    assert_snapshot!(message("over = \"tcp\"", "over = \"tpc\""), @"a.toml:27: `clients.0.path.0.over`: unknown value `tpc`, did you mean `tcp`? (allowed: tcp, local)");
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
    assert_snapshot!(message(path, "path = [{ to = \"ingress\", over = \"tcp\" }]"), @"a.toml:27: `clients.0.path.0.to`: a path must end at a stage that serves, `ingress` is a proxy");
}

#[test]
fn a_class_named_twice() {
    let class = "{ name = \"big\", share = 1.0 }";
    let classes = format!("path =\nclasses = [{class}, {class}]\npath =");
    assert_snapshot!(message("path =", &classes["path =\n".len()..]), @"a.toml:27: `clients.0.classes.1.name`: the group has a class `big` already");
}

#[test]
fn wrong_sizes_and_places() {
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
    assert_snapshot!(parse(BASE, &["clients.0.cuont=1"]).unwrap_err(), @"a.toml with --set clients.0.cuont=1: `clients.0.cuont`: unknown key `cuont`, did you mean `count`? (allowed: name, on, count, arrivals, classes, path)");
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
    assert_snapshot!(error, @"p.toml:4: `parts.this.kind`: unknown value `hots`, did you mean `host`? (allowed: host, link)");
}

#[test]
fn a_profile_of_another_format() {
    let text = "format = 3\nname = \"p\"\nparts = {}\n";
    let error = Profile::parse(Path::new("p.toml"), text.to_owned()).unwrap_err();
    assert_snapshot!(error, @"p.toml:1: `format`: 3 is not known (allowed: 1)");
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
        stage.batch = Some(BatchFile { max, delay: SimDuration::from_ps(think) });
        let Some(ServeFile::Net(net)) = &mut stage.serve else { unreachable!() };
        net.weights = weights;
        let read = Scenario::from_file(&file).unwrap();
        prop_assert_eq!(read.file(), &file);
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(text in ".{0,200}", at in 0usize..700, junk in ".{0,8}") {
        let _ = parse(&text, &[]);
        let _ = Profile::parse(Path::new("p.toml"), text);
        let mut base = BASE.to_owned();
        let at = at.min(base.len());
        base.insert_str(at, &junk);
        let _ = parse(&base, &[]);
    }
}

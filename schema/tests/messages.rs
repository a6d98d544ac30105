//! What a user reads when a file is wrong: file, line, key, what was found, what is allowed.

use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use schema::profile::Profile;
use schema::scenario::{Scenario, to_toml};

const BASE: &str = r#"format = 1
name = "base"
run = { measure = { time = "1 s" } }
placement = { local = { pin = { edge = [0], server = [1] } } }

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
    parse(&BASE.replacen(from, to, 1), &[]).unwrap_err().to_string()
}

#[test]
fn the_base_is_valid_and_reads_back() {
    let scenario = parse(BASE, &[]).unwrap();
    let again = parse(&to_toml(scenario.file()), &[]).unwrap();
    assert_eq!(scenario.file(), again.file());
}

#[test]
fn unknown_names() {
    assert_snapshot!(message("arrivals =", "arivals ="), @"");
    assert_snapshot!(message("proxy = {}", "proxi = {}"), @"");
    assert_snapshot!(message("on = \"server\"", "on = \"sever\""), @"");
    assert_snapshot!(message("to = \"classify\"", "to = \"clasify\""), @"");
    assert_snapshot!(message("resnet50", "resnet5"), @"");
    assert_snapshot!(message("over = \"tcp\"", "over = \"tpc\""), @"");
}

#[test]
fn wrong_quantities() {
    assert_snapshot!(message("25 Gbit/s", "25 ms"), @"");
    assert_snapshot!(message("\"25 Gbit/s\"", "25"), @"");
    assert_snapshot!(message("1 us", "1"), @"");
}

#[test]
fn wrong_graphs() {
    let path = "path = [{ to = \"classify\", over = \"tcp\" }]";
    let cycle = "path = [{ to = \"ingress\", over = \"tcp\" }, { to = \"ingress\", over = \"tcp\" }]";
    assert_snapshot!(message(path, cycle), @"");
    let through = "path = [{ to = \"ingress\", over = \"tcp\" }, { to = \"classify\", over = \"tcp\" }]";
    let text = BASE.replacen("on = \"edge\"\nproxy", "on = \"gateway\"\nproxy", 1).replacen(path, through, 1);
    assert_snapshot!(parse(&text, &[]).unwrap_err(), @"");
    assert_snapshot!(message(path, "path = [{ to = \"ingress\", over = \"tcp\" }]"), @"");
}

#[test]
fn wrong_sizes_and_places() {
    assert_snapshot!(message("time = \"1 s\"", "time = \"0 s\""), @"");
    let run = "run = { measure = { time = \"1 s\" } }";
    let mixed = "run = { warmup = { time = \"1 s\" }, measure = { requests = 5 } }";
    assert_snapshot!(message(run, mixed), @"");
    assert_snapshot!(message("server = [1]", "server = [0, 1]"), @"");
    assert_snapshot!(message("server = [1]", "server = [7]"), @"");
    assert_snapshot!(message("format = 1", "format = 9"), @"");
}

#[test]
fn wrong_overrides() {
    assert_snapshot!(parse(BASE, &["clients.0.count"]).unwrap_err(), @"");
    assert_snapshot!(parse(BASE, &["clients.3.count=1"]).unwrap_err(), @"");
    assert_snapshot!(parse(BASE, &["clients.0.cuont=1"]).unwrap_err(), @"");
    assert_snapshot!(parse(BASE, &["links.0.rate=fast"]).unwrap_err(), @"");
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
    assert_snapshot!(error, @"");
}

proptest! {
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

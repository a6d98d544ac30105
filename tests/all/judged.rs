//! `tandem judge`: points of studies measured and predicted. What is asserted is that all is there; how large
//! errors are is for a machine at rest.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::{PROXIED, said, tandem};

const STUDY: &str = r#"format = 1
name = "proxied"
about = ["What does a gateway add?"]
leaves-out = ["RDMA: it needs adapters"]
scenario = "../pipeline.toml"

[[factors]]
name = "clients"
keys = ["clients.0.count"]
values = [2]

[[factors]]
name = "over"
levels = [
    { label = "TCP", set = { "clients.0.path" = [{ to = "work", over = "tcp" }] } },
    { label = "TCP/TCP", set = { } },
]

[[figures]]
name = "saved"
draw = { savings = { x = "clients", lines = "over", metric = "mean", base = "TCP/TCP" } }
"#;

/// The same point as the other study's first.
const AGAIN: &str = r#"format = 1
name = "again"
scenario = "../pipeline.toml"
set = { "clients.0.path" = [{ to = "work", over = "tcp" }] }

[[factors]]
name = "clients"
keys = ["clients.0.count"]
values = [2]
"#;

fn judge(dir: &Path, options: &[&str]) -> Output {
    let mut command = tandem();
    command
        .arg("judge")
        .arg("--studies")
        .arg(dir.join("studies"));
    command.arg("--probe").arg(dir.join("probe.toml"));
    command.arg("-o").arg(dir.join("out"));
    command.args(["-q", "--rounds", "2", "--seconds", "0.15", "-r", "2"]);
    command.args(options).output().unwrap()
}

/// What each run directory has as its manifest.
fn manifests(dir: &Path) -> BTreeMap<String, String> {
    let runs = fs::read_dir(dir.join("out/runs")).unwrap();
    let manifests = runs.map(|entry| {
        let entry = entry.unwrap();
        let manifest = fs::read_to_string(entry.path().join("run.json")).unwrap();
        (entry.file_name().into_string().unwrap(), manifest)
    });
    manifests.collect()
}

#[test]
fn points_are_measured_and_predicted_and_a_run_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("studies")).unwrap();
    fs::write(dir.join("studies/1.toml"), STUDY).unwrap();
    fs::write(dir.join("studies/2.toml"), AGAIN).unwrap();
    fs::write(dir.join("pipeline.toml"), PROXIED).unwrap();
    let probe = PROXIED.replace("count = 2", "count = 1");
    fs::write(
        dir.join("probe.toml"),
        probe.replace("\"small\"", "\"probe\""),
    )
    .unwrap();

    let first = judge(dir, &["--json"]);
    assert!(first.status.success(), "{}", said(&first));
    let all: Value = serde_json::from_slice(&first.stdout).unwrap();
    let rows = all["rows"].as_array().unwrap();
    let named = rows.iter().map(|row| {
        let text = |key: &str| row[key].as_str().unwrap();
        format!("{}: {}, {}", text("dataset"), text("row"), text("metric"))
    });
    insta::assert_snapshot!(named.collect::<Vec<_>>().join("\n"), @r"
    proxied: clients 2, over TCP, mean
    proxied: clients 2, over TCP, p90
    proxied: clients 2, over TCP, throughput
    proxied: clients 2, over TCP/TCP, mean
    proxied: clients 2, over TCP/TCP, p90
    proxied: clients 2, over TCP/TCP, throughput
    proxied: clients 2, over TCP against TCP/TCP, mean-saved
    again: clients 2, mean
    again: clients 2, p90
    again: clients 2, throughput
    ");
    for row in rows {
        assert_eq!(row["held_out"], true);
        for key in [
            "measured",
            "measured_low",
            "measured_high",
            "predicted",
            "low",
            "high",
            "error",
            "noise",
        ] {
            assert!(row[key].is_f64(), "{key} of {row}");
        }
    }
    assert_eq!(all["conditions"]["rounds"], 2);
    assert_eq!(all["leaves_out"][0], "proxied: RDMA: it needs adapters");
    let kept = fs::read_to_string(dir.join("out/rows.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), all);

    // A point of two studies is measured once; the first again at the end of each round.
    let made = manifests(dir);
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "probe-1",
            "probe-2",
            "proxied-1-1",
            "proxied-1-2",
            "proxied-1-again-1",
            "proxied-1-again-2",
            "proxied-2-1",
            "proxied-2-2"
        ]
    );
    let page = fs::read_to_string(dir.join("out/report.html")).unwrap();
    assert!(page.contains("Measured time (ms)") && page.contains("rounds were steady"));
    assert!(dir.join("out/figures/proxied.csv").exists());
    let same = judge(dir, &["--json"]);
    assert_eq!(same.stdout, first.stdout, "{}", said(&same));
    // What was cut short is measured again, and nothing else.
    fs::remove_file(dir.join("out/runs/proxied-2-1/run.json")).unwrap();
    let more = judge(dir, &[]);
    assert!(more.status.success(), "{}", said(&more));
    assert!(said(&more).contains("rounds were steady"));
    assert!(said(&more).contains("proxied: RDMA: it needs adapters"));
    for (name, manifest) in manifests(dir) {
        assert_eq!(manifest == made[&name], name != "proxied-2-1", "{name}");
    }
}

#[test]
fn a_study_without_probes_measures_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("studies")).unwrap();
    let study = STUDY.replace("over = \"tcp\"", "over = \"rdma\"");
    fs::write(dir.join("studies/1.toml"), study).unwrap();
    let with_nic = |host: &str| format!("{host} = {{ part = \"this-machine\", cores = 2");
    let pipeline = ["edge", "server"]
        .into_iter()
        .fold(PROXIED.to_owned(), |text, host| {
            let host = with_nic(host);
            text.replace(&host, &format!("{host}, nic = {{ part = \"adapter\" }}"))
        });
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let mut command = tandem();
    command
        .args(["judge", "--studies"])
        .arg(dir.join("studies"));
    let output = command.arg("-o").arg(dir.join("out")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!dir.join("out").exists());
    insta::assert_snapshot!(said(&output).trim(), @"error: a study has hops over `rdma`, whose probes depend on the adapters; give all probes with --probe");
}

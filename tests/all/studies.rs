//! `tandem sweep`: grids of scenarios.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::SystemTime;

use crate::common::{said, tandem};

/// A small grid over an M/M/1.
const STUDY: &str = r#"format = 1
name = "small"
scenario = "mm1.toml"
replications = 3
set = { "run.measure" = { time = "5 s" }, "run.warmup" = { time = "0 s" } }

[[factors]]
name = "servers"
keys = ["stages.counter.station.servers"]
values = [1, 2]

[[factors]]
name = "rate"
keys = ["clients.0.arrivals"]
values = [{ poisson = { rate = "400 /s" } }, { poisson = { rate = "800 /s" } }]
"#;

/// A folder with the study `text` beside its scenario.
fn folder(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/stations/mm1.toml");
    fs::copy(scenario, dir.path().join("mm1.toml")).unwrap();
    fs::write(dir.path().join("study.toml"), text).unwrap();
    dir
}

fn sweep(dir: &Path, options: &[&str]) -> Output {
    let mut command: Command = tandem();
    command.arg("sweep").arg(dir.join("study.toml"));
    command.args(options).arg("-o").arg(dir.join("out"));
    command.output().unwrap()
}

/// The points by the name of their file: contents and time of writing.
fn points(dir: &Path) -> BTreeMap<String, (String, SystemTime)> {
    let files = fs::read_dir(dir.join("out/points")).unwrap();
    let files = files.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let written = entry.metadata().unwrap().modified().unwrap();
        (name, (fs::read_to_string(entry.path()).unwrap(), written))
    });
    files.collect()
}

#[test]
fn a_study_goes_on_where_it_was_stopped() {
    let dir = folder(STUDY);
    let first = sweep(dir.path(), &["-j", "1"]);
    assert!(first.status.success(), "{}", said(&first));
    let whole = points(dir.path());
    assert_eq!(whole.len(), 4);
    let table = fs::read(dir.path().join("out/table.csv")).unwrap();
    // One point is lost, and the write of another was cut short before it had its name.
    let lost = whole.keys().next().unwrap();
    let points_dir = dir.path().join("out/points");
    fs::remove_file(points_dir.join(lost)).unwrap();
    fs::write(points_dir.join("0.1.part"), "{").unwrap();
    fs::remove_file(dir.path().join("out/table.csv")).unwrap();
    let again = sweep(dir.path(), &["-j", "2"]);
    assert!(again.status.success(), "{}", said(&again));
    assert!(said(&again).contains("3 of 4 points are there already"));
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(fs::read(dir.path().join("out/table.csv")).unwrap(), table);
    let now = points(dir.path());
    for (name, (text, written)) in &whole {
        assert_eq!(now[name].0, *text);
        assert_eq!(now[name].1 == *written, name != lost, "{name}");
    }
}

#[test]
fn another_length_is_another_point() {
    let dir = folder(STUDY);
    sweep(dir.path(), &["-q"]);
    let longer = sweep(dir.path(), &["-q", "--set", "run.measure.time=6 s"]);
    assert!(longer.status.success(), "{}", said(&longer));
    assert_eq!(points(dir.path()).len(), 8);
}

#[test]
fn points_share_random_numbers() {
    let dir = folder(STUDY);
    let output = sweep(dir.path(), &["-q", "--json"]);
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = |point: usize| {
        let replications = all[point]["replications"].as_array().unwrap();
        let requests = replications.iter().map(|one| one["requests"].as_u64());
        requests.map(Option::unwrap).collect::<Vec<_>>()
    };
    // The same requests come, however many servers there are.
    assert_eq!(requests(0), requests(2));
    assert_eq!(requests(1), requests(3));
    assert_ne!(requests(0), requests(1));
}

#[test]
fn a_study_with_a_mistake_runs_nothing() {
    let dir = folder(&STUDY.replace("values = [1, 2]", "values = [1, 0]"));
    let output = sweep(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!dir.path().join("out").exists());
    let message = said(&output).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(message, @r#"error: point servers 0, rate { poisson = { rate = "400 /s" } }: DIR/mm1.toml with --set stages.counter.station.servers=0: `stages.counter.station.servers`: must be at least 1, found 0"#);
}

#[test]
fn a_point_that_cannot_be_simulated_is_in_the_table_and_the_others_are_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let text = format!(
        r#"format = 1
name = "parts"
scenario = "{0}/network/proxied.toml"
profiles = ["{0}/profiles/a2.toml", "{0}/profiles/nics.toml", "{0}/profiles/ethernet.toml"]
[[factors]]
name = "adapter"
keys = ["hosts.server.nic.part"]
values = ["cx5-25g", "nowhere", "cx6-200g"]
"#,
        root.display()
    );
    let dir = folder(&text);
    let output = sweep(dir.path(), &["-q"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("error: point adapter nowhere: "));
    let table = fs::read_to_string(dir.path().join("out/table.csv")).unwrap();
    let rows = table.lines().skip(1);
    let errors: Vec<bool> = rows
        .map(|row| row.contains("has no part `nowhere`"))
        .collect();
    assert_eq!(errors, [false, true, false], "{table}");
    assert_eq!(points(dir.path()).len(), 2);
}

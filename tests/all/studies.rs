//! `tandem sweep`: grids of scenarios.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::SystemTime;

use schema::comparison::Metric;
use schema::stats::Estimate;
use schema::study::{Intervals, PointResult};

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

/// Figures of [`STUDY`].
const FIGURES: &str = r#"
[[figures]]
name = "mean"
draw = { curves = { x = "servers", lines = "rate", metric = "mean" } }
"#;

fn reproduce(dir: &Path, options: &[&str]) -> Output {
    let mut command: Command = tandem();
    command
        .arg("reproduce")
        .arg("--studies")
        .arg(dir.join("studies"));
    command.args(options).arg("-o").arg(dir.join("out"));
    command.output().unwrap()
}

/// A folder with two studies in `studies`, one of which draws a figure.
fn studies() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/stations/mm1.toml");
    fs::copy(scenario, dir.path().join("mm1.toml")).unwrap();
    fs::create_dir(dir.path().join("studies")).unwrap();
    let text = STUDY.replace("\"mm1.toml\"", "\"../mm1.toml\"");
    let drawn = format!("{}{FIGURES}", text.replace("\"small\"", "\"drawn\""));
    fs::write(dir.path().join("studies/a.toml"), drawn).unwrap();
    fs::write(dir.path().join("studies/b.toml"), text).unwrap();
    dir
}

#[test]
fn studies_are_reproduced_on_one_page_with_their_figures() {
    let dir = studies();
    let output = reproduce(dir.path(), &["-q"]);
    assert!(output.status.success(), "{}", said(&output));
    let page = fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    for text in [
        "<h2>drawn</h2>",
        "<h2>small</h2>",
        "95% intervals of the mean",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("<svg").count(), 1);
    // Names of formats alone, nothing that would be loaded.
    let addresses = |of: &str| page.matches(of).count();
    assert_eq!(addresses("http"), addresses("http://www.w3.org/"));
    for ending in ["svg", "png", "csv"] {
        let figure = dir
            .path()
            .join("out/drawn/figures/mean")
            .with_extension(ending);
        assert!(figure.exists(), "{}", figure.display());
    }
    assert!(dir.path().join("out/small/table.csv").exists());
    // Nothing is simulated again, and the page is the same but for the time that it takes.
    let again = reproduce(dir.path(), &[]);
    assert!(
        said(&again).contains("4 of 4 points are there already"),
        "{}",
        said(&again)
    );
}

#[test]
fn one_study_is_reproduced_and_an_unknown_one_is_named() {
    let dir = studies();
    let output = reproduce(dir.path(), &["-q", "--only", "small"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(dir.path().join("out/small").exists() && !dir.path().join("out/drawn").exists());
    let output = reproduce(dir.path(), &["-q", "--only", "large"]);
    assert_eq!(output.status.code(), Some(2));
    let message = said(&output).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(message, @"error: `--only large`: there is no such study (allowed: studies, drawn, small)");
}

#[test]
fn what_was_measured_is_laid_beside_what_was_simulated() {
    let dir = studies();
    let text = r#"format = 1
name = "half"
scenario = "../mm1.toml"
replications = 2

[[factors]]
name = "load"
levels = [
    { label = "fitted", measured = { mean = "4 ms" } },
    { label = "held out", measured = { mean = "1 ms", throughput = "1000 /s" }, held-out = true },
]
"#;
    fs::create_dir(dir.path().join("validation")).unwrap();
    fs::write(dir.path().join("validation/half.toml"), text).unwrap();
    let folder = dir.path().join("validation").display().to_string();
    let options = ["-q", "--studies", &folder, "--only", "validation", "--json"];
    let output = reproduce(dir.path(), &options);
    assert!(output.status.success(), "{}", said(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = found["rows"].as_array().unwrap();
    let of = |row: &serde_json::Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let held_out = row["held_out"].as_bool().unwrap();
        format!(
            "{} {} {} {held_out} {}",
            text("dataset"),
            text("row"),
            text("metric"),
            row["measured"]
        )
    };
    let rows_of: Vec<String> = rows.iter().map(of).collect();
    insta::assert_snapshot!(rows_of.join("\n"), @r"
    half fitted mean false 0.004
    half held out mean true 0.001
    half held out throughput true 1000.0
    ");
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        let error = number("predicted") / number("measured") - 1.0;
        assert!((error - number("error")).abs() < 1e-12);
        assert!(number("low") <= number("predicted") && number("predicted") <= number("high"));
    }
    let page = fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    assert!(page.contains("2 figures held out: mean error"));
    assert!(page.contains("1 figures fitted to: mean error"));
    assert!(!page.contains("<h2>small</h2>"));
}

#[test]
fn figures_of_an_unknown_group_of_clients_are_refused() {
    let text = r#"format = 1
name = "groups"
scenario = "mm1.toml"
[[factors]]
name = "load"
levels = [{ label = "a", measured-groups = { others = { mean = "4 ms" } } }]
"#;
    let dir = folder(text);
    let output = sweep(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = said(&output).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(message, @"error: DIR/study.toml: `factors.0.levels.0.measured-groups.others`: DIR/mm1.toml has no such group of clients beside others (allowed: none: there is one group, whose figures are those of `measured`)");
}

#[test]
fn intervals_over_profiles_are_wide_and_their_differences_narrow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let text = format!(
        r#"format = 1
name = "uncertain"
scenario = "{0}/network/testbed.toml"
profiles = ["{0}/profiles/testbed.toml", "{0}/profiles/ethernet.toml"]
intervals = "profile"
replications = 8
[[factors]]
name = "transport"
keys = ["clients.0.path.0.over"]
values = ["tcp", "rdma"]
"#,
        root.display()
    );
    let dir = folder(&text);
    let output = sweep(dir.path(), &["-q", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let all: Vec<PointResult> = serde_json::from_slice(&output.stdout).unwrap();
    let [tcp, rdma] = &all[..] else {
        panic!("{all:?}");
    };
    let width = |e: Estimate| e.high - e.low;
    let (mean, by) = (Metric::Mean, Intervals::Profile);
    let alone = tcp.estimate(mean, by).unwrap();
    let less = rdma.less(tcp, mean, by).unwrap();
    // Every draw has another net, 0.6 to 1.5 times as long; of a pair both have the same.
    assert!(width(alone) > 0.2 * alone.value, "{alone:?}");
    assert!(width(less) < 0.5 * width(alone), "{less:?} {alone:?}");
    let same = sweep(dir.path(), &["-q", "--json", "-j", "2", "--seed", "1"]);
    assert_eq!(same.stdout, output.stdout);
}

#[test]
fn intervals_over_a_profile_need_one() {
    let dir = folder(&STUDY.replace(
        "replications = 3",
        "replications = 3\nintervals = \"profile\"",
    ));
    let output = sweep(dir.path(), &["-q"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(said(&output), @"error: intervals of a profile need one: give the study `profiles`, or -p");
}

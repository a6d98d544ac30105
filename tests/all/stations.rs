//! Scenarios of plain stages as a user runs them, and what other verbs make of their runs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use insta::assert_snapshot;
use schema::run::Run;
use schema::scenario::Extent;
use serde_json::Value;

use crate::common::{PROXIED, profile, said, scenario, tandem};

/// Lengths for tests that are about no figure.
const SHORT: &[&str] = &[
    "--set",
    "run.measure.time=2 s",
    "--set",
    "run.warmup.time=200 ms",
];

fn example(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/stations");
    folder.join(name)
}

fn simulate(scenario: &Path, out: &Path, extra: &[&str]) -> Output {
    let mut command = tandem();
    command.arg("simulate").arg(scenario).arg("-o").arg(out);
    command.args(extra).output().unwrap()
}

/// Simulates the M/M/1 example for a short time into `dir/run`.
fn short(dir: &Path, extra: &[&str]) -> PathBuf {
    let out = dir.join("run");
    let output = simulate(&example("mm1.toml"), &out, &[SHORT, extra].concat());
    assert!(output.status.success(), "{}", said(&output));
    out
}

/// A verb on a run, with its figures and files in `dir`.
fn verb(words: &[&str], run: &Path, dir: &Path) -> Output {
    let mut command = tandem();
    command.args(words).arg(run).current_dir(dir);
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Standard error of a command that ended with `code`, with `DIR` for the folder `dir`.
fn refusal(output: &Output, code: i32, dir: &Path) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    let message = String::from_utf8_lossy(&output.stderr);
    let examples = example("").display().to_string();
    let message = message.replace(&dir.display().to_string(), "DIR");
    message.replace(&examples, "STATIONS/").trim().to_owned()
}

/// The value of an estimate, which must lie in its interval.
fn value(estimate: &Value) -> f64 {
    let [value, low, high] = ["value", "low", "high"].map(|key| {
        let end = estimate[key].as_f64();
        end.unwrap_or_else(|| panic!("{estimate} has no {key}"))
    });
    assert!(low <= value && value <= high, "{estimate}");
    value
}

/// Asserts that `found` is within the fraction `by` of `expected`.
fn assert_near(what: &str, found: f64, expected: f64, by: f64) {
    let is_near = (found - expected).abs() <= by * expected;
    assert!(is_near, "{what}: {found} is not within {by} of {expected}");
}

#[test]
fn an_mm1_has_every_figure_and_is_near_theory() {
    let dir = tempfile::tempdir().unwrap();
    let extra = ["--json", "-r", "20"];
    let result = json(&simulate(&example("mm1.toml"), dir.path(), &extra));
    for part in [&result["stages"]["counter"], &result["system"]] {
        for time in ["sojourn", "waiting"] {
            for statistic in ["mean", "p50", "p90", "p95", "p99", "p999"] {
                value(&part[time][statistic]);
            }
        }
        assert!(part["n"].as_u64().unwrap() > 900_000, "{part}");
        for count in ["offered", "rejected", "reneged", "retried", "lost"] {
            assert!(part[count].is_u64(), "{part} has no {count}");
        }
        assert_eq!(part["rejected"], 0);
        // 20 times 60 s: the interval of the mean sojourn time is about 2% wide on each side.
        let mean = |key: &str| value(&part[key]["mean"]);
        assert_near("mean sojourn time", mean("sojourn"), 5e-3, 0.03);
        assert_near("mean waiting time", mean("waiting"), 4e-3, 0.04);
        assert_near("service time", value(&part["service"]), 1e-3, 0.005);
        let number = value(&part["number_in_system"]);
        assert_near("number in system", number, 4.0, 0.04);
        let throughput = value(&part["throughput"]);
        assert_near("throughput", throughput, 800.0, 0.005);
        // Exponential with a mean of 5 ms.
        let p99 = value(&part["sojourn"]["p99"]);
        assert_near("p99", p99, 5e-3 * 100f64.ln(), 0.06);
    }
    let busy = value(&result["stages"]["counter"]["utilization"]);
    assert_near("utilization", busy, 0.8, 0.01);
}

#[test]
fn the_example_of_everything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = ["run.warmup={ time = \"1 s\" }", "run.measure.time=20 s"];
    let extra = [
        "--json", "-r", "2", "--set", lengths[0], "--set", lengths[1],
    ];
    let output = simulate(&example("everything.toml"), dir.path(), &extra);
    let result = json(&output);
    let stages = result["stages"].as_object().unwrap();
    let names: Vec<&str> = stages.keys().map(String::as_str).collect();
    // All but those where nobody stays: a fork, a balancer and a release.
    let expected = [
        "archive",
        "counter-a",
        "counter-b",
        "counter-c",
        "desk",
        "door",
        "review",
        "stamp",
        "together",
        "walk",
    ];
    assert_eq!(names, expected);
    for (name, stage) in stages {
        assert!(stage["n"].as_u64().unwrap() > 100, "{name}: {stage}");
        assert!(value(&stage["throughput"]) > 1.0, "{name}: {stage}");
        assert_eq!(stage["classes"].as_object().unwrap().len(), 2, "{name}");
    }
    let read = Run::load(dir.path()).unwrap();
    assert_eq!(read.summary().stages.len(), expected.len());
}

#[test]
fn only_a_trace_that_was_asked_for_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let files = |run: &Path| -> Vec<String> {
        let entries = fs::read_dir(run).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let run = short(dir.path(), &["-r", "2"]);
    assert_eq!(files(&run), ["run.json", "summary.json"]);
    short(dir.path(), &["-r", "2", "--trace"]);
    assert_eq!(files(&run), ["run.json", "summary.json", "trace.parquet"]);
    assert!(Run::load(&run).unwrap().has_trace());
    let summary = || fs::read(run.join("summary.json")).unwrap();
    let traced = summary();
    // A trace changes no figure, and the next run does not leave it there.
    short(dir.path(), &["-r", "2"]);
    assert_eq!(files(&run), ["run.json", "summary.json"]);
    assert!(!Run::load(&run).unwrap().has_trace());
    assert!(summary() == traced, "a trace changes summary.json");
}

#[test]
fn equal_scenarios_give_equal_bytes_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let everything = example("everything.toml");
    for (out, threads) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let extra = [
            "--trace",
            "-r",
            "3",
            "-j",
            threads,
            "--set",
            "run.warmup={ time = \"1 s\" }",
            "--set",
            "run.measure.time=3 s",
        ];
        let output = simulate(&everything, &dir.path().join(out), &extra);
        assert!(output.status.success(), "{}", said(&output));
    }
    for file in ["run.json", "summary.json", "trace.parquet"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("a") == read("b"), "{file} differs between two runs");
        let is_same = read("a") == read("c");
        assert!(is_same, "{file} differs between 1 and 2 threads");
    }
}

#[test]
fn a_run_in_which_no_request_counts_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = short(dir.path(), &["-r", "2"]);
    let output = simulate(
        &example("mm1.toml"),
        &run,
        &["-r", "2", "--set", "run.measure.time=1 ns"],
    );
    assert_snapshot!(refusal(&output, 0, dir.path()), @"warning: no request counts: measure longer");
    assert_eq!(Run::load(&run).unwrap().summary().requests, 0);
    let output = verb(&["plot", "breakdown"], &run, dir.path());
    assert_snapshot!(refusal(&output, 1, dir.path()), @"error: draw figure `breakdown`: the simulated mean time of `queue` of `mm1` is NaN");
}

#[test]
fn figures_of_runs_with_and_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let run = short(dir.path(), &["-r", "2"]);
    for kind in ["load", "breakdown"] {
        let output = verb(&["plot", kind], &run, dir.path());
        assert!(output.status.success(), "{}", said(&output));
    }
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(read("load.csv").contains("\n800,simulated,mean,s,"));
    for part in ["queue", "service", "end-to-end"] {
        let row = format!("\nmm1,simulated,{part},0.00");
        assert!(read("breakdown.csv").contains(&row), "{part}");
    }
    let output = verb(&["plot", "cdf"], &run, dir.path());
    assert_snapshot!(refusal(&output, 1, dir.path()), @"error: run `DIR/run` has kept no requests, which `cdf` draws; simulate it again with --trace");
    let output = verb(&["plot", "gantt"], &run, dir.path());
    assert_snapshot!(refusal(&output, 1, dir.path()), @"error: run `DIR/run` has kept no requests, which `gantt` draws; simulate it again with --trace");
    let output = verb(&["export", "--chrome"], &run, dir.path());
    assert_snapshot!(refusal(&output, 1, dir.path()), @"error: run `DIR/run` has kept no requests, which `export` writes; simulate it again with --trace");
    short(dir.path(), &["-r", "2", "--trace"]);
    let output = verb(&["plot", "cdf"], &run, dir.path());
    assert!(output.status.success(), "{}", said(&output));
    assert!(read("cdf.csv").contains("\nmm1,simulated,"));
    let window = ["plot", "gantt", "--from", "500 ms", "--to", "540 ms"];
    let output = verb(&window, &run, dir.path());
    assert!(output.status.success(), "{}", said(&output));
    assert!(read("gantt.csv").contains("\nstations,,counter,0,service,service,counter,,"));
}

#[test]
fn replications_go_on_until_a_metric_is_precise() {
    let dir = tempfile::tempdir().unwrap();
    let until = |extra: &[&str]| {
        let run = dir.path().join("run");
        let output = simulate(&example("mm1.toml"), &run, &[SHORT, extra].concat());
        (output, Run::load(&run).unwrap().manifest.replications)
    };
    let (output, n) = until(&["-r", "5", "--until", "mean ±5%"]);
    let summary = json(&until(&["-r", "5", "--until", "mean ±5%", "--json"]).0);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mean = &summary["end_to_end"]["mean"];
    let half = (mean["high"].as_f64().unwrap() - mean["low"].as_f64().unwrap()) / 2.0;
    assert!(half <= 0.05 * value(mean), "{mean}");
    assert!((6..200).contains(&n), "{n}");
    assert!(said(&output).contains(&format!("after {n} replications")));

    let (output, n) = until(&["--until", "p99 ±0.1%", "--max-replications", "12"]);
    assert_eq!(n, 12);
    let message = refusal(&output, 1, dir.path());
    let most = "only after 12 replications, the most allowed";
    assert!(
        message.starts_with("p99 is within ±") && message.contains(most),
        "{message}"
    );
    // No more than that either where more would be the start.
    let (output, n) = until(&["--until", "p99 ±0.1%", "--max-replications", "2"]);
    assert_eq!((output.status.code(), n), (Some(1), 2), "{}", said(&output));

    let wrong = simulate(&example("mm1.toml"), dir.path(), &["--until", "p98 ±2%"]);
    let message = refusal(&wrong, 2, dir.path());
    assert_snapshot!(message.lines().next().unwrap(), @"error: invalid value 'p98 ±2%' for '--until <METRIC ±PERCENT>': `p98 ±2%` is no precision: write a metric and its half-width in percent, such as 'p99 ±2%' (metrics: mean, p50, p90, p99, throughput)");
}

#[test]
fn a_warm_up_is_found_and_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = [
        "run.measure={ time = \"4 s\" }",
        "run.measure={ requests = 4000 }",
    ];
    for length in lengths {
        let extra = ["-r", "2", "--set", "run.warmup=auto", "--set", length];
        let output = simulate(&example("mm1.toml"), dir.path(), &extra);
        assert!(output.status.success(), "{}", said(&output));
        let file = Run::load(dir.path()).unwrap().manifest.scenario;
        let found = file.run.warmup;
        assert_ne!(found, Extent::Auto);
        assert_eq!(found.kind(), file.run.measure.kind());
        let stated = match found {
            Extent::Requests(n) => format!("warm-up: {n} requests"),
            Extent::Time(time) => format!("warm-up: {time}"),
            Extent::Auto => unreachable!(),
        };
        assert!(said(&output).contains(&stated), "{}", said(&output));
    }
    let lengths = ["run.warmup=auto", "run.measure.time=10 ms"];
    let extra = ["--set", lengths[0], "--set", lengths[1]];
    let output = simulate(&example("mm1.toml"), dir.path(), &extra);
    assert_snapshot!(refusal(&output, 1, dir.path()), @"error: STATIONS/mm1.toml with --set run.warmup=auto: `run.warmup`: the initial transient does not end within half of a pilot run of 6 requests; measure longer, or give a warm-up; if the load is more than can be served it never ends");
}

#[test]
fn a_comparison_has_every_metric_with_its_gain() {
    let dir = tempfile::tempdir().unwrap();
    let compare = |extra: &[&str]| {
        let slower = "stages.counter.station.service={ exponential = \"1.03 ms\" }";
        let mut command = tandem();
        command.arg("compare").arg(example("mm1.toml")).args(SHORT);
        command
            .args(["-r", "6", "--set-second", slower])
            .args(extra);
        command.current_dir(dir.path()).output().unwrap()
    };
    let rows = json(&compare(&["--json"]));
    let rows = rows.as_array().unwrap();
    let metrics: Vec<&str> = rows.iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["mean", "p50", "p90", "p99", "throughput"]);
    for row in rows {
        let values = ["first", "second", "difference"].map(|key| value(&row[key]));
        let [first, second, difference] = values;
        assert!((second - first - difference).abs() < 1e-9 * second, "{row}");
        assert!(row["gain"].as_f64().unwrap() > 1.0, "{row}");
        let unit = if row["metric"] == "throughput" {
            "1/s"
        } else {
            "s"
        };
        assert_eq!(row["unit"], unit);
    }
    assert!(rows[0]["difference"]["low"].as_f64().unwrap() > 0.0);
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    let output = compare(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("mean [ms]") && table.contains("gain"),
        "{table}"
    );
    assert_eq!(compare(&["-j", "1"]).stdout, compare(&["-j", "2"]).stdout);
}

#[test]
fn a_trace_of_arrivals_lies_next_to_its_scenario() {
    let dir = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (dir.path().join("here"), dir.path().join("elsewhere"));
    for folder in [&here, &elsewhere] {
        fs::create_dir(folder).unwrap();
    }
    let text = fs::read_to_string(example("mm1.toml")).unwrap();
    let poisson = "poisson = { rate = \"800 /s\" }";
    assert!(text.contains(poisson));
    let replay = "replay = { file = \"times.csv\", unit = \"ms\", repeat = true }";
    let path = scenario(&here, &text.replace(poisson, replay));
    let times = here.join("times.csv");
    fs::write(&times, "at\n0\n1\n1.5\n4\n").unwrap();
    let run = dir.path().join("run");
    let again = |scenario: &Path, extra: &[&str]| {
        let mut command = tandem();
        command.args(["simulate", "-q", "-r", "2"]).arg(scenario);
        command.arg("-o").arg(&run).args(SHORT).args(extra);
        command.current_dir(&elsewhere).output().unwrap()
    };
    for scenario in [path.as_path(), Path::new("../here/scenario.toml")] {
        let output = again(scenario, &[]);
        assert!(output.status.success(), "{}", said(&output));
    }
    let manifest = Run::load(&run).unwrap().manifest;
    assert_eq!(manifest.inputs.len(), 2, "{:?}", manifest.inputs);
    assert!(manifest.inputs.contains_key("../here/times.csv"));

    // The run needs the trace no more, but does not know its rate.
    fs::remove_file(&times).unwrap();
    let output = verb(&["plot", "breakdown"], &run, dir.path());
    assert!(output.status.success(), "{}", said(&output));
    let output = verb(&["plot", "load"], &run, dir.path());
    assert_snapshot!(refusal(&output, 1, dir.path()), @"error: the load of run `DIR/run` is not known: some of its clients replay a trace at its own rate, or have gaps without a mean; give the trace a `rate`");
    let output = again(&path, &[]);
    assert_snapshot!(refusal(&output, 2, dir.path()), @"error: failed to read DIR/here/times.csv: No such file or directory (os error 2)");
    fs::write(&times, "at\n0\n1\n0.5\n").unwrap();
    let output = again(&path, &[]);
    assert_snapshot!(refusal(&output, 2, dir.path()), @"error: DIR/here/times.csv:4: `at`: must not be less than `1` in line 3, found `0.5`");

    fs::write(&times, "at\n0\n1\n1.5\n4\n").unwrap();
    let output = again(&path, &["--set", "clients.0.arrivals.replay.rate=500 /s"]);
    assert!(output.status.success(), "{}", said(&output));
    fs::remove_file(&times).unwrap();
    let output = verb(&["plot", "load"], &run, dir.path());
    assert!(output.status.success(), "{}", said(&output));
    let load = fs::read_to_string(dir.path().join("load.csv")).unwrap();
    assert!(load.contains("\n500,simulated,"), "{load}");
}

#[test]
fn hardware_refuses_plain_stages() {
    let dir = tempfile::tempdir().unwrap();
    let output = verb(&["measure", "-q"], &example("mm1.toml"), dir.path());
    assert_snapshot!(refusal(&output, 2, dir.path()), @"error: STATIONS/mm1.toml:10: `stages`: plain stages are for the engine, see `tandem simulate`");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[test]
fn stages_on_hosts_need_a_profile() {
    let dir = tempfile::tempdir().unwrap();
    let path = scenario(dir.path(), PROXIED);
    let without = |word| refusal(&verb(&[word], &path, dir.path()), 2, dir.path());
    assert_snapshot!(without("simulate"), @"error: the scenario has stages on hosts, whose costs are in a profile: give one");
    assert_eq!(without("simulate"), without("compare"));
}

#[test]
fn plain_stages_are_not_fitted_and_not_validated() {
    let dir = tempfile::tempdir().unwrap();
    let profile_path = dir.path().join("profile.toml");
    profile().save(&profile_path).unwrap();
    let run = short(dir.path(), &["-r", "2"]);
    let fit = || {
        let output = verb(&["calibrate", "-q", "-o", "fitted.toml"], &run, dir.path());
        assert!(!dir.path().join("fitted.toml").exists());
        refusal(&output, 1, dir.path())
    };
    let compare = || {
        let output = verb(&["validate", "-q", "-p", "profile.toml"], &run, dir.path());
        refusal(&output, 1, dir.path())
    };
    let without = (fit(), compare());
    assert_snapshot!(without.0, @"error: fit a profile: DIR/run is of plain stages, whose times are given by the scenario, so there is nothing to fit; leave it out");
    assert_snapshot!(without.1, @"error: DIR/run is a simulated run; only a measured one can be validated");
    short(dir.path(), &["-r", "2", "--trace"]);
    assert_eq!((fit(), compare()), without);
}

#[test]
fn a_report_shows_runs_with_and_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let mm1 = example("mm1.toml");
    let page = || {
        let output = verb(&["report"], dir.path(), dir.path());
        assert!(output.status.success(), "{}", said(&output));
        fs::read_to_string(dir.path().join("report.html")).unwrap()
    };
    for (name, extra) in [("short", &[][..]), ("traced", &["--trace"])] {
        let out = dir.path().join(name);
        let output = simulate(&mm1, &out, &[SHORT, &["-r", "2"], extra].concat());
        assert!(output.status.success(), "{}", said(&output));
        let page = page();
        assert!(page.contains("`short` kept statistics only"), "{page}");
        assert!(page.contains(name) && page.contains("<svg"));
        let has_curve = page.contains("Distribution of the end-to-end time");
        assert_eq!(has_curve, name == "traced");
    }
}

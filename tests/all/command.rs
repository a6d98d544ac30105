//! The command as a user runs it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::common::{PROXIED, profile, said, scenario, tandem};
use schema::run::{Run, RunKind, SpanName, Status};

/// Measures `text` with the overrides, and reads the run back.
fn measure(text: &str, overrides: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tandem();
    command
        .args(["measure", "-q"])
        .arg(scenario(dir.path(), text));
    command.arg("-o").arg(dir.path().join("run"));
    for item in overrides {
        command.args(["--set", item]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Run::load(&dir.path().join("run")).unwrap()
}

/// Names of the spans of each request, sorted.
fn names(run: &Run) -> Vec<Vec<&'static str>> {
    let mut requests: BTreeMap<_, Vec<&'static str>> = BTreeMap::new();
    for span in &run.trace {
        assert!(
            span.ready_ns <= span.start_ns && span.start_ns <= span.end_ns,
            "{span:?}"
        );
        assert_eq!(span.status, Status::Ok);
        requests
            .entry(span.request)
            .or_default()
            .push(span.name.name());
    }
    requests
        .into_values()
        .map(|mut names| {
            names.sort_unstable();
            names
        })
        .collect()
}

#[test]
fn every_span_of_every_request_is_recorded_through_a_proxy() {
    let run = measure(PROXIED, &[]);
    assert_eq!(run.manifest.kind, RunKind::Measured);
    let names = names(&run);
    assert_eq!(names.len(), 40);
    let mut expected = vec![
        "d2h",
        "h2d",
        "inference",
        "postprocess",
        "prepare",
        "queue",
        "request",
    ];
    expected.extend(["receive"; 4]);
    expected.extend(["send"; 4]);
    expected.extend(["translate"; 2]);
    expected.extend(["wire"; 4]);
    expected.sort_unstable();
    for found in names {
        assert_eq!(found, expected);
    }
    let summary = run.summary();
    assert!(summary.cpu.is_some_and(|cores| cores > 0.0));
}

#[test]
fn shared_memory_carries_requests_too() {
    let run = measure(
        PROXIED,
        &["clients.0.path=[{ to = \"work\", over = \"local\" }]"],
    );
    assert_eq!(names(&run).len(), 40);
}

#[test]
fn a_net_takes_raw_pixels() {
    let net = "stages.work.serve={ net = { name = \"squeezenet1.1\", side = 64, input = { raw = { width = 80, height = 60 } } } }";
    let run = measure(PROXIED, &[net, "run.measure.requests=3"]);
    let preprocess = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Preprocess);
    assert_eq!(preprocess.count(), 6);
    let request = run
        .trace
        .iter()
        .find(|span| span.name == SpanName::Request)
        .unwrap();
    assert_eq!(request.bytes, 3 * 80 * 60);
}

#[test]
fn requests_that_wait_are_put_into_batches() {
    let run = measure(
        PROXIED,
        &[
            "clients.0.count=4",
            "stages.work.batch={ max = 4, delay = \"20 ms\" }",
        ],
    );
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for span in run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Inference)
    {
        *sizes.entry(span.batch).or_default() += 1;
    }
    assert!(sizes.values().all(|size| *size <= 4));
    assert!(sizes.values().any(|size| *size > 1), "{sizes:?}");
    assert_eq!(sizes.values().sum::<usize>(), 80);
}

#[test]
fn an_open_loop_is_timed_from_when_it_meant_to_send() {
    // Arrivals every 5 ms, one connection, 10 ms each: request k waits for about k times 5 ms.
    let run = measure(
        PROXIED,
        &[
            "clients.0.count=1",
            "clients.0.arrivals={ deterministic = { rate = \"200 /s\", connections = 1 } }",
            "stages.work.serve.synthetic.time=10 ms",
        ],
    );
    let last = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request)
        .max_by_key(|s| s.request);
    let last = last.unwrap();
    assert!(last.length_s() > 0.05, "{last:?}");
    assert!(last.start_ns > last.ready_ns);
}

#[test]
fn requests_are_sent_at_given_times_even_at_once() {
    let run = measure(
        PROXIED,
        &["clients.0.arrivals={ times = { at = [\"0 ms\", \"0 ms\", \"30 ms\"] } }"],
    );
    let requests = run.trace.iter().filter(|s| s.name == SpanName::Request);
    let mut sent: Vec<_> = requests.map(|s| (s.request.seq(), s.ready_ns)).collect();
    sent.sort_unstable();
    // Both clients; the dates count from the start that they have in common.
    let expected = [0, 0, 30_000_000].into_iter().zip(0..);
    let expected: Vec<_> = expected.flat_map(|(at, seq)| [(seq, at); 2]).collect();
    assert_eq!(sent, expected);
}

#[test]
fn hosts_may_be_network_namespaces() {
    if let Some(problem) = realrun::launch::netns_problem() {
        eprintln!("skipped: {problem}");
        return;
    }
    let run = measure(
        PROXIED,
        &[
            "placement={ netns = {} }",
            "links.0={ between = [\"edge\", \"gateway\"], rate = \"100 Mbit/s\" }",
            "stages.work.serve.synthetic.input=602112 B",
            "clients.0.count=1",
            "clients.0.arrivals={ closed-loop = { think = { constant = \"30 ms\" } } }",
            "run.measure.requests=40",
        ],
    );
    let whole = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request);
    // 602,112 B at 100 Mbit/s are 48 ms, less one burst of the token bucket (125 kB, 10 ms).
    assert!(whole.clone().all(|span| span.length_s() > 0.037));
    assert_eq!(whole.clone().count(), 40);
    // DEVIATIONS.md: the engine has the rate without the burst, and would take 48 ms for each; the
    // client thinks for as long as the bucket needs to fill. The shortest is the least disturbed.
    let shortest = whole.map(|span| span.length_s()).min_by(f64::total_cmp);
    assert!(shortest.unwrap() < 0.046, "{shortest:?}");
}

#[test]
fn what_this_machine_does_not_enforce_is_a_warning() {
    let slow = "links=[
        { between = [\"edge\", \"gateway\"], rate = \"1 kB/s\", delay = \"10 s\" },
        { between = [\"gateway\", \"server\"], part = \"loopback\" },
    ]";
    let run = measure(PROXIED, &[slow]);
    assert!(run.summary().end_to_end.mean.value < 1.0);
    insta::assert_snapshot!(run.manifest.warnings.join("\n"), @r#"
    links: their rates are not enforced with placement `local`; use `netns`
    links: their delays are not enforced, this machine adds none
    "#);
}

fn simulate(dir: &Path, out: &str, extra: &[&str]) -> std::process::Output {
    profile().save(&dir.join("profile.toml")).unwrap();
    let mut command = tandem();
    command.args(["simulate", "-q"]).arg(scenario(dir, PROXIED));
    command
        .arg("-p")
        .arg(dir.join("profile.toml"))
        .arg("-o")
        .arg(dir.join(out))
        .args(extra);
    command.output().unwrap()
}

#[test]
fn equal_inputs_give_equal_bytes_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    for (out, threads) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let output = simulate(dir.path(), out, &["-j", threads]);
        assert!(output.status.success(), "{}", said(&output));
    }
    for file in ["run.json", "trace.parquet", "summary.json"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("a") == read("b"), "{file} differs between two runs");
        assert!(
            read("a") == read("c"),
            "{file} differs between 1 and 2 threads"
        );
    }
}

/// A verb on the simulated run `a` in `dir`, which is also where it works.
fn on_simulated(dir: &Path, words: &[&str]) -> std::process::Output {
    let mut command = tandem();
    command.args(words).arg("a").current_dir(dir);
    command.output().unwrap()
}

#[test]
fn a_timeline_is_drawn_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let output = simulate(dir.path(), "a", &["-r", "2"]);
    assert!(output.status.success(), "{}", said(&output));
    let output = on_simulated(dir.path(), &["plot", "gantt", "--requests", "4", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = ["./gantt.svg", "./gantt.png", "./gantt.csv"];
    assert_eq!(files, serde_json::json!({ "files": expected }));
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let few = read("gantt.csv");
    assert!(
        few.contains("\nserver,,work,0,inference,inference,work,"),
        "{few}"
    );
    let words = ["plot", "gantt", "--all", "--replication", "1"];
    let output = on_simulated(dir.path(), &words);
    assert!(output.status.success(), "{}", said(&output));
    assert!(read("gantt.csv").contains("\ngateway,,translate,0,"));

    let output = on_simulated(dir.path(), &["export", "--chrome", "-o", "events.json"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "events.json\n");
    let words = ["export", "--chrome", "--replication", "1", "--to", "9 ms"];
    let output = on_simulated(dir.path(), &words);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a/chrome.json\n");
    for file in ["events.json", "a/chrome.json"] {
        let events: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
        assert!(
            events["traceEvents"].as_array().unwrap().len() > 20,
            "{file}"
        );
    }
}

#[test]
fn a_timeline_that_cannot_be_is_wrong_input() {
    let dir = tempfile::tempdir().unwrap();
    let output = simulate(dir.path(), "a", &["-r", "2"]);
    assert!(output.status.success(), "{}", said(&output));
    let refusal = |words: &[&str]| {
        let output = on_simulated(dir.path(), words);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let all = [
        refusal(&["plot", "gantt", "a"]),
        refusal(&["plot", "cdf", "--from", "1 ms"]),
        refusal(&["plot", "load", "--all"]),
        refusal(&["plot", "gantt", "--replication", "2"]),
        refusal(&["export", "--chrome", "--from", "2 ms", "--to", "1 ms"]),
    ];
    insta::assert_snapshot!(all.concat().trim_end(), @"error: `gantt` draws one run, found 2
error: `--from` is for `gantt` only
error: `--all` is for `gantt` only
error: draw figure `gantt`: `replication` is 2 of 2, counted from 0
error: draw figure `chrome`: the window is from 2 ms to 1 ms; it must end after it starts");
    let bare = refusal(&["plot", "gantt", "--from", "5"]);
    insta::assert_snapshot!(bare.lines().next().unwrap(), @r#"error: invalid value '5' for '--from <TIME>': `5` lacks a unit, write for example "5 ms"; units: ps, ns, us, ms, s, min, h"#);
    assert!(refusal(&["export"]).contains("--chrome"));
}

#[test]
fn a_part_that_the_profile_lacks_is_wrong_input() {
    let dir = tempfile::tempdir().unwrap();
    let output = simulate(
        dir.path(),
        "out",
        &[
            "--set",
            "hosts.server.part=a2",
            "--set",
            "placement=separate",
        ],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let message =
        String::from_utf8_lossy(&output.stderr).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(message.trim(), @"error: DIR/scenario.toml with --set hosts.server.part=a2: `hosts.server.part`: profile `test` has no part `a2` (allowed: loopback, this-machine)");
}

#[test]
fn wrong_input_ends_with_two_and_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = scenario(dir.path(), &PROXIED.replace("count = 2", "cuont = 2"));
    let output = tandem().arg("measure").arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message =
        String::from_utf8_lossy(&output.stderr).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(message.trim(), @"error: DIR/scenario.toml:33: `clients.0.cuont`: unknown key `cuont`, did you mean `count`? (allowed: name, on, count, arrivals, classes, in-a-row, timeout, retry, path, reply-over)");
}

#[test]
fn what_was_measured_can_be_fitted_and_validated() {
    let dir = tempfile::tempdir().unwrap();
    let path = scenario(dir.path(), PROXIED);
    for (run, clients) in [("light", 1), ("held-out", 2)] {
        let count = format!("clients.0.count={clients}");
        let mut command = tandem();
        command.args([
            "measure",
            "-q",
            "--set",
            &count,
            "--set",
            "run.measure.requests=100",
        ]);
        let output = command
            .arg(&path)
            .arg("-o")
            .arg(dir.path().join(run))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let profile = dir.path().join("profile.toml");
    let output = tandem()
        .args(["calibrate", "-q"])
        .arg(dir.path().join("light"))
        .arg("-o")
        .arg(&profile)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // How near the prediction is says nothing on a machine that tests share; that it is made does.
    let mut command = tandem();
    command
        .args(["validate", "-q", "--json", "--tolerance", "1000", "-p"])
        .arg(&profile);
    let output = command.arg(dir.path().join("held-out")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = result["rows"].as_array().unwrap();
    let metrics: Vec<&str> = rows
        .iter()
        .filter(|row| row["stage"] == "end-to-end")
        .map(|row| row["metric"].as_str().unwrap())
        .collect();
    assert_eq!(metrics, ["mean", "p50", "p90", "p99", "throughput", "cpu"]);
    for row in rows {
        assert_eq!(row["held_out"], true);
        assert_eq!(row["scenario"], "small");
        for key in ["run", "measured", "predicted", "error", "noise"] {
            assert!(row.get(key).is_some(), "{row} has no {key}");
        }
    }
    // A run is known as one that was fitted to wherever it is.
    let light = dir.path().join("moved");
    fs::rename(dir.path().join("light"), &light).unwrap();
    let mut command = tandem();
    command.args(["validate", "-q", "-p"]).arg(&profile);
    let output = command.arg(&light).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no figure was judged"));
    let output = tandem()
        .args(["plot", "cdf"])
        .args([&light, &dir.path().join("held-out")])
        .arg("-o")
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(dir.path().join("cdf.svg").exists() && dir.path().join("cdf.png").exists());
    // Two runs of one name that are not one thing: neither takes the other's place.
    let drawn = fs::read_to_string(dir.path().join("cdf.csv")).unwrap();
    assert!(
        drawn.contains("\nsmall,") && drawn.contains("\nheld-out,"),
        "{drawn}"
    );
    let output = tandem().arg("report").arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http-equiv"));
}

#[test]
fn the_doctor_names_what_is_missing_and_how_to_get_it() {
    let output = tandem().args(["doctor", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for finding in result["findings"].as_array().unwrap() {
        let has_remedy = !finding["remedy"].as_str().unwrap().is_empty();
        assert_eq!(finding["available"], !has_remedy, "{finding}");
    }
}

/// The verbs that there are: each has a file or a folder of its own.
fn verbs() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/verbs");
    let files = fs::read_dir(folder).unwrap();
    let names = files.map(|file| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    });
    names.filter(|name| name != "mod").collect()
}

#[test]
fn help_names_every_verb() {
    let output = tandem().arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let named = commands.filter_map(|line| line.split_whitespace().next());
    let mut named: BTreeSet<String> = named.map(str::to_owned).collect();
    assert!(named.remove("help"), "{text}");
    assert_eq!(named, verbs());
}

#[test]
fn the_readme_names_every_verb() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| *line != "| verb | does |")
        .skip(2);
    let rows = rows.take_while(|line| line.starts_with("| `"));
    let named = rows.map(|row| {
        let end = row[3..].find([' ', '`']).unwrap();
        row[3..3 + end].to_owned()
    });
    assert_eq!(named.collect::<BTreeSet<String>>(), verbs());
}

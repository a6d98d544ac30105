//! Runs read back as they were written, and damaged ones are refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use schema::ids::{ClassId, ClientId, HostId, Id, RequestId, StageId};
use schema::run::{
    CpuUse, Leg, MANIFEST_FILE, Manifest, Outcome, RUN_FORMAT, Run, RunKind, SUMMARY_FILE, Span,
    SpanName, Status, TRACE_FILE,
};
use schema::scenario::Scenario;

const SCENARIO: &str = r#"format = 1
name = "small"
run = { measure = { requests = 4 } }

[hosts]
edge = { part = "this", cores = 2 }
server = { part = "this", cores = 2 }

[[links]]
between = ["edge", "server"]
part = "wire"

[stages.work]
on = "server"
serve = { synthetic = { time = "1 ms", input = "100 kB", output = "4 kB" } }

[[clients]]
on = "edge"
count = 2
arrivals = { closed-loop = {} }
path = [{ to = "work", over = "tcp" }]
"#;

/// A run of four requests of each of two clients, with a few spans each.
fn run() -> Run {
    let scenario = Scenario::parse(Path::new("small.toml"), SCENARIO.to_owned(), &[]).unwrap();
    let manifest = Manifest {
        format: RUN_FORMAT,
        kind: RunKind::Simulated,
        program: "test".to_owned(),
        scenario: scenario.file().clone(),
        inputs: BTreeMap::from([("small.toml".to_owned(), "00".to_owned())]),
        replications: 1,
        outcome: Outcome::Broken {
            role: "server work".to_owned(),
            how: "was killed by signal 9".to_owned(),
        },
        cpu: vec![CpuUse {
            replication: 0,
            role: "server work".to_owned(),
            busy_s: 0.25,
            window_s: 1.0,
        }],
        warnings: vec!["a warning".to_owned()],
        measured: None,
    };
    let mut trace = Vec::new();
    for index in 0..8 {
        let client = ClientId::from_index(index % 2);
        let at = 1_000_000 * index as u64;
        let span = Span {
            context: 0,
            kernel: None,
            replication: 0,
            request: RequestId::new(client, index as u32 / 2),
            class: ClassId::from_index(0),
            stage: StageId::from_index(0),
            host: HostId::from_index(0),
            name: SpanName::Request,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            bytes: 100_000,
            ready_ns: at,
            start_ns: at + 10,
            end_ns: at + 900_000,
            cpu_ns: 0,
            status: Status::Ok,
        };
        let send = Span {
            name: SpanName::Send,
            hop: Some(0),
            end_ns: at + 50_000,
            cpu_ns: 40_000,
            ..span
        };
        let inference = Span {
            name: SpanName::Inference,
            host: HostId::from_index(1),
            batch: index as u32,
            ready_ns: at + 60_000,
            start_ns: at + 60_000,
            end_ns: at + 800_000,
            ..span
        };
        let reply = Span {
            leg: Leg::Reply,
            bytes: 4_000,
            status: Status::Failed,
            ..send
        };
        trace.extend([span, send, inference, reply]);
    }
    Run::new(manifest, trace).unwrap()
}

fn saved() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    run().save(dir.path()).unwrap();
    dir
}

/// The message on loading a run whose trace was changed by `change`.
fn refusal(change: impl Fn(&mut Span)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut run = run();
    change(&mut run.trace[5]);
    // Statistics are not made of such a run, only its trace is written.
    let saved = saved();
    for file in [MANIFEST_FILE, SUMMARY_FILE] {
        fs::copy(saved.path().join(file), dir.path().join(file)).unwrap();
    }
    run.save_trace(dir.path()).unwrap();
    let message = Run::load(dir.path()).unwrap_err().to_string();
    message.replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn a_run_reads_back_as_it_was_written() {
    let dir = saved();
    let read = Run::load(dir.path()).unwrap();
    assert_eq!(read.manifest, run().manifest);
    assert_eq!(read.trace, run().trace);
    assert_eq!(read.scenario.file(), run().scenario.file());
    assert_eq!(read.summary().requests, 8);
}

#[test]
fn a_run_saved_twice_has_equal_bytes() {
    let (a, b) = (saved(), saved());
    for file in [MANIFEST_FILE, TRACE_FILE, SUMMARY_FILE] {
        let read = |dir: &tempfile::TempDir| fs::read(dir.path().join(file)).unwrap();
        assert!(read(&a) == read(&b), "{file} differs");
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in [MANIFEST_FILE, TRACE_FILE] {
        let dir = saved();
        fs::remove_file(dir.path().join(file)).unwrap();
        let message = Run::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn an_unknown_format_or_key_is_named() {
    let message = |from: &str, to: &str| {
        let dir = saved();
        let path = dir.path().join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let message = Run::load(dir.path()).unwrap_err().to_string();
        message.replace(&dir.path().display().to_string(), "DIR")
    };
    assert_snapshot!(message("\"format\": 1", "\"format\": 7"), @"DIR/run.json: `format`: 7 is not known (allowed: 1)");
    assert_snapshot!(message("\"replications\"", "\"replication\""), @"DIR/run.json:78: `replication`: unknown field `replication`, expected one of `format`, `kind`, `program`, `scenario`, `inputs`, `replications`, `outcome`, `cpu`, `warnings`, `measured` at line 78 column 15");
    assert_snapshot!(message("\"replications\": 1", "\"replications\": 0"), @"DIR/run.json: `replications`: must be from 1 to 1000000, found 0");
    assert_snapshot!(message("\"simulated\"", "\"imagined\""), @"DIR/run.json:3: `kind`: unknown variant `imagined`, expected `measured` or `simulated` at line 3 column 20");
}

#[test]
fn spans_that_cannot_be_are_refused() {
    assert_snapshot!(refusal(|span| span.start_ns = span.end_ns + 1), @"DIR/trace.parquet: row 5: a span is ready at 1000000 ns, starts at 1050001 ns and ends at 1050000 ns; these must ascend, up to 18446744073709551");
    assert_snapshot!(refusal(|span| span.end_ns = u64::MAX / 4), @"DIR/trace.parquet: row 5: a span is ready at 1000000 ns, starts at 1000010 ns and ends at 4611686018427387903 ns; these must ascend, up to 18446744073709551");
    assert_snapshot!(refusal(|span| span.replication = 3), @"DIR/trace.parquet: row 5: `replication` is 3 of 1, counted from 0");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_run_is_read_or_refused_without_panic(
        is_trace: bool,
        cut in proptest::option::of(0.0f64..1.0),
        flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 0..6),
    ) {
        let dir = saved();
        let path = dir.path().join(if is_trace { TRACE_FILE } else { MANIFEST_FILE });
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in flips {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(run) = Run::load(dir.path()) {
            let _ = run.summary();
        }
    }
}

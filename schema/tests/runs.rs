//! Runs read back as they were written, and damaged ones are refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use schema::breakdown::breakdowns;
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
            replication: 0,
            request: RequestId::new(client, index as u32 / 2),
            class: ClassId::from_index(0),
            stage: StageId::from_index(0),
            host: HostId::from_index(0),
            name: SpanName::Request,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            context: 0,
            branch: 0,
            kernel: None,
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

/// The same on a GPU with two streams, and in each inference two kernels and a copy between GPUs.
fn gpu_run() -> Run {
    let text = SCENARIO
        .replace(
            "server = {",
            "server = { gpus = [{ part = \"a2\" }, { part = \"a2\" }],",
        )
        .replace(
            "serve = { synthetic = { time = \"1 ms\", input = \"100 kB\", output = \"4 kB\" } }",
            r#"gpu = { streams = 2 }
serve.kernels = { input = "100 kB", output = "4 kB", work = [
    { kernel = { name = "conv", blocks = 8, threads = 128, time = "10 us" } },
    { peer-copy = { to = "1", size = "1 MB" } },
    { kernel = { blocks = 8, threads = 128, time = "10 us" } },
] }"#,
        );
    let scenario = Scenario::parse(Path::new("gpu.toml"), text, &[]).unwrap();
    let mut run = run();
    run.manifest.scenario = scenario.file().clone();
    let mut trace = Vec::new();
    for span in run.trace {
        if span.name != SpanName::Inference {
            trace.push(span);
            continue;
        }
        let inference = Span {
            context: span.batch % 2,
            ..span
        };
        let within = |name, kernel, [start, end]: [u64; 2]| Span {
            name,
            kernel,
            ready_ns: inference.start_ns + start,
            start_ns: inference.start_ns + start,
            end_ns: inference.start_ns + end,
            ..inference
        };
        trace.push(inference);
        trace.push(within(SpanName::Kernel, Some(0), [5_000, 200_000]));
        trace.push(within(SpanName::P2p, Some(1), [200_000, 400_000]));
        trace.push(within(SpanName::Kernel, Some(2), [400_000, 700_000]));
    }
    Run::new(run.manifest, trace).unwrap()
}

/// The message on loading a run whose trace was changed by `change`.
fn refusal(change: impl Fn(&mut Span)) -> String {
    refusal_of(run(), change)
}

fn refusal_of(mut run: Run, change: impl Fn(&mut Span)) -> String {
    let dir = tempfile::tempdir().unwrap();
    // Statistics are made of the run as it was, only its trace is written anew.
    run.save(dir.path()).unwrap();
    change(&mut run.trace[5]);
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
fn contexts_and_kernels_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let run = gpu_run();
    run.save(dir.path()).unwrap();
    let read = Run::load(dir.path()).unwrap();
    assert_eq!(read.trace, run.trace);
    let places = |name| {
        let spans = read.trace.iter().filter(move |span| span.name == name);
        let places: Vec<_> = spans.map(|span| (span.context, span.kernel)).collect();
        places
    };
    let kernels = places(SpanName::Kernel);
    assert_eq!(
        kernels[..4],
        [(0, Some(0)), (0, Some(2)), (1, Some(0)), (1, Some(2))]
    );
    assert_eq!(places(SpanName::Inference)[..2], [(0, None), (1, None)]);
}

#[test]
fn spans_inside_another_change_no_figure() {
    let whole = gpu_run();
    let mut without = gpu_run();
    without.trace.retain(|span| !span.name.is_detail());
    assert_eq!(whole.trace.len(), without.trace.len() + 3 * 8);
    assert_eq!(breakdowns(&whole.trace), breakdowns(&without.trace));
    let summary = whole.summary();
    assert_eq!(summary, without.summary());
    assert!(!summary.parts.contains_key("kernel") && !summary.parts.contains_key("p2p"));
    for request in breakdowns(&whole.trace) {
        assert!((request.part_s(SpanName::Inference) - 740e-6).abs() < 1e-12);
        assert!(request.part_s(SpanName::Kernel).abs() < 1e-12);
    }
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
    assert_snapshot!(refusal_of(gpu_run(), |span| span.context = 2), @"DIR/trace.parquet: row 5: `context` is 2 of 2, counted from 0");
    assert_snapshot!(refusal_of(gpu_run(), |span| span.kernel = Some(3)), @"DIR/trace.parquet: row 5: `kernel` is 3 of 3, counted from 0");
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

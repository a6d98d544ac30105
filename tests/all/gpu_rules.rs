//! The scenarios that show one rule of a GPU each: their exact timelines, worked out by hand.
//!
//! The GPU has two multiprocessors of 2048 threads, so four blocks of 1024 run at a time. Copies are
//! set up in 10 us and move 10 GB/s, 8 GB/s while both directions are busy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use schema::profile::Profile;
use schema::run::{Run, SpanName};
use schema::scenario::{GpuWork, Scenario, StageRole, Work};
use sim::simulate;

use crate::common::{base, said, tandem};

/// An operation: its name, and when it was ready, started and ended, in microseconds.
type Row = (&'static str, f64, f64, f64);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn run(name: &str) -> Run {
    let path = folder().join("gpu").join(format!("{name}.toml"));
    let scenario = Scenario::load(&path, &[]).unwrap();
    let profile = Profile::load(&folder().join("profiles/ideal.toml")).unwrap();
    simulate(&scenario, Some(&profile), &base()).unwrap()
}

/// What the run's GPUs did, in nanoseconds: kernels by name, copies as `h2d NAME OF STAGE`.
fn timeline(run: &Run) -> Vec<(String, u64, u64, u64)> {
    let mut rows: Vec<_> = (run.trace.iter())
        .filter_map(|span| {
            let stage = &run.scenario.stages[span.stage];
            let StageRole::Serve(serve) = &stage.role else {
                return None;
            };
            let name = match (span.name, &serve.work) {
                (SpanName::Kernel, Work::Kernels(kernels)) => {
                    match &kernels.work[span.kernel? as usize] {
                        GpuWork::Kernel(kernel) => kernel.name.clone()?,
                        GpuWork::PeerCopy { .. } => return None,
                    }
                }
                (SpanName::H2d | SpanName::D2h | SpanName::P2p, _) => {
                    format!("{} {}", span.name.name(), stage.name)
                }
                _ => return None,
            };
            Some((name, span.ready_ns, span.start_ns, span.end_ns))
        })
        .collect();
    rows.sort_by(|a, b| (a.2, a.3, &a.0).cmp(&(b.2, b.3, &b.0)));
    rows
}

fn assert_timeline(name: &str, expected: &[Row]) {
    let ns = |us: f64| (us * 1e3).round() as u64;
    let expected: Vec<_> = (expected.iter())
        .map(|(name, ready, start, end)| ((*name).to_owned(), ns(*ready), ns(*start), ns(*end)))
        .collect();
    assert_eq!(timeline(&run(name)), expected);
}

/// `early` holds six of the eight slots of 512 threads until 1 ms. Two blocks of `late` start at once,
/// two when there is room.
#[test]
fn a_kernel_gets_what_is_left_over() {
    let rows = [("early", 0.0, 0.0, 1000.0), ("late", 100.0, 100.0, 2000.0)];
    assert_timeline("leftover", &rows);
}

/// Blocks of `first` and `big` each need a multiprocessor's whole shared memory. `small` needs none.
#[test]
fn only_the_head_of_the_queue_dispatches() {
    assert_timeline(
        "head-of-queue",
        &[
            ("first", 0.0, 0.0, 1000.0),
            ("small", 200.0, 1000.0, 1200.0),
            ("big", 100.0, 1000.0, 2000.0),
        ],
    );
}

/// At 1 ms `high` takes the four slots of `low`'s first blocks, at 1.5 ms two of them again, and has
/// dispatched all; `low` gets the other two, then two every half millisecond: 2, 2, 2, 2 at 1.5, 2,
/// 2.5 and 3 ms.
#[test]
fn priority_waits_for_running_blocks_and_then_goes_first() {
    let rows = [("low", 0.0, 0.0, 4000.0), ("high", 200.0, 1000.0, 2000.0)];
    assert_timeline("priority", &rows);
}

/// Each `high` takes the whole GPU twice. There is always another until 4 ms.
#[test]
fn a_low_priority_starves() {
    assert_timeline(
        "starvation",
        &[
            ("high", 0.0, 0.0, 1000.0),
            ("high", 100.0, 1000.0, 2000.0),
            ("high", 1000.0, 2000.0, 3000.0),
            ("high", 2000.0, 3000.0, 4000.0),
            ("low", 100.0, 4000.0, 4500.0),
        ],
    );
}

/// `a` and `c` share the first of two hardware queues; `a2` holds it until `a1` has ended.
#[test]
fn a_full_hardware_queue_makes_false_dependencies() {
    assert_timeline(
        "hardware-queues",
        &[
            ("a1", 0.0, 0.0, 1000.0),
            ("b1", 100.0, 100.0, 1100.0),
            ("a2", 1000.0, 1000.0, 2000.0),
            ("c1", 1000.0, 1000.0, 2000.0),
        ],
    );
}

/// 10 MB take 1000 us alone and 1250 us beside the other direction, after 10 us. `h2d b` moves 1 MB
/// before `d2h a` begins to move at 1120 us, and 9 MB in 1125 us after that; and so on.
#[test]
fn copies_of_a_direction_follow_each_other_whatever_their_priority() {
    assert_timeline(
        "copies",
        &[
            ("h2d a", 0.0, 0.0, 1010.0),
            ("a", 1010.0, 1010.0, 1110.0),
            ("h2d b", 100.0, 1010.0, 2245.0),
            ("d2h a", 1110.0, 1110.0, 2367.5),
            ("b", 2245.0, 2245.0, 2345.0),
            ("h2d urgent", 200.0, 2245.0, 3502.5),
            ("d2h b", 2345.0, 2367.5, 3602.5),
            ("urgent", 3502.5, 3502.5, 3602.5),
            ("d2h urgent", 3602.5, 3602.5, 4612.5),
        ],
    );
}

/// The copy of `quick` waits for `slow` and holds back `later`, which came after it.
#[test]
fn the_default_stream_waits_and_is_waited_for() {
    assert_timeline(
        "default-stream",
        &[
            ("slow", 0.0, 0.0, 2000.0),
            ("quick", 50.0, 50.0, 150.0),
            ("d2h quick", 150.0, 2000.0, 2110.0),
            ("later", 2110.0, 2110.0, 2210.0),
        ],
    );
}

/// `b` has something to compute from 1010 us on and gets the GPU when the slice of `a` ends at 2 ms:
/// 1 ms of it from 2.1 ms; `a` its last half millisecond from 3.2 ms; `b` the same from 3.8 ms.
#[test]
fn processes_take_turns() {
    assert_timeline(
        "slices",
        &[
            ("h2d b", 0.0, 0.0, 1010.0),
            ("a", 0.0, 0.0, 3700.0),
            ("b", 1010.0, 2100.0, 4300.0),
        ],
    );
}

/// A quarter of the threads has room for one block of 1024, a half for two.
#[test]
fn clients_of_mps_compute_at_once_within_their_caps() {
    let rows = [("half", 0.0, 0.0, 2000.0), ("quarter", 0.0, 0.0, 2000.0)];
    assert_timeline("mps", &rows);
}

/// Each instance has one multiprocessor and an engine of its own; the link has room for both copies.
#[test]
fn instances_share_nothing_but_the_link() {
    assert_timeline(
        "mig",
        &[
            ("h2d left", 0.0, 0.0, 1010.0),
            ("h2d right", 0.0, 0.0, 1010.0),
            ("right", 1010.0, 1010.0, 2010.0),
            ("left", 1010.0, 1010.0, 3010.0),
        ],
    );
}

/// Over NVLink 5 MB take 100 us between the GPUs, after 10 us; the GPUs work on two requests at a time.
#[test]
fn work_goes_on_on_another_gpu() {
    assert_timeline(
        "peers",
        &[
            ("front", 0.0, 0.0, 1000.0),
            ("p2p split", 1000.0, 1000.0, 1110.0),
            ("front", 0.0, 1000.0, 2000.0),
            ("back", 1110.0, 1110.0, 2110.0),
            ("p2p split", 2000.0, 2000.0, 2110.0),
            ("back", 2110.0, 2110.0, 3110.0),
        ],
    );
}

/// From 1010 us on the copy moves 8 GB/s, since results leave the second GPU against it; and since an
/// input comes into the first against it. Both are done at 2010 us, and its last 2 MB move at 10 GB/s.
#[test]
fn peers_over_pcie_share_the_links_of_both() {
    assert_timeline(
        "peers-pcie",
        &[
            ("front", 0.0, 0.0, 1000.0),
            ("second", 0.0, 0.0, 1000.0),
            ("d2h second", 1000.0, 1000.0, 2010.0),
            ("p2p split", 1000.0, 1000.0, 2210.0),
            ("h2d first", 1500.0, 1500.0, 2010.0),
            ("first", 2010.0, 2010.0, 3010.0),
            ("back", 2210.0, 2210.0, 3210.0),
        ],
    );
}

/// Every one of them can be drawn and exported.
#[test]
fn rules_are_drawn_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let files = std::fs::read_dir(folder().join("gpu")).unwrap();
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let out = dir.path().join(&name);
        let mut simulate = tandem();
        simulate.arg("simulate").arg(&path).arg("-p");
        simulate
            .arg(folder().join("profiles/ideal.toml"))
            .arg("-o")
            .arg(&out);
        let mut plot = tandem();
        plot.args(["plot", "gantt"])
            .arg(&out)
            .arg("-o")
            .arg(out.join("figure"));
        let mut export = tandem();
        export.arg("export").arg(&out).arg("--chrome");
        for command in [&mut simulate, &mut plot, &mut export] {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{name}: {}", said(&output));
        }
        let trace = std::fs::read(out.join("chrome.json")).unwrap();
        let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
        assert!(trace["traceEvents"].as_array().unwrap().len() > 3, "{name}");
        assert!(out.join("figure").join("gantt.svg").is_file(), "{name}");
    }
}

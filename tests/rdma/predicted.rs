//! What probes over real verbs predict of loads over them.
//!
//! `tests/rdma/loop` measures both in turn, in rounds, in the guest kernel; `rounds` says what becomes of
//! their errors.
//!
//! Where `TANDEM_RIG_OUT` names a folder, what was measured and fitted is left there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../rounds/mod.rs"]
mod rounds;

use std::path::Path;
use std::process::{Command, Output};

use schema::comparison::{END_TO_END, Metric, Row};
use schema::run::Run;

use rounds::{Figure, Round, is_steady, judge};

const MOST_ROUNDS: usize = 15;
/// What the profile is fitted to: one client, so that at most one request is under way.
const PROBES: [&str; 2] = ["wire", "wire-proxied"];
/// What the fit never sees, and what of it is judged. A loop without pauses has as many requests a second
/// as the core takes, and their times say the same again.
const LOADS: [(&str, &[Metric]); 5] = [
    ("think", &[Metric::Mean, Metric::P50]),
    ("open", &[Metric::Mean, Metric::P50]),
    ("saturated", &[Metric::Throughput]),
    ("proxied-think", &[Metric::Mean, Metric::P50]),
    ("proxied-saturated", &[Metric::Throughput]),
];
/// Largest error of a figure, relative to what was measured.
const TOLERANCE: f64 = 0.15;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Exit code 1 says that a prediction is outside the tolerance of `validate`.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    output
}

fn tandem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.arg("-q");
    command
}

/// The end-to-end figures of a round's loads.
fn validated(dir: &Path, round: usize) -> Round {
    let path = |name: &str| dir.join(format!("{name}-{round}"));
    let runs = |names: &[&str]| names.iter().map(|name| path(name)).collect::<Vec<_>>();
    let profile = dir.join(format!("profile-{round}.toml"));
    run(tandem()
        .arg("calibrate")
        .args(runs(&PROBES))
        .arg("-o")
        .arg(&profile));
    let output = run(tandem()
        .args(["validate", "--json"])
        .args(runs(&LOADS.map(|(name, _)| name)))
        .arg("-p")
        .arg(&profile));
    let rows = dir.join(format!("rows-{round}.json"));
    std::fs::write(rows, &output.stdout).unwrap();
    let mut rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows: Vec<Row> = serde_json::from_value(rows["rows"].take()).unwrap();
    let [before, after] = ["wire", "wire-after"].map(|name| Run::load(&path(name)).unwrap());
    let figures = LOADS.iter().flat_map(|(name, metrics)| {
        let rows = &rows;
        metrics.iter().map(move |metric| {
            let scenario = format!("rdma-{name}");
            let is_it = |row: &&Row| {
                row.scenario == scenario && row.metric == *metric && row.stage == END_TO_END
            };
            let row = rows.iter().find(is_it).unwrap();
            assert!(row.held_out);
            Figure {
                name: format!("{name}, {}", metric.name()),
                measured: row.measured,
                predicted: row.predicted,
                tolerance: TOLERANCE,
            }
        })
    });
    Round {
        steady: is_steady(&before, &after),
        figures: figures.collect(),
    }
}

#[test]
#[ignore = "needs the guest kernel: tests/rdma/run"]
fn loads_over_rdma_are_predicted_within_fifteen_percent() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("TANDEM_RIG_OUT").map(std::path::PathBuf::from);
    let dir = kept.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(dir).unwrap();
    judge(MOST_ROUNDS, |first, last| {
        measure(dir, first, last);
        (first..=last).map(|round| validated(dir, round)).collect()
    });
}

/// Measures these rounds into `dir`.
fn measure(dir: &Path, first: usize, last: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rdma/loop");
    let mut measure = Command::new(script);
    measure.arg(env!("CARGO_BIN_EXE_tandem")).arg(dir);
    let output = measure
        .args([first, last].map(|n| n.to_string()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

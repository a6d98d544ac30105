//! What probes over real verbs predict of loads over them.
//!
//! `tests/rdma/loop` measures both in turn, in rounds, in the guest kernel. The profile that is fitted to
//! the probes of a round is held against the loads of that round, so a machine that is slower for a
//! while is slower for both. The median over the rounds of each error is judged. Where other programs run
//! beside it single rounds scatter by more than the tolerance; so where a median is outside it, more
//! rounds are measured, and the median of all is judged.
//!
//! Where `TANDEM_RIG_OUT` names a folder, what was measured and fitted is left there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use schema::comparison::{END_TO_END, Metric, Row};
use schema::stats::quantile;

/// Rounds at once, and the most of all.
const ROUNDS: u32 = 5;
const MOST_ROUNDS: u32 = 15;
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
fn validated(dir: &Path, round: u32) -> Vec<Row> {
    let runs = |names: &[&str]| {
        let names = names.iter();
        names
            .map(|name| dir.join(format!("{name}-{round}")))
            .collect::<Vec<_>>()
    };
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
    let mut rows: Vec<Row> = serde_json::from_value(rows["rows"].take()).unwrap();
    rows.retain(|row| row.stage == END_TO_END);
    assert!(rows.iter().all(|row| row.held_out));
    rows
}

#[test]
#[ignore = "needs the guest kernel: tests/rdma/run"]
fn loads_over_rdma_are_predicted_within_fifteen_percent() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("TANDEM_RIG_OUT").map(std::path::PathBuf::from);
    let dir = kept.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(dir).unwrap();
    let mut rounds: Vec<Vec<Row>> = Vec::new();
    let mut outside = Vec::new();
    for first in (1..=MOST_ROUNDS).step_by(ROUNDS as usize) {
        let last = first + ROUNDS - 1;
        measure(dir, first, last);
        rounds.extend((first..=last).map(|round| validated(dir, round)));
        let (lines, wrong) = judged(&rounds);
        println!("{last} rounds\n{}", lines.join("\n"));
        outside = wrong;
        if outside.is_empty() {
            return;
        }
    }
    panic!("outside the tolerance: {outside:?}");
}

/// Measures these rounds into `dir`.
fn measure(dir: &Path, first: u32, last: u32) {
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

/// The figures as a table, and which of them are outside the tolerance.
fn judged(rounds: &[Vec<Row>]) -> (Vec<String>, Vec<String>) {
    let head = "scenario, figure: measured (smallest to largest round), predicted, error (…)";
    let mut lines = vec![head.to_owned()];
    let mut outside = Vec::new();
    for (name, metrics) in LOADS {
        for metric in metrics {
            let scenario = format!("rdma-{name}");
            let is_it = |row: &&Row| row.scenario == scenario && row.metric == *metric;
            let rows: Vec<&Row> = (rounds.iter())
                .map(|rows| rows.iter().find(is_it).unwrap())
                .collect();
            let of = |figure: fn(&Row) -> f64| -> [f64; 3] {
                let mut figures: Vec<f64> = rows.iter().map(|row| figure(row)).collect();
                figures.sort_by(f64::total_cmp);
                [0.0, 0.5, 1.0].map(|q| quantile(&figures, q))
            };
            let (measured, predicted) = (of(|row| row.measured), of(|row| row.predicted));
            let error = of(|row| row.error.unwrap());
            let unit = if *metric == Metric::Throughput {
                1.0
            } else {
                1e3
            };
            lines.push(format!(
                "{name}, {}: {:.2} ({:.2} to {:.2}), {:.2}, {:+.1}% ({:+.1} to {:+.1})",
                metric.name(),
                unit * measured[1],
                unit * measured[0],
                unit * measured[2],
                unit * predicted[1],
                100.0 * error[1],
                100.0 * error[0],
                100.0 * error[2],
            ));
            if error[1].abs() > TOLERANCE {
                outside.push(format!("{name}, {}", metric.name()));
            }
        }
    }
    (lines, outside)
}

//! `tandem report DIR`: one self-contained page from the run directories below a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plots::Pair;
use plots::report::{self, Report, Section};
use schema::run::{MANIFEST_FILE, Run, RunKind};
use schema::summary::Summary;

use crate::cli::{Common, Report as Arguments};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut paths = Vec::new();
    find_runs(&arguments.dir, &mut paths)?;
    paths.sort();
    if paths.is_empty() {
        return Err(anyhow::anyhow!(
            "there is no run (no {MANIFEST_FILE}) below {}",
            arguments.dir.display()
        )
        .into());
    }
    let runs = super::calibrate::load(&paths)?;
    let page = page(&arguments.dir, &runs)?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| arguments.dir.join("report.html"));
    page.save(&out)?;
    if common.json {
        super::print(&serde_json::to_string_pretty(
            &serde_json::json!({ "report": out }),
        )?);
    } else {
        super::print(&format!("report: {}", out.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Every folder at or below `dir` that holds a run.
fn find_runs(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if dir.join(MANIFEST_FILE).exists() {
        found.push(dir.to_owned());
        return Ok(());
    }
    let read = |source| schema::error::FileError::Read {
        path: dir.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry?.path();
        if path.is_dir() {
            find_runs(&path, found)?;
        }
    }
    Ok(())
}

fn page(dir: &Path, runs: &[(String, Run)]) -> Result<Report, Failure> {
    let summaries: Vec<(String, Summary)> = runs
        .iter()
        .map(|(name, run)| (name.clone(), run.summary()))
        .collect();
    let bars: Vec<Pair<&Summary>> = runs
        .iter()
        .zip(&summaries)
        .map(|((_, run), (label, summary))| one(label, run.manifest.kind, summary))
        .collect();
    let samples: Vec<Pair<Vec<f64>>> = runs
        .iter()
        .filter(|(_, run)| run.has_trace())
        .map(|(label, run)| one(label, run.manifest.kind, plots::cdf::end_to_end_s(run)))
        .collect();
    let mut figures = vec![plots::breakdown::draw("breakdown", &bars)?];
    if !samples.is_empty() {
        figures.push(plots::cdf::draw("cdf", &samples)?);
    }
    let without: Vec<String> = runs
        .iter()
        .filter(|(_, run)| !run.has_trace())
        .map(|(name, _)| format!("`{}`", super::folder(name)))
        .collect();
    let mut text = Vec::new();
    if !without.is_empty() {
        text.push(format!(
            "{} kept statistics only, and so have no curve in the distribution; simulate with --trace for that.",
            without.join(", ")
        ));
    }
    let borrowed: Vec<(String, &Summary)> = summaries
        .iter()
        .map(|(name, s)| (name.clone(), s))
        .collect();
    let warned: Vec<_> = runs
        .iter()
        .zip(&summaries)
        .map(|((name, run), (_, summary))| (name.clone(), &run.manifest, summary))
        .collect();
    let first = runs
        .iter()
        .find(|(_, run)| run.manifest.kind == RunKind::Measured)
        .or(runs.first());
    Ok(Report {
        title: format!("Runs in {}", dir.display()),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        facts: first
            .map(|(_, run)| report::facts(&run.manifest))
            .unwrap_or_default(),
        verdict: Vec::new(),
        sections: vec![
            Section {
                heading: "Where the time goes".to_owned(),
                text,
                figures,
                tables: vec![report::end_to_end_table(&borrowed)],
            },
            report::warnings_section(&warned),
            report::how_to_read(),
        ],
    })
}

fn one<T>(name: &str, kind: RunKind, value: T) -> Pair<T> {
    let mut pair = Pair::empty(super::folder(name));
    *pair.side(kind) = Some(value);
    pair
}

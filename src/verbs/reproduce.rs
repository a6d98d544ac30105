//! `tandem reproduce`: runs every study of a folder, and puts what was found on one page.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plots::report::{Report, Section, Table};
use schema::comparison::Metric;
use schema::error::FileError;
use schema::run::content_hash;
use schema::stats::Estimate;
use schema::study::{Intervals, Outcome, Study};

use super::sweep::{FIGURES, Swept, sweep};
use crate::cli::{Common, Reproduce};
use crate::failure::{Failure, Usage};

/// The page in the folder of results.
const REPORT: &str = "report.html";

pub(super) fn run(common: &Common, arguments: &Reproduce) -> Result<ExitCode, Failure> {
    let studies = chosen(&arguments.studies, &arguments.only)?;
    let mut all = Vec::new();
    let mut n_failed = 0;
    for mut study in studies {
        study.replications = arguments.replications.unwrap_or(study.replications);
        let out = arguments.out.join(&study.name);
        if !common.quiet {
            eprintln!("{}", study.name);
        }
        let swept = sweep(common, study, &out, arguments.threads)?;
        n_failed += swept.failed();
        let figures = swept.figures()?;
        for figure in &figures {
            figure.save(&out.join(FIGURES))?;
        }
        all.push((swept, figures));
    }
    let page = arguments.out.join(REPORT);
    let facts = facts(all.iter().map(|(swept, _)| &swept.study))?;
    let sections = all.into_iter().map(|(swept, figures)| Section {
        heading: swept.study.name.clone(),
        text: text(&swept.study),
        tables: vec![table(&swept)],
        figures,
    });
    let report = Report {
        title: "Studies of transports in model serving".to_owned(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        facts,
        verdict: Vec::new(),
        sections: sections.collect(),
    };
    report.save(&page)?;
    if common.json {
        super::print(&serde_json::to_string_pretty(
            &serde_json::json!({ "report": page, "failed_points": n_failed }),
        )?);
    } else {
        super::print(&format!("report: {}", page.display()));
    }
    Ok(match n_failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The studies in a folder, in the order of their files: all, or those with these names.
fn chosen(folder: &Path, only: &[String]) -> Result<Vec<Study>, Failure> {
    let read = |source| FileError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    let mut studies = Vec::new();
    for path in &paths {
        studies.push(Study::load(path)?);
    }
    let names: Vec<String> = studies.iter().map(|study| study.name.clone()).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
        let problem = format!(
            "`--only {unknown}`: there is no such study in {} (allowed: {})",
            folder.display(),
            names.join(", ")
        );
        return Err(Usage(problem).into());
    }
    studies.retain(|study| only.is_empty() || only.contains(&study.name));
    if studies.is_empty() {
        return Err(Usage(format!("there is no study in {}", folder.display())).into());
    }
    Ok(studies)
}

/// What a study asks, and what its intervals are.
fn text(study: &Study) -> Vec<String> {
    let mut text = study.about.clone();
    let factors = study.factors.iter().map(|factor| {
        let levels: Vec<&str> = factor.levels.iter().map(|l| l.label.as_str()).collect();
        format!("{} ({})", factor.name, levels.join(", "))
    });
    text.push(format!(
        "Scenario {}; factors: {}; {} replications a point, the same random numbers at every point.",
        study.scenario.display(),
        factors.collect::<Vec<_>>().join("; "),
        study.replications
    ));
    text.push(match study.intervals {
        Intervals::Replications => "Intervals are of the mean over replications, at 95%.".to_owned(),
        Intervals::Profile => "Each replication has a profile of its own, every number of which is drawn within what is known of it. Values are medians of these, intervals hold their central 90%; differences are of pairs with the same profile.".to_owned(),
    });
    text
}

/// Every point with its main metrics.
fn table(swept: &Swept) -> Table {
    let study = &swept.study;
    let metrics = [
        (Metric::Mean, "mean [ms]"),
        (Metric::P99, "p99 [ms]"),
        (Metric::Throughput, "throughput [/s]"),
        (Metric::Cpu, "core time [cores]"),
    ];
    let mut heads: Vec<String> = study.factors.iter().map(|f| f.name.clone()).collect();
    heads.extend(metrics.map(|(_, head)| head.to_owned()));
    let rows = study
        .points()
        .into_iter()
        .zip(&swept.outcomes)
        .map(|(point, outcome)| {
            let mut row = point.labels;
            row.extend(metrics.map(|(metric, _)| {
                match outcome {
                    Outcome::Found(found) => found
                        .estimate(metric, study.intervals)
                        .map_or(String::new(), |estimate| cell(metric, estimate)),
                    Outcome::Failed(error) => error.clone(),
                    Outcome::Missing => "not run".to_owned(),
                }
            }));
            row
        });
    Table {
        caption: "Every point; intervals in brackets.".to_owned(),
        heads,
        rows: rows.collect(),
    }
}

fn cell(metric: Metric, estimate: Estimate) -> String {
    let scale = if metric.unit() == "s" { 1e3 } else { 1.0 };
    let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(|e| e * scale);
    let digits = if value >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// The program, and every profile that was used.
fn facts<'a>(studies: impl Iterator<Item = &'a Study>) -> Result<Vec<(String, String)>, Failure> {
    let mut facts = vec![("program".to_owned(), super::PROGRAM.to_owned())];
    let mut files: Vec<PathBuf> = studies
        .flat_map(|study| study.profiles.iter().chain([&study.scenario]).cloned())
        .collect();
    files.sort();
    files.dedup();
    for path in files {
        let bytes = std::fs::read(&path).map_err(|source| FileError::Read {
            path: path.clone(),
            source,
        })?;
        let name = format!("SHA-256 of {}", path.display());
        facts.push((name, content_hash(&bytes)));
    }
    Ok(facts)
}

//! `tandem reproduce`: runs every study of some folders, and puts what was found on one page.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use plots::report::{Report, Section, Table};
use schema::comparison::Metric;
use schema::error::FileError;
use schema::run::content_hash;
use schema::stats::Estimate;
use schema::study::{Compared, Intervals, Outcome, Study};

use super::sweep::{Cores, FIGURES, Swept, sweep};
use crate::cli::{Common, Reproduce};
use crate::failure::{Failure, Usage};

/// Most levels of a factor that the text of its study names.
const MOST_NAMED: usize = 12;
/// The page in the folder of results.
const REPORT: &str = "report.html";

pub(super) fn run(common: &Common, arguments: &Reproduce) -> Result<ExitCode, Failure> {
    let studies = chosen(&arguments.studies, &arguments.only)?;
    let mut all = Vec::new();
    let mut rows: Vec<Compared> = Vec::new();
    let mut n_failed = 0;
    for mut study in studies {
        study.replications = arguments.replications.unwrap_or(study.replications);
        let out = arguments.out.join(&study.name);
        if !common.quiet {
            eprintln!("{}", study.name);
        }
        let swept = sweep(common, study, &out, arguments.threads, Cores::AsWritten)?;
        n_failed += swept.failed();
        rows.extend(swept.study.compared(&swept.outcomes));
        if let Some(folder) = &arguments.tables {
            save_digest(&swept, folder)?;
        }
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
        tables: tables(&swept),
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
            &serde_json::json!({ "rows": rows, "report": page, "failed_points": n_failed }),
        )?);
    } else {
        super::print(&format!("report: {}", page.display()));
    }
    Ok(match n_failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The studies in these folders, in the order of their files: all, or those with these names and those in
/// folders with them.
pub(super) fn chosen(folders: &[PathBuf], only: &[String]) -> Result<Vec<Study>, Failure> {
    let mut studies = Vec::new();
    let mut names = Vec::new();
    for folder in folders {
        let group = folder.file_name().unwrap_or_default().to_string_lossy();
        names.push(group.to_string());
        for path in files(folder)? {
            let study = Study::load(&path)?;
            names.push(study.name.clone());
            if only.is_empty()
                || only
                    .iter()
                    .any(|name| *name == study.name || *name == group)
            {
                studies.push(study);
            }
        }
    }
    if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
        let problem = format!(
            "`--only {unknown}`: there is no such study (allowed: {})",
            names.join(", ")
        );
        return Err(Usage(problem).into());
    }
    if studies.is_empty() {
        let folders = folders.iter().map(|folder| folder.display().to_string());
        let folders = folders.collect::<Vec<_>>().join(", ");
        return Err(Usage(format!("there is no study in {folders}")).into());
    }
    Ok(studies)
}

/// Writes the small table of a study, named after it, into `folder`.
fn save_digest(swept: &Swept, folder: &Path) -> Result<(), FileError> {
    let path = folder.join(format!("{}.csv", swept.study.name));
    let text = swept.study.digest(&swept.outcomes);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| FileError::Write { path, source })
}

/// The study files of a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let read = |source| FileError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The path without steps up and down again, as scenarios are named from studies.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        let is_below = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        if component == Component::ParentDir && is_below {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

/// What a study asks, and what its intervals are.
fn text(study: &Study) -> Vec<String> {
    let mut text = study.about.clone();
    let factors = study.factors.iter().map(|factor| {
        let levels: Vec<&str> = factor.levels.iter().map(|l| l.label.as_str()).collect();
        let levels = match levels.len() {
            n if n > MOST_NAMED => format!("{n} levels, below"),
            _ => levels.join(", "),
        };
        format!("{} ({levels})", factor.name)
    });
    text.push(format!(
        "Scenario {}; factors: {}; {} replications a point, the same random numbers at every point.",
        plain(&study.scenario).display(),
        factors.collect::<Vec<_>>().join("; "),
        study.replications
    ));
    text.extend(study.leaves_out.iter().cloned());
    text.push(match study.intervals {
        Intervals::Replications => "Intervals are of the mean over replications, at 95%.".to_owned(),
        Intervals::Profile => "Each replication has a profile of its own, every number of which is drawn within what is known of it. Values are medians of these, intervals hold their central 90%; differences are of pairs with the same profile.".to_owned(),
        Intervals::Prediction { draws } => format!("Values are means with the profile as it is. Intervals are of predictions: of every point they hold the central 90% of {draws} replications with a profile each, every number of which is drawn within what is known of it; beside what was measured, 90% of where a measurement would lie, with the scatter about its fit as well."),
    });
    text
}

/// What was measured beside what was found, if anything was; and every point.
fn tables(swept: &Swept) -> Vec<Table> {
    let rows = swept.study.compared(&swept.outcomes);
    let compared = (!rows.is_empty()).then(|| judged(&rows));
    compared.into_iter().chain([table(swept)]).collect()
}

/// What was measured beside what was found.
fn judged(rows: &[Compared]) -> Table {
    let mean = |held_out: bool| {
        let errors = rows.iter().filter(|row| row.held_out == held_out);
        let errors: Vec<f64> = errors.map(|row| 100.0 * row.error.abs()).collect();
        (!errors.is_empty()).then(|| (errors.len(), schema::stats::mean(&errors)))
    };
    let within = |held_out: bool| {
        let rows = rows.iter().filter(|row| row.held_out == held_out);
        rows.filter(|row| row.is_within()).count()
    };
    let said = [(true, "held out"), (false, "fitted to")].map(|(held_out, what)| {
        mean(held_out).map(|(n, error)| {
            let within = within(held_out);
            format!("{n} figures {what}: mean error {error:.1}%, {within} within their interval")
        })
    });
    let heads = [
        "row",
        "metric",
        "held out",
        "measured",
        "predicted",
        "error",
    ];
    let cells = rows.iter().map(|row| {
        let (scale, unit) = match row.metric.unit() {
            "s" => (1e3, " ms"),
            _ => (1.0, " /s"),
        };
        let predicted = Estimate {
            value: row.predicted,
            low: row.low,
            high: row.high,
        };
        vec![
            row.row.clone(),
            row.metric.name().to_owned(),
            if row.held_out { "yes" } else { "" }.to_owned(),
            format!("{}{unit}", number(scale * row.measured)),
            cell(row.metric, predicted),
            format!("{:+.1}%", 100.0 * row.error),
        ]
    });
    Table {
        caption: format!(
            "Measured and predicted; {}.",
            said.into_iter().flatten().collect::<Vec<_>>().join("; ")
        ),
        heads: heads.map(str::to_owned).to_vec(),
        rows: cells.collect(),
    }
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
    let [value, low, high] =
        [estimate.value, estimate.low, estimate.high].map(|e| number(e * scale));
    format!("{value} ({low} to {high})")
}

/// With two decimals, of large numbers none, and of small ones as many as show three digits.
fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 1.0 || size == 0.0 => 2,
        _ => 2 + (-size.log10()).ceil() as usize,
    };
    format!("{value:.decimals$}")
}

/// The program, and every profile that was used.
fn facts<'a>(studies: impl Iterator<Item = &'a Study>) -> Result<Vec<(String, String)>, Failure> {
    let mut facts = vec![("program".to_owned(), super::PROGRAM.to_owned())];
    let mut files: Vec<PathBuf> = studies
        .flat_map(|study| study.profiles.iter().chain([&study.scenario]))
        .map(|path| plain(path))
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

//! `tandem plot KIND RUN…`: draws a figure from runs.

use std::process::ExitCode;

use plots::Pair;
use plots::load_curve::{Load, LoadPoint};
use schema::run::{Run, RunKind};
use schema::scenario::ArrivalsFile;
use schema::summary::Summary;

use crate::cli::{Common, Plot, PlotKind};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Plot) -> Result<ExitCode, Failure> {
    let runs: Vec<Run> = super::calibrate::load(&arguments.runs)?
        .into_iter()
        .map(|(_, run)| run)
        .collect();
    let figure = match arguments.kind {
        PlotKind::Breakdown => {
            let summaries = pairs(&runs, Run::summary);
            let borrowed: Vec<Pair<&Summary>> = summaries.iter().map(borrow).collect();
            plots::breakdown::draw("breakdown", &borrowed)?
        }
        PlotKind::Cdf => plots::cdf::draw("cdf", &pairs(&runs, plots::cdf::end_to_end_s))?,
        PlotKind::Load => load(&runs)?,
    };
    let saved = figure.save(&arguments.out)?;
    let saved: Vec<String> = saved
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if common.json {
        super::print(&serde_json::to_string_pretty(
            &serde_json::json!({ "files": saved }),
        )?);
    } else {
        super::print(&saved.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a measured run beside the simulated one of the same scenario, by name.
fn pairs<T>(runs: &[Run], value: impl Fn(&Run) -> T) -> Vec<Pair<T>> {
    let mut pairs: Vec<Pair<T>> = Vec::new();
    for run in runs {
        let label = run.scenario.name.clone();
        let at = pairs
            .iter()
            .position(|pair| pair.label == label)
            .unwrap_or_else(|| {
                pairs.push(Pair {
                    label,
                    measured: None,
                    simulated: None,
                });
                pairs.len() - 1
            });
        match run.manifest.kind {
            RunKind::Measured => pairs[at].measured = Some(value(run)),
            RunKind::Simulated => pairs[at].simulated = Some(value(run)),
        }
    }
    pairs
}

fn borrow<T>(pair: &Pair<T>) -> Pair<&T> {
    Pair {
        label: pair.label.clone(),
        measured: pair.measured.as_ref(),
        simulated: pair.simulated.as_ref(),
    }
}

fn load(runs: &[Run]) -> Result<plots::Figure, Failure> {
    let is_open = |run: &Run| {
        run.scenario
            .groups
            .rows()
            .iter()
            .any(|g| !matches!(g.arrivals, ArrivalsFile::ClosedLoop { .. }))
    };
    let n_open = runs.iter().filter(|run| is_open(run)).count();
    if n_open != 0 && n_open != runs.len() {
        return Err(anyhow::anyhow!(
            "a load curve needs runs that are all closed-loop or all open-loop"
        )
        .into());
    }
    let kind = if n_open == 0 {
        Load::Clients
    } else {
        Load::OfferedRate
    };
    let summaries: Vec<(f64, RunKind, Summary)> = runs
        .iter()
        .map(|run| (offered(run, kind), run.manifest.kind, run.summary()))
        .collect();
    let mut points: Vec<LoadPoint<'_>> = Vec::new();
    for (load, kind, summary) in &summaries {
        let same = |point: &LoadPoint<'_>| point.load.total_cmp(load).is_eq();
        let at = points.iter().position(same).unwrap_or_else(|| {
            points.push(LoadPoint {
                load: *load,
                measured: None,
                simulated: None,
            });
            points.len() - 1
        });
        match kind {
            RunKind::Measured => points[at].measured = Some(summary),
            RunKind::Simulated => points[at].simulated = Some(summary),
        }
    }
    points.sort_by(|a, b| a.load.total_cmp(&b.load));
    Ok(plots::load_curve::draw("load", kind, &points)?)
}

/// The load of a run: its number of clients, or the rate at which all of them send.
fn offered(run: &Run, kind: Load) -> f64 {
    let clients = run.scenario.clients.rows().iter();
    match kind {
        Load::Clients => run.scenario.clients.len() as f64,
        Load::OfferedRate => clients
            .map(|client| match run.scenario.groups[client.group].arrivals {
                ArrivalsFile::Poisson { rate, .. } | ArrivalsFile::Deterministic { rate, .. } => {
                    rate.per_second()
                }
                ArrivalsFile::ClosedLoop { .. } => 0.0,
            })
            .sum(),
    }
}

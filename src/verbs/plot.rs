//! `tandem plot KIND RUN…`: draws a figure from runs.

use std::process::ExitCode;

use plots::curves::{Curve, Curves};
use plots::load_curve::{Load, LoadPoint};
use plots::{Lanes, Pair};
use schema::run::{Run, RunKind};
use schema::scenario::ArrivalsFile;
use schema::summary::Summary;

use crate::cli::{Common, Plot, PlotKind, Window};
use crate::failure::{Failure, Usage};

pub(super) fn run(common: &Common, arguments: &Plot) -> Result<ExitCode, Failure> {
    check(arguments)?;
    let runs = together(super::calibrate::load(&arguments.runs)?);
    let draws = match arguments.kind {
        PlotKind::Cdf => Some("`cdf` draws"),
        PlotKind::Gantt => Some("`gantt` draws"),
        PlotKind::Sizes => Some("`sizes` draws"),
        PlotKind::Goodput => Some("`goodput` draws"),
        PlotKind::Breakdown | PlotKind::Load => None,
    };
    if let Some(draws) = draws
        && let Some((name, _)) = runs.iter().find(|(_, run)| !run.has_trace())
    {
        return Err(super::without_trace(name, draws));
    }
    let figure = match arguments.kind {
        PlotKind::Breakdown => {
            let summaries = pairs(&runs, Run::summary);
            let borrowed: Vec<Pair<&Summary>> = summaries.iter().map(borrow).collect();
            plots::breakdown::draw("breakdown", &borrowed)?
        }
        PlotKind::Cdf => plots::cdf::draw("cdf", &pairs(&runs, plots::cdf::end_to_end_s))?,
        PlotKind::Load => load(&runs)?,
        PlotKind::Sizes => sizes(&runs)?,
        PlotKind::Goodput => goodput(&runs)?,
        PlotKind::Gantt => gantt(arguments, &runs[0].1)?,
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

/// A line for each run, named after its scenario.
fn sizes(runs: &[(String, Run)]) -> Result<plots::Figure, Failure> {
    let curves = runs.iter().map(|(_, run)| Curve {
        label: run.scenario.name.clone(),
        points: plots::curves::time_by_size(run),
    });
    let curves: Vec<Curve> = curves.collect();
    Ok(plots::curves::draw("sizes", Curves::TimeBySize, &curves)?)
}

/// A line for the runs of each scenario's name.
fn goodput(runs: &[(String, Run)]) -> Result<plots::Figure, Failure> {
    let mut curves: Vec<Curve> = Vec::new();
    for (_, run) in runs {
        let label = &run.scenario.name;
        let at = curves.iter().position(|curve| curve.label == *label);
        let at = at.unwrap_or_else(|| {
            curves.push(Curve {
                label: label.clone(),
                points: Vec::new(),
            });
            curves.len() - 1
        });
        curves[at]
            .points
            .push(plots::curves::goodput_by_clients(run));
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Ok(plots::curves::draw(
        "goodput",
        Curves::GoodputByClients,
        &curves,
    )?)
}

/// What the kind of figure does not go together with.
fn check(arguments: &Plot) -> Result<(), Usage> {
    let Window {
        from,
        to,
        replication,
    } = &arguments.window;
    if arguments.kind == PlotKind::Gantt {
        return match arguments.runs.len() {
            1 => Ok(()),
            n => Err(Usage(format!("`gantt` draws one run, found {n}"))),
        };
    }
    let given = [
        ("--from", from.is_some()),
        ("--to", to.is_some()),
        ("--replication", replication.is_some()),
        ("--requests", arguments.requests.is_some()),
        ("--all", arguments.all),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(Usage(format!("`{option}` is for `gantt` only"))),
        None => Ok(()),
    }
}

fn gantt(arguments: &Plot, run: &Run) -> Result<plots::Figure, Failure> {
    let mut view = arguments.window.view();
    if let Some(n) = arguments.requests {
        view = view.of_requests(run, n as usize);
    }
    let lanes = if arguments.all {
        Lanes::All
    } else {
        Lanes::Devices
    };
    Ok(plots::gantt::draw("gantt", run, &view, lanes)?)
}

/// Runs of one thing as one: measurements of one scenario are pooled, as its replications; of
/// simulated runs with one id, which hold the same, one is kept. Each keeps the name of its first.
fn together(runs: Vec<(String, Run)>) -> Vec<(String, Run)> {
    let mut groups: Vec<(String, Vec<Run>)> = Vec::new();
    for (name, run) in runs {
        let is_same = |group: &Vec<Run>| {
            let (a, b) = (&group[0].manifest, &run.manifest);
            match (a.kind, b.kind) {
                (RunKind::Measured, RunKind::Measured) => a.scenario == b.scenario,
                _ => a.id() == b.id(),
            }
        };
        match groups.iter_mut().find(|(_, group)| is_same(group)) {
            Some((_, group)) if run.manifest.kind == RunKind::Measured => group.push(run),
            Some(_) => {}
            None => groups.push((name, vec![run])),
        }
    }
    let pool = |runs: Vec<Run>| Run::pool(&runs.iter().collect::<Vec<_>>());
    groups
        .into_iter()
        .map(|(name, group)| (name, pool(group)))
        .collect()
}

/// Puts a measured run beside the simulated one of the same scenario, by the scenario's name. A
/// second run of the same kind and name is another thing, and stands alone under its folder's name.
fn pairs<T>(runs: &[(String, Run)], value: impl Fn(&Run) -> T) -> Vec<Pair<T>> {
    let mut pairs: Vec<Pair<T>> = Vec::new();
    for (name, run) in runs {
        let scenario = &run.scenario.name;
        let kind = run.manifest.kind;
        let mut sides = pairs
            .iter_mut()
            .filter(|pair| pair.label == *scenario)
            .map(|pair| pair.side(kind));
        if let Some(free) = sides.find(|side| side.is_none()) {
            *free = Some(value(run));
            continue;
        }
        let is_taken = pairs.iter().any(|pair| pair.label == *scenario);
        let mut pair = Pair::empty(if is_taken {
            super::folder(name)
        } else {
            scenario.clone()
        });
        *pair.side(kind) = Some(value(run));
        pairs.push(pair);
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

fn load(runs: &[(String, Run)]) -> Result<plots::Figure, Failure> {
    let is_open = |(_, run): &&(String, Run)| {
        run.scenario
            .groups
            .rows()
            .iter()
            .any(|group| !group.arrivals.is_closed_loop())
    };
    let n_open = runs.iter().filter(is_open).count();
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
    // One pair a load, labelled by its runs.
    let mut points: Vec<(f64, Pair<Summary>)> = Vec::new();
    for (name, run) in runs {
        let load = offered(run, kind).ok_or_else(|| {
            anyhow::anyhow!(
                "the load of run `{name}` is not known: some of its clients replay a trace at its own rate, or have gaps without a mean; give the trace a `rate`"
            )
        })?;
        let at = points
            .iter()
            .position(|(at, _)| at.total_cmp(&load).is_eq());
        let at = at.unwrap_or_else(|| {
            points.push((load, Pair::empty(name.clone())));
            points.len() - 1
        });
        let (_, pair) = &mut points[at];
        if pair.side(run.manifest.kind).is_some() {
            return Err(anyhow::anyhow!(
                "a load curve has one run of a kind at a load, but {name} is another than {} at {load}",
                pair.label
            )
            .into());
        }
        *pair.side(run.manifest.kind) = Some(run.summary());
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let points: Vec<LoadPoint<'_>> = points
        .iter()
        .map(|(load, pair)| LoadPoint {
            load: *load,
            measured: pair.measured.as_ref(),
            simulated: pair.simulated.as_ref(),
        })
        .collect();
    Ok(plots::load_curve::draw("load", kind, &points)?)
}

/// The load of a run: its number of clients, or the rate at which those of an open loop send;
/// `None` if the scenario does not say.
fn offered(run: &Run, kind: Load) -> Option<f64> {
    let clients = run.scenario.clients.rows().iter();
    let arrivals = clients.map(|client| &run.scenario.groups[client.group].arrivals);
    match kind {
        Load::Clients => Some(run.scenario.clients.len() as f64),
        Load::OfferedRate => arrivals
            .filter(|arrivals| !arrivals.is_closed_loop())
            .map(ArrivalsFile::mean_rate)
            .sum(),
    }
}

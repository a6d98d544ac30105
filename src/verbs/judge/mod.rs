//! `tandem judge`: the points of studies measured on this machine, and predicted from probes alone.
//!
//! Hardware and engine run the same grid. Everything is measured once a round, in an order that differs from
//! round to round, and every run stays on disk: whoever is stopped goes on where it was.

mod page;
mod plan;
mod table;

use std::path::Path;
use std::process::ExitCode;

use schema::random::Seed;
use schema::run::{Outcome as Ended, Run, RunKind, write_json};
use schema::study::{Intervals, Judged, Outcome, PointResult, Replication, Results, STUDY_FORMAT};
use serde_json::json;

use super::quickstart::typical;
use super::reproduce::chosen;
use super::sweep::{Cores, FIGURES, Swept, sweep};
use super::{calibrate as fitting, measure};
use crate::cli::{Common, Judge};
use crate::failure::Failure;
use crate::progress::Steps;
use plan::{Item, Load, Plan};
use table::Conditions;

/// What is left out at the start of each measurement, as a part of what is measured.
const WARMUP: f64 = 0.3;
/// How much longer a probe is measured than a load: every prediction rests on the few probes.
const PROBES_LONGER: f64 = 3.0;
/// The folder of what was measured, in that of a study.
const MEASURED: &str = "measured";

/// What is kept of a measured load.
struct Found {
    replication: Replication,
    /// Of the run.
    id: String,
    /// Core time that other programs took, in cores, where it is known.
    others: Option<f64>,
}

impl Found {
    fn of(run: &Run) -> Found {
        let summary = run.summary();
        Found {
            replication: Replication::of_run(run),
            id: run.manifest.id(),
            others: (summary.machine_cpu.zip(summary.cpu)).map(|(all, ours)| (all - ours).max(0.0)),
        }
    }
}

/// All that was measured.
struct Measured {
    /// The runs of probes, of all rounds.
    probes: Vec<(String, Run)>,
    /// By load, and by round.
    loads: Vec<Vec<Found>>,
    /// The first load at the end of each round.
    again: Vec<Found>,
}

pub(super) fn run(common: &Common, arguments: &Judge) -> Result<ExitCode, Failure> {
    let probing = &lasting(common, PROBES_LONGER * arguments.seconds);
    let common = &lasting(common, arguments.seconds);
    let studies = chosen(std::slice::from_ref(&arguments.studies), &arguments.only)?;
    let plan = Plan::new(common, probing, arguments, &studies)?;
    let measured = measure_all(common, arguments, &plan)?;

    let calibration = fitting::fit("this-machine", &typical(&measured.probes))?;
    let profile = arguments.out.join("profile.toml");
    calibration.profile.save(&profile)?;
    if !common.quiet {
        for warning in &calibration.warnings {
            eprintln!("warning: {warning}");
        }
    }
    let mut rows: Vec<Judged> = Vec::new();
    let mut n_failed = 0;
    for (study, points) in studies.iter().zip(&plan.points) {
        let mut study = study.clone();
        study.profiles = vec![profile.clone()];
        study.intervals = Intervals::Profile;
        study.replications = arguments.replications;
        let out = arguments.out.join(&study.name);
        if !common.quiet {
            eprintln!("simulating {}", study.name);
        }
        let swept = sweep(common, study, &out, arguments.threads, Cores::Here)?;
        n_failed += swept.failed();
        let found = points.iter().map(|place| &measured.loads[*place]);
        let is_fitted = |found: &Vec<Found>| {
            let mut fitted = calibration.profile.fitted_to.values();
            fitted.any(|id| found.iter().any(|one| one.id == *id))
        };
        let held_out: Vec<bool> = found.clone().map(|found| !is_fitted(found)).collect();
        let outcomes = outcomes(&swept, found);
        Results::open(&out.join(MEASURED))?.save_table(&swept.study, &outcomes)?;
        rows.extend(swept.study.judged(&outcomes, &swept.outcomes, &held_out));
    }
    let conditions = Conditions::of(&measured);
    let text = table::text(&studies, &rows, &conditions);
    std::fs::write(arguments.out.join("table.txt"), format!("{text}\n"))?;
    let all = json!({
        "rows": rows,
        "conditions": conditions,
        "leaves_out": table::left_out(&studies),
    });
    write_json(&arguments.out.join("rows.json"), &all)?;
    let report = page::page(&studies, &rows, &conditions, &measured)?;
    for figure in report.sections.iter().flat_map(|section| &section.figures) {
        figure.save(&arguments.out.join(FIGURES))?;
    }
    report.save(&arguments.out.join("report.html"))?;
    super::print(&match common.json {
        true => serde_json::to_string_pretty(&all)?,
        false => text,
    });
    Ok(match n_failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The options with which scenarios are measured for so long, unless they say otherwise.
fn lasting(common: &Common, seconds: f64) -> Common {
    let mut overrides = vec![
        format!("run.measure={{ time = \"{seconds:.6} s\" }}"),
        format!("run.warmup={{ time = \"{:.6} s\" }}", WARMUP * seconds),
    ];
    overrides.extend(common.overrides.iter().cloned());
    Common {
        overrides,
        ..common.clone()
    }
}

/// What was measured of each point of a study, a round a replication.
fn outcomes<'a>(swept: &Swept, found: impl Iterator<Item = &'a Vec<Found>>) -> Vec<Outcome> {
    let points = swept.tasks.iter().zip(found);
    let points = points.map(|(task, found)| PointResult {
        format: STUDY_FORMAT,
        levels: task.levels.iter().cloned().collect(),
        replications: found.iter().map(|one| one.replication.clone()).collect(),
        drawn: Vec::new(),
    });
    points.map(Outcome::Found).collect()
}

/// Measures what is not on disk yet.
fn measure_all(common: &Common, arguments: &Judge, plan: &Plan) -> Result<Measured, Failure> {
    let steps = Steps::new(common, arguments.rounds as usize * plan.n_items());
    let bench = Bench {
        steps: &steps,
        runs: &arguments.out.join("runs"),
    };
    let mut measured = Measured {
        probes: Vec::new(),
        loads: plan.loads.iter().map(|_| Vec::new()).collect(),
        again: Vec::new(),
    };
    for round in 1..=arguments.rounds {
        let reference = &plan.loads[0];
        let first = bench.run(reference, &reference.name, round)?;
        measured.loads[0].push(Found::of(&first));
        for item in plan.order(round) {
            match item {
                Item::Probe(index) => {
                    let probe = &plan.probes[index];
                    let run = bench.run(probe, &probe.name, round)?;
                    measured
                        .probes
                        .push((format!("{}-{round}", probe.name), run));
                }
                Item::Load(index) => {
                    let load = &plan.loads[index];
                    let run = bench.run(load, &load.name, round)?;
                    measured.loads[index].push(Found::of(&run));
                }
            }
        }
        let again = bench.run(reference, &format!("{}-again", reference.name), round)?;
        measured.again.push(Found::of(&again));
    }
    steps.finish();
    Ok(measured)
}

/// Where runs are made.
struct Bench<'a> {
    steps: &'a Steps,
    runs: &'a Path,
}

impl Bench<'_> {
    /// The run of `load` in this round, called `name`: the one that is there, or one that is made now.
    fn run(&self, load: &Load, name: &str, round: u32) -> Result<Run, Failure> {
        let dir = self.runs.join(format!("{name}-{round}"));
        let seed = Seed(load.scenario.seed.0.saturating_add(u64::from(round)));
        let scenario = load.scenario.clone().with_seed(seed);
        if let Ok(run) = Run::load(&dir)
            && run.manifest.kind == RunKind::Measured
            && run.manifest.outcome == Ended::Complete
            && run.manifest.scenario == *scenario.file()
        {
            self.steps.done();
            return Ok(run);
        }
        if dir.exists() {
            // What was cut short, or was another length or load.
            std::fs::remove_dir_all(&dir)?;
        }
        let run = measure::measure_as(
            &format!("{name}, round {round}"),
            &scenario,
            &dir,
            self.steps,
        )?;
        match measure::broken(&run, &dir) {
            Some(problem) => Err(anyhow::anyhow!(problem).into()),
            None => Ok(run),
        }
    }
}

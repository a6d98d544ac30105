//! `tandem sweep STUDY [-p PROFILE]`: simulates every point of a grid, and goes on where it was
//! stopped.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use plots::Figure;
use plots::errors::Point;
use rayon::prelude::*;
use schema::comparison::Metric;
use schema::profile::Profile;
use schema::run::content_hash;
use schema::scenario::Scenario;
use schema::study::{Intervals, Outcome, PointResult, Replication, Results, STUDY_FORMAT, Study};
use sim::{Arrivals, Keep, Options, SimError};

use super::simulate::inputs;
use crate::cli::{Common, Sweep};
use crate::failure::{Failure, Usage};
use crate::placing::placed_here;
use crate::progress::Steps;

/// The folder of figures in that of a study's results.
pub(super) const FIGURES: &str = "figures";

/// A point that is to be simulated.
pub(super) struct Task {
    pub(super) levels: Vec<(String, String)>,
    pub(super) scenario: Scenario,
    name: String,
}

/// On which cores the hosts of a study are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cores {
    /// On those that the scenario names.
    AsWritten,
    /// On those of this machine ([`placed_here`]).
    Here,
}

/// What a point with these levels is called in messages.
pub(super) fn label(levels: &[(String, String)]) -> String {
    let levels = levels.iter();
    let levels: Vec<String> = levels
        .map(|(name, level)| format!("{name} {level}"))
        .collect();
    levels.join(", ")
}

pub(super) fn run(common: &Common, arguments: &Sweep) -> Result<ExitCode, Failure> {
    let mut study = Study::load(&arguments.study)?;
    study.replications = arguments.replications.unwrap_or(study.replications);
    if !arguments.profile.is_empty() {
        study.profiles.clone_from(&arguments.profile);
    }
    let default = || PathBuf::from("tandem-out").join(&study.name);
    let out = arguments.out.clone().unwrap_or_else(default);
    let swept = sweep(common, study, &out, arguments.threads, Cores::AsWritten)?;
    report(common, &swept)?;
    let figures = swept.figures()?;
    for figure in &figures {
        figure.save(&out.join(FIGURES))?;
    }
    if !common.quiet {
        eprintln!("{} points in {}", swept.tasks.len(), swept.table.display());
        if !figures.is_empty() {
            eprintln!(
                "{} figures in {}",
                figures.len(),
                out.join(FIGURES).display()
            );
        }
    }
    Ok(match swept.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// A study and what was found at each of its points.
pub(super) struct Swept {
    /// The study.
    pub(super) study: Study,
    /// In the order of [`Study::points`].
    pub(super) outcomes: Vec<Outcome>,
    /// In the same order.
    pub(super) tasks: Vec<Task>,
    table: PathBuf,
}

impl Swept {
    /// The figures of the study, and the errors of what was measured; none where no point was found.
    pub(super) fn figures(&self) -> Result<Vec<Figure>, Failure> {
        let is_found = |outcome: &Outcome| matches!(outcome, Outcome::Found(_));
        if !self.outcomes.iter().any(is_found) {
            return Ok(Vec::new());
        }
        let all = self.study.figures.iter();
        let all = all.map(|figure| Ok(plots::study::draw(&self.study, &self.outcomes, figure)?));
        let mut all = all.collect::<Result<Vec<Figure>, Failure>>()?;
        let compared = self.study.compared(&self.outcomes);
        if !compared.is_empty() {
            let points: Vec<Point<'_>> = compared.iter().map(Point::from).collect();
            all.push(plots::errors::draw("errors", &points)?);
        }
        Ok(all)
    }

    /// Says what has failed, and how many points.
    pub(super) fn failed(&self) -> usize {
        let mut n = 0;
        for (task, outcome) in self.tasks.iter().zip(&self.outcomes) {
            if let Outcome::Failed(error) = outcome {
                eprintln!("error: point {}: {error}", label(&task.levels));
                n += 1;
            }
        }
        n
    }
}

/// Simulates the points of `study` that are not in the folder `out` yet, and writes its table there.
pub(super) fn sweep(
    common: &Common,
    study: Study,
    out: &Path,
    threads: usize,
    cores: Cores,
) -> Result<Swept, Failure> {
    let profile = Profile::load_all(&study.profiles)?;
    if study.intervals != Intervals::Replications && profile.is_none() {
        let problem = "intervals of a profile need one: give the study `profiles`, or -p";
        return Err(Usage(problem.to_owned()).into());
    }
    // All points are read before the first is run: a study with a mistake runs nothing.
    let tasks = tasks(common, &study, cores)?;
    let results = Results::open(out)?;
    let mut outcomes = Vec::new();
    for task in &tasks {
        outcomes.push(match results.load(&task.name)? {
            Some(found) => Outcome::Found(found),
            None => Outcome::Missing,
        });
    }
    let missing: Vec<usize> = (0..tasks.len())
        .filter(|index| outcomes[*index] == Outcome::Missing)
        .collect();
    if !common.quiet && missing.len() < tasks.len() {
        eprintln!(
            "{} of {} points are there already",
            tasks.len() - missing.len(),
            tasks.len()
        );
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let steps = Steps::new(common, missing.len());
    let found: Result<Vec<(usize, Outcome)>, Failure> = pool.install(|| {
        let missing = missing.into_par_iter();
        missing
            .map(|index| {
                let task = &tasks[index];
                steps.begin(&label(&task.levels));
                let outcome = simulate(&study, task, profile.as_ref());
                if let Outcome::Found(found) = &outcome {
                    results.save(&task.name, found)?;
                }
                steps.done();
                Ok((index, outcome))
            })
            .collect()
    });
    steps.finish();
    for (index, outcome) in found? {
        outcomes[index] = outcome;
    }
    let table = results.save_table(&study, &outcomes)?;
    Ok(Swept {
        study,
        outcomes,
        tasks,
        table,
    })
}

/// Every point of the study, in the order of its table.
pub(super) fn tasks(common: &Common, study: &Study, cores: Cores) -> Result<Vec<Task>, Failure> {
    let mut profiles = Vec::new();
    for path in &study.profiles {
        profiles.push(crate::validation::profile_input(path)?.1);
    }
    let program = format!("{} {}", super::PROGRAM, content_hash(&program()?));
    let tasks = study
        .points()
        .into_iter()
        .enumerate()
        .map(|(index, point)| {
            let names = study.factors.iter().map(|factor| factor.name.clone());
            let levels: Vec<(String, String)> = names.zip(point.labels).collect();
            let mut overrides = point.overrides;
            overrides.extend(common.overrides.iter().cloned());
            overrides.extend(common.seed.map(|seed| format!("run.seed={seed}")));
            let load = |overrides: &[String]| {
                let scenario = Scenario::load(&study.scenario, overrides);
                scenario.with_context(|| format!("point {}", label(&levels)))
            };
            let mut scenario = load(&overrides)?;
            if cores == Cores::Here {
                overrides.extend(placed_here(scenario.file())?);
                scenario = load(&overrides)?;
            }
            if let Some(problem) = study.unknown_group(index, &scenario) {
                return Err(Usage(problem).into());
            }
            let mut depends_on = profiles.clone();
            depends_on.extend(inputs(&scenario)?.into_values());
            let how = (study.replications, study.intervals);
            let name = Results::name(&scenario, &depends_on, how, &program);
            Ok(Task {
                levels,
                scenario,
                name,
            })
        });
    tasks.collect()
}

/// This program, byte for byte: what another one has found is not taken for what it finds.
fn program() -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(std::env::current_exe()?)?)
}

fn simulate(study: &Study, task: &Task, profile: Option<&Profile>) -> Outcome {
    let found = replications(study, &task.scenario, profile).and_then(|replications| {
        let drawn = match study.intervals {
            Intervals::Prediction { draws } => drawn(&task.scenario, profile, draws)?,
            Intervals::Replications | Intervals::Profile => Vec::new(),
        };
        Ok((replications, drawn))
    });
    match found {
        Ok((replications, drawn)) => Outcome::Found(PointResult {
            format: STUDY_FORMAT,
            levels: task.levels.iter().cloned().collect(),
            replications,
            drawn,
        }),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// So many replications on this thread.
const fn options(replications: u32) -> Options {
    Options {
        replications,
        arrivals: Arrivals::Independent,
        threads: 1,
        precision: None,
        keep: Keep::Statistics,
    }
}

/// What each replication of a point finds, with a profile of its own if intervals are over profiles.
fn replications(
    study: &Study,
    scenario: &Scenario,
    profile: Option<&Profile>,
) -> Result<Vec<Replication>, Failure> {
    if scenario.is_plain() {
        let summaries = sim::summaries(scenario, profile, &options(study.replications))?;
        return Ok(summaries.iter().map(Replication::of).collect());
    }
    if study.intervals == Intervals::Profile {
        return drawn(scenario, profile, study.replications);
    }
    let runs = sim::runs(scenario, profile, &options(study.replications))?;
    Ok(runs.iter().map(Replication::of_run).collect())
}

/// What so many replications of a point find with a drawn profile each. They are shared out to idle threads
/// too: a study may have few points and many draws.
fn drawn(
    scenario: &Scenario,
    profile: Option<&Profile>,
    draws: u32,
) -> Result<Vec<Replication>, Failure> {
    let profile = profile.ok_or(SimError::NoProfile)?;
    let all = (0..draws).into_par_iter().map(|index| {
        let seed = scenario.seed.replication(index);
        let scenario = scenario.clone().with_seed(seed);
        let runs = sim::runs(&scenario, Some(&profile.drawn(seed)), &options(1))?;
        Ok(Replication::of_run(&runs[0]))
    });
    all.collect()
}

/// Prints the points with their means, or with `--json` all that was found.
fn report(common: &Common, swept: &Swept) -> Result<(), Failure> {
    let (tasks, outcomes) = (&swept.tasks, &swept.outcomes);
    let found = |outcome: &Outcome| match outcome {
        Outcome::Found(found) => Some(found.clone()),
        Outcome::Failed(_) | Outcome::Missing => None,
    };
    if common.json {
        let all: Vec<PointResult> = outcomes.iter().filter_map(found).collect();
        super::print(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let metrics = [Metric::Mean, Metric::P99, Metric::Throughput];
    let width = tasks.iter().map(|task| label(&task.levels).len()).max();
    let width = width.unwrap_or(0);
    let mut lines = vec![format!(
        "{:<width$} {:>11} {:>8} {:>11} {:>8} {:>14} {:>8}",
        "", "mean [ms]", "", "p99 [ms]", "", "throughput [/s]", ""
    )];
    for (task, outcome) in tasks.iter().zip(outcomes) {
        let mut line = format!("{:<width$}", label(&task.levels));
        for (metric, column) in metrics.into_iter().zip([11, 11, 15]) {
            let estimate =
                found(outcome).and_then(|found| found.estimate(metric, swept.study.intervals));
            let Some(estimate) = estimate else {
                line += &format!(" {:>column$} {:>8}", "-", "");
                continue;
            };
            let scale = if metric.unit() == "s" { 1e3 } else { 1.0 };
            let within = 50.0 * (estimate.high - estimate.low) / estimate.value;
            line += &format!(" {:>column$.3} ±{within:>6.2}%", scale * estimate.value);
        }
        lines.push(line);
    }
    super::print(&lines.join("\n"));
    Ok(())
}

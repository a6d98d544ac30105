//! `tandem measure SCENARIO`: runs a scenario on this machine's hardware.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use realrun::{MeasureOptions, Progress};
use schema::run::{Outcome, Run};
use schema::scenario::Scenario;
use schema::workload::Schedule;

use super::{PROGRAM, load_scenario};
use crate::cli::{Common, Measure};
use crate::failure::{Failure, NO};
use crate::progress::Steps;

pub(super) fn run(common: &Common, arguments: &Measure) -> Result<ExitCode, Failure> {
    let scenario = load_scenario(common, &arguments.scenario)?;
    let default = || PathBuf::from("tandem-out").join(format!("{}-measured", scenario.name));
    let out = arguments.out.clone().unwrap_or_else(default);
    let steps = Steps::new(common, 1);
    let run = measure(&scenario, &out, &steps)?;
    steps.finish();
    super::print_summary(common, &run, &out)?;
    Ok(match broken(&run, &out) {
        Some(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(NO)
        }
        None => ExitCode::SUCCESS,
    })
}

/// What broke the run in `out`, if anything did.
pub(super) fn broken(run: &Run, out: &Path) -> Option<String> {
    match &run.manifest.outcome {
        Outcome::Complete => None,
        Outcome::Broken { role, how } => Some(format!(
            "role `{role}` {how}; what was recorded until then is in {}",
            out.display()
        )),
    }
}

/// Measures `scenario` into the run directory `out`.
pub(super) fn measure(scenario: &Scenario, out: &Path, steps: &Steps) -> Result<Run, Failure> {
    measure_as(&scenario.name, scenario, out, steps)
}

/// The same under another name than the scenario's in what is said meanwhile.
pub(super) fn measure_as(
    name: &str,
    scenario: &Scenario,
    out: &Path,
    steps: &Steps,
) -> Result<Run, Failure> {
    let options = MeasureOptions {
        executable: std::env::current_exe()?,
        out: out.to_owned(),
        command: std::env::args().collect(),
        program: PROGRAM.to_owned(),
    };
    steps.begin(&format!("measuring {name}"));
    let planned_s = planned_s(scenario);
    let run = realrun::measure(scenario, &options, &mut |progress| {
        if let (Progress::Running(time), Some(planned_s)) = (progress, planned_s) {
            steps.within(time.as_secs_f64() / planned_s);
        }
    })?;
    steps.done();
    Ok(run)
}

/// How long the clients will send, in seconds; `None` if that depends on how fast they are served.
fn planned_s(scenario: &Scenario) -> Option<f64> {
    let (_, end) = Schedule::new(scenario).window()?;
    Some(end.as_ns() as f64 / 1e9)
}

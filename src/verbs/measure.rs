//! `tandem measure SCENARIO`: runs a scenario on this machine's hardware.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use realrun::{MeasureOptions, Progress};
use schema::run::{Outcome, Run};
use schema::scenario::Scenario;

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
    if let Outcome::Broken { role, how } = &run.manifest.outcome {
        eprintln!(
            "error: role `{role}` {how}; what was recorded until then is in {}",
            out.display()
        );
        return Ok(ExitCode::from(NO));
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures `scenario` into the run directory `out`.
pub(super) fn measure(scenario: &Scenario, out: &Path, steps: &Steps) -> Result<Run, Failure> {
    let options = MeasureOptions {
        executable: std::env::current_exe()?,
        out: out.to_owned(),
        command: std::env::args().collect(),
        program: PROGRAM.to_owned(),
    };
    steps.begin(&format!("measuring {}", scenario.name));
    let run = realrun::measure(scenario, &options, &mut |_: Progress| {})?;
    steps.done();
    Ok(run)
}

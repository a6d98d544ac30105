//! `tandem recover RUN`: makes the run of a measurement that was killed before it could.

use std::process::ExitCode;

use crate::cli::{Common, Recover};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Recover) -> Result<ExitCode, Failure> {
    let run = realrun::recover(&arguments.run)?;
    super::print_summary(common, &run, &arguments.run)?;
    if !common.quiet
        && let Some(problem) = super::measure::broken(&run, &arguments.run)
    {
        eprintln!("warning: {problem}");
    }
    Ok(ExitCode::SUCCESS)
}

//! `tandem calibrate RUN…`: fits a profile to runs.

use std::path::PathBuf;
use std::process::ExitCode;

use calibrate::{Calibration, Source};
use schema::run::Run;
use serde_json::json;

use crate::cli::{Calibrate, Common};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Calibrate) -> Result<ExitCode, Failure> {
    let runs = load(&arguments.runs)?;
    let calibration = fit(&arguments.name, &runs)?;
    calibration.profile.save(&arguments.out)?;
    if common.json {
        let result = json!({ "profile": calibration.profile, "warnings": calibration.warnings });
        super::print(&serde_json::to_string_pretty(&result)?);
    } else {
        super::print(&calibration.table());
        super::print(&format!("profile: {}", arguments.out.display()));
    }
    if !common.quiet {
        for warning in &calibration.warnings {
            eprintln!("warning: {warning}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads run directories; each is named by its path.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<(String, Run)>, Failure> {
    paths
        .iter()
        .map(|path| Ok((path.display().to_string(), Run::load(path)?)))
        .collect()
}

/// Fits a profile.
pub(super) fn fit(name: &str, runs: &[(String, Run)]) -> Result<Calibration, Failure> {
    let sources: Vec<Source<'_>> = runs
        .iter()
        .map(|(name, run)| Source {
            name: name.clone(),
            run,
        })
        .collect();
    Ok(calibrate::calibrate(name, &sources)?)
}

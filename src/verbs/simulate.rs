//! `tandem simulate SCENARIO -p PROFILE`: runs a scenario in the engine.

use std::path::PathBuf;
use std::process::ExitCode;

use schema::profile::Profile;
use schema::run::content_hash;
use sim::{Arrivals, Options};

use super::load_scenario;
use crate::cli::{Common, Simulate};
use crate::failure::Failure;
use crate::validation::Fitted;

pub(super) fn run(common: &Common, arguments: &Simulate) -> Result<ExitCode, Failure> {
    let scenario = load_scenario(common, &arguments.scenario)?;
    let profile = Profile::load(&arguments.profile)?;
    let fitted = Fitted {
        path: &arguments.profile,
        profile: &profile,
    };
    let options = Options {
        replications: arguments.replications,
        arrivals: Arrivals::Independent,
        threads: arguments.threads,
    };
    let mut run = sim::simulate(&scenario, &profile, &options)?;
    let source = scenario.source();
    let path = source.path().display().to_string();
    run.manifest.inputs = [
        (path, content_hash(source.text().as_bytes())),
        fitted.input()?,
    ]
    .into();
    let default = || PathBuf::from("tandem-out").join(format!("{}-simulated", scenario.name));
    let out = arguments.out.clone().unwrap_or_else(default);
    run.save(&out)?;
    super::print_summary(common, &run, &out)?;
    Ok(ExitCode::SUCCESS)
}

//! `tandem simulate SCENARIO -p PROFILE`: runs a scenario in the engine.

use std::path::PathBuf;
use std::process::ExitCode;

use schema::profile::Profile;
use schema::run::content_hash;
use sim::{Arrivals, Options};

use super::load_scenario;
use crate::cli::{Common, Simulate};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Simulate) -> Result<ExitCode, Failure> {
    let scenario = load_scenario(common, &arguments.scenario)?;
    let profile = Profile::load(&arguments.profile)?;
    let options = Options {
        replications: arguments.replications,
        arrivals: Arrivals::Independent,
        threads: arguments.threads,
    };
    let mut run = sim::simulate(&scenario, &profile, &options)?;
    let source = scenario.source();
    let inputs = [
        (
            source.path().display().to_string(),
            source.text().to_owned(),
        ),
        (arguments.profile.display().to_string(), profile.to_toml()),
    ];
    run.manifest.inputs = inputs
        .into_iter()
        .map(|(name, text)| (name, content_hash(text.as_bytes())))
        .collect();
    let default = || PathBuf::from("tandem-out").join(format!("{}-simulated", scenario.name));
    let out = arguments.out.clone().unwrap_or_else(default);
    run.save(&out)?;
    super::print_summary(common, &run, &out)?;
    Ok(ExitCode::SUCCESS)
}

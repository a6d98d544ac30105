//! `tandem simulate SCENARIO [-p PROFILE]`: runs a scenario in the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use schema::profile::Profile;
use schema::run::{Run, content_hash};
use schema::scenario::{Extent, Scenario};
use sim::{Arrivals, Keep, Options, Precision};

use super::load_scenario;
use crate::cli::{Common, Simulate};
use crate::failure::Failure;
use crate::validation::profile_input;

pub(super) fn run(common: &Common, arguments: &Simulate) -> Result<ExitCode, Failure> {
    let scenario = load_scenario(common, &arguments.scenario)?;
    let profile = Profile::load_all(&arguments.profile)?;
    let options = Options {
        replications: arguments.replications,
        arrivals: Arrivals::Independent,
        threads: arguments.threads,
        precision: arguments.precision(),
        keep: if arguments.trace {
            Keep::Trace
        } else {
            Keep::Statistics
        },
    };
    let mut run = sim::simulate(&scenario, profile.as_ref(), &options)?;
    run.manifest.inputs = inputs(&scenario)?;
    for path in &arguments.profile {
        let (path, hash) = profile_input(path)?;
        run.manifest.inputs.insert(path, hash);
    }
    let default = || PathBuf::from("tandem-out").join(format!("{}-simulated", scenario.name));
    let out = arguments.out.clone().unwrap_or_else(default);
    run.save(&out)?;
    if scenario.warmup == Extent::Auto && !common.quiet {
        eprintln!("warm-up: {}", super::extent(run.scenario.warmup));
    }
    super::print_summary(common, &run, &out)?;
    Ok(match options.precision {
        Some(precision) => reached(common, &run, &precision),
        None => ExitCode::SUCCESS,
    })
}

/// The hashes of the scenario and of the traces that its clients replay, by file.
pub(super) fn inputs(scenario: &Scenario) -> Result<BTreeMap<String, String>, Failure> {
    let source = scenario.source();
    let path = source.path().display().to_string();
    let mut inputs: BTreeMap<String, String> =
        [(path, content_hash(source.text().as_bytes()))].into();
    for file in scenario.replays() {
        let path = scenario.folder().join(file);
        let bytes = std::fs::read(&path)?;
        inputs.insert(path.display().to_string(), content_hash(&bytes));
    }
    Ok(inputs)
}

/// Whether the replications that may be spent were enough.
fn reached(common: &Common, run: &Run, precision: &Precision) -> ExitCode {
    let summary = run.summary();
    let estimate = precision.metric.end_to_end(&summary);
    let estimate = estimate.expect("a precision is of a metric that every run has");
    let half = (estimate.high - estimate.low) / 2.0 / estimate.value.abs();
    let n = run.manifest.replications;
    let name = precision.metric.name();
    if half <= precision.relative {
        if !common.quiet {
            eprintln!(
                "{name} is within ±{:.2}% after {n} replications",
                100.0 * half
            );
        }
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "{name} is within ±{:.2}% only after {n} replications, the most allowed; measure longer or allow more with --max-replications",
        100.0 * half
    );
    ExitCode::FAILURE
}

//! Measured runs beside their simulations: what `validate` and `quickstart` have in common.

use std::path::Path;

use calibrate::validate::{Tolerance, Violation, compare, judge, judged};
use schema::comparison::Row;
use schema::profile::Profile;
use schema::run::{Run, RunKind};
use schema::scenario::Scenario;
use sim::{Arrivals, Options};

use crate::failure::Failure;

/// Replications of each simulation: enough that its own noise is small beside a measurement's.
const REPLICATIONS: u32 = 20;

/// What was measured of a scenario, and its simulation.
pub(crate) struct Validated {
    /// Name of the first measured run.
    pub(crate) name: String,
    /// As measured, without the repetition.
    pub(crate) measured: Run,
    /// As simulated.
    pub(crate) simulated: Run,
    /// Figure by figure.
    pub(crate) rows: Vec<Row>,
}

/// Groups runs by scenario, simulates each scenario once, and compares.
///
/// Of the runs of a scenario the first, third, … are compared, as one; the others, as one, are
/// their repetition: the noise floor.
pub(crate) fn validate(
    runs: &[(String, Run)],
    profile: &Profile,
) -> Result<Vec<Validated>, Failure> {
    let mut groups: Vec<Vec<&(String, Run)>> = Vec::new();
    for named in runs {
        let (name, run) = named;
        if run.manifest.kind != RunKind::Measured {
            return Err(anyhow::anyhow!(
                "{name} is a simulated run; only a measured one can be validated"
            )
            .into());
        }
        match groups
            .iter_mut()
            .find(|group| group[0].1.manifest.scenario == run.manifest.scenario)
        {
            Some(group) => group.push(named),
            None => groups.push(vec![named]),
        }
    }
    groups
        .into_iter()
        .map(|group| validate_one(&group, profile))
        .collect()
}

fn validate_one(group: &[&(String, Run)], profile: &Profile) -> Result<Validated, Failure> {
    let every_second = |first: usize| -> Vec<&Run> {
        group
            .iter()
            .skip(first)
            .step_by(2)
            .map(|(_, run)| run)
            .collect()
    };
    let measured = Run::pool(&every_second(0));
    let again = every_second(1);
    let repeated = (!again.is_empty()).then(|| Run::pool(&again));
    let simulated = simulate(&measured.scenario, profile)?;
    let held_out = !group.iter().any(|(name, _)| is_fitted_to(profile, name));
    let name = group[0].0.clone();
    let rows = compare(&name, &measured, repeated.as_ref(), &simulated, held_out);
    Ok(Validated {
        name,
        measured,
        simulated,
        rows,
    })
}

/// Simulates the very requests of a measurement.
pub(crate) fn simulate(scenario: &Scenario, profile: &Profile) -> Result<Run, Failure> {
    let options = Options {
        replications: REPLICATIONS,
        arrivals: Arrivals::Shared,
        threads: 0,
    };
    Ok(sim::simulate(scenario, profile, &options)?)
}

/// Whether a law of the profile says that it comes from the run `name`.
fn is_fitted_to(profile: &Profile, name: &str) -> bool {
    let laws = profile.parts.values().flat_map(|part| part.costs.values());
    let parameters = profile
        .parts
        .values()
        .flat_map(|part| part.parameters.values());
    let mut sources = laws
        .map(|law| &law.source)
        .chain(parameters.map(|p| &p.source));
    sources.any(|source| {
        source.match_indices(name).any(|(at, _)| {
            let rest = &source[at + name.len()..];
            rest.is_empty() || rest.starts_with(',')
        })
    })
}

/// Every row, in order.
pub(crate) fn all_rows(validated: &[Validated]) -> Vec<Row> {
    validated.iter().flat_map(|one| one.rows.clone()).collect()
}

/// What is outside the tolerance, and in words how much was judged.
pub(crate) fn verdict(rows: &[Row], tolerance: &Tolerance) -> (Vec<Violation>, String) {
    let violations = judge(rows, tolerance);
    let n = judged(rows).count();
    let text = format!(
        "{} of {n} held-out figures are within tolerance (mean {:.0}%, median {:.0}%, 99th percentile {:.0}%, throughput at saturation {:.0}%)",
        n - violations.len(),
        100.0 * tolerance.mean,
        100.0 * tolerance.p50,
        100.0 * tolerance.p99,
        100.0 * tolerance.throughput_at_saturation
    );
    (violations, text)
}

/// Writes the simulated runs below `dir`, by the scenario's name.
pub(crate) fn save_simulated(validated: &[Validated], dir: &Path) -> Result<(), Failure> {
    for one in validated {
        one.simulated
            .save(&dir.join(&one.simulated.scenario.name))?;
    }
    Ok(())
}

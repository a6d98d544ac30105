//! Measured runs beside their simulations: what `validate` and `quickstart` have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use calibrate::validate::pairs::{Side, pairs};
use calibrate::validate::{Tolerance, Violation, compare, judge, judged};
use schema::comparison::{PairRow, Row};
use schema::error::FileError;
use schema::profile::Profile;
use schema::run::{Run, RunKind, content_hash};
use schema::scenario::Scenario;
use sim::{Arrivals, Keep, Options};

use crate::failure::Failure;

/// Replications of each simulation: enough that its own noise is small beside a measurement's.
const REPLICATIONS: u32 = 20;

/// A profile and its file.
#[derive(Clone, Copy)]
pub(crate) struct Fitted<'a> {
    /// Where it was read from or written to.
    pub(crate) path: &'a Path,
    /// What it says.
    pub(crate) profile: &'a Profile,
}

impl Fitted<'_> {
    /// Path and SHA-256, for the manifest of a run that is made with it.
    pub(crate) fn input(self) -> Result<(String, String), Failure> {
        profile_input(self.path)
    }
}

/// Path and SHA-256 of a profile.
pub(crate) fn profile_input(path: &Path) -> Result<(String, String), Failure> {
    let bytes = std::fs::read(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok((path.display().to_string(), content_hash(&bytes)))
}

/// What was measured of a scenario, and its simulation.
pub(crate) struct Validated {
    /// Name of the first measured run.
    pub(crate) name: String,
    /// As measured, without the repetition.
    pub(crate) measured: Run,
    /// As simulated.
    pub(crate) simulated: Run,
    /// Whether the fit saw none of the runs.
    pub(crate) held_out: bool,
    /// Figure by figure.
    pub(crate) rows: Vec<Row>,
}

/// Groups runs by scenario, simulates each scenario once, and compares.
///
/// Of every three runs of a scenario the second is repetition: these are pooled, and the others are
/// pooled and compared. So a pair is a measurement and its repetition, and of many runs most are
/// compared.
pub(crate) fn validate(
    runs: &[(String, Run)],
    profile: Fitted<'_>,
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

fn validate_one(group: &[&(String, Run)], profile: Fitted<'_>) -> Result<Validated, Failure> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for (index, (_, run)) in group.iter().enumerate() {
        if index % 3 == 1 {
            again.push(run);
        } else {
            first.push(run);
        }
    }
    let measured = Run::pool(&first);
    let repeated = (!again.is_empty()).then(|| Run::pool(&again));
    let mut simulated = simulate(&measured.scenario, profile.profile)?;
    simulated.manifest.inputs = measured.manifest.inputs.clone();
    simulated.manifest.inputs.extend([profile.input()?]);
    let seen: BTreeSet<&String> = profile.profile.fitted_to.values().collect();
    let held_out = !group
        .iter()
        .any(|(_, run)| seen.contains(&run.manifest.id()));
    let name = group[0].0.clone();
    let rows = compare(&name, &measured, repeated.as_ref(), &simulated, held_out);
    Ok(Validated {
        name,
        measured,
        simulated,
        held_out,
        rows,
    })
}

/// Simulates the very requests of a measurement.
pub(crate) fn simulate(scenario: &Scenario, profile: &Profile) -> Result<Run, Failure> {
    let options = Options {
        replications: REPLICATIONS,
        arrivals: Arrivals::Shared,
        threads: 0,
        precision: None,
        keep: Keep::Trace,
    };
    Ok(sim::simulate(scenario, Some(profile), &options)?)
}

/// Every row, in order.
pub(crate) fn all_rows(validated: &[Validated]) -> Vec<Row> {
    validated.iter().flat_map(|one| one.rows.clone()).collect()
}

/// Nets side by side on a GPU, where some were measured.
pub(crate) fn all_pairs(validated: &[Validated]) -> Vec<PairRow> {
    let sides = validated.iter().map(|one| Side {
        name: &one.name,
        measured: &one.measured,
        simulated: Some(&one.simulated),
        held_out: one.held_out,
    });
    pairs(&sides.collect::<Vec<_>>())
}

/// What is outside the tolerance, and in words how much was judged.
pub(crate) fn verdict(rows: &[Row], tolerance: &Tolerance) -> (Vec<Violation>, String) {
    let violations = judge(rows, tolerance);
    let n = judged(rows).count();
    if n == 0 {
        let text = "no figure was judged: the profile was fitted to every run; measure one that it has not seen";
        return (violations, text.to_owned());
    }
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

/// Writes the simulated runs below `dir`, by the scenario's name; those of one name are numbered.
pub(crate) fn save_simulated(validated: &[Validated], dir: &Path) -> Result<(), Failure> {
    let mut saved: BTreeMap<&str, u32> = BTreeMap::new();
    for one in validated {
        let name = one.simulated.scenario.name.as_str();
        let n = saved.entry(name).or_default();
        *n += 1;
        let folder = match n {
            1 => name.to_owned(),
            n => format!("{name}-{n}"),
        };
        one.simulated.save(&dir.join(folder))?;
    }
    Ok(())
}

//! Fits the scenarios that come with the program to the cores of this machine.

use std::collections::BTreeSet;

use realrun::machine;
use schema::scenario::{PlacementFile, ScenarioFile};

use crate::failure::Failure;

/// Overrides that put what is pinned to core 1 of the scenario in `text` on one core of this machine, and
/// the rest on another.
///
/// The scenarios are written for cores 0 and 1. This process may be kept to others; with one core
/// only, all roles share it.
pub(crate) fn fit_to_machine(text: &str) -> Result<Vec<String>, Failure> {
    let path = std::path::Path::new("scenario");
    let source = schema::scenario::Source::parse(path, text.to_owned(), &[])?;
    placed_here(&source.read()?)
}

/// The same for a scenario that was read already.
pub(crate) fn placed_here(file: &ScenarioFile) -> Result<Vec<String>, Failure> {
    let cores = machine::cores();
    let (Some(first), Some(last)) = (cores.first(), cores.last()) else {
        return Err(
            anyhow::anyhow!("the system does not say on which cores this process may run").into(),
        );
    };
    let second = cores.get(1).unwrap_or(first);
    let PlacementFile::Local(local) = &file.placement else {
        return Ok(Vec::new());
    };
    let pins = local.pin.iter().map(|(host, pin)| {
        let here = pin
            .iter()
            .map(|core| if *core == 1 { second } else { first });
        let here: Vec<&u32> = here.collect::<BTreeSet<_>>().into_iter().collect();
        format!("placement.local.pin.{host}={here:?}")
    });
    let sizes = file
        .hosts
        .keys()
        .map(|host| format!("hosts.{host}.cores={}", last + 1));
    Ok(pins.chain(sizes).collect())
}

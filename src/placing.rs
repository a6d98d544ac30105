//! Fits the scenarios that come with the program to the cores of this machine.

use realrun::machine;

use crate::failure::Failure;

/// Overrides that put the scenario's server on one core of this machine and the rest on another.
///
/// The scenarios are written for cores 0 and 1. This process may be kept to others; with one core
/// only, all roles share it.
pub(crate) fn fit_to_machine(text: &str) -> Result<Vec<String>, Failure> {
    let cores = machine::cores();
    let (Some(first), Some(last)) = (cores.first(), cores.last()) else {
        return Err(
            anyhow::anyhow!("the system does not say on which cores this process may run").into(),
        );
    };
    let second = cores.get(1).unwrap_or(first);
    let file: schema::scenario::ScenarioFile = toml_of(text)?;
    let schema::scenario::PlacementFile::Local(local) = &file.placement else {
        return Ok(Vec::new());
    };
    let pins = local.pin.iter().map(|(host, pin)| {
        let core = if pin.contains(&1) { second } else { first };
        format!("placement.local.pin.{host}=[{core}]")
    });
    let sizes = file
        .hosts
        .keys()
        .map(|host| format!("hosts.{host}.cores={}", last + 1));
    Ok(pins.chain(sizes).collect())
}

fn toml_of(text: &str) -> Result<schema::scenario::ScenarioFile, Failure> {
    let path = std::path::Path::new("scenario");
    Ok(schema::scenario::Source::parse(path, text.to_owned(), &[])?.read()?)
}

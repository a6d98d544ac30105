//! `tandem compare FIRST SECOND [-p PROFILE]`: the difference of two scenarios.

use std::process::ExitCode;

use schema::profile::Profile;
use sim::{Arrivals, Difference, Keep, Options};

use super::load_scenario;
use crate::cli::{Common, Compare};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Compare) -> Result<ExitCode, Failure> {
    let first = load_scenario(common, &arguments.first)?;
    let mut second = common.clone();
    second
        .overrides
        .extend(arguments.set_second.iter().cloned());
    let other = arguments.second.as_ref().unwrap_or(&arguments.first);
    let second = load_scenario(&second, other)?;
    let profile = Profile::load_all(&arguments.profile)?;
    let options = Options {
        replications: arguments.replications,
        arrivals: Arrivals::Independent,
        threads: arguments.threads,
        precision: None,
        keep: Keep::Statistics,
    };
    let differences = sim::compare(&first, &second, profile.as_ref(), &options)?;
    if common.json {
        let rows: Vec<serde_json::Value> = differences.iter().map(json).collect();
        super::print(&serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!(
        "{:<12} {:>12} {:>12} {:>12} {:>24} {:>8}",
        "", "first", "second", "difference", "95% interval", "gain"
    )];
    for row in &differences {
        let (scale, unit) = match row.metric.unit() {
            "s" => (1e3, "ms"),
            unit => (1.0, unit),
        };
        lines.push(format!(
            "{:<12} {:>12.4} {:>12.4} {:>+12.4} {:>24} {:>8.1}",
            format!("{} [{unit}]", row.metric.name()),
            scale * row.first.value,
            scale * row.second.value,
            scale * row.difference.value,
            format!(
                "{:+.4} to {:+.4}",
                scale * row.difference.low,
                scale * row.difference.high
            ),
            row.gain
        ));
    }
    lines.push(format!(
        "{} pairs of replications with common random numbers; gain: how many times smaller the variance of the difference is than with others",
        arguments.replications
    ));
    super::print(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn json(row: &Difference) -> serde_json::Value {
    serde_json::json!({
        "metric": row.metric.name(),
        "unit": row.metric.unit(),
        "first": row.first,
        "second": row.second,
        "difference": row.difference,
        "gain": row.gain,
    })
}

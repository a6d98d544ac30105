//! `tandem explain SCENARIO -p PROFILE`: where the time goes, and what would help.

use std::process::ExitCode;

use schema::occupancy::occupancy;
use schema::profile::Profile;
use schema::stats::Estimate;
use sim::{Arrivals, Keep, Options, SPEEDUPS, SimError};

use super::load_scenario;
use crate::cli::{Common, Explain};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Explain) -> Result<ExitCode, Failure> {
    let scenario = load_scenario(common, &arguments.scenario)?;
    let profile = Profile::load_all(&arguments.profile)?;
    let profile = profile.as_ref().ok_or(SimError::NoProfile)?;
    let options = Options {
        replications: arguments.replications,
        arrivals: Arrivals::Independent,
        threads: arguments.threads,
        precision: None,
        keep: Keep::Trace,
    };
    let metric = arguments.metric.into();
    let found = sim::explain(&scenario, profile, metric, &options)?;
    let run = sim::simulate(&scenario, Some(profile), &options)?;
    let busy = occupancy(&run);
    if common.json {
        let gains = found.gains.iter().map(|gain| {
            serde_json::json!({
                "part": gain.lever.to_string(),
                "faster": SPEEDUPS,
                "better": gain.better,
            })
        });
        let busy = busy.iter().map(|row| {
            serde_json::json!({
                "host": run.scenario.hosts[row.host].name,
                "what": row.name.name(),
                "n": row.n,
                "waiting_s": row.waiting_s,
                "service_s": row.service_s,
                "busy": row.busy,
            })
        });
        let without = found.without_effect.iter().map(ToString::to_string);
        super::print(&serde_json::to_string_pretty(&serde_json::json!({
            "metric": metric.name(),
            "unit": metric.unit(),
            "base": found.base,
            "busy": busy.collect::<Vec<_>>(),
            "gains": gains.collect::<Vec<_>>(),
            "without_effect": without.collect::<Vec<_>>(),
        }))?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!(
        "{:<14} {:<14} {:>9} {:>12} {:>12} {:>9}",
        "host", "does", "n", "waits [ms]", "takes [ms]", "busy"
    )];
    lines.extend(busy.iter().map(|row| {
        format!(
            "{:<14} {:<14} {:>9} {:>12.4} {:>12.4} {:>9.3}",
            run.scenario.hosts[row.host].name,
            row.name.name(),
            row.n,
            1e3 * row.waiting_s,
            1e3 * row.service_s,
            row.busy
        )
    }));
    let (scale, unit) = match metric.unit() {
        "s" => (1e3, "ms"),
        unit => (1.0, unit),
    };
    lines.push(format!(
        "\n{} {:.4} {unit}; better by, with a part that is faster by itself [%]",
        metric.name(),
        scale * found.base.value
    ));
    let width = found
        .gains
        .iter()
        .map(|gain| gain.lever.to_string().len())
        .max();
    let width = width.unwrap_or(0).max(4);
    let [first, second] = SPEEDUPS.map(|speedup| format!("{speedup} times as fast"));
    lines.push(format!("{:<width$} {first:>28} {second:>28}", "part"));
    let cell = |e: &Estimate| {
        let percent = [e.value, e.low, e.high].map(|part| 100.0 * part);
        format!(
            "{:+.2} ({:+.2} to {:+.2})",
            percent[0], percent[1], percent[2]
        )
    };
    lines.extend(found.gains.iter().map(|gain| {
        let [first, second] = gain.better.each_ref().map(cell);
        format!(
            "{:<width$} {first:>28} {second:>28}",
            gain.lever.to_string()
        )
    }));
    let without: Vec<String> = found
        .without_effect
        .iter()
        .map(ToString::to_string)
        .collect();
    if !without.is_empty() {
        lines.push(format!("without effect: {}", without.join("; ")));
    }
    super::print(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

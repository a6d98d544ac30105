//! `tandem quickstart`: the whole loop on this machine.
//!
//! Calibrates on probes and one client at a time, and validates on loads that the fit never saw.
//! Probes and loads are measured in turn, in several short rounds, so that a machine that is slower
//! for a while is slower for both; the second of every three rounds is the repetition that shows how
//! far two measurements of the same thing lie apart.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use calibrate::Calibration;
use plots::load_curve::{Load, LoadPoint};
use schema::run::{Run, SpanName};
use schema::scenario::Scenario;
use schema::summary::Summary;
use serde_json::json;

use super::probe::{Builtin, builtin, load};
use super::{calibrate as fitting, measure};
use crate::cli::{Common, Quickstart};
use crate::failure::Failure;
use crate::page;
use crate::progress::Steps;
use crate::validation::{Fitted, Validated, all_rows, save_simulated, simulate, validate, verdict};

/// What the profile is fitted to, each probe with how its client pauses. Most loads pause too: cores that
/// idle between any two requests may be slower than after a pause now and then.
const CALIBRATION: [(Builtin, Pauses); 6] = [
    (builtin!("probes/wire-proxied.toml"), Pauses::AsWritten),
    (builtin!("probes/wire-proxied.toml"), Pauses::Always),
    (builtin!("probes/net.toml"), Pauses::AsWritten),
    (builtin!("probes/net.toml"), Pauses::Always),
    (builtin!("probes/net-raw.toml"), Pauses::AsWritten),
    (builtin!("probes/contention.toml"), Pauses::AsWritten),
];

/// What the fit never sees, each with its load: the share of the server's capacity that is asked
/// for. The capacity comes from the first probe of the net, never from these runs.
const HELD_OUT: [(Builtin, Demand); 6] = [
    (
        builtin!("quickstart/direct-think.toml"),
        Demand::Think {
            clients: 4,
            share: 0.55,
        },
    ),
    (
        builtin!("quickstart/direct-open.toml"),
        Demand::Open { share: 0.5 },
    ),
    (
        builtin!("quickstart/direct-saturated.toml"),
        Demand::Clients {
            name: "direct-two",
            n: 2,
        },
    ),
    (
        builtin!("quickstart/direct-saturated.toml"),
        Demand::AsWritten,
    ),
    (
        builtin!("quickstart/proxied-raw.toml"),
        Demand::Think {
            clients: 4,
            share: 0.5,
        },
    ),
    (
        builtin!("quickstart/proxied-payload.toml"),
        Demand::AsWritten,
    ),
];

/// Rounds of measuring: the second of every three is the repetition of the others.
const ROUNDS: u32 = 9;
/// What is left out at the start of each measurement, in seconds.
const WARMUP_S: f64 = 0.3;

/// Numbers of clients of the simulated load curve.
const CURVE: [u32; 6] = [1, 2, 3, 4, 6, 8];
/// The scenario whose number of clients the load curve varies.
const CURVE_SCENARIO: Builtin = builtin!("quickstart/direct-saturated.toml");

/// When the client of a probe pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pauses {
    /// As the file says.
    AsWritten,
    /// Before every request, for 8 ms on average, about as long as the cores of the loads idle; the run is
    /// called so too.
    Always,
}

impl Pauses {
    fn overrides(self, probe: Builtin) -> Vec<String> {
        if self == Pauses::AsWritten {
            return Vec::new();
        }
        let name = Path::new(probe.path).file_stem().unwrap_or_default();
        vec![
            format!("name=\"{}-paused\"", name.display()),
            "clients.0.arrivals={ closed-loop = { think = { exponential = \"8 ms\" } } }"
                .to_owned(),
        ]
    }
}

/// How the load of a scenario is chosen.
#[derive(Clone, Copy, Debug)]
enum Demand {
    /// As the file says.
    AsWritten,
    /// Another number of clients, under another name.
    Clients { name: &'static str, n: u32 },
    /// An open loop at this share of the server's capacity.
    Open { share: f64 },
    /// Clients that think so long that together they would ask for this share.
    Think { clients: u32, share: f64 },
}

impl Demand {
    /// The overrides for a server that takes `service_s` seconds a request.
    fn overrides(self, service_s: f64) -> Vec<String> {
        match self {
            Demand::AsWritten => Vec::new(),
            Demand::Clients { name, n } => {
                vec![format!("name=\"{name}\""), format!("clients.0.count={n}")]
            }
            Demand::Open { share } => {
                vec![format!(
                    "clients.0.arrivals.poisson.rate=\"{:.1} /s\"",
                    share / service_s
                )]
            }
            Demand::Think { clients, share } => {
                let think_ms = 1e3 * service_s * (f64::from(clients) / share - 1.0);
                vec![format!(
                    "clients.0.arrivals.closed-loop.think.exponential=\"{think_ms:.2} ms\""
                )]
            }
        }
    }
}

pub(super) fn run(common: &Common, arguments: &Quickstart) -> Result<ExitCode, Failure> {
    if arguments.out.join("runs").exists() {
        std::fs::remove_dir_all(arguments.out.join("runs"))?;
    }
    let steps = Steps::new(
        common,
        ROUNDS as usize * (CALIBRATION.len() + HELD_OUT.len()) + 3,
    );
    let bench = Bench {
        common,
        steps: &steps,
        out: &arguments.out,
        seconds: arguments.seconds,
    };
    let (mut probes, mut loads) = (Vec::new(), Vec::new());
    let mut service_s = None;
    for round in 1..=ROUNDS {
        for (probe, pauses) in CALIBRATION {
            probes.push(bench.run(probe, round, &pauses.overrides(probe))?);
        }
        let service_s = match service_s {
            Some(known) => known,
            None => *service_s.insert(service_time(&probes)?),
        };
        for (builtin, demand) in HELD_OUT {
            loads.push(bench.run(builtin, round, &demand.overrides(service_s))?);
        }
    }

    steps.begin("fitting the profile");
    let calibration = fitting::fit("quickstart", &typical(&probes))?;
    let profile_path = arguments.out.join("profile.toml");
    calibration.profile.save(&profile_path)?;
    steps.done();
    steps.begin("simulating the loads that the fit never saw");
    let profile = Fitted {
        path: &profile_path,
        profile: &calibration.profile,
    };
    let validated = validate(&loads, profile)?;
    save_simulated(&validated, &arguments.out.join("simulated"))?;
    steps.done();
    steps.begin("drawing the report");
    let curve = load_curve(common, &calibration, &validated)?;
    let report = write_report(arguments, &calibration, &validated, curve)?;
    steps.done();
    steps.finish();
    if !common.quiet {
        for warning in &calibration.warnings {
            eprintln!("warning: {warning}");
        }
    }
    let code = super::validate::finish(common, &validated, &super::validate::tolerance(0.10))?;
    if !common.json {
        super::print(&format!("report: {}", report.display()));
    }
    Ok(code)
}

/// Where quickstart's runs are made.
struct Bench<'a> {
    common: &'a Common,
    steps: &'a Steps,
    out: &'a Path,
    seconds: f64,
}

impl Bench<'_> {
    fn run(
        &self,
        builtin: Builtin,
        round: u32,
        overrides: &[String],
    ) -> Result<(String, Run), Failure> {
        let mut all = overrides.to_vec();
        all.push(format!("run.measure.time=\"{} s\"", self.seconds));
        all.push(format!("run.warmup.time=\"{WARMUP_S} s\""));
        let scenario = load(self.common, builtin, &all)?;
        let dir = self
            .out
            .join("runs")
            .join(format!("{}-{round}", scenario.name));
        let run = measure::measure(&scenario, &dir, self.steps)?;
        if let Some(problem) = measure::broken(&run, &dir) {
            return Err(anyhow::anyhow!(problem).into());
        }
        Ok((dir.display().to_string(), run))
    }
}

/// A probe's run with its mean end-to-end time, in seconds.
type Ranked<'a> = (f64, &'a (String, Run));

/// Of each probe the middle third of its rounds by mean end-to-end time: the machine undisturbed,
/// as the medians over rounds are that the loads are compared by. The others stay on disk.
pub(super) fn typical(probes: &[(String, Run)]) -> Vec<(String, Run)> {
    let mut by_scenario: BTreeMap<&str, Vec<Ranked<'_>>> = BTreeMap::new();
    for probe in probes {
        let mean = probe.1.summary().end_to_end.mean.value;
        by_scenario
            .entry(&probe.1.scenario.name)
            .or_default()
            .push((mean, probe));
    }
    let mut kept = Vec::new();
    for mut rounds in by_scenario.into_values() {
        rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let left_out = rounds.len() / 3;
        let middle = &rounds[left_out..rounds.len() - left_out];
        kept.extend(middle.iter().map(|(_, probe)| (*probe).clone()));
    }
    kept
}

/// Time that the server takes for a request of the first probe of the net, in seconds.
fn service_time(probes: &[(String, Run)]) -> Result<f64, Failure> {
    let net = probes.iter().find(|(_, run)| run.scenario.name == "net");
    let summary = net.map(|(_, run)| run.summary());
    let parts = [
        SpanName::H2d,
        SpanName::Preprocess,
        SpanName::Inference,
        SpanName::D2h,
    ];
    let time: f64 = summary
        .iter()
        .flat_map(|summary| {
            parts
                .iter()
                .filter_map(|part| summary.parts.get(part.name()))
        })
        .map(|times| times.mean.value)
        .sum();
    if time > 0.0 {
        Ok(time)
    } else {
        Err(anyhow::anyhow!("the probe of the net served no request").into())
    }
}

/// Latency and throughput against the number of clients without think time: simulated for several,
/// measured where there is a run.
fn load_curve(
    common: &Common,
    calibration: &Calibration,
    validated: &[Validated],
) -> Result<plots::Figure, Failure> {
    let measured = |clients: u32| {
        let runs = validated.iter().map(|one| &one.measured);
        let mut fitting = runs
            .filter(|run| ["direct-two", "direct-saturated"].contains(&run.scenario.name.as_str()));
        fitting
            .find(|run| run.scenario.clients.len() == clients as usize)
            .map(Run::summary)
    };
    let mut summaries: Vec<(u32, Option<Summary>, Summary)> = Vec::new();
    for clients in CURVE {
        let overrides = [format!("clients.0.count={clients}")];
        let scenario: Scenario = load(common, CURVE_SCENARIO, &overrides)?;
        let simulated = simulate(&scenario, &calibration.profile)?;
        summaries.push((clients, measured(clients), simulated.summary()));
    }
    let points: Vec<LoadPoint<'_>> = summaries
        .iter()
        .map(|(clients, measured, simulated)| LoadPoint {
            load: f64::from(*clients),
            measured: measured.as_ref(),
            simulated: Some(simulated),
        })
        .collect();
    Ok(plots::load_curve::draw("load", Load::Clients, &points)?)
}

fn write_report(
    arguments: &Quickstart,
    calibration: &Calibration,
    validated: &[Validated],
    curve: plots::Figure,
) -> Result<std::path::PathBuf, Failure> {
    let rows = all_rows(validated);
    let (violations, text) = verdict(&rows, &super::validate::tolerance(0.10));
    let mut lines = vec![text];
    lines.extend(
        violations
            .iter()
            .map(|violation| format!("Outside: {violation}.")),
    );
    let mut figures = page::figures(validated)?;
    figures.push(curve);
    for figure in &figures {
        figure.save(&arguments.out.join("figures"))?;
    }
    schema::run::write_json(&arguments.out.join("rows.json"), &json!({ "rows": rows }))?;
    let path = arguments.out.join("report.html");
    page::page("Quickstart", lines, validated, Some(calibration), figures).save(&path)?;
    Ok(path)
}

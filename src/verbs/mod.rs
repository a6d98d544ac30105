//! One file a verb.

mod calibrate;
mod compare;
mod doctor;
mod explain;
mod export;
mod judge;
mod measure;
mod plot;
mod probe;
mod quickstart;
mod recover;
mod report;
mod reproduce;
mod simulate;
mod sweep;
mod validate;

use std::path::Path;
use std::process::ExitCode;

use schema::scenario::{Extent, Scenario};
use schema::stages::StageSummary;
use schema::stats::Estimate;
use schema::summary::Summary;

use crate::cli::{Cli, Common, Verb};
use crate::failure::Failure;

/// Name and version of this program, for manifests.
pub(crate) const PROGRAM: &str = concat!("tandem ", env!("CARGO_PKG_VERSION"));

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let common = cli.common;
    match cli.verb {
        Verb::Quickstart(arguments) => quickstart::run(&common, &arguments),
        Verb::Judge(arguments) => judge::run(&common, &arguments),
        Verb::Doctor => doctor::run(&common),
        Verb::Probe(arguments) => probe::run(&common, &arguments),
        Verb::Measure(arguments) => measure::run(&common, &arguments),
        Verb::Recover(arguments) => recover::run(&common, &arguments),
        Verb::Calibrate(arguments) => calibrate::run(&common, &arguments),
        Verb::Simulate(arguments) => simulate::run(&common, &arguments),
        Verb::Sweep(arguments) => sweep::run(&common, &arguments),
        Verb::Reproduce(arguments) => reproduce::run(&common, &arguments),
        Verb::Explain(arguments) => explain::run(&common, &arguments),
        Verb::Compare(arguments) => compare::run(&common, &arguments),
        Verb::Validate(arguments) => validate::run(&common, &arguments),
        Verb::Plot(arguments) => plot::run(&common, &arguments),
        Verb::Report(arguments) => report::run(&common, &arguments),
        Verb::Export(arguments) => export::run(&common, &arguments),
        Verb::Role => {
            realrun::roles::run(std::io::stdin().lock(), std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads a scenario with the overrides of the command line.
pub(crate) fn load_scenario(common: &Common, path: &Path) -> Result<Scenario, Failure> {
    let mut overrides = common.overrides.clone();
    overrides.extend(common.seed.map(|seed| format!("run.seed={seed}")));
    Ok(Scenario::load(path, &overrides)?)
}

/// The name of a run's folder, for labels; `run` is its path.
pub(crate) fn folder(run: &str) -> String {
    let name = Path::new(run).file_name();
    name.map_or_else(
        || run.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// What to tell of a run that kept statistics only, where `what` is made of its spans.
pub(crate) fn without_trace(name: &str, what: &str) -> Failure {
    anyhow::anyhow!(
        "run `{name}` has kept no requests, which {what}; simulate it again with --trace"
    )
    .into()
}

/// Prints a result.
#[expect(
    clippy::print_stdout,
    reason = "the result of a verb goes to standard output"
)]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

/// An extent in words.
pub(crate) fn extent(extent: Extent) -> String {
    match extent {
        Extent::Requests(n) => format!("{n} requests of each client"),
        Extent::Time(time) => time.to_string(),
        Extent::Auto => "auto".to_owned(),
    }
}

/// Prints a run's summary: a table, or with `--json` the summary file's content.
#[expect(
    clippy::print_stdout,
    reason = "the result of a verb goes to standard output"
)]
pub(crate) fn print_summary(
    common: &Common,
    run: &schema::run::Run,
    out: &Path,
) -> Result<(), Failure> {
    let summary = run.summary();
    if common.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(());
    }
    let row = |name: &str, times: &schema::summary::Times| {
        let ms = |value: f64| format!("{:>9.3}", 1e3 * value);
        println!(
            "{name:<12} {} ±{:>5.1}% {} {} {}",
            ms(times.mean.value),
            50.0 * (times.mean.high - times.mean.low) / times.mean.value,
            ms(times.p50.value),
            ms(times.p90.value),
            ms(times.p99.value)
        );
    };
    println!(
        "{}: {} requests in {}",
        run.scenario.name,
        summary.requests,
        out.display()
    );
    println!(
        "{:<12} {:>9} {:>7} {:>9} {:>9} {:>9}",
        "[ms]", "mean", "", "p50", "p90", "p99"
    );
    row("end-to-end", &summary.end_to_end);
    if let Some(system) = &summary.system {
        print_stages(system, &summary);
        print_warnings(common, run, &summary);
        return Ok(());
    }
    for name in schema::run::SpanName::parts() {
        if let Some(times) = summary.parts.get(name.name()) {
            row(name.name(), times);
        }
    }
    println!("{:<12} {:>9.3}", "other", 1e3 * summary.other_s);
    println!("throughput   {:>9.2} /s", summary.throughput.value);
    if let Some(cpu) = summary.cpu {
        println!("cpu          {cpu:>9.3} cores");
    }
    for (stage, share) in &summary.utilization {
        println!("{stage:<12} {:>9.1} % busy", 100.0 * share);
    }
    print_warnings(common, run, &summary);
    Ok(())
}

/// Prints the statistics of plain stages.
#[expect(
    clippy::print_stdout,
    reason = "the result of a verb goes to standard output"
)]
fn print_stages(system: &StageSummary, summary: &Summary) {
    println!(
        "\n{:<16} {:>9} {:>11} {:>7} {:>11} {:>11} {:>9} {:>7} {:>11} {:>9} {:>8}",
        "stage",
        "n",
        "sojourn",
        "",
        "waiting",
        "p99",
        "number",
        "busy",
        "throughput",
        "rejected",
        "reneged"
    );
    println!(
        "{:<16} {:>9} {:>11} {:>7} {:>11} {:>11} {:>9} {:>7} {:>11} {:>9} {:>8}",
        "", "", "[ms]", "", "[ms]", "[ms]", "", "[%]", "[/s]", "", ""
    );
    let within = |mean: Estimate| {
        let percent = 50.0 * (mean.high - mean.low) / mean.value;
        if percent.is_finite() {
            format!("±{percent:>5.1}%")
        } else {
            String::new()
        }
    };
    let row = |name: &str, stage: &StageSummary| {
        let busy = stage
            .utilization
            .map_or(String::new(), |u| format!("{:.1}", 100.0 * u.value));
        let mean = stage.sojourn.mean;
        println!(
            "{name:<16} {:>9} {:>11.4} {:>7} {:>11.4} {:>11.4} {:>9.3} {busy:>7} {:>11.2} {:>9} {:>8}",
            stage.n,
            1e3 * mean.value,
            within(mean),
            1e3 * stage.waiting.mean.value,
            1e3 * stage.sojourn.p99.value,
            stage.number_in_system.value,
            stage.throughput.value,
            stage.rejected,
            stage.reneged
        );
        for (class, visits) in &stage.classes {
            let mean = visits.sojourn.mean;
            println!(
                "{:<16} {:>9} {:>11.4} {:>7} {:>11.4} {:>11.4}",
                format!("  {class}"),
                visits.n,
                1e3 * mean.value,
                within(mean),
                1e3 * visits.waiting.mean.value,
                1e3 * visits.sojourn.p99.value
            );
        }
    };
    for (name, stage) in &summary.stages {
        row(name, stage);
    }
    row("end to end", system);
}

fn print_warnings(common: &Common, run: &schema::run::Run, summary: &Summary) {
    if common.quiet {
        return;
    }
    let warnings = run.manifest.warnings.iter();
    for warning in warnings.chain(&summary.diagnostics.warnings) {
        eprintln!("warning: {warning}");
    }
}

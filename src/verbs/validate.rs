//! `tandem validate RUN… -p PROFILE`: simulates what was measured and compares, stage by stage.

use std::process::ExitCode;

use calibrate::validate::{Tolerance, judged, pairs, table};
use schema::comparison::{PairRow, Row};
use schema::profile::Profile;
use serde_json::json;

use crate::cli::{Common, Validate};
use crate::failure::{Failure, NO};
use crate::page;
use crate::progress::Steps;
use crate::validation::{
    Fitted, Validated, all_pairs, all_rows, save_simulated, validate, verdict,
};

pub(super) fn run(common: &Common, arguments: &Validate) -> Result<ExitCode, Failure> {
    let profile = Profile::load(&arguments.profile)?;
    let runs = super::calibrate::load(&arguments.runs)?;
    let steps = Steps::new(common, 1);
    steps.begin("simulating what was measured");
    let fitted = Fitted {
        path: &arguments.profile,
        profile: &profile,
    };
    let validated = validate(&runs, fitted)?;
    steps.finish();
    if let Some(out) = &arguments.out {
        save_simulated(&validated, &out.join("simulated"))?;
        for figure in page::figures(&validated)? {
            figure.save(&out.join("figures"))?;
        }
        schema::run::write_json(&out.join("rows.json"), &content(&validated))?;
    }
    let tolerance = tolerance(arguments.tolerance);
    finish(common, &validated, &tolerance)
}

/// The tolerance that one number stands for: 2.5 times as much for the 99th percentile.
pub(super) fn tolerance(mean: f64) -> Tolerance {
    Tolerance {
        mean,
        p50: mean,
        p99: 2.5 * mean,
        throughput_at_saturation: mean,
    }
}

/// All rows as JSON, with those of nets side by side if there are any.
fn content(validated: &[Validated]) -> serde_json::Value {
    let mut content = json!({ "rows": all_rows(validated) });
    let pairs = all_pairs(validated);
    if !pairs.is_empty() {
        content["pairs"] = json!(pairs);
    }
    content
}

/// The pairs that are judged and further off than a mean may be, in words.
fn outside(pairs: &[PairRow], tolerance: &Tolerance) -> Vec<String> {
    let judged = pairs.iter().filter(|row| row.held_out);
    let errors = judged.filter_map(|row| Some((row, row.error()?)));
    let outside = errors.filter(|(_, error)| error.abs() > tolerance.mean);
    let words = outside.map(|(row, error)| {
        format!(
            "{}: a pass of `{}` beside others is predicted {:+.1}% off, allowed {:.1}%",
            row.run,
            row.net,
            1e2 * error,
            1e2 * tolerance.mean
        )
    });
    words.collect()
}

/// Prints rows and verdict; the exit code says whether something was judged and all is within
/// tolerance.
pub(super) fn finish(
    common: &Common,
    validated: &[Validated],
    tolerance: &Tolerance,
) -> Result<ExitCode, Failure> {
    let rows: Vec<Row> = all_rows(validated);
    let (violations, text) = verdict(&rows, tolerance);
    let pairs = all_pairs(validated);
    if common.json {
        super::print(&serde_json::to_string_pretty(&content(validated))?);
    } else {
        super::print(&table(&rows));
        if !pairs.is_empty() {
            super::print(&pairs::table(&pairs));
        }
        super::print(&text);
    }
    let outside = outside(&pairs, tolerance);
    let violated = violations.iter().map(ToString::to_string);
    for problem in violated.chain(outside.iter().cloned()) {
        eprintln!("outside the tolerance: {problem}");
    }
    if !common.quiet {
        for one in validated {
            let summary = one.measured.summary();
            let warnings = one
                .measured
                .manifest
                .warnings
                .iter()
                .chain(&summary.diagnostics.warnings);
            for warning in warnings.chain(&one.simulated.manifest.warnings) {
                eprintln!("warning: {}: {warning}", one.name);
            }
        }
    }
    let is_judged = judged(&rows).next().is_some();
    if common.json && !is_judged {
        eprintln!("error: {text}");
    }
    Ok(
        if violations.is_empty() && outside.is_empty() && is_judged {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NO)
        },
    )
}

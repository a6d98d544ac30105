//! Comparisons as text for a terminal.

use std::fmt::Write;

use schema::comparison::{END_TO_END, Metric, Row};

use super::unit;

/// Rows as a table: of each run its end-to-end figures, then the mean of each part with its error
/// in milliseconds, which sum to the error of the mean end-to-end time but for what no span covers.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for of_run in rows.chunk_by(|a, b| (&a.run, a.held_out) == (&b.run, b.held_out)) {
        run(&mut text, of_run).expect("writing to a string cannot fail");
    }
    text
}

fn run(text: &mut String, rows: &[Row]) -> std::fmt::Result {
    let first = &rows[0];
    let seen = if first.held_out {
        "held out from the fit"
    } else {
        "the fit saw it, not judged"
    };
    let saturated = if first.saturated {
        "; saturated: throughput alone is judged"
    } else {
        ""
    };
    writeln!(
        text,
        "{} ({}): {seen}{saturated}",
        first.run, first.scenario
    )?;
    writeln!(
        text,
        "  {:<20} {:>12} {:>25} {:>12} {:>9} {:>9}",
        END_TO_END, "measured", "95% interval", "predicted", "error [%]", "noise [%]"
    )?;
    for row in rows.iter().filter(|row| row.stage == END_TO_END) {
        let (unit, factor) = unit(row.metric);
        let interval = row.measured_interval.map_or("-".to_owned(), |[low, high]| {
            format!("{:.3} to {:.3}", low * factor, high * factor)
        });
        writeln!(
            text,
            "  {:<20} {:>12.3} {interval:>25} {:>12.3} {:>9} {:>9}",
            format!("{} [{unit}]", row.metric.name()),
            row.measured * factor,
            row.predicted * factor,
            percent(row.error),
            percent(row.noise)
        )?;
    }
    parts(text, rows)
}

fn parts(text: &mut String, rows: &[Row]) -> std::fmt::Result {
    let means = || rows.iter().filter(|row| row.metric == Metric::Mean);
    let parts: Vec<&Row> = means().filter(|row| row.stage != END_TO_END).collect();
    if parts.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "  {:<20} {:>12} {:>25} {:>12} {:>9} {:>9}",
        "part, mean [ms]", "measured", "error [ms]", "predicted", "error [%]", "noise [%]"
    )?;
    let mut sum_ms = 0.0;
    for row in &parts {
        let error_ms = (row.predicted - row.measured) * 1e3;
        sum_ms += error_ms;
        writeln!(
            text,
            "  {:<20} {:>12.3} {error_ms:>+25.3} {:>12.3} {:>9} {:>9}",
            row.stage,
            row.measured * 1e3,
            row.predicted * 1e3,
            percent(row.error),
            percent(row.noise)
        )?;
    }
    let Some(whole) = means().find(|row| row.stage == END_TO_END) else {
        return Ok(());
    };
    let error_ms = (whole.predicted - whole.measured) * 1e3;
    // Without the sign of a zero that is only rounding.
    let other_ms = ((error_ms - sum_ms) * 1e6).round() / 1e6 + 0.0;
    writeln!(text, "  {:<20} {:>12} {other_ms:>+25.3}", "no span", "")?;
    writeln!(text, "  {END_TO_END:<20} {:>12} {error_ms:>+25.3}", "")
}

/// A signed share in percent.
fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:+.1}", 100.0 * share))
}

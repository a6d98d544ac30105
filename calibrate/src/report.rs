//! A calibration as text for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use schema::profile::{Driver, IdleLaw};

use crate::residual::name;
use crate::{Calibration, ContentionReport, FitReport, ParameterReport};

impl Calibration {
    /// Every fit with its errors and warnings, as a table for a terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut part = "";
        for fit in &self.fits {
            if fit.part != part {
                part = &fit.part;
                write_line(&mut text, &format!("part {part}"));
                write_line(&mut text, HEAD);
            }
            write_line(&mut text, &row(fit));
            if let Some(idle) = fit.law.idle {
                write_line(&mut text, &idle_row(idle));
            }
        }
        for report in &self.contention {
            write_line(&mut text, &contention(report));
        }
        let mut part = "";
        for report in &self.parameters {
            if report.part != part {
                part = &report.part;
                write_line(&mut text, &format!("parameters of part {part}"));
            }
            write_line(&mut text, &parameter(report));
        }
        for warning in &self.warnings {
            write_line(&mut text, &format!("warn: {warning}"));
        }
        for report in &self.parameters {
            for warning in &report.warnings {
                let line = format!("warn: {} {}: {warning}", report.part, report.name);
                write_line(&mut text, &line);
            }
        }
        // The costs that share a warning are named together.
        let mut shared: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for fit in &self.fits {
            for warning in &fit.warnings {
                let cost = format!("{} {}", fit.part, fit.cost);
                shared.entry(warning).or_default().push(cost);
            }
        }
        for (warning, costs) in shared {
            write_line(&mut text, &format!("warn: {}: {warning}", costs.join(", ")));
        }
        text
    }
}

const HEAD: &str = "  cost                       base [us]             slope                          driver range             n   (worth)  held out  residual (cv)";

fn write_line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}

/// Unit of the slope's figure, factor from seconds per unit of the driver, and unit of the driver.
const fn units(per: Driver) -> (&'static str, f64, &'static str) {
    match per {
        Driver::Bytes => ("ns/kB", 1e12, "B"),
        Driver::Requests => ("us/request", 1e6, "requests"),
        Driver::Seconds => ("s/s", 1.0, "s"),
        Driver::Kernels => ("us/kernel", 1e6, "kernels"),
        Driver::Packets => ("us/packet", 1e6, "packets"),
    }
}

fn row(fit: &FitReport) -> String {
    let law = &fit.law;
    let (unit, factor, driver) = units(law.per);
    let base = format!("{:.3} ± {:.3}", law.base * 1e6, law.base_error * 1e6);
    let slope = if law.slope > 0.0 || law.slope_error > 0.0 {
        let (slope, error) = (law.slope * factor, law.slope_error * factor);
        format!("{slope:.3} ± {error:.3} {unit}")
    } else {
        "-".to_owned()
    };
    let [low, high] = law.range;
    let range = if low < high {
        format!("{low} to {high} {driver}")
    } else {
        format!("{low} {driver}")
    };
    format!(
        "  {:<24} {base:>20}  {slope:<28}  {range:<22} {:>6} {:>9.0} {:>8.1}%  {} ({:.2})",
        fit.cost,
        law.samples,
        fit.effective_samples,
        100.0 * law.held_out_error,
        name(&law.residual),
        fit.residual_cv,
    )
}

fn parameter(report: &ParameterReport) -> String {
    let estimate = &report.estimate;
    let unit = match estimate.unit.as_str() {
        "1" => "",
        unit => unit,
    };
    let range = estimate.range.map_or(String::new(), |[low, high]| {
        format!(", {low:.4} to {high:.4}")
    });
    let figure = format!("{:.6e} ± {:.1e}", estimate.value, estimate.standard_error);
    format!("  {:<24} {figure} {unit}{range}", report.name)
        .trim_end()
        .to_owned()
}

fn idle_row(idle: IdleLaw) -> String {
    format!(
        "    after idling {:.1} ± {:.1}% slower, with a memory of {:.0} ms",
        100.0 * idle.slowdown,
        100.0 * idle.slowdown_error,
        1e3 * idle.memory
    )
}

fn contention(report: &ContentionReport) -> String {
    let figure = match &report.estimate {
        Some(estimate) => format!("{:.3} ± {:.3}", estimate.value, estimate.standard_error),
        None => "none".to_owned(),
    };
    let n = report.points.len();
    let notes: String = report.notes.iter().map(|n| format!("; {n}")).collect();
    format!(
        "contention of part {}: {figure} ({n} points){notes}",
        report.part
    )
}

//! The figures and the page of a validation.

use calibrate::Calibration;
use plots::report::{self, Report, Section, Table};
use plots::{Figure, Pair};
use schema::run::Run;
use schema::summary::Summary;

use crate::failure::Failure;
use crate::validation::{Validated, all_rows};

/// Breakdown, distributions and accuracy of what was validated.
pub(crate) fn figures(validated: &[Validated]) -> Result<Vec<Figure>, Failure> {
    let summaries: Vec<(String, Summary, Summary)> = validated
        .iter()
        .map(|one| {
            (
                one.measured.scenario.name.clone(),
                one.measured.summary(),
                one.simulated.summary(),
            )
        })
        .collect();
    let bars: Vec<Pair<&Summary>> = summaries
        .iter()
        .map(|(label, measured, simulated)| Pair {
            label: label.clone(),
            measured: Some(measured),
            simulated: Some(simulated),
        })
        .collect();
    let samples: Vec<Pair<Vec<f64>>> = validated
        .iter()
        .map(|one| Pair {
            label: one.measured.scenario.name.clone(),
            measured: Some(plots::cdf::end_to_end_s(&one.measured)),
            simulated: Some(plots::cdf::end_to_end_s(&one.simulated)),
        })
        .collect();
    Ok(vec![
        plots::accuracy::draw("accuracy", &all_rows(validated))?,
        plots::breakdown::draw("breakdown", &bars)?,
        plots::cdf::draw("cdf", &samples)?,
    ])
}

/// The page: verdict, figures, rows, fits, warnings.
pub(crate) fn page(
    title: &str,
    verdict: Vec<String>,
    validated: &[Validated],
    calibration: Option<&Calibration>,
    figures: Vec<Figure>,
) -> Report {
    let rows = all_rows(validated);
    let summaries: Vec<(String, Summary)> = validated
        .iter()
        .map(|one| (one.name.clone(), one.measured.summary()))
        .collect();
    let mut sections = vec![
        Section {
            heading: "Measured and simulated".to_owned(),
            figures,
            ..Section::default()
        },
        Section {
            heading: "Figure by figure".to_owned(),
            tables: vec![report::accuracy_table(&rows), report::stage_table(&rows)],
            ..Section::default()
        },
    ];
    if let Some(calibration) = calibration {
        sections.push(fits(calibration));
    }
    let measured: Vec<(String, &Run, &Summary)> = validated
        .iter()
        .zip(&summaries)
        .map(|(one, (name, summary))| (name.clone(), &one.measured, summary))
        .collect();
    let warned: Vec<_> = measured
        .iter()
        .map(|(name, run, summary)| (name.clone(), &run.manifest, *summary))
        .collect();
    sections.push(report::warnings_section(&warned));
    sections.push(report::how_to_read());
    let facts = validated
        .first()
        .map(|one| report::facts(&one.measured.manifest))
        .unwrap_or_default();
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Report {
        title: title.to_owned(),
        command,
        facts,
        verdict,
        sections,
    }
}

/// The laws of a calibration as a table.
fn fits(calibration: &Calibration) -> Section {
    let heads = [
        "part",
        "cost",
        "base [us]",
        "± [us]",
        "slope",
        "±",
        "per",
        "range",
        "n",
        "held-out error [%]",
        "residual cv",
        "slower after idling [%]",
    ];
    let rows = calibration.fits.iter().map(|fit| {
        let law = &fit.law;
        vec![
            fit.part.clone(),
            fit.cost.clone(),
            format!("{:.3}", 1e6 * law.base),
            format!("{:.3}", 1e6 * law.base_error),
            format!("{:.4e}", law.slope),
            format!("{:.1e}", law.slope_error),
            format!("{:?}", law.per).to_lowercase(),
            format!("{} to {}", law.range[0], law.range[1]),
            law.samples.to_string(),
            format!("{:.1}", 100.0 * law.held_out_error),
            format!("{:.3}", fit.residual_cv),
            law.idle.map_or_else(String::new, |idle| {
                format!(
                    "{:.1} ± {:.1}, memory {:.0} ms",
                    100.0 * idle.slowdown,
                    100.0 * idle.slowdown_error,
                    1e3 * idle.memory
                )
            }),
        ]
    });
    let table = Table {
        caption:
            "Laws `(base + slope · driver) · residual`; slope in seconds per unit of the driver."
                .to_owned(),
        heads: heads.iter().map(|head| (*head).to_owned()).collect(),
        rows: rows.collect(),
    };
    let text = calibration
        .contention
        .iter()
        .filter_map(|report| {
            let part = calibration.profile.parts.get(&report.part)?;
            let found = part.parameters.get(schema::profile::parameter::CONTENTION)?;
            Some(format!(
                "Contention of {}: a core is {:.1} ± {:.1} % slower while the machine's other cores are busy.",
                report.part,
                100.0 * found.value,
                100.0 * found.standard_error
            ))
        })
        .collect();
    Section {
        heading: "Fits".to_owned(),
        text,
        tables: vec![table],
        ..Section::default()
    }
}

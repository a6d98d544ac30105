//! The page of what was measured and predicted: the errors of each study, and its rows.

use plots::Figure;
use plots::errors::Point;
use plots::report::{Report, Section, Table, facts};
use schema::study::{Judged, Study};

use super::Measured;
use super::table::{self, Conditions};
use crate::failure::Failure;

/// The page, and its figures.
///
/// # Errors
/// If an error is not finite.
pub(super) fn page(
    studies: &[Study],
    rows: &[Judged],
    conditions: &Conditions,
    measured: &Measured,
) -> Result<Report, Failure> {
    let sections = studies.iter().map(|study| {
        let of_it = rows.iter().filter(|row| row.dataset == study.name);
        let of_it: Vec<&Judged> = of_it.collect();
        let mut text = study.about.clone();
        let left_out = study.leaves_out.iter();
        text.extend(left_out.map(|line| format!("Left out: {line}.")));
        Ok(Section {
            heading: study.name.clone(),
            text,
            figures: figure(&study.name, &of_it)?.into_iter().collect(),
            tables: vec![rows_of(&of_it)],
        })
    });
    let sections = sections.collect::<Result<Vec<Section>, Failure>>()?;
    let mut verdict = table::errors(rows);
    verdict.push(conditions.text());
    let probe = measured.probes.first();
    Ok(Report {
        title: "Studies measured and predicted".to_owned(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        facts: probe.map_or_else(Vec::new, |(_, run)| facts(&run.manifest)),
        verdict,
        sections,
    })
}

/// The errors of a study; `None` if nothing but savings is compared.
fn figure(name: &str, rows: &[&Judged]) -> Result<Option<Figure>, Failure> {
    let points = rows.iter().filter_map(|row| Point::of_judged(row));
    let points: Vec<Point<'_>> = points.collect();
    if points.is_empty() {
        return Ok(None);
    }
    Ok(Some(plots::errors::draw(name, &points)?))
}

fn rows_of(rows: &[&Judged]) -> Table {
    let heads = [
        "row",
        "figure",
        "measured",
        "predicted",
        "error",
        "noise",
        "",
    ];
    let cells = rows.iter().map(|row| {
        let fitted = if row.held_out { "" } else { "fitted" };
        let mut cells = vec![row.row.clone()];
        cells.extend(table::cells(row));
        cells.push(fitted.to_owned());
        cells
    });
    Table {
        caption: "Medians over rounds and over drawn profiles, intervals in brackets.".to_owned(),
        heads: heads.map(str::to_owned).to_vec(),
        rows: cells.collect(),
    }
}

//! Signed errors of the simulation, beside the noise of the measurement.

use plotters::style::RGBColor;
use schema::comparison::{END_TO_END, Metric, Row};
use schema::csv::{Csv, bound, number};

use crate::axis::Axis;
use crate::drawing::{
    Anchor, Area, Body, Drawing, SMALL, Text, Turn, WIDTH, Weight, fit, text_width,
};
use crate::error::{PlotError, finite};
use crate::figure::Figure;
use crate::format::signed_percent;
use crate::legend::{Key, Legend};
use crate::palette::{
    BAND, BLACK, BLUE, Fill, GREEN, Hatch, INK, Mark, ORANGE, PURPLE, VERMILLION, WHITE,
};

const PITCH: f64 = 32.0;
const LABEL: f64 = 44.0;
const GROUP_GAP: f64 = 12.0;
const SIDE: f64 = 36.0;
const MARK: f64 = 20.0;
/// The axis ends at this many times the median error, or at [`LEAST_CUT`], whichever is more; what
/// is beyond is an arrow with its number.
const CUT: f64 = 5.0;
const LEAST_CUT: f64 = 0.1;

/// All figures, in their order.
pub(crate) const METRICS: [Metric; 6] = [
    Metric::Mean,
    Metric::P50,
    Metric::P90,
    Metric::P99,
    Metric::Throughput,
    Metric::Cpu,
];

/// How a figure looks.
pub(crate) const fn look(metric: Metric) -> (RGBColor, Mark) {
    match metric {
        Metric::Mean => (BLACK, Mark::Circle),
        Metric::P50 => (BLUE, Mark::Square),
        Metric::P90 => (GREEN, Mark::Diamond),
        Metric::P99 => (VERMILLION, Mark::Up),
        Metric::Throughput => (PURPLE, Mark::Down),
        Metric::Cpu => (ORANGE, Mark::Pentagon),
    }
}

/// The rows of one run, with an error.
struct Group<'a> {
    label: String,
    rows: Vec<(&'a Row, f64)>,
}

/// Draws the signed error of each end-to-end figure of `rows`, a group a measured run, and behind
/// it a grey band as wide as the error of a repetition of the measurement.
///
/// Rows of parts are left out; rows without an error (the measured value is zero) are counted in
/// the caption. A whisker is where the error may be, given the interval of the measured value.
///
/// # Errors
/// If there is no end-to-end row with an error, or an error is not finite.
pub fn draw(name: &str, rows: &[Row]) -> Result<Figure, PlotError> {
    let whole: Vec<&Row> = rows.iter().filter(|row| row.stage == END_TO_END).collect();
    let groups = groups(name, &whole)?;
    if groups.is_empty() {
        return Err(PlotError::Empty {
            figure: name.to_owned(),
            what: "end-to-end row with an error".to_owned(),
        });
    }
    let n_drawn: usize = groups.iter().map(|group| group.rows.len()).sum();
    let mut caption = "Signed error of the simulation, (simulated − measured) / measured. Grey \
                       bands: the error of a repetition of the measurement in place of the \
                       simulation, either way. Whiskers: the error over the 95% interval of the \
                       measured value."
        .to_owned();
    if whole.iter().any(|row| row.saturated) {
        caption += " Hollow marks: saturated runs, whose times depend on how many requests wait.";
    }
    if n_drawn < whole.len() {
        let n = whole.len() - n_drawn;
        caption += &format!(" Not drawn: {n} figures whose measured value is zero.");
    }
    Ok(Figure {
        name: name.to_owned(),
        caption,
        csv: table(&groups),
        drawing: drawing(&groups),
    })
}

fn groups<'a>(figure: &str, rows: &[&'a Row]) -> Result<Vec<Group<'a>>, PlotError> {
    let mut runs: Vec<(&str, Group<'_>)> = Vec::new();
    for row in rows {
        let Some(error) = row.error else {
            continue;
        };
        let what = format!("the error of {}", row.metric.name());
        finite(figure, &row.scenario, &what, error)?;
        let known = runs.iter().position(|(run, _)| *run == row.run);
        let index = known.unwrap_or_else(|| {
            let again = rows
                .iter()
                .any(|r| r.scenario == row.scenario && r.run != row.run);
            let mut label = row.scenario.clone();
            if again {
                label += &format!(" ({})", row.run);
            }
            if row.held_out {
                label += ", held out";
            }
            let rows = Vec::new();
            runs.push((&row.run, Group { label, rows }));
            runs.len() - 1
        });
        runs[index].1.rows.push((row, error));
    }
    let mut groups: Vec<Group<'_>> = runs.into_iter().map(|(_, group)| group).collect();
    for group in &mut groups {
        group.rows.sort_by_key(|(row, _)| row.metric);
    }
    Ok(groups)
}

/// The error over the interval of the measured value, where that is positive and bounded.
fn error_interval(row: &Row) -> Option<[f64; 2]> {
    let [low, high] = row.measured_interval?;
    (low > 0.0 && high.is_finite()).then(|| [row.predicted / high - 1.0, row.predicted / low - 1.0])
}

fn table(groups: &[Group<'_>]) -> String {
    let mut csv = Csv::new(&[
        "run",
        "scenario",
        "held_out",
        "saturated",
        "metric",
        "unit",
        "measured",
        "predicted",
        "error",
        "error_low",
        "error_high",
        "noise",
    ]);
    for (row, error) in groups.iter().flat_map(|group| &group.rows) {
        let unit = match row.metric {
            Metric::Throughput => "1/s",
            Metric::Cpu => "cores",
            _ => "s",
        };
        let interval = error_interval(row);
        let [low, high] = interval.map_or([String::new(), String::new()], |i| i.map(bound));
        csv.row(&[
            &row.run,
            &row.scenario,
            &row.held_out,
            &row.saturated,
            &row.metric.name(),
            &unit,
            &row.measured,
            &row.predicted,
            error,
            &low,
            &high,
            &number(row.noise),
        ]);
    }
    csv.finish()
}

fn legend(groups: &[Group<'_>]) -> Legend {
    let rows = || groups.iter().flat_map(|group| &group.rows);
    let mut legend = Legend::default();
    for metric in METRICS {
        if rows().any(|(row, _)| row.metric == metric) {
            let (color, mark) = look(metric);
            legend.add(Key::Mark(mark, color, Body::Solid), metric.name());
        }
    }
    if rows().any(|(row, _)| row.noise.is_some()) {
        legend.add(Key::Band(BAND), "noise");
    }
    if rows().any(|(row, _)| row.saturated) {
        legend.add(Key::Mark(Mark::Circle, INK, Body::Hollow), "saturated");
    }
    legend
}

/// Where the axis ends on both sides, as a fraction.
fn reach(groups: &[Group<'_>]) -> f64 {
    let rows = || groups.iter().flat_map(|group| &group.rows);
    let mut errors: Vec<f64> = rows().map(|(_, error)| error.abs()).collect();
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    let noise = rows().filter_map(|(row, _)| row.noise).map(f64::abs);
    let intervals = rows().filter_map(|(row, _)| error_interval(row)).flatten();
    let most = errors
        .iter()
        .copied()
        .chain(noise)
        .chain(intervals.map(f64::abs));
    let most = most.filter(|value| value.is_finite()).fold(0.01, f64::max);
    most.min((CUT * median).max(LEAST_CUT))
}

fn drawing(groups: &[Group<'_>]) -> Drawing {
    let reach = 100.0 * reach(groups);
    let axis = Axis::linear(-reach, reach, 6.0);
    let reach = axis.high.max(-axis.low);
    let axis = axis.between(-reach, reach).over(SIDE, WIDTH - SIDE);
    let legend = legend(groups);
    let top = legend.height();
    let heights = groups
        .iter()
        .map(|group| LABEL + group.rows.len() as f64 * PITCH + GROUP_GAP);
    let bottom = top + heights.sum::<f64>();
    let mut drawing = Drawing::new(bottom + Axis::ROOM_BELOW);
    legend.draw(&mut drawing);
    axis.draw_level(&mut drawing, top, bottom, "Signed error (%)");

    draw_bands(&mut drawing, &axis, groups, top);
    let zero = axis.at(0.0);
    drawing.line(&[(zero, top), (zero, bottom)], INK, 3.0);

    let mut y = top;
    for group in groups {
        draw_label(&mut drawing, &group.label, y);
        y += LABEL;
        for (row, error) in &group.rows {
            draw_row(&mut drawing, &axis, row, *error, y + PITCH / 2.0 - 1.0);
            y += PITCH;
        }
        y += GROUP_GAP;
        if y < bottom - 1.0 {
            drawing.line(&[(SIDE, y - 3.0), (WIDTH - SIDE, y - 3.0)], BAND, 2.0);
        }
    }
    drawing
}

fn draw_bands(drawing: &mut Drawing, axis: &Axis, groups: &[Group<'_>], top: f64) {
    let mut y = top;
    for group in groups {
        y += LABEL;
        for (row, _) in &group.rows {
            if let Some(noise) = row.noise.filter(|noise| noise.is_finite()) {
                let percent = 100.0 * noise.abs();
                let band = Area {
                    left: axis.at(-percent),
                    top: y,
                    right: axis.at(percent),
                    bottom: y + PITCH - 2.0,
                };
                let color = BAND;
                let hatch = Hatch::Plain;
                drawing.fill(band, Fill { color, hatch });
            }
            y += PITCH;
        }
        y += GROUP_GAP;
    }
}

fn draw_label(drawing: &mut Drawing, label: &str, y: f64) {
    let text = fit(label, SMALL, Weight::Bold, WIDTH - 2.0 * SIDE - 8.0);
    let width = text_width(&text, SMALL, Weight::Bold);
    // Over the grid, so that no line crosses the name.
    let behind = Area {
        left: SIDE,
        top: y + 4.0,
        right: SIDE + width + 8.0,
        bottom: y + LABEL,
    };
    let fill = Fill {
        color: WHITE,
        hatch: Hatch::Plain,
    };
    drawing.fill(behind, fill);
    drawing.text(Text {
        text: &text,
        at: (SIDE, y + LABEL - 11.0),
        em: SMALL,
        anchor: Anchor::Start,
        weight: Weight::Bold,
        turn: Turn::Level,
    });
}

fn draw_row(drawing: &mut Drawing, axis: &Axis, row: &Row, error: f64, y: f64) {
    let (color, mark) = look(row.metric);
    let percent = 100.0 * error;
    if percent.abs() > axis.high {
        let (sign, anchor) = if percent > 0.0 {
            (1.0, Anchor::End)
        } else {
            (-1.0, Anchor::Start)
        };
        let tip = axis.at(percent);
        let head = [
            (tip, y),
            (tip - sign * 22.0, y - 11.0),
            (tip - sign * 22.0, y + 11.0),
        ];
        drawing.polygon(head.to_vec(), color, 1.0);
        // The name, for a mark here would look like a value.
        let text = format!("{} {}", row.metric.name(), signed_percent(error));
        let at = (tip - sign * 32.0, y + 0.36 * SMALL);
        drawing.label(&text, at, SMALL, anchor);
        return;
    }
    if let Some([low, high]) = error_interval(row) {
        let (low, high) = (axis.at(100.0 * low), axis.at(100.0 * high));
        drawing.level_whisker(low, high, y, 6.0, 2.0);
    }
    let body = if row.saturated {
        Body::Hollow
    } else {
        Body::Solid
    };
    drawing.mark(mark, (axis.at(percent), y), MARK, color, body);
}

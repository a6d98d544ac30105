//! Where the time of a request goes: one bar a run, one segment a part.

use std::collections::BTreeMap;

use schema::csv::{Csv, bound};
use schema::run::{RunKind, SpanName};
use schema::stats::Estimate;
use schema::summary::Summary;

use crate::axis::Axis;
use crate::drawing::{
    Anchor, Area, Body, Drawing, SMALL, Text, Turn, WIDTH, Weight, fit, text_width,
};
use crate::error::{PlotError, finite};
use crate::figure::Figure;
use crate::format::{TimeUnit, significant};
use crate::legend::{Key, Legend};
use crate::pair::{Pair, kind_name};
use crate::palette::{BLACK, INK, Mark, WHITE, part_fill};

/// Name of what no span covers.
const OTHER: &str = "other";

const BAR: f64 = 38.0;
const BAR_PITCH: f64 = 46.0;
const LABEL: f64 = 44.0;
const GROUP_GAP: f64 = 14.0;
const RIGHT: f64 = 22.0;

/// One bar: its segments sum to the mean end-to-end time.
struct Bar {
    kind: RunKind,
    /// In the order of a request; `None` is what no span covers. Seconds.
    segments: Vec<(Option<SpanName>, f64)>,
    end_to_end: Estimate,
}

/// Draws the mean time of each part of a request, measured above simulated, a group a scenario.
///
/// Segments are exclusive times ([`Summary::parts`]) in the order of a request and
/// [`Summary::other_s`], and sum to the mean end-to-end time, which is a dot with its interval.
///
/// # Errors
/// If there is no scenario, a scenario has no run, a time is not finite or a part is unknown.
pub fn draw(name: &str, pairs: &[Pair<&Summary>]) -> Result<Figure, PlotError> {
    let groups = pairs
        .iter()
        .map(|pair| Ok((pair.label.as_str(), bars(name, pair)?)))
        .collect::<Result<Vec<_>, PlotError>>()?;
    if groups.is_empty() {
        return Err(PlotError::Empty {
            figure: name.to_owned(),
            what: "scenario".to_owned(),
        });
    }
    Ok(Figure {
        name: name.to_owned(),
        caption: "Mean time of a request by part, measured and simulated. Each instant counts for \
                  one part only, so the segments sum to the mean end-to-end time (dot and number, \
                  with its 95% interval)."
            .to_owned(),
        csv: table(pairs, &groups),
        drawing: drawing(&groups),
    })
}

/// A simulated bar without intervals of its parts.
#[derive(Clone, PartialEq, Debug)]
pub struct Parts {
    /// What it is called.
    pub label: String,
    /// Mean time of each part, by the name of its span, in seconds.
    pub parts: BTreeMap<String, f64>,
    /// Mean end-to-end time; what the parts do not cover is `other`.
    pub end_to_end: Estimate,
}

/// Draws the mean time of each part of a request, a bar for each of `all`.
///
/// # Errors
/// If there is none, a time is not finite or a part is unknown.
pub fn draw_parts(name: &str, caption: String, all: &[Parts]) -> Result<Figure, PlotError> {
    if all.is_empty() {
        return Err(PlotError::Empty {
            figure: name.to_owned(),
            what: "point".to_owned(),
        });
    }
    let mut csv = Csv::new(&["bar", "part", "mean_s", "low_s", "high_s"]);
    let mut groups = Vec::new();
    for one in all {
        let bar = bar_of_parts(name, one)?;
        for (part, mean) in &bar.segments {
            csv.row(&[&one.label, &part_name(*part), mean, &"", &""]);
        }
        let mean = bar.end_to_end;
        let (low, high) = (bound(mean.low), bound(mean.high));
        csv.row(&[&one.label, &"end-to-end", &mean.value, &low, &high]);
        groups.push((one.label.as_str(), vec![bar]));
    }
    Ok(Figure {
        name: name.to_owned(),
        caption,
        csv: csv.finish(),
        drawing: drawing(&groups),
    })
}

fn bar_of_parts(figure: &str, one: &Parts) -> Result<Bar, PlotError> {
    check_parts(figure, &one.label, one.parts.keys())?;
    let mut segments = Vec::new();
    for part in SpanName::parts() {
        if let Some(time) = one.parts.get(part.name()) {
            let what = format!("the mean time of `{}`", part.name());
            segments.push((Some(*part), finite(figure, &one.label, &what, *time)?));
        }
    }
    let covered: f64 = segments.iter().map(|(_, time)| time).sum();
    let whole = one.end_to_end.value;
    let whole = finite(figure, &one.label, "the mean end-to-end time", whole)?;
    segments.push((None, (whole - covered).max(0.0)));
    Ok(Bar {
        kind: RunKind::Simulated,
        segments,
        end_to_end: one.end_to_end,
    })
}

fn check_parts<'a>(
    figure: &str,
    label: &str,
    parts: impl IntoIterator<Item = &'a String>,
) -> Result<(), PlotError> {
    match parts.into_iter().find(|part| !is_part(part)) {
        None => Ok(()),
        Some(part) => Err(PlotError::UnknownPart {
            figure: figure.to_owned(),
            label: label.to_owned(),
            part: part.clone(),
        }),
    }
}

fn bars(figure: &str, pair: &Pair<&Summary>) -> Result<Vec<Bar>, PlotError> {
    let bars = pair
        .present()
        .map(|(kind, summary)| bar(figure, &pair.label, kind, summary))
        .collect::<Result<Vec<_>, _>>()?;
    if bars.is_empty() {
        return Err(PlotError::Empty {
            figure: figure.to_owned(),
            what: format!("run of `{}`", pair.label),
        });
    }
    Ok(bars)
}

fn bar(figure: &str, label: &str, kind: RunKind, summary: &Summary) -> Result<Bar, PlotError> {
    check_parts(figure, label, summary.parts.keys())?;
    let mut segments = Vec::new();
    for part in SpanName::parts() {
        if let Some(times) = summary.parts.get(part.name()) {
            let what = format!("the {} mean time of `{}`", kind_name(kind), part.name());
            segments.push((Some(*part), finite(figure, label, &what, times.mean.value)?));
        }
    }
    let what = format!("the {} time outside all parts", kind_name(kind));
    segments.push((None, finite(figure, label, &what, summary.other_s)?));
    let end_to_end = summary.end_to_end.mean;
    let what = format!("the {} mean end-to-end time", kind_name(kind));
    finite(figure, label, &what, end_to_end.value)?;
    Ok(Bar {
        kind,
        segments,
        end_to_end,
    })
}

fn is_part(name: &str) -> bool {
    SpanName::parts().iter().any(|part| part.name() == name)
}

fn part_name(part: Option<SpanName>) -> &'static str {
    part.map_or(OTHER, SpanName::name)
}

fn table(pairs: &[Pair<&Summary>], groups: &[(&str, Vec<Bar>)]) -> String {
    let mut csv = Csv::new(&["scenario", "run", "part", "mean_s", "low_s", "high_s"]);
    for (pair, (label, bars)) in pairs.iter().zip(groups) {
        for ((_, summary), bar) in pair.present().zip(bars) {
            let run = kind_name(bar.kind);
            for (part, mean) in &bar.segments {
                let interval = part.and_then(|part| summary.parts.get(part.name()));
                let [low, high] = interval.map_or([String::new(), String::new()], |times| {
                    [bound(times.mean.low), bound(times.mean.high)]
                });
                csv.row(&[label, &run, &part_name(*part), mean, &low, &high]);
            }
            let mean = bar.end_to_end;
            let (low, high) = (bound(mean.low), bound(mean.high));
            csv.row(&[label, &run, &"end-to-end", &mean.value, &low, &high]);
        }
    }
    csv.finish()
}

fn legend(groups: &[(&str, Vec<Bar>)]) -> Legend {
    let drawn = |part: Option<SpanName>| {
        let bars = groups.iter().flat_map(|(_, bars)| bars);
        let mut segments = bars.flat_map(|bar| &bar.segments);
        segments.any(|(other, mean)| *other == part && *mean > 0.0)
    };
    let mut legend = Legend::default();
    for part in SpanName::parts().iter().copied().map(Some).chain([None]) {
        if drawn(part) {
            legend.add(Key::Swatch(part_fill(part)), part_name(part));
        }
    }
    legend.add(Key::Interval(Mark::Circle, BLACK), "end-to-end");
    legend
}

/// Where the bar ends for the eye: at its mean or the end of its interval.
fn reach(bar: &Bar) -> f64 {
    let high = bar.end_to_end.high;
    if high.is_finite() {
        high.max(bar.end_to_end.value)
    } else {
        bar.end_to_end.value
    }
}

fn drawing(groups: &[(&str, Vec<Bar>)]) -> Drawing {
    let bars = || groups.iter().flat_map(|(_, bars)| bars);
    let unit = TimeUnit::of(bars().map(|bar| bar.end_to_end.value).fold(0.0, f64::max));
    let number = |bar: &Bar| significant(bar.end_to_end.value * unit.per_second);
    let widths = bars().map(|bar| text_width(kind_name(bar.kind), SMALL, Weight::Normal));
    let left = 14.0 + widths.fold(0.0, f64::max) + 14.0;
    let room = WIDTH - RIGHT - left;
    // Wide enough that the number after each bar is inside.
    let needed = bars().map(|bar| {
        let after = text_width(&number(bar), SMALL, Weight::Normal) + 30.0;
        reach(bar) * unit.per_second * room / (room - after)
    });
    let axis = Axis::linear(0.0, needed.fold(0.0, f64::max), 6.0).over(left, WIDTH - RIGHT);

    let legend = legend(groups);
    let top = legend.height();
    let heights = groups
        .iter()
        .map(|(_, bars)| LABEL + bars.len() as f64 * BAR_PITCH + GROUP_GAP);
    let bottom = top + heights.sum::<f64>();
    let mut drawing = Drawing::new(bottom + Axis::ROOM_BELOW);
    legend.draw(&mut drawing);
    let title = format!("Mean time of a request ({})", unit.symbol);
    axis.draw_level(&mut drawing, top, bottom, &title);
    drawing.line(&[(left, top), (left, bottom)], INK, 3.0);

    let mut y = top;
    for (label, bars) in groups {
        draw_group_label(&mut drawing, label, left, y);
        y += LABEL;
        for bar in bars {
            draw_bar(&mut drawing, &axis, bar, unit, y, left);
            let at = (
                axis.at(reach(bar) * unit.per_second) + 16.0,
                y + BAR / 2.0 + 0.36 * SMALL,
            );
            drawing.label(&number(bar), at, SMALL, Anchor::Start);
            y += BAR_PITCH;
        }
        y += GROUP_GAP;
    }
    drawing
}

fn draw_group_label(drawing: &mut Drawing, label: &str, left: f64, y: f64) {
    let text = fit(label, SMALL, Weight::Bold, WIDTH - left - RIGHT);
    // Over the grid, so that no line crosses the name.
    let width = text_width(&text, SMALL, Weight::Bold);
    let behind = Area {
        left: left + 4.0,
        top: y + 4.0,
        right: left + width + 14.0,
        bottom: y + LABEL - 2.0,
    };
    drawing.fill(behind, part_fill(None));
    drawing.text(Text {
        text: &text,
        at: (left + 8.0, y + LABEL - 12.0),
        em: SMALL,
        anchor: Anchor::Start,
        weight: Weight::Bold,
        turn: Turn::Level,
    });
}

fn draw_bar(drawing: &mut Drawing, axis: &Axis, bar: &Bar, unit: TimeUnit, y: f64, left: f64) {
    let place = |seconds: f64| axis.at(seconds * unit.per_second);
    let middle = y + BAR / 2.0;
    let at = (left - 14.0, middle + 0.36 * SMALL);
    drawing.label(kind_name(bar.kind), at, SMALL, Anchor::End);
    let mut covered = 0.0;
    for (part, mean) in &bar.segments {
        let segment = Area {
            left: place(covered),
            top: y,
            right: place(covered + mean),
            bottom: y + BAR,
        };
        covered += mean;
        drawing.fill(segment, part_fill(*part));
        if segment.right - segment.left > 4.0 {
            drawing.border(segment, INK, 1.0);
        }
    }
    let whole = Area {
        left: place(0.0),
        top: y,
        right: place(covered),
        bottom: y + BAR,
    };
    drawing.border(whole, INK, 2.0);
    let mean = bar.end_to_end;
    if mean.low.is_finite() && mean.high.is_finite() {
        drawing.level_whisker(place(mean.low), place(mean.high), middle, 9.0, 3.0);
    }
    let at = (place(mean.value), middle);
    drawing.mark(Mark::Circle, at, 21.0, WHITE, Body::Solid);
    drawing.mark(Mark::Circle, at, 16.0, BLACK, Body::Solid);
}

//! What each resource did when: a lane a copy engine, stream, context or kind of work, a bar an
//! operation.

use std::collections::{BTreeMap, BTreeSet};

use plotters::style::RGBColor;
use schema::csv::Csv;
use schema::ids::{Id, RequestId, StageId};
use schema::run::{Run, Span, SpanName, Status};
use schema::scenario::{Scenario, StageRole};
use schema::units::SimDuration;

use crate::axis::Axis;
use crate::drawing::{Anchor, Area, Drawing, SMALL, Text, Turn, WIDTH, Weight, fit, text_width};
use crate::error::PlotError;
use crate::figure::Figure;
use crate::format::TimeUnit;
use crate::legend::{Key, Legend};
use crate::palette::{self, Fill, GRID, Hatch, INK, WHITE, darker, operation_hatch};
use crate::timeline::{
    Bar, Lane, LaneKind, Lanes, Layout, Timeline, View, device_name, is_of_context, numbers,
    request_name,
};

/// Most bars of a figure.
pub const MAX_BARS: usize = 20_000;
/// Most rows of a figure.
pub const MAX_ROWS: usize = 200;

const RIGHT: f64 = 22.0;
/// Widest that names of lanes may be.
const MAX_NAME: f64 = 230.0;
const HEAD: f64 = 46.0;
const GROUP_GAP: f64 = 10.0;
/// Of rows with text in their bars.
const TALL: Row = Row {
    pitch: 46.0,
    bar: 38.0,
};
/// Of the rows of a lane that has many.
const SHORT: Row = Row {
    pitch: 20.0,
    bar: 16.0,
};
/// Rows of a lane from which they are short.
const MANY_ROWS: usize = 5;
/// Least width of a bar, so that every one is seen.
const MIN_BAR: f64 = 2.0;
/// From which width a bar has a border.
const MIN_BORDERED: f64 = 5.0;

/// The height of a row.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    pitch: f64,
    bar: f64,
}

/// What the colour of a bar stands for.
enum Colors {
    /// Its batch, or where batches are of one request its request; six colours in turn.
    Turns {
        of: &'static str,
        numbers: BTreeMap<RequestId, u32>,
    },
    /// Its stage.
    Stages(Vec<StageId>),
}

/// Draws `view` of a run as a Gantt chart, lanes grouped by host and GPU.
///
/// With one stage the colour of a bar is its batch's or request's, with several its stage's. A
/// thin line before a bar is its waiting. Bars of a lane that overlap stand in several rows.
///
/// # Errors
/// If the run has not that replication, there is nothing in the window, or more than [`MAX_BARS`]
/// bars or [`MAX_ROWS`] rows are.
pub fn draw(name: &str, run: &Run, view: &View, lanes: Lanes) -> Result<Figure, PlotError> {
    let timeline = Timeline::new(name, run, view, lanes, Layout::Flat)?;
    let too_many = |what, found, most| PlotError::TooMany {
        figure: name.to_owned(),
        what,
        found,
        most,
        from_ns: timeline.from_ns,
        to_ns: timeline.to_ns,
    };
    let n_bars: usize = timeline.lanes.iter().map(|lane| lane.bars.len()).sum();
    if n_bars > MAX_BARS {
        return Err(too_many("bars", n_bars, MAX_BARS));
    }
    let n_rows: usize = timeline.lanes.iter().map(|lane| lane.n_rows).sum();
    if n_rows > MAX_ROWS {
        return Err(too_many("rows of bars", n_rows, MAX_ROWS));
    }
    let colors = Colors::of(run, view, &timeline);
    Ok(Figure {
        name: name.to_owned(),
        caption: caption(&timeline, &colors),
        csv: table(&timeline),
        drawing: drawing(&timeline, &colors),
    })
}

impl Colors {
    fn of(run: &Run, view: &View, timeline: &Timeline<'_>) -> Colors {
        let bars = timeline.lanes.iter().flat_map(|lane| &lane.bars);
        let spans = bars.map(|bar| timeline.spans(bar)[0]);
        let drawn = spans.filter(|span| is_of_context(span.name) || span.name == SpanName::Service);
        let stages: BTreeSet<StageId> = drawn.map(|span| span.stage).collect();
        if stages.len() > 1 {
            Colors::Stages(stages.into_iter().collect())
        } else {
            let roles = stages.iter().map(|id| &run.scenario.stages[*id].role);
            let mut serves = roles.filter_map(|role| match role {
                StageRole::Serve(serve) => Some(serve),
                StageRole::Proxy(_) | StageRole::Plain(_) => None,
            });
            Colors::Turns {
                of: if serves.any(|serve| serve.batch.max > 1) {
                    "batch"
                } else {
                    "request"
                },
                numbers: numbers(run, view.replication),
            }
        }
    }

    fn color(&self, timeline: &Timeline<'_>, bar: &Bar) -> RGBColor {
        let span = timeline.spans(bar)[0];
        let index = match self {
            Colors::Turns { numbers, .. } => {
                numbers.get(&span.request).map(|number| *number as usize)
            }
            Colors::Stages(stages) => {
                let of = stage(timeline.scenario, span);
                stages.iter().position(|stage| *stage == of)
            }
        };
        index.map_or(WHITE, palette::bar)
    }
}

/// The stage that a span counts for: a message is on its way to the one that serves its request.
fn stage(scenario: &Scenario, span: &Span) -> StageId {
    if scenario.is_plain() {
        return span.stage;
    }
    let client = &scenario.clients[span.request.client()];
    let group = &scenario.groups[client.group];
    let path = match (span.branch as usize).checked_sub(1) {
        None => &group.path,
        Some(index) => &scenario.call(&group.branches[index]).path,
    };
    path.last().expect("a path has a hop").to
}

fn caption(timeline: &Timeline<'_>, colors: &Colors) -> String {
    let color = match colors {
        Colors::Turns { of, .. } => format!("one colour a {of}, in turn"),
        Colors::Stages(_) => "one colour a stage".to_owned(),
    };
    format!(
        "What each resource did from {} to {} after the clients' common start: {color}. A thin line \
         before a bar is the time that it waited.",
        SimDuration::from_ns(timeline.from_ns),
        SimDuration::from_ns(timeline.to_ns)
    )
}

fn table(timeline: &Timeline<'_>) -> String {
    let mut csv = Csv::new(&[
        "host", "device", "lane", "row", "span", "name", "stage", "batch", "requests", "bytes",
        "ready_s", "start_s", "end_s",
    ]);
    let seconds = |ns: u64| ns as f64 / 1e9;
    let scenario = timeline.scenario;
    for lane in &timeline.lanes {
        let host = timeline.host_name(lane.place);
        let device = lane.place.device.map_or(String::new(), device_name);
        let lane_name = timeline.lane_name(lane.place);
        for bar in &lane.bars {
            let spans = timeline.spans(bar);
            let first = spans[0];
            let batch = if is_of_context(first.name) {
                first.batch.to_string()
            } else {
                String::new()
            };
            let requests = spans.iter().map(|s| request_name(scenario, s.request));
            let bytes: u64 = spans.iter().map(|span| span.bytes).sum();
            csv.row(&[
                &host,
                &device,
                &lane_name,
                &bar.row,
                &first.name.name(),
                &timeline.name(bar),
                &scenario.stages[first.stage].name,
                &batch,
                &requests.collect::<Vec<_>>().join(" "),
                &bytes,
                &seconds(bar.ready_ns),
                &seconds(bar.start_ns),
                &seconds(bar.end_ns),
            ]);
        }
    }
    csv.finish()
}

fn legend(timeline: &Timeline<'_>, colors: &Colors) -> Legend {
    let bars = || {
        let lanes = timeline.lanes.iter();
        lanes.flat_map(|lane| lane.bars.iter().map(move |bar| (lane, bar)))
    };
    let mut legend = Legend::default();
    match colors {
        Colors::Turns { of, .. } => {
            legend.add(Key::Turns([0, 1, 2, 3].map(palette::bar)), *of);
        }
        Colors::Stages(stages) => {
            for (index, stage) in stages.iter().enumerate() {
                let fill = Fill {
                    color: palette::bar(index),
                    hatch: Hatch::Plain,
                };
                let name = &timeline.scenario.stages[*stage].name;
                legend.add(Key::Swatch(fill), name);
            }
        }
    }
    let hatched: BTreeSet<SpanName> = bars()
        .map(|(lane, bar)| (lane, timeline.spans(bar)[0]))
        .filter(|(lane, span)| hatch(lane, span.name, span.status) == operation_hatch(span.name))
        .map(|(_, span)| span.name)
        .filter(|name| operation_hatch(*name) != Hatch::Plain)
        .collect();
    let swatch = |hatch| {
        Key::Swatch(Fill {
            color: WHITE,
            hatch,
        })
    };
    for name in hatched {
        legend.add(swatch(operation_hatch(name)), name.name());
    }
    if bars().any(|(_, bar)| timeline.spans(bar)[0].status == Status::Failed) {
        legend.add(swatch(Hatch::Crossed), "failed");
    }
    if bars().any(|(_, bar)| bar.start_ns > bar.ready_ns) {
        let line = Key::Line {
            color: INK,
            width: 3.0,
            pattern: &[],
            mark: None,
        };
        legend.add(line, "waiting");
    }
    legend
}

/// Hatching tells kinds of work apart where a lane has several, and what failed.
fn hatch(lane: &Lane, name: SpanName, status: Status) -> Hatch {
    match lane.place.kind {
        _ if status == Status::Failed => Hatch::Crossed,
        LaneKind::Context(..) => operation_hatch(name),
        _ => Hatch::Plain,
    }
}

/// The axis of a window, and what it says.
struct TimeAxis {
    axis: Axis,
    title: String,
    /// What its zero is, in nanoseconds.
    zero_ns: u64,
    per_ns: f64,
}

impl TimeAxis {
    fn new(timeline: &Timeline<'_>, left: f64) -> TimeAxis {
        let (from_ns, to_ns) = (timeline.from_ns, timeline.to_ns.max(timeline.from_ns + 1));
        let length_ns = to_ns - from_ns;
        // Far from the start, ticks would have more digits than anyone reads.
        let zero_ns = if to_ns / length_ns >= 50 { from_ns } else { 0 };
        let unit = TimeUnit::of(length_ns as f64 / 1e9);
        let per_ns = unit.per_second / 1e9;
        let at = |ns: u64| (ns - zero_ns) as f64 * per_ns;
        let (low, high) = (at(from_ns), at(to_ns));
        let mut axis = Axis::linear(low, high, 6.0);
        let slack = 1e-9 * (high - low);
        let inside = low - slack..=high + slack;
        axis.ticks.retain(|tick| inside.contains(&tick.value));
        let title = if zero_ns == 0 {
            format!("Time ({})", unit.symbol)
        } else {
            format!(
                "Time after {} ({})",
                SimDuration::from_ns(zero_ns),
                unit.symbol
            )
        };
        TimeAxis {
            axis: axis.between(low, high).over(left, WIDTH - RIGHT),
            title,
            zero_ns,
            per_ns,
        }
    }

    /// Where an instant is; those outside are at the nearer end.
    fn at(&self, ns: u64) -> f64 {
        self.axis
            .at((ns as f64 - self.zero_ns as f64) * self.per_ns)
    }
}

const fn row(lane: &Lane) -> Row {
    if lane.n_rows < MANY_ROWS { TALL } else { SHORT }
}

fn drawing(timeline: &Timeline<'_>, colors: &Colors) -> Drawing {
    let name = |lane: &Lane| {
        let name = timeline.lane_name(lane.place);
        fit(&name, SMALL, Weight::Normal, MAX_NAME)
    };
    let widths = timeline
        .lanes
        .iter()
        .map(|lane| text_width(&name(lane), SMALL, Weight::Normal));
    let left = 12.0 + widths.fold(0.0, f64::max) + 14.0;
    let time = TimeAxis::new(timeline, left);
    let groups = timeline
        .lanes
        .chunk_by(|a, b| (a.place.host, a.place.device) == (b.place.host, b.place.device));
    let heights = groups.clone().map(|lanes| {
        let lanes = lanes
            .iter()
            .map(|lane| lane.n_rows as f64 * row(lane).pitch);
        HEAD + lanes.sum::<f64>() + GROUP_GAP
    });
    let legend = legend(timeline, colors);
    let top = legend.height();
    let bottom = top + heights.sum::<f64>();
    let mut drawing = Drawing::new(bottom + Axis::ROOM_BELOW);
    legend.draw(&mut drawing);
    time.axis.draw_level(&mut drawing, top, bottom, &time.title);

    let mut y = top;
    for lanes in groups {
        draw_head(&mut drawing, &head(timeline, &lanes[0]), y);
        y += HEAD;
        let first = y;
        for lane in lanes {
            let height = lane.n_rows as f64 * row(lane).pitch;
            drawing.line(&[(left, y), (WIDTH - RIGHT, y)], GRID, 2.0);
            let at = (left - 14.0, y + height / 2.0 + 0.36 * SMALL);
            drawing.label(&name(lane), at, SMALL, Anchor::End);
            for bar in &lane.bars {
                let color = colors.color(timeline, bar);
                draw_bar(&mut drawing, timeline, &time, lane, bar, color, y);
            }
            y += height;
        }
        drawing.line(&[(left, first), (left, y)], INK, 3.0);
        y += GROUP_GAP;
    }
    drawing
}

/// The host of a group of lanes and its GPU.
fn head(timeline: &Timeline<'_>, first: &Lane) -> String {
    let name = timeline.host_name(first.place);
    match first.place.device {
        Some(device) => {
            let host = &timeline.scenario.hosts[first.place.host];
            let part = &host.gpus[device.gpu as usize].part;
            format!("{name}, {} ({part})", device_name(device))
        }
        None => name.to_owned(),
    }
}

fn draw_head(drawing: &mut Drawing, head: &str, y: f64) {
    let text = fit(head, SMALL, Weight::Bold, WIDTH - 12.0 - RIGHT);
    let behind = Area {
        left: 0.0,
        top: y + 2.0,
        right: 12.0 + text_width(&text, SMALL, Weight::Bold) + 10.0,
        bottom: y + HEAD - 3.0,
    };
    drawing.fill(behind, palette::part_fill(None));
    drawing.text(Text {
        text: &text,
        at: (12.0, y + HEAD - 14.0),
        em: SMALL,
        anchor: Anchor::Start,
        weight: Weight::Bold,
        turn: Turn::Level,
    });
}

fn draw_bar(
    drawing: &mut Drawing,
    timeline: &Timeline<'_>,
    time: &TimeAxis,
    lane: &Lane,
    bar: &Bar,
    color: RGBColor,
    lane_top: f64,
) {
    let row = row(lane);
    let top = lane_top + bar.row as f64 * row.pitch + (row.pitch - row.bar) / 2.0;
    let middle = top + row.bar / 2.0;
    if bar.start_ns > bar.ready_ns && bar.ready_ns < timeline.to_ns {
        let (ready, start) = (time.at(bar.ready_ns), time.at(bar.start_ns));
        let line = darker(color, 0.35);
        drawing.line(&[(ready, middle), (start, middle)], line, 3.0);
        if bar.ready_ns >= timeline.from_ns {
            let cap = 0.22 * row.bar;
            drawing.line(&[(ready, middle - cap), (ready, middle + cap)], line, 3.0);
        }
    }
    let is_inside = bar.end_ns >= timeline.from_ns && bar.start_ns <= timeline.to_ns;
    if !is_inside || matches!(lane.place.kind, LaneKind::Line(_)) {
        return;
    }
    let right_end = time.at(u64::MAX);
    let left = time.at(bar.start_ns).min(right_end - MIN_BAR);
    let area = Area {
        left,
        top,
        right: time.at(bar.end_ns).max(left + MIN_BAR),
        bottom: top + row.bar,
    };
    let span = timeline.spans(bar)[0];
    let hatch = hatch(lane, span.name, span.status);
    drawing.fill(area, Fill { color, hatch });
    if area.right - area.left >= MIN_BORDERED {
        drawing.border(area, INK, 2.0);
    } else {
        drawing.polygon(area.corners().to_vec(), darker(color, 0.35), 1.0);
    }
    if row == TALL {
        draw_text(drawing, timeline, bar, area, Fill { color, hatch });
    }
}

/// Writes what a bar is into it, if there is room.
fn draw_text(drawing: &mut Drawing, timeline: &Timeline<'_>, bar: &Bar, area: Area, fill: Fill) {
    let room = area.right - area.left - 12.0;
    let width = |text: &String| text_width(text, SMALL, Weight::Normal);
    let texts = texts(timeline, bar);
    let Some(text) = texts.iter().find(|text| width(text) <= room) else {
        return;
    };
    let (x, y) = (
        (area.left + area.right) / 2.0,
        (area.top + area.bottom) / 2.0,
    );
    if fill.hatch != Hatch::Plain {
        let half = width(text) / 2.0 + 4.0;
        let behind = Area {
            left: x - half,
            top: area.top + 3.0,
            right: x + half,
            bottom: area.bottom - 3.0,
        };
        let hatch = Hatch::Plain;
        drawing.fill(behind, Fill { hatch, ..fill });
    }
    drawing.label(text, (x, y + 0.36 * SMALL), SMALL, Anchor::Middle);
}

/// What may be written into a bar, the best first: what it is, and for which requests.
fn texts(timeline: &Timeline<'_>, bar: &Bar) -> Vec<String> {
    let spans = timeline.spans(bar);
    let request = spans[0].request;
    let number = if timeline.scenario.clients.len() == 1 {
        format!("#{}", request.seq())
    } else {
        format!("{}#{}", request.client().index(), request.seq())
    };
    let requests = match spans.len() {
        1 => number,
        n => format!("{number} +{}", n - 1),
    };
    let name = timeline.name(bar);
    match spans[0].name {
        SpanName::Kernel => vec![name],
        SpanName::Inference | SpanName::Preprocess => {
            vec![format!("{name} {requests}"), name, requests]
        }
        _ => vec![requests],
    }
}

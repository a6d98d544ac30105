//! A run as Chrome's trace events, which Perfetto and `chrome://tracing` open.
//!
//! A process is a host and a thread a lane of it: a copy engine of a GPU, an inference context, a
//! station, or one kind of its work. A complete event is an operation: a span, or those of a batch
//! that stand for one thing, whose requests it lists. Events of a thread overlap only if one
//! contains the other, as an inference its kernels; otherwise a lane has several threads. Times
//! are in microseconds, exact to the nanosecond.
//!
//! Format: "Trace Event Format", Google, 2016.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use schema::ids::Id;
use schema::run::{Leg, Run, Span, SpanName, Status};
use serde_json::{Map, Value, json};

use crate::error::PlotError;
use crate::timeline::{
    Bar, Lane, Lanes, Layout, Timeline, View, client_name, device_name, is_of_context,
};

/// Writes the file `path`.
///
/// # Errors
/// If the run has not that replication, no span is in the view, or the file cannot be written.
pub fn save(run: &Run, view: &View, path: &Path) -> Result<(), PlotError> {
    let timeline = timeline(run, view)?;
    let failed = |source| PlotError::Write {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::create(path).map_err(failed)?;
    let mut file = BufWriter::new(file);
    write_events(run, view, &timeline, &mut file)
        .and_then(|()| file.flush())
        .map_err(failed)
}

/// Writes the events to `to`, one a line.
///
/// # Errors
/// If the run has not that replication, no span is in the view, or `to` takes no more.
pub fn write(run: &Run, view: &View, to: &mut impl Write) -> Result<(), PlotError> {
    let timeline = timeline(run, view)?;
    write_events(run, view, &timeline, to).map_err(|source| PlotError::Write {
        path: "the output".into(),
        source,
    })
}

fn timeline<'a>(run: &'a Run, view: &View) -> Result<Timeline<'a>, PlotError> {
    Timeline::new("chrome", run, view, Lanes::All, Layout::Nested)
}

fn write_events(
    run: &Run,
    view: &View,
    timeline: &Timeline<'_>,
    to: &mut impl Write,
) -> io::Result<()> {
    let about = json!({
        "program": run.manifest.program,
        "replication": view.replication,
        "scenario": run.scenario.name,
    });
    write!(
        to,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":["
    )?;
    let mut events = Events { to, n: 0 };
    // Threads are numbered on from one host to the next: some viewers tell them by that alone.
    let mut first_thread = 1;
    let mut host = None;
    for lane in &timeline.lanes {
        let process = lane.place.host.index() + 1;
        if host != Some(process) {
            host = Some(process);
            let name = timeline.host_name(lane.place);
            events.label("process", (process, 0), name, process)?;
        }
        for row in 0..lane.n_rows {
            let thread = first_thread + row;
            let name = thread_name(timeline, lane, row);
            events.label("thread", (process, thread), &name, thread)?;
        }
        for bar in &lane.bars {
            let thread = first_thread + bar.row;
            events.operation(timeline, bar, (process, thread))?;
        }
        first_thread += lane.n_rows;
    }
    write!(events.to, "\n]}}\n")
}

fn thread_name(timeline: &Timeline<'_>, lane: &Lane, row: usize) -> String {
    let name = timeline.lane_name(lane.place);
    let name = match lane.place.device {
        Some(device) => format!("{} {name}", device_name(device)),
        None => name,
    };
    if row == 0 {
        name
    } else {
        format!("{name} ({})", row + 1)
    }
}

struct Events<'a, W> {
    to: &'a mut W,
    n: u64,
}

impl<W: Write> Events<'_, W> {
    /// Begins an event.
    fn next(&mut self) -> io::Result<()> {
        self.n += 1;
        let comma = if self.n == 1 { "" } else { "," };
        writeln!(self.to, "{comma}")
    }

    /// Names a process or a thread, and says which place it has among them.
    fn label(
        &mut self,
        what: &str,
        (process, thread): (usize, usize),
        name: &str,
        place: usize,
    ) -> io::Result<()> {
        for (key, argument, value) in [
            ("name", "name", json!(name)),
            ("sort_index", "sort_index", json!(place)),
        ] {
            self.next()?;
            write!(
                self.to,
                "{{\"ph\":\"M\",\"name\":\"{what}_{key}\",\"pid\":{process},\"tid\":{thread},\
                 \"args\":{{\"{argument}\":{value}}}}}"
            )?;
        }
        Ok(())
    }

    fn operation(
        &mut self,
        timeline: &Timeline<'_>,
        bar: &Bar,
        (process, thread): (usize, usize),
    ) -> io::Result<()> {
        let first = timeline.spans(bar)[0];
        let start_ns = if first.name == SpanName::Queue {
            bar.ready_ns
        } else {
            bar.start_ns
        };
        let name = Value::from(timeline.name(bar));
        let stage = Value::from(timeline.scenario.stages[first.stage].name.as_str());
        let (start, length) = (microseconds(start_ns), microseconds(bar.end_ns - start_ns));
        let arguments = Value::from(arguments(timeline, bar));
        self.next()?;
        write!(
            self.to,
            "{{\"ph\":\"X\",\"name\":{name},\"cat\":{stage},\"pid\":{process},\"tid\":{thread},\
             \"ts\":{start},\"dur\":{length},\"args\":{arguments}}}"
        )
    }
}

/// Microseconds with the three digits that nanoseconds need.
fn microseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000, ns % 1_000)
}

/// What is known of an operation beside its times.
fn arguments(timeline: &Timeline<'_>, bar: &Bar) -> Map<String, Value> {
    let spans = timeline.spans(bar);
    let first = spans[0];
    let scenario = timeline.scenario;
    let class = |span: &Span| Value::from(scenario.classes[span.class].name.as_str());
    let mut all = Map::new();
    // In the order of the alphabet, as they are written.
    let mut add = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    if is_of_context(first.name) {
        add("batch", first.batch.into());
    }
    if spans.iter().any(|span| span.branch > 0) {
        add("branch", each(spans, |span| span.branch.into()));
    }
    let bytes: u64 = spans.iter().map(|span| span.bytes).sum();
    if bytes > 0 {
        add("bytes", bytes.into());
    }
    add("class", each(spans, class));
    let client = |span: &Span| client_name(scenario, span.request).into();
    add("client", each(spans, client));
    if is_of_context(first.name) {
        add("context", first.context.into());
    }
    if let Some(hop) = first.hop {
        let leg = match first.leg {
            Leg::Request => "request",
            Leg::Reply => "reply",
        };
        add("hop", hop.into());
        add("leg", leg.into());
    }
    add("request", each(spans, |span| span.request.seq().into()));
    if first.status == Status::Failed {
        add("status", "failed".into());
    }
    let waiting = microseconds(bar.start_ns - bar.ready_ns).parse::<f64>();
    let waiting = waiting.expect("it is a decimal number");
    add("waiting_us", waiting.into());
    all
}

/// A value of the only request, or those of all.
fn each(spans: &[&Span], value: impl Fn(&Span) -> Value) -> Value {
    match spans {
        [only] => value(only),
        _ => spans.iter().map(|span| value(span)).collect(),
    }
}

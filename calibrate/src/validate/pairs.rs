//! Nets side by side on a GPU: what each takes beside the others and alone, by how they share it.
//!
//! Runs of placement `device`, in which nothing but the GPU takes time. Of a net beside others those passes
//! count in which the others were still at it: of each replication up to the first end of a net's last pass.

use std::collections::BTreeMap;
use std::fmt::Write;

use schema::comparison::PairRow;
use schema::ids::{Id, StageId};
use schema::run::{Run, SpanName};
use schema::scenario::{GpuUse, Placement, Scenario, Serve};
use schema::stats::{batch_means_interval, mean};
use schema::summary::CONFIDENCE;

use crate::samples::{counted, serve};

/// Batches of passes from whose means an interval is made.
const N_BATCHES: usize = 10;

/// A measured run, and what the engine makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Name of the measured run.
    pub name: &'a str,
    /// As measured.
    pub measured: &'a Run,
    /// As simulated; `None` if it was not.
    pub simulated: Option<&'a Run>,
    /// Whether no fit saw it.
    pub held_out: bool,
}

/// Times of passes in seconds, by stage.
type Passes = BTreeMap<StageId, Vec<f64>>;

/// Each net of each run that has several, if of all of them there is a run with that net alone.
pub fn pairs(sides: &[Side<'_>]) -> Vec<PairRow> {
    let on_device = |side: &&Side<'_>| side.measured.scenario.placement == Placement::Device;
    let known: Vec<(&Side<'_>, Passes)> = (sides.iter().filter(on_device))
        .map(|side| (side, passes(side.measured)))
        .collect();
    let mut rows = Vec::new();
    for (side, beside) in known.iter().filter(|(_, passes)| passes.len() > 1) {
        let alone = |stage: &StageId| {
            known.iter().find(|(other, passes)| {
                let mut only = passes.keys();
                let same = only.next().filter(|_| passes.len() == 1);
                same.is_some_and(|same| {
                    net(&side.measured.scenario, *stage) == net(&other.measured.scenario, *same)
                })
            })
        };
        let found: Option<Vec<_>> = beside.keys().map(alone).collect();
        for ((stage, times), (other, at_rest)) in beside.iter().zip(found.into_iter().flatten()) {
            let alone: Vec<f64> = at_rest.values().flatten().copied().collect();
            rows.push(row(side, *stage, times, other, mean(&alone)));
        }
    }
    rows
}

fn row(side: &Side<'_>, stage: StageId, times: &[f64], other: &Side<'_>, alone: f64) -> PairRow {
    let scenario = &side.measured.scenario;
    let predicted = |run: Option<&Run>, name: &str| {
        let found = passes(run?);
        let stage = found
            .keys()
            .find(|id| run.map(|run| named(run, **id)) == Some(name))?;
        Some(mean(&found[stage]))
    };
    let name = scenario.stages[stage].name.as_str();
    let beside = batch_means_interval(times, N_BATCHES, CONFIDENCE);
    PairRow {
        run: side.name.to_owned(),
        sharing: sharing(scenario),
        net: name.to_owned(),
        held_out: side.held_out,
        passes: times.len() as u64,
        alone,
        beside: beside.value,
        interval: beside.low.is_finite().then_some([beside.low, beside.high]),
        predicted_alone: predicted(other.simulated, name),
        predicted: predicted(side.simulated, name),
    }
}

fn named(run: &Run, stage: StageId) -> &str {
    &run.scenario.stages[stage].name
}

/// What makes a net the same in another run: its stage's name, its work, and its batch.
fn net(scenario: &Scenario, stage: StageId) -> Option<(&str, &schema::scenario::Work, u32)> {
    let Serve { work, batch, .. } = serve(scenario, stage)?;
    Some((&scenario.stages[stage].name, work, batch.max))
}

/// The passes of each stage that count.
fn passes(run: &Run) -> Passes {
    let counted = counted(run);
    let mut last: BTreeMap<(u32, StageId), u64> = BTreeMap::new();
    let mut found: Vec<(u32, StageId, u64, f64)> = Vec::new();
    for span in &run.trace {
        let counts =
            span.name == SpanName::Request && counted.contains(&(span.replication, span.request));
        let client = run
            .scenario
            .clients
            .rows()
            .get(span.request.client().index());
        let (true, Some(client)) = (counts, client) else {
            continue;
        };
        let stage = run.scenario.groups[client.group].path[0].to;
        let end = last.entry((span.replication, stage)).or_default();
        *end = (*end).max(span.end_ns);
        found.push((span.replication, stage, span.end_ns, span.length_s()));
    }
    let mut until: BTreeMap<u32, u64> = BTreeMap::new();
    for ((replication, _), end) in last {
        let first = until.entry(replication).or_insert(end);
        *first = (*first).min(end);
    }
    found.sort_by_key(|(replication, _, end, _)| (*replication, *end));
    let mut passes = Passes::new();
    for (replication, stage, end, length_s) in found {
        if end <= until[&replication] {
            passes.entry(stage).or_default().push(length_s);
        }
    }
    passes
}

/// How the stages share a GPU, in words.
fn sharing(scenario: &Scenario) -> String {
    let stages = scenario.stages.iter();
    let gpus: Vec<(&str, &GpuUse)> = stages
        .filter_map(|(id, stage)| Some((&*stage.name, serve(scenario, id)?.gpu.as_ref()?)))
        .collect();
    let Some((_, first)) = gpus.first() else {
        return String::new();
    };
    if let Some(mps) = first.mps {
        return match mps.percentage < 100.0 {
            true => format!("MPS, {}% each", mps.percentage),
            false => "MPS".to_owned(),
        };
    }
    let is_one =
        first.process.is_some() && gpus.iter().all(|(_, gpu)| gpu.process == first.process);
    if !is_one {
        return "processes in turn".to_owned();
    }
    let ahead = gpus.iter().min_by_key(|(_, gpu)| gpu.priority);
    let differ = gpus.iter().any(|(_, gpu)| gpu.priority != first.priority);
    match ahead.filter(|_| differ) {
        Some((name, _)) => format!("streams, `{name}` ahead"),
        None => "streams".to_owned(),
    }
}

/// Rows as a table; times in milliseconds.
pub fn table(rows: &[PairRow]) -> String {
    let mut text = String::new();
    writing(&mut text, rows).expect("writing to a string cannot fail");
    text
}

fn writing(text: &mut String, rows: &[PairRow]) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let is_predicted = rows.iter().any(|row| row.predicted.is_some());
    write!(
        text,
        "{:<30} {:<12} {:>10} {:>11} {:>20} {:>8}",
        "nets side by side", "net", "alone [ms]", "beside [ms]", "95% interval", "times"
    )?;
    writeln!(
        text,
        "{}",
        if is_predicted {
            format!(" {:>14} {:>9}", "predicted [ms]", "error [%]")
        } else {
            String::new()
        }
    )?;
    for row in rows {
        let interval = row.interval.map_or("-".to_owned(), |[low, high]| {
            format!("{:.3} to {:.3}", 1e3 * low, 1e3 * high)
        });
        write!(
            text,
            "{:<30} {:<12} {:>10.3} {:>11.3} {interval:>20} {:>8.2}",
            row.sharing,
            row.net,
            1e3 * row.alone,
            1e3 * row.beside,
            row.factor(),
        )?;
        if let (Some(predicted), Some(error)) = (row.predicted, row.error()) {
            write!(text, " {:>14.3} {:>+9.1}", 1e3 * predicted, 1e2 * error)?;
        }
        writeln!(
            text,
            "{}",
            if row.held_out || !is_predicted {
                ""
            } else {
                "  fitted"
            }
        )?;
    }
    Ok(())
}

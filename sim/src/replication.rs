//! One replication: the event loop, and the checks at its end.

use schema::ids::RequestId;
use schema::run::{CpuUse, Span, Status};
use schema::units::SimTime;

use crate::Arrivals;
use crate::costs::Used;
use crate::engine::EventQueue;
use crate::error::SimError;
use crate::event::Event;
use crate::pipeline::Pipeline;
use crate::record::Recorder;
use crate::tables::Tables;

/// When a request was sent and completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Which request.
    pub request: RequestId,
    /// When it was to be sent.
    pub ready: SimTime,
    /// When a connection took it.
    pub start: SimTime,
    /// When the client had taken the reply, or had given up.
    pub end: SimTime,
    /// Whether it had a reply.
    pub status: Status,
}

/// What a replication keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detail {
    /// Every span.
    Trace,
    /// When each request was sent and completed.
    Completions,
}

/// The result of a replication.
#[derive(Debug)]
pub(crate) struct Replication {
    pub(crate) trace: Vec<Span>,
    pub(crate) completions: Vec<Completion>,
    pub(crate) cpu: Vec<CpuUse>,
    /// Number of events handled.
    pub(crate) events: u64,
    /// What each law was used for.
    pub(crate) used: Vec<Used>,
    /// Packets that were lost in full buffers.
    pub(crate) n_lost: u64,
    /// What the laws of each net on a GPU were used for.
    pub(crate) nets_used: Vec<Used>,
}

/// Runs replication `index` until every request that was sent is complete.
pub(crate) fn run(
    tables: &Tables<'_>,
    index: u32,
    arrivals: Arrivals,
    keep: Detail,
) -> Result<Replication, SimError> {
    let seed = tables.scenario.seed;
    let requests = match arrivals {
        Arrivals::Shared => seed,
        Arrivals::Independent => seed.replication(index),
    };
    let record = Recorder::new(index, keep);
    let mut pipeline = Pipeline::new(tables, requests, seed.replication(index), record);
    let mut queue: EventQueue<Event> = EventQueue::new();
    pipeline.start(&mut queue);
    while let Some(event) = queue.pop() {
        pipeline.handle(&mut queue, event);
        if let Some(failure) = pipeline.failure.take() {
            return Err(failure);
        }
    }
    check(&pipeline, index)?;
    let cpu = cpu(&pipeline, index);
    let (trace, completions) = pipeline.record.into_sorted();
    Ok(Replication {
        cpu,
        events: queue.n_scheduled(),
        n_lost: pipeline.wires.n_lost(),
        trace,
        completions,
        used: pipeline.costs.into_used(),
        nets_used: pipeline.gpus.used,
    })
}

/// That every request that was sent is complete, and Little's law.
fn check(pipeline: &Pipeline<'_>, replication: u32) -> Result<(), SimError> {
    let clients = pipeline.clients.rows();
    let sent = clients.iter().map(|client| client.n_sent).sum();
    let completed = clients.iter().map(|client| client.n_completed).sum();
    if clients
        .iter()
        .any(|client| client.n_sent != client.n_completed)
    {
        return Err(SimError::NotConserved {
            replication,
            sent,
            completed,
        });
    }
    match pipeline.population.difference_ps() {
        0 => Ok(()),
        difference_ps => Err(SimError::LittlesLaw {
            replication,
            difference_ps,
        }),
    }
}

/// Core time of each role in the measured window, ordered by role.
fn cpu(pipeline: &Pipeline<'_>, replication: u32) -> Vec<CpuUse> {
    let window = &pipeline.window;
    let window_s = match (window.opened, window.closed) {
        (Some(opened), Some(closed)) => closed.as_ns().saturating_sub(opened.as_ns()) as f64 / 1e9,
        _ => 0.0,
    };
    let in_window = &pipeline.core_time.in_window;
    let roles = pipeline.tables.roles.rows().iter().enumerate();
    let mut cpu: Vec<CpuUse> = roles
        .map(|(index, role)| CpuUse {
            replication,
            role: role.name.clone(),
            busy_s: in_window.get(index).map_or(0.0, |used| used.as_secs_f64()),
            window_s,
        })
        .collect();
    cpu.sort_by(|a, b| a.role.cmp(&b.role));
    cpu
}

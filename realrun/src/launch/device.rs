//! A scenario on GPUs alone: what its clients ask for is handed over by one thread, without messages,
//! and timed by the GPU's clock.
//!
//! The clients are dealt to the inference contexts of their stage in turn; those of one context make
//! its batch. Each asks again at once, so a context's passes follow each other.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::ids::{ClientId, RequestId, StageId};
use schema::run::{Leg, Manifest, Outcome, Run, Span, SpanName, Status};
use schema::scenario::{Extent, LaunchFile, Scenario, Serve, StageRole, Work};
use schema::workload::ClientPlan;

use crate::accelerator::{AcceleratorError, GpuPlace, KernelsSpec, Line, cuda};
use crate::error::RealrunError;
use crate::roles::kernel_specs;

/// An inference context with the clients that it serves.
struct Served {
    stage: StageId,
    /// Its number among the stage's.
    context: u32,
    clients: Vec<ClientId>,
    line: Line,
}

/// What can be measured here is checked; see [`super::check`].
pub(super) fn measure(scenario: &Scenario, mut manifest: Manifest) -> Result<Run, RealrunError> {
    let served = served(scenario);
    let lines: Vec<Line> = served.iter().map(|served| served.line.clone()).collect();
    let times = cuda::run_together(&lines).map_err(|error| RealrunError::Accelerator {
        stage: scenario.stages[served[0].stage].name.clone(),
        source: Box::new(AcceleratorError::from(error)),
    })?;
    let mut trace = Vec::new();
    for (served, times) in served.iter().zip(&times) {
        trace.extend(spans(scenario, served, times)?);
    }
    trace.sort_by_key(Span::order);
    manifest.outcome = Outcome::Complete;
    manifest.warnings = cuda::stand_ins(lines.iter().map(|line| line.place.device));
    Ok(Run::new(manifest, trace)?)
}

fn serve(scenario: &Scenario, stage: StageId) -> &Serve {
    match &scenario.stages[stage].role {
        StageRole::Serve(serve) => serve,
        StageRole::Proxy(_) | StageRole::Plain(_) => {
            unreachable!("other stages are refused before")
        }
    }
}

/// The requests of a client.
pub(super) fn n_requests(scenario: &Scenario) -> Option<u32> {
    match (scenario.warmup, scenario.measure) {
        (Extent::Requests(warmup), Extent::Requests(measure)) => warmup.checked_add(measure),
        _ => None,
    }
}

/// The contexts that have clients, stage by stage.
fn served(scenario: &Scenario) -> Vec<Served> {
    let mut all = Vec::new();
    // Processes by device and owner: its stage and its number among the stage's, or the name that
    // stages share.
    let mut processes: BTreeMap<(u32, String), usize> = BTreeMap::new();
    for (stage, row) in scenario.stages.iter() {
        let serve = serve(scenario, stage);
        let gpu = serve.gpu.as_ref().expect("others are refused before");
        let Work::Kernels(kernels) = &serve.work else {
            unreachable!("other work is refused before")
        };
        let clients: Vec<ClientId> = scenario
            .clients
            .iter()
            .filter(|(_, client)| scenario.groups[client.group].path[0].to == stage)
            .map(|(id, _)| id)
            .collect();
        let n_contexts = gpu.contexts();
        for context in 0..n_contexts {
            let own = clients.iter().skip(context as usize);
            let own: Vec<ClientId> = own.step_by(n_contexts as usize).copied().collect();
            if own.is_empty() {
                continue;
            }
            let process = context / gpu.streams;
            let device = gpu.devices[(process / gpu.processes) as usize];
            let owner = match &gpu.process {
                Some(name) => format!("process {name}"),
                None => format!("stage {} {process}", row.name),
            };
            let n = processes.len();
            let process = *processes.entry((device.gpu, owner)).or_insert(n);
            all.push(Served {
                stage,
                context,
                line: Line {
                    place: GpuPlace::of(device, gpu),
                    process,
                    work: KernelsSpec {
                        kernels: kernel_specs(kernels),
                        max_payload_bytes: kernels.input.as_usize(),
                        output_bytes: kernels.output.as_usize(),
                        raw: kernels.raw,
                    },
                    batch: own.len(),
                    passes: n_requests(scenario).expect("others are refused before") as usize,
                },
                clients: own,
            });
        }
    }
    all
}

/// The spans of a context's requests.
fn spans(
    scenario: &Scenario,
    served: &Served,
    times: &[Duration],
) -> Result<Vec<Span>, RealrunError> {
    let line = &served.line;
    let mut plans = Vec::new();
    for client in &served.clients {
        let plan = ClientPlan::new(scenario, *client, scenario.seed);
        plans.push(plan.map_err(|error| RealrunError::Unsupported {
            key: scenario.source().position("clients"),
            problem: error.to_string(),
        })?);
    }
    let mut spans = Vec::new();
    let mut now = Duration::ZERO;
    let n = line.n_operations();
    for (pass, times) in times.chunks_exact(n).enumerate() {
        let mut dates = vec![ns(now)];
        for time in times {
            now += *time;
            dates.push(ns(now));
        }
        let batch = served.context + pass as u32 * gpu_contexts(scenario, served.stage);
        for (slot, plan) in plans.iter_mut().enumerate() {
            let planned = plan.next().expect("a closed loop has no end");
            let base = base(scenario, served, planned.id, planned.class, batch);
            spans.extend(of_request(line, slot, base, planned.payload.0, &dates));
        }
    }
    Ok(spans)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("no run lasts for centuries")
}

fn gpu_contexts(scenario: &Scenario, stage: StageId) -> u32 {
    let gpu = serve(scenario, stage).gpu.as_ref();
    gpu.map_or(1, schema::scenario::GpuUse::contexts)
}

fn base(
    scenario: &Scenario,
    served: &Served,
    request: RequestId,
    class: schema::ids::ClassId,
    batch: u32,
) -> Span {
    Span {
        replication: 0,
        request,
        class,
        stage: served.stage,
        host: scenario.stages[served.stage].host,
        name: SpanName::Request,
        branch: 0,
        hop: None,
        leg: Leg::Request,
        batch,
        context: served.context,
        kernel: None,
        bytes: 0,
        ready_ns: 0,
        start_ns: 0,
        end_ns: 0,
        cpu_ns: 0,
        status: Status::Ok,
    }
}

/// The spans of the request in a slot of a pass, whose operations ended at `dates`; the first of these
/// is the end of the pass before.
fn of_request(line: &Line, slot: usize, base: Span, payload: u64, dates: &[u64]) -> Vec<Span> {
    let (first, last) = (dates[0], dates[dates.len() - 1]);
    let copied_in = line.n_copies_in();
    let prepared = copied_in + line.n_images();
    let computed = prepared + line.n_launches();
    let span = |name, bytes, [ready_ns, start_ns, end_ns]: [u64; 3]| Span {
        name,
        bytes,
        ready_ns,
        start_ns,
        end_ns,
        ..base
    };
    let whole = span(SpanName::Request, payload, [first, first, last]);
    let mut spans = vec![Span {
        batch: 0,
        context: 0,
        ..whole
    }];
    let mut ready_ns = first;
    if copied_in > 0 {
        let times = [first, dates[slot], dates[slot + 1]];
        spans.push(span(SpanName::H2d, payload, times));
        ready_ns = dates[slot + 1];
    }
    if line.n_images() > 0 {
        let times = [ready_ns, dates[copied_in], dates[prepared]];
        spans.push(span(SpanName::Preprocess, payload, times));
        ready_ns = dates[prepared];
    }
    let (start_ns, end_ns) = (dates[prepared], dates[computed]);
    let times = [ready_ns, start_ns, end_ns];
    spans.push(span(SpanName::Inference, payload, times));
    // Of a graph nothing tells when each kernel ended.
    if slot == 0 && line.place.launch == LaunchFile::Kernels {
        for (index, pair) in dates[prepared..=computed].windows(2).enumerate() {
            spans.push(Span {
                kernel: Some(index as u32),
                ..span(SpanName::Kernel, 0, [pair[0], pair[0], pair[1]])
            });
        }
    }
    if line.n_copies_out() > 0 {
        let times = [end_ns, dates[computed + slot], dates[computed + slot + 1]];
        spans.push(span(SpanName::D2h, line.work.output_bytes as u64, times));
    }
    spans
}

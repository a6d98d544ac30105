//! A scenario on GPUs alone: what its clients ask for is handed over by one thread, without messages,
//! and timed by the GPU's clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use schema::ids::{RequestId, StageId};
use schema::run::{Leg, Manifest, Outcome, Run, Span, SpanName, Status};
use schema::scenario::{LaunchFile, Scenario};
use schema::workload::ClientPlan;

use super::mps::{self, Mps};
use super::process::{Process, What};
use super::{MeasureOptions, THREADS_VARIABLE};
use crate::accelerator::{Line, cuda};
use crate::error::RealrunError;
use crate::roles::device::{Served, hand_over, serve, served};
use crate::roles::{Assignment, Report, Role};

/// What can be measured here is checked; see [`super::check`].
pub(super) fn measure(
    scenario: &Scenario,
    options: &MeasureOptions,
    mut manifest: Manifest,
) -> Result<Run, RealrunError> {
    let served = served(scenario);
    let times = match Mps::find(scenario)? {
        None => {
            manifest.warnings.extend(mps::warning_here());
            hand_over(scenario, &served)?
        }
        Some(mps) => {
            mps.note(&mut manifest);
            hand_over_as_client(scenario, options, &mps)?
        }
    };
    let mut trace = Vec::new();
    for (served, times) in served.iter().zip(&times) {
        trace.extend(spans(scenario, served, times)?);
    }
    trace.sort_by_key(Span::order);
    manifest.outcome = Outcome::Complete;
    let devices = served.iter().map(|served| served.line.place.device);
    manifest.warnings.extend(cuda::stand_ins(devices));
    Ok(Run::new(manifest, trace)?)
}

/// The times of everything, handed over by a process that is a client of the Multi-Process Service: of all
/// stages alike, as is checked.
fn hand_over_as_client(
    scenario: &Scenario,
    options: &MeasureOptions,
    mps: &Mps,
) -> Result<Vec<Vec<Duration>>, RealrunError> {
    let assignment = Assignment {
        scenario: scenario.file().clone(),
        role: Role::Device,
        traces: scenario.folder().to_owned(),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        addresses: BTreeMap::new(),
        cores: Vec::new(),
        // Where it writes nothing.
        dir: options.out.clone(),
    };
    let mut command = Command::new(&options.executable);
    command.arg("role").env(THREADS_VARIABLE, "1");
    let stage = &scenario.stages.rows()[0];
    mps::set_environment(&mut command, stage, Some(mps), &assignment.dir);
    let (tell, happened) = mpsc::channel();
    let process = Process::spawn(command, &assignment, 0, tell)?;
    let broken = |problem: String| RealrunError::Protocol {
        peer: format!("role `{}`", process.role()),
        problem,
    };
    loop {
        let Ok(happened) = happened.recv() else {
            return Err(broken("it was lost".to_owned()));
        };
        match happened.what {
            What::Reported(Report::Times { times }) => return Ok(times),
            What::Reported(Report::Failed { problem }) => return Err(broken(problem)),
            What::Ended(how) => return Err(broken(format!("it {how}"))),
            What::Reported(_) => {}
        }
    }
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

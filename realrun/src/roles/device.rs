//! What is handed to GPUs with placement `device`: all that the clients ask for, by one thread, before it
//! waits.
//!
//! The clients are dealt to the inference contexts of their stage in turn; those of one context make
//! its batch. Each asks again at once, so a context's passes follow each other.
//!
//! Clients of the Multi-Process Service are told so by the environment that their process starts with; so
//! for these this is a role, played by a process of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::ids::{ClientId, StageId};
use schema::scenario::{Extent, Scenario, Serve, StageRole, Work};

use super::{Report, Shared, kernel_specs};
use crate::accelerator::{AcceleratorError, GpuPlace, KernelsSpec, Line, cuda};
use crate::error::RealrunError;

/// An inference context with the clients that it serves.
pub(crate) struct Served {
    pub(crate) stage: StageId,
    /// Its number among the stage's.
    pub(crate) context: u32,
    pub(crate) clients: Vec<ClientId>,
    pub(crate) line: Line,
}

/// Hands over what `served` do, and waits for all of it. Gives the times of each: of each operation, pass by
/// pass, how long after the one before it it ended.
pub(crate) fn hand_over(
    scenario: &Scenario,
    served: &[Served],
) -> Result<Vec<Vec<Duration>>, RealrunError> {
    let lines: Vec<Line> = served.iter().map(|served| served.line.clone()).collect();
    cuda::run_together(&lines).map_err(|error| RealrunError::Accelerator {
        stage: scenario.stages[served[0].stage].name.clone(),
        source: Box::new(AcceleratorError::from(error)),
    })
}

/// Plays the role of a process that hands everything over and tells the times.
pub(super) fn play(shared: &Shared) -> Result<(), RealrunError> {
    let times = hand_over(&shared.scenario, &served(&shared.scenario))?;
    shared.report(&Report::Times { times });
    Ok(())
}

/// How a stage serves.
pub(crate) fn serve(scenario: &Scenario, stage: StageId) -> &Serve {
    match &scenario.stages[stage].role {
        StageRole::Serve(serve) => serve,
        StageRole::Proxy(_) | StageRole::Plain(_) => {
            unreachable!("other stages are refused before")
        }
    }
}

/// The requests of a client; `None` if their number is not given.
pub(crate) fn n_requests(scenario: &Scenario) -> Option<u32> {
    match (scenario.warmup, scenario.measure) {
        (Extent::Requests(warmup), Extent::Requests(measure)) => warmup.checked_add(measure),
        _ => None,
    }
}

/// The contexts that have clients, in the order of their first ones, in which the engine has them begin too.
pub(crate) fn served(scenario: &Scenario) -> Vec<Served> {
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
    all.sort_by_key(|served: &Served| served.clients[0]);
    all
}

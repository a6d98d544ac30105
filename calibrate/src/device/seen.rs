//! What runs show of GPUs: operations of inference contexts, by the part that they ran on.

use std::collections::{BTreeMap, BTreeSet};

use schema::ids::{RequestId, StageId};
use schema::run::{Run, Span, SpanName, Status};
use schema::scenario::{
    GpuUse, GpuWork, HostMemory, KernelFile, Kernels, LaunchFile, Placement, Scenario, Serve, Work,
};

use crate::Source;
use crate::samples::{counted, is_light, serve};

/// A run in which a GPU part did something, and what it did.
pub(super) struct Seen<'a> {
    /// The run's name.
    pub(super) source: &'a str,
    pub(super) scenario: &'a Scenario,
    /// Whether one context did everything and no request waited for another's copies or kernels.
    pub(super) is_alone: bool,
    /// Whether one thread handed everything over before it waited, so that contexts began at once.
    pub(super) is_handed_over: bool,
    /// By stage and inference context, what it did, in order of its ends.
    pub(super) contexts: BTreeMap<(StageId, u32), Vec<Done>>,
}

/// An operation of an inference context.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Done {
    pub(super) request: RequestId,
    pub(super) what: What,
    /// When the stream came to it, and when it had ended, in seconds.
    pub(super) start_s: f64,
    pub(super) end_s: f64,
}

/// Times of kernels by their number in the work of their stage and the requests of their batch.
pub(super) struct KernelTimes(pub(super) BTreeMap<(u32, u32), Vec<f64>>);

/// What an operation was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A copy to the device, of so many bytes.
    H2d(u64),
    /// A copy from it.
    D2h(u64),
    /// What turns the raw inputs of a batch, of so many bytes together, into tensors.
    Preprocess(u64),
    /// A kernel, with its number in the stage's work and the requests of its batch.
    Kernel(u32, u32),
    /// All kernels of the stage's work as a graph, with the requests of its batch.
    Graph(u32),
}

impl Done {
    pub(super) fn length_s(&self) -> f64 {
        self.end_s - self.start_s
    }
}

/// What each GPU part did in `sources`, run by run, in the order of the runs.
pub(super) fn seen<'a>(sources: &'a [Source<'a>]) -> BTreeMap<String, Vec<Seen<'a>>> {
    let mut parts: BTreeMap<String, Vec<Seen<'a>>> = BTreeMap::new();
    for source in sources {
        let mut of_run: BTreeMap<String, BTreeMap<(StageId, u32), Vec<Done>>> = BTreeMap::new();
        let requests = counted(source.run);
        let sizes = batches(source.run);
        for span in &source.run.trace {
            let counts = requests.contains(&(span.replication, span.request));
            let is_sound = span.status != Status::Failed && span.start_ns <= span.end_ns;
            if !counts || !is_sound {
                continue;
            }
            let Some(what) = what(&source.run.scenario, span, &sizes) else {
                continue;
            };
            let Some(part) = part(&source.run.scenario, span) else {
                continue;
            };
            let done = Done {
                request: span.request,
                what,
                start_s: span.start_ns as f64 / 1e9,
                end_s: span.end_ns as f64 / 1e9,
            };
            let contexts = of_run.entry(part).or_default();
            let context = contexts.entry((span.stage, span.context)).or_default();
            context.push(done);
        }
        for (part, mut contexts) in of_run {
            for done in contexts.values_mut() {
                done.sort_by(|a, b| a.end_s.total_cmp(&b.end_s));
            }
            let scenario = &source.run.scenario;
            let is_handed_over = scenario.placement == Placement::Device;
            parts.entry(part).or_default().push(Seen {
                source: &source.name,
                scenario,
                is_alone: contexts.len() == 1 && (is_handed_over || is_light(scenario)),
                is_handed_over,
                contexts,
            });
        }
    }
    parts
}

/// Number of requests in each batch; those in the warm-up count too.
fn batches(run: &Run) -> BTreeMap<(u32, StageId, u32, u32), u32> {
    let mut sizes = BTreeMap::new();
    let inferences = run.trace.iter().filter(|s| s.name == SpanName::Inference);
    for span in inferences {
        let key = (span.replication, span.stage, span.context, span.batch);
        *sizes.entry(key).or_insert(0) += 1;
    }
    sizes
}

fn what(
    scenario: &Scenario,
    span: &Span,
    sizes: &BTreeMap<(u32, StageId, u32, u32), u32>,
) -> Option<What> {
    let is_graph = || {
        let gpu = serve(scenario, span.stage).and_then(|serve| serve.gpu.as_ref());
        gpu.is_some_and(|gpu| gpu.launch == LaunchFile::Graph)
    };
    match (span.name, span.kernel) {
        (SpanName::H2d, _) => Some(What::H2d(span.bytes)),
        (SpanName::D2h, _) => Some(What::D2h(span.bytes)),
        (SpanName::Preprocess, _) => {
            let key = (span.replication, span.stage, span.context, span.batch);
            let n = sizes.get(&key).copied().unwrap_or(1);
            Some(What::Preprocess(span.bytes.saturating_mul(u64::from(n))))
        }
        (SpanName::Kernel, Some(number)) => {
            let key = (span.replication, span.stage, span.context, span.batch);
            Some(What::Kernel(number, sizes.get(&key).copied().unwrap_or(1)))
        }
        (SpanName::Inference, _) if is_graph() => {
            let key = (span.replication, span.stage, span.context, span.batch);
            Some(What::Graph(sizes.get(&key).copied().unwrap_or(1)))
        }
        _ => None,
    }
}

/// The part of the GPU that the span was on; `None` if it was on none.
fn part(scenario: &Scenario, span: &Span) -> Option<String> {
    let gpu = serve(scenario, span.stage)?.gpu.as_ref()?;
    let per_device = gpu.processes * gpu.streams;
    let device = gpu.devices.get((span.context / per_device) as usize)?;
    let host = scenario
        .hosts
        .rows()
        .get(schema::ids::Id::index(span.host))?;
    Some(host.gpus.get(device.gpu as usize)?.part.clone())
}

impl Seen<'_> {
    fn serve(&self, stage: StageId) -> &Serve {
        serve(self.scenario, stage).expect("what was on a GPU was served")
    }

    pub(super) fn gpu(&self, stage: StageId) -> &GpuUse {
        let gpu = self.serve(stage).gpu.as_ref();
        gpu.expect("what was on a GPU was served on one")
    }

    /// The kernels of a stage, if its work is given by kernels alone.
    pub(super) fn kernels(&self, stage: StageId) -> Option<Vec<&KernelFile>> {
        let Work::Kernels(Kernels { work, .. }) = &self.serve(stage).work else {
            return None;
        };
        let kernel = |work: &'_ GpuWork| match work {
            GpuWork::Kernel(_) => true,
            GpuWork::PeerCopy { .. } => false,
        };
        work.iter().all(kernel).then(|| {
            let kernels = work.iter().filter_map(|work| match work {
                GpuWork::Kernel(kernel) => Some(kernel),
                GpuWork::PeerCopy { .. } => None,
            });
            kernels.collect()
        })
    }

    /// The name of the host's memory that a stage copies from and to.
    pub(super) fn memory(&self, stage: StageId) -> &'static str {
        match self.gpu(stage).host_memory {
            HostMemory::Pinned => "pinned",
            HostMemory::Pageable => "pageable",
        }
    }
}

impl KernelTimes {
    /// Kernels of the stage's work in a context, whose every pass is there whole: by number in the
    /// work and requests of the batch, how long each took, in seconds.
    pub(super) fn of(done: &[Done]) -> KernelTimes {
        let mut times = BTreeMap::new();
        for done in done {
            if let What::Kernel(number, batch) = done.what {
                let of_kernel: &mut Vec<f64> = times.entry((number, batch)).or_default();
                of_kernel.push(done.length_s());
            }
        }
        KernelTimes(times)
    }
}

/// The names of the runs, each once, joined.
pub(super) fn names<'a>(of: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = of.into_iter().collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

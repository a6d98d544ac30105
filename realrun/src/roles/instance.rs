//! The instances of a server: each takes batches from the line and runs them on an inference context,
//! on the cores or on a GPU.

use std::path::PathBuf;
use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use schema::ids::StageId;
use schema::scenario::{GpuUse, GpuWork, InputFile, Kernels, LaunchFile, Serve, Work};

use super::Shared;
use super::line::{Handover, Line, poll};
use crate::accelerator::cpu::CpuAccelerator;
use crate::accelerator::cuda::{CudaAccelerator, range};
use crate::accelerator::{
    Accelerator, AcceleratorError, Context, ContextSpec, CudaError, GpuPlace, InPlace, Input,
    KernelSpec, KernelsSpec, NetSpec, PhaseTimes, SyntheticSpec, Weights, Workload,
};
use crate::clock::{self, Stamp};
use crate::error::RealrunError;
use crate::transport::{Arrival, Connection};

/// A request on its way through the stage.
pub(super) struct Job {
    pub(super) connection: Box<dyn Connection>,
    pub(super) arrival: Arrival,
    /// Where it goes when it is done.
    pub(super) back: Arc<Handover<Job>>,
    pub(super) batch: u32,
    /// Number of the inference context.
    pub(super) context: u32,
    pub(super) times: Times,
    /// When each kernel of the batch began and ended; of the first request of a batch only.
    pub(super) kernels: Vec<(u64, u64)>,
    pub(super) failed: Option<String>,
}

/// When an instance did what for a request; `None` of what it did not do, or failed at.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) taken_ns: u64,
    pub(super) h2d: Option<Phase>,
    pub(super) preprocess: Option<Phase>,
    pub(super) inference: Option<Phase>,
    pub(super) d2h: Option<Phase>,
}

/// When a phase began and ended.
pub(super) type Phase = (Stamp, Stamp);

pub(super) const NO_TIMES: Times = Times {
    taken_ns: 0,
    h2d: None,
    preprocess: None,
    inference: None,
    d2h: None,
};

/// How long instances may take to end; a GPU that is lost may keep them for ever.
const END_LIMIT: Duration = Duration::from_millis(500);

/// The instances of a server.
pub(super) struct Instances {
    line: Arc<Line<Job>>,
    threads: Vec<JoinHandle<()>>,
    gpus: Vec<Arc<CudaAccelerator>>,
    /// What to know of them.
    pub(super) warnings: Vec<String>,
}

impl Instances {
    /// The GPU, if there is one: of several the first.
    pub(super) fn gpu(&self) -> Option<Weak<CudaAccelerator>> {
        self.gpus.first().map(Arc::downgrade)
    }

    /// Ends them when the line is empty, and frees what they hold of devices.
    pub(super) fn end(self) {
        self.line.close();
        poll(END_LIMIT, || {
            (self.threads.iter().all(JoinHandle::is_finished)).then_some(())
        });
        for thread in self.threads.into_iter().filter(JoinHandle::is_finished) {
            // Whoever waits for its requests has been told.
            let _panicked = thread.join();
        }
    }
}

/// Starts the instances and waits until each has run its net once.
pub(super) fn start_instances(
    shared: &Arc<Shared>,
    stage: StageId,
    serve: &Serve,
    line: &Arc<Line<Job>>,
) -> Result<Instances, RealrunError> {
    let failed = |source: AcceleratorError| RealrunError::Accelerator {
        stage: shared.scenario.stages[stage].name.clone(),
        source: Box::new(source),
    };
    let gpus = match &serve.gpu {
        None => Vec::new(),
        Some(gpu) => on_gpus(gpu).map_err(|error| failed(error.into()))?,
    };
    let accelerators: Vec<Arc<dyn Accelerator>> = match &serve.gpu {
        None => {
            let processor: Arc<dyn Accelerator> = Arc::new(CpuAccelerator::new());
            vec![processor; serve.instances as usize]
        }
        Some(_) => (gpus.iter())
            .map(|gpu| Arc::clone(gpu) as Arc<dyn Accelerator>)
            .collect(),
    };
    let spec = context_spec(shared, stage, serve);
    let (tell, heard) = mpsc::channel();
    let mut threads = Vec::new();
    for (index, accelerator) in accelerators.iter().enumerate() {
        let (accelerator, spec) = (Arc::clone(accelerator), spec.clone());
        let (line, tell) = (Arc::clone(line), tell.clone());
        let (work, batch_max) = (Phases::of(serve), serve.batch.max as usize);
        threads.push(std::thread::spawn(move || {
            let context = accelerator.context(&spec);
            match context {
                Ok(context) => {
                    // The receiver is gone only if another instance has failed.
                    let _gone = tell.send(Ok(()));
                    run_instance(context, index as u32, &line, work, batch_max);
                }
                Err(error) => {
                    let _gone = tell.send(Err(error));
                }
            }
        }));
    }
    let started: Vec<_> = (accelerators.iter())
        .map(|_| heard.recv().expect("every instance says how it started"))
        .collect();
    let mut warnings: Vec<String> = accelerators
        .iter()
        .flat_map(|accelerator| accelerator.describe().warnings)
        .collect();
    warnings.dedup();
    let instances = Instances {
        line: Arc::clone(line),
        threads,
        gpus,
        warnings,
    };
    drop(accelerators);
    if let Some(error) = started.into_iter().find_map(Result::err) {
        instances.end();
        return Err(failed(error));
    }
    Ok(instances)
}

/// The accelerator of each instance: one a process on each device, for all of its streams.
fn on_gpus(gpu: &GpuUse) -> Result<Vec<Arc<CudaAccelerator>>, CudaError> {
    let mut accelerators = Vec::new();
    for device in &gpu.devices {
        for _ in 0..gpu.processes {
            let process = Arc::new(CudaAccelerator::new(GpuPlace::of(*device, gpu))?);
            for _ in 0..gpu.streams {
                accelerators.push(Arc::clone(&process));
            }
        }
    }
    Ok(accelerators)
}

fn context_spec(shared: &Shared, stage: StageId, serve: &Serve) -> ContextSpec {
    let workload = match &serve.work {
        Work::Net {
            net,
            side,
            input,
            weights,
        } => Workload::Net(NetSpec {
            net: net
                .name
                .parse()
                .expect("the scenario's nets are those of the accelerator"),
            side: *side as usize,
            weights: match weights {
                Some(path) => Weights::Safetensors {
                    path: PathBuf::from(path),
                },
                None => Weights::Random {
                    seed: shared.scenario.seed.0,
                },
            },
            input: match input {
                InputFile::Preprocessed => Input::Preprocessed,
                InputFile::Raw { width, height } => Input::Raw {
                    width: *width as usize,
                    height: *height as usize,
                },
            },
        }),
        Work::Synthetic(synthetic) => Workload::Synthetic(SyntheticSpec {
            preprocess: Duration::ZERO,
            infer_fixed: Duration::ZERO,
            infer_per_request: Duration::from_nanos(synthetic.time.as_ns()),
            max_payload_bytes: largest_request(shared, stage),
            output_bytes: synthetic.output.as_usize(),
        }),
        Work::Kernels(kernels) => Workload::Kernels(KernelsSpec {
            kernels: kernel_specs(kernels),
            max_payload_bytes: largest_request(shared, stage),
            output_bytes: kernels.output.as_usize(),
            raw: kernels.raw,
        }),
        Work::Profiled(_) => {
            unreachable!("what hardware cannot serve is refused before any process starts")
        }
    };
    ContextSpec {
        workload,
        max_batch: serve.batch.max as usize,
        threads: 1,
    }
}

/// Largest request that a client sends to the stage, in bytes.
fn largest_request(shared: &Shared, stage: StageId) -> usize {
    let groups = shared.scenario.groups.iter();
    let users = groups.filter(|(_, g)| g.path.last().is_some_and(|hop| hop.to == stage));
    let requests = users.map(|(id, _)| shared.buffers(id).request);
    requests.max().unwrap_or(0)
}

/// The kernels of a stage's work as a GPU is given them.
pub(crate) fn kernel_specs(kernels: &Kernels) -> Vec<KernelSpec> {
    let spec = |work: &GpuWork| match work {
        GpuWork::Kernel(kernel) => KernelSpec {
            blocks: kernel.blocks,
            threads: kernel.threads,
            shared_memory: u32::try_from(kernel.shared_memory.0)
                .expect("what no block may have is refused before any process starts"),
            time_ns: kernel.time.as_ns(),
            dram_bytes: kernel.dram.0,
        },
        GpuWork::PeerCopy { .. } => {
            unreachable!("what hardware cannot serve is refused before any process starts")
        }
    };
    kernels.work.iter().map(spec).collect()
}

/// What a batch goes through.
#[derive(Clone, Copy)]
struct Phases {
    /// Whether inputs are preprocessed.
    is_raw: bool,
    /// Whether each kernel is timed by itself.
    has_kernels: bool,
}

impl Phases {
    fn of(serve: &Serve) -> Phases {
        let is_graph = |gpu: &GpuUse| gpu.launch == LaunchFile::Graph;
        Phases {
            is_raw: serve.work.is_raw(),
            has_kernels: !serve.gpu.as_ref().is_some_and(is_graph),
        }
    }
}

fn run_instance(
    mut context: Box<dyn Context>,
    index: u32,
    line: &Line<Job>,
    phases: Phases,
    batch_max: usize,
) {
    static BATCHES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut batch: Vec<Job> = Vec::with_capacity(batch_max);
    loop {
        if !line.take(&mut batch) {
            return;
        }
        let taken_ns = clock::monotonic_ns();
        let number = BATCHES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for job in &mut batch {
            job.batch = number;
            job.context = index;
            job.times = Times {
                taken_ns,
                ..NO_TIMES
            };
        }
        let failed = run_batch(&mut *context, &mut batch, phases)
            .err()
            .map(|error| error.to_string());
        for mut job in batch.drain(..) {
            job.failed.clone_from(&failed);
            let back = Arc::clone(&job.back);
            back.leave(job);
        }
    }
}

/// Where the host is in a batch: what it last looked at its clocks for.
struct Progress {
    last: Stamp,
}

impl Progress {
    /// The phase of the context that has ended: by the host's clock, or by the device's, if it has one
    /// and then from when the host handed it over. `None` of one in which a device had nothing to do.
    fn phase(&mut self, context: &dyn Context) -> Option<Phase> {
        let done = Stamp::now();
        let last = std::mem::replace(&mut self.last, done);
        let Some(times) = context.device_times() else {
            return Some((last, done));
        };
        let began = Stamp {
            at_ns: times.began_ns,
            ..last
        };
        let ended = Stamp {
            at_ns: after(times, times.total()?).min(done.at_ns),
            ..done
        };
        Some((began, ended))
    }
}

/// The host's date of what a device had done `since` it began.
fn after(times: &PhaseTimes, since: Duration) -> u64 {
    let ns = u64::try_from(since.as_nanos()).expect("a phase is shorter than centuries");
    times.began_ns + ns
}

/// When each kernel of the inference that has just ended began and ended. Events tell the ends; a
/// kernel begins where the one before it ends.
fn kernels_of(context: &dyn Context) -> Vec<(u64, u64)> {
    let Some(times) = context.device_times() else {
        return Vec::new();
    };
    let mut begins = times.began_ns;
    let kernel = |end: &Duration| {
        let ends = after(times, *end);
        (std::mem::replace(&mut begins, ends), ends)
    };
    times.ends.iter().map(kernel).collect()
}

/// Where a request lies, if it lies in memory of a GPU that it arrived in.
fn place(job: &mut Job) -> Option<InPlace<'_>> {
    let input_bytes = job.arrival.header.length as usize;
    let memory = job.connection.on_gpu()?;
    Some(InPlace {
        input: memory.received,
        input_bytes,
        output: memory.next,
    })
}

fn run_batch(
    context: &mut dyn Context,
    batch: &mut [Job],
    phases: Phases,
) -> Result<(), AcceleratorError> {
    let mut progress = Progress { last: Stamp::now() };
    for (slot, job) in batch.iter_mut().enumerate() {
        // What lies in the GPU's memory is there.
        if job.connection.on_gpu().is_some() {
            continue;
        }
        let _range = range(c"h2d");
        context.copy_in(slot, job.connection.received())?;
        job.times.h2d = progress.phase(context);
    }
    if phases.is_raw {
        let _range = range(c"preprocess");
        let places: Vec<_> = batch.iter_mut().map(place).collect();
        context.preprocess_in_place(&places)?;
        context.synchronize()?;
        let phase = progress.phase(context);
        (batch.iter_mut()).for_each(|job| job.times.preprocess = phase);
    }
    let inference = range(c"inference");
    let places: Vec<_> = batch.iter_mut().map(place).collect();
    context.infer_in_place(&places)?;
    context.synchronize()?;
    drop(inference);
    let phase = progress.phase(context);
    (batch.iter_mut()).for_each(|job| job.times.inference = phase);
    if let (Some(first), true) = (batch.first_mut(), phases.has_kernels) {
        first.kernels = kernels_of(context);
    }
    for (slot, job) in batch.iter_mut().enumerate() {
        if job.connection.on_gpu().is_some() {
            continue;
        }
        let _range = range(c"d2h");
        context.copy_out(slot, job.connection.payload_mut())?;
        job.times.d2h = progress.phase(context);
    }
    Ok(())
}

//! The server: takes requests, puts them into batches, runs them on inference contexts, replies.
//!
//! A thread a connection, a thread an instance. The connection itself moves with the request from
//! one to the other, so that the instance copies straight from and to its buffers.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use schema::ids::{ClassId, HostId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::{GpuUse, GpuWork, InputFile, Kernels, Serve, StageRole, Work};

use super::line::{Handover, Line};
use super::proxy::unknown;
use super::{Open, Report, Shared, move_messages_promptly};
use crate::accelerator::cpu::CpuAccelerator;
use crate::accelerator::cuda::CudaAccelerator;
use crate::accelerator::{
    Accelerator, AcceleratorError, Context, ContextSpec, CudaError, GpuPlace, Input, KernelSpec,
    KernelsSpec, NetSpec, PhaseTimes, SyntheticSpec, Weights, Workload,
};
use crate::clock::{self, Stamp};
use crate::error::RealrunError;
use crate::journal::Journal;
use crate::transport::{Arrival, Connection, Hello, Listener, Pending};

/// Spans that a connection's thread records of a request.
const SPANS: usize = 7;

/// A request on its way through the stage.
struct Job {
    connection: Box<dyn Connection>,
    arrival: Arrival,
    /// Where it goes when it is done.
    back: Arc<Handover<Job>>,
    batch: u32,
    /// Number of the inference context.
    context: u32,
    times: Times,
    /// When each kernel of the batch began and ended; of the first request of a batch only.
    kernels: Vec<(u64, u64)>,
    failed: Option<String>,
}

/// When an instance did what for a request; `None` of what it did not do, or failed at.
#[derive(Clone, Copy)]
struct Times {
    taken_ns: u64,
    h2d: Option<Phase>,
    preprocess: Option<Phase>,
    inference: Option<Phase>,
    d2h: Option<Phase>,
}

/// When a phase began and ended.
type Phase = (Stamp, Stamp);

const NO_TIMES: Times = Times {
    taken_ns: 0,
    h2d: None,
    preprocess: None,
    inference: None,
    d2h: None,
};

pub(super) fn play(shared: &Arc<Shared>, stage: StageId) -> Result<(), RealrunError> {
    let StageRole::Serve(serve) = &shared.scenario.stages[stage].role else {
        unreachable!("a server's stage serves");
    };
    let delay = std::time::Duration::from_nanos(serve.batch.delay.as_ns());
    let line = Arc::new(Line::new(1024, serve.batch.max as usize, delay));
    let warnings = start_instances(shared, stage, serve, &line)?;
    let socket = shared
        .assignment
        .dir
        .join(format!("{}.sock", shared.assignment.role.file_stem()));
    let listener = Listener::bind(&socket, shared.assignment.bind)
        .map_err(RealrunError::io(format!("listen on {}", socket.display())))?;
    report_ready(shared, &listener, socket, warnings)?;
    let shared = Arc::clone(shared);
    listener.accept_all(move |pending| {
        let (shared, line) = (Arc::clone(&shared), Arc::clone(&line));
        std::thread::spawn(move || {
            let _open = Open::new(&shared);
            if let Err(error) = serve_connection(&shared, stage, &line, pending) {
                shared.fail(&error.in_full());
            }
        });
    });
    Ok(())
}

pub(super) fn report_ready(
    shared: &Shared,
    listener: &Listener,
    socket: PathBuf,
    warnings: Vec<String>,
) -> Result<(), RealrunError> {
    let port = listener
        .port()
        .map_err(RealrunError::io("look up the port"))?;
    shared.report(&Report::Ready {
        port: Some(port),
        socket,
        warnings,
    });
    Ok(())
}

/// Starts the instances and waits until each has run its net once; returns their warnings.
fn start_instances(
    shared: &Arc<Shared>,
    stage: StageId,
    serve: &Serve,
    line: &Arc<Line<Job>>,
) -> Result<Vec<String>, RealrunError> {
    let failed = |source: AcceleratorError| RealrunError::Accelerator {
        stage: shared.scenario.stages[stage].name.clone(),
        source: Box::new(source),
    };
    let accelerators = match &serve.gpu {
        None => {
            let processor: Arc<dyn Accelerator> = Arc::new(CpuAccelerator::new());
            vec![processor; serve.instances as usize]
        }
        Some(gpu) => on_gpus(gpu).map_err(|error| failed(error.into()))?,
    };
    let spec = context_spec(shared, stage, serve);
    let (tell, heard) = mpsc::channel();
    for (index, accelerator) in accelerators.iter().enumerate() {
        let (accelerator, spec) = (Arc::clone(accelerator), spec.clone());
        let (line, tell) = (Arc::clone(line), tell.clone());
        let (is_raw, batch_max) = (serve.work.is_raw(), serve.batch.max as usize);
        std::thread::spawn(move || {
            let context = accelerator.context(&spec);
            match context {
                Ok(context) => {
                    // The receiver is gone only if another instance has failed.
                    let _gone = tell.send(Ok(()));
                    run_instance(context, index as u32, &line, is_raw, batch_max);
                }
                Err(error) => {
                    let _gone = tell.send(Err(error));
                }
            }
        });
    }
    for _ in &accelerators {
        let started = heard.recv().expect("every instance says how it started");
        started.map_err(failed)?;
    }
    let mut warnings: Vec<String> = accelerators
        .iter()
        .flat_map(|accelerator| accelerator.describe().warnings)
        .collect();
    warnings.dedup();
    Ok(warnings)
}

/// The accelerator of each instance: one a process on each device, for all of its streams.
fn on_gpus(gpu: &GpuUse) -> Result<Vec<Arc<dyn Accelerator>>, CudaError> {
    let mut accelerators = Vec::new();
    for device in &gpu.devices {
        for _ in 0..gpu.processes {
            let process: Arc<dyn Accelerator> = Arc::new(CudaAccelerator::new(GpuPlace {
                device: device.gpu,
                priority: gpu.priority,
                host_memory: gpu.host_memory,
                wait: gpu.wait,
            })?);
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
            preprocess: std::time::Duration::ZERO,
            infer_fixed: std::time::Duration::ZERO,
            infer_per_request: std::time::Duration::from_nanos(synthetic.time.as_ns()),
            max_payload_bytes: largest_request(shared, stage),
            output_bytes: synthetic.output.as_usize(),
        }),
        Work::Kernels(kernels) => Workload::Kernels(KernelsSpec {
            kernels: kernel_specs(kernels),
            max_payload_bytes: largest_request(shared, stage),
            output_bytes: kernels.output.as_usize(),
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

fn kernel_specs(kernels: &Kernels) -> Vec<KernelSpec> {
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

fn run_instance(
    mut context: Box<dyn Context>,
    index: u32,
    line: &Line<Job>,
    is_raw: bool,
    batch_max: usize,
) {
    static BATCHES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut batch: Vec<Job> = Vec::with_capacity(batch_max);
    loop {
        line.take(&mut batch);
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
        let failed = run_batch(&mut *context, &mut batch, is_raw)
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
fn after(times: &PhaseTimes, since: std::time::Duration) -> u64 {
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
    let kernel = |end: &std::time::Duration| {
        let ends = after(times, *end);
        (std::mem::replace(&mut begins, ends), ends)
    };
    times.ends.iter().map(kernel).collect()
}

fn run_batch(
    context: &mut dyn Context,
    batch: &mut [Job],
    is_raw: bool,
) -> Result<(), AcceleratorError> {
    let mut progress = Progress { last: Stamp::now() };
    for (slot, job) in batch.iter_mut().enumerate() {
        context.copy_in(slot, job.connection.received())?;
        job.times.h2d = progress.phase(context);
    }
    if is_raw {
        context.preprocess(batch.len())?;
        context.synchronize()?;
        let phase = progress.phase(context);
        (batch.iter_mut()).for_each(|job| job.times.preprocess = phase);
    }
    context.infer(batch.len())?;
    context.synchronize()?;
    let phase = progress.phase(context);
    (batch.iter_mut()).for_each(|job| job.times.inference = phase);
    if let Some(first) = batch.first_mut() {
        first.kernels = kernels_of(context);
    }
    for (slot, job) in batch.iter_mut().enumerate() {
        context.copy_out(slot, job.connection.payload_mut())?;
        job.times.d2h = progress.phase(context);
    }
    Ok(())
}

/// Serves one connection until its peer closes it.
fn serve_connection(
    shared: &Arc<Shared>,
    stage: StageId,
    line: &Line<Job>,
    pending: std::io::Result<Pending>,
) -> Result<(), RealrunError> {
    let mut pending = pending.map_err(RealrunError::io("accept a connection"))?;
    let hello = pending
        .hello()
        .map_err(RealrunError::io("accept a connection"))?;
    let group = shared
        .group_of(hello.client)
        .ok_or_else(|| unknown(hello.client))?;
    let path = &shared.scenario.groups[group].path;
    let hop = path.get(usize::from(hello.hop));
    let hop = hop.filter(|hop| hop.to == stage);
    let hop = hop.ok_or_else(|| unknown(hello.client))?;
    let mut connection = pending
        .accept(shared.carrier(hop, None), shared.buffers(group))
        .map_err(RealrunError::io("accept a connection"))?;
    move_messages_promptly();
    let mut recorder = Recorder::new(shared, stage, &hello)?;
    let back = Arc::new(Handover::new());
    let lost = RealrunError::io("reach the client");
    loop {
        recorder.journal.reserve(SPANS + recorder.n_kernels)?;
        let arrival = match connection.receive() {
            Ok(Some(arrival)) => arrival,
            Ok(None) => return Ok(()),
            Err(error) => return Err(lost(error)),
        };
        let job = Job {
            connection,
            arrival,
            back: Arc::clone(&back),
            batch: 0,
            context: 0,
            times: NO_TIMES,
            kernels: Vec::new(),
            failed: None,
        };
        line.join(arrival.end.at_ns, job);
        let mut job = back.take();
        let begin = Stamp::now();
        let reply = shared.scenario.classes[ClassId::from_index(arrival.header.class as usize)]
            .reply
            .0;
        let length = if job.failed.is_some() { 0 } else { reply };
        let header = crate::transport::Header {
            length,
            failed: job.failed.is_some(),
            ..arrival.header
        };
        job.connection
            .send(&header)
            .map_err(RealrunError::io("reach the client"))?;
        recorder.record(shared, &job, begin, Stamp::now(), length);
        if let Some(problem) = &job.failed {
            shared.fail(problem);
        }
        connection = job.connection;
    }
}

/// Records a connection's requests.
struct Recorder {
    journal: Journal,
    stage: StageId,
    host: HostId,
    hop: u8,
    /// Kernels of which a span is recorded, at most.
    n_kernels: usize,
}

impl Recorder {
    fn new(shared: &Shared, stage: StageId, hello: &Hello) -> Result<Recorder, RealrunError> {
        let row = &shared.scenario.stages[stage];
        let StageRole::Serve(serve) = &row.role else {
            unreachable!("a server's stage serves")
        };
        Ok(Recorder {
            journal: shared.journal(&format!("{}-{}", hello.client.index(), hello.connection))?,
            stage,
            host: row.host,
            hop: hello.hop,
            n_kernels: match &serve.work {
                Work::Kernels(kernels) => kernels.work.len(),
                _ => 0,
            },
        })
    }

    fn record(&mut self, shared: &Shared, job: &Job, begin: Stamp, sent: Stamp, reply: u64) {
        self.journal.set_origin(shared.origin());
        let arrival = &job.arrival;
        let receive = Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: 0,
            request: arrival.header.request,
            class: ClassId::from_index(arrival.header.class as usize),
            stage: self.stage,
            host: self.host,
            name: SpanName::Receive,
            hop: Some(self.hop),
            leg: Leg::Request,
            batch: 0,
            bytes: arrival.header.length,
            ready_ns: arrival.start_ns,
            start_ns: arrival.start_ns,
            end_ns: arrival.end.at_ns,
            cpu_ns: arrival.cpu_ns,
            status: if job.failed.is_some() {
                Status::Failed
            } else {
                Status::Ok
            },
        };
        let inside = Span {
            hop: None,
            batch: job.batch,
            context: job.context,
            ..receive
        };
        let part = |name, ready_ns, (from, to): Phase| Span {
            name,
            ready_ns,
            start_ns: from.at_ns,
            end_ns: to.at_ns,
            cpu_ns: to.cpu_ns - from.cpu_ns,
            ..inside
        };
        let times = &job.times;
        let taken = Stamp {
            at_ns: times.taken_ns,
            cpu_ns: 0,
        };
        self.journal.record(&receive);
        self.journal
            .record(&part(SpanName::Queue, arrival.end.at_ns, (taken, taken)));
        let mut ready_ns = times.taken_ns;
        let phases = [
            (SpanName::H2d, times.h2d, arrival.header.length),
            (
                SpanName::Preprocess,
                times.preprocess,
                arrival.header.length,
            ),
            (SpanName::Inference, times.inference, arrival.header.length),
            (SpanName::D2h, times.d2h, reply),
        ];
        for (name, phase, bytes) in phases {
            let Some(phase) = phase else {
                continue;
            };
            self.journal.record(&Span {
                bytes,
                ..part(name, ready_ns, phase)
            });
            ready_ns = phase.1.at_ns;
        }
        for (index, (start_ns, end_ns)) in job.kernels.iter().enumerate() {
            self.journal.record(&Span {
                name: SpanName::Kernel,
                kernel: Some(index as u32),
                bytes: 0,
                ready_ns: *start_ns,
                start_ns: *start_ns,
                end_ns: *end_ns,
                cpu_ns: 0,
                ..inside
            });
        }
        if job.failed.is_some() {
            ready_ns = begin.at_ns;
        }
        let send = part(SpanName::Send, ready_ns, (begin, sent));
        self.journal.record(&Span {
            hop: Some(self.hop),
            leg: Leg::Reply,
            batch: 0,
            context: 0,
            bytes: reply,
            ..send
        });
    }
}

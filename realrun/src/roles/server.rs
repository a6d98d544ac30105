//! The server: takes requests, puts them into batches, runs them on inference contexts, replies.
//!
//! A thread a connection, a thread an instance. The connection itself moves with the request from
//! one to the other, so that the instance copies straight from and to its buffers.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use schema::ids::{ClassId, HostId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::{InputFile, Serve, StageRole, Work};

use super::line::{Handover, Line};
use super::proxy::unknown;
use super::{Open, Report, Shared, move_messages_promptly};
use crate::accelerator::cpu::CpuAccelerator;
use crate::accelerator::{
    Accelerator, AcceleratorError, Context, ContextSpec, Input, NetSpec, SyntheticSpec, Weights,
    Workload,
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
    times: Times,
    failed: Option<String>,
}

/// When an instance did what for a request.
#[derive(Clone, Copy)]
struct Times {
    taken_ns: u64,
    h2d: (Stamp, Stamp),
    preprocess: (Stamp, Stamp),
    inference: (Stamp, Stamp),
    d2h: (Stamp, Stamp),
}

const NEVER: Stamp = Stamp {
    at_ns: 0,
    cpu_ns: 0,
};
const NO_TIMES: Times = Times {
    taken_ns: 0,
    h2d: (NEVER, NEVER),
    preprocess: (NEVER, NEVER),
    inference: (NEVER, NEVER),
    d2h: (NEVER, NEVER),
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
    let accelerator: Arc<dyn Accelerator> = Arc::new(CpuAccelerator::new());
    let spec = context_spec(shared, stage, serve);
    let (tell, heard) = mpsc::channel();
    for _ in 0..serve.instances {
        let (accelerator, spec) = (Arc::clone(&accelerator), spec.clone());
        let (line, tell) = (Arc::clone(line), tell.clone());
        let (is_raw, batch_max) = (serve.work.is_raw(), serve.batch.max as usize);
        std::thread::spawn(move || {
            let context = accelerator.context(&spec);
            match context {
                Ok(context) => {
                    // The receiver is gone only if another instance has failed.
                    let _gone = tell.send(Ok(()));
                    run_instance(context, &line, is_raw, batch_max);
                }
                Err(error) => {
                    let _gone = tell.send(Err(error));
                }
            }
        });
    }
    for _ in 0..serve.instances {
        let started = heard.recv().expect("every instance says how it started");
        started.map_err(|source| RealrunError::Accelerator {
            stage: shared.scenario.stages[stage].name.clone(),
            source: Box::new(source),
        })?;
    }
    Ok(accelerator.describe().warnings)
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
        Work::Synthetic(synthetic) => {
            let groups = shared.scenario.groups.iter();
            let users = groups.filter(|(_, g)| g.path.last().is_some_and(|hop| hop.to == stage));
            let largest = users.map(|(id, _)| shared.buffers(id).request).max();
            Workload::Synthetic(SyntheticSpec {
                preprocess: std::time::Duration::ZERO,
                infer_fixed: std::time::Duration::ZERO,
                infer_per_request: std::time::Duration::from_nanos(synthetic.time.as_ns()),
                max_payload_bytes: largest.unwrap_or(0),
                output_bytes: synthetic.output.as_usize(),
            })
        }
        Work::Profiled(_) | Work::Kernels(_) => {
            unreachable!("what hardware cannot serve is refused before any process starts")
        }
    };
    ContextSpec {
        workload,
        max_batch: serve.batch.max as usize,
        threads: 1,
    }
}

fn run_instance(mut context: Box<dyn Context>, line: &Line<Job>, is_raw: bool, batch_max: usize) {
    static BATCHES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut batch: Vec<Job> = Vec::with_capacity(batch_max);
    loop {
        line.take(&mut batch);
        let taken_ns = clock::monotonic_ns();
        let number = BATCHES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for job in &mut batch {
            job.batch = number;
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

fn run_batch(
    context: &mut dyn Context,
    batch: &mut [Job],
    is_raw: bool,
) -> Result<(), AcceleratorError> {
    let mut last = Stamp::now();
    for (slot, job) in batch.iter_mut().enumerate() {
        context.copy_in(slot, job.connection.received())?;
        let done = Stamp::now();
        job.times.h2d = (last, done);
        last = done;
    }
    if is_raw {
        context.preprocess(batch.len())?;
        context.synchronize()?;
        let done = Stamp::now();
        batch
            .iter_mut()
            .for_each(|job| job.times.preprocess = (last, done));
        last = done;
    }
    context.infer(batch.len())?;
    context.synchronize()?;
    let done = Stamp::now();
    batch
        .iter_mut()
        .for_each(|job| job.times.inference = (last, done));
    last = done;
    for (slot, job) in batch.iter_mut().enumerate() {
        context.copy_out(slot, job.connection.payload_mut())?;
        let done = Stamp::now();
        job.times.d2h = (last, done);
        last = done;
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
        recorder.journal.reserve(SPANS)?;
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
            times: NO_TIMES,
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
    is_raw: bool,
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
            is_raw: serve.work.is_raw(),
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
            ..receive
        };
        let part = |name, ready_ns, (from, to): (Stamp, Stamp)| Span {
            name,
            ready_ns,
            start_ns: from.at_ns,
            end_ns: to.at_ns,
            cpu_ns: to.cpu_ns - from.cpu_ns,
            ..inside
        };
        let times = &job.times;
        let taken = (
            Stamp {
                at_ns: times.taken_ns,
                cpu_ns: 0,
            },
            Stamp {
                at_ns: times.taken_ns,
                cpu_ns: 0,
            },
        );
        self.journal.record(&receive);
        self.journal
            .record(&part(SpanName::Queue, arrival.end.at_ns, taken));
        if job.failed.is_none() {
            self.journal
                .record(&part(SpanName::H2d, times.taken_ns, times.h2d));
            let h2d_end = times.h2d.1.at_ns;
            if self.is_raw {
                self.journal
                    .record(&part(SpanName::Preprocess, h2d_end, times.preprocess));
            }
            let tensor_ready = if self.is_raw {
                times.preprocess.1.at_ns
            } else {
                h2d_end
            };
            self.journal
                .record(&part(SpanName::Inference, tensor_ready, times.inference));
            let output_ready = times.inference.1.at_ns;
            self.journal.record(&Span {
                bytes: reply,
                ..part(SpanName::D2h, output_ready, times.d2h)
            });
        }
        let ready_ns = if job.failed.is_some() {
            begin.at_ns
        } else {
            times.d2h.1.at_ns
        };
        let send = part(SpanName::Send, ready_ns, (begin, sent));
        self.journal.record(&Span {
            hop: Some(self.hop),
            leg: Leg::Reply,
            batch: 0,
            bytes: reply,
            ..send
        });
    }
}

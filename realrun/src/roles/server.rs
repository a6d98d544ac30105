//! The server: takes requests, puts them into batches, runs them on inference contexts, replies.
//!
//! A thread a connection, a thread an instance. The connection itself moves with the request from
//! one to the other, so that the instance copies straight from and to its buffers.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use schema::ids::{ClassId, HostId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::{StageRole, Work};

use super::instance::{Job, NO_TIMES, Phase, start_instances};
use super::line::{Handover, Line};
use super::proxy::unknown;
use super::{Open, Report, Shared, move_messages_promptly};
use crate::accelerator::cuda::CudaAccelerator;
use crate::clock::Stamp;
use crate::error::RealrunError;
use crate::journal::Journal;
use crate::transport::{Hello, Listener, Pending};

/// Spans that a connection's thread records of a request.
const SPANS: usize = 7;

pub(super) fn play(shared: &Arc<Shared>, stage: StageId) -> Result<(), RealrunError> {
    let StageRole::Serve(serve) = &shared.scenario.stages[stage].role else {
        unreachable!("a server's stage serves");
    };
    let delay = std::time::Duration::from_nanos(serve.batch.delay.as_ns());
    let line = Arc::new(Line::new(1024, serve.batch.max as usize, delay));
    let mut instances = start_instances(shared, stage, serve, &line)?;
    let (gpu, warnings) = (instances.gpu(), std::mem::take(&mut instances.warnings));
    shared.at_end(move || instances.end());
    let socket = shared
        .assignment
        .dir
        .join(format!("{}.sock", shared.assignment.role.file_stem()));
    let listener = Listener::bind(&socket, shared.assignment.bind)
        .map_err(RealrunError::io(format!("listen on {}", socket.display())))?;
    report_ready(shared, &listener, socket, warnings)?;
    let shared = Arc::clone(shared);
    listener.accept_all(move |pending| {
        let (shared, line, gpu) = (Arc::clone(&shared), Arc::clone(&line), gpu.clone());
        std::thread::spawn(move || {
            let _open = Open::new(&shared);
            // It goes before the connection counts as closed, and with it the device's memory.
            let gpu = gpu.as_ref().and_then(Weak::upgrade);
            if let Err(error) = serve_connection(&shared, stage, &line, gpu.as_deref(), pending) {
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

/// Serves one connection until its peer closes it.
fn serve_connection(
    shared: &Arc<Shared>,
    stage: StageId,
    line: &Line<Job>,
    gpu: Option<&CudaAccelerator>,
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
        .accept(shared.carrier(hop, None, gpu), shared.buffers(group))
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

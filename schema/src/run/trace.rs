//! `trace.parquet`: one row a span.
//!
//! Columns: `replication`, `request`, `client`, `class`, `stage`, `host`, `resource`, `span`,
//! `hop`, `leg`, `batch`, `context`, `kernel`, `bytes`, `ready_ns`, `start_ns`, `end_ns`, `cpu_ns`,
//! `status`, and `branch` if a request branches. Times are nanoseconds since the clients' common start. A request's number holds its
//! client above bit 32; `hop` and `kernel` are -1 where there is none. Files of earlier versions
//! lack `context` and `kernel`, and read as 0 and none; without `branch` all are on branch 0.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::ids::{ClassId, HostId, Id, RequestId, StageId, Table};
use crate::scenario::{Scenario, Serve, StageRole, Work};

/// Rows in a row group; bounds the memory of a writer.
const ROWS_PER_GROUP: usize = 1 << 18;
/// The last instant that [`SimTime`](crate::units::SimTime) represents, in nanoseconds.
const LAST_NS: u64 = u64::MAX / 1_000;

/// Number of the names that are inside another; the last of all.
const N_DETAILS: usize = 2;

/// What a span is about; the same names for hardware and engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SpanName {
    /// The whole request, from when it was meant to be sent until its reply was taken.
    Request,
    /// The client makes the request.
    Prepare,
    /// The sender hands the message to its transport.
    Send,
    /// Neither end works: the message is under way, or its receiver is about to be woken.
    Wire,
    /// The receiver takes the message, from its first bytes until its last.
    Receive,
    /// A proxy moves the message from one transport to the other.
    Translate,
    /// The request waits for an inference context and for its batch; at a proxy, for one of the
    /// connections that it keeps to the next stage.
    Queue,
    /// Copy from host to device.
    H2d,
    /// Raw pixels become the tensor that the net takes.
    Preprocess,
    /// The forward pass, or the work that stands for it.
    Inference,
    /// Copy from device to host.
    D2h,
    /// The client takes the reply.
    Postprocess,
    /// A plain station serves the request.
    Service,
    /// A GPU runs a kernel of the net: from its first block's start until its last one's end. Part of
    /// `inference`.
    Kernel,
    /// Copy from one GPU to another. Part of `inference`.
    P2p,
}

impl SpanName {
    /// Every name, in the order of a request.
    pub const ALL: [SpanName; 15] = [
        SpanName::Request,
        SpanName::Prepare,
        SpanName::Send,
        SpanName::Wire,
        SpanName::Receive,
        SpanName::Translate,
        SpanName::Queue,
        SpanName::H2d,
        SpanName::Preprocess,
        SpanName::Inference,
        SpanName::D2h,
        SpanName::Postprocess,
        SpanName::Service,
        SpanName::Kernel,
        SpanName::P2p,
    ];

    /// The parts of a request: every name but [`SpanName::Request`] and those that are inside another.
    pub fn parts() -> &'static [SpanName] {
        let (parts, _details) = SpanName::ALL[1..].split_at(SpanName::ALL.len() - 1 - N_DETAILS);
        parts
    }

    /// Whether it is inside `inference`, for timelines.
    pub const fn is_detail(self) -> bool {
        matches!(self, SpanName::Kernel | SpanName::P2p)
    }

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            SpanName::Request => "request",
            SpanName::Prepare => "prepare",
            SpanName::Send => "send",
            SpanName::Wire => "wire",
            SpanName::Receive => "receive",
            SpanName::Translate => "translate",
            SpanName::Queue => "queue",
            SpanName::H2d => "h2d",
            SpanName::Preprocess => "preprocess",
            SpanName::Inference => "inference",
            SpanName::D2h => "d2h",
            SpanName::Postprocess => "postprocess",
            SpanName::Service => "service",
            SpanName::Kernel => "kernel",
            SpanName::P2p => "p2p",
        }
    }

    /// The span called `name`.
    pub fn from_name(name: &str) -> Option<SpanName> {
        SpanName::ALL.into_iter().find(|span| span.name() == name)
    }
}

/// Direction of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Leg {
    /// Towards the serving stage.
    Request,
    /// Back to the client.
    Reply,
}

/// How a span ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Well.
    Ok,
    /// It failed, or was cut off.
    Failed,
}

/// One row of the trace.
///
/// Waiting is `start - ready`, service is `end - start`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Replication, from zero; always zero in a measurement.
    pub replication: u32,
    /// The request.
    pub request: RequestId,
    /// Its class.
    pub class: ClassId,
    /// The stage that does this or, for a message, at the far end of the hop.
    pub stage: StageId,
    /// The host where it happens; for `wire`, the receiving one.
    pub host: HostId,
    /// What it is about.
    pub name: SpanName,
    /// Which of the requests that it caused it belongs to; 0 is the request on its clients' path. Only
    /// spans of one branch follow one another.
    pub branch: u32,
    /// For `send`, `wire` and `receive`, the hop of the branch's path; after the last is that of replies
    /// that go straight to the sender.
    pub hop: Option<u8>,
    /// Direction; `Request` where there is none.
    pub leg: Leg,
    /// Number of the batch among its stage's; zero outside inference contexts.
    pub batch: u32,
    /// Number of the inference context among its stage's, those of one replica after those of another;
    /// zero outside them.
    pub context: u32,
    /// For `kernel`, its number in the work of its stage.
    pub kernel: Option<u32>,
    /// Size of the message, copy or input; zero if there is none.
    pub bytes: u64,
    /// When it could have started, in nanoseconds since the clients' common start.
    pub ready_ns: u64,
    /// When it started.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Core time it used, in nanoseconds; zero where it was not taken.
    pub cpu_ns: u64,
    /// How it ended.
    pub status: Status,
}

impl Span {
    /// What the spans of a run are ordered by: request by request in the order of time.
    pub fn order(&self) -> impl Ord + use<> {
        let times = (self.ready_ns, self.start_ns, self.end_ns);
        (self.request, times, self.name)
    }

    /// Waiting and service, in seconds.
    pub fn length_s(&self) -> f64 {
        (self.end_ns - self.ready_ns) as f64 / 1e9
    }

    /// Service, in seconds.
    pub fn service_s(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }

    /// Core time, in seconds.
    pub fn cpu_s(&self) -> f64 {
        self.cpu_ns as f64 / 1e9
    }

    /// Whether it can be one of a run of `scenario` with so many replications, as every span of a
    /// run that was read is.
    ///
    /// # Errors
    /// Says which of its fields cannot be.
    pub fn check(&self, scenario: &Scenario, n_replications: u32) -> Result<(), String> {
        let &Span {
            ready_ns,
            start_ns,
            end_ns,
            ..
        } = self;
        if ready_ns > start_ns || start_ns > end_ns || end_ns > LAST_NS {
            return Err(format!(
                "a span is ready at {ready_ns} ns, starts at {start_ns} ns and ends at {end_ns} ns; \
                 these must ascend, up to {LAST_NS}"
            ));
        }
        if self.replication >= n_replications {
            let found = self.replication;
            return Err(format!(
                "`replication` is {found} of {n_replications}, counted from 0"
            ));
        }
        let client = scenario.clients.rows().get(self.request.client().index());
        let client = client.ok_or_else(|| no_client(self.request))?;
        let group = &scenario.groups[client.group];
        if self.branch as usize > group.branches.len() {
            let (branch, n) = (self.branch, group.branches.len());
            return Err(format!("`branch` is {branch}, and requests have {n}"));
        }
        if let Some(hop) = self.hop
            && scenario
                .hop(self.request.client(), self.branch, hop)
                .is_none()
        {
            let path = match (self.branch as usize).checked_sub(1) {
                None => &group.path,
                Some(index) => &scenario.call(&group.branches[index]).path,
            };
            let n = path.len();
            return Err(format!("`hop` is {hop} of {n}, counted from 0"));
        }
        if self.host.index() >= scenario.hosts.len() {
            return Err(format!("there is no host {}", self.host.index()));
        }
        let stage = scenario.stages.rows().get(self.stage.index());
        let stage = stage.ok_or_else(|| format!("there is no stage {}", self.stage.index()))?;
        let on_device = matches!(
            self.name,
            SpanName::H2d | SpanName::Preprocess | SpanName::Inference | SpanName::D2h
        );
        if on_device || self.name.is_detail() {
            let StageRole::Serve(serve) = &stage.role else {
                let (name, stage) = (self.name.name(), &stage.name);
                return Err(format!(
                    "`{name}` is at stage `{stage}`, which serves nothing"
                ));
            };
            check_place(self, serve, stage.replicas)?;
        }
        Ok(())
    }
}

/// What a span's resource is called: the transport of its hop, or the part of its host.
fn resource(scenario: &Scenario, span: &Span) -> &'static str {
    let is_at_proxy = || matches!(scenario.stages[span.stage].role, StageRole::Proxy(_));
    match (span.name, span.hop) {
        (SpanName::Send | SpanName::Wire | SpanName::Receive, Some(hop)) => {
            let hop = scenario.hop(span.request.client(), span.branch, hop);
            hop.expect("a span is of a hop of its branch").over.name()
        }
        (SpanName::Queue, _) if is_at_proxy() => "host",
        (SpanName::Queue | SpanName::H2d | SpanName::Preprocess, _)
        | (SpanName::Inference | SpanName::D2h | SpanName::Kernel | SpanName::P2p, _) => "device",
        _ => "host",
    }
}

/// A column: its name, and whether it holds text. The last is only there if a request branches.
const COLUMNS: [(&str, bool); 20] = [
    ("replication", false),
    ("request", false),
    ("client", true),
    ("class", true),
    ("stage", true),
    ("host", true),
    ("resource", true),
    ("span", true),
    ("hop", false),
    ("leg", true),
    ("batch", false),
    ("context", false),
    ("kernel", false),
    ("bytes", false),
    ("ready_ns", false),
    ("start_ns", false),
    ("end_ns", false),
    ("cpu_ns", false),
    ("status", true),
    ("branch", false),
];

/// The columns of a trace.
fn columns(trace: &[Span]) -> &'static [(&'static str, bool)] {
    let branches = trace.iter().any(|span| span.branch > 0);
    &COLUMNS[..COLUMNS.len() - usize::from(!branches)]
}

fn integer(span: &Span, column: &str) -> i64 {
    let value = match column {
        "replication" => u64::from(span.replication),
        "request" => span.request.as_u64(),
        "hop" => return span.hop.map_or(-1, i64::from),
        "branch" => u64::from(span.branch),
        "batch" => u64::from(span.batch),
        "context" => u64::from(span.context),
        "kernel" => return span.kernel.map_or(-1, i64::from),
        "bytes" => span.bytes,
        "ready_ns" => span.ready_ns,
        "start_ns" => span.start_ns,
        "end_ns" => span.end_ns,
        "cpu_ns" => span.cpu_ns,
        _ => unreachable!("{column} is not a column of integers"),
    };
    i64::try_from(value).expect("sizes and times fit 63 bits")
}

fn text(scenario: &Scenario, span: &Span, column: &str) -> String {
    match column {
        "client" => {
            let client = &scenario.clients[span.request.client()];
            format!("{}/{}", scenario.groups[client.group].name, client.index)
        }
        "class" => scenario.classes[span.class].name.clone(),
        "stage" => scenario.stages[span.stage].name.clone(),
        "host" => scenario.hosts[span.host].name.clone(),
        "resource" => resource(scenario, span).to_owned(),
        "span" => span.name.name().to_owned(),
        "leg" => if span.leg == Leg::Request {
            "request"
        } else {
            "reply"
        }
        .to_owned(),
        "status" => if span.status == Status::Ok {
            "ok"
        } else {
            "failed"
        }
        .to_owned(),
        _ => unreachable!("{column} is not a column of text"),
    }
}

/// Writes a trace as Parquet.
pub(super) fn write_trace<W: Write + Send>(
    to: W,
    scenario: &Scenario,
    trace: &[Span],
) -> Result<(), ParquetError> {
    let columns = columns(trace);
    let fields = columns.iter().map(|(name, is_text)| {
        let physical = if *is_text {
            Physical::BYTE_ARRAY
        } else {
            Physical::INT64
        };
        let builder =
            Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        let builder = if *is_text {
            builder.with_logical_type(Some(LogicalType::String))
        } else {
            builder
        };
        builder.build().map(Arc::new)
    });
    let schema = Type::group_type_builder("span")
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("tandem".to_owned())
        .build();
    let mut writer = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties))?;
    for rows in trace.chunks(ROWS_PER_GROUP) {
        let mut group = writer.next_row_group()?;
        for &(column, is_text) in columns {
            write_column(&mut group, scenario, rows, column, is_text)?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn write_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    scenario: &Scenario,
    rows: &[Span],
    column: &str,
    is_text: bool,
) -> Result<(), ParquetError> {
    let mut writer = group
        .next_column()?
        .expect("there is a writer for every column");
    if is_text {
        let values: Vec<ByteArray> = rows
            .iter()
            .map(|span| ByteArray::from(text(scenario, span, column).as_str()))
            .collect();
        writer
            .typed::<ByteArrayType>()
            .write_batch(&values, None, None)?;
    } else {
        let values: Vec<i64> = rows.iter().map(|span| integer(span, column)).collect();
        writer
            .typed::<Int64Type>()
            .write_batch(&values, None, None)?;
    }
    writer.close()
}

/// Reads a trace of `scenario`; the error says what is wrong with the file.
pub(super) fn read_trace<R: ChunkReader + 'static>(
    from: R,
    scenario: &Scenario,
    n_replications: u32,
) -> Result<Vec<Span>, String> {
    // The Parquet reader panics on some damaged files, and a damaged file is an input like others.
    let read = catch_unwind(AssertUnwindSafe(|| {
        read_rows(from, scenario, n_replications)
    }));
    read.unwrap_or_else(|panic| {
        let problem = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it cannot be read as Parquet");
        Err(format!("the file is damaged: {problem}"))
    })
}

fn read_rows<R: ChunkReader + 'static>(
    from: R,
    scenario: &Scenario,
    n_replications: u32,
) -> Result<Vec<Span>, String> {
    let reader = SerializedFileReader::new(from).map_err(|error| error.to_string())?;
    let rows = reader
        .get_row_iter(None)
        .map_err(|error| error.to_string())?;
    rows.enumerate()
        .map(|(index, row)| {
            let row = row.map_err(|error| error.to_string())?;
            read_span(&row, scenario)
                .and_then(|span| span.check(scenario, n_replications).map(|()| span))
                .map_err(|problem| format!("row {index}: {problem}"))
        })
        .collect()
}

fn read_span(row: &Row, scenario: &Scenario) -> Result<Span, String> {
    let field = |column: &str| {
        let found = row.get_column_iter().find(|(name, _)| *name == column);
        found
            .map(|(_, field)| field)
            .ok_or_else(|| format!("there is no column `{column}`"))
    };
    // Files of earlier versions lack the columns that came later.
    let has = |column: &str| row.get_column_iter().any(|(name, _)| *name == column);
    let number = |column: &str| match field(column)? {
        Field::Long(value) => u64::try_from(*value).map_err(|_| format!("`{column}` is {value}")),
        other => Err(format!("`{column}` is {other}, not an integer")),
    };
    let small =
        |column: &str| u32::try_from(number(column)?).map_err(|e| format!("`{column}`: {e}"));
    let string = |column: &str| match field(column)? {
        Field::Str(value) => Ok(value.as_str()),
        other => Err(format!("`{column}` is {other}, not text")),
    };
    let request = RequestId::from_u64(number("request")?);
    if request.client().index() >= scenario.clients.len() {
        return Err(no_client(request));
    }
    let group = &scenario.groups[scenario.clients[request.client()].group];
    let class = string("class")?;
    let class = group
        .classes
        .iter()
        .copied()
        .find(|id| scenario.classes[*id].name == class);
    let name = string("span")?;
    Ok(Span {
        replication: small("replication")?,
        request,
        class: class.ok_or("the class is not of the client's group")?,
        stage: named(&scenario.stages, string("stage")?, |stage| &stage.name)?,
        host: named(&scenario.hosts, string("host")?, |host| &host.name)?,
        branch: if has("branch") { small("branch")? } else { 0 },
        name: SpanName::from_name(name).ok_or_else(|| format!("there is no span `{name}`"))?,
        hop: match field("hop")? {
            Field::Long(-1) => None,
            Field::Long(hop) => Some(u8::try_from(*hop).map_err(|e| format!("`hop`: {e}"))?),
            other => return Err(format!("`hop` is {other}, not an integer")),
        },
        leg: if string("leg")? == "reply" {
            Leg::Reply
        } else {
            Leg::Request
        },
        batch: small("batch")?,
        context: if has("context") { small("context")? } else { 0 },
        kernel: if has("kernel") {
            match field("kernel")? {
                Field::Long(-1) => None,
                _ => Some(small("kernel")?),
            }
        } else {
            None
        },
        bytes: number("bytes")?,
        ready_ns: number("ready_ns")?,
        start_ns: number("start_ns")?,
        end_ns: number("end_ns")?,
        cpu_ns: number("cpu_ns")?,
        status: if string("status")? == "ok" {
            Status::Ok
        } else {
            Status::Failed
        },
    })
}

fn no_client(request: RequestId) -> String {
    format!("there is no client {}", request.client().index())
}

/// Whether the context of a span exists, and its kernel as far as the scenario knows kernels.
fn check_place(span: &Span, serve: &Serve, replicas: u32) -> Result<(), String> {
    let (context, n) = (span.context, serve.instances * replicas);
    if context >= n {
        return Err(format!("`context` is {context} of {n}, counted from 0"));
    }
    if let (Some(kernel), Work::Kernels(kernels)) = (span.kernel, &serve.work)
        && kernel as usize >= kernels.work.len()
    {
        let n = kernels.work.len();
        return Err(format!("`kernel` is {kernel} of {n}, counted from 0"));
    }
    Ok(())
}

fn named<I: Id, T>(
    table: &Table<I, T>,
    name: &str,
    key: impl Fn(&T) -> &String,
) -> Result<I, String> {
    let found = table.iter().find(|(_, row)| key(row) == name);
    found
        .map(|(id, _)| id)
        .ok_or_else(|| format!("`{name}` is not in the scenario"))
}

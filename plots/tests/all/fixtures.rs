//! Small runs and summaries.

use std::collections::BTreeMap;
use std::path::Path;

use schema::comparison::{END_TO_END, Metric, Row};
use schema::ids::{ClientId, Id, RequestId};
use schema::run::{Leg, Manifest, Measured, Outcome, Run, RunKind, Span, SpanName, Status};
use schema::scenario::Scenario;
use schema::stats::Estimate;
use schema::summary::{Diagnostics, Summary, Times};

pub(crate) fn around(value: f64) -> Estimate {
    Estimate {
        value,
        low: 0.9 * value,
        high: 1.1 * value,
    }
}

pub(crate) fn times(value: f64) -> Times {
    Times {
        mean: around(value),
        p50: around(0.9 * value),
        p90: around(1.5 * value),
        p99: around(2.0 * value),
    }
}

/// A summary of these parts, in seconds, and a millisecond that no span covers.
pub(crate) fn summary(parts: &[(&str, f64)]) -> Summary {
    let other_s = 1e-3;
    let whole = parts.iter().map(|(_, mean)| mean).sum::<f64>() + other_s;
    let parts = parts.iter();
    Summary {
        format: 1,
        requests: 100,
        failed: 0,
        window_s: vec![1.0],
        end_to_end: times(whole),
        throughput: around(1.0 / whole),
        cpu: None,
        machine_cpu: None,
        parts: parts
            .map(|(name, mean)| ((*name).to_owned(), times(*mean)))
            .collect(),
        other_s,
        utilization: BTreeMap::new(),
        diagnostics: Diagnostics {
            effective_samples: 80.0,
            ..Diagnostics::default()
        },
        system: None,
        stages: BTreeMap::new(),
    }
}

pub(crate) fn row(metric: Metric, error: Option<f64>) -> Row {
    Row {
        run: "runs/a".to_owned(),
        scenario: "a".to_owned(),
        held_out: false,
        stage: END_TO_END.to_owned(),
        metric,
        measured: 0.02,
        measured_interval: Some([0.019, 0.021]),
        predicted: 0.02 * (1.0 + error.unwrap_or(0.0)),
        error,
        noise: Some(0.01),
        saturated: false,
    }
}

pub(crate) fn manifest() -> Manifest {
    let scenario = serde_json::json!({
        "format": 1,
        "name": "tiny",
        "run": { "seed": 1, "warmup": { "requests": 0 }, "measure": { "requests": 3 } },
        "hosts": { "edge": { "part": "box", "cores": 2 } },
        "stages": {
            "classify": {
                "on": "edge",
                "serve": { "synthetic": { "time": "1 ms", "input": "1 KiB", "output": "1 KiB" } },
            },
        },
        "clients": [{
            "on": "edge",
            "arrivals": { "closed-loop": {} },
            "path": [{ "to": "classify", "over": "local" }],
        }],
    });
    Manifest {
        format: 1,
        kind: RunKind::Measured,
        program: "tandem 0.1.0".to_owned(),
        scenario: serde_json::from_value(scenario).unwrap(),
        inputs: BTreeMap::from([("scenario".to_owned(), "ab12".to_owned())]),
        replications: 1,
        outcome: Outcome::Complete,
        cpu: Vec::new(),
        warnings: Vec::new(),
        measured: Some(Measured {
            started_unix_s: 1,
            command: vec!["tandem".to_owned(), "measure".to_owned()],
            machine: BTreeMap::from([("processor".to_owned(), "a CPU".to_owned())]),
            steal_s: 0.25,
            clock_error_ns: 0,
        }),
    }
}

/// A run of one client whose requests took these times, one after the other.
pub(crate) fn run(took_ns: &[u64]) -> Run {
    let mut run = Run::new(manifest(), Vec::new()).unwrap();
    let client = schema::ids::ClientId::from_index(0);
    let (stage, host) = (Id::from_index(0), Id::from_index(0));
    let mut at = 0;
    for (seq, took) in (0..).zip(took_ns) {
        run.trace.push(Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: 0,
            request: RequestId::new(client, seq),
            class: Id::from_index(0),
            stage,
            host,
            name: SpanName::Request,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            bytes: 0,
            ready_ns: at,
            start_ns: at,
            end_ns: at + took,
            cpu_ns: 0,
            status: Status::Ok,
        });
        at += took;
    }
    run
}

const GPUS: &str = r#"format = 1
name = "two-gpus"
run = { measure = { requests = 2 } }

[hosts]
edge = { part = "cpu", cores = 2 }
server = { part = "cpu", cores = 2, gpus = [{ part = "a2" }, { part = "a2" }] }

[[links]]
between = ["edge", "server"]
part = "wire"

[stages.classify]
on = "server"
gpu = { streams = 2 }
batch = { max = 2, delay = "10 us" }
serve.kernels = { input = "600 kB", output = "4 kB", work = [
    { kernel = { name = "conv", blocks = 8, threads = 128, time = "10 us" } },
    { peer-copy = { to = "1", size = "1 MB" } },
    { kernel = { blocks = 8, threads = 128, time = "10 us" } },
] }

[[clients]]
on = "edge"
count = 2
arrivals = { closed-loop = {} }
path = [{ to = "classify", over = "tcp" }]
"#;

/// A run on two GPUs: a batch of two requests kernel by kernel, then a request whose kernels were
/// not kept.
pub(crate) fn gpu_run() -> Run {
    let scenario = Scenario::parse(Path::new("gpus.toml"), GPUS.to_owned(), &[]).unwrap();
    let manifest = Manifest {
        kind: RunKind::Simulated,
        scenario: scenario.file().clone(),
        measured: None,
        ..manifest()
    };
    let mut trace = Vec::new();
    let mut add =
        |(client, seq): (usize, u32), name, kernel, bytes, [ready, start, end]: [u64; 3]| {
            let on_edge = matches!(name, SpanName::Request | SpanName::Send);
            trace.push(Span {
                branch: 0,
                replication: 0,
                request: RequestId::new(ClientId::from_index(client), seq),
                class: Id::from_index(0),
                stage: Id::from_index(0),
                host: Id::from_index(usize::from(!on_edge)),
                name,
                hop: (name == SpanName::Send).then_some(0),
                leg: Leg::Request,
                batch: seq,
                context: seq,
                kernel,
                bytes,
                ready_ns: 1_000 * ready,
                start_ns: 1_000 * start,
                end_ns: 1_000 * end,
                cpu_ns: 0,
                status: Status::Ok,
            });
        };
    let both = [(0, 0), (1, 0)];
    for (late, request) in (0..).zip(both) {
        add(request, SpanName::Request, None, 0, [late, late, 95]);
        add(request, SpanName::Send, None, 600_000, [late, late, 4]);
        add(request, SpanName::Queue, None, 0, [5 + late, 10, 10]);
        let h2d = [10, 10 + 10 * late, 20 + 10 * late];
        add(request, SpanName::H2d, None, 600_000, h2d);
        let ready = 20 + 10 * late;
        add(request, SpanName::Inference, None, 0, [ready, 30, 80]);
        add(request, SpanName::Kernel, Some(0), 0, [30, 31, 50]);
        add(request, SpanName::P2p, Some(1), 500_000, [50, 50, 60]);
        add(request, SpanName::Kernel, Some(2), 0, [60, 62, 79]);
        let d2h = [80, 80 + 4 * late, 84 + 4 * late];
        add(request, SpanName::D2h, None, 4_000, d2h);
    }
    let alone = (0, 1);
    add(alone, SpanName::Request, None, 0, [96, 97, 175]);
    add(alone, SpanName::H2d, None, 600_000, [100, 100, 110]);
    add(alone, SpanName::Inference, None, 0, [110, 110, 170]);
    add(alone, SpanName::D2h, None, 4_000, [170, 170, 174]);
    Run::new(manifest, trace).unwrap()
}

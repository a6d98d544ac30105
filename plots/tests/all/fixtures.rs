//! Small runs and summaries.

use std::collections::BTreeMap;

use schema::comparison::{END_TO_END, Metric, Row};
use schema::ids::{Id, RequestId};
use schema::run::{Leg, Manifest, Measured, Outcome, Run, RunKind, Span, SpanName, Status};
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

//! Draws every figure and a report from made-up runs into a folder, to look at.
//!
//! `cargo run -p tandem-plots --example gallery -- DIR`; without `DIR`, a folder of the system's
//! temporary directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plots::load_curve::{Load, LoadPoint};
use plots::report::{
    Report, Section, Table, accuracy_table, end_to_end_table, how_to_read, stage_table,
};
use plots::{Figure, Lanes, Pair, PlotError, View, accuracy, breakdown, cdf, gantt, load_curve};
use schema::comparison::{END_TO_END, Metric, Row};
use schema::ids::{ClientId, HostId, Id, RequestId, StageId};
use schema::random::{Seed, exponential, stream, uniform};
use schema::run::{Leg, Manifest, Outcome, Run, RunKind, Span, SpanName, Status};
use schema::scenario::Scenario;
use schema::stats::{Estimate, mean_interval, quantile, quantile_interval};
use schema::summary::{Diagnostics, Summary, Times};

/// Milliseconds of each part: preprocessed input, raw input, behind a proxy, with a GPU.
const SCENARIOS: [(&str, &[(&str, f64)]); 5] = [
    (
        "resnet50-tcp",
        &[
            ("prepare", 0.9),
            ("send", 0.7),
            ("wire", 0.5),
            ("receive", 0.9),
            ("queue", 3.1),
            ("inference", 21.4),
            ("postprocess", 0.1),
        ],
    ),
    (
        "resnet50-tcp-raw",
        &[
            ("prepare", 1.3),
            ("send", 1.1),
            ("wire", 0.5),
            ("receive", 1.4),
            ("queue", 3.6),
            ("preprocess", 4.9),
            ("inference", 21.7),
            ("postprocess", 0.1),
        ],
    ),
    (
        "resnet50-proxied-raw-16-clients",
        &[
            ("prepare", 1.4),
            ("send", 2.3),
            ("wire", 1.2),
            ("receive", 2.9),
            ("translate", 1.7),
            ("queue", 9.6),
            ("h2d", 1.2),
            ("preprocess", 5.2),
            ("inference", 23.0),
            ("d2h", 0.8),
            ("postprocess", 0.6),
        ],
    ),
    (
        "mobilenet-v3-tcp",
        &[
            ("prepare", 0.9),
            ("send", 0.7),
            ("wire", 0.5),
            ("receive", 0.9),
            ("queue", 1.1),
            ("inference", 4.2),
            ("postprocess", 0.1),
        ],
    ),
    (
        "mobilenet-v3-proxied",
        &[
            ("prepare", 0.9),
            ("send", 1.4),
            ("wire", 1.0),
            ("receive", 1.8),
            ("translate", 0.6),
            ("queue", 1.3),
            ("inference", 4.3),
            ("postprocess", 0.1),
        ],
    ),
];

/// End-to-end times: a gamma with four phases a part, which is about as skewed as real ones.
fn sample(name: &str, parts: &[(&str, f64)], stretch: f64, n: usize) -> Vec<f64> {
    let mut rng = stream(Seed(1), name);
    let draw = |_| {
        let times = parts.iter().map(|(part, ms)| {
            let n_phases = if *part == "inference" { 60 } else { 4 };
            let mean = stretch * ms / 1e3 / f64::from(n_phases);
            (0..n_phases)
                .map(|_| exponential(&mut rng, mean))
                .sum::<f64>()
        });
        times.sum()
    };
    (0..n).map(draw).collect()
}

fn around(value: f64, relative: f64) -> Estimate {
    Estimate {
        value,
        low: value * (1.0 - relative),
        high: value * (1.0 + relative),
    }
}

fn times(sample: &[f64]) -> Times {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |p| quantile_interval(&sorted, p, 0.95, sorted.len() as f64);
    Times {
        mean: mean_interval(sample, 0.95),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
    }
}

fn summary(name: &str, parts: &[(&str, f64)], stretch: f64) -> Summary {
    let sample = sample(name, parts, stretch, 2000);
    let end_to_end = times(&sample);
    // Parts in their proportions, and 2% that no span covers.
    let total: f64 = parts.iter().map(|(_, ms)| ms).sum();
    let part = |ms: f64| {
        let mean = around(0.98 * end_to_end.mean.value * ms / total, 0.05);
        Times {
            mean,
            p50: mean,
            p90: mean,
            p99: mean,
        }
    };
    Summary {
        format: 1,
        requests: 2000,
        failed: 0,
        window_s: vec![2000.0 * end_to_end.mean.value],
        end_to_end,
        throughput: around(1.0 / end_to_end.mean.value, 0.02),
        cpu: Some(1.5),
        machine_cpu: None,
        parts: parts
            .iter()
            .map(|(name, ms)| ((*name).to_owned(), part(*ms)))
            .collect(),
        other_s: 0.02 * end_to_end.mean.value,
        utilization: BTreeMap::from([("classify".to_owned(), 0.7)]),
        diagnostics: Diagnostics::default(),
        system: None,
        stages: BTreeMap::new(),
    }
}

fn breakdown_figure() -> Result<Figure, PlotError> {
    let runs: Vec<(Summary, Summary)> = SCENARIOS
        .iter()
        .map(|(name, parts)| {
            let simulated = format!("{name}/simulated");
            (summary(name, parts, 1.0), summary(&simulated, parts, 0.97))
        })
        .collect();
    let pairs: Vec<Pair<&Summary>> = SCENARIOS
        .iter()
        .zip(&runs)
        .map(|((name, _), (measured, simulated))| Pair {
            label: (*name).to_owned(),
            measured: Some(measured),
            simulated: Some(simulated),
        })
        .collect();
    breakdown::draw("breakdown", &pairs)
}

fn cdf_figure(name: &str, scenarios: &[usize], tail: f64) -> Result<Figure, PlotError> {
    let samples: Vec<Pair<Vec<f64>>> = scenarios
        .iter()
        .map(|index| {
            let (name, parts) = SCENARIOS[*index];
            let mut measured = sample(name, parts, 1.0, 3000);
            measured.push(measured[0] * tail);
            Pair {
                label: name.to_owned(),
                measured: Some(measured),
                simulated: Some(sample(&format!("{name}/simulated"), parts, 0.99, 3000)),
            }
        })
        .collect();
    cdf::draw(name, &samples)
}

/// A closed loop at a station that saturates: times grow with the clients once it is full.
fn load_figure() -> Result<Figure, PlotError> {
    let loads = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let run = |n: f64, who: &str, factor: f64| {
        let mean = factor * (24.0f64.powi(4) + (6.1 * n).powi(4)).powf(0.25);
        let parts = [("queue", 0.25 * mean), ("inference", 0.75 * mean)];
        let mut summary = summary(&format!("{who}/{n}"), &parts, 1.0);
        summary.throughput = around(n / summary.end_to_end.mean.value, 0.03);
        summary
    };
    let runs: Vec<(Option<Summary>, Summary)> = loads
        .iter()
        .map(|n| {
            let measured = (*n < 64.0).then(|| run(*n, "measured", 1.0));
            (measured, run(*n, "simulated", 0.96))
        })
        .collect();
    let points: Vec<LoadPoint<'_>> = loads
        .iter()
        .zip(&runs)
        .map(|(load, (measured, simulated))| LoadPoint {
            load: *load,
            measured: measured.as_ref(),
            simulated: Some(simulated),
        })
        .collect();
    load_curve::draw("load-curve", Load::Clients, &points)
}

/// Two stages that share a GPU, one of them kernel by kernel on two streams.
const SHARED_GPU: &str = r#"format = 1
name = "shared-gpu"
run = { measure = { requests = 6 } }

[hosts]
edge = { part = "cpu", cores = 8 }
server = { part = "cpu", cores = 8, gpus = [{ part = "a2" }] }

[[links]]
between = ["edge", "server"]
part = "wire"

[stages.detect]
on = "server"
gpu = { streams = 2 }
serve.kernels = { input = "600 kB", output = "4 kB", work = [
    { kernel = { name = "im2col", blocks = 8, threads = 128, time = "10 us" } },
    { kernel = { name = "gemm", blocks = 8, threads = 128, time = "10 us" } },
    { kernel = { name = "relu", blocks = 8, threads = 128, time = "10 us" } },
    { kernel = { name = "softmax", blocks = 8, threads = 128, time = "10 us" } },
] }

[stages.classify]
on = "server"
gpu = {}
batch = { max = 2, delay = "1 ms" }
serve.profiled = { name = "resnet50", input = "600 kB", output = "4 kB" }

[[clients]]
on = "edge"
count = 3
arrivals = { closed-loop = {} }
path = [{ to = "detect", over = "tcp" }]

[[clients]]
on = "edge"
count = 2
arrivals = { closed-loop = {} }
path = [{ to = "classify", over = "tcp" }]
"#;

/// Microseconds of the kernels of `detect`.
const KERNELS: [u64; 4] = [60, 250, 45, 90];

/// When each resource of the made-up GPU is free, in microseconds.
#[derive(Default)]
struct Free {
    h2d: u64,
    d2h: u64,
    streams: BTreeMap<(usize, u32), u64>,
    batches: [u32; 2],
}

/// Runs of the shared GPU: `only` the stages of these numbers.
fn gpu_run(only: &[usize]) -> Run {
    let scenario = Scenario::parse(Path::new("gpu.toml"), SHARED_GPU.to_owned(), &[]);
    let scenario = scenario.expect("the scenario is valid");
    let manifest = Manifest {
        format: 1,
        kind: RunKind::Simulated,
        program: "gallery".to_owned(),
        scenario: scenario.file().clone(),
        inputs: BTreeMap::new(),
        replications: 1,
        outcome: Outcome::Complete,
        cpu: Vec::new(),
        warnings: Vec::new(),
        measured: None,
    };
    let stage = |name: &str| {
        let mut stages = scenario.stages.iter();
        let found = stages.find(|(_, stage)| stage.name == name);
        found.expect("it is a stage").0
    };
    let [detect, classify] = [stage("detect"), stage("classify")];
    let mut rng = stream(Seed(3), "gantt");
    let (mut trace, mut free) = (Vec::new(), Free::default());
    let mut ready = [0, 40, 70, 20, 30];
    for seq in 0..4 {
        if only.contains(&0) {
            for (client, ready) in ready.iter_mut().enumerate().take(3) {
                let request = RequestId::new(ClientId::from_index(client), seq);
                let end = serve(&mut trace, &mut free, detect, &[(request, *ready)]);
                *ready = end + 20 + (60.0 * uniform(&mut rng)) as u64;
            }
        }
        if only.contains(&1) {
            let requests = [3, 4].map(|client| {
                let request = RequestId::new(ClientId::from_index(client), seq);
                (request, ready[client])
            });
            let end = serve(&mut trace, &mut free, classify, &requests);
            ready[3] = end + 30;
            ready[4] = end + 60;
        }
    }
    Run::new(manifest, trace).expect("the scenario is valid")
}

/// Serves a batch; returns when it is done, in microseconds.
fn serve(
    trace: &mut Vec<Span>,
    free: &mut Free,
    stage: StageId,
    requests: &[(RequestId, u64)],
) -> u64 {
    let is_detect = requests.len() == 1;
    let index = usize::from(!is_detect);
    let batch = free.batches[index];
    free.batches[index] += 1;
    let context = if is_detect { batch % 2 } else { 0 };
    let span =
        |name, (request, kernel): (RequestId, Option<u32>), [ready, start, end]: [u64; 3]| Span {
            branch: 0,
            replication: 0,
            request,
            class: Id::from_index(usize::from(!is_detect)),
            stage,
            host: HostId::from_index(if name == SpanName::Request { 0 } else { 1 }),
            name,
            hop: None,
            leg: Leg::Request,
            batch,
            context,
            kernel,
            bytes: if kernel.is_some() { 0 } else { 600_000 },
            ready_ns: 1_000 * ready,
            start_ns: 1_000 * start,
            end_ns: 1_000 * end,
            cpu_ns: 0,
            status: Status::Ok,
        };
    let stream_free = free.streams.entry((index, context)).or_default();
    let mut at = *stream_free;
    for (request, ready) in requests {
        let start = (*ready).max(free.h2d).max(*stream_free);
        free.h2d = start + 110;
        at = free.h2d;
        trace.push(span(SpanName::H2d, (*request, None), [*ready, start, at]));
    }
    let begin = at;
    if is_detect {
        for (number, length) in (0..).zip(KERNELS) {
            let (ready, end) = (at + 4, at + 10 + length * (10 + u64::from(batch % 3)) / 10);
            let what = (requests[0].0, Some(number));
            trace.push(span(SpanName::Kernel, what, [ready, at + 10, end]));
            at = end;
        }
    } else {
        at += 520;
    }
    for (request, _) in requests {
        trace.push(span(
            SpanName::Inference,
            (*request, None),
            [begin, begin, at],
        ));
    }
    let computed = at;
    for (request, ready) in requests {
        let start = computed.max(free.d2h);
        free.d2h = start + 24;
        at = free.d2h;
        trace.push(span(SpanName::D2h, (*request, None), [computed, start, at]));
        trace.push(span(
            SpanName::Request,
            (*request, None),
            [*ready, *ready, at],
        ));
    }
    *stream_free = at;
    at
}

fn gantt_figures() -> Result<[Figure; 3], PlotError> {
    let whole = View {
        replication: 0,
        from_ns: None,
        to_ns: None,
    };
    let window = |from_us: u64, to_us: u64| View {
        from_ns: Some(1_000 * from_us),
        to_ns: Some(1_000 * to_us),
        ..whole
    };
    Ok([
        gantt::draw("gantt", &gpu_run(&[0]), &window(0, 1_600), Lanes::Devices)?,
        gantt::draw("gantt-stages", &gpu_run(&[0, 1]), &whole, Lanes::All)?,
        gantt::draw(
            "gantt-window",
            &gpu_run(&[1]),
            &window(1_500, 1_520),
            Lanes::Devices,
        )?,
    ])
}

fn rows() -> Vec<Row> {
    let mut rng = stream(Seed(2), "errors");
    let mut rows = Vec::new();
    for (index, (name, parts)) in SCENARIOS.iter().enumerate() {
        let mut sorted = sample(name, parts, 1.0, 2000);
        sorted.sort_by(f64::total_cmp);
        for metric in [
            Metric::Mean,
            Metric::P50,
            Metric::P90,
            Metric::P99,
            Metric::Throughput,
            Metric::Cpu,
        ] {
            let measured = match metric {
                Metric::Throughput => 1.0 / quantile(&sorted, 0.5),
                Metric::Cpu => 1.4,
                Metric::P99 => quantile(&sorted, 0.99),
                Metric::P90 => quantile(&sorted, 0.9),
                Metric::Mean | Metric::P50 => quantile(&sorted, 0.5),
            };
            let mut error = 0.12 * (uniform(&mut rng) - 0.45);
            if index == 3 && metric == Metric::P99 {
                error = -0.62;
            }
            rows.push(Row {
                run: format!("measured/{name}"),
                scenario: (*name).to_owned(),
                held_out: index >= 3,
                stage: END_TO_END.to_owned(),
                metric,
                measured,
                measured_interval: Some([0.985 * measured, 1.015 * measured]),
                predicted: measured * (1.0 + error),
                error: Some(error),
                noise: (index != 1).then(|| 0.06 * (uniform(&mut rng) - 0.5)),
                saturated: index == 2,
            });
        }
    }
    rows
}

/// The parts of the first scenario, as `validate` compares them.
fn part_rows() -> Vec<Row> {
    let (name, parts) = SCENARIOS[0];
    let row = |(part, ms): &(&str, f64)| Row {
        run: format!("measured/{name}"),
        scenario: name.to_owned(),
        held_out: false,
        stage: (*part).to_owned(),
        metric: Metric::Mean,
        measured: ms / 1e3,
        measured_interval: None,
        predicted: 0.97 * ms / 1e3,
        error: Some(-0.03),
        noise: Some(0.01),
        saturated: false,
    };
    parts.iter().map(row).collect()
}

fn report(breakdown: Figure, cdf: Figure, load: Figure, accuracy: Figure) -> Report {
    let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let mut all = rows();
    all.extend(part_rows());
    let runs: Vec<(String, Summary)> = SCENARIOS
        .iter()
        .map(|(name, parts)| ((*name).to_owned(), summary(name, parts, 1.0)))
        .collect();
    let runs: Vec<(String, &Summary)> = runs.iter().map(|(n, s)| (n.clone(), s)).collect();
    Report {
        title: "Validation of five made-up scenarios".to_owned(),
        command: "cargo run -p tandem-plots --example gallery".to_owned(),
        facts: vec![
            (
                "processor".to_owned(),
                "none: the runs are made up".to_owned(),
            ),
            ("cores".to_owned(), "2".to_owned()),
        ],
        verdict: owned(&[
            "Held out: the mean end-to-end time of 2 scenarios is within 2.5%, the noise 2%.",
            "The p99 of mobilenet-v3-tcp is 62% too low; see the warnings.",
        ]),
        sections: vec![
            Section {
                heading: "How far the simulation is off".to_owned(),
                text: Vec::new(),
                figures: vec![accuracy, cdf],
                tables: vec![accuracy_table(&all)],
            },
            Section {
                heading: "Where the time goes".to_owned(),
                text: Vec::new(),
                figures: vec![breakdown, load],
                tables: vec![stage_table(&all), end_to_end_table(&runs)],
            },
            Section {
                heading: "What was fitted".to_owned(),
                text: Vec::new(),
                figures: Vec::new(),
                tables: vec![Table {
                    caption: "Laws of the profile.".to_owned(),
                    heads: owned(&["part", "cost", "base", "slope", "samples"]),
                    rows: vec![
                        owned(&["server", "send/tcp", "21.0 µs", "0.161 ns/B", "4000"]),
                        owned(&[
                            "server",
                            "inference/resnet50@224",
                            "2.10 ms",
                            "19.3 ms",
                            "812",
                        ]),
                    ],
                }],
            },
            how_to_read(),
        ],
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join("tandem-gallery"),
        PathBuf::from,
    );
    let figures = [
        breakdown_figure()?,
        cdf_figure("cdf", &[0, 2, 3], 1.0)?,
        cdf_figure("cdf-linear", &[0, 1], 1.0)?,
        load_figure()?,
        accuracy::draw("accuracy", &rows())?,
    ];
    for figure in figures.iter().chain(&gantt_figures()?) {
        figure.save(&dir)?;
    }
    let [breakdown, cdf, _, load, accuracy] = figures;
    report(breakdown, cdf, load, accuracy).save(&dir.join("report.html"))?;
    eprintln!("wrote figures and report.html to {}", dir.display());
    Ok(())
}

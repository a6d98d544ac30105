//! Comparisons of two tiny runs, by hand.

use calibrate::validate::{Tolerance, compare, judge, judged, table};
use schema::comparison::{END_TO_END, Metric, Row};
use schema::ids::RequestId;
use schema::run::{Run, Span, SpanName};

use crate::synthetic::{LIGHT, id, run_of, scenario, span};

const SETUP: [&str; 2] = ["run.warmup.requests=0", "run.measure.requests=2"];

/// Two requests of `inference_ms` each after 1 ms of preparing, and 1 ms that no span covers.
fn run(inference_ms: [u64; 2], busy: f64) -> Run {
    let scenario = scenario(LIGHT, &SETUP);
    let mut trace = Vec::new();
    let mut now_ns = 0;
    for (seq, inference_ms) in (0..).zip(inference_ms) {
        let mut add = |name, host, start_ms: u64, end_ms: u64| {
            trace.push(Span {
                request: RequestId::new(id(0), seq),
                host: id(host),
                batch: seq,
                ready_ns: now_ns + start_ms * 1_000_000,
                start_ns: now_ns + start_ms * 1_000_000,
                end_ns: now_ns + end_ms * 1_000_000,
                ..span(name)
            });
        };
        add(SpanName::Prepare, 0, 0, 1);
        add(SpanName::Inference, 1, 1, 1 + inference_ms);
        add(SpanName::Request, 0, 0, 2 + inference_ms);
        now_ns += (2 + inference_ms) * 1_000_000;
    }
    run_of(&scenario, trace, &[("client edge", busy)])
}

fn row<'a>(rows: &'a [Row], stage: &str, metric: Metric) -> &'a Row {
    rows.iter()
        .find(|row| row.stage == stage && row.metric == metric)
        .expect("there is such a row")
}

fn rows() -> Vec<Row> {
    // End to end 10 and 10 ms measured; 9 and 9 when repeated; 8 and 14 simulated.
    let (measured, repeated, simulated) = (run([8, 8], 0.5), run([7, 7], 0.5), run([6, 12], 0.4));
    compare("runs/a", &measured, Some(&repeated), &simulated, true)
}

#[test]
fn errors_are_relative_to_the_measurement_and_signed() {
    let rows = rows();
    let near = |value: Option<f64>, expected: f64| {
        assert!(
            (value.unwrap() - expected).abs() < 1e-9,
            "{value:?} is not {expected}"
        );
    };
    let mean = row(&rows, END_TO_END, Metric::Mean);
    near(Some(mean.measured), 0.010);
    near(Some(mean.predicted), 0.011);
    near(mean.error, 0.1);
    near(mean.noise, -0.1);
    near(row(&rows, END_TO_END, Metric::P50).error, -0.2);
    near(row(&rows, END_TO_END, Metric::P99).error, 0.4);
    near(row(&rows, END_TO_END, Metric::Cpu).error, -0.2);
    near(row(&rows, "inference", Metric::Mean).error, 9.0 / 8.0 - 1.0);
    near(row(&rows, "prepare", Metric::Mean).error, 0.0);
    // One of the two completes at the very end of the window and is not inside it.
    near(
        row(&rows, END_TO_END, Metric::Throughput).error,
        20.0 / 22.0 - 1.0,
    );
    assert_eq!(rows.len(), 6 + 2 * 4);
    assert!(rows.iter().all(|row| !row.saturated));
}

#[test]
fn a_part_that_one_run_lacks_takes_no_time_there() {
    let measured = run([8, 8], 0.5);
    let mut simulated = run([8, 8], 0.5);
    simulated
        .trace
        .retain(|span| span.name != SpanName::Prepare);
    let rows = compare("runs/a", &measured, None, &simulated, true);
    let prepare = row(&rows, "prepare", Metric::Mean);
    assert_eq!((prepare.predicted, prepare.error), (0.0, Some(-1.0)));
    assert_eq!(prepare.noise, None);
    let rows = compare("runs/a", &simulated, None, &measured, true);
    assert_eq!(row(&rows, "prepare", Metric::Mean).error, None);
}

#[test]
fn a_run_without_requests_gives_no_rows_and_nothing_is_judged() {
    let measured = run([8, 8], 0.5);
    let mut simulated = run([8, 8], 0.5);
    simulated.trace.clear();
    let rows = compare("runs/a", &measured, None, &simulated, true);
    assert_eq!((rows.len(), judged(&rows).count()), (0, 0));
}

#[test]
fn only_held_out_end_to_end_figures_are_judged() {
    let rows = rows();
    let violations = judge(&rows, &Tolerance::default());
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    runs/a: p50 end-to-end is predicted as 8.000 ms but measured as 10.000 ms: error -20.0%, allowed 10.0%
    runs/a: p99 end-to-end is predicted as 14.000 ms but measured as 10.000 ms: error +40.0%, allowed 25.0%
    "#);
    let seen: Vec<Row> = rows
        .into_iter()
        .map(|row| Row {
            held_out: false,
            ..row
        })
        .collect();
    assert_eq!(judge(&seen, &Tolerance::default()), []);
    assert_eq!(judged(&seen).count(), 0);
}

#[test]
fn a_saturated_run_is_judged_by_its_throughput_alone() {
    // Inference fills 98% of the time.
    let rows = compare(
        "runs/b",
        &run([98, 98], 0.5),
        None,
        &run([120, 120], 0.5),
        true,
    );
    assert!(rows.iter().all(|row| row.saturated));
    let violations = judge(&rows, &Tolerance::default());
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @"runs/b: throughput end-to-end is predicted as 4.098 1/s but measured as 5.000 1/s: error -18.0%, allowed 10.0% (saturated: throughput alone is judged)");
}

#[test]
fn rounds_with_few_arrivals_by_chance_are_not_saturated() {
    let scenario = scenario(
        LIGHT,
        &[
            "run={ measure = { time = \"1 s\" } }",
            "clients.0.arrivals={ poisson = { rate = \"100 /s\" } }",
        ],
    );
    // Nine rounds of one seed: whatever chance did, it did to all of them.
    let rounds = |completed: u32| {
        let requests = (0..completed).map(|seq| Span {
            request: RequestId::new(id(0), seq),
            ready_ns: u64::from(seq) * 9_000_000,
            start_ns: u64::from(seq) * 9_000_000,
            end_ns: u64::from(seq) * 9_000_000 + 1_000_000,
            ..span(SpanName::Request)
        });
        let round = run_of(&scenario, requests.collect(), &[]);
        let pooled = Run::pool(&[&round; 9]);
        compare("runs/c", &pooled, None, &pooled, true)
    };
    assert!(rounds(90).iter().all(|row| !row.saturated));
    assert!(rounds(70).iter().all(|row| row.saturated));
}

#[test]
fn the_table_shows_cancelling_errors() {
    insta::assert_snapshot!(table(&rows()), @r#"
    runs/a (light): held out from the fit
      end-to-end               measured              95% interval    predicted error [%] noise [%]
      mean [ms]                  10.000          10.000 to 10.000       11.000     +10.0     -10.0
      p50 [ms]                   10.000          10.000 to 10.000        8.000     -20.0     -10.0
      p90 [ms]                   10.000          10.000 to 10.000       14.000     +40.0     -10.0
      p99 [ms]                   10.000          10.000 to 10.000       14.000     +40.0     -10.0
      throughput [1/s]           50.000        -54.651 to 154.651       45.455      -9.1     +11.1
      cpu [cores]                 0.500                         -        0.400     -20.0      +0.0
      part, mean [ms]          measured                error [ms]    predicted error [%] noise [%]
      prepare                     1.000                    +0.000        1.000      +0.0      +0.0
      inference                   8.000                    +1.000        9.000     +12.5     -12.5
      no span                                              +0.000
      end-to-end                                           +1.000
    "#);
}

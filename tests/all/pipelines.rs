//! The scenario of a detector that calls classifiers, with the profile that it names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use schema::profile::Profile;
use schema::run::{Run, SpanName};
use schema::scenario::Scenario;
use sim::{Keep, Options};

use crate::common::base;

/// Runs it with these overrides.
fn run(overrides: &[&str]) -> Run {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let path = scenarios.join("network/detect-classify.toml");
    let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
    let scenario = Scenario::load(&path, &overrides).unwrap();
    let profile = Profile::load_all(&[scenarios.join("profiles/a100.toml")]).unwrap();
    let options = Options {
        keep: Keep::Trace,
        ..base()
    };
    sim::simulate(&scenario, profile.as_ref(), &options).unwrap()
}

fn mean_ms(run: &Run) -> f64 {
    1e3 * run.summary().end_to_end.mean.value
}

#[test]
fn a_detector_calls_classifiers_for_each_object() {
    let whole = run(&[]);
    let n = |name: SpanName, is_branch: bool| {
        let spans = whole.trace.iter();
        let spans = spans.filter(|s| s.name == name && (s.branch > 0) == is_branch);
        spans.count() as f64
    };
    let requests = n(SpanName::Request, false);
    // 320 requests a second for 4.5 s, each with three objects, give or take 4 standard deviations.
    assert!(
        (requests - 1440.0).abs() < 4.0 * 1440f64.sqrt(),
        "{requests}"
    );
    let objects = n(SpanName::Inference, true) / requests;
    assert!(
        (objects - 3.0).abs() < 4.0 * (3.0 / requests).sqrt(),
        "{objects}"
    );
    let stages = whole.summary().utilization;
    assert!(
        stages["detect"] > 0.1 && stages["classify"] > 0.05,
        "{stages:?}"
    );
    // Without the calls a request is faster, and with one classifier of three slower.
    let alone = run(&["stages.detect.steps=[]"]);
    let one = run(&["hosts.classifier.count=1"]);
    let times = [&alone, &whole, &one].map(mean_ms);
    println!("ms without calls, with three classifiers, with one: {times:.2?}");
    assert!(times.is_sorted(), "{times:?}");
    // Few connections to the detector make requests wait at the gateways, where the trace says so.
    let pooled = run(&["stages.gateway.proxy.pool=1"]);
    let waited = pooled.trace.iter().filter(|span| {
        span.name == SpanName::Queue && pooled.scenario.stages[span.stage].name == "gateway"
    });
    let waited: Vec<u64> = waited.map(|span| span.end_ns - span.ready_ns).collect();
    assert!(waited.iter().any(|ns| *ns > 1_000_000));
    assert!(mean_ms(&pooled) > mean_ms(&whole));
}

//! Nets that are served on the cores: what is on the wire, measured and simulated.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::{PROXIED, profile, said, scenario, tandem};
use schema::profile::{CostLaw, Driver, cost};
use schema::run::{Leg, Run, SpanName, Status};

/// Runs the small pipeline with a net, and reads the run back.
fn run(dir: &Path, verb: &str, net: &str, extra: &[&str]) -> Run {
    let out = dir.join(verb);
    let mut command = tandem();
    command.args([verb, "-q"]).arg(scenario(dir, PROXIED));
    let serve = format!("stages.work.serve={{ net = {net} }}");
    command.args(["--set", &serve, "--set", "run.measure.requests=2"]);
    let output = command.args(extra).arg("-o").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Run::load(&out).unwrap()
}

/// What each span of a request is about, and its bytes.
fn sizes(run: &Run) -> BTreeSet<(&'static str, Option<u8>, bool, u64)> {
    let row = |span: &schema::run::Span| {
        assert_eq!(span.status, Status::Ok);
        let is_reply = span.leg == Leg::Reply;
        (span.name.name(), span.hop, is_reply, span.bytes)
    };
    run.trace.iter().map(row).collect()
}

/// Measures and simulates the net, called `key` in profiles, and checks what every message carries.
fn carries(key: &str, net: &str, request: u64, reply: u64) {
    let dir = tempfile::tempdir().unwrap();
    let measured = run(dir.path(), "measure", net, &[]);

    let mut profile = profile();
    let law = || CostLaw::exact(Driver::Requests, 1e-3, 0.0, "for tests");
    let costs = &mut profile.parts.get_mut("this-machine").unwrap().costs;
    costs.insert(cost::inference(key), law());
    costs.insert(cost::preprocess(key), law());
    let path = dir.path().join("profile.toml");
    profile.save(&path).unwrap();
    let path = path.display().to_string();
    let simulated = run(dir.path(), "simulate", net, &["-p", &path]);

    assert_eq!(sizes(&measured), sizes(&simulated), "{key}");
    let on_wire: BTreeSet<_> = sizes(&measured)
        .into_iter()
        .filter(|(name, ..)| *name == SpanName::Wire.name())
        .collect();
    let wire = |hop, is_reply, bytes| ("wire", Some(hop), is_reply, bytes);
    let expected = [
        wire(0, false, request),
        wire(0, true, reply),
        wire(1, false, request),
        wire(1, true, reply),
    ];
    assert_eq!(on_wire, expected.into(), "{key}");
}

#[test]
fn a_reply_is_both_maps_of_deeplabv3() {
    carries(
        "deeplabv3-resnet50@33+raw",
        "{ name = \"deeplabv3-resnet50\", side = 33, input = { raw = { width = 50, height = 40 } } }",
        3 * 50 * 40,
        2 * 21 * 33 * 33 * 4,
    );
}

#[test]
fn a_reply_is_the_boxes_of_yolov4_at_every_stride() {
    carries(
        "yolov4@64",
        "{ name = \"yolov4\", side = 64 }",
        3 * 64 * 64 * 4,
        255 * (8 * 8 + 4 * 4 + 2 * 2) * 4,
    );
}

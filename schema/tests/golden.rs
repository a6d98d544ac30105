//! What earlier programs wrote is read for ever: one folder of golden files a format version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schema::breakdown::breakdowns;
use schema::profile::{Driver, PartKind, Profile, Residual};
use schema::run::{Outcome, Run, RunKind, SUMMARY_FILE, SpanName, read_json};
use schema::scenario::{ArrivalsFile, Proxy, Scenario, StageRole};
use schema::summary::Summary;
use schema::units::{Bytes, SimDuration};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/format-1")
        .join(file)
}

#[test]
fn a_scenario_of_format_1_means_what_it_meant() {
    let scenario = Scenario::load(&golden("scenario.toml"), &[]).unwrap();
    assert_eq!(scenario.name, "golden");
    assert_eq!(scenario.clients.len(), 3);
    assert_eq!(scenario.core_sets.len(), 2);
    let link = &scenario.links.rows()[1];
    assert_eq!(link.delay, SimDuration::from_ns(1_000));
    assert_eq!(link.rate, "25 Gbit/s".parse().ok());
    let [classify, ingress, spin] = scenario.stages.rows() else {
        panic!("three stages, not {:?}", scenario.stages);
    };
    assert_eq!(ingress.role, StageRole::Proxy(Proxy { pool: None }));
    let StageRole::Serve(serve) = &classify.role else {
        panic!("`classify` serves");
    };
    assert_eq!(serve.work.key(), "squeezenet1.1@32+raw");
    assert_eq!(serve.work.input_bytes(), Bytes(3600));
    assert_eq!(
        (serve.batch.max, serve.batch.delay),
        (2, SimDuration::from_ns(1_000_000))
    );
    assert!(matches!(&spin.role, StageRole::Serve(spin) if spin.work.key() == "synthetic"));
    let bursts = &scenario.groups.rows()[1];
    assert!(matches!(
        bursts.arrivals,
        ArrivalsFile::Poisson { connections: 2, .. }
    ));
    let payloads = bursts
        .classes
        .iter()
        .map(|id| scenario.classes[*id].payload);
    let expected = [10_000, 1_000_000].map(Bytes);
    assert!(payloads.eq(expected));
}

#[test]
fn a_profile_of_format_1_means_what_it_meant() {
    let profile = Profile::load(&golden("profile.toml")).unwrap();
    let run = Run::load(&golden("run")).unwrap();
    let fitted_to = BTreeMap::from([("run".to_owned(), run.manifest.id())]);
    assert_eq!(profile.fitted_to, fitted_to);
    let host = &profile.parts["this-machine"];
    assert_eq!(host.kind, PartKind::Host);
    assert_eq!(profile.parts["loopback"].kind, PartKind::Link);
    let spin = &host.costs["inference/synthetic"];
    assert_eq!(spin.per, Driver::Seconds);
    assert!((0.9..2.0).contains(&spin.slope), "{spin:?}");
    assert_eq!(spin.source, "run");
    assert!(
        host.costs
            .values()
            .any(|law| law.residual != Residual::None)
    );
    let again = Profile::parse(Path::new("again.toml"), profile.to_toml()).unwrap();
    assert_eq!(again, profile);
}

#[test]
fn a_run_of_format_1_gives_the_statistics_it_gave() {
    let run = Run::load(&golden("run")).unwrap();
    assert_eq!(run.manifest.kind, RunKind::Measured);
    assert_eq!(run.manifest.outcome, Outcome::Complete);
    assert!(run.manifest.measured.is_some());
    let summary: Summary = read_json(&golden("run").join(SUMMARY_FILE)).unwrap();
    assert_eq!(run.summary(), summary);
    // What a frozen result cannot tell: three clients sent eight requests each, six of which count,
    // and the parts of each sum to the whole.
    let requests = run.trace.iter().filter(|s| s.name == SpanName::Request);
    assert_eq!((requests.count(), summary.requests), (24, 18));
    for request in breakdowns(&run.trace) {
        let parts: f64 = SpanName::parts().iter().map(|p| request.part_s(*p)).sum();
        let whole = parts + request.other_s();
        assert!((whole - request.end_to_end_s()).abs() < 1e-9, "{request:?}");
    }
}

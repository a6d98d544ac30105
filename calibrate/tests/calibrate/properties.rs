//! Any trace is survived.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use calibrate::{Source, calibrate};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample;
use proptest::test_runner::TestCaseError;
use schema::ids::RequestId;
use schema::profile::Profile;
use schema::run::{Leg, Span, SpanName, Status};
use schema::scenario::Scenario;

use crate::synthetic::{LIGHT, id, run_of, scenario};

/// Of every run.
const REPLICATIONS: u32 = 2;

/// Any times, or times that a span could have.
fn times() -> impl Strategy<Value = [u64; 4]> {
    let length = || prop_oneof![3 => 0..1u64 << 30, 1 => Just(0)];
    let likely = (0..1u64 << 40, length(), length(), length())
        .prop_map(|(ready, wait, work, cpu)| [ready, ready + wait, ready + wait + work, cpu]);
    prop_oneof![4 => likely, 1 => any::<[u64; 4]>()]
}

/// The probes of GPUs.
fn gpu_probes() -> Vec<Scenario> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/probes"));
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut probes: Vec<_> = paths
        .filter(|path| name(path).starts_with("gpu-"))
        .collect();
    probes.sort();
    probes
        .iter()
        .map(|path| Scenario::load(path, &[]).unwrap())
        .collect()
}

fn span() -> impl Strategy<Value = Span> {
    let names = (0..SpanName::ALL.len()).prop_map(|index| SpanName::ALL[index]);
    let ids = (0..2usize, 0..2usize, 20..40u32);
    let rest = (any::<bool>(), any::<bool>(), proptest::option::of(0..2u8));
    let gpu = (0..2u32, proptest::option::of(0..3u32));
    let sizes = (0..4u32, prop_oneof![0..1u64 << 24, any::<u64>()]);
    (names, ids, rest, gpu, sizes, times()).prop_map(
        |(
            name,
            (client, host, seq),
            (reply, failed, hop),
            (context, kernel),
            (batch, bytes),
            times,
        )| Span {
            branch: 0,
            kernel,
            context,
            replication: batch / 2,
            request: RequestId::new(id(client), seq),
            class: id(0),
            stage: id(0),
            host: id(host),
            name,
            hop,
            leg: if reply { Leg::Reply } else { Leg::Request },
            batch,
            bytes,
            ready_ns: times[0],
            start_ns: times[1],
            end_ns: times[2],
            cpu_ns: times[3],
            status: if failed { Status::Failed } else { Status::Ok },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_trace_gives_a_valid_profile_or_an_error(trace in vec(span(), 0..150), two in any::<bool>()) {
        let clients = if two { "clients.0.count=2" } else { "clients.0.count=1" };
        let scenario = scenario(LIGHT, &[clients]);
        check(&scenario, trace, &[("client edge", 0.4), ("proxy none", 1.0)])?;
    }

    #[test]
    fn any_trace_of_a_gpu_gives_a_valid_profile_or_an_error(
        trace in vec(span(), 0..150),
        probe in sample::select(gpu_probes()),
    ) {
        check(&probe, trace, &[])?;
    }
}

/// Whether a profile that is fitted to those of the spans that a run of `scenario` can have is one that
/// can be read, with laws by which no cost is negative.
fn check(
    scenario: &Scenario,
    mut trace: Vec<Span>,
    cpu: &[(&str, f64)],
) -> Result<(), TestCaseError> {
    trace.retain(|span| span.check(scenario, REPLICATIONS).is_ok());
    let mut run = run_of(scenario, trace, cpu);
    run.manifest.replications = REPLICATIONS;
    let sources = [Source {
        name: "a".to_owned(),
        run: &run,
    }];
    if let Ok(calibration) = calibrate("any", &sources) {
        let toml = calibration.profile.to_toml();
        let read = Profile::parse(Path::new("any.toml"), toml).unwrap();
        prop_assert_eq!(read.parts.len(), calibration.profile.parts.len());
        for part in calibration.profile.parts.values() {
            for law in part.costs.values() {
                prop_assert!(law.slope >= 0.0 && law.expected(law.range[0]) >= 0.0);
                prop_assert!(law.base_error >= 0.0 && law.slope_error >= 0.0);
            }
        }
    }
    Ok(())
}

//! Any trace is survived.

use calibrate::{Source, calibrate};
use proptest::collection::vec;
use proptest::prelude::*;
use schema::ids::RequestId;
use schema::run::{Leg, Span, SpanName, Status};

use crate::synthetic::{LIGHT, id, run_of, scenario};

/// Any times, or times that a span could have.
fn times() -> impl Strategy<Value = [u64; 4]> {
    let likely = (0..1u64 << 40, 0..1u64 << 30, 0..1u64 << 30, 0..1u64 << 30)
        .prop_map(|(ready, wait, work, cpu)| [ready, ready + wait, ready + wait + work, cpu]);
    prop_oneof![4 => likely, 1 => any::<[u64; 4]>()]
}

fn span() -> impl Strategy<Value = Span> {
    let names = (0..SpanName::ALL.len()).prop_map(|index| SpanName::ALL[index]);
    let ids = (0..3usize, 0..4usize, 0..3usize, 20..40u32);
    let rest = (any::<bool>(), any::<bool>(), proptest::option::of(0..3u8));
    let sizes = (0..3u32, prop_oneof![0..1u64 << 24, any::<u64>()]);
    (names, ids, rest, sizes, times()).prop_map(
        |(name, (client, stage, host, seq), (reply, failed, hop), (batch, bytes), times)| Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: batch / 2,
            request: RequestId::new(id(client), seq),
            class: id(0),
            stage: id(stage / 2),
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
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_trace_gives_a_valid_profile_or_an_error(trace in vec(span(), 0..150), two in any::<bool>()) {
        let clients = if two { "clients.0.count=2" } else { "clients.0.count=1" };
        let scenario = scenario(LIGHT, &[clients]);
        let run = run_of(&scenario, trace, &[("client edge", 0.4), ("proxy none", 1.0)]);
        let sources = [Source { name: "a".to_owned(), run: &run }];
        if let Ok(calibration) = calibrate("any", &sources) {
            let toml = calibration.profile.to_toml();
            let path = std::path::Path::new("any.toml");
            let read = schema::profile::Profile::parse(path, toml).unwrap();
            prop_assert_eq!(read.parts.len(), calibration.profile.parts.len());
            for part in calibration.profile.parts.values() {
                for law in part.costs.values() {
                    prop_assert!(law.slope >= 0.0 && law.expected(law.range[0]) >= 0.0);
                    prop_assert!(law.base_error >= 0.0 && law.slope_error >= 0.0);
                }
            }
        }
    }
}

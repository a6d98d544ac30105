//! Messages, and a few results as they are: a change here is a change of results, to be explained.

use insta::assert_snapshot;

use super::*;
use crate::{SimError, completions, simulate};

fn error(overrides: &[&str], profile: &Profile) -> String {
    simulate(&scenario(overrides), Some(profile), &OPTIONS)
        .unwrap_err()
        .to_string()
}

#[test]
fn errors_name_what_is_missing_and_who_wants_it() {
    let mut profile = profile();
    profile.parts.remove("gateway");
    assert_snapshot!(error(&[PROXIED], &profile), @"base.toml:8: `hosts.gateway.part`: profile `base` has no part `gateway` (allowed: edge, server, wire)");
    assert_snapshot!(error(&["hosts.edge.part=egde"], &profile), @"base.toml with --set hosts.edge.part=egde: `hosts.edge.part`: profile `base` has no part `egde`, did you mean `edge`? (allowed: edge, server, wire)");
    profile.parts.get_mut("wire").unwrap().costs.clear();
    assert_snapshot!(error(&[], &profile), @"base.toml:13: `links.0.part`: part `wire` of profile `base` has no cost `delay/tcp` (allowed: (none))");
    let server = profile.parts.get_mut("server").unwrap();
    server.costs.remove("dispatch");
    assert_snapshot!(error(&[], &profile), @"base.toml:9: `hosts.server.part`: part `server` of profile `base` has no cost `dispatch` (allowed: d2h, h2d, inference/squeezenet1.1@224+raw, inference/synthetic, notify, postprocess, prepare, preprocess/squeezenet1.1@224+raw, receive/tcp, send/tcp, translate)");
}

#[test]
fn an_unused_part_may_be_missing() {
    let mut profile = profile();
    profile.parts.remove("gateway");
    simulate(&scenario(&[]), Some(&profile), &OPTIONS).unwrap();
}

#[test]
fn errors_name_what_cannot_be_used() {
    let mut profile = profile();
    law(&mut profile, "edge", "prepare").per = Driver::Seconds;
    assert_snapshot!(error(&[], &profile), @"base.toml:7: `hosts.edge.part`: cost `prepare` of part `edge` is per second of work asked for, which only synthetic inference has (allowed: bytes, requests)");
    set_contention(&mut profile, "server", -0.5);
    assert_snapshot!(error(&[], &profile), @"base.toml:9: `hosts.server.part`: parameter `contention` of part `server` must be a number from 0 up, found -0.5");
    let none = Options {
        replications: 0,
        ..OPTIONS
    };
    assert_snapshot!(simulate(&scenario(&[]), Some(&super::profile()), &none).unwrap_err(), @"the number of replications must be at least 1, found 0");
    let lost = SimError::NotConserved {
        replication: 2,
        sent: 10,
        completed: 9,
    };
    assert_snapshot!(lost, @"replication 2 sent 10 requests and completed 9, which is a fault of the engine");
    let late = SimError::LittlesLaw {
        replication: 2,
        difference_ps: -7,
    };
    assert_snapshot!(late, @"replication 2 breaks Little's law by -7 ps, which is a fault of the engine");
    let long = SimError::Unsupported {
        wanted_by: "a.toml:7: `clients.0.path`".to_owned(),
        what: "a path of 300 hops (at most 255)".to_owned(),
    };
    assert_snapshot!(long, @"a.toml:7: `clients.0.path`: a path of 300 hops (at most 255) cannot be simulated");
}

#[test]
fn a_loop_that_never_ends_is_refused() {
    let mut profile = only_inference(Residual::None);
    law(&mut profile, "server", "inference/synthetic").slope = 0.0;
    let overrides = [
        "clients.0.arrivals={ closed-loop = {} }",
        "run.measure={ time = \"1 s\" }",
        "links.0={ between = [\"edge\", \"server\"], rate = \"1 GB/s\" }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
        "stages.classify.serve.synthetic.output=\"0 B\"",
    ];
    assert_snapshot!(error(&overrides, &profile), @"client cameras/0 never gets on: its requests take no time and neither does its thinking, so the measured time never passes; give some cost or think time, or measure a number of requests");
    let by_requests = [&overrides[..], &["run.measure={ requests = 5 }"]].concat();
    let served = completions(&scenario(&by_requests), &profile, &OPTIONS).unwrap();
    assert_eq!(served[0].completions.len(), 5);
}

#[test]
fn a_law_used_outside_its_range_is_named_once() {
    let mut profile = profile();
    law(&mut profile, "edge", "send/tcp").range = [100.0, 5000.0];
    law(&mut profile, "server", "receive/tcp").range = [100.0, 10_000.0];
    law(&mut profile, "server", "inference/synthetic").range = [0.01, 0.1];
    law(&mut profile, "gateway", "send/tcp").range = [0.0, 1.0];
    let options = Options {
        replications: 2,
        ..OPTIONS
    };
    let overrides = [r#"clients.0.classes=[
        { name = "small", share = 1, payload = "50 B" }, { name = "big", share = 1, payload = "9 kB" }]"#];
    let run = simulate(&scenario(&overrides), Some(&profile), &options).unwrap();
    assert_snapshot!(run.manifest.warnings.join("\n"), @r"
    extrapolates: cost `inference/synthetic` of part `server` was fitted on 0.01 to 0.1 seconds and is used for 0.001; measure it there
    extrapolates: cost `receive/tcp` of part `server` was fitted on 100 to 10000 bytes and is used for 50 to 9000; measure it there
    extrapolates: cost `send/tcp` of part `edge` was fitted on 100 to 5000 bytes and is used for 50 to 9000; measure it there
    ");
}

/// A regression freeze, not a check of correctness.
#[test]
fn a_small_scenario_keeps_its_results() {
    let overrides = [
        PROXIED,
        "clients.0.count=2",
        "run.measure.requests=3",
        r#"clients.0.arrivals={ poisson = { rate = "500 /s", connections = 2 } }"#,
        "stages.classify.serve.synthetic.input=\"150 kB\"",
    ];
    let served = completions(&scenario(&overrides), &random_profile(), &OPTIONS).unwrap();
    let lines: Vec<String> = (served[0].completions.iter())
        .map(|c| {
            let [ready, end] = [c.ready, c.end].map(SimTime::as_ps);
            format!("{:#x} {ready} {end}", c.request.as_u64())
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r"
    0x100000000 58323719 4134030203
    0x100000001 1690220414 5287030019
    0x0 3754178464 6649612018
    0x1 4134568001 7317312627
    0x100000002 2150392908 7952909386
    0x2 5367691407 8456931812
    ");
}

//! What holds in every run, on random small scenarios.

use proptest::prelude::*;
use schema::breakdown::breakdowns;
use schema::run::{Run, Span, SpanName};
use schema::summary::windows;

use super::*;
use crate::simulate;

/// Overrides of the base scenario that touch everything the engine does.
fn overrides() -> impl Strategy<Value = Vec<String>> {
    let arrivals = prop_oneof![
        Just("{ closed-loop = {} }"),
        Just("{ closed-loop = { think = { exponential = \"1 ms\" } } }"),
        Just("{ poisson = { rate = \"400 /s\", connections = 2 } }"),
        Just("{ deterministic = { rate = \"300 /s\", connections = 8 } }"),
    ];
    let extents = prop_oneof![
        Just("{ measure = { requests = 6 } }"),
        Just("{ warmup = { requests = 3 }, measure = { requests = 5 } }"),
        Just("{ measure = { time = \"20 ms\" } }"),
        Just("{ warmup = { time = \"5 ms\" }, measure = { time = \"15 ms\" } }"),
    ];
    let server = (1u32..4, 1u32..5, 0u32..2000, 0u32..200_000, 1u32..3);
    let policies = prop_oneof![
        Just("round-robin"),
        Just("random"),
        Just("least-outstanding"),
        Just("join-shortest-queue"),
    ];
    let replicas = (1u32..4, 1u32..3, policies, proptest::option::of(1u32..4));
    let load = (arrivals, extents, 1u32..6, any::<bool>(), any::<bool>());
    (server, load, replicas, 0u64..1000).prop_map(|(server, load, replicas, seed)| {
        let (instances, max, delay, bytes, cores) = server;
        let (arrivals, extents, count, is_proxied, is_shared) = load;
        let mut all = vec![
            format!("run={extents}"),
            format!("run.seed={seed}"),
            format!("clients.0.count={count}"),
            format!("clients.0.arrivals={arrivals}"),
            format!("stages.classify.instances={instances}"),
            format!("stages.classify.batch={{ max = {max}, delay = \"{delay} us\" }}"),
            format!("stages.classify.serve.synthetic.input=\"{bytes} B\""),
            format!("hosts.server.cores={cores}"),
        ];
        if is_proxied {
            all.push(PROXIED.to_owned());
        }
        if is_shared {
            let host = r#"{ part = "server", cores = 4 }"#;
            all.push(format!(
                "hosts={{ edge = {host}, gateway = {host}, server = {host} }}"
            ));
            all.push(
                "placement={ local = { pin = { edge = [0], gateway = [1] , server = [2, 3] } } }"
                    .to_owned(),
            );
        } else {
            let (servers, gateways, policy, pool) = replicas;
            all.push(format!("hosts.server.count={servers}"));
            all.push(format!("hosts.gateway.count={gateways}"));
            all.push(format!("stages.ingress.proxy.balance={policy}"));
            all.extend(pool.map(|n| format!("stages.ingress.proxy.pool={n}")));
        }
        all
    })
}

fn run(overrides: &[String]) -> Run {
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let mut profile = random_profile();
    set_contention(&mut profile, "server", 0.3);
    simulate(&scenario(&overrides), Some(&profile), &OPTIONS).unwrap()
}

/// The spans of each request, in the order of requests.
fn by_request(run: &Run) -> Vec<Vec<&Span>> {
    let mut spans: Vec<&Span> = run.trace.iter().collect();
    spans.sort_by_key(|span| span.request);
    spans
        .chunk_by(|a, b| a.request == b.request)
        .map(<[&Span]>::to_vec)
        .collect()
}

fn count(spans: &[&Span], name: SpanName) -> usize {
    spans.iter().filter(|span| span.name == name).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_request_has_every_span_once(overrides in overrides()) {
        let run = run(&overrides);
        let hops = run.scenario.groups.rows()[0].path.len();
        let ingress = &run.scenario.file().stages["ingress"];
        let has_pool = hops > 1 && ingress.proxy.as_ref().unwrap().pool.is_some();
        for spans in by_request(&run) {
            for name in SpanName::ALL.into_iter().filter(|name| !name.is_detail()) {
                let expected = match name {
                    SpanName::Send | SpanName::Wire | SpanName::Receive => 2 * hops,
                    SpanName::Translate => 2 * (hops - 1),
                    SpanName::Queue if has_pool => 2,
                    SpanName::Preprocess | SpanName::Service => 0,
                    _ => 1,
                };
                prop_assert_eq!(count(&spans, name), expected, "{:?}", name);
            }
        }
        for (client, row) in run.scenario.clients.iter() {
            let mut numbers: Vec<u32> = (run.trace.iter())
                .filter(|s| s.name == SpanName::Request && s.request.client() == client)
                .map(|s| s.request.seq())
                .collect();
            numbers.sort_unstable();
            prop_assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{:?}", row);
        }
    }

    #[test]
    fn nothing_happens_before_its_cause(overrides in overrides()) {
        let run = run(&overrides);
        for spans in by_request(&run) {
            let whole = spans.iter().find(|s| s.name == SpanName::Request).unwrap();
            for span in &spans {
                prop_assert!(span.ready_ns <= span.start_ns && span.start_ns <= span.end_ns);
                prop_assert!(whole.ready_ns <= span.ready_ns && span.end_ns <= whole.end_ns);
                // Core time is demand at full speed, so it fits the service; both are rounded down.
                let is_message = matches!(span.name, SpanName::Send | SpanName::Receive);
                if span.cpu_ns > 0 && !is_message {
                    prop_assert!(span.cpu_ns <= span.end_ns - span.start_ns + 1, "{:?}", span);
                }
            }
            // In the order in which they ended, only the wire and the receiver overlap a sender.
            let parts: Vec<_> = spans.iter().filter(|s| s.name != SpanName::Request).collect();
            for pair in parts.windows(2) {
                let is_message = matches!(pair[1].name, SpanName::Wire | SpanName::Receive);
                prop_assert!(is_message || pair[0].end_ns <= pair[1].ready_ns, "{:?}", pair);
            }
        }
    }

    /// Every instant of a request belongs to some span.
    #[test]
    fn the_spans_of_a_request_cover_it(overrides in overrides()) {
        for breakdown in breakdowns(&run(&overrides).trace) {
            let sum: f64 = SpanName::parts().iter().map(|name| breakdown.part_s(*name)).sum();
            prop_assert!((sum - breakdown.end_to_end_s()).abs() < 1e-12);
        }
    }

    #[test]
    fn batches_keep_to_their_size_delay_and_instances(overrides in overrides()) {
        let run = run(&overrides);
        let stage = &run.scenario.file().stages["classify"];
        let batch = stage.batch.as_ref().unwrap();
        let n_servers = run.scenario.file().hosts["server"].count;
        let at_server = |s: &&Span| run.scenario.stages[s.stage].name == "classify";
        let of = |name| run.trace.iter().filter(at_server).filter(move |s| s.name == name);
        let n_batches = of(SpanName::Queue).map(|s| s.batch).max().map_or(0, |n| n + 1);
        let mut changes = Vec::new();
        for number in 0..n_batches {
            let size = of(SpanName::Inference).filter(|s| s.batch == number).count();
            prop_assert!(size <= batch.max as usize);
            // Of several replicas each numbers its own, and some may have fewer.
            if size == 0 && n_servers > 1 {
                continue;
            }
            prop_assert!(size > 0);
            let hosts = of(SpanName::Inference).filter(|s| s.batch == number).map(|s| s.host);
            let hosts: Vec<_> = hosts.collect();
            prop_assert!(hosts.iter().all(|host| *host == hosts[0]));
            let start = of(SpanName::Queue).find(|s| s.batch == number).unwrap().end_ns;
            let end = of(SpanName::D2h).filter(|s| s.batch == number).map(|s| s.end_ns).max();
            changes.extend([(start, 1), (end.unwrap(), -1)]);
        }
        changes.sort_unstable();
        let mut busy = 0;
        for (_, change) in changes {
            busy += change;
            prop_assert!(busy <= i64::from(stage.instances.unwrap() * n_servers));
        }
    }

    /// The engine and the summary agree on the window, and no core works more than all of it.
    #[test]
    fn core_time_fits_the_measured_window(overrides in overrides()) {
        let run = run(&overrides);
        let (start, end) = windows(&run)[0];
        for cpu in &run.manifest.cpu {
            let window_s = (end - start) as f64 / 1e9;
            prop_assert!((cpu.window_s - window_s).abs() < 1e-12, "{:?} {}", cpu, window_s);
            prop_assert!(cpu.busy_s >= 0.0 && cpu.busy_s <= 4.0 * (cpu.window_s + 1e-9));
        }
    }
}

/// Alone and without contention, core time is the sum of the costs.
#[test]
fn core_time_is_the_sum_of_the_costs() {
    let run = simulate(&scenario(&[PROXIED]), Some(&profile()), &OPTIONS).unwrap();
    let total = |host: &str, is_whole: bool| -> f64 {
        let of_host = |span: &&Span| run.scenario.hosts[span.host].name == host;
        let of_kind = |span: &&Span| (span.name == SpanName::Request) == is_whole;
        let spans = run.trace.iter().filter(of_host).filter(of_kind);
        spans.map(Span::cpu_s).sum()
    };
    assert!((total("edge", true) - total("edge", false)).abs() < 1e-6);
    let used: BTreeMap<&str, f64> = (run.manifest.cpu.iter())
        .map(|cpu| (cpu.role.as_str(), cpu.busy_s))
        .collect();
    let unseen = 20.0 * 1.25 * (13e-6 + 2e-9 + 17e-6 + 3e-9); // dispatch and notify
    let expected = [
        ("client edge", total("edge", false)),
        ("proxy ingress", total("gateway", false)),
        ("server classify", total("server", false) + unseen),
    ];
    assert_eq!(used.len(), 3);
    for (role, expected) in expected {
        assert!(
            (used[role] - expected).abs() < 1e-6,
            "{role}: {} {expected}",
            used[role]
        );
    }
}

//! Which spans become samples of which cost.

use calibrate::{Calibration, FitReport, Source, calibrate};
use schema::ids::RequestId;
use schema::profile::Driver;
use schema::run::{Leg, Run, Span, SpanName};

use crate::synthetic::{LIGHT, id, request, run_of, scenario, span};

const MICROSECOND: u64 = 1_000;

/// A net that takes batches, served on a host of its own.
const BATCHES: &str = r#"
format = 1
name = "batches"

[run]
measure = { requests = 100 }

[hosts]
edge = { part = "this", cores = 2 }
server = { part = "that", cores = 2 }

[[links]]
between = ["edge", "server"]
part = "wire"
rate = "1 Gbit/s"
delay = "5 us"

[stages.classify]
on = "server"
serve = { net = { name = "resnet18", input = { raw = { width = 100, height = 100 } } } }
batch = { max = 4, delay = "1 ms" }

[[clients]]
on = "edge"
count = 4
arrivals = { closed-loop = {} }
path = [{ to = "classify", over = "tcp" }]
"#;

fn fitted(runs: &[&Run]) -> Calibration {
    let source = |run| Source {
        name: "runs/a".to_owned(),
        run,
    };
    let sources: Vec<Source> = runs.iter().copied().map(source).collect();
    calibrate("test", &sources).expect("the runs can be fitted")
}

fn fit<'a>(calibration: &'a Calibration, part: &str, cost: &str) -> &'a FitReport {
    let fits = &calibration.fits;
    let fit = fits
        .iter()
        .find(|fit| (&*fit.part, &*fit.cost) == (part, cost));
    fit.expect("the cost was fitted")
}

/// Batches of `size` requests each, of `100 us · (1 + size)` of core time, twice that on the clock.
fn batches(size: usize, n_batches: u32) -> Vec<Span> {
    let mut trace = Vec::new();
    for batch in 0..n_batches {
        for client in 0..size {
            let who = RequestId::new(id(client), batch);
            let cpu_ns = 100 * MICROSECOND * (1 + size as u64);
            let inference = Span {
                request: who,
                host: id(1),
                batch,
                end_ns: 2 * cpu_ns,
                cpu_ns,
                ..span(SpanName::Inference)
            };
            trace.push(inference);
            trace.push(Span {
                name: SpanName::Preprocess,
                bytes: 30_000,
                ..inference
            });
            trace.push(Span {
                name: SpanName::H2d,
                bytes: 150_528,
                ..inference
            });
            trace.push(request(who));
        }
    }
    trace
}

#[test]
fn a_batch_is_one_sample_of_inference_by_its_requests() {
    let scenario = scenario(BATCHES, &[]);
    let runs: Vec<Run> = [1, 2, 4]
        .iter()
        .map(|size| run_of(&scenario, batches(*size, 30), &[]))
        .collect();
    let calibration = fitted(&runs.iter().collect::<Vec<_>>());
    let inference = &fit(&calibration, "that", "inference/resnet18@224+raw").law;
    assert_eq!((inference.per, inference.samples), (Driver::Requests, 90));
    assert!((inference.range[0], inference.range[1]) == (1.0, 4.0));
    // Four clients: core time, not the time on the clock.
    assert!((inference.base - 100e-6).abs() < 1e-12, "{inference:?}");
    assert!((inference.slope - 100e-6).abs() < 1e-12, "{inference:?}");
    // The raw inputs of a batch at once, its copies one by one.
    let preprocess = &fit(&calibration, "that", "preprocess/resnet18@224+raw").law;
    assert_eq!(preprocess.samples, 90);
    assert!((preprocess.range[1] - 4.0 * 30_000.0).abs() < 0.5);
    let h2d = &fit(&calibration, "that", "h2d").law;
    assert_eq!(h2d.samples, 30 * (1 + 2 + 4));
    assert!((h2d.range[1] - 150_528.0).abs() < 0.5);
}

#[test]
fn loaded_runs_fill_in_the_drivers_that_light_ones_lack() {
    let (light, loaded) = (
        scenario(BATCHES, &["clients.0.count=1"]),
        scenario(BATCHES, &[]),
    );
    let mut both = batches(1, 20);
    // Loaded batches of one take longer; those of the light run are taken instead.
    for span in &mut both {
        span.cpu_ns *= 3;
    }
    let four = batches(4, 20).into_iter().map(|span| Span {
        batch: span.batch + 100,
        request: RequestId::new(span.request.client(), span.request.seq() + 50),
        ..span
    });
    both.extend(four);
    let (light, loaded) = (
        run_of(&light, batches(1, 30), &[]),
        run_of(&loaded, both, &[]),
    );
    let calibration = fitted(&[&light, &loaded]);
    let report = fit(&calibration, "that", "inference/resnet18@224+raw");
    // The light run's time on the clock is 400 us, the loaded run's core time of four is 500 us.
    assert_eq!(report.law.samples, 50);
    assert!((report.law.expected(1.0) - 400e-6).abs() < 1e-9);
    assert!((report.law.expected(4.0) - 500e-6).abs() < 1e-9);
    insta::assert_snapshot!(report.warnings.join("\n"), @"the runs with one request at a time have one driver only: the others come from loaded runs, contention included");
}

#[test]
fn light_samples_alone_are_used_where_they_suffice() {
    let (light, loaded) = (
        scenario(LIGHT, &["run.warmup.requests=0"]),
        scenario(LIGHT, &["run.warmup.requests=0", "clients.0.count=2"]),
    );
    let prepares = |ns_per_byte: u64| -> Vec<Span> {
        let spans = (0..40).flat_map(|seq| {
            let who = RequestId::new(id(0), seq);
            let bytes = 1_000 * (1 + u64::from(seq % 2));
            let prepare = Span {
                request: who,
                bytes,
                end_ns: ns_per_byte * bytes,
                ..span(SpanName::Prepare)
            };
            [prepare, request(who)]
        });
        spans.collect()
    };
    let light = run_of(&light, prepares(1), &[]);
    let loaded = run_of(&loaded, prepares(5), &[]);
    let calibration = fitted(&[&loaded, &light]);
    let law = &fit(&calibration, "this", "prepare").law;
    assert_eq!(law.samples, 40);
    assert!((law.slope - 1e-9).abs() < 1e-15, "{law:?}");
}

/// A message of `bytes` that is received 100 us after it was sent.
fn message(seq: u32, bytes: u64) -> [Span; 3] {
    let who = RequestId::new(id(0), seq);
    let send = Span {
        request: who,
        hop: Some(0),
        bytes,
        end_ns: 10 * MICROSECOND,
        cpu_ns: 10 * MICROSECOND,
        ..span(SpanName::Send)
    };
    let receive = Span {
        name: SpanName::Receive,
        host: id(1),
        ready_ns: 110 * MICROSECOND,
        start_ns: 110 * MICROSECOND,
        end_ns: 120 * MICROSECOND,
        ..send
    };
    [send, receive, request(who)]
}

#[test]
fn the_delay_is_what_the_links_own_rate_and_delay_leave() {
    let scenario = scenario(BATCHES, &["clients.0.count=1"]);
    let trace = (0..20).flat_map(|seq| message(seq, 1_250)).collect();
    let calibration = fitted(&[&run_of(&scenario, trace, &[])]);
    let law = &fit(&calibration, "wire", "delay/tcp").law;
    // 1250 B at 1 Gbit/s take 10 us, and the link adds 5 us.
    assert!((law.base - 85e-6).abs() < 1e-12, "{law:?}");
    assert!((law.range[0], law.range[1]) == (1.0, 1.0));
}

#[test]
fn large_messages_have_no_delay_and_it_is_said() {
    let scenario = scenario(BATCHES, &["clients.0.count=1"]);
    let trace = (0..20).flat_map(|seq| message(seq, 65_537)).collect();
    let calibration = fitted(&[&run_of(&scenario, trace, &[])]);
    assert!(!calibration.profile.parts.contains_key("wire"));
    insta::assert_snapshot!(calibration.warnings.join("\n"), @"`delay/tcp` of part `wire` is left out: every message is larger than 65536 B; add a run with small ones");
}

/// What makes the hop of a scenario one between network adapters.
const OVER_RDMA: [&str; 4] = [
    "clients.0.count=1",
    "clients.0.path.0.over=rdma",
    "hosts.edge.nic.part=adapter",
    "hosts.server.nic.part=adapter",
];

#[test]
fn over_rdma_large_messages_have_a_delay_too() {
    let scenario = scenario(BATCHES, &OVER_RDMA);
    let trace = (0..20).flat_map(|seq| message(seq, 1_250 * (1 + u64::from(seq % 2))));
    let calibration = fitted(&[&run_of(&scenario, trace.collect(), &[])]);
    let law = &fit(&calibration, "wire", "delay/rdma").law;
    // Of 100 us, 5 us are the link's own, and 10 or 20 us the message's at its rate.
    assert_eq!((law.per, law.samples), (Driver::Bytes, 20));
    assert!((law.range[0], law.range[1]) == (1_250.0, 2_500.0));
    let trace = (0..20).flat_map(|seq| message(seq, 65_537));
    let calibration = fitted(&[&run_of(&scenario, trace.collect(), &[])]);
    assert_eq!(fit(&calibration, "wire", "delay/rdma").law.samples, 20);
}

#[test]
fn messages_that_are_read_are_no_samples_and_it_is_said() {
    let read = [&OVER_RDMA[..], &["clients.0.path.0.verb=read"]].concat();
    let scenario = scenario(BATCHES, &read);
    let prepare = |seq| Span {
        name: SpanName::Prepare,
        hop: None,
        ..message(seq, 1_250)[0]
    };
    let trace = (0..20).flat_map(|seq| message(seq, 1_250).into_iter().chain([prepare(seq)]));
    let calibration = fitted(&[&run_of(&scenario, trace.collect(), &[])]);
    let costs: Vec<&str> = calibration.fits.iter().map(|fit| &*fit.cost).collect();
    assert_eq!(costs, ["prepare"]);
    insta::assert_snapshot!(calibration.warnings.join("\n"), @r#"runs/a: 20 messages are left out, for with `verb = "read"` a receiver's span holds a notice, a post and two completions; the engine makes a read of the costs of a run with another verb"#);
}

#[test]
fn a_proxy_between_two_adapters_forwards_and_others_translate() {
    for (over, cost) in [("rdma", "forward"), ("tcp", "translate")] {
        let over = format!(
            "clients.0.path=[{{ to = \"ingress\", over = \"{over}\" }}, {{ to = \"classify\", over = \"rdma\" }}]"
        );
        let more = [
            "stages.ingress={ on = \"edge\", proxy = {} }",
            "stages.classify.batch.max=1",
            "stages.classify.batch.delay=\"0 ms\"",
            &over,
        ];
        let scenario = scenario(BATCHES, &[&OVER_RDMA[..1], &OVER_RDMA[2..], &more].concat());
        let (ingress, _) = (scenario.stages.iter())
            .find(|(_, stage)| stage.name == "ingress")
            .expect("it was added");
        let trace = (0..20).flat_map(|seq| {
            let who = RequestId::new(id(0), seq);
            let translate = Span {
                request: who,
                stage: ingress,
                bytes: 1_250,
                end_ns: 3 * MICROSECOND,
                ..span(SpanName::Translate)
            };
            [translate, request(who)]
        });
        let calibration = fitted(&[&run_of(&scenario, trace.collect(), &[])]);
        let law = &fit(&calibration, "this", cost).law;
        assert_eq!(law.samples, 20);
        assert!((law.expected(1.0) - 3e-6).abs() < 1e-12, "{law:?}");
        assert_eq!(calibration.fits.len(), 1);
    }
}

#[test]
fn notify_is_the_waiting_of_the_servers_reply_alone() {
    let scenario = scenario(LIGHT, &["run.warmup.requests=0"]);
    let trace = (0..20).flat_map(|seq| {
        let [send, _, whole] = message(seq, 1_000);
        let reply = Span {
            leg: Leg::Reply,
            host: id(1),
            ready_ns: 20 * MICROSECOND,
            start_ns: 27 * MICROSECOND,
            end_ns: 30 * MICROSECOND,
            ..send
        };
        [send, reply, whole]
    });
    let calibration = fitted(&[&run_of(&scenario, trace.collect(), &[])]);
    let notify = &fit(&calibration, "this", "notify").law;
    assert_eq!(notify.samples, 20);
    assert!((notify.base - 7e-6).abs() < 1e-12, "{notify:?}");
}

#[test]
fn spans_that_contradict_themselves_are_counted() {
    let scenario = scenario(LIGHT, &["run.warmup.requests=0"]);
    let mut trace: Vec<Span> = (0..20).flat_map(|seq| message(seq, 1_000)).collect();
    trace[0].start_ns = trace[0].end_ns + 1;
    trace[3].hop = Some(7);
    let calibration = fitted(&[&run_of(&scenario, trace, &[])]);
    insta::assert_snapshot!(calibration.warnings.join("\n"), @"runs/a: 2 spans are left out, for they end before they start or name a hop, host or stage that is not there; measure it again");
    assert_eq!(fit(&calibration, "this", "send/tcp").law.samples, 18);
}

#[test]
fn a_run_with_many_samples_does_not_drown_the_others() {
    let scenario = scenario(
        LIGHT,
        &["run.warmup.requests=0", "run.measure.requests=5000"],
    );
    let run = |n: u32, ns: u64| {
        let spans = (0..n).flat_map(|seq| {
            let who = RequestId::new(id(0), seq);
            let prepare = Span {
                request: who,
                bytes: 1_000,
                end_ns: ns,
                ..span(SpanName::Prepare)
            };
            [prepare, request(who)]
        });
        run_of(&scenario, spans.collect(), &[])
    };
    let (fast, slow) = (run(5_000, 1_000), run(1_000, 3_000));
    let calibration = fitted(&[&fast, &slow]);
    let report = fit(&calibration, "this", "prepare");
    // Each counts for 1000.
    assert!((report.law.base - 2e-6).abs() < 1e-12, "{report:?}");
    assert_eq!(report.law.samples, 6_000);
}

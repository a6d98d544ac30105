//! Proxies that pass messages on before they have all of them, worked out chunk by chunk and burst by
//! burst.

use std::path::Path;

use insta::assert_snapshot;
use schema::run::SpanName;
use schema::scenario::Scenario;
use sim::simulate;

use crate::fixture::*;

/// The scenario over two hops, whose proxy cuts through.
fn cut(first: &str, second: &str, bytes: u64, count: u32) -> Scenario {
    let text = text_of(&proxied(first, second), bytes, count);
    Scenario::parse(Path::new("a.toml"), text, &[]).unwrap()
}

fn text_of(path: &str, bytes: u64, count: u32) -> String {
    let scenario = scenario_of(path, bytes, count, "");
    let text = scenario.source().text();
    assert!(text.contains("proxy = {}"));
    text.replace("proxy = {}", "proxy = { forward = \"cut-through\" }")
}

/// Over TCP each chunk goes on when it has been taken, and translating is spread over them.
fn by_tcp(bytes: u64) -> u64 {
    let there = vec![0; bytes.div_ceil(TCP_CHUNK) as usize];
    let at_gateway = tcp_chunks(bytes, &there, 0);
    *tcp_chunks(bytes, &at_gateway, translate(bytes))
        .last()
        .unwrap()
}

#[test]
fn over_tcp_a_message_goes_on_chunk_by_chunk() {
    for bytes in SIZES {
        let served = copy(bytes) + PASS + copy(REPLY);
        let expected = by_tcp(bytes) + served + by_tcp(REPLY);
        let times = times(&cut("tcp", "tcp", bytes, 1));
        assert_eq!(times, [expected; 3], "{bytes} B");
    }
}

/// Between adapters the thread learns of the first burst and posts; each burst is read when it has been
/// written.
fn by_rdma(bytes: u64) -> u64 {
    if bytes <= INLINE {
        return rdma(bytes, EVENT) + FORWARD + rdma(bytes, EVENT);
    }
    let posted = POST + GAP + LATENCY + FETCH;
    let there = vec![posted; bytes.div_ceil(BURST) as usize];
    let at_gateway = written(bytes, &there, host, host);
    let told = at_gateway[0] + LATENCY + EVENT + FORWARD;
    let there: Vec<u64> = at_gateway
        .iter()
        .map(|at| (told + posted).max(*at))
        .collect();
    written(bytes, &there, host, host).last().unwrap() + LATENCY + EVENT
}

#[test]
fn between_adapters_a_message_goes_on_burst_by_burst() {
    for bytes in SIZES {
        let served = copy(bytes) + PASS + copy(REPLY);
        let expected = by_rdma(bytes) + served + by_rdma(REPLY);
        let times = times(&cut("rdma", "rdma", bytes, 1));
        assert_eq!(times, [expected; 3], "{bytes} B");
    }
}

#[test]
fn cutting_through_saves_what_the_second_hop_would_wait_for() {
    for (first, second) in [("tcp", "tcp"), ("rdma", "rdma"), ("rdma", "gdr")] {
        for (bytes, count) in [(1, 1), (602_112, 1), (602_112, 5), (5_000_000, 3)] {
            let stored = scenario_of(&proxied(first, second), bytes, count, "");
            let mean = |scenario: &Scenario| {
                let all = times(scenario);
                assert_eq!(all.len(), 3 * count as usize);
                all.iter().sum::<u64>() / all.len() as u64
            };
            let (stored, cut) = (mean(&stored), mean(&cut(first, second, bytes, count)));
            assert!(cut <= stored, "{first}/{second}, {bytes} B: {cut} {stored}");
            if count == 1 && bytes > 1 {
                assert!(cut < stored, "{first}/{second}, {bytes} B: {cut} {stored}");
            }
        }
    }
}

#[test]
fn both_hops_of_a_message_that_is_passed_on_are_in_the_trace() {
    let run = run(&cut("tcp", "tcp", 602_112, 1));
    let sends = run.trace.iter().filter(|span| span.name == SpanName::Send);
    assert_eq!(sends.count(), 3 * 4);
    let translates = |span: &&schema::run::Span| span.name == SpanName::Translate;
    assert_eq!(run.trace.iter().filter(translates).count(), 0);
}

#[test]
fn proxies_cut_through_only_where_they_can() {
    let refused = |path: &str, change: [&str; 2]| {
        let text = text_of(path, 1000, 1).replace(change[0], change[1]);
        let error = Scenario::parse(Path::new("a.toml"), text, &[]).err();
        error.unwrap().to_string()
    };
    let none = ["", ""];
    let with = |path: &str, option: &str| path.replacen(" }", &format!(", {option} }}"), 1);
    let rdma = proxied("rdma", "rdma");
    assert_snapshot!(refused(&proxied("tcp", "rdma"), none), @"a.toml:30: `stages.ingress.proxy.forward`: cannot be `cut-through` with `tcp` on one side and `rdma` on the other (allowed: store)");
    assert_snapshot!(refused(&with(&rdma, "verb = \"read\""), none), @"a.toml:30: `stages.ingress.proxy.forward`: cannot be `cut-through` with a side with `verb = \"read\"`, which asks for whole messages (allowed: store)");
    assert_snapshot!(refused(&with(&rdma, "completion = \"poll\""), none), @"a.toml:30: `stages.ingress.proxy.forward`: cannot be `cut-through` with a side with `completion = \"poll\"` (allowed: store)");
    let threads = [
        "[stages.classify]",
        "receive-threads = 1\n[stages.classify]",
    ];
    assert_snapshot!(refused(&rdma, threads), @"a.toml:30: `stages.ingress.proxy.forward`: cannot be `cut-through` with `receive-threads`, which take whole messages (allowed: store)");
    let pool = ["proxy = { forward", "proxy = { pool = 1, forward"];
    assert_snapshot!(refused(&rdma, pool), @"a.toml:30: `stages.ingress.proxy.forward`: cannot be `cut-through` with a `pool`, for whose connections whole messages wait (allowed: store)");
    let steps = [
        "[stages.classify]",
        "steps = [{ calls = [{ path = [{ to = \"classify\", over = \"tcp\" }], payload = \"602112 B\", reply = \"1 B\" }] }]\n[stages.classify]",
    ];
    assert_snapshot!(refused(&rdma, steps), @"a.toml:30: `stages.ingress.proxy.forward`: cannot be `cut-through` with `steps`, before which it has the whole message (allowed: store)");
}

/// What keeps count of messages under way is not told of those that are lost or given up.
#[test]
fn nothing_is_given_up_where_messages_are_counted() {
    let refused = |text: &str| {
        let text = text.replace("[[clients]]\n", "[[clients]]\ntimeout = \"1 s\"\n");
        let scenario = Scenario::parse(Path::new("a.toml"), text, &[]).unwrap();
        let error = simulate(&scenario, Some(&profile()), &OPTIONS).err();
        error.unwrap().to_string()
    };
    let of = |path: &str| {
        let scenario = scenario_of(path, 1000, 1, "");
        scenario.source().text().to_owned()
    };
    assert_snapshot!(refused(&text_of(&proxied("tcp", "tcp"), 1000, 1)), @"a.toml:39: `clients.0.timeout`: a `timeout` with proxies that are `cut-through` cannot be simulated");
    let pairs = ", queue-pairs = { count = 1, outstanding = 1 }";
    assert_snapshot!(refused(&of(&direct("rdma", pairs))), @"a.toml:39: `clients.0.timeout`: a `timeout` with hops with `queue-pairs` cannot be simulated");
    let window = ", tcp = { send-buffer = \"64 KiB\" }";
    assert_snapshot!(refused(&of(&direct("tcp", window))), @"a.toml:39: `clients.0.timeout`: a `timeout` with hops with `tcp` buffers or windows cannot be simulated");
}

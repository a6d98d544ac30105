//! What hops over network adapters share, keep and pay for.

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;
use schema::profile::{PartKind, Profile};
use schema::run::{Leg, SpanName};
use schema::scenario::{Scenario, to_toml};
use sim::{SimError, completions, simulate};

use crate::fixture::*;

#[test]
fn memory_registered_for_each_message_costs_core_time_by_pages() {
    for bytes in SIZES {
        for (page, profile) in [
            (4096, with(&[], &[])),
            (65_536, with(&[], &[("page-size", 65_536.0)])),
        ] {
            let took = |options: &str| {
                times_with(
                    &scenario_of(&direct("rdma", options), bytes, 1, ""),
                    &profile,
                )[0]
            };
            let registered = |bytes: u64| 2_000_000 + bytes.div_ceil(page) * page / 4 * 1_000;
            let request = if bytes > INLINE { registered(bytes) } else { 0 };
            let more = took(r#", registration = "each""#) - took("");
            assert_eq!(
                more,
                request + registered(REPLY),
                "{bytes} B, pages of {page} B"
            );
        }
    }
    let refused = |path: &str, profile: &Profile| {
        let text = scenario_of(&direct("rdma", ""), 1000, 1, "")
            .source()
            .text()
            .to_owned();
        let text = text.replace(&direct("rdma", ""), path);
        match Scenario::parse(Path::new("a.toml"), text, &[]) {
            Err(error) => error.to_string(),
            Ok(scenario) => completions(&scenario, profile, &OPTIONS)
                .err()
                .unwrap()
                .to_string(),
        }
    };
    let each = r#", registration = "each""#;
    assert_snapshot!(refused(&direct("gdr", each), &profile()), @"a.toml:42: `clients.0.path.0.registration`: must be `once` over `gdr`, which registers buffers of the GPU for each connection; found `each`");
    assert_snapshot!(refused(&direct("tcp", each), &profile()), @"a.toml:42: `clients.0.path.0.registration`: is for hops over `rdma` or `gdr`, found `each` on one over `tcp`");
    assert_snapshot!(refused(&direct("rdma", each), &profile()), @"a.toml:6: `hosts.edge.part`: part `no-time` of profile `ideal` has no cost `register` (allowed: completion/event, completion/poll, dispatch, forward, notify, post/rdma, postprocess, prepare, receive/local, receive/tcp, send/local, send/tcp, translate)");
}

#[test]
fn each_verb_has_headers_of_its_own() {
    let headers = [
        ("verb-header/write-with-immediate", 20.0),
        ("verb-header/read", 8.0),
        ("verb-header/read-request", 16.0),
    ];
    let profile = with(&headers, &[]);
    // There and back.
    let verbs = [
        ("write-with-immediate", 2 * 20),
        ("send", 0),
        ("read", 2 * (8 + 16)),
    ];
    for bytes in SIZES {
        for (verb, more) in verbs {
            let path = direct("rdma", &format!(r#", verb = "{verb}""#));
            let scenario = scenario_of(&path, bytes, 1, "");
            let times = times_with(&scenario, &profile);
            let without = times_with(&scenario, &with(&[], &[]));
            assert_eq!(times[0] - without[0], on_wire(more), "{bytes} B by {verb}");
        }
    }
}

/// Three clients post at once to one queue pair, which has one work request outstanding: each message
/// goes when the one before is acknowledged, a propagation delay after all of it has arrived.
#[test]
fn what_a_queue_pair_may_not_have_outstanding_waits() {
    const PROPAGATION: u64 = 1_000_000;
    let arrivals = |bytes: u64, pairs: &str| {
        let path = direct("rdma", pairs);
        let run = run(&scenario_of(&path, bytes, 3, ""));
        let wires = run.trace.iter().filter(|span| span.name == SpanName::Wire);
        let first = wires.filter(|span| span.leg == Leg::Request && span.request.seq() == 0);
        let mut ends: Vec<u64> = first.map(|span| span.end_ns).collect();
        ends.sort_unstable();
        ends
    };
    for bytes in SIZES {
        let (fetch, read): (_, fn(u64) -> u64) = match bytes {
            ..=INLINE => (0, |_| 0),
            _ => (FETCH, host),
        };
        let to_wire = GAP + LATENCY + fetch;
        let acknowledged = to_wire + bursts(bytes, read, |_| 0) + PROPAGATION;
        let arrived = POST + to_wire + bursts(bytes, read, host) + LATENCY;
        // A trace is in whole nanoseconds.
        let expected = [0, 1, 2].map(|before| (arrived + before * acknowledged) / 1000);
        let one = r#", queue-pairs = { count = 1, outstanding = 1 }"#;
        assert_eq!(arrivals(bytes, one), expected, "{bytes} B");
        // With room for all, or a queue pair each, nothing waits.
        let free = arrivals(bytes, "");
        for pairs in [
            "{ count = 1, outstanding = 3 }",
            "{ count = 3, outstanding = 1 }",
        ] {
            let pairs = format!(", queue-pairs = {pairs}");
            assert_eq!(arrivals(bytes, &pairs), free, "{bytes} B");
        }
        assert!(free[2] < expected[2], "{bytes} B");
    }
}

/// Three connections take turns, each through both adapters. Where contexts of two fit, the least
/// recently used has always gone: each message is later by a fetch at each adapter.
#[test]
fn queue_pairs_beyond_the_cache_cost_a_fetch_a_message_at_each_end() {
    let turns = |bytes: u64, contexts: &[(&str, f64)]| {
        let text = scenario_of(&direct("rdma", ""), bytes, 3, "")
            .source()
            .text()
            .to_owned();
        // Far apart, one client after the other.
        let one = text.find("[[clients]]").unwrap();
        let group = |at: &str| {
            text[one..].replace("count = 3\n", "").replace(
                "{ closed-loop = {} }",
                &format!("{{ times = {{ at = [{at}], connections = 1 }} }}"),
            )
        };
        let groups = [
            r#""0 s", "30 ms""#,
            r#""10 ms", "40 ms""#,
            r#""20 ms", "50 ms""#,
        ]
        .map(group);
        let text = format!("{}{}", &text[..one], groups.concat())
            .replace("measure = { requests = 3 }", "measure = { time = \"1 s\" }");
        let scenario = Scenario::parse(Path::new("a.toml"), text, &[]).unwrap();
        times_with(&scenario, &with(contexts, &[]))
    };
    // Of a message of many bursts the receiver's adapter fetches while the next burst is on the wire.
    for (bytes, fetches) in [(1_000, 2), (100_000, 1)] {
        let free = turns(bytes, &[]);
        assert_eq!(turns(bytes, &[("qp-cache", 3.0)]), free);
        let some = turns(bytes, &[("qp-cache", 2.0)]);
        let later = some.iter().zip(&free).map(|(some, none)| some - none);
        let later: Vec<u64> = later.collect();
        // The first two find room; a reply follows its request, so that it finds the context.
        let missed = fetches * FETCH;
        assert_eq!(later, [0, 0, missed, missed, missed, missed], "{bytes} B");
    }
}

/// Messages of two clients share engines and wire burst by burst: both take about twice as long as one
/// alone.
#[test]
fn messages_share_an_adapter_in_turn() {
    let bytes = 100 * BURST;
    let first_two = |count| {
        let run = run(&scenario_of(&direct("rdma", ""), bytes, count, ""));
        let wires = run.trace.iter().filter(|span| span.name == SpanName::Wire);
        let requests = wires.filter(|span| span.leg == Leg::Request && span.request.seq() == 0);
        requests
            .map(|span| (span.end_ns - span.start_ns) as f64)
            .collect::<Vec<_>>()
    };
    let (alone, both) = (first_two(1), first_two(2));
    assert_eq!((alone.len(), both.len()), (1, 2));
    for time in both {
        let ratio = time / alone[0];
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }
}

/// A copy to the GPU takes longer while an adapter writes to the memory of the GPU over the same link.
#[test]
fn gdr_shares_the_link_of_the_gpu_with_copies() {
    let copies = |others: &str| {
        let group =
            "]\n\n[[clients]]\non = \"edge\"\ncount = 4\narrivals = { closed-loop = {} }\npath = [";
        let path = format!("{}{group}{}", direct("rdma", ""), direct(others, ""));
        let mut profile = profile();
        let gpu = profile.parts.get_mut("two-sms").unwrap();
        gpu.parameters
            .insert("pcie-bandwidth".to_owned(), parameter(10e9));
        let scenario = scenario_of(&path, 10_000_000, 1, "");
        let run = simulate(&scenario, Some(&profile), &OPTIONS).unwrap();
        let spans = run.trace.iter().filter(|span| span.name == SpanName::H2d);
        spans.map(|span| span.end_ns - span.start_ns).max().unwrap()
    };
    let alone = copy(10_000_000) / 1000;
    assert_eq!(copies("rdma"), alone, "copies queue for one engine");
    let beside = copies("gdr");
    assert!(beside as f64 > 1.1 * alone as f64, "{beside} {alone}");
}

/// Adapters that move messages to and from the memory of the host slow copies to the GPU, if that
/// memory has no more bandwidth than the copies need; over GPUDirect RDMA they do not.
#[test]
fn rdma_shares_the_memory_of_the_host_with_copies() {
    const BYTES: u64 = 10_000_000;
    let copies = |others: &str, memory: f64| {
        let group =
            "]\n\n[[clients]]\non = \"edge\"\ncount = 4\narrivals = { closed-loop = {} }\npath = [";
        let path = format!("{}{group}{}", direct("rdma", ""), direct(others, ""));
        let mut profile = profile();
        let host = profile.parts.get_mut("no-time").unwrap();
        host.parameters
            .insert("memory-bandwidth".to_owned(), parameter(memory));
        let scenario = scenario_of(&path, BYTES, 1, "");
        let run = simulate(&scenario, Some(&profile), &OPTIONS).unwrap();
        let spans = run.trace.iter().filter(|span| span.name == SpanName::H2d);
        spans.map(|span| span.end_ns - span.start_ns).max().unwrap()
    };
    let alone = copy(BYTES) / 1000;
    let enough = BYTES as f64 / (alone as f64 * 1e-9) + 1e9;
    assert_eq!(copies("gdr", enough), alone);
    assert_eq!(copies("rdma", 1e15), alone);
    let beside = copies("rdma", enough);
    assert!(beside as f64 > 1.1 * alone as f64, "{beside} {alone}");
}

/// `scenario` with adapter and GPU of the server at the other socket than its cores and memory.
fn far(scenario: &Scenario) -> Scenario {
    let overrides = ["nic", "gpus.0"].map(|what| format!("hosts.server.{what}.socket=far"));
    Scenario::parse(Path::new("a.toml"), to_toml(scenario.file()), &overrides).unwrap()
}

/// The adapter's completion of a request crosses once; its doorbell of a reply once, its read of the
/// reply twice; the copy to the GPU three times, and that from it twice.
#[test]
fn what_is_at_the_other_socket_is_so_many_words_away() {
    const WORD: u64 = 70_000;
    let mut profile = profile();
    let host = profile.parts.get_mut("no-time").unwrap();
    let numbers = [
        ("socket-bandwidth", 1e15),
        ("socket-latency", WORD as f64 * 1e-12),
    ];
    host.parameters
        .extend(numbers.map(|(name, value)| (name.to_owned(), parameter(value))));
    for bytes in SIZES {
        let served = copy(bytes) + PASS + copy(REPLY);
        let near = rdma(bytes, EVENT) + served + rdma(REPLY, EVENT);
        let scenario = far(&scenario_of(&direct("rdma", ""), bytes, 1, ""));
        let served = completions(&scenario, &profile, &OPTIONS)
            .unwrap()
            .remove(0);
        for completion in served.completions {
            let found = completion.end.since(completion.ready).as_ps();
            assert_eq!(found, near + 9 * WORD, "{bytes} B");
        }
    }
}

/// What joins the sockets carries a byte a nanosecond, less than the link of the GPU.
#[test]
fn what_joins_sockets_limits_copies() {
    const BYTES: u64 = 10_000_000;
    let times = |bandwidth: f64| {
        let mut profile = profile();
        let host = profile.parts.get_mut("no-time").unwrap();
        host.parameters
            .insert("socket-bandwidth".to_owned(), parameter(bandwidth));
        let scenario = far(&scenario_of(&direct("rdma", ""), BYTES, 1, ""));
        let run = simulate(&scenario, Some(&profile), &OPTIONS).unwrap();
        let mut spans = run.trace.iter().filter(|span| span.name == SpanName::H2d);
        spans
            .next()
            .map(|span| span.end_ns - span.start_ns)
            .unwrap()
    };
    assert_eq!(times(1e15), copy(BYTES) / 1000);
    assert_eq!(times(1e9), copy(0) / 1000 + BYTES);
}

#[test]
fn polling_keeps_cores_busy_and_sleeping_does_not() {
    let busy = |completion: &str| {
        let options = format!(r#", completion = "{completion}""#);
        let run = run(&scenario_of(&direct("rdma", &options), 1000, 8, ""));
        let cpu = run.manifest.cpu.iter();
        cpu.map(|use_of| (use_of.role.clone(), use_of.busy_s / use_of.window_s))
            .collect::<BTreeMap<String, f64>>()
    };
    let (event, poll) = (busy("event"), busy("poll"));
    assert!(event.values().all(|cores| *cores < 0.1), "{event:?}");
    // Each of eight clients has a request under way all along; the threads of the server poll but
    // while a request of their client is served.
    assert!(poll["client edge"] > 7.0, "{poll:?}");
    assert!(poll["server classify"] < 1.0, "{poll:?}");
}

#[test]
fn threads_that_receive_for_all_poll_while_they_have_nothing_to_do() {
    let path = direct("rdma", r#", completion = "poll""#);
    let run = run(&scenario_of(&path, 1000, 8, "receive-threads = 2"));
    let server = run
        .manifest
        .cpu
        .iter()
        .find(|row| row.role == "server classify");
    let server = server.unwrap();
    let cores = server.busy_s / server.window_s;
    assert!((1.9..2.1).contains(&cores), "{cores}");
}

#[test]
fn connections_over_gdr_keep_memory_of_the_gpu() {
    let refused = |memory: f64, stage: &str| {
        let mut profile = profile();
        let gpu = profile.parts.get_mut("two-sms").unwrap();
        gpu.parameters
            .insert("memory".to_owned(), parameter(memory));
        let scenario = scenario_of(&direct("gdr", ""), 99_900_000, 8, stage);
        simulate(&scenario, Some(&profile), &OPTIONS)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(refused(8e8, ""), None);
    assert_snapshot!(refused(7.9e8, "").unwrap(), @"a.toml:8: `hosts.server.gpus.0.part`: a device of part `two-sms` has 0.79 GB of memory, and is asked for 8 x 0.10 GB for buffers of connections; 7 connections would fit");
}

#[test]
fn adapters_are_of_parts_that_are_adapters() {
    let refused = |change: &dyn Fn(&mut Profile)| {
        let mut profile = profile();
        change(&mut profile);
        let scenario = scenario_of(&direct("gdr", ""), 1000, 1, "");
        let error: SimError = simulate(&scenario, Some(&profile), &OPTIONS).err().unwrap();
        error.to_string()
    };
    let nic = |profile: &mut Profile, name: &str, value: f64| {
        let part = profile.parts.get_mut("nic").unwrap();
        part.parameters.insert(name.to_owned(), parameter(value));
    };
    assert_snapshot!(refused(&|p| drop(p.parts.remove("nic"))), @"a.toml:6: `hosts.edge.nic.part`: profile `ideal` has no part `nic` (allowed: no-time, switch, two-sms, two-sms-two-queues)");
    assert_snapshot!(refused(&|p| p.parts.get_mut("nic").unwrap().kind = PartKind::Link), @"a.toml:6: `hosts.edge.nic.part`: part `nic` is no network adapter (its `kind` must be nic)");
    assert_snapshot!(refused(&|p| nic(p, "path-mtu", 0.0)), @"a.toml:6: `hosts.edge.nic.part`: parameter `path-mtu` of part `nic` must be from 1 up, found 0");
    assert_snapshot!(refused(&|p| nic(p, "gdr-read-factor/root-complex", 2.0)), @"a.toml:8: `hosts.server.nic.part`: parameter `gdr-read-factor/root-complex` of part `nic` must be from 0.001 to 1, found 2");
    let host = |profile: &mut Profile, name: &str| {
        let part = profile.parts.get_mut("no-time").unwrap();
        part.parameters.insert(name.to_owned(), parameter(0.0));
    };
    assert_snapshot!(refused(&|p| host(p, "memory-bandwidth")), @"a.toml:6: `hosts.edge.part`: parameter `memory-bandwidth` of part `no-time` must be from 1 up, found 0");
    assert_snapshot!(refused(&|p| host(p, "root-complex-bandwidth")), @"a.toml:6: `hosts.edge.part`: parameter `root-complex-bandwidth` of part `no-time` must be from 1 up, found 0");
    let scenario = far(&scenario_of(&direct("gdr", ""), 1000, 1, ""));
    let error = simulate(&scenario, Some(&profile()), &OPTIONS)
        .err()
        .unwrap();
    assert_snapshot!(error, @"a.toml:29: `hosts.server.part`: part `no-time` has no parameter `socket-bandwidth`, which is needed");
    let without = |cost: &'static str| {
        refused(&move |p| {
            for part in p.parts.values_mut() {
                part.costs.remove(cost);
            }
        })
    };
    assert_snapshot!(without("post/rdma"), @"a.toml:6: `hosts.edge.part`: part `no-time` of profile `ideal` has no cost `post/rdma` (allowed: completion/event, completion/poll, dispatch, forward, notify, postprocess, prepare, receive/local, receive/tcp, send/local, send/tcp, translate)");
    assert_snapshot!(without("completion/event"), @"a.toml:8: `hosts.server.part`: part `no-time` of profile `ideal` has no cost `completion/event`, did you mean `completion/poll`? (allowed: completion/poll, dispatch, forward, notify, post/rdma, postprocess, prepare, receive/local, receive/tcp, send/local, send/tcp, translate)");
    assert_snapshot!(without("delay/rdma"), @"a.toml:24: `links.2.part`: part `switch` of profile `ideal` has no cost `delay/rdma`, did you mean `delay/tcp`? (allowed: delay/tcp)");
}

#[test]
fn bursts_by_packets_arrive_as_those_of_a_fluid() {
    for (bytes, verb) in [(1, ""), (8_192, ""), (602_112, r#", verb = "read""#)] {
        let text = scenario_of(&direct("rdma", verb), bytes, 1, "");
        let text = text.source().text().to_owned();
        let rate = format!("rate = \"{RATE}\"");
        let packets = text.replace(
            &rate,
            &format!("{rate}\nethernet = {{ mode = \"packets\" }}"),
        );
        let of = |text: String| times(&Scenario::parse(Path::new("a.toml"), text, &[]).unwrap());
        assert_eq!(of(packets), of(text), "{bytes} B{verb}");
    }
}

/// Two hosts send as fast as they can to one behind a buffer of a few packets.
#[test]
fn rdma_loses_nothing_where_a_buffer_is_full() {
    let text = scenario_of(&direct("rdma", ""), 5_000_000, 2, "");
    let text = text.source().text();
    let [links, stages] = ["[[links]]", "[stages.ingress]"].map(|at| text.find(at).unwrap());
    let fabric = format!(
        "[fabric.star]\nrate = \"{RATE}\"\npart = \"switch\"\nethernet = {{ mode = \"packets\", buffer = \"16 KiB\" }}\n\n"
    );
    let clients = &text[text.find("[[clients]]").unwrap()..];
    let others = clients.replace("on = \"edge\"", "on = \"gateway\"");
    let text = [&text[..links], &fabric, &text[stages..], "\n", &others].concat();
    let run = run(&Scenario::parse(Path::new("a.toml"), text, &[]).unwrap());
    assert!(
        run.manifest.warnings.is_empty(),
        "{:?}",
        run.manifest.warnings
    );
    let whole = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request);
    assert_eq!(whole.count(), 2 * 2 * 3);
}

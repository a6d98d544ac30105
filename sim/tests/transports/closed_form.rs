//! An unloaded request takes the sum of its parts to the picosecond.

use schema::profile::cost;
use schema::run::SpanName;

use crate::fixture::*;

#[test]
fn an_unloaded_message_between_adapters_takes_its_closed_form() {
    for bytes in SIZES {
        for (options, completion) in [("", EVENT), (r#", completion = "poll""#, POLL)] {
            for verb in ["", r#", verb = "send""#] {
                let path = direct("rdma", &format!("{options}{verb}"));
                let served = copy(bytes) + PASS + copy(REPLY);
                let expected = rdma(bytes, completion) + served + rdma(REPLY, completion);
                let times = times(&scenario_of(&path, bytes, 1, ""));
                assert_eq!(times, [expected; 3], "{bytes} B {options}{verb}");
            }
        }
    }
}

#[test]
fn a_receiver_that_polls_may_have_a_delay_of_its_own() {
    let (bytes, earlier) = (100_000, 200_000);
    let mut profile = profile();
    let switch = profile.parts.get_mut("switch").unwrap();
    let delay = law(DELAY - 1_000_000 - earlier, 0.0);
    switch.costs.insert(cost::DELAY_POLL.to_owned(), delay);
    let served = copy(bytes) + PASS + copy(REPLY);
    for (options, completion, earlier) in
        [("", EVENT, 0), (r#", completion = "poll""#, POLL, earlier)]
    {
        let messages = rdma(bytes, completion) + rdma(REPLY, completion) - 2 * earlier;
        let scenario = scenario_of(&direct("rdma", options), bytes, 1, "");
        let times = times_with(&scenario, &profile);
        assert_eq!(times, [messages + served; 3], "{options}");
    }
}

/// The notice goes there, the wish back, and then the payload as if it had been posted.
fn read(bytes: u64) -> u64 {
    let notice = POST + GAP + LATENCY + on_wire(NOTICE + HEADER) + DELAY + LATENCY + EVENT;
    let wish = POST + GAP + LATENCY + on_wire(HEADER) + DELAY + LATENCY;
    notice + wish + FETCH + bursts(bytes, host, host) + LATENCY + EVENT
}

#[test]
fn a_read_takes_one_round_trip_more() {
    for bytes in SIZES {
        let path = direct("rdma", r#", verb = "read""#);
        let served = copy(bytes) + PASS + copy(REPLY);
        let expected = read(bytes) + served + read(REPLY);
        let times = times(&scenario_of(&path, bytes, 1, ""));
        assert_eq!(times, [expected; 3], "{bytes} B");
    }
}

/// The wire is the slowest of the three: a message takes the latencies, a burst at each end, and all its
/// bytes and headers at the rate of the wire.
#[test]
fn a_long_message_takes_its_bytes_at_the_slowest_rate() {
    let bytes = 1000 * BURST;
    let wire = on_wire(bytes + headers(bytes));
    assert_eq!(
        bursts(bytes, host, host),
        host(BURST) + wire + DELAY + host(BURST)
    );
    let latencies = POST + GAP + 2 * LATENCY + FETCH + EVENT + DELAY;
    let message = latencies + 2 * host(BURST) + wire;
    let served = copy(bytes) + PASS + copy(REPLY);
    let times = times(&scenario_of(&direct("rdma", ""), bytes, 1, ""));
    assert_eq!(times, [message + served + rdma(REPLY, EVENT); 3]);
}

#[test]
fn over_gdr_nothing_is_copied() {
    for bytes in SIZES {
        let times = times(&scenario_of(&direct("gdr", ""), bytes, 1, ""));
        let expected = gdr_request(bytes) + PASS + gdr_reply(REPLY);
        assert_eq!(times, [expected; 3], "{bytes} B");
    }
    let run = run(&scenario_of(&direct("gdr", ""), 602_112, 1, ""));
    assert!(
        !run.trace
            .iter()
            .any(|span| matches!(span.name, SpanName::H2d | SpanName::D2h))
    );
}

type Hop = fn(u64) -> u64;

#[test]
fn a_proxy_translates_between_any_two_transports() {
    let by_rdma: Hop = |bytes| rdma(bytes, EVENT);
    let by_tcp: Hop = tcp;
    let hops: [(&str, Hop, Hop); 3] = [
        ("tcp", by_tcp, by_tcp),
        ("rdma", by_rdma, by_rdma),
        ("gdr", gdr_request, gdr_reply),
    ];
    for bytes in SIZES {
        for (first, there, back) in &hops[..2] {
            for (second, onward, homeward) in hops {
                let is_shared = *first == "rdma" && second != "tcp";
                let handed_on = |bytes| if is_shared { FORWARD } else { translate(bytes) };
                let served = match second {
                    "gdr" => PASS,
                    _ => copy(bytes) + PASS + copy(REPLY),
                };
                let expected = [
                    there(bytes),
                    handed_on(bytes),
                    onward(bytes),
                    served,
                    homeward(REPLY),
                    handed_on(REPLY),
                    back(REPLY),
                ];
                let times = times(&scenario_of(&proxied(first, second), bytes, 1, ""));
                let expected = expected.iter().sum::<u64>();
                assert_eq!(times, [expected; 3], "{first}/{second}, {bytes} B");
            }
        }
    }
}

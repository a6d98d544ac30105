//! Unloaded and without randomness, every request takes the sum of its parts, to the picosecond.

use super::*;
use crate::network::CHUNK;
use crate::{completions, simulate};
use schema::ids::{ClientId, Id, RequestId};
use schema::profile::{Conditions, Driver};
use schema::units::{ByteRate, Bytes};

/// Costs by the profile's laws, added up by hand.
struct Sum<'a> {
    profile: &'a Profile,
    total: SimDuration,
}

impl Sum<'_> {
    fn draw(&self, part: &str, cost: &str, driver: f64) -> SimDuration {
        self.profile
            .cost(part, cost, "test")
            .unwrap()
            .draw(driver, 0.5, Conditions::BEST)
    }

    fn add(&mut self, part: &str, cost: &str, driver: f64) {
        self.total += self.draw(part, cost, driver);
    }

    /// A message from one part to the other over an idle link: each chunk is sent after the one
    /// before, leaves after the one before has left, is taken after the one before was taken.
    fn message(&mut self, [from, to]: [&str; 2], bytes: u64, rate: &str, delay: SimDuration) {
        let rate: ByteRate = rate.parse().unwrap();
        let send = self.draw(from, "send/tcp", bytes as f64).as_ps();
        let receive = self.draw(to, "receive/tcp", bytes as f64).as_ps();
        let part = |total: u64, until: u64| {
            u64::try_from(u128::from(total) * u128::from(until) / u128::from(bytes)).unwrap()
        };
        let (mut left, mut taken, mut offset) = (0, 0, 0);
        while offset < bytes {
            let end = (offset + CHUNK.0).min(bytes);
            let sent = part(send, end);
            left = sent.max(left) + rate.serialization_delay(Bytes(end - offset)).as_ps();
            let arrived = left + delay.as_ps();
            taken = arrived.max(taken) + part(receive, end) - part(receive, offset);
            offset = end;
        }
        self.total += ps(taken);
    }

    fn serve(&mut self, bytes: f64, reply: f64) {
        self.add("server", "dispatch", 1.0);
        self.add("server", "h2d", bytes);
        self.add("server", "inference/synthetic", 1e-3);
        self.add("server", "d2h", reply);
        self.add("server", "notify", 1.0);
    }
}

fn direct(profile: &Profile, bytes: u64) -> SimDuration {
    let mut sum = Sum {
        profile,
        total: SimDuration::ZERO,
    };
    let delay = ps(3_000_000) + sum.draw("wire", "delay/tcp", 1.0);
    sum.add("edge", "prepare", bytes as f64);
    sum.message(["edge", "server"], bytes, "25 Gbit/s", delay);
    sum.serve(bytes as f64, 4000.0);
    sum.message(["server", "edge"], 4000, "25 Gbit/s", delay);
    sum.add("edge", "postprocess", 4000.0);
    sum.total
}

fn proxied(profile: &Profile, bytes: u64) -> SimDuration {
    let mut sum = Sum {
        profile,
        total: SimDuration::ZERO,
    };
    let (near, far) = (
        ps(5_000_000) + sum.draw("wire", "delay/tcp", 1.0),
        ps(7_000_000),
    );
    sum.add("edge", "prepare", bytes as f64);
    sum.message(["edge", "gateway"], bytes, "10 Gbit/s", near);
    sum.add("gateway", "translate", bytes as f64);
    sum.message(["gateway", "server"], bytes, "40 Gbit/s", far);
    sum.serve(bytes as f64, 4000.0);
    sum.message(["server", "gateway"], 4000, "40 Gbit/s", far);
    sum.add("gateway", "translate", 4000.0);
    sum.message(["gateway", "edge"], 4000, "10 Gbit/s", near);
    sum.add("edge", "postprocess", 4000.0);
    sum.total
}

/// The sojourn times of the base scenario's requests, each `think` after the one before.
fn sojourn_times(overrides: &[&str], profile: &Profile) -> Vec<SimDuration> {
    let all = completions(&scenario(overrides), profile, &OPTIONS)
        .unwrap()
        .remove(0)
        .completions;
    assert_eq!(all.len(), 20);
    let mut before = SimTime::ZERO;
    for completion in &all {
        assert_eq!(completion.ready, before + ps(2_000_000_000));
        assert_eq!(completion.start, completion.ready);
        before = completion.end;
    }
    all.iter().map(|c| c.end.since(c.ready)).collect()
}

const SIZES: [u64; 5] = [1, 10_000, 65_536, 65_537, 602_112];

#[test]
fn an_unloaded_request_takes_the_sum_of_its_parts() {
    let profile = profile();
    for bytes in SIZES {
        let size = format!("stages.classify.serve.synthetic.input=\"{bytes} B\"");
        let expected = direct(&profile, bytes);
        assert_eq!(
            sojourn_times(&[&size], &profile),
            vec![expected; 20],
            "{bytes} B"
        );
    }
}

#[test]
fn an_unloaded_request_through_a_gateway_takes_the_sum_of_its_parts() {
    let profile = profile();
    for bytes in SIZES {
        let size = format!("stages.classify.serve.synthetic.input=\"{bytes} B\"");
        let expected = proxied(&profile, bytes);
        assert_eq!(
            sojourn_times(&[&size, PROXIED], &profile),
            vec![expected; 20],
            "{bytes} B"
        );
    }
}

/// When the sender's core is slower than link and receiver, a message is all its sending, and the
/// rest of its last chunk.
#[test]
fn a_long_message_is_sent_while_it_is_received() {
    let mut profile = only_inference(Residual::None);
    let bytes = 10 * CHUNK.0;
    law(&mut profile, "edge", "send/tcp").slope = 1e-9;
    law(&mut profile, "server", "receive/tcp").slope = 0.5e-9;
    let size = format!("stages.classify.serve.synthetic.input=\"{bytes} B\"");
    let send = 1000 * bytes;
    let last = 500 * CHUNK.0 + 320 * CHUNK.0;
    let delays = 2 * 3_000_000 + 4000 * 320;
    let expected = ps(send + last + delays + 1_000_000_000);
    assert_eq!(sojourn_times(&[&size], &profile), [expected; 20]);
}

#[test]
fn a_local_message_is_one_piece() {
    let mut profile = only_inference(Residual::None);
    let server = profile.parts.get_mut("server").unwrap();
    for (cost, slope) in [("send/local", 1e-9), ("receive/local", 0.5e-9)] {
        let law = CostLaw::exact(Driver::Bytes, 0.0, slope, "test");
        server.costs.insert(cost.to_owned(), law);
    }
    let delay = CostLaw::exact(Driver::Requests, 2e-6, 0.0, "test");
    server.costs.insert("delay/local".to_owned(), delay);
    let here = [
        "clients.0.on=server",
        "clients.0.path.0.over=local",
        "stages.classify.serve.synthetic.input=\"1 MB\"",
    ];
    let expected = ps((1_000_000 + 4000) * 1500 + 2 * 2_000_000 + 1_000_000_000);
    assert_eq!(sojourn_times(&here, &profile), [expected; 20]);
}

#[test]
fn a_batch_is_copied_one_by_one_and_preprocessed_and_run_once() {
    let mut profile = only_inference(Residual::None);
    for (cost, base) in [
        ("h2d", 10e-6),
        ("preprocess/squeezenet1.1@224+raw", 100e-6),
        ("d2h", 1e-6),
    ] {
        law(&mut profile, "server", cost).base = base;
    }
    law(&mut profile, "server", "inference/squeezenet1.1@224+raw").slope = 5e-3;
    law(&mut profile, "server", "dispatch").base = 7e-6;
    let overrides = [
        r#"stages.classify.serve={ net = { name = "squeezenet1.1", input = { raw = { width = 1, height = 1 } } } }"#,
        r#"stages.classify.batch={ max = 4, delay = "1 s" }"#,
        "clients.0.count=4",
        "run.measure.requests=1",
    ];
    let run = simulate(&scenario(&overrides), Some(&profile), &OPTIONS).unwrap();
    let ends = |name: &str| -> Vec<u64> {
        let spans = run.trace.iter().filter(|span| span.name.name() == name);
        let arrived = 2_000_000 + 3_000; // think time and delay, in ns
        spans
            .map(|span| span.end_ns - arrived)
            .map(|ns| ns / 1000 * 1000)
            .collect()
    };
    assert_eq!(ends("queue"), [7_000; 4]);
    assert_eq!(ends("h2d"), [17_000, 27_000, 37_000, 47_000]);
    assert_eq!(ends("preprocess"), [147_000; 4]);
    assert_eq!(ends("inference"), [20_147_000; 4]);
    assert_eq!(
        ends("d2h"),
        [20_148_000, 20_149_000, 20_150_000, 20_151_000]
    );
}

#[test]
fn an_open_loop_request_waits_for_a_connection() {
    let profile = only_inference(Residual::None);
    let overrides = [
        r#"clients.0.arrivals={ deterministic = { rate = "2000 /s", connections = 1 } }"#,
        "run.measure.requests=3",
        "links.0={ between = [\"edge\", \"server\"], rate = \"1 GB/s\" }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
        "stages.classify.serve.synthetic.output=\"0 B\"",
    ];
    let all = completions(&scenario(&overrides), &profile, &OPTIONS)
        .unwrap()
        .remove(0)
        .completions;
    let times: Vec<[u64; 3]> = (all.iter())
        .map(|c| [c.ready, c.start, c.end].map(|t| t.as_ps() / 100_000_000))
        .collect();
    assert_eq!(times, [[5, 5, 15], [10, 15, 25], [15, 25, 35]]);
    assert_eq!(all[2].request, RequestId::new(ClientId::from_index(0), 2));
}

#[test]
fn requests_come_at_given_times_even_at_once() {
    let profile = only_inference(Residual::None);
    let at = r#"at = ["0 us", "0 us", "0 us", "5 ms"]"#;
    for measure in ["{ requests = 4 }", "{ requests = 9 }", "{ time = \"1 s\" }"] {
        let overrides = [
            &format!("clients.0.arrivals={{ times = {{ {at}, connections = 2 }} }}"),
            &format!("run.measure={measure}"),
            "links.0={ between = [\"edge\", \"server\"], rate = \"1 GB/s\" }",
            "stages.classify.serve.synthetic.input=\"0 B\"",
            "stages.classify.serve.synthetic.output=\"0 B\"",
        ];
        let all = completions(&scenario(&overrides), &profile, &OPTIONS)
            .unwrap()
            .remove(0)
            .completions;
        let times: Vec<[u64; 3]> = (all.iter())
            .map(|c| [c.ready, c.start, c.end].map(|t| t.as_ps() / 100_000_000))
            .collect();
        // One instance; the third waits for a connection.
        let expected = [[0, 0, 10], [0, 0, 20], [0, 10, 30], [50, 50, 60]];
        assert_eq!(times, expected, "{measure}");
    }
}

#[test]
fn synthetic_work_takes_its_time_for_each_request_of_a_batch() {
    let overrides = [
        "stages.classify.batch={ max = 3, delay = \"1 s\" }",
        "clients.0.count=3",
        "run.measure.requests=1",
        "links.0={ between = [\"edge\", \"server\"], rate = \"1 GB/s\" }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
        "stages.classify.serve.synthetic.output=\"0 B\"",
    ];
    let profile = only_inference(Residual::None);
    let served = completions(&scenario(&overrides), &profile, &OPTIONS).unwrap();
    let ends: Vec<SimTime> = served[0].completions.iter().map(|c| c.end).collect();
    assert_eq!(ends, [at(5_000_000_000); 3]);
}

/// Each direction of a link is a line of its own: requests and replies together would be more than
/// the link's rate.
#[test]
fn the_directions_of_a_link_do_not_wait_for_each_other() {
    let overrides = [
        r#"clients.0.arrivals={ deterministic = { rate = "500 /s", connections = 8 } }"#,
        "links.0={ between = [\"edge\", \"server\"], rate = \"1 GB/s\" }",
        "stages.classify.serve.synthetic={ time = \"1 us\", input = \"1500 kB\", output = \"1500 kB\" }",
    ];
    let profile = only_inference(Residual::None);
    let served = completions(&scenario(&overrides), &profile, &OPTIONS).unwrap();
    for completion in &served[0].completions {
        let sojourn = completion.end.since(completion.ready);
        assert_eq!(sojourn, ps(2 * 1_500_000_000 + 1_000_000));
    }
}

/// To give a batch to an instance costs only where the instance has to be woken.
#[test]
fn an_instance_that_goes_on_needs_no_dispatch() {
    let mut profile = only_inference(Residual::None);
    law(&mut profile, "server", "dispatch").base = 7e-6;
    let overrides = [
        "clients.0.count=3",
        "run.measure.requests=1",
        "links.0={ between = [\"edge\", \"server\"], rate = \"1 GB/s\" }",
        "stages.classify.serve.synthetic.input=\"0 B\"",
        "stages.classify.serve.synthetic.output=\"0 B\"",
    ];
    let served = completions(&scenario(&overrides), &profile, &OPTIONS).unwrap();
    let ends: Vec<SimTime> = served[0].completions.iter().map(|c| c.end).collect();
    assert_eq!(ends, [3_007_000_000, 4_007_000_000, 5_007_000_000].map(at));
}

/// The profile with what roles do for a request that nobody waits for: of a client, a proxy and a server.
fn with_bookkeeping() -> Profile {
    let mut profile = profile();
    for (part, cost, seconds) in [
        ("edge", cost::BOOKKEEPING_CLIENT, 21e-6),
        ("gateway", cost::BOOKKEEPING_PROXY, 17e-6),
        ("server", cost::BOOKKEEPING_SERVER, 30e-6),
    ] {
        let law = CostLaw::exact(Driver::Requests, seconds, 0.0, "test");
        let part = profile.parts.get_mut(part).unwrap();
        part.costs.insert(cost.to_owned(), law);
    }
    profile
}

/// By how much core time of each role in the window is longer with bookkeeping, in microseconds.
fn longer_by(overrides: &[&str]) -> BTreeMap<String, f64> {
    let scenario = scenario(overrides);
    let busy = |profile: &Profile| {
        let run = simulate(&scenario, Some(profile), &OPTIONS).unwrap();
        let cpu = run.manifest.cpu.into_iter();
        cpu.map(|cpu| (cpu.role, cpu.busy_s)).collect()
    };
    let without: BTreeMap<String, f64> = busy(&profile());
    let mut with: BTreeMap<String, f64> = busy(&with_bookkeeping());
    for (role, busy_s) in &mut with {
        *busy_s = 1e6 * (*busy_s - without[role]);
    }
    with
}

#[test]
fn nobody_waits_for_bookkeeping_and_cores_have_it_to_do() {
    let times = |profile| sojourn_times(&[PROXIED], profile);
    assert_eq!(times(&with_bookkeeping()), times(&profile()));
    let longer = longer_by(&[PROXIED]);
    // The window ends with the last request, before its client keeps its books.
    let dispatch = profile().parts["server"].costs[cost::DISPATCH].expected(1.0);
    for (role, expected) in [
        ("client edge", 19.0 * 21.0),
        ("proxy ingress", 20.0 * 17.0),
        ("server classify", 20.0 * (30.0 - 1e6 * dispatch)),
    ] {
        assert!((longer[role] - expected).abs() < 1e-3, "{role}: {longer:?}");
    }
}

#[test]
fn a_batch_that_nobody_is_woken_for_leaves_all_of_the_bookkeeping() {
    let always_busy = [
        "clients.0.count=3",
        "clients.0.arrivals={ closed-loop = {} }",
    ];
    let per_request = longer_by(&always_busy)["server classify"] / 60.0;
    // Of the first request the hand-over is part of it; the window leaves out some at its ends.
    assert!(per_request > 27.0 && per_request <= 30.0, "{per_request}");
}

//! Messages over TCP, RDMA and GPUDirect RDMA, alone and through a proxy: an unloaded request takes the
//! sum of its parts to the picosecond; and what hops over network adapters share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;
use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{CostLaw, Driver, Parameter, Part, PartKind, Profile, Residual};
use schema::run::{Leg, Run, SpanName};
use schema::scenario::Scenario;
use schema::units::{ByteRate, Bytes, SimDuration};
use sim::{Arrivals, Keep, Options, SimError, completions, simulate};

const OPTIONS: Options = Options {
    replications: 1,
    arrivals: Arrivals::Shared,
    threads: 1,
    precision: None,
    keep: Keep::Trace,
};

const RATE: &str = "25 Gbit/s";
/// Of a link, with what its part adds.
const DELAY: u64 = 1_300_000;
const TCP_DELAY: u64 = 6_000_000;
const TCP_CHUNK: u64 = 65_536;

const GAP: u64 = 1_000_000;
const LATENCY: u64 = 500_000;
const FETCH: u64 = 900_000;
const INLINE: u64 = 220;
const MTU: u64 = 4096;
const HEADER: u64 = 82;
const BURST: u64 = 8192;
const PCIE: u64 = 13_000_000_000;
const WRITE_FACTOR: f64 = 0.9;
const READ_FACTOR: f64 = 0.5;
const NOTICE: u64 = 16;

const POST: u64 = 250_000;
const EVENT: u64 = 4_000_000;
const POLL: u64 = 100_000;
const FORWARD: u64 = 300_000;
/// Overhead and computing of the net.
const PASS: u64 = 1_100_000_000;

fn parameter(value: f64) -> Parameter {
    Parameter {
        value,
        standard_error: 0.0,
        unit: "1".to_owned(),
        range: None,
        source: "by definition".to_owned(),
    }
}

fn law(base_ps: u64, slope: f64) -> CostLaw {
    CostLaw::exact(
        Driver::Bytes,
        base_ps as f64 * 1e-12,
        slope,
        "by definition",
    )
}

fn profile() -> Profile {
    let text = include_str!("../../scenarios/profiles/ideal.toml").to_owned();
    let mut profile = Profile::parse(Path::new("ideal.toml"), text).unwrap();
    let net = GpuNet {
        per: Driver::Requests,
        range: [1.0, 8.0],
        samples: 0,
        held_out_error: 0.0,
        source: "by definition".to_owned(),
        residual: Residual::None,
        memory: 0.0,
        launches: 10,
        floor: DriverLaw::default(),
        phases: vec![Phase {
            overhead: DriverLaw::constant(100e-6),
            compute: DriverLaw::affine(0.0, 1e-3),
            parallelism: DriverLaw::constant(1.0),
            bytes: DriverLaw::default(),
            intensity: DriverLaw::default(),
        }],
        kernels: Vec::new(),
    };
    let gpu = profile.parts.get_mut("two-sms").unwrap();
    gpu.nets.insert("net".to_owned(), net);
    let host = profile.parts.get_mut("no-time").unwrap();
    let costs = [
        ("send/tcp", law(5_000_000, 0.1e-9)),
        ("receive/tcp", law(7_000_000, 0.2e-9)),
        ("translate", law(3_000_000, 0.3e-9)),
        ("post/rdma", law(POST, 0.0)),
        ("completion/event", law(EVENT, 0.0)),
        ("completion/poll", law(POLL, 0.0)),
        ("forward", law(FORWARD, 0.0)),
    ];
    let costs = costs.map(|(name, law)| (name.to_owned(), law));
    host.costs.extend(costs);
    let numbers = [
        ("message-rate", 1e6),
        ("nic-latency", LATENCY as f64 * 1e-12),
        ("dma-read-latency", FETCH as f64 * 1e-12),
        ("inline-limit", INLINE as f64),
        ("path-mtu", MTU as f64),
        ("packet-header", HEADER as f64),
        ("burst", BURST as f64),
        ("pcie-bandwidth", PCIE as f64),
        ("gdr-write-factor/root-complex", WRITE_FACTOR),
        ("gdr-read-factor/root-complex", READ_FACTOR),
    ];
    let nic = Part {
        kind: PartKind::Nic,
        parameters: numbers.map(|(n, v)| (n.to_owned(), parameter(v))).into(),
        costs: BTreeMap::new(),
        nets: BTreeMap::new(),
    };
    profile.parts.insert("nic".to_owned(), nic);
    let delays = [
        ("delay/tcp", TCP_DELAY - 1_000_000),
        ("delay/rdma", DELAY - 1_000_000),
    ];
    let switch = Part {
        kind: PartKind::Link,
        parameters: BTreeMap::new(),
        costs: delays.map(|(n, ps)| (n.to_owned(), law(ps, 0.0))).into(),
        nets: BTreeMap::new(),
    };
    profile.parts.insert("switch".to_owned(), switch);
    profile
}

/// `count` clients on `edge` send three requests each over `path`; `stage` has other keys of the
/// stage that serves.
fn scenario_of(path: &str, input: u64, count: u32, stage: &str) -> Scenario {
    let text = format!(
        r#"format = 1
name = "a"
run = {{ measure = {{ requests = 3 }} }}

[hosts]
edge = {{ part = "no-time", cores = 64, nic = {{ part = "nic" }} }}
gateway = {{ part = "no-time", cores = 64, nic = {{ part = "nic" }} }}
server = {{ part = "no-time", cores = 64, nic = {{ part = "nic" }}, gpus = [{{ part = "two-sms" }}] }}

[[links]]
between = ["edge", "gateway"]
part = "switch"
rate = "{RATE}"
delay = "1 us"

[[links]]
between = ["gateway", "server"]
part = "switch"
rate = "{RATE}"
delay = "1 us"

[[links]]
between = ["edge", "server"]
part = "switch"
rate = "{RATE}"
delay = "1 us"

[stages.ingress]
on = "gateway"
proxy = {{}}

[stages.classify]
on = "server"
serve.profiled = {{ name = "net", input = "{input} B", output = "100 kB" }}
gpu = {{}}
{stage}

[[clients]]
on = "edge"
count = {count}
arrivals = {{ closed-loop = {{}} }}
path = [{path}]
"#
    );
    Scenario::parse(Path::new("a.toml"), text, &[]).unwrap()
}

fn direct(over: &str, options: &str) -> String {
    format!(r#"{{ to = "classify", over = "{over}"{options} }}"#)
}

fn proxied(first: &str, second: &str) -> String {
    format!(r#"{{ to = "ingress", over = "{first}" }}, {{ to = "classify", over = "{second}" }}"#)
}

/// The sojourn times of all requests, in picoseconds.
fn times(scenario: &Scenario) -> Vec<u64> {
    let served = completions(scenario, &profile(), &OPTIONS)
        .unwrap()
        .remove(0);
    let completions = served.completions.iter();
    completions.map(|c| c.end.since(c.ready).as_ps()).collect()
}

fn on_wire(bytes: u64) -> u64 {
    let rate: ByteRate = RATE.parse().unwrap();
    rate.serialization_delay(Bytes(bytes)).as_ps()
}

fn headers(bytes: u64) -> u64 {
    bytes.div_ceil(MTU).max(1) * HEADER
}

/// How long `bytes` take at `speed` bytes per second.
fn at_speed(bytes: u64, speed: f64) -> u64 {
    SimDuration::from_secs_f64(bytes as f64 / speed).as_ps()
}

/// From the sender's first core time to the receiver's last.
fn tcp(bytes: u64) -> u64 {
    let cost = |base: u64, slope: f64| law(base, slope).expected(bytes as f64);
    let whole = |s: f64| SimDuration::from_secs_f64(s).as_ps();
    let (send, receive) = (
        whole(cost(5_000_000, 0.1e-9)),
        whole(cost(7_000_000, 0.2e-9)),
    );
    let part = |total: u64, until: u64| {
        u64::try_from(u128::from(total) * u128::from(until) / u128::from(bytes)).unwrap()
    };
    let (mut left, mut taken, mut offset) = (0, 0, 0);
    while offset < bytes {
        let end = (offset + TCP_CHUNK).min(bytes);
        left = part(send, end).max(left) + on_wire(end - offset);
        taken = taken.max(left + TCP_DELAY) + part(receive, end) - part(receive, offset);
        offset = end;
    }
    taken
}

/// What a message takes between adapters from when the first byte is read to when the last is written;
/// `read` and `write` are the times of a burst.
fn bursts(bytes: u64, read: impl Fn(u64) -> u64, write: impl Fn(u64) -> u64) -> u64 {
    let (mut was_read, mut left, mut written, mut offset) = (0, 0, 0, 0);
    while offset < bytes {
        let size = BURST.min(bytes - offset);
        was_read += read(size);
        left = left.max(was_read) + on_wire(size + headers(size));
        written = written.max(left + DELAY) + write(size);
        offset += size;
    }
    written
}

fn host(bytes: u64) -> u64 {
    let rate = ByteRate::from_bytes_per_s(PCIE).unwrap();
    rate.serialization_delay(Bytes(bytes)).as_ps()
}
fn into_gpu(bytes: u64) -> u64 {
    at_speed(bytes, PCIE as f64 * WRITE_FACTOR)
}
fn out_of_gpu(bytes: u64) -> u64 {
    at_speed(bytes, PCIE as f64 * READ_FACTOR)
}

/// From posting to the receiver's thread knowing of it.
fn rdma(bytes: u64, completion: u64) -> u64 {
    if bytes <= INLINE {
        return POST + GAP + 2 * LATENCY + bursts(bytes, |_| 0, host) + completion;
    }
    POST + GAP + 2 * LATENCY + FETCH + bursts(bytes, host, host) + completion
}

fn gdr_request(bytes: u64) -> u64 {
    let fetch = if bytes <= INLINE { 0 } else { FETCH };
    let read = |size| if bytes <= INLINE { 0 } else { host(size) };
    POST + GAP + 2 * LATENCY + fetch + bursts(bytes, read, into_gpu) + EVENT
}

fn gdr_reply(bytes: u64) -> u64 {
    POST + GAP + 2 * LATENCY + FETCH + bursts(bytes, out_of_gpu, host) + EVENT
}

fn copy(bytes: u64) -> u64 {
    10_000_000 + at_speed(bytes, 10e9)
}

fn translate(bytes: u64) -> u64 {
    let seconds = law(3_000_000, 0.3e-9).expected(bytes as f64);
    SimDuration::from_secs_f64(seconds).as_ps()
}

const SIZES: [u64; 6] = [1, 220, 221, 8_192, 100_000, 602_112];
const REPLY: u64 = 100_000;

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

fn run(scenario: &Scenario) -> Run {
    simulate(scenario, Some(&profile()), &OPTIONS).unwrap()
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

//! A profile and scenarios of which all times are known, and the closed forms of messages.

use std::collections::BTreeMap;
use std::path::Path;

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{CostLaw, Driver, Parameter, Part, PartKind, Profile, Residual};
use schema::run::Run;
use schema::scenario::Scenario;
use schema::units::{ByteRate, Bytes, SimDuration};
use sim::{Arrivals, Keep, Options, completions, simulate};

pub(crate) const OPTIONS: Options = Options {
    replications: 1,
    arrivals: Arrivals::Shared,
    threads: 1,
    precision: None,
    keep: Keep::Trace,
};

pub(crate) const RATE: &str = "25 Gbit/s";
/// Of a link, with what its part adds.
pub(crate) const DELAY: u64 = 1_300_000;
pub(crate) const TCP_DELAY: u64 = 6_000_000;
pub(crate) const TCP_CHUNK: u64 = 65_536;

pub(crate) const GAP: u64 = 1_000_000;
pub(crate) const LATENCY: u64 = 500_000;
pub(crate) const FETCH: u64 = 900_000;
pub(crate) const INLINE: u64 = 220;
pub(crate) const MTU: u64 = 4096;
pub(crate) const HEADER: u64 = 82;
pub(crate) const BURST: u64 = 8192;
pub(crate) const PCIE: u64 = 13_000_000_000;
pub(crate) const WRITE_FACTOR: f64 = 0.9;
pub(crate) const READ_FACTOR: f64 = 0.5;
pub(crate) const NOTICE: u64 = 16;

pub(crate) const POST: u64 = 250_000;
pub(crate) const EVENT: u64 = 4_000_000;
pub(crate) const POLL: u64 = 100_000;
pub(crate) const FORWARD: u64 = 300_000;
/// Overhead and computing of the net.
pub(crate) const PASS: u64 = 1_100_000_000;

pub(crate) const SIZES: [u64; 6] = [1, 220, 221, 8_192, 100_000, 602_112];
pub(crate) const REPLY: u64 = 100_000;

pub(crate) fn parameter(value: f64) -> Parameter {
    Parameter {
        value,
        standard_error: 0.0,
        unit: "1".to_owned(),
        range: None,
        source: "by definition".to_owned(),
    }
}

pub(crate) fn law(base_ps: u64, slope: f64) -> CostLaw {
    CostLaw::exact(
        Driver::Bytes,
        base_ps as f64 * 1e-12,
        slope,
        "by definition",
    )
}

pub(crate) fn profile() -> Profile {
    let text = include_str!("../../../scenarios/profiles/ideal.toml").to_owned();
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
pub(crate) fn scenario_of(path: &str, input: u64, count: u32, stage: &str) -> Scenario {
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

pub(crate) fn direct(over: &str, options: &str) -> String {
    format!(r#"{{ to = "classify", over = "{over}"{options} }}"#)
}

pub(crate) fn proxied(first: &str, second: &str) -> String {
    format!(r#"{{ to = "ingress", over = "{first}" }}, {{ to = "classify", over = "{second}" }}"#)
}

/// The sojourn times of all requests, in picoseconds.
pub(crate) fn times(scenario: &Scenario) -> Vec<u64> {
    let served = completions(scenario, &profile(), &OPTIONS)
        .unwrap()
        .remove(0);
    let completions = served.completions.iter();
    completions.map(|c| c.end.since(c.ready).as_ps()).collect()
}

pub(crate) fn on_wire(bytes: u64) -> u64 {
    let rate: ByteRate = RATE.parse().unwrap();
    rate.serialization_delay(Bytes(bytes)).as_ps()
}

pub(crate) fn headers(bytes: u64) -> u64 {
    bytes.div_ceil(MTU).max(1) * HEADER
}

/// How long `bytes` take at `speed` bytes per second.
pub(crate) fn at_speed(bytes: u64, speed: f64) -> u64 {
    SimDuration::from_secs_f64(bytes as f64 / speed).as_ps()
}

pub(crate) fn host(bytes: u64) -> u64 {
    let rate = ByteRate::from_bytes_per_s(PCIE).unwrap();
    rate.serialization_delay(Bytes(bytes)).as_ps()
}

pub(crate) fn into_gpu(bytes: u64) -> u64 {
    at_speed(bytes, PCIE as f64 * WRITE_FACTOR)
}

pub(crate) fn out_of_gpu(bytes: u64) -> u64 {
    at_speed(bytes, PCIE as f64 * READ_FACTOR)
}

/// From posting to the receiver's thread knowing of it.
pub(crate) fn rdma(bytes: u64, completion: u64) -> u64 {
    if bytes <= INLINE {
        return POST + GAP + 2 * LATENCY + bursts(bytes, |_| 0, host) + completion;
    }
    POST + GAP + 2 * LATENCY + FETCH + bursts(bytes, host, host) + completion
}

pub(crate) fn gdr_request(bytes: u64) -> u64 {
    let fetch = if bytes <= INLINE { 0 } else { FETCH };
    let read = |size| if bytes <= INLINE { 0 } else { host(size) };
    POST + GAP + 2 * LATENCY + fetch + bursts(bytes, read, into_gpu) + EVENT
}

pub(crate) fn gdr_reply(bytes: u64) -> u64 {
    POST + GAP + 2 * LATENCY + FETCH + bursts(bytes, out_of_gpu, host) + EVENT
}

pub(crate) fn copy(bytes: u64) -> u64 {
    10_000_000 + at_speed(bytes, 10e9)
}

pub(crate) fn translate(bytes: u64) -> u64 {
    let seconds = law(3_000_000, 0.3e-9).expected(bytes as f64);
    SimDuration::from_secs_f64(seconds).as_ps()
}

pub(crate) fn run(scenario: &Scenario) -> Run {
    simulate(scenario, Some(&profile()), &OPTIONS).unwrap()
}

/// The profile with parameters of its adapters and of its host, and with the cost of registration.
pub(crate) fn with(nic: &[(&str, f64)], host: &[(&str, f64)]) -> Profile {
    let mut profile = profile();
    for (part, numbers) in [("nic", nic), ("no-time", host)] {
        let part = profile.parts.get_mut(part).unwrap();
        let numbers = numbers.iter();
        part.parameters
            .extend(numbers.map(|(name, value)| ((*name).to_owned(), parameter(*value))));
    }
    let host = profile.parts.get_mut("no-time").unwrap();
    // 2 us, and 0.25 ns a byte of pages: 1.024 us for one of 4 KiB.
    host.costs
        .insert("register".to_owned(), law(2_000_000, 0.25e-9));
    profile
}

/// The sojourn time of each request with that profile, in picoseconds.
pub(crate) fn times_with(scenario: &Scenario, profile: &Profile) -> Vec<u64> {
    let served = completions(scenario, profile, &OPTIONS).unwrap().remove(0);
    let completions = served.completions.iter();
    completions.map(|c| c.end.since(c.ready).as_ps()).collect()
}

/// From the sender's first core time to the receiver's last.
pub(crate) fn tcp(bytes: u64) -> u64 {
    let there = vec![0; bytes.div_ceil(TCP_CHUNK) as usize];
    *tcp_chunks(bytes, &there, 0).last().unwrap()
}

/// When the receiver has taken each chunk, of which the sender has each from an instant on, with so much
/// more core time for all.
pub(crate) fn tcp_chunks(bytes: u64, there: &[u64], more: u64) -> Vec<u64> {
    let cost = |base: u64, slope: f64| law(base, slope).expected(bytes as f64);
    let whole = |s: f64| SimDuration::from_secs_f64(s).as_ps();
    let (send, receive) = (
        whole(cost(5_000_000, 0.1e-9)) + more,
        whole(cost(7_000_000, 0.2e-9)),
    );
    let part = |total: u64, until: u64| {
        u64::try_from(u128::from(total) * u128::from(until) / u128::from(bytes)).unwrap()
    };
    let (mut sent, mut left, mut taken, mut offset) = (0, 0, 0, 0);
    let mut all = Vec::new();
    for there in there {
        let end = (offset + TCP_CHUNK).min(bytes);
        sent = (*there).max(sent) + part(send, end) - part(send, offset);
        left = sent.max(left) + on_wire(end - offset);
        taken = taken.max(left + TCP_DELAY) + part(receive, end) - part(receive, offset);
        all.push(taken);
        offset = end;
    }
    all
}

/// What a message takes between adapters from when the first byte is read to when the last is written;
/// `read` and `write` are the times of a burst.
pub(crate) fn bursts(bytes: u64, read: impl Fn(u64) -> u64, write: impl Fn(u64) -> u64) -> u64 {
    let there = vec![0; bytes.div_ceil(BURST) as usize];
    *written(bytes, &there, read, write).last().unwrap()
}

/// When each burst is written, of which the sender's adapter has each from an instant on.
pub(crate) fn written(
    bytes: u64,
    there: &[u64],
    read: impl Fn(u64) -> u64,
    write: impl Fn(u64) -> u64,
) -> Vec<u64> {
    let (mut was_read, mut left, mut written, mut offset) = (0, 0, 0, 0);
    let mut all = Vec::new();
    for there in there {
        let size = BURST.min(bytes - offset);
        was_read = was_read.max(*there) + read(size);
        left = left.max(was_read) + on_wire(size + headers(size));
        written = written.max(left + DELAY) + write(size);
        all.push(written);
        offset += size;
    }
    all
}

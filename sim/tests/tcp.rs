//! Packets on Ethernet links, and what limits a connection of TCP: buffers, slow start, loss. Links
//! carry 1 GB/s, so that a byte takes a nanosecond; where nothing else is said no core takes time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use schema::profile::{CostLaw, Driver, Parameter, Part, PartKind, Profile};
use schema::scenario::Scenario;
use sim::{Arrivals, Keep, Options, completions, simulate};

const OPTIONS: Options = Options {
    replications: 1,
    arrivals: Arrivals::Shared,
    threads: 1,
    precision: None,
    keep: Keep::Trace,
};

/// Payload of a packet of 1500 B, and what it takes beside that on the wire.
const MSS: u64 = 1448;
const HEADERS: u64 = 90;
/// Propagation delay of the link.
const DELAY: u64 = 10_000;
const ROUND_TRIP: u64 = 2 * DELAY;

fn exact(per: Driver, base_ns: f64, slope_ns: f64) -> CostLaw {
    CostLaw::exact(per, base_ns * 1e-9, slope_ns * 1e-9, "by definition")
}

fn parameter(value: f64) -> Parameter {
    Parameter {
        value,
        standard_error: 0.0,
        unit: "B".to_owned(),
        range: None,
        source: "by definition".to_owned(),
    }
}

fn profile() -> Profile {
    let text = include_str!("../../scenarios/profiles/ideal.toml").to_owned();
    let mut profile = Profile::parse(Path::new("ideal.toml"), text).unwrap();
    let host = profile.parts.get_mut("no-time").unwrap();
    for cost in ["h2d", "d2h", "send/tcp", "receive/tcp"] {
        let law = exact(Driver::Bytes, 0.0, 0.0);
        host.costs.insert(cost.to_owned(), law);
    }
    let law = CostLaw::exact(Driver::Seconds, 0.0, 1.0, "by definition");
    host.costs.insert("inference/synthetic".to_owned(), law);
    profile
}

/// The profile with a cost of its hosts.
fn with_cost(name: &str, law: CostLaw) -> Profile {
    let mut profile = profile();
    let host = profile.parts.get_mut("no-time").unwrap();
    host.costs.insert(name.to_owned(), law);
    profile
}

/// A request of so many bytes at the start, its reply empty, over a link with `link` and a hop with
/// `hop` beside its transport.
fn text(bytes: u64, link: &str, hop: &str) -> String {
    format!(
        r#"format = 1
name = "tcp"
run = {{ measure = {{ requests = 1 }} }}

[hosts]
edge = {{ part = "no-time", cores = 64 }}
server = {{ part = "no-time", cores = 64 }}

[[links]]
between = ["edge", "server"]
rate = "1 GB/s"
delay = "10 us"
{link}

[stages.work]
on = "server"
serve.synthetic = {{ time = "0 s", input = "{bytes} B", output = "0 B" }}

[[clients]]
on = "edge"
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "work", over = "tcp"{hop} }}]
"#
    )
}

fn scenario(text: &str) -> Scenario {
    Scenario::parse(Path::new("tcp.toml"), text.to_owned(), &[]).unwrap()
}

/// Sojourn times in picoseconds, in the order of requests.
fn times_ps(text: &str, profile: &Profile) -> Vec<u64> {
    let mut served = completions(&scenario(text), profile, &OPTIONS).unwrap();
    let mut all = served.remove(0).completions;
    all.sort_by_key(|c| c.request);
    let times = all.iter().map(|c| c.end.since(c.ready).as_ps());
    times.collect()
}

/// The same in nanoseconds, of which they must be whole.
fn times(text: &str, profile: &Profile) -> Vec<u64> {
    let nanoseconds = |ps: u64| {
        assert_eq!(ps % 1000, 0, "{ps} ps");
        ps / 1000
    };
    let times = times_ps(text, profile).into_iter();
    times.map(nanoseconds).collect()
}

const ETHERNET: &str = "ethernet = {}";
/// An empty reply: a packet without payload where there are any.
const REPLY: u64 = HEADERS + DELAY;

fn one(bytes: u64, link: &str, hop: &str) -> u64 {
    times(&text(bytes, link, hop), &profile())[0]
}

fn on_wire(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(MSS).max(1) * HEADERS
}

#[test]
fn an_ethernet_carries_the_payload_of_its_packets() {
    for bytes in [1, MSS, MSS + 1, 65_536, 602_112, 10_000 * MSS] {
        let expected = on_wire(bytes) + DELAY + REPLY;
        assert_eq!(one(bytes, ETHERNET, ""), expected, "{bytes} B");
        // Without it the rate is that of payload.
        assert_eq!(one(bytes, "", ""), bytes + 2 * DELAY, "{bytes} B");
    }
    // 94.1% of the rate with packets of 1500 B, and 99.0% with jumbo frames.
    let bytes = 100_000_000;
    let goodput = |link| {
        let took = one(bytes, link, "") - DELAY - REPLY;
        1000 * bytes / took
    };
    assert_eq!(goodput(ETHERNET), 941);
    assert_eq!(goodput("ethernet = { mtu = \"9000 B\" }"), 990);
}

#[test]
fn a_part_may_say_what_packets_a_link_has_and_the_scenario_overrides_it() {
    let mut profile = profile();
    let numbers = [
        ("mtu", 4052.0),
        ("tcp-header", 52.0),
        ("frame-header", 48.0),
    ];
    let part = Part {
        kind: PartKind::Link,
        parameters: numbers.map(|(n, v)| (n.to_owned(), parameter(v))).into(),
        costs: [("delay/tcp".to_owned(), exact(Driver::Requests, 0.0, 0.0))].into(),
        nets: Default::default(),
    };
    profile.parts.insert("cable".to_owned(), part);
    let took = |link: &str, profile: &Profile| times(&text(8_000, link, ""), profile)[0];
    let cable = "part = \"cable\"";
    assert_eq!(took(cable, &profile), 8_200 + 100 + 2 * DELAY);
    // Packets of 1500 B, with the headers of the part.
    let ethernet = format!("{cable}\nethernet = {{}}");
    let expected = 8_000 + 6 * 100 + 100 + 2 * DELAY;
    assert_eq!(took(&ethernet, &profile), expected);
    // Without a rate of the scenario the link has that of its part.
    let of_part = profile.parts.get_mut("cable").unwrap();
    of_part.parameters.insert("rate".to_owned(), parameter(2e9));
    let text = text(8_000, cable, "").replace("rate = \"1 GB/s\"\n", "");
    assert_eq!(times(&text, &profile), [4_100 + 50 + 2 * DELAY]);
}

#[test]
fn over_switches_packets_are_those_of_the_smallest_mtu() {
    let text = text(8_000, "", "").replace(
        "[[links]]\nbetween = [\"edge\", \"server\"]\nrate = \"1 GB/s\"\ndelay = \"10 us\"",
        r#"[[links]]
between = ["edge", "switch"]
rate = "1 GB/s"
ethernet = { mtu = "9000 B" }

[[links]]
between = ["switch", "server"]
rate = "1 GB/s"
delay = "10 us"
ethernet = {}"#,
    );
    let text = text.replacen("run =", "switches = [\"switch\"]\nrun =", 1);
    let expected = on_wire(8_000) + DELAY + REPLY;
    assert_eq!(times(&text, &profile()), [expected]);
}

#[test]
fn cores_may_make_and_take_packets() {
    // Six packets, and one of the reply. A single chunk: sending, the wire and receiving follow.
    let wire = on_wire(8_000) + DELAY + REPLY;
    for cost in ["segment", "reassemble"] {
        let profile = with_cost(cost, exact(Driver::Packets, 0.0, 500.0));
        let took = times(&text(8_000, ETHERNET, ""), &profile);
        assert_eq!(took, [wire + 7 * 500], "{cost}");
        // There are none to be made where nothing is said of packets.
        let took = times(&text(8_000, "", ""), &profile);
        assert_eq!(took, [8_000 + 2 * DELAY], "{cost}");
    }
}

#[test]
fn a_messaging_library_costs_bytes_and_core_time_at_both_ends() {
    let mut profile = with_cost("frame", exact(Driver::Requests, 300.0, 0.0));
    let host = profile.parts.get_mut("no-time").unwrap();
    host.parameters
        .insert("message-header".to_owned(), parameter(11.0));
    // 1440 and 11 bytes take two packets; the reply's 11 one.
    let wire = 1440 + 11 + 2 * HEADERS + DELAY + 11 + HEADERS + DELAY;
    assert_eq!(times(&text(1440, ETHERNET, ""), &profile), [wire + 4 * 300]);
    assert_eq!(
        times(&text(1440, "", ""), &profile),
        [1462 + 2 * DELAY + 4 * 300]
    );
}

#[test]
fn a_window_lets_so_much_out_in_a_round_trip() {
    let window = 8_000;
    let hop = ", tcp = { receive-buffer = \"8000 B\" }";
    // Full windows set out a round trip apart, and the last takes its bytes.
    for n in [1, 2, 7, 1000] {
        let expected = (n - 1) * ROUND_TRIP + window + 2 * DELAY;
        assert_eq!(one(n * window, "", hop), expected, "{n}");
    }
    // A window that covers the path limits nothing.
    let wide = ", tcp = { receive-buffer = \"20000 B\" }";
    assert_eq!(one(1_000_000, "", wide), 1_000_000 + 2 * DELAY);
    // Whole packets only: of a window of 5.5 packets five.
    let wire = on_wire(5 * MSS);
    let packets = ", tcp = { receive-buffer = \"7964 B\" }";
    let expected = 9 * ROUND_TRIP + wire + DELAY + REPLY;
    assert_eq!(one(50 * MSS, ETHERNET, packets), expected);
}

#[test]
fn slow_start_doubles_the_window_every_round_trip() {
    let hop = ", tcp = { initial-window = 10 }";
    // 10, 20 and 40 packets in the first three round trips; the link takes 13 in one, so the fourth
    // begins when the third has left.
    let fast = "ethernet = {}";
    let took = |packets: u64| one(packets * MSS, fast, hop) - REPLY - DELAY;
    assert_eq!(took(10), on_wire(10 * MSS));
    assert_eq!(took(11), ROUND_TRIP + on_wire(MSS));
    assert_eq!(took(30), ROUND_TRIP + on_wire(20 * MSS));
    // 20 packets take longer than a round trip: from here on the link is what limits.
    assert_eq!(took(1_000), ROUND_TRIP + on_wire(990 * MSS));
    // From one packet on, on a path of 13: 1, 2, 4, 8, and then all that is left.
    let from_one = ", tcp = { initial-window = 1 }";
    let took = |packets: u64| one(packets * MSS, fast, from_one) - REPLY - DELAY;
    assert_eq!(took(15), 3 * ROUND_TRIP + on_wire(8 * MSS));
    assert_eq!(took(16), 4 * ROUND_TRIP + on_wire(MSS));
    assert_eq!(took(1_015), 4 * ROUND_TRIP + on_wire(1_000 * MSS));
}

#[test]
fn a_window_is_kept_from_request_to_request_unless_the_connection_pauses() {
    let took = |think: &str| {
        let hop = ", tcp = { initial-window = 10 }";
        let text = text(30 * MSS, ETHERNET, hop)
            .replace("requests = 1 ", "requests = 2 ")
            .replace(
                "closed-loop = {}",
                &format!("closed-loop = {{ think = {{ constant = \"{think}\" }} }}"),
            );
        times(&text, &profile())
    };
    let first = ROUND_TRIP + on_wire(20 * MSS) + DELAY + REPLY;
    // The window is of 30 packets or more then.
    let second = on_wire(30 * MSS) + DELAY + REPLY;
    assert_eq!(took("100 ms"), [first, second]);
    assert_eq!(took("300 ms"), [first, first]);
}

#[test]
fn a_sender_waits_while_its_buffer_is_full() {
    // Core time of 3 us a chunk of 8 kB, of which the buffer holds one: each is worked on when the one
    // before is acknowledged, a round trip after it set out.
    let profile = with_cost("send/tcp", exact(Driver::Bytes, 0.0, 0.375));
    let took = |n: u64, hop: &str| times(&text(n * 8_000, "", hop), &profile)[0];
    let small = ", tcp = { send-buffer = \"8000 B\" }";
    for n in [1, 2, 9] {
        let expected = (n - 1) * (3_000 + ROUND_TRIP) + 3_000 + 8_000 + 2 * DELAY;
        assert_eq!(took(n, small), expected, "{n}");
    }
    // With room for all it never waits; but for a window it works and sends at once.
    let large = ", tcp = { send-buffer = \"1 MB\" }";
    let chunks = took(9, large);
    assert_eq!(chunks, took(9, ""));
    assert!(chunks < took(9, small), "{chunks}");
}

#[test]
fn a_receiver_that_is_slow_fills_its_buffer_and_stops_the_sender() {
    // 50 us for each chunk of 8 kB, and room for two: the sender has two chunks under way, and sends
    // the next when it hears that the receiver began with one.
    let profile = with_cost("receive/tcp", exact(Driver::Bytes, 0.0, 6.25));
    let send = |hop: &str| {
        let run = simulate(
            &scenario(&text(20 * 8_000, "", hop)),
            Some(&profile),
            &OPTIONS,
        )
        .unwrap();
        let of = |name: &str| {
            let span = run.trace.iter().find(|s| s.name.name() == name).unwrap();
            span.end_ns - span.start_ns
        };
        (of("send"), of("request"))
    };
    let buffers = ", tcp = { send-buffer = \"8000 B\", receive-buffer = \"16000 B\" }";
    let (sent, whole) = send(buffers);
    let (sent_freely, whole_freely) = send("");
    // The receiver's core is what limits, with or without.
    assert_eq!(sent_freely, 0);
    assert!(
        whole.abs_diff(whole_freely) < 60_000,
        "{whole} {whole_freely}"
    );
    assert_eq!(whole, 8_000 + DELAY + 20 * 50_000 + DELAY);
    // The sender hands the last chunk over some chunks before the end, instead of at once.
    assert!(sent > 15 * 50_000 && sent < 20 * 50_000, "{sent}");
}

/// `n` hosts around a switch that each send so many bytes to one at the same instant, `requests` times.
fn incast(n: u32, bytes: u64, requests: u32, ethernet: &str, hop: &str) -> String {
    let mut hosts = String::new();
    let mut clients = String::new();
    for host in 0..n {
        hosts += &format!("c{host} = {{ part = \"no-time\", cores = 4 }}\n");
        clients += &format!(
            r#"
[[clients]]
on = "c{host}"
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "work", over = "tcp"{hop} }}]
"#
        );
    }
    format!(
        r#"format = 1
name = "incast"
run = {{ measure = {{ requests = {requests} }} }}
fabric = {{ star = {{ rate = "1 GB/s", delay = "10 us", ethernet = {ethernet} }} }}

[hosts]
server = {{ part = "no-time", cores = 64 }}
{hosts}
[stages.work]
on = "server"
instances = 64
serve.synthetic = {{ time = "0 s", input = "{bytes} B", output = "0 B" }}
{clients}"#
    )
}

/// Payload in bytes per second while requests are under way, and the packets that were lost.
fn goodput(text: &str) -> (f64, bool) {
    let run = simulate(&scenario(text), Some(&profile()), &OPTIONS).unwrap();
    let whole = || run.trace.iter().filter(|s| s.name.name() == "request");
    let end = whole().map(|s| s.end_ns).max().unwrap();
    let bytes: u64 = whole().map(|s| s.bytes).sum();
    let is_lossy = (run.manifest.warnings.iter()).any(|w| w.contains("were lost"));
    (bytes as f64 / end as f64 * 1e9, is_lossy)
}

#[test]
fn packets_alone_are_stored_and_forwarded() {
    for bytes in [1, MSS, 10 * MSS, 602_112] {
        let text = incast(1, bytes, 1, "{ mode = \"packets\" }", "");
        // The last packet is on the second link after the first; and so is the reply.
        let last = bytes - (bytes - 1) / MSS * MSS;
        let first = if bytes > MSS { MSS.max(last) } else { bytes };
        let again = if bytes > MSS { last.min(first) } else { last };
        let there = on_wire(bytes) + (again + HEADERS) + 2 * DELAY;
        // Whole packets are passed on while the next is sent, so that a short last one waits.
        let waits = (first - again).min(if bytes > MSS { MSS - last } else { 0 });
        let back = 2 * HEADERS + 2 * DELAY;
        assert_eq!(
            times(&text, &profile()),
            [there + waits + back],
            "{bytes} B"
        );
    }
}

#[test]
fn long_transfers_by_packets_and_as_a_fluid_are_within_2_percent() {
    for n in [2, 5] {
        let run = |ethernet: &str| times(&incast(n, 5_000_000, 2, ethernet, ""), &profile());
        let (fluid, packets) = (run("{}"), run("{ mode = \"packets\" }"));
        for (fluid, packets) in fluid.iter().zip(&packets) {
            let difference = *packets as f64 / *fluid as f64 - 1.0;
            assert!(difference.abs() < 0.02, "{fluid} {packets}");
        }
    }
}

/// A round trip of packets takes one packet's time on each link more than that of a fluid.
#[test]
fn windows_and_slow_start_are_alike_by_packets_and_as_a_fluid() {
    let hops = [
        (
            ", tcp = { receive-buffer = \"14480 B\" }",
            1_000_000 / 14_480,
        ),
        // 1, 2, 4 and 8 packets; then the links are what limits.
        (", tcp = { initial-window = 1 }", 5),
    ];
    for (hop, n_round_trips) in hops {
        let run = |ethernet: &str| times(&incast(1, 1_000_000, 1, ethernet, hop), &profile())[0];
        let (fluid, packets) = (run("{}"), run("{ mode = \"packets\" }"));
        let expected = fluid + n_round_trips * 2 * (MSS + HEADERS);
        let difference = packets as f64 / expected as f64 - 1.0;
        assert!(
            difference.abs() < 0.01,
            "{hop}: {fluid} {packets} {expected}"
        );
        assert!(packets > fluid, "{hop}: {fluid} {packets}");
    }
}

/// Phanishayee et al., "Measurement and analysis of TCP throughput collapse in cluster-based storage
/// systems" (FAST 2008): of many synchronized senders some lose a whole window, and the link is idle
/// until their timeout; with few senders, a large buffer or a short timeout there is no collapse.
#[test]
fn an_incast_collapses_when_it_exceeds_the_buffer() {
    let of = |n: u32, buffer: &str, rto: &str| {
        let ethernet = format!("{{ mode = \"packets\", buffer = \"{buffer}\" }}");
        let hop = format!(", tcp = {{ min-rto = \"{rto}\" }}");
        goodput(&incast(n, 256_000, 4, &ethernet, &hop))
    };
    let whole = 1e9 * MSS as f64 / (MSS + HEADERS) as f64;
    let share = |(bytes_per_s, is_lossy): (f64, bool)| (bytes_per_s / whole, is_lossy);
    let alone = share(of(1, "64 KiB", "200 ms"));
    let many = share(of(32, "64 KiB", "200 ms"));
    let large = share(of(32, "64 MiB", "200 ms"));
    let soon = share(of(32, "64 KiB", "1 ms"));
    println!(
        "share of the goodput: alone {alone:?}, 32 {many:?}, large buffer {large:?}, 1 ms {soon:?}"
    );
    assert!(alone.0 > 0.7 && !alone.1, "{alone:?}");
    assert!(many.0 < 0.2 && many.1, "{many:?}");
    assert!(large.0 > 0.9 && !large.1, "{large:?}");
    assert!(soon.0 > 0.6 && soon.1, "{soon:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The engine fails if a request is not answered, or if a message is not whole.
    #[test]
    fn whatever_is_lost_is_sent_again(
        n in 1u32..9,
        bytes in 0u64..400_000,
        buffer in 2u64..100,
        window in 1u32..40,
        receive in 1u64..300_000,
        send in 1u64..300_000,
    ) {
        let ethernet = format!("{{ mode = \"packets\", buffer = \"{buffer} kB\" }}");
        let hop = format!(
            ", tcp = {{ initial-window = {window}, min-rto = \"1 ms\", receive-buffer = \"{receive} B\", send-buffer = \"{send} B\" }}"
        );
        let text = incast(n, bytes, 2, &ethernet, &hop);
        let once = times_ps(&text, &profile());
        prop_assert_eq!(once.len(), 2 * n as usize);
        prop_assert_eq!(&once, &times_ps(&text, &profile()));
        // As fast as its bytes take on the slowest link at best.
        let least = 1_000 * (on_wire(bytes) + 2 * DELAY + REPLY + DELAY);
        for time in once {
            prop_assert!(time >= least, "{} {}", time, least);
        }
    }

    /// A window can only make a message later, and a larger one never later than a smaller.
    #[test]
    fn larger_windows_are_never_slower(
        bytes in 1u64..3_000_000,
        small in 1_500u64..50_000,
        more in 0u64..50_000,
    ) {
        let whole = |window: u64| window / MSS * MSS;
        let with = |window: u64| {
            let hop = format!(", tcp = {{ receive-buffer = \"{window} B\" }}");
            one(bytes, ETHERNET, &hop)
        };
        let (slow, fast) = (with(whole(small)), with(whole(small + more)));
        prop_assert!(slow >= fast && fast >= one(bytes, ETHERNET, ""), "{} {}", slow, fast);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |text: &str| match Scenario::parse(Path::new("a.toml"), text.to_owned(), &[]) {
        Err(error) => error.to_string(),
        Ok(scenario) => {
            let run = simulate(&scenario, Some(&profile()), &OPTIONS);
            run.err().unwrap().to_string()
        }
    };
    let link = |ethernet: &str| refused(&text(1, &format!("ethernet = {ethernet}"), ""));
    let hop = |tcp: &str| refused(&text(1, "", &format!(", tcp = {tcp}")));
    assert_snapshot!(link("{ mtu = \"100 B\" }"), @"a.toml:13: `links.0.ethernet.mtu`: must be from 576 B to 65.536 kB, found 100 B");
    assert_snapshot!(link("{ buffer = \"64 KiB\" }"), @"a.toml:13: `links.0.ethernet.buffer`: is only with `mode = \"packets\"`, since nothing waits in a fluid; found 65.536 kB");
    assert_snapshot!(link("{ mode = \"packets\", buffer = \"1 kB\" }"), @"a.toml:13: `links.0.ethernet.buffer`: must hold a frame, 1.538 kB; found 1 kB");
    assert_snapshot!(refused(&text(1, "ethernet = { mode = \"packets\" }", "").replace("rate = \"1 GB/s\"", "part = \"cable\"")), @"a.toml:13: `links.0.ethernet.mode`: must be `fluid` where the link has no `rate`, found `packets`");
    assert_snapshot!(hop("{ initial-window = 10 }"), @"a.toml:22: `clients.0.path.0.tcp.initial-window`: a window of packets where no link of the way is an `ethernet` cannot be simulated");
    assert_snapshot!(hop("{ send-buffer = \"0 B\" }"), @"a.toml:22: `clients.0.path.0.tcp.send-buffer`: must be more than zero, found zero");
    assert_snapshot!(refused(&text(1, "", ", tcp = {}").replace("over = \"tcp\"", "over = \"rdma\"")), @"a.toml:22: `clients.0.path.0.tcp`: is for hops over `tcp` from one host to another, found on one over `rdma`");
    assert_snapshot!(refused(&text(1, "", ", tcp = {}").replace("on = \"edge\"", "on = \"server\"")), @"a.toml:22: `clients.0.path.0.tcp`: is for hops over `tcp` from one host to another, found on one inside a host");
    let fault =
        "[[faults]]\nlink = [\"edge\", \"server\"]\nfrom = \"1 s\"\nfor = \"1 s\"\n[stages.work]";
    assert_snapshot!(refused(&text(1, "ethernet = { mode = \"packets\" }", "").replace("[stages.work]", fault)), @"a.toml:13: `links.0.ethernet.mode`: packets where links have `faults` cannot be simulated");
}

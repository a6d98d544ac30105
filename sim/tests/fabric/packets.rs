//! Packets against the fluid: how far they are apart, and why.

use schema::units::{ByteRate, Bytes, SimDuration, SimTime};
use sim::fabric::packets::{Format, Lanes, Lines, Pace, PacketFlow, PacketSpec, simulate};
use sim::fabric::topology::{Cable, Topology, star};
use sim::fabric::{Fabric, Graph, Routes};

use crate::fixture::{Start, chain, gb, links, ps, rate, run};

/// Packets of RoCE: 4,096 bytes, with headers of Ethernet (14, and 4 behind), IPv4 (20), UDP (8), BTH
/// and ICRC (12 and 4), and 20 of preamble and gap.
fn spec(lines: Lines) -> PacketSpec {
    PacketSpec {
        format: Format {
            payload: Bytes(4_096),
            header: Bytes(82),
        },
        pace: Pace::Window(64),
        lines,
    }
}

/// When each flow is over, as packets and as a fluid of as many bytes on the wire, with the
/// propagation delay of its path.
fn both(graph: &Graph, flows: &[PacketFlow], spec: &PacketSpec) -> (Vec<f64>, Vec<f64>) {
    let seconds = |ends: Vec<SimTime>| -> Vec<f64> {
        let times = ends.into_iter().zip(flows);
        times
            .map(|(end, flow)| end.since(flow.start).as_secs_f64())
            .collect()
    };
    let (packets, _) = simulate(graph, flows, spec, |_| Lanes::Line);
    let starts: Vec<Start> = flows
        .iter()
        .map(|flow| Start {
            at: flow.start,
            path: flow.path.clone(),
            bytes: spec.format.wire_bytes(flow.bytes),
            cap: None,
        })
        .collect();
    let (ends, _) = run(Fabric::new(graph), &starts);
    let there = |(end, flow): (SimTime, &PacketFlow)| end + graph.propagation_delay(&flow.path);
    let fluid = ends.into_iter().zip(flows).map(there).collect();
    (seconds(packets), seconds(fluid))
}

/// Largest relative difference, packets over fluid less one.
fn largest_difference((packets, fluid): &(Vec<f64>, Vec<f64>)) -> f64 {
    let differences = packets.iter().zip(fluid).map(|(p, f)| p / f - 1.0);
    differences.fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a })
}

fn flow(start_ns: u64, path: &[usize], bytes: u64) -> PacketFlow {
    PacketFlow {
        start: ps(1_000 * start_ns),
        path: links(path),
        bytes: Bytes(bytes),
    }
}

fn hosts() -> Topology {
    let cable = Cable {
        rate: "25 Gbit/s".parse::<ByteRate>().expect("it is a rate"),
        delay: SimDuration::from_ns(500),
    };
    star(9, cable).expect("it can be built")
}

/// Host `i` sends to the last, from staggered instants on.
fn incast(topology: &Topology, bytes: u64) -> Vec<PacketFlow> {
    let mut routes = Routes::new(&topology.graph);
    let flow = |from: usize| PacketFlow {
        start: ps(from as u64 * 777_777),
        path: routes
            .path(&topology.graph, topology.hosts[from], topology.hosts[8], 0)
            .expect("all are connected"),
        bytes: Bytes(bytes),
    };
    (0..8).map(flow).collect()
}

#[test]
fn alone_packets_are_stored_and_forwarded_to_the_picosecond() {
    let graph = chain(&[gb(1), gb(2), gb(1)]);
    let spec = spec(Lines::Shared);
    // One packet of 100 + 82 bytes: 182 + 91 + 182 ns.
    let line = |_| Lanes::Line;
    let (ends, _) = simulate(&graph, &[flow(3, &[0, 1, 2], 100)], &spec, line);
    assert_eq!(ends, [ps(3_000 + 455_000)]);
    // Three of 4,096 and one of 12: the first link sends them back to back, and the last forwards the
    // fourth after the third.
    let (ends, _) = simulate(&graph, &[flow(0, &[0, 1, 2], 12_300)], &spec, line);
    let whole = 4_178_000;
    assert_eq!(ends, [ps(3 * whole + whole / 2 + whole + 94_000)]);
}

#[test]
fn long_transfers_that_share_a_bottleneck_are_within_2_percent() {
    let topology = hosts();
    for lines in [Lines::Shared, Lines::PerFlow] {
        let flows = incast(&topology, 10_000_000);
        let found = both(&topology.graph, &flows, &spec(lines));
        let difference = largest_difference(&found);
        println!("eight to one, 10 MB each, {lines:?}: {difference:+.5}");
        assert!(difference.abs() < 0.02, "{lines:?}: {difference}");
    }
}

#[test]
fn with_turns_for_each_flow_a_parking_lot_is_within_2_percent() {
    // A long flow over three links, one of them slower, and a short one over each.
    let graph = chain(&[gb(3), gb(1), gb(3)]);
    let mut flows = vec![flow(0, &[0, 1, 2], 20_000_000)];
    flows.extend([(0, 30), (1, 20), (2, 30)].map(|(link, mb)| flow(0, &[link], mb * 1_000_000)));
    let found = both(&graph, &flows, &spec(Lines::PerFlow));
    let difference = largest_difference(&found);
    println!("parking lot, turns: {difference:+.5}");
    assert!(difference.abs() < 0.02, "{difference}");
}

/// A difference that is known: in a shared line whoever sends more has more, and the flow of many
/// hops less than its max-min share.
#[test]
fn in_shared_lines_a_parking_lot_is_not_max_min_fair() {
    let graph = chain(&[gb(1), gb(1), gb(1)]);
    let mut flows = vec![flow(0, &[0, 1, 2], 5_000_000)];
    flows.extend([0, 1, 2].map(|link| flow(0, &[link], 40_000_000)));
    let (packets, fluid) = both(&graph, &flows, &spec(Lines::Shared));
    let longer = packets[0] / fluid[0] - 1.0;
    println!("parking lot, shared lines, the long flow: {longer:+.5}");
    assert!((1.0..1.1).contains(&longer), "{longer}");
}

/// A difference that is known: a fluid is on all its links at once, and a packet on one after the
/// other. It is a packet's time on each link but the slowest.
#[test]
fn short_transfers_take_a_packet_a_hop_longer() {
    let topology = hosts();
    let spec = spec(Lines::Shared);
    let mut measured = Vec::new();
    for bytes in [1, 256, 4_096, 16_384, 65_536, 1_048_576] {
        let flows = &incast(&topology, bytes)[..1];
        let (packets, fluid) = both(&topology.graph, flows, &spec);
        measured.push(format!(
            "{bytes} B: {:.3} us, fluid {:.3} us, {:+.1}%",
            1e6 * packets[0],
            1e6 * fluid[0],
            100.0 * (packets[0] / fluid[0] - 1.0)
        ));
        let packet = Bytes(bytes.min(4_096) + 82);
        let longer = rate(3_125_000_000)
            .serialization_delay(packet)
            .as_secs_f64();
        assert!((packets[0] - fluid[0] - longer).abs() < 2e-12, "{bytes}");
    }
    println!("{}", measured.join("\n"));
    insta::assert_snapshot!(measured.join("\n"), @r"
    1 B: 1.053 us, fluid 1.027 us, +2.6%
    256 B: 1.216 us, fluid 1.108 us, +9.8%
    4096 B: 3.674 us, fluid 2.337 us, +57.2%
    16384 B: 7.685 us, fluid 6.348 us, +21.1%
    65536 B: 23.728 us, fluid 22.391 us, +6.0%
    1048576 B: 344.599 us, fluid 343.262 us, +0.4%
    ");
}

/// Short ones that share a link, where the order of packets matters: the mean over the flows is near.
#[test]
fn short_transfers_that_share_a_bottleneck() {
    let topology = hosts();
    let mut measured = Vec::new();
    for bytes in [4_096, 65_536, 1_048_576] {
        let mut flows = incast(&topology, bytes);
        for flow in &mut flows {
            flow.start = ps(0);
        }
        let (packets, fluid) = both(&topology.graph, &flows, &spec(Lines::Shared));
        let mean = |times: &[f64]| 1e6 * times.iter().sum::<f64>() / times.len() as f64;
        let (packets, fluid) = (mean(&packets), mean(&fluid));
        measured.push(format!(
            "8 x {bytes} B: {packets:.3} us, fluid {fluid:.3} us, {:+.1}%",
            100.0 * (packets / fluid - 1.0)
        ));
    }
    println!("{}", measured.join("\n"));
    insta::assert_snapshot!(measured.join("\n"), @r"
    8 x 4096 B: 8.353 us, fluid 11.696 us, -28.6%
    8 x 65536 B: 168.788 us, fluid 172.131 us, -1.9%
    8 x 1048576 B: 2735.752 us, fluid 2739.094 us, -0.1%
    ");
}

#[test]
fn over_links_that_are_not_queued_nothing_waits() {
    let graph = chain(&[gb(1)]);
    let flows = [flow(0, &[0], 100), flow(0, &[0], 100)];
    let at = |lanes: Lanes| simulate(&graph, &flows, &spec(Lines::Shared), |_| lanes).0;
    assert_eq!(at(Lanes::Line), [ps(182_000), ps(364_000)]);
    assert_eq!(at(Lanes::Open), [ps(182_000); 2]);
}

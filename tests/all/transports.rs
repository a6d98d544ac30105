//! The scenarios that compare transports, with the profiles that they name: what the figures drawn of
//! them say, where it follows from mechanism.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use plots::curves::{goodput_by_clients, time_by_size};
use schema::profile::Profile;
use schema::run::Run;
use schema::scenario::Scenario;
use sim::{Keep, Options};

use crate::common::base;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// The run of a scenario of `network/` with these changes.
fn run(name: &str, changes: &[&str]) -> Run {
    let path = scenarios().join(format!("network/{name}.toml"));
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    let scenario = Scenario::load(&path, &changes).unwrap();
    let profiles = ["a2.toml", "nics.toml", "ethernet.toml"];
    let profiles = profiles.map(|name| scenarios().join("profiles").join(name));
    let profile = Profile::load_all(&profiles).unwrap().unwrap();
    let options = Options {
        keep: Keep::Trace,
        ..base()
    };
    sim::simulate(&scenario, Some(&profile), &options).unwrap()
}

/// Mean times of a request by size, in microseconds, over a transport.
fn by_size(over: &str) -> Vec<f64> {
    let over = format!("clients.0.path.0.over={over}");
    let times = time_by_size(&run("transports", &[&over]));
    times.iter().map(|(_, seconds)| 1e6 * seconds).collect()
}

#[test]
fn the_more_is_sent_the_more_a_transport_without_copies_saves() {
    let [tcp, rdma, gdr] = ["tcp", "rdma", "gdr"].map(by_size);
    println!("us by size: tcp {tcp:.1?}, rdma {rdma:.1?}, gdr {gdr:.1?}");
    let saved = |from: &[f64], to: &[f64]| -> Vec<f64> {
        from.iter().zip(to).map(|(from, to)| from - to).collect()
    };
    for saved in [saved(&tcp, &gdr), saved(&rdma, &gdr)] {
        assert!(saved[0] > 0.0, "{saved:?}");
        assert!(saved.is_sorted(), "{saved:?}");
    }
    // Without copies through sockets messages are sooner. Of 4 MB the wire is nearly all, and RoCE puts
    // 1024 B into a frame where TCP puts 1448: what it saves is less than the wire takes longer.
    let saved = saved(&tcp, &rdma);
    assert!(saved[..3].iter().all(|saved| *saved > 0.0), "{saved:?}");
    let longer = 4e6 * (1106.0 / 1024.0 - 1538.0 / 1448.0) / 3.125e9 * 1e6;
    assert!(saved[3] < 0.0 && saved[3] > -longer, "{saved:?} {longer}");
}

/// Mean time of a request in milliseconds, from an edge to a gateway over one transport and on to the
/// server over another.
fn proxied(first: &str, second: &str) -> f64 {
    let changes = [
        format!("clients.0.path.0.over={first}"),
        format!("clients.0.path.1.over={second}"),
    ];
    let run = run("proxied", &[&changes[0], &changes[1]]);
    1e3 * run.summary().end_to_end.mean.value
}

#[test]
fn each_hop_without_copies_makes_a_proxied_request_sooner() {
    let [tcp_tcp, tcp_rdma, tcp_gdr] = ["tcp", "rdma", "gdr"].map(|second| proxied("tcp", second));
    let [rdma_rdma, rdma_gdr] = ["rdma", "gdr"].map(|second| proxied("rdma", second));
    println!(
        "ms: TCP/TCP {tcp_tcp:.3}, TCP/RDMA {tcp_rdma:.3}, TCP/GDR {tcp_gdr:.3}, RDMA/RDMA {rdma_rdma:.3}, RDMA/GDR {rdma_gdr:.3}"
    );
    // The second hop.
    assert!(tcp_tcp > tcp_rdma && tcp_rdma > tcp_gdr);
    assert!(rdma_rdma > rdma_gdr);
    // The first hop, and the gateway, which copies nothing between two adapters.
    assert!(tcp_rdma > rdma_rdma && tcp_gdr > rdma_gdr);
}

/// Payload in Gbit/s that many clients get to one server through a buffer.
fn incast(clients: u32, buffer: &str, min_rto: &str) -> f64 {
    let changes = [
        format!("clients.0.count={clients}"),
        format!("links.1.ethernet.buffer={buffer}"),
        format!("clients.0.path.0.tcp.min-rto={min_rto}"),
    ];
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    8e-9 * goodput_by_clients(&run("incast-loss", &changes)).1
}

#[test]
fn an_incast_collapses_where_the_buffer_overflows() {
    let counts = [1, 2, 4, 8, 64];
    let of = |buffer: &str, min_rto: &str| counts.map(|n| incast(n, buffer, min_rto));
    let small = of("256 KiB", "200 ms");
    let large = of("64 MiB", "200 ms");
    let soon = of("256 KiB", "1 ms");
    println!("Gbit/s of {counts:?}: small {small:.2?}, large {large:.2?}, soon {soon:.2?}");
    for (index, n) in counts.iter().enumerate() {
        let (small, large, soon) = (small[index], large[index], soon[index]);
        if n * 64 <= 256 {
            // All windows fit the buffer.
            assert!(
                small.total_cmp(&large).is_eq() && soon.total_cmp(&large).is_eq(),
                "{n}"
            );
        } else {
            // Some wait for a timeout of many times what all of them would take.
            assert!(small < 0.2 * large, "{n}: {small} {large}");
            assert!(
                soon > 3.0 * small && soon < large,
                "{n}: {soon} {small} {large}"
            );
        }
    }
    // Where nothing is lost more clients fill the cable: 94.1% of 25 Gbit/s are payload.
    assert!(large.is_sorted(), "{large:?}");
    assert!(large[4] > 0.99 * 23.54 && large[4] < 23.54, "{large:?}");
}

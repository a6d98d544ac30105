//! The scenario that compares transports, with the profiles that it names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use schema::profile::Profile;
use schema::run::SpanName;
use schema::scenario::Scenario;
use sim::{Keep, Options};

use crate::common::base;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Mean times of a request by class, in microseconds, over a transport.
fn by_class(over: &str) -> Vec<f64> {
    let path = scenarios().join("network/transports.toml");
    let over = format!("clients.0.path.0.over={over}");
    let scenario = Scenario::load(&path, &[over]).unwrap();
    let profiles = ["a2.toml", "nics.toml"].map(|name| scenarios().join("profiles").join(name));
    let profile = Profile::load_all(&profiles).unwrap().unwrap();
    let options = Options {
        keep: Keep::Trace,
        ..base()
    };
    let run = sim::simulate(&scenario, Some(&profile), &options).unwrap();
    let classes = scenario.classes.ids().map(|class| {
        let whole = run.trace.iter();
        let whole = whole.filter(|s| s.name == SpanName::Request && s.class == class);
        let times: Vec<u64> = whole.map(|s| s.end_ns - s.ready_ns).collect();
        times.iter().sum::<u64>() as f64 / times.len() as f64 / 1e3
    });
    classes.collect()
}

#[test]
fn the_more_is_sent_the_more_a_transport_without_copies_saves() {
    let [tcp, rdma, gdr] = ["tcp", "rdma", "gdr"].map(by_class);
    println!("us by class: tcp {tcp:.1?}, rdma {rdma:.1?}, gdr {gdr:.1?}");
    let saved = |from: &[f64], to: &[f64]| -> Vec<f64> {
        from.iter().zip(to).map(|(from, to)| from - to).collect()
    };
    for saved in [saved(&tcp, &gdr), saved(&rdma, &gdr)] {
        assert!(saved[0] > 0.0, "{saved:?}");
        assert!(saved.is_sorted(), "{saved:?}");
    }
    // Packets of RoCE have headers on the wire and those of TCP have none, which is in DEVIATIONS.md.
    let saved = saved(&tcp, &rdma);
    assert!(saved[0] > 0.0 && saved[1] > 0.0, "{saved:?}");
    assert!(saved[3] < 0.0, "{saved:?}");
}

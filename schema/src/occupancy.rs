//! Who works how much in a run, and how long what is waited for.

use std::collections::BTreeMap;

use crate::ids::HostId;
use crate::run::{Run, SpanName};

/// What spans of one name on one host add up to, in the order of names.
#[derive(Clone, PartialEq, Debug)]
pub struct Occupancy {
    /// What.
    pub name: SpanName,
    /// Where; of a message on a wire, at the receiving end.
    pub host: HostId,
    /// Number of these spans.
    pub n: u64,
    /// Mean time from when one could start until it did, in seconds.
    pub waiting_s: f64,
    /// Mean time from then until its end, in seconds.
    pub service_s: f64,
    /// Mean number that were under way, over the whole run: the utilisation, where there can be only
    /// one at a time.
    pub busy: f64,
}

/// The occupancy of a run by host and name, the busiest first.
///
/// Spans of whole requests, and `queue`, which is waiting alone, are left out.
pub fn occupancy(run: &Run) -> Vec<Occupancy> {
    let mut sums: BTreeMap<(SpanName, HostId), [u64; 3]> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for span in &run.trace {
        let end: &mut u64 = ends.entry(span.replication).or_default();
        *end = span.end_ns.max(*end);
        if matches!(span.name, SpanName::Request | SpanName::Queue) {
            continue;
        }
        let sums = sums.entry((span.name, span.host)).or_default();
        sums[0] += 1;
        sums[1] += span.start_ns.saturating_sub(span.ready_ns);
        sums[2] += span.end_ns - span.start_ns;
    }
    let length: u64 = ends.values().sum();
    let rows = sums
        .into_iter()
        .map(|((name, host), [n, waiting, service])| Occupancy {
            name,
            host,
            n,
            waiting_s: waiting as f64 / 1e9 / n as f64,
            service_s: service as f64 / 1e9 / n as f64,
            busy: service as f64 / length as f64,
        });
    let mut rows: Vec<Occupancy> = rows.collect();
    rows.sort_by(|a, b| b.busy.total_cmp(&a.busy));
    rows
}

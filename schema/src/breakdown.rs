//! Where the time of a request went: its spans laid over its timeline, each instant counted once.
//!
//! Spans may overlap: a receiver takes the first bytes of a message while its sender hands over the
//! last. An instant that several spans cover belongs to the one that was ready first, so the parts
//! of a request sum to the time that is covered, and with [`Breakdown::other_s`] to its end-to-end
//! time exactly.
//!
//! The same holds of the branches of a request, several of which may be under way at an instant: it
//! counts once, for the span that was ready first.
//!
//! What failed counts for nothing: it is what was done for an attempt after its client had given it up.
//!
//! Spans that lie inside another ([`SpanName::is_detail`]) are for timelines and count for nothing:
//! their time is that of the span around them.

use std::collections::BTreeMap;

use crate::ids::{ClassId, RequestId};
use crate::run::{Span, SpanName, Status};

/// The time of one request.
#[derive(Clone, PartialEq, Debug)]
pub struct Breakdown {
    /// Replication, from zero.
    pub replication: u32,
    /// Which request.
    pub request: RequestId,
    /// Its class.
    pub class: ClassId,
    /// When it was meant to be sent, in nanoseconds since the clients' common start.
    pub ready_ns: u64,
    /// When its reply had been taken.
    pub end_ns: u64,
    /// Time that counts for each span name, in nanoseconds, in the order of [`SpanName::ALL`].
    part_ns: [u64; SpanName::ALL.len()],
}

impl Breakdown {
    /// End-to-end time, in seconds.
    pub fn end_to_end_s(&self) -> f64 {
        (self.end_ns - self.ready_ns) as f64 / 1e9
    }

    /// The part of the end-to-end time that belongs to `name`, in seconds; zero for names that are
    /// no parts.
    pub fn part_s(&self, name: SpanName) -> f64 {
        self.part_ns[name as usize] as f64 / 1e9
    }

    /// The part that no span covers, in seconds.
    pub fn other_s(&self) -> f64 {
        (self.end_ns - self.ready_ns - self.part_ns.iter().sum::<u64>()) as f64 / 1e9
    }
}

/// The breakdown of every request that was completed, ordered by replication and request.
pub fn breakdowns(trace: &[Span]) -> Vec<Breakdown> {
    let mut requests: BTreeMap<(u32, RequestId), Vec<&Span>> = BTreeMap::new();
    for span in trace.iter().filter(|span| !span.name.is_detail()) {
        requests
            .entry((span.replication, span.request))
            .or_default()
            .push(span);
    }
    requests
        .into_values()
        .filter_map(|spans| breakdown(spans))
        .collect()
}

fn breakdown(mut spans: Vec<&Span>) -> Option<Breakdown> {
    spans.sort_by_key(|span| (span.ready_ns, span.start_ns, span.end_ns, span.name));
    let whole = spans
        .iter()
        .find(|s| s.name == SpanName::Request && s.status == Status::Ok)?;
    let mut part_ns = [0; SpanName::ALL.len()];
    let mut covered = whole.ready_ns;
    let is_part = |span: &&&Span| span.name != SpanName::Request && span.status == Status::Ok;
    for span in spans.iter().filter(is_part) {
        let end = span.end_ns.min(whole.end_ns);
        let start = span.ready_ns.max(covered);
        if end > start {
            part_ns[span.name as usize] += end - start;
            covered = end;
        }
    }
    Some(Breakdown {
        replication: whole.replication,
        request: whole.request,
        class: whole.class,
        ready_ns: whole.ready_ns,
        end_ns: whole.end_ns,
        part_ns,
    })
}

//! From journals to a run.

use std::collections::BTreeMap;
use std::path::Path;

use schema::ids::RequestId;
use schema::run::{CpuUse, Leg, MACHINE, Manifest, Run, Span, SpanName};
use schema::scenario::Scenario;
use schema::summary::windows;

use crate::error::RealrunError;
use crate::journal;
use crate::roles::{read_core_time, roles};

/// Makes the run that `manifest` describes from what the roles recorded in `journals`.
pub(super) fn assemble(manifest: Manifest, journals: &Path) -> Result<Run, RealrunError> {
    let mut trace = journal::read_all(journals)?;
    trace.extend(wires(&trace));
    trace.sort_by_key(Span::order);
    let steal_s = manifest.measured.as_ref().map_or(0.0, |m| m.steal_s);
    let mut run = Run::new(manifest, trace)?;
    let window = windows(&run)[0];
    let length_s = (window.1 - window.0) as f64 / 1e9;
    if length_s > 0.0 && steal_s > 0.02 * length_s {
        run.manifest.warnings.push(format!(
            "the hypervisor kept cores from running for {steal_s:.2} s; measure again when the host is quiet"
        ));
    }
    run.manifest.cpu = core_time(&run.scenario, journals, window);
    Ok(run)
}

/// The gap between the end of a message's `send` and the start of its `receive`, where there is
/// one: all roles share a clock.
fn wires(trace: &[Span]) -> Vec<Span> {
    type Message = (RequestId, Option<u8>, Leg);
    let mut sent: BTreeMap<Message, u64> = BTreeMap::new();
    for span in trace.iter().filter(|span| span.name == SpanName::Send) {
        sent.insert((span.request, span.hop, span.leg), span.end_ns);
    }
    let received = trace.iter().filter(|span| span.name == SpanName::Receive);
    received
        .filter_map(|span| {
            let start = *sent.get(&(span.request, span.hop, span.leg))?;
            let end = span.start_ns.max(start);
            Some(Span {
                name: SpanName::Wire,
                ready_ns: start,
                start_ns: start,
                end_ns: end,
                cpu_ns: 0,
                ..*span
            })
        })
        .collect()
}

/// Core time of every role and of the machine inside the window.
fn core_time(scenario: &Scenario, journals: &Path, window: (u64, u64)) -> Vec<CpuUse> {
    let window_s = (window.1 - window.0) as f64 / 1e9;
    let use_of = |role: String| {
        let samples = read_core_time(journals, &role);
        let busy_s = interpolate(&samples, window.1)? - interpolate(&samples, window.0)?;
        Some(CpuUse {
            replication: 0,
            role,
            busy_s,
            window_s,
        })
    };
    let names = roles(scenario)
        .into_iter()
        .map(|(role, _)| role.to_string());
    names
        .chain([MACHINE.to_owned()])
        .filter_map(use_of)
        .collect()
}

/// The value at `at` on the line through the samples around it, and of the last or first two
/// outside them; `None` with fewer than two.
fn interpolate(samples: &[(u64, f64)], at: u64) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let after = samples
        .partition_point(|(time, _)| *time < at)
        .clamp(1, samples.len() - 1);
    let ((t0, v0), (t1, v1)) = (samples[after - 1], samples[after]);
    if t1 <= t0 {
        return Some(v1);
    }
    Some(v0 + (at as f64 - t0 as f64) / (t1 - t0) as f64 * (v1 - v0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_joined_by_lines() {
        let samples = [(0, 0.0), (10, 1.0), (20, 3.0)];
        assert_eq!(interpolate(&samples, 15), Some(2.0));
        assert_eq!(interpolate(&samples, 30), Some(5.0));
        assert_eq!(interpolate(&samples[..1], 5), None);
    }
}

//! From journals to a run.

use std::collections::BTreeMap;
use std::path::Path;

use schema::ids::RequestId;
use schema::run::{
    CpuUse, Leg, MACHINE, Manifest, Measured, Outcome, RUN_FORMAT, Run, RunKind, Span, SpanName,
    content_hash,
};
use schema::scenario::Scenario;
use schema::summary::windows;

use super::MeasureOptions;
use crate::error::RealrunError;
use crate::journal;
use crate::machine::MachineTime;
use crate::roles::{read_core_time, roles};

/// What a measurement left behind.
pub(super) struct Recorded<'a> {
    pub(super) journals: &'a Path,
    pub(super) outcome: Outcome,
    pub(super) measured: Measured,
    /// The machine's core time at nanoseconds since the start.
    pub(super) machine: Vec<(u64, MachineTime)>,
    pub(super) warnings: Vec<String>,
}

/// Makes the run.
pub(super) fn assemble(
    scenario: &Scenario,
    options: &MeasureOptions,
    recorded: Recorded<'_>,
) -> Result<Run, RealrunError> {
    let mut trace = journal::read_all(recorded.journals)?;
    trace.extend(wires(&trace));
    trace.sort_by_key(|span| {
        (
            span.request,
            span.ready_ns,
            span.start_ns,
            span.end_ns,
            span.name,
        )
    });
    let source = scenario.source();
    let name = source.path().display().to_string();
    let mut warnings = recorded.warnings;
    let steal = recorded.measured.steal_s;
    let manifest = Manifest {
        format: RUN_FORMAT,
        kind: RunKind::Measured,
        program: options.program.clone(),
        scenario: scenario.file().clone(),
        inputs: BTreeMap::from([(name, content_hash(source.text().as_bytes()))]),
        replications: 1,
        outcome: recorded.outcome,
        cpu: Vec::new(),
        warnings: Vec::new(),
        measured: Some(recorded.measured),
    };
    let mut run = Run::new(manifest, trace)?;
    let window = windows(&run)[0];
    let length_s = (window.1 - window.0) as f64 / 1e9;
    if length_s > 0.0 && steal > 0.02 * length_s {
        warnings.push(format!(
            "the hypervisor kept cores from running for {steal:.2} s; measure again when the host is quiet"
        ));
    }
    run.manifest.cpu = core_time(scenario, recorded.journals, &recorded.machine, window);
    run.manifest.warnings = warnings;
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
fn core_time(
    scenario: &Scenario,
    journals: &Path,
    machine: &[(u64, MachineTime)],
    window: (u64, u64),
) -> Vec<CpuUse> {
    let window_s = (window.1 - window.0) as f64 / 1e9;
    let use_of = |role: String, samples: &[(u64, f64)]| {
        let busy_s = interpolate(samples, window.1)? - interpolate(samples, window.0)?;
        Some(CpuUse {
            replication: 0,
            role,
            busy_s,
            window_s,
        })
    };
    let by_role = roles(scenario).into_iter().filter_map(|(role, _)| {
        let samples = read_core_time(journals, &role);
        let samples: Vec<(u64, f64)> = samples
            .into_iter()
            .map(|(at, cpu)| (at, cpu as f64 / 1e9))
            .collect();
        use_of(role.to_string(), &samples)
    });
    let whole: Vec<(u64, f64)> = machine
        .iter()
        .map(|(at, time)| (*at, time.busy_s))
        .collect();
    by_role.chain(use_of(MACHINE.to_owned(), &whole)).collect()
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

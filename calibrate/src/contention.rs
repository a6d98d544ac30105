//! Contention: how much slower a core is while the other cores of its machine are busy.
//!
//! Caches, memory bandwidth and the units of a core's two hardware threads are shared, so the same
//! work takes more core time beside busy cores. For every work and batch size that ran beside
//! different loads, the mean core time is fitted as `baseline · (1 + contention · busy)`, with
//! `busy` the busy share of the machine's other sets of cores over the run: a baseline of its own
//! for each work and size, one contention for the part.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, DVector};
use schema::ids::{CoreSetId, StageId};
use schema::profile::{IdleLaw, Parameter, Profile, cost};
use schema::run::{Run, SpanName, Status};
use schema::scenario::{Placement, Scenario};
use schema::stats::{mean, variance};

use crate::correlation::effective_samples;
use crate::idle::{MEMORIES_S, recent};
use crate::samples::{batch_sizes, counted, inference_driver, serve};
use crate::{FEW_SAMPLES, Source, names};

/// Least difference of the busy share, with one work and batch size, that shows contention.
const MIN_SPREAD: f64 = 0.1;
/// Work shorter than that, in seconds, is left out: reading clocks is a good part of it.
const MIN_WORK_S: f64 = 50e-6;
/// Number of Gauss-Newton steps; they settle within ten.
const N_STEPS: usize = 25;

/// The contention of one host part, and the runs that show it.
#[derive(Clone, PartialEq, Debug)]
pub struct ContentionReport {
    /// The part.
    pub part: String,
    /// The estimate; `None` if the runs cannot identify it.
    pub estimate: Option<Parameter>,
    /// What it was fitted to, or would have been.
    pub points: Vec<ContentionPoint>,
    /// Why there is no estimate, or how far to trust it.
    pub notes: Vec<String>,
}

/// The inference of one work and batch size in one run.
#[derive(Clone, PartialEq, Debug)]
pub struct ContentionPoint {
    /// The run.
    pub run: String,
    /// The serving stage.
    pub stage: String,
    /// Key of the work.
    pub work: String,
    /// Requests of the batch, or seconds asked for.
    pub driver: f64,
    /// Busy share of the machine's other sets of cores, from 0 to 1.
    pub busy: f64,
    /// Mean core time, in seconds.
    pub mean_s: f64,
    /// Standard error of the mean, in seconds.
    pub standard_error_s: f64,
    /// Number of batches.
    pub samples: usize,
}

/// The contention of each host part on which inference ran beside other sets of cores; `profile`
/// knows how much slower cores are that have idled.
pub(crate) fn estimate(sources: &[Source], profile: &Profile) -> Vec<ContentionReport> {
    let mut parts: BTreeMap<String, (Vec<ContentionPoint>, Vec<usize>)> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        for (part, point) in points(source, profile) {
            let (points, runs) = parts.entry(part).or_default();
            points.push(point);
            runs.push(index);
        }
    }
    let reports = parts.into_iter().map(|(part, (points, runs))| {
        let runs = names(sources, runs);
        report(part, points, &runs)
    });
    reports.collect()
}

/// Part and point of each work and batch size that `source` ran beside other sets of cores.
fn points(source: &Source, profile: &Profile) -> Vec<(String, ContentionPoint)> {
    let run = source.run;
    let scenario = &run.scenario;
    if matches!(scenario.placement, Placement::Separate | Placement::Device) {
        return Vec::new();
    }
    let counted = counted(run);
    let sizes = batch_sizes(run);
    let recent = recent(run);
    // Core time of each batch, by stage and bits of the driver.
    let mut times: BTreeMap<(StageId, u64), BTreeMap<(u32, u32), f64>> = BTreeMap::new();
    for (span, recent) in run.trace.iter().zip(&recent) {
        let counts = span.name == SpanName::Inference
            && span.status == Status::Ok
            && span.cpu_ns > 0
            && counted.contains(&(span.replication, span.request));
        let Some(serve) = serve(scenario, span.stage).filter(|_| counts) else {
            continue;
        };
        let batch = (span.replication, span.stage, span.batch);
        let (_, driver, _) = inference_driver(&serve.work, sizes[&batch]);
        let Some(recent) = recent else {
            continue;
        };
        let part = &scenario.hosts[scenario.stages[span.stage].host].part;
        let idle = idle_law(profile, part, &serve.work.key());
        // What it would have taken on cores that were busy all along.
        let slower = idle.map_or(1.0, |(idle, memory)| idle.factor(recent[memory]));
        times
            .entry((span.stage, driver.to_bits()))
            .or_default()
            .insert((span.replication, span.batch), span.cpu_s() / slower);
    }
    let point = |((stage, driver), batches): ((StageId, u64), BTreeMap<_, f64>)| {
        let row = &scenario.stages[stage];
        let host = &scenario.hosts[row.host];
        let busy = busy_of_others(run, host.core_set)?;
        let times: Vec<f64> = batches.into_values().collect();
        if times.len() < FEW_SAMPLES || mean(&times) < MIN_WORK_S {
            return None;
        }
        let point = ContentionPoint {
            run: source.name.clone(),
            stage: row.name.clone(),
            work: serve(scenario, stage)?.work.key(),
            driver: f64::from_bits(driver),
            busy,
            mean_s: mean(&times),
            standard_error_s: (variance(&times) / effective_samples(&times)).sqrt(),
            samples: times.len(),
        };
        Some((host.part.clone(), point))
    };
    times.into_iter().filter_map(point).collect()
}

/// How much slower `work` is on cores of `part` that have idled, and which of the memories it has.
fn idle_law(profile: &Profile, part: &str, work: &str) -> Option<(IdleLaw, usize)> {
    let law = profile.parts.get(part)?.costs.get(&cost::inference(work))?;
    let idle = law.idle?;
    let is_its = |memory: &f64| memory.total_cmp(&idle.memory).is_eq();
    Some((idle, MEMORIES_S.iter().position(is_its)?))
}

/// Busy share of the sets of cores of the same machine other than `own`; `None` if there is no
/// other, or no record of what they did.
fn busy_of_others(run: &Run, own: CoreSetId) -> Option<f64> {
    let scenario = &run.scenario;
    let machine = scenario.core_sets[own].machine;
    let is_other = |id: CoreSetId| id != own && scenario.core_sets[id].machine == machine;
    let n_cores: usize = scenario
        .core_sets
        .iter()
        .filter(|(id, _)| is_other(*id))
        .map(|(_, set)| set.cores.len())
        .sum();
    if n_cores == 0 || run.manifest.cpu.is_empty() {
        return None;
    }
    let uses = run.manifest.cpu.iter().filter(|u| u.window_s > 0.0);
    let busy: f64 = uses
        .filter(|u| core_set_of(scenario, &u.role).is_some_and(is_other))
        .map(|u| u.busy_s / u.window_s)
        .sum();
    let n_replications = f64::from(run.manifest.replications.max(1));
    Some((busy / n_cores as f64 / n_replications).clamp(0.0, 1.0))
}

/// The set of cores of a role: `client <host>`, `proxy <stage>` or `server <stage>`.
fn core_set_of(scenario: &Scenario, role: &str) -> Option<CoreSetId> {
    let (kind, name) = role.split_once(' ')?;
    let host = match kind {
        "client" => scenario.hosts.rows().iter().find(|h| h.name == name)?,
        "proxy" | "server" => {
            let stages = scenario.stages.rows();
            &scenario.hosts[stages.iter().find(|s| s.name == name)?.host]
        }
        _ => return None,
    };
    Some(host.core_set)
}

fn report(part: String, points: Vec<ContentionPoint>, runs: &str) -> ContentionReport {
    let mut groups: BTreeMap<(&str, u64), Vec<&ContentionPoint>> = BTreeMap::new();
    for point in &points {
        let key = (point.work.as_str(), point.driver.to_bits());
        groups.entry(key).or_default().push(point);
    }
    let spread = |group: &[&ContentionPoint]| {
        let busy = group.iter().map(|p| p.busy);
        busy.clone().fold(f64::NEG_INFINITY, f64::max) - busy.fold(f64::INFINITY, f64::min)
    };
    let widest = groups.values().map(|g| spread(g)).fold(0.0, f64::max);
    if widest < MIN_SPREAD {
        let notes = vec![format!(
            "cannot be identified: the busy share of the other cores differs by {widest:.2} at most between runs of one work and batch size, at least {MIN_SPREAD} is needed; add a run with the other cores idle and one with them busy"
        )];
        return ContentionReport {
            part,
            estimate: None,
            points,
            notes,
        };
    }
    let groups: Vec<Vec<&ContentionPoint>> = groups.into_values().collect();
    let fit = solve(&groups);
    let mut notes = Vec::new();
    if fit.value < 0.0 {
        notes.push(format!(
            "came out as {:.3} ± {:.3}, and is set to zero: work cannot be faster beside busy cores",
            fit.value, fit.error
        ));
    }
    if fit.n_spare == 0 {
        notes.push(
            "two runs are joined by a line, which always fits: add a third load to see whether contention is linear".to_owned(),
        );
    }
    let estimate = Parameter {
        range: None,
        value: fit.value.max(0.0),
        standard_error: fit.error,
        unit: "1".to_owned(),
        source: runs.to_owned(),
    };
    ContentionReport {
        part,
        estimate: Some(estimate),
        points,
        notes,
    }
}

struct Solution {
    value: f64,
    error: f64,
    /// Points less parameters.
    n_spare: usize,
}

/// Gauss-Newton on `ln mean = ln baseline[group] + ln(1 + contention · busy)`, each point weighted
/// by its relative standard error. Where the points scatter more than their errors say (runs differ
/// by more than chance), the standard error is widened by `√(χ² / spare points)`.
fn solve(groups: &[Vec<&ContentionPoint>]) -> Solution {
    let rows: Vec<(usize, &ContentionPoint)> = groups
        .iter()
        .enumerate()
        .flat_map(|(group, points)| points.iter().map(move |p| (group, *p)))
        .collect();
    let (n, p) = (rows.len(), groups.len() + 1);
    // A tenth of a percent at least: no two runs are more alike, and none may outweigh all others.
    let sigma = |point: &ContentionPoint| (point.standard_error_s / point.mean_s).max(1e-3);
    let mut law = DVector::zeros(p);
    for (group, points) in groups.iter().enumerate() {
        let logs: Vec<f64> = points.iter().map(|point| point.mean_s.ln()).collect();
        law[group] = mean(&logs);
    }
    let (mut chi2, mut variance) = (0.0, 0.0);
    for _ in 0..N_STEPS {
        let kappa: f64 = law[p - 1];
        let factor = |point: &ContentionPoint| (1.0 + kappa * point.busy).max(0.1);
        let design = DMatrix::from_fn(n, p, |row, column| {
            let (group, point) = rows[row];
            let derivative = if column == p - 1 {
                point.busy / factor(point)
            } else {
                f64::from(u8::from(column == group))
            };
            derivative / sigma(point)
        });
        let rest = DVector::from_fn(n, |row, _| {
            let (group, point) = rows[row];
            (point.mean_s.ln() - law[group] - factor(point).ln()) / sigma(point)
        });
        chi2 = rest.norm_squared();
        let svd = design.svd(true, true);
        let Ok(step) = svd.solve(&rest, 1e-12) else {
            break;
        };
        let inverse = svd.pseudo_inverse(1e-12);
        variance = inverse.map_or(0.0, |inverse| inverse.row(p - 1).norm_squared());
        law += step;
    }
    let n_spare = n.saturating_sub(p);
    let widening = if n_spare > 0 {
        (chi2 / n_spare as f64).max(1.0)
    } else {
        1.0
    };
    Solution {
        value: law[p - 1],
        error: (variance * widening).sqrt(),
        n_spare,
    }
}

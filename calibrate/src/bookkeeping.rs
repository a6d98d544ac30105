//! Core time that roles spend on requests in no span.
//!
//! A thread that has sent or taken a message records what it did, makes room for the next, and goes to
//! sleep. Nobody waits for that, so no span holds it, but it takes the cores from others. It is what
//! remains of the core time of a role's process, which `run.json` has for the measured window, without
//! that of its spans.

use std::collections::{BTreeMap, BTreeSet};

use schema::ids::{Id, StageId};
use schema::profile::{CostLaw, Driver, Profile, cost};
use schema::run::{Leg, MACHINE, Run, Span, SpanName, Status};
use schema::scenario::{CompletionBy, Extent, Scenario, StageRole};

use crate::samples::{counted, is_light, serve};
use crate::{FitReport, Source, names};

/// Part and cost.
type Key = (String, String);

/// One run's core time in no span.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sample {
    source: usize,
    light: bool,
    /// Requests that it is of.
    requests: f64,
    /// Mean of a request, in seconds.
    seconds: f64,
}

/// Who spends core time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    /// The clients of a host, by its number.
    Client(usize),
    Stage(StageId),
}

/// The core time in no span of each part's clients, proxies and servers; of a server without what
/// `profile` has for `notify`, which the engine spends on cores too.
pub(crate) fn fit(sources: &[Source], profile: &Profile) -> Vec<FitReport> {
    let mut samples: BTreeMap<Key, Vec<Sample>> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        if has_window(source.run) && is_chain(&source.run.scenario) {
            collect(index, source.run, profile, &mut samples);
        }
    }
    let fits = samples.into_iter().map(|((part, cost), samples)| {
        let light: Vec<Sample> = samples.iter().copied().filter(|s| s.light).collect();
        let used = if light.is_empty() { &samples } else { &light };
        report(part, cost, used, sources)
    });
    fits.collect()
}

/// Whether the requests that count are those of the window whose core time is known: with a number of
/// requests for each of several clients, it ends when the first is done.
fn has_window(run: &Run) -> bool {
    matches!(run.scenario.measure, Extent::Time(_)) || is_light(&run.scenario)
}

/// Whether every request goes over its path and back, and no stage calls another: what hardware runs.
fn is_chain(scenario: &Scenario) -> bool {
    let groups = scenario.groups.rows();
    (groups.iter()).all(|group| group.branches.is_empty() && group.reply.is_none())
}

fn collect(index: usize, run: &Run, profile: &Profile, samples: &mut BTreeMap<Key, Vec<Sample>>) {
    let scenario = &run.scenario;
    let counted = counted(run);
    let mut in_spans: BTreeMap<(u32, Who), f64> = BTreeMap::new();
    let mut requests: BTreeMap<(u32, Who), BTreeSet<_>> = BTreeMap::new();
    let mut batches = BTreeSet::new();
    for span in &run.trace {
        if span.status == Status::Failed || !counted.contains(&(span.replication, span.request)) {
            continue;
        }
        let Some(who) = who(scenario, span) else {
            continue;
        };
        let is_batched = matches!(span.name, SpanName::Preprocess | SpanName::Inference);
        let batch = (span.name, span.replication, span.stage, span.batch);
        if is_batched && !batches.insert(batch) {
            continue;
        }
        let key = (span.replication, who);
        *in_spans.entry(key).or_default() += span.cpu_s();
        requests.entry(key).or_default().insert(span.request);
    }
    for cpu in run.manifest.cpu.iter().filter(|cpu| cpu.role != MACHINE) {
        let found = in_spans.iter().find(|((replication, who), _)| {
            *replication == cpu.replication && role_name(scenario, *who) == cpu.role
        });
        let Some((key, in_spans_s)) = found else {
            continue;
        };
        let who = key.1;
        // Polling would count, and what a core does beside a GPU.
        if polls(scenario, who) || is_on_gpu(scenario, who) {
            continue;
        }
        let n = requests[key].len() as f64;
        let (part, cost) = cost_of(scenario, who);
        let known_s = match cost {
            cost::BOOKKEEPING_SERVER => {
                let costs = profile.parts.get(part).map(|part| &part.costs);
                costs.and_then(|costs| costs.get(cost::NOTIFY))
            }
            _ => None,
        };
        let known_s = known_s.map_or(0.0, |notify| notify.expected(1.0));
        let key = (part.to_owned(), cost.to_owned());
        samples.entry(key).or_default().push(Sample {
            source: index,
            light: is_light(scenario),
            requests: n,
            seconds: ((cpu.busy_s - in_spans_s) / n - known_s).max(0.0),
        });
    }
}

/// Whose core time a span holds; `None` of one that holds none or whose path is not there.
fn who(scenario: &Scenario, span: &Span) -> Option<Who> {
    let client = scenario.clients.rows().get(span.request.client().index())?;
    let group = &scenario.groups[client.group];
    let of_client = Who::Client(client.host.index());
    match span.name {
        SpanName::Prepare | SpanName::Postprocess => Some(of_client),
        SpanName::Send | SpanName::Receive => {
            let hop = usize::from(span.hop?);
            let at_near = (span.name == SpanName::Send) == (span.leg == Leg::Request);
            match (at_near, hop) {
                (true, 0) => Some(of_client),
                (true, hop) => group.path.get(hop - 1).map(|hop| Who::Stage(hop.to)),
                (false, hop) => group.path.get(hop).map(|hop| Who::Stage(hop.to)),
            }
        }
        SpanName::Translate
        | SpanName::H2d
        | SpanName::Preprocess
        | SpanName::Inference
        | SpanName::D2h => Some(Who::Stage(span.stage)),
        _ => None,
    }
}

/// The role as `run.json` calls it.
fn role_name(scenario: &Scenario, who: Who) -> String {
    match who {
        Who::Client(host) => format!("client {}", scenario.hosts.rows()[host].name),
        Who::Stage(stage) => {
            let row = &scenario.stages[stage];
            let kind = match row.role {
                StageRole::Serve(_) => "server",
                StageRole::Proxy(_) | StageRole::Plain(_) => "proxy",
            };
            format!("{kind} {}", row.name)
        }
    }
}

fn cost_of(scenario: &Scenario, who: Who) -> (&str, &'static str) {
    match who {
        Who::Client(host) => (&scenario.hosts.rows()[host].part, cost::BOOKKEEPING_CLIENT),
        Who::Stage(stage) => {
            let row = &scenario.stages[stage];
            let cost = match row.role {
                StageRole::Serve(_) => cost::BOOKKEEPING_SERVER,
                StageRole::Proxy(_) | StageRole::Plain(_) => cost::BOOKKEEPING_PROXY,
            };
            (&scenario.hosts[row.host].part, cost)
        }
    }
}

fn is_on_gpu(scenario: &Scenario, who: Who) -> bool {
    match who {
        Who::Client(_) => false,
        Who::Stage(stage) => serve(scenario, stage).is_some_and(|serve| serve.gpu.is_some()),
    }
}

/// Whether threads of the role poll for messages.
fn polls(scenario: &Scenario, who: Who) -> bool {
    scenario.groups.rows().iter().any(|group| {
        let mut near = Who::Client(group.host.index());
        group.path.iter().any(|hop| {
            let ends = [near, Who::Stage(hop.to)];
            near = ends[1];
            let polls = hop
                .verbs
                .is_some_and(|verbs| verbs.completion == CompletionBy::Poll);
            polls && ends.contains(&who)
        })
    })
}

/// A constant with the mean of all requests; its error is from how runs differ.
fn report(part: String, cost: String, samples: &[Sample], sources: &[Source]) -> FitReport {
    let requests: f64 = samples.iter().map(|s| s.requests).sum();
    let share = |sample: &Sample| sample.requests / requests;
    let mean: f64 = samples.iter().map(|s| share(s) * s.seconds).sum();
    let n = samples.len() as f64;
    let squares: f64 = samples
        .iter()
        .map(|s| (share(s) * (s.seconds - mean)).powi(2))
        .sum();
    let mut warnings = Vec::new();
    let error = if samples.len() > 1 {
        (squares * n / (n - 1.0)).sqrt()
    } else {
        warnings.push(
            "one run: how far runs differ is not known, the error is as large as the figure; add runs"
                .to_owned(),
        );
        mean
    };
    let law = CostLaw {
        base_error: error,
        range: [1.0, 1.0],
        samples: samples.len() as u64,
        held_out_error: held_out_error(samples),
        ..CostLaw::exact(
            Driver::Requests,
            mean,
            0.0,
            &names(sources, samples.iter().map(|s| s.source)),
        )
    };
    FitReport {
        part,
        cost,
        law,
        effective_samples: n,
        residual_cv: 0.0,
        warnings,
    }
}

/// Mean absolute relative error of each run's figure, of those that are not zero, from the mean of the
/// others.
fn held_out_error(samples: &[Sample]) -> f64 {
    let n: f64 = samples.iter().map(|s| s.requests).sum();
    let total_s: f64 = samples.iter().map(|s| s.requests * s.seconds).sum();
    let is_tested = |sample: &&Sample| sample.seconds > 0.0 && sample.requests < n;
    let errors: Vec<f64> = (samples.iter().filter(is_tested))
        .map(|sample| {
            let others_s = total_s - sample.requests * sample.seconds;
            let others = others_s / (n - sample.requests);
            (sample.seconds - others).abs() / sample.seconds
        })
        .collect();
    if errors.is_empty() {
        0.0
    } else {
        schema::stats::mean(&errors)
    }
}

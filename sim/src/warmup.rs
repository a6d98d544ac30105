//! How long the initial transient lasts.

use schema::profile::Profile;
use schema::scenario::{Extent, Scenario};
use schema::units::{SimDuration, SimTime};

use crate::error::SimError;
use crate::queueing::Network;
use crate::statistics::mser5;
use crate::{Arrivals, Keep, Options, completions};

/// Pilot runs; their mean has a transient that shows better than that of one (Welch, 1983).
const PILOTS: u32 = 5;
/// Most requests of a pilot run of plain stages.
const MOST: u32 = 200_000;

/// `scenario` with a warm-up in place of one that is to be found: where MSER-5 ends the initial
/// transient of the end-to-end time, averaged over pilot runs request by request in the order in
/// which they were sent.
///
/// Requests of each client where the length is one of requests, a time where it is a time.
///
/// # Errors
/// If the pilots cannot be run, or are too short to show the end of the transient.
pub(crate) fn resolve(
    scenario: &Scenario,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<Scenario, SimError> {
    if scenario.warmup != Extent::Auto {
        return Ok(scenario.clone());
    }
    let n_clients = scenario.clients.len() as u32;
    let mut pilot = scenario.clone();
    if let Extent::Requests(n) = pilot.measure {
        pilot.measure = Extent::Requests(n.min((MOST / n_clients).max(1)));
    }
    let options = Options {
        replications: PILOTS,
        arrivals: Arrivals::Independent,
        precision: None,
        keep: Keep::Trace,
        ..*options
    };
    let runs = sent_and_taken(&pilot, profile, &options)?;
    let n = runs.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |index: usize| {
        let times = runs.iter().map(|run| run[index].1.as_secs_f64());
        times.sum::<f64>() / f64::from(PILOTS)
    };
    let series: Vec<f64> = (0..n).map(mean).collect();
    let left_out = mser5(&series).ok_or_else(|| SimError::Transient {
        at: scenario.source().position("run.warmup"),
        n: n as u64,
    })?;
    let warmup = match scenario.measure {
        Extent::Time(_) => {
            let ends = runs
                .iter()
                .map(|run| run.get(left_out).map_or(SimTime::ZERO, |r| r.0));
            let latest = ends.max().unwrap_or(SimTime::ZERO);
            Extent::Time(latest.since(SimTime::ZERO))
        }
        _ => Extent::Requests((left_out as u32).div_ceil(n_clients)),
    };
    Ok(scenario.clone().with_warmup(warmup))
}

/// By pilot run: when each request was sent, in that order, and how long it took.
fn sent_and_taken(
    scenario: &Scenario,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<Vec<Vec<(SimTime, SimDuration)>>, SimError> {
    let mut runs: Vec<Vec<(SimTime, SimDuration)>> = Vec::new();
    if let Some(network) = Network::of(scenario) {
        runs.resize_with(options.replications as usize, Vec::new);
        for span in network.run(&options.plan(scenario))?.trace {
            if span.name == schema::run::SpanName::Request {
                let ready = SimTime::from_ps(span.ready_ns * 1_000);
                let took = SimDuration::from_ns(span.end_ns - span.ready_ns);
                runs[span.replication as usize].push((ready, took));
            }
        }
    } else {
        let profile = profile.ok_or(SimError::NoProfile)?;
        for served in completions(scenario, profile, options)? {
            let requests = served.completions.iter();
            runs.push(requests.map(|c| (c.ready, c.end.since(c.ready))).collect());
        }
    }
    for run in &mut runs {
        run.sort_unstable();
    }
    Ok(runs)
}

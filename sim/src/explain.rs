//! What would help: how much a metric gains if each part of a pipeline were faster.
//!
//! Each part is made faster by itself, and the scenario simulated again with the same random numbers
//! as before; the gain is the mean over pairs of replications. So it holds queueing and all that
//! parts do to each other: a part that nobody waits for gains nothing, however busy it is.

use std::collections::BTreeSet;
use std::fmt;

use rayon::prelude::*;
use schema::comparison::Metric;
use schema::gpu::GpuNet;
use schema::profile::{Profile, parameter};
use schema::scenario::{Scenario, StageRole, Work};
use schema::stats::{Estimate, mean_interval};
use schema::summary::{CONFIDENCE, Summary};
use schema::units::{ByteRate, SimDuration};

use crate::error::SimError;
use crate::fabric::Graph;
use crate::{Options, summaries};

/// How many times as fast each part is made.
pub const SPEEDUPS: [f64; 2] = [1.1, 2.0];

/// Something that could be faster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lever {
    /// A cost of a part: it takes less time.
    Cost {
        /// The part.
        part: String,
        /// The cost.
        cost: String,
    },
    /// A parameter of a part: a rate that is higher, or a time that is shorter.
    Parameter {
        /// The part.
        part: String,
        /// The parameter.
        parameter: String,
    },
    /// All that a net computes and moves in memory on a part, its overheads and its floor: it takes less
    /// time.
    Net {
        /// The part.
        part: String,
        /// The net.
        net: String,
    },
    /// The rate of links with this key in the scenario.
    Rate(String),
    /// The delay of links with this key in the scenario.
    Delay(String),
    /// The work that the scenario itself gives this stage: it takes less time.
    Work(String),
}

impl fmt::Display for Lever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lever::Cost { part, cost } => write!(f, "{part}: {cost}"),
            Lever::Parameter { part, parameter } => write!(f, "{part}: {parameter}"),
            Lever::Net { part, net } => write!(f, "{part}: net {net}"),
            Lever::Rate(key) => write!(f, "{key}: rate"),
            Lever::Delay(key) => write!(f, "{key}: delay"),
            Lever::Work(stage) => write!(f, "{stage}: work"),
        }
    }
}

/// What a part that is faster would bring.
#[derive(Clone, PartialEq, Debug)]
pub struct Gain {
    /// Which.
    pub lever: Lever,
    /// By what part the metric would be better at each of [`SPEEDUPS`]: a time shorter, a throughput
    /// higher; over pairs of replications, at 95%.
    pub better: [Estimate; 2],
}

/// What would help a scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The metric as it is.
    pub base: Estimate,
    /// What would change it, that which helps most at the last of [`SPEEDUPS`] first.
    pub gains: Vec<Gain>,
    /// What would not change it in any replication.
    pub without_effect: Vec<Lever>,
}

/// Simulates `scenario` with each of its parts faster.
///
/// # Errors
/// If it cannot be simulated, has plain stages only, which have no parts, or `options` ask for fewer
/// than two replications.
pub fn explain(
    scenario: &Scenario,
    profile: &Profile,
    metric: Metric,
    options: &Options,
) -> Result<Explanation, SimError> {
    if options.replications < 2 {
        return Err(SimError::NoPairs);
    }
    if scenario.is_plain() {
        return Err(SimError::NoParts);
    }
    let before = values(metric, &summaries(scenario, Some(profile), options)?);
    let levers: Vec<Lever> = levers(scenario, profile).into_iter().collect();
    let alone = Options {
        threads: 1,
        ..*options
    };
    let try_one = |lever: &Lever| -> Result<Gain, SimError> {
        let mut better = [mean_interval(&[0.0, 0.0], CONFIDENCE); 2];
        // The greater first: what does nothing then does nothing.
        for (better, speedup) in better.iter_mut().zip(SPEEDUPS).rev() {
            let (mut scenario, mut profile) = (scenario.clone(), profile.clone());
            lever.pull(speedup, &mut scenario, &mut profile);
            let after = values(metric, &summaries(&scenario, Some(&profile), &alone)?);
            if after == before {
                break;
            }
            let pairs = after
                .iter()
                .zip(&before)
                .map(|(after, before)| match metric {
                    Metric::Throughput => after / before - 1.0,
                    _ => 1.0 - after / before,
                });
            *better = mean_interval(&pairs.collect::<Vec<f64>>(), CONFIDENCE);
        }
        Ok(Gain {
            lever: lever.clone(),
            better,
        })
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .map_err(SimError::Threads)?;
    let all: Result<Vec<Gain>, SimError> =
        pool.install(|| levers.par_iter().map(try_one).collect());
    let is_without = |gain: &Gain| {
        let zero = |e: &Estimate| e.value == 0.0 && e.low == 0.0 && e.high == 0.0;
        gain.better.iter().all(zero)
    };
    let (without, mut gains): (Vec<Gain>, Vec<Gain>) = all?.into_iter().partition(is_without);
    gains.sort_by(|a, b| b.better[1].value.total_cmp(&a.better[1].value));
    Ok(Explanation {
        base: mean_interval(&before, CONFIDENCE),
        gains,
        without_effect: without.into_iter().map(|gain| gain.lever).collect(),
    })
}

fn values(metric: Metric, summaries: &[Summary]) -> Vec<f64> {
    let all = summaries.iter();
    all.map(|summary| metric.end_to_end(summary).map_or(f64::NAN, |e| e.value))
        .collect()
}

/// All that could be faster. Gaps, slices and limits are rules, not speeds, and are left as they are.
fn levers(scenario: &Scenario, profile: &Profile) -> BTreeSet<Lever> {
    let hosts = scenario.hosts.rows().iter();
    let mut parts: BTreeSet<&str> = hosts.clone().map(|host| host.part.as_str()).collect();
    for host in hosts {
        parts.extend(host.gpus.iter().map(|gpu| gpu.part.as_str()));
        parts.extend(host.nic.iter().map(|nic| nic.part.as_str()));
    }
    let links = scenario.links.rows();
    parts.extend(links.iter().filter_map(|link| link.part.as_deref()));
    let works: BTreeSet<String> = (scenario.stages.rows().iter())
        .filter_map(|stage| match &stage.role {
            StageRole::Serve(serve) => Some(serve.work.key()),
            StageRole::Proxy(_) | StageRole::Plain(_) => None,
        })
        .chain(["preprocess".to_owned()])
        .collect();
    let mut levers = BTreeSet::new();
    for (name, part) in parts
        .iter()
        .filter_map(|name| profile.parts.get_key_value(*name))
    {
        let part_name = || name.clone();
        levers.extend(part.costs.keys().map(|cost| Lever::Cost {
            part: part_name(),
            cost: cost.clone(),
        }));
        let speeds = part.parameters.keys().filter(|key| speed(key).is_some());
        levers.extend(speeds.map(|key| Lever::Parameter {
            part: part_name(),
            parameter: key.clone(),
        }));
        let nets = part.nets.keys().filter(|net| works.contains(*net));
        levers.extend(nets.map(|net| Lever::Net {
            part: part_name(),
            net: net.clone(),
        }));
    }
    for link in links {
        if link.rate.is_some() {
            levers.insert(Lever::Rate(link.key.clone()));
        }
        if link.delay > SimDuration::ZERO {
            levers.insert(Lever::Delay(link.key.clone()));
        }
    }
    for stage in scenario.stages.rows() {
        if let StageRole::Serve(serve) = &stage.role
            && let Work::Synthetic(_) = &serve.work
        {
            levers.insert(Lever::Work(stage.name.clone()));
        }
    }
    levers
}

/// Whether a parameter is a rate (`true`) or a time; `None` if it is neither, or no speed.
fn speed(name: &str) -> Option<bool> {
    match name {
        parameter::PCIE_BANDWIDTH
        | parameter::DRAM_BANDWIDTH
        | parameter::ROOT_COMPLEX_BANDWIDTH
        | parameter::MEMORY_BANDWIDTH
        | parameter::SOCKET_BANDWIDTH
        | parameter::MESSAGE_RATE
        | parameter::RATE => Some(true),
        parameter::LAUNCH_INTERVAL
        | parameter::GRAPH_LAUNCH_INTERVAL
        | parameter::CONTEXT_SWITCH
        | parameter::SOCKET_LATENCY
        | parameter::NIC_LATENCY
        | parameter::DMA_READ_LATENCY => Some(false),
        _ => None,
    }
}

impl Lever {
    /// Makes it `speedup` times as fast.
    fn pull(&self, speedup: f64, scenario: &mut Scenario, profile: &mut Profile) {
        let shorter = |time: SimDuration| SimDuration::from_secs_f64(time.as_secs_f64() / speedup);
        let known = "a lever is of what is there";
        match self {
            Lever::Cost { part, cost } => {
                let part = profile.parts.get_mut(part).expect(known);
                let law = part.costs.get_mut(cost).expect(known);
                law.base /= speedup;
                law.slope /= speedup;
            }
            Lever::Parameter { part, parameter } => {
                let part = profile.parts.get_mut(part).expect(known);
                let value = &mut part.parameters.get_mut(parameter).expect(known).value;
                match speed(parameter).expect(known) {
                    true => *value *= speedup,
                    false => *value /= speedup,
                }
            }
            Lever::Net { part, net } => {
                let part = profile.parts.get_mut(part).expect(known);
                quicken(part.nets.get_mut(net).expect(known), speedup);
            }
            Lever::Rate(key) => {
                for id in scenario.links.ids() {
                    let link = &mut scenario.links[id];
                    if link.key != *key {
                        continue;
                    }
                    let rate = link.rate.map(|rate| {
                        let rate = (rate.as_bytes_per_s() as f64 * speedup) as u64;
                        let rate = rate.min(Graph::MAX_RATE.as_bytes_per_s());
                        ByteRate::from_bytes_per_s(rate).expect("it is faster than another")
                    });
                    link.rate = rate;
                }
            }
            Lever::Delay(key) => {
                for id in scenario.links.ids() {
                    let link = &mut scenario.links[id];
                    if link.key == *key {
                        link.delay = shorter(link.delay);
                    }
                }
            }
            Lever::Work(name) => {
                for id in scenario.stages.ids() {
                    let stage = &mut scenario.stages[id];
                    if stage.name == *name
                        && let StageRole::Serve(serve) = &mut stage.role
                        && let Work::Synthetic(work) = &mut serve.work
                    {
                        work.time = shorter(work.time);
                    }
                }
            }
        }
    }
}

fn quicken(net: &mut GpuNet, speedup: f64) {
    let faster = |number: f64| number / speedup;
    net.floor.map(faster);
    for phase in &mut net.phases {
        for law in [&mut phase.overhead, &mut phase.compute, &mut phase.bytes] {
            law.map(faster);
        }
    }
    for kernel in &mut net.kernels {
        kernel.time = SimDuration::from_secs_f64(kernel.time.as_secs_f64() / speedup);
    }
}

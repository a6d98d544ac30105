//! From what replications kept to estimates with intervals.

use std::collections::BTreeMap;

use schema::comparison::Metric;
use schema::scenario::PlainKind;
use schema::stages::{ClassSummary, Distributed, StageSummary};
use schema::stats::{Estimate, mean_interval};
use schema::summary::CONFIDENCE;
use schema::units::SimDuration;

use super::build::labels;
use super::engine::{Engine, Reading};
use super::network::Network;
use super::node::{Counts, Visits};
use crate::statistics::Series;

/// What is kept of a replication.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) window_s: f64,
    pub(super) events: u64,
    /// Each stage, then the whole.
    stages: Vec<StageObserved>,
}

/// What is kept of a stage, or of the whole.
#[derive(Clone, Debug)]
struct StageObserved {
    /// Of all visits, then by label if there are several.
    visits: Vec<VisitsObserved>,
    /// Requests in the system, of those in service, servers or tokens in use.
    averages: [f64; 3],
    /// What happened in the window.
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct VisitsObserved {
    n: u64,
    sojourn: [Estimate; 6],
    waiting: [Estimate; 6],
}

impl Observed {
    pub(super) fn of(engine: &Engine) -> Observed {
        let window = match (engine.window.opened, engine.window.closed) {
            (Some(opened), Some(closed)) if closed > opened => closed.since(opened),
            _ => SimDuration::ZERO,
        };
        let visits = engine.nodes.rows().iter().map(|node| &node.visits);
        let visits = visits.chain([&engine.whole.visits]);
        // Of clients that are not under way together the window is empty, and may even close before
        // it opens.
        let none = vec![Reading::default(); engine.nodes.len() + 1];
        let (opened, closed) = if window > SimDuration::ZERO {
            (&engine.opened, &engine.closed)
        } else {
            (&none, &none)
        };
        let stages = visits.zip(opened.iter().zip(closed));
        let mut stages: Vec<StageObserved> = stages
            .map(|(visits, (opened, closed))| StageObserved {
                visits: visits.iter().map(VisitsObserved::of).collect(),
                averages: closed.gauge.averages(&opened.gauge, window),
                counts: closed.counts.since(&opened.counts),
            })
            .collect();
        let (whole, parts) = stages.split_last_mut().expect("the whole is the last");
        for part in parts {
            whole.counts.rejected += part.counts.rejected;
            whole.counts.reneged += part.counts.reneged;
            whole.counts.retried += part.counts.retried;
        }
        Observed {
            window_s: window.as_secs_f64(),
            events: engine.queue.n_scheduled(),
            stages,
        }
    }

    /// A metric from end to end.
    pub(super) fn value(&self, metric: Metric) -> f64 {
        let whole = self.stages.last().expect("the whole is the last");
        let [mean, p50, p90, _, p99, _] = whole.visits[0].sojourn.map(|estimate| estimate.value);
        match metric {
            Metric::Mean => mean,
            Metric::P50 => p50,
            Metric::P90 => p90,
            Metric::P99 => p99,
            Metric::Throughput => whole.counts.served as f64 / self.window_s,
            // Plain stages have no cores.
            Metric::Cpu => f64::NAN,
        }
    }
}

impl VisitsObserved {
    fn of(visits: &Visits) -> VisitsObserved {
        VisitsObserved {
            n: visits.sojourn.n(),
            sojourn: estimates(&visits.sojourn),
            waiting: estimates(&visits.waiting),
        }
    }
}

/// Mean and quantiles, with the intervals of a single series.
fn estimates(series: &Series) -> [Estimate; 6] {
    let mut all = [series.mean_interval(CONFIDENCE); 6];
    let ranks = series.effective_samples();
    for (estimate, p) in all[1..].iter_mut().zip(Distributed::QUANTILES) {
        *estimate = series.quantile_interval(p, CONFIDENCE, ranks);
    }
    all
}

/// Statistics of each stage, by name, and from end to end.
pub(super) fn summarize(
    network: &Network,
    replications: &[Observed],
) -> (StageSummary, BTreeMap<String, StageSummary>) {
    let labels = labels(network);
    let n_stages = network.stages.len();
    let of = |index: usize| -> Vec<&StageObserved> {
        replications.iter().map(|r| &r.stages[index]).collect()
    };
    let windows: Vec<f64> = replications.iter().map(|r| r.window_s).collect();
    let stages = network.stages.rows().iter().enumerate();
    let by_name = stages.filter_map(|(index, stage)| {
        let servers = match &stage.kind {
            PlainKind::Station(station) => station.shared_servers(),
            PlainKind::Tokens(tokens) => Some(tokens.count),
            PlainKind::Join => None,
            // Nobody stays there.
            PlainKind::Fork(_) | PlainKind::Balance(_) | PlainKind::Release(_) => return None,
        };
        let observed = of(index);
        let waiting = |o: &StageObserved| o.averages[0] - o.averages[1];
        let number_waiting = observed.iter().map(|o| waiting(o)).collect();
        let summary = stage_summary(
            &observed,
            &windows,
            &labels,
            servers,
            number_waiting,
            |counts| counts.entered + counts.rejected,
        );
        Some((stage.name.clone(), summary))
    });
    let by_name = by_name.collect();
    let waiting = replications.iter().map(|replication| {
        let stages = &replication.stages[..n_stages];
        stages.iter().map(|o| o.averages[0] - o.averages[1]).sum()
    });
    let whole = stage_summary(
        &of(n_stages),
        &windows,
        &labels,
        None,
        waiting.collect(),
        |counts| counts.entered,
    );
    (whole, by_name)
}

fn stage_summary(
    replications: &[&StageObserved],
    windows: &[f64],
    labels: &[String],
    servers: Option<u32>,
    number_waiting: Vec<f64>,
    offered: impl Fn(&Counts) -> u64,
) -> StageSummary {
    let over = |value: &dyn Fn(&StageObserved) -> f64| -> Estimate {
        let values: Vec<f64> = replications.iter().map(|r| value(r)).collect();
        mean_interval(&values, CONFIDENCE)
    };
    let total =
        |count: &dyn Fn(&Counts) -> u64| replications.iter().map(|r| count(&r.counts)).sum();
    let share = |count: &dyn Fn(&Counts) -> u64| {
        over(&|r| count(&r.counts) as f64 / offered(&r.counts).max(1) as f64)
    };
    let visits = |label: usize| -> Vec<VisitsObserved> {
        replications.iter().map(|r| r.visits[label]).collect()
    };
    let all = visits(0);
    let rates = replications.iter().zip(windows);
    let rates: Vec<f64> = rates
        .map(|(r, window)| r.counts.served as f64 / window)
        .collect();
    let service = all.iter().map(|v| v.sojourn[0].value - v.waiting[0].value);
    let n_labels = replications[0].visits.len() - 1;
    let classes = (0..n_labels).map(|label| {
        let visits = visits(1 + label);
        let summary = ClassSummary {
            n: visits.iter().map(|v| v.n).sum(),
            sojourn: distributed(&visits, |v| &v.sojourn),
            waiting: distributed(&visits, |v| &v.waiting),
        };
        (labels[label].clone(), summary)
    });
    StageSummary {
        n: all.iter().map(|v| v.n).sum(),
        sojourn: distributed(&all, |v| &v.sojourn),
        waiting: distributed(&all, |v| &v.waiting),
        service: mean_interval(&service.collect::<Vec<_>>(), CONFIDENCE),
        number_in_system: over(&|r| r.averages[0]),
        number_waiting: mean_interval(&number_waiting, CONFIDENCE),
        utilization: servers.map(|servers| over(&|r| r.averages[2] / f64::from(servers))),
        throughput: mean_interval(&rates, CONFIDENCE),
        offered: total(&offered),
        rejected: total(&|c| c.rejected),
        reneged: total(&|c| c.reneged),
        retried: total(&|c| c.retried),
        lost: total(&|c| c.lost),
        rejected_share: share(&|c| c.rejected),
        reneged_share: share(&|c| c.reneged),
        classes: classes.collect(),
    }
}

/// Over replications the mean of each statistic, with Student's t; of a single one its own.
fn distributed(
    visits: &[VisitsObserved],
    which: impl Fn(&VisitsObserved) -> &[Estimate; 6],
) -> Distributed {
    if let [only] = visits {
        return Distributed::of(*which(only));
    }
    let seen: Vec<&VisitsObserved> = visits.iter().filter(|v| v.n > 0).collect();
    Distributed::of(std::array::from_fn(|index| {
        let values: Vec<f64> = seen.iter().map(|v| which(v)[index].value).collect();
        mean_interval(&values, CONFIDENCE)
    }))
}

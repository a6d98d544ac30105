//! Statistics of plain stages, in a summary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Estimate;

/// Statistics of the requests at a stage, or from end to end.
///
/// A visit counts if its request does. Averages over time are over the measured window, and so are
/// the numbers of events; both are of every request, whether it counts or not.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSummary {
    /// Number of visits that count, over all replications; a lost request is none.
    pub n: u64,
    /// From arrival to departure, in seconds.
    pub sojourn: Distributed,
    /// From arrival until service first starts, in seconds; from end to end the sum of that over
    /// all visits, also those of copies.
    pub waiting: Distributed,
    /// Mean of what is left: from when service first starts until departure, with interruptions,
    /// sharing and blocking, in seconds.
    pub service: Estimate,
    /// Mean number of requests in the system.
    pub number_in_system: Estimate,
    /// Mean number of requests whose service has not started; from end to end that of all stations.
    pub number_waiting: Estimate,
    /// Mean share of the servers, or of the tokens, that are taken; none where there are none to
    /// share.
    pub utilization: Option<Estimate>,
    /// Departures per second, without lost requests.
    pub throughput: Estimate,
    /// Requests that came, over all replications, also those that were turned away.
    pub offered: u64,
    /// Of those, requests that were turned away since the stage was full.
    pub rejected: u64,
    /// Requests that left since they waited too long.
    pub reneged: u64,
    /// Times that a request of the two kinds before was to come back.
    pub retried: u64,
    /// Requests of those two kinds that did not.
    pub lost: u64,
    /// Share of those that came that were turned away.
    pub rejected_share: Estimate,
    /// Share of those that came that waited too long.
    pub reneged_share: Estimate,
    /// Visits by class, if there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, ClassSummary>,
}

/// Statistics of the visits of a class.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSummary {
    /// Number of visits that count, over all replications.
    pub n: u64,
    /// From arrival to departure, in seconds.
    pub sojourn: Distributed,
    /// From arrival until service first starts, in seconds.
    pub waiting: Distributed,
}

/// Mean and quantiles of a time, in seconds, with intervals.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distributed {
    /// Mean.
    pub mean: Estimate,
    /// Median.
    pub p50: Estimate,
    /// 90th percentile.
    pub p90: Estimate,
    /// 95th percentile.
    pub p95: Estimate,
    /// 99th percentile.
    pub p99: Estimate,
    /// 99.9th percentile.
    pub p999: Estimate,
}

impl Distributed {
    /// The quantiles.
    pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

    /// The mean and each of the [quantiles](Self::QUANTILES).
    pub const fn of([mean, p50, p90, p95, p99, p999]: [Estimate; 6]) -> Distributed {
        Distributed {
            mean,
            p50,
            p90,
            p95,
            p99,
            p999,
        }
    }
}

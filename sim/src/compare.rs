//! Two scenarios with common random numbers.

use schema::comparison::Metric;
use schema::profile::Profile;
use schema::scenario::Scenario;
use schema::stats::{Estimate, mean_interval, variance};
use schema::summary::{CONFIDENCE, Summary};

use crate::error::SimError;
use crate::{Options, summaries};

/// A metric of two scenarios.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// Which metric.
    pub metric: Metric,
    /// Of the first scenario.
    pub first: Estimate,
    /// Of the second.
    pub second: Estimate,
    /// Second less first, from pairs of replications with common random numbers.
    pub difference: Estimate,
    /// By how much the variance of the difference would be greater with random numbers that are not
    /// common; below 1 they hurt.
    pub gain: f64,
}

/// Compares two scenarios, replication by replication with the same seeds: sources of randomness
/// that have the same name in both draw the same, so the difference varies less than either (Law,
/// 2015, section 11.2).
///
/// The seeds are those of the first scenario.
///
/// # Errors
/// If a scenario cannot be simulated, or there are fewer than two replications.
pub fn compare(
    first: &Scenario,
    second: &Scenario,
    profile: Option<&Profile>,
    options: &Options,
) -> Result<Vec<Difference>, SimError> {
    if options.replications < 2 {
        return Err(SimError::NoPairs);
    }
    let second = second.clone().with_seed(first.seed);
    let of = |scenario: &Scenario| summaries(scenario, profile, options);
    let (first, second) = (of(first)?, of(&second)?);
    let differences = Metric::ALL.into_iter().filter_map(|metric| {
        let values = |summaries: &[Summary]| -> Option<Vec<f64>> {
            let values = summaries.iter().map(|s| metric.end_to_end(s));
            values.map(|m| Some(m?.value)).collect()
        };
        let (a, b) = (values(&first)?, values(&second)?);
        let pairs: Vec<f64> = b.iter().zip(&a).map(|(b, a)| b - a).collect();
        Some(Difference {
            metric,
            first: mean_interval(&a, CONFIDENCE),
            second: mean_interval(&b, CONFIDENCE),
            difference: mean_interval(&pairs, CONFIDENCE),
            gain: (variance(&a) + variance(&b)) / variance(&pairs),
        })
    });
    Ok(differences.collect())
}

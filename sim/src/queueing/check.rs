//! What a network that was made without a file must be like: what can be run is what a scenario's
//! own checks let through.

use std::collections::BTreeSet;

use schema::arrivals::Gaps;
use schema::ids::{Id, StageId};
use schema::random::Seed;
use schema::scenario::{Balance, Discipline, Extent, Lot, PlainKind, PolicyName, Station};
use schema::units::SimDuration;

use super::network::{Group, Network, Stage};
use super::run::Plan;
use crate::error::SimError;

/// The greatest number of a priority.
const LOWEST_PRIORITY: u32 = 1_000_000;

impl Plan {
    /// That the plan says what counts.
    pub(super) fn check(&self) -> Result<(), SimError> {
        let what = match (self.warmup, self.measure) {
            (_, Extent::Requests(0)) | (_, Extent::Time(SimDuration::ZERO)) => {
                "nothing of it is measured"
            }
            (Extent::Requests(1..), Extent::Time(_)) | (Extent::Time(_), Extent::Requests(_)) => {
                "the warm-up and what is measured must both be requests, or both times"
            }
            _ => return Ok(()),
        };
        let what = what.to_owned();
        Err(SimError::Network { what })
    }
}

impl Network {
    /// That the network can be run.
    pub(super) fn check(&self) -> Result<(), SimError> {
        let wrong = |what: String| SimError::Network { what };
        if self.groups.is_empty() {
            return Err(wrong("there are no clients".to_owned()));
        }
        let mut names = BTreeSet::new();
        for group in &self.groups {
            let is_unique = names.insert(&group.name);
            (self.check_group(group, is_unique))
                .map_err(|problem| wrong(format!("group `{}` {problem}", group.name)))?;
            Gaps::new(&group.arrivals, group.replayed.clone(), Seed(0), "")?;
        }
        names.clear();
        for stage in self.stages.rows() {
            let is_unique = names.insert(&stage.name);
            (self.check_stage(stage, is_unique))
                .map_err(|problem| wrong(format!("stage `{}` {problem}", stage.name)))?;
        }
        Ok(())
    }

    fn has(&self, stage: StageId) -> bool {
        stage.index() < self.stages.len()
    }

    fn check_group(&self, group: &Group, is_unique: bool) -> Result<(), String> {
        ensure(is_unique, "has the name of another")?;
        ensure(
            group.count > 0 && !group.path.is_empty(),
            "must have a client and a path",
        )?;
        ensure(
            group.path.len() <= usize::from(u8::MAX),
            "has a path of more than 255 hops",
        )?;
        ensure(
            group.path.iter().all(|stage| self.has(*stage)),
            "has a path that leads to no stage",
        )?;
        for class in group.classes.iter().map(|class| &self.classes[*class]) {
            ensure(
                class.priority <= LOWEST_PRIORITY,
                &format!(
                    "has a priority above {LOWEST_PRIORITY}, of class `{}`",
                    class.name
                ),
            )?;
            ensure(
                is_positive(class.share) && is_positive(class.weight),
                &format!(
                    "must have a share and a weight above zero of class `{}`",
                    class.name
                ),
            )?;
        }
        Ok(())
    }

    fn check_stage(&self, stage: &Stage, is_unique: bool) -> Result<(), String> {
        ensure(is_unique, "has the name of another")?;
        let mut total = 0.0;
        for next in &stage.next {
            total += next.probability;
            ensure(self.has(next.to), "must lead to stages")?;
            ensure(
                next.probability >= 0.0 && total <= 1.0 + 1e-9,
                "must lead on with probabilities from 0, of 1 at most in all",
            )?;
        }
        let chooses = matches!(stage.kind, PlainKind::Fork(_) | PlainKind::Balance(_));
        ensure(
            stage.next.is_empty() || !chooses,
            "leads on by itself: it takes no routes",
        )?;
        match &stage.kind {
            PlainKind::Station(station) => self.check_station(station),
            PlainKind::Fork(to) => ensure(
                !to.is_empty() && to.iter().all(|stage| self.has(*stage)),
                "must lead to stages",
            ),
            PlainKind::Join => Ok(()),
            PlainKind::Balance(balance) => self.check_balance(balance),
            PlainKind::Tokens(tokens) => ensure(
                (1..=tokens.count).contains(&tokens.take),
                "must have as many tokens as each request takes, one at least",
            ),
            PlainKind::Release(pool) => ensure(
                self.has(*pool) && matches!(self.stages[*pool].kind, PlainKind::Tokens(_)),
                "must take back the tokens of a stage that gives them out",
            ),
        }
    }

    fn check_balance(&self, balance: &Balance) -> Result<(), String> {
        let is_station = |stage: &StageId| {
            self.has(*stage) && matches!(self.stages[*stage].kind, PlainKind::Station(_))
        };
        ensure(
            !balance.to.is_empty() && balance.to.iter().all(is_station),
            "must lead to stations",
        )?;
        let n_weights = match balance.policy {
            PolicyName::Weighted => balance.to.len(),
            _ => 0,
        };
        ensure(
            balance.weights.len() == n_weights && balance.weights.iter().all(|w| is_positive(*w)),
            "must have a weight above zero for each station if it is weighted, and none otherwise",
        )?;
        ensure(
            balance.policy != PolicyName::PowerOfTwo || balance.to.len() >= 2,
            "must lead to two stations at least",
        )
    }

    fn check_station(&self, station: &Station) -> Result<(), String> {
        let breakdown = station.breakdown.iter();
        let distributions = [&station.service]
            .into_iter()
            .chain(station.services.values())
            .chain(&station.patience)
            .chain(station.retry.iter().map(|retry| &retry.backoff))
            .chain(breakdown.flat_map(|breakdown| [&breakdown.up, &breakdown.down]));
        for distribution in distributions {
            if let Err((key, problem)) = distribution.sampler() {
                return Err(format!("has a distribution whose `{key}` {problem}"));
            }
        }
        for class in station.services.keys() {
            let is_known = self.classes.rows().iter().any(|c| c.name == *class);
            ensure(
                is_known,
                &format!("has a service of class `{class}`, which nobody sends"),
            )?;
        }
        ensure(
            station.servers > 0 && station.capacity != Some(0),
            "must have a server and room",
        )?;
        let is_line = matches!(station.discipline, Discipline::Line { .. });
        let is_delay = matches!(station.discipline, Discipline::Delay);
        if let Some(breakdown) = &station.breakdown {
            ensure(is_line, "has servers of a kind that does not fail")?;
            ensure(
                !breakdown.up.is_zero(),
                "has servers that never work: `up` is always zero",
            )?;
        }
        ensure(
            station.patience.is_none() || !is_delay,
            "lets nobody wait: it takes no patience",
        )?;
        let factor = station.retry.as_ref().map_or(1.0, |retry| retry.factor);
        ensure(is_positive(factor), "must have a `factor` above zero")?;
        match &station.discipline {
            Discipline::Line {
                batch: Some(Lot { max, .. }),
                ..
            } => ensure(*max > 0, "must have a request in a batch"),
            Discipline::Sharing { cap, limit } => ensure(
                is_positive(*cap) && *limit != Some(0),
                "must have a cap above zero, and serve a request",
            ),
            Discipline::TimeSliced { slice, .. } => ensure(
                *slice > SimDuration::ZERO,
                "must have a slice that takes some time",
            ),
            Discipline::Line { batch: None, .. }
            | Discipline::Preemptive(_)
            | Discipline::Delay => Ok(()),
        }
    }
}

fn is_positive(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}

fn ensure(holds: bool, problem: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(problem.to_owned())
    }
}

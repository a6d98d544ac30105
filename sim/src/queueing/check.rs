//! Whether a network can be run: what the checks of a scenario say, of a network that was made without
//! a file.

use schema::arrivals::Gaps;
use schema::distribution::Distribution;
use schema::ids::{Id, StageId};
use schema::random::Seed;
use schema::scenario::{Balance, Discipline, PlainKind, PolicyName, Station};
use schema::units::SimDuration;

use super::network::{Group, Network, Stage};
use crate::error::SimError;

/// The greatest priority number that fits a rank.
const LOWEST_PRIORITY: u32 = 1_000_000;

impl Network {
    /// That the network can be run.
    pub(super) fn check(&self) -> Result<(), SimError> {
        if self.groups.is_empty() {
            return wrong("there are no clients");
        }
        for (index, group) in self.groups.iter().enumerate() {
            let mut earlier = self.groups[..index].iter();
            if earlier.any(|other| other.name == group.name) {
                return wrong(&format!("there are two groups `{}`", group.name));
            }
            self.check_group(group)?;
        }
        for class in self.classes.rows() {
            let name = &class.name;
            if !(class.share > 0.0 && class.weight > 0.0 && class.weight.is_finite()) {
                return wrong(&format!(
                    "share and weight of `{name}` must be more than zero"
                ));
            }
            if class.priority > LOWEST_PRIORITY {
                return wrong(&format!(
                    "the priority of `{name}` must be at most {LOWEST_PRIORITY}"
                ));
            }
        }
        for (id, stage) in self.stages.iter() {
            let mut others = self.stages.iter().filter(|(other, _)| *other != id);
            if others.any(|(_, other)| other.name == stage.name) {
                return wrong(&format!("there are two stages `{}`", stage.name));
            }
            self.check_stage(stage)?;
        }
        Ok(())
    }

    fn has(&self, stage: StageId) -> bool {
        stage.index() < self.stages.len()
    }

    fn check_group(&self, group: &Group) -> Result<(), SimError> {
        let name = &group.name;
        if group.count == 0 || group.path.is_empty() {
            return wrong(&format!("group `{name}` must have a client and a path"));
        }
        if group.path.len() > usize::from(u8::MAX) {
            return wrong(&format!(
                "the path of group `{name}` has more than 255 hops"
            ));
        }
        if !group.path.iter().all(|stage| self.has(*stage)) {
            return wrong(&format!("the path of group `{name}` leads to no stage"));
        }
        Gaps::new(&group.arrivals, group.replayed.clone(), Seed(0), "")?;
        Ok(())
    }

    fn check_stage(&self, stage: &Stage) -> Result<(), SimError> {
        let name = &stage.name;
        let total: f64 = stage.next.iter().map(|next| next.probability).sum();
        let is_probability = (0.0..=1.0 + 1e-9).contains(&total);
        if !is_probability || !stage.next.iter().all(|next| self.has(next.to)) {
            return wrong(&format!(
                "stage `{name}` must lead to stages, with at most 1 in all"
            ));
        }
        match &stage.kind {
            PlainKind::Station(station) => check_station(name, station),
            PlainKind::Fork(to) if to.is_empty() || !to.iter().all(|to| self.has(*to)) => {
                wrong(&format!("fork `{name}` must lead to stages"))
            }
            PlainKind::Balance(balance) => self.check_balance(name, balance),
            PlainKind::Tokens(tokens) if tokens.take == 0 || tokens.count < tokens.take => wrong(
                &format!("`{name}` must have as many tokens as a request takes"),
            ),
            PlainKind::Release(pool) => {
                let is_pool =
                    self.has(*pool) && matches!(self.stages[*pool].kind, PlainKind::Tokens(_));
                if is_pool {
                    return Ok(());
                }
                wrong(&format!(
                    "`{name}` must give tokens back to a stage that has some"
                ))
            }
            PlainKind::Fork(_) | PlainKind::Join | PlainKind::Tokens(_) => Ok(()),
        }
    }

    fn check_balance(&self, name: &str, balance: &Balance) -> Result<(), SimError> {
        let is_station =
            |to: &StageId| self.has(*to) && matches!(self.stages[*to].kind, PlainKind::Station(_));
        let least = match balance.policy {
            PolicyName::PowerOfTwo => 2,
            _ => 1,
        };
        if balance.to.len() < least || !balance.to.iter().all(is_station) {
            return wrong(&format!(
                "balancer `{name}` must choose among at least {least} stations"
            ));
        }
        let is_weighted = balance.policy == PolicyName::Weighted;
        let n_weights = if is_weighted { balance.to.len() } else { 0 };
        let are_positive = balance.weights.iter().all(|w| *w > 0.0 && w.is_finite());
        if balance.weights.len() != n_weights || !are_positive {
            return wrong(&format!(
                "balancer `{name}` must have {n_weights} weights above zero"
            ));
        }
        Ok(())
    }
}

fn check_station(name: &str, station: &Station) -> Result<(), SimError> {
    let of_breakdown = station.breakdown.iter().flat_map(|b| [&b.up, &b.down]);
    let distributions: Vec<&Distribution> = [&station.service]
        .into_iter()
        .chain(station.services.values())
        .chain(&station.patience)
        .chain(station.retry.iter().map(|retry| &retry.backoff))
        .chain(of_breakdown)
        .collect();
    for distribution in distributions {
        if let Err((key, problem)) = distribution.sampler() {
            return wrong(&format!("station `{name}`: `{key}` {problem}"));
        }
    }
    if station.servers == 0 || station.capacity == Some(0) {
        return wrong(&format!("station `{name}` must have a server and room"));
    }
    if let Some(breakdown) = &station.breakdown
        && (breakdown.up.is_zero() || !matches!(station.discipline, Discipline::Line { .. }))
    {
        return wrong(&format!(
            "servers of `{name}` may fail only after a time, and only if they serve a line"
        ));
    }
    let fits = match &station.discipline {
        Discipline::Line { batch, .. } => batch.as_ref().is_none_or(|batch| batch.max > 0),
        Discipline::Preemptive(_) | Discipline::Delay => true,
        Discipline::Sharing { cap, limit } => *cap > 0.0 && *limit != Some(0),
        Discipline::TimeSliced { slice, .. } => *slice > SimDuration::ZERO,
    };
    if !fits {
        return wrong(&format!(
            "batch, cap, limit and slice of station `{name}` must be more than zero"
        ));
    }
    Ok(())
}

fn wrong<T>(what: &str) -> Result<T, SimError> {
    let what = what.to_owned();
    Err(SimError::Network { what })
}

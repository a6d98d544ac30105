//! Checks of losses of hosts and stages, and of what clients do about them.

use std::collections::BTreeSet;

use super::{Check, allowed};
use crate::error::{FileError, suggest};
use crate::ids::StageId;
use crate::scenario::{ClientsFile, CompletionBy, FaultFile, Group, Hop, Outage, Scenario};
use crate::units::SimDuration;

impl Check<'_> {
    /// A fault is of a link, of a host or of a stage, and has the keys of such.
    pub(super) fn one_kind_of_fault(&self, key: &str, file: &FaultFile) -> Result<(), FileError> {
        let kinds = [
            ("link", file.link.is_some()),
            ("host", file.host.is_some()),
            ("stage", file.stage.is_some()),
        ];
        let given = kinds
            .iter()
            .filter(|kind| kind.1)
            .map(|kind| format!("`{}`", kind.0));
        let given: Vec<String> = given.collect();
        if given.len() != 1 {
            let found = match given.is_empty() {
                true => "none".to_owned(),
                false => given.join(" and "),
            };
            let problem =
                format!("must be of one thing, found {found} (allowed: link, host, stage)");
            return Err(self.source.invalid(key, problem));
        }
        let is_of_link = file.link.is_some();
        if let (false, Some(found)) = (is_of_link, file.rate) {
            let problem = format!("is only of faults of links, found {found}");
            return Err(self.source.invalid(&format!("{key}.rate"), problem));
        }
        if let (true, Some(found)) = (is_of_link, file.detection) {
            let problem = format!("is only of faults of hosts and stages, found {found}");
            return Err(self.source.invalid(&format!("{key}.detection"), problem));
        }
        if file.length == SimDuration::ZERO {
            let problem = "must be more than zero, found zero";
            return Err(self.source.invalid(&format!("{key}.for"), problem));
        }
        Ok(())
    }

    /// The losses of hosts and stages.
    pub(super) fn outages(&self, scenario: &Scenario) -> Result<Vec<Outage>, FileError> {
        let mut outages = Vec::new();
        for (index, file) in self.file.faults.iter().enumerate() {
            let key = format!("faults.{index}");
            let replicas = match (&file.host, &file.stage) {
                (Some(host), _) => self.replicas_on(&format!("{key}.host"), host, scenario)?,
                (None, Some(name)) => {
                    let stage = self.stage(&format!("{key}.stage"), name)?;
                    (0..scenario.stages[stage].replicas)
                        .map(|i| (stage, i))
                        .collect()
                }
                (None, None) => continue,
            };
            for (group, row) in scenario.groups.rows().iter().enumerate() {
                self.may_lose(&key, group, row, &replicas, scenario)?;
            }
            outages.push(Outage {
                replicas,
                from: file.from,
                length: file.length,
                detection: file.detection.unwrap_or(SimDuration::ZERO),
            });
        }
        Ok(outages)
    }

    /// The replicas of stages on a host, or on all that are called so.
    fn replicas_on(
        &self,
        key: &str,
        name: &str,
        scenario: &Scenario,
    ) -> Result<Vec<(StageId, u32)>, FileError> {
        let hosts = scenario.hosts.iter();
        let hosts = hosts.filter(|(_, host)| host.name == name || host.key == name);
        let hosts: Vec<_> = hosts.map(|(id, _)| id).collect();
        if hosts.is_empty() {
            let names = scenario.hosts.rows().iter().map(|host| host.name.as_str());
            let hint = suggest(name, names);
            let problem = format!("there is no host `{name}`{hint}");
            return Err(self.source.invalid(key, problem));
        }
        if let Some(client) = scenario
            .clients
            .rows()
            .iter()
            .find(|c| hosts.contains(&c.host))
        {
            let without = scenario.hosts.iter().filter(|(id, _)| {
                scenario
                    .clients
                    .rows()
                    .iter()
                    .all(|client| client.host != *id)
            });
            let without: Vec<&String> = without.map(|(_, host)| &host.name).collect();
            let problem = format!(
                "`{name}` has clients, those of `{}`, who would have to end their requests{}",
                scenario.groups[client.group].name,
                allowed(without)
            );
            return Err(self.source.invalid(key, problem));
        }
        let stages = scenario.stages.iter().flat_map(|(id, stage)| {
            let replicas = (0..stage.replicas).map(move |i| (id, i));
            replicas.filter(|(id, i)| hosts.contains(&scenario.host_of(*id, *i)))
        });
        Ok(stages.collect())
    }

    /// Clients whose requests an outage may lose give up at some time, and nobody polls there.
    fn may_lose(
        &self,
        key: &str,
        index: usize,
        group: &Group,
        replicas: &[(StageId, u32)],
        scenario: &Scenario,
    ) -> Result<(), FileError> {
        let lost: BTreeSet<StageId> = replicas.iter().map(|(stage, _)| *stage).collect();
        let calls = group
            .branches
            .iter()
            .map(|branch| &scenario.call(branch).path);
        let hops: Vec<&Hop> = std::iter::once(&group.path)
            .chain(calls)
            .flatten()
            .collect();
        let Some(hop) = hops.iter().find(|hop| lost.contains(&hop.to)) else {
            return Ok(());
        };
        let stage = &scenario.stages[hop.to].name;
        if group.timeout.is_none() {
            let problem =
                format!("must be given, since `{key}` may lose its requests at `{stage}`");
            return Err(self
                .source
                .invalid(&format!("clients.{index}.timeout"), problem));
        }
        let polls = |hop: &&&Hop| {
            hop.verbs
                .is_some_and(|v| v.completion == CompletionBy::Poll)
        };
        if let Some(hop) = hops.iter().find(polls) {
            let problem = format!(
                "may lose requests that go to `{}` with `completion = \"poll\"`; only threads that sleep stop waiting",
                scenario.stages[hop.to].name
            );
            return Err(self.source.invalid(key, problem));
        }
        Ok(())
    }

    /// How long clients wait, and how they try again.
    pub(super) fn patience(&self, key: &str, group: &ClientsFile) -> Result<(), FileError> {
        let zero = SimDuration::ZERO;
        if let (true, Some(found)) = (self.is_plain(), group.timeout) {
            let problem =
                format!("is for stages on hosts, found {found}; stations have `patience`");
            return Err(self.source.invalid(&format!("{key}.timeout"), problem));
        }
        if group.timeout == Some(zero) {
            let problem = "must be more than zero, found zero";
            return Err(self.source.invalid(&format!("{key}.timeout"), problem));
        }
        let Some(retry) = &group.retry else {
            return Ok(());
        };
        if group.timeout.is_none() {
            let problem = "needs a `timeout`, without which nothing is given up";
            return Err(self.source.invalid(&format!("{key}.retry"), problem));
        }
        self.at_least_one(&format!("{key}.retry.attempts"), retry.attempts)?;
        self.distribution(&format!("{key}.retry.backoff"), &retry.backoff)?;
        self.positive(&format!("{key}.retry.factor"), retry.factor)?;
        Ok(())
    }
}

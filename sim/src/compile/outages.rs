//! From losses of replicas to what happens about them.

use schema::ids::Id;
use schema::scenario::{Forward, Hop, Verbs};
use schema::units::SimTime;

use super::{Compiler, place};
use crate::error::SimError;
use crate::fabric::packets::Lanes;
use crate::ids::RoleId;
use crate::tables::{OutageChange, OutageRow};

impl Compiler<'_> {
    /// What happens about losses of replicas that requests come to.
    pub(super) fn outages(&mut self) -> Result<(), SimError> {
        self.can_lose()?;
        let mut rows = Vec::new();
        for outage in &self.scenario.outages {
            let replicas = outage.replicas.iter().filter_map(|(stage, replica)| {
                let first = self.role_of_stage[stage.index()]?;
                Some(RoleId::from_index(first.index() + *replica as usize))
            });
            let roles: Vec<RoleId> = replicas.collect();
            let begins = SimTime::ZERO + outage.from;
            let ends = begins + outage.length;
            for (at, change) in [
                (begins, OutageChange::Begins),
                (begins + outage.detection, OutageChange::IsKnown),
                (ends, OutageChange::Ends),
                (ends + outage.detection, OutageChange::EndIsKnown),
            ] {
                let roles = roles.clone();
                rows.push(OutageRow { at, change, roles });
            }
        }
        rows.sort_by_key(|row| (row.at, row.change));
        self.tables.outages = rows;
        Ok(())
    }

    /// Where something may be lost or given up, messages go over nothing that would have to be told.
    fn can_lose(&self) -> Result<(), SimError> {
        let scenario = self.scenario;
        for (id, group) in scenario.groups.iter() {
            if scenario.outages.is_empty() && group.timeout.is_none() {
                continue;
            }
            let calls = group
                .branches
                .iter()
                .map(|branch| &scenario.call(branch).path);
            let hops = std::iter::once(&group.path).chain(calls).flatten();
            let found = hops.clone().find_map(limit_of);
            let lanes = &self.tables.wires.lanes;
            let has_packets = lanes.iter().any(|lanes| *lanes != Lanes::Open);
            let found = found.or_else(|| has_packets.then_some("links with `mode = \"packets\"`"));
            if let Some(found) = found {
                let (key, why) = match group.timeout {
                    Some(_) => (format!("clients.{}.timeout", id.index()), "a `timeout`"),
                    None => ("faults".to_owned(), "losses of hosts and stages"),
                };
                return Err(SimError::Unsupported {
                    wanted_by: place(scenario, &key),
                    what: format!("{why} with {found}"),
                });
            }
        }
        Ok(())
    }
}

/// What a hop has that keeps count of messages under way.
fn limit_of(hop: &Hop) -> Option<&'static str> {
    let shares = |verbs: Verbs| verbs.queue_pairs.is_some();
    if hop.forward == Forward::CutThrough {
        Some("proxies that are `cut-through`")
    } else if hop.tcp.is_some() {
        Some("hops with `tcp` buffers or windows")
    } else if hop.verbs.is_some_and(shares) {
        Some("hops with `queue-pairs`")
    } else {
        None
    }
}

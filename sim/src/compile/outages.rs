//! From losses of replicas to what happens about them.

use schema::ids::Id;
use schema::units::SimTime;

use super::Compiler;
use crate::ids::RoleId;
use crate::tables::{OutageChange, OutageRow};

impl Compiler<'_> {
    /// What happens about losses of replicas that requests come to.
    pub(super) fn outages(&mut self) {
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
    }
}

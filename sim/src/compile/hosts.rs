//! From scenario and profile to what the buses of hosts share.

use schema::ids::{HostId, Table};
use schema::profile::parameter;

use super::gpus::PartOf;
use super::{Compiler, place};
use crate::error::SimError;
use crate::gpu::HostSpec;

impl Compiler<'_> {
    /// What limits all that moves from and to the memory of each host; nothing does where no GPU and
    /// no network adapter is used.
    pub(super) fn host_specs(&self) -> Result<Table<HostId, HostSpec>, SimError> {
        let gpus = self.tables.gpus.rows().iter().map(|row| row.host);
        let nics = self.tables.nics.rows().iter().map(|row| row.host);
        let used: Vec<HostId> = gpus.chain(nics).collect();
        let hosts = self.scenario.hosts.iter().map(|(id, row)| {
            if !used.contains(&id) {
                return Ok(HostSpec::UNLIMITED);
            }
            let wanted_by = place(self.scenario, &format!("hosts.{}.part", row.name));
            let part = PartOf {
                name: &row.part,
                part: self.profile.part(&row.part, &wanted_by)?,
                wanted_by,
            };
            Ok(HostSpec {
                root_complex: part.or(parameter::ROOT_COMPLEX_BANDWIDTH, f64::INFINITY)?,
                memory: part.or(parameter::MEMORY_BANDWIDTH, f64::INFINITY)?,
            })
        });
        hosts.collect()
    }
}

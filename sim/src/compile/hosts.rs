//! From scenario and profile to what hosts are, beside their cores.

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
        let hosts = self.scenario.hosts.ids().map(|id| {
            if !used.contains(&id) {
                return Ok(HostSpec::UNLIMITED);
            }
            let of_part = |name| self.host_parameter(id, name, f64::INFINITY);
            Ok(HostSpec {
                root_complex: of_part(parameter::ROOT_COMPLEX_BANDWIDTH)?,
                memory: of_part(parameter::MEMORY_BANDWIDTH)?,
            })
        });
        hosts.collect()
    }

    /// A parameter of a host's part.
    pub(super) fn host_parameter(
        &self,
        host: HostId,
        name: &str,
        default: f64,
    ) -> Result<f64, SimError> {
        let row = &self.scenario.hosts[host];
        let Some(part) = self.profile.parts.get(&row.part) else {
            return Ok(default);
        };
        let wanted_by = place(self.scenario, &format!("hosts.{}.part", row.key));
        let part = PartOf {
            name: &row.part,
            part,
            wanted_by,
        };
        part.or(name, default)
    }
}

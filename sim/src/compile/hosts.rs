//! From scenario and profile to what hosts are, beside their cores.

use schema::ids::{HostId, Table};
use schema::profile::parameter;
use schema::scenario::Socket;
use schema::units::SimDuration;

use super::parts::PartOf;
use super::{Compiler, place};
use crate::error::SimError;
use crate::gpu::HostSpec;

impl Compiler<'_> {
    /// What limits all that moves from and to the memory of each host; nothing does where no GPU and
    /// no network adapter is used.
    pub(super) fn host_specs(&self) -> Result<Table<HostId, HostSpec>, SimError> {
        let gpus = self.tables.gpus.rows().iter();
        let nics = self.tables.nics.rows().iter();
        let used: Vec<(HostId, Socket)> = gpus
            .map(|row| (row.host, row.socket))
            .chain(nics.map(|row| (row.host, row.socket)))
            .collect();
        let hosts = self.scenario.hosts.ids().map(|id| {
            if !used.iter().any(|(host, _)| *host == id) {
                return Ok(HostSpec::UNLIMITED);
            }
            let of_part = |name| self.host_parameter(id, name, f64::INFINITY);
            let spec = HostSpec {
                root_complex: of_part(parameter::ROOT_COMPLEX_BANDWIDTH)?,
                memory: of_part(parameter::MEMORY_BANDWIDTH)?,
                ..HostSpec::UNLIMITED
            };
            if !used.contains(&(id, Socket::Far)) {
                return Ok(spec);
            }
            let part = self.part_of_host(id)?;
            Ok(HostSpec {
                socket_bandwidth: part.required(parameter::SOCKET_BANDWIDTH)?,
                socket_latency: self.socket_latency(id)?,
                ..spec
            })
        });
        hosts.collect()
    }

    /// Time in which a word crosses between the sockets of a host, one way.
    pub(super) fn socket_latency(&self, host: HostId) -> Result<SimDuration, SimError> {
        let seconds = self.host_parameter(host, parameter::SOCKET_LATENCY, 0.0)?;
        Ok(SimDuration::from_secs_f64(seconds))
    }

    /// A parameter of a host's part.
    pub(super) fn host_parameter(
        &self,
        host: HostId,
        name: &str,
        default: f64,
    ) -> Result<f64, SimError> {
        let part = &self.scenario.hosts[host].part;
        if !self.profile.parts.contains_key(part) {
            return Ok(default);
        }
        self.part_of_host(host)?.or(name, default)
    }

    /// The part of a host.
    fn part_of_host(&self, host: HostId) -> Result<PartOf<'_>, SimError> {
        let row = &self.scenario.hosts[host];
        let wanted_by = place(self.scenario, &format!("hosts.{}.part", row.key));
        Ok(PartOf {
            name: &row.part,
            part: self.profile.part(&row.part, &wanted_by)?,
            wanted_by,
        })
    }
}

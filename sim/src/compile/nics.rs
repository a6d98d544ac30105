//! From scenario and profile to the tables of network adapters and of hops over them.

use schema::ids::HostId;
use schema::profile::{PartKind, parameter};
use schema::scenario::{Hop, Transport};
use schema::units::{ByteRate, SimDuration};

use super::gpus::PartOf;
use super::{Compiler, place};
use crate::error::SimError;
use crate::ids::{NicId, RoleId};
use crate::tables::{GpuMemory, NicRow, Role, Segment};

/// Most bytes of a message in a packet of an adapter that does not say: what RoCE puts into a frame of
/// 1500 bytes, as MTUs of InfiniBand are powers of two.
const PATH_MTU: f64 = 1024.0;
/// What an adapter that does not say has whole before any of it goes on; see `calibrate::nic`.
const BURST: f64 = 8192.0;

impl<'a> Compiler<'a> {
    /// The table's row of a host's adapter, made when it is first asked for.
    pub(super) fn nic(&mut self, host: HostId) -> Result<NicId, SimError> {
        let is_it = |row: &NicRow| row.host == host;
        if let Some((id, _)) = self.tables.nics.iter().find(|(_, row)| is_it(row)) {
            return Ok(id);
        }
        let part = self.part_of_nic(host)?;
        let seconds = |name| Ok::<_, SimError>(SimDuration::from_secs_f64(part.or(name, 0.0)?));
        let mtu = part.or(parameter::PATH_MTU, PATH_MTU)? as u64;
        let burst = part.or(parameter::BURST, BURST)? as u64;
        let rate = part.or(parameter::MESSAGE_RATE, f64::INFINITY)?;
        let row = NicRow {
            host,
            gap: SimDuration::from_secs_f64(1.0 / rate),
            latency: seconds(parameter::NIC_LATENCY)?,
            dma_read_latency: seconds(parameter::DMA_READ_LATENCY)?,
            inline_limit: part.or(parameter::INLINE_LIMIT, 0.0)? as u64,
            mtu,
            header: part.or(parameter::PACKET_HEADER, 0.0)? as u64,
            burst: burst.div_ceil(mtu) * mtu,
            pcie: (part.part.parameters.contains_key(parameter::PCIE_BANDWIDTH))
                .then(|| part.or(parameter::PCIE_BANDWIDTH, f64::INFINITY))
                .transpose()?
                .and_then(|rate| ByteRate::from_bytes_per_s(rate as u64)),
        };
        Ok(self.tables.nics.push(row))
    }

    /// The part of a host's adapter.
    fn part_of_nic(&self, host: HostId) -> Result<PartOf<'a>, SimError> {
        let row = &self.scenario.hosts[host];
        let name = (row.nic.as_deref()).expect("the ends of a hop over verbs have an adapter");
        let wanted_by = place(self.scenario, &format!("hosts.{}.nic.part", row.key));
        let part = self.profile.part(name, &wanted_by)?;
        if part.kind != PartKind::Nic {
            return Err(SimError::NotANic {
                wanted_by,
                part: name.to_owned(),
            });
        }
        Ok(PartOf {
            name,
            part,
            wanted_by,
        })
    }

    /// Where a hop over `gdr` leads in the memory of the GPU of a serving stage.
    pub(super) fn reach_gpus(&mut self, role: RoleId, hop: &Hop) -> Result<(), SimError> {
        if hop.over != Transport::Gdr {
            return Ok(());
        }
        let Role { host, server, .. } = self.tables.roles[role];
        let server = server.expect("`gdr` leads to a stage that serves");
        let server = self.tables.servers[server].gpu.as_ref();
        let server = server.expect("`gdr` leads to a stage on a GPU");
        // All contexts are on one device.
        let segments = &server.contexts[0].segments;
        let part = self.part_of_nic(host)?;
        let bandwidth = part.or(parameter::PCIE_BANDWIDTH, f64::INFINITY)?;
        let reach = |segment: &Segment, factor: fn(_) -> String| {
            let number = self.tables.gpus[segment.gpu].gpu as usize;
            let path = self.scenario.hosts[host].gpus[number].gdr_path;
            Ok::<_, SimError>(GpuMemory {
                gpu: segment.gpu,
                device: segment.device,
                speed: bandwidth * part.or(&factor(path), 1.0)?,
            })
        };
        let last = segments.last().expect("a context has a segment");
        self.tables.roles[role].memory = Some([
            reach(&segments[0], parameter::gdr_write_factor)?,
            reach(last, parameter::gdr_read_factor)?,
        ]);
        Ok(())
    }
}

//! From scenario and profile to the tables of network adapters and of hops over them.

use schema::ids::HostId;
use schema::profile::{PartKind, cost, parameter};
use schema::scenario::{Hop, Nic, Registration, Socket, Transport, Verb};
use schema::units::{ByteRate, Bytes, SimDuration};

use super::parts::PartOf;
use super::{Compiler, LEGS, place};
use crate::error::SimError;
use crate::fabric::packets::Format;
use crate::ids::{NicId, RoleId, SourceId};
use crate::tables::{GpuMemory, NicRow, QueuePairsRow, Role, Segment, VerbsRow};

/// Most bytes of a message in a packet of an adapter that does not say: what RoCE puts into a frame of
/// 1500 bytes, as MTUs of InfiniBand are powers of two.
const PATH_MTU: f64 = 1024.0;
/// Bytes of a page of x86.
const PAGE_SIZE: f64 = 4096.0;
/// What an adapter that does not say has whole before any of it goes on; see `calibrate::nic`.
const BURST: f64 = 8192.0;

impl<'a> Compiler<'a> {
    /// How a hop between so many pairs of replicas goes over network adapters, if it does.
    pub(super) fn verbs(
        &mut self,
        hop: &Hop,
        n_pairs: usize,
    ) -> Result<Option<VerbsRow>, SimError> {
        let Some(options) = hop.verbs else {
            return Ok(None);
        };
        let to = self.scenario.stages[hop.to].host;
        Ok(Some(VerbsRow {
            options,
            queue_pairs: options.queue_pairs.map(|pairs| {
                let first = self.tables.n_queue_pairs;
                self.tables.n_queue_pairs += 2 * n_pairs as u32 * pairs.count;
                QueuePairsRow {
                    first,
                    count: pairs.count,
                    outstanding: pairs.outstanding,
                }
            }),
            page_sizes: [self.page_size(hop.from)?, self.page_size(to)?],
        }))
    }

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
        let header = |name: &str| Ok::<_, SimError>(Bytes(part.or(name, 0.0)? as u64));
        let verb_headers = [Verb::WriteWithImmediate, Verb::Send, Verb::Read];
        let [write, send, read] = verb_headers.map(|verb| header(&parameter::verb_header(verb)));
        let socket = self.adapter(host).socket;
        // A doorbell or what is written crosses once, a read of memory and what comes of it twice.
        let word = match socket {
            Socket::Near => SimDuration::ZERO,
            Socket::Far => self.socket_latency(host)?,
        };
        let row = NicRow {
            host,
            socket,
            verb_headers: [write?, send?, read?],
            read_request_header: header(parameter::READ_REQUEST_HEADER)?,
            qp_cache: (part.part.parameters.contains_key(parameter::QP_CACHE))
                .then(|| part.or(parameter::QP_CACHE, 0.0))
                .transpose()?
                .map(|contexts| contexts as u64),
            gap: SimDuration::from_secs_f64(1.0 / rate),
            latency: seconds(parameter::NIC_LATENCY)? + word,
            dma_read_latency: seconds(parameter::DMA_READ_LATENCY)? + word + word,
            inline_limit: part.or(parameter::INLINE_LIMIT, 0.0)? as u64,
            format: Format {
                payload: Bytes(mtu),
                header: Bytes(part.or(parameter::PACKET_HEADER, 0.0)? as u64),
            },
            burst: burst.div_ceil(mtu) * mtu,
            pcie: (part.part.parameters.contains_key(parameter::PCIE_BANDWIDTH))
                .then(|| part.or(parameter::PCIE_BANDWIDTH, f64::INFINITY))
                .transpose()?
                .and_then(|rate| ByteRate::from_bytes_per_s(rate as u64)),
        };
        Ok(self.tables.nics.push(row))
    }

    /// What it costs the senders of a hop, there and back, to register each message.
    pub(super) fn register_sources(
        &mut self,
        hop: &Hop,
        ends: [(HostId, HostId); 2],
        name: &str,
    ) -> Result<[Option<SourceId>; 2], SimError> {
        let mut sources = [None; 2];
        if hop
            .verbs
            .is_some_and(|verbs| verbs.registration == Registration::Each)
        {
            for (leg, (sender, _)) in ends.into_iter().enumerate() {
                let name = format!("{name}/{}/register", LEGS[leg]);
                sources[leg] = Some(self.of_host(sender, cost::REGISTER, name)?);
            }
        }
        Ok(sources)
    }

    /// Bytes of a page of a host's memory.
    fn page_size(&self, host: HostId) -> Result<u64, SimError> {
        let size = self.host_parameter(host, parameter::PAGE_SIZE, PAGE_SIZE)?;
        Ok(size as u64)
    }

    /// A host's adapter.
    fn adapter(&self, host: HostId) -> &'a Nic {
        let nic = self.scenario.hosts[host].nic.as_ref();
        nic.expect("the ends of a hop over verbs have an adapter")
    }

    /// The part of a host's adapter.
    fn part_of_nic(&self, host: HostId) -> Result<PartOf<'a>, SimError> {
        let row = &self.scenario.hosts[host];
        let name = self.adapter(host).part.as_str();
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

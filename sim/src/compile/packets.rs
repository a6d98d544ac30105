//! From links and hops to packets of TCP and to what limits it.

use schema::ids::{HostId, Id, LinkId};
use schema::profile::{cost, parameter};
use schema::scenario::{Ethernet, Hop, LinkMode, Scenario, Transport, Vertex, Way};
use schema::units::Bytes;

use super::parts::PartOf;
use super::{Compiler, LEGS, place, wires};
use crate::error::SimError;
use crate::fabric::packets::{Format, Lanes};
use crate::ids::SourceId;
use crate::network::{CHUNK, WHOLE};
use crate::tables::TcpRow;

/// The packets of a link: its MTU, and what TCP and the frame take beside payload.
#[derive(Clone, Copy)]
struct Packets {
    mtu: u64,
    tcp: u64,
    frame: u64,
}

/// How packets wait for each direction of the links of `scenario`, in their order.
pub(super) fn lanes(scenario: &Scenario) -> Result<Vec<Lanes>, SimError> {
    let mut lanes = Vec::with_capacity(2 * scenario.links.len());
    for link in scenario.links.rows() {
        let ethernet = link.ethernet.filter(|e| e.mode == LinkMode::Packets);
        if ethernet.is_some() && !scenario.faults.is_empty() {
            return Err(SimError::Unsupported {
                wanted_by: place(scenario, &format!("{}.ethernet.mode", link.key)),
                what: "packets where links have `faults`".to_owned(),
            });
        }
        for from in link.between {
            lanes.push(match (ethernet, from) {
                (None, _) => Lanes::Open,
                // Where a host's own buffer is full its threads wait.
                (Some(_), Vertex::Host(_)) => Lanes::Line,
                (Some(ethernet), Vertex::Switch(_)) => {
                    ethernet.buffer.map_or(Lanes::Line, Lanes::Buffer)
                }
            });
        }
    }
    Ok(lanes)
}

impl Compiler<'_> {
    /// How the hop, which is at `key`, goes over TCP.
    pub(super) fn tcp(&mut self, key: &str, hop: &Hop) -> Result<TcpRow, SimError> {
        let none = TcpRow {
            format: Format::NONE,
            chunk: WHOLE,
            limits: None,
            message_header: [Bytes(0); 2],
        };
        if hop.over != Transport::Tcp {
            return Ok(none);
        }
        let to = self.scenario.stages[hop.to].host;
        let header = |host| self.message_header(host);
        let message_header = [header(hop.from)?, header(to)?];
        let packets = self.packets_of_way(hop)?;
        let format = packets.map_or(Format::NONE, |packets| Format {
            payload: Bytes(packets.mtu - packets.tcp),
            header: Bytes(packets.tcp + packets.frame),
        });
        let limits = hop.tcp;
        if packets.is_none() && limits.is_some_and(|tcp| tcp.initial_window.is_some()) {
            return Err(SimError::Unsupported {
                wanted_by: place(self.scenario, &format!("{key}.tcp.initial-window")),
                what: "a window of packets where no link of the way is an `ethernet`".to_owned(),
            });
        }
        // Whole packets where it can be, and no more than any buffer holds.
        let buffers = limits.map(|tcp| [tcp.send_buffer, tcp.receive_buffer]);
        let buffer = buffers.into_iter().flatten().flatten().min();
        let most = buffer.map_or(CHUNK, |buffer| buffer.min(CHUNK)).0;
        let whole = match packets {
            Some(_) => (most / format.payload.0).max(1) * format.payload.0,
            None => most,
        };
        Ok(TcpRow {
            format,
            chunk: Bytes(buffer.map_or(whole, |buffer| whole.min(buffer.0))),
            limits,
            message_header,
        })
    }

    /// What a messaging library on a host puts before each message.
    fn message_header(&self, host: HostId) -> Result<Bytes, SimError> {
        let size = self.host_parameter(host, parameter::MESSAGE_HEADER, 0.0)?;
        Ok(Bytes(size as u64))
    }

    /// The packets of a hop: those of the link with the smallest MTU on its way, as the first
    /// connection takes it; `None` if no link has any.
    fn packets_of_way(&mut self, hop: &Hop) -> Result<Option<Packets>, SimError> {
        let links = match hop.way {
            Way::Inside => Vec::new(),
            Way::Link(link) => vec![link],
            Way::Switched => {
                let to = self.scenario.stages[hop.to].host;
                let wires = &self.tables.wires;
                let [from, to] = [hop.from, to].map(|host| wires.hosts[host.index()]);
                let path = self.routes.path(&wires.graph, from, to, 0);
                let path = path.expect("the scenario was checked");
                path.into_iter().map(wires::link_of).collect()
            }
        };
        let mut smallest: Option<Packets> = None;
        for link in links {
            let found = self.packets_of_link(link)?;
            smallest = match (smallest, found) {
                (Some(known), Some(found)) if found.mtu >= known.mtu => Some(known),
                (known, None) => known,
                (_, found) => found,
            };
        }
        Ok(smallest)
    }

    fn packets_of_link(&self, id: LinkId) -> Result<Option<Packets>, SimError> {
        let link = &self.scenario.links[id];
        let part = (link.part.as_ref())
            .map(|name| {
                let wanted_by = place(self.scenario, &format!("{}.part", link.key));
                let part = self.profile.part(name, &wanted_by)?;
                Ok::<_, SimError>(PartOf {
                    name,
                    part,
                    wanted_by,
                })
            })
            .transpose()?;
        let of_part = |name: &str, default: f64| match &part {
            Some(part) => part.or(name, default),
            None => Ok(default),
        };
        let mtu = match link.ethernet {
            Some(ethernet) => ethernet.mtu.0,
            None => of_part(parameter::MTU, 0.0)? as u64,
        };
        if mtu == 0 {
            return Ok(None);
        }
        let tcp = of_part(parameter::TCP_HEADER, Ethernet::TCP_HEADER.0 as f64)? as u64;
        let frame = of_part(parameter::FRAME_HEADER, Ethernet::FRAME_HEADER.0 as f64)? as u64;
        Ok(Some(Packets { mtu, tcp, frame }))
    }

    /// What it costs the ends of a hop, there and back, beside sending and receiving: of the sender to
    /// make packets, of the receiver to take them, and of both to frame messages.
    pub(super) fn packet_sources(
        &mut self,
        hop: &Hop,
        format: Format,
        ends: [(HostId, HostId); 2],
        name: &str,
    ) -> Result<PacketSources, SimError> {
        let mut sources = PacketSources::default();
        if hop.over != Transport::Tcp {
            return Ok(sources);
        }
        for (leg, (sender, receiver)) in ends.into_iter().enumerate() {
            let name = |what: &str| format!("{name}/{}/{what}", LEGS[leg]);
            if format != Format::NONE {
                sources.segment[leg] =
                    self.of_host_if_any(sender, cost::SEGMENT, name("segment"))?;
                sources.reassemble[leg] =
                    self.of_host_if_any(receiver, cost::REASSEMBLE, name("reassemble"))?;
            }
            sources.frame[leg] = [
                self.of_host_if_any(sender, cost::FRAME, name("frame"))?,
                self.of_host_if_any(receiver, cost::FRAME, name("unframe"))?,
            ];
        }
        Ok(sources)
    }
}

/// See [`HopSources`](crate::tables::HopSources).
#[derive(Default)]
pub(super) struct PacketSources {
    pub(super) segment: [Option<SourceId>; 2],
    pub(super) reassemble: [Option<SourceId>; 2],
    pub(super) frame: [[Option<SourceId>; 2]; 2],
}

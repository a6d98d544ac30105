//! The access network of clients.

use rand::rngs::ChaCha8Rng;
use schema::distribution::Sampler;
use schema::ids::{ClientId, HostId, Table};
use schema::random::{Seed, stream};
use schema::units::SimDuration;

use super::Wires;
use crate::pipeline::Connection;
use crate::tables::{HopSources, Tables};

/// The access network of clients.
#[derive(Debug)]
pub(crate) struct AccessRow {
    pub(crate) hosts: Vec<HostId>,
    /// Of a client, there and back.
    pub(crate) delay: Sampler,
    /// Of a message.
    pub(crate) jitter: Sampler,
}

/// What clients have of the access network; nothing without one.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// By client.
    delays: Table<ClientId, SimDuration>,
    /// By hop of each client: how often it crosses the access network, and the streams of jitter there
    /// and back.
    crossings: Vec<Option<(u32, [ChaCha8Rng; 2])>>,
}

impl Access {
    pub(super) fn new(tables: &Tables<'_>, seed: Seed) -> Access {
        let Some(access) = &tables.wires.access else {
            return Access::default();
        };
        let clients = tables.scenario.clients.rows().iter();
        let delays = clients.map(|client| {
            let group = &tables.scenario.groups[client.group].name;
            let name = format!("client/{group}/{}/access", client.index);
            access.delay.sample(&mut stream(seed, &name))
        });
        let hops = tables.hop_sources.iter();
        Access {
            delays: delays.collect(),
            crossings: hops.map(|hop| access.crossings(hop, seed)).collect(),
        }
    }
}

impl AccessRow {
    /// How often a hop crosses the access network, and the streams of its jitter there and back; `None`
    /// if it does not.
    fn crossings(&self, hop: &HopSources, seed: Seed) -> Option<(u32, [ChaCha8Rng; 2])> {
        let [from, to] = hop.ends;
        let is_crossed = |host: &&HostId| from != to && self.hosts.contains(host);
        let n = hop.ends.iter().filter(is_crossed).count();
        let jitter = |leg: &str| stream(seed, &format!("{}/{leg}/jitter", hop.name));
        (n > 0).then(|| (n as u32, ["request", "reply"].map(jitter)))
    }
}

impl Wires<'_> {
    /// What the access network adds to the delay of the connection's message, drawn anew for each.
    pub(in crate::network) fn draw_access(&mut self, connection: &Connection) -> SimDuration {
        let Some(access) = &self.tables.access else {
            return SimDuration::ZERO;
        };
        let hop = connection.sources + usize::from(connection.hop);
        let Some((n, streams)) = &mut self.access.crossings[hop] else {
            return SimDuration::ZERO;
        };
        let delay = self.access.delays[connection.client];
        let rng = &mut streams[connection.leg as usize];
        (0..*n).map(|_| delay + access.jitter.sample(rng)).sum()
    }
}

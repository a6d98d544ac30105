//! The access network of clients.

use rand::rngs::ChaCha8Rng;
use schema::distribution::Sampler;
use schema::ids::{ClientId, HostId};
use schema::random::{Seed, stream};
use schema::units::SimDuration;

use super::Wires;
use crate::pipeline::Connection;
use crate::tables::Tables;

/// The access network of clients.
#[derive(Debug)]
pub(crate) struct AccessRow {
    pub(crate) hosts: Vec<HostId>,
    /// Of a client, there and back.
    pub(crate) delay: Sampler,
    /// Of a message.
    pub(crate) jitter: Sampler,
}

/// What a client has of the access network.
#[derive(Debug)]
pub(super) struct AccessState {
    delay: SimDuration,
    /// By hop: how often it crosses the access network, and the streams of jitter there and back.
    hops: Vec<Option<(u32, [ChaCha8Rng; 2])>>,
}

impl AccessState {
    pub(super) fn new(
        tables: &Tables<'_>,
        access: &AccessRow,
        client: ClientId,
        seed: Seed,
    ) -> AccessState {
        let row = &tables.scenario.clients[client];
        let group = &tables.scenario.groups[row.group];
        let name = format!("client/{}/{}", group.name, row.index);
        let hops = group.path.iter().enumerate().map(|(index, hop)| {
            let to = tables.scenario.stages[hop.to].host;
            let ends = [hop.from, to];
            let is_crossed = |host: &&HostId| hop.from != to && access.hosts.contains(host);
            let n = ends.iter().filter(is_crossed).count();
            let jitter = |leg: &str| stream(seed, &format!("{name}/hop/{index}/{leg}/jitter"));
            (n > 0).then(|| (n as u32, ["request", "reply"].map(jitter)))
        });
        AccessState {
            delay: (access.delay).sample(&mut stream(seed, &format!("{name}/access"))),
            hops: hops.collect(),
        }
    }
}

impl Wires<'_> {
    /// What the access network adds to the delay of the connection's message, drawn anew for each.
    pub(in crate::network) fn draw_access(&mut self, connection: &Connection) -> SimDuration {
        let Some(access) = &self.tables.access else {
            return SimDuration::ZERO;
        };
        let state = &mut self.access[connection.client];
        let Some((n, streams)) = &mut state.hops[usize::from(connection.hop)] else {
            return SimDuration::ZERO;
        };
        let rng = &mut streams[connection.leg as usize];
        (0..*n)
            .map(|_| state.delay + access.jitter.sample(rng))
            .sum()
    }
}

//! The links that a wire goes over.

use schema::ids::{HostId, Id};
use schema::units::SimDuration;

use super::WireTables;
use crate::fabric::{LinkId, Routes};

/// The links of a wire on a hop.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) ends: [HostId; 2],
    /// As of which change of the links it was found.
    pub(super) found_at: u32,
    pub(super) links: Box<[LinkId]>,
    /// Those of the links that have a rate.
    pub(super) limited: Box<[LinkId]>,
    /// Propagation delay.
    pub(super) delay: SimDuration,
}

impl Path {
    /// A path that is still to be found.
    pub(super) fn unknown(ends: [HostId; 2]) -> Path {
        Path {
            ends,
            found_at: u32::MAX,
            links: Box::default(),
            limited: Box::default(),
            delay: SimDuration::ZERO,
        }
    }

    /// Finds it anew for the connection that is `label`; whether there is one.
    pub(super) fn find(&mut self, tables: &WireTables, routes: &mut Routes, label: u64) -> bool {
        let [from, to] = self.ends.map(|host| tables.hosts[host.index()]);
        let Ok(links) = routes.path(&tables.graph, from, to, label) else {
            return false;
        };
        let limited = links.iter().copied();
        self.limited = limited
            .filter(|link| tables.is_limited[link.index()])
            .collect();
        self.delay = tables.graph.propagation_delay(&links);
        self.links = links.into();
        true
    }
}

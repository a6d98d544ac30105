//! Proxies that pass a message on before they have all of it.
//!
//! While a message comes over one hop, what has arrived of it goes on over the next: so a connection
//! has two messages under way, and the one that goes on is carried by its *companion*, a connection of
//! its own that takes nothing else. When that has arrived the connection goes on from there.
//!
//! Over TCP the proxy's thread passes on each chunk when it has taken it, with the core time of
//! `translate` for its part of the bytes. Between network adapters the thread learns of the first
//! burst, and posts; the adapter reads each burst when it has been written.

use schema::run::Leg;
use schema::scenario::{Forward, Transport};
use schema::units::{Bytes, SimDuration};

use crate::costs::Amount;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::ConnectionId;
use crate::pipeline::Pipeline;

impl Pipeline<'_> {
    /// The hop over which the connection's message goes on before all of it is there, if it does.
    pub(super) fn cut_to(&self, id: ConnectionId) -> Option<u8> {
        let connection = &self.connections[id];
        connection.companion?;
        let path = &self.tables.paths[connection.path].hops;
        let hop = connection.hop;
        let (proxy, next) = match connection.leg {
            Leg::Request => (hop, hop + 1),
            Leg::Reply => (hop.checked_sub(1)?, hop.checked_sub(1)?),
        };
        (path[usize::from(proxy)].forward == Forward::CutThrough).then_some(next)
    }

    /// Some of the connection's message is at the proxy: it goes on, if it is to.
    pub(super) fn cut_through(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let Some(hop) = self.cut_to(id) else { return };
        let companion = self.connections[id].companion.expect("it is cut through");
        if !std::mem::replace(&mut self.connections[id].message.is_passed_on, true) {
            self.start_companion(queue, id, companion, hop);
        } else if self.tables.hop(&self.connections[companion]).over == Transport::Tcp {
            if self.connections[companion].message.is_blocked {
                self.send_chunk_if_taken(queue, companion);
            }
        } else {
            self.read_on(queue, companion);
        }
    }

    fn start_companion(
        &mut self,
        queue: &mut EventQueue<Event>,
        id: ConnectionId,
        companion: ConnectionId,
        hop: u8,
    ) {
        let now = queue.now();
        let from = &self.connections[id];
        let (leg, class) = (from.leg, from.class);
        let (ends, sources) = (from.ends, from.sources);
        let (request, ready, start, proxy) =
            (from.request, from.ready, from.start, from.hop.min(hop));
        let to = &mut self.connections[companion];
        (to.request, to.class, to.ready, to.start) = (request, class, ready, start);
        (to.leg, to.hop, to.done) = (leg, hop, now);
        (to.ends, to.sources) = (ends, sources);
        to.client_core_time = SimDuration::ZERO;
        let row = &self.tables.hop_sources[sources + usize::from(proxy)];
        let to = &self.connections[companion];
        let amount = match leg {
            _ if row.is_shared => Amount::one(Bytes(0)),
            Leg::Request => Amount::one(self.tables.payload(to, usize::from(hop))),
            Leg::Reply => Amount::one(self.tables.reply(to, usize::from(hop))),
        };
        let [sender, _] = self.roles(companion);
        let cost = row.translate.map(|translate| {
            let past = self.cores.past(now, sender);
            self.costs.draw(translate[leg as usize], amount, past)
        });
        self.send_after(queue, companion, cost.unwrap_or(SimDuration::ZERO));
    }

    /// Whether what comes next of a message that is passed on has arrived, up to that many of its
    /// bytes.
    pub(super) fn is_there(&self, id: ConnectionId, bytes: u64) -> bool {
        let connection = &self.connections[id];
        let Some(primary) = connection.primary else {
            return true;
        };
        let before = &self.connections[primary].message;
        let there = match self.tables.hop(connection).over {
            Transport::Tcp => before.taken(),
            Transport::Local | Transport::Rdma | Transport::Gdr => self.written(primary),
        };
        there >= bytes.min(before.bytes.0)
    }

    /// The receiver of the connection's message has all of it.
    pub(super) fn received_whole(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        match self.connections[id].primary {
            Some(primary) => {
                let companion = &self.connections[id];
                let (hop, used) = (companion.hop, companion.client_core_time);
                let connection = &mut self.connections[primary];
                connection.hop = hop;
                connection.done = queue.now();
                connection.client_core_time += used;
                self.on_message(queue, primary);
            }
            None if self.cut_to(id).is_some() => {}
            None => self.on_message(queue, id),
        }
    }
}

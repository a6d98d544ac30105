//! Network adapters: what they move between the wire and memory, burst by burst.
//!
//! An adapter has a DMA engine a direction. Each moves one burst at a time, first come first served,
//! and the next burst of a message queues behind what came in the meantime: so messages share it in
//! turn. A burst goes on when all of it is there.

use std::collections::{BTreeMap, VecDeque};

use schema::ids::Id;
use schema::units::{Bytes, SimDuration, SimTime};

use crate::gpu::Access;
use crate::ids::{ConnectionId, NicId};
use crate::tables::NicRow;

use super::wire::Parcel;

/// The state of an adapter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nic {
    /// When it may begin with the next message that it is to send.
    free_at: SimTime,
    engines: [Engine; 2],
    pub(super) contexts: Contexts,
}

/// A queue pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Pair {
    /// A connection's own, on a hop.
    Of(ConnectionId, u8),
    /// One that several share.
    Shared(usize),
}

/// The contexts of queue pairs that an adapter has.
#[derive(Clone, Debug, Default)]
pub(super) struct Contexts {
    /// By queue pair, when it was used last; by that, the queue pair.
    used: BTreeMap<Pair, u64>,
    order: BTreeMap<u64, Pair>,
    n_uses: u64,
}

impl Contexts {
    /// Uses the context of a queue pair, of which `most` are kept; whether it was there. Contexts are
    /// there from the start as long as all fit.
    pub(super) fn touch(&mut self, pair: Pair, most: u64) -> bool {
        let was_there = self.used.contains_key(&pair) || (self.order.len() as u64) < most;
        if let Some(before) = self.used.insert(pair, self.n_uses) {
            self.order.remove(&before);
        }
        self.order.insert(self.n_uses, pair);
        self.n_uses += 1;
        if self.order.len() as u64 > most {
            let (_, oldest) = self.order.pop_first().expect("it has some");
            self.used.remove(&oldest);
        }
        was_there
    }
}

/// A DMA engine of an adapter.
#[derive(Clone, Debug, Default)]
pub(super) struct Engine {
    /// Whose burst it moves, and whether that is of a message that is lost.
    working: Option<ConnectionId>,
    is_void: bool,
    line: VecDeque<ConnectionId>,
}

impl Nic {
    /// It takes a message at the instant `now`, or when it is done with those before; when it has.
    pub(super) fn take(&mut self, now: SimTime, gap: SimDuration) -> SimTime {
        self.free_at = self.free_at.max(now) + gap;
        self.free_at
    }

    /// The connection's message is lost: nothing of it is left to move.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        for engine in &mut self.engines {
            engine.line.retain(|waiting| *waiting != id);
            engine.is_void |= engine.working == Some(id);
        }
    }

    pub(super) const fn engine(&mut self, access: Access) -> &mut Engine {
        &mut self.engines[access as usize]
    }
}

impl Engine {
    /// A burst of the connection's message joins the line; whether the engine begins with it.
    pub(super) fn join(&mut self, id: ConnectionId) -> bool {
        if self.working.is_some() {
            self.line.push_back(id);
            return false;
        }
        self.working = Some(id);
        true
    }

    /// Whose burst it moves.
    pub(super) fn current(&self) -> ConnectionId {
        self.working.expect("the engine moves a burst")
    }

    /// Whether the burst that has been moved is of a message that is lost.
    pub(super) fn take_void(&mut self) -> bool {
        std::mem::take(&mut self.is_void)
    }

    /// The burst has been moved; whose is next.
    pub(super) fn done(&mut self) -> Option<ConnectionId> {
        self.working = self.line.pop_front();
        self.working
    }
}

impl NicRow {
    /// Number of bursts of a message; an empty one has one, of no bytes.
    pub(super) fn n_bursts(&self, message: Bytes) -> u64 {
        message.0.div_ceil(self.burst).max(1)
    }

    /// Bytes of the burst `index` of a message.
    pub(super) fn burst_of(&self, message: Bytes, index: u64) -> Bytes {
        Bytes((message.0 - index * self.burst).min(self.burst))
    }

    /// Bytes on the wire, in packets, with `extra` beside them.
    pub(super) fn parcel(&self, bytes: Bytes, extra: Bytes) -> Parcel {
        Parcel {
            bytes,
            format: self.format,
            extra,
        }
    }

    /// How long a burst takes between the adapter and the memory of its host.
    pub(super) fn dma_time(&self, burst: Bytes) -> SimDuration {
        let time = self.pcie.map(|rate| rate.serialization_delay(burst));
        time.unwrap_or(SimDuration::ZERO)
    }
}

/// The name of an adapter's engine on the bus of a GPU.
pub(super) fn token(nic: NicId, access: Access) -> u64 {
    2 * nic.index() as u64 + access as u64
}

/// The engine of that name.
pub(crate) fn engine_of(token: u64) -> (NicId, Access) {
    let access = if token.is_multiple_of(2) {
        Access::Read
    } else {
        Access::Write
    };
    let index = usize::try_from(token / 2).expect("it was made of an index");
    (NicId::from_index(index), access)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: usize = 0;
    const B: usize = 1;

    fn id(index: usize) -> ConnectionId {
        ConnectionId::from_index(index)
    }

    #[test]
    fn an_engine_moves_the_bursts_of_two_messages_in_turn() {
        let mut engine = Engine::default();
        assert!(engine.join(id(A)));
        assert!(!engine.join(id(B)));
        let mut order = Vec::new();
        for _ in 0..4 {
            let current = engine.current();
            order.push(current.index());
            assert!(!engine.join(current), "the next burst of the same message");
            engine.done();
        }
        assert_eq!(order, [A, B, A, B]);
    }

    #[test]
    fn engines_have_names_on_a_bus() {
        for nic in [0, 1, 7].map(NicId::from_index) {
            for access in [Access::Read, Access::Write] {
                assert_eq!(engine_of(token(nic, access)), (nic, access));
            }
        }
    }
}

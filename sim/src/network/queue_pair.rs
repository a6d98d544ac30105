//! Queue pairs that connections share.
//!
//! A work request is outstanding from when it is posted until its acknowledgement is back: the
//! propagation delay after the last of its message is at the receiver's adapter. A queue pair has so
//! many outstanding in each direction; others wait in a line, first come first served, before the
//! adapter gets to know of them.

use std::collections::VecDeque;

use schema::ids::Id;

use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::{ConnectionId, QpId};
use crate::pipeline::Pipeline;

/// One direction of a queue pair.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueuePair {
    outstanding: u32,
    line: VecDeque<ConnectionId>,
}

impl Pipeline<'_> {
    /// The shared queue pair over which the connection's message goes, and how much it may have
    /// outstanding.
    pub(super) fn queue_pair(&self, id: ConnectionId) -> Option<(QpId, u32)> {
        let connection = &self.connections[id];
        let shared = self.tables.hop(connection).verbs.as_ref()?.queue_pairs?;
        let replicas = self.pair(id, usize::from(connection.hop));
        let nth = connection.ordinal % shared.count;
        let pair = replicas * shared.count as usize + nth as usize;
        let index = shared.first as usize + 2 * pair + connection.leg as usize;
        Some((QpId::from_index(index), shared.outstanding))
    }

    /// A work request of the connection has been posted: it goes to the adapter, or joins the line.
    pub(super) fn posted(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        if let Some((pair, most)) = self.queue_pair(id) {
            let pair = &mut self.queue_pairs[pair];
            if pair.outstanding == most {
                return pair.line.push_back(id);
            }
            pair.outstanding += 1;
        }
        self.ring(queue, id);
    }

    /// All of the connection's message has arrived: its work request is acknowledged.
    pub(super) fn acknowledge_work(&self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        if let Some((pair, _)) = self.queue_pair(id) {
            let connection = &self.connections[id];
            let back = self.wires.delay(id, connection.leg, self.way(id));
            queue.schedule_in(back, Event::WorkCompleted(pair));
        }
    }

    /// A work request of the queue pair is acknowledged, and the next in its line goes on.
    pub(crate) fn on_work_completed(&mut self, queue: &mut EventQueue<Event>, pair: QpId) {
        let state = &mut self.queue_pairs[pair];
        match state.line.pop_front() {
            Some(next) => self.ring(queue, next),
            None => state.outstanding -= 1,
        }
    }
}

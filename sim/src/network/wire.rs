//! What carries bytes from host to host.

use schema::units::Bytes;

use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::ConnectionId;
use crate::pipeline::Pipeline;

impl Pipeline<'_> {
    /// `size` bytes of the connection's message set out on its hop; an [`Event::ChunkArrived`] follows
    /// when they are at the receiver's host. Bytes of one message arrive in the order in which they
    /// were handed over.
    pub(super) fn cross(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId, size: Bytes) {
        let now = queue.now();
        let connection = &self.connections[id];
        let hop = self.tables.hop(connection);
        let left = match hop.channels {
            Some(channels) => {
                let channel = channels[connection.leg as usize];
                self.links[channel].take(now, size)
            }
            None => now,
        };
        queue.schedule_at(left + connection.message.delay, Event::ChunkArrived(id));
    }
}

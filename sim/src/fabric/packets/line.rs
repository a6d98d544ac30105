//! What waits for a link.

use std::collections::VecDeque;

use super::Lines;
use super::net::Packet;

/// What waits for a link, and what it carries.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// What is being put on the link.
    on_link: Option<Packet>,
    /// By turn: in a shared line a packet each; otherwise the packets of a stream.
    turns: VecDeque<VecDeque<Packet>>,
    /// Bytes that wait.
    waiting: u64,
}

impl Line {
    /// Whether another packet finds room, of `limit` bytes for all that waits.
    pub(super) const fn has_room(&self, size: u64, limit: Option<u64>) -> bool {
        match limit {
            // What goes on at once does not wait.
            Some(limit) => self.on_link.is_none() || self.waiting + size <= limit,
            None => true,
        }
    }

    pub(super) fn join(&mut self, packet: Packet, lines: Lines) {
        self.waiting += packet.wire_bytes();
        if lines == Lines::PerFlow {
            let same = |turn: &&mut VecDeque<Packet>| turn[0].stream() == packet.stream();
            if let Some(turn) = self.turns.iter_mut().find(same) {
                return turn.push_back(packet);
            }
        }
        self.turns.push_back(VecDeque::from([packet]));
    }

    /// The idle link takes the next packet.
    pub(super) fn serve(&mut self) -> Option<Packet> {
        if self.on_link.is_some() {
            return None;
        }
        let mut turn = self.turns.pop_front()?;
        let packet = turn.pop_front().expect("a turn has a packet");
        if !turn.is_empty() {
            self.turns.push_back(turn);
        }
        self.waiting -= packet.wire_bytes();
        self.on_link = Some(packet);
        self.on_link
    }

    /// The link has carried its packet.
    pub(super) fn done(&mut self) -> Packet {
        self.on_link.take().expect("the link carries a packet")
    }
}

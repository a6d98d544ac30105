//! Messages by `send` that are longer than the ports take as one.
//!
//! The header goes ahead alone, as a notice. Then the message, header and all, goes in pieces as long
//! as both ports take, in turns of up to [`TURN`] pieces. The receiver posts a receive for each piece
//! of a turn on the place where it belongs, and tells the sender to go on by a message without payload
//! that gives no leave.
//!
//! Receives are taken in the order in which they were posted, and of the two that are always posted
//! the notice has taken one. The other is on the first piece's place, and takes it; when the last turn
//! has been posted, two are posted again.
//!
//! The sender waits in `send` until the receiver has posted, which it does in `receive`. So two ends
//! that send such messages to each other at once wait for ever, as they would over TCP with full
//! buffers; a connection carries one request at a time.

use std::io;

use super::super::setup::RECEIVES;
use super::*;

/// Most pieces of a message for which receives are posted at once.
pub(in super::super) const TURN: u32 = 8;

impl Endpoint {
    /// Whether a message with a payload of `length` bytes goes in pieces.
    pub(super) fn is_long(&self, length: usize) -> bool {
        length > self.limit - HEADER
    }

    /// Whether a message of `length` bytes that has arrived by `send` is a notice.
    pub(super) fn is_notice(&self, length: usize) -> bool {
        let bytes = &self.incoming.host.bytes()[..HEADER];
        let header = Header::decode(bytes.try_into().expect("a buffer holds a header"));
        // What is no header is refused when it is received.
        let stated = header.map_or(0, |header| usize::try_from(header.length).unwrap_or(0));
        self.peer.verb == Verb::Send && length == HEADER && self.is_long(stated)
    }

    /// Sends the message with a payload of `length` bytes, whose header has been put before it.
    pub(super) fn send_long(&mut self, length: usize) -> io::Result<()> {
        let leave = self.n_taken;
        self.may_go_on = false;
        self.post(Work::Send(leave), self.outgoing.header())?;
        for (idx, piece) in pieces(&self.outgoing, length, self.limit).enumerate() {
            if idx % TURN as usize == 0 {
                self.wait_until(|end| end.may_go_on)?;
                self.may_go_on = false;
            }
            self.post(Work::Send(leave), piece)?;
        }
        Ok(())
    }

    /// Takes in the message with a payload of `length` bytes that a notice has announced; returns for
    /// how long it waited, in nanoseconds.
    pub(super) fn gather(&mut self, length: usize) -> io::Result<u64> {
        let all: Vec<Pieces> = pieces(&self.incoming, length, self.limit).collect();
        let n_turns = all.len().div_ceil(TURN as usize);
        let mut waited_ns = 0;
        for (turn, pieces) in all.chunks(TURN as usize).enumerate() {
            // A receive on the first piece's place is there.
            for piece in &pieces[usize::from(turn == 0)..] {
                self.qp.post_receive(Some(*piece))?;
            }
            if turn + 1 == n_turns {
                for _ in 0..RECEIVES {
                    self.qp.post_receive(self.whole())?;
                }
            }
            self.n_expected = pieces.len();
            self.post_empty()?;
            let posted_ns = monotonic_ns();
            self.wait_until(|end| end.n_expected == 0)?;
            waited_ns += monotonic_ns() - posted_ns;
        }
        Ok(waited_ns)
    }
}

/// The pieces of up to `limit` bytes, at least two, of a message in `store`.
fn pieces(store: &Store, length: usize, limit: usize) -> impl Iterator<Item = Pieces> + use<> {
    let first = store.message(limit - HEADER);
    let rest = (limit..HEADER + length).step_by(limit);
    let rest: Vec<Pieces> = rest
        .map(|from| {
            let length = limit.min(HEADER + length - from);
            store.payload(from - HEADER, length).into()
        })
        .collect();
    std::iter::once(first).chain(rest)
}

//! What a connection has under way over TCP in one direction of a hop, where something limits it.
//!
//! A byte that has left is acknowledged a round trip after it set out: the propagation delays of its
//! links twice, and its message's delay. So a window of `w` bytes lets `w` out in a round trip, as fast
//! as the links take them, and a connection that a window limits moves `w` in each round trip exactly.
//! Pieces are whole packets, but for the last of a chunk.
//!
//! What the receiver's thread has not begun to take keeps its buffer full; word of how much that is
//! takes as long as a byte to come back. A thread takes what arrives while it has nothing else as it
//! arrives.

use std::collections::VecDeque;

use schema::scenario::Tcp;
use schema::units::{Bytes, SimDuration, SimTime};

use super::wire::WireId;
use crate::fabric::packets::{Congestion, Format, StreamId};
use crate::ids::ChannelId;

/// One direction of a connection over a hop.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) wire: WireId,
    /// Its way.
    pub(super) way: usize,
    tcp: Tcp,
    pub(super) format: Format,
    /// Handed over by the sender's thread, and not acknowledged.
    pub(super) handed_over: u64,
    /// What the sender knows that the receiver's thread has not begun to take, and what word of it is
    /// under way.
    backlog: u64,
    backlogs: VecDeque<u64>,
    pub(super) carrier: Carrier,
}

/// What moves the bytes of a channel.
#[derive(Clone, Debug)]
pub(super) enum Carrier {
    Fluid(Flight),
    Packets {
        stream: StreamId,
        /// Of the chunks that have not arrived, in order.
        delays: VecDeque<SimDuration>,
        /// When the last chunk that has arrived is with the receiver.
        arrives: SimTime,
    },
}

/// What a channel has under way as a fluid.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// Bytes of a packet; one if links have none.
    segment: u64,
    /// Chunks of which some has not set out, in order.
    waiting: VecDeque<Waiting>,
    under_way: u64,
    /// Of the pieces that have left, in order.
    acknowledged: VecDeque<u64>,
    /// Counts bytes.
    congestion: Option<Congestion>,
    last_sent: SimTime,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    bytes: u64,
    delay: SimDuration,
}

/// Some of a chunk, which sets out at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) channel: ChannelId,
    pub(super) bytes: u64,
    pub(super) set_out: SimTime,
    pub(super) is_last: bool,
    pub(super) delay: SimDuration,
}

impl Flight {
    /// Nothing has been sent; packets are of that format.
    pub(super) fn new(tcp: &Tcp, format: Format) -> Flight {
        let segment = match format {
            Format::NONE => 1,
            Format { payload, .. } => payload.0,
        };
        Flight {
            segment,
            waiting: VecDeque::new(),
            under_way: 0,
            acknowledged: VecDeque::new(),
            congestion: (tcp.initial_window)
                .map(|n| Congestion::new(u64::from(n) * segment, tcp.min_rto)),
            last_sent: SimTime::ZERO,
        }
    }

    /// A chunk has been handed over.
    pub(super) fn hand_over(&mut self, now: SimTime, bytes: Bytes, delay: SimDuration) {
        let bytes = bytes.0;
        self.waiting.push_back(Waiting { bytes, delay });
        if self.under_way == 0
            && let Some(congestion) = &mut self.congestion
        {
            congestion.resume(now, self.last_sent);
        }
    }

    /// The next piece of `channel` to set out, if there is room in the receiver's `buffer`.
    fn next(&mut self, now: SimTime, channel: ChannelId, buffer: u64) -> Option<Piece> {
        let window = (self.congestion.as_ref()).map_or(u64::MAX, Congestion::window);
        let room = window.min(buffer).saturating_sub(self.under_way);
        let first = self.waiting.front_mut()?;
        let mut bytes = first.bytes.min(room);
        if bytes < first.bytes {
            let whole = bytes / self.segment * self.segment;
            if whole > 0 || self.under_way > 0 {
                bytes = whole;
            }
            if bytes == 0 {
                return None;
            }
        }
        first.bytes -= bytes;
        let delay = first.delay;
        let is_last = first.bytes == 0;
        if is_last {
            self.waiting.pop_front();
        }
        self.under_way += bytes;
        self.last_sent = now;
        if let Some(congestion) = &mut self.congestion {
            congestion.sent(self.under_way);
        }
        Some(Piece {
            channel,
            bytes,
            set_out: now,
            is_last,
            delay,
        })
    }

    /// A piece has left; word of it is on its way.
    pub(super) fn left(&mut self, bytes: u64) {
        self.acknowledged.push_back(bytes);
    }

    /// Word of the next piece that has left; its bytes.
    pub(super) fn on_acknowledged(&mut self) -> u64 {
        let bytes = self.acknowledged.pop_front().expect("a piece has left");
        self.under_way -= bytes;
        if let Some(congestion) = &mut self.congestion {
            congestion.on_progress(bytes, 0);
        }
        bytes
    }
}

impl Channel {
    /// Nothing has been sent.
    pub(super) fn new(
        wire: WireId,
        way: usize,
        tcp: Tcp,
        format: Format,
        carrier: Carrier,
    ) -> Channel {
        Channel {
            wire,
            way,
            tcp,
            format,
            handed_over: 0,
            backlog: 0,
            backlogs: VecDeque::new(),
            carrier,
        }
    }

    /// Whether the sender's thread may hand over so many bytes more.
    pub(super) fn takes(&self, bytes: Bytes) -> bool {
        match self.tcp.send_buffer {
            Some(buffer) => self.handed_over + bytes.0 <= buffer.0,
            None => true,
        }
    }

    /// What the receiver's buffer has room for, as far as the sender knows.
    pub(super) fn buffer(&self) -> u64 {
        let whole = self.tcp.receive_buffer.map_or(u64::MAX, |buffer| buffer.0);
        whole.saturating_sub(self.backlog)
    }

    /// The receiver's thread has so much that it has not begun to take; word of it is on its way.
    pub(super) fn tell(&mut self, backlog: u64) {
        self.backlogs.push_back(backlog);
    }

    /// Word of the next backlog.
    pub(super) fn on_told(&mut self) {
        self.backlog = self.backlogs.pop_front().expect("word was on its way");
    }

    /// The next piece to set out as a fluid.
    pub(super) fn next(&mut self, now: SimTime, id: ChannelId) -> Option<Piece> {
        let buffer = self.buffer();
        match &mut self.carrier {
            Carrier::Fluid(flight) => flight.next(now, id, buffer),
            Carrier::Packets { .. } => None,
        }
    }
}

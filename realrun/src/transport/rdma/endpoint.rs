//! One end of a connection over verbs, and how messages pass between two.
//!
//! Each end has a buffer for the message it sends and one for the message it receives, a header in
//! front of the payload as on TCP, or the payload in memory of a GPU (`store`), registered when the connection is made and used for all messages.
//! How a message gets from one to the other depends on the hop's verb:
//!
//! - *write with immediate*: the sender writes it into the receiver's buffer, in pieces all under way
//!   at once; the last carries immediate data, which takes a receive and so tells the receiver.
//! - *send*: it is sent into the receive that the receiver has posted on its buffer; one that is
//!   longer than the ports take, in pieces (`long_send`).
//! - *read*: the header is sent, as a notice, and the receiver reads the payload from the sender's
//!   buffer, in pieces all under way at once.
//!
//! Where payloads of one of the ends lie on a GPU, a write is of the payload first and then, with
//! immediate data, of the header; what is sent is gathered from both, or scattered into both.
//!
//! A receiver has one buffer, so a sender may send one message, and the next only when it has leave.
//! Immediate data is the number of messages that their sender has taken in and let go of: what
//! carries a reply gives leave for the next request. A receiver that does not reply sends a message
//! without payload that carries nothing but leave. So at most one message and one leave are under way
//! to an end at any time, and two receives are always posted, but while a message goes in pieces: no
//! queue is ever overrun, and queue pairs are told not to try again if one is.

mod long_send;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use schema::scenario::{CompletionBy, Verb};

use super::super::{Arrival, Connection, HEADER, Header, OnGpu, arrival};
use super::card::{Terms, payloads_of};
use super::cm;
use super::failure::Failure;
use super::queue_pair::{Completion, Piece, Pieces, QueuePair, Wake, Work};
use super::setup::{IN_FLIGHT, agree};
use super::store::{Store, Wanted};
use super::{End, Role};
use crate::clock::{Stamp, monotonic_ns};
pub(super) use long_send::TURN;

/// Bytes of a piece of a long message.
const PIECE: usize = 1 << 20;
/// How long an end that closes waits until its last message has arrived.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// Fruitless looks at the completion queue after which a thread that polls offers its core to
/// others, and those after which it looks whether the peer has gone.
pub(super) const LOOKS_UNTIL_YIELD: u32 = 64;
const LOOKS_UNTIL_CHECK: u32 = 4096;
/// How long a thread sleeps at most while something that it has sent is under way.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// What an end says over TCP before it closes.
const GOODBYE: u8 = 2;

/// One end of a connection.
pub(super) struct Endpoint {
    qp: QueuePair,
    /// Says when the peer closes or has gone.
    stream: TcpStream,
    peer: Terms,
    completion: CompletionBy,
    /// Longest message that both ports take, in bytes.
    limit: usize,
    /// Bytes of a piece of what is written or read.
    piece: usize,
    outgoing: Store,
    incoming: Store,
    /// Dropped after the queue pair: it tells the peer's connection manager of the end.
    _manager: Option<cm::Id>,
    /// Work requests under way.
    in_flight: u32,
    /// Messages sent; of those, messages that the peer has let go of.
    n_sent: u32,
    n_left: u32,
    /// Messages received that this end has let go of.
    n_taken: u32,
    /// Whether a message is in the incoming buffer that this end has not let go of.
    is_held: bool,
    /// Whether a message has arrived that has not been received yet, and whether of it there is only
    /// the notice.
    has_arrived: bool,
    is_announced: bool,
    /// Pieces of an announced message for which receives are posted and that have not arrived.
    n_expected: usize,
    /// Whether the peer has posted receives for more pieces of the message that is being sent.
    may_go_on: bool,
    n_received: usize,
    /// Whether payloads are left unseen, since a gateway's other connection has the memory too.
    is_relay: bool,
    /// When this end last went to sleep to be woken by an event.
    asleep: Option<Stamp>,
    /// Why the outgoing buffer could not be waited for; told by the next call that can.
    failed: Option<io::Error>,
    /// Whether the peer has closed.
    is_over: bool,
    /// Whether a wait has ended with an error.
    has_failed: bool,
}

impl Endpoint {
    /// Makes an end for messages of up to `outgoing` and `incoming` and joins it to the peer's,
    /// which does the same at the other end of `stream`.
    pub(super) fn establish(
        stream: TcpStream,
        role: Role,
        end: End<'_>,
        outgoing: Wanted<'_>,
        incoming: Wanted<'_>,
    ) -> io::Result<Endpoint> {
        let (nic, verbs) = (end.nic, end.verbs);
        let (made, peer) = agree(&stream, role, end, outgoing, incoming)?;
        let limit = peer.max_message.min(nic.port.max_message) as usize;
        Ok(Endpoint {
            qp: made.qp,
            stream,
            peer,
            completion: verbs.completion,
            limit,
            piece: PIECE.min(limit),
            outgoing: made.outgoing,
            incoming: made.incoming,
            _manager: made.manager,
            in_flight: 0,
            n_sent: 0,
            n_left: 0,
            n_taken: 0,
            is_held: false,
            has_arrived: false,
            is_announced: false,
            n_expected: 0,
            may_go_on: false,
            n_received: 0,
            is_relay: end.relay.is_some(),
            asleep: None,
            failed: None,
            is_over: false,
            has_failed: false,
        })
    }
}

impl Endpoint {
    /// Whether payloads are not for the processor to look at: a gateway's other connection has the
    /// memory too, or it is a GPU's.
    fn is_unseen(&self) -> bool {
        self.is_relay || self.incoming.on_gpu().is_some()
    }

    /// Waits for a completion; `None` if the peer has closed and everything it sent has been seen.
    fn wait(&mut self, wake: Wake) -> io::Result<Option<Completion>> {
        let found = self.find(wake);
        self.has_failed |= found.is_err();
        found
    }

    fn find(&mut self, wake: Wake) -> io::Result<Option<Completion>> {
        let mut looks = 0;
        loop {
            if let Some(done) = self.look()? {
                return Ok(Some(done));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.completion {
                CompletionBy::Poll => {
                    looks += 1;
                    if looks % LOOKS_UNTIL_YIELD == 0 {
                        std::thread::yield_now();
                    }
                    if looks % LOOKS_UNTIL_CHECK == 0 {
                        self.check(Some(&Timespec::default()))?;
                    }
                }
                CompletionBy::Event => {
                    self.qp.arm(wake)?;
                    // What completed before the queue was armed makes no event.
                    if let Some(done) = self.look()? {
                        return Ok(Some(done));
                    }
                    self.asleep = Some(Stamp::now());
                    // Soft-RoCE makes no event where a request fails that was not to make one.
                    let is_idle = self.in_flight == 0;
                    self.check((!is_idle).then_some(&LOOK_INTERVAL))?;
                }
            }
        }
    }

    /// The next completion, if there is one. That the port is down or the peer has gone explains a
    /// failure.
    fn look(&mut self) -> io::Result<Option<Completion>> {
        self.qp.poll().or_else(|failure| {
            self.check(Some(&Timespec::default()))?;
            if self.is_over {
                Ok(None)
            } else {
                Err(failure.into())
            }
        })
    }

    /// Waits until there is an event, or news of the device or the peer.
    fn check(&mut self, limit: Option<&Timespec>) -> io::Result<()> {
        let [has_event, has_news_of_device, has_news] = {
            let watched = [
                self.qp.channel(),
                self.qp.device().events(),
                self.stream.as_fd(),
            ];
            let mut fds = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, limit) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            fds.map(|fd| !fd.revents().is_empty())
        };
        if has_event {
            self.qp.take_event()?;
        }
        if has_news_of_device {
            let heard = self.qp.device().hear();
            heard.map_err(|failure| self.qp.named(failure))?;
        }
        if has_news {
            let mut word = [0];
            let n = self.stream.read(&mut word).map_err(|error| {
                let failure = Failure::of_call("the connection", &error);
                self.qp
                    .named(failure.because("the peer's host or the network between has gone"))
            })?;
            if n == 0 || word[0] != GOODBYE {
                let failure = Failure::new("the connection", "the peer ended without closing it")
                    .because("did it fail there, or was its process killed?");
                return Err(self.qp.named(failure).into());
            }
            self.is_over = true;
        }
        Ok(())
    }

    /// Notes what has completed.
    fn note(&mut self, done: Completion) -> io::Result<()> {
        let (length, n_left) = match done {
            Completion::Sent => {
                self.in_flight -= 1;
                return Ok(());
            }
            Completion::Received(length, n_left) => (length, n_left),
            Completion::Written(n_left) => (HEADER, n_left),
        };
        if self.n_expected > 0 && length > 0 {
            self.n_expected -= 1;
            return Ok(());
        }
        let is_notice = self.is_notice(length);
        if !is_notice {
            let posted = self.qp.post_receive(self.whole());
            self.sound(posted)?;
        }
        if length > 0 {
            self.has_arrived = true;
            self.is_announced = is_notice;
        } else {
            self.may_go_on |= n_left == self.n_left;
        }
        self.n_left = n_left;
        Ok(())
    }

    /// What a receive takes that is always posted.
    fn whole(&self) -> Option<Pieces> {
        self.incoming.receive(self.peer.verb, self.limit)
    }

    /// Waits until `ready` says so.
    fn wait_until(&mut self, ready: impl Fn(&Endpoint) -> bool) -> io::Result<()> {
        while !ready(self) {
            match self.wait(Wake::Everything)? {
                Some(done) => self.note(done)?,
                None => {
                    let problem = "the peer closed it before it had taken the last message";
                    return Err(self
                        .qp
                        .named(Failure::new("the connection", problem))
                        .into());
                }
            }
        }
        Ok(())
    }

    /// Posts `work` on parts of the buffers, when there is room in the queue.
    fn post(&mut self, work: Work, pieces: impl Into<Pieces>) -> io::Result<()> {
        self.wait_until(|end| end.in_flight < IN_FLIGHT)?;
        let posted = self.qp.post(work, pieces);
        self.sound(posted)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Remembers that a call failed, so that the peer learns of it.
    fn sound<T>(&mut self, result: Result<T, Failure>) -> io::Result<T> {
        self.has_failed |= result.is_err();
        Ok(result?)
    }

    /// The length of a payload, checked against the peer's buffer, which is as long as this end's.
    fn fits_peer(&self, header: &Header) -> io::Result<usize> {
        let room = self.outgoing.room();
        header.fits(room).map_err(|_| {
            let problem = format!(
                "a message of {} B, the peer's buffer holds {room} B",
                header.length
            );
            let failure = Failure::new("ibv_post_send", problem)
                .because("buffers are as long as the longest message of the scenario");
            self.qp.named(failure).into()
        })
    }

    /// Sends leave, if there is any to give, without a message.
    fn post_empty(&mut self) -> io::Result<()> {
        let nothing = Piece {
            length: 0,
            ..self.outgoing.header()
        };
        self.post(Work::Send(self.n_taken), nothing)
    }

    /// Lets go of the message in the incoming buffer, if there is one; the next thing that is sent
    /// tells the peer.
    fn let_go(&mut self) -> bool {
        let was_held = std::mem::replace(&mut self.is_held, false);
        self.n_taken = self.n_taken.wrapping_add(u32::from(was_held));
        was_held
    }

    /// Waits until the outgoing buffer may be filled again: until what is in it has arrived.
    fn wait_for_buffer(&mut self) -> io::Result<()> {
        let is_read = self.peer.verb == Verb::Read;
        self.wait_until(|end| end.in_flight == 0 && (!is_read || end.n_left == end.n_sent))
    }

    /// Writes the message with a payload of `length` bytes.
    fn write(&mut self, length: usize) -> io::Result<()> {
        if self.peer.incoming.1.is_some() || self.outgoing.on_gpu().is_some() {
            return self.write_in_two(length);
        }
        let (to, total) = (self.peer.incoming.0, HEADER + length);
        let message = self.outgoing.message(length).first;
        let mut from = 0;
        let piece = |from, length| Piece {
            from,
            length,
            ..message
        };
        while from + self.piece < total {
            self.post(Work::Write(to, from as u64), piece(from, self.piece))?;
            from += self.piece;
        }
        let last = Work::WriteWithImmediate(to, from as u64, self.n_taken);
        self.post(last, piece(from, total - from))
    }

    /// Writes the payload, and after it the header: at one end they do not lie together.
    fn write_in_two(&mut self, length: usize) -> io::Result<()> {
        let (to, begin) = payloads_of(self.peer.incoming);
        for from in (0..length).step_by(self.piece) {
            let piece = self.outgoing.payload(from, self.piece.min(length - from));
            self.post(Work::Write(to, begin + from as u64), piece)?;
        }
        let last = Work::WriteWithImmediate(self.peer.incoming.0, 0, self.n_taken);
        self.post(last, self.outgoing.header())
    }

    /// Reads the payload that a notice has announced; returns for how long it waited, in
    /// nanoseconds.
    fn read(&mut self, length: usize) -> io::Result<u64> {
        let (at, begin) = payloads_of(self.peer.outgoing);
        for from in (0..length).step_by(self.piece) {
            let piece = self.incoming.payload(from, self.piece.min(length - from));
            self.post(Work::Read(at, begin + from as u64), piece)?;
        }
        let posted_ns = monotonic_ns();
        self.wait_until(|end| end.in_flight == 0)?;
        Ok(monotonic_ns() - posted_ns)
    }
}

impl Connection for Endpoint {
    fn payload_mut(&mut self) -> &mut [u8] {
        self.both().1
    }

    fn received(&self) -> &[u8] {
        if self.is_unseen() {
            return &[];
        }
        &self.incoming.host.bytes()[HEADER..][..self.n_received]
    }

    fn both(&mut self) -> (&[u8], &mut [u8]) {
        if let Err(error) = self.wait_for_buffer() {
            self.failed.get_or_insert(error);
        }
        if self.is_unseen() {
            return (&[], &mut []);
        }
        (
            &self.incoming.host.bytes()[HEADER..HEADER + self.n_received],
            &mut self.outgoing.host.bytes_mut()[HEADER..],
        )
    }

    fn send(&mut self, header: &Header) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let n = self.fits_peer(header)?;
        self.wait_for_buffer()?;
        self.wait_until(|end| end.n_left == end.n_sent)?;
        self.let_go();
        self.outgoing.host.bytes_mut()[..HEADER].copy_from_slice(&header.encode());
        let leave = self.n_taken;
        match self.peer.verb {
            Verb::WriteWithImmediate => self.write(n)?,
            Verb::Send if self.is_long(n) => self.send_long(n)?,
            Verb::Send => self.post(Work::Send(leave), self.outgoing.message(n))?,
            Verb::Read => self.post(Work::Send(leave), self.outgoing.header())?,
        }
        self.n_sent = self.n_sent.wrapping_add(1);
        Ok(())
    }

    fn on_gpu(&mut self) -> Option<OnGpu<'_>> {
        if let Err(error) = self.wait_for_buffer() {
            self.failed.get_or_insert(error);
        }
        Some(OnGpu {
            received: self.incoming.on_gpu()?,
            next: self.outgoing.on_gpu()?,
        })
    }

    fn receive(&mut self) -> io::Result<Option<Arrival>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.let_go() {
            self.post_empty()?;
        }
        // The core time of polling is in no span, so only a thread that sleeps needs its clock twice.
        let before = (self.completion == CompletionBy::Event).then(Stamp::now);
        self.asleep = None;
        // When a thread that polls found it; `None` if it was found before.
        let mut found_ns = None;
        while !self.has_arrived {
            let Some(done) = self.wait(Wake::Arrivals)? else {
                return Ok(None);
            };
            if self.completion == CompletionBy::Poll {
                found_ns = Some(monotonic_ns());
            }
            self.note(done)?;
        }
        self.has_arrived = false;
        self.is_held = true;
        // What it did before it slept was not for this message.
        let before = self.asleep.take().or(before);
        let bytes = &self.incoming.host.bytes()[..HEADER];
        let header = Header::decode(bytes.try_into().expect("a buffer holds a header"))?;
        self.n_received = header.fits(self.incoming.room())?;
        let told = Stamp::now();
        let waited_ns = match self.peer.verb {
            Verb::Read => Some(self.read(self.n_received)?),
            Verb::Send if self.is_announced => Some(self.gather(self.n_received)?),
            Verb::WriteWithImmediate | Verb::Send => None,
        };
        let end = waited_ns.map_or(told, |_| Stamp::now());
        let waited_ns = waited_ns.unwrap_or(0);
        Ok(Some(match before {
            Some(before) => arrival(header, before, told, end),
            None => {
                let start_ns = found_ns.unwrap_or(told.at_ns);
                Arrival {
                    header,
                    start_ns,
                    end,
                    cpu_ns: end.at_ns - start_ns - waited_ns,
                }
            }
        }))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // What was sent last must have arrived before the queue pair goes; a peer that has gone is
        // waited for no longer than the limit.
        let end = Instant::now() + CLOSE_LIMIT;
        let is_read = self.peer.verb == Verb::Read;
        while (self.in_flight > 0 || is_read && self.n_left != self.n_sent) && Instant::now() < end
        {
            match self.look() {
                Ok(Some(done)) if self.note(done).is_ok() => {}
                Ok(None) if !self.is_over => std::thread::yield_now(),
                _ => break,
            }
        }
        // A peer that still waits is to learn of a failure, as it would of a process that is killed.
        if !self.has_failed {
            let _gone = self.stream.write_all(&[GOODBYE]);
        }
    }
}

#[cfg(test)]
#[path = "faults.rs"]
mod faults;
#[cfg(test)]
mod limits;

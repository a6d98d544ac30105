//! Messages of verbs by themselves, as perftest sends them: without header, leave or times of a part.
//!
//! What the same messages take more over a connection is what its protocol and its measuring cost. The end
//! that asks and the one that answers do the same, the former first.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use schema::scenario::{CompletionBy, Registration, SetUp, Verb, Verbs};

use super::super::{HEADER, invalid, u32_at};
use super::card::Terms;
use super::endpoint::LOOKS_UNTIL_YIELD;
use super::failure::Failure;
use super::queue_pair::{Completion, Piece, Wake, Work};
use super::setup::{IN_FLIGHT, Made, agree};
use super::store::Wanted;
use super::{End, Nic, Role};

/// Which messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// There and back by `send`, as `ib_send_lat`. By event, an end sleeps until its message is sent and
    /// then until the other's is there, where a connection sleeps for arrivals alone, and looks first.
    Send(CompletionBy),
    /// There and back by writes, for which each end looks at its memory, as `ib_write_lat`.
    Write,
    /// Writes one way, so many under way at once as the queue holds, as `ib_write_bw`.
    Writes,
}

const KINDS: [Kind; 4] = [
    Kind::Send(CompletionBy::Event),
    Kind::Send(CompletionBy::Poll),
    Kind::Write,
    Kind::Writes,
];

/// Messages of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Series {
    /// How they go.
    pub kind: Kind,
    /// Bytes of each, at least one.
    pub bytes: u32,
    /// How many.
    pub n: u32,
}

/// Bytes of an encoded [`Series`].
const SERIES: usize = 9;

impl Series {
    fn encode(&self) -> [u8; SERIES] {
        let kind = KINDS.iter().position(|kind| *kind == self.kind);
        let mut bytes = [0; SERIES];
        bytes[0] = kind.expect("all kinds are listed") as u8;
        bytes[1..5].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[5..9].copy_from_slice(&self.n.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SERIES]) -> io::Result<Series> {
        let kind = KINDS.get(usize::from(bytes[0]));
        Ok(Series {
            kind: *kind.ok_or_else(|| invalid("messages of a kind that is not known"))?,
            bytes: u32_at(bytes, 1),
            n: u32_at(bytes, 5),
        })
    }
}

/// Sends messages to the process that answers at `at`, and returns what `now` says before each and after
/// the last.
///
/// # Errors
/// If the other end is not there, or a call of verbs fails.
pub fn ask(
    nic: &Nic,
    at: SocketAddr,
    series: Series,
    now: impl Fn() -> u64,
) -> io::Result<Vec<u64>> {
    let mut stream = TcpStream::connect(at)?;
    stream.write_all(&series.encode())?;
    let mut end = Bare::join(&stream, Role::Asks, nic, series)?;
    meet(&mut stream)?;
    let mut times = Vec::with_capacity(series.n as usize + 1);
    for _ in 0..series.n {
        times.push(now());
        end.send()?;
        if series.kind != Kind::Writes {
            end.await_message()?;
        }
    }
    end.await_sent(0)?;
    times.push(now());
    meet(&mut stream)?;
    Ok(times)
}

/// Answers what the process at the other end of `stream` asks.
///
/// # Errors
/// If a call of verbs fails, or the other end goes.
pub fn answer(nic: &Nic, mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; SERIES];
    stream.read_exact(&mut bytes)?;
    let series = Series::decode(&bytes)?;
    let mut end = Bare::join(&stream, Role::Serves, nic, series)?;
    meet(&mut stream)?;
    if series.kind != Kind::Writes {
        for _ in 0..series.n {
            end.await_message()?;
            end.send()?;
        }
        end.await_sent(0)?;
    }
    meet(&mut stream)
}

/// Waits until the other end is here too: before the first message, which nobody may miss, and after the
/// last, which both are to have seen before a queue pair goes.
fn meet(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[0])?;
    stream.read_exact(&mut [0])
}

struct Bare {
    made: Made,
    peer: Terms,
    series: Series,
    /// The longest message of the port, in bytes.
    limit: usize,
    /// Work requests under way, and messages received that have not been waited for.
    in_flight: u32,
    n_arrived: u32,
    /// Messages sent and waited for.
    n_sent: u32,
    n_received: u32,
}

impl Bare {
    fn join(stream: &TcpStream, role: Role, nic: &Nic, series: Series) -> io::Result<Bare> {
        let (verb, completion) = match series.kind {
            Kind::Send(completion) => (Verb::Send, completion),
            Kind::Write | Kind::Writes => (Verb::WriteWithImmediate, CompletionBy::Poll),
        };
        let verbs = Verbs {
            verb,
            completion,
            registration: Registration::Once,
            queue_pairs: None,
            setup: SetUp::Tcp,
        };
        let end = End {
            nic,
            verbs,
            relay: None,
            gpu: None,
        };
        let buffer = Wanted::Own(series.bytes.max(1) as usize);
        let (mut made, peer) = agree(stream, role, end, buffer, buffer)?;
        if completion == CompletionBy::Event {
            made.qp.arm(Wake::Everything)?;
        }
        Ok(Bare {
            made,
            peer,
            series,
            limit: nic.port.max_message as usize,
            in_flight: 0,
            n_arrived: 0,
            n_sent: 0,
            n_received: 0,
        })
    }

    /// The message, without the header that a connection's would have before it.
    fn message(&self) -> Piece {
        self.made.outgoing.payload(0, self.series.bytes as usize)
    }

    fn send(&mut self) -> io::Result<()> {
        self.await_sent(IN_FLIGHT - 1)?;
        let work = match self.series.kind {
            Kind::Send(_) => Work::Send(0),
            Kind::Write | Kind::Writes => Work::Write(self.peer.incoming.0, HEADER as u64),
        };
        self.n_sent += 1;
        if self.series.kind == Kind::Write {
            let last = HEADER + self.series.bytes as usize - 1;
            self.made.outgoing.host.bytes_mut()[last] = mark(self.n_sent);
        }
        self.made.qp.post(work, self.message())?;
        self.in_flight += 1;
        if self.series.kind == Kind::Send(CompletionBy::Event) {
            self.sleep_until(|end| end.in_flight == 0)?;
        }
        Ok(())
    }

    fn await_message(&mut self) -> io::Result<()> {
        self.n_received += 1;
        match self.series.kind {
            Kind::Write | Kind::Writes => {
                let last = HEADER + self.series.bytes as usize - 1;
                while self.made.incoming.host.look(last) != mark(self.n_received) {
                    std::hint::spin_loop();
                }
            }
            Kind::Send(completion) => {
                let is_there = |end: &Bare| end.n_arrived > 0;
                match completion {
                    CompletionBy::Event => self.sleep_until(is_there)?,
                    CompletionBy::Poll => self.look_until(is_there)?,
                }
                self.n_arrived -= 1;
            }
        }
        Ok(())
    }

    /// Waits until no more than `most` work requests are under way.
    fn await_sent(&mut self, most: u32) -> Result<(), Failure> {
        self.look_until(|end| end.in_flight <= most)
    }

    /// Takes completions until `enough`, and sleeps before each look until there is an event.
    fn sleep_until(&mut self, enough: impl Fn(&Bare) -> bool) -> Result<(), Failure> {
        while !enough(self) {
            self.made.qp.take_event()?;
            self.made.qp.arm(Wake::Everything)?;
            // What completes from here on makes the next event.
            while self.look()? {}
        }
        Ok(())
    }

    /// Takes completions until `enough`, and offers the core to others now and then.
    fn look_until(&mut self, enough: impl Fn(&Bare) -> bool) -> Result<(), Failure> {
        let mut fruitless: u32 = 0;
        while !enough(self) {
            if self.look()? {
                continue;
            }
            fruitless += 1;
            if fruitless.is_multiple_of(LOOKS_UNTIL_YIELD) {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Takes the next completion, if there is one.
    fn look(&mut self) -> Result<bool, Failure> {
        let qp = &mut self.made.qp;
        let found = qp.poll()?;
        match found {
            None => {}
            Some(Completion::Sent) => self.in_flight -= 1,
            Some(Completion::Received(..) | Completion::Written(_)) => {
                let room = self.made.incoming.receive(self.peer.verb, self.limit);
                qp.post_receive(room)?;
                self.n_arrived += 1;
            }
        }
        Ok(found.is_some())
    }
}

/// The last byte of the `n`th message that is written: other than that of the one before.
fn mark(n: u32) -> u8 {
    2 + (n % 2) as u8
}

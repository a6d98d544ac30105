//! How the two ends of a connection are made and joined.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;
use schema::scenario::{SetUp, Verb};

use super::card::{Card, RemoteStore, Terms, hear, payloads_of, tell};
use super::cm;
use super::endpoint::TURN;
use super::failure::Failure;
use super::memory::Access;
use super::queue_pair::{Depths, Path, QueuePair, address};
use super::store::{Store, Wanted};
use super::{End, Nic, Role};
use crate::clock::monotonic_ns;

/// Work requests that may be under way.
pub(super) const IN_FLIGHT: u32 = 16;
/// Receives that are always posted: for a message and for a leave.
pub(super) const RECEIVES: u32 = 2;
/// Longest payload that is copied into a work request, in bytes, where the device allows it.
const INLINE: u32 = 220;
/// How long the peer may take for a step of setting the connection up.
pub(super) const SET_UP_LIMIT: Duration = Duration::from_secs(10);

/// Makes an end for messages of up to `outgoing` and `incoming` and joins it to the peer's, which
/// does the same at the other end of `stream`; returns what the peer has told too.
pub(super) fn agree(
    stream: &TcpStream,
    role: Role,
    end: End<'_>,
    outgoing: Wanted<'_>,
    incoming: Wanted<'_>,
) -> io::Result<(Made, Terms)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SET_UP_LIMIT))?;
    let made = Made::new(end.nic, end.verbs.verb, stream, outgoing, incoming);
    let (made, peer) = match end.verbs.setup {
        SetUp::Tcp => exchange(stream, end.nic, made)?,
        SetUp::RdmaCm => cm::agree(stream, end.nic, role, made)?,
    };
    heard::<0>(stream, &made.qp)?;
    stream.set_read_timeout(None)?;
    watch(stream)?;
    Ok((made, peer))
}

/// Joins what has been made, or tells the peer why there is none, by what both tell over TCP.
fn exchange(stream: &TcpStream, nic: &Nic, made: io::Result<Made>) -> io::Result<(Made, Terms)> {
    let mut made = tell(stream, made, |made| made.card.encode().to_vec())?;
    let peer = Card::decode(&heard(stream, &made.qp)?)?;
    let joined = made.join(nic, &peer);
    tell(stream, joined.map_err(io::Error::from), |()| Vec::new())?;
    Ok((made, peer.terms))
}

/// Hears how the peer's step of setting up went.
pub(super) fn heard<const N: usize>(stream: &TcpStream, qp: &QueuePair) -> io::Result<[u8; N]> {
    hear(stream).map_err(|error| {
        let problem = match error.kind() {
            // The peer's own words.
            io::ErrorKind::Other => return error,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!(
                    "the peer did not answer within {} s",
                    SET_UP_LIMIT.as_secs()
                )
            }
            io::ErrorKind::UnexpectedEof => "the peer closed it".to_owned(),
            _ => error.to_string(),
        };
        let failure = Failure::new("setting up a connection", problem);
        qp.named(failure.because("does its process run, with the same scenario?"))
            .into()
    })
}

/// Lets a wait for the peer end if its host or the network has gone: about 6 s later.
fn watch(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(3))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// What an end makes before it knows its peer.
pub(super) struct Made {
    pub(super) qp: QueuePair,
    pub(super) outgoing: Store,
    pub(super) incoming: Store,
    pub(super) card: Card,
    /// What the connection manager knows of it, if that has joined it.
    pub(super) manager: Option<cm::Id>,
}

impl Made {
    pub(super) fn new(
        nic: &Nic,
        verb: Verb,
        stream: &TcpStream,
        outgoing: Wanted<'_>,
        incoming: Wanted<'_>,
    ) -> io::Result<Made> {
        // By `send` also receives for the pieces of a long message.
        let receives = match verb {
            Verb::Send => RECEIVES + TURN,
            Verb::WriteWithImmediate | Verb::Read => RECEIVES,
        };
        let is_on_gpu = |wanted| matches!(wanted, Wanted::OnGpu(..));
        let depths = Depths {
            send: IN_FLIGHT,
            receive: receives,
            pieces: if is_on_gpu(outgoing) || is_on_gpu(incoming) {
                2
            } else {
                1
            },
            inline: INLINE,
        };
        let peer = stream.peer_addr()?.to_string();
        nic.device.is_up().map_err(|failure| failure.with(&peer))?;
        let mut qp = QueuePair::new(&nic.device, depths, peer)?;
        let (from, to) = match verb {
            Verb::WriteWithImmediate => (Access::Local, Access::PeerWrites),
            Verb::Send => (Access::Local, Access::Local),
            Verb::Read => (Access::PeerReads, Access::Local),
        };
        let outgoing = Store::new(&mut qp, outgoing, from)?;
        let incoming = Store::new(&mut qp, incoming, to)?;
        qp.initialize()?;
        for _ in 0..RECEIVES {
            qp.post_receive(incoming.receive(verb, nic.port.max_message as usize))?;
        }
        let card = Card {
            gid: nic.gid,
            queue_pair: qp.number(),
            // Any number does that no packet of an earlier queue pair of this number has.
            first_packet: monotonic_ns() as u32 & 0x00ff_ffff,
            mtu: nic.port.mtu,
            terms: Terms {
                verb,
                max_message: nic.port.max_message,
                outgoing: outgoing.remote(&qp),
                incoming: incoming.remote(&qp),
            },
        };
        Ok(Made {
            qp,
            outgoing,
            incoming,
            card,
            manager: None,
        })
    }

    /// Joins it to the peer's, which it does by what the peer has told.
    pub(super) fn join(&mut self, nic: &Nic, peer: &Card) -> Result<(), Failure> {
        self.takes(&peer.terms)?;
        self.qp.connect(&Path {
            address: address(peer.gid, nic.gid_index),
            mtu: peer.mtu.min(self.card.mtu).into(),
            queue_pair: peer.queue_pair,
            first_packet_in: peer.first_packet,
            first_packet_out: self.card.first_packet,
        })
    }

    /// Checks that the peer's messages are those of this end.
    pub(super) fn takes(&self, peer: &Terms) -> Result<(), Failure> {
        let differ = |what: &str| {
            let problem = format!("the two ends differ in {what}");
            let failure = Failure::new("setting up a connection", problem);
            Err(self
                .qp
                .named(failure.because("both must run the same scenario")))
        };
        if peer.verb != self.card.terms.verb {
            return differ("the verb");
        }
        let room = |store| {
            let (memory, begin) = payloads_of(store);
            memory.length.checked_sub(begin)
        };
        let is_same = |peer: RemoteStore, own: &Store| room(peer) == Some(own.room() as u64);
        if !is_same(peer.incoming, &self.outgoing) || !is_same(peer.outgoing, &self.incoming) {
            return differ("the size of messages");
        }
        Ok(())
    }
}

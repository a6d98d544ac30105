//! What the two ends tell each other over TCP before the first message.
//!
//! Each step is a byte that says whether it worked, followed by what the step is about, or by the
//! reason why not, so that both ends report the cause wherever it lies.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use schema::scenario::Verb;

use super::super::{ACCEPTED, HEADER, invalid, u32_at, u64_at};
use super::gid::Gid;
use super::memory::Remote;

/// Bytes of an encoded [`Card`].
const CARD: usize = 112;
const REFUSED: u8 = 0;
/// Longest reason that is passed on, in bytes.
const REASON: usize = 1000;

/// Memory of a peer for messages of one direction: for whole ones, or for their headers and for their
/// payloads.
pub(super) type RemoteStore = (Remote, Option<Remote>);

/// What an end has made for the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Card {
    pub(super) gid: Gid,
    pub(super) queue_pair: u32,
    pub(super) first_packet: u32,
    /// `enum ibv_mtu`.
    pub(super) mtu: u8,
    pub(super) terms: Terms,
}

/// On what terms an end takes and gives messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) verb: Verb,
    /// The longest message that its port takes, in bytes.
    pub(super) max_message: u32,
    /// Where its messages come from.
    pub(super) outgoing: RemoteStore,
    /// Where messages to it go.
    pub(super) incoming: RemoteStore,
}

/// Where payloads lie: the memory, and where in it they begin.
pub(super) fn payloads_of((messages, payloads): RemoteStore) -> (Remote, u64) {
    match payloads {
        Some(payloads) => (payloads, 0),
        None => (messages, HEADER as u64),
    }
}

impl Card {
    pub(super) fn encode(&self) -> [u8; CARD] {
        let mut bytes = [0; CARD];
        bytes[0..16].copy_from_slice(&self.gid);
        bytes[16..20].copy_from_slice(&self.queue_pair.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.first_packet.to_le_bytes());
        bytes[24] = self.mtu;
        bytes[25] = self.terms.verb as u8;
        bytes[108..112].copy_from_slice(&self.terms.max_message.to_le_bytes());
        let nowhere = Remote {
            address: 0,
            length: 0,
            key: 0,
        };
        let places = [
            (self.terms.outgoing.0, 28),
            (self.terms.incoming.0, 48),
            (self.terms.outgoing.1.unwrap_or(nowhere), 68),
            (self.terms.incoming.1.unwrap_or(nowhere), 88),
        ];
        for (remote, at) in places {
            bytes[at..at + 8].copy_from_slice(&remote.address.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&remote.length.to_le_bytes());
            bytes[at + 16..at + 20].copy_from_slice(&remote.key.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8; CARD]) -> io::Result<Card> {
        let remote = |at| Remote {
            address: u64_at(bytes, at),
            length: u64_at(bytes, at + 8),
            key: u32_at(bytes, at + 16),
        };
        let payloads = |at| Some(remote(at)).filter(|payloads| payloads.address != 0);
        Ok(Card {
            gid: bytes[..16].try_into().expect("sixteen bytes are a GID"),
            queue_pair: u32_at(bytes, 16),
            first_packet: u32_at(bytes, 20),
            mtu: bytes[24],
            terms: Terms {
                verb: verb_of(bytes[25])
                    .ok_or_else(|| invalid("the peer uses a verb that is not known"))?,
                max_message: u32_at(bytes, 108),
                outgoing: (remote(28), payloads(68)),
                incoming: (remote(48), payloads(88)),
            },
        })
    }
}

/// The verb whose number is `code`.
pub(super) fn verb_of(code: u8) -> Option<Verb> {
    let verbs = [Verb::WriteWithImmediate, Verb::Send, Verb::Read];
    verbs.into_iter().find(|verb| *verb as u8 == code)
}

/// Tells the peer how a step went, and what it is about; then returns its result.
pub(super) fn tell<T>(
    mut stream: &TcpStream,
    step: io::Result<T>,
    about: impl FnOnce(&T) -> Vec<u8>,
) -> io::Result<T> {
    match step {
        Ok(value) => {
            let mut bytes = vec![ACCEPTED];
            bytes.extend(about(&value));
            stream.write_all(&bytes)?;
            Ok(value)
        }
        Err(error) => {
            let reason = error.to_string().into_bytes();
            let length = reason.len().min(REASON);
            let mut bytes = vec![REFUSED];
            bytes.extend((length as u16).to_le_bytes());
            bytes.extend(&reason[..length]);
            // The peer may have gone; what is reported is the cause, not that.
            let _gone = stream.write_all(&bytes);
            Err(error)
        }
    }
}

/// Hears how the peer's step went: `N` bytes of what it is about, or its reason as an error.
pub(super) fn hear<const N: usize>(mut stream: &TcpStream) -> io::Result<[u8; N]> {
    let mut word = [0];
    stream.read_exact(&mut word)?;
    if word[0] == ACCEPTED {
        let mut about = [0; N];
        stream.read_exact(&mut about)?;
        return Ok(about);
    }
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reason = vec![0; usize::from(u16::from_le_bytes(length)).min(REASON)];
    stream.read_exact(&mut reason)?;
    let reason = String::from_utf8_lossy(&reason);
    Err(io::Error::other(format!("the peer says: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_as_it_was_written() {
        let remote = |key| Remote {
            address: 0x7f00_1234_5000,
            length: 45_427_232,
            key,
        };
        let card = Card {
            gid: [7; 16],
            queue_pair: 17,
            first_packet: 0x00ab_cdef,
            mtu: 5,
            terms: Terms {
                verb: Verb::Read,
                max_message: 8 << 20,
                outgoing: (remote(1), None),
                incoming: (remote(2), Some(remote(3))),
            },
        };
        assert_eq!(Card::decode(&card.encode()).unwrap(), card);
    }

    #[test]
    fn the_peer_hears_why_a_step_failed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        tell(&near, Ok(5), |five| vec![*five]).unwrap();
        assert_eq!(hear(&far).unwrap(), [5]);
        let failed: io::Result<()> = Err(io::Error::other("no GID"));
        tell(&near, failed, |()| Vec::new()).unwrap_err();
        let heard = hear::<1>(&far).unwrap_err();
        insta::assert_snapshot!(heard, @"the peer says: no GID");
    }
}

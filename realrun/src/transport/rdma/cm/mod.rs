//! Connections that librdmacm sets up.
//!
//! The connection manager of the kernel finds the device and the way from addresses, and joins two
//! queue pairs by messages of its own over the network that requests take. Each request and its answer
//! carry up to 56 B of ours: what the ends tell each other over TCP otherwise, less what the connection
//! manager tells (`Greeting`).
//!
//! The TCP connection to the stage's port is there all the same: over it the serving end says where it
//! listens, each end says why it failed, and it stays open to tell when the peer has gone.

mod id;
mod raw;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};

use schema::scenario::Verb;

use super::super::{HEADER, u32_at, u64_at};
use super::card::{RemoteStore, Terms, payloads_of, tell, verb_of};
use super::failure::Failure;
use super::memory::Remote;
use super::setup::{Made, SET_UP_LIMIT, heard};
use super::{Nic, Role};
use id::Cut;
pub(super) use id::Id;

/// Bytes of private data: what a request of a reliable connection carries over IP.
const PRIVATE: usize = 56;
/// Bytes of an encoded [`Place`].
const PLACE: usize = 26;

/// Whether connections can be set up so on this machine.
pub(super) fn is_there() -> Result<(), Failure> {
    Id::new().map(drop)
}

/// Where the serving end listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    address: SocketAddr,
    /// Tells the request of the peer from others.
    token: u64,
}

impl Place {
    fn encode(&self) -> [u8; PLACE] {
        let mut bytes = [0; PLACE];
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        bytes[..16].copy_from_slice(&ip.octets());
        bytes[16..18].copy_from_slice(&self.address.port().to_le_bytes());
        bytes[18..].copy_from_slice(&self.token.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; PLACE]) -> Place {
        let ip: [u8; 16] = bytes[..16]
            .try_into()
            .expect("sixteen bytes are an address");
        let port = u16::from_le_bytes([bytes[16], bytes[17]]);
        Place {
            address: SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port),
            token: u64_at(bytes, 18),
        }
    }
}

/// What an end tells the other in the private data of a request or its answer: of the two directions'
/// memory only where the peer is to write or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Greeting {
    token: u64,
    terms: Terms,
}

impl Greeting {
    fn encode(&self) -> [u8; PRIVATE] {
        let terms = &self.terms;
        let is_read = terms.verb == Verb::Read;
        let (used, unused) = if is_read {
            (terms.outgoing, terms.incoming)
        } else {
            (terms.incoming, terms.outgoing)
        };
        let payloads = used.1.map_or((0, 0), |remote| (remote.address, remote.key));
        let mut bytes = [0; PRIVATE];
        bytes[0..8].copy_from_slice(&self.token.to_le_bytes());
        bytes[8] = terms.verb as u8;
        bytes[9] = u8::from(used.1.is_some());
        bytes[12..16].copy_from_slice(&terms.max_message.to_le_bytes());
        bytes[16..24].copy_from_slice(&used.0.address.to_le_bytes());
        bytes[24..28].copy_from_slice(&used.0.key.to_le_bytes());
        bytes[28..36].copy_from_slice(&payloads.0.to_le_bytes());
        bytes[36..40].copy_from_slice(&payloads.1.to_le_bytes());
        bytes[40..48].copy_from_slice(&room(used).to_le_bytes());
        bytes[48..56].copy_from_slice(&room(unused).to_le_bytes());
        bytes
    }

    /// `None` if it is not one.
    fn decode(bytes: &[u8]) -> Option<Greeting> {
        let bytes: &[u8; PRIVATE] = bytes.get(..PRIVATE)?.try_into().ok()?;
        let verb = verb_of(bytes[8])?;
        let host = |address, key, room| Remote {
            address,
            length: HEADER as u64 + room,
            key,
        };
        let room = u64_at(bytes, 40).min(u64::MAX / 2);
        let used = if bytes[9] == 0 {
            (host(u64_at(bytes, 16), u32_at(bytes, 24), room), None)
        } else {
            let payloads = Remote {
                address: u64_at(bytes, 28),
                length: room,
                key: u32_at(bytes, 36),
            };
            (
                host(u64_at(bytes, 16), u32_at(bytes, 24), 0),
                Some(payloads),
            )
        };
        let unused = (host(0, 0, u64_at(bytes, 48).min(u64::MAX / 2)), None);
        let (outgoing, incoming) = if verb == Verb::Read {
            (used, unused)
        } else {
            (unused, used)
        };
        Some(Greeting {
            token: u64_at(bytes, 0),
            terms: Terms {
                verb,
                max_message: u32_at(bytes, 12),
                outgoing,
                incoming,
            },
        })
    }
}

/// Longest payload in the memory, in bytes.
fn room(store: RemoteStore) -> u64 {
    let (memory, begin) = payloads_of(store);
    memory.length - begin
}

/// Joins `made`, or tells the peer why there is none, to what the peer has made, which does the same at
/// the other end of `stream`; returns what the peer has told too.
pub(super) fn agree(
    stream: &TcpStream,
    nic: &Nic,
    role: Role,
    made: io::Result<Made>,
) -> io::Result<(Made, Terms)> {
    let ready = made.and_then(|made| {
        let own = address_of(nic).map_err(|failure| made.qp.named(failure))?;
        let listener = match role {
            Role::Serves => Some(Listener::open(own).map_err(|failure| made.qp.named(failure))?),
            Role::Asks => None,
        };
        Ok((made, own, listener))
    });
    let place = |ready: &(Made, SocketAddr, Option<Listener>)| match &ready.2 {
        Some(listener) => listener.place.encode().to_vec(),
        None => vec![0; PLACE],
    };
    let (mut made, own, listener) = tell(stream, ready, place)?;
    let place = Place::decode(&heard(stream, &made.qp)?);
    let joined = match listener {
        Some(listener) => listener.accept(&mut made, stream),
        None => ask(&mut made, nic, own, place, stream),
    };
    let joined = match joined {
        Ok(terms) => Ok(terms),
        Err(Cut::Failed(failure)) => Err(made.qp.named(failure).into()),
        Err(Cut::ByPeer) => {
            heard::<0>(stream, &made.qp)?;
            let problem = "the peer says that it is done, and has not been joined";
            let failure = Failure::new("setting up a connection", problem);
            return Err(made.qp.named(failure).into());
        }
    };
    Ok((made, tell(stream, joined, |_| Vec::new())?))
}

/// The address of the adapter's GID.
fn address_of(nic: &Nic) -> Result<SocketAddr, Failure> {
    let ip = Ipv6Addr::from(nic.gid);
    if ip.is_unicast_link_local() {
        let problem = format!("its GID {} is {ip}, of this link only", nic.gid_index);
        return Err(Failure::new("rdma_bind_addr", problem).because(
            "the connection manager needs an IP address: give the adapter's interface one, or name \
             its GID with `gid`",
        ));
    }
    Ok(SocketAddr::new(ip.to_canonical(), 0))
}

/// A serving end that waits for its peer's request.
struct Listener {
    id: Id,
    place: Place,
}

impl Listener {
    fn open(own: SocketAddr) -> Result<Listener, Failure> {
        let mut id = Id::new()?;
        let port = id.listen(own)?;
        let place = Place {
            address: SocketAddr::new(own.ip(), port),
            // Each state hashes by keys of its own.
            token: RandomState::new().build_hasher().finish(),
        };
        Ok(Listener { id, place })
    }

    /// Takes the request of the peer at the other end of `stream`.
    fn accept(mut self, made: &mut Made, stream: &TcpStream) -> Result<Terms, Cut> {
        // Longer than the peer waits, which says better what it waited for.
        let limit = SET_UP_LIMIT + SET_UP_LIMIT / 2;
        let token = self.place.token;
        let (mut id, terms) = loop {
            let (mut id, private) = self.id.request(limit, stream)?;
            match Greeting::decode(&private) {
                Some(greeting) if greeting.token == token => break (id, greeting.terms),
                // Somebody else's.
                _ => id.reject(),
            }
        };
        let joined = made.takes(&terms).and_then(|()| {
            let path = id.path()?;
            made.qp.connect(&path)?;
            let own = Greeting {
                token,
                terms: made.card.terms,
            };
            id.accept(made.qp.number(), &own.encode())
        });
        if let Err(failure) = joined {
            id.reject();
            return Err(failure.into());
        }
        made.manager = Some(id);
        Ok(terms)
    }
}

/// Asks for a connection to the peer, which listens at `place`.
fn ask(
    made: &mut Made,
    nic: &Nic,
    own: SocketAddr,
    place: Place,
    stream: &TcpStream,
) -> Result<Terms, Cut> {
    let mut id = Id::new()?;
    id.resolve(own, place.address, SET_UP_LIMIT, stream)?;
    id.is_on(&nic.device)?;
    let greeting = Greeting {
        token: place.token,
        terms: made.card.terms,
    };
    let queue_pair = made.qp.number();
    let answer = id.connect(queue_pair, &greeting.encode(), SET_UP_LIMIT, stream)?;
    let Some(answer) = Greeting::decode(&answer).filter(|told| told.token == place.token) else {
        let problem = "what answers is not the peer";
        return Err(Failure::new("rdma_connect", problem).into());
    };
    made.takes(&answer.terms)?;
    made.qp.connect(&id.path()?)?;
    id.establish()?;
    made.manager = Some(id);
    Ok(answer.terms)
}

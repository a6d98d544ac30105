//! How a message gets from one process to the next.
//!
//! A [`Connection`] carries one request at a time, as HTTP/1.1 and ZeroMQ's REQ do: the caller
//! fills [`payload_mut`](Connection::payload_mut), [`send`](Connection::send)s it, and
//! [`receive`](Connection::receive)s the answer. Buffers belong to the connection, so that a
//! transport may register or share them once; nothing is allocated for a message.
//!
//! On the wire: a [`Hello`] and one byte in answer when a connection is opened, then messages, each
//! a [`Header`] of 32 bytes and its payload.

mod local;
#[cfg_attr(not(feature = "rdma"), path = "no_rdma.rs")]
pub mod rdma;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use schema::ids::{ClientId, Id, RequestId};
use serde::{Deserialize, Serialize};

use crate::accelerator::cuda::PeerBuffer;
use crate::clock::Stamp;

/// Bytes of an encoded [`Header`].
pub const HEADER: usize = 32;
const HELLO: usize = 32;
const MAGIC: u32 = 0x7461_6e64;
const VERSION: u32 = 3;
const ACCEPTED: u8 = 1;

/// One end of an open connection.
pub trait Connection: Send {
    /// Where the next outgoing payload is put.
    fn payload_mut(&mut self) -> &mut [u8];

    /// The payload that was received last.
    fn received(&self) -> &[u8];

    /// The payload that was received last, and where the next outgoing one is put.
    fn both(&mut self) -> (&[u8], &mut [u8]);

    /// The memory of payloads, if it is a GPU's: the slices of payloads are then empty. Nothing of
    /// what was sent last is under way from it any more.
    fn on_gpu(&mut self) -> Option<OnGpu<'_>> {
        None
    }

    /// Sends `header` and as many bytes of the outgoing buffer as it says; returns when the buffer
    /// may be filled again.
    ///
    /// # Errors
    /// If the peer is gone.
    fn send(&mut self, header: &Header) -> io::Result<()>;

    /// Waits for a message; `None` if the peer has closed the connection in order.
    ///
    /// # Errors
    /// If the peer is gone, or sends what is no message or longer than the buffer.
    fn receive(&mut self) -> io::Result<Option<Arrival>>;
}

/// Memory of a GPU in which the payloads of a connection lie.
#[derive(Clone, Copy, Debug)]
pub struct OnGpu<'a> {
    /// The payload that was received last.
    pub received: &'a PeerBuffer,
    /// Where the next outgoing payload is put.
    pub next: &'a PeerBuffer,
}

/// What precedes a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The request that the message belongs to.
    pub request: RequestId,
    /// Its class, as the scenario numbers them.
    pub class: u32,
    /// Bytes of the payload.
    pub length: u64,
    /// Whether the request failed; set in replies only.
    pub failed: bool,
}

/// A message that has been received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its header.
    pub header: Header,
    /// When the receiving thread began to work on it, in nanoseconds of the monotonic clock: when
    /// the header had been read, less the core time that reading it took.
    pub start_ns: u64,
    /// When the last byte of the payload had been taken.
    pub end: Stamp,
    /// Core time of the receiving thread, waking up included, in nanoseconds.
    pub cpu_ns: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.class.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.request.as_u64().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24] = u8::from(self.failed);
        bytes
    }

    fn decode(bytes: &[u8; HEADER]) -> io::Result<Header> {
        if u32_at(bytes, 0) != MAGIC {
            return Err(invalid("it does not start as a message of tandem does"));
        }
        Ok(Header {
            request: RequestId::from_u64(u64_at(bytes, 8)),
            class: u32_at(bytes, 4),
            length: u64_at(bytes, 16),
            failed: bytes[24] != 0,
        })
    }

    /// The length, checked against the buffer that is to take it.
    fn fits(&self, buffer: usize) -> io::Result<usize> {
        let length = usize::try_from(self.length)
            .ok()
            .filter(|length| *length <= buffer);
        length.ok_or_else(|| {
            invalid(&format!(
                "a message of {} B, the buffer holds {buffer} B",
                self.length
            ))
        })
    }
}

/// Who opens a connection, and how large its messages are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The client whose requests it carries.
    pub client: ClientId,
    /// Its number among that client's connections.
    pub connection: u32,
    /// The hop of the client's path.
    pub hop: u8,
}

impl Hello {
    fn encode(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&(self.client.index() as u64).to_le_bytes());
        bytes[16..20].copy_from_slice(&self.connection.to_le_bytes());
        bytes[20] = self.hop;
        bytes
    }

    fn decode(bytes: &[u8; HELLO]) -> io::Result<Hello> {
        if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 4) != VERSION {
            return Err(invalid("the peer is not a tandem of this version"));
        }
        let client = u32::try_from(u64_at(bytes, 8)).map_err(|_| invalid("no such client"))?;
        Ok(Hello {
            client: ClientId::from_index(client as usize),
            connection: u32_at(bytes, 16),
            hop: bytes[20],
        })
    }
}

/// Largest payloads of a connection, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffers {
    /// Towards the serving stage.
    pub request: usize,
    /// Back to the client.
    pub reply: usize,
}

/// What a connection goes over.
#[derive(Clone, Copy)]
pub enum Carrier<'a> {
    /// Kernel TCP.
    Tcp,
    /// Shared memory of one machine.
    Local,
    /// Network adapters; this end's.
    Rdma(rdma::End<'a>),
}

/// Where a stage listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Address {
    /// For [`Carrier::Tcp`], and for setting up [`Carrier::Rdma`].
    pub tcp: SocketAddr,
    /// For [`Carrier::Local`]: a Unix-domain socket.
    pub local: PathBuf,
}

/// What a stage listens on: a TCP and a Unix-domain socket.
#[derive(Debug)]
pub struct Listener {
    tcp: std::net::TcpListener,
    local: std::os::unix::net::UnixListener,
}

/// A connection that has been asked for and not yet answered.
pub struct Pending(PendingKind);

enum PendingKind {
    Tcp(std::net::TcpStream),
    Local(std::os::unix::net::UnixStream),
}

impl Listener {
    /// Listens on a free TCP port of every interface and on the Unix-domain socket `local`.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn bind(local: &std::path::Path, ip: std::net::IpAddr) -> io::Result<Listener> {
        Ok(Listener {
            tcp: std::net::TcpListener::bind(SocketAddr::new(ip, 0))?,
            local: std::os::unix::net::UnixListener::bind(local)?,
        })
    }

    /// The TCP port.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.tcp.local_addr()?.port())
    }

    /// Calls `serve` with every connection, each transport on a thread of its own; returns at once.
    pub fn accept_all(self, serve: impl Fn(io::Result<Pending>) + Send + Sync + 'static) {
        let serve = std::sync::Arc::new(serve);
        let (tcp, local) = (self.tcp, self.local);
        let also = std::sync::Arc::clone(&serve);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                serve(stream.map(|s| Pending(PendingKind::Tcp(s))));
            }
        });
        std::thread::spawn(move || {
            for stream in local.incoming() {
                also(stream.map(|s| Pending(PendingKind::Local(s))));
            }
        });
    }
}

impl Pending {
    /// Reads who is there.
    ///
    /// # Errors
    /// If the peer is gone or no tandem of this version.
    pub fn hello(&mut self) -> io::Result<Hello> {
        let mut bytes = [0; HELLO];
        match &mut self.0 {
            PendingKind::Tcp(stream) => io::Read::read_exact(stream, &mut bytes)?,
            PendingKind::Local(stream) => io::Read::read_exact(stream, &mut bytes)?,
        }
        Hello::decode(&bytes)
    }

    /// Accepts, over what the scenario says, with room for messages of `buffers`.
    ///
    /// # Errors
    /// If the peer is gone or came over something else, or memory cannot be shared with it.
    pub fn accept(self, over: Carrier<'_>, buffers: Buffers) -> io::Result<Box<dyn Connection>> {
        Ok(match (self.0, over) {
            (PendingKind::Tcp(stream), Carrier::Tcp) => Box::new(tcp::accept(stream, buffers)?),
            (PendingKind::Tcp(stream), Carrier::Rdma(end)) => rdma::accept(stream, end, buffers)?,
            (PendingKind::Local(stream), Carrier::Local) => {
                Box::new(local::accept(stream, buffers)?)
            }
            _ => {
                return Err(invalid(
                    "the peer came over another transport than the hop's",
                ));
            }
        })
    }
}

/// Opens a connection; returns when the peer is ready to serve it.
///
/// # Errors
/// If the peer cannot be reached or does not accept.
pub fn connect(
    over: Carrier<'_>,
    address: &Address,
    hello: &Hello,
    buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    Ok(match over {
        Carrier::Tcp => Box::new(tcp::connect(tcp::open(address.tcp, hello)?, buffers)?),
        Carrier::Local => Box::new(local::connect(&address.local, hello, buffers)?),
        Carrier::Rdma(end) => {
            let stream = tcp::open(address.tcp, hello)?;
            rdma::connect(stream, end, buffers)?
        }
    })
}

/// Reads a header, and when and with how much core time that was done; `None` at an orderly end.
fn read_header(stream: &mut impl io::Read) -> io::Result<Option<(Header, Stamp, Stamp)>> {
    let before = Stamp::now();
    let mut bytes = [0; HEADER];
    let mut n = 0;
    while n < HEADER {
        match stream.read(&mut bytes[n..]) {
            Ok(0) if n == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => n += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some((Header::decode(&bytes)?, before, Stamp::now())))
}

/// The arrival of a message whose header was read between `before` and `read`, and whose payload has
/// been taken at `end`.
fn arrival(header: Header, before: Stamp, read: Stamp, end: Stamp) -> Arrival {
    Arrival {
        header,
        start_ns: read.at_ns - (read.cpu_ns - before.cpu_ns).min(read.at_ns - before.at_ns),
        end,
        cpu_ns: end.cpu_ns - before.cpu_ns,
    }
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are a u32"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are a u64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const BUFFERS: Buffers = Buffers {
        request: 300_000,
        reply: 5_000,
    };

    const EVERY: [(&str, Carrier<'static>); 2] = [("tcp", Carrier::Tcp), ("local", Carrier::Local)];

    fn hello() -> Hello {
        Hello {
            client: ClientId::from_index(3),
            connection: 2,
            hop: 1,
        }
    }

    fn header(length: u64) -> Header {
        Header {
            request: RequestId::new(ClientId::from_index(3), 9),
            class: 4,
            length,
            failed: false,
        }
    }

    /// A server that answers every message with its first 5,000 bytes, reversed.
    fn echo(over: Carrier<'static>) -> (Address, mpsc::Receiver<Hello>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("echo.sock");
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let listener = Listener::bind(&local, ip).unwrap();
        let address = Address {
            tcp: SocketAddr::new(ip, listener.port().unwrap()),
            local,
        };
        let (tell, heard) = mpsc::channel();
        listener.accept_all(move |pending| {
            let mut pending = pending.unwrap();
            tell.send(pending.hello().unwrap()).unwrap();
            let mut connection = pending.accept(over, BUFFERS).unwrap();
            std::thread::spawn(move || {
                while let Ok(Some(arrival)) = connection.receive() {
                    let (received, out) = connection.both();
                    let n = received.len().min(5_000);
                    out[..n].copy_from_slice(&received[..n]);
                    out[..n].reverse();
                    let header = Header {
                        length: n as u64,
                        failed: true,
                        ..arrival.header
                    };
                    connection.send(&header).unwrap();
                }
            });
        });
        (address, heard, dir)
    }

    #[test]
    fn messages_of_every_size_come_back_over_every_transport() {
        for (name, over) in EVERY {
            let (address, heard, _dir) = echo(over);
            let mut connection = connect(over, &address, &hello(), BUFFERS).unwrap();
            assert_eq!(heard.recv().unwrap(), hello());
            for n in [0, 1, 31, 4096, 300_000] {
                for (i, byte) in connection.payload_mut()[..n].iter_mut().enumerate() {
                    *byte = i as u8;
                }
                let expected: Vec<u8> = (0..n.min(5_000)).rev().map(|i| i as u8).collect();
                connection.send(&header(n as u64)).unwrap();
                let arrival = connection.receive().unwrap().unwrap();
                assert_eq!(connection.received(), expected, "{name} {n}");
                assert_eq!(arrival.header.request, header(0).request);
                assert!(arrival.header.failed);
                assert!(arrival.start_ns <= arrival.end.at_ns);
            }
        }
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_refused() {
        let (address, _heard, _dir) = echo(Carrier::Tcp);
        let small = Buffers {
            request: 300_000,
            reply: 10,
        };
        let mut connection = connect(Carrier::Tcp, &address, &hello(), small).unwrap();
        connection.send(&header(100)).unwrap();
        let error = connection.receive().unwrap_err();
        insta::assert_snapshot!(error, @"a message of 100 B, the buffer holds 10 B");
    }

    #[test]
    fn a_closed_peer_is_an_orderly_end() {
        for (_, over) in EVERY {
            let dir = tempfile::tempdir().unwrap();
            let ip = std::net::Ipv4Addr::LOCALHOST.into();
            let listener = Listener::bind(&dir.path().join("s"), ip).unwrap();
            let tcp = SocketAddr::new(ip, listener.port().unwrap());
            let address = Address {
                tcp,
                local: dir.path().join("s"),
            };
            listener.accept_all(move |pending| {
                let mut pending = pending.unwrap();
                pending.hello().unwrap();
                drop(pending.accept(over, BUFFERS).unwrap());
            });
            let mut connection = connect(over, &address, &hello(), BUFFERS).unwrap();
            assert_eq!(connection.receive().unwrap(), None);
        }
    }
}

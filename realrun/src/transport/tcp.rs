//! Kernel TCP: one stream a connection, no delay, header and payload in one buffer and one call.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{
    ACCEPTED, Arrival, Buffers, Connection, HEADER, Header, Hello, arrival, invalid, read_header,
};
use crate::clock::Stamp;

/// One end of a TCP connection.
struct Tcp {
    stream: TcpStream,
    /// Header, then payload.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    n_received: usize,
}

impl Tcp {
    fn new(stream: TcpStream, outgoing: usize, incoming: usize) -> io::Result<Tcp> {
        stream.set_nodelay(true)?;
        // Filled, so that the first message does not pay for the pages.
        Ok(Tcp {
            stream,
            outgoing: vec![1; HEADER + outgoing],
            incoming: vec![1; incoming],
            n_received: 0,
        })
    }
}

pub(super) fn accept(
    mut stream: TcpStream,
    buffers: Buffers,
) -> io::Result<impl Connection + use<>> {
    stream.write_all(&[ACCEPTED])?;
    Tcp::new(stream, buffers.reply, buffers.request)
}

/// A stream to `address` that has carried the hello.
pub(super) fn open(address: SocketAddr, hello: &Hello) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&hello.encode())?;
    Ok(stream)
}

/// The end that asks; `stream` has carried the hello.
pub(super) fn connect(
    mut stream: TcpStream,
    buffers: Buffers,
) -> io::Result<impl Connection + use<>> {
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer[0] != ACCEPTED {
        return Err(invalid("the peer does not accept the connection"));
    }
    Tcp::new(stream, buffers.request, buffers.reply)
}

impl Connection for Tcp {
    fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.outgoing[HEADER..]
    }

    fn received(&self) -> &[u8] {
        &self.incoming[..self.n_received]
    }

    fn both(&mut self) -> (&[u8], &mut [u8]) {
        (
            &self.incoming[..self.n_received],
            &mut self.outgoing[HEADER..],
        )
    }

    fn send(&mut self, header: &Header) -> io::Result<()> {
        let n = header.fits(self.outgoing.len() - HEADER)?;
        self.outgoing[..HEADER].copy_from_slice(&header.encode());
        self.stream.write_all(&self.outgoing[..HEADER + n])
    }

    fn receive(&mut self) -> io::Result<Option<Arrival>> {
        let Some((header, before, read)) = read_header(&mut self.stream)? else {
            return Ok(None);
        };
        let n = header.fits(self.incoming.len())?;
        self.stream.read_exact(&mut self.incoming[..n])?;
        self.n_received = n;
        Ok(Some(arrival(header, before, read, Stamp::now())))
    }
}

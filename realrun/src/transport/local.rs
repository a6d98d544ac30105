//! Shared memory of one machine: payloads lie in two files that both processes map, and a header
//! over a Unix-domain socket is the doorbell that hands one over.
//!
//! The files are made by the side that connects, in memory (`/dev/shm`) where there is one, and
//! removed once both sides have mapped them, so that a killed process leaves nothing behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use memmap2::MmapMut;

use super::{ACCEPTED, Arrival, Buffers, Connection, Header, Hello, arrival, invalid, read_header};
use crate::clock::Stamp;

/// One end of a connection through shared memory.
struct Local {
    doorbell: UnixStream,
    outgoing: MmapMut,
    incoming: MmapMut,
    n_received: usize,
}

pub(super) fn connect(
    socket: &Path,
    hello: &Hello,
    buffers: Buffers,
) -> io::Result<impl Connection + use<>> {
    let mut doorbell = UnixStream::connect(socket)?;
    doorbell.write_all(&hello.encode())?;
    let base = shared_dir(socket).join(format!(
        "tandem-{}-{}-{}-{}",
        std::process::id(),
        schema::ids::Id::index(hello.client),
        hello.connection,
        hello.hop
    ));
    let paths = [base.with_extension("request"), base.with_extension("reply")];
    let outgoing = create(&paths[0], buffers.request)?;
    let incoming = create(&paths[1], buffers.reply)?;
    let name = base
        .to_str()
        .ok_or_else(|| invalid("the shared folder's name is not UTF-8"))?;
    let length =
        u32::try_from(name.len()).map_err(|_| invalid("the shared folder's name is too long"))?;
    doorbell.write_all(&length.to_le_bytes())?;
    doorbell.write_all(name.as_bytes())?;
    let mut answer = [0];
    let accepted = doorbell.read_exact(&mut answer);
    for path in &paths {
        fs::remove_file(path)?;
    }
    accepted?;
    if answer[0] != ACCEPTED {
        return Err(invalid("the peer does not accept the connection"));
    }
    Ok(Local {
        doorbell,
        outgoing,
        incoming,
        n_received: 0,
    })
}

pub(super) fn accept(
    mut doorbell: UnixStream,
    buffers: Buffers,
) -> io::Result<impl Connection + use<>> {
    let mut length = [0; 4];
    doorbell.read_exact(&mut length)?;
    let mut name = vec![0; (u32::from_le_bytes(length) as usize).min(4096)];
    doorbell.read_exact(&mut name)?;
    let name =
        String::from_utf8(name).map_err(|_| invalid("the shared file's name is not UTF-8"))?;
    let base = PathBuf::from(name);
    let incoming = open(&base.with_extension("request"), buffers.request)?;
    let outgoing = open(&base.with_extension("reply"), buffers.reply)?;
    doorbell.write_all(&[ACCEPTED])?;
    Ok(Local {
        doorbell,
        outgoing,
        incoming,
        n_received: 0,
    })
}

/// A folder in memory, or else the folder of the socket.
fn shared_dir(socket: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        socket.parent().unwrap_or(Path::new("/tmp")).to_owned()
    }
}

fn create(path: &Path, length: usize) -> io::Result<MmapMut> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    // Written, so that the first message does not pay for the pages; at least one byte, since an
    // empty file cannot be mapped.
    fs::write(path, vec![1; length.max(1)])?;
    map(&file)
}

fn open(path: &Path, length: usize) -> io::Result<MmapMut> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() != length.max(1) as u64 {
        return Err(invalid(
            "the two sides do not agree on the size of their messages",
        ));
    }
    map(&file)
}

#[expect(unsafe_code, reason = "memory shared between two processes")]
fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file is never truncated while mapped (it is removed by name, which keeps its
    // pages). The peer writes to it only before it rings the doorbell for a message and reads it
    // only before it answers; this side does the opposite, one request at a time, and the socket
    // calls in between order the accesses.
    let mut map = unsafe { MmapMut::map_mut(file)? };
    for page in map.chunks_mut(4096) {
        page[0] = 1;
    }
    Ok(map)
}

impl Connection for Local {
    fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    fn received(&self) -> &[u8] {
        &self.incoming[..self.n_received]
    }

    fn both(&mut self) -> (&[u8], &mut [u8]) {
        (&self.incoming[..self.n_received], &mut self.outgoing)
    }

    fn send(&mut self, header: &Header) -> io::Result<()> {
        header.fits(self.outgoing.len())?;
        self.doorbell.write_all(&header.encode())
    }

    fn receive(&mut self) -> io::Result<Option<Arrival>> {
        let Some((header, before, read)) = read_header(&mut self.doorbell)? else {
            return Ok(None);
        };
        self.n_received = header.fits(self.incoming.len())?;
        Ok(Some(arrival(header, before, read, Stamp::now())))
    }
}

//! Memory that adapters read and write.
//!
//! No type can hold an adapter to when it writes, since its peer decides. [`Buffer`] hands out
//! references to memory that the adapter may write; its users keep to a protocol in which the peer
//! writes only what it has leave to, and leave is given only while no such reference lives.

use std::io;
use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

/// Memory of the process that adapters may read and write.
pub(super) struct Buffer(pub(super) Arc<Memory>);

/// Bytes that are mapped as long as this lives.
pub(super) struct Memory {
    pub(super) map: MmapRaw,
    pub(super) length: usize,
}

impl Buffer {
    /// `length` bytes, each page written, so that the first message does not pay for it.
    pub(super) fn new(length: usize) -> io::Result<Buffer> {
        let mut map = MmapMut::map_anon(length.max(1))?;
        map.fill(1);
        let map = MmapRaw::from(map);
        Ok(Buffer(Arc::new(Memory { map, length })))
    }

    /// The same memory, for the other connection of a gateway; neither looks at the payload, and
    /// both are used by the thread that forwards.
    pub(super) fn shared(&self) -> Buffer {
        Buffer(Arc::clone(&self.0))
    }

    pub(super) fn len(&self) -> usize {
        self.0.length
    }

    /// The bytes; see the module about when the adapter may write them.
    #[expect(unsafe_code, reason = "memory that an adapter may write")]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the map is of so many bytes and lives as long as `self`. No `&mut` of it lives:
        // this is the only buffer of the memory, or shared by two connections of one thread, which
        // keep no reference beyond a look at the header; the adapter writes only with leave.
        unsafe { std::slice::from_raw_parts(self.0.map.as_ptr(), self.0.length) }
    }

    /// The bytes; see the module about when the adapter may read and write them.
    #[expect(unsafe_code, reason = "memory that an adapter may write")]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.map.as_mut_ptr(), self.0.length) }
    }
}

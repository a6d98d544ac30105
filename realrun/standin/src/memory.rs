//! Memory of the devices, as host memory under addresses of its own or under the host's, and pinned
//! memory.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;

use crate::state::Handle;
use crate::{Code, code};

/// Where the devices' memory begins: addresses that no process has, so that a host that follows one
/// ends at once.
const FIRST: u64 = 0x00f0_0000_0000_0000;
/// What allocations are rounded up to, and the gap between two at least.
const GRANULE: u64 = 512;
/// Alignment of pinned memory, in bytes.
const PAGE: usize = 4096;

/// Under which addresses memory of the devices is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Addresses {
    /// Those from [`FIRST`] on.
    Own,
    /// The host's, by which network adapters reach it.
    Host,
}

/// All memory.
#[derive(Default)]
pub(crate) struct Memory {
    /// By first address.
    buffers: BTreeMap<u64, Buffer>,
    next: u64,
    /// By address.
    pinned: BTreeMap<usize, Pinned>,
    /// What contexts themselves take, in bytes, with their devices.
    contexts: BTreeMap<Handle, (usize, u64)>,
}

struct Buffer {
    context: Handle,
    device: usize,
    /// What is used of it begins with a page of the host.
    bytes: Vec<u8>,
    begin: usize,
    rounded: u64,
}

struct Pinned {
    context: Handle,
    layout: Layout,
}

impl Memory {
    pub(crate) fn used(&self, device: usize) -> u64 {
        let buffers = self.buffers.values().filter(|b| b.device == device);
        let contexts = self.contexts.values().filter(|(of, _)| *of == device);
        buffers.map(|b| b.rounded).sum::<u64>() + contexts.map(|(_, bytes)| bytes).sum::<u64>()
    }

    pub(crate) fn reserve(&mut self, context: Handle, device: usize, bytes: u64) {
        self.contexts.insert(context, (device, bytes));
    }

    /// All that is of the context goes.
    pub(crate) fn forget(&mut self, context: Handle) {
        self.contexts.remove(&context);
        self.buffers.retain(|_, buffer| buffer.context != context);
        let of_it = self.pinned.iter().filter(|(_, p)| p.context == context);
        for address in of_it.map(|(address, _)| *address).collect::<Vec<_>>() {
            let _freed = self.unpin(address);
        }
    }

    pub(crate) fn n_buffers(&self) -> usize {
        self.buffers.len()
    }

    pub(crate) fn n_pinned(&self) -> usize {
        self.pinned.len()
    }

    pub(crate) fn allocate(
        &mut self,
        context: Handle,
        device: usize,
        bytes: usize,
        addresses: Addresses,
    ) -> u64 {
        let rounded = (bytes as u64).next_multiple_of(GRANULE);
        let room = vec![0; bytes + PAGE];
        let begin = room.as_ptr().align_offset(PAGE);
        let address = match addresses {
            Addresses::Own => FIRST + self.next,
            Addresses::Host => room.as_ptr() as u64 + begin as u64,
        };
        self.next += rounded + GRANULE;
        let mut buffer = Buffer {
            context,
            device,
            bytes: room,
            begin,
            rounded,
        };
        buffer.bytes.truncate(begin + bytes);
        self.buffers.insert(address, buffer);
        address
    }

    pub(crate) fn free(&mut self, address: u64) -> Result<(), Code> {
        let freed = self.buffers.remove(&address);
        freed.map(|_| ()).ok_or(code::INVALID_VALUE)
    }

    /// The bytes from `address` on, of which there are `bytes`.
    pub(crate) fn range(&mut self, address: u64, bytes: usize) -> Result<&mut [u8], Code> {
        let below = self.buffers.range_mut(..=address).next_back();
        let (first, buffer) = below.ok_or(code::INVALID_VALUE)?;
        let at = (address - first) as usize;
        let range = at.checked_add(bytes).map(|end| at..end);
        range
            .and_then(|range| buffer.bytes[buffer.begin..].get_mut(range))
            .ok_or(code::INVALID_VALUE)
    }

    /// First address and size of what was allocated and has the byte at `address`.
    pub(crate) fn around(&self, address: u64) -> Result<(u64, usize), Code> {
        let below = self.buffers.range(..=address).next_back();
        below
            .map(|(first, buffer)| (*first, buffer.bytes.len() - buffer.begin))
            .filter(|(first, bytes)| address - first < *bytes as u64)
            .ok_or(code::INVALID_VALUE)
    }

    pub(crate) fn pin(&mut self, context: Handle, bytes: usize) -> Result<usize, Code> {
        let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| code::INVALID_VALUE)?;
        if bytes == 0 {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc_zeroed(layout) } as usize;
        if address == 0 {
            return Err(code::OUT_OF_MEMORY);
        }
        self.pinned.insert(address, Pinned { context, layout });
        Ok(address)
    }

    pub(crate) fn unpin(&mut self, address: usize) -> Result<(), Code> {
        let pinned = self.pinned.remove(&address).ok_or(code::INVALID_VALUE)?;
        // SAFETY: it was allocated with this layout, and is forgotten now.
        unsafe { dealloc(address as *mut u8, pinned.layout) };
        Ok(())
    }

    /// `bytes` bytes from byte `at` of pinned memory at `address` on, as kernels read it.
    pub(crate) fn pinned_bytes(
        &self,
        address: u64,
        at: usize,
        bytes: usize,
    ) -> Result<Vec<u8>, Code> {
        let first = (address as usize)
            .checked_add(at)
            .ok_or(code::INVALID_VALUE)?;
        if !self.is_pinned(first, bytes) {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: all of it is pinned, so it is there and was filled when it was allocated.
        Ok(unsafe { std::slice::from_raw_parts(first as *const u8, bytes) }.to_vec())
    }

    /// Whether all of a range of host memory is pinned.
    pub(crate) fn is_pinned(&self, address: usize, bytes: usize) -> bool {
        let below = self.pinned.range(..=address).next_back();
        below.is_some_and(|(first, pinned)| address + bytes <= first + pinned.layout.size())
    }
}

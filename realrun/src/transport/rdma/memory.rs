//! Memory that adapters read and write, of the host or of a GPU, and its registration.
//!
//! No type can hold an adapter to when it writes, since its peer decides. [`Buffer`] hands out
//! references to memory that the adapter may write; its users keep to a protocol in which the peer
//! writes only what it has leave to, and leave is given only while no such reference lives.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;

use ibverbs::ibv_access_flags as access_flags;
use ibverbs_sys as sys;
use memmap2::{MmapMut, MmapRaw};

use super::device::Device;
use super::failure::Failure;
use super::library::made;
use crate::accelerator::cuda::PeerBuffer;

/// Memory of the process that adapters may read and write.
pub(super) struct Buffer(Arc<Memory>);

/// Bytes that are mapped as long as this lives.
struct Memory {
    map: MmapRaw,
    length: usize,
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

    /// The byte at `at`, which the adapter may be writing.
    #[expect(unsafe_code, reason = "memory that an adapter may write")]
    pub(super) fn look(&self, at: usize) -> u8 {
        assert!(at < self.0.length, "byte {at} of {}", self.0.length);
        // SAFETY: it is mapped as long as `self` lives; a byte is never read half written.
        unsafe { self.0.map.as_ptr().add(at).read_volatile() }
    }

    /// The bytes; see the module about when the adapter may read and write them.
    #[expect(unsafe_code, reason = "memory that an adapter may write")]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.map.as_mut_ptr(), self.0.length) }
    }
}

/// Memory of a peer, as it has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remote {
    /// Address of the first byte in the peer's process.
    pub(super) address: u64,
    /// Bytes.
    pub(super) length: u64,
    /// The key that its adapter wants to see.
    pub(super) key: u32,
}

/// Who may do what with registered memory, besides this process and its adapter's reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// This adapter may write what arrives or is read.
    Local,
    /// The peer may write it.
    PeerWrites,
    /// The peer may read it.
    PeerReads,
}

impl Access {
    fn flags(self) -> c_int {
        let flags = match self {
            Access::Local => access_flags::IBV_ACCESS_LOCAL_WRITE,
            Access::PeerWrites => {
                access_flags::IBV_ACCESS_LOCAL_WRITE | access_flags::IBV_ACCESS_REMOTE_WRITE
            }
            Access::PeerReads => access_flags::IBV_ACCESS_REMOTE_READ,
        };
        flags.0 as c_int
    }
}

/// How an adapter got to know where memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// The kernel looked up an address of the process.
    Host,
    /// NVIDIA's driver, asked by `nvidia-peermem`, looked up an address on the GPU.
    PeerMemory,
    /// NVIDIA's driver exported the memory as a dma-buf.
    DmaBuf,
}

/// Memory registered with an adapter, until this is dropped.
pub(super) struct Region {
    mr: NonNull<sys::ibv_mr>,
    address: u64,
    length: usize,
    way: Way,
    _held: Held,
    device: Arc<Device>,
}

/// What keeps the memory of a region.
enum Held {
    Host { _memory: Arc<Memory> },
    Gpu { _memory: Arc<PeerBuffer> },
}

#[expect(unsafe_code, reason = "addresses of what libibverbs owns")]
// SAFETY: what it points to may be used by any thread, and is used by one at a time.
unsafe impl Send for Region {}

impl Region {
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn register(
        device: &Arc<Device>,
        buffer: &Buffer,
        access: Access,
    ) -> Result<Region, Failure> {
        let (device, memory) = (Arc::clone(device), Arc::clone(&buffer.0));
        let address = memory.map.as_mut_ptr();
        // SAFETY: the memory is mapped, and stays so until it has been deregistered, since the
        // region holds it.
        let mr = unsafe {
            let reg_mr = device.functions.reg_mr;
            let pd = device.pd.as_ptr();
            reg_mr(pd, address.cast(), memory.length, access.flags())
        };
        let mr = made("ibv_reg_mr", mr).map_err(|failure| failure.on(device.name()))?;
        Ok(Region {
            mr,
            address: address as u64,
            length: memory.length,
            way: Way::Host,
            _held: Held::Host { _memory: memory },
            device,
        })
    }

    /// Registers memory of a GPU: as a dma-buf where driver, library and adapter can, or else by its
    /// address.
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    pub(super) fn register_on_gpu(
        device: &Arc<Device>,
        memory: &Arc<PeerBuffer>,
        access: Access,
    ) -> Result<Region, Failure> {
        let (address, length) = (memory.address(), memory.len().max(1));
        let pd = device.pd.as_ptr();
        let region = |mr, way| Region {
            mr,
            address,
            length,
            way,
            _held: Held::Gpu {
                _memory: Arc::clone(memory),
            },
            device: Arc::clone(device),
        };
        let no_dma_buf = match (memory.dma_buf(), device.functions.reg_dmabuf_mr) {
            (Err(error), _) => error.to_string(),
            (Ok(None), _) => "the GPU's driver gives none".to_owned(),
            (Ok(Some(_)), None) => "libibverbs is older than 1.12".to_owned(),
            (Ok(Some((file, offset))), Some(register)) => {
                let fd = file.as_raw_fd();
                // SAFETY: the file is open until the call has returned, after which the region has
                // it; it is of the memory, which the region holds.
                let mr = unsafe { register(pd, offset, length, address, fd, access.flags()) };
                match made("ibv_reg_dmabuf_mr", mr) {
                    Ok(mr) => return Ok(region(mr, Way::DmaBuf)),
                    Err(failure) => format!("ibv_reg_dmabuf_mr: {}", failure.problem),
                }
            }
        };
        // SAFETY: the address is not followed but looked up, by whom the adapter's driver asks; the
        // region holds the memory.
        let mr = unsafe {
            let start = std::ptr::without_provenance_mut(address as usize);
            (device.functions.reg_mr)(pd, start, length, access.flags())
        };
        match made("ibv_reg_mr", mr) {
            Ok(mr) => Ok(region(mr, Way::PeerMemory)),
            Err(failure) => Err(Failure::new(
                "ibv_reg_mr",
                format!("{}, of memory of {}", failure.problem, memory.device()),
            )
            .because(format!(
                "the adapter does not reach the GPU: load NVIDIA's kernel module (`modprobe \
                 nvidia-peermem`), or use dma-buf, which needs NVIDIA's open kernel modules, Linux \
                 5.12 and libibverbs 1.12 (dma-buf: {no_dma_buf})"
            ))
            .on(device.name())),
        }
    }

    /// How the adapter got to know where it is.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// What the peer needs to use it.
    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    pub(super) fn remote(&self) -> Remote {
        Remote {
            address: self.address,
            length: self.length as u64,
            // SAFETY: the region is registered, and its key never changes.
            key: unsafe { self.mr.as_ref().rkey },
        }
    }

    /// `length` of its bytes, from the one at `from` on, as a work request names them.
    ///
    /// # Panics
    /// If they are not all inside.
    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    pub(super) fn sge(&self, from: usize, length: usize) -> sys::ibv_sge {
        assert!(
            from.checked_add(length)
                .is_some_and(|end| end <= self.length),
            "{length} B from byte {from} on are not inside a region of {} B",
            self.length
        );
        sys::ibv_sge {
            addr: self.address + from as u64,
            length: u32::try_from(length).expect("the port's longest message fits 32 bits"),
            // SAFETY: as in `remote`.
            lkey: unsafe { self.mr.as_ref().lkey },
        }
    }
}

impl Drop for Region {
    #[expect(unsafe_code, reason = "a call of libibverbs")]
    fn drop(&mut self) {
        // SAFETY: it is released once, and the queue pair that used it has been destroyed.
        unsafe { (self.device.functions.dereg_mr)(self.mr.as_ptr()) };
    }
}

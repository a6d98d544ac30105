//! Memory of a device that network adapters read and write themselves: GPUDirect RDMA.
//!
//! An adapter's driver learns where the memory is on the PCI bus in one of two ways. NVIDIA's kernel
//! module `nvidia-peermem` lets it ask by the memory's address; or the GPU's driver exports the memory
//! as a dma-buf, a file that the adapter's driver takes. Which works is found by trying, by who
//! registers the memory.
//!
//! A kernel that is launched after the host has seen an adapter's completion sees what the adapter
//! wrote (GPUDirect RDMA's documentation, on synchronization); none is launched before.

use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd};

use cudarc::driver::sys::{
    self, CUdevice_attribute as Attribute, CUmemRangeHandleType, CUpointer_attribute,
};

use super::super::cuda_error::CudaError;
use super::driver::has;
use super::memory::DeviceBuffer;
use super::net::CudaAccelerator;

/// What allocations are rounded up to, in bytes: the page of a GPU's memory as adapters map it.
const GRANULE: usize = 64 << 10;
/// The function that exports memory.
pub(super) const EXPORT: &str = "cuMemGetHandleForAddressRange";

/// Memory of a device that may be registered with an adapter; freed when dropped.
#[derive(Debug)]
pub struct PeerBuffer {
    buffer: DeviceBuffer,
    bytes: usize,
}

impl PeerBuffer {
    /// So many bytes, of undefined content, which kernels of `on` reach. None is allowed.
    ///
    /// # Errors
    /// If the device has no room, or the driver does not let its copies of this memory be ordered
    /// with those of others.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn new(on: &CudaAccelerator, bytes: usize) -> Result<PeerBuffer, CudaError> {
        // An allocation of its own, since a registration takes all of the pages that it touches.
        let rounded = bytes.max(1).next_multiple_of(GRANULE);
        let buffer = DeviceBuffer::new(on.cuda_context(), rounded)?;
        let yes: c_int = 1;
        let attribute = CUpointer_attribute::CU_POINTER_ATTRIBUTE_SYNC_MEMOPS;
        on.cuda_context().enter()?;
        // SAFETY: the memory is ours; the driver reads an int for this attribute.
        let result = unsafe {
            sys::cuPointerSetAttribute((&raw const yes).cast(), attribute, buffer.range(0, bytes))
        };
        let call = || "cuPointerSetAttribute of SYNC_MEMOPS".to_owned();
        on.cuda_context().checked(result, call)?;
        Ok(PeerBuffer { buffer, bytes })
    }

    /// Its size, in bytes; may be zero.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its address on the device, which no access of the host may use.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.buffer.range(0, self.bytes)
    }

    /// The buffer, for copies and kernels; it may be longer than what was asked for.
    #[must_use]
    pub fn buffer(&self) -> &DeviceBuffer {
        &self.buffer
    }

    /// The device that it is of, for people.
    #[must_use]
    pub fn device(&self) -> String {
        self.buffer.context().device().describe()
    }

    /// The memory as a dma-buf, and the offset of its first byte in that; `None` if the driver says
    /// that it cannot.
    ///
    /// # Errors
    /// If the driver can, and does not.
    #[expect(unsafe_code, reason = "calls of the CUDA driver, and its file")]
    pub fn dma_buf(&self) -> Result<Option<(OwnedFd, u64)>, CudaError> {
        let context = self.buffer.context();
        // A driver older than the attribute does not know it.
        let supported = Attribute::CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED;
        let says = context.device().attribute(supported).unwrap_or(0);
        if says == 0 || !has(EXPORT) {
            return Ok(None);
        }
        context.enter()?;
        let (mut base, mut size) = (0, 0);
        // SAFETY: the addresses are of variables, the memory is ours.
        let result =
            unsafe { sys::cuMemGetAddressRange_v2(&raw mut base, &raw mut size, self.address()) };
        context.checked(result, || "cuMemGetAddressRange".to_owned())?;
        let mut fd: c_int = -1;
        // SAFETY: the range is one allocation's, and of this kind of handle the driver writes a file
        // descriptor.
        let result = unsafe {
            sys::cuMemGetHandleForAddressRange(
                (&raw mut fd).cast(),
                base,
                size,
                CUmemRangeHandleType::CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD,
                0,
            )
        };
        context.checked(result, || format!("{EXPORT} of {size} B"))?;
        // SAFETY: the driver gave the descriptor to the caller.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Some((file, self.address() - base)))
    }
}

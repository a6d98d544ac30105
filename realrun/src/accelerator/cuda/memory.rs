//! Memory: buffers on the device, and pinned ones on the host.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use cudarc::driver::sys;

use super::super::cuda_error::CudaError;
use super::context::CudaContext;

/// Memory of a device, freed when dropped. Only copies and kernels reach it.
#[derive(Debug)]
pub struct DeviceBuffer {
    context: CudaContext,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl DeviceBuffer {
    /// So many bytes, of undefined content.
    ///
    /// # Errors
    /// If the device has no room.
    ///
    /// # Panics
    /// If `bytes` is zero.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn new(context: &CudaContext, bytes: usize) -> Result<DeviceBuffer, CudaError> {
        assert!(bytes > 0, "a buffer has bytes");
        context.enter()?;
        let mut address = 0;
        // SAFETY: the context is current; the address is of a variable.
        let result = unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes) };
        context.checked(result, || format!("cuMemAlloc of {bytes} B"))?;
        Ok(DeviceBuffer {
            context: context.clone(),
            address,
            bytes,
        })
    }

    /// Its size, in bytes; not zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no buffer is empty")]
    pub fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn context(&self) -> &CudaContext {
        &self.context
    }

    /// The address of byte `at`, of which and of those after it `bytes` are used.
    pub(super) fn range(&self, at: usize, bytes: usize) -> sys::CUdeviceptr {
        let end = at.checked_add(bytes);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "{bytes} bytes from byte {at} of a buffer of {}",
            self.bytes
        );
        self.address + at as u64
    }
}

impl Drop for DeviceBuffer {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the memory is ours; operations that use it borrow it and have ended. On a device
        // that is lost this fails, and the memory with it is gone.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuMemFree_v2(self.address) });
    }
}

/// Page-locked memory of the host, which copy engines reach without a core's help; freed when
/// dropped. It reads as the slice that it is.
#[derive(Debug)]
pub struct PinnedBuffer {
    context: CudaContext,
    start: NonNull<u8>,
    bytes: usize,
}

#[expect(unsafe_code, reason = "memory is of no thread")]
// SAFETY: the buffer owns its memory, as a `Vec` does.
unsafe impl Send for PinnedBuffer {}
#[expect(unsafe_code, reason = "memory is of no thread")]
// SAFETY: as above.
unsafe impl Sync for PinnedBuffer {}

impl PinnedBuffer {
    /// So many bytes, all zero. Not write-combined, so that the host reads it as fast as other
    /// memory.
    ///
    /// # Errors
    /// If the host has no room, or may not lock so much.
    ///
    /// # Panics
    /// If `bytes` is zero.
    #[expect(unsafe_code, reason = "a call of the CUDA driver, and its memory")]
    pub fn new(context: &CudaContext, bytes: usize) -> Result<PinnedBuffer, CudaError> {
        assert!(bytes > 0, "a buffer has bytes");
        context.enter()?;
        let mut start: *mut c_void = std::ptr::null_mut();
        // SAFETY: the context is current; the address is of a variable.
        let result = unsafe { sys::cuMemHostAlloc(&raw mut start, bytes, 0) };
        context.checked(result, || format!("cuMemHostAlloc of {bytes} B"))?;
        let start = NonNull::new(start.cast::<u8>()).expect("memory that was given has an address");
        // SAFETY: the driver gave so many bytes, which nobody else knows yet.
        unsafe { start.write_bytes(0, bytes) };
        Ok(PinnedBuffer {
            context: context.clone(),
            start,
            bytes,
        })
    }
}

impl Deref for PinnedBuffer {
    type Target = [u8];

    #[expect(unsafe_code, reason = "memory of the CUDA driver")]
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory was filled when it was made and is ours; the device writes to it only
        // in operations that borrow it exclusively.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for PinnedBuffer {
    #[expect(unsafe_code, reason = "memory of the CUDA driver")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

/// Memory of the host that copies from a device go to and that nobody reads, so that several may be
/// under way to it.
#[derive(Debug)]
pub struct Sink(Unread);

#[derive(Debug)]
enum Unread {
    Pinned(PinnedBuffer),
    Pageable(Vec<UnsafeCell<u8>>),
}

impl Sink {
    /// So many bytes of pinned memory.
    ///
    /// # Errors
    /// If the host has no room, or may not lock so much.
    ///
    /// # Panics
    /// If `bytes` is zero.
    pub fn pinned(context: &CudaContext, bytes: usize) -> Result<Sink, CudaError> {
        PinnedBuffer::new(context, bytes).map(|buffer| Sink(Unread::Pinned(buffer)))
    }

    /// So many bytes of pageable memory.
    #[must_use]
    pub fn pageable(bytes: usize) -> Sink {
        let cells = std::iter::repeat_with(|| UnsafeCell::new(0)).take(bytes);
        Sink(Unread::Pageable(cells.collect()))
    }

    /// Its size, in bytes.
    pub(super) fn size(&self) -> usize {
        match &self.0 {
            Unread::Pinned(buffer) => buffer.bytes,
            Unread::Pageable(cells) => cells.len(),
        }
    }

    /// Where it is; nothing of ours reads there.
    pub(super) fn address(&self) -> *mut c_void {
        match &self.0 {
            Unread::Pinned(buffer) => buffer.start.as_ptr().cast(),
            Unread::Pageable(cells) => cells.as_ptr().cast_mut().cast(),
        }
    }
}

impl Drop for PinnedBuffer {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the memory is ours, and operations that use it borrow it and have ended.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuMemFreeHost(self.start.as_ptr().cast()) });
    }
}

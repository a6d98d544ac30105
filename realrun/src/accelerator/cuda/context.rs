//! Contexts: what a process has of a device. Kernels of two contexts take turns on it.

use std::ffi::c_uint;
use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::{self, CUctx_flags, CUresult};

use super::super::cuda_error::CudaError;
use super::driver::{Device, checked};

/// What a thread does that waits for the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It sleeps.
    Block,
    /// It polls, and keeps a core busy.
    Spin,
}

/// A context on a device, of its own and not the device's primary one. Clones are the same context;
/// it is destroyed with the last of them and of what was made on it.
#[derive(Clone, Debug)]
pub struct CudaContext {
    owned: Arc<Owned>,
}

#[derive(Debug)]
struct Owned {
    raw: sys::CUcontext,
    device: Device,
    /// What it ended with, if it has: each later call fails alike, whatever it is.
    ended: OnceLock<CudaError>,
}

#[expect(
    unsafe_code,
    reason = "the driver's handles may be used by any thread (CUDA C++ Programming Guide, driver API)"
)]
// SAFETY: the handle is an address that only the driver follows, and it locks what it finds there.
unsafe impl Send for Owned {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the context is ours, and all that was made on it is gone, since that holds it. On a
        // device that is lost this fails, and nothing is left to be done.
        let _lost = unsafe { sys::cuCtxDestroy_v2(self.raw) };
    }
}

impl CudaContext {
    /// A new context on `device`.
    ///
    /// # Errors
    /// If the driver refuses, for instance because the device has no memory left for it.
    #[expect(unsafe_code, reason = "calls of the CUDA driver")]
    pub fn new(device: &Device, wait: Wait) -> Result<CudaContext, CudaError> {
        let flags = match wait {
            Wait::Block => CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC,
            Wait::Spin => CUctx_flags::CU_CTX_SCHED_SPIN,
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the device's handle is the driver's own; the address is of a variable.
        let result = unsafe { sys::cuCtxCreate_v2(&raw mut raw, flags as c_uint, device.handle) };
        checked(result, || device.describe(), || "cuCtxCreate".to_owned())?;
        let context = CudaContext {
            owned: Arc::new(Owned {
                raw,
                device: device.clone(),
                ended: OnceLock::new(),
            }),
        };
        let mut popped = std::ptr::null_mut();
        // SAFETY: the context was made current to this thread when it was made; each call makes it
        // current again, on whichever thread.
        let result = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
        context.checked(result, || "cuCtxPopCurrent".to_owned())?;
        Ok(context)
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.owned.device
    }

    /// Free and all memory of the device, in bytes.
    ///
    /// # Errors
    /// If the context has ended.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn memory(&self) -> Result<(u64, u64), CudaError> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current; the addresses are of variables.
        let result = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        self.checked(result, || "cuMemGetInfo".to_owned())?;
        Ok((free as u64, total as u64))
    }

    /// Waits until all that was asked of it has been done.
    ///
    /// # Errors
    /// If anything of that failed.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.enter()?;
        // SAFETY: the context is current.
        let result = unsafe { sys::cuCtxSynchronize() };
        self.checked(result, || "cuCtxSynchronize".to_owned())
    }

    /// Makes it the calling thread's, which every call needs.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context lives.
        let result = unsafe { sys::cuCtxSetCurrent(self.owned.raw) };
        self.checked(result, || "cuCtxSetCurrent".to_owned())
    }

    /// What `call` returned; of a context that has ended, what that ended with.
    pub(super) fn checked(
        &self,
        result: CUresult,
        call: impl FnOnce() -> String,
    ) -> Result<(), CudaError> {
        let checked = checked(result, || self.owned.device.describe(), call);
        checked.map_err(|error| match &error {
            CudaError::Call { cause, .. } if cause.ends_context() => {
                self.owned.ended.get_or_init(|| error).clone()
            }
            _ => error,
        })
    }
}

//! Graphs: kernels that are launched at once.

use cudarc::driver::sys::{self, CUstreamCaptureMode};

use super::super::cuda_error::CudaError;
use super::context::CudaContext;
use super::driver::has;
use super::stream::{CudaStream, Operations};

/// The functions that graphs need, beside those that everything does.
pub(super) const FUNCTIONS: [&str; 6] = [
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
];

/// Kernels in order, ready to be launched; destroyed when dropped.
#[derive(Debug)]
pub(super) struct CudaGraph {
    context: CudaContext,
    pub(super) raw: sys::CUgraphExec,
}

#[expect(unsafe_code, reason = "the driver's handles may be used by any thread")]
// SAFETY: the handle is an address that only the driver follows. One thread at a time uses it, since
// launching takes a stream that has been waited for.
unsafe impl Send for CudaGraph {}

/// What was captured; destroyed when dropped.
struct Captured<'a> {
    context: &'a CudaContext,
    raw: sys::CUgraph,
}

impl Drop for Captured<'_> {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        if self.raw.is_null() {
            return;
        }
        // SAFETY: the graph is ours; what was instantiated from it does not need it.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuGraphDestroy(self.raw) });
    }
}

impl CudaGraph {
    /// Makes a graph of the kernels that `queue` launches; they are not run.
    ///
    /// # Errors
    /// [`CudaError::NoGraphs`], what `queue` returns, or if the driver cannot make a graph of it.
    #[expect(unsafe_code, reason = "calls of the CUDA driver")]
    pub(super) fn of<'env>(
        stream: &'env CudaStream,
        queue: impl FnOnce(&Operations<'env>) -> Result<(), CudaError>,
    ) -> Result<CudaGraph, CudaError> {
        let missing: Vec<_> = FUNCTIONS.into_iter().filter(|name| !has(name)).collect();
        if !missing.is_empty() {
            return Err(CudaError::NoGraphs { missing });
        }
        let context = stream.context();
        context.enter()?;
        // Other threads may go on to make what they need on the device meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours, and nothing is queued on it.
        let result = unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) };
        context.checked(result, || "cuStreamBeginCapture".to_owned())?;
        let queued = stream.queue(queue);
        let mut captured = Captured {
            context,
            raw: std::ptr::null_mut(),
        };
        // However `queue` ended, so that the stream is as it was.
        let entered = context.enter();
        // SAFETY: the address is of a variable.
        let result = unsafe { sys::cuStreamEndCapture(stream.raw(), &raw mut captured.raw) };
        queued?;
        entered?;
        context.checked(result, || "cuStreamEndCapture".to_owned())?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the address is of a variable, the graph is ours.
        let result = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut raw, captured.raw, 0) };
        context.checked(result, || "cuGraphInstantiate".to_owned())?;
        Ok(CudaGraph {
            context: context.clone(),
            raw,
        })
    }
}

impl Drop for CudaGraph {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the graph is ours; launches borrow it and have ended.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuGraphExecDestroy(self.raw) });
    }
}

//! What computes: the contexts that preprocess and infer, behind one trait for every back end.
//!
//! An [`Accelerator`] is a device; a [`Context`] is one inference context on it with its own
//! buffers, as TensorRT's execution context with its CUDA stream.
//! A request passes four phases, each a call, so that the caller can time it:
//! [`copy_in`](Context::copy_in) (H2D), [`preprocess`](Context::preprocess),
//! [`infer`](Context::infer) and [`copy_out`](Context::copy_out) (D2H).
//! The CPU back end ([`cpu`]) has the same phases: its "device memory" is other host memory, and
//! its copies are real copies. That of GPUs ([`cuda`]) is there with the feature `cuda`.
//!
//! Left out: what the phases cost. They are timed by who calls them, or by the device's own clock
//! ([`Context::device_times`]).

pub mod cpu;
#[cfg_attr(not(feature = "cuda"), path = "no_cuda.rs")]
pub mod cuda;
mod cuda_error;
mod error;
mod folded;
pub mod nets;
pub mod preprocess;
mod spec;
pub mod synthetic;

pub use cuda_error::{Cause, CudaError};
pub use error::AcceleratorError;
pub use folded::folded;
pub use spec::{
    ContextSpec, GpuPlace, Input, KernelSpec, KernelsSpec, Line, NetSpec, SyntheticSpec, Weights,
    Workload,
};

use std::time::Duration;

use cuda::PeerBuffer;

/// A device that can hold inference contexts.
pub trait Accelerator: Send + Sync {
    /// Creates a context for `spec`, to be used by the calling thread only.
    ///
    /// Allocates every buffer, loads the weights (once for all contexts of one accelerator that
    /// share them) and runs one forward pass of the largest batch, so that the first request
    /// pays for none of it.
    ///
    /// # Errors
    ///
    /// What [`ContextSpec::check`] finds, weights that cannot be read or do not fit the net, or a
    /// device that fails.
    fn context(&self, spec: &ContextSpec) -> Result<Box<dyn Context>, AcceleratorError>;

    /// What this device is, for the header of a run.
    fn describe(&self) -> Description;
}

/// One inference context: the buffers and the net of the requests that run together.
///
/// Used by the thread that created it. The order of calls for a batch of `n` is `copy_in` for
/// the slots `0..n`, `preprocess(n)`, `infer(n)`, `copy_out` for the slots `0..n`; a call may be
/// repeated, and then works on what the calls before it left.
///
/// Calls take effect in the order in which they are made. The two copies have completed, as far
/// as the host's buffer is concerned, when they return; a copy to a device from pinned memory of
/// the context may still be under way behind `copy_in`. `preprocess` and `infer` may return
/// before the work is done: a caller that times them by its own clock calls
/// [`synchronize`](Context::synchronize) first.
pub trait Context {
    /// Copies one request's payload from the host to the device buffer of batch slot `slot`
    /// (H2D).
    ///
    /// # Errors
    ///
    /// A payload whose length is not what the workload takes; the slot then keeps its content.
    ///
    /// # Panics
    ///
    /// If `slot` is not below the context's `max_batch`.
    fn copy_in(&mut self, slot: usize, payload: &[u8]) -> Result<(), AcceleratorError>;

    /// Turns the raw inputs of the slots `0..batch` into the net's input; nothing to do for
    /// preprocessed input.
    ///
    /// # Errors
    ///
    /// A device that fails.
    ///
    /// # Panics
    ///
    /// If `batch` is zero or above the context's `max_batch`.
    fn preprocess(&mut self, batch: usize) -> Result<(), AcceleratorError>;

    /// As [`preprocess`](Self::preprocess), of a batch of which some requests lie where `places` say,
    /// as in [`infer_in_place`](Self::infer_in_place).
    ///
    /// # Errors
    ///
    /// A device that fails.
    ///
    /// # Panics
    ///
    /// As `infer_in_place`.
    fn preprocess_in_place(
        &mut self,
        places: &[Option<InPlace<'_>>],
    ) -> Result<(), AcceleratorError> {
        assert_no_place(places);
        self.preprocess(places.len())
    }

    /// Runs the net on the slots `0..batch`.
    ///
    /// # Errors
    ///
    /// A device that fails.
    ///
    /// # Panics
    ///
    /// If `batch` is zero or above the context's `max_batch`.
    fn infer(&mut self, batch: usize) -> Result<(), AcceleratorError>;

    /// Runs the net on a batch of which some requests lie in memory of the device that is not the
    /// context's: those of `places` that say where. The others lie in their slots.
    ///
    /// # Errors
    ///
    /// A device that fails.
    ///
    /// # Panics
    ///
    /// If there are no places, or more than the context's `max_batch`; if memory is too short; or if
    /// a place says where and the device has no such memory.
    fn infer_in_place(&mut self, places: &[Option<InPlace<'_>>]) -> Result<(), AcceleratorError> {
        assert_no_place(places);
        self.infer(places.len())
    }

    /// Copies the output of slot `slot` to the front of `reply` on the host (D2H) and returns its
    /// length in bytes.
    ///
    /// # Errors
    ///
    /// A `reply` shorter than [`reply_bytes`](Context::reply_bytes).
    ///
    /// # Panics
    ///
    /// If `slot` was not part of the last batch that was inferred.
    fn copy_out(&mut self, slot: usize, reply: &mut [u8]) -> Result<usize, AcceleratorError>;

    /// Waits until everything asked of this context is done; returns at once where calls are
    /// synchronous.
    ///
    /// # Errors
    ///
    /// A device that failed at something asked of it before.
    fn synchronize(&mut self) -> Result<(), AcceleratorError>;

    /// What the last phase took by the device's own clock; `None` if the device has none beside the
    /// host's, and then who calls times it.
    fn device_times(&self) -> Option<&PhaseTimes> {
        None
    }

    /// Longest payload of one request, in bytes.
    fn payload_bytes(&self) -> usize;

    /// Length of the reply to one request, in bytes.
    fn reply_bytes(&self) -> usize;
}

/// Panics if a request lies in memory of a device, on one that has none.
fn assert_no_place(places: &[Option<InPlace<'_>>]) {
    assert!(
        places.iter().all(Option::is_none),
        "only GPUs have memory that messages arrive in"
    );
}

/// Where a request lies in memory of a device that network adapters reach.
#[derive(Debug, Clone, Copy)]
pub struct InPlace<'a> {
    /// Its payload, from the first byte on.
    pub input: &'a PeerBuffer,
    /// Bytes of its payload.
    pub input_bytes: usize,
    /// Where its reply goes, from the first byte on.
    pub output: &'a PeerBuffer,
}

/// What a phase took by the clock of its device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PhaseTimes {
    /// What the host's monotonic clock showed before the first operation was handed over, in
    /// nanoseconds. The device began no earlier.
    pub began_ns: u64,
    /// When each operation of the phase had ended, counted from when the device began with the first:
    /// one of a copy, one a kernel of an inference, or one of all kernels that are launched as a graph.
    /// Empty if the phase had nothing to do.
    pub ends: Vec<Duration>,
}

impl PhaseTimes {
    /// From the beginning until the last operation has ended; `None` if there was none.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        self.ends.last().copied()
    }
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name of the back end, such as `cpu`.
    pub backend: &'static str,
    /// The device in its maker's words, such as the processor's model name.
    pub device: String,
    /// What to check before trusting measurements made on it; empty if nothing.
    pub warnings: Vec<String>,
}

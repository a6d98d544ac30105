//! Why a context cannot be made or cannot do what it is asked.

use std::path::PathBuf;

use super::CudaError;

/// A failure of an accelerator or of one of its contexts.
///
/// After an error of a [`Context`](super::Context) call other than
/// [`Compute`](Self::Compute) and [`Cuda`](Self::Cuda), the context is as it was before the call and
/// may be used further.
#[derive(Debug, thiserror::Error)]
pub enum AcceleratorError {
    /// A net's name that is none of [`NetName::ALL`](super::nets::NetName::ALL).
    #[error("unknown net `{found}`, allowed: {}", allowed.join(", "))]
    UnknownNet {
        /// The name as given.
        found: String,
        /// Every name there is.
        allowed: Vec<&'static str>,
    },
    /// A size of the context that must not be zero.
    #[error("{what} must be at least 1")]
    Zero {
        /// Which size, such as `max batch`.
        what: &'static str,
    },
    /// An input so small that a layer of the net would have no output.
    #[error("{net} takes inputs of side {min} or more, found {side}")]
    SideTooSmall {
        /// Name of the net.
        net: &'static str,
        /// Side asked for, in pixels.
        side: usize,
        /// Smallest side of this net, in pixels.
        min: usize,
    },
    /// An input whose side lies between those that the net takes.
    #[error("{net} takes inputs of a side that is a multiple of {step}, found {side}")]
    SideNotMultiple {
        /// Name of the net.
        net: &'static str,
        /// Side asked for, in pixels.
        side: usize,
        /// What it must be a multiple of, in pixels.
        step: usize,
    },
    /// A payload whose length is not the one that the input's dimensions give.
    #[error("payload has {found} bytes, {input} has {expected}")]
    PayloadLength {
        /// What the context takes, such as `a raw image of 500x546`.
        input: String,
        /// Length it should have, in bytes.
        expected: usize,
        /// Length it has, in bytes.
        found: usize,
    },
    /// A payload of a synthetic workload that does not fit its buffer.
    #[error("payload has {found} bytes, the context takes at most {max}")]
    PayloadTooLong {
        /// Longest payload, in bytes.
        max: usize,
        /// Length it has, in bytes.
        found: usize,
    },
    /// A reply buffer that the output does not fit.
    #[error("reply buffer has {found} bytes, the reply has {needed}")]
    ReplyTooShort {
        /// Length of the reply, in bytes.
        needed: usize,
        /// Length of the buffer, in bytes.
        found: usize,
    },
    /// A weights file that cannot be read or is not in the safetensors format.
    #[error("failed to read weights from {}", path.display())]
    ReadWeights {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: candle_core::Error,
    },
    /// A weights file without a tensor of the net: of another net, or with other names.
    #[error("{}: no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A weights file whose tensor has another shape than the net's.
    #[error("{}: tensor `{tensor}` has shape {found:?}, the net's has {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Shape in the net.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// The worker threads of a context could not be started, or its thread belongs to another
    /// pool of threads already.
    #[error("failed to make the context's pool of {threads} threads")]
    Threads {
        /// Number of threads asked for.
        threads: usize,
        /// What rayon says.
        source: rayon::ThreadPoolBuildError,
    },
    /// A second context on one thread asks for another number of threads than the first.
    #[error("this thread's contexts have {existing} threads each, found {found}")]
    ThreadsDiffer {
        /// Number of threads of the contexts that are there.
        existing: usize,
        /// Number of threads asked for.
        found: usize,
    },
    /// A workload that the back end does not run.
    #[error("back end `{backend}` does not run this work; the cores run nets, GPUs run kernels")]
    NotOnThis {
        /// Name of the back end.
        backend: &'static str,
    },
    /// A kernel whose grid is too large.
    #[error("kernel {kernel} has {blocks} blocks a request, too many for a batch of {max_batch}")]
    Blocks {
        /// Its number, from zero.
        kernel: usize,
        /// Blocks for one request.
        blocks: u32,
        /// Number of batch slots.
        max_batch: usize,
    },
    /// A GPU or its driver failed. The content of the context's buffers is undefined afterwards, and
    /// where the device is lost every further call fails.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// The device or its library failed. The content of the context's buffers is undefined
    /// afterwards.
    #[error("{phase} failed")]
    Compute {
        /// The phase that failed, such as `inference`.
        phase: &'static str,
        /// What the library says.
        source: candle_core::Error,
    },
}

impl AcceleratorError {
    /// Maps a failure of the library during `phase`.
    pub(crate) fn compute(phase: &'static str) -> impl FnOnce(candle_core::Error) -> Self {
        move |source| Self::Compute { phase, source }
    }
}

/// The part of a reply buffer that a reply of `needed` bytes fills.
pub(super) fn room_for(needed: usize, reply: &mut [u8]) -> Result<&mut [u8], AcceleratorError> {
    let found = reply.len();
    reply
        .get_mut(..needed)
        .ok_or(AcceleratorError::ReplyTooShort { needed, found })
}

//! What a context is asked to be.

use std::path::PathBuf;
use std::time::Duration;

use schema::scenario::{CopyBack, Device, GpuUse, HostMemory, HostWait, LaunchFile, RawImage};

use super::AcceleratorError;
use super::nets::NetName;

/// Number of colour channels of every image and input tensor.
pub(crate) const CHANNELS: usize = 3;

/// What a context computes and how large its buffers are.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextSpec {
    /// What it computes.
    pub workload: Workload,
    /// Number of batch slots: the most requests that run together, at least 1.
    pub max_batch: usize,
    /// Threads that share the compute of one forward pass on a CPU, at least 1; a GPU ignores it.
    ///
    /// With 1, all compute is on the thread that calls, and that thread's CPU clock is the
    /// compute time. With more, it is not.
    pub threads: usize,
}

/// What is computed for a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Workload {
    /// A neural net.
    Net(NetSpec),
    /// Work of a given length without meaning.
    Synthetic(SyntheticSpec),
    /// A sequence of kernels of given lengths, on a GPU.
    Kernels(KernelsSpec),
}

/// Where on a GPU inference contexts are, and how they use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuPlace {
    /// Number of the GPU among those that the driver shows to this process.
    pub device: u32,
    /// Priority of the streams: 0, or less for those whose kernels go first.
    pub priority: i32,
    /// The host memory that copies go to and from.
    pub host_memory: HostMemory,
    /// What a thread does while the GPU works for it.
    pub wait: HostWait,
    /// How the kernels of a net are launched.
    pub launch: LaunchFile,
    /// How results are copied back.
    pub d2h: CopyBack,
}

impl GpuPlace {
    /// On a device, as a stage uses it. An instance of a partitioned GPU is the only device that its
    /// process sees.
    #[must_use]
    pub fn of(device: Device, uses: &GpuUse) -> GpuPlace {
        GpuPlace {
            device: match device.instance {
                Some(_) => 0,
                None => device.gpu,
            },
            priority: uses.priority,
            host_memory: uses.host_memory,
            wait: uses.wait,
            launch: uses.launch,
            d2h: uses.d2h,
        }
    }

    /// On the GPU of this number, as a stage uses it that says nothing else.
    #[must_use]
    pub const fn plain(device: u32) -> GpuPlace {
        GpuPlace {
            device,
            priority: 0,
            host_memory: HostMemory::Pinned,
            wait: HostWait::Block,
            launch: LaunchFile::Kernels,
            d2h: CopyBack::Stream,
        }
    }
}

/// Kernels that run one after the other, and what is copied before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelsSpec {
    /// The kernels.
    pub kernels: Vec<KernelSpec>,
    /// Longest payload, in bytes; a request may carry less, and of none nothing is copied.
    pub max_payload_bytes: usize,
    /// Length of each reply, in bytes; of zero nothing is copied back.
    pub output_bytes: usize,
    /// The image that each payload is, which is turned into a tensor before the kernels; its bytes are
    /// those of the longest payload.
    pub raw: Option<RawImage>,
}

/// A kernel of like blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelSpec {
    /// Blocks for one request, at least 1; a batch of `n` has `n` times as many.
    pub blocks: u32,
    /// Threads of a block, at least 1.
    pub threads: u32,
    /// Shared memory of a block, in bytes.
    pub shared_memory: u32,
    /// How long a block computes, in nanoseconds.
    pub time_ns: u64,
    /// What a block reads from the GPU's memory meanwhile, in bytes.
    pub dram_bytes: u64,
}

/// What an inference context is given at once: passes that follow each other without the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it runs.
    pub place: GpuPlace,
    /// Number of its process on that device; those of one share a CUDA context.
    pub process: usize,
    /// What a pass does; each of its requests has a payload of the longest length.
    pub work: KernelsSpec,
    /// Requests of a pass, at least 1.
    pub batch: usize,
    /// Number of passes.
    pub passes: usize,
}

impl Line {
    /// Operations of a pass: copies in, images that become tensors, kernels or their graph, copies out.
    #[must_use]
    pub fn n_operations(&self) -> usize {
        self.n_copies_in() + self.n_images() + self.n_launches() + self.n_copies_out()
    }

    /// Images of a pass that become tensors: one a request, if payloads are raw.
    #[must_use]
    pub fn n_images(&self) -> usize {
        self.work.raw.map_or(0, |_| self.batch)
    }

    /// Launches of a pass: one a kernel, or one of all as a graph.
    #[must_use]
    pub fn n_launches(&self) -> usize {
        match self.place.launch {
            LaunchFile::Kernels => self.work.kernels.len(),
            LaunchFile::Graph => self.work.kernels.len().min(1),
        }
    }

    /// Copies in of a pass: one a request, none of requests without bytes.
    #[must_use]
    pub fn n_copies_in(&self) -> usize {
        if self.work.max_payload_bytes > 0 {
            self.batch
        } else {
            0
        }
    }

    /// Copies out of a pass: one a request, none of replies without bytes.
    #[must_use]
    pub fn n_copies_out(&self) -> usize {
        if self.work.output_bytes > 0 {
            self.batch
        } else {
            0
        }
    }
}

/// A net with its input and weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetSpec {
    /// The architecture.
    pub net: NetName,
    /// Side of the net's square input, in pixels; at least [`NetName::min_side`], and a multiple of
    /// [`NetName::side_step`].
    pub side: usize,
    /// Where the weights come from.
    pub weights: Weights,
    /// What a request carries.
    pub input: Input,
}

/// Where a net's weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// Random values, the same for equal seeds; see [`nets`](super::nets) on their scale.
    Random {
        /// Seed of every tensor's stream.
        seed: u64,
    },
    /// A safetensors file with the names of the net's parameters in PyTorch.
    Safetensors {
        /// The file.
        path: PathBuf,
    },
}

/// What the payload of a request to a net is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Decoded 8-bit RGB pixels, row by row, channels interleaved (HWC): `3 * width * height`
    /// bytes. The context resizes and normalises them.
    Raw {
        /// Width of the image in pixels, at least 1.
        width: usize,
        /// Height of the image in pixels, at least 1.
        height: usize,
    },
    /// The net's input tensor, 32-bit floats in little-endian order, plane by plane (CHW):
    /// `12 * side * side` bytes.
    Preprocessed,
}

/// Work of a given length, done by a calibrated loop; see [`synthetic`](super::synthetic).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticSpec {
    /// Preprocessing of each request of a batch; zero is none.
    pub preprocess: Duration,
    /// Part of the inference that does not depend on the batch; zero is none.
    pub infer_fixed: Duration,
    /// Part of the inference for each request of a batch; zero is none.
    pub infer_per_request: Duration,
    /// Longest payload, in bytes; a request may carry less.
    pub max_payload_bytes: usize,
    /// Length of each reply, in bytes; zero is an empty reply.
    pub output_bytes: usize,
}

impl ContextSpec {
    /// Checks the sizes.
    ///
    /// # Errors
    ///
    /// [`Zero`](AcceleratorError::Zero), [`SideTooSmall`](AcceleratorError::SideTooSmall) or
    /// [`SideNotMultiple`](AcceleratorError::SideNotMultiple).
    pub fn check(&self) -> Result<(), AcceleratorError> {
        at_least_one("max batch", self.max_batch)?;
        at_least_one("number of threads", self.threads)?;
        let net = match &self.workload {
            Workload::Net(net) => net,
            Workload::Synthetic(_) => return Ok(()),
            Workload::Kernels(kernels) => return kernels.check(self.max_batch),
        };
        if let Input::Raw { width, height } = net.input {
            at_least_one("image width", width)?;
            at_least_one("image height", height)?;
        }
        let min = net.net.min_side();
        if net.side < min {
            return Err(AcceleratorError::SideTooSmall {
                net: net.net.as_str(),
                side: net.side,
                min,
            });
        }
        let step = net.net.side_step();
        if !net.side.is_multiple_of(step) {
            return Err(AcceleratorError::SideNotMultiple {
                net: net.net.as_str(),
                side: net.side,
                step,
            });
        }
        Ok(())
    }
}

impl KernelsSpec {
    fn check(&self, max_batch: usize) -> Result<(), AcceleratorError> {
        if let Some(image) = self.raw {
            at_least_one("image width", image.width as usize)?;
            at_least_one("image height", image.height as usize)?;
            at_least_one("side of the tensor", image.side as usize)?;
            let expected = image.raw_bytes().as_usize();
            if self.max_payload_bytes != expected {
                return Err(AcceleratorError::PayloadLength {
                    input: image_in_words(image),
                    expected,
                    found: self.max_payload_bytes,
                });
            }
        }
        for (index, kernel) in self.kernels.iter().enumerate() {
            at_least_one("number of blocks", kernel.blocks as usize)?;
            at_least_one("number of threads of a block", kernel.threads as usize)?;
            let all = u32::try_from(max_batch).ok();
            if all.and_then(|n| kernel.blocks.checked_mul(n)).is_none() {
                return Err(AcceleratorError::Blocks {
                    kernel: index,
                    blocks: kernel.blocks,
                    max_batch,
                });
            }
        }
        Ok(())
    }
}

impl NetSpec {
    /// Length of a request's payload, in bytes.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self.input {
            Input::Raw { width, height } => CHANNELS * width * height,
            Input::Preprocessed => CHANNELS * self.side * self.side * size_of::<f32>(),
        }
    }

    /// The input in words, for messages.
    pub(crate) fn input_in_words(&self) -> String {
        match self.input {
            Input::Raw { width, height } => raw_in_words(width, height),
            Input::Preprocessed => format!("a preprocessed tensor of 3x{0}x{0}", self.side),
        }
    }
}

/// The pixels of an image in words, for messages.
pub(crate) fn image_in_words(image: RawImage) -> String {
    raw_in_words(image.width as usize, image.height as usize)
}

fn raw_in_words(width: usize, height: usize) -> String {
    format!("a raw image of {width}x{height}")
}

fn at_least_one(what: &'static str, value: usize) -> Result<(), AcceleratorError> {
    if value == 0 {
        Err(AcceleratorError::Zero { what })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ContextSpec {
        ContextSpec {
            workload: Workload::Net(net(Input::Preprocessed)),
            max_batch: 1,
            threads: 1,
        }
    }

    fn net(input: Input) -> NetSpec {
        NetSpec {
            net: NetName::Squeezenet,
            side: 224,
            weights: Weights::Random { seed: 1 },
            input,
        }
    }

    #[test]
    fn payloads_are_those_of_the_reference_study() {
        assert_eq!(net(Input::Preprocessed).payload_bytes(), 602_112);
        assert_eq!(
            net(Input::Raw {
                width: 500,
                height: 546
            })
            .payload_bytes(),
            819_000
        );
    }

    #[test]
    fn a_size_of_zero_is_named() {
        let zero_batch = ContextSpec {
            max_batch: 0,
            ..base()
        };
        let zero_threads = ContextSpec {
            threads: 0,
            ..base()
        };
        let zero_width = ContextSpec {
            workload: Workload::Net(net(Input::Raw {
                width: 0,
                height: 1,
            })),
            ..base()
        };
        let text = [zero_batch, zero_threads, zero_width]
            .map(|spec| spec.check().unwrap_err().to_string())
            .join("\n");
        insta::assert_snapshot!(text, @r"
        max batch must be at least 1
        number of threads must be at least 1
        image width must be at least 1
        ");
    }

    #[test]
    fn a_side_too_small_for_the_net_is_an_error() {
        let spec = ContextSpec {
            workload: Workload::Net(NetSpec {
                side: 16,
                ..net(Input::Preprocessed)
            }),
            ..base()
        };
        insta::assert_snapshot!(
            spec.check().unwrap_err(),
            @"squeezenet1.1 takes inputs of side 17 or more, found 16"
        );
    }

    #[test]
    fn a_side_between_those_of_the_net_is_an_error() {
        let spec = ContextSpec {
            workload: Workload::Net(NetSpec {
                net: NetName::Yolov4,
                side: 400,
                ..net(Input::Preprocessed)
            }),
            ..base()
        };
        insta::assert_snapshot!(
            spec.check().unwrap_err(),
            @"yolov4 takes inputs of a side that is a multiple of 32, found 400"
        );
    }
}

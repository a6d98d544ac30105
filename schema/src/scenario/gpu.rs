//! GPUs: those of a host, how a stage shares them, and work that is given kernel by kernel.
//!
//! The `…File` types mirror the file; the others are checked, with defaults filled in and names
//! resolved.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, SimDuration};

/// A GPU of a host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GpuFile {
    /// The profile's part that gives its parameters and costs.
    pub part: String,
    /// Clock relative to that at which the part was measured, as a power cap brings about; 1 if not
    /// given. Computing slows by it, memory and copies do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<f64>,
    /// The instances that it is partitioned into; none if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mig: Vec<MigFile>,
    /// What joins it to the other GPUs of its host; if not given, as its part is made: PCIe where
    /// the part has the cost `peer/pcie`, otherwise NVLink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// Where it is seen from the cores and the memory of its host; `near` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<Socket>,
    /// What is between it and the network adapter of its host; if not given, `root-complex` where
    /// both are at one socket, else `cross-socket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gdr_path: Option<GdrPath>,
}

/// At which socket of its host a GPU or a network adapter is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Socket {
    /// At that of the cores and the memory that its host uses.
    #[default]
    Near,
    /// At the other: what it moves from or to that memory crosses what joins the two.
    Far,
}

/// What is between a GPU and the network adapter of its host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GdrPath {
    /// A PCIe switch.
    Switch,
    /// The root complex of a socket.
    RootComplex,
    /// Two sockets and what joins them.
    CrossSocket,
}

impl GdrPath {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            GdrPath::Switch => "switch",
            GdrPath::RootComplex => "root-complex",
            GdrPath::CrossSocket => "cross-socket",
        }
    }
}

/// What joins a GPU to others of its host. Copies between two go over NVLink if both have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// Links of their own, with the bandwidth of the cost `peer/nvlink`.
    Nvlink,
    /// Their PCIe links, which copies to and from the host and NICs use too.
    Pcie,
}

impl Peers {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Peers::Nvlink => "nvlink",
            Peers::Pcie => "pcie",
        }
    }
}

/// An instance of a partitioned GPU (MIG), in slices of the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MigFile {
    /// Compute slices: its part of the multiprocessors.
    pub compute: u32,
    /// Memory slices: its part of the memory and of its bandwidth.
    pub memory: u32,
}

/// How a serving stage uses GPUs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GpuUseFile {
    /// The GPUs of its host: `"0"` the first, `"1.0"` the first instance of the second; the first
    /// if not given. Each has as many contexts as the keys below say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Processes on each, with a context each; one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Streams of each process, with an inference context each; one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// Name of a process that it shares with the stages that say the same; only with one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its processes are clients of the Multi-Process Service; otherwise processes take turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mps: Option<MpsFile>,
    /// Priority of its streams: 0, or less for those that go first; 0 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// How kernels are launched; one by one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchFile>,
    /// The host memory that copies go to and from; pinned if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_memory: Option<HostMemory>,
    /// How results are copied back; in the request's stream if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d2h: Option<CopyBack>,
    /// What its thread does while the GPU works; it sleeps if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<HostWait>,
    /// How the inputs and outputs of a batch are copied; each on its own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<CopiesOf>,
    /// GPU memory that each connection of a client keeps; if not given, over `gdr` what its largest
    /// request and its largest reply take, and otherwise none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_buffer: Option<Bytes>,
}

/// A client of the Multi-Process Service.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MpsFile {
    /// Most of the GPU's threads that a process may use, in percent; 100 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<f64>,
    /// Whether its kernels go before those of other clients; `normal` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<MpsPriority>,
}

/// The priority of a client of the Multi-Process Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MpsPriority {
    /// Before the others.
    High,
    /// As the others.
    #[default]
    Normal,
}

/// How the kernels of a net are launched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchFile {
    /// One after the other.
    #[default]
    Kernels,
    /// All at once, as a CUDA graph.
    Graph,
}

/// Host memory that copies go to and from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostMemory {
    /// Locked: the copy engine reaches it.
    #[default]
    Pinned,
    /// Plain heap memory: a core copies through a locked buffer.
    Pageable,
}

/// How results are copied back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyBack {
    /// In the stream of the net.
    #[default]
    Stream,
    /// By a blocking copy on the legacy default stream, which waits for all other streams of its
    /// process, and they for it.
    DefaultStream,
}

/// What a thread does while the GPU works for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostWait {
    /// It sleeps.
    #[default]
    Block,
    /// It polls, and keeps a core busy.
    Spin,
}

/// What is copied at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopiesOf {
    /// The input or output of a request.
    #[default]
    Request,
    /// Those of a batch, gathered in one buffer.
    Batch,
}

/// A net that only a profile knows, with the sizes that it takes and gives. Only the engine serves
/// it, on a GPU or on cores.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfiledFile {
    /// The name under which the profile has it.
    pub name: String,
    /// Size of a request.
    pub input: Bytes,
    /// Size of a reply.
    pub output: Bytes,
    /// Whether the input is preprocessed on the server; no if not given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
}

/// Work on a GPU given kernel by kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelsFile {
    /// Size of a request; nothing is copied to the GPU if it is zero.
    pub input: Bytes,
    /// Size of a reply; nothing is copied back if it is zero.
    pub output: Bytes,
    /// The image that a request is, which the GPU turns into a tensor before the work; no image if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawImage>,
    /// What the GPU does, in order.
    pub work: Vec<WorkFile>,
}

/// An image of 8-bit RGB pixels, and the tensor that a GPU makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawImage {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Side of the tensor, in pixels: three planes of `side` by `side` 32-bit floats.
    pub side: u32,
}

impl RawImage {
    /// Size of the pixels.
    #[must_use]
    pub fn raw_bytes(self) -> Bytes {
        crate::nets::raw_bytes(self.width, self.height)
    }

    /// Size of the tensor.
    #[must_use]
    pub fn tensor_bytes(self) -> Bytes {
        crate::nets::tensor_bytes(self.side)
    }
}

/// An operation of a stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WorkFile {
    /// Runs a kernel.
    Kernel(KernelFile),
    /// Copies to another GPU of the host, where the work goes on.
    PeerCopy {
        /// That GPU, named as in `devices`.
        to: String,
        /// How much.
        size: Bytes,
    },
}

/// A kernel: a grid of like blocks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelFile {
    /// Its name, in timelines; `kernel-N` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Blocks for one request; a batch of `n` has `n` times as many.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Registers of a thread; 0, which never limits, if not given.
    #[serde(default)]
    pub registers: u32,
    /// Shared memory of a block; 0, which never limits, if not given.
    #[serde(default)]
    pub shared_memory: Bytes,
    /// How long a block runs at the part's clock, alone in its use of memory.
    pub time: SimDuration,
    /// What a block reads from and writes to the GPU's memory; nothing if not given.
    #[serde(default)]
    pub dram: Bytes,
    /// Time from when it could start until its blocks may; the part's `launch-interval`, or in a
    /// graph `graph-launch-interval`, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<SimDuration>,
}

/// A checked GPU of a host.
#[derive(Clone, PartialEq, Debug)]
pub struct Gpu {
    /// The profile's part that gives its parameters and costs.
    pub part: String,
    /// Clock relative to that at which the part was measured.
    pub clock: f64,
    /// The instances that it is partitioned into; empty if it is whole.
    pub mig: Vec<MigFile>,
    /// What joins it to the other GPUs of its host; `None` if its part decides.
    pub peers: Option<Peers>,
    /// Where it is.
    pub socket: Socket,
    /// What is between it and the network adapter of its host.
    pub gdr_path: GdrPath,
}

/// A GPU of a host, or an instance of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Device {
    /// Number of the GPU on its host.
    pub gpu: u32,
    /// Number of the instance of a partitioned GPU.
    pub instance: Option<u32>,
}

/// How a serving stage uses GPUs, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct GpuUse {
    /// The devices of its host, at least one, each once.
    pub devices: Vec<Device>,
    /// Processes on each device.
    pub processes: u32,
    /// Streams of each process. The stage has `devices · processes · streams` inference contexts,
    /// numbered stream by stream within process by process within device by device.
    pub streams: u32,
    /// Name of the process that it shares with other stages.
    pub process: Option<String>,
    /// Its processes are clients of the Multi-Process Service.
    pub mps: Option<Mps>,
    /// Priority of its streams, from 0 down.
    pub priority: i32,
    /// How kernels are launched.
    pub launch: LaunchFile,
    /// The host memory that copies go to and from.
    pub host_memory: HostMemory,
    /// How results are copied back.
    pub d2h: CopyBack,
    /// What its thread does while the GPU works.
    pub wait: HostWait,
    /// What is copied at once.
    pub copies: CopiesOf,
    /// GPU memory that each connection of a client keeps on each device; `None` for as much as it
    /// needs.
    pub connection_buffer: Option<Bytes>,
}

/// A checked client of the Multi-Process Service.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mps {
    /// Most of the GPU's threads that a process may use, in percent, above 0 and to 100.
    pub percentage: f64,
    /// Whether its kernels go before those of other clients.
    pub priority: MpsPriority,
}

/// Checked work given kernel by kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernels {
    /// Size of a request.
    pub input: Bytes,
    /// Size of a reply.
    pub output: Bytes,
    /// The image that a request is, which the GPU turns into a tensor first.
    pub raw: Option<RawImage>,
    /// What the GPU does, in order.
    pub work: Vec<GpuWork>,
}

/// A checked operation of a stream.
#[derive(Clone, PartialEq, Debug)]
pub enum GpuWork {
    /// Runs a kernel; its name is filled in.
    Kernel(KernelFile),
    /// Copies to another GPU of the host, where the work goes on.
    PeerCopy {
        /// That device.
        to: Device,
        /// How much.
        size: Bytes,
    },
}

//! What a GPU is made of.

use schema::scenario::Socket;
use schema::units::SimDuration;

use super::copies::LinkSpec;
use super::sms::Room;
use super::work::{BlockShape, Phase};

/// What all that moves between the memory of a host and the devices on its bus shares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HostSpec {
    /// Bandwidth of the root complex of each socket in each direction, into the memory and out of it,
    /// in bytes per second; infinite if it never limits.
    pub root_complex: f64,
    /// Bandwidth of the memory, of reads and writes together, in bytes per second; infinite if it
    /// never limits.
    pub memory: f64,
    /// Bandwidth of what joins its sockets in each direction, in bytes per second; infinite if it
    /// never limits.
    pub socket_bandwidth: f64,
    /// Time in which a word crosses that, one way.
    pub socket_latency: SimDuration,
}

impl HostSpec {
    /// A host that never limits.
    pub const UNLIMITED: HostSpec = HostSpec {
        root_complex: f64::INFINITY,
        memory: f64::INFINITY,
        socket_bandwidth: f64::INFINITY,
        socket_latency: SimDuration::ZERO,
    };

    /// Whether it may limit what moves.
    pub const fn is_limited(&self) -> bool {
        self.root_complex.is_finite()
            || self.memory.is_finite()
            || self.socket_bandwidth.is_finite()
    }
}

/// A GPU of a host.
#[derive(Clone, PartialEq, Debug)]
pub struct GpuSpec {
    /// Its link to the host.
    pub link: LinkSpec,
    /// At which socket of the host that is.
    pub socket: Socket,
    /// The whole of it, or its instances if it is partitioned; at least one.
    pub devices: Vec<DeviceSpec>,
}

/// The multiprocessors and the memory of a GPU, or of an instance of a partitioned one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DeviceSpec {
    /// Number of streaming multiprocessors.
    pub sms: u32,
    /// Threads that each holds at once.
    pub threads_per_sm: u32,
    /// Blocks that each holds at once.
    pub blocks_per_sm: u32,
    /// Registers of each; zero if they never limit.
    pub registers_per_sm: u32,
    /// Shared memory of each, in bytes; zero if it never limits.
    pub shared_memory_per_sm: u64,
    /// Bandwidth of the memory, in bytes per second; infinite if it never limits.
    pub dram_bandwidth: f64,
    /// Part of all threads that draws 90% of the bandwidth, from 0 to below 0.9; 0 if any number of
    /// threads draws all of it.
    pub dram_occupancy: f64,
    /// Clock relative to that at which times were measured.
    pub clock: f64,
    /// Hardware queues of each process, at least one.
    pub hardware_queues: u32,
    /// Most waves of a kernel at once, at least one. Blocks that are dispatched while it has so many are
    /// counted to the last of them, which then ends at the mean of when its blocks would: no work is
    /// lost, and no block is off by more than a part of its time. Without it waves of kernels that run
    /// beside each other break up into ever smaller ones, which costs events.
    pub waves_per_kernel: u32,
    /// Levels of stream priority, at least one.
    pub priority_levels: u32,
    /// How long a group of processes computes while another waits to; more than zero.
    pub time_slice: SimDuration,
    /// Time in which nothing computes when they take turns.
    pub context_switch: SimDuration,
    /// The power of a phase's share in what it slows others by.
    pub interference_exponent: f64,
    /// By what part a phase's overhead takes longer for each other net that is executed.
    pub overhead_interference: f64,
}

impl DeviceSpec {
    /// Threads that all multiprocessors hold at once.
    pub(super) fn threads(&self) -> u64 {
        u64::from(self.sms) * u64::from(self.threads_per_sm)
    }

    /// An empty multiprocessor.
    pub(super) fn room(&self) -> Room {
        let or_any = |limit: u32| if limit == 0 { u32::MAX } else { limit };
        Room {
            threads: self.threads_per_sm,
            blocks: self.blocks_per_sm,
            registers: or_any(self.registers_per_sm),
            shared_memory: match self.shared_memory_per_sm {
                0 => u64::MAX,
                limit => limit,
            },
        }
    }

    /// How many blocks of `shape` fit on an empty multiprocessor.
    pub fn blocks_that_fit(&self, shape: &BlockShape) -> u32 {
        self.room().fit(shape)
    }

    /// What part of the bandwidth a `share` of the threads can draw: `(1 + a) s / (s + a)`, with `a`
    /// such that it is 0.9 at `dram_occupancy`. The form is ours, the occupancies are measured
    /// (gpu-benches, `gpu-stream`).
    pub(super) fn drawn_by(&self, share: f64) -> f64 {
        let x = self.dram_occupancy;
        if x <= 0.0 {
            return 1.0;
        }
        let a = 0.1 * x / (0.9 - x);
        (1.0 + a) * share / (share + a)
    }

    /// How long `phase` takes alone in a process with this cap, without its overhead, in seconds.
    pub fn alone(&self, phase: &Phase, cap: f64) -> f64 {
        let share = phase.parallelism.min(cap);
        let compute = phase.compute / (share * self.clock);
        compute.max(phase.bytes / (self.dram_bandwidth * self.drawn_by(share)))
    }

    /// The instance of a partitioned GPU with so many multiprocessors and this part of the memory.
    pub fn partition(&self, sms: u32, memory: f64) -> DeviceSpec {
        DeviceSpec {
            sms,
            dram_bandwidth: self.dram_bandwidth * memory,
            ..*self
        }
    }
}

/// A process that uses a GPU.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProcessSpec {
    /// As a client of the Multi-Process Service; otherwise it takes turns with all others, the
    /// clients together being one.
    pub mps: Option<MpsSpec>,
}

/// A client of the Multi-Process Service.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MpsSpec {
    /// Most of the device's threads that it may use, from above 0 to 1; one block at least.
    pub cap: f64,
    /// Whose kernels go first: those of the lower number, whatever the priorities of streams.
    pub level: u8,
}

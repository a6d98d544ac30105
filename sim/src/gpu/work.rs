//! What a stream is given to do.

use std::sync::Arc;

use schema::scenario::Socket;
use schema::units::SimDuration;

use super::copies::CopySpec;

/// What a block needs of a multiprocessor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockShape {
    /// Threads, at least one.
    pub threads: u32,
    /// Registers of each thread; zero if they never limit.
    pub registers: u32,
    /// Shared memory, in bytes; zero if it never limits.
    pub shared_memory: u64,
}

impl BlockShape {
    /// Whether a block of this shape fits wherever one of the `other` does.
    pub(super) fn fits_with(&self, other: &BlockShape) -> bool {
        let registers = |shape: &BlockShape| u64::from(shape.registers) * u64::from(shape.threads);
        self.threads <= other.threads
            && registers(self) <= registers(other)
            && self.shared_memory <= other.shared_memory
    }
}

/// A kernel: a grid of like blocks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Kernel {
    /// Time from when it could start until its blocks may.
    pub overhead: SimDuration,
    /// Number of blocks, at least one.
    pub blocks: u32,
    /// What a block needs.
    pub shape: BlockShape,
    /// How long a block runs at the part's clock with all the bandwidth that it asks for.
    pub time: SimDuration,
    /// What a block reads from and writes to the GPU's memory, in bytes.
    pub bytes: f64,
}

/// A lumped phase: many kernels that are short beside it, so that it may use any share of the
/// multiprocessors at any time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Phase {
    /// Time that no resource shortens.
    pub overhead: SimDuration,
    /// Time with all multiprocessors, if it could use them, in seconds.
    pub compute: f64,
    /// Most of the multiprocessors that it can use, above 0 and to 1.
    pub parallelism: f64,
    /// What it reads from and writes to the GPU's memory, in bytes.
    pub bytes: f64,
    /// How much it slows others that compute at the same time.
    pub intensity: f64,
}

/// A step of what a stream runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// A kernel.
    Kernel(Kernel),
    /// A lumped phase.
    Phase(Phase),
}

/// Steps that run one after the other.
#[derive(Clone, Debug)]
pub struct Run {
    /// The steps, at least one.
    pub steps: Arc<[Step]>,
    /// By what all times and bytes are multiplied.
    pub factor: f64,
    /// Time that the host takes to launch each step: step `i` starts no earlier than `i · pace` after
    /// the run was submitted.
    pub pace: SimDuration,
}

/// An operation of a stream.
#[derive(Clone, Debug)]
pub enum Op {
    /// A copy.
    Copy(CopySpec),
    /// A copy on the legacy default stream of the process: it starts when all that was submitted to
    /// the process before has ended, and nothing submitted after starts until it has.
    DefaultStreamCopy(CopySpec),
    /// Kernels or phases.
    Run(Run),
}

/// A memory that other devices on the bus reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// That of the host, for a device at this socket of it.
    Host(Socket),
    /// That of a device, by its number.
    Device(usize),
}

/// What another device on the bus does with a memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It reads from it.
    Read,
    /// It writes to it.
    Write,
}

/// A direction of copies, each with an engine of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// Host to device.
    H2d,
    /// Device to host.
    D2h,
    /// Device to device.
    Peer,
}

impl Direction {
    /// All of them.
    pub const ALL: [Direction; 3] = [Direction::H2d, Direction::D2h, Direction::Peer];
}

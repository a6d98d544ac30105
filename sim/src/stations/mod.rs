//! Stations: where work waits and is done.
//!
//! A station is a plain structure that is told the time and schedules nothing, so that each can be
//! driven alone, by a test or by another engine loop.

mod balancer;
mod batch_line;
mod cores;
mod orbit;
mod processor_sharing;
mod threads;

pub(crate) use balancer::Balancer;
pub use batch_line::BatchLine;
pub(crate) use cores::{CoreSetTable, Cores, Job, Past, Poll, Task};
pub(crate) use orbit::Orbit;
pub use processor_sharing::{ProcessorSharing, Speed, whole_core_time};
pub use threads::Threads;

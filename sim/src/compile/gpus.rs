//! From scenario and profile to the tables of GPUs: devices, processes, contexts and what they run.

mod contexts;
mod devices;
mod memory;
mod nets;

pub(super) use contexts::Replica;
pub use devices::gpu_of_part;

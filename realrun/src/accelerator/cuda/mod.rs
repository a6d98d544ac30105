//! GPUs through the CUDA driver: a safe layer of our own, and the accelerator on it.
//!
//! The driver is loaded when the first device is asked for ([`Driver::get`]): a program with this
//! feature starts, and says what is missing, on a machine without one. Calls go through cudarc's
//! bindings, whose types of results are closed lists: a driver that answers with a number that CUDA
//! 12.4 did not have is outside what they allow.
//!
//! A [`CudaContext`] is made on a [`Device`]; on it, [`CudaStream`]s, [`CudaEvent`]s,
//! [`DeviceBuffer`]s, [`PinnedBuffer`]s and the program's [`Kernels`]. Each holds its context and is
//! freed when dropped. What is queued on a stream borrows what it uses until it has ended
//! ([`CudaStream::run`]). Every call makes its context current on the calling thread first.
//!
//! A [`PeerBuffer`] is memory that network adapters reach too (GPUDirect RDMA).
//!
//! Work is given by kernels; with the feature `candle-cuda` nets of candle run too.
//!
//! Left out: graphs of anything but kernels in order, memory pools, peer copies. Who is a client of the
//! Multi-Process Service is decided by what starts the process.

use std::collections::BTreeSet;

use crate::topology::Neighbours;

#[cfg(feature = "candle-cuda")]
mod candle;
mod context;
mod driver;
mod graph;
mod memory;
mod module;
mod net;
mod nvml;
mod nvtx;
mod peer;
mod requests;
mod stream;
mod together;
mod watch;

pub use context::{CudaContext, Wait};
pub use driver::{Device, Driver, functions};
pub use memory::{DeviceBuffer, PinnedBuffer, Sink};
pub use module::{Grid, Kernels, PTX};
pub use net::CudaAccelerator;
pub use nvtx::{Range, range};
pub use peer::PeerBuffer;
pub use stream::{CudaEvent, CudaStream, Operations};
pub use together::run_together;
pub use watch::{Seen, Watch, Watchable};

/// The devices that the driver shows to this process, in words: what each is, and how it is now as far
/// as NVIDIA's management library tells.
///
/// # Errors
/// If there is no usable driver, or a device does not answer.
pub fn survey() -> Result<Vec<String>, super::CudaError> {
    let driver = Driver::get()?;
    let describe = |ordinal| {
        let device = driver.device(ordinal)?;
        let memory_gib = device.memory()? as f64 / f64::from(1 << 30);
        let mut facts = vec![
            device.describe(),
            format!("{} SMs", device.n_sms()?),
            format!("{memory_gib:.1} GiB"),
            format!("{} copy engines", device.n_copy_engines()?),
        ];
        facts.extend(nvml::state(&device.bus_id()?));
        Ok(facts.join(", "))
    };
    (0..driver.n_devices()?).map(describe).collect()
}

/// Where the devices are that the driver shows to this process, and what is told of their neighbours.
///
/// # Errors
/// If there is no usable driver, or a device does not answer.
pub fn neighbours() -> Result<Vec<Neighbours>, super::CudaError> {
    let driver = Driver::get()?;
    let bus_ids = (0..driver.n_devices()?).map(|ordinal| driver.device(ordinal)?.bus_id());
    Ok(nvml::neighbours(&bus_ids.collect::<Result<Vec<_>, _>>()?))
}

/// Multiprocessors of the GPU with this number, and threads that each holds at once, as the driver
/// says.
///
/// # Errors
/// If there is no usable driver, or no such device.
pub fn shape(device: u32) -> Result<(u32, u32), super::CudaError> {
    let device = Driver::get()?.device(device)?;
    Ok((device.n_sms()?, device.threads_per_sm()?))
}

/// What to check before trusting measurements made on these devices: each that only stands in for a
/// GPU, once.
#[must_use]
pub fn stand_ins(devices: impl IntoIterator<Item = u32>) -> Vec<String> {
    let names = devices.into_iter().filter_map(|device| find(device).ok());
    let names: BTreeSet<String> = names.filter(|name| net::stands_in(name)).collect();
    names
        .iter()
        .map(|name| net::stand_in_warning(name))
        .collect()
}

/// Name of the GPU with this number, for people.
///
/// # Errors
/// If there is no usable driver, or no such device.
pub fn find(device: u32) -> Result<String, super::CudaError> {
    Ok(Driver::get()?.device(device)?.describe())
}

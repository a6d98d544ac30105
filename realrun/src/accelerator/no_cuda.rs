//! In place of the CUDA back end, in a build without the feature `cuda`: says that it is not there.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{
    Accelerator, AcceleratorError, Context, ContextSpec, CudaError, Description, GpuPlace, Line,
};
use crate::topology::Neighbours;

/// A context on a GPU: none, in this build.
#[derive(Debug)]
pub struct CudaAccelerator(Infallible);

impl CudaAccelerator {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_place: GpuPlace) -> Result<CudaAccelerator, CudaError> {
        Err(CudaError::NotBuilt)
    }
}

impl Accelerator for CudaAccelerator {
    fn context(&self, _spec: &ContextSpec) -> Result<Box<dyn Context>, AcceleratorError> {
        match self.0 {}
    }

    fn describe(&self) -> Description {
        match self.0 {}
    }
}

/// A range of a profiler: none, in this build.
#[derive(Debug)]
#[must_use = "a range ends when it is dropped"]
pub struct Range;

/// Does nothing.
pub const fn range(_name: &'static CStr) -> Range {
    Range
}

/// Memory of a device that network adapters reach: none, in this build.
#[derive(Debug)]
pub struct PeerBuffer(Infallible);

impl PeerBuffer {
    /// Never called, as there is no GPU.
    ///
    /// # Errors
    /// Never.
    pub fn new(on: &CudaAccelerator, _bytes: usize) -> Result<PeerBuffer, CudaError> {
        match on.0 {}
    }

    /// Its size, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {}
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.0 {}
    }

    /// Its address on the device.
    #[must_use]
    pub fn address(&self) -> u64 {
        match self.0 {}
    }

    /// The device that it is of, for people.
    #[must_use]
    pub fn device(&self) -> String {
        match self.0 {}
    }

    /// Never called, as there is no GPU.
    ///
    /// # Errors
    /// Never.
    pub fn dma_buf(&self) -> Result<Option<(OwnedFd, u64)>, CudaError> {
        match self.0 {}
    }
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn survey() -> Result<Vec<String>, CudaError> {
    Err(CudaError::NotBuilt)
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn neighbours() -> Result<Vec<Neighbours>, CudaError> {
    Err(CudaError::NotBuilt)
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn shape(_device: u32) -> Result<(u32, u32), CudaError> {
    Err(CudaError::NotBuilt)
}

/// None: there is no device.
#[must_use]
pub fn stand_ins(_devices: impl IntoIterator<Item = u32>) -> Vec<String> {
    Vec::new()
}

/// Devices that can be looked at: there are none.
#[derive(Debug, Default)]
pub struct Watchable(());

/// Devices under watch: there are none.
#[derive(Debug)]
pub struct Watch;

impl Watchable {
    /// Finds none.
    ///
    /// # Errors
    /// Never.
    pub fn find(_devices: impl IntoIterator<Item = u32>) -> Result<Watchable, CudaError> {
        Ok(Watchable(()))
    }

    /// Nothing.
    #[must_use]
    pub fn others_at_work(&self) -> Vec<String> {
        Vec::new()
    }

    /// Watches nothing.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch
    }
}

/// What a device showed: there is none.
#[derive(Debug)]
pub enum Seen {}

impl Watch {
    /// Nothing.
    #[must_use]
    pub fn end(self) -> Vec<Seen> {
        Vec::new()
    }
}

impl Seen {
    /// Never called, as there is no GPU.
    #[must_use]
    pub fn describe(&self) -> String {
        match *self {}
    }

    /// Never called, as there is no GPU.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        match *self {}
    }
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn run_together(_lines: &[Line]) -> Result<Vec<Vec<Duration>>, CudaError> {
    Err(CudaError::NotBuilt)
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn find(_device: u32) -> Result<String, CudaError> {
    Err(CudaError::NotBuilt)
}

//! In place of the CUDA back end, in a build without the feature `cuda`: says that it is not there.

use std::convert::Infallible;

use super::{
    Accelerator, AcceleratorError, Context, ContextSpec, CudaError, Description, GpuPlace,
};

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
pub fn find(_device: u32) -> Result<String, CudaError> {
    Err(CudaError::NotBuilt)
}

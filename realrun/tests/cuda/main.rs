//! The CUDA layer on the stand-in: what its operations do and take, what its errors say, and that
//! nothing is left behind, whatever fails.
//!
//! They need the stand-in in place of the driver, as `tests/cuda/run` puts it, one test at a time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "the stand-in is told what to be by C functions")]

mod accelerator;
mod errors;
mod operations;
mod support;

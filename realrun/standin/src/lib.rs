//! Stands in for NVIDIA's driver in tests: the functions of `libcuda` and of NVML that `realrun`
//! calls, on host memory and without a GPU. Under the name `libcuda.so.1` in a folder of
//! `LD_LIBRARY_PATH`, a program that loads the driver at run time loads this in its place.
//!
//! The engine's own model of a GPU ([`sim::gpu`]) decides when each copy and each kernel starts and
//! ends: streams, priorities, copy engines, contexts that take turns, blocks on multiprocessors, as a
//! part of a profile says. So what is measured on it is known, and what `calibrate` makes of the
//! measurement can be compared with what was put in. Its times say nothing about any GPU.
//!
//! - Copies move real bytes when they end. Kernels are those of the program, known by their names:
//!   `tandem_spin` takes the time that its arguments say, `tandem_serve` besides reads inputs and writes
//!   outputs, `tandem_preprocess` computes what it should.
//! - The clock is the machine's, or a virtual one that stands still except while a call waits.
//! - Any call can be told to fail (`src/config.rs`), and all that is made is counted (`src/control.rs`).
//!
//! What is left out: other kernels, graphs of anything but kernels in order, events across streams, peer
//! copies, on the legacy default stream all but copies back, the multiprocessors of an instance of a
//! GPU, and every other process: two processes that load it have a GPU each, clients of the
//! Multi-Process Service too.

mod clock;
mod config;
mod control;
mod driver;
mod kernels;
mod memory;
mod nvml;
mod state;
mod streams;

/// A result of a call, as `CUresult` of `cuda.h` numbers them.
type Code = u32;

/// The numbers that the stand-in itself returns.
mod code {
    use super::Code;

    pub(crate) const SUCCESS: Code = 0;
    pub(crate) const INVALID_VALUE: Code = 1;
    pub(crate) const OUT_OF_MEMORY: Code = 2;
    pub(crate) const NOT_INITIALIZED: Code = 3;
    pub(crate) const INVALID_DEVICE: Code = 101;
    pub(crate) const INVALID_CONTEXT: Code = 201;
    pub(crate) const INVALID_PTX: Code = 218;
    pub(crate) const INVALID_HANDLE: Code = 400;
    pub(crate) const NOT_FOUND: Code = 500;
    pub(crate) const NOT_READY: Code = 600;
    pub(crate) const ILLEGAL_ADDRESS: Code = 700;
    pub(crate) const LAUNCH_OUT_OF_RESOURCES: Code = 701;
    pub(crate) const NOT_SUPPORTED: Code = 801;
    pub(crate) const CAPTURE_UNSUPPORTED: Code = 900;
    pub(crate) const UNKNOWN: Code = 999;

    /// Names of those, and of others that tests let calls return.
    pub(crate) const NAMES: [(Code, &std::ffi::CStr); 19] = [
        (SUCCESS, c"CUDA_SUCCESS"),
        (INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE"),
        (OUT_OF_MEMORY, c"CUDA_ERROR_OUT_OF_MEMORY"),
        (NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED"),
        (INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE"),
        (INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT"),
        (INVALID_PTX, c"CUDA_ERROR_INVALID_PTX"),
        (INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE"),
        (NOT_FOUND, c"CUDA_ERROR_NOT_FOUND"),
        (NOT_READY, c"CUDA_ERROR_NOT_READY"),
        (ILLEGAL_ADDRESS, c"CUDA_ERROR_ILLEGAL_ADDRESS"),
        (
            LAUNCH_OUT_OF_RESOURCES,
            c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        ),
        (NOT_SUPPORTED, c"CUDA_ERROR_NOT_SUPPORTED"),
        (
            CAPTURE_UNSUPPORTED,
            c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        ),
        (UNKNOWN, c"CUDA_ERROR_UNKNOWN"),
        (46, c"CUDA_ERROR_DEVICE_UNAVAILABLE"),
        (222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION"),
        (719, c"CUDA_ERROR_LAUNCH_FAILED"),
        (805, c"CUDA_ERROR_MPS_CONNECTION_FAILED"),
    ];
}

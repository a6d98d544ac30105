//! Why something on a GPU failed: the call, the device, and what such a failure usually comes from.
//!
//! Compiled in every build, so that an error has the same shape with and without GPUs.

use std::fmt;

/// A failure of the CUDA driver or of a device.
///
/// After [`Call`](Self::Call) with a [`Cause`] that [ends the context](Cause::ends_context), every
/// later call on that context fails alike, and what was on it can only be dropped.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CudaError {
    /// A build without the feature.
    #[error("this build has no CUDA back end; build it with `--features cuda`")]
    NotBuilt,
    /// The driver's library is not there, or cannot be loaded.
    #[error(
        "loading libcuda.so.1: it is not there or cannot be loaded; install NVIDIA's driver, and \
         put the folder of the library on LD_LIBRARY_PATH if it is in none that the loader searches"
    )]
    NoDriver,
    /// A library of the driver that lacks functions.
    #[error(
        "loading libcuda.so.1: it has no {}; it is older than this program needs, or a stub: install \
         NVIDIA's driver 450 (CUDA 11.0) or newer, and take folders named `stubs` off \
         LD_LIBRARY_PATH", missing.join(", ")
    )]
    MissingSymbols {
        /// Names of the functions.
        missing: Vec<&'static str>,
    },
    /// A library of the driver that lacks functions of graphs.
    #[error(
        "loading libcuda.so.1: it has no {}, which `gpu.launch = \"graph\"` needs; install NVIDIA's \
         driver 470 (CUDA 11.4) or newer, or launch kernels one by one", missing.join(", ")
    )]
    NoGraphs {
        /// Names of the functions.
        missing: Vec<&'static str>,
    },
    /// A driver whose version is too low.
    #[error(
        "cuDriverGetVersion: the driver is for CUDA {}, and {} is needed; install NVIDIA's driver \
         450 or newer", version(*found), version(*needed)
    )]
    DriverTooOld {
        /// Its version, a thousand times the major number and ten times the minor one.
        found: i32,
        /// The lowest that will do, counted alike.
        needed: i32,
    },
    /// A device that the machine does not have.
    #[error(
        "there is no GPU {ordinal}: the driver shows {count} of them to this process; is \
         CUDA_VISIBLE_DEVICES set?"
    )]
    NoDevice {
        /// Its number, from zero.
        ordinal: u32,
        /// How many there are.
        count: u32,
    },
    /// A call that failed, or that reports the failure of work before it.
    #[error("{call} on {device}: {name} ({code}); {cause}")]
    Call {
        /// The call with its sizes, such as `cuMemAlloc of 4096 B`.
        call: String,
        /// The device, such as `GPU 0 (NVIDIA A2)`.
        device: String,
        /// CUDA's name of the error, such as `CUDA_ERROR_OUT_OF_MEMORY`.
        name: String,
        /// CUDA's number of the error.
        code: u32,
        /// What it usually comes from.
        cause: Cause,
    },
}

/// A version as NVIDIA writes it.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// What a failed call usually comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// No room in the device's memory, or for pinned memory in the host's.
    OutOfMemory,
    /// The device no longer answers.
    DeviceLost,
    /// A kernel or a copy reached memory that is not its own.
    IllegalAddress,
    /// A kernel was ended by the driver or by itself.
    KernelFailed,
    /// The driver cannot load or translate a module for this device.
    Module,
    /// A module without the function.
    NoFunction,
    /// A launch that asks for more than the device has.
    LaunchTooLarge,
    /// What is asked about has not happened yet.
    NotReady,
    /// The device is used by others in a way that excludes this process.
    InUse,
    /// The driver of the kernel and its library do not fit, or are not running.
    Driver,
    /// The call was given what it does not take.
    Misuse,
    /// Anything else.
    Other,
}

impl Cause {
    /// What CUDA's error number usually comes from.
    ///
    /// The numbers are those of `CUresult` in `cuda.h` of CUDA 12.4.
    #[must_use]
    pub const fn of(code: u32) -> Cause {
        match code {
            2 => Cause::OutOfMemory,
            46 | 214 | 719 | 999 => Cause::DeviceLost,
            700 | 716 | 717 => Cause::IllegalAddress,
            702 | 710 | 714 | 715 | 718 => Cause::KernelFailed,
            200 | 209 | 218 | 221 | 222 | 223 | 300 => Cause::Module,
            500 => Cause::NoFunction,
            701 | 720 => Cause::LaunchTooLarge,
            600 => Cause::NotReady,
            800 | 805..=809 => Cause::InUse,
            3 | 4 | 34 | 100..=102 | 802..=804 => Cause::Driver,
            1 | 201 | 400 | 401 | 709 | 712 | 713 | 900..=908 => Cause::Misuse,
            _ => Cause::Other,
        }
    }

    /// Whether every later call on the context fails too.
    pub const fn ends_context(self) -> bool {
        matches!(
            self,
            Cause::DeviceLost | Cause::IllegalAddress | Cause::KernelFailed
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::OutOfMemory => {
                "the memory is taken: by contexts, by buffers of a large `batch.max`, or by another \
                 process (nvidia-smi lists them)"
            }
            Cause::DeviceLost => {
                "the device is lost to this process: look for `Xid` in the kernel's log (dmesg), and \
                 measure again; what was recorded until now is kept"
            }
            Cause::IllegalAddress => {
                "a kernel or copy reached memory that is not its own; compute-sanitizer names the \
                 instruction"
            }
            Cause::KernelFailed => {
                "a kernel was ended before its time: by the watchdog of a GPU that drives a display, \
                 or by a fault of its own"
            }
            Cause::Module => {
                "the driver cannot translate the program's kernels for this device: it is older than \
                 CUDA 11.0, or the device than compute capability 7.0"
            }
            Cause::NoFunction => "the module is not the program's own",
            Cause::LaunchTooLarge => {
                "the kernel's blocks ask for more threads or shared memory than a multiprocessor has; \
                 make `threads` or `shared-memory` smaller"
            }
            Cause::NotReady => "what is asked about has not ended yet",
            Cause::InUse => {
                "another process has the device for itself, or the Multi-Process Service does not \
                 answer; see the compute mode in nvidia-smi"
            }
            Cause::Driver => {
                "the driver in the kernel does not run or does not fit its library; nvidia-smi says \
                 which, and after an update the machine has to start again"
            }
            Cause::Misuse => "this is a fault of the program",
            Cause::Other => "see the error's entry in NVIDIA's description of the driver API",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let call = CudaError::Call {
            call: "cuMemAlloc of 4096 B".to_owned(),
            device: "GPU 0 (NVIDIA A2)".to_owned(),
            name: "CUDA_ERROR_OUT_OF_MEMORY".to_owned(),
            code: 2,
            cause: Cause::of(2),
        };
        insta::assert_snapshot!(call, @"cuMemAlloc of 4096 B on GPU 0 (NVIDIA A2): CUDA_ERROR_OUT_OF_MEMORY (2); the memory is taken: by contexts, by buffers of a large `batch.max`, or by another process (nvidia-smi lists them)");
        let old = CudaError::DriverTooOld {
            found: 10020,
            needed: 11000,
        };
        insta::assert_snapshot!(old, @"cuDriverGetVersion: the driver is for CUDA 10.2, and 11.0 is needed; install NVIDIA's driver 450 or newer");
        let missing = CudaError::MissingSymbols {
            missing: vec!["cuMemAlloc_v2", "cuLaunchKernel"],
        };
        insta::assert_snapshot!(missing, @"loading libcuda.so.1: it has no cuMemAlloc_v2, cuLaunchKernel; it is older than this program needs, or a stub: install NVIDIA's driver 450 (CUDA 11.0) or newer, and take folders named `stubs` off LD_LIBRARY_PATH");
        let none = CudaError::NoDevice {
            ordinal: 2,
            count: 1,
        };
        insta::assert_snapshot!(none, @"there is no GPU 2: the driver shows 1 of them to this process; is CUDA_VISIBLE_DEVICES set?");
    }

    #[test]
    fn what_ends_a_context_is_told_from_what_does_not() {
        let ends = [46, 214, 700, 702, 710, 714, 715, 716, 717, 718, 719, 999];
        for code in 0..1000 {
            assert_eq!(
                Cause::of(code).ends_context(),
                ends.contains(&code),
                "{code}"
            );
        }
    }
}

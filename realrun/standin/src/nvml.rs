//! Functions of NVML: those that tell of the driver, of clocks and of who is at work. Others are left out, so
//! that a caller is seen to do without.

use std::ffi::{CStr, c_char, c_uint};

use crate::driver::{bus_id, write_text};
use crate::state::call;

/// `NVML_ERROR_INVALID_ARGUMENT`, which is 2 as CUDA's number for no memory.
const INVALID_ARGUMENT: u32 = 2;
/// `NVML_ERROR_INSUFFICIENT_SIZE`.
const INSUFFICIENT_SIZE: u32 = 7;
/// Every clock.
const CLOCK_MHZ: u32 = 1000;

/// Starts NVML.
#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> u32 {
    call("nvmlInit_v2", None, |_| Ok(()))
}

/// Ends NVML.
#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> u32 {
    call("nvmlShutdown", None, |_| Ok(()))
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> u32 {
    call("nvmlSystemGetDriverVersion", None, |_| {
        if version.is_null() || length == 0 {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: as the caller says.
        unsafe { write_text(version, length as usize, "0.0 (stand-in)") };
        Ok(())
    })
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    id: *const c_char,
    device: *mut usize,
) -> u32 {
    call("nvmlDeviceGetHandleByPciBusId_v2", None, |held| {
        if id.is_null() || device.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: as the caller says.
        let id = unsafe { CStr::from_ptr(id) }.to_string_lossy();
        let mut all = 0..held.config.devices as usize;
        let found = all.find(|number| bus_id(*number) == id);
        // SAFETY: as the caller says.
        unsafe { device.write(found.ok_or(INVALID_ARGUMENT)? + 1) };
        Ok(())
    })
}

/// Answers a question about a clock: 1000 MHz, as good as any.
///
/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetClockInfo(_device: usize, _clock: u32, mhz: *mut u32) -> u32 {
    call("nvmlDeviceGetClockInfo", None, |_| {
        // SAFETY: as the caller says.
        unsafe { mhz.write(CLOCK_MHZ) };
        Ok(())
    })
}

/// Likewise.
///
/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(_device: usize, _clock: u32, mhz: *mut u32) -> u32 {
    call("nvmlDeviceGetMaxClockInfo", None, |_| {
        // SAFETY: as the caller says.
        unsafe { mhz.write(CLOCK_MHZ) };
        Ok(())
    })
}

/// Tells what slows the clock, as the stand-in was told.
///
/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    _device: usize,
    reasons: *mut u64,
) -> u32 {
    call("nvmlDeviceGetCurrentClocksThrottleReasons", None, |held| {
        // SAFETY: as the caller says.
        unsafe { reasons.write(held.config.slowed) };
        Ok(())
    })
}

/// Tells how many other processes there are, if there is room for none.
///
/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    _device: usize,
    n: *mut c_uint,
    _processes: *mut u8,
) -> u32 {
    call("nvmlDeviceGetComputeRunningProcesses_v3", None, |held| {
        // SAFETY: as the caller says.
        let room = unsafe { n.replace(held.config.others) };
        if room < held.config.others {
            return Err(INSUFFICIENT_SIZE);
        }
        Ok(())
    })
}

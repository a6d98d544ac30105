//! The functions of NVML that tell what a device is.

use std::ffi::{c_char, c_uint};

use crate::driver::{device_name, write_text};
use crate::state::call;

/// `NVML_ERROR_INVALID_ARGUMENT`, which is 2 as CUDA's number for no memory.
const INVALID_ARGUMENT: u32 = 2;

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
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut usize) -> u32 {
    call("nvmlDeviceGetHandleByIndex_v2", None, |held| {
        if device.is_null() || index >= held.config.devices {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: as the caller says.
        unsafe { device.write(index as usize + 1) };
        Ok(())
    })
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(_device: usize, name: *mut c_char, length: c_uint) -> u32 {
    call("nvmlDeviceGetName", None, |held| {
        if name.is_null() || length == 0 {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: as the caller says.
        unsafe { write_text(name, length as usize, &device_name(held)) };
        Ok(())
    })
}

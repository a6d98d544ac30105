//! Functions of NVML: those that tell of the driver, of clocks, of power and heat, of what is between devices
//! and of who is at work; what the stand-in was not told they do not support. Others are left out, so that a
//! caller is seen to do without.

use std::ffi::{CStr, c_char, c_uint};

use crate::config::Config;
use crate::driver::{bus_id, write_text};
use crate::state::call;

/// `NVML_ERROR_INVALID_ARGUMENT`, which is 2 as CUDA's number for no memory.
const INVALID_ARGUMENT: u32 = 2;
/// `NVML_ERROR_NOT_SUPPORTED`.
const NOT_SUPPORTED: u32 = 3;
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

/// Answers with what the stand-in was told, if it was.
///
/// # Safety
/// `to` may be written.
unsafe fn answer(
    name: &'static str,
    to: *mut u32,
    told: impl FnOnce(&Config, usize) -> Option<u32>,
) -> u32 {
    call(name, None, |held| {
        // Counted already.
        let looks = held.calls.get(name).map_or(0, |n| *n as usize - 1);
        let value = told(&held.config, looks).ok_or(NOT_SUPPORTED)?;
        // SAFETY: as the caller says.
        unsafe { to.write(value) };
        Ok(())
    })
}

/// Of one look after the other that with this number; the last again and again.
fn look(told: &[u32], number: usize) -> Option<u32> {
    told.get(number).or(told.last()).copied()
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPowerUsage(_device: usize, mw: *mut u32) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        answer("nvmlDeviceGetPowerUsage", mw, |told, n| {
            look(&told.power_mw, n)
        })
    }
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(_device: usize, mw: *mut u32) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        answer("nvmlDeviceGetEnforcedPowerLimit", mw, |told, _| {
            told.power_limit_mw
        })
    }
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperature(
    _device: usize,
    _sensor: u32,
    celsius: *mut u32,
) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        answer("nvmlDeviceGetTemperature", celsius, |told, n| {
            look(&told.celsius, n)
        })
    }
}

/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    _one: usize,
    _other: usize,
    level: *mut u32,
) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        answer("nvmlDeviceGetTopologyCommonAncestor", level, |told, _| {
            told.ancestor
        })
    }
}

/// Whether an NVLink is up: all are that there are.
///
/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNvLinkState(_device: usize, link: u32, is_up: *mut u32) -> u32 {
    let told = |told: &Config, _| told.nvlinks.filter(|n| link < *n).map(|_| 1);
    // SAFETY: as the caller says.
    unsafe { answer("nvmlDeviceGetNvLinkState", is_up, told) }
}

/// Tells that an NVLink leads to the next device.
///
/// # Safety
/// As `nvml.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: usize,
    link: u32,
    info: *mut c_char,
) -> u32 {
    call("nvmlDeviceGetNvLinkRemotePciInfo_v2", None, |held| {
        let n = held.config.nvlinks.filter(|n| link < *n);
        n.ok_or(NOT_SUPPORTED)?;
        // Handles are numbers from 1 on, so that of a device is the number of the next.
        let next = device % held.config.devices.max(1) as usize;
        let text = format!("0000{}", bus_id(next));
        // SAFETY: as the caller says; of `nvmlPciInfo_t` the last 32 bytes are for the address, behind 36.
        unsafe { write_text(info.add(36), 32, &text) };
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

//! Devices and contexts.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::{CURRENT, current, give, on_context, write_text};
use crate::state::{Handle, Held, call};
use crate::{Code, code};

/// `CU_CTX_SCHED_SPIN`.
const SCHED_SPIN: c_uint = 1;
/// `CU_DEVICE_ATTRIBUTE_…`.
const MULTIPROCESSOR_COUNT: c_int = 16;
const MAX_THREADS_PER_MULTIPROCESSOR: c_int = 39;
const ASYNC_ENGINE_COUNT: c_int = 40;
const DMA_BUF_SUPPORTED: c_int = 124;
/// Copy engines: one a direction.
const COPY_ENGINES: c_int = 2;

fn device_of(held: &Held, device: c_int) -> Result<usize, Code> {
    let number = u32::try_from(device).map_err(|_| code::INVALID_DEVICE)?;
    if number < held.config.devices {
        Ok(number as usize)
    } else {
        Err(code::INVALID_DEVICE)
    }
}

/// Name of a device.
fn device_name(held: &Held) -> String {
    held.config.name.clone()
}

/// Address of a device on the PCI bus.
pub(crate) fn bus_id(device: usize) -> String {
    format!("0000:{:02x}:00.0", device + 1)
}

/// Starts the driver.
#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Code {
    call("cuInit", None, |held| {
        held.is_initialized = true;
        Ok(())
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Code {
    call("cuDriverGetVersion", None, |held| {
        // SAFETY: as the caller says.
        unsafe { give(version, held.config.driver_version) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: Code, name: *mut *const c_char) -> Code {
    call("cuGetErrorName", None, |_| {
        let known = code::NAMES.iter().find(|(code, _)| *code == error);
        let text = known.map_or(c"CUDA_ERROR_OF_A_TEST", |(_, name)| name);
        // SAFETY: as the caller says.
        unsafe { give(name, text.as_ptr()) }
    })
}

/// Has none, which NVRTC and CUDA's runtime ask for.
#[unsafe(no_mangle)]
extern "C" fn cuGetExportTable(_table: *mut *const c_void, _id: *const c_void) -> Code {
    code::NOT_FOUND
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Code {
    call("cuDeviceGetCount", None, |held| {
        // SAFETY: as the caller says.
        unsafe { give(count, held.config.devices as c_int) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Code {
    call("cuDeviceGet", None, |held| {
        device_of(held, ordinal)?;
        // SAFETY: as the caller says.
        unsafe { give(device, ordinal) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> Code {
    call("cuDeviceGetName", None, |held| {
        device_of(held, device)?;
        let length = usize::try_from(length).unwrap_or(0);
        if name.is_null() || length == 0 {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: as the caller says.
        unsafe { write_text(name, length, &device_name(held)) };
        Ok(())
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetPCIBusId(text: *mut c_char, length: c_int, device: c_int) -> Code {
    call("cuDeviceGetPCIBusId", None, |held| {
        let device = device_of(held, device)?;
        let length = usize::try_from(length).unwrap_or(0);
        if text.is_null() || length == 0 {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: as the caller says.
        unsafe { write_text(text, length, &bus_id(device)) };
        Ok(())
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    device: c_int,
) -> Code {
    call("cuDeviceGetAttribute", None, |held| {
        device_of(held, device)?;
        let spec = held.config.gpu.devices[0];
        let found = match attribute {
            MULTIPROCESSOR_COUNT => spec.sms as c_int,
            MAX_THREADS_PER_MULTIPROCESSOR => spec.threads_per_sm as c_int,
            ASYNC_ENGINE_COUNT => COPY_ENGINES,
            DMA_BUF_SUPPORTED => c_int::from(held.config.dma_buf),
            _ => return Err(code::NOT_SUPPORTED),
        };
        // SAFETY: as the caller says.
        unsafe { give(value, found) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Code {
    call("cuDeviceTotalMem_v2", None, |held| {
        device_of(held, device)?;
        // SAFETY: as the caller says.
        unsafe { give(bytes, held.config.memory as usize) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v2(context: *mut Handle, flags: c_uint, device: c_int) -> Code {
    call("cuCtxCreate_v2", None, |held| {
        let device = device_of(held, device)?;
        let handle = held.make_context(device, flags == SCHED_SPIN)?;
        CURRENT.set(handle);
        // SAFETY: as the caller says.
        unsafe { give(context, handle) }
    })
}

/// Destroys a context, alive or failed, when what is under way on it has ended.
#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(context: Handle) -> Code {
    call("cuCtxDestroy_v2", None, |held| {
        if !held.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        let streams = held
            .streams
            .iter()
            .filter(|(_, row)| row.context == context);
        let streams: Vec<Handle> = streams.map(|(handle, _)| *handle).collect();
        held.wait(false, |it| streams.iter().all(|stream| it.is_idle(*stream)))?;
        held.drop_context(context);
        if current() == context {
            CURRENT.set(0);
        }
        Ok(())
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut Handle) -> Code {
    call("cuCtxPopCurrent_v2", None, |_| {
        let popped = CURRENT.replace(0);
        // SAFETY: as the caller says.
        unsafe { give(context, popped) }
    })
}

/// Makes a context the thread's.
#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> Code {
    call("cuCtxSetCurrent", None, |held| {
        if context != 0 && !held.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        CURRENT.set(context);
        Ok(())
    })
}

/// Waits for all of the thread's context.
#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Code {
    on_context("cuCtxSynchronize", |held, context| {
        let streams = held
            .streams
            .iter()
            .filter(|(_, row)| row.context == context);
        let streams: Vec<Handle> = streams.map(|(handle, _)| *handle).collect();
        let spins = held.contexts[&context].spins;
        held.wait(spins, |it| streams.iter().all(|stream| it.is_idle(*stream)))?;
        held.contexts[&context].failed.map_or(Ok(()), Err)
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> Code {
    on_context("cuCtxGetStreamPriorityRange", |held, _| {
        let levels = held.config.gpu.devices[0].priority_levels as c_int;
        // SAFETY: as the caller says.
        unsafe {
            give(least, 0)?;
            give(greatest, 1 - levels)
        }
    })
}

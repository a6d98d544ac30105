//! The functions of `libcuda`, as `cuda.h` of CUDA 12.4 declares them.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::kernels::{Function, Shape};
use crate::state::{FunctionRow, Handle, Held, ModuleRow, call};
use crate::streams::{Effect, EventRow, EventState, StreamRow};
use crate::{Code, code};

/// `CU_CTX_SCHED_SPIN`.
const SCHED_SPIN: c_uint = 1;
/// `CU_DEVICE_ATTRIBUTE_…`.
const MULTIPROCESSOR_COUNT: c_int = 16;
const MAX_THREADS_PER_MULTIPROCESSOR: c_int = 39;
const ASYNC_ENGINE_COUNT: c_int = 40;
/// Copy engines: one a direction.
const COPY_ENGINES: c_int = 2;

thread_local! {
    /// The thread's context; 0 if it has none.
    static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

fn current() -> Handle {
    CURRENT.get()
}

/// A call on the thread's context.
fn on_context(
    name: &'static str,
    work: impl FnOnce(&mut Held, Handle) -> Result<(), Code>,
) -> Code {
    let context = current();
    call(name, Some(context), |held| work(held, context))
}

/// Writes what a call gives.
///
/// # Safety
/// `to` is null or may be written.
unsafe fn give<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(code::INVALID_VALUE);
    }
    // SAFETY: it may be written, as the caller says.
    unsafe { to.write(value) };
    Ok(())
}

fn device_of(held: &Held, device: c_int) -> Result<usize, Code> {
    let number = u32::try_from(device).map_err(|_| code::INVALID_DEVICE)?;
    if number < held.config.devices {
        Ok(number as usize)
    } else {
        Err(code::INVALID_DEVICE)
    }
}

/// Name of a device.
pub(crate) fn device_name(held: &Held) -> String {
    format!("Tandem stand-in for {}", held.config.part)
}

/// # Safety
/// `to` has room for `length` bytes.
pub(crate) unsafe fn write_text(to: *mut c_char, length: usize, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(length.saturating_sub(1))];
    // SAFETY: there is room for the bytes and a zero.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), to, bytes.len());
        to.add(bytes.len()).write(0);
    }
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
    let known = code::NAMES.iter().find(|(code, _)| *code == error);
    let text = known.map_or(c"CUDA_ERROR_OF_A_TEST", |(_, name)| name);
    // SAFETY: as the caller says.
    let given = unsafe { give(name, text.as_ptr()) };
    given.err().unwrap_or(code::SUCCESS)
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

/// Address of a device on the PCI bus.
pub(crate) fn bus_id(device: usize) -> String {
    format!("0000:{:02x}:00.0", device + 1)
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

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    on_context("cuMemGetInfo_v2", |held, context| {
        let used = held.memory.used(held.contexts[&context].device);
        // SAFETY: as the caller says.
        unsafe {
            give(free, (held.config.memory - used) as usize)?;
            give(total, held.config.memory as usize)
        }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Code {
    on_context("cuMemAlloc_v2", |held, context| {
        if bytes == 0 {
            return Err(code::INVALID_VALUE);
        }
        let device = held.contexts[&context].device;
        let free = held.config.memory - held.memory.used(device);
        if (bytes as u64).next_multiple_of(512) > free {
            return Err(code::OUT_OF_MEMORY);
        }
        let made = held.memory.allocate(context, device, bytes);
        // SAFETY: as the caller says.
        unsafe { give(address, made) }
    })
}

/// Frees memory of a device.
#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Code {
    on_context("cuMemFree_v2", |held, _| held.memory.free(address))
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(address: *mut usize, bytes: usize, _flags: c_uint) -> Code {
    on_context("cuMemHostAlloc", |held, context| {
        let made = held.memory.pin(context, bytes)?;
        // SAFETY: as the caller says.
        unsafe { give(address, made) }
    })
}

/// Frees pinned memory.
#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: usize) -> Code {
    on_context("cuMemFreeHost", |held, _| held.memory.unpin(address))
}

/// # Safety
/// As `cuda.h` says: `from`, if it is pinned, is kept until the copy has ended.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: Handle,
) -> Code {
    on_context("cuMemcpyHtoDAsync_v2", |held, _| {
        if held.memory.is_pinned(from as usize, bytes) {
            let from = from as usize;
            held.queue_copy(stream, Effect::CopyIn { to, from, bytes })?;
            return Ok(());
        }
        let staged = vec![0; bytes];
        let copy = held.queue_copy(stream, Effect::CopyStaged { to, staged })?;
        // A core copies to the driver's buffers while the engine copies from them.
        // SAFETY: as the caller says, for as long as this call lasts.
        let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) };
        held.stage(copy, from);
        Ok(())
    })
}

/// Returns from a copy to pageable memory only when it has ended.
///
/// # Safety
/// As `cuda.h` says: `to` is kept until the copy has ended.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> Code {
    on_context("cuMemcpyDtoHAsync_v2", |held, context| {
        let to = to as usize;
        held.queue_copy(stream, Effect::CopyOut { to, from, bytes })?;
        if !held.memory.is_pinned(to, bytes) {
            let spins = held.contexts[&context].spins;
            held.wait(spins, |it| it.is_idle(stream))?;
        }
        Ok(())
    })
}

/// # Safety
/// As `cuda.h` says, of an image that is PTX: a text that ends with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> Code {
    on_context("cuModuleLoadData", |held, context| {
        if image.is_null() {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: as the caller says.
        let text = unsafe { CStr::from_ptr(image.cast()) };
        let text = text.to_str().map_err(|_| code::INVALID_PTX)?;
        let functions = Function::of(text)?;
        let handle = held.handle();
        held.modules
            .insert(handle, ModuleRow { context, functions });
        // SAFETY: as the caller says.
        unsafe { give(module, handle) }
    })
}

/// Unloads a module.
#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: Handle) -> Code {
    on_context("cuModuleUnload", |held, _| {
        held.functions.retain(|_, row| row.module != module);
        let gone = held.modules.remove(&module);
        gone.map(|_| ()).ok_or(code::INVALID_HANDLE)
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> Code {
    on_context("cuModuleGetFunction", |held, context| {
        // SAFETY: as the caller says.
        let name = unsafe { CStr::from_ptr(name) };
        let row = held.modules.get(&module).ok_or(code::INVALID_HANDLE)?;
        let found = row
            .functions
            .iter()
            .find(|known| known.name().as_bytes() == name.to_bytes());
        let found = FunctionRow {
            module,
            context,
            function: *found.ok_or(code::NOT_FOUND)?,
        };
        let handle = held.handle();
        held.functions.insert(handle, found);
        // SAFETY: as the caller says.
        unsafe { give(function, handle) }
    })
}

/// # Safety
/// As `cuda.h` says: `parameters` holds the address of each argument.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_memory: c_uint,
    stream: Handle,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> Code {
    on_context("cuLaunchKernel", |held, _| {
        let row = held.functions.get(&function).ok_or(code::INVALID_HANDLE)?;
        if parameters.is_null() || [grid_y, grid_z, block_y, block_z] != [1; 4] {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: as the caller says.
        let launched = unsafe { row.function.arguments(parameters.cast_const().cast()) };
        let shape = Shape {
            blocks: grid_x,
            threads: block_x,
            shared_memory,
        };
        held.queue_kernel(stream, shape, launched)
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut Handle,
    _flags: c_uint,
    priority: c_int,
) -> Code {
    on_context("cuStreamCreateWithPriority", |held, context| {
        let levels = held.config.gpu.devices[0].priority_levels as c_int;
        let row = held.contexts.get_mut(&context);
        let row = row.ok_or(code::INVALID_CONTEXT)?;
        let id = row.free.pop_first().ok_or(code::OUT_OF_MEMORY)?;
        let handle = held.handle();
        let row = StreamRow {
            context,
            id,
            priority: priority.clamp(1 - levels, 0),
            queued: 0,
            ended: 0,
        };
        held.streams.insert(handle, row);
        // SAFETY: as the caller says.
        unsafe { give(stream, handle) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamGetPriority(stream: Handle, priority: *mut c_int) -> Code {
    on_context("cuStreamGetPriority", |held, _| {
        let row = held.streams.get(&stream).ok_or(code::INVALID_HANDLE)?;
        // SAFETY: as the caller says.
        unsafe { give(priority, row.priority) }
    })
}

/// Destroys a stream when what is queued on it has ended.
#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Code {
    on_context("cuStreamDestroy_v2", |held, context| {
        held.wait(false, |it| it.is_idle(stream))?;
        let row = held.streams.remove(&stream).ok_or(code::INVALID_HANDLE)?;
        let context = held.contexts.get_mut(&context);
        context.ok_or(code::INVALID_CONTEXT)?.free.insert(row.id);
        Ok(())
    })
}

/// Waits for a stream.
#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: Handle) -> Code {
    on_context("cuStreamSynchronize", |held, context| {
        if !held.streams.contains_key(&stream) {
            return Err(code::INVALID_HANDLE);
        }
        let spins = held.contexts[&context].spins;
        held.wait(spins, |it| it.is_idle(stream))?;
        let failed = held.contexts.get(&context).and_then(|row| row.failed);
        failed.map_or(Ok(()), Err)
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Code {
    on_context("cuEventCreate", |held, context| {
        let handle = held.handle();
        let state = EventState::Unrecorded;
        held.events.insert(handle, EventRow { context, state });
        // SAFETY: as the caller says.
        unsafe { give(event, handle) }
    })
}

/// Destroys an event.
#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: Handle) -> Code {
    on_context("cuEventDestroy_v2", |held, _| {
        let gone = held.events.remove(&event);
        gone.map(|_| ()).ok_or(code::INVALID_HANDLE)
    })
}

/// Records an event.
#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Code {
    on_context("cuEventRecord", |held, _| held.record(event, stream))
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Code {
    on_context("cuEventElapsedTime", |held, _| {
        held.advance();
        let past = |handle| match held.events.get(&handle).map(|row| row.state) {
            Some(EventState::Past(at)) => Ok(at),
            Some(EventState::Awaited { .. }) => Err(code::NOT_READY),
            Some(EventState::Unrecorded) | None => Err(code::INVALID_HANDLE),
        };
        let (start, end) = (past(start)?.as_secs_f64(), past(end)?.as_secs_f64());
        // SAFETY: as the caller says.
        unsafe { give(milliseconds, ((end - start) * 1e3) as f32) }
    })
}

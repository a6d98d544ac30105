//! Memory, modules, streams, events, and what is queued.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::IntoRawFd;

use super::{give, on_context};
use crate::kernels::{Function, Shape};
use crate::state::{FunctionRow, Handle, ModuleRow};
use crate::streams::{Effect, EventRow, EventState, GraphRow};
use crate::{Code, code};

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
        let addresses = held.config.addresses;
        let made = (held.memory).allocate(context, device, bytes, addresses);
        // SAFETY: as the caller says.
        unsafe { give(address, made) }
    })
}

/// Frees memory of a device.
#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Code {
    on_context("cuMemFree_v2", |held, _| held.memory.free(address))
}

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;
/// `CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`.
const SYNC_MEMOPS: c_int = 6;
/// `CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD`.
const DMA_BUF_FD: c_int = 1;

/// Takes `SYNC_MEMOPS`, which changes nothing here: no copy of the stand-in is under way when the
/// call that asked for it returns.
#[unsafe(no_mangle)]
extern "C" fn cuPointerSetAttribute(_value: *const c_void, attribute: c_int, address: u64) -> Code {
    on_context("cuPointerSetAttribute", |held, _| {
        if attribute != SYNC_MEMOPS {
            return Err(code::NOT_SUPPORTED);
        }
        held.memory.around(address).map(|_| ())
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetAddressRange_v2(
    base: *mut u64,
    bytes: *mut usize,
    address: u64,
) -> Code {
    on_context("cuMemGetAddressRange_v2", |held, _| {
        let (first, size) = held.memory.around(address)?;
        // SAFETY: as the caller says.
        unsafe {
            give(base, first)?;
            give(bytes, size)
        }
    })
}

/// Gives a file that is no dma-buf, so that every adapter refuses it.
///
/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetHandleForAddressRange(
    handle: *mut c_void,
    address: u64,
    bytes: usize,
    kind: c_int,
    _flags: u64,
) -> Code {
    on_context("cuMemGetHandleForAddressRange", |held, _| {
        let (first, size) = held.memory.around(address)?;
        if !held.config.dma_buf || kind != DMA_BUF_FD {
            return Err(code::NOT_SUPPORTED);
        }
        if first != address || bytes > size {
            return Err(code::INVALID_VALUE);
        }
        let file = std::fs::File::open("/dev/zero").map_err(|_| code::UNKNOWN)?;
        // SAFETY: as the caller says: of a dma-buf there is room for a file descriptor.
        unsafe { give(handle.cast::<c_int>(), file.into_raw_fd()) }
    })
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

/// Copies on the legacy default stream of the thread's context, and returns when that has ended.
///
/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> Code {
    on_context("cuMemcpyDtoH_v2", |held, context| {
        let (to, stream) = (to as usize, held.legacy_stream(context)?);
        held.queue_copy(stream, Effect::CopyOut { to, from, bytes })?;
        let spins = held.contexts[&context].spins;
        held.wait(spins, |it| it.is_idle(stream))?;
        let failed = held.contexts.get(&context).and_then(|row| row.failed);
        failed.map_or(Ok(()), Err)
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
    flags: c_uint,
    priority: c_int,
) -> Code {
    on_context("cuStreamCreateWithPriority", |held, context| {
        let levels = held.config.gpu.devices[0].priority_levels as c_int;
        let priority = priority.clamp(1 - levels, 0);
        let handle = held.make_stream(context, priority, flags & NON_BLOCKING == 0)?;
        // SAFETY: as the caller says.
        unsafe { give(stream, handle) }
    })
}

/// Begins to take kernels that are launched on the stream for a graph.
#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) -> Code {
    on_context("cuStreamBeginCapture_v2", |held, _| {
        let row = held.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
        if row.captured.is_some() {
            return Err(code::CAPTURE_UNSUPPORTED);
        }
        row.captured = Some(Vec::new());
        Ok(())
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> Code {
    on_context("cuStreamEndCapture", |held, context| {
        let row = held.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
        let kernels = row.captured.take().ok_or(code::INVALID_VALUE)?;
        let handle = held.handle();
        held.graphs.insert(handle, GraphRow { context, kernels });
        // SAFETY: as the caller says.
        unsafe { give(graph, handle) }
    })
}

/// # Safety
/// As `cuda.h` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut Handle,
    graph: Handle,
    _flags: u64,
) -> Code {
    on_context("cuGraphInstantiateWithFlags", |held, context| {
        let row = held.graphs.get(&graph).ok_or(code::INVALID_VALUE)?;
        let kernels = row.kernels.clone();
        let handle = held.handle();
        (held.executables).insert(handle, GraphRow { context, kernels });
        // SAFETY: as the caller says.
        unsafe { give(executable, handle) }
    })
}

/// Queues the kernels of a graph.
#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(executable: Handle, stream: Handle) -> Code {
    on_context("cuGraphLaunch", |held, _| {
        let row = held.executables.get(&executable);
        let kernels = row.ok_or(code::INVALID_VALUE)?.kernels.clone();
        held.queue_graph(stream, kernels)
    })
}

/// Destroys a graph that is ready to be launched.
#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(executable: Handle) -> Code {
    on_context("cuGraphExecDestroy", |held, _| {
        let gone = held.executables.remove(&executable);
        gone.map(|_| ()).ok_or(code::INVALID_VALUE)
    })
}

/// Destroys a graph.
#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: Handle) -> Code {
    on_context("cuGraphDestroy", |held, _| {
        let gone = held.graphs.remove(&graph);
        gone.map(|_| ()).ok_or(code::INVALID_VALUE)
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

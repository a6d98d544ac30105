//! Streams, what is queued on them, and the events that time it.
//!
//! What is queued borrows the memory that it uses until it has ended: [`CudaStream::run`] waits
//! before it returns, however it returns, as [`std::thread::scope`] does for threads.

use std::ffi::{c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::time::Duration;

use cudarc::driver::sys::{self, CUevent_flags, CUstream_flags};

use super::super::cuda_error::CudaError;
use super::context::CudaContext;
use super::graph::CudaGraph;
use super::memory::{DeviceBuffer, Sink};
use super::module::{Grid, Kernel};

/// A stream, on which operations run one after the other.
#[derive(Debug)]
pub struct CudaStream {
    context: CudaContext,
    raw: sys::CUstream,
}

#[expect(unsafe_code, reason = "the driver's handles may be used by any thread")]
// SAFETY: the handle is an address that only the driver follows, and it locks what it finds there.
unsafe impl Send for CudaStream {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for CudaStream {}

/// A date on a stream; see [`Operations::record`].
#[derive(Debug)]
pub struct CudaEvent {
    context: CudaContext,
    raw: sys::CUevent,
}

#[expect(unsafe_code, reason = "the driver's handles may be used by any thread")]
// SAFETY: as of streams.
unsafe impl Send for CudaEvent {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as of streams.
unsafe impl Sync for CudaEvent {}

/// Where operations are queued; see [`CudaStream::run`].
#[derive(Debug)]
pub struct Operations<'env> {
    stream: &'env CudaStream,
    /// Neither longer nor shorter than what the operations borrow.
    env: PhantomData<&'env mut &'env ()>,
}

/// Most arguments of any kernel of the program.
const MOST_ARGUMENTS: usize = 9;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// A 64-bit integer, or an address on the device.
    U64(u64),
    /// A 32-bit integer.
    U32(u32),
}

impl CudaStream {
    /// A stream with this priority, which does not wait for the legacy default stream: 0, or less for one whose kernels go first. Levels that the device
    /// lacks are cut to those it has. Copies know no priority.
    ///
    /// # Errors
    /// If the context has ended.
    pub fn new(context: &CudaContext, priority: i32) -> Result<CudaStream, CudaError> {
        CudaStream::with_flags(context, priority, CUstream_flags::CU_STREAM_NON_BLOCKING)
    }

    /// A stream that waits for what was given to the legacy default stream before, and for which that
    /// waits: as all streams of a process in which a copy goes there ([`Operations::copy_out_alone`]).
    ///
    /// # Errors
    /// If the context has ended.
    pub fn in_line(context: &CudaContext, priority: i32) -> Result<CudaStream, CudaError> {
        CudaStream::with_flags(context, priority, CUstream_flags::CU_STREAM_DEFAULT)
    }

    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn with_flags(
        context: &CudaContext,
        priority: i32,
        flags: CUstream_flags,
    ) -> Result<CudaStream, CudaError> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        let flags = flags as c_uint;
        // SAFETY: the context is current; the address is of a variable.
        let result =
            unsafe { sys::cuStreamCreateWithPriority(&raw mut raw, flags, priority as c_int) };
        context.checked(result, || {
            format!("cuStreamCreateWithPriority of {priority}")
        })?;
        Ok(CudaStream {
            context: context.clone(),
            raw,
        })
    }

    /// Least and greatest priority of streams on the device of `context`: the greatest is the lower
    /// number.
    ///
    /// # Errors
    /// If the context has ended.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn priorities(context: &CudaContext) -> Result<(i32, i32), CudaError> {
        context.enter()?;
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: the context is current; the addresses are of variables.
        let result = unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest) };
        context.checked(result, || "cuCtxGetStreamPriorityRange".to_owned())?;
        Ok((least, greatest))
    }

    /// The priority that it has.
    ///
    /// # Errors
    /// If the context has ended.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn priority(&self) -> Result<i32, CudaError> {
        self.context.enter()?;
        let mut priority = 0;
        // SAFETY: the stream is ours; the address is of a variable.
        let result = unsafe { sys::cuStreamGetPriority(self.raw, &raw mut priority) };
        self.context
            .checked(result, || "cuStreamGetPriority".to_owned())?;
        Ok(priority)
    }

    /// The context that it is of.
    #[must_use]
    pub fn context(&self) -> &CudaContext {
        &self.context
    }

    /// Queues what `queue` asks for, and returns when all of it has ended.
    ///
    /// # Errors
    /// What `queue` returns, or what the operations failed with.
    pub fn run<'env, T>(
        &'env self,
        queue: impl FnOnce(&Operations<'env>) -> Result<T, CudaError>,
    ) -> Result<T, CudaError> {
        let operations = Operations {
            stream: self,
            env: PhantomData,
        };
        // Should `queue` panic: what it has queued ends before what that borrows goes.
        let end = AtEnd(self);
        let queued = queue(&operations);
        std::mem::forget(end);
        let ended = self.synchronize();
        // Of a failure of what was queued before, `queued` and `ended` both tell; the first says more.
        let value = queued?;
        ended?;
        Ok(value)
    }

    /// Queues what `queue` asks for on several streams, and returns when all of it has ended. `queue`
    /// is given an [`Operations`] for each stream, in their order.
    ///
    /// # Errors
    /// What `queue` returns, or what the operations failed with.
    pub fn run_all<'env>(
        streams: &'env [CudaStream],
        queue: impl FnOnce(&[Operations<'env>]) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let operations = streams.iter().map(|stream| Operations {
            stream,
            env: PhantomData,
        });
        // Should `queue` panic: what it has queued ends before what that borrows goes.
        let ends: Vec<AtEnd<'_>> = streams.iter().map(AtEnd).collect();
        let queued = queue(&operations.collect::<Vec<_>>());
        ends.into_iter().for_each(std::mem::forget);
        // Of each, however another ended.
        let ended: Vec<_> = streams.iter().map(CudaStream::synchronize).collect();
        queued?;
        ended.into_iter().collect()
    }

    /// Queues what `queue` asks for, without waiting: while kernels are captured.
    pub(super) fn queue<'env, T>(
        &'env self,
        queue: impl FnOnce(&Operations<'env>) -> Result<T, CudaError>,
    ) -> Result<T, CudaError> {
        queue(&Operations {
            stream: self,
            env: PhantomData,
        })
    }

    /// The driver's handle.
    pub(super) fn raw(&self) -> sys::CUstream {
        self.raw
    }

    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn synchronize(&self) -> Result<(), CudaError> {
        self.context.enter()?;
        // SAFETY: the stream is ours.
        let result = unsafe { sys::cuStreamSynchronize(self.raw) };
        self.context
            .checked(result, || "cuStreamSynchronize".to_owned())
    }
}

struct AtEnd<'a>(&'a CudaStream);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        // What failed has ended too.
        let _failed = self.0.synchronize();
    }
}

impl Drop for CudaStream {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the stream is ours, and nothing is queued on it outside `run`.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuStreamDestroy_v2(self.raw) });
    }
}

impl<'env> Operations<'env> {
    /// Copies `from` to the device, to byte `at` of `to` (H2D). From pinned memory the copy engine
    /// takes it itself; from other memory a core copies it to the driver's pinned buffers first.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If it does not fit.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn copy_in(
        &self,
        to: &'env DeviceBuffer,
        at: usize,
        from: &'env [u8],
    ) -> Result<(), CudaError> {
        let to = to.range(at, from.len());
        if from.is_empty() {
            return Ok(());
        }
        self.enter()?;
        let raw = self.stream.raw;
        // SAFETY: both ranges are borrowed until the stream has been waited for.
        let result =
            unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len(), raw) };
        self.checked(result, || format!("cuMemcpyHtoDAsync of {} B", from.len()))
    }

    /// Copies from byte `at` of `from` on the device to the whole of `to` (D2H).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If there are not so many bytes.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn copy_out(
        &self,
        to: &'env mut [u8],
        from: &'env DeviceBuffer,
        at: usize,
    ) -> Result<(), CudaError> {
        let from = from.range(at, to.len());
        if to.is_empty() {
            return Ok(());
        }
        self.enter()?;
        let raw = self.stream.raw;
        // SAFETY: both ranges are borrowed until the stream has been waited for, the host's
        // exclusively.
        let result =
            unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, to.len(), raw) };
        self.checked(result, || format!("cuMemcpyDtoHAsync of {} B", to.len()))
    }

    /// Copies as [`copy_out`](Self::copy_out) does, but on the legacy default stream, and returns when
    /// the copy has ended. It waits for all that was queued before on streams
    /// [in line](CudaStream::in_line), and what is queued on them after waits for it.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If there are not so many bytes.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn copy_out_alone(
        &self,
        to: &mut [u8],
        from: &'env DeviceBuffer,
        at: usize,
    ) -> Result<(), CudaError> {
        let from = from.range(at, to.len());
        if to.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: both ranges are borrowed until the copy has ended, the host's exclusively.
        let result = unsafe { sys::cuMemcpyDtoH_v2(to.as_mut_ptr().cast(), from, to.len()) };
        self.checked(result, || format!("cuMemcpyDtoH of {} B", to.len()))
    }

    /// Launches the kernels of a graph.
    ///
    /// # Safety
    /// What they use lives for `'env`, and the graph is under way on no other stream.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub(super) unsafe fn launch_graph(&self, graph: &'env CudaGraph) -> Result<(), CudaError> {
        self.enter()?;
        // SAFETY: the graph is borrowed until the stream has been waited for; the rest is as the
        // caller says.
        let result = unsafe { sys::cuGraphLaunch(graph.raw, self.stream.raw) };
        self.checked(result, || "cuGraphLaunch".to_owned())
    }

    /// Copies from the start of `from` on the device to memory that nobody reads, as much of it as that
    /// has room for.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If there are not so many bytes.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn copy_to_sink(&self, to: &'env Sink, from: &'env DeviceBuffer) -> Result<(), CudaError> {
        let bytes = to.size();
        let from = from.range(0, bytes);
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: both ranges are borrowed until the stream has been waited for; of the host's, nothing
        // but the device knows what it holds.
        let result =
            unsafe { sys::cuMemcpyDtoHAsync_v2(to.address(), from, bytes, self.stream.raw) };
        self.checked(result, || format!("cuMemcpyDtoHAsync of {bytes} B"))
    }

    /// Lets `event` tell when all that was queued before has ended.
    ///
    /// # Errors
    /// If the device fails.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn record(&self, event: &'env CudaEvent) -> Result<(), CudaError> {
        self.enter()?;
        // SAFETY: the event lives until the stream has been waited for.
        let result = unsafe { sys::cuEventRecord(event.raw, self.stream.raw) };
        self.checked(result, || "cuEventRecord".to_owned())
    }

    /// Launches a kernel.
    ///
    /// # Safety
    /// `arguments` are those that the kernel takes, in number and kind, and every address among them
    /// is of memory that lives for `'env` and is as long as the kernel expects.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub(super) unsafe fn launch(
        &self,
        kernel: &'env Kernel,
        grid: Grid,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        self.enter()?;
        let mut addresses = [std::ptr::null_mut::<c_void>(); MOST_ARGUMENTS];
        assert!(arguments.len() <= MOST_ARGUMENTS, "a kernel of ours");
        for (address, argument) in addresses.iter_mut().zip(arguments) {
            *address = match argument {
                Argument::U64(value) => std::ptr::from_ref(value).cast_mut().cast(),
                Argument::U32(value) => std::ptr::from_ref(value).cast_mut().cast(),
            };
        }
        // SAFETY: the driver reads the arguments before it returns; they are the kernel's, as the
        // caller says. The module is borrowed until the stream has been waited for.
        let result = unsafe {
            sys::cuLaunchKernel(
                kernel.raw,
                grid.blocks,
                1,
                1,
                grid.threads,
                1,
                1,
                grid.shared_memory,
                self.stream.raw,
                addresses.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.checked(result, || {
            format!(
                "cuLaunchKernel of {} with {} blocks of {} threads and {} B of shared memory",
                kernel.name, grid.blocks, grid.threads, grid.shared_memory
            )
        })
    }

    fn enter(&self) -> Result<(), CudaError> {
        self.stream.context.enter()
    }

    fn checked(
        &self,
        result: sys::CUresult,
        call: impl FnOnce() -> String,
    ) -> Result<(), CudaError> {
        self.stream.context.checked(result, call)
    }
}

impl CudaEvent {
    /// An event that has not been recorded yet.
    ///
    /// # Errors
    /// If the context has ended.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn new(context: &CudaContext) -> Result<CudaEvent, CudaError> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the context is current; the address is of a variable.
        let result =
            unsafe { sys::cuEventCreate(&raw mut raw, CUevent_flags::CU_EVENT_DEFAULT as c_uint) };
        context.checked(result, || "cuEventCreate".to_owned())?;
        Ok(CudaEvent {
            context: context.clone(),
            raw,
        })
    }

    /// Time from `earlier` to this one by the device's clock, which shows half microseconds; zero if
    /// it was the other way round.
    ///
    /// The driver gives it as 32-bit milliseconds, so of more than 8 s it tells whole microseconds
    /// at best.
    ///
    /// # Errors
    /// If one of them was not recorded or has not come to pass, or they are of different contexts.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn since(&self, earlier: &CudaEvent) -> Result<Duration, CudaError> {
        self.context.enter()?;
        let mut milliseconds = 0.0_f32;
        // SAFETY: both events live; the address is of a variable.
        let result =
            unsafe { sys::cuEventElapsedTime(&raw mut milliseconds, earlier.raw, self.raw) };
        self.context
            .checked(result, || "cuEventElapsedTime".to_owned())?;
        Ok(Duration::from_secs_f64(
            f64::from(milliseconds.max(0.0)) / 1e3,
        ))
    }
}

impl Drop for CudaEvent {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the event is ours; operations that record it borrow it and have ended.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuEventDestroy_v2(self.raw) });
    }
}

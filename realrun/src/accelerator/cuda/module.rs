//! The program's own kernels: loaded from PTX, which the driver translates for its device.
//!
//! `kernels.cu` is their source and says what they do; `kernels.ptx`, made from it, is part of the
//! program, so that neither a build nor a run needs the CUDA toolkit.

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::sys;
use schema::scenario::RawImage;

use super::super::cuda_error::CudaError;
use super::super::{KernelSpec, KernelsSpec};
use super::context::CudaContext;
use super::memory::DeviceBuffer;
use super::requests::Requests;
use super::stream::{Argument, Operations};

/// The kernels as PTX.
pub const PTX: &str = include_str!("kernels.ptx");

/// A grid of like blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Number of blocks, at least one.
    pub blocks: u32,
    /// Threads of each, from 1 to 1024.
    pub threads: u32,
    /// Shared memory of each, in bytes, up to 48 KiB.
    pub shared_memory: u32,
}

/// A function of a module.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) raw: sys::CUfunction,
    pub(super) name: &'static str,
    _module: Arc<Module>,
}

#[expect(unsafe_code, reason = "the driver's handles may be used by any thread")]
// SAFETY: the handle is an address that only the driver follows.
unsafe impl Send for Kernel {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// A module of a context; unloaded when dropped.
#[derive(Debug)]
struct Module {
    context: CudaContext,
    raw: sys::CUmodule,
}

#[expect(unsafe_code, reason = "the driver's handles may be used by any thread")]
// SAFETY: as of kernels.
unsafe impl Send for Module {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as of kernels.
unsafe impl Sync for Module {}

impl Module {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn load(context: &CudaContext, ptx: &str) -> Result<Module, CudaError> {
        context.enter()?;
        let text = CString::new(ptx).expect("a text has no zero");
        let mut raw = std::ptr::null_mut();
        // SAFETY: the context is current, the text ends with a zero, the address is of a variable.
        let result = unsafe { sys::cuModuleLoadData(&raw mut raw, text.as_ptr().cast()) };
        context.checked(result, || "cuModuleLoadData".to_owned())?;
        Ok(Module {
            context: context.clone(),
            raw,
        })
    }
}

impl Drop for Module {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn drop(&mut self) {
        // SAFETY: the module is ours; launches of its kernels borrow them and have ended.
        let _lost = self
            .context
            .enter()
            .map(|()| unsafe { sys::cuModuleUnload(self.raw) });
    }
}

impl Kernel {
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    fn find(module: &Arc<Module>, name: &'static str) -> Result<Kernel, CudaError> {
        module.context.enter()?;
        let text = CString::new(name).expect("a name has no zero");
        let mut raw = std::ptr::null_mut();
        // SAFETY: the module is ours, the name ends with a zero, the address is of a variable.
        let result = unsafe { sys::cuModuleGetFunction(&raw mut raw, module.raw, text.as_ptr()) };
        module
            .context
            .checked(result, || format!("cuModuleGetFunction of {name}"))?;
        Ok(Kernel {
            raw,
            name,
            _module: Arc::clone(module),
        })
    }
}

/// The program's kernels on a context.
#[derive(Debug)]
pub struct Kernels {
    spin: Kernel,
    serve: Kernel,
    preprocess: Kernel,
}

/// A kernel of a net, for a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetKernel {
    /// What it is for one request.
    pub(super) spec: KernelSpec,
    /// What it does with the requests.
    pub(super) does: Does,
}

/// What a kernel of a net does with the requests of its batch, as `tandem_serve` is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Does(u32);

impl Does {
    const READS: u32 = 1;
    const WRITES: u32 = 2;

    /// Of the kernel of this number among the `n` of a net: the first reads inputs, the last writes
    /// outputs. Nothing is done with requests and replies without bytes.
    fn of(index: usize, n: usize, net: &KernelsSpec) -> Does {
        let is_any = net.max_payload_bytes > 0 || net.output_bytes > 0;
        let reads = u32::from(index == 0 && is_any) * Does::READS;
        let writes = u32::from(index + 1 == n && net.output_bytes > 0) * Does::WRITES;
        Does(reads | writes)
    }
}

/// The kernels of a net, in order.
pub(super) fn kernels_of(net: &KernelsSpec) -> Vec<NetKernel> {
    let n = net.kernels.len();
    let kernels = net.kernels.iter().enumerate();
    let kernel = |(index, spec): (usize, &KernelSpec)| NetKernel {
        spec: *spec,
        does: Does::of(index, n, net),
    };
    kernels.map(kernel).collect()
}

/// Threads of a block of the preprocessing kernel.
pub(super) const PREPROCESS_THREADS: u32 = 256;

impl Kernels {
    /// Loads them.
    ///
    /// # Errors
    /// If the driver cannot translate them for its device.
    pub fn load(context: &CudaContext) -> Result<Kernels, CudaError> {
        Kernels::from_ptx(context, PTX)
    }

    /// Loads them from a text other than [`PTX`].
    ///
    /// # Errors
    /// If it is not that of these kernels.
    pub fn from_ptx(context: &CudaContext, ptx: &str) -> Result<Kernels, CudaError> {
        let module = Arc::new(Module::load(context, ptx)?);
        Ok(Kernels {
            spin: Kernel::find(&module, "tandem_spin")?,
            serve: Kernel::find(&module, "tandem_serve")?,
            preprocess: Kernel::find(&module, "tandem_preprocess")?,
        })
    }

    /// Queues a kernel whose every block takes `time_ns` nanoseconds, or longer if reading `bytes`
    /// bytes of `from` takes longer. `from` is read again from its start as often as needed, so for a
    /// test of memory bandwidth it has to be larger than the caches.
    ///
    /// # Errors
    /// If the device refuses or fails.
    #[expect(unsafe_code, reason = "a launch of a kernel of ours")]
    pub fn spin<'env>(
        &'env self,
        on: &Operations<'env>,
        grid: Grid,
        time_ns: u64,
        bytes: u64,
        from: &'env DeviceBuffer,
    ) -> Result<(), CudaError> {
        let arguments = [
            Argument::U64(time_ns),
            Argument::U64(bytes),
            Argument::U64(from.range(0, from.len())),
            Argument::U64(from.len() as u64),
        ];
        // SAFETY: the arguments are those of `tandem_spin` in `kernels.cu`; the buffer is borrowed,
        // and its length is told.
        unsafe { on.launch(&self.spin, grid, &arguments) }
    }

    /// Queues a kernel of a net for the first `batch` rows of `requests`: as [`spin`](Self::spin), and
    /// the first and the last of a net read and write what the rows say.
    ///
    /// # Errors
    /// If the device refuses or fails.
    ///
    /// # Panics
    /// If there are not so many rows.
    ///
    /// # Safety
    /// What the rows name is memory of the device that lives for `'env`.
    #[expect(unsafe_code, reason = "a launch of a kernel of ours")]
    pub(super) unsafe fn serve<'env>(
        &'env self,
        on: &Operations<'env>,
        kernel: NetKernel,
        batch: usize,
        from: &'env DeviceBuffer,
        requests: &'env Requests,
    ) -> Result<(), CudaError> {
        assert!(
            (1..=requests.len()).contains(&batch),
            "a batch of {batch}, there are {} rows",
            requests.len()
        );
        let NetKernel { spec, does } = kernel;
        let n = u32::try_from(batch).expect("a batch of requests is counted in 32 bits");
        let grid = Grid {
            blocks: spec.blocks.saturating_mul(n),
            threads: spec.threads,
            shared_memory: spec.shared_memory,
        };
        if does == Does::default() {
            return self.spin(on, grid, spec.time_ns, spec.dram_bytes, from);
        }
        let arguments = [
            Argument::U64(spec.time_ns),
            Argument::U64(spec.dram_bytes),
            Argument::U64(from.range(0, from.len())),
            Argument::U64(from.len() as u64),
            Argument::U64(requests.table()),
            Argument::U64(requests.kept()),
            Argument::U64(requests.output_bytes() as u64),
            Argument::U32(spec.blocks),
            Argument::U32(does.0),
        ];
        // SAFETY: the arguments are those of `tandem_serve` in `kernels.cu`; the buffers are borrowed,
        // the rows are as the caller says.
        unsafe { on.launch(&self.serve, grid, &arguments) }
    }

    /// Queues the kernel that turns raw images into tensors: `images` of them, one after the other
    /// in `from` and in `to`. Each is resized bilinearly, normalised, and laid out plane by plane, as
    /// the CPU does it ([`preprocess`](super::super::preprocess)).
    ///
    /// # Errors
    /// If the device refuses or fails.
    ///
    /// # Panics
    /// If the buffers do not hold so many.
    #[expect(unsafe_code, reason = "a launch of a kernel of ours")]
    pub fn preprocess<'env>(
        &'env self,
        on: &Operations<'env>,
        image: RawImage,
        images: u32,
        from: &'env DeviceBuffer,
        to: &'env DeviceBuffer,
    ) -> Result<(), CudaError> {
        let n = images as usize;
        let from = from.range(0, n * image.raw_bytes().as_usize());
        let to = to.range(0, n * image.tensor_bytes().as_usize());
        // SAFETY: both buffers are borrowed and long enough.
        unsafe { self.preprocess_at(on, image, images, from, to) }
    }

    /// As [`preprocess`](Self::preprocess), between addresses.
    ///
    /// # Errors
    /// If the device refuses or fails.
    ///
    /// # Safety
    /// At both addresses so many images and tensors have room, in memory of the device that lives for
    /// `'env`. That of the tensors is a multiple of 4.
    #[expect(unsafe_code, reason = "a launch of a kernel of ours")]
    pub(super) unsafe fn preprocess_at<'env>(
        &'env self,
        on: &Operations<'env>,
        image: RawImage,
        images: u32,
        from: u64,
        to: u64,
    ) -> Result<(), CudaError> {
        let arguments = [
            Argument::U64(from),
            Argument::U32(image.width),
            Argument::U32(image.height),
            Argument::U64(to),
            Argument::U32(image.side),
            Argument::U32(images),
        ];
        let grid = Grid {
            blocks: (images * image.side * image.side).div_ceil(PREPROCESS_THREADS),
            threads: PREPROCESS_THREADS,
            shared_memory: 0,
        };
        // SAFETY: the arguments are those of `tandem_preprocess` in `kernels.cu`; the memory is as the
        // caller says.
        unsafe { on.launch(&self.preprocess, grid, &arguments) }
    }
}

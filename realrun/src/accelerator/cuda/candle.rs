//! A net of candle on a GPU: an inference context with a stream, weights and buffers of its own.
//!
//! candle works in the device's primary CUDA context, on a stream of each inference context; a device
//! of candle shares no tensors with another, so each context has the weights by itself. So all contexts
//! of a role share the GPU as streams of one process do, and there is one process a device.
//!
//! A request is copied in and out as bytes, from the connection's buffer or a pinned one. Raw images
//! become tensors by the kernel of this program. Events before and after each phase say what it took.
//!
//! Nobody has run this on a GPU: it is compiled and type-checked alone (`tests/cuda/candle`).

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaStream, CudaViewMut, LaunchConfig, PinnedHostSlice, PushKernelArg as _,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage};
use candle_core::{CpuStorage, DType, Device, Error, InplaceOp1, Layout, Storage, Tensor};
use schema::scenario::{HostMemory, HostWait, RawImage};

use super::super::error::room_for;
use super::super::nets::Net;
use super::super::spec::CHANNELS;
use super::super::{AcceleratorError, Context, GpuPlace, Input, NetSpec, PhaseTimes};
use super::module::{PREPROCESS_THREADS, PTX};
use crate::clock::monotonic_ns;

/// Flags of `cuMemHostAlloc`: none, for memory that the host reads too.
const PLAIN: u32 = 0;

/// An inference context that runs a net.
pub(super) struct CandleContext {
    net: Net,
    spec: NetSpec,
    max_batch: usize,
    device: CudaDevice,
    stream: Arc<CudaStream>,
    flags: CUevent_flags,
    /// Payloads, `[max_batch, bytes]`, and what they are; `None` if payloads are tensors.
    raw: Option<(Tensor, RawImage)>,
    /// `[max_batch, 3, side, side]`.
    input: Tensor,
    /// Those of the last inference, each `[n, ..]`; none before the first.
    outputs: Vec<Tensor>,
    /// Pinned memory for a payload and for a reply; `None` if copies are of pageable memory.
    staging: Option<[PinnedHostSlice<u8>; 2]>,
    times: PhaseTimes,
}

impl CandleContext {
    /// A context of `max_batch` slots that has run once.
    ///
    /// # Errors
    /// If the device has no room, or fails; and as [`Net::load`].
    pub(super) fn new(
        place: GpuPlace,
        spec: &NetSpec,
        max_batch: usize,
    ) -> Result<CandleContext, AcceleratorError> {
        let made = AcceleratorError::compute("making a context");
        let on = Device::new_cuda_with_stream(place.device as usize).map_err(made)?;
        let net = Net::load(spec.net, &spec.weights, &on)?;
        let made = || AcceleratorError::compute("allocation");
        let device = on.as_cuda_device().map_err(made())?.clone();
        let (side, n) = (spec.side, spec.payload_bytes());
        let raw = match spec.input {
            Input::Preprocessed => None,
            Input::Raw { width, height } => {
                let pixels = |n: usize| {
                    u32::try_from(n)
                        .map_err(|_| Error::msg("an image of more than 2^32 pixels a side"))
                };
                let image = RawImage {
                    width: pixels(width).map_err(made())?,
                    height: pixels(height).map_err(made())?,
                    side: pixels(side).map_err(made())?,
                };
                let bytes = Tensor::zeros((max_batch, n), DType::U8, &on).map_err(made())?;
                Some((bytes, image))
            }
        };
        let shape = (max_batch, CHANNELS, side, side);
        let mut context = CandleContext {
            stream: device.cuda_stream(),
            flags: match place.wait {
                HostWait::Block => CUevent_flags::CU_EVENT_BLOCKING_SYNC,
                HostWait::Spin => CUevent_flags::CU_EVENT_DEFAULT,
            },
            raw,
            input: Tensor::zeros(shape, DType::F32, &on).map_err(made())?,
            outputs: Vec::new(),
            staging: None,
            times: PhaseTimes::default(),
            spec: spec.clone(),
            net,
            max_batch,
            device,
        };
        context.preprocess(max_batch)?;
        context.infer(max_batch)?;
        if place.host_memory == HostMemory::Pinned {
            let sizes = [n, context.reply_bytes()];
            context.staging = Some(context.pinned(sizes).map_err(made())?);
        }
        Ok(context)
    }

    #[expect(unsafe_code, reason = "memory that is pinned without values")]
    fn pinned(&self, [input, output]: [usize; 2]) -> candle_core::Result<[PinnedHostSlice<u8>; 2]> {
        let of = |n: usize| {
            // SAFETY: any byte is a value.
            let slice = unsafe {
                self.stream
                    .context()
                    .alloc_pinned_with_flags::<u8>(n, PLAIN)
            };
            slice.map_err(Error::wrap)
        };
        Ok([of(input)?, of(output)?])
    }

    fn assert_batch(&self, batch: usize) {
        assert!(
            (1..=self.max_batch).contains(&batch),
            "batch of {batch}, up to {}",
            self.max_batch
        );
    }

    /// Does `work` between two events on the stream, waits, and gives what passed between them.
    fn timed<T>(
        &self,
        work: impl FnOnce() -> candle_core::Result<T>,
    ) -> candle_core::Result<(T, PhaseTimes)> {
        let record = || -> candle_core::Result<CudaEvent> {
            self.stream
                .record_event(Some(self.flags))
                .map_err(Error::wrap)
        };
        let began_ns = monotonic_ns();
        let first = record()?;
        let done = work()?;
        let last = record()?;
        last.synchronize().map_err(Error::wrap)?;
        let ms = first.elapsed_ms(&last).map_err(Error::wrap)?;
        let times = PhaseTimes {
            began_ns,
            ends: vec![Duration::from_secs_f64(f64::from(ms) / 1e3)],
        };
        Ok((done, times))
    }

    /// Turns the images of the slots `0..batch` into tensors.
    fn make_tensors(&self, raw: &Tensor, image: RawImage, batch: usize) -> candle_core::Result<()> {
        let kernel = (self.device).get_or_load_custom_func("tandem_preprocess", "tandem", PTX)?;
        let (storage, layout) = raw.storage_and_layout();
        let pixels = cuda(&storage)?.as_cuda_slice::<u8>()?;
        let images = batch as u32;
        let n_pixels = images * image.side * image.side;
        let config = LaunchConfig {
            grid_dim: (n_pixels.div_ceil(PREPROCESS_THREADS), 1, 1),
            block_dim: (PREPROCESS_THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        let from = pixels.slice(layout.start_offset()..);
        fill(&self.input.narrow(0, 0, batch)?, |to| {
            let mut launch = kernel.builder();
            launch.arg(&from).arg(&image.width).arg(&image.height);
            launch.arg(to).arg(&image.side).arg(&images);
            launch_checked(&mut launch, config)
        })
    }
}

/// Launches the preprocessing kernel.
#[expect(unsafe_code, reason = "a launch of a kernel of ours")]
fn launch_checked(
    launch: &mut candle_core::cuda_backend::cudarc::driver::LaunchArgs<'_>,
    config: LaunchConfig,
) -> candle_core::Result<()> {
    // SAFETY: the arguments are those of `tandem_preprocess` in `kernels.cu`; the images and their
    // tensors lie one after the other in slices that are borrowed, as many as the grid is for.
    unsafe { launch.launch(config) }.map_err(Error::wrap)?;
    Ok(())
}

/// The memory of a tensor on a GPU.
fn cuda(storage: &Storage) -> candle_core::Result<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => candle_core::bail!("a tensor of this back end is not on a GPU"),
    }
}

impl Context for CandleContext {
    fn copy_in(&mut self, slot: usize, payload: &[u8]) -> Result<(), AcceleratorError> {
        assert!(slot < self.max_batch, "slot {slot} of {}", self.max_batch);
        let expected = self.spec.payload_bytes();
        if payload.len() != expected {
            return Err(AcceleratorError::PayloadLength {
                input: self.spec.input_in_words(),
                expected,
                found: payload.len(),
            });
        }
        let failed = || AcceleratorError::compute("copy to the device");
        let mut staging = self.staging.take();
        if let Some([pinned, _]) = &mut staging {
            let to = pinned.as_mut_slice().map_err(Error::wrap);
            to.map_err(failed())?.copy_from_slice(payload);
        }
        let copied = self.timed(|| {
            let slot = match &self.raw {
                Some((raw, _)) => raw.narrow(0, slot, 1),
                None => self.input.narrow(0, slot, 1),
            };
            fill(&slot?, |to| {
                let copied = match &staging {
                    Some([pinned, _]) => self.stream.memcpy_htod(pinned, to),
                    None => self.stream.memcpy_htod(payload, to),
                };
                copied.map_err(Error::wrap)
            })
        });
        self.staging = staging;
        let ((), times) = copied.map_err(failed())?;
        self.times = times;
        Ok(())
    }

    fn preprocess(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.assert_batch(batch);
        let Some((raw, image)) = &self.raw else {
            self.times = PhaseTimes::default();
            return Ok(());
        };
        let made = self.timed(|| self.make_tensors(raw, *image, batch));
        let ((), times) = made.map_err(AcceleratorError::compute("preprocessing"))?;
        self.times = times;
        Ok(())
    }

    fn infer(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.assert_batch(batch);
        let inferred = self.timed(|| {
            let outputs = self.net.forward(&self.input.narrow(0, 0, batch)?)?;
            outputs.iter().map(Tensor::contiguous).collect()
        });
        let (outputs, times) = inferred.map_err(AcceleratorError::compute("inference"))?;
        self.outputs = outputs;
        self.times = times;
        Ok(())
    }

    #[expect(unsafe_code, reason = "floats are copied as bytes")]
    fn copy_out(&mut self, slot: usize, reply: &mut [u8]) -> Result<usize, AcceleratorError> {
        let n_inferred = self.outputs[0].dims()[0];
        assert!(slot < n_inferred, "slot {slot} of {n_inferred} inferred");
        let needed = self.reply_bytes();
        let reply = room_for(needed, reply)?;
        let failed = || AcceleratorError::compute("copy from the device");
        let copy = |to: &mut [u8]| -> candle_core::Result<()> {
            let mut rest = to;
            for output in &self.outputs {
                let n = n_each(output);
                let (bytes, after) = rest.split_at_mut(n * size_of::<f32>());
                rest = after;
                let (storage, layout) = output.storage_and_layout();
                let values = cuda(&storage)?.as_cuda_slice::<f32>()?;
                let values = values.slice(layout.start_offset() + slot * n..).slice(..n);
                // SAFETY: each byte of a float is a byte.
                let from = unsafe { values.transmute::<u8>(bytes.len()) };
                let from = from.expect("as many bytes as the floats have");
                self.stream.memcpy_dtoh(&from, bytes).map_err(Error::wrap)?;
            }
            Ok(())
        };
        let mut staging = self.staging.take();
        let copied = self.timed(|| match &mut staging {
            Some([_, pinned]) => copy(pinned.as_mut_slice().map_err(Error::wrap)?),
            None => copy(reply),
        });
        self.staging = staging;
        let ((), times) = copied.map_err(failed())?;
        if let Some([_, pinned]) = &self.staging {
            let from = pinned.as_slice().map_err(Error::wrap).map_err(failed())?;
            reply.copy_from_slice(from);
        }
        self.times = times;
        Ok(needed)
    }

    fn synchronize(&mut self) -> Result<(), AcceleratorError> {
        // Every phase has waited for its own.
        Ok(())
    }

    fn payload_bytes(&self) -> usize {
        self.spec.payload_bytes()
    }

    fn reply_bytes(&self) -> usize {
        self.outputs.iter().map(n_each).sum::<usize>() * size_of::<f32>()
    }

    fn device_times(&self) -> Option<&PhaseTimes> {
        Some(&self.times)
    }
}

/// Values of an output, `[n, ..]`, for each request.
fn n_each(output: &Tensor) -> usize {
    output.dims()[1..].iter().product()
}

/// Lets `write` fill the bytes of a tensor on a GPU, in place.
fn fill(
    tensor: &Tensor,
    write: impl FnMut(&mut CudaViewMut<'_, u8>) -> candle_core::Result<()>,
) -> candle_core::Result<()> {
    tensor.inplace_op1(&Fill(RefCell::new(write)))
}

/// candle's way to a tensor's memory.
struct Fill<F>(RefCell<F>);

impl<F: FnMut(&mut CudaViewMut<'_, u8>) -> candle_core::Result<()>> InplaceOp1 for Fill<F> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, _storage: &mut CpuStorage, _layout: &Layout) -> candle_core::Result<()> {
        candle_core::bail!("a tensor of this back end is not on a GPU")
    }

    #[expect(unsafe_code, reason = "floats are filled as bytes")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("slot is not contiguous")
        };
        let mut write = self.0.borrow_mut();
        match storage.dtype() {
            DType::U8 => {
                let all = storage.as_cuda_slice_mut::<u8>()?;
                write(&mut all.slice_mut(start..end))
            }
            DType::F32 => {
                let all = storage.as_cuda_slice_mut::<f32>()?;
                let mut values = all.slice_mut(start..end);
                // SAFETY: any four bytes are a float.
                let bytes = unsafe { values.transmute_mut::<u8>((end - start) * size_of::<f32>()) };
                write(&mut bytes.expect("as many bytes as the floats have"))
            }
            other => candle_core::bail!("a tensor of {other:?} holds no payload"),
        }
    }
}

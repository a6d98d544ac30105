//! A net that is a sequence of kernels: the accelerator on a GPU.
//!
//! Of a request, the copy in, the kernels and the copy out are handed to the device one after the
//! other, each when the one before has ended. Events on the stream before and after each say what it
//! took.

use std::time::Duration;

use schema::scenario::{CopyBack, HostMemory, HostWait, LaunchFile};

use super::super::error::room_for;
use super::super::spec::image_in_words;
use super::super::{
    Accelerator, AcceleratorError, Context, ContextSpec, CudaError, Description, GpuPlace, InPlace,
    KernelsSpec, PhaseTimes, Workload,
};
use super::context::{CudaContext, Wait};
use super::driver::Driver;
use super::graph::CudaGraph;
use super::memory::{DeviceBuffer, PinnedBuffer};
use super::module::{Kernels, NetKernel, kernels_of};
use super::requests::{Requests, Row};
use super::stream::{CudaEvent, CudaStream, Operations};
use crate::clock::monotonic_ns;

/// What kernels read when they use memory bandwidth, in bytes: more than the caches of any GPU hold
/// (an H100 has 50 MiB of L2).
pub(super) const READ_BYTES: usize = 256 << 20;
/// What stands for it when none reads.
pub(super) const NOTHING: usize = 16;

/// A context of a process on a GPU; each inference context on it is a stream.
#[derive(Debug)]
pub struct CudaAccelerator {
    context: CudaContext,
    place: GpuPlace,
}

impl CudaAccelerator {
    /// A CUDA context of its own: kernels of several take turns on the device.
    ///
    /// # Errors
    /// If there is no usable driver, no such device, or no memory for a context.
    pub fn new(place: GpuPlace) -> Result<CudaAccelerator, CudaError> {
        let device = Driver::get()?.device(place.device)?;
        let wait = match place.wait {
            HostWait::Block => Wait::Block,
            HostWait::Spin => Wait::Spin,
        };
        Ok(CudaAccelerator {
            context: CudaContext::new(&device, wait)?,
            place,
        })
    }

    /// The CUDA context, which all inference contexts on it share.
    #[must_use]
    pub fn cuda_context(&self) -> &CudaContext {
        &self.context
    }
}

impl Accelerator for CudaAccelerator {
    fn context(&self, spec: &ContextSpec) -> Result<Box<dyn Context>, AcceleratorError> {
        spec.check()?;
        let kernels = match &spec.workload {
            Workload::Kernels(kernels) => kernels,
            #[cfg(feature = "candle-cuda")]
            Workload::Net(net) => {
                let context = super::candle::CandleContext::new(self.place, net, spec.max_batch)?;
                return Ok(Box::new(context));
            }
            _ => return Err(AcceleratorError::NotOnThis { backend: "cuda" }),
        };
        let mut context = KernelContext::new(&self.context, self.place, kernels, spec.max_batch)?;
        context.preprocess(spec.max_batch)?;
        context.infer(spec.max_batch)?;
        Ok(Box::new(context))
    }

    fn describe(&self) -> Description {
        let device = self.context.device().describe();
        let mut warnings = Vec::new();
        if stands_in(&device) {
            warnings.push(stand_in_warning(&device));
        }
        let priority = self.place.priority;
        match CudaStream::priorities(&self.context) {
            Ok((least, greatest)) if !(greatest..=least).contains(&priority) => {
                warnings.push(format!(
                    "{device} has stream priorities from {greatest} to {least}, so `priority` \
                     {priority} is cut"
                ));
            }
            Ok(_) => {}
            Err(error) => warnings.push(error.to_string()),
        }
        Description {
            backend: "cuda",
            device,
            warnings,
        }
    }
}

/// Whether the device of this name only stands in for a GPU.
pub(super) fn stands_in(device: &str) -> bool {
    device.contains("stand-in")
}

/// What to know of such a device.
pub(super) fn stand_in_warning(device: &str) -> String {
    format!(
        "{device} stands in for a GPU and its driver: its times are those that it was told, and say \
         nothing about any GPU"
    )
}

/// An inference context: a stream with its buffers and events.
#[derive(Debug)]
struct KernelContext {
    spec: KernelsSpec,
    max_batch: usize,
    stream: CudaStream,
    kernels: Kernels,
    /// One before everything, one after each kernel or image.
    events: Vec<CudaEvent>,
    input: Option<Slots>,
    /// What raw images become; `None` if payloads are none.
    tensors: Option<Slots>,
    output: Option<Slots>,
    /// Bytes of the payload that each slot has.
    copied: Vec<usize>,
    requests: Requests,
    net: Vec<NetKernel>,
    /// By the size of the batch, from one on; none if kernels are launched one by one.
    graphs: Vec<CudaGraph>,
    d2h: CopyBack,
    read: DeviceBuffer,
    /// Pinned memory for an input and for an output; `None` if copies are of pageable memory.
    staging: Option<Staging>,
    /// Slots of the last inference.
    n_inferred: usize,
    times: PhaseTimes,
}

/// Memory of the device for a message of each slot.
#[derive(Debug)]
struct Slots {
    buffer: DeviceBuffer,
    /// Bytes from one slot to the next.
    stride: usize,
}

impl Slots {
    /// For `n` messages of so many bytes; `None` if those have none.
    fn new(context: &CudaContext, n: usize, bytes: usize) -> Result<Option<Slots>, CudaError> {
        // Kernels take messages as words.
        let stride = bytes.next_multiple_of(size_of::<u32>());
        let buffer = (bytes > 0).then(|| DeviceBuffer::new(context, n * stride));
        Ok(buffer.transpose()?.map(|buffer| Slots { buffer, stride }))
    }

    /// The address of a slot.
    fn address(&self, slot: usize) -> u64 {
        self.buffer.range(slot * self.stride, self.stride)
    }
}

#[derive(Debug)]
struct Staging {
    input: Option<PinnedBuffer>,
    output: Option<PinnedBuffer>,
}

impl KernelContext {
    fn new(
        context: &CudaContext,
        place: GpuPlace,
        spec: &KernelsSpec,
        max_batch: usize,
    ) -> Result<KernelContext, CudaError> {
        let pinned = |bytes: usize| {
            let some = (bytes > 0).then(|| PinnedBuffer::new(context, bytes));
            some.transpose()
        };
        let staging = match place.host_memory {
            HostMemory::Pinned => Some(Staging {
                input: pinned(spec.max_payload_bytes)?,
                output: pinned(spec.output_bytes)?,
            }),
            HostMemory::Pageable => None,
        };
        let reads = spec.kernels.iter().any(|kernel| kernel.dram_bytes > 0);
        let n_images = spec.raw.map_or(0, |_| max_batch);
        let n_events = spec.kernels.len().max(n_images).max(1) + 1;
        let tensor_bytes = spec.raw.map_or(0, |image| image.tensor_bytes().as_usize());
        let events = (0..n_events).map(|_| CudaEvent::new(context));
        let mut context = KernelContext {
            stream: match place.d2h {
                CopyBack::Stream => CudaStream::new(context, place.priority)?,
                CopyBack::DefaultStream => CudaStream::in_line(context, place.priority)?,
            },
            kernels: Kernels::load(context)?,
            events: events.collect::<Result<_, _>>()?,
            input: Slots::new(context, max_batch, spec.max_payload_bytes)?,
            tensors: Slots::new(context, max_batch, tensor_bytes)?,
            output: Slots::new(context, max_batch, spec.output_bytes)?,
            copied: vec![spec.raw.map_or(0, |image| image.raw_bytes().as_usize()); max_batch],
            requests: Requests::new(context, max_batch, spec.output_bytes)?,
            net: kernels_of(spec),
            graphs: Vec::new(),
            d2h: place.d2h,
            read: DeviceBuffer::new(context, if reads { READ_BYTES } else { NOTHING })?,
            staging,
            n_inferred: 0,
            times: PhaseTimes::default(),
            max_batch,
            spec: spec.clone(),
        };
        if place.launch == LaunchFile::Graph && !spec.kernels.is_empty() {
            context.graphs = context.graphs()?;
        }
        Ok(context)
    }

    /// A graph of the kernels for each size of a batch.
    fn graphs(&self) -> Result<Vec<CudaGraph>, CudaError> {
        let of = |batch| {
            CudaGraph::of(&self.stream, |on| {
                (self.net.iter()).try_for_each(|kernel| self.queue_kernel(on, *kernel, batch))
            })
        };
        (1..=self.max_batch).map(of).collect()
    }

    #[expect(unsafe_code, reason = "a launch of a kernel of ours")]
    fn queue_kernel<'env>(
        &'env self,
        on: &Operations<'env>,
        kernel: NetKernel,
        batch: usize,
    ) -> Result<(), CudaError> {
        let (kernels, read) = (&self.kernels, &self.read);
        // SAFETY: the rows name slots of ours and, while `infer_in_place` waits, what it borrows.
        unsafe { kernels.serve(on, kernel, batch, read, &self.requests) }
    }

    /// Queues what a batch does, with an event of `after` behind each launch.
    #[expect(unsafe_code, reason = "a launch of kernels of ours")]
    fn queue_net<'env>(
        &'env self,
        on: &Operations<'env>,
        batch: usize,
        after: &'env [CudaEvent],
    ) -> Result<(), CudaError> {
        if let Some(graph) = self.graphs.get(batch - 1) {
            // SAFETY: the graph is ours, and so is all that its kernels use, but for what rows name;
            // of those as in `queue_kernel`.
            unsafe { on.launch_graph(graph) }?;
            return on.record(&after[0]);
        }
        for (kernel, event) in self.net.iter().zip(after) {
            self.queue_kernel(on, *kernel, batch)?;
            on.record(event)?;
        }
        Ok(())
    }

    /// Address and length of the payload in a slot.
    fn payload(&self, slot: usize, place: Option<&InPlace<'_>>) -> (u64, usize) {
        match (place, &self.input) {
            (Some(place), _) => {
                let n = place.input_bytes;
                (place.input.buffer().range(0, n), n)
            }
            (None, Some(input)) => (input.address(slot), self.copied[slot]),
            (None, None) => (0, 0),
        }
    }

    /// Where the request in a slot lies for the kernels of the net.
    fn row(&self, slot: usize, place: Option<&InPlace<'_>>) -> Row {
        let (input, input_bytes) = match &self.tensors {
            Some(tensors) => (tensors.address(slot), tensors.stride),
            None => self.payload(slot, place),
        };
        let output = match (place, &self.output) {
            (Some(place), _) => place.output.buffer().range(0, self.spec.output_bytes),
            (None, Some(output)) => output.address(slot),
            (None, None) => 0,
        };
        Row {
            input,
            input_bytes,
            output,
        }
    }

    fn assert_batch(&self, batch: usize) {
        assert!(
            (1..=self.max_batch).contains(&batch),
            "batch of {batch}, up to {}",
            self.max_batch
        );
    }
}

/// Queues `queue`, with an event before it, and waits; what the `n` events after it say.
fn timed<'env>(
    stream: &'env CudaStream,
    events: &'env [CudaEvent],
    n: usize,
    queue: impl FnOnce(&Operations<'env>, &'env [CudaEvent]) -> Result<(), CudaError>,
) -> Result<PhaseTimes, CudaError> {
    let (first, after) = events
        .split_first()
        .expect("there is one before everything");
    let began_ns = monotonic_ns();
    stream.run(|on| {
        on.record(first)?;
        queue(on, after)
    })?;
    let ends = after[..n].iter().map(|event| event.since(first));
    Ok(PhaseTimes {
        began_ns,
        ends: ends.collect::<Result<Vec<Duration>, _>>()?,
    })
}

impl Context for KernelContext {
    fn copy_in(&mut self, slot: usize, payload: &[u8]) -> Result<(), AcceleratorError> {
        assert!(slot < self.max_batch, "slot {slot} of {}", self.max_batch);
        let max = self.spec.max_payload_bytes;
        if payload.len() > max {
            return Err(AcceleratorError::PayloadTooLong {
                max,
                found: payload.len(),
            });
        }
        self.copied[slot] = payload.len();
        let (Some(input), false) = (&self.input, payload.is_empty()) else {
            self.times = PhaseTimes::default();
            return Ok(());
        };
        let from = match self.staging.as_mut().and_then(|s| s.input.as_mut()) {
            Some(pinned) => {
                pinned[..payload.len()].copy_from_slice(payload);
                &pinned[..payload.len()]
            }
            None => payload,
        };
        self.times = timed(&self.stream, &self.events, 1, |on, after| {
            on.copy_in(&input.buffer, slot * input.stride, from)?;
            on.record(&after[0])
        })?;
        Ok(())
    }

    fn preprocess(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.preprocess_in_place(&vec![None; batch])
    }

    #[expect(unsafe_code, reason = "a launch of a kernel of ours")]
    fn preprocess_in_place(
        &mut self,
        places: &[Option<InPlace<'_>>],
    ) -> Result<(), AcceleratorError> {
        self.assert_batch(places.len());
        let (Some(image), Some(tensors)) = (self.spec.raw, &self.tensors) else {
            self.times = PhaseTimes::default();
            return Ok(());
        };
        let mut images = Vec::with_capacity(places.len());
        for (slot, place) in places.iter().enumerate() {
            let (from, found) = self.payload(slot, place.as_ref());
            let expected = image.raw_bytes().as_usize();
            if found != expected {
                return Err(AcceleratorError::PayloadLength {
                    input: image_in_words(image),
                    expected,
                    found,
                });
            }
            images.push((from, tensors.address(slot)));
        }
        let kernels = &self.kernels;
        let times = timed(&self.stream, &self.events, places.len(), |on, after| {
            for ((from, to), event) in images.iter().zip(after) {
                // SAFETY: a slot of ours or, while this waits, a buffer that it borrows, and as long as
                // the image; and a slot for its tensor.
                unsafe { kernels.preprocess_at(on, image, 1, *from, *to) }?;
                on.record(event)?;
            }
            Ok(())
        })?;
        self.times = times;
        Ok(())
    }

    fn infer(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.infer_in_place(&vec![None; batch])
    }

    fn infer_in_place(&mut self, places: &[Option<InPlace<'_>>]) -> Result<(), AcceleratorError> {
        let batch = places.len();
        self.assert_batch(batch);
        for (slot, place) in places.iter().enumerate() {
            self.requests.set(slot, self.row(slot, place.as_ref()));
        }
        let n = match self.graphs.is_empty() {
            true => self.net.len(),
            false => 1,
        };
        let times = timed(&self.stream, &self.events, n, |on, after| {
            self.queue_net(on, batch, after)
        })?;
        self.times = times;
        self.n_inferred = batch;
        Ok(())
    }

    fn copy_out(&mut self, slot: usize, reply: &mut [u8]) -> Result<usize, AcceleratorError> {
        assert!(
            slot < self.n_inferred,
            "slot {slot} of {} inferred",
            self.n_inferred
        );
        let needed = self.spec.output_bytes;
        let reply = room_for(needed, reply)?;
        let Some(output) = &self.output else {
            self.times = PhaseTimes::default();
            return Ok(0);
        };
        let (d2h, at) = (self.d2h, slot * output.stride);
        let copy = |to: &mut [u8]| {
            timed(&self.stream, &self.events, 1, |on, after| {
                match d2h {
                    CopyBack::Stream => on.copy_out(to, &output.buffer, at)?,
                    CopyBack::DefaultStream => on.copy_out_alone(to, &output.buffer, at)?,
                }
                on.record(&after[0])
            })
        };
        self.times = match self.staging.as_mut().and_then(|s| s.output.as_mut()) {
            Some(pinned) => {
                let times = copy(pinned)?;
                reply.copy_from_slice(pinned);
                times
            }
            None => copy(reply)?,
        };
        Ok(needed)
    }

    fn synchronize(&mut self) -> Result<(), AcceleratorError> {
        // Every phase has waited for its own.
        Ok(())
    }

    fn payload_bytes(&self) -> usize {
        self.spec.max_payload_bytes
    }

    fn reply_bytes(&self) -> usize {
        self.spec.output_bytes
    }

    fn device_times(&self) -> Option<&PhaseTimes> {
        Some(&self.times)
    }
}

//! Work of several inference contexts that one thread hands to a device, all of it before it waits.
//!
//! Every context has a stream, on which its passes follow each other without the host: the copies in
//! of a batch, what turns its images into tensors, its kernels, its copies out, with an event after each. So what is seen is the device
//! alone, as if clients that ask again at once were served without any time on the host.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::scenario::{HostMemory, LaunchFile, RawImage};

use super::super::{CudaError, KernelSpec, Line};
use super::context::{CudaContext, Wait};
use super::driver::Driver;
use super::graph::CudaGraph;
use super::memory::{DeviceBuffer, PinnedBuffer, Sink};
use super::module::{Grid, Kernels};
use super::net::{NOTHING, READ_BYTES};
use super::stream::{CudaEvent, CudaStream, Operations};

/// What the streams of a process share.
#[derive(Debug)]
struct Process {
    context: CudaContext,
    kernels: Kernels,
    read: DeviceBuffer,
}

/// Processes by device and number.
type Processes = BTreeMap<(u32, usize), Process>;

/// A line with what it uses.
#[derive(Debug)]
struct Ready<'a> {
    line: &'a Line,
    process: &'a Process,
    /// Of the host and of the device; `None` if nothing is copied in.
    input: Option<(Source, DeviceBuffer)>,
    output: Option<(Sink, DeviceBuffer)>,
    /// Where an image's tensor goes; `None` if payloads are no images.
    tensor: Option<(RawImage, DeviceBuffer)>,
    /// All kernels of a pass, if they are launched at once.
    graph: Option<CudaGraph>,
    /// One before everything, one after each operation.
    events: Vec<CudaEvent>,
}

#[derive(Debug)]
enum Source {
    Pinned(PinnedBuffer),
    Pageable(Vec<u8>),
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Source::Pinned(buffer) => buffer,
            Source::Pageable(bytes) => bytes,
        }
    }
}

/// Runs `lines` at the same time: pass by pass, each handed to all of them in their order. Gives each
/// line's times: of each operation, pass by pass, how long after the one before it it ended.
///
/// One pass of each line goes before, so that nothing is made or loaded in what is timed. When that
/// has ended, the lines begin, one after the other as the thread gets to them.
///
/// # Errors
/// If there is no usable driver, no such device, no memory, or the device fails.
pub fn run_together(lines: &[Line]) -> Result<Vec<Vec<Duration>>, CudaError> {
    let processes = processes(lines)?;
    let ready = lines.iter().map(|line| Ready::new(line, &processes));
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let streams = ready
        .iter()
        .map(|ready| CudaStream::new(&ready.process.context, ready.line.place.priority));
    let streams = streams.collect::<Result<Vec<_>, _>>()?;
    CudaStream::run_all(&streams, |on| {
        let mut all = ready.iter().zip(on);
        all.try_for_each(|(ready, on)| ready.queue_pass(on, &[]))
    })?;
    let most_passes = lines.iter().map(|line| line.passes).max().unwrap_or(0);
    CudaStream::run_all(&streams, |on| {
        for (ready, on) in ready.iter().zip(on) {
            on.record(&ready.events[0])?;
        }
        for pass in 0..most_passes {
            for (ready, on) in ready.iter().zip(on) {
                if pass < ready.line.passes {
                    let n = ready.line.n_operations();
                    ready.queue_pass(on, &ready.events[1 + pass * n..][..n])?;
                }
            }
        }
        Ok(())
    })?;
    ready.iter().map(Ready::times).collect()
}

/// The processes of `lines`, each with a CUDA context of its own.
fn processes(lines: &[Line]) -> Result<Processes, CudaError> {
    let mut processes = Processes::new();
    for line in lines {
        let key = (line.place.device, line.process);
        if processes.contains_key(&key) {
            continue;
        }
        let reads = lines
            .iter()
            .filter(|line| (line.place.device, line.process) == key)
            .flat_map(|line| &line.work.kernels)
            .any(|kernel| kernel.dram_bytes > 0);
        let device = Driver::get()?.device(line.place.device)?;
        let context = CudaContext::new(&device, Wait::Block)?;
        let process = Process {
            kernels: Kernels::load(&context)?,
            read: DeviceBuffer::new(&context, if reads { READ_BYTES } else { NOTHING })?,
            context,
        };
        processes.insert(key, process);
    }
    Ok(processes)
}

/// Queues a kernel of a pass.
fn queue_kernel<'env>(
    process: &'env Process,
    line: &Line,
    kernel: &KernelSpec,
    on: &Operations<'env>,
) -> Result<(), CudaError> {
    let batch = u32::try_from(line.batch).expect("a batch is of clients, counted in 32 bits");
    let grid = Grid {
        blocks: kernel.blocks.saturating_mul(batch),
        threads: kernel.threads,
        shared_memory: kernel.shared_memory,
    };
    let Process { kernels, read, .. } = process;
    kernels.spin(on, grid, kernel.time_ns, kernel.dram_bytes, read)
}

impl<'a> Ready<'a> {
    fn new(line: &'a Line, processes: &'a Processes) -> Result<Ready<'a>, CudaError> {
        let process = &processes[&(line.place.device, line.process)];
        let context = &process.context;
        let is_pinned = line.place.host_memory == HostMemory::Pinned;
        let input = match line.work.max_payload_bytes {
            0 => None,
            bytes if is_pinned => Some((Source::Pinned(PinnedBuffer::new(context, bytes)?), bytes)),
            bytes => Some((Source::Pageable(vec![0; bytes]), bytes)),
        };
        let output = match line.work.output_bytes {
            0 => None,
            bytes if is_pinned => Some((Sink::pinned(context, bytes)?, bytes)),
            bytes => Some((Sink::pageable(bytes), bytes)),
        };
        let graph = match line.place.launch {
            LaunchFile::Graph if !line.work.kernels.is_empty() => {
                let stream = CudaStream::new(context, line.place.priority)?;
                let kernels = &line.work.kernels;
                Some(CudaGraph::of(&stream, |on| {
                    (kernels.iter()).try_for_each(|kernel| queue_kernel(process, line, kernel, on))
                })?)
            }
            _ => None,
        };
        let n_events = 1 + line.passes * line.n_operations();
        let events = (0..n_events).map(|_| CudaEvent::new(context));
        Ok(Ready {
            line,
            process,
            input: match input {
                Some((from, bytes)) => Some((from, DeviceBuffer::new(context, bytes)?)),
                None => None,
            },
            output: match output {
                Some((to, bytes)) => Some((to, DeviceBuffer::new(context, bytes)?)),
                None => None,
            },
            tensor: match line.work.raw {
                Some(image) => Some((
                    image,
                    DeviceBuffer::new(context, image.tensor_bytes().as_usize())?,
                )),
                None => None,
            },
            graph,
            events: events.collect::<Result<_, _>>()?,
        })
    }

    /// Queues a pass, with one of `after` behind each operation, as far as there are any.
    #[expect(unsafe_code, reason = "a launch of kernels of ours")]
    fn queue_pass<'env>(
        &'env self,
        on: &Operations<'env>,
        after: &'env [CudaEvent],
    ) -> Result<(), CudaError> {
        let mut after = after.iter();
        let mut record = || match after.next() {
            Some(event) => on.record(event),
            None => Ok(()),
        };
        if let Some((from, to)) = &self.input {
            for _ in 0..self.line.batch {
                on.copy_in(to, 0, from.bytes())?;
                record()?;
            }
        }
        if let (Some((image, tensor)), Some((_, raw))) = (&self.tensor, &self.input) {
            for _ in 0..self.line.batch {
                self.process
                    .kernels
                    .preprocess(on, *image, 1, raw, tensor)?;
                record()?;
            }
        }
        if let Some(graph) = &self.graph {
            // SAFETY: what its kernels use is the process's, which is borrowed; passes are queued on
            // one stream.
            unsafe { on.launch_graph(graph) }?;
            record()?;
        } else {
            for kernel in &self.line.work.kernels {
                queue_kernel(self.process, self.line, kernel, on)?;
                record()?;
            }
        }
        if let Some((to, from)) = &self.output {
            for _ in 0..self.line.batch {
                on.copy_to_sink(to, from)?;
                record()?;
            }
        }
        Ok(())
    }

    fn times(&self) -> Result<Vec<Duration>, CudaError> {
        let pairs = self.events.windows(2);
        pairs.map(|pair| pair[1].since(&pair[0])).collect()
    }
}

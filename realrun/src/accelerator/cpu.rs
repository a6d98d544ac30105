//! The back end that computes on this machine's processor, by candle.
//!
//! The phases are those of a GPU: `copy_in` copies into buffers that stand for device memory,
//! and for a preprocessed input straight into the net's input tensor; `copy_out` copies from the
//! output tensor. Between them nothing is copied twice. candle allocates the tensors between the
//! layers in every forward pass; payloads, input and output have fixed buffers.
//!
//! # Threads
//!
//! With one thread a context, all its compute is on the thread that calls, so that the thread's
//! CPU clock reads the compute time, and two contexts meet only in caches and memory. Three parts
//! of candle would share threads otherwise:
//!
//! - Convolutions are split by rayon, which takes the pool that the calling thread belongs to, or
//!   else one pool for the whole process. Creating a context therefore makes a pool of which the
//!   calling thread is the first worker, once and for the life of the thread.
//! - Matrix products are cut into [`THREADS_VARIABLE`] parts, whatever the pool, and the parts run
//!   in that pool. Where the variable is not set, candle reads the number of cores from the
//!   operating system for every single product, and inference takes up to twice as long. Who
//!   starts the process of a role should set it to the number of threads of a context.
//! - Elementwise operations on large tensors use one pool for the whole process, which contexts
//!   would wait for. The nets do without them.

use std::cell::{OnceCell, RefCell};
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::nets::{N_CLASSES, Net, NetName};
use super::preprocess::{Preprocessor, decode, encode};
use super::spec::CHANNELS;
use super::synthetic::{SpinRate, SyntheticContext};
use super::{
    Accelerator, AcceleratorError, Context, ContextSpec, Description, Input, NetSpec, Weights,
    Workload,
};

/// Environment variable with the number of parts into which candle cuts a matrix product.
pub const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// The processor as an accelerator.
///
/// Contexts with the same net and weights share the weights; synthetic contexts share one
/// calibration.
#[derive(Debug, Default)]
pub struct CpuAccelerator {
    nets: Mutex<Vec<LoadedNet>>,
    rate: OnceLock<SpinRate>,
}

#[derive(Debug)]
struct LoadedNet {
    name: NetName,
    weights: Weights,
    net: Net,
}

impl CpuAccelerator {
    /// The processor, with nothing loaded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn net(&self, spec: &NetSpec) -> Result<Net, AcceleratorError> {
        // A holder that panicked has pushed a whole net or none.
        let mut nets = self.nets.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |it: &&LoadedNet| it.name == spec.net && it.weights == spec.weights;
        if let Some(loaded) = nets.iter().find(same) {
            return Ok(loaded.net.clone());
        }
        let net = Net::load(spec.net, &spec.weights, &Device::Cpu)?;
        nets.push(LoadedNet {
            name: spec.net,
            weights: spec.weights.clone(),
            net: net.clone(),
        });
        Ok(net)
    }
}

impl Accelerator for CpuAccelerator {
    fn context(&self, spec: &ContextSpec) -> Result<Box<dyn Context>, AcceleratorError> {
        spec.check()?;
        match &spec.workload {
            Workload::Net(net) => {
                join_pool(spec.threads)?;
                Ok(Box::new(NetContext::new(
                    self.net(net)?,
                    net,
                    spec.max_batch,
                )?))
            }
            Workload::Synthetic(synthetic) => {
                let rate = *self.rate.get_or_init(SpinRate::calibrate);
                Ok(Box::new(SyntheticContext::new(
                    *synthetic,
                    spec.max_batch,
                    rate,
                )))
            }
        }
    }

    fn describe(&self) -> Description {
        Description {
            backend: "cpu",
            device: processor_name().unwrap_or_else(|| "unknown processor".to_owned()),
            warnings: threads_warning(std::env::var(THREADS_VARIABLE).ok().as_deref())
                .into_iter()
                .collect(),
        }
    }
}

/// What is wrong with `value` of [`THREADS_VARIABLE`], if anything.
fn threads_warning(value: Option<&str>) -> Option<String> {
    let found = match value {
        Some(value) if value.parse::<usize>().is_ok_and(|threads| threads > 0) => return None,
        Some(value) => format!("{THREADS_VARIABLE} is `{value}`"),
        None => format!("{THREADS_VARIABLE} is not set"),
    };
    Some(format!(
        "{found}, so each matrix product first looks up the number of cores and inference takes \
         longer than it needs to; set it to the number of threads of a context, usually 1"
    ))
}

/// Model name of the first processor, where the operating system tells it.
fn processor_name() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

thread_local! {
    /// The pool of the contexts on this thread, with its number of threads.
    static POOL: OnceCell<(usize, ThreadPool)> = const { OnceCell::new() };
}

/// Makes the calling thread the first worker of a pool of `threads`, unless it is already.
fn join_pool(threads: usize) -> Result<(), AcceleratorError> {
    POOL.with(|pool| match pool.get() {
        Some((existing, _)) if *existing == threads => Ok(()),
        Some((existing, _)) => Err(AcceleratorError::ThreadsDiffer {
            existing: *existing,
            found: threads,
        }),
        None => {
            let made = ThreadPoolBuilder::new()
                .num_threads(threads)
                .use_current_thread()
                .build()
                .map_err(|source| AcceleratorError::Threads { threads, source })?;
            pool.set((threads, made))
                .expect("the cell was empty and belongs to this thread");
            Ok(())
        }
    })
}

/// A context that runs a net.
struct NetContext {
    net: Net,
    spec: NetSpec,
    max_batch: usize,
    /// Raw payloads, one slot after the other, and what preprocesses them.
    raw: Option<(Vec<u8>, Preprocessor)>,
    /// `[max_batch, 3, side, side]`.
    input: Tensor,
    /// `[n, 1000]` of the last inference.
    output: Tensor,
}

impl NetContext {
    /// A context of `max_batch` slots that has run once.
    fn new(net: Net, spec: &NetSpec, max_batch: usize) -> Result<Self, AcceleratorError> {
        let tensor = |shape: &[usize]| {
            Tensor::zeros(shape, DType::F32, &Device::Cpu)
                .map_err(AcceleratorError::compute("allocation"))
        };
        let raw = match spec.input {
            Input::Raw { width, height } => Some((
                vec![0; max_batch * spec.payload_bytes()],
                Preprocessor::new(width, height, spec.side),
            )),
            Input::Preprocessed => None,
        };
        let mut context = Self {
            net,
            max_batch,
            raw,
            input: tensor(&[max_batch, CHANNELS, spec.side, spec.side])?,
            output: tensor(&[max_batch, N_CLASSES])?,
            spec: spec.clone(),
        };
        context.preprocess(max_batch)?;
        context.infer(max_batch)?;
        Ok(context)
    }

    fn assert_batch(&self, batch: usize) {
        assert!(
            (1..=self.max_batch).contains(&batch),
            "batch of {batch}, up to {}",
            self.max_batch
        );
    }
}

impl Context for NetContext {
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
        match &mut self.raw {
            Some((raw, _)) => {
                raw[slot * expected..][..expected].copy_from_slice(payload);
                Ok(())
            }
            None => write_slot(&self.input, slot, |values| decode(payload, values))
                .map_err(AcceleratorError::compute("copy to the device")),
        }
    }

    fn preprocess(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.assert_batch(batch);
        let Some((raw, preprocessor)) = &mut self.raw else {
            return Ok(());
        };
        for (slot, pixels) in raw
            .chunks_exact(self.spec.payload_bytes())
            .take(batch)
            .enumerate()
        {
            write_slot(&self.input, slot, |values| preprocessor.run(pixels, values))
                .map_err(AcceleratorError::compute("preprocessing"))?;
        }
        Ok(())
    }

    fn infer(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.assert_batch(batch);
        self.output = self
            .input
            .narrow(0, 0, batch)
            .and_then(|input| self.net.forward(&input)?.contiguous())
            .map_err(AcceleratorError::compute("inference"))?;
        Ok(())
    }

    fn copy_out(&mut self, slot: usize, reply: &mut [u8]) -> Result<usize, AcceleratorError> {
        let n_inferred = self.output.dims()[0];
        assert!(slot < n_inferred, "slot {slot} of {n_inferred} inferred");
        let (needed, found) = (self.reply_bytes(), reply.len());
        let reply = reply
            .get_mut(..needed)
            .ok_or(AcceleratorError::ReplyTooShort { needed, found })?;
        let (storage, layout) = self.output.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            unreachable!("every tensor of this back end is on the CPU")
        };
        let values = storage
            .as_slice::<f32>()
            .map_err(AcceleratorError::compute("copy from the device"))?;
        encode(
            &values[layout.start_offset() + slot * N_CLASSES..][..N_CLASSES],
            reply,
        );
        Ok(needed)
    }

    fn synchronize(&mut self) -> Result<(), AcceleratorError> {
        Ok(())
    }

    fn payload_bytes(&self) -> usize {
        self.spec.payload_bytes()
    }

    fn reply_bytes(&self) -> usize {
        N_CLASSES * size_of::<f32>()
    }
}

/// Lets `write` fill the values of one slot of a batch tensor, in place.
fn write_slot(
    tensor: &Tensor,
    slot: usize,
    write: impl FnMut(&mut [f32]),
) -> candle_core::Result<()> {
    tensor
        .narrow(0, slot, 1)?
        .inplace_op1(&Write(RefCell::new(write)))
}

/// candle's way to a tensor's memory.
struct Write<F>(RefCell<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("input tensor is not of 32-bit floats")
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("slot is not contiguous")
        };
        (self.0.borrow_mut())(&mut values[start..end]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 32;

    fn spec(input: Input, max_batch: usize) -> ContextSpec {
        let net = NetSpec {
            net: NetName::Squeezenet,
            side: SIDE,
            weights: Weights::Random { seed: 1 },
            input,
        };
        ContextSpec {
            workload: Workload::Net(net),
            max_batch,
            threads: 1,
        }
    }

    fn context(input: Input, max_batch: usize) -> Box<dyn Context> {
        CpuAccelerator::new()
            .context(&spec(input, max_batch))
            .unwrap()
    }

    fn image(width: usize, height: usize, seed: usize) -> Vec<u8> {
        (0..CHANNELS * width * height)
            .map(|i| ((i * 31 + seed * 101) % 256) as u8)
            .collect()
    }

    fn replies(context: &mut dyn Context, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let batch = payloads.len();
        for (slot, payload) in payloads.iter().enumerate() {
            context.copy_in(slot, payload).unwrap();
        }
        context.preprocess(batch).unwrap();
        context.infer(batch).unwrap();
        context.synchronize().unwrap();
        (0..batch)
            .map(|slot| {
                let mut reply = vec![0; context.reply_bytes()];
                assert_eq!(context.copy_out(slot, &mut reply).unwrap(), reply.len());
                reply
            })
            .collect()
    }

    #[test]
    fn raw_and_preprocessed_input_have_the_same_reply() {
        let pixels = image(50, 40, 1);
        let mut tensor = vec![0.0; CHANNELS * SIDE * SIDE];
        Preprocessor::new(50, 40, SIDE).run(&pixels, &mut tensor);
        let mut payload = vec![0; tensor.len() * 4];
        encode(&tensor, &mut payload);

        let mut raw = context(
            Input::Raw {
                width: 50,
                height: 40,
            },
            1,
        );
        let mut preprocessed = context(Input::Preprocessed, 1);
        assert_eq!(raw.payload_bytes(), pixels.len());
        assert_eq!(preprocessed.payload_bytes(), payload.len());
        let reply = replies(&mut *raw, &[pixels]);
        assert_eq!(reply, replies(&mut *preprocessed, &[payload]));
        assert!(reply[0].iter().any(|byte| *byte != 0));
    }

    #[test]
    fn each_slot_has_the_reply_of_its_own_payload() {
        let input = Input::Raw {
            width: 40,
            height: 40,
        };
        let payloads = [image(40, 40, 1), image(40, 40, 2), image(40, 40, 3)];
        let mut context = context(input, 3);
        let together = replies(&mut *context, &payloads);
        assert_ne!(together[0], together[1]);
        for (payload, reply) in payloads.iter().zip(&together) {
            // The same batch slot count, so the same arithmetic: equal to the last bit.
            let alone = replies(
                &mut *context,
                &[payload.clone(), payload.clone(), payload.clone()],
            );
            assert_eq!(&alone[0], reply);
            assert_eq!(&alone[2], reply);
        }
    }

    #[test]
    fn contexts_of_one_accelerator_answer_alike_on_any_thread() {
        let accelerator = CpuAccelerator::new();
        let answer = || {
            let mut context = accelerator.context(&spec(
                Input::Raw {
                    width: 9,
                    height: 9,
                },
                1,
            ))?;
            Ok::<_, AcceleratorError>(replies(&mut *context, &[image(9, 9, 1)]))
        };
        let here = answer().unwrap();
        let there = std::thread::scope(|scope| {
            [scope.spawn(answer), scope.spawn(answer)].map(|it| it.join().unwrap().unwrap())
        });
        assert_eq!([here.clone(), here], there);
        assert_eq!(accelerator.nets.lock().unwrap().len(), 1);
    }

    #[test]
    fn two_threads_answer_as_one() {
        let answer = |threads| {
            std::thread::spawn(move || {
                let input = Input::Raw {
                    width: 9,
                    height: 9,
                };
                let spec = ContextSpec {
                    threads,
                    ..spec(input, 1)
                };
                let mut context = CpuAccelerator::new().context(&spec).unwrap();
                replies(&mut *context, &[image(9, 9, 1)])
            })
            .join()
            .unwrap()
        };
        assert_eq!(answer(1), answer(2));
    }

    #[test]
    fn contexts_of_one_thread_have_one_number_of_threads() {
        std::thread::spawn(|| {
            let accelerator = CpuAccelerator::new();
            let one = spec(Input::Preprocessed, 1);
            accelerator.context(&one).unwrap();
            accelerator.context(&one).unwrap();
            let two = ContextSpec { threads: 2, ..one };
            insta::assert_snapshot!(
                accelerator.context(&two).err().unwrap(),
                @"this thread's contexts have 1 threads each, found 2"
            );
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_payload_of_another_length_is_refused_and_the_slot_kept() {
        let mut context = context(
            Input::Raw {
                width: 10,
                height: 20,
            },
            1,
        );
        let before = replies(&mut *context, &[image(10, 20, 5)]);
        insta::assert_snapshot!(
            context.copy_in(0, &[1; 599]).unwrap_err(),
            @"payload has 599 bytes, a raw image of 10x20 has 600"
        );
        context.preprocess(1).unwrap();
        context.infer(1).unwrap();
        let mut reply = vec![0; context.reply_bytes()];
        context.copy_out(0, &mut reply).unwrap();
        assert_eq!(reply, before[0]);
    }

    #[test]
    fn a_short_reply_buffer_is_refused() {
        let mut context = context(Input::Preprocessed, 1);
        insta::assert_snapshot!(
            context.copy_out(0, &mut [0; 3999]).unwrap_err(),
            @"reply buffer has 3999 bytes, the reply has 4000"
        );
        insta::assert_snapshot!(
            context.copy_in(0, &[]).unwrap_err(),
            @"payload has 0 bytes, a preprocessed tensor of 3x32x32 has 12288"
        );
    }

    #[test]
    fn the_variable_for_the_number_of_threads_is_checked() {
        assert_eq!(threads_warning(Some("1")), None);
        insta::assert_snapshot!(
            threads_warning(Some("0")).unwrap(),
            @"RAYON_NUM_THREADS is `0`, so each matrix product first looks up the number of cores and inference takes longer than it needs to; set it to the number of threads of a context, usually 1"
        );
        assert!(
            threads_warning(None)
                .unwrap()
                .starts_with("RAYON_NUM_THREADS is not set, so")
        );
    }
}

//! The back end that computes on this machine's processor, by candle.
//!
//! The phases are those of a GPU: `copy_in` copies into buffers that stand for device memory,
//! and for a preprocessed input straight into the net's input tensor; `copy_out` copies from the
//! output tensor. Between them nothing is copied twice. candle allocates the tensors between the
//! layers in every forward pass; payloads, input and output have fixed buffers.
//!
//! With one thread a context, all its compute is on the thread that calls, so that the thread's
//! CPU clock reads the compute time, and two contexts meet only in caches and memory. The process
//! should be started with [`THREADS_VARIABLE`] set.

mod net;
mod threads;

use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::Device;

use self::net::NetContext;
pub use self::threads::THREADS_VARIABLE;
use self::threads::{join_pool, threads_warning};
use super::nets::{Net, NetName};
use super::synthetic::{SpinRate, SyntheticContext};
use super::{
    Accelerator, AcceleratorError, Context, ContextSpec, Description, NetSpec, Weights, Workload,
};

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
            Workload::Kernels(_) => Err(AcceleratorError::NotOnThis { backend: "cpu" }),
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

/// Model name of the first processor, where the operating system tells it.
fn processor_name() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use candle_core::Tensor;

    use super::super::preprocess::{Preprocessor, decode, encode};
    use super::super::spec::CHANNELS;
    use super::*;

    const SIDE: usize = 32;

    fn spec(input: Input, max_batch: usize) -> ContextSpec {
        spec_of(NetName::Squeezenet, input, max_batch)
    }

    fn spec_of(net: NetName, input: Input, max_batch: usize) -> ContextSpec {
        let net = NetSpec {
            net,
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
    fn raw_and_preprocessed_input_have_the_same_reply_of_every_net() {
        let raw = Input::Raw {
            width: 50,
            height: 40,
        };
        let pixels = image(50, 40, 1);
        for name in NetName::ALL {
            let mut tensor = vec![0.0; CHANNELS * SIDE * SIDE];
            Preprocessor::new(50, 40, SIDE)
                .normalised(name.normalisation())
                .run(&pixels, &mut tensor);
            let mut payload = vec![0; tensor.len() * 4];
            encode(&tensor, &mut payload);
            let accelerator = CpuAccelerator::new();
            let context = |input| accelerator.context(&spec_of(name, input, 1)).unwrap();
            let (mut raw, mut preprocessed) = (context(raw), context(Input::Preprocessed));
            assert_eq!(raw.payload_bytes(), pixels.len());
            assert_eq!(preprocessed.payload_bytes(), payload.len());
            let expected = name.info().output_bytes(SIDE as u32).as_usize();
            assert_eq!(raw.reply_bytes(), expected, "{name}");
            let reply = replies(&mut *raw, std::slice::from_ref(&pixels));
            let same = replies(&mut *preprocessed, std::slice::from_ref(&payload));
            assert!(reply == same, "{name}");
            assert!(reply[0].iter().any(|byte| *byte != 0), "{name}");
        }
    }

    #[test]
    fn a_reply_is_every_output_in_order() {
        let payload = {
            let mut payload = vec![0; 4 * CHANNELS * SIDE * SIDE];
            let values = image(SIDE, SIDE, 7);
            let values: Vec<f32> = values.iter().map(|x| f32::from(*x) / 128.0 - 1.0).collect();
            encode(&values, &mut payload);
            payload
        };
        let mut values = vec![0.0; CHANNELS * SIDE * SIDE];
        decode(&payload, &mut values);
        let input = Tensor::from_vec(values, (1, CHANNELS, SIDE, SIDE), &Device::Cpu).unwrap();

        let accelerator = CpuAccelerator::new();
        let spec = spec_of(NetName::Yolov4, Input::Preprocessed, 2);
        let mut context = accelerator.context(&spec).unwrap();
        let other = vec![0; payload.len()];
        let found = replies(&mut *context, &[other, payload]);
        let Workload::Net(net) = &spec.workload else {
            unreachable!("the specification is of a net")
        };
        let outputs = accelerator.net(net).unwrap().forward(&input).unwrap();
        let expected: Vec<f32> = outputs
            .iter()
            .flat_map(|it| it.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .collect();
        let mut reply = vec![0.0; expected.len()];
        decode(&found[1], &mut reply);
        let largest = expected.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        for (a, b) in reply.iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-5 * largest, "{a}, not {b}");
        }
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
}

//! What follows a convolution or a matrix product, in one pass and in place: bias, sum, activation.
//!
//! On a CPU this is an operation of our own. candle's elementwise operations allocate their
//! output and, above 65,536 elements, share one pool of threads in the whole process, for which
//! contexts wait for each other and whose threads spin.

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};
use candle_nn::ops;

/// What is done with each channel of the output of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epilogue<'a> {
    /// Added to each channel: `[c]`.
    pub(super) bias: &'a Tensor,
    /// Added before or after the activation, of the shape of the output.
    pub(super) residual: Option<Residual<'a>>,
    /// What becomes of each value.
    pub(super) activation: Activation,
}

/// What is added to the output of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Residual<'a> {
    /// Before the activation, as in ResNet.
    Before(&'a Tensor),
    /// After it, as in darknet.
    After(&'a Tensor),
}

/// What is done with each value at the end of a layer. Not a number stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Values stay as they are.
    Identity,
    /// Negative values become zero.
    Relu,
    /// Negative values are divided by ten, as in darknet.
    LeakyRelu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x / (1 + exp(-x))`, also called swish (Ramachandran et al., arXiv 1710.05941).
    Silu,
    /// `x tanh(ln(1 + exp(x)))` (Misra, BMVC 2020).
    Mish,
    /// `min(max(x + 3, 0), 6) / 6` (Howard et al., ICCV 2019).
    HardSigmoid,
    /// `x` times its hard sigmoid.
    HardSwish,
}

impl Activation {
    /// What becomes of `x`, by candle's operations.
    fn of(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Relu => x.relu(),
            Self::LeakyRelu => ops::leaky_relu(x, f64::from(LEAK)),
            Self::Sigmoid => ops::sigmoid(x),
            Self::Silu => ops::silu(x),
            Self::Mish => ops::mish(x),
            Self::HardSigmoid => ops::hard_sigmoid(x),
            Self::HardSwish => x * ops::hard_sigmoid(x)?,
        }
    }
}

/// What negative values are multiplied by in a leaky rectifier, as darknet has it.
const LEAK: f32 = 0.1;

fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

fn leaky_relu(x: f32) -> f32 {
    if x < 0.0 { LEAK * x } else { x }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// With `e = exp(x)`, `tanh(ln(1 + e))` is `e (e + 2) / (e (e + 2) + 2)`: one exponential, and no
/// difference of near values.
fn mish(x: f32) -> f32 {
    // Beyond, the fraction is 1 to the last bit.
    if x > 20.0 {
        return x;
    }
    let e = x.exp();
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}

fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

fn hard_swish(x: f32) -> f32 {
    x * hard_sigmoid(x)
}

impl Epilogue<'_> {
    /// Applies this to `output`, `[n, c]` or `[n, c, h, w]`, which must share its memory with no
    /// other tensor.
    pub(super) fn apply(&self, output: Tensor) -> candle_core::Result<Tensor> {
        if output.device().is_cpu() {
            output.inplace_op1(self)?;
            return Ok(output);
        }
        let bias = if output.rank() == 4 {
            self.bias.reshape((self.bias.elem_count(), 1, 1))?
        } else {
            self.bias.clone()
        };
        let x = output.broadcast_add(&bias)?;
        match self.residual {
            None => self.activation.of(&x),
            Some(Residual::Before(residual)) => self.activation.of(&(x + residual)?),
            Some(Residual::After(residual)) => self.activation.of(&x)? + residual,
        }
    }

    fn apply_to(&self, values: &mut [f32], plane: usize) -> candle_core::Result<()> {
        // A loop of its own for each activation, so that those without branches are vectorised.
        match self.activation {
            Activation::Identity => self.run(values, plane, |x| x),
            Activation::Relu => self.run(values, plane, relu),
            Activation::LeakyRelu => self.run(values, plane, leaky_relu),
            Activation::Sigmoid => self.run(values, plane, sigmoid),
            Activation::Silu => self.run(values, plane, silu),
            Activation::Mish => self.run(values, plane, mish),
            Activation::HardSigmoid => self.run(values, plane, hard_sigmoid),
            Activation::HardSwish => self.run(values, plane, hard_swish),
        }
    }

    fn run(
        &self,
        values: &mut [f32],
        plane: usize,
        activate: impl Fn(f32) -> f32,
    ) -> candle_core::Result<()> {
        with_values(self.bias, |bias| {
            let planes = values.chunks_exact_mut(plane).zip(bias.iter().cycle());
            match self.residual {
                None => {
                    for (values, bias) in planes {
                        values.iter_mut().for_each(|x| *x = activate(*x + bias));
                    }
                    Ok(())
                }
                Some(Residual::Before(residual)) => with_values(residual, |residual| {
                    for ((values, bias), residual) in planes.zip(residual.chunks_exact(plane)) {
                        for (x, residual) in values.iter_mut().zip(residual) {
                            *x = activate(*x + bias + residual);
                        }
                    }
                    Ok(())
                }),
                Some(Residual::After(residual)) => with_values(residual, |residual| {
                    for ((values, bias), residual) in planes.zip(residual.chunks_exact(plane)) {
                        for (x, residual) in values.iter_mut().zip(residual) {
                            *x = activate(*x + bias) + residual;
                        }
                    }
                    Ok(())
                }),
            }
        })
    }
}

impl InplaceOp1 for Epilogue<'_> {
    fn name(&self) -> &'static str {
        "epilogue"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("output of a layer is not of contiguous 32-bit floats")
        };
        let plane = layout.dims()[2..].iter().product();
        self.apply_to(&mut values[start..end], plane)
    }
}

/// Calls `read` with the values of a tensor in the memory of the host.
pub(super) fn with_values(
    tensor: &Tensor,
    read: impl FnOnce(&[f32]) -> candle_core::Result<()>,
) -> candle_core::Result<()> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
    else {
        candle_core::bail!("operand of a layer is not contiguous on the CPU")
    };
    read(&storage.as_slice::<f32>()?[start..end])
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn applied(epilogue: Epilogue<'_>, shape: &[usize]) -> Vec<f32> {
        let output = tensor(&[-4.0, 1.0, 2.0, -3.0, 5.0, -6.0, 7.0, 8.0], shape);
        epilogue
            .apply(output)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    }

    #[test]
    fn each_channel_of_each_image_gets_its_bias() {
        let bias = tensor(&[10.0, 20.0], &[2]);
        let epilogue = Epilogue {
            bias: &bias,
            residual: None,
            activation: Activation::Identity,
        };
        assert_eq!(
            applied(epilogue, &[2, 2, 1, 2]),
            [6.0, 11.0, 22.0, 17.0, 15.0, 4.0, 27.0, 28.0]
        );
        assert_eq!(
            applied(epilogue, &[4, 2]),
            [6.0, 21.0, 12.0, 17.0, 15.0, 14.0, 17.0, 28.0]
        );
    }

    #[test]
    fn the_residual_is_added_before_the_rectifier() {
        let bias = tensor(&[1.0, -1.0], &[2]);
        let residual = tensor(&[2.0; 8], &[2, 2, 1, 2]);
        let epilogue = Epilogue {
            bias: &bias,
            residual: Some(Residual::Before(&residual)),
            activation: Activation::Relu,
        };
        assert_eq!(
            applied(epilogue, &[2, 2, 1, 2]),
            [0.0, 4.0, 3.0, 0.0, 8.0, 0.0, 8.0, 9.0]
        );
    }

    #[test]
    fn the_residual_is_added_after_the_activation() {
        let bias = tensor(&[1.0, -1.0], &[2]);
        let residual = tensor(&[2.0; 8], &[2, 2, 1, 2]);
        let epilogue = Epilogue {
            bias: &bias,
            residual: Some(Residual::After(&residual)),
            activation: Activation::Relu,
        };
        assert_eq!(
            applied(epilogue, &[2, 2, 1, 2]),
            [2.0, 4.0, 3.0, 2.0, 8.0, 2.0, 8.0, 9.0]
        );
    }

    #[test]
    fn not_a_number_is_not_hidden() {
        for activation in ALL {
            let bias = tensor(&[f32::NAN, 0.0], &[2]);
            let epilogue = Epilogue {
                bias: &bias,
                residual: None,
                activation,
            };
            let first = applied(epilogue, &[2, 2, 1, 2])[0];
            assert!(first.is_nan(), "{activation:?}: {first}");
        }
    }

    const ALL: [Activation; 8] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Mish,
        Activation::HardSigmoid,
        Activation::HardSwish,
    ];

    #[test]
    fn activations_equal_their_definitions() {
        let exact = |activation, x: f64| match activation {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu => x.max(0.1 * x),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Mish => x * x.exp().ln_1p().tanh(),
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        };
        let inputs: Vec<f32> = (-100..=100).map(|i| i as f32 * 0.31).collect();
        let bias = tensor(&[0.0], &[1]);
        for activation in ALL {
            let epilogue = Epilogue {
                bias: &bias,
                residual: None,
                activation,
            };
            let of = tensor(&inputs, &[1, 1, 1, inputs.len()]);
            let candles: Vec<f32> = activation
                .of(&of)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            let found = epilogue.apply(of).unwrap().flatten_all().unwrap();
            let found: Vec<f32> = found.to_vec1().unwrap();
            for ((x, found), candles) in inputs.iter().zip(found).zip(candles) {
                let expected = exact(activation, f64::from(*x));
                // Some units in the last place, of the argument of an exponential too.
                let tolerance = 4e-6 * expected.abs().max(1e-3);
                let error = (f64::from(found) - expected).abs();
                assert!(error <= tolerance, "{activation:?} of {x}: {found}");
                let error = (f64::from(candles) - expected).abs();
                assert!(error <= 1e-5, "candle's {activation:?} of {x}: {candles}");
            }
        }
    }
}

//! What follows a convolution or a matrix product, in one pass and in place: bias, sum, rectifier.
//!
//! On a CPU this is an operation of our own. candle's elementwise operations allocate their
//! output and, above 65,536 elements, share one pool of threads in the whole process, for which
//! contexts wait for each other and whose threads spin.

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};

/// What is done with each channel of the output of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epilogue<'a> {
    /// Added to each channel: `[c]`.
    pub(super) bias: &'a Tensor,
    /// Added then, of the shape of the output.
    pub(super) residual: Option<&'a Tensor>,
    /// What becomes of negative values.
    pub(super) activation: Activation,
}

/// What is done with each value at the end of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Values stay as they are.
    Identity,
    /// Negative values become zero.
    Relu,
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
        let mut x = output.broadcast_add(&bias)?;
        if let Some(residual) = self.residual {
            x = (x + residual)?;
        }
        match self.activation {
            Activation::Identity => Ok(x),
            Activation::Relu => x.relu(),
        }
    }

    fn apply_to(&self, values: &mut [f32], plane: usize) -> candle_core::Result<()> {
        with_values(self.bias, |bias| {
            let planes = values.chunks_exact_mut(plane).zip(bias.iter().cycle());
            let Some(residual) = self.residual else {
                for (values, bias) in planes {
                    values
                        .iter_mut()
                        .for_each(|x| *x = self.activate(*x + bias));
                }
                return Ok(());
            };
            with_values(residual, |residual| {
                for ((values, bias), residual) in planes.zip(residual.chunks_exact(plane)) {
                    for (x, residual) in values.iter_mut().zip(residual) {
                        *x = self.activate(*x + bias + residual);
                    }
                }
                Ok(())
            })
        })
    }

    /// Not a number stays so.
    fn activate(&self, x: f32) -> f32 {
        if self.activation == Activation::Relu && x < 0.0 {
            0.0
        } else {
            x
        }
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
fn with_values(
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
            residual: Some(&residual),
            activation: Activation::Relu,
        };
        assert_eq!(
            applied(epilogue, &[2, 2, 1, 2]),
            [0.0, 4.0, 3.0, 0.0, 8.0, 0.0, 8.0, 9.0]
        );
    }

    #[test]
    fn not_a_number_is_not_hidden() {
        let bias = tensor(&[f32::NAN, 0.0], &[2]);
        let epilogue = Epilogue {
            bias: &bias,
            residual: None,
            activation: Activation::Relu,
        };
        assert!(applied(epilogue, &[2, 2, 1, 2])[0].is_nan());
    }
}

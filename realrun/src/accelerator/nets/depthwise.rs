//! Depthwise convolution and the scaling of channels, each an operation of our own on a CPU.
//!
//! candle runs a grouped convolution as one convolution a group, each with copies of its own: for
//! the hundreds of channels of a depthwise one that takes many times as long as its arithmetic.

use candle_core::{CpuStorage, CustomOp2, InplaceOp1, Layout, Shape, Tensor};

use super::epilogue::with_values;

/// A convolution of each channel by a kernel of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depthwise {
    /// Side of the kernels, in pixels.
    pub(super) side: usize,
    /// Pixels between two applications.
    pub(super) stride: usize,
    /// Zeros added on each side of the input, in pixels.
    pub(super) padding: usize,
}

impl Depthwise {
    /// The output of `input`, `[n, c, h, w]`, for the kernels `weight`, `[c, 1, side, side]`.
    pub(super) fn apply(self, input: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        if input.device().is_cpu() {
            return input.contiguous()?.apply_op2_no_bwd(weight, &self);
        }
        let channels = input.dim(1)?;
        input.conv2d(weight, self.padding, self.stride, 1, channels)
    }

    /// Number of applications along a side of `size` pixels.
    fn n_out(self, size: usize) -> usize {
        (size + 2 * self.padding).saturating_sub(self.side) / self.stride + 1
    }

    /// The applications at which pixel `k` of the kernel lies in an input of `size` pixels.
    fn inside(self, k: usize, size: usize) -> std::ops::Range<usize> {
        // Application `o` has the pixel at `o * stride + k - padding`.
        let first = self.padding.saturating_sub(k).div_ceil(self.stride);
        let end = (size + self.padding)
            .saturating_sub(k)
            .div_ceil(self.stride);
        first..end.min(self.n_out(size)).max(first)
    }

    /// Adds what a plane of `height` by `width` pixels gives to `output`.
    fn plane(
        self,
        input: &[f32],
        (height, width): (usize, usize),
        kernel: &[f32],
        output: &mut [f32],
    ) {
        let out_width = self.n_out(width);
        for (ky, weights) in kernel.chunks_exact(self.side).enumerate() {
            for y in self.inside(ky, height) {
                let from = (y * self.stride + ky - self.padding) * width;
                let input = &input[from..][..width];
                let output = &mut output[y * out_width..][..out_width];
                for (kx, weight) in weights.iter().enumerate() {
                    let columns = self.inside(kx, width);
                    if columns.is_empty() {
                        continue;
                    }
                    let from = columns.start * self.stride + kx - self.padding;
                    add_scaled(&input[from..], self.stride, *weight, &mut output[columns]);
                }
            }
        }
    }
}

/// Adds every `stride`th value of `input` times `weight` to `output`.
fn add_scaled(input: &[f32], stride: usize, weight: f32, output: &mut [f32]) {
    if stride == 1 {
        for (out, x) in output.iter_mut().zip(input) {
            *out += weight * x;
        }
    } else {
        for (out, x) in output.iter_mut().zip(input.iter().step_by(stride)) {
            *out += weight * x;
        }
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, channels, height, width) = input_layout.shape().dims4()?;
        let (Some((start, end)), Some((from, to))) = (
            input_layout.contiguous_offsets(),
            weight_layout.contiguous_offsets(),
        ) else {
            candle_core::bail!("operand of a depthwise convolution is not contiguous")
        };
        let input = &input.as_slice::<f32>()?[start..end];
        let kernels = &weight.as_slice::<f32>()?[from..to];
        let (out_height, out_width) = (self.n_out(height), self.n_out(width));
        let plane = out_height * out_width;
        let mut output = vec![0.0; n * channels * plane];
        let planes = input.chunks_exact(height * width);
        let kernels = kernels.chunks_exact(self.side * self.side).cycle();
        for ((output, input), kernel) in output.chunks_exact_mut(plane).zip(planes).zip(kernels) {
            self.plane(input, (height, width), kernel, output);
        }
        let shape = Shape::from((n, channels, out_height, out_width));
        Ok((CpuStorage::F32(output), shape))
    }
}

/// Multiplies each plane of `x`, `[n, c, h, w]`, by its value in `gains`, `[n, c, 1, 1]`. `x` must
/// share its memory with no other tensor.
pub(super) fn scale_planes(x: Tensor, gains: &Tensor) -> candle_core::Result<Tensor> {
    if !x.device().is_cpu() {
        return x.broadcast_mul(gains);
    }
    x.inplace_op1(&Scale { gains })?;
    Ok(x)
}

/// Multiplies planes, in place.
struct Scale<'a> {
    gains: &'a Tensor,
}

impl InplaceOp1 for Scale<'_> {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("output of a layer is not of contiguous 32-bit floats")
        };
        let plane = layout.dims()[2..].iter().product();
        with_values(self.gains, |gains| {
            for (values, gain) in values[start..end].chunks_exact_mut(plane).zip(gains) {
                values.iter_mut().for_each(|x| *x *= gain);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn values(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn each_size_equals_the_grouped_convolution() {
        let (n, channels) = (2, 3);
        for (kernel, stride, size) in [
            (3, 1, 7),
            (3, 2, 7),
            (3, 2, 8),
            (5, 1, 6),
            (5, 2, 9),
            (5, 2, 1),
            (5, 1, 2),
            (3, 2, 1),
        ] {
            let input = Tensor::from_vec(
                values(n * channels * size * (size + 1), 0.7),
                (n, channels, size, size + 1),
                &Device::Cpu,
            )
            .unwrap();
            let weight = Tensor::from_vec(
                values(channels * kernel * kernel, 1.3),
                (channels, 1, kernel, kernel),
                &Device::Cpu,
            )
            .unwrap();
            let padding = kernel / 2;
            let op = Depthwise {
                side: kernel,
                stride,
                padding,
            };
            let found = op.apply(&input, &weight).unwrap();
            let expected = input.conv2d(&weight, padding, stride, 1, channels).unwrap();
            assert_eq!(found.dims(), expected.dims());
            let difference = (found - expected).unwrap().abs().unwrap();
            let largest: f32 = difference.max_all().unwrap().to_scalar().unwrap();
            assert!(
                largest < 1e-5,
                "kernel {kernel}, stride {stride}, side {size}: {largest}"
            );
        }
    }

    #[test]
    fn each_plane_has_its_own_gain() {
        let x = Tensor::ones((2, 2, 1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let gains = Tensor::from_vec(vec![2.0_f32, 3.0, 4.0, 5.0], (2, 2, 1, 1), &Device::Cpu);
        let scaled = scale_planes(x, &gains.unwrap()).unwrap();
        let scaled: Vec<f32> = scaled.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(scaled, [2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0]);
    }
}

//! Layers that the nets share, each loaded by torchvision's names.

use candle_core::{D, Module as _, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear};

use super::super::AcceleratorError;
use super::weights::Scope;

/// Added to the running variance by torchvision's batch normalisation.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Dimensions of a square convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    /// Input channels.
    pub(super) n_in: usize,
    /// Output channels.
    pub(super) n_out: usize,
    /// Side of the kernel, in pixels.
    pub(super) side: usize,
    /// Pixels between two applications.
    pub(super) stride: usize,
    /// Zeros added on each side of the input, in pixels.
    pub(super) padding: usize,
}

impl Kernel {
    /// A kernel of one pixel.
    pub(super) fn pointwise(n_in: usize, n_out: usize) -> Self {
        Self {
            n_in,
            n_out,
            side: 1,
            stride: 1,
            padding: 0,
        }
    }

    /// A 3x3 kernel padded so that a stride of 1 keeps the size.
    pub(super) fn same3(n_in: usize, n_out: usize) -> Self {
        Self {
            n_in,
            n_out,
            side: 3,
            stride: 1,
            padding: 1,
        }
    }

    /// This kernel with another stride.
    pub(super) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    fn shape(self) -> [usize; 4] {
        [self.n_out, self.n_in, self.side, self.side]
    }

    fn config(self) -> Conv2dConfig {
        Conv2dConfig {
            padding: self.padding,
            stride: self.stride,
            ..Conv2dConfig::default()
        }
    }
}

/// The convolution at `scope`, with its bias.
pub(super) fn conv(scope: &Scope<'_>, kernel: Kernel) -> Result<Conv2d, AcceleratorError> {
    let weight = scope.tensor("weight", &kernel.shape())?;
    let bias = scope.tensor("bias", &[kernel.n_out])?;
    Ok(Conv2d::new(weight, Some(bias), kernel.config()))
}

/// The convolution `conv` without bias and the batch normalisation `norm` after it, as one
/// convolution.
///
/// Normalisation scales each channel by `g = weight / sqrt(running_var + epsilon)` and shifts it,
/// so the kernel is multiplied by `g` and the bias is `bias - g * running_mean`.
pub(super) fn conv_norm(
    scope: &Scope<'_>,
    (conv, norm): (&str, &str),
    kernel: Kernel,
) -> Result<Conv2d, AcceleratorError> {
    let weight = scope.at(conv).tensor("weight", &kernel.shape())?;
    let norm = scope.at(norm);
    let channels = [kernel.n_out];
    let scale = norm.tensor("weight", &channels)?;
    let shift = norm.tensor("bias", &channels)?;
    let mean = norm.tensor("running_mean", &channels)?;
    let variance = norm.tensor("running_var", &channels)?;
    let folded = || -> candle_core::Result<(Tensor, Tensor)> {
        let gain = (scale / (variance + BATCH_NORM_EPSILON)?.sqrt()?)?;
        let weight = weight.broadcast_mul(&gain.reshape((kernel.n_out, 1, 1, 1))?)?;
        Ok((weight, (shift - (gain * mean)?)?))
    };
    let (weight, bias) = folded().map_err(AcceleratorError::compute("folding weights"))?;
    Ok(Conv2d::new(weight, Some(bias), kernel.config()))
}

/// The fully connected layer at `scope`.
pub(super) fn linear(
    scope: &Scope<'_>,
    n_in: usize,
    n_out: usize,
) -> Result<Linear, AcceleratorError> {
    let weight = scope.tensor("weight", &[n_out, n_in])?;
    Ok(Linear::new(weight, Some(scope.tensor("bias", &[n_out])?)))
}

/// The rectified output of a convolution.
pub(super) fn conv_relu(conv: &Conv2d, input: &Tensor) -> candle_core::Result<Tensor> {
    conv.forward(input)?.relu()
}

/// Maximum of each 3x3 window, two pixels apart, of an input that is nowhere negative.
///
/// `before` zeros are added above and left, and as many below and right that the last window
/// covers the last pixel. The output then has the size of torchvision's `padding=1` for
/// `before = 1`, and of its `ceil_mode=True` for `before = 0`. Zeros change no maximum, as the
/// input is rectified.
pub(super) fn max_pool(input: &Tensor, before: usize) -> candle_core::Result<Tensor> {
    let mut padded = input.clone();
    for dim in [D::Minus2, D::Minus1] {
        let after = pad_after(padded.dim(dim)? + before);
        padded = padded.pad_with_zeros(dim, before, after)?;
    }
    padded.max_pool2d_with_stride(3, 2)
}

/// Pixels to add to `side` so that windows of 3, two apart, cover it.
fn pad_after(side: usize) -> usize {
    let n_windows = side.saturating_sub(3).div_ceil(2) + 1;
    (2 * n_windows + 1) - side
}

/// Mean over all pixels: `[n, c, h, w]` to `[n, c]`.
pub(super) fn global_mean(input: &Tensor) -> candle_core::Result<Tensor> {
    input.flatten_from(2)?.mean(D::Minus1)
}

//! Layers that the nets share, each loaded by its names in PyTorch.

use candle_core::{D, Tensor};

use super::super::AcceleratorError;
use super::depthwise::Depthwise;
use super::epilogue::{Activation, Epilogue, Residual};
use super::weights::Scope;

/// Added to the running variance by PyTorch's batch normalisation, where a net says nothing else.
const BATCH_NORM_EPSILON: f32 = 1e-5;

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
    /// Pixels of the input from one of the kernel to the next.
    pub(super) dilation: usize,
    /// Which input channels an output channel sees.
    pub(super) sees: Sees,
}

/// Which input channels an output channel of a convolution sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sees {
    /// All of them.
    All,
    /// The one of its own number; there are as many of both.
    Own,
}

impl Kernel {
    /// A kernel of one pixel.
    pub(super) fn pointwise(n_in: usize, n_out: usize) -> Self {
        Self::same(n_in, n_out, 1)
    }

    /// A 3x3 kernel padded so that a stride of 1 keeps the size.
    pub(super) fn same3(n_in: usize, n_out: usize) -> Self {
        Self::same(n_in, n_out, 3)
    }

    /// A kernel of an odd side padded so that a stride of 1 keeps the size.
    pub(super) fn same(n_in: usize, n_out: usize, side: usize) -> Self {
        Self {
            n_in,
            n_out,
            side,
            stride: 1,
            padding: side / 2,
            dilation: 1,
            sees: Sees::All,
        }
    }

    /// A kernel of an odd side for each of `channels`, padded so that a stride of 1 keeps the size.
    pub(super) fn depthwise(channels: usize, side: usize) -> Self {
        Self {
            sees: Sees::Own,
            ..Self::same(channels, channels, side)
        }
    }

    /// This kernel with another stride.
    pub(super) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// This kernel with its pixels further apart, padded so that a stride of 1 keeps the size.
    pub(super) fn dilation(self, dilation: usize) -> Self {
        Self {
            dilation,
            padding: dilation * (self.side / 2),
            ..self
        }
    }

    fn shape(self) -> [usize; 4] {
        let seen = match self.sees {
            Sees::All => self.n_in,
            Sees::Own => 1,
        };
        [self.n_out, seen, self.side, self.side]
    }
}

/// A convolution with a bias for each output channel.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    kernel: Kernel,
    weight: Tensor,
    bias: Tensor,
}

impl Conv {
    /// The convolution at `scope`.
    pub(super) fn load(scope: &Scope<'_>, kernel: Kernel) -> Result<Self, AcceleratorError> {
        Ok(Self {
            kernel,
            weight: scope.tensor("weight", &kernel.shape())?,
            bias: scope.tensor("bias", &[kernel.n_out])?,
        })
    }

    /// The convolution `conv` without bias and the batch normalisation `norm` after it, as one
    /// convolution.
    ///
    /// Normalisation scales each channel by `g = weight / sqrt(running_var + epsilon)` and shifts
    /// it, so the kernel is multiplied by `g` and the bias is `bias - g * running_mean`.
    pub(super) fn load_normalised(
        scope: &Scope<'_>,
        names: (&str, &str),
        kernel: Kernel,
    ) -> Result<Self, AcceleratorError> {
        Self::load_normalised_by(scope, names, kernel, BATCH_NORM_EPSILON)
    }

    /// The same, of a normalisation that adds `epsilon` to the variance.
    pub(super) fn load_normalised_by(
        scope: &Scope<'_>,
        (conv, norm): (&str, &str),
        kernel: Kernel,
        epsilon: f32,
    ) -> Result<Self, AcceleratorError> {
        let weight = scope.at(conv).tensor("weight", &kernel.shape())?;
        let norm = scope.at(norm);
        let statistics = ["weight", "bias", "running_mean", "running_var"]
            .map(|name| norm.tensor(name, &[kernel.n_out]));
        let [scale, shift, mean, variance] = statistics;
        let (weight, bias) = fold(&weight, [&scale?, &shift?, &mean?, &variance?], epsilon)
            .map_err(AcceleratorError::compute("folding weights"))?;
        Ok(Self {
            kernel,
            weight,
            bias,
        })
    }

    /// The output.
    pub(super) fn linear(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        self.run(input, None, Activation::Identity)
    }

    /// The output, rectified.
    pub(super) fn rectified(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        self.run(input, None, Activation::Relu)
    }

    /// The output after `activation`.
    pub(super) fn activated(
        &self,
        input: &Tensor,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        self.run(input, None, activation)
    }

    /// The sum of the output and a residual, with `activation` before or after the sum.
    pub(super) fn sum(
        &self,
        input: &Tensor,
        residual: Residual<'_>,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        self.run(input, Some(residual), activation)
    }

    fn run(
        &self,
        input: &Tensor,
        residual: Option<Residual<'_>>,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        let epilogue = Epilogue {
            bias: &self.bias,
            residual,
            activation,
        };
        epilogue.apply(self.convolved(input)?)
    }

    fn convolved(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let Kernel {
            padding,
            stride,
            dilation,
            ..
        } = self.kernel;
        match self.kernel.sees {
            Sees::All => input.conv2d(&self.weight, padding, stride, dilation, 1),
            Sees::Own => {
                let depthwise = Depthwise {
                    side: self.kernel.side,
                    stride,
                    padding,
                };
                depthwise.apply(input, &self.weight)
            }
        }
    }
}

/// Weight and bias of a convolution with a batch normalisation of `[weight, bias, running_mean,
/// running_var]` folded in.
fn fold(
    weight: &Tensor,
    statistics: [&Tensor; 4],
    epsilon: f32,
) -> candle_core::Result<(Tensor, Tensor)> {
    let [scale, shift, mean, variance] = statistics.map(Tensor::to_vec1::<f32>);
    let (mut gains, mut biases) = (scale?, shift?);
    for (((gain, bias), mean), variance) in
        gains.iter_mut().zip(&mut biases).zip(mean?).zip(variance?)
    {
        *gain /= (variance + epsilon).sqrt();
        *bias -= *gain * mean;
    }
    let mut kernel = weight.flatten_all()?.to_vec1::<f32>()?;
    let n_each = kernel.len() / gains.len();
    for (values, gain) in kernel.chunks_exact_mut(n_each).zip(&gains) {
        values.iter_mut().for_each(|value| *value *= gain);
    }
    let device = weight.device();
    let weight = Tensor::from_vec(kernel, weight.shape(), device)?;
    let n_biases = biases.len();
    Ok((weight, Tensor::from_vec(biases, n_biases, device)?))
}

/// A fully connected layer.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    weight: Tensor,
    bias: Tensor,
}

impl Dense {
    /// The layer at `scope`.
    pub(super) fn load(
        scope: &Scope<'_>,
        n_in: usize,
        n_out: usize,
    ) -> Result<Self, AcceleratorError> {
        Ok(Self {
            weight: scope.tensor("weight", &[n_out, n_in])?,
            bias: scope.tensor("bias", &[n_out])?,
        })
    }

    /// The output for `input`, `[n, n_in]`.
    pub(super) fn linear(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        self.activated(input, Activation::Identity)
    }

    /// The output for `input` after `activation`.
    pub(super) fn activated(
        &self,
        input: &Tensor,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        let epilogue = Epilogue {
            bias: &self.bias,
            residual: None,
            activation,
        };
        epilogue.apply(input.matmul(&self.weight.t()?)?)
    }
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

/// Maximum of each 5x5 window around a pixel, of those of its pixels that lie in the image.
///
/// Edges are repeated: what a window then has twice, it has once anyway.
pub(super) fn max_pool_same5(input: &Tensor) -> candle_core::Result<Tensor> {
    let mut padded = input.clone();
    for dim in [D::Minus2, D::Minus1] {
        padded = padded.pad_with_same(dim, 2, 2)?;
    }
    padded.max_pool2d_with_stride(5, 1)
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

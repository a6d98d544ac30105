//! Inverted residual blocks (Sandler et al., "MobileNetV2", CVPR 2018) with squeeze-and-excitation
//! (Hu et al., CVPR 2018), of which MobileNetV3 and EfficientNet are built.

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::depthwise::scale_planes;
use super::epilogue::{Activation, Residual};
use super::layers::{Conv, Kernel, global_mean};
use super::weights::Scope;

/// Dimensions of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) n_in: usize,
    /// Channels of the depthwise convolution. If they are as many as the input's, nothing expands.
    pub(super) n_inner: usize,
    pub(super) n_out: usize,
    /// Side of the depthwise kernels, in pixels.
    pub(super) side: usize,
    /// Of the depthwise convolution.
    pub(super) stride: usize,
    /// After all convolutions but the last.
    pub(super) activation: Activation,
    pub(super) squeeze: Option<Squeeze>,
    /// Added to the variance when normalising.
    pub(super) epsilon: f32,
}

/// How channels are weighed by their means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Squeeze {
    /// Channels between the two layers.
    pub(super) n_inner: usize,
    /// After the first layer.
    pub(super) activation: Activation,
    /// After the second layer.
    pub(super) gate: Activation,
}

/// Expansion, depthwise convolution and projection; the input is added where the shape is kept.
#[derive(Debug, Clone)]
pub(super) struct Block {
    shape: Shape,
    expand: Option<Conv>,
    depthwise: Conv,
    excitation: Option<Excitation>,
    project: Conv,
}

impl Block {
    /// The block at `scope`, with torchvision's names: layers are numbered below `block`, without
    /// a gap for those that are left out.
    pub(super) fn load(scope: &Scope<'_>, shape: Shape) -> Result<Self, AcceleratorError> {
        let block = scope.at("block");
        let mut layers = (0..).map(|idx: usize| block.at(&idx.to_string()));
        let mut next = || layers.next().expect("there is no last number");
        let conv = |scope: &Scope<'_>, kernel| {
            Conv::load_normalised_by(scope, ("0", "1"), kernel, shape.epsilon)
        };
        let expand = (shape.n_inner != shape.n_in)
            .then(|| conv(&next(), Kernel::pointwise(shape.n_in, shape.n_inner)))
            .transpose()?;
        let depthwise = Kernel::depthwise(shape.n_inner, shape.side).stride(shape.stride);
        Ok(Self {
            shape,
            expand,
            depthwise: conv(&next(), depthwise)?,
            excitation: shape
                .squeeze
                .map(|squeeze| Excitation::load(&next(), shape.n_inner, squeeze))
                .transpose()?,
            project: conv(&next(), Kernel::pointwise(shape.n_inner, shape.n_out))?,
        })
    }

    /// The output.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let activation = self.shape.activation;
        let mut x = match &self.expand {
            Some(expand) => self
                .depthwise
                .activated(&expand.activated(input, activation)?, activation)?,
            None => self.depthwise.activated(input, activation)?,
        };
        if let Some(excitation) = &self.excitation {
            x = excitation.apply(x)?;
        }
        if self.shape.stride == 1 && self.shape.n_in == self.shape.n_out {
            self.project
                .sum(&x, Residual::After(input), Activation::Identity)
        } else {
            self.project.linear(&x)
        }
    }
}

/// Two layers that make a weight for each channel from the means of all.
#[derive(Debug, Clone)]
struct Excitation {
    squeeze: Squeeze,
    fc1: Conv,
    fc2: Conv,
}

impl Excitation {
    fn load(
        scope: &Scope<'_>,
        channels: usize,
        squeeze: Squeeze,
    ) -> Result<Self, AcceleratorError> {
        Ok(Self {
            squeeze,
            fc1: Conv::load(
                &scope.at("fc1"),
                Kernel::pointwise(channels, squeeze.n_inner),
            )?,
            fc2: Conv::load(
                &scope.at("fc2"),
                Kernel::pointwise(squeeze.n_inner, channels),
            )?,
        })
    }

    /// `x`, which must share its memory with no other tensor, with its channels weighed.
    fn apply(&self, x: Tensor) -> candle_core::Result<Tensor> {
        let (n, channels) = (x.dim(0)?, x.dim(1)?);
        let means = global_mean(&x)?.reshape((n, channels, 1, 1))?;
        let inner = self.fc1.activated(&means, self.squeeze.activation)?;
        scale_planes(x, &self.fc2.activated(&inner, self.squeeze.gate)?)
    }
}

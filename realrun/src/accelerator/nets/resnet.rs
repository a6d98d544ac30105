//! Residual networks (He et al., "Deep residual learning for image recognition", CVPR 2016), with
//! the stride of a bottleneck in its 3x3 convolution, as torchvision has it (v1.5), wide ones
//! (Zagoruyko and Komodakis, BMVC 2016) and those that keep a larger image (Yu et al., "Dilated
//! residual networks", CVPR 2017).

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::N_CLASSES;
use super::epilogue::{Activation, Residual};
use super::layers::{Conv, Dense, Kernel, global_mean, max_pool};
use super::weights::Scope;

/// Smallest side of the input; each layer pads enough for a single pixel.
pub(super) const MIN_SIDE: usize = 1;

/// Channels of the stem, and of the first layer's inner convolutions.
const STEM_CHANNELS: usize = 64;

/// Number of layers between the stem and the classifier.
const N_LAYERS: usize = 4;

/// Which block a net is built of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// A 3x3 convolution between two pointwise ones, the last with four times the channels.
    Bottleneck {
        /// Inner channels for each of ResNet's.
        widening: usize,
    },
}

impl BlockKind {
    /// Output channels of a block for each of ResNet's inner channels.
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck { .. } => 4,
        }
    }
}

/// How much smaller than the input the image is after the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shrink {
    /// Each layer but the first halves it.
    By32,
    /// The last two layers do not halve it, and dilate their 3x3 convolutions instead.
    By8,
}

impl Shrink {
    /// Stride of the layer `idx`, and the dilations of its first block and of the others.
    fn of_layer(self, idx: usize) -> (usize, [usize; 2]) {
        match (self, idx) {
            (_, 0) => (1, [1, 1]),
            (Self::By8, 2) => (1, [1, 2]),
            (Self::By8, 3) => (1, [2, 4]),
            _ => (2, [1, 1]),
        }
    }
}

/// A residual network.
#[derive(Debug, Clone)]
pub(super) struct ResNet {
    pub(super) backbone: Backbone,
    classifier: Dense,
}

impl ResNet {
    /// The net at `scope` with `n_blocks` blocks of `kind` in its layers.
    pub(super) fn load(
        scope: &Scope<'_>,
        kind: BlockKind,
        n_blocks: [usize; N_LAYERS],
    ) -> Result<Self, AcceleratorError> {
        let n_features = (STEM_CHANNELS << (N_LAYERS - 1)) * kind.expansion();
        Ok(Self {
            backbone: Backbone::load(scope, kind, n_blocks, Shrink::By32)?,
            classifier: Dense::load(&scope.at("fc"), n_features, N_CLASSES)?,
        })
    }

    /// Scores of `input`, `[n, 3, side, side]`.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.backbone.stem(input)?;
        for idx in 0..N_LAYERS {
            x = self.backbone.layer(idx, &x)?;
        }
        self.classifier.linear(&global_mean(&x)?)
    }
}

/// A residual network without its classifier.
#[derive(Debug, Clone)]
pub(super) struct Backbone {
    stem: Conv,
    layers: [Vec<Block>; N_LAYERS],
}

impl Backbone {
    /// The net at `scope` with `n_blocks` blocks of `kind` in its layers.
    pub(super) fn load(
        scope: &Scope<'_>,
        kind: BlockKind,
        n_blocks: [usize; N_LAYERS],
        shrink: Shrink,
    ) -> Result<Self, AcceleratorError> {
        let stem = Kernel::same(3, STEM_CHANNELS, 7).stride(2);
        let mut n_in = STEM_CHANNELS;
        let mut layers = [const { Vec::new() }; N_LAYERS];
        for (idx, layer) in layers.iter_mut().enumerate() {
            let (stride, dilations) = shrink.of_layer(idx);
            let shape = LayerShape {
                kind,
                n_in,
                planes: STEM_CHANNELS << idx,
                stride,
                dilations,
                n_blocks: n_blocks[idx],
            };
            *layer = shape.load(&scope.at(&format!("layer{}", idx + 1)))?;
            n_in = shape.n_out();
        }
        Ok(Self {
            stem: Conv::load_normalised(scope, ("conv1", "bn1"), stem)?,
            layers,
        })
    }

    /// The stem: convolution and pooling, a quarter of the input's side.
    pub(super) fn stem(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        max_pool(&self.stem.rectified(input)?, 1)
    }

    /// The layer torchvision calls `layer{idx + 1}`.
    pub(super) fn layer(&self, idx: usize, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = input.clone();
        for block in &self.layers[idx] {
            x = block.forward(&x)?;
        }
        Ok(x)
    }
}

/// Dimensions of a layer, a sequence of blocks of which the first may shrink the image.
#[derive(Debug, Clone, Copy)]
struct LayerShape {
    kind: BlockKind,
    n_in: usize,
    /// ResNet's inner channels of each block.
    planes: usize,
    /// Stride of the first block.
    stride: usize,
    /// Dilation of the 3x3 convolution of the first block, and of those of the others.
    dilations: [usize; 2],
    n_blocks: usize,
}

impl LayerShape {
    fn n_out(self) -> usize {
        self.planes * self.kind.expansion()
    }

    fn load(self, scope: &Scope<'_>) -> Result<Vec<Block>, AcceleratorError> {
        (0..self.n_blocks)
            .map(|idx| {
                let [first, others] = self.dilations;
                let block = if idx == 0 {
                    BlockShape {
                        layer: self,
                        n_in: self.n_in,
                        stride: self.stride,
                        dilation: first,
                    }
                } else {
                    BlockShape {
                        layer: self,
                        n_in: self.n_out(),
                        stride: 1,
                        dilation: others,
                    }
                };
                Block::load(&scope.at(&idx.to_string()), block)
            })
            .collect()
    }
}

/// Dimensions of one block of a layer.
#[derive(Debug, Clone, Copy)]
struct BlockShape {
    layer: LayerShape,
    n_in: usize,
    stride: usize,
    dilation: usize,
}

/// Convolutions whose output is added to their input.
#[derive(Debug, Clone)]
struct Block {
    /// All but the last, each followed by a rectifier.
    inner: Vec<Conv>,
    last: Conv,
    /// What brings the input to the shape of the output, where they differ.
    projection: Option<Conv>,
}

impl Block {
    /// The block at `scope`.
    fn load(scope: &Scope<'_>, shape: BlockShape) -> Result<Self, AcceleratorError> {
        let BlockShape {
            layer: LayerShape { kind, planes, .. },
            n_in,
            stride,
            dilation,
        } = shape;
        let n_out = shape.layer.n_out();
        let kernels = match kind {
            BlockKind::Basic => {
                vec![
                    Kernel::same3(n_in, planes).stride(stride),
                    Kernel::same3(planes, n_out),
                ]
            }
            BlockKind::Bottleneck { widening } => {
                let width = widening * planes;
                vec![
                    Kernel::pointwise(n_in, width),
                    Kernel::same3(width, width)
                        .stride(stride)
                        .dilation(dilation),
                    Kernel::pointwise(width, n_out),
                ]
            }
        };
        let mut inner = Vec::with_capacity(kernels.len());
        for (idx, kernel) in (1..).zip(kernels) {
            let names = (&*format!("conv{idx}"), &*format!("bn{idx}"));
            inner.push(Conv::load_normalised(scope, names, kernel)?);
        }
        let last = inner.pop().expect("each kind of block has convolutions");
        let projection = (stride != 1 || n_in != n_out)
            .then(|| {
                let kernel = Kernel::pointwise(n_in, n_out).stride(stride);
                Conv::load_normalised(&scope.at("downsample"), ("0", "1"), kernel)
            })
            .transpose()?;
        Ok(Self {
            inner,
            last,
            projection,
        })
    }

    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = input.clone();
        for conv in &self.inner {
            x = conv.rectified(&x)?;
        }
        match &self.projection {
            Some(projection) => self.rectified_sum(&x, &projection.linear(input)?),
            None => self.rectified_sum(&x, input),
        }
    }

    fn rectified_sum(&self, x: &Tensor, residual: &Tensor) -> candle_core::Result<Tensor> {
        self.last
            .sum(x, Residual::Before(residual), Activation::Relu)
    }
}

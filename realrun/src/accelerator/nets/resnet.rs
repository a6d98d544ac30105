//! Residual networks (He et al., "Deep residual learning for image recognition", CVPR 2016), with
//! the stride of a bottleneck in its 3x3 convolution, as torchvision has it (v1.5).

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::N_CLASSES;
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
    Bottleneck,
}

impl BlockKind {
    /// Output channels of a block for each of its inner channels.
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// A residual network.
#[derive(Debug, Clone)]
pub(super) struct ResNet {
    stem: Conv,
    layers: [Vec<Block>; N_LAYERS],
    classifier: Dense,
}

impl ResNet {
    /// The net at `scope` with `n_blocks` blocks of `kind` in its layers.
    pub(super) fn load(
        scope: &Scope<'_>,
        kind: BlockKind,
        n_blocks: [usize; N_LAYERS],
    ) -> Result<Self, AcceleratorError> {
        let stem = Kernel {
            n_in: 3,
            n_out: STEM_CHANNELS,
            side: 7,
            stride: 2,
            padding: 3,
        };
        let mut n_in = STEM_CHANNELS;
        let mut layers = [const { Vec::new() }; N_LAYERS];
        for (idx, layer) in layers.iter_mut().enumerate() {
            let shape = LayerShape {
                kind,
                n_in,
                width: STEM_CHANNELS << idx,
                stride: if idx == 0 { 1 } else { 2 },
                n_blocks: n_blocks[idx],
            };
            *layer = shape.load(&scope.at(&format!("layer{}", idx + 1)))?;
            n_in = shape.n_out();
        }
        Ok(Self {
            stem: Conv::load_normalised(scope, ("conv1", "bn1"), stem)?,
            layers,
            classifier: Dense::load(&scope.at("fc"), n_in, N_CLASSES)?,
        })
    }

    /// Scores of `input`, `[n, 3, side, side]`.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.stem(input)?;
        for idx in 0..N_LAYERS {
            x = self.layer(idx, &x)?;
        }
        self.classifier.linear(&global_mean(&x)?)
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
    /// Inner channels of each block.
    width: usize,
    /// Stride of the first block.
    stride: usize,
    n_blocks: usize,
}

impl LayerShape {
    fn n_out(self) -> usize {
        self.width * self.kind.expansion()
    }

    fn load(self, scope: &Scope<'_>) -> Result<Vec<Block>, AcceleratorError> {
        (0..self.n_blocks)
            .map(|idx| {
                let (n_in, stride) = if idx == 0 {
                    (self.n_in, self.stride)
                } else {
                    (self.n_out(), 1)
                };
                Block::load(
                    &scope.at(&idx.to_string()),
                    Self {
                        n_in,
                        stride,
                        ..self
                    },
                )
            })
            .collect()
    }
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
    /// The block at `scope`; `shape` has the input channels and the stride of this one block.
    fn load(scope: &Scope<'_>, shape: LayerShape) -> Result<Self, AcceleratorError> {
        let LayerShape {
            kind,
            n_in,
            width,
            stride,
            ..
        } = shape;
        let n_out = shape.n_out();
        let kernels = match kind {
            BlockKind::Basic => {
                vec![
                    Kernel::same3(n_in, width).stride(stride),
                    Kernel::same3(width, n_out),
                ]
            }
            BlockKind::Bottleneck => vec![
                Kernel::pointwise(n_in, width),
                Kernel::same3(width, width).stride(stride),
                Kernel::pointwise(width, n_out),
            ],
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
            Some(projection) => self.last.rectified_sum(&x, &projection.linear(input)?),
            None => self.last.rectified_sum(&x, input),
        }
    }
}

//! EfficientNet-B0 (Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural
//! networks", ICML 2019).

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::N_CLASSES;
use super::epilogue::Activation;
use super::inverted::{Block, Shape, Squeeze};
use super::layers::{Conv, Dense, Kernel, global_mean};
use super::weights::Scope;

/// Smallest side of the input; each layer pads enough for a single pixel.
pub(super) const MIN_SIDE: usize = 1;

/// Added to the variance when normalising.
const EPSILON: f32 = 1e-5;

/// Output channels of the stem.
const STEM_CHANNELS: usize = 32;

/// Output channels of the last convolution.
const LAST_CHANNELS: usize = 1280;

/// Stages 2 to 8 of table 1 of the paper: factor of expansion, side of the kernel, stride of the
/// first block, output channels and number of blocks.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];

/// EfficientNet-B0.
#[derive(Debug, Clone)]
pub(super) struct EfficientNet {
    stem: Conv,
    blocks: Vec<Block>,
    last: Conv,
    classifier: Dense,
}

impl EfficientNet {
    /// The net at `scope`.
    pub(super) fn load(scope: &Scope<'_>) -> Result<Self, AcceleratorError> {
        let features = scope.at("features");
        let conv = |name: &str, kernel| {
            Conv::load_normalised_by(&features.at(name), ("0", "1"), kernel, EPSILON)
        };
        let mut n_in = STEM_CHANNELS;
        let mut blocks = Vec::new();
        for (stage, (factor, side, stride, n_out, n_blocks)) in (1..).zip(STAGES) {
            let scope = features.at(&stage.to_string());
            for idx in 0..n_blocks {
                let shape = Shape {
                    n_in,
                    n_inner: factor * n_in,
                    n_out,
                    side,
                    stride: if idx == 0 { stride } else { 1 },
                    activation: Activation::Silu,
                    squeeze: Some(Squeeze {
                        n_inner: n_in / 4,
                        activation: Activation::Silu,
                        gate: Activation::Sigmoid,
                    }),
                    epsilon: EPSILON,
                };
                blocks.push(Block::load(&scope.at(&idx.to_string()), shape)?);
                n_in = n_out;
            }
        }
        Ok(Self {
            stem: conv("0", Kernel::same3(3, STEM_CHANNELS).stride(2))?,
            blocks,
            last: conv("8", Kernel::pointwise(n_in, LAST_CHANNELS))?,
            classifier: Dense::load(&scope.at("classifier").at("1"), LAST_CHANNELS, N_CLASSES)?,
        })
    }

    /// Scores of `input`, `[n, 3, side, side]`.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.stem.activated(input, Activation::Silu)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let x = global_mean(&self.last.activated(&x, Activation::Silu)?)?;
        self.classifier.linear(&x)
    }
}

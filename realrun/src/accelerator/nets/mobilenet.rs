//! MobileNetV3 (Howard et al., "Searching for MobileNetV3", ICCV 2019), small and large.

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::N_CLASSES;
use super::epilogue::Activation;
use super::inverted::{Block, Shape, Squeeze};
use super::layers::{Conv, Dense, Kernel, global_mean};
use super::weights::Scope;

/// Smallest side of the input; each layer pads enough for a single pixel.
pub(super) const MIN_SIDE: usize = 1;

/// Added to the variance when normalising, as torchvision has it for this net.
const EPSILON: f32 = 1e-3;

/// Output channels of the stem.
const STEM_CHANNELS: usize = 16;

const RE: Activation = Activation::Relu;
const HS: Activation = Activation::HardSwish;

/// A row of the paper's tables: side of the kernel, inner channels, output channels, whether
/// channels are weighed, activation and stride.
type Row = (usize, usize, usize, Weighed, Activation, usize);

/// Whether the channels of a block are weighed by squeeze-and-excitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weighed {
    Yes,
    No,
}
use Weighed::{No, Yes};

/// Table 2 of the paper.
const SMALL: [Row; 11] = [
    (3, 16, 16, Yes, RE, 2),
    (3, 72, 24, No, RE, 2),
    (3, 88, 24, No, RE, 1),
    (5, 96, 40, Yes, HS, 2),
    (5, 240, 40, Yes, HS, 1),
    (5, 240, 40, Yes, HS, 1),
    (5, 120, 48, Yes, HS, 1),
    (5, 144, 48, Yes, HS, 1),
    (5, 288, 96, Yes, HS, 2),
    (5, 576, 96, Yes, HS, 1),
    (5, 576, 96, Yes, HS, 1),
];

/// Table 1 of the paper.
const LARGE: [Row; 15] = [
    (3, 16, 16, No, RE, 1),
    (3, 64, 24, No, RE, 2),
    (3, 72, 24, No, RE, 1),
    (5, 72, 40, Yes, RE, 2),
    (5, 120, 40, Yes, RE, 1),
    (5, 120, 40, Yes, RE, 1),
    (3, 240, 80, No, HS, 2),
    (3, 200, 80, No, HS, 1),
    (3, 184, 80, No, HS, 1),
    (3, 184, 80, No, HS, 1),
    (3, 480, 112, Yes, HS, 1),
    (3, 672, 112, Yes, HS, 1),
    (5, 672, 160, Yes, HS, 2),
    (5, 960, 160, Yes, HS, 1),
    (5, 960, 160, Yes, HS, 1),
];

/// MobileNetV3.
#[derive(Debug, Clone)]
pub(super) struct MobileNetV3 {
    stem: Conv,
    blocks: Vec<Block>,
    last: Conv,
    hidden: Dense,
    classifier: Dense,
}

/// The small net at `scope`.
pub(super) fn load_small(scope: &Scope<'_>) -> Result<MobileNetV3, AcceleratorError> {
    MobileNetV3::load(scope, &SMALL, 1024)
}

/// The large net at `scope`.
pub(super) fn load_large(scope: &Scope<'_>) -> Result<MobileNetV3, AcceleratorError> {
    MobileNetV3::load(scope, &LARGE, 1280)
}

impl MobileNetV3 {
    fn load(scope: &Scope<'_>, rows: &[Row], n_hidden: usize) -> Result<Self, AcceleratorError> {
        let features = scope.at("features");
        let conv = |idx: usize, kernel| {
            let scope = features.at(&idx.to_string());
            Conv::load_normalised_by(&scope, ("0", "1"), kernel, EPSILON)
        };
        let mut n_in = STEM_CHANNELS;
        let mut blocks = Vec::with_capacity(rows.len());
        for (idx, &row) in (1..).zip(rows) {
            let shape = shape(n_in, row);
            blocks.push(Block::load(&features.at(&idx.to_string()), shape)?);
            n_in = shape.n_out;
        }
        let classifier = scope.at("classifier");
        let n_last = 6 * n_in;
        Ok(Self {
            stem: conv(0, Kernel::same3(3, STEM_CHANNELS).stride(2))?,
            blocks,
            last: conv(rows.len() + 1, Kernel::pointwise(n_in, n_last))?,
            hidden: Dense::load(&classifier.at("0"), n_last, n_hidden)?,
            classifier: Dense::load(&classifier.at("3"), n_hidden, N_CLASSES)?,
        })
    }

    /// Scores of `input`, `[n, 3, side, side]`.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.stem.activated(input, HS)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let x = global_mean(&self.last.activated(&x, HS)?)?;
        self.classifier.linear(&self.hidden.activated(&x, HS)?)
    }
}

fn shape(n_in: usize, (side, n_inner, n_out, weighed, activation, stride): Row) -> Shape {
    Shape {
        n_in,
        n_inner,
        n_out,
        side,
        stride,
        activation,
        squeeze: (weighed == Yes).then(|| Squeeze {
            n_inner: by_eights(n_inner / 4),
            activation: Activation::Relu,
            gate: Activation::HardSigmoid,
        }),
        epsilon: EPSILON,
    }
}

/// The multiple of 8 next to `channels`, but not less than nine tenths of it (`_make_divisible` of
/// torchvision).
fn by_eights(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if 10 * nearest < 9 * channels {
        nearest + 8
    } else {
        nearest
    }
}

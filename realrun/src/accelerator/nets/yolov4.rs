//! YOLOv4 (Bochkovskiy et al., "YOLOv4: optimal speed and accuracy of object detection", 2020):
//! CSPDarknet53, spatial pyramid pooling, a path aggregation network and three heads.
//!
//! The layers are those of the authors' `yolov4.cfg` of darknet. The parameters have the names of
//! the PyTorch implementation Tianxiaomo/pytorch-YOLOv4 (`models.py`; its `neek` is the neck), so
//! that its weights, saved as safetensors, load as they are. Outputs are what the last
//! convolutions give, without the decoding of boxes.

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::epilogue::{Activation, Residual};
use super::layers::{Conv, Kernel, max_pool_same5};
use super::weights::Scope;

/// What the side of the input must be a multiple of, and so its smallest: the stride of the last
/// head. Otherwise images that are laid on each other would differ in size.
pub(super) const MIN_SIDE: usize = 32;

/// Channels of a head: three boxes, each of 4 coordinates, an objectness and 80 classes.
const OUTPUT_CHANNELS: usize = 3 * (4 + 1 + 80);

/// Convolutions of the neck: input channels, output channels and side of the kernel.
const NECK: [(usize, usize, usize); 20] = [
    (1024, 512, 1),
    (512, 1024, 3),
    (1024, 512, 1),
    (2048, 512, 1),
    (512, 1024, 3),
    (1024, 512, 1),
    (512, 256, 1),
    (512, 256, 1),
    (512, 256, 1),
    (256, 512, 3),
    (512, 256, 1),
    (256, 512, 3),
    (512, 256, 1),
    (256, 128, 1),
    (256, 128, 1),
    (256, 128, 1),
    (128, 256, 3),
    (256, 128, 1),
    (128, 256, 3),
    (256, 128, 1),
];

/// YOLOv4.
#[derive(Debug, Clone)]
pub(super) struct YoloV4 {
    stem: Layer,
    stages: Vec<Stage>,
    neck: Vec<Layer>,
    heads: [Head; 3],
    /// What halves the image between two heads.
    shrink: [Layer; 2],
    /// Five convolutions in front of the second and of the third head.
    merge: [Vec<Layer>; 2],
}

impl YoloV4 {
    /// The net at `scope`.
    pub(super) fn load(scope: &Scope<'_>) -> Result<Self, AcceleratorError> {
        let stages = [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)];
        let stages = (1..).zip(stages).map(|(idx, (channels, n_blocks))| {
            Stage::load(&scope.at(&format!("down{idx}")), channels, n_blocks)
        });
        let neck = scope.at("neek");
        let neck = (1..)
            .zip(NECK)
            .map(|(idx, (n_in, n_out, side))| leaky(&neck, idx, Kernel::same(n_in, n_out, side)));
        let head = scope.at("head");
        // The second of each pair of convolutions has twice the channels.
        let merge = |first: usize, channels: usize| {
            (0..5)
                .map(|idx| {
                    let kernel = match idx {
                        1 | 3 => Kernel::same3(channels, 2 * channels),
                        _ => Kernel::pointwise(2 * channels, channels),
                    };
                    leaky(&head, first + idx, kernel)
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            stem: mish(&scope.at("down1"), "conv1", Kernel::same3(3, 32))?,
            stages: stages.collect::<Result<_, _>>()?,
            neck: neck.collect::<Result<_, _>>()?,
            heads: [
                Head::load(&head, 1, 128)?,
                Head::load(&head, 9, 256)?,
                Head::load(&head, 17, 512)?,
            ],
            shrink: [
                leaky(&head, 3, Kernel::same3(128, 256).stride(2))?,
                leaky(&head, 11, Kernel::same3(256, 512).stride(2))?,
            ],
            merge: [merge(4, 256)?, merge(12, 512)?],
        })
    }

    /// Boxes of `input`, `[n, 3, side, side]`, at strides of 8, 16 and 32, each
    /// `[n, 255, side / stride, side / stride]`.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        let [by8, by16, by32] = self.features(input)?;
        let [large, medium, small] = self.neck(&by8, &by16, &by32)?;
        let mut outputs = vec![self.heads[0].forward(&large)?];
        let mut x = large;
        for (idx, lateral) in [medium, small].iter().enumerate() {
            x = self.shrink[idx].forward(&x)?;
            x = chain(&self.merge[idx], &Tensor::cat(&[&x, lateral], 1)?)?;
            outputs.push(self.heads[idx + 1].forward(&x)?);
        }
        Ok(outputs)
    }

    /// Outputs of the last three stages of the backbone, the largest image first.
    fn features(&self, input: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        let mut x = self.stem.forward(input)?;
        let mut last = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            x = stage.forward(&x)?;
            last.push(x.clone());
        }
        Ok(std::array::from_fn(|idx| {
            last[last.len() - 3 + idx].clone()
        }))
    }

    /// Pyramid pooling of the smallest image, and the way up to the largest: what the three heads
    /// get, the largest image first.
    fn neck(&self, by8: &Tensor, by16: &Tensor, by32: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        let neck = &self.neck;
        let x = chain(&neck[..3], by32)?;
        // The windows of 9 and 13 are those of 5, two and three times.
        let pool5 = max_pool_same5(&x)?;
        let pool9 = max_pool_same5(&pool5)?;
        let pool13 = max_pool_same5(&pool9)?;
        let small = chain(&neck[3..6], &Tensor::cat(&[pool13, pool9, pool5, x], 1)?)?;
        let up = doubled(&neck[6].forward(&small)?)?;
        let lateral = neck[7].forward(by16)?;
        let medium = chain(&neck[8..13], &Tensor::cat(&[lateral, up], 1)?)?;
        let up = doubled(&neck[13].forward(&medium)?)?;
        let lateral = neck[14].forward(by8)?;
        let large = chain(&neck[15..], &Tensor::cat(&[lateral, up], 1)?)?;
        Ok([large, medium, small])
    }
}

/// A convolution, normalised, and its activation.
#[derive(Debug, Clone)]
struct Layer {
    conv: Conv,
    activation: Activation,
}

impl Layer {
    fn load(
        scope: &Scope<'_>,
        name: &str,
        kernel: Kernel,
        activation: Activation,
    ) -> Result<Self, AcceleratorError> {
        let scope = scope.at(name).at("conv");
        Ok(Self {
            conv: Conv::load_normalised(&scope, ("0", "1"), kernel)?,
            activation,
        })
    }

    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        self.conv.activated(input, self.activation)
    }
}

fn mish(scope: &Scope<'_>, name: &str, kernel: Kernel) -> Result<Layer, AcceleratorError> {
    Layer::load(scope, name, kernel, Activation::Mish)
}

fn leaky(scope: &Scope<'_>, idx: usize, kernel: Kernel) -> Result<Layer, AcceleratorError> {
    Layer::load(scope, &format!("conv{idx}"), kernel, Activation::LeakyRelu)
}

/// The output of layers one after the other.
fn chain(layers: &[Layer], input: &Tensor) -> candle_core::Result<Tensor> {
    layers
        .iter()
        .try_fold(input.clone(), |x, layer| layer.forward(&x))
}

/// Each pixel four times.
fn doubled(input: &Tensor) -> candle_core::Result<Tensor> {
    let (_, _, height, width) = input.dims4()?;
    input.upsample_nearest2d(2 * height, 2 * width)
}

/// A stage of the backbone: a convolution that halves the image, then residual blocks on one half
/// of the channels and a single convolution on the other (Wang et al., "CSPNet", 2020).
#[derive(Debug, Clone)]
struct Stage {
    shrink: Layer,
    bypass: Layer,
    enter: Layer,
    blocks: Vec<[Layer; 2]>,
    leave: Layer,
    merge: Layer,
}

impl Stage {
    /// The stage at `scope` with `channels` output channels. The first, of 64, does not halve them
    /// in its parts, and has its one block among the numbered convolutions, behind the stem.
    fn load(scope: &Scope<'_>, channels: usize, n_blocks: usize) -> Result<Self, AcceleratorError> {
        let is_first = channels == 64;
        let part = if is_first { channels } else { channels / 2 };
        let conv = |idx: usize, kernel| {
            let idx = if is_first { idx + 1 } else { idx };
            mish(scope, &format!("conv{idx}"), kernel)
        };
        let list = scope.at("resblock").at("module_list");
        let blocks = (0..n_blocks).map(|idx| {
            if is_first {
                return Ok([
                    conv(4, Kernel::pointwise(part, part / 2))?,
                    conv(5, Kernel::same3(part / 2, part))?,
                ]);
            }
            let block = list.at(&idx.to_string());
            Ok([
                mish(&block, "0", Kernel::pointwise(part, part))?,
                mish(&block, "1", Kernel::same3(part, part))?,
            ])
        });
        let after = if is_first { 6 } else { 4 };
        Ok(Self {
            shrink: conv(1, Kernel::same3(channels / 2, channels).stride(2))?,
            bypass: conv(2, Kernel::pointwise(channels, part))?,
            enter: conv(3, Kernel::pointwise(channels, part))?,
            blocks: blocks.collect::<Result<_, AcceleratorError>>()?,
            leave: conv(after, Kernel::pointwise(part, part))?,
            merge: conv(after + 1, Kernel::pointwise(2 * part, channels))?,
        })
    }

    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let input = self.shrink.forward(input)?;
        let bypass = self.bypass.forward(&input)?;
        let mut x = self.enter.forward(&input)?;
        for [first, second] in &self.blocks {
            let inner = first.forward(&x)?;
            x = second
                .conv
                .sum(&inner, Residual::After(&x), second.activation)?;
        }
        let x = self.leave.forward(&x)?;
        self.merge.forward(&Tensor::cat(&[x, bypass], 1)?)
    }
}

/// A 3x3 convolution and the boxes of each cell.
#[derive(Debug, Clone)]
struct Head {
    conv: Layer,
    boxes: Conv,
}

impl Head {
    /// The head of the convolutions `idx` and `idx + 1`.
    fn load(scope: &Scope<'_>, idx: usize, channels: usize) -> Result<Self, AcceleratorError> {
        let boxes = scope.at(&format!("conv{}", idx + 1)).at("conv").at("0");
        Ok(Self {
            conv: leaky(scope, idx, Kernel::same3(channels, 2 * channels))?,
            boxes: Conv::load(&boxes, Kernel::pointwise(2 * channels, OUTPUT_CHANNELS))?,
        })
    }

    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        self.boxes.linear(&self.conv.forward(input)?)
    }
}

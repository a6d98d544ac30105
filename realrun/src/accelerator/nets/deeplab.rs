//! DeepLabV3 on ResNet-50 (Chen et al., "Rethinking atrous convolution for semantic image
//! segmentation", 2017), with torchvision's auxiliary head (that of a fully convolutional network).

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::layers::{Conv, Kernel, global_mean};
use super::resnet::{Backbone, BlockKind, Shrink};
use super::weights::Scope;

/// Classes of Pascal VOC with the background, of which torchvision's weights give scores.
pub(super) const N_CLASSES: usize = 21;

/// Channels between the layers of the heads.
const HEAD_CHANNELS: usize = 256;

/// Dilations of the 3x3 convolutions of the pyramid, for a backbone that shrinks by 8.
const DILATIONS: [usize; 3] = [12, 24, 36];

/// DeepLabV3.
#[derive(Debug, Clone)]
pub(super) struct DeepLabV3 {
    backbone: Backbone,
    pyramid: Pyramid,
    head: Head,
    auxiliary: Head,
}

impl DeepLabV3 {
    /// The net at `scope`.
    pub(super) fn load(scope: &Scope<'_>) -> Result<Self, AcceleratorError> {
        let backbone = Backbone::load(
            &scope.at("backbone"),
            BlockKind::Bottleneck { widening: 1 },
            [3, 4, 6, 3],
            Shrink::By8,
        )?;
        let classifier = scope.at("classifier");
        Ok(Self {
            backbone,
            pyramid: Pyramid::load(&classifier.at("0"), 2048)?,
            head: Head::load(&classifier, HEAD_CHANNELS, ("1", "2", "4"))?,
            auxiliary: Head::load(&scope.at("aux_classifier"), 1024, ("0", "1", "4"))?,
        })
    }

    /// Scores of every pixel of `input`, `[n, 3, side, side]`, and those of the auxiliary head,
    /// each `[n, 21, side, side]`.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        let mut x = self.backbone.stem(input)?;
        for idx in 0..3 {
            x = self.backbone.layer(idx, &x)?;
        }
        let auxiliary = self.auxiliary.scores(&x)?;
        x = self.backbone.layer(3, &x)?;
        let out = self.head.scores(&self.pyramid.forward(&x)?)?;
        let (_, _, height, width) = input.dims4()?;
        [out, auxiliary]
            .iter()
            .map(|scores| scores.upsample_bilinear2d(height, width, false))
            .collect()
    }
}

/// Atrous spatial pyramid pooling: convolutions of several dilations side by side, and the mean of
/// the image.
#[derive(Debug, Clone)]
struct Pyramid {
    convs: Vec<Conv>,
    pooled: Conv,
    project: Conv,
}

impl Pyramid {
    fn load(scope: &Scope<'_>, n_in: usize) -> Result<Self, AcceleratorError> {
        let convs = scope.at("convs");
        let pointwise = Kernel::pointwise(n_in, HEAD_CHANNELS);
        let mut branches = vec![Conv::load_normalised(
            &convs.at("0"),
            ("0", "1"),
            pointwise,
        )?];
        for (idx, dilation) in (1..).zip(DILATIONS) {
            let kernel = Kernel::same3(n_in, HEAD_CHANNELS).dilation(dilation);
            let scope = convs.at(&format!("{idx}"));
            branches.push(Conv::load_normalised(&scope, ("0", "1"), kernel)?);
        }
        let n_branches = branches.len() + 1;
        Ok(Self {
            convs: branches,
            pooled: Conv::load_normalised(&convs.at("4"), ("1", "2"), pointwise)?,
            project: Conv::load_normalised(
                &scope.at("project"),
                ("0", "1"),
                Kernel::pointwise(n_branches * HEAD_CHANNELS, HEAD_CHANNELS),
            )?,
        })
    }

    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let (n, channels, height, width) = input.dims4()?;
        let mut branches = Vec::with_capacity(self.convs.len() + 1);
        for conv in &self.convs {
            branches.push(conv.rectified(input)?);
        }
        let mean = global_mean(input)?.reshape((n, channels, 1, 1))?;
        let mean = self.pooled.rectified(&mean)?;
        // An image of one pixel, brought to the size of the others.
        branches.push(mean.broadcast_as((n, HEAD_CHANNELS, height, width))?);
        self.project.rectified(&Tensor::cat(&branches, 1)?)
    }
}

/// A 3x3 convolution and the scores of each pixel.
#[derive(Debug, Clone)]
struct Head {
    conv: Conv,
    classifier: Conv,
}

impl Head {
    /// The head whose convolution, normalisation and classifier have these names.
    fn load(
        scope: &Scope<'_>,
        n_in: usize,
        (conv, norm, classifier): (&str, &str, &str),
    ) -> Result<Self, AcceleratorError> {
        Ok(Self {
            conv: Conv::load_normalised(scope, (conv, norm), Kernel::same3(n_in, HEAD_CHANNELS))?,
            classifier: Conv::load(
                &scope.at(classifier),
                Kernel::pointwise(HEAD_CHANNELS, N_CLASSES),
            )?,
        })
    }

    fn scores(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        self.classifier.linear(&self.conv.rectified(input)?)
    }
}

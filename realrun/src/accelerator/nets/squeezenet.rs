//! SqueezeNet 1.1 (Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer
//! parameters", 2016, and the authors' release 1.1): the small net, good for small inputs.

use candle_core::Tensor;

use super::super::AcceleratorError;
use super::N_CLASSES;
use super::layers::{Conv, Kernel, global_mean, max_pool};
use super::weights::Scope;

/// Smallest side of the input, in pixels, as torchvision states it.
pub(super) const MIN_SIDE: usize = 17;

/// The fire modules: index among torchvision's `features`, input channels, squeezed channels, and
/// channels of each of the two expansions.
const FIRES: [(usize, usize, usize, usize); 8] = [
    (3, 64, 16, 64),
    (4, 128, 16, 64),
    (6, 128, 32, 128),
    (7, 256, 32, 128),
    (9, 256, 48, 192),
    (10, 384, 48, 192),
    (11, 384, 64, 256),
    (12, 512, 64, 256),
];

/// Indices of the fire modules in front of which the image is pooled.
const POOLED_BEFORE: [usize; 3] = [3, 6, 9];

/// SqueezeNet 1.1.
#[derive(Debug, Clone)]
pub(super) struct SqueezeNet {
    stem: Conv,
    fires: Vec<Fire>,
    classifier: Conv,
}

impl SqueezeNet {
    /// The net at `scope`.
    pub(super) fn load(scope: &Scope<'_>) -> Result<Self, AcceleratorError> {
        let features = scope.at("features");
        let stem = Kernel {
            padding: 0,
            ..Kernel::same3(3, 64).stride(2)
        };
        let fires = FIRES.iter().map(|&fire| Fire::load(&features, fire));
        Ok(Self {
            stem: Conv::load(&features.at("0"), stem)?,
            fires: fires.collect::<Result<_, _>>()?,
            classifier: Conv::load(
                &scope.at("classifier").at("1"),
                Kernel::pointwise(512, N_CLASSES),
            )?,
        })
    }

    /// Scores of `input`, `[n, 3, side, side]`. They are means of rectified values, so none is
    /// negative.
    pub(super) fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let features = self.features(input, |_, _| {})?;
        global_mean(&self.classifier.rectified(&features)?)
    }

    /// Output of the last fire module; `seen` gets that of the stem, as index 0, and of each fire
    /// module.
    fn features(
        &self,
        input: &Tensor,
        mut seen: impl FnMut(usize, &Tensor),
    ) -> candle_core::Result<Tensor> {
        let mut x = self.stem.rectified(input)?;
        seen(0, &x);
        for fire in &self.fires {
            if POOLED_BEFORE.contains(&fire.idx) {
                x = max_pool(&x, 0)?;
            }
            x = fire.forward(&x)?;
            seen(fire.idx, &x);
        }
        Ok(x)
    }
}

/// A pointwise convolution to few channels, then two expansions side by side.
#[derive(Debug, Clone)]
struct Fire {
    idx: usize,
    squeeze: Conv,
    expand1x1: Conv,
    expand3x3: Conv,
}

impl Fire {
    fn load(
        features: &Scope<'_>,
        (idx, n_in, squeezed, expanded): (usize, usize, usize, usize),
    ) -> Result<Self, AcceleratorError> {
        let scope = features.at(&idx.to_string());
        Ok(Self {
            idx,
            squeeze: Conv::load(&scope.at("squeeze"), Kernel::pointwise(n_in, squeezed))?,
            expand1x1: Conv::load(
                &scope.at("expand1x1"),
                Kernel::pointwise(squeezed, expanded),
            )?,
            expand3x3: Conv::load(&scope.at("expand3x3"), Kernel::same3(squeezed, expanded))?,
        })
    }

    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let squeezed = self.squeeze.rectified(input)?;
        let expanded = [
            self.expand1x1.rectified(&squeezed)?,
            self.expand3x3.rectified(&squeezed)?,
        ];
        Tensor::cat(&expanded, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{random, zeros};
    use super::*;

    /// Index, channels and side of the stem and of every fire module.
    fn shapes(side: usize) -> Vec<(usize, usize, usize)> {
        let mut shapes = Vec::new();
        random(SqueezeNet::load)
            .features(&zeros(side), |idx, x| {
                shapes.push((idx, x.dim(1).unwrap(), x.dim(2).unwrap()));
            })
            .unwrap();
        shapes
    }

    #[test]
    fn stages_have_the_shapes_of_the_release() {
        // The authors' SqueezeNet_v1.1, with torchvision's stem, which does not pad.
        assert_eq!(
            shapes(224),
            [
                (0, 64, 111),
                (3, 128, 55),
                (4, 128, 55),
                (6, 256, 27),
                (7, 256, 27),
                (9, 384, 13),
                (10, 384, 13),
                (11, 512, 13),
                (12, 512, 13),
            ]
        );
    }

    #[test]
    fn an_even_side_is_pooled_to_its_last_pixel() {
        // torchvision pools with ceil_mode: 49 -> 24 -> 12 -> 6, and without it 24 -> 11.
        let sides: Vec<usize> = shapes(100).iter().map(|(_, _, side)| *side).collect();
        assert_eq!(sides, [49, 24, 24, 12, 12, 6, 6, 6, 6]);
    }

    #[test]
    fn the_smallest_side_has_an_output() {
        assert_eq!(shapes(MIN_SIDE).last(), Some(&(12, 512, 1)));
    }
}

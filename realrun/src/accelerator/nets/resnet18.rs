//! ResNet-18: two blocks of two convolutions in each layer.

use super::super::AcceleratorError;
use super::resnet::{BlockKind, ResNet};
use super::weights::Scope;

/// The net at `scope`.
pub(super) fn load(scope: &Scope<'_>) -> Result<ResNet, AcceleratorError> {
    ResNet::load(scope, BlockKind::Basic, [2, 2, 2, 2])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{random, zeros};
    use super::*;

    #[test]
    fn stages_have_the_shapes_of_the_paper() {
        // He et al., table 1.
        let net = random(load).backbone;
        let mut x = net.stem(&zeros(224)).unwrap();
        assert_eq!(x.dims(), [1, 64, 56, 56]);
        for (idx, (channels, side)) in [(64, 56), (128, 28), (256, 14), (512, 7)]
            .iter()
            .enumerate()
        {
            x = net.layer(idx, &x).unwrap();
            assert_eq!(x.dims(), [1, *channels, *side, *side]);
        }
    }
}

//! ResNet-50: 3, 4, 6 and 3 bottlenecks.

use super::super::AcceleratorError;
use super::resnet::{BlockKind, ResNet};
use super::weights::Scope;

/// The net at `scope`.
pub(super) fn load(scope: &Scope<'_>) -> Result<ResNet, AcceleratorError> {
    ResNet::load(scope, BlockKind::Bottleneck { widening: 1 }, [3, 4, 6, 3])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{random, zeros};
    use super::*;

    #[test]
    fn stages_have_the_shapes_of_the_paper() {
        // He et al., table 1; half the side of the input there halves every stage.
        let net = random(load).backbone;
        let mut x = net.stem(&zeros(112)).unwrap();
        assert_eq!(x.dims(), [1, 64, 28, 28]);
        for (idx, (channels, side)) in [(256, 28), (512, 14), (1024, 7), (2048, 4)]
            .iter()
            .enumerate()
        {
            x = net.layer(idx, &x).unwrap();
            assert_eq!(x.dims(), [1, *channels, *side, *side]);
        }
    }
}

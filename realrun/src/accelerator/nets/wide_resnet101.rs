//! WideResNet-101-2: ResNet-101 with twice the inner channels (Zagoruyko and Komodakis, "Wide
//! residual networks", BMVC 2016).

use super::super::AcceleratorError;
use super::resnet::{BlockKind, ResNet};
use super::weights::Scope;

/// The net at `scope`.
pub(super) fn load(scope: &Scope<'_>) -> Result<ResNet, AcceleratorError> {
    ResNet::load(scope, BlockKind::Bottleneck { widening: 2 }, [3, 4, 23, 3])
}

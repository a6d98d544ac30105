//! Image classifiers on candle: SqueezeNet 1.1, ResNet-18 and ResNet-50.
//!
//! The architectures and the names of the parameters are torchvision's, so that its weights,
//! saved as safetensors, load as they are. Each net maps `[n, 3, side, side]` to `[n, 1000]`
//! class scores before the softmax.
//!
//! Batch normalisation is that of inference, with the running statistics, and is folded into the
//! convolution before it when the weights are loaded, as inference engines do.
//!
//! The cost of a forward pass does not depend on the values of the weights, as long as no value
//! on the way is denormal, infinite or not a number. Random weights are therefore scaled by the
//! fan-in (Kaiming uniform: He et al., "Delving deep into rectifiers", ICCV 2015), which keeps
//! activations near 1.

mod epilogue;
mod layers;
mod resnet;
mod resnet18;
mod resnet50;
mod squeezenet;
mod weights;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Tensor};

use self::weights::{FileWeights, RandomWeights, Recorder, Scope};
use super::{AcceleratorError, Weights};

/// Number of classes that each net scores, those of ImageNet.
pub const N_CLASSES: usize = 1000;

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetName {
    /// SqueezeNet 1.1, 1.2 million parameters, 0.35 GFLOP at side 224 (torchvision's
    /// `squeezenet1_1`).
    Squeezenet,
    /// ResNet-18, 11.7 million parameters, 1.8 GFLOP at side 224.
    Resnet18,
    /// ResNet-50 (v1.5), 25.6 million parameters, 4.1 GFLOP at side 224.
    Resnet50,
}

impl NetName {
    /// Every net.
    pub const ALL: [Self; 3] = [Self::Squeezenet, Self::Resnet18, Self::Resnet50];

    /// The name in files and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Squeezenet => "squeezenet1.1",
            Self::Resnet18 => "resnet18",
            Self::Resnet50 => "resnet50",
        }
    }

    /// Smallest side of the input, in pixels, for which every layer has an output.
    #[must_use]
    pub fn min_side(self) -> usize {
        match self {
            Self::Squeezenet => squeezenet::MIN_SIDE,
            Self::Resnet18 | Self::Resnet50 => resnet::MIN_SIDE,
        }
    }
}

impl FromStr for NetName {
    type Err = AcceleratorError;

    fn from_str(name: &str) -> Result<Self, AcceleratorError> {
        Self::ALL
            .into_iter()
            .find(|net| net.as_str() == name)
            .ok_or_else(|| AcceleratorError::UnknownNet {
                found: name.to_owned(),
                allowed: Self::ALL.map(Self::as_str).to_vec(),
            })
    }
}

impl fmt::Display for NetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A net with its weights on a device; its clones share them.
#[derive(Debug, Clone)]
pub struct Net(Architecture);

#[derive(Debug, Clone)]
enum Architecture {
    Squeezenet(squeezenet::SqueezeNet),
    Resnet(resnet::ResNet),
}

impl Net {
    /// Makes the net called `name` with its weights on `device`.
    ///
    /// # Errors
    ///
    /// A weights file that cannot be read, lacks a tensor of the net or holds it in another
    /// shape. Further tensors in the file are ignored.
    pub fn load(
        name: NetName,
        weights: &Weights,
        device: &Device,
    ) -> Result<Self, AcceleratorError> {
        match weights {
            Weights::Random { seed } => {
                Self::build(name, &Scope::root(&RandomWeights::new(*seed, device)))
            }
            Weights::Safetensors { path } => {
                Self::build(name, &Scope::root(&FileWeights::open(path, device)?))
            }
        }
    }

    /// Scores of `input`, `[n, 3, side, side]`, as `[n, 1000]`.
    ///
    /// # Errors
    ///
    /// What candle reports, such as an input of another shape.
    pub fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        match &self.0 {
            Architecture::Squeezenet(net) => net.forward(input),
            Architecture::Resnet(net) => net.forward(input),
        }
    }

    fn build(name: NetName, scope: &Scope<'_>) -> Result<Self, AcceleratorError> {
        Ok(Self(match name {
            NetName::Squeezenet => Architecture::Squeezenet(squeezenet::SqueezeNet::load(scope)?),
            NetName::Resnet18 => Architecture::Resnet(resnet18::load(scope)?),
            NetName::Resnet50 => Architecture::Resnet(resnet50::load(scope)?),
        }))
    }
}

/// Every tensor of the net called `name`, by torchvision's name, with the random values of
/// `seed`.
///
/// What [`Net::load`] takes from a file that holds exactly these tensors is the net it makes from
/// `seed`.
///
/// # Errors
///
/// What candle reports, such as memory that cannot be had.
pub fn random_tensors(
    name: NetName,
    seed: u64,
) -> Result<BTreeMap<String, Tensor>, AcceleratorError> {
    let recorder = Recorder::new(RandomWeights::new(seed, &Device::Cpu));
    Net::build(name, &Scope::root(&recorder))?;
    Ok(recorder.into_tensors())
}

#[cfg(test)]
mod tests;

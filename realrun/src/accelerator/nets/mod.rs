//! Nets on candle: the classifiers SqueezeNet 1.1, ResNet-18, ResNet-50, WideResNet-101-2,
//! MobileNetV3 and EfficientNet-B0, the segmentation DeepLabV3 and the detector YOLOv4.
//!
//! The architectures and the names of the parameters are torchvision's, or for YOLOv4 those of a
//! public PyTorch implementation, so that their weights, saved as safetensors, load as they are.
//! Each net takes `[n, 3, side, side]`. A classifier has one output, `[n, 1000]` class scores
//! before the softmax; others have several maps.
//!
//! Work is given in multiply-adds, what torchvision's tables of weights call FLOPS: 1.8 G of
//! ResNet-18 are 3.6 GFLOP of arithmetic.
//!
//! | net | million parameters | side | G multiply-adds |
//! |---|---|---|---|
//! | MobileNetV3-Small | 2.5 | 224 | 0.06 |
//! | MobileNetV3-Large | 5.5 | 224 | 0.22 |
//! | SqueezeNet 1.1 | 1.2 | 224 | 0.35 |
//! | EfficientNet-B0 | 5.3 | 224 | 0.39 |
//! | ResNet-18 | 11.7 | 224 | 1.8 |
//! | ResNet-50 | 25.6 | 224 | 4.1 |
//! | WideResNet-101-2 | 126.9 | 224 | 22.8 |
//! | YOLOv4 | 64.4 | 416 | 30.1 |
//! | DeepLabV3-ResNet-50 | 42.0 | 520 | 178.7 |
//!
//! Batch normalisation is that of inference, with the running statistics, and is folded into the
//! convolution before it when the weights are loaded, as inference engines do.
//!
//! The cost of a forward pass does not depend on the values of the weights, as long as no value
//! on the way is denormal, infinite or not a number. Random weights are therefore scaled by the
//! fan-in (Kaiming uniform: He et al., "Delving deep into rectifiers", ICCV 2015), which keeps
//! what a layer gives as large as what it takes; sums over many residual blocks grow further.
//!
//! `reference.py`, beside this file, makes the values that the tests compare each net with, by
//! PyTorch from the same weights and inputs.

mod deeplab;
mod depthwise;
mod efficientnet;
mod epilogue;
mod inverted;
mod layers;
mod mobilenet;
mod resnet;
mod resnet18;
mod resnet50;
mod squeezenet;
mod weights;
mod wide_resnet101;
mod yolov4;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Tensor};
use schema::nets::NetInfo;

use self::weights::{FileWeights, RandomWeights, Recorder, Scope};
use super::preprocess::Normalisation;
use super::{AcceleratorError, Weights};

/// Number of classes that a classifier scores, those of ImageNet.
const N_CLASSES: usize = 1000;

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetName {
    /// SqueezeNet 1.1 (torchvision's `squeezenet1_1`).
    Squeezenet,
    /// ResNet-18.
    Resnet18,
    /// ResNet-50 (v1.5).
    Resnet50,
    /// WideResNet-101-2 (torchvision's `wide_resnet101_2`).
    WideResnet101,
    /// MobileNetV3-Small (torchvision's `mobilenet_v3_small`).
    MobilenetV3,
    /// MobileNetV3-Large (torchvision's `mobilenet_v3_large`).
    MobilenetV3Large,
    /// EfficientNet-B0 (torchvision's `efficientnet_b0`).
    EfficientnetB0,
    /// DeepLabV3 on ResNet-50 with the auxiliary head (torchvision's `deeplabv3_resnet50`).
    Deeplabv3Resnet50,
    /// YOLOv4, up to the last convolutions.
    Yolov4,
}

impl NetName {
    /// Every net.
    pub const ALL: [Self; 9] = [
        Self::Squeezenet,
        Self::Resnet18,
        Self::Resnet50,
        Self::WideResnet101,
        Self::MobilenetV3,
        Self::MobilenetV3Large,
        Self::EfficientnetB0,
        Self::Deeplabv3Resnet50,
        Self::Yolov4,
    ];

    /// The name in files and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Squeezenet => "squeezenet1.1",
            Self::Resnet18 => "resnet18",
            Self::Resnet50 => "resnet50",
            Self::WideResnet101 => "wide-resnet101",
            Self::MobilenetV3 => "mobilenet-v3",
            Self::MobilenetV3Large => "mobilenet-v3-large",
            Self::EfficientnetB0 => "efficientnet-b0",
            Self::Deeplabv3Resnet50 => "deeplabv3-resnet50",
            Self::Yolov4 => "yolov4",
        }
    }

    /// What scenarios know of the net: its default side and its outputs.
    #[must_use]
    pub fn info(self) -> &'static NetInfo {
        NetInfo::find(self.as_str()).expect("every net can be named in a scenario")
    }

    /// What the published weights expect of the values of an image.
    #[must_use]
    pub fn normalisation(self) -> Normalisation {
        match self {
            Self::Yolov4 => Normalisation::Unit,
            _ => Normalisation::Imagenet,
        }
    }

    /// Smallest side of the input, in pixels, for which every layer has an output.
    #[must_use]
    pub fn min_side(self) -> usize {
        match self {
            Self::Squeezenet => squeezenet::MIN_SIDE,
            Self::Resnet18 | Self::Resnet50 | Self::WideResnet101 | Self::Deeplabv3Resnet50 => {
                resnet::MIN_SIDE
            }
            Self::MobilenetV3 | Self::MobilenetV3Large => mobilenet::MIN_SIDE,
            Self::EfficientnetB0 => efficientnet::MIN_SIDE,
            Self::Yolov4 => yolov4::MIN_SIDE,
        }
    }

    /// What the side of the input must be a multiple of, in pixels.
    #[must_use]
    pub fn side_step(self) -> usize {
        self.info().side_step as usize
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
    Mobilenet(mobilenet::MobileNetV3),
    Efficientnet(efficientnet::EfficientNet),
    Deeplab(deeplab::DeepLabV3),
    Yolov4(yolov4::YoloV4),
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

    /// Every output for `input`, `[n, 3, side, side]`.
    ///
    /// - A classifier: one, scores as `[n, 1000]`.
    /// - DeepLabV3: scores of each pixel by the net and then by its auxiliary head, each
    ///   `[n, 21, side, side]`.
    /// - YOLOv4: boxes at strides of 8, 16 and 32, each `[n, 255, side / stride, side / stride]`.
    ///
    /// # Errors
    ///
    /// What candle reports, such as an input of another shape.
    pub fn forward(&self, input: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        match &self.0 {
            Architecture::Squeezenet(net) => Ok(vec![net.forward(input)?]),
            Architecture::Resnet(net) => Ok(vec![net.forward(input)?]),
            Architecture::Mobilenet(net) => Ok(vec![net.forward(input)?]),
            Architecture::Efficientnet(net) => Ok(vec![net.forward(input)?]),
            Architecture::Deeplab(net) => net.forward(input),
            Architecture::Yolov4(net) => net.forward(input),
        }
    }

    fn build(name: NetName, scope: &Scope<'_>) -> Result<Self, AcceleratorError> {
        Ok(Self(match name {
            NetName::Squeezenet => Architecture::Squeezenet(squeezenet::SqueezeNet::load(scope)?),
            NetName::Resnet18 => Architecture::Resnet(resnet18::load(scope)?),
            NetName::Resnet50 => Architecture::Resnet(resnet50::load(scope)?),
            NetName::WideResnet101 => Architecture::Resnet(wide_resnet101::load(scope)?),
            NetName::MobilenetV3 => Architecture::Mobilenet(mobilenet::load_small(scope)?),
            NetName::MobilenetV3Large => Architecture::Mobilenet(mobilenet::load_large(scope)?),
            NetName::EfficientnetB0 => {
                Architecture::Efficientnet(efficientnet::EfficientNet::load(scope)?)
            }
            NetName::Deeplabv3Resnet50 => Architecture::Deeplab(deeplab::DeepLabV3::load(scope)?),
            NetName::Yolov4 => Architecture::Yolov4(yolov4::YoloV4::load(scope)?),
        }))
    }
}

/// Every tensor of the net called `name`, by its name in PyTorch, with the random values of
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

//! The nets that scenarios may name, with the payloads they take and give.
//!
//! Shapes are those of the published nets: a square 3-channel input, and one or several outputs,
//! all as 32-bit floats. A reply is all outputs of a net, one after the other. The reference study
//! sends ResNet-50 602,112 B and gets 4,000 B back; YOLOv4 takes 2,076,672 B and gives 3,619,980 B.

use crate::units::Bytes;

/// Channels of an image.
pub const CHANNELS: u64 = 3;

/// Largest side of an input, in pixels.
pub const MAX_SIDE: u32 = 4096;

/// A net that can be named in a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetInfo {
    /// Name in files.
    pub name: &'static str,
    /// Side of the square input it was published with, in pixels.
    pub default_side: u32,
    /// Smallest side at which every layer still has an output.
    pub min_side: u32,
    /// What a side must be a multiple of, in pixels; 1 if any will do.
    pub side_step: u32,
    /// What it returns for one input, in the order of the reply.
    pub outputs: &'static [Output],
    /// Where it was published.
    pub source: &'static str,
}

/// One output of a net, of 32-bit floats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// As many floats, whatever the side of the input.
    Vector(u64),
    /// A map of the input: `channels` planes of as many pixels as the input has, divided by
    /// `stride` along each side.
    Map {
        /// Number of planes.
        channels: u64,
        /// Pixels of the input for one of the map, along a side.
        stride: u32,
    },
}

impl Output {
    /// Number of floats for an input of `side` pixels.
    pub const fn n_floats(self, side: u32) -> u64 {
        match self {
            Output::Vector(n) => n,
            Output::Map { channels, stride } => {
                let side = (side / stride) as u64;
                channels * side * side
            }
        }
    }
}

/// Scores of the classes of ImageNet.
const CLASSES: &[Output] = &[Output::Vector(1000)];

/// DeepLabV3: scores of 21 classes for each pixel, by the net and by its auxiliary head.
const SEGMENTATION: &[Output] = &[
    Output::Map {
        channels: 21,
        stride: 1,
    },
    Output::Map {
        channels: 21,
        stride: 1,
    },
];

/// YOLOv4: three boxes a cell, each of 4 coordinates, an objectness and the scores of 80 classes.
const DETECTION: &[Output] = &[
    Output::Map {
        channels: 255,
        stride: 8,
    },
    Output::Map {
        channels: 255,
        stride: 16,
    },
    Output::Map {
        channels: 255,
        stride: 32,
    },
];

/// A classifier of ImageNet with an input of 224 pixels.
const fn classifier(name: &'static str, source: &'static str) -> NetInfo {
    NetInfo {
        name,
        default_side: 224,
        min_side: 32,
        side_step: 1,
        outputs: CLASSES,
        source,
    }
}

/// Every net, by name.
pub const NETS: [NetInfo; 9] = [
    NetInfo {
        default_side: 520,
        outputs: SEGMENTATION,
        ..classifier(
            "deeplabv3-resnet50",
            "Chen et al., arXiv 1706.05587; layer names as torchvision, with its auxiliary head",
        )
    },
    classifier(
        "efficientnet-b0",
        "Tan and Le, ICML 2019; layer names as torchvision",
    ),
    classifier(
        "mobilenet-v3",
        "Howard et al., ICCV 2019, MobileNetV3-Small; layer names as torchvision",
    ),
    classifier(
        "mobilenet-v3-large",
        "Howard et al., ICCV 2019, MobileNetV3-Large; layer names as torchvision",
    ),
    classifier(
        "resnet18",
        "He et al., CVPR 2016; layer names as torchvision",
    ),
    classifier(
        "resnet50",
        "He et al., CVPR 2016; layer names as torchvision",
    ),
    classifier(
        "squeezenet1.1",
        "Iandola et al., arXiv 1602.07360, release 1.1; layer names as torchvision",
    ),
    classifier(
        "wide-resnet101",
        "Zagoruyko and Komodakis, BMVC 2016, twice as wide; layer names as torchvision",
    ),
    NetInfo {
        default_side: 416,
        side_step: 32,
        outputs: DETECTION,
        ..classifier(
            "yolov4",
            "Bochkovskiy et al., arXiv 2004.10934; layer names as Tianxiaomo/pytorch-YOLOv4",
        )
    },
];

impl NetInfo {
    /// The net called `name`.
    pub fn find(name: &str) -> Option<&'static NetInfo> {
        NETS.iter().find(|net| net.name == name)
    }

    /// Size of a preprocessed input: three planes of `side` by `side` 32-bit floats.
    pub fn preprocessed_bytes(&self, side: u32) -> Bytes {
        tensor_bytes(side)
    }

    /// Size of the reply for one input of `side` pixels: all outputs together.
    pub fn output_bytes(&self, side: u32) -> Bytes {
        let n_floats: u64 = self.outputs.iter().map(|it| it.n_floats(side)).sum();
        Bytes(n_floats * 4)
    }

    /// What is wrong with an input of `side` pixels, if anything.
    pub fn side_problem(&self, side: u32) -> Option<String> {
        let NetInfo {
            min_side: min,
            side_step: step,
            ..
        } = self;
        if (*min..=MAX_SIDE).contains(&side) && side.is_multiple_of(*step) {
            return None;
        }
        let multiple = match step {
            1 => String::new(),
            step => format!("a multiple of {step} "),
        };
        Some(format!(
            "must be {multiple}from {min} to {MAX_SIDE} pixels, found {side}"
        ))
    }
}

/// Size of a tensor: three planes of `side` by `side` 32-bit floats.
pub fn tensor_bytes(side: u32) -> Bytes {
    Bytes(CHANNELS * u64::from(side) * u64::from(side) * 4)
}

/// Size of a raw input: 8-bit RGB pixels.
pub fn raw_bytes(width: u32, height: u32) -> Bytes {
    Bytes(CHANNELS * u64::from(width) * u64::from(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_those_of_the_reference_study() {
        let resnet50 = NetInfo::find("resnet50").unwrap();
        assert_eq!(resnet50.preprocessed_bytes(224), Bytes(602_112));
        assert_eq!(resnet50.output_bytes(224), Bytes(4_000));
        assert_eq!(raw_bytes(500, 546), Bytes(819_000));
        let yolov4 = NetInfo::find("yolov4").unwrap();
        assert_eq!(yolov4.preprocessed_bytes(416), Bytes(2_076_672));
        assert_eq!(yolov4.output_bytes(416), Bytes(3_619_980));
        let deeplabv3 = NetInfo::find("deeplabv3-resnet50").unwrap();
        assert_eq!(deeplabv3.output_bytes(520), Bytes(45_427_200));
    }

    #[test]
    fn default_sides_are_allowed_and_names_sorted() {
        for net in NETS {
            assert_eq!(net.side_problem(net.default_side), None, "{}", net.name);
            assert_eq!(net.side_problem(net.min_side), None, "{}", net.name);
        }
        assert!(NETS.is_sorted_by_key(|net| net.name));
    }
}

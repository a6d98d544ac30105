//! The nets that scenarios may name, with the payloads they take and give.
//!
//! Shapes are those of the published classifiers: a square 3-channel input, 1000 logits out, both
//! as 32-bit floats. The reference study sends ResNet-50 602,112 B and gets 4,000 B back.

use crate::units::Bytes;

/// Channels of an image.
pub const CHANNELS: u64 = 3;

/// A net that can be named in a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetInfo {
    /// Name in files.
    pub name: &'static str,
    /// Side of the square input it was published with, in pixels.
    pub default_side: u32,
    /// Smallest side at which every layer still has an output.
    pub min_side: u32,
    /// Number of 32-bit floats it returns.
    pub n_outputs: u64,
    /// Where it was published.
    pub source: &'static str,
}

/// Every net, by name.
pub const NETS: [NetInfo; 3] = [
    NetInfo {
        name: "resnet18",
        default_side: 224,
        min_side: 32,
        n_outputs: 1000,
        source: "He et al., CVPR 2016; layer names as torchvision",
    },
    NetInfo {
        name: "resnet50",
        default_side: 224,
        min_side: 32,
        n_outputs: 1000,
        source: "He et al., CVPR 2016; layer names as torchvision",
    },
    NetInfo {
        name: "squeezenet1.1",
        default_side: 224,
        min_side: 32,
        n_outputs: 1000,
        source: "Iandola et al., arXiv 1602.07360, release 1.1; layer names as torchvision",
    },
];

impl NetInfo {
    /// The net called `name`.
    pub fn find(name: &str) -> Option<&'static NetInfo> {
        NETS.iter().find(|net| net.name == name)
    }

    /// Size of a preprocessed input: three planes of `side` by `side` 32-bit floats.
    pub fn preprocessed_bytes(&self, side: u32) -> Bytes {
        Bytes(CHANNELS * u64::from(side) * u64::from(side) * 4)
    }

    /// Size of the reply for one input.
    pub fn output_bytes(&self) -> Bytes {
        Bytes(self.n_outputs * 4)
    }
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
        assert_eq!(resnet50.output_bytes(), Bytes(4_000));
        assert_eq!(raw_bytes(500, 546), Bytes(819_000));
    }
}

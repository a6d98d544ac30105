//! Where the tensors of a net come from: a seed or a safetensors file.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use rand::rngs::ChaCha8Rng;
use rand::{Rng as _, SeedableRng};

use super::super::AcceleratorError;

/// A source of tensors by name.
pub(super) trait WeightSource {
    /// The 32-bit tensor called `name`, of shape `shape`.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, AcceleratorError>;
}

/// A place in the tree of names of a net, such as `layer1.0`.
pub(super) struct Scope<'a> {
    source: &'a dyn WeightSource,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The top, where names have no prefix.
    pub(super) fn root(source: &'a dyn WeightSource) -> Self {
        Self {
            source,
            prefix: String::new(),
        }
    }

    /// The place `name` below this one.
    pub(super) fn at(&self, name: &str) -> Self {
        Self {
            source: self.source,
            prefix: format!("{}{name}.", self.prefix),
        }
    }

    /// The tensor called `name` at this place.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, AcceleratorError> {
        self.source.tensor(&format!("{}{name}", self.prefix), shape)
    }
}

/// Random values: each tensor from a stream of its own, named by the tensor.
pub(super) struct RandomWeights {
    seed: u64,
    device: Device,
}

impl RandomWeights {
    pub(super) fn new(seed: u64, device: &Device) -> Self {
        Self {
            seed,
            device: device.clone(),
        }
    }
}

impl WeightSource for RandomWeights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, AcceleratorError> {
        let (low, high) = range(name, shape);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(fnv1a64(name.as_bytes()));
        let mut words = vec![[0; 4]; shape.iter().product()];
        rng.fill_bytes(words.as_flattened_mut());
        let value = |word: &[u8; 4]| low + (high - low) * unit(u32::from_le_bytes(*word));
        let values: Vec<f32> = words.iter().map(value).collect();
        Tensor::from_vec(values, shape, &self.device)
            .map_err(AcceleratorError::compute("making random weights"))
    }
}

/// Range of the uniform values of a tensor.
///
/// Kernels and matrices have Kaiming's bound `sqrt(6 / fan_in)`, biases and running means lie
/// about 0, and the scales and running variances of batch normalisation about 1.
fn range(name: &str, shape: &[usize]) -> (f32, f32) {
    if shape.len() > 1 {
        let fan_in: usize = shape[1..].iter().product();
        #[expect(clippy::cast_precision_loss, reason = "a fan-in is below 2^24")]
        let bound = (6.0 / fan_in as f32).sqrt();
        (-bound, bound)
    } else if name.ends_with(".running_var") || name.ends_with(".weight") {
        (0.5, 1.5)
    } else {
        (-0.1, 0.1)
    }
}

/// A value in `[0, 1)` from the upper 24 bits of `word`, all of them values a float has.
fn unit(word: u32) -> f32 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "24 bits are what a float holds exactly"
    )]
    let upper = (word >> 8) as f32;
    upper / 16_777_216.0
}

/// The 64-bit FNV-1a hash, which names a stream and never changes.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The tensors of a safetensors file.
pub(super) struct FileWeights {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl FileWeights {
    pub(super) fn open(path: &Path, device: &Device) -> Result<Self, AcceleratorError> {
        let tensors = candle_core::safetensors::load(path, device).map_err(|source| {
            AcceleratorError::ReadWeights {
                path: path.to_owned(),
                source,
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            tensors,
        })
    }
}

impl WeightSource for FileWeights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, AcceleratorError> {
        let tensor = self
            .tensors
            .get(name)
            .ok_or_else(|| AcceleratorError::MissingTensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
            })?;
        if tensor.dims() != shape {
            return Err(AcceleratorError::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.dims().to_vec(),
            });
        }
        tensor
            .to_dtype(DType::F32)
            .map_err(|source| AcceleratorError::ReadWeights {
                path: self.path.clone(),
                source,
            })
    }
}

/// Keeps what passes from another source.
pub(super) struct Recorder<S> {
    source: S,
    tensors: RefCell<BTreeMap<String, Tensor>>,
}

impl<S: WeightSource> Recorder<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            tensors: RefCell::default(),
        }
    }

    /// What has passed, by name.
    pub(super) fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.tensors.into_inner()
    }
}

impl<S: WeightSource> WeightSource for Recorder<S> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, AcceleratorError> {
        let tensor = self.source.tensor(name, shape)?;
        self.tensors
            .borrow_mut()
            .insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, shape: &[usize]) -> Vec<f32> {
        RandomWeights::new(7, &Device::Cpu)
            .tensor(name, shape)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    }

    #[test]
    fn names_hash_as_fnv_publishes() {
        // Test vectors of draft-eastlake-fnv.
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn each_tensor_has_a_stream_of_its_own() {
        assert_ne!(values("a.bias", &[4]), values("b.bias", &[4]));
        assert_eq!(values("a.bias", &[4])[..2], values("a.bias", &[2]));
    }

    #[test]
    fn the_values_of_a_seed_never_change() {
        let bits: Vec<u32> = values("conv1.bias", &[3])
            .iter()
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(bits, [0xbda9_caa2, 0xbdae_ce7a, 0xbd0b_2fe0]);
    }

    #[test]
    fn kernels_stay_within_the_bound_of_their_fan_in() {
        let bound = (6.0_f32 / 27.0).sqrt();
        let kernel = values("conv1.weight", &[64, 3, 3, 3]);
        let largest = kernel.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        assert!(
            0.98 * bound < largest && largest <= bound,
            "{largest} for a bound of {bound}"
        );
    }
}

//! Randomness: one named stream per source, sampled by inversion.
//!
//! Two scenarios that share a seed share the draws of every source they have in common, whatever
//! else differs between them (common random numbers).

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// The number every stream of a run is derived from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of replication number `index`; number 0 is the seed itself.
    pub fn replication(self, index: u32) -> Seed {
        // Golden-ratio stride (Weyl sequence): distinct seeds for distinct indices.
        Seed(
            self.0
                .wrapping_add(u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }
}

/// The stream of the source called `name`, independent of every other name's.
pub fn stream(seed: Seed, name: &str) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.0);
    rng.set_stream(fnv1a64(name.as_bytes()));
    rng
}

/// A uniform draw from the open interval (0, 1): the middle of one of 2⁵² equal cells, each of which
/// a float represents, so that inverse distribution functions never see 0 or 1.
#[inline]
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// An exponential draw with mean `mean`, by inversion.
#[inline]
pub fn exponential(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    -mean * uniform(rng).ln()
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv-17): stable across releases and machines.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a64_matches_published_vectors() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn streams_differ_by_name_and_repeat_by_seed() {
        let first = |seed, name| stream(Seed(seed), name).next_u64();
        assert_eq!(first(1, "arrivals"), first(1, "arrivals"));
        assert_ne!(first(1, "arrivals"), first(1, "class"));
        assert_ne!(first(1, "arrivals"), first(2, "arrivals"));
    }

    #[test]
    fn first_draws_of_a_stream_are_stable() {
        let mut rng = stream(Seed(7), "arrivals");
        let draws: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(
            draws,
            [
                7_748_011_199_333_054_883,
                13_061_403_619_344_102_927,
                9_584_891_171_060_006_735
            ]
        );
    }
}

//! What kernels make of a request: the bytes of its reply as a function of those of its payload.

/// Sums that a payload is folded into.
pub(crate) const SUMS: usize = 1024;

/// The reply of `output_bytes` bytes that kernels on a GPU give to a request of these bytes.
///
/// The payload is taken as 32-bit words in little-endian order, the last filled up with zeros. Sum
/// number `s` of 1024 is of the words `s`, `s + 1024`, `s + 2048` and so on, the `k`-th of them (from
/// zero) taken `2 k + 1` times, modulo 2³². Word `w` of the reply is the sum of number `w` modulo 1024.
/// So each bit of a payload is seen in any reply of 4096 B or more, and in which order they came.
///
/// ```
/// # use realrun::accelerator::folded;
/// assert_eq!(folded(&[1, 2, 3, 4, 5], 12), [1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0]);
/// ```
#[must_use]
pub fn folded(input: &[u8], output_bytes: usize) -> Vec<u8> {
    let mut sums = vec![0_u32; SUMS];
    for (index, bytes) in input.chunks(4).enumerate() {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        let times = (2 * (index / SUMS) + 1) as u32;
        let sum = &mut sums[index % SUMS];
        *sum = sum.wrapping_add(times.wrapping_mul(u32::from_le_bytes(word)));
    }
    let words = sums.iter().cycle().flat_map(|sum| sum.to_le_bytes());
    words.take(output_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_summed_across_a_distance_of_the_sums_and_repeated() {
        let mut input = vec![0; 4 * (2 * SUMS + 1)];
        for (index, value) in [(0, 1_u8), (1, 2), (SUMS, 3), (2 * SUMS, 4)] {
            input[4 * index] = value;
        }
        input.extend([7, 8]);
        let reply = folded(&input, 4 * SUMS + 5);
        let word = |index: usize| u32::from_le_bytes(reply[4 * index..][..4].try_into().unwrap());
        assert_eq!(word(0), 1 + 3 * 3 + 5 * 4);
        assert_eq!(word(1), 2 + 5 * (7 + 256 * 8));
        assert!((2..SUMS).all(|index| word(index) == 0));
        assert_eq!(word(SUMS), word(0));
        assert_eq!(reply[4 * SUMS + 4], reply[4]);
    }

    #[test]
    fn each_word_counts_and_so_does_its_place() {
        let base: Vec<u8> = (0..4 * 3000_u32).map(|index| (index % 251) as u8).collect();
        let reply = folded(&base, 4096);
        for at in [0, 5, 4096, 8193, 11_999] {
            let mut other = base.clone();
            other[at] ^= 0x80;
            assert_ne!(folded(&other, 4096), reply, "byte {at}");
        }
        let mut swapped = base.clone();
        swapped[..4096].copy_from_slice(&base[4096..8192]);
        swapped[4096..8192].copy_from_slice(&base[..4096]);
        assert_ne!(folded(&swapped, 4096), reply);
        assert_eq!(folded(&[], 9), [0; 9]);
        assert!(folded(&base, 0).is_empty());
    }
}

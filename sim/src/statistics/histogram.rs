//! A histogram of times with a fixed relative error.

use schema::units::SimDuration;

/// Bits of a time that a bin tells apart, below the highest.
const BITS: u32 = 7;
/// Bins of an octave.
const BINS: usize = 1 << BITS;

/// Most that a quantile differs from the true value, relative to it: bins are at most 2⁻⁷ of their
/// start wide, and stand for their middle.
pub const RELATIVE_ERROR: f64 = 1.0 / (2 * BINS) as f64;

/// Counts of times in bins that are equally wide within each octave (the layout of HdrHistogram:
/// Tene, 2012). Memory grows with the number of octaves in which there is anything, 1 KiB each, and
/// never with the number of times.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    n: u64,
    /// By octave; empty where nothing was counted.
    octaves: Vec<Vec<u64>>,
}

impl Histogram {
    /// Number of times.
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Counts `time`.
    #[inline]
    pub fn record(&mut self, time: SimDuration) {
        let (octave, bin) = bin(time.as_ps());
        self.n += 1;
        match self.octaves.get_mut(octave) {
            Some(bins) if !bins.is_empty() => bins[bin] += 1,
            _ => self.record_first(octave, bin),
        }
    }

    #[cold]
    fn record_first(&mut self, octave: usize, bin: usize) {
        if self.octaves.len() <= octave {
            self.octaves.resize_with(octave + 1, Vec::new);
        }
        self.octaves[octave] = vec![0; BINS];
        self.octaves[octave][bin] = 1;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        self.n += other.n;
        if self.octaves.len() < other.octaves.len() {
            self.octaves.resize_with(other.octaves.len(), Vec::new);
        }
        for (mine, theirs) in self.octaves.iter_mut().zip(&other.octaves) {
            if mine.is_empty() {
                mine.clone_from(theirs);
            } else {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    *mine += theirs;
                }
            }
        }
    }

    /// The value of rank `rank` (from 1) in ascending order, in seconds, within
    /// [`RELATIVE_ERROR`]; NaN of nothing.
    pub fn ranked(&self, rank: u64) -> f64 {
        let mut left = rank.clamp(1, self.n.max(1));
        for (middle, count) in self.bins() {
            if count >= left {
                return middle;
            }
            left -= count;
        }
        f64::NAN
    }

    /// The `p` quantile, in seconds: the smallest value that at least a fraction `p` does not
    /// exceed, within [`RELATIVE_ERROR`]; NaN of nothing.
    pub fn quantile(&self, p: f64) -> f64 {
        self.ranked((p * self.n as f64).ceil() as u64)
    }

    /// Variance about `mean`, in square seconds; NaN of nothing.
    pub fn variance(&self, mean: f64) -> f64 {
        let squares = self.bins().map(|(x, n)| n as f64 * (x - mean).powi(2));
        squares.sum::<f64>() / self.n as f64
    }

    /// The middle of each bin that holds something, in seconds, ascending, and its count.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        let octaves = self.octaves.iter().enumerate();
        octaves.flat_map(|(octave, bins)| {
            let counted = bins.iter().enumerate().filter(|(_, count)| **count > 0);
            counted.map(move |(bin, count)| (middle(octave, bin), *count))
        })
    }
}

/// The octave and the bin of `ps`. Octave 0 holds the times below 2⁷ ps, each in a bin of its own.
#[inline]
const fn bin(ps: u64) -> (usize, usize) {
    let octave = (u64::BITS - (ps >> BITS).leading_zeros()) as usize;
    let shift = octave.saturating_sub(1);
    (octave, (ps >> shift) as usize & (BINS - 1))
}

/// The middle of a bin, in seconds.
fn middle(octave: usize, bin: usize) -> f64 {
    let ps = match octave {
        0 => bin as f64,
        // The values of a bin are whole: from its start to one less than the start of the next.
        _ => {
            let width = 2f64.powi(octave as i32 - 1);
            (BINS + bin) as f64 * width + (width - 1.0) / 2.0
        }
    };
    ps * 1e-12
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for time in times {
            histogram.record(SimDuration::from_ps(*time));
        }
        histogram
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert!(Histogram::default().quantile(0.5).is_nan());
    }

    #[test]
    fn small_times_are_exact() {
        let histogram = of(&[0, 1, 127, 128, 255]);
        let ranked = [1, 2, 3, 4, 5].map(|rank| (histogram.ranked(rank) * 1e12).round() as u64);
        assert_eq!(ranked, [0, 1, 127, 128, 255]);
    }

    #[test]
    fn the_last_time_has_a_bin() {
        let value = of(&[u64::MAX]).quantile(1.0);
        assert!((value * 1e12 / u64::MAX as f64 - 1.0).abs() <= RELATIVE_ERROR);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(
            mut times in prop::collection::vec((0u32..64, any::<u64>()).prop_map(|(bits, x)| x >> bits), 1..200),
            p in 0.0f64..=1.0,
        ) {
            let histogram = of(&times);
            times.sort_unstable();
            let rank = (p * times.len() as f64).ceil() as usize;
            let exact = times[rank.clamp(1, times.len()) - 1] as f64;
            let found = histogram.quantile(p) * 1e12;
            prop_assert!((found - exact).abs() <= exact * RELATIVE_ERROR * (1.0 + 1e-12), "{found} {exact}");
        }

        #[test]
        fn merged_is_counted_together(
            a in prop::collection::vec(any::<u64>(), 0..50),
            b in prop::collection::vec(0u64..100_000, 0..50),
        ) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }
    }
}

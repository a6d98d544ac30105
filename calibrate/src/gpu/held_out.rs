//! How well a law predicts what it was not fitted to.

use schema::random::fnv1a64;

/// Relative errors of predictions, `predicted / measured - 1`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Errors {
    /// Mean of their absolute values.
    pub mean: f64,
    /// What a tenth of the absolute values exceeds.
    pub p90: f64,
    /// Largest absolute value.
    pub max: f64,
    /// Their mean.
    pub bias: f64,
    /// How many.
    pub n: usize,
}

impl Errors {
    /// Of predictions and what was measured, pair by pair.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(pairs: &[(f64, f64)]) -> Errors {
        let signed = pairs
            .iter()
            .map(|(predicted, measured)| predicted / measured - 1.0);
        let bias = signed.clone().sum::<f64>() / pairs.len() as f64;
        let mut sizes: Vec<f64> = signed.map(f64::abs).collect();
        sizes.sort_by(f64::total_cmp);
        let n = sizes.len();
        Errors {
            mean: sizes.iter().sum::<f64>() / n as f64,
            p90: sizes[(n * 9).div_ceil(10) - 1],
            max: sizes[n - 1],
            bias,
            n,
        }
    }
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let [mean, p90, max, bias] = [self.mean, self.p90, self.max, self.bias].map(|e| 100.0 * e);
        write!(
            f,
            "mean {mean:5.2}%  p90 {p90:5.2}%  max {max:5.1}%  bias {bias:5.2}%  n {}",
            self.n
        )
    }
}

/// The fold, of `k`, that what is called `name` belongs to: by a hash, so that no choice of ours is
/// in it and neighbours come apart.
pub fn fold_of(name: &str, k: usize) -> usize {
    // The low bits of FNV-1a are weak: the parity is that of the bytes' own parities.
    let hash = fnv1a64(name.as_bytes());
    ((hash >> 32) % k as u64) as usize
}

/// Errors on held-out points: for each of `k` folds, `predict` is given the points outside it to
/// fit to and those in it to predict, and returns predictions with what was measured.
///
/// # Errors
/// If one of the fits fails.
pub fn held_out<P: Copy, E>(
    points: &[P],
    k: usize,
    fold: impl Fn(&P) -> usize,
    predict: impl Fn(&[P], &[P]) -> Result<Vec<(f64, f64)>, E>,
) -> Result<Vec<(f64, f64)>, E> {
    let mut pairs = Vec::new();
    for held in 0..k {
        let (test, train): (Vec<P>, Vec<P>) = points.iter().partition(|p| fold(p) == held);
        if !test.is_empty() {
            pairs.extend(predict(&train, &test)?);
        }
    }
    Ok(pairs)
}

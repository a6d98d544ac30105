//! Nets side by side on a GPU, each under its own share of the multiprocessors.
//!
//! A net's overhead lasts `1 + λ` times as long while another net is resident. While both compute,
//! a net progresses `1 + i` times more slowly, `i` from the *other* net's batch `b` and share `s`:
//!
//! ```text
//! i(b, s) = w b / (b + β) · s^γ
//! ```
//!
//! with its intensity `w` and `β` the batch at half of it. Two nets that run without a pause, each
//! in overhead for `O (1 + λ)` and then computing for `G'`, meet computing in the part
//! `d = G' / (G' + O (1 + λ))` of the time. Averaged over that,
//!
//! ```text
//! G'₁ = G₁ / (1 - d₂ + d₂ / (1 + i₂)),   t₁ = O₁ (1 + λ) + G'₁
//! ```
//!
//! and the same for net 2: a fixed point, by six rounds from `d = 1`. It takes the phases of the two
//! as independent.

use super::fit::{Fit, FitError, Need, Problem, Term, fit};
use super::share::{RIDGE, SCALE, ShareLaw};

/// How nets side by side slow one another down; see the [module](self).
#[derive(Clone, PartialEq, Debug)]
pub struct Interference {
    /// `λ`: how much longer overhead lasts for each other net that is resident, from 0.
    pub overhead: f64,
    /// `γ`: power of the share of the net that disturbs, from 0.
    pub exponent: f64,
    /// How much each net disturbs the others.
    pub nets: Vec<Intensity>,
}

/// How much a net that computes disturbs others: `w b / (b + β)` for a batch of `b`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Intensity {
    /// `w`: how much more slowly others progress beside a very large batch with the whole GPU.
    pub most: f64,
    /// `β`: the batch that disturbs half as much, in requests.
    pub half: f64,
}

impl Intensity {
    /// For a batch of `batch` requests.
    pub fn at(&self, batch: f64) -> f64 {
        self.most * batch / (batch + self.half)
    }
}

/// A net of a pair.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PairedNet {
    /// Index of the net.
    pub net: usize,
    /// Requests of its batch.
    pub batch: f64,
    /// Its share of the multiprocessors, from above 0 to 1.
    pub share: f64,
}

/// The times of a forward pass of two nets side by side, measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PairPoint {
    /// The nets.
    pub nets: [PairedNet; 2],
    /// The time of each, in seconds.
    pub times: [f64; 2],
}

/// Rounds of the fixed point; the fourth changes times by less than 10⁻⁴.
const ROUNDS: usize = 6;

impl Interference {
    /// Times of a forward pass of two nets side by side, in seconds; `laws` has what each net takes
    /// alone.
    pub fn expected(&self, laws: &[ShareLaw], nets: &[PairedNet; 2]) -> [f64; 2] {
        let overhead = nets.map(|n| laws[n.net].overhead(n.batch) * (1.0 + self.overhead));
        let alone = nets.map(|n| laws[n.net].compute_time(n.batch, n.share));
        let slowdown =
            nets.map(|n| 1.0 + self.nets[n.net].at(n.batch) * n.share.powf(self.exponent));
        let mut computing = [1.0; 2];
        let mut compute = alone;
        for _ in 0..ROUNDS {
            compute = [0, 1].map(|i| {
                let (met, slowdown) = (computing[1 - i], slowdown[1 - i]);
                alone[i] / (1.0 - met + met / slowdown)
            });
            computing = [0, 1].map(|i| compute[i] / (compute[i] + overhead[i]));
        }
        [0, 1].map(|i| overhead[i] + compute[i])
    }

    fn of(values: &[f64]) -> Interference {
        let nets = values[2..].chunks(2);
        Interference {
            overhead: values[0],
            exponent: values[1],
            nets: nets
                .map(|v| Intensity {
                    most: v[0],
                    half: v[1],
                })
                .collect(),
        }
    }

    /// Fits interference to pairs of nets that alone take what `laws` says. The errors take
    /// these laws as exact. Terms are `lambda`, `gamma`, and `w_0`, `beta_0`, `w_1`, … of each net.
    ///
    /// # Errors
    /// See [`fit`].
    ///
    /// # Panics
    /// If a point is of a net that has no law.
    pub fn fit(laws: &[ShareLaw], points: &[PairPoint]) -> Result<(Interference, Fit), FitError> {
        let observed: Vec<f64> = points.iter().flat_map(|p| p.times).collect();
        let predict = |values: &[f64], out: &mut [f64]| {
            let law = Interference::of(values);
            for (out, p) in out.chunks_mut(2).zip(points) {
                out.copy_from_slice(&law.expected(laws, &p.nets));
            }
        };
        let mut terms = vec![Term::required("lambda"), Term::required("gamma")];
        let mut start = vec![0.2, 0.5];
        for net in 0..laws.len() {
            terms.extend(["w", "beta"].map(|name| Term {
                name: format!("{name}_{net}").into(),
                need: Need::Required,
            }));
            start.extend([0.18, 1.0]);
        }
        let fit = fit(&Problem {
            terms: &terms,
            starts: &[start],
            observed: &observed,
            predict: &predict,
            scale: SCALE,
            ridge: RIDGE,
        })?;
        Ok((Interference::of(&fit.values()), fit))
    }
}

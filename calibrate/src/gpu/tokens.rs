//! A language model on a GPU, under a share of its multiprocessors: prefill and decode.
//!
//! With batch `b`, length `L`, `N = b L` tokens and share `s`, a *prefill* of `b` prompts takes
//!
//! ```text
//! t = max(H, o₀ + oₜ N + oₛ b + e₁ (N - N₁)⁺ + e₂ (N - 2 N₁)⁺ + (C + cₜ N) / s)
//! ```
//!
//! and a *decode* step of `b` sequences, each of `L` tokens so far,
//!
//! ```text
//! t = max(H, O + oₛ b + max(W / g(s), (C + cₛ b + cⱼ [b > 64]) / s) + κ b L / g(s))
//! g(s) = 1.2 s / (s + 0.2)
//! ```
//!
//! all in seconds. `H` is a floor: where the CPU takes longer to launch kernels than the GPU to run
//! them, the GPU's work hides under the launches. Of the memory's bandwidth, a share `s` of the
//! multiprocessors reaches the part `g`; `W` is the time to read the weights and `κ` that to read
//! the keys and values of a token, with all of it. `cⱼ` is the step to wider tiles of matrix
//! products, and `e₁`, `e₂` what prompts beyond `N₁` tokens cost more.

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{Driver, Residual};

use super::fit::{Fit, FitError, Problem, Term, fit};
use super::held_out::Errors;
use super::share::idle_phase;

/// Tokens beyond which a prefill may cost more: the ones that are tried.
pub const LONG_PREFILLS: [f64; 3] = [8192.0, 16384.0, 32768.0];
/// Largest batch before the step of a decode's compute, in sequences.
pub const NARROW_TILE: f64 = 64.0;
/// `DRAM_OCCUPANCY` of the GPU: the share that reaches 90% of the memory's bandwidth.
pub const DRAM_OCCUPANCY: f64 = 0.6;
/// Residual at which the loss turns from squares to absolute values.
const SCALE: f64 = 0.03;
/// Weight of the ridge.
const RIDGE: f64 = 2e-3;

/// Part of the memory's bandwidth that a share of the multiprocessors reaches, from above 0 to 1.
///
/// `(1 + a) s / (s + a)` with `a = 0.1 x / (0.9 - x)` for `x` = [`DRAM_OCCUPANCY`].
pub fn bandwidth_share(share: f64) -> f64 {
    let a = 0.1 * DRAM_OCCUPANCY / (0.9 - DRAM_OCCUPANCY);
    (1.0 + a) * share / (share + a)
}

/// What was measured with one batch, length and share.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TokenPoint {
    /// Sequences of the batch.
    pub batch: f64,
    /// Tokens of each.
    pub length: f64,
    /// Share of the multiprocessors, from above 0 to 1.
    pub share: f64,
    /// Time of the prefill, in seconds.
    pub prefill: f64,
    /// Time of a decode step, in seconds.
    pub decode: f64,
}

/// What a prefill takes; see the [module](self).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PrefillLaw {
    /// `H`, in seconds.
    pub floor: f64,
    /// `o₀`, in seconds.
    pub overhead_base: f64,
    /// `oₜ`, in seconds a token.
    pub overhead_token: f64,
    /// `oₛ`, in seconds a sequence.
    pub overhead_sequence: f64,
    /// `C`, in seconds on the whole GPU.
    pub compute_base: f64,
    /// `cₜ`, in seconds a token.
    pub compute_token: f64,
    /// `e₁`, in seconds a token.
    pub long_token: f64,
    /// `e₂`, in seconds a token.
    pub longer_token: f64,
    /// `N₁`, in tokens.
    pub long: f64,
}

/// What a decode step takes; see the [module](self).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DecodeLaw {
    /// `H`, in seconds.
    pub floor: f64,
    /// `O`, in seconds.
    pub overhead_base: f64,
    /// `oₛ`, in seconds a sequence.
    pub overhead_sequence: f64,
    /// `W`, in seconds with all of the memory's bandwidth.
    pub weights: f64,
    /// `κ`, in seconds a token of a sequence, with all of the memory's bandwidth.
    pub keys_and_values: f64,
    /// `C`, in seconds on the whole GPU.
    pub compute_base: f64,
    /// `cₛ`, in seconds a sequence.
    pub compute_sequence: f64,
    /// `cⱼ`, in seconds.
    pub compute_step: f64,
}

const PREFILL_TERMS: [Term; 8] = [
    Term::optional("H"),
    Term::refinement("o_0"),
    Term::optional("o_tok"),
    Term::optional("o_seq"),
    Term::refinement("c_0"),
    Term::required("c_tok"),
    Term::refinement("e_1"),
    Term::refinement("e_2"),
];
const DECODE_TERMS: [Term; 8] = [
    Term::optional("H"),
    Term::refinement("o_0"),
    Term::optional("o_seq"),
    Term::required("W"),
    Term::required("kv"),
    Term::refinement("c_0"),
    Term::required("c_seq"),
    Term::refinement("c_step"),
];
/// Where fits of a prefill start: the floor at the least time, or a little above, or so low that it
/// does not matter; compute from the time of the most tokens.
fn prefill_starts(points: &[TokenPoint]) -> Vec<Vec<f64>> {
    let least = points.iter().map(|p| p.prefill).fold(f64::MAX, f64::min);
    let tokens = |p: &&TokenPoint| p.batch * p.length;
    let most = points.iter().max_by(|a, b| tokens(a).total_cmp(&tokens(b)));
    let token = most.map_or(1e-5, |p| p.prefill * p.share / (p.batch * p.length));
    let start = |floor: f64, base: f64| {
        vec![
            floor * least,
            base * least,
            0.3 * token,
            least * 1e-3,
            0.1 * least,
            0.7 * token,
            0.1 * token,
            0.1 * token,
        ]
    };
    [(1.0, 0.2), (1.15, 0.4), (0.5, 0.7)]
        .map(|(floor, base)| start(floor, base))
        .to_vec()
}

/// Where fits of a decode step start: the floor as for prefills, and overhead or weights most of
/// the rest.
fn decode_starts(points: &[TokenPoint]) -> Vec<Vec<f64>> {
    let least = points.iter().map(|p| p.decode).fold(f64::MAX, f64::min);
    let start = |floor: f64, overhead: f64, weights: f64| {
        vec![
            floor * least,
            overhead * least,
            1e-3 * least,
            weights * least,
            2e-5 * least,
            0.1 * least,
            5e-3 * least,
            0.1 * least,
        ]
    };
    [
        (1.0, 0.5, 0.3),
        (1.05, 0.2, 0.6),
        (0.5, 0.1, 0.8),
        (0.5, 0.6, 0.3),
    ]
    .map(|(floor, overhead, weights)| start(floor, overhead, weights))
    .to_vec()
}

impl PrefillLaw {
    fn of(values: &[f64], long: f64) -> PrefillLaw {
        PrefillLaw {
            floor: values[0],
            overhead_base: values[1],
            overhead_token: values[2],
            overhead_sequence: values[3],
            compute_base: values[4],
            compute_token: values[5],
            long_token: values[6],
            longer_token: values[7],
            long,
        }
    }

    /// Time that no share shortens, in seconds.
    pub fn overhead(&self, batch: f64, length: f64) -> f64 {
        let tokens = batch * length;
        self.overhead_base
            + self.overhead_token * tokens
            + self.overhead_sequence * batch
            + self.long_token * (tokens - self.long).max(0.0)
            + self.longer_token * (tokens - 2.0 * self.long).max(0.0)
    }

    /// Time on all multiprocessors, in seconds.
    pub fn compute(&self, batch: f64, length: f64) -> f64 {
        self.compute_base + self.compute_token * batch * length
    }

    /// Time of a prefill alone on the GPU, in seconds.
    pub fn expected(&self, batch: f64, length: f64, share: f64) -> f64 {
        let busy = self.overhead(batch, length) + self.compute(batch, length) / share;
        busy.max(self.floor)
    }

    /// Prefill of prompts of `length` tokens as a net of a profile, up to batches of `largest`; fitted
    /// to `samples`.
    pub fn net(&self, length: f64, largest: f64, samples: usize, held_out: &Errors) -> GpuNet {
        // The overhead is a chain of lines with bends where the prompts become long.
        let bends = [self.long / length, 2.0 * self.long / length];
        let mut batches = vec![1.0];
        batches.extend(bends.into_iter().filter(|&b| b > 1.0 && b < largest));
        batches.push(largest.max(2.0));
        let points = batches.iter().map(|&b| [b, self.overhead(b, length)]);
        let phase = Phase {
            overhead: DriverLaw::Table(points.collect()),
            compute: DriverLaw::affine(self.compute_base, self.compute_token * length),
            ..idle_phase()
        };
        net(self.floor, vec![phase], largest, samples, held_out)
    }

    /// Fits the law; of [`LONG_PREFILLS`] the one with the least loss is taken.
    ///
    /// # Errors
    /// See [`fit`].
    pub fn fit(points: &[TokenPoint]) -> Result<(PrefillLaw, Fit), FitError> {
        let observed: Vec<f64> = points.iter().map(|p| p.prefill).collect();
        let mut best: Option<(PrefillLaw, Fit)> = None;
        for long in LONG_PREFILLS {
            let predict = |values: &[f64], out: &mut [f64]| {
                let law = PrefillLaw::of(values, long);
                for (out, p) in out.iter_mut().zip(points) {
                    *out = law.expected(p.batch, p.length, p.share);
                }
            };
            let fit = fit(&Problem {
                terms: &PREFILL_TERMS,
                starts: &prefill_starts(points),
                observed: &observed,
                predict: &predict,
                scale: SCALE,
                ridge: RIDGE,
            })?;
            if best.as_ref().is_none_or(|(_, best)| fit.loss < best.loss) {
                best = Some((PrefillLaw::of(&fit.values(), long), fit));
            }
        }
        Ok(best.expect("some were tried"))
    }
}

impl DecodeLaw {
    fn of(values: &[f64]) -> DecodeLaw {
        DecodeLaw {
            floor: values[0],
            overhead_base: values[1],
            overhead_sequence: values[2],
            weights: values[3],
            keys_and_values: values[4],
            compute_base: values[5],
            compute_sequence: values[6],
            compute_step: values[7],
        }
    }

    /// Time that no share shortens, in seconds.
    pub fn overhead(&self, batch: f64) -> f64 {
        self.overhead_base + self.overhead_sequence * batch
    }

    /// Time on all multiprocessors, in seconds.
    pub fn compute(&self, batch: f64) -> f64 {
        let step = if batch > NARROW_TILE {
            self.compute_step
        } else {
            0.0
        };
        self.compute_base + self.compute_sequence * batch + step
    }

    /// Time of a decode step alone on the GPU, in seconds.
    pub fn expected(&self, batch: f64, length: f64, share: f64) -> f64 {
        let bandwidth = bandwidth_share(share);
        let products = (self.weights / bandwidth).max(self.compute(batch) / share);
        let attention = self.keys_and_values * batch * length / bandwidth;
        (self.overhead(batch) + products + attention).max(self.floor)
    }

    /// A decode step of sequences of `length` tokens as a net of a profile, up to batches of
    /// `largest`; fitted to `samples`. `bandwidth` is the part's `dram-bandwidth`, in bytes per
    /// second: what is read is known in seconds alone.
    pub fn net(
        &self,
        length: f64,
        bandwidth: f64,
        largest: f64,
        samples: usize,
        held_out: &Errors,
    ) -> GpuNet {
        let batches = [
            1.0,
            NARROW_TILE,
            NARROW_TILE + 1.0,
            largest.max(NARROW_TILE + 2.0),
        ];
        let points = batches.map(|b| [b, self.compute(b)]);
        let products = Phase {
            overhead: DriverLaw::affine(self.overhead_base, self.overhead_sequence),
            compute: DriverLaw::Table(points.to_vec()),
            bytes: DriverLaw::constant(self.weights * bandwidth),
            ..idle_phase()
        };
        let attention = Phase {
            bytes: DriverLaw::affine(0.0, self.keys_and_values * length * bandwidth),
            ..idle_phase()
        };
        let phases = vec![products, attention];
        net(self.floor, phases, largest, samples, held_out)
    }

    /// Fits the law.
    ///
    /// # Errors
    /// See [`fit`].
    pub fn fit(points: &[TokenPoint]) -> Result<(DecodeLaw, Fit), FitError> {
        let observed: Vec<f64> = points.iter().map(|p| p.decode).collect();
        let predict = |values: &[f64], out: &mut [f64]| {
            let law = DecodeLaw::of(values);
            for (out, p) in out.iter_mut().zip(points) {
                *out = law.expected(p.batch, p.length, p.share);
            }
        };
        let fit = fit(&Problem {
            terms: &DECODE_TERMS,
            starts: &decode_starts(points),
            observed: &observed,
            predict: &predict,
            scale: SCALE,
            ridge: RIDGE,
        })?;
        Ok((DecodeLaw::of(&fit.values()), fit))
    }
}

fn net(floor: f64, phases: Vec<Phase>, largest: f64, samples: usize, held_out: &Errors) -> GpuNet {
    GpuNet {
        per: Driver::Requests,
        range: [1.0, largest],
        samples: samples as u64,
        held_out_error: held_out.mean,
        source: "fitted to the times of MuxServe (ICML 2024), table a100-llama".to_owned(),
        residual: Residual::None,
        memory: 0.0,
        launches: 0,
        floor: DriverLaw::constant(floor),
        phases,
        kernels: Vec::new(),
    }
}

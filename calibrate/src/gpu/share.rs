//! A net alone on a GPU, under a share of its multiprocessors.
//!
//! With batch `b` and share `s`, from above 0 to 1, a forward pass takes
//!
//! ```text
//! t(b, s) = o₀ + o₁ b + (c₀ + c₁ b) / min(s, k(b)),   k(b) = min(1, b / q)
//! ```
//!
//! in seconds: *overhead* that no share shortens, and *compute* on the multiprocessors, of which a
//! batch smaller than `q` can use only the part `k`.

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{Driver, Residual};

use super::fit::{Fit, FitError, Problem, Term, fit};
use super::held_out::Errors;
use super::interference::Intensity;

/// What a net alone on a GPU takes; see the [module](self).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ShareLaw {
    /// `o₀`, in seconds.
    pub overhead_base: f64,
    /// `o₁`, in seconds a request.
    pub overhead_slope: f64,
    /// `c₀`, in seconds on the whole GPU.
    pub compute_base: f64,
    /// `c₁`, in seconds a request.
    pub compute_slope: f64,
    /// `q`, the requests that fill the GPU; zero if each does by itself.
    pub filling_batch: f64,
}

/// The time of a forward pass, measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SharePoint {
    /// Requests of the batch.
    pub batch: f64,
    /// Share of the multiprocessors, from above 0 to 1.
    pub share: f64,
    /// The time, in seconds.
    pub time: f64,
}

/// A fitted law of a net alone on a GPU.
#[derive(Clone, PartialEq, Debug)]
pub struct FittedShareLaw {
    /// The law.
    pub law: ShareLaw,
    /// Its parameters with their errors.
    pub fit: Fit,
    /// The batches that it was fitted to, ascending.
    pub batches: Vec<f64>,
}

const TERMS: [Term; 5] = [
    Term::optional("o_0"),
    Term::optional("o_1"),
    Term::optional("c_0"),
    Term::required("c_1"),
    Term::optional("q"),
];
/// Residual at which the loss turns from squares to absolute values.
pub const SCALE: f64 = 0.05;
/// Weight of the ridge.
pub const RIDGE: f64 = 1e-3;

impl ShareLaw {
    fn of(values: &[f64]) -> ShareLaw {
        let [
            overhead_base,
            overhead_slope,
            compute_base,
            compute_slope,
            filling_batch,
        ] = values.try_into().expect("one value a term");
        ShareLaw {
            overhead_base,
            overhead_slope,
            compute_base,
            compute_slope,
            filling_batch,
        }
    }

    /// Time of a batch that no share shortens, in seconds.
    pub fn overhead(&self, batch: f64) -> f64 {
        self.overhead_base + self.overhead_slope * batch
    }

    /// Time of a batch on all multiprocessors, if it could use them, in seconds.
    pub fn compute(&self, batch: f64) -> f64 {
        self.compute_base + self.compute_slope * batch
    }

    /// Part of the multiprocessors that a batch can use, from above 0 to 1.
    pub fn parallelism(&self, batch: f64) -> f64 {
        (batch / self.filling_batch).min(1.0)
    }

    /// Time that a batch computes under a share, alone on the GPU, in seconds.
    pub fn compute_time(&self, batch: f64, share: f64) -> f64 {
        self.compute(batch) / self.parallelism(batch).min(share)
    }

    /// Time of a forward pass alone on the GPU, in seconds.
    pub fn expected(&self, batch: f64, share: f64) -> f64 {
        self.overhead(batch) + self.compute_time(batch, share)
    }

    /// Fits the law.
    ///
    /// # Errors
    /// See [`fit`].
    pub fn fit(points: &[SharePoint]) -> Result<FittedShareLaw, FitError> {
        let observed: Vec<f64> = points.iter().map(|p| p.time).collect();
        let predict = |values: &[f64], out: &mut [f64]| {
            let law = ShareLaw::of(values);
            for (out, p) in out.iter_mut().zip(points) {
                *out = law.expected(p.batch, p.share);
            }
        };
        let ms = 1e-3;
        let starts = [1.0, 1.35, 2.0].map(|q| vec![0.37 * ms, 0.018 * ms, 0.14 * ms, ms, q]);
        let fit = fit(&Problem {
            terms: &TERMS,
            starts: &starts,
            observed: &observed,
            predict: &predict,
            scale: SCALE,
            ridge: RIDGE,
        })?;
        let mut batches: Vec<f64> = points.iter().map(|p| p.batch).collect();
        batches.sort_by(f64::total_cmp);
        batches.dedup();
        let law = ShareLaw::of(&fit.values());
        Ok(FittedShareLaw { law, fit, batches })
    }
}

impl FittedShareLaw {
    /// The net as a profile has it: a phase of overhead, then a phase of compute that disturbs
    /// others by `intensity`. Curves become tables at the powers of two and the fitted batches.
    pub fn net(&self, intensity: Option<&Intensity>, held_out: &Errors, source: &str) -> GpuNet {
        let batches = table_batches(&self.batches);
        let table = |value: &dyn Fn(f64) -> f64| {
            DriverLaw::Table(batches.iter().map(|&b| [b, value(b)]).collect())
        };
        let overhead = Phase {
            overhead: self.fit.affine("o_0", "o_1"),
            ..idle_phase()
        };
        let compute = Phase {
            compute: self.fit.affine("c_0", "c_1"),
            parallelism: table(&|b| self.law.parallelism(b)),
            intensity: intensity.map_or(DriverLaw::constant(0.0), |i| table(&|b| i.at(b))),
            ..idle_phase()
        };
        let last = self.batches.len() - 1;
        GpuNet {
            per: Driver::Requests,
            range: [self.batches[0], self.batches[last]],
            samples: self.fit.samples as u64,
            held_out_error: held_out.mean,
            source: source.to_owned(),
            residual: Residual::None,
            memory: 0.0,
            launches: 0,
            floor: DriverLaw::constant(0.0),
            phases: vec![overhead, compute],
            kernels: Vec::new(),
        }
    }
}

/// The powers of two up to the largest of `batches`, and these, ascending.
pub(crate) fn table_batches(batches: &[f64]) -> Vec<f64> {
    let largest = batches.iter().copied().fold(1.0, f64::max);
    let powers = std::iter::successors(Some(1.0), |b| Some(2.0 * b)).take_while(|&b| b < largest);
    let mut all: Vec<f64> = powers.chain(batches.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

/// A phase that takes no time.
pub(crate) fn idle_phase() -> Phase {
    Phase {
        overhead: DriverLaw::constant(0.0),
        compute: DriverLaw::constant(0.0),
        parallelism: DriverLaw::constant(1.0),
        bytes: DriverLaw::constant(0.0),
        intensity: DriverLaw::constant(0.0),
    }
}

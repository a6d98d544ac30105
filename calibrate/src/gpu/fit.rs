//! Robust least squares for laws of positive parameters: Levenberg-Marquardt on logarithms.
//!
//! With parameters `p` (all positive), prediction `t(p)` and observation `y`, the residual of an
//! observation is `r = ln t(p) - ln y`. What is minimised, over `ln p`, is
//!
//! ```text
//! Σ ρ(r) + ridge² Σ (ln p - ln p₀)²,   ρ(r) = 2 f² (√(1 + (r/f)²) - 1)
//! ```
//!
//! `ρ` is the soft L1 loss: squares for residuals well below `f`, absolute values well above. It
//! enters as weights `1/√(1 + (r/f)²)` that are recomputed in every step (iteratively reweighted
//! least squares). The ridge holds what the data does not, near the start `p₀`; it is far weaker
//! than one observation. The damping is Marquardt's (1963). Each start is followed to its minimum
//! and the least of these is the fit.
//!
//! **Standard errors** are of `ln p`, so relative ones: `s² (JᵀJ)⁻¹` with `J` the derivatives of
//! the residuals (without the ridge), and `s² = (Σ ψ² / (n - m)) / (mean ψ')²` with `ψ = ρ'/2`,
//! for `n` observations and `m` parameters (Huber and Ronchetti, 2009, section 7.6).
//!
//! **Refusal.** A term whose relative standard error is above [`LARGEST_ERROR`] is not known, not
//! even its order of magnitude. If the law works without it and its part of the times is known to be
//! small (with a standard error below `f`, as a part of the time), or if others can stand in for it,
//! it is set to zero and the rest is fitted again. Otherwise the data cannot tell it from other
//! terms, and the fit is refused.

use std::borrow::Cow;

use nalgebra::{DMatrix, DVector};
use schema::gpu::DriverLaw;

/// Largest standard error of the logarithm of a parameter that counts as known.
pub const LARGEST_ERROR: f64 = 1.0;
/// Noise that is assumed, if there is less, where it is judged whether a parameter is known.
const LEAST_NOISE: f64 = 1e-3;
/// Most steps from one start; twenty or so are needed.
const MAX_STEPS: usize = 200;
/// Relative change of the loss that ends a descent.
const SETTLED: f64 = 1e-9;
/// Longest step of a logarithm: a factor of 7.
const LONGEST_STEP: f64 = 2.0;
/// Step of the central differences, in logarithms.
const DIFFERENCE: f64 = 1e-5;
/// Length of a column of derivatives of a term that predictions do not depend on.
const INVISIBLE: f64 = 1e-12;
/// Damping beyond which no step goes downhill.
const MOST_DAMPING: f64 = 1e9;

/// A term of a law.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Whether the law works without it.
    pub need: Need,
}

/// Whether a law works without a term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// It does not: a term that is not known is an error.
    Required,
    /// It does, with zero in its place if the term is known to be small.
    Optional,
    /// It does, with zero in its place and the other terms somewhat different: a term that is not
    /// known is always left out.
    Refinement,
}

impl Term {
    /// A term that the law needs.
    pub const fn required(name: &'static str) -> Term {
        Term {
            name: Cow::Borrowed(name),
            need: Need::Required,
        }
    }

    /// A term that may be zero.
    pub const fn optional(name: &'static str) -> Term {
        Term {
            name: Cow::Borrowed(name),
            need: Need::Optional,
        }
    }

    /// A term that others can stand in for.
    pub const fn refinement(name: &'static str) -> Term {
        Term {
            name: Cow::Borrowed(name),
            need: Need::Refinement,
        }
    }
}

/// A law to fit, and what to fit it to.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    /// The terms whose parameters are sought.
    pub terms: &'a [Term],
    /// Where to start from: parameters in the order of `terms`, all positive; at least one start.
    pub starts: &'a [Vec<f64>],
    /// What was observed, all positive.
    pub observed: &'a [f64],
    /// Writes what the law predicts for each observation, given the parameters.
    pub predict: &'a dyn Fn(&[f64], &mut [f64]),
    /// Residual `f` at which the loss turns from squares to absolute values.
    pub scale: f64,
    /// Weight of the ridge, per parameter.
    pub ridge: f64,
}

/// A fitted parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Estimate {
    /// Name of its term.
    pub name: Cow<'static, str>,
    /// The estimate; zero if the term was left out.
    pub value: f64,
    /// Standard error of its logarithm; zero if the term was left out.
    pub relative_error: f64,
}

impl Estimate {
    /// Standard error, in the unit of the value.
    pub fn standard_error(&self) -> f64 {
        self.value * self.relative_error
    }

    /// The interval that holds the parameter with probability 95%.
    pub fn interval(&self) -> [f64; 2] {
        let factor = (1.96 * self.relative_error).exp();
        [self.value / factor, self.value * factor]
    }
}

/// A fitted law.
#[derive(Clone, PartialEq, Debug)]
pub struct Fit {
    /// One a term, in order.
    pub estimates: Vec<Estimate>,
    /// The loss at the minimum.
    pub loss: f64,
    /// Number of observations.
    pub samples: usize,
    /// Scale of the noise: `s`, in logarithms.
    pub noise: f64,
}

impl Fit {
    /// The parameters, in the order of the terms.
    pub fn values(&self) -> Vec<f64> {
        self.estimates.iter().map(|e| e.value).collect()
    }

    /// Number of terms that were not left out.
    pub fn n_terms(&self) -> usize {
        let known = self.estimates.iter();
        known.filter(|estimate| estimate.value > 0.0).count()
    }

    /// Standard error of the logarithm of what the law says, root mean square over the observations.
    ///
    /// `s √(m / n)` for `n` observations and `m` parameters, whatever they are: the trace of the
    /// projection onto the derivatives is `m`. It is less in the middle of what was observed and more at
    /// its ends.
    pub fn expected_error(&self) -> f64 {
        self.noise * (self.n_terms() as f64 / self.samples as f64).sqrt()
    }

    /// The estimate called `name`.
    ///
    /// # Panics
    /// If the law has no such term.
    pub fn estimate(&self, name: &str) -> &Estimate {
        let found = self.estimates.iter().find(|e| e.name == name);
        found.unwrap_or_else(|| panic!("the law has no term `{name}`"))
    }

    /// The law `base + slope · driver` of two terms, with their standard errors.
    ///
    /// # Panics
    /// If the law lacks one of the terms.
    pub fn affine(&self, base: &str, slope: &str) -> DriverLaw {
        let (base, slope) = (self.estimate(base), self.estimate(slope));
        DriverLaw::Affine {
            base: base.value,
            base_error: base.standard_error(),
            slope: slope.value,
            slope_error: slope.standard_error(),
        }
    }
}

/// Why a law cannot be fitted.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FitError {
    /// There are no more observations than terms.
    #[error("fit {terms} terms: {samples} observations, at least {} are needed", terms + 1)]
    TooFew {
        /// Number of terms.
        terms: usize,
        /// Number of observations.
        samples: usize,
    },
    /// An observation, or what the law predicts at a start, is not a positive number.
    #[error("fit to observation {index}: {found} is not a positive number")]
    NotPositive {
        /// Its index.
        index: usize,
        /// The number.
        found: f64,
    },
    /// The data does not tell some terms from one another.
    #[error(
        "fit: the data cannot identify {terms}; add measurements in which they differ, such as other batches and shares"
    )]
    Unidentified {
        /// Their names, joined by commas.
        terms: String,
    },
}

/// Fits the law.
///
/// # Errors
/// If there are no more observations than terms, if an observation is not positive, or if the data
/// cannot identify a parameter.
///
/// # Panics
/// If there is no start.
pub fn fit(problem: &Problem) -> Result<Fit, FitError> {
    check(problem)?;
    let mut active: Vec<usize> = (0..problem.terms.len()).collect();
    loop {
        let descents = problem.starts.iter().map(|start| {
            let mut descent = Descent::new(problem, &active, start);
            descent.run();
            descent
        });
        let best = descents
            .min_by(|a, b| a.loss.total_cmp(&b.loss))
            .expect("there is a start");
        let spread = best.spread();
        let unknown: Vec<usize> = (0..active.len())
            .filter(|&column| spread.judged[column] > LARGEST_ERROR)
            .collect();
        if unknown.is_empty() {
            return Ok(best.into_fit(&spread));
        }
        let dispensable =
            unknown
                .iter()
                .copied()
                .filter(|&column| match problem.terms[active[column]].need {
                    Need::Required => false,
                    Need::Optional => spread.part_errors[column] < problem.scale,
                    Need::Refinement => true,
                });
        let least_known =
            dispensable.max_by(|&a, &b| spread.judged[a].total_cmp(&spread.judged[b]));
        let Some(column) = least_known else {
            let names: Vec<&str> = unknown
                .iter()
                .map(|&column| problem.terms[active[column]].name.as_ref())
                .collect();
            return Err(FitError::Unidentified {
                terms: names.join(", "),
            });
        };
        active.remove(column);
    }
}

fn check(problem: &Problem) -> Result<(), FitError> {
    let (terms, samples) = (problem.terms.len(), problem.observed.len());
    if samples <= terms {
        return Err(FitError::TooFew { terms, samples });
    }
    let mut predicted = vec![0.0; samples];
    (problem.predict)(&problem.starts[0], &mut predicted);
    for (index, pair) in problem.observed.iter().zip(&predicted).enumerate() {
        for &found in [pair.0, pair.1] {
            if !(found > 0.0 && found.is_finite()) {
                return Err(FitError::NotPositive { index, found });
            }
        }
    }
    Ok(())
}

/// The way from one start to its minimum.
struct Descent<'a> {
    problem: &'a Problem<'a>,
    /// The terms that are not zero.
    active: &'a [usize],
    /// Logarithms of the active parameters.
    start: DVector<f64>,
    at: DVector<f64>,
    residuals: DVector<f64>,
    loss: f64,
}

/// How well the minimum determines each active parameter.
struct Spread {
    /// Standard error of its logarithm.
    errors: Vec<f64>,
    /// The same if there was a least noise.
    judged: Vec<f64>,
    /// Standard error of its part of the times, root mean square; zero if it has none at all.
    part_errors: Vec<f64>,
    noise: f64,
}

impl<'a> Descent<'a> {
    fn new(problem: &'a Problem<'a>, active: &'a [usize], start: &[f64]) -> Descent<'a> {
        let start = DVector::from_iterator(active.len(), active.iter().map(|&i| start[i].ln()));
        let mut descent = Descent {
            problem,
            active,
            at: start.clone(),
            start,
            residuals: DVector::zeros(problem.observed.len()),
            loss: f64::INFINITY,
        };
        descent.residuals = descent.residuals_at(&descent.at);
        descent.loss = descent.loss_of(&descent.at, &descent.residuals);
        descent
    }

    fn values(&self, at: &DVector<f64>) -> Vec<f64> {
        let mut values = vec![0.0; self.problem.terms.len()];
        for (&index, logarithm) in self.active.iter().zip(at.iter()) {
            values[index] = logarithm.exp();
        }
        values
    }

    fn residuals_at(&self, at: &DVector<f64>) -> DVector<f64> {
        let mut predicted = vec![0.0; self.problem.observed.len()];
        (self.problem.predict)(&self.values(at), &mut predicted);
        let pairs = predicted.iter().zip(self.problem.observed);
        DVector::from_iterator(predicted.len(), pairs.map(|(t, y)| t.ln() - y.ln()))
    }

    fn loss_of(&self, at: &DVector<f64>, residuals: &DVector<f64>) -> f64 {
        let f = self.problem.scale;
        let robust: f64 = residuals
            .iter()
            .map(|r| 2.0 * f * f * (self.root(*r) - 1.0))
            .sum();
        let ridge = self.problem.ridge.powi(2) * (at - &self.start).norm_squared();
        let loss = robust + ridge;
        if loss.is_finite() {
            loss
        } else {
            f64::INFINITY
        }
    }

    /// `√(1 + (r/f)²)`, the inverse of an observation's weight.
    fn root(&self, residual: f64) -> f64 {
        (1.0 + (residual / self.problem.scale).powi(2)).sqrt()
    }

    fn jacobian(&self) -> DMatrix<f64> {
        let mut jacobian = DMatrix::zeros(self.residuals.len(), self.at.len());
        for column in 0..self.at.len() {
            let side = |step: f64| {
                let mut at = self.at.clone();
                at[column] += step;
                self.residuals_at(&at)
            };
            let slope = (side(DIFFERENCE) - side(-DIFFERENCE)) / (2.0 * DIFFERENCE);
            jacobian.set_column(column, &slope);
        }
        jacobian
    }

    fn run(&mut self) {
        let ridge = self.problem.ridge.powi(2);
        let mut damping = 1e-3;
        for _ in 0..MAX_STEPS {
            let jacobian = self.jacobian();
            let weights = self.residuals.map(|r| 1.0 / self.root(r));
            let mut weighted = jacobian.clone();
            for (mut row, weight) in weighted.row_iter_mut().zip(weights.iter()) {
                row *= *weight;
            }
            let normal = jacobian.transpose() * &weighted;
            let downhill =
                -(weighted.transpose() * &self.residuals) - (&self.at - &self.start) * ridge;
            let before = self.loss;
            loop {
                let mut damped = normal.clone();
                for i in 0..damped.nrows() {
                    damped[(i, i)] += ridge + damping * damped[(i, i)].max(1e-9);
                }
                let step = damped.cholesky().map(|factors| factors.solve(&downhill));
                if step.is_some_and(|step| self.take(step)) {
                    damping = (damping / 5.0).max(1e-9);
                    break;
                }
                damping *= 4.0;
                if damping > MOST_DAMPING {
                    return;
                }
            }
            if before - self.loss <= SETTLED * self.loss {
                return;
            }
        }
    }

    /// Takes `step` if it leads downhill.
    fn take(&mut self, step: DVector<f64>) -> bool {
        let longest = step.amax();
        let at = &self.at + step * (LONGEST_STEP / longest.max(LONGEST_STEP));
        let residuals = self.residuals_at(&at);
        let loss = self.loss_of(&at, &residuals);
        let lower = loss < self.loss;
        if lower {
            (self.at, self.residuals, self.loss) = (at, residuals, loss);
        }
        lower
    }

    fn spread(&self) -> Spread {
        let (n, m) = (self.residuals.len() as f64, self.at.len() as f64);
        let roots: Vec<f64> = self.residuals.iter().map(|r| self.root(*r)).collect();
        let pairs = self.residuals.iter().zip(&roots);
        let psi_squared: f64 = pairs.map(|(r, root)| (r / root).powi(2)).sum();
        let psi_slope = roots.iter().map(|root| root.powi(-3)).sum::<f64>() / n;
        let noise = (psi_squared / (n - m)).sqrt() / psi_slope;

        let jacobian = self.jacobian();
        let lengths: Vec<f64> = jacobian.column_iter().map(|c| c.norm()).collect();
        let mut scaled = jacobian;
        for (mut column, length) in scaled.column_iter_mut().zip(&lengths) {
            column /= length.max(INVISIBLE);
        }
        // Singular values below the resolution of the differences are none.
        let svd = scaled.svd(false, true);
        let rows = svd.v_t.expect("it was asked for");
        let unit: Vec<f64> = (0..lengths.len())
            .map(|column| {
                let parts = svd.singular_values.iter().enumerate();
                let variance: f64 = parts
                    .map(|(i, sigma)| (rows[(i, column)] / sigma.max(1e-9)).powi(2))
                    .sum();
                variance.sqrt()
            })
            .collect();
        let relative = |noise: f64| {
            let pairs = unit.iter().zip(&lengths);
            pairs
                .map(|(u, length)| noise * u / length.max(INVISIBLE))
                .collect()
        };
        let judged = noise.max(LEAST_NOISE);
        let part_error = |(u, length): (&f64, &f64)| {
            let visible = *length > INVISIBLE;
            if visible { judged * u / n.sqrt() } else { 0.0 }
        };
        Spread {
            errors: relative(noise),
            judged: relative(judged),
            part_errors: unit.iter().zip(&lengths).map(part_error).collect(),
            noise,
        }
    }

    fn into_fit(self, spread: &Spread) -> Fit {
        let values = self.values(&self.at);
        let mut estimates: Vec<Estimate> = self
            .problem
            .terms
            .iter()
            .zip(values)
            .map(|(term, value)| Estimate {
                name: term.name.clone(),
                value,
                relative_error: 0.0,
            })
            .collect();
        for (&index, error) in self.active.iter().zip(&spread.errors) {
            estimates[index].relative_error = *error;
        }
        Fit {
            estimates,
            loss: self.loss,
            samples: self.problem.observed.len(),
            noise: spread.noise,
        }
    }
}

//! What a profile says of nets on a GPU.
//!
//! A net is a few lumped *phases*, or a list of *kernels*; the engine runs both by one mechanism.
//! A phase stands for many kernels that are short beside it. It takes
//! `overhead + max(compute / min(share, parallelism), bytes / bandwidth)`, where `share` is what it
//! gets of the GPU's multiprocessors and `bandwidth` its share of the memory's.

use serde::{Deserialize, Serialize};

use crate::profile::{Driver, Residual, check_range};
use crate::scenario::KernelFile;

/// A net on a GPU: what it costs by the size of the batch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GpuNet {
    /// What the driver of its laws counts: requests of the batch, or bytes of its inputs.
    pub per: Driver,
    /// Smallest and largest driver it was fitted on.
    pub range: [f64; 2],
    /// Number of samples it was fitted on; zero if it was derived, not fitted.
    pub samples: u64,
    /// Mean absolute relative error on samples held out from the fit, or what is estimated for it.
    pub held_out_error: f64,
    /// Where it came from, and whether it was measured, fitted or derived.
    pub source: String,
    /// What varies from one batch to the next.
    #[serde(default = "no_residual")]
    pub residual: Residual,
    /// GPU memory that each inference context keeps for it, in bytes: weights and workspace.
    #[serde(default)]
    pub memory: f64,
    /// Kernel launches in a forward pass, where phases stand for them.
    #[serde(default)]
    pub launches: u32,
    /// Shortest time of a forward pass, in seconds, whatever share of the GPU it has: its phases hide
    /// behind the launches of the host.
    #[serde(default)]
    pub floor: DriverLaw,
    /// Its phases, in order; none if it is given by kernels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// Its kernels, in order; none if it is given by phases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelFile>,
}

const fn no_residual() -> Residual {
    Residual::None
}

/// A lumped phase of a net.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Phase {
    /// Time that no resource shortens: launches, dependencies; in seconds.
    #[serde(default)]
    pub overhead: DriverLaw,
    /// Time with the whole GPU, if the net could use all of it; in seconds.
    #[serde(default)]
    pub compute: DriverLaw,
    /// Most of the GPU's multiprocessors that it can use, from above 0 to 1; a law's value is cut to
    /// that.
    #[serde(default = "DriverLaw::one")]
    pub parallelism: DriverLaw,
    /// What it reads from and writes to the GPU's memory, in bytes.
    #[serde(default)]
    pub bytes: DriverLaw,
    /// How much it slows others that compute at the same time: they progress at `1 / (1 + sum)` of
    /// the rate they would have, the sum over all others of `intensity · share ^ exponent` with the
    /// part's `interference-exponent`.
    #[serde(default)]
    pub intensity: DriverLaw,
}

/// A quantity by the driver of its net.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DriverLaw {
    /// `base + slope · driver`, never below zero, with standard errors.
    Affine {
        /// Value at driver zero.
        base: f64,
        /// Standard error of `base`.
        #[serde(default)]
        base_error: f64,
        /// Value per unit of the driver.
        #[serde(default)]
        slope: f64,
        /// Standard error of `slope`.
        #[serde(default)]
        slope_error: f64,
    },
    /// Points (driver, value) in ascending order of the driver, joined by lines; the first and the
    /// last line go on beyond them.
    Table(Vec<[f64; 2]>),
}

impl Default for DriverLaw {
    fn default() -> DriverLaw {
        DriverLaw::constant(0.0)
    }
}

impl DriverLaw {
    /// A law without error that is always `value`.
    pub const fn constant(value: f64) -> DriverLaw {
        DriverLaw::affine(value, 0.0)
    }

    /// A law without error.
    pub const fn affine(base: f64, slope: f64) -> DriverLaw {
        DriverLaw::Affine {
            base,
            base_error: 0.0,
            slope,
            slope_error: 0.0,
        }
    }

    const fn one() -> DriverLaw {
        DriverLaw::constant(1.0)
    }

    /// The value at `driver`, never below zero.
    pub fn at(&self, driver: f64) -> f64 {
        match self {
            DriverLaw::Affine { base, slope, .. } => (base + slope * driver).max(0.0),
            DriverLaw::Table(points) => {
                let after = points.partition_point(|[x, _]| *x < driver);
                let last = points.len() - 1;
                let right = after.clamp(1, last.max(1)).min(last);
                let left = right.saturating_sub(1);
                let ([x0, y0], [x1, y1]) = (points[left], points[right]);
                let slope = if right > left {
                    (y1 - y0) / (x1 - x0)
                } else {
                    0.0
                };
                (y0 + slope * (driver - x0)).max(0.0)
            }
        }
    }

    /// Puts `of(number)` in place of each of its numbers: coefficients and their standard errors, or
    /// the values of a table.
    pub fn map(&mut self, of: impl Fn(f64) -> f64) {
        match self {
            DriverLaw::Affine {
                base,
                base_error,
                slope,
                slope_error,
            } => {
                for number in [base, base_error, slope, slope_error] {
                    *number = of(*number);
                }
            }
            DriverLaw::Table(points) => {
                for [_, value] in points {
                    *value = of(*value);
                }
            }
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            DriverLaw::Affine {
                base,
                base_error,
                slope,
                slope_error,
            } => {
                let numbers = [base, base_error, slope, slope_error];
                if numbers.iter().any(|n| !n.is_finite()) {
                    return Err("base, slope and their errors must be finite".to_owned());
                }
            }
            DriverLaw::Table(points) => {
                let ascends = points.windows(2).all(|pair| pair[0][0] < pair[1][0]);
                let finite = points.iter().flatten().all(|n| n.is_finite());
                if points.is_empty() || !ascends || !finite {
                    let problem = "a table must have at least one point, all finite, in ascending order of the driver";
                    return Err(problem.to_owned());
                }
            }
        }
        Ok(())
    }
}

impl GpuNet {
    /// What is wrong with it, if anything, and the key below it that it is about.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let about = |key: &str, problem: String| Err((key.to_owned(), problem));
        if self.phases.is_empty() == self.kernels.is_empty() {
            let found = if self.phases.is_empty() {
                "neither"
            } else {
                "both"
            };
            let problem = format!("a net must have either phases or kernels, found {found}");
            return about("phases", problem);
        }
        check_range(self.range).map_err(|problem| ("range".to_owned(), problem))?;
        if self.per == Driver::Seconds || self.per == Driver::Kernels {
            let found = self.per.name();
            return about(
                "per",
                format!("must be `requests` or `bytes`, found `{found}`"),
            );
        }
        if !(self.memory >= 0.0 && self.memory.is_finite()) {
            let found = self.memory;
            return about(
                "memory",
                format!("must be a number of bytes from 0 up, found {found}"),
            );
        }
        if let Err(problem) = self.residual.check() {
            return about("residual", problem);
        }
        self.floor
            .check()
            .map_err(|problem| ("floor".to_owned(), problem))?;
        for (index, phase) in self.phases.iter().enumerate() {
            let laws = [
                ("overhead", &phase.overhead),
                ("compute", &phase.compute),
                ("parallelism", &phase.parallelism),
                ("bytes", &phase.bytes),
                ("intensity", &phase.intensity),
            ];
            for (name, law) in laws {
                law.check()
                    .map_err(|problem| (format!("phases.{index}.{name}"), problem))?;
            }
        }
        for (index, kernel) in self.kernels.iter().enumerate() {
            kernel
                .check()
                .map_err(|(below, problem)| (format!("kernels.{index}.{below}"), problem))?;
        }
        Ok(())
    }
}

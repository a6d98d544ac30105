//! Distributions of times: as they are written in files, and sampled by inversion.
//!
//! One uniform draw gives one variate, whatever the distribution, so that scenarios which differ in
//! a distribution keep the same draws for everything else. Shapes are given by mean and coefficient
//! of variation where there is a choice, so that changing the one keeps the other.
//!
//! Formulas: Law (2015), Simulation Modeling and Analysis, section 6.2, unless another is named.

mod mean;
mod piece;

use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use statrs::function::gamma::gamma;

use crate::random::{exponential, uniform};
use crate::units::SimDuration;
use piece::{Family, Piece};

/// A distribution of times, as in files: `{ exponential = "5 ms" }`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// Always the same.
    Constant(SimDuration),
    /// Exponential with this mean.
    Exponential(SimDuration),
    /// Uniform between two times.
    Uniform {
        /// The shortest.
        from: SimDuration,
        /// The longest.
        to: SimDuration,
    },
    /// Normal; what would be less than zero is zero, which raises the mean where `sd` is large.
    Normal {
        /// Mean before the cut.
        mean: SimDuration,
        /// Standard deviation before the cut.
        sd: SimDuration,
    },
    /// Lognormal.
    Lognormal {
        /// Mean.
        mean: SimDuration,
        /// Coefficient of variation.
        cv: f64,
    },
    /// Gamma.
    Gamma {
        /// Mean.
        mean: SimDuration,
        /// Coefficient of variation; the shape is its inverse squared.
        cv: f64,
    },
    /// Erlang: the sum of exponential stages.
    Erlang {
        /// Mean of the sum.
        mean: SimDuration,
        /// Number of stages.
        stages: u32,
    },
    /// Weibull.
    Weibull {
        /// Mean.
        mean: SimDuration,
        /// Shape; below 1 a heavier tail than exponential.
        shape: f64,
    },
    /// Pareto: at least `scale`, with probability `(scale / t)^shape` longer than `t`.
    Pareto {
        /// The shortest.
        scale: SimDuration,
        /// Tail index; the mean exists above 1 and the variance above 2.
        shape: f64,
    },
    /// Hyperexponential of two phases with balanced means: each gives half of the mean (Whitt,
    /// 1982, Operations Research 30(1), section 3).
    Hyperexponential {
        /// Mean.
        mean: SimDuration,
        /// Coefficient of variation, from 1.
        cv: f64,
    },
    /// The empirical quantiles at `(i + ½) / n`, ascending, joined by lines and level outside.
    Quantiles(Vec<SimDuration>),
    /// Another distribution, later by a constant.
    Shifted {
        /// By how much.
        by: SimDuration,
        /// The other.
        of: Box<Distribution>,
    },
    /// Another distribution under the condition that it lies between two times.
    Truncated {
        /// The shortest.
        from: SimDuration,
        /// The longest.
        to: SimDuration,
        /// The other.
        of: Box<Distribution>,
    },
    /// One of several.
    Mixture(Vec<Component>),
}

/// A component of a mixture.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Component {
    /// Its share of the draws, relative to the other components'.
    pub share: f64,
    /// What is drawn from.
    pub of: Distribution,
}

impl Distribution {
    /// Whether every draw is zero.
    pub fn is_zero(&self) -> bool {
        match self {
            Distribution::Constant(time) | Distribution::Exponential(time) => {
                *time == SimDuration::ZERO
            }
            Distribution::Uniform { to, .. } => *to == SimDuration::ZERO,
            Distribution::Normal { mean, sd } => {
                *mean == SimDuration::ZERO && *sd == SimDuration::ZERO
            }
            Distribution::Lognormal { mean, .. }
            | Distribution::Gamma { mean, .. }
            | Distribution::Erlang { mean, .. }
            | Distribution::Weibull { mean, .. }
            | Distribution::Hyperexponential { mean, .. } => *mean == SimDuration::ZERO,
            Distribution::Pareto { scale, .. } => *scale == SimDuration::ZERO,
            Distribution::Quantiles(times) => times.iter().all(|t| *t == SimDuration::ZERO),
            Distribution::Shifted { by, of } => *by == SimDuration::ZERO && of.is_zero(),
            Distribution::Truncated { to, of, .. } => *to == SimDuration::ZERO || of.is_zero(),
            Distribution::Mixture(components) => components.iter().all(|c| c.of.is_zero()),
        }
    }

    /// What draws from it.
    ///
    /// # Errors
    /// The key below the distribution's own, empty for itself, and what is wrong there.
    pub fn sampler(&self) -> Result<Sampler, (String, String)> {
        match self {
            Distribution::Constant(time) => return Ok(Sampler(Kind::Constant(*time))),
            Distribution::Exponential(mean) => {
                return Ok(Sampler(Kind::Exponential(mean.as_secs_f64())));
            }
            _ => {}
        }
        let mut pieces = self.pieces("")?;
        let total: f64 = pieces.iter().map(|(share, _)| share).sum();
        let mut until = 0.0;
        for (share, _) in &mut pieces {
            until += *share / total;
            *share = until;
        }
        Ok(Sampler(Kind::Pieces(pieces)))
    }

    /// The distribution as a mixture of pieces: share, not normalised, and piece.
    fn pieces(&self, key: &str) -> Result<Vec<(f64, Piece)>, (String, String)> {
        let at = |key: &str, below: &str| {
            if key.is_empty() {
                below.to_owned()
            } else {
                format!("{key}.{below}")
            }
        };
        let positive = |name: &str, value: f64| {
            if value > 0.0 && value.is_finite() {
                Ok(value)
            } else {
                let problem = format!("must be more than zero, found {value}");
                Err((at(key, name), problem))
            }
        };
        let ordered = |name: &str, from: SimDuration, to: SimDuration| {
            if from <= to {
                Ok(())
            } else {
                let problem = format!("`to` is {to} and `from` is {from}; `to` must not be less");
                Err((at(key, &format!("{name}.to")), problem))
            }
        };
        let one = |family| Ok(vec![(1.0, Piece::whole(family))]);
        let secs = |time: &SimDuration| time.as_secs_f64();
        match self {
            Distribution::Constant(time) => one(Family::Uniform(secs(time), secs(time))),
            Distribution::Exponential(mean) => one(Family::Exponential(secs(mean))),
            Distribution::Uniform { from, to } => {
                ordered("uniform", *from, *to)?;
                one(Family::Uniform(secs(from), secs(to)))
            }
            Distribution::Normal { mean, sd } => one(Family::Normal(secs(mean), secs(sd))),
            Distribution::Lognormal { mean, cv } => {
                let variance = (1.0 + positive("lognormal.cv", *cv)?.powi(2)).ln();
                one(Family::Lognormal {
                    scale: secs(mean) * (-variance / 2.0).exp(),
                    sigma: variance.sqrt(),
                })
            }
            Distribution::Gamma { mean, cv } => {
                let shape = positive("gamma.cv", *cv)?.powi(-2);
                one(Family::gamma(secs(mean), shape))
            }
            Distribution::Erlang { mean, stages } => {
                let shape = positive("erlang.stages", f64::from(*stages))?;
                one(Family::gamma(secs(mean), shape))
            }
            Distribution::Weibull { mean, shape } => {
                let shape = positive("weibull.shape", *shape)?;
                one(Family::Weibull {
                    scale: secs(mean) / gamma(1.0 + 1.0 / shape),
                    shape,
                })
            }
            Distribution::Pareto { scale, shape } => one(Family::Pareto {
                scale: secs(scale),
                shape: positive("pareto.shape", *shape)?,
            }),
            Distribution::Hyperexponential { mean, cv } => {
                let squared = positive("hyperexponential.cv", *cv)?.powi(2);
                if squared < 1.0 {
                    let problem = format!("must be at least 1, found {cv}");
                    return Err((at(key, "hyperexponential.cv"), problem));
                }
                let p = (1.0 + ((squared - 1.0) / (squared + 1.0)).sqrt()) / 2.0;
                let phase = |p: f64| {
                    let family = Family::Exponential(secs(mean) / (2.0 * p));
                    (p, Piece::whole(family))
                };
                Ok(vec![phase(p), phase(1.0 - p)])
            }
            Distribution::Quantiles(times) => {
                if times.is_empty() || !times.is_sorted() {
                    let problem = "must be at least one time, ascending".to_owned();
                    return Err((at(key, "quantiles"), problem));
                }
                one(Family::Quantiles(times.iter().map(secs).collect()))
            }
            Distribution::Shifted { by, of } => {
                let mut pieces = of.pieces(&at(key, "shifted.of"))?;
                for (_, piece) in &mut pieces {
                    piece.shift_s += secs(by);
                }
                Ok(pieces)
            }
            Distribution::Truncated { from, to, of } => {
                ordered("truncated", *from, *to)?;
                let mut pieces = of.pieces(&at(key, "truncated.of"))?;
                for (share, piece) in &mut pieces {
                    *share *= piece.cut(secs(from), secs(to));
                }
                pieces.retain(|(share, _)| *share > 0.0);
                if pieces.is_empty() {
                    let problem = format!("nothing lies between {from} and {to}");
                    return Err((at(key, "truncated"), problem));
                }
                Ok(pieces)
            }
            Distribution::Mixture(components) => {
                let mut all = Vec::new();
                for (index, component) in components.iter().enumerate() {
                    let share = positive(&format!("mixture.{index}.share"), component.share)?;
                    let below = at(key, &format!("mixture.{index}.of"));
                    let pieces = component.of.pieces(&below)?;
                    let total: f64 = pieces.iter().map(|(share, _)| share).sum();
                    all.extend(
                        pieces
                            .into_iter()
                            .map(|(part, piece)| (share * part / total, piece)),
                    );
                }
                if all.is_empty() {
                    let problem = "must have at least one component".to_owned();
                    return Err((at(key, "mixture"), problem));
                }
                Ok(all)
            }
        }
    }
}

/// Draws from a [`Distribution`].
#[derive(Clone, PartialEq, Debug)]
pub struct Sampler(Kind);

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Constant(SimDuration),
    /// Mean, in seconds.
    Exponential(f64),
    /// Cumulative share, and piece.
    Pieces(Vec<(f64, Piece)>),
}

impl Sampler {
    /// The next variate from `rng`; a constant takes no draw.
    #[inline]
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> SimDuration {
        match &self.0 {
            Kind::Constant(time) => *time,
            Kind::Exponential(mean) => SimDuration::from_secs_f64(exponential(rng, *mean)),
            Kind::Pieces(_) => self.draw(uniform(rng)),
        }
    }

    /// The variate of the uniform draw `u` in (0, 1).
    ///
    /// The inverse distribution function where the distribution is one piece (of an exponential,
    /// that of `1 - u`); of a mixture `u` first chooses the component, and what is left of it,
    /// rescaled, the variate.
    pub fn draw(&self, u: f64) -> SimDuration {
        match &self.0 {
            Kind::Constant(time) => *time,
            Kind::Exponential(mean) => SimDuration::from_secs_f64(-mean * u.ln()),
            Kind::Pieces(pieces) => {
                let last = pieces.len() - 1;
                let at = pieces[..last].partition_point(|(until, _)| *until <= u);
                let start = if at == 0 { 0.0 } else { pieces[at - 1].0 };
                let (until, piece) = &pieces[at];
                // Rounding may give 0 or 1, where a quantile may be infinite.
                let rest = ((u - start) / (until - start)).clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                SimDuration::from_secs_f64(piece.quantile(rest).max(0.0))
            }
        }
    }

    /// Probability of at most `t` seconds.
    pub fn cdf(&self, t: f64) -> f64 {
        match &self.0 {
            Kind::Constant(time) => f64::from(u8::from(t >= time.as_secs_f64())),
            Kind::Exponential(mean) => Family::Exponential(*mean).cdf(t),
            Kind::Pieces(pieces) => {
                let mut start = 0.0;
                let mut total = 0.0;
                for (until, piece) in pieces {
                    total += (until - start) * piece.cdf(t);
                    start = *until;
                }
                total
            }
        }
    }
}

#[cfg(test)]
mod tests;

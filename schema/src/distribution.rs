//! Distributions of times: as they are written in files, and sampled by inversion.
//!
//! One uniform draw gives one variate, whatever the distribution, so that scenarios which differ in
//! a distribution keep the same draws for everything else. Shapes are given by mean and coefficient
//! of variation where there is a choice, so that changing the one keeps the other.
//!
//! Formulas: Law (2015), Simulation Modeling and Analysis, section 6.2, unless another is named.

use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Gamma, Normal};
use statrs::function::gamma::gamma;

use crate::random::uniform;
use crate::units::SimDuration;

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
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> SimDuration {
        match &self.0 {
            Kind::Constant(time) => *time,
            _ => self.draw(uniform(rng)),
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

/// A family of distributions between two of its probabilities, shifted.
#[derive(Clone, PartialEq, Debug)]
struct Piece {
    family: Family,
    shift_s: f64,
    /// Probabilities of the family between which it is.
    between: [f64; 2],
    /// Times, before the shift, between which it is.
    within_s: [f64; 2],
}

impl Piece {
    const fn whole(family: Family) -> Piece {
        Piece {
            family,
            shift_s: 0.0,
            between: [0.0, 1.0],
            within_s: [f64::NEG_INFINITY, f64::INFINITY],
        }
    }

    /// Keeps what lies between two times, in seconds; what share of the piece that is.
    fn cut(&mut self, from: f64, to: f64) -> f64 {
        let [low, high] = self.within_s;
        let within = [
            (from - self.shift_s).max(low),
            (to - self.shift_s).min(high),
        ];
        // A family may have mass on its lower end, which belongs to it.
        let below = self.family.cdf_before(within[0]).max(self.between[0]);
        let up_to = self.family.cdf(within[1]).min(self.between[1]);
        let share = (up_to - below) / (self.between[1] - self.between[0]);
        if share > 0.0 {
            self.between = [below, up_to];
            self.within_s = within;
        }
        share.max(0.0)
    }

    fn quantile(&self, u: f64) -> f64 {
        let [low, high] = self.between;
        let [from, to] = self.within_s;
        let time = self.family.quantile(low + u * (high - low));
        self.shift_s + time.clamp(from, to)
    }

    fn cdf(&self, t: f64) -> f64 {
        let [low, high] = self.between;
        let p = self.family.cdf(t - self.shift_s);
        ((p - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// A family of distributions, in seconds.
#[derive(Clone, PartialEq, Debug)]
enum Family {
    /// Mean.
    Exponential(f64),
    /// From and to.
    Uniform(f64, f64),
    /// Mean and standard deviation.
    Normal(f64, f64),
    /// Median, and standard deviation of the logarithm.
    Lognormal {
        scale: f64,
        sigma: f64,
    },
    /// Mean, and the gamma distribution of mean one with the shape.
    Gamma(f64, Gamma),
    Weibull {
        scale: f64,
        shape: f64,
    },
    Pareto {
        scale: f64,
        shape: f64,
    },
    Quantiles(Vec<f64>),
}

impl Family {
    /// # Panics
    /// If the shape is not positive and finite.
    fn gamma(mean: f64, shape: f64) -> Family {
        let unit = Gamma::new(shape, shape).expect("the shape was checked");
        Family::Gamma(mean, unit)
    }

    fn quantile(&self, u: f64) -> f64 {
        let z = |u| Normal::standard().inverse_cdf(u);
        match self {
            Family::Exponential(mean) => -mean * (-u).ln_1p(),
            Family::Uniform(from, to) => from + u * (to - from),
            Family::Normal(mean, sd) => mean + sd * z(u),
            Family::Lognormal { scale, sigma } => scale * (sigma * z(u)).exp(),
            Family::Gamma(mean, unit) => mean * unit.inverse_cdf(u),
            Family::Weibull { scale, shape } => scale * (-(-u).ln_1p()).powf(1.0 / shape),
            Family::Pareto { scale, shape } => scale * (1.0 - u).powf(-1.0 / shape),
            Family::Quantiles(points) => crate::stats::interpolate(points, u),
        }
    }

    fn cdf(&self, t: f64) -> f64 {
        if t < 0.0 && !matches!(self, Family::Normal(..)) {
            return 0.0;
        }
        match self {
            Family::Exponential(mean) => -(-t / mean).exp_m1(),
            Family::Uniform(from, to) if from < to => ((t - from) / (to - from)).clamp(0.0, 1.0),
            Family::Uniform(from, _) => f64::from(u8::from(t >= *from)),
            Family::Normal(mean, sd) if *sd > 0.0 => Normal::standard().cdf((t - mean) / sd),
            Family::Normal(mean, _) => f64::from(u8::from(t >= *mean)),
            Family::Lognormal { scale, sigma } => Normal::standard().cdf((t / scale).ln() / sigma),
            Family::Gamma(mean, unit) => unit.cdf(t / mean),
            Family::Weibull { scale, shape } => -(-(t / scale).powf(*shape)).exp_m1(),
            Family::Pareto { scale, .. } if t <= *scale => 0.0,
            Family::Pareto { scale, shape } => 1.0 - (scale / t).powf(*shape),
            Family::Quantiles(points) => crate::stats::interpolated_cdf(points, t),
        }
    }

    /// Probability of less than `t`: the mass at `t` itself, where there is one, not included.
    fn cdf_before(&self, t: f64) -> f64 {
        let is_one_time = matches!(self, Family::Uniform(from, to) if from >= to)
            || matches!(self, Family::Normal(_, sd) if *sd <= 0.0)
            || matches!(self, Family::Quantiles(_));
        if is_one_time {
            self.cdf(t.next_down())
        } else {
            self.cdf(t)
        }
    }
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{Erlang, Exp, LogNormal, Pareto, Uniform, Weibull};

    use super::*;
    use crate::random::{Seed, stream};

    fn ms(ms: u64) -> SimDuration {
        SimDuration::from_ns(ms * 1_000_000)
    }

    fn boxed(distribution: Distribution) -> Box<Distribution> {
        Box::new(distribution)
    }

    /// A distribution function.
    type Cdf = Box<dyn Fn(f64) -> f64>;

    /// Every family with the distribution function that statrs, or a formula, gives for it, in
    /// milliseconds.
    fn families() -> Vec<(Distribution, Cdf)> {
        let by = |d: Distribution, f: Cdf| (d, f);
        let exp = |mean: f64| Exp::new(1.0 / mean).unwrap();
        // cv² = exp(sigma²) - 1, and the mean is exp(mu + sigma² / 2).
        let sigma = (1.0f64 + 0.25).ln().sqrt();
        let lognormal = LogNormal::new(5f64.ln() - sigma * sigma / 2.0, sigma).unwrap();
        let weibull = Weibull::new(1.5, 5.0 / gamma(1.0 + 1.0 / 1.5)).unwrap();
        let gamma_2 = Gamma::new(4.0, 4.0 / 5.0).unwrap();
        let erlang = Erlang::new(3, 3.0 / 5.0).unwrap();
        let pareto = Pareto::new(2.0, 2.5).unwrap();
        let uniform = Uniform::new(2.0, 6.0).unwrap();
        let normal = Normal::new(5.0, 1.0).unwrap();
        // cv 2: p = (1 + √(3/5)) / 2, and the phases' means are 5 / 2p and 5 / 2(1-p).
        let p = f64::midpoint(1.0, 0.6f64.sqrt());
        let (fast, slow) = (exp(5.0 / (2.0 * p)), exp(5.0 / (2.0 * (1.0 - p))));
        vec![
            by(Distribution::Exponential(ms(5)), {
                let exp = exp(5.0);
                Box::new(move |t| exp.cdf(t))
            }),
            by(
                Distribution::Uniform {
                    from: ms(2),
                    to: ms(6),
                },
                Box::new(move |t| uniform.cdf(t)),
            ),
            by(
                Distribution::Normal {
                    mean: ms(5),
                    sd: ms(1),
                },
                Box::new(move |t| normal.cdf(t)),
            ),
            by(
                Distribution::Lognormal {
                    mean: ms(5),
                    cv: 0.5,
                },
                Box::new(move |t| lognormal.cdf(t)),
            ),
            by(
                Distribution::Gamma {
                    mean: ms(5),
                    cv: 0.5,
                },
                Box::new(move |t| gamma_2.cdf(t)),
            ),
            by(
                Distribution::Erlang {
                    mean: ms(5),
                    stages: 3,
                },
                Box::new(move |t| erlang.cdf(t)),
            ),
            by(
                Distribution::Weibull {
                    mean: ms(5),
                    shape: 1.5,
                },
                Box::new(move |t| weibull.cdf(t)),
            ),
            by(
                Distribution::Pareto {
                    scale: ms(2),
                    shape: 2.5,
                },
                Box::new(move |t| pareto.cdf(t)),
            ),
            by(
                Distribution::Hyperexponential {
                    mean: ms(5),
                    cv: 2.0,
                },
                Box::new(move |t| p * fast.cdf(t) + (1.0 - p) * slow.cdf(t)),
            ),
            by(
                Distribution::Shifted {
                    by: ms(3),
                    of: boxed(Distribution::Exponential(ms(2))),
                },
                Box::new(|t| {
                    if t < 3.0 {
                        0.0
                    } else {
                        1.0 - (-(t - 3.0) / 2.0).exp()
                    }
                }),
            ),
            by(
                Distribution::Truncated {
                    from: ms(1),
                    to: ms(4),
                    of: boxed(Distribution::Exponential(ms(2))),
                },
                Box::new(|t| {
                    let e = |t: f64| (-t / 2.0).exp();
                    ((e(1.0) - e(t)) / (e(1.0) - e(4.0))).clamp(0.0, 1.0)
                }),
            ),
            by(
                Distribution::Mixture(vec![
                    Component {
                        share: 3.0,
                        of: Distribution::Uniform {
                            from: ms(0),
                            to: ms(1),
                        },
                    },
                    Component {
                        share: 1.0,
                        of: Distribution::Uniform {
                            from: ms(10),
                            to: ms(11),
                        },
                    },
                ]),
                Box::new(|t| 0.75 * t.clamp(0.0, 1.0) + 0.25 * (t - 10.0).clamp(0.0, 1.0)),
            ),
        ]
    }

    /// 0.1% point of √n D for large n (Smirnov, 1948). Twelve families at this level reject a right
    /// sampler once in 83 sets of seeds; the seed is fixed.
    const KOLMOGOROV_0_1_PERCENT: f64 = 1.949;

    /// √n times the Kolmogorov distance of `n` draws from `cdf`.
    fn distance(sampler: &Sampler, cdf: &dyn Fn(f64) -> f64, n: u32) -> f64 {
        let mut rng = stream(Seed(0), "distribution-test");
        let mut draws: Vec<f64> = (0..n)
            .map(|_| sampler.sample(&mut rng).as_secs_f64() * 1e3)
            .collect();
        draws.sort_by(f64::total_cmp);
        let n = f64::from(n);
        let gaps = draws.iter().enumerate().map(|(i, t)| {
            let p = cdf(*t);
            (p - i as f64 / n)
                .abs()
                .max((p - (i as f64 + 1.0) / n).abs())
        });
        gaps.fold(0.0, f64::max) * n.sqrt()
    }

    #[test]
    fn draws_follow_the_distribution_function() {
        for (distribution, cdf) in families() {
            let sampler = distribution.sampler().unwrap();
            let d = distance(&sampler, &cdf, 20_000);
            assert!(d < KOLMOGOROV_0_1_PERCENT, "{distribution:?}: {d}");
            // 3% longer times are seen in most families; in all, 15% longer ones are.
            let longer = distance(&sampler, &|t| cdf(t / 1.15), 20_000);
            assert!(
                longer > KOLMOGOROV_0_1_PERCENT,
                "{distribution:?}: {longer}"
            );
        }
    }

    #[test]
    fn the_distribution_function_is_that_of_the_draws() {
        for (distribution, cdf) in families() {
            let sampler = distribution.sampler().unwrap();
            for step in 0..60 {
                let t_ms = f64::from(step) * 0.2;
                let (ours, theirs) = (sampler.cdf(t_ms / 1e3), cdf(t_ms));
                assert!(
                    (ours - theirs).abs() < 1e-9,
                    "{distribution:?} at {t_ms}: {ours}, {theirs}"
                );
            }
        }
    }

    #[test]
    fn quantiles_are_joined_by_lines() {
        let sampler = Distribution::Quantiles(vec![ms(1), ms(3)])
            .sampler()
            .unwrap();
        let draws = [0.1, 0.25, 0.5, 0.75, 0.9].map(|u| sampler.draw(u));
        assert_eq!(draws, [ms(1), ms(1), ms(2), ms(3), ms(3)]);
        for (t, p) in [(0.0009, 0.0), (0.001, 0.25), (0.002, 0.5), (0.003, 1.0)] {
            assert!((sampler.cdf(t) - p).abs() < 1e-12, "at {t}");
        }
    }

    #[test]
    fn a_constant_takes_no_draw() {
        let sampler = Distribution::Constant(ms(5)).sampler().unwrap();
        let (mut used, mut fresh) = (stream(Seed(1), "a"), stream(Seed(1), "a"));
        assert_eq!(sampler.sample(&mut used), ms(5));
        assert_eq!(uniform(&mut used).to_bits(), uniform(&mut fresh).to_bits());
    }

    #[test]
    fn what_cannot_be_drawn_from_is_refused_with_its_key() {
        let problem = |distribution: Distribution| {
            let (key, problem) = distribution.sampler().unwrap_err();
            format!("{key}: {problem}")
        };
        let cv = |cv| Distribution::Gamma { mean: ms(1), cv };
        insta::assert_snapshot!(problem(cv(0.0)), @"gamma.cv: must be more than zero, found 0");
        insta::assert_snapshot!(problem(Distribution::Hyperexponential { mean: ms(1), cv: 0.9 }), @"hyperexponential.cv: must be at least 1, found 0.9");
        insta::assert_snapshot!(problem(Distribution::Quantiles(vec![ms(2), ms(1)])), @"quantiles: must be at least one time, ascending");
        insta::assert_snapshot!(problem(Distribution::Mixture(vec![])), @"mixture: must have at least one component");
        let uniform = Distribution::Uniform {
            from: ms(2),
            to: ms(1),
        };
        insta::assert_snapshot!(problem(Distribution::Shifted { by: ms(1), of: boxed(uniform) }), @"shifted.of.uniform.to: `to` is 1 ms and `from` is 2 ms; `to` must not be less");
        let of = boxed(Distribution::Constant(ms(9)));
        insta::assert_snapshot!(problem(Distribution::Truncated { from: ms(1), to: ms(2), of }), @"truncated: nothing lies between 1 ms and 2 ms");
        let component = |share| Component {
            share,
            of: cv(f64::NAN),
        };
        insta::assert_snapshot!(problem(Distribution::Mixture(vec![component(1.0)])), @"mixture.0.of.gamma.cv: must be more than zero, found NaN");
        insta::assert_snapshot!(problem(Distribution::Mixture(vec![component(-1.0)])), @"mixture.0.share: must be more than zero, found -1");
    }

    #[test]
    fn first_draws_are_stable() {
        let first = |(distribution, _): (Distribution, _)| {
            let mut rng = stream(Seed(7), "stability");
            let sampler = distribution.sampler().unwrap();
            [(); 2].map(|()| sampler.sample(&mut rng).as_ps())
        };
        let draws: Vec<[u64; 2]> = families().into_iter().map(first).collect();
        insta::assert_snapshot!(format!("{draws:?}"), @"[[161616338, 55925574], [5872774184, 5955508824], [6854883195, 7286148233], [10741096825, 13168116636], [10525712121, 12374537018], [11510121902, 13784918216], [12641254321, 15093845791], [7943719374, 12093289172], [28062472832, 51368976492], [9896172100, 11997517521], [3789946750, 3924009863], [10872774184, 10955508824]]");
    }
}

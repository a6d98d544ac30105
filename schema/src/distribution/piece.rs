//! The pieces that samplers are made of: families, cut and shifted.

use statrs::distribution::{ContinuousCDF, Gamma, Normal};

use crate::stats::{interpolate, interpolated_cdf};

/// A family of distributions between two of its probabilities, shifted.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Piece {
    family: Family,
    pub(super) shift_s: f64,
    /// Probabilities of the family between which it is.
    between: [f64; 2],
    /// Times, before the shift, between which it is.
    within_s: [f64; 2],
}

impl Piece {
    pub(super) const fn whole(family: Family) -> Piece {
        Piece {
            family,
            shift_s: 0.0,
            between: [0.0, 1.0],
            within_s: [f64::NEG_INFINITY, f64::INFINITY],
        }
    }

    /// Keeps what lies between two times, in seconds; what share of the piece that is.
    pub(super) fn cut(&mut self, from: f64, to: f64) -> f64 {
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

    pub(super) fn quantile(&self, u: f64) -> f64 {
        let [low, high] = self.between;
        let [from, to] = self.within_s;
        let time = self.family.quantile(low + u * (high - low));
        self.shift_s + time.clamp(from, to)
    }

    pub(super) fn cdf(&self, t: f64) -> f64 {
        let [low, high] = self.between;
        let p = self.family.cdf(t - self.shift_s);
        ((p - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// A family of distributions, in seconds.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Family {
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
    pub(super) fn gamma(mean: f64, shape: f64) -> Family {
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
            Family::Quantiles(points) => interpolate(points, u),
        }
    }

    pub(super) fn cdf(&self, t: f64) -> f64 {
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
            Family::Quantiles(points) => interpolated_cdf(points, t),
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

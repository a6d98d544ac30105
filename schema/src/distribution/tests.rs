//! Draws against the distribution functions of statrs, and what is refused.

use statrs::distribution::{
    ContinuousCDF, Erlang, Exp, Gamma, LogNormal, Normal, Pareto, Uniform, Weibull,
};

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

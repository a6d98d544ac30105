//! The distribution of what varies: a random factor of mean one.
//!
//! A parametric distribution is taken only where the sample does not contradict it; otherwise the
//! profile holds empirical quantiles. With thousands of samples that is the rule, and no loss.

use schema::profile::Residual;
use statrs::distribution::{ContinuousCDF, Gamma, LogNormal, Normal};
use statrs::function::gamma::digamma;

/// Number of quantiles kept, from [`MANY`] samples on; below, every cell of the coarser grid still
/// holds several samples.
const N_QUANTILES: usize = 201;
/// Number of quantiles kept of fewer samples.
const N_QUANTILES_FEW: usize = 101;
/// From how many samples the finer grid is used.
const MANY: usize = 1000;
/// Factors that differ by less are equal.
const EQUAL: f64 = 1e-9;
/// The normal is cut at zero; up to this deviation that moves its mean by less than 10⁻⁴.
const MAX_NORMAL_SD: f64 = 0.3;

/// A residual as chosen.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Chosen {
    /// The distribution.
    pub(crate) kind: Residual,
    /// Coefficient of variation of the sample.
    pub(crate) cv: f64,
}

/// The distribution of `factors`, each with its weight; their weighted mean is one.
pub(crate) fn choose(factors: &[(f64, f64)]) -> Chosen {
    let mut sorted = factors.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in &mut sorted {
        *weight /= total;
    }
    let squares: f64 = sorted.iter().map(|(f, w)| w * (f - 1.0) * (f - 1.0)).sum();
    let (least, most) = (sorted[0].0, sorted[sorted.len() - 1].0);
    let kind = if most - least <= EQUAL {
        Residual::None
    } else {
        let weights: f64 = sorted.iter().map(|(_, weight)| weight * weight).sum();
        // Kish's number of samples. Correlation would lower it and let a worse fit pass; without,
        // quantiles are taken sooner, which is no loss.
        let n = 1.0 / weights;
        parametric(&sorted, n).unwrap_or_else(|| quantiles(&sorted))
    };
    Chosen {
        kind,
        cv: squares.sqrt(),
    }
}

/// Name of a residual's kind.
pub(crate) const fn name(residual: &Residual) -> &'static str {
    match residual {
        Residual::None => "none",
        Residual::Normal { .. } => "normal",
        Residual::Lognormal { .. } => "lognormal",
        Residual::Gamma { .. } => "gamma",
        Residual::Quantiles(_) => "quantiles",
    }
}

/// The parametric distribution nearest to `sorted` by Kolmogorov's distance, if that distance is
/// what chance gives `n` samples of it.
fn parametric(sorted: &[(f64, f64)], n: f64) -> Option<Residual> {
    let mean_of = |g: &dyn Fn(f64) -> f64| -> f64 { sorted.iter().map(|(f, w)| w * g(*f)).sum() };
    let mut candidates = Vec::new();
    let sd = mean_of(&|f| (f - 1.0) * (f - 1.0)).sqrt();
    if sd <= MAX_NORMAL_SD {
        candidates.push(Residual::Normal { sd });
    }
    if sorted[0].0 > 0.0 {
        candidates.push(Residual::Lognormal {
            sigma: lognormal_sigma(mean_of(&|f| f.ln() * f.ln())),
        });
        let shape = gamma_shape(-mean_of(&f64::ln));
        candidates.extend(shape.map(|shape| Residual::Gamma { shape }));
    }
    let (distance, nearest) = candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(sorted, &candidate)?, candidate)))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (distance <= critical_distance(n)).then_some(nearest)
}

/// The maximum-likelihood `sigma` of a lognormal of mean one whose logarithm has the mean square
/// `s`: the root of `v²/4 + v = s`, `v = sigma²`.
fn lognormal_sigma(s: f64) -> f64 {
    (2.0 * ((1.0 + s).sqrt() - 1.0)).sqrt()
}

/// The maximum-likelihood shape of a gamma of mean one whose logarithm has the mean `-s`: the root
/// of `ln k - ψ(k) = s`, by Newton's method from the approximation of Minka (2002). `None` if the
/// sample varies too little for it.
fn gamma_shape(s: f64) -> Option<f64> {
    if !(s > 1e-12 && s.is_finite()) {
        return None;
    }
    let mut k = (3.0 - s + ((s - 3.0) * (s - 3.0) + 24.0 * s).sqrt()) / (12.0 * s);
    for _ in 0..50 {
        let step = (k.ln() - digamma(k) - s) / (1.0 / k - trigamma(k));
        // Half way to zero at most, so that the shape stays positive.
        let next = (k - step).max(k / 2.0);
        if (next - k).abs() <= 1e-12 * k {
            return Some(next);
        }
        k = next;
    }
    Some(k)
}

/// `ψ'(x)`, by recurrence up to 10 and the asymptotic series there (Abramowitz and Stegun, 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 10.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x + y / 2.0 + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

/// Kolmogorov's distance between a weighted sample and a distribution; `None` if the distribution
/// has no density.
fn distance(sorted: &[(f64, f64)], residual: &Residual) -> Option<f64> {
    let cdf: Box<dyn Fn(f64) -> f64> = match *residual {
        Residual::Normal { sd } => {
            let normal = Normal::new(1.0, sd).ok()?;
            Box::new(move |x| normal.cdf(x))
        }
        Residual::Lognormal { sigma } => {
            let lognormal = LogNormal::new(-sigma * sigma / 2.0, sigma).ok()?;
            Box::new(move |x| lognormal.cdf(x))
        }
        Residual::Gamma { shape } => {
            let gamma = Gamma::new(shape, shape).ok()?;
            Box::new(move |x| gamma.cdf(x))
        }
        Residual::None | Residual::Quantiles(_) => return None,
    };
    let (mut below, mut largest) = (0.0, 0.0f64);
    for (factor, weight) in sorted {
        let expected = cdf(*factor);
        largest = largest.max(expected - below);
        below += weight;
        largest = largest.max(below - expected);
    }
    Some(largest)
}

/// The distance that chance exceeds with probability 1% where scale and shape were estimated from
/// the same `n` samples (Stephens, 1974: `D (√n - 0.01 + 0.85/√n) = 1.035`). It is
/// the normal's; those of lognormal and gamma are near.
fn critical_distance(n: f64) -> f64 {
    let root = n.max(1.0).sqrt();
    1.035 / (root - 0.01 + 0.85 / root)
}

/// The quantiles as means of equal cells of probability: the i-th point, at `(i + ½) / n`, is the
/// mean of the samples between `i / n` and `(i + 1) / n`.
///
/// Their mean is the sample's, so one, and it is also the mean of the linear interpolation between
/// them. The largest sample is only a part of the last cell: it is no estimate of what is rarer
/// than one in the number of samples, and no draw exceeds the mean of the last cell.
fn quantiles(sorted: &[(f64, f64)]) -> Residual {
    let n_cells = if sorted.len() < MANY {
        N_QUANTILES_FEW
    } else {
        N_QUANTILES
    };
    let mut cells = vec![0.0; n_cells];
    let mut at = 0.0;
    for (factor, weight) in sorted {
        // Position in cells; the part of each cell that the sample fills.
        let end = at + weight * n_cells as f64;
        let mut cell = at.floor() as usize;
        while cell < n_cells && (cell as f64) < end {
            let filled = end.min(cell as f64 + 1.0) - at.max(cell as f64);
            cells[cell] += filled.max(0.0) * factor;
            cell += 1;
        }
        at = end;
    }
    // Rounding: the last cell may lack a trace, and neighbours of equal samples may be unequal.
    let mut highest = 0.0;
    for cell in &mut cells {
        highest = cell.max(highest);
        *cell = highest;
    }
    let mean = cells.iter().sum::<f64>() / n_cells as f64;
    Residual::Quantiles(cells.into_iter().map(|cell| cell / mean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::random::{Seed, stream, uniform};

    fn sample(residual: &Residual, n: usize) -> Vec<(f64, f64)> {
        let mut rng = stream(Seed(0), "residual");
        let draws: Vec<f64> = (0..n)
            .map(|_| residual.quantile(uniform(&mut rng)))
            .collect();
        let mean = schema::stats::mean(&draws);
        draws.into_iter().map(|draw| (draw / mean, 1.0)).collect()
    }

    fn mean_of_draws(residual: &Residual) -> f64 {
        let n = 200_000;
        let at = |i: u32| residual.quantile((f64::from(i) + 0.5) / f64::from(n));
        (0..n).map(at).sum::<f64>() / f64::from(n)
    }

    #[test]
    fn a_sample_of_a_known_distribution_gives_it_back() {
        let chosen = choose(&sample(&Residual::Lognormal { sigma: 0.5 }, 2000));
        // The standard error of sigma is about sigma / sqrt(2 n) = 0.008.
        let Residual::Lognormal { sigma } = chosen.kind else {
            panic!("{:?}", chosen.kind)
        };
        assert!((sigma - 0.5).abs() < 4.0 * 0.008, "{sigma}");
        let chosen = choose(&sample(&Residual::Gamma { shape: 2.0 }, 2000));
        // var(k) = k / (n (k ψ'(k) - 1)), so the standard error is 0.06.
        let Residual::Gamma { shape } = chosen.kind else {
            panic!("{:?}", chosen.kind)
        };
        assert!((shape - 2.0).abs() < 4.0 * 0.06, "{shape}");
        let chosen = choose(&sample(&Residual::Normal { sd: 0.1 }, 2000));
        assert!((chosen.cv - 0.1).abs() < 4.0 * 0.0016, "{}", chosen.cv);
    }

    #[test]
    fn two_modes_give_quantiles() {
        let factors: Vec<(f64, f64)> = (0..400)
            .map(|i| {
                (
                    if i % 4 == 0 { 2.5 } else { 0.5 } + f64::from(i) * 1e-6,
                    1.0,
                )
            })
            .collect();
        let chosen = choose(&factors);
        assert!(matches!(chosen.kind, Residual::Quantiles(_)));
    }

    #[test]
    fn equal_factors_give_no_residual() {
        assert_eq!(choose(&[(1.0, 2.0); 5]).kind, Residual::None);
    }

    #[test]
    fn quantiles_have_mean_one_and_leave_the_maximum_in_its_cell() {
        // 3000 samples, one of which is 300 times the others.
        let mut factors = vec![(1.0, 1.0); 2999];
        factors.push((300.0, 1.0));
        let mean = (2999.0 + 300.0) / 3000.0;
        let factors: Vec<(f64, f64)> = factors.iter().map(|(f, w)| (f / mean, *w)).collect();
        let chosen = choose(&factors);
        let Residual::Quantiles(points) = &chosen.kind else {
            panic!("{:?}", chosen.kind)
        };
        assert_eq!(points.len(), N_QUANTILES);
        assert!((schema::stats::mean(points) - 1.0).abs() < 1e-12);
        assert!((mean_of_draws(&chosen.kind) - 1.0).abs() < 1e-4);
        // The last cell is 3000/201 samples: one of 300 and the rest of 1.
        let cell = 3000.0 / 201.0;
        let expected = (300.0 + cell - 1.0) / cell / mean;
        assert!((points[200] - expected).abs() < 1e-9, "{}", points[200]);
        assert!(points.is_sorted());
    }

    #[test]
    fn drawn_quantiles_are_near_the_sample() {
        let sample = sample(&Residual::Lognormal { sigma: 1.0 }, 1500);
        let mut sorted = sample.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, weight) in &mut sorted {
            *weight /= 1500.0;
        }
        let residual = quantiles(&sorted);
        // Kolmogorov's distance between the sample and 20,000 draws by inversion: less than two
        // cells of the grid, and less than the 1% point of two samples, 1.63 √(1/1500 + 1/20,000).
        let draws: Vec<f64> = (0..20_000)
            .map(|i| residual.quantile((f64::from(i) + 0.5) / 20_000.0))
            .collect();
        let mut largest = 0.0f64;
        for (rank, (factor, _)) in sorted.iter().enumerate() {
            let drawn = draws.partition_point(|draw| draw <= factor) as f64 / 20_000.0;
            largest = largest.max((drawn - (rank as f64 + 0.5) / 1500.0).abs());
        }
        assert!(largest < 2.0 / 201.0, "{largest}");
    }

    #[test]
    fn trigamma_matches_known_values() {
        let pi2 = std::f64::consts::PI.powi(2);
        assert!((trigamma(1.0) - pi2 / 6.0).abs() < 1e-12);
        assert!((trigamma(0.5) - pi2 / 2.0).abs() < 1e-12);
    }
}

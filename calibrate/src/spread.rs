//! What a fit leaves open: of its parameters together, and of a single measurement beside it.
//!
//! Parameters are taken as logarithms, and the law as linear in them near the estimate. With the
//! derivatives `J` of the logarithms of what was observed and the standard deviation of each observation
//! on the diagonal of `S`, the covariance of the parameters is `(Jᵀ S⁻² J)⁻¹`. Its Cholesky factor has a
//! column for each parameter: a direction, along which the numbers of a profile change together
//! ([`Direction`]). Correlations are all in there.
//!
//! What is left out: that the law may be curved or wrong, and what it took as known.

use std::collections::BTreeMap;

use nalgebra::DMatrix;
use schema::profile::Direction;
use schema::stats::quantile;
use schema::study::Intervals;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::gpu::parts::significant;

/// Observations of which the quantiles are known well enough.
const MANY: usize = 40;

/// Something that a law was fitted to.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// By what the logarithm of what the law says changes with that of each parameter.
    pub derivatives: Vec<f64>,
    /// Standard deviation of the logarithm of what was observed.
    pub deviation: f64,
}

/// A number of a profile that follows a parameter, and by what its logarithm changes with that of the
/// parameter.
pub type Follower = (String, f64);

/// The directions in which numbers may be off, called `name` and numbered from 1, in as many digits as the
/// last needs; `followers` has those of each parameter. `None` if the observations do not tell the
/// parameters apart.
///
/// # Panics
/// If an observation has another number of derivatives than there are parameters.
pub fn directions(
    name: &str,
    observations: &[Observation],
    followers: &[Vec<Follower>],
) -> Option<BTreeMap<String, Direction>> {
    let n = followers.len();
    let mut information = DMatrix::<f64>::zeros(n, n);
    for observation in observations {
        assert_eq!(observation.derivatives.len(), n, "one a parameter");
        for i in 0..n {
            for j in 0..n {
                let product = observation.derivatives[i] * observation.derivatives[j];
                information[(i, j)] += product / observation.deviation.powi(2);
            }
        }
    }
    let covariance = information.cholesky()?.inverse();
    let factor = covariance.cholesky()?.l();
    let digits = n.to_string().len();
    let columns = factor.column_iter().enumerate().map(|(index, column)| {
        let mut direction = Direction::new();
        for (followers, change) in followers.iter().zip(column.iter()) {
            for (number, slope) in followers {
                *direction.entry(number.clone()).or_default() += change * slope;
            }
        }
        direction.retain(|_, change| change.abs() > 0.0);
        for change in direction.values_mut() {
            *change = significant(*change);
        }
        (format!("{name} {:0digits$}", index + 1), direction)
    });
    Some(columns.collect())
}

/// How far a single measurement is from what was fitted: half of the width that holds 90% of the
/// logarithms, from the residuals of `n` observations that `m = terms` parameters were fitted to. Where
/// these were fitted to others too, `terms` is what of them is for these observations, which need be no
/// whole number.
///
/// Of 40 observations and more it is what a tenth of the residuals exceeds in size, times
/// `√(n / (n - m))`, so that a few that are far off count as few. Of fewer it is Student's t times their
/// deviation; infinite if there are no more observations than parameters.
///
/// That takes residuals of a law that misses here and there as if they were random.
pub fn scatter(residuals: &[f64], terms: f64) -> f64 {
    let n = residuals.len();
    let spare = n as f64 - terms;
    if n >= MANY {
        let mut sizes: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        return quantile(&sizes, Intervals::OF_DRAWS) * (n as f64 / spare).sqrt();
    }
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    StudentsT::new(0.0, 1.0, spare).map_or(f64::INFINITY, |t| {
        t.inverse_cdf(0.5 + Intervals::OF_DRAWS / 2.0) * (squares / spare).sqrt()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_have_the_covariance_of_the_parameters() {
        // ln y = a + b x at x = 0, 1, 2, 3 with a deviation of 0.1: the textbook's covariance of a line.
        let at = |x: f64| Observation {
            derivatives: vec![1.0, x],
            deviation: 0.1,
        };
        let observations = [0.0, 1.0, 2.0, 3.0].map(at);
        let followers = ["a", "b"].map(|name| vec![(name.to_owned(), 1.0)]);
        let found = directions("fit", &observations, &followers).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["fit 1", "fit 2"]);
        let product = |one: &str, other: &str| -> f64 {
            let of = |direction: &Direction, name| direction.get(name).copied().unwrap_or(0.0);
            let all = found.values();
            all.map(|direction| of(direction, one) * of(direction, other))
                .sum()
        };
        for (one, other, is) in [("a", "a", 0.007), ("b", "b", 0.002), ("a", "b", -0.003)] {
            let found = product(one, other);
            assert!((found / is - 1.0).abs() < 1e-3, "{one} {other}: {found}");
        }
    }

    #[test]
    fn parameters_that_nothing_tells_apart_have_no_directions() {
        let one = Observation {
            derivatives: vec![1.0, 1.0],
            deviation: 0.1,
        };
        let followers = vec![Vec::new(), Vec::new()];
        assert_eq!(directions("fit", &[one.clone(), one], &followers), None);
    }

    #[test]
    fn scatter_is_student_s_of_the_spare_observations() {
        // t of 4 spare observations at 95% is 2.132 (any table); the residuals' deviation is 0.1.
        let residuals = [0.1, -0.1, 0.1, -0.1];
        assert!((scatter(&residuals, 0.0) - 0.2132).abs() < 1e-4);
        assert!((scatter(&residuals, 2.0) - 2.920 * 0.1 * 2.0_f64.sqrt()).abs() < 1e-4);
        assert!(scatter(&residuals, 4.0).is_infinite());
        // Of many, a tenth of which are far off, those are not in it.
        let far = (0..100).map(|index| if index % 10 == 0 { 3.0 } else { -0.1 });
        let far: Vec<f64> = far.collect();
        assert!((scatter(&far, 19.0) - 0.1 / 0.9).abs() < 1e-9);
    }
}

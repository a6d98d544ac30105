//! The gaps of each process against its moments and its law.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::*;
use crate::stats::{Estimate, mean_interval};

/// Confidence of each interval, and one less the level of each test, below: some thirty, so that
/// right code fails one in 300 sets of seeds; the seeds are fixed.
const CONFIDENCE: f64 = 0.9999;

/// 0.01% point of √n D for large n (Smirnov, 1948).
const KOLMOGOROV_0_01_PERCENT: f64 = 2.225;

fn assert_covers(interval: Estimate, theory: f64, widest: f64, what: &str) {
    let Estimate { low, high, .. } = interval;
    assert!(
        low <= theory && theory <= high,
        "{what}: {theory} not in [{low}, {high}]"
    );
    assert!(
        (high - low) / 2.0 < widest * theory,
        "{what}: [{low}, {high}] is too wide to be a test"
    );
}

/// √n times the Kolmogorov distance of `sample` from the unit exponential distribution.
fn distance_from_exponential(mut sample: Vec<f64>) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distances = sample.iter().enumerate().map(|(index, x)| {
        let p = -(-x).exp_m1();
        let below = index as f64 / n;
        (p - below).abs().max((p - below - 1.0 / n).abs())
    });
    distances.fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn independent_gaps_have_the_mean_and_the_cv_asked_for() {
    let (rate, connections) = (hz(300.0), 16);
    let gamma = |cv| ArrivalsFile::Gamma {
        rate,
        cv,
        connections,
    };
    let hyperexponential = |cv| ArrivalsFile::Hyperexponential {
        rate,
        cv,
        connections,
    };
    let processes = [
        (poisson(300.0), 1.0),
        (gamma(0.25), 0.25),
        (gamma(2.0), 2.0),
        (hyperexponential(1.0), 1.0),
        (hyperexponential(3.0), 3.0),
    ];
    for (arrivals, cv) in processes {
        let what = format!("{arrivals:?}");
        let scaled: Vec<f64> = secs(&arrivals, 100_000).iter().map(|s| s * 300.0).collect();
        assert_covers(mean_interval(&scaled, CONFIDENCE), 1.0, 0.04, &what);
        let squares: Vec<f64> = scaled.iter().map(|x| (x - 1.0).powi(2)).collect();
        let squared_cv = mean_interval(&squares, CONFIDENCE);
        assert_covers(squared_cv, cv * cv, 0.15, &what);
        // A coefficient of variation that is 8% larger would be seen.
        assert!(squared_cv.high < (1.08 * cv).powi(2), "{what}");
    }
}

#[test]
fn poisson_gaps_are_exponential() {
    let scaled = |rate: f64| {
        let gaps = secs(&poisson(100.0), 100_000);
        distance_from_exponential(gaps.iter().map(|s| s * rate).collect())
    };
    assert!(scaled(100.0) < KOLMOGOROV_0_01_PERCENT);
    assert!(scaled(103.0) > KOLMOGOROV_0_01_PERCENT);
}

/// The index of dispersion of counts in a window of `t` seconds of the stationary MMPP with two
/// states, rates `l` and rates of leaving `r`.
///
/// The covariance of the rate at two times is `v exp(-(r1 + r2) t)` with its variance
/// `v = r1 r2 (l1 - l2)² / (r1 + r2)²`, and that of the counts the integral over both, besides
/// their mean. For long windows it is the
/// `1 + 2 (l1 - l2)² r1 r2 / ((r1 + r2)² (l1 r2 + l2 r1))` of Heffes and Lucantoni (1986, IEEE
/// JSAC 4(6)).
fn index_of_dispersion([l1, l2]: [f64; 2], [r1, r2]: [f64; 2], t: f64) -> f64 {
    let leaving = r1 + r2;
    let limit = 2.0 * (l1 - l2).powi(2) * r1 * r2 / (leaving.powi(2) * (l1 * r2 + l2 * r1));
    1.0 + limit * (1.0 + (-leaving * t).exp_m1() / (leaving * t))
}

#[test]
fn counts_of_two_states_have_the_mean_and_the_dispersion_of_theory() {
    // Rates of leaving of 20 and 5 per second, 132 requests a second in the mean.
    let arrivals = modulated(&[(500.0, 50), (40.0, 200)]);
    let rate = 132.0;
    assert!((arrivals.mean_rate().unwrap() - rate).abs() < 1e-9);
    for window in [0.1, 4.0] {
        let theory = index_of_dispersion([500.0, 40.0], [20.0, 5.0], window);
        let counts: Vec<f64> = (0..8000)
            .map(|seed| times_until(&arrivals, seed, window).len() as f64)
            .collect();
        let mean = rate * window;
        let what = format!("window {window}");
        assert_covers(mean_interval(&counts, CONFIDENCE), mean, 0.06, &what);
        // About the mean of theory, so that each count is a sample of the variance.
        let dispersions: Vec<f64> = counts.iter().map(|n| (n - mean).powi(2) / mean).collect();
        let dispersion = mean_interval(&dispersions, CONFIDENCE);
        assert_covers(dispersion, theory, 0.1, &what);
        // Poisson counts would have 1.
        assert!(dispersion.low > 5.0, "{what}");
    }
}

#[test]
fn the_first_state_is_drawn_by_its_share_of_the_time() {
    // The rate in a window much shorter than a stay is that of the state in which it starts.
    let arrivals = modulated(&[(1e5, 2000), (0.0, 3000), (0.0, 5000)]);
    let busy: Vec<f64> = (0..4000)
        .map(|seed| f64::from(u8::from(!times_until(&arrivals, seed, 5e-4).is_empty())))
        .collect();
    assert_covers(mean_interval(&busy, CONFIDENCE), 0.2, 0.2, "share");
}

#[test]
fn equal_rates_in_every_state_or_piece_give_the_poisson_process() {
    let plain: Vec<f64> = secs(&poisson(100.0), 10_000);
    let same = [
        modulated(&[(100.0, 1), (100.0, 3)]),
        modulated(&[(100.0, 1000)]),
        piecewise(&[(100.0, 2), (100.0, 9)], true),
    ];
    for arrivals in same {
        for (ours, theirs) in secs(&arrivals, 10_000).iter().zip(&plain) {
            assert!(
                (ours - theirs).abs() < 1.5e-12,
                "{arrivals:?}: {ours}, {theirs}"
            );
        }
    }
}

/// Rate per second, and length in milliseconds.
const PIECES: [(f64, u64); 4] = [(300.0, 500), (0.0, 250), (1000.0, 100), (40.0, 1150)];
const CYCLE_S: f64 = 2.0;

/// The integral of the rate of the pieces, repeated, up to `t` seconds.
fn cumulative_rate(t: f64) -> f64 {
    let n_cycles = (t / CYCLE_S).floor();
    let (mut left, mut sum) = (t - n_cycles * CYCLE_S, n_cycles * 296.0);
    for (rate, length_ms) in PIECES {
        let span = left.min(length_ms as f64 / 1e3);
        sum += rate * span;
        left -= span;
    }
    sum
}

#[test]
fn counts_in_each_piece_are_poisson() {
    const N_CYCLES: usize = 400;
    let times = times_until(&piecewise(&PIECES, true), 0, N_CYCLES as f64 * CYCLE_S);
    let quantile = |p, n| ChiSquared::new(n).unwrap().inverse_cdf(p);
    let mut start = 0.0;
    let mut between_pieces = [0.0, 0.0];
    for (rate, length_ms) in PIECES {
        let end = start + length_ms as f64 / 1e3;
        let mut counts = [0.0; N_CYCLES];
        for time in &times {
            let cycle = (time / CYCLE_S).floor();
            let into = time - cycle * CYCLE_S;
            if start <= into && into < end {
                counts[cycle as usize] += 1.0;
            }
        }
        let mean = rate * (end - start);
        let total: f64 = counts.iter().sum();
        if mean > 0.0 {
            // Dispersion: the sum is chi-square with a degree of freedom a cycle.
            let dispersion: f64 = counts.iter().map(|n| (n - mean).powi(2) / mean).sum();
            let tail = (1.0 - CONFIDENCE) / 2.0;
            let n = N_CYCLES as f64;
            assert!(dispersion < quantile(1.0 - tail, n), "{rate}: {dispersion}");
            assert!(dispersion > quantile(tail, n), "{rate}: {dispersion}");
            for (sum, factor) in between_pieces.iter_mut().zip([1.0, 1.03]) {
                let expected = factor * mean * n;
                *sum += (total - expected).powi(2) / expected;
            }
        } else {
            assert!(total < 0.5, "{total} requests at rate zero");
        }
        start = end;
    }
    assert!(between_pieces[0] < quantile(CONFIDENCE, 3.0));
    // Rates that are 3% higher would be seen.
    assert!(between_pieces[1] > quantile(CONFIDENCE, 3.0));
}

#[test]
fn in_the_time_of_the_cumulative_rate_piecewise_gaps_are_unit_exponential() {
    let times = times_until(&piecewise(&PIECES, true), 1, 200.0 * CYCLE_S);
    let mut before = 0.0;
    let hazards = times.iter().map(|time| {
        let now = cumulative_rate(*time);
        let hazard = now - before;
        before = now;
        hazard
    });
    assert!(distance_from_exponential(hazards.collect()) < KOLMOGOROV_0_01_PERCENT);
}

#[test]
fn without_repeat_nothing_arrives_after_the_last_piece() {
    let pieces = [(100.0, 1000), (0.0, 1000)];
    let once: Vec<_> = gaps(&piecewise(&pieces, false), 0).collect();
    let again = times_until(&piecewise(&pieces, true), 0, 1.0);
    assert_eq!(once.len(), again.len());
    let mut ended = gaps(&piecewise(&pieces, false), 0);
    assert_eq!(ended.by_ref().count(), once.len());
    assert_eq!([(); 3].map(|()| ended.next()), [None; 3]);
}

#[test]
fn a_process_ends_where_the_clock_does() {
    // A millionth of a request every 200 days; the clock holds 213.
    let mut rare = gaps(&piecewise(&[(0.0, 17_280_000_000), (1e-6, 1000)], true), 0);
    assert_eq!([(); 3].map(|()| rare.next()), [None; 3]);
}

#[test]
fn gaps_are_those_of_the_streams_named_after_the_source() {
    use crate::random::{exponential, stream};
    let mut rng = stream(Seed(3), "client/a/0/arrivals");
    for gap in gaps(&poisson(120.0), 3).take(100) {
        let drawn = exponential(&mut rng, 1.0 / 120.0);
        assert_eq!(gap, SimDuration::from_secs_f64(drawn));
    }
    // Every change of state is drawn from the other stream, so gaps take one draw each.
    let mut rng = stream(Seed(3), "client/a/0/arrivals");
    let first = gaps(&modulated(&[(1e6, 1_000_000)]), 3).next().unwrap();
    assert_eq!(
        first,
        SimDuration::from_secs_f64(exponential(&mut rng, 1e-6))
    );
}

#[test]
fn first_gaps_are_stable() {
    let first = |arrivals: &ArrivalsFile| {
        let gaps = gaps(arrivals, 7).take(3);
        gaps.map(SimDuration::as_ps).collect::<Vec<_>>()
    };
    let vectors: Vec<_> = processes().iter().map(first).collect();
    insta::assert_snapshot!(format!("{vectors:?}"), @"[[15196830558, 1075209148, 1763909517], [15196830558, 1075209148, 1763909517], [10000000000, 10000000000, 10000000000], [5970102079, 16624752106, 14713952845], [1386328389, 15617008913, 11417064104], [7187812174, 13980577395, 13382901883], [431663087207, 215041830, 352781903], [10131220372, 716806099, 1175939678], [5000000000, 1000000000, 0], [0, 10000000000, 0]]");
}

#[test]
fn the_rate_of_a_renewal_process_is_one_over_the_mean_gap() {
    use crate::distribution::Component;
    let of = |distribution| Box::new(distribution);
    let half = |of| Component { share: 2.0, of };
    let normal = Distribution::Normal {
        mean: ms(4),
        sd: ms(8),
    };
    let gaps = [
        Distribution::Quantiles([1, 3, 9].map(ms).to_vec()),
        normal.clone(),
        Distribution::Shifted {
            by: ms(5),
            of: of(normal.clone()),
        },
        Distribution::Truncated {
            from: ms(2),
            to: SimDuration::from_ps(1_000_000_000_000_000),
            of: of(normal),
        },
        Distribution::Truncated {
            from: ms(1),
            to: ms(8),
            of: of(Distribution::Mixture(vec![
                half(Distribution::Constant(ms(2))),
                half(Distribution::Constant(ms(7))),
            ])),
        },
        Distribution::Pareto {
            scale: ms(2),
            shape: 3.5,
        },
        Distribution::Weibull {
            mean: ms(2),
            shape: 0.7,
        },
    ];
    for gap in gaps {
        let arrivals = renewal(gap);
        let rate = arrivals.mean_rate().unwrap();
        let interval = mean_interval(&secs(&arrivals, 50_000), CONFIDENCE);
        // The integral over a step is off by up to 0.2%.
        let slack = 2e-3 * interval.value;
        let (low, high) = (interval.low - slack, interval.high + slack);
        assert!(low < 1.0 / rate && 1.0 / rate < high, "{arrivals:?}");
        assert!(interval.high - interval.low < 0.08 / rate, "{arrivals:?}");
    }
}

//! Known laws come back from noisy times, inside their errors at the stated rate.

use calibrate::gpu::fit::Fit;
use calibrate::gpu::interference::{Intensity, Interference, PairPoint, PairedNet};
use calibrate::gpu::share::{ShareLaw, SharePoint};
use calibrate::gpu::tokens::{DecodeLaw, PrefillLaw, TokenPoint};
use rand::rngs::ChaCha8Rng;
use schema::profile::Residual;
use schema::random::{Seed, stream, uniform};

/// Standard deviation of the logarithm of a measured time.
const NOISE: f64 = 0.02;
/// Of 200 intervals at 95%, binomial(200, 0.95), fewer than 178 cover the truth with probability
/// 0.02%, and all 200 with 0.004%; this file counts 31 times, some of 50, so the chance that a right
/// method fails is about 1%.
const COVERED_OF_200: std::ops::RangeInclusive<u32> = 178..=199;
/// Fewer than 40 of 50 have probability 0.01%; all 50 have 8%, so there is no upper end.
const COVERED_OF_50: std::ops::RangeInclusive<u32> = 40..=50;

pub(crate) const RESNET: ShareLaw = ShareLaw {
    overhead_base: 1.36e-3,
    overhead_slope: 0.11e-3,
    compute_base: 0.3e-3,
    compute_slope: 0.55e-3,
    filling_batch: 1.8,
};
pub(crate) const VGG: ShareLaw = ShareLaw {
    overhead_base: 0.61e-3,
    overhead_slope: 0.18e-3,
    compute_base: 0.46e-3,
    compute_slope: 1.52e-3,
    filling_batch: 1.03,
};
pub(crate) const SHARES: [f64; 7] = [0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0];

/// A factor of median one.
fn noise(rng: &mut ChaCha8Rng) -> f64 {
    let sigma = NOISE;
    Residual::Lognormal { sigma }.quantile(uniform(rng)) * (sigma * sigma / 2.0).exp()
}

pub(crate) fn alone(law: &ShareLaw, batches: &[f64], shares: &[f64], seed: u64) -> Vec<SharePoint> {
    let mut rng = stream(Seed(seed), "alone");
    let cells = batches
        .iter()
        .flat_map(|&batch| shares.iter().map(move |&share| (batch, share)));
    cells
        .map(|(batch, share)| SharePoint {
            batch,
            share,
            time: law.expected(batch, share) * noise(&mut rng),
        })
        .collect()
}

/// How often each interval of `seeds` fits covers the truth.
fn coverage(truth: &[f64], seeds: u64, fit: impl Fn(u64) -> Fit) -> Vec<u32> {
    let mut covered = vec![0; truth.len()];
    for seed in 0..seeds {
        let fit = fit(seed);
        for ((count, truth), estimate) in covered.iter_mut().zip(truth).zip(&fit.estimates) {
            let [low, high] = estimate.interval();
            *count += u32::from((low..=high).contains(truth));
        }
    }
    covered
}

fn share_truth(law: &ShareLaw) -> [f64; 5] {
    [
        law.overhead_base,
        law.overhead_slope,
        law.compute_base,
        law.compute_slope,
        law.filling_batch,
    ]
}

#[test]
fn a_net_alone_comes_back() {
    let batches: Vec<f64> = (1..=32).map(f64::from).collect();
    let covered = coverage(&share_truth(&RESNET), 200, |seed| {
        let fit = ShareLaw::fit(&alone(&RESNET, &batches, &SHARES, seed));
        let fit = fit.expect("the data identifies it").fit;
        // Not vacuous: 224 times with noise of 2% give what dominates within a percent or so.
        assert!(fit.estimate("c_1").relative_error < 0.02, "{fit:?}");
        assert!((fit.noise / NOISE - 1.0).abs() < 0.25, "{fit:?}");
        fit
    });
    assert!(
        covered.iter().all(|n| COVERED_OF_200.contains(n)),
        "{covered:?}"
    );
}

#[test]
fn a_known_error_falls_outside() {
    let batches: Vec<f64> = (1..=32).map(f64::from).collect();
    let fit = ShareLaw::fit(&alone(&RESNET, &batches, &SHARES, 0))
        .unwrap()
        .fit;
    for (estimate, truth) in fit.estimates.iter().zip(share_truth(&RESNET)) {
        let [low, high] = estimate.interval();
        let wrong = if estimate.name == "c_0" { 3.0 } else { 1.5 };
        assert!(!(low..=high).contains(&(wrong * truth)), "{estimate:?}");
    }
}

#[test]
fn nine_of_ten_times_right_are_enough() {
    // Every tenth time is 40% too long, as if something else had run.
    let batches: Vec<f64> = (1..=32).map(f64::from).collect();
    let mut points = alone(&RESNET, &batches, &SHARES, 0);
    for point in points.iter_mut().step_by(10) {
        point.time *= 1.4;
    }
    let law = ShareLaw::fit(&points).unwrap().law;
    for (batch, share) in [(1.0, 1.0), (8.0, 0.5), (32.0, 0.2)] {
        let error = law.expected(batch, share) / RESNET.expected(batch, share) - 1.0;
        assert!(error.abs() < 0.02, "batch {batch}, share {share}: {error}");
    }
}

fn interference() -> Interference {
    let intensity = |most, half| Intensity { most, half };
    Interference {
        overhead: 0.22,
        exponent: 0.58,
        nets: vec![intensity(0.14, 2.9), intensity(0.22, 1.5)],
    }
}

pub(crate) fn pairs(law: &Interference, batches: &[f64], seed: u64) -> Vec<PairPoint> {
    let mut rng = stream(Seed(seed), "pairs");
    let laws = [RESNET, VGG];
    let mut points = Vec::new();
    for &first in batches {
        for &second in batches {
            for share in [0.2, 0.4, 0.5, 0.6, 0.8] {
                let net = |net, batch, share| PairedNet { net, batch, share };
                let nets = [net(0, first, share), net(1, second, 1.0 - share)];
                let times = law.expected(&laws, &nets).map(|t| t * noise(&mut rng));
                points.push(PairPoint { nets, times });
            }
        }
    }
    points
}

#[test]
fn interference_comes_back() {
    let truth = interference();
    let values = [0.22, 0.58, 0.14, 2.9, 0.22, 1.5];
    let covered = coverage(&values, 200, |seed| {
        let points = pairs(&truth, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], seed);
        let (_, fit) = Interference::fit(&[RESNET, VGG], &points).unwrap();
        assert!(fit.estimate("lambda").relative_error < 0.1, "{fit:?}");
        fit
    });
    assert!(
        covered.iter().all(|n| COVERED_OF_200.contains(n)),
        "{covered:?}"
    );
}

pub(crate) const PREFILL: PrefillLaw = PrefillLaw {
    floor: 20e-3,
    overhead_base: 5e-3,
    overhead_token: 10e-6,
    overhead_sequence: 45e-6,
    compute_base: 2e-3,
    compute_token: 14e-6,
    long_token: 5e-6,
    longer_token: 30e-6,
    long: 16384.0,
};
pub(crate) const DECODE: DecodeLaw = DecodeLaw {
    floor: 16e-3,
    overhead_base: 7e-3,
    overhead_sequence: 42e-6,
    weights: 7.3e-3,
    keys_and_values: 0.33e-6,
    compute_base: 1.5e-3,
    compute_sequence: 55e-6,
    compute_step: 3e-3,
};

pub(crate) fn tokens(seed: u64) -> Vec<TokenPoint> {
    let mut rng = stream(Seed(seed), "tokens");
    let mut points = Vec::new();
    for batch in (0..12).map(|power| f64::from(1 << power)) {
        for length in [32.0, 64.0, 128.0, 256.0, 512.0] {
            for share in [0.4, 0.6, 0.8, 1.0] {
                if batch * length <= 131_072.0 {
                    points.push(TokenPoint {
                        batch,
                        length,
                        share,
                        prefill: PREFILL.expected(batch, length, share) * noise(&mut rng),
                        decode: DECODE.expected(batch, length, share) * noise(&mut rng),
                    });
                }
            }
        }
    }
    points
}

#[test]
fn a_prefill_comes_back() {
    let truth = [20e-3, 5e-3, 10e-6, 45e-6, 2e-3, 14e-6, 5e-6, 30e-6];
    let covered = coverage(&truth, 50, |seed| {
        let (law, fit) = PrefillLaw::fit(&tokens(seed)).unwrap();
        assert!((law.long - PREFILL.long).abs() < 1.0, "{law:?}");
        fit
    });
    assert!(
        covered.iter().all(|n| COVERED_OF_50.contains(n)),
        "{covered:?}"
    );
}

#[test]
fn a_decode_step_comes_back() {
    let truth = [16e-3, 7e-3, 42e-6, 7.3e-3, 0.33e-6, 1.5e-3, 55e-6, 3e-3];
    let covered = coverage(&truth, 50, |seed| DecodeLaw::fit(&tokens(seed)).unwrap().1);
    assert!(
        covered.iter().all(|n| COVERED_OF_50.contains(n)),
        "{covered:?}"
    );
}

//! LLaMA on A100s (MuxServe): prefill and decode under a share of the multiprocessors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use calibrate::gpu::fit::FitError;
use calibrate::gpu::held_out::fold_of;
use calibrate::gpu::tables::{LanguageNet, a100_llama};
use calibrate::gpu::tokens::{DRAM_OCCUPANCY, DecodeLaw, PrefillLaw, TokenPoint};
use schema::gpu::GpuNet;
use schema::profile::parameter;

use super::engine::{Load, pass, profile};
use super::table::{Prediction, Rows, differences, errors};
use super::{ROUNDING, folds, unknown};

/// Bandwidth of the memory of an A100 with 80 GB (NVIDIA's data sheet), in bytes per second. Nets
/// have a time with all of it, so the figure cancels out.
const BANDWIDTH: f64 = 2.039e12;
/// The largest batch that was measured.
const LARGEST: f64 = 2048.0;

/// A step of a language model.
struct Step {
    measured: fn(&TokenPoint) -> f64,
    fit: fn(&[TokenPoint]) -> Result<Fitted, FitError>,
}

/// A fitted step: what it takes, and its net for sequences of a length.
struct Fitted {
    expected: Box<dyn Fn(&TokenPoint) -> f64>,
    net: Box<dyn Fn(f64) -> GpuNet>,
}

const PREFILL: Step = Step {
    measured: |p| p.prefill,
    fit: |points| {
        let (law, fit) = PrefillLaw::fit(points)?;
        Ok(Fitted {
            expected: Box::new(move |p| law.expected(p.batch, p.length, p.share)),
            net: Box::new(move |length| law.net(length, LARGEST, fit.samples, &unknown())),
        })
    },
};

const DECODE: Step = Step {
    measured: |p| p.decode,
    fit: |points| {
        let (law, fit) = DecodeLaw::fit(points)?;
        Ok(Fitted {
            expected: Box::new(move |p| law.expected(p.batch, p.length, p.share)),
            net: Box::new(move |length| {
                law.net(length, BANDWIDTH, LARGEST, fit.samples, &unknown())
            }),
        })
    },
};

fn name_of(net: &LanguageNet) -> String {
    format!("{} {}", net.name, net.gpus)
}

/// Predictions of a step of a net, in `k` folds.
fn held_out(
    net: &LanguageNet,
    step: &Step,
    k: usize,
    fold: impl Fn(&str, &TokenPoint) -> usize,
) -> Result<Vec<Prediction>, FitError> {
    let name = name_of(net);
    let mut predictions = Vec::new();
    for (train, test) in folds(&net.points, k, |p| fold(&name, p)) {
        let fitted = (step.fit)(&train)?;
        predictions.extend(test.iter().map(|p| predict(&name, step, &fitted, p)));
    }
    Ok(predictions)
}

fn predict(name: &str, step: &Step, fitted: &Fitted, point: &TokenPoint) -> Prediction {
    let parameters = [
        (parameter::DRAM_BANDWIDTH, BANDWIDTH),
        (parameter::DRAM_OCCUPANCY, DRAM_OCCUPANCY),
    ];
    let profile = profile([(name, (fitted.net)(point.length))], &parameters);
    let load = Load {
        net: name,
        batch: point.batch,
        share: point.share,
    };
    Prediction {
        net: name.to_owned(),
        batch: point.batch,
        engine: pass(&profile, load),
        law: (fitted.expected)(point),
        measured: (step.measured)(point),
    }
}

/// Predictions of a step of all nets.
fn all_held_out(
    step: &Step,
    k: usize,
    fold: impl Fn(&str, &TokenPoint) -> usize,
) -> Vec<Prediction> {
    let nets = a100_llama();
    let predictions = nets
        .iter()
        .map(|net| held_out(net, step, k, &fold).unwrap());
    predictions.flatten().collect()
}

/// The fold, of `k`, of a point.
fn by_point(k: usize) -> impl Fn(&str, &TokenPoint) -> usize {
    move |name, p| fold_of(&format!("{name} {} {} {}", p.batch, p.length, p.share), k)
}

/// A fold for each share; they are multiples of a fifth.
fn by_share(_: &str, p: &TokenPoint) -> usize {
    (5.0 * p.share).round() as usize
}

/// The net with the largest mean error, and that.
fn worst(predictions: &[Prediction]) -> (String, f64) {
    let nets = a100_llama();
    let error = |name: String| {
        let mean = errors(predictions, |p| p.net == name).mean;
        (name, mean)
    };
    let all = nets.iter().map(|net| error(name_of(net)));
    all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

#[test]
fn prefills_are_predicted_within_four_percent() {
    let mut rows = Rows::new();
    let predictions = all_held_out(&PREFILL, 2, by_point(2));
    let errors = rows.add("prefill", "half of the points", &predictions);
    assert!(errors.mean <= 0.04, "{errors}");
    let differences = differences(&predictions);
    assert!(differences.max < ROUNDING, "{differences}");
    // Deviation: some nets miss by themselves what all together reach.
    let (net, error) = worst(&predictions);
    assert!(
        net == "llama-13b 1" && (0.05..0.06).contains(&error),
        "{net}: {error}"
    );

    // Deviation: shares that were not in the fit are predicted within 4.4% on average.
    let predictions = all_held_out(&PREFILL, 6, by_share);
    let errors = rows.add("prefill", "each share", &predictions);
    assert!((0.04..0.047).contains(&errors.mean), "{errors}");
    rows.print();
}

#[test]
fn decode_steps_are_predicted_within_four_percent() {
    let mut rows = Rows::new();
    let predictions = all_held_out(&DECODE, 8, by_point(8));
    let errors = rows.add("decode step", "an eighth of the points", &predictions);
    assert!(errors.mean <= 0.04, "{errors}");
    let differences = differences(&predictions);
    assert!(differences.max < ROUNDING, "{differences}");
    rows.print();

    // Deviation: some nets miss by themselves what all together reach.
    let (net, error) = worst(&predictions);
    assert!(
        net == "llama-30b 4" && (0.055..0.065).contains(&error),
        "{net}: {error}"
    );
}

#[test]
fn what_misses_four_percent_of_decode_steps_misses_by_this_much() {
    let mut rows = Rows::new();
    // Deviation: half of the points do not identify the terms of one net, and predict the others'
    // within 4.1% on average.
    let nets = a100_llama();
    let halves = nets
        .iter()
        .map(|net| held_out(net, &DECODE, 2, by_point(2)));
    let identified: Vec<Vec<Prediction>> = halves.filter_map(Result::ok).collect();
    assert_eq!(identified.len(), nets.len() - 1);
    let predictions: Vec<Prediction> = identified.into_iter().flatten().collect();
    let errors = rows.add("decode step", "half of the points", &predictions);
    assert!((0.04..0.044).contains(&errors.mean), "{errors}");

    // Deviation: shares that were not in the fit are predicted within 4.7% on average.
    let predictions = all_held_out(&DECODE, 6, by_share);
    let errors = rows.add("decode step", "each share", &predictions);
    assert!((0.04..0.05).contains(&errors.mean), "{errors}");
    rows.print();
}

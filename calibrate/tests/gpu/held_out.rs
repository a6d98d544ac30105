//! Laws predict published times that were held out from their fits.
//!
//! Folds are by a hash of what names a point, so none was chosen. What misses a goal is asserted to
//! be as large as it is: see the deviations below.

use calibrate::gpu::fit::FitError;
use calibrate::gpu::held_out::{Errors, fold_of, held_out};
use calibrate::gpu::interference::{Interference, PairPoint};
use calibrate::gpu::parts::share_errors;
use calibrate::gpu::share::{ShareLaw, SharePoint};
use calibrate::gpu::tables::{LanguageNet, V100_NETS, a100_llama, v100_pairs, v100_solo};
use calibrate::gpu::tokens::{DecodeLaw, PrefillLaw, TokenPoint};

/// Predictions with measurements.
type Pairs = Vec<(f64, f64)>;

fn report(what: &str, pairs: &[(f64, f64)]) -> Errors {
    let errors = Errors::of(pairs);
    eprintln!("{what:44} {errors}");
    errors
}

fn alone(train: &[SharePoint], test: &[SharePoint]) -> Result<Pairs, FitError> {
    let law = ShareLaw::fit(train)?.law;
    let pairs = test
        .iter()
        .map(|p| (law.expected(p.batch, p.share), p.time));
    Ok(pairs.collect())
}

#[test]
fn a_net_alone_is_predicted_within_three_percent() {
    let (mut batches, mut shares) = (Vec::new(), Vec::new());
    for (name, points) in V100_NETS.iter().zip(v100_solo()) {
        for k in [2, 3, 5, 8] {
            let errors = share_errors(name, &points, k).unwrap();
            eprintln!("{:44} {errors}", format!("{name} alone, {k} folds"));
            assert!(errors.mean <= 0.03, "{name}: {errors}");
        }
        let by_batch = |p: &SharePoint| p.batch as usize % 3;
        batches.extend(held_out(&points, 3, by_batch, alone).unwrap());
        // Shares are multiples of a tenth.
        let by_share = |p: &SharePoint| (10.0 * p.share).round() as usize;
        shares.extend(held_out(&points, 11, by_share, alone).unwrap());
    }
    assert!(report("alone, batches held out", &batches).mean <= 0.03);
    assert!(report("alone, shares held out", &shares).mean <= 0.03);
}

#[test]
fn pairs_are_predicted_within_three_percent_and_eight_for_nine_of_ten() {
    let laws = v100_solo().map(|points| ShareLaw::fit(&points).unwrap().law);
    let points = v100_pairs();
    let side_by_side = |train: &[PairPoint], test: &[PairPoint]| {
        let (law, _) = Interference::fit(&laws, train)?;
        let pairs = test.iter().flat_map(|p| {
            let expected = law.expected(&laws, &p.nets);
            [0, 1].map(|i| (expected[i], p.times[i]))
        });
        Ok::<Pairs, FitError>(pairs.collect())
    };
    let batches = |p: &PairPoint| {
        let [a, b] = p.nets;
        format!("{} {} {} {}", a.net, a.batch, b.net, b.batch)
    };
    let none: Pairs = points
        .iter()
        .flat_map(|p| {
            let expected = p.nets.map(|n| laws[n.net].expected(n.batch, n.share));
            [0, 1].map(|i| (expected[i], p.times[i]))
        })
        .collect();
    report("pairs, as if each were alone", &none);
    for k in [2, 3, 5, 8] {
        let by_point = |p: &PairPoint| fold_of(&format!("{} {}", batches(p), p.nets[0].share), k);
        let pairs = held_out(&points, k, by_point, side_by_side).unwrap();
        let errors = report(&format!("pairs, {k} folds"), &pairs);
        assert!(errors.mean <= 0.03 && errors.p90 <= 0.08, "{errors}");
        let by_batches = |p: &PairPoint| fold_of(&batches(p), k);
        let pairs = held_out(&points, k, by_batches, side_by_side).unwrap();
        let errors = report(&format!("pairs, batches held out in {k} folds"), &pairs);
        assert!(errors.mean <= 0.03 && errors.p90 <= 0.08, "{errors}");
    }

    // Deviation: two nets that never ran together in the fit are predicted within 3.4% on average.
    // One lambda does not hold for all: overhead grows more beside some nets than beside others.
    let by_nets = |p: &PairPoint| 4 * p.nets[0].net + p.nets[1].net;
    let pairs = held_out(&points, 16, by_nets, side_by_side).unwrap();
    let errors = report("pairs, nets held out", &pairs);
    assert!((0.03..0.037).contains(&errors.mean) && errors.p90 <= 0.08);
}

fn prefill(train: &[TokenPoint], test: &[TokenPoint]) -> Result<Pairs, FitError> {
    let law = PrefillLaw::fit(train)?.0;
    let expected = |p: &TokenPoint| law.expected(p.batch, p.length, p.share);
    Ok(test.iter().map(|p| (expected(p), p.prefill)).collect())
}

fn decode(train: &[TokenPoint], test: &[TokenPoint]) -> Result<Pairs, FitError> {
    let law = DecodeLaw::fit(train)?.0;
    let expected = |p: &TokenPoint| law.expected(p.batch, p.length, p.share);
    Ok(test.iter().map(|p| (expected(p), p.decode)).collect())
}

/// Predictions for all nets at shares that were held out from the fits.
fn other_shares(
    nets: &[LanguageNet],
    predict: fn(&[TokenPoint], &[TokenPoint]) -> Result<Pairs, FitError>,
) -> Pairs {
    let mut all = Vec::new();
    for net in nets {
        // Shares are multiples of a fifth.
        let by_share = |p: &TokenPoint| (5.0 * p.share).round() as usize;
        let pairs = held_out(&net.points, 6, by_share, predict);
        all.extend(pairs.expect("three shares identify the law"));
    }
    all
}

/// Predictions for all nets in `k` folds, and how many nets had a fold that was refused.
fn tokens(
    nets: &[LanguageNet],
    k: usize,
    predict: fn(&[TokenPoint], &[TokenPoint]) -> Result<Pairs, FitError>,
) -> (Pairs, usize) {
    let (mut all, mut refused) = (Vec::new(), 0);
    for net in nets {
        let fold = |p: &TokenPoint| {
            let name = [net.name.clone(), net.gpus.to_string()].join(" ");
            fold_of(&format!("{name} {} {} {}", p.batch, p.length, p.share), k)
        };
        match held_out(&net.points, k, fold, predict) {
            Ok(pairs) => all.extend(pairs),
            Err(error) => {
                eprintln!("{} on {} GPUs, {k} folds: {error}", net.name, net.gpus);
                refused += 1;
            }
        }
    }
    (all, refused)
}

#[test]
fn prefills_are_predicted_within_four_percent() {
    let nets = a100_llama();
    for k in [2, 8] {
        let (pairs, refused) = tokens(&nets, k, prefill);
        let errors = report(&format!("prefill, {k} folds"), &pairs);
        assert!(errors.mean <= 0.04 && refused == 0, "{errors}");
    }
    report("prefill, shares held out", &other_shares(&nets, prefill));
}

#[test]
fn decode_steps_are_predicted_within_four_percent() {
    let nets = a100_llama();
    let (pairs, refused) = tokens(&nets, 8, decode);
    let errors = report("decode, 8 folds", &pairs);
    assert!(errors.mean <= 0.04 && refused == 0, "{errors}");

    report("decode, shares held out", &other_shares(&nets, decode));

    // Deviation: half of the points, some 80 for the 8 terms of a net, are too few. They do not
    // identify the terms of one net, and predict the others' within 4.1% on average.
    let (pairs, refused) = tokens(&nets, 2, decode);
    let errors = report("decode, 2 folds", &pairs);
    assert!(
        (0.04..0.044).contains(&errors.mean) && refused == 1,
        "{errors}"
    );
}

//! Times that cannot identify a law are refused, or the law does without what they do not show.

use calibrate::gpu::interference::{Intensity, Interference};
use calibrate::gpu::share::ShareLaw;
use calibrate::gpu::tables::Table;
use calibrate::gpu::tokens::PrefillLaw;

use crate::recovery::{RESNET, SHARES, VGG, alone, pairs, tokens};

#[test]
fn one_share_does_not_tell_overhead_from_compute() {
    let batches: Vec<f64> = (1..=32).map(f64::from).collect();
    let error = ShareLaw::fit(&alone(&RESNET, &batches, &[0.5], 0)).unwrap_err();
    insta::assert_snapshot!(error, @"fit: the data cannot identify o_0, o_1, c_0, c_1; add measurements in which they differ, such as other batches and shares");
}

#[test]
fn one_batch_does_not_tell_base_from_slope() {
    let shares: Vec<f64> = (1..=20).map(|n| f64::from(n) / 20.0).collect();
    let error = ShareLaw::fit(&alone(&RESNET, &[8.0], &shares, 0)).unwrap_err();
    insta::assert_snapshot!(error, @"fit: the data cannot identify o_0, o_1, c_0, c_1; add measurements in which they differ, such as other batches and shares");
}

#[test]
fn five_times_are_too_few() {
    let error = ShareLaw::fit(&alone(&RESNET, &[1.0], &SHARES[..5], 0)).unwrap_err();
    insta::assert_snapshot!(error, @"fit 5 terms: 5 observations, at least 6 are needed");
}

#[test]
fn a_time_of_zero_is_refused() {
    let mut points = alone(&RESNET, &[1.0, 8.0], &SHARES, 0);
    points[3].time = 0.0;
    let error = ShareLaw::fit(&points).unwrap_err();
    insta::assert_snapshot!(error, @"fit to observation 3: 0 is not a positive number");
}

#[test]
fn batches_that_fill_the_gpu_show_no_limit_of_parallelism() {
    let batches: Vec<f64> = (2..=32).map(f64::from).collect();
    let law = ShareLaw::fit(&alone(&RESNET, &batches, &SHARES, 0))
        .unwrap()
        .law;
    assert_eq!((law.filling_batch, law.parallelism(1.0)), (0.0, 1.0));
}

#[test]
fn one_batch_does_not_tell_intensity_from_its_half() {
    let law = Interference {
        overhead: 0.2,
        exponent: 0.5,
        nets: vec![
            Intensity {
                most: 0.2,
                half: 2.0,
            };
            2
        ],
    };
    let error = Interference::fit(&[RESNET, VGG], &pairs(&law, &[8.0], 0)).unwrap_err();
    insta::assert_snapshot!(error, @"fit: the data cannot identify lambda, gamma, w_0, beta_0, w_1, beta_1; add measurements in which they differ, such as other batches and shares");
}

#[test]
fn one_share_does_not_tell_overhead_from_compute_of_a_prefill() {
    // Of a decode step it does: only batches that are large enough wait for compute.
    let mut points = tokens(0);
    points.retain(|p| p.share > 0.9);
    let error = PrefillLaw::fit(&points).unwrap_err();
    insta::assert_snapshot!(error, @"fit: the data cannot identify o_tok, c_tok; add measurements in which they differ, such as other batches and shares");
}

#[test]
fn tables_that_are_not_well_formed_are_refused() {
    let no_columns = Table::parse("t", "# only this\n").unwrap_err();
    insta::assert_snapshot!(no_columns, @"read table t: it has no line of column names");
    let ragged = Table::parse("t", "a,b\n1,2\n3\n").unwrap_err();
    insta::assert_snapshot!(ragged, @"read table t: `3` has 1 values, 2 are needed");
    let table = Table::parse("t", "a,b\n1,x\n").unwrap();
    let row = table.rows().next().unwrap();
    insta::assert_snapshot!(row.number("c").unwrap_err(), @"read table t: it has no column `c`");
    insta::assert_snapshot!(row.number("b").unwrap_err(), @"read table t: `x` in column `b` is not a number");
}

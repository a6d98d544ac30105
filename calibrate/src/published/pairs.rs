//! Convolutional nets on a V100, each alone and in pairs.

use std::collections::BTreeMap;

use schema::profile::{Direction, Parameter, Profile, parameter};

use super::bench::{bare_gpu, known, percent, served, split, with_weights};
use super::study::{Level, Study, profile_file, time};
use super::{File, OF_V100, StudyError};
use crate::gpu::held_out::Errors;
use crate::gpu::interference::{Interference, PairPoint};
use crate::gpu::parts::{estimated, significant};
use crate::gpu::share::{FittedShareLaw, ShareLaw, SharePoint};
use crate::gpu::tables::V100_NETS;
use crate::spread::scatter;

/// Weights of each of [`V100_NETS`]: torchvision's nets, and SSD of 300 pixels (Liu et al., 2016).
const V100_WEIGHTS: [f64; 4] = [61.1e6, 25.6e6, 143.7e6, 26.3e6];

/// What names a point of a net alone.
pub(super) fn share_name(net: &str, p: &SharePoint) -> String {
    format!("{net} {} {}", p.batch, p.share)
}

/// What names a pair.
pub(super) fn pair_name(p: &PairPoint) -> String {
    let [a, b] = p.nets;
    format!("{} {} {} {} {}", a.net, a.batch, b.net, b.batch, a.share)
}

/// Passes of the slower net of a pair that are simulated: so many that what is left of the last one when
/// the other net is done matters little.
const PASSES: f64 = 30.0;

/// Four convolutional nets on a V100 under MPS, each alone and in pairs. Half of both is held out.
pub(super) fn v100(solo: &[Vec<SharePoint>], pairs: &[PairPoint]) -> Result<[File; 3], StudyError> {
    let mut fitted: Vec<FittedShareLaw> = Vec::new();
    let mut errors = Vec::new();
    let mut scatters = Vec::new();
    let mut spread = BTreeMap::new();
    for (net, points) in V100_NETS.iter().zip(solo) {
        let (train, test) = split(points, OF_V100.folds[0], |p| share_name(net, p));
        let one = ShareLaw::fit(&train)?;
        let test = test.iter();
        let test = test.map(|p| (one.law.expected(p.batch, p.share), p.time));
        errors.push(Errors::of(&test.collect::<Vec<_>>()));
        let residuals = train.iter();
        let residuals = residuals.map(|p| (one.law.expected(p.batch, p.share) / p.time).ln());
        scatters.push(scatter(
            &residuals.collect::<Vec<_>>(),
            one.fit.n_terms() as f64,
        ));
        let error = significant(one.fit.expected_error());
        let direction = Direction::from([(format!("v100-mps/{net}"), error)]);
        spread.insert(format!("{net} alone"), direction);
        fitted.push(one);
    }
    let laws: Vec<ShareLaw> = fitted.iter().map(|one| one.law).collect();
    let (train, _) = split(pairs, OF_V100.folds[0], pair_name);
    let (interference, fit) = Interference::fit(&laws, &train)?;
    let residuals = train.iter().flat_map(|p| {
        let expected = interference.expected(&laws, &p.nets);
        [0, 1].map(|i| (expected[i] / p.times[i]).ln())
    });
    let of_pairs = scatter(&residuals.collect::<Vec<_>>(), fit.n_terms() as f64);
    let source = "fitted to half of the times of iGniter (IEEE TPDS 2023), TensorRT under MPS: alone, table \
                  v100-mps-solo; intensity from pairs, table v100-mps-pairs";
    let nets = V100_NETS.iter().enumerate().map(|(index, name)| {
        let net = fitted[index].net(Some(&interference.nets[index]), &errors[index], source);
        (
            (*name).to_owned(),
            with_weights(net, V100_WEIGHTS[index], 4.0),
        )
    });
    let paper = "NVIDIA, Tesla V100 GPU Architecture, white paper WP-08608-001, 2017";
    let of_half = |term: &str| Parameter {
        source: "fitted to half of the pairs of iGniter (IEEE TPDS 2023), table v100-mps-pairs"
            .to_owned(),
        ..estimated(&fit, term)
    };
    let parameters = [
        (parameter::SMS, known(80.0, "1", paper)),
        (parameter::THREADS_PER_SM, known(2048.0, "1", paper)),
        (parameter::INTERFERENCE_EXPONENT, of_half("gamma")),
        (parameter::OVERHEAD_INTERFERENCE, of_half("lambda")),
    ];
    let profile = Profile {
        spread,
        ..bare_gpu("v100-mps", &parameters, nets.collect())
    };
    let profiles = ["../profiles/ideal.toml", "../profiles/v100-mps.toml"];
    let measured = "Measured for iGniter (IEEE TPDS 2023, repository icloud-ecnu/igniter) with TensorRT. Half of the points of each net alone and half of the pairs are held out from the fit, by a hash of what names a point; shown are every eighth of these and every eighth of the others.";
    let alone = Study {
        path: "validation/v100-mps-alone.toml",
        name: "v100-mps-alone",
        about: &[
            "Convolutional nets on a V100, each alone, by batch and share of the multiprocessors (MPS). A request takes as long as the forward pass of its batch.",
            measured,
        ],
        scenario: "../mps/alone.toml",
        profiles: &profiles,
        set: "\"hosts.server.gpus.0.part\" = \"v100-mps\"",
        factor: "load",
        draws: 20,
    };
    let beside = Study {
        path: "validation/v100-mps-pairs.toml",
        name: "v100-mps-pairs",
        about: &[
            "Two convolutional nets side by side on a V100, each by batch and share of the multiprocessors (MPS) and without a pause. A request takes as long as the forward pass of its batch.",
            measured,
        ],
        scenario: "../mps/pair.toml",
        profiles: &profiles,
        set: "\"hosts.server.gpus.0.part\" = \"v100-mps\"",
        factor: "load",
        draws: 8,
    };
    Ok([
        profile_file("profiles/v100-mps.toml", &profile),
        alone.file(&alone_levels(solo, &scatters)),
        beside.file(&pair_levels(pairs, of_pairs)),
    ])
}

/// Nets alone that the study shows.
fn alone_levels(solo: &[Vec<SharePoint>], scatters: &[f64]) -> Vec<Level> {
    let nets = V100_NETS.iter().zip(solo).zip(scatters);
    let singles = nets.flat_map(|((net, points), scatter)| {
        let marks = OF_V100.of(points.iter().map(|p| share_name(net, p)));
        points.iter().zip(marks).filter_map(move |(p, mark)| {
            Some(Level {
                is_held_out: mark?,
                label: format!("{net}, {}, {}", p.batch, percent(p.share)),
                set: served(net, (p.batch, p.share), "net", 0),
                measured: format!("measured = {{ mean = {} }}", time(p.time, 1e-3, "ms")),
                scatter: ("mean", *scatter),
            })
        })
    });
    singles.collect()
}

/// Pairs that the study shows.
fn pair_levels(pairs: &[PairPoint], scatter: f64) -> Vec<Level> {
    let marks = OF_V100.of(pairs.iter().map(pair_name));
    let both = pairs.iter().zip(marks).filter_map(|(p, mark)| {
        let is_held_out = mark?;
        let names = p.nets.map(|net| V100_NETS[net.net]);
        let [first, second] = [0, 1].map(|i| {
            let net = p.nets[i];
            format!("{} {} at {}", names[i], net.batch, percent(net.share))
        });
        let stages = ["first", "second"];
        let sets = [0, 1].map(|i| {
            let net = p.nets[i];
            served(names[i], (net.batch, net.share), stages[i], i)
        });
        let slower = p.times[0].max(p.times[1]);
        let length = |passes: f64| time((1e3 * passes * slower).ceil(), 1.0, "ms");
        Some(Level {
            label: format!("{first}, {second}"),
            set: format!(
                "{}, {}, \"run.warmup.time\" = {}, \"run.measure.time\" = {}",
                sets[0],
                sets[1],
                length(0.1 * PASSES),
                length(PASSES)
            ),
            measured: format!(
                "measured-groups = {{ first = {{ mean = {} }}, second = {{ mean = {} }} }}",
                time(p.times[0], 1e-3, "ms"),
                time(p.times[1], 1e-3, "ms")
            ),
            scatter: ("mean", scatter),
            is_held_out,
        })
    });
    both.collect()
}

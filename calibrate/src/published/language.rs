//! Language nets on A100s: prefill and decode.

use std::collections::BTreeMap;

use schema::gpu::GpuNet;
use schema::profile::{Direction, Profile, parameter};

use super::bench::{bare_gpu, known, percent, served, split, with_weights};
use super::study::{Level, Study, profile_file, time};
use super::{File, OF_A100, StudyError};
use crate::gpu::fit::{Fit, FitError};
use crate::gpu::held_out::Errors;
use crate::gpu::parts::significant;
use crate::gpu::tables::LanguageNet;
use crate::gpu::tokens::{DRAM_OCCUPANCY, DecodeLaw, PrefillLaw, TokenPoint};
use crate::spread::scatter;

/// Of each language net the one on the fewest GPUs.
fn on_fewest_gpus(all: &[LanguageNet]) -> Vec<&LanguageNet> {
    let mut nets: Vec<&LanguageNet> = Vec::new();
    for net in all {
        match nets.iter_mut().find(|known| known.name == net.name) {
            Some(known) if known.gpus <= net.gpus => {}
            Some(known) => *known = net,
            None => nets.push(net),
        }
    }
    nets
}

/// What names a point of a language net.
pub(super) fn token_name(net: &LanguageNet, p: &TokenPoint) -> String {
    format!(
        "{} {} {} {} {}",
        net.name, net.gpus, p.batch, p.length, p.share
    )
}

/// What the profile calls a step of a net with sequences of this many tokens.
fn token_net(net: &LanguageNet, step: &str, length: f64) -> String {
    format!("{}-{step}@{length}", net.name)
}

/// Weights of a language net (Touvron et al., "LLaMA: Open and Efficient Foundation Language Models",
/// 2023, table 2).
fn n_weights(net: &LanguageNet) -> f64 {
    match net.name.as_str() {
        "llama-7b" => 6.7e9,
        "llama-13b" => 13.0e9,
        "llama-30b" => 32.5e9,
        "llama-65b" => 65.2e9,
        other => unreachable!("the table has no net {other}"),
    }
}

/// Largest batch of a language net that was measured.
const LARGEST_BATCH: f64 = 2048.0;

/// A fitted law of a step: what a point takes, and the net of sequences of a length, whose error is that
/// on the points held out.
struct Step {
    expected: Box<dyn Fn(&TokenPoint) -> f64>,
    net: NetOf,
    fit: Fit,
}

/// The net of sequences of a length.
type NetOf = Box<dyn Fn(f64, &Errors) -> GpuNet>;

/// A step by its name, with the points that it was fitted to and those held out from that, and where a
/// point says what it took.
type Named = (
    &'static str,
    Step,
    [Vec<TokenPoint>; 2],
    fn(&TokenPoint) -> f64,
);

fn prefill(points: &[TokenPoint]) -> Result<Step, FitError> {
    let (law, fit) = PrefillLaw::fit(points)?;
    let samples = fit.samples;
    Ok(Step {
        fit,
        expected: Box::new(move |p| law.expected(p.batch, p.length, p.share)),
        net: Box::new(move |length, errors| law.net(length, LARGEST_BATCH, samples, errors)),
    })
}

fn decode(points: &[TokenPoint], bandwidth: f64) -> Result<Step, FitError> {
    let (law, fit) = DecodeLaw::fit(points)?;
    let samples = fit.samples;
    Ok(Step {
        fit,
        expected: Box::new(move |p| law.expected(p.batch, p.length, p.share)),
        net: Box::new(move |length, errors| {
            law.net(length, bandwidth, LARGEST_BATCH, samples, errors)
        }),
    })
}

/// LLaMA on A100s under MPS, each net on the fewest GPUs that it was measured on.
pub(super) fn a100(all: &[LanguageNet]) -> Result<[File; 2], StudyError> {
    let sheet = "NVIDIA A100 data sheet, 2021-06";
    let bandwidth = 2.039e12;
    let mut nets = BTreeMap::new();
    let mut spread = BTreeMap::new();
    let mut levels = Vec::new();
    for net in on_fewest_gpus(all) {
        let name = |p: &TokenPoint| token_name(net, p);
        let [halves, eighths] = OF_A100.folds.map(|k| split(&net.points, k, name));
        let steps: [Named; 2] = [
            ("prefill", prefill(&halves.0)?, halves.into(), |p| p.prefill),
            (
                "decode",
                decode(&eighths.0, bandwidth)?,
                eighths.into(),
                |p| p.decode,
            ),
        ];
        for (step, law, [fitted_to, held_out], measured) in &steps {
            let residuals = fitted_to.iter();
            let residuals = residuals.map(|p| ((law.expected)(p) / measured(p)).ln());
            let scatter = scatter(&residuals.collect::<Vec<_>>(), law.fit.n_terms() as f64);
            let mut direction = Direction::new();
            let pairs = held_out.iter().map(|p| ((law.expected)(p), measured(p)));
            let errors = Errors::of(&pairs.collect::<Vec<_>>());
            let marks = OF_A100.of(net.points.iter().map(name));
            for (p, mark) in net.points.iter().zip(marks) {
                let key = token_net(net, step, p.length);
                let number = format!("a100-mps/{key}");
                direction.insert(number, significant(law.fit.expected_error()));
                let made = nets.entry(key.clone());
                made.or_insert_with(|| {
                    with_weights((law.net)(p.length, &errors), n_weights(net), 2.0)
                });
                let Some(is_held_out) = mark else {
                    continue;
                };
                levels.push(Level {
                    label: format!(
                        "{} on {}, {step}, {} of {} tokens, {}",
                        net.name,
                        net.gpus,
                        p.batch,
                        p.length,
                        percent(p.share)
                    ),
                    set: served(&key, (p.batch, p.share), "net", 0),
                    measured: format!("measured = {{ mean = {} }}", time(measured(p), 1e-3, "ms")),
                    scatter: ("mean", scatter),
                    is_held_out,
                });
            }
            spread.insert(format!("{} {step}", net.name), direction);
        }
    }
    let parameters = [
        (parameter::SMS, known(108.0, "1", sheet)),
        (parameter::THREADS_PER_SM, known(2048.0, "1", sheet)),
        (parameter::DRAM_BANDWIDTH, known(bandwidth, "B/s", sheet)),
        (
            parameter::DRAM_OCCUPANCY,
            known(
                DRAM_OCCUPANCY,
                "1",
                "assumed by the fit, calibrate/METHODOLOGY.md",
            ),
        ),
    ];
    let profile = Profile {
        spread,
        ..bare_gpu("a100-mps", &parameters, nets)
    };
    let study = Study {
        path: "validation/a100-mps.toml",
        name: "a100-mps",
        about: &[
            "LLaMA on A100s under a share of the multiprocessors (MPS): the prefill of a batch of prompts, and a decode step after it. Each net on the fewest GPUs that it was measured on; the one GPU of the scenario stands for all that a layer is divided over. A request takes as long as the forward pass of its batch.",
            "Measured for MuxServe (ICML 2024, repository hao-ai-lab/MuxServe, Apache-2.0). Half of the prefills and an eighth of the decode steps are held out from the fit, in folds by a hash of what names a point; shown are every other point that is held out from both, and every eighth that is held out from neither.",
        ],
        scenario: "../mps/alone.toml",
        profiles: &["../profiles/ideal.toml", "../profiles/a100-mps.toml"],
        set: "\"hosts.server.gpus.0.part\" = \"a100-mps\"",
        factor: "load",
        draws: 20,
    };
    Ok([
        profile_file("profiles/a100-mps.toml", &profile),
        study.file(&levels),
    ])
}

//! Published measurements as validation studies.
//!
//! Of each, some points are held out, by the rule of the tests that judge the law: what is left is
//! fitted and becomes a profile, and a study lays points of both kinds beside what the engine finds
//! with it. Points of nets are in folds by a hash of what names them ([`fold_of`]), of which the first
//! is held out, and of each kind every so many are shown ([`Shown`]). The example `published_studies`
//! writes the files.
//!
//! What is left out: points are means, or typical times, so nothing is said of how they vary.

use std::collections::BTreeMap;
use std::fmt::Write;

use schema::gpu::GpuNet;
use schema::profile::{CostLaw, Driver, Parameter, Part, PartKind, Profile, cost, parameter};

use crate::gpu::fit::{Fit, FitError};
use crate::gpu::held_out::{Errors, fold_of};
use crate::gpu::interference::{Interference, PairPoint};
use crate::gpu::parts::{estimated, exact, profile, rounded, significant};
use crate::gpu::share::{FittedShareLaw, ShareLaw, SharePoint};
use crate::gpu::tables::{LanguageNet, TableError, V100_NETS, a100_llama, v100_pairs, v100_solo};
use crate::gpu::tokens::{DRAM_OCCUPANCY, DecodeLaw, PrefillLaw, TokenPoint};
use crate::nic::{self, CX6, LatencyPoint, NicFitError, NicLaw};

/// Which points of a table a study shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shown {
    /// Fewest and most folds of the fits that it is about, the latter a multiple of the former: the first
    /// fold of the most is held out from every fit, and what is not in the first of the fewest from none.
    folds: [usize; 2],
    /// Of how many points that are held out from every fit one is shown, and of how many that are held
    /// out from none, each in the order of the table.
    every: [usize; 2],
}

/// Of nets on a V100, alone and in pairs.
const OF_V100: Shown = Shown {
    folds: [2, 2],
    every: [8, 8],
};
/// Of language nets. Half of the prefills is held out, but an eighth of the decode steps, since half does
/// not tell the terms of every net apart.
const OF_A100: Shown = Shown {
    folds: [2, 8],
    every: [2, 8],
};

impl Shown {
    /// For each point with these names whether it is held out, or `None` if it is not shown.
    fn of(self, names: impl IntoIterator<Item = String>) -> Vec<Option<bool>> {
        let [fewest, most] = self.folds;
        let mut seen = [0, 0];
        let marks = names.into_iter().map(|name| {
            let is_held_out = fold_of(&name, most) == 0;
            if !is_held_out && fold_of(&name, fewest) == 0 {
                return None;
            }
            let kind = usize::from(!is_held_out);
            seen[kind] += 1;
            ((seen[kind] - 1) % self.every[kind] == 0).then_some(is_held_out)
        });
        marks.collect()
    }
}

/// A file of a scenario folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Where it belongs, relative to the folder.
    pub path: &'static str,
    /// What is in it.
    pub text: String,
}

/// Why there is no study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A net cannot be fitted.
    #[error(transparent)]
    Net(#[from] FitError),
    /// A network adapter cannot be fitted.
    #[error(transparent)]
    Nic(#[from] NicFitError),
}

/// Every profile and study.
///
/// # Errors
/// If a table cannot be read or fitted; they can.
pub fn files() -> Result<Vec<File>, StudyError> {
    let mut files = Vec::from(adapter(&nic::cx6()?)?);
    files.extend(a100(&a100_llama())?);
    files.extend(v100(&v100_solo(), &v100_pairs())?);
    Ok(files)
}

/// Range of a law that holds for any driver.
const EVERY: [f64; 2] = [0.0, 1e18];
/// Source of what was known of the adapter's measurement before the fit.
const KNOWN: &str = "known beforehand, calibrate/src/nic.rs";

/// What a file says first.
const HEAD: &str = "# Written by `cargo run --release -p tandem-calibrate --example published_studies -- scenarios`.\n";

/// A profile in its file.
fn profile_file(path: &'static str, profile: &Profile) -> File {
    let text = format!(
        "{HEAD}# How it was fitted: calibrate/METHODOLOGY.md.\n{}",
        profile.to_toml()
    );
    File { path, text }
}

/// A level of a study.
struct Level {
    label: String,
    /// The value of `set`.
    set: String,
    /// The key of what was measured, and its value.
    measured: String,
    is_held_out: bool,
}

/// A study of one factor.
struct Study<'a> {
    path: &'static str,
    name: &'a str,
    about: &'a [&'a str],
    scenario: &'a str,
    profiles: &'a [&'a str],
    /// Keys of the scenario at every level, and their values.
    set: &'a str,
    factor: &'a str,
}

impl Study<'_> {
    /// It with these levels, in its file. Nothing in it is random, so replications are the fewest.
    fn file(&self, levels: &[Level]) -> File {
        let Study { path, name, .. } = *self;
        let quoted = |all: &[&str], between: &str| {
            let all: Vec<String> = all.iter().map(|text| format!("\"{text}\"")).collect();
            all.join(between)
        };
        let mut text = format!(
            "{HEAD}format = 1\nname = \"{name}\"\nabout = [\n    {},\n]\nscenario = \"{}\"\nprofiles = [{}]\nreplications = 2\nset = {{ {} }}\n\n[[factors]]\nname = \"{}\"\nlevels = [\n",
            quoted(self.about, ",\n    "),
            self.scenario,
            quoted(self.profiles, ", "),
            self.set,
            self.factor,
        );
        for level in levels {
            let held_out = if level.is_held_out {
                ", held-out = true"
            } else {
                ""
            };
            writeln!(
                text,
                "    {{ label = \"{}\", set = {{ {} }}, {}{held_out} }},",
                level.label, level.set, level.measured
            )
            .expect("text can be written to");
        }
        text += "]\n";
        File { path, text }
    }
}

/// A time as a quantity, in a unit of so many seconds.
fn time(seconds: f64, unit: f64, name: &str) -> String {
    let text = format!("{:.5}", seconds / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("\"{text} {name}\"")
}

/// A network adapter: every other size is held out, the first of them first.
fn adapter(points: &[LatencyPoint]) -> Result<[File; 2], StudyError> {
    let is_held_out = |index: usize| index % 2 == 0;
    let fitted_to: Vec<LatencyPoint> = (points.iter().enumerate())
        .filter(|(index, _)| !is_held_out(*index))
        .map(|(_, point)| *point)
        .collect();
    let fitted = NicLaw::fit(&fitted_to, &CX6)?;
    let mut law = fitted.law;
    for figure in [&mut law.constant, &mut law.fetch, &mut law.pcie] {
        *figure = significant(*figure);
    }
    let source =
        "fitted to every other size of a posted log of ib_write_lat, table ib-write-lat-cx6";
    let mut profile = law.profile(&CX6, source);
    "ib-write-lat-cx6".clone_into(&mut profile.name);
    let [constant, fetch, pcie] = fitted.errors;
    for (name, figure) in profile
        .parts
        .values_mut()
        .flat_map(|part| &mut part.parameters)
    {
        let error = match name.as_str() {
            // Half of the constant's, as of its value.
            parameter::NIC_LATENCY => constant / 2.0,
            parameter::DMA_READ_LATENCY => fetch,
            parameter::PCIE_BANDWIDTH => pcie,
            parameter::BURST => 0.0,
            _ => {
                KNOWN.clone_into(&mut figure.source);
                0.0
            }
        };
        figure.standard_error = significant(error);
        let reach = 1.96 * figure.standard_error;
        figure.range = Some([figure.value - reach, figure.value + reach]);
    }
    for law in profile
        .parts
        .values_mut()
        .flat_map(|part| part.costs.values_mut())
    {
        law.range = EVERY;
        let is_free = law.base <= 0.0 && law.slope <= 0.0;
        let source = if is_free { "by definition" } else { KNOWN };
        source.clone_into(&mut law.source);
    }
    let levels = points.iter().enumerate().map(|(index, point)| {
        let bytes = point.bytes;
        let there_and_back = time(2.0 * point.time, 1e-6, "us");
        Level {
            label: format!("{bytes} B"),
            set: format!(
                "\"stages.echo.serve.synthetic\" = {{ time = \"0 s\", input = \"{bytes} B\", output = \"{bytes} B\" }}"
            ),
            measured: format!("measured = {{ p50 = {there_and_back} }}"),
            is_held_out: is_held_out(index),
        }
    });
    let study = Study {
        path: "validation/ib-write-lat-cx6.toml",
        name: "ib-write-lat-cx6",
        about: &[
            "Messages between two ConnectX-6 of 200 Gbit/s through a switch. ib_write_lat sends a message to and fro and prints half a round trip; here a request is a message there and one of its size back, so that what is compared is twice the printed figure (its typical one, the median) with the time of a request. Half of both is the one-way latency, and errors are the same.",
            "A user's posted log of perftest. The adapter of the profile is fitted to every other size; the smallest and the largest are held out.",
        ],
        scenario: "../network/ping.toml",
        profiles: &["../profiles/ib-write-lat-cx6.toml"],
        set: "\"run.measure\" = { requests = 4 }",
        factor: "message",
    };
    let study = study.file(&levels.collect::<Vec<_>>());
    Ok([
        profile_file("profiles/ib-write-lat-cx6.toml", &profile),
        study,
    ])
}

/// A figure that is known without error, with its range.
fn known(value: f64, unit: &str, source: &str) -> Parameter {
    Parameter {
        range: Some([value; 2]),
        ..exact(value, unit, source)
    }
}

/// A net that keeps `parameters` of so many bytes each, and nothing else that is known.
fn with_weights(net: GpuNet, parameters: f64, bytes: f64) -> GpuNet {
    GpuNet {
        memory: parameters * bytes,
        source: format!(
            "{}; memory: weights alone, {parameters:e} of {bytes} B",
            net.source
        ),
        ..rounded(net)
    }
}

/// A GPU on which nothing but nets takes time, as a profile with one part called `name`.
fn bare_gpu(
    name: &str,
    parameters: &[(&str, Parameter)],
    nets: BTreeMap<String, GpuNet>,
) -> Profile {
    let free = |key: &str| {
        let source = "by definition: forward passes alone were measured";
        let law = CostLaw {
            range: EVERY,
            ..CostLaw::exact(Driver::Bytes, 0.0, 0.0, source)
        };
        (format!("{key}/pinned"), law)
    };
    let parameters = parameters.iter();
    let part = Part {
        kind: PartKind::Gpu,
        parameters: parameters
            .map(|(name, figure)| ((*name).to_owned(), figure.clone()))
            .collect(),
        costs: [cost::H2D, cost::D2H].map(free).into(),
        nets,
    };
    profile(name, part)
}

/// Keys of a stage, and of the clients that fill its batches, for a net that is served without a pause.
fn served(net: &str, (batch, share): (f64, f64), stage: &str, clients: usize) -> String {
    let percent = (100.0 * share).round();
    format!(
        "\"stages.{stage}.serve.profiled.name\" = \"{net}\", \"stages.{stage}.batch.max\" = {batch}, \"stages.{stage}.gpu.mps.percentage\" = {percent}, \"clients.{clients}.count\" = {batch}"
    )
}

/// A share in a label.
fn percent(share: f64) -> String {
    format!("{}%", (100.0 * share).round())
}

/// Points to fit to and points held out, the first of `k` folds.
fn split<P: Copy>(points: &[P], k: usize, name: impl Fn(&P) -> String) -> (Vec<P>, Vec<P>) {
    points
        .iter()
        .partition(|point| fold_of(&name(point), k) > 0)
}

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
fn token_name(net: &LanguageNet, p: &TokenPoint) -> String {
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

/// Weights of each of [`V100_NETS`]: torchvision's nets, and SSD of 300 pixels (Liu et al., 2016).
const V100_WEIGHTS: [f64; 4] = [61.1e6, 25.6e6, 143.7e6, 26.3e6];

/// Largest batch of a language net that was measured.
const LARGEST_BATCH: f64 = 2048.0;

/// A fitted law of a step: what a point takes, and the net of sequences of a length, whose error is that
/// on the points held out.
struct Step<'a> {
    expected: Box<dyn Fn(&TokenPoint) -> f64 + 'a>,
    net: Box<dyn Fn(f64, &Errors) -> GpuNet + 'a>,
}

fn prefill(points: &[TokenPoint]) -> Result<Step<'static>, FitError> {
    let (law, Fit { samples, .. }) = PrefillLaw::fit(points)?;
    Ok(Step {
        expected: Box::new(move |p| law.expected(p.batch, p.length, p.share)),
        net: Box::new(move |length, errors| law.net(length, LARGEST_BATCH, samples, errors)),
    })
}

fn decode(points: &[TokenPoint], bandwidth: f64) -> Result<Step<'static>, FitError> {
    let (law, Fit { samples, .. }) = DecodeLaw::fit(points)?;
    Ok(Step {
        expected: Box::new(move |p| law.expected(p.batch, p.length, p.share)),
        net: Box::new(move |length, errors| {
            law.net(length, bandwidth, LARGEST_BATCH, samples, errors)
        }),
    })
}

/// LLaMA on A100s under MPS, each net on the fewest GPUs that it was measured on.
fn a100(all: &[LanguageNet]) -> Result<[File; 2], StudyError> {
    let sheet = "NVIDIA A100 data sheet, 2021-06";
    let bandwidth = 2.039e12;
    let mut nets = BTreeMap::new();
    let mut levels = Vec::new();
    for net in on_fewest_gpus(all) {
        let name = |p: &TokenPoint| token_name(net, p);
        let [halves, eighths] = OF_A100.folds.map(|k| split(&net.points, k, name));
        let steps: [(&str, Step<'_>, Vec<TokenPoint>, fn(&TokenPoint) -> f64); 2] = [
            ("prefill", prefill(&halves.0)?, halves.1, |p| p.prefill),
            ("decode", decode(&eighths.0, bandwidth)?, eighths.1, |p| {
                p.decode
            }),
        ];
        for (step, law, held_out, measured) in &steps {
            let pairs = held_out.iter().map(|p| ((law.expected)(p), measured(p)));
            let errors = Errors::of(&pairs.collect::<Vec<_>>());
            let marks = OF_A100.of(net.points.iter().map(name));
            for (p, mark) in net.points.iter().zip(marks) {
                let key = token_net(net, step, p.length);
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
                    is_held_out,
                });
            }
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
    let profile = bare_gpu("a100-mps", &parameters, nets);
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
    };
    Ok([
        profile_file("profiles/a100-mps.toml", &profile),
        study.file(&levels),
    ])
}

/// What names a point of a net alone.
fn share_name(net: &str, p: &SharePoint) -> String {
    format!("{net} {} {}", p.batch, p.share)
}

/// What names a pair.
fn pair_name(p: &PairPoint) -> String {
    let [a, b] = p.nets;
    format!("{} {} {} {} {}", a.net, a.batch, b.net, b.batch, a.share)
}

/// Passes of the slower net of a pair that are simulated: so many that what is left of the last one when
/// the other net is done matters little.
const PASSES: f64 = 60.0;

/// Four convolutional nets on a V100 under MPS, each alone and in pairs. Half of both is held out.
fn v100(solo: &[Vec<SharePoint>], pairs: &[PairPoint]) -> Result<[File; 3], StudyError> {
    let mut fitted: Vec<FittedShareLaw> = Vec::new();
    let mut errors = Vec::new();
    for (net, points) in V100_NETS.iter().zip(solo) {
        let (train, test) = split(points, OF_V100.folds[0], |p| share_name(net, p));
        let one = ShareLaw::fit(&train)?;
        let test = test.iter();
        let test = test.map(|p| (one.law.expected(p.batch, p.share), p.time));
        errors.push(Errors::of(&test.collect::<Vec<_>>()));
        fitted.push(one);
    }
    let laws: Vec<ShareLaw> = fitted.iter().map(|one| one.law).collect();
    let (train, _) = split(pairs, OF_V100.folds[0], pair_name);
    let (interference, fit) = Interference::fit(&laws, &train)?;
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
    let profile = bare_gpu("v100-mps", &parameters, nets.collect());
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
    };
    let singles = V100_NETS.iter().zip(solo).flat_map(|(net, points)| {
        let marks = OF_V100.of(points.iter().map(|p| share_name(net, p)));
        points.iter().zip(marks).filter_map(move |(p, mark)| {
            Some(Level {
                is_held_out: mark?,
                label: format!("{net}, {}, {}", p.batch, percent(p.share)),
                set: served(net, (p.batch, p.share), "net", 0),
                measured: format!("measured = {{ mean = {} }}", time(p.time, 1e-3, "ms")),
            })
        })
    });
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
            is_held_out,
        })
    });
    Ok([
        profile_file("profiles/v100-mps.toml", &profile),
        alone.file(&singles.collect::<Vec<_>>()),
        beside.file(&both.collect::<Vec<_>>()),
    ])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// All files from tables in which the shown points that are `held_out`, or else those that are not,
    /// took a tenth longer.
    fn with_longer(held_out: bool) -> Vec<File> {
        let factor = |is_it: bool| if is_it { 1.1 } else { 1.0 };
        let mut sizes = nic::cx6().unwrap();
        for (index, point) in sizes.iter_mut().enumerate() {
            point.time *= factor((index % 2 == 0) == held_out);
        }
        let mut nets = a100_llama();
        for net in &mut nets {
            let marks = OF_A100.of(net.points.iter().map(|p| token_name(net, p)));
            for (p, mark) in net.points.iter_mut().zip(marks) {
                let factor = factor(mark == Some(held_out));
                p.prefill *= factor;
                p.decode *= factor;
            }
        }
        let mut solo = v100_solo();
        for (net, points) in V100_NETS.iter().zip(&mut solo) {
            let marks = OF_V100.of(points.iter().map(|p| share_name(net, p)));
            for (p, mark) in points.iter_mut().zip(marks) {
                p.time *= factor(mark == Some(held_out));
            }
        }
        let mut pairs = v100_pairs();
        let marks = OF_V100.of(pairs.iter().map(pair_name));
        for (p, mark) in pairs.iter_mut().zip(marks) {
            let factor = factor(mark == Some(held_out));
            p.times = p.times.map(|time| factor * time);
        }
        let mut files = Vec::from(adapter(&sizes).unwrap());
        files.extend(a100(&nets).unwrap());
        files.extend(v100(&solo, &pairs).unwrap());
        files
    }

    /// The profiles, without what they say of their errors on points held out.
    fn fitted(files: &[File]) -> Vec<String> {
        let profiles = files
            .iter()
            .filter(|file| file.path.starts_with("profiles/"));
        let lines = profiles.map(|file| {
            let lines = file.text.lines();
            let lines: Vec<&str> = lines
                .filter(|line| !line.starts_with("held-out-error"))
                .collect();
            lines.join("\n")
        });
        lines.collect()
    }

    #[test]
    fn files_are_as_they_were_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        for file in files().unwrap() {
            let found = fs::read_to_string(folder.join(file.path)).unwrap();
            assert!(
                found == file.text,
                "{}: write it again, as its head says",
                file.path
            );
        }
    }

    #[test]
    fn profiles_depend_on_nothing_that_is_held_out_and_on_all_else() {
        let all = fitted(&files().unwrap());
        assert_eq!(all.len(), 3);
        assert_eq!(fitted(&with_longer(true)), all);
        for (other, one) in fitted(&with_longer(false)).iter().zip(&all) {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn studies_show_both_kinds_of_every_table() {
        for file in files().unwrap() {
            if file.path.starts_with("validation/") {
                let levels = file
                    .text
                    .lines()
                    .filter(|line| line.starts_with("    { label"));
                let held_out = levels
                    .clone()
                    .filter(|line| line.contains("held-out = true"));
                let part = held_out.count() as f64 / levels.count() as f64;
                assert!((0.3..0.7).contains(&part), "{}: {part}", file.path);
            }
        }
    }
}

//! `tandem probe`: measures each part of this machine alone, a run per part.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use schema::scenario::Scenario;

use crate::cli::{Common, Probe};
use crate::failure::Failure;
use crate::placing::fit_to_machine;
use crate::progress::Steps;

/// A scenario that comes with the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builtin {
    /// Its file, in `scenarios/`.
    pub(super) path: &'static str,
    /// Its text.
    pub(super) text: &'static str,
}

macro_rules! builtin {
    ($path:literal) => {
        Builtin {
            path: $path,
            text: include_str!(concat!("../../scenarios/", $path)),
        }
    };
}
pub(super) use builtin;

/// Probes that do not depend on the net.
const GENERAL: [Builtin; 3] = [
    builtin!("probes/wire-tcp.toml"),
    builtin!("probes/wire-local.toml"),
    builtin!("probes/wire-proxied.toml"),
];

/// Probes of each net.
const OF_A_NET: [Builtin; 3] = [
    builtin!("probes/net.toml"),
    builtin!("probes/net-raw.toml"),
    builtin!("probes/contention.toml"),
];

/// Probes of a GPU: copies, and kernels of known work.
const GPU_COPIES: Builtin = builtin!("probes/gpu-copies.toml");
const GPU_KERNELS: Builtin = builtin!("probes/gpu-kernels.toml");
/// Sizes of copies: from where the fixed part of their cost is nearly all to where it is nearly none.
const COPIED: [&str; 5] = ["4 kB", "64 kB", "602112 B", "4 MB", "16 MB"];

/// A probe: the name of its run, its scenario, and what is set in it.
type Planned = (String, Builtin, Vec<String>);

/// The probes of a GPU, a run each size of copies and kind of host memory.
fn of_a_gpu() -> Vec<Planned> {
    let mut probes = vec![(stem(GPU_KERNELS.path), GPU_KERNELS, Vec::new())];
    for memory in ["pinned", "pageable"] {
        for size in COPIED {
            let stage = "stages.copy";
            let overrides = vec![
                format!("{stage}.gpu.host-memory=\"{memory}\""),
                format!("{stage}.serve.kernels.input=\"{size}\""),
                format!("{stage}.serve.kernels.output=\"{size}\""),
            ];
            let name = format!(
                "{}-{memory}-{}",
                stem(GPU_COPIES.path),
                size.replace(' ', "")
            );
            probes.push((name, GPU_COPIES, overrides));
        }
    }
    probes
}

pub(super) fn run(common: &Common, arguments: &Probe) -> Result<ExitCode, Failure> {
    let mut probes = Vec::new();
    for probe in GENERAL {
        probes.push((stem(probe.path), probe, Vec::new()));
    }
    for net in &arguments.nets {
        let (name, side) = net.split_once('@').ok_or_else(|| {
            anyhow::anyhow!("--net {net}: write it as name@side, such as resnet50@224")
        })?;
        for probe in OF_A_NET {
            let key = "stages.classify.serve.net";
            let overrides = vec![
                format!("{key}.name=\"{name}\""),
                format!("{key}.side={side}"),
            ];
            probes.push((format!("{}-{net}", stem(probe.path)), probe, overrides));
        }
    }
    if arguments.gpu {
        probes.extend(of_a_gpu());
    }
    let steps = Steps::new(common, probes.len());
    for (name, probe, mut overrides) in probes {
        overrides.push(format!("run.measure.time=\"{} s\"", arguments.seconds));
        overrides.push(format!("name=\"{name}\""));
        let scenario = load(common, probe, &overrides)?;
        let out = arguments.out.join(&name);
        if arguments.dry_run {
            let path = arguments.out.join(format!("{name}.toml"));
            write_scenario(&scenario, &path)?;
            super::print(&path.display().to_string());
            continue;
        }
        let run = super::measure::measure(&scenario, &out, &steps)?;
        super::print_summary(common, &run, &out)?;
        if let Some(problem) = super::measure::broken(&run, &out) {
            return Err(anyhow::anyhow!("probe {name}: {problem}").into());
        }
    }
    steps.finish();
    Ok(ExitCode::SUCCESS)
}

/// Reads a scenario that comes with the program, placed on this machine's cores.
pub(super) fn load(
    common: &Common,
    builtin: Builtin,
    overrides: &[String],
) -> Result<Scenario, Failure> {
    let mut all = fit_to_machine(builtin.text)?;
    all.extend(overrides.iter().cloned());
    all.extend(common.overrides.iter().cloned());
    all.extend(common.seed.map(|seed| format!("run.seed={seed}")));
    let path = Path::new("scenarios").join(builtin.path);
    Ok(Scenario::parse(&path, builtin.text.to_owned(), &all)?)
}

/// The file's name without folder and ending.
pub(super) fn stem(path: &str) -> String {
    Path::new(path)
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn write_scenario(scenario: &Scenario, path: &PathBuf) -> Result<(), Failure> {
    let text = schema::scenario::to_toml(scenario.file());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)?;
    Ok(())
}

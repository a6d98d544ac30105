//! `tandem probe`: measures each part of this machine alone, a run per part.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use calibrate::validate::pairs::{self, Side};
use schema::run::Run;
use schema::scenario::{CompletionBy, Scenario, StageRole, Verb};

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
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/", $path)),
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

/// The probe of messages over RDMA, by verb and completion.
const RDMA: Builtin = builtin!("probes/wire-rdma.toml");
const VERBS: [Verb; 3] = [Verb::WriteWithImmediate, Verb::Send, Verb::Read];
const COMPLETIONS: [CompletionBy; 2] = [CompletionBy::Event, CompletionBy::Poll];

/// Probes of a GPU that are as they are.
const OF_A_GPU: [Builtin; 6] = [
    builtin!("probes/gpu-kernels.toml"),
    builtin!("probes/gpu-duplex.toml"),
    builtin!("probes/gpu-streams.toml"),
    builtin!("probes/gpu-turns.toml"),
    builtin!("probes/gpu-queues.toml"),
    builtin!("probes/gpu-priorities.toml"),
];
/// Those that are set by what the driver says of the device, or by size.
const GPU_COPIES: Builtin = builtin!("probes/gpu-copies.toml");
const GPU_BLOCKS: Builtin = builtin!("probes/gpu-blocks.toml");
const GPU_MEMORY: Builtin = builtin!("probes/gpu-memory.toml");
const GPU_BATCHES: Builtin = builtin!("probes/gpu-batches.toml");
const GPU_GRAPHS: Builtin = builtin!("probes/gpu-graphs.toml");
const GPU_IMAGES: Builtin = builtin!("probes/gpu-images.toml");
const GPU_PAIRS: Builtin = builtin!("probes/gpu-pairs.toml");
/// The nets of a pair.
const PAIR: [&str; 2] = ["small-blocks", "memory"];
/// Ways to share a GPU, with `gpu` of either net.
const SHARED: [(&str, [&str; 2]); 5] = [
    ("streams", ["{ process = \"pair\" }"; 2]),
    (
        "priority",
        [
            "{ process = \"pair\", priority = -1 }",
            "{ process = \"pair\" }",
        ],
    ),
    ("processes", ["{}"; 2]),
    ("mps", ["{ mps = {} }"; 2]),
    ("mps-half", ["{ mps = { percentage = 50 } }"; 2]),
];
/// Sizes of copies: from where the fixed part of their cost is nearly all to where it is nearly none.
const COPIED: [&str; 5] = ["4 kB", "64 kB", "602112 B", "4 MB", "16 MB"];
/// Widths and heights of images: a quarter of the reference study's sample, that sample, and four times it.
const IMAGES: [(u32, u32); 3] = [(250, 273), (500, 546), (1000, 1092)];
/// Threads of the blocks that are counted: the first three tell numbers of multiprocessors and of
/// threads from each other, the last shows the most blocks.
const THREADS: [u32; 4] = [1024, 640, 512, 32];
/// Most blocks of a multiprocessor, by compute capability 7.0 to 9.0 (CUDA C++ Programming Guide,
/// technical specifications).
const BLOCKS_PER_SM: [u32; 3] = [16, 24, 32];
/// Parts of a GPU, in sixteenths, of which memory is read.
const READING: [u32; 6] = [1, 2, 4, 8, 12, 16];
/// Sizes of batches.
const BATCHES: [u32; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
/// Kernels of a graph.
const IN_A_GRAPH: [usize; 2] = [4, 128];
/// Multiprocessors and their threads where no driver says: an H100's.
const UNKNOWN: (u32, u32) = (132, 2048);

/// A probe: the name of its run, its scenario, and what is set in it.
type Planned = (String, Builtin, Vec<String>);

/// The probes of messages from the device `near` to `far`.
fn over_rdma(near: &str, far: &str) -> Vec<Planned> {
    let mut probes = Vec::new();
    for verb in VERBS.map(Verb::name) {
        for completion in COMPLETIONS.map(CompletionBy::name) {
            let hop = "clients.0.path.0";
            let overrides = vec![
                format!("hosts.edge.nic.device=\"{near}\""),
                format!("hosts.server.nic.device=\"{far}\""),
                format!("{hop}.verb=\"{verb}\""),
                format!("{hop}.completion=\"{completion}\""),
            ];
            let name = format!("{}-{verb}-{completion}", stem(RDMA.path));
            probes.push((name, RDMA, overrides));
        }
    }
    probes
}

/// The probes of a GPU; of copies a run each size and kind of host memory, of batches, graphs and images
/// one each size, of nets side by side one each way to share the GPU.
fn of_a_gpu() -> Vec<Planned> {
    let (sms, threads) = realrun::accelerator::cuda::shape(0).unwrap_or(UNKNOWN);
    let mut probes: Vec<Planned> = OF_A_GPU
        .iter()
        .map(|probe| (stem(probe.path), *probe, Vec::new()))
        .collect();
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
    let full = sms * (threads / 1024).max(1);
    let blocks = work("waves", &counted_blocks(sms, threads), "200 us", "");
    probes.push((stem(GPU_BLOCKS.path), GPU_BLOCKS, vec![blocks]));
    let mut reading: Vec<_> = READING
        .iter()
        .map(|part| ((full * part).div_ceil(16), 1024))
        .collect();
    reading.dedup();
    let reading = work("read", &reading, "1 us", ", dram = \"16 MB\"");
    probes.push((stem(GPU_MEMORY.path), GPU_MEMORY, vec![reading]));
    for batch in BATCHES {
        let kernels = "stages.batches.serve.kernels.work";
        let overrides = vec![
            format!("clients.0.count={batch}"),
            format!("stages.batches.batch.max={batch}"),
            format!("{kernels}.0.kernel.blocks={}", full.div_ceil(8)),
            format!("{kernels}.1.kernel.blocks={}", full.div_ceil(4)),
        ];
        let name = format!("{}-{batch}", stem(GPU_BATCHES.path));
        probes.push((name, GPU_BATCHES, overrides));
    }
    for n in IN_A_GRAPH {
        let nothing = work("graphs", &vec![(1, 32); n], "0 ns", "");
        let name = format!("{}-{n}", stem(GPU_GRAPHS.path));
        probes.push((name, GPU_GRAPHS, vec![nothing]));
    }
    for (width, height) in IMAGES {
        let kernels = "stages.images.serve.kernels";
        let overrides = vec![
            format!("{kernels}.raw.width={width}"),
            format!("{kernels}.raw.height={height}"),
            format!("{kernels}.input=\"{} B\"", 3 * width * height),
        ];
        let name = format!("{}-{width}x{height}", stem(GPU_IMAGES.path));
        probes.push((name, GPU_IMAGES, overrides));
    }
    probes.extend(side_by_side(full));
    probes
}

/// Two nets on a GPU that runs so many blocks of 1024 threads at once: each alone, and both by every way to
/// share it. No parameter is fitted to what both do, so it tells how well others predict it.
fn side_by_side(full: u32) -> Vec<Planned> {
    // Two waves of small blocks and an eighth of one; four waves of large blocks and a sixteenth of one.
    let blocks = [[16 * full, full], [4 * full, full.div_ceil(16)]];
    let work = |net: usize| {
        let key = format!("stages.{}.serve.kernels.work", PAIR[net]);
        let n_kernels = [4, 2][net];
        (0..n_kernels).map(move |kernel| {
            let blocks = blocks[net][kernel % 2];
            format!("{key}.{kernel}.kernel.blocks={blocks}")
        })
    };
    let sizes: Vec<String> = (0..PAIR.len()).flat_map(work).collect();
    let probe = |name: &str, more: Vec<String>| {
        let overrides = sizes.iter().cloned().chain(more).collect();
        (format!("pair-{name}"), GPU_PAIRS, overrides)
    };
    let alone = PAIR.map(|net| {
        let client = format!(
            "clients=[{{ on = \"box\", arrivals = {{ closed-loop = {{}} }}, path = [{{ to = \"{net}\", over = \"local\" }}] }}]"
        );
        probe(net, vec![client])
    });
    let both = SHARED.map(|(name, uses)| {
        let uses = PAIR.iter().zip(uses);
        let uses = uses.map(|(net, gpu)| format!("stages.{net}.gpu={gpu}"));
        // A turn has time for many passes.
        let longer = (name == "processes").then(|| "run.measure.requests=800".to_owned());
        probe(name, uses.chain(longer).collect())
    });
    alone.into_iter().chain(both).collect()
}

/// Grids of as many blocks as run at once, and of one more, by the driver's numbers.
fn counted_blocks(sms: u32, threads: u32) -> Vec<(u32, u32)> {
    let mut grids = Vec::new();
    for size in THREADS {
        let room = threads / size;
        let known = BLOCKS_PER_SM.into_iter().filter(|most| *most < room);
        let mut at_once: Vec<u32> = known.map(|most| sms * most).collect();
        if room <= BLOCKS_PER_SM[BLOCKS_PER_SM.len() - 1] {
            at_once.push(sms * room);
        }
        grids.extend(at_once.iter().flat_map(|n| [(*n, size), (*n + 1, size)]));
    }
    grids
}

/// The setting that gives a stage kernels of these numbers of blocks and threads.
fn work(stage: &str, grids: &[(u32, u32)], time: &str, more: &str) -> String {
    let kernels: Vec<String> = grids
        .iter()
        .map(|(blocks, threads)| {
            format!(
                "{{ kernel = {{ blocks = {blocks}, threads = {threads}, time = \"{time}\"{more} }} }}"
            )
        })
        .collect();
    format!("stages.{stage}.serve.kernels.work=[{}]", kernels.join(", "))
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
    if let [near, far] = arguments.rdma.as_slice() {
        probes.extend(over_rdma(near, far));
    }
    for (_, _, overrides) in &mut probes {
        overrides.push(format!("run.measure.time=\"{} s\"", arguments.seconds));
    }
    if arguments.gpu {
        // These are as long as their numbers of requests say.
        probes.extend(of_a_gpu());
    }
    let steps = Steps::new(common, probes.len());
    let mut measured: Vec<(String, Run)> = Vec::new();
    for (name, probe, mut overrides) in probes {
        overrides.push(format!("name=\"{name}\""));
        let scenario = load(common, probe, &overrides)?;
        let out = arguments.out.join(&name);
        if arguments.dry_run {
            let path = arguments.out.join(format!("{name}.toml"));
            write_scenario(&scenario, &path)?;
            super::print(&path.display().to_string());
            continue;
        }
        if let Some(problem) = lacks_service(&scenario) {
            eprintln!("probe {name} is left out: {problem}");
            steps.done();
            continue;
        }
        let run = super::measure::measure(&scenario, &out, &steps)?;
        super::print_summary(common, &run, &out)?;
        if let Some(problem) = super::measure::broken(&run, &out) {
            return Err(anyhow::anyhow!("probe {name}: {problem}").into());
        }
        if probe.path == GPU_PAIRS.path {
            measured.push((name, run));
        }
    }
    steps.finish();
    print_pairs(common, &measured)?;
    Ok(ExitCode::SUCCESS)
}

/// Why the scenario's clients of the Multi-Process Service cannot be there; `None` if it has none or they
/// can.
fn lacks_service(scenario: &Scenario) -> Option<String> {
    let stages = scenario.stages.rows().iter();
    let mut uses = stages.filter_map(|stage| match &stage.role {
        StageRole::Serve(serve) => serve.gpu.as_ref(),
        _ => None,
    });
    uses.find(|gpu| gpu.mps.is_some())?;
    realrun::launch::mps_problem()
}

/// Prints what nets take beside each other.
fn print_pairs(common: &Common, measured: &[(String, Run)]) -> Result<(), Failure> {
    let sides = measured.iter().map(|(name, run)| Side {
        name,
        measured: run,
        simulated: None,
        held_out: true,
    });
    let rows = pairs::pairs(&sides.collect::<Vec<_>>());
    if rows.is_empty() {
        return Ok(());
    }
    super::print(&match common.json {
        true => serde_json::to_string_pretty(&serde_json::json!({ "pairs": rows }))?,
        false => pairs::table(&rows),
    });
    Ok(())
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

//! The profiles of public parts: what each says of its figures, and that the engine can use all of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schema::gpu::GpuNet;
use schema::profile::{Driver, Part, PartKind, Profile, cost};
use schema::scenario::Scenario;
use sim::{Keep, Options};

use crate::common::base;

/// The GPUs, slowest first.
const GPUS: [&str; 6] = ["a2", "t4", "v100", "a40", "a100", "h100"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/profiles")
}

fn gpu_profile(name: &str) -> Profile {
    Profile::load(&folder().join(format!("{name}.toml"))).unwrap()
}

fn profiles() -> Vec<(String, Profile)> {
    let entries = fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let load = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, Profile::load(path).unwrap())
    };
    files.iter().map(load).collect()
}

#[test]
fn profiles_of_parts_are_described() {
    let readme = fs::read_to_string(folder().join("../README.md")).unwrap();
    for (file, _) in profiles() {
        assert!(
            readme.contains(&format!("profiles/{file}")),
            "scenarios/README.md does not name profiles/{file}"
        );
    }
}

#[test]
fn figures_have_a_source_and_a_range() {
    for (file, profile) in profiles() {
        for (part, of) in &profile.parts {
            for (name, parameter) in &of.parameters {
                let what = format!("{file}: {part}: {name}");
                if parameter.source == "by definition" {
                    continue;
                }
                let [low, high] = parameter
                    .range
                    .unwrap_or_else(|| panic!("{what}: no range"));
                let value = parameter.value;
                assert!(low <= value && value <= high, "{what} is out of its range");
                assert!(parameter.standard_error >= 0.0, "{what}");
                assert!(!parameter.unit.is_empty(), "{what} has no unit");
                assert!(!parameter.source.is_empty(), "{what} has no source");
            }
            for (name, law) in &of.costs {
                let what = format!("{file}: {part}: {name}");
                assert!(!law.source.is_empty(), "{what} has no source");
                assert!(law.range[0] <= law.range[1], "{what}");
            }
            for (name, net) in &of.nets {
                let what = format!("{file}: {part}: {name}");
                assert!(!net.source.is_empty(), "{what} has no source");
                assert!(net.range[0] <= net.range[1], "{what}");
                assert!(net.memory > 0.0, "{what} takes no memory");
            }
        }
    }
}

/// How long an execution of the net takes alone on the GPU, with the driver at `driver`, in seconds.
fn alone(profile: &Profile, part: &str, net: &str, per: Driver, driver: f64) -> f64 {
    let (input, batch) = match per {
        Driver::Requests => ("4096".to_owned(), driver),
        _ => (driver.to_string(), 1.0),
    };
    // A batch of one connection each: all are sent at once, and an idle context waits for all.
    let text = format!(
        r#"
format = 1
name = "alone"
[run]
measure = {{ requests = 3 }}
[hosts]
server = {{ part = "no-time", cores = 2, gpus = [{{ part = "{part}" }}] }}
[stages.serve]
on = "server"
serve = {{ profiled = {{ name = "{net}", input = "{input} B", output = "4096 B" }} }}
batch = {{ max = {batch}, delay = "1 s" }}
gpu = {{}}
[[clients]]
on = "server"
count = {batch}
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "serve", over = "local" }}]
"#
    );
    let scenario = Scenario::parse(Path::new("alone.toml"), text, &[]).unwrap();
    inference(&scenario, profile)
}

/// Mean time of a forward pass, in seconds.
fn inference(scenario: &Scenario, profile: &Profile) -> f64 {
    let options = Options {
        keep: Keep::Statistics,
        ..base()
    };
    let run = sim::simulate(scenario, Some(profile), &options)
        .unwrap_or_else(|error| panic!("{}: {error}", scenario.source().text()));
    let summary = run.summary();
    assert_eq!(summary.failed, 0, "{}", scenario.source().text());
    summary.parts["inference"].mean.value
}

/// How long a kernel of so many blocks, of which two fill a multiprocessor, runs for 1 ms each on an
/// instance of a partitioned GPU, in seconds.
fn on_instance(part: &str, [compute, memory]: [u32; 2], blocks: u32) -> f64 {
    let text = format!(
        r#"
format = 1
name = "instance"
[run]
measure = {{ requests = 1 }}
[hosts.server]
part = "no-time"
cores = 2
gpus = [{{ part = "{part}", mig = [{{ compute = {compute}, memory = {memory} }}] }}]
[stages.serve]
on = "server"
gpu = {{ devices = ["0.0"] }}
[stages.serve.serve.kernels]
input = "0 B"
output = "0 B"
work = [{{ kernel = {{ blocks = {blocks}, threads = 1024, time = "1 ms", overhead = "0 s" }} }}]
[[clients]]
on = "server"
arrivals = {{ closed-loop = {{}} }}
path = [{{ to = "serve", over = "local" }}]
"#
    );
    let scenario = Scenario::parse(Path::new("instance.toml"), text, &[]).unwrap();
    inference(&scenario, &gpu_profile(part))
}

#[test]
fn instances_have_the_multiprocessors_of_their_slices() {
    let instances = [
        ("a100", [1, 1], 14),
        ("a100", [1, 2], 14),
        ("a100", [2, 2], 28),
        ("a100", [3, 4], 42),
        ("a100", [4, 4], 56),
        ("a100", [7, 8], 98),
        ("h100", [1, 1], 16),
        // 26 on hardware.
        ("h100", [1, 2], 16),
        ("h100", [2, 2], 32),
        ("h100", [3, 4], 60),
        ("h100", [4, 4], 64),
        ("h100", [7, 8], 132),
    ];
    for (part, slices, sms) in instances {
        let times = [2 * sms, 2 * sms + 1].map(|blocks| on_instance(part, slices, blocks));
        let is_near = |time: f64, expected: f64| (time - expected).abs() < 1e-9;
        assert!(
            is_near(times[0], 1e-3) && is_near(times[1], 2e-3),
            "{part} {slices:?}: {times:?}"
        );
    }
}

fn served(part: &Part) -> impl Iterator<Item = (&String, &GpuNet)> {
    let nets = part.nets.iter();
    nets.filter(|(name, _)| *name != cost::PREPROCESS)
}

#[test]
fn a_part_serves_each_of_its_nets() {
    for gpu in GPUS {
        let profile = gpu_profile(gpu);
        let part = &profile.parts[gpu];
        assert_eq!(part.kind, PartKind::Gpu);
        for (name, net) in served(part) {
            let [smallest, largest] = net.range;
            let first = alone(&profile, gpu, name, net.per, smallest);
            assert!(first > 0.0 && first < 10.0, "{gpu}: {name}: {first} s");
            // A batch of many takes longer, but no longer than one after the other.
            if largest > smallest {
                let last = alone(&profile, gpu, name, net.per, largest.min(64.0 * smallest));
                let n = (largest / smallest).min(64.0);
                assert!(last > first, "{gpu}: {name}");
                assert!(last < 1.02 * n * first, "{gpu}: {name}: {first} {last}");
            }
        }
    }
}

#[test]
fn kernels_of_a_net_take_as_long_as_its_phases() {
    for gpu in GPUS {
        let profile = gpu_profile(gpu);
        let of = |net: &str| alone(&profile, gpu, net, Driver::Requests, 1.0);
        let (phases, kernels) = (of("resnet50@224"), of("resnet50-kernels@224"));
        let error = kernels / phases - 1.0;
        assert!(error.abs() < 0.02, "{gpu}: {phases} {kernels}");
    }
}

#[test]
fn faster_parts_serve_nets_sooner() {
    let nets = [
        "resnet50@224",
        "wide-resnet101@224",
        "yolov4@416",
        "deeplabv3-resnet50@520",
    ];
    let mut slower: BTreeMap<(&str, u32), f64> = BTreeMap::new();
    for gpu in GPUS {
        let profile = gpu_profile(gpu);
        for net in nets {
            for batch in [1, 8] {
                let now = alone(&profile, gpu, net, Driver::Requests, f64::from(batch));
                let before = slower.insert((net, batch), now);
                // A V100 and an A40 are alike.
                assert!(
                    before.is_none_or(|before| now < 1.03 * before),
                    "{gpu}: {net} at batch {batch}: {now} after {before:?}"
                );
            }
        }
    }
}

/// A convolution of ResNet-50: side of its output, channels in and out, side of its window, side of
/// its input.
struct Layer {
    name: String,
    side: u64,
    inputs: u64,
    outputs: u64,
    window: u64,
    from: u64,
}

/// The convolutions of ResNet-50 at 224 pixels, in order.
fn resnet50() -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut add = |name: String, side, inputs, outputs, window, from| {
        layers.push(Layer {
            name,
            side,
            inputs,
            outputs,
            window,
            from,
        });
    };
    add("conv1".to_owned(), 112, 3, 64, 7, 224);
    let mut channels = 64;
    let mut from = 56;
    for (layer, blocks, width, side) in [
        (1, 3, 64, 56),
        (2, 4, 128, 28),
        (3, 6, 256, 14),
        (4, 3, 512, 7),
    ] {
        for block in 0..blocks {
            let name = |what: &str| format!("layer{layer}.{block}.{what}");
            add(name("conv1"), from, channels, width, 1, from);
            add(name("conv2"), side, width, width, 3, from);
            if block == 0 {
                add(name("downsample"), side, channels, 4 * width, 1, from);
            }
            add(name("conv3"), side, width, 4 * width, 1, side);
            channels = 4 * width;
            from = side;
        }
    }
    layers
}

#[test]
fn kernels_follow_from_the_layers_as_their_source_says() {
    let layers = resnet50();
    assert_eq!(layers.len(), 53);
    for gpu in GPUS {
        let profile = gpu_profile(gpu);
        let kernels = &profile.parts[gpu].nets["resnet50-kernels@224"].kernels;
        assert_eq!(kernels.len(), 57);
        for layer in &layers {
            let kernel = kernels
                .iter()
                .find(|kernel| kernel.name.as_ref() == Some(&layer.name))
                .unwrap_or_else(|| panic!("{gpu}: no kernel {}", layer.name));
            let (m, n) = (layer.side * layer.side, layer.outputs);
            let k = layer.inputs * layer.window * layer.window;
            let tiles = m.div_ceil(64) * n.div_ceil(64);
            let split = (64 / tiles).min(k / 256).max(1);
            assert_eq!(u64::from(kernel.blocks), tiles * split, "{}", layer.name);
            // A sum reads its other input.
            let outputs = if layer.name.ends_with("conv3") { 2 } else { 1 };
            let values = k * n + layer.from * layer.from * layer.inputs + outputs * m * n;
            let dram = 2.0 * values as f64 / f64::from(kernel.blocks);
            assert!((kernel.dram.0 as f64 - dram).abs() <= 0.5, "{}", layer.name);
        }
    }
}

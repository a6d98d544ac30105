//! What the stand-in is told to be: a TOML file named by the environment variable
//! `TANDEM_STANDIN`, or a text given to [`control::standin_configure`](super::control).
//!
//! ```toml
//! profile = "ideal.toml"        # relative to the file
//! part = "two-sms"              # the part that every device is
//! devices = 2                   # 1 if not given
//! memory = "1 GiB"              # the part's, or 16 GiB, if not given
//! driver-version = 12040        # if not given
//! clock = "virtual"             # or "wall", the machine's, if not given
//! preprocess-block = "5 us"     # time of a block of the preprocessing kernel, if not given
//! effects = false               # kernels take their time and leave memory as it is; true if not given
//! peer-memory = true            # network adapters reach the memory by its address, as with
//!                               # nvidia-peermem; false if not given
//! dma-buf = true                # the driver says that it gives memory as dma-bufs; what it gives no
//!                               # adapter takes; false if not given
//!
//! # CUDA_VISIBLE_DEVICES that names an instance of a GPU leaves one device, whose name says so; it has
//! # all of the part. Where CUDA_MPS_PIPE_DIRECTORY is a folder with a `control` in it, contexts are
//! # clients of the Multi-Process Service, each with the share and priority of its environment; others of
//! # other processes have GPUs of their own.
//!
//! slowed = 4                    # reasons for a slower clock that NVML tells, as bits; none if not given
//! power-mw = [90000, 251000]    # what each device draws, one look after the other, the last again and again,
//!                               # as NVML tells; not told if not given
//! power-limit-mw = 300000       # its limit; not told if not given
//! celsius = [41, 66]            # its temperature, like what it draws; not told if not given
//! ancestor = 30                 # what lies between two devices, as NVML numbers it; not told if not given
//! nvlinks = 2                   # NVLinks from each device to the next; not told if not given
//! others = 1                    # other processes on each device that NVML tells of; none if not given
//!
//! accounts = "/tmp/accounts"     # a folder: each process leaves a file there when it ends, named by its
//!                               # number, with what it still holds and how often it called what
//!
//! [[failures]]                  # calls that fail, the first that fits
//! call = "cuMemAlloc_v2"        # any function by its name in the library
//! code = 2                      # what it returns
//! after = 3                     # calls of it that succeed before; none if not given
//! times = 1                     # calls that fail; all if not given
//! sticky = true                 # every later call on the context fails alike; false if not given
//! ```

use std::path::{Path, PathBuf};

use schema::profile::{CostLaw, Part, Profile, cost, parameter};
use schema::units::{Bytes, SimDuration};
use serde::Deserialize;
use sim::gpu::{GpuSpec, MpsSpec};

use crate::Code;
use crate::memory::Addresses;

/// The environment variable that names the file.
pub(crate) const VARIABLE: &str = "TANDEM_STANDIN";
/// Memory of a device whose part does not say.
const MEMORY: u64 = 16 << 30;
/// Version of a driver that is not told any.
const DRIVER_VERSION: i32 = 12_040;
/// Time of a block of the preprocessing kernel that is not told any: 5 us.
const PREPROCESS_BLOCK: SimDuration = SimDuration::from_ns(5_000);

/// The file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    profile: PathBuf,
    part: String,
    #[serde(default)]
    devices: Option<u32>,
    #[serde(default)]
    memory: Option<Bytes>,
    #[serde(default)]
    driver_version: Option<i32>,
    #[serde(default)]
    clock: Time,
    #[serde(default)]
    preprocess_block: Option<SimDuration>,
    #[serde(default)]
    effects: Option<bool>,
    #[serde(default)]
    peer_memory: bool,
    #[serde(default)]
    dma_buf: bool,
    #[serde(default)]
    slowed: u64,
    #[serde(default)]
    power_mw: Vec<u32>,
    #[serde(default)]
    power_limit_mw: Option<u32>,
    #[serde(default)]
    celsius: Vec<u32>,
    #[serde(default)]
    ancestor: Option<u32>,
    #[serde(default)]
    nvlinks: Option<u32>,
    #[serde(default)]
    others: u32,
    #[serde(default)]
    accounts: Option<PathBuf>,
    #[serde(default)]
    failures: Vec<Failure>,
}

/// Which clock the devices go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Time {
    /// The machine's.
    #[default]
    Wall,
    /// One that advances only while a call waits, and then to what it waits for.
    Virtual,
}

/// Calls that fail.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Failure {
    pub(crate) call: String,
    pub(crate) code: Code,
    #[serde(default)]
    pub(crate) after: u64,
    #[serde(default)]
    pub(crate) times: Option<u64>,
    #[serde(default)]
    pub(crate) sticky: bool,
}

/// What was asked for, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Name of every device.
    pub(crate) name: String,
    pub(crate) gpu: GpuSpec,
    /// What its contexts are as clients of the Multi-Process Service; `None` if they are none.
    pub(crate) mps: Option<MpsSpec>,
    pub(crate) devices: u32,
    /// Of each device, in bytes.
    pub(crate) memory: u64,
    /// What a context takes of it, in bytes.
    pub(crate) context_memory: u64,
    pub(crate) launch_interval: SimDuration,
    /// The same for a kernel of a graph.
    pub(crate) graph_launch_interval: SimDuration,
    pub(crate) copies: Copies,
    pub(crate) driver_version: i32,
    pub(crate) time: Time,
    pub(crate) preprocess_block: SimDuration,
    /// Whether kernels read and write memory.
    pub(crate) effects: bool,
    pub(crate) addresses: Addresses,
    /// Whether the driver says that it gives memory as dma-bufs.
    pub(crate) dma_buf: bool,
    /// Reasons for a slower clock, bits of `nvmlClocksThrottleReasons`.
    pub(crate) slowed: u64,
    /// What each device draws, in milliwatts, one look after the other.
    pub(crate) power_mw: Vec<u32>,
    /// Its limit.
    pub(crate) power_limit_mw: Option<u32>,
    /// Its temperature, in degrees Celsius, one look after the other.
    pub(crate) celsius: Vec<u32>,
    /// What lies between two devices, of `nvmlGpuTopologyLevel_t`.
    pub(crate) ancestor: Option<u32>,
    /// NVLinks from each device to the next.
    pub(crate) nvlinks: Option<u32>,
    /// Other processes on each device.
    pub(crate) others: u32,
    /// Where a process says what it holds when it ends.
    pub(crate) accounts: Option<PathBuf>,
    pub(crate) failures: Vec<Failure>,
}

/// Laws of copies, by direction and host memory.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(crate) h2d_pinned: CostLaw,
    pub(crate) h2d_pageable: CostLaw,
    pub(crate) d2h_pinned: CostLaw,
    pub(crate) d2h_pageable: CostLaw,
}

impl Config {
    /// What the environment's file says.
    pub(crate) fn from_environment() -> Result<Config, String> {
        let path = std::env::var_os(VARIABLE)
            .map(PathBuf::from)
            .ok_or_else(|| format!("{VARIABLE} does not name the stand-in's file"))?;
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::parse(&text, folder).map_err(|problem| format!("{}: {problem}", path.display()))
    }

    /// What `text` says, whose paths are relative to `folder`.
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Config, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let profile =
            Profile::load(&folder.join(&file.profile)).map_err(|error| error.to_string())?;
        let part = profile
            .part(&file.part, "`part`")
            .map_err(|error| error.to_string())?;
        let gpu = sim::gpu_of_part(&file.part, part, "`part`").map_err(|e| e.to_string())?;
        let value = |name: &str, or: f64| part.parameters.get(name).map_or(or, |p| p.value);
        let memory = value(parameter::MEMORY, MEMORY as f64) as u64;
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
        let interval = |name| SimDuration::from_secs_f64(value(name, 0.0));
        Ok(Config {
            gpu,
            devices: match visible.starts_with("MIG-") {
                true => 1,
                false => file.devices.unwrap_or(1),
            },
            memory: file.memory.map_or(memory, |memory| memory.0),
            context_memory: value(parameter::CONTEXT_MEMORY, 0.0) as u64,
            launch_interval: interval(parameter::LAUNCH_INTERVAL),
            graph_launch_interval: interval(parameter::GRAPH_LAUNCH_INTERVAL),
            copies: Copies {
                h2d_pinned: law(part, cost::H2D, "pinned")?,
                h2d_pageable: law(part, cost::H2D, "pageable")?,
                d2h_pinned: law(part, cost::D2H, "pinned")?,
                d2h_pageable: law(part, cost::D2H, "pageable")?,
            },
            name: match visible.strip_prefix("MIG-") {
                Some(instance) => format!("Tandem stand-in for {}, MIG-{instance}", file.part),
                None => format!("Tandem stand-in for {}", file.part),
            },
            mps: mps()?,
            driver_version: file.driver_version.unwrap_or(DRIVER_VERSION),
            time: file.clock,
            preprocess_block: file.preprocess_block.unwrap_or(PREPROCESS_BLOCK),
            effects: file.effects.unwrap_or(true),
            addresses: match file.peer_memory {
                true => Addresses::Host,
                false => Addresses::Own,
            },
            dma_buf: file.dma_buf,
            slowed: file.slowed,
            power_mw: file.power_mw,
            power_limit_mw: file.power_limit_mw,
            celsius: file.celsius,
            ancestor: file.ancestor,
            nvlinks: file.nvlinks,
            others: file.others,
            accounts: file.accounts,
            failures: file.failures,
        })
    }
}

/// What the environment makes of this process: a client where there are pipes of the service.
fn mps() -> Result<Option<MpsSpec>, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(pipes) = variable("CUDA_MPS_PIPE_DIRECTORY") else {
        return Ok(None);
    };
    if !Path::new(&pipes).join("control").exists() {
        return Ok(None);
    }
    let number = |name: &str, or: f64| {
        let value = variable(name).map_or(Ok(or), |text| text.parse());
        value.map_err(|error| format!("{name}: {error}"))
    };
    Ok(Some(MpsSpec {
        cap: number("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", 100.0)? / 100.0,
        level: number("CUDA_MPS_CLIENT_PRIORITY", 0.0)? as u8,
    }))
}

fn law(part: &Part, direction: &str, memory: &str) -> Result<CostLaw, String> {
    let key = format!("{direction}/{memory}");
    let law = part.costs.get(&key);
    law.cloned()
        .ok_or_else(|| format!("the part has no cost `{key}`"))
}

//! Checks of GPUs, and of how stages use them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::{Check, allowed};
use crate::error::FileError;
use crate::ids::{HostId, Id, StageId, Table};
use crate::scenario::{
    Device, GdrPath, Gpu, GpuFile, GpuUse, GpuUseFile, GpuWork, HostFile, KernelFile, Kernels,
    KernelsFile, Mps, MpsFile, MpsPriority, RawImage, ServeFile, Stage, StageFile, StageRole,
    WorkFile,
};
use crate::units::Bytes;

/// The highest clock of a GPU, relative to that at which its part was measured.
const MAX_CLOCK: f64 = 2.0;

/// The priorities of streams, from those that go first to those that go last.
const STREAM_PRIORITIES: RangeInclusive<i32> = -1000..=0;

/// Most inference contexts of a stage.
const MAX_CONTEXTS: u64 = 1 << 16;

/// Most threads of a block, and registers of a thread: those of every CUDA device from compute
/// capability 3.5 on (CUDA C++ Programming Guide, 'Compute Capabilities').
const MAX_THREADS: u32 = 1024;
const MAX_REGISTERS: u32 = 255;

impl GpuUse {
    /// Number of inference contexts on all of its devices.
    pub fn contexts(&self) -> u32 {
        let devices = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        (devices.saturating_mul(self.processes)).saturating_mul(self.streams)
    }

    /// The devices, from the first of the host.
    fn in_order(&self) -> Vec<Device> {
        let mut devices = self.devices.clone();
        devices.sort_unstable();
        devices
    }
}

impl fmt::Display for Device {
    /// The name used in files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instance {
            None => write!(f, "{}", self.gpu),
            Some(instance) => write!(f, "{}.{instance}", self.gpu),
        }
    }
}

impl Check<'_> {
    pub(super) fn gpus(&self, key: &str, host: &HostFile) -> Result<Vec<Gpu>, FileError> {
        let gpus = host.gpus.iter().enumerate().map(|(index, gpu)| {
            let key = format!("{key}.gpus.{index}");
            let clock = gpu.clock.unwrap_or(1.0);
            self.above_zero(&format!("{key}.clock"), clock, MAX_CLOCK)?;
            for (index, slices) in gpu.mig.iter().enumerate() {
                let key = format!("{key}.mig.{index}");
                self.at_least_one(&format!("{key}.compute"), slices.compute)?;
                self.at_least_one(&format!("{key}.memory"), slices.memory)?;
            }
            Ok(Gpu {
                part: gpu.part.clone(),
                clock,
                mig: gpu.mig.clone(),
                peers: gpu.peers,
                socket: gpu.socket.unwrap_or_default(),
                gdr_path: self.gdr_path(&key, gpu, host)?,
            })
        });
        gpus.collect()
    }

    /// What is between the GPU at `key` and the network adapter of its host.
    fn gdr_path(&self, key: &str, gpu: &GpuFile, host: &HostFile) -> Result<GdrPath, FileError> {
        let nic = host.nic.as_ref();
        let socket = gpu.socket.unwrap_or_default();
        let is_apart = nic.is_some_and(|nic| nic.socket.unwrap_or_default() != socket);
        match gpu.gdr_path {
            None if is_apart => Ok(GdrPath::CrossSocket),
            None => Ok(GdrPath::RootComplex),
            Some(path) if is_apart && path != GdrPath::CrossSocket => {
                let problem = format!(
                    "must be `cross-socket`, found `{}`; the network adapter is at another `socket`",
                    path.name()
                );
                Err(self.source.invalid(&format!("{key}.gdr-path"), problem))
            }
            Some(path) => Ok(path),
        }
    }

    /// How the stage at `key`, on `host`, uses GPUs; `None` if it does not.
    pub(super) fn gpu_use(
        &self,
        key: &str,
        host: HostId,
        stage: &StageFile,
    ) -> Result<Option<GpuUse>, FileError> {
        let Some(file) = &stage.gpu else {
            return Ok(None);
        };
        if let Some(instances) = stage.instances {
            let problem = format!(
                "must not be given with `gpu`, found {instances}; there is one for each stream of each process on each device"
            );
            return Err(self.source.invalid(&format!("{key}.instances"), problem));
        }
        if let Some(ServeFile::Synthetic(_)) = &stage.serve {
            let problem = "is work on a core; give `kernels` for work on a GPU, or leave `gpu` out";
            return Err(self
                .source
                .invalid(&format!("{key}.serve.synthetic"), problem));
        }
        let key = format!("{key}.gpu");
        let gpu = GpuUse {
            devices: self.devices(&key, host, file)?,
            processes: self
                .at_least_one(&format!("{key}.processes"), file.processes.unwrap_or(1))?,
            streams: self.at_least_one(&format!("{key}.streams"), file.streams.unwrap_or(1))?,
            process: file.process.clone(),
            mps: match file.mps {
                Some(mps) => Some(self.mps(&format!("{key}.mps"), mps)?),
                None => None,
            },
            priority: file.priority.unwrap_or(0),
            launch: file.launch.unwrap_or_default(),
            host_memory: file.host_memory.unwrap_or_default(),
            d2h: file.d2h.unwrap_or_default(),
            wait: file.wait.unwrap_or_default(),
            copies: file.copies.unwrap_or_default(),
            connection_buffer: file.connection_buffer,
        };
        self.stream_priority(&format!("{key}.priority"), gpu.priority)?;
        self.context_count(&key, &gpu)?;
        if let (Some(process), 2..) = (&gpu.process, gpu.processes) {
            let problem = format!(
                "must be 1, since the stage runs in the process `{process}`, found {}",
                gpu.processes
            );
            return Err(self.source.invalid(&format!("{key}.processes"), problem));
        }
        Ok(Some(gpu))
    }

    fn context_count(&self, key: &str, gpu: &GpuUse) -> Result<(), FileError> {
        let [devices, processes, streams] = [
            gpu.devices.len() as u64,
            gpu.processes.into(),
            gpu.streams.into(),
        ];
        let contexts = devices.saturating_mul(processes).saturating_mul(streams);
        if contexts > MAX_CONTEXTS {
            let problem = format!(
                "must have at most {MAX_CONTEXTS} inference contexts, found {contexts}: {devices} (devices) x {processes} (processes) x {streams} (streams)"
            );
            return Err(self.source.invalid(key, problem));
        }
        Ok(())
    }

    fn mps(&self, key: &str, mps: MpsFile) -> Result<Mps, FileError> {
        let percentage = mps.percentage.unwrap_or(100.0);
        Ok(Mps {
            percentage: self.above_zero(&format!("{key}.percentage"), percentage, 100.0)?,
            priority: mps.priority.unwrap_or_default(),
        })
    }

    fn above_zero(&self, key: &str, value: f64, most: f64) -> Result<f64, FileError> {
        if value > 0.0 && value <= most {
            return Ok(value);
        }
        let problem = format!("must be more than 0 and at most {most}, found {value}");
        Err(self.source.invalid(key, problem))
    }

    pub(super) fn stream_priority(&self, key: &str, priority: i32) -> Result<(), FileError> {
        if STREAM_PRIORITIES.contains(&priority) {
            return Ok(());
        }
        let (first, last) = (STREAM_PRIORITIES.start(), STREAM_PRIORITIES.end());
        let problem = format!("must be from {first} to {last}, found {priority}");
        Err(self.source.invalid(key, problem))
    }

    /// The devices of a stage, each once; the first GPU of `host` if none is named.
    fn devices(
        &self,
        key: &str,
        host: HostId,
        file: &GpuUseFile,
    ) -> Result<Vec<Device>, FileError> {
        let key = format!("{key}.devices");
        if file.devices.is_empty() {
            return Ok(vec![self.device(&key, host, "0")?]);
        }
        let mut devices = Vec::with_capacity(file.devices.len());
        for (index, name) in file.devices.iter().enumerate() {
            let key = format!("{key}.{index}");
            let device = self.device(&key, host, name)?;
            if devices.contains(&device) {
                let problem = format!("`{name}` is named twice");
                return Err(self.source.invalid(&key, problem));
            }
            devices.push(device);
        }
        Ok(devices)
    }

    /// The device called `name` on `host`; what is partitioned is no device as a whole.
    fn device(&self, key: &str, host: HostId, name: &str) -> Result<Device, FileError> {
        let (host_name, file) = self.host_file(host);
        let mut known = Vec::new();
        for (gpu, row) in (0..).zip(&file.gpus) {
            if row.mig.is_empty() {
                known.push(Device {
                    gpu,
                    instance: None,
                });
            }
            known.extend((0..).zip(&row.mig).map(|(instance, _)| Device {
                gpu,
                instance: Some(instance),
            }));
        }
        let names: Vec<String> = known.iter().map(Device::to_string).collect();
        if let Some(index) = names.iter().position(|known| known == name) {
            return Ok(known[index]);
        }
        let allowed = allowed(&names);
        let is_whole = name
            .parse()
            .is_ok_and(|gpu: usize| file.gpus.get(gpu).is_some());
        let problem = if is_whole {
            format!("GPU `{name}` of host `{host_name}` is partitioned; name an instance{allowed}")
        } else {
            format!("host `{host_name}` has no GPU `{name}`{allowed}")
        };
        Err(self.source.invalid(key, problem))
    }

    /// The work of a stage on `host` that uses GPUs like `gpu`.
    pub(super) fn kernels(
        &self,
        key: &str,
        host: HostId,
        file: &KernelsFile,
        gpu: Option<&GpuUse>,
    ) -> Result<Kernels, FileError> {
        let Some(gpu) = gpu else {
            let problem = "run on a GPU; give the stage `gpu`, `{}` for the first of its host";
            return Err(self.source.invalid(key, problem));
        };
        if let Some(raw) = file.raw {
            self.raw_image(key, raw, file.input)?;
        }
        let key = format!("{key}.work");
        if file.work.is_empty() {
            let problem = "must have at least one entry, found none";
            return Err(self.source.invalid(&key, problem));
        }
        let mut here = gpu.devices[0];
        let mut work = Vec::with_capacity(file.work.len());
        for (index, entry) in file.work.iter().enumerate() {
            let key = format!("{key}.{index}");
            work.push(match entry {
                WorkFile::Kernel(kernel) => {
                    self.kernel(&format!("{key}.kernel"), kernel)?;
                    let mut kernel = kernel.clone();
                    kernel.name.get_or_insert_with(|| format!("kernel-{index}"));
                    GpuWork::Kernel(kernel)
                }
                WorkFile::PeerCopy { to, size } => {
                    let key = format!("{key}.peer-copy");
                    if gpu.devices.len() > 1 {
                        let problem =
                            format!("needs a stage with one device, found {}", gpu.devices.len());
                        return Err(self.source.invalid(&key, problem));
                    }
                    let key = format!("{key}.to");
                    let device = self.device(&key, host, to)?;
                    if device == here {
                        let problem = format!("must be another GPU, the work is on `{to}` already");
                        return Err(self.source.invalid(&key, problem));
                    }
                    here = device;
                    GpuWork::PeerCopy {
                        to: device,
                        size: *size,
                    }
                }
            });
        }
        Ok(Kernels {
            input: file.input,
            output: file.output,
            raw: file.raw,
            work,
        })
    }

    /// The image of requests of `input` bytes to the work at `key`.
    fn raw_image(&self, key: &str, raw: RawImage, input: Bytes) -> Result<(), FileError> {
        let (width, height, side) = (raw.width, raw.height, raw.side);
        self.raw_size(&format!("{key}.raw"), width, height)?;
        if !(1..=4096).contains(&side) {
            let problem = format!("must be from 1 to 4096 pixels, found {side}");
            return Err(self.source.invalid(&format!("{key}.raw.side"), problem));
        }
        let expected = raw.raw_bytes();
        if input != expected {
            let problem =
                format!("must be {expected}, as `raw` has 3 x {width} x {height}; found {input}");
            return Err(self.source.invalid(&format!("{key}.input"), problem));
        }
        Ok(())
    }

    fn kernel(&self, key: &str, kernel: &KernelFile) -> Result<(), FileError> {
        kernel
            .check()
            .map_err(|(below, problem)| self.source.invalid(&format!("{key}.{below}"), problem))
    }

    /// The stages that share a process are where it is, and clients of MPS as it is.
    pub(super) fn processes(&self, stages: &Table<StageId, Stage>) -> Result<(), FileError> {
        let mut processes: BTreeMap<&str, (&Stage, &GpuUse)> = BTreeMap::new();
        for stage in stages.rows() {
            let StageRole::Serve(serve) = &stage.role else {
                continue;
            };
            let Some(gpu) = &serve.gpu else { continue };
            let Some(process) = gpu.process.as_deref() else {
                continue;
            };
            let (first, known) = *processes.entry(process).or_insert((stage, gpu));
            let differs = |below: &str, expected: &str, found: &str| {
                let key = format!("stages.{}.gpu.{below}", stage.name);
                let first = &first.name;
                let problem = format!(
                    "must be the same in all stages of the process `{process}`, found {found}, and {expected} in `{first}`"
                );
                Err(self.source.invalid(&key, problem))
            };
            if (first.host, known.in_order()) != (stage.host, gpu.in_order()) {
                let on = |stage: &Stage, gpu: &GpuUse| {
                    let devices = gpu.devices.iter().map(Device::to_string);
                    let devices: Vec<String> = devices.collect();
                    let (host, _) = self.host_file(stage.host);
                    format!("{} of host `{host}`", devices.join(", "))
                };
                return differs("devices", &on(first, known), &on(stage, gpu));
            }
            if known.mps != gpu.mps {
                let name = |mps: Option<Mps>| mps.map_or_else(|| "none".to_owned(), mps_name);
                return differs("mps", &name(known.mps), &name(gpu.mps));
            }
        }
        Ok(())
    }

    /// The host in the file, and its name.
    fn host_file(&self, host: HostId) -> (&String, &HostFile) {
        let mut hosts = self.each_host();
        let (name, _, file) = (hosts.nth(host.index())).expect("the host was found by its name");
        (name, file)
    }
}

impl KernelFile {
    /// Whether a GPU can run it.
    ///
    /// # Errors
    /// The key below the kernel's own, and what is wrong there.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, problem: String| Err((key.to_owned(), problem));
        if self.blocks == 0 {
            return wrong("blocks", "must be at least 1, found 0".to_owned());
        }
        if !(1..=MAX_THREADS).contains(&self.threads) {
            let problem = format!("must be from 1 to {MAX_THREADS}, found {}", self.threads);
            return wrong("threads", problem);
        }
        if self.registers > MAX_REGISTERS {
            let problem = format!("must be at most {MAX_REGISTERS}, found {}", self.registers);
            return wrong("registers", problem);
        }
        Ok(())
    }
}

/// How a process uses the Multi-Process Service, for messages.
fn mps_name(mps: Mps) -> String {
    let priority = match mps.priority {
        MpsPriority::High => "high",
        MpsPriority::Normal => "normal",
    };
    format!("{}% with priority {priority}", mps.percentage)
}

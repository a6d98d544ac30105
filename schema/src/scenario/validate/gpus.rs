//! Checks of GPUs, and of how stages use them.

use super::Check;
use crate::error::FileError;
use crate::ids::HostId;
use crate::scenario::{
    Device, Gpu, GpuUse, GpuWork, HostFile, Kernels, KernelsFile, Mps, StageFile, Work, WorkFile,
};
use crate::units::Bytes;

impl GpuUse {
    /// Number of inference contexts on all of its devices.
    pub fn contexts(&self) -> u32 {
        let devices = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        (devices.saturating_mul(self.processes)).saturating_mul(self.streams)
    }
}

impl Check<'_> {
    pub(super) fn gpus(&self, key: &str, host: &HostFile) -> Result<Vec<Gpu>, FileError> {
        let gpus = host.gpus.iter().enumerate().map(|(index, gpu)| {
            let clock = gpu.clock.unwrap_or(1.0);
            Ok(Gpu {
                part: gpu.part.clone(),
                clock: self.positive(&format!("{key}.gpus.{index}.clock"), clock)?,
                mig: gpu.mig.clone(),
            })
        });
        gpus.collect()
    }

    /// How the stage at `key`, on `host`, uses GPUs for `work`.
    pub(super) fn gpu_use(
        &self,
        key: &str,
        host: HostId,
        stage: &StageFile,
        work: &Work,
    ) -> Result<Option<GpuUse>, FileError> {
        let Some(gpu) = &stage.gpu else {
            if matches!(work, Work::Kernels(_)) {
                let problem = "must be given, since kernels run on a GPU";
                return Err(self.source.invalid(&format!("{key}.gpu"), problem));
            }
            return Ok(None);
        };
        let key = format!("{key}.gpu");
        let named = if gpu.devices.is_empty() {
            vec!["0".to_owned()]
        } else {
            gpu.devices.clone()
        };
        let devices = named
            .iter()
            .map(|name| self.device(&format!("{key}.devices"), host, name));
        let mps = gpu.mps.map(|mps| Mps {
            percentage: mps.percentage.unwrap_or(100.0),
            priority: mps.priority.unwrap_or_default(),
        });
        Ok(Some(GpuUse {
            devices: devices.collect::<Result<_, _>>()?,
            processes: self
                .at_least_one(&format!("{key}.processes"), gpu.processes.unwrap_or(1))?,
            streams: self.at_least_one(&format!("{key}.streams"), gpu.streams.unwrap_or(1))?,
            process: gpu.process.clone(),
            mps,
            priority: gpu.priority.unwrap_or(0),
            launch: gpu.launch.unwrap_or_default(),
            host_memory: gpu.host_memory.unwrap_or_default(),
            d2h: gpu.d2h.unwrap_or_default(),
            wait: gpu.wait.unwrap_or_default(),
            copies: gpu.copies.unwrap_or_default(),
            connection_buffer: gpu.connection_buffer.unwrap_or(Bytes(0)),
        }))
    }

    /// The device called `name` on `host`.
    fn device(&self, key: &str, host: HostId, name: &str) -> Result<Device, FileError> {
        use crate::ids::Id;
        let (host_name, file) = self
            .file
            .hosts
            .iter()
            .nth(host.index())
            .expect("the host was found by its name");
        let mut known = Vec::new();
        for (gpu, row) in file.gpus.iter().enumerate() {
            if row.mig.is_empty() {
                known.push(gpu.to_string());
            }
            known.extend((0..row.mig.len()).map(|instance| format!("{gpu}.{instance}")));
        }
        if !known.iter().any(|device| device == name) {
            let allowed = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            let problem = format!("host `{host_name}` has no GPU `{name}` (allowed: {allowed})");
            return Err(self.source.invalid(key, problem));
        }
        let (gpu, instance) = name
            .split_once('.')
            .map_or((name, None), |(gpu, instance)| (gpu, Some(instance)));
        let number = |text: &str| text.parse().expect("a known device is named by numbers");
        Ok(Device {
            gpu: number(gpu),
            instance: instance.map(number),
        })
    }

    pub(super) fn kernels(
        &self,
        key: &str,
        host: HostId,
        file: &KernelsFile,
    ) -> Result<Kernels, FileError> {
        if file.work.is_empty() {
            let problem = "must have at least one entry, found none";
            return Err(self.source.invalid(&format!("{key}.work"), problem));
        }
        let work = file.work.iter().enumerate().map(|(index, work)| {
            let key = format!("{key}.work.{index}");
            match work {
                WorkFile::Kernel(kernel) => {
                    let key = format!("{key}.kernel");
                    self.at_least_one(&format!("{key}.blocks"), kernel.blocks)?;
                    self.at_least_one(&format!("{key}.threads"), kernel.threads)?;
                    let mut kernel = kernel.clone();
                    kernel.name.get_or_insert_with(|| format!("kernel-{index}"));
                    Ok(GpuWork::Kernel(kernel))
                }
                WorkFile::PeerCopy { to, size } => Ok(GpuWork::PeerCopy {
                    to: self.device(&format!("{key}.peer-copy.to"), host, to)?,
                    size: *size,
                }),
            }
        });
        Ok(Kernels {
            input: file.input,
            output: file.output,
            work: work.collect::<Result<_, _>>()?,
        })
    }
}

//! The nets that contexts run: those of a GPU's part, and the kernels that a scenario gives.

use std::sync::Arc;

use schema::gpu::GpuNet;
use schema::ids::HostId;
use schema::profile::{Driver, parameter};
use schema::scenario::{GpuUse, KernelFile, LaunchFile};
use schema::units::SimDuration;

use super::super::Compiler;
use super::super::parts::PartOf;
use crate::error::SimError;
use crate::gpu::{BlockShape, DeviceSpec, Kernel, Phase, Step};
use crate::ids::NetId;
use crate::tables::{NetRow, Steps};

impl<'a> Compiler<'a> {
    /// The net `key` of a GPU's part.
    pub(super) fn net(
        &mut self,
        host: HostId,
        gpu: u32,
        key: &str,
        uses: &GpuUse,
    ) -> Result<NetId, SimError> {
        let part = self.part_of_gpu(host, gpu)?;
        let clash = |row: &NetRow<'_>| {
            row.part == part.name && row.name == key && row.launch == uses.launch
        };
        if let Some((id, _)) = self.tables.nets.iter().find(|(_, row)| clash(row)) {
            return Ok(id);
        }
        let net = part.part.nets.get(key).ok_or_else(|| {
            let known = part.part.nets.keys().map(String::as_str);
            SimError::NoNet {
                wanted_by: part.wanted_by.clone(),
                profile: self.profile.name.clone(),
                part: part.name.to_owned(),
                net: format!("`{key}`{}", schema::error::suggest(key, known)),
            }
        })?;
        let steps = if net.kernels.is_empty() {
            Steps::Phases
        } else {
            let id = self.gpu(host, gpu)?;
            let spec = self.tables.gpus[id].devices[0];
            let above = format!("parts.{}.nets.{key}.kernels", part.name);
            let list = self.kernels(&part, &spec, net.kernels.iter(), uses.launch, &above)?;
            Steps::Kernels(list)
        };
        Ok(self.tables.nets.push(NetRow {
            name: key.to_owned(),
            part: part.name.to_owned(),
            launch: uses.launch,
            net: Some(net),
            steps,
        }))
    }

    pub(super) fn kernels<'k>(
        &self,
        part: &PartOf<'_>,
        spec: &DeviceSpec,
        list: impl Iterator<Item = &'k KernelFile>,
        launch: LaunchFile,
        above: &str,
    ) -> Result<Vec<Kernel>, SimError> {
        let interval = match launch {
            LaunchFile::Kernels => parameter::LAUNCH_INTERVAL,
            LaunchFile::Graph => parameter::GRAPH_LAUNCH_INTERVAL,
        };
        let interval = SimDuration::from_secs_f64(part.or(interval, 0.0)?);
        let kernels = list.map(|file| {
            let kernel = Kernel {
                overhead: file.overhead.unwrap_or(interval),
                blocks: file.blocks,
                shape: BlockShape {
                    threads: file.threads,
                    registers: file.registers,
                    shared_memory: file.shared_memory.0,
                },
                time: file.time,
                bytes: file.dram.0 as f64,
            };
            if spec.blocks_that_fit(&kernel.shape) == 0 {
                return Err(SimError::Block {
                    wanted_by: part.wanted_by.clone(),
                    part: part.name.to_owned(),
                    kernel: format!("{above}: `{}`", file.name.as_deref().unwrap_or("unnamed")),
                });
            }
            Ok(kernel)
        });
        kernels.collect()
    }
}

impl<'a> NetRow<'a> {
    pub(super) fn of_kernels(stage: &str, launch: LaunchFile, kernels: Vec<Kernel>) -> NetRow<'a> {
        NetRow {
            name: stage.to_owned(),
            part: String::new(),
            launch,
            net: None,
            steps: Steps::Kernels(kernels),
        }
    }

    /// What the driver of its laws is for a batch of `requests` with inputs of `bytes`.
    pub(crate) fn driver(&self, requests: u32, bytes: u64) -> f64 {
        match self.net.map(|net| net.per) {
            Some(Driver::Bytes) => bytes as f64,
            _ => f64::from(requests),
        }
    }

    /// Its steps for a batch on a device with this share of a whole GPU's multiprocessors.
    pub(crate) fn steps(&self, requests: u32, driver: f64, share: f64) -> Arc<[Step]> {
        match (&self.steps, self.net) {
            (Steps::Kernels(kernels), _) => {
                let of_batch = |kernel: &Kernel| {
                    Step::Kernel(Kernel {
                        blocks: kernel.blocks.saturating_mul(requests),
                        ..*kernel
                    })
                };
                kernels.iter().map(of_batch).collect()
            }
            (Steps::Phases, Some(net)) => phases(net, driver, share),
            (Steps::Phases, None) => unreachable!("phases are a profile's"),
        }
    }

    /// Number of launches of a pass.
    pub(crate) fn n_launches(&self) -> u32 {
        let n = match (&self.steps, self.net) {
            (Steps::Kernels(kernels), _) => kernels.len() as u32,
            (Steps::Phases, net) => net.map_or(0, |net| net.launches),
        };
        match self.launch {
            LaunchFile::Kernels => n,
            LaunchFile::Graph => n.min(1),
        }
    }

    /// Whether the host's launches set the pace of its steps; those of phases are many in each.
    pub(crate) fn is_paced(&self) -> bool {
        matches!(self.steps, Steps::Kernels(_)) && self.launch == LaunchFile::Kernels
    }
}

/// The smallest part of a GPU that a phase can use: less than a thread of any part.
const LEAST_PARALLELISM: f64 = 1e-6;

fn phases(net: &GpuNet, driver: f64, share: f64) -> Arc<[Step]> {
    let step = |phase: &schema::gpu::Phase| {
        Step::Phase(Phase {
            overhead: SimDuration::from_secs_f64(phase.overhead.at(driver)),
            // The law's are of a whole GPU.
            compute: phase.compute.at(driver) / share,
            parallelism: (phase.parallelism.at(driver) / share).clamp(LEAST_PARALLELISM, 1.0),
            bytes: phase.bytes.at(driver),
            intensity: phase.intensity.at(driver),
        })
    };
    net.phases.iter().map(step).collect()
}

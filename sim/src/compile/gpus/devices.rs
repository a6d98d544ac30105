//! The devices of GPUs: whole ones, and the instances of those that are partitioned.

use schema::ids::HostId;
use schema::profile::{Part, PartKind, cost, parameter};
use schema::scenario::{Peers, Socket};
use schema::units::SimDuration;

use super::super::parts::PartOf;
use super::super::{Compiler, place};
use crate::error::SimError;
use crate::gpu::{DeviceSpec, GpuSpec, LinkSpec};
use crate::ids::GpuId;
use crate::tables::GpuRow;

/// Waves of a kernel that are kept apart: a kernel beside others has the blocks that it began with,
/// and those that followed.
const WAVES_PER_KERNEL: u32 = 2;

/// Blocks that a multiprocessor holds at once, of a part that does not say: as on compute capability
/// 5.0 to 7.0, 8.0 and 9.0 (CUDA C++ Programming Guide, technical specifications).
const BLOCKS_PER_SM: f64 = 32.0;
/// Hardware queues of a process, of a part that does not say: the default of
/// `CUDA_DEVICE_MAX_CONNECTIONS`, from memory.
const HARDWARE_QUEUES: f64 = 8.0;
/// Levels of stream priority, of a part that does not say: 0 to -5 as on recent parts, from memory.
const PRIORITY_LEVELS: f64 = 6.0;
/// Time slice of a part that does not say, in seconds: `TIMEOUT_128 << SCALE_3` us of
/// `kernel_fifo_gv100.c` in NVIDIA/open-gpu-kernel-modules.
const TIME_SLICE: f64 = 1.024e-3;

impl PartOf<'_> {
    /// Multiprocessors of an instance of so many compute slices.
    fn sms_of_instance(&self, compute: u32) -> Result<u32, SimError> {
        let exact = parameter::mig_sms(compute);
        let (name, slices) = if self.part.parameters.contains_key(&exact) {
            (exact.as_str(), 1.0)
        } else {
            (parameter::MIG_SMS_PER_SLICE, f64::from(compute))
        };
        let (whole, found) = (self.required(parameter::SMS)?, self.required(name)?);
        let most = (whole / slices).floor();
        if (1.0..=most).contains(&found) {
            return Ok((found * slices) as u32);
        }
        Err(SimError::Parameter {
            wanted_by: self.wanted_by.clone(),
            part: self.name.to_owned(),
            parameter: name.to_owned(),
            found,
            allowed: format!("from 1 to {most}"),
        })
    }

    fn spec(&self, clock: f64) -> Result<DeviceSpec, SimError> {
        let seconds = |name, default| {
            let value = self.or(name, default)?;
            Ok::<_, SimError>(SimDuration::from_secs_f64(value))
        };
        Ok(DeviceSpec {
            sms: self.required(parameter::SMS)? as u32,
            threads_per_sm: self.required(parameter::THREADS_PER_SM)? as u32,
            blocks_per_sm: self.or(parameter::BLOCKS_PER_SM, BLOCKS_PER_SM)? as u32,
            registers_per_sm: self.or(parameter::REGISTERS_PER_SM, 0.0)? as u32,
            shared_memory_per_sm: self.or(parameter::SHARED_MEMORY_PER_SM, 0.0)? as u64,
            dram_bandwidth: self.or(parameter::DRAM_BANDWIDTH, f64::INFINITY)?,
            dram_occupancy: self.or(parameter::DRAM_OCCUPANCY, 0.0)?,
            clock,
            waves_per_kernel: WAVES_PER_KERNEL,
            hardware_queues: self.or(parameter::HARDWARE_QUEUES, HARDWARE_QUEUES)? as u32,
            priority_levels: self.or(parameter::PRIORITY_LEVELS, PRIORITY_LEVELS)? as u32,
            time_slice: seconds(parameter::TIME_SLICE, TIME_SLICE)?,
            context_switch: seconds(parameter::CONTEXT_SWITCH, 0.0)?,
            interference_exponent: self.or(parameter::INTERFERENCE_EXPONENT, 1.0)?,
            overhead_interference: self.or(parameter::OVERHEAD_INTERFERENCE, 0.0)?,
        })
    }

    fn link(&self) -> Result<LinkSpec, SimError> {
        Ok(LinkSpec {
            bandwidth: self.or(parameter::PCIE_BANDWIDTH, f64::INFINITY)?,
            duplex_penalty: self.or(parameter::DUPLEX_PENALTY, 0.0)?,
        })
    }
}

/// The whole of a GPU with the parameters of `part`, for who runs a [`Gpu`](crate::gpu::Gpu) without
/// a scenario; `name` is the part's, and `wanted_by` says in messages who asks for it.
///
/// # Errors
/// If it is not a GPU, or lacks a parameter that a GPU must have, or one is out of its range.
pub fn gpu_of_part(name: &str, part: &Part, wanted_by: &str) -> Result<GpuSpec, SimError> {
    if part.kind != PartKind::Gpu {
        return Err(SimError::NotAGpu {
            wanted_by: wanted_by.to_owned(),
            part: name.to_owned(),
        });
    }
    let part = PartOf {
        name,
        part,
        wanted_by: wanted_by.to_owned(),
    };
    Ok(GpuSpec {
        socket: Socket::Near,
        link: part.link()?,
        devices: vec![part.spec(1.0)?],
    })
}

impl<'a> Compiler<'a> {
    /// The part of a GPU.
    pub(super) fn part_of_gpu(&self, host: HostId, gpu: u32) -> Result<PartOf<'a>, SimError> {
        let row = &self.scenario.hosts[host].gpus[gpu as usize];
        let key = format!("hosts.{}.gpus.{gpu}.part", self.scenario.hosts[host].key);
        let wanted_by = place(self.scenario, &key);
        let part = self.profile.part(&row.part, &wanted_by)?;
        if part.kind != PartKind::Gpu {
            return Err(SimError::NotAGpu {
                wanted_by,
                part: row.part.clone(),
            });
        }
        Ok(PartOf {
            name: &row.part,
            part,
            wanted_by,
        })
    }

    /// The table's row of a GPU, made when it is first asked for.
    pub(super) fn gpu(&mut self, host: HostId, gpu: u32) -> Result<GpuId, SimError> {
        let is_it = |row: &GpuRow| row.host == host && row.gpu == gpu;
        if let Some((id, _)) = self.tables.gpus.iter().find(|(_, row)| is_it(row)) {
            return Ok(id);
        }
        let part = self.part_of_gpu(host, gpu)?;
        let row = &self.scenario.hosts[host].gpus[gpu as usize];
        let whole = part.spec(row.clock)?;
        let devices = if row.mig.is_empty() {
            vec![whole]
        } else {
            let compute = part.required(parameter::MIG_COMPUTE_SLICES)?;
            let memory = part.required(parameter::MIG_MEMORY_SLICES)?;
            let used = |of: fn(&schema::scenario::MigFile) -> u32| {
                row.mig.iter().map(|mig| f64::from(of(mig))).sum::<f64>()
            };
            let (asked, has) = ((used(|m| m.compute), used(|m| m.memory)), (compute, memory));
            if asked.0 > has.0 || asked.1 > has.1 {
                let host = &self.scenario.hosts[host].key;
                return Err(SimError::Partitions {
                    wanted_by: place(self.scenario, &format!("hosts.{host}.gpus.{gpu}.mig")),
                    part: part.name.to_owned(),
                    asked,
                    has,
                });
            }
            let instances = row.mig.iter().map(|mig| {
                let sms = part.sms_of_instance(mig.compute)?;
                Ok(whole.partition(sms, f64::from(mig.memory) / memory))
            });
            instances.collect::<Result<_, SimError>>()?
        };
        Ok(self.tables.gpus.push(GpuRow {
            host,
            gpu,
            link: part.link()?,
            socket: self.scenario.hosts[host].gpus[gpu as usize].socket,
            sms: whole.sms,
            devices,
            processes: Vec::new(),
            keeps_kernels: false,
        }))
    }

    /// What copies between two GPUs of a host go over: NVLink if both have it.
    pub(super) fn way_between(&self, host: HostId, from: u32, to: u32) -> Result<Peers, SimError> {
        for gpu in [from, to] {
            let part = self.part_of_gpu(host, gpu)?;
            let default = if part.part.costs.contains_key(&cost::peer(Peers::Pcie)) {
                Peers::Pcie
            } else {
                Peers::Nvlink
            };
            let row = &self.scenario.hosts[host].gpus[gpu as usize];
            if row.peers.unwrap_or(default) == Peers::Pcie {
                return Ok(Peers::Pcie);
            }
        }
        Ok(Peers::Nvlink)
    }
}

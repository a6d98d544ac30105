//! From scenario and profile to the tables of GPUs: devices, processes, contexts and what they run.

use std::sync::Arc;

use schema::gpu::GpuNet;
use schema::ids::{ClassId, HostId, Id, StageId};
use schema::profile::{Driver, Part, PartKind, cost, parameter};
use schema::scenario::{
    Device, GpuUse, GpuWork, Hop, HostMemory, KernelFile, Kernels, LaunchFile, MpsPriority, Peers,
    Proxy, Serve, Socket, StageRole, Transport, Work,
};
use schema::units::{Bytes, SimDuration};

use super::{Asker, Compiler, place};
use crate::error::SimError;
use crate::gpu::{
    BlockShape, DeviceSpec, GpuSpec, Kernel, LinkSpec, MpsSpec, Phase, ProcessSpec, Step,
};
use crate::ids::{GpuId, NetId};
use crate::tables::{ContextRow, GpuRow, GpuServer, NetRow, PeerCopy, ProcessRow, Segment, Steps};

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

/// Where the numbers of a part come from: of a GPU, a network adapter or a host.
pub(super) struct PartOf<'a> {
    pub(super) name: &'a str,
    pub(super) part: &'a Part,
    /// File, line and key that ask for it.
    pub(super) wanted_by: String,
}

impl PartOf<'_> {
    /// A parameter, in its unit.
    pub(super) fn required(&self, name: &str) -> Result<f64, SimError> {
        match self.part.parameters.get(name) {
            Some(parameter) => self.checked(name, parameter.value),
            None => Err(SimError::NoParameter {
                wanted_by: self.wanted_by.clone(),
                part: self.name.to_owned(),
                parameter: name.to_owned(),
            }),
        }
    }

    pub(super) fn or(&self, name: &str, default: f64) -> Result<f64, SimError> {
        match self.part.parameters.get(name) {
            Some(parameter) => self.checked(name, parameter.value),
            None => Ok(default),
        }
    }

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

    fn checked(&self, name: &str, value: f64) -> Result<f64, SimError> {
        let below = match name {
            parameter::DUPLEX_PENALTY => 1.0,
            parameter::DRAM_OCCUPANCY => 0.9,
            _ => f64::INFINITY,
        };
        let from = match name {
            parameter::SMS
            | parameter::THREADS_PER_SM
            | parameter::BLOCKS_PER_SM
            | parameter::HARDWARE_QUEUES
            | parameter::PRIORITY_LEVELS
            | parameter::DRAM_BANDWIDTH
            | parameter::PCIE_BANDWIDTH
            | parameter::ROOT_COMPLEX_BANDWIDTH
            | parameter::MEMORY_BANDWIDTH
            | parameter::SOCKET_BANDWIDTH
            | parameter::MESSAGE_RATE
            | parameter::PATH_MTU
            | parameter::QP_CACHE
            | parameter::PAGE_SIZE
            | parameter::RATE
            | parameter::BURST => 1.0,
            parameter::MTU => 576.0,
            name if name.starts_with("gdr-") => 1e-3,
            parameter::TIME_SLICE => 1e-12,
            _ => 0.0,
        };
        let most = if name.starts_with("gdr-") {
            1.0
        } else {
            f64::INFINITY
        };
        if value >= from && value < below && value <= most {
            return Ok(value);
        }
        let below = if most.is_finite() {
            format!(" to {most}")
        } else if below.is_finite() {
            format!(" to below {below}")
        } else {
            " up".to_owned()
        };
        Err(SimError::Parameter {
            wanted_by: self.wanted_by.clone(),
            part: self.name.to_owned(),
            parameter: name.to_owned(),
            found: value,
            allowed: format!("from {from}{below}"),
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
    fn part_of_gpu(&self, host: HostId, gpu: u32) -> Result<PartOf<'a>, SimError> {
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
    fn gpu(&mut self, host: HostId, gpu: u32) -> Result<GpuId, SimError> {
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

    /// How a serving stage runs on GPUs.
    pub(super) fn gpu_server(
        &mut self,
        at: &Replica,
        serve: &'a Serve,
        gpu: &'a GpuUse,
    ) -> Result<GpuServer<'a>, SimError> {
        let host = at.host;
        let mut contexts = Vec::with_capacity(gpu.contexts() as usize);
        for device in &gpu.devices {
            let segments = self.segments(at, serve, gpu, *device)?;
            for process in 0..gpu.processes {
                let mut segments = segments.clone();
                for segment in &mut segments {
                    segment.process = self.process(segment.gpu, at.stage, gpu, *device, process);
                }
                for _ in 0..gpu.streams {
                    contexts.push(self.context(at, serve, gpu, *device, &segments)?);
                }
            }
        }
        let name = |what: &str| format!("stage/{}/{what}", at.name);
        let (launch, staging) = (name("launch"), name("staging"));
        Ok(GpuServer {
            gpu,
            contexts,
            launch: self.of_host_if_any(host, cost::LAUNCH, launch)?,
            staging: match gpu.host_memory {
                HostMemory::Pageable => self.of_host_if_any(host, cost::STAGING, staging)?,
                HostMemory::Pinned => None,
            },
            noise: name("inference"),
        })
    }

    fn context(
        &mut self,
        at: &Replica,
        serve: &'a Serve,
        gpu: &'a GpuUse,
        device: Device,
        segments: &[Segment],
    ) -> Result<ContextRow, SimError> {
        let host = at.host;
        let memory = match gpu.host_memory {
            HostMemory::Pinned => "pinned",
            HostMemory::Pageable => "pageable",
        };
        let asker = Asker::Gpu(host, device.gpu);
        let index = self.tables.instances.len();
        let name = |what: &str| format!("stage/{}/context/{index}/{what}", at.name);
        let (h2d, d2h) = (name("h2d"), name("d2h"));
        let preprocess = (serve.work.is_raw())
            .then(|| self.net(host, device.gpu, cost::PREPROCESS, gpu))
            .transpose()?;
        Ok(ContextRow {
            segments: segments.to_vec(),
            preprocess,
            h2d: self.counted_source(asker, &format!("{}/{memory}", cost::H2D), h2d)?,
            d2h: self.counted_source(asker, &format!("{}/{memory}", cost::D2H), d2h)?,
        })
    }

    /// What a context of the stage runs on `device`, and on those that peer copies lead to.
    fn segments(
        &mut self,
        at: &Replica,
        serve: &'a Serve,
        gpu: &'a GpuUse,
        device: Device,
    ) -> Result<Vec<Segment>, SimError> {
        let host = at.host;
        let Work::Kernels(kernels) = &serve.work else {
            let key = serve.work.key();
            let key = key.strip_suffix("+raw").unwrap_or(&key);
            let segment = Segment {
                gpu: self.gpu(host, device.gpu)?,
                device: device.instance.unwrap_or(0) as usize,
                process: 0,
                net: self.net(host, device.gpu, key, gpu)?,
                first: 0,
                then: None,
            };
            return Ok(vec![segment]);
        };
        self.segments_of_kernels(at, kernels, gpu, device)
    }

    fn segments_of_kernels(
        &mut self,
        at: &Replica,
        kernels: &'a Kernels,
        gpu: &'a GpuUse,
        device: Device,
    ) -> Result<Vec<Segment>, SimError> {
        let host = at.host;
        let name = &self.scenario.stages[at.stage].name;
        let mut segments: Vec<Segment> = Vec::new();
        let mut here = device;
        let mut from = 0;
        for index in 0..=kernels.work.len() {
            let (to, size) = match kernels.work.get(index) {
                Some(GpuWork::Kernel(_)) => continue,
                Some(GpuWork::PeerCopy { to, size }) => (Some(*to), *size),
                None => (None, Bytes(0)),
            };
            let list = kernels.work[from..index]
                .iter()
                .filter_map(|work| match work {
                    GpuWork::Kernel(kernel) => Some(kernel),
                    GpuWork::PeerCopy { .. } => None,
                });
            let id = self.gpu(host, here.gpu)?;
            self.tables.gpus[id].keeps_kernels = true;
            let device = here.instance.unwrap_or(0) as usize;
            let part = self.part_of_gpu(host, here.gpu)?;
            let spec = self.tables.gpus[id].devices[device];
            let list = self.kernels(
                &part,
                &spec,
                list,
                gpu.launch,
                &format!("stages.{name}.serve.kernels"),
            )?;
            let then = match to {
                Some(to) => {
                    let peer = format!("stage/{name}/peer/{index}");
                    let asker = Asker::Gpu(host, here.gpu);
                    let over = self.way_between(host, here.gpu, to.gpu)?;
                    let cost = self.counted_source(asker, &cost::peer(over), peer)?;
                    here = to;
                    Some(PeerCopy {
                        cost,
                        over,
                        size,
                        index: index as u32,
                    })
                }
                None => None,
            };
            let net = self
                .tables
                .nets
                .push(NetRow::of_kernels(name, gpu.launch, list));
            segments.push(Segment {
                gpu: id,
                device,
                process: 0,
                net,
                first: from as u32,
                then,
            });
            from = index + 1;
        }
        Ok(segments)
    }

    /// What copies between two GPUs of a host go over: NVLink if both have it.
    fn way_between(&self, host: HostId, from: u32, to: u32) -> Result<Peers, SimError> {
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

    /// The process number `index` of a stage on a device, made when it is first asked for.
    fn process(
        &mut self,
        id: GpuId,
        stage: StageId,
        gpu: &GpuUse,
        device: Device,
        index: u32,
    ) -> usize {
        // On another device that a peer copy leads to, the process is the same one.
        let owner = match &gpu.process {
            Some(name) => format!("process {name}"),
            None => format!(
                "stage {} {} {:?} {index}",
                stage.index(),
                device.gpu,
                device.instance
            ),
        };
        let device = device.instance.unwrap_or(0) as usize;
        let rows = &mut self.tables.gpus[id].processes;
        if let Some(known) = rows
            .iter()
            .position(|row| row.owner == owner && row.device == device)
        {
            return known;
        }
        rows.push(ProcessRow {
            owner,
            device,
            spec: ProcessSpec {
                mps: gpu.mps.map(|mps| MpsSpec {
                    cap: mps.percentage / 100.0,
                    level: match mps.priority {
                        MpsPriority::High => 0,
                        MpsPriority::Normal => 1,
                    },
                }),
            },
        });
        rows.len() - 1
    }

    /// The net `key` of a GPU's part.
    fn net(&mut self, host: HostId, gpu: u32, key: &str, uses: &GpuUse) -> Result<NetId, SimError> {
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

    fn kernels<'k>(
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

    /// That everything that processes, contexts and connections keep fits the memory of each device.
    pub(super) fn check_memory(&self) -> Result<(), SimError> {
        for (id, gpu) in self.tables.gpus.iter() {
            let part = self.part_of_gpu(gpu.host, gpu.gpu)?;
            let whole = part.or(parameter::MEMORY, f64::INFINITY)?;
            let context_memory = part.or(parameter::CONTEXT_MEMORY, 0.0)?;
            let file = &self.scenario.hosts[gpu.host].gpus[gpu.gpu as usize];
            for device in 0..gpu.devices.len() {
                let has = match file.mig.get(device) {
                    Some(mig) => {
                        let slices = part.required(parameter::MIG_MEMORY_SLICES)?;
                        whole * f64::from(mig.memory) / slices
                    }
                    None => whole,
                };
                let processes = gpu
                    .processes
                    .iter()
                    .filter(|row| row.device == device)
                    .count();
                let (nets, n_contexts) = self.memory_of_contexts(id, device);
                let (buffers, n_connections) = self.memory_of_connections(id, device);
                let processes = u32::try_from(processes).expect("processes are counted in 32 bits");
                let contexts = f64::from(processes) * context_memory;
                if contexts + nets + buffers > has {
                    let fits = if buffers > 0.0 {
                        let left = (has - contexts - nets).max(0.0);
                        let each = buffers / f64::from(n_connections);
                        format!("; {} connections would fit", (left / each) as u64)
                    } else {
                        String::new()
                    };
                    let of = |bytes: f64, n: u32, what: &str| {
                        let each = bytes / f64::from(n) / 1e9;
                        (bytes > 0.0).then(|| format!("{n} x {each:.2} GB for {what}"))
                    };
                    let needs = [
                        of(contexts, processes, "contexts of processes"),
                        of(nets, n_contexts, "nets of streams"),
                        of(buffers, n_connections, "buffers of connections"),
                    ];
                    let needs: Vec<String> = needs.into_iter().flatten().collect();
                    return Err(SimError::Memory {
                        wanted_by: part.wanted_by.clone(),
                        part: part.name.to_owned(),
                        has_gb: has / 1e9,
                        needs: format!("{}{fits}", needs.join(", ")),
                    });
                }
            }
        }
        Ok(())
    }

    /// What the nets of all contexts on a device keep, in bytes, and the number of contexts.
    fn memory_of_contexts(&self, id: GpuId, device: usize) -> (f64, u32) {
        let servers = self.tables.servers.rows().iter();
        let contexts = servers
            .filter_map(|server| server.gpu.as_ref())
            .flat_map(|g| &g.contexts);
        let segments = contexts.flat_map(|context| &context.segments);
        let here = segments.filter(|segment| segment.gpu == id && segment.device == device);
        here.fold((0.0, 0), |(bytes, n), segment| {
            let net = self.tables.nets[segment.net].net;
            (bytes + net.map_or(0.0, |net| net.memory), n + 1)
        })
    }

    /// What connections keep on a device, in bytes, and their number.
    fn memory_of_connections(&self, id: GpuId, device: usize) -> (f64, u32) {
        let mut sum = (0.0, 0);
        for (group_id, group) in self.scenario.groups.iter() {
            let clients = self.scenario.clients.iter();
            let clients = clients.filter(|(_, client)| client.group == group_id);
            let n: u32 = clients
                .map(|(client, _)| self.scenario.connections(client))
                .sum();
            let branches = group.branches.iter();
            let calls = branches.map(|branch| &self.scenario.call(branch).path);
            for path in std::iter::once(&group.path).chain(calls) {
                for (index, hop) in path.iter().enumerate() {
                    let before = index.checked_sub(1).map(|before| &path[before]);
                    let buffer = self.buffer_of_connection(id, device, hop, &group.classes);
                    if let Bytes(buffer @ 1..) = buffer {
                        let n = self.pooled(before, n);
                        sum.0 += f64::from(n) * buffer as f64;
                        sum.1 += n;
                    }
                }
            }
        }
        sum
    }

    /// What a connection over a hop keeps on a device.
    fn buffer_of_connection(
        &self,
        id: GpuId,
        device: usize,
        hop: &Hop,
        classes: &[ClassId],
    ) -> Bytes {
        let row = &self.tables.gpus[id];
        let stage = &self.scenario.stages[hop.to];
        let StageRole::Serve(Serve { gpu: Some(gpu), .. }) = &stage.role else {
            return Bytes(0);
        };
        let is_here = |d: &Device| d.gpu == row.gpu && d.instance.unwrap_or(0) as usize == device;
        let mut hosts = (0..stage.replicas).map(|i| self.scenario.host_of(hop.to, i));
        if hosts.all(|host| host != row.host) || !gpu.devices.iter().any(is_here) {
            return Bytes(0);
        }
        let by_gdr = hop.over == Transport::Gdr;
        let needed = || self.scenario.largest(hop, classes);
        let buffer = gpu.connection_buffer.or_else(|| by_gdr.then(needed));
        buffer.unwrap_or(Bytes(0))
    }

    /// How many of `n` connections go on from the stage at the end of the hop `before`: a proxy may keep
    /// fewer.
    fn pooled(&self, before: Option<&Hop>, n: u32) -> u32 {
        let Some(before) = before else { return n };
        let stage = &self.scenario.stages[before.to];
        match stage.role {
            StageRole::Proxy(Proxy { pool: Some(pool) }) => {
                n.min(pool.saturating_mul(stage.replicas))
            }
            _ => n,
        }
    }
}

/// A replica of a stage, for which tables are made.
pub(super) struct Replica {
    pub(super) stage: StageId,
    pub(super) host: HostId,
    /// In names of streams.
    pub(super) name: String,
}

impl<'a> NetRow<'a> {
    fn of_kernels(stage: &str, launch: LaunchFile, kernels: Vec<Kernel>) -> NetRow<'a> {
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

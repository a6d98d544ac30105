//! The inference contexts of a stage on GPUs: their processes, and what each runs where.

use schema::ids::{HostId, Id, StageId};
use schema::profile::cost;
use schema::scenario::{Device, GpuUse, GpuWork, HostMemory, Kernels, MpsPriority, Serve, Work};
use schema::units::Bytes;

use super::super::{Asker, Compiler};
use crate::error::SimError;
use crate::gpu::{MpsSpec, ProcessSpec};
use crate::ids::GpuId;
use crate::tables::{ContextRow, GpuServer, NetRow, PeerCopy, ProcessRow, Segment};

/// A replica of a stage, for which tables are made.
pub(in crate::compile) struct Replica {
    pub(in crate::compile) stage: StageId,
    pub(in crate::compile) host: HostId,
    /// In names of streams.
    pub(in crate::compile) name: String,
}

impl<'a> Compiler<'a> {
    /// How a serving stage runs on GPUs.
    pub(in crate::compile) fn gpu_server(
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
}

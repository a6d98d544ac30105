//! What processes, contexts and connections keep in the memory of GPUs.

use schema::ids::ClassId;
use schema::profile::parameter;
use schema::scenario::{Device, Hop, Proxy, Serve, StageRole, Transport};
use schema::units::Bytes;

use super::super::Compiler;
use crate::error::SimError;
use crate::ids::GpuId;

impl Compiler<'_> {
    /// That everything that processes, contexts and connections keep fits the memory of each device.
    pub(in crate::compile) fn check_memory(&self) -> Result<(), SimError> {
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

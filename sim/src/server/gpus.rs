//! The GPUs of a replication: which are together on a bus, and whose their streams are.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::ChaCha8Rng;
use schema::ids::{HostId, Id, Table};
use schema::random::{Seed, stream};
use schema::scenario::Peers;
use schema::units::SimTime;

use crate::costs::Used;
use crate::engine::Forecast;
use crate::gpu::{Access, Gpu, GpuSpec, HostSpec, Memory, Step, StreamId};
use crate::ids::{BusId, GpuId, InstanceId, NetId, ServerId};
use crate::tables::{ContextRow, GpuMemory, NicRow, Segment, Tables};

/// All GPUs of a replication.
#[derive(Debug)]
pub(crate) struct Gpus {
    pub(super) rows: Table<BusId, Row>,
    places: Table<GpuId, Place>,
    /// By host, its bus if its memory or root complex limits what moves.
    hosts: Vec<Option<BusId>>,
    /// The streams of each instance, by segment.
    pub(super) streams: Vec<Vec<StreamId>>,
    /// What was made of nets by batch: net, requests, driver, and the device's share of its GPU.
    pub(super) programs: BTreeMap<(NetId, u32, u64, u64), Arc<[Step]>>,
    /// By server, for its net's residual.
    pub(super) noise: Vec<Option<ChaCha8Rng>>,
    /// What the laws of each net were used for.
    pub(crate) used: Vec<Used>,
}

/// Where a GPU is.
#[derive(Clone, Copy, Debug)]
struct Place {
    bus: BusId,
    /// The number of its first device there.
    first: usize,
}

/// The GPUs that share their links or the memory of their host; none of a host that has only network
/// adapters.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) gpu: Gpu<InstanceId>,
    /// Instance and segment, by stream.
    pub(super) owners: Vec<(InstanceId, usize)>,
    pub(super) keeps_kernels: bool,
    pub(super) has_changed: bool,
    pub(super) forecast: Forecast,
}

impl Gpus {
    pub(crate) fn new(tables: &Tables<'_>, seed: Seed) -> Gpus {
        let (mut rows, places, hosts) = buses(tables);
        let mut processes = Vec::new();
        for (row, place) in tables.gpus.rows().iter().zip(places.rows()) {
            let Row {
                gpu, keeps_kernels, ..
            } = &mut rows[place.bus];
            let ids = row
                .processes
                .iter()
                .map(|p| gpu.add_process(place.first + p.device, &p.spec));
            processes.push(ids.collect::<Vec<_>>());
            *keeps_kernels |= row.keeps_kernels;
        }
        let mut streams = Vec::new();
        for (instance, server) in tables.instances.iter() {
            let mut own = Vec::new();
            if let Some(context) = context(tables, *server, instance) {
                for (index, segment) in context.segments.iter().enumerate() {
                    let row = &mut rows[places[segment.gpu].bus];
                    let process = processes[segment.gpu.index()][segment.process];
                    own.push(row.gpu.add_stream(process));
                    row.owners.push((instance, index));
                }
            }
            streams.push(own);
        }
        for bus in rows.ids() {
            if rows[bus].keeps_kernels {
                rows[bus].gpu.keep_kernels();
            }
        }
        let noise = tables.servers.rows().iter().map(|server| {
            let name = &server.gpu.as_ref()?.noise;
            Some(stream(seed, name))
        });
        Gpus {
            rows,
            places,
            hosts,
            streams,
            programs: BTreeMap::new(),
            noise: noise.collect(),
            used: vec![Used::NEVER; tables.nets.len()],
        }
    }

    /// A network adapter moves bytes to or from the memory of a GPU; `token` is its name.
    pub(crate) fn move_to_gpu(
        &mut self,
        now: SimTime,
        memory: &GpuMemory,
        access: Access,
        bytes: u64,
        token: u64,
    ) {
        let place = self.places[memory.gpu];
        let device = Memory::Device(place.first + memory.device);
        self.rows[place.bus].move_by_bus(now, device, access, bytes, memory.speed, token);
    }

    /// A network adapter moves bytes to or from the memory of its host, at no more than `speed` bytes
    /// per second; whether it shares that with anything, and so is not told when it is done at once.
    pub(crate) fn move_to_host(
        &mut self,
        now: SimTime,
        nic: &NicRow,
        access: Access,
        bytes: u64,
        speed: f64,
        token: u64,
    ) -> bool {
        let Some(bus) = self.hosts[nic.host.index()] else {
            return false;
        };
        let memory = Memory::Host(nic.socket);
        self.rows[bus].move_by_bus(now, memory, access, bytes, speed, token);
        true
    }

    pub(super) fn bus_of(&self, segment: &Segment) -> BusId {
        self.places[segment.gpu].bus
    }

    /// The number of a segment's device on its bus.
    pub(super) fn device_of(&self, segment: &Segment) -> usize {
        self.places[segment.gpu].first + segment.device
    }
}

impl Row {
    fn new(host: HostSpec, gpus: &[GpuSpec]) -> Row {
        Row {
            gpu: Gpu::joined(host, gpus),
            owners: Vec::new(),
            keeps_kernels: false,
            has_changed: false,
            forecast: Forecast::default(),
        }
    }

    fn move_by_bus(
        &mut self,
        now: SimTime,
        memory: Memory,
        access: Access,
        bytes: u64,
        speed: f64,
        token: u64,
    ) {
        self.gpu
            .move_by_bus(now, memory, access, bytes, speed, token);
        self.has_changed = true;
    }
}

/// The buses, where on them each GPU is, and that of each host whose memory limits.
type Buses = (Table<BusId, Row>, Table<GpuId, Place>, Vec<Option<BusId>>);

/// GPUs are together on a bus that share the memory of their host, or that peer copies over PCIe join.
fn buses(tables: &Tables<'_>) -> Buses {
    let gpus = tables.gpus.rows();
    // By GPU, the first of those that it is together with.
    let mut first: Vec<usize> = (0..gpus.len()).collect();
    let servers = tables.servers.rows().iter();
    let contexts = servers.filter_map(|server| server.gpu.as_ref());
    for context in contexts.flat_map(|gpu| &gpu.contexts) {
        for pair in context.segments.windows(2) {
            if pair[0].then.is_none_or(|copy| copy.over == Peers::Nvlink) {
                continue;
            }
            let (a, b) = (first[pair[0].gpu.index()], first[pair[1].gpu.index()]);
            for gpu in first.iter_mut().filter(|gpu| **gpu == a.max(b)) {
                *gpu = a.min(b);
            }
        }
    }
    let is_limited = |host: HostId| tables.host_specs[host].is_limited();
    for (index, gpu) in gpus.iter().enumerate() {
        if is_limited(gpu.host) {
            let same = gpus.iter().position(|other| other.host == gpu.host);
            first[index] = same.expect("it is there itself");
        }
    }
    let mut rows = Table::default();
    let mut buses: Vec<Option<BusId>> = vec![None; first.len()];
    let mut places = Table::default();
    for (index, head) in first.iter().enumerate() {
        if index == *head {
            let members = (0..first.len()).filter(|gpu| first[*gpu] == index);
            let specs: Vec<GpuSpec> = members
                .map(|gpu| GpuSpec {
                    link: gpus[gpu].link,
                    socket: gpus[gpu].socket,
                    devices: gpus[gpu].devices.clone(),
                })
                .collect();
            let host = tables.host_specs[gpus[index].host];
            buses[index] = Some(rows.push(Row::new(host, &specs)));
        }
        let before = (0..index).filter(|gpu| first[*gpu] == *head);
        places.push(Place {
            bus: buses[*head].expect("the first of those together is there"),
            first: before.map(|gpu| gpus[gpu].devices.len()).sum(),
        });
    }
    let hosts = tables.host_specs.iter().map(|(host, spec)| {
        let with_gpu = gpus.iter().position(|gpu| gpu.host == host);
        let known = with_gpu.and_then(|gpu| buses[first[gpu]]);
        (spec.is_limited()).then(|| known.unwrap_or_else(|| rows.push(Row::new(*spec, &[]))))
    });
    let hosts = hosts.collect();
    (rows, places, hosts)
}

/// The context of an instance, if it is on a GPU.
pub(super) fn context<'t>(
    tables: &'t Tables<'_>,
    server: ServerId,
    instance: InstanceId,
) -> Option<&'t ContextRow> {
    let row = &tables.servers[server];
    let first = row.instances[0].index();
    Some(&row.gpu.as_ref()?.contexts[instance.index() - first])
}

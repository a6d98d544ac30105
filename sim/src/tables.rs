//! The dense tables that the event loop looks up, made by [`Tables::compile`].

mod paths;

use schema::gpu::GpuNet;
use schema::ids::{ClientId, CoreSetId, GroupId, HostId, Id, StageId, Table};
use schema::profile::{CostLaw, Driver};
use schema::scenario::{BatchPolicy, GpuUse, HandBack, LaunchFile, Peers, Scenario, Socket};
use schema::units::{ByteRate, Bytes, SimDuration};

use crate::costs::Used;
use crate::fabric::packets::Format;
use crate::gpu::{DeviceSpec, HostSpec, Kernel, LinkSpec, ProcessSpec};
use crate::ids::{
    BalancerId, ConnectionId, GpuId, InstanceId, LawId, NetId, NicId, PathId, PoolId, RoleId,
    ServerId, SourceId,
};
use crate::network::WireTables;
use crate::pipeline::Connection;
use crate::replication::Replication;
use crate::stations::CoreSetTable;

pub(crate) use paths::*;

/// All that the event loop looks up.
#[derive(Debug)]
pub(crate) struct Tables<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) core_sets: Vec<CoreSetTable>,
    pub(crate) laws: Table<LawId, Law<'a>>,
    pub(crate) sources: Table<SourceId, SourceRow>,
    pub(crate) roles: Table<RoleId, Role>,
    pub(crate) wires: WireTables,
    pub(crate) groups: Table<GroupId, GroupRow>,
    pub(crate) paths: Table<PathId, PathRow>,
    pub(crate) balancers: Table<BalancerId, BalancerRow>,
    /// How many connections each has.
    pub(crate) pools: Table<PoolId, u32>,
    pub(crate) clients: Table<ClientId, ClientRow>,
    pub(crate) hop_sources: Vec<HopSources>,
    /// By client and call: the name of the stream that it draws from, if it draws.
    pub(crate) call_draws: Vec<Option<String>>,
    /// In the order in which they happen.
    pub(crate) outages: Vec<OutageRow>,
    pub(crate) connections: Table<ConnectionId, ConnectionRow>,
    /// Number of directions of queue pairs that connections share.
    pub(crate) n_queue_pairs: u32,
    /// Connections, each with its companion.
    pub(crate) companions: Vec<[ConnectionId; 2]>,
    pub(crate) servers: Table<ServerId, ServerRow<'a>>,
    pub(crate) instances: Table<InstanceId, ServerId>,
    pub(crate) host_specs: Table<HostId, HostSpec>,
    pub(crate) gpus: Table<GpuId, GpuRow>,
    pub(crate) nets: Table<NetId, NetRow<'a>>,
    pub(crate) nics: Table<NicId, NicRow>,
}

/// A cost of a part.
#[derive(Debug)]
pub(crate) struct Law<'a> {
    pub(crate) law: &'a CostLaw,
    pub(crate) part: String,
    pub(crate) cost: String,
}

/// A use of a cost.
#[derive(Debug)]
pub(crate) struct SourceRow {
    pub(crate) law: LawId,
    /// Where it is spent; none for a link's.
    pub(crate) machine: Option<usize>,
    /// Of its stream.
    pub(crate) name: String,
}

/// Whose core time it is.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    /// None of clients.
    pub(crate) stage: Option<StageId>,
    pub(crate) host: HostId,
    pub(crate) set: CoreSetId,
    pub(crate) machine: usize,
    /// Its number among the replicas of its stage, or its host's among those of its kind.
    pub(crate) replica: usize,
    /// Of a serving stage.
    pub(crate) server: Option<ServerId>,
    /// Of hops over network adapters.
    pub(crate) nic: Option<NicId>,
    /// Where requests go and replies come from over `gdr`.
    pub(crate) memory: Option<[GpuMemory; 2]>,
    /// Threads that receive its messages; `None` if each connection has its own.
    pub(crate) receive_threads: Option<u32>,
    /// Whether those threads poll for messages.
    pub(crate) polls: bool,
}

/// A group of clients.
#[derive(Debug)]
pub(crate) struct GroupRow {
    pub(crate) is_closed_loop: bool,
    /// How long its clients wait for the reply to an attempt.
    pub(crate) timeout: Option<SimDuration>,
    pub(crate) path: PathId,
    /// The stage at the end of the path.
    pub(crate) stage: StageId,
}

/// The memory of a GPU, as a network adapter reaches it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct GpuMemory {
    pub(crate) gpu: GpuId,
    pub(crate) device: usize,
    /// What the way between the two allows, in bytes per second.
    pub(crate) speed: f64,
}

/// A network adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NicRow {
    pub(crate) host: HostId,
    pub(crate) socket: Socket,
    /// Time that it takes between two messages that it sends.
    pub(crate) gap: SimDuration,
    /// Time that a message takes through it, beside all else.
    pub(crate) latency: SimDuration,
    /// Until the first byte of a message has come from memory.
    pub(crate) dma_read_latency: SimDuration,
    /// Most bytes of a message that go to it with the post.
    pub(crate) inline_limit: u64,
    /// How messages are put into packets.
    pub(crate) format: Format,
    /// What a message takes on the wire beside its packets, by verb; and what asks for a read.
    pub(crate) verb_headers: [Bytes; 3],
    pub(crate) read_request_header: Bytes,
    /// Queue pairs whose contexts it keeps; `None` if all.
    pub(crate) qp_cache: Option<u64>,
    /// Bytes that it moves as one: a number of whole packets.
    pub(crate) burst: u64,
    /// In each direction; `None` if it never limits.
    pub(crate) pcie: Option<ByteRate>,
}

/// A client, with the sources of the costs that its connections' threads have beside those of hops.
#[derive(Debug)]
pub(crate) struct ClientRow {
    pub(crate) role: RoleId,
    pub(crate) connections: Vec<ConnectionId>,
    /// `None` where the profile has no such cost.
    pub(crate) wakeup: Option<SourceId>,
    pub(crate) prepare: SourceId,
    pub(crate) postprocess: SourceId,
    pub(crate) bookkeeping: Option<SourceId>,
    /// How requests come again whose attempts it has given up; none if they do not.
    pub(crate) retry: Option<RetryRow>,
    /// Where the first of its calls is among all.
    pub(crate) first_site: usize,
}

/// The sources of a client's costs on a hop, there and back.
#[derive(Clone, Debug)]
pub(crate) struct HopSources {
    /// In names of streams.
    pub(crate) name: String,
    /// The first hosts that it joins.
    pub(crate) ends: [HostId; 2],
    /// Of the stage at its end, if that serves.
    pub(crate) notify: Option<SourceId>,
    /// Of the stage at its end.
    pub(crate) bookkeeping: Option<SourceId>,
    pub(crate) send: [SourceId; 2],
    pub(crate) receive: [SourceId; 2],
    /// `None` where no part has such a cost.
    pub(crate) delay: [Option<SourceId>; 2],
    /// What it costs the receiver to read from the sender's memory; `None` if it does not.
    pub(crate) ask: Option<[SourceId; 2]>,
    /// Of memory for each message, there and back; `None` if it is done once.
    pub(crate) register: [Option<SourceId>; 2],
    /// What it costs beside that to put messages into packets and to take them out, where no adapter
    /// does; and what a messaging library costs its ends.
    pub(crate) segment: [Option<SourceId>; 2],
    pub(crate) reassemble: [Option<SourceId>; 2],
    /// Of the sender and the receiver.
    pub(crate) frame: [[Option<SourceId>; 2]; 2],
    /// Of the proxy to which the hop leads: to move a message from one side to the other, or to hand
    /// it on where both sides are network adapters that share its memory. `None` at a stage that
    /// serves, and where handing on costs nothing.
    pub(crate) translate: Option<[SourceId; 2]>,
    /// Whether the proxy need not copy.
    pub(crate) is_shared: bool,
}

/// A serving stage, with the sources of the costs of its instances.
#[derive(Debug)]
pub(crate) struct ServerRow<'a> {
    pub(crate) stage: StageId,
    pub(crate) role: RoleId,
    /// Its number among the replicas of its stage, and how many there are.
    pub(crate) replica: u32,
    pub(crate) replicas: u32,
    pub(crate) batch: BatchPolicy,
    pub(crate) hand_back: HandBack,
    pub(crate) instances: Vec<InstanceId>,
    /// Work that a request asks for, in seconds; zero if it is not synthetic.
    pub(crate) seconds: f64,
    pub(crate) dispatch: SourceId,
    /// Of a stage without a GPU.
    pub(crate) on_cores: Option<OnCores>,
    pub(crate) gpu: Option<GpuServer<'a>>,
}

/// The sources of what an instance does with a batch on its host's cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnCores {
    pub(crate) h2d: SourceId,
    /// Of raw inputs only.
    pub(crate) preprocess: Option<SourceId>,
    pub(crate) inference: SourceId,
    pub(crate) d2h: SourceId,
}

/// A GPU that some stage runs on.
#[derive(Debug)]
pub(crate) struct GpuRow {
    pub(crate) host: HostId,
    /// Its number on its host.
    pub(crate) gpu: u32,
    pub(crate) link: LinkSpec,
    pub(crate) socket: Socket,
    /// Multiprocessors of the whole.
    pub(crate) sms: u32,
    /// The whole, or an instance each of a partitioned one.
    pub(crate) devices: Vec<DeviceSpec>,
    pub(crate) processes: Vec<ProcessRow>,
    pub(crate) keeps_kernels: bool,
}

impl GpuRow {
    /// A device's part of the multiprocessors.
    pub(crate) fn share(&self, device: usize) -> f64 {
        f64::from(self.devices[device].sms) / f64::from(self.sms)
    }
}

/// A process on a GPU.
#[derive(Debug)]
pub(crate) struct ProcessRow {
    /// What tells it from others.
    pub(crate) owner: String,
    pub(crate) device: usize,
    pub(crate) spec: ProcessSpec,
}

/// How a serving stage runs on GPUs.
#[derive(Debug)]
pub(crate) struct GpuServer<'a> {
    pub(crate) gpu: &'a GpuUse,
    /// By instance of the stage.
    pub(crate) contexts: Vec<ContextRow>,
    /// Core time of launches; `None` where the profile has no such cost.
    pub(crate) launch: Option<SourceId>,
    /// Core time of copies to and from pageable memory.
    pub(crate) staging: Option<SourceId>,
    /// Name of the stream of the nets' residuals.
    pub(crate) noise: String,
}

/// An inference context on a GPU.
#[derive(Debug)]
pub(crate) struct ContextRow {
    /// What it runs, on one GPU after the other; never empty.
    pub(crate) segments: Vec<Segment>,
    /// Of raw inputs only.
    pub(crate) preprocess: Option<NetId>,
    pub(crate) h2d: SourceId,
    pub(crate) d2h: SourceId,
}

/// What a context runs on one GPU.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) gpu: GpuId,
    pub(crate) device: usize,
    /// Among the GPU's.
    pub(crate) process: usize,
    pub(crate) net: NetId,
    /// The number of its first step in the work of its stage.
    pub(crate) first: u32,
    pub(crate) then: Option<PeerCopy>,
}

/// A copy to the GPU of the next segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerCopy {
    pub(crate) cost: SourceId,
    pub(crate) over: Peers,
    pub(crate) size: Bytes,
    /// Its number in the work of its stage.
    pub(crate) index: u32,
}

/// What GPUs run.
#[derive(Debug)]
pub(crate) struct NetRow<'a> {
    pub(crate) name: String,
    pub(crate) part: String,
    pub(crate) launch: LaunchFile,
    /// Where it is a profile's.
    pub(crate) net: Option<&'a GpuNet>,
    pub(crate) steps: Steps,
}

/// The steps of a net.
#[derive(Debug)]
pub(crate) enum Steps {
    /// Those of its phases' laws.
    Phases,
    /// Kernels, for one request.
    Kernels(Vec<Kernel>),
}

impl Tables<'_> {
    /// The hop that the connection's request is on or has passed last.
    pub(crate) fn hop(&self, connection: &Connection) -> &HopRow {
        &self.paths[connection.path].hops[usize::from(connection.hop)]
    }

    /// The sources of the costs of that hop.
    pub(crate) fn sources(&self, connection: &Connection) -> &HopSources {
        &self.hop_sources[connection.sources + usize::from(connection.hop)]
    }

    /// Size of the connection's request on a hop.
    pub(crate) fn payload(&self, connection: &Connection, hop: usize) -> Bytes {
        let given = self.paths[connection.path].hops[hop].payload;
        given.unwrap_or_else(|| self.scenario.classes[connection.class].payload)
    }

    /// Size of the reply to the connection's request on a hop.
    pub(crate) fn reply(&self, connection: &Connection, hop: usize) -> Bytes {
        let given = self.paths[connection.path].hops[hop].reply;
        given.unwrap_or_else(|| self.scenario.classes[connection.class].reply)
    }

    /// Size of what the stage that the connection's request is at takes in.
    pub(crate) fn input(&self, connection: &Connection) -> Bytes {
        self.payload(connection, usize::from(connection.hop))
    }

    /// Size of what the stage that the connection's request is at puts out.
    pub(crate) fn output(&self, connection: &Connection) -> Bytes {
        let next = usize::from(connection.hop) + 1;
        if next == self.paths[connection.path].n_hops {
            self.reply(connection, next - 1)
        } else {
            self.payload(connection, next)
        }
    }

    /// Number of machines that hosts are on.
    pub(crate) fn n_machines(&self) -> usize {
        let sets = self.scenario.core_sets.rows().iter();
        sets.map(|set| set.machine + 1).max().unwrap_or(0)
    }

    /// The memories of all laws that are slower after idling, in seconds, each once.
    pub(crate) fn memories_s(&self) -> Vec<f64> {
        let laws = self.laws.rows().iter();
        let mut memories: Vec<f64> = laws.filter_map(|law| Some(law.law.idle?.memory)).collect();
        memories.sort_by(f64::total_cmp);
        memories.dedup();
        memories
    }

    /// A warning for each law and each net that some replication used outside its range.
    pub(crate) fn warnings(&self, replications: &[Replication]) -> Vec<String> {
        let all = |used: fn(&Replication) -> &Vec<Used>, index: usize| {
            let used = replications
                .iter()
                .map(|replication| used(replication)[index]);
            used.fold(Used::NEVER, Used::and)
        };
        let laws = self.laws.iter().filter_map(|(id, row)| {
            let used = all(|replication| &replication.used, id.index());
            let of = format!("cost `{}` of part `{}`", row.cost, row.part);
            warning(&of, row.law.per, row.law.range, used)
        });
        let nets = self.nets.iter().filter_map(|(id, row)| {
            let net = row.net?;
            let used = all(|replication| &replication.nets_used, id.index());
            let of = format!("net `{}` of part `{}`", row.name, row.part);
            warning(&of, net.per, net.range, used)
        });
        let n_lost: u64 = replications.iter().map(|r| r.n_lost).sum();
        let lost = (n_lost > 0).then(|| {
            format!("buffers of links were full: {n_lost} packets were lost and sent again")
        });
        let mut warnings: Vec<String> = laws.chain(nets).chain(lost).collect();
        warnings.sort();
        warnings
    }
}

/// What to say if what was fitted on `range` was used outside it.
fn warning(of: &str, per: Driver, [low, high]: [f64; 2], used: Used) -> Option<String> {
    // A driver computed in floating point may miss the end of the range by rounding.
    let slack = |end: f64| 1e-9 * end.abs();
    let is_inside = used.low >= low - slack(low) && used.high <= high + slack(high);
    if is_inside || used == Used::NEVER {
        return None;
    }
    let unit = match per {
        Driver::Bytes => "bytes",
        Driver::Requests => "requests",
        Driver::Seconds => "seconds",
        Driver::Kernels => "kernels",
        Driver::Packets => "packets",
    };
    let span = |a: f64, b: f64| {
        if a < b {
            format!("{a} to {b}")
        } else {
            a.to_string()
        }
    };
    Some(format!(
        "extrapolates: {of} was fitted on {} {unit} and is used for {}; measure it there",
        span(low, high),
        span(used.low, used.high)
    ))
}

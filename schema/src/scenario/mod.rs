//! What is served, where, and under which load.
//!
//! [`ScenarioFile`] mirrors the file. [`Scenario`] is what the program uses: checked, with names
//! resolved to ids and every default filled in. Reading a scenario never looks at the machine.

mod calls;
mod fabric;
mod file;
mod gpu;
mod hops;
mod plain;
mod source;
mod tcp;
mod validate;
mod verbs;

use std::path::Path;
use std::sync::Arc;

pub use calls::*;
pub use fabric::*;
pub use file::*;
pub use gpu::*;
pub use hops::{Balancing, Hop};
pub use plain::*;
pub use source::Source;
pub use tcp::{Ethernet, LinkMode, Tcp};
pub use verbs::{Nic, Verbs};

use crate::arrivals::read_replay;
use crate::error::FileError;
use crate::ids::{
    ClassId, ClientId, CoreSetId, GroupId, HostId, Id, LinkId, StageId, SwitchId, Table,
};
use crate::nets::NetInfo;
use crate::random::Seed;
use crate::units::{ByteRate, Bytes, SimDuration};

/// The version of the scenario format that this program reads and writes.
pub const SCENARIO_FORMAT: u32 = 1;

/// A checked scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Seed of every random stream.
    pub seed: Seed,
    /// What is left out at the start.
    pub warmup: Extent,
    /// How much is measured.
    pub measure: Extent,
    /// By what part of it the fair rate of what is on a link may change before it is divided again,
    /// from 0 to 1.
    pub rate_tolerance: f64,
    /// Where the hosts are.
    pub placement: Placement,
    /// The sets of cores that hosts run on; hosts of one machine may share a set.
    pub core_sets: Table<CoreSetId, CoreSet>,
    /// The hosts.
    pub hosts: Table<HostId, Host>,
    /// The switches: those that are named, and then those of a generated network.
    pub switches: Table<SwitchId, Switch>,
    /// The links: those that are listed, and then those of a generated network.
    pub links: Table<LinkId, Link>,
    /// The access network of clients, if there is one.
    pub access: Option<Access>,
    /// Faults of links.
    pub faults: Vec<Fault>,
    /// Losses of hosts and stages.
    pub outages: Vec<Outage>,
    /// The pipeline's stages.
    pub stages: Table<StageId, Stage>,
    /// The groups of clients.
    pub groups: Table<GroupId, Group>,
    /// Every client, group by group.
    pub clients: Table<ClientId, Client>,
    /// Every class of requests, group by group.
    pub classes: Table<ClassId, Class>,
    file: ScenarioFile,
    source: Source,
}

/// Where the hosts of a scenario are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Each is a machine of its own.
    Separate,
    /// Processes of one machine.
    Local,
    /// Network namespaces of one machine.
    Netns,
    /// On GPUs alone, without messages.
    Device,
}

/// Cores that the same hosts share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreSet {
    /// The machine's numbers of the cores, sorted; `0..cores` of a host of its own.
    pub cores: Vec<u32>,
    /// The machine the cores belong to: sets with the same number are parts of one machine.
    pub machine: usize,
    /// The profile's part of the hosts that share it.
    pub part: String,
}

/// A host.
#[derive(Clone, PartialEq, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its key in the file, which several may share: those follow one another.
    pub key: String,
    /// Its number among those.
    pub replica: usize,
    /// The profile's part that gives its costs.
    pub part: String,
    /// The cores its roles run on.
    pub core_set: CoreSetId,
    /// Whether its roles are kept to those cores by the operating system.
    pub pinned: bool,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// Its network adapter.
    pub nic: Option<Nic>,
}

/// A link, with the same rate and delay in both directions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it joins.
    pub between: [Vertex; 2],
    /// The key that describes it, such as `links.0` or `fabric.star`.
    pub key: String,
    /// The profile's part that gives its delay.
    pub part: Option<String>,
    /// Data rate of each direction; `None` if it never limits.
    pub rate: Option<ByteRate>,
    /// One-way propagation delay, without what the part adds.
    pub delay: SimDuration,
    /// What packets look like on it; as its part says if `None`.
    pub ethernet: Option<Ethernet>,
}

/// A stage of the pipeline.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Where it runs; of several hosts, on which a replica each runs, the first.
    pub host: HostId,
    /// Number of its replicas.
    pub replicas: u32,
    /// Threads that receive messages of all its connections; `None` if each has its own.
    pub receive_threads: Option<u32>,
    /// What it does.
    pub role: StageRole,
    /// What it calls before it replies.
    pub steps: Vec<Step>,
}

/// What a stage does.
#[derive(Clone, PartialEq, Debug)]
pub enum StageRole {
    /// Forwards.
    Proxy(Proxy),
    /// Serves a net.
    Serve(Serve),
    /// Stands on no host: a queueing station, or what leads requests between them.
    Plain(PlainStage),
}

/// A proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// Connections that each of its replicas keeps to each replica of a next stage; `None` if it has
    /// one for each of its clients'.
    pub pool: Option<u32>,
}

/// A serving stage.
#[derive(Clone, PartialEq, Debug)]
pub struct Serve {
    /// What it runs.
    pub work: Work,
    /// Number of inference contexts.
    pub instances: u32,
    /// How requests are put together.
    pub batch: BatchPolicy,
    /// How the outputs of a batch are handed back.
    pub hand_back: HandBack,
    /// The GPUs that it runs on; `None` if it runs on its host's cores.
    pub gpu: Option<GpuUse>,
}

/// How requests are put together into batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchPolicy {
    /// Most requests in a batch.
    pub max: u32,
    /// Longest time that the first request of a batch waits for others.
    pub delay: SimDuration,
    /// Sizes that are taken before the delay is over, ascending; none if there are no such sizes.
    pub preferred: Vec<u32>,
    /// Whether a batch still grows while it waits for an inference context.
    pub close: BatchClose,
}

/// What a serving stage runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Work {
    /// A neural net.
    Net {
        /// Which.
        net: &'static NetInfo,
        /// Side of its square input, in pixels.
        side: u32,
        /// What the client sends.
        input: InputFile,
        /// A safetensors file.
        weights: Option<String>,
    },
    /// Work of a given length.
    Synthetic(SyntheticFile),
    /// A net that only a profile knows.
    Profiled(ProfiledFile),
    /// Work on a GPU given kernel by kernel.
    Kernels(Kernels),
}

impl Work {
    /// Size of a request.
    pub fn input_bytes(&self) -> Bytes {
        match self {
            Work::Net {
                net,
                side,
                input: InputFile::Preprocessed,
                ..
            } => net.preprocessed_bytes(*side),
            Work::Net {
                input: InputFile::Raw { width, height },
                ..
            } => crate::nets::raw_bytes(*width, *height),
            Work::Synthetic(synthetic) => synthetic.input,
            Work::Profiled(net) => net.input,
            Work::Kernels(kernels) => kernels.input,
        }
    }

    /// Size of a reply.
    pub fn output_bytes(&self) -> Bytes {
        match self {
            Work::Net { net, side, .. } => net.output_bytes(*side),
            Work::Synthetic(synthetic) => synthetic.output,
            Work::Profiled(net) => net.output,
            Work::Kernels(kernels) => kernels.output,
        }
    }

    /// Whether the server preprocesses the input.
    pub const fn is_raw(&self) -> bool {
        matches!(
            self,
            Work::Net {
                input: InputFile::Raw { .. },
                ..
            } | Work::Profiled(ProfiledFile { raw: true, .. })
                | Work::Kernels(Kernels { raw: Some(_), .. })
        )
    }

    /// The name under which a profile keeps its costs, such as `resnet50@224` or `synthetic`.
    ///
    /// With raw input it is `resnet50@224+raw`: preprocessing leaves its pixels in the caches where
    /// the net's weights were, and the forward pass after it takes longer.
    pub fn key(&self) -> String {
        match self {
            Work::Net { net, side, .. } => {
                let raw = if self.is_raw() { "+raw" } else { "" };
                format!("{}@{side}{raw}", net.name)
            }
            Work::Synthetic(_) => "synthetic".to_owned(),
            Work::Profiled(net) if net.raw => format!("{}+raw", net.name),
            Work::Profiled(net) => net.name.clone(),
            Work::Kernels(_) => "kernels".to_owned(),
        }
    }
}

/// A group of like clients.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Where they run; of several hosts the first.
    pub host: HostId,
    /// When each client sends.
    pub arrivals: ArrivalsFile,
    /// The gaps of the trace that its clients replay, once it was read.
    pub replayed: Option<Arc<[SimDuration]>>,
    /// Its classes.
    pub classes: Vec<ClassId>,
    /// How many requests of a client in a row are drawn as one of a class, on average; from 1.
    pub in_a_row: f64,
    /// How long a client waits for the reply to an attempt; `None` if for ever.
    pub timeout: Option<SimDuration>,
    /// What it does then; the request has failed if `None`.
    pub retry: Option<ClientRetry>,
    /// The way of a request; never empty. Either all stages are plain, or all are on hosts.
    pub path: Vec<Hop>,
    /// The hop of replies that go straight from the last stage to the client.
    pub reply: Option<Hop>,
    /// Every request that stages may send for one of its requests; branch `n` of a request is the
    /// entry `n - 1`. Those of a call follow one another, each with its own behind it.
    pub branches: Vec<Branch>,
}

/// One client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// Its group.
    pub group: GroupId,
    /// Its number in the group, from zero.
    pub index: u32,
    /// Where it runs.
    pub host: HostId,
}

/// A kind of request.
#[derive(Clone, PartialEq, Debug)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its share of the group's requests; the shares of a group sum to one.
    pub share: f64,
    /// Size of a request.
    pub payload: Bytes,
    /// Size of a reply.
    pub reply: Bytes,
    /// Its priority at plain stations: the lowest number is served first.
    pub priority: u32,
    /// Its weight at plain stations that share their servers.
    pub weight: f64,
    /// Priority of the streams that serve it; that of its stage if `None`.
    pub stream_priority: Option<i32>,
}

/// The text of a scenario file.
pub fn to_toml(file: &ScenarioFile) -> String {
    toml::to_string(file).expect("a scenario can be written as TOML")
}

impl Scenario {
    /// The host of a replica of the stage.
    pub fn host_of(&self, stage: StageId, replica: u32) -> HostId {
        HostId::from_index(self.stages[stage].host.index() + replica as usize)
    }

    /// The hop number `hop` of a branch of a client's requests; after the last of its path is that of
    /// replies that go straight.
    pub fn hop(&self, client: ClientId, branch: u32, hop: u8) -> Option<&Hop> {
        let group = &self.groups[self.clients.rows().get(client.index())?.group];
        let (path, reply) = match (branch as usize).checked_sub(1) {
            None => (&group.path, group.reply.as_ref()),
            Some(index) => {
                let branch = group.branches.get(index)?;
                let call = self.call(branch);
                (&call.path, call.reply.as_ref())
            }
        };
        match usize::from(hop) {
            hop if hop == path.len() => reply,
            hop => path.get(hop),
        }
    }

    /// The call that a branch is of.
    pub fn call(&self, branch: &Branch) -> &Call {
        let step = &self.stages[branch.stage].steps[usize::from(branch.step)];
        &step.calls[usize::from(branch.call)]
    }

    /// The number of the machine that the host is on.
    pub fn machine(&self, host: HostId) -> usize {
        self.core_sets[self.hosts[host].core_set].machine
    }

    /// What the largest request and the largest reply of `classes` take together on a hop.
    pub fn largest(&self, hop: &Hop, classes: &[ClassId]) -> Bytes {
        let most = |given: Option<Bytes>, of: fn(&Class) -> Bytes| {
            let sizes = classes.iter().map(|class| of(&self.classes[*class]).0);
            given.map_or_else(|| sizes.max().unwrap_or(0), |size| size.0)
        };
        let payload = most(hop.payload, |class| class.payload);
        Bytes(payload.saturating_add(most(hop.reply, |class| class.reply)))
    }

    /// Reads and checks the scenario in the file `path`, with the overrides applied, and the traces
    /// that its clients replay.
    ///
    /// # Errors
    /// If a file cannot be read, or is not a valid scenario or trace.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Scenario, FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut scenario = Scenario::parse(path, text, overrides)?;
        let dir = scenario.folder().to_owned();
        scenario.read_replays(&dir)?;
        Ok(scenario)
    }

    /// Reads the traces that clients replay, from files that are named relative to `dir`.
    ///
    /// # Errors
    /// If a file cannot be read or is no trace.
    pub fn read_replays(&mut self, dir: &Path) -> Result<(), FileError> {
        for id in self.groups.ids() {
            let group = &mut self.groups[id];
            if let ArrivalsFile::Replay(replay) = &group.arrivals {
                group.replayed = Some(read_replay(&dir.join(&replay.file), replay)?.into());
            }
        }
        Ok(())
    }

    /// The files with the traces that clients replay, as the scenario names them.
    pub fn replays(&self) -> Vec<&str> {
        let groups = self.groups.rows().iter();
        let files = groups.filter_map(|group| match &group.arrivals {
            ArrivalsFile::Replay(replay) => Some(replay.file.as_str()),
            _ => None,
        });
        files.collect()
    }

    /// Checks the scenario in `text`, which is said to come from `path`.
    ///
    /// # Errors
    /// If it is not a valid scenario.
    pub fn parse(path: &Path, text: String, overrides: &[String]) -> Result<Scenario, FileError> {
        let source = Source::parse(path, text, overrides)?;
        let file: ScenarioFile = source.read()?;
        validate::validate(file, source)
    }

    /// Checks a scenario that was built in the program or read back from a run.
    ///
    /// # Errors
    /// If it is not a valid scenario.
    pub fn from_file(file: &ScenarioFile) -> Result<Scenario, FileError> {
        Scenario::parse(
            Path::new(&format!("{}.toml", file.name)),
            to_toml(file),
            &[],
        )
    }

    /// The scenario as a file, with every default written out.
    pub const fn file(&self) -> &ScenarioFile {
        &self.file
    }

    /// Whether its stages are plain ones, which only the engine runs.
    pub fn is_plain(&self) -> bool {
        let mut stages = self.stages.rows().iter();
        stages.any(|stage| matches!(stage.role, StageRole::Plain(_)))
    }

    /// The same with another warm-up.
    #[must_use]
    pub fn with_warmup(mut self, warmup: Extent) -> Scenario {
        self.warmup = warmup;
        self.file.run.warmup = warmup;
        self
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: Seed) -> Scenario {
        self.seed = seed;
        self.file.run.seed = seed.0;
        self
    }

    /// The folder of the file that it was read from.
    pub fn folder(&self) -> &Path {
        self.source.path().parent().unwrap_or(Path::new(""))
    }

    /// Where it was read from, for messages.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Number of connections that `client` opens: one for a closed loop.
    pub fn connections(&self, client: ClientId) -> u32 {
        let group = &self.groups[self.clients[client].group];
        group.arrivals.connections().unwrap_or(1)
    }
}

//! The scenario as it stands in the file; [`Scenario`](super::Scenario) is what programs use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::arrivals::ArrivalsFile;

pub use super::hops::{HopFile, Transport};
pub use super::verbs::{CompletionBy, NicFile, QueuePairs, Registration, SetUp, Verb};

use super::calls::StepFile;
use super::fabric::{FabricFile, FaultFile};
use super::gpu::{GpuFile, GpuUseFile, KernelsFile, ProfiledFile};
use super::plain::{
    BalanceFile, ForkFile, JoinFile, NextFile, PolicyName, ReleaseFile, StationFile, TokensFile,
};
use super::tcp::Ethernet;
use crate::distribution::Distribution;
use crate::units::{ByteRate, Bytes, SimDuration};

/// A scenario file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScenarioFile {
    /// Version of the format; 1.
    pub format: u32,
    /// Name of the scenario, in reports and figures.
    pub name: String,
    /// Seed, warm-up and length.
    pub run: RunFile,
    /// Where the hosts are.
    #[serde(default)]
    pub placement: PlacementFile,
    /// The hosts, by name; plain stages need none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, HostFile>,
    /// Names of switches, which links may join.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<String>,
    /// The links between hosts and switches.
    #[serde(default)]
    pub links: Vec<LinkFile>,
    /// A generated network; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricFile>,
    /// Times for which links are worse or down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultFile>,
    /// The pipeline's stages, by name.
    pub stages: BTreeMap<String, StageFile>,
    /// Groups of like clients.
    pub clients: Vec<ClientsFile>,
}

/// Seed, warm-up and length of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunFile {
    /// Seed of every random stream.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What is left out at the start.
    #[serde(default = "default_warmup")]
    pub warmup: Extent,
    /// How much is measured.
    pub measure: Extent,
    /// Engine: by what part of it the fair rate of what is on a link may change before it is divided
    /// again; zero if not given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rate_tolerance: f64,
}

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Extent {
    /// So many requests of each client.
    Requests(u32),
    /// So long.
    Time(SimDuration),
    /// Of a warm-up: as long as the initial transient lasts, by MSER-5 over pilot runs of the
    /// engine.
    Auto,
}

impl Extent {
    /// What it counts, as in files.
    pub const fn kind(self) -> &'static str {
        match self {
            Extent::Requests(_) => "requests",
            Extent::Time(_) => "time",
            Extent::Auto => "auto",
        }
    }
}

/// Where the hosts of the scenario are.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PlacementFile {
    /// Each host is a machine of its own.
    #[default]
    Separate,
    /// All hosts are processes of one machine, joined by its loopback interface.
    Local(LocalFile),
    /// All hosts are network namespaces of one machine, joined by virtual links with the
    /// scenario's rates.
    Netns(LocalFile),
    /// On GPUs alone: one thread hands a GPU what its clients ask for, without any message, and the
    /// GPU's clock times it.
    Device {},
}

/// How one machine is shared by the hosts of a scenario.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalFile {
    /// The cores each host may use; a host that is not named may use all.
    #[serde(default)]
    pub pin: BTreeMap<String, Vec<u32>>,
}

/// A host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostFile {
    /// The profile's part that gives its costs.
    pub part: String,
    /// Number of cores; with placement `local` or `netns` the whole machine's, the same for all.
    pub cores: u32,
    /// How many hosts there are of its kind, called `NAME-0` and so on; one, called `NAME`, if not
    /// given.
    #[serde(default = "default_one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// The switch of a generated network to which it is attached; without it the first with a place
    /// that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
    /// Its GPUs; none if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuFile>,
    /// Its network adapter; needed where hops of it go over `rdma` or `gdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<NicFile>,
}

/// A link between two hosts or switches: a part of the profile, or a rate and a delay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkFile {
    /// The two hosts or switches it joins.
    pub between: [String; 2],
    /// The profile's part that gives its delay; together with `rate` it only adds the delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Data rate of each direction; without it the link is never what limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ByteRate>,
    /// One-way propagation delay; zero if neither it nor a part is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<SimDuration>,
    /// That it is an Ethernet; without it `rate` is that of payload alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Ethernet>,
}

/// A stage of the pipeline: `serve` or `proxy` on a host, or a plain one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageFile {
    /// The host it runs on; a plain stage has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Runs a net, or work that stands for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<ServeFile>,
    /// Forwards, and translates between transports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyFile>,
    /// Number of inference contexts; one if not given. Only with `serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// How requests are put together; one by one if not given. Only with `serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchFile>,
    /// Threads that receive messages of all its connections, each one message at a time; a thread
    /// for each connection if not given. Not of plain stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_threads: Option<u32>,
    /// How the outputs of a batch are handed back; all at once if not given. Only with `serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_back: Option<HandBack>,
    /// What it calls before it replies, one step after the other. Not of plain stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepFile>,
    /// The GPUs it runs on; its host's cores if not given. Only with `serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuUseFile>,
    /// Plain: a queueing station.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<StationFile>,
    /// Plain: sends a copy of each request to each of several stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkFile>,
    /// Plain: the copies of a request wait for each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinFile>,
    /// Plain: sends each request to one of several stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceFile>,
    /// Plain: requests take tokens, or wait for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensFile>,
    /// Plain: requests give tokens back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseFile>,
    /// Only of a plain stage: where requests go next. With the probability that remains they go on
    /// along their path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<NextFile>,
}

/// What a serving stage runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServeFile {
    /// A neural net.
    Net(NetFile),
    /// Work of a given length, with payloads of given sizes.
    Synthetic(SyntheticFile),
    /// A net that only a profile knows.
    Profiled(ProfiledFile),
    /// Work on a GPU given kernel by kernel.
    Kernels(KernelsFile),
}

/// A neural net and its input.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetFile {
    /// Its name.
    pub name: String,
    /// Side of its square input, in pixels; the published one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<u32>,
    /// What the client sends; `preprocessed` if not given.
    #[serde(default)]
    pub input: InputFile,
    /// A safetensors file; seeded random weights if not given (the cost does not depend on them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
}

/// What a client sends to a net.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum InputFile {
    /// The tensor that the net takes: 32-bit floats, made by the client.
    #[default]
    Preprocessed,
    /// 8-bit RGB pixels; the server resizes, converts, normalises and transposes.
    Raw {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
}

/// Work of a given length.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SyntheticFile {
    /// How long one request occupies an instance, alone on a core.
    pub time: SimDuration,
    /// Size of a request.
    pub input: Bytes,
    /// Size of a reply.
    pub output: Bytes,
}

/// How requests are put together into batches.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BatchFile {
    /// Most requests in a batch.
    pub max: u32,
    /// Longest time that the first request of a batch waits for others; zero if not given.
    #[serde(default)]
    pub delay: SimDuration,
    /// Sizes to which an idle context fills a batch before the delay is over, ascending, up to
    /// `max`; none if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<u32>,
    /// When a batch takes no more requests; when a context takes it if not given.
    #[serde(default, skip_serializing_if = "BatchClose::is_default")]
    pub close: BatchClose,
}

/// When a batch takes no more requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchClose {
    /// When an inference context takes it: it grows while all are busy.
    #[default]
    AtStart,
    /// When its first request has waited for the delay, or it is full, even if all contexts are
    /// busy.
    AtTimeout,
    /// As `at-start`, but while all contexts are busy one batch is closed ahead, as soon as its first
    /// request has waited for the delay.
    OneAhead,
}

impl BatchClose {
    fn is_default(&self) -> bool {
        *self == BatchClose::default()
    }
}

/// How an inference context hands the outputs of a batch back to those that reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandBack {
    /// All at once; each connection's thread spends the time that it takes to notice, while the
    /// context takes the next batch.
    #[default]
    AtOnce,
    /// One after the other; the context's thread spends that time for each, and then takes the next
    /// batch.
    InTurn,
}

/// What a proxy does.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProxyFile {
    /// When it begins to pass a message on; when it has all of it if not given.
    #[serde(default, skip_serializing_if = "Forward::is_default")]
    pub forward: Forward,
    /// To which replica of the next stage it sends a request; `round-robin` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<PolicyName>,
    /// Only with `weighted`: share of each replica, relative to the others'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Connections that it keeps to each replica of a next stage; one for each of its clients' if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<u32>,
}

/// When a proxy begins to pass a message on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// When it has all of it.
    #[default]
    Store,
    /// When it has the first chunk of it; each other follows when it is there.
    CutThrough,
}

impl Forward {
    fn is_default(&self) -> bool {
        *self == Forward::default()
    }
}

/// A group of like clients.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClientsFile {
    /// Name of the group, unique; `clients-N` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The host they run on; needed unless their path is of plain stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Number of clients; one if not given.
    #[serde(default = "default_one")]
    pub count: u32,
    /// When each client sends.
    pub arrivals: ArrivalsFile,
    /// Kinds of requests; one kind if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassFile>,
    /// How many requests of a client in a row are drawn as one of a class, on average; 1 if not given.
    #[serde(default = "one", skip_serializing_if = "is_unit")]
    pub in_a_row: f64,
    /// How long a client waits for the reply to an attempt before it gives it up; for ever if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<SimDuration>,
    /// What it does with a request whose attempt it has given up; that has failed if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<ClientRetry>,
    /// The stages a request passes, in order, and the transport of each hop.
    pub path: Vec<HopFile>,
    /// The transport of replies that go straight from the last stage to the client; back over the hops
    /// if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_over: Option<Transport>,
}

/// What a client does with a request whose attempt it has given up.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClientRetry {
    /// How often it tries again before the request has failed.
    pub attempts: u32,
    /// How long it waits before it tries for the second time.
    pub backoff: Distribution,
    /// How much longer each later time; 1 if not given.
    #[serde(default = "one")]
    pub factor: f64,
    /// Whether an attempt avoids the replica that the one before was sent to, if there is another.
    #[serde(default)]
    pub elsewhere: bool,
}

/// A kind of request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassFile {
    /// Its name.
    pub name: String,
    /// Its share of the requests, relative to the other classes'.
    pub share: f64,
    /// Size of its requests, for a synthetic stage; the stage's `input` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Bytes>,
    /// Its priority at plain stations with priorities: the lowest number is served first; zero if
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Its weight at plain stations that share their servers; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Priority of the streams that serve it on a GPU: 0, or less for those that go first; that of
    /// its stage if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_priority: Option<i32>,
}

const fn default_seed() -> u64 {
    1
}
const fn default_warmup() -> Extent {
    Extent::Requests(0)
}
const fn one() -> f64 {
    1.0
}
fn is_unit(value: &f64) -> bool {
    value.to_bits() == one().to_bits()
}
const fn default_one() -> u32 {
    1
}
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_one(count: &u32) -> bool {
    *count == 1
}
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

//! Profiles: what each part costs, with its uncertainty and where the figure came from.
//!
//! A part (a host, a link) has *costs*, laws that give a time from one driver (bytes, the size of
//! a batch, …), and *parameters*, plain numbers. A cost is
//! `(base + slope · driver) · residual`, the residual a random factor of mean one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{FileError, suggest};
use crate::gpu::GpuNet;
use crate::scenario::{CompletionBy, Peers, Source, Transport};
use crate::stats::interpolate;
use crate::units::{Bytes, SimDuration};

/// The version of the profile format that this program reads and writes.
pub const PROFILE_FORMAT: u32 = 1;

/// The cost of each part, by the part's name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// Version of the format.
    pub format: u32,
    /// Name of the profile.
    pub name: String,
    /// The runs that it was fitted to: the id of each ([`Manifest::id`](crate::run::Manifest::id))
    /// by the name that the `source` of a figure says. A comparison with one of them proves nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fitted_to: BTreeMap<String, String>,
    /// The parts.
    pub parts: BTreeMap<String, Part>,
}

/// A host, a link, a GPU or a network adapter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Plain numbers, by name; see [`parameter`].
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// Laws, by the key of the cost; see [`cost`].
    #[serde(default)]
    pub costs: BTreeMap<String, CostLaw>,
    /// What nets cost on it, by [`Work::key`](crate::scenario::Work::key); of a GPU only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nets: BTreeMap<String, GpuNet>,
}

/// What a part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// A machine, or its share that a scenario calls a host.
    Host,
    /// What joins two hosts.
    Link,
    /// A GPU of a host, with its way to the host's memory.
    Gpu,
    /// A network adapter of a host that does RDMA, with its way to the host's memory.
    Nic,
}

impl PartKind {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            PartKind::Host => "host",
            PartKind::Link => "link",
            PartKind::Gpu => "gpu",
            PartKind::Nic => "nic",
        }
    }
}

/// A fitted number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Parameter {
    /// The estimate.
    pub value: f64,
    /// Standard error of the estimate, in the same unit.
    pub standard_error: f64,
    /// Its unit; `1` if it has none.
    pub unit: String,
    /// Smallest and largest value that is plausible, around the estimate; not known if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Where it came from: runs, a data sheet, a paper.
    pub source: String,
}

/// The keys of costs, all in seconds.
pub mod cost {
    use super::{CompletionBy, Peers, Transport};

    /// Time from when a sleeping client is to send until it runs, without any core time: timer and
    /// wake-up. By requests; none if the profile does not have it.
    pub const WAKEUP: &str = "wakeup";
    /// Core time of a client to make a request, by bytes.
    pub const PREPARE: &str = "prepare";
    /// Core time of a client to take a reply, by bytes.
    pub const POSTPROCESS: &str = "postprocess";
    /// Core time of a proxy to move a message between its two sides, by bytes.
    pub const TRANSLATE: &str = "translate";
    /// Core time to hand a request to an idle inference context, by requests.
    pub const DISPATCH: &str = "dispatch";
    /// Core time to hand its output back to the thread that replies, by requests.
    pub const NOTIFY: &str = "notify";
    /// Copy from host to device, by bytes.
    pub const H2D: &str = "h2d";
    /// Copy from device to host, by bytes.
    pub const D2H: &str = "d2h";
    /// Core time of a host to launch kernels on a GPU, by kernels; none if not given.
    pub const LAUNCH: &str = "launch";
    /// Core time of a host to copy between pageable memory and the locked buffers of a GPU's
    /// driver, by bytes; none if not given.
    pub const STAGING: &str = "staging";
    /// Core time of a proxy to hand a message on that it need not copy, by requests; none if not
    /// given.
    pub const FORWARD: &str = "forward";
    /// Core time to post a message to a network adapter, by bytes or requests.
    pub const POST: &str = "post/rdma";
    /// Core time to make packets of what is sent over TCP, by packets, where the adapter does not
    /// (neither TSO nor GSO); none if not given.
    pub const SEGMENT: &str = "segment";
    /// Core time to take what comes over TCP packet by packet, where nothing puts packets together
    /// before (neither LRO nor GRO); none if not given.
    pub const REASSEMBLE: &str = "reassemble";
    /// Core time of a messaging library, at each end of a hop over TCP, by requests; none if not given.
    pub const FRAME: &str = "frame";
    /// Of a GPU: the net that makes tensors of raw pixels, among its `nets`.
    pub const PREPROCESS: &str = "preprocess";

    /// Of a GPU: a copy to another GPU of its host, by bytes.
    pub fn peer(over: Peers) -> String {
        format!("peer/{}", over.name())
    }
    /// Core time to send a message, by bytes.
    pub fn send(over: Transport) -> String {
        format!("send/{}", over.name())
    }
    /// Core time to receive a message, by bytes.
    pub fn receive(over: Transport) -> String {
        format!("receive/{}", over.name())
    }
    /// Time between a message's last byte being sent and its receiver running, without any core
    /// time: propagation, interrupt and wake-up. By messages; a cost of the link's part.
    pub fn delay(over: Transport) -> String {
        format!("delay/{}", over.name())
    }
    /// Core time to register the memory of a message with a network adapter and to let go of it, by
    /// bytes of its pages.
    pub const REGISTER: &str = "register";
    /// Core time to learn that a network adapter has a message: of polling, what is left to do once it
    /// is there; of an event, interrupt and wake-up. By requests.
    pub fn completion(by: CompletionBy) -> String {
        format!("completion/{}", by.name())
    }
    /// Preprocessing of one raw input, by bytes; `work` is [`Work::key`](crate::scenario::Work::key).
    pub fn preprocess(work: &str) -> String {
        format!("preprocess/{work}")
    }
    /// A forward pass, by requests in the batch; synthetic work, by seconds asked for.
    pub fn inference(work: &str) -> String {
        format!("inference/{work}")
    }
}

/// The names of parameters.
pub mod parameter {
    use crate::scenario::{GdrPath, Verb};

    /// Of a host: by what fraction a core is slower while the other cores of its machine are busy
    /// (shared caches, memory bandwidth, simultaneous multithreading). Unit 1, from 0.
    pub const CONTENTION: &str = "contention";
    /// Of a host: bandwidth of its root complex in each direction, for all that moves between its
    /// memory and its GPUs and network adapters, in bytes per second.
    pub const ROOT_COMPLEX_BANDWIDTH: &str = "root-complex-bandwidth";
    /// Of a host: bandwidth of its memory, reads and writes together, for the same, in bytes per
    /// second.
    pub const MEMORY_BANDWIDTH: &str = "memory-bandwidth";

    /// Of a host: bytes of a page, of which memory is registered.
    pub const PAGE_SIZE: &str = "page-size";
    /// Of a host: what a messaging library puts before each message over TCP, in bytes.
    pub const MESSAGE_HEADER: &str = "message-header";

    /// Of a link: data rate of each direction, in bytes per second; where the scenario gives none.
    pub const RATE: &str = "rate";
    /// Of a link: most bytes of an IP packet, headers included.
    pub const MTU: &str = "mtu";
    /// Of a link: what a frame takes on it beside its IP packet, in bytes.
    pub const FRAME_HEADER: &str = "frame-header";
    /// Of a link: what is TCP's of an IP packet, in bytes.
    pub const TCP_HEADER: &str = "tcp-header";

    /// Of a GPU: number of streaming multiprocessors.
    pub const SMS: &str = "sms";
    /// Of a GPU: threads that a multiprocessor holds at once.
    pub const THREADS_PER_SM: &str = "threads-per-sm";
    /// Of a GPU: blocks that a multiprocessor holds at once.
    pub const BLOCKS_PER_SM: &str = "blocks-per-sm";
    /// Of a GPU: registers of a multiprocessor.
    pub const REGISTERS_PER_SM: &str = "registers-per-sm";
    /// Of a GPU: shared memory of a multiprocessor, in bytes.
    pub const SHARED_MEMORY_PER_SM: &str = "shared-memory-per-sm";
    /// Of a GPU: bandwidth of its memory that kernels reach, in bytes per second.
    pub const DRAM_BANDWIDTH: &str = "dram-bandwidth";
    /// Of a GPU: part of its threads that must be resident for 90% of that; 0 if any number is
    /// enough.
    pub const DRAM_OCCUPANCY: &str = "dram-occupancy";
    /// Of a GPU: memory, in bytes.
    pub const MEMORY: &str = "memory";
    /// Of a GPU: memory that each process takes for its context, in bytes.
    pub const CONTEXT_MEMORY: &str = "context-memory";
    /// Of a GPU: time from when a kernel could start until its blocks may, in seconds.
    pub const LAUNCH_INTERVAL: &str = "launch-interval";
    /// Of a GPU: the same for a kernel of a CUDA graph.
    pub const GRAPH_LAUNCH_INTERVAL: &str = "graph-launch-interval";
    /// Of a GPU: hardware queues of a process (`CUDA_DEVICE_MAX_CONNECTIONS`).
    pub const HARDWARE_QUEUES: &str = "hardware-queues";
    /// Of a GPU: levels of stream priority; others are cut to these.
    pub const PRIORITY_LEVELS: &str = "priority-levels";
    /// Of a GPU: how long a process computes while another waits to, in seconds.
    pub const TIME_SLICE: &str = "time-slice";
    /// Of a GPU: time in which nothing computes when processes take turns, in seconds.
    pub const CONTEXT_SWITCH: &str = "context-switch";
    /// Of a GPU or a network adapter: payload bandwidth of its PCIe link in each direction, in bytes per second.
    pub const PCIE_BANDWIDTH: &str = "pcie-bandwidth";
    /// Of a GPU: by what part each direction of its PCIe link is slower while the other is busy.
    pub const DUPLEX_PENALTY: &str = "duplex-penalty";
    /// Of a GPU: a phase that computes slows each other one by its intensity times its share of the
    /// multiprocessors to this power.
    pub const INTERFERENCE_EXPONENT: &str = "interference-exponent";
    /// Of a GPU: by what part the overhead of a phase takes longer for each other net that is
    /// executed at the same time.
    pub const OVERHEAD_INTERFERENCE: &str = "overhead-interference";
    /// Of a GPU: compute slices that it can be partitioned into (MIG).
    pub const MIG_COMPUTE_SLICES: &str = "mig-compute-slices";
    /// Of a GPU: multiprocessors of a compute slice (MIG).
    pub const MIG_SMS_PER_SLICE: &str = "mig-sms-per-slice";
    /// Of a GPU: memory slices that it can be partitioned into (MIG).
    pub const MIG_MEMORY_SLICES: &str = "mig-memory-slices";

    /// Of a network adapter: messages that it can send in a second.
    pub const MESSAGE_RATE: &str = "message-rate";
    /// Of a network adapter: most bytes of a message that go to it with the post itself.
    pub const INLINE_LIMIT: &str = "inline-limit";
    /// Of a network adapter: most bytes of a message in a packet.
    pub const PATH_MTU: &str = "path-mtu";
    /// Of a network adapter: what each packet takes on the wire beside these, in bytes.
    pub const PACKET_HEADER: &str = "packet-header";
    /// Of a network adapter: time that a message takes through it, beside all else, in seconds.
    pub const NIC_LATENCY: &str = "nic-latency";
    /// Of a network adapter: time until the first byte of a message has come from memory, in seconds.
    pub const DMA_READ_LATENCY: &str = "dma-read-latency";
    /// Of a network adapter: how much of a message it has whole before any of that goes on, in bytes.
    pub const BURST: &str = "burst";
    /// Of a network adapter: queue pairs whose contexts it keeps; of others it fetches them.
    pub const QP_CACHE: &str = "qp-cache";
    /// Of a network adapter: what asks for a read takes on the wire beside its packet, in bytes.
    pub const READ_REQUEST_HEADER: &str = "verb-header/read-request";

    /// Of a network adapter: what a message of that verb takes on the wire beside its packets, in bytes.
    pub fn verb_header(verb: Verb) -> String {
        format!("verb-header/{}", verb.name())
    }
    /// Of a network adapter: part of its PCIe bandwidth at which it writes to the memory of a GPU.
    pub fn gdr_write_factor(path: GdrPath) -> String {
        format!("gdr-write-factor/{}", path.name())
    }
    /// Of a network adapter: part of its PCIe bandwidth at which it reads from the memory of a GPU.
    pub fn gdr_read_factor(path: GdrPath) -> String {
        format!("gdr-read-factor/{}", path.name())
    }

    /// Of a GPU: multiprocessors of an instance of so many compute slices (MIG), if those of a slice
    /// times their number are not right.
    pub fn mig_sms(compute: u32) -> String {
        format!("mig-sms/{compute}")
    }
}

/// A law: `(base + slope · driver) · residual`, in seconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CostLaw {
    /// What the driver counts.
    pub per: Driver,
    /// Cost at driver zero, in seconds; may be negative where the law was extrapolated to zero.
    pub base: f64,
    /// Standard error of `base`, in seconds.
    pub base_error: f64,
    /// Cost per unit of the driver, in seconds.
    pub slope: f64,
    /// Standard error of `slope`.
    pub slope_error: f64,
    /// Smallest and largest driver it was fitted on; outside, the law extrapolates.
    pub range: [f64; 2],
    /// Number of samples it was fitted on.
    pub samples: u64,
    /// Mean absolute relative error of the law on samples held out from the fit.
    pub held_out_error: f64,
    /// Where it came from.
    pub source: String,
    /// What varies from one time to the next.
    pub residual: Residual,
    /// How much slower it is on cores that have idled; not at all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleLaw>,
    /// How much slower it is while requests keep more bytes than caches hold; not at all if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set: Option<WorkingSetLaw>,
}

/// How much slower cores work after they were idle: caches were filled by others, the core slept or
/// was clocked down.
///
/// A cost takes `1 + slowdown · (1 - w)` times its law, with `w` from 0 to 1 the recent busy share
/// of its cores when it starts: the exponentially weighted average, with time constant `memory`, of
/// how much of them was busy. So the law itself is for cores that were busy all along.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IdleLaw {
    /// Of cores that have idled for long; from 0.
    pub slowdown: f64,
    /// Standard error of `slowdown`.
    pub slowdown_error: f64,
    /// Time constant, in seconds; more than 0.
    pub memory: f64,
}

impl IdleLaw {
    /// The factor at the recent busy share `recent`.
    pub fn factor(self, recent: f64) -> f64 {
        1.0 + self.slowdown * (1.0 - recent)
    }
}

/// How much slower cores move bytes that no longer fit the caches.
///
/// A cost takes `1 + slowdown · min(1, max(0, used / cache - 1))` times its law, with `used` the bytes
/// of [`WorkingSet`]. So up to `cache` every access hits, and from twice that on none does: bytes are
/// used in the order in which they came, so what is replaced least recently used is what is needed
/// next.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkingSetLaw {
    /// What has to fit.
    pub of: WorkingSet,
    /// When nothing is in the caches; from 0.
    pub slowdown: f64,
    /// Standard error of `slowdown`.
    pub slowdown_error: f64,
    /// Bytes that fit; more than 0.
    pub cache: f64,
}

/// What has to fit the caches for a cost to be as cheap as its law says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkingSet {
    /// The message or copy itself: what touches it has just been touched by who hands it over.
    Message,
    /// The payloads of all requests that the machine holds: what is touched came before all the others
    /// that wait.
    Machine,
}

impl WorkingSetLaw {
    /// The factor of a cost for `bytes` while the machine holds `held`.
    pub fn factor(self, bytes: f64, held: Bytes) -> f64 {
        let used = match self.of {
            WorkingSet::Message => bytes,
            WorkingSet::Machine => held.0 as f64,
        };
        1.0 + self.slowdown * (used / self.cache - 1.0).clamp(0.0, 1.0)
    }
}

/// What there is to know of a machine when something is to be done on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conditions {
    /// Recent busy share of the cores, from 0 to 1; see [`IdleLaw`].
    pub recent: f64,
    /// Bytes of the requests that it holds; see [`WorkingSetLaw`].
    pub held: Bytes,
}

impl Conditions {
    /// Cores that were busy all along, and a machine that holds nothing.
    pub const BEST: Conditions = Conditions {
        recent: 1.0,
        held: Bytes(0),
    };
}

/// What the driver of a law counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Bytes of the message.
    Bytes,
    /// Requests of the batch.
    Requests,
    /// Seconds of work asked for.
    Seconds,
    /// Kernels launched.
    Kernels,
    /// Packets of a message.
    Packets,
}

impl Driver {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Driver::Bytes => "bytes",
            Driver::Requests => "requests",
            Driver::Seconds => "seconds",
            Driver::Kernels => "kernels",
            Driver::Packets => "packets",
        }
    }
}

/// A random factor of mean one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Residual {
    /// Always exactly one.
    None,
    /// Normal with mean one, cut at zero.
    Normal {
        /// Standard deviation.
        sd: f64,
    },
    /// Lognormal with mean one: `exp(sigma · z - sigma² / 2)`.
    Lognormal {
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Gamma with mean one.
    Gamma {
        /// Shape; the squared coefficient of variation is its inverse.
        shape: f64,
    },
    /// The empirical quantiles at `(i + ½) / n`, joined linearly, ascending, of mean one.
    Quantiles(Vec<f64>),
}

impl Residual {
    /// The factor at probability `u` in (0, 1): the inverse distribution function.
    ///
    /// # Panics
    /// If a parameter is not positive and finite; [`Profile::parse`] refuses such a profile.
    pub fn quantile(&self, u: f64) -> f64 {
        use statrs::distribution::{ContinuousCDF, Gamma, Normal};
        let z = |u| Normal::standard().inverse_cdf(u);
        match self {
            Residual::None => 1.0,
            Residual::Normal { sd } => (1.0 + sd * z(u)).max(0.0),
            Residual::Lognormal { sigma } => (sigma * z(u) - sigma * sigma / 2.0).exp(),
            Residual::Gamma { shape } => Gamma::new(*shape, *shape)
                .expect("the shape was checked")
                .inverse_cdf(u),
            Residual::Quantiles(points) => interpolate(points, u),
        }
    }
}

impl CostLaw {
    /// Expected cost at `driver`, in seconds; never negative.
    pub fn expected(&self, driver: f64) -> f64 {
        (self.base + self.slope * driver).max(0.0)
    }

    /// The cost at `driver` whose probability of not being exceeded is `u` in (0, 1).
    pub fn draw(&self, driver: f64, u: f64, on: Conditions) -> SimDuration {
        let idle = self.idle.map_or(1.0, |idle| idle.factor(on.recent));
        let crowded = (self.working_set).map_or(1.0, |law| law.factor(driver, on.held));
        let slower = idle * crowded;
        SimDuration::from_secs_f64(self.expected(driver) * slower * self.residual.quantile(u))
    }

    /// A law without randomness, for tests and for parts known by a formula.
    pub fn exact(per: Driver, base: f64, slope: f64, source: &str) -> CostLaw {
        CostLaw {
            per,
            base,
            base_error: 0.0,
            slope,
            slope_error: 0.0,
            range: [0.0, f64::MAX],
            samples: 0,
            held_out_error: 0.0,
            source: source.to_owned(),
            residual: Residual::None,
            idle: None,
            working_set: None,
        }
    }
}

/// What a scenario needs and a profile does not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such part.
    #[error("{wanted_by}: profile `{profile}` has no part `{part}`{hint}")]
    NoPart {
        /// File, line and key that ask for it.
        wanted_by: String,
        /// The profile.
        profile: String,
        /// The part.
        part: String,
        /// The parts it has.
        hint: String,
    },
    /// The part lacks a cost.
    #[error("{wanted_by}: part `{part}` of profile `{profile}` has no cost `{cost}`{hint}")]
    NoCost {
        /// File, line and key that ask for it.
        wanted_by: String,
        /// The profile.
        profile: String,
        /// The part.
        part: String,
        /// The cost.
        cost: String,
        /// The costs it has.
        hint: String,
    },
}

impl Profile {
    /// Reads the profile in the file `path`.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid profile.
    pub fn load(path: &Path) -> Result<Profile, FileError> {
        Profile::read(path).map(|(profile, _)| profile)
    }

    fn read(path: &Path) -> Result<(Profile, Source), FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Profile::parse_with_source(path, text)
    }

    /// Reads the profiles in all these files as one, with the parts of all and their names joined by
    /// `+`; `None` if there is no file.
    ///
    /// # Errors
    /// If a file cannot be read or is not a valid profile, or if two have different parts of one name.
    pub fn load_all(paths: &[PathBuf]) -> Result<Option<Profile>, FileError> {
        let mut all: Option<Profile> = None;
        let mut known: BTreeMap<String, &Path> = BTreeMap::new();
        for path in paths {
            let (one, source) = Profile::read(path)?;
            let Some(all) = &mut all else {
                let parts = one.parts.keys().map(|part| (part.clone(), path.as_path()));
                known.extend(parts);
                all = Some(one);
                continue;
            };
            for (name, part) in one.parts {
                if all.parts.get(&name).is_some_and(|other| *other != part) {
                    let problem = format!(
                        "is another part than that of {}; give one of the two another name",
                        known[&name].display()
                    );
                    return Err(source.invalid(&format!("parts.{name}"), problem));
                }
                known.entry(name.clone()).or_insert(path.as_path());
                all.parts.insert(name, part);
            }
            all.name = format!("{}+{}", all.name, one.name);
            all.fitted_to.extend(one.fitted_to);
        }
        Ok(all)
    }

    /// Reads the profile in `text`, which is said to come from `path`.
    ///
    /// # Errors
    /// If it is not a valid profile.
    pub fn parse(path: &Path, text: String) -> Result<Profile, FileError> {
        Profile::parse_with_source(path, text).map(|(profile, _)| profile)
    }

    fn parse_with_source(path: &Path, text: String) -> Result<(Profile, Source), FileError> {
        let source = Source::parse(path, text, &[])?;
        let profile: Profile = source.read()?;
        if profile.format != PROFILE_FORMAT {
            return Err(source.unknown_format(profile.format, "1"));
        }
        for (name, part) in &profile.parts {
            for (which, parameter) in &part.parameters {
                parameter.check().map_err(|problem| {
                    let key = format!("parts.{name}.parameters.{which}.range");
                    source.invalid(&key, problem)
                })?;
            }
            if part.kind != PartKind::Gpu && !part.nets.is_empty() {
                let found = part.kind.name();
                let problem = format!("only a part of kind `gpu` has nets, found `{found}`");
                return Err(source.invalid(&format!("parts.{name}.nets"), problem));
            }
            for (which, law) in &part.costs {
                let key = format!("parts.{name}.costs.{which}");
                let is_delay = which == cost::WAKEUP || which.starts_with("delay/");
                if law.idle.is_some() && is_delay {
                    let problem = "is a delay; only core time is slower after idling";
                    return Err(source.invalid(&format!("{key}.idle"), problem));
                }
                if law.working_set.is_some() && (part.kind != PartKind::Host || is_delay) {
                    let problem =
                        "only core time of a host is slower while requests fill its caches";
                    return Err(source.invalid(&format!("{key}.working-set"), problem));
                }
                law.check()
                    .map_err(|problem| source.invalid(&key, problem))?;
            }
            for (which, net) in &part.nets {
                net.check().map_err(|(below, problem)| {
                    source.invalid(&format!("parts.{name}.nets.{which}.{below}"), problem)
                })?;
            }
        }
        Ok((profile, source))
    }

    /// The profile as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a profile can be written as TOML")
    }

    /// Writes the profile to the file `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        std::fs::write(path, self.to_toml()).map_err(|source| FileError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// The part called `name`, which `wanted_by` (file, line and key) asks for.
    ///
    /// # Errors
    /// If there is none.
    pub fn part(&self, name: &str, wanted_by: &str) -> Result<&Part, ProfileError> {
        self.parts.get(name).ok_or_else(|| ProfileError::NoPart {
            wanted_by: wanted_by.to_owned(),
            profile: self.name.clone(),
            part: name.to_owned(),
            hint: suggest(name, self.parts.keys().map(String::as_str)),
        })
    }

    /// The cost `key` of the part `name`, which `wanted_by` (file, line and key) asks for.
    ///
    /// # Errors
    /// If there is no such part, or it lacks the cost.
    pub fn cost(&self, name: &str, key: &str, wanted_by: &str) -> Result<&CostLaw, ProfileError> {
        let part = self.part(name, wanted_by)?;
        part.costs.get(key).ok_or_else(|| ProfileError::NoCost {
            wanted_by: wanted_by.to_owned(),
            profile: self.name.clone(),
            part: name.to_owned(),
            cost: key.to_owned(),
            hint: suggest(key, part.costs.keys().map(String::as_str)),
        })
    }
}

impl Parameter {
    /// What is wrong with its range, if anything.
    fn check(&self) -> Result<(), String> {
        let Some(range) = self.range else {
            return Ok(());
        };
        check_range(range)?;
        let ([low, high], value) = (range, self.value);
        if low <= value && value <= high {
            return Ok(());
        }
        Err(format!(
            "must hold the value, {value}; found {low} to {high}"
        ))
    }
}

/// What is wrong with a range, if anything.
pub(crate) fn check_range([low, high]: [f64; 2]) -> Result<(), String> {
    if low.is_finite() && high.is_finite() && low <= high {
        return Ok(());
    }
    Err(format!(
        "must be two finite numbers, the smaller first; found {low} and {high}"
    ))
}

impl CostLaw {
    fn check(&self) -> Result<(), String> {
        let numbers = [self.base, self.slope, self.base_error, self.slope_error];
        if numbers.iter().any(|n| !n.is_finite()) {
            return Err("base, slope and their errors must be finite".to_owned());
        }
        if let Some(idle) = self.idle
            && !(idle.slowdown >= 0.0 && idle.slowdown.is_finite() && idle.memory > 0.0)
        {
            return Err(
                "the slow-down after idling must be from 0 up, its memory more than 0".to_owned(),
            );
        }
        if let Some(law) = self.working_set
            && !(law.slowdown >= 0.0 && law.slowdown.is_finite() && law.cache > 0.0)
        {
            return Err(
                "the slow-down by the working set must be from 0 up, the cache more than 0"
                    .to_owned(),
            );
        }
        if self.working_set.is_some() && self.per != Driver::Bytes {
            return Err("only what counts bytes has a working set".to_owned());
        }
        self.residual.check()
    }
}

impl Residual {
    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (ok, what) = match self {
            Residual::None => (true, ""),
            Residual::Normal { sd: x } | Residual::Lognormal { sigma: x } => (
                x.is_finite() && *x >= 0.0,
                "a residual's sd or sigma must be from 0 up",
            ),
            Residual::Gamma { shape } => (
                shape.is_finite() && *shape > 0.0,
                "a residual's shape must be more than 0",
            ),
            Residual::Quantiles(q) => (
                !q.is_empty() && q.is_sorted() && q.iter().all(|x| x.is_finite() && *x >= 0.0),
                "a residual's quantiles must be ascending numbers from 0 up, at least one",
            ),
        };
        if ok { Ok(()) } else { Err(what.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(residual: Residual) -> CostLaw {
        CostLaw {
            residual,
            ..CostLaw::exact(Driver::Bytes, 2.65e-6, 1.0 / 12.2e9, "V100 copy")
        }
    }

    #[test]
    fn an_exact_law_gives_its_closed_form() {
        let expected = 2.65e-6 + 602_112.0 / 12.2e9;
        assert_eq!(
            law(Residual::None).draw(602_112.0, 0.9, Conditions::BEST),
            SimDuration::from_secs_f64(expected)
        );
    }

    #[test]
    fn every_residual_has_mean_one() {
        let residuals = [
            Residual::Normal { sd: 0.1 },
            Residual::Lognormal { sigma: 0.3 },
            Residual::Gamma { shape: 4.0 },
            Residual::Quantiles(vec![0.5, 1.0, 1.5]),
        ];
        for residual in residuals {
            let n = 20_000;
            let mean: f64 = (0..n)
                .map(|i| residual.quantile((f64::from(i) + 0.5) / f64::from(n)))
                .sum::<f64>()
                / f64::from(n);
            assert!((mean - 1.0).abs() < 1e-3, "{residual:?} has mean {mean}");
        }
    }

    #[test]
    fn a_profile_reads_back_what_it_wrote() {
        let costs = BTreeMap::from([(
            cost::send(Transport::Tcp),
            law(Residual::Quantiles(vec![0.9, 1.1])),
        )]);
        let part = Part {
            kind: PartKind::Host,
            parameters: BTreeMap::new(),
            costs,
            nets: BTreeMap::new(),
        };
        let profile = Profile {
            format: PROFILE_FORMAT,
            name: "test".to_owned(),
            fitted_to: BTreeMap::from([("runs/net".to_owned(), "5e1f".to_owned())]),
            parts: BTreeMap::from([("this".to_owned(), part)]),
        };
        let read = Profile::parse(Path::new("p.toml"), profile.to_toml()).unwrap();
        assert_eq!(read, profile);
    }

    #[test]
    fn errors_name_what_is_there() {
        let part = Part {
            kind: PartKind::Host,
            parameters: BTreeMap::new(),
            costs: BTreeMap::new(),
            nets: BTreeMap::new(),
        };
        let parts = BTreeMap::from([("a100".to_owned(), part)]);
        let profile = Profile {
            format: 1,
            name: "lab".to_owned(),
            fitted_to: BTreeMap::new(),
            parts,
        };
        let missing = profile
            .part("a10", "a.toml:7: `hosts.server.part`")
            .unwrap_err();
        insta::assert_snapshot!(missing, @"a.toml:7: `hosts.server.part`: profile `lab` has no part `a10`, did you mean `a100`? (allowed: a100)");
        let missing = profile
            .cost("a100", "h2d", "a.toml:7: `hosts.server.part`")
            .unwrap_err();
        insta::assert_snapshot!(missing, @"a.toml:7: `hosts.server.part`: part `a100` of profile `lab` has no cost `h2d` (allowed: (none))");
    }
}

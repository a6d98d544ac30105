//! Plain stages: queueing stations, and what leads requests between them.
//!
//! A plain stage stands on no host and has no net: its times are drawn from distributions. Only the
//! engine runs it. The `…File` types mirror the file; the others are checked, with names resolved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::ids::StageId;
use crate::units::SimDuration;

/// A queueing station, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StationFile {
    /// Number of servers; one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<u32>,
    /// Who is served next, and how; `fifo` if not given.
    #[serde(default)]
    pub discipline: DisciplineName,
    /// Service time.
    pub service: Distribution,
    /// Service time of the classes that have one of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Distribution>,
    /// Most requests in the station, in service or not; no limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// What happens to a request that finds it full; `reject` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// Only with `ps`: most that a request gets, in servers; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
    /// Only with `ps`: most requests in service, others wait in line; no limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only with `time-sliced`: how long a server stays with a request while others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<SimDuration>,
    /// Only with `time-sliced`: time that a server loses when it turns to another request; zero if
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SimDuration>,
    /// Serves requests together; one by one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Lot>,
    /// How long a request waits for its service to start before it leaves; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Distribution>,
    /// What a request does that was rejected or lost its patience; it is lost if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// When each server fails and comes back; never fails if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Breakdown>,
}

/// The name of a discipline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisciplineName {
    /// First come, first served.
    #[default]
    Fifo,
    /// Last come, first served; service is not interrupted.
    Lifo,
    /// Last come, first served; an arrival interrupts the service of who came first among those in
    /// service, which is resumed later.
    PreemptiveLifo,
    /// The lowest priority number first, of one number the first to come; service is not
    /// interrupted.
    Priority,
    /// As `priority`, but an arrival interrupts a service of a higher number, which is resumed
    /// later.
    PreemptivePriority,
    /// Processor sharing: all in service at once, the servers divided by the classes' weights.
    Ps,
    /// Round robin: each server stays with a request for a slice, then turns to the next.
    TimeSliced,
    /// As many servers as there are requests.
    Delay,
}

impl DisciplineName {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            DisciplineName::Fifo => "fifo",
            DisciplineName::Lifo => "lifo",
            DisciplineName::PreemptiveLifo => "preemptive-lifo",
            DisciplineName::Priority => "priority",
            DisciplineName::PreemptivePriority => "preemptive-priority",
            DisciplineName::Ps => "ps",
            DisciplineName::TimeSliced => "time-sliced",
            DisciplineName::Delay => "delay",
        }
    }
}

/// What happens to a request that finds a station full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It is turned away.
    #[default]
    Reject,
    /// It stays where it is until there is room (blocking after service); those who stay enter in
    /// the order in which they were ready to. At a station that serves a line (`fifo`, `lifo`,
    /// `priority`) it keeps its server, at others only its place in the station. A request that
    /// comes from a client, a fork, a balancer or a pool of tokens waits outside, where no station
    /// counts it.
    Block,
}

/// Requests that are served together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lot {
    /// Most requests in a batch.
    pub max: u32,
    /// Longest time that the first of a batch waits for others; zero if not given.
    #[serde(default)]
    pub delay: SimDuration,
    /// What each request adds to the service time drawn for the batch; zero if not given.
    #[serde(default)]
    pub per_request: SimDuration,
}

/// What a request does that a station turned away, or that lost its patience there.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// How often it comes again before it is lost.
    pub attempts: u32,
    /// How long it stays away before it comes for the second time.
    pub backoff: Distribution,
    /// How much longer each later time; 1 if not given.
    #[serde(default = "one")]
    pub factor: f64,
}

/// When a server fails and comes back. It fails whether it serves or not; a service that is
/// interrupted is resumed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Breakdown {
    /// How long it works before it fails.
    pub up: Distribution,
    /// How long it is out of order.
    pub down: Distribution,
}

/// Where requests go next, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NextFile {
    /// The stage.
    pub to: String,
    /// With which probability; 1 if not given.
    #[serde(default = "one")]
    pub probability: f64,
}

/// A stage that sends a copy of each request to each of several stages, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ForkFile {
    /// Where the copies go.
    pub to: Vec<String>,
}

/// A stage where the copies of a request wait for each other, as in files.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JoinFile {}

/// A stage that sends each request to one of several stages, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BalanceFile {
    /// By which rule.
    pub policy: PolicyName,
    /// The stages it chooses from.
    pub to: Vec<String>,
    /// Only with `weighted`: share of each, relative to the others'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
}

/// The name of a rule of balancing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// One after the other; each balancer starts with one that is drawn.
    RoundRobin,
    /// Any, with equal probability.
    Random,
    /// That with the fewest requests that this balancer has sent to it and that have not left it;
    /// equals in turn, starting with one that is drawn.
    LeastOutstanding,
    /// That with the fewest requests in it, whoever sent them; equals in turn, starting with one that is
    /// drawn.
    JoinShortestQueue,
    /// Of two different ones, drawn with equal probability, that with the fewer requests in it.
    PowerOfTwo,
    /// One after the other, each as often as its weight says and as evenly spread as that allows; every
    /// balancer starts with the first of those with the largest weight.
    Weighted,
}

impl PolicyName {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyName::RoundRobin => "round-robin",
            PolicyName::Random => "random",
            PolicyName::LeastOutstanding => "least-outstanding",
            PolicyName::JoinShortestQueue => "join-shortest-queue",
            PolicyName::PowerOfTwo => "power-of-two",
            PolicyName::Weighted => "weighted",
        }
    }
}

/// A stage where requests take tokens, as in files.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokensFile {
    /// Number of tokens.
    pub count: u32,
    /// How many each request takes; one if not given.
    #[serde(default = "one_token")]
    pub take: u32,
}

/// A stage where requests give back tokens, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReleaseFile {
    /// The stage where they were taken.
    pub to: String,
}

const fn one() -> f64 {
    1.0
}
const fn one_token() -> u32 {
    1
}

/// A checked plain stage.
#[derive(Clone, PartialEq, Debug)]
pub struct PlainStage {
    /// What it does with a request.
    pub kind: PlainKind,
    /// Where a request goes next, with probabilities that sum to at most 1; with what remains, it
    /// goes on along its clients' path, or leaves at the end of that.
    pub next: Vec<Next>,
}

/// Where a request may go next.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Next {
    /// The stage.
    pub to: StageId,
    /// With which probability.
    pub probability: f64,
}

/// What a plain stage does with a request.
#[derive(Clone, PartialEq, Debug)]
pub enum PlainKind {
    /// Serves it.
    Station(Box<Station>),
    /// Sends a copy of it to each of these.
    Fork(Vec<StageId>),
    /// Keeps it until all copies of the same request have come.
    Join,
    /// Sends it to one of several.
    Balance(Balance),
    /// Keeps it until so many tokens are free, and gives them to it.
    Tokens(TokensFile),
    /// Takes its tokens of this stage back.
    Release(StageId),
}

/// A queueing station.
#[derive(Clone, PartialEq, Debug)]
pub struct Station {
    /// Number of servers; of a delay one for each request.
    pub servers: u32,
    /// Who is served next, and how.
    pub discipline: Discipline,
    /// Service time.
    pub service: Distribution,
    /// Service time of the classes that have one of their own, by name.
    pub services: BTreeMap<String, Distribution>,
    /// Most requests in the station, in service or not.
    pub capacity: Option<u32>,
    /// What happens to a request that finds it full.
    pub when_full: WhenFull,
    /// How long a request waits for its service to start before it leaves.
    pub patience: Option<Distribution>,
    /// What a request does that was turned away or lost its patience.
    pub retry: Option<Retry>,
    /// When each server fails and comes back.
    pub breakdown: Option<Breakdown>,
}

impl Station {
    /// A station of `servers` servers without limits, which never fail.
    pub const fn new(servers: u32, discipline: Discipline, service: Distribution) -> Station {
        Station {
            servers,
            discipline,
            service,
            services: BTreeMap::new(),
            capacity: None,
            when_full: WhenFull::Reject,
            patience: None,
            retry: None,
            breakdown: None,
        }
    }

    /// A station of `servers` servers that take requests one by one, first come first served.
    pub const fn fifo(servers: u32, service: Distribution) -> Station {
        let (order, batch) = (Order::Fifo, None);
        Station::new(servers, Discipline::Line { order, batch }, service)
    }

    /// Number of servers that requests share, or take turns at; none of a delay.
    pub const fn shared_servers(&self) -> Option<u32> {
        match self.discipline {
            Discipline::Delay => None,
            _ => Some(self.servers),
        }
    }
}

/// Who is served next, and how.
#[derive(Clone, PartialEq, Debug)]
pub enum Discipline {
    /// One after the other, without interruption, perhaps in batches.
    Line {
        /// The order.
        order: Order,
        /// Requests that are served together.
        batch: Option<Lot>,
    },
    /// One after the other; an arrival interrupts a service that comes later in the order.
    Preemptive(Order),
    /// All at once.
    Sharing {
        /// Most that a request gets, in servers.
        cap: f64,
        /// Most requests in service; others wait, first come first served.
        limit: Option<u32>,
    },
    /// In turns.
    TimeSliced {
        /// How long a turn lasts while others wait.
        slice: SimDuration,
        /// Time lost when a server turns to another request.
        switch: SimDuration,
    },
    /// Each at once, by a server of its own.
    Delay,
}

/// An order of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// First come, first served.
    Fifo,
    /// Last come, first served.
    Lifo,
    /// The lowest priority number first, of one number the first to come.
    Priority,
}

/// How a request is sent to one of several stages.
#[derive(Clone, PartialEq, Debug)]
pub struct Balance {
    /// By which rule.
    pub policy: PolicyName,
    /// The stages.
    pub to: Vec<StageId>,
    /// Share of each; empty unless weighted.
    pub weights: Vec<f64>,
}

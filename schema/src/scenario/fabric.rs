//! What is between hosts: switches, generated networks, and faults of links.

use serde::{Deserialize, Serialize};

use super::tcp::Ethernet;
use crate::distribution::Distribution;
use crate::ids::{HostId, LinkId, StageId, SwitchId};
use crate::units::{ByteRate, SimDuration};

/// A generated network, to which every host is attached.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FabricFile {
    /// All hosts around one switch.
    Star(CableFile),
    /// Racks of hosts under a leaf each, and every leaf connected to every spine.
    LeafSpine(LeafSpineFile),
    /// A fat-tree of switches with `k` ports each.
    FatTree(FatTreeFile),
    /// A leaf-spine, and hosts of clients in front of it that reach it over an access network.
    MultiRack(MultiRackFile),
}

impl FabricFile {
    /// The name used in files.
    pub const fn kind(&self) -> &'static str {
        match self {
            FabricFile::Star(_) => "star",
            FabricFile::LeafSpine(_) => "leaf-spine",
            FabricFile::FatTree(_) => "fat-tree",
            FabricFile::MultiRack(_) => "multi-rack",
        }
    }
}

/// Cables that are all alike.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CableFile {
    /// Data rate of each direction.
    pub rate: ByteRate,
    /// One-way propagation delay of each; zero if not given.
    #[serde(default)]
    pub delay: SimDuration,
    /// The profile's part of the cables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// That they are an Ethernet; without it `rate` is that of payload alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Ethernet>,
}

/// A leaf-spine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeafSpineFile {
    /// Number of leaves, which are called `leaf-0` and so on.
    pub leaves: u32,
    /// Most hosts of a leaf.
    pub hosts_per_leaf: u32,
    /// Number of spines, which are called `spine-0` and so on.
    pub spines: u32,
    /// Data rate of each direction between a host and its leaf.
    pub rate: ByteRate,
    /// What the hosts of a full leaf can send, relative to what its uplinks carry; 1 if not given.
    #[serde(default = "one")]
    pub oversubscription: f64,
    /// One-way propagation delay between a host and its leaf; zero if not given.
    #[serde(default)]
    pub delay: SimDuration,
    /// One-way propagation delay between a leaf and a spine; `delay` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink_delay: Option<SimDuration>,
    /// The profile's part of the cables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// That they are an Ethernet; without it `rate` is that of payload alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Ethernet>,
}

/// A fat-tree, with cables that are all alike.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FatTreeFile {
    /// Ports of a switch: `k` pods of `k/2` switches `edge-N` and `k/2` switches `aggregation-N`, and
    /// `(k/2)²` switches `core-N`.
    pub k: u32,
    /// Data rate of each direction.
    pub rate: ByteRate,
    /// One-way propagation delay of each; zero if not given.
    #[serde(default)]
    pub delay: SimDuration,
    /// The profile's part of the cables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// That they are an Ethernet; without it `rate` is that of payload alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Ethernet>,
}

/// A leaf-spine with an access network in front of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MultiRackFile {
    /// The leaf-spine.
    pub racks: LeafSpineFile,
    /// What leads to it.
    pub access: AccessFile,
}

/// An access network: a switch called `border`, connected to every spine, and a cable of its own for
/// each host that is attached to it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AccessFile {
    /// Data rate of each direction between a host and the border.
    pub rate: ByteRate,
    /// One-way delay between a client and the border, drawn once for each client; zero if not given.
    #[serde(default = "none")]
    pub delay: Distribution,
    /// What each message takes longer than that; zero if not given.
    #[serde(default = "none")]
    pub jitter: Distribution,
    /// Data rate of each direction between the border and a spine; without it never what limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border_rate: Option<ByteRate>,
    /// One-way propagation delay between the border and a spine; zero if not given.
    #[serde(default)]
    pub border_delay: SimDuration,
    /// The profile's part of the cables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// That they are an Ethernet; without it `rate` is that of payload alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Ethernet>,
}

/// A time for which a link is worse than it is or does not work at all, or a host or a stage is lost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FaultFile {
    /// The two hosts or switches that the link joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<[String; 2]>,
    /// The host that is lost, with all stages on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The stage that is lost, with all of its replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// When it begins, from the start of the run.
    pub from: SimDuration,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub length: SimDuration,
    /// Only of a link: data rate of each direction meanwhile; without it the link is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ByteRate>,
    /// Only of a host or a stage: how long after its beginning and after its end senders that choose
    /// among replicas know of it; zero if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<SimDuration>,
}

/// A time for which replicas of stages are lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outage {
    /// Which: stages, and of each the number of a replica.
    pub replicas: Vec<(StageId, u32)>,
    /// When it begins, from the start of the run.
    pub from: SimDuration,
    /// How long it lasts.
    pub length: SimDuration,
    /// How long it takes until senders know.
    pub detection: SimDuration,
}

/// What a link may join.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Vertex {
    /// It sends and receives, and forwards nothing.
    Host(HostId),
    /// It forwards.
    Switch(SwitchId),
}

/// A switch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switch {
    /// Its name.
    pub name: String,
}

/// The access network of clients.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// The hosts that are attached to it.
    pub hosts: Vec<HostId>,
    /// One-way delay of a client.
    pub delay: Distribution,
    /// What each message takes longer than that.
    pub jitter: Distribution,
}

/// A fault of a link, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which link.
    pub link: LinkId,
    /// When it begins, from the start of the run.
    pub from: SimDuration,
    /// How long it lasts.
    pub length: SimDuration,
    /// Data rate meanwhile; `None` if the link is down.
    pub rate: Option<ByteRate>,
}

/// How a message gets from one host to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It stays inside one host.
    Inside,
    /// The link that joins the two.
    Link(LinkId),
    /// Over switches, by a shortest path.
    Switched,
}

impl Way {
    /// The link, where it is one.
    pub const fn link(self) -> Option<LinkId> {
        match self {
            Way::Link(link) => Some(link),
            Way::Inside | Way::Switched => None,
        }
    }
}

const fn one() -> f64 {
    1.0
}

const fn none() -> Distribution {
    Distribution::Constant(SimDuration::ZERO)
}

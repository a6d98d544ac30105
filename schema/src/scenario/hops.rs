//! Hops from one stage to the next: transports, and which of several replicas a request goes to.

use serde::{Deserialize, Serialize};

use super::fabric::Way;
use super::file::Forward;
use super::plain::PolicyName;
use super::tcp::Tcp;
use super::verbs::{CompletionBy, QueuePairs, Registration, SetUp, Verb, Verbs};
use crate::ids::{HostId, StageId};
use crate::units::Bytes;

/// A hop of a path.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HopFile {
    /// The stage it leads to.
    pub to: String,
    /// The transport; not to a plain stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Transport>,
    /// How its ends learn of messages; by events if not given. Only over `rdma` and `gdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<CompletionBy>,
    /// What moves its messages; a write with immediate data if not given. Only over `rdma` and `gdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// When the memory of what is sent is registered; once if not given. Only over `rdma`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// The queue pairs that its connections share; one for each if not given. Only over `rdma` and
    /// `gdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_pairs: Option<QueuePairs>,
    /// On hardware, who joins the ends of its connections; they do, over TCP, if not given. Only over
    /// `rdma` and `gdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetUp>,
    /// How TCP paces its messages; nothing limits them if not given. Only over `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// Size of a request on it; that on the hop before, or the output of the stage that serves before,
    /// if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Bytes>,
    /// Size of a reply on it; that on the hop after it, or the output of its stage, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Bytes>,
    /// To which replica of the stage a request goes; `round-robin` if not given. Not from a proxy,
    /// which says it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<PolicyName>,
    /// Only with `weighted`: share of each replica, relative to the others'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
}

/// How one of several replicas of a stage is chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct Balancing {
    /// By which rule.
    pub policy: PolicyName,
    /// Share of each replica; empty unless weighted.
    pub weights: Vec<f64>,
}

/// How bytes get from one role to the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Kernel TCP.
    Tcp,
    /// Shared memory of one host, with a doorbell over a Unix-domain socket.
    Local,
    /// Verbs over reliable connected queue pairs, between memories of hosts.
    Rdma,
    /// The same to and from the memory of the GPU at the hop's far end (GPUDirect RDMA).
    Gdr,
}

impl Transport {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Local => "local",
            Transport::Rdma => "rdma",
            Transport::Gdr => "gdr",
        }
    }

    /// Whether network adapters move its messages, without a core's part in any byte.
    pub const fn is_verbs(self) -> bool {
        matches!(self, Transport::Rdma | Transport::Gdr)
    }
}

/// A hop of a path.
#[derive(Clone, PartialEq, Debug)]
pub struct Hop {
    /// The host it starts from, the first of several.
    pub from: HostId,
    /// The stage it leads to.
    pub to: StageId,
    /// The transport.
    pub over: Transport,
    /// How it gets there, from the first host to the first.
    pub way: Way,
    /// When the stage that it leads to passes messages on to the next hop, and back.
    pub forward: Forward,
    /// How it works over `rdma` and `gdr`; `None` over others.
    pub verbs: Option<Verbs>,
    /// How TCP paces its messages; `None` if nothing limits them.
    pub tcp: Option<Tcp>,
    /// How one of its stage's replicas is chosen; `None` if there is one, or it stays on its host.
    pub balance: Option<Balancing>,
    /// Size of a request on it; that of the request's class if `None`.
    pub payload: Option<Bytes>,
    /// Size of a reply on it; that of the request's class if `None`.
    pub reply: Option<Bytes>,
}

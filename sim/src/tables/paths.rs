//! Paths of requests: hops, choices among replicas, calls, and what clients do when they are lost.

use schema::distribution::Sampler;
use schema::ids::{ClientId, StageId};
use schema::scenario::{Forward, PolicyName, Tcp, Transport, Verbs};
use schema::units::{Bytes, SimTime};

use crate::fabric::packets::Format;
use crate::ids::{BalancerId, ConnectionId, PathId, PoolId, RoleId};

/// A path of hops that requests take.
#[derive(Debug)]
pub(crate) struct PathRow {
    /// Those that requests take, and then that of replies that go straight to the sender.
    pub(crate) hops: Vec<HopRow>,
    /// How many requests take.
    pub(crate) n_hops: usize,
}

impl PathRow {
    /// Whether replies go straight from the last stage to the sender.
    pub(crate) const fn is_straight(&self) -> bool {
        self.hops.len() > self.n_hops
    }
}

/// A hop of a path.
#[derive(Clone, Debug)]
pub(crate) struct HopRow {
    pub(crate) to: StageId,
    pub(crate) over: Transport,
    /// Size of a request and of a reply; that of its class if `None`.
    pub(crate) payload: Option<Bytes>,
    pub(crate) reply: Option<Bytes>,
    /// Whether its stage serves, and does not only forward.
    pub(crate) serves: bool,
    /// What its stage calls when it has its result.
    pub(crate) steps: Vec<StepRow>,
    /// Over network adapters only.
    pub(crate) verbs: Option<VerbsRow>,
    /// Over TCP only.
    pub(crate) tcp: TcpRow,
    /// When the stage that it leads to passes messages on.
    pub(crate) forward: Forward,
    /// The roles of its stage's replicas: the first, and how many.
    pub(crate) first_role: RoleId,
    pub(crate) n_roles: usize,
    pub(crate) choice: Choice,
    /// By replica of the sender and then of the receiver; empty if the sender keeps a connection for
    /// each of its own.
    pub(crate) pools: Vec<PoolId>,
    /// The number of the way from the first sender to the first receiver among those of the path.
    pub(crate) first_way: usize,
}

/// Calls that a stage makes at once.
#[derive(Clone, Debug)]
pub(crate) struct StepRow {
    pub(crate) calls: Vec<CallRow>,
}

/// A call that a stage makes.
#[derive(Clone, Debug)]
pub(crate) struct CallRow {
    /// The branches that it may send, by their numbers.
    pub(crate) branches: Vec<u32>,
    /// Its number among all that a request of the group may cause.
    pub(crate) site: usize,
    /// With which probability it is made.
    pub(crate) probability: f64,
    /// By number of requests: with which probability it sends at most so many.
    pub(crate) at_most: Vec<f64>,
}

impl CallRow {
    /// Whether how many requests it sends is drawn.
    pub(crate) fn draws(&self) -> bool {
        let certain = self.at_most.iter().filter(|p| **p > 0.0).count() == 1;
        self.probability < 1.0 || !certain
    }
}

/// Which replica of its stage a hop leads to.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// The only one.
    Only,
    /// The one on the host of the sender.
    Same,
    /// One that the sender chooses; by replica of the sender.
    Balanced(Vec<BalancerId>),
}

/// A sender's choice among the replicas of a stage.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct BalancerRow {
    pub(crate) sender: RoleId,
    /// The first and how many.
    pub(crate) to: (RoleId, usize),
    pub(crate) policy: PolicyName,
    pub(crate) weights: Vec<f64>,
    /// Of its stream.
    pub(crate) name: String,
}

/// A connection through the whole pipeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionRow {
    pub(crate) client: ClientId,
    /// Which branch of the client's requests it carries; 0 for the request itself.
    pub(crate) branch: u32,
    /// Where those of the request's branches begin in the table.
    pub(crate) first_branch: usize,
    /// The one that carries what makes the call; none for the request itself.
    pub(crate) parent: Option<ConnectionId>,
    pub(crate) path: PathId,
    /// Its number in its group.
    pub(crate) ordinal: u32,
    /// Where those of its first hop are in the table.
    pub(crate) sources: usize,
}

/// How requests of a client come again.
#[derive(Debug)]
pub(crate) struct RetryRow {
    pub(crate) attempts: u32,
    pub(crate) backoff: Sampler,
    pub(crate) factor: f64,
    pub(crate) elsewhere: bool,
    /// Of its stream.
    pub(crate) name: String,
}

/// Something that begins, ends or becomes known about a loss of replicas.
#[derive(Clone, Debug)]
pub(crate) struct OutageRow {
    pub(crate) at: SimTime,
    pub(crate) change: OutageChange,
    pub(crate) roles: Vec<RoleId>,
}

/// What there is about a loss of replicas. Of what is at one instant, the first here comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum OutageChange {
    /// They are back.
    Ends,
    /// Senders know that they are back.
    EndIsKnown,
    /// They are lost.
    Begins,
    /// Senders know that they are lost.
    IsKnown,
}

/// A hop over TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpRow {
    /// How its messages are put into packets.
    pub(crate) format: Format,
    /// Most bytes that its threads work on at once.
    pub(crate) chunk: Bytes,
    /// What limits it, if anything does.
    pub(crate) limits: Option<Tcp>,
    /// What a messaging library puts before each message, there and back.
    pub(crate) message_header: [Bytes; 2],
}

/// A hop over network adapters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerbsRow {
    pub(crate) options: Verbs,
    /// Those that its connections share.
    pub(crate) queue_pairs: Option<QueuePairsRow>,
    /// Of the memory of the hop's near end and of its far end, in bytes.
    pub(crate) page_sizes: [u64; 2],
}

/// Queue pairs that connections share, so many between each pair of replicas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuePairsRow {
    /// The number of the first one's first direction.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Most work requests of each in each direction.
    pub(crate) outstanding: u32,
}

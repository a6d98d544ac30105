//! Network adapters, and how messages go over them.

use serde::{Deserialize, Serialize};

use super::gpu::Socket;

/// The network adapter of a host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NicFile {
    /// The profile's part that gives its parameters.
    pub part: String,
    /// Where it is seen from the cores and the memory of its host; `near` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<Socket>,
    /// On hardware, the name of its verbs device; the only active one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// On hardware, the index of its GID; found if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u8>,
}

/// A network adapter, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nic {
    /// The profile's part that gives its parameters.
    pub part: String,
    /// Where it is.
    pub socket: Socket,
}

/// How the ends of a hop learn that a message is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompletionBy {
    /// They sleep on the completion channel: an interrupt wakes them.
    #[default]
    Event,
    /// They poll the completion queue, and keep a core busy.
    Poll,
}

impl CompletionBy {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            CompletionBy::Event => "event",
            CompletionBy::Poll => "poll",
        }
    }
}

/// What moves the messages of a hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// The sender writes into the receiver's memory, and immediate data tells it.
    #[default]
    WriteWithImmediate,
    /// The sender sends into the buffer that the receiver has posted.
    Send,
    /// The sender sends a notice, and the receiver reads from the sender's memory.
    Read,
}

impl Verb {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::WriteWithImmediate => "write-with-immediate",
            Verb::Send => "send",
            Verb::Read => "read",
        }
    }
}

/// When the memory of what is sent is registered with the adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    /// Buffers are registered once, before the first request.
    #[default]
    Once,
    /// Each message's memory before it is sent, and let go of after.
    Each,
}

impl Registration {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Registration::Once => "once",
            Registration::Each => "each",
        }
    }
}

/// Who joins the two ends of a connection on hardware; the engine's are there from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetUp {
    /// They tell each other over TCP where their queue pairs are.
    #[default]
    Tcp,
    /// The connection manager, librdmacm.
    RdmaCm,
}

impl SetUp {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            SetUp::Tcp => "tcp",
            SetUp::RdmaCm => "rdma-cm",
        }
    }
}

/// Queue pairs that connections of a hop share, and how much each has under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QueuePairs {
    /// Number of queue pairs, to which the connections of the group are dealt in turn.
    pub count: u32,
    /// Most work requests of each in each direction that are posted and not completed; what is more
    /// waits in a line.
    pub outstanding: u32,
}

/// How a hop over verbs works, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verbs {
    /// How its ends learn of messages.
    pub completion: CompletionBy,
    /// What moves its messages.
    pub verb: Verb,
    /// When their memory is registered.
    pub registration: Registration,
    /// The queue pairs that its connections share; `None` if each has its own.
    pub queue_pairs: Option<QueuePairs>,
    /// Who joins their two ends.
    pub setup: SetUp,
}

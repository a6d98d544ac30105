//! Everything that happens at an instant.

use schema::ids::{ClientId, CoreSetId};

use crate::fabric::packets::PacketEvent;
use crate::gpu::Access;
use crate::ids::{BusId, ChannelId, ConnectionId, InstanceId, NicId, QpId, ServerId};

/// What a connection carries; if it carries something else meanwhile, the event is void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) connection: ConnectionId,
    /// Of messages, how often what it carries had been lost; of timeouts, the number of the attempt.
    pub(crate) number: u32,
}

/// Everything that happens at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A request of the client is due.
    Arrival(ClientId),
    /// The connection's thread, which slept until a request was due, runs.
    Woken(ConnectionId),
    /// A job of the core set has got all its work, unless the generation has passed.
    JobDone {
        /// Where.
        set: CoreSetId,
        /// Which of the set's forecasts this is; an older one than the latest is void.
        generation: u32,
    },
    /// The next chunk of the connection's message reached the receiver's host.
    ChunkArrived(Ticket),
    /// A network adapter begins to move what the connection's message now is.
    Posted(Ticket),
    /// A network adapter has moved a burst between itself and the memory of its host.
    Moved {
        /// Which.
        nic: NicId,
        /// From memory or to it.
        access: Access,
    },
    /// A work request of a shared queue pair is acknowledged.
    WorkCompleted(QpId),
    /// The receiver's network adapter has the context of the connection's queue pair.
    ContextFetched(Ticket),
    /// The receiver's network adapter says that the connection's message is in memory.
    Completed(Ticket),
    /// The first request in the stage's line has waited long enough, unless the generation has
    /// passed.
    BatchDue {
        /// The stage.
        server: ServerId,
        /// Which of the stage's timers this is; an older one than the latest is void.
        generation: u32,
    },
    /// Something changes on the GPUs of a bus, unless the generation has passed.
    Gpus {
        /// Which.
        bus: BusId,
        /// Which of the bus's forecasts this is; an older one than the latest is void.
        generation: u32,
    },
    /// Something changes on the links, unless the generation has passed.
    Wires {
        /// Which of their forecasts this is; an older one than the latest is void.
        generation: u32,
    },
    /// The sender of a channel hears what the receiver's host has.
    Acknowledged(ChannelId),
    /// The sender of a channel hears what the receiver's thread has not taken.
    BacklogTold(ChannelId),
    /// Something happens to a packet.
    Packet(PacketEvent),
    /// A fault of a link begins; its number in the scenario.
    FaultBegins(u32),
    /// A fault of a link is over.
    FaultEnds(u32),
    /// A forward pass of the instance may end.
    FloorPassed(InstanceId),
    /// The client gives the attempt up, if that is still under way.
    TimedOut(Ticket),
    /// The client tries again.
    Retried(ConnectionId),
    /// Something begins, ends or becomes known about the loss of replicas; its number among all such.
    Outage(u32),
    /// The measured window starts.
    WindowOpens,
    /// The measured window ends.
    WindowCloses,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events are moved about in the queue all the time.
    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 12, "{} bytes", size_of::<Event>());
    }
}

//! Dense ids of the compiled tables, beside those of the scenario.

use schema::ids::Id;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) struct $name(u32);
        impl Id for $name {
            fn from_index(index: usize) -> Self {
                $name(u32::try_from(index).expect("a table holds fewer than 2^32 rows"))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

id! {
    /// A connection of a client through the whole pipeline; it carries one request at a time.
    ConnectionId,
    /// A serving stage.
    ServerId,
    /// An inference context of some serving stage.
    InstanceId,
    /// Whose core time it is: the clients of a host, or a stage.
    RoleId,
    /// A cost of a part.
    LawId,
    /// A use of a cost, with a stream of its own.
    SourceId,
    /// A GPU that some stage runs on.
    GpuId,
    /// GPUs of a host between which peer copies go over PCIe, or one GPU.
    BusId,
    /// What GPUs run.
    NetId,
    /// The network adapter of a host.
    NicId,
    /// A queue pair that connections share, in one direction.
    QpId,
    /// One direction of a connection over a hop that something limits.
    ChannelId,
    /// A path of hops that requests take.
    PathId,
    /// A sender's choice among the replicas of a stage.
    BalancerId,
    /// The connections that a proxy keeps to a stage.
    PoolId,
}

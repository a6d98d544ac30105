//! Why a scenario cannot be simulated.

use schema::profile::ProfileError;

/// Why a scenario cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The profile lacks a part or a cost.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The law of a cost counts something that the work it is used for does not have.
    #[error(
        "{wanted_by}: cost `{cost}` of part `{part}` is per second of work asked for, which only synthetic inference has (allowed: bytes, requests)"
    )]
    Driver {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// The cost.
        cost: String,
    },
    /// A part's contention is not a fraction from zero.
    #[error(
        "{wanted_by}: parameter `contention` of part `{part}` must be a number from 0 up, found {found}"
    )]
    Contention {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// The value found.
        found: f64,
    },
    /// The scenario asks for what the engine does not model.
    #[error("{wanted_by}: {what} cannot be simulated")]
    Unsupported {
        /// File, line and key that ask for it.
        wanted_by: String,
        /// What it is.
        what: String,
    },
    /// No replications were asked for.
    #[error("the number of replications must be at least 1, found 0")]
    NoReplications,
    /// The threads could not be started.
    #[error("failed to start the simulator's threads")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// A closed loop sends again and again at one instant, which would never end.
    #[error(
        "{client} never gets on: its requests take no time and neither does its thinking, so the measured time never passes; give some cost or think time, or measure a number of requests"
    )]
    NoProgress {
        /// The client, as group and index.
        client: String,
    },
    /// Requests were lost or doubled: a fault of the engine.
    #[error(
        "replication {replication} sent {sent} requests and completed {completed}, which is a fault of the engine"
    )]
    NotConserved {
        /// Which replication.
        replication: u32,
        /// Requests sent.
        sent: u64,
        /// Requests completed.
        completed: u64,
    },
    /// The area under the number of requests in the system is not the sum of their sojourn times:
    /// a fault of the engine.
    #[error(
        "replication {replication} breaks Little's law by {difference_ps} ps, which is a fault of the engine"
    )]
    LittlesLaw {
        /// Which replication.
        replication: u32,
        /// Area less sum, in picoseconds.
        difference_ps: i128,
    },
}

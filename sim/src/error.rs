//! Why a scenario cannot be simulated.

use schema::profile::ProfileError;
use schema::units::SimTime;

/// Why a scenario cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The profile lacks a part or a cost.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The law of a cost counts something that the work it is used for does not have.
    #[error("{wanted_by}: cost `{cost}` of part `{part}` is per {per} (allowed: bytes, requests)")]
    Driver {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// The cost.
        cost: String,
        /// What its law counts, and what has it.
        per: &'static str,
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
    /// A part lacks a parameter.
    #[error("{wanted_by}: part `{part}` has no parameter `{parameter}`, which is needed")]
    NoParameter {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// The parameter.
        parameter: String,
    },
    /// A parameter of a part is out of range.
    #[error(
        "{wanted_by}: parameter `{parameter}` of part `{part}` must be {allowed}, found {found}"
    )]
    Parameter {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// The parameter.
        parameter: String,
        /// The value found.
        found: f64,
        /// The values allowed.
        allowed: String,
    },
    /// A GPU is of a part that is none.
    #[error("{wanted_by}: part `{part}` is no GPU (its `kind` must be gpu)")]
    NotAGpu {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
    },
    /// A network adapter is of a part that is none.
    #[error("{wanted_by}: part `{part}` is no network adapter (its `kind` must be nic)")]
    NotANic {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
    },
    /// A GPU is partitioned into more than it has.
    #[error(
        "{wanted_by}: asks for {} compute and {} memory slices, part `{part}` has {} and {}",
        asked.0, asked.1, has.0, has.1
    )]
    Partitions {
        /// File, line and key of the partition.
        wanted_by: String,
        /// The part.
        part: String,
        /// Compute and memory slices asked for.
        asked: (f64, f64),
        /// Those there are.
        has: (f64, f64),
    },
    /// A GPU's part does not know a net.
    #[error("{wanted_by}: part `{part}` of profile `{profile}` has no net {net}")]
    NoNet {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The profile.
        profile: String,
        /// The part.
        part: String,
        /// The net, and those it has.
        net: String,
    },
    /// A block does not fit a multiprocessor.
    #[error(
        "{kernel}: a block needs more threads, registers or shared memory than a multiprocessor of part `{part}` has ({wanted_by})"
    )]
    Block {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// Which kernel.
        kernel: String,
    },
    /// The memory of a GPU does not hold what is asked of it.
    #[error(
        "{wanted_by}: a device of part `{part}` has {has_gb:.2} GB of memory, and is asked for {needs}"
    )]
    Memory {
        /// File, line and key that ask for the part.
        wanted_by: String,
        /// The part.
        part: String,
        /// What it has, in gigabytes.
        has_gb: f64,
        /// What is asked for.
        needs: String,
    },
    /// The scenario asks for what the engine does not model.
    #[error("{wanted_by}: {what} cannot be simulated")]
    Unsupported {
        /// File, line and key that ask for it.
        wanted_by: String,
        /// What it is.
        what: String,
    },
    /// A network was put together in a way that makes no sense.
    #[error("a network cannot be run: {what}")]
    Network {
        /// What is wrong.
        what: String,
    },
    /// The requests of a client cannot be drawn.
    #[error("failed to draw the requests of a client")]
    Requests(#[from] schema::arrivals::GapsError),
    /// Nothing happens any more, and requests have not ended.
    #[error(
        "replication {replication} stands still at {} s with {n} requests under way: each waits for another, for room or for tokens{}",
        at.as_secs_f64(),
        at_stages(stages)
    )]
    Stuck {
        /// Which replication.
        replication: u32,
        /// When.
        at: SimTime,
        /// Requests that have not ended.
        n: u32,
        /// How many of them are in which stages.
        stages: Vec<(String, u32)>,
    },
    /// Requests go from stage to stage without end at one instant.
    #[error(
        "replication {replication} never gets past {} s: requests go round through stages that take no time",
        at.as_secs_f64()
    )]
    Endless {
        /// Which replication.
        replication: u32,
        /// When.
        at: SimTime,
    },
    /// A request came to give back tokens that it did not have.
    #[error(
        "replication {replication}: a request came to `{stage}` and had no tokens of `{pool}`; lead it through `{pool}` before"
    )]
    NoTokens {
        /// Which replication.
        replication: u32,
        /// The stage that takes them back.
        stage: String,
        /// The stage that gives them out.
        pool: String,
    },
    /// Stages on hosts need a profile with the costs of their parts.
    #[error("the scenario has stages on hosts, whose costs are in a profile: give one")]
    NoProfile,
    /// A single replication has no interval.
    #[error("a comparison takes at least 2 replications")]
    NoPairs,
    /// Plain stages stand for themselves, and not for parts that could be faster.
    #[error(
        "a scenario of plain stages has no parts that could be faster; vary its services with `tandem sweep`"
    )]
    NoParts,
    /// Pilot runs did not show where the initial transient ends.
    #[error(
        "{at}: the initial transient does not end within half of a pilot run of {n} requests; measure longer, or give a warm-up; if the load is more than can be served it never ends"
    )]
    Transient {
        /// File, line and key of the warm-up.
        at: String,
        /// Requests of a pilot run.
        n: u64,
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

/// `; in A: 3, in B: 1`.
fn at_stages(stages: &[(String, u32)]) -> String {
    let mut text = String::new();
    for (index, (stage, n)) in stages.iter().enumerate() {
        text += if index == 0 { "; " } else { ", " };
        text += &format!("in `{stage}`: {n}");
    }
    text
}

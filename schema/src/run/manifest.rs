//! `run.json`: what was run, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content_hash;
use crate::scenario::ScenarioFile;

/// The version of the run format that this program reads and writes.
pub const RUN_FORMAT: u32 = 1;

/// What was run, and how.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Which executor made the run.
    pub kind: RunKind,
    /// Name and version of the program.
    pub program: String,
    /// The scenario, every default written out.
    pub scenario: ScenarioFile,
    /// SHA-256 of each input, by name.
    pub inputs: BTreeMap<String, String>,
    /// Number of replications in the trace; 1 for a measurement.
    pub replications: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Core time used in the measured window, by replication and role.
    pub cpu: Vec<CpuUse>,
    /// What to know before trusting the figures.
    pub warnings: Vec<String>,
    /// What only a measurement has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

impl Manifest {
    /// What tells this run from others, wherever its folder is: SHA-256 of the manifest.
    ///
    /// Two measurements differ in when they were made and in the core time they took; two simulated
    /// runs have one id if they were made from the same inputs.
    pub fn id(&self) -> String {
        content_hash(&serde_json::to_vec(self).expect("a manifest can be written as JSON"))
    }
}

/// Which executor made a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// On hardware.
    Measured,
    /// In the engine.
    Simulated,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// As planned.
    Complete,
    /// A role died or failed; the trace holds what was recorded until then.
    Broken {
        /// The role, such as `server classify`.
        role: String,
        /// What happened to it, such as `killed by signal 9`.
        how: String,
    },
}

/// Core time used by one role in the measured window of one replication.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuUse {
    /// Replication, from zero.
    pub replication: u32,
    /// The role (`client edge`, `proxy ingress`, `server classify`), or `machine` for all that the
    /// machine did, other programs included.
    pub role: String,
    /// Core time, in seconds.
    pub busy_s: f64,
    /// Length of the window, in seconds.
    pub window_s: f64,
}

/// The role of a [`CpuUse`] that stands for the whole machine.
pub const MACHINE: &str = "machine";

/// What only a measurement has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// When it was started, seconds since 1970-01-01 UTC.
    pub started_unix_s: u64,
    /// The command line.
    pub command: Vec<String>,
    /// Facts about the machine: processor, cores, kernel, clock source, …
    pub machine: BTreeMap<String, String>,
    /// Time that the hypervisor kept the machine's cores from running, in seconds, over the run.
    pub steal_s: f64,
    /// Error bound of the hosts' clock offsets, in nanoseconds; 0 where all roles share a clock.
    pub clock_error_ns: u64,
}

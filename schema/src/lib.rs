//! What all parts of Tandem share.
//!
//! A [`Scenario`](scenario::Scenario) says what is served, where and under which load. An executor
//! (hardware or the engine) turns it into a [`Run`](run::Run) directory, a
//! [`Profile`](profile::Profile) holds what was fitted to runs, and the
//! [`workload`] gives both executors the same requests from the same seed.
//! Nothing else passes between the parts of the program.
//!
//! Invariant: this crate depends on none of Tandem's other crates, never looks at the machine it
//! runs on, and never reads a clock.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod breakdown;
pub mod comparison;
pub mod csv;
pub mod distribution;
pub mod error;
pub mod gpu;
pub mod ids;
pub mod nets;
pub mod occupancy;
pub mod profile;
pub mod random;
pub mod run;
pub mod scenario;
pub mod stages;
pub mod stats;
pub mod study;
pub mod summary;
pub mod units;
pub mod workload;

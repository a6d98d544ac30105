//! Executes a scenario on real hardware and records what every part of it costs.
//!
//! [`measure`] starts one process per client host, proxy and server, lets them serve the scenario's
//! requests, and makes a [`Run`](schema::run::Run) from what they recorded. A probe is a scenario
//! like any other. What is timed, with which clock, and what is not: `METHODOLOGY.md`.
//!
//! - [`roles`]: what the processes do; [`launch`]: how they are started, placed and watched.
//! - [`transport`]: how a message gets from one process to the next.
//! - [`accelerator`]: what computes.
//! - [`journal`]: how spans are recorded so that a killed process loses none.

pub mod accelerator;
pub mod clock;
pub mod error;
pub mod journal;
pub mod launch;
pub mod machine;
pub mod pcie;
pub mod roles;
pub mod scheduling;
pub mod topology;
pub mod transport;

pub use error::RealrunError;
pub use launch::{MeasureOptions, Progress, measure, recover};

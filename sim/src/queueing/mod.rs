//! Networks of plain stages.

mod breakdown;
mod build;
mod check;
mod client;
mod customer;
mod engine;
mod event;
mod line;
mod network;
mod node;
mod passing;
mod preemptive;
mod report;
mod run;
mod sharing;
mod time_sliced;
mod trace;
mod visit;
mod waiting;

pub use crate::Keep;
pub use network::{Clients, Kind, Network};
pub use run::{Plan, Report};

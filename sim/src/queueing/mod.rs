//! Networks of plain stages.

mod build;
mod client;
mod customer;
mod engine;
mod event;
mod line;
mod network;
mod node;
mod preemptive;
mod report;
mod run;
mod sharing;
mod time_sliced;
mod trace;
mod waiting;

pub use network::{Clients, Kind, Network};
pub use run::{Keep, Plan, Report};

//! End to end: the command, what several crates do together, and the repository itself.

mod beyond;
mod command;
mod common;
mod gpu_rules;
mod idle;
mod judged;
mod killed;
mod nets;
mod pipelines;
mod profiles;
mod refused;
mod stations;
mod studies;
mod tables;
mod takeaways;
mod tidy;
mod transports;

//! End to end: the command, what several crates do together, and the repository itself.

mod command;
mod common;
mod idle;
mod killed;
mod profiles;
mod stations;
mod tidy;

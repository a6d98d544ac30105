//! The GPU that streams and processes share, through its public interface: exact timelines of every
//! rule, limits in which it must equal something simpler, queueing theory, and what holds of random
//! programs.
//!
//! Timelines are to the picosecond and drawn in the comments, in nanoseconds; `#` is computing, `=`
//! copying, `.` waiting.

mod blocks;
mod clients;
mod copies;
mod fixture;
mod hosts;
mod limits;
mod peers;
mod phases;
mod priorities;
mod properties;
mod queueing;
mod streams;
mod turns;

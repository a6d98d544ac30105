//! A network of hosts, switches and directed links, at the level of flows.
//!
//! # Where to start
//! - [`Graph`] is the network, built link by link or by one of the [`topology`] functions.
//! - [`Routes`] finds the path of a flow: shortest, one of those of equal cost by a hash of the flow.
//! - [`Fabric`] divides the rates of the links among the flows that are under way, max-min fairly, and
//!   says when each has moved all of its bytes.
//! - [`packets`] moves the same bytes packet by packet, with lines, buffers that may be full, and the
//!   windows of TCP.
//!
//! # What is modelled
//! - A flow is a number of bytes over a path. All its links carry it at one rate, at once: that of the
//!   max-min fair allocation, which changes at the instant at which any flow starts or ends.
//! - A flow may have a cap of its own, such as what its sender's cores can do.
//! - Rates of links may change, and links may fail: see [`Fabric::set_rate`] and [`Routes::set_state`].
//!
//! # What is left out
//! Of the fluid: packets, queues and their delays, loss, and the time that a transport takes to find its
//! rate.
//! Propagation is not part of a flow's time: its last byte is at the receiver
//! [`Graph::propagation_delay`] after it ends.
//!
//! # Order
//! Of flows that end at one instant the first to start is the first to end; see [`FlowId`].

mod graph;
pub mod max_min;
pub mod packets;
mod routes;
pub mod topology;

pub use graph::{Graph, GraphError, Link, LinkId, VertexId, VertexKind};
pub use max_min::{Done, Fabric, FlowId};
pub use routes::{LinkState, Routes, RoutesError};

//! Messages over TCP, RDMA and GPUDirect RDMA, alone and through a proxy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapters;
mod closed_form;
mod cut_through;
mod explain;
mod fixture;

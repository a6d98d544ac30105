//! Stands in for RDMA verbs in a build without the feature `rdma`: there is no adapter.

use std::convert::Infallible;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use schema::scenario::Verbs;

use super::{Buffers, Connection};
use crate::accelerator::cuda::CudaAccelerator;

/// Which adapter a host uses, as far as the scenario says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// Name of the verbs device.
    pub device: Option<String>,
    /// Index of its GID.
    pub gid: Option<u8>,
}

/// A network adapter that has been opened: none, in this build.
pub struct Nic(Infallible);

impl Nic {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn open(_choice: &Choice) -> io::Result<Nic> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build has no verbs transport; build it with `--features rdma`",
        ))
    }

    /// Never called, as there is no adapter.
    ///
    /// # Errors
    /// Never.
    pub fn registration(&self, _length: usize) -> io::Result<(Duration, Duration)> {
        match self.0 {}
    }

    /// Never called, as there is no adapter.
    ///
    /// # Errors
    /// Never.
    pub fn way_to(&self, _gpu: &CudaAccelerator) -> io::Result<&'static str> {
        match self.0 {}
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self.0 {}
    }

    /// Name, address and packet size, for people.
    pub fn describe(&self) -> String {
        match self.0 {}
    }
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn names() -> io::Result<Vec<String>> {
    survey()
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn survey() -> io::Result<Vec<String>> {
    Nic::open(&Choice::default()).map(|nic| vec![nic.describe()])
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn connection_manager() -> io::Result<()> {
    survey().map(drop)
}

/// Memory of a gateway that both of its connections over verbs use: none, in this build.
pub struct Relay(Infallible);

impl Relay {
    /// Never called, as there is no adapter.
    ///
    /// # Errors
    /// Always.
    pub fn new(_buffers: Buffers) -> io::Result<Relay> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// How an end of a connection works over its adapter.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// The adapter.
    pub nic: &'a Nic,
    /// How messages go over it.
    pub verbs: Verbs,
    /// The memory that it shares with the other connection of a gateway.
    pub relay: Option<&'a Relay>,
    /// The GPU in whose memory its payloads are to lie.
    pub gpu: Option<&'a CudaAccelerator>,
}

pub(super) fn accept(
    _stream: TcpStream,
    end: End<'_>,
    _buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    match end.nic.0 {}
}

pub(super) fn connect(
    _stream: TcpStream,
    end: End<'_>,
    _buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    match end.nic.0 {}
}

//! RDMA verbs: messages go from registered memory to registered memory, without the kernel.
//!
//! A connection is a queue pair of type RC, set up over a TCP connection to the stage's port, or by the
//! connection manager (`cm`) with the help of one; it stays open to tell when the peer has gone.
//! `endpoint` says how messages pass.
//! Types and constants of verbs are those of the crates `ibverbs` and `ibverbs-sys`. All unsafe code
//! is in the layer over libibverbs: `library`, `device`, `memory` and `queue_pair`; and in the one over
//! librdmacm, below `cm`.
//!
//! An end may have its payloads in memory of a GPU (GPUDirect RDMA, `store`).
//!
//! Run so far on Soft-RoCE only, not yet on a network adapter, and with memory of a stand-in for a GPU
//! only.

pub mod bare;
mod card;
mod cm;
mod device;
mod endpoint;
mod failure;
mod gid;
mod library;
mod memory;
mod queue_pair;
mod setup;
mod store;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::scenario::Verbs;

use super::{Buffers, Connection, HEADER};
use crate::accelerator::cuda::{CudaAccelerator, PeerBuffer};
use device::{Device, PortState, devices};
use endpoint::Endpoint;
use failure::Failure;
use memory::{Access, Buffer, Region, Way};
use store::Wanted;

/// Which adapter a host uses, as far as the scenario says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// Name of the verbs device; the only active one if not given.
    pub device: Option<String>,
    /// Index of its GID; the first of kind RoCE v2 if not given, those of IPv4 before others.
    pub gid: Option<u8>,
}

/// A network adapter that has been opened.
pub struct Nic {
    device: Arc<Device>,
    gid_index: u8,
    gid: gid::Gid,
    port: PortState,
}

impl Nic {
    /// Opens the adapter of this machine that `choice` names.
    ///
    /// # Errors
    /// If there is none, it is not connected, or it has no address.
    pub fn open(choice: &Choice) -> io::Result<Nic> {
        let device = match &choice.device {
            Some(name) => Device::open(name)?,
            None => only_active()?,
        };
        device.is_up()?;
        let port = device.port()?;
        let (gid_index, gid) = gid::choose(device.name(), choice.gid)?;
        Ok(Nic {
            device,
            gid_index,
            gid,
            port,
        })
    }

    /// Registers `length` bytes of memory, which has been written, and releases them; says how long
    /// each took.
    ///
    /// # Errors
    /// If there is not so much, or the adapter does not take it.
    pub fn registration(&self, length: usize) -> io::Result<(Duration, Duration)> {
        let buffer = Buffer::new(length)?;
        let begin = Instant::now();
        let region = Region::register(&self.device, &buffer, Access::PeerWrites)?;
        let registered = begin.elapsed();
        drop(region);
        Ok((registered, begin.elapsed() - registered))
    }

    /// How it reaches the memory of `gpu`, which is found by registering some: `dma-buf` or
    /// `nvidia-peermem`.
    ///
    /// # Errors
    /// If it does not, or the GPU has no memory left.
    pub fn way_to(&self, gpu: &CudaAccelerator) -> io::Result<&'static str> {
        let memory = Arc::new(PeerBuffer::new(gpu, 1).map_err(io::Error::other)?);
        let region = Region::register_on_gpu(&self.device, &memory, Access::PeerWrites)?;
        Ok(match region.way() {
            Way::DmaBuf => "dma-buf",
            Way::PeerMemory | Way::Host => "nvidia-peermem",
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// Name, address and packet size, for people.
    pub fn describe(&self) -> String {
        format!(
            "{}, GID {} ({}), MTU {} B",
            self.device.name(),
            self.gid_index,
            gid::show(&self.gid),
            128 << self.port.mtu
        )
    }
}

/// Names of the devices of this machine.
///
/// # Errors
/// If this machine has no verbs.
pub fn names() -> io::Result<Vec<String>> {
    Ok(devices()?)
}

/// The devices of this machine, for people: what is needed to use each, or why it cannot be used.
///
/// # Errors
/// If this machine has no verbs.
pub fn survey() -> io::Result<Vec<String>> {
    let describe = |name: String| {
        let device = Some(name);
        match Nic::open(&Choice { device, gid: None }) {
            Ok(nic) => nic.describe(),
            Err(error) => error.to_string(),
        }
    };
    Ok(devices()?.into_iter().map(describe).collect())
}

/// The device whose port is active, if there is exactly one.
fn only_active() -> Result<Arc<Device>, Failure> {
    let names = devices()?;
    let mut active = Vec::new();
    for name in &names {
        let device = Device::open(name)?;
        if device.port()?.is_active {
            active.push(device);
        }
    }
    if active.len() == 1 {
        return Ok(active.remove(0));
    }
    let found: Vec<&str> = active.iter().map(|device| device.name()).collect();
    Err(match (names.len(), found.len()) {
        (0, _) => Failure::new("ibv_get_device_list", "this machine has no verbs device").because(
            "is the adapter's driver loaded (`rdma link`)? Without an adapter, Soft-RoCE makes one \
             of a network interface: `rdma link add rxe0 type rxe netdev INTERFACE`",
        ),
        (_, 0) => Failure::new(
            "ibv_query_port",
            format!("no port of {} is active", names.join(", ")),
        )
        .because("is the cable in, and the interface up (`ip link`)?"),
        _ => Failure::new(
            "choosing a device",
            format!("several are active: {}", found.join(", ")),
        )
        .because("name the one to use: `nic = { part = \"PART\", device = \"NAME\" }`"),
    })
}

/// Memory of a gateway that both of its connections over verbs use: what one receives the other
/// sends, from where it arrived. Their payloads cannot be looked at.
pub struct Relay {
    request: Buffer,
    reply: Buffer,
}

impl Relay {
    /// Memory for messages of `buffers`.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn new(buffers: Buffers) -> io::Result<Relay> {
        Ok(Relay {
            request: Buffer::new(HEADER + buffers.request)?,
            reply: Buffer::new(HEADER + buffers.reply)?,
        })
    }
}

/// Whether connections can be set up by the connection manager, librdmacm, on this machine.
///
/// # Errors
/// If its library or its part of the kernel is not there.
pub fn connection_manager() -> io::Result<()> {
    Ok(cm::is_there()?)
}

/// Which end of a connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Asks,
    Serves,
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
    /// The GPU in whose memory its payloads are to lie; those of a gateway's two connections cannot.
    pub gpu: Option<&'a CudaAccelerator>,
}

/// The end that serves; `stream` has carried the hello.
pub(super) fn accept(
    stream: TcpStream,
    end: End<'_>,
    buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    let (request, reply) = memory_of(end, buffers);
    join(stream, Role::Serves, end, reply, request)
}

/// The end that asks; `stream` has carried the hello.
pub(super) fn connect(
    stream: TcpStream,
    end: End<'_>,
    buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    let (request, reply) = memory_of(end, buffers);
    join(stream, Role::Asks, end, request, reply)
}

/// What requests and what replies are to lie in.
fn memory_of<'a>(end: End<'a>, buffers: Buffers) -> (Wanted<'a>, Wanted<'a>) {
    match (end.relay, end.gpu) {
        (Some(relay), _) => (Wanted::Shared(&relay.request), Wanted::Shared(&relay.reply)),
        (None, Some(gpu)) => (
            Wanted::OnGpu(gpu, buffers.request),
            Wanted::OnGpu(gpu, buffers.reply),
        ),
        (None, None) => (Wanted::Own(buffers.request), Wanted::Own(buffers.reply)),
    }
}

fn join(
    stream: TcpStream,
    role: Role,
    end: End<'_>,
    outgoing: Wanted<'_>,
    incoming: Wanted<'_>,
) -> io::Result<Box<dyn Connection>> {
    let end = Endpoint::establish(stream, role, end, outgoing, incoming)?;
    Ok(Box::new(end))
}

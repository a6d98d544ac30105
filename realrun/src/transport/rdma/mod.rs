//! RDMA verbs: messages go from registered memory to registered memory, without the kernel.
//!
//! A connection is a queue pair of type RC, set up over a TCP connection to the stage's port, which
//! then stays open to tell when the peer has gone. `endpoint` says how messages pass.
//! All unsafe code is in the layer over libibverbs: `library`, `device`, `memory` and `queue_pair`.
//!
//! Run so far on Soft-RoCE only, not yet on a network adapter.

mod card;
mod device;
mod endpoint;
mod failure;
mod gid;
mod library;
mod memory;
mod queue_pair;
mod sys;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use schema::scenario::Verbs;

use super::{Buffers, Connection, HEADER};
use device::{Device, PortState, devices};
use endpoint::Endpoint;
use failure::Failure;
use memory::Buffer;

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
    gid: sys::Gid,
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
        let port = device.port()?;
        if !port.is_active {
            let failure = Failure::new("ibv_query_port", "its port is not active");
            return Err(failure
                .because("is the cable in, and the interface up (`ip link`)?")
                .on(device.name())
                .into());
        }
        let (gid_index, gid) = gid::choose(device.name(), choice.gid)?;
        Ok(Nic {
            device,
            gid_index,
            gid,
            port,
        })
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

/// How an end of a connection works over its adapter.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// The adapter.
    pub nic: &'a Nic,
    /// How messages go over it.
    pub verbs: Verbs,
    /// The memory that it shares with the other connection of a gateway.
    pub relay: Option<&'a Relay>,
}

/// The end that serves; `stream` has carried the hello.
pub(super) fn accept(
    stream: TcpStream,
    end: End<'_>,
    buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    let (reply, request) = (end.relay.map(|r| &r.reply), end.relay.map(|r| &r.request));
    let end = Endpoint::establish(
        stream,
        end,
        (reply, buffers.reply),
        (request, buffers.request),
    )?;
    Ok(Box::new(end))
}

/// The end that asks; `stream` has carried the hello.
pub(super) fn connect(
    stream: TcpStream,
    end: End<'_>,
    buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    let (reply, request) = (end.relay.map(|r| &r.reply), end.relay.map(|r| &r.request));
    let end = Endpoint::establish(
        stream,
        end,
        (request, buffers.request),
        (reply, buffers.reply),
    )?;
    Ok(Box::new(end))
}

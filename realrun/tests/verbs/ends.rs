//! Ends of connections, each on a device of the guest.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rand::Rng;
use realrun::accelerator::cuda::CudaAccelerator;
use realrun::transport::rdma::{Choice, End, Nic, Relay};
use realrun::transport::{Address, Buffers, Carrier, Connection, Header, Hello, Listener, connect};
use schema::ids::{ClientId, Id, RequestId};
use schema::run::content_hash;
use schema::scenario::{CompletionBy, Registration, SetUp, Verb, Verbs};
use tempfile::TempDir;

pub(super) const MIB: usize = 1 << 20;
pub(super) const BUFFERS: Buffers = Buffers {
    request: 5 * MIB,
    reply: 3 * MIB,
};

/// What an end of a connection goes over.
#[derive(Clone)]
pub(super) enum Over {
    Tcp,
    Rdma {
        device: &'static str,
        verbs: Verbs,
        relay: Option<Arc<Relay>>,
        gpu: Option<Arc<CudaAccelerator>>,
    },
}

/// An end on `device`.
pub(super) fn on(device: &'static str, verbs: Verbs) -> Over {
    Over::Rdma {
        device,
        verbs,
        relay: None,
        gpu: None,
    }
}

impl Over {
    fn nic(&self) -> io::Result<Option<Nic>> {
        match self {
            Over::Tcp => Ok(None),
            Over::Rdma { device, .. } => nic(device).map(Some),
        }
    }

    fn carrier<'a>(&'a self, nic: Option<&'a Nic>) -> Carrier<'a> {
        match self {
            Over::Tcp => Carrier::Tcp,
            Over::Rdma {
                verbs, relay, gpu, ..
            } => Carrier::Rdma(End {
                nic: nic.unwrap(),
                verbs: *verbs,
                relay: relay.as_deref(),
                gpu: gpu.as_deref(),
            }),
        }
    }
}

pub(super) fn nic(device: &str) -> io::Result<Nic> {
    let device = Some(device.to_owned());
    Nic::open(&Choice { device, gid: None })
}

pub(super) fn header(seq: usize, length: usize) -> Header {
    Header {
        request: RequestId::new(ClientId::from_index(0), seq as u32),
        class: 0,
        length: length as u64,
        failed: false,
    }
}

/// Where a listener is; its socket is there as long as this.
pub(super) struct Place {
    address: Address,
    _dir: TempDir,
}

impl Place {
    /// A place where no listener of `listen` is.
    pub(super) fn of(tcp: SocketAddr) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("s");
        Place {
            address: Address { tcp, local },
            _dir: dir,
        }
    }
}

/// Listens, and gives every connection, or why there is none, to `serve` on a thread of its own.
pub(super) fn listen(
    over: Over,
    buffers: Buffers,
    serve: impl Fn(io::Result<Box<dyn Connection>>) + Send + Sync + 'static,
) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("s");
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let listener = Listener::bind(&local, ip).unwrap();
    let tcp = SocketAddr::new(ip, listener.port().unwrap());
    let shared = Arc::new((over, serve));
    listener.accept_all(move |pending| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            let (over, serve) = &*shared;
            let mut pending = pending.unwrap();
            pending.hello().unwrap();
            // Opened for each, so that no device is in use when no connection is.
            let nic = over.nic();
            serve(nic.and_then(|nic| pending.accept(over.carrier(nic.as_ref()), buffers)));
        });
    });
    let address = Address { tcp, local };
    Place { address, _dir: dir }
}

/// Opens a connection to a listener.
pub(super) fn open(
    over: &Over,
    place: &Place,
    buffers: Buffers,
) -> io::Result<Box<dyn Connection>> {
    let hello = Hello {
        client: ClientId::from_index(0),
        connection: 0,
        hop: 0,
    };
    let nic = over.nic()?;
    connect(over.carrier(nic.as_ref()), &place.address, &hello, buffers)
}

pub(super) type Ends = (Box<dyn Connection>, Box<dyn Connection>);

/// Makes connections between two ends, all with one listener.
pub(super) struct Pairs {
    near: Over,
    buffers: Buffers,
    place: Place,
    heard: Receiver<io::Result<Box<dyn Connection>>>,
}

impl Pairs {
    pub(super) fn new(near: Over, far: Over, buffers: Buffers) -> Pairs {
        let (tell, heard) = channel();
        let place = listen(far, buffers, move |end| tell.send(end).unwrap());
        Pairs {
            near,
            buffers,
            place,
            heard,
        }
    }

    /// Connections from `rxe0` to `rxe1`.
    pub(super) fn across(verbs: Verbs) -> Pairs {
        Pairs::new(on("rxe0", verbs), on("rxe1", verbs), BUFFERS)
    }

    /// The two ends of a new connection.
    pub(super) fn join(&self) -> Ends {
        let near = open(&self.near, &self.place, self.buffers).unwrap();
        (near, self.heard.recv().unwrap().unwrap())
    }
}

/// Puts `length` random bytes where the next payload goes; returns their hash.
pub(super) fn fill(connection: &mut dyn Connection, length: usize, rng: &mut impl Rng) -> String {
    let payload = &mut connection.payload_mut()[..length];
    rng.fill_bytes(payload);
    content_hash(payload)
}

/// Every way in which a hop goes over verbs, joined as `TANDEM_SETUP` says.
pub(super) fn every() -> Vec<Verbs> {
    let setup = match std::env::var("TANDEM_SETUP").as_deref() {
        Err(_) | Ok("tcp") => SetUp::Tcp,
        Ok("rdma-cm") => SetUp::RdmaCm,
        Ok(other) => panic!("TANDEM_SETUP is `{other}` (allowed: tcp, rdma-cm)"),
    };
    let mut all = Vec::new();
    for verb in [Verb::WriteWithImmediate, Verb::Send, Verb::Read] {
        for completion in [CompletionBy::Event, CompletionBy::Poll] {
            all.push(Verbs {
                completion,
                verb,
                registration: Registration::Once,
                queue_pairs: None,
                setup,
            });
        }
    }
    all
}

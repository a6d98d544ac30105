//! Messages over real verbs, between two devices of a machine, each end bound to one of them.
//!
//! They need the devices `rxe0` and `rxe1` that the guest of `tests/rdma/run` has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rand::{Rng, RngExt};
use realrun::transport::rdma::{Choice, End, Nic, Relay};
use realrun::transport::{Address, Buffers, Carrier, Connection, Header, Hello, Listener, connect};
use schema::ids::{ClientId, Id, RequestId};
use schema::random::{Seed, stream};
use schema::run::content_hash;
use schema::scenario::{CompletionBy, Registration, Verb, Verbs};

const MIB: usize = 1 << 20;
const BUFFERS: Buffers = Buffers {
    request: 5 * MIB,
    reply: 3 * MIB,
};

fn nic(device: &str) -> Nic {
    let device = Some(device.to_owned());
    Nic::open(&Choice { device, gid: None }).unwrap()
}

fn hello() -> Hello {
    Hello {
        client: ClientId::from_index(0),
        connection: 0,
        hop: 0,
    }
}

fn header(seq: usize, length: usize) -> Header {
    Header {
        request: RequestId::new(ClientId::from_index(0), seq as u32),
        class: 0,
        length: length as u64,
        failed: false,
    }
}

type Ends = (Box<dyn Connection>, Box<dyn Connection>);

/// The two ends of a connection, the first on `rxe0` and the second on `rxe1`.
fn pair(verbs: Verbs, buffers: Buffers) -> Ends {
    join(verbs, buffers, ("rxe0", None), ("rxe1", None))
}

/// The two ends of a connection, each on a device and perhaps with the memory of a gateway.
fn join(
    verbs: Verbs,
    buffers: Buffers,
    near: (&str, Option<&Relay>),
    far: (&'static str, Option<Arc<Relay>>),
) -> Ends {
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("s");
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let listener = Listener::bind(&local, ip).unwrap();
    let tcp = SocketAddr::new(ip, listener.port().unwrap());
    let (tell, heard) = std::sync::mpsc::channel();
    listener.accept_all(move |pending| {
        let mut pending = pending.unwrap();
        pending.hello().unwrap();
        let end = End {
            nic: &nic(far.0),
            verbs,
            relay: far.1.as_deref(),
        };
        tell.send(pending.accept(Carrier::Rdma(end), buffers))
            .unwrap();
    });
    let end = End {
        nic: &nic(near.0),
        verbs,
        relay: near.1,
    };
    let address = Address { tcp, local };
    let near = connect(Carrier::Rdma(end), &address, &hello(), buffers).unwrap();
    (near, heard.recv().unwrap().unwrap())
}

/// Sizes of messages: the ends of the range, those around the limits, and some in between.
fn sizes(largest: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut sizes = vec![
        0,
        1,
        187,
        188,
        189,
        4063,
        4064,
        4065,
        MIB - 32,
        MIB - 31,
        largest,
    ];
    // Evenly spread on a logarithmic scale.
    sizes.extend((0..30).map(|_| (largest as f64).powf(rng.random()) as usize));
    sizes
}

fn fill(connection: &mut dyn Connection, length: usize, rng: &mut impl Rng) -> String {
    let payload = &mut connection.payload_mut()[..length];
    rng.fill_bytes(payload);
    content_hash(payload)
}

fn every() -> Vec<Verbs> {
    let mut all = Vec::new();
    for verb in [Verb::WriteWithImmediate, Verb::Send, Verb::Read] {
        for completion in [CompletionBy::Event, CompletionBy::Poll] {
            all.push(Verbs {
                completion,
                verb,
                registration: Registration::Once,
                queue_pairs: None,
            });
        }
    }
    all
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn requests_and_replies_of_every_size_arrive_whole() {
    for verbs in every() {
        let (mut near, mut far) = pair(verbs, BUFFERS);
        let mut rng = stream(Seed(1), "request");
        let sizes = sizes(BUFFERS.request, &mut rng);
        let n = sizes.len();
        let server = std::thread::spawn(move || {
            let mut rng = stream(Seed(1), "reply");
            let mut hashes = Vec::new();
            while let Some(arrival) = far.receive().unwrap() {
                let seen = content_hash(far.received());
                let length = rng.random_range(0..=BUFFERS.reply);
                hashes.push((seen, fill(&mut *far, length, &mut rng)));
                far.send(&header(arrival.header.request.seq() as usize, length))
                    .unwrap();
            }
            hashes
        });
        let mut hashes = Vec::new();
        for (seq, length) in sizes.into_iter().enumerate() {
            let sent = fill(&mut *near, length, &mut rng);
            near.send(&header(seq, length)).unwrap();
            let arrival = near.receive().unwrap().unwrap();
            assert_eq!(arrival.header.request.seq() as usize, seq);
            assert!(arrival.start_ns <= arrival.end.at_ns);
            hashes.push((sent, content_hash(near.received())));
        }
        drop(near);
        assert_eq!(server.join().unwrap(), hashes, "{verbs:?}");
        assert_eq!(hashes.len(), n);
    }
}

/// A sender that does not wait for replies is held back by the receiver, which is slower, and whose
/// queue pair would fail if a message came for which no receive is posted.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_slow_receiver_holds_its_sender_back() {
    for verbs in every() {
        let (mut near, mut far) = pair(verbs, BUFFERS);
        let server = std::thread::spawn(move || {
            let mut hashes = Vec::new();
            while let Some(arrival) = far.receive().unwrap() {
                if arrival.header.request.seq() % 16 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                hashes.push(content_hash(far.received()));
            }
            hashes
        });
        let mut rng = stream(Seed(2), "request");
        let mut hashes = Vec::new();
        for seq in 0..200 {
            let length = rng.random_range(0..20_000);
            hashes.push(fill(&mut *near, length, &mut rng));
            near.send(&header(seq, length)).unwrap();
        }
        drop(near);
        assert_eq!(server.join().unwrap(), hashes, "{verbs:?}");
    }
}

/// A gateway on `rxe1` between a client and a server on `rxe0`: what arrives is sent on from where it
/// is, and the gateway has no view of it that could be copied from.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_gateway_forwards_what_it_does_not_see() {
    for verbs in every() {
        let relay = Arc::new(Relay::new(BUFFERS).unwrap());
        let (mut client, mut front) = join(
            verbs,
            BUFFERS,
            ("rxe0", None),
            ("rxe1", Some(Arc::clone(&relay))),
        );
        let (mut back, mut server) = join(verbs, BUFFERS, ("rxe1", Some(&relay)), ("rxe0", None));
        let gateway = std::thread::spawn(move || {
            let mut n = 0;
            while let Some(arrival) = front.receive().unwrap() {
                assert!(front.received().is_empty() && back.payload_mut().is_empty());
                back.send(&arrival.header).unwrap();
                let arrival = back.receive().unwrap().unwrap();
                front.send(&arrival.header).unwrap();
                n += 1;
            }
            n
        });
        let server = std::thread::spawn(move || {
            while let Some(arrival) = server.receive().unwrap() {
                let (received, reply) = server.both();
                let length = received.len().min(BUFFERS.reply);
                reply[..length].copy_from_slice(&received[..length]);
                reply[..length].reverse();
                let length = length as u64;
                server
                    .send(&Header {
                        length,
                        ..arrival.header
                    })
                    .unwrap();
            }
        });
        let mut rng = stream(Seed(3), "request");
        for seq in 0..20 {
            let length = (BUFFERS.reply as f64).powf(rng.random()) as usize;
            let mut payload = vec![0; length];
            rng.fill_bytes(&mut payload);
            client.payload_mut()[..length].copy_from_slice(&payload);
            client.send(&header(seq, length)).unwrap();
            client.receive().unwrap().unwrap();
            payload.reverse();
            assert!(client.received() == payload, "{verbs:?}, {length} B");
        }
        drop(client);
        assert_eq!(gateway.join().unwrap(), 20);
        server.join().unwrap();
    }
}

//! Messages over real verbs, between two devices of a machine, each end bound to one of them.
//!
//! They need the devices `rxe0` and `rxe1` that the guest of `tests/rdma/run` has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod faults;
mod load;

use std::sync::Arc;

use rand::{Rng, RngExt};
use realrun::transport::Header;
use realrun::transport::rdma::Relay;
use schema::random::{Seed, stream};
use schema::run::content_hash;

use ends::{BUFFERS, MIB, Over, Pairs, every, fill, header, on};

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

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn requests_and_replies_of_every_size_arrive_whole() {
    for verbs in every() {
        let (mut near, mut far) = Pairs::across(verbs).join();
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
        let (mut near, mut far) = Pairs::across(verbs).join();
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
        let middle = Over::Rdma {
            device: "rxe1",
            verbs,
            relay: Some(relay),
            gpu: None,
        };
        let (mut client, mut front) = Pairs::new(on("rxe0", verbs), middle.clone(), BUFFERS).join();
        let (mut back, mut server) = Pairs::new(middle, on("rxe0", verbs), BUFFERS).join();
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

//! Many requests, from one byte to 64 MiB, one client after another, several at once and over
//! gateways: every payload arrives as it was sent.

use std::sync::Arc;
use std::time::Instant;

use rand::{Rng, RngExt};
use realrun::transport::rdma::Relay;
use realrun::transport::{Buffers, Connection, HEADER, Header};
use schema::random::{Seed, stream};
use schema::run::content_hash;

use super::ends::{MIB, Over, Place, every, header, listen, on, open};

/// Requests of a load.
const REQUESTS: usize = 10_000;
const LARGEST: usize = 64 * MIB;
/// Bytes of a reply: the hash of the request.
const REPLY: usize = 64;

/// Sizes of `n` requests up to `largest`, both ends of the range among them.
///
/// Pareto with exponent 1/3, bounded to `1..=largest`: half of them are 8 B or less, and 64 MiB as
/// the largest gives a mean of 82 kB.
fn sizes(n: usize, largest: usize, rng: &mut impl Rng) -> Vec<usize> {
    const EXPONENT: f64 = 1.0 / 3.0;
    let beyond = 1.0 - (largest as f64).powf(-EXPONENT);
    let mut size = || {
        let u: f64 = rng.random();
        (1.0 - u * beyond).powf(-1.0 / EXPONENT) as usize
    };
    let mut sizes: Vec<usize> = (0..n).map(|_| size().min(largest)).collect();
    (sizes[n / 3], sizes[n / 2]) = (1, largest);
    sizes
}

fn buffers(largest: usize) -> Buffers {
    Buffers {
        request: largest,
        reply: REPLY,
    }
}

/// Answers every request with the hash of what arrived.
fn answer(mut end: Box<dyn Connection>) {
    while let Some(arrival) = end.receive().unwrap() {
        let seen = content_hash(end.received());
        end.payload_mut()[..REPLY].copy_from_slice(seen.as_bytes());
        let length = REPLY as u64;
        end.send(&Header {
            length,
            ..arrival.header
        })
        .unwrap();
    }
}

fn server(over: Over, largest: usize) -> Place {
    listen(over, buffers(largest), |end| answer(end.unwrap()))
}

/// Sends `n` requests, one after another, and compares what each reply says; returns their bytes.
fn ask(mut end: Box<dyn Connection>, n: usize, largest: usize, seed: u64) -> usize {
    let mut rng = stream(Seed(seed), "load");
    // Payloads are parts of it, as random bytes for each would take longer than the messages.
    let mut pool = vec![0; largest + MIB];
    rng.fill_bytes(&mut pool);
    let mut bytes = 0;
    for (seq, length) in sizes(n, largest, &mut rng).into_iter().enumerate() {
        let sent = &pool[rng.random_range(0..MIB)..][..length];
        end.payload_mut()[..length].copy_from_slice(sent);
        end.send(&header(seq, length)).unwrap();
        let arrival = end.receive().unwrap().unwrap();
        assert_eq!(arrival.header.request.seq() as usize, seq);
        assert!(
            end.received() == content_hash(sent).as_bytes(),
            "{length} B arrived otherwise"
        );
        bytes += length;
    }
    bytes
}

/// Sends the load to `place` and says how long it took.
fn load(what: &str, over: &Over, place: &Place, largest: usize) {
    let begin = Instant::now();
    let end = open(over, place, buffers(largest)).unwrap();
    let bytes = ask(end, REQUESTS, largest, 1);
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("{what}: {REQUESTS} requests, {bytes} B, {seconds:.1} s");
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn ten_thousand_requests_of_every_size_arrive_whole() {
    for verbs in every() {
        let place = server(on("rxe1", verbs), LARGEST);
        let what = format!("{:?} {:?}", verbs.verb, verbs.completion);
        load(&what, &on("rxe0", verbs), &place, LARGEST);
    }
}

/// Soft-RoCE takes 8 MiB as one message, header included.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn messages_around_what_a_port_takes_arrive_whole() {
    let one = 8 * MIB - HEADER;
    let longest = 3 * 8 * MIB;
    let both = Buffers {
        request: longest,
        reply: longest,
    };
    for verbs in every() {
        let place = listen(on("rxe1", verbs), both, |end| {
            let mut end = end.unwrap();
            while let Some(arrival) = end.receive().unwrap() {
                let (received, reply) = end.both();
                reply[..received.len()].copy_from_slice(received);
                end.send(&arrival.header).unwrap();
            }
        });
        let mut end = open(&on("rxe0", verbs), &place, both).unwrap();
        let mut rng = stream(Seed(1), "payloads");
        let mut random = vec![0; longest + 10];
        rng.fill_bytes(&mut random);
        let lengths = [
            one - 1,
            one,
            one + 1,
            8 * MIB,
            2 * 8 * MIB - HEADER + 1,
            longest,
        ];
        for (seq, length) in lengths.into_iter().enumerate() {
            let payload = &random[seq..][..length];
            end.payload_mut()[..length].copy_from_slice(payload);
            end.send(&header(seq, length)).unwrap();
            end.receive().unwrap().unwrap();
            assert!(end.received() == payload, "{verbs:?}, {length} B");
        }
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn eight_clients_at_once_are_served() {
    const CLIENTS: u64 = 8;
    let largest = 4 * MIB;
    for verbs in every() {
        let place = server(on("rxe1", verbs), largest);
        let client = |seed| {
            let end = open(&on("rxe0", verbs), &place, buffers(largest)).unwrap();
            ask(end, 500, largest, seed);
        };
        std::thread::scope(|scope| {
            for seed in 0..CLIENTS {
                scope.spawn(move || client(seed));
            }
        });
    }
}

/// A gateway that listens over `front` and forwards to `place` over `back`.
fn gateway(front: Over, back: Over, place: Place) -> Place {
    listen(front, buffers(LARGEST), move |end| {
        let mut front = end.unwrap();
        let mut back = open(&back, &place, buffers(LARGEST)).unwrap();
        while let Some(arrival) = front.receive().unwrap() {
            let received = front.received();
            back.payload_mut()[..received.len()].copy_from_slice(received);
            back.send(&arrival.header).unwrap();
            let arrival = back.receive().unwrap().unwrap();
            let received = back.received();
            front.payload_mut()[..received.len()].copy_from_slice(received);
            front.send(&arrival.header).unwrap();
        }
    })
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn ten_thousand_requests_pass_a_gateway_from_tcp() {
    let verbs = every()[0];
    let place = server(on("rxe0", verbs), LARGEST);
    let place = gateway(Over::Tcp, on("rxe1", verbs), place);
    load("from tcp to rdma", &Over::Tcp, &place, LARGEST);
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn ten_thousand_requests_pass_a_gateway_between_verbs() {
    let verbs = every()[0];
    let middle = Over::Rdma {
        device: "rxe1",
        verbs,
        relay: Some(Arc::new(Relay::new(buffers(LARGEST)).unwrap())),
        gpu: None,
    };
    let place = server(on("rxe0", verbs), LARGEST);
    let place = gateway(middle.clone(), middle, place);
    load("from rdma to rdma", &on("rxe0", verbs), &place, LARGEST);
}

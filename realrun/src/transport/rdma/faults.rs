//! What adapters say of work requests that break the protocol, which no scenario can bring about.

use std::net::TcpListener;

use insta::assert_snapshot;
use schema::scenario::{Registration, SetUp, Verbs};

use super::super::setup::Made;
use super::super::{Choice, Nic};
use super::*;
use schema::ids::{ClientId, Id, RequestId};

const REQUEST: usize = 5000;
const REPLY: usize = 3000;
/// The longest that a fault may take to be told.
const LIMIT: Duration = Duration::from_secs(8);

fn nic(device: &str) -> Nic {
    let device = Some(device.to_owned());
    Nic::open(&Choice { device, gid: None }).unwrap()
}

fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Two ends, on `rxe0` and on `rxe1`.
fn ends(verb: Verb) -> (Endpoint, Endpoint) {
    joined(verb, CompletionBy::Event, [u32::MAX; 2], [REQUEST, REPLY])
}

/// Two ends, on `rxe0` and on `rxe1`, whose ports take messages of up to `limits`, with room for
/// requests and replies.
pub(super) fn joined(
    verb: Verb,
    completion: CompletionBy,
    limits: [u32; 2],
    [request, reply]: [usize; 2],
) -> (Endpoint, Endpoint) {
    let verbs = Verbs {
        completion,
        verb,
        registration: Registration::Once,
        queue_pairs: None,
        setup: SetUp::Tcp,
    };
    let limited = move |device, limit: u32| {
        let mut nic = nic(device);
        nic.port.max_message = nic.port.max_message.min(limit);
        nic
    };
    let (near, far) = streams();
    let far = std::thread::spawn(move || {
        let nic = limited("rxe1", limits[1]);
        let end = End {
            nic: &nic,
            verbs,
            relay: None,
            gpu: None,
        };
        Endpoint::establish(
            far,
            Role::Serves,
            end,
            Wanted::Own(reply),
            Wanted::Own(request),
        )
        .unwrap()
    });
    let nic = limited("rxe0", limits[0]);
    let end = End {
        nic: &nic,
        verbs,
        relay: None,
        gpu: None,
    };
    let near = Endpoint::establish(
        near,
        Role::Asks,
        end,
        Wanted::Own(request),
        Wanted::Own(reply),
    )
    .unwrap();
    (near, far.join().unwrap())
}

fn header() -> Header {
    Header {
        request: RequestId::new(ClientId::from_index(0), 0),
        class: 0,
        length: 1000,
        failed: false,
    }
}

/// Messages, a line each, without the ports that the kernel chose.
fn all<const N: usize>(errors: [io::Error; N]) -> String {
    let fixed = errors.map(|error| {
        let message = error.to_string();
        let (before, after) = message.split_once("127.0.0.1:").unwrap();
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}127.0.0.1:PORT{after}")
    });
    fixed.join("\n")
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_wrong_key_is_named_by_both_ends() {
    let begin = Instant::now();
    let (mut near, mut far) = ends(Verb::WriteWithImmediate);
    near.peer.incoming.0.key ^= 0xff;
    near.send(&header()).unwrap();
    let writer = near.receive().unwrap_err();
    let written = far.receive().unwrap_err();
    let (mut near, mut far) = ends(Verb::Read);
    far.peer.outgoing.0.key ^= 0xff;
    near.send(&header()).unwrap();
    let reader = far.receive().unwrap_err();
    let read = near.receive().unwrap_err();
    assert_snapshot!(all([writer, written, reader, read]), @r"
    a work request on device `rxe0`, peer 127.0.0.1:PORT: the peer's memory was not registered for this (status 10, vendor's code 0x0); the two ends do not run the same scenario
    a work request on device `rxe1`, peer 127.0.0.1:PORT: the peer's memory was not registered for this (status 10, vendor's code 0x0); the two ends do not run the same scenario
    a work request on device `rxe1`, peer 127.0.0.1:PORT: the peer's memory was not registered for this (status 10, vendor's code 0x0); the two ends do not run the same scenario
    a work request on device `rxe0`, peer 127.0.0.1:PORT: it was flushed (status 5, vendor's code 0x0); the queue pair failed before, or the peer has gone
    ");
    assert!(begin.elapsed() < LIMIT);
}

/// Two queue pairs that have been joined, the second with room for messages of `room` only, which it
/// has not told.
fn deceived(verb: Verb, room: usize) -> (Made, Made) {
    let (near, far) = streams();
    let (near_nic, far_nic) = (nic("rxe0"), nic("rxe1"));
    let mut near = Made::new(
        &near_nic,
        verb,
        &near,
        Wanted::Own(REQUEST),
        Wanted::Own(REPLY),
    )
    .unwrap();
    let mut far = Made::new(&far_nic, verb, &far, Wanted::Own(REPLY), Wanted::Own(room)).unwrap();
    let mut told = far.card;
    told.terms.incoming.0.length = near.card.terms.outgoing.0.length;
    near.join(&near_nic, &told).unwrap();
    let mut told = near.card;
    told.terms.outgoing.0.length = far.card.terms.incoming.0.length;
    far.join(&far_nic, &told).unwrap();
    (near, far)
}

/// The first failure of a work request of `qp`.
fn failure(qp: &mut QueuePair) -> io::Error {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Err(failure) = qp.poll() {
            return failure.into();
        }
        std::thread::yield_now();
    }
    panic!("no work request failed");
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_buffer_that_is_too_small_is_named_by_both_ends() {
    let piece = |made: &Made| Piece {
        region: made.outgoing.region,
        from: 0,
        length: 2000,
    };
    let (mut near, mut far) = deceived(Verb::Send, 1000);
    near.qp.post(Work::Send(0), piece(&near)).unwrap();
    let (sender, receiver) = (failure(&mut near.qp), failure(&mut far.qp));
    let (mut near, mut far) = deceived(Verb::WriteWithImmediate, 1000);
    let work = Work::WriteWithImmediate(far.card.terms.incoming.0, 0, 0);
    near.qp.post(work, piece(&near)).unwrap();
    let (writer, written) = (failure(&mut near.qp), failure(&mut far.qp));
    assert_snapshot!(all([sender, receiver, writer, written]), @r"
    a work request on device `rxe0`, peer 127.0.0.1:PORT: the peer's adapter could not do it (status 11, vendor's code 0x0); the message was longer than the buffer posted for it
    a work request on device `rxe1`, peer 127.0.0.1:PORT: it was not as the queue pair wants it (status 2, vendor's code 0x0); a message was longer than the buffer posted for it
    a work request on device `rxe0`, peer 127.0.0.1:PORT: the peer's memory was not registered for this (status 10, vendor's code 0x0); the two ends do not run the same scenario
    a work request on device `rxe1`, peer 127.0.0.1:PORT: the peer's memory was not registered for this (status 10, vendor's code 0x0); the two ends do not run the same scenario
    ");
}

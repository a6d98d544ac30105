//! What ends tell each other, and what goes wrong while the connection manager sets a connection up.

use std::net::TcpListener;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use schema::scenario::{CompletionBy, Registration, SetUp, Verbs};

use super::super::card::hear;
use super::super::endpoint::Endpoint;
use super::super::store::Wanted;
use super::super::{Choice, End};
use super::id::failure_of;
use super::*;

/// The longest that a fault may take to be told, but for one that is a time-out.
const LIMIT: Duration = Duration::from_secs(5);
const REQUEST: usize = 5000;
const REPLY: usize = 3000;

fn remote(key: u32, length: u64) -> Remote {
    Remote {
        address: 0x7f00_1234_5000 + u64::from(key),
        length,
        key,
    }
}

#[test]
fn a_greeting_tells_where_the_peer_writes_or_reads_and_how_long_messages_are() {
    let header = HEADER as u64;
    let whole = (remote(1, header + 5000), None);
    let on_gpu = (remote(2, header), Some(remote(3, 7000)));
    let untold = |length| {
        let nowhere = Remote {
            address: 0,
            length: header + length,
            key: 0,
        };
        (nowhere, None)
    };
    for verb in [Verb::WriteWithImmediate, Verb::Send, Verb::Read] {
        for (outgoing, incoming) in [(whole, on_gpu), (on_gpu, whole)] {
            let terms = Terms {
                verb,
                max_message: 8 << 20,
                outgoing,
                incoming,
            };
            let greeting = Greeting { token: 17, terms };
            // The library puts zeros after what was sent.
            let mut arrived = greeting.encode().to_vec();
            arrived.resize(100, 0);
            let (outgoing, incoming) = if verb == Verb::Read {
                (outgoing, untold(room(incoming)))
            } else {
                (untold(room(outgoing)), incoming)
            };
            let told = Terms {
                outgoing,
                incoming,
                ..terms
            };
            let expected = Greeting {
                token: 17,
                terms: told,
            };
            assert_eq!(Greeting::decode(&arrived), Some(expected));
        }
    }
    assert_eq!(Greeting::decode(&[0; 10]), None);
    assert_eq!(Greeting::decode(&[255; PRIVATE]), None);
    for address in ["10.79.0.2:18515", "[fd00::1]:18515"] {
        let place = Place {
            address: address.parse().unwrap(),
            token: 17,
        };
        assert_eq!(Place::decode(&place.encode()), place);
    }
}

#[test]
fn what_the_connection_manager_reports_is_explained() {
    let failures = [
        failure_of("rdma_resolve_addr", raw::ADDR_ERROR, -libc::EHOSTUNREACH),
        failure_of("rdma_resolve_route", raw::ROUTE_ERROR, -libc::ETIMEDOUT),
        failure_of("rdma_connect", raw::CONNECT_ERROR, -libc::EINVAL),
        failure_of("rdma_connect", raw::UNREACHABLE, -libc::ETIMEDOUT),
        failure_of("rdma_connect", raw::REJECTED, 8),
        failure_of("rdma_connect", raw::REJECTED, 3),
        failure_of("rdma_listen", 11, 0),
    ];
    let text = failures.map(|failure| failure.on("rxe0").with("10.79.0.2:4000").to_string());
    assert_snapshot!(text.join("\n"), @r"
    rdma_resolve_addr on device `rxe0`, peer 10.79.0.2:4000: No route to host (os error 113); no route or no neighbour from the address of its GID to the peer's adapter; both must be of one network
    rdma_resolve_route on device `rxe0`, peer 10.79.0.2:4000: Connection timed out (os error 110); no route or no neighbour from the address of its GID to the peer's adapter; both must be of one network
    rdma_connect on device `rxe0`, peer 10.79.0.2:4000: Invalid argument (os error 22)
    rdma_connect on device `rxe0`, peer 10.79.0.2:4000: the peer's connection manager does not answer; the peer has gone, or packets do not reach it: UDP port 4791 closed, or an address that only this host can reach
    rdma_connect on device `rxe0`, peer 10.79.0.2:4000: the peer rejected it (reason 8); nobody listens there any more: did the peer's process end?
    rdma_connect on device `rxe0`, peer 10.79.0.2:4000: the peer rejected it (reason 3)
    rdma_listen on device `rxe0`, peer 10.79.0.2:4000: event 11, status 0
    ");
}

fn nic(device: &str) -> Nic {
    let device = Some(device.to_owned());
    Nic::open(&Choice { device, gid: None }).unwrap()
}

fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn end(nic: &Nic) -> End<'_> {
    End {
        nic,
        verbs: Verbs {
            completion: CompletionBy::Event,
            verb: Verb::WriteWithImmediate,
            registration: Registration::Once,
            queue_pairs: None,
            setup: SetUp::RdmaCm,
        },
        relay: None,
        gpu: None,
    }
}

fn asks(stream: TcpStream) -> io::Result<Endpoint> {
    let nic = nic("rxe0");
    Endpoint::establish(
        stream,
        Role::Asks,
        end(&nic),
        Wanted::Own(REQUEST),
        Wanted::Own(REPLY),
    )
}

fn serves(stream: TcpStream) -> io::Result<Endpoint> {
    let nic = nic("rxe1");
    Endpoint::establish(
        stream,
        Role::Serves,
        end(&nic),
        Wanted::Own(REPLY),
        Wanted::Own(REQUEST),
    )
}

/// A serving end that says that it listens at `place`, and hears how it went.
fn says(far: TcpStream, place: Place) -> JoinHandle<io::Result<[u8; 0]>> {
    spawn(move || {
        tell(&far, Ok(()), |()| place.encode().to_vec()).unwrap();
        hear::<PLACE>(&far).unwrap();
        hear::<0>(&far)
    })
}

/// Why no connection comes about with a peer that listens at `address`, at each end, without the ports
/// that the kernel chose.
fn refused(address: &str) -> String {
    let (near, far) = streams();
    let address = address.parse().unwrap();
    let far = says(far, Place { address, token: 17 });
    let near = asks(near).err().unwrap();
    fixed(&[near, far.join().unwrap().unwrap_err()])
}

fn fixed(errors: &[io::Error]) -> String {
    let fixed = errors.iter().map(|error| {
        let message = error.to_string();
        let (before, after) = message.split_once("127.0.0.1:").unwrap();
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}127.0.0.1:PORT{after}")
    });
    fixed.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn an_address_that_is_nowhere_is_named_by_both_ends() {
    let begin = Instant::now();
    assert_snapshot!(refused("10.79.0.77:18515"), @r"
    rdma_resolve_addr on device `rxe0`, peer 127.0.0.1:PORT: Connection timed out (os error 110); no route or no neighbour from the address of its GID to the peer's adapter; both must be of one network
    the peer says: rdma_resolve_addr on device `rxe0`, peer 127.0.0.1:PORT: Connection timed out (os error 110); no route or no neighbour from the address of its GID to the peer's adapter; both must be of one network
    ");
    assert!(begin.elapsed() < SET_UP_LIMIT);
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_port_where_nobody_listens_is_named_by_both_ends() {
    let begin = Instant::now();
    assert_snapshot!(refused("10.79.0.2:18515"), @r"
    rdma_connect on device `rxe0`, peer 127.0.0.1:PORT: the peer rejected it (reason 8); nobody listens there any more: did the peer's process end?
    the peer says: rdma_connect on device `rxe0`, peer 127.0.0.1:PORT: the peer rejected it (reason 8); nobody listens there any more: did the peer's process end?
    ");
    assert!(begin.elapsed() < LIMIT);
}

/// A listener takes no request.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_peer_that_does_not_answer_is_not_waited_for() {
    let begin = Instant::now();
    let listener = Listener::open("10.79.0.2:0".parse().unwrap()).unwrap();
    let address = listener.place.address.to_string();
    assert_snapshot!(refused(&address), @r"
    rdma_connect on device `rxe0`, peer 127.0.0.1:PORT: nothing came from the peer within 10 s; the peer has gone, or packets do not reach it: UDP port 4791 closed, or an address that only this host can reach
    the peer says: rdma_connect on device `rxe0`, peer 127.0.0.1:PORT: nothing came from the peer within 10 s; the peer has gone, or packets do not reach it: UDP port 4791 closed, or an address that only this host can reach
    ");
    assert!(begin.elapsed() < SET_UP_LIMIT + LIMIT);
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_peer_that_never_asks_is_not_waited_for() {
    let (near, far) = streams();
    let far = spawn(move || serves(far));
    tell(&near, Ok(()), |()| vec![0; PLACE]).unwrap();
    let begin = Instant::now();
    let told = far.join().unwrap().err().unwrap();
    assert!(begin.elapsed() < 2 * SET_UP_LIMIT);
    hear::<PLACE>(&near).unwrap();
    let heard = hear::<0>(&near).unwrap_err();
    assert_snapshot!(fixed(&[told, heard]), @r"
    rdma_listen on device `rxe1`, peer 127.0.0.1:PORT: nothing came from the peer within 15 s; the peer has gone, or packets do not reach it: UDP port 4791 closed, or an address that only this host can reach
    the peer says: rdma_listen on device `rxe1`, peer 127.0.0.1:PORT: nothing came from the peer within 15 s; the peer has gone, or packets do not reach it: UDP port 4791 closed, or an address that only this host can reach
    ");
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_peer_that_closes_instead_of_asking_is_named_at_once() {
    let (near, far) = streams();
    let far = spawn(move || serves(far));
    tell(&near, Ok(()), |()| vec![0; PLACE]).unwrap();
    hear::<PLACE>(&near).unwrap();
    let begin = Instant::now();
    drop(near);
    let told = far.join().unwrap().err().unwrap();
    assert!(begin.elapsed() < LIMIT);
    assert_snapshot!(fixed(&[told]), @"setting up a connection on device `rxe1`, peer 127.0.0.1:PORT: the peer closed it; does its process run, with the same scenario?");
}

/// What the serving end says over TCP when it has accepted may come before the connection manager
/// reports it.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_word_over_tcp_that_comes_first_is_no_failure() {
    let (near, far) = streams();
    let near = spawn(move || asks(near));
    let far_nic = nic("rxe1");
    let (outgoing, incoming) = (Wanted::Own(REPLY), Wanted::Own(REQUEST));
    let verb = Verb::WriteWithImmediate;
    let mut made = Made::new(&far_nic, verb, &far, outgoing, incoming).unwrap();
    let listener = Listener::open(address_of(&far_nic).unwrap()).unwrap();
    tell(&far, Ok(()), |()| listener.place.encode().to_vec()).unwrap();
    hear::<PLACE>(&far).unwrap();
    tell(&far, Ok(()), |()| Vec::new()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    listener.accept(&mut made, &far).unwrap();
    hear::<0>(&far).unwrap();
    assert!(near.join().unwrap().is_ok());
}

/// Who asks with another token than the peer's is rejected, and the peer is served.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_stranger_is_rejected_and_the_peer_is_served() {
    let (near, far) = streams();
    let far = spawn(move || serves(far));
    let near_nic = nic("rxe0");
    let (outgoing, incoming) = (Wanted::Own(REQUEST), Wanted::Own(REPLY));
    let verb = Verb::WriteWithImmediate;
    let mut made = Made::new(&near_nic, verb, &near, outgoing, incoming).unwrap();
    tell(&near, Ok(()), |()| vec![0; PLACE]).unwrap();
    let place = Place::decode(&hear(&near).unwrap());
    let own = address_of(&near_nic).unwrap();
    let stranger = Place {
        token: place.token ^ 1,
        ..place
    };
    let refused = ask(&mut made, &near_nic, own, stranger, &near);
    assert!(matches!(refused, Err(Cut::ByPeer)), "{refused:?}");
    let terms = ask(&mut made, &near_nic, own, place, &near).unwrap();
    assert_eq!(terms.verb, verb);
    tell(&near, Ok(()), |()| Vec::new()).unwrap();
    hear::<0>(&near).unwrap();
    assert!(far.join().unwrap().is_ok());
}

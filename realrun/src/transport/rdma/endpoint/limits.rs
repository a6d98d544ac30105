//! Messages around and far beyond what ports take as one, which the ends here are told is little.

use rand::Rng;
use schema::ids::{ClientId, Id, RequestId};
use schema::random::{Seed, stream};

use super::faults::joined;
use super::*;

const REQUEST: usize = 200_000;
const REPLY: usize = 150_000;

/// Lengths of payloads around every change of the number of pieces up to a few turns, and the longest.
fn lengths(limit: u32, longest: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, longest];
    for n in [1, 2, 3, TURN, TURN + 1, 2 * TURN, 2 * TURN + 1] {
        let fits = n as usize * limit as usize - HEADER;
        lengths.extend([fits - 1, fits, fits + 1].map(|length| length.min(longest)));
    }
    lengths
}

fn header(seq: usize, length: usize) -> Header {
    Header {
        request: RequestId::new(ClientId::from_index(0), seq as u32),
        class: 0,
        length: length as u64,
        failed: false,
    }
}

fn put(end: &mut Endpoint, seq: usize, payload: &[u8]) {
    end.payload_mut()[..payload.len()].copy_from_slice(payload);
    end.send(&header(seq, payload.len())).unwrap();
}

fn every() -> impl Iterator<Item = (Verb, CompletionBy, [u32; 2])> {
    let verbs = [Verb::WriteWithImmediate, Verb::Send, Verb::Read];
    let completions = [CompletionBy::Event, CompletionBy::Poll];
    let limits = [[4096, 4096], [4096, 1000], [1000, 4096]];
    verbs.into_iter().flat_map(move |verb| {
        completions
            .into_iter()
            .flat_map(move |by| limits.map(|limits| (verb, by, limits)))
    })
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn messages_of_any_number_of_pieces_arrive_whole() {
    for (verb, completion, limits) in every() {
        let mut rng = stream(Seed(1), "payloads");
        let mut random = vec![0; REQUEST];
        rng.fill_bytes(&mut random);
        let (mut near, mut far) = joined(verb, completion, limits, [REQUEST, REPLY]);
        let limit = limits[0].min(limits[1]);
        let mut lengths = lengths(limit, REQUEST);
        let server = {
            let random = random.clone();
            std::thread::spawn(move || {
                while let Some(arrival) = far.receive().unwrap() {
                    assert!(far.received() == &random[..far.received().len()]);
                    let length = far.received().len().min(REPLY);
                    let reply = random[REQUEST - length..].to_vec();
                    put(&mut far, arrival.header.request.seq() as usize, &reply);
                }
            })
        };
        for (seq, length) in lengths.drain(..).enumerate() {
            put(&mut near, seq, &random[..length]);
            let arrival = near.receive().unwrap().unwrap();
            assert_eq!(arrival.header.request.seq() as usize, seq);
            let expected = &random[REQUEST - length.min(REPLY)..];
            assert!(
                near.received() == expected,
                "{verb:?} {completion:?} {limits:?}, {length} B"
            );
        }
        drop(near);
        server.join().unwrap();
    }
}

/// Without replies: leave is given by messages without payload, of which none is taken for the word to
/// go on.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_slow_receiver_holds_back_long_messages() {
    for (verb, completion, limits) in every() {
        let mut rng = stream(Seed(2), "payloads");
        let mut random = vec![0; REQUEST];
        rng.fill_bytes(&mut random);
        let (mut near, mut far) = joined(verb, completion, limits, [REQUEST, REPLY]);
        let lengths = lengths(limits[0].min(limits[1]), REQUEST);
        let n = lengths.len();
        let receiver = {
            let random = random.clone();
            std::thread::spawn(move || {
                let mut n = 0;
                while let Some(arrival) = far.receive().unwrap() {
                    assert_eq!(arrival.header.request.seq() as usize, n);
                    if n % 8 == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    assert!(far.received() == &random[..far.received().len()]);
                    n += 1;
                }
                n
            })
        };
        for (seq, length) in lengths.into_iter().enumerate() {
            put(&mut near, seq, &random[..length]);
        }
        drop(near);
        assert_eq!(receiver.join().unwrap(), n);
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_receiver_that_goes_between_pieces_is_named() {
    for completion in [CompletionBy::Event, CompletionBy::Poll] {
        let (mut near, far) = joined(Verb::Send, completion, [4096; 2], [REQUEST, REPLY]);
        let sender = std::thread::spawn(move || near.send(&header(0, REQUEST)));
        // Nobody receives, so the sender waits for the word to go on.
        std::thread::sleep(Duration::from_millis(50));
        assert!(!sender.is_finished());
        drop(far);
        let error = sender.join().unwrap().unwrap_err().to_string();
        assert!(
            error.ends_with("the peer closed it before it had taken the last message"),
            "{error}"
        );
    }
}

//! What goes wrong with verbs: each fault is named in time, leaves nothing behind, and the next
//! client is served.

use std::io;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use insta::{allow_duplicates, assert_snapshot};
use realrun::transport::{Buffers, Connection};
use schema::scenario::Verbs;

use super::ends::{BUFFERS, Ends, Pairs, Place, every, header, listen, nic, on, open};

/// The longest that a fault may take to be named.
const LIMIT: Duration = Duration::from_secs(8);

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What this process holds: file descriptors, memory pinned for adapters, and by the kernel's
/// account queue pairs, completion queues and memory regions.
fn held() -> String {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let pinned = status.lines().find(|line| line.starts_with("VmPin"));
    let resources = run("rdma resource show");
    // Without the numbers of devices: one that is removed and made again has another.
    let mut lines: Vec<&str> = resources
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, rest)| rest)
        .collect();
    lines.sort_unstable();
    format!("{fds} files, {}\n{}\n", pinned.unwrap(), lines.join("\n"))
}

/// Waits until this process holds what it held `before`.
fn is_released(before: &str) {
    let end = Instant::now() + LIMIT;
    while held() != before {
        let now = held();
        assert!(
            Instant::now() < end,
            "held before:\n{before}and now:\n{now}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !ready() {
        assert!(Instant::now() < end, "{what} did not come to be");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A message without the ports that the kernel chose.
fn fixed(error: &io::Error) -> String {
    let message = error.to_string();
    let mut parts = message.split("127.0.0.1:");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        text += &format!("127.0.0.1:PORT{rest}");
    }
    text
}

/// Long requests and short replies pass until each end has failed; returns how.
///
/// Replies are short, since Soft-RoCE tries for ever to send what its own host refuses to.
fn exchange((mut near, mut far): Ends) -> (Receiver<()>, [Receiver<io::Error>; 2]) {
    let (has_begun, begun) = channel();
    let (near_ended, near_error) = channel();
    let (far_ended, far_error) = channel();
    std::thread::spawn(move || {
        let error = loop {
            let echoed = far.receive().and_then(|arrival| {
                let arrival = arrival.ok_or(io::ErrorKind::UnexpectedEof)?;
                far.send(&header(arrival.header.request.seq() as usize, 10))
            });
            if let Err(error) = echoed {
                break error;
            }
        };
        drop(far);
        far_ended.send(error).unwrap();
    });
    std::thread::spawn(move || {
        let mut seq = 0;
        let error = loop {
            let asked = near
                .send(&header(seq, 100_000))
                .and_then(|()| near.receive());
            if let Err(error) = asked {
                break error;
            }
            seq += 1;
            if seq == 100 {
                has_begun.send(()).unwrap();
            }
        };
        drop(near);
        near_ended.send(error).unwrap();
    });
    (begun, [near_error, far_error])
}

/// Checks that a message and its reply pass between two new ends.
fn is_usable((mut near, mut far): Ends) {
    near.send(&header(0, 1000)).unwrap();
    far.receive().unwrap().unwrap();
    far.send(&header(0, 10)).unwrap();
    near.receive().unwrap().unwrap();
}

fn take_down(end: u8) {
    run(&format!("ip link set wire{end} down"));
}

/// Brings a wire's end up, with the route that going down has removed.
fn bring_up(end: u8) {
    let (own, other) = (end + 1, 2 - end);
    run(&format!(
        "ip link set wire{end} up && \
         ip route replace 10.79.0.{other} dev wire{end} src 10.79.0.{own} table 7{end}"
    ));
    let device = format!("rxe{end}");
    wait_for("the port", || nic(&device).is_ok());
}

/// Joined over TCP: where a link is down when librdmacm says goodbye, Soft-RoCE of Linux 6.1 loses the
/// queue pair that the connection manager's messages take, and sets up none until the device is made anew.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_link_that_goes_down_is_named_by_both_ends() {
    for verbs in every() {
        let pairs = Pairs::across(verbs);
        is_usable(pairs.join());
        let before = held();
        let (begun, errors) = exchange(pairs.join());
        begun.recv().unwrap();
        take_down(1);
        let [near, far] = errors.map(|error| fixed(&error.recv_timeout(LIMIT).unwrap()));
        bring_up(1);
        for (message, device) in [(near, "rxe0"), (far, "rxe1")] {
            let gone = "ended without closing it; did it fail there, or was its process killed?";
            let port = "its port is not active; is the cable in, and the interface up (`ip link`)?";
            assert!(
                message.contains(&format!("on device `{device}`, peer 127.0.0.1:PORT: "))
                    && (message.ends_with(port) || message.ends_with(gone)),
                "{message}"
            );
        }
        is_released(&before);
        is_usable(pairs.join());
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_packet_longer_than_the_network_takes_is_named() {
    for verbs in every() {
        let pairs = Pairs::across(verbs);
        is_usable(pairs.join());
        let before = held();
        let (begun, [near, far]) = exchange(pairs.join());
        begun.recv().unwrap();
        // The far end of the wire drops what is longer than it takes. The near end does not know,
        // since its messages wait in a queue first.
        run("tc qdisc add dev wire0 root pfifo limit 10000 && ip link set wire1 mtu 1500");
        let errors = [near, far].map(|error| error.recv_timeout(LIMIT));
        run("ip link set wire1 mtu 4200 && tc qdisc del dev wire0 root");
        let messages = errors.map(|error| fixed(&error.unwrap()));
        assert!(
            messages
                .iter()
                .any(|message| message.contains("an MTU larger than the network's")),
            "{messages:?}"
        );
        is_released(&before);
        is_usable(pairs.join());
    }
}

/// A listener on `rxe1` that serves whoever comes, and tells how each connection ended.
fn server(verbs: Verbs, buffers: Buffers) -> (Place, Receiver<io::Result<()>>) {
    let (tell, heard) = channel();
    let place = listen(on("rxe1", verbs), buffers, move |end| {
        let serve = |mut end: Box<dyn Connection>| {
            while let Some(arrival) = end.receive()? {
                end.send(&arrival.header)?;
            }
            Ok(())
        };
        tell.send(end.and_then(serve)).unwrap();
    });
    (place, heard)
}

fn is_served(verbs: Verbs, place: &Place, ends: &Receiver<io::Result<()>>) {
    let mut near = open(&on("rxe0", verbs), place, BUFFERS).unwrap();
    near.send(&header(0, 1000)).unwrap();
    near.receive().unwrap().unwrap();
    drop(near);
    ends.recv_timeout(LIMIT).unwrap().unwrap();
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_peer_with_a_smaller_buffer_is_refused_and_the_next_is_served() {
    let verbs = every()[0];
    let (place, ends) = server(verbs, BUFFERS);
    is_served(verbs, &place, &ends);
    let before = held();
    let smaller = Buffers {
        request: 1000,
        ..BUFFERS
    };
    let begin = Instant::now();
    let near = open(&on("rxe0", verbs), &place, smaller).err().unwrap();
    let far = ends.recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(begin.elapsed() < LIMIT);
    // By the connection manager the serving end alone compares them.
    let near = fixed(&near)
        .replace("the peer says: ", "")
        .replace("rxe1", "rxe0");
    assert_snapshot!(near, @"setting up a connection on device `rxe0`, peer 127.0.0.1:PORT: the two ends differ in the size of messages; both must run the same scenario");
    assert_snapshot!(fixed(&far), @"setting up a connection on device `rxe1`, peer 127.0.0.1:PORT: the two ends differ in the size of messages; both must run the same scenario");
    is_released(&before);
    is_served(verbs, &place, &ends);
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_message_longer_than_the_peers_buffer_is_refused_and_the_next_passes() {
    for verbs in every() {
        let (mut near, mut far) = Pairs::across(verbs).join();
        let error = near.send(&header(0, BUFFERS.request + 1)).unwrap_err();
        allow_duplicates! {
                assert_snapshot!(fixed(&error), @"ibv_post_send on device `rxe0`, peer 127.0.0.1:PORT: a message of 5242881 B, the peer's buffer holds 5242880 B; buffers are as long as the longest message of the scenario");
        }
        near.send(&header(0, 1000)).unwrap();
        far.receive().unwrap().unwrap();
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_port_that_is_not_active_is_refused() {
    let verbs = every()[0];
    let (place, ends) = server(verbs, BUFFERS);
    is_served(verbs, &place, &ends);
    let before = held();
    take_down(1);
    let error = open(&on("rxe0", verbs), &place, BUFFERS).err().unwrap();
    bring_up(1);
    assert_snapshot!(fixed(&error), @"ibv_query_port on device `rxe0`: its port is not active; is the cable in, and the interface up (`ip link`)?");
    is_released(&before);
    is_served(verbs, &place, &ends);
}

/// How the failure of a call ends whose device has gone.
const REMOVED: &str = "Input/output error (os error 5); was the device removed, or its driver?";

/// Makes the device of a wire's end anew.
fn add_device(end: u8) {
    run(&format!("rdma link add rxe{end} type rxe netdev wire{end}"));
    let device = format!("rxe{end}");
    wait_for("the port", || nic(&device).is_ok());
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_device_that_is_removed_is_named_by_both_ends() {
    for verbs in every() {
        let pairs = Pairs::across(verbs);
        is_usable(pairs.join());
        let before = held();
        let (begun, errors) = exchange(pairs.join());
        begun.recv().unwrap();
        run("rdma link del rxe1");
        let [near, far] = errors.map(|error| fixed(&error.recv_timeout(LIMIT).unwrap()));
        add_device(1);
        assert!(
            near.starts_with("the connection on device `rxe0`, peer 127.0.0.1:PORT: ")
                && near.ends_with("did it fail there, or was its process killed?"),
            "{near}"
        );
        assert!(
            far.starts_with("ibv_")
                && far.contains(" on device `rxe1`, peer 127.0.0.1:PORT: ")
                && far.ends_with(REMOVED),
            "{far}"
        );
        is_usable(pairs.join());
        is_released(&before);
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_device_that_is_removed_while_nothing_passes_is_named() {
    for verbs in every() {
        let (place, ends) = server(verbs, BUFFERS);
        is_served(verbs, &place, &ends);
        let before = held();
        let mut near = open(&on("rxe0", verbs), &place, BUFFERS).unwrap();
        run("rdma link del rxe0");
        let unsent = near.send(&header(0, 1000)).and_then(|()| near.receive());
        drop(near);
        let other = ends.recv_timeout(LIMIT).unwrap().unwrap_err();
        let unopened = open(&on("rxe0", verbs), &place, BUFFERS).err().unwrap();
        add_device(0);
        let unsent = fixed(&unsent.err().unwrap());
        allow_duplicates! {
            assert_snapshot!(unsent, @"ibv_post_send on device `rxe0`, peer 127.0.0.1:PORT: Input/output error (os error 5); was the device removed, or its driver?");
            assert_snapshot!(fixed(&other), @"the connection on device `rxe1`, peer 127.0.0.1:PORT: the peer ended without closing it; did it fail there, or was its process killed?");
            assert_snapshot!(fixed(&unopened), @"ibv_open_device on device `rxe0`: there is none of this name, but `rxe1`");
        }
        is_served(verbs, &place, &ends);
        is_released(&before);
    }
}

/// A peer that answers the set-up with nothing.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_peer_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = held();
    let begin = Instant::now();
    let place = Place::of(silent.local_addr().unwrap());
    let error = open(&on("rxe0", every()[0]), &place, BUFFERS)
        .err()
        .unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10) + LIMIT);
    assert_snapshot!(fixed(&error), @"setting up a connection on device `rxe0`, peer 127.0.0.1:PORT: the peer did not answer within 10 s; does its process run, with the same scenario?");
    is_released(&before);
}

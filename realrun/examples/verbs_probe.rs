//! What messages over verbs cost between two adapters, one thing at a time, as perftest measures it.
//!
//! ```text
//! verbs_probe serve DEVICE                      prints its port and that for bare messages, and serves
//! verbs_probe latency|bandwidth DEVICE HOST:PORT VERB COMPLETION BYTES N
//! verbs_probe bare-latency|bare-bandwidth DEVICE HOST:PORT VERB COMPLETION BYTES N
//! verbs_probe registration DEVICE BYTES N
//! ```
//!
//! Prints a line of JSON. Times are in microseconds, of the asking side. `latency`: half of a round
//! trip of two messages of `BYTES`, as `ib_send_lat` and `ib_write_lat` have it; `send` is a call
//! that posts a message, and `cpu` the core time of the thread for a message that it sends and one
//! that it receives; `stamp` is the reading of the clocks that a received message takes (twice, where
//! a thread sleeps). `bandwidth`: `N` messages one way, in bytes of payload a second.
//!
//! `bare-…`: the same without what a connection adds, so as perftest has it: no header, no leave, no times
//! of parts, and clocks that are read without the kernel. Verbs are `send` and `write` (polled; each end
//! looks at its memory) for latency, and `write` for bandwidth, of several messages under way.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

use realrun::clock::{Stamp, monotonic_ns, thread_cpu_ns};
use realrun::transport::rdma::{Choice, End, Nic, bare};
use realrun::transport::{
    Address, Buffers, Carrier, Connection, Header, Hello, Listener, Pending, connect,
};
use schema::ids::{ClientId, Id, RequestId};
use schema::scenario::{CompletionBy, Registration, SetUp, Verb, Verbs};
use serde_json::json;

const VERBS: [(&str, Verb); 3] = [
    ("write-with-immediate", Verb::WriteWithImmediate),
    ("send", Verb::Send),
    ("read", Verb::Read),
];
const COMPLETIONS: [(&str, CompletionBy); 2] =
    [("event", CompletionBy::Event), ("poll", CompletionBy::Poll)];
/// Messages before those that are measured.
const WARMUP: usize = 20;
/// The class of the last message of a series that goes one way: it is answered.
const LAST: u32 = 1;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", device] => serve(device),
        [
            what @ ("latency" | "bandwidth"),
            device,
            at,
            verb,
            completion,
            bytes,
            n,
        ] => {
            let series = Series {
                goes_back: what == "latency",
                verb: place_of(verb, &VERBS)?,
                completion: place_of(completion, &COMPLETIONS)?,
                bytes: number(bytes)?,
            };
            let mut end = series.open(device, at)?;
            let figures = match what {
                "latency" => latency(&mut *end, series.bytes, number(n)?)?,
                _ => bandwidth(&mut *end, series.bytes, number(n)?)?,
            };
            println!(
                "{}",
                json!({ "what": what, "verb": verb, "completion": completion,
                        "bytes": series.bytes, "figures": figures })
            );
            Ok(())
        }
        [
            what @ ("bare-latency" | "bare-bandwidth"),
            device,
            at,
            verb,
            completion,
            bytes,
            n,
        ] => bare_messages(
            what,
            device,
            at,
            verb,
            completion,
            number(bytes)?,
            number(n)?,
        ),
        ["registration", device, bytes, n] => registration(device, number(bytes)?, number(n)?),
        _ => Err(wrong("see the head of this example for its arguments")),
    }
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

fn number(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|_| wrong(&format!("`{text}` is no number")))
}

fn address(at: &str) -> io::Result<SocketAddr> {
    let found = at.to_socket_addrs()?.next();
    found.ok_or_else(|| wrong("the server has no address"))
}

fn place_of<T>(name: &str, among: &[(&str, T)]) -> io::Result<usize> {
    let place = among.iter().position(|(known, _)| *known == name);
    place.ok_or_else(|| wrong(&format!("`{name}` is not known")))
}

fn nic(device: &str) -> io::Result<Nic> {
    let device = Some(device.to_owned());
    Nic::open(&Choice { device, gid: None })
}

/// Messages of one kind over a connection.
struct Series {
    /// Whether each is answered by one of the same size.
    goes_back: bool,
    /// Its place in [`VERBS`].
    verb: usize,
    /// Its place in [`COMPLETIONS`].
    completion: usize,
    bytes: usize,
}

impl Series {
    /// The server learns of it by the numbers of a hello.
    fn hello(&self) -> io::Result<Hello> {
        let bytes = u32::try_from(self.bytes).map_err(|_| wrong("messages are below 4 GiB"))?;
        Ok(Hello {
            client: ClientId::from_index((self.verb << 1) | self.completion),
            connection: bytes,
            hop: u8::from(self.goes_back),
        })
    }

    fn of(hello: &Hello) -> Series {
        Series {
            goes_back: hello.hop == 1,
            verb: hello.client.index() >> 1,
            completion: hello.client.index() & 1,
            bytes: hello.connection as usize,
        }
    }

    fn buffers(&self) -> Buffers {
        Buffers {
            request: self.bytes,
            reply: if self.goes_back { self.bytes } else { 0 },
        }
    }

    fn over<'a>(&self, nic: &'a Nic) -> Carrier<'a> {
        Carrier::Rdma(End {
            nic,
            verbs: Verbs {
                verb: VERBS[self.verb].1,
                completion: COMPLETIONS[self.completion].1,
                registration: Registration::Once,
                queue_pairs: None,
                setup: SetUp::Tcp,
            },
            relay: None,
            gpu: None,
        })
    }

    fn open(&self, device: &str, at: &str) -> io::Result<Box<dyn Connection>> {
        let address = Address {
            tcp: address(at)?,
            local: "".into(),
        };
        let nic = nic(device)?;
        connect(self.over(&nic), &address, &self.hello()?, self.buffers())
    }
}

fn serve(device: &str) -> io::Result<()> {
    let nic = nic(device)?;
    let socket = std::env::temp_dir().join(format!("verbs-probe-{}", std::process::id()));
    let listener = Listener::bind(&socket, IpAddr::from(Ipv4Addr::UNSPECIFIED))?;
    std::fs::remove_file(&socket)?;
    let bare = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    println!("{} {}", listener.port()?, bare.local_addr()?.port());
    let bare_nic = self::nic(device)?;
    std::thread::spawn(move || {
        for stream in bare.incoming() {
            if let Err(error) = stream.and_then(|stream| bare::answer(&bare_nic, stream)) {
                eprintln!("verbs_probe: {error}");
            }
        }
    });
    listener.accept_all(move |pending| {
        if let Err(error) = pending.and_then(|pending| answer(&nic, pending)) {
            eprintln!("verbs_probe: {error}");
        }
    });
    loop {
        std::thread::park();
    }
}

fn answer(nic: &Nic, mut pending: Pending) -> io::Result<()> {
    let series = Series::of(&pending.hello()?);
    let mut end = pending.accept(series.over(nic), series.buffers())?;
    while let Some(arrival) = end.receive()? {
        if series.goes_back {
            end.send(&arrival.header)?;
        } else if arrival.header.class == LAST {
            end.send(&header(0, 0))?;
        }
    }
    Ok(())
}

fn header(length: usize, class: u32) -> Header {
    Header {
        request: RequestId::new(ClientId::from_index(0), 0),
        class,
        length: length as u64,
        failed: false,
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// Median, least and 99th percentile of times in nanoseconds, in microseconds.
fn summary(mut times: Vec<u64>) -> serde_json::Value {
    times.sort_unstable();
    let at = |share: f64| us(times[((times.len() - 1) as f64 * share) as usize]);
    json!({ "median": at(0.5), "min": at(0.0), "p99": at(0.99) })
}

fn latency(end: &mut dyn Connection, bytes: usize, n: usize) -> io::Result<serde_json::Value> {
    let message = header(bytes, 0);
    let round = |end: &mut dyn Connection| {
        end.send(&message)?;
        let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
        Ok::<u64, io::Error>(end.receive()?.ok_or_else(closed)?.end.at_ns)
    };
    for _ in 0..WARMUP {
        round(end)?;
    }
    let mut halves = Vec::with_capacity(n);
    let begin_cpu = thread_cpu_ns();
    let mut begin = monotonic_ns();
    for _ in 0..n {
        let now = round(end)?;
        halves.push((now - begin) / 2);
        begin = now;
    }
    let cpu = us(thread_cpu_ns() - begin_cpu) / n as f64;
    let mut sends = Vec::with_capacity(n);
    for _ in 0..n {
        let begin = monotonic_ns();
        end.send(&message)?;
        sends.push(monotonic_ns() - begin);
        end.receive()?;
    }
    let mut stamps = Vec::with_capacity(n);
    for _ in 0..n {
        let begin = monotonic_ns();
        Stamp::now();
        // The two clocks of a stamp, and one of the two that time it.
        stamps.push((monotonic_ns() - begin) * 2 / 3);
    }
    Ok(
        json!({ "one-way": summary(halves), "send": summary(sends), "cpu": cpu,
               "stamp": summary(stamps) }),
    )
}

fn bandwidth(end: &mut dyn Connection, bytes: usize, n: usize) -> io::Result<serde_json::Value> {
    for _ in 0..2 {
        end.send(&header(bytes, LAST))?;
        end.receive()?;
    }
    let (begin, begin_cpu) = (monotonic_ns(), thread_cpu_ns());
    for left in (0..n).rev() {
        end.send(&header(bytes, u32::from(left == 0)))?;
    }
    end.receive()?;
    let (time, cpu) = (monotonic_ns() - begin, thread_cpu_ns() - begin_cpu);
    let rate = (n * bytes) as f64 / (time as f64 / 1e9);
    Ok(json!({ "bytes-per-second": rate, "cpu": us(cpu) / n as f64 }))
}

fn bare_messages(
    what: &str,
    device: &str,
    at: &str,
    verb: &str,
    completion: &str,
    bytes: usize,
    n: usize,
) -> io::Result<()> {
    let kind = match (what, verb, completion) {
        ("bare-latency", "send", _) => {
            bare::Kind::Send(COMPLETIONS[place_of(completion, &COMPLETIONS)?].1)
        }
        ("bare-latency", "write", "poll") => bare::Kind::Write,
        ("bare-bandwidth", "write", "poll") => bare::Kind::Writes,
        _ => return Err(wrong("see the head of this example for bare messages")),
    };
    // Where several are under way, those before the first that is timed would be in its time.
    let warmup = if kind == bare::Kind::Writes {
        0
    } else {
        WARMUP
    };
    let size = |n: usize| u32::try_from(n).map_err(|_| wrong("numbers are below 2^32"));
    let series = bare::Series {
        kind,
        bytes: size(bytes)?,
        n: size(n + warmup)?,
    };
    let clock = quanta::Clock::new();
    let times = bare::ask(&nic(device)?, address(at)?, series, || clock.raw())?;
    let times = &times[warmup..];
    let figures = if kind == bare::Kind::Writes {
        let ns = clock.delta_as_nanos(times[0], times[n]);
        json!({ "bytes-per-second": (n * bytes) as f64 / (ns as f64 / 1e9) })
    } else {
        let halves = times.windows(2);
        let halves = halves.map(|pair| clock.delta_as_nanos(pair[0], pair[1]) / 2);
        json!({ "one-way": summary(halves.collect()) })
    };
    println!(
        "{}",
        json!({ "what": what, "verb": verb, "completion": completion, "bytes": bytes,
                "figures": figures })
    );
    Ok(())
}

fn registration(device: &str, bytes: usize, n: usize) -> io::Result<()> {
    let nic = nic(device)?;
    let (mut taken, mut released) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let (register, release) = nic.registration(bytes)?;
        taken.push(register.as_nanos() as u64);
        released.push(release.as_nanos() as u64);
    }
    let (register, release) = (summary(taken), summary(released));
    println!(
        "{}",
        json!({ "what": "registration", "bytes": bytes, "register": register, "release": release })
    );
    Ok(())
}

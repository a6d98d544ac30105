//! Copy engines, and the PCIe links that they share with the DMA of a NIC.
//!
//! A link has two ports, into its GPU and out of it; a root complex two, into the memory of the host
//! and out of it; that memory one, for reads and writes together. There is a root complex at each of
//! two sockets, and what joins these has two ports, to the near one, where the memory is, and from
//! it. What passes several ports does so at one rate, and has a share of each; see [`Paths`].

use std::collections::VecDeque;

use schema::profile::CostLaw;
use schema::scenario::Socket;
use schema::units::{SimDuration, SimTime};

use super::paths::{Path, Paths};
use super::progress::{Progress, fixed};
use super::{Access, Direction, HostSpec, Memory, StreamId};

/// A GPU's PCIe link.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinkSpec {
    /// Payload bandwidth in each direction, in bytes per second; infinite if it never limits.
    pub bandwidth: f64,
    /// By what part each direction is slower while the other is busy, from 0 to below 1.
    pub duplex_penalty: f64,
}

/// How long a copy occupies its engine: `setup`, then `bytes` in `transfer` if nothing slows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopySpec {
    /// Where it goes.
    pub direction: Direction,
    /// Time before the first byte moves.
    pub setup: SimDuration,
    /// Time in which all bytes move, alone.
    pub transfer: SimDuration,
    /// How much.
    pub bytes: u64,
    /// Of a peer copy, the device of the same [`Gpu`](super::Gpu) that it leads to over PCIe: out
    /// over the link of its own device and in over the other's. `None` if it takes no PCIe link, as
    /// over NVLink or within a device's memory.
    pub over_pcie_to: Option<usize>,
}

impl CopySpec {
    /// A copy that takes no PCIe link but its device's, and `total` alone, of which `law` says how
    /// much is setup: the part of its expected cost that does not grow with the bytes.
    pub fn by_law(law: &CostLaw, direction: Direction, bytes: u64, total: SimDuration) -> CopySpec {
        let expected = law.expected(bytes as f64);
        let share = if expected > 0.0 {
            (law.base / expected).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let setup = SimDuration::from_secs_f64(total.as_secs_f64() * share).min(total);
        CopySpec {
            direction,
            setup,
            transfer: SimDuration::from_ps(total.as_ps() - setup.as_ps()),
            bytes,
            over_pcie_to: None,
        }
    }
}

/// Who moves bytes over the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mover {
    /// The engine of a device, for a stream.
    Engine(usize),
    /// Another device on the bus, such as a NIC; the number is its caller's.
    Bus(u64),
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    mover: Mover,
    path: Path,
    /// Bytes per second, alone.
    speed: f64,
    progress: Progress,
}

#[derive(Clone, Debug, Default)]
struct Engine {
    line: VecDeque<(StreamId, CopySpec)>,
    /// Until when the copy at the head is set up; `None` while there is none, or its bytes move.
    setup_until: Option<SimTime>,
    start: SimTime,
}

/// What has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moved {
    Copy { stream: StreamId, start: SimTime },
    Bus(u64),
}

/// The copy engines of GPUs, one a direction on each of their devices, their links, and the memory of
/// their host.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    host: HostSpec,
    links: Vec<LinkSpec>,
    /// By link, where it is.
    sockets: Vec<Socket>,
    /// By device, the number of its link.
    link_of: Vec<usize>,
    engines: Vec<Engine>,
    flows: Vec<Flow>,
    updated: SimTime,
    paths: Paths,
    /// Scratch: number of flows through each port.
    load: Vec<u32>,
}

/// The port of the memory of the host.
const MEMORY: usize = 0;
/// The ports of what joins its sockets.
const TO_NEAR: usize = 1;
const FROM_NEAR: usize = 2;
/// The first port of the root complexes; see [`root_complex`].
const ROOT_COMPLEXES: usize = 3;
/// Number of all these.
const N_OF_HOST: usize = 7;

/// The port of the root complex of a socket through which devices read from memory, or write to it.
const fn root_complex(socket: Socket, access: Access) -> usize {
    ROOT_COMPLEXES + 2 * socket as usize + access as usize
}

/// The port of a link into its GPU.
const fn into(link: usize) -> usize {
    N_OF_HOST + 2 * link
}

/// The port of a link out of its GPU.
const fn out_of(link: usize) -> usize {
    N_OF_HOST + 2 * link + 1
}

/// The port of the same link in the other direction.
const fn opposite(port: usize) -> usize {
    N_OF_HOST + ((port - N_OF_HOST) ^ 1)
}

impl Copies {
    pub(super) fn new(host: HostSpec) -> Copies {
        Copies {
            host,
            links: Vec::new(),
            sockets: Vec::new(),
            link_of: Vec::new(),
            engines: Vec::new(),
            flows: Vec::new(),
            updated: SimTime::ZERO,
            paths: Paths::default(),
            load: Vec::new(),
        }
    }

    /// Adds a GPU of so many devices.
    pub(super) fn add_gpu(&mut self, link: LinkSpec, socket: Socket, devices: usize) {
        let number = self.links.len();
        self.links.push(link);
        self.sockets.push(socket);
        self.link_of.extend(std::iter::repeat_n(number, devices));
        let engines = self.link_of.len() * Direction::ALL.len();
        self.engines.resize(engines, Engine::default());
    }

    /// A copy joins the line of its engine; copies of all streams are served first come first
    /// served, whatever the streams' priorities.
    ///
    /// # Panics
    /// If a copy from or to the host leads to a device.
    pub(super) fn join(&mut self, now: SimTime, device: usize, stream: StreamId, copy: CopySpec) {
        assert!(
            copy.over_pcie_to.is_none() || copy.direction == Direction::Peer,
            "only a peer copy leads to a device"
        );
        let index = device * Direction::ALL.len() + copy.direction as usize;
        self.engines[index].line.push_back((stream, copy));
        if self.engines[index].line.len() == 1 {
            self.begin(now, index);
        }
    }

    /// Another device on the bus moves `bytes` to or from a memory, at no more than `speed` bytes per
    /// second, nor than what is on the way.
    pub(super) fn move_by_bus(
        &mut self,
        now: SimTime,
        memory: Memory,
        access: Access,
        bytes: u64,
        speed: f64,
        token: u64,
    ) {
        let (most, path) = match memory {
            Memory::Host(socket) => {
                let path = self.path_of_host(socket, access);
                let ports = path.into_iter().flatten();
                let most = ports.map(|port| self.bandwidth(port));
                (most.fold(f64::INFINITY, f64::min), path)
            }
            Memory::Device(device) => {
                let link = self.link_of[device];
                let port = match access {
                    Access::Read => out_of(link),
                    Access::Write => into(link),
                };
                (self.links[link].bandwidth, [Some(port), None, None, None])
            }
        };
        let speed = speed.min(most);
        let length = SimDuration::from_secs_f64(bytes as f64 / speed);
        self.add(now, Mover::Bus(token), path, speed, length);
    }

    /// The ports of the host that may limit what reads from its memory, or writes to it, from a
    /// socket; the last is none.
    fn path_of_host(&self, socket: Socket, access: Access) -> Path {
        let between = match (socket, access) {
            (Socket::Near, _) => None,
            (Socket::Far, Access::Read) => self.if_limited(FROM_NEAR),
            (Socket::Far, Access::Write) => self.if_limited(TO_NEAR),
        };
        let root_complex = root_complex(socket, access);
        [
            self.if_limited(root_complex),
            self.if_limited(MEMORY),
            between,
            None,
        ]
    }

    fn if_limited(&self, port: usize) -> Option<usize> {
        self.bandwidth(port).is_finite().then_some(port)
    }

    /// The ports through which bytes move in a direction of a device, of a peer copy to another.
    fn path(&self, device: usize, direction: Direction, to: Option<usize>) -> Path {
        let link = self.link_of[device];
        match (direction, to) {
            (Direction::H2d, _) => {
                let [a, b, c, _] = self.path_of_host(self.sockets[link], Access::Read);
                [a, b, c, Some(into(link))]
            }
            (Direction::D2h, _) => {
                let [a, b, c, _] = self.path_of_host(self.sockets[link], Access::Write);
                [a, b, c, Some(out_of(link))]
            }
            (Direction::Peer, None) => [None; 4],
            (Direction::Peer, Some(to)) => {
                let to = self.link_of[to];
                let between = match (self.sockets[link], self.sockets[to]) {
                    (Socket::Near, Socket::Far) => self.if_limited(FROM_NEAR),
                    (Socket::Far, Socket::Near) => self.if_limited(TO_NEAR),
                    (Socket::Near, Socket::Near) | (Socket::Far, Socket::Far) => None,
                };
                [Some(out_of(link)), Some(into(to)), between, None]
            }
        }
    }

    /// What a port carries if nothing slows it.
    fn bandwidth(&self, port: usize) -> f64 {
        match port {
            MEMORY => self.host.memory,
            TO_NEAR | FROM_NEAR => self.host.socket_bandwidth,
            ROOT_COMPLEXES..N_OF_HOST => self.host.root_complex,
            _ => self.links[(port - N_OF_HOST) / 2].bandwidth,
        }
    }

    /// By what a port is slower while the other one of its link is busy.
    fn slowdown(&self, port: usize) -> f64 {
        let is_busy = |port: usize| self.load[port] > 0;
        if port >= N_OF_HOST && is_busy(port) && is_busy(opposite(port)) {
            1.0 - self.links[(port - N_OF_HOST) / 2].duplex_penalty
        } else {
            1.0
        }
    }

    fn add(&mut self, now: SimTime, mover: Mover, path: Path, speed: f64, length: SimDuration) {
        self.advance(now);
        self.flows.push(Flow {
            mover,
            path,
            speed,
            progress: Progress::new(length),
        });
        self.divide();
    }

    fn begin(&mut self, now: SimTime, index: usize) {
        let link = self.link_of[index / Direction::ALL.len()];
        let engine = &mut self.engines[index];
        if let Some((_, copy)) = engine.line.front() {
            engine.start = now;
            let word = match self.sockets[link] {
                Socket::Near => SimDuration::ZERO,
                Socket::Far => self.host.socket_latency,
            };
            // Its doorbell crosses to the device; then data to memory, or a read of it and its data.
            let words = match copy.direction {
                Direction::H2d => word + word + word,
                Direction::D2h => word + word,
                Direction::Peer => word,
            };
            engine.setup_until = Some(now + copy.setup + words);
        }
    }

    fn advance(&mut self, now: SimTime) {
        let passed = now.since(self.updated);
        self.updated = now;
        if passed > SimDuration::ZERO {
            for flow in &mut self.flows {
                flow.progress.advance(passed);
            }
        }
    }

    /// Divides each port among what moves through it.
    fn divide(&mut self) {
        self.load.clear();
        self.load.resize(N_OF_HOST + 2 * self.links.len(), 0);
        for port in self.flows.iter().flat_map(|flow| flow.path).flatten() {
            self.load[port] += 1;
        }
        self.paths.clear();
        for port in 0..self.load.len() {
            let bandwidth = self.bandwidth(port) * self.slowdown(port);
            self.paths.add_port(bandwidth);
        }
        for flow in &self.flows {
            let passed = flow.path.into_iter().flatten();
            let slowest = passed.map(|port| self.slowdown(port)).fold(1.0, f64::min);
            self.paths.add(flow.speed * slowest, flow.path);
        }
        for (flow, given) in self.flows.iter_mut().zip(self.paths.divide()) {
            // Of no bytes, or all at once.
            let is_plain = flow.speed > 0.0 && flow.speed.is_finite();
            let rate = if is_plain { given / flow.speed } else { 1.0 };
            flow.progress.set_rate(fixed(rate));
        }
    }

    /// When something changes by itself.
    pub(super) fn next(&self) -> Option<SimTime> {
        let setups = self.engines.iter().filter_map(|engine| engine.setup_until);
        let flows = self
            .flows
            .iter()
            .filter_map(|flow| flow.progress.time_left());
        setups.chain(flows.map(|left| self.updated + left)).min()
    }

    /// Lets what is due at the instant `now` happen; what has ended, in order.
    pub(super) fn settle(&mut self, now: SimTime, moved: &mut Vec<Moved>) {
        self.advance(now);
        while self.next().is_some_and(|at| at <= now) {
            for index in 0..self.engines.len() {
                let engine = &mut self.engines[index];
                if engine.setup_until.is_some_and(|at| at <= now) {
                    engine.setup_until = None;
                    let (_, copy) = engine.line.front().expect("a copy was set up");
                    let (copy, length) = (*copy, copy.transfer);
                    let speed = match copy.bytes {
                        0 => 0.0,
                        bytes => bytes as f64 / length.as_secs_f64(),
                    };
                    let device = index / Direction::ALL.len();
                    let path = self.path(device, copy.direction, copy.over_pcie_to);
                    self.add(now, Mover::Engine(index), path, speed, length);
                }
            }
            while let Some(at) = self.flows.iter().position(|flow| flow.progress.is_done()) {
                let flow = self.flows.remove(at);
                match flow.mover {
                    Mover::Bus(token) => moved.push(Moved::Bus(token)),
                    Mover::Engine(index) => {
                        let engine = &mut self.engines[index];
                        let (stream, _) = engine.line.pop_front().expect("its copy moved");
                        let start = engine.start;
                        moved.push(Moved::Copy { stream, start });
                        self.begin(now, index);
                    }
                }
            }
            self.divide();
        }
    }
}

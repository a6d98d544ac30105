//! Copy engines, and the PCIe link that they share with the DMA of a NIC.

use std::collections::VecDeque;

use schema::units::{SimDuration, SimTime};

use super::progress::{Progress, fixed, max_min};
use super::{Direction, StreamId};

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
    direction: Direction,
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

/// The copy engines of a GPU, one a direction on each of its devices, and its link.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    link: LinkSpec,
    engines: Vec<Engine>,
    flows: Vec<Flow>,
    updated: SimTime,
    /// Scratch.
    demands: Vec<f64>,
    order: Vec<usize>,
}

impl Copies {
    pub(super) fn new(link: LinkSpec, devices: usize) -> Copies {
        Copies {
            link,
            engines: vec![Engine::default(); devices * Direction::ALL.len()],
            flows: Vec::new(),
            updated: SimTime::ZERO,
            demands: Vec::new(),
            order: Vec::new(),
        }
    }

    /// A copy joins the line of its engine; copies of all streams are served first come first
    /// served, whatever the streams' priorities.
    pub(super) fn join(&mut self, now: SimTime, device: usize, stream: StreamId, copy: CopySpec) {
        let index = device * Direction::ALL.len() + copy.direction as usize;
        self.engines[index].line.push_back((stream, copy));
        if self.engines[index].line.len() == 1 {
            self.begin(now, index);
        }
    }

    /// Another device on the bus moves `bytes` to or from the GPU, at no more than `speed` bytes per
    /// second, nor than the link's.
    pub(super) fn move_by_bus(
        &mut self,
        now: SimTime,
        direction: Direction,
        bytes: u64,
        speed: f64,
        token: u64,
    ) {
        let speed = speed.min(self.link.bandwidth);
        let length = SimDuration::from_secs_f64(bytes as f64 / speed);
        self.add(now, Mover::Bus(token), direction, speed, length);
    }

    fn add(
        &mut self,
        now: SimTime,
        mover: Mover,
        direction: Direction,
        speed: f64,
        length: SimDuration,
    ) {
        self.advance(now);
        self.flows.push(Flow {
            mover,
            direction,
            speed,
            progress: Progress::new(length),
        });
        self.divide();
    }

    fn begin(&mut self, now: SimTime, index: usize) {
        let engine = &mut self.engines[index];
        if let Some((_, copy)) = engine.line.front() {
            engine.start = now;
            engine.setup_until = Some(now + copy.setup);
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

    /// Divides each direction of the link among what moves in it.
    fn divide(&mut self) {
        let busy = |direction| self.flows.iter().any(|flow| flow.direction == direction);
        let both = busy(Direction::H2d) && busy(Direction::D2h);
        let factor = if both {
            1.0 - self.link.duplex_penalty
        } else {
            1.0
        };
        for direction in Direction::ALL {
            let (capacity, factor) = match direction {
                Direction::H2d | Direction::D2h => (self.link.bandwidth * factor, factor),
                Direction::Peer => (f64::INFINITY, 1.0),
            };
            self.demands.clear();
            let flows = self.flows.iter().filter(|flow| flow.direction == direction);
            self.demands.extend(flows.map(|flow| flow.speed * factor));
            max_min(&mut self.demands, capacity, &mut self.order);
            let mut given = self.demands.iter();
            for flow in &mut self.flows {
                if flow.direction == direction {
                    let given = given.next().expect("each flow asked for its share");
                    // Of no bytes, or all at once.
                    let is_plain = flow.speed > 0.0 && flow.speed.is_finite();
                    let rate = if is_plain { given / flow.speed } else { 1.0 };
                    flow.progress.set_rate(fixed(rate));
                }
            }
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
                    self.add(now, Mover::Engine(index), copy.direction, speed, length);
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

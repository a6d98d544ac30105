//! How fast what runs at the same time progresses.
//!
//! Blocks have the multiprocessors that they are on. Phases divide the threads that no block holds:
//! first those of higher priority; of one priority max-min fairly, a phase asking for its
//! parallelism and all of a process for no more than its blocks leave of its cap. Then all divide the
//! bandwidth of the memory max-min fairly, each asking for what it would use if only its
//! multiprocessors limited it, and none for more than its threads can draw.

use super::DeviceSpec;
use super::progress::max_min;
use super::work::Phase;

/// What an operation does at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Running {
    /// Nothing: the host has not launched it.
    Nothing,
    /// A kernel's overhead.
    Launch,
    /// A phase's overhead.
    Overhead,
    /// Blocks that hold `share` of the threads and ask for `demand` bytes per second.
    Blocks {
        process: usize,
        share: f64,
        demand: f64,
    },
    /// A phase that takes `alone` seconds by itself.
    Phase {
        order: (u8, usize),
        process: usize,
        cap: f64,
        phase: Phase,
        alone: f64,
    },
}

/// The rates of one instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// What each lane does, and what of it does not depend on the others.
    lanes: Vec<Row>,
    /// Of the lanes that are asked for, in their order.
    rate: Vec<f64>,
    share: Vec<f64>,
    demand: Vec<f64>,
    /// Of the bandwidth: what they can draw of what they ask for, and then what they get.
    drawn: Vec<f64>,
    /// Those with a phase.
    members: Vec<Member>,
    /// Scratch.
    part: Vec<f64>,
}

/// A lane with a phase: its order of priority, its process, and which of the lanes it is.
type Member = ((u8, usize), usize, usize);

#[derive(Clone, Copy, Debug)]
struct Row {
    kind: Kind,
    process: usize,
    /// Of blocks: what they hold of the threads.
    share: f64,
    /// Of blocks: what they ask for of the bandwidth, and what they can draw of that.
    demand: f64,
    drawn: f64,
    /// Of blocks and launches: the rate if nothing lacked bandwidth.
    rate: f64,
    /// Of a phase: its order, the cap of its process, and what it is by itself.
    order: (u8, usize),
    cap: f64,
    parallelism: f64,
    intensity: f64,
    /// Of a phase: the rate for each share of the threads, if nothing slowed it, and the bytes per
    /// second at a rate of one.
    speed: f64,
    bytes: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Nothing,
    Launch,
    Overhead,
    Blocks,
    Phase,
}

impl Row {
    const IDLE: Row = Row {
        kind: Kind::Nothing,
        process: 0,
        share: 0.0,
        demand: 0.0,
        drawn: 0.0,
        rate: 0.0,
        order: (0, 0),
        cap: 1.0,
        parallelism: 0.0,
        intensity: 0.0,
        speed: 0.0,
        bytes: 0.0,
    };

    /// What a lane that does this does by itself.
    fn of(spec: &DeviceSpec, running: Running) -> Row {
        match running {
            Running::Nothing => Row::IDLE,
            Running::Launch => Row {
                kind: Kind::Launch,
                rate: 1.0,
                ..Row::IDLE
            },
            Running::Overhead => Row {
                kind: Kind::Overhead,
                ..Row::IDLE
            },
            Running::Blocks {
                process,
                share,
                demand,
            } => {
                let demand = demand * spec.clock;
                Row {
                    kind: Kind::Blocks,
                    process,
                    rate: spec.clock,
                    share,
                    demand,
                    drawn: demand.min(spec.dram_bandwidth * spec.drawn_by(share)),
                    ..Row::IDLE
                }
            }
            Running::Phase {
                order,
                process,
                cap,
                phase,
                alone,
            } => Row {
                kind: Kind::Phase,
                process,
                order,
                cap,
                parallelism: phase.parallelism,
                intensity: phase.intensity,
                // Work of a second of being alone, per second.
                speed: match phase.compute {
                    compute if compute > 0.0 => spec.clock / compute * alone,
                    _ => f64::INFINITY,
                },
                bytes: phase.bytes / alone,
                ..Row::IDLE
            },
        }
    }
}

impl Rates {
    pub(super) fn add_lane(&mut self) {
        self.lanes.push(Row::IDLE);
    }

    /// What a lane does from now on.
    pub(super) fn set(&mut self, spec: &DeviceSpec, lane: usize, running: Running) {
        self.lanes[lane] = Row::of(spec, running);
    }

    /// The rate of each of these lanes, in their order, relative to that at which its work takes as
    /// long as it was said to.
    pub(super) fn divide(&mut self, spec: &DeviceSpec, lanes: &[usize]) -> &[f64] {
        let rows = || lanes.iter().map(|lane| &self.lanes[*lane]);
        self.rate.clear();
        self.rate.extend(rows().map(|row| row.rate));
        self.share.clear();
        self.share.extend(rows().map(|row| row.share));
        self.demand.clear();
        self.demand.extend(rows().map(|row| row.demand));
        self.drawn.clear();
        self.drawn.extend(rows().map(|row| row.drawn));
        if rows().any(|row| matches!(row.kind, Kind::Overhead | Kind::Phase)) {
            self.divide_threads(lanes);
            self.compute_rates(spec, lanes);
        }
        self.divide_bandwidth(spec, lanes);
        &self.rate
    }

    /// Divides the threads that no block holds among the phases.
    fn divide_threads(&mut self, lanes: &[usize]) {
        self.members.clear();
        for (index, lane) in lanes.iter().enumerate() {
            let row = &self.lanes[*lane];
            if row.kind == Kind::Phase {
                self.members.push((row.order, row.process, index));
            }
        }
        if !self.members.is_sorted() {
            self.members.sort_unstable();
        }
        let mut left = 1.0 - self.share.iter().sum::<f64>();
        let members = std::mem::take(&mut self.members);
        for members in members.chunk_by(|(a, ..), (b, ..)| a == b) {
            self.divide_among(lanes, members, &mut left);
        }
        self.members = members;
    }

    /// Divides what is `left` among the phases of one order of priority, those of a process together.
    fn divide_among(&mut self, lanes: &[usize], members: &[Member], left: &mut f64) {
        let row = |index: usize| &self.lanes[lanes[index]];
        self.part.clear();
        for own in members.chunk_by(|(_, a, _), (_, b, _)| a == b) {
            let first = self.part.len();
            let parts = own.iter().map(|(.., index)| row(*index).parallelism);
            self.part.extend(parts);
            let (_, process, index) = own[0];
            let cap = row(index).cap;
            // Else it is no less than what is left for all, whose division bounds it.
            if cap < 1.0 {
                // What its blocks and its phases of higher priority have already.
                let all = lanes.iter().zip(&self.share);
                let used = all.filter(|(lane, _)| self.lanes[**lane].process == process);
                let used: f64 = used.map(|(_, share)| share).sum();
                max_min(&mut self.part[first..], cap - used);
            }
        }
        max_min(&mut self.part, *left);
        for ((.., index), part) in members.iter().zip(&self.part) {
            self.share[*index] = *part;
            *left -= part;
        }
    }

    /// Rates of phases and their overheads as the multiprocessors alone allow them, and the bandwidth
    /// that they ask for.
    fn compute_rates(&mut self, spec: &DeviceSpec, lanes: &[usize]) {
        let rows = || lanes.iter().map(|lane| &self.lanes[*lane]);
        let n_running = rows().filter(|row| row.kind != Kind::Nothing).count();
        let n_others = n_running.saturating_sub(1) as f64;
        let overhead = 1.0 / (1.0 + spec.overhead_interference * n_others);
        for (row, rate) in rows().zip(&mut self.rate) {
            if row.kind == Kind::Overhead {
                *rate = overhead;
            }
        }
        self.part.clear();
        self.part.extend(self.members.iter().map(|(.., index)| {
            let intensity = self.lanes[lanes[*index]].intensity;
            match intensity > 0.0 {
                true => intensity * power(self.share[*index], spec.interference_exponent),
                false => 0.0,
            }
        }));
        let total: f64 = self.part.iter().sum();
        for ((.., index), intensity) in self.members.iter().zip(&self.part) {
            let row = &self.lanes[lanes[*index]];
            let share = self.share[*index];
            // Without threads it stands still, however little it has to compute.
            if share > 0.0 {
                let slowed = 1.0 + (total - intensity).max(0.0);
                let rate = share * row.speed / slowed;
                self.rate[*index] = rate;
                if row.bytes > 0.0 {
                    let demand = rate * row.bytes;
                    self.demand[*index] = demand;
                    self.drawn[*index] = demand.min(spec.dram_bandwidth * spec.drawn_by(share));
                }
            }
        }
    }

    /// Slows those that get less bandwidth than they ask for.
    fn divide_bandwidth(&mut self, spec: &DeviceSpec, lanes: &[usize]) {
        if spec.dram_bandwidth.is_infinite() || self.demand.iter().all(|demand| *demand <= 0.0) {
            return;
        }
        let share: f64 = self.share.iter().sum();
        max_min(&mut self.drawn, spec.dram_bandwidth * spec.drawn_by(share));
        for (index, (demand, given)) in self.demand.iter().zip(&self.drawn).enumerate() {
            if given < demand {
                let row = &self.lanes[lanes[index]];
                self.rate[index] = match row.kind {
                    // It may ask for infinitely much.
                    Kind::Phase => given / row.bytes,
                    _ => row.rate * given / demand,
                };
            }
        }
    }
}

/// A share to a power; the usual power is one, and taking it costs more than all else here.
fn power(share: f64, exponent: f64) -> f64 {
    if exponent.total_cmp(&1.0).is_eq() {
        share
    } else {
        share.powf(exponent)
    }
}

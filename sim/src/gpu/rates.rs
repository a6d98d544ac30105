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
    running: Vec<Running>,
    share: Vec<f64>,
    demand: Vec<f64>,
    rate: Vec<f64>,
    // Scratch.
    part: Vec<f64>,
    members: Vec<usize>,
    own: Vec<usize>,
    intensity: Vec<f64>,
    order: Vec<usize>,
    /// Bits of a part above zero, and whose it is.
    parts: Vec<(u64, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    running: Running,
    /// Of blocks: what they hold of the threads, what they ask for, and what they can draw of that.
    share: f64,
    demand: f64,
    part: f64,
    /// The rate if it were alone.
    rate: f64,
    needs_threads: bool,
}

impl Row {
    const IDLE: Row = Row {
        running: Running::Nothing,
        share: 0.0,
        demand: 0.0,
        part: 0.0,
        rate: 0.0,
        needs_threads: false,
    };
}

impl Rates {
    pub(super) fn add_lane(&mut self) {
        self.lanes.push(Row::IDLE);
    }

    /// What a lane does from now on.
    pub(super) fn set(&mut self, spec: &DeviceSpec, lane: usize, running: Running) {
        let mut row = Row {
            running,
            ..Row::IDLE
        };
        match running {
            Running::Nothing => {}
            Running::Launch => row.rate = 1.0,
            Running::Overhead | Running::Phase { .. } => row.needs_threads = true,
            Running::Blocks { share, demand, .. } => {
                row.rate = spec.clock;
                row.share = share;
                row.demand = demand * spec.clock;
                let drawn = spec.dram_bandwidth * spec.drawn_by(share);
                row.part = row.demand.min(drawn);
            }
        }
        self.lanes[lane] = row;
    }

    /// The rate of each of these lanes, in their order, relative to that at which its work takes as
    /// long as it was said to.
    pub(super) fn divide(&mut self, spec: &DeviceSpec, lanes: &[usize]) -> &[f64] {
        if lanes.iter().any(|lane| self.lanes[*lane].needs_threads) {
            self.running.clear();
            let running = lanes.iter().map(|lane| self.lanes[*lane].running);
            self.running.extend(running);
            self.divide_threads();
            self.compute_rates(spec);
            self.divide_bandwidth(spec);
        } else {
            self.divide_among_blocks(spec, lanes);
        }
        &self.rate
    }

    /// As all that is below, where there are only kernels: nothing but bandwidth is to be divided.
    fn divide_among_blocks(&mut self, spec: &DeviceSpec, lanes: &[usize]) {
        self.rate.clear();
        let (mut asked, mut share, mut has_demand) = (0.0, 0.0, false);
        for lane in lanes {
            let row = &self.lanes[*lane];
            self.rate.push(row.rate);
            asked += row.part;
            share += row.share;
            has_demand |= row.demand > 0.0 || row.demand.is_nan();
        }
        if spec.dram_bandwidth.is_infinite() || !has_demand {
            return;
        }
        let capacity = spec.dram_bandwidth * spec.drawn_by(share);
        if asked <= capacity {
            for (rate, lane) in self.rate.iter_mut().zip(lanes) {
                let row = &self.lanes[*lane];
                if row.demand > 0.0 {
                    *rate = row.rate * row.part / row.demand;
                }
            }
            return;
        }
        // Max-min fairly; see `max_min`. Who asks for nothing has no part in it.
        self.parts.clear();
        for (index, lane) in lanes.iter().enumerate() {
            let part = self.lanes[*lane].part;
            if part > 0.0 {
                self.parts.push((part.to_bits(), index));
            }
        }
        self.parts.sort_unstable();
        let mut left = capacity.max(0.0);
        for (rank, (part, index)) in self.parts.iter().enumerate() {
            let fair = left / (self.parts.len() - rank) as f64;
            let given = f64::from_bits(*part).min(fair);
            left -= given;
            let row = &self.lanes[lanes[*index]];
            if row.demand > 0.0 {
                self.rate[*index] = row.rate * given / row.demand;
            }
        }
    }

    fn divide_threads(&mut self) {
        let n = self.running.len();
        self.share.clear();
        self.share.resize(n, 0.0);
        let mut left = 1.0;
        let mut has_phases = false;
        for (index, running) in self.running.iter().enumerate() {
            match running {
                Running::Blocks { share, .. } => {
                    self.share[index] = *share;
                    left -= share;
                }
                Running::Phase { .. } => has_phases = true,
                _ => {}
            }
        }
        if !has_phases {
            return;
        }
        let mut after: Option<(u8, usize)> = None;
        loop {
            let next = self.running.iter().filter_map(|running| match running {
                Running::Phase { order, .. } => Some(*order),
                _ => None,
            });
            let Some(order) = next.filter(|order| Some(*order) > after).min() else {
                return;
            };
            self.divide_among(order, &mut left);
            after = Some(order);
        }
    }

    /// Divides what is `left` among the phases of one order of priority.
    fn divide_among(&mut self, of: (u8, usize), left: &mut f64) {
        self.members.clear();
        for (index, running) in self.running.iter().enumerate() {
            if matches!(running, Running::Phase { order, .. } if *order == of) {
                self.members.push(index);
            }
        }
        // Within each process first, up to its cap.
        for index in 0..self.members.len() {
            let Running::Phase {
                process: own, cap, ..
            } = self.running[self.members[index]]
            else {
                unreachable!("members are phases")
            };
            let is_own = |member: &usize| matches!(self.running[*member], Running::Phase { process, .. } if process == own);
            if self.members[..index].iter().any(is_own) {
                continue;
            }
            // What its blocks and its phases of higher priority have already.
            let running = self.running.iter().zip(&self.share);
            let used: f64 = running
                .map(|(running, share)| match running {
                    Running::Phase { process, .. } | Running::Blocks { process, .. }
                        if *process == own =>
                    {
                        *share
                    }
                    _ => 0.0,
                })
                .sum();
            self.own.clear();
            self.own.extend(self.members.iter().copied().filter(is_own));
            self.part.clear();
            self.part
                .extend(self.own.iter().map(|member| match &self.running[*member] {
                    Running::Phase { phase, .. } => phase.parallelism,
                    _ => 0.0,
                }));
            max_min(&mut self.part, cap - used, &mut self.order);
            for (member, part) in self.own.iter().zip(&self.part) {
                self.share[*member] = *part;
            }
        }
        self.part.clear();
        self.part
            .extend(self.members.iter().map(|member| self.share[*member]));
        max_min(&mut self.part, *left, &mut self.order);
        for (member, part) in self.members.iter().zip(&self.part) {
            self.share[*member] = *part;
            *left -= part;
        }
    }

    /// Rates as the multiprocessors alone allow them.
    fn compute_rates(&mut self, spec: &DeviceSpec) {
        let n_others = self
            .running
            .iter()
            .filter(|r| !matches!(r, Running::Nothing))
            .count();
        let n_others = n_others.saturating_sub(1) as f64;
        let intensity = |running: &Running, share: f64| match running {
            Running::Phase { phase, .. } if phase.intensity > 0.0 => {
                phase.intensity * power(share, spec.interference_exponent)
            }
            _ => 0.0,
        };
        let all = self.running.iter().zip(&self.share);
        self.intensity.clear();
        self.intensity
            .extend(all.map(|(running, share)| intensity(running, *share)));
        let total: f64 = self.intensity.iter().sum();
        self.rate.clear();
        self.demand.clear();
        let all = self.running.iter().zip(&self.share).zip(&self.intensity);
        for ((running, share), intensity) in all {
            let (rate, demand) = match running {
                Running::Nothing => (0.0, 0.0),
                Running::Launch => (1.0, 0.0),
                Running::Overhead => (1.0 / (1.0 + spec.overhead_interference * n_others), 0.0),
                Running::Blocks { demand, .. } => (spec.clock, demand * spec.clock),
                Running::Phase { phase, alone, .. } => {
                    let others = total - intensity;
                    let slowed = 1.0 + others.max(0.0);
                    // Work of a second of being alone, per second.
                    let rate = if phase.compute > 0.0 {
                        share * spec.clock / phase.compute / slowed * alone
                    } else if *share > 0.0 {
                        f64::INFINITY
                    } else {
                        0.0
                    };
                    let bytes = phase.bytes / alone;
                    let demand = if bytes > 0.0 { rate * bytes } else { 0.0 };
                    (rate, demand)
                }
            };
            self.rate.push(rate);
            self.demand.push(demand);
        }
    }

    /// Slows those that get less bandwidth than they ask for.
    fn divide_bandwidth(&mut self, spec: &DeviceSpec) {
        if spec.dram_bandwidth.is_infinite() || self.demand.iter().all(|demand| *demand <= 0.0) {
            return;
        }
        self.part.clear();
        for (demand, share) in self.demand.iter().zip(&self.share) {
            self.part
                .push(demand.min(spec.dram_bandwidth * spec.drawn_by(*share)));
        }
        let total: f64 = self.share.iter().sum();
        let capacity = spec.dram_bandwidth * spec.drawn_by(total);
        max_min(&mut self.part, capacity, &mut self.order);
        for index in 0..self.running.len() {
            if self.demand[index] > 0.0 {
                let given = self.part[index];
                self.rate[index] = match &self.running[index] {
                    Running::Phase { phase, alone, .. } => {
                        self.rate[index].min(given / phase.bytes * alone)
                    }
                    _ => self.rate[index] * given / self.demand[index],
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

//! Flows that share links max-min fairly.
//!
//! The allocation is the one in which no flow could have more without another, that has no more than
//! it, having less (Bertsekas and Gallager 1992, Data Networks, section 6.5.2). A flow that starts or ends changes it only in part:
//! links fill at levels, a link's level depends on flows of lower rates only, and so a change spreads
//! upwards from the links that it touches, as long as levels change. That part is computed again; how,
//! and why it is the allocation of all, is described in `replay.rs`.
//!
//! Rates are integers, in 2⁻²⁰ B/s, and what is left of a flow is an integer too, updated only when
//! its rate changes; so no time is ever lost to rounding but that of a forecast, half up to a
//! picosecond. The sum of the rates over a link never exceeds what it carries.

mod allocation;
mod completions;
mod rate;
mod replay;

use std::collections::VecDeque;

use schema::ids::Id;
use schema::units::{ByteRate, Bytes, SimTime};

use super::graph::{Graph, LinkId};
use allocation::Allocation;
use completions::Completions;
use rate::Work;

/// A flow of a [`Fabric`]. Flows are ordered as they were started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FlowId {
    number: u64,
    slot: u32,
}

/// A flow that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done<T> {
    /// Which.
    pub flow: FlowId,
    /// What its starter called it.
    pub token: T,
    /// When it started.
    pub start: SimTime,
    /// When its last byte had been sent.
    pub end: SimTime,
}

/// The flows over the links of a [`Graph`].
///
/// It is told the time and schedules nothing. `T` names flows. Flows that start, are cancelled or
/// end, and rates that change, take effect together with the next [`Fabric::settle`] at the same
/// instant; this is to come before time goes on.
///
/// A change costs O(links it reaches and the flows on them), and O(log flows) for each flow whose rate
/// changes; see [`Fabric::n_rate_changes`].
#[derive(Clone, Debug)]
pub struct Fabric<T> {
    now: SimTime,
    allocation: Allocation,
    /// By slot.
    flows: Vec<Option<Flow<T>>>,
    free: Vec<u32>,
    n_started: u64,
    n_rate_changes: u64,
    is_settled: bool,
    completions: Completions,
    done: VecDeque<Done<T>>,
    /// Scratch.
    changed: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Flow<T> {
    number: u64,
    token: T,
    start: SimTime,
    /// What was left at the instant `updated`, since when it has had this rate.
    left: Work,
    updated: SimTime,
    rate: u64,
    /// What follows it.
    next: Option<Bytes>,
    /// Whether it is due later than its completion is kept for.
    is_late: bool,
}

impl<T> Flow<T> {
    /// When it ends at its rate.
    fn end(&self) -> SimTime {
        match self.left.time_at(self.rate) {
            Some(left) => self.updated + left,
            None => SimTime::MAX,
        }
    }
}

impl<T: Copy> Fabric<T> {
    /// The links of `graph`, with nothing on them, at the start of simulated time.
    pub fn new(graph: &Graph) -> Fabric<T> {
        Fabric::with_tolerance(graph, 0.0)
    }

    /// As [`Fabric::new`], but flows that a link limits may be left at rates of as little as
    /// `1 / (1 + tolerance)` of what that link's level would give them, rather than be changed by less
    /// than that. No link ever carries more than it can, and a flow that comes to an idle path has all
    /// of it.
    ///
    /// Where everything is connected most of the flows that a change reaches change by next to nothing,
    /// and a tolerance of a hundredth saves most of the cost. Sojourn times get longer, by a quarter to a
    /// half of the tolerance on average; a test of the fabric prints by how much.
    ///
    /// # Panics
    /// If `tolerance` is not from 0 to 1.
    pub fn with_tolerance(graph: &Graph, tolerance: f64) -> Fabric<T> {
        assert!(
            (0.0..=1.0).contains(&tolerance),
            "a tolerance is from 0 to 1, found {tolerance}"
        );
        let capacities = graph.links().map(|(_, link)| rate::quanta(link.rate));
        Fabric {
            now: SimTime::ZERO,
            allocation: Allocation::new(capacities, tolerance),
            flows: Vec::new(),
            free: Vec::new(),
            n_started: 0,
            n_rate_changes: 0,
            is_settled: true,
            completions: Completions::default(),
            done: VecDeque::new(),
            changed: Vec::new(),
        }
    }

    /// A flow of `bytes` starts over the links of `path`, at no more than `cap` if there is one.
    ///
    /// Without links and without a cap it ends at once, as one of no bytes does.
    ///
    /// # Panics
    /// If `now` is in the past, or a flow should have ended before; or if a link is of another graph,
    /// or twice in the path.
    pub fn start(
        &mut self,
        now: SimTime,
        path: &[LinkId],
        bytes: Bytes,
        cap: Option<ByteRate>,
        token: T,
    ) -> FlowId {
        self.advance(now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            u32::try_from(self.flows.len() - 1).expect("fewer than 2^32 flows at a time")
        });
        let number = self.n_started;
        self.n_started += 1;
        self.flows[slot as usize] = Some(Flow {
            number,
            token,
            start: now,
            left: Work::of(bytes),
            updated: now,
            rate: 0,
            next: None,
            is_late: false,
        });
        let cap = cap.map_or(rate::UNLIMITED, rate::quanta);
        self.allocation.add(slot, path, cap);
        self.is_settled = false;
        FlowId { number, slot }
    }

    /// When the flow has ended another of `bytes` follows at once, over the same links and under the
    /// same id and name, so that the rates of others do not change in between. `None` if it has
    /// ended already.
    ///
    /// # Panics
    /// If `now` is in the past, or a flow should have ended before; or if another follows it already.
    pub fn follow(&mut self, now: SimTime, flow: FlowId, bytes: Bytes) -> Option<()> {
        self.advance(now);
        let row = self.flows.get_mut(flow.slot as usize)?.as_mut()?;
        if row.number != flow.number {
            return None;
        }
        let before = row.next.replace(bytes);
        assert!(before.is_none(), "{flow:?} is followed by another already");
        Some(())
    }

    /// A flow ends before it has moved its bytes, and nothing follows it: those that were left, rounded up; `None` if it had
    /// ended already.
    ///
    /// # Panics
    /// If `now` is in the past, or a flow should have ended before.
    pub fn cancel(&mut self, now: SimTime, flow: FlowId) -> Option<Bytes> {
        self.advance(now);
        let row = self.row(flow)?;
        let left = row.left.after(now.since(row.updated), row.rate).bytes();
        self.remove(flow.slot);
        Some(left)
    }

    /// A link carries `rate` from now on.
    ///
    /// # Panics
    /// If `now` is in the past, or a flow should have ended before; or if the rate is more than
    /// [`Graph::MAX_RATE`].
    pub fn set_rate(&mut self, now: SimTime, link: LinkId, rate: ByteRate) {
        assert!(
            rate <= Graph::MAX_RATE,
            "a link carries at most {}",
            Graph::MAX_RATE
        );
        self.advance(now);
        self.allocation
            .set_capacity(link.index(), rate::quanta(rate));
        self.is_settled = false;
    }

    /// When something changes by itself; `None` if nothing will.
    pub fn next(&self) -> Option<SimTime> {
        if !self.is_settled {
            return Some(self.now);
        }
        self.completions.first().map(|(at, _)| at)
    }

    /// Lets everything happen that is due at the instant `now`, which may not be later than
    /// [`Fabric::next`] nor earlier than before.
    ///
    /// # Panics
    /// If it is.
    pub fn settle(&mut self, now: SimTime) {
        self.advance(now);
        loop {
            while let Some((at, slot)) = self.completions.first()
                && at <= now
            {
                let done = self.end(slot);
                self.done.push_back(done);
            }
            if self.is_settled {
                return;
            }
            self.divide();
        }
    }

    /// A flow that ends at the instant `now`, as [`Fabric::pop_done`], without dividing the links
    /// anew, so that what starts after it at this instant is settled together with its end. Flows
    /// that start and end at `now` come after the next [`Fabric::settle`].
    ///
    /// # Panics
    /// If `now` is in the past, or a flow should have ended before.
    pub fn pop_due(&mut self, now: SimTime) -> Option<Done<T>> {
        self.advance(now);
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        let (at, slot) = self.completions.first()?;
        (at <= now).then(|| self.end(slot))
    }

    /// A flow that has ended, the first of those not taken yet: by instant, then by [`FlowId`].
    pub fn pop_done(&mut self) -> Option<Done<T>> {
        self.done.pop_front()
    }

    /// Number of flows that are under way.
    pub fn n_flows(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    /// The rate of a flow since the last [`Fabric::settle`], in bytes per second, for statistics;
    /// infinite if nothing limits it, `None` if it has ended.
    pub fn rate(&self, flow: FlowId) -> Option<f64> {
        let rate = self.row(flow)?.rate;
        Some(match rate {
            rate::UNLIMITED => f64::INFINITY,
            rate => rate::bytes_per_s(rate),
        })
    }

    /// What the flows over a link get of it together, in bytes per second, for statistics.
    pub fn load(&self, link: LinkId) -> f64 {
        rate::bytes_per_s(self.allocation.load(link.index()))
    }

    /// How often the rate of a flow has changed: what this has cost, in the unit of its cost.
    pub const fn n_rate_changes(&self) -> u64 {
        self.n_rate_changes
    }

    fn row(&self, flow: FlowId) -> Option<&Flow<T>> {
        let row = self.flows.get(flow.slot as usize)?.as_ref()?;
        (row.number == flow.number).then_some(row)
    }

    /// Comes to the instant `now`; what was to take effect before, does.
    fn advance(&mut self, now: SimTime) {
        assert!(
            now >= self.now,
            "it is {} ps, and {} ps is in the past",
            self.now.as_ps(),
            now.as_ps()
        );
        if now > self.now && !self.is_settled {
            self.divide();
        }
        if let (true, Some((at, _))) = (now > self.now, self.completions.first()) {
            assert!(
                at >= now,
                "a flow ends at {} ps, before {} ps",
                at.as_ps(),
                now.as_ps()
            );
        }
        self.now = now;
    }

    /// The flow that is due first ends, and what follows it starts at the rate that it had.
    fn end(&mut self, slot: u32) -> Done<T> {
        let row = self.flows[slot as usize].as_mut();
        let row = row.expect("what is due is there");
        let Some(bytes) = row.next.take() else {
            let done = self.remove(slot);
            self.put_off_late();
            return done;
        };
        let start = std::mem::replace(&mut row.start, self.now);
        row.left = Work::of(bytes);
        row.updated = self.now;
        let done = Done {
            flow: FlowId {
                number: row.number,
                slot,
            },
            token: row.token,
            start,
            end: self.now,
        };
        let (end, number) = (row.end(), row.number);
        self.completions.set(slot, end, number);
        self.put_off_late();
        done
    }

    fn remove(&mut self, slot: u32) -> Done<T> {
        self.completions.remove(slot);
        self.allocation.remove(slot);
        self.is_settled = false;
        let row = self.flows[slot as usize].take().expect("the flow is there");
        self.free.push(slot);
        Done {
            flow: FlowId {
                number: row.number,
                slot,
            },
            token: row.token,
            start: row.start,
            end: self.now,
        }
    }

    /// Divides the links anew, and forecasts the end of each flow whose rate has changed.
    fn divide(&mut self) {
        self.allocation.update(&mut self.changed);
        for slot in self.changed.drain(..) {
            let rate = self.allocation.rate(slot);
            // It may have been cancelled meanwhile.
            let Some(row) = self.flows[slot as usize].as_mut() else {
                continue;
            };
            if row.rate == rate {
                continue;
            }
            row.left = row.left.after(self.now.since(row.updated), row.rate);
            row.updated = self.now;
            let is_slower = rate < row.rate;
            row.rate = rate;
            self.n_rate_changes += 1;
            // One that has slowed down is due later than it was, which is seen to when it comes
            // first.
            if is_slower {
                row.is_late = true;
            } else {
                row.is_late = false;
                let end = row.end();
                self.completions.set(slot, end, row.number);
            }
        }
        self.is_settled = true;
        self.put_off_late();
    }

    /// Makes the completion that comes first one that is due then.
    fn put_off_late(&mut self) {
        while let Some((_, slot)) = self.completions.first() {
            let row = self.flows[slot as usize].as_mut();
            let row = row.expect("what is due is there");
            if !row.is_late {
                return;
            }
            row.is_late = false;
            self.completions.set(slot, row.end(), row.number);
        }
    }
}

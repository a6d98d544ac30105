//! The rates of flows, and what links know of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use schema::ids::Id;

use super::rate::UNLIMITED;
use super::replay::{Stage, Turn};
use crate::fabric::graph::LinkId;

/// What limits a flow: in one word, since it is compared more often than anything else here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bottleneck(u32);

impl Bottleneck {
    /// It is free: its rate is being sought.
    pub(super) const UNKNOWN: Bottleneck = Bottleneck(u32::MAX);
    /// Its cap.
    pub(super) const CAP: Bottleneck = Bottleneck(u32::MAX - 1);

    /// A link.
    pub(super) const fn link(number: u32) -> Bottleneck {
        Bottleneck(number)
    }
}

#[derive(Clone, Debug)]
pub(super) struct FlowRow {
    /// Its rate, or, while it is free, its rate before.
    pub(super) rate: u64,
    pub(super) cap: u64,
    pub(super) bottleneck: Bottleneck,
    n_hops: u32,
}

impl FlowRow {
    pub(super) fn is_free(&self) -> bool {
        self.bottleneck == Bottleneck::UNKNOWN
    }
}

/// A link of a flow's path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) link: u32,
    /// The flow's place among the link's members.
    place: u32,
}

/// A link. A flow is its *own* if the link is its bottleneck.
#[derive(Clone, Debug)]
#[repr(align(64))] // whole lines of a cache
pub(super) struct LinkRow {
    pub(super) capacity: u64,
    pub(super) members: Vec<u32>,
    /// Sum of the rates of the members that are not free.
    pub(super) known: u64,
    /// Sum of the rates of its own flows.
    pub(super) own_sum: u64,
    pub(super) n_own: u32,
    pub(super) n_free: u32,
    /// Members that have a cap.
    pub(super) n_capped: u32,
    /// Not more than the rate of any of its own flows; `UNLIMITED` if it has none.
    pub(super) floor: u64,
    /// Not less than the rate of any of its own flows; meaningless if it has none.
    pub(super) own_top: u64,
    /// Not less than the rate of any other member that is not free.
    pub(super) others_top: u64,
    /// While it rises: its free flows are found when the water is at this, or it is said anew.
    pub(super) promised: u64,
    /// The highest promise for a free flow that crosses it: it needs no turn after that.
    pub(super) until: u64,
    /// When its turn is; `UNLIMITED` if it waits for none.
    pub(super) turn: u64,
    pub(super) stage: Stage,
    /// Whether a member's rate or the capacity is another than when its level was found.
    pub(super) is_changed: bool,
    pub(super) is_touched: bool,
}

impl LinkRow {
    fn new(capacity: u64) -> LinkRow {
        LinkRow {
            capacity,
            members: Vec::new(),
            known: 0,
            own_sum: 0,
            n_own: 0,
            n_free: 0,
            n_capped: 0,
            floor: UNLIMITED,
            own_top: 0,
            others_top: 0,
            promised: 0,
            until: 0,
            turn: UNLIMITED,
            stage: Stage::Kept,
            is_changed: false,
            is_touched: false,
        }
    }

    /// A flow of this rate becomes its own.
    pub(super) fn adopt(&mut self, rate: u64) {
        self.n_own += 1;
        self.own_sum += rate;
        self.floor = self.floor.min(rate);
        self.own_top = self.own_top.max(rate);
    }

    /// One of its own flows, of this rate, is not its own any more.
    pub(super) fn release(&mut self, rate: u64) {
        self.n_own -= 1;
        self.own_sum -= rate;
        if self.n_own == 0 {
            self.floor = UNLIMITED;
            self.own_top = 0;
        }
    }
}

/// The max-min fair allocation, brought up to date by [`Allocation::update`].
#[derive(Clone, Debug)]
pub(super) struct Allocation {
    pub(super) links: Vec<LinkRow>,
    /// By slot.
    pub(super) flows: Vec<FlowRow>,
    /// By slot, so many for each.
    pub(super) hops: Vec<Hop>,
    most_hops: usize,
    /// In 2⁻³²; see [`Fabric::with_tolerance`](super::Fabric::with_tolerance).
    pub(super) tolerance: u64,
    /// Links that have been changed since the last update began.
    pub(super) touched: Vec<u32>,
    /// Whose turn it is next in a replay.
    pub(super) turns: BinaryHeap<Reverse<Turn>>,
    /// Flows whose rates the replay has found.
    pub(super) found: Vec<u32>,
}

impl Allocation {
    pub(super) fn new(capacities: impl Iterator<Item = u64>, tolerance: f64) -> Allocation {
        Allocation {
            links: capacities.map(LinkRow::new).collect(),
            flows: Vec::new(),
            hops: Vec::new(),
            most_hops: 0,
            tolerance: (tolerance * (1u64 << 32) as f64) as u64,
            touched: Vec::new(),
            turns: BinaryHeap::new(),
            found: Vec::new(),
        }
    }

    /// A flow comes, which has no rate until the next update. The slot is free.
    pub(super) fn add(&mut self, slot: u32, path: &[LinkId], cap: u64) {
        let index = slot as usize;
        if path.len() > self.most_hops {
            self.lengthen_hops(path.len());
        }
        let row = FlowRow {
            rate: 0,
            cap,
            bottleneck: Bottleneck::UNKNOWN,
            n_hops: path.len() as u32,
        };
        match self.flows.get_mut(index) {
            Some(free) => *free = row,
            None => {
                self.flows.push(row);
                let n_hops = self.flows.len() * self.most_hops;
                self.hops.resize(n_hops, Hop { link: 0, place: 0 });
            }
        }
        if path.is_empty() {
            self.flows[index].rate = cap;
            self.flows[index].bottleneck = Bottleneck::CAP;
            self.found.push(slot);
            return;
        }
        for (hop, link) in path.iter().enumerate() {
            let id = link.index() as u32;
            let link = &mut self.links[link.index()];
            assert!(
                link.members.last() != Some(&slot),
                "a path takes each link once"
            );
            self.hops[index * self.most_hops + hop] = Hop {
                link: id,
                place: link.members.len() as u32,
            };
            link.members.push(slot);
            link.n_free += 1;
            link.until = UNLIMITED;
            link.n_capped += u32::from(cap != UNLIMITED);
            self.touch(id);
        }
        if cap != UNLIMITED {
            self.turns.push(Reverse(Turn::of_cap(cap, slot)));
        }
    }

    /// Makes room for longer paths.
    fn lengthen_hops(&mut self, most_hops: usize) {
        let none = Hop { link: 0, place: 0 };
        let mut hops = vec![none; self.flows.len() * most_hops];
        for slot in 0..self.flows.len() {
            let old = &self.hops[slot * self.most_hops..][..self.most_hops];
            hops[slot * most_hops..][..self.most_hops].copy_from_slice(old);
        }
        self.hops = hops;
        self.most_hops = most_hops;
    }

    /// Where in `hops` the path of a flow is.
    pub(super) fn span(&self, slot: u32) -> Range<usize> {
        let start = slot as usize * self.most_hops;
        start..start + self.flows[slot as usize].n_hops as usize
    }

    /// The path of a flow.
    pub(super) fn hops(&self, slot: u32) -> &[Hop] {
        &self.hops[self.span(slot)]
    }

    /// The flow goes.
    pub(super) fn remove(&mut self, slot: u32) {
        let flow = &self.flows[slot as usize];
        let (rate, cap, bottleneck) = (flow.rate, flow.cap, flow.bottleneck);
        for at in self.span(slot) {
            let hop = self.hops[at];
            let link = &mut self.links[hop.link as usize];
            link.members.swap_remove(hop.place as usize);
            link.n_capped -= u32::from(cap != UNLIMITED);
            if bottleneck == Bottleneck::UNKNOWN {
                link.n_free -= 1;
            } else {
                link.known -= rate;
            }
            if bottleneck == Bottleneck::link(hop.link) {
                link.release(rate);
            }
            link.is_changed = true;
            if let Some(moved) = link.members.get(hop.place as usize).copied() {
                let span = self.span(moved);
                let mut hops = self.hops[span].iter_mut();
                let of_moved = hops.find(|other| other.link == hop.link);
                of_moved.expect("members cross the link").place = hop.place;
            }
            self.touch(hop.link);
        }
        // It may have had no rate yet, and a cap, whose turn is void so.
        self.flows[slot as usize].bottleneck = Bottleneck::CAP;
    }

    pub(super) fn set_capacity(&mut self, link: usize, capacity: u64) {
        self.links[link].capacity = capacity;
        self.links[link].is_changed = true;
        self.touch(link as u32);
    }

    pub(super) fn rate(&self, slot: u32) -> u64 {
        self.flows[slot as usize].rate
    }

    pub(super) fn load(&self, link: usize) -> u64 {
        self.links[link].known
    }

    pub(super) fn touch(&mut self, link: u32) {
        let row = &mut self.links[link as usize];
        if !row.is_touched {
            row.is_touched = true;
            self.touched.push(link);
        }
    }
}

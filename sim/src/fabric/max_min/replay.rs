//! Finding the rates again after a change, where it can have changed them.
//!
//! # The allocation that is sought
//! Max-min fair rates are what *water-filling* gives: all flows rise together, and whenever a link
//! is full the flows over it that still rise stay at this *level*; the link is their bottleneck, and
//! they are its own. An allocation is max-min fair if and only if it is feasible and every flow has a
//! bottleneck: its cap, or a full link over which no flow has more (Bertsekas and Gallager 1992, Data
//! Networks, section 6.5.2). A link's level depends on the flows that stay at lower
//! levels only, so a change spreads from lower levels to higher ones: the order of bottleneck
//! precedence (Ros-Giralt et al. 2019, "On the bottleneck structure of congestion-controlled
//! networks", Proceedings of the ACM on Measurement and Analysis of Computing Systems 3(3)).
//!
//! # The replay
//! Water-filling is run again with the links that are touched by the change; all others are taken to
//! fill at the level at which they did. So while the water rises to `w`, a flow is
//! - *found*, if it stays at a rate up to `w` already,
//! - *scheduled*, if its bottleneck is a link that is not known to change its level: it will stay at
//!   its old rate, or
//! - *free*.
//!
//! What a link can say of its level is the `x` of `sum over its flows of min(d, x) = capacity`, where
//! `d` is the rate of a found or scheduled flow, and the cap of a free one or of one of its own
//! (which would be free if its level changed). A link takes its turn when the water is at a lower
//! bound of that, or of where something may be wrong. It then
//! - sees that nothing is, and keeps its level;
//! - or waits for another turn, further up;
//! - or is full: its level is `w`, its free flows, its own and those scheduled for more stay there;
//! - or, if its level rises, at the old one, before its own flows would have stayed there, sets them
//!   free: they go on rising, and all links that they cross have to look at their levels again.
//!
//! Where the own flows of such a link cross no other that is anybody's bottleneck, has free flows or
//! gets full, they are scheduled for the new level at once, which changes nothing for anybody else.
//!
//! Whenever a flow is found at another rate than before, the links that it crosses have a turn.
//! For a flow that is set free they have one only if it would come before the flow is sure to be found:
//! at the level of the link that sets it free, as far as that is known by then; if it turns out to be
//! higher, they are asked again.
//!
//! # Why this is right
//! - No turn comes too late. A flow that is found at less only raises levels, and a link whose level
//!   rises is to act at its old one, which is where its turn is. A flow that is set free at its old
//!   rate `r` may lower levels, but to no less than `r`, since a link's flows at rates up to `r` fit it,
//!   and so `min(d, x)` at `x = r` does. Turns after that are for the bound
//!   `(capacity - sum of known rates) / number of free and own flows`, which is below the level, as
//!   `min(d, x) <= d`.
//! - So when the replay ends every flow has a bottleneck: one that is found by its construction, and
//!   one that is not, since each of its links that had a flow found at another rate has looked at it,
//!   and left it as it is. And no link carries too much: it has looked at each flow that has more.
//!   That is the condition above, so the allocation is the max-min fair one.
//! - Only links have a turn that carry a flow that has changed or has been set free, and each is full
//!   once at most.
//!
//! Levels are rounded down to an integer, so the condition holds up to a quantum a flow; the bounds
//! above hold for integers too.
//!
//! With a tolerance a link whose level would rise by less keeps it, and several flows stay half of it
//! below the level, so that what is spared takes the next changes, of either sign, without any of
//! theirs.

use std::cmp::Reverse;

use super::allocation::{Allocation, Bottleneck, LinkRow};
use super::rate::UNLIMITED;

/// Where a link is in a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Its own flows are scheduled at the level that it had.
    Kept,
    /// It has set its own flows free.
    Rising,
    /// Its level is found.
    Full,
}

/// At which level who has a turn: the level, whether it is a link, and its number, from the highest
/// bits down, so that one comparison orders turns. Of those at one level caps come first, and then
/// links by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Turn(u128);

const LINK: u128 = 1 << 32;

impl Turn {
    /// A flow reaches its cap.
    pub(super) const fn of_cap(level: u64, slot: u32) -> Turn {
        Turn((level as u128) << 64 | slot as u128)
    }

    /// A link looks at its level.
    const fn of_link(level: u64, link: u32) -> Turn {
        Turn((level as u128) << 64 | LINK | link as u128)
    }

    const fn level(self) -> u64 {
        (self.0 >> 64) as u64
    }

    const fn is_link(self) -> bool {
        self.0 & LINK != 0
    }

    /// The number of the link, or the slot of the flow.
    const fn number(self) -> u32 {
        self.0 as u32
    }
}

impl LinkRow {
    /// A lower bound of its level, if its own flows were free: what all others leave, divided. It is
    /// the level unless some flow asks for less than that.
    fn bound(&self) -> u64 {
        let others = self.known - self.own_sum;
        let left = self.capacity.saturating_sub(others);
        left / u64::from(self.n_own + self.n_free)
    }

    /// When its turn is to be; `UNLIMITED` if it needs none.
    fn next_turn(&self) -> u64 {
        let fits = self.known <= self.capacity;
        if self.n_own + self.n_free == 0 {
            return if fits { UNLIMITED } else { 0 };
        }
        match (self.n_free, fits) {
            (0, true) => self.floor,
            _ => self.bound().min(self.floor),
        }
    }

    /// Whether no turn is needed for its free flows, since it is neither full nor fills again before
    /// they are found.
    fn is_out_of_reach(&self) -> bool {
        let left = self.capacity.saturating_sub(self.known - self.own_sum);
        let n_rising = u128::from(self.n_own + self.n_free);
        let is_as_before = self.n_own == 0 || !self.is_changed;
        is_as_before
            && self.floor >= self.until
            && u128::from(left) >= u128::from(self.until) * n_rising
    }

    /// Whether its own flows may be left as they are, if its level is found to be this.
    fn keeps(&self, level: u64, tolerance: u64) -> bool {
        if self.n_own == 0 || level < self.own_top || level < self.others_top {
            return false;
        }
        level - self.floor <= part(self.floor, tolerance)
    }
}

/// A part of a rate, in 2⁻³² of it.
fn part(rate: u64, tolerance: u64) -> u64 {
    ((u128::from(rate) * u128::from(tolerance)) >> 32) as u64
}

impl Allocation {
    /// Finds all rates that the changes since the last update have changed; `found` are the flows
    /// that have a rate found anew, another or the same.
    pub(super) fn update(&mut self, found: &mut Vec<u32>) {
        for index in 0..self.touched.len() {
            self.call(self.touched[index], 0);
        }
        let mut water = 0;
        while let Some(Reverse(turn)) = self.turns.pop() {
            let (level, number) = (turn.level(), turn.number());
            if turn.is_link() {
                let row = &mut self.links[number as usize];
                if row.turn == level {
                    row.turn = UNLIMITED;
                    water = water.max(level);
                    self.take_turn(number, water);
                }
            } else {
                let row = &self.flows[number as usize];
                if row.is_free() && row.cap == level {
                    water = water.max(level);
                    self.stay(number, level, Bottleneck::CAP, water);
                }
            }
        }
        for link in self.touched.drain(..) {
            let link = &mut self.links[link as usize];
            debug_assert!(link.n_free == 0 && link.known <= link.capacity);
            link.stage = Stage::Kept;
            link.promised = 0;
            link.until = 0;
            link.is_changed = false;
            link.is_touched = false;
        }
        std::mem::swap(found, &mut self.found);
        self.found.clear();
    }

    /// Gives a link its next turn, with the water at `water`, unless it has one as early.
    fn call(&mut self, link: u32, water: u64) {
        let row = &mut self.links[link as usize];
        if row.n_free > 0 && row.is_out_of_reach() {
            return;
        }
        let at = row.next_turn();
        if at == UNLIMITED {
            return;
        }
        let at = at.max(water);
        if at < row.turn {
            row.turn = at;
            self.turns.push(Reverse(Turn::of_link(at, link)));
        }
    }

    /// Gives a link a turn when the water is at `at`.
    fn call_at(&mut self, link: u32, at: u64) {
        self.links[link as usize].turn = at;
        self.turns.push(Reverse(Turn::of_link(at, link)));
    }

    fn take_turn(&mut self, link: u32, water: u64) {
        let row = &self.links[link as usize];
        match row.stage {
            Stage::Full => {}
            Stage::Rising => {
                if row.n_free == 0 {
                    return;
                }
                match self.level(link) {
                    UNLIMITED => self.promise(link, UNLIMITED, water),
                    level if level > water => {
                        self.promise(link, level, water);
                        self.call_at(link, level);
                    }
                    level => self.fill(link, level, water),
                }
            }
            Stage::Kept => {
                let fits = row.known <= row.capacity;
                if row.n_free == 0 && fits && (row.n_own == 0 || !row.is_changed) {
                    self.links[link as usize].is_changed = false;
                    return;
                }
                let level = self.level(link);
                let row = &self.links[link as usize];
                let keeps = row.keeps(level, self.tolerance);
                if level == UNLIMITED && row.n_own == 0 {
                    return;
                }
                if row.n_free == 0 && fits && keeps {
                    let row = &mut self.links[link as usize];
                    row.is_changed = false;
                } else if level.min(row.floor) > water {
                    self.call_at(link, level.min(row.floor));
                } else if row.n_own > 0 && level > row.floor && !keeps {
                    if self.raise(link, level) {
                        return;
                    }
                    let level = level.max(water);
                    self.set_free(link, level, water);
                    if level < UNLIMITED {
                        self.call_at(link, level);
                    }
                } else if level > water {
                    self.call_at(link, level);
                } else {
                    self.fill(link, level, water);
                }
            }
        }
    }

    /// The level of a link, its own flows taken to be free; `UNLIMITED` if it would not be full.
    fn level(&mut self, link: u32) -> u64 {
        let row = &self.links[link as usize];
        let n_rising = row.n_own + row.n_free;
        if n_rising == 0 {
            return self.search_level(link, row.others_top);
        }
        let bound = row.bound();
        if row.n_capped == 0 && bound >= row.others_top {
            return bound;
        }
        self.search_level(link, bound)
    }

    /// Newton's method for `sum of min(d, x) = capacity`: the sum is concave, so that from the second
    /// step on, `x` rises to the solution, and no flow's `d` is passed twice.
    fn search_level(&mut self, link: u32, start: u64) -> u64 {
        let row = &self.links[link as usize];
        let capacity = row.capacity;
        let mut level = start;
        let mut before = (u64::MAX, 0);
        loop {
            let (mut below, mut n_above, mut others_top) = (0u64, 0u64, 0);
            for slot in &row.members {
                let flow = &self.flows[*slot as usize];
                let rises = flow.is_free() || flow.bottleneck == Bottleneck::link(link);
                let asked = if rises {
                    flow.cap
                } else {
                    others_top = flow.rate.max(others_top);
                    flow.rate
                };
                if asked > level {
                    n_above += 1;
                } else {
                    below = below.saturating_add(asked);
                }
            }
            if below > capacity {
                // Too high: an equal part of all is not.
                level = row.capacity / row.members.len() as u64;
                continue;
            }
            let is_found = (below, n_above) == before;
            if !is_found && n_above > 0 {
                before = (below, n_above);
                level = (capacity - below) / n_above;
                continue;
            }
            self.links[link as usize].others_top = others_top;
            return if is_found { level } else { UNLIMITED };
        }
    }

    /// Schedules the own flows of a link for its new level, if that concerns nobody else; whether it
    /// has.
    fn raise(&mut self, link: u32, level: u64) -> bool {
        let row = &self.links[link as usize];
        if row.n_free > 0 || row.n_capped > 0 || level == UNLIMITED {
            return false;
        }
        let level = self.eased(level, row.n_own);
        if level < row.own_top {
            return false;
        }
        let n_found = self.found.len();
        let others_top = row.others_top;
        let members = std::mem::take(&mut self.links[link as usize].members);
        let is_raised = members
            .iter()
            .all(|slot| self.raise_flow(link, *slot, level));
        let row = &mut self.links[link as usize];
        row.members = members;
        row.others_top = others_top;
        if !is_raised {
            self.lower(n_found, level);
            return false;
        }
        for slot in &self.found[n_found..] {
            self.flows[*slot as usize].rate = level;
        }
        let row = &mut self.links[link as usize];
        row.own_sum = level * u64::from(row.n_own);
        row.floor = level;
        row.own_top = level;
        row.is_changed = false;
        true
    }

    /// Tells the links of one of them, if it is an own flow of `link`, that it is to be raised to
    /// `level`; whether that concerns none of them but `link`.
    fn raise_flow(&mut self, link: u32, slot: u32, level: u64) -> bool {
        let flow = &self.flows[slot as usize];
        if flow.bottleneck != Bottleneck::link(link) {
            return true;
        }
        let more = level - flow.rate;
        self.found.push(slot);
        let mut is_free_to = true;
        for index in self.span(slot) {
            let other = self.hops[index].link;
            let row = &mut self.links[other as usize];
            row.known += more;
            row.others_top = row.others_top.max(level);
            let concerns_others = row.n_own > 0
                || row.n_free > 0
                || row.stage != Stage::Kept
                || row.known > row.capacity;
            is_free_to &= other == link || !concerns_others;
        }
        is_free_to
    }

    /// Takes back what links were told of flows that were to be raised to `level`, the last found.
    fn lower(&mut self, n_found: usize, level: u64) {
        for slot in self.found.split_off(n_found) {
            let more = level - self.flows[slot as usize].rate;
            for index in self.span(slot) {
                self.links[self.hops[index].link as usize].known -= more;
            }
        }
    }

    /// The level at which so many flows are left, to spare some of the tolerance for what comes next.
    fn eased(&self, level: u64, n: u32) -> u64 {
        match n {
            0 | 1 => level,
            _ => level - part(level, self.tolerance) / 2,
        }
    }

    /// The link is full at `level`.
    fn fill(&mut self, link: u32, level: u64, water: u64) {
        self.touch(link);
        let row = &mut self.links[link as usize];
        let keeps = row.keeps(level, self.tolerance);
        row.stage = Stage::Full;
        row.is_changed = false;
        let n_rising = row.n_own + row.n_free;
        let level = if keeps {
            level
        } else {
            self.eased(level, n_rising)
        };
        let members = std::mem::take(&mut self.links[link as usize].members);
        let mut others_top = 0;
        // What the link learns of flows that are to stay here, all at once.
        let (mut n_freed, mut n_changed, mut n_adopted) = (0, 0u32, 0);
        let (mut known_before, mut own_before) = (0, 0);
        for slot in &members {
            let flow = &self.flows[*slot as usize];
            let is_own = flow.bottleneck == Bottleneck::link(link);
            let stays_here = match is_own {
                true => !keeps && flow.rate != level,
                false => flow.is_free() || flow.rate > level,
            };
            if stays_here && flow.cap > level {
                n_changed += 1;
                if flow.is_free() {
                    n_freed += 1;
                } else {
                    known_before += flow.rate;
                }
                if is_own {
                    own_before += flow.rate;
                } else {
                    n_adopted += 1;
                }
                self.stay(*slot, level, Bottleneck::link(link), water);
            } else if stays_here {
                others_top = others_top.max(flow.cap);
                self.stay(*slot, flow.cap, Bottleneck::CAP, water);
            } else if !is_own {
                others_top = others_top.max(flow.rate);
            }
        }
        let row = &mut self.links[link as usize];
        row.members = members;
        row.others_top = others_top;
        row.n_free -= n_freed;
        row.known = row.known - known_before + level * u64::from(n_changed);
        row.n_own += n_adopted;
        row.own_sum = row.own_sum - own_before + level * u64::from(n_changed);
        if row.n_own > 0 && !keeps {
            row.floor = level;
            row.own_top = level;
        } else if n_adopted > 0 {
            row.floor = row.floor.min(level);
            row.own_top = row.own_top.max(level);
        }
    }

    /// The flow stays at `rate`; the link that is its bottleneck, if one is, sees to itself.
    fn stay(&mut self, slot: u32, rate: u64, bottleneck: Bottleneck, water: u64) {
        let flow = &mut self.flows[slot as usize];
        let was_free = flow.is_free();
        let (old, old_bottleneck) = (flow.rate, flow.bottleneck);
        let known_before = if was_free { 0 } else { old };
        flow.rate = rate;
        flow.bottleneck = bottleneck;
        self.found.push(slot);
        for index in self.span(slot) {
            let link = self.hops[index].link;
            if bottleneck == Bottleneck::link(link) {
                continue;
            }
            let row = &mut self.links[link as usize];
            row.n_free -= u32::from(was_free);
            row.known = row.known - known_before + rate;
            if old_bottleneck == Bottleneck::link(link) {
                row.release(old);
            }
            row.others_top = row.others_top.max(rate);
            // Without flows that wait for its level it has none, while it carries all.
            let is_waited_for = row.n_own + row.n_free > 0 || row.known > row.capacity;
            if rate == old || row.stage == Stage::Full || !is_waited_for {
                continue;
            }
            row.is_changed = true;
            // Nobody asks for more of it now, so that a turn that it has is early enough.
            let is_to_be_called = row.turn == UNLIMITED || row.turn > row.floor.max(water);
            self.touch(link);
            if is_to_be_called {
                self.call(link, water);
            }
        }
    }

    /// The free flows of a rising link are to be found at `level`, not before: the other links that
    /// they cross may have turns until then.
    fn promise(&mut self, link: u32, level: u64, water: u64) {
        let row = &mut self.links[link as usize];
        if level <= row.promised {
            return;
        }
        row.promised = level;
        row.until = row.until.max(level);
        for index in 0..self.links[link as usize].members.len() {
            let slot = self.links[link as usize].members[index];
            if !self.flows[slot as usize].is_free() {
                continue;
            }
            for index in 0..self.hops(slot).len() {
                let other = self.hops(slot)[index].link;
                let row = &mut self.links[other as usize];
                row.until = row.until.max(level);
                if other != link && row.stage != Stage::Full {
                    self.call(other, water);
                }
            }
        }
    }

    /// Sets the own flows of a link free, which are promised to be found at `level`.
    fn set_free(&mut self, link: u32, level: u64, water: u64) {
        let row = &mut self.links[link as usize];
        row.stage = Stage::Rising;
        row.promised = level;
        row.until = row.until.max(level);
        let members = std::mem::take(&mut row.members);
        // What the link learns of them, all at once.
        let (mut n_freed, mut freed, mut handed_over_top) = (0, 0, 0);
        for slot in &members {
            let flow = &self.flows[*slot as usize];
            let rate = flow.rate;
            if flow.bottleneck != Bottleneck::link(link) {
                continue;
            }
            if self.set_flow_free(link, *slot, water) {
                n_freed += 1;
                freed += rate;
            } else {
                handed_over_top = rate.max(handed_over_top);
            }
        }
        self.touch(link);
        let row = &mut self.links[link as usize];
        row.members = members;
        row.n_free += n_freed;
        row.known -= freed;
        row.others_top = row.others_top.max(handed_over_top);
        row.n_own = 0;
        row.own_sum = 0;
        row.floor = UNLIMITED;
        row.own_top = 0;
    }

    /// Sets an own flow of `link` free, unless another link that it crosses is full already, at the
    /// same level: that is its bottleneck then. Whether it is free; the link sees to itself.
    fn set_flow_free(&mut self, link: u32, slot: u32, water: u64) -> bool {
        let flow = &self.flows[slot as usize];
        let (rate, cap) = (flow.rate, flow.cap);
        let promised = self.links[link as usize].promised;
        let full = self
            .hops(slot)
            .iter()
            .find(|hop| hop.link != link && self.links[hop.link as usize].stage == Stage::Full);
        if let Some(full) = full.map(|hop| hop.link) {
            self.flows[slot as usize].bottleneck = Bottleneck::link(full);
            self.links[full as usize].adopt(rate);
            return false;
        }
        self.flows[slot as usize].bottleneck = Bottleneck::UNKNOWN;
        if cap != UNLIMITED {
            self.turns.push(Reverse(Turn::of_cap(cap, slot)));
        }
        for index in self.span(slot) {
            let other = self.hops[index].link;
            if other == link {
                continue;
            }
            self.touch(other);
            let row = &mut self.links[other as usize];
            row.known -= rate;
            row.n_free += 1;
            row.until = row.until.max(promised);
            if row.turn > water {
                self.call(other, water);
            }
        }
        true
    }
}

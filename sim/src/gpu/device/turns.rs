//! Turns of the groups of processes that share a device.

use schema::units::{SimDuration, SimTime};

use super::{Device, Group};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    pub(super) group: Option<usize>,
    /// When it began, or its group did after it had nothing to compute.
    pub(super) since: SimTime,
    pub(super) is_idle: bool,
    /// When it ends; `None` while no other group waits.
    pub(super) ends: Option<SimTime>,
    /// Until when nothing computes.
    pub(super) switching_until: Option<SimTime>,
}

impl Group {
    fn wants_turn(&self) -> bool {
        self.active.len() > self.n_paced
    }
}

impl Device {
    /// Round robin over the groups that have something to compute (work conserving).
    pub(super) fn take_turns(&mut self, now: SimTime) -> bool {
        if self.turn.switching_until.is_some() {
            return false;
        }
        let n = self.groups.len();
        let Some(current) = self.turn.group else {
            self.turn.group = self.groups.iter().position(Group::wants_turn);
            self.turn.since = now;
            return self.turn.group.is_some();
        };
        if n == 1 {
            return false;
        }
        let is_wanted = self.groups[current].wants_turn();
        if is_wanted && self.turn.is_idle {
            self.turn.since = now;
        }
        self.turn.is_idle = !is_wanted;
        let mut others = (1..n).map(|step| (current + step) % n);
        let Some(next) = others.find(|group| self.groups[*group].wants_turn()) else {
            self.turn.ends = None;
            return false;
        };
        if is_wanted {
            let slice = self.spec.time_slice.as_ps();
            let ends = *self.turn.ends.get_or_insert_with(|| {
                let whole = now.since(self.turn.since).as_ps() / slice + 1;
                self.turn.since + SimDuration::from_ps(whole * slice)
            });
            if ends > now {
                return false;
            }
        }
        self.turn = Turn {
            group: Some(next),
            since: now,
            is_idle: false,
            ends: None,
            switching_until: None,
        };
        if self.spec.context_switch > SimDuration::ZERO {
            self.turn.switching_until = Some(now + self.spec.context_switch);
        }
        true
    }
}

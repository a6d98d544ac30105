//! When flows are expected to end.

use schema::units::SimTime;

/// Children of an entry. Four are next to each other in memory, and the heap is half as deep as with
/// two.
const ARITY: usize = 4;

/// A heap of slots by the instant at which each is due and then by number, in which a slot can be
/// found. O(log n) a change.
#[derive(Clone, Debug, Default)]
pub(super) struct Completions {
    heap: Vec<Entry>,
    /// By slot: its place in the heap, or `ABSENT`.
    place: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: SimTime,
    number: u64,
    slot: u32,
}

impl Entry {
    fn precedes(&self, other: &Entry) -> bool {
        (self.at, self.number) < (other.at, other.number)
    }
}

impl Completions {
    /// The slot that is due first and when.
    pub(super) fn first(&self) -> Option<(SimTime, u32)> {
        self.heap.first().map(|entry| (entry.at, entry.slot))
    }

    /// A slot is due at an instant, whenever it was before; `number` decides between slots that are
    /// due at one instant.
    pub(super) fn set(&mut self, slot: u32, at: SimTime, number: u64) {
        let index = slot as usize;
        if self.place.len() <= index {
            self.place.resize(index + 1, ABSENT);
        }
        let entry = Entry { at, number, slot };
        if self.place[index] == ABSENT {
            self.heap.push(entry);
            self.sift_up(self.heap.len() - 1, entry);
            return;
        }
        let place = self.place[index] as usize;
        if entry.precedes(&self.heap[place]) {
            self.sift_up(place, entry);
        } else {
            self.sift_down(place, entry);
        }
    }

    /// A slot is not due any more.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(place) = self.place.get_mut(slot as usize) else {
            return;
        };
        let place = std::mem::replace(place, ABSENT) as usize;
        if place == ABSENT as usize {
            return;
        }
        let last = self.heap.pop().expect("the heap has the slot");
        if last.slot == slot {
            return;
        }
        if last.precedes(&self.heap[place]) {
            self.sift_up(place, last);
        } else {
            self.sift_down(place, last);
        }
    }

    fn sift_up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if !entry.precedes(&self.heap[parent]) {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        self.put(at, entry);
    }

    fn sift_down(&mut self, mut at: usize, entry: Entry) {
        loop {
            let first = at * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(mut least) = (first < last).then_some(first) else {
                break;
            };
            for child in first + 1..last {
                if self.heap[child].precedes(&self.heap[least]) {
                    least = child;
                }
            }
            if !self.heap[least].precedes(&entry) {
                break;
            }
            self.put(at, self.heap[least]);
            at = least;
        }
        self.put(at, entry);
    }

    fn put(&mut self, at: usize, entry: Entry) {
        self.heap[at] = entry;
        self.place[entry.slot as usize] = at as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_searched_list(
            steps in prop::collection::vec((0u32..12, prop::option::of(0u64..20)), 0..200),
        ) {
            let mut completions = Completions::default();
            let mut list = [None; 12];
            for (slot, at) in steps {
                list[slot as usize] = at;
                match at {
                    Some(at) => completions.set(slot, SimTime::from_ps(at), u64::from(slot)),
                    None => completions.remove(slot),
                }
                let first = (0..12u32).filter_map(|slot| Some((list[slot as usize]?, slot))).min();
                let found = completions.first().map(|(at, slot)| (at.as_ps(), slot));
                prop_assert_eq!(found, first);
            }
        }
    }
}

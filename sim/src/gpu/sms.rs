//! The streaming multiprocessors and the blocks on them.

use super::BlockShape;

/// What a multiprocessor has, or has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    pub(super) threads: u32,
    pub(super) blocks: u32,
    pub(super) registers: u32,
    pub(super) shared_memory: u64,
}

/// What a block takes of it.
#[derive(Clone, Copy, Debug)]
struct Need {
    threads: u32,
    registers: u32,
    shared_memory: u64,
}

impl Need {
    /// That of a block of this shape; more registers than any multiprocessor has are as good as the
    /// most that can be counted.
    fn of(shape: &BlockShape) -> Need {
        Need {
            threads: shape.threads,
            registers: shape.registers.saturating_mul(shape.threads),
            shared_memory: shape.shared_memory,
        }
    }
}

impl Room {
    /// How many more blocks of `shape` fit.
    pub(super) fn fit(&self, shape: &BlockShape) -> u32 {
        let by = |has: u64, each: u64| has.checked_div(each).unwrap_or(u64::MAX);
        let registers = u64::from(shape.registers) * u64::from(shape.threads);
        let fit = by(self.threads.into(), shape.threads.into())
            .min(self.blocks.into())
            .min(by(self.registers.into(), registers))
            .min(by(self.shared_memory, shape.shared_memory));
        u32::try_from(fit).unwrap_or(u32::MAX)
    }

    /// Whether one fits: as [`Room::fit`], without dividing.
    const fn has(&self, need: &Need) -> bool {
        self.threads >= need.threads
            && self.blocks > 0
            && self.registers >= need.registers
            && self.shared_memory >= need.shared_memory
    }

    const fn take(&mut self, need: &Need, n: u32) {
        self.threads -= n * need.threads;
        self.blocks -= n;
        self.registers -= n * need.registers;
        self.shared_memory -= n as u64 * need.shared_memory;
    }

    const fn give_back(&mut self, need: &Need, n: u32) {
        self.threads += n * need.threads;
        self.blocks += n;
        self.registers += n * need.registers;
        self.shared_memory += n as u64 * need.shared_memory;
    }
}

/// Blocks that were placed together, by a number that their kernel knows; it is used again when they
/// have ended.
pub(super) type Wave = u32;

/// Multiprocessors that hold the same blocks: which of them is which does not matter.
#[derive(Clone, Debug)]
struct Alike {
    n: u32,
    room: Room,
    /// How many blocks of each wave are on each of them, in the order of placement.
    holds: Vec<(Wave, u32)>,
    /// Whether this has changed since all that hold the same were last joined.
    is_touched: bool,
}

impl Alike {
    fn is_same(&self, other: &Alike) -> bool {
        self.room == other.room && self.holds == other.holds
    }
}

/// Those that have room for the blocks which are being placed.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Their place in the order.
    place: usize,
    kind: usize,
    /// Threads free; zero when they have no more room.
    threads: u32,
    /// How many blocks each of them gets.
    each: u32,
}

/// All multiprocessors of a GPU, as far as one of the groups that take turns sees them.
#[derive(Clone, Debug)]
pub(super) struct Sms {
    /// Where each kind stays while it exists; those not in the order are free.
    kinds: Vec<Alike>,
    free: Vec<usize>,
    /// All kinds: of those with as many threads free the first gets blocks first.
    order: Vec<usize>,
    /// Number of kinds that hold nothing.
    n_empty: usize,
    /// By wave, the kinds that hold blocks of it, by bit.
    holders: Vec<u64>,
    /// Words of those of one wave.
    n_words: usize,
    /// Numbers of waves that have ended, and one that was never used; the last is the next to be.
    unused: Vec<Wave>,
    n_waves: Wave,
    /// Whether joining those that hold the same once more would change nothing.
    is_merged: bool,
    /// Scratch.
    candidates: Vec<Candidate>,
}

impl Sms {
    pub(super) fn new(n: u32, room: Room) -> Sms {
        Sms {
            kinds: vec![Alike {
                n,
                room,
                holds: Vec::new(),
                is_touched: false,
            }],
            free: Vec::new(),
            order: vec![0],
            n_empty: 1,
            holders: Vec::new(),
            n_words: n.div_ceil(u64::BITS) as usize,
            unused: vec![0],
            n_waves: 1,
            is_merged: true,
            candidates: Vec::new(),
        }
    }

    /// The number of the next wave to be placed.
    pub(super) fn unused_wave(&self) -> Wave {
        *self.unused.last().expect("there is always one more")
    }

    /// Whether to place blocks for which there is no room changes nothing.
    pub(super) const fn is_merged(&self) -> bool {
        self.is_merged
    }

    /// Places up to `want` blocks of `wave`, each on the multiprocessor with the most threads free of
    /// those with room; how many there was room for.
    pub(super) fn place(&mut self, shape: &BlockShape, want: u32, wave: Wave) -> u32 {
        let need = Need::of(shape);
        self.find_room(&need);
        let (left, rest) = self.divide(shape, &need, want);
        let n_placed = want - left;
        if n_placed > 0 {
            self.begin(wave);
            self.hold(wave);
        }
        if let Some((place, on)) = rest {
            let kind = self.split(place, on);
            self.kinds[kind].room.take(&need, 1);
            self.candidates.clear();
            self.candidates.push(Candidate {
                place,
                kind,
                threads: 0,
                each: 1,
            });
            self.hold(wave);
        }
        if n_placed > 0 || !self.is_merged {
            self.merge();
        }
        n_placed
    }

    /// Makes candidates of all kinds with room for a block, in their order.
    fn find_room(&mut self, need: &Need) {
        let (kinds, candidates) = (&self.kinds[..], &mut self.candidates);
        candidates.clear();
        for (place, kind) in self.order.iter().copied().enumerate() {
            let room = &kinds[kind].room;
            if room.has(need) {
                candidates.push(Candidate {
                    place,
                    kind,
                    threads: room.threads,
                    each: 0,
                });
            }
        }
    }

    /// Divides `want` blocks among the candidates: how many are left, and which of the candidates
    /// are to get one more on only some of them, and on how many.
    fn divide(
        &mut self,
        shape: &BlockShape,
        need: &Need,
        want: u32,
    ) -> (u32, Option<(usize, u32)>) {
        let (kinds, candidates) = (&mut self.kinds[..], &mut self.candidates[..]);
        let mut fitting = candidates.len();
        let mut most = candidates.iter().map(|c| c.threads).max().unwrap_or(0);
        let mut left = want;
        while left > 0 && fitting > 0 {
            // One block on each of those with the most; if no others have room, as many as all take.
            let is_last = fitting == 1;
            let mut next_most = 0;
            for candidate in candidates.iter_mut() {
                if candidate.threads == most {
                    let kind = &mut kinds[candidate.kind];
                    if left < kind.n {
                        return (0, (left > 0).then_some((candidate.place, left)));
                    }
                    let levels = if is_last {
                        kind.room.fit(shape).min(left / kind.n)
                    } else {
                        1
                    };
                    kind.room.take(need, levels);
                    candidate.each += levels;
                    left -= levels * kind.n;
                    candidate.threads = kind.room.threads;
                    if !kind.room.has(need) {
                        candidate.threads = 0;
                        fitting -= 1;
                    }
                }
                next_most = next_most.max(candidate.threads);
            }
            most = next_most;
        }
        (left, None)
    }

    /// Counts the number of a wave as used.
    fn begin(&mut self, wave: Wave) {
        if self.unused_wave() == wave {
            self.unused.pop();
            if self.unused.is_empty() {
                self.unused.push(self.n_waves);
                self.n_waves += 1;
            }
        }
        let end = (wave as usize + 1) * self.n_words;
        if self.holders.len() < end {
            self.holders.resize(end, 0);
        }
    }

    /// Notes that the candidates have got their blocks of `wave`.
    fn hold(&mut self, wave: Wave) {
        let first = wave as usize * self.n_words;
        let holders = &mut self.holders[first..first + self.n_words];
        for candidate in &self.candidates {
            if candidate.each == 0 {
                continue;
            }
            let (word, bit) = bit(candidate.kind);
            let kind = &mut self.kinds[candidate.kind];
            kind.is_touched = true;
            if holders[word] & bit == 0 {
                holders[word] |= bit;
                self.n_empty -= usize::from(kind.holds.is_empty());
                kind.holds.push((wave, candidate.each));
            } else {
                let held = kind.holds.iter_mut().find(|(held, _)| *held == wave);
                held.expect("its blocks are there").1 += candidate.each;
            }
        }
    }

    /// Leaves `n` of a kind at its place, and moves the others to a kind of their own behind it; what
    /// stays.
    fn split(&mut self, place: usize, n: u32) -> usize {
        let kind = self.order[place];
        let rest = self.free.pop().unwrap_or_else(|| {
            self.kinds.push(Alike {
                holds: Vec::new(),
                ..self.kinds[kind]
            });
            self.kinds.len() - 1
        });
        let [row, new] = self
            .kinds
            .get_disjoint_mut([kind, rest])
            .expect("they differ");
        new.n = row.n - n;
        new.room = row.room;
        new.is_touched = row.is_touched;
        new.holds.extend_from_slice(&row.holds);
        row.n = n;
        self.n_empty += usize::from(row.holds.is_empty());
        let (word, bit) = bit(rest);
        for (wave, _) in &row.holds {
            self.holders[*wave as usize * self.n_words + word] |= bit;
        }
        self.order.insert(place + 1, rest);
        kind
    }

    /// Takes the blocks of `wave` away, all that there are; its number may be used again.
    pub(super) fn free(&mut self, shape: &BlockShape, wave: Wave) {
        let need = Need::of(shape);
        let first = wave as usize * self.n_words;
        let Some(holders) = self.holders.get_mut(first..first + self.n_words) else {
            return; // None of it was ever placed.
        };
        for (index, word) in holders.iter_mut().enumerate() {
            let mut word = std::mem::take(word);
            while word != 0 {
                let kind = index * u64::BITS as usize + word.trailing_zeros() as usize;
                word &= word - 1;
                let kind = &mut self.kinds[kind];
                kind.room.give_back(&need, take_out(&mut kind.holds, wave));
                kind.is_touched = true;
                self.n_empty += usize::from(kind.holds.is_empty());
            }
        }
        self.unused.push(wave);
        self.merge();
    }

    /// Joins those that hold the same: the empty ones, and others while there are few. It only saves
    /// work.
    fn merge(&mut self) {
        let all = self.order.len() <= FEW;
        if all || self.n_empty > 1 {
            let mut n_kept = 0;
            for place in 0..self.order.len() {
                let kind = self.order[place];
                match self.find_same(&self.order[..n_kept], kind, all) {
                    Some(same) => self.join(same, kind),
                    None => {
                        self.order[n_kept] = kind;
                        n_kept += 1;
                    }
                }
            }
            self.order.truncate(n_kept);
        }
        self.is_merged = all || self.order.len() > FEW;
        if all {
            for kind in &self.order {
                self.kinds[*kind].is_touched = false;
            }
        }
    }

    /// The first of the `earlier` kinds that holds the same, if it is to be joined.
    fn find_same(&self, earlier: &[usize], kind: usize, all: bool) -> Option<usize> {
        let this = &self.kinds[kind];
        if !all && !this.holds.is_empty() {
            return None;
        }
        let is_same = |other: &&usize| {
            let other = &self.kinds[**other];
            // Of those that have not changed no two are the same.
            (this.is_touched || other.is_touched) && other.is_same(this)
        };
        earlier.iter().find(is_same).copied()
    }

    /// Those of the kind `gone` are counted to another that holds the same.
    fn join(&mut self, kind: usize, gone: usize) {
        self.kinds[kind].n += self.kinds[gone].n;
        let mut holds = std::mem::take(&mut self.kinds[gone].holds);
        self.n_empty -= usize::from(holds.is_empty());
        let (word, bit) = bit(gone);
        for (wave, _) in holds.drain(..) {
            self.holders[wave as usize * self.n_words + word] &= !bit;
        }
        self.kinds[gone].holds = holds;
        self.free.push(gone);
    }
}

/// Takes the blocks of `wave` off a list, those behind it moving up: how many they were.
fn take_out(holds: &mut Vec<(Wave, u32)>, wave: Wave) -> u32 {
    // From the end on, since moving a few in memory costs more than to swap them.
    let mut last = holds.pop().expect("its blocks are there");
    let mut index = holds.len();
    while last.0 != wave {
        index -= 1;
        std::mem::swap(&mut last, &mut holds[index]);
    }
    last.1
}

/// Where the bit of a kind is among those of a wave.
const fn bit(kind: usize) -> (usize, u64) {
    let bits = u64::BITS as usize;
    (kind / bits, 1 << (kind % bits))
}

/// How many kinds of multiprocessors are few enough to compare each with each.
const FEW: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(threads: u32) -> Room {
        Room {
            threads,
            blocks: 32,
            registers: 65_536,
            shared_memory: 64 << 10,
        }
    }

    fn shape(threads: u32) -> BlockShape {
        BlockShape {
            threads,
            registers: 0,
            shared_memory: 0,
        }
    }

    #[test]
    fn blocks_go_where_there_is_most_room() {
        let mut sms = Sms::new(2, room(2048));
        // One SM holds a block of 1024 threads, so the next three go to the other, and then to both.
        assert_eq!(sms.place(&shape(1024), 1, 0), 1);
        assert_eq!(sms.place(&shape(512), 3, 1), 3);
        let free: Vec<u32> = sms
            .order
            .iter()
            .map(|kind| sms.kinds[*kind].room.threads)
            .collect();
        assert_eq!(free, [512, 1024]);
    }

    #[test]
    fn what_is_left_on_several_is_no_room_for_a_block() {
        let mut sms = Sms::new(2, room(2048));
        // Two blocks of 768 threads fit on each; 512 are left on each, 1024 together.
        assert_eq!(sms.place(&shape(768), 8, 0), 4);
        assert_eq!(sms.place(&shape(1024), 1, 1), 0);
        assert_eq!(sms.place(&shape(512), 9, 2), 2);
    }

    #[test]
    fn registers_and_shared_memory_limit_too() {
        let registers = BlockShape {
            threads: 256,
            registers: 128,
            shared_memory: 0,
        };
        assert_eq!(Sms::new(1, room(2048)).place(&registers, 9, 0), 2);
        let shared = BlockShape {
            threads: 32,
            registers: 0,
            shared_memory: 20 << 10,
        };
        assert_eq!(Sms::new(1, room(2048)).place(&shared, 9, 0), 3);
    }

    proptest! {
        /// From any state a placement is that on multiprocessors kept one by one. Which of equals gets
        /// a block is not defined, so states are compared as multisets.
        #[test]
        fn placement_is_that_of_single_multiprocessors(
            n in 1u32..12,
            steps in proptest::collection::vec((prop_oneof![Just(128u32), Just(384), Just(768), Just(1024)], 1u32..40, any::<bool>()), 1..25),
        ) {
            let rooms = |sms: &Sms| {
                let kinds = sms.order.iter().map(|kind| &sms.kinds[*kind]);
                let each = kinds.flat_map(|kind| vec![kind.room; kind.n as usize]);
                each.collect::<Vec<Room>>()
            };
            let threads = |rooms: &[Room]| {
                let mut threads: Vec<u32> = rooms.iter().map(|room| room.threads).collect();
                threads.sort_unstable();
                threads
            };
            let mut sms = Sms::new(n, room(2048));
            let mut waves: Vec<(Wave, BlockShape, u32)> = Vec::new();
            for (number, (size, want, frees)) in steps.into_iter().enumerate() {
                let shape = shape(size);
                let wave = number as Wave;
                let mut single = rooms(&sms);
                let mut expected = 0;
                while expected < want {
                    let fitting = single.iter_mut().filter(|room| room.fit(&shape) > 0);
                    let Some(room) = fitting.max_by_key(|room| room.threads) else { break };
                    room.take(&Need::of(&shape), 1);
                    expected += 1;
                }
                let placed = sms.place(&shape, want, wave);
                prop_assert_eq!(placed, expected);
                prop_assert_eq!(threads(&rooms(&sms)), threads(&single));
                waves.push((wave, shape, placed));
                if frees {
                    let (wave, shape, _) = waves.remove(waves.len() / 2);
                    sms.free(&shape, wave);
                }
                let held: u32 = waves.iter().map(|(_, shape, placed)| shape.threads * placed).sum();
                let free: u32 = rooms(&sms).iter().map(|room| room.threads).sum();
                prop_assert_eq!(held + free, n * 2048);
            }
        }
    }
}

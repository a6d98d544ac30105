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

    const fn take(&mut self, shape: &BlockShape, n: u32) {
        self.threads -= n * shape.threads;
        self.blocks -= n;
        self.registers -= n * shape.registers * shape.threads;
        self.shared_memory -= n as u64 * shape.shared_memory;
    }

    const fn give_back(&mut self, shape: &BlockShape, n: u32) {
        self.threads += n * shape.threads;
        self.blocks += n;
        self.registers += n * shape.registers * shape.threads;
        self.shared_memory += n as u64 * shape.shared_memory;
    }
}

/// Blocks that were placed together, by a number that their kernel knows.
pub(super) type Wave = u64;

/// Multiprocessors that hold the same blocks: which of them is which does not matter.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Alike {
    n: u32,
    room: Room,
    /// How many blocks of each wave are on each of them, in the order of placement.
    holds: Vec<(Wave, u32)>,
}

/// All multiprocessors of a GPU, as far as one of the groups that take turns sees them.
#[derive(Clone, Debug)]
pub(super) struct Sms {
    alike: Vec<Alike>,
}

impl Sms {
    pub(super) fn new(n: u32, room: Room) -> Sms {
        let holds = Vec::new();
        Sms {
            alike: vec![Alike { n, room, holds }],
        }
    }

    /// Places up to `want` blocks of `wave`, each on the multiprocessor with the most threads free of
    /// those with room; how many there was room for.
    pub(super) fn place(&mut self, shape: &BlockShape, want: u32, wave: Wave) -> u32 {
        let mut left = want;
        while left > 0 {
            let fits = |alike: &Alike| alike.room.fit(shape) > 0;
            let fitting = self.alike.iter().enumerate().filter(|(_, a)| fits(a));
            // The first of equals.
            let best = fitting.rev().max_by_key(|(_, a)| a.room.threads);
            let Some((index, best)) = best else { break };
            let is_only = self.alike.iter().filter(|a| fits(a)).count() == 1;
            // One block on each at a time; if no others have room, as many as all can take.
            let levels = if is_only {
                best.room.fit(shape).min((left / best.n).max(1))
            } else {
                1
            };
            let on = best.n.min(left / levels);
            self.put(index, on, shape, levels, wave);
            left -= on * levels;
        }
        want - left
    }

    /// Puts `each` blocks on `n` of the multiprocessors `index`.
    fn put(&mut self, index: usize, n: u32, shape: &BlockShape, each: u32, wave: Wave) {
        let place = if n < self.alike[index].n {
            let mut rest = self.alike[index].clone();
            rest.n -= n;
            self.alike[index].n = n;
            self.alike.insert(index + 1, rest);
            index
        } else {
            index
        };
        let alike = &mut self.alike[place];
        alike.room.take(shape, each);
        match alike.holds.iter_mut().find(|(held, _)| *held == wave) {
            Some((_, count)) => *count += each,
            None => alike.holds.push((wave, each)),
        }
        self.merge(place);
    }

    /// Takes the blocks of `wave` away.
    pub(super) fn free(&mut self, shape: &BlockShape, wave: Wave) {
        let mut index = 0;
        while index < self.alike.len() {
            let alike = &mut self.alike[index];
            if let Some(at) = alike.holds.iter().position(|(held, _)| *held == wave) {
                let (_, count) = alike.holds.remove(at);
                alike.room.give_back(shape, count);
                if self.merge(index) {
                    continue;
                }
            }
            index += 1;
        }
    }

    /// Joins those at `index` with others that hold the same, if there are any.
    fn merge(&mut self, index: usize) -> bool {
        let this = &self.alike[index];
        let same = |other: &Alike| other.room == this.room && other.holds == this.holds;
        let other = (self.alike.iter().enumerate()).find(|(i, other)| *i != index && same(other));
        let Some((other, _)) = other else {
            return false;
        };
        let n = self.alike[index].n;
        self.alike[other].n += n;
        self.alike.remove(index);
        true
    }
}

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
        let free: Vec<u32> = sms.alike.iter().map(|a| a.room.threads).collect();
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
        /// Against multiprocessors that are kept one by one.
        #[test]
        fn placement_is_that_of_single_multiprocessors(
            n in 1u32..12,
            steps in proptest::collection::vec((prop_oneof![Just(128u32), Just(384), Just(768), Just(1024)], 1u32..40, any::<bool>()), 1..25),
        ) {
            let mut sms = Sms::new(n, room(2048));
            let mut single: Vec<(Room, Vec<Wave>)> = vec![(room(2048), Vec::new()); n as usize];
            let mut waves: Vec<(Wave, BlockShape)> = Vec::new();
            for (number, (threads, want, frees)) in steps.into_iter().enumerate() {
                let shape = shape(threads);
                let wave = number as Wave;
                let placed = sms.place(&shape, want, wave);
                let mut expected = 0;
                while expected < want {
                    let best = single.iter_mut().filter(|(room, _)| room.fit(&shape) > 0).rev().max_by_key(|(room, _)| room.threads);
                    let Some((room, held)) = best else { break };
                    room.take(&shape, 1);
                    held.push(wave);
                    expected += 1;
                }
                prop_assert_eq!(placed, expected);
                waves.push((wave, shape));
                if frees {
                    let (wave, shape) = waves.remove(waves.len() / 2);
                    sms.free(&shape, wave);
                    for (room, held) in &mut single {
                        let n = held.iter().filter(|w| **w == wave).count() as u32;
                        room.give_back(&shape, n);
                        held.retain(|w| *w != wave);
                    }
                }
                let mut rooms: Vec<u32> = sms.alike.iter().flat_map(|a| vec![a.room.threads; a.n as usize]).collect();
                let mut others: Vec<u32> = single.iter().map(|(room, _)| room.threads).collect();
                rooms.sort_unstable();
                others.sort_unstable();
                prop_assert_eq!(rooms, others);
            }
        }
    }
}

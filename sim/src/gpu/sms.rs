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

    /// Whether one fits: as [`Room::fit`], without dividing.
    fn has(&self, shape: &BlockShape) -> bool {
        self.threads >= shape.threads
            && self.blocks > 0
            && u64::from(self.registers) >= u64::from(shape.registers) * u64::from(shape.threads)
            && self.shared_memory >= shape.shared_memory
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
            let (mut most, mut fitting) = (0, 0);
            for alike in self.alike.iter().filter(|alike| alike.room.has(shape)) {
                fitting += 1;
                most = most.max(alike.room.threads);
            }
            if fitting == 0 {
                break;
            }
            // One block on each of those with the most; if no others have room, as many as all take.
            let mut index = 0;
            while index < self.alike.len() && left > 0 {
                let alike = &self.alike[index];
                if alike.room.threads == most && alike.room.has(shape) {
                    let levels = match fitting {
                        1 => alike.room.fit(shape).min((left / alike.n).max(1)),
                        _ => 1,
                    };
                    let on = alike.n.min(left / levels);
                    self.put(index, on, shape, levels, wave);
                    left -= on * levels;
                }
                index += 1;
            }
        }
        self.merge();
        want - left
    }

    /// Puts `each` blocks on `n` of the multiprocessors `index`.
    fn put(&mut self, index: usize, n: u32, shape: &BlockShape, each: u32, wave: Wave) {
        if n < self.alike[index].n {
            let mut rest = self.alike[index].clone();
            rest.n -= n;
            self.alike[index].n = n;
            self.alike.insert(index + 1, rest);
        }
        let alike = &mut self.alike[index];
        alike.room.take(shape, each);
        match alike.holds.iter_mut().find(|(held, _)| *held == wave) {
            Some((_, count)) => *count += each,
            None => alike.holds.push((wave, each)),
        }
    }

    /// Takes the blocks of `wave` away, of which there are so many.
    pub(super) fn free(&mut self, shape: &BlockShape, wave: Wave, blocks: u32) {
        let mut left = blocks;
        for alike in &mut self.alike {
            if let Some(at) = alike.holds.iter().position(|(held, _)| *held == wave) {
                let (_, count) = alike.holds.remove(at);
                alike.room.give_back(shape, count);
                left -= count * alike.n;
                if left == 0 {
                    break;
                }
            }
        }
        self.merge();
    }

    /// Joins those that hold the same: the empty ones, and others while there are few. It only saves
    /// work.
    fn merge(&mut self) {
        let all = self.alike.len() <= FEW;
        let mut index = 0;
        while index < self.alike.len() {
            let this = &self.alike[index];
            let earlier = (all || this.holds.is_empty()).then(|| {
                let same = |other: &Alike| other.room == this.room && other.holds == this.holds;
                self.alike[..index].iter().position(same)
            });
            match earlier.flatten() {
                Some(earlier) => {
                    let gone = self.alike.remove(index);
                    self.alike[earlier].n += gone.n;
                }
                None => index += 1,
            }
        }
    }
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
        /// From any state a placement is that on multiprocessors kept one by one. Which of equals gets
        /// a block is not defined, so states are compared as multisets.
        #[test]
        fn placement_is_that_of_single_multiprocessors(
            n in 1u32..12,
            steps in proptest::collection::vec((prop_oneof![Just(128u32), Just(384), Just(768), Just(1024)], 1u32..40, any::<bool>()), 1..25),
        ) {
            let rooms = |sms: &Sms| {
                let each = sms.alike.iter().flat_map(|a| vec![a.room; a.n as usize]);
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
                    room.take(&shape, 1);
                    expected += 1;
                }
                let placed = sms.place(&shape, want, wave);
                prop_assert_eq!(placed, expected);
                prop_assert_eq!(threads(&rooms(&sms)), threads(&single));
                waves.push((wave, shape, placed));
                if frees {
                    let (wave, shape, placed) = waves.remove(waves.len() / 2);
                    sms.free(&shape, wave, placed);
                }
                let held: u32 = waves.iter().map(|(_, shape, placed)| shape.threads * placed).sum();
                let free: u32 = rooms(&sms).iter().map(|room| room.threads).sum();
                prop_assert_eq!(held + free, n * 2048);
            }
        }
    }
}

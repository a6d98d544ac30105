//! The streaming multiprocessors and the blocks on them.
//!
//! What each has left, and how many blocks of which wave it holds, is in arrays by multiprocessor,
//! over which the loops go as vectors: once different kernels have left theirs, hardly two hold the
//! same.

use super::BlockShape;

/// What a multiprocessor has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    pub(super) threads: u32,
    pub(super) blocks: u32,
    pub(super) registers: u32,
    pub(super) shared_memory: u64,
}

impl Room {
    /// How many blocks of `shape` fit.
    pub(super) fn fit(&self, shape: &BlockShape) -> u32 {
        let by = |has: u64, each: u64| has.checked_div(each).unwrap_or(u64::MAX);
        let registers = u64::from(shape.registers) * u64::from(shape.threads);
        let fit = by(self.threads.into(), shape.threads.into())
            .min(self.blocks.into())
            .min(by(self.registers.into(), registers))
            .min(by(self.shared_memory, shape.shared_memory));
        u32::try_from(fit).unwrap_or(u32::MAX)
    }
}

/// What a block takes of a multiprocessor, beside its place. Signed as all that is counted here: of
/// those, vectors have comparisons.
#[derive(Clone, Copy, Debug)]
struct Need {
    threads: i32,
    registers: i32,
    shared_memory: i32,
}

/// Blocks that were placed together, by a number that their kernel knows; it is used again when they
/// have ended.
pub(super) type Wave = u32;

/// All multiprocessors of a GPU, as far as one of the groups that take turns sees them.
#[derive(Clone, Debug)]
pub(super) struct Sms {
    /// An empty one.
    whole: Room,
    /// What each has left.
    threads: Vec<i32>,
    blocks: Vec<i32>,
    registers: Vec<i32>,
    shared_memory: Vec<i32>,
    /// By wave, how many of its blocks each holds.
    holds: Vec<Box<[i32]>>,
    /// Numbers of waves that have ended, and one that was never used; the last is the next to be.
    unused: Vec<Wave>,
    /// Scratch: one more than the threads that each has left, zero if it has no room.
    free: Vec<i32>,
}

/// As much of it as is counted.
fn count(n: impl TryInto<i32>) -> i32 {
    n.try_into().unwrap_or(i32::MAX)
}

impl Sms {
    pub(super) fn new(n: u32, room: Room) -> Sms {
        let n = n as usize;
        Sms {
            whole: room,
            threads: vec![count(room.threads); n],
            blocks: vec![count(room.blocks); n],
            registers: vec![count(room.registers); n],
            shared_memory: vec![count(room.shared_memory); n],
            holds: vec![vec![0; n].into()],
            unused: vec![0],
            free: vec![0; n],
        }
    }

    /// What a block of this shape takes; nothing of what never limits.
    fn need(&self, shape: &BlockShape) -> Need {
        let registers = u64::from(shape.registers) * u64::from(shape.threads);
        Need {
            threads: count(shape.threads),
            registers: match self.whole.registers {
                u32::MAX => 0,
                _ => count(registers),
            },
            shared_memory: match self.whole.shared_memory {
                u64::MAX => 0,
                _ => count(shape.shared_memory),
            },
        }
    }

    /// The number of the next wave to be placed.
    pub(super) fn unused_wave(&self) -> Wave {
        *self.unused.last().expect("there is always one more")
    }

    /// Places up to `want` blocks of `wave`, each on the multiprocessor with the most threads free of
    /// those with room, of several on the first; how many there was room for.
    pub(super) fn place(&mut self, shape: &BlockShape, want: u32, wave: Wave) -> u32 {
        let need = self.need(shape);
        let want = count(want);
        let mut left = want;
        let mut most = self.find_room(&need);
        while left > 0 && most > 0 {
            let n_most = count(self.free.iter().filter(|free| **free == most).count());
            if left < n_most {
                let end = self.end_of(left, most);
                self.place_on_each(&need, 1, wave, most, end);
                left = 0;
            } else {
                let each = if left < 2 * n_most {
                    1
                } else {
                    self.levels(&need, most).min(left / n_most)
                };
                left -= each * n_most;
                most = self.place_on_each(&need, each, wave, most, self.free.len());
            }
        }
        if left < want && self.unused_wave() == wave {
            self.unused.pop();
            if self.unused.is_empty() {
                let n_waves =
                    Wave::try_from(self.holds.len()).expect("waves are counted in 32 bits");
                self.unused.push(n_waves);
                self.holds.push(vec![0; self.free.len()].into());
            }
        }
        (want - left).unsigned_abs()
    }

    /// Finds out which have room for a block; what is free of that which has most.
    fn find_room(&mut self, need: &Need) -> i32 {
        let n = self.free.len();
        let (threads, blocks) = (&self.threads[..n], &self.blocks[..n]);
        let (registers, shared_memory) = (&self.registers[..n], &self.shared_memory[..n]);
        let mut most = 0;
        for (sm, free) in self.free.iter_mut().enumerate() {
            let has_room = (threads[sm] >= need.threads)
                & (blocks[sm] > 0)
                & (registers[sm] >= need.registers)
                & (shared_memory[sm] >= need.shared_memory);
            *free = if has_room { threads[sm] + 1 } else { 0 };
            most = most.max(*free);
        }
        most
    }

    /// How many blocks each of those with `most` free can get before any of the others gets one.
    fn levels(&self, need: &Need, most: i32) -> i32 {
        let others = self.free.iter().filter(|free| **free != most);
        let second = others.copied().max().unwrap_or(0);
        let levels = 1 + (most - second - 1) / need.threads.max(1);
        if levels == 1 {
            return 1;
        }
        let fit = |left: &[i32], each: i32| {
            let of_most = left.iter().zip(&self.free);
            let left = of_most.filter(|(_, free)| **free == most);
            let least = left.map(|(left, _)| *left).min().unwrap_or(0);
            least.checked_div(each).unwrap_or(i32::MAX)
        };
        levels
            .min(fit(&self.threads, need.threads))
            .min(fit(&self.blocks, 1))
            .min(fit(&self.registers, need.registers))
            .min(fit(&self.shared_memory, need.shared_memory))
    }

    /// Where the first `n` of those with `most` free end.
    fn end_of(&self, n: i32, most: i32) -> usize {
        let (mut seen, mut before) = (0, 0);
        for free in &self.free {
            seen += i32::from(*free == most);
            before += usize::from(seen < n);
        }
        before + 1
    }

    /// Places `each` blocks on each of those with `most` free, up to the `end`; what is then free of
    /// that which has most of these.
    fn place_on_each(&mut self, need: &Need, each: i32, wave: Wave, most: i32, end: usize) -> i32 {
        let (threads, blocks) = (&mut self.threads[..end], &mut self.blocks[..end]);
        let registers = &mut self.registers[..end];
        let shared_memory = &mut self.shared_memory[..end];
        let holds = &mut self.holds[wave as usize][..end];
        let all = Need {
            threads: each * need.threads,
            registers: each * need.registers,
            shared_memory: each * need.shared_memory,
        };
        let mut next = 0;
        for (sm, free) in self.free[..end].iter_mut().enumerate() {
            let has_most = *free == most;
            let taken = |what: i32| if has_most { what } else { 0 };
            threads[sm] -= taken(all.threads);
            blocks[sm] -= taken(each);
            registers[sm] -= taken(all.registers);
            shared_memory[sm] -= taken(all.shared_memory);
            holds[sm] += taken(each);
            let has_room = (threads[sm] >= need.threads)
                & (blocks[sm] > 0)
                & (registers[sm] >= need.registers)
                & (shared_memory[sm] >= need.shared_memory);
            *free = if has_room { threads[sm] + 1 } else { 0 };
            next = next.max(*free);
        }
        next
    }

    /// Takes the blocks of `wave` away, all that there are; its number may be used again.
    pub(super) fn free(&mut self, shape: &BlockShape, wave: Wave) {
        let need = self.need(shape);
        let n = self.free.len();
        let (threads, blocks) = (&mut self.threads[..n], &mut self.blocks[..n]);
        let registers = &mut self.registers[..n];
        let shared_memory = &mut self.shared_memory[..n];
        for (sm, held) in self.holds[wave as usize].iter_mut().enumerate().take(n) {
            let n = std::mem::take(held);
            threads[sm] += n * need.threads;
            blocks[sm] += n;
            registers[sm] += n * need.registers;
            shared_memory[sm] += n * need.shared_memory;
        }
        self.unused.push(wave);
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
        assert_eq!(sms.threads, [512, 1024]);
    }

    #[test]
    fn what_is_left_on_several_is_no_room_for_a_block() {
        let mut sms = Sms::new(2, room(2048));
        // Two blocks of 768 threads fit on each; 512 are left on each, 1024 together.
        assert_eq!(sms.place(&shape(768), 8, 0), 4);
        assert_eq!(sms.place(&shape(1024), 1, 1), 0);
        assert_eq!(sms.place(&shape(512), 9, 1), 2);
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
        /// A placement is that of one block after the other.
        #[test]
        fn placement_is_that_of_single_multiprocessors(
            n in 1u32..12,
            steps in proptest::collection::vec((prop_oneof![Just(128u32), Just(384), Just(768), Just(1024)], 1u32..40, any::<bool>()), 1..25),
        ) {
            let mut sms = Sms::new(n, room(2048));
            let mut waves: Vec<(Wave, BlockShape, u32)> = Vec::new();
            for (size, want, frees) in steps {
                let shape = shape(size);
                let mut threads = sms.threads.clone();
                let size = count(size);
                let mut expected = 0;
                while expected < want {
                    // The first of several with the most.
                    let (sm, free) = (threads.iter_mut().enumerate())
                        .max_by_key(|(sm, free)| (**free, std::cmp::Reverse(*sm)))
                        .expect("there is a multiprocessor");
                    if *free < size || sms.blocks[sm] == 0 {
                        break;
                    }
                    *free -= size;
                    expected += 1;
                }
                let wave = sms.unused_wave();
                let placed = sms.place(&shape, want, wave);
                prop_assert_eq!(placed, expected);
                prop_assert_eq!(&sms.threads, &threads);
                if placed == 0 {
                    continue;
                }
                waves.push((wave, shape, placed));
                if frees {
                    let (wave, shape, _) = waves.remove(waves.len() / 2);
                    sms.free(&shape, wave);
                }
                let held: u32 = waves.iter().map(|(_, shape, placed)| shape.threads * placed).sum();
                let free: i32 = sms.threads.iter().sum();
                prop_assert_eq!(count(held) + free, count(n * 2048));
            }
        }
    }
}

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

/// What a block takes of a multiprocessor, beside its place.
#[derive(Clone, Copy, Debug)]
struct Need {
    threads: u32,
    registers: u32,
    shared_memory: u32,
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
    threads: Vec<u32>,
    blocks: Vec<u32>,
    registers: Vec<u32>,
    shared_memory: Vec<u32>,
    /// By wave, how many of its blocks each holds.
    holds: Vec<Box<[u32]>>,
    /// Numbers of waves that have ended, and one that was never used; the last is the next to be.
    unused: Vec<Wave>,
    /// Scratch: one more than the threads that each has left, zero if it has no room.
    free: Vec<u32>,
}

/// As much as can be counted.
fn at_most_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Sms {
    pub(super) fn new(n: u32, room: Room) -> Sms {
        let n = n as usize;
        Sms {
            whole: room,
            threads: vec![room.threads; n],
            blocks: vec![room.blocks; n],
            registers: vec![room.registers; n],
            shared_memory: vec![at_most_u32(room.shared_memory); n],
            holds: vec![vec![0; n].into()],
            unused: vec![0],
            free: vec![0; n],
        }
    }

    /// What a block of this shape takes; nothing of what never limits.
    fn need(&self, shape: &BlockShape) -> Need {
        let registers = shape.registers.saturating_mul(shape.threads);
        Need {
            threads: shape.threads,
            registers: if self.whole.registers == u32::MAX {
                0
            } else {
                registers
            },
            shared_memory: if self.whole.shared_memory == u64::MAX {
                0
            } else {
                at_most_u32(shape.shared_memory)
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
        let mut left = want;
        let mut most = self.find_room(&need);
        while left > 0 && most > 0 {
            let n_most = self.free.iter().map(|free| u32::from(*free == most));
            let n_most: u32 = n_most.sum();
            if left < n_most {
                self.place_on_first(&need, left, wave, most);
                left = 0;
            } else {
                left -= n_most;
                most = self.place_on_each(&need, wave, most);
            }
        }
        if left < want && self.unused_wave() == wave {
            self.unused.pop();
            if self.unused.is_empty() {
                self.unused.push(at_most_u32(self.holds.len() as u64));
                self.holds.push(vec![0; self.free.len()].into());
            }
        }
        want - left
    }

    /// Finds out which have room for a block; what is free of that which has most.
    fn find_room(&mut self, need: &Need) -> u32 {
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

    /// Places a block on each of those with `most` free; what is then free of that which has most.
    fn place_on_each(&mut self, need: &Need, wave: Wave, most: u32) -> u32 {
        let n = self.free.len();
        let (threads, blocks) = (&mut self.threads[..n], &mut self.blocks[..n]);
        let registers = &mut self.registers[..n];
        let shared_memory = &mut self.shared_memory[..n];
        let holds = &mut self.holds[wave as usize][..n];
        let mut next = 0;
        for (sm, free) in self.free.iter_mut().enumerate() {
            let has_most = *free == most;
            let taken = |what: u32| if has_most { what } else { 0 };
            threads[sm] -= taken(need.threads);
            blocks[sm] -= taken(1);
            registers[sm] -= taken(need.registers);
            shared_memory[sm] -= taken(need.shared_memory);
            holds[sm] += taken(1);
            let has_room = (threads[sm] >= need.threads)
                & (blocks[sm] > 0)
                & (registers[sm] >= need.registers)
                & (shared_memory[sm] >= need.shared_memory);
            *free = if has_room { threads[sm] + 1 } else { 0 };
            next = next.max(*free);
        }
        next
    }

    /// Places a block on each of the first `n` of those with `most` free.
    fn place_on_first(&mut self, need: &Need, n: u32, wave: Wave, most: u32) {
        let holds = &mut self.holds[wave as usize];
        let with_most = self.free.iter().enumerate();
        let with_most = with_most.filter(|(_, free)| **free == most);
        for (sm, _) in with_most.take(n as usize) {
            self.threads[sm] -= need.threads;
            self.blocks[sm] -= 1;
            self.registers[sm] -= need.registers;
            self.shared_memory[sm] -= need.shared_memory;
            holds[sm] += 1;
        }
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
                let free: u32 = sms.threads.iter().sum();
                prop_assert_eq!(held + free, n * 2048);
            }
        }
    }
}

//! The program's kernels: what their text declares, how long they take and what they do.

use schema::units::SimDuration;
use sim::gpu::{BlockShape, Kernel};

use crate::config::Config;
use crate::memory::Memory;
use crate::{Code, code};

/// Most shared memory of a block without asking for more, in bytes (CUDA C++ Programming Guide,
/// technical specifications).
const SHARED_MEMORY: u32 = 48 << 10;
/// Most threads of a block (likewise).
const THREADS: u32 = 1024;

/// Sums that `tandem_serve` folds an input into.
const SUMS: usize = 1024;
/// What it does, of its last argument.
const READS: u32 = 1;
const WRITES: u32 = 2;
/// Bytes of a row of its table.
const ROW: usize = 24;

/// A kernel that is known, with the sizes of its parameters, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Spin,
    Serve,
    Preprocess,
}

/// What a kernel was launched with.
#[derive(Clone, Debug)]
pub(crate) enum Launched {
    Spin(Spin),
    Serve {
        spin: Spin,
        serve: Serve,
    },
    Preprocess {
        from: u64,
        width: u32,
        height: u32,
        to: u64,
        side: u32,
        images: u32,
    },
}

/// Arguments of `tandem_spin`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spin {
    time_ns: u64,
    bytes: u64,
    from: u64,
    length: u64,
}

/// What `tandem_serve` is told beside those.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serve {
    requests: u64,
    kept: u64,
    output_bytes: u64,
    blocks: u32,
    does: u32,
}

/// Blocks of a launch and what each takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) shared_memory: u32,
}

impl Function {
    const ALL: [Function; 3] = [Function::Spin, Function::Serve, Function::Preprocess];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Function::Spin => "tandem_spin",
            Function::Serve => "tandem_serve",
            Function::Preprocess => "tandem_preprocess",
        }
    }

    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Function::Spin => &["u64", "u64", "u64", "u64"],
            Function::Serve => &[
                "u64", "u64", "u64", "u64", "u64", "u64", "u64", "u32", "u32",
            ],
            Function::Preprocess => &["u64", "u32", "u32", "u64", "u32", "u32"],
        }
    }

    /// The functions that a text declares.
    ///
    /// # Errors
    /// If it is not PTX, or declares one with other parameters than the stand-in knows it with.
    pub(crate) fn of(ptx: &str) -> Result<Vec<Function>, Code> {
        let is_version = |line: &str| line.trim_start().starts_with(".version ");
        if !ptx.lines().any(is_version) {
            return Err(code::INVALID_PTX);
        }
        let mut found = Vec::new();
        for function in Function::ALL {
            let start = format!(".entry {}(", function.name());
            let Some(at) = ptx.find(&start) else {
                continue;
            };
            let list = ptx[at + start.len()..].split(')').next().unwrap_or("");
            let kinds = list.split(',').filter_map(|parameter| {
                let kind = parameter.split_whitespace().nth(1)?;
                kind.strip_prefix('.')
            });
            if !kinds.eq(function.parameters().iter().copied()) {
                return Err(code::INVALID_PTX);
            }
            found.push(function);
        }
        Ok(found)
    }

    /// Reads the arguments of a launch.
    ///
    /// # Safety
    /// `arguments` holds the address of a value for each parameter of the function.
    pub(crate) unsafe fn arguments(self, arguments: *const *const u8) -> Launched {
        let address = |index| {
            // SAFETY: there are so many, as the caller says.
            unsafe { *arguments.add(index) }
        };
        // SAFETY: each is of a value of the kind that the function takes, as the caller says.
        let long = |index| unsafe { address(index).cast::<u64>().read_unaligned() };
        // SAFETY: likewise.
        let short = |index| unsafe { address(index).cast::<u32>().read_unaligned() };
        let spin = || Spin {
            time_ns: long(0),
            bytes: long(1),
            from: long(2),
            length: long(3),
        };
        match self {
            Function::Spin => Launched::Spin(spin()),
            Function::Serve => Launched::Serve {
                spin: spin(),
                serve: Serve {
                    requests: long(4),
                    kept: long(5),
                    output_bytes: long(6),
                    blocks: short(7),
                    does: short(8),
                },
            },
            Function::Preprocess => Launched::Preprocess {
                from: long(0),
                width: short(1),
                height: short(2),
                to: long(3),
                side: short(4),
                images: short(5),
            },
        }
    }
}

impl Launched {
    /// The kernel for the model, whose blocks may start `overhead` after it could.
    ///
    /// # Errors
    /// If the device has no room for a block.
    pub(crate) fn kernel(
        &self,
        shape: Shape,
        overhead: SimDuration,
        config: &Config,
    ) -> Result<Kernel, Code> {
        let too_large = shape.threads > THREADS || shape.shared_memory > SHARED_MEMORY;
        if shape.blocks == 0 || shape.threads == 0 || shape.threads > THREADS {
            return Err(code::INVALID_VALUE);
        }
        let (time, bytes) = match self {
            Launched::Spin(spin) | Launched::Serve { spin, .. } => {
                (SimDuration::from_ns(spin.time_ns), spin.bytes)
            }
            Launched::Preprocess { .. } => (config.preprocess_block, 0),
        };
        let kernel = Kernel {
            overhead,
            blocks: shape.blocks,
            shape: BlockShape {
                threads: shape.threads,
                registers: 0,
                shared_memory: u64::from(shape.shared_memory),
            },
            time,
            bytes: bytes as f64,
        };
        if too_large || config.gpu.devices[0].blocks_that_fit(&kernel.shape) == 0 {
            return Err(code::LAUNCH_OUT_OF_RESOURCES);
        }
        Ok(kernel)
    }

    /// What it has done when it ends.
    ///
    /// # Errors
    /// If it reached memory that is not its own.
    pub(crate) fn take_effect(&self, shape: Shape, memory: &mut Memory) -> Result<(), Code> {
        let outside = |_| code::ILLEGAL_ADDRESS;
        match *self {
            Launched::Spin(spin) => spin.read(memory),
            Launched::Serve { spin, serve } => {
                for request in 0..shape.blocks / serve.blocks.max(1) {
                    serve.take_effect(request as usize, memory)?;
                }
                spin.read(memory)
            }
            Launched::Preprocess {
                from,
                width,
                height,
                to,
                side,
                images,
            } => {
                let (width, height, side) = (width as usize, height as usize, side as usize);
                let images = images as usize;
                let raw = memory
                    .range(from, images * 3 * width * height)
                    .map_err(outside)?
                    .to_vec();
                let tensors = memory
                    .range(to, images * 12 * side * side)
                    .map_err(outside)?;
                let each = tensors.chunks_exact_mut(12 * side * side);
                for (tensor, image) in each.zip(raw.chunks_exact(3 * width * height)) {
                    preprocess(image, width, height, tensor, side);
                }
                Ok(())
            }
        }
    }
}

impl Spin {
    fn read(self, memory: &mut Memory) -> Result<(), Code> {
        if self.bytes > 0 {
            let read = memory.range(self.from, self.length as usize);
            read.map_err(|_| code::ILLEGAL_ADDRESS)?;
        }
        Ok(())
    }
}

impl Serve {
    /// What it does with the request of this number, as `kernels.cu` does it.
    fn take_effect(self, request: usize, memory: &mut Memory) -> Result<(), Code> {
        let outside = |_| code::ILLEGAL_ADDRESS;
        let row = memory
            .pinned_bytes(self.requests, request * ROW, ROW)
            .map_err(outside)?;
        let [input, length, output] = [0, 8, 16].map(|at| {
            let value = row[at..at + 8]
                .try_into()
                .expect("eight bytes are asked for");
            u64::from_ne_bytes(value)
        });
        let kept = self.kept + (request * SUMS * 4) as u64;
        if self.does & READS != 0 {
            let mut sums = vec![0_u32; SUMS];
            if length > 0 {
                let bytes = memory.range(input, length as usize).map_err(outside)?;
                for (row, bytes) in bytes.chunks(4 * SUMS).enumerate() {
                    let times = 2 * row as u32 + 1;
                    let words = bytes.chunks(4).map(|word| {
                        let little = word.iter().rev();
                        little.fold(0, |word, byte| word << 8 | u32::from(*byte))
                    });
                    for (sum, word) in sums.iter_mut().zip(words) {
                        *sum = sum.wrapping_add(times.wrapping_mul(word));
                    }
                }
            }
            let to = memory.range(kept, SUMS * 4).map_err(outside)?;
            for (to, sum) in to.chunks_exact_mut(4).zip(sums) {
                to.copy_from_slice(&sum.to_le_bytes());
            }
        }
        if self.does & WRITES != 0 {
            let sums = memory.range(kept, SUMS * 4).map_err(outside)?.to_vec();
            let to = memory.range(output, self.output_bytes as usize);
            for to in to.map_err(outside)?.chunks_mut(SUMS * 4) {
                to.copy_from_slice(&sums[..to.len()]);
            }
        }
        Ok(())
    }
}

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// As `kernels.cu` does it, a pixel after the other.
fn preprocess(image: &[u8], width: usize, height: usize, tensor: &mut [u8], side: usize) {
    let place = |index: usize, size: usize| {
        let exact = ((index as f64 + 0.5) * size as f64 / side as f64 - 0.5).max(0.0);
        let first = (exact as usize).min(size - 1);
        (
            first,
            (first + 1).min(size - 1),
            (exact - first as f64) as f32,
        )
    };
    for pixel in 0..side * side {
        let (left, right, across) = place(pixel % side, width);
        let (top, bottom, down) = place(pixel / side, height);
        for channel in 0..3 {
            let at =
                |row: usize, column: usize| f32::from(image[3 * (row * width + column) + channel]);
            let above = at(top, left) + (at(top, right) - at(top, left)) * across;
            let below = at(bottom, left) + (at(bottom, right) - at(bottom, left)) * across;
            let value = above + (below - above) * down;
            let value = (value / 255.0 - MEAN[channel]) / DEVIATION[channel];
            let to = 4 * (channel * side * side + pixel);
            tensor[to..to + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
}

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

/// A kernel that is known, with the sizes of its parameters, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Spin,
    Preprocess,
}

/// What a kernel was launched with.
#[derive(Clone, Debug)]
pub(crate) enum Launched {
    Spin {
        time_ns: u64,
        bytes: u64,
        from: u64,
        length: u64,
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

/// Blocks of a launch and what each takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) shared_memory: u32,
}

impl Function {
    const ALL: [Function; 2] = [Function::Spin, Function::Preprocess];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Function::Spin => "tandem_spin",
            Function::Preprocess => "tandem_preprocess",
        }
    }

    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Function::Spin => &["u64", "u64", "u64", "u64"],
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
        match self {
            Function::Spin => Launched::Spin {
                time_ns: long(0),
                bytes: long(1),
                from: long(2),
                length: long(3),
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
    /// The kernel for the model.
    ///
    /// # Errors
    /// If the device has no room for a block.
    pub(crate) fn kernel(&self, shape: Shape, config: &Config) -> Result<Kernel, Code> {
        let too_large = shape.threads > THREADS || shape.shared_memory > SHARED_MEMORY;
        if shape.blocks == 0 || shape.threads == 0 || shape.threads > THREADS {
            return Err(code::INVALID_VALUE);
        }
        let (time, bytes) = match self {
            Launched::Spin { time_ns, bytes, .. } => (SimDuration::from_ns(*time_ns), *bytes),
            Launched::Preprocess { .. } => (config.preprocess_block, 0),
        };
        let kernel = Kernel {
            overhead: config.launch_interval,
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
    pub(crate) fn take_effect(&self, memory: &mut Memory) -> Result<(), Code> {
        let outside = |_| code::ILLEGAL_ADDRESS;
        match *self {
            Launched::Spin {
                bytes,
                from,
                length,
                ..
            } => {
                if bytes > 0 {
                    memory.range(from, length as usize).map_err(outside)?;
                }
                Ok(())
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

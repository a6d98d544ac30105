//! Where kernels find the requests of a batch: a table that the host writes and kernels read.
//!
//! It lies in pinned memory, which kernels reach at the host's address: with unified virtual
//! addressing, which every 64-bit system has, all memory of `cuMemHostAlloc` is mapped for all contexts
//! (CUDA driver API, section 6.13). So nothing has to be copied when a request lies elsewhere than the
//! one before it.

use super::super::CudaError;
use super::super::folded::SUMS;
use super::context::CudaContext;
use super::memory::{DeviceBuffer, PinnedBuffer};

/// Bytes of a row: three addresses or lengths.
const ROW: usize = 24;

/// The table of the requests of a batch, and what the first kernel keeps of each for the last.
#[derive(Debug)]
pub(super) struct Requests {
    table: PinnedBuffer,
    kept: DeviceBuffer,
    output_bytes: usize,
}

/// Where a request lies on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    /// Address of its input, a multiple of 4; any if that has no bytes.
    pub(super) input: u64,
    /// Bytes of its input.
    pub(super) input_bytes: usize,
    /// Address of its output, likewise.
    pub(super) output: u64,
}

impl Requests {
    /// A table of so many rows, at least one, for requests with replies of so many bytes.
    ///
    /// # Errors
    /// If the device or the host has no room.
    pub(super) fn new(
        context: &CudaContext,
        rows: usize,
        output_bytes: usize,
    ) -> Result<Requests, CudaError> {
        Ok(Requests {
            table: PinnedBuffer::new(context, rows * ROW)?,
            kept: DeviceBuffer::new(context, rows * SUMS * size_of::<u32>())?,
            output_bytes,
        })
    }

    /// Sets a row. No kernel that reads the table is under way.
    pub(super) fn set(&mut self, index: usize, row: Row) {
        let to = &mut self.table[index * ROW..][..ROW];
        let values = [row.input, row.input_bytes as u64, row.output];
        for (to, value) in to.chunks_exact_mut(8).zip(values) {
            to.copy_from_slice(&value.to_ne_bytes());
        }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.table.len() / ROW
    }

    /// The table's address.
    pub(super) fn table(&self) -> u64 {
        self.table.as_ptr() as u64
    }

    /// The address of what is kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept.range(0, self.kept.len())
    }

    /// Bytes of each reply.
    pub(super) fn output_bytes(&self) -> usize {
        self.output_bytes
    }
}

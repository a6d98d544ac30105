//! The context that runs a net on the CPU.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor};

use super::super::error::room_for;
use super::super::nets::Net;
use super::super::preprocess::{Preprocessor, decode, encode};
use super::super::spec::CHANNELS;
use super::super::{AcceleratorError, Context, Input, NetSpec};

/// A context that runs a net.
pub(super) struct NetContext {
    net: Net,
    spec: NetSpec,
    max_batch: usize,
    /// Raw payloads, one slot after the other, and what preprocesses them.
    raw: Option<(Vec<u8>, Preprocessor)>,
    /// `[max_batch, 3, side, side]`.
    input: Tensor,
    /// Those of the last inference, each `[n, ..]`; none before the first.
    outputs: Vec<Tensor>,
}

impl NetContext {
    /// A context of `max_batch` slots that has run once.
    pub(super) fn new(
        net: Net,
        spec: &NetSpec,
        max_batch: usize,
    ) -> Result<Self, AcceleratorError> {
        let tensor = |shape: &[usize]| {
            Tensor::zeros(shape, DType::F32, &Device::Cpu)
                .map_err(AcceleratorError::compute("allocation"))
        };
        let raw = match spec.input {
            Input::Raw { width, height } => Some((
                vec![0; max_batch * spec.payload_bytes()],
                Preprocessor::new(width, height, spec.side).normalised(spec.net.normalisation()),
            )),
            Input::Preprocessed => None,
        };
        let mut context = Self {
            net,
            max_batch,
            raw,
            input: tensor(&[max_batch, CHANNELS, spec.side, spec.side])?,
            outputs: Vec::new(),
            spec: spec.clone(),
        };
        context.preprocess(max_batch)?;
        context.infer(max_batch)?;
        Ok(context)
    }

    fn assert_batch(&self, batch: usize) {
        assert!(
            (1..=self.max_batch).contains(&batch),
            "batch of {batch}, up to {}",
            self.max_batch
        );
    }
}

impl Context for NetContext {
    fn copy_in(&mut self, slot: usize, payload: &[u8]) -> Result<(), AcceleratorError> {
        assert!(slot < self.max_batch, "slot {slot} of {}", self.max_batch);
        let expected = self.spec.payload_bytes();
        if payload.len() != expected {
            return Err(AcceleratorError::PayloadLength {
                input: self.spec.input_in_words(),
                expected,
                found: payload.len(),
            });
        }
        match &mut self.raw {
            Some((raw, _)) => {
                raw[slot * expected..][..expected].copy_from_slice(payload);
                Ok(())
            }
            None => write_slot(&self.input, slot, |values| decode(payload, values))
                .map_err(AcceleratorError::compute("copy to the device")),
        }
    }

    fn preprocess(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.assert_batch(batch);
        let Some((raw, preprocessor)) = &mut self.raw else {
            return Ok(());
        };
        for (slot, pixels) in raw
            .chunks_exact(self.spec.payload_bytes())
            .take(batch)
            .enumerate()
        {
            write_slot(&self.input, slot, |values| preprocessor.run(pixels, values))
                .map_err(AcceleratorError::compute("preprocessing"))?;
        }
        Ok(())
    }

    fn infer(&mut self, batch: usize) -> Result<(), AcceleratorError> {
        self.assert_batch(batch);
        self.outputs = self
            .input
            .narrow(0, 0, batch)
            .and_then(|input| {
                let outputs = self.net.forward(&input)?;
                outputs.iter().map(Tensor::contiguous).collect()
            })
            .map_err(AcceleratorError::compute("inference"))?;
        Ok(())
    }

    fn copy_out(&mut self, slot: usize, reply: &mut [u8]) -> Result<usize, AcceleratorError> {
        let n_inferred = self.outputs[0].dims()[0];
        assert!(slot < n_inferred, "slot {slot} of {n_inferred} inferred");
        let needed = self.reply_bytes();
        let mut rest = room_for(needed, reply)?;
        for output in &self.outputs {
            let n = n_each(output);
            let (bytes, after) = rest.split_at_mut(n * size_of::<f32>());
            rest = after;
            let (storage, layout) = output.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else {
                unreachable!("every tensor of this back end is on the CPU")
            };
            let values = storage
                .as_slice::<f32>()
                .map_err(AcceleratorError::compute("copy from the device"))?;
            encode(&values[layout.start_offset() + slot * n..][..n], bytes);
        }
        Ok(needed)
    }

    fn synchronize(&mut self) -> Result<(), AcceleratorError> {
        Ok(())
    }

    fn payload_bytes(&self) -> usize {
        self.spec.payload_bytes()
    }

    fn reply_bytes(&self) -> usize {
        self.outputs.iter().map(n_each).sum::<usize>() * size_of::<f32>()
    }
}

/// Values of an output, `[n, ..]`, for each request.
fn n_each(output: &Tensor) -> usize {
    output.dims()[1..].iter().product()
}

/// Lets `write` fill the values of one slot of a batch tensor, in place.
fn write_slot(
    tensor: &Tensor,
    slot: usize,
    write: impl FnMut(&mut [f32]),
) -> candle_core::Result<()> {
    tensor
        .narrow(0, slot, 1)?
        .inplace_op1(&Write(RefCell::new(write)))
}

/// candle's way to a tensor's memory.
struct Write<F>(RefCell<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("input tensor is not of 32-bit floats")
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("slot is not contiguous")
        };
        (self.0.borrow_mut())(&mut values[start..end]);
        Ok(())
    }
}

//! Streams, events, and the operations under way.

use std::sync::Arc;

use schema::units::{SimDuration, SimTime};
use sim::gpu::{CopySpec, Direction, Op, Run, Step, StreamId};

use crate::kernels::{Launched, Shape};
use crate::state::{Handle, Standin};
use crate::{Code, code};

/// A stream.
pub(crate) struct StreamRow {
    pub(crate) context: Handle,
    pub(crate) id: StreamId,
    pub(crate) priority: i32,
    /// Whether the legacy default stream waits for it, and it for that.
    pub(crate) is_in_line: bool,
    /// Operations that were queued on it, and those that have ended.
    pub(crate) queued: u64,
    pub(crate) ended: u64,
    /// Kernels that were launched while it is captured.
    pub(crate) captured: Option<Vec<(Shape, Launched)>>,
}

/// A graph, or one that is ready to be launched: kernels in order.
pub(crate) struct GraphRow {
    pub(crate) context: Handle,
    pub(crate) kernels: Vec<(Shape, Launched)>,
}

/// An event.
pub(crate) struct EventRow {
    pub(crate) context: Handle,
    pub(crate) state: EventState,
}

/// What an event knows.
#[derive(Clone, Copy)]
pub(crate) enum EventState {
    Unrecorded,
    /// Recorded when `after` operations had been queued on the stream.
    Awaited {
        stream: Handle,
        after: u64,
        recorded: SimTime,
    },
    Past(SimTime),
}

/// An operation under way.
pub(crate) struct OpRow {
    stream: Handle,
    effect: Effect,
}

/// What an operation has done when it ends.
pub(crate) enum Effect {
    /// From pinned memory.
    CopyIn {
        to: u64,
        from: usize,
        bytes: usize,
    },
    /// From pageable memory, of which the driver keeps a copy.
    CopyStaged {
        to: u64,
        staged: Vec<u8>,
    },
    CopyOut {
        to: usize,
        from: u64,
        bytes: usize,
    },
    Kernels(Vec<(Shape, Launched)>),
}

impl Standin {
    /// Queues a copy; its number.
    pub(crate) fn queue_copy(&mut self, stream: Handle, effect: Effect) -> Result<u64, Code> {
        let copies = &self.config.copies;
        let (direction, law, device, bytes) = match &effect {
            Effect::CopyIn { to, bytes, .. } => (Direction::H2d, &copies.h2d_pinned, *to, *bytes),
            Effect::CopyStaged { to, staged } => {
                (Direction::H2d, &copies.h2d_pageable, *to, staged.len())
            }
            Effect::CopyOut { to, from, bytes } => {
                let law = match self.memory.is_pinned(*to, *bytes) {
                    true => &copies.d2h_pinned,
                    false => &copies.d2h_pageable,
                };
                (Direction::D2h, law, *from, *bytes)
            }
            Effect::Kernels(_) => unreachable!("a kernel is no copy"),
        };
        self.memory.range(device, bytes)?;
        let total = SimDuration::from_secs_f64(law.expected(bytes as f64));
        let copy = CopySpec::by_law(law, direction, bytes as u64, total);
        let row = self.streams.get(&stream).ok_or(code::INVALID_HANDLE)?;
        let context = self.contexts.get(&row.context);
        let is_legacy = context.is_some_and(|context| context.legacy == Some(stream));
        // Of streams that do not wait for it the model knows nothing, so with one of those it waits for
        // none.
        let mut others = self
            .streams
            .iter()
            .filter(|(handle, other)| other.context == row.context && **handle != stream);
        let op = match is_legacy && others.all(|(_, other)| other.is_in_line) {
            true => Op::DefaultStreamCopy(copy),
            false => Op::Copy(copy),
        };
        self.queue(stream, op, effect)
    }

    /// Gives a copy from pageable memory its bytes; one that takes no time has ended without.
    pub(crate) fn stage(&mut self, copy: u64, bytes: &[u8]) {
        if let Some(op) = self.ops.get_mut(&copy)
            && let Effect::CopyStaged { staged, .. } = &mut op.effect
        {
            staged.copy_from_slice(bytes);
        }
    }

    pub(crate) fn queue_kernel(
        &mut self,
        stream: Handle,
        shape: Shape,
        launched: Launched,
    ) -> Result<(), Code> {
        let kernel = launched.kernel(shape, self.config.launch_interval, &self.config)?;
        let row = self.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
        if let Some(captured) = &mut row.captured {
            captured.push((shape, launched));
            return Ok(());
        }
        self.queue_run(
            stream,
            [Step::Kernel(kernel)].into(),
            vec![(shape, launched)],
        )
    }

    /// Queues the kernels of a graph.
    pub(crate) fn queue_graph(
        &mut self,
        stream: Handle,
        kernels: Vec<(Shape, Launched)>,
    ) -> Result<(), Code> {
        let interval = self.config.graph_launch_interval;
        let step = |(shape, launched): &(Shape, Launched)| {
            let kernel = launched.kernel(*shape, interval, &self.config);
            kernel.map(Step::Kernel)
        };
        let steps = kernels.iter().map(step).collect::<Result<Vec<_>, _>>()?;
        if steps.is_empty() {
            return Ok(());
        }
        self.queue_run(stream, steps.into(), kernels)
    }

    fn queue_run(
        &mut self,
        stream: Handle,
        steps: Arc<[Step]>,
        kernels: Vec<(Shape, Launched)>,
    ) -> Result<(), Code> {
        let run = Run {
            steps,
            factor: 1.0,
            pace: SimDuration::ZERO,
        };
        self.queue(stream, Op::Run(run), Effect::Kernels(kernels))?;
        Ok(())
    }

    fn queue(&mut self, stream: Handle, op: Op, effect: Effect) -> Result<u64, Code> {
        self.advance();
        let row = self.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
        if row.captured.is_some() {
            return Err(code::CAPTURE_UNSUPPORTED);
        }
        row.queued += 1;
        let (id, priority) = (row.id, row.priority);
        let token = self.next_op;
        self.next_op += 1;
        self.ops.insert(token, OpRow { stream, effect });
        let now = self.clock.now();
        self.gpu.submit(now, id, priority, op, token);
        self.settle(now);
        Ok(token)
    }

    /// An operation has ended.
    pub(crate) fn finish(&mut self, token: u64, end: SimTime) {
        let op = self.ops.remove(&token).expect("it was under way");
        let Some(row) = self.streams.get_mut(&op.stream) else {
            return;
        };
        row.ended += 1;
        let (context, ended) = (row.context, row.ended);
        for event in self.events.values_mut() {
            if let EventState::Awaited {
                stream,
                after,
                recorded,
            } = event.state
                && stream == op.stream
                && after <= ended
            {
                event.state = EventState::Past(end.max(recorded));
            }
        }
        let is_alive = |row: &crate::state::ContextRow| row.failed.is_none();
        if !self.contexts.get(&context).is_some_and(is_alive) {
            return;
        }
        let failed = self.take_effect(&op.effect).err();
        if let Some(code) = failed {
            self.fail(context, code);
        }
    }

    fn take_effect(&mut self, effect: &Effect) -> Result<(), Code> {
        match effect {
            Effect::CopyIn { to, from, bytes } => {
                let to = self.memory.range(*to, *bytes)?;
                // SAFETY: who queued the copy keeps the memory until it has ended.
                let from = unsafe { std::slice::from_raw_parts(*from as *const u8, *bytes) };
                to.copy_from_slice(from);
            }
            Effect::CopyStaged { to, staged } => {
                self.memory
                    .range(*to, staged.len())?
                    .copy_from_slice(staged);
            }
            Effect::CopyOut { to, from, bytes } => {
                let from = self.memory.range(*from, *bytes)?;
                // SAFETY: as above, and nobody else uses it meanwhile.
                let to = unsafe { std::slice::from_raw_parts_mut(*to as *mut u8, *bytes) };
                to.copy_from_slice(from);
            }
            Effect::Kernels(_) if !self.config.effects => {}
            Effect::Kernels(kernels) => {
                for (shape, launched) in kernels {
                    launched.take_effect(*shape, &mut self.memory)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn record(&mut self, event: Handle, stream: Handle) -> Result<(), Code> {
        self.advance();
        let row = self.streams.get(&stream).ok_or(code::INVALID_HANDLE)?;
        if row.captured.is_some() {
            return Err(code::CAPTURE_UNSUPPORTED);
        }
        let recorded = self.clock.now();
        let state = if row.ended == row.queued {
            EventState::Past(recorded)
        } else {
            EventState::Awaited {
                stream,
                after: row.queued,
                recorded,
            }
        };
        let row = self.events.get_mut(&event).ok_or(code::INVALID_HANDLE)?;
        row.state = state;
        Ok(())
    }

    /// Whether all that was queued on the stream has ended.
    pub(crate) fn is_idle(&self, stream: Handle) -> bool {
        let row = self.streams.get(&stream);
        row.is_none_or(|row| row.ended == row.queued)
    }
}

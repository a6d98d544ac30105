//! All that the stand-in holds, and how a call gets at it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schema::units::SimTime;
use sim::gpu::{Gpu, HostSpec, ProcessId, ProcessSpec, StreamId};

use crate::clock::Clock;
use crate::config::{Config, Failure};
use crate::control::leave_account;
use crate::kernels::Function;
use crate::memory::Memory;
use crate::streams::{EventRow, GraphRow, OpRow, StreamRow};
use crate::{Code, code};

/// What a caller holds of a thing: never an address that may be followed.
pub(crate) type Handle = usize;

/// Streams that a context may have at once.
const STREAMS: usize = 64;

/// All that the stand-in holds.
pub(crate) struct Standin {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// The devices; operations are named by their numbers in `ops`.
    pub(crate) gpu: Gpu<u64>,
    pub(crate) is_initialized: bool,
    pub(crate) contexts: BTreeMap<Handle, ContextRow>,
    pub(crate) streams: BTreeMap<Handle, StreamRow>,
    pub(crate) events: BTreeMap<Handle, EventRow>,
    pub(crate) graphs: BTreeMap<Handle, GraphRow>,
    /// Graphs that are ready to be launched.
    pub(crate) executables: BTreeMap<Handle, GraphRow>,
    /// By module, the functions that its text has.
    pub(crate) modules: BTreeMap<Handle, ModuleRow>,
    pub(crate) functions: BTreeMap<Handle, FunctionRow>,
    pub(crate) memory: Memory,
    pub(crate) ops: BTreeMap<u64, OpRow>,
    pub(crate) next_op: u64,
    /// How often each function was called.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    failures: Vec<(Failure, u64)>,
    /// By device, processes of the model that no context uses, with their streams.
    idle: Vec<Vec<(ProcessId, BTreeSet<StreamId>)>>,
    next_handle: Handle,
}

/// A context.
pub(crate) struct ContextRow {
    pub(crate) device: usize,
    pub(crate) process: ProcessId,
    pub(crate) spins: bool,
    /// What every call on it returns from now on.
    pub(crate) failed: Option<Code>,
    /// Streams of the model that it has not given out.
    pub(crate) free: BTreeSet<StreamId>,
    /// Its legacy default stream, once that was used.
    pub(crate) legacy: Option<Handle>,
}

/// A module.
pub(crate) struct ModuleRow {
    pub(crate) context: Handle,
    pub(crate) functions: Vec<Function>,
}

/// A function of a module, given out.
pub(crate) struct FunctionRow {
    pub(crate) module: Handle,
    pub(crate) context: Handle,
    pub(crate) function: Function,
}

static STANDIN: Mutex<Option<Standin>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// The stand-in, held by a call.
pub(crate) struct Held(Option<MutexGuard<'static, Option<Standin>>>);

impl std::ops::Deref for Held {
    type Target = Standin;

    fn deref(&self) -> &Standin {
        let guard = self.0.as_ref().expect("it is held but while it waits");
        guard.as_ref().expect("a call has configured it")
    }
}

impl std::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Standin {
        let guard = self.0.as_mut().expect("it is held but while it waits");
        guard.as_mut().expect("a call has configured it")
    }
}

/// Replaces the stand-in by a new one.
pub(crate) fn configure(config: Config) {
    *lock() = Some(Standin::new(config));
}

fn lock() -> MutexGuard<'static, Option<Standin>> {
    // A call that panicked is a fault of the stand-in, and the test that made it has failed.
    STANDIN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stand-in, unless a call holds it.
pub(crate) fn try_hold() -> Option<MutexGuard<'static, Option<Standin>>> {
    STANDIN.try_lock().ok()
}

unsafe extern "C" {
    /// Of the C library.
    fn atexit(function: extern "C" fn()) -> c_int;
}

/// The stand-in; configured from the environment if it is not yet.
pub(crate) fn hold() -> Result<Held, String> {
    let mut guard = lock();
    if guard.is_none() {
        *guard = Some(Standin::new(Config::from_environment()?));
        // SAFETY: the function lives as long as this library, with which the C library calls it.
        let _refused = unsafe { atexit(leave_account) };
    }
    Ok(Held(Some(guard)))
}

/// Lets `work` be done as the call `name`, unless that is to fail.
///
/// `context` is the one that it is made on, if it is made on one; that has then to be alive.
pub(crate) fn call(
    name: &'static str,
    context: Option<Handle>,
    work: impl FnOnce(&mut Held) -> Result<(), Code>,
) -> Code {
    let mut held = match hold() {
        Ok(held) => held,
        Err(problem) => {
            eprintln!("stand-in: {problem}");
            return code::UNKNOWN;
        }
    };
    let result = held.begin(name, context).and_then(|()| work(&mut held));
    CHANGED.notify_all();
    result.err().unwrap_or(code::SUCCESS)
}

impl Held {
    /// Waits until `is_done`, by the clock of the devices.
    pub(crate) fn wait(
        &mut self,
        spins: bool,
        is_done: impl Fn(&Standin) -> bool,
    ) -> Result<(), Code> {
        loop {
            self.advance();
            if is_done(self) {
                return Ok(());
            }
            let Some(next) = self.gpu.next() else {
                // Nothing will ever end what is waited for.
                return Err(code::UNKNOWN);
            };
            if let Clock::Virtual(now) = &mut self.clock {
                *now = next;
                continue;
            }
            let left = Duration::from_nanos(next.as_ns().saturating_sub(self.clock.now().as_ns()));
            let guard = self.0.take().expect("it is held");
            self.0 = Some(if spins {
                drop(guard);
                std::hint::spin_loop();
                lock()
            } else {
                let waited = CHANGED.wait_timeout(guard, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            });
        }
    }
}

impl Standin {
    fn new(config: Config) -> Standin {
        let gpus = vec![config.gpu.clone(); config.devices as usize];
        Standin {
            clock: Clock::new(config.time),
            gpu: Gpu::joined(HostSpec::UNLIMITED, &gpus),
            is_initialized: false,
            contexts: BTreeMap::new(),
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            graphs: BTreeMap::new(),
            executables: BTreeMap::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            memory: Memory::default(),
            ops: BTreeMap::new(),
            next_op: 0,
            calls: BTreeMap::new(),
            failures: config.failures.iter().map(|f| (f.clone(), 0)).collect(),
            idle: gpus.iter().map(|_| Vec::new()).collect(),
            next_handle: 0x1000,
            config,
        }
    }

    /// Counts the call, and fails it if it is to fail, or its context has.
    fn begin(&mut self, name: &'static str, context: Option<Handle>) -> Result<(), Code> {
        *self.calls.entry(name).or_default() += 1;
        let needs_init = !matches!(name, "cuInit" | "cuDriverGetVersion" | "cuGetErrorName");
        if needs_init && name.starts_with("cu") && !self.is_initialized {
            return Err(code::NOT_INITIALIZED);
        }
        if let Some(context) = context {
            let row = self.contexts.get(&context).ok_or(code::INVALID_CONTEXT)?;
            if let Some(failed) = row.failed {
                return Err(failed);
            }
        }
        let Some((failure, n)) = self.failures.iter_mut().find(|(f, n)| {
            let last = f.times.map_or(u64::MAX, |times| f.after + times);
            f.call == name && *n < last
        }) else {
            return Ok(());
        };
        *n += 1;
        if *n <= failure.after {
            return Ok(());
        }
        let (code, sticky) = (failure.code, failure.sticky);
        if let (true, Some(context)) = (sticky, context) {
            self.fail(context, code);
        }
        Err(code)
    }

    /// Every later call on the context returns `code`, and what is under way has no effect.
    pub(crate) fn fail(&mut self, context: Handle, code: Code) {
        if let Some(row) = self.contexts.get_mut(&context) {
            row.failed.get_or_insert(code);
        }
    }

    pub(crate) fn handle(&mut self) -> Handle {
        self.next_handle += 16;
        self.next_handle
    }

    /// Lets happen what is due by now.
    pub(crate) fn advance(&mut self) {
        let now = self.clock.now();
        while let Some(next) = self.gpu.next().filter(|next| *next <= now) {
            self.settle(next);
        }
    }

    /// Lets happen what is due at `at`, and what has ended take effect.
    pub(crate) fn settle(&mut self, at: SimTime) {
        self.gpu.settle(at);
        while let Some(done) = self.gpu.pop_done() {
            self.finish(done.token, done.end);
        }
    }

    pub(crate) fn make_context(&mut self, device: usize, spins: bool) -> Result<Handle, Code> {
        let used = self.memory.used(device) + self.config.context_memory;
        if used > self.config.memory {
            return Err(code::OUT_OF_MEMORY);
        }
        let (process, free) = self.idle[device].pop().unwrap_or_else(|| {
            let process = self.gpu.add_process(
                device,
                &ProcessSpec {
                    mps: self.config.mps,
                },
            );
            // All at once, since the model takes streams only before there is work.
            let streams = (0..STREAMS).map(|_| self.gpu.add_stream(process)).collect();
            (process, streams)
        });
        let handle = self.handle();
        self.memory
            .reserve(handle, device, self.config.context_memory);
        self.contexts.insert(
            handle,
            ContextRow {
                device,
                process,
                spins,
                failed: None,
                free,
                legacy: None,
            },
        );
        Ok(handle)
    }

    /// A new stream of a context.
    pub(crate) fn make_stream(
        &mut self,
        context: Handle,
        priority: i32,
        is_in_line: bool,
    ) -> Result<Handle, Code> {
        let row = self.contexts.get_mut(&context);
        let row = row.ok_or(code::INVALID_CONTEXT)?;
        let id = row.free.pop_first().ok_or(code::OUT_OF_MEMORY)?;
        let handle = self.handle();
        let row = StreamRow {
            context,
            id,
            priority,
            is_in_line,
            queued: 0,
            ended: 0,
            captured: None,
        };
        self.streams.insert(handle, row);
        Ok(handle)
    }

    /// The legacy default stream of a context.
    pub(crate) fn legacy_stream(&mut self, context: Handle) -> Result<Handle, Code> {
        let known = self.contexts.get(&context).and_then(|row| row.legacy);
        if let Some(stream) = known {
            return Ok(stream);
        }
        let stream = self.make_stream(context, 0, true)?;
        if let Some(row) = self.contexts.get_mut(&context) {
            row.legacy = Some(stream);
        }
        Ok(stream)
    }

    /// The context goes, with all that is still on it.
    pub(crate) fn drop_context(&mut self, handle: Handle) {
        let Some(mut row) = self.contexts.remove(&handle) else {
            return;
        };
        self.memory.forget(handle);
        let streams = self.streams.values().filter(|row| row.context == handle);
        row.free.extend(streams.map(|stream| stream.id));
        self.streams.retain(|_, row| row.context != handle);
        self.events.retain(|_, row| row.context != handle);
        self.graphs.retain(|_, row| row.context != handle);
        self.executables.retain(|_, row| row.context != handle);
        self.modules.retain(|_, row| row.context != handle);
        self.functions.retain(|_, row| row.context != handle);
        self.idle[row.device].push((row.process, row.free));
    }
}

//! What tests ask of the stand-in beside what a driver does.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::config::Config;
use crate::state::{configure, hold};

/// Replaces the stand-in by a new one that `text` describes, with paths relative to the working
/// folder; whether that went well. Nothing may be held of the one before.
///
/// # Safety
/// `text` is a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_configure(text: *const c_char) -> bool {
    // SAFETY: as the caller says.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    match Config::parse(&text, Path::new("")) {
        Ok(config) => {
            configure(config);
            // The driver under test has been started before, and does not start again.
            if let Ok(mut held) = hold() {
                held.is_initialized = true;
            }
            true
        }
        Err(problem) => {
            eprintln!("stand-in: {problem}");
            false
        }
    }
}

/// How many `contexts`, `streams`, `events`, `modules`, `device-buffers` or `pinned-buffers` there
/// are, or how often the function of this name was called.
///
/// # Safety
/// `what` is a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_count(what: *const c_char) -> u64 {
    // SAFETY: as the caller says.
    let what = unsafe { CStr::from_ptr(what) }.to_string_lossy();
    let Ok(held) = hold() else {
        return 0;
    };
    let n = match &*what {
        "contexts" => held.contexts.len(),
        "streams" => held.streams.len(),
        "events" => held.events.len(),
        "modules" => held.modules.len(),
        "device-buffers" => held.memory.n_buffers(),
        "pinned-buffers" => held.memory.n_pinned(),
        call => return held.calls.get(call).copied().unwrap_or(0),
    };
    n as u64
}

/// What the devices' clock shows, in nanoseconds.
#[unsafe(no_mangle)]
extern "C" fn standin_now_ns() -> u64 {
    hold().map_or(0, |held| held.clock.now().as_ns())
}

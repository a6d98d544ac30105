//! What tests ask of the stand-in beside what a driver does.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::config::Config;
use crate::state::{Standin, configure, hold, try_hold};

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

/// How many `contexts`, `streams`, `events`, `graphs`, `modules`, `device-buffers` or `pinned-buffers`
/// there are, or how often the function of this name was called.
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
    match of(&held, &what) {
        Some(n) => n,
        None => held.calls.get(&*what).copied().unwrap_or(0),
    }
}

/// All that is counted while it is held.
const COUNTED: [&str; 7] = [
    "contexts",
    "streams",
    "events",
    "graphs",
    "modules",
    "device-buffers",
    "pinned-buffers",
];

/// How many of these there are; `None` if the name is none of [`COUNTED`].
fn of(held: &Standin, what: &str) -> Option<u64> {
    let n = match what {
        "contexts" => held.contexts.len(),
        // But for those that nobody made.
        "streams" => {
            let legacy = held.contexts.values().filter(|row| row.legacy.is_some());
            held.streams.len() - legacy.count()
        }
        "graphs" => held.graphs.len() + held.executables.len(),
        "events" => held.events.len(),
        "modules" => held.modules.len(),
        "device-buffers" => held.memory.n_buffers(),
        "pinned-buffers" => held.memory.n_pinned(),
        _ => return None,
    };
    Some(n as u64)
}

/// Leaves an account in the folder that the stand-in was told, if it was told one: a line each of what is
/// held, and of how often each function was called.
pub(crate) extern "C" fn leave_account() {
    let Some(held) = try_hold() else {
        // A call is under way, and ends with the process.
        return;
    };
    let Some(standin) = &*held else {
        return;
    };
    let Some(folder) = &standin.config.accounts else {
        return;
    };
    let counted = COUNTED
        .iter()
        .map(|what| (*what, of(standin, what).unwrap_or(0)));
    let called = standin.calls.iter().map(|(name, n)| (*name, *n));
    let lines = counted
        .chain(called)
        .map(|(name, n)| format!("{name} {n}\n"));
    let path = folder.join(std::process::id().to_string());
    if let Err(error) = std::fs::write(&path, lines.collect::<String>()) {
        eprintln!("stand-in: {}: {error}", path.display());
    }
}

/// What the devices' clock shows, in nanoseconds.
#[unsafe(no_mangle)]
extern "C" fn standin_now_ns() -> u64 {
    hold().map_or(0, |held| held.clock.now().as_ns())
}

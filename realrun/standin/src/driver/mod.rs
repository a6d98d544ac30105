//! The functions of `libcuda`, as `cuda.h` of CUDA 12.4 declares them.

mod devices;
mod work;

use std::cell::Cell;
use std::ffi::c_char;

use crate::state::{Handle, Held, call};
use crate::{Code, code};

pub(crate) use devices::bus_id;

thread_local! {
    /// The thread's context; 0 if it has none.
    static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

fn current() -> Handle {
    CURRENT.get()
}

/// A call on the thread's context.
fn on_context(
    name: &'static str,
    work: impl FnOnce(&mut Held, Handle) -> Result<(), Code>,
) -> Code {
    let context = current();
    call(name, Some(context), |held| work(held, context))
}

/// Writes what a call gives.
///
/// # Safety
/// `to` is null or may be written.
unsafe fn give<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(code::INVALID_VALUE);
    }
    // SAFETY: it may be written, as the caller says.
    unsafe { to.write(value) };
    Ok(())
}

/// # Safety
/// `to` has room for `length` bytes.
pub(crate) unsafe fn write_text(to: *mut c_char, length: usize, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(length.saturating_sub(1))];
    // SAFETY: there is room for the bytes and a zero.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), to, bytes.len());
        to.add(bytes.len()).write(0);
    }
}

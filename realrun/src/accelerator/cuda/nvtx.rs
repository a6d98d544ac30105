//! Ranges of NVIDIA's profilers: what a thread does, named as its spans are, in Nsight's timelines.
//!
//! The library `libnvToolsExt.so.1` is of the CUDA toolkit up to version 12 (on PyPI `nvidia-nvtx-cu12`).
//! It is loaded when the first range begins, if it is there; without a profiler its functions do nothing.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::OnceLock;

const LIBRARY: &CStr = c"libnvToolsExt.so.1";

/// The functions, of the types that `nvToolsExt.h` declares.
struct Nvtx {
    push: unsafe extern "C" fn(*const c_char) -> c_int,
    pop: unsafe extern "C" fn() -> c_int,
}

/// A range of the calling thread, which ends when dropped. Those of a thread are nested.
#[derive(Debug)]
#[must_use = "a range ends when it is dropped"]
pub struct Range {
    is_open: bool,
    /// It ends on the thread that began it.
    of_thread: PhantomData<*const ()>,
}

/// Begins a range, if the library is there.
#[expect(unsafe_code, reason = "a function of a library loaded at run time")]
pub fn range(name: &'static CStr) -> Range {
    let nvtx = nvtx();
    if let Some(nvtx) = nvtx {
        // SAFETY: a C string, which the function copies.
        unsafe { (nvtx.push)(name.as_ptr()) };
    }
    Range {
        is_open: nvtx.is_some(),
        of_thread: PhantomData,
    }
}

impl Drop for Range {
    #[expect(unsafe_code, reason = "a function of a library loaded at run time")]
    fn drop(&mut self) {
        if let (true, Some(nvtx)) = (self.is_open, nvtx()) {
            // SAFETY: it takes nothing.
            unsafe { (nvtx.pop)() };
        }
    }
}

fn nvtx() -> Option<&'static Nvtx> {
    static NVTX: OnceLock<Option<Nvtx>> = OnceLock::new();
    NVTX.get_or_init(load).as_ref()
}

#[expect(unsafe_code, reason = "functions of a library loaded at run time")]
fn load() -> Option<Nvtx> {
    // SAFETY: a C string; the library's constructors are those of a system library, and it is never
    // unloaded.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    let library = NonNull::new(library)?;
    let find = |name: &CStr| {
        // SAFETY: the handle is of a loaded library, the name a C string.
        NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) })
    };
    let (push, pop) = (find(c"nvtxRangePushA")?, find(c"nvtxRangePop")?);
    // SAFETY: addresses of functions of these types.
    unsafe {
        Some(Nvtx {
            push: std::mem::transmute::<
                NonNull<c_void>,
                unsafe extern "C" fn(*const c_char) -> c_int,
            >(push),
            pop: std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn() -> c_int>(pop),
        })
    }
}

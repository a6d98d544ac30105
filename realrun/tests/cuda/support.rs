//! The stand-in as tests see it, and what they share.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use realrun::accelerator::CudaError;
use realrun::accelerator::cuda::{CudaContext, Driver, Grid, Wait};

/// The stand-in, for one test at a time; checks that nothing is left when the test has ended.
pub(crate) struct Standin {
    library: *mut c_void,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

/// What is counted and must be gone in the end.
pub(crate) const HELD: [&str; 7] = [
    "contexts",
    "streams",
    "events",
    "graphs",
    "modules",
    "device-buffers",
    "pinned-buffers",
];

impl Standin {
    /// A stand-in of the part `two-sms`, with a virtual clock, and with these lines more.
    pub(crate) fn new(more: &str) -> Standin {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Driver::get().expect("the stand-in is in place of the driver: tests/cuda/run");
        // SAFETY: a C string; the library is loaded already.
        let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null());
        let standin = Standin {
            library,
            _alone: alone,
        };
        standin.configure(more);
        standin
    }

    pub(crate) fn configure(&self, more: &str) {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/profiles");
        let text =
            format!("profile = '{root}/ideal.toml'\npart = 'two-sms'\nclock = 'virtual'\n{more}\n");
        let text = CString::new(text).unwrap();
        // SAFETY: the symbol is the function of this type in the stand-in's `control.rs`.
        let configure: unsafe extern "C" fn(*const c_char) -> bool =
            unsafe { std::mem::transmute(self.symbol(c"standin_configure")) };
        // SAFETY: a C string.
        assert!(unsafe { configure(text.as_ptr()) });
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        let what = CString::new(what).unwrap();
        // SAFETY: as above.
        let count: unsafe extern "C" fn(*const c_char) -> u64 =
            unsafe { std::mem::transmute(self.symbol(c"standin_count")) };
        // SAFETY: a C string.
        unsafe { count(what.as_ptr()) }
    }

    fn symbol(&self, name: &std::ffi::CStr) -> *mut c_void {
        // SAFETY: the library is loaded, the name a C string.
        let symbol = unsafe { libc::dlsym(self.library, name.as_ptr()) };
        assert!(!symbol.is_null(), "this is not the stand-in: {name:?}");
        symbol
    }

    /// Everything that is held, for messages.
    pub(crate) fn held(&self) -> Vec<(&'static str, u64)> {
        let all = HELD.map(|what| (what, self.count(what)));
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.held(), [], "nothing is left behind");
        }
    }
}

pub(crate) fn context() -> Result<CudaContext, CudaError> {
    CudaContext::new(&Driver::get()?.device(0)?, Wait::Block)
}

pub(crate) fn grid(blocks: u32, threads: u32) -> Grid {
    Grid {
        blocks,
        threads,
        shared_memory: 0,
    }
}

/// Event times are 32-bit milliseconds.
pub(crate) fn assert_close(found: Duration, expected_us: u64) {
    let expected = Duration::from_micros(expected_us);
    let off = found.abs_diff(expected);
    assert!(
        off < Duration::from_nanos(10),
        "{found:?} is not {expected:?}"
    );
}

/// Those that nets as graphs call, and a copy on the legacy default stream.
pub(crate) const GRAPH_CALLS: [&str; 5] = [
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuMemcpyDtoH_v2",
];

/// Those that free: what they fail with has nobody to be told to.
pub(crate) const FREES: [&str; 5] = [
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuModuleUnload",
    "cuStreamDestroy_v2",
    "cuEventDestroy_v2",
];

/// The functions that the layer calls, but for those of graphs, of starting and of what a device is.
pub(crate) const CALLS: [&str; 30] = [
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuCtxCreate_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuCtxGetStreamPriorityRange",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuStreamCreateWithPriority",
    "cuStreamGetPriority",
    "cuStreamSynchronize",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventElapsedTime",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuModuleUnload",
    "cuStreamDestroy_v2",
    "cuEventDestroy_v2",
    "cuMemGetAddressRange_v2",
    "cuMemGetHandleForAddressRange",
    "cuPointerSetAttribute",
];

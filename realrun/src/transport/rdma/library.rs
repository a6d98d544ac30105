//! libibverbs, loaded when the first device is asked for, and how libraries are loaded.
//!
//! Types and constants are those of the crates `ibverbs` and `ibverbs-sys`. Their functions are not
//! called, so the linker leaves the library out: a program with this feature starts, and says what
//! is missing, on a machine without it.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

use ibverbs_sys as sys;

use super::failure::Failure;

/// The file name of the library, with the version of its binary interface.
const LIBRARY: &str = "libibverbs.so.1";

/// Declares [`Functions`], each with the type that the bindings give it: the compiler compares them.
/// Naming a declaration in a constant links nothing.
macro_rules! functions {
    ($($field:ident = $symbol:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of libibverbs that are used.
        pub(super) struct Functions {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// `None` in a library that is older.
            pub(super) reg_dmabuf_mr: Option<RegisterDmaBuf>,
        }

        $(const _: unsafe extern "C" fn($($argument),*) $(-> $result)? = sys::$symbol;)*

        fn find_all(library: &Library) -> Result<Functions, String> {
            Ok(Functions {
                $($field: library.find(stringify!($symbol))?,)*
                // Since version 1.12 of the interface (rdma-core 34).
                reg_dmabuf_mr: library.find("ibv_reg_dmabuf_mr").ok(),
            })
        }
    };
}

type RegisterDmaBuf =
    unsafe extern "C" fn(*mut sys::ibv_pd, u64, usize, u64, c_int, c_int) -> *mut sys::ibv_mr;
const _: RegisterDmaBuf = sys::ibv_reg_dmabuf_mr;

functions! {
    get_device_list = ibv_get_device_list(*mut c_int) -> *mut *mut sys::ibv_device;
    free_device_list = ibv_free_device_list(*mut *mut sys::ibv_device);
    get_device_name = ibv_get_device_name(*mut sys::ibv_device) -> *const c_char;
    open_device = ibv_open_device(*mut sys::ibv_device) -> *mut sys::ibv_context;
    close_device = ibv_close_device(*mut sys::ibv_context) -> c_int;
    get_async_event = ibv_get_async_event(*mut sys::ibv_context, *mut sys::ibv_async_event) -> c_int;
    ack_async_event = ibv_ack_async_event(*mut sys::ibv_async_event);
    query_port = ibv_query_port(*mut sys::ibv_context, u8, *mut sys::_compat_ibv_port_attr) -> c_int;
    alloc_pd = ibv_alloc_pd(*mut sys::ibv_context) -> *mut sys::ibv_pd;
    dealloc_pd = ibv_dealloc_pd(*mut sys::ibv_pd) -> c_int;
    reg_mr = ibv_reg_mr(*mut sys::ibv_pd, *mut c_void, usize, c_int) -> *mut sys::ibv_mr;
    dereg_mr = ibv_dereg_mr(*mut sys::ibv_mr) -> c_int;
    create_comp_channel = ibv_create_comp_channel(*mut sys::ibv_context) -> *mut sys::ibv_comp_channel;
    destroy_comp_channel = ibv_destroy_comp_channel(*mut sys::ibv_comp_channel) -> c_int;
    create_cq = ibv_create_cq(
        *mut sys::ibv_context, c_int, *mut c_void, *mut sys::ibv_comp_channel, c_int
    ) -> *mut sys::ibv_cq;
    destroy_cq = ibv_destroy_cq(*mut sys::ibv_cq) -> c_int;
    get_cq_event = ibv_get_cq_event(
        *mut sys::ibv_comp_channel, *mut *mut sys::ibv_cq, *mut *mut c_void
    ) -> c_int;
    ack_cq_events = ibv_ack_cq_events(*mut sys::ibv_cq, c_uint);
    create_qp = ibv_create_qp(*mut sys::ibv_pd, *mut sys::ibv_qp_init_attr) -> *mut sys::ibv_qp;
    modify_qp = ibv_modify_qp(*mut sys::ibv_qp, *mut sys::ibv_qp_attr, c_int) -> c_int;
    destroy_qp = ibv_destroy_qp(*mut sys::ibv_qp) -> c_int;
}

/// The library; loaded by the first call.
pub(super) fn library() -> Result<&'static Functions, Failure> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| find_all(&Library::load(LIBRARY)?));
    loaded.as_ref().map_err(|problem| {
        Failure::new("dlopen", problem).because(format!(
            "install the library {LIBRARY} and the drivers of your adapter \
             (Debian: libibverbs1 and ibverbs-providers; Red Hat: libibverbs)"
        ))
    })
}

/// A library that has been loaded, and is never unloaded.
pub(super) struct Library {
    name: &'static str,
    handle: NonNull<c_void>,
}

impl Library {
    /// Loads the library called `name`.
    #[expect(unsafe_code, reason = "a library loaded at run time")]
    pub(super) fn load(name: &'static str) -> Result<Library, String> {
        let file = CString::new(name).expect("the name has no zero");
        // SAFETY: the name is a C string. The library's constructors are those of a system library.
        let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let handle = NonNull::new(handle).ok_or_else(|| {
            // SAFETY: dlerror returns null or a C string that lives until the next call of this thread.
            let said = NonNull::new(unsafe { libc::dlerror() });
            // SAFETY: as above; it is copied at once.
            said.map_or_else(String::new, |s| unsafe {
                CStr::from_ptr(s.as_ptr()).to_string_lossy().into_owned()
            })
        })?;
        Ok(Library { name, handle })
    }

    /// The function called `name`, of type `F`.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    pub(super) fn find<F: Copy>(&self, name: &str) -> Result<F, String> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
        let symbol = CString::new(name).expect("no name of a function has a zero");
        // SAFETY: the handle is of a loaded library, the name a C string.
        let symbol = NonNull::new(unsafe { libc::dlsym(self.handle.as_ptr(), symbol.as_ptr()) });
        let symbol = symbol.ok_or_else(|| format!("{} has no {name}", self.name))?;
        // SAFETY: `F` is the type that the function's declaration gives it, an address of the size of
        // this one.
        Ok(unsafe { std::mem::transmute_copy::<NonNull<c_void>, F>(&symbol) })
    }
}

/// What a call that returns an error number says.
pub(super) fn checked(call: &'static str, errno: c_int) -> Result<(), Failure> {
    match errno {
        0 => Ok(()),
        // Some drivers return -1 and set `errno`.
        -1 => Err(Failure::of_call(call, &io::Error::last_os_error())),
        errno => {
            let source = io::Error::from_raw_os_error(errno.abs());
            Err(Failure::of_call(call, &source))
        }
    }
}

/// What a call that returns an address, or null and `errno`, says.
pub(super) fn made<T>(call: &'static str, pointer: *mut T) -> Result<NonNull<T>, Failure> {
    NonNull::new(pointer).ok_or_else(|| Failure::of_call(call, &io::Error::last_os_error()))
}

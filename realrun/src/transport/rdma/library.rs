//! libibverbs, loaded when the first device is asked for.
//!
//! It is not linked: a program with this feature starts, and says what is missing, on a machine
//! without the library.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

use super::failure::Failure;
use super::sys;

/// The file name of the library, with the version of its binary interface.
const LIBRARY: &str = "libibverbs.so.1";

/// The functions of libibverbs that are used.
pub(super) struct Functions {
    pub(super) get_device_list: unsafe extern "C" fn(*mut c_int) -> *mut *mut sys::Device,
    pub(super) free_device_list: unsafe extern "C" fn(*mut *mut sys::Device),
    pub(super) get_device_name: unsafe extern "C" fn(*mut sys::Device) -> *const c_char,
    pub(super) open_device: unsafe extern "C" fn(*mut sys::Device) -> *mut sys::Context,
    pub(super) close_device: unsafe extern "C" fn(*mut sys::Context) -> c_int,
    pub(super) query_port: unsafe extern "C" fn(*mut sys::Context, u8, *mut sys::PortAttr) -> c_int,
    pub(super) alloc_pd: unsafe extern "C" fn(*mut sys::Context) -> *mut sys::Pd,
    pub(super) dealloc_pd: unsafe extern "C" fn(*mut sys::Pd) -> c_int,
    pub(super) reg_mr:
        unsafe extern "C" fn(*mut sys::Pd, *mut c_void, usize, c_int) -> *mut sys::Mr,
    pub(super) dereg_mr: unsafe extern "C" fn(*mut sys::Mr) -> c_int,
    pub(super) create_comp_channel:
        unsafe extern "C" fn(*mut sys::Context) -> *mut sys::CompChannel,
    pub(super) destroy_comp_channel: unsafe extern "C" fn(*mut sys::CompChannel) -> c_int,
    pub(super) create_cq: unsafe extern "C" fn(
        *mut sys::Context,
        c_int,
        *mut c_void,
        *mut sys::CompChannel,
        c_int,
    ) -> *mut sys::Cq,
    pub(super) destroy_cq: unsafe extern "C" fn(*mut sys::Cq) -> c_int,
    pub(super) get_cq_event:
        unsafe extern "C" fn(*mut sys::CompChannel, *mut *mut sys::Cq, *mut *mut c_void) -> c_int,
    pub(super) ack_cq_events: unsafe extern "C" fn(*mut sys::Cq, c_uint),
    pub(super) create_qp: unsafe extern "C" fn(*mut sys::Pd, *mut sys::QpInitAttr) -> *mut sys::Qp,
    pub(super) modify_qp: unsafe extern "C" fn(*mut sys::Qp, *mut sys::QpAttr, c_int) -> c_int,
    pub(super) destroy_qp: unsafe extern "C" fn(*mut sys::Qp) -> c_int,
}

/// The library; loaded by the first call.
pub(super) fn library() -> Result<&'static Functions, Failure> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(|problem| {
        Failure::new("dlopen", problem).because(format!(
            "install the library {LIBRARY} and the drivers of your adapter \
             (Debian: libibverbs1 and ibverbs-providers; Red Hat: libibverbs)"
        ))
    })
}

#[expect(unsafe_code, reason = "functions of a library loaded at run time")]
fn load() -> Result<Functions, String> {
    let name = CString::new(LIBRARY).expect("the name has no zero");
    // SAFETY: the name is a C string. The library's constructors are those of a system library, and
    // it is never unloaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    let handle = NonNull::new(handle).ok_or_else(|| {
        // SAFETY: dlerror returns null or a C string that lives until the next call of this thread.
        let said = NonNull::new(unsafe { libc::dlerror() });
        // SAFETY: as above; it is copied at once.
        said.map_or_else(String::new, |s| unsafe {
            CStr::from_ptr(s.as_ptr()).to_string_lossy().into_owned()
        })
    })?;
    Ok(Functions {
        get_device_list: find(handle, c"ibv_get_device_list")?,
        free_device_list: find(handle, c"ibv_free_device_list")?,
        get_device_name: find(handle, c"ibv_get_device_name")?,
        open_device: find(handle, c"ibv_open_device")?,
        close_device: find(handle, c"ibv_close_device")?,
        query_port: find(handle, c"ibv_query_port")?,
        alloc_pd: find(handle, c"ibv_alloc_pd")?,
        dealloc_pd: find(handle, c"ibv_dealloc_pd")?,
        reg_mr: find(handle, c"ibv_reg_mr")?,
        dereg_mr: find(handle, c"ibv_dereg_mr")?,
        create_comp_channel: find(handle, c"ibv_create_comp_channel")?,
        destroy_comp_channel: find(handle, c"ibv_destroy_comp_channel")?,
        create_cq: find(handle, c"ibv_create_cq")?,
        destroy_cq: find(handle, c"ibv_destroy_cq")?,
        get_cq_event: find(handle, c"ibv_get_cq_event")?,
        ack_cq_events: find(handle, c"ibv_ack_cq_events")?,
        create_qp: find(handle, c"ibv_create_qp")?,
        modify_qp: find(handle, c"ibv_modify_qp")?,
        destroy_qp: find(handle, c"ibv_destroy_qp")?,
    })
}

/// The function called `name`, of type `F`.
#[expect(unsafe_code, reason = "functions of a library loaded at run time")]
fn find<F: Copy>(library: NonNull<c_void>, name: &CStr) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
    // SAFETY: the handle is of a loaded library, the name a C string.
    let symbol = NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) });
    let symbol = symbol.ok_or_else(|| format!("{LIBRARY} has no {}", name.to_string_lossy()))?;
    // SAFETY: `F` is the type that the library's documentation gives the function, an address of
    // the size of this one.
    Ok(unsafe { std::mem::transmute_copy::<NonNull<c_void>, F>(&symbol) })
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

//! The driver: whether it is there and new enough, and the devices that it shows.

use std::ffi::{CStr, CString, c_int};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use super::super::cuda_error::{Cause, CudaError};
use super::{graph, peer};

/// The lowest version of the driver that loads the program's kernels (PTX 7.0), as
/// `cuDriverGetVersion` counts.
const NEEDED_VERSION: c_int = 11_000;

/// Every function of the driver that is called, looked up before the first call: cudarc ends the
/// process at the first use of one that is missing.
const FUNCTIONS: [&str; 37] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceGetPCIBusId",
    "cuDeviceTotalMem_v2",
    "cuCtxCreate_v2",
    "cuCtxDestroy_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuCtxGetStreamPriorityRange",
    "cuMemGetInfo_v2",
    "cuMemGetAddressRange_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuPointerSetAttribute",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuStreamCreateWithPriority",
    "cuStreamDestroy_v2",
    "cuStreamGetPriority",
    "cuStreamSynchronize",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventElapsedTime",
];

/// The names of all functions of the driver that are called: those that everything needs, those of
/// graphs, and that of exports to network adapters.
pub fn functions() -> impl Iterator<Item = &'static str> {
    let more = graph::FUNCTIONS.into_iter().chain([peer::EXPORT]);
    FUNCTIONS.into_iter().chain(more)
}

/// The driver, loaded and initialised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Driver {
    /// The newest CUDA that it runs: a thousand times the major number and ten times the minor one.
    pub version: i32,
}

/// A GPU, or an instance of a partitioned one, as the driver shows it to this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its number among those that the driver shows, from zero.
    pub ordinal: u32,
    /// Its maker's name, such as `NVIDIA A2`.
    pub name: String,
    pub(super) handle: c_int,
}

/// Turns what a call returned into an error that names it.
pub(super) fn checked(
    result: CUresult,
    device: impl FnOnce() -> String,
    call: impl FnOnce() -> String,
) -> Result<(), CudaError> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let code = result as u32;
    Err(CudaError::Call {
        call: call(),
        device: device(),
        name: name_of(result),
        code,
        cause: Cause::of(code),
    })
}

#[expect(unsafe_code, reason = "a call of the CUDA driver")]
fn name_of(result: CUresult) -> String {
    let mut name = std::ptr::null();
    // SAFETY: the address is of a variable; the driver's names are C strings that live for ever.
    let found = unsafe { sys::cuGetErrorName(result, &raw mut name) };
    if found != CUresult::CUDA_SUCCESS || name.is_null() {
        return "an error without a name".to_owned();
    }
    // SAFETY: as above, and it is not null.
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

impl Driver {
    /// The driver; loaded and initialised by the first call.
    ///
    /// # Errors
    /// If the library is not there, lacks a function, is too old, or refuses to start. A later call
    /// then says the same.
    pub fn get() -> Result<Driver, CudaError> {
        static DRIVER: OnceLock<Result<Driver, CudaError>> = OnceLock::new();
        DRIVER.get_or_init(load).clone()
    }

    /// Number of devices that the driver shows to this process.
    ///
    /// # Errors
    /// If the driver does not say.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn n_devices(self) -> Result<u32, CudaError> {
        let mut count = 0;
        // SAFETY: the driver is loaded and initialised; the address is of a variable.
        let result = unsafe { sys::cuDeviceGetCount(&raw mut count) };
        checked(result, of_no_device, || "cuDeviceGetCount".to_owned())?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// The device with this number.
    ///
    /// # Errors
    /// [`CudaError::NoDevice`] if there is none, or if the driver does not answer.
    #[expect(unsafe_code, reason = "calls of the CUDA driver")]
    pub fn device(self, ordinal: u32) -> Result<Device, CudaError> {
        let count = self.n_devices()?;
        if ordinal >= count {
            return Err(CudaError::NoDevice { ordinal, count });
        }
        let mut handle = 0;
        let number = c_int::try_from(ordinal).expect("it is below a count that fits");
        // SAFETY: as in `n_devices`.
        let result = unsafe { sys::cuDeviceGet(&raw mut handle, number) };
        let unnamed = || format!("GPU {ordinal}");
        checked(result, unnamed, || "cuDeviceGet".to_owned())?;
        let mut name = [0_u8; 256];
        // SAFETY: the driver writes no more than so many bytes, the last of them a zero.
        let result =
            unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as c_int, handle) };
        checked(result, unnamed, || "cuDeviceGetName".to_owned())?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(Device {
            ordinal,
            name: name.to_string_lossy().into_owned(),
            handle,
        })
    }
}

fn of_no_device() -> String {
    "this machine".to_owned()
}

/// Whether the library, which is there, has a function of this name.
#[cfg(not(feature = "candle-cuda"))]
#[expect(unsafe_code, reason = "a library loaded at run time")]
pub(super) fn has(name: &str) -> bool {
    // SAFETY: the library is there, and never unloaded.
    let library = unsafe { sys::culib() };
    // SAFETY: the symbol is only looked for, neither read nor called.
    unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok()
}

/// Whether the library, with which the program is linked, has a function of this name.
#[cfg(feature = "candle-cuda")]
#[expect(unsafe_code, reason = "a look at the symbols of the process")]
pub(super) fn has(name: &str) -> bool {
    let name = std::ffi::CString::new(name).expect("names of functions have no zero");
    // SAFETY: the symbol is only looked for, neither read nor called.
    !unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.is_null()
}

/// Whether the library is there.
#[cfg(not(feature = "candle-cuda"))]
#[expect(unsafe_code, reason = "a library loaded at run time")]
fn is_there() -> bool {
    // SAFETY: the library's constructors are those of a system library.
    unsafe { sys::is_culib_present() }
}

/// Whether the library is there: the program is linked with it, and would not have started without.
#[cfg(feature = "candle-cuda")]
const fn is_there() -> bool {
    true
}

#[expect(unsafe_code, reason = "a library loaded at run time")]
fn load() -> Result<Driver, CudaError> {
    if !is_there() {
        return Err(CudaError::NoDriver);
    }
    let missing: Vec<_> = FUNCTIONS.into_iter().filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        return Err(CudaError::MissingSymbols { missing });
    }
    let mut version = 0;
    // SAFETY: the function is there; the address is of a variable.
    let result = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    checked(result, of_no_device, || "cuDriverGetVersion".to_owned())?;
    if version < NEEDED_VERSION {
        return Err(CudaError::DriverTooOld {
            found: version,
            needed: NEEDED_VERSION,
        });
    }
    // SAFETY: the function is there; it takes no flags.
    let result = unsafe { sys::cuInit(0) };
    checked(result, of_no_device, || "cuInit".to_owned())?;
    Ok(Driver { version })
}

impl Device {
    /// Number and name, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("GPU {} ({})", self.ordinal, self.name)
    }

    /// Its streaming multiprocessors.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn n_sms(&self) -> Result<u32, CudaError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    /// Threads that each of them holds at once.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn threads_per_sm(&self) -> Result<u32, CudaError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)
    }

    /// Its copy engines, as the driver counts them.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn n_copy_engines(&self) -> Result<u32, CudaError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT)
    }

    /// Its memory, in bytes.
    ///
    /// # Errors
    /// If the driver does not say.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub fn memory(&self) -> Result<u64, CudaError> {
        let mut bytes = 0;
        // SAFETY: the handle is the driver's own; the address is of a variable.
        let result = unsafe { sys::cuDeviceTotalMem_v2(&raw mut bytes, self.handle) };
        checked(result, || self.describe(), || "cuDeviceTotalMem".to_owned())?;
        Ok(bytes as u64)
    }

    /// Its address on the PCI bus, such as `0000:3b:00.0`.
    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub(super) fn bus_id(&self) -> Result<CString, CudaError> {
        let mut text = [0_u8; 32];
        let room = text.len() as c_int;
        // SAFETY: the driver writes no more than so many bytes, the last of them a zero.
        let result =
            unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), room, self.handle) };
        checked(
            result,
            || self.describe(),
            || "cuDeviceGetPCIBusId".to_owned(),
        )?;
        Ok(CStr::from_bytes_until_nul(&text)
            .unwrap_or_default()
            .to_owned())
    }

    #[expect(unsafe_code, reason = "a call of the CUDA driver")]
    pub(super) fn attribute(&self, attribute: Attribute) -> Result<u32, CudaError> {
        let mut value = 0;
        // SAFETY: the handle is the driver's own; the address is of a variable.
        let result = unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, self.handle) };
        checked(
            result,
            || self.describe(),
            || format!("cuDeviceGetAttribute of {attribute:?}"),
        )?;
        Ok(u32::try_from(value).unwrap_or(0))
    }
}

//! The state of devices when a measurement begins, from NVIDIA's management library.
//!
//! It comes with the driver and is loaded when it is asked for. What it does not tell, because it is
//! not there, too old or not allowed to, is left out: nothing but the record depends on it. Nothing is
//! set: a measurement records clocks and limits and never changes them.

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::ptr::NonNull;

/// The file name of the library, with the version of its binary interface.
const LIBRARY: &CStr = c"libnvidia-ml.so.1";
/// `NVML_CLOCK_SM` and `NVML_CLOCK_MEM` of `nvml.h`.
const CLOCKS: [(c_uint, &str); 2] = [(1, "SM clock"), (2, "memory clock")];
/// `NVML_TEMPERATURE_GPU`.
const TEMPERATURE_GPU: c_uint = 0;

type Device = *mut c_void;
type OfDevice = unsafe extern "C" fn(Device, *mut c_uint) -> c_uint;
type OfKind = unsafe extern "C" fn(Device, c_uint, *mut c_uint) -> c_uint;

/// The library, started.
struct Nvml {
    handle: NonNull<c_void>,
}

impl Nvml {
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn start() -> Option<Nvml> {
        // SAFETY: a C string; the library's constructors are those of a system library, and it is
        // never unloaded.
        let handle = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let nvml = Nvml {
            handle: NonNull::new(handle)?,
        };
        let init: unsafe extern "C" fn() -> c_uint = nvml.find(c"nvmlInit_v2")?;
        // SAFETY: it takes nothing.
        (unsafe { init() } == 0).then_some(nvml)
    }

    /// The function called `name`, of type `F` as `nvml.h` declares it.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn find<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
        // SAFETY: the handle is of a loaded library, the name a C string.
        let symbol = NonNull::new(unsafe { libc::dlsym(self.handle.as_ptr(), name.as_ptr()) })?;
        // SAFETY: an address of the size of this one; `F` is the function's type.
        Some(unsafe { std::mem::transmute_copy::<NonNull<c_void>, F>(&symbol) })
    }

    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn driver_version(&self) -> Option<String> {
        let version: unsafe extern "C" fn(*mut c_char, c_uint) -> c_uint =
            self.find(c"nvmlSystemGetDriverVersion")?;
        let mut text = [0_u8; 80];
        // SAFETY: no more than so many bytes are written, the last of them a zero.
        let result = unsafe { version(text.as_mut_ptr().cast(), text.len() as c_uint) };
        let text = CStr::from_bytes_until_nul(&text).ok()?;
        (result == 0).then(|| text.to_string_lossy().into_owned())
    }

    /// The device at an address of the PCI bus.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn device(&self, bus_id: &CStr) -> Option<Device> {
        let by_bus: unsafe extern "C" fn(*const c_char, *mut Device) -> c_uint =
            self.find(c"nvmlDeviceGetHandleByPciBusId_v2")?;
        let mut device = std::ptr::null_mut();
        // SAFETY: a C string, and the address of a variable.
        (unsafe { by_bus(bus_id.as_ptr(), &raw mut device) } == 0).then_some(device)
    }

    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn number(&self, device: Device, name: &CStr) -> Option<u32> {
        let function: OfDevice = self.find(name)?;
        let mut value = 0;
        // SAFETY: the device is the library's own, the address of a variable.
        (unsafe { function(device, &raw mut value) } == 0).then_some(value)
    }

    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn number_of(&self, device: Device, name: &CStr, kind: c_uint) -> Option<u32> {
        let function: OfKind = self.find(name)?;
        let mut value = 0;
        // SAFETY: as above.
        (unsafe { function(device, kind, &raw mut value) } == 0).then_some(value)
    }
}

/// The driver's version, and clocks, temperature, power and link of the device at an address of the
/// PCI bus, in words; what is not told is left out.
pub(super) fn state(bus_id: &CStr) -> Vec<String> {
    let Some(nvml) = Nvml::start() else {
        return Vec::new();
    };
    let mut facts = Vec::new();
    if let Some(version) = nvml.driver_version() {
        facts.push(format!("driver {version}"));
    }
    let Some(device) = nvml.device(bus_id) else {
        return facts;
    };
    for (clock, name) in CLOCKS {
        let now = nvml.number_of(device, c"nvmlDeviceGetClockInfo", clock);
        let most = nvml.number_of(device, c"nvmlDeviceGetMaxClockInfo", clock);
        if let (Some(now), Some(most)) = (now, most) {
            facts.push(format!("{name} {now} of {most} MHz"));
        }
    }
    let temperature = nvml.number_of(device, c"nvmlDeviceGetTemperature", TEMPERATURE_GPU);
    facts.extend(temperature.map(|celsius| format!("{celsius} °C")));
    let draw = nvml.number(device, c"nvmlDeviceGetPowerUsage");
    let limit = nvml.number(device, c"nvmlDeviceGetEnforcedPowerLimit");
    if let (Some(draw_mw), Some(limit_mw)) = (draw, limit) {
        facts.push(format!("{} of {} W", draw_mw / 1000, limit_mw / 1000));
    }
    let generation = nvml.number(device, c"nvmlDeviceGetCurrPcieLinkGeneration");
    let width = nvml.number(device, c"nvmlDeviceGetCurrPcieLinkWidth");
    if let (Some(generation), Some(width)) = (generation, width) {
        facts.push(format!("PCIe {generation} x{width}"));
    }
    facts
}

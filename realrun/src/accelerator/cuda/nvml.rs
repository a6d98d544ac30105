//! The state of devices, from NVIDIA's management library.
//!
//! It comes with the driver and is loaded when it is asked for. What it does not tell, because it is
//! not there, too old or not allowed to, is left out: nothing but the record depends on it. Nothing is
//! set: a measurement records clocks and limits and never changes them.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::NonNull;

use crate::pcie::Distance;
use crate::topology::Neighbours;

/// The file name of the library, with the version of its binary interface.
const LIBRARY: &CStr = c"libnvidia-ml.so.1";
/// `NVML_CLOCK_SM` and `NVML_CLOCK_MEM` of `nvml.h`.
const CLOCKS: [(c_uint, &str); 2] = [(1, "SM clock"), (2, "memory clock")];
/// `NVML_TEMPERATURE_GPU`.
const TEMPERATURE_GPU: c_uint = 0;

/// Reasons for a slower clock, bits of `nvmlClocksThrottleReasons` of `nvml.h`. That a device is idle
/// (1), and clocks that somebody set (2, 256), are none.
const SLOWED: [(u64, &str); 6] = [
    (0x04, "its power limit"),
    (0x08, "its hardware (heat, power or a signal from outside)"),
    (0x10, "GPUs whose clocks are in step with its own"),
    (0x20, "its temperature (the driver)"),
    (0x40, "its temperature (the hardware)"),
    (0x80, "a power brake from outside"),
];
/// `nvmlComputeMode_t`.
const COMPUTE_MODES: [&str; 4] = [
    "default",
    "exclusive to a thread",
    "prohibited",
    "exclusive to a process",
];
/// What lies between two devices by `nvmlGpuTopologyLevel_t`.
const LEVELS: [(c_uint, Distance); 6] = [
    // Two GPUs of one board.
    (0, Distance::Switch),
    (10, Distance::Switch),
    (20, Distance::Switch),
    (30, Distance::RootComplex),
    (40, Distance::Socket),
    (50, Distance::AcrossSockets),
];
/// `NVML_NVLINK_MAX_LINKS`.
const MOST_NVLINKS: c_uint = 18;
/// Size of `nvmlPciInfo_t`, and where in it the address is that has eight digits of the domain.
const PCI_INFO_BYTES: usize = 68;
const BUS_ID_AT: usize = 36;
/// `NVML_ERROR_INSUFFICIENT_SIZE`: there are more than was asked for, and how many is told.
const INSUFFICIENT_SIZE: c_uint = 7;

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

    /// The newest CUDA that the driver takes.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn cuda_version(&self) -> Option<String> {
        let version: unsafe extern "C" fn(*mut c_int) -> c_uint =
            self.find(c"nvmlSystemGetCudaDriverVersion_v2")?;
        let mut number = 0;
        // SAFETY: the address of a variable.
        let result = unsafe { version(&raw mut number) };
        let text = || format!("CUDA {}.{}", number / 1000, number % 1000 / 10);
        (result == 0).then(text)
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

    /// What a function tells by filling `N` numbers of type `T` that lie one after the other.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn numbers<T: Copy + Default, const N: usize>(
        &self,
        device: Device,
        name: &CStr,
    ) -> Option<[T; N]> {
        let function: unsafe extern "C" fn(Device, *mut T) -> c_uint = self.find(name)?;
        let mut values = [T::default(); N];
        // SAFETY: the device is the library's own; the structure that `nvml.h` gives the function is of
        // so many numbers of this type.
        (unsafe { function(device, values.as_mut_ptr()) } == 0).then_some(values)
    }

    /// What lies between two devices.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn distance(&self, one: Device, other: Device) -> Option<Distance> {
        let function: unsafe extern "C" fn(Device, Device, *mut c_uint) -> c_uint =
            self.find(c"nvmlDeviceGetTopologyCommonAncestor")?;
        let mut level = 0;
        // SAFETY: the devices are the library's own, the address of a variable.
        let result = unsafe { function(one, other, &raw mut level) };
        let known = LEVELS.iter().find(|(number, _)| *number == level);
        known.filter(|_| result == 0).map(|(_, distance)| *distance)
    }

    /// The address of what is at the far end of an NVLink.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn far_end(&self, device: Device, link: c_uint) -> Option<String> {
        let function: unsafe extern "C" fn(Device, c_uint, *mut u32) -> c_uint =
            self.find(c"nvmlDeviceGetNvLinkRemotePciInfo_v2")?;
        // Of numbers, for the structure has some that are to be aligned.
        let mut info = [0_u32; PCI_INFO_BYTES / 4];
        // SAFETY: the device is the library's own; the structure has so many bytes.
        let result = unsafe { function(device, link, info.as_mut_ptr()) };
        let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let text = CStr::from_bytes_until_nul(&bytes[BUS_ID_AT..]).ok()?;
        (result == 0).then(|| address(text))
    }

    /// What is at the far ends of the device's NVLinks that are up; `None` if nothing is told of any.
    fn nvlinks(&self, device: Device) -> Option<Vec<Option<String>>> {
        let state = |link| self.number_of(device, c"nvmlDeviceGetNvLinkState", link);
        let states: Vec<(c_uint, u32)> = (0..MOST_NVLINKS)
            .map_while(|link| Some((link, state(link)?)))
            .collect();
        let up = states.iter().filter(|(_, is_up)| *is_up != 0);
        let ends = up.map(|(link, _)| self.far_end(device, *link)).collect();
        (!states.is_empty()).then_some(ends)
    }

    /// Whether the device is partitioned.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn is_partitioned(&self, device: Device) -> Option<bool> {
        let function: unsafe extern "C" fn(Device, *mut c_uint, *mut c_uint) -> c_uint =
            self.find(c"nvmlDeviceGetMigMode")?;
        let (mut now, mut next) = (0, 0);
        // SAFETY: the device is the library's own, the addresses of variables.
        (unsafe { function(device, &raw mut now, &raw mut next) } == 0).then_some(now != 0)
    }

    /// Number of processes that compute on the device.
    #[expect(unsafe_code, reason = "functions of a library loaded at run time")]
    fn n_computing(&self, device: Device) -> Option<u32> {
        let function: unsafe extern "C" fn(Device, *mut c_uint, *mut c_void) -> c_uint =
            self.find(c"nvmlDeviceGetComputeRunningProcesses_v3")?;
        let mut n = 0;
        // SAFETY: the device is the library's own; with room for none nothing but the number is written.
        let result = unsafe { function(device, &raw mut n, std::ptr::null_mut()) };
        matches!(result, 0 | INSUFFICIENT_SIZE).then_some(n)
    }
}

/// An address on the PCI bus as the kernel writes it: in lower case, with four digits of the domain.
fn address(bus_id: &CStr) -> String {
    let text = bus_id.to_string_lossy().to_lowercase();
    match text.split_once(':') {
        Some((domain, rest)) if domain.len() > 4 => {
            format!("{}:{rest}", &domain[domain.len() - 4..])
        }
        _ => text,
    }
}

/// The devices at these addresses of the PCI bus, with what is told of their neighbours.
pub(super) fn neighbours(bus_ids: &[CString]) -> Vec<Neighbours> {
    let nvml = Nvml::start();
    let devices: Vec<Option<Device>> = bus_ids
        .iter()
        .map(|id| nvml.as_ref().and_then(|nvml| nvml.device(id)))
        .collect();
    let neighbours = |own: usize| {
        let told = nvml.as_ref().zip(devices[own]);
        let distance = |other: usize| {
            let (nvml, device) = told?;
            Some((other as u32, nvml.distance(device, devices[other]?)?))
        };
        let others = (0..devices.len()).filter(|other| *other != own);
        Neighbours {
            device: own as u32,
            address: address(&bus_ids[own]),
            distances: others.filter_map(distance).collect(),
            nvlinks: told.and_then(|(nvml, device)| nvml.nvlinks(device)),
        }
    };
    (0..bus_ids.len()).map(neighbours).collect()
}

/// How a device is at a moment; `None` of what it does not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Now {
    /// Clock of its multiprocessors, in MHz.
    pub(super) sm_mhz: Option<u32>,
    /// What it draws, in milliwatts.
    pub(super) power_mw: Option<u32>,
    /// Its temperature, in degrees Celsius.
    pub(super) celsius: Option<u32>,
    /// What slows its clock, as bits; see [`slowed_by`].
    pub(super) reasons: u64,
}

/// What bits of [`Now::reasons`] mean, in words.
pub(super) fn slowed_by(reasons: u64) -> Vec<&'static str> {
    let set = SLOWED.iter().filter(|(bit, _)| reasons & bit != 0);
    set.map(|(_, name)| *name).collect()
}

/// Devices that are looked at again and again.
pub(super) struct Monitor {
    nvml: Nvml,
    devices: Vec<Option<Device>>,
}

impl Monitor {
    /// Of the devices at these addresses of the PCI bus; `None` if there are none, or no library.
    pub(super) fn new(bus_ids: &[CString]) -> Option<Monitor> {
        if bus_ids.is_empty() {
            return None;
        }
        let nvml = Nvml::start()?;
        let devices = bus_ids.iter().map(|id| nvml.device(id)).collect();
        Some(Monitor { nvml, devices })
    }

    /// How each device is.
    pub(super) fn look(&self) -> Vec<Option<Now>> {
        let now = |device: &Option<Device>| {
            let device = (*device)?;
            let reasons = self
                .nvml
                .numbers(device, c"nvmlDeviceGetCurrentClocksThrottleReasons");
            Some(Now {
                sm_mhz: (self.nvml).number_of(device, c"nvmlDeviceGetClockInfo", CLOCKS[0].0),
                power_mw: self.nvml.number(device, c"nvmlDeviceGetPowerUsage"),
                celsius: (self.nvml).number_of(
                    device,
                    c"nvmlDeviceGetTemperature",
                    TEMPERATURE_GPU,
                ),
                reasons: reasons.map_or(0, |[reasons]| reasons),
            })
        };
        self.devices.iter().map(now).collect()
    }

    /// How many processes compute on each device, and in what part of the last moments it computed, in
    /// percent.
    pub(super) fn work(&self) -> Vec<[u32; 2]> {
        let of = |device: &Option<Device>| {
            let Some(device) = *device else {
                return [0, 0];
            };
            let used = self.nvml.numbers(device, c"nvmlDeviceGetUtilizationRates");
            let [used, _memory] = used.unwrap_or_default();
            [self.nvml.n_computing(device).unwrap_or(0), used]
        };
        self.devices.iter().map(of).collect()
    }
}

/// The driver's version, and clocks, temperature, power, link, modes and what slows it of the device at an
/// address of the PCI bus, in words; what is not told is left out.
pub(super) fn state(bus_id: &CStr) -> Vec<String> {
    let Some(nvml) = Nvml::start() else {
        return Vec::new();
    };
    let mut facts = Vec::new();
    if let Some(version) = nvml.driver_version() {
        facts.push(format!("driver {version}"));
    }
    facts.extend(nvml.cuda_version());
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
    if let Some(draw_mw) = draw {
        let most = limit.map_or(String::new(), |mw| format!(" of {}", mw / 1000));
        facts.push(format!("{}{most} W", draw_mw / 1000));
    }
    let generation = nvml.number(device, c"nvmlDeviceGetCurrPcieLinkGeneration");
    let width = nvml.number(device, c"nvmlDeviceGetCurrPcieLinkWidth");
    let most_generation = nvml.number(device, c"nvmlDeviceGetMaxPcieLinkGeneration");
    let most_width = nvml.number(device, c"nvmlDeviceGetMaxPcieLinkWidth");
    if let (Some(generation), Some(width)) = (generation, width) {
        let most = most_generation.zip(most_width);
        let most = most.map(|(generation, width)| format!(" of {generation} x{width}"));
        facts.push(format!(
            "PCIe {generation} x{width}{}",
            most.unwrap_or_default()
        ));
    }
    let bar = nvml.numbers::<u64, 3>(device, c"nvmlDeviceGetBAR1MemoryInfo");
    facts.extend(bar.map(|[total, ..]| format!("BAR1 {} MiB", total >> 20)));
    let mode = nvml.number(device, c"nvmlDeviceGetComputeMode");
    let mode = mode.and_then(|mode| COMPUTE_MODES.get(mode as usize));
    facts.extend(mode.map(|mode| format!("compute mode {mode}")));
    if nvml.is_partitioned(device) == Some(true) {
        facts.push("partitioned (MIG)".to_owned());
    }
    let reasons = nvml.numbers(device, c"nvmlDeviceGetCurrentClocksThrottleReasons");
    let slowed = slowed_by(reasons.map_or(0, |[reasons]| reasons));
    if !slowed.is_empty() {
        facts.push(format!("slowed by {}", slowed.join(", ")));
    }
    facts
}

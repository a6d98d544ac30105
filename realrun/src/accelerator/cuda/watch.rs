//! GPUs while they are measured: clocks, power, temperature, and what slows them.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::CudaError;
use super::driver::Driver;
use super::nvml::{Monitor, Now, slowed_by};

/// Between two looks: NVML's own figures are of a sixth of a second or more.
const INTERVAL: Duration = Duration::from_millis(200);

/// What a device showed while it was watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its number.
    pub device: u32,
    /// Looks at it.
    pub looks: u32,
    /// Slowest and fastest clock of its multiprocessors, in MHz.
    pub sm_mhz: Option<[u32; 2]>,
    /// The most that it drew, in milliwatts.
    pub power_mw: Option<u32>,
    /// Its highest temperature, in degrees Celsius.
    pub celsius: Option<u32>,
    /// What slowed its clock at any look.
    pub slowed_by: Vec<&'static str>,
}

impl Seen {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut facts = vec![format!("{} looks", self.looks)];
        let clock = |[least, most]: [u32; 2]| format!("SM clock {least} to {most} MHz");
        facts.extend(self.sm_mhz.map(clock));
        facts.extend(self.power_mw.map(|mw| format!("up to {} W", mw / 1000)));
        facts.extend(self.celsius.map(|celsius| format!("up to {celsius} °C")));
        if !self.slowed_by.is_empty() {
            facts.push(format!("slowed by {}", self.slowed_by.join(", ")));
        }
        format!("GPU {}: {}", self.device, facts.join(", "))
    }

    /// What to know before trusting what was measured on it; `None` if nothing.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.slowed_by.is_empty()).then(|| {
            format!(
                "GPU {} was slowed by {} while it was measured: its times are of a slower clock, which \
                 may differ from moment to moment",
                self.device,
                self.slowed_by.join(", ")
            )
        })
    }
}

/// Devices under watch, until it ends.
#[derive(Debug)]
pub struct Watch {
    end: Sender<()>,
    thread: JoinHandle<Vec<Seen>>,
}

/// Devices that can be looked at.
#[derive(Debug, Default)]
pub struct Watchable {
    devices: Vec<u32>,
    bus_ids: Vec<CString>,
}

impl Watchable {
    /// Those with these numbers, each once.
    ///
    /// # Errors
    /// If there is no usable driver, or it does not tell where a device is.
    pub fn find(devices: impl IntoIterator<Item = u32>) -> Result<Watchable, CudaError> {
        let devices: BTreeSet<u32> = devices.into_iter().collect();
        let devices: Vec<u32> = devices.into_iter().collect();
        let place = |number: &u32| Driver::get()?.device(*number)?.bus_id();
        Ok(Watchable {
            bus_ids: devices.iter().map(place).collect::<Result<_, _>>()?,
            devices,
        })
    }

    /// What is to know of them before anything is started on them: each on which others work.
    #[must_use]
    pub fn others_at_work(&self) -> Vec<String> {
        let Some(monitor) = Monitor::new(&self.bus_ids) else {
            return Vec::new();
        };
        let work = self.devices.iter().zip(monitor.work());
        let busy = work.filter(|(_, work)| *work != [0, 0]);
        let warning = |(device, [n, used]): (&u32, [u32; 2])| {
            format!(
                "GPU {device} had {n} other processes and was {used}% busy before anything was started \
                 on it: what they do is in what was measured"
            )
        };
        busy.map(warning).collect()
    }

    /// Begins to look at them, on a thread of its own.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let (devices, bus_ids) = (self.devices.clone(), self.bus_ids.clone());
        let (end, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let Some(monitor) = Monitor::new(&bus_ids) else {
                return Vec::new();
            };
            let mut looks: Vec<Vec<Now>> = vec![Vec::new(); devices.len()];
            loop {
                for (looks, now) in looks.iter_mut().zip(monitor.look()) {
                    looks.extend(now);
                }
                if ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            let seen = devices.iter().zip(looks);
            let seen = seen.filter(|(_, looks)| !looks.is_empty());
            seen.map(|(device, looks)| summary(*device, &looks))
                .collect()
        });
        Watch { end, thread }
    }
}

impl Watch {
    /// Ends it; what each device that tells of itself showed.
    #[must_use]
    pub fn end(self) -> Vec<Seen> {
        drop(self.end);
        self.thread.join().unwrap_or_default()
    }
}

fn summary(device: u32, looks: &[Now]) -> Seen {
    let clocks = || looks.iter().filter_map(|now| now.sm_mhz);
    let reasons = looks.iter().fold(0, |all, now| all | now.reasons);
    Seen {
        device,
        looks: u32::try_from(looks.len()).unwrap_or(u32::MAX),
        sm_mhz: clocks().min().zip(clocks().max()).map(Into::into),
        power_mw: looks.iter().filter_map(|now| now.power_mw).max(),
        celsius: looks.iter().filter_map(|now| now.celsius).max(),
        slowed_by: slowed_by(reasons),
    }
}

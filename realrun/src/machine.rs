//! Facts about the machine that a measurement records, and the machine's own core time.

use std::collections::BTreeMap;
use std::fs;

/// Core time of the whole machine since boot.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MachineTime {
    /// All cores' time in programs, the kernel and interrupts, in seconds.
    pub busy_s: f64,
    /// All cores' time that a hypervisor gave to others, in seconds.
    pub steal_s: f64,
}

/// Reads `/proc/stat`; `None` where there is none.
pub fn machine_time() -> Option<MachineTime> {
    parse_stat(&fs::read_to_string("/proc/stat").ok()?)
}

/// The `cpu` line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, …, in
/// hundredths of a second (`USER_HZ`, fixed at 100 for user space on Linux).
fn parse_stat(stat: &str) -> Option<MachineTime> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok())
        .collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0.0) / 100.0;
    let busy_s = at(0) + at(1) + at(2) + at(5) + at(6);
    Some(MachineTime {
        busy_s,
        steal_s: at(7),
    })
}

/// The machine's numbers of the cores that this process may run on, ascending.
pub fn cores() -> Vec<u32> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .map(|core| u32::try_from(core).expect("a core's number fits 32 bits"))
        .collect()
}

/// Processor, cores, kernel, clock source and load; what cannot be read is left out.
pub fn facts() -> BTreeMap<String, String> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let processor = read("/proc/cpuinfo").and_then(|info| {
        let line = info
            .lines()
            .find(|line| line.starts_with("model name"))?
            .to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let memory = read("/proc/meminfo").and_then(|info| {
        let line = info.lines().next()?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    [
        ("processor", processor),
        ("cores", Some(cores().len().to_string())),
        ("memory", memory),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("clock source", read(clock)),
        ("frequency governor", read(governor)),
        ("load average", read("/proc/loadavg")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_line_is_taken_apart() {
        let stat = "cpu  100 20 30 4000 5 6 7 8 0 0\ncpu0 1 2 3 4\n";
        let time = parse_stat(stat).unwrap();
        assert!((time.busy_s - 1.63).abs() < 1e-9);
        assert!((time.steal_s - 0.08).abs() < 1e-9);
        assert_eq!(parse_stat("intr 5"), None);
    }
}

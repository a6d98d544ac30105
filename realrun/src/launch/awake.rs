//! Keeps the pinned cores of a measurement from sleeping: a thread a core that spins under
//! `SCHED_IDLE`, and so runs only while nothing else wants the core.
//!
//! A core that sleeps between requests is slow to wake, and in a virtual machine its place on the
//! real core goes to other guests; both make the same work cost more after a pause than without.
//! Any user may do this, unlike `idle=poll` or `/dev/cpu_dma_latency`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_setaffinity};
use schema::scenario::{Idle, Scenario};
use crate::clock::thread_cpu_ns;
use crate::error::RealrunError;
use crate::scheduling::run_only_when_idle;

/// Spins between two looks at the clock: some tens of microseconds.
const SPINS: u32 = 2_000;

/// Threads that keep cores awake until dropped.
pub(super) struct Awake {
    stop: Arc<AtomicBool>,
    spinners: Vec<(JoinHandle<()>, Arc<AtomicU64>)>,
}

impl Awake {
    /// Keeps the cores to which hosts are pinned awake, if the scenario asks for it.
    ///
    /// # Errors
    /// If the system refuses the scheduling policy or the core.
    pub(super) fn keep(scenario: &Scenario) -> Result<Awake, RealrunError> {
        let mut awake = Awake { stop: Arc::new(AtomicBool::new(false)), spinners: Vec::new() };
        if scenario.idle == Idle::Sleep {
            return Ok(awake);
        }
        let pinned = scenario.hosts.rows().iter().filter(|host| host.pinned);
        let mut cores: Vec<u32> =
            pinned.flat_map(|host| scenario.core_sets[host.core_set].cores.clone()).collect();
        cores.sort_unstable();
        cores.dedup();
        for core in cores {
            awake.spin(core)?;
        }
        Ok(awake)
    }

    fn spin(&mut self, core: u32) -> Result<(), RealrunError> {
        let (stop, used) = (Arc::clone(&self.stop), Arc::new(AtomicU64::new(0)));
        let shown = Arc::clone(&used);
        let (tell, heard) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let settled = settle(core);
            let goes_on = settled.is_ok();
            // The launcher waits for this word, so it is there to hear it.
            let _heard = tell.send(settled);
            while goes_on && !stop.load(Ordering::Relaxed) {
                for _ in 0..SPINS {
                    std::hint::spin_loop();
                }
                used.store(thread_cpu_ns(), Ordering::Relaxed);
            }
        });
        self.spinners.push((thread, shown));
        let settled = heard.recv().expect("a spinner says how it settled");
        settled.map_err(RealrunError::io(format!("keep core {core} awake")))
    }

    /// Core time spent on keeping cores awake, in seconds.
    pub(super) fn core_time_s(&self) -> f64 {
        let used = self.spinners.iter().map(|(_, used)| used.load(Ordering::Relaxed));
        used.sum::<u64>() as f64 / 1e9
    }
}

/// Moves the calling thread to `core` and below everything else there.
fn settle(core: u32) -> std::io::Result<()> {
    run_only_when_idle()?;
    let mut set = CpuSet::new();
    set.set(core as usize);
    Ok(sched_setaffinity(None, &set)?)
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (thread, _) in self.spinners.drain(..) {
            let _panicked = thread.join();
        }
    }
}

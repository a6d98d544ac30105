//! Which blocks get room on the multiprocessors.

use schema::units::SimTime;

use super::super::work::{BlockShape, Step};
use super::exec::{Stage, UNKNOWN, due_at_once};
use super::{Device, Head, Lane, Order};

impl Device {
    /// Places blocks of the kernels at the heads of the execution queues, as far as there is room. One
    /// that lacks room holds back those of lower priority, of all processes; one at the cap of its
    /// process holds back none of others, for it could not use the room.
    pub(super) fn dispatch(&mut self, now: SimTime) -> bool {
        let Some(group) = self.computing() else {
            return false;
        };
        let row = &mut self.groups[group];
        // Without more room than there was, all would stay as it is.
        if !std::mem::take(&mut row.has_room) {
            return false;
        }
        let mut has_changed = false;
        let mut heads = std::mem::take(&mut self.heads);
        heads.extend((0..self.processes.len()).filter_map(|process| self.head(group, process)));
        self.no_room_for.clear();
        let mut lacks_room: Option<Order> = None;
        while let Some(at) = (0..heads.len()).min_by_key(|at| heads[*at]) {
            let (order, _, process, lane) = heads.swap_remove(at);
            if lacks_room.is_some_and(|higher| higher < order) {
                heads.clear();
                break;
            }
            let (placed, left, is_full) = self.place(now, group, process, lane);
            has_changed |= placed > 0;
            if is_full {
                lacks_room.get_or_insert(order);
            }
            if left == 0 {
                let queue = self.processes[process].queues.iter_mut();
                let head = queue.into_iter().find(|queue| !queue.is_empty());
                head.expect("the lane was at its head").pop_front();
                heads.extend(self.head(group, process));
            }
        }
        self.heads = heads;
        has_changed
    }

    /// What is at the head of the highest queue of a process that is not empty, if the process is in the
    /// group: its order of priority, its number in the queues, the process and the lane.
    fn head(&self, group: usize, process: usize) -> Option<Head> {
        let row = &self.processes[process];
        if row.group != group {
            return None;
        }
        let lane = row.head()?;
        let Lane { priority, exec, .. } = &self.lanes[lane];
        let exec = exec.as_ref().expect("a queued lane runs");
        Some(((row.level, *priority), exec.queued, process, lane))
    }

    /// Places blocks of the lane's kernel; how many, how many are left, and whether some lack room.
    fn place(
        &mut self,
        now: SimTime,
        group: usize,
        process: usize,
        lane: usize,
    ) -> (u32, u32, bool) {
        let row = &mut self.lanes[lane];
        let exec = row.exec.as_mut().expect("a queued lane runs");
        let Step::Kernel(kernel) = *exec.step() else {
            unreachable!("only kernels are queued")
        };
        let group = &mut self.groups[group];
        exec.advance(group.clock);
        let length = exec.scaled(kernel.time);
        let Stage::Blocks {
            pending,
            running,
            waves,
        } = &mut exec.stage
        else {
            unreachable!("a queued kernel has blocks")
        };
        let process = &mut self.processes[process];
        let most = (process.cap * self.spec.threads() as f64 + 1e-6) as u64;
        let allowed = match most.saturating_sub(process.resident) / u64::from(kernel.shape.threads)
        {
            // A cap below the size of a block would keep it off for ever.
            0 if process.resident == 0 => 1,
            allowed => allowed,
        };
        let want = (*pending).min(u32::try_from(allowed).unwrap_or(u32::MAX));
        let sms = &mut group.sms;
        let most_waves = self.spec.waves_per_kernel as usize;
        let joined = waves.last().filter(|_| waves.len() >= most_waves).copied();
        let (wave, own) = joined.unwrap_or((sms.unused_wave(), 0));
        let fits = |lacked: &BlockShape| !lacked.fits_with(&kernel.shape);
        let placed = match want {
            0 => 0,
            _ if !self.no_room_for.iter().all(fits) => 0,
            _ => sms.place(&kernel.shape, want, wave),
        };
        if placed < want {
            self.no_room_for.push(kernel.shape);
        }
        if placed > 0 {
            self.due[lane] = UNKNOWN;
            if own > 0 {
                waves.join_last(length, own, placed).1 += placed;
            } else {
                if waves.is_empty() {
                    self.due[lane] = due_at_once(length, group.clock);
                }
                waves.begin(length, (wave, placed));
            }
            *running += placed;
            process.resident += u64::from(placed * kernel.shape.threads);
            *pending -= placed;
            exec.first_block.get_or_insert(now);
        }
        (placed, *pending, placed < want)
    }
}

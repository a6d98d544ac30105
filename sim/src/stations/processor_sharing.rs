//! Processor sharing.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use schema::units::{SimDuration, SimTime};

/// Fractional bits of work, core time and speed: the rounding of a rate is below 3·10⁻¹⁰.
const FRACTION_BITS: u32 = 32;

/// Progress of work relative to that of a core to itself, from just above 0 to 1, in 2⁻³².
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Speed(u64);

impl Speed {
    /// That of a core to itself.
    pub const FULL: Speed = Speed(1 << FRACTION_BITS);

    /// The speed of a core whose jobs take `1 + slowdown` times as long.
    ///
    /// # Panics
    /// If `slowdown` is not a number from 0 up.
    pub fn slowed_by(slowdown: f64) -> Speed {
        assert!(
            slowdown >= 0.0 && slowdown.is_finite(),
            "a slowdown is a number from 0 up, found {slowdown}"
        );
        let speed = (Speed::FULL.0 as f64 / (1.0 + slowdown)).round() as u64;
        Speed(speed.max(1))
    }
}

/// A difference of [`ProcessorSharing::core_time`]s, rounded half up to a picosecond.
///
/// # Panics
/// If that is more than 213 days.
pub fn whole_core_time(core_time: u128) -> SimDuration {
    let ps = (core_time + u128::from(Speed::FULL.0 / 2)) >> FRACTION_BITS;
    SimDuration::from_ps(u64::try_from(ps).expect("core time fits 213 days"))
}

/// Processor sharing over several cores: of `n` jobs on `c` cores, each gets `min(1, c / n)` of a
/// core, and that core works at the station's speed.
///
/// All jobs progress alike, so a job that joins when each has got `V` of work since the start is
/// done when each has got `V + demand`: a heap ordered by that sum gives the next to finish
/// (virtual time; Kleinrock 1976, vol. 2, section 4.4, and Parekh and Gallager 1993). Work is in
/// 2⁻³² ps; a job ends on the first picosecond at which it has all its work, so at full speed it
/// takes its demand exactly.
#[derive(Debug)]
pub struct ProcessorSharing<T> {
    cores: u32,
    speed: Speed,
    /// Work that each job gets in a picosecond.
    rate: u64,
    /// Core time that each job uses in a picosecond.
    share: u64,
    /// Work that a job present since the start would have got.
    work: u128,
    /// Core time that a job present since the start would have used.
    core_time: u128,
    updated: SimTime,
    jobs: BinaryHeap<Active<T>>,
    next_seq: u64,
}

#[derive(Debug)]
struct Active<T> {
    done_at_work: u128,
    seq: u64,
    token: T,
}

impl<T> Ord for Active<T> {
    /// Reversed, since the heap gives its greatest first; of equals the first to join is first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.done_at_work, other.seq).cmp(&(self.done_at_work, self.seq))
    }
}

impl<T> PartialOrd for Active<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Active<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Active<T> {}

impl<T> ProcessorSharing<T> {
    /// An empty station of `cores` cores at full speed.
    ///
    /// # Panics
    /// If there are no cores.
    pub fn new(cores: u32) -> ProcessorSharing<T> {
        assert!(cores > 0, "a station has at least one core");
        ProcessorSharing {
            cores,
            speed: Speed::FULL,
            rate: Speed::FULL.0,
            share: Speed::FULL.0,
            work: 0,
            core_time: 0,
            updated: SimTime::ZERO,
            jobs: BinaryHeap::new(),
            next_seq: 0,
        }
    }

    /// Number of jobs.
    pub fn n_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Number of busy cores.
    pub fn busy(&self) -> u32 {
        u32::try_from(self.jobs.len()).map_or(self.cores, |n| n.min(self.cores))
    }

    /// Adds a job of `demand` at the instant `now`; `token` names it when it is done.
    ///
    /// # Panics
    /// If `now` is earlier than the last change.
    pub fn submit(&mut self, now: SimTime, demand: SimDuration, token: T) {
        self.advance(now);
        let done_at_work = self.work + (u128::from(demand.as_ps()) << FRACTION_BITS);
        let seq = self.next_seq;
        self.next_seq += 1;
        self.jobs.push(Active {
            done_at_work,
            seq,
            token,
        });
        self.divide();
    }

    /// When the next job is done if nothing changes until then; `None` if there is none.
    pub fn next_completion(&self) -> Option<SimTime> {
        let job = self.jobs.peek()?;
        let left = job.done_at_work.saturating_sub(self.work);
        let ps = if self.rate == Speed::FULL.0 {
            (left + u128::from(Speed::FULL.0 - 1)) >> FRACTION_BITS
        } else {
            left.div_ceil(u128::from(self.rate))
        };
        let ps = u64::try_from(ps).expect("a job ends within 213 days");
        Some(self.updated + SimDuration::from_ps(ps))
    }

    /// Takes the job that is done at the instant `now`; of several, the one whose demand ended
    /// first, and of equals the one that joined first.
    ///
    /// # Panics
    /// If none is done.
    pub fn complete(&mut self, now: SimTime) -> T {
        self.advance(now);
        let job = self.jobs.pop().expect("a job is done only where one is");
        assert!(
            job.done_at_work <= self.work,
            "a job was taken before it was done"
        );
        self.divide();
        job.token
    }

    /// Changes the speed of the cores from the instant `now` on.
    ///
    /// # Panics
    /// If `now` is earlier than the last change.
    pub fn set_speed(&mut self, now: SimTime, speed: Speed) {
        if speed != self.speed {
            self.advance(now);
            self.speed = speed;
            self.divide();
        }
    }

    /// Core time that a job present from the start until `now` would have used, in 2⁻³² ps: the
    /// difference of two readings is what each job present all the while used between them.
    ///
    /// # Panics
    /// If `now` is earlier than the last change.
    pub fn core_time(&self, now: SimTime) -> u128 {
        let passed = u128::from(now.since(self.updated).as_ps());
        self.core_time + passed * u128::from(self.share)
    }

    fn advance(&mut self, now: SimTime) {
        let passed = u128::from(now.since(self.updated).as_ps());
        if passed > 0 {
            self.work += passed * u128::from(self.rate);
            self.core_time += passed * u128::from(self.share);
            self.updated = now;
        }
    }

    /// Divides the cores anew among the jobs.
    fn divide(&mut self) {
        let n = self.jobs.len() as u64;
        let c = u64::from(self.cores);
        if n <= c {
            self.share = Speed::FULL.0;
            self.rate = self.speed.0;
        } else {
            // Fewer than 2^32 cores at a speed of at most 2^32: the products fit.
            self.share = Speed::FULL.0 * c / n;
            self.rate = (self.speed.0 * c / n).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ps(n: u64) -> SimTime {
        SimTime::from_ps(n)
    }

    /// Submits (arrival, demand) and returns when each is done.
    fn serve(cores: u32, jobs: &[(u64, u64)]) -> Vec<u64> {
        let mut station = ProcessorSharing::new(cores);
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|i| jobs[*i].0);
        let mut next = order.into_iter().peekable();
        let mut done = vec![0; jobs.len()];
        loop {
            let arrival = next.peek().map(|i| ps(jobs[*i].0));
            match (arrival, station.next_completion()) {
                (Some(at), end) if end.is_none_or(|end| at <= end) => {
                    let i = next.next().unwrap();
                    station.submit(at, SimDuration::from_ps(jobs[i].1), i);
                }
                (_, Some(end)) => done[station.complete(end)] = end.as_ps(),
                (_, None) => return done,
            }
        }
    }

    /// When each of the jobs (arrival, demand) is done if rates were exact.
    fn fluid(cores: f64, jobs: &[(u64, u64)]) -> Vec<f64> {
        let mut left: Vec<f64> = jobs.iter().map(|job| job.1 as f64).collect();
        let mut done = vec![f64::NAN; jobs.len()];
        let mut now = 0.0;
        while done.iter().any(|end| end.is_nan()) {
            let has_come = |i: &usize| jobs[*i].0 as f64 <= now;
            let active: Vec<usize> = (0..jobs.len())
                .filter(has_come)
                .filter(|i| done[*i].is_nan())
                .collect();
            let rate = (cores / active.len() as f64).min(1.0);
            let arrivals = jobs.iter().map(|job| job.0 as f64).filter(|at| *at > now);
            let ends = active.iter().map(|i| now + left[*i] / rate);
            let next = arrivals.chain(ends).fold(f64::INFINITY, f64::min);
            for i in active {
                left[i] -= (next - now) * rate;
                if left[i] < 1e-6 {
                    done[i] = next;
                }
            }
            now = next;
        }
        done
    }

    #[test]
    fn alone_a_job_takes_exactly_its_demand() {
        assert_eq!(serve(1, &[(3, 123_456_789)]), [123_456_792]);
        assert_eq!(serve(1, &[(3, 0)]), [3]);
        assert_eq!(serve(2, &[(0, 100), (7, 100), (200, 9)]), [100, 107, 209]);
    }

    #[test]
    fn two_on_a_core_take_twice_as_long() {
        assert_eq!(serve(1, &[(0, 100), (0, 100)]), [200, 200]);
        // The second joins when the first has 50 left: both halve, the first ends at 150, the
        // second has got 50 by then and has 50 to itself.
        assert_eq!(serve(1, &[(0, 100), (50, 100)]), [150, 200]);
    }

    #[test]
    fn a_change_of_speed_holds_from_then_on() {
        let mut station = ProcessorSharing::new(1);
        station.submit(ps(0), SimDuration::from_ps(100), ());
        station.set_speed(ps(50), Speed::slowed_by(1.0));
        assert_eq!(station.next_completion(), Some(ps(150)));
        station.set_speed(ps(100), Speed::FULL);
        assert_eq!(station.next_completion(), Some(ps(125)));
    }

    proptest! {
        #[test]
        fn jobs_within_the_cores_take_exactly_their_demand(
            jobs in prop::collection::vec((0u64..1_000, 0u64..1_000_000), 1..8),
        ) {
            let done = serve(8, &jobs);
            for ((arrival, demand), end) in jobs.iter().zip(done) {
                prop_assert_eq!(arrival + demand, end);
            }
        }

        /// In each busy period of one core, the last job ends when the work has been done, less
        /// than a picosecond a job and the rounding of the rates late.
        #[test]
        fn one_core_conserves_work(
            jobs in prop::collection::vec((0u64..10_000, 1u64..10_000), 1..60),
        ) {
            let done = serve(1, &jobs);
            let mut sorted = jobs.clone();
            sorted.sort_unstable();
            let empty = sorted.iter().fold(0, |free, (at, demand)| free.max(*at) + demand);
            let last = done.iter().copied().max().unwrap();
            prop_assert!(last >= empty && last <= empty + jobs.len() as u64 + 1, "{last} {empty}");
            for ((arrival, demand), end) in jobs.iter().zip(&done) {
                prop_assert!(end - arrival >= *demand);
            }
        }

        /// Against the fluid it stands for, moved on from change to change in floating point: no job
        /// ends more than a few picoseconds (a rounding up for each job) from there.
        #[test]
        fn it_follows_the_fluid(
            cores in 1u32..4,
            jobs in prop::collection::vec((0u64..30_000, 1u64..10_000), 1..30),
        ) {
            let done = serve(cores, &jobs);
            for (end, fluid) in done.iter().zip(fluid(f64::from(cores), &jobs)) {
                let slack = 2.0 + jobs.len() as f64;
                prop_assert!((*end as f64 - fluid).abs() <= slack, "{end} {fluid}");
            }
        }

        /// The core time of all jobs is the time that cores were busy.
        #[test]
        fn core_time_is_busy_time(
            cores in 1u32..4,
            demands in prop::collection::vec(1u64..1_000_000, 1..20),
        ) {
            let mut station = ProcessorSharing::new(cores);
            for (i, demand) in demands.iter().enumerate() {
                station.submit(ps(0), SimDuration::from_ps(*demand), i);
            }
            let (mut used, mut busy, mut last) = (0u128, 0u128, 0);
            while let Some(at) = station.next_completion() {
                busy += u128::from(at.as_ps() - last) * u128::from(station.busy());
                last = at.as_ps();
                used += station.core_time(at);
                station.complete(at);
            }
            let used_ps = u128::from(whole_core_time(used).as_ps());
            prop_assert!(used_ps <= busy + 1 && busy <= used_ps + demands.len() as u128, "{used_ps} {busy}");
        }
    }
}

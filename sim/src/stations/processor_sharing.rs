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

/// Processor sharing over several cores.
///
/// Jobs of one class progress alike, so a job that joins when each of them has got `V` of work
/// since the start is done when each has got `V + demand`: a heap ordered by that sum gives the
/// next to finish (virtual time; Kleinrock 1976, vol. 2, section 4.4, and Parekh and Gallager
/// 1993). Work is in 2⁻³² ps; a job ends on the first picosecond at which it has all its work, so
/// at full speed it takes its demand exactly.
///
/// Cores are divided by weight, none getting more than a cap (max-min fairness): the classes of the
/// greatest weight that would get more are held to the cap, and what they leave is divided among
/// the others. With one class and a cap of 1 each of `n` jobs on `c` cores so gets
/// `min(1, c / n)` of a core. A change costs O(log n) for the jobs and O(k) for the classes.
#[derive(Debug)]
pub struct ProcessorSharing<T> {
    cores: u32,
    /// Most of a core that a job gets.
    cap: u64,
    speed: Speed,
    updated: SimTime,
    /// By descending weight.
    classes: Vec<Sharers<T>>,
    /// Where each class is in that order.
    place: Vec<usize>,
    n_jobs: usize,
    next_seq: u64,
}

/// The jobs of a class.
#[derive(Debug)]
struct Sharers<T> {
    weight: f64,
    /// Work that each job gets in a picosecond.
    rate: u64,
    /// Core time that each job uses in a picosecond.
    share: u64,
    /// Work that a job present since the start would have got.
    work: u128,
    /// Core time that a job present since the start would have used.
    core_time: u128,
    jobs: BinaryHeap<Active<T>>,
}

impl<T> Sharers<T> {
    /// Time from the last change until the next job is done.
    fn next_completion(&self) -> Option<u64> {
        let job = self.jobs.peek()?;
        let left = job.done_at_work.saturating_sub(self.work);
        let ps = if self.rate == Speed::FULL.0 {
            (left + u128::from(Speed::FULL.0 - 1)) >> FRACTION_BITS
        } else {
            left.div_ceil(u128::from(self.rate))
        };
        Some(u64::try_from(ps).expect("a job ends within 213 days"))
    }

    fn has_done(&self) -> bool {
        (self.jobs.peek()).is_some_and(|job| job.done_at_work <= self.work)
    }
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
    /// An empty station of `cores` cores at full speed, for jobs of one class.
    ///
    /// # Panics
    /// If there are no cores.
    pub fn new(cores: u32) -> ProcessorSharing<T> {
        ProcessorSharing::weighted(cores, 1.0, &[1.0])
    }

    /// An empty station of `cores` cores at full speed, for jobs of classes with these weights, each
    /// of which gets at most `cap` cores.
    ///
    /// # Panics
    /// If there are no cores or no classes, or if the cap or a weight is not above zero.
    pub fn weighted(cores: u32, cap: f64, weights: &[f64]) -> ProcessorSharing<T> {
        assert!(cores > 0, "a station has at least one core");
        assert!(
            !weights.is_empty() && weights.iter().chain([&cap]).all(|w| *w > 0.0),
            "there is a class, and the cap and all weights are above zero"
        );
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        let mut place = vec![0; weights.len()];
        for (at, class) in order.iter().enumerate() {
            place[*class] = at;
        }
        let classes = order.into_iter().map(|class| Sharers {
            weight: weights[class],
            rate: Speed::FULL.0,
            share: Speed::FULL.0,
            work: 0,
            core_time: 0,
            jobs: BinaryHeap::new(),
        });
        ProcessorSharing {
            cores,
            cap: fixed(cap.min(f64::from(cores))),
            speed: Speed::FULL,
            updated: SimTime::ZERO,
            classes: classes.collect(),
            place,
            n_jobs: 0,
            next_seq: 0,
        }
    }

    /// Number of jobs.
    pub const fn n_jobs(&self) -> usize {
        self.n_jobs
    }

    /// Number of cores that at least one job is on.
    pub fn busy(&self) -> u32 {
        u32::try_from(self.n_jobs).map_or(self.cores, |n| n.min(self.cores))
    }

    /// Cores in use, parts of one counted as such.
    pub fn busy_share(&self) -> f64 {
        let most = self.n_jobs as f64 * self.cap as f64 / Speed::FULL.0 as f64;
        most.min(f64::from(self.cores))
    }

    /// Adds a job of `demand` to the first class at the instant `now`; `token` names it when it is
    /// done.
    ///
    /// # Panics
    /// If `now` is earlier than the last change.
    pub fn submit(&mut self, now: SimTime, demand: SimDuration, token: T) {
        self.submit_of(0, now, demand, token);
    }

    /// Adds a job of `demand` to the class number `class` at the instant `now`; `token` names it
    /// when it is done.
    ///
    /// # Panics
    /// If `now` is earlier than the last change, or if there is no such class.
    pub fn submit_of(&mut self, class: usize, now: SimTime, demand: SimDuration, token: T) {
        self.advance(now);
        let class = &mut self.classes[self.place[class]];
        class.jobs.push(Active {
            done_at_work: class.work + (u128::from(demand.as_ps()) << FRACTION_BITS),
            seq: self.next_seq,
            token,
        });
        self.next_seq += 1;
        self.n_jobs += 1;
        self.divide();
    }

    /// When the next job is done if nothing changes until then; `None` if there is none.
    pub fn next_completion(&self) -> Option<SimTime> {
        let soonest = self.classes.iter().filter_map(Sharers::next_completion);
        Some(self.updated + SimDuration::from_ps(soonest.min()?))
    }

    /// Takes the job that is done at the instant `now`; of several, one of the class of the greatest
    /// weight, of these the one whose demand ended first, and of equals the one that joined first.
    ///
    /// # Panics
    /// If none is done.
    pub fn complete(&mut self, now: SimTime) -> T {
        self.advance(now);
        let class = self.classes.iter_mut().find(|class| class.has_done());
        let class = class.expect("a job is taken when it is done");
        let job = class.jobs.pop().expect("the class has a job that is done");
        self.n_jobs -= 1;
        self.divide();
        job.token
    }

    /// Takes a job away at the instant `now` that is not done: the first for which `is_it` says so;
    /// `None` if there is none.
    ///
    /// # Panics
    /// If `now` is earlier than the last change.
    pub fn remove(&mut self, now: SimTime, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.advance(now);
        for class in &mut self.classes {
            let mut jobs = std::mem::take(&mut class.jobs).into_vec();
            let found = jobs.iter().position(|job| is_it(&job.token));
            let removed = found.map(|at| jobs.swap_remove(at));
            class.jobs = jobs.into();
            if let Some(job) = removed {
                self.n_jobs -= 1;
                self.divide();
                return Some(job.token);
            }
        }
        None
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

    /// Core time that a job of the first class present from the start until `now` would have used,
    /// in 2⁻³² ps: the difference of two readings is what each job present all the while used
    /// between them.
    ///
    /// # Panics
    /// If `now` is earlier than the last change.
    pub fn core_time(&self, now: SimTime) -> u128 {
        let passed = u128::from(now.since(self.updated).as_ps());
        let class = &self.classes[self.place[0]];
        class.core_time + passed * u128::from(class.share)
    }

    fn advance(&mut self, now: SimTime) {
        let passed = u128::from(now.since(self.updated).as_ps());
        if passed > 0 {
            for class in &mut self.classes {
                class.work += passed * u128::from(class.rate);
                class.core_time += passed * u128::from(class.share);
            }
            self.updated = now;
        }
    }

    /// Divides the cores anew among the jobs.
    fn divide(&mut self) {
        if let [class] = &mut self.classes[..] {
            // Fewer than 2^32 cores: the product fits.
            let equal = Speed::FULL.0 * u64::from(self.cores) / (self.n_jobs as u64).max(1);
            class.share = equal.min(self.cap);
            class.rate = at_speed(class.share, self.speed);
            return;
        }
        let cap = self.cap as f64 / Speed::FULL.0 as f64;
        let mut cores = f64::from(self.cores);
        let n_weighted = |class: &Sharers<T>| class.jobs.len() as f64 * class.weight;
        let mut weights: f64 = self.classes.iter().map(n_weighted).sum();
        let mut is_capped = true;
        for class in self
            .classes
            .iter_mut()
            .filter(|class| !class.jobs.is_empty())
        {
            is_capped = is_capped && class.weight * cores >= cap * weights;
            if is_capped {
                class.share = self.cap;
                cores -= class.jobs.len() as f64 * cap;
                weights -= n_weighted(class);
            } else {
                class.share = fixed(class.weight * cores / weights);
            }
            class.rate = at_speed(class.share, self.speed);
        }
    }
}

/// A number in 2⁻³², rounded down; at least the smallest above zero.
fn fixed(number: f64) -> u64 {
    ((number * Speed::FULL.0 as f64) as u64).max(1)
}

/// What a core of this speed does in a share of its time; never nothing.
fn at_speed(share: u64, speed: Speed) -> u64 {
    if speed == Speed::FULL {
        return share.max(1);
    }
    let product = u128::from(share) * u128::from(speed.0);
    u64::try_from(product >> FRACTION_BITS).map_or(u64::MAX, |rate| rate.max(1))
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
    fn weights_divide_the_cores_and_a_cap_holds() {
        let demand = SimDuration::from_ps(300);
        // Weights 2 and 1 on one core: two thirds and one third until the first is done.
        let mut station = ProcessorSharing::weighted(1, 1.0, &[1.0, 2.0]);
        station.submit_of(0, ps(0), demand, 'a');
        station.submit_of(1, ps(0), demand, 'b');
        let end = station.next_completion().unwrap();
        assert_eq!((end, station.complete(end)), (ps(451), 'b'));
        let end = station.next_completion().unwrap();
        assert_eq!((end, station.complete(end)), (ps(601), 'a'));
        // Three cores, cap 1: 'b' would get more than a core; 'a' and 'c' have a core each then.
        let mut station = ProcessorSharing::weighted(3, 1.0, &[1.0, 4.0]);
        for (class, token) in [(0, 'a'), (1, 'b'), (0, 'c')] {
            station.submit_of(class, ps(0), demand, token);
        }
        assert_eq!(station.next_completion(), Some(ps(300)));
        // Cap a half: alone it takes twice as long.
        let mut station = ProcessorSharing::weighted(1, 0.5, &[1.0]);
        station.submit(ps(0), demand, 'a');
        assert_eq!(station.next_completion(), Some(ps(600)));
        assert!((station.busy_share() - 0.5).abs() < 1e-9);
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

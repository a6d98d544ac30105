//! The core sets of all machines.

use schema::ids::{CoreSetId, Id};
use schema::run::Leg;
use schema::units::{SimDuration, SimTime};

use super::{ProcessorSharing, Speed, whole_core_time};
use crate::engine::{EventQueue, Forecast};
use crate::event::Event;
use crate::ids::{ConnectionId, InstanceId, RoleId};

/// What a job is for: which thread goes on when it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// A step of the connection's request.
    Step(ConnectionId),
    /// A chunk of the connection's message, at its sender.
    Send(ConnectionId),
    /// A chunk of the connection's message, at its receiver.
    Receive(ConnectionId),
    /// A phase of the instance's batch.
    Phase(InstanceId),
    /// What a core does beside the instance's GPU.
    Helper(InstanceId),
    /// The instance's thread polls until its GPU is done.
    Spin(InstanceId),
    /// What a role does for a request that nobody waits for.
    Bookkeeping(RoleId),
    /// A thread polls until a network adapter has a message for it.
    Poll(Poll),
}

/// Which thread polls for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Poll {
    /// The one that waits for the connection's message of a hop and leg.
    Connection(ConnectionId, u8, Leg),
    /// One of those that receive all messages of a role.
    Role(RoleId),
}

/// A job and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) role: RoleId,
    pub(crate) demand: SimDuration,
}

/// A core set before the first event.
#[derive(Clone, Debug)]
pub(crate) struct CoreSetTable {
    /// Number of its cores.
    pub(crate) cores: u32,
    /// Its speed by the number of busy cores among the other sets of its machine; one entry if
    /// they do not slow it.
    pub(crate) speeds: Vec<Speed>,
    /// The other sets of its machine.
    pub(crate) others: Vec<CoreSetId>,
}

/// The core sets of all machines: processor sharing in each, slower while the others of its machine
/// are busy, with the core time of every role.
///
/// Changes within one event take effect together when [`Cores::settle`] is called at its end.
#[derive(Debug)]
pub(crate) struct Cores {
    sets: Vec<CoreSet>,
    roles: Vec<RoleUse>,
    /// The sets whose jobs changed since the last `settle`.
    changed: Vec<CoreSetId>,
}

#[derive(Debug)]
struct CoreSet {
    station: ProcessorSharing<Running>,
    n_cores: u32,
    recent: Vec<RecentBusy>,
    /// Until when `recent` is known.
    recent_until: SimTime,
    speeds: Vec<Speed>,
    others: Vec<CoreSetId>,
    has_changed: bool,
    forecast: Forecast,
}

/// The recent busy share of a set with one memory; see [`schema::profile::IdleLaw`].
#[derive(Clone, Copy, Debug)]
struct RecentBusy {
    memory_s: f64,
    share: f64,
}

impl RecentBusy {
    /// The share after `passed_s` seconds in which the share `busy` of the cores worked.
    fn after(self, passed_s: f64, busy: f64) -> f64 {
        busy + (self.share - busy) * (-passed_s / self.memory_s).exp()
    }
}

/// What a role's cores did until now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    set: &'a CoreSet,
    now: SimTime,
}

impl Past<'_> {
    /// The recent busy share with one of the memories that the cores were made with.
    pub(crate) fn busy_share(self, memory_s: f64) -> f64 {
        let is_it = |recent: &&RecentBusy| recent.memory_s.total_cmp(&memory_s).is_eq();
        let recent = self.set.recent.iter().find(is_it);
        let recent = recent.expect("the cores keep every memory of the laws");
        recent.after(self.set.since_recent_s(self.now), self.set.busy_share())
    }
}

impl CoreSet {
    fn busy_share(&self) -> f64 {
        f64::from(self.station.busy()) / f64::from(self.n_cores)
    }

    fn since_recent_s(&self, now: SimTime) -> f64 {
        now.since(self.recent_until).as_secs_f64()
    }

    /// Remembers what the cores did until now; to be called before their jobs change.
    fn remember(&mut self, now: SimTime) {
        if self.recent.is_empty() {
            return;
        }
        let (passed_s, busy) = (self.since_recent_s(now), self.busy_share());
        for recent in &mut self.recent {
            recent.share = recent.after(passed_s, busy);
        }
        self.recent_until = now;
    }
}

/// A job under way.
#[derive(Clone, Copy, Debug)]
struct Running {
    task: Task,
    role: RoleId,
    /// What a job present since the start would have used when this one began.
    since: u128,
}

/// Core time of a role: `ended` holds, modulo 2¹²⁸, the sum over its jobs of what a job present
/// since the start would have used until this one's end, less that until its begin.
#[derive(Clone, Debug)]
struct RoleUse {
    set: CoreSetId,
    ended: u128,
    n_jobs: u64,
}

impl Cores {
    /// Sets that have idled for ever, the set on which each role runs, and the memories, in seconds,
    /// with which recent busy shares will be asked for.
    pub(crate) fn new(
        sets: &[CoreSetTable],
        roles: impl Iterator<Item = CoreSetId>,
        memories_s: &[f64],
    ) -> Cores {
        let recent = |memory_s: &f64| RecentBusy {
            memory_s: *memory_s,
            share: 0.0,
        };
        let set = |table: &CoreSetTable| CoreSet {
            station: ProcessorSharing::new(table.cores),
            n_cores: table.cores,
            recent: memories_s.iter().map(recent).collect(),
            recent_until: SimTime::ZERO,
            speeds: table.speeds.clone(),
            others: table.others.clone(),
            has_changed: false,
            forecast: Forecast::default(),
        };
        let role = |set| RoleUse {
            set,
            ended: 0,
            n_jobs: 0,
        };
        Cores {
            sets: sets.iter().map(set).collect(),
            roles: roles.map(role).collect(),
            changed: Vec::new(),
        }
    }

    /// Adds a job on the set of its role.
    pub(crate) fn submit(&mut self, now: SimTime, job: Job) {
        let role = &mut self.roles[job.role.index()];
        let set = &mut self.sets[role.set.index()];
        set.remember(now);
        role.n_jobs += 1;
        let running = Running {
            task: job.task,
            role: job.role,
            since: set.station.core_time(now),
        };
        role.ended = role.ended.wrapping_sub(running.since);
        set.station.submit(now, job.demand, running);
        let id = role.set;
        self.mark(id);
    }

    /// Takes the job that is done in `set`, and the core time that it used, which is its demand
    /// unless other sets slowed it; `None` if the forecast of that generation is void.
    pub(crate) fn complete(
        &mut self,
        now: SimTime,
        set: CoreSetId,
        generation: u32,
    ) -> Option<(Task, SimDuration)> {
        let row = &mut self.sets[set.index()];
        if !row.forecast.happens(generation) {
            return None;
        }
        row.remember(now);
        let running = row.station.complete(now);
        let core_time = row.station.core_time(now);
        let role = &mut self.roles[running.role.index()];
        role.n_jobs -= 1;
        role.ended = role.ended.wrapping_add(core_time);
        self.mark(set);
        Some((running.task, whole_core_time(core_time - running.since)))
    }

    /// Takes a job of `role` away that is not done; the core time that it used.
    ///
    /// # Panics
    /// If the role has no such job.
    pub(crate) fn cancel(&mut self, now: SimTime, role: RoleId, task: Task) -> SimDuration {
        let used = self.cancel_any(now, role, task);
        used.expect("what is cancelled is under way")
    }

    /// Takes a job of `role` away, if it has such; the core time that it used.
    pub(crate) fn cancel_any(
        &mut self,
        now: SimTime,
        role: RoleId,
        task: Task,
    ) -> Option<SimDuration> {
        let set = self.roles[role.index()].set;
        let row = &mut self.sets[set.index()];
        row.remember(now);
        let is_it = |running: &Running| running.task == task && running.role == role;
        let running = row.station.remove(now, is_it)?;
        let core_time = row.station.core_time(now);
        let role = &mut self.roles[role.index()];
        role.n_jobs -= 1;
        role.ended = role.ended.wrapping_add(core_time);
        self.mark(set);
        Some(whole_core_time(core_time - running.since))
    }

    /// What the cores of `role` did until the instant `now`.
    pub(crate) fn past(&self, now: SimTime, role: RoleId) -> Past<'_> {
        let set = &self.sets[self.roles[role.index()].set.index()];
        Past { set, now }
    }

    /// Core time of `role` until the instant `now`.
    pub(crate) fn used(&self, now: SimTime, role: RoleId) -> SimDuration {
        let role = &self.roles[role.index()];
        let core_time = self.sets[role.set.index()].station.core_time(now);
        let running = core_time.wrapping_mul(u128::from(role.n_jobs));
        whole_core_time(role.ended.wrapping_add(running))
    }

    /// Lets the changes since the last call take effect: the speeds of the other sets of the same
    /// machine, and the forecasts of the next completions.
    pub(crate) fn settle(&mut self, queue: &mut EventQueue<Event>) {
        let n_own = self.changed.len();
        for i in 0..n_own {
            let changed = self.changed[i].index();
            for k in 0..self.sets[changed].others.len() {
                let other = self.sets[changed].others[k];
                self.set_speed(queue.now(), other);
            }
        }
        for i in 0..self.changed.len() {
            let id = self.changed[i];
            let set = &mut self.sets[id.index()];
            set.has_changed = false;
            let next = set.station.next_completion();
            if let Some((at, generation)) = set.forecast.expect(next) {
                queue.schedule_at(
                    at,
                    Event::JobDone {
                        set: id,
                        generation,
                    },
                );
            }
        }
        self.changed.clear();
    }

    /// Adapts the speed of `set` to what the other sets of its machine do now.
    fn set_speed(&mut self, now: SimTime, set: CoreSetId) {
        let row = &self.sets[set.index()];
        if row.speeds.len() == 1 {
            return;
        }
        let busy: u32 = row
            .others
            .iter()
            .map(|other| self.sets[other.index()].station.busy())
            .sum();
        let row = &mut self.sets[set.index()];
        row.station.set_speed(now, row.speeds[busy as usize]);
        self.mark(set);
    }

    fn mark(&mut self, set: CoreSetId) {
        let row = &mut self.sets[set.index()];
        if !row.has_changed {
            row.has_changed = true;
            self.changed.push(set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: usize = 0;
    const B: usize = 1;
    const MEMORY_S: f64 = 2.0;

    /// Two sets of two cores and one core on one machine with a contention of 1/2, a role on each.
    fn two_sets() -> (Cores, EventQueue<Event>) {
        let table = |cores, n_other: u32, other| CoreSetTable {
            cores,
            speeds: (0..=n_other)
                .map(|busy| Speed::slowed_by(0.5 * f64::from(busy) / f64::from(n_other)))
                .collect(),
            others: vec![CoreSetId::from_index(other)],
        };
        let sets = [table(2, 1, B), table(1, 2, A)];
        let roles = [A, B].map(CoreSetId::from_index);
        (
            Cores::new(&sets, roles.into_iter(), &[MEMORY_S]),
            EventQueue::new(),
        )
    }

    #[test]
    fn the_recent_busy_share_forgets_exponentially() {
        let (mut cores, mut queue) = two_sets();
        let second = 1_000_000_000_000;
        // One of A's two cores is busy for a second; then nothing is, for a second.
        cores.submit(SimTime::ZERO, job(A, 0, second));
        run(&mut cores, &mut queue);
        let share = |cores: &Cores, at_ps: u64| {
            let past = cores.past(SimTime::from_ps(at_ps), RoleId::from_index(A));
            past.busy_share(MEMORY_S)
        };
        let after_work = 0.5 * (1.0 - (-1.0 / MEMORY_S).exp());
        let after_pause = after_work * (-1.0 / MEMORY_S).exp();
        assert!((share(&cores, second) - after_work).abs() < 1e-12);
        assert!((share(&cores, 2 * second) - after_pause).abs() < 1e-12);
    }

    fn job(set: usize, name: usize, demand: u64) -> Job {
        Job {
            task: Task::Step(ConnectionId::from_index(name)),
            role: RoleId::from_index(set),
            demand: SimDuration::from_ps(demand),
        }
    }

    /// Handles events until nothing is left: when each job was done, which, and its core time.
    fn run(cores: &mut Cores, queue: &mut EventQueue<Event>) -> Vec<(u64, usize, u64)> {
        let mut done = Vec::new();
        cores.settle(queue);
        while let Some(event) = queue.pop() {
            let Event::JobDone { set, generation } = event else {
                unreachable!("cores schedule nothing else")
            };
            if let Some((Task::Step(name), used)) = cores.complete(queue.now(), set, generation) {
                done.push((queue.now().as_ps(), name.index(), used.as_ps()));
            }
            cores.settle(queue);
        }
        done
    }

    #[test]
    fn a_busy_neighbour_slows_the_work_of_a_set() {
        let (mut cores, mut queue) = two_sets();
        cores.submit(SimTime::ZERO, job(A, 0, 3_000));
        cores.submit(SimTime::ZERO, job(B, 1, 1_000));
        // While both run, A is slowed by 1/2 (all of B's cores are busy) and B by 1/4 (half of
        // A's). B ends at 1250, when A has got 1250 / 1.5 = 833⅓. Its other 2166⅔ at full speed end
        // at 3416⅔, and a job is done on the next picosecond.
        let done = run(&mut cores, &mut queue);
        assert_eq!(done, [(1_250, 1, 1_250), (3_417, 0, 3_417)]);
    }

    #[test]
    fn core_time_counts_slow_time_in_full() {
        let (mut cores, mut queue) = two_sets();
        cores.submit(SimTime::ZERO, job(A, 0, 3_000));
        cores.submit(SimTime::ZERO, job(B, 1, 1_000));
        run(&mut cores, &mut queue);
        let used = |cores: &mut Cores, role| {
            let now = SimTime::from_ps(10_000);
            cores.used(now, RoleId::from_index(role)).as_ps()
        };
        assert_eq!((used(&mut cores, A), used(&mut cores, B)), (3_417, 1_250));
    }

    #[test]
    fn without_neighbours_nothing_is_slowed() {
        let (mut cores, mut queue) = two_sets();
        cores.submit(SimTime::ZERO, job(A, 0, 10));
        cores.submit(SimTime::ZERO, job(A, 1, 30));
        assert_eq!(run(&mut cores, &mut queue), [(10, 0, 10), (30, 1, 30)]);
    }
}

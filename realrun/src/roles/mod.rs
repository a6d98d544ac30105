//! What the processes of a measurement do.
//!
//! A role is started with nothing but its standard streams. The launcher writes it one
//! [`Assignment`] as a line of JSON, then [`Order`]s; the role answers with [`Report`]s. When its
//! standard input closes, whatever the reason, the role ends: no role outlives its launcher.

mod client;
pub(crate) mod device;
mod instance;
mod line;
mod payload;
mod proxy;
mod server;

use instance::kernel_specs;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use schema::ids::{ClientId, GroupId, HostId, StageId};
use schema::scenario::{Hop, Scenario, ScenarioFile, StageRole, Transport};
use serde::{Deserialize, Serialize};

use crate::accelerator::cuda::CudaAccelerator;
use crate::clock;
use crate::error::RealrunError;
use crate::journal::{Journal, Writing};
use crate::scheduling::prefer_short_slices;
use crate::transport::rdma::{Choice, End, Nic, Relay};
use crate::transport::{Address, Buffers, Carrier};

/// Interval of the core time samples, in nanoseconds.
const SAMPLE_NS: u64 = 20_000_000;
/// How long a role whose input was closed may go on recording.
const END_LIMIT: Duration = Duration::from_secs(1);
/// File name extension of the core time samples.
pub(crate) const CPU_EXTENSION: &str = "cpu";

/// Which part of a scenario a process plays.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// All clients of a host.
    Client {
        /// The host.
        host: String,
    },
    /// A stage that forwards.
    Proxy {
        /// The stage.
        stage: String,
    },
    /// A stage that serves.
    Server {
        /// The stage.
        stage: String,
    },
    /// All of a scenario with placement `device`.
    Device,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Client { host } => write!(f, "client {host}"),
            Role::Proxy { stage } => write!(f, "proxy {stage}"),
            Role::Server { stage } => write!(f, "server {stage}"),
            Role::Device => write!(f, "device"),
        }
    }
}

impl Role {
    /// The name as part of a file name.
    pub(crate) fn file_stem(&self) -> String {
        file_stem(&self.to_string())
    }
}

/// The name of a role as part of a file name.
fn file_stem(role: &str) -> String {
    role.replace([' ', '/'], "-")
}

/// What a process is to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The scenario.
    pub scenario: ScenarioFile,
    /// The part to play.
    pub role: Role,
    /// The folder relative to which the scenario names traces to be replayed.
    pub traces: PathBuf,
    /// Where journals and sockets go.
    pub dir: PathBuf,
    /// Where to listen.
    pub bind: IpAddr,
    /// Where the stages listen that this role may connect to, by stage.
    pub addresses: BTreeMap<String, Address>,
    /// The cores to keep to; all if empty.
    pub cores: Vec<u32>,
}

/// What the launcher tells a role after the assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The clients' common start, a reading of the monotonic clock in nanoseconds.
    Start {
        /// When.
        at_ns: u64,
    },
}

/// What a role tells its launcher.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// It can serve, or start sending.
    Ready {
        /// Its TCP port, if it listens.
        port: Option<u16>,
        /// Where it listens for [`Transport::Local`].
        socket: PathBuf,
        /// What to know before trusting the figures.
        warnings: Vec<String>,
    },
    /// All its requests have been served.
    Done,
    /// What it handed to GPUs has ended; only of [`Role::Device`].
    Times {
        /// Of each inference context, of each operation, pass by pass, how long after the one before it it
        /// ended.
        times: Vec<Vec<Duration>>,
    },
    /// It cannot go on.
    Failed {
        /// Why.
        problem: String,
    },
}

/// What every thread of a role shares.
pub(crate) struct Shared {
    scenario: Scenario,
    assignment: Assignment,
    /// The clients' common start, once it is known.
    start_ns: OnceLock<u64>,
    reports: Mutex<Box<dyn Write + Send>>,
    /// The network adapter of the role's host, if a hop of its goes over one.
    nic: OnceLock<Nic>,
    /// Connections that are being served.
    n_open: AtomicUsize,
    /// What is to be done when all connections are closed.
    ends: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

/// A connection that is being served; dropped when its last request has been recorded.
pub(crate) struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Open {
        shared.n_open.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.n_open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// Lets `end` be called when the role ends and all connections are closed.
    fn at_end(&self, end: impl FnOnce() + Send + 'static) {
        let mut ends = self.ends.lock().expect("no thread panics while it ends");
        ends.push(Box::new(end));
    }

    fn report(&self, report: &Report) {
        let mut line = serde_json::to_string(report).expect("a report can be written as JSON");
        line.push('\n');
        let mut reports = self
            .reports
            .lock()
            .expect("no thread panics while it reports");
        // A launcher that is gone needs no report; the closed input ends this process.
        let _gone = reports
            .write_all(line.as_bytes())
            .and_then(|()| reports.flush());
    }

    /// Reports a failure, and lets the process wait for its launcher to end it.
    fn fail(&self, problem: &str) {
        self.report(&Report::Failed {
            problem: problem.to_owned(),
        });
    }

    fn journal(&self, thread: &str) -> Result<Journal, RealrunError> {
        let name = format!("{}-{thread}", self.assignment.role.file_stem());
        Journal::create(&self.assignment.dir, &name)
    }

    fn stage_named(&self, name: &str) -> Result<StageId, RealrunError> {
        let found = self
            .scenario
            .stages
            .iter()
            .find(|(_, stage)| stage.name == name);
        found
            .map(|(id, _)| id)
            .ok_or_else(|| RealrunError::Protocol {
                peer: "launcher".to_owned(),
                problem: format!("there is no stage `{name}`"),
            })
    }

    fn address(&self, stage: StageId) -> Result<&Address, RealrunError> {
        let name = &self.scenario.stages[stage].name;
        self.assignment
            .addresses
            .get(name)
            .ok_or_else(|| RealrunError::Protocol {
                peer: "launcher".to_owned(),
                problem: format!("it did not say where stage `{name}` listens"),
            })
    }

    /// What a hop that this role is an end of goes over; `relay` is the memory that a gateway's two
    /// hops share, `gpu` the server's, to whose memory a hop over GPUDirect RDMA leads.
    fn carrier<'a>(
        &'a self,
        hop: &Hop,
        relay: Option<&'a Relay>,
        gpu: Option<&'a CudaAccelerator>,
    ) -> Carrier<'a> {
        match hop.over {
            Transport::Tcp => Carrier::Tcp,
            Transport::Local => Carrier::Local,
            Transport::Rdma | Transport::Gdr => Carrier::Rdma(End {
                nic: self.nic.get().expect("the role has opened its adapter"),
                verbs: hop.verbs.expect("hops over verbs say how they work"),
                relay,
                gpu: gpu.filter(|_| hop.over == Transport::Gdr),
            }),
        }
    }

    /// Opens the adapter of the role's host, if a hop of its goes over one.
    fn open_nic(&self) -> Result<(), RealrunError> {
        let mut all = roles(&self.scenario).into_iter();
        let host = all.find_map(|(role, host)| (role == self.assignment.role).then_some(host));
        let is_end = |hop: &Hop| {
            let hosts = [hop.from, self.scenario.stages[hop.to].host].map(Some);
            hop.over.is_verbs() && hosts.contains(&host)
        };
        let mut paths = self.scenario.groups.rows().iter().map(|group| &group.path);
        if let Some(host) = host.filter(|_| paths.any(|path| path.iter().any(is_end))) {
            let name = &self.scenario.hosts[host].name;
            let what = format!("open the network adapter of host `{name}`");
            let nic = Nic::open(&choice(&self.scenario, host)).map_err(RealrunError::io(what))?;
            assert!(self.nic.set(nic).is_ok(), "a role opens its adapter once");
        }
        Ok(())
    }

    /// Sizes of the messages of a client's group.
    fn buffers(&self, group: GroupId) -> Buffers {
        let largest = |size: fn(&schema::scenario::Class) -> u64| {
            let classes = &self.scenario.groups[group].classes;
            classes
                .iter()
                .map(|id| size(&self.scenario.classes[*id]))
                .max()
                .unwrap_or(0)
        };
        let bytes = |n| usize::try_from(n).expect("a payload fits memory");
        Buffers {
            request: bytes(largest(|c| c.payload.0)),
            reply: bytes(largest(|c| c.reply.0)),
        }
    }

    fn group_of(&self, client: ClientId) -> Option<GroupId> {
        (schema::ids::Id::index(client) < self.scenario.clients.len())
            .then(|| self.scenario.clients[client].group)
    }

    /// The journal's origin, once the start is known; zero for what happens before it.
    fn origin(&self) -> u64 {
        self.start_ns.get().copied().unwrap_or(0)
    }
}

/// Plays a role until standard input closes; the body of the hidden verb `role`.
///
/// # Errors
/// If there is no assignment to play.
pub fn run(
    mut input: impl BufRead,
    output: impl Write + Send + 'static,
) -> Result<(), RealrunError> {
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(RealrunError::io("read the assignment"))?;
    let assignment: Assignment =
        serde_json::from_str(&line).map_err(|error| RealrunError::Protocol {
            peer: "launcher".to_owned(),
            problem: format!("no assignment: {error}"),
        })?;
    keep_to(&assignment.cores)?;
    let _writing = match assignment.role {
        Role::Device => None,
        _ => Some(Writing::into(&assignment.dir)?),
    };
    let mut scenario = Scenario::from_file(&assignment.scenario)?;
    scenario.read_replays(&assignment.traces)?;
    let shared = Arc::new(Shared {
        scenario,
        assignment,
        start_ns: OnceLock::new(),
        reports: Mutex::new(Box::new(output)),
        nic: OnceLock::new(),
        n_open: AtomicUsize::new(0),
        ends: Mutex::new(Vec::new()),
    });
    let player = Arc::clone(&shared);
    std::thread::spawn(move || {
        if let Err(error) = play(&player) {
            player.fail(&error.in_full());
        }
    });
    for order in input.lines() {
        let Ok(order) = order else { break };
        match serde_json::from_str(&order) {
            Ok(Order::Start { at_ns }) => {
                let first = shared.start_ns.set(at_ns).is_ok();
                if first {
                    sample_core_time(&shared, at_ns)?;
                }
            }
            Err(error) => shared.fail(&format!("an order that is none: {error}")),
        }
    }
    // The clients are gone: their connections close, and what was served last is being recorded.
    line::poll(END_LIMIT, || {
        (shared.n_open.load(Ordering::Acquire) == 0).then_some(())
    });
    let mut ends = shared.ends.lock().expect("no thread panics while it ends");
    ends.drain(..).for_each(|end| end());
    Ok(())
}

/// The network adapter that the scenario gives a host.
pub(crate) fn choice(scenario: &Scenario, host: HostId) -> Choice {
    let file = scenario.file().hosts.get(&scenario.hosts[host].name);
    let nic = file.and_then(|host| host.nic.as_ref());
    Choice {
        device: nic.and_then(|nic| nic.device.clone()),
        gid: nic.and_then(|nic| nic.gid),
    }
}

fn play(shared: &Arc<Shared>) -> Result<(), RealrunError> {
    shared.open_nic()?;
    match &shared.assignment.role {
        Role::Client { host } => client::play(shared, host),
        Role::Proxy { stage } => proxy::play(shared, shared.stage_named(stage)?),
        Role::Server { stage } => server::play(shared, shared.stage_named(stage)?),
        Role::Device => device::play(shared),
    }
}

/// Keeps the process, and all threads it will start, to `cores`.
fn keep_to(cores: &[u32]) -> Result<(), RealrunError> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core as usize);
    }
    sched_setaffinity(None, &set)
        .map_err(|errno| RealrunError::io(format!("keep to cores {cores:?}"))(errno.into()))
}

/// Lets the calling thread, which moves messages, preempt those that compute. A kernel that does
/// not know how schedules as it always did.
fn move_messages_promptly() {
    let _refused = prefer_short_slices();
}

/// Samples this process's core time fifty times a second.
fn sample_core_time(shared: &Arc<Shared>, start_ns: u64) -> Result<(), RealrunError> {
    let name = shared.assignment.role.to_string();
    let path = core_time_file(&shared.assignment.dir, &name);
    let mut file = std::fs::File::create(&path)
        .map_err(RealrunError::io(format!("make {}", path.display())))?;
    std::thread::spawn(move || {
        for index in 0u64.. {
            clock::sleep_until(start_ns + index * SAMPLE_NS);
            let at_ns = clock::monotonic_ns() - start_ns;
            if write_core_time(&mut file, at_ns, clock::process_cpu_ns()).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The file in `dir` with the core time samples of `role`, which may be the whole machine.
pub(crate) fn core_time_file(dir: &Path, role: &str) -> PathBuf {
    dir.join(format!("{}.{CPU_EXTENSION}", file_stem(role)))
}

/// Appends a sample: nanoseconds since the start, nanoseconds of core time.
pub(crate) fn write_core_time(
    file: &mut std::fs::File,
    at_ns: u64,
    core_ns: u64,
) -> std::io::Result<()> {
    file.write_all(format!("{at_ns} {core_ns}\n").as_bytes())
}

/// Core time samples of `role` in `dir`: nanoseconds since the start, seconds of core time.
pub(crate) fn read_core_time(dir: &Path, role: &str) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(core_time_file(dir, role)).unwrap_or_default();
    let sample = |line: &str| {
        let (at_ns, core_ns) = line.split_once(' ')?;
        Some((at_ns.parse().ok()?, core_ns.parse::<f64>().ok()? / 1e9))
    };
    text.lines().map_while(sample).collect()
}

/// The roles of a scenario, servers first and clients last: each may connect only to those before
/// it that its paths lead to.
pub fn roles(scenario: &Scenario) -> Vec<(Role, HostId)> {
    let mut roles = Vec::new();
    for (_, stage) in scenario.stages.iter() {
        if matches!(stage.role, StageRole::Serve(_)) {
            roles.push((
                Role::Server {
                    stage: stage.name.clone(),
                },
                stage.host,
            ));
        }
    }
    // A proxy connects when a client does, so proxies need no order among themselves but their
    // addresses: the farthest from the clients come first.
    let mut proxies: Vec<(usize, StageId)> = Vec::new();
    for (id, stage) in scenario.stages.iter() {
        if let StageRole::Proxy(_) = stage.role {
            let paths = scenario.groups.rows().iter().map(|group| &group.path);
            let to_go = paths.filter_map(|path| {
                path.iter()
                    .position(|hop| hop.to == id)
                    .map(|at| path.len() - at)
            });
            proxies.push((to_go.min().unwrap_or(0), id));
        }
    }
    proxies.sort_unstable();
    for (_, id) in proxies {
        let stage = &scenario.stages[id];
        roles.push((
            Role::Proxy {
                stage: stage.name.clone(),
            },
            stage.host,
        ));
    }
    for (id, host) in scenario.hosts.iter() {
        if scenario.groups.rows().iter().any(|group| group.host == id) {
            roles.push((
                Role::Client {
                    host: host.name.clone(),
                },
                id,
            ));
        }
    }
    roles
}

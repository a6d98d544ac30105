//! Starts the roles of a scenario, watches them, and makes a run from what they recorded.

mod assemble;
mod placement;
mod process;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::ids::{HostId, StageId};
use schema::run::{Measured, Outcome, Run};
use schema::scenario::{Placement, Scenario};

pub use placement::netns_problem;

use crate::accelerator::cpu::THREADS_VARIABLE;
use crate::clock::monotonic_ns;
use crate::error::RealrunError;
use crate::machine::{self, MachineTime};
use crate::roles::{Assignment, Order, Report, Role, roles};
use crate::transport::Address;
use placement::Place;
use process::{Happened, Process, What};

/// Folder of a run in which the roles' journals are kept.
pub const JOURNALS: &str = "journals";
/// Time between the order to start and the start, in nanoseconds.
const LEAD_NS: u64 = 20_000_000;
/// How long a role may take until it is ready; loading a net is the longest part.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// How long to wait for the true cause when a role reports that its peer is gone.
const CAUSE_LIMIT: Duration = Duration::from_millis(500);

/// How a measurement is made.
#[derive(Clone, Debug)]
pub struct MeasureOptions {
    /// The program whose verb `role` plays a role; `tandem` itself.
    pub executable: PathBuf,
    /// The run directory; it must not hold a run.
    pub out: PathBuf,
    /// The command line, for the manifest.
    pub command: Vec<String>,
    /// Name and version of the program, for the manifest.
    pub program: String,
}

/// Where a measurement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Roles are being started.
    Starting,
    /// Requests are served, for so long already.
    Running(Duration),
    /// The run is made from the journals.
    Assembling,
}

/// The roles of a measurement as processes, with their names.
struct Crew {
    processes: Vec<Process>,
    happened: Receiver<Happened>,
    warnings: Vec<String>,
}

/// Runs `scenario` on this machine and writes the run directory.
///
/// A run in which a role died is written too: its outcome names the role, and its trace holds what
/// was recorded until then.
///
/// # Errors
/// If the scenario cannot be executed here, a role does not start, or the run cannot be written.
pub fn measure(
    scenario: &Scenario,
    options: &MeasureOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Run, RealrunError> {
    progress(Progress::Starting);
    check_cores(scenario)?;
    let journals = make_folder(&options.out)?;
    let place = Place::make(scenario)?;
    let started_unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut crew = start(scenario, options, &journals, &place)?;
    let before = machine::machine_time();
    let start_ns = monotonic_ns() + LEAD_NS;
    crew.order(Order::Start { at_ns: start_ns });
    let (outcome, samples) = crew.watch(start_ns, progress);
    let after = machine::machine_time();
    let warnings = std::mem::take(&mut crew.warnings);
    drop(crew);
    drop(place);
    progress(Progress::Assembling);
    let measured = Measured {
        started_unix_s,
        command: options.command.clone(),
        machine: machine::facts(),
        steal_s: before
            .zip(after)
            .map_or(0.0, |(b, a)| a.steal_s - b.steal_s),
        clock_error_ns: 0,
    };
    let recorded = assemble::Recorded {
        journals: &journals,
        outcome,
        measured,
        machine: samples,
        warnings,
    };
    let run = assemble::assemble(scenario, options, recorded)?;
    run.save(&options.out)?;
    // The journals are in the trace now; a failure above leaves them where they are.
    std::fs::remove_dir_all(&journals)
        .map_err(RealrunError::io(format!("remove {}", journals.display())))?;
    Ok(run)
}

fn check_cores(scenario: &Scenario) -> Result<(), RealrunError> {
    if scenario.placement == Placement::Separate {
        return Err(RealrunError::Unsupported {
            key: scenario.source().position("placement"),
            problem:
                "every host is a machine of its own, and only this machine can be measured on; \
                      write `placement = { local = {} }`, or give --set placement.local={}"
                    .to_owned(),
        });
    }
    let here = machine::cores();
    for (_, host) in scenario.hosts.iter().filter(|(_, host)| host.pinned) {
        let cores = &scenario.core_sets[host.core_set].cores;
        if let Some(core) = cores.iter().find(|core| !here.contains(core)) {
            return Err(RealrunError::Unsupported {
                key: scenario.source().position(&format!("hosts.{}", host.name)),
                problem: format!("it is pinned to core {core}; this process may run on {here:?}"),
            });
        }
    }
    Ok(())
}

fn make_folder(out: &Path) -> Result<PathBuf, RealrunError> {
    if out.join(schema::run::MANIFEST_FILE).exists() {
        return Err(RealrunError::Io {
            what: format!("write {}", out.display()),
            source: std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "it holds a run already",
            ),
        });
    }
    let journals = out.join(JOURNALS);
    std::fs::create_dir_all(out).map_err(RealrunError::io(format!("make {}", out.display())))?;
    std::fs::create_dir(&journals).map_err(RealrunError::io(format!(
        "make {} (of an earlier measurement that was killed? move it away)",
        journals.display()
    )))?;
    std::fs::canonicalize(&journals)
        .map_err(RealrunError::io(format!("find {}", journals.display())))
}

/// Starts every role, servers first, each when those it connects to are ready.
fn start(
    scenario: &Scenario,
    options: &MeasureOptions,
    journals: &Path,
    place: &Place,
) -> Result<Crew, RealrunError> {
    let (tell, happened) = mpsc::channel();
    let mut crew = Crew {
        processes: Vec::new(),
        happened,
        warnings: place.warnings.clone(),
    };
    let mut listening: BTreeMap<StageId, (u16, PathBuf)> = BTreeMap::new();
    for (role, host) in roles(scenario) {
        let set = &scenario.core_sets[scenario.hosts[host].core_set];
        let assignment = Assignment {
            scenario: scenario.file().clone(),
            role: role.clone(),
            dir: journals.to_owned(),
            bind: place.bind(),
            addresses: addresses(scenario, place, host, &listening),
            cores: if scenario.hosts[host].pinned {
                set.cores.clone()
            } else {
                Vec::new()
            },
        };
        let mut command = place.command(host, &options.executable);
        // One thread a context: what an instance computes is on its own thread's clock.
        command.arg("role").env(THREADS_VARIABLE, "1");
        let process = Process::spawn(command, &assignment, crew.processes.len(), tell.clone())?;
        crew.processes.push(process);
        let (port, socket, warnings) = crew.ready(&role)?;
        crew.warnings.extend(
            warnings
                .into_iter()
                .map(|warning| format!("{role}: {warning}")),
        );
        if let (Some(port), Role::Proxy { stage } | Role::Server { stage }) = (port, &role) {
            let id = scenario
                .stages
                .iter()
                .find(|(_, row)| row.name == *stage)
                .map(|(id, _)| id);
            listening.insert(
                id.expect("a role's stage is the scenario's"),
                (port, socket),
            );
        }
    }
    Ok(crew)
}

/// Where the stages that listen already are reached from `host`.
fn addresses(
    scenario: &Scenario,
    place: &Place,
    host: HostId,
    listening: &BTreeMap<StageId, (u16, PathBuf)>,
) -> BTreeMap<String, Address> {
    let reachable = listening.iter().filter_map(|(stage, (port, socket))| {
        let row = &scenario.stages[*stage];
        let ip: IpAddr = place.address(host, row.host)?;
        let address = Address {
            tcp: SocketAddr::new(ip, *port),
            local: socket.clone(),
        };
        Some((row.name.clone(), address))
    });
    reachable.collect()
}

impl Drop for Crew {
    /// Ends the clients first: the others record what they served last when connections close.
    fn drop(&mut self) {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
    }
}

impl Crew {
    /// Waits until the role started last is ready.
    fn ready(&mut self, role: &Role) -> Result<(Option<u16>, PathBuf, Vec<String>), RealrunError> {
        let start = |problem: String| RealrunError::Start {
            role: role.to_string(),
            problem,
        };
        let last = self.processes.len() - 1;
        loop {
            let happened = self.happened.recv_timeout(READY_LIMIT).map_err(|_| {
                start(format!(
                    "it was not ready within {} s",
                    READY_LIMIT.as_secs()
                ))
            })?;
            match happened.what {
                What::Reported(Report::Ready {
                    port,
                    socket,
                    warnings,
                }) if happened.process == last => {
                    return Ok((port, socket, warnings));
                }
                What::Reported(Report::Failed { problem }) => return Err(start(problem)),
                What::Ended(how) => return Err(start(format!("it {how}"))),
                What::Reported(_) => {}
            }
        }
    }

    fn order(&mut self, order: Order) {
        for process in &mut self.processes {
            process.order(order);
        }
    }

    /// Waits until all clients are done or a role has failed; samples the machine's core time.
    fn watch(
        &mut self,
        start_ns: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> (Outcome, Vec<(u64, MachineTime)>) {
        let mut samples = Vec::new();
        let mut sample = || {
            let at_ns = monotonic_ns().saturating_sub(start_ns);
            samples.extend(machine::machine_time().map(|time| (at_ns, time)));
        };
        let mut to_go = self
            .processes
            .iter()
            .filter(|p| matches!(p.role(), Role::Client { .. }))
            .count();
        while to_go > 0 {
            sample();
            progress(Progress::Running(Duration::from_nanos(
                monotonic_ns().saturating_sub(start_ns),
            )));
            let Ok(happened) = self.happened.recv_timeout(Duration::from_millis(100)) else {
                continue;
            };
            match happened.what {
                What::Reported(Report::Done) => to_go -= 1,
                What::Reported(Report::Ready { .. }) => {}
                What::Reported(Report::Failed { problem }) => {
                    return (self.cause(happened.process, problem), samples);
                }
                What::Ended(how) => return (self.broken(happened.process, how), samples),
            }
        }
        sample();
        (Outcome::Complete, samples)
    }

    /// What broke the run, when `process` has reported a problem: another role that ended, if one
    /// did, since its peers notice first.
    fn cause(&self, process: usize, problem: String) -> Outcome {
        let end = std::time::Instant::now() + CAUSE_LIMIT;
        loop {
            let rest = end.saturating_duration_since(std::time::Instant::now());
            match self.happened.recv_timeout(rest) {
                Ok(Happened {
                    process,
                    what: What::Ended(how),
                }) => return self.broken(process, how),
                Ok(_) => {}
                Err(_) => return self.broken(process, problem),
            }
        }
    }

    fn broken(&self, process: usize, how: String) -> Outcome {
        Outcome::Broken {
            role: self.processes[process].role().to_string(),
            how,
        }
    }
}

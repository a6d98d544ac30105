//! Starts the roles of a scenario, watches them, and makes a run from what they recorded.

mod assemble;
mod check;
mod device;
mod gdr;
mod mig;
mod mps;
mod placement;
mod process;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::ids::{HostId, StageId};
use schema::run::{
    MACHINE, MANIFEST_FILE, Manifest, Measured, Outcome, RUN_FORMAT, Run, RunKind, content_hash,
    read_json, write_json,
};
use schema::scenario::{Placement, Scenario, Serve, StageRole, Transport, Work};

pub use gdr::ways_to_gpus;
pub use mps::{mps_problem, mps_state};
pub use placement::netns_problem;

use crate::accelerator::cpu::THREADS_VARIABLE;
use crate::accelerator::cuda::{self, Seen, Watch, Watchable};
use crate::clock::monotonic_ns;
use crate::error::RealrunError;
use crate::journal::Writing;
use crate::machine;
use crate::pcie;
use crate::roles::{Assignment, Order, Report, Role, core_time_file, roles, write_core_time};
use crate::topology;
use crate::transport::Address;
use mps::Mps;
use placement::Place;
use process::{Happened, Process, What};

/// Folder of a run in which the roles' journals are kept.
pub const JOURNALS: &str = "journals";
/// Time between the order to start and the start, in nanoseconds.
const LEAD_NS: u64 = 20_000_000;
/// How long a role may take until it is ready; loading a net is the longest part.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// How long [`recover`] waits for roles whose launcher is gone; they need about a second.
const END_LIMIT: Duration = Duration::from_secs(5);
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
/// was recorded until then. If this process itself dies, [`recover`] makes the run.
///
/// # Errors
/// If the scenario cannot be executed here, a role does not start, or the run cannot be written.
pub fn measure(
    scenario: &Scenario,
    options: &MeasureOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Run, RealrunError> {
    progress(Progress::Starting);
    check::can_be_measured(scenario)?;
    let mut manifest = plan(scenario, options)?;
    let (gpus, gpu_warnings) = watchable(scenario);
    if scenario.placement == Placement::Device {
        refuse_to_overwrite(&options.out)?;
        progress(Progress::Running(Duration::ZERO));
        let watch = gpus.watch();
        let mut run = device::measure(scenario, options, manifest)?;
        note(&mut run.manifest, watch);
        run.manifest.warnings.extend(gpu_warnings);
        run.save(&options.out)?;
        return Ok(run);
    }
    let mps = Mps::find(scenario)?;
    let journals = make_folder(&options.out)?;
    let place = Place::make(scenario)?;
    if let Some(mps) = &mps {
        mps.note(&mut manifest);
    }
    write_json(&journals.join(MANIFEST_FILE), &manifest)?;
    let writing = Writing::into(&journals)?;
    let mut crew = start(scenario, options, &journals, &place, mps.as_ref())?;
    manifest.warnings = std::mem::take(&mut crew.warnings);
    manifest.warnings.extend(gpu_warnings);
    write_json(&journals.join(MANIFEST_FILE), &manifest)?;
    let before = machine::machine_time();
    let start_ns = monotonic_ns() + LEAD_NS;
    let watch = gpus.watch();
    crew.order(Order::Start { at_ns: start_ns });
    manifest.outcome = crew.watch(start_ns, &journals, progress)?;
    note(&mut manifest, watch);
    let after = machine::machine_time();
    drop(crew);
    drop(mps);
    drop(place);
    drop(writing);
    progress(Progress::Assembling);
    if let Some(measured) = &mut manifest.measured {
        measured.steal_s = before
            .zip(after)
            .map_or(0.0, |(b, a)| a.steal_s - b.steal_s);
    }
    finish(manifest, &options.out, &journals)
}

/// Makes the run of a measurement whose launcher ended before it could, from the journals in the
/// run directory `out`.
///
/// # Errors
/// If there are no such journals, a role still writes into them, or the run cannot be written.
pub fn recover(out: &Path) -> Result<Run, RealrunError> {
    let journals = out.join(JOURNALS);
    let manifest: Manifest = read_json(&journals.join(MANIFEST_FILE))?;
    Writing::wait_for_end(&journals, END_LIMIT)?;
    finish(manifest, out, &journals)
}

/// Makes the run from the journals, and removes them once it is written.
fn finish(manifest: Manifest, out: &Path, journals: &Path) -> Result<Run, RealrunError> {
    let run = assemble::assemble(manifest, journals)?;
    run.save(out)?;
    // The journals are in the trace now; a failure above leaves them where they are.
    std::fs::remove_dir_all(journals)
        .map_err(RealrunError::io(format!("remove {}", journals.display())))?;
    Ok(run)
}

/// The manifest as far as it is known before the start: what [`recover`] has if nothing follows.
fn plan(scenario: &Scenario, options: &MeasureOptions) -> Result<Manifest, RealrunError> {
    let started_unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Ok(Manifest {
        format: RUN_FORMAT,
        kind: RunKind::Measured,
        program: options.program.clone(),
        scenario: scenario.file().clone(),
        inputs: inputs(scenario)?,
        replications: 1,
        outcome: Outcome::Broken {
            role: "launcher".to_owned(),
            how: "ended before it had made the run".to_owned(),
        },
        cpu: Vec::new(),
        warnings: Vec::new(),
        measured: Some(Measured {
            started_unix_s,
            command: options.command.clone(),
            machine: facts(scenario),
            steal_s: 0.0,
            clock_error_ns: 0,
        }),
    })
}

/// The numbers of the GPUs that the scenario uses.
fn gpus(scenario: &Scenario) -> Vec<u32> {
    let used = scenario
        .stages
        .rows()
        .iter()
        .map(|stage| match &stage.role {
            StageRole::Serve(Serve { gpu: Some(gpu), .. }) => gpu.devices.as_slice(),
            _ => &[],
        });
    used.flatten().map(|device| device.gpu).collect()
}

/// The GPUs that the scenario uses, to be looked at, and what is to know of them before the start.
fn watchable(scenario: &Scenario) -> (Watchable, Vec<String>) {
    match Watchable::find(gpus(scenario)) {
        Ok(gpus) => {
            let warnings = gpus.others_at_work();
            (gpus, warnings)
        }
        Err(error) => {
            let warning =
                format!("{error}; nothing tells how the GPUs were while they were measured");
            (Watchable::default(), vec![warning])
        }
    }
}

/// Notes what GPUs showed while they were measured.
fn note(manifest: &mut Manifest, watch: Watch) {
    let seen = watch.end();
    if seen.is_empty() {
        return;
    }
    manifest
        .warnings
        .extend(seen.iter().filter_map(Seen::warning));
    if let Some(measured) = &mut manifest.measured {
        let facts: Vec<String> = seen.iter().map(Seen::describe).collect();
        let name = "GPUs while they were measured".to_owned();
        measured.machine.insert(name, facts.join("; "));
    }
}

/// What the machine is, with its GPUs if the scenario uses any.
fn facts(scenario: &Scenario) -> BTreeMap<String, String> {
    let mut facts = machine::facts();
    if !gpus(scenario).is_empty() {
        let gpus = cuda::survey().map(|gpus| gpus.join("; "));
        // Without them nothing is measured; what a device does not tell of itself does no harm.
        facts.insert("GPUs".to_owned(), gpus.unwrap_or_else(|e| e.to_string()));
        let sys = Path::new("/sys");
        let places = cuda::neighbours()
            .map(|gpus| topology::describe(&gpus, &pcie::adapters(sys), sys).join("; "));
        let places = places.unwrap_or_else(|e| e.to_string());
        facts.insert("GPU topology".to_owned(), places);
    }
    let mut hops = scenario.groups.rows().iter().flat_map(|group| &group.path);
    if let Some(hop) = hops.find(|hop| hop.over == Transport::Gdr)
        && let Ok(way) = gdr::way_to_gpu(scenario, hop)
    {
        facts.insert("GPUDirect RDMA".to_owned(), way);
    }
    facts
}

/// SHA-256 of the scenario's text and of every file of weights, by path.
fn inputs(scenario: &Scenario) -> Result<BTreeMap<String, String>, RealrunError> {
    let source = scenario.source();
    let mut inputs = BTreeMap::from([(
        source.path().display().to_string(),
        content_hash(source.text().as_bytes()),
    )]);
    for stage in scenario.stages.rows() {
        let StageRole::Serve(serve) = &stage.role else {
            continue;
        };
        if let Work::Net {
            weights: Some(path),
            ..
        } = &serve.work
        {
            let bytes = std::fs::read(path)
                .map_err(RealrunError::io(format!("read the weights {path}")))?;
            inputs.insert(path.clone(), content_hash(&bytes));
        }
    }
    Ok(inputs)
}

fn refuse_to_overwrite(out: &Path) -> Result<(), RealrunError> {
    if out.join(MANIFEST_FILE).exists() {
        return Err(RealrunError::Io {
            what: format!("write {}", out.display()),
            source: std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "it holds a run already",
            ),
        });
    }
    Ok(())
}

fn make_folder(out: &Path) -> Result<PathBuf, RealrunError> {
    refuse_to_overwrite(out)?;
    let journals = out.join(JOURNALS);
    std::fs::create_dir_all(out).map_err(RealrunError::io(format!("make {}", out.display())))?;
    std::fs::create_dir(&journals).map_err(RealrunError::io(format!(
        "make {} (of an earlier measurement that was killed? `tandem recover {}` makes its run)",
        journals.display(),
        out.display()
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
    mps: Option<&Mps>,
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
            traces: scenario.folder().to_owned(),
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
        if let Role::Server { stage } = &role {
            see_gpus(&mut command, scenario, stage, mps, journals)?;
        }
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

/// Sets which GPUs the process of a stage sees, and whether it is a client of the Multi-Process Service.
fn see_gpus(
    command: &mut Command,
    scenario: &Scenario,
    stage: &str,
    mps: Option<&Mps>,
    journals: &Path,
) -> Result<(), RealrunError> {
    let mut rows = scenario.stages.rows().iter();
    let row = rows.find(|row| row.name == stage);
    let row = row.expect("a role's stage is the scenario's");
    mps::set_environment(command, row, mps, &journals.join("no-mps"));
    if let Some(uuid) = check::instance_of(scenario, row)? {
        command.env(mig::VISIBLE, uuid);
    }
    Ok(())
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

    /// Waits until all clients are done or a role has failed; samples the machine's core time into
    /// `journals`.
    fn watch(
        &mut self,
        start_ns: u64,
        journals: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Outcome, RealrunError> {
        let path = core_time_file(journals, MACHINE);
        let error = |path: &Path| RealrunError::io(format!("write {}", path.display()));
        let mut file = std::fs::File::create(&path).map_err(error(&path))?;
        let mut sample = || {
            let at_ns = monotonic_ns().saturating_sub(start_ns);
            match machine::machine_time() {
                Some(time) => write_core_time(&mut file, at_ns, (time.busy_s * 1e9) as u64),
                None => Ok(()),
            }
        };
        let mut to_go = self
            .processes
            .iter()
            .filter(|p| matches!(p.role(), Role::Client { .. }))
            .count();
        while to_go > 0 {
            sample().map_err(error(&path))?;
            progress(Progress::Running(Duration::from_nanos(
                monotonic_ns().saturating_sub(start_ns),
            )));
            let Ok(happened) = self.happened.recv_timeout(Duration::from_millis(100)) else {
                continue;
            };
            match happened.what {
                What::Reported(Report::Done) => to_go -= 1,
                What::Reported(Report::Ready { .. } | Report::Times { .. }) => {}
                What::Reported(Report::Failed { problem }) => {
                    return Ok(self.cause(happened.process, problem));
                }
                What::Ended(how) => return Ok(self.broken(happened.process, how)),
            }
        }
        sample().map_err(error(&path))?;
        Ok(Outcome::Complete)
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

//! The Multi-Process Service: found running, or started for a measurement and stopped after it.
//!
//! Its clients are the processes of the stages that ask for it. Each finds the service by the folder of
//! its pipes, and is told its share of the GPU's threads and its priority, in its environment (NVIDIA,
//! Multi-Process Service, "Environment Variables"). A process that is told of a folder without pipes is
//! no client; so all other processes of a measurement are told of one.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use schema::run::Manifest;
use schema::scenario::{GpuUse, MpsPriority, Scenario, Serve, Stage, StageRole};

use crate::error::RealrunError;

/// The program that controls the service; it comes with the driver.
const CONTROL: &str = "nvidia-cuda-mps-control";
/// What names the folder of the service's pipes, and the folder if it is not set.
const PIPES: &str = "CUDA_MPS_PIPE_DIRECTORY";
const DEFAULT_PIPES: &str = "/tmp/nvidia-mps";
const LOGS: &str = "CUDA_MPS_LOG_DIRECTORY";
const SHARE: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
const PRIORITY: &str = "CUDA_MPS_CLIENT_PRIORITY";

/// The service as a measurement uses it. Dropping it stops a service that was started for it.
#[derive(Debug)]
pub(super) struct Mps {
    pipes: PathBuf,
    is_ours: bool,
}

/// The GPUs of a stage, if it serves on any.
fn gpu_of(stage: &Stage) -> Option<&GpuUse> {
    match &stage.role {
        StageRole::Serve(Serve { gpu, .. }) => gpu.as_ref(),
        _ => None,
    }
}

/// Asks a service that has its pipes in `pipes`; what it says.
fn ask(pipes: &Path, command: &str) -> Result<String, String> {
    let said = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "`{CONTROL}` is not on PATH; it comes with NVIDIA's driver (package nvidia-compute-utils)"
        ),
        _ => format!("{CONTROL}: {error}"),
    };
    let mut child = Command::new(CONTROL)
        .env(PIPES, pipes)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(said)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that has ended already says more by how it did.
        let _ended = writeln!(input, "{command}");
    }
    outcome(child.wait_with_output().map_err(said)?)
}

/// What a run of the program said, or what it failed with.
fn outcome(output: std::process::Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let words = [text(&output.stdout), text(&output.stderr)].join(" ");
    Err(format!("{CONTROL}: {} ({})", words.trim(), output.status))
}

/// Where a service of this process's environment has its pipes.
fn pipes_here() -> PathBuf {
    std::env::var_os(PIPES).map_or_else(|| PathBuf::from(DEFAULT_PIPES), PathBuf::from)
}

/// Whether the Multi-Process Service runs here, in words.
///
/// # Errors
/// Why it cannot be asked, if it does not run.
pub fn mps_state() -> Result<String, String> {
    let pipes = pipes_here();
    ask(&pipes, "get_server_list")
        .map(|_| format!("it runs, with its pipes in {}", pipes.display()))
}

/// Why no client of the Multi-Process Service can be here; `None` if it runs, or starts when it is asked to.
pub fn mps_problem() -> Option<String> {
    let problem = mps_state().err()?;
    // Started and stopped again.
    start().err().map(|_| problem)
}

impl Mps {
    /// The service, if a stage of the scenario asks for it: one that runs here, or else a new one with
    /// pipes of its own.
    ///
    /// # Errors
    /// If there is none and none can be started.
    pub(super) fn find(scenario: &Scenario) -> Result<Option<Mps>, RealrunError> {
        let mut stages = scenario.stages.rows().iter();
        let Some(stage) = stages.find(|stage| gpu_of(stage).is_some_and(|gpu| gpu.mps.is_some()))
        else {
            return Ok(None);
        };
        let pipes = pipes_here();
        if ask(&pipes, "get_server_list").is_ok() {
            let is_ours = false;
            return Ok(Some(Mps { pipes, is_ours }));
        }
        start().map(Some).map_err(|problem| RealrunError::Unsupported {
            key: scenario
                .source()
                .position(&format!("stages.{}.gpu.mps", stage.name)),
            problem: format!(
                "the Multi-Process Service does not run and cannot be started: {problem}; start it \
                 (`{CONTROL} -d`), or leave `mps` out for processes that take turns; `tandem \
                 simulate` runs it anywhere"
            ),
        })
    }

    /// Notes in the manifest that it is used.
    pub(super) fn note(&self, manifest: &mut Manifest) {
        let how = match self.is_ours {
            true => "started for this run",
            false => "found running",
        };
        if let Some(measured) = &mut manifest.measured {
            let how = format!("{how}, pipes in {}", self.pipes.display());
            let facts = &mut measured.machine;
            facts.insert("Multi-Process Service".to_owned(), how);
        }
    }
}

fn start() -> Result<Mps, String> {
    // Short, since the pipes' addresses are no longer than 107 bytes.
    let folder = std::env::temp_dir().join(format!("tandem-mps-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mps = Mps {
        pipes: folder,
        is_ours: true,
    };
    // The service goes on in the background; who waited for the end of what it writes would wait for its.
    let status = Command::new(CONTROL)
        .arg("-d")
        .env(PIPES, &mps.pipes)
        .env(LOGS, &mps.pipes)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("{CONTROL} -d: {status}")),
        Err(_) => return Err(ask(&mps.pipes, "get_server_list").unwrap_or_else(|problem| problem)),
    }
    ask(&mps.pipes, "get_server_list")?;
    Ok(mps)
}

impl Drop for Mps {
    fn drop(&mut self) {
        if self.is_ours {
            let _none_runs = ask(&self.pipes, "quit");
            let _left = std::fs::remove_dir_all(&self.pipes);
        }
    }
}

/// Sets the environment of the process of a stage: whether it is a client of `mps`, and which.
pub(super) fn set_environment(
    command: &mut Command,
    stage: &Stage,
    mps: Option<&Mps>,
    none: &Path,
) {
    let Some(gpu) = gpu_of(stage) else {
        return;
    };
    let mut set = |name: &str, value: &OsStr| {
        command.env(name, value);
    };
    match (&gpu.mps, mps) {
        (Some(client), Some(mps)) => {
            set(PIPES, mps.pipes.as_os_str());
            set(SHARE, OsStr::new(&client.percentage.to_string()));
            let priority = match client.priority {
                MpsPriority::High => "0",
                MpsPriority::Normal => "1",
            };
            set(PRIORITY, OsStr::new(priority));
        }
        _ => set(PIPES, none.as_os_str()),
    }
}

/// What to know of a measurement in this process, which is a client of a service that runs here.
pub(super) fn warning_here() -> Option<String> {
    let pipes = pipes_here();
    pipes.join("control").exists().then(|| {
        format!(
            "the Multi-Process Service has its pipes in {}: processes do not take turns; stop it, or \
             set {PIPES} to an empty folder",
            pipes.display()
        )
    })
}

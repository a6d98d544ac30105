//! What is left when a process of a measurement is killed: every span recorded before, the name of
//! who died, and no process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{PROXIED, said, scenario, tandem};
use schema::run::{Outcome, Run, SpanName};

/// Waits for something that must come to be.
fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not come to be");
}

/// Starts a measurement that goes on until it is ended, and waits until all roles have recorded.
fn start(dir: &Path) -> Child {
    let mut command = tandem();
    command.args(["measure", "-q", "--set", "run.measure={ time = \"600 s\" }"]);
    command
        .arg(scenario(dir, PROXIED))
        .arg("-o")
        .arg(dir.join("run"));
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("three samples of every role's core time", || {
        let roles = ["client-edge", "proxy-ingress", "server-work"];
        let sampled = |role: &&str| {
            let path = dir.join("run/journals").join(format!("{role}.cpu"));
            fs::read_to_string(path).is_ok_and(|text| text.lines().count() >= 3)
        };
        roles.iter().all(sampled).then_some(())
    });
    child
}

/// Processes that have a file of the measurement in `dir` open or mapped, but the launcher.
fn roles(dir: &Path) -> Vec<(u32, String)> {
    let journals = fs::canonicalize(dir)
        .unwrap()
        .join("run/journals")
        .display()
        .to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process that has ended meanwhile has no maps.
        let maps = fs::read_to_string(entry.path().join("maps")).unwrap_or_default();
        if let Some(line) = maps.lines().find(|line| line.contains(&journals)) {
            let file = line.rsplit('/').next().unwrap_or_default().to_owned();
            found.push((pid, file));
        }
    }
    found
}

fn kill(pid: u32) {
    let status = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn end(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn kill_role(prefix: &str, role: &str) {
    let dir = tempfile::tempdir().unwrap();
    let child = start(dir.path());
    let running = roles(dir.path());
    let victim = running.iter().find(|(_, file)| file.starts_with(prefix));
    let (pid, _) = victim.unwrap_or_else(|| panic!("no {prefix} among {running:?}"));
    kill(*pid);
    let output = end(child);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains(&format!("role `{role}` was killed by signal 9")),
        "{message}"
    );
    let run = Run::load(&dir.path().join("run")).unwrap();
    let broken = Outcome::Broken {
        role: role.to_owned(),
        how: "was killed by signal 9".to_owned(),
    };
    assert_eq!(run.manifest.outcome, broken);
    assert!(run.summary().requests > 0);
    assert_eq!(roles(dir.path()), [], "processes are left");
}

#[test]
fn a_killed_client_is_named_and_loses_nothing() {
    kill_role("client-edge", "client edge");
}

#[test]
fn a_killed_proxy_is_named_and_loses_nothing() {
    kill_role("proxy-ingress", "proxy ingress");
}

#[test]
fn a_killed_server_is_named_and_loses_nothing() {
    kill_role("server-work", "server work");
}

#[test]
fn a_killed_launcher_leaves_the_journals_and_no_role() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path());
    assert_eq!(roles(dir.path()).len(), 3);
    kill(child.id());
    child.wait().unwrap();
    wait_for("the end of all roles", || {
        roles(dir.path()).is_empty().then_some(())
    });
    let run = dir.path().join("run");
    let recorded = realrun::journal::read_all(&run.join("journals")).unwrap();
    assert!(!recorded.is_empty());
    let output = tandem().arg("recover").arg(&run).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let recovered = Run::load(&run).unwrap();
    assert!(recovered.summary().requests > 0);
    assert!(recovered.summary().cpu.is_some_and(|cores| cores > 0.0));
    let wires = recovered.trace.iter().filter(|s| s.name == SpanName::Wire);
    assert_eq!(recovered.trace.len() - wires.count(), recorded.len());
    let Outcome::Broken { role, .. } = recovered.manifest.outcome else {
        panic!("a run without its end is broken");
    };
    assert_eq!(role, "launcher");
    assert!(!run.join("journals").exists());
}

#[test]
fn a_run_is_not_recovered_while_it_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path());
    let output = tandem()
        .arg("recover")
        .arg(dir.path().join("run"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("a measurement is still writing here"));
    kill(child.id());
    child.wait().unwrap();
}

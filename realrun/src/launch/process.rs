//! A role as a process: started, listened to, and ended with its launcher.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::RealrunError;
use crate::roles::{Assignment, Order, Report, Role};

/// How long a role may take to end after its input was closed, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What happened to a process.
#[derive(Debug)]
pub(super) struct Happened {
    /// Its number in the crew.
    pub(super) process: usize,
    /// What.
    pub(super) what: What,
}

/// What may happen to a process.
#[derive(Debug)]
pub(super) enum What {
    /// It said something.
    Reported(Report),
    /// It ended; says how.
    Ended(String),
}

/// A running role. Dropping it ends the process.
pub(super) struct Process {
    role: Role,
    input: Option<ChildStdin>,
    waiter: Option<JoinHandle<()>>,
    pid: rustix::process::Pid,
}

impl Process {
    /// Starts a role; what happens to it is told as number `index`.
    pub(super) fn spawn(
        mut command: Command,
        assignment: &Assignment,
        index: usize,
        tell: Sender<Happened>,
    ) -> Result<Process, RealrunError> {
        let role = assignment.role.clone();
        let start = |error: std::io::Error| RealrunError::Start {
            role: role.to_string(),
            problem: error.to_string(),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let pid = rustix::process::Pid::from_child(&child);
        let mut input = child.stdin.take();
        let mut line =
            serde_json::to_string(assignment).expect("an assignment can be written as JSON");
        line.push('\n');
        if let Some(input) = &mut input {
            input.write_all(line.as_bytes()).map_err(start)?;
        }
        let waiter = std::thread::spawn(move || follow(child, index, &tell));
        Ok(Process {
            role,
            input,
            waiter: Some(waiter),
            pid,
        })
    }

    /// What it plays.
    pub(super) const fn role(&self) -> &Role {
        &self.role
    }

    /// Gives it an order; a process that has ended is told about elsewhere.
    pub(super) fn order(&mut self, order: Order) {
        let mut line = serde_json::to_string(&order).expect("an order can be written as JSON");
        line.push('\n');
        if let Some(input) = &mut self.input {
            let _ended = input.write_all(line.as_bytes());
        }
    }
}

/// Passes on what a process reports, then how it ended.
fn follow(mut child: Child, process: usize, tell: &Sender<Happened>) {
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let report = serde_json::from_str(&line).unwrap_or_else(|_| Report::Failed {
                problem: format!("it said `{line}`, which is no report"),
            });
            // Nobody listens any more once the measurement is over.
            let _over = tell.send(Happened {
                process,
                what: What::Reported(report),
            });
        }
    }
    let how = child
        .wait()
        .map_or_else(|error| format!("was lost: {error}"), describe);
    let _over = tell.send(Happened {
        process,
        what: What::Ended(how),
    });
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        // How a launcher such as `ip netns exec` or ssh passes on a signal.
        (None, Some(code)) if code > 128 && code < 160 => {
            format!("was killed by signal {}", code - 128)
        }
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        let end = Instant::now() + END_LIMIT;
        while !waiter.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !waiter.is_finished() {
            // It has not been waited for, so its number is still its own.
            let _ended = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        }
        let _panicked = waiter.join();
    }
}

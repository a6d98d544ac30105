//! What the tests of the command share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A small synthetic pipeline: a client, a proxy, a server, all on this machine.
pub(crate) const PROXIED: &str = r#"format = 1
name = "small"
run = { measure = { requests = 20 } }
placement = { local = {} }

[hosts]
edge = { part = "this-machine", cores = 2 }
gateway = { part = "this-machine", cores = 2 }
server = { part = "this-machine", cores = 2 }

[[links]]
between = ["edge", "gateway"]
part = "loopback"

[[links]]
between = ["gateway", "server"]
part = "loopback"

[[links]]
between = ["edge", "server"]
part = "loopback"

[stages.ingress]
on = "gateway"
proxy = {}

[stages.work]
on = "server"
serve = { synthetic = { time = "1 ms", input = "100 kB", output = "4 kB" } }

[[clients]]
on = "edge"
count = 2
arrivals = { closed-loop = {} }
path = [{ to = "ingress", over = "tcp" }, { to = "work", over = "tcp" }]
"#;

/// The command `tandem`.
pub(crate) fn tandem() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tandem"))
}

/// Writes a scenario file into `dir`.
pub(crate) fn scenario(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What the command printed, for messages.
pub(crate) fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}\n{err}")
}

//! What the tests of the command share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Part, PartKind, Profile, cost};
use schema::scenario::Transport;
use sim::{Arrivals, Keep, Options};

/// One replication on one thread, of which everything is kept.
pub(crate) const fn base() -> Options {
    Options {
        replications: 1,
        arrivals: Arrivals::Shared,
        threads: 1,
        precision: None,
        keep: Keep::Trace,
    }
}

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
    std::fs::write(&path, text).expect("a temporary folder can be written to");
    path
}

/// What the command printed, for messages.
pub(crate) fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}\n{err}")
}

/// A profile with a round cost for all that the small pipeline needs.
pub(crate) fn profile() -> Profile {
    let law = |per, base, slope| CostLaw::exact(per, base, slope, "for tests");
    let bytes = |key: &str| (key.to_owned(), law(Driver::Bytes, 1e-6, 1e-10));
    let each = |key: &str| (key.to_owned(), law(Driver::Requests, 2e-6, 0.0));
    let host = [
        bytes(cost::PREPARE),
        bytes(cost::POSTPROCESS),
        bytes(cost::TRANSLATE),
        bytes(cost::H2D),
        bytes(cost::D2H),
        bytes(&cost::send(Transport::Tcp)),
        bytes(&cost::receive(Transport::Tcp)),
        each(cost::DISPATCH),
        each(cost::NOTIFY),
        (cost::inference("synthetic"), law(Driver::Seconds, 0.0, 1.0)),
    ];
    let link = [each(&cost::delay(Transport::Tcp))];
    let part = |kind, costs| Part {
        nets: std::collections::BTreeMap::new(),
        kind,
        parameters: BTreeMap::new(),
        costs,
    };
    let parts = BTreeMap::from([
        ("this-machine".to_owned(), part(PartKind::Host, host.into())),
        ("loopback".to_owned(), part(PartKind::Link, link.into())),
    ]);
    Profile {
        format: PROFILE_FORMAT,
        name: "test".to_owned(),
        fitted_to: BTreeMap::new(),
        spread: BTreeMap::new(),
        parts,
    }
}

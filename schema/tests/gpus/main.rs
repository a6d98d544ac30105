//! GPUs in scenarios and profiles: what is refused, and what reads back as it was written.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messages;
mod profiles;
mod properties;
mod verbs;

use std::path::Path;

use schema::error::FileError;
use schema::scenario::Scenario;

/// A server with a GPU, one that is partitioned, and one more; two stages share a process on the
/// first.
const BASE: &str = r#"format = 1
name = "gpus"
run = { measure = { requests = 10 } }

[hosts.edge]
part = "cpu"
cores = 2

[hosts.server]
part = "cpu"
cores = 8
gpus = [
    { part = "a100" },
    { part = "a100", mig = [{ compute = 3, memory = 4 }, { compute = 4, memory = 4 }] },
    { part = "a2", clock = 0.8 },
]

[[links]]
between = ["edge", "server"]
rate = "25 Gbit/s"

[stages.classify]
on = "server"
serve = { net = { name = "resnet50", input = { raw = { width = 640, height = 480 } } } }
batch = { max = 8, delay = "1 ms", preferred = [4, 8], close = "at-timeout" }
gpu = { devices = ["0"], streams = 4, process = "one", mps = { percentage = 50 } }

[stages.detect]
on = "server"
serve = { profiled = { name = "yolo", input = "1 MB", output = "4 kB" } }
gpu = { devices = ["0"], process = "one", mps = { percentage = 50 } }

[stages.copy]
on = "server"
gpu = {}
[stages.copy.serve.kernels]
input = "1 MB"
output = "0 B"
work = [
    { kernel = { blocks = 64, threads = 256, time = "10 us" } },
    { peer-copy = { to = "2", size = "1 MB" } },
    { kernel = { name = "last", blocks = 64, threads = 256, time = "10 us" } },
]

[stages.spin]
on = "edge"
serve = { synthetic = { time = "1 ms", input = "1 kB", output = "1 kB" } }

[[clients]]
on = "edge"
arrivals = { closed-loop = {} }
classes = [{ name = "urgent", share = 1, stream-priority = -1 }]
path = [{ to = "classify", over = "tcp" }]
"#;

fn parse(text: &str) -> Result<Scenario, FileError> {
    Scenario::parse(Path::new("a.toml"), text.to_owned(), &[])
}

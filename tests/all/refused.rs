//! What only the engine runs, and hardware refuses before any process starts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use insta::assert_snapshot;

use crate::common::{PROXIED, said, scenario, tandem};

const SYNTHETIC: &str =
    r#"serve = { synthetic = { time = "1 ms", input = "100 kB", output = "4 kB" } }"#;

/// What `measure` says of a scenario that it refuses before anything is begun.
fn refusal_of(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = scenario(dir.path(), text);
    let mut command = tandem();
    command.args(["measure", "-q"]).arg(path);
    let output = command.current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.replace(&dir.path().display().to_string(), "DIR");
    message.trim().to_owned()
}

/// The small pipeline with `to` at the first place of `from`.
fn changed(from: &str, to: &str) -> String {
    assert!(PROXIED.contains(from));
    PROXIED.replacen(from, to, 1)
}

/// What `measure` says of the small pipeline with this at the place of what its stage serves.
fn refusal(stage: &str) -> String {
    let server = "server = { part = \"this-machine\", cores = 2";
    let gpus = format!("{server}, gpus = [{{ part = \"a100\" }}]");
    refusal_of(&changed(SYNTHETIC, stage).replace(server, &gpus))
}

#[test]
fn hardware_refuses_what_runs_on_gpus() {
    assert_snapshot!(refusal("serve = { net = { name = \"resnet50\" } }\ngpu = {}"), @"error: DIR/scenario.toml:30: `stages.work.gpu`: a program with the feature `candle-cuda` runs nets on GPUs, and this one `kernels` alone; leave it out for a net on the cores, or see `tandem simulate`");
    let kernel = "{ kernel = { blocks = 1, threads = 32, time = \"1 us\" } }";
    let kernels = format!(
        "serve = {{ kernels = {{ input = \"0 B\", output = \"0 B\", work = [{kernel}] }} }}\ngpu = {{}}"
    );
    assert_snapshot!(refusal(&kernels), @"error: DIR/scenario.toml:9: `hosts.server.gpus.0.part`: this build has no CUDA back end; build it with `--features cuda`; `tandem simulate` runs GPUs anywhere");
    let profiled =
        "serve = { profiled = { name = \"yolo\", input = \"1 MB\", output = \"4 kB\" } }";
    assert_snapshot!(refusal(&format!("{profiled}\ngpu = {{}}")), @"error: DIR/scenario.toml:30: `stages.work.gpu`: on hardware GPUs run `kernels`, or see `tandem simulate`");
    assert_snapshot!(refusal(profiled), @"error: DIR/scenario.toml:29: `stages.work.serve.profiled`: a net that only a profile knows is for the engine, see `tandem simulate`");
}

#[test]
fn hardware_refuses_threads_that_are_not_of_a_connection() {
    assert_snapshot!(refusal(&format!("{SYNTHETIC}\nreceive-threads = 1")), @"error: DIR/scenario.toml:30: `stages.work.receive-threads`: each connection has a thread of its own on hardware; `tandem simulate` runs stages with fewer");
    assert_snapshot!(refusal(&format!("{SYNTHETIC}\nhand-back = \"in-turn\"")), @"error: DIR/scenario.toml:30: `stages.work.hand-back`: `in-turn` is for the engine, see `tandem simulate`");
}

#[test]
fn hardware_refuses_general_pipelines() {
    let refusal = |from: &str, to: &str| refusal_of(&changed(from, to));
    assert_snapshot!(refusal("proxy = {}", "proxy = { pool = 2 }"), @"error: DIR/scenario.toml:25: `stages.ingress.proxy.pool`: a proxy has a connection onward for each of its own on hardware; `tandem simulate` runs pools");
    assert_snapshot!(refusal("cores = 2 }", "cores = 2, count = 2 }"), @"error: DIR/scenario.toml:7: `hosts.edge.count`: must be 1 with placement `local`, where hosts are parts of one machine, found 2");
    let straight = "reply-over = \"tcp\"\npath = [";
    assert_snapshot!(refusal("path = [", straight), @"error: DIR/scenario.toml:35: `clients.0.reply-over`: replies go back over the hops of their path on hardware; `tandem simulate` runs others");
    let timeout = "timeout = \"1 s\"\npath = [";
    assert_snapshot!(refusal("path = [", timeout), @"error: DIR/scenario.toml:35: `clients.0.timeout`: clients wait for every reply on hardware; `tandem simulate` runs timeouts");
    let loss = "faults = [{ stage = \"ingress\", from = \"1 s\", for = \"1 s\" }]\n[hosts]";
    let waits = changed("path = [", timeout);
    assert_snapshot!(refusal_of(&waits.replacen("[hosts]", loss, 1)), @"error: DIR/scenario.toml:6: `faults`: losses of hosts and stages are for the engine, see `tandem simulate`");
    let sized = "to = \"work\", payload = \"7 B\"";
    assert_snapshot!(refusal("to = \"work\"", sized), @"error: DIR/scenario.toml:35: `clients.0.path`: on hardware a path leads over proxies to one stage that serves, with messages of that stage's sizes; `tandem simulate` runs others");
    let calls = "proxy = {}\nsteps = [{ calls = [{ path = [{ to = \"work\", over = \"tcp\" }], payload = \"7 B\" }] }]";
    assert_snapshot!(refusal("proxy = {}", calls), @"error: DIR/scenario.toml:26: `stages.ingress.steps`: calls of other stages are for the engine, see `tandem simulate`");
}

#[test]
fn hardware_refuses_ways_to_form_batches() {
    let batch = |keys: &str| refusal(&format!("{SYNTHETIC}\nbatch = {{ max = 8, {keys} }}"));
    assert_snapshot!(batch("preferred = [4]"), @"error: DIR/scenario.toml:30: `stages.work.batch`: `preferred` and `close` are for the engine, see `tandem simulate`");
    assert_snapshot!(batch("close = \"at-timeout\""), @"error: DIR/scenario.toml:30: `stages.work.batch`: `preferred` and `close` are for the engine, see `tandem simulate`");
}

#[test]
fn hardware_refuses_faults_and_switches_between_namespaces() {
    let fault = "[[faults]]\nlink = [\"edge\", \"gateway\"]\nfrom = \"1 s\"\nfor = \"1 s\"\n";
    assert_snapshot!(refusal_of(&changed("[hosts]", &format!("{fault}\n[hosts]"))), @"error: DIR/scenario.toml:6: `faults`: faults of links are for the engine, see `tandem simulate`");
}

#[test]
fn hardware_refuses_what_its_kernel_chooses_and_what_its_proxies_cannot() {
    let hop = "to = \"work\", over = \"tcp\"";
    let limited = format!("{hop}, tcp = {{ send-buffer = \"1 MB\" }}");
    assert_snapshot!(refusal_of(&changed(hop, &limited)), @"error: DIR/scenario.toml:35: `clients.0.path.1.tcp`: the kernel chooses buffers and windows; `tandem simulate` takes them");
    let cut = "proxy = { forward = \"cut-through\" }";
    assert_snapshot!(refusal_of(&changed("proxy = {}", cut)), @"error: DIR/scenario.toml:25: `stages.ingress.proxy.forward`: proxies take whole messages on hardware; `tandem simulate` runs others");
}

#[test]
fn hardware_refuses_transports_of_verbs() {
    let nic = "server = { part = \"this-machine\", cores = 2, nic = { part = \"cx5\" } }";
    let with = |options: &str| {
        let text = changed("server = { part = \"this-machine\", cores = 2 }", nic);
        let gateway = "gateway = { part = \"this-machine\", cores = 2 }";
        let text = text.replace(gateway, &nic.replace("server", "gateway"));
        let hop = format!("to = \"work\", over = \"rdma\"{options}");
        refusal_of(&text.replace("to = \"work\", over = \"tcp\"", &hop))
    };
    assert_snapshot!(with(", registration = \"each\""), @"error: DIR/scenario.toml:35: `clients.0.path.1.registration`: buffers are registered once on hardware; `tandem simulate` runs others");
    let pairs = ", queue-pairs = { count = 1, outstanding = 1 }";
    assert_snapshot!(with(pairs), @"error: DIR/scenario.toml:35: `clients.0.path.1.queue-pairs`: each connection has a queue pair of its own on hardware; `tandem simulate` runs shared ones");
    assert_snapshot!(with(""), @"error: DIR/scenario.toml:8: `hosts.gateway.nic`: this build has no verbs transport; build it with `--features rdma`; `tandem simulate` runs RDMA anywhere");
}

/// A build that lacks one of the two features says which.
#[test]
fn hardware_refuses_gpudirect_rdma_without_its_features() {
    let kernel = "{ kernel = { blocks = 1, threads = 32, time = \"1 us\" } }";
    let kernels = format!(
        "serve = {{ kernels = {{ input = \"0 B\", output = \"0 B\", work = [{kernel}] }} }}\ngpu = {{}}"
    );
    let nic = "nic = { part = \"cx5\" }";
    let host = |name: &str| format!("{name} = {{ part = \"this-machine\", cores = 2 }}");
    let with = |name: &str, more: &str| host(name).replace(" }", &format!(", {nic}{more} }}"));
    let gpu = ", gpus = [{ part = \"a100\" }]";
    let text = changed(SYNTHETIC, &kernels)
        .replace(&host("gateway"), &with("gateway", ""))
        .replace(&host("server"), &with("server", gpu))
        .replace(
            "to = \"work\", over = \"tcp\"",
            "to = \"work\", over = \"gdr\"",
        );
    assert_snapshot!(refusal_of(&text), @"error: DIR/scenario.toml:8: `hosts.gateway.nic`: this build has no verbs transport; build it with `--features rdma`; `tandem simulate` runs RDMA anywhere");
}

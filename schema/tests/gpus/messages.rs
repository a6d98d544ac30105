//! What a user reads when a key of GPUs is wrong.

use insta::assert_snapshot;
use schema::scenario::{GpuWork, StageRole, Work, to_toml};

use crate::{BASE, parse};

/// The message for the base scenario with `from` replaced by `to`.
fn message(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    let text = BASE.replacen(from, to, 1);
    parse(&text).unwrap_err().to_string()
}

/// The message where the stage `copy` uses GPUs like this.
fn used(gpu: &str) -> String {
    message("gpu = {}", &format!("gpu = {{ {gpu} }}"))
}

/// The message where the stage `copy` has one kernel like this.
fn kernel(keys: &str) -> String {
    message("blocks = 64, threads = 256, time = \"10 us\"", keys)
}

/// The message where the batches of the stage `classify` are formed like this.
fn batch(keys: &str) -> String {
    let keys = format!("batch = {{ {keys} }}");
    message(
        "batch = { max = 8, delay = \"1 ms\", preferred = [4, 8], close = \"at-timeout\" }",
        &keys,
    )
}

#[test]
fn the_base_is_valid_and_reads_back() {
    let scenario = parse(BASE).unwrap();
    let again = parse(&to_toml(scenario.file())).unwrap();
    assert_eq!(scenario.file(), again.file());
    let stages: Vec<_> = scenario.stages.rows().iter().collect();
    let serves: Vec<_> = stages
        .iter()
        .map(|stage| match &stage.role {
            StageRole::Serve(serve) => (stage.name.as_str(), serve),
            _ => panic!("`{}` does not serve", stage.name),
        })
        .collect();
    let instances = serves.iter().map(|(name, serve)| (*name, serve.instances));
    let expected = [("classify", 4), ("copy", 1), ("detect", 1), ("spin", 1)];
    assert!(instances.eq(expected));
    let Work::Kernels(kernels) = &serves[1].1.work else {
        panic!("`copy` runs kernels");
    };
    let names = kernels.work.iter().map(|work| match work {
        GpuWork::Kernel(kernel) => kernel.name.clone().unwrap(),
        GpuWork::PeerCopy { to, size } => format!("{size} to {to}"),
    });
    assert_eq!(names.collect::<Vec<_>>(), ["kernel-0", "1 MB to 2", "last"]);
}

#[test]
fn a_gpu_goes_with_what_serves_on_it() {
    assert_snapshot!(message("serve = { profiled = { name = \"yolo\", input = \"1 MB\", output = \"4 kB\" } }", "proxy = {}"), @"a.toml:31: `stages.detect.gpu`: belongs to `serve`, not to `proxy`");
    assert_snapshot!(message("gpu = {}", "gpu = {}\ninstances = 2"), @"a.toml:36: `stages.copy.instances`: must not be given with `gpu`, found 2; there is one for each stream of each process on each device");
    assert_snapshot!(message("gpu = {}\n", ""), @"a.toml:35: `stages.copy.serve.kernels`: run on a GPU; give the stage `gpu`, `{}` for the first of its host");
    assert_snapshot!(message("on = \"edge\"\nserve", "on = \"edge\"\ngpu = {}\nserve"), @"a.toml:48: `stages.spin.serve.synthetic`: is work on a core; give `kernels` for work on a GPU, or leave `gpu` out");
    assert_snapshot!(message("gpu = {}", "gpus = {}"), @"a.toml:35: `stages.copy.gpus`: unknown key `gpus`, did you mean `gpu`? (allowed: on, serve, proxy, instances, batch, receive-threads, hand-back, steps, gpu, station, fork, join, balance, tokens, release, next)");
    assert_snapshot!(message("serve = { profiled", "serve = { profile"), @"a.toml:30: `stages.detect.serve`: unknown value `profile`, did you mean `profiled`? (allowed: net, synthetic, profiled, kernels)");
    assert_snapshot!(message("output = \"4 kB\"", "outputs = \"4 kB\""), @"a.toml:30: `stages.detect.serve.profiled.outputs`: unknown key `outputs`, did you mean `output`? (allowed: name, input, output, raw)");
}

#[test]
fn plain_stages_have_no_gpu() {
    let text = r#"format = 1
name = "plain"
run = { measure = { requests = 1 } }
[stages.office]
gpu = {}
station = { service = { constant = "1 ms" } }
[[clients]]
arrivals = { closed-loop = {} }
path = [{ to = "office" }]
"#;
    assert_snapshot!(parse(text).unwrap_err(), @"a.toml:5: `stages.office.gpu`: belongs to `serve`; a station has `servers` and a `batch` of its own, and no GPU");
    let class = "classes = [{ name = \"a\", share = 1, stream-priority = -1 }]\npath =";
    let text = text.replace("gpu = {}\n", "").replace("path =", class);
    assert_snapshot!(parse(&text).unwrap_err(), @"a.toml:8: `clients.0.classes.0.stream-priority`: is only for paths that lead to a stage with `gpu`, found -1");
}

#[test]
fn gpus_of_hosts() {
    assert_snapshot!(message("clock = 0.8", "clock = 0"), @"a.toml:15: `hosts.server.gpus.2.clock`: must be more than 0 and at most 2, found 0");
    assert_snapshot!(message("clock = 0.8", "clock = 2.5"), @"a.toml:15: `hosts.server.gpus.2.clock`: must be more than 0 and at most 2, found 2.5");
    assert_snapshot!(message("clock = 0.8", "clock = nan"), @"a.toml:15: `hosts.server.gpus.2.clock`: must be more than 0 and at most 2, found NaN");
    assert_snapshot!(message("compute = 3", "compute = 0"), @"a.toml:14: `hosts.server.gpus.1.mig.0.compute`: must be at least 1, found 0");
    assert_snapshot!(message("memory = 4 }]", "memory = 0 }]"), @"a.toml:14: `hosts.server.gpus.1.mig.1.memory`: must be at least 1, found 0");
    assert_snapshot!(message("{ part = \"a100\" }", "{ clock = 1 }"), @"a.toml:13: `hosts.server.gpus.0`: missing field `part`");
    assert_snapshot!(message("clock = 0.8", "peers = \"nvswitch\""), @"a.toml:15: `hosts.server.gpus.2.peers`: unknown value `nvswitch` (allowed: nvlink, pcie)");
    assert_snapshot!(message("clock = 0.8", "clocks = 0.8"), @"a.toml:15: `hosts.server.gpus.2.clocks`: unknown key `clocks`, did you mean `clock`? (allowed: part, clock, mig, peers, socket, gdr-path)");
}

#[test]
fn devices_of_a_stage() {
    assert_snapshot!(used("devices = [\"3\"]"), @"a.toml:35: `stages.copy.gpu.devices.0`: host `server` has no GPU `3` (allowed: 0, 1.0, 1.1, 2)");
    assert_snapshot!(used("devices = [\"0\", \"1\"]"), @"a.toml:35: `stages.copy.gpu.devices.1`: GPU `1` of host `server` is partitioned; name an instance (allowed: 0, 1.0, 1.1, 2)");
    assert_snapshot!(used("devices = [\"1.2\"]"), @"a.toml:35: `stages.copy.gpu.devices.0`: host `server` has no GPU `1.2` (allowed: 0, 1.0, 1.1, 2)");
    assert_snapshot!(used("devices = [\"0.0\"]"), @"a.toml:35: `stages.copy.gpu.devices.0`: host `server` has no GPU `0.0` (allowed: 0, 1.0, 1.1, 2)");
    assert_snapshot!(used("devices = [\"1.0\", \"1.1\", \"1.0\"]"), @"a.toml:35: `stages.copy.gpu.devices.2`: `1.0` is named twice");
    assert_snapshot!(message("on = \"server\"\ngpu = {}", "on = \"edge\"\ngpu = {}"), @"a.toml:35: `stages.copy.gpu.devices`: host `edge` has no GPU `0` (allowed: none)");
    let partitioned = "{ part = \"a100\", mig = [{ compute = 7, memory = 8 }] }";
    let text = BASE.replacen("{ part = \"a100\" }", partitioned, 1);
    let text = text.replace("devices = [\"0\"]", "devices = [\"2\"]");
    assert_snapshot!(parse(&text).unwrap_err(), @"a.toml:35: `stages.copy.gpu.devices`: GPU `0` of host `server` is partitioned; name an instance (allowed: 0.0, 1.0, 1.1, 2)");
}

#[test]
fn processes_and_streams() {
    assert_snapshot!(used("processes = 0"), @"a.toml:35: `stages.copy.gpu.processes`: must be at least 1, found 0");
    assert_snapshot!(used("streams = 0"), @"a.toml:35: `stages.copy.gpu.streams`: must be at least 1, found 0");
    assert_snapshot!(used("devices = [\"0\", \"2\"], processes = 512, streams = 65"), @"a.toml:35: `stages.copy.gpu`: must have at most 65536 inference contexts, found 66560: 2 (devices) x 512 (processes) x 65 (streams)");
    assert_snapshot!(used("processes = 4294967295, streams = 4294967295"), @"a.toml:35: `stages.copy.gpu`: must have at most 65536 inference contexts, found 18446744065119617025: 1 (devices) x 4294967295 (processes) x 4294967295 (streams)");
    assert_snapshot!(used("process = \"two\", processes = 2"), @"a.toml:35: `stages.copy.gpu.processes`: must be 1, since the stage runs in the process `two`, found 2");
    assert!(parse(&BASE.replace("gpu = {}", "gpu = { processes = 256, streams = 256 }")).is_ok());
}

#[test]
fn stages_that_share_a_process() {
    let with = |gpu: &str| message("gpu = { devices = [\"0\"], process", gpu);
    assert_snapshot!(with("gpu = { devices = [\"0\", \"2\"], process"), @"a.toml:31: `stages.detect.gpu.devices`: must be the same in all stages of the process `one`, found 0, 2 of host `server`, and 0 of host `server` in `classify`");
    assert_snapshot!(with("gpu = { devices = [\"1.0\"], process"), @"a.toml:31: `stages.detect.gpu.devices`: must be the same in all stages of the process `one`, found 1.0 of host `server`, and 0 of host `server` in `classify`");
    let mps = |mps: &str| {
        message(
            "process = \"one\", mps = { percentage = 50 } }\n\n[stages.copy]",
            &format!("process = \"one\"{mps} }}\n\n[stages.copy]"),
        )
    };
    assert_snapshot!(mps(""), @"a.toml:31: `stages.detect.gpu.mps`: must be the same in all stages of the process `one`, found none, and 50% with priority normal in `classify`");
    assert_snapshot!(mps(", mps = { priority = \"high\" }"), @"a.toml:31: `stages.detect.gpu.mps`: must be the same in all stages of the process `one`, found 100% with priority high, and 50% with priority normal in `classify`");
    let elsewhere = "gpus = [{ part = \"a2\" }]\n\n[hosts.server]";
    let text = BASE.replacen("\n[hosts.server]", elsewhere, 1);
    let text = text.replacen(
        "[stages.detect]\non = \"server\"",
        "[stages.detect]\non = \"edge\"",
        1,
    );
    assert_snapshot!(parse(&text).unwrap_err(), @"a.toml:32: `stages.detect.gpu.devices`: must be the same in all stages of the process `one`, found 0 of host `edge`, and 0 of host `server` in `classify`");
    // In which order a stage names the devices does not matter, nor how it says 100%.
    let first = "devices = [\"0\"], streams = 4, process = \"one\", mps = { percentage = 50 }";
    let second = "devices = [\"0\"], process = \"one\", mps = { percentage = 50 }";
    let text = BASE
        .replace(
            first,
            "devices = [\"0\", \"2\"], process = \"one\", mps = {}",
        )
        .replace(
            second,
            "devices = [\"2\", \"0\"], process = \"one\", mps = { percentage = 100 }",
        );
    assert!(parse(&text).is_ok(), "{:?}", parse(&text));
}

#[test]
fn shares_and_priorities() {
    assert_snapshot!(used("mps = { percentage = 0 }"), @"a.toml:35: `stages.copy.gpu.mps.percentage`: must be more than 0 and at most 100, found 0");
    assert_snapshot!(used("mps = { percentage = 100.5 }"), @"a.toml:35: `stages.copy.gpu.mps.percentage`: must be more than 0 and at most 100, found 100.5");
    assert_snapshot!(used("mps = { priority = \"low\" }"), @"a.toml:35: `stages.copy.gpu.mps.priority`: unknown value `low` (allowed: high, normal)");
    assert_snapshot!(used("priority = 1"), @"a.toml:35: `stages.copy.gpu.priority`: must be from -1000 to 0, found 1");
    assert_snapshot!(used("priority = -1001"), @"a.toml:35: `stages.copy.gpu.priority`: must be from -1000 to 0, found -1001");
    assert_snapshot!(message("stream-priority = -1", "stream-priority = 5"), @"a.toml:52: `clients.0.classes.0.stream-priority`: must be from -1000 to 0, found 5");
    assert_snapshot!(message("stream-priority = -1", "stream-priority = -1001"), @"a.toml:52: `clients.0.classes.0.stream-priority`: must be from -1000 to 0, found -1001");
    assert_snapshot!(message("to = \"classify\"", "to = \"spin\""), @"a.toml:52: `clients.0.classes.0.stream-priority`: is only for paths that lead to a stage with `gpu`, found -1");
}

#[test]
fn how_a_stage_uses_gpus() {
    assert_snapshot!(used("launch = \"graphs\""), @"a.toml:35: `stages.copy.gpu.launch`: unknown value `graphs`, did you mean `graph`? (allowed: kernels, graph)");
    assert_snapshot!(used("host-memory = \"pagable\""), @"a.toml:35: `stages.copy.gpu.host-memory`: unknown value `pagable`, did you mean `pageable`? (allowed: pinned, pageable)");
    assert_snapshot!(used("d2h = \"default\""), @"a.toml:35: `stages.copy.gpu.d2h`: unknown value `default`, did you mean `default-stream`? (allowed: stream, default-stream)");
    assert_snapshot!(used("wait = \"sleep\""), @"a.toml:35: `stages.copy.gpu.wait`: unknown value `sleep` (allowed: block, spin)");
    assert_snapshot!(used("copies = \"batches\""), @"a.toml:35: `stages.copy.gpu.copies`: unknown value `batches`, did you mean `batch`? (allowed: request, batch)");
    assert_snapshot!(used("connection-buffer = 4"), @r#"a.toml:35: `stages.copy.gpu.connection-buffer`: invalid type: integer `4`, expected a size with a unit, such as "602112 B""#);
    assert_snapshot!(used("stream = 4"), @"a.toml:35: `stages.copy.gpu.stream`: unknown key `stream`, did you mean `streams`? (allowed: devices, processes, streams, process, mps, priority, launch, host-memory, d2h, wait, copies, connection-buffer)");
}

#[test]
fn sizes_of_batches() {
    assert_snapshot!(batch("max = 8, preferred = [0]"), @"a.toml:25: `stages.classify.batch.preferred.0`: must be from 1 to `max`, 8; found 0");
    assert_snapshot!(batch("max = 8, preferred = [4, 9]"), @"a.toml:25: `stages.classify.batch.preferred.1`: must be from 1 to `max`, 8; found 9");
    assert_snapshot!(batch("max = 8, preferred = [4, 4]"), @"a.toml:25: `stages.classify.batch.preferred.1`: must be more than the one before it, 4; found 4");
    assert_snapshot!(batch("max = 8, preferred = [4, 2]"), @"a.toml:25: `stages.classify.batch.preferred.1`: must be more than the one before it, 4; found 2");
    assert_snapshot!(batch("max = 8, preferred = 4"), @"a.toml:25: `stages.classify.batch.preferred`: invalid type: integer `4`, expected a sequence");
    assert_snapshot!(batch("max = 8, close = \"at-end\""), @"a.toml:25: `stages.classify.batch.close`: unknown value `at-end` (allowed: at-start, at-timeout, one-ahead)");
}

#[test]
fn threads_that_receive_and_how_outputs_are_handed_back() {
    let stage = |keys: &str| batch(&format!("max = 8 }}\n{keys} # {{"));
    assert_snapshot!(stage("receive-threads = 0"), @"a.toml:26: `stages.classify.receive-threads`: must be at least 1, found 0");
    assert_snapshot!(stage("hand-back = \"by-turns\""), @"a.toml:26: `stages.classify.hand-back`: unknown value `by-turns`, did you mean `in-turn`? (allowed: at-once, in-turn)");
}

#[test]
fn images_of_kernels() {
    let raw = |input: &str, raw: &str| {
        let keys = format!("[stages.copy.serve.kernels]\ninput = \"{input}\"\nraw = {{ {raw} }}");
        let old = "[stages.copy.serve.kernels]\ninput = \"1 MB\"";
        assert!(BASE.contains(old));
        parse(&BASE.replacen(old, &keys, 1))
    };
    let scenario = raw("819000 B", "width = 500, height = 546, side = 224").unwrap();
    let again = parse(&to_toml(scenario.file())).unwrap();
    assert_eq!(scenario.file(), again.file());
    let wrong = |input: &str, keys: &str| raw(input, keys).unwrap_err().to_string();
    assert_snapshot!(wrong("1 MB", "width = 500, height = 546, side = 224"), @"a.toml:37: `stages.copy.serve.kernels.input`: must be 819 kB, as `raw` has 3 x 500 x 546; found 1 MB");
    assert_snapshot!(wrong("0 B", "width = 0, height = 546, side = 224"), @"a.toml:38: `stages.copy.serve.kernels.raw`: width and height must be from 1 to 16384, found 0 x 546");
    assert_snapshot!(wrong("819000 B", "width = 500, height = 546, side = 0"), @"a.toml:38: `stages.copy.serve.kernels.raw.side`: must be from 1 to 4096 pixels, found 0");
    assert_snapshot!(wrong("819000 B", "width = 500, height = 546"), @"a.toml:38: `stages.copy.serve.kernels.raw`: missing field `side`");
}

#[test]
fn kernels_and_copies() {
    assert_snapshot!(kernel("blocks = 0, threads = 256, time = \"10 us\""), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel.blocks`: must be at least 1, found 0");
    assert_snapshot!(kernel("blocks = 64, threads = 0, time = \"10 us\""), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel.threads`: must be from 1 to 1024, found 0");
    assert_snapshot!(kernel("blocks = 64, threads = 1025, time = \"10 us\""), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel.threads`: must be from 1 to 1024, found 1025");
    assert_snapshot!(kernel("blocks = 64, threads = 256, registers = 256, time = \"10 us\""), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel.registers`: must be at most 255, found 256");
    assert_snapshot!(kernel("blocks = 64, threads = 256"), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel`: missing field `time`");
    assert_snapshot!(kernel("blocks = 64, threads = 256, time = \"10 us\", dram = \"1 ms\""), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel.dram`: `ms` is not a unit of size; units: B, kB, KB, KiB, MB, MiB, GB, GiB");
    assert_snapshot!(kernel("blocks = 64, threads = 256, time = \"10 us\", grid = 4"), @"a.toml:40: `stages.copy.serve.kernels.work.0.kernel.grid`: unknown key `grid` (allowed: name, blocks, threads, registers, shared-memory, time, dram, overhead)");
    assert_snapshot!(message("{ peer-copy", "{ copy"), @"a.toml:41: `stages.copy.serve.kernels.work.1`: unknown value `copy` (allowed: kernel, peer-copy)");
    assert_snapshot!(message("peer-copy = { to = \"2\"", "peer-copy = { to = \"7\""), @"a.toml:41: `stages.copy.serve.kernels.work.1.peer-copy.to`: host `server` has no GPU `7` (allowed: 0, 1.0, 1.1, 2)");
    assert_snapshot!(message("peer-copy = { to = \"2\"", "peer-copy = { to = \"0\""), @"a.toml:41: `stages.copy.serve.kernels.work.1.peer-copy.to`: must be another GPU, the work is on `0` already");
    let again = "{ peer-copy = { to = \"2\", size = \"1 MB\" } },\n    { peer-copy = { to = \"2\"";
    assert_snapshot!(message("{ peer-copy = { to = \"2\"", again), @"a.toml:42: `stages.copy.serve.kernels.work.2.peer-copy.to`: must be another GPU, the work is on `2` already");
    assert_snapshot!(used("devices = [\"0\", \"1.0\"]"), @"a.toml:41: `stages.copy.serve.kernels.work.1.peer-copy`: needs a stage with one device, found 2");
    let (start, end) = (
        BASE.find("work = [").unwrap(),
        BASE.find("[stages.spin]").unwrap(),
    );
    assert_snapshot!(message(&BASE[start..end], "work = []\n\n"), @"a.toml:39: `stages.copy.serve.kernels.work`: must have at least one entry, found none");
}

#[test]
fn payloads_of_classes() {
    let payload = |to: &str| {
        let text = BASE.replace("stream-priority = -1", "payload = \"1 kB\"");
        let text = text.replace("to = \"classify\"", &format!("to = \"{to}\""));
        parse(&text).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(payload("detect"), Ok(()));
    assert_eq!(payload("spin"), Ok(()));
    assert_snapshot!(payload("copy").unwrap_err(), @"a.toml:52: `clients.0.classes.0.payload`: only a synthetic stage or a profiled net takes payloads of any size; those of others follow from their input, and a plain stage has none");
}

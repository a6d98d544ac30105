//! Scenarios measured on the stand-in for NVIDIA's driver, and what is said where there is no usable
//! driver.
//!
//! They need the stand-in in place of the driver, as `tests/cuda/run` puts it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "failing.rs"]
mod failing;
#[path = "first_hour.rs"]
mod first_hour;
#[path = "sharing.rs"]
mod sharing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use schema::ids::RequestId;
use schema::profile::{PartKind, Profile};
use schema::run::{Outcome, Run, Span, SpanName, Status};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn scenario() -> PathBuf {
    Path::new(ROOT).join("tests/cuda/kernels.toml")
}

/// `tandem VERB` of the scenario, with `settings`, into `dir/run`.
fn tandem(verb: &str, settings: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args([verb, "-q"]).arg(scenario());
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.arg("-o").arg(dir.join("run"));
    command
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    text.replace(&scenario().display().to_string(), "SCENARIO")
}

fn run_of(mut command: Command, dir: &Path) -> Run {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let run = Run::load(&dir.join("run")).unwrap();
    assert_eq!(run.manifest.outcome, Outcome::Complete);
    run
}

fn measured(settings: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    run_of(tandem("measure", settings, dir.path()), dir.path())
}

/// The engine's run of the same scenario, over a transport of which the profile has the costs.
fn simulated(settings: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings.to_vec();
    settings.push("clients.0.path.0.over=local");
    let mut command = tandem("simulate", &settings, dir.path());
    command
        .args(["--replications", "1", "-p"])
        .arg(Path::new(ROOT).join("scenarios/profiles/ideal.toml"));
    run_of(command, dir.path())
}

/// Service of each span of this name (and kernel), in nanoseconds, ascending.
fn services(run: &Run, name: SpanName, kernel: Option<u32>) -> Vec<u64> {
    let spans = run.trace.iter();
    let spans =
        spans.filter(|span| span.name == name && (kernel.is_none() || span.kernel == kernel));
    let mut services: Vec<u64> = spans.map(|span| span.end_ns - span.start_ns).collect();
    services.sort_unstable();
    services
}

fn median(services: &[u64]) -> u64 {
    services[services.len() / 2]
}

/// A fact of the machine in a run's stamp.
fn fact<'a>(run: &'a Run, name: &str) -> &'a str {
    &run.manifest.measured.as_ref().unwrap().machine[name]
}

/// What the GPU showed while it was measured, without the number of looks, which is that of the time it took.
fn watched(run: &Run) -> String {
    let facts = fact(run, "GPUs while they were measured");
    let (looks, rest) = facts.split_once(" looks").unwrap();
    assert!(looks.starts_with("GPU 0: "), "{facts}");
    rest.to_owned()
}

/// What a request has on the server, in the order in which it was ready.
fn on_the_gpu(run: &Run) -> BTreeMap<RequestId, Vec<&Span>> {
    let names = [
        SpanName::Queue,
        SpanName::H2d,
        SpanName::Preprocess,
        SpanName::Inference,
        SpanName::Kernel,
        SpanName::D2h,
    ];
    let is_there = |span: &&Span| names.contains(&span.name);
    let mut requests: BTreeMap<RequestId, Vec<&Span>> = BTreeMap::new();
    for span in run.trace.iter().filter(is_there) {
        requests.entry(span.request).or_default().push(span);
    }
    requests
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn copies_and_kernels_take_what_the_device_was_told() {
    // 10 us, and 10 or 4 GB/s.
    for (memory, h2d, d2h) in [("pinned", 110_000, 20_000), ("pageable", 260_000, 35_000)] {
        let setting = format!("stages.net.gpu.host-memory={memory}");
        let run = measured(&["clients.0.count=1", &setting]);
        // The host's way from the first event to the operation is in the device's time: never less
        // than the operation takes, and in most requests little more. Of pageable memory its part of
        // the copy is in it too, however long that takes.
        for (name, kernel, expected_ns) in [
            (SpanName::H2d, None, h2d),
            (SpanName::Kernel, Some(0), 2_000_000),
            (SpanName::Inference, None, 5_000_000),
            (SpanName::D2h, None, d2h),
        ] {
            let services = services(&run, name, kernel);
            assert_eq!(services.len(), 22, "{name:?}");
            let (least, median) = (services[0], median(&services));
            let what = format!("{name:?} {kernel:?}: {least} to {median} ns");
            assert!(least + 1000 > expected_ns, "{what}");
            let bound_ns = match (name, memory) {
                (SpanName::H2d | SpanName::D2h, "pageable") => 10_000_000,
                _ => 400_000,
            };
            assert!(median < expected_ns + bound_ns, "{what}");
        }
        // The second kernel is queued while the first runs, so its time is the device's alone.
        let second = median(&services(&run, SpanName::Kernel, Some(1)));
        assert!(second.abs_diff(3_000_000) < 1000, "{second} ns");
    }
}

/// What a request's spans are, without their times.
fn content(spans: &[&Span]) -> Vec<impl PartialEq + std::fmt::Debug> {
    let content = spans.iter().map(|span| {
        let part = (span.name, span.kernel, span.bytes);
        (part, span.hop, span.leg, span.stage)
    });
    let mut content: Vec<_> = content.collect();
    content.sort_by_key(|((name, kernel, _), ..)| (*name, *kernel));
    content
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn images_become_tensors_on_the_gpu_as_in_the_engine() {
    let settings = [
        "stages.net.batch.max=1",
        "stages.net.gpu.streams=1",
        "stages.net.serve.kernels.input=\"819000 B\"",
        "stages.net.serve.kernels.raw={ width = 500, height = 546, side = 224 }",
    ];
    let (measured, simulated) = (measured(&settings), simulated(&settings));
    let (real, ideal) = (on_the_gpu(&measured), on_the_gpu(&simulated));
    assert!(real.keys().eq(ideal.keys()), "the same requests");
    for (request, spans) in &real {
        assert_eq!(content(spans), content(&ideal[request]), "{request:?}");
        let find = |name| *spans.iter().find(|span| span.name == name).unwrap();
        let preprocess = find(SpanName::Preprocess);
        assert_eq!(find(SpanName::H2d).end_ns, preprocess.ready_ns);
        assert_eq!(preprocess.end_ns, find(SpanName::Inference).ready_ns);
    }
    let took = |run: &Run| median(&services(run, SpanName::Preprocess, None));
    assert_eq!(took(&simulated), 65_000);
    // Longer by what passes from the event before it to the launch.
    assert!(took(&measured) >= 64_000, "{} ns", took(&measured));
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_measured_run_has_the_spans_that_the_engine_gives() {
    let settings = ["stages.net.batch.max=1"];
    let (measured, simulated) = (measured(&settings), simulated(&settings));
    let (real, ideal) = (on_the_gpu(&measured), on_the_gpu(&simulated));
    assert_eq!(real.len(), 3 * 22);
    assert!(real.keys().eq(ideal.keys()), "the same requests");
    for (request, spans) in &real {
        assert_eq!(content(spans), content(&ideal[request]), "{request:?}");
        let find = |name| *spans.iter().find(|span| span.name == name).unwrap();
        let chain = [
            SpanName::Queue,
            SpanName::H2d,
            SpanName::Inference,
            SpanName::D2h,
        ];
        for pair in chain.windows(2) {
            let (before, after) = (find(pair[0]), find(pair[1]));
            assert_eq!(before.end_ns, after.ready_ns, "{pair:?}");
            assert!(after.ready_ns <= after.start_ns && after.start_ns <= after.end_ns);
            assert_eq!(before.context, after.context);
        }
        let inference = find(SpanName::Inference);
        let kernels: Vec<_> = spans
            .iter()
            .filter(|s| s.name == SpanName::Kernel)
            .collect();
        assert_eq!(kernels[0].start_ns, inference.start_ns);
        assert_eq!(kernels[0].end_ns, kernels[1].start_ns);
        assert_eq!(kernels[1].end_ns, inference.end_ns);
    }
    let contexts = |run: &Run| {
        let spans = run
            .trace
            .iter()
            .filter(|span| span.name == SpanName::Inference);
        spans.map(|span| span.context).max()
    };
    assert_eq!([contexts(&measured), contexts(&simulated)], [Some(1); 2]);
    // How the streams meet depends on the host's delays, so only roughly as long.
    let inference = |run: &Run| median(&services(run, SpanName::Inference, None)) as f64;
    let ratio = inference(&measured) / inference(&simulated);
    assert!(
        (0.5..2.0).contains(&ratio),
        "measured {ratio} times as long"
    );
}

/// Nanoseconds in which any inference ran, and the sum of all of them.
fn busy(run: &Run) -> (u64, u64) {
    let inferences = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Inference);
    let mut inferences: Vec<_> = inferences
        .map(|span| (span.start_ns, span.end_ns))
        .collect();
    inferences.sort_unstable();
    let (mut union, mut until) = (0, 0);
    for (start, end) in &inferences {
        union += end.saturating_sub(until.max(*start));
        until = until.max(*end);
    }
    (
        union,
        inferences.iter().map(|(start, end)| end - start).sum(),
    )
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn streams_of_a_process_compute_at_once_and_processes_take_turns() {
    const WORK_NS: u64 = 66 * 5_000_000;
    let (union, sum) = busy(&measured(&[]));
    assert!(
        union < WORK_NS,
        "narrow kernels run beside others: {union} ns"
    );
    assert!(sum > WORK_NS, "wide ones wait for others: {sum} ns");
    let turns = ["stages.net.gpu.streams=1", "stages.net.gpu.processes=2"];
    let (union, sum) = busy(&measured(&turns));
    assert!(
        union > WORK_NS,
        "nothing computes beside another: {union} ns"
    );
    assert!(sum > union, "they are interrupted: {sum} ns");
}

/// The same scenario as a graph, with results by the legacy default stream: the spans are the same but for
/// those of kernels.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn graphs_are_launched_and_results_come_by_the_default_stream() {
    let settings = [
        "stages.net.gpu.launch=graph",
        "stages.net.gpu.d2h=default-stream",
        "stages.net.gpu.streams=1",
    ];
    let run = measured(&settings);
    let count = |name| run.trace.iter().filter(|span| span.name == name).count();
    for name in [
        SpanName::Request,
        SpanName::H2d,
        SpanName::Inference,
        SpanName::D2h,
    ] {
        assert_eq!(count(name), 66, "{name:?}");
    }
    assert_eq!(count(SpanName::Kernel), 0);
    let least = |name| services(&run, name, None).into_iter().min().unwrap();
    let inference = least(SpanName::Inference);
    assert!(inference.abs_diff(5_000_000) < 200_000, "{inference} ns");
    let d2h = least(SpanName::D2h);
    assert!((20_000..2_000_000).contains(&d2h), "{d2h} ns");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_batch_has_its_kernels_once_and_copies_a_request() {
    let batch = "stages.net.batch={ max = 3, delay = \"50 ms\" }";
    let run = measured(&[batch, "stages.net.gpu.wait=spin"]);
    let batches: BTreeMap<u32, Vec<&Span>> =
        run.trace.iter().fold(BTreeMap::new(), |mut batches, span| {
            if span.name == SpanName::Inference {
                batches
                    .entry(span.batch)
                    .or_insert_with(Vec::new)
                    .push(span);
            }
            batches
        });
    assert!(batches.values().any(|batch| batch.len() == 3));
    let kernels = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Kernel);
    assert_eq!(kernels.count(), 2 * batches.len());
    // Three times the blocks of the first kernel are three waves, of the second one.
    let whole = batches.values().filter(|batch| batch.len() == 3);
    let service = whole.map(|batch| batch[0].end_ns - batch[0].start_ns);
    let least = service.min().unwrap();
    assert!(least.abs_diff(9_000_000) < 200_000, "{least} ns");
}

/// The phases of each batch are ranges of NVIDIA's profilers, where the library of these is there: here
/// one that notes what begins and ends.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn phases_are_ranges_for_profilers() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("nvtx.c");
    let text = "#include <stdio.h>\n#include <stdlib.h>\n\
        static int note(const char *name) {\n\
            FILE *log = fopen(getenv(\"TANDEM_NOTED\"), \"a\");\n\
            fprintf(log, \"%s\\n\", name);\n\
            return fclose(log);\n\
        }\n\
        int nvtxRangePushA(const char *name) { return note(name); }\n\
        int nvtxRangePop(void) { return note(\"end\"); }\n";
    fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]);
    cc.arg(dir.path().join("libnvToolsExt.so.1")).arg(&source);
    assert!(cc.status().unwrap().success());
    let one = ["clients.0.count=1", "stages.net.gpu.streams=1"];
    let mut command = tandem("measure", &one, dir.path());
    let rig = std::env::var("LD_LIBRARY_PATH").unwrap();
    command.env("LD_LIBRARY_PATH", format!("{rig}:{}", dir.path().display()));
    command.env("TANDEM_NOTED", dir.path().join("noted"));
    run_of(command, dir.path());
    let noted = fs::read_to_string(dir.path().join("noted")).unwrap();
    assert_eq!(noted, "h2d\nend\ninference\nend\nd2h\nend\n".repeat(22));
}

/// The probes of a GPU as files in `dir`, by name.
fn probes(dir: &Path) -> BTreeMap<String, PathBuf> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["probe", "-q", "--gpu", "--dry-run", "-o"]);
    let output = command.arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let paths = text.lines().map(PathBuf::from);
    let named = paths.map(|path| (name(&path), path));
    named.filter(|(name, _)| name.starts_with("gpu-")).collect()
}

/// The run of a probe.
fn probed(path: &Path, out: &Path) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["measure", "-q"]).arg(path);
    let output = command.arg("-o").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Run::load(out).unwrap()
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_gateway_leads_to_the_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["measure", "-q"]);
    command.arg(Path::new(ROOT).join("tests/cuda/proxied.toml"));
    command.arg("-o").arg(dir.path().join("run"));
    let run = run_of(command, dir.path());
    let count = |name| run.trace.iter().filter(|span| span.name == name).count();
    let requests = 3 * 22;
    assert_eq!(count(SpanName::Request), requests);
    assert_eq!(count(SpanName::Translate), 2 * requests);
    for name in [SpanName::H2d, SpanName::Inference, SpanName::D2h] {
        assert_eq!(count(name), requests, "{name:?}");
    }
    assert_eq!(count(SpanName::Kernel), 2 * requests);
}

/// What `calibrate` fits to these runs, into `dir`.
fn calibrated(runs: &[PathBuf], dir: &Path) -> Profile {
    let profile = dir.join("profile.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command
        .args(["calibrate", "-q", "-o"])
        .arg(&profile)
        .args(runs);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Profile::load(&profile).unwrap()
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn calibrate_finds_from_probes_no_less_than_copies_were_told_to_take() {
    let dir = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for (name, path) in probes(&dir.path().join("probes")) {
        if name.starts_with("gpu-copies-") {
            let out = dir.path().join(name);
            probed(&path, &out);
            runs.push(out);
        }
    }
    assert_eq!(runs.len(), 10);
    let profile = calibrated(&runs, dir.path());
    assert_eq!(profile.parts["this-gpu"].kind, PartKind::Gpu);
    // Copies are the GPU's, and no host has a part in them.
    assert!(!profile.parts.contains_key("this-machine"));
    // On the machine's clock a busy host is late between copies, and its part of a copy of pageable memory
    // is in the device's time. `recovered.rs` has the laws themselves, in virtual time.
    for (cost, least_ns_per_byte) in [
        ("h2d/pinned", 0.1),
        ("d2h/pinned", 0.1),
        ("h2d/pageable", 0.25),
        ("d2h/pageable", 0.25),
    ] {
        let law = profile.cost("this-gpu", cost, "the test").unwrap();
        assert!(law.slope * 1e9 > 0.9 * least_ns_per_byte, "{cost}: {law:?}");
    }
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn probed_kernels_take_the_waves_that_the_device_has() {
    let dir = tempfile::tempdir().unwrap();
    let probes = probes(&dir.path().join("probes"));
    let run = probed(&probes["gpu-kernels"], &dir.path().join("run"));
    let kernel = |index| median(&services(&run, SpanName::Kernel, Some(index)));
    for index in 1..=16 {
        assert!(kernel(index) < 1000, "nothing takes no time");
    }
    // Four blocks of 1024 threads at once.
    for (index, waves) in [(17, 1), (18, 2), (19, 16), (20, 128)] {
        let (found, expected) = (kernel(index), waves * 200_000);
        assert!(found.abs_diff(expected) < 3000, "{found} ns, {waves} waves");
    }
}

/// A stand-in's file with these lines more.
fn standin(dir: &Path, more: &str) -> PathBuf {
    let path = dir.join("standin.toml");
    let text =
        format!("profile = \"{ROOT}/scenarios/profiles/ideal.toml\"\npart = \"two-sms\"\n{more}\n");
    fs::write(&path, text).unwrap();
    path
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_device_that_is_lost_breaks_the_run_and_what_was_recorded_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let failure =
        "[[failures]]\ncall = \"cuStreamSynchronize\"\ncode = 719\nafter = 100\nsticky = true";
    let file = standin(dir.path(), failure);
    let mut command = tandem("measure", &["clients.0.count=2"], dir.path());
    let output = command.env("TANDEM_STANDIN", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let run = Run::load(&dir.path().join("run")).unwrap();
    let Outcome::Broken { role, how } = &run.manifest.outcome else {
        panic!("{:?}", run.manifest.outcome);
    };
    assert_eq!(role, "server net");
    let expected = "on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_LAUNCH_FAILED (719); the \
                    device is lost to this process: look for `Xid` in the kernel's log (dmesg), and \
                    measure again; what was recorded until now is kept";
    assert!(how.ends_with(expected), "{how}");
    // Each request takes three waits, and two contexts have taken one each before.
    let inferences = services(&run, SpanName::Inference, None).len();
    assert!((30..=33).contains(&inferences), "{inferences}");
    let failed = run.trace.iter().any(|span| span.status == Status::Failed);
    assert!(failed, "the request that failed is recorded as such");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn replies_that_kernels_did_not_make_break_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = standin(dir.path(), "effects = false");
    let mut command = tandem("measure", &["clients.0.count=1"], dir.path());
    let output = command.env("TANDEM_STANDIN", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(said, @"error: role `client box` net: its reply to RequestId(0) is not what its kernels make of the request, from byte 0 of 100000 on: they did not read what was sent, or what they wrote did not arrive; what was recorded until then is in DIR/run");
}

/// The run of one client on a stand-in told `more`.
fn run_on(more: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let file = standin(dir.path(), more);
    let mut command = tandem("measure", &["clients.0.count=1"], dir.path());
    command.env("TANDEM_STANDIN", &file);
    run_of(command, dir.path())
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_gpu_that_is_slowed_or_on_which_others_work_is_told() {
    let of_the_gpu = |run: &Run| {
        let warnings = run.manifest.warnings.iter();
        let warnings =
            warnings.filter(|text| text.starts_with("GPU 0 had") || text.contains("slowed"));
        warnings.cloned().collect::<Vec<_>>().join("\n")
    };
    let quiet = run_on("");
    insta::assert_snapshot!(watched(&quiet), @", SM clock 1000 to 1000 MHz");
    insta::assert_snapshot!(of_the_gpu(&quiet), @"");
    // Idle, at its power limit and hot; and that somebody set its clocks.
    let slowed = run_on("slowed = 39\nothers = 2");
    insta::assert_snapshot!(watched(&slowed), @", SM clock 1000 to 1000 MHz, slowed by its power limit, its temperature (the driver)");
    insta::assert_snapshot!(of_the_gpu(&slowed), @r"
    GPU 0 had 2 other processes and was 0% busy before anything was started on it: what they do is in what was measured
    GPU 0 was slowed by its power limit, its temperature (the driver) while it was measured: its times are of a slower clock, which may differ from moment to moment
    ");
}

/// The most of several looks counts; what the driver does not tell is left out, and ends nothing.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn power_and_heat_are_told_before_and_while_a_gpu_is_measured() {
    let told = "power-mw = [90000, 251000, 120000]\ncelsius = [41, 66, 60]\n";
    let run = run_on(&format!("{told}power-limit-mw = 300000"));
    insta::assert_snapshot!(fact(&run, "GPUs"), @"GPU 0 (Tandem stand-in for two-sms), 2 SMs, 16.0 GiB, 2 copy engines, driver 0.0 (stand-in), SM clock 1000 of 1000 MHz, memory clock 1000 of 1000 MHz, 41 °C, 90 of 300 W");
    insta::assert_snapshot!(watched(&run), @", SM clock 1000 to 1000 MHz, up to 251 W, up to 66 °C");
    let run = run_on(told);
    insta::assert_snapshot!(fact(&run, "GPUs"), @"GPU 0 (Tandem stand-in for two-sms), 2 SMs, 16.0 GiB, 2 copy engines, driver 0.0 (stand-in), SM clock 1000 of 1000 MHz, memory clock 1000 of 1000 MHz, 41 °C, 90 W");
    // NVML_ERROR_NOT_SUPPORTED.
    let failing = |call: &str| format!("failures = [{{ call = \"{call}\", code = 3 }}]");
    let run = run_on(&format!("{told}{}", failing("nvmlDeviceGetTemperature")));
    insta::assert_snapshot!(watched(&run), @", SM clock 1000 to 1000 MHz, up to 251 W");
    let run = run_on(&format!("{told}{}", failing("nvmlDeviceGetPowerUsage")));
    insta::assert_snapshot!(watched(&run), @", SM clock 1000 to 1000 MHz, up to 66 °C");
    assert_eq!(run.manifest.outcome, Outcome::Complete);
}

/// Of the stand-in's devices the kernel knows nothing; what it knows is in the tests of `topology`.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn places_and_links_of_gpus_are_in_the_stamp() {
    let run = run_on("");
    insta::assert_snapshot!(fact(&run, "GPU topology"), @"GPU 0 at 0000:01:00.0, where the kernel shows no GPU");
    let run = run_on("devices = 3\nancestor = 30\nnvlinks = 2");
    insta::assert_snapshot!(fact(&run, "GPU topology"), @"GPU 0 at 0000:01:00.0, where the kernel shows no GPU, to GPU 1 by the same root complex, to GPU 2 by the same root complex, NVLinks: 2 to GPU 1; GPU 1 at 0000:02:00.0, where the kernel shows no GPU, to GPU 0 by the same root complex, to GPU 2 by the same root complex, NVLinks: 2 to GPU 2; GPU 2 at 0000:03:00.0, where the kernel shows no GPU, to GPU 0 by the same root complex, to GPU 1 by the same root complex, NVLinks: 2 to GPU 0");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_net_that_does_not_fit_the_device_is_refused_before_the_first_request() {
    let dir = tempfile::tempdir().unwrap();
    let file = standin(dir.path(), "memory = \"1 MB\"");
    let mut command = tandem("measure", &[], dir.path());
    let output = command.env("TANDEM_STANDIN", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(said(&output), @"error: role `server net` did not start: stage `net`: cuMemAlloc of 1000000 B on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_OUT_OF_MEMORY (2); the memory is taken: by contexts, by buffers of a large `batch.max`, or by another process (nvidia-smi lists them)");
}

/// What is said of a scenario that hardware cannot run.
fn refusal(setting: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = tandem("measure", &[setting], dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    said(&output)
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn what_only_the_engine_has_is_refused_by_its_key() {
    insta::assert_snapshot!(refusal("stages.net.gpu.process=shared"), @"error: SCENARIO with --set stages.net.gpu.process=shared: `stages.net.gpu.process`: each stage is a process of its own on hardware; `tandem simulate` runs others");
    insta::assert_snapshot!(refusal("hosts.box.gpus.0.clock=0.5"), @"error: SCENARIO with --set hosts.box.gpus.0.clock=0.5: `hosts.box.gpus.0.clock`: a GPU runs at its own clock on hardware; `tandem simulate` runs others");
    insta::assert_snapshot!(refusal("stages.net.serve.kernels.work.1.kernel.registers=32"), @"error: SCENARIO with --set stages.net.serve.kernels.work.1.kernel.registers=32: `stages.net.serve.kernels.work.1.kernel.registers`: the compiler chose the registers of the kernel that runs on hardware; `tandem simulate` runs others");
}

/// What the doctor says of GPUs, with the driver that is found in `library` and told `file`.
fn doctor(library: &Path, file: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .arg("doctor")
        .env("LD_LIBRARY_PATH", library)
        .env("TANDEM_STANDIN", file)
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with("yes GPU  ") || line.starts_with("no  GPU  "));
    line.unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn the_doctor_says_which_gpus_there_are_or_what_is_wrong_with_the_driver() {
    let dir = tempfile::tempdir().unwrap();
    let rig = PathBuf::from(std::env::var_os("LD_LIBRARY_PATH").unwrap());
    let two = standin(dir.path(), "devices = 2");
    insta::assert_snapshot!(doctor(&rig, &two), @"yes GPU GPU 0 (Tandem stand-in for two-sms), 2 SMs, 16.0 GiB, 2 copy engines, driver 0.0 (stand-in), SM clock 1000 of 1000 MHz, memory clock 1000 of 1000 MHz; GPU 1 (Tandem stand-in for two-sms), 2 SMs, 16.0 GiB, 2 copy engines, driver 0.0 (stand-in), SM clock 1000 of 1000 MHz, memory clock 1000 of 1000 MHz");
    let none = standin(dir.path(), "devices = 0");
    insta::assert_snapshot!(doctor(&rig, &none), @"no GPU the driver shows no GPU");
    let old = standin(dir.path(), "driver-version = 10020");
    insta::assert_snapshot!(doctor(&rig, &old), @"no GPU cuDriverGetVersion: the driver is for CUDA 10.2, and 11.0 is needed; install NVIDIA's driver 450 or newer");
    let failing = standin(dir.path(), "failures = [{ call = \"cuInit\", code = 999 }]");
    insta::assert_snapshot!(doctor(&rig, &failing), @"no GPU cuInit on this machine: CUDA_ERROR_UNKNOWN (999); the device is lost to this process: look for `Xid` in the kernel's log (dmesg), and measure again; what was recorded until now is kept");
    insta::assert_snapshot!(doctor(&rig.join("stub"), &two), @"no GPU loading libcuda.so.1: it has no cuGetErrorName, cuDeviceGetCount, cuDeviceGet, cuDeviceGetName, cuDeviceGetAttribute, cuDeviceGetPCIBusId, cuDeviceTotalMem_v2, cuCtxCreate_v2, cuCtxDestroy_v2, cuCtxPopCurrent_v2, cuCtxSetCurrent, cuCtxSynchronize, cuCtxGetStreamPriorityRange, cuMemGetInfo_v2, cuMemGetAddressRange_v2, cuMemAlloc_v2, cuMemFree_v2, cuPointerSetAttribute, cuMemHostAlloc, cuMemFreeHost, cuMemcpyHtoDAsync_v2, cuMemcpyDtoHAsync_v2, cuMemcpyDtoH_v2, cuModuleLoadData, cuModuleUnload, cuModuleGetFunction, cuLaunchKernel, cuStreamCreateWithPriority, cuStreamDestroy_v2, cuStreamGetPriority, cuStreamSynchronize, cuEventCreate, cuEventDestroy_v2, cuEventRecord, cuEventElapsedTime; it is older than this program needs, or a stub: install NVIDIA's driver 450 (CUDA 11.0) or newer, and take folders named `stubs` off LD_LIBRARY_PATH");
    insta::assert_snapshot!(doctor(dir.path(), &two), @"no GPU loading libcuda.so.1: it is not there or cannot be loaded; install NVIDIA's driver, and put the folder of the library on LD_LIBRARY_PATH if it is in none that the loader searches");
}

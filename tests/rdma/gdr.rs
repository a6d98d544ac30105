//! Scenarios measured over GPUDirect RDMA, and what is said where that cannot be.
//!
//! They need the devices `rxe0` and `rxe1` and the stand-in for NVIDIA's driver that the guest of
//! `tests/rdma/run` has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use schema::run::{Outcome, Run, SpanName};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const REQUESTS: usize = 3 * 45;

fn scenario(name: &str) -> PathBuf {
    let folder = Path::new(ROOT).join("tests/rdma");
    folder.join(name).with_extension("toml")
}

/// `tandem measure` of a scenario, with `settings`, into `dir/run`.
fn measure(name: &str, settings: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["measure", "-q"]).arg(scenario(name));
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.arg("-o").arg(dir.join("run"));
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// The run of a measurement that must succeed.
fn measured(name: &str, settings: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let output = measure(name, settings, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let run = Run::load(&dir.path().join("run")).unwrap();
    assert_eq!(run.manifest.outcome, Outcome::Complete);
    run
}

/// Spans of a run by name.
fn counts(run: &Run) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for span in &run.trace {
        *counts.entry(span.name.name()).or_insert(0) += 1;
    }
    counts
}

/// Checks that nothing is copied on the server, which has all other spans of a GPU.
fn is_without_copies(run: &Run, n_hops: usize) {
    let counts = counts(run);
    for name in [SpanName::H2d, SpanName::D2h] {
        assert_eq!(counts.get(name.name()), None, "{counts:?}");
    }
    for (name, n) in [
        (SpanName::Request, 1),
        (SpanName::Queue, 1),
        (SpanName::Inference, 1),
        (SpanName::Kernel, 2),
        (SpanName::Send, 2 * n_hops),
        (SpanName::Receive, 2 * n_hops),
    ] {
        assert_eq!(counts[name.name()], n * REQUESTS, "{name:?}");
    }
    let facts = &run.manifest.measured.as_ref().unwrap().machine;
    assert_eq!(facts["GPUDirect RDMA"], "GPU 0 from rxe1 by nvidia-peermem");
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn requests_are_measured_with_every_verb_and_completion() {
    for verb in ["write-with-immediate", "send", "read"] {
        for completion in ["event", "poll"] {
            let hop = "clients.0.path.0";
            let settings = [
                format!("{hop}.verb={verb}"),
                format!("{hop}.completion={completion}"),
            ];
            let run = measured("gdr", &settings.each_ref().map(String::as_str));
            is_without_copies(&run, 1);
        }
    }
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn a_gateway_leads_to_the_gpu_from_tcp_and_from_rdma() {
    is_without_copies(&measured("gdr-proxied", &[]), 2);
    is_without_copies(&measured("gdr-proxied", &["clients.0.path.0.over=rdma"]), 2);
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn the_same_over_rdma_copies() {
    let counts = counts(&measured("gdr", &["clients.0.path.0.over=rdma"]));
    assert_eq!(counts[SpanName::H2d.name()], REQUESTS);
    assert_eq!(counts[SpanName::D2h.name()], REQUESTS);
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn a_measured_run_has_the_spans_that_the_engine_gives() {
    has_the_spans_that_the_engine_gives(&[]);
    // Images, which the GPU turns into tensors where they have arrived.
    let kernels = "stages.work.serve.kernels";
    let raw = [
        format!("{kernels}.input=\"819000 B\""),
        format!("{kernels}.raw={{ width = 500, height = 546, side = 224 }}"),
    ];
    let counts = has_the_spans_that_the_engine_gives(&raw.each_ref().map(String::as_str));
    assert_eq!(counts[SpanName::Preprocess.name()], REQUESTS);
    assert_eq!(counts.get(SpanName::H2d.name()), None);
}

/// Spans by name of a measured run with `settings`, which are as many as the engine gives.
fn has_the_spans_that_the_engine_gives(settings: &[&str]) -> BTreeMap<&'static str, usize> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["simulate", "-q", "--replications", "1"]);
    command.arg(scenario("gdr"));
    for profile in ["ideal", "nics"] {
        let path = format!("scenarios/profiles/{profile}.toml");
        command.arg("-p").arg(Path::new(ROOT).join(path));
    }
    for setting in [
        "hosts.edge.part=verbs-host",
        "hosts.server.part=verbs-host",
        "hosts.edge.nic.part=cx6-200g",
        "hosts.server.nic.part=cx6-200g",
        "links.0.part=switch",
    ]
    .iter()
    .chain(settings)
    {
        command.args(["--set", setting]);
    }
    command.arg("-o").arg(dir.path().join("run"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let simulated = Run::load(&dir.path().join("run")).unwrap();
    let counts_of = counts(&measured("gdr", settings));
    assert_eq!(counts_of, counts(&simulated));
    counts_of
}

/// A stand-in's file with these lines more.
fn standin(dir: &Path, more: &str) -> PathBuf {
    let path = dir.join("standin.toml");
    let text =
        format!("profile = \"{ROOT}/scenarios/profiles/ideal.toml\"\npart = \"two-sms\"\n{more}\n");
    fs::write(&path, text).unwrap();
    path
}

/// What is said on a stand-in told `more`.
fn refusal(settings: &[&str], more: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = measure("gdr", settings, dir.path());
    command.env("TANDEM_STANDIN", standin(dir.path(), more));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    said(&output).replace(&scenario("gdr").display().to_string(), "SCENARIO")
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn memory_that_no_adapter_reaches_is_refused_with_the_remedy() {
    insta::assert_snapshot!(refusal(&[], ""), @"error: SCENARIO:28: `clients.0.path.0.over`: ibv_reg_mr on device `rxe1`: Bad address (os error 14), of memory of GPU 0 (Tandem stand-in for two-sms); the adapter does not reach the GPU: load NVIDIA's kernel module (`modprobe nvidia-peermem`), or use dma-buf, which needs NVIDIA's open kernel modules, Linux 5.12 and libibverbs 1.12 (dma-buf: the GPU's driver gives none); `tandem simulate` runs GPUDirect RDMA anywhere");
    insta::assert_snapshot!(refusal(&[], "dma-buf = true"), @"error: SCENARIO:28: `clients.0.path.0.over`: ibv_reg_mr on device `rxe1`: Bad address (os error 14), of memory of GPU 0 (Tandem stand-in for two-sms); the adapter does not reach the GPU: load NVIDIA's kernel module (`modprobe nvidia-peermem`), or use dma-buf, which needs NVIDIA's open kernel modules, Linux 5.12 and libibverbs 1.12 (dma-buf: ibv_reg_dmabuf_mr: Operation not supported (os error 95)); `tandem simulate` runs GPUDirect RDMA anywhere");
    let failing = "failures = [{ call = \"cuPointerSetAttribute\", code = 801 }]";
    insta::assert_snapshot!(refusal(&[], failing), @"error: SCENARIO:28: `clients.0.path.0.over`: cuPointerSetAttribute of SYNC_MEMOPS on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_NOT_SUPPORTED (801); see the error's entry in NVIDIA's description of the driver API; `tandem simulate` runs GPUDirect RDMA anywhere");
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn a_gpu_that_is_not_there_and_several_processes_are_refused() {
    insta::assert_snapshot!(refusal(&[], "devices = 0"), @"error: SCENARIO:28: `clients.0.path.0.over`: there is no GPU 0: the driver shows 0 of them to this process; is CUDA_VISIBLE_DEVICES set?; `tandem simulate` runs GPUDirect RDMA anywhere");
    insta::assert_snapshot!(refusal(&["stages.work.gpu.processes=2"], "peer-memory = true"), @"error: SCENARIO with --set stages.work.gpu.processes=2: `stages.work.gpu.processes`: must be 1 over `gdr` on hardware, where a connection's buffer is of one process and kernels of another do not reach it; `tandem simulate` runs others");
}

/// Two contexts and the buffers of two connections fit, those of the third do not.
#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn a_gpu_without_room_for_a_connection_s_buffers_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = measure("gdr", &[], dir.path());
    let file = standin(dir.path(), "peer-memory = true\nmemory = \"640 kB\"");
    let output = command.env("TANDEM_STANDIN", file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let message = said(&output);
    let expected = "on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_OUT_OF_MEMORY (2)";
    assert!(message.contains(expected), "{message}");
}

/// A dma-buf that the adapter does not take, and memory that it reaches by its address.
#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn what_works_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = measure("gdr", &[], dir.path());
    let file = standin(dir.path(), "peer-memory = true\ndma-buf = true");
    let output = command.env("TANDEM_STANDIN", file).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    is_without_copies(&Run::load(&dir.path().join("run")).unwrap(), 1);
}

/// What the doctor says of GPUDirect RDMA, on a stand-in told `more`.
fn doctor(more: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.env("TANDEM_STANDIN", standin(dir.path(), more));
    let output = command.arg("doctor").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().skip_while(|line| !line.contains("GPUDirect"));
    let words = lines.next().unwrap().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn the_doctor_says_how_adapters_reach_gpus() {
    insta::assert_snapshot!(doctor("peer-memory = true"), @"yes GPUDirect RDMA GPU 0 from rxe0 by nvidia-peermem; GPU 0 from rxe1 by nvidia-peermem");
    insta::assert_snapshot!(doctor(""), @"no GPUDirect RDMA ibv_reg_mr on device `rxe0`: Bad address (os error 14), of memory of GPU 0 (Tandem stand-in for two-sms); the adapter does not reach the GPU: load NVIDIA's kernel module (`modprobe nvidia-peermem`), or use dma-buf, which needs NVIDIA's open kernel modules, Linux 5.12 and libibverbs 1.12 (dma-buf: the GPU's driver gives none); ibv_reg_mr on device `rxe1`: Bad address (os error 14), of memory of GPU 0 (Tandem stand-in for two-sms); the adapter does not reach the GPU: load NVIDIA's kernel module (`modprobe nvidia-peermem`), or use dma-buf, which needs NVIDIA's open kernel modules, Linux 5.12 and libibverbs 1.12 (dma-buf: the GPU's driver gives none)");
    insta::assert_snapshot!(doctor("devices = 0"), @"no GPUDirect RDMA no pair of an RDMA NIC and a GPU");
}

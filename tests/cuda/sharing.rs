//! The Multi-Process Service and instances of partitioned GPUs, with programs in place of NVIDIA's.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// As `nvidia-cuda-mps-control` does: `-d` starts the service, other commands come by standard input and
/// go to one that runs. What it was asked is noted in `log`.
const CONTROL: &str = include_str!("mps-control");

/// Puts a program into `dir`.
pub(super) fn program(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Lets `command` find the programs in `dir`, and others where they are.
fn finds(command: &mut Command, dir: &Path) {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", dir.display()));
}

fn asked(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

const TWO_PROCESSES: [&str; 2] = ["stages.net.gpu.streams=1", "stages.net.gpu.processes=2"];

/// Four blocks fill the device, and a client may have half of it: the first kernel has two waves.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn the_service_is_started_and_stopped_and_gives_each_client_its_share() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "nvidia-cuda-mps-control", CONTROL);
    let [streams, processes] = TWO_PROCESSES;
    let half = "stages.net.gpu.mps={ percentage = 50 }";
    let mut command = tandem("measure", &[streams, processes, half], dir.path());
    finds(&mut command, dir.path());
    command.env("CUDA_MPS_PIPE_DIRECTORY", dir.path().join("none"));
    command.env("TMPDIR", dir.path());
    let run = run_of(command, dir.path());
    let least = services(&run, SpanName::Inference, None)[0];
    assert!(least.abs_diff(7_000_000) < 300_000, "{least} ns");
    let (union, sum) = busy(&run);
    assert!(union < sum, "clients compute at the same time");
    let how = fact(&run, "Multi-Process Service");
    assert!(how.starts_with("started for this run"), "{how}");
    assert_eq!(asked(dir.path()), "started\nget_server_list\nquit\n");
    let left = fs::read_dir(dir.path()).unwrap();
    let mut names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.starts_with("tandem-mps")));
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_service_that_runs_is_used_and_left_running() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "nvidia-cuda-mps-control", CONTROL);
    fs::write(dir.path().join("control"), "").unwrap();
    let [streams, processes] = TWO_PROCESSES;
    let measure = |more: &str, out: &str| {
        let out = dir.path().join(out);
        fs::create_dir(&out).unwrap();
        let mut command = tandem("measure", &[streams, processes, more], &out);
        finds(&mut command, dir.path());
        command.env("CUDA_MPS_PIPE_DIRECTORY", dir.path());
        run_of(command, &out)
    };
    let run = measure("stages.net.gpu.mps={}", "client");
    let least = services(&run, SpanName::Inference, None)[0];
    assert!(least.abs_diff(5_000_000) < 300_000, "{least} ns");
    let how = fact(&run, "Multi-Process Service");
    assert!(how.starts_with("found running"), "{how}");
    assert_eq!(asked(dir.path()), "get_server_list\n");
    // Who does not ask for the service is none of its clients: nothing computes beside another.
    let run = measure("clients.0.count=3", "none");
    let (union, _) = busy(&run);
    assert!(union > 66 * 5_000_000, "{union} ns");
    assert!(dir.path().join("control").exists());
}

/// With placement `device` one process hands over for all stages.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn nets_of_a_pair_are_clients_of_the_service_alike_or_none_is() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "nvidia-cuda-mps-control", CONTROL);
    let measure = |settings: [&str; 2], out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        let scenario = Path::new(ROOT).join("scenarios/probes/gpu-pairs.toml");
        command.args(["measure", "-q"]).arg(scenario);
        command.args(["--set", "run.measure.requests=20"]);
        command.args(settings.map(|setting| format!("--set={setting}")));
        command.arg("-o").arg(dir.path().join(out));
        finds(&mut command, dir.path());
        command.env("CUDA_MPS_PIPE_DIRECTORY", dir.path().join("none"));
        command.env("TMPDIR", dir.path()).output().unwrap()
    };
    let [small, memory] =
        ["small-blocks", "memory"].map(|net| format!("stages.{net}.gpu.mps={{}}"));
    let output = measure([&small, &memory], "both");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(asked(dir.path()), "started\nget_server_list\nquit\n");
    let run = Run::load(&dir.path().join("both")).unwrap();
    let how = fact(&run, "Multi-Process Service");
    assert!(how.starts_with("started for this run"), "{how}");
    assert!(!dir.path().join("both/journals").exists());
    let output = measure([&small, "run.seed=1"], "one");
    assert_eq!(output.status.code(), Some(2));
    let root = format!("{ROOT}/");
    insta::assert_snapshot!(said(&output).replace(&root, ""), @"error: scenarios/probes/gpu-pairs.toml with --set stages.small-blocks.gpu.mps={}: `stages.small-blocks.gpu.mps`: one process hands over for all stages, so all are clients of the Multi-Process Service with one share and one priority, or none is, with placement `device`; `placement.local` runs others");
    assert!(!dir.path().join("one").exists());
    // What goes wrong there is told, and leaves nothing.
    let file = standin(dir.path(), "memory = \"1 MB\"");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    let scenario = Path::new(ROOT).join("scenarios/probes/gpu-pairs.toml");
    command.args(["measure", "-q"]).arg(scenario);
    command.args([format!("--set={small}"), format!("--set={memory}")]);
    command.arg("-o").arg(dir.path().join("full"));
    finds(&mut command, dir.path());
    command.env("CUDA_MPS_PIPE_DIRECTORY", dir.path().join("none"));
    command.env("TMPDIR", dir.path());
    let output = command.env("TANDEM_STANDIN", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(said(&output), @"error: role `device`: stage `small-blocks`: cuMemAlloc of 268435456 B on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_OUT_OF_MEMORY (2); the memory is taken: by contexts, by buffers of a large `batch.max`, or by another process (nvidia-smi lists them)");
    assert!(!dir.path().join("full").exists());
}

/// What is said where the program of the service is `control`.
fn without_service(control: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = control {
        program(dir.path(), "nvidia-cuda-mps-control", text);
    }
    let mut command = tandem("measure", &["stages.net.gpu.mps={}"], dir.path());
    command.env("PATH", dir.path());
    command.env("TMPDIR", dir.path());
    command.env("CUDA_MPS_PIPE_DIRECTORY", dir.path().join("none"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(asked(dir.path()), "");
    said(&output)
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_service_that_is_not_there_or_does_not_start_is_refused() {
    insta::assert_snapshot!(without_service(None), @"error: SCENARIO with --set stages.net.gpu.mps={}: `stages.net.gpu.mps`: the Multi-Process Service does not run and cannot be started: `nvidia-cuda-mps-control` is not on PATH; it comes with NVIDIA's driver (package nvidia-compute-utils); start it (`nvidia-cuda-mps-control -d`), or leave `mps` out for processes that take turns; `tandem simulate` runs it anywhere");
    insta::assert_snapshot!(without_service(Some("#!/bin/sh\necho 'no right to'\nexit 3\n")), @"error: SCENARIO with --set stages.net.gpu.mps={}: `stages.net.gpu.mps`: the Multi-Process Service does not run and cannot be started: nvidia-cuda-mps-control -d: exit status: 3; start it (`nvidia-cuda-mps-control -d`), or leave `mps` out for processes that take turns; `tandem simulate` runs it anywhere");
}

/// As `nvidia-smi -L` lists instances.
const LISTED: &str = "#!/bin/sh
echo 'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0)'
echo '  MIG 3g.20gb     Device  0: (UUID: MIG-three)'
echo '  MIG 2g.10gb     Device  1: (UUID: MIG-two)'
";

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_stage_runs_on_the_instance_that_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "nvidia-smi", LISTED);
    let on = |compute: u32, out: &str| {
        let mig = format!("hosts.box.gpus.0.mig=[{{ compute = {compute}, memory = 2 }}]");
        let settings = [
            &*mig,
            "stages.net.gpu.devices=[\"0.0\"]",
            "clients.0.count=1",
        ];
        let out = dir.path().join(out);
        fs::create_dir(&out).unwrap();
        let mut command = tandem("measure", &settings, &out);
        finds(&mut command, dir.path());
        (command, out)
    };
    let (command, out) = on(2, "two");
    let warnings = run_of(command, &out).manifest.warnings;
    let is_there = |warning: &String| warning.contains("two-sms, MIG-two)");
    assert!(warnings.iter().any(is_there), "{warnings:?}");
    let (mut command, _) = on(4, "four");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(said(&output), @"error: SCENARIO with --set hosts.box.gpus.0.mig=[{ compute = 4, memory = 2 }]: `hosts.box.gpus.0.mig`: GPU 0 of this machine has 3g.20gb, 2g.10gb as instances, and too few of 4 compute slices; root makes them with `nvidia-smi -i 0 -mig 1` and `nvidia-smi mig -i 0 -cgi PROFILE -C` (`-lgip` lists profiles); `tandem simulate` runs instances anywhere");
}

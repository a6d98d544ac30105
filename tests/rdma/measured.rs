//! Scenarios measured over real verbs, and what is said where that cannot be.
//!
//! They need the devices `rxe0` and `rxe1` that the guest of `tests/rdma/run` has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use schema::ids::RequestId;
use schema::run::{Leg, Outcome, Run, Span, SpanName};

fn scenario(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rdma");
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
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
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

/// Checks the messages of the scenarios beside this file.
fn messages_are_whole(run: &Run, n_hops: u8) {
    messages_are(run, n_hops, 2 * 120, [100_000, 4_000]);
}

/// Checks that every message of every request was sent, travelled and was received, in this order; how
/// many requests there were; and the bytes of a request and of a reply.
fn messages_are(run: &Run, n_hops: u8, n_requests: usize, [request, reply]: [u64; 2]) {
    let mut messages: BTreeMap<(RequestId, u8, Leg), Vec<&Span>> = BTreeMap::new();
    for span in &run.trace {
        if matches!(
            span.name,
            SpanName::Send | SpanName::Wire | SpanName::Receive
        ) {
            let key = (span.request, span.hop.unwrap(), span.leg);
            messages.entry(key).or_default().push(span);
        }
    }
    let requests = run
        .trace
        .iter()
        .filter(|span| span.name == SpanName::Request)
        .count();
    assert_eq!(requests, n_requests);
    assert_eq!(messages.len(), requests * usize::from(n_hops) * 2);
    for ((_, _, leg), spans) in messages {
        let find = |name| spans.iter().find(|span| span.name == name).unwrap();
        let (send, wire, receive) = (
            find(SpanName::Send),
            find(SpanName::Wire),
            find(SpanName::Receive),
        );
        assert_eq!(spans.len(), 3);
        let bytes = if leg == Leg::Request { request } else { reply };
        assert_eq!([send.bytes, receive.bytes], [bytes; 2]);
        assert!(wire.start_ns == send.end_ns && send.start_ns <= send.end_ns);
        assert!(receive.start_ns <= receive.end_ns);
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn requests_are_measured_with_every_verb_and_completion() {
    for verb in ["write-with-immediate", "send", "read"] {
        for completion in ["event", "poll"] {
            let hop = "clients.0.path.0";
            let settings = [
                format!("{hop}.verb={verb}"),
                format!("{hop}.completion={completion}"),
            ];
            let run = measured("direct", &settings.each_ref().map(String::as_str));
            messages_are_whole(&run, 1);
        }
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn connections_that_the_connection_manager_sets_up_are_measured() {
    let setup = "clients.0.path.0.setup=rdma-cm";
    messages_are_whole(&measured("direct", &[setup]), 1);
    let both = [
        "clients.0.path.0.over=rdma",
        setup,
        "clients.0.path.1.setup=rdma-cm",
    ];
    messages_are_whole(&measured("proxied", &both), 2);
}

/// The library is hidden in the guest's layer over this machine's files.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_missing_librdmacm_is_named_before_anything_runs() {
    let hide = "for f in /usr/lib/*/librdmacm.so.1; do mv $f $f.hidden; done";
    let bring_back = "for f in /usr/lib/*/librdmacm.so.1.hidden; do mv $f ${f%.hidden}; done";
    let run = |command: &str| {
        let status = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(status.success(), "{command}");
    };
    let dir = tempfile::tempdir().unwrap();
    run(hide);
    let refused = measure("direct", &["clients.0.path.0.setup=rdma-cm"], dir.path()).output();
    let doctor = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .arg("doctor")
        .output();
    run(bring_back);
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let message = said(&refused).replace(&scenario("direct").display().to_string(), "SCENARIO");
    insta::assert_snapshot!(message, @"error: SCENARIO with --set clients.0.path.0.setup=rdma-cm: `clients.0.path.0.setup`: dlopen: librdmacm.so.1: cannot open shared object file: No such file or directory; install the library librdmacm.so.1 (Debian: librdmacm1; Red Hat: librdmacm), or leave connections to be set up over TCP, without `setup = \"rdma-cm\"`");
    let text = String::from_utf8_lossy(&doctor.unwrap().stdout).into_owned();
    let found = text.lines().find(|line| line.contains("setup rdma-cm"));
    insta::assert_snapshot!(found.unwrap(), @"no  setup rdma-cm          dlopen: librdmacm.so.1: cannot open shared object file: No such file or directory; install the library librdmacm.so.1 (Debian: librdmacm1; Red Hat: librdmacm), or leave connections to be set up over TCP, without `setup = \"rdma-cm\"`");
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_gateway_forwards_between_tcp_and_rdma_either_way() {
    messages_are_whole(&measured("proxied", &[]), 2);
    let swapped = ["clients.0.path.0.over=rdma", "clients.0.path.1.over=tcp"];
    messages_are_whole(&measured("proxied", &swapped), 2);
    messages_are_whole(&measured("proxied", &["clients.0.path.0.over=rdma"]), 2);
}

/// DeepLabV3 has two outputs, YOLOv4 three.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_gateway_forwards_every_output_of_a_net() {
    for (name, side, reply) in [
        ("deeplabv3-resnet50", 33, 2 * 21 * 33 * 33 * 4),
        ("yolov4", 64, 255 * (8 * 8 + 4 * 4 + 2 * 2) * 4),
    ] {
        for first in ["tcp", "rdma"] {
            let settings = [
                format!("stages.work.serve={{ net = {{ name = \"{name}\", side = {side} }} }}"),
                format!("clients.0.path.0.over={first}"),
                "run.warmup.requests=1".to_owned(),
                "run.measure.requests=3".to_owned(),
            ];
            let run = measured("proxied", &settings.each_ref().map(String::as_str));
            messages_are(&run, 2, 2 * 4, [3 * side * side * 4, reply]);
        }
    }
}

/// The probes give every cost that the engine needs of a hop over verbs.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_profile_of_the_probes_predicts_what_they_measured() {
    let dir = tempfile::tempdir().unwrap();
    let tandem = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.arg("-q").args(arguments).current_dir(dir.path());
        let output = command.output().unwrap();
        // Exit code 1 says that a prediction is outside the tolerance of `validate`.
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 1)),
            "{arguments:?}: {}",
            said(&output)
        );
    };
    let probe = [
        "probe",
        "--seconds",
        "1",
        "--rdma",
        "rxe0",
        "rxe1",
        "-o",
        "runs",
    ];
    tandem(&probe);
    let mut runs = Vec::new();
    for verb in ["write-with-immediate", "send"] {
        for completion in ["event", "poll"] {
            runs.push(format!("runs/wire-rdma-{verb}-{completion}"));
        }
    }
    let with = |first: &str, more: &[&str]| {
        let mut arguments = vec![first];
        arguments.extend(runs.iter().map(String::as_str));
        arguments.extend(more);
        tandem(&arguments);
    };
    with("calibrate", &["-o", "profile.toml"]);
    let text = fs::read_to_string(dir.path().join("profile.toml")).unwrap();
    let costs = [
        ("this-machine", "post/rdma"),
        ("this-machine", "completion/event"),
        ("this-machine", "completion/poll"),
        ("this-wire", "delay/rdma"),
        ("this-wire", "delay/rdma/poll"),
    ];
    for (part, cost) in costs {
        let head = format!("[parts.{part}.costs.\"{cost}\"]");
        assert!(text.contains(&head), "no {head} in\n{text}");
    }
    with("validate", &["-p", "profile.toml"]);
    for completion in ["event", "poll"] {
        let run = dir.path().join(format!("runs/wire-rdma-read-{completion}"));
        let run = Run::load(&run).unwrap();
        assert_eq!(run.manifest.outcome, Outcome::Complete);
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn the_doctor_finds_both_devices() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    let output = command.arg("doctor").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for device in [
        "rxe0, GID 1 (::ffff:10.79.0.1), MTU 4096 B",
        "rxe1, GID 1 (::ffff:10.79.0.2), MTU 4096 B",
        "yes setup rdma-cm          librdmacm, and /dev/infiniband/rdma_cm",
    ] {
        assert!(text.contains(device), "{text}");
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_device_that_is_not_there_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = ["hosts.server.nic.device=mlx5_0"];
    let output = measure("direct", &wrong, dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let message = said(&output).replace(&scenario("direct").display().to_string(), "SCENARIO");
    insta::assert_snapshot!(message, @"error: SCENARIO:9: `hosts.server.nic`: ibv_open_device on device `mlx5_0`: there is none of this name, but `rxe0`, `rxe1`; `tandem simulate` runs RDMA anywhere");
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn several_devices_and_none_named_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(scenario("direct")).unwrap();
    let path = dir.path().join("scenario.toml");
    fs::write(&path, text.replace(", device = \"rxe1\"", "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command
        .args(["measure", "-q"])
        .arg(&path)
        .arg("-o")
        .arg(dir.path().join("run"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let message = said(&output).replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(message, @r#"error: DIR/scenario.toml:9: `hosts.server.nic`: choosing a device: several are active: rxe0, rxe1; name the one to use: `nic = { part = "PART", device = "NAME" }`; `tandem simulate` runs RDMA anywhere"#);
}

/// Root is not bound by the limit, but for the capability that this takes away.
#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_limit_of_locked_memory_that_is_too_low_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let inner = measure("direct", &[], dir.path());
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    command.args(["prlimit", "--memlock=65536"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let begin = Instant::now();
    let output = command.output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let message = said(&output);
    assert!(message.contains("ibv_reg_mr on device `rxe"), "{message}");
    assert!(
        message.contains("the limit of locked memory is 64 KiB; raise it"),
        "{message}"
    );
}

/// The process of `child`'s measurement whose journals begin with `role`.
fn process_of(role: &str, dir: &Path) -> Option<u32> {
    let journal = dir.join("run/journals").join(role).display().to_string();
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let maps = fs::read_to_string(entry.path().join("maps")).ok()?;
        maps.contains(&journal).then_some(pid)
    })
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not come to be");
}

fn ended(mut child: Child) -> Output {
    let begin = Instant::now();
    wait_for("the end of the measurement", || child.try_wait().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(10));
    child.wait_with_output().unwrap()
}

/// Waits until a measurement has gone on for about a second.
fn has_begun(dir: &Path) {
    wait_for("samples of the clients' core time", || {
        let path = dir.join("run/journals/client-edge.cpu");
        fs::read_to_string(path)
            .ok()
            .filter(|text| text.lines().count() > 50)
    });
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_killed_server_is_named_within_seconds() {
    for completion in ["event", "poll"] {
        let dir = tempfile::tempdir().unwrap();
        let completion = format!("clients.0.path.0.completion={completion}");
        let settings = ["run.measure={ requests = 1000000 }", &completion];
        let child = measure("direct", &settings, dir.path()).spawn().unwrap();
        has_begun(dir.path());
        let server = wait_for("the server", || process_of("server-work", dir.path()));
        let status = Command::new("kill")
            .args(["-9", &server.to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        let output = ended(child);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let message = said(&output);
        assert!(
            message.contains("role `server work` was killed by signal 9"),
            "{message}"
        );
        let run = Run::load(&dir.path().join("run")).unwrap();
        assert!(run.summary().requests > 0);
    }
}

fn shell(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Takes the wire down; its end brings it up again, with the route that has gone with it.
struct Down;

impl Down {
    fn take() -> Down {
        shell("ip link set wire1 down");
        Down
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        shell(
            "ip link set wire1 up && \
             ip route replace 10.79.0.1 dev wire1 src 10.79.0.2 table 71",
        );
    }
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_link_that_goes_down_is_named_and_no_recorded_span_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["run.measure={ requests = 1000000 }"];
    let child = measure("direct", &settings, dir.path()).spawn().unwrap();
    has_begun(dir.path());
    let down = Down::take();
    let output = ended(child);
    drop(down);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let message = said(&output);
    assert!(message.contains("its port is not active"), "{message}");
    let run = Run::load(&dir.path().join("run")).unwrap();
    assert!(run.summary().requests > 0);
    // Client and server record each for itself, so the last request of a client may be in one of
    // them only.
    let mut spans: BTreeMap<RequestId, usize> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for span in &run.trace {
        *spans.entry(span.request).or_default() += 1;
        let seq = last.entry(span.request.client()).or_insert(0);
        *seq = span.request.seq().max(*seq);
    }
    for (request, n) in spans {
        assert!(
            n == 13 || request.seq() + 1 >= last[&request.client()],
            "{request:?}: {n} spans"
        );
    }
    // The next measurement finds everything as it was.
    messages_are_whole(&measured("direct", &[]), 1);
}

#[test]
#[ignore = "needs two verbs devices: tests/rdma/run"]
fn a_port_that_is_not_active_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let down = Down::take();
    let output = measure("direct", &[], dir.path()).output().unwrap();
    drop(down);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let message = said(&output).replace(&scenario("direct").display().to_string(), "SCENARIO");
    insta::assert_snapshot!(message, @"error: SCENARIO:8: `hosts.edge.nic`: ibv_query_port on device `rxe0`: its port is not active; is the cable in, and the interface up (`ip link`)?; `tandem simulate` runs RDMA anywhere");
}

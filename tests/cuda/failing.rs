//! Each function of the driver fails in a measurement: at its first call and at a later one.

use realrun::accelerator::cuda::functions;

use super::*;

/// What a pass of a stage uses beside copies and kernels.
const GRAPHS: [&str; 2] = [
    "stages.net.gpu.launch=graph",
    "stages.net.gpu.d2h=default-stream",
];

/// Those that a measurement over TCP does not call: what messages to and from GPUs need, and what only
/// tests ask. `nothing_is_left_behind_whichever_call_fails` fails them.
const ELSEWHERE: [&str; 7] = [
    "cuCtxSynchronize",
    "cuGetErrorName",
    "cuMemGetAddressRange_v2",
    "cuMemGetHandleForAddressRange",
    "cuMemGetInfo_v2",
    "cuPointerSetAttribute",
    "cuStreamGetPriority",
];

/// Those that free: what they fail with has nobody to be told to, and the context's end frees all.
const FREES: [&str; 7] = [
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuModuleUnload",
    "cuStreamDestroy_v2",
    "cuEventDestroy_v2",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
];

/// What is counted while it is held.
const HELD: [&str; 7] = [
    "contexts",
    "streams",
    "events",
    "graphs",
    "modules",
    "device-buffers",
    "pinned-buffers",
];

/// How a measurement ended on a stand-in told `failure`.
struct Ended {
    code: Option<i32>,
    said: String,
    /// The run, if there is one.
    run: Option<Run>,
    /// What each process held at its end and called, by name.
    accounts: Vec<BTreeMap<String, u64>>,
}

fn ended(settings: &[&str], failure: &str) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("accounts");
    fs::create_dir(&folder).unwrap();
    let file = standin(
        dir.path(),
        &format!("accounts = \"{}\"\n{failure}", folder.display()),
    );
    let mut settings = settings.to_vec();
    // Times count for nothing here.
    let (one, fast) = (
        "run.measure.requests=8",
        "clients.0.arrivals.closed-loop={}",
    );
    // With one thread it is known which call on a context that has ended was the first.
    settings.push("stages.net.gpu.streams=1");
    settings.extend([
        one,
        fast,
        "stages.net.serve.kernels.work.1.kernel.time=0 ns",
    ]);
    let mut command = tandem("measure", &settings, dir.path());
    let output = command.env("TANDEM_STANDIN", &file).output().unwrap();
    let account = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let line = |line: &str| {
            let (name, n) = line.split_once(' ').unwrap();
            (name.to_owned(), n.parse().unwrap())
        };
        text.lines().map(line).collect()
    };
    let accounts = fs::read_dir(&folder).unwrap();
    Ended {
        code: output.status.code(),
        said: said(&output),
        run: Run::load(&dir.path().join("run")).ok(),
        accounts: accounts
            .map(|entry| account(entry.unwrap().path()))
            .collect(),
    }
}

impl Ended {
    /// What is left of what is counted, in all processes.
    fn left(&self) -> Vec<(&str, u64)> {
        let all = self
            .accounts
            .iter()
            .flat_map(|account| HELD.iter().map(|what| (*what, account[*what])));
        all.filter(|(_, n)| *n > 0).collect()
    }

    /// Where a failure is told: by the command, or of what only describes the device in the run.
    fn told(&self) -> String {
        if self.code != Some(0) {
            return self.said.clone();
        }
        let manifest = &self.run.as_ref().unwrap().manifest;
        let facts = &manifest.measured.as_ref().unwrap().machine;
        let facts = ["GPUs", "GPU topology"].map(|name| facts[name].as_str());
        format!("{} {}", facts.join(" "), manifest.warnings.join(" "))
    }

    /// Calls of a function by the process that called it most often.
    fn calls(&self, name: &str) -> u64 {
        let calls = self.accounts.iter().filter_map(|account| account.get(name));
        calls.copied().max().unwrap_or(0)
    }
}

/// Checks how a measurement ended in which call number `after` of `name` failed.
fn check(name: &str, after: u64, settings: &[&str], works: &Ended) {
    // Who asks only for what a device is, and who frees, goes on.
    let is_sticky = name != "cuCtxGetStreamPriorityRange" && !FREES.contains(&name);
    let failure = format!(
        "[[failures]]\ncall = \"{name}\"\ncode = 719\nafter = {after}\ntimes = 1\n\
         sticky = {is_sticky}"
    );
    let found = ended(settings, &failure);
    let what = format!("call {after} of {name}: {:?}, {}", found.code, found.said);
    let is_kept = name == "cuCtxDestroy_v2";
    if FREES.contains(&name) || is_kept {
        assert_eq!(found.code, Some(0), "{what}");
    } else {
        let told = found.told();
        let short = name.trim_end_matches("_v2").trim_end_matches("WithFlags");
        assert!(told.contains(short), "{what}: {told}");
        assert!(
            told.contains("CUDA_ERROR_LAUNCH_FAILED (719)"),
            "{what}: {told}"
        );
    }
    // What is called for every request fails when some have been served.
    if works.calls(name) > 40 && after > 0 && !FREES.contains(&name) {
        assert_eq!(found.code, Some(1), "{what}");
        let run = found.run.as_ref().expect(&what);
        assert!(
            matches!(run.manifest.outcome, Outcome::Broken { .. }),
            "{what}"
        );
        let requests = run
            .trace
            .iter()
            .filter(|span| span.name == SpanName::Request);
        assert!(requests.count() > 0, "{what}");
    }
    // A context that the driver does not destroy keeps what is on it.
    assert!(
        found.left().is_empty() || is_kept,
        "{what}: {:?}",
        found.left()
    );
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn whichever_function_fails_is_named_and_nothing_is_left_behind() {
    let mut uncalled: Vec<&str> = functions().collect();
    for settings in [&[][..], &GRAPHS] {
        let works = ended(settings, "");
        assert_eq!(works.code, Some(0), "{}", works.said);
        assert_eq!(works.left(), []);
        assert_eq!(works.accounts.len(), 2, "the launcher and the server");
        for name in functions().filter(|name| works.calls(name) > 0) {
            let is_new = uncalled.contains(&name);
            uncalled.retain(|other| *other != name);
            if !is_new {
                continue;
            }
            let n = works.calls(name);
            check(name, 0, settings, &works);
            if n > 1 {
                check(name, n / 2, settings, &works);
            }
        }
    }
    uncalled.sort_unstable();
    assert_eq!(uncalled, ELSEWHERE);
}

/// What is said, and the exit code, of a measurement with this driver.
fn refused(library: Option<&Path>, more: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = standin(dir.path(), more);
    let mut command = tandem("measure", &[], dir.path());
    command.env("TANDEM_STANDIN", &file);
    if let Some(library) = library {
        command.env("LD_LIBRARY_PATH", library);
    }
    let output = command.output().unwrap();
    format!("{:?} {}", output.status.code(), said(&output))
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_driver_that_will_not_do_is_refused_before_anything_starts() {
    let rig = PathBuf::from(std::env::var_os("LD_LIBRARY_PATH").unwrap());
    let stub = refused(Some(&rig.join("stub")), "");
    assert!(stub.starts_with("Some(2) error: SCENARIO:14: `hosts.box.gpus.0.part`: loading libcuda.so.1: it has no cuGetErrorName, "), "{stub}");
    insta::assert_snapshot!(refused(None, "devices = 0"), @"Some(2) error: SCENARIO:14: `hosts.box.gpus.0.part`: there is no GPU 0: the driver shows 0 of them to this process; is CUDA_VISIBLE_DEVICES set?; `tandem simulate` runs GPUs anywhere");
    insta::assert_snapshot!(refused(None, "driver-version = 10020"), @"Some(2) error: SCENARIO:14: `hosts.box.gpus.0.part`: cuDriverGetVersion: the driver is for CUDA 10.2, and 11.0 is needed; install NVIDIA's driver 450 or newer; `tandem simulate` runs GPUs anywhere");
    let nowhere = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(refused(Some(nowhere.path()), ""), @"Some(2) error: SCENARIO:14: `hosts.box.gpus.0.part`: loading libcuda.so.1: it is not there or cannot be loaded; install NVIDIA's driver, and put the folder of the library on LD_LIBRARY_PATH if it is in none that the loader searches; `tandem simulate` runs GPUs anywhere");
}

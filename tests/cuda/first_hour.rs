//! The script for the first hour on a GPU, from end to end.

use super::*;

/// The lines of `steps.tsv`: how each step ended, with its exit code, by name.
fn steps(text: &str) -> BTreeMap<String, (String, String)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [step, how, code, _] = fields[..] else {
            panic!("{line}");
        };
        (step.to_owned(), (how.to_owned(), code.to_owned()))
    };
    text.lines().skip(1).map(line).collect()
}

/// Where there is no Multi-Process Service and no `nvidia-smi`: those steps fail, and all others are done.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn what_fails_does_not_end_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("hour");
    // Programs of NVIDIA's, should they be here, are not to be found.
    let path = std::env::var("PATH").unwrap();
    for name in ["nvidia-smi", "nvidia-cuda-mps-control"] {
        sharing::program(dir.path(), name, "#!/bin/sh\nexit 9\n");
    }
    let output = Command::new(Path::new(ROOT).join("realrun/first-hour-on-a-gpu.sh"))
        .arg(&out)
        .env("TANDEM", env!("CARGO_BIN_EXE_tandem"))
        .env("TANDEM_SHORT", "1")
        .env("TMPDIR", dir.path())
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .output()
        .unwrap();
    let text = fs::read_to_string(out.join("steps.tsv")).unwrap();
    assert!(output.status.success(), "{text}{}", said(&output));
    let steps = steps(&text);
    for (name, (how, code)) in &steps {
        let expected: &[&str] = match name.as_str() {
            name if name.starts_with("nvidia-smi")
                || name.starts_with("mps")
                || name.starts_with("probe-pair-mps") =>
            {
                &["failed"]
            }
            // By the machine's clock and on a busy machine a prediction may be off.
            name if name.starts_with("validate") => &["ok", "no"],
            _ => &["ok"],
        };
        let log = fs::read_to_string(out.join("logs").join(format!("{name}.err")));
        assert!(expected.contains(&&**how), "{name}: {how} ({code}) {log:?}");
    }
    for name in [
        "doctor",
        "probe-wire-tcp",
        "probe-gpu-graphs-128",
        "probe-pair-streams",
        "mps-2-1",
        "validate-graphs",
        "validate-pairs",
    ] {
        assert!(steps.contains_key(name), "{name} of {:?}", steps.keys());
    }
    let profile = Profile::load(&out.join("profile.toml")).unwrap();
    assert!(
        profile.parts["this-gpu"]
            .parameters
            .contains_key("graph-launch-interval")
    );
    let pairs = fs::read_to_string(out.join("logs/validate-pairs.txt")).unwrap();
    for sharing in [
        "streams ",
        "streams, `small-blocks` ahead",
        "processes in turn",
    ] {
        let rows = pairs.lines().filter(|line| line.starts_with(sharing));
        assert_eq!(rows.count(), 2, "{sharing} of {pairs}");
    }
    let mut list = Command::new("tar");
    let listed = list.arg("-tzf").arg(dir.path().join("hour.tar.gz"));
    let listed = listed.output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for file in [
        "hour/steps.tsv",
        "hour/profile.toml",
        "hour/runs/streams-1-1/summary.json",
    ] {
        assert!(
            listed.lines().any(|line| line == file),
            "{file} of {listed}"
        );
    }
}

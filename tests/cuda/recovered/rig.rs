//! The program beside a stand-in that is told what to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use schema::comparison::PairRow;
use schema::profile::Profile;
use schema::run::{Run, SpanName};

/// The part that the stand-in is.
pub(crate) const PART: &str = "known";
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder with the stand-in's file and what was measured.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    standin: PathBuf,
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

impl Rig {
    /// A stand-in for the GPU of `truth`, by this clock.
    pub(crate) fn new(truth: &Profile, clock: &str) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        truth.save(&dir.path().join("truth.toml")).unwrap();
        let standin = dir.path().join("standin.toml");
        let text = format!("profile = \"truth.toml\"\npart = \"{PART}\"\nclock = \"{clock}\"\n");
        fs::write(&standin, text).unwrap();
        Rig { dir, standin }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn tandem(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.env("TANDEM_STANDIN", &self.standin).arg("-q");
        command
    }

    /// The run of a scenario with these settings.
    pub(crate) fn measured(&self, scenario: &Path, settings: &[String], name: &str) -> Run {
        let out = self.path(name);
        let mut command = self.tandem();
        command.arg("measure").arg(scenario);
        for setting in settings {
            command.args(["--set", setting]);
        }
        run(command.arg("-o").arg(&out));
        Run::load(&out).unwrap()
    }

    /// The engine's run of it with `profile`, beside a host whose cores take no time.
    pub(crate) fn simulated(
        &self,
        profile: &Profile,
        scenario: &Path,
        settings: &[String],
        name: &str,
    ) -> Run {
        let (file, out) = (self.path("profile.toml"), self.path(name));
        profile.save(&file).unwrap();
        let mut command = self.tandem();
        command.arg("simulate").arg(scenario);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.args(["--replications", "1", "-p"]).arg(&file);
        let ideal = Path::new(ROOT).join("scenarios/profiles/ideal.toml");
        run(command.arg("-p").arg(ideal).arg("-o").arg(&out));
        Run::load(&out).unwrap()
    }

    /// What `validate` finds of nets side by side, each measured by every probe of these.
    pub(crate) fn pairs(&self, profile: &Profile) -> Vec<PairRow> {
        let bin = self.path("bin");
        fs::create_dir(&bin).unwrap();
        let control = bin.join("nvidia-cuda-mps-control");
        fs::write(&control, include_str!("../mps-control")).unwrap();
        fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
        let mut runs = Vec::new();
        for probe in self.probes("pair-") {
            let name = format!("run-{}", probe.file_stem().unwrap().to_str().unwrap());
            let out = self.path(&name);
            let mut command = self.tandem();
            let path = std::env::var("PATH").unwrap();
            command.env("PATH", format!("{}:{path}", bin.display()));
            command.env("CUDA_MPS_PIPE_DIRECTORY", self.path("none"));
            command.env("TMPDIR", self.dir.path());
            run(command.arg("measure").arg(&probe).arg("-o").arg(&out));
            runs.push(out);
        }
        let file = self.path("profile.toml");
        profile.save(&file).unwrap();
        let mut command = self.tandem();
        command.args(["validate", "--json", "-p"]).arg(&file);
        let output = run(command.args(runs));
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        serde_json::from_value(found["pairs"].clone()).unwrap()
    }

    /// The scenarios of all probes of the GPU whose names begin so.
    fn probes(&self, begin: &str) -> Vec<PathBuf> {
        let mut command = self.tandem();
        command.args(["probe", "--gpu", "--dry-run", "-o"]);
        let output = run(command.arg(self.path("probes")));
        let text = String::from_utf8(output.stdout).unwrap();
        let paths = text.lines().map(PathBuf::from);
        let of_gpu = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(begin)
        };
        paths.filter(of_gpu).collect()
    }

    /// What `calibrate` fits to all probes of the GPU.
    pub(crate) fn calibrated(&self) -> Profile {
        self.fitted(&self.probed())
    }

    /// The runs of all probes of the GPU, measured once.
    fn probed(&self) -> Vec<PathBuf> {
        let mut runs = Vec::new();
        for probe in self.probes("gpu-") {
            let name = format!("run-{}", probe.file_stem().unwrap().to_str().unwrap());
            let out = self.path(&name);
            if !out.exists() {
                self.measured(&probe, &[], &name);
            }
            runs.push(out);
        }
        runs
    }

    /// The same with the costs of the host in this round: of messages over TCP, and of one client of a GPU
    /// server. Also the run of the former.
    pub(crate) fn calibrated_with_host(&self, round: usize) -> (Profile, Run) {
        let mut runs = self.probed();
        let name = format!("wire-{round}");
        let wire = self.wire(&name);
        runs.push(self.path(&name));
        let one = [
            "clients.0.count=1",
            "hosts.box.part=this-machine",
            "hosts.box.gpus.0.part=this-gpu",
            "run.measure.requests=100",
        ];
        let server = Path::new(ROOT).join("tests/cuda/kernels.toml");
        let name = format!("one-{round}");
        self.measured(&server, &one.map(str::to_owned), &name);
        runs.push(self.path(&name));
        (self.fitted(&runs), wire)
    }

    /// The run of the probe of messages over TCP.
    pub(crate) fn wire(&self, name: &str) -> Run {
        let wire = Path::new(ROOT).join("scenarios/probes/wire-tcp.toml");
        let short = ["run.warmup.time=\"300 ms\"", "run.measure.time=\"4 s\""];
        self.measured(&wire, &short.map(str::to_owned), name)
    }

    fn fitted(&self, runs: &[PathBuf]) -> Profile {
        let profile = self.path("recovered.toml");
        let mut command = self.tandem();
        command.arg("calibrate").args(runs);
        run(command.arg("-o").arg(&profile));
        Profile::load(&profile).unwrap()
    }

    /// Median time of a copy of the probe of streams, with its wait for those of the others, in seconds.
    pub(crate) fn copies_of_streams(&self) -> f64 {
        let run = Run::load(&self.path("run-gpu-streams")).unwrap();
        let copies = run.trace.iter().filter(|span| span.name == SpanName::H2d);
        let mut times: Vec<f64> = copies.map(|span| span.length_s()).collect();
        times.sort_by(f64::total_cmp);
        schema::stats::quantile(&times, 0.5)
    }

    /// Mean time of a pass of the kernels of `gpu-batches` with this batch, in seconds.
    pub(crate) fn pass_of_batch(&self, batch: u32) -> f64 {
        let (scenario, settings) = self.batch(batch);
        let run = self.measured(&scenario, &settings, &format!("batch-{batch}"));
        mean_s(&run, SpanName::Inference)
    }

    /// The same by the engine, of the net that was fitted.
    pub(crate) fn simulated_pass_of_batch(&self, profile: &Profile, batch: u32) -> f64 {
        let (_, settings) = self.batch(batch);
        let scenario = Path::new(ROOT).join("tests/cuda/recovered/net.toml");
        let name = format!("batch-{batch}-simulated");
        mean_s(
            &self.simulated(profile, &scenario, &settings, &name),
            SpanName::Inference,
        )
    }

    /// Mean times in which images of this width and height become tensors, measured and by the engine
    /// with `profile`, in seconds.
    pub(crate) fn tensor_of(&self, profile: &Profile, [width, height]: [u32; 2]) -> [f64; 2] {
        let kernels = "stages.images.serve.kernels";
        let mut settings = vec![
            format!("{kernels}.raw.width={width}"),
            format!("{kernels}.raw.height={height}"),
            format!("{kernels}.input=\"{} B\"", 3 * width * height),
        ];
        let scenario = Path::new(ROOT).join("scenarios/probes/gpu-images.toml");
        let name = format!("images-{width}");
        let measured = self.measured(&scenario, &settings, &name);
        settings.push("hosts.box.part=no-time".to_owned());
        let simulated = self.simulated(profile, &scenario, &settings, &format!("{name}-simulated"));
        [measured, simulated].map(|run| mean_s(&run, SpanName::Preprocess))
    }

    /// The scenario and settings of a probe of batches, for another batch.
    fn batch(&self, batch: u32) -> (PathBuf, Vec<String>) {
        let settings = vec![
            format!("clients.0.count={batch}"),
            format!("stages.batches.batch.max={batch}"),
        ];
        (self.path("probes").join("gpu-batches-1.toml"), settings)
    }
}

/// Mean time of these spans, without their waits.
fn mean_s(run: &Run, name: SpanName) -> f64 {
    let spans = run.trace.iter().filter(|span| span.name == name);
    let services: Vec<f64> = spans.map(|span| span.service_s()).collect();
    schema::stats::mean(&services)
}

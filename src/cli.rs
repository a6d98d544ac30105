//! The arguments of the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use plots::View;
use schema::comparison::Metric;
use schema::units::SimDuration;
use sim::Precision;

/// Measures, fits and simulates pipelines that serve neural nets.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Says less on standard error: neither progress nor warnings
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Prints the result as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Seed of every random stream, in place of the scenario's
    #[arg(long, global = true)]
    pub(crate) seed: Option<u64>,
    /// Overrides a key of the scenario, such as clients.0.count=8; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The whole loop on this machine: measure, calibrate, simulate, validate, report
    Quickstart(Quickstart),
    /// Measures the points of studies on this machine, and simulates them from probes alone
    Judge(Judge),
    /// What this machine can measure, and what is missing for the rest
    Doctor,
    /// Measures each part of this machine alone: a run per part
    Probe(Probe),
    /// Runs a scenario on this machine's hardware
    Measure(Measure),
    /// Makes the run of a measurement that was killed, from what its processes had recorded
    Recover(Recover),
    /// Fits a profile to runs
    Calibrate(Calibrate),
    /// Runs a scenario in the engine
    Simulate(Simulate),
    /// Simulates every point of a study's grid, and goes on where it was stopped
    Sweep(Sweep),
    /// Runs every study of a folder, and makes one HTML page of their figures
    Reproduce(Reproduce),
    /// Where the time of a simulated scenario goes, and what would help
    Explain(Explain),
    /// The difference of two simulated scenarios, with common random numbers
    Compare(Compare),
    /// Simulates what was measured and compares, stage by stage
    Validate(Validate),
    /// Draws a figure from runs
    Plot(Plot),
    /// Makes one self-contained HTML page from run directories
    Report(Report),
    /// Writes a run as a file for another tool
    Export(Export),
    /// Plays a role of a measurement; started by `measure`
    #[command(hide = true)]
    Role,
}

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Folder for everything it makes
    #[arg(short, long, default_value = "tandem-out/quickstart")]
    pub(crate) out: PathBuf,
    /// How long each of its many measurements lasts, in seconds
    #[arg(long, default_value_t = 1.2)]
    pub(crate) seconds: f64,
}

/// Arguments of `judge`.
#[derive(Debug, Args)]
pub(crate) struct Judge {
    /// Folder with study files
    #[arg(long, value_name = "DIR", default_value = "scenarios/judge")]
    pub(crate) studies: PathBuf,
    /// Runs only the study with this name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Scenario of a probe that the profile is fitted to, in place of those that come with the program;
    /// may be repeated
    #[arg(long = "probe", value_name = "SCENARIO")]
    pub(crate) probes: Vec<PathBuf>,
    /// Folder for everything it makes; measurements that are there already are not made again
    #[arg(short, long, default_value = "tandem-out/judge")]
    pub(crate) out: PathBuf,
    /// Rounds in which everything is measured once; with fewer than six the intervals of what was
    /// measured hold less than 95%
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) rounds: u32,
    /// How long each of the many measurements of a round lasts, in seconds; those of probes three times
    /// as long
    #[arg(long, default_value_t = 0.8)]
    pub(crate) seconds: f64,
    /// Number of profiles, drawn within what is known of each cost, that each point is simulated with
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) replications: u32,
    /// Threads of the simulations; the result does not depend on it
    #[arg(short = 'j', long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// Folder for the runs
    #[arg(short, long, default_value = "tandem-out/probe")]
    pub(crate) out: PathBuf,
    /// How long each probe lasts, in seconds
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Nets to probe, as name@side; may be repeated
    #[arg(long = "net", value_name = "NET@SIDE", default_values_t = ["squeezenet1.1@96".to_owned()])]
    pub(crate) nets: Vec<String>,
    /// Probes the first GPU too: copies by size, kernels of known work, and two nets side by side
    #[arg(long)]
    pub(crate) gpu: bool,
    /// Probes messages between two RDMA devices of this machine too, which may be one, by size, verb and
    /// completion
    #[arg(long, num_args = 2, value_names = ["DEVICE", "DEVICE"])]
    pub(crate) rdma: Vec<String>,
    /// Writes the probes' scenarios and measures nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `measure`.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// The scenario file
    pub(crate) scenario: PathBuf,
    /// The run directory
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
}

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// Run directories
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// The profile file
    #[arg(short, long, default_value = "profile.toml")]
    pub(crate) out: PathBuf,
    /// Name of the profile
    #[arg(long, default_value = "calibrated")]
    pub(crate) name: String,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The scenario file
    pub(crate) scenario: PathBuf,
    /// A profile file; may be repeated, for parts in several; a scenario of plain stages needs none
    #[arg(short, long)]
    pub(crate) profile: Vec<PathBuf>,
    /// The run directory
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
    /// Number of independent replications; with --until the number to start with
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replications: u32,
    /// Runs more replications until a metric is precise enough, such as 'p99 ±2%'
    #[arg(long, value_name = "METRIC ±PERCENT")]
    until: Option<Precision>,
    /// Most replications that --until may run
    #[arg(long, requires = "until", value_parser = clap::value_parser!(u32).range(2..))]
    max_replications: Option<u32>,
    /// Keeps every visit and request of plain stages, not only their statistics
    #[arg(long)]
    pub(crate) trace: bool,
    /// Threads to use; the result does not depend on it
    #[arg(short = 'j', long, default_value_t = 0)]
    pub(crate) threads: usize,
}

impl Simulate {
    /// What `--until` asks for.
    pub(crate) fn precision(&self) -> Option<Precision> {
        let precision = self.until?;
        Some(Precision {
            at_most: self.max_replications.unwrap_or(precision.at_most),
            ..precision
        })
    }
}

/// Arguments of `sweep`.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// The study file
    pub(crate) study: PathBuf,
    /// A profile file, in place of the study's; may be repeated, for parts in several
    #[arg(short, long)]
    pub(crate) profile: Vec<PathBuf>,
    /// Folder for what is found; points that are there already are not simulated again
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
    /// Number of replications of each point, in place of the study's
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) replications: Option<u32>,
    /// Threads to use; the result does not depend on it
    #[arg(short = 'j', long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Arguments of `reproduce`.
#[derive(Debug, Args)]
pub(crate) struct Reproduce {
    /// Folder with study files; may be repeated
    #[arg(long, value_name = "DIR", default_values = ["scenarios/study", "scenarios/beyond", "scenarios/validation"])]
    pub(crate) studies: Vec<PathBuf>,
    /// Runs only the study with this name, or those of the folder with it; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Folder for tables, figures and the page; points that are there already are not simulated again
    #[arg(short, long, default_value = "tandem-out/reproduce")]
    pub(crate) out: PathBuf,
    /// Folder that also gets a small table of each study, STUDY.csv, as those of docs/study
    #[arg(long, value_name = "DIR")]
    pub(crate) tables: Option<PathBuf>,
    /// Number of replications of each point, in place of the studies'
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) replications: Option<u32>,
    /// Threads to use; the result does not depend on it
    #[arg(short = 'j', long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The scenario file
    pub(crate) scenario: PathBuf,
    /// A profile file; may be repeated, for parts in several
    #[arg(short, long, required = true)]
    pub(crate) profile: Vec<PathBuf>,
    /// What is to be better
    #[arg(short, long, value_enum, default_value = "mean")]
    pub(crate) metric: Target,
    /// Number of pairs of replications
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) replications: u32,
    /// Threads to use; the result does not depend on it
    #[arg(short = 'j', long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// A metric that can be better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Target {
    /// Mean end-to-end time
    Mean,
    /// Median
    P50,
    /// 90th percentile
    P90,
    /// 99th percentile
    P99,
    /// Completed requests per second
    Throughput,
}

impl From<Target> for Metric {
    fn from(target: Target) -> Metric {
        match target {
            Target::Mean => Metric::Mean,
            Target::P50 => Metric::P50,
            Target::P90 => Metric::P90,
            Target::P99 => Metric::P99,
            Target::Throughput => Metric::Throughput,
        }
    }
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The first scenario file
    pub(crate) first: PathBuf,
    /// The second scenario file; the first again if not given
    pub(crate) second: Option<PathBuf>,
    /// Overrides a key of the second scenario only; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set_second: Vec<String>,
    /// A profile file; may be repeated, for parts in several; scenarios of plain stages need none
    #[arg(short, long)]
    pub(crate) profile: Vec<PathBuf>,
    /// Number of pairs of replications
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) replications: u32,
    /// Threads to use; the result does not depend on it
    #[arg(short = 'j', long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Run directories of measurements; the same scenario measured again is the noise floor
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// The profile file
    #[arg(short, long)]
    pub(crate) profile: PathBuf,
    /// Largest relative error of mean, median and throughput; of the 99th percentile 2.5 times that
    #[arg(long, default_value_t = 0.10)]
    pub(crate) tolerance: f64,
    /// Folder for the simulated runs, the rows and the figure
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `plot`.
#[derive(Debug, Args)]
pub(crate) struct Plot {
    /// Which figure
    #[arg(value_enum)]
    pub(crate) kind: PlotKind,
    /// Run directories, measured or simulated
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Folder for the figure
    #[arg(short, long, default_value = ".")]
    pub(crate) out: PathBuf,
    /// What `gantt` shows of the run
    #[command(flatten, next_help_heading = "Options of gantt")]
    pub(crate) window: Window,
    /// Ends when the first N requests sent in the window have ended
    #[arg(long, value_name = "N", help_heading = "Options of gantt", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests: Option<u32>,
    /// Shows hosts and waiting lines too, not only GPUs, contexts and stations
    #[arg(long, help_heading = "Options of gantt")]
    pub(crate) all: bool,
}

/// A part of a run.
#[derive(Debug, Args)]
pub(crate) struct Window {
    /// Start of the window, such as '1.5 s' after the clients' common start; the first span if not
    /// given
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<SimDuration>,
    /// End of the window; the last span if not given
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<SimDuration>,
    /// Which replication, counted from 0; the first if not given
    #[arg(long, value_name = "K")]
    pub(crate) replication: Option<u32>,
}

impl Window {
    /// The part of a run that it stands for.
    pub(crate) fn view(&self) -> View {
        View {
            replication: self.replication.unwrap_or(0),
            from_ns: self.from.map(SimDuration::as_ns),
            to_ns: self.to.map(SimDuration::as_ns),
        }
    }
}

/// A kind of figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum PlotKind {
    /// Stacked bars of where the time goes
    Breakdown,
    /// Distribution of the end-to-end time
    Cdf,
    /// Latency and throughput against load
    Load,
    /// Mean time by size of the requests, a line for each run
    Sizes,
    /// Payload per second by number of clients, a line for each name of a scenario
    Goodput,
    /// What each GPU, context and host of one run did when
    Gantt,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Writes Chrome's trace events, which Perfetto (ui.perfetto.dev) opens
    #[arg(long, required = true)]
    pub(crate) chrome: bool,
    /// The file; chrome.json in the run directory if not given
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) window: Window,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// A folder with run directories in it
    pub(crate) dir: PathBuf,
    /// The page; report.html in the folder if not given
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
}

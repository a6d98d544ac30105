//! A measured run beside its simulation: what `validate` finds and the report shows.

use serde::{Deserialize, Serialize};

use crate::stats::Estimate;
use crate::summary::Summary;

/// Name of the stage that stands for the whole request.
pub const END_TO_END: &str = "end-to-end";

/// One figure of a measured run beside the same figure of its simulation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The measured run.
    pub run: String,
    /// The scenario's name.
    pub scenario: String,
    /// Whether the fit never saw this scenario.
    pub held_out: bool,
    /// [`END_TO_END`], or a span name: the time that belongs to it.
    pub stage: String,
    /// Which figure.
    pub metric: Metric,
    /// As measured: seconds, requests per second, or cores.
    pub measured: f64,
    /// 95% interval of the measured value; `null` where there is none.
    pub measured_interval: Option<[f64; 2]>,
    /// As simulated.
    pub predicted: f64,
    /// `(predicted - measured) / measured`; `null` where the measured value is zero.
    pub error: Option<f64>,
    /// The same for a repetition of the measurement in place of the simulation; `null` if it was
    /// not repeated.
    pub noise: Option<f64>,
    /// Whether the measured run was saturated: its times depend on how many requests wait.
    pub saturated: bool,
}

/// What a net takes beside others on a GPU, and alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRow {
    /// The measured run.
    pub run: String,
    /// How the nets share the GPU, in words.
    pub sharing: String,
    /// The stage of the net.
    pub net: String,
    /// Whether the fit never saw the run.
    pub held_out: bool,
    /// Passes of the net while all others were at work.
    pub passes: u64,
    /// Mean time of a pass of it alone, as measured, in seconds.
    pub alone: f64,
    /// Mean time of those passes, as measured, in seconds.
    pub beside: f64,
    /// 95% interval of `beside`; `null` where there is none.
    pub interval: Option<[f64; 2]>,
    /// `alone` as simulated; `null` if it was not.
    pub predicted_alone: Option<f64>,
    /// `beside` as simulated; `null` if it was not.
    pub predicted: Option<f64>,
}

impl PairRow {
    /// How many times as long a pass takes beside the others.
    pub fn factor(&self) -> f64 {
        self.beside / self.alone
    }

    /// `(predicted - beside) / beside`; `None` if nothing was predicted.
    pub fn error(&self) -> Option<f64> {
        Some(self.predicted? / self.beside - 1.0)
    }
}

/// A figure of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Mean, in seconds.
    Mean,
    /// Median, in seconds.
    P50,
    /// 90th percentile, in seconds.
    P90,
    /// 99th percentile, in seconds.
    P99,
    /// Completed requests per second.
    Throughput,
    /// Core time of all roles per second, in cores.
    Cpu,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 6] = [
        Metric::Mean,
        Metric::P50,
        Metric::P90,
        Metric::P99,
        Metric::Throughput,
        Metric::Cpu,
    ];

    /// The figure from end to end in a summary; `None` where it is not known. Of core time there is
    /// no interval.
    pub fn end_to_end(self, summary: &Summary) -> Option<Estimate> {
        let times = &summary.end_to_end;
        Some(match self {
            Metric::Mean => times.mean,
            Metric::P50 => times.p50,
            Metric::P90 => times.p90,
            Metric::P99 => times.p99,
            Metric::Throughput => summary.throughput,
            Metric::Cpu => {
                let value = summary.cpu?;
                let (low, high) = (f64::NAN, f64::NAN);
                Estimate { value, low, high }
            }
        })
    }

    /// Its unit.
    pub const fn unit(self) -> &'static str {
        match self {
            Metric::Throughput => "1/s",
            Metric::Cpu => "cores",
            Metric::Mean | Metric::P50 | Metric::P90 | Metric::P99 => "s",
        }
    }

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Mean => "mean",
            Metric::P50 => "p50",
            Metric::P90 => "p90",
            Metric::P99 => "p99",
            Metric::Throughput => "throughput",
            Metric::Cpu => "cpu",
        }
    }
}

//! The bandwidth of a GPU's memory, by how many of its threads draw it.
//!
//! The engine lets a share `s` of all threads draw `bandwidth · (1 + a) s / (s + a)`. So the time of a
//! byte is `(1 + a / s) / ((1 + a) · bandwidth)`, a straight line in `1 / s`: its base `b` and slope
//! `c` give `bandwidth = 1 / (b + c)` and `a = c / b`.

use schema::profile::{Parameter, parameter};

use super::ParameterReport;
use super::blocks::Room;
use super::robust::{Centre, Line};
use super::seen::{KernelTimes, Seen, names};

/// How many times the time of its blocks a kernel must take for memory to be what limits it.
const LIMITED: f64 = 2.0;

/// Bandwidth, and the part of the threads that draws 90% of it.
pub(super) fn fit(
    part: &str,
    runs: &[Seen<'_>],
    room: &Room,
    launch_interval: f64,
) -> Vec<ParameterReport> {
    let mut points = Vec::new();
    let mut sources = Vec::new();
    for run in runs.iter().filter(|run| run.is_alone) {
        for ((stage, _), done) in &run.contexts {
            let Some(kernels) = run.kernels(*stage) else {
                continue;
            };
            for ((number, batch), times) in KernelTimes::of(done).0 {
                let kernel = kernels[number as usize];
                let blocks = kernel.blocks.saturating_mul(batch);
                let Some(centre) = Centre::of(&times, 1.0) else {
                    continue;
                };
                let took = centre.value - launch_interval;
                let is_limited = took > LIMITED * kernel.time.as_secs_f64();
                // More would run in waves.
                if kernel.dram.0 == 0 || !is_limited || blocks > room.at_once(kernel.threads) {
                    continue;
                }
                let bytes = f64::from(blocks) * kernel.dram.0 as f64;
                let share =
                    f64::from(blocks) * f64::from(kernel.threads) / f64::from(room.threads());
                let a_byte = Centre {
                    value: took / bytes,
                    error: centre.error / bytes,
                    ..centre
                };
                points.push((1.0 / share, a_byte));
                sources.push(run.source);
            }
        }
    }
    let Some(line) = Line::through(&points) else {
        return Vec::new();
    };
    let at_all = line.base + line.slope;
    if at_all <= 0.0 {
        return Vec::new();
    }
    let source = names(sources);
    let report = |name: &str, value: f64, standard_error: f64, unit: &str| ParameterReport {
        part: part.to_owned(),
        name: name.to_owned(),
        estimate: Parameter {
            value,
            standard_error,
            unit: unit.to_owned(),
            range: None,
            source: source.clone(),
        },
        warnings: Vec::new(),
    };
    let (of_base, of_slope) = (line.base_error, line.slope_error);
    let covariance = line.correlation * of_base * of_slope;
    let of_all = (of_base.powi(2) + of_slope.powi(2) + 2.0 * covariance).max(0.0);
    let bandwidth = 1.0 / at_all;
    // x = 0.9 c / (0.1 b + c).
    let below = 0.1 * line.base + line.slope;
    let (by_base, by_slope) = (
        -0.09 * line.slope / below.powi(2),
        0.09 * line.base / below.powi(2),
    );
    let occupancy = (0.9 * line.slope / below).clamp(0.0, 0.899);
    let of_occupancy = (by_base * of_base).powi(2)
        + (by_slope * of_slope).powi(2)
        + 2.0 * by_base * by_slope * covariance;
    vec![
        report(
            parameter::DRAM_BANDWIDTH,
            bandwidth,
            bandwidth * of_all.sqrt() / at_all,
            "B/s",
        ),
        report(
            parameter::DRAM_OCCUPANCY,
            occupancy,
            of_occupancy.max(0.0).sqrt(),
            "1",
        ),
    ]
}

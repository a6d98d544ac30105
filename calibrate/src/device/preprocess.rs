//! What a GPU takes to turn raw images into tensors: the net `preprocess` of its part.

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{Driver, Residual};

use super::copies::{Sizes, held_out_error, law};
use super::seen::{Seen, What, names};
use crate::MIN_SAMPLES;

/// The law by the bytes of the images, of runs in which nothing else is on the GPU; `None` if no images
/// were seen, or too few. What does not grow with them is overhead, which no share of the GPU shortens.
/// Its second part is what to check before trusting it.
pub(super) fn fit(runs: &[Seen<'_>]) -> Option<(GpuNet, Vec<String>)> {
    let mut sizes = Sizes::new();
    let mut sources = Vec::new();
    for run in runs.iter().filter(|run| run.is_alone) {
        for done in run.contexts.values().flatten() {
            if let What::Preprocess(bytes) = done.what {
                sizes.entry(bytes).or_default().push(done.length_s());
                sources.push(run.source);
            }
        }
    }
    let n: usize = sizes.values().map(Vec::len).sum();
    if n < MIN_SAMPLES {
        return None;
    }
    let mut warnings = Vec::new();
    let line = law(&sizes, &mut warnings);
    let bytes = || sizes.keys().map(|bytes| *bytes as f64);
    let net = GpuNet {
        per: Driver::Bytes,
        range: [
            bytes().fold(f64::INFINITY, f64::min),
            bytes().fold(0.0, f64::max),
        ],
        samples: n as u64,
        held_out_error: held_out_error(&sizes),
        source: names(sources),
        residual: Residual::None,
        memory: 0.0,
        launches: 1,
        floor: DriverLaw::default(),
        phases: vec![Phase {
            overhead: DriverLaw::Affine {
                base: line.base,
                base_error: line.base_error,
                slope: 0.0,
                slope_error: 0.0,
            },
            compute: DriverLaw::Affine {
                base: 0.0,
                base_error: 0.0,
                slope: line.slope,
                slope_error: line.slope_error,
            },
            parallelism: DriverLaw::constant(1.0),
            bytes: DriverLaw::default(),
            intensity: DriverLaw::default(),
        }],
        kernels: Vec::new(),
    };
    Some((net, warnings))
}

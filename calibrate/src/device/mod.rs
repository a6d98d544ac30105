//! Fits the parts of GPUs to what a device's own clock said of copies and kernels.
//!
//! The spans of an inference context on a GPU are times between CUDA events, so they belong to the
//! GPU's part and not to its host's. Of copies there are laws by direction and host memory
//! ([`copies`]), of kernels of known work what the device adds to them ([`kernels`]).
//!
//! Which runs show what is decided by what is in them, not by their names: a probe of
//! `tandem probe --gpu` is a scenario as any other.
//!
//! What is left out: nothing here says what a kernel computes, and what no run shows is not in the
//! part.

mod copies;
mod kernels;
mod robust;
mod seen;

use schema::profile::Parameter;

use crate::{FitReport, Source};
use seen::seen;

/// A number of a part as fitted.
#[derive(Clone, PartialEq, Debug)]
pub struct ParameterReport {
    /// The part.
    pub part: String,
    /// The name of the parameter; see [`schema::profile::parameter`].
    pub name: String,
    /// Its estimate with standard error.
    pub estimate: Parameter,
    /// What to check before trusting it.
    pub warnings: Vec<String>,
}

/// What the runs say of the GPUs in them.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Fitted {
    /// Names of all parts of GPUs.
    pub(crate) parts: Vec<String>,
    pub(crate) costs: Vec<FitReport>,
    pub(crate) parameters: Vec<ParameterReport>,
}

/// Fits every part of a GPU that did something in `sources`.
pub(crate) fn fit(sources: &[Source<'_>]) -> Fitted {
    let mut fitted = Fitted::default();
    for (part, runs) in seen(sources) {
        fitted.costs.extend(copies::fit(&part, &runs));
        let parameters = kernels::launch_interval(&part, &runs);
        fitted.parameters.extend(parameters);
        fitted.parts.push(part);
    }
    fitted
}

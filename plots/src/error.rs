//! What can go wrong with a figure.

use std::io;
use std::path::PathBuf;

/// Why a figure could not be drawn or saved.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// There is nothing to draw.
    #[error("draw figure `{figure}`: there is no {what}")]
    Empty {
        /// The figure.
        figure: String,
        /// What there is none of.
        what: String,
    },
    /// A value to draw is infinite or not a number, as the statistics of a run without requests are.
    #[error("draw figure `{figure}`: {what} of `{label}` is {value}")]
    NotFinite {
        /// The figure.
        figure: String,
        /// The scenario or load it belongs to.
        label: String,
        /// Which value.
        what: String,
        /// The value found.
        value: f64,
    },
    /// A summary has a part that is not the name of a span.
    #[error("draw figure `{figure}`: `{part}` of `{label}` is not the name of a span")]
    UnknownPart {
        /// The figure.
        figure: String,
        /// The scenario.
        label: String,
        /// The name found.
        part: String,
    },
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// `value`, if it can be drawn.
pub(crate) fn finite(figure: &str, label: &str, what: &str, value: f64) -> Result<f64, PlotError> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(PlotError::NotFinite {
        figure: figure.to_owned(),
        label: label.to_owned(),
        what: what.to_owned(),
        value,
    })
}

//! What can go wrong with a figure.

use std::io;
use std::path::PathBuf;

use schema::units::SimDuration;

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
    /// The run has not the replication that is to be drawn.
    #[error("draw figure `{figure}`: `replication` is {found} of {n}, counted from 0")]
    NoReplication {
        /// The figure.
        figure: String,
        /// The replication asked for.
        found: u32,
        /// How many the run has.
        n: u32,
    },
    /// A window ends before it starts.
    #[error(
        "draw figure `{figure}`: the window is from {} to {}; it must end after it starts",
        SimDuration::from_ns(*from_ns),
        SimDuration::from_ns(*to_ns)
    )]
    NoWindow {
        /// The figure.
        figure: String,
        /// Its start, in nanoseconds.
        from_ns: u64,
        /// Its end, in nanoseconds.
        to_ns: u64,
    },
    /// A timeline would have more bars or rows than anyone can see.
    #[error(
        "draw figure `{figure}`: there are {found} {what} from {} to {} (at most {most}); \
         narrow the window with --from and --to",
        SimDuration::from_ns(*from_ns),
        SimDuration::from_ns(*to_ns)
    )]
    TooMany {
        /// The figure.
        figure: String,
        /// What there are too many of.
        what: &'static str,
        /// How many.
        found: usize,
        /// Most that are drawn.
        most: usize,
        /// Start of the window, in nanoseconds.
        from_ns: u64,
        /// Its end.
        to_ns: u64,
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
